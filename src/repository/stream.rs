//! Streams: content in as chunks and lists of chunks, and their lists out again. Rules: format-spec/09-recipes.md.

use super::Repository;
use super::chunk_reader::ChunkReader;
use super::error::RepositoryError;
use super::intake::Intake;
use super::list_writer::ListWriter;
use super::lists::{ListChunk, Lists};
use super::previous::Previous;
use crate::chunker::{Chunker, cut_order};
use crate::format::Malformed;
use crate::format::list::ListEntry;
use crate::format::recipe::{Part, Stream};
use crate::format::summary::Holds;

/// Cuts a stream of content into chunks, and its list into chunks of lists. Memory: 1 MiB and the largest chunk, and
/// about 16 KiB for each level of lists.
pub struct StreamWriter {
    holds: Holds,
    files: Chunker,
    buffer: Vec<u8>,
    length: u64,
    /// Bytes that were cut into chunks.
    cut: u64,
    lists: ListWriter,
    previous: Previous,
}

/// Content gathered before it is cut; more makes fewer moves of the uncut rest.
const BUFFER: usize = 1 << 20;

impl StreamWriter {
    /// An empty stream.
    pub fn new(repository: &Repository) -> StreamWriter {
        StreamWriter {
            holds: Holds::Opaque,
            files: repository.file_chunker(),
            buffer: Vec::new(),
            length: 0,
            cut: 0,
            lists: ListWriter::new(),
            previous: Previous::new(&[]),
        }
    }

    /// An empty stream of content that is expected to resemble these parts of an earlier version: what changed is stored
    /// against them.
    pub fn after(repository: &Repository, previous: &[Part]) -> StreamWriter {
        StreamWriter { previous: Previous::new(previous), ..StreamWriter::new(repository) }
    }

    /// An empty stream of content of that kind, which is expected to resemble this one.
    pub(super) fn column(repository: &Repository, holds: Holds, previous: Option<&Stream>) -> StreamWriter {
        let previous = previous.map(|stream| Part::opaque(stream.clone()));
        StreamWriter { holds, previous: Previous::new(previous.as_slice()), ..StreamWriter::new(repository) }
    }

    /// What comes next, which begins a chunk, is expected to resemble what that stream has from a place on; `None`: nothing. Said
    /// of the first bytes, where it is said of any.
    pub(super) fn goes_on_like(&mut self, place: Option<u64>) {
        self.previous.jump(self.length, place);
    }

    /// Bytes that were written.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// What comes next begins a chunk.
    pub(super) fn cut_here(&mut self, intake: &mut Intake<'_>) -> Result<(), RepositoryError> {
        self.cut_content(intake, 0)
    }

    /// Appends content.
    pub fn write(&mut self, intake: &mut Intake<'_>, bytes: &[u8]) -> Result<(), RepositoryError> {
        self.buffer.extend_from_slice(bytes);
        self.length += bytes.len() as u64;
        let most = self.files.sizes().max;
        match self.buffer.len() >= BUFFER + most {
            true => self.cut_content(intake, most),
            false => Ok(()),
        }
    }

    /// Length of the first chunk of these bytes.
    fn cut(&self, bytes: &[u8]) -> usize {
        match self.holds {
            Holds::Order => cut_order(bytes, self.files.sizes()),
            _ => self.files.cut(bytes),
        }
    }

    /// Cuts chunks off the buffer while at least `least` bytes are in it.
    fn cut_content(&mut self, intake: &mut Intake<'_>, least: usize) -> Result<(), RepositoryError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..];
        while !rest.is_empty() && rest.len() >= least {
            let (chunk, after) = rest.split_at(self.cut(rest));
            let id = intake.name(chunk);
            let is_new = intake.takes(id)?;
            // Up to its first new chunk the file is its previous version, whose lists need not be read for that.
            let old = match is_new || self.previous.is_walked() {
                true => self.previous.pass(intake.reader, id, self.cut, chunk.len())?,
                false => Vec::new(),
            };
            if is_new {
                intake.put_content(self.holds, id, chunk, &old)?;
            }
            self.cut += chunk.len() as u64;
            let (entry, previous) = (ListEntry { id, length: chunk.len() as u32, label: None }, &self.previous);
            self.lists.add_after(intake, &entry, &|begin, end| previous.lists_beside(begin, end))?;
            rest = after;
        }
        let done = buffer.len() - rest.len();
        buffer.drain(..done);
        self.buffer = buffer;
        Ok(())
    }

    /// Ends the stream.
    pub fn finish(mut self, intake: &mut Intake<'_>) -> Result<Stream, RepositoryError> {
        self.cut_content(intake, 0)?;
        let previous = &self.previous;
        self.lists.finish_after(intake, self.length, None, &|begin, end| previous.lists_beside(begin, end))
    }
}

/// Calls `each` for every chunk a stream uses: its lists' own chunks (`true`) before the entries they hold.
///
/// STREAM-2: lengths are added up while they stream; memory is a list chunk for each level.
pub(super) fn walk(
    reader: &ChunkReader<'_>,
    stream: &Stream,
    each: &mut dyn FnMut(bool, ListEntry) -> Result<(), RepositoryError>,
) -> Result<(), RepositoryError> {
    let sum = walk_lists(reader, stream, each)?;
    match sum == stream.length {
        true => Ok(()),
        false => Err(does_not_add_up(stream, sum)),
    }
}

/// The same, and the sum of the lengths, which is not above the stream's.
fn walk_lists(
    reader: &ChunkReader<'_>,
    stream: &Stream,
    each: &mut dyn FnMut(bool, ListEntry) -> Result<(), RepositoryError>,
) -> Result<u64, RepositoryError> {
    let (mut sum, mut lists) = (0u64, Lists::new(stream)?);
    loop {
        let next = lists.next(&mut |ListChunk { entry, .. }| {
            each(true, entry.clone())?;
            reader.chunk(&entry.id, entry.length).map(Some)
        })?;
        let Some(entry) = next else { return Ok(sum) };
        sum += u64::from(entry.length);
        if sum > stream.length {
            return Err(does_not_add_up(stream, sum));
        }
        each(false, entry)?;
    }
}

fn does_not_add_up(stream: &Stream, sum: u64) -> RepositoryError {
    let why = format!("its chunks add up to {sum} bytes of {}", stream.length);
    RepositoryError::damaged("a list of chunks", Malformed::new("stream", why))
}
