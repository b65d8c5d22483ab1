//! What a server said of its files, where one was asked: then neither names nor times have to be guessed from.

use super::opened::FileId;
use super::sets::AofSet;
use super::top_level::Candidate;
use crate::aof::manifest_name;
use crate::redis::directory::names::join;

/// What a server said of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::redis) struct Told {
    /// Its `dbfilename`.
    pub dump: Vec<u8>,
    /// Its `appendfilename`.
    pub append_file: Vec<u8>,
    /// Its `appenddirname`; servers before 7.0 have none, and a single AOF.
    pub append_directory: Option<Vec<u8>>,
    /// Whether its AOF is on and live: then that is the dataset, else the dump is.
    pub aof_counts: bool,
}

/// The AOF of a server as it was when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::redis) struct Measure {
    /// The file that grows, relative to the data directory.
    pub path: Vec<u8>,
    /// Its name where it stands: another one where a link leads to it.
    pub own_name: Vec<u8>,
    /// Which file it is.
    pub file: FileId,
    /// Its bytes.
    pub length: u64,
    /// Bytes of the files before it.
    pub before: u64,
    /// Bytes of the base among them.
    pub base: u64,
}

impl Told {
    /// Path of the file that stands for the whole AOF: its manifest, or itself.
    pub(in crate::redis) fn aof_path(&self) -> Vec<u8> {
        match &self.append_directory {
            Some(directory) => join(directory, &manifest_name(&self.append_file)),
            None => self.append_file.clone(),
        }
    }

    /// Which of the AOFs counts: multi-part ones in their order, then the single one.
    pub(super) fn primary(&self, sets: &[AofSet], single: Option<&Candidate>) -> Option<usize> {
        let path = self.aof_path();
        match self.append_directory {
            _ if !self.aof_counts => None,
            Some(_) => sets.iter().position(|set| set.path() == path),
            None => single.filter(|single| single.path == path).map(|_| sets.len()),
        }
    }
}
