//! AUX fields are pairs of strings in which a server tells of itself and of the moment.

use super::coding::Step;
use super::source::Source;

/// The AUX fields worth keeping. A field that is missing, compressed, too long or not of the expected form is `None`.
/// Where a field is repeated, the last one counts, as it does for a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aux {
    /// `redis-ver`: version of the Redis (or Valkey before 8) that wrote the file.
    pub redis_version: Option<String>,
    /// `valkey-ver`: version of the Valkey that wrote the file.
    pub valkey_version: Option<String>,
    /// `redis-bits`: 32 or 64.
    pub bits: Option<u64>,
    /// `ctime`: seconds since the epoch by the server's clock when the save began.
    pub ctime: Option<u64>,
    /// `used-mem`: bytes the server used at that moment.
    pub used_memory: Option<u64>,
    /// `aof-base`, before 7.0 `aof-preamble`: whether the file is the base of an AOF.
    pub aof_base: Option<bool>,
    /// `repl-stream-db`: database the replication stream was in; -1 for none.
    pub repl_stream_db: Option<i64>,
    /// `repl-id`: replication id, 40 hex digits.
    pub repl_id: Option<String>,
    /// `repl-offset`: replication offset.
    pub repl_offset: Option<i64>,
}

/// One of the fields of [`Aux`].
#[derive(Clone, Copy)]
enum Field {
    RedisVersion,
    ValkeyVersion,
    Bits,
    Ctime,
    UsedMemory,
    AofBase,
    ReplStreamDb,
    ReplId,
    ReplOffset,
}

impl Field {
    fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"redis-ver" => Self::RedisVersion,
            b"valkey-ver" => Self::ValkeyVersion,
            b"redis-bits" => Self::Bits,
            b"ctime" => Self::Ctime,
            b"used-mem" => Self::UsedMemory,
            b"aof-base" | b"aof-preamble" => Self::AofBase,
            b"repl-stream-db" => Self::ReplStreamDb,
            b"repl-id" => Self::ReplId,
            b"repl-offset" => Self::ReplOffset,
            _ => return None,
        })
    }
}

impl Aux {
    /// Consumes one pair and keeps it if it is known.
    pub(super) fn read_field(&mut self, source: &mut Source<'_>) -> Step<()> {
        let field = source.short_string()?.and_then(|name| Field::named(&name));
        let Some(field) = field else { return source.skip_string() };
        let Some(value) = source.short_string()? else { return Ok(()) };
        // Printable ASCII is all a server writes here, and all that may reach a terminal from here.
        if let Some(text) = str::from_utf8(&value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            self.keep(field, text);
        }
        Ok(())
    }

    fn keep(&mut self, field: Field, text: &str) {
        match field {
            Field::RedisVersion => self.redis_version = Some(text.to_owned()),
            Field::ValkeyVersion => self.valkey_version = Some(text.to_owned()),
            Field::Bits => self.bits = text.parse().ok(),
            Field::Ctime => self.ctime = text.parse().ok(),
            Field::UsedMemory => self.used_memory = text.parse().ok(),
            Field::AofBase => self.aof_base = text.parse::<i64>().ok().map(|flag| flag != 0),
            Field::ReplStreamDb => self.repl_stream_db = text.parse().ok(),
            Field::ReplId => self.repl_id = Some(text.to_owned()),
            Field::ReplOffset => self.repl_offset = text.parse().ok(),
        }
    }
}
