//! The local catalog of a repository: its snapshots, packs, chunks and notes, in SQLite. A cache: always built again from the
//! repository. Rules: format-spec/14-local.md.
//!
//! LOCAL-4: it may claim less than the repository holds, never more. Rows come only from index objects and snapshots
//! that a LIST showed, or from packs this session stored; what counts as known is asked through the `usable` table,
//! which each session fills anew.

mod forgotten;
mod kept;
mod known;
mod lineage;
mod live;
mod notes;
mod own;
mod owners;
mod packs;
mod proof;
mod rows;
mod seen;
mod snapshots;
mod timeline;
mod usage;
mod wanted;

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};
use rustix::fs::{FlockOperation, flock};

use super::error::{CATALOG, RepositoryError};
use super::sqlite;
use crate::format::Id16;
use crate::format::local::CATALOG_FILE;

pub use forgotten::ForgottenRecord;
pub(super) use forgotten::Said;
pub(super) use lineage::{Lineage, Root};
pub(super) use live::{Need, PackUse, Rescued};
pub use owners::{Alone, Owned};
pub use packs::{ChunkPlace, PackTotals};
pub(super) use proof::{Proof, Standing};
pub(super) use seen::SeenRow;
pub use snapshots::{FormOf, SnapshotInfo, Told};
pub use timeline::Span;
pub use usage::{DatasetUsage, Usage};
pub(super) use wanted::{Wanted, WantedDelta};

/// Raised whenever a table changes.
const SCHEMA: i64 = 16;

/// Pages that SQLite keeps: the upper levels of its trees and some of the lowest, while rows come in the order of ids.
const CACHE_KIB: i64 = 16 << 10;

const TABLES: &str = "
CREATE TABLE meta (repository TEXT NOT NULL) STRICT;
-- Index objects, by object name.
CREATE TABLE sources (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE) STRICT;
-- AUTOINCREMENT: another process may drop rows; a number must never mean two packs.
CREATE TABLE packs (id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
    epoch INTEGER NOT NULL, salt BLOB NOT NULL) STRICT;
CREATE TABLE named (source INTEGER NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY (source, pack)) STRICT, WITHOUT ROWID;
CREATE TABLE frames (pack INTEGER NOT NULL, ordinal INTEGER NOT NULL, offset INTEGER NOT NULL, sealed INTEGER NOT NULL,
    method INTEGER NOT NULL, plaintext INTEGER NOT NULL, PRIMARY KEY (pack, ordinal)) STRICT, WITHOUT ROWID;
CREATE TABLE chunks (id BLOB NOT NULL, pack INTEGER NOT NULL, frame INTEGER NOT NULL, position INTEGER NOT NULL,
    length INTEGER NOT NULL, delta INTEGER, bases BLOB, PRIMARY KEY (id, pack)) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots (name TEXT PRIMARY KEY, tombstone INTEGER NOT NULL, dataset TEXT NOT NULL,
    sequence INTEGER NOT NULL, previous TEXT, begin INTEGER NOT NULL, end INTEGER NOT NULL, moment INTEGER,
    host TEXT NOT NULL, directory BLOB NOT NULL, tags TEXT NOT NULL, warnings INTEGER NOT NULL, files INTEGER NOT NULL,
    bytes INTEGER NOT NULL, new_bytes INTEGER NOT NULL, stored_bytes INTEGER NOT NULL, place INTEGER NOT NULL, keys INTEGER,
    counted TEXT NOT NULL, falls TEXT, told BLOB, sum BLOB NOT NULL) STRICT;
-- What snapshots hold of the time of their datasets: milliseconds of the server's clock; annotated: a second of it;
-- damaged: their AOF ends before its files do; carried: it begins after they do.
CREATE TABLE spans (snapshot TEXT PRIMARY KEY, dataset TEXT NOT NULL, place INTEGER NOT NULL, sequence INTEGER NOT NULL,
    begin INTEGER, end INTEGER, precision INTEGER, annotated INTEGER, stale INTEGER NOT NULL, taken INTEGER NOT NULL,
    clock INTEGER NOT NULL, run TEXT, continues TEXT, damaged INTEGER NOT NULL, carried INTEGER NOT NULL,
    sum BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE marks (snapshot TEXT NOT NULL, number INTEGER NOT NULL, path BLOB NOT NULL, offset INTEGER NOT NULL,
    time INTEGER NOT NULL, sum BLOB NOT NULL, PRIMARY KEY (snapshot, number)) STRICT, WITHOUT ROWID;
-- What records and ledgers say, by their object names; without a reason: that the name is void.
CREATE TABLE forgotten (source TEXT NOT NULL, snapshot TEXT NOT NULL, time INTEGER NOT NULL, reason TEXT,
    sum BLOB NOT NULL) STRICT;
CREATE INDEX forgotten_by_source ON forgotten (source);
CREATE INDEX forgotten_by_snapshot ON forgotten (snapshot);
CREATE TABLE notes (name TEXT PRIMARY KEY, body BLOB NOT NULL, sum BLOB NOT NULL) STRICT;
-- Files that a snapshot was made from, by dataset.
CREATE TABLE seen (tag TEXT NOT NULL, path BLOB NOT NULL, snapshot TEXT NOT NULL, host TEXT NOT NULL,
    reader TEXT NOT NULL, stamp BLOB NOT NULL, facts BLOB NOT NULL, sum BLOB NOT NULL, PRIMARY KEY (tag, path))
    STRICT, WITHOUT ROWID;
-- What the last LIST of packs/ proved: one row.
CREATE TABLE proof (body BLOB NOT NULL, sum BLOB NOT NULL) STRICT;
-- Sealed pieces of a repository that is far away, by object name, or that of a pack and the number of a frame.
CREATE TABLE kept (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, sealed BLOB NOT NULL) STRICT;
CREATE INDEX spans_by_dataset ON spans (dataset, begin, end);
CREATE INDEX snapshots_by_dataset ON snapshots (dataset, place, sequence, name);
";

/// An open catalog. Its connection has temporary tables of its own: `usable` (this session's proof that packs exist),
/// `own_…` (packs of this session that no index object names yet), `needed` (what a sweep keeps), `wanted` (the plan of a restore), `followed` (the progress of a check).
///
/// Memory: [`CACHE_KIB`] of pages of the file and as much of the temporary tables, however large they are.
pub(super) struct Catalog {
    path: PathBuf,
    connection: Connection,
    /// Whether packs were added that are this connection's own.
    has_own: bool,
    /// Shared while the file is open: it is replaced only by whoever holds the lock alone.
    _lock: Option<File>,
}

impl Catalog {
    /// Opens `catalog.db` in a directory, or a private one where there is no directory. One that is of another
    /// repository or schema, or damaged, is made anew.
    ///
    /// LOCAL-1: keyed to repository id and schema.
    pub fn open(directory: Option<&Path>, repository: Id16) -> Result<Catalog, RepositoryError> {
        let Some(directory) = directory else { return Catalog::private(repository) };
        match Catalog::open_shared(directory, repository) {
            Ok(Some(catalog)) => Ok(catalog),
            Ok(None) => Catalog::replace(directory, repository),
            Err(error) if error.is_of_catalog() => Catalog::replace(directory, repository),
            Err(error) => Err(error),
        }
    }

    /// A catalog nobody else sees, in a temporary file that SQLite removes.
    pub fn private(repository: Id16) -> Result<Catalog, RepositoryError> {
        let path = PathBuf::new();
        let connection = sqlite::open_private(CATALOG)?;
        let mut catalog = Catalog { path, connection, has_own: false, _lock: None };
        catalog.prepare(repository)?;
        Ok(catalog)
    }

    /// The file in a directory, or `None` where it is of another repository or schema.
    pub fn open_shared(directory: &Path, repository: Id16) -> Result<Option<Catalog>, RepositoryError> {
        let path = directory.join(CATALOG_FILE);
        let lock = sqlite::lock_file(CATALOG, directory)?;
        flock(&lock, FlockOperation::LockShared).map_err(|error| sqlite::failed(CATALOG, &path, error))?;
        let connection = sqlite::open(CATALOG, Some(directory), &path)?;
        let mut catalog = Catalog { path, connection, has_own: false, _lock: Some(lock) };
        Ok(catalog.prepare(repository)?.then_some(catalog))
    }

    /// Makes the file anew. While another process has it open a private catalog does as well, at the price of building it.
    pub fn replace(directory: &Path, repository: Id16) -> Result<Catalog, RepositoryError> {
        let path = directory.join(CATALOG_FILE);
        let lock = sqlite::lock_file(CATALOG, directory)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Catalog::private(repository);
        }
        sqlite::remove(CATALOG, &path)?;
        drop(lock);
        match Catalog::open_shared(directory, repository)? {
            Some(catalog) => Ok(catalog),
            None => Catalog::private(repository),
        }
    }

    /// Makes the tables where there are none. Answers whether they are of this repository and schema.
    fn prepare(&mut self, repository: Id16) -> Result<bool, RepositoryError> {
        let fits = self.write(|transaction| {
            let schema: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
            let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            if (schema, tables) == (0, 0) {
                transaction.execute_batch(TABLES)?;
                transaction.execute("INSERT INTO meta VALUES (?1)", [repository.to_string()])?;
                transaction.pragma_update(None, "user_version", SCHEMA)?;
                return Ok(true);
            }
            let id = || transaction.query_row("SELECT repository FROM meta", [], |row| row.get::<_, String>(0));
            Ok(schema == SCHEMA && id()? == repository.to_string())
        })?;
        self.run(|connection| {
            for database in ["main", "temp"] {
                // Negative: KiB, not pages.
                connection.pragma_update(Some(database), "cache_size", -CACHE_KIB)?;
            }
            connection.execute_batch("CREATE TEMP TABLE IF NOT EXISTS usable (pack INTEGER PRIMARY KEY)")?;
            connection.execute_batch(own::TABLES)
        })?;
        Ok(fits)
    }

    /// Questions in one transaction: the file is locked, and looked at for changes, once for all of them.
    pub fn asked_at_once<T>(
        &self,
        ask: impl FnOnce(&Catalog) -> Result<T, RepositoryError>,
    ) -> Result<T, RepositoryError> {
        let failed = |error: rusqlite::Error| sqlite::failed(CATALOG, &self.path, error);
        let transaction = self.connection.unchecked_transaction().map_err(failed)?;
        let answer = ask(self);
        transaction.commit().map_err(failed)?;
        answer
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
