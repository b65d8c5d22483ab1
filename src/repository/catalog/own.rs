//! Packs that this connection's session has stored and no index object names yet: in temporary tables, where no other
//! process sees them, drops them, or takes them for everybody's.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::packs::{ChunkValues, PLACE, add_chunks, add_frames, read_place};
use super::{Catalog, ChunkPlace};
use crate::format::index::IndexedPack;
use crate::format::{ChunkId, ObjectHash};
use crate::repository::error::RepositoryError;

/// The tables of packs, frames and chunks once more.
pub(super) const TABLES: &str = "
CREATE TEMP TABLE IF NOT EXISTS own_packs (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
    epoch INTEGER NOT NULL, salt BLOB NOT NULL);
CREATE TEMP TABLE IF NOT EXISTS own_frames (pack INTEGER NOT NULL, ordinal INTEGER NOT NULL, offset INTEGER NOT NULL,
    sealed INTEGER NOT NULL, method INTEGER NOT NULL, plaintext INTEGER NOT NULL, PRIMARY KEY (pack, ordinal)) WITHOUT ROWID;
CREATE TEMP TABLE IF NOT EXISTS own_chunks (id BLOB NOT NULL, pack INTEGER NOT NULL, frame INTEGER NOT NULL,
    position INTEGER NOT NULL, length INTEGER NOT NULL, delta INTEGER, bases BLOB, PRIMARY KEY (id, pack)) WITHOUT ROWID;
";

const JOINS: &str = "JOIN temp.own_packs p ON p.id = c.pack
    JOIN temp.own_frames f ON f.pack = c.pack AND f.ordinal = c.frame";

/// The bases of the chunks in a range of ids.
pub(super) const BASES: &str = "SELECT c.bases FROM temp.own_chunks c WHERE c.id BETWEEN ?1 AND ?2";

/// What lineages are made of, for a range of ids: all of it can be used.
pub(super) const FORMS: &str = "SELECT c.id, c.length, c.delta, c.bases, p.hash, f.sealed, f.plaintext, 1
    FROM temp.own_chunks c JOIN temp.own_packs p ON p.id = c.pack
    JOIN temp.own_frames f ON f.pack = c.pack AND f.ordinal = c.frame
    WHERE c.id BETWEEN ?1 AND ?2 ORDER BY c.delta NOTNULL, c.pack";

impl Catalog {
    /// Adds a pack that this session stored: from now on its chunks are known to it.
    ///
    /// LOCAL-3: to it alone, until an index object names the pack.
    pub fn add_own_pack(&mut self, pack: &IndexedPack) -> Result<(), RepositoryError> {
        self.has_own = true;
        self.run(|connection| {
            // No write lock of the file is taken: nothing is written there.
            let transaction = connection.unchecked_transaction()?;
            add(&transaction, pack)?;
            transaction.commit()
        })
    }
}

fn add(transaction: &Transaction<'_>, pack: &IndexedPack) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO temp.own_packs (hash, size, epoch, salt) VALUES (?1, ?2, ?3, ?4)";
    let values = params![pack.pack.0, pack.size as i64, pack.epoch, pack.salt];
    if transaction.prepare_cached(sql)?.execute(values)? == 0 {
        return Ok(());
    }
    let mut rows: Vec<ChunkValues> = Vec::new();
    let mut insert = transaction.prepare_cached("INSERT INTO temp.own_frames VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    add_frames(&mut insert, pack, transaction.last_insert_rowid(), &mut rows)?;
    let sql = "INSERT OR IGNORE INTO temp.own_chunks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    add_chunks(&mut transaction.prepare_cached(sql)?, rows)
}

/// Drops all of them.
pub(super) fn clear(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch("DELETE FROM temp.own_chunks; DELETE FROM temp.own_frames; DELETE FROM temp.own_packs;")
}

/// Drops a pack that everybody may see from now on. Answers whether it was one of these.
pub(super) fn give_up(transaction: &Transaction<'_>, pack: &ObjectHash) -> rusqlite::Result<bool> {
    let mut query = transaction.prepare_cached("SELECT id FROM temp.own_packs WHERE hash = ?1")?;
    let id: Option<i64> = query.query_row([pack.0], |row| row.get(0)).optional()?;
    let Some(id) = id else { return Ok(false) };
    transaction.prepare_cached("DELETE FROM temp.own_chunks WHERE pack = ?1")?.execute([id])?;
    transaction.prepare_cached("DELETE FROM temp.own_frames WHERE pack = ?1")?.execute([id])?;
    transaction.prepare_cached("DELETE FROM temp.own_packs WHERE id = ?1")?.execute([id])?;
    Ok(true)
}

/// Every place of a chunk in them.
pub(super) fn places(connection: &Connection, id: &ChunkId) -> rusqlite::Result<Vec<ChunkPlace>> {
    let sql = format!("SELECT {PLACE} FROM temp.own_chunks c {JOINS} WHERE c.id = ?1 ORDER BY p.id");
    let mut query = connection.prepare_cached(&sql)?;
    query.query_map([&id.0[..]], read_place)?.collect()
}

/// Ids of their chunks in a range.
pub(super) fn with_prefix(
    connection: &Connection,
    (low, high): ([u8; 16], [u8; 16]),
) -> rusqlite::Result<Vec<ChunkId>> {
    let mut query = connection.prepare_cached("SELECT id FROM temp.own_chunks WHERE id BETWEEN ?1 AND ?2")?;
    query.query_map(params![low, high], |row| Ok(ChunkId(row.get(0)?)))?.collect()
}
