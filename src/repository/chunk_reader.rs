//! Chunks out, one at a time: found through the catalog, opened, decoded with their bases, compared with their id.
//! Rules: format-spec/05-chunks.md, 06-frames.md.

mod ahead;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use super::cache::Cache;
use super::canonical::rebuild;
use super::catalog::ChunkPlace;
use super::error::{Fault, RepositoryError, one_line};
use super::fetch::content_of;
use super::looked_up::LookedUp;
use super::places::FrameKey;
use super::search::{Budget, Path, search, search_trusting};
use super::stream::walk;
use super::stretches::Stretches;
use super::{Repository, lock};
use crate::compress::undelta;
use crate::format::copies::apply_copies;
use crate::format::frame::{BasePrefix, Method};
use crate::format::limits::{CHUNK_MAX, DELTA_CLOSURE_MAX};
use crate::format::list::ListEntry;
use crate::format::object::Name;
use crate::format::recipe::{CANONICAL_RDB, Part};
use crate::format::{ChunkId, Malformed};

pub(super) use ahead::FrameRun;

/// Bytes of decoded frames a reader keeps: those of a row of thirty deltas of neighbours are in about as many frames, and each
/// is to be decoded once.
const FRAMES: usize = 40 << 20;
/// Bytes of decoded bases a reader keeps.
const BASES: usize = 16 << 20;
/// Content that is decoded at once when a file is read in order.
const WINDOW: usize = 8 << 20;
/// Chunks that are looked at together, at most.
pub(super) const WINDOW_CHUNKS: usize = 4096;

/// Reads chunks. Memory: decoded frames of 40 MiB and bases of 16 MiB; while frames are fetched ahead the runs they
/// are in (sealed, about as much again); where chunks are (4 MiB); the bases of each delta being decoded (at most
/// DELTA_CLOSURE_MAX chunks); a line for each frame whose damage was made good.
pub struct ChunkReader<'r> {
    repository: &'r Repository,
    frames: Mutex<Cache<FrameKey, Plaintext>>,
    bases: Mutex<Cache<ChunkId, Decoded>>,
    looked_up: LookedUp,
    /// Held while a frame is read, by its number: what two threads want at once is read once.
    reading: [Mutex<()>; 16],
    made_good: Mutex<BTreeMap<FrameKey, String>>,
    /// Whether frames that are fetched are kept, sealed, for the next command.
    keeps: bool,
}

/// A decoded frame, shared by whoever uses it at the moment.
type Plaintext = Arc<Vec<u8>>;

/// A chunk's plaintext, and what it took to decode it.
#[derive(Clone)]
struct Decoded {
    content: Stretches,
    /// Deltas that were followed one after the other.
    depth: usize,
    /// Bases that were decoded.
    closure: usize,
    /// Whether it was compared with its id, or only what was made of it.
    is_checked: bool,
}

impl<'r> ChunkReader<'r> {
    /// A reader with an empty cache.
    pub fn new(repository: &'r Repository) -> Self {
        ChunkReader::with(repository, BASES)
    }

    fn with(repository: &'r Repository, bases: usize) -> Self {
        ChunkReader {
            repository,
            frames: Mutex::new(Cache::new(FRAMES)),
            bases: Mutex::new(Cache::new(bases)),
            looked_up: LookedUp::default(),
            reading: Default::default(),
            made_good: Mutex::default(),
            keeps: false,
        }
    }

    /// A reader for single chunks that are near each other, as the bases of what is being written: it keeps a quarter of
    /// the decoded bases.
    pub(super) fn small(repository: &'r Repository) -> Self {
        ChunkReader::with(repository, BASES / 4)
    }

    /// The same for lists that every backup reads: where the store is far away their frames are kept.
    pub(super) fn of_lists(repository: &'r Repository) -> Self {
        ChunkReader { keeps: repository.is_far(), ..ChunkReader::small(repository) }
    }

    /// Damage that was met and made good from other copies, for people: a line for each frame. Not of packs whose loss
    /// was recorded, or that a check found damaged; where that cannot be told, all of it.
    pub fn made_good(&self) -> Vec<String> {
        let mut made_good = lock(&self.made_good).clone();
        if !made_good.is_empty() {
            let recorded = self.repository.losses().unwrap_or_default().packs;
            let damaged = self.repository.damaged_packs().unwrap_or_default();
            made_good.retain(|(pack, _), _| !recorded.contains(pack) && !damaged.contains(pack));
        }
        made_good.into_values().collect()
    }

    /// Damage in a frame whose chunks were had from elsewhere.
    pub(super) fn note_made_good(&self, place: &ChunkPlace, error: &RepositoryError) {
        lock(&self.made_good).entry((place.pack, place.frame)).or_insert_with(|| one_line(error));
    }

    /// Lets go of what it keeps decoded: what is read next is not what was.
    pub(super) fn let_go(&self) {
        lock(&self.frames).clear();
        lock(&self.bases).clear();
    }

    /// The repository it reads.
    pub fn repository(&self) -> &'r Repository {
        self.repository
    }

    /// A chunk that a list promises to have `length` bytes.
    pub fn chunk(&self, id: &ChunkId, length: u32) -> Result<Vec<u8>, RepositoryError> {
        let bytes = search_trusting(|budget| self.resolve(id, budget))?.content.into_bytes();
        match bytes.len() == length as usize {
            true => Ok(bytes),
            false => {
                let why = format!("chunk {id} has {} bytes, its list says {length}", bytes.len());
                Err(RepositoryError::damaged("a list of chunks", Malformed::new("list", why)))
            }
        }
    }

    /// The bytes of a file in order, decoded on all cores, 8 MiB of content at a time.
    pub fn read(
        &self,
        recipe: &[Part],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let (mut window, mut bytes) = (Vec::new(), 0);
        for part in recipe {
            if part.method == CANONICAL_RDB {
                self.read_window(&std::mem::take(&mut window), sink)?;
                bytes = 0;
                rebuild(self, part, sink)?;
                continue;
            }
            walk(self, content_of(part)?, &mut |is_list, entry| {
                if !is_list {
                    bytes += entry.length as usize;
                    window.push(entry);
                }
                match bytes < WINDOW && window.len() < WINDOW_CHUNKS {
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
        mut window: &[ListEntry],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        while !window.is_empty() {
            let taken = self.warm(window.iter().map(|entry| entry.id))?;
            let (some, rest) = window.split_at_checked(taken).unwrap_or((window, &[]));
            let chunks = some.par_iter().map(|entry| self.chunk(&entry.id, entry.length));
            for chunk in chunks.collect::<Vec<_>>() {
                sink(&chunk?)?;
            }
            window = rest;
        }
        Ok(())
    }

    /// The plaintext of a delta found outside the catalog, as when a pack is checked as a whole. [`Fault::Bases`] where what it
    /// is made against cannot be had; any other fault is its own.
    pub(super) fn undelta(
        &self,
        method: Method,
        bases: &[BasePrefix],
        delta: &[u8],
        length: u32,
    ) -> Result<Vec<u8>, Fault> {
        let no_base = || RepositoryError::damaged("a delta", Fault::Bases(NO_BASE.into()));
        let too_far = || RepositoryError::damaged("a delta", Fault::Bases(TOO_FAR.into()));
        let found = search(|budget| self.bases(bases, budget, no_base, too_far));
        let (contents, ..) = found.map_err(|error| Fault::Bases(one_line(&error)))?;
        let prefix: Vec<&[u8]> = contents.iter().flat_map(Stretches::pieces).collect();
        decode_delta(method, &prefix, delta, length as usize)
    }

    /// Every place is tried: damage in one is not yet a loss.
    fn resolve(&self, id: &ChunkId, budget: Budget<'_>) -> Result<Decoded, RepositoryError> {
        let places = self.places(id)?;
        let path = Path { id: *id, up: budget.path };
        let budget = Budget { path: Some(&path), ..budget };
        let (mut damaged, mut too_far) = (Vec::<(&ChunkPlace, _)>::new(), None);
        for place in places.iter() {
            match self.read_place(place, budget) {
                Ok(decoded) => {
                    // A prune may have deleted what a delta was made against, where the chunk is stored elsewhere.
                    for (place, error) in damaged.iter().filter(|(_, error)| !has_no_base(error)) {
                        self.note_made_good(place, error);
                    }
                    return Ok(decoded);
                }
                // The form of a chunk that leads in a circle is as good as none, and no damage.
                Err(error) if error.is_damage() && budget.search.is_in_circle.get() => {
                    return Err(place.fault(Fault::Bases(TOO_FAR.into())));
                }
                Err(error) if is_too_far(&error) && budget.search.within.is_some() => too_far = Some(error),
                Err(error) if error.is_damage() => damaged.push((place, error)),
                Err(error) => return Err(error),
            }
        }
        let first = damaged.into_iter().next().map(|(_, error)| error);
        Err(first.or(too_far).unwrap_or(RepositoryError::UnknownChunk { chunk: *id }))
    }

    fn read_place(&self, place: &ChunkPlace, budget: Budget<'_>) -> Result<Decoded, RepositoryError> {
        let frame = self.frame(place)?;
        let stored = place.delta.as_ref().map_or(place.length, |(length, _)| *length);
        let part = place.position as usize..place.position as usize + stored as usize;
        let content = Stretches::of(&frame, part.clone())
            .ok_or_else(|| place.fault(Malformed::new("frame", "it ends inside a chunk")))?;
        let decoded = match &place.delta {
            None => Decoded { content, depth: 0, closure: 0, is_checked: false },
            Some((_, bases)) => self.decode_delta(place, bases, &frame, part, budget)?,
        };
        // A base is named by the chunk whose path goes on to it.
        let is_base = budget.path.is_some_and(|path| path.up.is_some());
        if is_base && budget.search.trusts {
            return Ok(decoded);
        }
        let bytes = decoded.content.into_bytes();
        let keyring = self.repository.keyring();
        keyring.check_chunk(place.id, &bytes).map_err(|fault| place.fault(fault))?;
        Ok(Decoded { content: bytes.into(), is_checked: true, ..decoded })
    }

    fn decode_delta(
        &self,
        place: &ChunkPlace,
        bases: &[BasePrefix],
        frame: &Plaintext,
        delta: Range<usize>,
        budget: Budget<'_>,
    ) -> Result<Decoded, RepositoryError> {
        let no_base = || place.fault(Fault::Bases(NO_BASE.into()));
        let too_far = || place.fault(Fault::Bases(TOO_FAR.into()));
        let (contents, depth, closure) = self.bases(bases, budget, no_base, too_far)?;
        let length = place.length.min(CHUNK_MAX as u32) as usize;
        let content = match place.method {
            Method::Copies => Stretches::made_by(frame, delta, contents, length).map_err(Fault::from),
            Method::Plain | Method::Zstd | Method::Delta | Method::Columns => {
                let prefix: Vec<&[u8]> = contents.iter().flat_map(Stretches::pieces).collect();
                let delta = frame.get(delta).unwrap_or_default();
                undelta(&prefix, delta, length).map(Stretches::from).map_err(Fault::from)
            }
        };
        let content = content.map_err(|fault| place.fault(fault))?;
        Ok(Decoded { content, depth, closure, is_checked: false })
    }

    /// The contents of a delta's bases, each named by the first bytes of its id, and the depth and closure of the delta.
    /// Several ids may begin alike; the id of the delta's own chunk decides, and with 96 bits there is in practice one.
    ///
    /// DELTA-3: more than the budget is refused before it is decoded, and so is a circle: another form of the chunk may not
    /// be in it. A base that was decoded before is charged what it took.
    fn bases(
        &self,
        bases: &[BasePrefix],
        budget: Budget<'_>,
        no_base: impl Fn() -> RepositoryError,
        too_far: impl Fn() -> RepositoryError,
    ) -> Result<(Vec<Stretches>, usize, usize), RepositoryError> {
        let depth = budget.depth.checked_sub(1).ok_or_else(&too_far)?;
        let (mut closure, mut deepest, mut contents) = (budget.closure, 0, Vec::with_capacity(bases.len()));
        for base in bases {
            closure = closure.checked_sub(1).ok_or_else(&too_far)?;
            let id = self.named(base)?.ok_or_else(&no_base)?;
            if budget.is_vain(&id, depth) {
                return Err(too_far());
            }
            let left = if budget.search.within.is_some() { DELTA_CLOSURE_MAX } else { closure };
            let decoded = self.base(&id, Budget { depth, closure: left, ..budget });
            if let (Err(error), Some(within)) = (&decoded, &budget.search.within)
                && error.is_damage()
            {
                within.borrow_mut().insert(id, depth);
            }
            let decoded = decoded?;
            closure = closure.checked_sub(decoded.closure).ok_or_else(&too_far)?;
            if decoded.depth > depth {
                return Err(too_far());
            }
            deepest = deepest.max(decoded.depth);
            contents.push(decoded.content);
        }
        Ok((contents, deepest + 1, budget.closure - closure))
    }

    fn base(&self, id: &ChunkId, budget: Budget<'_>) -> Result<Decoded, RepositoryError> {
        let kept = lock(&self.bases).get(id);
        if let Some(decoded) = kept.filter(|decoded| decoded.is_checked || budget.search.trusts) {
            return Ok(decoded);
        }
        let decoded = self.resolve(id, budget)?;
        // What is made of copies costs nothing to make again, and holds on to more than its bytes.
        if let Some(bytes) = decoded.content.alone() {
            lock(&self.bases).insert(*id, decoded.clone(), bytes);
        }
        Ok(decoded)
    }

    fn frame(&self, place: &ChunkPlace) -> Result<Plaintext, RepositoryError> {
        let kept = || lock(&self.frames).get(&(place.pack, place.frame));
        if let Some(frame) = kept() {
            return Ok(frame);
        }
        let turn = self.reading.get(place.frame as usize % self.reading.len());
        let _turn = turn.map(lock);
        // Whoever held it may have read this one.
        if let Some(frame) = kept() {
            return Ok(frame);
        }
        let name = self.keeps.then(|| format!("{} {}", Name::Pack(place.pack), place.frame));
        let had = name.as_ref().map(|name| lock(&self.repository.catalog).kept(name)).transpose()?.flatten();
        if let Some(Ok(frame)) = had.map(|sealed| self.repository.open_frame(place, &sealed)) {
            return Ok(self.keep(place, frame));
        }
        let sealed = self.repository.read_pack(place.pack, place.frame_offset, u64::from(place.sealed))?;
        let frame = self.repository.open_frame(place, &sealed)?;
        if let Some(name) = name {
            lock(&self.repository.catalog).keep(&name, &sealed)?;
        }
        Ok(self.keep(place, frame))
    }

    fn keep(&self, place: &ChunkPlace, frame: Vec<u8>) -> Plaintext {
        let frame = Arc::new(frame);
        lock(&self.frames).insert((place.pack, place.frame), frame.clone(), frame.len());
        frame
    }
}

/// A delta's plaintext, as the method of its frame wants it.
pub(super) fn decode_delta(method: Method, bases: &[&[u8]], delta: &[u8], length: usize) -> Result<Vec<u8>, Fault> {
    match method {
        Method::Copies => Ok(apply_copies(bases, delta, length)?),
        Method::Plain | Method::Zstd | Method::Delta | Method::Columns => Ok(undelta(bases, delta, length)?),
    }
}

/// Why a delta is not followed to its bases.
fn is_too_far(error: &RepositoryError) -> bool {
    matches!(error, RepositoryError::Damaged { source: Fault::Bases(why), .. } if why == TOO_FAR)
}

/// Whether a delta was made against a chunk that no pack has.
fn has_no_base(error: &RepositoryError) -> bool {
    matches!(error, RepositoryError::Damaged { source: Fault::Bases(why), .. } if why == NO_BASE)
}

const NO_BASE: &str = "one is in no pack";
const TOO_FAR: &str = "in a circle, or deeper than allowed";
