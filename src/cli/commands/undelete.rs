//! `redkeep undelete`.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::exit::Hinted;
use crate::cli::human::{count, facts, plain, short, size};
use crate::cli::outcome::Outcome;
use crate::cli::{json, selector, time};
use crate::operations::OperationError;
use crate::operations::list::Selector;
use crate::operations::undelete::{Report, SetReport, undelete, undelete_set};

/// Bring back a forgotten snapshot
///
/// Brings back a snapshot that was forgotten, as long as all it needs is there: with certainty for 24 hours. It gets a
/// new id, and stands where it stood: an older snapshot does not become the latest. Of a set all that was forgotten comes
/// back, and the set keeps its id.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep snapshots --forgotten
  redkeep undelete 8f3a09c2

JSON:
  {\"old\": id, \"new\": id, \"dataset\", \"begin\",
   \"was_there\": whether it had been brought back before,
   \"alarms\": [{\"code\", \"message\"}]}
  Of a set (redkeep backup --cluster):
  {\"set\": id, \"name\", \"snapshots\": [as above], \"missing\": [slots of
   shards that are not back], \"alarms\"}
")]
pub(crate) struct Arguments {
    /// The forgotten snapshot, or set: the begin of its id
    #[arg(value_parser = forgotten_id, value_name = "SNAPSHOT")]
    snapshot: String,
}

fn forgotten_id(text: &str) -> Result<String, String> {
    match selector::parse(text)? {
        Selector::Id(prefix) => Ok(prefix),
        Selector::Latest(_) | Selector::At(_) => Err("name a forgotten snapshot by its id".into()),
    }
}

/// Brings back a snapshot.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    context.progress.stop_in_order();
    if let Some(report) = undelete_set(&repository, &arguments.snapshot, &context.progress)? {
        return of_set(&report);
    }
    let report = undelete(&repository, &arguments.snapshot, &context.progress).map_err(|error| match error {
        OperationError::NoSnapshot { .. } => {
            Hinted::new(error, "list forgotten ones with: redkeep snapshots --forgotten").into()
        }
        other => anyhow::Error::new(other),
    })?;
    Ok(Outcome::deed(text(&report), &json::Undelete::from(&report))?.with_alarms(&report.alarms))
}

/// What is answered of a set.
fn of_set(report: &SetReport) -> anyhow::Result<Outcome> {
    let (id, name) = (short(&report.set), plain(&report.name));
    let told = match report.snapshots.len() as u64 {
        0 => format!("of set {id} of {name} nothing is to be brought back\n"),
        number => format!("set {id} of {name} is back: {}\n", count(number, "snapshot")),
    };
    let text: String = report.snapshots.iter().map(text).chain([told]).collect();
    let snapshots: Vec<json::Undelete> = report.snapshots.iter().map(json::Undelete::from).collect();
    let object = serde_json::json!({
        "set": report.set.to_string(),
        "name": report.name,
        "snapshots": snapshots,
        "missing": report.missing,
        "alarms": json::alarms(&report.alarms),
    });
    let lacks =
        |slots: &String| format!("the set is incomplete: of the shard of the slots {slots} no snapshot is left");
    let alarms = report.snapshots.iter().flat_map(|one| &one.alarms).chain(&report.alarms);
    let mut alarms: Vec<_> = alarms.cloned().collect();
    alarms.dedup();
    Ok(Outcome::deed(text, &object)?.with_warnings(report.missing.iter().map(lacks)).with_alarms(&alarms))
}

fn text(report: &Report) -> String {
    let Report { old, new, snapshot, .. } = report;
    let did = if report.was_there { "was brought back before, as" } else { "is back as" };
    let summary = &snapshot.summary;
    let lines = [
        ("taken", time::show(snapshot.captured_at())),
        ("holds", format!("{}, {}", count(summary.files, "file"), size(summary.bytes))),
    ];
    let (old, new, dataset) = (short(&old.session), short(&new.session), plain(&snapshot.dataset));
    format!("snapshot {old} of {dataset} {did} {new}\n{}", facts(&lines))
}
