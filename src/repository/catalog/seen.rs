//! Files this host has read, in the catalog: rules in format-spec/14-local.md.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{OptionalExtension, Row, params, params_from_iter};

use super::Catalog;
use crate::repository::error::RepositoryError;
use crate::repository::sqlite;

/// A file as it was when its content was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRow {
    /// Its path in the snapshot.
    pub path: Vec<u8>,
    /// Object name of the snapshot.
    pub snapshot: String,
    /// The host that read it.
    pub host: String,
    /// Version of redkeep that read it.
    pub reader: String,
    /// Identity and times of the file.
    pub stamp: Vec<u8>,
    /// What its content showed.
    pub facts: Vec<u8>,
}

const COLUMNS: &str = "tag, path, snapshot, host, reader, stamp, facts";
const COLUMN_COUNT: usize = 7;

impl Catalog {
    /// The row of a path of a dataset.
    pub fn seen(&self, tag: &str, path: &[u8]) -> Result<Option<SeenRow>, RepositoryError> {
        self.run(|connection| {
            let sql = format!("SELECT {COLUMNS}, sum FROM seen WHERE tag = ?1 AND path = ?2");
            let mut query = connection.prepare_cached(&sql)?;
            query.query_row(params![tag, path], read).optional()
        })
    }

    /// The rows of a host and a version of redkeep, of all datasets.
    pub fn seen_by(&self, host: &str, reader: &str) -> Result<Vec<SeenRow>, RepositoryError> {
        self.run(|connection| {
            let sql = format!("SELECT {COLUMNS}, sum FROM seen WHERE host = ?1 AND reader = ?2");
            let mut query = connection.prepare_cached(&sql)?;
            query.query_map(params![host, reader], read)?.collect()
        })
    }

    /// These rows instead of all others of a dataset.
    pub fn set_seen(&mut self, tag: &str, rows: &[SeenRow]) -> Result<(), RepositoryError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM seen WHERE tag = ?1", [tag])?;
            let sql = format!("INSERT INTO seen ({COLUMNS}, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
            let mut insert = transaction.prepare_cached(&sql)?;
            for row in rows {
                let values = values(tag, row);
                let sum = sqlite::sum(values.iter().map(ValueRef::from));
                insert.execute(params_from_iter(values.into_iter().chain([Value::Blob(sum)])))?;
            }
            Ok(())
        })
    }
}

/// Reads [`COLUMNS`] and their sum.
fn read(row: &Row<'_>) -> rusqlite::Result<SeenRow> {
    sqlite::check_sum(row, COLUMN_COUNT)?;
    Ok(SeenRow {
        path: row.get(1)?,
        snapshot: row.get(2)?,
        host: row.get(3)?,
        reader: row.get(4)?,
        stamp: row.get(5)?,
        facts: row.get(6)?,
    })
}

/// What [`COLUMNS`] hold.
fn values(tag: &str, row: &SeenRow) -> [Value; COLUMN_COUNT] {
    let SeenRow { path, snapshot, host, reader, stamp, facts } = row.clone();
    [
        Value::Text(tag.into()),
        Value::Blob(path),
        Value::Text(snapshot),
        Value::Text(host),
        Value::Text(reader),
        Value::Blob(stamp),
        Value::Blob(facts),
    ]
}
