//! `prune`: gives back the space of what no snapshot needs any more, beside running backups.

use super::{Observer, OperationError};
use crate::repository::{Repository, RepositoryError};
pub use crate::repository::{StoredAgain, SweepOptions as Options, SweepReport as Report, Waiting, YoungToReseal};

/// What a prune did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// The sweep.
    pub report: Report,
    /// Why so little is set aside for a full disk.
    pub short_of_space: Option<String>,
    /// The disk is too full to store again what is needed of packs that hold unneeded bytes: they stay.
    pub no_room_to_rewrite: bool,
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
    let (mut before, mut no_room_to_rewrite) = (0, false);
    let first = match sweep(options) {
        Err(error) if error.is_full() && !options.dry_run => {
            before = repository.release_reserve()?;
            match before {
                0 => Err(error),
                _ => from_reserve(sweep, options).map(|(report, is_short)| {
                    no_room_to_rewrite = is_short;
                    report
                }),
            }
        }
        other => other,
    };
    let packs = first.as_ref().map_or(0, |report| report.pack_bytes);
    let short_of_space = if options.dry_run { None } else { repository.keep_reserve(packs, before) };
    Ok(Pruned { report: first?, short_of_space, no_room_to_rewrite })
}

/// A sweep that stores nothing again; then, with what was deleted, there may be room for the rest; whether there was none.
fn from_reserve(
    sweep: impl Fn(&Options) -> Result<Report, RepositoryError>,
    options: &Options,
) -> Result<(Report, bool), RepositoryError> {
    let freed = sweep(&Options { max_rewrite: Some(0), ..options.clone() })?;
    match sweep(options) {
        Err(error) if error.is_full() => Ok((freed, true)),
        rest => rest.map(|rest| (freed.and(rest), false)),
    }
}
