//! Opening the SQLite files of this host: private, tolerant of a second process, never waited for without bound.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::RepositoryError;

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
                OpenOptions::new().create(true).append(true).mode(0o600).open(path)
            };
            make().map_err(|error| failed(what, path, error))?;
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        }
    };
    connection.and_then(prepare).map_err(|error: rusqlite::Error| failed(what, path, error))
}

/// A database in a temporary file of its own, which SQLite removes when it is closed.
pub(super) fn open_private(what: &'static str) -> Result<Connection, RepositoryError> {
    let opened = Connection::open("").and_then(prepare);
    opened.map_err(|error| failed(what, Path::new("in a temporary file"), error))
}

/// The file whose lock tells who has a database open.
pub(super) fn lock_file(what: &'static str, directory: &Path) -> Result<File, RepositoryError> {
    let path = directory.join(format!("{what}.lock"));
    let open = || {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        OpenOptions::new().create(true).append(true).mode(0o600).open(&path)
    };
    open().map_err(|error| failed(what, &path, error))
}

fn prepare(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}
