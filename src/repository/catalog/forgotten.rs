//! What is below `forgotten/`, in the catalog: an opening reads only the records and ledgers that it has not seen.

use std::collections::{BTreeMap, HashSet};

use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};

use super::Catalog;
use crate::format::UnixMillis;
use crate::format::object::{Name, SnapshotName};
use crate::repository::error::RepositoryError;
use crate::repository::sqlite;

/// A record that a snapshot was forgotten on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgottenRecord {
    /// The snapshot's object name.
    pub snapshot: SnapshotName,
    /// When it was forgotten, by the clock of the host that did.
    pub time: UnixMillis,
    /// Why, for people.
    pub reason: String,
}

impl ForgottenRecord {
    /// Whether the snapshot's id begins so.
    pub fn has_id(&self, prefix: &str) -> bool {
        self.snapshot.session.to_string().starts_with(prefix)
    }
}

/// What a record or a ledger says of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::repository) struct Said {
    /// The name.
    pub snapshot: SnapshotName,
    /// When it was forgotten, or its tombstone put.
    pub time: UnixMillis,
    /// Why it was forgotten; `None` where the name is void.
    pub reason: Option<String>,
}

/// What each object below `forgotten/` says.
pub(in crate::repository) type SaidBy = BTreeMap<Name, Vec<Said>>;

const COLUMN_COUNT: usize = 4;

impl Catalog {
    /// All that is said, by the objects that say it.
    pub fn said(&self) -> Result<SaidBy, RepositoryError> {
        let rows: Vec<(Name, Said)> = self.run(|connection| {
            let sql = "SELECT source, snapshot, time, reason, sum FROM forgotten ORDER BY source, snapshot";
            let mut query = connection.prepare(sql)?;
            query.query_map([], |row| sqlite::check_sum(row, COLUMN_COUNT).and_then(|()| read_row(row)))?.collect()
        })?;
        let mut said = SaidBy::new();
        for (source, of) in rows {
            said.entry(source).or_default().push(of);
        }
        Ok(said)
    }

    /// All records, of ledgers too, by snapshot name. Of several that speak of one snapshot the earliest counts.
    pub fn forgotten(&self) -> Result<Vec<ForgottenRecord>, RepositoryError> {
        let mut records: BTreeMap<SnapshotName, ForgottenRecord> = BTreeMap::new();
        for Said { snapshot, time, reason } in self.said()?.into_values().flatten() {
            let Some(reason) = reason else { continue };
            let is_earlier = |than: &ForgottenRecord| (time, &reason) < (than.time, &than.reason);
            if records.get(&snapshot).is_none_or(is_earlier) {
                records.insert(snapshot, ForgottenRecord { snapshot, time, reason });
            }
        }
        Ok(records.into_values().collect())
    }

    /// Names at which nothing counts.
    pub fn void(&self) -> Result<HashSet<SnapshotName>, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT source, snapshot, time, reason, sum FROM forgotten WHERE reason IS NULL";
            let mut query = connection.prepare_cached(sql)?;
            let read = |row: &Row<'_>| sqlite::check_sum(row, COLUMN_COUNT).and_then(|()| read_row(row));
            query.query_map([], |row| Ok(read(row)?.1.snapshot))?.collect()
        })
    }

    /// Drops what objects say that are no longer listed, and adds what new ones do.
    pub fn change_forgotten(&mut self, gone: &[Name], new: &[(Name, Vec<Said>)]) -> Result<(), RepositoryError> {
        if gone.is_empty() && new.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let mut delete = transaction.prepare_cached("DELETE FROM forgotten WHERE source = ?1")?;
            let sources = gone.iter().chain(new.iter().map(|(source, _)| source));
            sources.into_iter().try_for_each(|source| delete.execute([source.to_string()]).map(drop))?;
            let sql = "INSERT INTO forgotten VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut insert = transaction.prepare_cached(sql)?;
            new.iter().flat_map(|(source, said)| said.iter().map(move |of| (source, of))).try_for_each(
                |(source, of)| {
                    let values = values(source, of);
                    let sum = Value::Blob(sqlite::sum(values.iter().map(ValueRef::from)));
                    insert.execute(rusqlite::params_from_iter(values.into_iter().chain([sum]))).map(drop)
                },
            )
        })
    }
}

fn values(source: &Name, of: &Said) -> [Value; COLUMN_COUNT] {
    [
        Value::Text(source.to_string()),
        Value::Text(of.snapshot.to_string()),
        Value::Integer(of.time.0 as i64),
        of.reason.clone().into(),
    ]
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<(Name, Said)> {
    let name = |column: usize| row.get::<_, String>(column);
    let said = Said {
        snapshot: SnapshotName::parse(&name(1)?).ok_or(rusqlite::Error::QueryReturnedNoRows)?,
        time: UnixMillis(row.get::<_, i64>(2)? as u64),
        reason: row.get(3)?,
    };
    Ok((Name::parse(&name(0)?).ok_or(rusqlite::Error::QueryReturnedNoRows)?, said))
}
