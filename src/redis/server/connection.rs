//! A connection to a server, and the commands a capture needs.

use std::time::Duration;

use ::redis::{FromRedisValue, Pipeline, Value, from_redis_value, parse_redis_value};

use super::address::Address;
use super::answer::{at_the_door, refuse_sentinel, refused};
use super::info::Info;
use super::tls;
use super::trouble::Trouble;
use super::wire::{Ahead, Wire};
use crate::redis::RedisError;

/// How long a server may take to take a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may take to answer: a fork of a large one blocks it for seconds.
const ANSWER: Duration = Duration::from_secs(60);

/// A connection to a server.
pub struct Server {
    address: Address,
    wire: Wire,
}

/// The server's clock: microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerTime(pub u64);

impl ServerTime {
    /// Milliseconds since the epoch.
    pub fn millis(self) -> u64 {
        self.0 / 1000
    }

    /// Seconds since the epoch.
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl Server {
    /// Connects and logs in.
    pub fn connect(address: &Address) -> Result<Self, RedisError> {
        let address = &address.clone().with_some_password();
        let config = || tls::config(address.tls());
        let wire = Wire::connect(address.info().addr(), config, (CONNECT, ANSWER), address.stop());
        let mut server = Self { address: address.clone(), wire: wire.map_err(|trouble| lost(address, trouble))? };
        server.log_in()?;
        // A server without a password answers everything but this only after AUTH.
        match server.words(&["PING"]) {
            Ok(_) => Ok(server),
            // Loading or refusing writes: it is there all the same.
            Err(RedisError::Answer { message, .. })
                if ["LOADING", "MISCONF", "MASTERDOWN", "BUSY"].iter().any(|code| message.starts_with(code)) =>
            {
                Ok(server)
            }
            Err(error) => Err(at_the_door(address, error)),
        }
    }

    /// As the user that the address names, to the database it names.
    fn log_in(&mut self) -> Result<(), RedisError> {
        let address = self.address.clone();
        let settings = self.address.info().redis_settings().clone();
        if let Some(password) = settings.password() {
            let user = settings.username().filter(|user| !user.is_empty());
            let words: Vec<&str> = ["AUTH"].into_iter().chain(user).chain([password]).collect();
            self.words(&words).map_err(|error| at_the_door(&address, error))?;
        }
        if settings.db() != 0 {
            let selected = self.words(&["SELECT", &settings.db().to_string()]);
            selected.map_err(|error| at_the_door(&address, error))?;
        }
        Ok(())
    }

    /// The same server, by a new connection that no interruption ends: for what has to be put in order.
    pub(super) fn once_more(&self) -> Result<Self, RedisError> {
        Self::connect(&self.address.clone().with_stop(None))
    }

    /// The connection as bytes, for what is no command and its reply.
    pub(super) fn into_wire(self) -> Wire {
        self.wire
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a command and answers with what came, as text.
    pub fn words(&mut self, words: &[&str]) -> Result<String, RedisError> {
        self.query(words)
    }

    /// Sends a command and answers with a list of texts.
    pub fn list(&mut self, words: &[&str]) -> Result<Vec<String>, RedisError> {
        self.query(words)
    }

    /// Sends a command that is answered with a whole number.
    pub fn integer(&mut self, words: &[&str]) -> Result<i64, RedisError> {
        self.query(words)
    }

    fn query<T: FromRedisValue>(&mut self, words: &[&str]) -> Result<T, RedisError> {
        let usual = words.first().copied().unwrap_or_default();
        let mut command = ::redis::cmd(self.address.command(usual));
        for word in words.iter().skip(1) {
            command.arg(*word);
        }
        let answer = self.ask(&command.get_packed_command(), 1, usual)?.into_iter().next().unwrap_or(Value::Nil);
        from_redis_value(answer).map_err(|error| failed(&self.address, usual, error.into()))
    }

    /// Sends commands of one name at once, and answers with what came to each.
    pub(super) fn at_once<T: FromRedisValue>(&mut self, name: &str, commands: &Pipeline) -> Result<Vec<T>, RedisError> {
        let answers = self.ask(&commands.get_packed_pipeline(), commands.len(), name)?;
        from_redis_value(Value::Array(answers)).map_err(|error| failed(&self.address, name, error.into()))
    }

    /// The values that came; one that says an error is an error.
    pub(super) fn ask(&mut self, packed: &[u8], replies: usize, name: &str) -> Result<Vec<Value>, RedisError> {
        self.ask_each(packed, replies, name)?.into_iter().collect()
    }

    /// What came to each command: a value, or an error.
    pub(super) fn ask_each(
        &mut self,
        packed: &[u8],
        replies: usize,
        name: &str,
    ) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
        let sent = self.send_ahead(packed, name)?;
        self.answers(sent, replies, name)
    }

    /// Only sends commands: [`Self::answers`] has to follow, in the order in which they were sent.
    pub(super) fn send_ahead(&mut self, packed: &[u8], name: &str) -> Result<Ahead, RedisError> {
        let sent = self.wire.send_ahead(packed, &name.to_ascii_uppercase());
        sent.map_err(|trouble| lost(&self.address, trouble))
    }

    /// What came to each command that was sent.
    pub(super) fn answers(
        &mut self,
        sent: Ahead,
        replies: usize,
        name: &str,
    ) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
        let answers = self.wire.answers(sent, replies, &name.to_ascii_uppercase());
        let answers = answers.map_err(|trouble| lost(&self.address, trouble))?;
        let address = &self.address;
        let read = |bytes: Vec<u8>| match &bytes[..] {
            // Of a million keys a million times.
            b"+OK\r\n" => Ok(Value::Okay),
            // A refusal may repeat what was sent, which need not be text.
            [b'-', message @ ..] if std::str::from_utf8(message).is_err() => {
                Err(refused(address, name, String::from_utf8_lossy(message).trim_end().to_owned()))
            }
            bytes => {
                parse_redis_value(bytes).and_then(Value::extract_error).map_err(|error| failed(address, name, error))
            }
        };
        Ok(answers.into_iter().map(read).collect())
    }

    /// How long to wait for an answer from now on: some commands look at every key.
    pub fn wait_up_to(&mut self, time: Duration) -> Result<(), RedisError> {
        self.wire.patience = time;
        Ok(())
    }

    /// INFO, all of it that comes without asking. Refuses a Sentinel.
    pub fn info(&mut self) -> Result<Info, RedisError> {
        let text = self.words(&["INFO"])?;
        refuse_sentinel(&self.address, Info::parse(&text))
    }

    /// One section of INFO.
    pub fn info_of(&mut self, section: &str) -> Result<Info, RedisError> {
        self.words(&["INFO", section]).map(|text| Info::parse(&text))
    }

    /// The server's clock.
    pub fn time(&mut self) -> Result<ServerTime, RedisError> {
        self.list(&["TIME"]).and_then(|answer| server_time(&answer))
    }

    /// The clock, and what the server says right after that, with nothing of ours between.
    pub(super) fn time_and_info(&mut self) -> Result<(ServerTime, Info), RedisError> {
        let mut both = ::redis::pipe();
        both.cmd(self.address.command("TIME")).cmd(self.address.command("INFO"));
        let answers = self.ask(&both.get_packed_pipeline(), both.len(), "INFO")?;
        let (time, info): (Vec<String>, String) =
            from_redis_value(Value::Array(answers)).map_err(|error| failed(&self.address, "INFO", error.into()))?;
        Ok((server_time(&time)?, refuse_sentinel(&self.address, Info::parse(&info))?))
    }

    /// A setting; `None` if this server does not have it.
    pub fn setting(&mut self, name: &str) -> Result<Option<String>, RedisError> {
        let answer = self.list(&["CONFIG", "GET", name])?;
        let mut pairs = answer.chunks_exact(2).filter_map(|pair| pair.first().zip(pair.get(1)));
        Ok(pairs.find_map(|(found, value)| (found == name).then(|| value.clone())))
    }
}

/// What TIME answers: seconds and microseconds.
fn server_time(answer: &[String]) -> Result<ServerTime, RedisError> {
    let number = |place: usize| answer.get(place).and_then(|text| text.parse::<u64>().ok());
    let time =
        number(0).zip(number(1)).and_then(|(seconds, micros)| seconds.checked_mul(1_000_000)?.checked_add(micros));
    let strange =
        || RedisError::Answer { command: "TIME".into(), message: format!("strange answer {answer:?}"), hint: None };
    time.map(ServerTime).ok_or_else(strange)
}

fn failed(address: &Address, command: &str, error: ::redis::RedisError) -> RedisError {
    let said = || {
        let code = error.code().map(|code| format!("{code} ")).unwrap_or_default();
        format!("{code}{}", error.detail().unwrap_or_default())
    };
    let message = if error.code().is_some() || error.detail().is_some() { said() } else { error.to_string() };
    refused(address, command, message)
}

pub(super) fn lost(address: &Address, trouble: Trouble) -> RedisError {
    match trouble {
        Trouble::Interrupted => RedisError::Interrupted,
        Trouble::Broken { what, hint, is_tls } => {
            RedisError::Connection { address: address.to_string(), source: what.into(), hint: hint.into(), is_tls }
        }
    }
}
