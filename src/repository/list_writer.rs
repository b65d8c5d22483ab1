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
    /// Bytes of content that chunks of the lowest list name.
    named: u64,
}

/// The one or two list chunks that named what was in the previous version between two places of the new one.
pub(super) type OldLists<'o> = dyn Fn(u64, u64) -> Vec<ListEntry> + 'o;

fn no_old_lists(_: u64, _: u64) -> Vec<ListEntry> {
    Vec::new()
}

impl ListWriter {
    /// Of a stream without content.
    pub fn new() -> ListWriter {
        ListWriter { levels: vec![ListCutter::default()], named: 0 }
    }

    /// Appends an entry to the lowest list.
    pub fn add(&mut self, intake: &mut Intake<'_>, entry: &ListEntry) -> Result<(), RepositoryError> {
        self.add_at(intake, 0, entry, &no_old_lists)
    }

    /// The same in a stream that resembles an earlier one.
    pub fn add_after(
        &mut self,
        intake: &mut Intake<'_>,
        entry: &ListEntry,
        old: &OldLists<'_>,
    ) -> Result<(), RepositoryError> {
        self.add_at(intake, 0, entry, old)
    }

    fn add_at(
        &mut self,
        intake: &mut Intake<'_>,
        level: usize,
        entry: &ListEntry,
        old: &OldLists<'_>,
    ) -> Result<(), RepositoryError> {
        if self.levels.len() == level {
            self.levels.push(ListCutter::default());
        }
        let Some(list) = self.levels.get_mut(level) else { unreachable!("levels grow one at a time") };
        let pieces = list.push(entry);
        self.put_pieces(intake, level, pieces, old)
    }

    /// Stores pieces of a list as chunks, which the list above names. Above the lowest list nearly all of a chunk changes
    /// where anything below it does, and none is tried as a delta.
    fn put_pieces(
        &mut self,
        intake: &mut Intake<'_>,
        level: usize,
        pieces: Vec<ListPiece>,
        old: &OldLists<'_>,
    ) -> Result<(), RepositoryError> {
        pieces.into_iter().try_for_each(|ListPiece { bytes, label, length, .. }| {
            let mut there = Vec::new();
            if level == 0 {
                there = old(self.named, self.named + length);
                self.named += length;
            }
            let id = intake.put_list(&bytes, &there)?;
            self.add_at(intake, level + 1, &ListEntry { id, length: bytes.len() as u32, label }, old)
        })
    }

    /// The stream, of so many bytes of content.
    ///
    /// STREAM-1: lists that do not fit inline become chunks of the level above, up to LEVELS_MAX.
    pub fn finish(
        self,
        intake: &mut Intake<'_>,
        length: u64,
        labelled: Option<bool>,
    ) -> Result<Stream, RepositoryError> {
        self.finish_after(intake, length, labelled, &no_old_lists)
    }

    /// The same in a stream that resembles an earlier one.
    pub fn finish_after(
        mut self,
        intake: &mut Intake<'_>,
        length: u64,
        labelled: Option<bool>,
        old: &OldLists<'_>,
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
                ListEnd::Pieces(pieces) => self.put_pieces(intake, level, pieces, old)?,
            }
            level += 1;
        }
    }
}
