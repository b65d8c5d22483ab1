//! Dumps of servers, taken apart and put together again.

use std::cell::RefCell;

use super::super::header::{Family, Header};
use super::super::read_stretches;
use super::super::samples::SAMPLES;
use super::super::stretch::{Stretch, What};
use super::super::strings::{StringForm, Strings};
use super::*;

const HASHER: Hasher = Hasher { key: [7; 32] };

/// A dump in canonical form, and what was not.
struct Taken {
    magic: [u8; 9],
    clock: u64,
    events: Vec<u8>,
    tail: Vec<u8>,
    after: Vec<u8>,
    /// In the order of their places, with where they stood.
    records: Vec<(Encoded, u32)>,
    order: Vec<u8>,
}

fn take_apart(dump: &[u8], piece: usize, limit: usize) -> Option<Taken> {
    let gatherer = RefCell::new(Gatherer::default());
    let (mut records, mut after) = (Vec::new(), Vec::new());
    let mut take = || {
        while let Some(gathering) = { gatherer.borrow_mut().hand_on() } {
            match gathering {
                Gathering::Records(batch) => {
                    let (header, clock) = gatherer.borrow().header().unwrap();
                    let mut encoder = Encoder::new(header.family, clock, limit, HASHER);
                    records.extend(batch.records().map(|(place, record)| (encoder.encode(record).unwrap(), place)));
                }
                Gathering::After(bytes) => after.extend(bytes),
                Gathering::Value(_) | Gathering::ValueEnd(..) => unreachable!("none is that long"),
            }
        }
    };
    let mut pieces = dump.chunks(piece).inspect(|bytes| {
        gatherer.borrow_mut().push(bytes);
        take();
    });
    let input = std::iter::from_fn(|| pieces.next());
    read_stretches(Pieces(input, &[]), &mut |stretch| gatherer.borrow_mut().stretch(stretch)).unwrap();
    drop(pieces);
    gatherer.borrow_mut().end();
    take();
    let gathered = gatherer.into_inner().finish().unwrap();
    let Gathered { magic, clock, events, tail, .. } = gathered;
    let magic = magic?;
    records.sort_by(|one, other| one.0.place.cmp(&other.0.place));
    assert_eq!(records.len() as u64, gathered.records);
    let hashes: Vec<u32> = records.iter().map(|(record, _)| HASHER.hash(&record.place)).collect();
    let places: Vec<u32> = records.iter().map(|(_, place)| *place).collect();
    let mut order = Vec::new();
    assert!(encode_order(&hashes, &places, &mut order));
    Some(Taken { magic, clock, events, tail, after, records, order })
}

struct Pieces<'a, I>(I, &'a [u8]);

impl<'a, I: Iterator<Item = &'a [u8]>> std::io::Read for Pieces<'a, I> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.1.is_empty() {
            self.1 = self.0.next().unwrap_or_default();
        }
        self.1.read(buffer)
    }
}

fn put_together(taken: &Taken) -> Vec<u8> {
    let family = Header::parse(&taken.magic).unwrap().family;
    let mut tokens = OrderTokens::new(taken.records.len() as u64).unwrap();
    let used = tokens.push(&taken.order);
    let (mut order, mut picks) = (tokens.finish().unwrap(), &taken.order[used..]);
    let mut decoder = Decoder::new(family, taken.clock, HASHER);
    let mut records = vec![Vec::new(); taken.records.len()];
    for (encoded, _) in &taken.records {
        let kept = Kept::of(&encoded.body).unwrap();
        let place = order.place(HASHER.hash(&encoded.place), &mut picks).unwrap();
        let out = &mut records[place as usize];
        decoder.head(kept, &encoded.sides, out).unwrap();
        let value = encoded.large.as_deref().unwrap_or(kept.value());
        assert_eq!(kept.large(), encoded.large.as_ref().map(|large| large.len() as u64));
        assert_eq!(kept.sides(), (encoded.sides.idle.len(), encoded.sides.frequencies.len()));
        assert_eq!(kept.has_order(), !encoded.sides.order.is_empty());
        decoder.value(kept.value_tag(), value, &encoded.sides.order, out).unwrap();
    }
    assert!(picks.is_empty());
    let (mut file, mut events, mut records) = (taken.magic.to_vec(), &taken.events[..], records.into_iter());
    while let Some((gap, event)) = take_event(&mut events).unwrap() {
        file.extend(records.by_ref().take(gap as usize).flatten());
        file.extend_from_slice(event);
    }
    file.extend(records.flatten());
    [file, taken.tail.clone(), taken.after.clone()].concat()
}

/// CANON-1, CANON-2, CANON-3, CANON-4, CANON-5, RECIPE-8
#[test]
fn dumps_of_servers_come_back_byte_for_byte() {
    for sample in &SAMPLES {
        let dump = sample.bytes();
        for (piece, limit) in [(1 << 20, 1 << 20), (1, 64), (100, 0)] {
            let taken = take_apart(&dump, piece, limit).unwrap();
            assert_eq!(put_together(&taken), dump, "{}", sample.server);
            assert_eq!((taken.after.len(), taken.tail.len()), (0, 9), "{}", sample.server);
            assert!(taken.records.iter().all(|(record, _)| record.body[0] & 0x60 == 0), "{}", sample.server);
        }
        // What follows the end, and what ends early.
        let longer = [&dump[..], b"*1\r\n$4\r\nPING\r\n"].concat();
        let taken = take_apart(&longer, 100, 64).unwrap();
        assert_eq!((put_together(&taken), taken.after.len()), (longer, 14));
        for end in 0..dump.len() {
            match take_apart(&dump[..end], 50, 64) {
                Some(taken) => assert_eq!(put_together(&taken), &dump[..end], "{}: {end}", sample.server),
                None => assert!(end < 9, "{}: {end}", sample.server),
            }
        }
    }
}

/// CANON-3
#[test]
fn what_does_not_fit_into_a_bucket_is_large_or_refused() {
    let encode = |key: usize, value: usize| {
        let mut bytes = vec![0];
        for length in [key, value] {
            bytes.extend([&[0x80][..], &(length as u32).to_be_bytes(), &noise(length)].concat());
        }
        let at = RecordAt { bytes: &bytes, prefix: &[], value: 6 + key, database: 0, giant: None };
        Encoder::new(Family::Redis, 0, 256 << 10, HASHER).encode(at)
    };
    let (longest, most) = ((1 << 20) - 100, 1 << 20);
    for (key, value, is_large) in [(20_000, 200_000, false), (longest, 60_000, true), (900_000, 200_000, true)] {
        let encoded = encode(key, value).unwrap();
        assert_eq!(encoded.large.is_some(), is_large, "{key} and {value}");
        assert!(encoded.body.len() < most - 4, "{key} and {value}: {}", encoded.body.len());
    }
    assert_eq!(encode(most, 20_000).unwrap_err().to_string(), "a key too long for a bucket");
}

/// CANON-3: texts that are short in the file and long in canonical form, beyond what a reader takes.
#[test]
fn a_value_that_becomes_too_long_is_kept_as_it_stood() {
    let mut text = Vec::new();
    Strings::default().encode(StringForm::Usual, &vec![b'a'; 15 << 20], &mut text);
    for (count, mode) in [(4, 0x80), (5, 0xc0)] {
        let bytes = [&[1, 1, b'l', count][..], &text.repeat(usize::from(count))].concat();
        let at = RecordAt { bytes: &bytes, prefix: &[], value: 3, database: 0, giant: None };
        let encoded = Encoder::new(Family::Redis, 0, 1000, HASHER).encode(at).unwrap();
        assert_eq!(encoded.body[0], mode, "{count} texts");
    }
}

/// CANON-5
#[test]
fn very_many_opcodes_before_a_key_end_what_is_canonical() {
    let dump = [b"REDIS0011\xfe\0", &[0xf9, 1].repeat(600_000)[..], b"\0\x01a\x01b\xff12345678"].concat();
    let taken = take_apart(&dump, 100_000, 64).unwrap();
    assert_eq!((taken.records.len(), taken.tail.len(), taken.after.is_empty()), (0, 0, false));
    assert!(put_together(&taken) == dump);
}

#[test]
fn a_long_value_of_a_database_that_cannot_be_told_is_not_lost() {
    let mut gatherer = Gatherer::default();
    gatherer.push(b"REDIS0011\xfe\x81\0\0\0\x02\0\0\0\0\0\x01a\x80\x03\0\0\0");
    gatherer.stretch(Stretch { begin: 9, end: 19, what: What::Event { opcode: 0xfe } });
    gatherer.push(&vec![7; 40 << 20]);
    assert!(gatherer.hand_on().is_none(), "what came last was not looked at");
    gatherer.push(&vec![7; 11 << 20]);
    assert!(matches!(gatherer.hand_on(), Some(Gathering::Value(_))));
    let what = What::Record { type_byte: 0, value: 22, database: 1 << 33 };
    gatherer.stretch(Stretch { begin: 19, end: 27 + (48 << 20), what });
    gatherer.end();
    while gatherer.hand_on().is_some() {}
    assert!(gatherer.finish().is_none(), "it is to be read once more");
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn numbers_are_those_of_the_specification() {
    for (number, bytes) in
        [(0, &[0][..]), (127, &[127]), (128, &[0x80, 1]), (u64::MAX, &[[0xff; 9].as_slice(), &[1]].concat())]
    {
        let mut out = Vec::new();
        put_varint(&mut out, number);
        assert_eq!(out, bytes);
        assert_eq!(take_varint(&mut &out[..]).ok(), Some(number));
    }
    for wrong in [&[0x80][..], &[0x80, 0], &[0xff; 10], &[]] {
        assert!(take_varint(&mut &wrong[..]).is_err());
    }
}
