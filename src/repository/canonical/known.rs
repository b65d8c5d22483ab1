//! What this host remembers of the records of a dump, so that those that did not change since are neither decoded nor sorted
//! again.

use std::collections::HashMap;

use crate::rdb::canonical::{Encoded, NAME, RecordName};

/// Of a dump with more records nothing is remembered.
pub(super) const RECORDS_MOST: u64 = 1 << 22;

/// Instead of a place: there is none.
const GONE: u32 = u32::MAX;
/// Names that are looked for side by side.
const TOGETHER: usize = 64;

/// A record as it stood in the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Of its bytes; zeros where it has none, which is never asked for.
    pub name: RecordName,
    /// Which one it is in canonical order.
    pub index: u32,
}

/// A record in its bucket: the hash of its place, and of its body the length and what is kept apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub hash: u32,
    pub meta: u32,
}

const LENGTH: u32 = (1 << 24) - 1;
const HAS_ORDER: u32 = 1 << 31;
const HAS_IDLE: u32 = 1 << 30;
const HAS_FREQUENCY: u32 = 1 << 29;

impl Head {
    /// Of a record that was just made canonical.
    pub fn meta_of(record: &Encoded) -> u32 {
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        record.body.len() as u32 & LENGTH
            | flag(!record.sides.order.is_empty(), HAS_ORDER)
            | flag(!record.sides.idle.is_empty(), HAS_IDLE)
            | flag(!record.sides.frequencies.is_empty(), HAS_FREQUENCY)
    }

    /// Bytes of its body.
    pub fn body(self) -> usize {
        (self.meta & LENGTH) as usize
    }

    /// Bytes it takes in its bucket, with its length before it.
    pub fn stored(self) -> usize {
        stored_length(self.body())
    }

    pub fn has_order(self) -> bool {
        self.meta & HAS_ORDER != 0
    }

    pub fn has_idle(self) -> bool {
        self.meta & HAS_IDLE != 0
    }

    pub fn has_frequency(self) -> bool {
        self.meta & HAS_FREQUENCY != 0
    }
}

/// Bytes that a body of this length takes in its bucket, with its length before it.
pub(super) fn stored_length(body: usize) -> usize {
    let digits = match body {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    };
    digits + body
}

/// A value that is too long for a bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LargeValue {
    /// The hash of its record's place; of one that did not wait for its end, of type and key as they stand in the file.
    pub hash: u32,
    /// Where it begins among all of them.
    pub begin: u64,
}

/// What is remembered of a dump. Memory: 24 bytes a record, 16 more of each with a large value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// How many records each bucket has.
    pub buckets: Vec<u32>,
    /// In canonical order.
    pub heads: Vec<Head>,
    /// In the order of the file.
    pub entries: Vec<Entry>,
    /// In the order of the file.
    pub large: Vec<LargeValue>,
}

impl Memory {
    /// Whether it is all of one dump: each record once in either order, and as many in the buckets.
    pub fn is_whole(&self) -> bool {
        let mut is_there = vec![false; self.heads.len()];
        let mut is_new = |entry: &Entry| {
            is_there.get_mut(entry.index as usize).is_some_and(|is_there| !std::mem::replace(is_there, true))
        };
        let in_buckets: u64 = self.buckets.iter().map(|records| u64::from(*records)).sum();
        (self.entries.len(), in_buckets) == (self.heads.len(), self.heads.len() as u64)
            && self.entries.iter().all(&mut is_new)
    }
}

/// The records of an earlier version of a dump, found by their names. Memory: 24 bytes a record, and 8 to 16 of what finds
/// them.
pub(super) struct Known {
    pub memory: Memory,
    /// The place of a record in the file, [`GONE`] for none: where it should be by its name, or behind.
    table: Vec<u32>,
    /// Where each large value begins, by its hash.
    large: HashMap<u32, u64>,
}

impl Known {
    /// Those of a memory, if it is whole.
    pub fn new(memory: Memory) -> Option<Known> {
        let (is_whole, table) = rayon::join(|| memory.is_whole(), || table_of(&memory.entries));
        let large = memory.large.iter().map(|value| (value.hash, value.begin)).collect();
        is_whole.then_some(Known { memory, table, large })
    }

    /// Where in the earlier version the large value with this hash began. Another one may have it, too.
    pub fn large(&self, hash: u32) -> Option<u64> {
        self.large.get(&hash).copied()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.memory.entries.len()
    }

    /// Where in the earlier file the records of these names stood, which stand one behind the other now.
    ///
    /// Those that do not follow on each other as they did are looked for side by side, so that memory is waited for once for
    /// many of them, not for each.
    pub fn find_all(&self, names: &[Option<RecordName>]) -> Vec<Option<u32>> {
        let (mut found, mut elsewhere) = (vec![None; names.len()], Vec::with_capacity(TOGETHER));
        let mut expected = 0;
        for (names, found) in names.chunks(TOGETHER).zip(found.chunks_mut(TOGETHER)) {
            elsewhere.clear();
            for (at, name) in names.iter().enumerate().filter_map(|(at, name)| Some((at, name.as_ref()?))) {
                match found.get_mut(at) {
                    Some(found) if self.is_at(expected, name) => *found = Some(expected),
                    _ => elsewhere.push((at, name, slot(name, self.table.len()), GONE)),
                }
                expected += 1;
            }
            for (_, _, slot, first) in &mut elsewhere {
                *first = self.table.get(*slot).copied().unwrap_or(GONE);
            }
            for (at, name, slot, first) in &elsewhere {
                if let Some(found) = found.get_mut(*at) {
                    *found = self.find_from(name, *slot, *first);
                }
            }
            expected = found.iter().rev().find_map(|found| *found).map_or(expected, |last| last + 1);
        }
        found
    }

    fn is_at(&self, place: u32, name: &RecordName) -> bool {
        self.memory.entries.get(place as usize).is_some_and(|entry| entry.name == *name)
    }

    /// From a slot on, and what is in it.
    fn find_from(&self, name: &RecordName, mut slot: usize, mut place: u32) -> Option<u32> {
        while place != GONE {
            if self.is_at(place, name) {
                return Some(place);
            }
            slot = (slot + 1) % self.table.len();
            place = self.table.get(slot).copied().unwrap_or(GONE);
        }
        None
    }
}

fn table_of(entries: &[Entry]) -> Vec<u32> {
    let mut table = vec![GONE; (entries.len() * 2).next_power_of_two()];
    for (place, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.name != [0; NAME]) {
        let mut at = slot(&entry.name, table.len());
        while table.get(at).is_some_and(|taken| *taken != GONE) {
            at = (at + 1) % table.len();
        }
        if let Some(free) = table.get_mut(at) {
            *free = place as u32;
        }
    }
    table
}

fn slot(name: &RecordName, slots: usize) -> usize {
    let [a, b, c, d, ..] = *name;
    u32::from_le_bytes([a, b, c, d]) as usize & (slots - 1)
}

/// A record of an earlier version that stands in a dump as it stood there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stayed {
    /// Where it stood.
    pub before: u32,
    /// Where it stands.
    pub place: u32,
    /// Its last access or its frequency, where it has one.
    pub side: u32,
}

/// Which records of an earlier version stayed. Memory: 4 to 8 bytes a record.
pub(super) struct StayedAll {
    /// Of each, in the order of the earlier file, where it stands; [`GONE`]: it did not stay.
    places: Vec<u32>,
    sides: Vec<u32>,
}

impl StayedAll {
    /// None of so many.
    pub fn new(count: usize) -> StayedAll {
        StayedAll { places: vec![GONE; count], sides: Vec::new() }
    }

    /// Notes one; answers whether it had not been noted before.
    pub fn note(&mut self, stayed: Stayed) -> bool {
        let Some(place) = self.places.get_mut(stayed.before as usize).filter(|place| **place == GONE) else {
            return false;
        };
        *place = stayed.place;
        if stayed.side != 0 {
            self.sides.resize(self.places.len(), 0);
            if let Some(side) = self.sides.get_mut(stayed.before as usize) {
                *side = stayed.side;
            }
        }
        true
    }

    /// The records of the earlier version in canonical order, with what became of each.
    pub fn in_order(self, known: Known) -> OldRecords {
        let Known { memory: Memory { buckets, heads, entries, .. }, .. } = known;
        let (mut names, mut places) = (vec![[0; NAME]; heads.len()], vec![GONE; heads.len()]);
        let mut sides = vec![0; if self.sides.is_empty() { 0 } else { heads.len() }];
        for (before, (entry, place)) in entries.into_iter().zip(self.places).enumerate() {
            let index = entry.index as usize;
            if let (Some(name), Some(at)) = (names.get_mut(index), places.get_mut(index)) {
                (*name, *at) = (entry.name, place);
            }
            if let (Some(side), Some(from)) = (sides.get_mut(index), self.sides.get(before)) {
                *side = *from;
            }
        }
        OldRecords { buckets, heads, names, places, sides }
    }
}

/// The records of an earlier version in canonical order. Memory: 24 to 28 bytes a record.
pub(super) struct OldRecords {
    /// How many each bucket has.
    pub buckets: Vec<u32>,
    pub heads: Vec<Head>,
    names: Vec<RecordName>,
    places: Vec<u32>,
    sides: Vec<u32>,
}

/// One of them that stayed.
#[derive(Debug, Clone, Copy)]
pub(super) struct OldRecord {
    pub head: Head,
    pub name: RecordName,
    /// Where it stands in the file.
    pub place: u32,
    /// Its last access or its frequency, where it has one.
    pub side: u32,
}

impl OldRecords {
    /// How many stayed.
    pub fn count(&self) -> u64 {
        self.places.iter().filter(|place| **place != GONE).count() as u64
    }

    /// The record of this number, if it stayed.
    pub fn stayed(&self, index: usize) -> Option<OldRecord> {
        let place = *self.places.get(index).filter(|place| **place != GONE)?;
        let (head, name) = (*self.heads.get(index)?, *self.names.get(index)?);
        Some(OldRecord { head, name, place, side: self.sides.get(index).copied().unwrap_or_default() })
    }

    /// The numbers of the buckets from which records went.
    pub fn changed(&self) -> impl Iterator<Item = usize> {
        let mut from = 0;
        let is_changed = move |count: &u32| {
            let to = from + *count as usize;
            let places = self.places.get(std::mem::replace(&mut from, to)..to).unwrap_or_default();
            places.contains(&GONE)
        };
        self.buckets.iter().map(is_changed).enumerate().filter_map(|(number, is_changed)| is_changed.then_some(number))
    }
}

/// Remembers the records of a dump as they are stored, in canonical order. Memory: 24 bytes a record, 40 at the end.
pub(super) struct Remembering {
    buckets: Vec<u32>,
    heads: Vec<Head>,
    /// The name of each, and its place in the file.
    names: Vec<(RecordName, u32)>,
    in_bucket: u32,
    large: Vec<LargeValue>,
}

impl Remembering {
    /// Of a dump with so many records; `None` where they are too many.
    pub fn new(records: u64) -> Option<Remembering> {
        let count = usize::try_from(records).ok().filter(|_| records <= RECORDS_MOST)?;
        let (heads, names) = (Vec::with_capacity(count), Vec::with_capacity(count));
        Some(Remembering { buckets: Vec::new(), heads, names, in_bucket: 0, large: Vec::new() })
    }

    /// The large values of all records.
    pub fn add_large(&mut self, large: Vec<LargeValue>) {
        self.large = large;
    }

    /// The next record, which stands at this place of the file.
    pub fn add(&mut self, head: Head, name: RecordName, place: u32) {
        self.names.push((name, place));
        self.heads.push(head);
        self.in_bucket += 1;
    }

    /// A bucket ends behind the last one, if there is one.
    pub fn end_bucket(&mut self) {
        if self.in_bucket > 0 {
            self.buckets.push(std::mem::take(&mut self.in_bucket));
        }
    }

    /// What is remembered, where it is all of a dump.
    pub fn finish(mut self) -> Option<Memory> {
        self.end_bucket();
        let Remembering { buckets, heads, names, large, .. } = self;
        // To where they stood in the file only now, at once: memory is then waited for a few times, not for each.
        let mut entries = vec![Entry::default(); names.len()];
        for (index, (name, place)) in names.into_iter().enumerate() {
            *entries.get_mut(place as usize)? = Entry { name, index: index as u32 };
        }
        Some(Memory { buckets, heads, entries, large }).filter(Memory::is_whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::canonical::put_varint;

    fn name(number: u32) -> RecordName {
        let mut name = [7; NAME];
        // Of many the first four bytes are the same: they are looked for from one slot on.
        let [first, last] = [number % 97, number].map(u32::to_le_bytes);
        name[..4].copy_from_slice(&first);
        name[8..].copy_from_slice(&last);
        name
    }

    fn known(count: u32) -> Known {
        let entry = |place| Entry { name: if place % 50 == 49 { [0; NAME] } else { name(place) }, index: place };
        let heads = vec![Head::default(); count as usize];
        let memory =
            Memory { buckets: vec![count], heads, entries: (0..count).map(entry).collect(), large: Vec::new() };
        Known::new(memory).unwrap()
    }

    #[test]
    fn records_are_found_in_whatever_order_they_stand_and_none_that_was_not_there() {
        let count = 3000;
        let known = known(count);
        let expect = |number: u32| Some(number).filter(|number| *number < count && number % 50 != 49);
        let as_before: Vec<u32> = (0..count).collect();
        let back = as_before.iter().rev().copied().collect();
        let mixed = as_before.iter().map(|number| number * 1237 % 4001).collect();
        let gone_and_new = as_before.iter().filter(|number| *number % 7 > 0).flat_map(|n| [*n, n + 5000]).collect();
        for numbers in [as_before.clone(), back, mixed, gone_and_new, vec![], vec![2999, 0, 1, 1, 2]] {
            let names: Vec<_> = numbers.iter().map(|number| Some(name(*number))).collect();
            let found = known.find_all(&names);
            assert_eq!(found, numbers.iter().map(|number| expect(*number)).collect::<Vec<_>>());
        }
        assert_eq!(known.find_all(&[None, Some(name(5)), None]), [None, Some(5), None]);
        assert_eq!(self::known(0).find_all(&[Some(name(5))]), [None]);
    }

    #[test]
    fn a_memory_counts_where_it_is_all_of_one_dump() {
        let memory = |buckets: &[u32], indexes: &[u32]| Memory {
            buckets: buckets.to_vec(),
            heads: vec![Head::default(); 3],
            entries: indexes.iter().map(|index| Entry { name: name(*index), index: *index }).collect(),
            large: Vec::new(),
        };
        assert!(Known::new(memory(&[2, 1], &[2, 0, 1])).is_some());
        let wrong = [memory(&[2, 2], &[2, 0, 1]), memory(&[2, 1], &[2, 0, 2]), memory(&[2, 1], &[2, 0])];
        let outside = memory(&[3], &[2, 0, 3]);
        for memory in wrong.into_iter().chain([outside]) {
            assert!(Known::new(memory).is_none());
        }
    }

    #[test]
    fn a_body_is_reckoned_with_its_length_as_it_is_stored() {
        let lengths = [0, 0x7f, 0x80, 0x3f80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000, LENGTH as usize];
        for body in lengths {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, body as u64);
            assert_eq!(stored_length(body), bytes.len() + body);
        }
    }
}
