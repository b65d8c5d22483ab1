//! What a sweep sees of a repository, listed in the one order that is safe, and everything that forbids it to go on.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::super::alarm::Alarm;
use super::super::error::{Fault, RepositoryError, one_line};
use super::super::losses::Losses;
use super::super::objects::Listed;
use super::super::rosters::snapshot_of;
use super::super::session::Session;
use super::super::{Repository, lock, object_name};
use super::{SweepOptions, Waiting};
use crate::format::object::{Name, SnapshotName};
use crate::format::session::Condemned;
use crate::format::{Id16, ObjectHash, UnixMillis};

/// The store's clock: ages of objects against the newest modification time it shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoreClock {
    now: Option<SystemTime>,
}

impl StoreClock {
    /// The time of a lease that was just written.
    pub fn read(session: &Session<'_>) -> Result<StoreClock, RepositoryError> {
        StoreClock::at(session.repository, session.id())
    }

    /// The time of the lease of a session.
    pub fn at(repository: &Repository, session: Id16) -> Result<StoreClock, RepositoryError> {
        let lease = repository.store.stat(&object_name(&Name::Lease(session)))?;
        Ok(StoreClock { now: lease.and_then(|lease| lease.modified) })
    }

    /// The host's clock in its place: enough to show what a sweep would do.
    pub fn host(now: UnixMillis) -> StoreClock {
        StoreClock { now: SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(now.0)) }
    }

    /// The moment itself, where the store keeps time.
    pub fn now(&self) -> Option<SystemTime> {
        self.now
    }

    /// How old an object is at least. A store that keeps no times shows none that is old.
    pub fn age(&self, modified: Option<SystemTime>) -> Duration {
        let (Some(now), Some(modified)) = (self.now, modified) else { return Duration::ZERO };
        now.duration_since(modified).unwrap_or(Duration::ZERO)
    }
}

/// A condemnation.
#[derive(Debug, Clone)]
pub(super) struct Condemnation {
    /// Its id.
    pub id: Id16,
    /// Its packs.
    pub packs: Vec<ObjectHash>,
    /// How old it is.
    pub age: Duration,
}

/// A listed pack.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListedPack {
    /// Its bytes.
    pub size: u64,
    /// How old it is.
    pub age: Duration,
}

/// Everything a sweep decides by.
pub(super) struct Survey {
    /// All packs a LIST shows.
    pub packs: HashMap<ObjectHash, ListedPack>,
    /// Those of them that no LIST showed yet when this one was begun: they are not judged.
    pub late: HashSet<ObjectHash>,
    /// Condemnations that can be read.
    pub condemnations: HashSet<Id16>,
    /// Packs that they name.
    pub condemned: HashSet<ObjectHash>,
    /// Packs that a check found damaged.
    pub damaged: HashSet<ObjectHash>,
    /// SWEEP-1: snapshots whose chunks are needed.
    pub roots: HashSet<SnapshotName>,
    /// Snapshots forgotten for longer than grace.
    pub expired: Vec<SnapshotName>,
    /// Names of such, whether they are listed or not: another sweep may have deleted them.
    pub over: HashSet<SnapshotName>,
    /// What was recorded as lost.
    pub losses: Losses,
    /// Why nothing may be condemned, buried or deleted.
    pub refusals: Vec<String>,
}

impl Survey {
    /// Lists everything and brings the catalog to it.
    ///
    /// SWEEP-2: in this order, and nothing unreadable is passed over.
    pub fn take(repository: &Repository, options: &SweepOptions, clock: StoreClock) -> Result<Survey, RepositoryError> {
        let losses = repository.losses()?;
        let read = condemnations(repository, clock)?;
        let condemnations = read.iter().map(|of| of.id).collect();
        let condemned = read.into_iter().flat_map(|of| of.packs).collect();
        let mut alarms = repository.refresh_index()?;
        let packs = listed_packs(repository, clock)?;
        alarms.extend(repository.refresh_snapshots(None)?);
        let forgotten = forgotten(repository, clock)?;
        let alarms = repository.without_recorded(alarms)?;
        let refusals = alarms.iter().filter(|alarm| forbids(alarm)).map(Alarm::to_string).collect();
        let over = forgotten.into_iter().filter(|(_, age)| *age >= options.grace);
        let over: HashSet<SnapshotName> = over.map(|(name, _)| name).collect();
        let names = repository.snapshots()?.into_iter().map(|info| info.name);
        let roots = names.filter(|name| !over.contains(name)).collect();
        // Whether they can be read or not.
        let listed = repository.listed("snapshots/")?;
        let expired = listed.iter().filter_map(snapshot_of).filter(|name| over.contains(name)).collect();
        let late = HashSet::new();
        // After packs were listed: what a backup stored again because of a note is seen with the note.
        let damaged = repository.damaged_packs()?;
        Ok(Survey { packs, late, condemnations, condemned, damaged, roots, expired, over, losses, refusals })
    }

    /// Takes in packs that no index object names, by their own tables.
    pub fn take_in_unindexed(&self, repository: &Repository) -> Result<(), RepositoryError> {
        let indexed = lock(&repository.catalog).indexed_packs()?;
        let others = self.packs.iter().filter(|(pack, _)| !indexed.contains_key(*pack));
        repository.take_in(others.map(|(pack, listed)| (*pack, listed.size)), false)?;
        Ok(())
    }

    /// Takes in index objects and packs that came since they were listed: what a snapshot needs that was committed beside
    /// this sweep.
    pub fn catch_up(&mut self, repository: &Repository, clock: StoreClock) -> Result<(), RepositoryError> {
        let alarms = repository.without_recorded(repository.refresh_index()?)?;
        self.refusals.extend(alarms.iter().filter(|alarm| forbids(alarm)).map(Alarm::to_string));
        let mut late = listed_packs(repository, clock)?;
        late.retain(|pack, _| !self.packs.contains_key(pack));
        self.late.extend(late.keys());
        self.packs.extend(late);
        self.take_in_unindexed(repository)
    }

    /// Sizes of all listed packs as index objects give them where that a pack has another one was recorded: what can be
    /// read of it was told apart, chunk by chunk.
    pub fn recorded_sizes(&self, repository: &Repository) -> Result<HashMap<ObjectHash, u64>, RepositoryError> {
        let indexed = lock(&repository.catalog).indexed_packs()?;
        let mut sizes = self.sizes();
        for pack in self.losses.packs.iter().filter(|pack| self.packs.contains_key(*pack)) {
            sizes.extend(indexed.get(pack).map(|size| (*pack, *size)));
        }
        Ok(sizes)
    }

    /// What a condemnation still waits for where it has to be so old.
    pub fn too_young(&self, of: &Condemnation, wait: Duration) -> Waiting {
        let bytes = of.packs.iter().filter_map(|pack| self.packs.get(pack)).map(|listed| listed.size).sum();
        let (packs, left) = (of.packs.len() as u64, wait.saturating_sub(of.age));
        Waiting::Age { condemned: of.id, packs, bytes, left }
    }

    /// Sizes of all listed packs.
    pub fn sizes(&self) -> HashMap<ObjectHash, u64> {
        self.packs.iter().map(|(pack, listed)| (*pack, listed.size)).collect()
    }

    /// SWEEP-22: whether what a pack holds counts for nothing: it goes, or it is damaged.
    pub fn is_given_up(&self, pack: &ObjectHash) -> bool {
        self.condemned.contains(pack) || self.damaged.contains(pack)
    }

    /// Nothing may go on where something could not be read.
    pub fn refuse(&self) -> Result<(), RepositoryError> {
        match self.refusals.is_empty() {
            true => Ok(()),
            false => Err(RepositoryError::NotWhole { reasons: self.refusals.clone() }),
        }
    }
}

/// Packs that an index names and no LIST shows are no reason to stop: what was needed in them is missed below.
fn forbids(alarm: &Alarm) -> bool {
    match alarm {
        Alarm::Index { .. }
        | Alarm::Snapshot { .. }
        | Alarm::Gap { .. }
        | Alarm::Rollback { .. }
        | Alarm::Elsewhere { .. }
        | Alarm::Forgotten { .. } => true,
        Alarm::Late { .. }
        | Alarm::Undone { .. }
        | Alarm::State { .. }
        | Alarm::NotNoted { .. }
        | Alarm::NotRemembered { .. }
        | Alarm::Packs { .. }
        | Alarm::DamagedPacks { .. } => false,
    }
}

/// All condemnations; an unreadable one is an error, unless its loss was recorded. One that is listed and gone came to
/// its end, and none of its packs is listed any more.
pub(super) fn condemnations(repository: &Repository, clock: StoreClock) -> Result<Vec<Condemnation>, RepositoryError> {
    let mut found = Vec::new();
    for (of, condemned) in repository.condemnations()? {
        match (of.name, condemned) {
            (Name::Condemned(id), Ok(Condemned { packs, .. })) => {
                found.push(Condemnation { id, packs, age: clock.age(of.modified) });
            }
            (_, Err(Fault::Missing) | Ok(_)) => {}
            (name, Err(_)) if repository.losses()?.has(&name.to_string()) => {}
            (name, Err(fault)) => return Err(not_whole(name, fault)),
        }
    }
    Ok(found)
}

/// What stops a sweep: an object that cannot be read.
pub(super) fn not_whole(name: Name, fault: Fault) -> RepositoryError {
    RepositoryError::NotWhole { reasons: vec![one_line(&RepositoryError::damaged(name, fault))] }
}

fn listed_packs(
    repository: &Repository,
    clock: StoreClock,
) -> Result<HashMap<ObjectHash, ListedPack>, RepositoryError> {
    let pack = |of: &Listed| match of.name {
        Name::Pack(hash) => Some((hash, ListedPack { size: of.size, age: clock.age(of.modified) })),
        _ => None,
    };
    Ok(repository.listed("packs/")?.iter().filter_map(pack).collect())
}

/// How long ago each snapshot was forgotten, by the younger of the store's and the writer's time.
fn forgotten(repository: &Repository, clock: StoreClock) -> Result<HashMap<SnapshotName, Duration>, RepositoryError> {
    let UnixMillis(now) = repository.ambient.now();
    let listed = repository.listed("forgotten/")?;
    let modified: HashMap<Name, Option<SystemTime>> = listed.into_iter().map(|of| (of.name, of.modified)).collect();
    let mut ages: HashMap<SnapshotName, Duration> = HashMap::new();
    for (source, said) in lock(&repository.catalog).said()? {
        let by_store = modified.get(&source).copied().flatten().map(|modified| clock.age(Some(modified)));
        for of in said.iter().filter(|of| of.reason.is_some()) {
            let told = Duration::from_millis(now.saturating_sub(of.time.0));
            let age = by_store.map_or(told, |by_store| by_store.min(told));
            let known = ages.entry(of.snapshot).or_insert(age);
            *known = age.max(*known);
        }
    }
    Ok(ages)
}

/// What stands at a commit name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decided {
    /// Nothing yet.
    No,
    /// A snapshot.
    Snapshot(SnapshotName),
    /// A burial.
    Burial,
    /// A tombstone, or what nobody can read and was recorded as lost or forgotten.
    Ended,
}

/// Reads what stands at a commit name.
pub(super) fn decided(repository: &Repository, name: &Name) -> Result<Decided, RepositoryError> {
    use crate::format::object::Kind;
    let object = match repository.store.get(&object_name(name), crate::format::limits::SNAPSHOT_MAX) {
        Err(crate::store::StoreError::NotFound { .. }) => return Ok(Decided::No),
        other => other?,
    };
    let kind = match repository.open_object(name, &object) {
        Err(error) if error.is_damage() && is_given_up(repository, name)? => return Ok(Decided::Ended),
        other => other?.0,
    };
    Ok(match (kind, name) {
        (Kind::Snapshot, Name::Snapshot(snapshot)) => Decided::Snapshot(*snapshot),
        (Kind::Burial, _) => Decided::Burial,
        _ => Decided::Ended,
    })
}

/// Whether nobody waits for what stands at a commit name any more: it was recorded as lost, or was a snapshot that was forgotten.
fn is_given_up(repository: &Repository, name: &Name) -> Result<bool, RepositoryError> {
    let forgotten = lock(&repository.catalog).forgotten()?;
    let is_forgotten = forgotten.iter().any(|record| Name::Snapshot(record.snapshot) == *name);
    Ok(is_forgotten || repository.losses()?.has(&name.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SWEEP-4: ages are by the store's clock, and what has none is never old.
    #[test]
    fn what_has_no_time_of_the_store_is_not_old() {
        let hour = Duration::from_secs(3600);
        let (early, late) = (SystemTime::UNIX_EPOCH + hour, SystemTime::UNIX_EPOCH + 3 * hour);
        let age = |now, modified| StoreClock { now }.age(modified);
        assert_eq!(age(Some(late), Some(early)), 2 * hour);
        assert_eq!(age(Some(early), Some(late)), Duration::ZERO);
        assert_eq!(age(None, Some(early)), Duration::ZERO);
        assert_eq!(age(Some(late), None), Duration::ZERO);
    }
}
