//! `undelete`: a forgotten snapshot brought back, as a copy under a new name.

use super::attempts::attempt;
use super::{Observer, OperationError, sets};
use crate::format::Id16;
use crate::format::object::SnapshotName;
use crate::format::set::OfSet;
use crate::format::snapshot::Snapshot;
use crate::repository::{Alarm, Fault, ForgottenRecord, Repository, RepositoryError, SnapshotInfo, one_line};

/// Under which fact a copy names the forgotten snapshot it brings back.
pub const UNDELETED_FROM: &str = "undeleted-from";

/// What was brought back.
#[derive(Debug, Clone)]
pub struct Report {
    /// The forgotten snapshot.
    pub old: SnapshotName,
    /// Its copy.
    pub new: SnapshotName,
    /// What both hold.
    pub snapshot: Snapshot,
    /// Whether it had been brought back before, and nothing was written now.
    pub was_there: bool,
    /// What the repository lacks.
    pub alarms: Vec<Alarm>,
}

/// Brings back the forgotten snapshot whose id begins so.
pub fn undelete(repository: &Repository, prefix: &str, observer: &dyn Observer) -> Result<Report, OperationError> {
    let alarms = repository.refresh()?;
    let info = find(repository, prefix)?;
    let (old, old_snapshot) = (info.name, repository.snapshot(&info.name)?);
    let from = old.session.to_string();
    if let Some((new, snapshot)) = find_copy(repository, &info, UNDELETED_FROM)? {
        return Ok(Report { old, new, snapshot, was_there: true, alarms });
    }
    let copy = commit_copy(repository, &info, &old_snapshot, observer, &|copy| {
        copy.facts.insert(UNDELETED_FROM.into(), from.clone());
    })?;
    let alarms = [alarms, copy.alarms].concat();
    Ok(Report { old, new: copy.name, snapshot: copy.snapshot, was_there: false, alarms })
}

/// A set of which what was forgotten was brought back.
#[derive(Debug, Clone)]
pub struct SetReport {
    /// Its id.
    pub set: Id16,
    /// What the sets of its cluster are called.
    pub name: String,
    /// What was brought back now, by shard.
    pub snapshots: Vec<Report>,
    /// The slots of the shards of which there is no snapshot, nor one that could be brought back.
    pub missing: Vec<String>,
    /// What the repository lacks.
    pub alarms: Vec<Alarm>,
}

/// Brings back what was forgotten of the set whose id begins so: of each shard without a snapshot the last one. `None`: no
/// set's id begins so.
pub fn undelete_set(
    repository: &Repository,
    prefix: &str,
    observer: &dyn Observer,
) -> Result<Option<SetReport>, OperationError> {
    let alarms = repository.refresh()?;
    let all = repository.snapshots()?;
    let Some(set) = sets::by_id(&sets::sets(&all), &all, prefix)?.map(|set| set.of.clone()) else { return Ok(None) };
    let kept = repository.kept_snapshots()?;
    let has = |infos: &[SnapshotInfo], shard: u64| {
        let is_it = |of: &OfSet| of.id == set.id && of.shard == shard;
        infos.iter().rfind(|info| info.told.set.as_ref().is_some_and(is_it)).map(|info| info.name)
    };
    let mut report =
        SetReport { set: set.id, name: set.name.clone(), snapshots: Vec::new(), missing: Vec::new(), alarms };
    for (shard, slots) in (1..).zip(&set.slots) {
        match (has(&kept, shard), has(&all, shard)) {
            (Some(_), _) => {}
            (None, Some(forgotten)) => {
                report.snapshots.push(undelete(repository, &forgotten.session.to_string(), observer)?);
            }
            (None, None) => report.missing.push(slots.clone()),
        }
    }
    Ok(Some(report))
}

/// The one forgotten snapshot that is meant and still there.
fn find(repository: &Repository, prefix: &str) -> Result<SnapshotInfo, OperationError> {
    let records = repository.forgotten()?;
    let mut fitting = records.iter().filter(|record| record.has_id(prefix));
    let record = match (fitting.next(), fitting.next()) {
        (Some(record), None) => record,
        (Some(_), Some(_)) => {
            let what = format!("several forgotten snapshots begin with {prefix}");
            return Err(OperationError::Ambiguous { what });
        }
        (None, _) => {
            let is_kept = |info: &SnapshotInfo| info.name.session.to_string().starts_with(prefix);
            return Err(match repository.kept_snapshots()?.iter().any(is_kept) {
                true => OperationError::Refused {
                    what: format!("the snapshot {prefix} was not forgotten"),
                    hint: "list forgotten ones with: redkeep snapshots --forgotten".into(),
                },
                false => OperationError::NoSnapshot {
                    what: format!("no forgotten snapshot has an id that begins with {prefix}"),
                },
            });
        }
    };
    if let Some(info) = repository.snapshots()?.into_iter().find(|info| info.name == record.snapshot) {
        return Ok(info);
    }
    Err(match repository.snapshot(&record.snapshot) {
        // It is there, and nobody can read it.
        Err(error) if !matches!(error, RepositoryError::Damaged { source: Fault::Missing, .. }) => error.into(),
        _ => OperationError::Forgotten { record: record.clone(), is_there: false },
    })
}

/// A snapshot that repeats another and says so by a fact.
pub(super) fn find_copy(
    repository: &Repository,
    of: &SnapshotInfo,
    fact: &str,
) -> Result<Option<(SnapshotName, Snapshot)>, OperationError> {
    let from = of.name.session.to_string();
    let may_be = |info: &SnapshotInfo| {
        info.dataset == of.dataset && (info.place, info.begin) == (of.place, of.begin) && info.name != of.name
    };
    for info in repository.kept_snapshots()?.into_iter().filter(may_be) {
        let snapshot = repository.snapshot(&info.name)?;
        if snapshot.facts.get(fact) == Some(&from) {
            return Ok(Some((info.name, snapshot)));
        }
    }
    Ok(None)
}

/// A copy that was committed.
pub(super) struct Copy {
    /// Its name.
    pub name: SnapshotName,
    /// The copy.
    pub snapshot: Snapshot,
    /// What was missing when its session began, and whether it was noted.
    pub alarms: Vec<Alarm>,
}

/// Commits what a snapshot holds once more, changed, by a session of its own.
pub(super) fn commit_copy(
    repository: &Repository,
    info: &SnapshotInfo,
    old: &Snapshot,
    observer: &dyn Observer,
    change: &dyn Fn(&mut Snapshot),
) -> Result<Copy, OperationError> {
    attempt(repository, || commit_copy_once(repository, info, old, observer, change))
}

fn commit_copy_once(
    repository: &Repository,
    info: &SnapshotInfo,
    old: &Snapshot,
    observer: &dyn Observer,
    change: &dyn Fn(&mut Snapshot),
) -> Result<Copy, OperationError> {
    let session = repository.begin_copy(old)?;
    let mut snapshot = match session.copy(old, &|| observer.interrupted()) {
        Ok(snapshot) => snapshot,
        Err(error) if error.is_damage() => {
            let is_it = |records: Vec<ForgottenRecord>| records.iter().any(|record| record.snapshot == info.name);
            let is_forgotten = repository.forgotten().is_ok_and(is_it);
            let error = OperationError::NotWhole { snapshot: info.name.session, is_forgotten, source: error };
            return Err(session.give_up(error));
        }
        Err(error) => return Err(session.give_up(error.into())),
    };
    change(&mut snapshot);
    let mut alarms = session.alarms().to_vec();
    let committed = session.commit(&snapshot)?;
    alarms.extend(committed.not_noted.map(|error| Alarm::NotNoted { why: one_line(&error) }));
    Ok(Copy { name: committed.name, snapshot, alarms })
}
