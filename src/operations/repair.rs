//! `check --repair`: what can be had again is made findable, and what is lost is written down.

use super::check::told;
use super::{Observer, OperationError};
pub use crate::repository::RepairReport;
use crate::repository::{CheckDepth, Repository};

/// Repairs the repository; what it found, did and left is in the report.
pub fn repair(
    repository: &Repository,
    depth: CheckDepth,
    observer: &dyn Observer,
) -> Result<RepairReport, OperationError> {
    observer.begin("checking", None);
    Ok(repository.repair(depth, &|| observer.interrupted(), &told(observer))?)
}
