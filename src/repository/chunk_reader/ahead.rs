//! Frames that are fetched before their chunks are decoded: those of many chunks and of their bases, in the order of the packs,
//! near ones by one read.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::ChunkReader;
use crate::format::ChunkId;
use crate::format::frame::BasePrefix;
use crate::format::limits::DELTA_CLOSURE_MAX;
use crate::format::list::ListEntry;
use crate::repository::catalog::{Catalog, ChunkPlace};
use crate::repository::error::{Fault, RepositoryError};
use crate::repository::lock;
use crate::repository::places::FrameKey;
use crate::repository::runs::{Run, runs};

/// Bytes of frames that are fetched ahead at once. They stay in the cache until their chunks are read, though the next ones come
/// meanwhile, and those before them were used last.
const AHEAD: usize = 12 << 20;

/// Frames of one pack that are read at once.
pub(in crate::repository) type FrameRun = Run<ChunkPlace>;

impl ChunkReader<'_> {
    /// Brings the frames of chunks, bases included, into the cache: in the order of the packs, near ones by one read.
    /// Takes as many of the chunks as fit, at least one, and says how many.
    pub(in crate::repository) fn warm(&self, chunks: impl Iterator<Item = ChunkId>) -> Result<usize, RepositoryError> {
        let (taken, runs) = self.plan(chunks, &|_| false)?;
        // What fails here fails again when the chunk is read, with other places tried.
        runs.into_par_iter().for_each(|run| self.open_runs(self.fetch(&run).iter().map(|sealed| (&run, &sealed[..]))));
        Ok(taken)
    }

    /// The reads that bring the frames of chunks, bases included, in the order of the packs: those that are neither in the
    /// cache nor coming. Takes as many of the chunks as fit, at least one, and says how many.
    pub(in crate::repository) fn plan(
        &self,
        chunks: impl Iterator<Item = ChunkId>,
        is_coming: &dyn Fn(&FrameKey) -> bool,
    ) -> Result<(usize, Vec<FrameRun>), RepositoryError> {
        let (mut frames, mut bytes, mut taken) = (BTreeMap::new(), 0, 0);
        lock(&self.repository.catalog).asked_at_once(|catalog| {
            for chunk in chunks {
                let mut new = self.frames_of(chunk, catalog)?;
                new.retain(|key, _| !frames.contains_key(key));
                bytes += new.values().map(ChunkPlace::kept).sum::<usize>();
                if bytes > AHEAD && taken > 0 {
                    break;
                }
                frames.append(&mut new);
                taken += 1;
            }
            Ok(())
        })?;
        // Those that came meanwhile are in the cache.
        frames.retain(|key, _| !is_coming(key));
        {
            // Those that are there already are used, so that they outlive what comes in now.
            let mut cache = lock(&self.frames);
            frames.retain(|key, _| cache.get(key).is_none());
        }
        let places: Vec<ChunkPlace> = frames.into_values().collect();
        let packs = places.chunk_by(|one, next| one.pack == next.pack);
        let row = |place: &ChunkPlace| (place.frame_offset, place.sealed, place.clone());
        Ok((taken, packs.flat_map(|of_pack| runs(of_pack.iter().map(row))).collect()))
    }

    /// The bytes of a run.
    pub(in crate::repository) fn fetch(&self, run: &FrameRun) -> Result<Vec<u8>, RepositoryError> {
        let first = run.frames.first().ok_or_else(|| RepositoryError::damaged("a run", Fault::Missing))?;
        self.repository.read_pack(first.pack, run.offset, run.length)
    }

    /// Brings the frames of runs that were read into the cache, opened on all cores. One that is damaged is left out.
    pub(in crate::repository) fn open_runs<'a>(&self, runs: impl Iterator<Item = (&'a FrameRun, &'a [u8])>) {
        let frames = |(run, sealed): (&'a FrameRun, &'a [u8])| {
            run.frames.iter().filter_map(move |place| {
                let start = (place.frame_offset - run.offset) as usize;
                Some((place, sealed.get(start..start + place.sealed as usize)?))
            })
        };
        let frames: Vec<(&ChunkPlace, &[u8])> = runs.flat_map(frames).collect();
        frames.into_par_iter().for_each(|(place, sealed)| {
            if let Ok(frame) = self.repository.open_frame(place, sealed) {
                self.keep(place, frame);
            }
        });
    }

    /// Chunks whose frames were brought, decoded on all cores.
    pub(in crate::repository) fn decode(
        &self,
        entries: Vec<ListEntry>,
    ) -> Result<Vec<(ListEntry, Vec<u8>)>, RepositoryError> {
        let chunk = |entry: ListEntry| self.chunk(&entry.id, entry.length).map(|bytes| (entry, bytes));
        entries.into_par_iter().map(chunk).collect()
    }

    /// The frames a chunk is decoded from, by pack and frame: the best place of the chunk and of each of its bases.
    fn frames_of(&self, chunk: ChunkId, catalog: &Catalog) -> Result<BTreeMap<FrameKey, ChunkPlace>, RepositoryError> {
        let (mut frames, mut to_find) = (BTreeMap::new(), vec![chunk]);
        for _ in 0..=DELTA_CLOSURE_MAX {
            let Some(id) = to_find.pop() else { break };
            if lock(&self.bases).get(&id).is_some() {
                continue;
            }
            let places = self.looked_up.places_in(catalog, &id)?;
            let Some(place) = places.first() else { continue };
            for base in place.delta.iter().flat_map(|(_, bases)| bases) {
                to_find.extend(self.looked_up.base_in(catalog, base)?);
            }
            frames.insert((place.pack, place.frame), place.clone());
        }
        Ok(frames)
    }

    /// Every place of a chunk: as it was told when its frame was fetched, else asked.
    pub(super) fn places(&self, id: &ChunkId) -> Result<Arc<[ChunkPlace]>, RepositoryError> {
        match self.looked_up.places(id) {
            Some(places) => Ok(places),
            None => Ok(lock(&self.repository.catalog).places(id)?.into()),
        }
    }

    /// The chunk that a base is.
    pub(super) fn named(&self, base: &BasePrefix) -> Result<Option<ChunkId>, RepositoryError> {
        match self.looked_up.base(base) {
            Some(id) => Ok(Some(id)),
            None => Ok(lock(&self.repository.catalog).with_prefix(base)?.first().copied()),
        }
    }
}
