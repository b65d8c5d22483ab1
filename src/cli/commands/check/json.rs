//! What `check --json` prints.

use serde::Serialize;

use super::distinct;
use crate::cli::time::exact;
use crate::format::Id16;
use crate::operations::check::{CheckReport, Damage};
use crate::operations::repair::RepairReport;

/// `check`.
#[derive(Serialize)]
pub(in crate::cli) struct Check {
    sound: bool,
    read_data: bool,
    packs: u64,
    bytes_read: u64,
    snapshots: u64,
    chunks: u64,
    unindexed_packs: u64,
    damage: Vec<DamageOf>,
    elsewhere: Vec<DamageOf>,
    replaced: Vec<DamageOf>,
    lost_files: Vec<LostFile>,
    lost_chunks: Vec<Lost>,
    reading: Reading,
    repair: Option<Repair>,
}

/// Which packs were read.
#[derive(Serialize)]
struct Reading {
    packs: u64,
    skipped: u64,
    never_read: u64,
    oldest: Option<String>,
    not_kept: Option<String>,
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

/// A chunk that cannot be had, and whose files it costs.
#[derive(Serialize)]
struct Lost {
    chunk: String,
    files: Vec<LostFile>,
}

/// What a repair did.
#[derive(Serialize)]
struct Repair {
    found: Vec<DamageOf>,
    indexed_packs: Vec<String>,
    recorded_packs: Vec<String>,
    recorded_chunks: Vec<String>,
    recorded_objects: Vec<String>,
    condemned_packs: Vec<String>,
}

impl Check {
    pub fn new(report: &CheckReport, read_data: bool) -> Check {
        let chunks = report.lost_chunks.iter();
        let reading = &report.reading;
        Check {
            sound: report.is_sound(),
            read_data,
            packs: report.packs,
            bytes_read: report.bytes_read,
            snapshots: report.snapshots,
            chunks: report.chunks,
            unindexed_packs: report.unindexed_packs,
            damage: damages(&report.damage),
            elsewhere: damages(&report.elsewhere),
            replaced: damages(&report.replaced),
            lost_files: files(&report.lost_files),
            lost_chunks: chunks.map(|l| Lost { chunk: l.chunk.to_string(), files: files(&l.files) }).collect(),
            reading: Reading {
                packs: reading.packs,
                skipped: reading.skipped,
                never_read: reading.never,
                oldest: reading.oldest.map(exact),
                not_kept: reading.not_kept.clone(),
            },
            repair: None,
        }
    }

    /// What is left, and what was done.
    pub fn repaired(report: &RepairReport, read_data: bool) -> Check {
        let repair = Repair {
            found: damages(&report.found.damage),
            indexed_packs: texts(&report.indexed),
            recorded_packs: texts(&report.recorded.packs),
            recorded_chunks: texts(&report.recorded.chunks),
            recorded_objects: report.recorded.objects.clone(),
            condemned_packs: texts(&report.condemned),
        };
        Check { repair: Some(repair), ..Check::new(&report.left, read_data) }
    }
}

fn damages(damage: &[Damage]) -> Vec<DamageOf> {
    distinct(damage).into_iter().map(|d| DamageOf { object: d.object.clone(), problem: d.problem.clone() }).collect()
}

fn files(files: &[(Id16, String)]) -> Vec<LostFile> {
    files.iter().map(|(id, path)| LostFile { snapshot: id.to_string(), path: path.clone() }).collect()
}

fn texts(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}
