//! `redkeep undo --list` and what removes: what restores replaced, and how it goes.

use std::path::Path;

use clap::Args;
use jiff::{Span, Zoned};

use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::human::Lean::{Left, Right};
use crate::cli::human::{plain, size, table};
use crate::cli::outcome::Outcome;
use crate::cli::question::agreed;
use crate::cli::{json, time};
use crate::format::UnixMillis;
use crate::operations::restore::{Aside, Removal, absolute, asides, removable, remove_asides};

/// What is done with all that is kept, in place of an undo.
#[derive(Debug, Args)]
pub(super) struct Asides {
    /// Show what restores into DIR, or into the server, replaced and is still kept
    #[arg(long, conflicts_with_all = ["remove", "remove_older", "dry_run"])]
    list: bool,
    /// Remove what was set aside at TIME, as --list shows it: it cannot be put back any more
    #[arg(long, value_name = "TIME", value_parser = time::parse_now, conflicts_with_all = ["remove_older", "dry_run"])]
    remove: Option<UnixMillis>,
    /// Remove what was set aside longer ago than SPAN, but for what the next undo puts back
    #[arg(long, value_name = "SPAN", value_parser = time::span, conflicts_with = "dry_run")]
    remove_older: Option<Span>,
}

impl Asides {
    /// Whether that is what is meant, and not an undo.
    pub fn is_asked(&self) -> bool {
        self.list || self.remove.is_some() || self.remove_older.is_some()
    }
}

/// Lists or removes. What is removed is gone: a person says so, with a word or when asked at a terminal.
pub(super) fn run(
    arguments: &Asides,
    directory: &Path,
    state: Option<&Path>,
    yes: bool,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let directory = &absolute(directory)?;
    let removal = match (arguments.remove, arguments.remove_older) {
        (Some(time), _) => Removal::At(time),
        (None, Some(span)) => Removal::Before(ago(span)?),
        (None, None) => {
            let asides = asides(directory, state)?;
            return Outcome::listing(text(&asides, "kept"), &json::Asides::new(directory, &asides, false));
        }
    };
    let meant = removable(directory, removal, state)?;
    if !yes && !meant.is_empty() {
        confirm(&meant, context)?;
    }
    let gone = remove_asides(directory, removal, state)?;
    Outcome::deed(text(&gone, "removed"), &json::Asides::new(directory, &gone, true))
}

fn confirm(meant: &[Aside], context: &Context) -> anyhow::Result<()> {
    let paths: Vec<String> = meant.iter().map(|aside| plain(&aside.path.display().to_string())).collect();
    let paths = paths.join(", ");
    let refused =
        |what: String| UsageError { what, hint: "see what is kept with --list, then say --yes".into() }.into();
    match agreed(&format!("remove {paths}? it cannot be put back any more"), context)? {
        None => Err(refused(format!("{paths} would be removed, and could not be put back any more"))),
        Some(true) => Ok(()),
        Some(false) => Err(refused("nothing is removed".into())),
    }
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
