//! What `restore`, `undo` and `verify` answer.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Drill, Suspect, Worked};
use crate::cli::commands::restore::Past;
use crate::cli::commands::timeline::precision;
use crate::cli::time::{exact, of_host};
use crate::operations::list::Chosen;
use crate::operations::restore::server::ServerReport;
use crate::operations::{drill, restore, verify};

/// `restore`.
#[derive(Serialize)]
pub(crate) struct Restore {
    #[serde(flatten)]
    of: Worked,
    target: String,
    files: u64,
    bytes: u64,
    left_config: u64,
    aside: Option<String>,
    unset: Vec<String>,
    made_good: Vec<String>,
    suspects: Vec<Suspect>,
    doubt: Option<String>,
    notes: Vec<String>,
    dry_run: bool,
    moment: Option<RestoredMoment>,
}

/// The moment that was restored.
#[derive(Serialize)]
struct RestoredMoment {
    asked: Option<String>,
    effective: Option<String>,
    server: Option<String>,
    precision: &'static str,
    exact: bool,
    nearest: bool,
    dropped_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    damaged: bool,
}

impl From<&Past> for RestoredMoment {
    fn from(past: &Past) -> RestoredMoment {
        RestoredMoment {
            asked: past.moment.asked.map(exact),
            effective: past.effective.map(|time| exact(of_host(time, past.moment.clock))),
            server: past.effective.map(exact),
            precision: precision(past.moment.precision),
            exact: past.is_exact,
            nearest: past.moment.is_nearest,
            dropped_bytes: past.dropped,
            command: past.command.clone(),
            damaged: past.moment.is_at_damage,
        }
    }
}

impl Restore {
    pub fn new(chosen: &Chosen, report: &restore::Report, past: Option<&Past>) -> Restore {
        let suspect = |(path, why): &(String, String)| Suspect { path: path.clone(), why: why.clone() };
        Restore {
            of: chosen.into(),
            target: report.target.display().to_string(),
            files: report.files,
            bytes: report.bytes,
            left_config: report.left_config,
            aside: report.aside.as_ref().map(|path| path.display().to_string()),
            unset: report.unset.clone(),
            made_good: report.made_good.clone(),
            suspects: report.suspects.iter().map(suspect).collect(),
            doubt: report.doubt.as_ref().map(|doubt| doubt.what.clone()),
            notes: report.notes.clone(),
            dry_run: report.dry_run,
            moment: past.map(RestoredMoment::from),
        }
    }
}

/// `restore --server`.
#[derive(Serialize)]
pub(crate) struct RestoreServer {
    #[serde(flatten)]
    of: Worked,
    directory: String,
    server: String,
    steps: Vec<String>,
    notes: Vec<String>,
    files: u64,
    bytes: u64,
    aside: Option<String>,
    holds: Vec<String>,
    wrong: Vec<String>,
    finished_earlier: bool,
    was_stopped: bool,
    started: bool,
    made_good: Vec<String>,
    suspects: Vec<Suspect>,
    dry_run: bool,
    moment: Option<RestoredMoment>,
}

impl RestoreServer {
    pub fn new(chosen: &Chosen, report: &ServerReport, past: Option<&Past>) -> RestoreServer {
        let suspect = |(path, why): &(String, String)| Suspect { path: path.clone(), why: why.clone() };
        let verified = report.verified.clone().unwrap_or_default();
        RestoreServer {
            of: chosen.into(),
            directory: report.directory.display().to_string(),
            server: report.server.clone(),
            steps: report.steps.clone(),
            notes: report.notes.clone(),
            files: report.files,
            bytes: report.bytes,
            aside: report.aside.as_ref().map(|path| path.display().to_string()),
            holds: verified.lines,
            wrong: verified.wrong,
            finished_earlier: report.finished_earlier,
            was_stopped: report.was_stopped,
            started: report.is_started,
            made_good: report.made_good.clone(),
            suspects: report.suspects.iter().map(suspect).collect(),
            dry_run: report.dry_run,
            moment: past.map(RestoredMoment::from),
        }
    }
}

/// `undo`.
#[derive(Serialize)]
pub(crate) struct Undo {
    pub target: String,
    pub from: String,
    pub aside: Option<String>,
    pub server: Option<String>,
    pub keys: Option<BTreeMap<String, u64>>,
    pub notes: Vec<String>,
    pub steps: Vec<String>,
    pub dry_run: bool,
}

/// `undo --list`, and what removes.
#[derive(Serialize)]
pub(crate) struct Asides {
    target: String,
    removed: bool,
    asides: Vec<OfAside>,
}

/// What a restore replaced.
#[derive(Serialize)]
struct OfAside {
    path: String,
    time: String,
    bytes: u64,
    next: bool,
}

impl Asides {
    pub fn new(target: &std::path::Path, asides: &[restore::Aside], removed: bool) -> Asides {
        let one = |aside: &restore::Aside| OfAside {
            path: aside.path.display().to_string(),
            time: exact(aside.time),
            bytes: aside.bytes,
            next: aside.is_next,
        };
        Asides { target: target.display().to_string(), removed, asides: asides.iter().map(one).collect() }
    }
}

/// `verify`.
#[derive(Serialize)]
pub(crate) struct Verify {
    #[serde(flatten)]
    of: Worked,
    whole: bool,
    files: Vec<Verified>,
    made_good: Vec<String>,
    drill: Option<Drill>,
}

/// One file that was verified.
#[derive(Serialize)]
struct Verified {
    path: String,
    bytes: u64,
    damage: Option<String>,
    suspect: Option<String>,
}

impl Verify {
    pub fn new(chosen: &Chosen, report: &verify::Report, drill: Option<&drill::Report>) -> Verify {
        let one = |file: &verify::Verified| Verified {
            path: file.path.clone(),
            bytes: file.bytes,
            damage: file.damage.clone(),
            suspect: file.suspect.clone(),
        };
        Verify {
            of: chosen.into(),
            whole: report.is_whole(),
            files: report.files.iter().map(one).collect(),
            made_good: report.made_good.clone(),
            drill: drill.map(Drill::from),
        }
    }
}
