//! The way to a directory: whose links on it are followed, and whether others could put something else in its place.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType};
use rustix::io::Errno;

use super::{DIRECTORY, Held, LOOK, Seen, is_ours, open_at};

/// Links on the way to a directory.
const LINKS: usize = 40;

impl Held {
    /// Opens a directory. A link on the way is followed if root or the caller made it, or if it leads its owner to a
    /// directory that is the owner's: whoever may not write somewhere shall not send others there.
    pub fn open(path: &Path) -> io::Result<Held> {
        let mut way = vec![(open_at(CWD, OsStr::new("/"), LOOK)?, OsString::new())];
        let (mut rest, mut links, mut strangers) = (reversed(&std::path::absolute(path)?), 0, Vec::new());
        while let Some(name) = rest.pop() {
            if name == ".." {
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            let Some((here, _)) = way.last() else { return Err(Errno::NOENT.into()) };
            let next = open_at(here, &name, LOOK)?;
            let stat = rustix::fs::fstat(&next)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => way.push((next, name)),
                FileType::Symlink if links < LINKS => {
                    links += 1;
                    if !is_ours(stat.st_uid) {
                        strangers.push(stat.st_uid);
                    }
                    let target = OsString::from_vec(rustix::fs::readlinkat(&next, "", Vec::new())?.into_bytes());
                    if target.as_bytes().starts_with(b"/") {
                        way.truncate(1);
                    }
                    rest.extend(reversed(Path::new(&target)));
                }
                FileType::Symlink => return Err(Errno::LOOP.into()),
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        let path = way.iter().fold(PathBuf::from("/"), |path, (_, name)| path.join(name));
        let Some((last, _)) = way.last() else { return Err(Errno::NOENT.into()) };
        let held = Held { file: Arc::new(open_at(last, OsStr::new("."), DIRECTORY)?.into()), path };
        let owner = held.seen()?.owner().0;
        match strangers.iter().all(|stranger| *stranger == owner) {
            true => Ok(held),
            false => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "a link on the way belongs to another user and leads to what is not that user's",
            )),
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

/// Names of a path, the last first.
fn reversed(path: &Path) -> Vec<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().rev().filter_map(name).collect()
}
