//! What is damaged is stored whole and called suspect, with the place; what a server was writing is cut off.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use redkeep::format::snapshot::Role;
use redkeep::redis::{Reading, inspect};
use tempfile::TempDir;

use crate::capture::{capture, codes, fact, find, materialise, materialise_clean, of_role, read};
use crate::support::keyspace::Keyspace;
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

/// A directory that a stopped server has left, with this file in it.
fn left_by(kind: ServerKind, config: &[&str], file: &str) -> Option<(TempDir, PathBuf)> {
    if kind.is_skipped() {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(config));
    Keyspace::new(4, 400).fill(&server);
    if config.is_empty() {
        redis::cmd("SAVE").exec(&mut server.connection()).unwrap();
    }
    server.stop();
    let file = dir.path().join(file);
    assert!(file.is_file());
    Some((dir, file))
}

fn append(file: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(file).unwrap().write_all(bytes).unwrap();
}

fn flip(file: &Path, place: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[place] ^= 0x20;
    fs::write(file, bytes).unwrap();
}

/// Reads the file of this role: stored as it is on disk, and suspect for a reason that holds this text.
#[track_caller]
fn assert_suspect(dir: &TempDir, file: &Path, role: Role, reason: &str) {
    let captured = capture(dir.path());
    let (bytes, reading) = read(of_role(&captured, role));
    assert!(bytes == fs::read(file).unwrap(), "all of it is stored");
    let suspect = reading.suspect.clone().unwrap_or_default();
    assert!(suspect.contains(reason), "{suspect:?} does not tell {reason:?}");
    assert_eq!(inspect(role, &mut bytes.as_slice()).unwrap(), reading);
}

#[test]
fn a_truncated_dump_is_suspect() {
    let Some((dir, dump)) = left_by(ServerKind::Redis7, &[], "dump.rdb") else { return };
    let length = fs::metadata(&dump).unwrap().len() - 5;
    OpenOptions::new().write(true).open(&dump).unwrap().set_len(length).unwrap();
    assert_suspect(&dir, &dump, Role::Dump, &format!("the file ends at {length}"));
}

#[test]
fn a_dump_with_a_flipped_bit_anywhere_is_suspect_and_with_bytes_after_its_end_is_not() {
    let Some((dir, dump)) = left_by(ServerKind::Redis7, &[], "dump.rdb") else { return };
    let length = fs::metadata(&dump).unwrap().len() as usize;
    for place in [0, 5, 20, length / 2, length - 9, length - 1] {
        flip(&dump, place);
        assert_suspect(&dir, &dump, Role::Dump, "suspect at ");
        flip(&dump, place);
    }
    append(&dump, b"tail");
    let (bytes, reading) = read(of_role(&capture(dir.path()), Role::Dump));
    assert!(bytes == fs::read(&dump).unwrap(), "all of it is stored");
    let note = format!("4 bytes follow its end at {length}, which no server reads");
    assert_eq!((reading.suspect, reading.note), (None, Some(note)));
}

#[test]
fn garbage_amid_an_increment_is_suspect() {
    let file = "appendonlydir/appendonly.aof.1.incr.aof";
    let Some((dir, increment)) = left_by(ServerKind::Redis7, &["appendonly yes"], file) else { return };
    let begin = fs::metadata(&increment).unwrap().len();
    append(&increment, b"garbage*1\r\n$4\r\nPING\r\n");
    assert_suspect(&dir, &increment, Role::Incr, &format!("not a command at {begin}"));
}

#[test]
fn damage_to_a_base_is_suspect_in_either_form() {
    for (preamble, base) in [("yes", "appendonly.aof.2.base.rdb"), ("no", "appendonly.aof.2.base.aof")] {
        if ServerKind::Redis7.is_skipped() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let preamble = format!("aof-use-rdb-preamble {preamble}");
        let options = ServerOptions::with_config(&["appendonly yes", &preamble]);
        let mut server = RedisServer::start_with(ServerKind::Redis7, dir.path(), options);
        Keyspace::new(4, 400).fill(&server);
        redis::cmd("BGREWRITEAOF").exec(&mut server.connection()).unwrap();
        let file = dir.path().join("appendonlydir").join(base);
        crate::support::server::wait_for("the rewrite", || {
            let done = server.info().get("aof_rewrite_in_progress") == Some("0");
            (done && file.exists()).then_some(())
        });
        server.stop();
        assert_eq!(read(of_role(&capture(dir.path()), Role::Base)).1.suspect, None);
        let length = fs::metadata(&file).unwrap().len();
        for place in [0, 10, length as usize - 1] {
            flip(&file, place);
            assert_suspect(&dir, &file, Role::Base, "");
            flip(&file, place);
        }
        OpenOptions::new().write(true).open(&file).unwrap().set_len(length - 1).unwrap();
        assert_suspect(&dir, &file, Role::Base, if base.ends_with(".rdb") { "the file ends at" } else { "cut short" });
    }
}

#[test]
fn an_unfinished_command_is_cut_off_the_last_increment_and_suspect_in_others() {
    let file = "appendonlydir/appendonly.aof.1.incr.aof";
    let Some((dir, increment)) = left_by(ServerKind::Redis7, &["appendonly yes"], file) else { return };
    let whole = fs::read(&increment).unwrap();
    for tail in [&b"*1\r\n$5\r\nMULTI\r\n"[..], b"*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nDEL\r\n$1\r\na"] {
        fs::write(&increment, [&whole, tail].concat()).unwrap();
        let captured = capture(dir.path());
        let (bytes, reading) = read(of_role(&captured, Role::Incr));
        assert!(bytes == whole);
        assert_eq!((reading.suspect, codes(&captured)), (None, vec![]));
        assert_eq!(fact(&captured, "aof.unfinished"), tail.len().to_string());
    }
    let strict = ServerOptions::with_config(&["appendonly yes", "aof-load-truncated no"]);
    let copy = materialise_clean(&capture(dir.path()));
    RedisServer::start_with(ServerKind::Redis7, copy.path(), strict);

    let manifest = dir.path().join("appendonlydir/appendonly.aof.manifest");
    append(&manifest, b"file appendonly.aof.2.incr.aof seq 2 type i\n");
    fs::write(dir.path().join("appendonlydir/appendonly.aof.2.incr.aof"), "").unwrap();
    assert_suspect(&dir, &increment, Role::Incr, &format!("the transaction at {} is cut short", whole.len()));
}

#[test]
fn a_length_that_swallows_the_rest_leaves_nothing_out() {
    let file = "appendonlydir/appendonly.aof.1.incr.aof";
    let Some((dir, increment)) = left_by(ServerKind::Redis7, &["appendonly yes"], file) else { return };
    let begin = fs::metadata(&increment).unwrap().len();
    append(&increment, b"*2\r\n$4\r\nPING\r\n$99999999\r\n*1\r\n$4\r\nPING\r\n");
    assert_suspect(&dir, &increment, Role::Incr, &format!("the command at {begin} is cut short"));
}

#[test]
fn a_single_aof_with_a_preamble_is_cut_and_checked_in_both_halves() {
    let config = ["appendonly yes", "aof-use-rdb-preamble yes"];
    let Some((dir, aof)) = left_by(ServerKind::Redis62, &config, "appendonly.aof") else { return };
    {
        let mut server = RedisServer::start_with(ServerKind::Redis62, dir.path(), ServerOptions::with_config(&config));
        redis::cmd("BGREWRITEAOF").exec(&mut server.connection()).unwrap();
        crate::support::server::wait_for("the rewrite", || {
            (server.info().get("aof_rewrite_in_progress") == Some("0") && fs::read(&aof).unwrap().starts_with(b"REDIS"))
                .then_some(())
        });
        redis::cmd("SET").arg("after").arg(1).exec(&mut server.connection()).unwrap();
        server.stop();
    }
    let whole = fs::read(&aof).unwrap();
    append(&aof, b"*1\r\n$4\r\nPI");
    let captured = capture(dir.path());
    let (bytes, reading) = read(of_role(&captured, Role::SingleAof));
    assert!(bytes == whole);
    assert_eq!((reading.suspect, fact(&captured, "aof.unfinished")), (None, "10"));
    assert_eq!((&*reading.facts["aof.commands"], &*reading.facts["keys"]), ("2", "400"));
    fs::write(&aof, &whole).unwrap();
    append(&aof, b"\0\0\0\0");
    assert_suspect(&dir, &aof, Role::SingleAof, &format!("not a command at {}", whole.len()));
    fs::write(&aof, &whole).unwrap();
    flip(&aof, 200);
    assert_suspect(&dir, &aof, Role::SingleAof, "suspect at ");
}

#[test]
fn another_file_that_is_written_to_while_it_is_read_is_suspect() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("dump.rdb"), "").unwrap();
    let large = dir.path().join("large");
    fs::write(&large, vec![7; 1 << 20]).unwrap();
    let captured = capture(dir.path());
    let file = find(&captured, "large");
    assert_eq!(file.expected_size(), 1 << 20);
    assert_eq!(read(file).1, Reading { length: 1 << 20, ..Reading::default() });
    let mut pieces = 0;
    let reading = file.read(&mut |piece| {
        assert!(piece.len() >= 1 << 16);
        pieces += 1;
        append(&large, b"more");
        Ok(())
    });
    let suspect = reading.unwrap().suspect.unwrap();
    assert!(pieces >= 4 && suspect.starts_with("it changed while it was read, from 1048576 bytes to "), "{suspect}");
    assert_eq!(read(file).1.suspect, None, "the next time it is at rest");
}

#[test]
fn an_aof_that_has_shrunk_since_is_suspect() {
    let file = "appendonlydir/appendonly.aof.1.incr.aof";
    let Some((dir, increment)) = left_by(ServerKind::Redis7, &["appendonly yes"], file) else { return };
    let captured = capture(dir.path());
    let length = of_role(&captured, Role::Incr).expected_size();
    let suspect_at = |left: u64| {
        OpenOptions::new().write(true).open(&increment).unwrap().set_len(left).unwrap();
        materialise(&captured).1[file].suspect.clone().unwrap()
    };
    let suspect = suspect_at(100);
    assert!(suspect.contains("100") || suspect.contains("cut short"), "{suspect} of {length}");
    // What is left may be whole commands: the first one is SELECT 0.
    for left in [23, 0] {
        assert_eq!(suspect_at(left), format!("it ended at {left}, but had {length} bytes when captured"));
    }
}

/// Behind what is not understood, commands may follow in a single AOF, and nothing in a base.
#[test]
fn a_base_that_is_not_understood_and_does_not_end_with_its_checksum_is_suspect() {
    let bytes = [&b"REDIS0011\xfe\x00\x63\x01kunknown\xff"[..], &[0; 8], b"*1\r\n$4\r\nPING\r\n"].concat();
    for (role, is_suspect) in [(Role::SingleAof, false), (Role::Base, true), (Role::History, true)] {
        let Reading { suspect, note, .. } = inspect(role, &mut bytes.as_slice()).unwrap();
        assert_eq!((suspect.is_some(), note.is_some()), (is_suspect, !is_suspect), "{role:?}");
    }
}

#[test]
fn inspecting_tells_of_an_input_that_fails() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
        }
    }
    for role in [Role::Other, Role::Dump, Role::Base, Role::Incr, Role::Manifest] {
        let mut input = (&b"REDIS0010"[..]).chain(Fails);
        let error = inspect(role, &mut input).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{role:?}");
    }
}
