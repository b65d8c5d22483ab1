//! `check`: the repository itself.

use super::{Observer, OperationError};
use crate::repository::Repository;
pub use crate::repository::{CheckDepth, CheckReport, Damage, LostChunk};

/// Checks the repository; damage is in the report.
pub fn check(
    repository: &Repository,
    depth: CheckDepth,
    observer: &dyn Observer,
) -> Result<CheckReport, OperationError> {
    observer.begin("checking", None);
    Ok(repository.check(depth, &|| observer.interrupted(), &told(observer))?)
}

/// Tells an observer how far the reading of packs has come.
pub(super) fn told(observer: &dyn Observer) -> impl Fn(u64, u64) + '_ {
    let begun = std::cell::Cell::new(0);
    move |done, total| {
        if begun.get() == 0 {
            observer.begin("reading packs", Some(total));
        }
        observer.advance(done - begun.replace(done));
    }
}
