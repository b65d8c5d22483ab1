//! The lists of a stream as they are written: entries in, list chunks out, level by level. Layout: format-spec/09-recipes.md.

use super::error::RepositoryError;
use super::intake::Intake;
use crate::format::limits::LEVELS_MAX;
use crate::format::list::{ListCutter, ListEnd, ListEntry, ListPiece};
use crate::format::recipe::Stream;

/// Writes the lists of one stream. Memory: about 16 KiB for each level.
pub(super) struct ListWriter {
    /// Lists that are being written, the lowest first.
    levels: Vec<ListCutter>,
}

impl ListWriter {
    /// Of a stream without content.
    pub fn new() -> ListWriter {
        ListWriter { levels: vec![ListCutter::default()] }
    }

    /// Appends an entry to the lowest list.
    pub fn add(&mut self, intake: &mut Intake<'_>, entry: &ListEntry) -> Result<(), RepositoryError> {
        self.add_at(intake, 0, entry)
    }

    fn add_at(&mut self, intake: &mut Intake<'_>, level: usize, entry: &ListEntry) -> Result<(), RepositoryError> {
        if self.levels.len() == level {
            self.levels.push(ListCutter::default());
        }
        let Some(list) = self.levels.get_mut(level) else { unreachable!("levels grow one at a time") };
        let pieces = list.push(entry);
        self.put_pieces(intake, level, pieces)
    }

    /// Stores pieces of a list as chunks, which the list above names.
    fn put_pieces(
        &mut self,
        intake: &mut Intake<'_>,
        level: usize,
        pieces: Vec<ListPiece>,
    ) -> Result<(), RepositoryError> {
        pieces.into_iter().try_for_each(|ListPiece { bytes, label, .. }| {
            let id = intake.put_list(&bytes)?;
            self.add_at(intake, level + 1, &ListEntry { id, length: bytes.len() as u32, label })
        })
    }

    /// The stream, of so many bytes of content.
    ///
    /// STREAM-1: lists that do not fit inline become chunks of the level above, up to LEVELS_MAX.
    pub fn finish(
        mut self,
        intake: &mut Intake<'_>,
        length: u64,
        labelled: Option<bool>,
    ) -> Result<Stream, RepositoryError> {
        let mut level = 0;
        loop {
            let Some(list) = self.levels.get_mut(level) else { unreachable!("the level below has cut into it") };
            match std::mem::take(list).finish() {
                ListEnd::Top(top) => {
                    let levels = u8::try_from(level).ok().filter(|levels| *levels <= LEVELS_MAX);
                    let levels =
                        levels.ok_or_else(|| RepositoryError::Limit("a file too long for its lists".into()))?;
                    return Ok(Stream { length, levels, top, labelled });
                }
                ListEnd::Pieces(pieces) => self.put_pieces(intake, level, pieces)?,
            }
            level += 1;
        }
    }
}
