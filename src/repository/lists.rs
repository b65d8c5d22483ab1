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

    /// The next list chunk, of the lowest level that has one, and the level that names it.
    fn next_list(&mut self) -> Option<(usize, ListEntry)> {
        let upper = self.levels.len().saturating_sub(1);
        (0..upper).rev().find_map(|level| Some((level, self.levels.get_mut(level)?.pop_front()?)))
    }
}

fn damaged(malformed: Malformed) -> RepositoryError {
    RepositoryError::damaged("a list of chunks", malformed)
}
