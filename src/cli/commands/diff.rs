//! `redkeep diff`.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::pick;
use crate::cli::args::{OfDataset, OfKeys};
use crate::cli::context::Context;
use crate::cli::exit::Code;
use crate::cli::human::{shown, some_of};
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::{json, output, selector};
use crate::operations::OperationError;
use crate::operations::list::{Chosen, Selector};
use crate::operations::look_up::{commands_behind, diff, doubts};
use crate::repository::{Change, Repository};

/// Show which keys differ between two snapshots
///
/// Shows which keys were added, removed or changed (another value or another expiry) from snapshot A to snapshot B, without a
/// restore: only what the two dumps do not share is read. Commands of an AOF behind a dump are not followed: where there are
/// any, what they changed is not in the answer, which a warning says, and it ends with 3.
///
/// Values are compared by what they say: the elements of a hash, a set or a sorted set may have changed places, as they do at
/// each restart of a server. One that cannot be compared so, as it is of an unknown type, or too long for what is not a hash,
/// set, sorted set, list, stream or plain string, is said to be changed, but not compared.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep diff latest~1 latest --keys
  redkeep diff 8f3a1c2e latest --keys --match 'user:*'

JSON, one object a line, the last one counts:
  {\"change\": \"added\", \"removed\" or \"changed\", \"db\", \"key\": text or {\"hex\"},
   \"compared\": false if it is only known that the value is stored in other bytes}
  {\"added\": number, \"removed\": number, \"changed\": number,
   \"not_compared\": number of those changed,
   \"not_followed\": [{\"snapshot\": id, \"files\": [those with commands behind the
     dump]}]}
")]
pub(crate) struct Arguments {
    /// The earlier snapshot: the begin of its id, latest, latest~N or @TIME
    #[arg(value_parser = selector::parse, value_name = "A")]
    earlier: Selector,
    /// The later one
    #[arg(value_parser = selector::parse, value_name = "B")]
    later: Selector,
    /// Compare keys
    #[arg(long, required = true)]
    keys: bool,
    #[command(flatten)]
    of_keys: OfKeys,
    #[command(flatten)]
    of: OfDataset,
}

/// Behind a key whose value was stored again, and of which no more is known.
const NOT_COMPARED: &str = "(not compared: its elements may only have changed places)";

/// Shows differences as they are found.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    let dataset = arguments.of.dataset.as_deref();
    let earlier = pick(context, &repository, &arguments.earlier, dataset)?;
    let later = pick(context, &repository, &arguments.later, dataset)?;
    let filter = arguments.of_keys.filter();
    let not_followed = not_followed([&earlier, &later], &repository, context)?;
    let (mut out, is_json) = (BufWriter::new(output::writable()?.0), context.globals.json);
    let (mut written, mut counts) = (Ok(()), [0u64; 4]);
    let compared = diff(&repository, &earlier, &later, &filter, &context.progress.hidden(), &mut |change, db, key| {
        let [added, removed, changed, not_compared] = &mut counts;
        let is_compared = change != Change::NotCompared;
        let (word, counter) = match change {
            Change::Added => ("added", added),
            Change::Removed => ("removed", removed),
            Change::Changed | Change::NotCompared => ("changed", changed),
        };
        *counter += 1;
        *not_compared += u64::from(!is_compared);
        written = match (is_json, is_compared) {
            (true, _) => {
                let line = serde_json::json!({
                    "change": word, "db": db, "key": json::text(key), "compared": is_compared
                });
                writeln!(out, "{line}")
            }
            (false, true) => writeln!(out, "{word:<7} {db} {}", shown(key)),
            (false, false) => writeln!(out, "{word:<7} {db} {}  {NOT_COMPARED}", shown(key)),
        };
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if written.is_err() || compared.is_ok() {
        let [added, removed, changed, not_compared] = counts;
        let ended = written.and_then(|()| match is_json {
            true => {
                let last = serde_json::json!({
                    "added": added, "removed": removed, "changed": changed, "not_compared": not_compared,
                    "not_followed": not_followed
                });
                writeln!(out, "{last}")
            }
            false => {
                let of_what = if not_followed.is_empty() { "" } else { ", by the dumps alone" };
                let less = if not_compared > 0 { format!(" ({not_compared} not compared)") } else { String::new() };
                writeln!(out, "{added} added, {removed} removed, {changed} changed{less}{of_what}")
            }
        });
        match ended.and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                drop(out.into_parts());
                return Ok(Outcome::nothing());
            }
            other => other.context(UNWRITTEN)?,
        }
    }
    compared?;
    let outcome = Outcome::nothing().with_code(if not_followed.is_empty() { Code::Done } else { Code::Warnings });
    Ok(outcome.with_warnings(doubts(&earlier)).with_warnings(doubts(&later)).with_alarms(&later.alarms))
}

/// A snapshot whose dump is compared without the commands behind it.
#[derive(Serialize)]
struct NotFollowed {
    snapshot: String,
    files: Vec<String>,
}

/// Those of two snapshots, with a warning for each. It comes before the list, which may be long and is read otherwise then.
fn not_followed(
    both: [&Chosen; 2],
    repository: &Repository,
    context: &Context,
) -> Result<Vec<NotFollowed>, OperationError> {
    let mut found: Vec<NotFollowed> = Vec::new();
    for (which, chosen) in ["A", "B"].into_iter().zip(both) {
        let (snapshot, files) = (chosen.name.session.to_string(), commands_behind(repository, chosen)?);
        if files.is_empty() {
            continue;
        }
        let named = some_of(&files);
        context.warn(&format!(
            "of {which} only the keys of its dump are compared: commands behind it are not followed, in {named}"
        ));
        if found.iter().all(|other| other.snapshot != snapshot) {
            found.push(NotFollowed { snapshot, files });
        }
    }
    Ok(found)
}
