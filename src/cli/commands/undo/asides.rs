//! `redkeep undo --list` and what removes: what restores replaced, and how it goes.

use std::path::Path;

use clap::Args;
use jiff::{Span, Zoned};

use crate::cli::exit::UsageError;
use crate::cli::human::Lean::{Left, Right};
use crate::cli::human::{plain, size, table};
use crate::cli::outcome::Outcome;
use crate::cli::{json, time};
use crate::format::UnixMillis;
use crate::operations::restore::{Aside, Removal, asides, remove_asides};

/// What is done with all that is kept, in place of an undo.
#[derive(Debug, Args)]
pub(super) struct Asides {
    /// Show what restores into DIR, or into the server that works there, replaced and is still kept
    #[arg(long, requires = "directory", conflicts_with_all = ["remove", "remove_older", "dry_run"])]
    list: bool,
    /// Remove what was set aside at TIME, as --list shows it: it cannot be put back any more
    #[arg(long, value_name = "TIME", value_parser = time::parse_now, requires = "directory", conflicts_with_all = ["remove_older", "dry_run"])]
    remove: Option<UnixMillis>,
    /// Remove what was set aside longer ago than SPAN, but for what the next undo puts back
    #[arg(long, value_name = "SPAN", value_parser = time::span, requires = "directory", conflicts_with = "dry_run")]
    remove_older: Option<Span>,
}

/// Lists or removes; nothing where neither was asked for.
pub(super) fn run(arguments: &Asides, directory: &Path, state: Option<&Path>) -> anyhow::Result<Option<Outcome>> {
    let Asides { list, remove, remove_older } = arguments;
    let removal = match (remove, remove_older) {
        (Some(time), _) => Some(Removal::At(*time)),
        (None, Some(span)) => Some(Removal::Before(ago(*span)?)),
        (None, None) => None,
    };
    let (asides, is_removed) = match removal {
        Some(removal) => (remove_asides(directory, removal, state)?, true),
        None if *list => (asides(directory, state)?, false),
        None => return Ok(None),
    };
    let json = json::Asides::new(directory, &asides, is_removed);
    let outcome = match is_removed {
        true => Outcome::deed(text(&asides, "removed"), &json)?,
        false => Outcome::listing(text(&asides, "kept"), &json)?,
    };
    Ok(Some(outcome))
}

fn ago(span: Span) -> Result<UnixMillis, UsageError> {
    let moment = Zoned::now().checked_sub(span).ok().map(|time| time.timestamp().as_millisecond());
    let moment = moment.and_then(|millis| u64::try_from(millis).ok());
    moment.map(UnixMillis).ok_or_else(|| UsageError {
        what: "that long ago there was no restore".into(),
        hint: "give a shorter time, such as 30d".into(),
    })
}

fn text(asides: &[Aside], did: &str) -> String {
    if asides.is_empty() {
        return format!("nothing is {did}\n");
    }
    let row = |aside: &Aside| {
        let next = if aside.is_next { "the next undo puts it back" } else { "" };
        [time::show(aside.time), size(aside.bytes), plain(&aside.path.display().to_string()), next.into()]
    };
    let head = [("TIME", Left), ("SIZE", Right), (if did == "kept" { "KEPT IN" } else { "REMOVED" }, Left), ("", Left)];
    table(head, asides.iter().map(row))
}
