//! Leftovers of other AOFs stop nothing, and a manifest counts more than a single file of its name.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use redkeep::format::snapshot::Role;
use redkeep::redis::server::{LiveOptions, Mode};
use redkeep::redis::{CaptureOptions, RedisError, capture_directory};
use tempfile::TempDir;

use crate::capture::{capture, codes, fact, find, materialise, materialise_clean, of_role, paths, read};
use crate::live::{live, of_mode, order};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

const AOF: [&str; 2] = ["appendonly yes", "appendfsync always"];

fn start(kind: ServerKind, config: &[&str]) -> Option<(TempDir, RedisServer)> {
    if kind.is_skipped() {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&[&AOF, config].concat()));
    order(&server, "SET a 1");
    Some((dir, server))
}

fn get(server: &RedisServer, key: &str) -> Option<String> {
    redis::cmd("GET").arg(key).query(&mut server.connection()).unwrap()
}

fn boot(kind: ServerKind, copy: &Path, config: &[&str]) -> RedisServer {
    RedisServer::start_with(kind, copy, ServerOptions::with_config(&[&AOF, config].concat()))
}

fn leftover(dir: &TempDir) -> PathBuf {
    let manifest = dir.path().join("appendonlydir/old.aof.manifest");
    let text = "file old.aof.1.base.rdb seq 1 type b\nfile old.aof.1.incr.aof seq 1 type i\n";
    fs::write(&manifest, text).unwrap();
    manifest
}

#[test]
fn a_leftover_manifest_without_its_parts_stops_no_capture_and_is_a_warning() {
    let Some((dir, mut server)) = start(ServerKind::Redis7, &[]) else { return };
    leftover(&dir);
    let begun = Instant::now();
    for options in [of_mode(Mode::Auto), LiveOptions { tail: true, ..LiveOptions::default() }, of_mode(Mode::Files)] {
        let captured = live(&server, &options).capture;
        assert_eq!(
            (fact(&captured, "authoritative"), codes(&captured)),
            ("aof", vec!["aof-incomplete"]),
            "{options:?}"
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "nobody waits for files that are gone");

    server.stop();
    let captured = capture(dir.path());
    assert_eq!((fact(&captured, "authoritative"), codes(&captured)), ("aof", vec!["aof-incomplete"]));
    assert_eq!(fact(&captured, "aof.name"), "appendonly.aof");
    assert_eq!(find(&captured, "appendonlydir/old.aof.manifest").role, Role::Other);
    assert_eq!(get(&boot(ServerKind::Redis7, materialise(&captured).0.path(), &[]), "a").as_deref(), Some("1"));

    let options =
        CaptureOptions { exclude: vec!["appendonlydir/old.aof.manifest".into()], ..CaptureOptions::default() };
    let captured = capture_directory(dir.path(), &options).unwrap();
    assert_eq!((fact(&captured, "authoritative"), codes(&captured)), ("aof", vec![]), "it is not read");
}

#[test]
fn a_manifest_that_lacks_files_and_is_newer_than_the_aof_leaves_it_open_which_is_the_dataset() {
    let Some((dir, mut server)) = start(ServerKind::Redis7, &[]) else { return };
    leftover(&dir);
    let part = dir.path().join("appendonlydir/old.aof.1.incr.aof");
    fs::write(&part, "").unwrap();
    for (stops, seconds, authoritative, expected) in [
        (false, 100_i64, "aof", vec!["aof-incomplete"]),
        (true, -100, "aof", vec!["aof-incomplete"]),
        (false, 100, "unknown", vec!["aof-incomplete", "several-aofs"]),
    ] {
        // As long as a server writes to the other one, that counts.
        if stops {
            server.stop();
        }
        let at = match seconds {
            0.. => SystemTime::now() + Duration::from_secs(seconds.unsigned_abs()),
            _ => SystemTime::now() - Duration::from_secs(seconds.unsigned_abs()),
        };
        File::options().write(true).open(&part).unwrap().set_modified(at).unwrap();
        let captured = capture(dir.path());
        assert_eq!((fact(&captured, "authoritative"), codes(&captured)), (authoritative, expected));
        assert_eq!(find(&captured, "appendonlydir/old.aof.1.incr.aof").role, Role::Other, "it is all there");
    }
}

#[test]
fn a_manifest_that_lacks_files_is_an_error_where_nothing_else_can_be_the_dataset() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("appendonlydir")).unwrap();
    leftover(&dir);
    fs::write(dir.path().join("notes"), "x").unwrap();
    let refused = capture_directory(dir.path(), &CaptureOptions::default()).unwrap_err();
    assert!(matches!(&refused, RedisError::MissingAofFile { name, .. } if name == "old.aof.1.base.rdb"), "{refused}");
    // A single file of its name went into it when the server was upgraded.
    fs::write(dir.path().join("old.aof"), b"*1\r\n$4\r\nPING\r\n").unwrap();
    assert!(capture_directory(dir.path(), &CaptureOptions::default()).is_err());
    fs::write(dir.path().join("state"), b"REDIS0011\xff").unwrap();
    let captured = capture(dir.path());
    assert_eq!(of_role(&captured, Role::Dump).path, b"state");
    assert!(codes(&captured).contains(&"aof-incomplete"));
}

#[test]
fn an_aof_whose_manifest_is_excluded_is_left_out_without_being_read() {
    let Some((dir, mut server)) = start(ServerKind::Redis7, &[]) else { return };
    order(&server, "SAVE");
    server.stop();
    fs::remove_file(dir.path().join("appendonlydir/appendonly.aof.1.base.rdb")).unwrap();
    let options = CaptureOptions { exclude: vec!["*.manifest".into()], ..CaptureOptions::default() };
    let captured = capture_directory(dir.path(), &options).unwrap();
    assert_eq!(paths(&captured), ["appendonlydir", "dump.rdb"]);
    assert_eq!((fact(&captured, "authoritative"), codes(&captured)), ("rdb", vec!["aof-left-out"]));
}

/// CAPTURE-5: an upgrade over a single AOF that was off leaves it there for good.
#[test]
fn a_manifest_beats_a_single_file_of_its_name_whatever_the_times() {
    for kind in [ServerKind::Redis7, ServerKind::Redis82, ServerKind::Valkey9] {
        let Some((dir, mut server)) = start(kind, &[]) else { continue };
        server.stop();
        let single = dir.path().join("appendonly.aof");
        fs::write(&single, b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\nold\r\n").unwrap();
        let later = SystemTime::now() + Duration::from_secs(1000);
        File::options().write(true).open(&single).unwrap().set_modified(later).unwrap();
        let captured = capture(dir.path());
        assert_eq!((fact(&captured, "authoritative"), codes(&captured)), ("aof", vec![]), "{}", kind.name());
        assert_eq!((fact(&captured, "aof.layout"), fact(&captured, "aof.name")), ("multi-part", "appendonly.aof"));
        assert_eq!(find(&captured, "appendonly.aof").role, Role::Other);
        assert_eq!(get(&boot(kind, materialise_clean(&captured).path(), &[]), "a").as_deref(), Some("1"));
    }
}

/// A server before 7.0 that was put back on the directory writes to the single file.
#[test]
fn a_single_file_that_is_being_written_counts_beside_a_manifest() {
    let kind = ServerKind::Redis62;
    let Some((dir, _server)) = start(kind, &[]) else { return };
    fs::create_dir(dir.path().join("appendonlydir")).unwrap();
    fs::write(dir.path().join("appendonlydir/appendonly.aof.1.incr.aof"), "").unwrap();
    let manifest = "file appendonly.aof.1.incr.aof seq 1 type i\n";
    fs::write(dir.path().join("appendonlydir/appendonly.aof.manifest"), manifest).unwrap();
    let captured = capture(dir.path());
    assert_eq!((fact(&captured, "aof.layout"), fact(&captured, "aof.live")), ("single", "yes"));
    assert_eq!(of_role(&captured, Role::SingleAof).path, b"appendonly.aof");
}

/// Redis writes such a manifest and then refuses to start with it.
#[test]
fn a_manifest_with_an_apostrophe_that_its_server_cannot_read_is_captured_so_that_servers_can() {
    for kind in [ServerKind::Redis7, ServerKind::Valkey9] {
        let config = ["appendfilename \"o'brien.aof\""];
        let Some((dir, mut server)) = start(kind, &config) else { continue };
        let begun = Instant::now();
        let captured = live(&server, &of_mode(Mode::Auto)).capture;
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody waits for it to change");
        let expected = ("aof", vec!["aof-manifest-unreadable"]);
        assert_eq!((fact(&captured, "capture.mode"), codes(&captured)), expected, "{}", kind.name());
        server.stop();
        let left = capture(dir.path());
        assert_eq!((fact(&left, "authoritative"), codes(&left)), expected);
        for captured in [captured, left] {
            assert_eq!(fact(&captured, "aof.name"), "o'brien.aof");
            let manifest = String::from_utf8(read(of_role(&captured, Role::Manifest)).0).unwrap();
            assert!(manifest.starts_with("file \"o'brien.aof.1.base.rdb\" seq 1 type b\n"), "{manifest}");
            let copy = materialise(&captured).0;
            assert_eq!(get(&boot(kind, copy.path(), &config), "a").as_deref(), Some("1"));
        }
        let options = ServerOptions::with_config(&[&AOF[..], &config].concat());
        assert!(!RedisServer::spawn(kind, dir.path(), options).wait_exit().success(), "it is no trap any more");
    }
}

/// What the doctor advises for such a server.
#[test]
fn a_server_with_an_apostrophe_gets_another_name_and_keeps_its_data() {
    let Some((dir, mut server)) = start(ServerKind::Redis7, &["save \"\"", "appendfilename \"o'brien.aof\""]) else {
        return;
    };
    let keys = |server: &RedisServer| redis::cmd("DBSIZE").query::<u64>(&mut server.connection()).unwrap();
    redis::cmd("MSET").arg(&["b", "2", "c", "3"]).exec(&mut server.connection()).unwrap();
    let before = keys(&server);
    redis::cmd("CONFIG").arg(&["SET", "appendonly", "no"]).exec(&mut server.connection()).unwrap();
    redis::cmd("SET").arg(&["d", "4"]).exec(&mut server.connection()).unwrap();
    server.stop_saving();
    let config = ["save \"\"", "appendonly no", "appendfilename other.aof"];
    let mut server = RedisServer::start_with(ServerKind::Redis7, dir.path(), ServerOptions::with_config(&config));
    redis::cmd("CONFIG").arg(&["SET", "appendonly", "yes"]).exec(&mut server.connection()).unwrap();
    wait_for("the first rewrite", || {
        let info = server.info();
        (info.number("aof_rewrite_in_progress") + info.number("aof_rewrite_scheduled") == 0).then_some(())
    });
    server.stop();
    let config = ["save \"\"", "appendonly yes", "appendfilename other.aof"];
    let server = RedisServer::start_with(ServerKind::Redis7, dir.path(), ServerOptions::with_config(&config));
    for name in ["o'brien.aof.manifest", "o'brien.aof.1.base.rdb", "o'brien.aof.1.incr.aof"] {
        fs::remove_file(dir.path().join("appendonlydir").join(name)).unwrap();
    }
    assert_eq!((keys(&server), codes(&capture(dir.path()))), (before + 1, vec![]));
}

#[test]
fn a_manifest_that_can_be_read_in_no_way_is_no_aof() {
    for text in ["file o'brien.aof.1.incr.aof seq 1 type i\n", "file x\n", "file 'a\"b seq 1 type i\n"] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("appendonlydir")).unwrap();
        fs::write(dir.path().join("appendonlydir/o'brien.aof.manifest"), text).unwrap();
        fs::write(dir.path().join("appendonlydir/o'brien.aof.2.incr.aof"), "").unwrap();
        let captured = capture(dir.path());
        assert_eq!(codes(&captured), ["aof-manifest-malformed"], "{text}");
        assert!(captured.warnings[0].message.contains("a server does not start with it"), "{:?}", captured.warnings);
    }
}

/// What a server names behind the limit is not passed over in silence.
#[test]
fn a_manifest_that_is_longer_than_is_read_is_no_aof() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("appendonlydir")).unwrap();
    let line = |seq: u8| format!("file appendonly.aof.{seq}.incr.aof seq {seq} type i\n");
    for seq in [1, 2] {
        fs::write(dir.path().join(format!("appendonlydir/appendonly.aof.{seq}.incr.aof")), "").unwrap();
    }
    let full = line(1) + &"#\n".repeat(((4 << 20) - line(1).len()) / 2);
    for (text, expected) in [(full.clone(), vec![]), (full + &line(2), vec!["aof-manifest-malformed"])] {
        fs::write(dir.path().join("appendonlydir/appendonly.aof.manifest"), text).unwrap();
        assert_eq!(codes(&capture(dir.path())), expected);
    }
}
