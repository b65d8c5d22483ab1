//! Files held open, so that renames and removals no longer matter, and read by position, so that they can be read again.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::names::FIRST;
use crate::held::{Held, Seen, replaced};
use crate::redis::error::RedisError;

/// Bytes of a piece.
pub(super) const PIECE: usize = 256 * 1024;

/// What came of opening a path.
pub(in crate::redis) enum Opening {
    /// A regular file, and what the system said of it then.
    File(File, Metadata),
    /// There is nothing of that name (any more).
    Gone,
    /// Something without bytes of its own.
    NotAFile,
}

/// The path without links of a directory that a person or a server names. Links on the way count as they do for [`Held`]:
/// who may rename what is around his directory sends nobody to what is another's.
pub(in crate::redis) fn place_of(directory: &Path) -> io::Result<PathBuf> {
    let held = Held::open(directory)?;
    let place = fs::canonicalize(directory)?;
    match Held::open(&place)?.seen()?.id() == held.seen()?.id() {
        true => Ok(place),
        false => Err(replaced()),
    }
}

/// Opens a regular file, by a path without links above it. A link in its place is followed if `follow` and if it may be,
/// else it is no file. Never waits for the other end of a pipe.
pub(in crate::redis) fn open(path: &Path, follow: bool) -> Result<Opening, RedisError> {
    match open_as_named(path, OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(file) => regular(path, File::from(file)),
        Err(Errno::LOOP) if follow => open_followed(path),
        Err(error) => refused(path, error.into()),
    }
}

fn regular(path: &Path, file: File) -> Result<Opening, RedisError> {
    let metadata = file.metadata().map_err(|error| RedisError::io("look at", path, error))?;
    Ok(if metadata.is_file() { Opening::File(file, metadata) } else { Opening::NotAFile })
}

fn open_followed(path: &Path) -> Result<Opening, RedisError> {
    let Ok(link) = fs::symlink_metadata(path) else { return Ok(Opening::Gone) };
    // Else it is a directory above that has become a link.
    let Some(target) = fs::canonicalize(path).ok().filter(|_| link.is_symlink()) else { return Ok(Opening::NotAFile) };
    match open(&target, false)? {
        Opening::File(_, metadata) if !may_follow(&link, &metadata) => Ok(Opening::NotAFile),
        opening => Ok(opening),
    }
}

/// CAPTURE-6: a link leads on only to what its owner owns, unless root or this user made it: else the owner of a data
/// directory could have files of others captured.
pub(super) fn may_follow(link: &Metadata, target: &Metadata) -> bool {
    let me = rustix::process::geteuid().as_raw();
    [0, me, target.uid()].contains(&link.uid())
}

/// Names in a directory, which is reached by a path without links.
pub(super) fn names_in(directory: &Path) -> io::Result<Vec<OsString>> {
    let opened = Dir::new(open_as_named(directory, OFlags::DIRECTORY)?)?;
    let mut names = Vec::new();
    for entry in opened {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

/// Where a link leads, which is reached by a path without links.
pub(super) fn target_of(link: &Path) -> io::Result<Vec<u8>> {
    let opened = open_as_named(link, OFlags::PATH | OFlags::NOFOLLOW)?;
    Ok(rustix::fs::readlinkat(&opened, "", Vec::new())?.into_bytes())
}

/// Opens what has exactly this name: where a link stands on the way, it fails with LOOP. Kernels before 5.6, and some
/// containers, know no such call; there only a link at the end is seen.
fn open_as_named(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::openat(CWD, path, flags | OFlags::NOFOLLOW, Mode::empty()),
        other => other,
    }
}

fn refused(path: &Path, error: io::Error) -> Result<Opening, RedisError> {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => Ok(Opening::Gone),
        // A link that is not followed; a socket.
        Some(Errno::LOOP | Errno::NXIO) => Ok(Opening::NotAFile),
        _ => Err(RedisError::io("open", path, error)),
    }
}

/// The first bytes, enough to tell what the file is.
pub(in crate::redis) fn first_bytes(file: &File) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    Span::new(file, 0, FIRST as u64).read_to_end(&mut first)?;
    Ok(first)
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::redis) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(in crate::redis) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    pub(in crate::redis) fn of_seen(seen: &Seen) -> Self {
        let (device, inode) = seen.id();
        Self { device, inode }
    }
}

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    id: FileId,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            id: FileId::of(metadata),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the content is the same, as far as size and modification time tell. (A rename or a removal meanwhile is no
    /// change of content.)
    pub(super) fn same_content(&self, other: &Self) -> bool {
        self.size == other.size && self.modified == other.modified
    }

    /// Bytes the file had.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

/// A stretch of an open file, read by position.
pub(in crate::redis) struct Span<'a> {
    file: &'a File,
    next: u64,
    end: u64,
}

impl<'a> Span<'a> {
    /// From `begin` up to `end`, or to where the file ends before that.
    pub(in crate::redis) fn new(file: &'a File, begin: u64, end: u64) -> Self {
        Self { file, next: begin, end }
    }
}

impl Read for Span<'_> {
    /// Fills the buffer as long as there is something to fill it with, so that pieces stay large.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.next)).unwrap_or(usize::MAX);
        let room = buffer.len().min(left);
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..room).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, self.next) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    self.next += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_can_be_read_again_and_ends_where_the_file_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "0123456789").unwrap();
        let Ok(Opening::File(file, _)) = open(&path, false) else { panic!("a file") };
        for (begin, end, expected) in [(0, 10, "0123456789"), (2, 5, "234"), (8, 99, "89"), (20, 30, "")] {
            for _ in 0..2 {
                let mut text = String::new();
                Span::new(&file, begin, end).read_to_string(&mut text).unwrap();
                assert_eq!(text, expected);
            }
        }
    }

    #[test]
    fn a_link_to_what_is_not_its_makers_is_no_way_to_a_directory() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(other.path(), &link).unwrap();
        assert_eq!(place_of(&link).unwrap(), other.path().canonicalize().unwrap(), "the caller's own link");
        assert_eq!(place_of(&link.join("nothing")).unwrap_err().kind(), io::ErrorKind::NotFound);
        // Only root can make links that are another's.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(61_234), Some(61_234)).unwrap();
            assert_eq!(place_of(&link).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            std::os::unix::fs::chown(other.path(), Some(61_234), None).unwrap();
            assert!(place_of(&link).is_ok(), "it leads him to his own");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_told_apart_from_what_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert!(matches!(open(&at("nothing"), true), Ok(Opening::Gone)));
        assert!(matches!(open(dir.path(), true), Ok(Opening::NotAFile)));
        std::fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        std::os::unix::fs::symlink(dir.path(), at("above")).unwrap();
        assert!(matches!(open(&at("above/file"), true), Ok(Opening::NotAFile)), "a link on the way");
        assert_eq!(target_of(&at("link")).unwrap(), b"file");
        assert!(target_of(&at("above/link")).is_err() && target_of(&at("file")).is_err());
        assert!(names_in(&at("above")).is_err() && names_in(&at("file")).is_err());
        assert_eq!(names_in(dir.path()).unwrap().len(), 3);
        assert!(matches!(open(&at("link"), false), Ok(Opening::NotAFile)));
        assert!(matches!(open(&at("link"), true), Ok(Opening::File(..))));
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(matches!(open(&at("socket"), true), Ok(Opening::NotAFile)));
    }
}
