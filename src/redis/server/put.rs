//! Keys are put into a running server.

use std::time::Duration;

use ::redis::Cmd;

use super::Server;
use super::wire::Ahead;
use crate::redis::RedisError;

const RESTORE: &str = "RESTORE";
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

impl Server {
    /// Chooses a database.
    pub fn select(&mut self, database: u32) -> Result<(), RedisError> {
        self.words(&["SELECT", &database.to_string()]).map(drop)
    }

    /// Puts a key into the chosen database: RESTORE of a payload, as DUMP answers it.
    pub fn put_key(&mut self, key: &[u8], payload: &[u8], goes: Goes, replaces: bool) -> Result<Put, RedisError> {
        let mut batch = PutBatch::default();
        batch.add(self, key, payload, goes, replaces);
        let put = self.put_keys(&mut batch)?.pop();
        Ok(put.unwrap_or(Put::NotTaken("it did not answer".into())))
    }

    /// Puts all keys of a batch, which is empty then; what became of each. The first that fails otherwise ends it, and those
    /// behind it may be there.
    pub fn put_keys(&mut self, batch: &mut PutBatch) -> Result<Vec<Put>, RedisError> {
        let sent = self.send_keys(batch)?;
        self.put_sent(sent)
    }

    /// Sends all keys of a batch, which is empty then; [`Self::put_sent`] has to follow before anything else is asked.
    pub fn send_keys(&mut self, batch: &mut PutBatch) -> Result<SentKeys, RedisError> {
        self.wait_up_to(PATIENCE)?;
        let sent = self.send_ahead(&batch.packed, RESTORE);
        batch.packed.clear();
        let count = std::mem::take(&mut batch.count);
        Ok(SentKeys { ahead: sent?, count })
    }

    /// What became of each key that was sent.
    pub fn put_sent(&mut self, sent: SentKeys) -> Result<Vec<Put>, RedisError> {
        let answers = self.answers(sent.ahead, sent.count, RESTORE);
        let put = |answer| match answer {
            Ok(_) => Ok(Put::Done),
            Err(RedisError::Answer { message, .. }) if message.starts_with("BUSYKEY") => Ok(Put::Exists),
            Err(RedisError::Answer { message, .. })
                if ["payload version", "Bad data format"].iter().any(|words| message.contains(words)) =>
            {
                Ok(Put::NotTaken(message))
            }
            Err(error) => Err(error),
        };
        answers?.into_iter().map(put).collect()
    }

    /// Makes the functions of a payload, as FUNCTION DUMP answers it. Those of the same names stay unless `replaces`.
    pub fn put_functions(&mut self, payload: &[u8], replaces: bool) -> Result<(), RedisError> {
        let mut command = ::redis::cmd(self.address().command("FUNCTION"));
        command.arg("RESTORE").arg(payload).arg(if replaces { "REPLACE" } else { "APPEND" });
        self.wait_up_to(PATIENCE)?;
        self.ask(&command.get_packed_command(), 1, "FUNCTION RESTORE").map(drop)
    }
}

/// Keys that were sent, and not answered yet.
#[derive(Debug)]
#[must_use]
pub struct SentKeys {
    ahead: Ahead,
    count: usize,
}

/// Keys that are put with one another. Memory: what they take.
#[derive(Debug, Default)]
pub struct PutBatch {
    packed: Vec<u8>,
    count: usize,
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
        self.count += 1;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes that are sent.
    pub fn bytes(&self) -> usize {
        self.packed.len()
    }
}
