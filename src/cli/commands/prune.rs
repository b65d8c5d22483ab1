//! `redkeep prune`.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::cli::configuration::values;
use crate::cli::context::Context;
use crate::cli::exit::Hinted;
use crate::cli::human::{count, duration, short, size};
use crate::cli::json;
use crate::cli::outcome::Outcome;
use crate::cli::time;
use crate::operations::OperationError;
use crate::operations::doctor::service;
use crate::operations::prune::{Options, Pruned, Report, Waiting, YoungToReseal, prune};
use crate::repository::Repository;

/// Give back the space of what no snapshot needs any more
///
/// Works beside running backups, without a lock. What is not needed is condemned at first, and deleted by the same or a
/// later prune, once it was condemned for the grace time and no running backup can still use it. Run it daily. It may be
/// interrupted at any point; the next run continues. Where something cannot be read or is missing it deletes nothing,
/// says what, and ends with 4. It works on a full disk, from room that the repository sets aside for that; so does forget.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep prune
  redkeep prune --dry-run
  redkeep prune --grace 0       # at once; for a repository on a local disk
  redkeep prune --reseal        # some days after redkeep key rotate

JSON:
  {\"dry_run\": bool, \"packs\": number, \"pack_bytes\", \"snapshots\",
   \"needed_chunks\", \"condemned_packs\", \"condemned_bytes\", \"rewritten_bytes\",
   \"unused_bytes\", \"stored_again\": {\"chunks\", \"bytes\", \"stored_bytes\"},
   (in a dry run: what would be, stored_bytes 0),
   \"deleted_packs\", \"deleted_bytes\", \"deleted_indexes\",
   \"deleted_snapshots\", \"removed_leases\", \"short_of_space\": text or null,
   \"waiting\": [{\"for\": \"age\" | \"session\" | \"settling\",
     \"condemned\" or \"session\", \"packs\", \"bytes\", \"seconds\",
     \"commit_name\"}],
   \"young_to_reseal\": {\"packs\", \"seconds\"}, or null,
   \"alarms\": [{\"code\", \"message\"}]}
")]
pub(crate) struct Arguments {
    #[command(flatten)]
    rule: Rule,
    /// Store again what is sealed by older keys than the newest, after `redkeep key rotate`; packs younger than the grace
    /// time wait for it, and are told
    #[arg(long)]
    reseal: bool,
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is given back. Written on the command line or in a profile.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(in crate::cli) struct Rule {
    /// How long what may be deleted stays, and forgotten snapshots can be had back; 0 only on a local disk [default:
    /// 24h]
    #[arg(long, value_name = "SPAN", value_parser = time::exact_span)]
    #[serde(deserialize_with = "values::exact_span")]
    pub grace: Option<Duration>,
    /// Share of unneeded bytes that is lived with, rather than storing the rest of their packs again [default: 5%]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    #[serde(deserialize_with = "values::percent")]
    pub max_unused: Option<f64>,
    /// Store at most so many bytes again in this run (a number of MiB)
    #[arg(long, value_name = "MIB")]
    pub max_rewrite: Option<u64>,
}

impl Rule {
    /// The same for the sweep.
    pub fn options(&self) -> Options {
        let usual = Options::default();
        Options {
            grace: self.grace.unwrap_or(usual.grace),
            max_unused: self.max_unused.unwrap_or(usual.max_unused),
            max_rewrite: self.max_rewrite.map(|mib| mib.saturating_mul(1 << 20)),
            ..usual
        }
    }
}

/// A share of a whole: `5%` or `5`.
pub(in crate::cli) fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.trim_end_matches('%').parse().map_err(|_| "a percentage, such as 5%".to_string())?;
    match (0.0..=100.0).contains(&number) {
        true => Ok(number / 100.0),
        false => Err("a percentage is between 0 and 100".into()),
    }
}

/// Prunes the repository.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    context.progress.stop_in_order();
    let options = Options { reseal: arguments.reseal, dry_run: arguments.dry_run, ..arguments.rule.options() };
    done(&repository, &options, context).map(|(_, outcome)| outcome)
}

/// Prunes, and says what that answers.
pub(super) fn done(repository: &Repository, options: &Options, context: &Context) -> anyhow::Result<(Report, Outcome)> {
    let Pruned { report, short_of_space, no_room_to_rewrite } = prune(repository, options, &context.progress)
        .map_err(|error| without_room(error, repository, options, context))?;
    let alarms = repository.recorded_damage()?;
    let json = Json { alarms: json::alarms(&alarms), ..Json::new(&report, &short_of_space, options.dry_run) };
    let outcome = Outcome::deed(text(&report, options.dry_run), &json)?.in_short(match report.deleted_packs {
        0 => "nothing to delete".into(),
        packs => format!("deleted {}, {}", count(packs, "pack"), size(report.deleted_bytes)),
    });
    let has_deleted = report.deleted_packs + report.deleted_indexes + report.deleted_snapshots > 0;
    let is_kept = has_deleted && repository.keeping().versions;
    let outcome = outcome.with_notes(is_kept.then(|| service::KEPT.into()));
    let outcome = outcome.with_warnings(no_room_to_rewrite.then(|| NO_ROOM.into()));
    let outcome = outcome.with_warnings(short_of_space.as_ref().map(short_of_room)).with_alarms(&alarms);
    Ok((report, outcome))
}

const NO_ROOM: &str = "the disk is too full to store again what is needed of packs that hold unneeded bytes, so they stay: \
                       make room, and prune again";

/// A repository that has little set aside.
fn short_of_room(why: &String) -> String {
    format!("too little room could be set aside for forget and prune on a full disk: {why}")
}

/// What is left to do where there is no room for what has to be stored again before anything goes: what is needed of packs
/// that a check found damaged.
fn without_room(error: OperationError, repository: &Repository, options: &Options, context: &Context) -> anyhow::Error {
    let is_full = matches!(&error, OperationError::Repository(of) if of.is_full());
    let least = Options { max_rewrite: Some(0), dry_run: true, ..options.clone() };
    let again = if is_full { prune(repository, &least, &context.progress).ok() } else { None };
    match again.map(|again| again.report.stored_again) {
        Some(again) if again.chunks > 0 => {
            let hint = format!(
                "{} that snapshots need of packs which go, {} before compression, are stored again first: free that much on the \
                 repository's disk by other means; or forget the snapshots that need them (redkeep check names those that \
                 are damaged); then run redkeep prune --grace 0",
                count(again.chunks, "chunk"),
                size(again.bytes)
            );
            Hinted::new(error, hint).into()
        }
        Some(_) | None => without_reserve(error),
    }
}

/// What is left to do where the room that was set aside for a full disk is used up as well.
pub(super) fn without_reserve(error: OperationError) -> anyhow::Error {
    match &error {
        OperationError::Repository(of) if of.is_full() => Hinted::new(
            error,
            "the room set aside for a full disk is used up: free a MiB on the repository's disk by other means, then run \
             redkeep prune --grace 0, which deletes at once what was forgotten",
        )
        .into(),
        _ => error.into(),
    }
}

fn text(report: &Report, dry_run: bool) -> String {
    let mut text = format!(
        "{} of {} for {}\n",
        count(report.packs, "pack"),
        size(report.pack_bytes),
        count(report.snapshots, "snapshot")
    );
    let line = |done: String, would: String| if dry_run { would } else { done };
    if report.condemned_packs > 0 {
        let what = format!("{}, {}", count(report.condemned_packs, "pack"), size(report.condemned_bytes));
        text.push_str(&line(format!("condemned {what}\n"), format!("would condemn {what}\n")));
    }
    if report.stored_again.chunks > 0 {
        let (again, chunks) = (report.stored_again, count(report.stored_again.chunks, "chunk"));
        let would = format!("would store again {chunks}, {} before compression\n", size(again.bytes));
        text.push_str(&line(format!("stored again {chunks}, {}\n", size(again.stored_bytes)), would));
    }
    if report.deleted_packs > 0 {
        let what = format!("{}, {}", count(report.deleted_packs, "pack"), size(report.deleted_bytes));
        let would = format!("would delete {what}, if no running backup has to be waited for\n");
        text.push_str(&line(format!("deleted {what}\n"), would));
    }
    if report.deleted_snapshots > 0 {
        let what = count(report.deleted_snapshots, "forgotten snapshot");
        let would = format!("would delete {what}, which no undelete brings back then\n");
        text.push_str(&line(format!("deleted {what}\n"), would));
    }
    for waiting in &report.waiting {
        text.push_str(&told(waiting));
    }
    if let Some(YoungToReseal { packs, left }) = report.young_to_reseal {
        let (packs, left) = (count(packs, "pack"), duration(left.as_millis() as u64));
        text.push_str(&format!(
            "{packs} sealed by older keys, too young yet: prune --reseal stores all again in {left}\n"
        ));
    }
    let unused = size(report.unused_bytes);
    text.push_str(&match report.condemned_packs + report.deleted_packs + report.deleted_snapshots {
        0 if report.waiting.is_empty() && report.young_to_reseal.is_none() => {
            format!("nothing to do; {unused} unneeded in packs that stay\n")
        }
        _ => format!("{unused} unneeded in packs that stay\n"),
    });
    text
}

fn told(waiting: &Waiting) -> String {
    match waiting {
        Waiting::Age { packs, bytes, left, .. } => {
            let (left, bytes) = (duration(left.as_millis() as u64), size(*bytes));
            format!("{}, {bytes}, will be deleted by a prune in {left} or later\n", count(*packs, "condemned pack"))
        }
        Waiting::Session { session, left, .. } => {
            format!(
                "waiting for session {}, which may be a running backup: prune again when it has ended, or in {} if it was \
                 killed\n",
                short(session),
                duration(left.as_millis() as u64)
            )
        }
        Waiting::Settling { commit_name } => {
            format!("waiting until {commit_name} is final on this store: prune again later\n")
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json {
    dry_run: bool,
    packs: u64,
    pack_bytes: u64,
    snapshots: u64,
    needed_chunks: u64,
    condemned_packs: u64,
    condemned_bytes: u64,
    rewritten_bytes: u64,
    unused_bytes: u64,
    stored_again: StoredAgain,
    deleted_packs: u64,
    deleted_bytes: u64,
    deleted_indexes: u64,
    deleted_snapshots: u64,
    removed_leases: u64,
    short_of_space: Option<String>,
    waiting: Vec<WaitingFor>,
    young_to_reseal: Option<Young>,
    alarms: Vec<json::AlarmOf>,
}

#[derive(Serialize)]
struct Young {
    packs: u64,
    seconds: u64,
}

#[derive(Serialize)]
struct StoredAgain {
    chunks: u64,
    bytes: u64,
    stored_bytes: u64,
}

#[derive(Serialize)]
#[serde(tag = "for", rename_all = "lowercase")]
enum WaitingFor {
    Age { condemned: String, packs: u64, bytes: u64, seconds: u64 },
    Session { session: String, commit_name: String, seconds: u64 },
    Settling { commit_name: String },
}

impl Json {
    fn new(report: &Report, short_of_space: &Option<String>, dry_run: bool) -> Json {
        let stored = report.stored_again;
        let waiting = |waiting: &Waiting| match waiting {
            Waiting::Age { condemned, packs, bytes, left } => WaitingFor::Age {
                condemned: condemned.to_string(),
                packs: *packs,
                bytes: *bytes,
                seconds: left.as_secs(),
            },
            Waiting::Session { session, commit_name, left } => WaitingFor::Session {
                session: session.to_string(),
                commit_name: commit_name.clone(),
                seconds: left.as_secs(),
            },
            Waiting::Settling { commit_name } => WaitingFor::Settling { commit_name: commit_name.clone() },
        };
        Json {
            dry_run,
            packs: report.packs,
            pack_bytes: report.pack_bytes,
            snapshots: report.snapshots,
            needed_chunks: report.needed_chunks,
            condemned_packs: report.condemned_packs,
            condemned_bytes: report.condemned_bytes,
            rewritten_bytes: report.rewritten_bytes,
            unused_bytes: report.unused_bytes,
            stored_again: StoredAgain { chunks: stored.chunks, bytes: stored.bytes, stored_bytes: stored.stored_bytes },
            deleted_packs: report.deleted_packs,
            deleted_bytes: report.deleted_bytes,
            deleted_indexes: report.deleted_indexes,
            deleted_snapshots: report.deleted_snapshots,
            removed_leases: report.removed_leases,
            short_of_space: short_of_space.clone(),
            waiting: report.waiting.iter().map(waiting).collect(),
            young_to_reseal: report
                .young_to_reseal
                .map(|young| Young { packs: young.packs, seconds: young.left.as_secs() }),
            alarms: Vec::new(),
        }
    }
}
