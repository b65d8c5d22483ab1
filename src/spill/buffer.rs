//! A buffer holds records in memory, in the order they came until it is sorted.

use super::Budget;
use crate::format::{Reader, put_varint};

/// A record: sorted by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is sorted by, byte by byte.
    pub key: &'a [u8],
    /// What it carries.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Bytes it takes, encoded.
    pub(super) fn length(self) -> usize {
        let digits = |length: usize| (usize::BITS - (length | 1).leading_zeros()).div_ceil(7) as usize;
        digits(self.key.len()) + digits(self.payload.len()) + self.key.len() + self.payload.len()
    }

    /// The length of its key, that of its payload, both.
    fn encode(self, out: &mut Vec<u8>) {
        put_varint(out, self.key.len() as u64);
        put_varint(out, self.payload.len() as u64);
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.payload);
    }
}

/// Where an encoded record is in some bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    begin: usize,
    key: usize,
    payload: usize,
    pub(super) end: usize,
}

impl Place {
    /// That of the record that begins there, if all of it is there.
    pub(super) fn of(bytes: &[u8], begin: usize) -> Option<Place> {
        let encoded = bytes.get(begin..)?;
        let (key_length, behind) = length(encoded)?;
        let (payload_length, behind) = length(behind)?;
        let key = bytes.len() - behind.len();
        let payload = key.checked_add(key_length)?;
        let end = payload.checked_add(payload_length).filter(|end| *end <= bytes.len())?;
        Some(Place { begin, key, payload, end })
    }

    pub(super) fn record(self, bytes: &[u8]) -> Record<'_> {
        let payload = bytes.get(self.payload..self.end).unwrap_or_default();
        Record { key: self.key(bytes), payload }
    }

    pub(super) fn key(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.key..self.payload).unwrap_or_default()
    }

    pub(super) fn encoded(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.begin..self.end).unwrap_or_default()
    }
}

/// The length that some bytes begin with, and what is behind it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes.split_first()? {
        (short @ ..0x80, behind) => Some((usize::from(*short), behind)),
        _ => {
            let mut reader = Reader::new("record", bytes);
            let length = usize::try_from(reader.varint().ok()?).ok()?;
            Some((length, bytes.get(bytes.len() - reader.remaining()..)?))
        }
    }
}

/// Two numbers, the first one counts first.
type Rank = [u64; 2];

/// Where a record is. Entries of one rank are in the order of their places, which is that in which they came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// What it is sorted by next.
    rank: Rank,
    piece: u32,
    offset: u32,
}

/// Records in memory. They are in pieces that stay where they are, so that nothing is held twice while it grows.
pub(super) struct Buffer {
    pieces: Vec<Vec<u8>>,
    entries: Vec<Entry>,
    /// Bytes of a piece, but where a record is longer.
    piece: usize,
    /// Bytes of all pieces.
    allocated: usize,
    /// Bytes that all keys begin with; of no use before there is one.
    common: usize,
}

impl Buffer {
    pub(super) fn new(budget: Budget) -> Buffer {
        Buffer { pieces: Vec::new(), entries: Vec::new(), piece: budget.frame(), allocated: 0, common: usize::MAX }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.allocated + self.entries.capacity() * size_of::<Entry>() + self.pieces.capacity() * size_of::<Vec<u8>>()
    }

    /// Bytes held at the most while one more record of this length is taken.
    pub(super) fn held_with(&self, length: usize) -> usize {
        let piece = if self.has_room(length) { 0 } else { length.max(self.piece) };
        let entries = if self.entries.len() < self.entries.capacity() { 0 } else { self.grown() * size_of::<Entry>() };
        self.held() + piece + entries
    }

    fn has_room(&self, length: usize) -> bool {
        self.pieces.last().is_some_and(|piece| piece.capacity() - piece.len() >= length)
    }

    /// Entries there is room for after the next growth, during which the old ones are held as well.
    fn grown(&self) -> usize {
        (self.entries.len() + self.entries.len() / 2).max(64)
    }

    /// Takes a record.
    pub(super) fn push(&mut self, record: Record<'_>) {
        let length = record.length();
        if !self.has_room(length) {
            let piece = Vec::with_capacity(length.max(self.piece));
            self.allocated += piece.capacity();
            self.pieces.push(piece);
        }
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(self.grown() - self.entries.len());
        }
        let last = self.pieces.len() as u32 - 1;
        if self.common > 0 {
            let first = self.entries.first().map_or(record.key, |first| key(&self.pieces, *first, 0));
            let same = first.iter().zip(record.key).take(self.common).take_while(|(first, here)| first == here);
            self.common = same.count();
        }
        let Some(piece) = self.pieces.last_mut() else { unreachable!("there is one with room") };
        self.entries.push(Entry { rank: [0; 2], piece: last, offset: piece.len() as u32 });
        record.encode(piece);
    }

    /// Sorts by key.
    pub(super) fn sort(&mut self) {
        sort(&self.pieces, &mut self.entries, self.common);
    }

    /// The bytes that the record of this number, in the order there is, begins. None behind the last.
    pub(super) fn bytes(&self, nth: usize) -> &[u8] {
        self.entries.get(nth).map(|entry| at(&self.pieces, *entry)).unwrap_or_default()
    }

    /// Reads a little of some records, those from this one on in the order there is, so that they are at hand when they are
    /// asked for one after the other: the memory they are in is waited for once, not once a record.
    pub(super) fn touch(&self, nth: usize, count: usize) {
        let entries = self.entries.get(nth..).unwrap_or_default().iter().take(count);
        let some = |entry: &Entry| {
            let bytes = at(&self.pieces, *entry);
            [0, LINE, 2 * LINE].iter().fold(0, |sum: u8, place| sum.wrapping_add(*bytes.get(*place).unwrap_or(&0)))
        };
        std::hint::black_box(entries.fold(0, |sum: u8, entry| sum.wrapping_add(some(entry))));
    }

    /// Sorts the records of an eighth of the pieces, those that were filled first, by key. To be asked for as long as not all of
    /// them were sorted: these may be, for they stay in front of the others.
    pub(super) fn sort_oldest(&mut self) -> Oldest {
        let pieces = self.pieces.len().div_ceil(8);
        let records = self.entries.partition_point(|entry| (entry.piece as usize) < pieces);
        sort(&self.pieces, self.entries.get_mut(..records).unwrap_or_default(), self.common);
        Oldest { pieces, records }
    }

    /// The records of these, encoded, in their order.
    pub(super) fn encoded_of(&self, oldest: Oldest) -> impl Iterator<Item = &[u8]> {
        encoded(&self.pieces, self.entries.get(..oldest.records).unwrap_or_default())
    }

    /// Lets go of these.
    pub(super) fn drop_oldest(&mut self, Oldest { pieces, records }: Oldest) {
        self.entries.drain(..records);
        self.entries.iter_mut().for_each(|entry| entry.piece -= pieces as u32);
        self.allocated -= self.pieces.drain(..pieces).map(|piece| piece.capacity()).sum::<usize>();
    }

    /// The records in the order there is, encoded.
    pub(super) fn encoded(&self) -> impl Iterator<Item = &[u8]> {
        encoded(&self.pieces, &self.entries)
    }
}

/// The pieces of a buffer that were filled first, and the records in them.
#[derive(Clone, Copy)]
pub(super) struct Oldest {
    pieces: usize,
    records: usize,
}

fn encoded<'b>(pieces: &'b [Vec<u8>], entries: &'b [Entry]) -> impl Iterator<Item = &'b [u8]> {
    let bytes = entries.iter().map(move |entry| at(pieces, *entry));
    bytes.map(|bytes| Place::of(bytes, 0).unwrap_or_default().encoded(bytes))
}

fn at(pieces: &[Vec<u8>], entry: Entry) -> &[u8] {
    pieces.get(entry.piece as usize).and_then(|piece| piece.get(entry.offset as usize..)).unwrap_or_default()
}

/// The key of a record from one of its bytes on.
fn key(pieces: &[Vec<u8>], entry: Entry, from: usize) -> &[u8] {
    let bytes = at(pieces, entry);
    Place::of(bytes, 0).and_then(|place| place.key(bytes).get(from..)).unwrap_or_default()
}

/// Bytes of the key in a rank. The last byte of it says how many there were, and tells a key that ends from one that goes
/// on with zeros.
const STEP: usize = 15;
/// After so many ranks, and where records are few, whole keys are compared: no key makes it take much longer.
const RANKS: usize = 4;
const FEW: usize = 24;
/// Bytes that memory hands on at once.
const LINE: usize = 64;

/// Sorts entries whose keys are equal up to `depth`: by the next bytes, which are held in the entry for that, then those that
/// are still equal by the bytes after them. So a key is fetched once a step, not once a comparison.
fn sort(pieces: &[Vec<u8>], entries: &mut [Entry], depth: usize) {
    sort_ranked(pieces, entries, depth, RANKS);
}

fn sort_ranked(pieces: &[Vec<u8>], entries: &mut [Entry], depth: usize, ranks: usize) {
    if entries.len() <= FEW || ranks == 0 {
        let place = |entry: &Entry| (entry.piece, entry.offset);
        entries.sort_unstable_by(|a, b| {
            key(pieces, *a, depth).cmp(key(pieces, *b, depth)).then_with(|| place(a).cmp(&place(b)))
        });
        return;
    }
    for entry in &mut *entries {
        entry.rank = rank(key(pieces, *entry, depth));
    }
    entries.sort_unstable();
    for equal in entries.chunk_by_mut(|a, b| a.rank == b.rank) {
        let goes_on = equal.first().is_some_and(|entry| entry.rank[1] as u8 as usize > STEP);
        if goes_on && equal.len() > 1 {
            sort_ranked(pieces, equal, depth + STEP, ranks - 1);
        }
    }
}

fn rank(key: &[u8]) -> Rank {
    let mut bytes = [0; STEP + 1];
    for (byte, value) in bytes.iter_mut().zip(key.iter().take(STEP)) {
        *byte = *value;
    }
    let number = u128::from_be_bytes(bytes) | key.len().min(STEP + 1) as u128;
    [(number >> 64) as u64, number as u64]
}
