//! Keys looked up in a snapshot of a real server are what the server held: put back under another name they are the same.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use redis::Connection;
use redkeep::operations::Silent;
use redkeep::operations::look_up::{Answer, KeyFilter, LISTED_LONGEST, get, keys};
use redkeep::rdb::values::least_version;
use tempfile::TempDir;

use crate::support::keyspace::Keyspace;
use crate::support::repository::{Hands, back_up, create, latest, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

fn ask<T: redis::FromRedisValue>(connection: &mut Connection, words: &[&[u8]]) -> T {
    let mut command = redis::cmd(std::str::from_utf8(words[0]).unwrap());
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query(connection).unwrap_or_else(|error| panic!("{:?}: {error}", String::from_utf8_lossy(words[0])))
}

#[test]
fn every_key_that_is_looked_up_is_what_the_server_held() {
    for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
        let data: TempDir = tempfile::tempdir().unwrap();
        let server = RedisServer::start_with(kind, data.path(), ServerOptions::with_config(&["appendonly no"]));
        Keyspace { databases: vec![0, 5], ..Keyspace::new(11, 2 * Keyspace::FORMS) }.fill(&server);
        let mut connection = server.connection();
        // Longer than a bucket, as a string and as a hash table.
        let long: Vec<u8> = (0..400_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        ask::<()>(&mut connection, &[b"SET", b"long string", &long]);
        for number in 0..3000u32 {
            let value = &long[number as usize..number as usize + 150];
            ask::<()>(&mut connection, &[b"HSET", b"long hash", number.to_string().as_bytes(), value]);
        }
        ask::<()>(&mut connection, &[b"SAVE"]);
        let repository = create(memory(), &Hands::new(7));
        back_up(&repository, data.path(), "d").unwrap();
        let chosen = latest(&repository, "d").unwrap();
        let mut found = BTreeMap::new();
        let listed = keys(&repository, &chosen, None, (&KeyFilter::default(), LISTED_LONGEST), &Silent, &mut |key| {
            found.insert((key.database, key.key.to_vec()), key.expires);
            ControlFlow::Continue(())
        });
        assert!(listed.unwrap().unread.is_none(), "{kind:?}");
        for database in [0u32, 5] {
            ask::<()>(&mut connection, &[b"SELECT", database.to_string().as_bytes()]);
            let names: Vec<Vec<u8>> = ask(&mut connection, &[b"KEYS", b"*"]);
            assert!(!names.is_empty(), "{kind:?}");
            let count = found.keys().filter(|(of, _)| *of == u64::from(database)).count();
            assert!(count >= names.len(), "{kind:?}: {count} of {}", names.len());
            for name in names {
                let left: i64 = ask(&mut connection, &[b"PTTL", &name]);
                assert_eq!(found[&(u64::from(database), name.clone())].is_some(), left != -1, "{kind:?}");
                // The digest says whether a key expires; of the copy it does not.
                ask::<i64>(&mut connection, &[b"PERSIST", &name]);
                let held = match get(&repository, &chosen, None, database, &name, &Silent).unwrap() {
                    Answer::There(held) => held,
                    other => panic!("{kind:?}: {} {other:?}", String::from_utf8_lossy(&name)),
                };
                let version = least_version(held.value().type_byte, held.value().family).unwrap();
                let payload = held.value().payload(version).unwrap();
                ask::<()>(&mut connection, &[b"RESTORE", b"a copy", b"0", &payload, b"REPLACE"]);
                let digests: Vec<String> = ask(&mut connection, &[b"DEBUG", b"DIGEST-VALUE", &name, b"a copy"]);
                assert_eq!(digests[0], digests[1], "{kind:?}: {}", String::from_utf8_lossy(&name));
            }
        }
        assert!(matches!(get(&repository, &chosen, None, 0, b"a copy", &Silent).unwrap(), Answer::NotThere));
    }
}
