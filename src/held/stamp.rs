//! What tells whether a file of this host was touched since. Rules: format-spec/14-local.md.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use crate::format::UnixMillis;

/// Changed longer than this before the capture began: a later change gets another time, however coarse the clock of
/// the file system.
const SETTLED: Duration = Duration::from_secs(2);

/// File systems whose inode numbers last, and whose inode change times this host's kernel sets at each change: ext2 to
/// ext4, XFS, Btrfs, F2FS, ZFS, tmpfs. Not those where another host may write, or where a layer below may.
const RELIED_ON: [i64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0x0102_1994];

/// What changes when a file is written, replaced, or given another time: device, inode, size, modification and inode
/// change time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Of an open file; `None` where its file system is not one to rely on.
    pub fn of(file: &File) -> io::Result<Option<FileStamp>> {
        if !RELIED_ON.contains(&(rustix::fs::fstatfs(file)?.f_type as i64)) {
            return Ok(None);
        }
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then(|| FileStamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }))
    }

    /// Bytes the file had.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it was last changed so long before a capture began that a later change gets another time.
    pub fn is_settled(&self, begin: UnixMillis) -> bool {
        let (seconds, nanos) = self.changed;
        let changed = i128::from(seconds) * 1000 + i128::from(nanos) / 1_000_000;
        changed + SETTLED.as_millis() as i128 <= i128::from(begin.0)
    }

    /// As the catalog keeps it.
    pub fn encode(&self) -> Vec<u8> {
        let (modified, changed) = (self.modified, self.changed);
        let times = [modified.0, modified.1, changed.0, changed.1].map(i64::to_le_bytes);
        [[self.device, self.inode, self.size].map(u64::to_le_bytes).concat(), times.concat()].concat()
    }

    /// What [`FileStamp::encode`] made; `None` of anything else.
    pub fn decode(bytes: &[u8]) -> Option<FileStamp> {
        let (eights, []) = bytes.as_chunks::<8>() else { return None };
        let [device, inode, size, modified, modified_nanos, changed, changed_nanos] = eights else { return None };
        let time = |seconds: &[u8; 8], nanos: &[u8; 8]| (i64::from_le_bytes(*seconds), i64::from_le_bytes(*nanos));
        let [device, inode, size] = [device, inode, size].map(|eight| u64::from_le_bytes(*eight));
        let (modified, changed) = (time(modified, modified_nanos), time(changed, changed_nanos));
        Some(FileStamp { device, inode, size, modified, changed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LOCAL-11
    #[test]
    fn what_changed_within_two_seconds_of_the_capture_is_not_settled() {
        let stamp = |changed| FileStamp { device: 1, inode: 2, size: 3, modified: (0, 0), changed };
        assert!(stamp((98, 0)).is_settled(UnixMillis(100_000)));
        assert!(!stamp((98, 1_000_000)).is_settled(UnixMillis(100_000)));
        assert!(!stamp((101, 0)).is_settled(UnixMillis(100_000)));
    }

    #[test]
    fn a_stamp_is_kept_as_it_is_or_not_at_all() {
        let stamp = FileStamp { device: 1, inode: 2, size: 3, modified: (-4, 5), changed: (6, 7) };
        let encoded = stamp.encode();
        assert_eq!(FileStamp::decode(&encoded), Some(stamp));
        assert_eq!(FileStamp::decode(&encoded[1..]), None);
        assert_eq!(FileStamp::decode(&[&encoded[..], &[0; 8]].concat()), None);
    }
}
