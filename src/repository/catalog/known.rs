//! Whether a chunk is known: whether it can be decoded from what this session may use, its bases included.
//! Rules: format-spec/05-chunks.md, 11-sessions.md.

use std::collections::{HashMap, HashSet};

use rusqlite::{CachedStatement, Connection, params};

use super::packs::{prefix_range, read_bases};
use super::{Catalog, own};
use crate::format::frame::BasePrefix;
use crate::format::limits::{DELTA_CLOSURE_MAX, DELTA_DEPTH_MAX};
use crate::format::{ChunkId, ObjectHash};
use crate::repository::error::RepositoryError;

impl Catalog {
    /// DELTA-5: whether a chunk can be decoded from usable packs, all bases included.
    pub fn is_known(&self, id: &ChunkId) -> Result<bool, RepositoryError> {
        self.run(|connection| is_known(connection, id))
    }

    /// Whether all of these chunks are known; asked in one transaction, as SQLite locks its file for each.
    pub fn all_known(&self, ids: &[ChunkId]) -> Result<bool, RepositoryError> {
        self.run(|connection| {
            let transaction = connection.unchecked_transaction()?;
            for id in ids {
                if !is_known(&transaction, id)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Those of these packs that hold a chunk which is not known.
    pub fn with_unknown(&self, packs: &HashSet<ObjectHash>) -> Result<HashSet<ObjectHash>, RepositoryError> {
        if packs.is_empty() {
            return Ok(HashSet::new());
        }
        self.run(|connection| {
            let mut hashes = connection.prepare("SELECT id, hash FROM packs")?;
            let rows = hashes.query_map([], |row| Ok((row.get::<_, i64>(0)?, ObjectHash(row.get(1)?))))?;
            let mut left: HashMap<i64, ObjectHash> = rows.collect::<rusqlite::Result<_>>()?;
            left.retain(|_, hash| packs.contains(hash));
            let mut found = HashSet::new();
            let mut query = connection.prepare("SELECT id, pack FROM chunks")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let pack = row.get(1)?;
                if left.contains_key(&pack) && !is_known(connection, &ChunkId(row.get(0)?))? {
                    found.extend(left.remove(&pack));
                }
            }
            Ok(found)
        })
    }
}

fn is_known(connection: &Connection, id: &ChunkId) -> rusqlite::Result<bool> {
    let mut stored = Forms::new(connection)?;
    let forms = stored.between((id.0, id.0))?;
    let path = vec![id.0.first_chunk().copied().unwrap_or_default()];
    let mut search = Search { stored, path, is_in_circle: false, within: None };
    let found = search.spends(&forms, DELTA_DEPTH_MAX, DELTA_CLOSURE_MAX)?;
    if !search.is_in_circle {
        return Ok(found.is_some());
    }
    search.within = Some(HashMap::new());
    for depth in 1..=DELTA_DEPTH_MAX {
        if search.spends(&forms, depth, DELTA_CLOSURE_MAX)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How chunks are stored in usable packs, and in this session's own.
struct Forms<'c> {
    usable: CachedStatement<'c>,
    own: CachedStatement<'c>,
}

impl<'c> Forms<'c> {
    fn new(connection: &'c Connection) -> rusqlite::Result<Forms<'c>> {
        let sql = "SELECT c.bases FROM chunks c JOIN temp.usable u ON u.pack = c.pack WHERE c.id BETWEEN ?1 AND ?2";
        Ok(Forms { usable: connection.prepare_cached(sql)?, own: connection.prepare_cached(own::BASES)? })
    }

    /// Of all chunks in a range of ids.
    fn between(&mut self, (low, high): ([u8; 16], [u8; 16])) -> rusqlite::Result<Vec<Option<Vec<BasePrefix>>>> {
        let mut forms = read_bases(self.usable.query(params![low, high])?)?;
        forms.append(&mut read_bases(self.own.query(params![low, high])?)?);
        Ok(forms)
    }
}

/// Looks for a way to decode a chunk. Where a chunk is stored several times, as deltas on each other, one way may lead back
/// to where it came from, and there may be more ways than can be tried: then the shortest is looked for, step by step, and
/// what cannot be decoded within so many steps is asked for once. Readers look in the same way.
struct Search<'c> {
    stored: Forms<'c>,
    /// What is decoded by what it leads to, the chunk that is asked for first.
    path: Vec<BasePrefix>,
    is_in_circle: bool,
    /// In the second search: with how many more steps bases could not be decoded.
    within: Option<HashMap<BasePrefix, usize>>,
}

impl Search<'_> {
    /// How many bases are decoded for the first form that can be with `depth` more steps, of `closure` that may be; `None`
    /// where none can.
    fn spends(
        &mut self,
        forms: &[Option<Vec<BasePrefix>>],
        depth: usize,
        closure: usize,
    ) -> rusqlite::Result<Option<usize>> {
        if forms.iter().any(Option::is_none) {
            return Ok(Some(0));
        }
        let Some(depth) = depth.checked_sub(1) else { return Ok(None) };
        for bases in forms.iter().flatten() {
            let spent = self.spends_on(bases, depth, closure)?;
            if spent.is_some() || self.is_in_circle && self.within.is_none() {
                return Ok(spent);
            }
        }
        Ok(None)
    }

    fn spends_on(&mut self, bases: &[BasePrefix], depth: usize, closure: usize) -> rusqlite::Result<Option<usize>> {
        let mut spent = 0;
        for base in bases {
            spent += 1;
            if spent > closure || self.is_vain(base, depth) {
                return Ok(None);
            }
            let forms = self.stored.between(prefix_range(base))?;
            self.path.push(*base);
            let left = if self.within.is_some() { DELTA_CLOSURE_MAX } else { closure - spent };
            let of_base = self.spends(&forms, depth, left)?;
            self.path.pop();
            match (of_base, &mut self.within) {
                (Some(of_base), _) => spent += of_base,
                (None, Some(within)) => return Ok(within.insert(*base, depth).and(None)),
                (None, None) => return Ok(None),
            }
        }
        Ok((spent <= closure).then_some(spent))
    }

    fn is_vain(&mut self, base: &BasePrefix, depth: usize) -> bool {
        match &self.within {
            Some(within) => within.get(base).is_some_and(|tried| *tried >= depth),
            None => {
                self.is_in_circle |= self.path.contains(base);
                self.is_in_circle
            }
        }
    }
}
