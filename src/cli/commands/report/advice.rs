//! What is to be done about a repository, the worst first.

use std::time::Duration;

use super::{Wishes, age};
use crate::cli::human::{count, quoted, short, size};
use crate::format::UnixMillis;
use crate::operations::overview::Overview;
use crate::repository::SnapshotInfo;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Bad,
    Warn,
    Good,
}

impl Level {
    /// A stable word, for programs and for how it looks.
    pub fn word(self) -> &'static str {
        match self {
            Level::Bad => "bad",
            Level::Warn => "warn",
            Level::Good => "good",
        }
    }
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Advice {
    pub level: Level,
    pub what: String,
    /// The command that does it or tells more.
    pub command: Option<String>,
}

/// Space is worth a word above this share of the packs, in per cent.
const SPACE: u64 = 10;

/// All that is to be done.
pub(super) fn advice(of: &Overview, wishes: &[Wishes], max_age: Duration) -> Vec<Advice> {
    let mut all = Vec::new();
    let mut add = |level, what: String, command: Option<String>| all.push(Advice { level, what, command });
    for alarm in &of.stats.alarms {
        add(Level::Bad, alarm.to_string(), Some("redkeep check".into()));
    }
    if of.reads.damaged > 0 {
        let what = format!("{} found damaged by the last check that read them", count(of.reads.damaged, "pack"));
        add(Level::Bad, what, Some("redkeep check --read-data".into()));
    }
    for (dataset, newest) in newest_of(of) {
        let named = option(dataset);
        let old = of.now.0.saturating_sub(newest.begin.0);
        if u128::from(old) > max_age.as_millis() {
            let what = format!("the newest backup of {dataset} is {} old", age(old));
            add(Level::Bad, what, Some(format!("redkeep doctor {named}")));
        }
        for fall in of.falls.get(dataset).into_iter().flatten() {
            add(Level::Bad, format!("{dataset}: {fall}"), Some(format!("redkeep snapshots {named}")));
        }
        drills(of, dataset, newest, wishes, &mut add);
    }
    checks(of, wishes, &mut add);
    if let Some((_, usage)) = &of.usage
        && usage.unneeded > of.stats.totals.pack_bytes / 100 * SPACE
        && usage.unneeded > 1 << 20
    {
        add(Level::Warn, format!("{} are needed by no snapshot", size(usage.unneeded)), Some("redkeep prune".into()));
    }
    if of.kept.is_empty() {
        add(Level::Warn, "there is no snapshot yet".into(), Some("redkeep backup".into()));
    }
    all.sort();
    all
}

/// The option that names a dataset, as a shell takes it; a name may look like an option itself.
fn option(dataset: &str) -> String {
    let between = if dataset.starts_with('-') { "=" } else { " " };
    format!("--dataset{between}{}", quoted(dataset))
}

type Add<'a> = dyn FnMut(Level, String, Option<String>) + 'a;

/// The newest snapshot of each dataset.
pub(super) fn newest_of(of: &Overview) -> impl Iterator<Item = (&str, &SnapshotInfo)> {
    of.kept.chunk_by(|one, other| one.dataset == other.dataset).filter_map(|of_one| {
        let newest = of_one.iter().max_by_key(|info| info.begin)?;
        Some((newest.dataset.as_str(), newest))
    })
}

fn drills(of: &Overview, dataset: &str, newest: &SnapshotInfo, wishes: &[Wishes], add: &mut Add<'_>) {
    let of_dataset = |info: &&SnapshotInfo| info.dataset == dataset && of.drills.contains_key(&info.name);
    let last =
        of.kept.iter().filter(of_dataset).filter_map(|info| of.drills.get(&info.name)).max_by_key(|one| one.time);
    let is_wished = wishes.iter().any(|wish| wish.drill && wish.is_of(newest));
    let command = Some(format!("redkeep verify latest {} --drill", option(dataset)));
    match last {
        Some(drill) if !drill.passed() => {
            let id = short(&drill.drill.snapshot.session);
            add(Level::Bad, format!("{dataset}: the last drill, of snapshot {id}, FAILED"), command);
        }
        Some(_) if is_wished && !of.drills.contains_key(&newest.name) => {
            let what = format!("{dataset}: the newest snapshot was not drilled, as the profile wishes");
            add(Level::Warn, what, command);
        }
        Some(_) => {}
        None => add(Level::Warn, format!("{dataset}: no kept snapshot was ever booted"), command),
    }
}

fn checks(of: &Overview, wishes: &[Wishes], add: &mut Add<'_>) {
    let reads = &of.reads;
    if reads.packs == 0 {
        return;
    }
    let wished = wishes.iter().filter_map(|wish| wish.check).min();
    let since = |time: UnixMillis| of.now.0.saturating_sub(time.0);
    match (wished, reads.oldest) {
        (Some(wished), Some(oldest)) if u128::from(since(oldest)) > wished.as_millis() => {
            let (old, wished) = (age(since(oldest)), age(wished.as_millis() as u64));
            let what = format!("there are packs that were last read {old} ago; the profile wishes {wished}");
            add(Level::Warn, what, Some("redkeep check --read-data".into()));
        }
        (None, None) => {
            let what = "no pack was ever read again since it was stored".into();
            add(Level::Warn, what, Some("redkeep check --max-age 30d".into()));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_an_option_is_none_in_a_command() {
        let named = ["a:1", "-x", "a b", "--json"].map(option);
        assert_eq!(named, ["--dataset a:1", "--dataset=-x", "--dataset 'a b'", "--dataset=--json"]);
    }
}
