//! What is needed: every chunk that a root's recipes reach, the chunks of their lists included.
//!
//! A list chunk of a lowest list that was read before says the same again and is not read: snapshots share most of their lists.
//! Memory: about 50 bytes for each such chunk (one for 150 chunks), and batches of [`BATCH`] ids.

use std::collections::HashSet;

use super::super::catalog::Need;
use super::super::chunk_reader::ChunkReader;
use super::super::error::{RepositoryError, one_line};
use super::super::lists::{ListChunk, Lists};
use super::super::{Repository, lock};
use crate::format::ChunkId;
use crate::format::list::ListEntry;
use crate::format::object::SnapshotName;
use crate::format::recipe::Stream;
use crate::format::snapshot::Snapshot;

/// Ids that enter the table in one transaction.
const BATCH: usize = 128 << 10;
/// Reasons that are told; more do not help.
const REASONS: usize = 20;

/// Fills the table of needed chunks.
pub(in crate::repository) struct Needed<'r> {
    repository: &'r Repository,
    reader: ChunkReader<'r>,
    contents: Vec<ChunkId>,
    lists: Vec<ChunkId>,
    /// List chunks of lowest lists that were read, and whether they are labelled.
    read: HashSet<(ChunkId, bool)>,
    streams: HashSet<[u8; 32]>,
    /// Chunks that are lost, as was recorded: what a lost list names is not to be known.
    lost: &'r HashSet<ChunkId>,
    /// Whether to go on; keeps the lease alive.
    go_on: &'r dyn Fn() -> Result<(), RepositoryError>,
    /// Why what is needed is not known whole.
    pub refusals: Vec<String>,
}

impl<'r> Needed<'r> {
    /// With an empty table.
    pub fn new(
        repository: &'r Repository,
        lost: &'r HashSet<ChunkId>,
        go_on: &'r dyn Fn() -> Result<(), RepositoryError>,
    ) -> Result<Needed<'r>, RepositoryError> {
        lock(&repository.catalog).clear_needed()?;
        Ok(Needed {
            repository,
            reader: ChunkReader::new(repository),
            contents: Vec::new(),
            lists: Vec::new(),
            read: HashSet::new(),
            streams: HashSet::new(),
            lost,
            go_on,
            refusals: Vec::new(),
        })
    }

    /// Adds what snapshots need.
    pub fn add_all(&mut self, names: &[SnapshotName]) -> Result<(), RepositoryError> {
        self.repository.read_snapshots(names, |_, snapshot| {
            (self.go_on)()?;
            match snapshot {
                Ok(snapshot) => self.add(&snapshot),
                Err(error) if error.is_damage() => self.refuse(&error),
                Err(error) => Err(error),
            }
        })
    }

    fn add(&mut self, snapshot: &Snapshot) -> Result<(), RepositoryError> {
        for file in &snapshot.files {
            for stream in file.recipe.iter().flatten().flat_map(|part| part.streams.values()) {
                match self.add_stream(stream) {
                    Err(RepositoryError::UnknownChunk { chunk }) if self.lost.contains(&chunk) => {}
                    Err(error) if error.is_damage() => {
                        let path = file.display_path();
                        self.refuse(&RepositoryError::InFile { path, source: Box::new(error) })?;
                    }
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// Brings the last ids into the table.
    pub fn finish(mut self) -> Result<Vec<String>, RepositoryError> {
        self.flush()?;
        Ok(self.refusals)
    }

    fn refuse(&mut self, error: &RepositoryError) -> Result<(), RepositoryError> {
        if self.refusals.len() < REASONS {
            self.refusals.push(one_line(error));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), RepositoryError> {
        let mut catalog = lock(&self.repository.catalog);
        catalog.add_needed(Need::Content, &mut self.contents)?;
        catalog.add_needed(Need::List, &mut self.lists)
    }

    fn add_stream(&mut self, stream: &Stream) -> Result<(), RepositoryError> {
        let form = [stream.levels, u8::from(stream.has_labels())];
        if !self.streams.insert(*blake3::hash(&[&form[..], &stream.top].concat()).as_bytes()) {
            return Ok(());
        }
        let mut lists = Lists::new(stream)?;
        while let Some(entry) = lists.next(&mut |list| self.list_chunk(&list))? {
            self.contents.push(entry.id);
            if self.contents.len() + self.lists.len() >= BATCH {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// A list chunk's bytes, unless what it names is in the table already.
    fn list_chunk(&mut self, list: &ListChunk<'_>) -> Result<Option<Vec<u8>>, RepositoryError> {
        self.lists.push(list.entry.id);
        let form = (list.entry.id, list.entry.label.is_some());
        if list.is_lowest && self.read.contains(&form) {
            return Ok(None);
        }
        let bytes = self.read(list.entry)?;
        if list.is_lowest {
            self.read.insert(form);
        }
        Ok(Some(bytes))
    }

    fn read(&self, entry: &ListEntry) -> Result<Vec<u8>, RepositoryError> {
        (self.go_on)()?;
        match self.reader.chunk(&entry.id, entry.length) {
            Err(error) if error.is_damage() && self.lost.contains(&entry.id) => {
                Err(RepositoryError::UnknownChunk { chunk: entry.id })
            }
            other => other,
        }
    }
}
