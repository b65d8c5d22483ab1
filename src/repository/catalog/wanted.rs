//! The temporary tables of a restore: which chunk goes where, to be read in pack order; deltas in the order of the files.

use rusqlite::params;

use super::packs::{PLACE, PLACE_JOINS, read_place};
use super::{Catalog, ChunkPlace};
use crate::format::{ChunkId, ObjectHash};
use crate::repository::error::RepositoryError;

/// A place to read and where its bytes go.
pub(in crate::repository) struct Wanted {
    /// The chunk and where it is stored.
    pub place: ChunkPlace,
    /// The caller's number of the file.
    pub file: u32,
    /// Offset in the file.
    pub at: u64,
}

/// A chunk stored only as a delta, and where its bytes go.
pub(in crate::repository) struct WantedDelta {
    /// The chunk.
    pub id: ChunkId,
    /// Its plaintext bytes.
    pub length: u32,
    /// The caller's number of the file.
    pub file: u32,
    /// Offset in the file.
    pub at: u64,
}

const TABLE: &str = "
    CREATE TEMP TABLE IF NOT EXISTS wanted (pack INTEGER NOT NULL, frame INTEGER NOT NULL, id BLOB NOT NULL,
        file INTEGER NOT NULL, at INTEGER NOT NULL);
    CREATE INDEX IF NOT EXISTS temp.wanted_by_pack ON wanted (pack, frame);
    CREATE TEMP TABLE IF NOT EXISTS wanted_deltas (row INTEGER PRIMARY KEY, id BLOB NOT NULL, length INTEGER NOT NULL,
        file INTEGER NOT NULL, at INTEGER NOT NULL);
    DELETE FROM temp.wanted;
    DELETE FROM temp.wanted_deltas;";

impl Catalog {
    /// Empties the tables, making them where needed.
    pub fn clear_wanted(&mut self) -> Result<(), RepositoryError> {
        self.run(|connection| connection.execute_batch(TABLE))
    }

    /// Adds chunks of a file: id, length, offset. A whole copy is preferred to a delta. Answers with the first chunk that
    /// is nowhere.
    pub fn add_wanted(
        &mut self,
        file: u32,
        chunks: &[(ChunkId, u32, u64)],
    ) -> Result<Option<ChunkId>, RepositoryError> {
        self.write(|transaction| {
            let sql = "SELECT CASE WHEN delta IS NULL THEN pack END, frame FROM chunks WHERE id = ?1
                ORDER BY delta NOTNULL, pack LIMIT 1";
            let mut find = transaction.prepare_cached(sql)?;
            let mut insert = transaction.prepare_cached("INSERT INTO temp.wanted VALUES (?1, ?2, ?3, ?4, ?5)")?;
            let sql = "INSERT INTO temp.wanted_deltas (id, length, file, at) VALUES (?1, ?2, ?3, ?4)";
            let mut insert_delta = transaction.prepare_cached(sql)?;
            for (id, length, at) in chunks {
                let mut rows = find.query([&id.0[..]])?;
                let Some(row) = rows.next()? else { return Ok(Some(*id)) };
                let (pack, frame): (Option<i64>, u32) = (row.get(0)?, row.get(1)?);
                match pack {
                    Some(pack) => insert.execute(params![pack, frame, id.0, file, *at as i64])?,
                    None => insert_delta.execute(params![id.0, length, file, *at as i64])?,
                };
            }
            Ok(None)
        })
    }

    /// Packs to be read: their numbers and names.
    pub fn wanted_packs(&self) -> Result<Vec<(i64, ObjectHash)>, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT id, hash FROM packs WHERE id IN (SELECT pack FROM temp.wanted) ORDER BY id";
            let mut query = connection.prepare(sql)?;
            query.query_map([], |row| Ok((row.get(0)?, ObjectHash(row.get(1)?))))?.collect()
        })
    }

    /// Number of places to be read from packs.
    pub fn wanted_count(&self) -> Result<u64, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT count(*) FROM temp.wanted";
            connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|count| count as u64)
        })
    }

    /// What is wanted from a pack, by frame: at most `limit` rows that come after the frame and row number `after`.
    /// Also answers where to go on.
    pub fn wanted_of(
        &self,
        pack: i64,
        after: (i64, i64),
        limit: usize,
    ) -> Result<(Vec<Wanted>, (i64, i64)), RepositoryError> {
        self.run(|connection| {
            // CROSS JOIN: from what is wanted to where it is, never the other way round.
            let sql = format!(
                "SELECT {PLACE}, w.file, w.at, w.rowid FROM temp.wanted w
                 CROSS JOIN chunks c ON c.id = w.id AND c.pack = w.pack {PLACE_JOINS}
                 WHERE w.pack = ?1 AND (w.frame, w.rowid) > (?2, ?3) ORDER BY w.frame, w.rowid LIMIT ?4"
            );
            let mut query = connection.prepare_cached(&sql)?;
            let mut rows = query.query(params![pack, after.0, after.1, limit as i64])?;
            let (mut wanted, mut last) = (Vec::new(), after);
            while let Some(row) = rows.next()? {
                let found = Wanted { place: read_place(row)?, file: row.get(13)?, at: row.get::<_, i64>(14)? as u64 };
                last = (found.place.frame.into(), row.get(15)?);
                wanted.push(found);
            }
            wanted.sort_by_key(|wanted| (wanted.place.frame, wanted.place.position, wanted.file, wanted.at));
            Ok((wanted, last))
        })
    }

    /// Chunks stored only as deltas, each with its row number, in the order they were added; at most `limit` after a row.
    pub fn wanted_deltas(&self, after: i64, limit: usize) -> Result<Vec<(i64, WantedDelta)>, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT row, id, length, file, at FROM temp.wanted_deltas WHERE row > ?1 ORDER BY row LIMIT ?2";
            let mut query = connection.prepare_cached(sql)?;
            let rows = query.query_map(params![after, limit as i64], |row| {
                let (id, at) = (ChunkId(row.get(1)?), row.get::<_, i64>(4)? as u64);
                Ok((row.get(0)?, WantedDelta { id, length: row.get(2)?, file: row.get(3)?, at }))
            })?;
            rows.collect()
        })
    }
}
