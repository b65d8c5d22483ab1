//! What a journal keeps, where it is kept, and what is none.

use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::redis::host::{CommandLine, Surroundings};

fn site(inode: u64) -> Site {
    Site { path: "/var/lib/re dis".into(), device: 7, inode, born: Some((-1, 2)) }
}

fn journal(start: Option<Start>) -> Journal {
    Journal {
        site: site(9),
        server: "127.0.0.1:6379".into(),
        state: State::Exchanging,
        snapshot: "0123".into(),
        is_undo: true,
        by_undo: true,
        other: ".redkeep-swap-1".into(),
        aside: OsString::from_vec(b"odd \n\xff".to_vec()),
        owner: (100, 200),
        entries: vec![
            Entry { name: "a b".into(), here: Some(7), there: None },
            Entry { name: "c".into(), here: None, there: Some(u64::MAX) },
        ],
        elsewhere: Some(Elsewhere { name: "d d".into(), aof: "a".into(), is_main: true, site: site(4) }),
        placed: vec![Placed { path: "a b/c".into(), inode: 1, size: 2, changed: (-3, 4) }],
        kept: vec![Placed { path: "c".into(), inode: 5, size: 0, changed: (6, 7) }],
        start,
        carried: Some("older".into()),
        before: None,
    }
}

#[test]
fn it_comes_back_as_written_and_nothing_else_is_one() {
    let process = CommandLine {
        program: "/usr/bin/redis server".into(),
        arguments: vec!["/etc/redis.conf".into(), "".into()],
        directory: "/".into(),
        user: (1, 2),
        output: None,
        surroundings: Surroundings { umask: Some(0o27), groups: Some(vec![4, 106]), ..Surroundings::default() },
    };
    let starts = [
        None,
        Some(Start::Unit("redis".into())),
        Some(Start::Script("redis".into())),
        Some(Start::Command("a 'b' \"c\"\n#".into())),
        Some(Start::Process(process)),
    ];
    for written in starts.map(journal) {
        let bytes = written.encode();
        assert_eq!(Journal::decode(&bytes), Some(written));
        // Its last line is no part of an older version's journal.
        let whole = bytes.windows(13).rposition(|part| part == b"\nsurroundings").map(|place| place + 1);
        for cut in (0..bytes.len()).filter(|cut| Some(*cut) != whole) {
            assert_eq!(Journal::decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }
    assert_eq!(Journal::decode(b"redkeep-restore 1\n"), None);
}

#[test]
fn it_is_replaced_whole_and_each_directory_has_its_own() {
    let temp = tempfile::tempdir().unwrap();
    let journals = Journals::open(Some(&temp.path().join("made"))).unwrap();
    let read = |site: &Site| journals.read(site).unwrap();
    assert_eq!(read(&site(9)), None);
    let first = journal(None);
    journals.write(&first).unwrap();
    journals.write(&Journal { site: site(10), state: State::Done, ..first.clone() }).unwrap();
    let second = Journal { state: State::Placed, ..first };
    journals.write(&second).unwrap();
    assert_eq!(read(&site(9)), Some(second.clone()));
    assert_eq!(journals.unfinished("127.0.0.1:6379").unwrap(), Some(site(9)));
    let stopping = Journal { state: State::Stopping, ..second.clone() };
    journals.write(&stopping).unwrap();
    let found = read(&site(9)).unwrap();
    assert_eq!((found.state, found.before), (State::Stopping, Some(Box::new(second.clone()))));
    journals.forget_stopping(&site(9)).unwrap();
    assert_eq!(read(&site(9)), Some(second.clone()));
    // After a start of the host the device may have another number.
    let moved = Site { device: 8, ..site(9) };
    assert_eq!(read(&moved), Some(second.clone()));
    journals.write(&Journal { site: moved.clone(), ..second.clone() }).unwrap();
    assert!(!temp.path().join("made/restores/7-9.journal").exists());
    assert_eq!(read(&Site { born: Some((5, 5)), ..moved.clone() }), None, "a later directory of the same inode");
    fs::write(temp.path().join("made/restores/8-9.journal"), "x").unwrap();
    assert!(matches!(journals.read(&moved), Err(OperationError::Refused { .. })));
    assert!(read(&site(10)).is_some(), "that of another directory counts");
}

/// LOCAL-18
#[test]
fn a_place_where_others_can_write_is_none_for_a_journal() {
    let temp = tempfile::tempdir().unwrap();
    drop(Journals::open(Some(temp.path())).unwrap());
    for (mode, is_refused) in [(0o777, true), (0o702, true), (0o755, false)] {
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(Journals::open(Some(temp.path())).is_err(), is_refused, "{mode:o}");
    }
    assert!(matches!(Journals::open(None), Err(OperationError::Refused { .. })));
}

#[test]
fn a_mark_is_written_through_no_link_and_a_journal_of_0_1_is_known() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    fs::create_dir(at("data")).unwrap();
    fs::write(at("victim"), "precious").unwrap();
    symlink(at("victim"), at("data").join(NEW)).unwrap();
    symlink(at("victim"), at("data").join(NAME)).unwrap();
    let held = Held::open(&at("data")).unwrap();
    mark(&held).unwrap();
    assert_eq!(fs::read_to_string(at("victim")).unwrap(), "precious");
    assert!(fs::symlink_metadata(at("data").join(NAME)).unwrap().is_file() && !is_left_by_0_1(&held));
    fs::write(at("data").join(NAME), "redkeep-restore 1\nstate placed\n").unwrap();
    assert!(is_left_by_0_1(&held));
}
