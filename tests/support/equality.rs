//! All that a server holds, made comparable: two servers with equal fingerprints answer every reader the same.
//!
//! Taken from a server at rest. Per key it is the type, the moment of expiry and DEBUG DIGEST-VALUE; for streams also
//! their groups and pending entries, for hashes the expiries of their fields, which the digest leaves out.
//! DUMP would not do: for values in hash tables it differs after every restart.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use redis::{Connection, FromRedisValue, Pipeline, Value};

use crate::support::server::{RedisServer, ServerKind};

const BATCH: usize = 500;

/// How many differences a failing comparison prints.
const SHOWN: usize = 10;

/// A key of one database.
pub type Place = (u32, Vec<u8>);

/// What is compared of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState {
    pub kind: String,
    /// Milliseconds since the epoch.
    pub expires: Option<u64>,
    pub digest: String,
    /// What the digest leaves out: groups of a stream, expiries of hash fields.
    pub detail: String,
}

/// What a server held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    pub keys: BTreeMap<Place, KeyState>,
}

impl Fingerprint {
    pub fn of(server: &RedisServer) -> Self {
        let mut keys = BTreeMap::new();
        for database in server.info().databases() {
            let mut reader = Reader { connection: server.connection(), kind: server.kind() };
            redis::cmd("SELECT").arg(database).exec(&mut reader.connection).expect("INFO lists the database");
            let names = reader.names();
            for batch in names.chunks(BATCH) {
                let states = reader.states(batch);
                keys.extend(batch.iter().zip(states).map(|(name, state)| ((database, name.clone()), state)));
            }
        }
        // One that expired after the scan.
        keys.retain(|_, state| state.kind != "none");
        Self { keys }
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Without the keys under this prefix, in all databases: what a writer changed meanwhile is compared by other means.
    pub fn without(mut self, prefix: &str) -> Self {
        self.keys.retain(|(_, key), _| !key.starts_with(prefix.as_bytes()));
        self
    }

    /// Without what had expired by `moment` (milliseconds since the epoch), as after loading an RDB.
    pub fn without_expired(mut self, moment: u64) -> Self {
        self.keys.retain(|_, state| state.expires.is_none_or(|expires| expires > moment));
        self
    }

    /// One line for each key that is not the same in `other`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (place, state) in &self.keys {
            match other.keys.get(place) {
                None => lines.push(format!("{}: missing, was {}", shown(place), state.kind)),
                Some(now) => lines.extend(state.difference(now).map(|what| format!("{}: {what}", shown(place)))),
            }
        }
        for (place, state) in &other.keys {
            if !self.keys.contains_key(place) {
                lines.push(format!("{}: was not there, is {}", shown(place), state.kind));
            }
        }
        lines
    }

    /// Fails the test unless `other` is the same; `self` is what must be.
    #[track_caller]
    pub fn assert_equal(&self, other: &Self, what: &str) {
        let lines = self.differences(other);
        if lines.is_empty() {
            return;
        }
        let mut text = format!("{what}: {} of {} keys differ\n", lines.len(), self.len().max(other.len()));
        for line in lines.iter().take(SHOWN) {
            writeln!(text, "  {line}").expect("a String takes every line");
        }
        if lines.len() > SHOWN {
            writeln!(text, "  … and {} more", lines.len() - SHOWN).expect("a String takes every line");
        }
        panic!("{text}");
    }
}

impl KeyState {
    fn difference(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        if self.kind != other.kind {
            return Some(format!("was a {}, is a {}", self.kind, other.kind));
        }
        let mut parts = Vec::new();
        if self.expires != other.expires {
            let moment = |expires: Option<u64>| expires.map_or_else(|| "never".to_owned(), |at| at.to_string());
            parts.push(format!("expired at {}, now {}", moment(self.expires), moment(other.expires)));
        }
        // The digest tells whether there is an expiry, not which.
        if self.digest != other.digest && self.expires.is_some() == other.expires.is_some() {
            parts.push(format!("the {} has another value", self.kind));
        }
        if self.detail != other.detail {
            parts.push(format!("was {}, is {}", self.detail, other.detail));
        }
        Some(parts.join("; "))
    }
}

fn shown((database, key): &Place) -> String {
    format!("db{database} {}", key.escape_ascii())
}

struct Reader {
    connection: Connection,
    kind: ServerKind,
}

impl Reader {
    /// The server is at rest, but may still move keys to a larger table, and SCAN may then name one twice.
    fn names(&mut self) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("COUNT").arg(1000);
            let (next, found): (u64, Vec<Vec<u8>>) = scan.query(&mut self.connection).expect("SCAN");
            names.extend(found);
            cursor = next;
            if cursor == 0 {
                names.sort();
                names.dedup();
                return names;
            }
        }
    }

    fn states(&mut self, keys: &[Vec<u8>]) -> Vec<KeyState> {
        let kinds: Vec<String> = self.ask(keys, |pipeline, key| {
            pipeline.cmd("TYPE").arg(key);
        });
        let expiries = if self.kind.is_7_or_later() { self.expiries(keys) } else { self.expiries_62(keys) };
        let digests: Vec<String> =
            redis::cmd("DEBUG").arg("DIGEST-VALUE").arg(keys).query(&mut self.connection).expect("DEBUG DIGEST-VALUE");
        assert_eq!(digests.len(), keys.len(), "one digest for each key");
        let mut details = self.details(keys, &kinds);
        let states = kinds.into_iter().zip(expiries).zip(digests).zip(keys);
        states
            .map(|(((kind, expires), digest), key)| {
                let detail = details.remove(key.as_slice()).unwrap_or_default();
                KeyState { kind, expires, digest, detail }
            })
            .collect()
    }

    /// One command for each key, one answer for each command.
    fn ask<T: FromRedisValue>(&mut self, keys: &[Vec<u8>], add: impl Fn(&mut Pipeline, &Vec<u8>)) -> Vec<T> {
        let mut pipeline = redis::pipe();
        keys.iter().for_each(|key| add(&mut pipeline, key));
        let answers: Vec<T> = pipeline.query(&mut self.connection).expect("the server answers about its keys");
        assert_eq!(answers.len(), keys.len(), "one answer for each key");
        answers
    }

    fn expiries(&mut self, keys: &[Vec<u8>]) -> Vec<Option<u64>> {
        let answers: Vec<i64> = self.ask(keys, |pipeline, key| {
            pipeline.cmd("PEXPIRETIME").arg(key);
        });
        answers.into_iter().map(|moment| u64::try_from(moment).ok()).collect()
    }

    /// Before 7.0 the server tells only how long a key still lives. Between two readings of its clock that are the same
    /// millisecond, that is the moment.
    fn expiries_62(&mut self, keys: &[Vec<u8>]) -> Vec<Option<u64>> {
        let rests: Vec<i64> = self.ask(keys, |pipeline, key| {
            pipeline.cmd("PTTL").arg(key);
        });
        rests.into_iter().zip(keys).map(|(rest, key)| if rest < 0 { None } else { self.expiry_62(key) }).collect()
    }

    fn expiry_62(&mut self, key: &[u8]) -> Option<u64> {
        let millis = |(seconds, micros): (u64, u64)| seconds * 1000 + micros / 1000;
        loop {
            let mut pipeline = redis::pipe();
            pipeline.cmd("TIME").cmd("PTTL").arg(key).cmd("TIME");
            let (before, rest, after): ((u64, u64), i64, (u64, u64)) =
                pipeline.query(&mut self.connection).expect("the server tells its time");
            if millis(before) == millis(after) {
                return u64::try_from(rest).ok().map(|rest| rest + millis(before));
            }
        }
    }

    fn details<'keys>(&mut self, keys: &'keys [Vec<u8>], kinds: &[String]) -> BTreeMap<&'keys [u8], String> {
        let of_kind = |wanted: &'static str| {
            keys.iter().zip(kinds).filter(move |(_, kind)| *kind == wanted).map(|(key, _)| key.as_slice())
        };
        let mut details = BTreeMap::new();
        for key in of_kind("stream") {
            details.insert(key, self.stream_detail(key));
        }
        if self.kind.has_field_expiry() {
            for key in of_kind("hash") {
                details.insert(key, self.hash_detail(key));
            }
        }
        details
    }

    fn stream_detail(&mut self, key: &[u8]) -> String {
        let mut question = redis::cmd("XINFO");
        question.arg("STREAM").arg(key).arg("FULL").arg("COUNT").arg(0);
        let answer: Value = question.query(&mut self.connection).expect("XINFO STREAM FULL");
        let mut text = String::new();
        write_lasting(&answer, &mut text);
        text
    }

    fn hash_detail(&mut self, key: &[u8]) -> String {
        let fields: Vec<Vec<u8>> = redis::cmd("HKEYS").arg(key).query(&mut self.connection).expect("HKEYS");
        let mut question = redis::cmd("HPEXPIRETIME");
        question.arg(key).arg("FIELDS").arg(fields.len()).arg(&fields);
        let moments: Vec<i64> = question.query(&mut self.connection).expect("HPEXPIRETIME");
        let mut expiring: Vec<_> = fields.into_iter().zip(moments).filter(|(_, moment)| *moment >= 0).collect();
        expiring.sort();
        let lines = expiring.iter().map(|(field, moment)| format!("{} expires {moment}", field.escape_ascii()));
        lines.collect::<Vec<_>>().join(", ")
    }
}

/// Of XINFO's answer, what is part of the data: not how the server lays the stream out in memory, nor when it last saw
/// a consumer, which a replayed AOF sets anew.
fn write_lasting(value: &Value, text: &mut String) {
    const FLEETING: [&[u8]; 4] = [b"radix-tree-keys", b"radix-tree-nodes", b"seen-time", b"active-time"];
    match value {
        Value::Array(items) => {
            text.push('[');
            let mut items = items.iter();
            while let Some(item) = items.next() {
                if matches!(item, Value::BulkString(name) if FLEETING.contains(&name.as_slice())) {
                    items.next();
                } else {
                    write_lasting(item, text);
                    text.push(' ');
                }
            }
            text.push(']');
        }
        Value::BulkString(bytes) => text.extend(bytes.escape_ascii().map(char::from)),
        other => write!(text, "{other:?}").expect("a String takes every text"),
    }
}
