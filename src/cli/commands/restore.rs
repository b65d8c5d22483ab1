//! `redkeep restore`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::pick;
use crate::cli::args::OneSnapshot;
use crate::cli::context::Context;
use crate::cli::human::{count, facts, plain, short, size};
use crate::cli::outcome::Outcome;
use crate::cli::{json, time};
use crate::operations::list::Chosen;
use crate::operations::restore::{self, Options, Report, restore};

/// Put a snapshot's files into a directory
///
/// Puts the files of a snapshot into a directory: all of them, compared with what was stored, or nothing. What stood
/// there is kept beside it, and `redkeep undo` puts it back. A directory that a running server uses is not touched.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep restore --target /var/lib/redis
  redkeep restore latest~1 --target /tmp/yesterday
  redkeep restore '@2026-11-20 14:05' --target /var/lib/redis --dry-run

JSON:
  {\"snapshot\": id, \"dataset\", \"begin\", \"target\": path, \"files\": number,
   \"bytes\", \"aside\": where what stood there is kept (in a dry run: what
     would be replaced) or null,
   \"unset\": [text about owners that could not be set],
   \"made_good\": [text about damage repaired from other copies],
   \"suspects\": [{\"path\", \"why\"}], \"dry_run\": bool,
   \"alarms\": [{\"code\", \"message\"}]}
")]
pub(crate) struct Arguments {
    #[command(flatten)]
    one: OneSnapshot,
    /// The directory that will hold the files
    #[arg(long, short, value_name = "DIR")]
    target: PathBuf,
    /// Take only this of the two datasets, where a snapshot holds both
    #[arg(long, value_name = "WHICH")]
    from: Option<From>,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Which dataset of a snapshot.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum From {
    /// The dump, without AOF files
    Rdb,
    /// The AOF, without the dump
    Aof,
}

impl From {
    /// The same for the operation.
    pub fn of(self) -> restore::From {
        match self {
            From::Rdb => restore::From::Rdb,
            From::Aof => restore::From::Aof,
        }
    }
}

/// Restores a snapshot.
pub(super) fn run(arguments: Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    context.progress.stop_in_order();
    let chosen = pick(context, &repository, &arguments.one.snapshot, arguments.one.of.dataset.as_deref())?;
    let from = arguments.from.map(From::of);
    let options = Options { target: arguments.target, from, dry_run: arguments.dry_run };
    let report = restore(&repository, &chosen, &options, &context.progress)?;
    let suspects = report.suspects.iter().map(|(path, why)| format!("{path} was suspect when it was stored: {why}"));
    let outcome = Outcome::deed(text(&chosen, &report), &json::Restore::new(&chosen, &report))?;
    let outcome = outcome.with_warnings(report.unset.iter().cloned()).with_made_good(&report.made_good);
    Ok(outcome.with_warnings(suspects).with_alarms(&chosen.alarms))
}

fn text(chosen: &Chosen, report: &Report) -> String {
    let Chosen { name, snapshot, .. } = chosen;
    let target = report.target.display().to_string();
    let did = if report.dry_run { "would restore" } else { "restored" };
    let mut lines = vec![
        ("taken", time::show(snapshot.moment.unwrap_or(snapshot.begin))),
        ("into", target.clone()),
        ("holds", format!("{}, {}", count(report.files, "file"), size(report.bytes))),
    ];
    match (&report.aside, report.dry_run) {
        (Some(_), true) => lines.push(("aside", "what stands there would be kept beside it".into())),
        (Some(aside), false) => {
            lines.push(("aside", format!("what stood there is kept in {}", aside.display())));
            lines.push(("undo", format!("redkeep undo {}", quoted(&target))));
        }
        (None, _) => {}
    }
    format!("{did} snapshot {} of {}\n{}", short(&name.session), plain(&snapshot.dataset), facts(&lines))
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let is_safe = |letter: char| letter.is_alphanumeric() || "/._-+:,@%".contains(letter);
    match path.chars().all(is_safe) {
        true => path.into(),
        false => format!("'{}'", path.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_command_to_copy_is_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("/var/lib/redis-1"), "/var/lib/redis-1");
        assert_eq!(quoted("/a b/it's"), "'/a b/it'\\''s'");
    }
}
