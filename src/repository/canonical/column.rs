//! A stream that is read along with others: as much of it at a time as is asked for.

use crate::format::list::ListEntry;
use crate::format::recipe::Stream;
use crate::format::{Malformed, Reader};
use crate::repository::chunk_reader::ChunkReader;
use crate::repository::error::RepositoryError;
use crate::repository::lists::Lists;

/// The longest canonical value, event or order.
pub(super) const LARGE_LONGEST: u64 = 65 << 20;
/// The most bytes of a varint.
pub(super) const VARINT: usize = 10;
/// Content that is read at once of a column.
const WINDOW: usize = 1 << 20;
/// The same of a wide one: more than one chunk, so that all cores have some.
const WIDE: usize = 4 << 20;

/// Chunks of a stream in order. Memory: a list chunk for each level; what is read at once.
pub(super) struct Chunks<'r> {
    reader: &'r ChunkReader<'r>,
    lists: Lists,
    /// Bytes there should still be.
    left: u64,
}

impl<'r> Chunks<'r> {
    pub fn new(reader: &'r ChunkReader<'r>, stream: &Stream) -> Result<Chunks<'r>, RepositoryError> {
        Ok(Chunks { reader, lists: Lists::new(stream)?, left: stream.length })
    }

    /// The next entries, of so many bytes together or a few more; none at the end.
    ///
    /// Their lengths add up to the stream's, as everywhere (format-spec/09-recipes.md).
    pub fn entries(&mut self, bytes: usize) -> Result<Vec<ListEntry>, RepositoryError> {
        let (reader, mut entries, mut sum) = (self.reader, Vec::new(), 0);
        while sum < bytes {
            let next = self.lists.next(&mut |list| reader.chunk(&list.entry.id, list.entry.length).map(Some))?;
            let Some(entry) = next else { break };
            sum += entry.length as usize;
            entries.push(entry);
        }
        let does_not_add_up = || damaged("its chunks do not add up to its length");
        self.left = self.left.checked_sub(sum as u64).ok_or_else(does_not_add_up)?;
        match entries.is_empty() && self.left > 0 {
            true => Err(does_not_add_up()),
            false => Ok(entries),
        }
    }

    /// The chunks of these, decoded on all cores.
    pub fn next(&mut self, bytes: usize) -> Result<Vec<(ListEntry, Vec<u8>)>, RepositoryError> {
        let mut entries = self.entries(bytes)?;
        let mut chunks = Vec::with_capacity(entries.len());
        while !entries.is_empty() {
            let taken = self.reader.warm(entries.iter().map(|entry| entry.id))?;
            let rest = entries.split_off(taken.min(entries.len()));
            chunks.append(&mut self.reader.decode(entries)?);
            entries = rest;
        }
        Ok(chunks)
    }
}

/// The bytes of a stream in order. Memory: a MiB, or four of a wide one, and what is asked for at once.
pub(super) struct Column<'r> {
    chunks: Option<Chunks<'r>>,
    window: usize,
    buffer: Vec<u8>,
    at: usize,
}

impl<'r> Column<'r> {
    /// Of a stream; one that is not there is empty.
    pub fn new(reader: &'r ChunkReader<'r>, stream: Option<&Stream>) -> Result<Column<'r>, RepositoryError> {
        let chunks = stream.map(|stream| Chunks::new(reader, stream)).transpose()?;
        Ok(Column { chunks, window: WINDOW, buffer: Vec::new(), at: 0 })
    }

    /// The same of one that is long.
    pub fn wide(reader: &'r ChunkReader<'r>, stream: Option<&Stream>) -> Result<Column<'r>, RepositoryError> {
        Ok(Column { window: WIDE, ..Column::new(reader, stream)? })
    }

    /// The next bytes, `count` of them or a few more, fewer at the end only. They stay until they are passed.
    pub fn look(&mut self, count: usize) -> Result<&[u8], RepositoryError> {
        if count > self.buffer.capacity() {
            self.buffer.drain(..std::mem::take(&mut self.at));
            self.buffer.reserve_exact(count + 2 * self.window - self.buffer.len());
        }
        while self.buffer.len() - self.at < count
            && let Some(chunks) = &mut self.chunks
        {
            let next = chunks.next(self.window)?;
            if next.is_empty() {
                self.chunks = None;
            }
            self.buffer.drain(..std::mem::take(&mut self.at));
            next.iter().for_each(|(_, bytes)| self.buffer.extend_from_slice(bytes));
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }

    /// Passes bytes that were looked at.
    pub fn pass(&mut self, count: usize) {
        self.at = (self.at + count).min(self.buffer.len());
    }

    /// The next bytes, passed.
    pub fn take(&mut self, count: usize) -> Result<&[u8], RepositoryError> {
        self.look(count)?;
        let from = self.at;
        self.pass(count);
        let taken = self.buffer.get(from..self.at).unwrap_or_default();
        match taken.len() == count {
            true => Ok(taken),
            false => Err(damaged("a column ends early")),
        }
    }

    /// The next order of elements, with its length before it, passed.
    pub fn take_order(&mut self) -> Result<&[u8], RepositoryError> {
        let mut reader = Reader::new("order", self.look(VARINT)?);
        let whole = reader.remaining();
        let length = reader.varint().map_err(|malformed| damaged(malformed.to_string()))?;
        let head = whole - reader.remaining();
        let length = usize::try_from(length).ok().filter(|_| length <= LARGE_LONGEST);
        let length = length.ok_or_else(|| damaged("an order longer than any"))?;
        self.take(head + length)
    }

    /// That nothing is left.
    pub fn finish(mut self) -> Result<(), RepositoryError> {
        match self.look(1)?.is_empty() {
            true => Ok(()),
            false => Err(damaged("bytes are left in a column")),
        }
    }
}

/// What is wrong with a part.
pub(super) fn damaged(why: impl Into<String>) -> RepositoryError {
    RepositoryError::damaged("a dump in canonical form", Malformed::new("part", why))
}
