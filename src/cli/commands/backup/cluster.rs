//! `redkeep backup --cluster`.

use serde::Serialize;

use super::{Changes, in_short, warning};
use crate::cli::context::Context;
use crate::cli::human::{count, facts, plain, short};
use crate::cli::json;
use crate::cli::outcome::Outcome;
use crate::operations::backup::cluster::{ShardReport, backup_cluster};
use crate::operations::backup::{Options, Report};
use crate::operations::changes::since_previous;
use crate::operations::source::LiveSource;
use crate::repository::{Alarm, Repository, one_line};

/// What it answers.
#[derive(Serialize)]
struct Json {
    set: SetOf,
    snapshots: Vec<json::Backup>,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct SetOf {
    id: String,
    name: String,
    shards: usize,
    complete: bool,
    skew_ms: Option<u64>,
}

/// A shard of which there is no snapshot.
#[derive(Serialize)]
struct Failed {
    slots: String,
    server: String,
    why: String,
}

/// Takes a snapshot of each shard.
pub(super) fn run(
    repository: &Repository,
    seed: &LiveSource,
    options: &Options,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let report = backup_cluster(repository, seed, options, &context.progress)?;
    let mut told = Told { warnings: report.warnings.iter().map(warning).collect(), ..Told::default() };
    let skew = report.skew();
    told.lines.push(("skew", said_of_skew(skew)));
    report.shards.iter().for_each(|shard| told.add(repository, shard));
    let (id, shards) = (short(&report.set), count(report.shards.len() as u64, "shard"));
    let title = format!("set {id} of {}: {} of {shards}", plain(&report.name), told.snapshots.len());
    let set = SetOf {
        id: report.set.to_string(),
        name: report.name.clone(),
        shards: report.shards.len(),
        complete: told.failed.is_empty(),
        skew_ms: skew,
    };
    let text = format!("{title}\n{}", facts(&told.lines));
    let json = Json { set, snapshots: told.snapshots, failed: told.failed };
    let outcome = Outcome::deed(text, &json)?.in_short(title);
    Ok(outcome.with_warnings(told.warnings).with_alarms(&told.alarms))
}

/// How far the moments of a set are from each other.
fn said_of_skew(skew: Option<u64>) -> String {
    let skew = skew.map_or("an unknown time".into(), |skew| format!("{skew} ms"));
    format!("{skew} between the first and the last moment: the set is no consistent cut across its shards")
}

/// What is told of all shards.
#[derive(Default)]
struct Told {
    lines: Vec<(&'static str, String)>,
    snapshots: Vec<json::Backup>,
    failed: Vec<Failed>,
    warnings: Vec<String>,
    alarms: Vec<Alarm>,
}

impl Told {
    fn add(&mut self, repository: &Repository, shard: &ShardReport) {
        let ShardReport { slots, server, result } = shard;
        match result {
            Ok(report) => {
                self.lines.push(("shard", format!("slots {slots} at {server}: {}", in_short(report))));
                self.add_snapshot(repository, slots, report);
            }
            Err(error) => {
                let why = one_line(error);
                let hint = error.hint().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
                self.lines.push(("shard", format!("slots {slots} at {server}: not captured")));
                self.warnings
                    .push(format!("the set is incomplete: slots {slots} at {server} were not captured: {why}{hint}"));
                self.failed.push(Failed { slots: slots.clone(), server: server.clone(), why });
            }
        }
    }

    fn add_snapshot(&mut self, repository: &Repository, slots: &str, report: &Report) {
        // The snapshot is committed: what cannot be compared now is a warning.
        let (changes, trouble): (Option<Changes>, Option<String>) = match since_previous(repository, &report.snapshot) {
            Ok(changes) => (changes, None),
            Err(error) => (None, Some(format!("cannot compare with the previous snapshot: {}", one_line(&error)))),
        };
        self.snapshots.push(json::Backup::new(report, changes));
        // Those of the set are told once.
        let own = report.snapshot.warnings.iter().filter(|own| !own.code.starts_with("cluster-")).map(warning);
        let own = own.chain(trouble).chain(report.left_behind.clone());
        self.warnings.extend(own.map(|what| format!("slots {slots}: {what}")));
        for alarm in &report.alarms {
            if !self.alarms.contains(alarm) {
                self.alarms.push(alarm.clone());
            }
        }
    }
}
