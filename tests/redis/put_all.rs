//! All keys of a snapshot are put into a running server: they are there what they were, or it is said which are not.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use redkeep::operations::look_up::{KeyFilter, LISTED_LONGEST, PutKeys, PutOptions, keys, put_keys};
use redkeep::operations::{OperationError, Silent};
use redkeep::rdb::Kind;
use redkeep::repository::Repository;
use tempfile::TempDir;

use crate::live::order;
use crate::preflight::module;
use crate::put_back::{address, ask, digest};
use crate::support::keyspace::Keyspace;
use crate::support::repository::{Hands, back_up, create, latest, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

fn put(repository: &Repository, server: &RedisServer, options: &PutOptions) -> Result<PutKeys, OperationError> {
    put_keys(repository, &[&latest(repository, "d").unwrap()], &address(server), options, &Silent)
}

/// A snapshot of what a server holds after these commands.
fn snapshot(kind: ServerKind, config: &[&str], fill: impl Fn(&RedisServer)) -> Repository {
    let data: TempDir = tempfile::tempdir().unwrap();
    let server = RedisServer::start_with(kind, data.path(), ServerOptions::with_config(config));
    fill(&server);
    ask::<()>(&mut server.connection(), &[b"SAVE"]);
    let repository = create(memory(), &Hands::new(7));
    back_up(&repository, data.path(), "d").unwrap();
    repository
}

/// The digest of every key that a snapshot holds, with whether it may be new to older servers.
fn held(repository: &Repository) -> BTreeMap<(u64, Vec<u8>), ([u8; 32], bool)> {
    let mut all = BTreeMap::new();
    keys(
        repository,
        &latest(repository, "d").unwrap(),
        None,
        (&KeyFilter::default(), LISTED_LONGEST),
        &Silent,
        &mut |key| {
            let value = key.value.unwrap();
            let is_new = key.kind == Some(Kind::Stream) || (22..=25).contains(&value.type_byte);
            all.insert((key.database, key.key.to_vec()), (value.digest().unwrap(), is_new));
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    all
}

#[test]
fn what_a_server_held_is_put_into_every_other_but_what_that_does_not_know() {
    let kinds: Vec<ServerKind> = ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()).collect();
    for from in &kinds {
        let keyspace = Keyspace { databases: vec![0, 5], ..Keyspace::new(11, 3 * Keyspace::FORMS) };
        let repository = snapshot(*from, &[], |server| keyspace.fill(server));
        let held = held(&repository);
        for to in &kinds {
            let data: TempDir = tempfile::tempdir().unwrap();
            let server = RedisServer::start(*to, data.path());
            let done = put(&repository, &server, &PutOptions::default()).unwrap();
            let name = format!("{from:?} to {to:?}: {done:?}");
            let refused: u64 = done.not_taken.iter().map(|others| others.keys).sum();
            assert_eq!(done.put + refused, held.len() as u64, "{name}");
            assert_eq!((done.there, done.expired, done.held), (0, 0, (0, done.put)), "{name}");
            assert!(from != to || (refused, done.remade) == (0, 0), "{name}");
            let mut connection = server.connection();
            let mut missing = 0;
            for ((database, key), (expected, is_new)) in &held {
                ask::<()>(&mut connection, &[b"SELECT", database.to_string().as_bytes()]);
                if ask::<u64>(&mut connection, &[b"EXISTS", key]) == 0 {
                    assert!(is_new, "{name}: {}", key.escape_ascii());
                    missing += 1;
                } else {
                    assert_eq!(digest(&mut connection, *to, key), *expected, "{name}: {}", key.escape_ascii());
                }
            }
            assert_eq!(missing, refused, "{name}");
        }
    }
}

#[test]
fn nothing_of_a_server_is_touched_that_was_not_given_up() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let repository = snapshot(ServerKind::Redis7, &[], |server| {
        let mut connection = server.connection();
        for number in 0..5000 {
            ask::<()>(&mut connection, &[b"SET", format!("user:{number}").as_bytes(), b"old"]);
        }
        ask::<()>(&mut connection, &[b"SET", b"going", b"1", b"PX", b"3600000"]);
        ask::<u64>(&mut connection, &[b"RPUSH", b"list", b"a", b"b"]);
        ask::<()>(&mut connection, &[b"SELECT", b"3"]);
        ask::<()>(&mut connection, &[b"SET", b"user:0", b"third"]);
    });
    let data: TempDir = tempfile::tempdir().unwrap();
    let server = RedisServer::start(ServerKind::Redis7, data.path());
    let mut connection = server.connection();
    ask::<()>(&mut connection, &[b"SET", b"user:7", b"new"]);
    let error = put(&repository, &server, &PutOptions::default()).unwrap_err();
    assert!(error.to_string().ends_with("holds 1 key") && error.hint().unwrap().contains("--merge"), "{error:?}");

    let dry = PutOptions { merges: true, dry_run: true, ..PutOptions::default() };
    assert_eq!(put(&repository, &server, &dry).unwrap().put, 5003);
    assert_eq!(ask::<u64>(&mut connection, &[b"DBSIZE"]), 1);

    let none = KeyFilter { pattern: Some(b"list*".to_vec()), database: Some(3) };
    let error =
        put(&repository, &server, &PutOptions { merges: true, filter: none, ..PutOptions::default() }).unwrap_err();
    assert!(error.to_string().ends_with("no key of the snapshot fits list* and is in database 3"), "{error}");
    let some = KeyFilter { pattern: Some(b"user:*".to_vec()), database: Some(0) };
    let merge = PutOptions { merges: true, filter: some, ..PutOptions::default() };
    let done = put(&repository, &server, &merge).unwrap();
    assert_eq!((done.put, done.there, done.missing, done.held), (4999, 1, vec![], (1, 5000)));
    assert_eq!(ask::<String>(&mut connection, &[b"GET", b"user:7"]), "new");
    let replace = PutOptions { merges: true, replaces: true, ..PutOptions::default() };
    let done = put(&repository, &server, &replace).unwrap();
    assert_eq!((done.put, done.there, done.missing, done.held), (5003, 0, vec![], (5000, 5003)));
    assert_eq!(ask::<String>(&mut connection, &[b"GET", b"user:7"]), "old");
    assert!((1..=3_600_000).contains(&ask::<i64>(&mut connection, &[b"PTTL", b"going"])));
    ask::<()>(&mut connection, &[b"SELECT", b"3"]);
    assert_eq!(ask::<String>(&mut connection, &[b"GET", b"user:0"]), "third");
}

#[test]
fn what_has_expired_stays_away_and_functions_come_along() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let library: &[u8] = b"#!lua name=one\nredis.register_function('answer', function() return 42 end)";
    let repository = snapshot(ServerKind::Redis7, &[], |server| {
        let mut connection = server.connection();
        ask::<String>(&mut connection, &[b"FUNCTION", b"LOAD", library]);
        ask::<()>(&mut connection, &[b"SET", b"a", b"1"]);
        // It goes after the save, and before it is put.
        ask::<()>(&mut connection, &[b"SET", b"gone", b"1", b"PX", b"1500"]);
    });
    std::thread::sleep(std::time::Duration::from_millis(1600));
    for kind in [ServerKind::Redis7, ServerKind::Redis82, ServerKind::Valkey9, ServerKind::Redis62] {
        if kind.is_skipped() {
            continue;
        }
        let data: TempDir = tempfile::tempdir().unwrap();
        let server = RedisServer::start(kind, data.path());
        let done = put(&repository, &server, &PutOptions::default()).unwrap();
        assert_eq!((done.put, done.expired, done.held), (1, 1, (0, 1)), "{kind:?}");
        let has_functions = kind.is_7_or_later();
        assert_eq!((done.has_functions, done.without_functions.is_none()), (has_functions, has_functions), "{kind:?}");
        if has_functions {
            assert_eq!(ask::<i64>(&mut server.connection(), &[b"FCALL", b"answer", b"0"]), 42, "{kind:?}");
            let done = put(&repository, &server, &PutOptions { merges: true, ..PutOptions::default() }).unwrap();
            assert!(done.without_functions.as_ref().is_some_and(|why| why.contains("--replace")), "{done:?}");
        } else {
            assert!(done.without_functions.as_ref().is_some_and(|why| why.contains("before Redis 7.0")), "{done:?}");
        }
    }
}

/// The key's name stands in the refusal, as the bytes that it is.
#[test]
fn a_refusal_that_is_no_text_is_told_with_its_words_and_what_to_do() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let repository = snapshot(ServerKind::Redis7, &[], |server| {
        ask::<()>(&mut server.connection(), &[b"SET", b"\xff\xfe", b"1"]);
    });
    let data: TempDir = tempfile::tempdir().unwrap();
    let options = ServerOptions::with_config(&["rename-command RESTORE other"]);
    let server = RedisServer::start_with(ServerKind::Redis7, data.path(), options);
    let error = put(&repository, &server, &PutOptions::default()).unwrap_err();
    assert!(error.to_string().contains("RESTORE with: ERR unknown command"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--renamed-command RESTORE=NEW")), "{error}");
}

/// Types of modules are of one byte in the file: what one module's values meet says nothing of another's.
#[test]
fn values_of_a_module_that_the_server_lacks_stay_away_and_the_module_is_named() {
    let kind = ServerKind::Redis74;
    if kind.is_skipped() {
        return;
    }
    let [bloom, json] = ["redisbloom.so", "rejson.so"].map(|name| format!("loadmodule {}", module(name)));
    let repository = snapshot(kind, &[&bloom, &json], |server| {
        order(server, "BF.ADD bloom 1");
        order(server, "JSON.SET json . [1]");
        order(server, "SET text 1");
    });
    let data: TempDir = tempfile::tempdir().unwrap();
    let server = RedisServer::start_with(kind, data.path(), ServerOptions::with_config(&[&json]));
    for dry_run in [true, false] {
        let done = put(&repository, &server, &PutOptions { dry_run, ..PutOptions::default() }).unwrap();
        assert_eq!(done.put, 2, "{done:?}");
        let [lacking] = &done.not_taken[..] else { panic!("{done:?}") };
        assert_eq!((lacking.what.as_str(), lacking.keys, lacking.first.1.as_slice()), ("MBbloom--", 1, &b"bloom"[..]));
        assert!(lacking.why.contains("has not loaded the module bf (type MBbloom--)"), "{}", lacking.why);
    }
    assert_eq!(ask::<String>(&mut server.connection(), &[b"JSON.GET", b"json"]), "[1]");
}

/// A hash whose listpack says that it has so many bytes, where it has 13.
fn hash(key: u8, said: u8) -> Vec<u8> {
    [&[16, 1, key, 13, said, 0, 0, 0, 2, 0][..], b"\x81f\x02\x81v\x02\xff"].concat()
}

#[test]
fn a_value_that_is_refused_for_what_it_holds_keeps_no_other_of_its_type_away() {
    let kind = ServerKind::Redis74;
    if kind.is_skipped() {
        return;
    }
    let data: TempDir = tempfile::tempdir().unwrap();
    let hashes = [hash(b'a', 13), hash(b'b', 14), hash(b'c', 13)];
    for from in [1, 0] {
        let records = hashes.get(from..).unwrap().concat();
        let dump = [b"REDIS0011\xfe\x00", &records[..], b"\xff", &[0; 8]].concat();
        std::fs::write(data.path().join("dump.rdb"), dump).unwrap();
        let repository = create(memory(), &Hands::new(7));
        back_up(&repository, data.path(), "d").unwrap();
        let place: TempDir = tempfile::tempdir().unwrap();
        let server = RedisServer::start(kind, place.path());
        let done = put(&repository, &server, &PutOptions::default()).unwrap();
        assert_eq!((done.put, done.not_taken[0].keys), (2 - from as u64, 1), "{done:?}");
        assert!(done.not_taken[0].why.contains("the value was damaged in the server it is from"), "{done:?}");
        assert_eq!(ask::<String>(&mut server.connection(), &[b"HGET", b"c", b"f"]), "v");
    }
}

#[test]
fn a_long_value_is_put_where_the_server_takes_arguments_that_long() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let length = 66 << 20;
    let repository = snapshot(kind, &["rdbcompression no"], |server| {
        ask::<()>(&mut server.connection(), &[b"SET", b"long", &vec![b'x'; length]]);
    });
    let places: [TempDir; 2] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let server = RedisServer::start(kind, places[0].path());
    assert_eq!(put(&repository, &server, &PutOptions::default()).unwrap().put, 1);
    assert_eq!(ask::<usize>(&mut server.connection(), &[b"STRLEN", b"long"]), length);
    let short = ServerOptions::with_config(&["proto-max-bulk-len 1mb"]);
    let server = RedisServer::start_with(kind, places[1].path(), short);
    let error = put(&repository, &server, &PutOptions::default()).unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("proto-max-bulk-len")), "{error}");
}

#[test]
fn of_a_form_that_an_older_server_does_not_know_it_is_said_that_it_does_not() {
    let (newer, older) = (ServerKind::Redis82, ServerKind::Redis62);
    if newer.is_skipped() || older.is_skipped() {
        return;
    }
    let repository = snapshot(newer, &[], |server| order(server, "XADD stream 1-1 field value"));
    let data: TempDir = tempfile::tempdir().unwrap();
    let done = put(&repository, &RedisServer::start(older, data.path()), &PutOptions::default()).unwrap();
    assert_eq!(done.put, 0);
    assert!(done.not_taken[0].why.contains("does not know the type"), "{done:?}");
}

#[test]
fn a_snapshot_that_goes_on_as_commands_is_not_taken_for_its_dump() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let data: TempDir = tempfile::tempdir().unwrap();
    let server =
        RedisServer::start_with(ServerKind::Redis7, data.path(), ServerOptions::with_config(&["appendonly yes"]));
    let mut connection = server.connection();
    ask::<()>(&mut connection, &[b"SET", b"base", b"1"]);
    ask::<redis::Value>(&mut connection, &[b"BGREWRITEAOF"]);
    crate::support::server::wait_for("the rewrite", || {
        let info: String = ask(&mut connection, &[b"INFO", b"persistence"]);
        info.contains("aof_rewrite_in_progress:0\r").then_some(())
    });
    ask::<()>(&mut connection, &[b"SET", b"behind", b"1"]);
    let repository = create(memory(), &Hands::new(7));
    back_up(&repository, data.path(), "d").unwrap();
    ask::<()>(&mut connection, &[b"FLUSHALL"]);
    let error = put(&repository, &server, &PutOptions::default()).unwrap_err();
    assert!(error.to_string().contains("goes on behind its dump"), "{error}");
    assert!(error.hint().unwrap().contains("--dump-alone"), "{error:?}");
    let done = put(&repository, &server, &PutOptions { dump_alone: true, ..PutOptions::default() }).unwrap();
    assert_eq!((done.put, done.behind.len(), done.held), (1, 1, (0, 1)));
    assert_eq!(ask::<u64>(&mut connection, &[b"EXISTS", b"behind"]), 0);
}
