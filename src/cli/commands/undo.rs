//! `redkeep undo`.

use std::path::PathBuf;

use clap::Args;

use super::restore::into_server::{AServer, of_a_server};
use crate::cli::context::Context;
use crate::cli::human::{count, plain};
use crate::cli::json;
use crate::cli::outcome::Outcome;
use crate::operations::restore::server::{ServerUndoReport, Serves, undo_directory, undo_server};
use crate::operations::restore::undo;

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
  redkeep undo --server --yes
  redkeep undo --server --server-config /etc/redis/redis.conf --yes

JSON:
  {\"target\": path, \"from\": where what it holds again was kept,
   \"aside\": where what stood there is kept now, or null,
   \"server\": where the server answers again, or null,
   \"keys\": what it says it holds {\"db0\": number, …}, or null}
")]
pub(crate) struct Arguments {
    /// The directory a snapshot was restored into
    #[arg(value_name = "DIR", required_unless_present = "server", conflicts_with_all = of_a_server())]
    directory: Option<PathBuf>,
    #[command(flatten)]
    of: AServer,
}

/// Undoes a restore.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let Some(directory) = &arguments.directory else {
        context.progress.stop_in_order();
        return of_server(&undo_server(&arguments.of.options(context)?, &context.progress)?);
    };
    if let Some(report) = undo_directory(directory)? {
        return of_server(&report);
    }
    let report = undo(directory)?;
    let target = report.target.display().to_string();
    let from = report.from.display().to_string();
    let aside = report.aside.map(|aside| aside.display().to_string());
    // A second undo puts back what the first one took away.
    let mut text = format!("{} holds again what it held before the last restore or undo\n", plain(&target));
    if let Some(aside) = &aside {
        text.push_str(&format!("  what stood there is kept in {}\n", plain(aside)));
    }
    Outcome::deed(text, &json::Undo { target, from, aside, server: None, keys: None })
}

fn of_server(report: &ServerUndoReport) -> anyhow::Result<Outcome> {
    let target = report.directory.display().to_string();
    let aside = report.aside.display().to_string();
    let what = if report.is_old { "what it held before the restore" } else { "the restored data" };
    let kept = format!("  what stood there is kept in {}\n", plain(&aside));
    let mut text = format!("{} holds again {what}\n{kept}", plain(&target));
    if let Some(serves) = &report.serves {
        let of = |(number, keys): &(u64, u64)| format!("db{number}: {}", count(*keys, "key"));
        let keys: Vec<String> = serves.keys.iter().map(of).collect();
        let keys = if keys.is_empty() { "no keys".into() } else { keys.join(", ") };
        text.push_str(&format!("  the server at {} is up again and holds {keys}\n", serves.address));
    }
    let server = report.serves.as_ref().map(|serves| serves.address.clone());
    let by_name = |serves: &Serves| serves.keys.iter().map(|(number, keys)| (format!("db{number}"), *keys)).collect();
    let keys = report.serves.as_ref().map(by_name);
    Outcome::deed(text, &json::Undo { target, from: aside.clone(), aside: Some(aside), server, keys })
}
