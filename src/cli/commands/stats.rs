//! `redkeep stats`.

mod of_snapshots;

use std::collections::BTreeMap;

use clap::Args;

use crate::cli::args::OfDatasets;
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::human::Lean::{Left, Right};
use crate::cli::human::{facts, plain, size, table};
use crate::cli::outcome::Outcome;
use crate::cli::{json, key_count, selector, time};
use crate::operations::list::{Datasets, Selector};
use crate::operations::stats::{DatasetStats, Report, stats, usage};
use crate::repository::Used;

/// Show what the repository holds and what it costs
///
/// Shows what the repository holds and what it costs. RESTORED is the size of all snapshots if each were restored;
/// STORED is what they added to the repository; UNIQUE is what it keeps for this dataset alone, SHARED what others use as
/// well. UNIQUE of all, what several share, what is needed only as a base of deltas, and what prune can give back are the
/// packs; KEYS is how many keys the newest one holds, ? where that is not
/// known.
///
/// With --snapshots it shows what each snapshot costs: FREED is what nobody needs once that one alone is forgotten, and prune
/// gives back; BASES is what is its own too and stays, since deltas of others are made against it, until prune stores these
/// again.
///
/// Of a SNAPSHOT it shows that, and the largest keys and prefixes (up to a colon) of its dump, by the size of names and values
/// before compression. Commands of an AOF behind the dump are not followed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep stats
  redkeep stats --snapshots --dataset sessions
  redkeep stats latest --count 20
  redkeep stats --json | jq .pack_bytes

JSON:
  {\"repository\": id, \"location\", \"snapshots\": number, \"restored_bytes\",
   \"packs\": number, \"pack_bytes\", \"chunks\": number,
   \"chunk_bytes\": their size before compression, \"deltas\": number,
   \"shared_bytes\": number, \"base_bytes\", \"reclaimable_bytes\",
   null as those of datasets where something needed cannot be read,
   \"datasets\": [{\"dataset\", \"snapshots\": number, \"restored_bytes\",
     \"stored_bytes\", \"stored\", \"table_bytes\": as in redkeep backup,
     \"forms\": the same, of the newest snapshot, \"unique_bytes\",
     \"shared_bytes\", \"newest\": time or null,
     \"keys\": of the newest snapshot, or null where it is not known}],
   \"alarms\": [{\"code\", \"message\"}]}
  With --snapshots (their freed_bytes, several_bytes and reclaimable_bytes
  add up to pack_bytes, base_bytes are among several_bytes):
  {\"repository\", \"location\", \"pack_bytes\",
   \"several_bytes\": stay whichever one is forgotten, or null as above,
   \"reclaimable_bytes\",
   \"snapshots\": [as in redkeep snapshots, drills apart, and: \"freed_bytes\",
     \"base_bytes\"], \"alarms\"}
  Of a SNAPSHOT:
  {\"snapshot\": one of these, \"dump_keys\": number, \"dump_bytes\",
   \"largest_keys\": [{\"db\", \"key\": text or {\"hex\"}, its first 64 KiB,
     \"type\" or null, \"bytes\"}],
   \"largest_prefixes\": [{\"db\", \"prefix\": text or {\"hex\"},
     \"keys\": number, \"bytes\"}], or null where the dump is not stored by keys,
   \"unread\": why keys may be missing, or null, \"alarms\"}
")]
pub(crate) struct Arguments {
    /// Show the costs and the largest keys of this one: the begin of an id, latest, latest~N or @TIME
    #[arg(value_parser = selector::parse, value_name = "SNAPSHOT", conflicts_with = "snapshots")]
    snapshot: Option<Selector>,
    /// Show what each snapshot costs
    #[arg(long)]
    snapshots: bool,
    #[command(flatten)]
    of: OfDatasets,
    /// So many of the largest keys and prefixes
    #[arg(long, value_name = "N", default_value_t = 10, requires = "snapshot",
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
}

/// Shows sums.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let datasets = arguments.of.dataset.as_ref();
    match &arguments.snapshot {
        Some(selector) => {
            return of_snapshots::one(selector, datasets.and_then(Datasets::name), arguments.count.into(), context);
        }
        None if arguments.snapshots => return of_snapshots::all(datasets, context),
        None if datasets.is_some() => {
            let what = "--dataset chooses among snapshots, and none was asked for".into();
            let hint = "add --snapshots, or a SNAPSHOT such as latest".into();
            return Err(UsageError { what, hint }.into());
        }
        None => {}
    }
    let repository = context.open()?;
    let report = stats(&repository)?;
    let (id, location) = (repository.id().to_string(), repository.location());
    context.progress.stop_in_order();
    let usage = usage(&repository, &context.progress)?;
    let text = text(&id, &location, &report, usage.as_ref());
    Ok(Outcome::listing(text, &json::Stats::new(id, location, &report, usage.as_ref()))?.with_alarms(&report.alarms))
}

/// Whose the bytes of the packs are, one line for each part.
fn parts((datasets, usage): &Used) -> [(&'static str, String); 4] {
    let unique: u64 = datasets.values().map(|dataset| dataset.unique).sum();
    [
        ("  unique", format!("{}, used by one dataset", size(unique))),
        ("  shared", format!("{}, used by several", size(usage.shared))),
        ("  bases", format!("{}, needed only to decode deltas", size(usage.bases))),
        (
            "  reclaimable",
            format!("{}, by prune, once what was forgotten is older than its grace time", size(usage.unneeded)),
        ),
    ]
}

/// What each dataset's backups stored, by what it is, and how the dumps of its newest snapshot are stored.
fn what_is_stored(datasets: &BTreeMap<String, DatasetStats>) -> String {
    let mut text = format!(
        "\n{}",
        table(
            [("STORED OF", Left), ("KIND", Left), ("CHUNKS", Right), ("SIZE", Right), ("STORED", Right)],
            datasets.iter().flat_map(|(name, stats)| stats.by_kind().into_iter().map(move |(kind, new)| {
                [name.clone(), kind.into(), new.chunks.to_string(), size(new.bytes), size(new.stored)]
            }))
        )
    );
    let forms = datasets.iter().flat_map(|(name, stats)| stats.forms.iter().map(move |form| (name, form)));
    for (name, form) in forms.filter(|(_, form)| form.form.why.is_some()) {
        let why = form.form.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let path = String::from_utf8_lossy(&form.path);
        text.push_str(&plain(&format!("{name}: {path} is stored {}{why}", form.form.state.word())));
        text.push('\n');
    }
    text
}

fn text(id: &str, location: &str, report: &Report, usage: Option<&Used>) -> String {
    let totals = &report.totals;
    let mut text = format!("repository {id}\n");
    text.push_str(&facts(&[
        ("location", location.into()),
        ("snapshots", format!("{}, {} if each were restored", report.snapshots, size(report.restored_bytes))),
        ("chunks", format!("{}, {} before compression", totals.chunks, size(totals.chunk_bytes))),
        ("packs", format!("{}, {}", totals.packs, size(totals.pack_bytes))),
    ]));
    text.push_str(&usage.map_or(String::new(), |usage| facts(&parts(usage))));
    if !report.datasets.is_empty() {
        let head = [
            ("DATASET", Left),
            ("SNAPSHOTS", Right),
            ("RESTORED", Right),
            ("STORED", Right),
            ("UNIQUE", Right),
            ("SHARED", Right),
            ("NEWEST", Left),
            ("KEYS", Right),
        ];
        let row = |(name, stats): (&String, &DatasetStats)| {
            [
                name.clone(),
                stats.snapshots.to_string(),
                size(stats.restored_bytes),
                size(stats.stored_bytes),
                usage.and_then(|(all, _)| all.get(name)).map_or("?".into(), |usage| size(usage.unique)),
                usage.and_then(|(all, _)| all.get(name)).map_or("?".into(), |usage| size(usage.shared)),
                stats.newest.map(time::show).unwrap_or_default(),
                stats.keys.map(key_count::cell).unwrap_or_default(),
            ]
        };
        text.push('\n');
        text.push_str(&table(head, report.datasets.iter().map(row)));
        text.push_str(&what_is_stored(&report.datasets));
    }
    text
}
