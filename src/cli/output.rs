//! Standard output: where results go, and how it is known that they did not arrive.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, stat};

/// Standard output as a file of its own, whose errors are all told: the language's own takes a descriptor that cannot be
/// written for one that was.
pub(crate) fn writable() -> io::Result<(File, OFlags)> {
    let flags = fcntl_getfl(io::stdout())?;
    let mode = flags & OFlags::RWMODE;
    if mode == OFlags::RDONLY || flags.contains(OFlags::PATH) {
        return Err(io::Error::other("it is not open for writing"));
    }
    Ok((File::from(io::stdout().as_fd().try_clone_to_owned()?), mode))
}

/// The same for what is lost where nobody takes it, such as a dump or a recovery key: refused where it is closed.
///
/// Before a program of this language begins, it opens /dev/null for reading and writing where descriptor 0, 1 or 2 is
/// closed. That is how a closed standard output is known: a shell's `> /dev/null`, and that of service managers, is
/// opened for writing alone. What cannot be told from a closed one is a caller that opened /dev/null for both (DEVNULL
/// in Python, `ignore` in Node); for all other results it is taken at its word: they are not wanted.
pub(crate) fn to_somebody() -> io::Result<File> {
    let (file, mode) = writable()?;
    match mode == OFlags::RDWR && is_null(file.as_fd()) {
        true => Err(io::Error::other("it is closed, or /dev/null opened for reading too; > /dev/null drops a result")),
        false => Ok(file),
    }
}

/// Writes a result. A reader that has gone away wanted no more of it.
pub(crate) fn write(bytes: &[u8]) -> io::Result<()> {
    wanted(writable()?.0.write_all(bytes))
}

/// Shows a help text or the version, in colour where that is wanted; as a result.
pub(crate) fn show(text: &clap::Error) -> io::Result<()> {
    wanted(writable().and_then(|_| text.print()))
}

fn wanted(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn is_null(file: BorrowedFd<'_>) -> bool {
    let (Ok(seen), Ok(null)) = (fstat(file), stat("/dev/null")) else { return false };
    FileType::from_raw_mode(seen.st_mode) == FileType::CharacterDevice && seen.st_rdev == null.st_rdev
}
