//! What the target of a copy holds already.

use std::collections::{HashMap, HashSet};

use crate::format::ids::DatasetTag;
use crate::format::object::SnapshotName;
use crate::format::origin::Origin;
use crate::format::{Id16, UnixMillis};
use crate::repository::{Repository, RepositoryError, SnapshotInfo};

/// What is known of a snapshot in the target.
pub(super) enum Known {
    /// It is there.
    Kept(SnapshotName),
    /// It was there.
    Forgotten,
    /// Nothing.
    No,
}

/// What the target holds, and what it held. Memory: a line for each snapshot of either repository, and for each that was ever
/// forgotten in the target.
///
/// COPY-2: a snapshot is known by its origin, which the copy names, and no content is compared.
pub(super) struct There {
    source: Id16,
    target: Id16,
    /// All that are kept in the target, by dataset and order.
    infos: Vec<SnapshotInfo>,
    kept: HashMap<Origin, SnapshotName>,
    forgotten: HashMap<Origin, SnapshotName>,
    /// Places and times of what was forgotten and may be gone.
    gone: HashSet<(DatasetTag, u64, UnixMillis)>,
    /// Origins of the source's snapshots, by their object names there.
    origins: HashMap<SnapshotName, Origin>,
}

impl There {
    /// Looks into both catalogs.
    pub fn look(source: &Repository, target: &Repository) -> Result<There, RepositoryError> {
        let records = target.forgotten()?;
        let is_forgotten: HashSet<SnapshotName> = records.iter().map(|record| record.snapshot).collect();
        let by_origin = |info: &SnapshotInfo| (info.origin(target.id()), info.name);
        let all = target.snapshots()?;
        let forgotten = all.iter().filter(|info| is_forgotten.contains(&info.name)).map(by_origin).collect();
        let origin = |info: SnapshotInfo| (info.name, info.origin(source.id()));
        let mut there = There {
            source: source.id(),
            target: target.id(),
            infos: Vec::new(),
            kept: HashMap::new(),
            forgotten,
            gone: is_forgotten.iter().map(|name| (name.tag, name.place, name.time)).collect(),
            origins: source.snapshots()?.into_iter().map(origin).collect(),
        };
        there.look_again(target)?;
        Ok(there)
    }

    /// What is kept by now.
    pub fn look_again(&mut self, target: &Repository) -> Result<(), RepositoryError> {
        self.infos = target.kept_snapshots()?;
        self.kept = self.infos.iter().map(|info| (info.origin(self.target), info.name)).collect();
        Ok(())
    }

    /// What is known of a snapshot of the source.
    pub fn knows(&self, target: &Repository, info: &SnapshotInfo) -> Known {
        let origin = info.origin(self.source);
        if let Some(name) = self.kept.get(&origin) {
            return Known::Kept(*name);
        }
        let at = (target.tag(&info.dataset), info.place, info.begin);
        match self.forgotten.contains_key(&origin) || self.gone.contains(&at) {
            true => Known::Forgotten,
            false => Known::No,
        }
    }

    /// The snapshots of a dataset, in order.
    pub fn of_dataset<'t>(&'t self, dataset: &'t str) -> impl Iterator<Item = &'t SnapshotInfo> + Clone {
        self.infos.iter().filter(move |info| info.dataset == dataset)
    }

    /// Into which repository a snapshot of the target was captured.
    pub fn captured_into(&self, info: &SnapshotInfo) -> Id16 {
        info.origin(self.target).repository
    }

    /// The same of a snapshot of the source.
    pub fn captured_from(&self, info: &SnapshotInfo) -> Id16 {
        info.origin(self.source).repository
    }

    /// The object name in the target of what a name stands for in the source.
    pub fn copy_of(&self, name: &str) -> Option<String> {
        let name = SnapshotName::parse(name)?;
        let own = Origin { repository: self.source, snapshot: name.session };
        let origin = self.origins.get(&name).copied().unwrap_or(own);
        self.kept.get(&origin).or_else(|| self.forgotten.get(&origin)).map(SnapshotName::to_string)
    }
}
