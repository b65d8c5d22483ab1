//! Labelled streams: content that is found by label, as the records of a dump by their keys. Layout:
//! format-spec/09-recipes.md.

use super::chunk_reader::ChunkReader;
use super::error::RepositoryError;
use super::intake::Intake;
use super::list_writer::ListWriter;
use super::lists::Lists;
use crate::format::ChunkId;
use crate::format::limits::LABEL_MAX;
use crate::format::list::ListEntry;
use crate::format::recipe::Stream;
use crate::format::summary::Holds;

/// Writes a labelled stream, whose chunks the caller cuts. Memory: about 16 KiB for each level of lists, and a label.
pub struct LabelledWriter {
    holds: Holds,
    lists: ListWriter,
    length: u64,
    last: Vec<u8>,
}

impl LabelledWriter {
    /// An empty stream of content of that kind.
    pub fn new(holds: Holds) -> LabelledWriter {
        LabelledWriter { holds, lists: ListWriter::new(), length: 0, last: Vec::new() }
    }

    /// Appends a chunk, of which `label` is the label; where the repository does not know it, it is stored against
    /// `bases` (one or two, as [`LabelledReader::within`] gives them; none: whole) if that is worth it.
    ///
    /// Labels do not go down, and are at most LABEL_MAX bytes.
    pub fn put(
        &mut self,
        intake: &mut Intake<'_>,
        chunk: &[u8],
        label: Vec<u8>,
        bases: &[ListEntry],
    ) -> Result<(), RepositoryError> {
        let id = intake.name(chunk);
        self.put_named(intake, id, chunk, label, bases, None)
    }

    /// The same for who named the chunk, and may have it as a delta of copies of its bases, tried out.
    pub(super) fn put_named(
        &mut self,
        intake: &mut Intake<'_>,
        id: ChunkId,
        chunk: &[u8],
        label: Vec<u8>,
        bases: &[ListEntry],
        copies: Option<Vec<u8>>,
    ) -> Result<(), RepositoryError> {
        if intake.takes(id)? {
            match copies {
                Some(copies) => intake.put_copies(self.holds, id, chunk, bases, copies)?,
                None => intake.put_content(self.holds, id, chunk, bases)?,
            }
        }
        self.add(intake, ListEntry { id, length: chunk.len() as u32, label: Some(label) })
    }

    /// Appends a chunk that the repository is known to have.
    pub(super) fn add(&mut self, intake: &mut Intake<'_>, entry: ListEntry) -> Result<(), RepositoryError> {
        let label = entry.label.as_deref().unwrap_or_default();
        if label.len() as u64 > LABEL_MAX || label < &self.last[..] {
            return Err(RepositoryError::Limit("a label that is too long, or below the one before".into()));
        }
        self.length += u64::from(entry.length);
        self.last.clear();
        self.last.extend_from_slice(label);
        self.lists.add(intake, &entry)
    }

    /// Ends the stream.
    pub fn finish(self, intake: &mut Intake<'_>) -> Result<Stream, RepositoryError> {
        self.lists.finish(intake, self.length, Some(true))
    }
}

/// Reads the list of a labelled stream from a label on. Memory: the entries of a list chunk for each level.
pub struct LabelledReader<'r> {
    reader: &'r ChunkReader<'r>,
    lists: Lists,
    /// The entry before the next one, which may reach beyond it.
    current: Option<ListEntry>,
    next: Option<ListEntry>,
}

impl<'r> LabelledReader<'r> {
    /// From the last entry on whose label is below this one, or from the first entry: what is sought begins there. One
    /// list chunk a level is read.
    pub fn at(
        reader: &'r ChunkReader<'r>,
        stream: &Stream,
        label: &[u8],
    ) -> Result<LabelledReader<'r>, RepositoryError> {
        let mut lists = Lists::new(stream)?;
        lists.seek(label, &mut |list| reader.chunk(&list.entry.id, list.entry.length).map(Some))?;
        let mut labelled = LabelledReader { reader, lists, current: None, next: None };
        labelled.next = labelled.read()?;
        Ok(labelled)
    }

    fn read(&mut self) -> Result<Option<ListEntry>, RepositoryError> {
        let reader = self.reader;
        self.lists.next(&mut |list| reader.chunk(&list.entry.id, list.entry.length).map(Some))
    }

    /// The next entry.
    pub fn next_entry(&mut self) -> Result<Option<ListEntry>, RepositoryError> {
        let next = self.read()?;
        self.current = std::mem::replace(&mut self.next, next);
        Ok(self.current.clone())
    }

    /// The one or two chunks that hold most of what stands from `begin` up to `end` (without it; `None`: up to the end of
    /// the stream), in order; of more than two the longest. Ask in the order of the labels.
    pub fn within(&mut self, begin: &[u8], end: Option<&[u8]>) -> Result<Vec<ListEntry>, RepositoryError> {
        let is_below = |entry: &ListEntry, bound: &[u8]| entry.label.as_deref().is_some_and(|label| label < bound);
        while self.next.as_ref().is_some_and(|next| is_below(next, begin)) {
            self.next_entry()?;
        }
        let mut found: Vec<ListEntry> = self.current.iter().cloned().collect();
        // Equal labels: both begin here, and what was before ended here.
        if self.next.as_ref().and_then(|next| next.label.as_deref()) == Some(begin) {
            found.clear();
        }
        while self.next.as_ref().is_some_and(|next| end.is_none_or(|end| is_below(next, end))) {
            found.extend(self.next_entry()?);
        }
        while found.len() > 2 {
            let shortest = found.iter().enumerate().min_by_key(|(_, entry)| entry.length).map(|(place, _)| place);
            found.remove(shortest.unwrap_or_default());
        }
        Ok(found)
    }
}
