//! What rows of deltas hold on to: whole chunks that nobody needs any more but as their root, and what is saved where the first
//! chunk that is needed becomes a root itself.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::Catalog;
use super::live::Need;
use super::packs::{prefix_range, split_bases};
use crate::format::ChunkId;
use crate::format::frame::BasePrefix;
use crate::repository::error::RepositoryError;

/// A row is begun anew where that saves one part in so many of its old roots: what is left of it would become deltas on these,
/// which take more than those it consisted of.
const WORTH: u64 = 8;

/// Sealed bytes by the catalog's numbers of packs.
pub(super) type ByPack = HashMap<i64, u64>;

const TABLE: &str = "
    CREATE TEMP TABLE IF NOT EXISTS followed (id BLOB PRIMARY KEY) WITHOUT ROWID;
    DELETE FROM temp.followed;";

/// How a chunk is stored: its bases, where that is a delta, its sealed bytes, and its pack.
struct Form {
    bases: Option<Vec<BasePrefix>>,
    sealed: u64,
    pack: i64,
}

impl Catalog {
    /// What is saved by storing again what packs hold of roots that are needed for deltas alone: the first delta on each, and
    /// those between it and the root that nobody needs either. Only of packs where that is an eighth of these roots.
    ///
    /// What is stored again makes the first chunk of a row whole where its root goes. Memory does not grow with the repository.
    pub(super) fn saved_by_new_roots(&self) -> Result<ByPack, RepositoryError> {
        self.run(|connection| connection.execute_batch(TABLE))?;
        let (mut saved, mut roots, mut after) = (ByPack::new(), ByPack::new(), Vec::new());
        loop {
            let page = self.not_whole_page(&after)?;
            let Some((last, _)) = page.last() else { break };
            after = last.0.to_vec();
            let needed = page.into_iter().filter(|(_, need)| *need != Need::Base as i64);
            self.run(|connection| {
                let transaction = connection.unchecked_transaction()?;
                for (id, _) in needed {
                    follow(connection, id, &mut saved, &mut roots)?;
                }
                transaction.commit()
            })?;
        }
        saved.retain(|pack, saved| *saved * WORTH >= roots.get(pack).copied().unwrap_or_default());
        Ok(saved)
    }
}

/// Follows a chunk's deltas as far as they are needed for deltas alone and were not followed before.
fn follow(connection: &Connection, id: ChunkId, saved: &mut ByPack, roots: &mut ByPack) -> rusqlite::Result<()> {
    let (mut open, mut deltas, mut root) = (vec![id], 0, None);
    while let Some(id) = open.pop() {
        let Some(Form { bases, sealed, pack }) = form(connection, &id)? else { continue };
        let Some(bases) = bases else {
            root.get_or_insert(pack);
            *roots.entry(pack).or_default() += sealed;
            continue;
        };
        deltas += sealed;
        for base in bases {
            open.extend(followed(connection, &base)?);
        }
    }
    if let Some(pack) = root {
        *saved.entry(pack).or_default() += deltas;
    }
    Ok(())
}

fn form(connection: &Connection, id: &ChunkId) -> rusqlite::Result<Option<Form>> {
    let sql = "SELECT c.bases, coalesce(c.delta, c.length), f.sealed, f.plaintext, c.pack FROM chunks c
        JOIN temp.usable u ON u.pack = c.pack JOIN frames f ON f.pack = c.pack AND f.ordinal = c.frame
        WHERE c.id = ?1 ORDER BY c.delta NOTNULL, c.pack LIMIT 1";
    let mut query = connection.prepare_cached(sql)?;
    let found = query.query_row([&id.0[..]], |row| {
        let (bases, bytes): (Option<Vec<u8>>, u32) = (row.get(0)?, row.get(1)?);
        let (sealed, plaintext): (u32, u32) = (row.get(2)?, row.get(3)?);
        let sealed = u64::from(bytes) * u64::from(sealed) / u64::from(plaintext.max(1));
        Ok(Form { bases: bases.map(|bases| split_bases(&bases)), sealed, pack: row.get(4)? })
    });
    found.optional()
}

/// The chunks that a base is, of those that are needed only as bases, where they are met for the first time.
fn followed(connection: &Connection, base: &BasePrefix) -> rusqlite::Result<Vec<ChunkId>> {
    let (low, high) = prefix_range(base);
    let sql = "INSERT OR IGNORE INTO temp.followed SELECT id FROM temp.needed
        WHERE id BETWEEN ?1 AND ?2 AND need = ?3 RETURNING id";
    let mut query = connection.prepare_cached(sql)?;
    let found = query.query_map(params![low, high, Need::Base as i64], |row| Ok(ChunkId(row.get(0)?)))?;
    found.collect()
}
