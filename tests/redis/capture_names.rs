//! A dataset is captured whatever it is called, and what is left out because of its name is told.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use redkeep::format::snapshot::Role;
use redkeep::redis::server::{LiveOptions, Mode};
use redkeep::redis::{CaptureOptions, capture_directory};

use crate::capture::{capture, codes, fact, find, materialise_clean, of_role, paths};
use crate::live::{live, of_mode, order};
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

const DUMP: &[u8] = b"REDIS0011\xfa\x08aof-base\xc0\x00\xff";
const COMMANDS: &[u8] = b"*1\r\n$4\r\nPING\r\n";

fn keys(server: &RedisServer) -> u64 {
    redis::cmd("DBSIZE").query(&mut server.connection()).unwrap()
}

/// Lets a server of this configuration hold two keys, the second of them after a save, captures it, live and stopped, and
/// boots each copy.
fn is_captured(kind: ServerKind, mode: &str, config: &[&str]) {
    if kind.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(config));
    order(&server, "SET a 1");
    order(&server, "SAVE");
    order(&server, "SET b 2");
    let begun = std::time::Instant::now();
    let boots = |captured: &redkeep::redis::Capture| {
        let copy = materialise_clean(captured);
        assert_eq!(
            keys(&RedisServer::start_with(kind, copy.path(), ServerOptions::with_config(config))),
            2,
            "{config:?}"
        );
    };
    let captured = live(&server, &LiveOptions::default()).capture;
    assert_eq!(fact(&captured, "capture.mode"), mode, "{config:?}");
    boots(&captured);
    let files = live(&server, &of_mode(Mode::Files)).capture;
    assert_eq!(fact(&files, "authoritative"), mode, "{config:?}");
    if mode == "rdb" {
        order(&server, "SAVE");
    }
    server.stop();
    fs::write(dir.path().join("another"), "x").unwrap();
    let left = capture(dir.path());
    assert_eq!((fact(&left, "authoritative"), codes(&left)), (mode, vec![]), "{config:?}");
    boots(&left);
    assert!(begun.elapsed().as_secs() < 60, "nobody waits for what is there");
}

/// CAPTURE-1
#[test]
fn a_dump_is_captured_whatever_it_is_called() {
    for name in ["temp-cache.rdb", "dump.log", "state.pid", "x.log.1.gz", "temp-rewriteaof-state.aof.rdb"] {
        is_captured(ServerKind::Redis7, "rdb", &[&format!("dbfilename {name}")]);
    }
}

#[test]
fn a_single_aof_is_captured_whatever_it_is_called() {
    for name in ["journal.log", "temp-x.incr", "temp-commands.rdb", "state.pid"] {
        let config = ["appendonly yes", "appendfsync always", "dbfilename old", &format!("appendfilename {name}")];
        is_captured(ServerKind::Redis62, "aof", &config);
    }
}

#[test]
fn a_multi_part_aof_is_captured_whatever_it_and_its_directory_are_called() {
    for (name, directory) in [
        ("journal.log", "aof.log"),
        ("temp-x.incr", "temp-12.rdb"),
        ("temp-x", "state.pid"),
        ("x.log.1", "appendonlydir"),
    ] {
        let config = ["appendonly yes", &format!("appendfilename {name}"), &format!("appenddirname {directory}")];
        is_captured(ServerKind::Redis7, "aof", &config);
    }
}

/// What a server would call unfinished work is a dump all the same, where it says so.
#[test]
fn a_server_that_calls_its_dump_like_unfinished_work_is_captured_live_and_told_of_without_it() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = ServerOptions::with_config(&["dbfilename temp-12.rdb"]);
    let mut server = RedisServer::start_with(kind, dir.path(), config.clone());
    order(&server, "SET a 1");
    let captured = live(&server, &LiveOptions::default()).capture;
    assert_eq!(of_role(&captured, Role::Dump).path, b"temp-12.rdb");
    let copy = materialise_clean(&captured);
    assert_eq!(keys(&RedisServer::start_with(kind, copy.path(), config)), 1);
    server.stop_saving();
    fs::write(dir.path().join("another"), "x").unwrap();
    let left = capture(dir.path());
    assert_eq!((paths(&left), codes(&left)), (vec!["another".to_owned()], vec!["left-out"]));
    let options = CaptureOptions { include: vec!["temp-12.rdb".into()], ..CaptureOptions::default() };
    let included = capture_directory(dir.path(), &options).unwrap();
    assert_eq!((of_role(&included, Role::Dump).path.as_slice(), codes(&included)), (&b"temp-12.rdb"[..], vec![]));
}

fn write(dir: &Path, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

#[test]
fn without_a_server_to_ask_the_first_bytes_of_a_file_say_more_than_its_name() {
    for (name, bytes, role) in [
        ("dump.log", DUMP, Role::Dump),
        ("dump.pid", b"VALKEY080\xfa", Role::Dump),
        ("temp-cache.rdb", DUMP, Role::Dump),
        ("x.log.3", COMMANDS, Role::SingleAof),
        ("nodes.conf.tmp-12-34", b"#TS:1700000000\r\n", Role::SingleAof),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[(name, bytes), ("redis.log", b"started\n"), ("redis.pid", b"12\n")]);
        let captured = capture(dir.path());
        assert_eq!((paths(&captured), codes(&captured)), (vec![name.to_owned()], vec![]));
        assert_eq!(find(&captured, name).role, role);
    }
}

/// CAPTURE-2
#[test]
fn what_is_called_like_unfinished_work_and_begins_like_a_dataset_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let work: [(&str, &[u8]); 5] = [
        ("temp-12.rdb", DUMP),
        ("temp-1700000000.12.rdb", DUMP),
        ("temp-rewriteaof-12.aof", COMMANDS),
        ("temp-rewriteaof-bg-12.aof", DUMP),
        (".redkeep-x", DUMP),
    ];
    write(dir.path(), &work);
    write(dir.path(), &[("dump.rdb", DUMP), ("temp-13.rdb", b""), (".redkeep-journal", b"{}")]);
    let captured = capture(dir.path());
    assert_eq!((paths(&captured), codes(&captured)), (vec!["dump.rdb".to_owned()], vec!["left-out"; work.len()]));
    let mut told: Vec<_> = captured.warnings.iter().map(|warning| warning.path.as_slice()).collect();
    let mut expected: Vec<_> = work.iter().map(|(name, _)| name.as_bytes()).collect();
    told.sort_unstable();
    expected.sort_unstable();
    assert_eq!(told, expected);
    let options = CaptureOptions { exclude: vec!["temp-*".into(), ".redkeep-x".into()], ..CaptureOptions::default() };
    assert_eq!(codes(&capture_directory(dir.path(), &options).unwrap()), Vec::<&str>::new());
}

/// What a restore set aside is no dataset, were it the directory of an AOF itself.
#[test]
fn an_aof_that_a_restore_set_aside_is_not_captured() {
    let dir = tempfile::tempdir().unwrap();
    let aside = dir.path().join(".redkeep-aside-1");
    fs::create_dir(&aside).unwrap();
    let manifest = b"file a.aof.1.base.aof seq 1 type b\n";
    write(&aside, &[("a.aof.manifest", manifest), ("a.aof.1.base.aof", COMMANDS)]);
    write(dir.path(), &[("dump.rdb", DUMP)]);
    let captured = capture(dir.path());
    assert_eq!((paths(&captured), fact(&captured, "aof.layout")), (vec!["dump.rdb".to_owned()], "none"));
}

/// CAPTURE-2: a server names what it has written within moments, what a process writes to is work, and what is asked of a
/// server is what it calls its own.
#[test]
fn what_a_server_at_work_may_be_about_to_name_is_told_where_it_is_old() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&[]));
    order(&server, "SET a 1");
    order(&server, "SAVE");
    write(dir.path(), &[("temp-12.rdb", DUMP)]);
    assert_eq!(codes(&capture(dir.path())), Vec::<&str>::new());
    let writer = fs::File::options().write(true).open(dir.path().join("temp-12.rdb")).unwrap();
    writer.set_modified(SystemTime::now() - Duration::from_secs(100)).unwrap();
    assert_eq!(codes(&capture(dir.path())), Vec::<&str>::new(), "it is held open for writing");
    drop(writer);
    assert_eq!(codes(&capture(dir.path())), ["left-out"]);
    assert_eq!(codes(&live(&server, &LiveOptions::default()).capture), Vec::<&str>::new());
}

/// A manifest that a server is about to rename names the files of the AOF that it will be called by; one of an AOF
/// that is called so names files that are called so too.
#[test]
fn a_manifest_is_told_from_one_that_a_server_is_about_to_rename() {
    let dir = tempfile::tempdir().unwrap();
    let aof = dir.path().join("appendonlydir");
    fs::create_dir(&aof).unwrap();
    write(&aof, &[("temp-a.aof.1.base.aof", COMMANDS), ("a.aof.1.base.aof", b""), ("temp-b.incr", b"")]);
    write(&aof, &[("temp-a.aof.manifest", b"file temp-a.aof.1.base.aof seq 1 type b\n")]);
    let captured = capture(dir.path());
    assert_eq!(of_role(&captured, Role::Manifest).path, b"appendonlydir/temp-a.aof.manifest");
    assert_eq!(of_role(&captured, Role::Base).path, b"appendonlydir/temp-a.aof.1.base.aof");
    assert!(!paths(&captured).contains(&"appendonlydir/temp-b.incr".to_owned()));

    write(&aof, &[("temp-a.aof.manifest", b"file a.aof.1.base.aof seq 1 type b\n")]);
    let captured = capture(dir.path());
    assert!(captured.files.iter().all(|file| file.role != Role::Manifest), "{:?}", paths(&captured));
}
