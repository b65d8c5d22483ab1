//! The test servers, keyspaces and comparisons are themselves right.

use crate::support::equality::Fingerprint;
use crate::support::keyspace::Keyspace;
use crate::support::server::{Listen, RedisServer, ServerKind, ServerOptions};
use crate::support::writers::{ConstantWriter, PersistenceChurn, writer_pair};

/// Fills a server, restarts it from its RDB and then from its AOF, and compares every key.
fn keeps_its_keyspace(kind: ServerKind) {
    if kind.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut server = RedisServer::start(kind, dir.path());
    Keyspace::new(7, 3000).fill(&server);
    let filled = Fingerprint::of(&server);
    assert_eq!(filled.len(), 3000);

    server.stop_saving();
    server.start_again();
    filled.assert_equal(&Fingerprint::of(&server), "after a restart from the RDB");
    drop(server);

    let dir = tempfile::tempdir().unwrap();
    let options = ServerOptions::with_config(&["appendonly yes", "aof-use-rdb-preamble no"]);
    let mut server = RedisServer::start_with(kind, dir.path(), options);
    Keyspace::new(7, 3000).fill(&server);
    let filled = Fingerprint::of(&server);
    server.stop();
    server.start_again();
    filled.assert_equal(&Fingerprint::of(&server), "after a restart from the AOF");
}

#[test]
fn redis_6_2_keeps_its_keyspace() {
    keeps_its_keyspace(ServerKind::Redis62);
}

#[test]
fn redis_7_keeps_its_keyspace() {
    keeps_its_keyspace(ServerKind::Redis7);
}

#[test]
fn redis_7_4_keeps_its_keyspace() {
    keeps_its_keyspace(ServerKind::Redis74);
}

#[test]
fn redis_8_2_keeps_its_keyspace() {
    keeps_its_keyspace(ServerKind::Redis82);
}

#[test]
fn valkey_9_keeps_its_keyspace() {
    keeps_its_keyspace(ServerKind::Valkey9);
}

fn redis_7(options: ServerOptions) -> Option<(tempfile::TempDir, RedisServer)> {
    if ServerKind::Redis7.is_skipped() {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = RedisServer::start_with(ServerKind::Redis7, dir.path(), options);
    Some((dir, server))
}

#[test]
fn the_same_seed_gives_the_same_keyspace_and_another_seed_another() {
    let Some((_dir, server)) = redis_7(ServerOptions::default()) else { return };
    let fill = |seed| {
        redis::cmd("FLUSHALL").exec(&mut server.connection()).unwrap();
        Keyspace::new(seed, 500).fill(&server);
        let mut keys = Fingerprint::of(&server).keys;
        // Pending entries carry the time at which they were delivered.
        keys.values_mut().for_each(|state| state.detail.clear());
        Fingerprint { keys }
    };
    let first = fill(1);
    assert!(!fill(2).differences(&first).is_empty());
    first.assert_equal(&fill(1), "the same seed");
}

#[test]
fn a_keyspace_has_every_type_several_databases_expiries_and_binary_keys() {
    let Some((_dir, server)) = redis_7(ServerOptions::default()) else { return };
    Keyspace::new(3, 200).fill(&server);
    let filled = Fingerprint::of(&server);
    for kind in ["string", "hash", "list", "set", "zset", "stream"] {
        assert!(filled.keys.values().any(|state| state.kind == kind), "no {kind}");
    }
    assert_eq!(server.info().databases(), [0, 1, 5]);
    assert!(filled.keys.values().any(|state| state.expires.is_some()));
    assert!(filled.keys.keys().any(|(_, key)| std::str::from_utf8(key).is_err()));
    assert!(filled.keys.values().any(|state| state.detail.contains("worker-2")), "no pending entries");

    let mut encodings: Vec<String> = Vec::new();
    let mut connection = server.connection();
    for (_, key) in filled.keys.keys().filter(|(database, _)| *database == 0) {
        encodings.push(redis::cmd("OBJECT").arg("ENCODING").arg(key).query(&mut connection).unwrap());
    }
    for encoding in ["int", "embstr", "raw", "listpack", "hashtable", "quicklist", "intset", "skiplist", "stream"] {
        assert!(encodings.iter().any(|found| found == encoding), "no {encoding}");
    }
}

#[test]
fn every_kind_of_difference_is_told() {
    let Some((_dir, server)) = redis_7(ServerOptions::default()) else { return };
    let mut connection = server.connection();
    let mut run = |line: &str| {
        let words: Vec<&str> = line.split(" ").collect();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.exec(&mut connection).unwrap();
    };
    for line in [
        "SET same 1",
        "SET gone 1",
        "SET value 1",
        "SET expiry 1",
        "SET kind 1",
        "XADD log 1-1 a b",
        "XADD log 2-1 a b",
        "XGROUP CREATE log readers 0",
    ] {
        run(line);
    }
    let before = Fingerprint::of(&server);
    for line in [
        "DEL gone",
        "SET value 2",
        "PEXPIREAT expiry 4102444800000",
        "DEL kind",
        "SADD kind 1",
        "SET new 1",
        "XREADGROUP GROUP readers one STREAMS log >",
    ] {
        run(line);
    }
    let lines = before.differences(&Fingerprint::of(&server));
    let starts: Vec<_> = lines.iter().map(|line| line.split(", is").next().unwrap()).collect();
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert_eq!(starts[0], "db0 expiry: expired at never, now 4102444800000");
    assert_eq!(starts[1], "db0 gone: missing, was string");
    assert_eq!(starts[2], "db0 kind: was a string");
    assert!(starts[3].starts_with("db0 log: was "), "{}", starts[3]);
    assert_eq!(starts[4], "db0 value: the string has another value");
    assert_eq!(starts[5], "db0 new: was not there");
}

#[test]
fn a_constant_writer_keeps_its_pair_equal_through_saves_rewrites_and_a_kill() {
    let options = ServerOptions::with_config(&["appendonly yes", "appendfsync always"]);
    let Some((_dir, mut server)) = redis_7(options) else { return };
    let writer = ConstantWriter::start(&server, 11);
    let churn = PersistenceChurn::start(&server);
    churn.wait_past(1);
    writer.wait_past(writer.answered() + 100);
    assert!(churn.stop() >= 2);
    let answered = writer.answered();

    server.kill();
    let written = writer.abandon();
    assert!(written.pair >= answered && written.noise >= answered - 1);
    server.start_again();
    let (a, b) = writer_pair(&server);
    assert_eq!(a, b);
    // The last one may have been written to the AOF and not yet answered.
    assert!((written.pair..=written.pair + 1).contains(&a.unwrap()), "{a:?} after {written:?}");
}

#[test]
fn a_stopped_writer_was_answered_for_every_write() {
    let Some((_dir, server)) = redis_7(ServerOptions::default()) else { return };
    let writer = ConstantWriter::start(&server, 12);
    writer.wait_past(50);
    let written = writer.stop();
    assert_eq!(writer_pair(&server), (Some(written.pair), Some(written.pair)));
    assert_eq!(written.noise, written.pair);
}

#[test]
fn a_server_with_a_password_serves_on_a_unix_socket_alone() {
    let options = ServerOptions {
        listen: Listen::UnixSocket,
        password: Some("hen-and-egg".to_owned()),
        ..ServerOptions::default()
    };
    let Some((dir, mut server)) = redis_7(options) else { return };
    assert_eq!(server.info().get("tcp_port"), Some("0"));
    redis::cmd("SET").arg("here").arg(1).exec(&mut server.connection()).unwrap();
    server.stop_saving();
    assert!(!server.is_running());
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["dump.rdb"], "log, socket and configuration lie elsewhere");
    server.start_again();
    assert_eq!(Fingerprint::of(&server).len(), 1);
}

#[test]
fn a_server_that_refuses_its_data_is_seen_to_exit_and_its_log_says_why() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dump.rdb"), "REDIS0099").unwrap();
    let mut server = RedisServer::spawn(ServerKind::Redis7, dir.path(), ServerOptions::default());
    assert!(!server.wait_exit().success());
    assert!(server.log().contains("Can't handle RDB format version 99"), "{}", server.log());
}
