//! What `check` and `stats` answer.

use serde::Serialize;

use super::{AlarmOf, alarms};
use crate::cli::time::exact;
use crate::operations::{check, stats};

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
