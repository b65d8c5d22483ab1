//! Snapshots that somebody who has the keys sealed, with numbers at their ends, for every command of the program: they
//! are shown or refused, and none of them ends in a panic.

use std::collections::BTreeMap;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use redkeep::format::UnixMillis;
use redkeep::format::ids::ObjectHash;
use redkeep::format::limits::SEQUENCE_MAX;
use redkeep::format::recipe::{Part, Stream};
use redkeep::format::snapshot::{File, FileKind, Mark, Role, Snapshot, Warning};
use redkeep::format::summary::{New, Summary};

use crate::support::mini_writer::{MiniWriter, PASSWORD, SNAPSHOT};

/// Where numbers tip over: shown as times they leave every calendar, added up every integer.
const ENDS: [u64; 6] = [0, 1, 253_402_300_800_000, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX];

/// Commands, each of which sees all of a repository; `{id}` is the snapshot.
const COMMANDS: [&[&str]; 14] = [
    &["snapshots"],
    &["snapshots", "--json"],
    &["ls", "{id}"],
    &["ls", "{id}", "--json"],
    &["stats"],
    &["stats", "--json"],
    &["check"],
    &["verify", "{id}"],
    &["dump", "{id}", "a"],
    &["restore", "{id}", "--target", "target", "--dry-run"],
    &["restore", "{id}", "--target", "target"],
    &["tag", "{id}", "--add", "x"],
    &["forget", "--dataset", "sessions", "--keep-daily", "2", "--dry-run"],
    &["backup", "data", "--dataset", "sessions"],
];

fn file(path: &str, number: u64) -> File {
    let length = number.min(i64::MAX as u64) / 3;
    let stream = Stream { length, levels: 0, top: Vec::new(), labelled: None };
    File {
        path: path.as_bytes().to_vec().into(),
        kind: FileKind::File,
        mode: number as u32,
        uid: number as u32,
        gid: number as u32,
        user: None,
        group: None,
        mtime: number as i64,
        mtime_nanos: number as u32,
        size: length,
        hash: Some(ObjectHash([1; 32])),
        recipe: Some(vec![Part::opaque(stream)]),
        target: None,
        role: Role::Incr,
        suspect: Some("suspect".into()),
        form: None,
    }
}

/// Three files that are as long together as they may be.
fn snapshot(number: u64) -> Snapshot {
    let time = UnixMillis(number);
    Snapshot {
        dataset: "sessions".into(),
        sequence: number.min(SEQUENCE_MAX),
        previous: None,
        begin: time,
        end: UnixMillis(u64::MAX - number),
        moment: Some(time),
        host: "host".into(),
        directory: b"/var/lib/redis".to_vec(),
        facts: BTreeMap::from([("rdb.ctime".into(), number.to_string())]),
        files: ["a", "b", "c"].map(|path| file(path, number)).to_vec(),
        marks: vec![Mark { path: b"a".to_vec().into(), offset: number, time }],
        warnings: vec![Warning { code: "changed".into(), path: b"a".to_vec().into(), message: "it did".into() }],
        tags: vec![number.to_string()],
        made_by: "0".into(),
        summary: Summary {
            files: number,
            bytes: number,
            new_chunks: number,
            new_bytes: number,
            stored_bytes: number,
            packs: number,
            millis: number,
            new: Some((0..6).map(|kind| (kind, New { chunks: number, bytes: number, stored: number })).collect()),
        },
        place: Some(number.min(SEQUENCE_MAX)),
    }
}

#[test]
fn no_command_panics_over_numbers_at_their_ends() {
    let mut panics = Vec::new();
    for number in ENDS {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("data")).unwrap();
        std::fs::write(root.path().join("data/file"), b"content").unwrap();
        let writer = MiniWriter::create(root.path().join("repository"));
        for session in [3, 4, 5] {
            let (name, place) = (writer.snapshot_name(session), number.min(SEQUENCE_MAX));
            let numbers = [session, session].map(|number| format!("{number:010}")).join("-");
            let name = name.replacen(&numbers, &format!("{place:010}-{place:010}"), 1);
            writer.put_hashed(&name, SNAPSHOT, &snapshot(number).encode());
        }
        let id = "03".repeat(16);
        for command in COMMANDS {
            let arguments = command.iter().map(|word| word.replace("{id}", &id));
            let mut program = Command::new(cargo_bin("redkeep"));
            program.args(arguments).current_dir(root.path()).env_clear();
            program.env("HOME", root.path().join("home")).env("REDKEEP_PASSWORD", PASSWORD);
            let output = program.env("REDKEEP_REPO", writer.root.as_os_str()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let ended = output.status.code().is_some_and(|code| code != 101) && !said.contains("panicked");
            if !ended {
                panics.push(format!("{command:?} with {number}: {said}"));
            }
        }
    }
    assert_eq!(panics, Vec::<String>::new());
}
