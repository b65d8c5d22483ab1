//! Values of types that no server at hand writes, and bytes that are no values.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has failed")]

use std::ops::ControlFlow;

use proptest::prelude::{ProptestConfig, any, prop, proptest};
use proptest::test_runner::RngSeed;

use super::{Item, Measure, NoPayload, PiecewiseDigest, Templates, Unreadable, Value, least_version, score_text};
use crate::rdb::Family::{self, Redis, Valkey};
use crate::rdb::lzf::Encoder;
use crate::rdb::samples::SAMPLES;
use crate::rdb::values::templates::MOST_FIELDS;
use crate::rdb::{Kind, What, read_stretches};

/// Its parts as text, and how many elements it measures.
fn read(type_byte: u8, family: Family, raw: &[u8]) -> Result<(String, u64), Unreadable> {
    let templates = Templates::default();
    let (value, mut told) = (Value { type_byte, family, raw, templates: &templates }, Vec::new());
    value.each(&mut |item| {
        told.push(shown(item));
        ControlFlow::Continue(())
    })?;
    let measure = value.measure()?;
    assert!(measure.bytes >= raw.len() as u64);
    Ok((told.join(" "), measure.elements))
}

fn shown(item: Item<'_>) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    match item {
        Item::Text(bytes) | Item::Element(bytes) => text(bytes),
        Item::Member { member, score } => format!("{}:{}", text(member), score_text(score)),
        Item::Field { name, value, expires: None } => format!("{}={}", text(name), text(value)),
        Item::Field { name, value, expires: Some(at) } => format!("{}={}@{at}", text(name), text(value)),
        Item::Path(path) => format!("/{}", text(path)),
        Item::Placed { index, element } => format!("[{index}]{}", text(element)),
        Item::Entry { id, fields } => format!("{id}({fields})"),
        Item::Stream(facts) => format!("{}..{}", facts.length, facts.last),
        Item::Group(group) => format!("group {}", text(group.name)),
        Item::Consumer(consumer) => format!("consumer {}", text(consumer.name)),
        Item::Module(module) => format!("module {}", module.name),
    }
}

/// A string in the shortest form.
fn string(text: &[u8]) -> Vec<u8> {
    [&[text.len() as u8], text].concat()
}

fn listpack(elements: &[u8], told: u16) -> Vec<u8> {
    let bytes = (7 + elements.len() as u32).to_le_bytes();
    string(&[&bytes[..], &told.to_le_bytes(), elements, &[0xff]].concat())
}

fn ziplist(elements: &[u8], told: u16) -> Vec<u8> {
    let bytes = (11 + elements.len() as u32).to_le_bytes();
    string(&[&bytes[..], &[0; 4], &told.to_le_bytes(), elements, &[0xff]].concat())
}

const A_1: &[u8] = b"\x81a\x02\x01\x01";
const A_1_OLD: &[u8] = b"\x00\x01a\x03\xf2";

#[test]
fn types_that_only_old_servers_and_release_candidates_wrote_are_read() {
    let pair = ziplist(A_1_OLD, 2);
    let expiring = listpack(b"\x81a\x02\x01\x01\x00\x01\x81b\x02\x02\x01\xf1\xe8\x03\x03", 6);
    for (type_byte, family, raw, told, elements) in [
        (1, Redis, b"\x03\x01a\xc0\xff\x00".to_vec(), "a -1 ", 3),
        (3, Redis, b"\x04\x01a\x041e22\x01b\xfd\x01c\xfe\x01d\xff".to_vec(), "a:1e+22 b:nan c:inf d:-inf", 4),
        (9, Redis, string(b"\x02\x01a\x03\x02foo..\x01b\x00\x00\xff"), "a=foo b=", 2),
        (
            10,
            Redis,
            ziplist(b"\x00\x01a\x03\xfe\x80\x03\xf0\x00\x00\x80\x05\xd0\x01\x00\x00\x00", 4),
            "a -128 -8388608 1",
            4,
        ),
        (
            10,
            Redis,
            ziplist(b"\xfe\x01\x00\x00\x00\x40\x01z\x07\xf1\x03\xfd\x03\xc0\xff\x7f", u16::MAX),
            "z 0 12 32767",
            4,
        ),
        (12, Redis, pair.clone(), "a:1", 1),
        (13, Redis, pair.clone(), "a=1", 1),
        (14, Redis, [b"\x02".as_slice(), &pair, &pair].concat(), "a 1 a 1", 4),
        (22, Redis, b"\x02\x00\x01a\x01b\x43\xe8\x01c\x01d".to_vec(), "a=b c=d@1000", 2),
        (
            22,
            Valkey,
            [b"\x02\x01a\x01b".as_slice(), &[255; 8], b"\x01c\x01d\xe8\x03", &[0; 6]].concat(),
            "a=b c=d@1000",
            2,
        ),
        (23, Redis, expiring.clone(), "a=1 b=2@1000", 2),
        (23, Valkey, b"\x01\x03top\x02\x01a\x01b\x01c\x01d".to_vec(), "/top a=b c=d", 1),
        (
            24,
            Redis,
            [b"\xe8\x03\0\0\0\0\0\0\x03\x00\x01a\x01b\x01\x01c\x01d\x0b\x01e\x01f".as_slice()].concat(),
            "a=b c=d@1000 e=f@1010",
            3,
        ),
        (25, Redis, [[0; 8].as_slice(), &expiring].concat(), "a=1 b=2@1000", 2),
        (
            28,
            Redis,
            [b"\x02\x01\x05\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\x07\x02".as_slice(), &0.5_f64.to_le_bytes()]
                .concat(),
            "[0]-1 [7]0.5",
            2,
        ),
    ] {
        assert_eq!(read(type_byte, family, &raw), Ok((told.to_owned(), elements)), "{type_byte}");
        for end in 0..raw.len() {
            assert!(read(type_byte, family, &raw[..end]).is_err(), "{type_byte} cut to {end}");
        }
        assert!(read(type_byte, family, &[&raw, &[0][..]].concat()).is_err(), "{type_byte} with more behind it");
    }
}

#[test]
fn every_form_of_a_listpack_element_is_read() {
    let elements: &[u8] =
        b"\x7f\x01\xc0\x80\x02\xdf\xff\x02\xf1\x00\x80\x03\xf2\xff\xff\x7f\x04\xf3\x00\x00\x00\x80\x05";
    let wide = b"\xf4\xff\xff\xff\xff\xff\xff\xff\x7f\x09\xe0\x02hi\x04\xf0\x01\x00\x00\x00!\x06\x80\x01";
    let told = "127 128 -1 -32768 8388607 -2147483648 9223372036854775807 hi ! ";
    let raw = listpack(&[elements, wide].concat(), 10);
    assert_eq!(read(20, Redis, &raw), Ok((told.to_owned(), 10)));
    // An element of 200 bytes has two bytes of length behind it.
    let long = [b"\xe0\xc8".as_slice(), &[b'x'; 200], b"\x01\x4a\x01\x01"].concat();
    let blob = listpack(&long, 2);
    let raw = [&[0x40, blob[0]], &blob[1..]].concat();
    assert_eq!(read(16, Redis, &raw), Ok((format!("{}=1", "x".repeat(200)), 1)));
}

#[test]
fn entries_of_a_stream_that_were_deleted_are_passed_over() {
    // Two entries and one that was deleted; the usual field is "f".
    let node = b"\x02\x01\x01\x01\x01\x01\x81f\x02\x00\x01\
        \x02\x01\x00\x01\x00\x01\x811\x02\x04\x01\
        \x03\x01\x05\x01\xdf\xff\x02\x812\x02\x04\x01\
        \x00\x01\x07\x01\x02\x01\x02\x01\x81g\x02\x813\x02\x81h\x02\x814\x02\x08\x01";
    let id = [[0, 0, 0, 0, 0, 0, 0, 9], [0, 0, 0, 0, 0, 0, 0, 3]].concat();
    let blob = listpack(node, u16::MAX);
    let raw = [b"\x01\x10".as_slice(), &id, &[0x40], &blob, b"\x02\x10\x05\x00"].concat();
    let told = "9-3(1) f=1 16-5(2) g=3 h=4 2..16-5";
    assert_eq!(read(15, Redis, &raw), Ok((told.to_owned(), 2)));
    for end in 0..raw.len() {
        assert!(read(15, Redis, &raw[..end]).is_err(), "cut to {end}");
    }
}

#[test]
fn what_only_its_writer_can_read_is_said_and_measured() {
    let module = b"\x81\x00\x00\x00\x00\x00\x00\x04\x07\x02\x05\x05\x01x\x03\0\0\0\0\x04\0\0\0\0\0\0\0\0\x01\x07\x00";
    assert_eq!(read(7, Redis, module), Ok(("module AAAAAAAAB".to_owned(), 1)));
    let templates = Templates::default();
    let cron = [b"\x01s".as_slice(), &[0; 16], b"\x01\x01k\x00"].concat();
    for (type_byte, raw) in [(33, &b"\x07"[..]), (64, &cron)] {
        let value = Value { type_byte, family: Redis, raw, templates: &templates };
        assert_eq!(value.kind(), Some(Kind::Other));
        assert!(matches!(value.each(&mut |_| ControlFlow::Continue(())), Err(Unreadable::Unknown(_))));
        assert_eq!(value.measure(), Ok(Measure { elements: 1, bytes: raw.len() as u64 }));
        assert!(matches!(value.payload(11), Err(NoPayload::NotTaken(_))));
    }
    for type_byte in [6, 8, 19 + 80, 29, 31] {
        let value = Value { type_byte, family: Redis, raw: b"\x00", templates: &templates };
        assert_eq!((value.kind(), value.type_name()), (None, None));
        assert!(matches!(value.measure(), Err(Unreadable::Unknown(_))) && value.payload(11).is_err());
        assert_eq!(least_version(type_byte, Redis), None);
    }
    let value = Value { type_byte: 30, family: Redis, raw: &listpack(A_1, 2), templates: &templates };
    assert!(matches!(value.payload(11), Err(NoPayload::Unreadable(_))), "its first element is no number");
}

#[test]
fn packed_forms_that_say_they_hold_more_or_less_than_they_do_are_refused() {
    for (raw, told) in [
        (listpack(A_1, 2), true),
        (listpack(A_1, u16::MAX), true),
        (listpack(A_1, 1), false),
        (listpack(A_1, 4), false),
        (listpack(A_1, 60_000), false),
        (listpack(&[A_1, A_1].concat(), 2), false),
        (string(b"\x0c\x00\x00\x00\x02\x00\x81a\x02\x01\x01"), false),
        (string(b"\x0c\x00\x00\x00\x02\x00\x81a\x02\x01\x01\x00"), false),
        (string(b"\x0c\x00\x00\x00\x02\x00\x81a\x02\xf5\x01\xff"), false),
    ] {
        assert_eq!(read(16, Redis, &raw).is_ok(), told, "{}", raw.escape_ascii());
    }
    for (width, told) in [(2, true), (4, false), (1, false), (0, false)] {
        let raw = string(&[&[width, 0, 0, 0, 2, 0, 0, 0], &[1, 0, 2, 0][..]].concat());
        assert_eq!(read(11, Redis, &raw).is_ok(), told, "{width}");
    }
}

#[test]
fn compressed_text_is_decoded_and_refused_before_it_where_it_promises_too_much() {
    let (text, mut stored) = (vec![b'x'; 100_000], Vec::new());
    assert!(Encoder::default().encode(&text, &mut stored));
    let compressed = |length: u32| {
        let (size, length) = ((stored.len() as u32).to_be_bytes(), length.to_be_bytes());
        [&[0xc3, 0x80], &size[..], &[0x80], &length, &stored].concat()
    };
    let templates = Templates::default();
    let raw = compressed(100_000);
    let value = Value { type_byte: 0, family: Redis, raw: &raw, templates: &templates };
    assert_eq!(read(0, Redis, &raw).map(|(told, _)| told.len()), Ok(100_000));
    let spared = 100_000 - stored.len() as u64;
    assert_eq!(value.measure(), Ok(Measure { elements: 1, bytes: raw.len() as u64 + spared }));
    for length in [99_999, 100_001, 88 * stored.len() as u32 + 1, u32::MAX] {
        assert!(read(0, Redis, &compressed(length)).is_err(), "{length}");
    }
}

#[test]
fn whoever_wants_no_more_gets_no_more() {
    let templates = Templates::default();
    let value = Value { type_byte: 1, family: Redis, raw: b"\x03\x01a\x01b\xff", templates: &templates };
    let mut seen = 0;
    let ended = value.each(&mut |_| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((ended, seen), (Ok(()), 2), "what is broken behind is not read");
    assert!(value.each_of_stream(&mut |_| ControlFlow::Continue(())).is_err());
}

#[test]
fn templates_are_kept_up_to_a_bound() {
    let mut templates = Templates::default();
    templates.add(b"\x07\x02\x01a\x01b").unwrap();
    assert_eq!(templates.fields(7), Some(&[b"a".to_vec(), b"b".to_vec()][..]));
    assert_eq!(templates.fields(8), None);
    assert!(templates.add(b"\x08\x02\x01a").is_err() && templates.add(b"\x08\x01\x01a\x01").is_err());
    let count = (MOST_FIELDS as u32 + 1).to_be_bytes();
    let many = [b"\x09\x80".as_slice(), &count, &vec![0; MOST_FIELDS + 1]].concat();
    assert!(matches!(templates.add(&many), Err(Unreadable::Unknown(_))));
    assert_eq!(templates.fields(9), None);
}

#[test]
fn scores_are_written_in_the_fewest_digits_and_read_back() {
    let scores = [0.0, -0.0, 1.0, -17.5, 0.1, 1e20, 1e21, 1e300, 5e-324, 1e-6, 1.5e-7, f64::INFINITY, f64::MAX];
    let told = ["0", "-0", "1", "-17.5", "0.1", "1e+20", "1e+21", "1e+300", "5e-324", "0.000001", "1.5e-7", "inf"];
    for (score, told) in scores.iter().zip(told) {
        assert_eq!(score_text(*score), told);
    }
    for score in scores {
        assert_eq!(score_text(score).parse::<f64>().map(f64::to_bits), Ok(score.to_bits()));
    }
}

/// Type, family and bytes of each value of the dumps of servers.
fn values() -> Vec<(u8, Family, Vec<u8>)> {
    let mut values = Vec::new();
    for sample in &SAMPLES {
        let bytes = sample.bytes();
        let family = if sample.header.starts_with("VALKEY") { Valkey } else { Redis };
        let each = &mut |stretch: crate::rdb::Stretch| {
            if let What::Record { type_byte, value, .. } = stretch.what {
                values.push((type_byte, family, bytes[value as usize..stretch.end as usize].to_vec()));
            }
        };
        read_stretches(bytes.as_slice(), each).unwrap();
    }
    values
}

#[test]
fn no_part_of_a_value_is_the_value() {
    for (type_byte, family, raw) in values() {
        assert!(read(type_byte, family, &raw).is_ok());
        for end in 0..raw.len() {
            assert!(read(type_byte, family, &raw[..end]).is_err(), "{type_byte} cut to {end}");
        }
    }
}

#[test]
fn a_digest_is_the_same_whatever_pieces_the_value_comes_in() {
    let templates = Templates::default();
    let mut types = std::collections::BTreeSet::new();
    let old = [
        (3, Redis, b"\x04\x01a\x041e22\x01b\xfd\x01c\xfe\x01d\xff".to_vec()),
        (14, Redis, [b"\x02".as_slice(), &ziplist(A_1_OLD, 2), &ziplist(A_1_OLD, 2)].concat()),
        (22, Redis, b"\x02\x00\x01a\x01b\x43\xe8\x01c\x01d".to_vec()),
    ];
    for (type_byte, family, raw) in values().into_iter().chain(old) {
        let whole = Value { type_byte, family, raw: &raw, templates: &templates }.digest();
        let in_pieces = |raw: &[u8], length| {
            let mut digest = PiecewiseDigest::new(type_byte, family)?;
            raw.chunks(length).try_for_each(|piece| digest.push(piece)).and_then(|()| digest.finish()).ok()
        };
        // Text that is compressed is never read in pieces.
        let Some(digest) = in_pieces(&raw, raw.len()) else {
            assert!(type_byte != 0 || raw[0] >= 0xc0, "{raw:?}");
            continue;
        };
        for length in [1, 2, 7, 100] {
            assert_eq!(in_pieces(&raw, length), Some(digest), "{type_byte} in pieces of {length}");
        }
        assert_eq!(whole, Ok(digest), "{type_byte}");
        assert_eq!(in_pieces(&raw[..raw.len() - 1], 3), None, "{type_byte} without its end");
        assert_eq!(in_pieces(&[&raw[..], &[0]].concat(), 3), None, "{type_byte} with more behind it");
        types.insert(type_byte);
    }
    assert_eq!(types.into_iter().collect::<Vec<u8>>(), [0, 2, 3, 4, 5, 14, 15, 18, 19, 21, 22, 24]);
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(12), failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn bytes_that_are_read_are_measured_alike(
        which in any::<prop::sample::Index>(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let values = values();
        let (type_byte, family, mut raw) = which.get(&values).clone();
        for (place, byte) in places {
            let place = place.index(raw.len());
            raw[place] = byte;
        }
        // Neither panics; `read` fails where one of the two does.
        let _ = read(type_byte, family, &raw);
    }
}
