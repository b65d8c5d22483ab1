//! What `stats` answers.

use serde::Serialize;

use super::kinds::{FormOf, Kinds, kinds};
use super::{AlarmOf, alarms};
use crate::cli::time::exact;
use crate::format::counts::KeyCount;
use crate::operations::stats;
use crate::repository::Used;

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
    shared_bytes: Option<u64>,
    base_bytes: Option<u64>,
    reclaimable_bytes: Option<u64>,
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
    stored: Kinds,
    table_bytes: u64,
    forms: Vec<FormOf>,
    unique_bytes: Option<u64>,
    shared_bytes: Option<u64>,
    newest: Option<String>,
    keys: Option<u64>,
}

impl Stats {
    pub fn new(repository: String, location: String, report: &stats::Report, usage: Option<&Used>) -> Stats {
        let of = |name: &String| usage.and_then(|(datasets, _)| datasets.get(name));
        let all = usage.map(|(_, all)| all);
        let one = |(name, stats): (&String, &stats::DatasetStats)| {
            let (stored, table_bytes) = kinds(&Some(stats.new.clone()), stats.stored_bytes);
            Dataset {
                dataset: name.clone(),
                snapshots: stats.snapshots,
                restored_bytes: stats.restored_bytes,
                stored_bytes: stats.stored_bytes,
                stored,
                table_bytes,
                forms: stats.forms.iter().map(FormOf::from).collect(),
                unique_bytes: of(name).map(|usage| usage.unique),
                shared_bytes: of(name).map(|usage| usage.shared),
                newest: stats.newest.map(exact),
                keys: stats.keys.and_then(KeyCount::keys),
            }
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
            shared_bytes: all.map(|all| all.shared),
            base_bytes: all.map(|all| all.bases),
            reclaimable_bytes: all.map(|all| all.unneeded),
            datasets: report.datasets.iter().map(one).collect(),
            alarms: alarms(&report.alarms),
        }
    }
}
