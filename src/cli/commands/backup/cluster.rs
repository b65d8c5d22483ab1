//! `redkeep backup --cluster`.

use serde::Serialize;

use super::answer::{in_short, warning};
use super::{Drill, drill, no_drill};
use crate::cli::context::Context;
use crate::cli::human::{count, facts, plain, short};
use crate::cli::json;
use crate::cli::outcome::Outcome;
use crate::operations::OperationError;
use crate::operations::backup::cluster::{ClusterReport, ShardReport, backup_cluster};
use crate::operations::backup::{Options, Report};
use crate::operations::changes::{Changes, since_previous};
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

/// Takes a snapshot of each shard, drills each that was taken, and says what that answers.
pub(in crate::cli::commands) fn done(
    repository: &Repository,
    seed: &LiveSource,
    options: &Options,
    drill: Option<&Drill<'_>>,
    context: &Context,
) -> anyhow::Result<(ClusterReport, Outcome)> {
    let report = backup_cluster(repository, seed, options, &context.progress)?;
    let mut told = Told { warnings: report.warnings.iter().map(warning).collect(), ..Told::default() };
    let skew = report.skew();
    told.lines.push(("skew", said_of_skew(skew)));
    report.shards.iter().for_each(|shard| told.add(repository, shard, drill));
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
    let outcome = outcome.with_warnings(told.warnings).with_alarms(&told.alarms).with_damage(told.is_damaged);
    Ok((report, outcome))
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
    /// Whether a drill failed.
    is_damaged: bool,
}

impl Told {
    fn add(&mut self, repository: &Repository, shard: &ShardReport, drill: Option<&Drill<'_>>) {
        let ShardReport { slots, server, result } = shard;
        match result {
            Ok(report) => {
                self.lines.push(("shard", format!("slots {slots} at {server}: {}", in_short(report))));
                let drilled = drill.and_then(|drill| self.drilled(slots, drill(report)));
                self.add_snapshot(repository, slots, report, drilled);
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

    /// What a drill of a shard answers; `None`: there was none, which is told.
    fn drilled(&mut self, slots: &str, drilled: Result<drill::Report, OperationError>) -> Option<json::Drill> {
        match drilled {
            Ok(report) => {
                self.lines.push(("drill", format!("slots {slots}: {}", drill::in_short(&report))));
                self.warnings.extend(drill::warnings(&report).into_iter().map(|what| format!("slots {slots}: {what}")));
                self.is_damaged |= !report.passed();
                Some(json::Drill::from(&report))
            }
            Err(error) => {
                self.is_damaged |= error.is_damage();
                self.warnings.push(format!("slots {slots}: {}", no_drill(error)));
                None
            }
        }
    }

    fn add_snapshot(&mut self, repository: &Repository, slots: &str, report: &Report, drilled: Option<json::Drill>) {
        // The snapshot is committed: what cannot be compared now is a warning.
        let (changes, trouble): (Option<Changes>, Option<String>) = match since_previous(repository, &report.snapshot) {
            Ok(changes) => (changes, None),
            Err(error) => (None, Some(format!("cannot compare with the previous snapshot: {}", one_line(&error)))),
        };
        let mut json = json::Backup::new(report, changes);
        json.drill = drilled;
        self.snapshots.push(json);
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
