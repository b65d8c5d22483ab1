//! Repositories of each format version, kept as they were written: every later redkeep reads them.
//!
//! `v0` holds two snapshots that redkeep took of a server's directory, and a third by a writer of its own, with deltas of
//! both kinds and of one and two bases, padding, labels, two levels of lists, a tombstone, a forgotten record and a ledger. `v0-swept` was written by
//! redkeep alone: five days with deltas, two of them and eight hours forgotten, swept and folded, a rotation of the keys between, so that objects
//! of two epochs stand in it, and the note of a check. `v0-condemned` was written by redkeep alone: six days, three of them
//! forgotten; one condemnation still waits, another is buried, one of its two packs deleted, and there the sweep died; a
//! killed backup left a lease, and one that was given up a tombstone.
//! `v0-canonical` was written by redkeep alone: four days of dumps and an AOF base in canonical form, in buckets of 512 bytes, with every
//! stream that a canonical part had then (all but 7), deltas, and a dump of which only the begin is canonical; its manifest is captured without `endoffset`.
//! `v0-long` was written by redkeep alone: three dumps, of collections of each kind that are too long to be made canonical, in buckets of
//! 256 bytes; one is of the same server after a restart, with an element less.
//! Each `expected.json` was written from the directories, not from the repository.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use redkeep::format::keys::SecretKind;
use redkeep::format::snapshot::{File, FileKind};
use redkeep::operations::list::{Filter, Selector, choose, dump, snapshots};
use redkeep::operations::{Silent, prune, restore};
use redkeep::repository::{CheckDepth, Credential, Places, Repository};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::second_reader::{FileView, SecondReader};
use crate::support::mini_writer::hex;
use crate::support::repository::{Hands, copy, local, password};

/// A golden repository, copied so that nothing changes it, and what is in it.
struct Golden {
    expected: Value,
    root: PathBuf,
    temp: TempDir,
}

/// Golden repositories of every format version.
fn all() -> Vec<Golden> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format/golden");
    let versions: Vec<PathBuf> = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!versions.is_empty());
    let open = |version: PathBuf| {
        let temp = TempDir::new().unwrap();
        let root = temp.path().join("repository");
        copy(&version.join("repository"), &root);
        let expected = fs::read_to_string(version.join("expected.json")).unwrap();
        Golden { expected: serde_json::from_str(&expected).unwrap(), root, temp }
    };
    versions.into_iter().map(open).collect()
}

impl Golden {
    fn password(&self) -> &str {
        self.expected["password"].as_str().unwrap()
    }

    fn open(&self, credential: Credential) -> Repository {
        Repository::open(local(&self.root), credential, Hands::new(9).ambient("later"), Places::default(), None)
            .unwrap()
    }

    fn snapshots(&self) -> &[Value] {
        self.expected["snapshots"].as_array().unwrap()
    }

    /// A count, 0 where `expected.json` says nothing.
    fn number(&self, field: &str) -> u64 {
        self.expected.get(field).map_or(0, |number| number.as_u64().unwrap())
    }

    /// Nobody rewrote any of it for two days, so that no lease in it is a living session's.
    fn grow_old(&self) {
        let before = SystemTime::now() - Duration::from_secs(2 * 24 * 3600);
        for entry in walkdir::WalkDir::new(&self.root).into_iter().map(Result::unwrap) {
            fs::File::open(entry.path()).unwrap().set_modified(before).unwrap();
        }
    }

    /// The second reader finds every snapshot, and every byte of it.
    fn assert_read_by(&self, reader: &SecondReader) {
        assert_eq!(reader.notices(), Vec::<String>::new());
        let snapshots = reader.snapshots().unwrap();
        assert_eq!(snapshots.len(), self.snapshots().len());
        assert_eq!(reader.alarms(&snapshots).unwrap(), Vec::<String>::new());
        for (snapshot, expected) in snapshots.iter().zip(self.snapshots()) {
            assert_eq!(expected["id"], json!(snapshot.id));
            assert_eq!(expected["dataset"], json!(snapshot.dataset));
            assert_eq!(expected["sequence"], json!(snapshot.sequence));
            assert_eq!(expected["tags"], json!(snapshot.tags));
            let files: Vec<Value> = snapshot.files.iter().map(viewed).collect();
            assert_eq!(expected["files"], json!(files));
            for file in snapshot.files.iter().filter(|file| file.kind == 0) {
                let bytes = reader.file(snapshot, &file.path).unwrap();
                assert_eq!(file.hash, Some(*blake3::hash(&bytes).as_bytes()));
            }
        }
    }
}

/// A file as `expected.json` has it, without its content.
fn described(file: &File) -> Value {
    let mut fields = json!({
        "path": file.display_path(),
        "kind": file.kind as u64,
        "mode": format!("{:o}", file.mode),
        "mtime": file.mtime,
        "nanos": file.mtime_nanos,
        "size": file.size,
        "role": file.role as u64,
    });
    if let Some(hash) = &file.hash {
        fields["blake3"] = json!(hash.to_string());
    }
    if let Some(target) = &file.target {
        fields["target"] = json!(String::from_utf8_lossy(target));
    }
    fields
}

/// The same from the second reader.
fn viewed(file: &FileView) -> Value {
    let mut fields = json!({
        "path": String::from_utf8_lossy(&file.path),
        "kind": file.kind,
        "mode": format!("{:o}", file.mode),
        "mtime": file.mtime.0,
        "nanos": file.mtime.1,
        "size": file.size,
        "role": file.role,
    });
    if let Some(hash) = &file.hash {
        fields["blake3"] = json!(hex(hash));
    }
    if let Some(target) = &file.target {
        fields["target"] = json!(String::from_utf8_lossy(target));
    }
    fields
}

#[test]
fn redkeep_reads_every_golden_repository() {
    for golden in all() {
        let repository = golden.open(password(golden.password()));
        let (infos, alarms) = snapshots(&repository, &Filter::default()).unwrap();
        assert_eq!((alarms.as_slice(), infos.len()), (&[][..], golden.snapshots().len()));
        for (info, expected) in infos.iter().zip(golden.snapshots()) {
            let chosen = choose(&repository, &Selector::Id(info.name.session.to_string()), None).unwrap();
            let snapshot = &chosen.snapshot;
            assert_eq!(expected["id"], json!(info.name.session.to_string()));
            assert_eq!(expected["dataset"], json!(snapshot.dataset));
            assert_eq!(expected["sequence"], json!(snapshot.sequence));
            assert_eq!(expected["tags"], json!(snapshot.tags));
            let files: Vec<Value> = snapshot.files.iter().map(described).collect();
            assert_eq!(expected["files"], json!(files));
            for file in snapshot.files.iter().filter(|file| file.kind == FileKind::File) {
                let mut bytes = Vec::new();
                dump(&repository, snapshot, &file.path, &mut bytes, &Silent).unwrap();
                assert_eq!(file.hash.unwrap().0, *blake3::hash(&bytes).as_bytes(), "{}", file.display_path());
            }
        }
        let check = repository.check(CheckDepth::Data, &|| false, &|_, _| {}).unwrap();
        assert_eq!((check.damage.as_slice(), check.lost_files.as_slice()), (&[][..], &[][..]));
        let unindexed = golden.number("unindexed_packs");
        assert_eq!((check.snapshots, check.unindexed_packs), (golden.snapshots().len() as u64, unindexed));
    }
}

/// Every condemnation and burial says what it should, and the snapshots need none of the packs it names.
#[test]
fn the_second_reader_reads_every_golden_repository_without_its_condemned_packs() {
    for golden in all() {
        let reader = SecondReader::open(&golden.root, golden.password()).unwrap();
        let (condemned, burials) = (reader.condemned().unwrap(), reader.burials().unwrap());
        let counts = (condemned.len() as u64, burials.len() as u64);
        assert_eq!(counts, (golden.number("condemned"), golden.number("buried")));
        for burial in &burials {
            let named = condemned.iter().filter(|of| burial.condemned.contains(&of.id));
            let packs: Vec<[u8; 32]> = named.flat_map(|of| of.packs.iter().copied()).collect();
            assert!(burial.packs == packs && burial.rescue.iter().all(|pack| !packs.contains(pack)), "{burial:?}");
        }
        let names = condemned.iter().flat_map(|of| &of.packs).map(|pack| hex(pack));
        let paths = names.map(|name| golden.root.join("packs").join(&name[..2]).join(name));
        let deleted = paths.filter(|path| fs::remove_file(path).is_ok()).count();
        assert_eq!(deleted > 0, counts.0 > 0);
        golden.assert_read_by(&SecondReader::open_from_footers(&golden.root, golden.password()).unwrap());
    }
}

/// SWEEP-9, SWEEP-10
#[test]
fn redkeep_ends_the_sweep_of_every_golden_repository() {
    let options = prune::Options { grace: Duration::ZERO, max_unused: 0.0, ..prune::Options::default() };
    for golden in all() {
        let repository = golden.open(password(golden.password()));
        golden.grow_old();
        prune::prune(&repository, &options, &Silent).unwrap();
        let reader = SecondReader::open(&golden.root, golden.password()).unwrap();
        assert_eq!((reader.condemned().unwrap(), reader.burials().unwrap()), (vec![], vec![]));
        golden.assert_read_by(&reader);
        let check = repository.check(CheckDepth::Data, &|| false, &|_, _| {}).unwrap();
        assert_eq!((check.damage, check.unindexed_packs), (vec![], 0));
    }
}

#[test]
fn every_golden_repository_opens_with_its_key_file() {
    for golden in all() {
        let digits = golden.expected["key_file"].as_str().unwrap();
        let digit = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let secret: Vec<u8> = (0..digits.len()).step_by(2).map(digit).collect();
        let repository = golden.open(Credential { kind: SecretKind::KeyFile, secret: secret.into() });
        assert_eq!(snapshots(&repository, &Filter::default()).unwrap().0.len(), golden.snapshots().len());
    }
}

#[test]
fn every_golden_repository_is_restored_as_it_was() {
    for golden in all() {
        let repository = golden.open(password(golden.password()));
        for expected in golden.snapshots() {
            let id = expected["id"].as_str().unwrap();
            let chosen = choose(&repository, &Selector::Id(id.into()), None).unwrap();
            let target = golden.temp.path().join(id);
            let options = restore::Options::new(target.clone());
            let report = restore::restore(&repository, &chosen, &options, &Silent).unwrap();
            assert_eq!(report.made_good, Vec::<String>::new());
            let files = expected["files"].as_array().unwrap();
            assert_eq!(walkdir::WalkDir::new(&target).min_depth(1).into_iter().count(), files.len());
            for file in files {
                let path = target.join(file["path"].as_str().unwrap());
                let found = fs::symlink_metadata(&path).unwrap();
                // A link's own time is recorded, not set again.
                if !found.is_symlink() {
                    let mode = format!("{:o}", found.permissions().mode() & 0o7777);
                    let restored = (json!(found.mtime()), json!(found.mtime_nsec()), json!(mode));
                    assert_eq!(
                        (file["mtime"].clone(), file["nanos"].clone(), file["mode"].clone()),
                        restored,
                        "{file}"
                    );
                }
                match file["kind"].as_u64().unwrap() {
                    0 => assert_eq!(file["blake3"], json!(blake3::hash(&fs::read(&path).unwrap()).to_string())),
                    1 => assert!(found.is_dir(), "{file}"),
                    _ => assert_eq!(file["target"], json!(fs::read_link(&path).unwrap())),
                }
            }
        }
    }
}

/// RECIPE-7
#[test]
fn golden_repositories_have_every_stream_of_a_canonical_part() {
    let streams = |golden: &Golden| -> BTreeSet<u64> {
        let reader = SecondReader::open(&golden.root, golden.password()).unwrap();
        let snapshots = reader.snapshots().unwrap();
        snapshots.iter().flat_map(|snapshot| &snapshot.files).flat_map(FileView::canonical_streams).collect()
    };
    for wanted in [&[1, 3, 4, 5, 6, 8, 9][..], &[1, 3, 4, 6, 7]] {
        assert!(all().iter().any(|golden| streams(golden).into_iter().eq(wanted.iter().copied())), "{wanted:?}");
    }
}

#[test]
fn the_second_reader_reads_every_golden_repository() {
    for golden in all() {
        for open in [SecondReader::open, SecondReader::open_from_footers] {
            golden.assert_read_by(&open(&golden.root, golden.password()).unwrap());
        }
    }
}
