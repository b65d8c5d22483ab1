//! What a backup answers: text, JSON, and what is to be noticed.

use std::collections::BTreeMap;

use crate::cli::commands::{clocks, drill};
use crate::cli::human::{count, duration, facts, plain, short, size, some_of, suspect_once};
use crate::cli::outcome::Outcome;
use crate::cli::{json, key_count, time};
use crate::format::counts::{KeyCount, Uncounted};
use crate::format::snapshot::{Role, Snapshot, Warning};
use crate::format::summary::Summary;
use crate::format::timeline;
use crate::operations::backup::Report;
use crate::operations::changes::{Changes, since_previous};
use crate::redis::{Left, LeftOut, Why};
use crate::repository::Repository;

/// What a backup answers.
pub(in crate::cli::commands) fn outcome(
    repository: &Repository,
    report: &Report,
    drilled: Option<&drill::Report>,
) -> anyhow::Result<Outcome> {
    // The snapshot is committed: what cannot be compared now is a warning.
    let (changes, trouble) = match since_previous(repository, &report.snapshot) {
        Ok(changes) => (changes, None),
        Err(error) => {
            (None, Some(format!("cannot compare with the previous snapshot: {:#}", anyhow::Error::new(error))))
        }
    };
    let text = text(report, changes.as_ref()) + &drilled.map(drill::text).unwrap_or_default();
    let mut json = json::Backup::new(report, changes);
    json.drill = drilled.map(json::Drill::from);
    let outcome = Outcome::deed(text, &json)?
        .in_short(in_short(report))
        .with_notes(carried(&report.snapshot))
        .with_notes(unfinished(&report.snapshot))
        .with_notes(orphans(&report.snapshot))
        .with_notes(clock(repository, report))
        .with_warnings(trouble);
    let outcome = outcome.with_warnings(report.snapshot.warnings.iter().map(warning));
    Ok(outcome.with_warnings(report.left_behind.clone()).with_alarms(&report.alarms))
}

/// That the server's clock is far from this host's, and whether that counts. What the catalog does not tell now is told later.
fn clock(repository: &Repository, report: &Report) -> Vec<String> {
    match timeline::clock_offset(&report.snapshot).unsigned_abs() >= timeline::APART {
        true => clocks::notes(repository, |name| *name == report.name).unwrap_or_default(),
        false => Vec::new(),
    }
}

/// A snapshot in a few words.
pub(super) fn in_short(report: &Report) -> String {
    let (id, summary) = (short(&report.name.session), &report.snapshot.summary);
    let cost = match summary.new_bytes {
        0 => "nothing new".into(),
        _ => format!("{} stored", size(summary.stored_bytes)),
    };
    let (dataset, files) = (plain(&report.snapshot.dataset), count(summary.files, "file"));
    format!("snapshot {id} of {dataset}, {files}, {}, {cost}", size(summary.bytes))
}

/// Said once of an AOF that was copied or restored to its place: its timeline begins later than its files do.
fn carried(snapshot: &Snapshot) -> Option<String> {
    let is_first = timeline::is_carried(snapshot) && !snapshot.facts.contains_key(timeline::CONTINUES);
    is_first.then(|| {
        "the AOF was copied or restored to its place: its timeline begins then, for what it holds from before may be of \
         another dataset"
            .into()
    })
}

/// That the copy of the AOF is shorter than the file was.
fn unfinished(snapshot: &Snapshot) -> Option<String> {
    let bytes: u64 = snapshot.facts.get("aof.unfinished")?.parse().ok()?;
    let growing = snapshot.files.iter().filter(|file| matches!(file.role, Role::Incr | Role::SingleAof));
    // Numbers in names grow without zeros before them.
    let last = growing.max_by_key(|file| (file.path.len(), &file.path));
    Some(format!(
        "{} ends within a command or a transaction: what there is of it, {}, is left out of the copy",
        last.map_or_else(|| "the AOF".into(), |file| plain(&file.display_path())),
        count(bytes, "byte")
    ))
}

/// That files beside an AOF are not in the snapshot.
fn orphans(snapshot: &Snapshot) -> Option<String> {
    let files: u64 = snapshot.facts.get("aof.orphans")?.parse().ok()?;
    let what = "called like parts of an AOF that no manifest names: no server would load them, and they are left out unless \
                --include takes them";
    Some(format!("{} {what}", count(files, "file")))
}

/// A stored warning on one line.
pub(in crate::cli::commands) fn warning(warning: &Warning) -> String {
    let message = suspect_once(&warning.message);
    match warning.path.is_empty() {
        true => message,
        false => format!("{}: {message}", String::from_utf8_lossy(&warning.path)),
    }
}

/// What was stored, by what it is.
fn by_kind(summary: &Summary) -> String {
    let (kinds, tables) = summary.by_kind();
    let kinds = kinds.map(|(holds, new)| format!("{} {}", holds.word(), size(new.stored)));
    kinds.chain([format!("tables {}", size(tables))]).collect::<Vec<_>>().join(", ")
}

fn text(report: &Report, changes: Option<&Changes>) -> String {
    let (snapshot, summary) = (&report.snapshot, &report.snapshot.summary);
    let new = match summary.new_bytes {
        0 => "nothing new".into(),
        new => {
            format!("{}: {}; {} before compression", size(summary.stored_bytes), by_kind(summary), size(new))
        }
    };
    let unread = match report.unread_files {
        0 => String::new(),
        files => {
            format!("; {} of it in {} not touched since and not read", size(report.unread_bytes), count(files, "file"))
        }
    };
    let mut text = format!("snapshot {} of {}\n", short(&report.name.session), plain(&snapshot.dataset));
    let mode = snapshot.facts.get("capture.mode").map_or("files", String::as_str);
    let whence = if mode == "sync" { "as it was sent".into() } else { format!("from its {mode}") };
    let moment =
        snapshot.moment.map(|moment| ("moment", format!("{} by the server's clock, {whence}", time::show(moment))));
    let mut lines = vec![("taken", format!("{} in {}", time::show(snapshot.begin), duration(summary.millis)))];
    lines.extend(moment);
    lines.extend(
        report
            .final_at
            .map(|at| ("final", format!("at {}, where this store may take it back until then", time::show(at)))),
    );
    lines.extend(sent(&snapshot.facts).map(|told| ("sent", told)));
    lines.extend([(
        "holds",
        format!("{}, {}{unread}{}", count(summary.files, "file"), size(summary.bytes), kind(&snapshot.facts)),
    )]);
    let keys = KeyCount::of(snapshot);
    lines.extend((keys != KeyCount::Unknown(Uncounted::NoDataset)).then(|| ("keys", key_count::line(keys))));
    lines
        .extend([("stored", new), ("changes", changes.map_or("no earlier snapshot to compare with".into(), describe))]);
    lines.extend(left_out(&report.left_out).map(|told| ("left out", told)));
    text.push_str(&facts(&lines));
    text
}

/// How the server sent its dump.
fn sent(facts: &BTreeMap<String, String>) -> Option<String> {
    let from = match facts.get("sync.payload")?.as_str() {
        "disk" => "by way of its dump file",
        _ => "from its memory, without a file there",
    };
    let of = facts.get("sync.repl-id").zip(facts.get("sync.repl-offset"));
    let of = of.map_or(String::new(), |(id, offset)| format!(", of replication {} up to {offset}", plain(id)));
    Some(format!("{from}{of}"))
}

/// What stands in the directory and is not in the snapshot: places of redkeep itself first.
fn left_out(left: &LeftOut) -> Option<String> {
    let path = |left: &Left| String::from_utf8_lossy(&left.path).into_owned();
    let own = left.of(|why| why != Why::NotOfDataset).map(|left| format!("{} ({})", path(left), left.why));
    let mut parts: Vec<String> = own.collect();
    let others: Vec<String> = left.of(|why| why == Why::NotOfDataset).map(path).collect();
    let number = others.len() as u64 + left.more;
    if number > 0 {
        let files = count(number, "other path");
        parts.push(format!("{files}, no part of the dataset ({}); --all-files takes them", some_of(&others)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Said where no dataset of a server was found, so that a wrong directory does not go unnoticed.
fn kind(facts: &BTreeMap<String, String>) -> &'static str {
    match facts.get("authoritative").map(String::as_str) {
        Some("none") => " (plain files: neither a dump nor an AOF is here)",
        _ => "",
    }
}

fn describe(changes: &Changes) -> String {
    let kinds = [("changed", &changes.changed), ("new", &changes.new), ("gone", &changes.gone)];
    let parts = kinds.iter().filter(|(_, paths)| !paths.is_empty());
    let parts: Vec<String> =
        parts.map(|(what, paths)| format!("{} {what} ({})", paths.len(), some_of(paths))).collect();
    match parts.is_empty() {
        true => "none".into(),
        false => parts.join(", "),
    }
}
