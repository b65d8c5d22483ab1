//! Keys are put into a running server.

use std::time::Duration;

use ::redis::{Cmd, Value};

use super::Server;
use super::wire::Ahead;
use crate::redis::RedisError;

const RESTORE: &str = "RESTORE";
const SILENT: &str = "it did not answer";
/// How long a server may take to make a value of what it is given.
const PATIENCE: Duration = Duration::from_secs(300);

/// When a key goes that is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goes {
    /// It stays.
    Never,
    /// At a moment, in milliseconds since the epoch.
    At(u64),
    /// So many milliseconds after it is put.
    After(u64),
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// It is there.
    Done,
    /// Another value has the name, and is left alone.
    Exists,
    /// The server does not take the value in this form; its words.
    NotTaken(String),
}

/// What became of it in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// The node has answered.
    Here(Put),
    /// Another node takes it.
    Elsewhere(Elsewhere),
}

/// The node of a cluster that takes a key, as another one says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The key's slot.
    pub slot: u16,
    /// Where the node is.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Only this key, for its slot is on its way there (ASK); else the slot is there (MOVED).
    pub is_on_its_way: bool,
}

impl Elsewhere {
    /// `MOVED 3999 10.0.0.2:6381` or `ASK …`. A node that was met by nobody does not know its own address.
    fn parse(message: &str, own_host: &str) -> Option<Elsewhere> {
        let mut words = message.split(' ');
        let is_on_its_way = match words.next()? {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let slot = words.next()?.parse().ok()?;
        let (host, port) = words.next()?.rsplit_once(':')?;
        let host = if host.is_empty() { own_host } else { host.trim_start_matches('[').trim_end_matches(']') };
        Some(Elsewhere { slot, host: host.into(), port: port.parse().ok()?, is_on_its_way })
    }
}

impl Server {
    /// Chooses a database.
    pub fn select(&mut self, database: u32) -> Result<(), RedisError> {
        self.words(&["SELECT", &database.to_string()]).map(drop)
    }

    /// Puts a key into the chosen database: RESTORE of a payload, as DUMP answers it.
    pub fn put_key(&mut self, key: &[u8], payload: &[u8], goes: Goes, replaces: bool) -> Result<Put, RedisError> {
        let mut batch = PutBatch::default();
        batch.add(self, key, payload, goes, replaces);
        self.wait_up_to(PATIENCE)?;
        let answer = self.ask_each(batch.command(0), 1, RESTORE)?.pop();
        answer.map_or_else(|| Ok(Put::NotTaken(SILENT.into())), became)
    }

    /// Puts a key by a command of a batch; with `asks` also one whose slot is on its way to this node.
    pub fn put_packed(&mut self, command: &[u8], asks: bool) -> Result<Came, RedisError> {
        self.wait_up_to(PATIENCE)?;
        if asks {
            self.words(&["ASKING"])?;
        }
        let answer = self.ask_each(command, 1, RESTORE)?.pop();
        answer.map_or_else(|| Ok(Came::Here(Put::NotTaken(SILENT.into()))), |answer| self.came(answer))
    }

    /// Sends all keys of a batch; [`Self::put_sent`] has to follow, in the order in which they were sent.
    pub fn send_keys(&mut self, batch: PutBatch) -> Result<SentKeys, RedisError> {
        self.wait_up_to(PATIENCE)?;
        let ahead = self.send_ahead(&batch.packed, RESTORE)?;
        Ok(SentKeys { ahead, batch })
    }

    /// What became of each key that was sent, and the batch. The first that fails otherwise ends it, and those behind it may be
    /// there.
    pub fn put_sent(&mut self, sent: SentKeys) -> Result<(PutBatch, Vec<Came>), RedisError> {
        let answers = self.answers(sent.ahead, sent.batch.count(), RESTORE)?;
        let came = answers.into_iter().map(|answer| self.came(answer)).collect::<Result<_, _>>();
        Ok((sent.batch, came?))
    }

    fn came(&self, answer: Result<Value, RedisError>) -> Result<Came, RedisError> {
        let own_host = self.address().host().unwrap_or("127.0.0.1");
        match &answer {
            Err(RedisError::Answer { message, .. }) => match Elsewhere::parse(message, own_host) {
                Some(elsewhere) => Ok(Came::Elsewhere(elsewhere)),
                None => became(answer).map(Came::Here),
            },
            _ => became(answer).map(Came::Here),
        }
    }

    /// Makes the functions of a payload, as FUNCTION DUMP answers it. Those of the same names stay unless `replaces`.
    pub fn put_functions(&mut self, payload: &[u8], replaces: bool) -> Result<(), RedisError> {
        let mut command = ::redis::cmd(self.address().command("FUNCTION"));
        command.arg("RESTORE").arg(payload).arg(if replaces { "REPLACE" } else { "APPEND" });
        self.wait_up_to(PATIENCE)?;
        self.ask(&command.get_packed_command(), 1, "FUNCTION RESTORE").map(drop)
    }
}

/// What became of a key, by what the server answered.
fn became(answer: Result<Value, RedisError>) -> Result<Put, RedisError> {
    match answer {
        Ok(_) => Ok(Put::Done),
        Err(RedisError::Answer { message, .. }) if message.starts_with("BUSYKEY") => Ok(Put::Exists),
        Err(RedisError::Answer { message, .. })
            if ["payload version", "Bad data format"].iter().any(|words| message.contains(words)) =>
        {
            Ok(Put::NotTaken(message))
        }
        Err(error) => Err(error),
    }
}

/// Keys that were sent, and not answered yet.
#[derive(Debug)]
#[must_use]
pub struct SentKeys {
    ahead: Ahead,
    batch: PutBatch,
}

/// Keys that are put with one another. Memory: what they take.
#[derive(Debug, Default)]
pub struct PutBatch {
    packed: Vec<u8>,
    /// Where each command ends.
    ends: Vec<usize>,
}

impl PutBatch {
    /// One more: RESTORE of a payload, as DUMP answers it.
    pub fn add(&mut self, server: &Server, key: &[u8], payload: &[u8], goes: Goes, replaces: bool) {
        let mut command = Cmd::with_capacity(6, key.len() + payload.len() + 64);
        command.arg(server.address().command("RESTORE")).arg(key);
        match goes {
            Goes::Never => command.arg(0),
            // 0 would be never.
            Goes::At(moment) | Goes::After(moment) => command.arg(moment.max(1)),
        };
        command.arg(payload);
        if replaces {
            command.arg("REPLACE");
        }
        if matches!(goes, Goes::At(_)) {
            command.arg("ABSTTL");
        }
        command.write_packed_command(&mut self.packed);
        self.ends.push(self.packed.len());
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The command of one of them; nothing where there are not so many.
    pub fn command(&self, place: usize) -> &[u8] {
        let begin = place.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let range = begin.zip(self.ends.get(place));
        range.and_then(|(begin, end)| self.packed.get(begin..*end)).unwrap_or_default()
    }

    /// Takes away all of them, and keeps the room.
    pub fn clear(&mut self) {
        self.packed.clear();
        self.ends.clear();
    }

    /// Bytes that are sent.
    pub fn bytes(&self) -> usize {
        self.packed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_names_another_by_its_slot_and_place() {
        let named = |text| Elsewhere::parse(text, "here").map(|it| (it.slot, it.host, it.port, it.is_on_its_way));
        assert_eq!(named("MOVED 3999 10.0.0.2:6381"), Some((3999, "10.0.0.2".into(), 6381, false)));
        assert_eq!(named("ASK 7 :7000"), Some((7, "here".into(), 7000, true)));
        assert_eq!(named("MOVED 7 [::1]:7000"), Some((7, "::1".into(), 7000, false)));
        for strange in ["MOVED", "MOVED x 10.0.0.2:1", "MOVED 7 host", "TRYAGAIN 7 host:1", "ASK 7 host:70000"] {
            assert_eq!(named(strange), None, "{strange}");
        }
    }
}
