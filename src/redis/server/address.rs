//! Where a server is reached, and as whom.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ::redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use zeroize::Zeroizing;

use crate::redis::RedisError;
use crate::redis::peer::Peer;

/// Where a server is reached, as whom, and what its commands are called.
///
/// Text forms: `redis://[USER[:PASSWORD]@]HOST[:PORT]`, `rediss://…` for TLS, `unix:///PATH`, `HOST:PORT`, or the path of
/// a Unix socket. `valkey://` and `valkeys://` mean the same as the first two.
#[derive(Clone)]
pub struct Address {
    info: ConnectionInfo,
    /// The database that the text names.
    database: Option<u32>,
    tls: Tls,
    /// Where the password came from, for people.
    password_from: Option<String>,
    /// What commands are called there that an operator renamed, by their usual names in upper case.
    renamed: BTreeMap<String, String>,
    /// Is set once the user asks to stop: an answer is not waited for then.
    stop: Option<Arc<AtomicBool>>,
}

/// Certificates for `rediss://`, in PEM. Without a root the system's certificates count.
#[derive(Clone, Default)]
pub struct Tls {
    /// What the server's certificate must go back to.
    pub root: Option<Vec<u8>>,
    /// The client's certificate and key, where the server asks for them.
    pub client: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
}

impl Address {
    /// The same server with another user, where one is given, and another password.
    pub fn with_login(mut self, user: Option<&str>, password: Option<&str>) -> Self {
        let mut login = self.info.redis_settings().clone();
        if let Some(user) = user {
            login = login.set_username(user);
        }
        if let Some(password) = password {
            login = login.set_password(password);
        }
        self.info = self.info.set_redis_settings(login);
        self
    }

    /// The same server, as nobody in particular.
    pub fn without_login(mut self) -> Self {
        let database = self.info.redis_settings().db();
        let login = RedisConnectionInfo::default().set_db(database).set_skip_set_lib_name();
        self.info = self.info.set_redis_settings(login);
        Self { password_from: None, ..self }
    }

    /// The same server with these certificates.
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// The same server, whose answers are waited for until this is set.
    pub fn with_stop(mut self, stop: Option<Arc<AtomicBool>>) -> Self {
        self.stop = stop;
        self
    }

    pub(super) fn stop(&self) -> Option<Arc<AtomicBool>> {
        self.stop.clone()
    }

    /// The same server, where commands have other names: the usual name, the name to send.
    pub fn with_renamed(mut self, renamed: &[(String, String)]) -> Self {
        self.renamed = renamed.iter().map(|(usual, here)| (usual.to_ascii_uppercase(), here.clone())).collect();
        self
    }

    /// What commands are called there that were renamed, by their usual names in upper case.
    pub(super) fn renamed(&self) -> &BTreeMap<String, String> {
        &self.renamed
    }

    /// What a command is called there.
    pub(super) fn command<'a>(&'a self, usual: &'a str) -> &'a str {
        self.renamed.get(&usual.to_ascii_uppercase()).map_or(usual, String::as_str)
    }

    /// Another server with the same login, certificates and names of commands, and TLS if this one has it.
    pub fn at(&self, host: &str, port: u16) -> Self {
        let elsewhere = match self.info.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        };
        Self { info: self.info.clone().set_addr(elsewhere), ..self.clone() }
    }

    /// The server of a text, with the same login, certificates and names of commands.
    pub fn elsewhere(&self, text: &str) -> Result<Self, RedisError> {
        let login = self.info.redis_settings().clone();
        let other: Self = text.parse()?;
        Ok(Self { info: other.info.set_redis_settings(login), ..self.clone() })
    }

    /// The same server with a password that is known from elsewhere, where none is given; `from` where that is, for people.
    pub fn with_known_password(self, password: Option<&str>, from: &str) -> Self {
        match password.filter(|_| !self.has_password()) {
            Some(password) => self.with_login(None, Some(password)).with_password_from(Some(from.into())),
            None => self,
        }
    }

    /// Where the password came from, for people.
    pub fn with_password_from(mut self, from: Option<String>) -> Self {
        self.password_from = from;
        self
    }

    pub(super) fn password_from(&self) -> Option<&str> {
        self.password_from.as_deref()
    }

    /// A user without a password is logged in with an empty one: without AUTH he would be the default user.
    pub(super) fn with_some_password(self) -> Self {
        let is_user = self.info.redis_settings().username().is_some_and(|user| !user.is_empty());
        if is_user && !self.has_password() { self.with_login(None, Some("")) } else { self }
    }

    /// Whether a password is known.
    pub fn has_password(&self) -> bool {
        self.info.redis_settings().password().is_some()
    }

    /// A text that names it again, without user and password.
    pub fn to_text(&self) -> String {
        let bracketed = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => format!("{}:{port}", bracketed(host)),
            ConnectionAddr::TcpTls { host, port, .. } => format!("rediss://{}:{port}", bracketed(host)),
            _ => self.to_string(),
        }
    }

    /// Whether it names a server of this host for sure: a socket, or the loopback.
    pub fn is_of_this_host(&self) -> bool {
        let is_loopback = |host: &str| {
            host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        };
        match self.info.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => is_loopback(host),
            ConnectionAddr::Unix(_) => true,
            _ => false,
        }
    }

    /// Its host and port, however it is spoken to.
    pub fn place(&self) -> String {
        let text = self.to_text();
        text.strip_prefix("rediss://").map_or(text.clone(), str::to_owned)
    }

    /// The user it is logged in as, where that is not the default one.
    pub fn user(&self) -> Option<&str> {
        self.info.redis_settings().username().filter(|user| !user.is_empty())
    }

    /// The database, where the text named one: `redis://HOST/3`.
    pub fn database(&self) -> Option<u32> {
        self.database
    }

    /// The port, where it is reached by one.
    pub fn port(&self) -> Option<u16> {
        match self.info.addr() {
            ConnectionAddr::Tcp(_, port) | ConnectionAddr::TcpTls { port, .. } => Some(*port),
            _ => None,
        }
    }

    /// The host, where it is reached by a port.
    pub fn host(&self) -> Option<&str> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => Some(host),
            _ => None,
        }
    }

    /// Where it listens, for the kernel.
    pub(in crate::redis) fn peer(&self) -> Option<Peer> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Peer::Tcp(host.clone(), *port))
            }
            ConnectionAddr::Unix(path) => Some(Peer::Unix(path.clone())),
            _ => None,
        }
    }

    pub(super) fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    pub(super) fn tls(&self) -> &Tls {
        &self.tls
    }
}

impl FromStr for Address {
    type Err = RedisError;

    fn from_str(text: &str) -> Result<Self, RedisError> {
        let refuse = |problem: &str| RedisError::Address { problem: problem.into() };
        let url = match text {
            _ if text.contains("://") => text.to_owned(),
            _ if text.starts_with('/') => format!("unix://{text}"),
            "" => return Err(refuse("it is empty")),
            _ => format!("redis://{text}"),
        };
        // The text may hold a password and is not repeated; the library's words are for who writes programs.
        let info = url.as_str().into_connection_info().map_err(|_| refuse("it is none that can be read"))?;
        if text.ends_with(".sock") && !url.starts_with("unix:") {
            return Err(refuse("the path of a socket begins with /"));
        }
        let names_database = match url.split_once("://") {
            Some(("unix" | "redis+unix" | "valkey+unix", path)) => path.contains("db="),
            Some((_, place)) => {
                place.split('?').next().unwrap_or_default().split('/').nth(1).is_some_and(|name| !name.is_empty())
            }
            None => false,
        };
        let database = u32::try_from(info.redis_settings().db()).ok().filter(|_| names_database);
        // CLIENT SETINFO is no command of a least-privilege user before 7.2.
        let login = info.redis_settings().clone().set_skip_set_lib_name();
        Ok(Self {
            info: info.set_redis_settings(login),
            database,
            tls: Tls::default(),
            password_from: None,
            renamed: BTreeMap::new(),
            stop: None,
        })
    }
}

/// Without user and password.
impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.info.addr() {
            ConnectionAddr::Unix(path) => write!(out, "{}", path.display()),
            address => write!(out, "{address}"),
        }
    }
}

/// As it is displayed: a password is never shown.
impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_in_several_ways_and_secrets_are_not_shown() {
        for (text, shown) in [
            ("redis://u:secret@localhost:7000", "localhost:7000"),
            ("127.0.0.1:6380", "127.0.0.1:6380"),
            ("localhost", "localhost:6379"),
            ("rediss://example.org", "example.org:6379"),
            ("valkey://h:1", "h:1"),
            ("/run/redis/redis.sock", "/run/redis/redis.sock"),
            ("unix:///run/redis.sock?pass=secret", "/run/redis.sock"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown, "{text}");
            assert!(!format!("{address:?}").contains("secret"));
        }
        for (text, again) in [
            ("redis://u:secret@localhost:7000", "localhost:7000"),
            ("rediss://u@[::1]:7000", "rediss://[::1]:7000"),
            ("/run/redis/redis.sock", "/run/redis/redis.sock"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_text(), again);
            assert_eq!(again.parse::<Address>().unwrap().to_string(), address.to_string());
        }
        for (text, database) in [
            ("h", None),
            ("redis://h:1/", None),
            ("redis://h/0", Some(0)),
            ("redis://u:p@h:1/3?protocol=resp3", Some(3)),
            ("/run/redis.sock", None),
            ("unix:///run/redis.sock?db=2", Some(2)),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().database(), database, "{text}");
        }
        for text in ["", "http://x", "redis://", "localhost:abc"] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(!error.to_string().contains("Config"), "{error}");
            assert!(error.hint().is_some(), "{text}");
        }
    }
}
