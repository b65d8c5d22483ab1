//! What a server says of itself, as facts of a snapshot: stable names, values as text.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::address::Address;
use super::connection::Server;
use super::info::{Info, Keyspace};
use crate::aof::append_word;
use crate::format::databases::{AroundMark, DatabaseKeys};
use crate::redis::RedisError;
use crate::redis::scratch::{RENAMED, is_of_scratch};

/// Facts with the name of the field in INFO they are taken from.
const OF_INFO: [(&str, &str); 9] = [
    ("server.version", "redis_version"),
    ("server.valkey-version", "valkey_version"),
    ("server.run-id", "run_id"),
    ("server.repl-id", "master_replid"),
    ("server.repl-offset", "master_repl_offset"),
    ("server.role", "role"),
    ("server.executable", "executable"),
    ("server.config-file", "config_file"),
    ("server.maxmemory", "maxmemory"),
];

/// Facts with the name of the setting they are taken from.
const OF_SETTINGS: [(&str, &str); 6] = [
    ("server.save", "save"),
    ("server.dbfilename", "dbfilename"),
    ("server.appendfilename", "appendfilename"),
    ("server.appenddirname", "appenddirname"),
    ("server.aof-timestamps", "aof-timestamp-enabled"),
    ("server.dir", "dir"),
];

/// What a server said of itself.
pub(super) fn of_server(info: &Info, settings: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut put = |name: String, value: Option<String>| {
        facts.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value)));
    };
    for (name, field) in OF_INFO {
        put(name.into(), info.get(field).map(str::to_owned));
    }
    for (name, setting) in OF_SETTINGS {
        put(name.into(), settings.get(setting).cloned());
    }
    put("server.appendonly".into(), Some(if info.is_on("aof_enabled") { "yes" } else { "no" }.into()));
    put("server.modules".into(), Some(info.modules()));
    facts.extend(of_keys(info));
    facts
}

/// The server's clock, and how far it is from that of this host.
pub(super) fn of_clock(server: &mut Server) -> Result<[(String, String); 2], RedisError> {
    let before = local_millis();
    let time = server.time()?.millis();
    let here = i64::midpoint(before, local_millis());
    let offset = i64::try_from(time).unwrap_or(i64::MAX).saturating_sub(here);
    Ok([("server.time", time.to_string()), ("server.clock-offset-ms", offset.to_string())]
        .map(|(name, value)| (name.to_owned(), value)))
}

/// Commands that were renamed and may stand in an AOF, as a line of words `NAME=NEW`. What others are called is told to
/// nobody.
pub(super) fn of_renamed(address: &Address) -> Option<(String, String)> {
    let mut line = Vec::new();
    for (usual, new) in address.renamed().iter().filter(|(usual, _)| !is_of_scratch(usual)) {
        if !line.is_empty() {
            line.push(b' ');
        }
        append_word(&mut line, format!("{usual}={new}").as_bytes());
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    (!line.is_empty()).then(|| (RENAMED.to_string(), line))
}

/// What the server counted: `server.keys`, and by database.
fn of_keys(info: &Info) -> BTreeMap<String, String> {
    counted(by_database(info), None)
}

/// The same around the end of an AOF that was captured: at the mark, and after its files had been opened, where it is told
/// by how many bytes they go on beyond the mark.
pub(super) fn around_mark(mark: &Info, later: &Info, beyond: Option<u64>) -> BTreeMap<String, String> {
    let later = by_database(later);
    counted(by_database(mark), beyond.map(|beyond| (beyond, &later)))
}

fn counted(at_mark: ByDatabase, later: Option<(u64, &ByDatabase)>) -> BTreeMap<String, String> {
    let keys = at_mark.values().map(|database| database.keys).fold(0, u64::saturating_add);
    let mut facts = BTreeMap::from([("server.keys".to_string(), keys.to_string())]);
    AroundMark::put(&mut facts, at_mark, later);
    facts
}

type ByDatabase = BTreeMap<u64, DatabaseKeys>;

fn by_database(info: &Info) -> ByDatabase {
    let one = |(number, Keyspace { keys, expires, volatile })| (number, DatabaseKeys { keys, expires, volatile });
    info.keyspace().into_iter().map(one).collect()
}

/// This host's clock, in milliseconds since the epoch.
fn local_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
