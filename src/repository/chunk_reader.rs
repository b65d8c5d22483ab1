//! Chunks out, one at a time: found through the catalog, opened, decoded with their bases, compared with their id.
//! Rules: format-spec/05-chunks.md, 06-frames.md.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use super::catalog::ChunkPlace;
use super::error::{Fault, RepositoryError, one_line};
use super::fetch::content_of;
use super::pack_reader::PackReader;
use super::stream::walk;
use super::{Repository, lock, object_name};
use crate::compress::undelta;
use crate::format::frame::BasePrefix;
use crate::format::limits::{CHUNK_MAX, DELTA_CLOSURE_MAX, DELTA_DEPTH_MAX, FRAME_MAX};
use crate::format::object::Name;
use crate::format::recipe::{ListEntry, Part};
use crate::format::{ChunkId, Malformed, ObjectHash};
use crate::store::StoreError;

/// Bytes of decoded frames a reader keeps.
const CACHE: usize = 32 << 20;
/// Content that is decoded at once when a file is read in order; its frames fit the cache.
const WINDOW: usize = 8 << 20;

/// Reads chunks. Memory: decoded frames of 32 MiB, and the bases of the delta being decoded
/// (at most DELTA_CLOSURE_MAX chunks); a line for each frame whose damage was made good.
pub struct ChunkReader<'r> {
    repository: &'r Repository,
    cache: Mutex<FrameCache>,
    made_good: Mutex<BTreeMap<FrameKey, String>>,
}

type FrameKey = (ObjectHash, u32);

#[derive(Default)]
struct FrameCache {
    frames: VecDeque<(FrameKey, Arc<Vec<u8>>)>,
    bytes: usize,
}

impl FrameCache {
    fn get(&mut self, key: &FrameKey) -> Option<Arc<Vec<u8>>> {
        let place = self.frames.iter().position(|(have, _)| have == key)?;
        let found = self.frames.remove(place)?;
        let frame = found.1.clone();
        self.frames.push_back(found);
        Some(frame)
    }

    fn insert(&mut self, key: FrameKey, frame: Arc<Vec<u8>>) {
        self.bytes += frame.len();
        self.frames.push_back((key, frame));
        while self.bytes > CACHE && self.frames.len() > 1 {
            self.bytes -= self.frames.pop_front().map_or(0, |(_, old)| old.len());
        }
    }
}

impl<'r> ChunkReader<'r> {
    /// A reader with an empty cache.
    pub fn new(repository: &'r Repository) -> Self {
        ChunkReader { repository, cache: Mutex::default(), made_good: Mutex::default() }
    }

    /// Damage that was met and made good from other copies, for people: a line for each frame. Not of packs whose loss
    /// was recorded; where that cannot be told, all of it.
    pub fn made_good(&self) -> Vec<String> {
        let mut made_good = lock(&self.made_good).clone();
        if !made_good.is_empty() {
            let recorded = self.repository.losses().unwrap_or_default().packs;
            made_good.retain(|(pack, _), _| !recorded.contains(pack));
        }
        made_good.into_values().collect()
    }

    /// Damage in a frame whose chunks were had from elsewhere.
    pub(super) fn note_made_good(&self, place: &ChunkPlace, error: &RepositoryError) {
        lock(&self.made_good).entry((place.pack, place.frame)).or_insert_with(|| one_line(error));
    }

    /// The repository it reads.
    pub fn repository(&self) -> &'r Repository {
        self.repository
    }

    /// A chunk that a list promises to have `length` bytes.
    pub fn chunk(&self, id: &ChunkId, length: u32) -> Result<Vec<u8>, RepositoryError> {
        let bytes = self.resolve(id, DELTA_DEPTH_MAX, &mut { DELTA_CLOSURE_MAX })?;
        match bytes.len() == length as usize {
            true => Ok(bytes),
            false => {
                let why = format!("chunk {id} has {} bytes, its list says {length}", bytes.len());
                Err(RepositoryError::damaged("a list of chunks", Malformed::new("list", why)))
            }
        }
    }

    /// The bytes of a file in order. Frames are decoded on all cores, 8 MiB of content at a time.
    pub fn read(
        &self,
        recipe: &[Part],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let (mut window, mut bytes) = (Vec::new(), 0);
        for part in recipe {
            walk(self, content_of(part)?, &mut |is_list, entry| {
                if !is_list {
                    bytes += entry.length as usize;
                    window.push(entry);
                }
                match bytes < WINDOW {
                    true => Ok(()),
                    false => {
                        bytes = 0;
                        self.read_window(&std::mem::take(&mut window), sink)
                    }
                }
            })?;
        }
        self.read_window(&window, sink)
    }

    fn read_window(
        &self,
        window: &[ListEntry],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let mut frames: Vec<ChunkPlace> = Vec::new();
        for entry in window {
            let place = lock(&self.repository.catalog).places(&entry.id)?.into_iter().next();
            let new = |place: &ChunkPlace| frames.iter().rev().all(|f| (f.pack, f.frame) != (place.pack, place.frame));
            frames.extend(place.filter(new));
        }
        // Fills the cache; what fails here fails again below, with other places tried.
        frames.par_iter().for_each(|place| drop(self.frame(place)));
        window.iter().try_for_each(|entry| sink(&self.chunk(&entry.id, entry.length)?))
    }

    /// The plaintext of a delta found outside the catalog, as when a pack is checked as a whole.
    pub(super) fn undelta(&self, bases: &[BasePrefix], delta: &[u8], length: u32) -> Result<Vec<u8>, RepositoryError> {
        let mut left = DELTA_CLOSURE_MAX;
        let read = |base: &BasePrefix| {
            let ids = lock(&self.repository.catalog).with_prefix(base)?;
            let id = ids
                .first()
                .ok_or_else(|| RepositoryError::damaged("a delta", Fault::Bases("one is in no pack".into())))?;
            left = left.saturating_sub(1);
            self.resolve(id, DELTA_DEPTH_MAX - 1, &mut left)
        };
        let plaintexts: Vec<Vec<u8>> = bases.iter().map(read).collect::<Result<_, _>>()?;
        let prefix: Vec<&[u8]> = plaintexts.iter().map(Vec::as_slice).collect();
        undelta(&prefix, delta, length as usize).map_err(|error| RepositoryError::damaged("a delta", error))
    }

    /// DELTA-3: `depth` more deltas may be followed, `left` more chunks decoded; a circle runs out of both.
    fn resolve(&self, id: &ChunkId, depth: usize, left: &mut usize) -> Result<Vec<u8>, RepositoryError> {
        let places = lock(&self.repository.catalog).places(id)?;
        let mut damaged = Vec::new();
        for place in places {
            match self.read_place(&place, depth, left) {
                Ok(bytes) => {
                    for (place, error) in &damaged {
                        self.note_made_good(place, error);
                    }
                    return Ok(bytes);
                }
                // The same chunk may be stored elsewhere: damage in one place is not yet a loss.
                Err(error) if error.is_damage() => damaged.push((place, error)),
                Err(error) => return Err(error),
            }
        }
        let first = damaged.into_iter().next().map(|(_, error)| error);
        Err(first.unwrap_or(RepositoryError::UnknownChunk { chunk: *id }))
    }

    fn read_place(&self, place: &ChunkPlace, depth: usize, left: &mut usize) -> Result<Vec<u8>, RepositoryError> {
        let frame = self.frame(place)?;
        let stored = place.delta.as_ref().map_or(place.length, |(length, _)| *length);
        let end = place.position as usize + stored as usize;
        let bytes = frame
            .get(place.position as usize..end)
            .ok_or_else(|| place.fault(Malformed::new("frame", "it ends inside a chunk")))?;
        let plaintext = match &place.delta {
            None => bytes.to_vec(),
            Some((_, bases)) => self.decode_delta(place, bases, bytes, depth, left)?,
        };
        let keyring = self.repository.keyring();
        keyring.check_chunk(place.id, &plaintext).map_err(|fault| place.fault(fault))?;
        Ok(plaintext)
    }

    fn decode_delta(
        &self,
        place: &ChunkPlace,
        bases: &[BasePrefix],
        delta: &[u8],
        depth: usize,
        left: &mut usize,
    ) -> Result<Vec<u8>, RepositoryError> {
        let too_far = || place.fault(Fault::Bases("in a circle, or deeper than allowed".into()));
        let depth = depth.checked_sub(1).ok_or_else(too_far)?;
        let mut plaintexts = Vec::with_capacity(bases.len());
        for base in bases {
            *left = left.checked_sub(1).ok_or_else(too_far)?;
            plaintexts.push(self.base(place, base, depth, left)?);
        }
        let prefix: Vec<&[u8]> = plaintexts.iter().map(Vec::as_slice).collect();
        undelta(&prefix, delta, place.length.min(CHUNK_MAX as u32) as usize).map_err(|error| place.fault(error))
    }

    /// A base named by the first bytes of its id. Several may begin so; the id of the delta's own chunk decides, and
    /// with 96 bits there is in practice one.
    fn base(
        &self,
        place: &ChunkPlace,
        base: &BasePrefix,
        depth: usize,
        left: &mut usize,
    ) -> Result<Vec<u8>, RepositoryError> {
        let ids = lock(&self.repository.catalog).with_prefix(base)?;
        match ids.first() {
            Some(id) => self.resolve(id, depth, left),
            None => Err(place.fault(Fault::Bases("one is in no pack".into()))),
        }
    }

    fn frame(&self, place: &ChunkPlace) -> Result<Arc<Vec<u8>>, RepositoryError> {
        let key = (place.pack, place.frame);
        if let Some(frame) = lock(&self.cache).get(&key) {
            return Ok(frame);
        }
        let sealed = self.repository.read_pack(place.pack, place.frame_offset, u64::from(place.sealed))?;
        let frame = Arc::new(self.repository.open_frame(place, &sealed)?);
        lock(&self.cache).insert(key, frame.clone());
        Ok(frame)
    }
}

impl ChunkPlace {
    /// Damage at this place, naming pack, offset and chunk.
    pub(super) fn fault(&self, fault: impl Into<Fault>) -> RepositoryError {
        let ChunkPlace { id, frame_offset, .. } = self;
        let pack = Name::Pack(self.pack);
        RepositoryError::damaged(format!("chunk {id} in {pack} at {frame_offset}"), fault)
    }
}

impl Repository {
    /// Bytes of a pack. A pack that is gone or too short is damage that names it.
    pub(super) fn read_pack(&self, pack: ObjectHash, offset: u64, length: u64) -> Result<Vec<u8>, RepositoryError> {
        let name = Name::Pack(pack);
        match self.store.get_range(&object_name(&name), offset, length) {
            Err(StoreError::NotFound { .. }) => Err(RepositoryError::damaged(name, Fault::Missing)),
            Err(StoreError::Range { .. }) => {
                let why = format!("it ends before byte {}", offset + length);
                Err(RepositoryError::damaged(name, Malformed::new("pack", why)))
            }
            other => Ok(other?),
        }
    }

    /// The plaintext of the sealed frame a chunk is in.
    pub(super) fn open_frame(&self, place: &ChunkPlace, sealed: &[u8]) -> Result<Vec<u8>, RepositoryError> {
        if u64::from(place.frame_plaintext) > FRAME_MAX {
            return Err(place.fault(Malformed::new("frame", "above FRAME_MAX")));
        }
        let keyring = self.keyring_for(place.epoch)?;
        PackReader::new(&keyring, place.pack, place.epoch, place.salt)
            .and_then(|reader| reader.frame(place.frame, place.method, sealed, place.frame_plaintext as usize))
            .map_err(|fault| place.fault(fault))
    }
}
