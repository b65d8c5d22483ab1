//! Which snapshot holds a moment, as of the last refresh. Answered from the catalog.

use super::Repository;
use super::catalog::{Catalog, Span};
use super::error::RepositoryError;
use crate::format::UnixMillis;
use crate::format::object::SnapshotName;
use crate::format::snapshot::Mark;

impl Repository {
    /// What all snapshots hold that are not forgotten, by dataset and in its order.
    pub fn spans(&self) -> Result<Vec<Span>, RepositoryError> {
        self.ask_catalog(Catalog::spans)
    }

    /// The snapshot of a dataset that holds a moment of the host's clock: the most exact one, of these the earliest.
    pub fn span_at(&self, dataset: &str, at: UnixMillis) -> Result<Option<Span>, RepositoryError> {
        self.ask_catalog(|catalog| catalog.span_at(dataset, at))
    }

    /// Those whose last moment is the nearest before, and whose first moment is the nearest after it.
    pub fn spans_beside(&self, dataset: &str, at: UnixMillis) -> Result<[Option<Span>; 2], RepositoryError> {
        self.ask_catalog(|catalog| catalog.spans_beside(dataset, at))
    }

    /// The marks of a snapshot.
    pub fn marks(&self, name: &SnapshotName) -> Result<Vec<Mark>, RepositoryError> {
        self.ask_catalog(|catalog| catalog.marks(name))
    }
}
