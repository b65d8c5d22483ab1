//! Streams: content in as chunks and lists of chunks, and their lists out again. Rules: format-spec/09-recipes.md.

use super::Repository;
use super::chunk_reader::ChunkReader;
use super::error::RepositoryError;
use super::intake::Intake;
use super::previous::Previous;
use crate::chunker::Chunker;
use crate::format::limits::{LEVELS_MAX, LIST_INLINE_MAX};
use crate::format::recipe::{ListDecoder, ListEntry, Part, Stream};
use crate::format::{ChunkId, Malformed};

/// Cuts a stream of content into chunks, and its list into chunks of lists. Memory: 1 MiB and the largest chunk, and
/// about 32 KiB for each level of lists.
pub struct StreamWriter {
    files: Chunker,
    lists: Chunker,
    buffer: Vec<u8>,
    length: u64,
    /// Bytes that were cut into chunks.
    cut: u64,
    levels: Vec<Level>,
    previous: Previous,
}

/// A list that is being written: its last bytes, and whether some went into chunks already.
#[derive(Default)]
struct Level {
    pending: Vec<u8>,
    cut: bool,
}

/// Content gathered before it is cut; more makes fewer moves of the uncut rest.
const BUFFER: usize = 1 << 20;

impl StreamWriter {
    /// An empty stream.
    pub fn new(repository: &Repository) -> StreamWriter {
        StreamWriter {
            files: repository.file_chunker(),
            lists: repository.list_chunker(),
            buffer: Vec::new(),
            length: 0,
            cut: 0,
            levels: vec![Level::default()],
            previous: Previous::new(&[]),
        }
    }

    /// An empty stream of content that is expected to resemble an earlier version's: what changed is stored against it.
    pub fn after(repository: &Repository, previous: &[Part]) -> StreamWriter {
        StreamWriter { previous: Previous::new(previous), ..StreamWriter::new(repository) }
    }

    /// Appends content.
    pub fn write(&mut self, intake: &mut Intake<'_>, bytes: &[u8]) -> Result<(), RepositoryError> {
        self.buffer.extend_from_slice(bytes);
        self.length += bytes.len() as u64;
        match self.buffer.len() >= BUFFER + self.files.max() {
            true => self.cut_content(intake, self.files.max()),
            false => Ok(()),
        }
    }

    /// Cuts chunks off the buffer while at least `least` bytes are in it.
    fn cut_content(&mut self, intake: &mut Intake<'_>, least: usize) -> Result<(), RepositoryError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..];
        while !rest.is_empty() && rest.len() >= least {
            let (chunk, after) = rest.split_at(self.files.cut(rest));
            let id = intake.name(chunk);
            let is_new = intake.takes(id, chunk)?;
            // Up to its first new chunk the file is its previous version, whose lists need not be read for that.
            let old = match is_new || self.previous.is_walked() {
                true => self.previous.pass(intake.reader, id, self.cut, chunk.len())?,
                false => Vec::new(),
            };
            if is_new {
                intake.put_content(id, chunk, &old)?;
            }
            self.cut += chunk.len() as u64;
            self.add_entry(intake, 0, id, chunk.len())?;
            rest = after;
        }
        let done = buffer.len() - rest.len();
        buffer.drain(..done);
        self.buffer = buffer;
        Ok(())
    }

    fn add_entry(
        &mut self,
        intake: &mut Intake<'_>,
        level: usize,
        id: ChunkId,
        length: usize,
    ) -> Result<(), RepositoryError> {
        if self.levels.len() == level {
            self.levels.push(Level::default());
        }
        let Some(list) = self.levels.get_mut(level) else { unreachable!("levels grow one at a time") };
        ListEntry { id, length: length as u32, label: None }.encode(&mut list.pending);
        // Above both sizes it will not fit inline any more, and the first cut does not depend on what follows.
        match list.pending.len() >= LIST_INLINE_MAX + self.lists.max() {
            true => self.cut_list(intake, level, self.lists.max()),
            false => Ok(()),
        }
    }

    fn cut_list(&mut self, intake: &mut Intake<'_>, level: usize, least: usize) -> Result<(), RepositoryError> {
        let Some(list) = self.levels.get_mut(level) else { return Ok(()) };
        list.cut = true;
        let pending = std::mem::take(&mut list.pending);
        let mut rest = &pending[..];
        while !rest.is_empty() && rest.len() >= least {
            let (chunk, after) = rest.split_at(self.lists.cut(rest));
            let id = intake.put_list(chunk)?;
            self.add_entry(intake, level + 1, id, chunk.len())?;
            rest = after;
        }
        if let Some(list) = self.levels.get_mut(level) {
            list.pending = rest.to_vec();
        }
        Ok(())
    }

    /// Ends the stream.
    ///
    /// STREAM-1: lists that do not fit inline become chunks of the level above, up to LEVELS_MAX.
    pub fn finish(mut self, intake: &mut Intake<'_>) -> Result<Stream, RepositoryError> {
        self.cut_content(intake, 0)?;
        let mut level = 0;
        loop {
            let Some(list) = self.levels.get_mut(level) else { unreachable!("the level below has cut into it") };
            if !list.cut && list.pending.len() <= LIST_INLINE_MAX {
                let top = std::mem::take(&mut list.pending);
                let levels = u8::try_from(level).ok().filter(|levels| *levels <= LEVELS_MAX);
                let levels = levels.ok_or_else(|| RepositoryError::Limit("a file too long for its lists".into()))?;
                return Ok(Stream { length: self.length, levels, top, labelled: None });
            }
            self.cut_list(intake, level, 0)?;
            level += 1;
        }
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
    let mut sum = 0u64;
    walk_list(reader, stream, &mut |is_list, entry| {
        if !is_list {
            sum += u64::from(entry.length);
        }
        match sum > stream.length {
            true => Err(does_not_add_up(stream, sum)),
            false => each(is_list, entry),
        }
    })?;
    match sum == stream.length {
        true => Ok(()),
        false => Err(does_not_add_up(stream, sum)),
    }
}

fn does_not_add_up(stream: &Stream, sum: u64) -> RepositoryError {
    let why = format!("its chunks add up to {sum} bytes of {}", stream.length);
    RepositoryError::damaged("a list of chunks", Malformed::new("stream", why))
}

fn walk_list(
    reader: &ChunkReader<'_>,
    stream: &Stream,
    each: &mut dyn FnMut(bool, ListEntry) -> Result<(), RepositoryError>,
) -> Result<(), RepositoryError> {
    // One decoder for each level, highest first; the lowest level's entries are the content.
    let mut decoders: Vec<ListDecoder> =
        (0..=stream.levels).rev().map(|level| ListDecoder::new(stream.has_labels(level))).collect();
    push(reader, &mut decoders, &stream.top, each)?;
    let malformed = |error: Malformed| RepositoryError::damaged("a list of chunks", error);
    decoders.into_iter().try_for_each(|decoder| decoder.finish().map_err(malformed))
}

fn push(
    reader: &ChunkReader<'_>,
    decoders: &mut [ListDecoder],
    piece: &[u8],
    each: &mut dyn FnMut(bool, ListEntry) -> Result<(), RepositoryError>,
) -> Result<(), RepositoryError> {
    let Some((decoder, below)) = decoders.split_first_mut() else { return Ok(()) };
    let mut entries = Vec::new();
    decoder.push(piece, &mut entries).map_err(|error| RepositoryError::damaged("a list of chunks", error))?;
    for entry in entries {
        if below.is_empty() {
            each(false, entry)?;
            continue;
        }
        each(true, entry.clone())?;
        let bytes = reader.chunk(&entry.id, entry.length)?;
        push(reader, below, &bytes, each)?;
    }
    Ok(())
}
