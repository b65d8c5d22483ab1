//! `redkeep undelete`.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::exit::Hinted;
use crate::cli::human::{count, facts, plain, short, size};
use crate::cli::outcome::Outcome;
use crate::cli::{json, selector, time};
use crate::operations::OperationError;
use crate::operations::list::Selector;
use crate::operations::undelete::{Report, undelete};

/// Bring back a forgotten snapshot
///
/// Brings back a snapshot that was forgotten, as long as all it needs is there: with certainty for 24 hours. It gets a
/// new id, and stands where it stood: an older snapshot does not become the latest.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep snapshots --forgotten
  redkeep undelete 8f3a09c2

JSON:
  {\"old\": id, \"new\": id, \"dataset\", \"begin\",
   \"was_there\": whether it had been brought back before,
   \"alarms\": [{\"code\", \"message\"}]}
")]
pub(crate) struct Arguments {
    /// The forgotten snapshot: the begin of its id
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
    let report = undelete(&repository, &arguments.snapshot, &context.progress).map_err(|error| match error {
        OperationError::NoSnapshot { .. } => {
            Hinted::new(error, "list forgotten ones with: redkeep snapshots --forgotten").into()
        }
        other => anyhow::Error::new(other),
    })?;
    Ok(Outcome::deed(text(&report), &json::Undelete::from(&report))?.with_alarms(&report.alarms))
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
