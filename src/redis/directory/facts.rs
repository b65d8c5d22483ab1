//! What the structure of a file tells, as facts of a snapshot: stable names, values as text.

use std::collections::BTreeMap;

use crate::aof::{Commands, Ending};
use crate::format::databases::{self, DATABASES_TOLD, DatabaseKeys};
use crate::rdb::{Checksum, Database, Family, Finding, Structure};

/// Facts by name.
pub(super) type Facts = BTreeMap<String, String>;

const COMMANDS: &str = "aof.commands";
const WHOLE_TO: &str = "aof.whole-to";
const NESTED_AT: &str = "aof.nested-at";

/// Whether a file that showed this when it was read whole holds commands up to its very end, with nothing to be told of
/// how it ends.
pub(in crate::redis) fn are_complete(facts: &Facts) -> bool {
    let has = |name: &str| facts.contains_key(name);
    has(COMMANDS) && !has(WHOLE_TO) && !has(NESTED_AT)
}

/// `rdb.version`, `redis-ver`, `keys`, `keys.db0`, `expires.db0` (of these, with an expiry of their own), `volatile.db0`
/// (of the others, those whose fields may expire), `types.string`, `types.db0.string` and so on. A count of zero is left
/// out; each database is told, where there are not too many for that.
pub(super) fn of_structure(structure: &Structure) -> Facts {
    let mut facts = Facts::new();
    if let Some(header) = structure.header {
        put(&mut facts, "rdb.version", Some(header.version));
        put(&mut facts, "rdb.family", Some(family(header.family)));
    }
    let aux = &structure.aux;
    put(&mut facts, "redis-ver", aux.redis_version.as_ref());
    put(&mut facts, "valkey-ver", aux.valkey_version.as_ref());
    put(&mut facts, "redis-bits", aux.bits);
    put(&mut facts, "ctime", aux.ctime);
    put(&mut facts, "used-mem", aux.used_memory);
    put(&mut facts, "aof-base", aux.aof_base.map(u8::from));
    put(&mut facts, "repl-stream-db", aux.repl_stream_db);
    put(&mut facts, "repl-id", aux.repl_id.as_ref());
    put(&mut facts, "repl-offset", aux.repl_offset);
    let not_understood = matches!(structure.finding, Finding::NotUnderstood { .. }).then(|| structure.reason());
    put(&mut facts, "not-understood", not_understood.flatten());
    put(&mut facts, "checksum", Some(checksum(structure.checksum)));
    put(&mut facts, "functions", Some(structure.functions).filter(|count| *count > 0));
    let modules: Vec<String> =
        structure.modules.iter().map(|module| format!("{}:{}", module.name, module.version)).collect();
    put(&mut facts, "modules", Some(modules.join(",")).filter(|modules| !modules.is_empty()));
    put(&mut facts, "keys", Some(structure.keys()));
    put_databases(&mut facts, &structure.databases);
    facts
}

fn put(facts: &mut Facts, name: impl Into<String>, value: Option<impl ToString>) {
    if let Some(value) = value {
        facts.insert(name.into(), value.to_string());
    }
}

fn put_databases(facts: &mut Facts, found: &BTreeMap<u64, Database>) {
    let counted = |(number, of): (&u64, &Database)| {
        (*number, DatabaseKeys { keys: of.keys, expires: of.expiring, volatile: of.volatile })
    };
    databases::put(facts, "", found.iter().map(counted));
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (place, (number, database)) in found.iter().enumerate() {
        let is_told = place < DATABASES_TOLD;
        let count = |count: u64| Some(count).filter(|count| *count > 0 && is_told);
        for (name, keys) in types(database) {
            put(facts, format!("types.db{number}.{name}"), count(keys));
            *sums.entry(name).or_default() += keys;
        }
    }
    for (name, keys) in sums {
        put(facts, format!("types.{name}"), Some(keys).filter(|keys| *keys > 0));
    }
}

fn types(database: &Database) -> [(&'static str, u64); 9] {
    let types = &database.types;
    [
        ("string", types.string),
        ("list", types.list),
        ("set", types.set),
        ("zset", types.zset),
        ("hash", types.hash),
        ("stream", types.stream),
        ("array", types.array),
        ("module", types.module),
        ("other", types.other),
    ]
}

fn family(family: Family) -> &'static str {
    match family {
        Family::Redis => "redis",
        Family::Valkey => "valkey",
    }
}

fn checksum(checksum: Checksum) -> &'static str {
    match checksum {
        Checksum::Verified => "verified",
        Checksum::Unchecked => "unchecked",
        Checksum::Absent => "absent",
        Checksum::Wrong => "wrong",
        Checksum::NotReached => "not-reached",
    }
}

/// `aof.commands`, `aof.transactions`, and where there are timestamps the first and the last (seconds), the offset of the
/// first, and the first that is later than the second in which the file came to be on its file system. `aof.whole-to`: the
/// offset after the last whole command, where that is not the end. `aof.nested-at`: where a transaction begins that
/// another one closed.
pub(super) fn of_commands(commands: &Commands) -> Facts {
    let mut facts = Facts::new();
    put(&mut facts, COMMANDS, Some(commands.commands));
    put(&mut facts, "aof.transactions", Some(commands.transactions));
    put(&mut facts, "aof.first-timestamp", commands.first_timestamp.map(|timestamp| timestamp.seconds));
    put(&mut facts, "aof.last-timestamp", commands.last_timestamp.map(|timestamp| timestamp.seconds));
    put(&mut facts, "aof.first-timestamp-at", commands.first_timestamp.map(|timestamp| timestamp.offset));
    put(&mut facts, "aof.timestamp-since-born", commands.later_timestamp.map(|timestamp| timestamp.seconds));
    put(&mut facts, WHOLE_TO, Some(commands.cut).filter(|_| commands.ending != Ending::Complete));
    put(&mut facts, NESTED_AT, commands.nested);
    facts
}
