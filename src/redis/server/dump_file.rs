//! The dump of a live server as it stands in its directory, where its owner may have put anything: a link, a pipe, another
//! directory.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::held::Seen;
use crate::rdb;
use crate::redis::RedisError;
use crate::redis::directory::{FileId, Opening, Span, first_bytes, open as open_regular, place_of};

/// What tells one dump from the next: its inode and when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DumpStamp {
    pub id: FileId,
    written: (i64, i64),
}

impl DumpStamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { id: FileId::of(metadata), written: (metadata.mtime(), metadata.mtime_nsec()) }
    }

    /// Of what stands under a name in a directory that is held.
    pub(super) fn of_seen(seen: &Seen) -> Self {
        Self { id: FileId::of_seen(seen), written: seen.modified() }
    }

    /// Of the dump that is there, if there is one, and its bytes.
    pub(super) fn of_path(path: &Path) -> Result<Option<(Self, u64)>, RedisError> {
        let Some(file) = open(path)? else { return Ok(None) };
        let metadata = file.metadata().map_err(|error| RedisError::io("look at", path, error))?;
        Ok(Some((Self::of(&metadata), metadata.len())))
    }

    /// When it was written, in seconds since the epoch.
    pub(super) fn written(&self) -> i64 {
        self.written.0
    }
}

/// Opens a dump as a capture does, without waiting for anything; what is no regular file, or a link that may not be
/// followed, is none.
pub(super) fn open(dump: &Path) -> Result<Option<File>, RedisError> {
    let Some((directory, name)) = dump.parent().zip(dump.file_name()) else { return Ok(None) };
    let directory = match place_of(directory) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // Not the system's word: a link that may not be followed.
        Err(error) if error.raw_os_error().is_none() => return Ok(None),
        Err(error) => return Err(RedisError::io("look at", directory, error)),
    };
    match open_regular(&directory.join(name), true)? {
        Opening::File(file, _) => Ok(Some(file)),
        Opening::Gone | Opening::NotAFile => Ok(None),
    }
}

/// When the save of a dump began, in seconds since the epoch, as it says itself.
pub(super) fn began(file: &File) -> io::Result<Option<u64>> {
    Ok(rdb::read_header(&first_bytes(file)?).and_then(|peek| peek.aux.ctime))
}

/// The longest dump that is read to see whether it holds keys: one that holds none has no more than functions and what
/// modules write beside keys.
const KEYLESS_LONGEST: u64 = 1 << 20;

/// Whether a dump certainly holds no keys.
pub(super) fn holds_no_keys(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    if length > KEYLESS_LONGEST {
        return Ok(false);
    }
    let structure = rdb::read_structure(Span::new(file, 0, length))?;
    Ok(structure.is_whole() && structure.keys() == 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{lchown, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn what_stands_in_place_of_a_dump_and_is_none_is_not_waited_for_nor_followed() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dump = dir.path().join("dump.rdb");
        assert!(open(&dump).unwrap().is_none() && open(&dump.join("dump.rdb")).is_ok_and(|found| found.is_none()));
        mknodat(CWD, &dump, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(open(&dump).unwrap().is_none() && DumpStamp::of_path(&dump).unwrap().is_none());
        fs::remove_file(&dump).unwrap();
        fs::write(other.path().join("dump.rdb"), "REDIS0011").unwrap();
        symlink(other.path().join("dump.rdb"), &dump).unwrap();
        assert!(open(&dump).unwrap().is_some(), "the caller's own link");
        // Only root can make links that are another's.
        if rustix::process::geteuid().is_root() {
            lchown(&dump, Some(61_234), Some(61_234)).unwrap();
            assert!(open(&dump).unwrap().is_none() && DumpStamp::of_path(&dump).unwrap().is_none());
        }
    }
}
