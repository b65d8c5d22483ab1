//! What `backup` answers.

use std::time::Duration;

use serde::Serialize;

use super::kinds::{FormOf, Kinds, kinds};
use super::{AlarmOf, Drill, Suspect, Warning, alarms, lossy, warnings};
use crate::cli::key_count;
use crate::cli::time::exact;
use crate::format::counts::KeyCount;
use crate::format::snapshot::{File, Snapshot};
use crate::operations::backup;
use crate::operations::changes::Changes;
use crate::redis::{Left, Whose, Why};
use crate::repository::Told;

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
    moment: Option<String>,
    final_at: Option<String>,
    mode: String,
    replication: Option<ReplicationOf>,
    holds: String,
    tags: Vec<String>,
    files: u64,
    bytes: u64,
    keys: Option<u64>,
    keys_counted: &'static str,
    new_chunks: u64,
    new_bytes: u64,
    stored_bytes: u64,
    stored: Kinds,
    table_bytes: u64,
    forms: Vec<FormOf>,
    packs: u64,
    milliseconds: u64,
    seconds: SpentOf,
    unread_files: u64,
    unread_bytes: u64,
    changes: Option<ChangesOf>,
    left_out: Vec<LeftOutOf>,
    left_out_more: u64,
    unfinished_bytes: u64,
    warnings: Vec<Warning>,
    suspects: Vec<Suspect>,
    alarms: Vec<AlarmOf>,
    pub drill: Option<Drill>,
}

/// Of which replication a dump is that the server sent.
#[derive(Serialize)]
struct ReplicationOf {
    id: Option<String>,
    offset: Option<u64>,
    payload: String,
}

impl ReplicationOf {
    fn of(snapshot: &Snapshot) -> Option<Self> {
        let fact = |name: &str| snapshot.facts.get(name).cloned();
        let offset = fact("sync.repl-offset").and_then(|text| text.parse().ok());
        Some(Self { id: fact("sync.repl-id"), offset, payload: fact("sync.payload")? })
    }
}

/// What stands in the directory and was not taken.
#[derive(Serialize)]
struct LeftOutOf {
    path: String,
    why: &'static str,
}

/// What took how long, in seconds.
#[derive(Serialize)]
struct SpentOf {
    capture: f64,
    begin: f64,
    read: f64,
    store: f64,
    commit: f64,
}

impl SpentOf {
    fn of(spent: &backup::Spent) -> Self {
        let seconds = |part: Duration| part.as_millis() as f64 / 1000.0;
        let backup::Spent { capture, begin, read, store, commit } = *spent;
        let [capture, begin, read, store, commit] = [capture, begin, read, store, commit].map(seconds);
        Self { capture, begin, read, store, commit }
    }
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
        let keys = KeyCount::of(snapshot);
        let told = Told::of(snapshot);
        let (stored, table_bytes) = kinds(&summary.new, summary.stored_bytes);
        let suspect = |file: &File| Some(Suspect { path: file.display_path(), why: file.suspect.clone()? });
        Backup {
            id: report.name.session.to_string(),
            dataset: snapshot.dataset.clone(),
            sequence: snapshot.sequence,
            begin: exact(snapshot.begin),
            end: exact(snapshot.end),
            host: snapshot.host.clone(),
            directory: lossy(&snapshot.directory),
            moment: snapshot.moment.map(exact),
            final_at: report.final_at.map(exact),
            mode: snapshot.facts.get("capture.mode").cloned().unwrap_or_default(),
            replication: ReplicationOf::of(snapshot),
            holds: snapshot.facts.get("authoritative").cloned().unwrap_or_default(),
            tags: snapshot.tags.clone(),
            unread_files: report.unread_files,
            unread_bytes: report.unread_bytes,
            files: summary.files,
            bytes: summary.bytes,
            keys: keys.keys(),
            keys_counted: key_count::word(keys),
            new_chunks: summary.new_chunks,
            new_bytes: summary.new_bytes,
            stored_bytes: summary.stored_bytes,
            stored,
            table_bytes,
            forms: told.forms.iter().map(FormOf::from).collect(),
            packs: summary.packs,
            milliseconds: summary.millis,
            seconds: SpentOf::of(&report.spent),
            changes: changes.map(|Changes { new, changed, gone, unchanged }| ChangesOf {
                new,
                changed,
                gone,
                unchanged,
            }),
            left_out: report.left_out.named.iter().map(LeftOutOf::of).collect(),
            left_out_more: report.left_out.more,
            unfinished_bytes: snapshot.facts.get("aof.unfinished").and_then(|bytes| bytes.parse().ok()).unwrap_or(0),
            warnings: warnings(snapshot),
            suspects: snapshot.suspects().filter_map(suspect).collect(),
            alarms: alarms(&report.alarms),
            drill: None,
        }
    }
}

impl LeftOutOf {
    fn of(left: &Left) -> Self {
        let why = match left.why {
            Why::Own(Whose::Repository) => "repository",
            Why::Own(Whose::AnotherRepository) => "another-repository",
            Why::Own(Whose::Cache) => "cache",
            Why::Own(Whose::State) => "state",
            Why::Own(Whose::AnotherPlace) => "another-cache-or-state",
            Why::OtherFileSystem => "other-file-system",
            Why::NotOfDataset => "not-of-dataset",
        };
        Self { path: lossy(&left.path), why }
    }
}
