//! `redkeep get`.

mod into;
mod value;

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value as Json, json};

use super::moment::{Asked, OneMoment};
use crate::aof::split_words;
use crate::cli::context::Context;
use crate::cli::exit::{Hinted, UsageError};
use crate::cli::human::{count, shown, size};
use crate::cli::json::{Worked, text};
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::{output, time};
use crate::format::UnixMillis;
use crate::operations::OperationError;
use crate::operations::list::Chosen;
use crate::operations::look_up::{Answer, Held, doubts, get};
use crate::operations::restore::{Doubt, doubt};
use crate::rdb::Kind;
use crate::rdb::values::Item;
use value::{WithValue, as_text, groups};

/// Show one key of a snapshot
///
/// Shows the value that a key had in a snapshot, without a restore. Where an AOF goes on behind the dump, its commands are
/// followed: strings, deletions and expiries; of a key that another command may have changed, it says that it cannot tell.
///
/// The size beside the type is what the value takes in a dump before compression: it tells a value that grew, or is too long
/// for a terminal, before it is printed or put into a server.
///
/// With --at it is the value of that moment, as `redkeep restore --at` would restore it; `redkeep timeline` shows which can be
/// had. One that no snapshot covers ends with 8, and --nearest takes the one before it. @TIME always means the last
/// snapshot captured at or before it, as a whole.
///
/// With --into the value is put into a running server by RESTORE, with its expiry, under its name. What the server has under
/// that name is left alone unless --replace is given, and so is everything else there. The server's user needs the rights to
/// RESTORE, TIME and, for another database than 0, SELECT.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep get user:1
  redkeep get user:1 latest~2 --db 3
  redkeep get user:1 --at 'yesterday 14:05' --json
  redkeep get picture --raw > picture.png
  redkeep get user:1 --at 2d --nearest --into redis://127.0.0.1:6379
  redkeep get user:1 latest~2 --into 10.0.0.5:6379 --as user:1:yesterday
  redkeep get user:1 --into redis://app@db/3 --replace

JSON:
  {\"snapshot\": id, \"dataset\", \"begin\", \"db\", \"key\": TEXT, \"type\",
   \"elements\" or null, \"expires\" or null,
   \"expires_after_loading\": milliseconds or null,
   \"value\": of a string TEXT; of a list or set [TEXT]; of a sorted set
     [{\"member\": TEXT, \"score\": \"1.5\"}]; of a hash
     [{\"field\": TEXT, \"value\": TEXT, \"expires\" or null}]; of a stream
     [{\"id\", \"fields\": [[TEXT, TEXT]]}], \"groups\": [{\"name\": TEXT}];
     of an array [{\"index\", \"value\": TEXT}]; of a module null,
   \"moment\": with --at the time whose state it is, else null,
   \"alarms\": [{\"code\", \"message\"}]}
  with --into, instead of the value and groups:
   \"into\": {\"server\", \"version\" or null, \"db\", \"key\": TEXT,
     \"expires\": true or false, \"replaced\": true or false,
     \"remade\": true where the server did not know its stored form,
     \"expired_fields\": number of fields that had expired}
  TEXT is a text, or {\"hex\"} of bytes that are none.
")]
pub(crate) struct Arguments {
    /// The key: as it is, or between double quotes with escapes, as redkeep keys prints it: '"a\\x00b"'
    key: OsString,
    #[command(flatten)]
    moment: OneMoment,
    /// The database the key is in
    #[arg(long, value_name = "N", default_value_t = 0)]
    db: u32,
    /// Write a string's bytes as they are, and nothing else
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    into: into::IntoServer,
}

/// Shows a key.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    if arguments.raw && context.globals.json {
        let what = "--json cannot share standard output with the bytes of a string".into();
        return Err(UsageError { what, hint: "leave one of --raw and --json out".into() }.into());
    }
    arguments.into.refuse_unused()?;
    let repository = context.open()?;
    let Asked { chosen, until, moment } = arguments.moment.choose(&repository, context)?;
    let key = &key_of(&arguments.key)[..];
    let doubt = doubt(&chosen.snapshot);
    if let Some(Doubt { what, hint }) = doubt.clone().filter(|_| arguments.into.is_wanted()) {
        return Err(OperationError::Unfit { what, hint }.into());
    }
    let held = match get(&repository, &chosen, until.as_ref(), arguments.db, key, &context.progress)? {
        Answer::There(held) => held,
        Answer::NotThere => {
            let what = format!("the snapshot has no key {} in database {}", shown(key), arguments.db);
            let (what, hint) = match doubt {
                None => (what, "list its keys with: redkeep keys SNAPSHOT --match PATTERN".into()),
                Some(Doubt { what: unknown, hint }) => (format!("{what}, as it was looked up; but {unknown}"), hint),
            };
            return Err(Hinted::new(OperationError::NoSnapshot { what }, hint).into());
        }
        Answer::Untold(why) => {
            let what = format!("what {} held in the snapshot cannot be told without a restore: {why}", shown(key));
            let hint = match until {
                None => "boot the snapshot in a scratch directory: redkeep restore SNAPSHOT --target DIR",
                Some(_) => "boot the moment in a scratch directory: redkeep restore --at TIME --target DIR",
            };
            return Err(Hinted::new(OperationError::NoSnapshot { what }, hint).into());
        }
    };
    if arguments.into.is_wanted() {
        return arguments.into.run(&held, key, arguments.db, (&chosen, moment), context);
    }
    context.progress.finish();
    if arguments.raw {
        let bytes = string_of(&held)?.ok_or_else(|| UsageError {
            what: format!("{} is no string: it has no bytes of its own", shown(key)),
            hint: "leave --raw out, or see it as --json".into(),
        })?;
        output::write(&bytes).context(UNWRITTEN)?;
        return Ok(Outcome::nothing().with_warnings(doubts(&chosen)).with_alarms(&chosen.alarms));
    }
    let rest = json!({"groups": groups(&held)?, "moment": moment});
    let found = found(&held, key, arguments.db, &chosen, rest)?;
    let outcome = match context.globals.json {
        true => Outcome::listing(String::new(), &WithValue::of(&found, &held)?)?,
        false => Outcome::listing(as_text(&held)?, &found)?,
    };
    let how = doubt.map(|doubt| doubt.hint);
    Ok(outcome.with_notes([facts(&held)]).with_notes(how).with_warnings(doubts(&chosen)).with_alarms(&chosen.alarms))
}

/// A key as it is, or as [`shown`] shows what is no plain word.
fn key_of(written: &OsStr) -> Vec<u8> {
    let written = written.as_bytes();
    let is_quoted = written.len() > 1 && written.starts_with(b"\"") && written.ends_with(b"\"");
    match split_words(written).filter(|_| is_quoted).as_deref() {
        Some([key]) => key.clone(),
        _ => written.to_vec(),
    }
}

/// What is answered of a key: what it is and where it was, then the rest.
fn found(held: &Held, key: &[u8], db: u32, chosen: &Chosen, rest: Json) -> anyhow::Result<Json> {
    let object = json!({
        "db": db,
        "key": text(key),
        "type": held.value().type_name(),
        "elements": held.value().measure().ok().map(|measure| measure.elements),
        "expires": held.expires.map(|moment| time::exact(UnixMillis(moment))),
        "expires_after_loading": held.after_loading,
    });
    let worked = serde_json::to_value(Worked::from(chosen))?;
    let fields = |part| match part {
        Json::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    Ok(Json::Object([worked, object, rest].into_iter().flat_map(fields).collect()))
}

/// Type, size and expiry, in words.
fn facts(held: &Held) -> String {
    let value = held.value();
    let mut facts = vec![value.type_name().unwrap_or_else(|| "of a type that is not known".into())];
    if let Ok(measure) = value.measure() {
        facts.push(size(measure.bytes));
        if value.kind() != Some(Kind::String) {
            facts.push(count(measure.elements, "element"));
        }
    }
    facts.push(match (held.expires, held.after_loading) {
        (_, Some(millis)) => format!("expires {millis} ms after it is loaded"),
        (Some(moment), None) => format!("expires {}", time::show(UnixMillis(moment))),
        (None, None) => "does not expire".into(),
    });
    facts.join(", ")
}

fn string_of(held: &Held) -> anyhow::Result<Option<Vec<u8>>> {
    let mut string = None;
    held.value().each(&mut |item| {
        if let Item::Text(text) = item {
            string = Some(text.to_vec());
        }
        ControlFlow::Break(())
    })?;
    Ok(string)
}
