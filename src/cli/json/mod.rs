//! The shapes that `--json` prints. Scripts rely on them: fields may be added, never renamed or given another meaning.

mod backup;
mod drill;
mod forget;
pub(crate) mod key;
mod kinds;
mod restore;
mod snapshots;
mod stats;
mod timeline;

use serde::Serialize;

use super::time::exact;
use crate::format::snapshot;
use crate::operations::list::Chosen;
use crate::repository::Alarm;

pub(crate) use backup::Backup;
pub(crate) use drill::Drill;
pub(crate) use forget::{Forget, Tag, Undelete};
pub(crate) use restore::{Asides, Restore, RestoreServer, Undo, Verify};
pub(crate) use snapshots::{
    DoneWithSet, Dump, ForgottenSnapshot, ForgottenSnapshots, Ls, SetOf, Snapshot, Snapshots, modified,
};
pub(crate) use stats::{CostOf, SnapshotLargest, SnapshotStats, Stats};
pub(crate) use timeline::Timelines;

/// An error.
#[derive(Serialize)]
pub(crate) struct Failure<'a> {
    pub error: FailureOf<'a>,
}

/// What failed.
#[derive(Serialize)]
pub(crate) struct FailureOf<'a> {
    pub message: &'a str,
    pub hint: Option<&'a str>,
    pub exit_code: u8,
}

/// Something the repository lacks.
#[derive(Serialize)]
pub(crate) struct AlarmOf {
    code: &'static str,
    message: String,
}

/// All alarms of a command.
pub(crate) fn alarms(alarms: &[Alarm]) -> Vec<AlarmOf> {
    let one = |alarm: &Alarm| {
        let code = match alarm {
            Alarm::Index { .. } => "index",
            Alarm::Packs { .. } => "packs",
            Alarm::DamagedPacks { .. } => "damaged_packs",
            Alarm::Snapshot { .. } => "snapshot",
            Alarm::Forgotten { .. } => "forgotten",
            Alarm::Gap { .. } => "gap",
            Alarm::Rollback { .. } => "rollback",
            Alarm::Elsewhere { .. } => "elsewhere",
            Alarm::Late { .. } => "late",
            Alarm::Undone { .. } => "undone",
            Alarm::State { .. } => "state",
            Alarm::NotNoted { .. } => "not_noted",
            Alarm::NotRemembered { .. } => "not_remembered",
        };
        AlarmOf { code, message: alarm.to_string() }
    };
    alarms.iter().map(one).collect()
}

/// A path and why it is suspect.
#[derive(Serialize)]
pub(crate) struct Suspect {
    path: String,
    why: String,
}

/// A stored warning.
#[derive(Serialize)]
pub(crate) struct Warning {
    code: String,
    path: Option<String>,
    message: String,
}

fn warnings(of: &snapshot::Snapshot) -> Vec<Warning> {
    let one = |warning: &snapshot::Warning| Warning {
        code: warning.code.clone(),
        path: (!warning.path.is_empty()).then(|| lossy(&warning.path)),
        message: warning.message.clone(),
    };
    of.warnings.iter().map(one).collect()
}

/// Bytes of a server: a text, or `{"hex"}` of what is none.
pub(crate) fn text(bytes: &[u8]) -> serde_json::Value {
    match str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            serde_json::json!({"hex": hex})
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `init`.
#[derive(Serialize)]
pub(crate) struct Init {
    pub repository: String,
    pub location: String,
    pub slot: String,
    pub recovery_key: Option<String>,
    pub password_file: Option<String>,
}

/// The snapshot a command worked on.
#[derive(Serialize)]
pub(crate) struct Worked {
    snapshot: String,
    dataset: String,
    begin: String,
    alarms: Vec<AlarmOf>,
}

impl From<&Chosen> for Worked {
    fn from(chosen: &Chosen) -> Worked {
        Worked {
            snapshot: chosen.name.session.to_string(),
            dataset: chosen.snapshot.dataset.clone(),
            begin: exact(chosen.snapshot.begin),
            alarms: alarms(&chosen.alarms),
        }
    }
}

/// `man --out-dir`.
#[derive(Serialize)]
pub(crate) struct Pages {
    pub pages: Vec<String>,
}
