//! Dumps of servers, taken apart and put together again.

use std::cell::RefCell;

use super::super::header::{Family, Header};
use super::super::read_stretches;
use super::super::samples::SAMPLES;
use super::super::stretch::{Stretch, What};
use super::super::strings::{StringForm, Strings};
use super::super::values::HASH_TEMPLATE;
use super::*;
use crate::noise::noise;

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

impl Taken {
    fn values(&self) -> Values {
        let (mut templates, mut events) = (TemplateTags::default(), &self.events[..]);
        while let Some((_, event)) = take_event(&mut events).unwrap() {
            if event[0] == HASH_TEMPLATE && self.magic.starts_with(b"R") {
                templates.add(HASHER, &event[1..]);
            }
        }
        Values { templates: templates.into(), ..Values::default() }
    }
}

/// Only what values may take.
fn values_of(value: usize) -> Limits {
    Limits { value, ..Limits::default() }
}

/// Has a gatherer take a dump in pieces; `each` takes what it hands on, as soon as it does.
fn gather(gatherer: Gatherer, dump: &[u8], piece: usize, mut each: impl FnMut(&mut Gatherer, Gathering)) -> Gathered {
    let gatherer = RefCell::new(gatherer);
    let mut take = || {
        let mut gatherer = gatherer.borrow_mut();
        while let Some(gathering) = gatherer.hand_on() {
            each(&mut gatherer, gathering);
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
    gatherer.into_inner().finish().unwrap()
}

fn take_apart(dump: &[u8], piece: usize, limit: usize) -> Option<Taken> {
    let (mut records, mut after, mut templates) = (Vec::new(), Vec::new(), TemplateTags::default());
    let gathered = gather(Gatherer::default(), dump, piece, |gatherer, gathering| match gathering {
        Gathering::Records(batch) => {
            let (header, clock) = gatherer.header().unwrap();
            let mut encoder = Encoder::new(header.family, clock, values_of(limit), HASHER);
            gatherer.take_templates().iter().for_each(|body| templates.add(HASHER, body));
            encoder.know_templates(&templates.clone().into());
            records.extend(batch.records().map(|(place, record)| (encoder.encode(record).unwrap(), place)));
            gatherer.take_back(batch);
        }
        Gathering::After(bytes) => after.extend(bytes),
        Gathering::Value(_) | Gathering::ValueEnd(..) => unreachable!("none is that long"),
    });
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
    let mut decoder = Decoder::new(family, taken.clock, HASHER, taken.values());
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

/// CANON-1, CANON-5: what was handed on and taken back is used again, and nothing of what was in it comes back.
#[test]
fn a_dump_of_many_batches_comes_back_byte_for_byte() {
    let record = |number: u64| {
        let text = noise(90_000 + number as usize * 100, number);
        let idle: &[u8] = if number.is_multiple_of(3) { b"\xf8\x05" } else { b"" };
        [idle, b"\0\x02k", &[b'0' + number as u8, 0x80], &(text.len() as u32).to_be_bytes(), &text].concat()
    };
    let records: Vec<Vec<u8>> = (0..70).map(record).collect();
    let dump = [b"REDIS0011\xfe\0", &records.concat()[..], b"\xff12345678"].concat();
    assert!(dump.len() > 6 << 20);
    let taken = take_apart(&dump, 100_000, 1 << 20).unwrap();
    assert_eq!((taken.records.len(), taken.tail.len()), (70, 9));
    assert!(put_together(&taken) == dump);
}

/// CANON-3
#[test]
fn what_does_not_fit_into_a_bucket_is_large_or_refused() {
    let encode = |key: usize, value: usize| {
        let mut bytes = vec![0];
        for length in [key, value] {
            bytes.extend([&[0x80][..], &(length as u32).to_be_bytes(), &noise(length, 0)].concat());
        }
        let at = RecordAt { bytes: &bytes, prefix: &[], value: 6 + key, database: 0, giant: None };
        Encoder::new(Family::Redis, 0, Limits::default(), HASHER).encode(at)
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
        let encoded = Encoder::new(Family::Redis, 0, values_of(1000), HASHER).encode(at).unwrap();
        assert_eq!(encoded.body[0], mode, "{count} texts");
    }
}

/// CANON-3, CANON-8
#[test]
fn what_the_elements_are_of_decides_whether_a_value_that_is_kept_as_it_stood_may_be_sorted() {
    // Of two elements each; more than may be made canonical.
    let few = Limits { value: 0, elements: 1, ..Limits::default() };
    let encode = |record: &[u8]| {
        let at = RecordAt { bytes: record, prefix: &[], value: 3, database: 0, giant: None };
        Encoder::new(Family::Redis, 0, few, HASHER).encode(at).unwrap()
    };
    let set = encode(b"\x02\x01k\x02\x01b\x01a");
    assert_eq!((set.body[0], set.type_as_it_stood()), (0xc0, Some(2)));
    let list = encode(b"\x01\x01k\x02\x01b\x01a");
    assert_eq!((list.body[0], list.type_as_it_stood()), (0x80, None));
    let mut sorted = set.clone();
    sorted.sort_large(b"\x02\x01a\x01b".to_vec());
    let kept = Kept::of(&sorted.body).unwrap();
    assert_eq!((sorted.body[0], kept.has_order(), Kept::is_sorted(kept.value_tag())), (0xd0, false, true));
    let mut decoder = Decoder::new(Family::Redis, 0, HASHER, Values::default());
    let (tag, mut out) = (kept.value_tag(), Vec::new());
    assert!(decoder.value(tag, b"\x02\x01a\x01b", b"", &mut out).is_err(), "its order is elsewhere");
    decoder.value_as_kept(tag, b"\x02\x01a\x01b", &mut out).unwrap();
    assert_eq!(out, b"\x02\x01a\x01b");
    assert!(Kept::of(b"\x50\x02\x04k\x00").is_err(), "in a bucket");
}

/// CANON-3: a record that is handed on in pieces, wherever these end, and one whose key comes late.
#[test]
fn a_record_is_handed_on_in_pieces_as_soon_as_it_is_longer_than_it_may_be() {
    let record =
        |key: usize| [&[0, 0x50, key as u8][..], &vec![b'k'; key | 0x1000], &[0x4f, 0], &noise(0xf00, 1)].concat();
    let dump = [b"REDIS0011\xfe\0".to_vec(), record(1), b"\0\x01a\x01b".to_vec(), record(2), vec![0xff; 9]].concat();
    for size in [1, 100, 2_000, 5_000, 1 << 20] {
        let gatherer = Gatherer::new(Limits { record: 6_000, ..Limits::default() });
        let (mut values, mut keys) = (Vec::new(), Vec::new());
        let gathered = gather(gatherer, &dump, size, |_, gathering| match gathering {
            Gathering::Records(batch) => {
                keys.extend(batch.records().map(|(place, record)| (place, record.bytes.len())));
            }
            Gathering::Value(piece) => values.extend(piece),
            Gathering::ValueEnd(piece, mut batch) => {
                values.extend(piece);
                batch.note_sorted();
                let (place, record) = batch.records().next().unwrap();
                let giant = record.giant.unwrap();
                assert_eq!((giant.length, giant.is_sorted), (0xf02, true));
                keys.push((place, record.bytes.len()));
            }
            Gathering::After(_) => unreachable!("it is whole"),
        });
        assert_eq!((gathered.records, gathered.length), (3, dump.len() as u64), "{size}");
        let whole = record(1).len();
        let in_pieces = values.len() / 0xf02;
        assert!(in_pieces <= 2 && (size > 100 || in_pieces == 2), "{size}: {in_pieces}");
        let lengths: Vec<usize> = keys.iter().map(|(_, length)| *length).collect();
        assert_eq!(lengths.iter().sum::<usize>() + values.len(), 2 * whole + 6, "{size}");
    }
}

/// CANON-3: an idle time in more bytes than it needs, behind one that is kept apart elsewhere.
#[test]
fn of_opcodes_that_are_kept_as_they_stood_nothing_is_kept_apart() {
    for opcodes in [&b"\xf8\x05\xf8\x40\x05"[..], b"\xf9\x07\xf8\x40\x05"] {
        let dump = [b"REDIS0011\xfe\0", opcodes, b"\0\x01a\x01b\xff12345678"].concat();
        let taken = take_apart(&dump, 50, 64).unwrap();
        let (record, _) = &taken.records[0];
        assert_eq!((record.body[0], &record.sides), (0x20, &Sides::default()));
        assert_eq!(put_together(&taken), dump);
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
    gatherer.push(&vec![7; 56 << 20]);
    assert!(gatherer.hand_on().is_none(), "what came last was not looked at");
    gatherer.push(&vec![7; 11 << 20]);
    assert!(matches!(gatherer.hand_on(), Some(Gathering::Value(_))));
    let what = What::Record { type_byte: 0, value: 22, database: 1 << 33 };
    gatherer.stretch(Stretch { begin: 19, end: 27 + (48 << 20), what });
    gatherer.end();
    while gatherer.hand_on().is_some() {}
    assert!(gatherer.finish().is_none(), "it is to be read once more");
}

/// CANON-5
#[test]
fn what_belongs_to_no_record_is_held_up_to_a_bound() {
    let piece = vec![7; 1 << 20];
    for is_followed in [true, false] {
        let mut gatherer = Gatherer::default();
        gatherer.push(b"REDIS0011\xf5");
        let mut begin = 9;
        let is_given_up = (0..70).any(|_| {
            gatherer.push(&piece);
            if is_followed {
                let end = begin + piece.len() as u64;
                gatherer.stretch(Stretch { begin, end, what: What::Event { opcode: 0xf5 } });
                begin = end;
            }
            matches!(gatherer.hand_on(), Some(Gathering::After(_)))
        });
        assert!(is_given_up, "followed: {is_followed}");
    }
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

/// A dump of Redis with two templates of these numbers, a hash of each, and another that goes by the first in its long form.
fn of_templates(one: u8, other: u8) -> Vec<u8> {
    let listpack = |number: u8, values: &[u8]| {
        let text = [&[8 + values.len() as u8 + 1, 0, 0, 0, 3, 0, number, 1], values, &[0xff]].concat();
        [&[text.len() as u8], &text[..]].concat()
    };
    let (first, second) = (listpack(one, b"\x81x\x02\x81y\x02"), listpack(other, b"\x81v\x02\x81w\x02"));
    let templates = [b"\xf2", &[one][..], b"\x02\x01a\x01b\xf2", &[other], b"\x02\x01c\x01d"].concat();
    let records = [b"\x1e\x01h", &first[..], b"\x1e\x01i", &second, b"\x20\x01j", &[one], b"\x01p\x01q"].concat();
    [b"REDIS0015", &templates[..], b"\xfe\0", &records, b"\xff12345678"].concat()
}

/// CANON-7
#[test]
fn hashes_of_templates_are_kept_the_same_whatever_the_numbers() {
    let bodies = |dump: &[u8]| {
        let taken = take_apart(dump, 50, 1 << 20).unwrap();
        assert_eq!(put_together(&taken), dump);
        taken.records.into_iter().map(|(record, _)| record.body).collect::<Vec<_>>()
    };
    let before = bodies(&of_templates(1, 2));
    assert_eq!(before, bodies(&of_templates(60, 7)));
    assert!(before.len() == 3 && before.iter().all(|body| body[0] == 0), "{before:?}");
    // Without its template a hash is kept as it stood.
    let [dump, without] = [of_templates(1, 2), b"REDIS0015\xfe\0\x20\x01j\x01\x01p\x01q\xff12345678".to_vec()];
    let cut = take_apart(&without, 50, 1 << 20).unwrap();
    assert_eq!((put_together(&cut), cut.records.len()), (without, 0));
    // A listpack that says it has more entries would not come back from its parts.
    let at = dump.windows(5).position(|bytes| bytes == b"\0\0\0\x03\0").unwrap();
    let odd = [&dump[..at + 3], &[4], &dump[at + 4..]].concat();
    assert_eq!(bodies(&odd).iter().map(|body| body[0]).collect::<Vec<_>>(), [0x40, 0, 0]);
    // Two of the same fields: the second one is not told by them.
    let same = [&dump[..9], b"\xf2\x09\x02\x01a\x01b", &dump[9..]].concat();
    assert_eq!(bodies(&same).iter().map(|body| body[0]).collect::<Vec<_>>(), [0x40, 0, 0x40]);
}

/// CANON-7
#[test]
fn an_expiry_of_a_field_is_kept_whatever_the_earliest_of_its_hash() {
    let hash = |earliest: u64, fields: &[(u8, u64)]| {
        let fields = fields.iter().map(|(name, at)| {
            let after = if *at == 0 { 0 } else { (at - earliest + 1) as u8 };
            [after, 1, *name, 1, b'v']
        });
        let fields: Vec<[u8; 5]> = fields.collect();
        let head = [b"\x18\x01h", &earliest.to_le_bytes()[..], &[fields.len() as u8]].concat();
        [b"REDIS0012\xfe\0", &head[..], fields.as_flattened(), b"\xff12345678"].concat()
    };
    let body = |dump: &[u8]| {
        let taken = take_apart(dump, 50, 1 << 20).unwrap();
        assert_eq!(put_together(&taken), dump);
        let body = &taken.records[0].0.body;
        assert_eq!(body[0] & 0x40, 0, "as it stood");
        body.clone()
    };
    let now = 1_790_000_000_000;
    let before = body(&hash(now, &[(b'a', now), (b'b', now + 20), (b'c', 0)]));
    // The field that would have gone first is gone.
    let after = body(&hash(now + 20, &[(b'b', now + 20), (b'c', 0)]));
    let fields = |body: &[u8], skip: usize| body[4 + 8 + 1 + skip..].to_vec();
    assert_eq!(fields(&before, 6 + 4), fields(&after, 0));
}
