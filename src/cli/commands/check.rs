//! `redkeep check`.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::human::{count, plain, short, size};
use crate::cli::json;
use crate::cli::outcome::Outcome;
use crate::operations::check::{CheckDepth, CheckReport, check};

/// Check the repository itself
///
/// Checks that everything a snapshot needs is in the repository and, with --read-data, that every byte of it is what was
/// stored. Ends with 4 where something is damaged or missing, and names each object and each file that is lost with it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep check
  redkeep check --read-data

JSON:
  {\"sound\": bool, \"read_data\": bool, \"packs\": number, \"bytes_read\",
   \"snapshots\": number, \"chunks\": number, \"unindexed_packs\": number,
   \"damage\": [{\"object\", \"problem\"}],
   \"lost_files\": [{\"snapshot\": id, \"path\"}]}
")]
pub(crate) struct Arguments {
    /// Also read every pack and compare every chunk in it
    #[arg(long)]
    read_data: bool,
}

/// Checks the repository.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    context.progress.stop_in_order();
    let depth = if arguments.read_data { CheckDepth::Data } else { CheckDepth::Structure };
    let report = check(&repository, depth, &context.progress)?;
    let json = json::Check::new(&report, arguments.read_data);
    let is_damaged = !is_sound(&report);
    let text = text(&report, depth);
    let outcome = if is_damaged { Outcome::listing(text, &json)? } else { Outcome::deed(text, &json)? };
    Ok(outcome.with_damage(is_damaged))
}

fn is_sound(report: &CheckReport) -> bool {
    report.damage.is_empty() && report.lost_files.is_empty()
}

fn text(report: &CheckReport, depth: CheckDepth) -> String {
    let read = match depth {
        CheckDepth::Data => format!("read {}", size(report.bytes_read)),
        CheckDepth::Structure => "not read".into(),
    };
    let mut text = format!(
        "checked {} ({read}), {}, {}\n",
        count(report.packs, "pack"),
        count(report.snapshots, "snapshot"),
        count(report.chunks, "chunk")
    );
    if report.unindexed_packs > 0 {
        let packs = count(report.unindexed_packs, "pack");
        text.push_str(&format!("{packs} in no index, as an interrupted backup leaves: no harm\n"));
    }
    for damage in &report.damage {
        text.push_str(&format!("damaged: {}: {}\n", plain(&damage.object), plain(&damage.problem)));
    }
    for (id, path) in &report.lost_files {
        text.push_str(&format!("lost: {} {}\n", short(id), plain(path)));
    }
    text.push_str(&verdict(report, depth));
    text
}

fn verdict(report: &CheckReport, depth: CheckDepth) -> String {
    if is_sound(report) {
        return match depth {
            CheckDepth::Data => "the repository is sound\n".into(),
            CheckDepth::Structure => "no damage found; --read-data would also read the packs\n".into(),
        };
    }
    let mut snapshots: Vec<_> = report.lost_files.iter().map(|(id, _)| id).collect();
    snapshots.sort();
    snapshots.dedup();
    let objects = count(report.damage.len() as u64, "object");
    let lost = match report.lost_files.len() as u64 {
        0 => "no file of a snapshot is lost".into(),
        files => format!("{} of {} lost", count(files, "file"), count(snapshots.len() as u64, "snapshot")),
    };
    format!("the repository is DAMAGED: {objects}, {lost}\n")
}
