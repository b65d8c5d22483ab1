//! What lies in the directory of a store beside its objects: a reserve for a full disk, and what killed writers left.

use std::fs::File;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::publish::TEMPORARY;
use super::{open_directory, sync_directory};

/// No object has a name that begins with a dot.
const RESERVE: &str = ".reserve";
/// A temporary file that nobody wrote to for so long is nobody's.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

const FLAGS: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes the reserve, or makes it as large as that. Of one that cannot be made so large nothing is left.
pub(super) fn keep_reserve(root: &File, bytes: u64) -> io::Result<()> {
    let file = File::from(rustix::fs::openat(root, RESERVE, FLAGS, Mode::RUSR | Mode::WUSR)?);
    if file.metadata()?.len() >= bytes {
        return Ok(());
    }
    let filled = match retry_on_intr(|| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)) {
        Err(Errno::OPNOTSUPP) => fill(&file, bytes),
        other => other.map_err(io::Error::from),
    };
    filled.and_then(|()| file.sync_all()).inspect_err(|_| {
        // A part of it is of no use; left behind, it would only be taken for one.
        let _ = rustix::fs::unlinkat(root, RESERVE, AtFlags::empty());
    })
}

fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    let piece = vec![0x5a; 1 << 20];
    (0..bytes.div_ceil(1 << 20)).try_for_each(|_| file.write_all(&piece))
}

/// Gives the reserve back to the disk. Answers whether there was one.
pub(super) fn release_reserve(root: &File) -> io::Result<bool> {
    match rustix::fs::unlinkat(root, RESERVE, AtFlags::empty()) {
        Ok(()) => sync_directory(root).map(|()| true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes temporary files that killed writers left. Answers with how many there were.
pub(super) fn remove_abandoned(directory: &File, now: SystemTime) -> io::Result<u64> {
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
                removed += remove_abandoned(&open_directory(directory, &name)?, now)?;
            }
            FileType::RegularFile if name.starts_with(TEMPORARY) => {
                let age = super::walk::modified(&stat).and_then(|modified| now.duration_since(modified).ok());
                if age.is_some_and(|age| age > ABANDONED) {
                    rustix::fs::unlinkat(directory, &name, AtFlags::empty())?;
                    removed += 1;
                }
            }
            _ => {}
        }
    }
    Ok(removed)
}
