//! How a file is rebuilt from chunks: streams, lists and recipes. Layout: format-spec/09-recipes.md.

use std::collections::BTreeMap;

use super::ids::ChunkId;
use super::limits::{CHUNK_MAX, LABEL_MAX, LEVELS_MAX, LIST_INLINE_MAX};
use super::{Malformed, Reader, put_varint};

/// Largest sum of lengths anywhere in a recipe or a snapshot.
pub(super) const LENGTH_BOUND: u64 = i64::MAX as u64;
/// Method of a part that is the content of one stream.
pub const OPAQUE: u64 = 0;
/// Method of a part in canonical RDB form.
///
/// RECIPE-5: its bucket streams are labelled with database and first key; what the streams hold is specified with
/// their writer.
pub const CANONICAL_RDB: u64 = 1;
/// Role of the one stream of an opaque part.
pub const ROLE_CONTENT: u64 = 0;

/// A sequence of bytes stored as chunks.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Stream {
    /// Bytes of content.
    #[n(0)]
    pub length: u64,
    /// Levels of lists above the lowest.
    #[n(1)]
    pub levels: u8,
    /// The top list.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub top: Vec<u8>,
    /// Entries of the lowest list carry labels.
    #[n(3)]
    pub labelled: Option<bool>,
}

impl Stream {
    /// Whether entries of the list at `level` (0 is the lowest) carry labels.
    pub fn has_labels(&self, level: u8) -> bool {
        level == 0 && self.labelled == Some(true)
    }

    fn check(&self) -> Result<(), Malformed> {
        if self.levels > LEVELS_MAX || self.top.len() > LIST_INLINE_MAX || self.length > LENGTH_BOUND {
            return Err(Malformed::new("stream", "above its limits"));
        }
        Ok(())
    }
}

/// A stretch of a file and how it is rebuilt.
///
/// RECIPE-3: `streams` are all a reader needs to know which chunks a part uses, whatever its method.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Part {
    /// How its streams become file bytes.
    #[n(0)]
    pub method: u64,
    /// File bytes it rebuilds.
    #[n(1)]
    pub length: u64,
    /// Streams by role.
    #[n(2)]
    pub streams: BTreeMap<u64, Stream>,
}

impl Part {
    /// A part that is the content of one stream.
    pub fn opaque(content: Stream) -> Part {
        Part { method: OPAQUE, length: content.length, streams: BTreeMap::from([(ROLE_CONTENT, content)]) }
    }

    /// RECIPE-2, for readers: the stream whose content is the part's bytes.
    ///
    /// RECIPE-4: a method this reader does not know is refused by its number.
    pub fn content(&self) -> Result<&Stream, Malformed> {
        match (self.method, self.streams.get(&ROLE_CONTENT)) {
            (OPAQUE, Some(stream)) if stream.length == self.length && self.streams.len() == 1 => Ok(stream),
            (OPAQUE, _) => Err(Malformed::new("recipe", "an opaque part whose stream does not fit it")),
            (method, _) => Err(Malformed::new("recipe", format!("method {method} needs a newer redkeep"))),
        }
    }
}

/// All parts of a file, in order.
pub type Recipe = Vec<Part>;

/// RECIPE-1: the parts of a recipe add up to the file's `size`.
pub fn check_recipe(recipe: &[Part], size: u64) -> Result<(), Malformed> {
    let mut sum = 0u64;
    for part in recipe {
        sum = sum
            .checked_add(part.length)
            .filter(|sum| *sum <= LENGTH_BOUND)
            .ok_or_else(|| Malformed::new("recipe", "longer than any file"))?;
        part.streams.values().try_for_each(Stream::check)?;
    }
    match sum == size {
        true => Ok(()),
        false => Err(Malformed::new("recipe", format!("rebuilds {sum} bytes of a file of {size}"))),
    }
}

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// The chunk.
    pub id: ChunkId,
    /// Bytes of its plaintext.
    pub length: u32,
    /// Database and first key of a bucket, where the list is labelled.
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
}

/// Longest entry: id, length, label length, label.
const ENTRY_LONGEST: usize = 32 + 3 + 2 + LABEL_MAX as usize;

/// Reads a list whose bytes arrive in pieces. Holds at most one unfinished entry.
///
/// STREAM-3: an entry may begin in one piece and end in the next.
pub struct ListDecoder {
    labelled: bool,
    begun: Vec<u8>,
}

impl ListDecoder {
    /// A decoder at the start of a list.
    pub fn new(labelled: bool) -> Self {
        ListDecoder { labelled, begun: Vec::new() }
    }

    /// A decoder that goes on where another one stood.
    pub fn resumed(labelled: bool, begun: Vec<u8>) -> Self {
        ListDecoder { labelled, begun }
    }

    /// Whether its entries carry labels.
    pub fn is_labelled(&self) -> bool {
        self.labelled
    }

    /// The bytes of the entry that is not finished yet: with what follows, all that decides what comes next.
    pub fn begun(&self) -> &[u8] {
        &self.begun
    }

    /// The entries that end in `piece`, appended to `entries`.
    pub fn push(&mut self, piece: &[u8], entries: &mut Vec<ListEntry>) -> Result<(), Malformed> {
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend_from_slice(piece);
        let mut reader = Reader::new("list", &bytes);
        loop {
            let left = reader.remaining();
            match ListEntry::decode(&mut reader, self.labelled) {
                Ok(entry) => entries.push(entry),
                // Too short to tell, unless there was room for the longest entry.
                Err(_) if left < ENTRY_LONGEST => {
                    self.begun = bytes.split_off(bytes.len() - left);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the list.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.begun.len() {
            0 => Ok(()),
            left => Err(Malformed::new("list", format!("{left} bytes left over"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(labelled: bool) -> Vec<ListEntry> {
        (1..40u32)
            .map(|i| ListEntry {
                id: ChunkId([i as u8; 32]),
                length: i * 7919,
                label: labelled.then(|| vec![i as u8; i as usize * 5]),
            })
            .collect()
    }

    /// STREAM-3
    #[test]
    fn a_list_reads_the_same_in_pieces_of_any_size() {
        for labelled in [false, true] {
            let mut bytes = Vec::new();
            entries(labelled).iter().for_each(|entry| entry.encode(&mut bytes));
            for size in [1, 7, 33, 1000, bytes.len()] {
                let (mut decoder, mut read) = (ListDecoder::new(labelled), Vec::new());
                for piece in bytes.chunks(size) {
                    decoder.push(piece, &mut read).expect("a good list");
                }
                decoder.finish().expect("nothing left over");
                assert_eq!(read, entries(labelled));
            }
        }
    }

    #[test]
    fn a_list_that_ends_inside_an_entry_or_claims_too_much_is_refused() {
        let mut decoder = ListDecoder::new(false);
        decoder.push(&[1; 32], &mut Vec::new()).expect("may go on");
        assert!(decoder.finish().is_err());
        let mut huge = vec![1; 32];
        put_varint(&mut huge, CHUNK_MAX + 1);
        huge.resize(2 * ENTRY_LONGEST, 0);
        assert!(ListDecoder::new(false).push(&huge, &mut Vec::new()).is_err());
    }

    fn stream(length: u64) -> Stream {
        Stream { length, levels: 0, top: vec![], labelled: None }
    }

    /// RECIPE-1, RECIPE-2, RECIPE-4
    #[test]
    fn a_recipe_that_does_not_fit_its_file_or_is_of_an_unknown_method_is_refused() {
        let recipe = vec![Part::opaque(stream(5)), Part::opaque(stream(7))];
        assert_eq!(check_recipe(&recipe, 12), Ok(()));
        assert!(check_recipe(&recipe, 13).is_err());
        assert!(check_recipe(&[Part::opaque(stream(u64::MAX))], u64::MAX).is_err());
        assert!(check_recipe(&[Part::opaque(Stream { levels: 5, ..stream(1) })], 1).is_err());
        assert!(check_recipe(&[Part::opaque(Stream { top: vec![0; 8193], ..stream(1) })], 1).is_err());
        assert_eq!(Part::opaque(stream(5)).content(), Ok(&stream(5)));
        assert!(Part { length: 6, ..Part::opaque(stream(5)) }.content().is_err());
        let later = Part { method: CANONICAL_RDB, ..Part::opaque(stream(5)) };
        assert_eq!(later.content().map_err(|e| e.why), Err("method 1 needs a newer redkeep".into()));
    }
}
