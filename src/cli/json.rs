//! The shapes that `--json` prints. Scripts rely on them: fields may be added, never renamed or given another meaning.

pub(crate) mod key;

use serde::Serialize;

use super::time::exact;
use crate::format::UnixMillis;
use crate::format::snapshot::{self, File, FileKind, Role};
use crate::operations::changes::Changes;
use crate::operations::list::Chosen;
use crate::operations::{backup, check, restore, stats, verify};
use crate::repository::{Alarm, SnapshotInfo};

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
            Alarm::Snapshot { .. } => "snapshot",
            Alarm::Gap { .. } => "gap",
            Alarm::Rollback { .. } => "rollback",
            Alarm::State { .. } => "state",
            Alarm::NotNoted { .. } => "not_noted",
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
}

/// `backup`.
#[derive(Serialize)]
pub(crate) struct Backup {
    id: String,
    dataset: String,
    sequence: u64,
    begin: String,
    end: String,
    host: String,
    directory: String,
    tags: Vec<String>,
    files: u64,
    bytes: u64,
    new_chunks: u64,
    new_bytes: u64,
    stored_bytes: u64,
    packs: u64,
    milliseconds: u64,
    changes: Option<ChangesOf>,
    warnings: Vec<Warning>,
    suspects: Vec<Suspect>,
    alarms: Vec<AlarmOf>,
}

/// What changed since the previous snapshot.
#[derive(Serialize)]
struct ChangesOf {
    new: Vec<String>,
    changed: Vec<String>,
    gone: Vec<String>,
    unchanged: u64,
}

impl Backup {
    pub fn new(report: &backup::Report, changes: Option<Changes>) -> Backup {
        let (snapshot, summary) = (&report.snapshot, &report.snapshot.summary);
        let suspect = |file: &File| Some(Suspect { path: file.display_path(), why: file.suspect.clone()? });
        Backup {
            id: report.name.session.to_string(),
            dataset: snapshot.dataset.clone(),
            sequence: snapshot.sequence,
            begin: exact(snapshot.begin),
            end: exact(snapshot.end),
            host: snapshot.host.clone(),
            directory: lossy(&snapshot.directory),
            tags: snapshot.tags.clone(),
            files: summary.files,
            bytes: summary.bytes,
            new_chunks: summary.new_chunks,
            new_bytes: summary.new_bytes,
            stored_bytes: summary.stored_bytes,
            packs: summary.packs,
            milliseconds: summary.millis,
            changes: changes.map(|Changes { new, changed, gone, unchanged }| ChangesOf {
                new,
                changed,
                gone,
                unchanged,
            }),
            warnings: warnings(snapshot),
            suspects: snapshot.suspects().filter_map(suspect).collect(),
            alarms: alarms(&report.alarms),
        }
    }
}

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
    warnings: u64,
}

impl From<&SnapshotInfo> for Snapshot {
    fn from(info: &SnapshotInfo) -> Snapshot {
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
            warnings: info.warnings,
        }
    }
}

/// `snapshots`.
#[derive(Serialize)]
pub(crate) struct Snapshots {
    pub snapshots: Vec<Snapshot>,
    pub alarms: Vec<AlarmOf>,
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

/// `check`.
#[derive(Serialize)]
pub(crate) struct Check {
    sound: bool,
    read_data: bool,
    packs: u64,
    bytes_read: u64,
    snapshots: u64,
    chunks: u64,
    unindexed_packs: u64,
    damage: Vec<DamageOf>,
    lost_files: Vec<LostFile>,
}

/// An object that is damaged or missing.
#[derive(Serialize)]
struct DamageOf {
    object: String,
    problem: String,
}

/// A file that cannot be restored whole.
#[derive(Serialize)]
struct LostFile {
    snapshot: String,
    path: String,
}

impl Check {
    pub fn new(report: &check::CheckReport, read_data: bool) -> Check {
        let damage = report.damage.iter();
        let lost = report.lost_files.iter();
        Check {
            sound: report.damage.is_empty() && report.lost_files.is_empty(),
            read_data,
            packs: report.packs,
            bytes_read: report.bytes_read,
            snapshots: report.snapshots,
            chunks: report.chunks,
            unindexed_packs: report.unindexed_packs,
            damage: damage.map(|d| DamageOf { object: d.object.clone(), problem: d.problem.clone() }).collect(),
            lost_files: lost.map(|(id, path)| LostFile { snapshot: id.to_string(), path: path.clone() }).collect(),
        }
    }
}

/// `stats`.
#[derive(Serialize)]
pub(crate) struct Stats {
    repository: String,
    location: String,
    snapshots: u64,
    restored_bytes: u64,
    packs: u64,
    pack_bytes: u64,
    chunks: u64,
    chunk_bytes: u64,
    deltas: u64,
    datasets: Vec<Dataset>,
    alarms: Vec<AlarmOf>,
}

/// What the repository holds of one dataset.
#[derive(Serialize)]
struct Dataset {
    dataset: String,
    snapshots: u64,
    restored_bytes: u64,
    stored_bytes: u64,
    newest: Option<String>,
}

impl Stats {
    pub fn new(repository: String, location: String, report: &stats::Report) -> Stats {
        let one = |(name, stats): (&String, &stats::DatasetStats)| Dataset {
            dataset: name.clone(),
            snapshots: stats.snapshots,
            restored_bytes: stats.restored_bytes,
            stored_bytes: stats.stored_bytes,
            newest: stats.newest.map(exact),
        };
        Stats {
            repository,
            location,
            snapshots: report.snapshots,
            restored_bytes: report.restored_bytes,
            packs: report.totals.packs,
            pack_bytes: report.totals.pack_bytes,
            chunks: report.totals.chunks,
            chunk_bytes: report.totals.chunk_bytes,
            deltas: report.totals.deltas,
            datasets: report.datasets.iter().map(one).collect(),
            alarms: alarms(&report.alarms),
        }
    }
}

/// `man --out-dir`.
#[derive(Serialize)]
pub(crate) struct Pages {
    pub pages: Vec<String>,
}
