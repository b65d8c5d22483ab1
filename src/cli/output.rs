//! Standard output: where results go, and how it is known that they did not arrive.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat, stat};

/// Standard output as a file of its own, whose errors are all told: the language's own takes a descriptor that cannot be
/// written for one that was.
///
/// An error says that nothing can be written to it: it cannot be, or it is closed.
///
/// Before a program of this language begins, it opens /dev/null for reading and writing where descriptor 0, 1 or 2 is
/// closed. That is how a closed standard output is known: a shell's `> /dev/null`, and that of service managers and most
/// languages, is opened for writing alone. What cannot be told from a closed one is a caller that opened /dev/null for
/// reading and writing (DEVNULL in Python, `ignore` in Node): it is answered like a closed one.
pub(crate) fn stdout() -> io::Result<File> {
    let flags = fcntl_getfl(io::stdout())?;
    let mode = flags & OFlags::RWMODE;
    if mode == OFlags::RDONLY || flags.contains(OFlags::PATH) {
        return Err(io::Error::other("it is not open for writing"));
    }
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    match mode == OFlags::RDWR && is_null(file.as_fd()) {
        true => Err(io::Error::other("it is closed, or /dev/null opened for reading too; > /dev/null drops a result")),
        false => Ok(file),
    }
}

/// Writes a result. A reader that has gone away wanted no more of it.
///
/// Where standard output is one with standard input or error, and nowhere, a daemon started this without any of them (or
/// they were all closed): nobody waits for a result, nor could be told.
pub(crate) fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = match stdout() {
        Err(_) if is_one_with(io::stdin().as_fd()) || is_one_with(io::stderr().as_fd()) => return Ok(()),
        other => other?,
    };
    match stdout.write_all(bytes) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn is_null(file: BorrowedFd<'_>) -> bool {
    let (Ok(seen), Ok(null)) = (fstat(file), stat("/dev/null")) else { return false };
    FileType::from_raw_mode(seen.st_mode) == FileType::CharacterDevice && seen.st_rdev == null.st_rdev
}

/// Whether standard output and another descriptor are /dev/null, opened as one for reading and writing: what is set on the
/// one is then seen on the other. Nothing that is set there changes what /dev/null does.
fn is_one_with(other: BorrowedFd<'_>) -> bool {
    let stdout = io::stdout();
    let flags = |file: BorrowedFd<'_>| fcntl_getfl(file).ok().filter(|flags| *flags & OFlags::RWMODE == OFlags::RDWR);
    let (Some(before), Some(other_before)) = (flags(stdout.as_fd()), flags(other)) else { return false };
    let are_alike = before == other_before && is_null(stdout.as_fd()) && is_null(other);
    if !are_alike || fcntl_setfl(&stdout, before ^ OFlags::NONBLOCK).is_err() {
        return false;
    }
    let is_one = flags(other) == flags(stdout.as_fd());
    // It was set a moment ago: so can this be.
    let _ = fcntl_setfl(&stdout, before);
    is_one
}
