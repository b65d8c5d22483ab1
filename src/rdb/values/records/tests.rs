//! Records are handed on with their bytes, whatever pieces the dump comes in and however long others are.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has failed")]

use std::io::{self, Read};
use std::ops::ControlFlow;

use super::{Record, read_preamble_records, read_records};
use crate::rdb::samples::SAMPLES;
use crate::rdb::{What, read_stretches, read_structure};

/// Gives a few bytes at a time.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let most = room.len().min(self.1);
        self.0.read(&mut room[..most])
    }
}

/// Database, key, expiry, idle time, frequency, type and how many bytes the value has, if it is kept.
fn shown(record: &Record<'_>) -> String {
    let key = record.key.as_ref().map(|key| key.escape_ascii().to_string());
    let value = record.value.map(|value| (value.type_byte, value.raw.len()));
    format!("{} {key:?} {:?} {:?} {:?} {value:?}", record.database, record.expires, record.idle, record.frequency)
}

fn all(input: impl Read, longest: usize) -> Vec<String> {
    let mut all = Vec::new();
    let structure = read_records(input, longest, &mut |record| {
        all.push(shown(record));
        ControlFlow::Continue(())
    });
    assert!(structure.unwrap().unwrap().is_whole());
    all
}

#[test]
fn every_record_of_a_dump_is_handed_on_with_its_bytes() {
    for sample in &SAMPLES {
        let bytes = sample.bytes();
        let mut records = 0;
        let structure = read_records(bytes.as_slice(), usize::MAX, &mut |record| {
            let What::Record { type_byte, value, database } = record.stretch.what else { panic!() };
            let raw = &bytes[value as usize..record.stretch.end as usize];
            assert_eq!(record.value.map(|value| (value.type_byte, value.raw)), Some((type_byte, raw)));
            assert_eq!((record.database, record.kind), (database, record.value.unwrap().kind()));
            let (key, stored) =
                (record.key.as_ref().unwrap(), &bytes[record.stretch.begin as usize + 1..value as usize]);
            assert_eq!([&[key.len() as u8], key.as_ref()].concat(), stored);
            assert!(record.idle.is_some() != record.frequency.is_some(), "{}", sample.server);
            records += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(structure.unwrap(), Some(read_structure(bytes.as_slice()).unwrap()));
        let told = all(bytes.as_slice(), usize::MAX);
        assert_eq!(told.len(), records);
        assert_eq!(told.iter().filter(|record| record.contains("Some(17")).count(), 1, "one expires");
        assert_eq!(all(Trickle(&bytes, 1), usize::MAX), told);
        assert_eq!(all(Trickle(&bytes, 1), 1 << 10), told);
    }
}

#[test]
fn what_stands_before_a_record_is_of_the_next_one_only() {
    let dump = b"REDIS0009\xfa\x01a\x01b\xf8\x40\x64\xfd\x02\0\0\0\x00\x01k\x01v\xfc\x09\x01\0\0\0\0\0\0\xf9\x07\x00\x01l\x01v\xfe\x05\x00\xc0\x07\x01v\xff\0\0\0\0\0\0\0\0";
    let told = [
        r#"0 Some("k") Some(2000) Some(100) None Some((0, 2))"#,
        r#"0 Some("l") Some(265) None Some(7) Some((0, 2))"#,
        r#"5 Some("7") None None None Some((0, 2))"#,
    ];
    assert_eq!(all(&dump[..], 100), told);
}

/// A dump with strings of these lengths behind keys of one letter.
fn dump(lengths: &[u32]) -> Vec<u8> {
    let record = |(nth, length): (usize, &u32)| {
        let value = vec![b'v'; *length as usize];
        [&[0, 1, b'a' + nth as u8, 0x80], &length.to_be_bytes()[..], &value].concat()
    };
    let records: Vec<u8> = lengths.iter().enumerate().flat_map(record).collect();
    [b"REDIS0009", &records[..], b"\xff", &[0; 8]].concat()
}

#[test]
fn a_record_that_is_longer_than_what_is_kept_has_its_key_and_harms_no_other() {
    const KIB: u32 = 1 << 10;
    let lengths = [3, 900, 1100, 4000 * KIB, 5, 700 * KIB, 900, 300 * KIB, 1, 256 * KIB, 512 * KIB, 1500 * KIB, 2];
    let dump = dump(&lengths);
    for longest in [0, 2, 1000, 300 << 10, 600 << 10, usize::MAX] {
        for piece in [1 << 10, 100_000, usize::MAX] {
            let mut nth = 0;
            let structure = read_records(Trickle(&dump, piece), longest, &mut |record| {
                let (length, whole) = (lengths[nth] as usize + 5, lengths[nth] as usize + 8);
                assert_eq!(
                    record.value.map(|value| value.raw.len()),
                    (whole <= longest).then_some(length),
                    "{longest} {nth}"
                );
                assert!(record.value.is_none_or(|value| value.raw.ends_with(b"v") && value.raw[0] == 0x80));
                let key = [b'a' + nth as u8];
                assert_eq!(record.key.as_deref(), (longest > 2).then_some(&key[..]), "{longest} {nth}");
                assert_eq!(record.stretch.end - record.stretch.begin, whole as u64);
                nth += 1;
                ControlFlow::Continue(())
            });
            assert!(structure.unwrap().unwrap().is_whole());
            assert_eq!(nth, lengths.len());
        }
    }
}

#[test]
fn who_is_told_to_stop_reads_no_further() {
    struct Counted<R>(R, usize);
    impl<R: Read> Read for Counted<R> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            self.0.read(room)
        }
    }
    let dump = dump(&[1, 2, 3, 5_000_000]);
    let (mut input, mut seen) = (Counted(dump.as_slice(), 0), 0);
    let mut stop = |_: &Record<'_>| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert_eq!(read_records(&mut input, 1000, &mut stop).unwrap(), None);
    assert_eq!((seen, input.1), (2, 1), "all it takes is in the first piece");

    let file = [&SAMPLES[0].bytes()[..], b"*1\r\n$4\r\nPING\r\n"].concat();
    let (mut trailing, mut keys) = (Vec::new(), 0);
    let structure = read_preamble_records(
        file.as_slice(),
        1000,
        &mut |_| {
            keys += 1;
            ControlFlow::Continue(())
        },
        &mut |piece| trailing.extend_from_slice(piece),
    );
    assert_eq!((structure.unwrap().unwrap().keys(), &trailing[..]), (keys, &b"*1\r\n$4\r\nPING\r\n"[..]));
    let none = &mut |_: &[u8]| panic!("nothing follows what was stopped");
    let stopped = read_preamble_records(file.as_slice(), 1000, &mut |_| ControlFlow::Break(()), none);
    assert_eq!(stopped.unwrap(), None);
}

#[test]
fn cut_dumps_hand_on_what_was_followed_to_its_end() {
    let bytes = SAMPLES[3].bytes();
    for length in 0..bytes.len() {
        let (mut records, mut stretches) = (Vec::new(), Vec::new());
        let told = read_records(&bytes[..length], usize::MAX, &mut |record| {
            records.push(record.stretch);
            ControlFlow::Continue(())
        });
        let structure = read_stretches(&bytes[..length], &mut |stretch| stretches.push(stretch)).unwrap();
        stretches.retain(|stretch| matches!(stretch.what, What::Record { .. }));
        assert_eq!((told.unwrap(), records), (Some(structure), stretches));
    }
}
