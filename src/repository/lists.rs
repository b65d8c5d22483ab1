//! The lists of a stream, walked from the top list down to the entries that name its content. Layout:
//! format-spec/09-recipes.md.

use std::collections::VecDeque;

use super::error::RepositoryError;
use crate::format::Malformed;
use crate::format::list::{ListEntry, decode_below, decode_list};
use crate::format::recipe::Stream;

/// A walk along the lowest list of a stream. Memory: the entries of a list chunk for each level, and of the top list.
pub(super) struct Lists {
    /// Entries that were read and not passed yet, highest level first.
    levels: Vec<VecDeque<ListEntry>>,
}

/// A list chunk that is about to be read.
pub(super) struct ListChunk<'a> {
    /// The entry that names it.
    pub entry: &'a ListEntry,
    /// Whether it is one of the lowest list: what it names is content.
    pub is_lowest: bool,
}

/// Gives the bytes of a list chunk, or nothing where what it holds is to be passed over.
pub(super) type ReadList<'r> = dyn FnMut(ListChunk<'_>) -> Result<Option<Vec<u8>>, RepositoryError> + 'r;

impl Lists {
    /// At the begin of a stream.
    pub fn new(stream: &Stream) -> Result<Lists, RepositoryError> {
        let mut levels: Vec<VecDeque<ListEntry>> = (0..=stream.levels).map(|_| VecDeque::new()).collect();
        if let Some(highest) = levels.first_mut() {
            highest.extend(decode_list(&stream.top, stream.has_labels()).map_err(damaged)?);
        }
        Ok(Lists { levels })
    }

    /// The next entry of the lowest list.
    pub fn next(&mut self, read: &mut ReadList<'_>) -> Result<Option<ListEntry>, RepositoryError> {
        loop {
            if let Some(entry) = self.levels.last_mut().and_then(VecDeque::pop_front) {
                return Ok(Some(entry));
            }
            let Some((level, entry)) = self.next_list() else { return Ok(None) };
            let is_lowest = level + 2 == self.levels.len();
            if let Some(bytes) = read(ListChunk { entry: &entry, is_lowest })?
                && let Some(below) = self.levels.get_mut(level + 1)
            {
                below.extend(decode_below(&entry, &bytes).map_err(damaged)?);
            }
        }
    }

    /// Passes over what stands before the last entry whose label is below `label`, or before the first entry. To be asked
    /// at the begin, of a labelled stream.
    ///
    /// What is sought may begin in the entry before it: keys longer than labels share one.
    pub fn seek(&mut self, label: &[u8], read: &mut ReadList<'_>) -> Result<(), RepositoryError> {
        let lowest = self.levels.len().saturating_sub(1);
        for level in 0..=lowest {
            let Some(entries) = self.levels.get_mut(level) else { break };
            let below = entries.partition_point(|entry| entry.label.as_deref().is_some_and(|found| found < label));
            entries.drain(..below.saturating_sub(1));
            if level < lowest
                && let Some(entry) = entries.pop_front()
                && let Some(bytes) = read(ListChunk { entry: &entry, is_lowest: level + 1 == lowest })?
                && let Some(under) = self.levels.get_mut(level + 1)
            {
                under.extend(decode_below(&entry, &bytes).map_err(damaged)?);
            }
        }
        Ok(())
    }

    /// The next list chunk, of the lowest level that has one, and the level that names it.
    fn next_list(&mut self) -> Option<(usize, ListEntry)> {
        let upper = self.levels.len().saturating_sub(1);
        (0..upper).rev().find_map(|level| Some((level, self.levels.get_mut(level)?.pop_front()?)))
    }
}

fn damaged(malformed: Malformed) -> RepositoryError {
    RepositoryError::damaged("a list of chunks", malformed)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashMap;

    use super::*;
    use crate::format::ChunkId;
    use crate::format::list::{ListCutter, ListEnd};

    /// Labels are numbers; every tenth entry has that of the one before.
    fn label(number: u32) -> Vec<u8> {
        (number - u32::from(number % 10 == 9)).to_be_bytes().to_vec()
    }

    /// The lists of so many entries.
    fn lists(count: u32) -> (Stream, HashMap<ChunkId, Vec<u8>>) {
        let id = |bytes: &[u8]| ChunkId(*blake3::hash(bytes).as_bytes().first_chunk().unwrap());
        let entry = |number: u32| ListEntry { id: id(&number.to_le_bytes()), length: 1, label: Some(label(number)) };
        let (mut level, mut levels, mut chunks) = ((0..count).map(entry).collect::<Vec<_>>(), 0, HashMap::new());
        loop {
            let mut cutter = ListCutter::default();
            let mut pieces: Vec<_> = level.iter().flat_map(|entry| cutter.push(entry)).collect();
            match cutter.finish() {
                ListEnd::Top(top) => {
                    let stream = Stream { length: u64::from(count), levels, top, labelled: Some(true) };
                    return (stream, chunks);
                }
                ListEnd::Pieces(last) => pieces.extend(last),
            }
            let above = pieces.into_iter().map(|piece| {
                let entry = ListEntry { id: id(&piece.bytes), length: piece.bytes.len() as u32, label: piece.label };
                chunks.insert(entry.id, piece.bytes);
                entry
            });
            level = above.collect();
            levels += 1;
        }
    }

    #[test]
    fn a_label_is_sought_with_one_read_a_level_and_found_from_the_entry_before_it_on() {
        let (stream, chunks) = lists(30_000);
        assert_eq!(stream.levels, 2);
        for sought in [0, 1, 2, 99, 100, 4_999, 15_000, 29_998, 29_999, 30_001, u32::MAX] {
            let reads = Cell::new(0);
            let mut read = |list: ListChunk<'_>| {
                reads.set(reads.get() + 1);
                Ok(chunks.get(&list.entry.id).cloned())
            };
            let mut lists = Lists::new(&stream).unwrap();
            lists.seek(&sought.to_be_bytes(), &mut read).unwrap();
            let first = lists.next(&mut read).unwrap().unwrap().label.unwrap();
            assert_eq!(reads.get(), 2, "{sought}");
            let below = (0..30_000).filter(|number| label(*number) < sought.to_be_bytes().to_vec()).count();
            let place = below.saturating_sub(1) as u32;
            assert_eq!(first, label(place), "{sought}: the last of those below");
            let mut left = 0;
            while lists.next(&mut read).unwrap().is_some() {
                left += 1;
            }
            assert_eq!(left, 29_999 - place, "{sought}");
        }
    }
}
