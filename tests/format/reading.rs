//! A repository of every kind of object and every way to store a chunk, read back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::second_reader::{SecondReader, SnapshotView};
use crate::support::mini_writer::{MiniFile, MiniFrame, MiniWriter, PASSWORD, hex, noise, opaque};

/// What the sample's files hold.
pub fn contents() -> BTreeMap<&'static str, Vec<u8>> {
    let [first, second, third] = texts();
    BTreeMap::from([
        ("dump.rdb", first.clone()),
        ("appendonlydir/a.aof", [first, second.clone()].concat()),
        ("appendonlydir/b.aof", third.clone()),
        ("both", [third, second].concat()),
        ("empty", Vec::new()),
        ("rows", rows().concat().concat()),
    ])
}

/// Three chunks of which the later ones resemble the earlier ones.
fn texts() -> [Vec<u8>; 3] {
    let first = noise("first", 300);
    let second = [&first[..200], &noise("second", 90)].concat();
    let third = [&second[150..], b"between", &first[..250]].concat();
    [first, second, third]
}

/// Records of which each is its length and a byte, a name, and what is behind it.
fn rows() -> [[Vec<u8>; 3]; 4] {
    let row = |name: &str, rest: usize| {
        let (name, rest) = (name.as_bytes().to_vec(), noise(name, rest));
        [vec![(1 + name.len() + rest.len()) as u8, 0], name, rest]
    };
    [row("user:profile:1", 20), row("user:profile:12", 30), row("user:profile:2", 0), row("z", 9)]
}

/// Writes the sample: two packs, deltas of both kinds, of one and of two bases, a labelled stream, a list of two levels.
pub fn sample(root: &Path) -> MiniWriter {
    sample_with(root, &|_, _| {})
}

/// The same, where what is sealed of its frames is changed before: 0 is plain and holds bases and a list chunk, 1 is
/// compressed and holds two, 2 is a delta by zstd, 3 one of copies, 4 is columns.
pub fn sample_with(root: &Path, change: &dyn Fn(usize, &mut Vec<u8>)) -> MiniWriter {
    let frame = |number, mut frame: MiniFrame| {
        change(number, &mut frame.plaintext);
        frame
    };
    let writer = MiniWriter::create(root.to_path_buf());
    let [first, second, third] = texts();
    let lists = [writer.entry(&third), writer.entry(&second)].concat();
    let (left, right) = lists.split_at(writer.entry(&third).len());
    let upper = [writer.entry(left), writer.entry(right)].concat();
    let earlier = writer.pack(&[
        frame(0, writer.whole(0, &[&first, left])),
        frame(1, writer.whole(1, &[right, &upper])),
        frame(2, writer.deltas(&[(&[&first], &second)])),
    ]);
    let (in_rows, columns) = (rows().concat().concat(), writer.columns(&rows()));
    let later = writer.pack(&[frame(3, writer.copies(&[(&[&second, &first], &third)])), frame(4, columns)]);
    writer.index(&[earlier.clone(), later]);
    writer.index(&[earlier]);
    let all = contents();
    let file = |path: &str, levels, top, labelled| {
        MiniFile::file(path, &all[path], opaque(all[path].len(), levels, top, labelled))
    };
    let labelled = [writer.labelled_entry(&first, b"0user:1"), writer.labelled_entry(&second, b"")].concat();
    let files = [
        MiniFile::directory("appendonlydir"),
        file("appendonlydir/a.aof", 0, labelled, true),
        file("appendonlydir/b.aof", 0, writer.entry(&third), false),
        file("both", 2, writer.entry(&upper), false),
        file("dump.rdb", 0, writer.entry(&first), false),
        file("empty", 0, Vec::new(), false),
        MiniFile::link("latest", "dump.rdb"),
        file("rows", 0, writer.entry(&in_rows), false),
    ];
    let gone = writer.snapshot_name(1);
    writer.forget(&gone);
    writer.tombstone(2);
    writer.snapshot(4, Some(&writer.snapshot_name(3)), &files);
    writer.snapshot(3, Some(&gone), &files[..2]);
    writer.put("packs/aa/.tmp-1", b"left by a store");
    writer
}

pub type Files = BTreeMap<(u64, String), Vec<u8>>;

/// Every file of every snapshot that can be read, by sequence and path, and every complaint.
pub fn read_what_can_be(reader: Result<SecondReader, String>) -> (Files, Vec<String>) {
    let mut files = Files::new();
    let reader = match reader {
        Ok(reader) => reader,
        Err(error) => return (files, vec![error]),
    };
    let mut complaints = reader.notices().to_vec();
    let snapshots = reader.snapshots().unwrap_or_else(|error| {
        complaints.push(error);
        Vec::new()
    });
    for snapshot in &snapshots {
        for file in snapshot.files.iter().filter(|file| file.kind == 0) {
            match reader.file(snapshot, &file.path) {
                Ok(content) => {
                    files.insert((snapshot.sequence, String::from_utf8(file.path.clone()).unwrap()), content);
                }
                Err(error) => complaints.push(error),
            }
        }
    }
    complaints.extend(reader.alarms(&snapshots).unwrap_or_else(|error| vec![error]));
    (files, complaints)
}

/// Every file of every snapshot; an error where anything at all is wrong.
pub fn read_all(reader: Result<SecondReader, String>) -> Result<Files, String> {
    let (files, complaints) = read_what_can_be(reader);
    if complaints.is_empty() { Ok(files) } else { Err(complaints.join("; ")) }
}

pub fn expected() -> Files {
    let mut files: Files = contents().into_iter().map(|(path, bytes)| ((4, path.to_string()), bytes)).collect();
    files.insert((3, "appendonlydir/a.aof".into()), contents()["appendonlydir/a.aof"].clone());
    files
}

/// SEAL-2 SEAL-3 SEAL-5 SEAL-6 KEY-2 KEY-4 KEY-5 KEY-7 KEY-8 CHUNK-1 DELTA-1 STREAM-1 LIST-1 RECIPE-1 RECIPE-2 OBJ-3 PACK-4
#[test]
fn files_are_rebuilt_with_the_index() {
    let root = TempDir::new().unwrap();
    sample(root.path());
    assert_eq!(read_all(SecondReader::open(root.path(), PASSWORD)), Ok(expected()));
}

/// INDEX-2 PACK-1 PACK-5
#[test]
fn files_are_rebuilt_from_the_packs_alone() {
    let root = TempDir::new().unwrap();
    sample(root.path());
    fs::remove_dir_all(root.path().join("index")).unwrap();
    assert_eq!(read_all(SecondReader::open_from_footers(root.path(), PASSWORD)), Ok(expected()));
    assert!(read_all(SecondReader::open(root.path(), PASSWORD)).unwrap_err().contains("is not stored"));
}

/// SNAP-2 SESS-8 OBJ-1
#[test]
fn snapshots_are_in_order_and_tombstones_skipped() {
    let root = TempDir::new().unwrap();
    let writer = sample(root.path());
    let snapshots = SecondReader::open(root.path(), PASSWORD).unwrap().snapshots().unwrap();
    let [older, newer]: [SnapshotView; 2] = snapshots.try_into().unwrap();
    assert_eq!((older.sequence, older.id, &older.name), (3, hex(&[3; 16]), &writer.snapshot_name(3)));
    assert_eq!((newer.sequence, newer.dataset.as_str(), newer.previous), (4, "sessions", Some(older.name.clone())));
    assert_eq!((newer.facts["server"].as_str(), newer.tags), ("8.0", vec!["daily".to_string()]));
    assert_eq!(newer.warnings, [("changed".to_string(), b"x".to_vec(), "it did".to_string())]);
    let [first, link] = [&newer.files[0], &newer.files[6]];
    assert_eq!((first.path.as_slice(), first.kind, first.size, first.hash), (&b"appendonlydir"[..], 1, 0, None));
    assert_eq!((first.mode, first.uid, first.gid, first.mtime, first.role), (0o640, 1000, 1001, (-5, 17), 0));
    assert_eq!((link.target.as_deref(), link.suspect.as_ref()), (Some(&b"dump.rdb"[..]), None));
}

/// SNAP-3
#[test]
fn a_previous_snapshot_that_is_gone_is_an_alarm() {
    let root = TempDir::new().unwrap();
    let writer = sample(root.path());
    fs::remove_file(root.path().join(writer.snapshot_name(3))).unwrap();
    assert_eq!(read_all(SecondReader::open(root.path(), PASSWORD)), Err(writer.snapshot_name(4)));
}

/// KEY-7
#[test]
fn another_password_opens_nothing() {
    let root = TempDir::new().unwrap();
    sample(root.path());
    assert!(SecondReader::open(root.path(), "correct house").is_err());
}
