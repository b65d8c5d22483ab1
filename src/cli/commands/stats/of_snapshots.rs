//! What snapshots cost, and the largest keys of one.

use crate::cli::commands::{pick, refuse_unknown};
use crate::cli::context::Context;
use crate::cli::human::Lean::{Left, Right};
use crate::cli::human::{count, facts, short, shown, size, some_of, table};
use crate::cli::outcome::Outcome;
use crate::cli::{json, time};
use crate::format::form::FormState;
use crate::operations::list::{Datasets, Filter, Selector};
use crate::operations::look_up::{Largest, LargestKey, LargestPrefix, doubts, largest};
use crate::operations::stats::by_snapshot;
use crate::repository::{Alone, FormOf, Owned, SnapshotInfo};

/// One line for each snapshot.
pub(super) fn all(dataset: Option<&Datasets>, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    let mut alarms = repository.refresh()?;
    alarms.extend(repository.pack_alarms()?);
    let filter = Filter { dataset: dataset.cloned(), ..Filter::default() };
    context.progress.stop_in_order();
    let (infos, owned) = by_snapshot(&repository, &context.progress)?;
    let shown: Vec<(usize, &SnapshotInfo)> = infos.iter().enumerate().filter(|(_, info)| filter.fits(info)).collect();
    if shown.is_empty() && alarms.is_empty() {
        refuse_unknown(&repository, dataset)?;
    }
    let (id, location) = (repository.id().to_string(), repository.location());
    let packs = repository.totals()?.pack_bytes;
    let mut json = json::SnapshotStats::new(id, location, packs, owned.as_ref(), &alarms);
    shown.iter().for_each(|(number, info)| json.add(*number, info));
    let none = (shown.is_empty() && !context.globals.json).then(|| "no snapshot fits".to_string());
    let text = if shown.is_empty() { String::new() } else { text(&shown, owned.as_ref(), packs) };
    Ok(Outcome::listing(text, &json)?.with_notes(none).with_alarms(&alarms))
}

/// What it costs, in all, and what is freed by its end.
fn costs(info: &SnapshotInfo, alone: Option<&Alone>) -> [String; 3] {
    let or_unknown = |bytes: Option<u64>| bytes.map_or("?".into(), size);
    [size(info.stored_bytes), or_unknown(alone.map(|of| of.freed)), or_unknown(alone.map(|of| of.bases))]
}

fn text(shown: &[(usize, &SnapshotInfo)], owned: Option<&Owned>, packs: u64) -> String {
    let head = [
        ("ID", Left),
        ("TIME", Left),
        ("DATASET", Left),
        ("DUMPS", Right),
        ("STORED", Right),
        ("FREED", Right),
        ("BASES", Right),
        ("NEW", Left),
        ("FORM", Left),
    ];
    let row = |(number, info): &(usize, &SnapshotInfo)| {
        let [stored, freed, bases] = costs(info, owned.and_then(|owned| owned.snapshots.get(*number)));
        let dumps = info.told.forms.iter().map(|of| of.size).fold(0, u64::saturating_add);
        let (kinds, _) = info.told.summary.by_kind();
        let kinds = kinds.filter(|(_, new)| new.stored > 0);
        let kinds: Vec<String> = kinds.map(|(holds, new)| format!("{} {}", holds.word(), size(new.stored))).collect();
        [
            short(&info.name.session),
            time::show(info.captured_at()),
            info.dataset.clone(),
            size(dumps),
            stored,
            freed,
            bases,
            kinds.join(", "),
            form(&info.told.forms),
        ]
    };
    let mut text = table(head, shown.iter().map(row));
    if let Some(owned) = owned {
        text.push('\n');
        text.push_str(&facts(&[
            ("packs", size(packs)),
            ("several", format!("{}, needed by several snapshots", size(owned.several))),
            ("reclaimable", format!("{}, needed by none", size(owned.unneeded))),
        ]));
    }
    text
}

/// How its dumps are stored; where not all of them in canonical form, which of them and why.
fn form(forms: &[FormOf]) -> String {
    let others = forms.iter().filter(|of| of.form.state != FormState::Canonical);
    let others: Vec<String> = others.map(in_words).collect();
    match (forms, &others[..]) {
        ([], _) => String::new(),
        (_, []) => FormState::Canonical.word().into(),
        _ => others.join("; "),
    }
}

fn in_words(of: &FormOf) -> String {
    let why = of.form.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{} {}{why}", String::from_utf8_lossy(&of.path), of.form.state.word())
}

/// One snapshot, and what is large in it.
pub(super) fn one(
    selector: &Selector,
    dataset: Option<&str>,
    most: usize,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    let chosen = pick(context, &repository, selector, dataset)?;
    context.progress.stop_in_order();
    let (infos, owned) = by_snapshot(&repository, &context.progress)?;
    let found = largest(&repository, &chosen, most, &context.progress)?;
    let place = infos.iter().position(|info| info.name == chosen.name);
    let alone = place.and_then(|place| owned.as_ref()?.snapshots.get(place));
    // It was chosen among them.
    let info = place.and_then(|place| infos.get(place)).ok_or_else(|| anyhow::anyhow!("the snapshot is gone"))?;
    let json = json::SnapshotLargest::new(json::CostOf::new(info, alone), &found, &chosen.alarms);
    let behind = (!found.behind.is_empty()).then(|| {
        format!("keys are those of the dump: commands behind it are not followed, in {}", some_of(&found.behind))
    });
    let order = (found.prefixes.is_none() && found.keys > 0)
        .then(|| "the dump is not stored by keys: all of it was read, and prefixes are not told".to_owned());
    let unread = found.unread.as_ref().map(|why| format!("keys may be missing: {why}"));
    let outcome = Outcome::listing(text_of_one(info, alone, &found), &json)?;
    let outcome = outcome.with_notes(order.into_iter().chain(behind));
    Ok(outcome.with_warnings(unread).with_warnings(doubts(&chosen)).with_alarms(&chosen.alarms))
}

fn text_of_one(info: &SnapshotInfo, alone: Option<&Alone>, found: &Largest) -> String {
    let [stored, freed, bases] = costs(info, alone);
    let mut lines: Vec<(&str, String)> = vec![("time", time::show(info.captured_at()))];
    lines.extend(info.told.forms.iter().map(|of| ("dump", format!("{}, {}", in_words(of), size(of.size)))));
    lines.extend([
        ("keys", format!("{} in the dump, {} before compression", count(found.keys, "key"), size(found.size))),
        ("stored", format!("{stored}, new with it")),
        ("freed", format!("{freed}, by prune, if it alone were forgotten")),
        ("bases", format!("{bases} more, if deltas of others were not made against it")),
    ]);
    let mut text = format!("snapshot {} of {}\n", short(&info.name.session), shown(info.dataset.as_bytes()));
    text.push_str(&facts(&lines));
    let (kinds, tables) = info.told.summary.by_kind();
    let kinds =
        kinds.map(|(holds, new)| [holds.word().into(), new.chunks.to_string(), size(new.bytes), size(new.stored)]);
    let tables = ["tables".into(), String::new(), String::new(), size(tables)];
    text.push('\n');
    let head = [("NEW", Left), ("CHUNKS", Right), ("SIZE", Right), ("STORED", Right)];
    text.push_str(&table(head, kinds.chain([tables])));
    if !found.largest.is_empty() {
        let row = |key: &LargestKey| {
            let kind = key.kind.unwrap_or("?").into();
            [key.database.0.to_string(), kind, size(key.size), shown(&key.key.0)]
        };
        text.push('\n');
        let head = [("DB", Right), ("TYPE", Left), ("SIZE", Right), ("LARGEST KEYS", Left)];
        text.push_str(&table(head, found.largest.iter().map(row)));
    }
    if let Some(prefixes) = found.prefixes.as_ref().filter(|prefixes| !prefixes.is_empty()) {
        let row =
            |of: &LargestPrefix| [of.database.0.to_string(), of.keys.to_string(), size(of.size), shown(&of.prefix.0)];
        text.push('\n');
        let head = [("DB", Right), ("KEYS", Right), ("SIZE", Right), ("LARGEST PREFIXES", Left)];
        text.push_str(&table(head, prefixes.iter().map(row)));
    }
    text
}
