//! Packs, frames and chunks in the catalog.

use std::collections::{HashMap, HashSet};

use rusqlite::{CachedStatement, OptionalExtension, Row, Transaction, params};

use super::{Catalog, own};
use crate::format::frame::{BASE_PREFIX, BasePrefix, Method};
use crate::format::index::{Index, IndexedPack};
use crate::format::limits::{DELTA_CLOSURE_MAX, PACK_MAX};
use crate::format::pack::FrameRow;
use crate::format::{ChunkId, ObjectHash};
use crate::repository::error::RepositoryError;

/// Where a chunk is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkPlace {
    /// The chunk.
    pub id: ChunkId,
    /// The pack.
    pub pack: ObjectHash,
    /// Seal epoch of the pack's header.
    pub epoch: u32,
    /// Salt of the pack's header.
    pub salt: [u8; 32],
    /// Ordinal of the frame.
    pub frame: u32,
    /// Offset of the sealed frame in the pack.
    pub frame_offset: u64,
    /// Bytes of the sealed frame.
    pub sealed: u32,
    /// Bytes of all its chunks, decoded.
    pub frame_plaintext: u32,
    /// How the frame is stored.
    pub method: Method,
    /// Offset in the decoded frame (of the delta, in delta frames).
    pub position: u32,
    /// Bytes of plaintext.
    pub length: u32,
    /// In delta frames: bytes of the delta, and its bases.
    pub delta: Option<(u32, Vec<BasePrefix>)>,
}

/// Sums over all packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PackTotals {
    /// Packs.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Distinct chunks.
    pub chunks: u64,
    /// Plaintext bytes of all stored chunks.
    pub chunk_bytes: u64,
    /// Chunks stored as deltas.
    pub deltas: u64,
}

/// What [`read_place`] reads.
pub(super) const PLACE: &str = "c.id, p.hash, c.frame, f.offset, f.sealed, f.method, c.position, c.length, c.delta,
    c.bases, p.epoch, p.salt, f.plaintext";
/// What joins a chunk `c` to its pack and frame.
pub(super) const PLACE_JOINS: &str =
    "JOIN packs p ON p.id = c.pack JOIN frames f ON f.pack = c.pack AND f.ordinal = c.frame";

impl Catalog {
    /// Index objects whose packs are in the catalog.
    pub fn sources(&self) -> Result<HashSet<String>, RepositoryError> {
        self.run(|connection| {
            let mut query = connection.prepare("SELECT name FROM sources")?;
            query.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// Drops index objects that are no longer listed, and with them the packs no other one names, and what this
    /// connection has of packs of its own.
    pub fn drop_sources(&mut self, gone: &[String]) -> Result<(), RepositoryError> {
        self.write(|transaction| {
            own::clear(transaction)?;
            for name in gone {
                transaction
                    .execute("DELETE FROM named WHERE source = (SELECT id FROM sources WHERE name = ?1)", [name])?;
                transaction.execute("DELETE FROM sources WHERE name = ?1", [name])?;
            }
            let orphans = "SELECT id FROM packs WHERE id NOT IN (SELECT pack FROM named)";
            let any: bool = transaction.query_row(&format!("SELECT EXISTS ({orphans})"), [], |row| row.get(0))?;
            if any {
                transaction.execute(&format!("DELETE FROM chunks WHERE pack IN ({orphans})"), [])?;
                transaction.execute(&format!("DELETE FROM frames WHERE pack IN ({orphans})"), [])?;
                transaction.execute(&format!("DELETE FROM packs WHERE id IN ({orphans})"), [])?;
            }
            Ok(())
        })
    }

    /// Adds what index objects say, in one transaction, rows sorted by chunk. Memory: 90 bytes for each chunk, beside
    /// the 72 it takes in its index object.
    pub fn add_sources(&mut self, indexes: Vec<(String, Index)>) -> Result<(), RepositoryError> {
        self.write(|transaction| {
            let mut rows = Vec::new();
            for (name, index) in indexes {
                transaction.execute("INSERT OR IGNORE INTO sources (name) VALUES (?1)", [&name])?;
                let source: i64 =
                    transaction.query_row("SELECT id FROM sources WHERE name = ?1", [&name], |r| r.get(0))?;
                let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO named VALUES (?1, ?2)")?;
                // Each pack's table goes as its rows come.
                for pack in index.packs {
                    let id = add_pack(transaction, &pack, &mut rows)?;
                    insert.execute(params![source, id])?;
                    if own::give_up(transaction, &pack.pack)? {
                        transaction.execute("INSERT OR IGNORE INTO temp.usable VALUES (?1)", [id])?;
                    }
                }
            }
            insert_chunks(transaction, rows)
        })
    }

    /// Adds a pack whose footer was read; it is usable from now on only if `usable`.
    pub fn add_pack(&mut self, pack: &IndexedPack, usable: bool) -> Result<(), RepositoryError> {
        self.write(|transaction| {
            let mut rows = Vec::new();
            let id = add_pack(transaction, pack, &mut rows)?;
            insert_chunks(transaction, rows)?;
            if usable {
                transaction.execute("INSERT OR IGNORE INTO temp.usable VALUES (?1)", [id])?;
            }
            Ok(())
        })
    }

    /// SESS-2: from now on usable are the packs that an index object names, none of `condemned`, and listed with the
    /// size the index gives.
    pub fn set_usable(
        &mut self,
        listed: &HashMap<ObjectHash, u64>,
        condemned: &HashSet<ObjectHash>,
    ) -> Result<(), RepositoryError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM temp.usable", [])?;
            own::clear(transaction)?;
            let mut insert = transaction.prepare("INSERT INTO temp.usable VALUES (?1)")?;
            let sql = "SELECT id, hash, size FROM packs WHERE id IN (SELECT pack FROM named)";
            let mut query = transaction.prepare(sql)?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let (hash, size) = (ObjectHash(row.get(1)?), row.get::<_, i64>(2)? as u64);
                if listed.get(&hash) == Some(&size) && !condemned.contains(&hash) {
                    insert.execute([row.get::<_, i64>(0)?])?;
                }
            }
            Ok(())
        })
    }

    /// Empties the table of chunks that a check has followed, making it where needed.
    pub fn clear_followed(&self) -> Result<(), RepositoryError> {
        self.run(|connection| {
            connection.execute_batch(
                "CREATE TEMP TABLE IF NOT EXISTS followed (id BLOB PRIMARY KEY, round INTEGER NOT NULL) WITHOUT ROWID;
                 DELETE FROM temp.followed;",
            )
        })
    }

    /// Whether a check has followed a chunk.
    pub fn is_followed(&self, id: &ChunkId) -> Result<bool, RepositoryError> {
        self.run(|connection| {
            let mut query = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM temp.followed WHERE id = ?1)")?;
            query.query_row([&id.0[..]], |row| row.get(0))
        })
    }

    /// Notes that a check has followed a chunk, in one of its rounds.
    pub fn add_followed(&self, id: &ChunkId, round: i64) -> Result<(), RepositoryError> {
        self.run(|connection| {
            let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO temp.followed VALUES (?1, ?2)")?;
            insert.execute(params![id.0, round]).map(drop)
        })
    }

    /// Packs that hold chunks which a check has followed in one of its rounds.
    pub fn packs_of_followed(&self, round: i64) -> Result<Vec<ObjectHash>, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT DISTINCT p.hash FROM temp.followed t CROSS JOIN chunks c ON c.id = t.id
                JOIN packs p ON p.id = c.pack WHERE t.round = ?1";
            let mut query = connection.prepare(sql)?;
            query.query_map([round], |row| row.get(0).map(ObjectHash))?.collect()
        })
    }

    /// How many chunks a check has followed.
    pub fn followed_count(&self) -> Result<u64, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT count(*) FROM temp.followed";
            connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|count| count as u64)
        })
    }

    /// Every place a chunk is stored, best first: whole before delta.
    pub fn places(&self, id: &ChunkId) -> Result<Vec<ChunkPlace>, RepositoryError> {
        self.places_between((id.0, id.0))
    }

    /// The same of the first chunk that begins with a prefix: of the one that a base is.
    pub fn places_of_base(&self, prefix: &BasePrefix) -> Result<Vec<ChunkPlace>, RepositoryError> {
        let mut places = self.places_between(prefix_range(prefix))?;
        let others = places.iter().position(|place| Some(place.id) != places.first().map(|first| first.id));
        places.truncate(others.unwrap_or(places.len()));
        Ok(places)
    }

    fn places_between(&self, (low, high): ([u8; 16], [u8; 16])) -> Result<Vec<ChunkPlace>, RepositoryError> {
        self.run(|connection| {
            let sql = format!(
                "SELECT {PLACE} FROM chunks c {PLACE_JOINS} WHERE c.id BETWEEN ?1 AND ?2 ORDER BY c.id, c.delta NOTNULL, p.id"
            );
            let mut query = connection.prepare_cached(&sql)?;
            let found = query.query_map(params![low, high], read_place)?;
            let mut places = found.collect::<rusqlite::Result<Vec<_>>>()?;
            if self.has_own {
                places.extend(own::places(connection, (low, high))?);
                places.sort_by_key(|place| (place.id, place.delta.is_some()));
            }
            Ok(places)
        })
    }

    /// Ids of all chunks that begin with a prefix, in order.
    pub fn with_prefix(&self, prefix: &BasePrefix) -> Result<Vec<ChunkId>, RepositoryError> {
        self.run(|connection| {
            let (low, high) = prefix_range(prefix);
            let sql = "SELECT DISTINCT id FROM chunks WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
            let mut query = connection.prepare_cached(sql)?;
            let rows = query.query_map(params![low, high, DELTA_CLOSURE_MAX as i64], |row| Ok(ChunkId(row.get(0)?)))?;
            let mut ids = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            if self.has_own {
                ids.extend(own::with_prefix(connection, (low, high))?);
                ids.sort_unstable();
                ids.dedup();
            }
            Ok(ids)
        })
    }

    /// Packs that index objects name: hash and size.
    pub fn indexed_packs(&self) -> Result<HashMap<ObjectHash, u64>, RepositoryError> {
        self.run(|connection| {
            let mut query = connection.prepare("SELECT hash, size FROM packs WHERE id IN (SELECT pack FROM named)")?;
            let rows = query.query_map([], |row| Ok((ObjectHash(row.get(0)?), row.get::<_, i64>(1)? as u64)))?;
            rows.collect()
        })
    }

    /// Whether the catalog describes a pack as the pack does itself; a pack it does not have agrees.
    pub fn agrees_with(&self, pack: &IndexedPack) -> Result<bool, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT id, size, epoch, salt FROM packs WHERE hash = ?1";
            let row = connection.query_row(sql, [pack.pack.0], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, u32>(2)?, row.get::<_, [u8; 32]>(3)?))
            });
            let Some((id, size, epoch, salt)) = row.optional()? else { return Ok(true) };
            let sql = "SELECT count(*), coalesce(sum(plaintext), 0) FROM frames WHERE pack = ?1";
            let (frames, plaintext): (i64, i64) =
                connection.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let told = pack.footer.frames.iter().map(FrameRow::plaintext).sum::<u64>();
            let mut agrees = (size as u64, epoch, salt) == (pack.size, pack.epoch, pack.salt)
                && (frames as usize, plaintext as u64) == (pack.footer.frames.len(), told);
            let sql = "SELECT f.method, f.sealed, c.position, c.length, c.delta, c.bases FROM chunks c
                JOIN frames f ON f.pack = c.pack AND f.ordinal = c.frame WHERE c.id = ?1 AND c.pack = ?2 AND c.frame = ?3";
            let mut query = connection.prepare_cached(sql)?;
            for (ordinal, frame) in (0u32..).zip(&pack.footer.frames) {
                let mut position = 0;
                for chunk in &frame.chunks {
                    let delta = chunk.delta.as_ref().map(|delta| delta.length);
                    let bases = chunk.delta.as_ref().map(|delta| delta.bases.concat());
                    let want = (frame.method as u8, frame.sealed, position, chunk.length, delta, bases);
                    let have = query.query_row(params![chunk.id.0, id, ordinal], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
                    });
                    agrees &= have.optional()? == Some(want);
                    position += delta.unwrap_or(chunk.length);
                }
            }
            Ok(agrees)
        })
    }

    /// Sums over all packs that index objects name.
    pub fn totals(&self) -> Result<PackTotals, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT count(*), coalesce(sum(size), 0) FROM packs";
            let (packs, pack_bytes) =
                connection.query_row(sql, [], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?)))?;
            let sql = "SELECT count(DISTINCT id), coalesce(sum(length), 0), count(delta) FROM chunks";
            connection.query_row(sql, [], |row| {
                Ok(PackTotals {
                    packs: packs as u64,
                    pack_bytes: pack_bytes as u64,
                    chunks: row.get::<_, i64>(0)? as u64,
                    chunk_bytes: row.get::<_, i64>(1)? as u64,
                    deltas: row.get::<_, i64>(2)? as u64,
                })
            })
        })
    }
}

/// A row of `chunks`, in its order.
pub(super) type ChunkValues = ([u8; 16], i64, u32, u32, u32, Option<u32>, Option<Vec<u8>>);

fn add_pack(transaction: &Transaction<'_>, pack: &IndexedPack, rows: &mut Vec<ChunkValues>) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO packs (hash, size, epoch, salt) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (hash) DO NOTHING RETURNING id";
    let mut insert = transaction.prepare_cached(sql)?;
    let values = params![pack.pack.0, pack.size as i64, pack.epoch, pack.salt];
    let inserted: Option<i64> = insert.query_row(values, |row| row.get(0)).optional()?;
    let Some(id) = inserted else {
        return transaction.query_row("SELECT id FROM packs WHERE hash = ?1", [pack.pack.0], |row| row.get(0));
    };
    let mut insert = transaction.prepare_cached("INSERT INTO frames VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    add_frames(&mut insert, pack, id, rows)?;
    Ok(id)
}

/// Inserts the frames of a pack, and gives the rows of its chunks.
pub(super) fn add_frames(
    insert: &mut CachedStatement<'_>,
    pack: &IndexedPack,
    id: i64,
    rows: &mut Vec<ChunkValues>,
) -> rusqlite::Result<()> {
    for ((ordinal, frame), offset) in (0u32..).zip(&pack.footer.frames).zip(pack.footer.frame_offsets()) {
        let plaintext = frame.plaintext() as i64;
        insert.execute(params![id, ordinal, offset as i64, frame.sealed, frame.method as u8, plaintext])?;
        let mut position = 0;
        for chunk in &frame.chunks {
            let (delta, bases) = match &chunk.delta {
                Some(delta) => (Some(delta.length), Some(delta.bases.concat())),
                None => (None, None),
            };
            rows.push((chunk.id.0, id, ordinal, position, chunk.length, delta, bases));
            position += delta.unwrap_or(chunk.length);
        }
    }
    Ok(())
}

/// Sorted, so that SQLite appends to its tree instead of searching it.
fn insert_chunks(transaction: &Transaction<'_>, rows: Vec<ChunkValues>) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO chunks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    add_chunks(&mut insert, rows)
}

pub(super) fn add_chunks(insert: &mut CachedStatement<'_>, mut rows: Vec<ChunkValues>) -> rusqlite::Result<()> {
    rows.sort_unstable_by_key(|row| (row.0, row.1));
    for (id, pack, frame, position, length, delta, bases) in rows {
        insert.execute(params![id, pack, frame, position, length, delta, bases])?;
    }
    Ok(())
}

pub(super) fn prefix_range(prefix: &BasePrefix) -> ([u8; 16], [u8; 16]) {
    let (mut low, mut high) = ([0; 16], [0xff; 16]);
    for bound in [&mut low, &mut high] {
        bound.iter_mut().zip(prefix).for_each(|(to, from)| *to = *from);
    }
    (low, high)
}

pub(super) fn split_bases(bases: &[u8]) -> Vec<BasePrefix> {
    bases.as_chunks::<BASE_PREFIX>().0.to_vec()
}

/// How a chunk is stored in usable packs: `None` whole, else its bases.
pub(super) fn read_bases(mut rows: rusqlite::Rows<'_>) -> rusqlite::Result<Vec<Option<Vec<BasePrefix>>>> {
    let mut forms = Vec::new();
    while let Some(row) = rows.next()? {
        let bases: Option<Vec<u8>> = row.get(0)?;
        forms.push(bases.map(|bases| split_bases(&bases)));
    }
    Ok(forms)
}

/// A number that bounds or places a read, which no pack exceeds.
fn within_pack(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    let fits = u64::try_from(number).ok().filter(|number| *number <= PACK_MAX);
    fits.ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}

pub(super) fn read_place(row: &Row<'_>) -> rusqlite::Result<ChunkPlace> {
    let method = row.get::<_, u8>(5)?;
    let method =
        Method::from_number(method).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(5, i64::from(method)))?;
    let delta: Option<u32> = row.get(8)?;
    let bases: Option<Vec<u8>> = row.get(9)?;
    Ok(ChunkPlace {
        id: ChunkId(row.get(0)?),
        pack: ObjectHash(row.get(1)?),
        frame_plaintext: row.get(12)?,
        epoch: row.get(10)?,
        salt: row.get(11)?,
        frame: row.get(2)?,
        frame_offset: within_pack(row, 3)?,
        sealed: within_pack(row, 4)? as u32,
        method,
        position: row.get(6)?,
        length: row.get(7)?,
        delta: delta.map(|length| (length, split_bases(&bases.unwrap_or_default()))),
    })
}
