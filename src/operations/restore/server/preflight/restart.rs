//! What a restart would lose: settings, users and modules that the server has, and that are in none of its files. Without its
//! password it would be open to everybody. What guards it is refused; limits and the like are told.
//!
//! What it would have then is asked of a scratch server of the same program, which knows the defaults of its version and how
//! it writes a value. It is told no secret, and nothing of the network.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{may, refuse, trial};
use crate::operations::OperationError;
use crate::operations::restore::server::scratch::{BASE, Workroom, program};
use crate::operations::restore::server::target::Target;
use crate::operations::restore::server::{Consent, Options};
use crate::rdb::Header;
use crate::redis::RedisError;
use crate::redis::host::{Start, is_same_value};
use crate::redis::program::Program;
use crate::redis::scratch::{Scratch, Settings};
use crate::redis::server::{ConfigFile, Server, Users, acl_text};

/// Compared elsewhere, or of the process and not of what it serves.
const SKIPPED: &[&str] = &[
    "dir",
    "dbfilename",
    "appendonly",
    "appendfilename",
    "appenddirname",
    "databases",
    "port",
    "tls-port",
    "replicaof",
    "slaveof",
    "requirepass",
    "logfile",
    "pidfile",
    "daemonize",
    "supervised",
    "always-show-logo",
    "unixsocket",
    "unixsocketperm",
    "watchdog-period",
    "oom-score-adj",
    "oom-score-adj-values",
    "cluster-config-file",
];

/// What guards the server, or leads clients to it: beginnings of names.
const GUARDS: &[&str] = &[
    "masterauth",
    "primaryauth",
    "masteruser",
    "primaryuser",
    "aclfile",
    "acl-pubsub-default",
    "protected-mode",
    "bind",
    "tls-",
    "enable-",
];

/// Never told to a scratch server: beginnings of names.
const UNTOLD: &[&str] = &[
    "masterauth",
    "primaryauth",
    "masteruser",
    "primaryuser",
    "aclfile",
    "bind",
    "tls-",
    "enable-",
    "cluster-",
    "syslog",
    "include",
    "loadmodule",
    "user",
    "rename-command",
    "replica-announce",
    "slave-announce",
    "client-output-buffer-limit",
    "server_cpulist",
    "server-cpulist",
    "bio",
    "aof_rewrite_cpulist",
    "aof-rewrite-cpulist",
    "bgsave_cpulist",
    "bgsave-cpulist",
    "crash",
    "io-threads",
    "proc-title",
    "set-proc-title",
    "locale",
];

/// What a scratch server is started with, and other servers are not.
const OWN: &[(&str, &str)] = &[
    ("save", "3600 1 300 100 60 10000"),
    ("aof-load-truncated", "yes"),
    ("auto-aof-rewrite-percentage", "100"),
    ("enable-debug-command", "no"),
];

/// Descriptors that a server keeps from its clients.
const RESERVED: u64 = 32;

/// Words that newer servers have for older ones; they know both.
const WORDS: [(&str, &str); 2] = [("master", "primary"), ("slave", "replica")];

/// A name, and the same in other words.
fn spellings(name: &str) -> impl Iterator<Item = String> {
    let both = WORDS.iter().flat_map(|(old, new)| [(*old, *new), (*new, *old)]);
    let others = both.filter_map(|(one, other)| Some(format!("{other}{}", name.strip_prefix(one)?)));
    std::iter::once(name.to_owned()).chain(others)
}

fn begins(name: &str, list: &[&str]) -> bool {
    list.iter().any(|begin| name.starts_with(begin))
}

/// Refuses what would leave the server unguarded or stopped, and answers with the rest, as notes. `header`: how the RDB file
/// begins that it is to load.
pub(in crate::operations::restore::server) fn look(
    server: &mut Server,
    target: &Target,
    options: &Options,
    header: Option<Header>,
) -> Result<Vec<String>, RedisError> {
    let mut notes = Vec::new();
    trial::must_be_there(target, target.info.get("config_file").filter(|file| !file.is_empty()))?;
    let Some(written) = written(target, &mut notes) else { return Ok(notes) };
    notes.extend(trial::restart(target, options, &written, header)?);
    let mut lost = users(server, target, &written, &mut notes)?;
    lost.extend(modules(target, &written));
    match server.settings() {
        Ok(now) => settings(&now, target, options, &written, (&mut lost, &mut notes)),
        Err(RedisError::Answer { message, .. }) => {
            notes.push(format!("which settings a restart would change cannot be seen ({message})"));
        }
        Err(error) => return Err(error),
    }
    match lost.is_empty() || may(options, Consent::Settings) {
        true => notes.extend(lost.into_iter().map(|what| format!("lost when it is started again: {what}"))),
        false => {
            let what =
                format!("started again, the server would lose what is in none of its files: {}", lost.join("; "));
            return refuse(
                what,
                "write it there: CONFIG REWRITE does, for users in an ACL file ACL SAVE, for modules loadmodule lines; or say: \
                 --force settings",
            );
        }
    }
    Ok(notes)
}

/// What the server is started with, where that can be told: its file with what it includes, and the words after it.
fn written(target: &Target, notes: &mut Vec<String>) -> Option<ConfigFile> {
    let path = target.info.get("config_file").filter(|file| !file.is_empty());
    let words = match &target.host.start {
        Start::Process(line) => line.arguments.clone(),
        // What another command starts is a person's word, unless it names the same file.
        Start::Command(command) if !path.is_some_and(|path| command.contains(path)) => return None,
        Start::Command(_) | Start::Unit(_) | Start::Script(_) => Vec::new(),
    };
    let mut written =
        match path.map(|path| (path, ConfigFile::read_for(Path::new(path), &target.host.process.reader()))) {
            None => ConfigFile::default(),
            Some((_, Ok(file))) => file,
            Some((path, Err(_))) => {
                notes.push(format!("what a restart would change cannot be seen: {path} cannot be read"));
                return None;
            }
        };
    let words = words.iter().map(|word| word.as_encoded_bytes().to_vec());
    written.take_command_line(&[Vec::new()].into_iter().chain(words).collect::<Vec<_>>());
    Some(written)
}

fn users(
    server: &mut Server,
    target: &Target,
    written: &ConfigFile,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, RedisError> {
    let now = match server.users() {
        Ok(now) => now,
        // Before 6.0 there is one user, and its password is a setting.
        Err(RedisError::Answer { .. }) if target.version < (6, 0, 0) => return Ok(Vec::new()),
        Err(RedisError::Answer { message, .. }) => {
            notes.push(format!("which users a restart would change cannot be seen ({message})"));
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let path = written.directives.get("aclfile").filter(|path| !path.is_empty());
    let text = match path.map(|path| acl_text(&target.directory.join(path), &target.host.process.reader())) {
        None => None,
        Some(Ok(text)) => Some(text),
        Some(Err(_)) => {
            notes.push("which users a restart would change cannot be seen: its ACL file cannot be read".into());
            return Ok(Vec::new());
        }
    };
    Ok(now.lost(&Users::written(written, text.as_deref())))
}

/// Modules that were loaded since, of a server that tells where from.
fn modules(target: &Target, written: &ConfigFile) -> Vec<String> {
    let real = |path: &str| fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    let lines = written.lines.get("loadmodule").into_iter().flatten();
    let files: Vec<PathBuf> = lines.filter_map(|words| Some(real(words.first()?))).collect();
    let own = target.modules.iter().filter_map(|module| Some((&module.name, real(module.path.as_ref()?))));
    own.filter(|(_, path)| !files.contains(path)).map(|(name, _)| format!("the module {name}")).collect()
}

fn settings(
    now: &BTreeMap<String, String>,
    target: &Target,
    options: &Options,
    written: &ConfigFile,
    (lost, notes): (&mut Vec<String>, &mut Vec<String>),
) {
    let then = match then(target, options, written) {
        Ok(then) => then,
        Err(error) => {
            notes.push(format!("of the settings only those in its files were compared: {error}"));
            let usual = [("masterauth", ""), ("protected-mode", "yes"), ("maxmemory", "0"), ("timeout", "0")];
            let usual = usual.map(|(name, value)| (name.to_owned(), value.to_owned()));
            usual.into_iter().chain(written.directives.clone()).collect()
        }
    };
    for (name, now) in now.iter().filter(|(name, _)| !SKIPPED.contains(&name.as_str())) {
        let Some(then) = then.get(name).filter(|then| !is_same_value(now, then)) else { continue };
        match name.as_str() {
            name if begins(name, GUARDS) => lost.push(name.into()),
            "maxclients" if is_lowered(target, now) => {}
            _ if is_secret(name) => notes.push(format!("{name} has another value when it is started again")),
            _ => notes.push(format!("{name} is \"{now}\" and, when it is started again, \"{then}\"")),
        }
    }
}

fn is_secret(name: &str) -> bool {
    ["pass", "auth", "user", "secret", "token", "key-file"].iter().any(|word| name.contains(word))
}

/// A server has fewer clients than its file says where it may not open as many files.
fn is_lowered(target: &Target, now: &str) -> bool {
    let limits = fs::read_to_string(format!("/proc/{}/limits", target.host.process.id)).unwrap_or_default();
    let soft =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    soft.zip(now.parse().ok()).is_some_and(|(soft, now): (u64, u64)| soft == now.saturating_add(RESERVED))
}

/// The settings that the server has once it is started with what is written.
fn then(target: &Target, options: &Options, written: &ConfigFile) -> Result<BTreeMap<String, String>, OperationError> {
    let program = Program::at(&program(target, options)?)?;
    let user = (rustix::process::geteuid().is_root() && target.owner.0 != 0).then_some(target.owner);
    let directory = Workroom::make(user)?;
    let settings = Settings::empty(directory.path(), Path::new(BASE), user);
    let scratch = Scratch::start(&program, &settings, &mut |_| true)?;
    let mut server = scratch.connect()?;
    let mut raw: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &written.directives {
        let is_set = !begins(name, UNTOLD)
            && !SKIPPED.contains(&name.as_str())
            && !is_secret(name)
            && server.words(&["CONFIG", "SET", name, value]).is_ok();
        if !is_set {
            raw.extend(spellings(name).map(|name| (name, value.clone())));
        }
    }
    for words in written.lines.get("client-output-buffer-limit").into_iter().flatten() {
        // One that it does not take the server would not start with.
        let _ = server.words(&["CONFIG", "SET", "client-output-buffer-limit", &words.join(" ")]);
    }
    raw.remove("client-output-buffer-limit");
    let mut then = server.settings()?;
    scratch.stop()?;
    for (name, usual) in OWN {
        if !written.directives.contains_key(*name) && then.contains_key(*name) {
            then.insert((*name).into(), (*usual).into());
        }
    }
    // Names that it does not know are passed over later: only what the server says it has is compared.
    then.extend(raw);
    Ok(then)
}
