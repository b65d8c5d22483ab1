//! `mirror`: the objects of a repository put into a second place as they are, without a key. Which objects, in which order, and
//! why a mirror that was cut off is a repository all the same: format-spec/21-second-copies.md.

mod objects;
mod places;
mod transfer;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{Observer, OperationError};
use crate::format::Id16;
use crate::format::object::Name;
use crate::store::Store;
use objects::{Listed, Listing, listed};
use places::{Order, Target, identity, refuse_others, refuse_writers};

/// How often the packs are looked at again while index objects come and go.
const ROUNDS: usize = 20;

/// How it is done.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the source no longer has goes.
    pub deletes: bool,
    /// What is there is read, and sent again where it is not what it should be.
    pub verifies: bool,
    /// Nothing is sent or deleted.
    pub is_dry: bool,
}

/// Objects, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The repository that both places hold.
    pub repository: Id16,
    /// Whether the second place held nothing.
    pub is_new: bool,
    /// What was sent.
    pub sent: Sum,
    /// What was there.
    pub there: Sum,
    /// What was deleted, or would be.
    pub deleted: Sum,
    /// What is there although the source no longer has it.
    pub left: Sum,
    /// Snapshots that are so young that listings of the source may not show all they need.
    pub waiting: u64,
    /// Objects of the source that are not what their names or last bytes say, and why; they were not sent.
    pub damaged: Vec<(String, String)>,
    /// Objects there that were not what they should be, and were sent again.
    pub mended: Vec<String>,
}

/// Brings the second place to what the source holds. `target`: none where the place does not exist, and nothing is to be done.
/// `now` by this host's clock.
///
/// Memory: names and sizes of all objects of both places, and 128 MiB of objects on their way, or the largest one.
pub fn mirror(
    source: &dyn Store,
    target: Option<&dyn Store>,
    options: &Options,
    now: SystemTime,
    observer: &dyn Observer,
) -> Result<Report, OperationError> {
    let (repository, config) = identity(source)?;
    let there = target.map_or_else(|| Ok(Listing::new()), |target| listed(target, ""))?;
    let is_new = match target {
        None => true,
        Some(target) => refuse_others(source, target, &config, &there)?,
    };
    refuse_writers(&there, target)?;
    let lag = source.promises().timing.lag;
    let config = Listed { name: Name::Config, size: config.len() as u64, modified: None };
    let config = Listing::from([(Name::Config, config)]);
    let mut mirror =
        Mirror { source, config, lag, now, observer, options, target: Target::new(target, there, repository) };
    let listings = mirror.bring()?;
    let Left { names, sum } = mirror.left(&listings);
    let mut report = Report {
        repository,
        is_new,
        sent: mirror.target.sent,
        there: mirror.target.known,
        deleted: Sum::default(),
        left: sum,
        waiting: listings.waiting,
        damaged: std::mem::take(&mut mirror.target.damaged),
        mended: std::mem::take(&mut mirror.target.mended),
    };
    if options.deletes && report.damaged.is_empty() {
        report.deleted = mirror.delete(&names)?;
        report.left = Sum { objects: sum.objects - report.deleted.objects, bytes: sum.bytes - report.deleted.bytes };
    }
    Ok(report)
}

struct Mirror<'a> {
    source: &'a dyn Store,
    config: Listing,
    lag: Duration,
    now: SystemTime,
    observer: &'a dyn Observer,
    options: &'a Options,
    target: Target<'a>,
}

/// What the source was last seen to hold, folder by folder.
struct Listings {
    folders: BTreeMap<&'static str, Listing>,
    waiting: u64,
}

/// What is there and no longer in the source.
struct Left {
    names: Vec<Listed>,
    sum: Sum,
}

/// Folders whose objects go, in this order: nothing goes before what needs it.
///
/// MIRROR-4: slots last, so that what is there can be opened all the time; epochs never go, and notes may be those of a check of
/// the mirror.
const GOING: [&str; 6] = ["rosters/", "snapshots/", "index/", "packs/", "forgotten/", "keys/"];

impl<'a> Mirror<'a> {
    /// Sends what is missing.
    ///
    /// MIRROR-2: listed from what needs to what is needed, sent from what is needed to what needs it.
    fn bring(&mut self) -> Result<Listings, OperationError> {
        let first = self.list("snapshots/")?;
        if self.options.deletes && first.is_empty() && self.target.has_snapshots() {
            return Err(OperationError::Refused {
                what: format!(
                    "{} holds no snapshot, and the mirror does: nothing would be left",
                    self.source.location()
                ),
                hint: "look at the source first; without --delete the mirror keeps what it has".into(),
            });
        }
        // From here on the place can be opened, and holds nothing yet.
        let mut folders = BTreeMap::new();
        self.open(&mut folders)?;
        self.send(&self.config.clone())?;
        let (packs, index) = self.bring_packs()?;
        let now = self.list("snapshots/")?;
        // What a snapshot is preceded by is there, or was forgotten before: records are listed behind snapshots.
        let mut forgotten = self.bring_records("forgotten/")?;
        self.bring_records("notes/")?;
        let rosters = self.bring_records("rosters/")?;
        self.open(&mut folders)?;
        let is_young = |of: &Listed| {
            let age = of.modified.and_then(|modified| self.now.duration_since(modified).ok());
            !self.lag.is_zero() && age.is_none_or(|age| age < self.lag)
        };
        let both = first.into_values().filter(|of| now.contains_key(&of.name));
        let (young, mut old): (Vec<Listed>, Vec<Listed>) = both.partition(is_young);
        let waiting = young.iter().filter(|of| !self.target.holds(&of.name)).count() as u64;
        old.sort_by_key(|of| match of.name {
            Name::Snapshot(name) => (Some((name.tag, name.sequence)), of.name),
            _ => (None, of.name),
        });
        // One that is gone by now was forgotten, which its successors need to be known.
        while let Some(gone) = self.take(&old, Order::Strict)?.first() {
            old.retain(|of| of.name != *gone);
            forgotten = self.bring_records("forgotten/")?;
        }
        folders.extend([("packs/", packs), ("index/", index), ("snapshots/", now), ("forgotten/", forgotten)]);
        folders.insert("rosters/", rosters);
        Ok(Listings { folders, waiting })
    }

    /// Slots before epochs: nothing is sealed by an epoch that no slot knows (03). Done again behind the objects, for the master
    /// key may have been rotated meanwhile.
    fn open(&mut self, folders: &mut BTreeMap<&'static str, Listing>) -> Result<(), OperationError> {
        for folder in ["epochs/", "keys/"] {
            folders.insert(folder, self.list(folder)?);
        }
        for folder in ["keys/", "epochs/"] {
            let listing = folders.get(folder).cloned().unwrap_or_default();
            self.send(&listing)?;
        }
        Ok(())
    }

    /// Packs, then the index objects that name no others.
    ///
    /// MIRROR-3: an index object is sent if it was listed both before and behind a LIST of all packs, which were sent, and no new
    /// one had come by then: whatever sweeps did, all it names was there between, and it is all there is to know.
    fn bring_packs(&mut self) -> Result<(Listing, Listing), OperationError> {
        let mut before = self.list("index/")?;
        for _ in 0..ROUNDS {
            let packs = self.list("packs/")?;
            self.send(&packs)?;
            let index = self.list("index/")?;
            let is_still = index.keys().all(|name| before.contains_key(name));
            if is_still && self.send(&index)? {
                return Ok((packs, index));
            }
            before = index;
        }
        Err(OperationError::Busy {
            what: format!("{} changed faster than it could be mirrored", self.source.location()),
            hint: "what was sent stays; run the same again while fewer backups and prunes run".into(),
        })
    }

    /// Records, of which one that is gone is told by another one that came since.
    fn bring_records(&mut self, folder: &'static str) -> Result<Listing, OperationError> {
        for _ in 0..ROUNDS {
            let listing = self.list(folder)?;
            // Where listings lag they go on to show what is gone.
            if self.send(&listing)? || !self.lag.is_zero() {
                return Ok(listing);
            }
        }
        self.list(folder)
    }

    fn list(&self, folder: &str) -> Result<Listing, OperationError> {
        match self.observer.interrupted() {
            true => Err(interrupted()),
            false => listed(self.source, folder),
        }
    }

    /// Sends those of the objects that are not there. Answers whether all of them were still in the source.
    fn send(&mut self, objects: &Listing) -> Result<bool, OperationError> {
        let objects: Vec<Listed> = objects.values().copied().collect();
        Ok(self.take(&objects, Order::Any)?.is_empty())
    }

    /// The same; answers with those that were gone.
    fn take(&mut self, objects: &[Listed], order: Order) -> Result<Vec<Name>, OperationError> {
        self.target.take(self.source, objects, order, self.options, self.observer)
    }

    /// What the source no longer has, in the order in which it may go.
    fn left(&self, listings: &Listings) -> Left {
        let (mut names, mut sum) = (Vec::new(), Sum::default());
        for folder in GOING {
            let Some(now) = listings.folders.get(folder) else { continue };
            for of in self.target.in_folder(folder).filter(|of| !now.contains_key(&of.name)) {
                sum.add(of.size);
                names.push(of);
            }
        }
        Left { names, sum }
    }

    /// Deletes what the source does not have by name either: a listing may lag.
    fn delete(&self, names: &[Listed]) -> Result<Sum, OperationError> {
        let mut deleted = Sum::default();
        for of in names {
            if self.observer.interrupted() {
                return Err(interrupted());
            }
            if self.target.delete(self.source, of, self.options.is_dry)? {
                deleted.add(of.size);
            }
        }
        Ok(deleted)
    }
}

fn interrupted() -> OperationError {
    crate::repository::RepositoryError::Interrupted.into()
}
