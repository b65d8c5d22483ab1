//! `stats`: what the repository holds and what it costs.

use std::collections::BTreeMap;

use super::{Observer, OperationError};
use crate::format::UnixMillis;
use crate::format::counts::KeyCount;
use crate::format::summary::{New, News, Summary};
use crate::repository::{Alarm, FormOf, Owned, PackTotals, Repository, RepositoryError, SnapshotInfo, Used};

/// What a repository holds.
#[derive(Debug, Clone)]
pub struct Report {
    /// Sums over all packs.
    pub totals: PackTotals,
    /// Snapshots.
    pub snapshots: u64,
    /// Bytes of all files of all snapshots, as they would be restored.
    pub restored_bytes: u64,
    /// By dataset.
    pub datasets: BTreeMap<String, DatasetStats>,
    /// What is missing or unreadable.
    pub alarms: Vec<Alarm>,
}

/// What a repository holds of one dataset.
#[derive(Debug, Clone, Default)]
pub struct DatasetStats {
    /// Snapshots.
    pub snapshots: u64,
    /// Bytes of all its files, as they would be restored.
    pub restored_bytes: u64,
    /// Bytes its backups stored.
    pub stored_bytes: u64,
    /// What its backups stored, by what it holds.
    pub new: News,
    /// How the dumps of its last one are stored.
    pub forms: Vec<FormOf>,
    /// When its newest snapshot began.
    pub newest: Option<UnixMillis>,
    /// Keys of the last one, where there is one.
    pub keys: Option<KeyCount>,
}

impl DatasetStats {
    /// What its backups stored, by what it is; at last headers, tables and index objects.
    pub fn by_kind(&self) -> Vec<(&'static str, New)> {
        let of_all = Summary { new: Some(self.new.clone()), stored_bytes: self.stored_bytes, ..Summary::default() };
        let (kinds, tables) = of_all.by_kind();
        let kinds = kinds.map(|(holds, new)| (holds.word(), new));
        kinds.chain([("tables", New { stored: tables, ..New::default() })]).collect()
    }
}

/// Whose the stored bytes are; `None` where something that is needed cannot be read. It looks at every list of chunks, as a
/// prune does.
pub fn usage(repository: &Repository, observer: &dyn Observer) -> Result<Option<Used>, OperationError> {
    observer.begin("looking at what is needed", None);
    Ok(repository.usage(&|| go_on(observer))?)
}

fn go_on(observer: &dyn Observer) -> Result<(), RepositoryError> {
    if observer.interrupted() { Err(RepositoryError::Interrupted) } else { Ok(()) }
}

/// All kept snapshots by dataset and age, and which bytes each of them alone needs, by its place among them; `None` where
/// something that is needed cannot be read. It looks at every list of chunks, as a prune does; snapshots are those of the
/// last refresh.
pub fn by_snapshot(
    repository: &Repository,
    observer: &dyn Observer,
) -> Result<(Vec<SnapshotInfo>, Option<Owned>), OperationError> {
    observer.begin("looking at what is needed", None);
    let infos = repository.kept_snapshots()?;
    let names: Vec<_> = infos.iter().map(|info| info.name).collect();
    let owned = repository.owned(&names, &|| go_on(observer))?;
    Ok((infos, owned))
}

/// Adds up what the catalog knows.
pub fn stats(repository: &Repository) -> Result<Report, OperationError> {
    let mut alarms = repository.refresh()?;
    alarms.extend(repository.pack_alarms()?);
    let mut datasets: BTreeMap<String, DatasetStats> = BTreeMap::new();
    let infos = repository.kept_snapshots()?;
    for info in &infos {
        let dataset = datasets.entry(info.dataset.clone()).or_default();
        dataset.snapshots += 1;
        // Whoever has the keys may have written any number.
        dataset.restored_bytes = dataset.restored_bytes.saturating_add(info.bytes);
        dataset.stored_bytes = dataset.stored_bytes.saturating_add(info.stored_bytes);
        for (holds, new) in info.told.summary.new.iter().flatten() {
            dataset.new.entry(*holds).or_default().add(*new);
        }
        dataset.forms.clone_from(&info.told.forms);
        dataset.keys = Some(info.keys);
        dataset.newest = dataset.newest.max(Some(info.begin));
    }
    Ok(Report {
        totals: repository.totals()?,
        snapshots: infos.len() as u64,
        restored_bytes: infos.iter().map(|info| info.bytes).fold(0, u64::saturating_add),
        datasets,
        alarms,
    })
}
