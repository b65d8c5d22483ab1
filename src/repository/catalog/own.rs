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

/// Every place of the chunks in a range of ids in them.
pub(super) fn places(connection: &Connection, (low, high): ([u8; 16], [u8; 16])) -> rusqlite::Result<Vec<ChunkPlace>> {
    let sql = format!("SELECT {PLACE} FROM temp.own_chunks c {JOINS} WHERE c.id BETWEEN ?1 AND ?2 ORDER BY c.id, p.id");
    let mut query = connection.prepare_cached(&sql)?;
    query.query_map(params![low, high], read_place)?.collect()
}

/// Ids of their chunks in a range.
pub(super) fn with_prefix(
    connection: &Connection,
    (low, high): ([u8; 16], [u8; 16]),
) -> rusqlite::Result<Vec<ChunkId>> {
    let mut query = connection.prepare_cached("SELECT id FROM temp.own_chunks WHERE id BETWEEN ?1 AND ?2")?;
    query.query_map(params![low, high], |row| Ok(ChunkId(row.get(0)?)))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Id16;
    use crate::format::frame::{BASE_PREFIX, Method};
    use crate::format::index::Index;
    use crate::format::pack::{ChunkRow, DeltaRow, Footer, FrameRow};

    /// A chunk whose id begins with seven sevens; a base is named by eight bytes.
    fn id(eighth: u8, last: u8) -> ChunkId {
        let mut id = ChunkId([7; 16]);
        (id.0[7], id.0[15]) = (eighth, last);
        id
    }

    fn pack(number: u8, chunks: &[(ChunkId, bool)]) -> IndexedPack {
        let delta = |is: &bool| is.then(|| DeltaRow { length: 3, bases: vec![[1; BASE_PREFIX]] });
        let row = |(id, is_delta): &(ChunkId, bool)| ChunkRow { id: *id, length: 5, delta: delta(is_delta) };
        let frames =
            chunks.iter().map(|chunk| FrameRow { method: Method::Plain, sealed: 30, chunks: vec![row(chunk)] });
        let footer = Footer { padding: 0, frames: frames.collect() };
        IndexedPack { pack: ObjectHash([number; 32]), size: 900, epoch: 0, salt: [0; 32], footer }
    }

    #[test]
    fn places_of_a_base_are_those_of_the_first_chunk_that_begins_like_it() {
        let mut catalog = Catalog::private(Id16([1; 16])).unwrap();
        let shared = pack(1, &[(id(7, 2), true), (id(8, 0), false), (id(7, 9), false)]);
        catalog.add_sources(vec![("one".into(), Index { session: Id16([2; 16]), packs: vec![shared] })]).unwrap();
        let found = |catalog: &Catalog| {
            let places = catalog.places_of_base(&[7; BASE_PREFIX]).unwrap();
            places.into_iter().map(|place| (place.id, place.pack.0[0], place.delta.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(found(&catalog), [(id(7, 2), 1, true)]);
        // Of this session's own: the same chunk whole, which comes first.
        catalog.add_own_pack(&pack(2, &[(id(7, 2), false), (id(7, 3), false)])).unwrap();
        assert_eq!(found(&catalog), [(id(7, 2), 2, false), (id(7, 2), 1, true)]);
        catalog.add_own_pack(&pack(3, &[(id(7, 1), true)])).unwrap();
        assert_eq!(found(&catalog), [(id(7, 1), 3, true)]);
        assert_eq!(catalog.places_of_base(&[9; BASE_PREFIX]).unwrap(), []);
    }
}
