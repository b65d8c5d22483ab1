//! The search for a way to decode a chunk through the deltas it may be stored as: bounded, and out of circles.
//! Rules: format-spec/05-chunks.md, 06-frames.md.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::error::RepositoryError;
use crate::format::ChunkId;
use crate::format::limits::{DELTA_CLOSURE_MAX, DELTA_DEPTH_MAX};

/// How far a reader may still go for a delta.
#[derive(Clone, Copy)]
pub(super) struct Budget<'p> {
    pub depth: usize,
    pub closure: usize,
    /// What is being decoded already: who meets it again goes in a circle.
    pub path: Option<&'p Path<'p>>,
    pub search: &'p Search,
}

/// A chunk that is being decoded, and the one it is decoded for.
pub(super) struct Path<'p> {
    pub id: ChunkId,
    pub up: Option<&'p Path<'p>>,
}

/// The search for a way to decode a chunk, as the catalog searches for one (is_known).
#[derive(Default)]
pub(super) struct Search {
    pub is_in_circle: Cell<bool>,
    /// In the last search: with how many more steps bases could not be decoded.
    pub within: Option<RefCell<HashMap<ChunkId, usize>>>,
    /// Bases are not compared with their ids: a wrong one makes a wrong chunk, which is.
    pub trusts: bool,
}

impl<'p> Budget<'p> {
    fn whole(search: &'p Search) -> Self {
        Budget { depth: DELTA_DEPTH_MAX, closure: DELTA_CLOSURE_MAX, path: None, search }
    }

    /// Whether there is no use in decoding a base.
    pub fn is_vain(&self, id: &ChunkId, depth: usize) -> bool {
        match &self.search.within {
            Some(within) => within.borrow().get(id).is_some_and(|tried| *tried >= depth),
            None => {
                let is_met = std::iter::successors(self.path, |path| path.up).any(|path| path.id == *id);
                self.search.is_in_circle.set(self.search.is_in_circle.get() || is_met);
                is_met
            }
        }
    }
}

/// Looks for a way that works as [`search`] does, once the first one has not, of which the end alone was compared with its id.
pub(super) fn search_trusting<T>(
    attempt: impl Fn(Budget<'_>) -> Result<T, RepositoryError>,
) -> Result<T, RepositoryError> {
    let trusting = Search { trusts: true, ..Search::default() };
    match attempt(Budget::whole(&trusting)) {
        Err(error) if error.is_damage() => search(attempt),
        outcome => outcome,
    }
}

/// Looks for a way that works: the first one, and where that leads in a circle the shortest one.
pub(super) fn search<T>(attempt: impl Fn(Budget<'_>) -> Result<T, RepositoryError>) -> Result<T, RepositoryError> {
    let first = Search::default();
    let whole = Budget::whole(&first);
    let mut outcome = attempt(whole);
    let second = Search { within: Some(RefCell::default()), ..Search::default() };
    let mut depths = 1..=DELTA_DEPTH_MAX;
    while first.is_in_circle.get()
        && matches!(&outcome, Err(error) if error.is_damage())
        && let Some(depth) = depths.next()
    {
        outcome = attempt(Budget { depth, search: &second, ..whole });
    }
    outcome
}
