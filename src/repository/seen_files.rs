//! Files that need not be read again, because this host has read them and they were not touched since.
//! Rules: format-spec/14-local.md.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use super::catalog::SeenRow;
use super::error::RepositoryError;
use super::intake::Intake;
use super::session::{Committed, Session};
use super::stream::walk;
use super::{Repository, lock};
use crate::format::recipe::Part;
use crate::format::{ChunkId, UnixMillis};

/// Changed longer than this before the capture began: a later change gets another time, however coarse the clock of
/// the file system.
const SETTLED: Duration = Duration::from_secs(2);

/// File systems whose inode numbers last, and whose inode change times this host's kernel sets at each change: ext2 to
/// ext4, XFS, Btrfs, F2FS, ZFS, tmpfs. Not those where another host may write, or where a layer below may.
const RELIED_ON: [i64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0x0102_1994];

/// Chunks asked at once.
const BATCH: usize = 1024;

/// What changes when a file is written, replaced, or given another time: device, inode, size, modification and inode
/// change time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Of an open file; `None` where its file system is not one to rely on.
    pub fn of(file: &File) -> io::Result<Option<FileStamp>> {
        if !RELIED_ON.contains(&(rustix::fs::fstatfs(file)?.f_type as i64)) {
            return Ok(None);
        }
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then(|| FileStamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }))
    }

    /// Bytes the file had.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn is_settled(&self, begin: UnixMillis) -> bool {
        let (seconds, nanos) = self.changed;
        let changed = i128::from(seconds) * 1000 + i128::from(nanos) / 1_000_000;
        changed + SETTLED.as_millis() as i128 <= i128::from(begin.0)
    }

    fn encode(&self) -> Vec<u8> {
        let (modified, changed) = (self.modified, self.changed);
        let times = [modified.0, modified.1, changed.0, changed.1].map(i64::to_le_bytes);
        [[self.device, self.inode, self.size].map(u64::to_le_bytes).concat(), times.concat()].concat()
    }
}

/// A file that was read whole while it stood still.
#[derive(Debug, Clone)]
pub struct SeenFile {
    /// Its path in the snapshot.
    pub path: Vec<u8>,
    /// The same before and after it was read, or taken over.
    pub stamp: FileStamp,
    /// What its content showed.
    pub facts: BTreeMap<String, String>,
}

impl Session<'_> {
    /// LOCAL-10: what was learned from a file's content when this host captured it for the dataset's previous snapshot,
    /// where it is certain that it has the same content now.
    pub fn seen(&self, path: &[u8], stamp: &FileStamp) -> Result<Option<BTreeMap<String, String>>, RepositoryError> {
        let row = lock(&self.repository.catalog).seen(&self.tag().to_string(), path)?;
        let host = &self.repository.ambient.host;
        let is_same = |row: &SeenRow| {
            Some(&row.snapshot) == self.previous().as_ref()
                && row.host == *host
                && row.reader == env!("CARGO_PKG_VERSION")
                && row.stamp == stamp.encode()
        };
        // Facts that cannot be read are none: the file is read.
        Ok(row.filter(is_same).and_then(|row| minicbor::decode(&row.facts).ok()))
    }
}

impl Repository {
    /// LOCAL-11: notes what a committed snapshot's files looked like when they were read; rows of the dataset that this session did
    /// not confirm go. Files that were changed just before the session began are left out.
    pub fn note_seen(
        &self,
        committed: &Committed,
        begin: UnixMillis,
        files: &[SeenFile],
    ) -> Result<(), RepositoryError> {
        let row = |file: &SeenFile| SeenRow {
            path: file.path.clone(),
            snapshot: committed.name.to_string(),
            host: self.ambient.host.clone(),
            reader: env!("CARGO_PKG_VERSION").into(),
            stamp: file.stamp.encode(),
            facts: minicbor::to_vec(&file.facts).unwrap_or_else(|_| unreachable!("memory does not fail to be written")),
        };
        let rows: Vec<SeenRow> = files.iter().filter(|file| file.stamp.is_settled(begin)).map(row).collect();
        lock(&self.catalog).set_seen(&committed.name.tag.to_string(), &rows)
    }
}

impl Intake<'_> {
    /// Whether every chunk of a recipe, lists and bases included, is known to this session.
    pub fn knows(&self, recipe: &[Part]) -> Result<bool, RepositoryError> {
        for stream in recipe.iter().flat_map(|part| part.streams.values()) {
            let (mut all, mut ids) = (true, Vec::with_capacity(BATCH));
            let walked = walk(self.reader, stream, &mut |_, entry| {
                ids.push(entry.id);
                if ids.len() == BATCH {
                    all &= self.know_all(&mut ids)?;
                }
                Ok(())
            });
            match walked {
                Ok(()) if all && self.know_all(&mut ids)? => {}
                Ok(()) => return Ok(false),
                Err(error) if error.is_damage() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn know_all(&self, ids: &mut Vec<ChunkId>) -> Result<bool, RepositoryError> {
        self.go_on()?;
        let known = lock(&self.session.repository.catalog).all_known(ids);
        ids.clear();
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LOCAL-11
    #[test]
    fn what_changed_within_two_seconds_of_the_capture_is_not_settled() {
        let stamp = |changed| FileStamp { device: 1, inode: 2, size: 3, modified: (0, 0), changed };
        assert!(stamp((98, 0)).is_settled(UnixMillis(100_000)));
        assert!(!stamp((98, 1_000_000)).is_settled(UnixMillis(100_000)));
        assert!(!stamp((101, 0)).is_settled(UnixMillis(100_000)));
    }
}
