//! `prune`: gives back the space of what no snapshot needs any more, beside running backups.

use super::{Observer, OperationError};
use crate::repository::Repository;
pub use crate::repository::{StoredAgain, SweepOptions as Options, SweepReport as Report, Waiting};

/// Sweeps a repository once.
pub fn prune(repository: &Repository, options: &Options, observer: &dyn Observer) -> Result<Report, OperationError> {
    observer.begin("pruning", None);
    let progress = |bytes| observer.advance(bytes);
    Ok(repository.sweep(options, &|| observer.interrupted(), &progress)?)
}
