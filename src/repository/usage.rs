//! Whose the stored bytes are, dataset by dataset, and snapshot by snapshot.

use std::collections::BTreeMap;

use super::catalog::{DatasetUsage, Owned, Usage};
use super::error::RepositoryError;
use super::sweep::liveness::Needed;
use super::{Repository, lock};
use crate::format::object::SnapshotName;

/// What each dataset uses, by its name, and the sums over all.
pub type Used = (BTreeMap<String, DatasetUsage>, Usage);

impl Repository {
    /// Adds up what each dataset's kept snapshots use of the packs that index objects name, as of the last refresh. `None`
    /// where a list of chunks cannot be read: nothing can be said then. Memory as of a sweep.
    pub fn usage(&self, go_on: &dyn Fn() -> Result<(), RepositoryError>) -> Result<Option<Used>, RepositoryError> {
        let mut datasets: BTreeMap<String, Vec<SnapshotName>> = BTreeMap::new();
        for info in self.kept_snapshots()? {
            datasets.entry(info.dataset).or_default().push(info.name);
        }
        let lost = self.losses()?.chunks;
        self.use_named()?;
        lock(&self.catalog).clear_usage()?;
        for (number, names) in datasets.values().enumerate() {
            let mut needed = Needed::new(self, &lost, go_on)?;
            needed.add_all(names)?;
            if !needed.finish()?.is_empty() {
                return Ok(None);
            }
            lock(&self.catalog).add_usage(number)?;
        }
        let mut catalog = lock(&self.catalog);
        catalog.need_what_is_used()?;
        catalog.add_needed_bases()?;
        let usage = catalog.usage(datasets.len())?;
        let by_dataset = datasets.into_keys().zip(usage.datasets.iter().copied()).collect();
        Ok(Some((by_dataset, usage)))
    }

    /// Adds up, by the place of each of these snapshots, what its end alone would free; they are all that need anything. `None`
    /// where a list of chunks cannot be read. Memory and reading as of a sweep, but that what two snapshots share is read twice.
    pub fn owned(
        &self,
        names: &[SnapshotName],
        go_on: &dyn Fn() -> Result<(), RepositoryError>,
    ) -> Result<Option<Owned>, RepositoryError> {
        let lost = self.losses()?.chunks;
        self.use_named()?;
        lock(&self.catalog).clear_owners()?;
        let mut needed = Needed::new(self, &lost, go_on)?;
        needed.own_all(names)?;
        if !needed.finish()?.is_empty() {
            return Ok(None);
        }
        let mut catalog = lock(&self.catalog);
        catalog.own_bases()?;
        catalog.owned(names.len()).map(Some)
    }

    /// What is needed is followed through the catalog, as by a session.
    fn use_named(&self) -> Result<(), RepositoryError> {
        let listed = self.listed_packs()?;
        lock(&self.catalog).use_listed(&listed, &|_, is_named| !is_named)
    }
}
