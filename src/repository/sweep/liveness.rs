//! What is needed: every chunk that a root's recipes reach, the chunks of their lists included.
//!
//! A list chunk of a lowest list that was read before says the same again and is not read: snapshots share most of their lists.
//! Where it is asked for whom chunks are needed, it is read for two of them.
//! Memory: about 60 bytes for each such chunk (one for 150 chunks), and batches of [`BATCH`] ids.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

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
    /// For whom chunks are needed: a number that changes where it is asked for.
    user: u32,
    /// List chunks of lowest lists that were read, and whether they are labelled.
    read: Followed<(ChunkId, bool)>,
    streams: Followed<[u8; 32]>,
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
            user: 0,
            read: Followed::default(),
            streams: Followed::default(),
            lost,
            go_on,
            refusals: Vec::new(),
        })
    }

    /// Adds what snapshots need.
    pub fn add_all(&mut self, names: &[SnapshotName]) -> Result<(), RepositoryError> {
        self.repository.read_snapshots(names, |_, snapshot| self.add_read(snapshot))
    }

    /// Puts what each snapshot needs into the table of owners instead, under its place among the names. Chunks of lists that
    /// two have followed are not put there again: they have several owners.
    pub fn own_all(&mut self, names: &[SnapshotName]) -> Result<(), RepositoryError> {
        self.repository.read_snapshots(names, |_, snapshot| {
            self.add_read(snapshot)?;
            self.flush()?;
            lock(&self.repository.catalog).own_needed(self.user)?;
            self.user += 1;
            Ok(())
        })
    }

    fn add_read(&mut self, snapshot: Result<Snapshot, RepositoryError>) -> Result<(), RepositoryError> {
        (self.go_on)()?;
        match snapshot {
            Ok(snapshot) => self.add(&snapshot),
            Err(error) if error.is_damage() => self.refuse(&error),
            Err(error) => Err(error),
        }
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
        if !self.streams.follow(*blake3::hash(&[&form[..], &stream.top].concat()).as_bytes(), self.user) {
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
        if list.is_lowest && self.read.is_followed(&form, self.user) {
            return Ok(None);
        }
        let bytes = self.read(list.entry)?;
        if list.is_lowest {
            self.read.follow(form, self.user);
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

/// What was followed, and for whom: `None` where for several.
struct Followed<K>(HashMap<K, Option<u32>>);

impl<K> Default for Followed<K> {
    fn default() -> Followed<K> {
        Followed(HashMap::new())
    }
}

impl<K: Eq + Hash> Followed<K> {
    /// Whether to follow it once more for this user tells nothing new.
    fn is_followed(&self, key: &K, user: u32) -> bool {
        self.0.get(key).is_some_and(|by| by.is_none_or(|by| by == user))
    }

    /// Notes that it is; says whether that was not yet so.
    fn follow(&mut self, key: K, user: u32) -> bool {
        let is_new = !self.is_followed(&key, user);
        if is_new {
            self.0.entry(key).and_modify(|by| *by = None).or_insert(Some(user));
        }
        is_new
    }
}
