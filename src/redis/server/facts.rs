//! What a server says of itself, as facts of a snapshot: stable names, values as text.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use super::address::Address;
use super::connection::Server;
use super::discovery::Place;
use super::info::{Info, Keyspace};
use crate::aof::append_word;
use crate::format::counts::DATABASES_TOLD;
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
pub(super) fn of_server(info: &Info, place: &Place) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut put = |name: String, value: Option<String>| {
        facts.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value)));
    };
    for (name, field) in OF_INFO {
        put(name.into(), info.get(field).map(str::to_owned));
    }
    for (name, setting) in OF_SETTINGS {
        put(name.into(), place.setting(setting).map(str::to_owned));
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

/// What the server counted: `server.keys`, and by database keys, those with an expiry, hashes with fields that expire.
fn of_keys(info: &Info) -> BTreeMap<String, String> {
    let keyspace = info.keyspace();
    let keys = keyspace.values().map(|database| database.keys).fold(0, u64::saturating_add);
    let mut facts = BTreeMap::from([("server.keys".to_string(), keys.to_string())]);
    for (number, database) in keyspace.into_iter().take(DATABASES_TOLD) {
        facts.insert(format!("server.keys.db{number}"), database.keys.to_string());
        for (name, keys) in [("expires", database.expires), ("volatile", database.volatile)] {
            facts.extend((keys > 0).then(|| (format!("server.{name}.db{number}"), keys.to_string())));
        }
    }
    facts
}

/// What the server counted around the end of an AOF that was captured: at the mark, and after its files had been opened
/// as `server.later-keys.dbN`, where that is another number; and how many bytes of commands the files hold that came
/// between, as `server.aof-beyond-mark`.
///
/// COUNT-7: where the last is told, the dataset lies between the two counts.
pub(super) fn around_mark(mark: &Info, later: &Info, beyond: Option<u64>) -> BTreeMap<String, String> {
    let mut facts = of_keys(mark);
    let Some(beyond) = beyond else { return facts };
    facts.insert("server.aof-beyond-mark".into(), beyond.to_string());
    let (at_mark, later) = (mark.keyspace(), later.keyspace());
    let numbers: BTreeSet<u64> = at_mark.keys().chain(later.keys()).copied().take(2 * DATABASES_TOLD).collect();
    for number in numbers {
        let keys = |of: &BTreeMap<u64, Keyspace>| of.get(&number).map_or(0, |database| database.keys);
        let (now, then) = (keys(&later), keys(&at_mark));
        facts.extend((now != then).then(|| (format!("server.later-keys.db{number}"), now.to_string())));
    }
    facts
}

/// This host's clock, in milliseconds since the epoch.
fn local_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
