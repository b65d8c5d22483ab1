//! `redkeep stats`.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::human::Lean::{Left, Right};
use crate::cli::human::{facts, size, table};
use crate::cli::outcome::Outcome;
use crate::cli::{json, key_count, time};
use crate::operations::stats::{DatasetStats, Report, stats};

/// Show what the repository holds and what it costs
///
/// Shows what the repository holds and what it costs. RESTORED is the size of all snapshots if each were restored;
/// STORED is what they added to the repository; KEYS is how many keys the newest one holds, ? where that is not
/// known.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep stats
  redkeep stats --json | jq .pack_bytes

JSON:
  {\"repository\": id, \"location\", \"snapshots\": number, \"restored_bytes\",
   \"packs\": number, \"pack_bytes\", \"chunks\": number,
   \"chunk_bytes\": their size before compression, \"deltas\": number,
   \"datasets\": [{\"dataset\", \"snapshots\": number, \"restored_bytes\",
     \"stored_bytes\", \"newest\": time or null,
     \"keys\": of the newest snapshot, or null where it is not known}],
   \"alarms\": [{\"code\", \"message\"}]}
")]
pub(crate) struct Arguments {}

/// Shows sums.
pub(super) fn run(_: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    let report = stats(&repository)?;
    let (id, location) = (repository.id().to_string(), repository.location());
    let text = text(&id, &location, &report);
    Ok(Outcome::listing(text, &json::Stats::new(id, location, &report))?.with_alarms(&report.alarms))
}

fn text(id: &str, location: &str, report: &Report) -> String {
    let totals = &report.totals;
    let mut text = format!("repository {id}\n");
    text.push_str(&facts(&[
        ("location", location.into()),
        ("snapshots", format!("{}, {} if each were restored", report.snapshots, size(report.restored_bytes))),
        ("chunks", format!("{}, {} before compression", totals.chunks, size(totals.chunk_bytes))),
        ("packs", format!("{}, {}", totals.packs, size(totals.pack_bytes))),
    ]));
    if !report.datasets.is_empty() {
        let head = [
            ("DATASET", Left),
            ("SNAPSHOTS", Right),
            ("RESTORED", Right),
            ("STORED", Right),
            ("NEWEST", Left),
            ("KEYS", Right),
        ];
        let row = |(name, stats): (&String, &DatasetStats)| {
            [
                name.clone(),
                stats.snapshots.to_string(),
                size(stats.restored_bytes),
                size(stats.stored_bytes),
                stats.newest.map(time::show).unwrap_or_default(),
                stats.keys.map(key_count::cell).unwrap_or_default(),
            ]
        };
        text.push('\n');
        text.push_str(&table(head, report.datasets.iter().map(row)));
    }
    text
}
