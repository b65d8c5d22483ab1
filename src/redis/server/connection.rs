//! A connection to a server, and the commands a capture needs.

use std::sync::Once;
use std::time::Duration;

use ::redis::{Client, ClientTlsConfig, Connection, FromRedisValue, Pipeline, TlsCertificates};

use super::address::Address;
use super::info::Info;
use crate::redis::RedisError;

/// How long a server may take to take a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may take to answer: a fork of a large one blocks it for seconds.
const ANSWER: Duration = Duration::from_secs(60);

/// A connection to a server.
pub struct Server {
    address: Address,
    connection: Connection,
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
        let failed = |error: ::redis::RedisError| cannot_connect(address, error);
        let address = &address.clone().with_some_password();
        let connection = client(address).map_err(failed)?.get_connection_with_timeout(CONNECT).map_err(failed)?;
        connection.set_read_timeout(Some(ANSWER)).map_err(failed)?;
        connection.set_write_timeout(Some(ANSWER)).map_err(failed)?;
        let mut server = Self { address: address.clone(), connection };
        // A server without a password answers everything but this only after AUTH.
        match server.words(&["PING"]) {
            Ok(_) => Ok(server),
            // Loading or refusing writes: it is there all the same.
            Err(RedisError::Answer { message, .. })
                if ["LOADING", "MISCONF", "MASTERDOWN", "BUSY"].iter().any(|code| message.starts_with(code)) =>
            {
                Ok(server)
            }
            Err(RedisError::Answer { message, .. }) => Err(RedisError::Login { address: address.to_string(), message }),
            Err(error) => Err(error),
        }
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
        command.query(&mut self.connection).map_err(|error| failed(&self.address, usual, error))
    }

    /// Sends commands of one name at once, and answers with what came to each.
    pub(super) fn at_once<T: FromRedisValue>(&mut self, name: &str, commands: &Pipeline) -> Result<Vec<T>, RedisError> {
        commands.query(&mut self.connection).map_err(|error| failed(&self.address, name, error))
    }

    /// How long to wait for an answer from now on: some commands look at every key.
    pub fn wait_up_to(&mut self, time: Duration) -> Result<(), RedisError> {
        let set = self.connection.set_read_timeout(Some(time));
        set.map_err(|error| failed(&self.address, "", error))
    }

    /// INFO, all of it that comes without asking.
    pub fn info(&mut self) -> Result<Info, RedisError> {
        self.words(&["INFO"]).map(|text| Info::parse(&text))
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
        let answers = both.query::<(Vec<String>, String)>(&mut self.connection);
        let (time, info) = answers.map_err(|error| failed(&self.address, "INFO", error))?;
        Ok((server_time(&time)?, Info::parse(&info)))
    }

    /// A setting; `None` if this server does not have it.
    pub fn setting(&mut self, name: &str) -> Result<Option<String>, RedisError> {
        let answer = self.list(&["CONFIG", "GET", name])?;
        let mut pairs = answer.chunks_exact(2).filter_map(|pair| pair.first().zip(pair.get(1)));
        Ok(pairs.find_map(|(found, value)| (found == name).then(|| value.clone())))
    }
}

fn client(address: &Address) -> Result<Client, ::redis::RedisError> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error means that one was installed before, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let tls = address.tls();
    if tls.root.is_none() && tls.client.is_none() {
        return Client::open(address.info().clone());
    }
    let client_tls = tls
        .client
        .as_ref()
        .map(|(certificate, key)| ClientTlsConfig { client_cert: certificate.clone(), client_key: key.to_vec() });
    Client::build_with_tls(address.info().clone(), TlsCertificates { client_tls, root_cert: tls.root.clone() })
}

/// What TIME answers: seconds and microseconds.
fn server_time(answer: &[String]) -> Result<ServerTime, RedisError> {
    let number = |place: usize| answer.get(place).and_then(|text| text.parse::<u64>().ok());
    let time =
        number(0).zip(number(1)).and_then(|(seconds, micros)| seconds.checked_mul(1_000_000)?.checked_add(micros));
    let strange = || RedisError::Answer { command: "TIME".into(), message: format!("strange answer {answer:?}") };
    time.map(ServerTime).ok_or_else(strange)
}

fn failed(address: &Address, command: &str, error: ::redis::RedisError) -> RedisError {
    let said = || {
        let code = error.code().map(|code| format!("{code} ")).unwrap_or_default();
        format!("{code}{}", error.detail().unwrap_or_default())
    };
    let command = command.to_ascii_uppercase();
    match error.is_io_error() || error.is_connection_dropped() || error.is_timeout() {
        true => broken(&address.to_string(), error.to_string()),
        false if error.code().is_some() || error.detail().is_some() => RedisError::Answer { command, message: said() },
        false => RedisError::Answer { command, message: error.to_string() },
    }
}

fn cannot_connect(address: &Address, error: ::redis::RedisError) -> RedisError {
    let address = address.to_string();
    let text = error.to_string();
    if error.kind() == ::redis::ErrorKind::AuthenticationFailed
        || ["WRONGPASS", "NOAUTH", "switch database"].iter().any(|word| text.contains(word))
    {
        return RedisError::Login { address, message: text };
    }
    broken(&address, text)
}

/// The library's error would say its cause twice: once itself, once as its source. Here it is said once.
fn broken(address: &str, text: String) -> RedisError {
    RedisError::Connection { address: address.to_string(), source: text.into() }
}
