//! What is needed, and where: the questions a sweep asks. Answers come from SQLite, row after row in the order of ids, so
//! that memory does not grow with the repository.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::Catalog;
use super::packs::{read_bases, split_bases};
use super::usage::each_best;
use crate::format::frame::BasePrefix;
use crate::format::limits::{DELTA_CLOSURE_MAX, DELTA_DEPTH_MAX};
use crate::format::{ChunkId, ObjectHash};
use crate::repository::error::RepositoryError;

/// Why a chunk is in the table of needed ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repository) enum Need {
    /// A file's content.
    Content = 0,
    /// A list's content.
    List = 1,
    /// Only as a base of deltas.
    Base = 2,
}

/// A pack and how much of it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repository) struct PackUse {
    /// The pack.
    pub pack: ObjectHash,
    /// Its bytes.
    pub size: u64,
    /// The share of them that is needed, in the same unit.
    pub live: u64,
    /// Bytes elsewhere that are needed no longer once what is needed of it is stored again.
    pub saved: u64,
    /// Seal epoch of its header.
    pub epoch: u32,
    /// Whether an index object names it.
    pub is_indexed: bool,
}

/// Where a chunk that is to be stored again is read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::repository) struct Rescued {
    /// The catalog's number of the pack, the frame, and the place in the frame: the order in which they are read.
    pub place: (i64, u32, u32),
    /// The chunk.
    pub id: ChunkId,
    /// Bytes of its plaintext.
    pub length: u32,
    /// Whether it is a list's.
    pub is_list: bool,
    /// Its bases, where it is stored as a delta only.
    pub bases: Option<Vec<BasePrefix>>,
}

/// Rows that are looked at together.
const PAGE: usize = 8192;

/// A walk along ids, beside another one.
struct Ids<'s> {
    rows: rusqlite::Rows<'s>,
    /// The row it stands at; `None` at the end.
    at: Option<[u8; 16]>,
}

impl<'s> Ids<'s> {
    fn new(mut rows: rusqlite::Rows<'s>) -> rusqlite::Result<Ids<'s>> {
        let at = rows.next()?.map(|row| row.get(0)).transpose()?;
        Ok(Ids { rows, at })
    }

    /// Whether an id is among them. Those asked for do not descend.
    fn has(&mut self, id: [u8; 16]) -> rusqlite::Result<bool> {
        while self.at.is_some_and(|at| at < id) {
            self.at = self.rows.next()?.map(|row| row.get(0)).transpose()?;
        }
        Ok(self.at == Some(id))
    }
}

/// The next page of needed chunks that no usable pack holds whole, and why each is needed. Both tables lie in the order
/// of ids: each is walked once, which is several times as fast as a look-up for each.
fn not_whole(connection: &Connection, after: &[u8]) -> rusqlite::Result<Vec<(ChunkId, i64)>> {
    let sql = "SELECT c.id FROM chunks c
        WHERE c.id > ?1 AND c.delta IS NULL AND c.pack IN (SELECT pack FROM temp.usable) ORDER BY c.id";
    let mut whole = connection.prepare_cached(sql)?;
    let mut whole = Ids::new(whole.query([after])?)?;
    let mut needed = connection.prepare_cached("SELECT id, need FROM temp.needed WHERE id > ?1 ORDER BY id")?;
    let mut needed = needed.query([after])?;
    let mut page = Vec::new();
    while let Some(row) = needed.next()? {
        let id = row.get(0)?;
        if !whole.has(id)? {
            page.push((ChunkId(id), row.get(1)?));
        }
        if page.len() == PAGE {
            break;
        }
    }
    Ok(page)
}

const TABLE: &str = "
    CREATE TEMP TABLE IF NOT EXISTS needed (id BLOB PRIMARY KEY, need INTEGER NOT NULL) WITHOUT ROWID;
    DELETE FROM temp.needed;";

impl Catalog {
    /// Empties the table of needed chunks, making it where there is none.
    pub fn clear_needed(&self) -> Result<(), RepositoryError> {
        self.run(|connection| connection.execute_batch(TABLE))
    }

    /// Adds chunks, emptying `ids`. One that is there already keeps its reason.
    pub fn add_needed(&mut self, need: Need, ids: &mut Vec<ChunkId>) -> Result<(), RepositoryError> {
        // Sorted, so that SQLite walks its tree once.
        ids.sort_unstable();
        ids.dedup();
        self.write(|transaction| {
            let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO temp.needed VALUES (?1, ?2)")?;
            ids.iter().try_for_each(|id| insert.execute(params![id.0, need as i64]).map(drop))
        })?;
        ids.clear();
        Ok(())
    }

    /// How many chunks are needed.
    pub fn needed_count(&self) -> Result<u64, RepositoryError> {
        self.run(|connection| {
            connection.query_row("SELECT count(*) FROM temp.needed", [], |row| row.get::<_, i64>(0)).map(|n| n as u64)
        })
    }

    /// Packs in the catalog that are listed with their size count as usable from here on, whoever names them, those for
    /// which `except` answers true left out.
    pub fn use_listed(
        &mut self,
        listed: &HashMap<ObjectHash, u64>,
        except: &dyn Fn(&ObjectHash, bool) -> bool,
    ) -> Result<(), RepositoryError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM temp.usable", [])?;
            let mut insert = transaction.prepare("INSERT INTO temp.usable VALUES (?1)")?;
            let mut query = transaction.prepare("SELECT id, hash, size, id IN (SELECT pack FROM named) FROM packs")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let (hash, size) = (ObjectHash(row.get(1)?), row.get::<_, i64>(2)? as u64);
                if listed.get(&hash) == Some(&size) && !except(&hash, row.get(3)?) {
                    insert.execute([row.get::<_, i64>(0)?])?;
                }
            }
            Ok(())
        })
    }

    /// Needed chunks, bases apart, that cannot be decoded from usable packs, in the order of ids.
    pub fn unknown_needed(
        &self,
        each: &mut dyn FnMut(ChunkId, bool) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        self.each_not_whole(&mut |id, need| match need == Need::Base as i64 || self.is_known(&id)? {
            true => Ok(()),
            false => each(id, need == Need::List as i64),
        })
    }

    /// The next page of needed chunks behind `after` that no usable pack holds whole, in the order of ids, and why each is needed.
    pub(super) fn not_whole_page(&self, after: &[u8]) -> Result<Vec<(ChunkId, i64)>, RepositoryError> {
        self.run(|connection| not_whole(connection, after))
    }

    /// Needed chunks that no usable pack holds whole, in the order of ids.
    fn each_not_whole(
        &self,
        each: &mut dyn FnMut(ChunkId, i64) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let mut after = Vec::new();
        loop {
            let page = self.not_whole_page(&after)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = last.0.to_vec();
            page.iter().try_for_each(|(id, need)| each(*id, *need))?;
        }
    }

    /// Adds the bases without which needed chunks that no usable pack holds whole cannot be decoded.
    pub fn add_needed_bases(&mut self) -> Result<(), RepositoryError> {
        let mut bases = Vec::new();
        self.each_not_whole(&mut |id, _| self.closure(&id, &mut bases))?;
        self.add_needed(Need::Base, &mut bases)
    }

    /// Appends the bases of a chunk's first usable form, theirs, and so on.
    pub(super) fn closure(&self, id: &ChunkId, bases: &mut Vec<ChunkId>) -> Result<(), RepositoryError> {
        let (mut open, mut left) = (vec![(*id, DELTA_DEPTH_MAX)], DELTA_CLOSURE_MAX);
        while let Some((id, depth)) = open.pop() {
            let Some(prefixes) = self.usable_bases(&id)? else { continue };
            for prefix in prefixes {
                for base in self.with_prefix(&prefix)? {
                    bases.push(base);
                    if depth > 1 && left > 0 {
                        left -= 1;
                        open.push((base, depth - 1));
                    }
                }
            }
        }
        Ok(())
    }

    /// The bases of a chunk that usable packs hold as a delta only; `None` where one holds it whole, or none at all.
    fn usable_bases(&self, id: &ChunkId) -> Result<Option<Vec<BasePrefix>>, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT c.bases FROM chunks c JOIN temp.usable u ON u.pack = c.pack WHERE c.id = ?1
                ORDER BY c.delta NOTNULL, c.pack LIMIT 1";
            let mut query = connection.prepare_cached(sql)?;
            Ok(read_bases(query.query([&id.0[..]])?)?.into_iter().next().flatten())
        })
    }

    /// How much of each usable pack is needed.
    pub fn pack_uses(&self) -> Result<Vec<PackUse>, RepositoryError> {
        let saved = self.saved_by_new_roots()?;
        self.run(|connection| {
            let mut live = HashMap::<i64, u64>::new();
            let mut needed = connection.prepare("SELECT id FROM temp.needed ORDER BY id")?;
            let mut needed = Ids::new(needed.query([])?)?;
            // Both tables lie in the order of ids: each is walked once.
            let packs = each_best(connection, &mut |best| {
                if needed.has(best.id)? {
                    *live.entry(best.pack).or_default() += best.bytes;
                }
                Ok(())
            })?;
            let sql = "SELECT p.id, p.hash, p.size, p.epoch, p.id IN (SELECT pack FROM named) FROM packs p
                JOIN temp.usable u ON u.pack = p.id ORDER BY p.id";
            let mut query = connection.prepare(sql)?;
            let uses = query.query_map([], |row| {
                let (id, size): (i64, u64) = (row.get(0)?, row.get::<_, i64>(2)? as u64);
                let live = packs.share_up(id, live.get(&id).copied().unwrap_or_default());
                let saved = saved.get(&id).copied().unwrap_or_default();
                let (pack, epoch, is_indexed) = (ObjectHash(row.get(1)?), row.get(3)?, row.get(4)?);
                Ok(PackUse { pack, size, live, saved, epoch, is_indexed })
            })?;
            uses.collect()
        })
    }

    /// Where to read a chunk that is to be stored again: whole before delta, and of deltas one whose bases are there.
    pub fn rescued(&self, id: &ChunkId, is_list: bool) -> Result<Option<Rescued>, RepositoryError> {
        let forms: Vec<Rescued> = self.run(|connection| {
            let sql = "SELECT c.pack, c.frame, c.position, c.length, c.bases FROM chunks c WHERE c.id = ?1
                ORDER BY c.delta NOTNULL, c.pack";
            let mut query = connection.prepare_cached(sql)?;
            let forms = query.query_map([&id.0[..]], |row| {
                let bases: Option<Vec<u8>> = row.get(4)?;
                Ok(Rescued {
                    place: (row.get(0)?, row.get(1)?, row.get(2)?),
                    id: *id,
                    length: row.get(3)?,
                    is_list,
                    bases: bases.map(|bases| split_bases(&bases)),
                })
            })?;
            forms.collect()
        })?;
        for form in &forms {
            let gone = form.bases.iter().flatten().map(|base| Ok(self.with_prefix(base)?.is_empty()));
            if !gone.collect::<Result<Vec<_>, RepositoryError>>()?.contains(&true) {
                return Ok(Some(form.clone()));
            }
        }
        Ok(forms.into_iter().next())
    }

    /// Which packs each index object names.
    pub fn names_of_sources(&self) -> Result<HashMap<String, Vec<ObjectHash>>, RepositoryError> {
        self.run(|connection| {
            let sql =
                "SELECT s.name, p.hash FROM named n JOIN sources s ON s.id = n.source JOIN packs p ON p.id = n.pack";
            let mut query = connection.prepare(sql)?;
            let mut rows = query.query([])?;
            let mut names: HashMap<String, Vec<ObjectHash>> = HashMap::new();
            while let Some(row) = rows.next()? {
                names.entry(row.get(0)?).or_default().push(ObjectHash(row.get(1)?));
            }
            Ok(names)
        })
    }

    /// Packs that count as usable.
    pub fn usable_packs(&self) -> Result<Vec<ObjectHash>, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT hash FROM packs WHERE id IN (SELECT pack FROM temp.usable)";
            let mut query = connection.prepare(sql)?;
            query.query_map([], |row| Ok(ObjectHash(row.get(0)?)))?.collect()
        })
    }
}
