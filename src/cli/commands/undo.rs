//! `redkeep undo`.

mod asides;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::restore::into_server::{AServer, of_a_server};
use crate::cli::context::Context;
use crate::cli::human::{count, plain};
use crate::cli::json;
use crate::cli::outcome::Outcome;
use crate::cli::time;
use crate::format::UnixMillis;
use crate::operations::restore::server::{
    self, Consent, Options, ServerUndoReport, Serves, directory_of, undo_directory, undo_server,
};
use crate::operations::restore::{look_at_undo, undo};

/// Put back what the last restore into a directory or a server replaced
///
/// Puts back what the last restore into DIR replaced. What stands there now is kept beside it in turn: a second undo
/// puts that back. Needs no repository and no password.
///
/// With --server the server is stopped, its files change places with those that the last restore set aside, and it is
/// started again, and asked what it holds. One that is stopped already is named by its configuration file, its unit or its
/// directory too; or DIR alone does, and it is not started.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep undo /var/lib/redis
  redkeep undo --server --dry-run
  redkeep undo --server --yes
  redkeep undo /var/lib/redis --list
  redkeep undo /var/lib/redis --to 2026-11-22T14:34:16
  redkeep undo --server --list
  redkeep undo /var/lib/redis --remove-older 30d --yes
  redkeep undo --server --server-config /etc/redis/redis.conf --yes

JSON:
  {\"target\": path, \"from\": where what it holds again was kept,
   \"aside\": where what stood there is kept now, or null,
   \"server\": where the server answers again, or null,
   \"keys\": what it says it holds {\"db0\": number, …}, or null,
   \"notes\": [text], \"steps\": of a server with --dry-run [text],
   \"dry_run\": bool}
  With --list, --remove and --remove-older:
  {\"target\": path, \"removed\": bool, \"asides\": [{\"path\", \"time\",
     \"bytes\": number, \"next\": whether the next undo puts it back}]}
")]
pub(crate) struct Arguments {
    /// The directory a snapshot was restored into
    #[arg(value_name = "DIR", required_unless_present_any = ["server", "target"], conflicts_with_all = of_an_undo())]
    directory: Option<PathBuf>,
    /// The same, as redkeep restore names it
    #[arg(long, value_name = "DIR", conflicts_with = "directory", conflicts_with_all = of_an_undo())]
    target: Option<PathBuf>,
    /// Say what would be put back and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Put back what was set aside at TIME, as --list shows it, instead of the last
    #[arg(long, value_name = "TIME", value_parser = time::parse_now, conflicts_with_all = ["list", "remove", "remove_older"])]
    to: Option<UnixMillis>,
    /// Do it although; may be given several times
    #[arg(long, value_name = "WHAT", requires = "server", value_delimiter = ',')]
    force: Vec<Force>,
    #[command(flatten)]
    asides: asides::Asides,
    #[command(flatten)]
    of: AServer,
}

/// What is said of a server, and means nothing beside a directory alone.
fn of_an_undo() -> impl Iterator<Item = &'static str> {
    of_a_server().filter(|name| *name != "yes").chain(["force"])
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Force {
    /// Users, modules and settings that are in none of the server's files are lost when it is started again
    Settings,
    /// What the server cannot save before it is stopped is lost
    Unsaved,
}

impl Force {
    fn consent(self) -> Consent {
        match self {
            Self::Settings => Consent::Settings,
            Self::Unsaved => Consent::Unsaved,
        }
    }
}

/// Undoes a restore.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let (dry_run, to) = (arguments.dry_run, arguments.to);
    let Some(directory) = arguments.directory.as_ref().or(arguments.target.as_ref()) else {
        context.progress.stop_in_order();
        let consents = arguments.force.iter().map(|force| force.consent()).collect();
        let options = Options { dry_run, to, consents, ..arguments.of.options(context)? };
        if arguments.asides.is_asked() {
            let (directory, state) = (directory_of(&options)?, options.state.as_deref());
            return asides::run(&arguments.asides, &directory, state, arguments.of.yes, context);
        }
        return of_server(&undo_server(&options, &context.progress)?, dry_run);
    };
    let state = context.places()?.state;
    let state = state.as_deref();
    if arguments.asides.is_asked() {
        return asides::run(&arguments.asides, directory, state, arguments.of.yes, context);
    }
    let of_a_server =
        if dry_run { server::look_at_undo(directory, to, state)? } else { undo_directory(directory, to, state)? };
    if let Some(report) = of_a_server {
        return of_server(&report, dry_run);
    }
    let report = if dry_run { look_at_undo(directory, to)? } else { undo(directory, to)? };
    let target = report.target.display().to_string();
    let from = report.from.display().to_string();
    let aside = report.aside.map(|aside| aside.display().to_string());
    // A second undo puts back what the first one took away.
    let (holds, kept) = words(dry_run);
    let mut text = format!("{} {holds} {}\n", plain(&target), what(to.is_some()));
    if let Some(aside) = &aside {
        text.push_str(&format!("  what {kept} in {}\n", plain(aside)));
    }
    Outcome::deed(
        text,
        &json::Undo { target, from, aside, server: None, keys: None, notes: vec![], steps: vec![], dry_run },
    )
}

/// What stands in the directory after an undo.
fn what(is_picked: bool) -> &'static str {
    if is_picked { "what was set aside then" } else { "what it held before the last restore or undo" }
}

/// For what was done, and for what would be.
fn words(dry_run: bool) -> (&'static str, &'static str) {
    match dry_run {
        true => ("would hold again", "stands there would be kept"),
        false => ("holds again", "stood there is kept"),
    }
}

fn of_server(report: &ServerUndoReport, dry_run: bool) -> anyhow::Result<Outcome> {
    let target = report.directory.display().to_string();
    let aside = report.aside.display().to_string();
    let what = match (report.is_picked, report.is_old) {
        (true, is_old) => what(is_old),
        (false, true) => "what it held before the restore",
        (false, false) => "the restored data",
    };
    let (holds, kept) = words(dry_run);
    let mut text = format!("{} {holds} {what}\n  what {kept} in {}\n", plain(&target), plain(&aside));
    for note in &report.notes {
        text.push_str(&format!("  {}\n", plain(note)));
    }
    for (place, step) in (1..).zip(&report.steps) {
        text.push_str(&format!("  {place}. {}\n", plain(step)));
    }
    if report.changed_since {
        text.push_str("  an earlier undo had put that there, and a server changed it since\n");
    }
    if let Some(serves) = &report.serves {
        let of = |(number, keys): &(u64, u64)| format!("db{number}: {}", count(*keys, "key"));
        let keys: Vec<String> = serves.keys.iter().map(of).collect();
        let keys = if keys.is_empty() { "no keys".into() } else { keys.join(", ") };
        text.push_str(&format!("  the server at {} is up again and holds {keys}\n", serves.address));
    }
    let server = report.serves.as_ref().map(|serves| serves.address.clone());
    let by_name = |serves: &Serves| serves.keys.iter().map(|(number, keys)| (format!("db{number}"), *keys)).collect();
    let keys = report.serves.as_ref().map(by_name);
    let from = report.from.display().to_string();
    let (notes, steps) = (report.notes.clone(), report.steps.clone());
    Outcome::deed(text, &json::Undo { target, from, aside: Some(aside), server, keys, notes, steps, dry_run })
}
