//! Keys followed through the append-only files of real servers: what is told of them is what the server answers.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use redis::Connection;
use redkeep::aof::{Expiry, Fate, Lookup};
use redkeep::rdb::values::Item;
use tempfile::TempDir;

use crate::support::keyspace::Random;
use crate::support::records::{Record, records};
use crate::support::server::{RedisServer, ServerKind, ServerOptions};
use crate::values_samples::{samples, told};

const KEYS: u64 = 12;
const DATABASES: [u64; 2] = [0, 3];

/// A command of any kind with keys of a few; none of the times passes during the test.
fn command(random: &mut Random) -> String {
    let (a, b) = (format!("k{}", random.below(KEYS)), format!("k{}", random.below(KEYS)));
    let number = random.below(1000);
    match random.below(46) {
        0..6 => format!("SET {a} v{number}"),
        6 => format!("SET {a} v{number} EX 9{number:04}"),
        7 => format!("SET {a} v{number} PX 9{number:08} NX"),
        8 => format!("SET {a} v{number} KEEPTTL"),
        9 => format!("SET {a} v{number} XX GET"),
        10 => format!("SETEX {a} 9{number:04} v{number}"),
        11 => format!("PSETEX {a} 9{number:08} v{number}"),
        12 => format!("SETNX {a} v{number}"),
        13 => format!("GETSET {a} v{number}"),
        14 => format!("GETDEL {a}"),
        15 => format!("GETEX {a} EX 8{number:04}"),
        16 => format!("GETEX {a} PERSIST"),
        17..19 => format!("DEL {a} {b}"),
        19 => format!("UNLINK {a}"),
        20..22 => format!("EXPIRE {a} 9{number:04}"),
        22 => format!("PEXPIREAT {a} 41024448{number:05}"),
        23 => format!("EXPIRE {a} -1"),
        24..26 => format!("PERSIST {a}"),
        26..28 => format!("APPEND {a} +{number}"),
        28 => format!("SET {a} {number}"),
        29 => format!("INCR {a}"),
        30 => format!("INCRBY {a} {number}"),
        31 => format!("DECRBY {a} {number}"),
        32 => format!("INCRBYFLOAT {a} 0.5"),
        33 => format!("MSET {a} m{number} {b} n{number}"),
        34 => format!("RPUSH {a} {b}"),
        35 => format!("HSET {a} {b} {number}"),
        36 => format!("SADD {a} {b}"),
        37 => format!("RENAME {a} {b}"),
        38 => format!("COPY {a} {b} DB {} REPLACE", DATABASES[number as usize % 2]),
        39 => format!("MOVE {a} {}", DATABASES[number as usize % 2]),
        40 => format!("SETRANGE {a} 1 x"),
        41 => format!("SELECT {}", DATABASES[number as usize % 2]),
        42 => format!("SELECT {}", DATABASES[number as usize % 2]),
        43 if number < 100 => "FLUSHDB".to_owned(),
        44 if number < 50 => "SWAPDB 0 3".to_owned(),
        45 if number < 50 => "FLUSHALL".to_owned(),
        43..46 if number > 900 => format!("EVAL return{}redis.call('set',KEYS[1],ARGV[1]) 1 {a} s{number}", '\t'),
        _ => format!("SET {b} w{number}"),
    }
}

fn run(words: &str, connection: &mut Connection) {
    let mut command = redis::Cmd::new();
    command.arg(words.split(' ').collect::<Vec<_>>());
    // Some are refused: of another type, or to the same place.
    let _ = command.query::<redis::Value>(connection);
}

fn write(server: &RedisServer, random: &mut Random, commands: usize) {
    let mut connection = server.connection();
    for _ in 0..commands {
        match random.one_in(12) {
            false => run(&command(random), &mut connection),
            true => {
                run("MULTI", &mut connection);
                (0..1 + random.below(4)).for_each(|_| run(&command(random), &mut connection));
                run("EXEC", &mut connection);
            }
        }
    }
}

/// The string a key is set to, if it is one; its type; and when it goes.
fn answer(kind: ServerKind, key: &str, connection: &mut Connection) -> (Option<Vec<u8>>, String, i64) {
    let mut pipeline = redis::pipe();
    pipeline.cmd("TYPE").arg(key).cmd(if kind.is_7_or_later() { "PEXPIRETIME" } else { "PTTL" }).arg(key);
    let (name, expires): (String, i64) = pipeline.query(connection).unwrap();
    let value = (name == "string").then(|| redis::cmd("GET").arg(key).query(connection).unwrap());
    (value, name, expires)
}

/// The commands of each file, in order.
fn files(data: &Path, kind: ServerKind) -> Vec<Vec<u8>> {
    if !kind.is_7_or_later() {
        return vec![fs::read(data.join("appendonly.aof")).unwrap()];
    }
    let directory = data.join("appendonlydir");
    let manifest = fs::read_to_string(directory.join("appendonly.aof.manifest")).unwrap();
    let of_commands =
        manifest.lines().map(|line| line.split(' ').nth(1).unwrap()).filter(|name| name.ends_with(".aof"));
    of_commands.map(|name| fs::read(directory.join(name)).unwrap()).collect()
}

/// What is told of how many keys.
fn follow(kind: ServerKind, seed: u64) -> usize {
    let dir = TempDir::new().unwrap();
    let mut server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&["appendonly yes"]));
    let mut random = Random::new(seed);
    write(&server, &mut random, 150);
    let mut answers = Vec::new();
    for database in DATABASES {
        let mut connection = server.connection();
        redis::cmd("SELECT").arg(database).exec(&mut connection).unwrap();
        let keys = (0..KEYS).map(|key| format!("k{key}"));
        answers.extend(keys.map(|key| (database, answer(kind, &key, &mut connection), key)));
    }
    server.stop();
    let (files, mut told) = (files(dir.path(), kind), 0);
    for (database, (value, name, expires), key) in answers {
        let mut lookup = Lookup::starting_from(Fate::Gone, database, key.as_bytes(), 0);
        for (nth, file) in files.iter().enumerate() {
            if nth > 0 {
                lookup.next_file();
            }
            file.chunks(1 + random.below(300) as usize).for_each(|piece| lookup.push(piece));
        }
        let what = format!("{} {seed}: {key} of {database}", kind.name());
        match lookup.finish() {
            Fate::Gone => assert_eq!(name, "none", "{what}"),
            Fate::Kept { value: Some(text), expiry } => {
                assert_eq!(Some(text), value, "{what}");
                match expiry {
                    Expiry::Never => assert_eq!(expires, -1, "{what}"),
                    Expiry::At(at) if kind.is_7_or_later() => assert_eq!(expires, at, "{what}"),
                    Expiry::At(_) => assert!(expires > 0, "{what}"),
                    Expiry::AsBefore | Expiry::AfterLoading(_) => panic!("{what}: {expiry:?}, which no server writes"),
                }
            }
            Fate::Untold(obstacle) => {
                assert!(obstacle.command.is_some(), "{what}");
                continue;
            }
            fate @ (Fate::Untouched | Fate::Kept { value: None, .. }) => panic!("{what}: {fate:?}"),
        }
        told += 1;
    }
    told
}

#[test]
fn what_is_told_of_a_key_is_what_the_server_answers() {
    // `REDKEEP_TEST_HISTORIES=100 cargo test --test redis aof_lookup::` follows a hundred on each server.
    let histories = std::env::var("REDKEEP_TEST_HISTORIES").map_or(3, |number| number.parse().expect("a number"));
    for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
        let told: usize = (0..histories).map(|seed| follow(kind, seed)).sum();
        let all = 2 * KEYS as usize * histories as usize;
        assert!(told > all / 3 && told < all, "{}: {told} of {all}", kind.name());
    }
}

/// The string, if the key is one, and its expiry, as the dump at the beginning has them.
fn before(record: &Record) -> Option<Fate> {
    let mut value = None;
    record.each(|item| {
        if let Item::Text(text) = item {
            value = Some(text.to_vec());
        }
    });
    let expiry = record.expires.map_or(Expiry::Never, |at| Expiry::At(at as i64));
    value.map(|value| Fate::Kept { value: Some(value), expiry })
}

/// Every key that the server told of at the end, and all that the dump at the beginning has: what is told of strings and of
/// what is gone is right, and what is untouched is as it was.
fn compare_with_the_end(server: &str, name: &str, dump: Option<&str>, files: &[&str]) -> (usize, usize) {
    let directory = samples().join(server).join(name).join("appendonlydir");
    let read = |file: &str| fs::read(directory.join(file)).unwrap();
    let base: HashMap<(u64, Vec<u8>), Record> = dump
        .map(|dump| records(&read(dump)))
        .into_iter()
        .flatten()
        .map(|record| ((record.database, record.key.clone()), record))
        .collect();
    let files: Vec<Vec<u8>> = files.iter().map(|file| read(file)).collect();
    let end = told(&format!("{server}/{name}.keys.json"));
    let (mut strings, mut untouched) = (0, 0);
    let places: BTreeSet<&(u64, Vec<u8>)> = end.keys().chain(base.keys()).collect();
    for place in places {
        let (database, key) = (place.0, place.1.as_slice());
        let record = base.get(place);
        let mut lookup = match record.map(before) {
            Some(Some(string)) => Lookup::starting_from(string, database, key, 0),
            Some(None) => Lookup::new(database, key, 0),
            None => Lookup::starting_from(Fate::Gone, database, key, 0),
        };
        for (nth, file) in files.iter().enumerate() {
            if nth > 0 {
                lookup.next_file();
            }
            lookup.push(file);
        }
        let what = format!("{server}/{name}: {} of {database}", key.escape_ascii());
        match (lookup.finish(), end.get(place)) {
            (Fate::Gone, now) => assert!(now.is_none(), "{what}"),
            (Fate::Kept { value: Some(text), expiry }, Some(now)) => {
                let told = (now["type"].as_str(), now["length"].as_u64(), now["expires_at_ms"].as_i64());
                let expires = match expiry {
                    Expiry::At(at) => Some(at),
                    Expiry::Never => None,
                    Expiry::AsBefore | Expiry::AfterLoading(_) => panic!("{what}: {expiry:?}"),
                };
                assert_eq!((Some("string"), Some(text.len() as u64), expires), told, "{what}");
                strings += 1;
            }
            (Fate::Untouched, Some(now)) => {
                let record = record.unwrap();
                assert_eq!(record.value().type_name().as_deref(), now["type"].as_str(), "{what}");
                assert_eq!(Some(record.value().measure().unwrap().elements), now["length"].as_u64(), "{what}");
                assert_eq!(record.expires, now["expires_at_ms"].as_u64(), "{what}");
                untouched += 1;
            }
            (Fate::Kept { value: None, expiry: Expiry::At(at) }, Some(now)) => {
                assert_eq!(Some(at), now["expires_at_ms"].as_i64(), "{what}");
            }
            (Fate::Untold(obstacle), _) => assert!(obstacle.command.is_some(), "{what}"),
            (fate, now) => panic!("{what}: {fate:?}, {now:?}"),
        }
    }
    (strings, untouched)
}

#[test]
fn what_is_told_of_the_keys_of_the_samples_is_what_their_servers_held_at_the_end() {
    for server in ["redis-8.2.3", "redis-unstable-e58041978", "valkey-9.1.2"] {
        let (dump, increment, next) =
            ("appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof", "appendonly.aof.3.incr.aof");
        let after_dump = compare_with_the_end(server, "aof-rdb-base", Some(dump), &[increment]);
        let of_two = compare_with_the_end(server, "aof-multi", Some(dump), &[increment, next]);
        let from_nothing =
            compare_with_the_end(server, "aof-resp-base", None, &["appendonly.aof.2.base.aof", increment]);
        assert_eq!((after_dump.0, of_two.0, from_nothing), (115, 114, (115, 0)), "{server}: all their strings");
        assert!(after_dump.1 > 30 && of_two.1 > 30, "{server}: {after_dump:?}, {of_two:?}");
    }
}
