//! `prune`: gives back the space of what no snapshot needs any more, beside running backups.

use super::{Observer, OperationError};
use crate::repository::{Repository, RepositoryError};
pub use crate::repository::{StoredAgain, SweepOptions as Options, SweepReport as Report, Waiting};
use crate::store::StoreError;

/// What a prune sets aside for the next one on a full disk, in bytes.
const RESERVE: u64 = 16 << 20;

/// What a prune did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// The sweep.
    pub report: Report,
    /// Why the disk's reserve could not be set aside again, or nothing could be stored again.
    pub short_of_space: Option<String>,
}

/// Sweeps a repository once. On a full disk it works from the reserve, and stores nothing again until something was
/// deleted.
///
/// SWEEP-17: the reserve is released only when it must be, and set aside again at the end.
pub fn prune(repository: &Repository, options: &Options, observer: &dyn Observer) -> Result<Pruned, OperationError> {
    observer.begin("pruning", None);
    let sweep = |options: &Options| {
        let progress = |bytes| observer.advance(bytes);
        repository.sweep(options, &|| observer.interrupted(), &progress)
    };
    let first = match sweep(options) {
        Err(error) if is_full(&error) && !options.dry_run && repository.release_reserve()? => {
            let freed = sweep(&Options { max_rewrite: Some(0), ..options.clone() });
            match freed {
                // With the reserve and what was deleted there may be room for the rest.
                Ok(freed) => match sweep(options) {
                    Err(error) if is_full(&error) => Ok(freed),
                    rest => rest.map(|rest| freed.and(rest)),
                },
                error => error,
            }
        }
        other => other,
    };
    let kept = if options.dry_run { Ok(()) } else { repository.keep_reserve(RESERVE) };
    match (first, kept) {
        (Ok(report), Ok(())) => Ok(Pruned { report, short_of_space: None }),
        (Ok(report), Err(error)) => Ok(Pruned { report, short_of_space: Some(crate::repository::one_line(&error)) }),
        (Err(error), _) => Err(error.into()),
    }
}

fn is_full(error: &RepositoryError) -> bool {
    matches!(error, RepositoryError::Store(StoreError::Full { .. }))
}
