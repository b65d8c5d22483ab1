//! A key of a snapshot is put into a running server.

use std::ops::ControlFlow;

use super::Held;
use crate::operations::OperationError;
use crate::operations::module_types::module_named;
use crate::rdb::Family;
use crate::rdb::values::{Item, NoPayload, Unreadable, least_version};
use crate::redis::server::{Address, Goes, Info, Put, Server};
use crate::redis::{RedisError, ServerVersion};

/// Where a key is put, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server's database.
    pub database: u32,
    /// What it is called there.
    pub key: Vec<u8>,
    /// What has the name may be replaced.
    pub replaces: bool,
    /// It goes when it would have gone, else never.
    pub keeps_expiry: bool,
}

/// What was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutBack {
    /// What the server is, if it says so.
    pub version: Option<String>,
    /// Something else had the name before.
    pub replaced: bool,
    /// It was put element by element: the server does not know the form it was stored in.
    pub remade: bool,
    /// Fields of a hash that have expired since: the server lets go of them.
    pub expired_fields: u64,
}

/// Puts a value into a server. Nothing there is replaced unless `target` says so.
pub fn put_back(held: &Held, address: &Address, target: &Target) -> Result<PutBack, OperationError> {
    let value = held.value();
    let stored = least_version(value.type_byte, value.family).map(|version| value.payload(version));
    let stored = stored.unwrap_or(Err(NoPayload::NotTaken("a value of a type that is not known")));
    let stored = stored.map_err(|why| not_restorable(&why))?;
    let expiries = expiries_of_fields(held).map_err(|why| not_restorable(&why.into()))?;
    let mut server = Server::connect(address)?;
    let info = match server.info() {
        // Whoever may do nothing but put keys does without.
        Err(RedisError::Answer { message, .. }) if message.starts_with("NOPERM") => Info::default(),
        other => other?,
    };
    if target.database != 0 || address.database().is_some_and(|database| database != target.database) {
        server.select(target.database)?;
    }
    let (goes, expired_fields) = goes(held, &expiries, &mut server, target)?;
    let family = if info.valkey_version().is_some() { Family::Valkey } else { Family::Redis };
    let plain = || value.plain_payload(family, target.keeps_expiry);
    let version = ServerVersion::of(&info).map(|version| version.to_string());
    let mut to = To { server, info, address, target, goes };
    // As it is stored, unless its fields are to stay.
    let is_stored = target.keeps_expiry || expiries.is_empty();
    let first = if is_stored { stored } else { plain().map_err(|why| not_restorable(&why))? };
    let done = |replaced, remade| PutBack { version: version.clone(), replaced, remade, expired_fields };
    let why = match to.put(&first)? {
        Ok(replaced) => return Ok(done(replaced, false)),
        Err(why) => why,
    };
    let why = match plain().ok().filter(|_| is_stored).map(|payload| to.put(&payload)).transpose()? {
        Some(Ok(replaced)) => return Ok(done(replaced, true)),
        Some(Err(why)) => why,
        None => why,
    };
    Err(not_taken(held, !expiries.is_empty() && is_stored, address, version.as_deref(), &why).into())
}

/// When fields of a hash go that do.
fn expiries_of_fields(held: &Held) -> Result<Vec<Option<u64>>, Unreadable> {
    let mut expiries = Vec::new();
    if held.value().has_volatile_fields() {
        held.value().each(&mut |item| {
            if let Item::Field { expires, .. } = item {
                expiries.push(expires);
            }
            ControlFlow::Continue(())
        })?;
    }
    if expiries.iter().all(Option::is_none) {
        expiries.clear();
    }
    Ok(expiries)
}

/// A server, and what becomes of a key there.
struct To<'t> {
    server: Server,
    info: Info,
    address: &'t Address,
    target: &'t Target,
    goes: Goes,
}

impl To<'_> {
    /// Puts a payload; says whether it replaced something, or why the server does not take it.
    fn put(&mut self, payload: &[u8]) -> Result<Result<bool, String>, OperationError> {
        match self.put_one(payload, false)? {
            Put::Done => Ok(Ok(false)),
            Put::NotTaken(why) => Ok(Err(why)),
            Put::Exists if self.target.replaces => match self.put_one(payload, true)? {
                Put::NotTaken(why) => Ok(Err(why)),
                Put::Done | Put::Exists => Ok(Ok(true)),
            },
            Put::Exists => Err(exists(self.address, self.target).into()),
        }
    }

    fn put_one(&mut self, payload: &[u8], replaces: bool) -> Result<Put, RedisError> {
        match self.server.put_key(&self.target.key, payload, self.goes, replaces) {
            Err(RedisError::Answer { command, message, .. }) if message.starts_with("READONLY") => {
                let master = self.info.get("master_host").zip(self.info.get("master_port"));
                let master = master.map_or_else(String::new, |(host, port)| format!(", {host}:{port}"));
                let hint = format!("it is a replica, and takes writes from its master only: name the master{master}");
                Err(RedisError::Answer { command, message, hint: Some(hint) })
            }
            other => other,
        }
    }
}

/// When it goes, and how many fields have gone. What has gone already by the server's clock would be put nowhere, and take with
/// it what has the name.
fn goes(
    held: &Held,
    expiries: &[Option<u64>],
    server: &mut Server,
    target: &Target,
) -> Result<(Goes, u64), OperationError> {
    let past = |what: &str| OperationError::Unfit {
        what: format!("{what} expired since: a server lets go of it at once"),
        hint: "put it back for good with --no-expiry".into(),
    };
    if !target.keeps_expiry {
        return Ok((Goes::Never, 0));
    }
    let has_moments = held.expires.is_some() || !expiries.is_empty();
    let now = if has_moments { server.time()?.millis() } else { 0 };
    let expired = expiries.iter().flatten().filter(|moment| **moment <= now).count();
    if expired > 0 && expired == expiries.len() {
        return Err(past("every field of the hash has"));
    }
    let goes = match (held.expires, held.after_loading) {
        (_, Some(millis)) => {
            Goes::After(u64::try_from(millis).ok().filter(|millis| *millis > 0).ok_or_else(|| past("the key has"))?)
        }
        (Some(moment), None) if moment > now => Goes::At(moment),
        (Some(_), None) => return Err(past("the key has")),
        (None, None) => Goes::Never,
    };
    Ok((goes, expired as u64))
}

fn exists(address: &Address, target: &Target) -> RedisError {
    RedisError::Server {
        what: format!("database {} of the server at {address} has a key of that name already", target.database),
        hint: "overwrite it with --replace, or put this one beside it with --as NAME".into(),
    }
}

fn not_taken(held: &Held, has_expiries: bool, address: &Address, version: Option<&str>, why: &str) -> RedisError {
    let (value, server) = (held.value(), version.map_or_else(String::new, |version| format!(" ({version})")));
    let what = value.type_name().unwrap_or_else(|| "value".into());
    let of_module = value.module().map(|module| format!("a value of {}", module_named(&module.name)));
    let named = of_module.unwrap_or_else(|| format!("a {what} as it is stored"));
    let named = if has_expiries { "a hash whose fields expire".into() } else { named };
    let hint = match value.module() {
        None if has_expiries => "put it there for good, with all its fields, with --no-expiry".into(),
        Some(module) => format!("load {} there first", module_named(&module.name)),
        None => "put it into a server as new as the one it came from; or see it as text: redkeep get KEY".into(),
    };
    RedisError::Server { what: format!("the server at {address}{server} does not take {named}: {why}"), hint }
}

fn not_restorable(why: &NoPayload) -> OperationError {
    OperationError::Unfit {
        what: format!("the value cannot be put into a server: {why}"),
        hint: "restore the whole snapshot: redkeep restore SNAPSHOT --target DIR".into(),
    }
}
