//! Keys of snapshots are put into running servers: they are there what they were, or it is said that they cannot be.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use redis::Connection;
use redkeep::operations::Silent;
use redkeep::operations::look_up::{Answer, Held, KeyFilter, LISTED_LONGEST, PutBack, Target, get, keys, put_back};
use redkeep::rdb::values::{Item, Templates, Value};
use redkeep::rdb::{Family, Kind};
use redkeep::redis::server::Address;
use tempfile::TempDir;

use crate::support::keyspace::Keyspace;
use crate::support::repository::{Hands, back_up, create, latest, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

pub(crate) fn ask<T: redis::FromRedisValue>(connection: &mut Connection, words: &[&[u8]]) -> T {
    let mut command = redis::Cmd::new();
    command.arg(words);
    command.query(connection).unwrap_or_else(|error| panic!("{:?}: {error}", words[0].escape_ascii()))
}

pub(crate) fn address(server: &RedisServer) -> Address {
    format!("127.0.0.1:{}", server.port()).parse().unwrap()
}

fn target(database: u32, key: &[u8]) -> Target {
    Target { database, key: key.to_vec(), replaces: false, keeps_expiry: true }
}

/// A digest of what a server holds under a name, by what DUMP answers.
pub(crate) fn digest(connection: &mut Connection, kind: ServerKind, key: &[u8]) -> [u8; 32] {
    let payload: Vec<u8> = ask(connection, &[b"DUMP", key]);
    let (type_byte, rest) = payload.split_first().unwrap();
    let family = if kind == ServerKind::Valkey9 { Family::Valkey } else { Family::Redis };
    let raw = &rest[..rest.len() - 10];
    Value { type_byte: *type_byte, family, raw, templates: &Templates::default() }.digest().unwrap()
}

pub(crate) fn has_expiring_fields(held: &Held) -> bool {
    let mut has = false;
    held.value()
        .each(&mut |item| {
            has |= matches!(item, Item::Field { expires: Some(_), .. });
            ControlFlow::Continue(())
        })
        .unwrap();
    has
}

/// Every key of a server's snapshot.
fn held_by(kind: ServerKind) -> BTreeMap<(u32, Vec<u8>), Box<Held>> {
    let data: TempDir = tempfile::tempdir().unwrap();
    let server = RedisServer::start_with(kind, data.path(), ServerOptions::default());
    Keyspace { databases: vec![0, 5], ..Keyspace::new(11, Keyspace::FORMS + 20) }.fill(&server);
    let mut connection = server.connection();
    // Longer than a bucket: as a string, and as a hash table.
    let long: Vec<u8> = (0..1_500_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    ask::<()>(&mut connection, &[b"SET", b"long string", &long]);
    let mut fields = redis::cmd("HSET");
    fields.arg("long hash");
    for number in 0..30_000_usize {
        fields.arg(number).arg(&long[number..number + 20]);
    }
    fields.exec(&mut connection).unwrap();
    ask::<()>(&mut connection, &[b"SAVE"]);
    let repository = create(memory(), &Hands::new(7));
    back_up(&repository, data.path(), "d").unwrap();
    let chosen = latest(&repository, "d").unwrap();
    let mut names = Vec::new();
    keys(&repository, &chosen, None, (&KeyFilter::default(), LISTED_LONGEST), &Silent, &mut |key| {
        names.push((u32::try_from(key.database).unwrap(), key.key.to_vec()));
        ControlFlow::Continue(())
    })
    .unwrap();
    let held = |(database, key): (u32, Vec<u8>)| match get(&repository, &chosen, None, database, &key, &Silent).unwrap()
    {
        Answer::There(held) => ((database, key), held),
        other => panic!("{kind:?}: {} {other:?}", key.escape_ascii()),
    };
    names.into_iter().map(held).collect()
}

#[test]
fn what_a_server_held_is_put_into_every_other_that_knows_the_type() {
    let kinds: Vec<ServerKind> = ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()).collect();
    let data: Vec<TempDir> = kinds.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let servers: Vec<RedisServer> =
        kinds.iter().zip(&data).map(|(kind, data)| RedisServer::start(*kind, data.path())).collect();
    for from in &kinds {
        let all = held_by(*from);
        assert!(all.len() >= Keyspace::FORMS, "{}", all.len());
        for server in &servers {
            let (to, mut connection) = (server.kind(), server.connection());
            ask::<()>(&mut connection, &[b"FLUSHALL"]);
            let (mut put, mut refused) = (0, 0);
            for ((database, key), held) in &all {
                let name = format!("{from:?} to {to:?}: {database} {}", key.escape_ascii());
                match put_back(held, &address(server), &target(*database, key)) {
                    Ok(done) => {
                        assert!(!done.replaced && done.expired_fields == 0, "{name}: {done:?}");
                        assert!(!done.remade || to != *from, "{name}");
                        ask::<()>(&mut connection, &[b"SELECT", database.to_string().as_bytes()]);
                        assert_eq!(digest(&mut connection, to, key), held.value().digest().unwrap(), "{name}");
                        let left: i64 = ask(&mut connection, &[b"PTTL", key]);
                        assert_eq!(left > 0, held.expires.is_some(), "{name}: {left}");
                        put += 1;
                    }
                    Err(error) => {
                        // Older servers lack what these need, and say so.
                        let is_stream = held.value().kind() == Some(Kind::Stream);
                        let is_new = is_stream || has_expiring_fields(held) && !to.has_field_expiry();
                        assert!(is_new && to != *from, "{name}: {error}");
                        assert!(error.to_string().contains("does not take a"), "{name}: {error}");
                        refused += 1;
                    }
                }
            }
            assert!(put > 4 * refused, "{from:?} to {to:?}: {put} put, {refused} not");
        }
    }
}

#[test]
fn expiries_are_kept_or_left_out_and_what_has_expired_is_not_put() {
    for kind in [ServerKind::Redis74, ServerKind::Valkey9].into_iter().filter(|kind| !kind.is_skipped()) {
        let data: TempDir = tempfile::tempdir().unwrap();
        let server = RedisServer::start(kind, data.path());
        let mut connection = server.connection();
        let soon: i64 = ask::<Vec<i64>>(&mut connection, &[b"TIME"])[0] * 1000 + 3000;
        let soon = soon.to_string();
        let orders: [&[&str]; 9] = [
            &["SET", "going", "1", "PXAT", &soon],
            &["SET", "staying", "1", "PXAT", "4102444800123"],
            &["HSET", "half", "f", "v", "g", "w"],
            &["HPEXPIREAT", "half", &soon, "FIELDS", "1", "f"],
            &["HSET", "whole", "f", "v", "g", "w"],
            &["HPEXPIREAT", "whole", &soon, "FIELDS", "2", "f", "g"],
            &["HSET", "late", "f", "v", "g", "w"],
            &["HPEXPIREAT", "late", "4102444800456", "FIELDS", "1", "f"],
            &["SAVE"],
        ];
        for order in orders {
            let words: Vec<&[u8]> = order.iter().map(|word| word.as_bytes()).collect();
            ask::<redis::Value>(&mut connection, &words);
        }
        let repository = create(memory(), &Hands::new(7));
        back_up(&repository, data.path(), "d").unwrap();
        let chosen = latest(&repository, "d").unwrap();
        crate::support::server::wait_for("fields to expire", || {
            (ask::<u64>(&mut connection, &[b"EXISTS", b"going"]) == 0
                && ask::<Option<String>>(&mut connection, &[b"HGET", b"whole", b"f"]).is_none())
            .then_some(())
        });
        ask::<()>(&mut connection, &[b"FLUSHALL"]);
        let put = |key: &[u8], keeps_expiry: bool| match get(&repository, &chosen, None, 0, key, &Silent).unwrap() {
            Answer::There(held) => {
                let target = Target { replaces: true, keeps_expiry, ..target(0, key) };
                put_back(&held, &address(&server), &target)
            }
            other => panic!("{other:?}"),
        };
        // What is there is not taken away for something that would be gone at once.
        ask::<()>(&mut connection, &[b"SET", b"going", b"new"]);
        for (key, what) in [(&b"going"[..], "the key has expired"), (b"whole", "every field of the hash has expired")] {
            let error = put(key, true).unwrap_err();
            assert!(error.to_string().starts_with(what), "{kind:?}: {error}");
            assert!(error.hint().unwrap().contains("--no-expiry"), "{error:?}");
        }
        assert_eq!(ask::<String>(&mut connection, &[b"GET", b"going"]), "new");
        let done = |replaced, expired_fields| (replaced, false, expired_fields);
        let told = |put: PutBack| (put.replaced, put.remade, put.expired_fields);
        for (key, keeps, expected) in [
            (&b"staying"[..], true, done(false, 0)),
            (b"half", true, done(false, 1)),
            (b"late", true, done(false, 0)),
            (b"going", false, done(true, 0)),
            (b"whole", false, done(false, 0)),
        ] {
            assert_eq!(told(put(key, keeps).unwrap()), expected, "{kind:?} {}", key.escape_ascii());
        }
        let mut expiry = |key: &[u8]| ask::<i64>(&mut connection, &[b"PEXPIRETIME", key]);
        assert_eq!((expiry(b"staying"), expiry(b"going")), (4_102_444_800_123, -1), "{kind:?}");
        let mut fields = |key: &[u8]| {
            let expiries = ask::<Vec<i64>>(&mut connection, &[b"HPEXPIRETIME", key, b"FIELDS", b"2", b"f", b"g"]);
            (ask::<BTreeMap<String, String>>(&mut connection, &[b"HGETALL", key]).len(), expiries)
        };
        assert_eq!(fields(b"late"), (2, vec![4_102_444_800_456, -1]), "{kind:?}");
        assert_eq!(fields(b"whole"), (2, vec![-1, -1]), "{kind:?}");
        assert_eq!(fields(b"half").1[1], -1, "{kind:?}");
    }
}
