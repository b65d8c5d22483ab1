//! What would go with a snapshot: which one alone needs a chunk, as content or as a base of its deltas.

use std::collections::HashMap;

use rusqlite::params;

use super::Catalog;
use super::usage::each_best;
use crate::format::ChunkId;
use crate::repository::error::RepositoryError;

/// Stands for several owners.
const SEVERAL: i64 = -1;

/// Stored bytes by which snapshot's end would free them. What snapshots alone need, what several do, and what nobody does
/// add up to all packs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owned {
    /// By the number of a snapshot.
    pub snapshots: Vec<Alone>,
    /// What stays whichever of them is forgotten, if only one is.
    pub several: u64,
    /// What none of them needs.
    pub unneeded: u64,
}

/// What a snapshot alone needs, in stored bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alone {
    /// What nobody would need without it.
    pub freed: u64,
    /// What is its content alone, and would stay: deltas of others are made against it.
    pub bases: u64,
}

impl Catalog {
    /// Empties the table of owners, making it where there is none.
    ///
    /// `content`: the snapshot whose content a chunk is, none where it is a base only; `owner`: the one that needs it.
    pub fn clear_owners(&self) -> Result<(), RepositoryError> {
        self.run(|connection| {
            connection.execute_batch(
                "CREATE TEMP TABLE IF NOT EXISTS owners (id BLOB PRIMARY KEY, content INTEGER, owner INTEGER NOT NULL) \
                 STRICT, WITHOUT ROWID; DELETE FROM temp.owners;",
            )
        })
    }

    /// What is in the table of needed chunks is the content of a snapshot; it leaves that table.
    pub fn own_needed(&mut self, user: u32) -> Result<(), RepositoryError> {
        self.write(|transaction| {
            let sql = "INSERT INTO temp.owners SELECT id, ?1, ?1 FROM temp.needed WHERE true ORDER BY id
                ON CONFLICT (id) DO UPDATE SET content = ?2, owner = ?2";
            transaction.execute(sql, params![user, SEVERAL]).map(drop)
        })?;
        self.clear_needed()
    }

    /// Adds the bases of what is owned: they are needed by whoever needs one of their deltas. Memory: the bases of a page of
    /// chunks, at most 12 MiB.
    pub fn own_bases(&mut self) -> Result<(), RepositoryError> {
        self.clear_needed()?;
        self.write(|transaction| {
            let sql = "INSERT INTO temp.needed SELECT id, 0 FROM temp.owners ORDER BY id";
            transaction.execute(sql, []).map(drop)
        })?;
        let mut after = Vec::new();
        loop {
            let page = self.not_whole_page(&after)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = last.0.to_vec();
            let (mut bases, mut of_one) = (Vec::new(), Vec::new());
            for (id, _) in &page {
                let owner = self.owner_of_content(id)?;
                self.closure(id, &mut of_one)?;
                bases.extend(of_one.drain(..).map(|base| (base, owner)));
            }
            self.add_bases(bases)?;
        }
    }

    fn owner_of_content(&self, id: &ChunkId) -> Result<i64, RepositoryError> {
        self.run(|connection| {
            let mut query = connection.prepare_cached("SELECT content FROM temp.owners WHERE id = ?1")?;
            query.query_row([&id.0[..]], |row| row.get(0))
        })
    }

    fn add_bases(&mut self, mut bases: Vec<(ChunkId, i64)>) -> Result<(), RepositoryError> {
        bases.sort_unstable();
        bases.dedup();
        self.write(|transaction| {
            let sql = "INSERT INTO temp.owners VALUES (?1, NULL, ?2)
                ON CONFLICT (id) DO UPDATE SET owner = ?3 WHERE owner <> ?2";
            let mut insert = transaction.prepare_cached(sql)?;
            bases.iter().try_for_each(|(id, owner)| insert.execute(params![id.0, owner, SEVERAL]).map(drop))
        })
    }

    /// Adds up usable packs.
    pub fn owned(&self, snapshots: usize) -> Result<Owned, RepositoryError> {
        // By pack, owner, and whether it is the content of one snapshot that others need.
        let mut sums: HashMap<(i64, i64, Option<i64>), u64> = HashMap::new();
        let packs = self.run(|connection| {
            let mut find = connection.prepare("SELECT owner, content FROM temp.owners WHERE id = ?1")?;
            each_best(connection, &mut |best| {
                let mut rows = find.query([&best.id[..]])?;
                if let Some(row) = rows.next()? {
                    let (owner, content): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
                    let held = content.filter(|content| owner == SEVERAL && *content != SEVERAL);
                    *sums.entry((best.pack, owner, held)).or_default() += best.bytes;
                }
                Ok(())
            })
        })?;
        let mut owned = Owned { snapshots: vec![Alone::default(); snapshots], several: 0, unneeded: packs.size() };
        for ((pack, owner, held), bytes) in sums {
            let share = packs.share(pack, bytes);
            owned.unneeded = owned.unneeded.saturating_sub(share);
            let number = |of: i64| usize::try_from(of).ok();
            match number(owner).and_then(|owner| owned.snapshots.get_mut(owner)) {
                Some(of) => of.freed += share,
                None => owned.several += share,
            }
            if let Some(of) = held.and_then(number).and_then(|held| owned.snapshots.get_mut(held)) {
                of.bases += share;
            }
        }
        Ok(owned)
    }
}
