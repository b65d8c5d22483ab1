//! What a person wants of a directory, and what is never taken of it.

use std::fmt;
use std::path::PathBuf;

use super::facts::{self, Facts};
use super::patterns::Patterns;
use crate::held::FileStamp;
use crate::redis::error::RedisError;

/// What to take and what to leave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Patterns of paths to take that would otherwise be left out: of a live server what is no part of its dataset, else
    /// logs, temporary files, history and orphans of an AOF.
    pub include: Vec<String>,
    /// Patterns of paths to leave out, whatever else is said of them. A part of a multi-part AOF leaves out all of it,
    /// with a warning.
    pub exclude: Vec<String>,
    /// Of a live server's directory too everything is wanted.
    pub all_files: bool,
    /// Places of redkeep itself, which are never taken. Those that are not there do not matter.
    pub own: Vec<Own>,
    /// Files that were read whole and hold commands up to their very end: what bears the same stamp need not be read to
    /// find where it is whole.
    pub complete: Vec<FileStamp>,
}

/// A place of redkeep itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Where it is, on this host.
    pub path: PathBuf,
    /// What is kept there.
    pub whose: Whose,
}

/// What redkeep keeps in a place of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// The repository that is stored into.
    Repository,
    /// Another one, by what it holds.
    AnotherRepository,
    /// What this host knows of repositories, and can be had again.
    Cache,
    /// What this host has seen of repositories.
    State,
    /// Those of another user or another host, by what they hold.
    AnotherPlace,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Whose::Repository => "the repository itself",
            Whose::AnotherRepository => "another repository of redkeep",
            Whose::Cache => "redkeep's own cache",
            Whose::State => "redkeep's own state",
            Whose::AnotherPlace => "cache or state of another user's redkeep",
        })
    }
}

impl CaptureOptions {
    /// Knows from now on what an earlier reading of files showed.
    pub fn know(&mut self, seen: impl IntoIterator<Item = (FileStamp, Facts)>) {
        let complete = seen.into_iter().filter(|(_, facts)| facts::are_complete(facts));
        self.complete.extend(complete.map(|(stamp, _)| stamp));
    }

    /// Whether a path is left out.
    pub(in crate::redis) fn leaves_out(&self, path: &[u8]) -> Result<bool, RedisError> {
        Ok(Patterns::new(&self.exclude)?.matches(path))
    }
}
