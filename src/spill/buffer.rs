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

impl<'a> Record<'a> {
    /// The first of some encoded records, and how many bytes it takes: the length of its key, that of its payload, both.
    pub(super) fn first_of(encoded: &'a [u8]) -> Option<(Record<'a>, usize)> {
        let mut reader = Reader::new("record", encoded);
        let (key, payload) = (reader.varint().ok()?, reader.varint().ok()?);
        let key = reader.take(usize::try_from(key).ok()?).ok()?;
        let payload = reader.take(usize::try_from(payload).ok()?).ok()?;
        Some((Record { key, payload }, encoded.len() - reader.remaining()))
    }

    /// Bytes it takes.
    pub(super) fn length(self) -> usize {
        let digits = |length: usize| (usize::BITS - (length | 1).leading_zeros()).div_ceil(7) as usize;
        digits(self.key.len()) + digits(self.payload.len()) + self.key.len() + self.payload.len()
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        put_varint(out, self.key.len() as u64);
        put_varint(out, self.payload.len() as u64);
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.payload);
    }
}

/// Where a record is. Entries of one rank are in the order of their places, which is that in which they came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// What it is sorted by next.
    rank: u64,
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
}

impl Buffer {
    pub(super) fn new(budget: Budget) -> Buffer {
        Buffer { pieces: Vec::new(), entries: Vec::new(), piece: budget.frame(), allocated: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Records held.
    pub(super) fn count(&self) -> usize {
        self.entries.len()
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

    /// Takes a record. `rank` counts where it is not sorted by its key.
    pub(super) fn push(&mut self, rank: u64, record: Record<'_>) {
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
        let Some(piece) = self.pieces.last_mut() else { unreachable!("there is one with room") };
        self.entries.push(Entry { rank, piece: last, offset: piece.len() as u32 });
        record.encode(piece);
    }

    /// Sorts by key.
    pub(super) fn sort(&mut self) {
        sort(&self.pieces, &mut self.entries, 0);
    }

    /// Sorts by rank.
    pub(super) fn sort_by_rank(&mut self) {
        self.entries.sort_unstable();
    }

    /// The record at a place of the order, encoded; `None` behind the last.
    pub(super) fn encoded(&self, place: usize) -> Option<&[u8]> {
        let bytes = at(&self.pieces, *self.entries.get(place)?);
        bytes.get(..Record::first_of(bytes)?.1)
    }

    /// The rank of the record at a place of the order.
    pub(super) fn rank(&self, place: usize) -> Option<u64> {
        self.entries.get(place).map(|entry| entry.rank)
    }

    /// Sorted by rank: the first place of this rank or a higher one.
    pub(super) fn first_of_rank(&self, rank: u64) -> usize {
        self.entries.partition_point(|entry| entry.rank < rank)
    }
}

fn at(pieces: &[Vec<u8>], entry: Entry) -> &[u8] {
    pieces.get(entry.piece as usize).and_then(|piece| piece.get(entry.offset as usize..)).unwrap_or_default()
}

/// The key of a record from one of its bytes on.
fn key(pieces: &[Vec<u8>], entry: Entry, from: usize) -> &[u8] {
    let record = Record::first_of(at(pieces, entry));
    record.and_then(|(record, _)| record.key.get(from..)).unwrap_or_default()
}

/// Bytes of the key in a rank. The eighth byte of it says how many there were, and tells a key that ends from one that goes
/// on with zeros.
const STEP: usize = 7;
/// From here on, and where records are few, whole keys are compared: no key makes it take much longer.
const DEEP: usize = 8 * STEP;
const FEW: usize = 24;

/// Sorts entries whose keys are equal up to `depth`: by the next bytes, which are held in the entry for that, then those that
/// are still equal by the bytes after them. So a key is fetched once a step, not once a comparison.
fn sort(pieces: &[Vec<u8>], entries: &mut [Entry], depth: usize) {
    if entries.len() <= FEW || depth >= DEEP {
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
        let goes_on = equal.first().is_some_and(|entry| entry.rank as u8 as usize > STEP);
        if goes_on && equal.len() > 1 {
            sort(pieces, equal, depth + STEP);
        }
    }
}

fn rank(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let count = key.len().min(STEP + 1);
    for (byte, value) in bytes.iter_mut().zip(key.iter().take(STEP)) {
        *byte = *value;
    }
    u64::from_be_bytes(bytes) | count as u64
}
