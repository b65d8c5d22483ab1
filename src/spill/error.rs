//! What can go wrong with what does not fit in memory.

use std::io;
use std::path::{Path, PathBuf};

/// Records could not be written to scratch files, or not be read from there again.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// The disk or the quota is used up.
    #[error("no space in {} for what does not fit in memory", .directory.display())]
    Full {
        /// Where the scratch files are.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The operating system failed.
    #[error("cannot {action} a scratch file in {}", .directory.display())]
    Io {
        /// What was to be done, as a verb.
        action: &'static str,
        /// Where the scratch files are.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is read is not what was written.
    #[error("a scratch file in {} was changed: {what}, at {offset}", .directory.display())]
    Changed {
        /// Where the scratch files are.
        directory: PathBuf,
        /// The frame that is not as it was: where it begins in its file.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A record takes more than the part of the memory that is for one.
    #[error("a record of {length} bytes, where memory is for {most}")]
    TooLong {
        /// Bytes of key and payload, with their lengths.
        length: usize,
        /// The most it may have.
        most: usize,
    },
    /// There is no such number.
    #[error("a record of number {number}, where there are {count}")]
    NoNumber {
        /// The one given.
        number: u32,
        /// How many there are, from 0 on.
        count: u64,
    },
    /// Two records have one number.
    #[error("two records have one number")]
    Twice,
    /// Reading failed before: what came after that is not known.
    #[error("what was written to scratch files could not be read before")]
    Broken,
}

impl SpillError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Full { .. } => Some("free some space there, or name a directory with more by --tmp-dir"),
            Self::Io { .. } => Some("check the directory's owner, mode and disk"),
            Self::Changed { .. } => Some("check the disk: nobody else can reach a file without a name"),
            Self::TooLong { .. } | Self::NoNumber { .. } | Self::Twice | Self::Broken => None,
        }
    }

    pub(super) fn failed(action: &'static str, directory: &Path, source: io::Error) -> SpillError {
        let directory = directory.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { directory, source },
            _ => Self::Io { action, directory, source },
        }
    }
}
