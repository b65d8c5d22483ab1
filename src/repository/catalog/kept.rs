//! Sealed pieces of a repository that is far away, kept so that they need not be fetched again: rules in format-spec/14-local.md.

use rusqlite::{OptionalExtension as _, params};

use super::Catalog;
use crate::repository::error::RepositoryError;

/// Bytes that are kept: what came first goes first.
const ROOM: i64 = 64 << 20;
/// A piece that is larger is not kept.
const LARGEST: usize = 4 << 20;

impl Catalog {
    /// The sealed bytes that were kept under a name.
    ///
    /// LOCAL-36: they are opened like what is fetched, and may be gone.
    pub fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
        self.run(|connection| {
            let mut query = connection.prepare_cached("SELECT sealed FROM kept WHERE name = ?1")?;
            query.query_row([name], |row| row.get(0)).optional()
        })
    }

    /// Keeps sealed bytes, in place of others of that name.
    pub fn keep(&mut self, name: &str, sealed: &[u8]) -> Result<(), RepositoryError> {
        if sealed.len() > LARGEST {
            return Ok(());
        }
        self.write(|transaction| {
            transaction.execute("DELETE FROM kept WHERE name = ?1", [name])?;
            transaction.execute("INSERT INTO kept (name, sealed) VALUES (?1, ?2)", params![name, sealed])?;
            let size = "SELECT coalesce(sum(length(sealed)), 0) FROM kept";
            while transaction.query_row(size, [], |row| row.get::<_, i64>(0))? > ROOM {
                transaction.execute("DELETE FROM kept WHERE id = (SELECT min(id) FROM kept)", [])?;
            }
            Ok(())
        })
    }
}
