//! Removing what stands in a directory, with all that is in it.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode};
use rustix::io::Errno;

use super::{DIRECTORY, Held, LOOK, missing_is_fine, one, open_at};

/// Directories below each other that are removed.
const DEPTH: usize = 200;

impl Held {
    /// LOCAL-29: removes all that is in the directory, and itself, whatever its name is by now and wherever it was moved to.
    pub fn vanish(&self) -> io::Result<()> {
        for name in self.names()? {
            self.remove(&name)?;
        }
        let me = self.seen()?.id();
        let around = match open_at(&self.file, OsStr::new(".."), DIRECTORY) {
            // It has none any more.
            Err(Errno::NOENT) => return Ok(()),
            around => Held { file: Arc::new(around?.into()), path: self.path.with_file_name("") },
        };
        for name in around.names()? {
            if around.look(&name)?.is_some_and(|seen| seen.id() == me) {
                return missing_is_fine(around.remove_directory(&name));
            }
        }
        Ok(())
    }

    /// Removes what has the name, where something has, with all that is in it: also a directory whose modes keep its own
    /// owner out.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        self.remove_below(name, DEPTH)
    }

    fn remove_below(&self, name: &OsStr, depth: usize) -> io::Result<()> {
        match self.look(name)? {
            None => return Ok(()),
            Some(seen) if !seen.is_dir() => return missing_is_fine(self.remove_file(name)),
            Some(_) if depth == 0 => return Err(io::Error::other("too many directories below each other")),
            Some(_) => {}
        }
        let below = match self.directory(name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.open_up(name)?;
                self.directory(name)?
            }
            opened => opened?,
        };
        let names = below.names()?;
        if !names.is_empty() && below.seen()?.mode() & 0o300 != 0o300 {
            below.set_mode(0o700)?;
        }
        names.iter().try_for_each(|name| below.remove_below(name, depth - 1))?;
        missing_is_fine(self.remove_directory(name))
    }

    /// Lets the owner of a directory look into it.
    fn open_up(&self, name: &OsStr) -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        let found = open_at(&self.file, one(name)?, LOOK)?;
        // Nothing else changes the mode of what is not opened for reading; it leads to what is held, not to a name.
        let reached = format!("/proc/self/fd/{}", found.as_raw_fd());
        Ok(rustix::fs::chmodat(CWD, reached, Mode::RWXU, AtFlags::empty())?)
    }
}
