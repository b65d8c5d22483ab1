//! `redkeep tag`.

use clap::Args;

use crate::cli::args::{OfDataset, word};
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::human::{facts, plain, short};
use crate::cli::outcome::Outcome;
use crate::cli::{json, selector};
use crate::format::counts::ACCEPTED;
use crate::operations::forget::policy::PINNED;
use crate::operations::list::Selector;
use crate::operations::sets::{Meant, choose_any};
use crate::operations::tag::{Options, Report, tag, tag_set};

/// Change the tags of a snapshot, or pin it
///
/// Changes the tags of a snapshot. A snapshot is never rewritten: one with the same content and times and the new tags
/// takes its place, with an id of its own, and the old one is forgotten. Nothing is stored twice. Of a set (redkeep backup
/// --cluster) all snapshots are changed, and the set keeps its id.
///
/// A pinned snapshot has the tag `pinned`; no policy of `redkeep forget` forgets it.
///
/// Where a snapshot has less than half of the keys of the one before it, no policy forgets the fuller one, until a person
/// says with --accept-drop, for that snapshot or a later one, that this was meant. It gets the tag `drop-accepted`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep tag latest --add before-upgrade
  redkeep tag 8f3a09c2 --pin
  redkeep tag 8f3a09c2 --unpin --remove before-upgrade
  redkeep tag latest --dataset sessions --accept-drop

JSON:
  {\"old\": id, \"new\": id (the same where nothing changed), \"dataset\",
   \"tags\": [text], \"changed\": bool, \"alarms\": [{\"code\", \"message\"}]}
  Of a set:
  {\"set\": id, \"name\", \"complete\": bool, \"skew_ms\", \"snapshots\": [as above]}
")]
pub(crate) struct Arguments {
    /// The snapshot: the begin of its id, latest, latest~N or @TIME
    #[arg(value_parser = selector::parse, value_name = "SNAPSHOT")]
    snapshot: Selector,
    #[command(flatten)]
    of: OfDataset,
    /// A tag it shall have; may be given several times
    #[arg(long, value_name = "TAG", value_parser = word)]
    add: Vec<String>,
    /// A tag it shall not have; may be given several times
    #[arg(long, value_name = "TAG", value_parser = word)]
    remove: Vec<String>,
    /// No policy shall forget it
    #[arg(long, conflicts_with = "unpin")]
    pin: bool,
    /// Policies may forget it
    #[arg(long)]
    unpin: bool,
    /// The keys that were lost up to it are not missed: what was kept for their sake is no longer
    #[arg(long)]
    accept_drop: bool,
}

/// Changes tags.
pub(super) fn run(arguments: Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let Arguments { snapshot, of, mut add, mut remove, pin, unpin, accept_drop } = arguments;
    if let Some(both) = add.iter().find(|tag| remove.contains(tag)) {
        let what = format!("the tag {both} is to be added and removed");
        return Err(UsageError { what, hint: "give one of the two".into() }.into());
    }
    add.extend(accept_drop.then(|| ACCEPTED.to_string()));
    add.extend(pin.then(|| PINNED.to_string()));
    remove.extend(unpin.then(|| PINNED.to_string()));
    if add.is_empty() && remove.is_empty() {
        let (what, hint) =
            ("no change of tags was asked for".into(), "give --add, --remove, --pin, --unpin or --accept-drop".into());
        return Err(UsageError { what, hint }.into());
    }
    let repository = context.open()?;
    context.progress.stop_in_order();
    let (dataset, options) = (of.dataset.as_deref(), Options { add, remove });
    // One that was retagged before has another id now, which `tag` knows.
    if let Ok(Meant::Set(set)) = choose_any(&repository, &snapshot, dataset) {
        let reports = tag_set(&repository, &set, &options, &context.progress)?;
        let changed = reports.iter().map(json::Tag::from).collect();
        let alarms = reports.iter().flat_map(|report| report.alarms.clone()).chain(set.alarms.clone());
        let mut alarms: Vec<_> = alarms.collect();
        alarms.dedup();
        let outcome =
            Outcome::deed(reports.iter().map(text).collect(), &json::DoneWithSet::<json::Tag>::new(&set, changed))?;
        return Ok(outcome.with_warnings(set.incomplete()).with_alarms(&alarms));
    }
    let report = tag(&repository, &snapshot, dataset, &options, &context.progress)?;
    Ok(Outcome::deed(text(&report), &json::Tag::from(&report))?.with_alarms(&report.alarms))
}

fn text(report: &Report) -> String {
    let (old, new) = (short(&report.old.session), short(&report.new.session));
    let dataset = plain(&report.dataset);
    let head = match report.old == report.new {
        true => format!("snapshot {new} of {dataset} has these tags already\n"),
        false => format!("snapshot {old} of {dataset} is now {new}\n"),
    };
    let tags = if report.tags.is_empty() { "none".into() } else { report.tags.join(", ") };
    format!("{head}{}", facts(&[("tags", tags)]))
}
