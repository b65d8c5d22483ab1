//! The way in: chunks are named, looked up, gathered in frames, compressed, sealed into packs, checked and stored.
//!
//! Five stages joined by bounded channels, all inside [`Session::store`]:
//!
//! ```text
//! caller: name, look up, gather   workers: deltas, compress   packer: seal, in order   checker: decode again
//! finisher: store, catalog, index
//! ```
//!
//! What changed is tried as deltas by the workers, and comes back to the caller in the order in which it was put: one
//! place gathers all frames, and two runs make the same packs.
//!
//! Memory: with W workers (at most [`WORKERS_LIMIT`]), frames under way are bounded by 4 W tickets of at most two
//! buffers of 1 MiB and four times [`GATHER`] more, zstd's tables of about 4 MiB a worker, four packs of 18 MiB (one
//! being filled, one being checked, one being stored, one that was, whose memory the next one takes) and one decoded frame a core:
//! below 183 MiB with 8 workers, below 113 MiB with two, whatever is backed up. To a store that is far away four packs are on their way at once: 54 MiB more. Where deltas are made their reader's caches come on top (see
//! [`ChunkReader`]), 2 W + 1 groups of 512 KiB that are tried, and for each worker 1 MiB of zstd's tables and the bases of
//! one group: with chunks of the usual sizes 1 MiB, at most 8.

mod aligned;
mod compressing;
mod deltas;
mod packing;
mod storing;
mod trials;

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use self::compressing::{do_jobs, is_dense};
use self::deltas::{Delta, Deltas};
use self::packing::{Packer, check_packs};
use self::storing::Finisher;
pub(super) use self::storing::{INDEX_CHUNKS, INDEX_EVERY};
use self::trials::{Changed, ChangedChunk, Trials};
use super::chunk_reader::ChunkReader;
use super::error::RepositoryError;
use super::lock;
use super::pack_writer::DeltaHash;
use super::session::Session;
use crate::format::ChunkId;
use crate::format::list::ListEntry;
use crate::format::pack::{ChunkRow, DeltaRow};
use crate::format::summary::{Holds, New, News};

/// Plaintext a frame gathers before it is closed.
const GATHER: usize = 1 << 20;
/// Bytes of deltas that are gathered: a chunk of them is read with all of these.
const GATHER_DELTAS: usize = 128 << 10;
/// The same of deltas of copies, which are compressed together.
const GATHER_COPIES: usize = 512 << 10;
/// How often the lease is looked at while the caller waits for something.
const PULSE: Duration = Duration::from_secs(30);
/// More workers than this do not make a backup faster.
const WORKERS_LIMIT: usize = 8;

/// How chunks are stored.
#[derive(Debug, Clone, Copy)]
pub struct IntakeOptions {
    /// zstd level, 1 to 19.
    pub level: i32,
    /// Threads that compress.
    pub workers: usize,
}

impl Stored {
    /// All new chunks.
    pub fn total(&self) -> New {
        let mut total = New::default();
        self.new.values().for_each(|new| total.add(*new));
        total
    }

    /// Adds what was stored behind it.
    pub fn add(&mut self, more: Stored) {
        let Stored { new, stored_bytes, packs } = more;
        new.into_iter().for_each(|(holds, new)| self.new.entry(holds).or_default().add(new));
        (self.stored_bytes, self.packs) = (self.stored_bytes + stored_bytes, self.packs + packs);
    }
}

impl Default for IntakeOptions {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        IntakeOptions { level: 3, workers: cores.min(WORKERS_LIMIT) }
    }
}

/// What a session has stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// Chunks the repository did not have, by what they hold.
    pub new: News,
    /// Bytes of packs and index objects.
    pub stored_bytes: u64,
    /// Packs.
    pub packs: u64,
}

/// In which form a frame holds its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Whole,
    /// Whole, and they look random.
    Dense,
    /// Deltas by zstd against their bases.
    Delta,
    /// Deltas of copies and insertions.
    Copies,
}

impl Kind {
    fn gathers(self) -> usize {
        match self {
            Kind::Whole | Kind::Dense => GATHER,
            Kind::Delta => GATHER_DELTAS,
            Kind::Copies => GATHER_COPIES,
        }
    }
}

struct Frame {
    ticket: u64,
    kind: Kind,
    holds: Holds,
    plaintext: Vec<u8>,
    chunks: Vec<ChunkRow>,
    /// Of deltas, the hash of each.
    proofs: Vec<DeltaHash>,
}

/// What a worker does.
enum Job {
    /// Compresses a frame.
    Frame(Frame),
    /// Tries chunks as deltas.
    Changed(Changed),
    /// Something else that may be done beside.
    Beside(Box<dyn FnOnce() + Send>),
}

#[derive(Default)]
struct Gathering {
    plaintext: Vec<u8>,
    chunks: Vec<ChunkRow>,
    proofs: Vec<DeltaHash>,
}

impl Gathering {
    fn has_room(&self, kind: Kind, stored: usize) -> bool {
        self.plaintext.len() + stored <= kind.gathers()
    }
}

/// What a frame is made of: its chunks hold the same, since it is read and stored at the same times, in one form.
type Sort = (Holds, Kind);

/// The caller's end of the way in.
pub struct Intake<'s> {
    pub(super) session: &'s Session<'s>,
    /// Reads what earlier sessions stored.
    pub(super) reader: &'s ChunkReader<'s>,
    flying: &'s Mutex<HashSet<ChunkId>>,
    deltas: &'s Deltas<'s>,
    stop: &'s (dyn Fn() -> bool + Sync),
    jobs: Sender<Job>,
    tickets: Receiver<()>,
    next: u64,
    gatherings: BTreeMap<Sort, Gathering>,
    trials: Trials,
}

impl Intake<'_> {
    /// The id a chunk has here.
    pub(super) fn name(&self, bytes: &[u8]) -> ChunkId {
        self.session.keyring.chunk_id(bytes)
    }

    /// DELTA-8: stores a chunk of a list, unless the repository has it; as a delta where that is worth it against the one or two
    /// list chunks that were at its place in the file's previous version. There are few: each is tried.
    pub(super) fn put_list(&mut self, bytes: &[u8], old: &[ListEntry]) -> Result<ChunkId, RepositoryError> {
        let id = self.name(bytes);
        match (self.takes(id)?, old) {
            (false, _) => {}
            (true, []) => self.put_whole(Holds::Lists, id, bytes)?,
            (true, _) if self.trials.add(Holds::Lists, id, bytes, old) => self.try_changed()?,
            (true, _) => {}
        }
        Ok(id)
    }

    /// Stores a chunk of content that was taken; as a delta where that is worth it against the one or two chunks that
    /// were at its place in the file's previous version.
    pub(super) fn put_content(
        &mut self,
        holds: Holds,
        id: ChunkId,
        bytes: &[u8],
        old: &[ListEntry],
    ) -> Result<(), RepositoryError> {
        if !self.trials.wants(old) {
            return self.put_whole(holds, id, bytes);
        }
        match self.trials.add(holds, id, bytes, old) {
            true => self.try_changed(),
            false => Ok(()),
        }
    }

    /// Stores a chunk of content that was taken, and that is `copies` as a delta of copies of `old`, tried out; as that where
    /// it is worth it.
    pub(super) fn put_copies(
        &mut self,
        holds: Holds,
        id: ChunkId,
        bytes: &[u8],
        old: &[ListEntry],
        copies: Vec<u8>,
    ) -> Result<(), RepositoryError> {
        let length = bytes.len() as u32;
        match self.deltas.of_copies(holds, length, old, copies)? {
            Some(delta) => self.gather_delta(holds, ChunkRow { id, length, delta: None }, delta),
            None => self.put_content(holds, id, bytes, old),
        }
    }

    fn put_whole(&mut self, holds: Holds, id: ChunkId, bytes: &[u8]) -> Result<(), RepositoryError> {
        let kind = if holds != Holds::Lists && is_dense(bytes) { Kind::Dense } else { Kind::Whole };
        self.gather((holds, kind), bytes, ChunkRow { id, length: bytes.len() as u32, delta: None })
    }

    /// Sends off what was gathered to be tried, and takes back what is more than may be under way.
    fn try_changed(&mut self) -> Result<(), RepositoryError> {
        if let Some(changed) = self.trials.group() {
            self.jobs.send(Job::Changed(changed)).map_err(|_| RepositoryError::Interrupted)?;
        }
        while self.trials.are_many() {
            self.take_tried()?;
        }
        Ok(())
    }

    /// Takes back the group that was sent off first. Answers whether there was one.
    fn take_tried(&mut self) -> Result<bool, RepositoryError> {
        let Some(answer) = self.trials.next() else { return Ok(false) };
        let tried = answer?;
        let mut rest = &tried.bytes[..];
        for (ChangedChunk { holds, id, length, .. }, delta) in tried.chunks {
            let (bytes, after) = rest.split_at_checked(length as usize).unwrap_or((rest, &[]));
            rest = after;
            match delta {
                Some(delta) => self.gather_delta(holds, ChunkRow { id, length, delta: None }, delta)?,
                None => self.put_whole(holds, id, bytes)?,
            }
        }
        Ok(true)
    }

    fn gather_delta(&mut self, holds: Holds, chunk: ChunkRow, delta: Delta) -> Result<(), RepositoryError> {
        let (sort, row) = ((holds, delta.kind), DeltaRow { length: delta.bytes.len() as u32, bases: delta.bases });
        self.gather(sort, &delta.bytes, ChunkRow { delta: Some(row), ..chunk })?;
        self.gatherings.entry(sort).or_default().proofs.push(delta.hash);
        Ok(())
    }

    /// Whether a chunk has to be stored, which the caller then does: the repository does not know it, and it is not on
    /// its way.
    pub(super) fn takes(&mut self, id: ChunkId) -> Result<bool, RepositoryError> {
        self.go_on()?;
        if lock(self.flying).contains(&id) || lock(&self.session.repository.catalog).is_known(&id)? {
            return Ok(false);
        }
        Ok(lock(self.flying).insert(id))
    }

    /// Whether none of these chunks has to be stored: the repository knows them, or they are on their way.
    pub(super) fn has_all(&self, ids: &[ChunkId]) -> Result<bool, RepositoryError> {
        let flying = lock(self.flying);
        let others: Vec<ChunkId> = ids.iter().filter(|id| !flying.contains(*id)).copied().collect();
        drop(flying);
        lock(&self.session.repository.catalog).all_known(&others)
    }

    /// Has something done while the way in goes on; it is done before that ends. Nothing depends on it: where a later stage failed
    /// it is not done.
    pub(super) fn beside(&self, job: impl FnOnce() + Send + 'static) {
        let _ = self.jobs.send(Job::Beside(Box::new(job)));
    }

    /// Between two chunks: whether the user wants to stop, and the lease.
    pub(super) fn go_on(&self) -> Result<(), RepositoryError> {
        match (self.stop)() {
            true => Err(RepositoryError::Interrupted),
            false => self.session.keep_alive(),
        }
    }

    fn gather(&mut self, sort: Sort, stored: &[u8], chunk: ChunkRow) -> Result<(), RepositoryError> {
        if !self.gatherings.entry(sort).or_default().has_room(sort.1, stored.len()) {
            self.close_frame(sort)?;
        }
        let gathering = self.gatherings.entry(sort).or_default();
        if gathering.plaintext.capacity() == 0 {
            gathering.plaintext.reserve(GATHER);
        }
        gathering.plaintext.extend_from_slice(stored);
        gathering.chunks.push(chunk);
        Ok(())
    }

    fn close_frame(&mut self, (holds, kind): Sort) -> Result<(), RepositoryError> {
        let Gathering { plaintext, chunks, proofs } = self.gatherings.remove(&(holds, kind)).unwrap_or_default();
        if chunks.is_empty() {
            return Ok(());
        }
        let frame = Frame { ticket: self.next, kind, holds, plaintext, chunks, proofs };
        self.next += 1;
        // A closed channel means that a later stage failed; its error is the one that is reported.
        self.tickets.recv().map_err(|_| RepositoryError::Interrupted)?;
        self.jobs.send(Job::Frame(frame)).map_err(|_| RepositoryError::Interrupted)
    }

    fn flush(&mut self) -> Result<(), RepositoryError> {
        self.try_changed()?;
        while self.take_tried()? {}
        let sorts: Vec<Sort> = self.gatherings.keys().copied().collect();
        sorts.into_iter().try_for_each(|sort| self.close_frame(sort))
    }
}

impl Session<'_> {
    /// INV-1: runs `work` with an open way in. When this returns, everything `work` put is stored and named by an index
    /// object; when it fails, nothing refers to what was stored.
    pub fn store<T, E: From<RepositoryError>>(
        &self,
        options: IntakeOptions,
        stop: &(dyn Fn() -> bool + Sync),
        work: impl FnOnce(&mut Intake<'_>) -> Result<T, E>,
    ) -> Result<(T, Stored), E> {
        let workers = options.workers.clamp(1, WORKERS_LIMIT);
        let flying = Mutex::new(HashSet::new());
        let (under_way, tried) = (4 * workers, 2 * workers);
        // Room for all that may be under way: a job never waits for a worker, only for its ticket or its turn.
        let (jobs, to_do) = bounded(under_way + tried + 1);
        let (compressed, to_pack) = bounded(under_way);
        let (packs, to_check) = bounded(0);
        let (checked, to_store) = bounded(0);
        let (give_back, tickets) = bounded(under_way);
        let (used, to_use_again) = bounded(1);
        (0..under_way).try_for_each(|_| give_back.send(())).unwrap_or_else(|_| unreachable!("it has this room"));
        let reader = ChunkReader::small(self.repository);
        let deltas = Deltas::new(self, &reader, options.level);
        thread::scope(|scope| {
            for _ in 0..workers {
                let (from, to, deltas) = (to_do.clone(), compressed.clone(), &deltas);
                scope.spawn(move || do_jobs(options.level, deltas, &from, &to));
            }
            // Only the workers hold these ends: when the caller's end closes, the stages end one after the other.
            drop((to_do, compressed));
            let (end, ended) = bounded::<()>(0);
            scope.spawn(move || self.pulse(&ended));
            let packer = scope.spawn(|| Packer::new(self, packs, give_back, to_use_again).run(to_pack));
            let checker = scope.spawn(|| check_packs(self, &reader, to_check, checked));
            let finisher = scope.spawn(|| Finisher::new(self, &flying, used).run(to_store));
            let mut intake = Intake {
                session: self,
                reader: &reader,
                flying: &flying,
                deltas: &deltas,
                stop,
                jobs,
                tickets,
                next: 0,
                gatherings: BTreeMap::new(),
                trials: Trials::new(tried),
            };
            let result = work(&mut intake).and_then(|value| Ok(intake.flush().map(|()| value)?));
            drop((intake, end));
            let packed = packer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let passed = checker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let finished = finisher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // The stage nearest to the store knows why the ones before it stopped.
            let finisher = finished?;
            passed?;
            let new = packed?;
            let value = result?;
            let (packs, stored_bytes) = finisher.finish()?;
            Ok((value, Stored { new, packs, stored_bytes }))
        })
    }
}

impl Session<'_> {
    /// Keeps the lease alive while the caller reads a slow disk or waits for a slow store. A heartbeat that fails here is
    /// not the end: the commit looks at the age of the last good one.
    fn pulse(&self, ended: &Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(PULSE) {
            let _ = self.keep_alive();
        }
    }
}
