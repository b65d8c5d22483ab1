//! Spilling is to sort more records than memory holds: what does not fit waits in scratch files, sealed.
//! Rules: format-spec/14-local.md, "Scratch files".
//!
//! A [`Sorter`] takes records in any order and gives them back in the order of their keys, those of one key in the order they
//! came. [`Partitions`] take records that are numbered, and give them back in the order of their numbers. A [`Spool`] keeps a
//! stream as it comes in. All hold what they are given in memory and touch no disk as long as it fits.

mod buffer;
mod error;
mod fetched;
mod merge;
mod partitions;
mod run;
mod scratch;
mod sorter;
mod spool;

#[cfg(test)]
mod tests;

pub use buffer::Record;
pub use error::SpillError;
pub use fetched::Fetched;
pub use merge::Sorted;
pub use partitions::{InOrder, Numbered, Partitions};
pub use scratch::Scratch;
pub use sorter::Sorter;
pub use spool::{Spool, SpoolWriter};

/// What was taken for the work, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most memory that was held at once.
    pub memory: usize,
    /// The most that scratch files held at once.
    pub scratch: u64,
}

impl Usage {
    fn see(&mut self, memory: usize, scratch: u64) {
        *self = Usage { memory: self.memory.max(memory), scratch: self.scratch.max(scratch) };
    }
}

/// Memory that may be used, and what of it is for what: seven eighths for records, one for the frame being written. Once the
/// records are written, half is for the frames being read.
#[derive(Clone, Copy)]
struct Budget(usize);

impl Budget {
    /// Less than 64 KiB is taken for 64 KiB.
    fn new(bytes: usize) -> Budget {
        Budget(bytes.max(64 << 10))
    }

    /// All of it.
    fn all(self) -> usize {
        self.0
    }

    /// Records held, with what finds them. The lists of what is held are in the rest.
    fn records(self) -> usize {
        self.0 - self.0 / 8 - self.0 / 64
    }

    /// The longest record.
    fn record(self) -> usize {
        self.0 / 8 - crate::crypto::numbered::TAG
    }

    /// Bytes of a frame, but where a record is longer.
    fn frame(self) -> usize {
        (self.0 / 16).min(256 << 10)
    }

    /// Frames being read.
    fn readers(self) -> usize {
        self.0 / 2
    }
}
