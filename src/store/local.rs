//! A local store is a directory; each object is one file of it, under the object's name.
//!
//! **A crash leaves no part of an object under its name.** An object is written under a temporary name in the directory
//! it will live in and synced; only then does one rename (or link) give it its name; then the directory is synced, and
//! the first time this process uses a directory, its parents are too. So before the rename the name does not exist, or
//! means the old bytes; after it the file behind the name is complete and on disk, whatever part of the directory's
//! change survives; and once the call returned, that change is on disk as well. What a crash does leave are files whose
//! name begins with `.tmp-`: no object can have such a name, so they are never read or listed.
//!
//! **One of several creators wins**, because `renameat2(RENAME_NOREPLACE)`, or `link` where the file system lacks it,
//! is refused by the kernel when the name exists.
//!
//! **Symbolic links inside are not followed**: every directory on the way to an object is opened without them, and a
//! link found by a listing is an error, since a store that shows a part of itself loses data in a sweep. The directory
//! of the store itself may be reached through links.
//!
//! Directories made here are 0700, files 0600.

mod publish;
mod room;
mod walk;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::error::StoreError;
use super::name::{ObjectName, directory_of};
use super::{Entry, Intent, Promises, PutNew, Room, Stat, Store, Timing};
use publish::Replace;
pub(crate) use publish::TEMPORARY;

/// A listing shows at once what is there.
const TIMING: Timing = Timing::of_lag(Duration::ZERO);

/// A disk's queue is filled by a few threads.
const CONNECTIONS: usize = 4;

const DIRECTORY_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opening a name that turns out to be a pipe must not wait for its other end.
const OBJECT_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// What to do where there is no directory.
const MISSING: &str = "check that it is mounted, or make one with: redkeep init";

/// Objects as files below one directory.
pub(super) struct LocalStore {
    root: File,
    path: PathBuf,
    /// Directories whose own entry in their parent this process has synced. Another process may have made one and not
    /// synced it yet, so that a directory exists says nothing.
    anchored: Mutex<HashSet<String>>,
}

impl LocalStore {
    /// Opens the directory; with [`Intent::Create`] makes it, parents included, and proves that it creates exclusively.
    pub(super) fn open(path: &Path, intent: Intent) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let path = std::path::absolute(path).map_err(|error| failed("open", &shown, error))?;
        if intent == Intent::Create {
            create_directories(&path).map_err(|error| failed("create", &shown, error))?;
        }
        // Without NOFOLLOW: the user may reach the store through a link.
        let flags = DIRECTORY_FLAGS.difference(OFlags::NOFOLLOW);
        let root = match retry_on_intr(|| rustix::fs::openat(CWD, &path, flags, Mode::empty())) {
            Ok(root) => File::from(root),
            Err(Errno::NOENT | Errno::NOTDIR) => {
                let problem = "no such directory";
                return Err(StoreError::Location { location: shown, problem, hint: MISSING });
            }
            Err(error) => return Err(failed("open", &shown, error.into())),
        };
        let store = Self { root, path, anchored: Mutex::default() };
        if intent == Intent::Create && !publish::is_exclusive(&store.root).map_err(|e| failed("create", &shown, e))? {
            return Err(StoreError::Unsupported { location: shown });
        }
        Ok(store)
    }

    /// The directory an object lives in, opened without following links.
    fn directory(&self, relative: &str) -> io::Result<File> {
        let mut directory = self.root.try_clone()?;
        for segment in segments(relative) {
            directory = open_directory(&directory, segment)?;
        }
        Ok(directory)
    }

    /// The same for writing: made where it does not exist, and on disk.
    fn directory_for_writing(&self, relative: &str) -> io::Result<File> {
        if self.anchored.lock().unwrap_or_else(PoisonError::into_inner).contains(relative) {
            match self.directory(relative) {
                // Someone tidied up empty directories; made again below.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
        }
        let mut directory = self.root.try_clone()?;
        for segment in segments(relative) {
            match rustix::fs::mkdirat(&directory, segment, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let below = open_directory(&directory, segment)?;
            sync_directory(&directory)?;
            directory = below;
        }
        self.anchored.lock().unwrap_or_else(PoisonError::into_inner).insert(relative.to_owned());
        Ok(directory)
    }

    fn open_object(&self, name: &ObjectName) -> Result<(File, u64), StoreError> {
        let (directory, last) = name.split();
        let open = || {
            let directory = self.directory(directory)?;
            let file = retry_on_intr(|| rustix::fs::openat(&directory, last, OBJECT_FLAGS, Mode::empty()))?;
            let file = File::from(file);
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::other("not a regular file"));
            }
            Ok((file, metadata.len()))
        };
        open().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { name: name.clone() },
            _ => failed("read", name.as_str(), error),
        })
    }

    fn write(&self, name: &ObjectName, bytes: &[u8], replace: Replace) -> Result<(), StoreError> {
        let (directory, last) = name.split();
        let publish = || publish::publish(&self.directory_for_writing(directory)?, last, bytes, replace);
        publish().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StoreError::Exists { name: name.clone() },
            // Without a code it is ours, not some other call's.
            io::ErrorKind::Unsupported if error.raw_os_error().is_none() => {
                StoreError::Unsupported { location: self.location() }
            }
            _ => failed("store", name.as_str(), error),
        })
    }
}

impl Store for LocalStore {
    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        let (file, size) = self.open_object(name)?;
        let too_large = || StoreError::TooLarge { name: name.clone(), limit };
        if size > limit {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).map_err(|_| too_large())?);
        file.take(size).read_to_end(&mut bytes).map_err(|error| failed("read", name.as_str(), error))?;
        if bytes.len() as u64 != size {
            return Err(failed("read", name.as_str(), io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let (file, size) = self.open_object(name)?;
        let past_end = || StoreError::Range { name: name.clone(), offset, length };
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(past_end());
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| past_end())?];
        file.read_exact_at(&mut bytes, offset).map_err(|error| failed("read", name.as_str(), error))?;
        Ok(bytes)
    }

    fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        self.write(name, &bytes, Replace::Allowed)
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        self.write(name, &bytes, Replace::Refused)
    }

    fn list(&self, prefix: &str, after: Option<&ObjectName>, each: &mut dyn FnMut(Entry)) -> Result<(), StoreError> {
        let directory = directory_of(prefix)?;
        let listed = match self.directory(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.and_then(|opened| walk::objects_below(&opened, directory)),
        };
        let shown = if prefix.is_empty() { &self.location() } else { prefix };
        let mut entries = listed.map_err(|error| failed("list", shown, error))?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        entries.into_iter().filter(|entry| after.is_none_or(|after| entry.name > *after)).for_each(each);
        Ok(())
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<Stat>, StoreError> {
        match self.open_object(name) {
            Ok((file, size)) => {
                let modified = file.metadata().and_then(|metadata| metadata.modified());
                let modified = modified.map_err(|error| failed("read", name.as_str(), error))?;
                Ok(Some(Stat { size, modified: Some(modified) }))
            }
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        let (directory, last) = name.split();
        let delete = || {
            let directory = self.directory(directory)?;
            rustix::fs::unlinkat(&directory, last, AtFlags::empty())?;
            // A sweep deletes in an order that matters, so each deletion is on disk before the next.
            sync_directory(&directory)
        };
        match delete() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            deleted => deleted.map_err(|error| failed("delete", name.as_str(), error)),
        }
    }

    fn room(&self) -> Option<&dyn Room> {
        Some(self)
    }

    fn connections(&self) -> usize {
        CONNECTIONS
    }

    fn promises(&self) -> Promises {
        Promises { put_new: PutNew::Exclusive, timing: TIMING }
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }
}

impl Room for LocalStore {
    fn keep_reserve(&self, bytes: u64, before: u64) -> Result<u64, StoreError> {
        room::keep_reserve(&self.root, bytes, before).map_err(|error| failed("set aside", "the reserve", error))
    }

    fn release_reserve(&self) -> Result<u64, StoreError> {
        room::release_reserve(&self.root).map_err(|error| failed("release", "the reserve", error))
    }

    fn lend_reserve(&self, bytes: u64) -> Result<bool, StoreError> {
        room::lend_reserve(&self.root, bytes).map_err(|error| failed("release", "the reserve", error))
    }

    fn remove_abandoned(&self, now: SystemTime) -> Result<u64, StoreError> {
        let root = self.directory("").and_then(|root| room::remove_abandoned(&root, now, TIMING.abandoned));
        root.map_err(|error| failed("clean", &self.location(), error))
    }
}

fn segments(relative: &str) -> impl Iterator<Item = &str> {
    relative.split('/').filter(|segment| !segment.is_empty())
}

fn open_directory(parent: &File, segment: &str) -> io::Result<File> {
    Ok(retry_on_intr(|| rustix::fs::openat(parent, segment, DIRECTORY_FLAGS, Mode::empty()))?.into())
}

/// Makes a directory and its missing parents, each on disk before the next.
fn create_directories(path: &Path) -> io::Result<()> {
    match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(Errno::NOENT) => {
            let Some(parent) = path.parent() else { return Err(Errno::NOENT.into()) };
            create_directories(parent)?;
            match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    }
    match path.parent() {
        Some(parent) => sync_directory(&File::open(parent)?),
        None => Ok(()),
    }
}

/// Brings the names in a directory to the disk. Network file systems that have no such call answer that it is invalid;
/// their server decides when a name is durable.
fn sync_directory(directory: &File) -> io::Result<()> {
    match retry_on_intr(|| rustix::fs::fsync(directory)) {
        Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn failed(action: &'static str, name: &str, error: io::Error) -> StoreError {
    let name = name.to_owned();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { action, name, source: error },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::Denied { action, name, source: error.into() }
        }
        _ => StoreError::Io { action, name, source: error },
    }
}
