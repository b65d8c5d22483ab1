//! Which live server is meant, and how it is logged in to.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::configuration::values;
use super::context::Context;
use super::secrets;
use super::settings::variable;
use crate::operations::OperationError;
use crate::redis::server::{Address, Tls, find_nearby, refuse_unknown_command};

/// Which live server is meant, and how it is logged in to.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArguments {
    /// The server: redis://[USER@]HOST[:PORT], rediss:// for TLS, HOST:PORT, or the path of a Unix socket [env:
    /// REDKEEP_REDIS] [default: 127.0.0.1:6379, else the sockets and configuration files that distributions ship]
    #[arg(long, value_name = "URL", alias = "server")]
    pub redis: Option<String>,
    #[command(flatten)]
    pub login: Login,
}

/// The arguments of [`Login`].
pub(crate) const LOGIN: [&str; 7] =
    ["redis_user", "redis_password_file", "redis_password_command", "tls_ca", "tls_cert", "tls_key", "renamed_command"];

/// How a live server is logged in to, and spoken to. Written on the command line or in a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[command(next_help_heading = "Server")]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Login {
    /// User to log in as [default: the one in the address, else the default user]
    #[arg(long, value_name = "NAME")]
    pub redis_user: Option<String>,
    /// File whose first line is the server's password [default: the variable REDISCLI_AUTH]
    #[arg(long, value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,
    /// Command whose first line of output is the server's password
    #[arg(long, value_name = "COMMAND")]
    pub redis_password_command: Option<String>,
    /// Certificate that the server's must go back to, in PEM [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Certificate to show to the server, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// What a command is called there that was renamed; may be given several times
    #[arg(long, value_name = "NAME=NEW", value_parser = renamed_command)]
    #[serde(rename = "renamed-commands", deserialize_with = "values::renamed_commands")]
    pub renamed_command: Vec<(String, String)>,
    /// Its password is named in a configuration file.
    #[arg(skip)]
    #[serde(skip)]
    pub is_configured: bool,
}

impl ServerArguments {
    /// Whether any of it is given.
    pub fn is_named(&self) -> bool {
        self.redis.is_some() || self.login != Login::default()
    }

    /// The server that is meant, with its login.
    pub fn address(&self, context: &Context) -> anyhow::Result<Address> {
        let with = self.login.of(context)?;
        match self.redis.clone().or_else(of_environment) {
            Some(named) => Ok(with(named.parse().map_err(OperationError::from)?)),
            None => Ok(find_nearby(&with).map_err(OperationError::from)?),
        }
    }
}

/// The server that the environment names.
pub(crate) fn of_environment() -> Option<String> {
    variable("REDKEEP_REDIS")?.into_string().ok()
}

impl Login {
    /// Adds it to an address.
    pub fn of(&self, context: &Context) -> anyhow::Result<impl Fn(Address) -> Address> {
        let password = secrets::server_password(
            context,
            self.redis_password_file.as_deref(),
            self.redis_password_command.as_deref(),
            self.is_configured,
        )?;
        let (password, from) = password.unzip();
        let text = password.as_deref().map(|secret| std::str::from_utf8(secret).map(str::to_owned));
        let password = text.transpose().context("the server's password is not UTF-8")?.map(Zeroizing::new);
        let tls = self.tls()?;
        Ok(move |address: Address| {
            let is_given = self.redis_password_file.is_some() || self.redis_password_command.is_some();
            let password = password.as_deref().filter(|_| is_given || !address.has_password());
            let whence = match (password.is_some(), address.has_password()) {
                (true, _) => from.clone(),
                (false, true) => Some("the address".to_owned()),
                (false, false) => None,
            };
            let address = address.with_login(self.redis_user.as_deref(), password.map(String::as_str));
            let address = address.with_password_from(whence);
            let stop = context.progress.stop_flag();
            address.with_tls(tls.clone()).with_renamed(&self.renamed_command).with_stop(Some(stop))
        })
    }

    fn tls(&self) -> anyhow::Result<Tls> {
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let root = self.tls_ca.as_deref().map(read).transpose()?;
        let client = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, Zeroizing::new(read(key)?))),
            _ => None,
        };
        Ok(Tls { root, client })
    }
}

pub(crate) fn renamed_command(text: &str) -> Result<(String, String), String> {
    let is_word = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace);
    let named = text.split_once('=').filter(|(usual, new)| is_word(usual) && is_word(new));
    let (usual, new) = named.ok_or("write it like CONFIG=MYCONFIG")?;
    refuse_unknown_command(usual)?;
    Ok((usual.into(), new.into()))
}

/// What a directory of a server is called here.
pub(crate) fn path_map(text: &str) -> Result<(PathBuf, PathBuf), String> {
    let named = text.split_once('=').filter(|(there, here)| there.starts_with('/') && !here.is_empty());
    named.map(|(there, here)| (there.into(), here.into())).ok_or_else(|| "write it like /data=/srv/redis".into())
}
