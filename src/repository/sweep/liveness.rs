//! What is needed: every chunk that a root's recipes reach, the chunks of their lists included.
//!
//! A piece of a lowest list that was read before, after the same unfinished entry, says the same again and is not read: snapshots
//! share most of their lists. Memory: about 150 bytes for each such piece (one for 100 chunks), and batches of [`BATCH`] ids.

use std::collections::{HashMap, HashSet};

use super::super::catalog::Need;
use super::super::chunk_reader::ChunkReader;
use super::super::error::{RepositoryError, one_line};
use super::super::{Repository, lock};
use crate::format::object::SnapshotName;
use crate::format::recipe::{ListDecoder, ListEntry, Stream};
use crate::format::{ChunkId, Malformed};

/// Ids that enter the table in one transaction.
const BATCH: usize = 128 << 10;
/// Reasons that are told; more do not help.
const REASONS: usize = 20;

/// A piece of a lowest list: its chunk, whether it is labelled, and the unfinished entry it goes on with.
type Piece = (ChunkId, bool, Vec<u8>);

/// Fills the table of needed chunks.
pub(in crate::repository) struct Needed<'r> {
    repository: &'r Repository,
    reader: ChunkReader<'r>,
    contents: Vec<ChunkId>,
    lists: Vec<ChunkId>,
    /// The unfinished entry each piece ends with.
    pieces: HashMap<Piece, Vec<u8>>,
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
            pieces: HashMap::new(),
            streams: HashSet::new(),
            lost,
            go_on,
            refusals: Vec::new(),
        })
    }

    /// Adds what a snapshot needs.
    pub fn add(&mut self, name: &SnapshotName) -> Result<(), RepositoryError> {
        (self.go_on)()?;
        let snapshot = match self.repository.snapshot(name) {
            Err(error) if error.is_damage() => return self.refuse(&error),
            other => other?,
        };
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
        let labelled = [stream.levels, u8::from(stream.has_labels(0))];
        if !self.streams.insert(*blake3::hash(&[&labelled[..], &stream.top].concat()).as_bytes()) {
            return Ok(());
        }
        let mut decoders: Vec<ListDecoder> =
            (0..=stream.levels).rev().map(|level| ListDecoder::new(stream.has_labels(level))).collect();
        self.push(&mut decoders, &stream.top)?;
        let malformed = |error: Malformed| RepositoryError::damaged("a list of chunks", error);
        decoders.into_iter().try_for_each(|decoder| decoder.finish().map_err(malformed))
    }

    fn push(&mut self, decoders: &mut [ListDecoder], piece: &[u8]) -> Result<(), RepositoryError> {
        let Some((decoder, below)) = decoders.split_first_mut() else { return Ok(()) };
        let mut entries = Vec::new();
        decoder.push(piece, &mut entries).map_err(|error| RepositoryError::damaged("a list of chunks", error))?;
        if below.is_empty() {
            self.contents.extend(entries.iter().map(|entry| entry.id));
        } else {
            entries.iter().try_for_each(|entry| self.push_chunk(below, entry))?;
        }
        match self.contents.len() + self.lists.len() < BATCH {
            true => Ok(()),
            false => self.flush(),
        }
    }

    /// A list's chunk: its entries, unless they are in the table already.
    fn push_chunk(&mut self, below: &mut [ListDecoder], entry: &ListEntry) -> Result<(), RepositoryError> {
        self.lists.push(entry.id);
        let [lowest] = below else {
            let bytes = self.read(entry)?;
            return self.push(below, &bytes);
        };
        let key = (entry.id, lowest.is_labelled(), lowest.begun().to_vec());
        if let Some(begun) = self.pieces.get(&key) {
            *lowest = ListDecoder::resumed(key.1, begun.clone());
            return Ok(());
        }
        let bytes = self.read(entry)?;
        self.push(below, &bytes)?;
        let begun = below.first().map(|lowest| lowest.begun().to_vec()).unwrap_or_default();
        self.pieces.insert(key, begun);
        Ok(())
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
