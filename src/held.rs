//! LOCAL-17: a directory held by its descriptor. What is done below it is done in this very directory, by names of one component and
//! without following a link, whoever renames what meanwhile. See format-spec/14-local.md,
//! "Somebody else's directory".

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, RenameFlags, Stat, StatxAttributes, StatxFlags, Uid};
use rustix::io::{Errno, retry_on_intr};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const NEW: OFlags =
    OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Opening a name that turns out to be a pipe must not wait for its other end.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Links on the way to a directory.
const LINKS: usize = 40;
/// Directories below each other that are removed.
const DEPTH: usize = 200;

/// A directory. Clones hold the same one.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    file: Arc<File>,
    path: PathBuf,
}

/// What stands under a name: of a link the link itself.
#[derive(Clone, Copy)]
pub(crate) struct Seen(Stat);

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

    /// Gives a link in it away.
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

impl Seen {
    /// Device and inode.
    pub fn id(&self) -> (u64, u64) {
        (self.0.st_dev, self.0.st_ino)
    }

    /// Its number on its file system.
    pub fn inode(&self) -> u64 {
        self.0.st_ino
    }

    /// User and group.
    pub fn owner(&self) -> (u32, u32) {
        (self.0.st_uid, self.0.st_gid)
    }

    /// Permissions and special bits.
    pub fn mode(&self) -> u32 {
        self.0.st_mode & 0o7777
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        u64::try_from(self.0.st_size).unwrap_or(0)
    }

    /// When the inode changed last, in seconds and nanoseconds.
    pub fn changed(&self) -> (i64, i64) {
        #[allow(clippy::unnecessary_cast, reason = "its type differs between platforms")]
        (self.0.st_ctime as i64, self.0.st_ctime_nsec as i64)
    }

    /// How many names it has.
    pub fn names(&self) -> u64 {
        #[allow(clippy::unnecessary_cast, reason = "its type differs between platforms")]
        {
            self.0.st_nlink as u64
        }
    }

    /// A directory.
    pub fn is_dir(&self) -> bool {
        FileType::from_raw_mode(self.0.st_mode) == FileType::Directory
    }

    /// A regular file.
    pub fn is_file(&self) -> bool {
        FileType::from_raw_mode(self.0.st_mode) == FileType::RegularFile
    }

    /// A symbolic link.
    pub fn is_link(&self) -> bool {
        FileType::from_raw_mode(self.0.st_mode) == FileType::Symlink
    }

    /// Whether a user with these groups may rename what is in this directory, whoever it belongs to.
    pub fn lets_rename(&self, user: u32, groups: &[u32]) -> bool {
        let mode = self.mode();
        let is_sticky = mode & 0o1000 != 0;
        match self.0.st_uid == user {
            true => mode & 0o300 == 0o300,
            false if is_sticky => false,
            false if groups.contains(&self.0.st_gid) => mode & 0o030 == 0o030,
            false => mode & 0o003 == 0o003,
        }
    }

    /// Whether only root and the caller can write to it; in one like `/tmp` nobody replaces what is another's.
    fn is_closed(&self) -> bool {
        let mode = self.mode();
        let group = [0, rustix::process::getegid().as_raw()].contains(&self.0.st_gid);
        let is_closed = mode & 0o002 == 0 && (mode & 0o020 == 0 || group);
        is_ours(self.0.st_uid) && (is_closed || mode & 0o1000 != 0)
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

fn is_ours(user: u32) -> bool {
    [0, caller()].contains(&user)
}

fn open_at(directory: impl AsFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat(directory.as_fd(), name, flags, Mode::empty()))
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
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    /// LOCAL-17
    #[test]
    fn it_stays_the_directory_it_was_whoever_takes_its_name() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        fs::create_dir(at("data")).unwrap();
        fs::create_dir(at("etc")).unwrap();
        let held = Held::open(&at("data")).unwrap();
        fs::rename(at("data"), at("moved")).unwrap();
        symlink(at("etc"), at("data")).unwrap();
        held.create(name("file"), 0o600).unwrap();
        held.make(name("below"), 0o711).unwrap();
        assert_eq!(fs::read_dir(at("etc")).unwrap().count(), 0);
        assert_eq!(fs::metadata(at("moved/below")).unwrap().permissions().mode() & 0o777, 0o711);
        assert!(held.create(name("file"), 0o600).is_err(), "it is there");
    }

    #[test]
    fn no_name_leads_out_of_it_and_no_link_is_followed() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        fs::create_dir_all(at("data/below")).unwrap();
        fs::write(at("secret"), "precious").unwrap();
        symlink(at("secret"), at("data/link")).unwrap();
        symlink(temp.path(), at("data/up")).unwrap();
        let held = Held::open(&at("data")).unwrap();
        for bad in ["..", ".", "", "a/b", "../secret", "/etc"] {
            assert!(held.create(name(bad), 0o600).is_err(), "{bad}");
            assert!(held.directory(name(bad)).is_err() && held.look(name(bad)).is_err(), "{bad}");
            assert!(held.rename(name("link"), &held, name(bad)).is_err(), "{bad}");
            assert!(held.remove(name(bad)).is_err(), "{bad}");
        }
        assert!(held.file(name("link")).is_err() && held.directory(name("up")).is_err());
        assert!(held.create(name("link"), 0o600).is_err() && held.make(name("up"), 0o700).is_err());
        assert!(held.at(Path::new("up/secret")).is_err());
        assert!(held.file(name("below")).is_err(), "a directory is no file");
        for gone in ["link", "up", "below", "never"] {
            held.remove(name(gone)).unwrap();
        }
        assert_eq!(fs::read_to_string(at("secret")).unwrap(), "precious");
        assert_eq!(held.names().unwrap(), Vec::<OsString>::new());
    }

    #[test]
    fn all_below_goes_with_it_and_what_links_lead_to_stays() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        fs::create_dir_all(at("data/gone/a/b")).unwrap();
        fs::create_dir(at("kept")).unwrap();
        fs::write(at("kept/file"), "x").unwrap();
        symlink(at("kept"), at("data/gone/a/link")).unwrap();
        fs::set_permissions(at("data/gone/a"), fs::Permissions::from_mode(0o0)).unwrap();
        Held::open(&at("data")).unwrap().remove(name("gone")).unwrap();
        assert!(at("kept/file").exists() && !at("data/gone").exists());
    }

    #[test]
    fn links_of_the_caller_are_followed_and_those_of_others_lead_only_to_what_is_theirs() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().canonicalize().unwrap().join(name);
        fs::create_dir_all(at("real/data")).unwrap();
        symlink("real", at("link")).unwrap();
        let held = Held::open(&at("link/../link/./data")).unwrap();
        assert_eq!(held.path(), at("real/data"));
        symlink("round", at("round")).unwrap();
        assert!(Held::open(&at("round")).is_err() && Held::open(&at("missing")).is_err());
        if !rustix::process::geteuid().is_root() {
            return; // Only root can make links that are another's.
        }
        let held = Held::open(&at("")).unwrap();
        held.give_link(name("link"), (65534, 65534)).unwrap();
        let refused = Held::open(&at("link/data")).unwrap_err();
        assert!(refused.to_string().contains("belongs to another user"), "{refused}");
        Held::open(&at("real/data")).unwrap().give((65534, 65534)).unwrap();
        assert!(Held::open(&at("link/data")).is_ok(), "it leads its owner to what is its own");
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused_wherever_they_can() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        Held::open(&at("a/b")).unwrap().refuse_others().unwrap();
        for (place, mode) in [("a/b", 0o777), ("a", 0o707)] {
            fs::set_permissions(at(place), fs::Permissions::from_mode(mode)).unwrap();
            assert!(Held::open(&at("a/b")).unwrap().refuse_others().is_err(), "{place}");
            fs::set_permissions(at(place), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
}
