//! `verify --drill`: a snapshot is restored into a scratch server, which is then asked what it holds.
//!
//! It passes if the server serves it and holds, by database and type, what was counted at capture; keys that expired may
//! be missing. The result is kept as a note: format-spec/15-notes.md.

mod asking;
mod compare;
mod plan;
mod surroundings;
mod user;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use super::list::Chosen;
use super::restore::{self, From, is_either, restore};
use super::{Observer, OperationError};
use crate::format::counts::size;
use crate::format::note::Drill;
use crate::format::object::SnapshotName;
use crate::format::{KeysDigest, UnixMillis};
use crate::held::Room;
use crate::redis::RedisError;
use crate::redis::program::{Places, Program};
use crate::redis::scratch::{Loading, Scratch, Settings};
use crate::redis::server::Types;
use crate::repository::{Repository, RepositoryError, one_line};
use asking::{Held, ask};
use compare::{Comparison, compare};
use plan::{Basis, Plan};
use surroundings::Surroundings;

/// How a drill is done.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The server program; else one is looked for.
    pub server_binary: Option<PathBuf>,
    /// Directories in which it is looked for, as in `PATH`.
    pub search: Option<OsString>,
    /// The files are restored into a directory made below this one, and removed again.
    pub scratch: PathBuf,
    /// The server's socket and log stand in a directory made below this one.
    pub private: PathBuf,
    /// Which dataset is meant.
    pub from: Option<From>,
    /// What commands of the AOF are called that were renamed, besides what the capture recorded.
    pub renamed_commands: Vec<(String, String)>,
}

/// What a drill showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The server that was given the files.
    pub program: Program,
    /// What it held: keys by database and type.
    pub databases: BTreeMap<u64, Types>,
    /// How many keys were counted at capture, where that says what it has to hold; else why not.
    pub captured: Result<u64, String>,
    /// Keys that were captured and have expired since.
    pub expired: u64,
    /// What tells the data apart.
    pub digest: Digest,
    /// What the dump holds, where it is not known whether that or the AOF is the dataset: all else is of the AOF.
    pub dump: Option<DumpHolds>,
    /// What is wrong: it passed where there is nothing.
    pub problems: Vec<String>,
    /// Damage in the repository that was made good from other copies.
    pub made_good: Vec<String>,
    /// Why the result could not be kept.
    pub not_kept: Option<String>,
}

/// What became of the digest of a server's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Digest {
    /// There is none to compare it with: it is kept for later drills.
    First(KeysDigest),
    /// That of an earlier drill is the same.
    Equal(KeysDigest, UnixMillis),
    /// That of an earlier drill is another one.
    Differs(UnixMillis),
    /// There is none, and why.
    None(String),
}

/// What a dump holds beside an AOF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpHolds {
    /// As many keys by database and type, with the same values where these can be told.
    TheSame,
    /// Something else, and so many keys.
    Other {
        /// The keys.
        keys: u64,
    },
}

impl Report {
    /// Whether the snapshot passed.
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }

    /// Keys the server held.
    pub fn keys(&self) -> u64 {
        self.databases.values().flat_map(BTreeMap::values).sum()
    }
}

/// Gives a snapshot to a server and asks it what it holds. A snapshot that cannot be served is no error: its problems are
/// in the report. Nothing but the note is left behind.
///
/// Where it is not known whether the AOF or the dump is the dataset, a server is given each of them. If both hold the same
/// there is no doubt left; else nothing is noted.
pub fn drill(
    repository: &Repository,
    chosen: &Chosen,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report, OperationError> {
    let either = options.from.is_none() && is_either(&chosen.snapshot);
    let from = if either { Some(From::Aof) } else { options.from };
    let mut report = drill_one(repository, chosen, from, options, observer)?;
    if either {
        let dump = drill_one(repository, chosen, Some(From::Rdb), options, observer)?;
        report.problems.extend(dump.problems.iter().map(|problem| format!("of the dump: {problem}")));
        report.dump = Some(match is_same(&report, &dump) {
            true => DumpHolds::TheSame,
            false => DumpHolds::Other { keys: dump.keys() },
        });
    }
    if !matches!(report.dump, Some(DumpHolds::Other { .. })) || !report.passed() {
        keep(repository, chosen, &mut report);
    }
    Ok(report)
}

/// Whether two drills of one snapshot showed the same keys, with the same values where these can be told.
fn is_same(one: &Report, other: &Report) -> bool {
    let digest = |report: &Report| match report.digest {
        Digest::First(digest) | Digest::Equal(digest, _) => Some(digest),
        Digest::Differs(_) | Digest::None(_) => None,
    };
    let digests = digest(one).zip(digest(other));
    one.databases == other.databases && digests.is_none_or(|(one, other)| one == other)
}

fn drill_one(
    repository: &Repository,
    chosen: &Chosen,
    from: Option<From>,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report, OperationError> {
    let snapshot = &chosen.snapshot;
    let plan = Plan::of(snapshot, from)?;
    let recorded = snapshot.facts.get("server.executable").map(PathBuf::from);
    let search = options.search.as_deref();
    let places = Places { given: options.server_binary.as_deref(), recorded: recorded.as_deref(), search };
    let program = Program::find(places, plan.demands)?;
    check_memory(&plan)?;
    match serve(repository, chosen, &plan, &program, options, observer) {
        Err(error) if error.is_damage() => {
            keep_failure(repository, chosen.name, &program.version.to_string(), &one_line(&error))?;
            Err(error)
        }
        other => other,
    }
}

/// Keeps what a drill showed as a note.
fn keep(repository: &Repository, chosen: &Chosen, report: &mut Report) {
    let fault = (!report.passed()).then(|| report.problems.join("; "));
    let digest = match report.digest {
        Digest::First(digest) | Digest::Equal(digest, _) => Some(digest),
        Digest::Differs(_) | Digest::None(_) => None,
    };
    let server = report.program.version.to_string();
    let note = Drill::new(chosen.name, &server, report.keys(), fault.as_deref(), digest);
    report.not_kept = repository.note_drill(note).err().map(|error| one_line(&error));
}

/// Keeps a failure that was found before a server was asked.
pub fn keep_failure(
    repository: &Repository,
    snapshot: SnapshotName,
    server: &str,
    fault: &str,
) -> Result<(), OperationError> {
    Ok(repository.note_drill(Drill::new(snapshot, server, 0, Some(fault), None))?)
}

fn serve(
    repository: &Repository,
    chosen: &Chosen,
    plan: &Plan,
    program: &Program,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report, OperationError> {
    let mut report = Report {
        program: program.clone(),
        databases: BTreeMap::new(),
        captured: match &plan.basis {
            Basis::Counted(counted) => Ok(counted.keys),
            Basis::Bounded(bounds) => Ok(bounds.keys),
            Basis::Unknown(why, _) => Err(why.clone()),
        },
        expired: 0,
        digest: Digest::None("the server did not come up".into()),
        dump: None,
        problems: Vec::new(),
        made_good: Vec::new(),
        not_kept: None,
    };
    let scratch = options.scratch.canonicalize();
    let scratch = scratch.map_err(|error| OperationError::target("find", &options.scratch, error))?;
    // Nobody else gets at the files before all of them are given away.
    let made = Room::make("drill-", &scratch);
    let directory = made.map_err(|error| OperationError::target("make a directory in", &scratch, error))?;
    let target = directory.path().join("data");
    let restored = restore::Options { from: plan.from, ..restore::Options::new(target.clone()) };
    report.made_good = restore(repository, chosen, &restored, observer).map_err(of_scratch)?.made_good;
    let files: Vec<_> = chosen.snapshot.files.iter().collect();
    let needs = restore::Needs::of_files(&target, &files, observer)?;
    // A server that replays a SELECT of a database it does not have goes on in the one before.
    let highest = needs.highest_database.and_then(|highest| u32::try_from(highest).ok()?.checked_add(1));
    let user = user::give(directory.path(), &target, program)?;
    let surroundings = Surroundings::of(&chosen.snapshot, plan, &options.renamed_commands, user);
    let private = Some(&options.private).filter(|private| user.is_none() || user::is_open(private));
    let settings = Settings {
        directory: target,
        private: private.cloned().unwrap_or_else(|| "/tmp".into()),
        appendonly: plan.appendonly,
        names: plan.names.clone(),
        databases: plan.databases.max(highest.unwrap_or(0)),
        user,
        renamed: surroundings.renamed.clone(),
        modules: surroundings.modules.clone(),
    };
    match held(program, &settings, observer) {
        Ok(Some(held)) => judge(&mut report, repository, chosen, plan, held)?,
        Ok(None) => return Err(RepositoryError::Interrupted.into()),
        Err(_) if observer.interrupted() => return Err(RepositoryError::Interrupted.into()),
        Err(error @ RedisError::NotLoaded { .. }) => {
            if let RedisError::NotLoaded { lack: Some(lack), .. } = &error
                && let Some(error) = surroundings.not_drilled(plan, program, lack)
            {
                return Err(error.into());
            }
            report.problems.push(one_line(&error));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(report)
}

/// Starts a server on the files and asks it. `None`: the user asked to stop.
fn held(program: &Program, settings: &Settings, observer: &dyn Observer) -> Result<Option<Held>, RedisError> {
    let mut shown = Loading::default();
    let mut go_on = |now: Loading| {
        if now.total > 0 && shown.total == 0 {
            observer.begin("loading", Some(now.total));
            shown.total = now.total;
        }
        observer.advance(now.loaded.saturating_sub(shown.loaded));
        shown.loaded = now.loaded.max(shown.loaded);
        !observer.interrupted()
    };
    let scratch = Scratch::start(program, settings, &mut go_on)?;
    let held = scratch.connect().and_then(|mut server| ask(&mut server, observer));
    match held {
        // It came up and then went away over its data.
        Err(error @ RedisError::Connection { .. }) => Err(RedisError::NotLoaded {
            what: format!("the scratch server ({}) stopped answering: {}", program.version, one_line(&error)),
            log: scratch.log().join(" | "),
            lack: None,
        }),
        Ok(held) => {
            scratch.stop()?;
            Ok(held)
        }
        Err(error) => Err(error),
    }
}

fn judge(
    report: &mut Report,
    repository: &Repository,
    chosen: &Chosen,
    plan: &Plan,
    held: Held,
) -> Result<(), OperationError> {
    let Comparison { expired, problems } = compare(&plan.basis, &held.databases);
    (report.expired, report.problems) = (expired, problems);
    report.databases = held.databases;
    report.digest = match held.digest {
        Err(why) => Digest::None(why),
        Ok(_) if !report.problems.is_empty() => Digest::None("the keys are not those that were captured".into()),
        Ok(digest) => compare_digest(repository, chosen, &report.program, report.keys(), digest)?,
    };
    if let Digest::Differs(_) = report.digest {
        report.problems.push("the same keys have other values than at an earlier drill".into());
    }
    Ok(())
}

/// NOTE-10: with the digest of an earlier drill on the same server with as many keys.
fn compare_digest(
    repository: &Repository,
    chosen: &Chosen,
    program: &Program,
    keys: u64,
    digest: KeysDigest,
) -> Result<Digest, OperationError> {
    let server = program.version.to_string();
    let earlier = repository.drills()?.into_iter().find_map(|record| {
        let drill = record.drill;
        let is_like = drill.snapshot == chosen.name && drill.server == server && drill.keys == keys;
        drill.digest.filter(|_| is_like).map(|digest| (digest, record.time))
    });
    Ok(match earlier {
        None => Digest::First(digest),
        Some((earlier, time)) if earlier == digest => Digest::Equal(digest, time),
        Some((_, time)) => Digest::Differs(time),
    })
}

/// Refuses where the data would not fit into the memory that this host has to spare.
fn check_memory(plan: &Plan) -> Result<(), OperationError> {
    let said = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available =
        said.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse().ok());
    let available = available.map(|kib: u64| kib.saturating_mul(1024));
    match available.filter(|available| *available < plan.memory) {
        None => Ok(()),
        Some(available) => Err(OperationError::Refused {
            what: format!(
                "the server would need {} of memory; {} are available here",
                size(plan.memory),
                size(available)
            ),
            hint: "do the drill on a host with more memory, on which the repository can be reached".into(),
        }),
    }
}

/// What is said of a directory with too little room: it is the one for the drill's files.
fn of_scratch(error: OperationError) -> OperationError {
    let OperationError::NoRoom { what, .. } = error else { return error };
    let hint =
        "a drill restores all of the snapshot: free some space there, or name another directory with --scratch-dir";
    OperationError::NoRoom { what, hint: hint.into() }
}
