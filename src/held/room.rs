//! LOCAL-33: a scratch directory, for as long as it takes. A file in it is locked while its process lives: so whoever
//! makes the next one knows those whose process was killed, and removes them.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use super::{Held, caller};

/// How all their names begin.
const PREFIX: &str = "redkeep-";
/// The file that is locked, and its name until it is.
const MARK: &str = ".redkeep-scratch";
const NEW: &str = ".redkeep-scratch.new";
/// What is in it.
const TEXT: &[u8] =
    b"A scratch directory of redkeep. Where nobody holds a lock (flock) of this file, its process is gone.\n";

/// A directory that goes when it is dropped. It is the caller's, and nobody else's to look into.
#[derive(Debug)]
pub(crate) struct Room {
    directory: TempDir,
    _mark: Option<File>,
}

impl Room {
    /// Makes one in a directory, and removes those of killed processes there.
    pub fn make(purpose: &str, base: &Path) -> io::Result<Room> {
        for left in abandoned(base) {
            // One that cannot be removed is in nobody's way.
            let _ = left.remove();
        }
        let (prefix, private) = (format!("{PREFIX}{purpose}"), Permissions::from_mode(0o700));
        let directory = tempfile::Builder::new().prefix(&prefix).permissions(private).tempdir_in(base)?;
        // Without a mark it is never removed by others.
        let mark = Held::open(directory.path()).and_then(|held| mark(&held)).ok();
        Ok(Room { directory, _mark: mark })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// It has its name only once it is locked.
fn mark(held: &Held) -> io::Result<File> {
    let mut file = held.create(OsStr::new(NEW), 0o600)?;
    let marked = flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(io::Error::from)
        .and_then(|()| file.write_all(TEXT))
        .and_then(|()| held.rename_new(OsStr::new(NEW), held, OsStr::new(MARK)));
    marked.inspect_err(|_| drop(held.remove_file(OsStr::new(NEW))))?;
    Ok(file)
}

/// One whose process is gone. Nobody else removes it meanwhile.
pub(crate) struct Abandoned {
    held: Held,
    _mark: File,
}

/// Those that stand in a directory.
pub(crate) fn abandoned(base: &Path) -> Vec<Abandoned> {
    let Ok(base) = Held::open(base) else { return Vec::new() };
    let names = base.names().unwrap_or_default().into_iter();
    let names = names.filter(|name| name.as_bytes().starts_with(PREFIX.as_bytes()));
    names.filter_map(|name| Abandoned::at(&base, &name).ok().flatten()).collect()
}

impl Abandoned {
    /// Only the caller's own directory with the caller's own mark in it is one.
    fn at(base: &Held, name: &OsString) -> io::Result<Option<Abandoned>> {
        if !base.look(name)?.is_some_and(|seen| seen.is_dir() && seen.owner().0 == caller()) {
            return Ok(None);
        }
        let held = base.directory(name)?;
        let mark = held.file(OsStr::new(MARK))?;
        let (seen, found) = (held.seen()?, mark.metadata()?);
        let mut text = Vec::new();
        (&mark).take(TEXT.len() as u64 + 1).read_to_end(&mut text)?;
        let is_ours = seen.owner().0 == caller() && seen.mode() & 0o022 == 0;
        let is_mark = found.uid() == caller() && found.nlink() == 1 && text == TEXT;
        if !is_ours || !is_mark || flock(&mark, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        Ok(Some(Abandoned { held, _mark: mark }))
    }

    /// Where it is, for words.
    pub fn path(&self) -> PathBuf {
        self.held.path().to_owned()
    }

    /// Ends the servers that still listen in it, and removes it, the mark last: killed in its midst, the next one goes on.
    fn remove(self) -> io::Result<()> {
        for name in self.held.names()?.iter().filter(|name| *name != MARK) {
            self.end_servers(name);
            self.held.remove(name)?;
        }
        self.held.vanish()
    }

    /// Those whose sockets stand in a directory of it. One that goes on is in nobody's way either.
    fn end_servers(&self, name: &OsStr) {
        let Ok(directory) = self.held.directory(name) else { return };
        for name in directory.names().unwrap_or_default() {
            let _ = directory.end_listener(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    /// One of a process that was killed: its lock is gone, and all else is there.
    fn killed(base: &Path) -> PathBuf {
        let room = Room::make("", base).unwrap();
        let path = room.path().to_owned();
        fs::create_dir_all(path.join("work/deep")).unwrap();
        fs::write(path.join("work/deep/dump.rdb"), "x").unwrap();
        let Room { directory, _mark } = room;
        assert!(_mark.is_some());
        std::mem::forget(directory);
        path
    }

    #[test]
    fn one_of_a_killed_process_goes_with_the_next_and_one_that_is_in_use_stays() {
        let base = tempfile::tempdir().unwrap();
        let used = Room::make("drill-", base.path()).unwrap();
        let left = killed(base.path());
        assert_eq!(abandoned(base.path()).iter().map(Abandoned::path).collect::<Vec<_>>(), [left.as_path()]);
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "x").unwrap();
        symlink(outside.path(), left.join("work/link")).unwrap();
        let next = Room::make("", base.path()).unwrap();
        assert!(!left.exists() && used.path().is_dir() && next.path().is_dir());
        assert!(outside.path().join("kept").exists(), "no link is followed");
        drop(next);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_proved_to_be_ours_stays() {
        let base = tempfile::tempdir().unwrap();
        let of = |name: &str| base.path().join(name);
        // Without a mark, with another one, and somewhere else.
        fs::create_dir(of("redkeep-without")).unwrap();
        fs::create_dir(of("redkeep-other")).unwrap();
        fs::write(of("redkeep-other").join(MARK), "something else").unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let left = killed(elsewhere.path());
        symlink(&left, of("redkeep-link")).unwrap();
        fs::create_dir(of("redkeep-linked")).unwrap();
        symlink(left.join(MARK), of("redkeep-linked").join(MARK)).unwrap();
        fs::create_dir(of("redkeep-named")).unwrap();
        fs::hard_link(left.join(MARK), of("redkeep-named").join(MARK)).unwrap();
        // Others can write to it.
        let open = killed(base.path());
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        let mut expected = 6;
        if rustix::process::geteuid().is_root() {
            fs::create_dir(of("redkeep-strange")).unwrap();
            fs::write(of("redkeep-strange").join(MARK), TEXT).unwrap();
            chown(of("redkeep-strange"), Some(61_234), Some(61_234)).unwrap();
            expected += 1;
        }
        drop(Room::make("", base.path()).unwrap());
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), expected);
        assert!(left.join(MARK).exists());
    }
}
