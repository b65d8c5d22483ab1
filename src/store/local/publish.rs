//! How bytes come to have a name: a temporary file, synced, then renamed or linked; see the parent module for why.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

/// How names of unfinished files begin.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// Bytes that are written at once. The kernel takes the memory that a write is cached in as one stretch, where the file system can
/// (ext4, Linux 6.18). Stretches of up to eight pages it keeps at hand from what was given back a moment ago; longer ones are memory
/// that nobody used lately, and that the host of a virtual machine has to find first: a pack took three times as long in one write.
const STEP: usize = 32 << 10;

const TEMPORARY_FLAGS: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What happens to an object that has the name already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replace {
    Allowed,
    Refused,
}

/// Gives `name` in `directory` these bytes, all or none of them, for good. [`io::ErrorKind::AlreadyExists`] when
/// refused; [`io::ErrorKind::Unsupported`], without a code of the system, where the file system cannot refuse.
pub(super) fn publish(directory: &File, name: &str, bytes: &[u8], replace: Replace) -> io::Result<()> {
    let mut temporary = Temporary::create(directory)?;
    bytes.chunks(STEP).try_for_each(|step| temporary.file.write_all(step))?;
    temporary.file.sync_all()?;
    match replace {
        Replace::Allowed => temporary.take(name)?,
        Replace::Refused => temporary.take_new(name)?,
    }
    super::sync_directory(directory)
}

/// Whether this file system creates a file of a new name and refuses a second one, tried out: the kernel refuses what
/// exists before it asks a file system that can do neither.
pub(super) fn is_exclusive(directory: &File) -> io::Result<bool> {
    let name = temporary_name()?;
    match Temporary::create(directory)?.take_new(&name) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(false),
        Err(error) => return Err(error),
    }
    let second = Temporary::create(directory).and_then(|mut second| second.take_new(&name));
    rustix::fs::unlinkat(directory, &name, AtFlags::empty())?;
    match second {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
        Err(error) => Err(error),
    }
}

/// A file without a name of its own yet; removed when dropped without one.
struct Temporary<'a> {
    directory: &'a File,
    file: File,
    name: String,
    is_named: bool,
}

impl<'a> Temporary<'a> {
    fn create(directory: &'a File) -> io::Result<Self> {
        loop {
            let name = temporary_name()?;
            match retry_on_intr(|| rustix::fs::openat(directory, &name, TEMPORARY_FLAGS, Mode::RUSR | Mode::WUSR)) {
                Ok(file) => return Ok(Self { directory, file: file.into(), name, is_named: false }),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes a name, whoever had it.
    fn take(&mut self, name: &str) -> io::Result<()> {
        rustix::fs::renameat(self.directory, &self.name, self.directory, name)?;
        self.is_named = true;
        Ok(())
    }

    /// Takes a name nobody has.
    fn take_new(&mut self, name: &str) -> io::Result<()> {
        match rustix::fs::renameat_with(self.directory, &self.name, self.directory, name, RenameFlags::NOREPLACE) {
            Ok(()) => {
                self.is_named = true;
                Ok(())
            }
            Err(Errno::INVAL | Errno::NOSYS) => self.link_new(name),
            Err(error) => Err(error.into()),
        }
    }

    /// The temporary name is removed on drop; should that fail, a second name of a whole object is left.
    fn link_new(&mut self, name: &str) -> io::Result<()> {
        match rustix::fs::linkat(self.directory, &self.name, self.directory, name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            // NFS repeats a call whose answer was lost, and the repetition meets our own link.
            Err(Errno::EXIST) if self.file.metadata()?.nlink() == 2 => Ok(()),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.is_named {
            // Nothing depends on it: a file left behind is what a crash leaves, too.
            let _ = rustix::fs::unlinkat(self.directory, &self.name, AtFlags::empty());
        }
    }
}

fn temporary_name() -> io::Result<String> {
    Ok(format!("{TEMPORARY}{:016x}", getrandom::u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> io::Result<(tempfile::TempDir, File)> {
        let directory = tempfile::tempdir()?;
        let opened = File::open(directory.path())?;
        Ok((directory, opened))
    }

    #[test]
    fn a_link_creates_as_exclusively_as_a_rename() -> io::Result<()> {
        let (path, directory) = scratch()?;
        Temporary::create(&directory)?.link_new("object")?;
        let error = Temporary::create(&directory)?.link_new("object").expect_err("the name is taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_dir(path.path())?.count(), 1, "no temporary file is left");
        assert_eq!(std::fs::metadata(path.path().join("object"))?.nlink(), 1);
        Ok(())
    }

    #[test]
    fn a_link_repeated_by_the_file_system_is_not_refused() -> io::Result<()> {
        let (_path, directory) = scratch()?;
        let mut temporary = Temporary::create(&directory)?;
        temporary.link_new("object")?;
        temporary.link_new("object")
    }

    #[test]
    fn the_probe_finds_this_file_system_exclusive_and_leaves_nothing() -> io::Result<()> {
        let (path, directory) = scratch()?;
        assert!(is_exclusive(&directory)?);
        assert_eq!(std::fs::read_dir(path.path())?.count(), 0);
        Ok(())
    }
}
