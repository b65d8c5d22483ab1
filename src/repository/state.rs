//! What this host remembers of repositories, so that a store cannot quietly show an older state or another repository.
//! Rules: format-spec/14-local.md.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};

use super::error::RepositoryError;
use crate::format::Id16;

/// The newest snapshot of a dataset that this host has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its sequence number.
    pub sequence: u64,
    /// Its object name.
    pub name: String,
}

/// The state file of this host, or one in memory.
pub(super) struct State {
    path: PathBuf,
    connection: Connection,
}

impl State {
    /// Opens `state.db` in a directory, making both where missing.
    pub fn open(directory: Option<&Path>) -> Result<State, RepositoryError> {
        let path = directory.map_or(PathBuf::from(":memory:"), |directory| directory.join("state.db"));
        let connection = super::sqlite::open("state", directory, &path)?;
        let state = State { path, connection };
        state.run(|connection| {
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS locations (location TEXT PRIMARY KEY, repository TEXT NOT NULL) STRICT;
                 CREATE TABLE IF NOT EXISTS heads (repository TEXT NOT NULL, tag TEXT NOT NULL,
                    sequence INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (repository, tag)) STRICT;",
            )
        })?;
        Ok(state)
    }

    fn run<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, RepositoryError> {
        work(&self.connection).map_err(|error| super::sqlite::failed("state", &self.path, error))
    }

    /// The repository last seen at a location.
    pub fn repository_at(&self, location: &str) -> Result<Option<Id16>, RepositoryError> {
        let found: Option<String> = self.run(|connection| {
            let sql = "SELECT repository FROM locations WHERE location = ?1";
            connection.query_row(sql, [location], |row| row.get(0)).optional()
        })?;
        Ok(found.and_then(|id| id.parse().ok()))
    }

    /// Remembers the repository at a location.
    pub fn remember_location(&self, location: &str, repository: Id16) -> Result<(), RepositoryError> {
        self.run(|connection| {
            let sql = "INSERT INTO locations VALUES (?1, ?2)
                       ON CONFLICT (location) DO UPDATE SET repository = excluded.repository";
            connection.execute(sql, params![location, repository.to_string()])
        })?;
        Ok(())
    }

    /// Newest remembered snapshots by dataset tag.
    pub fn heads(&self, repository: Id16) -> Result<Vec<(String, Head)>, RepositoryError> {
        self.run(|connection| {
            let mut query = connection.prepare("SELECT tag, sequence, name FROM heads WHERE repository = ?1")?;
            let rows = query.query_map([repository.to_string()], |row| {
                Ok((row.get(0)?, Head { sequence: row.get::<_, i64>(1)? as u64, name: row.get(2)? }))
            })?;
            rows.collect()
        })
    }

    /// Remembers a snapshot, unless a newer one of its dataset is remembered.
    pub fn remember_head(&self, repository: Id16, tag: &str, head: &Head) -> Result<(), RepositoryError> {
        self.run(|connection| {
            let sql = "INSERT INTO heads VALUES (?1, ?2, ?3, ?4) ON CONFLICT (repository, tag) DO UPDATE
                       SET sequence = excluded.sequence, name = excluded.name
                       WHERE (excluded.sequence, excluded.name) > (heads.sequence, heads.name)";
            connection.execute(sql, params![repository.to_string(), tag, head.sequence as i64, head.name])
        })?;
        Ok(())
    }
}
