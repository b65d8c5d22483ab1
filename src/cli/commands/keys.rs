//! `redkeep keys`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use anyhow::Context as _;
use clap::Args;

use super::moment::{Asked, OneMoment};
use crate::cli::args::OfKeys;
use crate::cli::context::Context;
use crate::cli::human::{shown, size, some_of};
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::{json, output, time};
use crate::format::UnixMillis;
use crate::operations::look_up::{LISTED_LONGEST, Listed, doubts, keys};
use crate::operations::restore::doubt;
use crate::rdb::Kind;
use crate::rdb::values::Measure;
use crate::repository::LookedUp;

/// List the keys of a snapshot
///
/// Lists the keys of a snapshot's dump without a restore: by database and name where the dump is stored in canonical form,
/// else in the order of the file. Commands of an AOF behind the dump are not followed: where there are any, the keys are those
/// before them, which a warning says, and it ends with 3.
///
/// With --at they are those of the dump from which that moment would be restored; `redkeep timeline` shows which can be had.
/// What one key held at that moment is told by `redkeep get --at`, which follows commands.
///
/// A line has the database, type, size (in the file, if nothing were compressed), elements, expiry, and the name.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep keys latest
  redkeep keys --match 'user:*' --db 0 8f3a1c2e
  redkeep keys '@yesterday 14:05' --dataset sessions | head
  redkeep keys --at 'yesterday 14:05' --match 'cart:*'

JSON, one object a line:
  {\"db\", \"key\": text or {\"hex\"}, \"type\" or null,
   \"bytes\": of the value, uncompressed, or null, \"elements\" or null,
   \"expires\" or null}
  where commands behind the dump are not followed, a last line:
  {\"not_followed\": [files that hold them]}
")]
pub(crate) struct Arguments {
    #[command(flatten)]
    of: OfKeys,
    #[command(flatten)]
    moment: OneMoment,
}

/// Lists keys as they are found.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    let Asked { chosen, until, .. } = arguments.moment.choose(&repository, context)?;
    let filter = arguments.of.filter();
    let mut lines = Lines { out: BufWriter::new(output::writable()?.0), is_json: context.globals.json, failed: None };
    let listed =
        keys(&repository, &chosen, until.as_ref(), (&filter, LISTED_LONGEST), &context.progress.hidden(), &mut |key| {
            lines.put(key)
        });
    if let Ok(Listed { behind, .. }) = &listed
        && !behind.is_empty()
    {
        lines.put_not_followed(behind);
    }
    match lines.finish() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Outcome::nothing()),
        other => other.context(UNWRITTEN)?,
    }
    let Listed { behind, is_in_file_order, unread } = listed?;
    let commands = (!behind.is_empty()).then(|| {
        format!("the keys are only those of the dump: commands behind it are not followed, in {}", some_of(&behind))
    });
    let how = doubt(&chosen.snapshot).map(|doubt| doubt.hint);
    let order = is_in_file_order.then(|| "the dump is not stored by keys: all of it was read".to_owned());
    let unread = unread.map(|why| format!("keys may be missing: {why}"));
    let outcome = Outcome::nothing().with_notes(how).with_notes(order).with_warnings(commands);
    Ok(outcome.with_warnings(unread).with_warnings(doubts(&chosen)).with_alarms(&chosen.alarms))
}

/// One line for each key.
struct Lines {
    out: BufWriter<File>,
    is_json: bool,
    failed: Option<io::Error>,
}

impl Lines {
    fn put(&mut self, key: &LookedUp<'_>) -> ControlFlow<()> {
        self.write(&if self.is_json { json_line(key) } else { text_line(key) })
    }

    /// The last line of JSON, where keys may have changed behind those that were listed.
    fn put_not_followed(&mut self, files: &[String]) {
        if self.is_json && self.failed.is_none() {
            let _ = self.write(&format!("{}\n", serde_json::json!({"not_followed": files})));
        }
    }

    fn write(&mut self, line: &str) -> ControlFlow<()> {
        match self.out.write_all(line.as_bytes()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn finish(mut self) -> io::Result<()> {
        match self.failed.take() {
            Some(error) => {
                // What is in the buffer goes nowhere.
                drop(self.out.into_parts());
                Err(error)
            }
            None => self.out.flush(),
        }
    }
}

/// Type, elements and size, as far as they can be told.
fn facts(key: &LookedUp<'_>) -> (Option<String>, Option<Measure>) {
    let value = key.value.as_ref();
    // The name of a module stands in the value.
    let of_kind = || key.kind.filter(|kind| *kind != Kind::Module).map(|kind| kind.word().to_owned());
    (value.and_then(|value| value.type_name()).or_else(of_kind), value.and_then(|value| value.measure().ok()))
}

fn text_line(key: &LookedUp<'_>) -> String {
    let (kind, measure) = facts(key);
    let kind = kind.as_deref().map_or("?".into(), |kind| shown(kind.as_bytes()));
    let (bytes, elements) = match measure {
        Some(Measure { bytes, elements }) => (size(bytes), elements.to_string()),
        None => ("?".into(), "?".into()),
    };
    let expires = key.expires.map_or("-".into(), |moment| time::show(UnixMillis(moment)));
    format!("{} {kind:<7} {bytes:>10} {elements:>9} {expires:<25} {}\n", key.database, shown(key.key))
}

fn json_line(key: &LookedUp<'_>) -> String {
    let (kind, measure) = facts(key);
    let line = serde_json::json!({
        "db": key.database,
        "key": json::text(key.key),
        "type": kind,
        "bytes": measure.map(|measure| measure.bytes),
        "elements": measure.map(|measure| measure.elements),
        "expires": key.expires.map(|moment| time::exact(UnixMillis(moment))),
    });
    format!("{line}\n")
}
