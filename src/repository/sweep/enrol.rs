//! Enrolling: what listings show of snapshots goes into one roster, so that a host that knows nothing reads that one in their
//! place. Rules: format-spec/16-sweep.md.

use std::collections::HashSet;

use super::super::error::RepositoryError;
use super::super::objects::Listed;
use super::super::rosters::{WORTH, snapshot_of};
use super::super::session::Session;
use super::super::{Repository, lock};
use super::survey::StoreClock;
use crate::format::object::{Kind, Name, SnapshotName};
use crate::format::roster::Roster;
use crate::format::snapshot::Snapshot;

/// Rosters below this size are small.
const SMALL: u64 = 256 << 10;
/// Bytes that a roster is filled with, about.
const FILL: usize = 8 << 20;
/// What is reckoned for an entry beside the snapshot in it: it takes less.
const ENTRY: usize = 64;

/// Puts a roster of what none tells of, and of what small or outdated ones tell, in the place of these.
///
/// SWEEP-21: only what is deleted here is ever missed, and that costs a reader the time to read the snapshots themselves.
pub(super) fn enrol(session: &Session<'_>, clock: StoreClock) -> Result<(), RepositoryError> {
    let repository = session.repository;
    let there = settled(repository, clock)?;
    let (mut filling, mut told, mut replaced) = (Filling::default(), HashSet::new(), Vec::new());
    let mut old = Vec::new();
    for (listed, read) in repository.rosters()? {
        let Ok(roster) = read else {
            replaced.push(listed.name);
            continue;
        };
        let alive = roster.snapshots.keys().filter(|name| there.contains(*name)).count();
        match listed.size >= SMALL && 2 * alive >= roster.snapshots.len() {
            true => told.extend(roster.snapshots.into_keys()),
            false => old.push((listed, roster)),
        }
    }
    let is_known =
        |name: &SnapshotName| told.contains(name) || old.iter().any(|(_, of)| of.snapshots.contains_key(name));
    let loose: Vec<SnapshotName> = there.iter().filter(|name| !is_known(name)).copied().collect();
    let is_outdated = |(listed, _): &(Listed, Roster)| listed.size >= SMALL;
    if loose.len() >= WORTH || old.len() >= 2 || old.iter().any(is_outdated) {
        for (listed, roster) in old {
            let mut alive = roster.snapshots.into_iter().filter(|(name, _)| there.contains(name));
            // What does not fit stays where it is.
            if alive.all(|(name, snapshot)| filling.add(name, snapshot)) {
                replaced.push(listed.name);
            }
        }
        repository.read_snapshots(&loose, |name, read| match read {
            Ok(snapshot) => {
                filling.add(*name, Roster::shown(&snapshot));
                session.keep_alive()
            }
            // Gone or damaged meanwhile: whoever needs it says so.
            Err(error) if error.is_damage() => Ok(()),
            Err(error) => Err(error),
        })?;
    }
    if !filling.roster.snapshots.is_empty() {
        let name = Name::Roster(repository.ambient.id());
        repository.put_sealed(&name, Kind::Roster, &filling.roster.encode())?;
    }
    session.delete_each(&replaced, |name| vec![*name], |_| {})
}

/// Snapshots of which nobody doubts any more that they are.
fn settled(repository: &Repository, clock: StoreClock) -> Result<HashSet<SnapshotName>, RepositoryError> {
    let lag = repository.timing().lag;
    let (tombstones, void) = {
        let catalog = lock(&repository.catalog);
        (catalog.tombstones()?, catalog.void()?)
    };
    let listed = repository.listed("snapshots/")?;
    let old = listed.iter().filter(|of| lag.is_zero() || clock.age(of.modified) >= 2 * lag);
    Ok(old.filter_map(snapshot_of).filter(|name| !tombstones.contains(name) && !void.contains(name)).collect())
}

/// A roster that is being filled.
#[derive(Default)]
struct Filling {
    roster: Roster,
    bytes: usize,
}

impl Filling {
    /// Whether it fitted.
    fn add(&mut self, name: SnapshotName, snapshot: Snapshot) -> bool {
        let bytes = self.bytes + ENTRY + snapshot.encode().len();
        if bytes > FILL {
            return false;
        }
        self.bytes = bytes;
        self.roster.snapshots.insert(name, snapshot);
        true
    }
}
