//! What the catalog said of chunks whose frames were fetched ahead: whoever decodes them need not ask again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::catalog::{Catalog, ChunkPlace};
use super::error::RepositoryError;
use super::lock;
use crate::format::ChunkId;
use crate::format::frame::BasePrefix;

/// Chunks of which this is kept: then all of it is dropped.
const MOST: usize = 8192;

/// Places of chunks, and the chunks that bases are named by. Of what the catalog does not have nothing is kept: it may come.
///
/// Memory: half a KiB for each of 8192 chunks.
#[derive(Default)]
pub(super) struct LookedUp {
    places: Mutex<HashMap<ChunkId, Arc<[ChunkPlace]>>>,
    bases: Mutex<HashMap<BasePrefix, ChunkId>>,
}

impl LookedUp {
    /// Every place of a chunk, as it was told.
    pub fn places(&self, id: &ChunkId) -> Option<Arc<[ChunkPlace]>> {
        lock(&self.places).get(id).cloned()
    }

    /// The chunk that a base is, as it was told.
    pub fn base(&self, base: &BasePrefix) -> Option<ChunkId> {
        lock(&self.bases).get(base).copied()
    }

    /// The same, asked where it is not known.
    pub fn places_in(&self, catalog: &Catalog, id: &ChunkId) -> Result<Arc<[ChunkPlace]>, RepositoryError> {
        if let Some(places) = self.places(id) {
            return Ok(places);
        }
        let places: Arc<[ChunkPlace]> = catalog.places(id)?.into();
        if !places.is_empty() {
            keep(&self.places, *id, places.clone());
        }
        Ok(places)
    }

    /// The same, asked where it is not known.
    pub fn base_in(&self, catalog: &Catalog, base: &BasePrefix) -> Result<Option<ChunkId>, RepositoryError> {
        if let Some(id) = self.base(base) {
            return Ok(Some(id));
        }
        let places: Arc<[ChunkPlace]> = catalog.places_of_base(base)?.into();
        let id = places.first().map(|place| place.id);
        if let Some(id) = id {
            keep(&self.bases, *base, id);
            keep(&self.places, id, places);
        }
        Ok(id)
    }
}

fn keep<K: std::hash::Hash + Eq, V>(kept: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut kept = lock(kept);
    if kept.len() >= MOST {
        kept.clear();
    }
    kept.insert(key, value);
}
