//! What a scratch server is asked: its keys by database and type, and a digest of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::Observer;
use crate::format::KeysDigest;
use crate::redis::RedisError;
use crate::redis::server::{Info, Server, Types};

/// How often the keys are counted anew where the count and the server's own do not agree.
const ROUNDS: usize = 4;
/// How long a digest may take: it reads every value.
const DIGEST: Duration = Duration::from_secs(4 * 3600);

/// What a server holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub databases: BTreeMap<u64, Types>,
    /// What tells its data apart, or why there is nothing that does.
    pub digest: Result<KeysDigest, String>,
}

/// Asks a server that nobody else talks to. `None`: the user asked to stop.
pub(super) fn ask(server: &mut Server, observer: &dyn Observer) -> Result<Option<Held>, RedisError> {
    // From here on a key goes only when it is looked at.
    let stays = server.words(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    let (mut databases, mut info) = (BTreeMap::new(), Info::default());
    let mut agree = false;
    for _ in 0..ROUNDS {
        let Some(counted) = count(server, observer)? else { return Ok(None) };
        databases = counted;
        info = server.info_of("keyspace")?;
        agree = is_agreed(&databases, &info);
        if agree {
            break;
        }
    }
    let digest = match (stays, agree) {
        (Err(RedisError::Answer { message, .. }), _) => Err(format!("the server does not give one: {message}")),
        (Err(error), _) => return Err(error),
        (Ok(_), false) => Err("keys went while they were counted".into()),
        (Ok(_), true) if has_volatile_fields(&info) => Err("some hashes have fields that expire".into()),
        (Ok(_), true) => digest(server)?,
    };
    Ok(Some(Held { databases, digest }))
}

fn count(server: &mut Server, observer: &dyn Observer) -> Result<Option<BTreeMap<u64, Types>>, RedisError> {
    let keyspace = server.info_of("keyspace")?.keyspace();
    observer.begin("counting keys", None);
    let mut databases = BTreeMap::new();
    for number in keyspace.into_keys() {
        let Some(types) = server.count_types(number, &mut |_| !observer.interrupted())? else { return Ok(None) };
        databases.insert(number, types);
    }
    databases.retain(|_, types: &mut Types| !types.is_empty());
    Ok(Some(databases))
}

/// Whether the server says the same of how many keys each database holds.
fn is_agreed(counted: &BTreeMap<u64, Types>, info: &Info) -> bool {
    let said = info.keyspace().into_iter().map(|(number, keyspace)| (number, keyspace.keys));
    let said: Vec<(u64, u64)> = said.filter(|(_, keys)| *keys > 0).collect();
    let counted = counted.iter().map(|(number, types)| (*number, types.values().sum()));
    said == counted.collect::<Vec<_>>()
}

/// Redis from 7.4 and Valkey from 9.0 on tell how many hashes have fields that expire.
fn has_volatile_fields(info: &Info) -> bool {
    let names = ["subexpiry=", "keys_with_volatile_items="];
    info.keyspace().into_keys().filter_map(|number| info.get(&format!("db{number}"))).any(|said| {
        said.split(',').any(|part| names.iter().any(|name| part.strip_prefix(name).is_some_and(|count| count != "0")))
    })
}

fn digest(server: &mut Server) -> Result<Result<KeysDigest, String>, RedisError> {
    server.wait_up_to(DIGEST)?;
    match server.words(&["DEBUG", "DIGEST"]) {
        Ok(said) => Ok(said.parse().map_err(|_| format!("the server gave a strange one: {said}"))),
        Err(RedisError::Answer { message, .. }) => Ok(Err(format!("the server does not give one: {message}"))),
        Err(error) => Err(error),
    }
}
