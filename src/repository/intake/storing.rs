//! The last stage of the way in: packs are stored, then known, then named by index objects.

use std::collections::HashSet;
use std::sync::Mutex;

use crossbeam_channel::Receiver;

use crate::format::index::{Index, IndexedPack};
use crate::format::object::{Kind, Name};
use crate::format::{ChunkId, ObjectHash};
use crate::repository::error::RepositoryError;
use crate::repository::pack_writer::FinishedPack;
use crate::repository::session::Session;
use crate::repository::{lock, object_name};

/// An index object is stored after this many packs, so that a killed session's work can be used again.
const INDEX_EVERY: usize = 64;
/// Or after this many chunks: far below INDEX_MAX however small they are.
const INDEX_CHUNKS: usize = 1 << 20;

/// Stores packs, makes their chunks known to this session, and writes index objects.
pub(super) struct Finisher<'s> {
    session: &'s Session<'s>,
    flying: &'s Mutex<HashSet<ChunkId>>,
    unindexed: Vec<IndexedPack>,
    /// Chunks in `unindexed`.
    chunks: usize,
    packs: u64,
    bytes: u64,
}

impl<'s> Finisher<'s> {
    pub fn new(session: &'s Session<'s>, flying: &'s Mutex<HashSet<ChunkId>>) -> Self {
        Finisher { session, flying, unindexed: Vec::new(), chunks: 0, packs: 0, bytes: 0 }
    }

    pub fn run(mut self, from: Receiver<FinishedPack>) -> Result<Self, RepositoryError> {
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

    /// Stores the last index object; packs and bytes that were stored.
    pub fn finish(mut self) -> Result<(u64, u64), RepositoryError> {
        self.store_index()?;
        Ok((self.packs, self.bytes))
    }
}
