//! Lists of chunks: what a stream is put together from. Layout: format-spec/09-recipes.md.

use super::ids::ChunkId;
use super::limits::{CHUNK_MAX, LABEL_MAX, LIST_INLINE_MAX};
use super::{Malformed, Reader, put_varint};

/// Entries a list chunk has at least, unless it is the last of its level.
const ENTRIES_LEAST: usize = 32;
/// Entries a list chunk has at most.
const ENTRIES_MOST: usize = 512;
/// Bits of an id that are all zero where a list is cut: about every 128th entry.
const BORDER: u16 = 0x7f;

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// The chunk: of content in the lowest list, of the next lower list in another.
    pub id: ChunkId,
    /// Bytes of its plaintext.
    pub length: u32,
    /// Where the list is labelled: the label of a bucket, or of the first entry below.
    pub label: Option<Vec<u8>>,
}

impl ListEntry {
    /// Appends the entry's bytes to a list.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0);
        put_varint(out, u64::from(self.length));
        if let Some(label) = &self.label {
            put_varint(out, label.len() as u64);
            out.extend_from_slice(label);
        }
    }

    fn decode(reader: &mut Reader<'_>, labelled: bool) -> Result<ListEntry, Malformed> {
        let id = ChunkId(reader.array()?);
        let length = reader.varint_max("length of a chunk", CHUNK_MAX)? as u32;
        if length == 0 {
            return Err(reader.malformed("a chunk without bytes"));
        }
        if !labelled {
            return Ok(ListEntry { id, length, label: None });
        }
        let label = reader.varint_max("length of a label", LABEL_MAX)?;
        Ok(ListEntry { id, length, label: Some(reader.take(label as usize)?.to_vec()) })
    }

    /// Whether a list is cut before this entry where it may be.
    fn is_border(&self) -> bool {
        let [first, second, ..] = self.id.0;
        u16::from_le_bytes([first, second]) & BORDER == 0
    }
}

/// The entries of a top list or a list chunk.
///
/// LIST-1: it holds whole entries, so that each list chunk is read by itself.
pub fn decode_list(bytes: &[u8], labelled: bool) -> Result<Vec<ListEntry>, Malformed> {
    let mut reader = Reader::new("list", bytes);
    let mut entries = Vec::new();
    while reader.remaining() > 0 {
        entries.push(ListEntry::decode(&mut reader, labelled)?);
    }
    Ok(entries)
}

/// The entries of the list chunk that an entry one level up names.
///
/// LIST-2: it has entries, and where it is labelled the first has the label of the entry that names it.
pub fn decode_below(above: &ListEntry, bytes: &[u8]) -> Result<Vec<ListEntry>, Malformed> {
    let entries = decode_list(bytes, above.label.is_some())?;
    match entries.first() {
        Some(first) if first.label == above.label => Ok(entries),
        Some(_) => Err(Malformed::new("list", "another label than the entry that names it")),
        None => Err(Malformed::new("list", "a list chunk without entries")),
    }
}

/// A piece of a list that is to become a list chunk.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ListPiece {
    /// Its entries, encoded.
    pub bytes: Vec<u8>,
    /// The label of its first entry.
    pub label: Option<Vec<u8>>,
    /// Bytes of the chunks that its entries name.
    pub length: u64,
    entries: usize,
}

impl ListPiece {
    fn push(&mut self, entry: &ListEntry) {
        if self.entries == 0 {
            self.label.clone_from(&entry.label);
        }
        self.entries += 1;
        self.length += u64::from(entry.length);
        entry.encode(&mut self.bytes);
    }
}

/// Cuts one level of a stream's lists as it is written. Memory: a list chunk, and the top list as long as it may be one.
///
/// LIST-3: a list is cut before an entry by that entry's own id, after 32 entries at least and 512 at most.
#[derive(Debug, Default)]
pub struct ListCutter {
    closed: Vec<ListPiece>,
    open: ListPiece,
    /// Bytes of the closed pieces.
    bytes: usize,
    is_cut: bool,
}

impl ListCutter {
    /// Appends an entry, and answers with the pieces that are list chunks for sure.
    pub fn push(&mut self, entry: &ListEntry) -> Vec<ListPiece> {
        let count = self.open.entries;
        if count >= ENTRIES_MOST || (count >= ENTRIES_LEAST && entry.is_border()) {
            self.close();
        }
        self.open.push(entry);
        match self.fits_inline() {
            true => Vec::new(),
            false => {
                self.is_cut |= !self.closed.is_empty();
                self.bytes = 0;
                std::mem::take(&mut self.closed)
            }
        }
    }

    fn close(&mut self) {
        let piece = std::mem::take(&mut self.open);
        self.bytes += piece.bytes.len();
        self.closed.push(piece);
    }

    fn fits_inline(&self) -> bool {
        !self.is_cut && self.bytes + self.open.bytes.len() <= LIST_INLINE_MAX
    }

    /// Ends the level: it is the top list, or its last pieces.
    pub fn finish(mut self) -> ListEnd {
        if self.fits_inline() {
            let mut top: Vec<u8> = self.closed.into_iter().flat_map(|piece| piece.bytes).collect();
            top.append(&mut self.open.bytes);
            return ListEnd::Top(top);
        }
        self.close();
        ListEnd::Pieces(self.closed)
    }
}

/// What the end of a level of lists is.
#[derive(Debug, PartialEq, Eq)]
pub enum ListEnd {
    /// All of it, short enough to stand in the recipe.
    Top(Vec<u8>),
    /// Its last list chunks.
    Pieces(Vec<ListPiece>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: usize, labelled: bool) -> ListEntry {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(number as u64 | 1).to_le_bytes());
        ListEntry {
            id: ChunkId(id),
            length: number as u32 % 1000 + 1,
            label: labelled.then(|| vec![b'k'; number % 90]),
        }
    }

    fn border(number: usize) -> ListEntry {
        let mut id = [9; 16];
        id[..2].copy_from_slice(&0xff80u16.to_le_bytes());
        ListEntry { id: ChunkId(id), ..entry(number, false) }
    }

    fn encoded(entries: &[ListEntry]) -> Vec<u8> {
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| entry.encode(&mut bytes));
        bytes
    }

    /// Entries of each list chunk of a level.
    fn cut(entries: &[ListEntry]) -> Vec<usize> {
        let mut cutter = ListCutter::default();
        let mut pieces: Vec<ListPiece> = entries.iter().flat_map(|entry| cutter.push(entry)).collect();
        match cutter.finish() {
            ListEnd::Top(top) => assert_eq!((top, pieces.len()), (encoded(entries), 0)),
            ListEnd::Pieces(last) => pieces.extend(last),
        }
        let labelled = entries.iter().any(|entry| entry.label.is_some());
        let read = pieces.iter().map(|piece| decode_list(&piece.bytes, labelled).expect("whole entries"));
        let read: Vec<Vec<ListEntry>> = read.collect();
        if !read.is_empty() {
            assert_eq!(read.concat(), entries);
        }
        assert!(read.iter().zip(&pieces).all(|(read, piece)| read.first().unwrap().label == piece.label));
        read.iter().map(Vec::len).collect()
    }

    /// LIST-1
    #[test]
    fn a_list_of_whole_entries_comes_back_and_another_is_refused() {
        for labelled in [false, true] {
            let entries: Vec<_> = (0..40).map(|number| entry(number, labelled)).collect();
            let bytes = encoded(&entries);
            assert_eq!(decode_list(&bytes, labelled), Ok(entries));
            assert!(decode_list(&bytes[..bytes.len() - 1], labelled).is_err());
        }
        assert_eq!(decode_list(&[], true), Ok(Vec::new()));
        let mut huge = vec![1; 16];
        put_varint(&mut huge, CHUNK_MAX + 1);
        assert!(decode_list(&huge, false).is_err());
        assert!(decode_list(&[&[1; 16][..], &[0]].concat(), false).is_err(), "a chunk without bytes");
        let labelled = |bytes: u64| ListEntry { label: Some(vec![b'k'; bytes as usize]), ..entry(1, false) };
        assert!(decode_list(&encoded(&[labelled(LABEL_MAX)]), true).is_ok());
        assert!(decode_list(&encoded(&[labelled(LABEL_MAX + 1)]), true).is_err());
    }

    /// LIST-2
    #[test]
    fn a_list_chunk_that_is_not_what_the_entry_above_says_is_refused() {
        let above = |label: Option<&[u8]>| ListEntry { label: label.map(<[u8]>::to_vec), ..entry(1, false) };
        let labelled = ListEntry { label: Some(b"a".to_vec()), ..entry(7, false) };
        let bytes = encoded(&[labelled.clone(), entry(8, true)]);
        assert_eq!(decode_below(&above(Some(b"a")), &bytes).map(|entries| entries.len()), Ok(2));
        assert!(decode_below(&above(Some(b"b")), &bytes).is_err());
        assert!(decode_below(&above(None), &[]).is_err());
        assert_eq!(decode_below(&above(None), &encoded(&[entry(7, false)])), Ok(vec![entry(7, false)]));
    }

    /// LIST-3
    #[test]
    fn a_list_is_cut_by_the_ids_of_its_entries() {
        let plain = |count: usize| (0..count).map(|number| entry(2 * number, false)).collect::<Vec<_>>();
        assert_eq!(cut(&plain(20)), [0; 0], "short enough to be the top list");
        assert_eq!(cut(&plain(1300)), [512, 512, 276]);
        // 17 bytes for a short chunk, 18 for a longer one: a top list of exactly 1024 bytes, and one of a byte more.
        let of = |longer: usize| {
            (0..60).map(move |n| ListEntry { length: if n < longer { 200 } else { 1 }, ..entry(1, false) })
        };
        assert_eq!(encoded(&of(4).collect::<Vec<_>>()).len(), LIST_INLINE_MAX);
        assert_eq!(cut(&of(4).collect::<Vec<_>>()), [0; 0]);
        assert_eq!(cut(&of(5).collect::<Vec<_>>()), [60]);
        let mut entries = plain(600);
        for place in [31, 32, 33, 200, 231, 232] {
            entries[place] = border(place);
        }
        assert_eq!(cut(&entries), [32, 168, 32, 368]);
        let labelled: Vec<_> = (0..600).map(|number| entry(2 * number, true)).collect();
        assert_eq!(cut(&labelled), [512, 88]);
    }

    /// LIST-3
    #[test]
    fn an_entry_put_in_changes_the_pieces_around_it_only() {
        let noise = |number: usize| {
            let hash = blake3::hash(&number.to_le_bytes());
            ListEntry { id: ChunkId(*hash.as_bytes().first_chunk().unwrap()), ..entry(number, false) }
        };
        let before: Vec<_> = (0..5000).map(noise).collect();
        let mut after = before.clone();
        after.insert(2500, noise(9999));
        let (cut_before, cut_after) = (cut(&before), cut(&after));
        assert!((20..60).contains(&cut_before.len()), "{cut_before:?}");
        let same_end = cut_before.iter().rev().zip(cut_after.iter().rev()).take_while(|(one, other)| one == other);
        let same_begin = cut_before.iter().zip(&cut_after).take_while(|(one, other)| one == other);
        assert!(same_begin.count() + same_end.count() + 6 >= cut_before.len(), "{cut_before:?} {cut_after:?}");
    }
}
