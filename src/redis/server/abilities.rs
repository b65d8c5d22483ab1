//! What a server can do: which commands it knows, and which modules it has.

use std::collections::BTreeMap;

use ::redis::Value;

use super::connection::Server;
use crate::redis::RedisError;

/// Commands asked about at once.
const AT_ONCE: usize = 100;

/// A module that a server has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedModule {
    /// Its name.
    pub name: String,
    /// The file it was loaded from, where that is told. Servers before 7.0 do not tell it.
    pub path: Option<String>,
    /// It is a part of the server itself.
    pub is_built_in: bool,
}

/// Modules that servers are made with, where the answer does not tell it.
const BUILT_IN: [&str; 2] = ["vectorset", "lua"];

impl Server {
    /// Whether a process of this host is at its end of the connection.
    pub fn is_process(&self, id: u32) -> bool {
        self.address().peer().is_some_and(|peer| peer.is_process(id))
    }

    /// Those of the names that the server does not know as a command, as a client or an AOF may call it.
    pub fn unknown_commands<'n>(&mut self, names: impl Iterator<Item = &'n [u8]>) -> Result<Vec<&'n [u8]>, RedisError> {
        let names: Vec<&[u8]> = names.collect();
        let mut unknown = Vec::new();
        for some in names.chunks(AT_ONCE) {
            let mut ask = ::redis::pipe();
            let command = ask.cmd(self.address().command("COMMAND")).arg("INFO");
            for name in some {
                command.arg(*name);
            }
            let told: Vec<Vec<Value>> = self.at_once("COMMAND", &ask)?;
            let told = told.into_iter().next().unwrap_or_default();
            if told.len() != some.len() {
                let message = format!("{} answers to {} names", told.len(), some.len());
                return Err(RedisError::Answer { command: "COMMAND".into(), message, hint: None });
            }
            let not_known = some.iter().zip(told).filter(|(_, told)| *told == Value::Nil);
            unknown.extend(not_known.map(|(name, _)| *name));
        }
        Ok(unknown)
    }

    /// Why this connection cannot shut the server down by SHUTDOWN, as far as that is told beforehand.
    pub fn refuses_shutdown(&mut self) -> Option<&'static str> {
        let name = self.address().command("SHUTDOWN").to_owned();
        let unknown = self.unknown_commands([name.as_bytes()].into_iter());
        if unknown.is_ok_and(|unknown| !unknown.is_empty()) {
            return Some("SHUTDOWN is disabled, or renamed and not named by --renamed-command");
        }
        // Servers from 7.0 on tell what a user may do; some users may not ask.
        let user = self.words(&["ACL", "WHOAMI"]).ok()?;
        let told = self.words(&["ACL", "DRYRUN", &user, &name, "NOSAVE"]).ok()?;
        (told != "OK").then_some("redkeep's user may not SHUTDOWN")
    }

    /// The modules it has.
    pub fn loaded_modules(&mut self) -> Result<Vec<LoadedModule>, RedisError> {
        let mut ask = ::redis::pipe();
        ask.cmd(self.address().command("MODULE")).arg("LIST");
        match self.at_once::<Vec<Value>>("MODULE", &ask) {
            Ok(told) => Ok(told.into_iter().next().unwrap_or_default().iter().filter_map(told_module).collect()),
            // Without this right the names are told all the same.
            Err(RedisError::Answer { .. }) => {
                let info = self.info_of("modules")?;
                let names = info.modules();
                let names = names.split(',').filter_map(|module| Some(module.rsplit_once(':')?.0.to_owned()));
                Ok(names.map(|name| LoadedModule { is_built_in: is_built_in(&name), name, path: None }).collect())
            }
            Err(error) => Err(error),
        }
    }

    /// All settings, by name in lower case. They hold passwords: what is told of them is chosen by name.
    pub fn settings(&mut self) -> Result<BTreeMap<String, String>, RedisError> {
        let mut ask = ::redis::pipe();
        ask.cmd(self.address().command("CONFIG")).arg("GET").arg("*");
        let told: Vec<Vec<Vec<u8>>> = self.at_once("CONFIG", &ask)?;
        let told = told.into_iter().next().unwrap_or_default();
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let pairs = told.chunks_exact(2).filter_map(|pair| pair.first().zip(pair.get(1)));
        Ok(pairs.map(|(name, value)| (text(name).to_ascii_lowercase(), text(value))).collect())
    }
}

fn is_built_in(name: &str) -> bool {
    BUILT_IN.contains(&name)
}

/// One of MODULE LIST: names and values in turn.
fn told_module(told: &Value) -> Option<LoadedModule> {
    let Value::Array(parts) = told else { return None };
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    let of = |wanted: &str| {
        let mut pairs = parts.chunks_exact(2).filter_map(|pair| pair.first().zip(pair.get(1)));
        pairs.find(|(name, _)| text(name).as_deref() == Some(wanted)).and_then(|(_, value)| text(value))
    };
    let (name, path) = (of("name")?, of("path"));
    // A module is loaded from a file under its full path; what is part of the server has none.
    let is_built_in = path.as_ref().map_or_else(|| is_built_in(&name), |path| !path.starts_with('/'));
    Some(LoadedModule { name, path: path.filter(|_| !is_built_in), is_built_in })
}
