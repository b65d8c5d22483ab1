//! `check`: the repository itself.

use super::{Observer, OperationError};
use crate::repository::Repository;
pub use crate::repository::{CheckDepth, CheckReport, Damage};

/// Checks the repository; damage is in the report.
pub fn check(
    repository: &Repository,
    depth: CheckDepth,
    observer: &dyn Observer,
) -> Result<CheckReport, OperationError> {
    observer.begin("checking", None);
    let begun = std::cell::Cell::new(0);
    let report = repository.check(depth, &|| observer.interrupted(), &|done, total| {
        if begun.get() == 0 {
            observer.begin("reading packs", Some(total));
        }
        observer.advance(done - begun.replace(done));
    })?;
    Ok(report)
}
