//! Every object below a directory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

use super::open_directory;
use crate::store::Entry;
use crate::store::name::{ObjectName, is_segment};

/// How often a directory that changes while it is read is read again.
const PASSES_MAX: u32 = 5;

/// The objects below `directory`, whose name is `prefix` without its slash, in no order.
pub(super) fn objects_below(directory: &File, prefix: &str) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    collect(directory, prefix, &mut entries)?;
    Ok(entries)
}

fn collect(directory: &File, prefix: &str, entries: &mut Vec<Entry>) -> io::Result<()> {
    for segment in segments_of(directory)? {
        let path = if prefix.is_empty() { segment.clone() } else { format!("{prefix}/{segment}") };
        // Too long to be an object's name, or a directory of objects.
        let Ok(name) = path.parse::<ObjectName>() else { continue };
        let stat = match rustix::fs::statat(directory, &segment, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Deleted since.
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let size = u64::try_from(stat.st_size).map_err(io::Error::other)?;
                entries.push(Entry { name, size, modified: modified(&stat) });
            }
            FileType::Directory => collect(&open_directory(directory, &segment)?, &path, entries)?,
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {
                return Err(io::Error::other(format!("{path} is neither a file nor a directory")));
            }
        }
    }
    Ok(())
}

/// The entries of a directory that can be part of a name.
///
/// A file system may miss an entry that is renamed over while the directory is read, which is how a lease is renewed.
/// So a directory that changed meanwhile is read again, and everything seen in any pass counts.
fn segments_of(directory: &File) -> io::Result<BTreeSet<String>> {
    let mut segments = BTreeSet::new();
    for _ in 0..PASSES_MAX {
        let before = directory.metadata()?.modified()?;
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            if let Ok(segment) = entry.file_name().to_str()
                && is_segment(segment)
            {
                segments.insert(segment.to_owned());
            }
        }
        if directory.metadata()?.modified()? == before {
            break;
        }
    }
    Ok(segments)
}

pub(super) fn modified(stat: &Stat) -> Option<SystemTime> {
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).ok()?;
    let seconds: i64 = stat.st_mtime;
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let start =
        if seconds < 0 { SystemTime::UNIX_EPOCH.checked_sub(whole) } else { SystemTime::UNIX_EPOCH.checked_add(whole) };
    start?.checked_add(Duration::from_nanos(nanoseconds.into()))
}
