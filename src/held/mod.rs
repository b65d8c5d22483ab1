//! LOCAL-17: a directory held by its descriptor. What is done below it is done in this very directory, by names of one component and
//! without following a link, whoever renames what meanwhile. See format-spec/14-local.md,
//! "Somebody else's directory".

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, Gid, Mode, OFlags, RenameFlags, StatxAttributes, StatxFlags, Uid};
use rustix::io::{Errno, retry_on_intr};

mod listener;
mod reader;
mod removal;
mod room;
mod seen;
mod stamp;
mod way;

pub(crate) use reader::Reader;
pub(crate) use room::{Room, abandoned};
pub(crate) use seen::Seen;
pub use stamp::FileStamp;
pub(crate) use way::{open_again, open_file};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const NEW: OFlags =
    OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Opening a name that turns out to be a pipe must not wait for its other end.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory. Clones hold the same one.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    file: Arc<File>,
    path: PathBuf,
}

impl Held {
    /// Where it was when it was opened: for words, never for work.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where something in it is: for words.
    pub fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// A path that leads to this very directory, as long as it is held, in this process.
    pub fn reached(&self) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        Path::new("/proc/self/fd").join(self.file.as_raw_fd().to_string())
    }

    /// What it is itself.
    pub fn seen(&self) -> io::Result<Seen> {
        Ok(Seen(rustix::fs::fstat(&self.file)?))
    }

    /// When it was made, in seconds and nanoseconds, where the file system knows: tells it from a later one of its inode.
    pub fn born(&self) -> Option<(i64, u32)> {
        let found = rustix::fs::statx(&self.file, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
        let knows = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        knows.then_some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec))
    }

    /// What stands under a name in it.
    pub fn look(&self, name: &OsStr) -> io::Result<Option<Seen>> {
        match rustix::fs::statat(&self.file, one(name)?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Seen(stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What the file system says of what stands under a name beyond its mode, as far as it does.
    pub fn attributes(&self, name: &OsStr) -> StatxAttributes {
        let found = one(name)
            .and_then(|name| rustix::fs::statx(&self.file, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS));
        found.map_or(StatxAttributes::empty(), |found| found.stx_attributes)
    }

    /// The names in it.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.file)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// A directory in it.
    pub fn directory(&self, name: &OsStr) -> io::Result<Held> {
        let file = open_at(&self.file, one(name)?, DIRECTORY)?;
        Ok(Held { file: Arc::new(file.into()), path: self.path_of(name) })
    }

    /// Makes a directory in it, which is empty and the caller's own.
    pub fn make(&self, name: &OsStr, mode: u32) -> io::Result<Held> {
        rustix::fs::mkdirat(&self.file, one(name)?, Mode::RWXU)?;
        let made = self.directory(name)?;
        let (seen, around) = (made.seen()?, self.seen()?);
        let is_it = seen.owner().0 == caller() || self.gives_away()?;
        if !is_it || seen.id().0 != around.id().0 || !made.names()?.is_empty() {
            return Err(replaced());
        }
        if seen.mode() != mode {
            // Where there are no modes, the file system has its own.
            let _ = made.set_mode(mode);
        }
        Ok(made)
    }

    /// Whether what the caller makes here is not the caller's: so on file systems without owners.
    fn gives_away(&self) -> io::Result<bool> {
        let name = OsString::from(format!(".redkeep-owner-{}", std::process::id()));
        let file = self.create(&name, 0o600)?;
        let removed = self.remove_file(&name);
        let owner = file.metadata()?.uid();
        removed.map(|()| owner != caller())
    }

    /// A new file in it, for reading and writing.
    pub fn create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        Ok(retry_on_intr(|| rustix::fs::openat(&self.file, one(name)?, NEW, Mode::from_raw_mode(mode)))?.into())
    }

    /// A regular file in it, for reading.
    pub fn file(&self, name: &OsStr) -> io::Result<File> {
        let file = File::from(open_at(&self.file, one(name)?, READ)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is no regular file")),
        }
    }

    /// A file to be locked: readable is enough. Made where it is missing.
    pub fn lock_file(&self, name: &OsStr) -> io::Result<File> {
        let name = one(name)?;
        let opened = match open_at(&self.file, name, READ) {
            Err(Errno::NOENT) => {
                let mode = Mode::from_raw_mode(0o644);
                retry_on_intr(|| rustix::fs::openat(&self.file, name, READ | OFlags::CREATE, mode))
            }
            opened => opened,
        };
        Ok(opened?.into())
    }

    /// A link in it.
    pub fn link(&self, name: &OsStr, target: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.file, one(name)?)?)
    }

    /// Gives a file or a link in it away.
    pub fn give_link(&self, name: &OsStr, owner: (u32, u32)) -> io::Result<()> {
        let (user, group) = ids(owner);
        Ok(rustix::fs::chownat(&self.file, one(name)?, user, group, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Renames, replacing what has the name.
    pub fn rename(&self, from: &OsStr, into: &Held, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.file, one(from)?, &into.file, one(to)?)?)
    }

    /// Renames to a name that must not be taken.
    pub fn rename_new(&self, from: &OsStr, into: &Held, to: &OsStr) -> io::Result<()> {
        match rustix::fs::renameat_with(&self.file, one(from)?, &into.file, one(to)?, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            // A file system without the flag: the name was unused a moment ago.
            Err(Errno::INVAL | Errno::NOSYS) if into.look(to)?.is_none() => self.rename(from, into, to),
            Err(error) => Err(error.into()),
        }
    }

    /// Exchanges what two names mean, in one step.
    pub fn exchange(&self, one_name: &OsStr, with: &Held, other: &OsStr) -> Result<(), Errno> {
        rustix::fs::renameat_with(&self.file, one(one_name)?, &with.file, one(other)?, RenameFlags::EXCHANGE)
    }

    /// Removes a file or a link.
    pub fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.file, one(name)?, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.file, one(name)?, AtFlags::REMOVEDIR)?)
    }

    /// Owner and group of the directory itself.
    pub fn give(&self, owner: (u32, u32)) -> io::Result<()> {
        give(&self.file, owner)
    }

    /// Its mode.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))?)
    }

    /// Its descriptor.
    pub fn opened(&self) -> &File {
        &self.file
    }

    /// Brings the names in it to the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Bytes free on its disk.
    pub fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.file)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// The directory in which the last component of a path below it stands, and that component.
    pub fn at<'a>(&self, relative: &'a Path) -> io::Result<(Held, &'a OsStr)> {
        let mut here = self.clone();
        let mut rest = relative.iter().peekable();
        while let Some(name) = rest.next() {
            if rest.peek().is_none() {
                return Ok((here, one(name)?));
            }
            here = here.directory(name)?;
        }
        Err(Errno::INVAL.into())
    }
}

/// Gives an opened file to its owner.
pub(crate) fn give(file: &File, owner: (u32, u32)) -> io::Result<()> {
    let (user, group) = ids(owner);
    Ok(rustix::fs::fchown(file, user, group)?)
}

fn ids((user, group): (u32, u32)) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
}

fn caller() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether a user is root or the caller.
pub(crate) fn is_ours(user: u32) -> bool {
    [0, caller()].contains(&user)
}

fn open_at(directory: impl AsFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat(directory.as_fd(), name, flags, Mode::empty()))
}

/// A name of one component.
fn one(name: &OsStr) -> Result<&OsStr, Errno> {
    let bytes = name.as_bytes();
    match bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') || bytes.contains(&0) {
        true => Err(Errno::INVAL),
        false => Ok(name),
    }
}

fn missing_is_fine(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Somebody put something else in the place of what was just made.
pub(crate) fn replaced() -> io::Error {
    io::Error::other("it was replaced by something else meanwhile")
}

#[cfg(test)]
mod tests;
