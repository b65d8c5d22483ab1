//! `redkeep snapshots`.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::human::Lean::{Left, Right};
use crate::cli::human::{count, short, size, table};
use crate::cli::outcome::Outcome;
use crate::cli::{json, time};
use crate::format::UnixMillis;
use crate::operations::list::{Filter, snapshots};
use crate::repository::SnapshotInfo;

/// Lists snapshots, by dataset and age. SIZE is what a restore brings back; NEW is what the snapshot added to the
/// repository.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep snapshots
  redkeep snapshots --dataset sessions --since 'yesterday 00:00'
  redkeep snapshots --json | jq -r '.snapshots[-1].id'

JSON:
  {\"snapshots\": [{\"id\", \"dataset\", \"sequence\": number from 1, \"begin\", \"end\", \"moment\" or null, \"host\",
                  \"directory\", \"tags\": [text], \"files\", \"bytes\", \"new_bytes\", \"stored_bytes\",
                  \"warnings\": how many}],
   \"alarms\": [{\"code\", \"message\"}]}
")]
pub(crate) struct Arguments {
    /// Only of this dataset
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Only those that began at TIME or later
    #[arg(long, value_name = "TIME", value_parser = time::parse_now)]
    since: Option<UnixMillis>,
    /// Only those with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
}

/// Lists snapshots.
pub(super) fn run(arguments: Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    let Arguments { dataset, since, tag } = arguments;
    let (infos, alarms) = snapshots(&repository, &Filter { dataset, since, tag })?;
    let json =
        json::Snapshots { snapshots: infos.iter().map(json::Snapshot::from).collect(), alarms: json::alarms(&alarms) };
    let since = since.map(|since| format!("snapshots since {}", time::show(since)));
    let none = infos.is_empty().then(|| "no snapshot fits".to_string());
    let text = if infos.is_empty() { String::new() } else { text(&infos) };
    Ok(Outcome::listing(text, &json)?.with_notes(since).with_notes(none).with_alarms(&alarms))
}

fn text(infos: &[SnapshotInfo]) -> String {
    let head = [
        ("ID", Left),
        ("TIME", Left),
        ("DATASET", Left),
        ("FILES", Right),
        ("SIZE", Right),
        ("NEW", Right),
        ("TAGS", Left),
        ("NOTES", Left),
    ];
    let row = |info: &SnapshotInfo| {
        [
            short(&info.name.session),
            time::show(info.moment.unwrap_or(info.begin)),
            info.dataset.clone(),
            info.files.to_string(),
            size(info.bytes),
            size(info.stored_bytes),
            info.tags.join(", "),
            if info.warnings == 0 { String::new() } else { count(info.warnings, "warning") },
        ]
    };
    table(head, infos.iter().map(row))
}
