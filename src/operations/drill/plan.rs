//! What a snapshot says of itself that a drill needs: which of its files a server loads, under which names, what program
//! that takes, and what the server has to hold then.

use std::collections::BTreeMap;

use super::super::OperationError;
use super::super::restore::{Doubt, From, doubt};
use crate::format::counts::{CountedBy, KeyCount, Uncounted};
use crate::format::databases::{self, AroundMark, Between, DatabaseKeys, OF_SERVER};
use crate::format::snapshot::{File, Role, Snapshot};
use crate::rdb::{Family, Header};
use crate::redis::program::Demands;
use crate::redis::scratch::Names;

/// What every server has, unless it is told otherwise.
const DATABASES: u64 = 16;

/// How a snapshot is served, and what is to be found then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub from: Option<From>,
    pub appendonly: bool,
    pub names: Names,
    pub demands: Demands,
    /// As many as the counted keys need; commands may need more.
    pub databases: u32,
    /// Bytes of memory that the server which wrote it used, or else of the files.
    pub memory: u64,
    pub basis: Basis,
    /// Whether it holds data of modules.
    pub has_modules: bool,
    /// Whether a file of the dataset is suspect.
    pub is_suspect: bool,
    /// Whether the checksum of its RDB file was right.
    pub is_verified: bool,
}

/// What the server has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Basis {
    /// What was counted at capture, but for keys that expired.
    Counted(Counted),
    /// What the server counted when its AOF was captured: bounds.
    Bounded(Bounds),
    /// Not known, and why. With what the live server said before it was captured, where it did: keys, and how many of
    /// them could go by themselves.
    Unknown(String, Option<(u64, u64)>),
}

/// Between which counts of the server the dataset lies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// What the server counted at the mark.
    pub keys: u64,
    /// Each database, where there are not too many for that.
    pub databases: BTreeMap<u64, Between>,
    /// So many keys more or less may commands have made that came after the mark.
    pub slack: u64,
    /// Whether each database with keys is told.
    pub is_complete: bool,
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
    /// Keys that can go by themselves: those with an expiry, and hashes with fields that expire.
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
                return Err(OperationError::Unfit { what, hint });
            }
            (None, _) => return Err(unfit("the snapshot holds no dataset a server could load", CHOOSE)),
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
            return Err(unfit("its AOF does not stand in a directory of its own in the data directory", hint));
        }
        let highest = facts.of(prefix).databases().keys().max().map_or(0, |highest| highest.saturating_add(1));
        let size = |file: &&File| file.role.is_of_dataset() && file.role != Role::History;
        Ok(Plan {
            from,
            appendonly,
            names,
            demands: Demands { header: facts.of(prefix).header(), multi_part: appendonly && is_multi_part },
            databases: u32::try_from(highest.max(DATABASES)).unwrap_or(u32::MAX),
            memory: facts
                .of(prefix)
                .number("used-mem")
                .unwrap_or_else(|| snapshot.files.iter().filter(size).map(|file| file.size).sum()),
            basis: facts.of(prefix).basis(snapshot, appendonly),
            has_modules: facts.of(prefix).get("modules").is_some(),
            is_suspect: KeyCount::of_one(snapshot, appendonly) == KeyCount::Unknown(Uncounted::Suspect),
            is_verified: facts.of(prefix).get("checksum") == Some("verified"),
        })
    }
}

const CHOOSE: &str = "choose another snapshot: redkeep ls shows what is in one";

fn unfit(what: &str, hint: &str) -> OperationError {
    OperationError::Unfit { what: what.into(), hint: hint.into() }
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
        let facts = &self.facts.0.facts;
        let counted = databases::of(facts, self.prefix).into_iter();
        let mut databases: BTreeMap<u64, CountedDatabase> = counted
            .map(|(number, of)| {
                (number, CountedDatabase { keys: of.keys, expiring: of.can_go(), ..CountedDatabase::default() })
            })
            .collect();
        let begin = format!("{}.types.db", self.prefix);
        for (name, count) in facts {
            let Some((number, of_type)) = name.strip_prefix(&begin).and_then(|rest| rest.split_once('.')) else {
                continue;
            };
            if let (Ok(number), Ok(count)) = (number.parse(), count.parse()) {
                databases.entry(number).or_default().types.insert(of_type.into(), count);
            }
        }
        databases
    }

    fn basis(&self, snapshot: &Snapshot, appendonly: bool) -> Basis {
        let is_authority = self.facts.get("authoritative") == Some(if appendonly { "aof" } else { "rdb" });
        let structure =
            || Basis::Counted(Counted { keys: self.number("keys").unwrap_or(0), databases: self.databases() });
        match KeyCount::of_one(snapshot, appendonly) {
            KeyCount::Known { by: CountedBy::Structure, .. } => structure(),
            KeyCount::Known { keys, .. } if is_authority => match bounds(&snapshot.facts, keys) {
                Some(bounds) => Basis::Bounded(bounds),
                None => {
                    let why =
                        format!("the server counted {keys} when it was asked, which was not at the end of the AOF");
                    let can_go = databases::of(&snapshot.facts, OF_SERVER).into_values().map(DatabaseKeys::can_go);
                    Basis::Unknown(why, Some((keys, can_go.fold(0, u64::saturating_add))))
                }
            },
            KeyCount::Known { .. } => Basis::Unknown(Uncounted::Commands.to_string(), None),
            KeyCount::Unknown(why) => Basis::Unknown(why.to_string(), None),
        }
    }
}

/// What the server counted at the mark and after the files were opened, where both are told.
fn bounds(facts: &BTreeMap<String, String>, keys: u64) -> Option<Bounds> {
    let AroundMark { databases, slack, is_complete } = AroundMark::of(facts)?;
    Some(Bounds { keys, databases, slack, is_complete })
}
