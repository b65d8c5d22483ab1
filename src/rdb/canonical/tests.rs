//! Dumps of servers, taken apart and put together again.

use std::cell::RefCell;

use super::super::header::Header;
use super::super::read_stretches;
use super::super::samples::SAMPLES;
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
