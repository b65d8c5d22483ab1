//! What `stats` answers.

use serde::Serialize;

use super::kinds::{FormOf, Kinds, kinds};
use super::snapshots::Snapshot;
use super::{AlarmOf, alarms, text};
use crate::cli::time::exact;
use crate::format::counts::KeyCount;
use crate::operations::look_up::{Largest, LargestKey, LargestPrefix};
use crate::operations::stats;
use crate::repository::{Alarm, Alone, Owned, SnapshotInfo, Used};

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

/// `stats --snapshots`.
#[derive(Serialize)]
pub(crate) struct SnapshotStats<'a> {
    pub repository: String,
    pub location: String,
    pub pack_bytes: u64,
    several_bytes: Option<u64>,
    reclaimable_bytes: Option<u64>,
    snapshots: Vec<CostOf>,
    alarms: Vec<AlarmOf>,
    #[serde(skip)]
    owned: Option<&'a Owned>,
}

impl<'a> SnapshotStats<'a> {
    /// Without a snapshot.
    pub fn new(repository: String, location: String, pack_bytes: u64, owned: Option<&'a Owned>, of: &[Alarm]) -> Self {
        SnapshotStats {
            repository,
            location,
            pack_bytes,
            several_bytes: owned.map(|owned| owned.several),
            reclaimable_bytes: owned.map(|owned| owned.unneeded),
            snapshots: Vec::new(),
            alarms: alarms(of),
            owned,
        }
    }

    /// Adds the snapshot that is so many behind the first.
    pub fn add(&mut self, number: usize, info: &SnapshotInfo) {
        self.snapshots.push(CostOf::new(info, self.owned.and_then(|owned| owned.snapshots.get(number))));
    }
}

/// A snapshot and what it costs.
#[derive(Serialize)]
pub(crate) struct CostOf {
    #[serde(flatten)]
    snapshot: Snapshot,
    freed_bytes: Option<u64>,
    base_bytes: Option<u64>,
}

impl CostOf {
    pub fn new(info: &SnapshotInfo, alone: Option<&Alone>) -> CostOf {
        CostOf {
            snapshot: Snapshot::from(info),
            freed_bytes: alone.map(|alone| alone.freed),
            base_bytes: alone.map(|alone| alone.bases),
        }
    }
}

/// `stats SNAPSHOT`.
#[derive(Serialize)]
pub(crate) struct SnapshotLargest {
    snapshot: CostOf,
    dump_keys: u64,
    dump_bytes: u64,
    largest_keys: Vec<KeyOf>,
    largest_prefixes: Option<Vec<PrefixOf>>,
    unread: Option<String>,
    alarms: Vec<AlarmOf>,
}

#[derive(Serialize)]
struct KeyOf {
    db: u64,
    key: serde_json::Value,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    bytes: u64,
}

#[derive(Serialize)]
struct PrefixOf {
    db: u64,
    prefix: serde_json::Value,
    keys: u64,
    bytes: u64,
}

impl SnapshotLargest {
    pub fn new(snapshot: CostOf, found: &Largest, of: &[Alarm]) -> SnapshotLargest {
        let key =
            |key: &LargestKey| KeyOf { db: key.database.0, key: text(&key.key.0), kind: key.kind, bytes: key.size };
        let prefix = |prefix: &LargestPrefix| PrefixOf {
            db: prefix.database.0,
            prefix: text(&prefix.prefix.0),
            keys: prefix.keys,
            bytes: prefix.size,
        };
        SnapshotLargest {
            snapshot,
            dump_keys: found.keys,
            dump_bytes: found.size,
            largest_keys: found.largest.iter().map(key).collect(),
            largest_prefixes: found.prefixes.as_ref().map(|found| found.iter().map(prefix).collect()),
            unread: found.unread.clone(),
            alarms: alarms(of),
        }
    }
}
