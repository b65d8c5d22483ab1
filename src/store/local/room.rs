//! What lies in the directory of a store beside its objects: a reserve for a full disk, and what killed writers left.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::publish::TEMPORARY;
use super::{open_directory, sync_directory};

/// No object has a name that begins with a dot.
const RESERVE: &str = ".reserve";

const FLAGS: OFlags =
    OFlags::WRONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Room that is left free in any case: directories and the next small objects need some.
const SLACK: u64 = 256 << 10;

/// Makes the reserve `bytes` large, or as large as twice that stays free beside it; up to `before`, which it had, as
/// large as there is room. It never shrinks. Answers with the size it has then.
pub(super) fn keep_reserve(root: &File, bytes: u64, before: u64) -> io::Result<u64> {
    let file = match open_reserve(root)? {
        Some(file) => file,
        None => {
            // What else may have the name is none, and is not written to.
            release_reserve(root)?;
            let new = FLAGS.union(OFlags::CREATE).union(OFlags::EXCL);
            rustix::fs::openat(root, RESERVE, new, Mode::RUSR | Mode::WUSR)?.into()
        }
    };
    let (has, disk) = (file.metadata()?.len(), rustix::fs::fstatvfs(root)?);
    let room = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_add(has);
    let allowed = bytes.min(room / 3).max(before.min(room.saturating_sub(SLACK))) / PIECE * PIECE;
    if has >= allowed {
        return Ok(has);
    }
    let filled = match retry_on_intr(|| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, allowed)) {
        Err(Errno::OPNOTSUPP) => fill(&file, has, allowed),
        other => other.map_err(io::Error::from),
    };
    match filled.and_then(|()| file.sync_all()) {
        Ok(()) => Ok(allowed),
        // Another writer or a quota took the room: what was set aside before stays.
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            file.set_len(has)?;
            Ok(has)
        }
        Err(error) => Err(error),
    }
}

/// The reserve: a file that has no other name, since it is cut off at will.
fn open_reserve(root: &File) -> io::Result<Option<File>> {
    let file = match rustix::fs::openat(root, RESERVE, FLAGS, Mode::empty()) {
        Ok(file) => File::from(file),
        // Missing; a link; a pipe or a socket.
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    Ok((metadata.is_file() && metadata.nlink() == 1).then_some(file))
}

/// What is written at once, and the unit of the reserve, in bytes.
const PIECE: u64 = 4 << 10;

fn fill(file: &File, from: u64, to: u64) -> io::Result<()> {
    let piece = [0x5a; PIECE as usize];
    (from / PIECE..to / PIECE).try_for_each(|number| file.write_all_at(&piece, number * PIECE))
}

/// Gives the reserve back to the disk. Answers with the size that it had.
pub(super) fn release_reserve(root: &File) -> io::Result<u64> {
    let size = match rustix::fs::statat(root, RESERVE, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => u64::try_from(stat.st_size).unwrap_or_default(),
        Err(Errno::NOENT) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    match rustix::fs::unlinkat(root, RESERVE, AtFlags::empty()) {
        Ok(()) => sync_directory(root).map(|()| size),
        Err(Errno::NOENT) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Gives so many bytes of the reserve back to the disk, and keeps the rest. Answers whether there were any.
pub(super) fn lend_reserve(root: &File, bytes: u64) -> io::Result<bool> {
    let Some(file) = open_reserve(root)? else { return Ok(false) };
    let size = file.metadata()?.len();
    file.set_len(size.saturating_sub(bytes))?;
    file.sync_all()?;
    Ok(size > 0)
}

/// Removes temporary files that nobody has written to for so long. Answers with how many there were.
pub(super) fn remove_abandoned(directory: &File, now: SystemTime, abandoned: Duration) -> io::Result<u64> {
    let mut removed = 0;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let stat = match rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if !name.starts_with('.') => {
                removed += remove_abandoned(&open_directory(directory, &name)?, now, abandoned)?;
            }
            FileType::RegularFile if name.starts_with(TEMPORARY) => {
                let age = super::walk::modified(&stat).and_then(|modified| now.duration_since(modified).ok());
                if age.is_some_and(|age| age > abandoned) {
                    rustix::fs::unlinkat(directory, &name, AtFlags::empty())?;
                    removed += 1;
                }
            }
            _ => {}
        }
    }
    Ok(removed)
}
