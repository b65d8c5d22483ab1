//! In which order the files of a snapshot are stored. A base of an AOF has nearly the keys of the dump that is captured with it:
//! it waits until that is in the repository, since only what is there can be built on. Rules:
//! format-spec/06-frames.md.

use super::earlier_version::is_canonical;
use super::input::Instead;
use crate::format::snapshot::{File, FileKind, Role};
use crate::operations::{Observer, OperationError};
use crate::repository::{Intake, IntakeOptions, Session, Stored};

/// When a file is stored.
#[derive(Clone, Copy)]
pub(in crate::operations) enum Round<'a> {
    /// With all others: one that waits is passed over.
    First,
    /// Beside what the dump was stored as, where that is canonical.
    Second(Option<&'a Instead>),
}

/// Stores one file in a round.
pub(in crate::operations) type StoreOne<'a, F, S> =
    dyn Fn(&mut Intake<'_>, &F, Round<'_>) -> Result<Option<S>, OperationError> + 'a;

/// Stores all files, and answers in their order. What `store` passes over in the first round is stored in the second;
/// `stored` is the file that it made.
pub(in crate::operations) fn in_rounds<F, S>(
    session: &Session<'_>,
    options: IntakeOptions,
    observer: &dyn Observer,
    files: &[F],
    store: &StoreOne<'_, F, S>,
    stored: &dyn Fn(&S) -> &File,
) -> Result<(Vec<S>, Stored), OperationError> {
    let stop = || observer.interrupted();
    let (mut done, mut sum) = session.store(options, &stop, |intake| {
        files.iter().map(|file| store(intake, file, Round::First)).collect::<Result<Vec<_>, OperationError>>()
    })?;
    if done.iter().any(Option::is_none) {
        let dump = done.iter().flatten().map(stored).find(|file| file.role == Role::Dump);
        let beside = dump.and_then(|dump| {
            let parts = dump.recipe.clone().filter(|parts| is_canonical(parts))?;
            Some(Instead { parts, path: Some(dump.path.to_vec()) })
        });
        let ((), more) = session.store(options, &stop, |intake| {
            for (slot, file) in done.iter_mut().zip(files).filter(|(slot, _)| slot.is_none()) {
                *slot = store(intake, file, Round::Second(beside.as_ref()))?;
            }
            Ok::<_, OperationError>(())
        })?;
        sum.add(more);
    }
    Ok((done.into_iter().flatten().collect(), sum))
}

/// When the one dump among these files was written.
pub(in crate::operations) fn dump_time(files: impl Iterator<Item = (Role, FileKind, i64)>) -> Option<i64> {
    let mut dumps = files.filter(|(role, kind, _)| (*role, *kind) == (Role::Dump, FileKind::File));
    let (.., time) = dumps.next()?;
    dumps.next().is_none().then_some(time)
}

/// Whether a base of an AOF waits for the dump: it was written nearer to that in time than to its own earlier version.
pub(in crate::operations) fn waits(role: Role, time: i64, dump: Option<i64>, old: Option<&File>) -> bool {
    let old = old.filter(|old| old.recipe.as_deref().is_some_and(is_canonical));
    let is_nearer = |dump: i64| old.is_none_or(|old| dump.abs_diff(time) < old.mtime.abs_diff(time));
    role == Role::Base && dump.is_some_and(is_nearer)
}
