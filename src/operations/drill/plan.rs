//! What a snapshot says of itself that a drill needs: which of its files a server loads, under which names, what program
//! that takes, and what the server has to hold then.

use std::collections::BTreeMap;

use super::super::OperationError;
use super::super::restore::{Doubt, From, doubt};
use crate::format::snapshot::{File, Role, Snapshot};
use crate::rdb::{Family, Header};
use crate::redis::program::Demands;
use crate::redis::scratch::Names;

/// What every server has, unless it is told otherwise.
const DATABASES: u64 = 16;
/// What commands may select, where only reading them would tell.
const DATABASES_OF_COMMANDS: u64 = 1024;

/// How a snapshot is served, and what is to be found then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub from: Option<From>,
    pub appendonly: bool,
    pub names: Names,
    pub demands: Demands,
    pub databases: u32,
    /// Bytes of memory that the server which wrote it used, or else of the files.
    pub memory: u64,
    pub basis: Basis,
}

/// What the server has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Basis {
    /// What was counted at capture, but for keys that expired.
    Counted(Counted),
    /// Not known: the commands after the base change what was counted in it. With what the live server said when it was
    /// captured: keys, and how many of them had an expiry.
    Changed(Option<(u64, u64)>),
    /// Not known: nothing was counted, or not all.
    Uncounted,
}

/// What the reader counted at capture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub keys: u64,
    /// Each database, where there are not too many for that.
    pub databases: BTreeMap<u64, CountedDatabase>,
}

/// One database of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CountedDatabase {
    pub keys: u64,
    pub expiring: u64,
    pub types: BTreeMap<String, u64>,
}

impl Plan {
    pub fn of(snapshot: &Snapshot, from: Option<From>) -> Result<Plan, OperationError> {
        let facts = Facts(snapshot);
        let appendonly = match (from, facts.get("authoritative")) {
            (Some(From::Aof), _) => true,
            (Some(From::Rdb), _) => false,
            (None, Some("aof")) => true,
            (None, Some("rdb")) => false,
            (None, _) if let Some(Doubt { what, hint }) = doubt(snapshot) => {
                return Err(OperationError::Refused { what, hint });
            }
            (None, _) => return Err(refused("the snapshot holds no dataset a server could load", CHOOSE)),
        };
        let is_multi_part = facts.get("aof.layout") == Some("multi-part");
        let prefix = match (appendonly, is_multi_part) {
            (false, _) => "dump",
            (true, true) => "base",
            (true, false) => "aof-file",
        };
        let defaults = Names::default();
        let name = |fact: &str, usual| facts.get(fact).map_or(usual, std::ffi::OsString::from);
        let names = Names {
            dump: name("rdb.name", defaults.dump),
            aof: name("aof.name", defaults.aof),
            aof_directory: name("aof.directory", defaults.aof_directory),
        };
        let is_one_name = |name: &std::ffi::OsStr| !name.is_empty() && !name.as_encoded_bytes().contains(&b'/');
        if appendonly && is_multi_part && !is_one_name(&names.aof_directory) {
            let hint = "restore it and lay its files out as a server wants them";
            return Err(refused("its AOF does not stand in a directory of its own in the data directory", hint));
        }
        let highest = facts.of(prefix).databases().keys().max().map_or(0, |highest| highest.saturating_add(1));
        let least = if appendonly { DATABASES_OF_COMMANDS } else { DATABASES };
        let size = |file: &&File| file.role.is_of_dataset() && file.role != Role::History;
        Ok(Plan {
            from,
            appendonly,
            names,
            demands: Demands { header: facts.of(prefix).header(), multi_part: appendonly && is_multi_part },
            databases: u32::try_from(highest.max(least)).unwrap_or(u32::MAX),
            memory: facts
                .of(prefix)
                .number("used-mem")
                .unwrap_or_else(|| snapshot.files.iter().filter(size).map(|file| file.size).sum()),
            basis: facts.of(prefix).basis(snapshot, prefix),
        })
    }
}

const CHOOSE: &str = "choose another snapshot: redkeep ls shows what is in one";

fn refused(what: &str, hint: &str) -> OperationError {
    OperationError::Refused { what: what.into(), hint: hint.into() }
}

#[derive(Clone, Copy)]
struct Facts<'s>(&'s Snapshot);

impl<'s> Facts<'s> {
    fn get(self, name: &str) -> Option<&'s str> {
        self.0.facts.get(name).map(String::as_str)
    }

    fn of(self, prefix: &'static str) -> FactsOf<'s> {
        FactsOf { facts: self, prefix }
    }
}

/// Facts of one file.
#[derive(Clone, Copy)]
struct FactsOf<'s> {
    facts: Facts<'s>,
    prefix: &'static str,
}

impl FactsOf<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.facts.get(&format!("{}.{name}", self.prefix))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    fn header(&self) -> Option<Header> {
        let family = match self.get("rdb.family")? {
            "valkey" => Family::Valkey,
            _ => Family::Redis,
        };
        Some(Header { family, version: self.get("rdb.version")?.parse().ok()? })
    }

    fn databases(&self) -> BTreeMap<u64, CountedDatabase> {
        let mut databases: BTreeMap<u64, CountedDatabase> = BTreeMap::new();
        for (name, value) in &self.facts.0.facts {
            let Some(name) = name.strip_prefix(self.prefix).and_then(|name| name.strip_prefix('.')) else { continue };
            let Ok(count) = value.parse() else { continue };
            let words: Vec<&str> = name.split('.').collect();
            let (kind, number, of_type) = match words.as_slice() {
                [kind, number] => (*kind, *number, None),
                [kind, number, of_type] => (*kind, *number, Some(*of_type)),
                _ => continue,
            };
            let Some(number) = number.strip_prefix("db").and_then(|number| number.parse().ok()) else { continue };
            let database = databases.entry(number).or_default();
            match (kind, of_type) {
                ("keys", None) => database.keys = count,
                ("expires", None) => database.expiring = count,
                ("types", Some(of_type)) => drop(database.types.insert(of_type.into(), count)),
                _ => {}
            }
        }
        databases
    }

    fn basis(&self, snapshot: &Snapshot, prefix: &str) -> Basis {
        let is_role = |file: &&File| match prefix {
            "dump" => file.role == Role::Dump,
            "base" => file.role == Role::Base,
            _ => file.role == Role::SingleAof,
        };
        let is_suspect = snapshot.files.iter().filter(is_role).any(|file| file.suspect.is_some());
        let has_commands = match prefix {
            "dump" => false,
            "base" => snapshot.files.iter().any(|file| file.role == Role::Incr && file.size > 0),
            _ => self.number("aof.commands").is_none_or(|commands| commands > 0),
        };
        match self.number("keys") {
            _ if has_commands => Basis::Changed(self.facts.live()),
            Some(keys) if !is_suspect && self.get("checksum") != Some("not-reached") => {
                Basis::Counted(Counted { keys, databases: self.databases() })
            }
            _ => Basis::Uncounted,
        }
    }
}

impl Facts<'_> {
    /// Keys, and how many of them had an expiry, as the live server said.
    fn live(self) -> Option<(u64, u64)> {
        let sum = |prefix: &str| {
            let counts = self.0.facts.iter().filter(|(name, _)| {
                name.strip_prefix(prefix).is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            });
            let counts: Vec<u64> = counts.filter_map(|(_, value)| value.parse().ok()).collect();
            (!counts.is_empty()).then(|| counts.iter().sum())
        };
        Some((sum("server.keys.db")?, sum("server.expires.db").unwrap_or(0)))
    }
}
