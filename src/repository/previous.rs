//! The previous version of a file, walked beside the new one: which chunks were at the place of a changed chunk.

use std::collections::VecDeque;
use std::ops::Range;

use super::chunk_reader::ChunkReader;
use super::error::RepositoryError;
use super::lists::{ListChunk, Lists};
use crate::format::ChunkId;
use crate::format::list::ListEntry;
use crate::format::recipe::{Part, Stream};

/// Chunks of the previous version that are looked at on either side of the expected place.
const VIEW: usize = 128;
/// Two ends, or lengths, are about the same where they are at most one part in so many of a chunk apart.
const ALIGNED: u64 = 32;
/// A chunk that is about as long is the same one where it begins at most one part in so many of its length from its place.
const BESIDE: u64 = 4;
/// Chunks that are kept in view at the most, where what is next may stand anywhere.
const ALL: usize = 1 << 17;
/// List chunks of it that are remembered: a list chunk is put up to 512 entries behind the place, the view reaches 256
/// beyond it, and a list chunk has 32 entries at least.
const LISTS: usize = 32;

/// The chunks of a file's previous version. Unchanged chunks say where in it the new version is; between them, places
/// follow from lengths, and from where chunks end. Memory: [`VIEW`] list entries twice, [`LISTS`] more, and a list chunk for each
/// level; where what is next may stand anywhere, 64 bytes for each of at most [`ALL`] chunks.
pub(super) struct Previous {
    /// Streams of plain content that were not begun, and their places in the previous version.
    streams: VecDeque<(u64, Stream)>,
    lists: Option<Lists>,
    view: VecDeque<Old>,
    /// Chunks of the lowest list that were read last, and the stretch that each names.
    list_chunks: VecDeque<(ListEntry, Range<u64>)>,
    /// Bytes of the previous version up to the end of the view.
    read: u64,
    /// What is to be added to a place in the new version for its place in the previous one.
    shift: i64,
    /// Whether what is next may stand anywhere in it ([`Previous::jump`]): all of it stays in view.
    keeps: bool,
}

struct Old {
    entry: ListEntry,
    begin: u64,
}

impl Old {
    fn end(&self) -> u64 {
        self.begin + u64::from(self.entry.length)
    }

    fn place(&self) -> Range<u64> {
        self.begin..self.end()
    }
}

/// Of what lies at some places, the one that fills most of a stretch, and a second one where it fills an eighth, in order.
fn beside<'e>(those: impl Iterator<Item = (&'e ListEntry, Range<u64>)>, begin: u64, end: u64) -> Vec<ListEntry> {
    let overlap = |place: &Range<u64>| place.end.min(end).saturating_sub(place.start.max(begin));
    let reaching = those.map(|(entry, place)| (overlap(&place), place.start, entry));
    let mut reaching: Vec<(u64, u64, &ListEntry)> = reaching.filter(|(overlap, ..)| *overlap > 0).collect();
    reaching.sort_by_key(|(overlap, ..)| std::cmp::Reverse(*overlap));
    reaching.truncate(2);
    if reaching.last().is_some_and(|(overlap, ..)| reaching.len() == 2 && overlap * 8 < end - begin) {
        reaching.pop();
    }
    reaching.sort_by_key(|(_, begin, _)| *begin);
    reaching.into_iter().map(|(.., entry)| entry.clone()).collect()
}

impl Previous {
    /// The version that these parts rebuild, from the first one's begin. A part in another form than plain content
    /// offers nothing.
    pub fn new(parts: &[Part]) -> Previous {
        let (mut streams, mut begin) = (VecDeque::new(), 0u64);
        for part in parts {
            streams.extend(part.content().ok().map(|stream| (begin, stream.clone())));
            begin = begin.saturating_add(part.length);
        }
        let (view, list_chunks) = (VecDeque::new(), VecDeque::new());
        Previous { streams, lists: None, view, list_chunks, read: 0, shift: 0, keeps: false }
    }

    /// What is at `begin` of the new version is expected to be what was at `place` of this one; `None`: nothing of it. To be
    /// called before anything is passed where it is called at all.
    pub fn jump(&mut self, begin: u64, place: Option<u64>) {
        self.keeps = true;
        self.shift = place.map_or(i64::MAX, |place| (place as i64).saturating_sub(begin as i64));
    }

    /// Whether some of it was read already.
    pub fn is_walked(&self) -> bool {
        self.lists.is_some()
    }

    /// Passes a chunk of the new version, in order; the first ones may be left out where nothing changed. For one that is not in view of the expected place, answers with the
    /// one or two chunks that were there, in order.
    pub fn pass(
        &mut self,
        reader: &ChunkReader<'_>,
        id: ChunkId,
        begin: u64,
        length: usize,
    ) -> Result<Vec<ListEntry>, RepositoryError> {
        let begin_there = begin.saturating_add_signed(self.shift);
        self.look(reader, begin_there)?;
        let same = self.near(begin_there).filter(|old| old.entry.id == id);
        if let Some(old) = same.min_by_key(|old| old.begin.abs_diff(begin_there)) {
            self.shift = old.begin as i64 - begin as i64;
            return Ok(Vec::new());
        }
        let end_there = begin_there.saturating_add(length as u64);
        let beside = self.beside(begin_there, end_there);
        self.align(begin_there, end_there);
        Ok(beside)
    }

    /// What a changed chunk tells of the place of the next one, so that changes in each chunk of a long stretch do not add up:
    /// it is one that begins near by and is about as long, or its end is an end near by.
    fn align(&mut self, begin: u64, end: u64) {
        let (length, near) = (end - begin, (end - begin) / ALIGNED);
        let same = |old: &&Old| {
            old.begin.abs_diff(begin) <= length / BESIDE && u64::from(old.entry.length).abs_diff(length) <= near
        };
        let begins = self.near(begin).filter(same).min_by_key(|old| old.begin.abs_diff(begin));
        let is_end = |old: &&Old| old.end().abs_diff(end) <= near;
        let ends = || self.near(end).filter(is_end).min_by_key(|old| old.end().abs_diff(end));
        if let Some(there) = begins.or_else(ends).map(Old::end) {
            self.shift = self.shift.saturating_add(there as i64 - end as i64);
        }
    }

    fn beside(&self, begin: u64, end: u64) -> Vec<ListEntry> {
        beside(self.near(begin).map(|old| (&old.entry, old.place())), begin, end)
    }

    /// What is in view around a place.
    fn near(&self, place: u64) -> impl Iterator<Item = &Old> {
        let before = self.view.partition_point(|old| old.end() <= place);
        self.view.range(before.saturating_sub(VIEW)..self.view.len().min(before + 2 * VIEW))
    }

    /// The one or two list chunks that named what was there between two places of the new version; none of a version that
    /// was not walked so far, or too far.
    pub fn lists_beside(&self, begin: u64, end: u64) -> Vec<ListEntry> {
        let (begin, end) = (begin.saturating_add_signed(self.shift), end.saturating_add_signed(self.shift));
        beside(self.list_chunks.iter().map(|(entry, place)| (entry, place.clone())), begin, end)
    }

    /// Brings the chunks around a place into view.
    fn look(&mut self, reader: &ChunkReader<'_>, place: u64) -> Result<(), RepositoryError> {
        loop {
            if !self.keeps {
                let before = self.view.partition_point(|old| old.end() <= place);
                self.view.drain(..before.saturating_sub(VIEW));
            }
            if self.view.len() >= if self.keeps { ALL } else { 2 * VIEW } {
                return Ok(());
            }
            match self.next(reader) {
                Ok(Some(entry)) => {
                    let begin = self.read;
                    self.read = begin.saturating_add(u64::from(entry.length));
                    self.view.push_back(Old { entry, begin });
                }
                Ok(None) => return Ok(()),
                // A previous version that cannot be read any more offers nothing further; check tells why.
                Err(error) if error.is_damage() => self.streams.clear(),
                Err(error) => return Err(error),
            }
        }
    }

    fn next(&mut self, reader: &ChunkReader<'_>) -> Result<Option<ListEntry>, RepositoryError> {
        loop {
            if let Some(mut lists) = self.lists.take() {
                let (list_chunks, keeps, begin) = (&mut self.list_chunks, self.keeps, self.read);
                let mut read = |list: ListChunk<'_>| {
                    if list.is_lowest {
                        remember(list_chunks, if keeps { ALL } else { LISTS }, list.entry, begin);
                    }
                    reader.chunk(&list.entry.id, list.entry.length).map(Some)
                };
                if let Some(entry) = lists.next(&mut read)? {
                    self.lists = Some(lists);
                    return Ok(Some(entry));
                }
            }
            let Some((begin, stream)) = self.streams.pop_front() else { return Ok(None) };
            self.read = begin;
            self.lists = Some(Lists::new(&stream)?);
        }
    }
}

/// A chunk of the lowest list, which names what is from here on; of so many at the most.
fn remember(list_chunks: &mut VecDeque<(ListEntry, Range<u64>)>, most: usize, entry: &ListEntry, begin: u64) {
    if let Some((_, place)) = list_chunks.back_mut() {
        place.end = begin;
    }
    list_chunks.push_back((entry.clone(), begin..u64::MAX));
    if list_chunks.len() > most {
        list_chunks.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8, length: u32) -> ListEntry {
        ListEntry { id: ChunkId([number; 16]), length, label: None }
    }

    fn previous(lengths: &[u32]) -> Previous {
        let mut previous = Previous::new(&[]);
        for (number, length) in (0..).zip(lengths) {
            let begin = previous.read;
            previous.read += u64::from(*length);
            previous.view.push_back(Old { entry: entry(number, *length), begin });
        }
        previous
    }

    fn ids(entries: &[ListEntry]) -> Vec<u8> {
        entries.iter().map(|entry| entry.id.0[0]).collect()
    }

    #[test]
    fn a_part_in_another_form_offers_nothing_and_keeps_its_place() {
        let content = |length| Part::opaque(Stream { length, levels: 0, top: Vec::new(), labelled: None });
        let canonical = Part { method: 1, ..content(500) };
        let previous = Previous::new(&[content(20), canonical, content(30), content(7)]);
        let places: Vec<_> = previous.streams.iter().map(|(begin, stream)| (*begin, stream.length)).collect();
        assert_eq!(places, [(0, 20), (520, 30), (550, 7)]);
    }

    #[test]
    fn the_list_chunks_that_named_a_stretch_are_remembered_for_a_while() {
        let mut previous = previous(&[]);
        assert!(previous.lists_beside(0, 100).is_empty());
        for number in 0..40 {
            remember(&mut previous.list_chunks, LISTS, &entry(number, 9), u64::from(number) * 100);
        }
        assert_eq!(ids(&previous.lists_beside(1_000, 1_100)), [10]);
        assert_eq!(ids(&previous.lists_beside(1_060, 1_180)), [10, 11]);
        previous.shift = 100;
        assert_eq!(ids(&previous.lists_beside(1_000, 1_100)), [11]);
        // The last one reaches as far as is known; the first ones are forgotten.
        assert_eq!(ids(&previous.lists_beside(5_000, 5_100)), [39]);
        assert!(previous.lists_beside(300, 400).is_empty());
    }

    /// DELTA-6
    #[test]
    fn what_each_chunk_becomes_shorter_by_does_not_add_up() {
        let mut previous = previous(&[3200; 200]);
        let mut begin = 0u64;
        for number in 0..150u8 {
            let place = begin.saturating_add_signed(previous.shift);
            assert_eq!(ids(&previous.beside(place, place + 3120)), [number], "{number}");
            previous.align(place, place + 3120);
            begin += 3120;
        }
        let mut shift_after = |begin: u64, end: u64| {
            previous.shift = 0;
            previous.align(begin, end);
            previous.shift
        };
        // It was lost by as much as a quarter of a chunk, and is found by the length; or by the end, where another cut begins it.
        assert_eq!([shift_after(32_750, 35_950), shift_after(32_810, 36_010)], [-750, 0]);
        assert_eq!([shift_after(33_000, 38_300), shift_after(33_000, 37_000)], [100, 0]);
    }

    #[test]
    fn what_is_expected_elsewhere_is_looked_for_there() {
        let mut previous = previous(&[100; 200]);
        previous.jump(5_000, Some(300));
        assert_eq!(ids(&previous.beside(5_000u64.saturating_add_signed(previous.shift), 400)), [3]);
        previous.jump(100, Some(19_000));
        assert_eq!(ids(&previous.beside(100u64.saturating_add_signed(previous.shift), 19_100)), [190]);
        previous.jump(100, None);
        let nowhere = 100u64.saturating_add_signed(previous.shift);
        assert!(previous.beside(nowhere, nowhere + 100).is_empty());
    }

    #[test]
    fn the_one_or_two_chunks_that_fill_most_of_a_stretch_are_offered_in_order() {
        let previous = previous(&[100, 100, 100, 100]);
        assert_eq!(ids(&previous.beside(100, 200)), [1]);
        assert_eq!(ids(&previous.beside(95, 200)), [1]);
        assert_eq!(ids(&previous.beside(180, 350)), [2, 3]);
        assert_eq!(ids(&previous.beside(150, 280)), [1, 2]);
        assert_eq!(ids(&previous.beside(20, 390)), [1, 2]);
        assert!(previous.beside(400, 500).is_empty());
    }
}
