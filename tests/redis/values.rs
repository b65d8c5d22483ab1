//! Values of dumps that real servers wrote, read: they are what the server answers, and it takes them back.

use std::collections::HashMap;
use std::fs;

use redis::Connection;
use redkeep::rdb::values::{Group, Item, least_version, score_text};
use redkeep::rdb::{Kind, read_header};
use tempfile::TempDir;

use crate::support::keyspace::Keyspace;
use crate::support::records::{Record, records};
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

/// What a value says, part by part, in an order of its own.
type Shown = Vec<Vec<Vec<u8>>>;

fn text(shown: impl ToString) -> Vec<u8> {
    shown.to_string().into_bytes()
}

fn read(record: &Record) -> Shown {
    let (mut shown, is_stream) = (Shown::new(), record.value().kind() == Some(Kind::Stream));
    record.each(|item| match item {
        Item::Text(text) | Item::Element(text) => shown.push(vec![text.to_vec()]),
        Item::Member { member, score } => shown.push(vec![member.to_vec(), text(score)]),
        Item::Field { name, value, .. } if is_stream => {
            shown.last_mut().unwrap().extend([name.to_vec(), value.to_vec()]);
        }
        Item::Field { name, value, expires } => {
            shown.push(vec![name.to_vec(), value.to_vec(), text(expires.map_or(-1, |at| at as i64))]);
        }
        Item::Entry { id, .. } => shown.push(vec![text(id)]),
        Item::Stream(facts) => shown.push(vec![text(facts.length), text(facts.last), text(facts.groups)]),
        Item::Group(Group { name, last_delivered, pending, consumers, .. }) => {
            shown.push(vec![name.to_vec(), text(last_delivered), text(pending), text(consumers)]);
        }
        Item::Consumer(consumer) => shown.push(vec![consumer.name.to_vec(), text(consumer.pending)]),
        Item::Module(_) => {}
        Item::Placed { .. } | Item::Path(_) => panic!("{item:?}"),
    });
    if ["set", "zset", "hash"].contains(&record.value().type_name().unwrap().as_str()) {
        shown.sort();
    }
    shown
}

struct Asking<'s> {
    server: &'s RedisServer,
    connection: Connection,
}

type Info = HashMap<String, redis::Value>;

impl Asking<'_> {
    fn ask<T: redis::FromRedisValue>(&mut self, words: &[&[u8]]) -> T {
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.query(&mut self.connection).unwrap_or_else(|error| panic!("{:?}: {error}", words[0].escape_ascii()))
    }

    /// The same as [`read`], by the server's word.
    fn answer(&mut self, record: &Record, key: &[u8]) -> Shown {
        let parts = |list: Vec<Vec<u8>>, size: usize| -> Shown { list.chunks(size).map(<[Vec<u8>]>::to_vec).collect() };
        let kind: String = self.ask(&[b"TYPE", key]);
        assert_eq!(record.value().type_name().as_ref(), Some(&kind));
        let mut shown = match kind.as_str() {
            "string" => vec![vec![self.ask(&[b"GET", key])]],
            "list" => parts(self.ask(&[b"LRANGE", key, b"0", b"-1"]), 1),
            "set" => parts(self.ask(&[b"SMEMBERS", key]), 1),
            "zset" => parts(self.ask(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]), 2),
            "hash" => parts(self.ask(&[b"HGETALL", key]), 2),
            "stream" => return self.stream(key),
            "vectorset" => return Shown::new(),
            other => panic!("a {other}"),
        };
        match kind.as_str() {
            "zset" => shown.iter_mut().for_each(|member| {
                let exactly = score(&member[1]);
                // Older ones answer with 17 digits.
                let is_shortest = self.server.kind().has_field_expiry();
                assert!(!is_shortest || score_text(exactly).as_bytes() == member[1], "{}", member[1].escape_ascii());
                member[1] = text(exactly);
            }),
            "hash" => shown.iter_mut().for_each(|field| field.push(text(self.expiry(key, &field[0])))),
            _ => {}
        }
        if ["set", "zset", "hash"].contains(&kind.as_str()) {
            shown.sort();
        }
        shown
    }

    fn expiry(&mut self, key: &[u8], field: &[u8]) -> i64 {
        match self.server.kind().has_field_expiry() {
            true => self.ask::<Vec<i64>>(&[b"HPEXPIRETIME", key, b"FIELDS", b"1", field])[0],
            false => -1,
        }
    }

    fn stream(&mut self, key: &[u8]) -> Shown {
        let entries: Vec<(Vec<u8>, Vec<Vec<u8>>)> = self.ask(&[b"XRANGE", key, b"-", b"+"]);
        let mut shown: Shown = entries.into_iter().map(|(id, fields)| [vec![id], fields].concat()).collect();
        let all: Info = self.ask(&[b"XINFO", b"STREAM", key]);
        shown.push(["length", "last-generated-id", "groups"].map(|fact| told(&all[fact])).to_vec());
        for group in self.ask::<Vec<Info>>(&[b"XINFO", b"GROUPS", key]) {
            let facts = ["name", "last-delivered-id", "pending", "consumers"].map(|fact| told(&group[fact]));
            let name = facts[0].clone();
            shown.push(facts.to_vec());
            for consumer in self.ask::<Vec<Info>>(&[b"XINFO", b"CONSUMERS", key, &name]) {
                shown.push(["name", "pending"].map(|fact| told(&consumer[fact])).to_vec());
            }
        }
        shown
    }
}

fn score(answer: &[u8]) -> f64 {
    str::from_utf8(answer).unwrap().parse().unwrap()
}

fn told(value: &redis::Value) -> Vec<u8> {
    match value {
        redis::Value::BulkString(bytes) => bytes.clone(),
        redis::Value::Int(number) => text(number),
        other => panic!("{other:?}"),
    }
}

/// Values at the edges of every form.
fn edges(server: &RedisServer) {
    let numbers = [0, 1, -1, 12, 127, 128, -128, -129, 4095, -4096, 4096, 32_767, -32_769, 8_388_607, -8_388_609];
    let wide = [1 << 31, -(1 << 31), -(1_i64 << 31) - 1, i64::MAX, i64::MIN];
    let numbers: Vec<String> = numbers.iter().chain(&wide).map(ToString::to_string).collect();
    let lengths = [0, 1, 5, 20, 63, 64, 200, 4095, 4096, 8000, 9000, 16_383, 16_384, 70_000, 400_000];
    let texts: Vec<String> = lengths.iter().map(|length| format!("{length:x}").repeat(*length)).collect();
    let mut all = redis::pipe();
    let (mut scored, mut fields) = (redis::cmd("ZADD"), redis::cmd("HSET"));
    scored.arg("edges:zset");
    fields.arg("edges:hash");
    for (nth, word) in numbers.iter().chain(&texts).enumerate() {
        all.cmd("SET").arg(format!("edges:{nth}")).arg(word);
        all.cmd("RPUSH").arg("edges:list").arg(word);
        all.cmd("RPUSH").arg(format!("edges:list:{nth}")).arg(&[word, &numbers[3]]);
        all.cmd("SADD").arg("edges:set").arg(word);
        all.cmd("SADD").arg(format!("edges:set:{}", nth % 4)).arg(word);
        all.cmd("HSET").arg(format!("edges:hash:{}", nth % 9)).arg(&[word, &numbers[nth % 7]]);
        all.cmd("XADD")
            .arg("edges:stream")
            .arg(format!("{}-{}", 5 + nth / 3 * 1000, 7 + nth % 3))
            .arg(&[word, &texts[nth % 4]]);
        fields.arg(word).arg(word);
        scored.arg(nth as f64 * 1e18 - 0.1).arg(word);
    }
    for (nth, score) in [
        "0",
        "-0",
        "1e-300",
        "-inf",
        "inf",
        "0.1",
        "3",
        "1e21",
        "-9007199254740993",
        "1e20",
        "1.5e-7",
        "0.000123456789",
        "0.0012345678901",
        "123456789012",
        "1e17",
        "12345e12",
        "1e8",
        "1e7",
        "0.000001",
        "-17.25",
        "1.7976931348623157e308",
        "123456789.123456789",
        "5e-324",
    ]
    .iter()
    .enumerate()
    {
        all.cmd("ZADD").arg("edges:scores").arg(score).arg(nth);
    }
    all.add_command(scored).add_command(fields);
    for line in [
        "XGROUP CREATE edges:stream g1 0",
        "XGROUP CREATE edges:stream g2 5-8",
        "XREADGROUP GROUP g1 c1 COUNT 7 STREAMS edges:stream >",
        "XREADGROUP GROUP g1 c2 COUNT 3 STREAMS edges:stream >",
        "XACK edges:stream g1 5-7 5-8",
        "XDEL edges:stream 5-9 1005-7 2005-8",
        "XGROUP CREATE edges:none g $ MKSTREAM",
        "XADD edges:gone 1-1 a b",
        "XDEL edges:gone 1-1",
    ] {
        all.cmd(line.split(' ').next().unwrap()).arg(line.split(' ').skip(1).collect::<Vec<_>>());
    }
    all.exec(&mut server.connection()).unwrap();
}

fn fill(server: &RedisServer) {
    edges(server);
    let kind = server.kind();
    let run = |line: &str| {
        let mut command = redis::Cmd::new();
        command.arg(line.split(' ').collect::<Vec<_>>());
        command.exec(&mut server.connection()).unwrap();
    };
    if kind.has_field_expiry() {
        for key in ["edges:hash", "edges:hash:1", "edges:hash:2"] {
            run(&format!("HSET {key} soon 1 later 2 back 3"));
            run(&format!("HPEXPIREAT {key} 4102444800123 FIELDS 2 soon back"));
            run(&format!("HPEXPIREAT {key} 4102444900456 FIELDS 1 later"));
            run(&format!("HPERSIST {key} FIELDS 1 back"));
        }
        run("HPERSIST edges:hash:2 FIELDS 2 soon later");
    }
    if kind == ServerKind::Redis82 {
        run("VADD edges:vectors VALUES 3 0.1 0.2 0.3 one");
        run("VADD edges:vectors VALUES 3 -0.1 0.2 0.5 two");
    }
    Keyspace::new(5, 700).fill(server);
}

/// What a server saves.
fn save(server: &RedisServer) -> Vec<u8> {
    redis::cmd("SAVE").exec(&mut server.connection()).unwrap();
    fs::read(server.data().join("dump.rdb")).unwrap()
}

/// A server, what it saved, and the version of that.
fn saved(kind: ServerKind, dir: &TempDir) -> (RedisServer, Vec<Record>, u16) {
    let server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&["list-compress-depth 1"]));
    fill(&server);
    let dump = save(&server);
    let version = read_header(&dump).unwrap().header.version;
    (server, records(&dump), version)
}

/// Each value is read as the server answers it; DUMP is its payload, and RESTORE makes the same of it.
fn are_what_the_server_answers(kind: ServerKind, types: &[u8]) {
    if kind.is_skipped() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (server, records, version) = saved(kind, &dir);
    let mut asking = Asking { server: &server, connection: server.connection() };
    let mut seen = [0; 256];
    for record in &records {
        let (key, value) = (record.key.as_slice(), record.value());
        let shown = key.escape_ascii();
        asking.ask::<()>(&[b"SELECT", &text(record.database)]);
        // First: whoever asks for a field of a table that is about to grow moves others.
        let dumped: Vec<u8> = asking.ask(&[b"DUMP", key]);
        assert!(value.payload(version).unwrap() == dumped, "DUMP {shown}, type {}", record.type_byte);
        assert_eq!(read(record), asking.answer(record, key), "{shown}");
        let payload = value.payload(least_version(record.type_byte, record.family).unwrap()).unwrap();
        let expires = text(record.expires.unwrap_or(0));
        let copy = [b"copy of ", key].concat();
        asking.ask::<()>(&[b"RESTORE", &copy, &expires, &payload, b"ABSTTL"]);
        let digests: Vec<String> = asking.ask(&[b"DEBUG", b"DIGEST-VALUE", key, &copy]);
        assert_eq!(digests[0], digests[1], "{shown}");
        assert_eq!(asking.answer(record, &copy), read(record), "{shown}");
        seen[usize::from(record.type_byte)] += 1;
        let count = match value.type_name().as_deref() {
            Some("list") => "LLEN",
            Some("set") => "SCARD",
            Some("zset") => "ZCARD",
            Some("hash") => "HLEN",
            Some("stream") => "XLEN",
            Some("vectorset") => "VCARD",
            _ => continue,
        };
        assert_eq!(value.measure().unwrap().elements, asking.ask::<u64>(&[count.as_bytes(), key]), "{shown}");
    }
    let met: Vec<u8> = (0..=255).filter(|type_byte| seen[usize::from(*type_byte)] > 0).collect();
    assert_eq!(met, types);
}

#[test]
fn values_of_redis_6_2_are_what_it_answers_and_takes_back() {
    are_what_the_server_answers(ServerKind::Redis62, &[0, 2, 4, 5, 11, 12, 13, 14, 15]);
}

#[test]
fn values_of_redis_7_are_what_it_answers_and_takes_back() {
    are_what_the_server_answers(ServerKind::Redis7, &[0, 2, 4, 5, 11, 16, 17, 18, 19]);
}

#[test]
fn values_of_redis_7_4_are_what_it_answers_and_takes_back() {
    are_what_the_server_answers(ServerKind::Redis74, &[0, 2, 4, 5, 11, 16, 17, 18, 20, 21, 24, 25]);
}

#[test]
fn values_of_redis_8_2_are_what_it_answers_and_takes_back() {
    are_what_the_server_answers(ServerKind::Redis82, &[0, 2, 4, 5, 7, 11, 16, 17, 18, 20, 21, 24, 25]);
}

#[test]
fn values_of_valkey_9_are_what_it_answers_and_takes_back() {
    are_what_the_server_answers(ServerKind::Valkey9, &[0, 2, 4, 5, 11, 16, 17, 18, 20, 21, 22]);
}

/// Restores the values of one server in another one that knows their types.
fn go_over(from: ServerKind, to: ServerKind, version: u16, at_least: usize) {
    if from.is_skipped() || to.is_skipped() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (old, records, _) = saved(from, &dir);
    drop(old);
    let dir = TempDir::new().unwrap();
    let server = RedisServer::start(to, dir.path());
    let mut asking = Asking { server: &server, connection: server.connection() };
    let mut over = 0;
    for record in &records {
        let least = least_version(record.type_byte, record.family).unwrap();
        let payload = record.value().payload(least).unwrap();
        let (key, expires) = (record.key.as_slice(), text(record.expires.unwrap_or(0)));
        asking.ask::<()>(&[b"SELECT", &text(record.database)]);
        if least <= version && record.type_byte != 7 {
            asking.ask::<()>(&[b"RESTORE", key, &expires, &payload, b"ABSTTL"]);
            assert_eq!(asking.answer(record, key), read(record), "{}", key.escape_ascii());
            over += 1;
        } else {
            let mut command = redis::cmd("RESTORE");
            command.arg(key).arg(expires).arg(payload).arg("ABSTTL");
            assert!(command.exec(&mut asking.connection).is_err(), "{}", key.escape_ascii());
        }
    }
    assert!(over >= at_least, "{over} of {}", records.len());
}

#[test]
fn values_go_over_to_every_server_that_knows_their_type() {
    go_over(ServerKind::Redis62, ServerKind::Valkey9, 11, 700);
    go_over(ServerKind::Redis82, ServerKind::Redis7, 10, 600);
    go_over(ServerKind::Valkey9, ServerKind::Redis74, 12, 600);
    go_over(ServerKind::Redis74, ServerKind::Redis62, 9, 300);
    go_over(ServerKind::Redis82, ServerKind::Valkey9, 11, 600);
}

fn digests(server: &RedisServer) -> HashMap<(u64, Vec<u8>), [u8; 32]> {
    let digest = |record: Record| ((record.database, record.key.clone()), record.value().digest().unwrap());
    records(&save(server)).into_iter().map(digest).collect()
}

#[test]
fn values_have_the_digest_of_what_they_say_whatever_server_stores_them() {
    let (mut first, mut types) = (None, Vec::new());
    for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
        let dir = TempDir::new().unwrap();
        // Packed or not, by limits that differ.
        let limit = if kind.is_7_or_later() { "hash-max-listpack-entries 3" } else { "hash-max-ziplist-entries 500" };
        let mut server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&[limit]));
        edges(&server);
        Keyspace { field_expiry: false, ..Keyspace::new(9, 400) }.fill(&server);
        let now = digests(&server);
        types.extend(records(&save(&server)).iter().map(|record| record.type_byte));
        server.stop_saving();
        server.start_again();
        assert!(now == digests(&server), "{} after a restart", kind.name());
        let before = first.get_or_insert_with(|| now.clone());
        let differing = before.iter().filter(|(key, digest)| now.get(*key) != Some(digest)).map(|(key, _)| key);
        assert_eq!(differing.collect::<Vec<_>>(), Vec::<&(u64, Vec<u8>)>::new(), "{}", kind.name());
        assert_eq!(now.len(), before.len());
    }
    types.sort_unstable();
    types.dedup();
    assert!(types.len() > 10, "{types:?}");
}

#[test]
fn what_changes_a_value_changes_its_digest() {
    if ServerKind::Redis82.is_skipped() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let server = RedisServer::start(ServerKind::Redis82, dir.path());
    let mut connection = server.connection();
    let mut run = |line: &str| {
        let mut command = redis::Cmd::new();
        command.arg(line.split(' ').collect::<Vec<_>>()).exec(&mut connection).unwrap();
    };
    for (make, changes) in [
        ("SET k v", &["APPEND k w", "SET k w"][..]),
        ("RPUSH k a b c", &["LSET k 1 a", "LPOP k", "RPUSH k c", "LMOVE k k LEFT RIGHT"]),
        ("SADD k a b c", &["SREM k a", "SADD k d"]),
        ("ZADD k 1 a 2 b", &["ZADD k 2 a", "ZREM k b", "ZADD k 2 c"]),
        ("HSET k f v g w", &["HSET k f w", "HDEL k f", "HPEXPIREAT k 4102444800123 FIELDS 1 f", "HSET k h v"]),
        (
            "XADD k 1-1 f v",
            &["XADD k 1-2 f v", "XDEL k 1-1", "XSETID k 7-7", "XGROUP CREATE k g 0", "XADD k 1-2 f v g w"],
        ),
    ] {
        let mut seen = Vec::new();
        for change in [None].into_iter().chain(changes.iter().map(Some)) {
            run("FLUSHALL");
            run(make);
            change.into_iter().for_each(|change| run(change));
            let digest = digests(&server).into_values().next().unwrap();
            assert!(!seen.contains(&digest), "{make}, {change:?}");
            seen.push(digest);
        }
    }
}
