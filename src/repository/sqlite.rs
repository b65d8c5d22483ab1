//! Opening the SQLite files of this host: private, tolerant of a second process, never waited for without bound.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, Row};
use rustix::fs::OFlags;

use super::error::RepositoryError;
use crate::format::local::APPLICATION_ID;

/// Bytes of the smallest page SQLite knows.
const SMALLEST: u64 = 512;
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn failed(
    what: &'static str,
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> RepositoryError {
    RepositoryError::Local { what, path: path.display().to_string(), source: source.into() }
}

/// Opens a file in `directory` (mode 0700, file mode 0600), or one in memory where there is no directory.
pub(super) fn open(what: &'static str, directory: Option<&Path>, path: &Path) -> Result<Connection, RepositoryError> {
    let connection = match directory {
        None => Connection::open_in_memory(),
        Some(directory) => {
            let make = || {
                DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
                open_own(path)
            };
            let file = make().and_then(|file| file.metadata()).map_err(|error| failed(what, path, error))?;
            // SQLite takes a very short one for a new file.
            if (1..SMALLEST).contains(&file.len()) {
                return Err(failed(what, path, corrupt(format!("only {} bytes are left", file.len()))));
            }
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        }
    };
    connection.and_then(prepare).map_err(|error: rusqlite::Error| failed(what, path, error))
}

/// A database in a temporary file of its own, which SQLite removes when it is closed; in memory, as large as it gets,
/// where no temporary file can be written.
pub(super) fn open_private(what: &'static str) -> Result<Connection, RepositoryError> {
    let opened = Connection::open("").and_then(prepare).and_then(spilled).or_else(|_| {
        let connection = Connection::open_in_memory().and_then(prepare)?;
        connection.pragma_update(None, "temp_store", "memory")?;
        Ok(connection)
    });
    opened.map_err(|error: rusqlite::Error| failed(what, Path::new("in a temporary file"), error))
}

/// More than one page is written: SQLite makes the file only when it must.
fn spilled(connection: Connection) -> rusqlite::Result<Connection> {
    connection.pragma_update(None, "cache_size", 1)?;
    connection.execute_batch("CREATE TABLE probe (x); INSERT INTO probe VALUES (zeroblob(65536)); DROP TABLE probe")?;
    Ok(connection)
}

/// Makes a file that only the caller can get at, or opens it; no link is followed.
fn open_own(path: &Path) -> std::io::Result<File> {
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(no_link).open(path)
}

/// The file whose lock tells who has a database open.
pub(super) fn lock_file(what: &'static str, directory: &Path) -> Result<File, RepositoryError> {
    let path = directory.join(format!("{what}.lock"));
    let open = || {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        open_own(&path)
    };
    open().map_err(|error| failed(what, &path, error))
}

fn prepare(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Before there is a journal beside it, so that the file itself says so; of an older file once that is written back.
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    if connection.is_readonly(MAIN_DB)? {
        return Err(corrupt("it could be opened for writing, and its header says that it cannot be".into()));
    }
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(32);
    // Else a statement that was prepared is prepared again for each id that it is asked for.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Removes a file and what SQLite keeps beside it.
pub(super) fn remove(what: &'static str, path: &Path) -> Result<(), RepositoryError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(what, path, error)),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the system does not let SQLite work with a file: no space, no rights, a disk that fails, another who holds it.
pub(super) fn is_unusable(error: &RepositoryError) -> bool {
    let RepositoryError::Local { source, .. } = error else { return false };
    match source.downcast_ref::<rusqlite::Error>() {
        Some(error) => matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::CannotOpen
                    | ErrorCode::ReadOnly
                    | ErrorCode::PermissionDenied
                    | ErrorCode::FileLockingProtocolFailed
                    | ErrorCode::DatabaseBusy
            )
        ),
        // What the system said when the file was opened or made.
        None => source.is::<std::io::Error>() || source.is::<rustix::io::Errno>(),
    }
}

/// Whether SQLite says that a file is not one of its own, or damaged.
pub(super) fn is_corrupt(error: &RepositoryError) -> bool {
    let RepositoryError::Local { source, .. } = error else { return false };
    let Some(error) = source.downcast_ref::<rusqlite::Error>() else { return false };
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => true,
        // A file of another program, or one whose schema pages are damaged: tables or columns are missing.
        Some(ErrorCode::Unknown) => true,
        // Every insert of ours respects the keys it finds: these are not what they were.
        Some(ErrorCode::ConstraintViolation) => true,
        Some(_) => false,
        None => matches!(
            error,
            rusqlite::Error::QueryReturnedNoRows
                // A statement that does not fit the tables: their definition is damaged.
                | rusqlite::Error::SqlInputError { .. }
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
        ),
    }
}

/// A hash of values, kept beside them in their row: SQLite notices pages that do not fit together, not a bit that
/// flipped within a value.
pub(super) fn sum<'v>(values: impl IntoIterator<Item = ValueRef<'v>>) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    for value in values {
        let (kind, bytes) = match value {
            ValueRef::Null => (0, Vec::new()),
            ValueRef::Integer(number) => (1, number.to_le_bytes().to_vec()),
            ValueRef::Real(number) => (2, number.to_le_bytes().to_vec()),
            ValueRef::Text(bytes) => (3, bytes.to_vec()),
            ValueRef::Blob(bytes) => (4, bytes.to_vec()),
        };
        hasher.update(&[kind]).update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
    }
    hasher.finalize().as_bytes().to_vec()
}

/// Compares the first `count` values of a row with the sum that follows them.
pub(super) fn check_sum(row: &Row<'_>, count: usize) -> rusqlite::Result<()> {
    let values = (0..count).map(|column| row.get_ref(column)).collect::<rusqlite::Result<Vec<_>>>()?;
    match row.get_ref(count)?.as_blob() {
        Ok(found) if found == sum(values) => Ok(()),
        _ => Err(corrupt("a row does not match its sum".into())),
    }
}

/// What SQLite would say of damage that it does not see itself.
pub(super) fn corrupt(why: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(why))
}
