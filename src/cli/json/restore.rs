//! What `restore`, `undo` and `verify` answer.

use serde::Serialize;

use super::{Drill, Suspect, Worked};
use crate::operations::list::Chosen;
use crate::operations::{drill, restore, verify};

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
