//! Snapshots in the catalog: what listings show. The object itself is read where its files are needed.

use std::collections::HashSet;

use rusqlite::{Row, params};

use super::Catalog;
use crate::format::UnixMillis;
use crate::format::object::SnapshotName;
use crate::format::snapshot::Snapshot;
use crate::repository::error::RepositoryError;

/// One snapshot as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its object name; the session in it is the snapshot's id.
    pub name: SnapshotName,
    /// The dataset.
    pub dataset: String,
    /// Position in the dataset, from 1.
    pub sequence: u64,
    /// Object name of the dataset's previous snapshot.
    pub previous: Option<String>,
    /// Begin of the capture by the host's clock.
    pub begin: UnixMillis,
    /// End of the capture by the host's clock.
    pub end: UnixMillis,
    /// The captured moment by the server's clock.
    pub moment: Option<UnixMillis>,
    /// Host that took it.
    pub host: String,
    /// Directory that was captured.
    pub directory: Vec<u8>,
    /// A person's words for it.
    pub tags: Vec<String>,
    /// Number of warnings.
    pub warnings: u64,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Plaintext bytes of chunks that were new.
    pub new_bytes: u64,
    /// Bytes stored for them.
    pub stored_bytes: u64,
}

const COLUMNS: &str = "name, dataset, sequence, previous, begin, end, moment, host, directory, tags, warnings, files,
    bytes, new_bytes, stored_bytes";

impl Catalog {
    /// Object names below `snapshots/` that the catalog has, tombstones included.
    pub fn snapshot_names(&self) -> Result<HashSet<String>, RepositoryError> {
        self.run(|connection| {
            let mut query = connection.prepare("SELECT name FROM snapshots")?;
            query.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// Drops snapshots that are no longer listed.
    pub fn drop_snapshots(&mut self, gone: &[String]) -> Result<(), RepositoryError> {
        self.write(|transaction| {
            let mut delete = transaction.prepare_cached("DELETE FROM snapshots WHERE name = ?1")?;
            gone.iter().try_for_each(|name| delete.execute([name]).map(drop))
        })
    }

    /// Adds a snapshot, or a tombstone (`None`).
    pub fn add_snapshot(&mut self, name: &SnapshotName, snapshot: Option<&Snapshot>) -> Result<(), RepositoryError> {
        let sql = "INSERT OR REPLACE INTO snapshots
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
        self.write(|transaction| {
            let mut insert = transaction.prepare_cached(sql)?;
            let Some(s) = snapshot else {
                let (name, none, text): (_, Option<i64>, _) = (name.to_string(), None, "");
                let blob = Vec::new();
                return insert
                    .execute(params![name, 1, text, 0, none, 0, 0, none, text, blob, text, 0, 0, 0, 0, 0])
                    .map(drop);
            };
            insert
                .execute(params![
                    name.to_string(),
                    0,
                    s.dataset,
                    s.sequence as i64,
                    s.previous,
                    s.begin.0 as i64,
                    s.end.0 as i64,
                    s.moment.map(|moment| moment.0 as i64),
                    s.host,
                    s.directory,
                    s.tags.join("\n"),
                    s.warnings.len() as i64,
                    s.summary.files as i64,
                    s.summary.bytes as i64,
                    s.summary.new_bytes as i64,
                    s.summary.stored_bytes as i64,
                ])
                .map(drop)
        })
    }

    /// All snapshots by dataset, sequence and name; tombstones left out.
    ///
    /// SESS-8: a tombstone is no snapshot.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>, RepositoryError> {
        self.run(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM snapshots WHERE tombstone = 0 ORDER BY dataset, sequence, name");
            let mut query = connection.prepare(&sql)?;
            query.query_map([], read_info)?.collect()
        })
    }
}

fn read_info(row: &Row<'_>) -> rusqlite::Result<SnapshotInfo> {
    let unsigned = |column: usize| row.get::<_, i64>(column).map(|value| value as u64);
    let name: String = row.get(0)?;
    let tags: String = row.get(9)?;
    Ok(SnapshotInfo {
        name: SnapshotName::parse(&name).ok_or(rusqlite::Error::QueryReturnedNoRows)?,
        dataset: row.get(1)?,
        sequence: unsigned(2)?,
        previous: row.get(3)?,
        begin: UnixMillis(unsigned(4)?),
        end: UnixMillis(unsigned(5)?),
        moment: row.get::<_, Option<i64>>(6)?.map(|moment| UnixMillis(moment as u64)),
        host: row.get(7)?,
        directory: row.get(8)?,
        tags: tags.lines().map(String::from).collect(),
        warnings: unsigned(10)?,
        files: unsigned(11)?,
        bytes: unsigned(12)?,
        new_bytes: unsigned(13)?,
        stored_bytes: unsigned(14)?,
    })
}
