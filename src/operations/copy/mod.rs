//! `copy`: snapshots of one repository put into another one, under its keys. Rules: format-spec/21-second-copies.md.
//!
//! Memory: what a restore takes and what a backup takes, for both work at once.

mod file;
mod place;
mod there;

use std::collections::HashSet;

use super::attempts::attempt;
use super::backup::earlier_version::Older;
use super::backup::rounds::{self, Round};
use super::list::{Datasets, Filter, Selector};
use super::sets::{Meant, choose_any};
use super::{Observer, OperationError, key_drop};
use crate::format::counts::FALLS;
use crate::format::object::SnapshotName;
use crate::format::origin::COPIED_FROM;
use crate::format::snapshot::{File, Snapshot, Warning};
use crate::format::summary::Summary;
use crate::format::timeline::CONTINUES;
use crate::repository::{Alarm, Intake, IntakeOptions, Repository, RepositoryError, SnapshotInfo, Stored, one_line};
use file::Copying;
use place::{Placed, place_for};
use there::{Known, There};

/// What is copied, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshots that are named; none: all that fit the filter.
    pub snapshots: Vec<Selector>,
    /// Which of them.
    pub filter: Filter,
    /// Nothing is stored.
    pub is_dry: bool,
    /// How chunks are stored.
    pub intake: IntakeOptions,
}

/// What became of a snapshot.
#[derive(Debug, Clone)]
pub enum Became {
    /// It was copied.
    Copied(Copied),
    /// It would be copied.
    WouldBe,
    /// It is there, under this name.
    WasThere(SnapshotName),
    /// It was there, and was forgotten there.
    Forgotten,
    /// It cannot be read as it was stored; nothing of it was committed.
    Damaged(String),
    /// It cannot stand there where it belongs.
    NoPlace(String),
}

/// A copy that was committed.
#[derive(Debug, Clone)]
pub struct Copied {
    /// Its name.
    pub name: SnapshotName,
    /// Bytes of files that were read; the others were there.
    pub read: u64,
    /// Bytes that were stored.
    pub stored: u64,
    /// Damage in the source that was made good from other copies of a chunk.
    pub made_good: Vec<String>,
}

/// A snapshot of the source.
#[derive(Debug, Clone)]
pub struct One {
    /// The snapshot.
    pub info: SnapshotInfo,
    /// What became of it.
    pub became: Became,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct Report {
    /// By dataset and order.
    pub snapshots: Vec<One>,
    /// What the source lacks.
    pub alarms: Vec<Alarm>,
    /// What the target lacks.
    pub alarms_there: Vec<Alarm>,
}

/// Copies snapshots, the oldest first, each by a session of its own. Those that are there are not read again, so that who was
/// interrupted does the same again.
pub fn copy(
    source: &Repository,
    target: &Repository,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report, OperationError> {
    if source.id() == target.id() {
        return Err(OperationError::Refused {
            what: format!("{} and {} are one repository: {}", source.location(), target.location(), source.id()),
            hint: "make another one with redkeep init, or keep a copy of its objects with redkeep mirror".into(),
        });
    }
    let mut report = Report { snapshots: Vec::new(), alarms: source.refresh()?, alarms_there: target.refresh()? };
    let chosen = chosen(source, options)?;
    let mut there = There::look(source, target)?;
    let total = chosen.len();
    for (number, info) in chosen.into_iter().enumerate() {
        observer.say(&format!("{} of {total}", number + 1));
        let became = copy_one(source, target, &mut there, &info, options, observer, &mut report.alarms_there);
        let became = became.inspect_err(|_| tell_done(&report, observer))?;
        report.snapshots.push(One { info, became });
    }
    Ok(report)
}

/// What stands although the rest failed.
fn tell_done(report: &Report, observer: &dyn Observer) {
    let done = report.snapshots.iter().filter(|one| matches!(one.became, Became::Copied(_))).count();
    if done > 0 {
        observer.remark(&format!("copied before that: {done}; the same command goes on behind them"));
    }
}

/// The snapshots that are meant, by dataset and order.
fn chosen(source: &Repository, options: &Options) -> Result<Vec<SnapshotInfo>, OperationError> {
    let mut named = HashSet::new();
    for selector in &options.snapshots {
        match choose_any(source, selector, options.filter.dataset.as_ref().and_then(Datasets::name))? {
            Meant::One(chosen) => drop(named.insert(chosen.name)),
            Meant::Set(set) => named.extend(set.members.iter().map(|(_, _, chosen)| chosen.name)),
        }
    }
    let mut filter = options.filter.clone();
    // A name has been looked at: it may be that of a set, and of no dataset.
    if !options.snapshots.is_empty() && filter.dataset.as_ref().is_some_and(|datasets| datasets.name().is_some()) {
        filter.dataset = None;
    }
    let fits = |info: &SnapshotInfo| (options.snapshots.is_empty() || named.contains(&info.name)) && filter.fits(info);
    Ok(source.kept_snapshots()?.into_iter().filter(fits).collect())
}

fn copy_one(
    source: &Repository,
    target: &Repository,
    there: &mut There,
    info: &SnapshotInfo,
    options: &Options,
    observer: &dyn Observer,
    alarms: &mut Vec<Alarm>,
) -> Result<Became, OperationError> {
    match there.knows(target, info) {
        Known::Kept(name) => return Ok(Became::WasThere(name)),
        // Who names it wants it back.
        Known::Forgotten if options.snapshots.is_empty() => return Ok(Became::Forgotten),
        Known::Forgotten | Known::No => {}
    }
    let placed = match place_for(there, info) {
        Ok(placed) => placed,
        Err(why) => return Ok(Became::NoPlace(why)),
    };
    if options.is_dry {
        return Ok(Became::WouldBe);
    }
    let mut looked_again = false;
    loop {
        let copying = match source.snapshot(&info.name) {
            Ok(snapshot) => Copying::new(source, target, snapshot, observer),
            Err(error) if error.is_damage() => return Ok(Became::Damaged(one_line(&error))),
            Err(error) => return Err(error.into()),
        };
        let done = attempt(target, || copy_once(&copying, there, info, placed, options));
        let error = match done {
            Ok((copied, more)) => {
                alarms.extend(more.into_iter().filter(|alarm| !alarms.contains(alarm)).collect::<Vec<_>>());
                there.look_again(target)?;
                return Ok(Became::Copied(copied));
            }
            Err(error) => error,
        };
        match copying.failure() {
            // What one catalog or index object lost may still be in the repository.
            Some(error) if error.is_damage() || error.may_be_of_catalog() => {
                if looked_again {
                    return Ok(Became::Damaged(one_line(&error)));
                }
                looked_again = true;
                source.second_look()?;
            }
            of_source => return Err(of_source.unwrap_or(error)),
        }
    }
}

/// One session. When it fails its commit name gets a tombstone.
fn copy_once(
    copying: &Copying<'_>,
    there: &There,
    info: &SnapshotInfo,
    placed: Placed,
    options: &Options,
) -> Result<(Copied, Vec<Alarm>), OperationError> {
    let (target, of, observer) = (copying.target, &copying.snapshot, copying.observer);
    let begun = target.ambient().now();
    let session = target.begin_foreign(of, placed.place)?;
    let earlier = match session.previous_snapshot() {
        Ok(earlier) => earlier,
        Err(error) => return Err(session.give_up(error.into())),
    };
    let older = Older::new(&session);
    observer.begin("copying", Some(of.files.iter().map(|file| file.size).sum()));
    let dump = rounds::dump_time(of.files.iter().map(|file| (file.role, file.kind, file.mtime)));
    let store = |intake: &mut Intake<'_>, file: &File, round: Round<'_>| {
        copying.store_file(intake, file, (earlier.as_ref(), &older), (dump, round))
    };
    let stored = rounds::in_rounds(&session, options.intake, observer, &of.files, &store, &|(file, _)| file);
    let (files, stored) = match stored {
        Ok(stored) => stored,
        Err(error) => return Err(session.give_up(error)),
    };
    let read = files.iter().filter(|(_, is_read)| *is_read).map(|(file, _)| file.size).sum();
    let bytes = stored.stored_bytes;
    let mut copy = Snapshot {
        sequence: session.sequence(),
        previous: session.previous(),
        place: placed.place.filter(|place| *place != session.sequence()),
        files: files.into_iter().map(|(file, _)| file).collect(),
        made_by: env!("CARGO_PKG_VERSION").into(),
        summary: summary(of, stored, target.ambient().now().0.saturating_sub(begun.0)),
        ..of.clone()
    };
    if let Err(error) = settle_facts(copying, there, info, placed, &mut copy) {
        return Err(session.give_up(error.into()));
    }
    let mut alarms = session.alarms().to_vec();
    let committed = session.commit(&copy)?;
    alarms.extend(committed.not_noted.map(|error| Alarm::NotNoted { why: one_line(&error) }));
    Ok((Copied { name: committed.name, read, stored: bytes, made_good: copying.made_good() }, alarms))
}

/// What the copy cost; what it holds is what it held.
fn summary(of: &Snapshot, stored: Stored, millis: u64) -> Summary {
    let total = stored.total();
    Summary {
        new_chunks: total.chunks,
        new_bytes: total.bytes,
        stored_bytes: stored.stored_bytes,
        packs: stored.packs,
        millis,
        new: Some(stored.new).filter(|new| !new.is_empty()),
        ..of.summary.clone()
    }
}

/// COPY-3: facts that speak of other snapshots speak of those beside the copy.
fn settle_facts(
    copying: &Copying<'_>,
    there: &There,
    info: &SnapshotInfo,
    placed: Placed,
    copy: &mut Snapshot,
) -> Result<(), RepositoryError> {
    copy.facts.insert(COPIED_FROM.into(), info.origin(copying.source.id()).to_string());
    if let Some(continued) = copy.facts.get(CONTINUES).and_then(|name| there.copy_of(name)) {
        copy.facts.insert(CONTINUES.into(), continued);
    }
    copy.facts.remove(FALLS);
    if placed.is_last {
        let told: Vec<Warning> = std::mem::take(&mut copy.warnings);
        key_drop::carry(copying.target, copy)?;
        // A fall that is seen here too is told with the snapshots that are here.
        let is_told = !copy.warnings.is_empty();
        let told = told.into_iter().filter(|warning| !(is_told && warning.code == key_drop::KEY_DROP));
        copy.warnings.splice(0..0, told);
    }
    Ok(())
}
