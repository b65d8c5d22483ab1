//! What of a snapshot a server is given: one dataset, as a dump or as an AOF.

use std::collections::BTreeMap;

use crate::aof::split_words;
use crate::format::databases::{self, AroundMark, Between, OF_SERVER};
use crate::format::snapshot::{File, FileKind, Role, Snapshot};
use crate::operations::OperationError;
use crate::operations::restore::From;
use crate::rdb::{Family, Header};
use crate::redis::RedisError;
use crate::redis::scratch::RENAMED;

/// In which form a snapshot holds its dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// An RDB dump.
    Dump,
    /// A manifest and the files it names.
    Parts,
    /// The one AOF of servers before 7.0.
    Single,
}

/// The dataset that is restored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Source {
    pub form: Form,
    /// Its files. Their paths are only their names: those of one AOF stand in one directory.
    pub files: Vec<File>,
    /// How its RDB file begins, where it has one.
    pub header: Option<Header>,
    /// Modules whose data it holds.
    pub modules: Option<String>,
    /// What commands of its AOF are called that were renamed: the usual name, and the other one.
    pub renamed: Vec<(String, String)>,
    /// What it should hold.
    pub expected: Expected,
    /// Keys that were counted in its RDB file; those of each database are told of some hundred only.
    pub keys: Option<u64>,
    /// Bytes of memory that the server used when it was taken.
    pub memory: Option<u64>,
    /// Regular files of the snapshot that are no part of it and stay where they are.
    pub left: usize,
}

/// What a server should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// Keys, and how many of them can go by themselves, by database: those with an expiry, hashes with fields that expire.
    pub databases: BTreeMap<u64, (u64, u64)>,
    /// Commands follow that may have added and removed keys.
    pub and_commands: bool,
    /// What the server counted when its AOF was captured, by database; nothing where it was not asked.
    pub asked: Option<BTreeMap<u64, Asked>>,
    /// Keys of all databases that the captured server had, as it said beside the capture.
    pub had: Option<u64>,
}

/// Keys of one database, as the server counted them around the end of a captured AOF.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The lower and the higher count, each by as much as the commands between the two may have changed it and back.
    pub least: u64,
    pub most: u64,
    /// Of these, keys that can go by themselves.
    pub expiring: u64,
}

impl Source {
    /// The dataset that is meant.
    pub fn of(snapshot: &Snapshot, from: Option<From>) -> Result<Source, OperationError> {
        let has = |role: Role| snapshot.files.iter().any(|file| file.role == role && file.kind == FileKind::File);
        let aof = [(Role::Manifest, Form::Parts), (Role::SingleAof, Form::Single)];
        let aof = aof.into_iter().find(|(role, _)| has(*role)).map(|(_, form)| form);
        let dump = has(Role::Dump).then_some(Form::Dump);
        let told = snapshot.facts.get("authoritative").map(String::as_str);
        let form = match (from, told) {
            (Some(From::Rdb), _) => dump,
            (Some(From::Aof), _) => aof,
            (None, Some("rdb")) => dump.or(aof),
            (None, _) => aof.or(dump),
        };
        let form = form.ok_or_else(|| OperationError::Unfit {
            what: "the snapshot holds no dataset of a server".into(),
            hint: "restore its files with --target DIR, or choose another snapshot".into(),
        })?;
        let files: Vec<File> = snapshot.files.iter().filter(|file| form.has(file)).map(by_name).collect();
        let fact = |name: &str| snapshot.facts.get(&format!("{}.{name}", form.prefix()));
        let regular = snapshot.files.iter().filter(|file| file.kind == FileKind::File);
        let left = regular.filter(|file| file.role == Role::Other).count();
        let header = fact("rdb.version").zip(fact("rdb.family")).and_then(|(version, family)| {
            let family = if family == "valkey" { Family::Valkey } else { Family::Redis };
            Some(Header { family, version: version.parse().ok()? })
        });
        Ok(Source {
            form,
            header,
            modules: fact("modules").cloned(),
            renamed: renamed(snapshot),
            expected: Expected::of(snapshot, form),
            keys: fact("keys").and_then(|text| text.parse().ok()),
            memory: fact("used-mem").and_then(|text| text.parse().ok()),
            files,
            left,
        })
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Whether the snapshot tells of each database that it holds, and no commands follow.
    pub fn is_known_by_facts(&self) -> bool {
        let told: u64 = self.expected.databases.values().map(|(keys, _)| keys).sum();
        self.form == Form::Dump && self.keys == Some(told) && self.suspects().is_empty()
    }

    /// Files that were suspect when they were stored, and why.
    pub fn suspects(&self) -> Vec<(String, String)> {
        self.files.iter().filter_map(|file| Some((file.display_path(), file.suspect.clone()?))).collect()
    }

    /// The only file of a form that has one.
    pub fn only(&self) -> Result<&File, RedisError> {
        match (self.form, self.files.as_slice()) {
            (Form::Dump | Form::Single, [file]) => Ok(file),
            _ => Err(RedisError::Server {
                what: "the snapshot holds several dumps or several single AOF files".into(),
                hint: "restore them to a directory with --target, and choose".into(),
            }),
        }
    }
}

impl Form {
    fn has(self, file: &&File) -> bool {
        file.kind == FileKind::File
            && match self {
                Form::Dump => file.role == Role::Dump,
                Form::Parts => matches!(file.role, Role::Manifest | Role::Base | Role::Incr),
                Form::Single => file.role == Role::SingleAof,
            }
    }

    fn prefix(self) -> &'static str {
        match self {
            Form::Dump => "dump",
            Form::Parts => "base",
            Form::Single => "aof-file",
        }
    }
}

fn renamed(snapshot: &Snapshot) -> Vec<(String, String)> {
    let line = snapshot.facts.get(RENAMED).map(String::as_str).unwrap_or_default();
    let words = split_words(line.as_bytes()).unwrap_or_default().into_iter();
    let words = words.filter_map(|word| String::from_utf8(word).ok());
    words.filter_map(|word| word.split_once('=').map(|(usual, new)| (usual.to_owned(), new.to_owned()))).collect()
}

/// The same file with its name as its path.
fn by_name(file: &File) -> File {
    let name = file.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
    File { path: name.into(), ..file.clone() }
}

impl Expected {
    fn of(snapshot: &Snapshot, form: Form) -> Expected {
        let prefix = form.prefix();
        let number = |name: String| snapshot.facts.get(&name).and_then(|text| text.parse::<u64>().ok());
        let counted =
            databases::of(&snapshot.facts, prefix).into_iter().map(|(number, of)| (number, (of.keys, of.can_go())));
        let has_incr = snapshot.files.iter().any(|file| file.role == Role::Incr && file.size > 0);
        let and_commands = match form {
            Form::Dump => false,
            Form::Parts => has_incr || number(format!("{prefix}.aof.commands")).is_some_and(|count| count > 0),
            // Of one without a dump before its commands nothing was counted.
            Form::Single => number(format!("{prefix}.aof.commands")).is_none_or(|count| count > 0),
        };
        // The server counted what is in the AOF that it wrote.
        let is_another = form == Form::Single && snapshot.files.iter().any(|file| file.role == Role::Manifest);
        let asked = asked(snapshot).filter(|_| form != Form::Dump && !is_another);
        Expected { databases: counted.collect(), and_commands, asked, had: number("server.keys".into()) }
    }
}

fn asked(snapshot: &Snapshot) -> Option<BTreeMap<u64, Asked>> {
    let facts = &snapshot.facts;
    let AroundMark { databases, slack, .. } = AroundMark::of(facts)?;
    // Of a moment before the capture the counts are taken away.
    if databases::of(facts, OF_SERVER).is_empty() && facts.get("server.keys").is_none_or(|keys| keys != "0") {
        return None;
    }
    let one = |(number, Between { least, most, expiring })| {
        let asked = Asked { least: least.saturating_sub(slack), most: most.saturating_add(slack), expiring };
        (number, asked)
    };
    Some(databases.into_iter().map(one).collect())
}
