//! The local catalog of a repository: its snapshots, packs and chunks, in SQLite. A cache: always built again from the
//! repository. Rules: format-spec/14-local.md.
//!
//! LOCAL-4: it may claim less than the repository holds, never more. Rows come only from index objects and snapshots
//! that a LIST showed, or from packs this session stored; what counts as known is asked through the `usable` table,
//! which each session fills anew.

mod packs;
mod snapshots;
mod wanted;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::error::{CATALOG, RepositoryError};
use super::sqlite;
use crate::format::Id16;

pub use packs::{ChunkPlace, PackTotals};
pub use snapshots::SnapshotInfo;
pub(super) use wanted::Wanted;

/// Raised whenever a table changes.
const SCHEMA: i64 = 2;

const TABLES: &str = "
CREATE TABLE meta (repository TEXT NOT NULL) STRICT;
-- Index objects, by object name.
CREATE TABLE sources (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE) STRICT;
-- AUTOINCREMENT: another process may drop rows; a number must never mean two packs.
CREATE TABLE packs (id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
    epoch INTEGER NOT NULL, salt BLOB NOT NULL, session BLOB) STRICT;
CREATE TABLE named (source INTEGER NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY (source, pack)) STRICT, WITHOUT ROWID;
CREATE TABLE frames (pack INTEGER NOT NULL, ordinal INTEGER NOT NULL, offset INTEGER NOT NULL, sealed INTEGER NOT NULL,
    method INTEGER NOT NULL, plaintext INTEGER NOT NULL, PRIMARY KEY (pack, ordinal)) STRICT, WITHOUT ROWID;
CREATE TABLE chunks (id BLOB NOT NULL, pack INTEGER NOT NULL, frame INTEGER NOT NULL, position INTEGER NOT NULL,
    length INTEGER NOT NULL, delta INTEGER, bases BLOB, PRIMARY KEY (id, pack)) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots (name TEXT PRIMARY KEY, tombstone INTEGER NOT NULL, dataset TEXT NOT NULL,
    sequence INTEGER NOT NULL, previous TEXT, begin INTEGER NOT NULL, end INTEGER NOT NULL, moment INTEGER,
    host TEXT NOT NULL, directory BLOB NOT NULL, tags TEXT NOT NULL, warnings INTEGER NOT NULL, files INTEGER NOT NULL,
    bytes INTEGER NOT NULL, new_bytes INTEGER NOT NULL, stored_bytes INTEGER NOT NULL, sum BLOB NOT NULL) STRICT;
CREATE INDEX snapshots_by_dataset ON snapshots (dataset, sequence, name);
";

fn path_in(directory: Option<&Path>) -> PathBuf {
    directory.map_or(PathBuf::from(":memory:"), |directory| directory.join("catalog.db"))
}

/// An open catalog. Dropped tables of a connection: `usable` (this session's proof that packs exist).
pub(super) struct Catalog {
    path: PathBuf,
    connection: Connection,
}

impl Catalog {
    /// Opens `catalog.db` in a directory, or one in memory; makes it anew where it is missing, of another repository
    /// or schema, or damaged.
    ///
    /// LOCAL-1: keyed to repository id and schema.
    pub fn open(directory: Option<&Path>, repository: Id16) -> Result<Catalog, RepositoryError> {
        let path = path_in(directory);
        let existing = Catalog::connect(directory, &path).and_then(|mut catalog| {
            let fits = catalog.is_of(repository)?;
            Ok(fits.then_some(catalog))
        });
        match existing {
            Ok(Some(catalog)) => Ok(catalog),
            Ok(None) => Catalog::replace(directory, repository),
            Err(error) if error.is_of_catalog() => Catalog::replace(directory, repository),
            Err(error) => Err(error),
        }
    }

    fn connect(directory: Option<&Path>, path: &Path) -> Result<Catalog, RepositoryError> {
        let connection = sqlite::open(CATALOG, directory, path)?;
        let catalog = Catalog { path: path.into(), connection };
        let temporary = "CREATE TEMP TABLE IF NOT EXISTS usable (pack INTEGER PRIMARY KEY)";
        catalog.run(|connection| connection.execute_batch(temporary))?;
        Ok(catalog)
    }

    fn is_of(&mut self, repository: Id16) -> Result<bool, RepositoryError> {
        self.run(|connection| {
            let schema: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if schema != SCHEMA {
                return Ok(false);
            }
            let id: String = connection.query_row("SELECT repository FROM meta", [], |row| row.get(0))?;
            Ok(id == repository.to_string())
        })
    }

    /// Makes an empty one in the place of whatever is there.
    pub fn replace(directory: Option<&Path>, repository: Id16) -> Result<Catalog, RepositoryError> {
        let path = path_in(directory);
        if directory.is_some() {
            sqlite::remove(CATALOG, &path)?;
        }
        let mut catalog = Catalog::connect(directory, &path)?;
        // Another process may have created it in the meantime: then its tables are good.
        catalog.write(|transaction| {
            let schema: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if schema == 0 {
                transaction.execute_batch(TABLES)?;
                transaction.execute("INSERT INTO meta VALUES (?1)", [repository.to_string()])?;
                transaction.pragma_update(None, "user_version", SCHEMA)?;
            }
            Ok(())
        })?;
        Ok(catalog)
    }

    /// Drops all rows.
    pub fn clear(&mut self) -> Result<(), RepositoryError> {
        let tables = ["temp.usable", "sources", "packs", "named", "frames", "chunks", "snapshots"];
        self.write(|transaction| {
            tables.iter().try_for_each(|table| transaction.execute(&format!("DELETE FROM {table}"), []).map(drop))
        })
    }

    fn run<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, RepositoryError> {
        work(&self.connection).map_err(|error| sqlite::failed(CATALOG, &self.path, error))
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, RepositoryError> {
        let run = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|error: rusqlite::Error| sqlite::failed(CATALOG, &self.path, error))
    }
}
