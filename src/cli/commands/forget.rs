//! `redkeep forget`.

use clap::Args;
use jiff::Span;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::prune::without_reserve;
use crate::cli::args::{OfDatasets, word};
use crate::cli::configuration::values;
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::human::Lean::Left;
use crate::cli::human::{count, duration, plain, short, some_of, table};
use crate::cli::outcome::Outcome;
use crate::cli::{json, selector, time};
use crate::operations::forget::policy::{PINNED, Policy, is_pinned};
use crate::operations::forget::{Dataset, Options, Report, Verdict, What, forget};
use crate::operations::list::{Datasets, Filter, Selector};
use crate::operations::timeline::{Coverage, Loss};
use crate::repository::Repository;

/// Say which snapshots are no longer wanted
///
/// Forgets snapshots: those that a policy does not keep, dataset by dataset, or those that are named. They are no longer
/// listed or restored. Nothing is deleted: `redkeep undelete` brings one back, with certainty for 24 hours, after which
/// a prune may delete what only forgotten snapshots need.
///
/// A policy is one or more --keep options; what any of them keeps is kept. Of each hour, day, ISO week, month or year the
/// newest snapshot counts, and only those in which there are snapshots are counted. One that keeps nothing of a dataset
/// is refused. Pinned snapshots are kept, and the last one before the keys fell by more than half, until a person says that
/// this was meant: `redkeep tag latest --accept-drop`, --ignore-key-drop, or its id. Nothing is forgotten while
/// a snapshot is missing or cannot be read.
///
/// A set (redkeep backup --cluster) is kept or forgotten as one: with one snapshot of it all are.
///
/// --keep-timeline keeps what `redkeep restore --at` needs, and no more: of captures of one AOF the last, of those that a
/// rewrite parted one each. With it a profile of a capture of the AOF each few minutes and one of each night can share a
/// dataset. How much of the timeline goes is said, in a dry run too.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep forget --keep-last 3 --keep-daily 14 --keep-monthly 12 --dry-run
  redkeep forget --dataset sessions --keep-within 7d --keep-weekly 8
  redkeep forget --keep-daily 14 --keep-tag release --zone UTC
  redkeep forget --keep-timeline 7d --keep-daily 14 --dry-run
  redkeep forget 8f3a09c2

JSON:
  {\"zone\": in which days were counted or null where snapshots were named,
   \"dry_run\": bool, \"kept\": number, \"forgotten\": number,
   \"datasets\": [{\"dataset\",
     \"kept\": [{\"id\", \"begin\", \"keys\": number or null where it is not
       known, \"reasons\": [text]}],
     \"forgotten\": [{\"id\", \"begin\", \"keys\"}],
     \"timeline\": {\"covered_ms\": time that an AOF covers, \"exact_ms\": of
       that to the second, \"moments\": single ones, as of dumps,
       \"gone_ms\", \"gone_exact_ms\", \"gone_moments\": what goes of each};
       not there where no moment is known}],
   \"already_forgotten\": [id], \"alarms\": [{\"code\", \"message\"}]}
")]
pub(crate) struct Arguments {
    /// Snapshots to forget, instead of a policy: ids, those of sets too, latest, latest~N or @TIME
    #[arg(value_parser = selector::parse, value_name = "SNAPSHOT")]
    snapshots: Vec<Selector>,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    of: OfDatasets,
    /// Only those with this tag; others are left alone
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Forget the last snapshot before the keys fell by more than half, where nothing else keeps it
    #[arg(long)]
    ignore_key_drop: bool,
    /// Forget named snapshots that are pinned
    ///
    /// A pin says that somebody counts on a snapshot, so its id alone does not forget it; to unpin it first would let every
    /// policy that runs meanwhile forget it too.
    #[arg(long)]
    even_pinned: bool,
    /// Forget named snapshots where that leaves a dataset without any
    #[arg(long)]
    allow_empty: bool,
    /// Say what would be forgotten, and why the others are kept, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// The policy. Written on the command line or in a profile.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(in crate::cli) struct Keep {
    /// Keep the newest N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(deserialize_with = "values::count")]
    keep_last: Option<u64>,
    /// Keep the newest of each of the last N hours with snapshots
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(deserialize_with = "values::count")]
    keep_hourly: Option<u64>,
    /// The same for days
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(deserialize_with = "values::count")]
    keep_daily: Option<u64>,
    /// The same for weeks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(deserialize_with = "values::count")]
    keep_weekly: Option<u64>,
    /// The same for months
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(deserialize_with = "values::count")]
    keep_monthly: Option<u64>,
    /// The same for years
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(deserialize_with = "values::count")]
    keep_yearly: Option<u64>,
    /// Keep all that are at most SPAN older than the newest of their dataset, such as 36h, 7d or 1y6mo
    #[arg(long, value_name = "SPAN", value_parser = time::span)]
    #[serde(deserialize_with = "values::span")]
    keep_within: Option<Span>,
    /// Keep those that restore --at needs for the last SPAN of time before the newest of their dataset: its timeline
    #[arg(long, value_name = "SPAN", value_parser = time::span)]
    #[serde(deserialize_with = "values::span")]
    keep_timeline: Option<Span>,
    /// Keep all with this tag; may be given several times
    #[arg(long = "keep-tag", value_name = "TAG", value_parser = word)]
    #[serde(deserialize_with = "values::names")]
    keep_tags: Vec<String>,
    /// Zone in which days begin: an IANA name such as Europe/Berlin, or UTC [default: the local zone]
    #[arg(long, value_name = "ZONE", value_parser = time::zone)]
    #[serde(deserialize_with = "values::zone")]
    zone: Option<TimeZone>,
}

impl Keep {
    /// What is forgotten by it; `None` where it says nothing, and nothing is.
    pub fn what(&self, ignore_key_drop: bool) -> Option<What> {
        let policy = Policy {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: self.keep_within,
            timeline: self.keep_timeline,
            tags: self.keep_tags.clone(),
        };
        let zone = self.zone.clone().unwrap_or_else(TimeZone::system);
        (!policy.is_empty()).then_some(What::Policy { policy, zone, ignore_key_drop })
    }
}

/// Forgets snapshots.
pub(super) fn run(arguments: Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let what = what(&arguments)?;
    let repository = context.open()?;
    context.progress.stop_in_order();
    let filter = Filter { dataset: arguments.of.dataset, tag: arguments.tag, ..Filter::default() };
    let options = Options { what, filter, dry_run: arguments.dry_run };
    let (report, outcome) = done(&repository, &options, context)?;
    if !report.datasets.is_empty() || !report.already.is_empty() {
        return Ok(outcome);
    }
    let (text, is_typo) = nothing_fits(&repository, &options.filter)?;
    Ok(if is_typo { outcome.with_warnings([text]) } else { outcome.with_notes([text]) })
}

/// Forgets, and says what that answers.
pub(super) fn done(repository: &Repository, options: &Options, context: &Context) -> anyhow::Result<(Report, Outcome)> {
    let report = forget(repository, options, &context.progress).map_err(without_reserve)?;
    let zone = match &options.what {
        What::Policy { zone, .. } => Some(time::zone_name(zone)),
        What::Named { .. } => None,
    };
    let text = text(&report, zone.as_deref());
    let json = json::Forget::new(&report, zone);
    let outcome = if report.dry_run { Outcome::listing(text, &json)? } else { Outcome::deed(text, &json)? };
    let already = report.already.iter().map(|r| format!("{} was forgotten before", short(&r.snapshot.session)));
    let outcome = outcome.in_short(in_short(&report)).with_notes(already).with_alarms(&report.alarms);
    Ok((report, outcome))
}

/// What was forgotten, in a few words.
fn in_short(report: &Report) -> String {
    let counts = report.datasets.iter().map(Dataset::counts);
    let (kept, forgotten) = counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    let for_fall = match report.datasets.iter().map(Dataset::kept_for_fall).sum::<usize>() {
        0 => String::new(),
        number => format!(", kept {number} from before the keys fell"),
    };
    let losses = report.datasets.iter().filter_map(|dataset| dataset.timeline.as_ref());
    let losses = losses.filter(|loss| loss.gone() != Coverage::default());
    let timeline: String = losses.map(|loss| format!(", {}", gone(loss))).collect();
    format!("forgot {forgotten} of {}{for_fall}{timeline}", count((kept + forgotten) as u64, "snapshot"))
}

/// Why nothing was forgotten, and whether it is for a dataset that there is not: a job with a mistyped name would never
/// forget anything, and nobody would know.
fn nothing_fits(repository: &Repository, filter: &Filter) -> anyhow::Result<(String, bool)> {
    let infos = repository.kept_snapshots()?;
    let mut datasets: Vec<String> = infos.iter().map(|info| info.dataset.clone()).collect();
    datasets.dedup();
    let is_unknown = |named: &&Datasets| !datasets.iter().any(|name| named.fits(name)) && !datasets.is_empty();
    let named = filter.dataset.as_ref().filter(is_unknown);
    Ok(match (named, &filter.tag) {
        (Some(name), _) => {
            (format!("no dataset is called {name}: nothing was forgotten; there are: {}", some_of(&datasets)), true)
        }
        (None, Some(tag)) => (format!("no snapshot has the tag {tag}: nothing was forgotten"), false),
        (None, None) => ("no snapshot fits: nothing was forgotten".into(), false),
    })
}

/// A policy or names, and not both.
fn what(arguments: &Arguments) -> Result<What, UsageError> {
    let policy = arguments.keep.what(arguments.ignore_key_drop);
    let wrong = |what: &str, hint: &str| Err(UsageError { what: what.into(), hint: hint.into() });
    match (arguments.snapshots.is_empty(), policy) {
        (true, None) => wrong(
            "neither a policy nor a snapshot to forget",
            "say what to keep, such as --keep-daily 14, or name snapshots by their ids",
        ),
        (false, Some(_)) => wrong("a policy and snapshots to forget", "give one of the two"),
        (true, Some(_)) if arguments.even_pinned || arguments.allow_empty => wrong(
            "--even-pinned and --allow-empty are for named snapshots",
            "no policy forgets what is pinned, or all of a dataset: name the snapshots",
        ),
        (true, Some(policy)) => Ok(policy),
        (false, None) => Ok(What::Named {
            snapshots: arguments.snapshots.clone(),
            even_pinned: arguments.even_pinned,
            allow_empty: arguments.allow_empty,
        }),
    }
}

fn text(report: &Report, zone: Option<&str>) -> String {
    let datasets = report.datasets.iter().map(|dataset| of_dataset(dataset, report.dry_run, zone));
    let mut text = datasets.collect::<Vec<String>>().join("\n");
    if let (Some(zone), false) = (zone, report.datasets.is_empty()) {
        text.push_str(&format!("\nhours, days, weeks, months and years are those of {zone}\n"));
    }
    text
}

fn of_dataset(dataset: &Dataset, dry_run: bool, zone: Option<&str>) -> String {
    let (kept, forgotten) = dataset.counts();
    let did = if dry_run { "would forget" } else { "forgot" };
    let name = plain(&dataset.name);
    let head = [("ID", Left), ("TIME", Left), ("VERDICT", Left), ("WHY", Left)];
    // Of named ones, those that stay are no news.
    let rows = dataset.verdicts.iter().filter(|verdict| zone.is_some() || !verdict.is_kept).map(row);
    let uncounted = match dataset.uncounted() as u64 {
        number @ 1.. if zone.is_some() => {
            format!(
                "of {}, how many keys it holds is not known: no fall can be seen there\n",
                count(number, "snapshot")
            )
        }
        _ => String::new(),
    };
    let all = count((kept + forgotten) as u64, "snapshot");
    let loss = dataset.timeline.as_ref().filter(|_| forgotten > 0).map(|loss| format!("{}\n", gone(loss)));
    format!("{name}: {did} {forgotten} of {all}\n{}{uncounted}{}", table(head, rows), loss.unwrap_or_default())
}

/// What of the timeline goes, in words.
fn gone(loss: &Loss) -> String {
    let (before, gone) = (loss.before, loss.gone());
    let time = (gone.time > 0).then(|| format!("{} of {}", duration(gone.time), duration(before.time)));
    let exact = gone.exact > 0 && gone.exact != gone.time;
    let exact = exact.then(|| format!("{} of what is known to the second", duration(gone.exact)));
    let moments = (gone.moments > 0).then(|| format!("{} of {}", gone.moments, count(before.moments, "single moment")));
    let parts: Vec<String> = [time, exact, moments].into_iter().flatten().collect();
    match parts.is_empty() {
        true => "of the timeline nothing goes".into(),
        false => format!("of the timeline goes: {}", parts.join(", ")),
    }
}

fn row(verdict: &Verdict) -> [String; 4] {
    let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
    let why = if !verdict.is_kept && is_pinned(&verdict.info.tags) { PINNED.into() } else { reasons.join(", ") };
    let verdict_word = if verdict.is_kept { "kept" } else { "forgotten" };
    let time = time::show(verdict.info.captured_at());
    [short(&verdict.info.name.session), time, verdict_word.into(), why]
}
