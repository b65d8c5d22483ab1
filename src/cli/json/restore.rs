//! What `restore`, `undo` and `verify` answer.

use serde::Serialize;

use super::{Suspect, Worked};
use crate::operations::list::Chosen;
use crate::operations::restore::server::ServerReport;
use crate::operations::{restore, verify};

/// `restore`.
#[derive(Serialize)]
pub(crate) struct Restore {
    #[serde(flatten)]
    of: Worked,
    target: String,
    files: u64,
    bytes: u64,
    aside: Option<String>,
    unset: Vec<String>,
    made_good: Vec<String>,
    suspects: Vec<Suspect>,
    dry_run: bool,
}

impl Restore {
    pub fn new(chosen: &Chosen, report: &restore::Report) -> Restore {
        let suspect = |(path, why): &(String, String)| Suspect { path: path.clone(), why: why.clone() };
        Restore {
            of: chosen.into(),
            target: report.target.display().to_string(),
            files: report.files,
            bytes: report.bytes,
            aside: report.aside.as_ref().map(|path| path.display().to_string()),
            unset: report.unset.clone(),
            made_good: report.made_good.clone(),
            suspects: report.suspects.iter().map(suspect).collect(),
            dry_run: report.dry_run,
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
    made_good: Vec<String>,
    suspects: Vec<Suspect>,
    dry_run: bool,
}

impl RestoreServer {
    pub fn new(chosen: &Chosen, report: &ServerReport) -> RestoreServer {
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
            made_good: report.made_good.clone(),
            suspects: report.suspects.iter().map(suspect).collect(),
            dry_run: report.dry_run,
        }
    }
}

/// `undo`.
#[derive(Serialize)]
pub(crate) struct Undo {
    pub target: String,
    pub from: String,
    pub aside: Option<String>,
}

/// `verify`.
#[derive(Serialize)]
pub(crate) struct Verify {
    #[serde(flatten)]
    of: Worked,
    whole: bool,
    files: Vec<Verified>,
    made_good: Vec<String>,
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
    pub fn new(chosen: &Chosen, report: &verify::Report) -> Verify {
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
        }
    }
}
