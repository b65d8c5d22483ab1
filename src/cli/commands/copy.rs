//! `redkeep copy`.

use clap::Args;
use serde_json::{Value as Json, json};

use super::refuse_unknown;
use crate::cli::args::{OfSnapshots, Storing};
use crate::cli::context::Context;
use crate::cli::exit::{Code, Hinted};
use crate::cli::human::Lean::{Left, Right};
use crate::cli::human::{count, plain, short, size, table};
use crate::cli::json::alarms;
use crate::cli::outcome::Outcome;
use crate::cli::second::{Second, SecretArguments};
use crate::cli::{selector, time};
use crate::operations::copy::{Became, One, Options, Report, copy};
use crate::operations::list::Selector;
use crate::repository::Repository;

/// Copy snapshots into another repository
///
/// Puts snapshots into another repository, which has passwords and keys of its own: another disk, another service, or one that
/// whoever has this password cannot open. They keep their times, dataset, host, tags, warnings and moments, and get new ids. All
/// that is there is not stored again, and what changed is stored against what it was.
///
/// Every file is rebuilt and compared with its hash on the way. A snapshot that is damaged here is named and not copied (4); the
/// others are. Each is committed by itself: after an interruption the same command goes on. A snapshot that was copied before is
/// not read again, and one that was forgotten there stays so, unless it is named by its id.
///
/// For a second copy of the whole repository as it is, without its password, see redkeep mirror.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep init --repo /mnt/safe --password-file /root/safe-password
  redkeep copy --to /mnt/safe --to-password-file /root/safe-password
  redkeep copy latest --dataset sessions --to /mnt/safe
  redkeep copy --since 7d --to s3://elsewhere/redis --dry-run
  redkeep copy --to-profile elsewhere

The other repository:
  Its password is taken from --to-key-file, --to-password-file or
  --to-password-command; else from REDKEEP_TO_KEY_FILE,
  REDKEEP_TO_PASSWORD_FILE, REDKEEP_TO_PASSWORD_COMMAND or
  REDKEEP_TO_PASSWORD; else from the profile of --to-profile; else a terminal
  is asked. That profile may also say repo, endpoint, region, credentials-file
  and so on: what stands in its credentials-file counts, not the environment.

JSON:
  {\"from\": {\"repository\": id, \"location\"}, \"to\": {the same},
   \"dry_run\": true or false,
   \"snapshots\": [{\"id\", \"dataset\", \"begin\", \"bytes\", \"became\": \"copied\",
     \"would-be\", \"was-there\", \"forgotten\" (there), \"damaged\" or
     \"no-place\", \"copy\": its id there or null, \"read_bytes\": number or
     null, \"stored_bytes\": number or null, \"why\": text or null}],
   \"alarms\": [{\"code\", \"message\"}], \"alarms_there\": [the same]}
")]
pub(crate) struct Arguments {
    /// Snapshots: the begin of an id, latest, latest~N or @TIME [default: all]
    #[arg(value_parser = selector::parse, value_name = "SNAPSHOT")]
    snapshots: Vec<Selector>,
    /// Where the other repository is
    #[arg(long, value_name = "LOCATION")]
    to: Option<String>,
    /// A profile of the configuration that says where it is and how it is opened
    #[arg(long, value_name = "NAME")]
    to_profile: Option<String>,
    #[command(flatten)]
    secrets: SecretArguments,
    #[command(flatten)]
    of: OfSnapshots,
    /// Only say what would be done
    #[arg(long, short = 'n')]
    dry_run: bool,
    #[command(flatten)]
    storing: Storing,
}

/// Copies snapshots.
pub(super) fn run(arguments: Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let options = Options {
        snapshots: arguments.snapshots,
        filter: arguments.of.filter(),
        is_dry: arguments.dry_run,
        intake: arguments.storing.intake(),
    };
    let second = context.second(arguments.to.as_deref(), arguments.to_profile.as_deref(), "--to LOCATION")?;
    let source = context.open()?;
    done(&source, &second, &arguments.secrets, &options, context)
}

/// Copies snapshots, and says what came of each.
pub(super) fn done(
    source: &Repository,
    second: &Second,
    secrets: &SecretArguments,
    options: &Options,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let target = context.open_second(second, secrets).map_err(|error| match Code::of(&error) {
        Code::NoRepository => {
            let hint = format!("check that it is mounted, or make one with: redkeep init --repo {}", second.location);
            Hinted::new(error, hint).into()
        }
        _ => error,
    })?;
    context.progress.stop_in_order();
    let report = copy(source, &target, options, &context.progress)?;
    context.progress.finish();
    if report.snapshots.is_empty() && report.alarms.is_empty() {
        refuse_unknown(source, options.filter.dataset.as_ref())?;
    }
    let object = object(&report, source, &target, options.is_dry);
    let new = report.snapshots.iter().filter(|one| matches!(one.became, Became::Copied(_))).count() as u64;
    let outcome = Outcome::deed(text(&report, &target, options.is_dry), &object)?;
    let outcome = outcome.in_short(format!("copied {}", count(new, "snapshot")));
    let (mut warnings, mut damaged, mut made_good) = (Vec::new(), false, Vec::new());
    for One { info, became } in &report.snapshots {
        let id = short(&info.name.session);
        match became {
            Became::Damaged(why) => {
                damaged = true;
                warnings.push(format!("snapshot {id} of {} was not copied: {why}", info.dataset));
            }
            Became::NoPlace(why) => warnings.push(format!("snapshot {id} of {} was not copied: {why}", info.dataset)),
            Became::Copied(copied) => made_good.extend(copied.made_good.iter().cloned()),
            Became::WouldBe | Became::WasThere(_) | Became::Forgotten => {}
        }
    }
    made_good.dedup();
    let there = report.alarms_there.iter().map(|alarm| format!("in {}: {alarm}", target.location()));
    let outcome = outcome.with_warnings(warnings).with_made_good(&made_good).with_alarms(&report.alarms);
    Ok(outcome.with_warnings(there).with_damage(damaged))
}

fn word_of(became: &Became) -> String {
    match became {
        Became::Copied(copied) => short(&copied.name.session),
        Became::WouldBe => "would be copied".into(),
        Became::WasThere(_) => String::new(),
        Became::Forgotten => "forgotten there".into(),
        Became::Damaged(_) => "DAMAGED".into(),
        Became::NoPlace(_) => "no place".into(),
    }
}

fn text(report: &Report, target: &Repository, is_dry: bool) -> String {
    let head = [("ID", Left), ("TIME", Left), ("DATASET", Left), ("SIZE", Right), ("STORED", Right), ("THERE", Left)];
    let rows = report.snapshots.iter().filter(|one| !matches!(one.became, Became::WasThere(_)));
    let rows = rows.map(|One { info, became }| {
        let stored = match became {
            Became::Copied(copied) => size(copied.stored),
            _ => String::new(),
        };
        let time = time::show(info.captured_at());
        [short(&info.name.session), time, info.dataset.clone(), size(info.bytes), stored, word_of(became)]
    });
    let rows: Vec<_> = rows.collect();
    let of = |wanted: fn(&Became) -> bool| report.snapshots.iter().filter(|one| wanted(&one.became)).count() as u64;
    let new = of(|became| matches!(became, Became::Copied(_) | Became::WouldBe));
    let old = of(|became| matches!(became, Became::WasThere(_)));
    let stored = |one: &One| match &one.became {
        Became::Copied(copied) => copied.stored,
        _ => 0,
    };
    let stored: u64 = report.snapshots.iter().map(stored).sum();
    let place = plain(&target.location());
    let done = match (is_dry, new) {
        (true, _) => format!("would copy {} into {place}", count(new, "snapshot")),
        (false, 0) => format!("nothing new for {place}"),
        (false, _) => format!("copied {} into {place}, {} stored", count(new, "snapshot"), size(stored)),
    };
    let old = if old == 0 { String::new() } else { format!("; {} there already", count(old, "snapshot")) };
    let table = if rows.is_empty() { String::new() } else { table(head, rows) };
    format!("{table}{done}{old}\n")
}

fn object(report: &Report, source: &Repository, target: &Repository, is_dry: bool) -> Json {
    let one = |One { info, became }: &One| {
        let (word, copy, copied, why) = match became {
            Became::Copied(copied) => ("copied", Some(copied.name), Some(copied), None),
            Became::WouldBe => ("would-be", None, None, None),
            Became::WasThere(name) => ("was-there", Some(*name), None, None),
            Became::Forgotten => ("forgotten", None, None, None),
            Became::Damaged(why) => ("damaged", None, None, Some(why.clone())),
            Became::NoPlace(why) => ("no-place", None, None, Some(why.clone())),
        };
        json!({
            "id": info.name.session.to_string(),
            "dataset": info.dataset,
            "begin": time::exact(info.begin),
            "bytes": info.bytes,
            "became": word,
            "copy": copy.map(|name| name.session.to_string()),
            "read_bytes": copied.map(|copied| copied.read),
            "stored_bytes": copied.map(|copied| copied.stored),
            "why": why,
        })
    };
    let place = |of: &Repository| json!({"repository": of.id().to_string(), "location": of.location()});
    json!({
        "from": place(source),
        "to": place(target),
        "dry_run": is_dry,
        "snapshots": report.snapshots.iter().map(one).collect::<Vec<_>>(),
        "alarms": alarms(&report.alarms),
        "alarms_there": alarms(&report.alarms_there),
    })
}
