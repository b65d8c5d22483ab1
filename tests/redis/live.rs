//! A capture of a live server starts another one that holds what the first held, and asks for nothing it may not.

use std::collections::BTreeSet;
use std::path::Path;

use redkeep::format::snapshot::Role;
use redkeep::redis::server::{ACL_RULES, Address, LiveCapture, LiveOptions, Mode, Server, Watch, capture_server};
use redkeep::redis::{CaptureOptions, RedisError};
use tempfile::TempDir;

use crate::capture::{fact, materialise_clean, of_role, paths};
use crate::support::equality::Fingerprint;
use crate::support::keyspace::Keyspace;
use crate::support::server::{RedisServer, ServerKind, ServerOptions};
use crate::support::writers::{ConstantWriter, PersistenceChurn, writer_pair};

const PASSWORD: &str = "hen-and-egg";

/// Runs a command and expects it to succeed.
pub fn order(server: &RedisServer, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    redis::cmd(words[0]).arg(&words[1..]).exec(&mut server.connection()).unwrap();
}

/// The server as the user that a capture needs, who has no more rights than the rules give.
pub fn as_backup_user(server: &RedisServer) -> Address {
    order(server, &format!("ACL SETUSER backup reset on >{PASSWORD} {ACL_RULES}"));
    let address: Address = format!("127.0.0.1:{}", server.port()).parse().unwrap();
    address.with_login(Some("backup"), Some(PASSWORD))
}

pub fn live_at(address: &Address, options: &LiveOptions) -> Result<LiveCapture, RedisError> {
    let watch = Watch { say: &|_| {}, leaves: &|_| {}, note: &|_| {}, interrupted: &|| false };
    capture_server(Server::connect(address)?, options, &CaptureOptions::default(), &watch)
}

pub fn live(server: &RedisServer, options: &LiveOptions) -> LiveCapture {
    live_at(&as_backup_user(server), options).unwrap_or_else(|error| panic!("{error}\n{}", server.log()))
}

pub fn of_mode(mode: Mode) -> LiveOptions {
    LiveOptions { mode, ..LiveOptions::default() }
}

/// Starts a server of the same kind on a copy, which has to be whole.
pub fn boot(kind: ServerKind, copy: &Path, mode: &str, names: &[&str]) -> RedisServer {
    let config: &[&str] = if mode == "aof" { &["appendonly yes", "aof-load-truncated no"] } else { &[] };
    RedisServer::start_with(kind, copy, ServerOptions::with_config(&[config, names].concat()))
}

/// No denied command, and no other command than those the user may send (and those of the test itself).
fn assert_few_rights(server: &RedisServer) {
    let denied: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query(&mut server.connection()).unwrap();
    assert_eq!(denied, []);
    let text: String = redis::cmd("INFO").arg("commandstats").query(&mut server.connection()).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(':').map(|(name, _)| name));
    let allowed =
        ["ping", "auth", "hello", "info", "time", "bgsave", "config|get", "config|resetstat", "config", "acl|log"];
    let allowed: BTreeSet<&str> =
        allowed.into_iter().chain(["acl", "acl|setuser", "client", "client|setinfo", "module|list"]).collect();
    let others: Vec<&str> = names.filter(|name| !allowed.contains(name)).collect();
    assert_eq!(others, Vec::<&str>::new());
}

fn comes_back(kind: ServerKind, mode: Mode, config: &[&str]) {
    if kind.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(config));
    Keyspace::new(31, 1500).fill(&server);
    let mut filled = Fingerprint::of(&server);
    order(&server, "CONFIG RESETSTAT");
    let captured = live(&server, &of_mode(mode));
    assert_few_rights(&server);

    let mode = fact(&captured.capture, "capture.mode").to_owned();
    let copy = materialise_clean(&captured.capture);
    if mode == "aof" {
        // What replaying commands does not bring back, such as how many entries of a stream a group has read.
        server.kill();
        server.start_again();
        filled = Fingerprint::of(&server);
    }
    let names: Vec<&str> = config.iter().copied().filter(|line| line.contains("filename")).collect();
    let restored = boot(kind, copy.path(), &mode, &names);
    filled.assert_equal(&Fingerprint::of(&restored), &format!("{} {mode}", kind.name()));
    assert!(captured.moment.is_some());
    let keys: u64 =
        (0..16).filter_map(|db| fact(&captured.capture, &format!("server.keys.db{db}")).parse::<u64>().ok()).sum();
    assert_eq!(keys, 1500);
    for name in ["server.version", "server.run-id", "server.repl-id", "server.role", "server.time", "server.appendonly"]
    {
        assert_ne!(fact(&captured.capture, name), "", "{name}");
    }
}

#[test]
fn a_fresh_dump_of_every_version_comes_back() {
    for kind in ServerKind::ALL {
        comes_back(kind, Mode::Auto, &[]);
        comes_back(kind, Mode::Rdb, &["appendonly yes"]);
    }
}

#[test]
fn a_live_aof_of_every_version_comes_back() {
    for kind in ServerKind::ALL {
        comes_back(kind, Mode::Auto, &["appendonly yes", "save 3600 1"]);
        comes_back(kind, Mode::Aof, &["appendonly yes", "appendfilename my.aof", "dbfilename my.rdb"]);
    }
}

/// How many captures are made in a row: `REDKEEP_TEST_CAPTURES`, or few.
fn captures() -> usize {
    std::env::var("REDKEEP_TEST_CAPTURES").map_or(12, |text| text.parse().expect("a number"))
}

/// Every capture boots, with its pair equal and inside what was answered before and after.
fn captures_of_a_busy_server(kind: ServerKind, mode: Mode, config: &[&str]) {
    if kind.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(config));
    Keyspace::new(32, 500).fill(&server);
    let address = as_backup_user(&server);
    let writer = ConstantWriter::start(&server, 33);
    let churn = PersistenceChurn::start(&server);
    for turn in 0..captures() {
        let before = writer.answered();
        let captured = live_at(&address, &of_mode(mode)).unwrap();
        let after = writer.answered();
        let mode = fact(&captured.capture, "capture.mode").to_owned();
        let copy = materialise_clean(&captured.capture);
        let (a, b) = writer_pair(&boot(kind, copy.path(), &mode, &[]));
        assert_eq!(a, b, "capture {turn} by {mode}");
        let value = a.unwrap();
        assert!(
            (before..=after + 1).contains(&value),
            "capture {turn} by {mode}: {value} is not in {before}..={after}+1"
        );
    }
    assert!(churn.stop() > 0);
    writer.stop();
}

#[test]
fn every_aof_captured_of_a_busy_server_is_whole_and_of_its_moment() {
    for kind in ServerKind::ALL {
        captures_of_a_busy_server(kind, Mode::Aof, &["appendonly yes", "appendfsync no"]);
    }
}

#[test]
fn every_dump_captured_of_a_busy_server_is_whole_and_of_its_moment() {
    // A save takes its time: all versions only where somebody asked for many captures.
    let few = [ServerKind::Redis62, ServerKind::Redis7, ServerKind::Valkey9];
    let kinds = if std::env::var_os("REDKEEP_TEST_CAPTURES").is_some() { &ServerKind::ALL[..] } else { &few };
    for kind in kinds.iter().copied() {
        captures_of_a_busy_server(kind, Mode::Rdb, &["appendonly yes", "appendfsync no"]);
    }
}

pub fn redis_7(config: &[&str]) -> Option<(TempDir, RedisServer)> {
    if ServerKind::Redis7.is_skipped() {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = RedisServer::start_with(ServerKind::Redis7, dir.path(), ServerOptions::with_config(config));
    Some((dir, server))
}

#[test]
fn the_tail_is_the_aof_alone_with_a_mark_at_its_end() {
    let Some((_dir, server)) = redis_7(&["appendonly yes", "save 3600 1"]) else { return };
    Keyspace::new(34, 100).fill(&server);
    order(&server, "SAVE");
    std::fs::write(server.data().join("notes.txt"), "x").unwrap();
    order(&server, "CONFIG RESETSTAT");
    let captured = live(&server, &LiveOptions { tail: true, ..LiveOptions::default() });
    let names = ["", "/appendonly.aof.1.base.rdb", "/appendonly.aof.1.incr.aof", "/appendonly.aof.manifest"];
    assert_eq!(paths(&captured.capture), names.map(|name| format!("appendonlydir{name}")));
    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut server.connection()).unwrap();
    assert!(!stats.contains("cmdstat_bgsave"), "{stats}");
    let [mark] = captured.marks.as_slice() else { panic!("{:?}", captured.marks) };
    let last = of_role(&captured.capture, Role::Incr);
    assert_eq!((mark.path.as_slice(), mark.offset), (last.path.as_slice(), last.expected_size()));
    assert_eq!(Some(mark.time), captured.moment);
}
