//! `redkeep snapshots`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;

use super::{clocks, refuse_unknown};
use crate::cli::args::OfSnapshots;
use crate::cli::context::Context;
use crate::cli::human::Lean::{Left, Right};
use crate::cli::human::{count, short, size, table};
use crate::cli::outcome::Outcome;
use crate::cli::{json, key_count, time};
use crate::format::object::SnapshotName;
use crate::operations::list::{Filter, Forgotten, forgotten, snapshots};
use crate::operations::sets::{Set, sets};
use crate::repository::{DrillRecord, Repository, SnapshotInfo};

/// List snapshots
///
/// Lists snapshots, by dataset and age. SIZE is what a restore brings back; STORED is what the snapshot added to the
/// repository; KEYS is how many keys the dataset holds, ? where that is not known; NOTES tells of warnings, and how the newest drill ended (redkeep verify --drill).
///
/// A set, the shards of a cluster that redkeep backup --cluster captured, is one line, under NAME/*; --dataset 'NAME/*' shows the
/// snapshots of it.
///
/// With --forgotten it lists those that were forgotten instead: UNTIL is the time until which each can certainly be brought
/// back with `redkeep undelete`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep snapshots
  redkeep snapshots --dataset sessions --since 'yesterday 00:00'
  redkeep snapshots --dataset 'web*' --host web1
  redkeep snapshots --forgotten
  redkeep snapshots --json | jq -r '.snapshots | sort_by(.begin)[-1].id'

JSON:
  {\"snapshots\": [{\"id\", \"dataset\", \"sequence\": from 1, \"begin\", \"end\",
     \"moment\" or null, \"host\", \"directory\", \"tags\": [text], \"files\": number,
     \"bytes\", \"new_bytes\", \"stored_bytes\", \"stored\", \"table_bytes\",
     \"forms\": as in redkeep backup,
     \"keys\": number or null where it is not known, \"keys_counted\":
       \"structure\" (in the dump), \"server\" (when its AOF was captured), or
       why not: \"no-dataset\", \"doubt\", \"suspect\", \"not-understood\",
       \"commands\" (of an AOF no server was asked about), \"not-counted\",
     \"warnings\": number,
     \"pinned\": bool, \"set\": null or {\"id\", \"name\", \"shard\": from 1,
       \"slots\"}, \"drill\": null or the newest one: {\"passed\": bool,
       \"time\", \"host\", \"server\", \"keys\": number,
       \"problem\": text or null}}],
   \"sets\": [{\"id\", \"name\", \"shards\": number, \"missing\": [slots],
     \"skew_ms\": between the first and the last moment,
     \"snapshots\": [id]}],
   \"alarms\": [{\"code\", \"message\"}]}
  With --forgotten:
  {\"forgotten\": [{\"id\", \"forgotten\": when, \"reason\",
     \"until\": when it may go for good,
     \"snapshot\": as above, or null where it is gone}],
   \"alarms\": [{\"code\", \"message\"}]}
")]
pub(crate) struct Arguments {
    #[command(flatten)]
    of: OfSnapshots,
    /// Those that were forgotten, and until when each can certainly be brought back
    #[arg(long)]
    forgotten: bool,
}

/// Lists snapshots.
pub(super) fn run(arguments: Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    let filter = arguments.of.filter();
    if arguments.forgotten {
        return run_forgotten(&repository, &filter, context);
    }
    let (infos, mut alarms) = snapshots(&repository, &filter)?;
    // What is lost may have been all of it: the alarm says so.
    if infos.is_empty() && alarms.is_empty() {
        refuse_unknown(&repository, filter.dataset.as_ref())?;
    }
    let drills = repository.drill_results()?;
    alarms.extend(repository.recorded_damage()?);
    let snapshot = |info: &SnapshotInfo| json::Snapshot::with_drill(info, drills.get(&info.name));
    let sets = sets(&infos);
    let json = json::Snapshots {
        snapshots: infos.iter().map(snapshot).collect(),
        sets: sets.iter().map(json::SetOf::from).collect(),
        alarms: json::alarms(&alarms),
    };
    // Who names datasets wants to see what is in them.
    let as_one = if filter.dataset.is_none() { sets.as_slice() } else { &[] };
    let since = filter.since.map(|since| format!("snapshots since {}", time::show(since)));
    let none = (infos.is_empty() && !context.globals.json).then(|| "no snapshot fits".to_string());
    let text = if infos.is_empty() { String::new() } else { text(&infos, as_one, &drills) };
    let shown: BTreeSet<&SnapshotName> = infos.iter().map(|info| &info.name).collect();
    let clocks = clocks::notes(&repository, |name| shown.contains(name))?;
    Ok(Outcome::listing(text, &json)?.with_notes(since).with_notes(none).with_notes(clocks).with_alarms(&alarms))
}

fn run_forgotten(repository: &Repository, filter: &Filter, context: &Context) -> anyhow::Result<Outcome> {
    let (all, alarms) = forgotten(repository, filter)?;
    if all.is_empty() && alarms.is_empty() {
        refuse_unknown(repository, filter.dataset.as_ref())?;
    }
    let json = json::ForgottenSnapshots {
        forgotten: all.iter().map(json::ForgottenSnapshot::from).collect(),
        alarms: json::alarms(&alarms),
    };
    let since = filter.since.map(|since| format!("snapshots since {}", time::show(since)));
    let none = (all.is_empty() && !context.globals.json).then(|| "no forgotten snapshot fits".to_string());
    let head = [("ID", Left), ("TIME", Left), ("DATASET", Left), ("UNTIL", Left), ("WHY", Left)];
    // Their records stay for ever; a person looks for what can be brought back.
    let row = |one: &Forgotten| {
        let info = one.info.as_ref()?;
        let (id, time) = (short(&one.record.snapshot.session), time::show(info.captured_at()));
        Some([id, time, info.dataset.clone(), time::show(one.until()), one.record.reason.clone()])
    };
    let rows: Vec<_> = all.iter().filter_map(row).collect();
    let gone = (all.len() - rows.len()) as u64;
    let gone = (gone > 0 && !context.globals.json)
        .then(|| format!("gone for good, and shown with --json: {}", count(gone, "forgotten snapshot")));
    let text = if rows.is_empty() { String::new() } else { table(head, rows) };
    Ok(Outcome::listing(text, &json)?.with_notes(since).with_notes(none).with_notes(gone).with_alarms(&alarms))
}

/// Results of drills by snapshot.
type Drills = BTreeMap<SnapshotName, DrillRecord>;

fn remarks(info: &SnapshotInfo, names_set: bool, drill: Option<&DrillRecord>) -> String {
    let warnings = (info.warnings > 0).then(|| count(info.warnings, "warning"));
    let drill = drill.map(|record| {
        let verdict = if record.passed() { "passed" } else { "FAILED" };
        format!("drill {verdict} {}", time::show(record.time))
    });
    let set = info.told.set.as_ref().filter(|_| names_set).map(|of| format!("of set {}", short(&of.id)));
    warnings.into_iter().chain(set).chain(drill).collect::<Vec<_>>().join(", ")
}

/// What all of them are together.
fn total(infos: &[SnapshotInfo]) -> String {
    let mut datasets: Vec<&str> = infos.iter().map(|info| info.dataset.as_str()).collect();
    datasets.dedup();
    let sum = |bytes: fn(&SnapshotInfo) -> u64| size(infos.iter().map(bytes).fold(0, u64::saturating_add));
    let (snapshots, datasets) = (count(infos.len() as u64, "snapshot"), count(datasets.len() as u64, "dataset"));
    let (restored, new) = (sum(|info| info.bytes), sum(|info| info.stored_bytes));
    format!("{snapshots} of {datasets}, {restored} if each were restored, {new} stored by them\n")
}

/// A set in one line, where the first of its snapshots would stand.
fn row_of_set(set: &Set<'_>, drills: &Drills) -> [String; 9] {
    let members = || set.members.values();
    let sum = |number: fn(&SnapshotInfo) -> u64| members().map(|info| number(info)).fold(0, u64::saturating_add);
    let keys: Option<u64> = members().map(|info| info.keys.keys()).sum();
    let (there, shards) = (set.members.len() as u64, set.of.slots.len() as u64);
    let what = match set.missing().is_empty() {
        true => format!("set of {}, {} ms apart", count(shards, "shard"), set.skew()),
        false => format!("INCOMPLETE set: {there} of {}", count(shards, "shard")),
    };
    let own = members().map(|info| remarks(info, false, drills.get(&info.name))).filter(|remark| !remark.is_empty());
    let mut own: Vec<String> = own.collect();
    own.dedup();
    [
        short(&set.of.id),
        time::show(set.moments().0),
        format!("{}/*", set.of.name),
        sum(|info| info.files).to_string(),
        size(sum(|info| info.bytes)),
        size(sum(|info| info.stored_bytes)),
        keys.map_or("?".into(), |keys| keys.to_string()),
        members().next().map(|info| info.tags.join(", ")).unwrap_or_default(),
        [what].into_iter().chain(own).collect::<Vec<_>>().join(", "),
    ]
}

fn text(infos: &[SnapshotInfo], sets: &[Set<'_>], drills: &Drills) -> String {
    let head = [
        ("ID", Left),
        ("TIME", Left),
        ("DATASET", Left),
        ("FILES", Right),
        ("SIZE", Right),
        ("STORED", Right),
        ("KEYS", Right),
        ("TAGS", Left),
        ("NOTES", Left),
    ];
    let set_of = |info: &SnapshotInfo| {
        let of = info.told.set.as_ref()?;
        sets.iter().find(|set| set.of.id == of.id)
    };
    let row_of_one = |info: &SnapshotInfo| {
        [
            short(&info.name.session),
            time::show(info.captured_at()),
            info.dataset.clone(),
            info.files.to_string(),
            size(info.bytes),
            size(info.stored_bytes),
            key_count::cell(info.keys),
            info.tags.join(", "),
            remarks(info, true, drills.get(&info.name)),
        ]
    };
    let row = |info: &SnapshotInfo| match set_of(info) {
        None => Some(row_of_one(info)),
        Some(set) => {
            let is_first = set.members.values().next().is_some_and(|first| first.name == info.name);
            is_first.then(|| row_of_set(set, drills))
        }
    };
    let total = if infos.len() > 1 { total(infos) } else { String::new() };
    table(head, infos.iter().filter_map(row)) + &total
}
