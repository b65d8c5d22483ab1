//! `redkeep undo`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::human::plain;
use crate::cli::json;
use crate::cli::outcome::Outcome;
use crate::operations::restore::undo;

/// Puts back what the last restore into DIR replaced. What stands there now is kept beside it in turn: a second undo
/// puts that back. Needs no repository and no password.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep undo /var/lib/redis

JSON:
  {\"target\": path, \"from\": where what stands there now was kept, \"aside\": where what stood there is kept or null}
")]
pub(crate) struct Arguments {
    /// The directory a snapshot was restored into
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Undoes a restore.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let report = undo(&arguments.directory)?;
    let target = report.target.display().to_string();
    let from = report.from.display().to_string();
    let aside = report.aside.map(|aside| aside.display().to_string());
    let mut text = format!("{} holds again what it held before the restore\n", plain(&target));
    if let Some(aside) = &aside {
        text.push_str(&format!("  what stood there is kept in {}\n", plain(aside)));
    }
    Outcome::deed(text, &json::Undo { target, from, aside })
}
