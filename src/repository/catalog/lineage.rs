//! How a chunk is stored in usable packs, back to the whole chunks that its deltas begin with.

use rusqlite::{CachedStatement, params};

use super::packs::{prefix_range, split_bases};
use super::{Catalog, own};
use crate::format::frame::{BASE_PREFIX, BasePrefix};
use crate::format::limits::{DELTA_CLOSURE_MAX, DELTA_DEPTH_MAX};
use crate::format::{ChunkId, ObjectHash};
use crate::repository::error::RepositoryError;

/// How a chunk is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// How many deltas follow on one another down to a root.
    pub depth: usize,
    /// Chunks that are decoded before it, each as often as a reader decodes it.
    pub closure: usize,
    /// Bytes of the deltas among them, its own included: of each its share of its sealed frame.
    pub deltas: u64,
    /// The whole chunks among them; itself, where it is whole.
    pub roots: Vec<Root>,
}

/// A chunk that is stored whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The chunk.
    pub id: ChunkId,
    /// Bytes of its plaintext.
    pub length: u32,
    /// The pack it is in.
    pub pack: ObjectHash,
    /// Bytes of its frame, sealed.
    pub sealed: u64,
    /// Bytes of its frame, decoded.
    pub plaintext: u64,
}

/// Chunks of any pack, and whether it is usable: a name has to be unambiguous among all.
const FORMS: &str = "SELECT c.id, c.length, c.delta, c.bases, p.hash, f.sealed, f.plaintext, u.pack NOTNULL
    FROM chunks c JOIN packs p ON p.id = c.pack JOIN frames f ON f.pack = c.pack AND f.ordinal = c.frame
    LEFT JOIN temp.usable u ON u.pack = c.pack
    WHERE c.id BETWEEN ?1 AND ?2 ORDER BY u.pack ISNULL, c.delta NOTNULL, c.pack";

/// One way a chunk is stored: itself as a root, and its delta.
type Form = (Root, Option<u32>, Option<Vec<u8>>, bool);

impl Catalog {
    /// How a chunk is stored; `None` where it is not known, or another chunk begins like it or like one of its bases.
    pub fn lineage(&self, id: &ChunkId) -> Result<Option<Lineage>, RepositoryError> {
        self.run(|connection| {
            let prefix = id.0.first_chunk::<BASE_PREFIX>().copied().unwrap_or_default();
            let mut forms = vec![connection.prepare_cached(FORMS)?];
            if self.has_own {
                forms.push(connection.prepare_cached(own::FORMS)?);
            }
            let lineage = follow(&mut forms, prefix_range(&prefix), DELTA_DEPTH_MAX, &mut { DELTA_CLOSURE_MAX })?;
            Ok(lineage.filter(|(found, _)| found == id).map(|(_, lineage)| lineage))
        })
    }
}

/// The chunk within a range of ids and its lineage, with `depth` more deltas and `left` more chunks to follow. Of its deltas
/// the first one counts that can be followed to its end: bases of another may be gone.
fn follow(
    stored: &mut [CachedStatement<'_>],
    (low, high): ([u8; 16], [u8; 16]),
    depth: usize,
    left: &mut usize,
) -> rusqlite::Result<Option<(ChunkId, Lineage)>> {
    let mut forms: Vec<Form> = Vec::new();
    for query in &mut *stored {
        let found = query.query_map(params![low, high], read_form)?;
        forms.append(&mut found.collect::<rusqlite::Result<_>>()?);
    }
    forms.sort_by_key(|(_, delta, _, usable)| (!usable, delta.is_some()));
    let Some((Root { id, .. }, ..)) = forms.first().cloned() else { return Ok(None) };
    if forms.iter().any(|(other, ..)| other.id != id) {
        return Ok(None);
    }
    for (root, delta, bases, _) in forms.into_iter().filter(|(.., usable)| *usable) {
        let Some(delta) = delta else {
            return Ok(Some((id, Lineage { depth: 0, closure: 0, deltas: 0, roots: vec![root] })));
        };
        let Some(depth) = depth.checked_sub(1) else { return Ok(None) };
        let share = u64::from(delta) * root.sealed / root.plaintext.max(1);
        if let Some(lineage) = follow_delta(stored, share, &split_bases(&bases.unwrap_or_default()), depth, left)? {
            return Ok(Some((id, lineage)));
        }
    }
    Ok(None)
}

/// The lineage of a delta of so many bytes; `None` where one of its bases has none.
fn follow_delta(
    stored: &mut [CachedStatement<'_>],
    delta: u64,
    bases: &[BasePrefix],
    depth: usize,
    left: &mut usize,
) -> rusqlite::Result<Option<Lineage>> {
    let mut lineage = Lineage { depth: 0, closure: 0, deltas: delta, roots: Vec::new() };
    for base in bases {
        let Some(fewer) = left.checked_sub(1) else { return Ok(None) };
        *left = fewer;
        let Some((_, of_base)) = follow(stored, prefix_range(base), depth, left)? else { return Ok(None) };
        lineage.depth = lineage.depth.max(1 + of_base.depth);
        lineage.closure += 1 + of_base.closure;
        lineage.deltas += of_base.deltas;
        lineage.roots.extend(of_base.roots);
    }
    Ok(Some(lineage))
}

fn read_form(row: &rusqlite::Row<'_>) -> rusqlite::Result<Form> {
    let root = Root {
        id: ChunkId(row.get(0)?),
        length: row.get(1)?,
        pack: ObjectHash(row.get(4)?),
        sealed: row.get::<_, u32>(5)?.into(),
        plaintext: row.get::<_, u32>(6)?.into(),
    };
    Ok((root, row.get(2)?, row.get(3)?, row.get(7)?))
}
