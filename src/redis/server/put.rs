//! A key is put into a running server.

use std::time::Duration;

use super::Server;
use crate::redis::RedisError;

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
        let mut command = ::redis::cmd(self.address().command("RESTORE"));
        command.arg(key);
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
        self.wait_up_to(PATIENCE)?;
        match self.ask(&command.get_packed_command(), 1, "RESTORE") {
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
}
