//! What `snapshots`, `ls` and `dump` answer.

use serde::Serialize;

use super::drill::DrillResult;
use super::kinds::{FormOf, Kinds, kinds};
use super::{AlarmOf, Warning, Worked, lossy, warnings};
use crate::cli::key_count;
use crate::cli::time::exact;
use crate::format::UnixMillis;
use crate::format::snapshot::{File, FileKind, Role};
use crate::operations::forget::policy::is_pinned;
use crate::operations::list::{Chosen, Forgotten};
use crate::operations::sets::{ChosenSet, Set};
use crate::repository::{DrillRecord, SnapshotInfo};

/// One snapshot of a listing.
#[derive(Serialize)]
pub(crate) struct Snapshot {
    id: String,
    dataset: String,
    sequence: u64,
    begin: String,
    end: String,
    moment: Option<String>,
    host: String,
    directory: String,
    tags: Vec<String>,
    files: u64,
    bytes: u64,
    new_bytes: u64,
    stored_bytes: u64,
    stored: Kinds,
    table_bytes: u64,
    forms: Vec<FormOf>,
    keys: Option<u64>,
    keys_counted: &'static str,
    warnings: u64,
    pinned: bool,
    set: Option<OfSetOf>,
    drill: Option<DrillResult>,
}

/// The set that a snapshot is of.
#[derive(Serialize)]
struct OfSetOf {
    id: String,
    name: String,
    shard: u64,
    slots: String,
}

/// A set.
#[derive(Serialize)]
pub(crate) struct SetOf {
    id: String,
    name: String,
    shards: usize,
    missing: Vec<String>,
    skew_ms: u64,
    snapshots: Vec<String>,
}

/// What was done with the snapshots of a set.
#[derive(Serialize)]
pub(crate) struct DoneWithSet<T> {
    set: String,
    name: String,
    complete: bool,
    skew_ms: u64,
    snapshots: Vec<T>,
}

impl<T> DoneWithSet<T> {
    /// With each of these, which are all that there are of it.
    pub fn new(set: &ChosenSet, snapshots: Vec<T>) -> DoneWithSet<T> {
        let complete = set.missing.is_empty() && snapshots.len() == set.members.len();
        DoneWithSet { set: set.id.to_string(), name: set.name.clone(), complete, skew_ms: set.skew, snapshots }
    }
}

impl From<&Set<'_>> for SetOf {
    fn from(set: &Set<'_>) -> SetOf {
        SetOf {
            id: set.of.id.to_string(),
            name: set.of.name.clone(),
            shards: set.of.slots.len(),
            missing: set.missing(),
            skew_ms: set.skew(),
            snapshots: set.members.values().map(|info| info.name.session.to_string()).collect(),
        }
    }
}

/// `snapshots --forgotten`.
#[derive(Serialize)]
pub(crate) struct ForgottenSnapshots {
    pub forgotten: Vec<ForgottenSnapshot>,
    pub alarms: Vec<AlarmOf>,
}

/// One forgotten snapshot.
#[derive(Serialize)]
pub(crate) struct ForgottenSnapshot {
    id: String,
    forgotten: String,
    reason: String,
    until: String,
    snapshot: Option<Snapshot>,
}

impl From<&Forgotten> for ForgottenSnapshot {
    fn from(forgotten: &Forgotten) -> ForgottenSnapshot {
        ForgottenSnapshot {
            id: forgotten.record.snapshot.session.to_string(),
            forgotten: exact(forgotten.record.time),
            reason: forgotten.record.reason.clone(),
            until: exact(forgotten.until()),
            snapshot: forgotten.info.as_ref().map(Snapshot::from),
        }
    }
}

impl From<&SnapshotInfo> for Snapshot {
    fn from(info: &SnapshotInfo) -> Snapshot {
        let (stored, table_bytes) = kinds(&info.told.summary.new, info.stored_bytes);
        Snapshot {
            id: info.name.session.to_string(),
            dataset: info.dataset.clone(),
            sequence: info.sequence,
            begin: exact(info.begin),
            end: exact(info.end),
            moment: info.moment.map(exact),
            host: info.host.clone(),
            directory: lossy(&info.directory),
            tags: info.tags.clone(),
            files: info.files,
            bytes: info.bytes,
            new_bytes: info.new_bytes,
            stored_bytes: info.stored_bytes,
            stored,
            table_bytes,
            forms: info.told.forms.iter().map(FormOf::from).collect(),
            keys: info.keys.keys(),
            keys_counted: key_count::word(info.keys),
            warnings: info.warnings,
            pinned: is_pinned(&info.tags),
            set: info.told.set.as_ref().map(|of| OfSetOf {
                id: of.id.to_string(),
                name: of.name.clone(),
                shard: of.shard,
                slots: of.own_slots().to_owned(),
            }),
            drill: None,
        }
    }
}

impl Snapshot {
    /// A snapshot with its newest drill.
    pub fn with_drill(info: &SnapshotInfo, drill: Option<&DrillRecord>) -> Snapshot {
        Snapshot { drill: drill.map(DrillResult::from), ..Snapshot::from(info) }
    }
}

/// `snapshots`.
#[derive(Serialize)]
pub(crate) struct Snapshots {
    pub snapshots: Vec<Snapshot>,
    pub sets: Vec<SetOf>,
    pub alarms: Vec<AlarmOf>,
}

/// `ls`.
#[derive(Serialize)]
pub(crate) struct Ls {
    #[serde(flatten)]
    of: Worked,
    files: Vec<Listed>,
    warnings: Vec<Warning>,
}

impl Ls {
    pub fn new(chosen: &Chosen, files: &[&File]) -> Ls {
        let files = files.iter().map(|file| Listed::from(*file)).collect();
        Ls { of: chosen.into(), files, warnings: warnings(&chosen.snapshot) }
    }
}

/// One path of a snapshot.
#[derive(Serialize)]
struct Listed {
    path: String,
    kind: &'static str,
    role: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    user: Option<String>,
    group: Option<String>,
    modified: String,
    size: u64,
    hash: Option<String>,
    target: Option<String>,
    suspect: Option<String>,
}

impl From<&File> for Listed {
    fn from(file: &File) -> Listed {
        Listed {
            path: file.display_path(),
            kind: match file.kind {
                FileKind::File => "file",
                FileKind::Directory => "directory",
                FileKind::Link => "link",
            },
            role: match file.role {
                Role::Other => "other",
                Role::Dump => "dump",
                Role::Manifest => "aof_manifest",
                Role::Base => "aof_base",
                Role::Incr => "aof_incr",
                Role::SingleAof => "aof",
                Role::History => "aof_history",
                Role::Config => "config",
            },
            mode: format!("{:04o}", file.mode & 0o7777),
            uid: file.uid,
            gid: file.gid,
            user: file.user.clone(),
            group: file.group.clone(),
            modified: exact(modified(file)),
            size: file.size,
            hash: file.hash.map(|hash| hash.to_string()),
            target: file.target.as_ref().map(|target| lossy(target)),
            suspect: file.suspect.clone(),
        }
    }
}

/// When a file was last modified; the epoch for a time before it.
pub(crate) fn modified(file: &File) -> UnixMillis {
    let seconds = u64::try_from(file.mtime).unwrap_or_default();
    UnixMillis(seconds.saturating_mul(1000).saturating_add(u64::from(file.mtime_nanos / 1_000_000)))
}

/// `dump` to a file.
#[derive(Serialize)]
pub(crate) struct Dump {
    #[serde(flatten)]
    pub of: Worked,
    pub path: String,
    pub bytes: u64,
    pub output: String,
}
