//! Files that need not be read again, because this host has read them and they were not touched since.
//! Rules: format-spec/14-local.md.

use std::collections::BTreeMap;

use super::catalog::SeenRow;
use super::chunk_reader::ChunkReader;
use super::error::RepositoryError;
use super::intake::Intake;
use super::session::{Committed, Session};
use super::stream::walk;
use super::{Repository, lock};
use crate::format::recipe::Part;
use crate::format::{ChunkId, UnixMillis};
use crate::held::FileStamp;

/// Chunks asked at once.
const BATCH: usize = 1024;

/// A file that was read whole while it stood still.
#[derive(Debug, Clone)]
pub struct SeenFile {
    /// Its path in the snapshot.
    pub path: Vec<u8>,
    /// The same before and after it was read, or taken over.
    pub stamp: FileStamp,
    /// What its content showed.
    pub facts: BTreeMap<String, String>,
}

impl Session<'_> {
    /// LOCAL-10: what was learned from a file's content when this host captured it for the dataset's previous snapshot,
    /// where it is certain that it has the same content now.
    pub fn seen(&self, path: &[u8], stamp: &FileStamp) -> Result<Option<BTreeMap<String, String>>, RepositoryError> {
        let row = lock(&self.repository.catalog).seen(&self.tag().to_string(), path)?;
        let host = &self.repository.ambient.host;
        let is_same = |row: &SeenRow| {
            Some(&row.snapshot) == self.previous().as_ref()
                && row.host == *host
                && row.reader == env!("CARGO_PKG_VERSION")
                && row.stamp == stamp.encode()
        };
        // Facts that cannot be read are none: the file is read.
        Ok(row.filter(is_same).and_then(|row| minicbor::decode(&row.facts).ok()))
    }
}

/// What a file's content showed, by name.
type Facts = BTreeMap<String, String>;

impl Repository {
    /// The files that this host has read with this version of redkeep, whatever the dataset, and what their content
    /// showed: a file with the same stamp has the same content. Rows that cannot be read are left out.
    pub fn seen_files(&self) -> Result<Vec<(FileStamp, Facts)>, RepositoryError> {
        let rows = lock(&self.catalog).seen_by(&self.ambient.host, env!("CARGO_PKG_VERSION"))?;
        let read = |row: SeenRow| Some((FileStamp::decode(&row.stamp)?, minicbor::decode(&row.facts).ok()?));
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// LOCAL-11: notes what a committed snapshot's files looked like when they were read; rows of the dataset that this session did
    /// not confirm go. Files that were changed just before the session began are left out.
    pub fn note_seen(
        &self,
        committed: &Committed,
        begin: UnixMillis,
        files: &[SeenFile],
    ) -> Result<(), RepositoryError> {
        let row = |file: &SeenFile| SeenRow {
            path: file.path.clone(),
            snapshot: committed.name.to_string(),
            host: self.ambient.host.clone(),
            reader: env!("CARGO_PKG_VERSION").into(),
            stamp: file.stamp.encode(),
            facts: minicbor::to_vec(&file.facts).unwrap_or_else(|_| unreachable!("memory does not fail to be written")),
        };
        let rows: Vec<SeenRow> = files.iter().filter(|file| file.stamp.is_settled(begin)).map(row).collect();
        lock(&self.catalog).set_seen(&committed.name.tag.to_string(), &rows)
    }
}

impl Intake<'_> {
    /// Whether every chunk of a recipe, lists and bases included, is known to this session.
    pub fn knows(&self, recipe: &[Part]) -> Result<bool, RepositoryError> {
        let reader = ChunkReader::of_lists(self.session.repository);
        for stream in recipe.iter().flat_map(|part| part.streams.values()) {
            let (mut all, mut ids) = (true, Vec::with_capacity(BATCH));
            let walked = walk(&reader, stream, &mut |_, entry| {
                ids.push(entry.id);
                if ids.len() == BATCH {
                    all &= self.know_all(&mut ids)?;
                }
                Ok(())
            });
            match walked {
                Ok(()) if all && self.know_all(&mut ids)? => {}
                Ok(()) => return Ok(false),
                Err(error) if error.is_damage() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn know_all(&self, ids: &mut Vec<ChunkId>) -> Result<bool, RepositoryError> {
        self.go_on()?;
        let known = lock(&self.session.repository.catalog).all_known(ids);
        ids.clear();
        known
    }
}
