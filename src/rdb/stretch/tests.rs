//! Whether the stretches of a dump are all of it, and each by itself what it is said to be.

use std::io::Read;

use proptest::prelude::{ProptestConfig, any, prop, proptest};
use proptest::test_runner::RngSeed;

use crate::rdb::samples::SAMPLES;
use crate::rdb::{Finding, Stretch, Structure, What, read_preamble_stretches, read_stretches, read_structure};

const MAGIC: u64 = 9;
/// The EOF mark and the checksum.
const CLOSE: u64 = 9;

fn stretches(bytes: impl Read) -> (Vec<Stretch>, Structure) {
    let mut all = Vec::new();
    let structure = read_stretches(bytes, &mut |stretch| all.push(stretch)).unwrap();
    (all, structure)
}

/// Where the last one ends, if they are without gaps.
fn end_of(stretches: &[Stretch]) -> u64 {
    stretches.iter().fold(MAGIC, |at, stretch| {
        assert_eq!(stretch.begin, at);
        assert!(stretch.end > at);
        if let What::Record { value, .. } = stretch.what {
            assert!(stretch.begin + 2 <= value && value <= stretch.end);
        }
        stretch.end
    })
}

fn records(stretches: &[Stretch]) -> u64 {
    stretches.iter().filter(|stretch| matches!(stretch.what, What::Record { .. })).count() as u64
}

/// Gives a byte at a time.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let one = room.len().min(1);
        self.0.read(&mut room[..one])
    }
}

#[test]
fn the_stretches_of_a_dump_are_all_of_it_whatever_pieces_it_comes_in() {
    for sample in &SAMPLES {
        let bytes = sample.bytes();
        let (all, structure) = stretches(bytes.as_slice());
        assert_eq!(structure, read_structure(bytes.as_slice()).unwrap());
        assert_eq!(end_of(&all), bytes.len() as u64 - CLOSE, "{}", sample.server);
        assert_eq!(records(&all), structure.keys());
        assert_eq!(stretches(Trickle(&bytes)).0, all);
        let mut of_preamble = Vec::new();
        let file = [&bytes[..], b"*1\r\n$4\r\nPING\r\n"].concat();
        read_preamble_stretches(file.as_slice(), &mut |stretch| of_preamble.push(stretch), &mut |_| {}).unwrap();
        assert_eq!(of_preamble, all);
    }
}

#[test]
fn a_record_is_a_record_by_itself_with_its_key_before_its_value() {
    for sample in &SAMPLES {
        let bytes = sample.bytes();
        for stretch in stretches(bytes.as_slice()).0 {
            let What::Record { type_byte, value, .. } = stretch.what else { continue };
            let at = |offset: u64| offset as usize;
            assert_eq!(bytes[at(stretch.begin)], type_byte);
            let alone = [&bytes[..9], &bytes[at(stretch.begin)..at(stretch.end)]].concat();
            let (all, structure) = stretches(alone.as_slice());
            assert_eq!((all.len(), structure.keys()), (1, 1), "{}", sample.server);
            assert_eq!(end_of(&all), alone.len() as u64);
            // A key of up to 63 bytes that is stored as it is: its length, and itself.
            let length = u64::from(bytes[at(stretch.begin) + 1]);
            assert_eq!(value, stretch.begin + 2 + length, "{}", sample.server);
        }
    }
}

#[test]
fn databases_and_what_stands_before_a_key_are_told_apart() {
    let parts: &[&[u8]] = &[
        b"REDIS0016\xfa\x01a\x01b",
        b"\xfe\x07\xfb\x01\x01",
        b"\xfc12345678\xf8\x05\xf1\x00\x01k\x01v",
        b"\xfe\x01\x00\x01k\x01v\xff",
    ];
    let (all, _) = stretches(parts.concat().as_slice());
    let record = |value, database| What::Record { type_byte: 0, value, database };
    let (prefix, event) = (|opcode| What::Prefix { opcode }, |opcode| What::Event { opcode });
    let expected = [
        (14, event(250)),
        (16, event(254)),
        (19, event(251)),
        (28, prefix(252)),
        (30, prefix(248)),
        (31, prefix(241)),
        (36, record(34, 7)),
        (38, event(254)),
        (43, record(41, 1)),
    ];
    assert_eq!(all.iter().map(|stretch| (stretch.end, stretch.what)).collect::<Vec<_>>(), expected);
    // What is metadata of a key to one family is a note of slots to the other.
    let of = |bytes: &[u8]| stretches(bytes).0.first().map(|stretch| stretch.what);
    assert_eq!(of(b"REDIS0013\xf3\x00"), Some(prefix(243)));
    assert_eq!(of(b"VALKEY080\xf3\x01s\x00"), Some(event(243)));
    // To Valkey 241 is nothing.
    assert_eq!(of(b"VALKEY080\xf1\x00\x01k\x01v"), None);
}

#[test]
fn of_a_dump_that_is_cut_or_not_understood_all_before_that_is_handed_on() {
    for sample in &SAMPLES {
        let bytes = sample.bytes();
        let (all, _) = stretches(bytes.as_slice());
        for length in 9..bytes.len() {
            let (first, structure) = stretches(&bytes[..length]);
            let followed = end_of(&first);
            assert!(all.starts_with(&first) && followed <= length as u64);
            assert_eq!(structure.keys(), records(&first));
            if let Finding::Suspect { offset, .. } = structure.finding {
                // Where an EOF mark is there, without its checksum, that is not a stretch.
                assert_eq!(offset, followed, "{} cut to {length}", sample.server);
            }
        }
    }
    let unknown = b"REDIS0011\x00\x01k\x01v\x63\x01k\x01v\xff";
    let (all, structure) = stretches(&unknown[..]);
    assert_eq!((end_of(&all), records(&all)), (14, 1));
    assert!(matches!(structure.finding, Finding::Suspect { offset: 14, .. }), "{structure:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn stretches_have_no_gaps_whatever_the_bytes_are(
        body in prop::collection::vec(any::<u8>(), 0..300), sample in 0..SAMPLES.len(), at in any::<prop::sample::Index>()
    ) {
        let mut bytes = SAMPLES[sample].bytes();
        let at = at.index(bytes.len());
        bytes.splice(at.max(9).., body);
        let (all, structure) = stretches(bytes.as_slice());
        assert!(end_of(&all) <= bytes.len() as u64);
        assert_eq!(records(&all), structure.keys());
    }
}
