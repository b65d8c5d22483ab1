//! What a server says of itself, as facts of a snapshot: stable names, values as text.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::connection::Server;
use super::discovery::Place;
use super::info::Info;
use crate::format::counts::DATABASES_TOLD;
use crate::redis::RedisError;

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

/// What is known of a server.
pub(super) fn of_server(
    server: &mut Server,
    info: &Info,
    place: &Place,
) -> Result<BTreeMap<String, String>, RedisError> {
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
    let keys = info.keyspace().values().map(|database| database.keys).fold(0, u64::saturating_add);
    put("server.keys".into(), Some(keys.to_string()));
    for (number, database) in info.keyspace().into_iter().take(DATABASES_TOLD) {
        put(format!("server.keys.db{number}"), Some(database.keys.to_string()));
        put(
            format!("server.expires.db{number}"),
            Some(database.expires).filter(|keys| *keys > 0).map(|n| n.to_string()),
        );
    }
    let before = local_millis();
    let time = server.time()?.millis();
    let here = i64::midpoint(before, local_millis());
    put("server.time".into(), Some(time.to_string()));
    let offset = i64::try_from(time).unwrap_or(i64::MAX).saturating_sub(here);
    put("server.clock-offset-ms".into(), Some(offset.to_string()));
    Ok(facts)
}

/// This host's clock, in milliseconds since the epoch.
fn local_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
