//! A capture, written to an empty directory, starts a server that holds what the captured one held.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use redkeep::format::snapshot::{FileKind, Role};
use redkeep::redis::{Capture, CaptureOptions, CapturedFile, Content, Reading, capture_directory};
use tempfile::TempDir;

use crate::support::equality::Fingerprint;
use crate::support::keyspace::Keyspace;
use crate::support::server::{RedisServer, ServerKind, ServerOptions};
use crate::support::writers::{ConstantWriter, PersistenceChurn, writer_pair};

pub fn capture(directory: &Path) -> Capture {
    capture_directory(directory, &CaptureOptions::default()).unwrap()
}

/// The content of one file, and what reading it showed.
pub fn read(file: &CapturedFile) -> (Vec<u8>, Reading) {
    let mut bytes = Vec::new();
    let reading = file.read(&mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    let reading = reading.unwrap();
    assert_eq!(reading.length, bytes.len() as u64);
    (bytes, reading)
}

pub fn find<'a>(capture: &'a Capture, path: &str) -> &'a CapturedFile {
    capture.files.iter().find(|file| file.path == path.as_bytes()).unwrap_or_else(|| panic!("no {path}"))
}

pub fn of_role(capture: &Capture, role: Role) -> &CapturedFile {
    capture.files.iter().find(|file| file.role == role).unwrap_or_else(|| panic!("no {role:?}"))
}

pub fn paths(capture: &Capture) -> Vec<String> {
    capture.files.iter().map(|file| String::from_utf8(file.path.clone()).unwrap()).collect()
}

pub fn fact<'a>(capture: &'a Capture, name: &str) -> &'a str {
    capture.facts.get(name).map_or("", String::as_str)
}

pub fn codes(capture: &Capture) -> Vec<&str> {
    capture.warnings.iter().map(|warning| warning.code.as_str()).collect()
}

/// Writes a capture to a new directory.
pub fn materialise(capture: &Capture) -> (TempDir, BTreeMap<String, Reading>) {
    let dir = tempfile::tempdir().unwrap();
    let mut readings = BTreeMap::new();
    for file in &capture.files {
        let path = dir.path().join(std::ffi::OsStr::from_bytes(&file.path));
        match (&file.kind, &file.content) {
            (FileKind::Directory, _) => fs::create_dir(&path).unwrap(),
            (FileKind::Link, Content::Link(target)) => symlink(std::ffi::OsStr::from_bytes(target), &path).unwrap(),
            _ => {
                let (bytes, reading) = read(file);
                fs::write(&path, bytes).unwrap();
                readings.insert(String::from_utf8_lossy(&file.path).into_owned(), reading);
            }
        }
        if file.kind != FileKind::Link {
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)).unwrap();
        }
    }
    (dir, readings)
}

/// Writes a capture in which nothing is to be doubted.
#[track_caller]
pub fn materialise_clean(capture: &Capture) -> TempDir {
    assert_eq!(capture.warnings, []);
    let (dir, readings) = materialise(capture);
    for (path, reading) in readings {
        assert_eq!((reading.suspect, reading.note), (None, None), "{path}");
    }
    dir
}

#[test]
fn a_dump_of_every_version_comes_back_with_its_counts() {
    for kind in ServerKind::ALL {
        if kind.is_skipped() {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut server = RedisServer::start(kind, dir.path());
        Keyspace::new(21, 1500).fill(&server);
        let filled = Fingerprint::of(&server);
        server.stop_saving();

        let captured = capture(dir.path());
        assert_eq!(paths(&captured), ["dump.rdb"]);
        let facts = ["authoritative", "aof.layout", "rdb.name", "capture.mode"].map(|name| fact(&captured, name));
        assert_eq!(facts, ["rdb", "none", "dump.rdb", "files"]);
        let dump = of_role(&captured, Role::Dump);
        let (bytes, reading) = read(dump);
        assert_eq!(bytes, fs::read(dir.path().join("dump.rdb")).unwrap());
        assert_eq!(dump.expected_size(), reading.length);
        assert_counts(&filled, &reading.facts);

        let copy = materialise_clean(&captured);
        let restored = RedisServer::start(kind, copy.path());
        filled.assert_equal(&Fingerprint::of(&restored), kind.name());
    }
}

fn assert_counts(filled: &Fingerprint, facts: &BTreeMap<String, String>) {
    let mut expected = BTreeMap::new();
    for ((database, _), state) in &filled.keys {
        let mut count = |name: String| *expected.entry(name).or_insert(0_u64) += 1;
        count("keys".to_owned());
        count(format!("keys.db{database}"));
        count(format!("types.{}", state.kind));
        count(format!("types.db{database}.{}", state.kind));
        if state.expires.is_some() {
            count(format!("expires.db{database}"));
        }
    }
    let is_count = |name: &str| ["keys", "types.", "expires."].iter().any(|start| name.starts_with(start));
    let counts = facts.iter().filter(|(name, _)| is_count(name));
    let counts: BTreeMap<_, u64> = counts.map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
    assert_eq!(counts, expected);
    assert_eq!(facts["checksum"], "verified");
    for name in ["rdb.version", "rdb.family", "ctime", "used-mem"] {
        assert!(facts.contains_key(name), "no {name} in {facts:?}");
    }
}

/// Captures a server under constant writes, rewrites and saves; every copy starts, and holds a state of that moment.
fn captures_of_a_busy_server(kind: ServerKind, config: &[&str], count: usize) {
    if kind.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Not everysec: it may answer before it has written.
    let lines = [&["appendonly yes", "appendfsync no"], config].concat();
    let server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&lines));
    Keyspace::new(5, 800).fill(&server);
    let filled = Fingerprint::of(&server);
    let writer = ConstantWriter::start(&server, 1);
    let churn = PersistenceChurn::start(&server);
    churn.wait_past(0);
    for round in 0..count {
        let before = writer.answered();
        let captured = capture(dir.path());
        let after = writer.answered();
        assert_eq!((fact(&captured, "authoritative"), fact(&captured, "aof.live")), ("aof", "yes"), "{round}");
        // Writes and rewrites go on before it is read.
        writer.wait_past(after + 20);

        let copy = materialise_clean(&captured);
        drop(captured);
        let strict = ServerOptions::with_config(&["appendonly yes", "aof-load-truncated no"]);
        let restored = RedisServer::start_with(kind, copy.path(), strict);
        let (a, b) = writer_pair(&restored);
        assert_eq!(a, b, "round {round}");
        assert!((before..=after + 1).contains(&a.unwrap()), "round {round}: {a:?} not in {before}..={after}");
        if round.is_multiple_of(10) {
            filled.assert_equal(&Fingerprint::of(&restored).without("writer:"), kind.name());
        }
    }
    assert!(churn.stop() > 1);
    writer.stop();
}

#[test]
fn fifty_captures_of_a_busy_redis_7_all_start_with_a_state_of_their_moment() {
    captures_of_a_busy_server(ServerKind::Redis7, &[], 50);
}

#[test]
fn captures_of_a_busy_redis_7_with_bases_of_commands_and_timestamps_start() {
    captures_of_a_busy_server(ServerKind::Redis7, &["aof-use-rdb-preamble no", "aof-timestamp-enabled yes"], 5);
}

#[test]
fn captures_of_a_busy_redis_8_2_start() {
    captures_of_a_busy_server(ServerKind::Redis82, &[], 5);
}

#[test]
fn captures_of_a_busy_valkey_9_start() {
    captures_of_a_busy_server(ServerKind::Valkey9, &[], 5);
}

#[test]
fn captures_of_a_busy_redis_6_2_start() {
    captures_of_a_busy_server(ServerKind::Redis62, &["aof-use-rdb-preamble yes"], 8);
}

#[test]
fn captures_of_a_busy_redis_6_2_with_commands_alone_start() {
    captures_of_a_busy_server(ServerKind::Redis62, &["aof-use-rdb-preamble no"], 8);
}

#[test]
fn what_is_captured_can_be_read_again_whatever_happens_to_the_directory() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut server =
        RedisServer::start_with(ServerKind::Redis7, dir.path(), ServerOptions::with_config(&["appendonly yes"]));
    Keyspace::new(6, 300).fill(&server);
    redis::cmd("SAVE").exec(&mut server.connection()).unwrap();
    let captured = capture(dir.path());
    let first: Vec<_> = captured.files.iter().map(read).collect();
    redis::cmd("FLUSHALL").exec(&mut server.connection()).unwrap();
    server.stop_saving();
    fs::remove_dir_all(dir.path()).unwrap();
    let second: Vec<_> = captured.files.iter().map(read).collect();
    assert!(first == second);
    let copy = materialise_clean(&captured);
    let restored =
        RedisServer::start_with(ServerKind::Redis7, copy.path(), ServerOptions::with_config(&["appendonly yes"]));
    assert_eq!(Fingerprint::of(&restored).len(), 300);
}

#[test]
fn the_error_of_a_sink_comes_back_as_its_own() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("dump.rdb"), b"REDIS0010").unwrap();
    fs::write(dir.path().join("other"), b"x").unwrap();
    for file in &capture(dir.path()).files {
        let error = file.read(&mut |_| Err(std::io::Error::from(std::io::ErrorKind::Interrupted))).unwrap_err();
        let redkeep::redis::RedisError::Sink(error) = error else { panic!("{error}") };
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
    }
}
