//! Folding: records of snapshots that are gone, and tombstones that nobody needs any more, go into one ledger a dataset.
//! What they say stays. Rules: format-spec/16-sweep.md.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::super::catalog::Said;
use super::super::error::RepositoryError;
use super::super::objects::Listed;
use super::super::rosters::snapshot_of;
use super::super::session::Session;
use super::super::{Repository, lock};
use super::SweepReport;
use super::survey::StoreClock;
use crate::format::UnixMillis;
use crate::format::ids::DatasetTag;
use crate::format::ledger::Ledger;
use crate::format::object::{Kind, Name, SnapshotName};

/// Ledgers below this size are small.
const SMALL: u64 = 256 << 10;
/// So many loose ones are worth a ledger.
const LOOSE: usize = 8;
/// So many small ledgers are worth one in their place.
const LEDGERS: usize = 2;
/// Bytes that a ledger is filled with, about.
const FILL: usize = 8 << 20;
/// What is reckoned for an entry: it takes less.
const ENTRY: usize = 64;

/// Folds every dataset. `grace` is the user's; what is younger stays as it is.
pub(super) fn fold(
    session: &Session<'_>,
    clock: StoreClock,
    grace: Duration,
    report: &mut SweepReport,
) -> Result<(), RepositoryError> {
    let put_any = fold_once(session, clock, grace, report)?;
    // Where a LIST shows at once what was put, what it replaces goes at once.
    if put_any && session.repository.timing().lag.is_zero() {
        fold_once(session, StoreClock::read(session)?, grace, report)?;
    }
    Ok(())
}

/// One look: deletes what is replaced, then puts ledgers for what is left. Answers whether it put one.
fn fold_once(
    session: &Session<'_>,
    clock: StoreClock,
    grace: Duration,
    report: &mut SweepReport,
) -> Result<bool, RepositoryError> {
    let mut put_any = false;
    for (tag, mut of) in look(session, clock, grace)? {
        let replaced: Vec<Name> = of.take_replaced().into_iter().collect();
        session.delete_each(&replaced, |name| vec![*name], |_| {})?;
        let Some(ledger) = of.ledger() else { continue };
        report.folded += of.loose.len() as u64;
        let name = Name::Ledger(tag, session.repository.ambient.id());
        session.keep_alive()?;
        session.repository.put_sealed(&name, Kind::Ledger, &ledger.encode())?;
        put_any = true;
    }
    Ok(put_any)
}

/// A record or tombstone that may go into a ledger.
struct Loose {
    name: Name,
    said: Said,
}

/// A ledger as it stands.
struct Standing {
    listed: Listed,
    said: Vec<Said>,
    /// Whether everybody sees it.
    is_settled: bool,
}

/// What there is of one dataset.
#[derive(Default)]
struct Folding {
    loose: Vec<Loose>,
    /// What stands below `snapshots/`, and for how long.
    there: Vec<(SnapshotName, Duration)>,
    /// Records whose snapshots may be there still.
    records: Vec<SnapshotName>,
    ledgers: Vec<Standing>,
    grace: Duration,
}

/// Lists what there is, the records first: a snapshot that a later LIST does not show is gone.
fn look(
    session: &Session<'_>,
    clock: StoreClock,
    grace: Duration,
) -> Result<BTreeMap<DatasetTag, Folding>, RepositoryError> {
    let repository = session.repository;
    repository.refresh_forgotten("forgotten/")?;
    let said = lock(&repository.catalog).said()?;
    let records = repository.listed("forgotten/")?;
    let snapshots = repository.listed("snapshots/")?;
    let leases: HashSet<Name> = repository.listed("leases/")?.into_iter().map(|of| of.name).collect();
    let tombstones = lock(&repository.catalog).tombstones()?;
    let there: HashSet<SnapshotName> = snapshots.iter().filter_map(snapshot_of).collect();
    let mut found: BTreeMap<DatasetTag, Folding> = BTreeMap::new();
    let lag = repository.timing().lag;
    for listed in records {
        let Some(said) = said.get(&listed.name) else { continue };
        match (listed.name, said.first()) {
            (Name::Ledger(tag, _), _) => {
                let is_settled = lag.is_zero() || clock.age(listed.modified) >= 2 * lag;
                let standing = Standing { listed, said: said.clone(), is_settled };
                of(&mut found, tag, grace).ledgers.push(standing);
            }
            (name @ Name::Forgotten(snapshot), Some(first)) => {
                let folding = of(&mut found, snapshot.tag, grace);
                folding.records.push(snapshot);
                if !there.contains(&snapshot) && age(repository, clock, &listed, first.time) >= grace {
                    folding.loose.push(Loose { name, said: first.clone() });
                }
            }
            _ => {}
        }
    }
    let old = grace.max(repository.timing().abandoned).max(2 * lag);
    for listed in &snapshots {
        let Some(snapshot) = snapshot_of(listed) else { continue };
        let stood = clock.age(listed.modified);
        let folding = of(&mut found, snapshot.tag, grace);
        folding.there.push((snapshot, stood));
        let is_over = !leases.contains(&Name::Lease(snapshot.session)) && stood >= old;
        if is_over && tombstones.contains(&snapshot) {
            let time = listed.modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            let time = UnixMillis(time.map_or(0, |since| since.as_millis() as u64));
            folding.loose.push(Loose { name: listed.name, said: Said { snapshot, time, reason: None } });
        }
    }
    Ok(found)
}

fn of(found: &mut BTreeMap<DatasetTag, Folding>, tag: DatasetTag, grace: Duration) -> &mut Folding {
    found.entry(tag).or_insert_with(|| Folding { grace, ..Folding::default() })
}

/// How old a record is, by the younger of the store's and its writer's time.
fn age(repository: &Repository, clock: StoreClock, listed: &Listed, told: UnixMillis) -> Duration {
    let told = Duration::from_millis(repository.ambient.now().0.saturating_sub(told.0));
    if listed.modified.is_some() { clock.age(listed.modified).min(told) } else { told }
}

impl Folding {
    /// Takes out what settled ledgers replace, and what stood at a void name for long enough.
    ///
    /// SWEEP-19: a ledger is replaced by a younger one only; so of two with the same entries one stays.
    fn take_replaced(&mut self) -> BTreeSet<Name> {
        let settled = || self.ledgers.iter().filter(|ledger| ledger.is_settled);
        let keys: HashSet<(SnapshotName, bool)> =
            settled().flat_map(|ledger| &ledger.said).map(|said| (said.snapshot, said.reason.is_some())).collect();
        let records = self.records.iter().filter(|name| keys.contains(&(**name, true)));
        let mut replaced: BTreeSet<Name> = records.map(|name| Name::Forgotten(*name)).collect();
        let is_over =
            |(name, stood): &&(SnapshotName, Duration)| *stood >= self.grace && keys.contains(&(*name, false));
        replaced.extend(self.there.iter().filter(is_over).map(|(name, _)| Name::Snapshot(*name)));
        for ledger in &self.ledgers {
            if settled().any(|by| by.is_younger_than(ledger) && by.has_all_of(ledger)) {
                replaced.insert(ledger.listed.name);
            }
        }
        self.loose.retain(|loose| !replaced.contains(&loose.name));
        self.ledgers.retain(|ledger| !replaced.contains(&ledger.listed.name));
        replaced
    }

    /// The ledger that is to be put, where one is worth it. What does not fit into it is loose no more: it waits.
    ///
    /// SWEEP-20: with what the small ones say that no younger one says too.
    fn ledger(&mut self) -> Option<Ledger> {
        let is_left = |ledger: &&Standing| {
            let by_younger = |by: &Standing| by.is_younger_than(ledger) && by.has_all_of(ledger);
            ledger.listed.size < SMALL && !self.ledgers.iter().any(by_younger)
        };
        let small: Vec<&Standing> = self.ledgers.iter().filter(is_left).collect();
        let said_before: HashSet<(SnapshotName, bool)> = self.ledgers.iter().flat_map(Standing::keys).collect();
        let is_new = |loose: &Loose| !said_before.contains(&(loose.said.snapshot, loose.said.reason.is_some()));
        self.loose.retain(is_new);
        if self.loose.len() < LOOSE && small.len() < LEDGERS {
            return None;
        }
        let mut filling = Filling::default();
        for said in small.iter().flat_map(|ledger| &ledger.said) {
            filling.add(said);
        }
        self.loose.retain(|loose| filling.add(&loose.said));
        Some(filling.ledger)
    }
}

impl Standing {
    fn keys(&self) -> impl Iterator<Item = (SnapshotName, bool)> {
        self.said.iter().map(|said| (said.snapshot, said.reason.is_some()))
    }

    fn is_younger_than(&self, other: &Standing) -> bool {
        self.listed.modified > other.listed.modified
    }

    fn has_all_of(&self, other: &Standing) -> bool {
        let own: HashSet<(SnapshotName, bool)> = self.keys().collect();
        other.keys().all(|key| own.contains(&key))
    }
}

/// A ledger that is being filled.
#[derive(Default)]
struct Filling {
    ledger: Ledger,
    bytes: usize,
}

impl Filling {
    /// Whether it fitted, or was in it.
    fn add(&mut self, said: &Said) -> bool {
        let text = said.reason.as_ref().filter(|reason| !self.ledger.forgotten.contains_key(*reason));
        let bytes = self.bytes + ENTRY + text.map_or(0, |reason| reason.len() + ENTRY);
        if bytes > FILL {
            return false;
        }
        self.bytes = bytes;
        let entries = match &said.reason {
            Some(reason) => self.ledger.forgotten.entry(reason.clone()).or_default(),
            None => &mut self.ledger.void,
        };
        let time = entries.entry(said.snapshot).or_insert(said.time);
        *time = said.time.min(*time);
        true
    }
}

#[cfg(test)]
mod tests;
