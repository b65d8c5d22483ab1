//! What stands in a captured directory and was not taken, so that a person can be told.

use std::fmt;

use super::options::Whose;

/// What stands in a captured directory and was not taken, beside logs, temporary files and what a person excluded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Some of it, by reason and path. Of a directory only itself.
    pub named: Vec<Left>,
    /// How many more there are.
    pub more: u64,
}

/// A path that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Relative to the directory.
    pub path: Vec<u8>,
    /// Why not.
    pub why: Why,
}

/// Why a path was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It is a place of redkeep itself.
    Own(Whose),
    /// Another file system is mounted there.
    OtherFileSystem,
    /// It is no part of a live server's dataset.
    NotOfDataset,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Own(whose) => whose.fmt(f),
            Why::OtherFileSystem => f.write_str("another file system"),
            Why::NotOfDataset => f.write_str("no part of the dataset"),
        }
    }
}

impl LeftOut {
    /// How many are named.
    const NAMED: usize = 100;

    pub(super) fn push(&mut self, path: Vec<u8>, why: Why) {
        match self.named.len() < Self::NAMED {
            true => self.named.push(Left { path, why }),
            false => self.more += 1,
        }
    }

    pub(super) fn sort(&mut self) {
        self.named.sort_by(|one, other| (one.why, &one.path).cmp(&(other.why, &other.path)));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.more + self.named.len() as u64
    }

    /// Those for this reason.
    pub fn of(&self, is_it: impl Fn(Why) -> bool) -> impl Iterator<Item = &Left> {
        self.named.iter().filter(move |left| is_it(left.why))
    }
}
