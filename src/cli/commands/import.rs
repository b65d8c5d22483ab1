//! `redkeep import`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value as Json, json};

use super::backup::warning;
use crate::cli::args::{Storing, word};
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::human::Lean::{Left, Right};
use crate::cli::human::{count, plain, short, size, table};
use crate::cli::json::alarms;
use crate::cli::outcome::Outcome;
use crate::cli::time;
use crate::format::UnixMillis;
use crate::operations::import::{Became, Imported, Options, Report, ToldBy, import};

/// Take in dumps that were put aside
///
/// Makes a snapshot of each dump (dump.rdb, under whatever name it was put aside), in the order in which they were made, with
/// that as its time: what is the same in several is stored once. A dump says when it was made (its field ctime); of one that
/// does not, the time of the file counts, and a note says so.
///
/// All files are looked at before the first is stored; where one is no dump, nothing is. A dump that was imported before is
/// not stored again: after an interruption the same command goes on. The files stay as they are.
///
/// Give the dataset the name of the server's own backups to have all in one: a dump gets its place among the snapshots there
/// are, by its time. A dump that is part of an AOF is not imported: redkeep backup DIR takes such a directory.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep import --dry-run /srv/dumps/*.rdb
  redkeep import /srv/dumps/*.rdb --dataset sessions
  redkeep import old.rdb --dataset sessions --time '2026-01-31 04:00'
  redkeep diff latest~1 latest --keys --dataset sessions

JSON:
  {\"dataset\", \"dry_run\": true or false,
   \"dumps\": [{\"path\", \"time\", \"time_from\": \"dump\", \"file\" or \"option\",
     \"bytes\", \"became\": \"snapshot\", \"would-be\", \"was-there\" or
     \"same-as\", \"snapshot\": id or null, \"same_as\": path or null,
     \"keys\": number or null, \"stored_bytes\": number or null,
     \"form\": \"canonical\", \"prefix\", \"opaque\" or null, \"why\": text or null,
     \"suspect\": text or null}], in the order of their times
   \"left_out\": [{\"path\", \"why\"}],
   \"alarms\": [{\"code\", \"message\"}]}
")]
pub(crate) struct Arguments {
    /// Dumps, in any order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Name of the dataset [default: HOST:DIR]
    #[arg(long, value_name = "NAME", value_parser = word)]
    dataset: Option<String>,
    /// A word to find the snapshots by; may be given several times
    #[arg(long = "tag", value_name = "TAG", value_parser = word)]
    tags: Vec<String>,
    /// When the dump was made, whatever it says; of one FILE
    #[arg(long, value_name = "TIME", value_parser = time::parse_now)]
    time: Option<UnixMillis>,
    /// Leave out files that are no dumps
    #[arg(long)]
    skip_others: bool,
    /// Only say what would be done
    #[arg(long, short = 'n')]
    dry_run: bool,
    #[command(flatten)]
    storing: Storing,
}

/// Imports dumps.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    if arguments.time.is_some() && arguments.files.len() > 1 {
        let what = "--time is the time of one dump, and several are named".into();
        return Err(UsageError { what, hint: "import them one by one".into() }.into());
    }
    let options = Options {
        files: arguments.files.clone(),
        dataset: arguments.dataset.clone(),
        tags: arguments.tags.clone(),
        time: arguments.time,
        skips_others: arguments.skip_others,
        is_dry: arguments.dry_run,
        intake: arguments.storing.intake(),
    };
    let repository = context.open()?;
    context.progress.stop_in_order();
    let report = import(&repository, &options, &context.progress)?;
    context.progress.finish();
    let outcome = Outcome::deed(text(&report, arguments.dry_run), &object(&report, arguments.dry_run))?;
    let left_out = report.left_out.iter().map(|(path, why)| format!("left out {}: {why}", path.display()));
    let by_file = report.files.iter().filter(|file| file.told_by == ToldBy::File);
    let by_file = by_file
        .map(|file| format!("{} does not say when it was made: the time of the file was taken", file.path.display()));
    let notes: Vec<String> = left_out.chain(by_file).chain(partly(&report)).collect();
    let warnings = report.files.iter().filter_map(|file| match &file.became {
        Became::Stored(stored) => Some((file, stored)),
        _ => None,
    });
    let warnings = warnings.flat_map(|(file, stored)| {
        stored.snapshot.warnings.iter().map(move |one| format!("{}: {}", file.path.display(), warning(one)))
    });
    let warnings: Vec<String> = warnings.collect();
    Ok(outcome.with_notes(notes).with_warnings(warnings).with_alarms(&report.alarms))
}

/// What is only partly understood.
fn partly(report: &Report) -> Vec<String> {
    let told = |file: &Imported| {
        let Became::Stored(stored) = &file.became else { return None };
        let form = stored.snapshot.files.iter().find_map(|file| file.form.as_ref())?;
        Some(format!("{} is stored {}: {}", file.path.display(), form.state.word(), form.why.as_ref()?))
    };
    report.files.iter().filter_map(told).collect()
}

fn word_of(file: &Imported) -> String {
    match &file.became {
        Became::Stored(report) => short(&report.name.session),
        Became::WouldBe => "would be imported".into(),
        Became::WasThere(name) => format!("{}, imported before", short(&name.session)),
        Became::SameAs(path) => format!("the same as {}", path.display()),
    }
}

fn text(report: &Report, is_dry: bool) -> String {
    let head = [("MADE", Left), ("SIZE", Right), ("STORED", Right), ("SNAPSHOT", Left), ("FILE", Left)];
    let rows = report.files.iter().map(|file| {
        let stored = match &file.became {
            Became::Stored(report) => size(report.snapshot.summary.stored_bytes),
            _ => String::new(),
        };
        [time::show(file.time), size(file.size), stored, word_of(file), file.path.display().to_string()]
    });
    let of = |wanted: fn(&Became) -> bool| report.files.iter().filter(|file| wanted(&file.became)).count() as u64;
    let new = of(|became| matches!(became, Became::Stored(_) | Became::WouldBe));
    let old = report.files.len() as u64 - new;
    let stored: u64 = report
        .files
        .iter()
        .map(|file| match &file.became {
            Became::Stored(report) => report.snapshot.summary.stored_bytes,
            _ => 0,
        })
        .sum();
    let dataset = plain(&report.dataset);
    let done = match (is_dry, new) {
        (true, _) => format!("would import {} into {dataset}", count(new, "dump")),
        (false, 0) => format!("nothing new for {dataset}"),
        (false, _) => format!("imported {} into {dataset}, {} stored", count(new, "dump"), size(stored)),
    };
    let old = if old == 0 { String::new() } else { format!("; {} there already", count(old, "dump")) };
    format!("{}{done}{old}\n", table(head, rows))
}

fn object(report: &Report, is_dry: bool) -> Json {
    let one = |file: &Imported| {
        let stored = match &file.became {
            Became::Stored(stored) => Some(stored),
            _ => None,
        };
        let (became, snapshot, same_as) = match &file.became {
            Became::Stored(stored) => ("snapshot", Some(stored.name.session.to_string()), None),
            Became::WouldBe => ("would-be", None, None),
            Became::WasThere(name) => ("was-there", Some(name.session.to_string()), None),
            Became::SameAs(path) => ("same-as", None, Some(path.display().to_string())),
        };
        let dump = stored.and_then(|stored| stored.snapshot.files.first());
        let form = dump.and_then(|dump| dump.form.as_ref());
        json!({
            "path": file.path.display().to_string(),
            "time": time::exact(file.time),
            "time_from": match file.told_by {
                ToldBy::Dump => "dump",
                ToldBy::File => "file",
                ToldBy::Person => "option",
            },
            "bytes": file.size,
            "became": became,
            "snapshot": snapshot,
            "same_as": same_as,
            "keys": stored.and_then(|stored| crate::format::counts::KeyCount::of(&stored.snapshot).keys()),
            "stored_bytes": stored.map(|stored| stored.snapshot.summary.stored_bytes),
            "form": form.map(|form| form.state.word()),
            "why": form.and_then(|form| form.why.clone()),
            "suspect": dump.and_then(|dump| dump.suspect.clone()),
        })
    };
    let left_out = |(path, why): &(PathBuf, String)| json!({"path": path.display().to_string(), "why": why});
    json!({
        "dataset": report.dataset,
        "dry_run": is_dry,
        "dumps": report.files.iter().map(one).collect::<Vec<_>>(),
        "left_out": report.left_out.iter().map(left_out).collect::<Vec<_>>(),
        "alarms": alarms(&report.alarms),
    })
}
