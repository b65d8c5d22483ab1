//! A writer: one lease, one name under which it may commit, no lock. Rules: format-spec/11-sessions.md.
//!
//! SESS-1: only the lease is put twice under one name; everything else is named by its hash, or put once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::alarm::Alarm;
use super::chunk_reader::ChunkReader;
use super::error::RepositoryError;
use super::intake::INDEX_EVERY;
use super::keyring::Keyring;
use super::proving::{OwnIndex, StoredAt};
use super::state::Head;
use super::stream::walk;
use super::{Repository, SnapshotInfo, lock, object_name};
use crate::format::ids::DatasetTag;
use crate::format::limits::{CONDEMNED_MAX, SEQUENCE_MAX, SNAPSHOT_MAX};
use crate::format::object::{Kind, Name, SnapshotName};
use crate::format::session::{Burial, Lease, Tombstone};
use crate::format::snapshot::Snapshot;
use crate::format::{Id16, ObjectHash, UnixMillis};
use crate::store::StoreError;

/// A copy that was killed uses again what it stored up to its last index object, and a link may be slow: not more than so many
/// packs are behind that.
const INDEX_OFTEN: usize = 4;

/// What a session may commit, once.
#[derive(Debug, Clone, Copy)]
enum Goal {
    /// A backup's: a snapshot.
    Snapshot(SnapshotName),
    /// A sweep's: a burial under the session's id.
    Burial,
}

/// A writer's session: from its lease to its commit.
pub struct Session<'r> {
    pub(super) repository: &'r Repository,
    pub(super) keyring: Arc<Keyring>,
    id: Id16,
    goal: Goal,
    begin: UnixMillis,
    seen: Vec<Id16>,
    beat: Mutex<Duration>,
    newest: Option<Head>,
    alarms: Vec<Alarm>,
    stored_at: StoredAt,
    /// Index objects it put, and the packs they name.
    pub(super) own: Mutex<Vec<OwnIndex>>,
    /// It stores an index object after so many packs.
    pub(super) index_every: usize,
}

/// A snapshot that was committed.
#[derive(Debug)]
pub struct Committed {
    /// Its object name.
    pub name: SnapshotName,
    /// When it is final, where that is not at once.
    pub final_at: Option<UnixMillis>,
    /// Why this host could not note it in its catalog or state.
    pub not_noted: Option<RepositoryError>,
}

impl Repository {
    /// Begins a session that may commit one snapshot of a dataset, and brings the catalog to what is there now.
    ///
    /// SESS-3: what the name is made of, the lease, then each LIST once, in this order; then the lease again, where anything was
    /// seen condemned.
    pub fn begin(&self, dataset: &str) -> Result<Session<'_>, RepositoryError> {
        self.begin_at(dataset, self.ambient.now(), None, 0)
    }

    /// Begins a session that may commit a copy of a snapshot, with its place and the time of its capture in the name.
    pub fn begin_copy(&self, of: &Snapshot) -> Result<Session<'_>, RepositoryError> {
        self.begin_at(&of.dataset, of.begin, Some(of.place()), 0)
    }

    /// Begins a session that may commit a snapshot of what was captured at some time before, with its place among the dataset's
    /// snapshots where that is not behind all of them.
    pub fn begin_dated(
        &self,
        dataset: &str,
        time: UnixMillis,
        place: Option<u64>,
    ) -> Result<Session<'_>, RepositoryError> {
        self.begin_at(dataset, time, place, 0)
    }

    /// Begins a session that may commit a copy of a snapshot of another repository, at that place where one is given.
    ///
    /// Its number is no smaller than its place, so that what comes next is behind it.
    pub fn begin_foreign(&self, of: &Snapshot, place: Option<u64>) -> Result<Session<'_>, RepositoryError> {
        let mut session = self.begin_at(&of.dataset, of.begin, place, place.unwrap_or(0))?;
        session.index_every = INDEX_OFTEN;
        Ok(session)
    }

    fn begin_at(
        &self,
        dataset: &str,
        time: UnixMillis,
        place: Option<u64>,
        at_least: u64,
    ) -> Result<Session<'_>, RepositoryError> {
        let tag = self.keyring().tag(dataset);
        let alarms = self.refresh_snapshots(Some(tag))?;
        let newest = self.newest(&tag.to_string())?;
        let sequence =
            newest.as_ref().map_or(1, |head| head.sequence.saturating_add(1).min(SEQUENCE_MAX)).max(at_least);
        let place = place.unwrap_or(sequence);
        let name = |session| SnapshotName { tag, place, sequence, time, session };
        let mut session = self.announce(time, |session| Goal::Snapshot(name(session)))?;
        (session.newest, session.alarms) = (newest, alarms);
        match session.look_around() {
            Ok(()) => Ok(session),
            Err(error) => Err(session.give_up(error)),
        }
    }

    /// Begins a sweep's session, which may put one burial. Its caller lists `condemned/` next and says what it saw.
    pub(super) fn begin_sweep(&self) -> Result<Session<'_>, RepositoryError> {
        self.announce(self.ambient.now(), |_| Goal::Burial)
    }

    /// A new session and its lease.
    fn announce(&self, begin: UnixMillis, goal: impl FnOnce(Id16) -> Goal) -> Result<Session<'_>, RepositoryError> {
        let id = self.ambient.id();
        let session = Session {
            repository: self,
            keyring: self.keyring(),
            id,
            goal: goal(id),
            begin,
            seen: Vec::new(),
            beat: Mutex::new(Duration::ZERO),
            newest: None,
            alarms: Vec::new(),
            stored_at: HashMap::new(),
            own: Mutex::default(),
            index_every: INDEX_EVERY,
        };
        session.put_lease(None)?;
        Ok(session)
    }
}

impl Session<'_> {
    fn look_around(&mut self) -> Result<(), RepositoryError> {
        let repository = self.repository;
        let condemned = repository.condemned()?;
        let mut alarms = repository.refresh_index()?;
        let (lost, stored_at) = repository.prove_packs(&condemned)?;
        self.stored_at = stored_at;
        alarms.extend(lost);
        alarms.append(&mut self.alarms);
        self.alarms = repository.without_recorded(alarms)?;
        match condemned.ids.is_empty() {
            // A lease that states nothing says the same.
            true => self.keep_alive(),
            false => self.state_seen(condemned.ids),
        }
    }

    /// The lease again, now with the condemnations that this session's one LIST of them showed.
    pub(super) fn state_seen(&mut self, ids: Vec<Id16>) -> Result<(), RepositoryError> {
        if self.is_late() {
            return Err(RepositoryError::Fenced);
        }
        self.seen = ids;
        self.put_lease(Some(self.seen.clone()))
    }

    /// The one name under which this session may commit.
    pub(super) fn commit_name(&self) -> Name {
        match self.goal {
            Goal::Snapshot(name) => Name::Snapshot(name),
            Goal::Burial => Name::Burial(self.id),
        }
    }

    /// The repository it writes to.
    pub fn repository(&self) -> &Repository {
        self.repository
    }

    /// The session's id, which becomes the snapshot's.
    pub fn id(&self) -> Id16 {
        self.id
    }

    /// When it began, by the host's clock; of a copy, when its capture did.
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

    /// The number in the dataset that its snapshot will have.
    ///
    /// SNAP-2: one more than the largest that was seen when it began.
    pub fn sequence(&self) -> u64 {
        match self.goal {
            Goal::Snapshot(name) => name.sequence,
            Goal::Burial => unreachable!("a sweep's session is not handed out"),
        }
    }

    /// The dataset's newest snapshot, listed or remembered.
    pub fn previous(&self) -> Option<String> {
        self.newest.as_ref().map(|head| head.name.clone())
    }

    /// What stands for its dataset in object names.
    pub(super) fn tag(&self) -> DatasetTag {
        match self.goal {
            Goal::Snapshot(name) => name.tag,
            Goal::Burial => unreachable!("a sweep's session is not handed out"),
        }
    }

    /// That snapshot, where it is there and can be read.
    pub fn previous_snapshot(&self) -> Result<Option<Snapshot>, RepositoryError> {
        let Some(name) = self.newest.as_ref().and_then(|head| SnapshotName::parse(&head.name)) else { return Ok(None) };
        self.earlier_snapshot(&name)
    }

    /// A snapshot of its dataset, where it is there and can be read.
    pub fn earlier_snapshot(&self, name: &SnapshotName) -> Result<Option<Snapshot>, RepositoryError> {
        match self.repository.earlier_snapshot(name) {
            Err(error) if error.is_damage() => Ok(None),
            other => other,
        }
    }

    /// What the catalog says of the newest kept snapshots of its dataset, of so many at the most, the newest first.
    pub fn earlier_snapshots(&self, most: usize) -> Result<Vec<SnapshotInfo>, RepositoryError> {
        let tag = self.tag();
        let mut all = self.repository.kept_snapshots()?;
        all.retain(|info| info.name.tag == tag);
        Ok(all.into_iter().rev().take(most).collect())
    }

    fn put_lease(&self, seen: Option<Vec<Id16>>) -> Result<(), RepositoryError> {
        let name = Name::Lease(self.id);
        let heartbeat = self.repository.ambient.now();
        let lease = Lease { session: self.id, commit_name: self.commit_name().to_string(), seen, heartbeat };
        // Taken before the put: a slow put makes the heartbeat older, not younger.
        let uptime = (self.repository.ambient.uptime)();
        let sealed = self.keyring.seal(&name, Kind::Lease, self.repository.ambient.random(), &lease.encode());
        self.repository.store.put(&object_name(&name), sealed.into())?;
        *lock(&self.beat) = uptime;
        Ok(())
    }

    fn since_heartbeat(&self) -> Duration {
        (self.repository.ambient.uptime)().saturating_sub(*lock(&self.beat))
    }

    /// Whether its last heartbeat is so old that the next one might come too late.
    fn is_late(&self) -> bool {
        self.since_heartbeat() > self.repository.timing().stale / 2
    }

    /// Rewrites the lease when it is due. After too long a gap it is not: the session is at its end, and no later
    /// heartbeat may hide that.
    ///
    /// SESS-6: whoever slept begins again.
    pub fn keep_alive(&self) -> Result<(), RepositoryError> {
        match self.is_late() {
            true => Err(RepositoryError::Fenced),
            false if self.since_heartbeat() < self.repository.timing().heartbeat => Ok(()),
            false => self.put_lease(Some(self.seen.clone())),
        }
    }

    /// The snapshot as a copy of it has to be committed by this session, once every chunk of it is known to the
    /// session, bases included; else the first file with one that is not.
    ///
    /// FORGET-5: content and times are those of the capture, the place is kept, sequence and `previous` are new.
    pub fn copy(&self, of: &Snapshot, stop: &dyn Fn() -> bool) -> Result<Snapshot, RepositoryError> {
        let reader = ChunkReader::new(self.repository);
        for file in &of.files {
            for stream in file.recipe.iter().flatten().flat_map(|part| part.streams.values()) {
                let known = walk(&reader, stream, &mut |_, entry| {
                    self.keep_alive()?;
                    let is_known = lock(&self.repository.catalog).is_known(&entry.id)?;
                    match (stop(), is_known) {
                        (true, _) => Err(RepositoryError::Interrupted),
                        (_, false) => Err(RepositoryError::UnknownChunk { chunk: entry.id }),
                        (_, true) => Ok(()),
                    }
                });
                known.map_err(|error| match error.is_damage() {
                    true => RepositoryError::InFile { path: file.display_path(), source: Box::new(error) },
                    false => error,
                })?;
            }
        }
        let (sequence, previous, place) = (self.sequence(), self.previous(), Some(of.place()));
        Ok(Snapshot { sequence, previous, place, ..of.clone() })
    }

    /// Commits the session's snapshot: the only moment from which it exists. Everything it needs was stored before.
    ///
    /// SESS-4: `put_new` under the one commit name.
    ///
    /// INV-3: before it there is no snapshot, after it a whole one.
    pub fn commit(self, snapshot: &Snapshot) -> Result<Committed, RepositoryError> {
        let Goal::Snapshot(name) = self.goal else { unreachable!("a sweep's session is not handed out") };
        if let Err(malformed) = snapshot.check() {
            return Err(self.fail(RepositoryError::Limit(malformed.to_string())));
        }
        if (snapshot.place(), snapshot.sequence) != (name.place, name.sequence) {
            let why =
                format!("a snapshot of place {} and sequence {} under {name}", snapshot.place(), snapshot.sequence);
            return Err(self.fail(RepositoryError::Limit(why)));
        }
        let (repository, encoded) = (self.repository, snapshot.encode());
        let sealed = self.put_commit(Kind::Snapshot, &encoded, SNAPSHOT_MAX)?;
        let final_at = repository.final_at();
        self.look_whether_void(&name)?;
        // From here on the snapshot exists: what this host fails to note is said, and is no failure of the backup.
        let head = Head { sequence: snapshot.sequence, name: name.to_string() };
        let remembered = lock(&repository.state).remember_head(
            repository.id(),
            &repository.location(),
            &name.tag.to_string(),
            &head,
        );
        let noted = lock(&repository.catalog).add_snapshot(&name, Some(snapshot));
        let kept = if final_at.is_some() { repository.note_unsettled(&name, &sealed) } else { Ok(()) };
        let carried = self.carry_own();
        Ok(Committed { name, final_at, not_noted: remembered.and(noted).and(kept).and(carried).err() })
    }

    /// SESS-9: whoever slept may have come so late that its tombstone was taken into a ledger.
    fn look_whether_void(&self, name: &SnapshotName) -> Result<(), RepositoryError> {
        if self.is_late() {
            let records = self.repository.refresh_forgotten(&format!("forgotten/{}/", name.tag))?;
            if records.void.contains(name) {
                return Err(RepositoryError::Fenced);
            }
        }
        Ok(())
    }

    /// Puts a sweep's burial: from then on its packs may be deleted.
    ///
    /// SWEEP-8: by the rules of a commit.
    pub(super) fn bury(&self, burial: &Burial) -> Result<(), RepositoryError> {
        self.put_commit(Kind::Burial, &burial.encode(), CONDEMNED_MAX).map(drop)
    }

    /// Not after a heartbeat that may have been taken for dead. Answers with what was stored.
    fn put_commit(&self, kind: Kind, encoded: &[u8], limit: u64) -> Result<Bytes, RepositoryError> {
        let name = self.commit_name();
        let sealed = Bytes::from(self.keyring.seal(&name, kind, self.repository.ambient.random(), encoded));
        if sealed.len() as u64 > limit {
            let why = format!("{name} would have {} bytes, above its limit", sealed.len());
            return Err(self.fail(RepositoryError::Limit(why)));
        }
        if self.is_late() {
            return Err(self.fail(RepositoryError::Fenced));
        }
        match self.repository.store.put_new(&object_name(&name), sealed.clone()) {
            Ok(()) => {}
            Err(StoreError::Exists { .. }) => self.settle_refusal(&name, &sealed)?,
            Err(error) => self.settle_unknown(&name, &sealed, error)?,
        }
        if kind == Kind::Snapshot && self.repository.is_far() {
            // It is committed: one that is not kept is fetched again.
            let _ = lock(&self.repository.catalog).keep(&name.to_string(), &sealed);
        }
        Ok(sealed)
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
        self.fail(error)
    }

    fn fail<E>(&self, error: E) -> E {
        let _ = self.put_tombstone();
        error
    }

    /// Ends a sweep's session that buried nothing. Where a LIST shows at once what is there, its lease can simply go:
    /// it will do nothing more.
    pub(super) fn end_sweep(self) -> Result<(), RepositoryError> {
        match self.repository.timing().lag.is_zero() {
            true => Ok(self.repository.store.delete(&object_name(&Name::Lease(self.id)))?),
            false => Ok(self.put_tombstone()?),
        }
    }

    fn put_tombstone(&self) -> Result<(), StoreError> {
        self.put_tombstone_at(&self.commit_name())
    }

    /// A tombstone in the place of a commit, this session's or another's.
    pub(super) fn put_tombstone_at(&self, name: &Name) -> Result<(), StoreError> {
        let tombstone = Tombstone { session: self.id, time: self.repository.ambient.now() }.encode();
        let sealed =
            Bytes::from(self.keyring.seal(name, Kind::Tombstone, self.repository.ambient.random(), &tombstone));
        self.repository.with_reserve(|| self.repository.store.put_new(&object_name(name), sealed.clone()))
    }
}
