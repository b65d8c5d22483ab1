//! A writer: one lease, one name under which it may commit, no lock. Rules: format-spec/11-sessions.md.
//!
//! SESS-1: only the lease is put twice under one name; everything else is named by its hash, or put once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::error::RepositoryError;
use super::keyring::Keyring;
use super::opening::Alarm;
use super::state::Head;
use super::{Repository, lock, object_name};
use crate::format::ids::DatasetTag;
use crate::format::limits::SNAPSHOT_MAX;
use crate::format::object::{Kind, Name, SnapshotName};
use crate::format::session::{Lease, Tombstone};
use crate::format::snapshot::Snapshot;
use crate::format::{Id16, ObjectHash, UnixMillis};
use crate::store::StoreError;

/// How often a lease is rewritten.
const HEARTBEAT: Duration = Duration::from_secs(10 * 60);
/// A lease without a heartbeat for this long may be given up by a sweep.
const STALE: Duration = Duration::from_secs(60 * 60);

/// When packs were stored.
type StoredAt = HashMap<ObjectHash, UnixMillis>;

/// A backup's session: from its lease to its commit.
pub struct Session<'r> {
    pub(super) repository: &'r Repository,
    pub(super) keyring: Arc<Keyring>,
    id: Id16,
    commit_name: SnapshotName,
    begin: UnixMillis,
    seen: Vec<Id16>,
    beat: Mutex<Duration>,
    newest: Option<Head>,
    alarms: Vec<Alarm>,
    stored_at: StoredAt,
}

/// A snapshot that was committed.
#[derive(Debug)]
pub struct Committed {
    /// Its object name.
    pub name: SnapshotName,
    /// Why this host could not note it in its catalog or state.
    pub not_noted: Option<RepositoryError>,
}

impl Repository {
    /// Begins a session that may commit one snapshot of a dataset, and brings the catalog to what is there now.
    ///
    /// SESS-3: the lease first, then each LIST once, in this order; then the lease again, with what was seen condemned.
    pub fn begin(&self, dataset: &str) -> Result<Session<'_>, RepositoryError> {
        let keyring = self.keyring();
        let (id, begin, tag) = (self.ambient.id(), self.ambient.now(), keyring.tag(dataset));
        let mut session = Session {
            repository: self,
            keyring,
            id,
            commit_name: SnapshotName { tag, time: begin, session: id },
            begin,
            seen: Vec::new(),
            beat: Mutex::new(Duration::ZERO),
            newest: None,
            alarms: Vec::new(),
            stored_at: HashMap::new(),
        };
        session.put_lease(None)?;
        match session.look_around() {
            Ok(()) => Ok(session),
            Err(error) => Err(session.give_up(error)),
        }
    }

    /// Fills the catalog's list of usable packs; says which an index names that are not there, and when the others were
    /// stored.
    fn prove_packs(&self, condemned: &HashSet<ObjectHash>) -> Result<(Option<Alarm>, StoredAt), RepositoryError> {
        let with_times = self.listed_packs_with_times()?;
        let stored_at = with_times.iter().filter_map(|(pack, (_, time))| Some((*pack, (*time)?))).collect();
        let listed: HashMap<_, _> = with_times.into_iter().map(|(pack, (size, _))| (pack, size)).collect();
        let mut catalog = lock(&self.catalog);
        catalog.set_usable(&listed, condemned)?;
        let indexed = catalog.indexed_packs()?;
        let lost = indexed.iter().filter(|(pack, size)| listed.get(pack) != Some(size) && !condemned.contains(pack));
        let first = lost.clone().map(|(pack, _)| Name::Pack(*pack)).min();
        Ok((first.map(|first| Alarm::Packs { lost: lost.count(), first: first.to_string() }), stored_at))
    }
}

impl Session<'_> {
    fn look_around(&mut self) -> Result<(), RepositoryError> {
        let (repository, tag) = (self.repository, self.commit_name.tag);
        let (ids, condemned) = repository.condemned()?;
        self.alarms = repository.refresh_index()?;
        let (lost, stored_at) = repository.prove_packs(&condemned)?;
        self.alarms.extend(lost);
        self.stored_at = stored_at;
        self.alarms.extend(repository.refresh_snapshots(&format!("snapshots/{tag}/"))?);
        self.newest = repository.newest(&tag.to_string())?;
        self.seen = ids;
        self.put_lease(Some(self.seen.clone()))
    }

    /// The repository it writes to.
    pub fn repository(&self) -> &Repository {
        self.repository
    }

    /// The session's id, which becomes the snapshot's.
    pub fn id(&self) -> Id16 {
        self.id
    }

    /// When it began, by the host's clock.
    pub fn begin(&self) -> UnixMillis {
        self.begin
    }

    /// When a pack was stored, by the store's clock, where it was listed with a time.
    pub(super) fn stored_at(&self, pack: &ObjectHash) -> Option<UnixMillis> {
        self.stored_at.get(pack).copied()
    }

    /// What was missing or unreadable when it began.
    pub fn alarms(&self) -> &[Alarm] {
        &self.alarms
    }

    /// SNAP-2: one more than the largest sequence number seen in the dataset.
    pub fn sequence(&self) -> u64 {
        self.newest.as_ref().map_or(1, |head| head.sequence.saturating_add(1))
    }

    /// The dataset's newest snapshot, listed or remembered.
    pub fn previous(&self) -> Option<String> {
        self.newest.as_ref().map(|head| head.name.clone())
    }

    /// What stands for its dataset in object names.
    pub(super) fn tag(&self) -> DatasetTag {
        self.commit_name.tag
    }

    /// That snapshot, where it is there and can be read.
    pub fn previous_snapshot(&self) -> Result<Option<Snapshot>, RepositoryError> {
        let Some(name) = self.newest.as_ref().and_then(|head| SnapshotName::parse(&head.name)) else { return Ok(None) };
        match self.repository.read_snapshot(&name) {
            Err(error) if error.is_damage() => Ok(None),
            other => other,
        }
    }

    fn put_lease(&self, seen: Option<Vec<Id16>>) -> Result<(), RepositoryError> {
        let name = Name::Lease(self.id);
        let heartbeat = self.repository.ambient.now();
        let lease = Lease { session: self.id, commit_name: self.commit_name.to_string(), seen, heartbeat };
        // Taken before the put: a slow put makes the heartbeat older, not younger.
        let uptime = (self.repository.ambient.uptime)();
        let sealed = self.keyring.seal(&name, Kind::Lease, self.repository.ambient.random(), &lease.encode());
        self.repository.store.put(&object_name(&name), &sealed)?;
        *lock(&self.beat) = uptime;
        Ok(())
    }

    fn since_heartbeat(&self) -> Duration {
        (self.repository.ambient.uptime)().saturating_sub(*lock(&self.beat))
    }

    /// Rewrites the lease when it is due.
    pub fn keep_alive(&self) -> Result<(), RepositoryError> {
        match self.since_heartbeat() < HEARTBEAT {
            true => Ok(()),
            false => self.put_lease(Some(self.seen.clone())),
        }
    }

    /// Commits the session's snapshot: the only moment from which it exists. Everything it needs was stored before.
    ///
    /// SESS-4: `put_new` under the one commit name. SESS-6: not after a heartbeat that may have been taken for dead;
    /// the caller begins again.
    pub fn commit(self, snapshot: &Snapshot) -> Result<Committed, RepositoryError> {
        let name = Name::Snapshot(self.commit_name);
        let sealed = match self.seal(&name, snapshot) {
            Ok(sealed) => sealed,
            Err(error) => return Err(self.give_up(error)),
        };
        match self.repository.store.put_new(&object_name(&name), &sealed) {
            Ok(()) => {}
            Err(StoreError::Exists { .. }) => self.settle_refusal(&name, &sealed)?,
            Err(error) => self.settle_unknown(&name, &sealed, error)?,
        }
        // From here on the snapshot exists: what this host fails to note is said, and is no failure of the backup.
        let head = Head { sequence: snapshot.sequence, name: self.commit_name.to_string() };
        let tag = self.commit_name.tag.to_string();
        let remembered = lock(&self.repository.state).remember_head(self.repository.id(), &tag, &head);
        let noted = lock(&self.repository.catalog).add_snapshot(&self.commit_name, Some(snapshot));
        Ok(Committed { name: self.commit_name, not_noted: remembered.and(noted).err() })
    }

    fn seal(&self, name: &Name, snapshot: &Snapshot) -> Result<Vec<u8>, RepositoryError> {
        snapshot.check().map_err(|malformed| RepositoryError::Limit(malformed.to_string()))?;
        let sealed = self.keyring.seal(name, Kind::Snapshot, self.repository.ambient.random(), &snapshot.encode());
        if sealed.len() as u64 > SNAPSHOT_MAX {
            let why = format!("the snapshot would have {} bytes, above its limit", sealed.len());
            return Err(RepositoryError::Limit(why));
        }
        match self.since_heartbeat() > STALE / 2 {
            true => Err(RepositoryError::Fenced),
            false => Ok(sealed),
        }
    }

    /// A put that failed may have taken effect. Where the tombstone can be put it has not, and never will; where
    /// something stands already it is read.
    fn settle_unknown(&self, name: &Name, sealed: &[u8], error: StoreError) -> Result<(), RepositoryError> {
        match self.put_tombstone() {
            Err(StoreError::Exists { .. }) => self.settle_refusal(name, sealed),
            Ok(()) | Err(_) => Err(error.into()),
        }
    }

    /// SESS-5: own bytes are a commit whose answer was lost; a tombstone fences the session; the rest is damage.
    fn settle_refusal(&self, name: &Name, sealed: &[u8]) -> Result<(), RepositoryError> {
        let found = self.repository.store.get(&object_name(name), SNAPSHOT_MAX)?;
        if found == sealed {
            return Ok(());
        }
        match self.repository.open_object(name, &found)? {
            (Kind::Tombstone, _) => Err(RepositoryError::Fenced),
            _ => Err(RepositoryError::damaged(name, super::Fault::WrongHash)),
        }
    }

    /// SESS-7: ends the session without a commit, by a tombstone in its place. Nothing is deleted. That the tombstone may
    /// fail too is why a sweep can put it: the error is that of the work, handed through.
    pub fn give_up<E>(self, error: E) -> E {
        let _ = self.put_tombstone();
        error
    }

    fn put_tombstone(&self) -> Result<(), StoreError> {
        let name = Name::Snapshot(self.commit_name);
        let tombstone = Tombstone { session: self.id, time: self.repository.ambient.now() }.encode();
        let sealed = self.keyring.seal(&name, Kind::Tombstone, self.repository.ambient.random(), &tombstone);
        self.repository.store.put_new(&object_name(&name), &sealed)
    }
}
