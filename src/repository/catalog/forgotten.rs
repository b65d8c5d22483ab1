//! Records of forgotten snapshots in the catalog. They are kept for ever, so an opening reads only those it has not seen.

use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};

use super::Catalog;
use crate::format::object::SnapshotName;
use crate::format::{Id16, UnixMillis};
use crate::repository::error::RepositoryError;
use crate::repository::sqlite;

/// A record that a snapshot was forgotten on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgottenRecord {
    /// The snapshot's object name; the record stands at `forgotten/<its session>`.
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

const COLUMN_COUNT: usize = 4;

impl Catalog {
    /// All records, by snapshot name.
    pub fn forgotten(&self) -> Result<Vec<ForgottenRecord>, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT session, snapshot, time, reason, sum FROM forgotten ORDER BY snapshot";
            let mut query = connection.prepare(sql)?;
            query.query_map([], |row| sqlite::check_sum(row, COLUMN_COUNT).and_then(|()| read_row(row)))?.collect()
        })
    }

    /// Drops records that are no longer listed, and adds new ones.
    pub fn change_forgotten(&mut self, gone: &[Id16], new: &[ForgottenRecord]) -> Result<(), RepositoryError> {
        if gone.is_empty() && new.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let mut delete = transaction.prepare_cached("DELETE FROM forgotten WHERE session = ?1")?;
            gone.iter().try_for_each(|session| delete.execute([session.0]).map(drop))?;
            let sql = "INSERT OR REPLACE INTO forgotten VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut insert = transaction.prepare_cached(sql)?;
            new.iter().try_for_each(|record| {
                let values = values(record);
                let sum = Value::Blob(sqlite::sum(values.iter().map(ValueRef::from)));
                insert.execute(rusqlite::params_from_iter(values.into_iter().chain([sum]))).map(drop)
            })
        })
    }
}

fn values(record: &ForgottenRecord) -> [Value; COLUMN_COUNT] {
    [
        Value::Blob(record.snapshot.session.0.to_vec()),
        Value::Text(record.snapshot.to_string()),
        Value::Integer(record.time.0 as i64),
        Value::Text(record.reason.clone()),
    ]
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<ForgottenRecord> {
    let snapshot: String = row.get(1)?;
    Ok(ForgottenRecord {
        snapshot: SnapshotName::parse(&snapshot).ok_or(rusqlite::Error::QueryReturnedNoRows)?,
        time: UnixMillis(row.get::<_, i64>(2)? as u64),
        reason: row.get(3)?,
    })
}
