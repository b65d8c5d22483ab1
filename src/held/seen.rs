//! What stands under a name, as it was when it was looked at.

use rustix::fs::{FileType, Stat};

use super::is_ours;

/// What stands under a name: of a link the link itself.
#[derive(Clone, Copy)]
pub(crate) struct Seen(pub(super) Stat);

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

    /// When the content changed last, in seconds and nanoseconds.
    pub fn modified(&self) -> (i64, i64) {
        #[allow(clippy::unnecessary_cast, reason = "its type differs between platforms")]
        (self.0.st_mtime as i64, self.0.st_mtime_nsec as i64)
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

    /// A Unix socket.
    pub fn is_socket(&self) -> bool {
        FileType::from_raw_mode(self.0.st_mode) == FileType::Socket
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
    pub fn is_closed(&self) -> bool {
        let mode = self.mode();
        let group = [0, rustix::process::getegid().as_raw()].contains(&self.0.st_gid);
        let is_closed = mode & 0o002 == 0 && (mode & 0o020 == 0 || group);
        is_ours(self.0.st_uid) && (is_closed || mode & 0o1000 != 0)
    }
}
