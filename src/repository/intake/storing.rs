//! The last stage of the way in: packs are stored, then known, then named by index objects.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::format::ChunkId;
use crate::format::index::IndexedPack;
use crate::format::object::Name;
use crate::repository::error::RepositoryError;
use crate::repository::pack_reader::seal_again;
use crate::repository::pack_writer::FinishedPack;
use crate::repository::session::Session;
use crate::repository::{lock, object_name};
use crate::store::{StoreError, Trouble};

/// An index object is stored after this many packs, so that a killed session's work can be used again.
pub(in crate::repository) const INDEX_EVERY: usize = 64;
/// Or after this many chunks: far below INDEX_MAX however small they are.
pub(in crate::repository) const INDEX_CHUNKS: usize = 1 << 20;

/// Packs that are on their way at once to a store that is far away.
const UPLOADS: usize = 4;

/// How often a pack is sealed again at the most: each time it was tried for five minutes, and after half an hour the session is late.
const SEALED_AGAIN: usize = 5;

/// A pack that was stored, and the memory it was in.
type PutPack = (IndexedPack, Bytes);

/// Stores a pack; under another name where the store may not repeat what it did with the first one, and has time.
fn put_pack(session: &Session<'_>, pack: FinishedPack) -> Result<PutPack, RepositoryError> {
    let (repository, mut indexed, mut bytes) = (session.repository, pack.indexed, Bytes::from(pack.bytes));
    let put = |indexed: &IndexedPack, bytes: &Bytes| {
        repository.store.put(&object_name(&Name::Pack(indexed.pack)), bytes.clone())
    };
    for _ in 0..SEALED_AGAIN {
        match put(&indexed, &bytes) {
            Err(StoreError::Service { trouble: Trouble::Undecided, .. }) => session.keep_alive()?,
            other => return Ok(other.map(|()| (indexed, bytes))?),
        }
        let again = seal_again(&session.keyring, indexed.pack, &bytes, repository.ambient.random());
        let (sealed, named) = again.map_err(|fault| RepositoryError::damaged("a pack that is sealed again", fault))?;
        (bytes, indexed) = (sealed.into(), named);
    }
    Ok(put(&indexed, &bytes).map(|()| (indexed, bytes))?)
}

/// Stores packs, makes their chunks known to this session, and writes index objects.
pub(super) struct Finisher<'s> {
    session: &'s Session<'s>,
    flying: &'s Mutex<HashSet<ChunkId>>,
    /// Takes the memory of packs that were stored, to be used again: new memory has to be waited for.
    used: Sender<Vec<u8>>,
    unindexed: Vec<IndexedPack>,
    /// Chunks in `unindexed`.
    chunks: usize,
    packs: u64,
    bytes: u64,
}

impl<'s> Finisher<'s> {
    pub fn new(session: &'s Session<'s>, flying: &'s Mutex<HashSet<ChunkId>>, used: Sender<Vec<u8>>) -> Self {
        Finisher { session, flying, used, unindexed: Vec::new(), chunks: 0, packs: 0, bytes: 0 }
    }

    pub fn run(mut self, from: Receiver<FinishedPack>) -> Result<Self, RepositoryError> {
        if !self.session.repository.is_far() {
            for pack in from {
                let stored = put_pack(self.session, pack)?;
                self.add(stored)?;
            }
            return Ok(self);
        }
        let (session, has_failed) = (self.session, AtomicBool::new(false));
        thread::scope(|scope| {
            let (done, stored) = bounded(UPLOADS);
            for _ in 0..UPLOADS {
                let (from, done, has_failed) = (from.clone(), done.clone(), &has_failed);
                // Nobody takes what comes after a failure, and none of them takes another pack then.
                scope.spawn(move || {
                    let mut packs = from.iter().take_while(|_| !has_failed.load(Ordering::Relaxed));
                    packs.all(|pack| done.send(put_pack(session, pack)).is_ok())
                });
            }
            // Only those threads hold these ends: when they give up, the stages before them end.
            drop((from, done));
            let added = stored.iter().try_for_each(|stored| self.add(stored?));
            has_failed.store(added.is_err(), Ordering::Relaxed);
            added
        })?;
        Ok(self)
    }

    /// Takes in a pack that was stored.
    fn add(&mut self, (indexed, bytes): PutPack) -> Result<(), RepositoryError> {
        if let Ok(used) = bytes.try_into_mut() {
            // Fails where there is enough already, or no more packs come.
            let _ = self.used.try_send(used.into());
        }
        let repository = self.session.repository;
        self.packs += 1;
        self.bytes += indexed.size;
        lock(&repository.catalog).add_own_pack(&indexed)?;
        let mut flying = lock(self.flying);
        for chunk in indexed.footer.frames.iter().flat_map(|frame| &frame.chunks) {
            flying.remove(&chunk.id);
        }
        drop(flying);
        self.chunks += indexed.footer.frames.iter().map(|frame| frame.chunks.len()).sum::<usize>();
        self.unindexed.push(indexed);
        if self.unindexed.len() >= self.session.index_every || self.chunks > INDEX_CHUNKS {
            self.store_index()?;
        }
        self.session.keep_alive()
    }

    fn store_index(&mut self) -> Result<(), RepositoryError> {
        self.chunks = 0;
        let repository = self.session.repository;
        if let Some(put) = repository.put_index(self.session.id(), std::mem::take(&mut self.unindexed))? {
            self.bytes += put.size;
            self.session.has_put(&put.name, &put.index);
            // Its packs belong to it from now on; a later LIST that does not show it drops them again.
            lock(&repository.catalog).add_sources(vec![(put.name.to_string(), put.index)])?;
        }
        Ok(())
    }

    /// Stores the last index object; packs and bytes that were stored.
    pub fn finish(mut self) -> Result<(u64, u64), RepositoryError> {
        self.store_index()?;
        Ok((self.packs, self.bytes))
    }
}
