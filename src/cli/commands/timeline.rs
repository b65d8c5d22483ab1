//! `redkeep timeline`.

use clap::Args;

use super::refuse_unknown;
use crate::cli::args::OfDatasets;
use crate::cli::context::Context;
use crate::cli::human::Lean::{Left, Right};
use crate::cli::human::{duration, short, table};
use crate::cli::outcome::Outcome;
use crate::cli::{json, key_count, time};
use crate::format::UnixMillis;
use crate::format::object::SnapshotName;
use crate::format::timeline::Precision;
use crate::operations::timeline::{Cause, Filter, Gap, Piece, Stretch, Timeline, load};

/// Show which moments can be restored
///
/// Shows the spans of time to which each dataset can be restored with `redkeep restore --at`, how exactly, and why there
/// are gaps between them. KEYS is how many keys the last of the snapshots holds, ? where that is not known. Times are those of this host's clock, as --at takes them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep timeline
  redkeep timeline --dataset sessions --since 'yesterday 00:00'
  redkeep timeline --json | jq -r '.timelines[].gaps[].cause'

Precision:
  second    every second (the server wrote with aof-timestamp-enabled yes)
  marks     only the moments of captures; --at takes the last one before.
            What was written while it was captured may be there too
  snapshot  this one moment: a dump

Causes of gaps:
  rewrite   the AOF was rewritten, or switched off and on, between captures:
            capture more often than that, or let it grow longer
  restart   another server process wrote the later AOF
  aof-off   an AOF was captured before or after it, and not on the other side
  no-aof    dumps alone were captured: there is nothing between them
  stale     a capture met an AOF that may have been of an earlier time
  damage    the AOF that was captured is damaged from there on; --at with
            --nearest cuts it at its last whole command

JSON:
  {\"timelines\": [{\"dataset\",
     \"spans\": [{\"begin\", \"end\", \"precision\": as above,
       \"keys\" and \"keys_counted\" of the last of its snapshots, as in
         redkeep snapshots, \"snapshots\": number of snapshots,
       \"first\": id, \"last\": id}],
     \"gaps\": [{\"begin\", \"end\", \"cause\": as above}],
     \"stale\": [id of a snapshot that holds no moment],
     \"damaged\": [id of a snapshot whose AOF is damaged behind what is shown],
       \"carried\": [id of a snapshot whose AOF was copied or restored to its
       place, and is shown from then on]; both not there where there is none,
     \"covered_last_day\": share from 0 to 1, \"exact_last_day\": the same of
       spans to the second, \"server_ahead_ms\": server's clock minus this
       host's}],
   \"alarms\": [{\"code\", \"message\"}]}
")]
pub(crate) struct Arguments {
    #[command(flatten)]
    of: OfDatasets,
    /// Only spans that end at TIME or later
    #[arg(long, value_name = "TIME", value_parser = time::parse_now)]
    since: Option<UnixMillis>,
}

/// Shows timelines.
pub(super) fn run(arguments: Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    let Arguments { of, since } = arguments;
    let since_note = since.map(|since| format!("spans since {}", time::show(since)));
    let filter = Filter { dataset: of.dataset, since };
    let (all, alarms) = load(&repository, &filter)?;
    if all.is_empty() && alarms.is_empty() {
        refuse_unknown(&repository, filter.dataset.as_ref())?;
    }
    let json = json::Timelines::new(&all, &alarms);
    let none = (all.is_empty() && !context.globals.json).then(|| "no snapshot fits".to_string());
    let text: Vec<String> = all.iter().map(text).collect();
    let clocks = all.iter().filter_map(clock_note);
    let outcome = Outcome::listing(text.join("\n"), &json)?.with_notes(since_note).with_notes(none);
    Ok(outcome.with_notes(clocks).with_alarms(&alarms))
}

fn text(timeline: &Timeline) -> String {
    let percent = |share: u64| format!("{}.{} %", share / 10, share % 10);
    let covered = timeline.covered;
    let mut text = format!(
        "timeline of {}: {} of the last day covered, {} to the second\n",
        crate::cli::human::plain(&timeline.dataset),
        percent(covered.all),
        percent(covered.exact)
    );
    let head =
        [("FROM", Left), ("TO", Left), ("LENGTH", Right), ("PRECISION", Left), ("KEYS", Right), ("SNAPSHOTS", Left)];
    text.push_str(&table(head, rows(timeline)));
    for stale in &timeline.stale {
        let id = short(&stale.session);
        text.push_str(&format!("snapshot {id} holds no moment: its AOF may be older than its dump\n"));
    }
    let newest = |names: &[SnapshotName]| {
        let (id, more) = (short(&names.last()?.session), names.len() - 1);
        Some(if more > 0 { format!("{id} (and of {more} more)") } else { id })
    };
    if let Some(of) = newest(&timeline.carried) {
        text.push_str(&format!(
            "the AOF of snapshot {of} was copied or restored to its place: what it holds from before then may be of \
             another dataset, and is not shown\n"
        ));
    }
    if let Some(of) = newest(&timeline.damaged) {
        text.push_str(&format!(
            "the AOF of snapshot {of} is damaged behind what is shown: restore --at with --nearest cuts it at its \
             last whole command\n"
        ));
    }
    text
}

fn rows(timeline: &Timeline) -> Vec<[String; 6]> {
    let mut rows = Vec::new();
    for stretch in &timeline.stretches {
        let gap = timeline.gaps.iter().find(|gap| gap.end == stretch.begin());
        rows.extend(gap.map(|gap| of_gap(gap, stretch.clock)));
        rows.extend(stretch.pieces.iter().map(|piece| of_piece(piece, stretch)));
    }
    rows
}

fn of_piece(piece: &Piece, stretch: &Stretch) -> [String; 6] {
    let ids = match stretch.snapshots.as_slice() {
        [one] => short(&one.session),
        [first, .., last] => {
            format!("{} to {} ({})", short(&first.session), short(&last.session), stretch.snapshots.len())
        }
        [] => String::new(),
    };
    let [from, to, length] = times(piece.begin, piece.end, stretch.clock);
    [from, to, length, precision(piece.precision).into(), key_count::cell(stretch.keys), ids]
}

fn of_gap(gap: &Gap, clock: i64) -> [String; 6] {
    let why = match gap.cause {
        Cause::Rewrite => "rewritten, or off, in between",
        Cause::Restart => "another server process",
        Cause::AofOff => "an AOF captured on one side only",
        Cause::NoAof => "no AOF captured",
        Cause::Stale => "stale AOF captured",
        Cause::Damage => "AOF damaged",
    };
    let [from, to, length] = times(gap.begin, gap.end, clock);
    [from, to, length, "gap".into(), String::new(), why.into()]
}

fn times(begin: UnixMillis, end: UnixMillis, clock: i64) -> [String; 3] {
    let here = |time| time::show(time::of_host(time, clock));
    [here(begin), here(end), duration(end.0.saturating_sub(begin.0))]
}

/// The word for a precision.
pub(in crate::cli) fn precision(precision: Precision) -> &'static str {
    match precision {
        Precision::Second => "second",
        Precision::Marks => "marks",
        Precision::Snapshot => "snapshot",
    }
}

/// The word for a cause.
pub(in crate::cli) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Rewrite => "rewrite",
        Cause::Restart => "restart",
        Cause::AofOff => "aof-off",
        Cause::NoAof => "no-aof",
        Cause::Stale => "stale",
        Cause::Damage => "damage",
    }
}

fn clock_note(timeline: &Timeline) -> Option<String> {
    let apart = timeline.clock.unsigned_abs();
    let direction = if timeline.clock > 0 { "ahead of" } else { "behind" };
    let dataset = crate::cli::human::plain(&timeline.dataset);
    (apart >= 1000)
        .then(|| format!("the clock of the server of {dataset} is {} {direction} this host's", duration(apart)))
}
