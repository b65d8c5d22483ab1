//! Collections that are too long to be made canonical: their elements are sorted as they stand, their order is kept apart.

use std::collections::BTreeSet;

use redkeep::format::config::Sizes;
use redkeep::format::recipe::ColumnRole;
use redkeep::repository::{DumpStored, RepositoryError};

use crate::remembered::{Place, packed};
use crate::support::repository::*;

/// The record of one key that buckets of 4 KiB take to be handed on in pieces: 768 KiB.
const LONG: usize = 768 << 10;
/// More elements than such buckets have made canonical: 4096 times four.
const MANY: u64 = 17_000;

fn number(number: u64) -> Vec<u8> {
    match number {
        0..0x40 => vec![number as u8],
        0x40..0x4000 => vec![0x40 | (number >> 8) as u8, number as u8],
        _ => [&[0x80], &(number as u32).to_be_bytes()[..]].concat(),
    }
}

fn string(text: &[u8]) -> Vec<u8> {
    [&number(text.len() as u64), text].concat()
}

/// A kind of collection: what its dump begins with, its type, what stands before the number of elements, and the element of a
/// number.
struct Kind {
    magic: &'static [u8; 9],
    type_byte: u8,
    before: &'static [u8],
    element: fn(u64) -> Vec<u8>,
}

const KINDS: [Kind; 6] = [
    Kind { magic: b"REDIS0011", type_byte: 2, before: b"", element: |n| string(&noise(16, n)) },
    Kind {
        magic: b"REDIS0011",
        type_byte: 2,
        before: b"",
        element: |n| [&[0xc2], &(n as u32 | 1 << 20).to_le_bytes()[..]].concat(),
    },
    Kind {
        magic: b"VALKEY080",
        type_byte: 4,
        before: b"",
        element: |n| [string(format!("field:{n}").as_bytes()), string(&noise(30, n))].concat(),
    },
    Kind {
        magic: b"VALKEY080",
        type_byte: 22,
        before: b"",
        element: |n| [string(&noise(20, n)), string(b"v"), n.to_le_bytes().to_vec()].concat(),
    },
    Kind {
        magic: b"REDIS0012",
        type_byte: 22,
        before: b"",
        element: |n| [number(n % 300), string(&noise(20, n)), string(b"value")].concat(),
    },
    Kind {
        magic: b"REDIS0012",
        type_byte: 24,
        before: b"12345678",
        element: |n| [number(n % 20_000), string(&noise(20, n)), string(b"")].concat(),
    },
];

/// The numbers of as many elements in an order that a restart draws.
fn in_order(elements: &[u64], restart: u8) -> Vec<u64> {
    let mut elements = elements.to_vec();
    elements.sort_by_key(|element| *blake3::keyed_hash(&[restart; 32], &element.to_le_bytes()).as_bytes());
    elements
}

impl Kind {
    fn record(&self, key: &[u8], elements: &[u64]) -> Vec<u8> {
        let begin = [&[self.type_byte], &string(key)[..], self.before, &number(elements.len() as u64)].concat();
        begin.into_iter().chain(elements.iter().flat_map(|element| (self.element)(*element))).collect()
    }

    /// Some keys in an order of their own: a long one, one of many elements, and three others.
    fn dump(&self, long: &[u64], many: &[u64], restart: u8) -> Vec<u8> {
        let text = |key: &[u8]| [&[0], &string(key)[..], &string(&noise(3_000, key.len() as u64))].concat();
        let mut records = [
            self.record(b"long", &in_order(long, restart)),
            self.record(b"many", &in_order(many, restart)),
            self.record(b"few", &in_order(&many[..300], restart)),
            text(b"a"),
            text(b"bb"),
        ];
        records.sort_by_key(|record| *blake3::keyed_hash(&[restart; 32], &record[..9]).as_bytes());
        [self.magic.to_vec(), b"\xfe\0".to_vec(), records.concat(), vec![0xff; 9]].concat()
    }

    /// As many elements as a record takes that is handed on in pieces.
    fn long(&self) -> Vec<u64> {
        let each = (self.element)(1 << 19).len() as u64;
        (1 << 19..(1 << 19) + (LONG as u64 + 60_000) / each).collect()
    }
}

fn streams(stored: &DumpStored) -> BTreeSet<u64> {
    stored.parts.iter().flat_map(|part| part.streams.keys().copied()).collect()
}

/// CANON-8
#[test]
fn a_restart_costs_the_order_of_a_long_collection_and_not_its_elements() {
    for kind in &KINDS {
        let place = Place::of(Sizes { min: 1 << 10, mean: 4 << 10, max: 16 << 10 });
        let many = (0..MANY).collect::<Vec<_>>();
        let mut long = kind.long();
        let first = place.store(&kind.dump(&long, &many, 1), &[], true).unwrap();
        assert_eq!(first.form, Ok(()), "{}", kind.type_byte);
        assert!(streams(&first).contains(&(ColumnRole::LargeOrder as u64)), "{}", kind.type_byte);
        let before = packed(&place);
        let second = place.store(&kind.dump(&long, &many, 2), &first.parts, true).unwrap();
        let order = (long.len() + many.len()) as u64 * 3;
        let restarted = packed(&place) - before;
        assert!(restarted < order + 20_000, "type {}: {restarted}, of {order}", kind.type_byte);
        // One of a hundred goes, and another comes, in the same process.
        (0..long.len()).step_by(100).for_each(|at| long[at] += 1 << 21);
        place.store(&kind.dump(&long, &many, 2), &second.parts, true).unwrap();
        let changed = packed(&place) - before - restarted;
        assert!(changed < order / 2, "type {}: {changed}, of {order}", kind.type_byte);
    }
}

/// CANON-8: elements are longer than what is looked at together.
#[test]
fn long_elements_go_back_to_their_places() {
    let element = |n| string(&noise(if n < MANY { 16 } else { 100_000 * (n - MANY) as usize }, n));
    let (kind, place) = (Kind { element, ..KINDS[0] }, Place::of(Sizes { min: 1 << 10, mean: 4 << 10, max: 16 << 10 }));
    let dump = kind.dump(&[3, 26, 11, 1, 12].map(|length| MANY + length), &(0..300).collect::<Vec<_>>(), 1);
    assert!(streams(&place.store(&dump, &[], true).unwrap()).contains(&(ColumnRole::LargeOrder as u64)));
}

/// CANON-8, ORDER-1
#[test]
fn an_order_of_other_elements_is_refused() {
    let (kind, place) = (&KINDS[0], Place::of(Sizes { min: 1 << 10, mean: 4 << 10, max: 16 << 10 }));
    let (long, many) = (kind.long(), (0..MANY).collect::<Vec<_>>());
    let others = (0..long.len() as u64).map(|number| number + (1 << 22)).collect::<Vec<_>>();
    let all = [&long[..], &long[1..], &others, &many];
    let stored = all.map(|long| place.store(&kind.dump(long, &many, 1), &[], false).unwrap().parts);
    let role = ColumnRole::LargeOrder as u64;
    for (number, parts) in stored.iter().enumerate() {
        for (of, other) in stored.iter().enumerate() {
            let mut mixed = parts.clone();
            mixed[0].streams.insert(role, other[0].streams[&role].clone());
            let read = place.read(&mixed);
            assert_eq!(read.as_ref().is_err_and(RepositoryError::is_damage), number != of, "{number} and {of}");
        }
    }
}

/// CANON-8, CANON-1
#[test]
fn a_long_collection_that_is_broken_is_not_stored_as_one() {
    let kind = &KINDS[0];
    let (long, many) = (kind.long(), (0..MANY).collect::<Vec<_>>());
    let dump = kind.dump(&long, &many, 3);
    let at = dump.windows(6).position(|bytes| bytes == b"\x02\x04long").unwrap();
    // It ends within it; and a string of a form that nobody knows.
    let mut unknown = dump.clone();
    unknown[at + 6 + 5 + 17 * 48_000] = 0xc7;
    for broken in [&dump[..at + 800_000], &unknown] {
        let not = Place::new().store(broken, &[], true).unwrap_err();
        assert!(not.why.contains("very long value") && !not.again, "{}", not.why);
    }
    // Elements that are all the same, which no server loads: their order cannot be told.
    let mut same = kind.dump(&[9; 50_000], &many, 3);
    let not = Place::new().store(&same, &[], true).unwrap_err();
    assert!(not.why.contains("the order of a key's elements cannot be told"), "{}", not.why);
    // Where they are shorter than what is handed on in pieces, they stay as they stand.
    same = kind.dump(&[9; 20_000], &many[..300], 3);
    let stored = Place::new().store(&same, &[], true).unwrap();
    assert!(!streams(&stored).contains(&(ColumnRole::LargeOrder as u64)));
}
