//! What the reader of dumps makes of real, odd and damaged ones.

#![allow(clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::io::{self, Read};

use proptest::prelude::{ProptestConfig, any, prop, proptest};
use proptest::test_runner::RngSeed;

use super::samples::SAMPLES;
use super::source::BUFFER;
use super::{Checksum, Family, Finding, Header, Module, Structure, looks_like_rdb, read_header};
use super::{read_preamble, read_structure};

fn read(bytes: &[u8]) -> Structure {
    read_structure(bytes).expect("a slice can be read")
}

fn crc64(bytes: &[u8]) -> u64 {
    crc::Crc::<u64>::new(&crc::CRC_64_REDIS).checksum(bytes)
}

/// A file of these parts, with its EOF mark and checksum.
fn file(magic: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = [magic.as_bytes(), &parts.concat(), b"\xff"].concat();
    bytes.extend(crc64(&bytes).to_le_bytes());
    bytes
}

fn not_understood(offset: u64, what: &str) -> Finding {
    Finding::NotUnderstood { offset, what: what.to_owned() }
}

/// Gives its bytes in pieces of the wanted size, remembers how many, and that it was read to its end.
struct Trickle<'a> {
    left: &'a [u8],
    piece: usize,
    ended: bool,
}

impl Read for Trickle<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        assert!(!self.ended, "read again after its end");
        let wanted = room.len().min(self.piece);
        let read = self.left.read(room.get_mut(..wanted).unwrap_or_default())?;
        self.ended = read == 0;
        Ok(read)
    }
}

#[test]
fn dumps_of_real_servers_are_understood_wholly() {
    for sample in &SAMPLES {
        let structure = read(&sample.bytes());
        assert_eq!(structure.finding, Finding::Whole, "{}", sample.server);
        assert_eq!(structure.checksum, Checksum::Verified, "{}", sample.server);
        assert_eq!(structure.header.map(|header| header.to_string()).as_deref(), Some(sample.header));
        assert_eq!((structure.trailing, structure.end), (0, Some(structure.length)));
        assert_eq!(structure.functions, sample.functions);
        let numbers: Vec<u64> = structure.databases.keys().copied().collect();
        assert_eq!(numbers, [0, 7]);
        let (first, types) = (&structure.databases[&0], &structure.databases[&0].types);
        let by_type = [types.string, types.list, types.set, types.zset, types.hash, types.stream, types.module];
        assert_eq!(by_type, sample.types, "{}", sample.server);
        assert_eq!((first.keys, first.expiring), (sample.types.iter().sum(), 1));
        // One packed and one not, from Redis 7.4 and Valkey 9 on.
        let has_field_expiry = ["Redis 7.4.1", "Redis 8.2.3", "Valkey 9.1.2"].contains(&sample.server);
        assert_eq!(first.volatile, if has_field_expiry { 2 } else { 0 }, "{}", sample.server);
        let aux = &structure.aux;
        let version = aux.valkey_version.clone().or(aux.redis_version.clone());
        assert_eq!(version.as_deref(), sample.server.split(' ').nth(1));
        assert_eq!((aux.bits, aux.aof_base), (Some(64), Some(false)));
    }
    let vectorset = Module { name: "vectorset".to_owned(), version: 0 };
    assert_eq!(read(&SAMPLES[3].bytes()).modules, [vectorset]);
}

#[test]
fn a_dump_cut_short_anywhere_is_suspect() {
    for sample in &SAMPLES {
        let bytes = sample.bytes();
        for length in 0..bytes.len() {
            let structure = read(&bytes[..length]);
            assert!(structure.is_suspect(), "{} cut to {length}", sample.server);
            assert_eq!(structure.checksum, Checksum::NotReached);
            assert_eq!(structure.length, length as u64);
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_makes_a_dump_suspect() {
    for sample in &SAMPLES {
        let mut bytes = sample.bytes();
        for place in 0..bytes.len() {
            for bit in 0..8 {
                bytes[place] ^= 1 << bit;
                assert!(read(&bytes).is_suspect(), "{} bit {bit} of byte {place}", sample.server);
                bytes[place] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn a_checksum_of_zero_is_unchecked() {
    let mut bytes = SAMPLES[1].bytes();
    let end = bytes.len() - 8;
    bytes[end..].fill(0);
    let structure = read(&bytes);
    assert_eq!((structure.finding, structure.checksum), (Finding::Whole, Checksum::Unchecked));
}

#[test]
fn before_version_5_there_is_no_checksum() {
    let bytes = b"REDIS0003\xfe\x00\x00\x01k\x01v\xff";
    let structure = read(bytes);
    assert_eq!((&structure.finding, structure.checksum, structure.keys()), (&Finding::Whole, Checksum::Absent, 1));
    assert!(read(&[bytes.as_slice(), b"12345678"].concat()).is_suspect());
}

#[test]
fn forms_that_no_tested_server_writes_are_passed() {
    let module_id = 0x0123_4567_89ab_cdef_u64.to_be_bytes();
    let sixteen = [7_u8; 16];
    let stream_group: &[&[u8]] = &[b"\x01g\x01\x01\x01", &sixteen, b"12345678\x02\x01\x01c12345678\x01", &sixteen];
    let bodies: &[(&str, Vec<u8>)] = &[
        ("REDIS0009", b"\x00\x01k\x40\x03abc".to_vec()),
        ("REDIS0009", b"\x00\x01k\x80\x00\x00\x00\x03abc".to_vec()),
        ("REDIS0009", b"\x00\x01k\x81\x00\x00\x00\x00\x00\x00\x00\x03abc".to_vec()),
        ("REDIS0006", b"\x03\x01k\x04\x01a\xfd\x01b\xfe\x01c\xff\x01d\x032.5".to_vec()),
        ("REDIS0006", b"\xfd1234\x09\x01k\x04blob".to_vec()),
        ("REDIS0007", b"\x0e\x01k\x02\x04blob\x04blob".to_vec()),
        ("REDIS0009", [b"\x0f\x01k\x00\x00\x00\x00\x01".as_slice(), &stream_group.concat()].concat()),
        (
            "REDIS0009",
            [b"\x07\x01k\x81", module_id.as_slice(), b"\x01\x05\x02\x06\x031234\x0412345678\x05\x01s\x00"].concat(),
        ),
        ("REDIS0009", [b"\xf7\x81", module_id.as_slice(), b"\x02\x01\x05\x01s\x00\x00\x01k\x01v"].concat()),
        ("REDIS0012", b"\xf4\x05\x01\x00\x00\x01k\x01v".to_vec()),
        ("REDIS0011", b"\x16\x01k\x01\x05\x01f\x01v".to_vec()),
        ("REDIS0011", b"\x17\x01k\x04blob".to_vec()),
        ("VALKEY080", b"\x16\x01k\x01\x01f\x01v12345678".to_vec()),
        ("VALKEY081", b"\x17\x01k\x01\x01p\x02\x01f\x01v\x01g\x01w".to_vec()),
        ("REDIS0009", [b"\x40\x01k\x01s".as_slice(), &sixteen, b"\x01\x01k\x02\x01a\x01b"].concat()),
        ("REDIS0014", b"\x21\x01k\x05".to_vec()),
        ("VALKEY080", b"\xf3\x04name\x02\x01\x02\x03\x04\x00\x01k\x01v".to_vec()),
    ];
    for (magic, body) in bodies {
        let structure = read(&file(magic, &[body]));
        assert_eq!(structure.finding, Finding::Whole, "{magic} {}", body.escape_ascii());
        assert_eq!(structure.keys(), 1, "{}", body.escape_ascii());
    }
}

#[test]
fn what_is_unknown_is_no_ground_for_suspicion_while_the_checksum_is_right() {
    let cases: &[(&str, &[u8], &str)] = &[
        ("REDIS0012", b"\x1d\x01k", "a value of type 29"),
        ("VALKEY080", b"\x18\x01k", "a value of type 24"),
        ("REDIS0008", b"\x06\x01k", "a value of type 6"),
        ("VALKEY081", b"\xf2\x01", "the opcode 242"),
        ("REDIS0014", b"\x1c\x01k\x01\x00\x01\x09", "an array's element of form 9"),
        ("REDIS0010", b"\xf6\x01", "the opcode 246"),
        ("REDIS0099", b"\x12\x01k\x01\x03\x01v", "a list node in container 3"),
        ("REDIS0099", b"\x00\x01k\x50", "the file ends at 42 within a string"),
    ];
    for (magic, body, what) in cases {
        let unknown = file(magic, &[b"\x00\x01a\x01v", body, b"\xff rest of a newer form"]);
        let unknown = if what.starts_with("the file ends") {
            file(magic, &[b"\x00\x01a\x01v", body, b"some newer form"])
        } else {
            unknown
        };
        let structure = read(&unknown);
        assert_eq!(structure.finding, not_understood(14, what));
        assert_eq!((structure.checksum, structure.keys()), (Checksum::Verified, 1));
    }
}

#[test]
fn what_is_unknown_is_suspect_when_the_file_does_not_end_with_its_checksum() {
    let mut bytes = file("REDIS0012", &[b"\x1d\x01k\xff and more"]);
    let end = bytes.len() - 8;
    bytes[end..].fill(0);
    assert_eq!(read(&bytes).finding, not_understood(9, "a value of type 29"));
    assert_eq!(read(&bytes).checksum, Checksum::Unchecked);
    bytes[end] = 1;
    assert_eq!(read(&bytes).checksum, Checksum::Wrong);
    let reason = read(&bytes).reason().expect("there is one");
    assert_eq!(reason, "suspect at 9: a value of type 29, and the file does not end with its checksum");
}

#[test]
fn a_preamble_that_is_not_understood_ends_where_its_checksum_is_right() {
    let commands = b"*1\r\n$4\r\nPING\r\n";
    let preamble = file("REDIS0009", &[b"\x1d\x01k\xff and \xff more"]);
    let whole = [preamble.as_slice(), commands].concat();
    for piece in [1, 7, 1 << 20] {
        let (mut trailing, input) = (Vec::new(), Trickle { left: &whole, piece, ended: false });
        let structure = read_preamble(input, &mut |bytes| trailing.extend_from_slice(bytes)).expect("it can be read");
        assert_eq!(structure.finding, not_understood(9, "a value of type 29"));
        assert_eq!((structure.checksum, structure.end), (Checksum::Verified, Some(preamble.len() as u64)));
        assert_eq!((trailing.as_slice(), structure.trailing), (&commands[..], commands.len() as u64));
    }

    let read = |bytes: &[u8]| {
        let structure = read_preamble(bytes, &mut |_| panic!("where the preamble ends is not known"));
        structure.expect("a slice can be read")
    };
    // With `rdbchecksum no` it cannot be told from damage.
    let (mut unchecked, end) = (whole.clone(), preamble.len() - 8);
    unchecked[end..end + 8].fill(0);
    let structure = read(&unchecked);
    assert_eq!(structure.finding, not_understood(9, "a value of type 29"));
    assert_eq!((structure.checksum, structure.end), (Checksum::NotReached, None));
    for place in [end, end - 2, 10] {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        let structure = read(&damaged);
        assert_eq!((structure.checksum, structure.end), (Checksum::NotReached, None));
        let reason = structure.reason().expect("there is one");
        assert_eq!(reason, "suspect at 9: a value of type 29, and no checksum is right behind it");
    }
}

#[test]
fn what_follows_the_checksum_is_handed_on() {
    let dump = SAMPLES[0].bytes();
    let commands = b"*1\r\n$4\r\nPING\r\n".repeat(40_000);
    let whole = [dump.as_slice(), &commands].concat();
    for piece in [1, 7, 1 << 20] {
        let (mut trailing, input) = (Vec::new(), Trickle { left: &whole, piece, ended: false });
        let structure = read_preamble(input, &mut |bytes| trailing.extend_from_slice(bytes)).expect("it can be read");
        assert_eq!((structure.finding.clone(), structure.end), (Finding::Whole, Some(dump.len() as u64)));
        assert!(structure.trailing_is_commands);
        assert_eq!((structure.trailing, structure.length), (commands.len() as u64, whole.len() as u64));
        assert!(trailing == commands);
    }
    assert!(!read(&[dump.as_slice(), b"\0\0"].concat()).trailing_is_commands);
}

#[test]
fn a_wrong_checksum_before_commands_is_suspect_and_the_commands_are_handed_on() {
    let mut bytes = SAMPLES[0].bytes();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bytes.extend(b"*1\r\n$4\r\nPING\r\n");
    let mut trailing = Vec::new();
    let structure = read_preamble(bytes.as_slice(), &mut |rest| trailing.extend_from_slice(rest));
    let structure = structure.expect("a slice can be read");
    assert_eq!((structure.is_suspect(), structure.checksum), (true, Checksum::Wrong));
    assert_eq!(trailing, b"*1\r\n$4\r\nPING\r\n");
}

#[test]
fn values_longer_than_the_buffer_are_passed() {
    let value = vec![b'x'; 3 * BUFFER + 5];
    let mut string = b"\x00\x01k\x80".to_vec();
    string.extend((value.len() as u32).to_be_bytes());
    let bytes = file("REDIS0009", &[&string, &value, b"\x00\x01l\x01v"]);
    for piece in [1000, BUFFER - 3, usize::MAX] {
        let structure = read_structure(Trickle { left: &bytes, piece, ended: false }).expect("it can be read");
        assert_eq!((&structure.finding, structure.keys()), (&Finding::Whole, 2));
    }
}

#[test]
fn a_length_past_the_end_is_suspect_and_costs_nothing() {
    for body in
        [b"\x00\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff".as_slice(), b"\x02\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        let structure = read(&[b"REDIS0009\x00\x01a\x01v", body].concat());
        assert_eq!((structure.is_suspect(), structure.keys()), (true, 1));
        assert!(structure.reason().expect("there is one").starts_with("suspect at 14: the file ends at 26 within a s"));
    }
}

#[test]
fn an_error_of_the_input_is_no_finding() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("unplugged"))
        }
    }
    let input = SAMPLES[0].bytes();
    let error = read_structure(input.get(..100).expect("it is longer").chain(Failing)).expect_err("it fails");
    assert_eq!(error.to_string(), "unplugged");
}

#[test]
fn the_first_bytes_tell_the_version_and_the_moment() {
    let bytes = SAMPLES[2].bytes();
    let peek = read_header(&bytes).expect("it is a dump");
    assert_eq!(peek.header, Header { family: Family::Redis, version: 12 });
    assert_eq!(peek.aux, read(&bytes).aux);
    assert!(peek.aux.ctime.is_some());
    let short = read_header(&bytes[..20]).expect("it is a dump");
    assert_eq!((short.header, short.aux.ctime), (peek.header, None));
    for (first, expected) in [
        (b"REDIS0011".as_slice(), true),
        (b"VALKEY080...", true),
        (b"REDIS0000", false),
        (b"REDIS00x1", false),
        (b"REDIS001", false),
        (b"*2\r\n$6\r\nSELECT\r\n", false),
        (b"", false),
    ] {
        assert_eq!(looks_like_rdb(first), expected, "{}", first.escape_ascii());
        assert_eq!(read_header(first).is_some(), expected);
    }
}

/// Reads in pieces, and checks that the input was read to its end and the report does not depend on the pieces.
fn read_in_pieces(bytes: &[u8], piece: usize) -> Structure {
    let mut input = Trickle { left: bytes, piece, ended: false };
    let structure = read_structure(&mut input).expect("it can be read");
    assert!(input.ended, "not read to its end");
    assert_eq!(structure.length, bytes.len() as u64);
    structure
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_bytes_they_are_read_once_to_their_end(
        valkey in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        piece in 1_usize..20,
    ) {
        let magic: &[u8] = if valkey { b"VALKEY080" } else { b"REDIS0012" };
        let bytes = [magic, &bytes].concat();
        assert_eq!(read_in_pieces(&bytes, piece), read_in_pieces(&bytes, usize::MAX));
    }

    #[test]
    fn damaged_dumps_are_read_once_to_their_end(
        sample in 0_usize..SAMPLES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        piece in 1_usize..500,
    ) {
        let whole = SAMPLES[sample].bytes();
        let mut bytes = whole.clone();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let structure = read_in_pieces(&bytes, piece);
        assert_eq!(structure, read_in_pieces(&bytes, usize::MAX));
        // Eight zeros after a false EOF mark pass for a checksum that was not computed.
        assert!(structure.is_suspect() != (bytes == whole) || structure.checksum == Checksum::Unchecked);
    }
}
