//! The way in: chunks are named, looked up, gathered in frames, compressed, sealed into packs, checked and stored.
//!
//! Five stages joined by bounded channels, all inside [`Session::store`]:
//!
//! ```text
//! caller: name, look up, gather   workers: compress   packer: seal, in order   checker: decode again
//! finisher: store, catalog, index
//! ```
//!
//! Memory: with W workers (at most [`WORKERS_LIMIT`]), frames under way are bounded by 4 W tickets of at most two
//! buffers of 1 MiB and [`GATHER`] more, zstd's tables of about 4 MiB a worker, four packs of 18 MiB (one being
//! filled, one waiting, one being checked, one being stored) and one decoded frame a core: below 180 MiB with 8
//! workers, below 110 MiB with two, whatever is backed up.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::error::{Fault, RepositoryError};
use super::pack_reader::check_pack;
use super::pack_writer::{FinishedPack, FrameBody, PACK_TARGET, PackWriter};
use super::session::Session;
use super::{lock, object_name};
use crate::compress::{CannotCompress, Compressor};
use crate::format::frame::{BasePrefix, Method};
use crate::format::index::{Index, IndexedPack};
use crate::format::limits::FOOTER_MAX;
use crate::format::object::{Kind, Name};
use crate::format::pack::ChunkRow;
use crate::format::sealing::SEAL_OVERHEAD;
use crate::format::{ChunkId, ObjectHash};

/// Plaintext a frame gathers before it is closed.
const GATHER: usize = 1 << 20;
/// An index object is stored after this many packs, so that a killed session's work can be used again.
pub(super) const INDEX_EVERY: usize = 64;
/// Or after this many chunks: far below INDEX_MAX however small they are.
pub(super) const INDEX_CHUNKS: usize = 1 << 20;
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

impl Default for IntakeOptions {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        IntakeOptions { level: 3, workers: cores.min(WORKERS_LIMIT) }
    }
}

/// What a session has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stored {
    /// Chunks the repository did not have.
    pub new_chunks: u64,
    /// Their plaintext bytes.
    pub new_bytes: u64,
    /// Bytes of packs and index objects.
    pub stored_bytes: u64,
    /// Packs.
    pub packs: u64,
}

/// Chunks of what kind a frame holds: contents and lists compress differently, and are read at different times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Content,
    List,
}

struct Frame {
    ticket: u64,
    plaintext: Vec<u8>,
    chunks: Vec<ChunkRow>,
}

#[derive(Default)]
struct Gathering {
    plaintext: Vec<u8>,
    chunks: Vec<ChunkRow>,
}

/// The caller's end of the way in.
pub struct Intake<'s> {
    pub(super) session: &'s Session<'s>,
    flying: &'s Mutex<HashSet<ChunkId>>,
    stop: &'s (dyn Fn() -> bool + Sync),
    frames: Sender<Frame>,
    tickets: Receiver<()>,
    next: u64,
    contents: Gathering,
    lists: Gathering,
    stored: Stored,
}

impl Intake<'_> {
    /// The id of a chunk, which is stored unless the repository has it.
    pub(super) fn put_chunk(&mut self, class: Class, bytes: &[u8]) -> Result<ChunkId, RepositoryError> {
        if (self.stop)() {
            return Err(RepositoryError::Interrupted);
        }
        self.session.keep_alive()?;
        let id = self.session.keyring.chunk_id(bytes);
        if lock(self.flying).contains(&id) || lock(&self.session.repository.catalog).is_known(&id)? {
            return Ok(id);
        }
        lock(self.flying).insert(id);
        self.stored.new_chunks += 1;
        self.stored.new_bytes += bytes.len() as u64;
        if self.gathering(class).plaintext.len() + bytes.len() > GATHER {
            self.close_frame(class)?;
        }
        let gathering = self.gathering(class);
        gathering.plaintext.extend_from_slice(bytes);
        gathering.chunks.push(ChunkRow { id, length: bytes.len() as u32, delta: None });
        Ok(id)
    }

    fn gathering(&mut self, class: Class) -> &mut Gathering {
        match class {
            Class::Content => &mut self.contents,
            Class::List => &mut self.lists,
        }
    }

    fn close_frame(&mut self, class: Class) -> Result<(), RepositoryError> {
        let empty = Gathering { plaintext: Vec::with_capacity(GATHER), chunks: Vec::new() };
        let Gathering { plaintext, chunks } = std::mem::replace(self.gathering(class), empty);
        if chunks.is_empty() {
            return Ok(());
        }
        let frame = Frame { ticket: self.next, plaintext, chunks };
        self.next += 1;
        // A closed channel means that a later stage failed; its error is the one that is reported.
        self.tickets.recv().map_err(|_| RepositoryError::Interrupted)?;
        self.frames.send(frame).map_err(|_| RepositoryError::Interrupted)
    }

    fn flush(&mut self) -> Result<(), RepositoryError> {
        self.close_frame(Class::Content)?;
        self.close_frame(Class::List)
    }
}

impl Session<'_> {
    /// Runs `work` with an open way in. When this returns, everything `work` put is stored and named by an index
    /// object; when it fails, nothing refers to what was stored.
    pub fn store<T, E: From<RepositoryError>>(
        &self,
        options: IntakeOptions,
        stop: &(dyn Fn() -> bool + Sync),
        work: impl FnOnce(&mut Intake<'_>) -> Result<T, E>,
    ) -> Result<(T, Stored), E> {
        let workers = options.workers.clamp(1, WORKERS_LIMIT);
        let flying = Mutex::new(HashSet::new());
        let under_way = 4 * workers;
        let (frames, to_compress) = bounded(under_way);
        let (compressed, to_pack) = bounded(under_way);
        let (packs, to_check) = bounded(1);
        let (checked, to_store) = bounded(0);
        let (give_back, tickets) = bounded(under_way);
        (0..under_way).try_for_each(|_| give_back.send(())).unwrap_or_else(|_| unreachable!("it has this room"));
        thread::scope(|scope| {
            for _ in 0..workers {
                let (from, to) = (to_compress.clone(), compressed.clone());
                scope.spawn(move || compress(options.level, &from, &to));
            }
            // Only the workers hold these ends: when the caller's end closes, the stages end one after the other.
            drop((to_compress, compressed));
            let (end, ended) = bounded::<()>(0);
            scope.spawn(move || self.pulse(&ended));
            let packer = scope.spawn(|| Packer::new(self, packs, give_back).run(to_pack));
            let checker = scope.spawn(|| check_packs(self, to_check, checked));
            let finisher = scope.spawn(|| Finisher::new(self, &flying).run(to_store));
            let contents = Gathering::default();
            let lists = Gathering::default();
            let stored = Stored::default();
            let mut intake =
                Intake { session: self, flying: &flying, stop, frames, tickets, next: 0, contents, lists, stored };
            let result = work(&mut intake).and_then(|value| Ok(intake.flush().map(|()| value)?));
            let stored = intake.stored;
            drop((intake, end));
            let packed = packer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let passed = checker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let finished = finisher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // The stage nearest to the store knows why the ones before it stopped.
            let finisher = finished?;
            passed?;
            packed?;
            let value = result?;
            let (packs, stored_bytes) = finisher.finish()?;
            Ok((value, Stored { packs, stored_bytes, ..stored }))
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

/// A frame's ticket, and the frame compressed or why it could not be.
type Compressed = (u64, Result<FrameBody, CannotCompress>);

/// A worker: compresses frames until there are no more, or nobody takes them.
fn compress(level: i32, from: &Receiver<Frame>, to: &Sender<Compressed>) {
    let mut compressor = Compressor::new(level);
    for Frame { ticket, plaintext, chunks } in from {
        let compressed = match &mut compressor {
            Ok(compressor) => compressor.whole(&plaintext),
            Err(error) => Err(error.clone()),
        };
        let body = compressed.map(|compressed| match compressed.len() < plaintext.len() {
            true => FrameBody { method: Method::Zstd, bytes: compressed, chunks },
            false => FrameBody { method: Method::Plain, bytes: plaintext, chunks },
        });
        if to.send((ticket, body)).is_err() {
            return;
        }
    }
}

/// Seals frames into packs, in the order the caller gave them: two runs make the same packs.
struct Packer<'s> {
    session: &'s Session<'s>,
    packs: Sender<FinishedPack>,
    give_back: Sender<()>,
    early: BTreeMap<u64, FrameBody>,
    next: u64,
    pack: Option<PackWriter>,
}

impl<'s> Packer<'s> {
    fn new(session: &'s Session<'s>, packs: Sender<FinishedPack>, give_back: Sender<()>) -> Self {
        Packer { session, packs, give_back, early: BTreeMap::new(), next: 0, pack: None }
    }

    fn run(mut self, from: Receiver<Compressed>) -> Result<(), RepositoryError> {
        for (ticket, frame) in from {
            // Returning closes the tickets: the caller does not wait for a frame that will never come.
            self.early.insert(ticket, frame.map_err(|error| RepositoryError::Limit(error.to_string()))?);
            while let Some(frame) = self.early.remove(&self.next) {
                self.next += 1;
                self.append(frame)?;
                // Fails when the caller is gone, who then waits for no ticket.
                let _ = self.give_back.try_send(());
            }
        }
        self.close()
    }

    fn append(&mut self, frame: FrameBody) -> Result<(), RepositoryError> {
        let full = |pack: &PackWriter| {
            pack.footer_len() > FOOTER_MAX as usize / 2
                || pack.len() + pack.footer_len() + frame.bytes.len() + SEAL_OVERHEAD > PACK_TARGET
        };
        if self.pack.as_ref().is_some_and(full) {
            self.close()?;
        }
        let pack = match self.pack.take() {
            Some(pack) => pack,
            None => PackWriter::new(&self.session.keyring, self.session.repository.ambient.random())
                .map_err(|fault| RepositoryError::damaged("a new pack", fault))?,
        };
        self.pack.insert(pack).append(frame);
        Ok(())
    }

    fn close(&mut self) -> Result<(), RepositoryError> {
        match self.pack.take() {
            // Fails when a later stage has failed, which reports why.
            Some(pack) if !pack.is_empty() => self.packs.send(pack.finish()).map_err(|_| RepositoryError::Interrupted),
            _ => Ok(()),
        }
    }
}

/// Reads every pack the way a restore will, before it is stored.
fn check_packs(
    session: &Session<'_>,
    from: Receiver<FinishedPack>,
    to: Sender<FinishedPack>,
) -> Result<(), RepositoryError> {
    for pack in from {
        let name = Name::Pack(pack.indexed.pack);
        let checked = check_pack(&session.keyring, pack.indexed.pack, &pack.bytes, &no_bases);
        let checked =
            checked.map_err(|fault| RepositoryError::damaged(format!("{name} (before it was stored)"), fault))?;
        // What an index object will say of the pack is what was read back, not what was meant.
        // Fails when the finisher has failed, which reports why.
        to.send(FinishedPack { bytes: pack.bytes, indexed: checked }).map_err(|_| RepositoryError::Interrupted)?;
    }
    Ok(())
}

/// Stores packs, makes their chunks known to this session, and writes index objects.
struct Finisher<'s> {
    session: &'s Session<'s>,
    flying: &'s Mutex<HashSet<ChunkId>>,
    unindexed: Vec<IndexedPack>,
    /// Chunks in `unindexed`.
    chunks: usize,
    packs: u64,
    bytes: u64,
}

impl<'s> Finisher<'s> {
    fn new(session: &'s Session<'s>, flying: &'s Mutex<HashSet<ChunkId>>) -> Self {
        Finisher { session, flying, unindexed: Vec::new(), chunks: 0, packs: 0, bytes: 0 }
    }

    fn run(mut self, from: Receiver<FinishedPack>) -> Result<Self, RepositoryError> {
        for pack in from {
            self.store_pack(pack)?;
            if self.unindexed.len() == INDEX_EVERY || self.chunks > INDEX_CHUNKS {
                self.store_index()?;
            }
        }
        Ok(self)
    }

    fn store_pack(&mut self, pack: FinishedPack) -> Result<(), RepositoryError> {
        let repository = self.session.repository;
        let name = Name::Pack(pack.indexed.pack);
        repository.store.put(&object_name(&name), &pack.bytes)?;
        self.packs += 1;
        self.bytes += pack.indexed.size;
        lock(&repository.catalog).add_pack(&pack.indexed, self.session.id(), true)?;
        let mut flying = lock(self.flying);
        for chunk in pack.indexed.footer.frames.iter().flat_map(|frame| &frame.chunks) {
            flying.remove(&chunk.id);
        }
        drop(flying);
        self.chunks += pack.indexed.footer.frames.iter().map(|frame| frame.chunks.len()).sum::<usize>();
        self.unindexed.push(pack.indexed);
        self.session.keep_alive()
    }

    /// INDEX-1: only packs that were stored are named.
    fn store_index(&mut self) -> Result<(), RepositoryError> {
        if self.unindexed.is_empty() {
            return Ok(());
        }
        let (keyring, repository) = (&self.session.keyring, self.session.repository);
        self.chunks = 0;
        let index = Index { session: self.session.id(), packs: std::mem::take(&mut self.unindexed) };
        // The name is the hash of the bytes and no part of what is sealed.
        let unnamed = Name::Index(ObjectHash([0; 32]));
        let sealed = keyring.seal(&unnamed, Kind::Index, repository.ambient.random(), &index.encode());
        let name = Name::Index(ObjectHash(blake3::hash(&sealed).into()));
        keyring.open(&name, &sealed).map_err(|fault| RepositoryError::damaged(name, fault))?;
        repository.store.put(&object_name(&name), &sealed)?;
        self.bytes += sealed.len() as u64;
        // Its packs belong to it from now on; a later LIST that does not show it drops them again.
        lock(&repository.catalog).add_sources(&[(name.to_string(), index)])
    }

    fn finish(mut self) -> Result<(u64, u64), RepositoryError> {
        self.store_index()?;
        Ok((self.packs, self.bytes))
    }
}

/// Packs of a backup hold no deltas yet.
fn no_bases(_: ChunkId, _: &[BasePrefix], _: &[u8], _: u32) -> Result<Vec<u8>, Fault> {
    Err(Fault::Bases("this pack should hold whole chunks".into()))
}
