//! The way to a directory or a file: whose links on it are followed, with whose rights it is gone, and whether others could
//! put something else in its place.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, OFlags, PROC_SUPER_MAGIC};
use rustix::io::Errno;

use super::{DIRECTORY, Held, LOOK, READ, Reader, Seen, is_ours, open_at};

/// Links on the way to a directory.
const LINKS: usize = 40;

/// A way that was gone component by component.
struct Way {
    /// What was passed, from the root on, each with its name. The last is what was looked for.
    steps: Vec<(OwnedFd, OsString)>,
    /// Owners of links that neither root nor the caller made.
    strangers: Vec<u32>,
}

impl Held {
    /// Opens a directory. A link on the way is followed if root or the caller made it, or if it leads its owner to a
    /// directory that is the owner's: whoever may not write somewhere shall not send others there.
    pub fn open(path: &Path) -> io::Result<Held> {
        let way = Way::to(path, None)?;
        let path = way.steps.iter().fold(PathBuf::from("/"), |path, (_, name)| path.join(name));
        let Some((last, _)) = way.steps.last() else { return Err(Errno::NOENT.into()) };
        let held = Held { file: Arc::new(open_at(last, OsStr::new("."), DIRECTORY)?.into()), path };
        way.refuse_strangers(held.seen()?)?;
        Ok(held)
    }

    /// The same where the path is the word of another user: only where that user could go as well.
    pub fn open_as(path: &Path, reader: &Reader) -> io::Result<Held> {
        let way = Way::to(path, Some(reader).filter(|reader| !reader.is_ours()))?;
        let held = Held::open(path)?;
        let is_it = way.steps.last().map(|(last, _)| rustix::fs::fstat(last)).transpose()?;
        match is_it.is_some_and(|found| held.seen().is_ok_and(|seen| Seen(found).id() == seen.id())) {
            true => Ok(held),
            false => Err(super::replaced()),
        }
    }

    /// Refuses a directory that another user could write to, or take away with what is around it.
    pub fn refuse_others(&self) -> io::Result<()> {
        let mut at = self.file.as_fd().try_clone_to_owned()?;
        let mut seen = self.seen()?;
        loop {
            if !seen.is_closed() {
                let what = "another user can write to it or to a directory around it";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
            }
            at = open_at(&at, OsStr::new(".."), LOOK)?;
            let above = Seen(rustix::fs::fstat(&at)?);
            if above.id() == seen.id() {
                return Ok(());
            }
            seen = above;
        }
    }
}

/// Opens a regular file for reading, without waiting for anything. Links are followed as on the way to a directory; where
/// the path is the word of another user, only what that user could open as well.
pub(crate) fn open_file(path: &Path, reader: Option<&Reader>) -> io::Result<File> {
    let reader = reader.filter(|reader| !reader.is_ours());
    let way = Way::to(path, reader)?;
    let [.., (around, _), (found, name)] = way.steps.as_slice() else { return Err(Errno::ISDIR.into()) };
    let seen = Seen(rustix::fs::fstat(found)?);
    if !seen.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    match reader {
        Some(reader) if !reader.may_read(&seen) => return Err(not_his()),
        // He could have gone the same way himself, whoever made the links.
        Some(_) => {}
        None => way.refuse_strangers(seen)?,
    }
    let file = open_at(around, name, READ)?;
    match Seen(rustix::fs::fstat(&file)?).id() == seen.id() {
        true => Ok(file.into()),
        false => Err(super::replaced()),
    }
}

/// Opens a file for reading that is open otherwise, as one of another process: only what that user could open as well.
pub(crate) fn open_again(file: &File, reader: &Reader) -> io::Result<File> {
    use std::os::fd::AsRawFd as _;
    let seen = Seen(rustix::fs::fstat(file)?);
    if !seen.is_file() || !(reader.is_ours() || reader.may_read(&seen)) {
        return Err(not_his());
    }
    File::open(Path::new("/proc/self/fd").join(file.as_raw_fd().to_string()))
}

fn not_his() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the user whose word it is may not read it")
}

impl Way {
    /// Goes it. With a reader only where that one could go.
    fn to(path: &Path, reader: Option<&Reader>) -> io::Result<Way> {
        let mut way =
            Way { steps: vec![(open_at(CWD, OsStr::new("/"), LOOK)?, OsString::new())], strangers: Vec::new() };
        let (mut rest, mut links) = (reversed(&std::path::absolute(path)?), 0);
        while let Some(name) = rest.pop() {
            let Some((here, _)) = way.steps.last() else { return Err(Errno::NOENT.into()) };
            if let Some(reader) = reader
                && !reader.may_search(&Seen(rustix::fs::fstat(here)?))
            {
                return Err(not_his());
            }
            if name == ".." {
                if way.steps.len() > 1 {
                    way.steps.pop();
                }
                continue;
            }
            let next = open_at(here, &name, LOOK)?;
            let stat = rustix::fs::fstat(&next)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => way.steps.push((next, name)),
                FileType::Symlink if links < LINKS => {
                    links += 1;
                    if is_of_kernel(&next)? {
                        way.enter(&name)?;
                        continue;
                    }
                    if !is_ours(stat.st_uid) {
                        way.strangers.push(stat.st_uid);
                    }
                    let target = OsString::from_vec(rustix::fs::readlinkat(&next, "", Vec::new())?.into_bytes());
                    if target.as_bytes().starts_with(b"/") {
                        way.steps.truncate(1);
                    }
                    rest.extend(reversed(Path::new(&target)));
                }
                FileType::Symlink => return Err(Errno::LOOP.into()),
                _ if rest.is_empty() => way.steps.push((next, name)),
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        Ok(way)
    }

    /// Where a link in `/proc` leads, such as the root of a process, which says the kernel and not its text. Behind it the
    /// root is that one.
    fn enter(&mut self, name: &OsStr) -> io::Result<()> {
        let path = self.steps.iter().fold(PathBuf::from("/"), |path, (_, name)| path.join(name)).join(name);
        let Some((here, _)) = self.steps.last() else { return Err(Errno::NOENT.into()) };
        let entered = open_at(here, name, LOOK.difference(OFlags::NOFOLLOW).union(OFlags::DIRECTORY))?;
        self.steps = vec![(entered, path.into_os_string())];
        Ok(())
    }

    fn refuse_strangers(&self, seen: Seen) -> io::Result<()> {
        match self.strangers.iter().all(|stranger| *stranger == seen.owner().0) {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "a link on the way belongs to another user and leads to what is not that user's",
            )),
        }
    }
}

fn is_of_kernel(opened: &OwnedFd) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(opened)?.f_type == PROC_SUPER_MAGIC)
}

/// Names of a path, the last first.
fn reversed(path: &Path) -> Vec<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().rev().filter_map(name).collect()
}
