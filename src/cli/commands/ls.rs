//! `redkeep ls`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;

use super::backup::warning;
use super::pick;
use crate::cli::args::OfDataset;
use crate::cli::context::Context;
use crate::cli::exit::Hinted;
use crate::cli::human::Lean::{Left, Right};
use crate::cli::human::{size, table};
use crate::cli::outcome::Outcome;
use crate::cli::{json, selector, time};
use crate::format::snapshot::{File, FileKind};
use crate::operations::OperationError;
use crate::operations::list::{Selector, files};

/// List the files of a snapshot
///
/// Lists the files of a snapshot, or those at and below PATH. What was worth a warning when the snapshot was taken is
/// told on standard error.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep ls
  redkeep ls 8f3a1c2e appendonlydir
  redkeep ls '@yesterday 14:05' --dataset sessions

JSON:
  {\"snapshot\": id, \"dataset\", \"begin\",
   \"files\": [{\"path\", \"kind\": \"file\", \"directory\" or \"link\",
     \"role\": \"dump\", \"aof_manifest\", \"aof_base\", \"aof_incr\", \"aof_history\",
       \"aof\", \"config\" or \"other\",
     \"mode\": \"0640\", \"uid\", \"gid\", \"user\" or null, \"group\" or null,
     \"modified\", \"size\", \"hash\": BLAKE3 of a file's content or null,
     \"target\": of a link or null, \"suspect\": why or null}],
   \"warnings\": [{\"code\", \"path\" or null, \"message\"}],
   \"alarms\": [{\"code\", \"message\"}]}
")]
pub(crate) struct Arguments {
    /// The snapshot: the begin of its id, latest, latest~N or @TIME
    #[arg(value_parser = selector::parse, default_value = "latest")]
    snapshot: Selector,
    /// Path below the data directory
    path: Option<OsString>,
    #[command(flatten)]
    of: OfDataset,
}

/// Lists files.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    let chosen = pick(context, &repository, &arguments.snapshot, arguments.of.dataset.as_deref())?;
    let path = arguments.path.as_deref().map(OsStrExt::as_bytes).unwrap_or_default();
    let files = files(&chosen.snapshot, path);
    if files.is_empty() && !path.is_empty() {
        let what = format!("the snapshot has nothing at {}", String::from_utf8_lossy(path));
        let hint = "paths are those below the data directory; leave it out to see all";
        return Err(Hinted::new(OperationError::NoSnapshot { what }, hint).into());
    }
    let warnings = chosen.snapshot.warnings.iter().map(|stored| format!("when it was taken: {}", warning(stored)));
    let outcome = Outcome::listing(text(&files), &json::Ls::new(&chosen, &files))?;
    Ok(outcome.with_notes(warnings).with_alarms(&chosen.alarms))
}

fn text(files: &[&File]) -> String {
    let head = [("MODE", Left), ("OWNER", Left), ("SIZE", Right), ("MODIFIED", Left), ("PATH", Left)];
    let row = |file: &&File| {
        let user = file.user.clone().unwrap_or_else(|| file.uid.to_string());
        let group = file.group.clone().unwrap_or_else(|| file.gid.to_string());
        let size = if file.kind == FileKind::File { size(file.size) } else { String::new() };
        [mode(file), format!("{user}:{group}"), size, time::show(json::modified(file)), path(file)]
    };
    table(head, files.iter().map(row))
}

fn path(file: &File) -> String {
    let path = file.display_path();
    match (file.kind, &file.target) {
        (FileKind::Directory, _) => format!("{path}/"),
        (FileKind::Link, Some(target)) => format!("{path} -> {}", String::from_utf8_lossy(target)),
        (FileKind::File | FileKind::Link, _) => path,
    }
}

/// Kind and rights, as `ls -l` shows them.
fn mode(file: &File) -> String {
    let kind = match file.kind {
        FileKind::File => '-',
        FileKind::Directory => 'd',
        FileKind::Link => 'l',
    };
    let bits = (0..9).map(|bit| match file.mode & (0o400 >> bit) {
        0 => '-',
        _ => ['r', 'w', 'x'].into_iter().cycle().nth(bit).unwrap_or('?'),
    });
    std::iter::once(kind).chain(bits).collect()
}
