//! Dumps and AOF directories of servers that no registry has. What is in each: samples/README.md.

use std::fs;
use std::path::{Path, PathBuf};

use redkeep::format::snapshot::Role;
use redkeep::rdb::{Checksum, Finding, Structure, What, looks_like_rdb, read_stretches, read_structure};
use redkeep::redis::inspect;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis/samples")
}

fn read(name: &str) -> (Vec<u8>, Structure) {
    let bytes = fs::read(samples().join(name)).unwrap();
    let structure = read_structure(bytes.as_slice()).unwrap();
    (bytes, structure)
}

/// As a line of `counts.txt`.
fn counted(name: &str, structure: &Structure) -> String {
    let (mut expiring, mut types) = (0, [0; 8]);
    for database in structure.databases.values() {
        expiring += database.expiring;
        let of = &database.types;
        let here = [of.string, of.list, of.set, of.zset, of.hash, of.stream, of.array, of.module];
        types.iter_mut().zip(here).for_each(|(sum, here)| *sum += here);
    }
    let header = structure.header.map(|header| header.to_string()).unwrap_or_default();
    let checksum = if structure.checksum == Checksum::Unchecked { "unchecked" } else { "ok" };
    let types = types.map(|count| count.to_string()).join(" ");
    format!("{name} {header} {checksum} {} {expiring} {types}", structure.keys())
}

#[test]
fn every_dump_is_understood_to_its_end_and_counted_by_type() {
    let counts = fs::read_to_string(samples().join("counts.txt")).unwrap();
    let mut lines = counts.lines();
    assert_eq!(lines.next(), Some("file magic checksum keys expiring string list set zset hash stream array module"),);
    let mut seen = 0;
    for line in lines {
        let name = line.split(' ').next().unwrap();
        let (_, structure) = read(name);
        assert_eq!(structure.finding, Finding::Whole, "{name}");
        assert_eq!(counted(name, &structure), line);
        seen += 1;
    }
    assert!(seen >= 40, "{seen}");
}

#[test]
fn the_stretches_of_every_dump_are_all_of_it_and_each_record_is_one_by_itself() {
    const TEMPLATE: u8 = 242;
    let counts = fs::read_to_string(samples().join("counts.txt")).unwrap();
    let mut records = 0;
    for name in counts.lines().skip(1).map(|line| line.split(' ').next().unwrap()) {
        let bytes = fs::read(samples().join(name)).unwrap();
        let (magic, mut at) = (&bytes[..9], 9);
        // What hashes of a template need before them.
        let mut templates = Vec::new();
        let structure = read_stretches(bytes.as_slice(), &mut |stretch| {
            assert_eq!(stretch.begin, at, "{name}");
            at = stretch.end;
            let inside = &bytes[stretch.begin as usize..stretch.end as usize];
            match stretch.what {
                What::Event { opcode: TEMPLATE } => templates.extend_from_slice(inside),
                What::Event { .. } | What::Prefix { .. } => {}
                What::Record { type_byte, .. } => {
                    assert_eq!(inside[0], type_byte, "{name}");
                    let alone = [magic, &templates, inside, b"\xff", &[0; 8]].concat();
                    let alone = read_structure(alone.as_slice()).unwrap();
                    assert_eq!((alone.finding.clone(), alone.keys()), (Finding::Whole, 1), "{name}");
                    records += 1;
                }
            }
        });
        assert_eq!(structure.unwrap().end, Some(at + 9), "{name}");
    }
    assert!(records > 5000, "{records}");
}

#[test]
fn what_no_reader_can_know_is_told_and_no_damage() {
    let (_, newer) = read("synthetic/redis19-unknown-type.rdb");
    assert_eq!((newer.is_suspect(), newer.keys(), newer.checksum), (false, 1, Checksum::Verified));
    assert!(newer.reason().unwrap().contains("a value of type 100"), "{:?}", newer.reason());
    let (bytes, container) = read("synthetic/valkey92-stream-lz4.rdb");
    assert!(looks_like_rdb(&bytes));
    assert_eq!((container.is_suspect(), container.keys()), (false, 0));
    assert!(container.reason().unwrap().contains("a compressed dump of Valkey"), "{:?}", container.reason());
    for role in [Role::Dump, Role::Base, Role::SingleAof] {
        let reading = inspect(role, &mut bytes.as_slice()).unwrap();
        assert_eq!((reading.suspect, reading.note.is_some()), (None, true), "{role:?}");
        assert_eq!(reading.facts.get("not-understood"), reading.note.as_ref(), "{role:?}");
    }
}

#[test]
fn every_cut_and_every_flipped_byte_of_a_newer_dump_is_seen() {
    for name in ["third-party/native-types-8.9.241.rdb", "synthetic/redis15-hash-templates.rdb"] {
        let (bytes, _) = read(name);
        for length in 0..bytes.len() {
            assert!(read_structure(&bytes[..length]).unwrap().is_suspect(), "{name} cut to {length}");
        }
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 0x11;
            assert!(read_structure(flipped.as_slice()).unwrap().is_suspect(), "{name}, byte {place}");
        }
    }
}

#[test]
fn every_file_of_an_aof_directory_is_whole() {
    let mut seen = 0;
    for server in ["redis-8.2.3", "redis-unstable-e58041978", "valkey-9.1.2"] {
        for directory in ["aof-rdb-base", "aof-resp-base", "aof-multi"] {
            let directory = samples().join(server).join(directory).join("appendonlydir");
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let role = match name.as_str() {
                    name if name.ends_with(".manifest") => Role::Manifest,
                    name if name.contains(".base.") => Role::Base,
                    _ => Role::Incr,
                };
                let reading = inspect(role, &mut fs::File::open(&path).unwrap()).unwrap();
                assert_eq!((reading.suspect, reading.note), (None, None), "{}", path.display());
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 3 * (3 + 3 + 6));
}
