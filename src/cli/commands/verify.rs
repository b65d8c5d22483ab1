//! `redkeep verify`.

use clap::Args;

use super::pick;
use crate::cli::args::OneSnapshot;
use crate::cli::context::Context;
use crate::cli::human::Lean::{Left, Right};
use crate::cli::human::{count, short, size, table};
use crate::cli::json;
use crate::cli::outcome::Outcome;
use crate::operations::list::Chosen;
use crate::operations::verify::{Report, Verified, verify};

/// Rebuild every file of a snapshot and read its structure, without writing it
///
/// Rebuilds every file of a snapshot without writing it, compares it with what was stored, and reads its structure as a
/// server would. Ends with 4 where a file cannot be rebuilt, with 3 where one was suspect when it was stored.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep verify
  redkeep verify latest~1 --dataset sessions

JSON:
  {\"snapshot\": id, \"dataset\", \"begin\", \"whole\": bool,
   \"files\": [{\"path\", \"bytes\", \"damage\": why it cannot be rebuilt or null,
     \"suspect\": why or null}],
   \"made_good\": [text about damage that another copy made good],
   \"alarms\": [{\"code\", \"message\"}]}
")]
pub(crate) struct Arguments {
    #[command(flatten)]
    one: OneSnapshot,
}

/// Verifies a snapshot.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    context.progress.stop_in_order();
    let chosen = pick(context, &repository, &arguments.one.snapshot, arguments.one.of.dataset.as_deref())?;
    let report = verify(&repository, &chosen, &context.progress)?;
    let suspects = report.files.iter().filter_map(|file| Some(format!("{}: {}", file.path, file.suspect.as_ref()?)));
    let outcome = Outcome::deed(text(&chosen, &report), &json::Verify::new(&chosen, &report))?;
    let outcome = outcome.with_warnings(suspects).with_made_good(&report.made_good).with_alarms(&chosen.alarms);
    let damage = report.files.iter().filter_map(|file| Some(format!("{}: {}", file.path, file.damage.as_ref()?)));
    Ok(outcome.with_warnings(damage).with_damage(!report.is_whole()))
}

fn text(chosen: &Chosen, report: &Report) -> String {
    let row = |file: &Verified| {
        let state = match (&file.damage, &file.suspect) {
            (Some(_), _) => "damaged",
            (None, Some(_)) => "whole, but suspect",
            (None, None) => "whole",
        };
        [size(file.bytes), file.path.clone(), state.into()]
    };
    let mut text = table([("SIZE", Right), ("PATH", Left), ("STATE", Left)], report.files.iter().map(row));
    let id = short(&chosen.name.session);
    let damaged = report.files.iter().filter(|file| file.damage.is_some()).count() as u64;
    let files = count(report.files.len() as u64, "file");
    text.push_str(&match damaged {
        0 => format!("snapshot {id} can be restored whole: {files} compared\n"),
        _ => format!("snapshot {id} cannot be restored whole: {damaged} of {files} damaged\n"),
    });
    text
}
