//! `tag`: the tags of a snapshot changed. A snapshot is immutable: a copy with the new tags takes its place.

use std::collections::BTreeSet;

use super::key_drop::open_falls;
use super::list::{Chosen, Selector, choose};
use super::sets::ChosenSet;
use super::undelete::{commit_copy, find_copy};
use super::{Observer, OperationError};
use crate::format::counts::ACCEPTED;
use crate::format::object::SnapshotName;
use crate::format::snapshot::Snapshot;
use crate::repository::{Alarm, ForgottenRecord, Repository, SnapshotInfo};

/// Under which fact a copy names the snapshot it took the place of.
pub const RETAGGED_FROM: &str = "retagged-from";

/// What is changed.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Tags that it has afterwards.
    pub add: Vec<String>,
    /// Tags that it has not afterwards.
    pub remove: Vec<String>,
}

/// What was changed.
#[derive(Debug, Clone)]
pub struct Report {
    /// The snapshot that was named.
    pub old: SnapshotName,
    /// The one that holds its content and the tags now; the same where nothing changed.
    pub new: SnapshotName,
    /// Its dataset.
    pub dataset: String,
    /// Its tags now.
    pub tags: Vec<String>,
    /// What the repository lacks.
    pub alarms: Vec<Alarm>,
}

/// Changes the tags of a snapshot: commits a copy with them, then forgets the old one. A crash between the two leaves
/// both; the same again forgets the old one.
pub fn tag(
    repository: &Repository,
    selector: &Selector,
    dataset: Option<&str>,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report, OperationError> {
    let Chosen { name, snapshot, alarms } = match choose(repository, selector, dataset) {
        Err(OperationError::Forgotten { record, is_there }) => {
            return done_before(repository, &record, options)?.ok_or(OperationError::Forgotten { record, is_there });
        }
        other => other?,
    };
    let tags = changed(&snapshot.tags, options);
    let infos = repository.kept_snapshots()?;
    if options.add.iter().any(|tag| tag == ACCEPTED) && !snapshot.tags.iter().any(|tag| tag == ACCEPTED) {
        refuse_nothing_to_accept(&infos, &snapshot)?;
    }
    let report = |new, alarms| Report { old: name, new, dataset: snapshot.dataset.clone(), tags: tags.clone(), alarms };
    if tags == snapshot.tags {
        let from = snapshot.facts.get(RETAGGED_FROM);
        let left = |info: &&SnapshotInfo| from.is_some_and(|from| *from == info.name.session.to_string());
        if let Some(left) = infos.iter().find(left) {
            retire(repository, &left.name, &name)?;
        }
        return Ok(report(name, alarms));
    }
    let of = infos.into_iter().find(|info| info.name == name);
    let of = of.ok_or_else(|| OperationError::NoSnapshot { what: format!("snapshot {} is gone", name.session) })?;
    if let Some((copy, _)) = find_copy(repository, &of, RETAGGED_FROM)?.filter(|(_, copy)| copy.tags == tags) {
        retire(repository, &name, &copy)?;
        return Ok(report(copy, alarms));
    }
    let copy = commit_copy(repository, &of, &snapshot, observer, &|copy| {
        copy.tags = tags.clone();
        copy.facts.insert(RETAGGED_FROM.into(), name.session.to_string());
    })?;
    retire(repository, &name, &copy.name)?;
    Ok(report(copy.name, [alarms, copy.alarms].concat()))
}

/// Changes the tags of every snapshot of a set. A loss is accepted where there is one.
pub fn tag_set(
    repository: &Repository,
    set: &ChosenSet,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Vec<Report>, OperationError> {
    let infos = repository.kept_snapshots()?;
    let accepts = options.add.iter().any(|tag| tag == ACCEPTED);
    let without =
        Options { add: options.add.iter().filter(|tag| *tag != ACCEPTED).cloned().collect(), ..options.clone() };
    let refusal = |chosen: &Chosen| {
        let is_accepted = chosen.snapshot.tags.iter().any(|tag| tag == ACCEPTED);
        (accepts && !is_accepted).then(|| refuse_nothing_to_accept(&infos, &chosen.snapshot).err()).flatten()
    };
    let mut refusals: Vec<Option<OperationError>> = set.members.iter().map(|(_, _, chosen)| refusal(chosen)).collect();
    if refusals.iter().all(Option::is_some) {
        return refusals.pop().flatten().map_or(Ok(Vec::new()), Err);
    }
    let of_one = |((_, _, chosen), refusal): (&(u64, String, Chosen), &Option<OperationError>)| {
        let options = if refusal.is_some() { &without } else { options };
        tag(repository, &Selector::Id(chosen.name.session.to_string()), None, options, observer)
    };
    set.members.iter().zip(&refusals).map(of_one).collect()
}

/// Whoever accepts a loss means one that there is.
fn refuse_nothing_to_accept(infos: &[SnapshotInfo], snapshot: &Snapshot) -> Result<(), OperationError> {
    let of_dataset = |info: &&SnapshotInfo| info.dataset == snapshot.dataset;
    let infos: Vec<SnapshotInfo> = infos.iter().filter(of_dataset).cloned().collect();
    let falls = open_falls(&infos);
    match falls.iter().any(|fall| fall.after <= snapshot.place()) {
        true => Ok(()),
        false => Err(OperationError::Refused {
            what: format!("no snapshot of {} is kept because keys were lost up to that one", snapshot.dataset),
            hint: match falls.is_empty() {
                true => "there is nothing to accept: see redkeep forget --keep-last 1 --dry-run".into(),
                false => "name the snapshot that lost the keys, or a later one, such as latest".into(),
            },
        }),
    }
}

/// The copy that took the place of a forgotten snapshot, if it has the tags that are asked for: this is the same again.
fn done_before(
    repository: &Repository,
    record: &ForgottenRecord,
    options: &Options,
) -> Result<Option<Report>, OperationError> {
    let alarms = repository.refresh()?;
    let Some(old) = repository.snapshots()?.into_iter().find(|info| info.name == record.snapshot) else {
        return Ok(None);
    };
    let copy = find_copy(repository, &old, RETAGGED_FROM)?;
    let copy = copy.filter(|(_, copy)| changed(&copy.tags, options) == copy.tags);
    Ok(copy.map(|(new, copy)| Report { old: old.name, new, dataset: old.dataset, tags: copy.tags, alarms }))
}

fn retire(repository: &Repository, old: &SnapshotName, new: &SnapshotName) -> Result<(), OperationError> {
    repository.forget(old, &format!("retagged as {}", new.session))?;
    Ok(())
}

/// Tags that stay in their order, then those that are new in theirs; each once.
fn changed(tags: &[String], options: &Options) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let stays = tags.iter().filter(|tag| !options.remove.contains(tag));
    stays.chain(&options.add).filter(|tag| seen.insert(*tag)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_added_once_and_removed_and_keep_their_order() {
        let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
        for (tags, add, remove, expected) in [
            ("b a", "", "", "b a"),
            ("b a", "c a", "", "b a c"),
            ("b a", "", "b x", "a"),
            ("b a", "a", "a", "b a"),
            ("", "x x", "", "x"),
        ] {
            let options = Options { add: words(add), remove: words(remove) };
            assert_eq!(changed(&words(tags), &options), words(expected), "{tags} + {add} - {remove}");
        }
    }
}
