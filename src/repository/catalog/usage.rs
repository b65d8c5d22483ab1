//! Whose the stored bytes are: which datasets use a chunk, and what nobody's snapshots use.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::Catalog;
use crate::repository::error::RepositoryError;

/// Stored bytes by who needs them. Their sum is that of all packs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// By the number of a dataset: what it alone uses, and what it shares with others.
    pub datasets: Vec<DatasetUsage>,
    /// What several datasets use, each byte once.
    pub shared: u64,
    /// What is needed only to decode deltas.
    pub bases: u64,
    /// What no kept snapshot needs.
    pub unneeded: u64,
}

/// What a dataset uses, in stored bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatasetUsage {
    /// What no other one uses.
    pub unique: u64,
    /// What others use as well.
    pub shared: u64,
}

/// A chunk in the pack that counts for it.
pub(super) struct Best {
    pub id: [u8; 16],
    is_delta: bool,
    pub pack: i64,
    pub bytes: u64,
}

/// Packs by their numbers in the catalog.
pub(super) struct Packs {
    /// Bytes of their chunks, as they are stored.
    stored: HashMap<i64, u64>,
    /// Their own.
    sizes: HashMap<i64, u64>,
}

impl Packs {
    /// What all of them take.
    pub fn size(&self) -> u64 {
        self.sizes.values().sum()
    }

    /// A pack's bytes are shared out as those of its chunks are, rounded down.
    pub fn share(&self, pack: i64, bytes: u64) -> u64 {
        let (size, stored) = self.of(pack);
        (size * u128::from(bytes) / stored) as u64
    }

    /// The same, rounded up: what is needed of a pack is never nothing.
    pub fn share_up(&self, pack: i64, bytes: u64) -> u64 {
        let (size, stored) = self.of(pack);
        (size * u128::from(bytes)).div_ceil(stored) as u64
    }

    /// A pack's bytes, and those of its chunks, of which there is at least one.
    fn of(&self, pack: i64) -> (u128, u128) {
        let of = |sums: &HashMap<i64, u64>| u128::from(sums.get(&pack).copied().unwrap_or_default());
        (of(&self.sizes), of(&self.stored).max(1))
    }
}

impl Catalog {
    /// Empties the table of who uses what, making it where there is none.
    pub fn clear_usage(&self) -> Result<(), RepositoryError> {
        self.run(|connection| {
            connection.execute_batch(
                "CREATE TEMP TABLE IF NOT EXISTS usage (id BLOB NOT NULL, user INTEGER NOT NULL, PRIMARY KEY (id, user)) \
                 STRICT, WITHOUT ROWID; DELETE FROM temp.usage;",
            )
        })
    }

    /// What is in the table of needed chunks is used by a dataset.
    pub fn add_usage(&mut self, user: usize) -> Result<(), RepositoryError> {
        self.write(|transaction| {
            let sql = "INSERT OR IGNORE INTO temp.usage SELECT id, ?1 FROM temp.needed ORDER BY id";
            transaction.execute(sql, params![user as i64]).map(drop)
        })
    }

    /// What is used is needed.
    pub fn need_what_is_used(&mut self) -> Result<(), RepositoryError> {
        self.clear_needed()?;
        self.write(|transaction| {
            let sql = "INSERT OR IGNORE INTO temp.needed SELECT id, 0 FROM temp.usage ORDER BY id";
            transaction.execute(sql, []).map(drop)
        })
    }

    /// Adds up usable packs.
    pub fn usage(&self, datasets: usize) -> Result<Usage, RepositoryError> {
        let mut by_users: HashMap<(i64, Vec<i64>), u64> = HashMap::new();
        let packs = self.run(|connection| {
            let mut users = connection.prepare("SELECT user FROM temp.usage WHERE id = ?1 ORDER BY user")?;
            let mut is_needed = connection.prepare("SELECT 1 FROM temp.needed WHERE id = ?1")?;
            each_best(connection, &mut |best: Best| {
                let found =
                    users.query_map([&best.id[..]], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
                if !found.is_empty() || is_needed.exists([&best.id[..]])? {
                    *by_users.entry((best.pack, found)).or_default() += best.bytes;
                }
                Ok(())
            })
        })?;
        Ok(shares(&by_users, &packs, datasets))
    }
}

/// Hands on the chunks of usable packs. One in several of them counts in one: whole before delta, then the one that came
/// first.
pub(super) fn each_best(
    connection: &Connection,
    each: &mut dyn FnMut(Best) -> rusqlite::Result<()>,
) -> rusqlite::Result<Packs> {
    let mut stored: HashMap<i64, u64> = HashMap::new();
    let sql = "SELECT c.id, c.pack, c.delta, c.length FROM chunks c
        WHERE c.pack IN (SELECT pack FROM temp.usable) ORDER BY c.id, c.pack";
    let mut query = connection.prepare(sql)?;
    let mut rows = query.query([])?;
    let mut best: Option<Best> = None;
    while let Some(row) = rows.next()? {
        let (id, pack): ([u8; 16], i64) = (row.get(0)?, row.get(1)?);
        let (delta, length): (Option<u32>, u32) = (row.get(2)?, row.get(3)?);
        let bytes = u64::from(delta.unwrap_or(length));
        *stored.entry(pack).or_default() += bytes;
        let found = Best { id, is_delta: delta.is_some(), pack, bytes };
        match &best {
            Some(of) if of.id == id && (found.is_delta || !of.is_delta) => {}
            Some(of) if of.id == id => best = Some(found),
            _ => {
                if let Some(done) = best.replace(found) {
                    each(done)?;
                }
            }
        }
    }
    if let Some(done) = best {
        each(done)?;
    }
    let mut query = connection.prepare("SELECT p.id, p.size FROM packs p JOIN temp.usable u ON u.pack = p.id")?;
    let sizes = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
    Ok(Packs { stored, sizes: sizes.collect::<rusqlite::Result<_>>()? })
}

/// What is left over is nobody's.
fn shares(by_users: &HashMap<(i64, Vec<i64>), u64>, packs: &Packs, datasets: usize) -> Usage {
    let mut usage = Usage { datasets: vec![DatasetUsage::default(); datasets], ..Usage::default() };
    usage.unneeded = packs.size();
    for ((pack, users), bytes) in by_users {
        let share = packs.share(*pack, *bytes);
        usage.unneeded = usage.unneeded.saturating_sub(share);
        let of = |user: &i64| usize::try_from(*user).ok();
        match users.as_slice() {
            [] => usage.bases += share,
            [user] => {
                if let Some(dataset) = of(user).and_then(|user| usage.datasets.get_mut(user)) {
                    dataset.unique += share;
                }
            }
            several => {
                usage.shared += share;
                for user in several.iter().filter_map(of) {
                    if let Some(dataset) = usage.datasets.get_mut(user) {
                        dataset.shared += share;
                    }
                }
            }
        }
    }
    usage
}
