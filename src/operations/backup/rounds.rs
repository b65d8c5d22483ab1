//! In which order the files of a snapshot are stored. A base of an AOF has nearly the keys of the dump that is captured with it:
//! it waits until that is in the repository, since only what is there can be built on. Rules:
//! format-spec/06-frames.md.

use super::earlier_version::{Wanted, is_canonical};
use super::file::{Earlier, StoredFile, store_file, take_over};
use super::input::Instead;
use crate::format::snapshot::{FileKind, Role};
use crate::operations::{Observer, OperationError};
use crate::redis::CapturedFile;
use crate::repository::{IntakeOptions, Stored};

/// Stores all files, and answers with them in the order in which they were captured.
pub(super) fn store_files(
    earlier: &Earlier<'_>,
    options: IntakeOptions,
    observer: &dyn Observer,
) -> Result<(Vec<StoredFile>, Stored), OperationError> {
    let (session, captured) = (earlier.session, &earlier.capture.files);
    let (repository, stop) = (session.repository(), || observer.interrupted());
    let dump = dump_of(captured);
    let (mut files, mut stored) = session.store(options, &stop, |intake| {
        let store = |file: &CapturedFile| match take_over(intake, file, earlier, observer)? {
            None if dump.is_some_and(|dump| waits(file, dump, earlier)) => Ok(None),
            None => store_file(repository, intake, file, earlier, None, observer).map(Some),
            unread => Ok(unread),
        };
        captured.iter().map(store).collect::<Result<Vec<_>, OperationError>>()
    })?;
    if files.iter().any(Option::is_none) {
        let of_dump = files.iter().flatten().find(|stored| stored.file.role == Role::Dump);
        let beside = of_dump.and_then(|stored| {
            let parts = stored.file.recipe.clone().filter(|parts| is_canonical(parts))?;
            Some(Instead { parts, path: Some(stored.file.path.to_vec()) })
        });
        let ((), more) = session.store(options, &stop, |intake| {
            let waiting = files.iter_mut().zip(captured).filter(|(stored, _)| stored.is_none());
            for (slot, file) in waiting {
                *slot = Some(store_file(repository, intake, file, earlier, beside.as_ref(), observer)?);
            }
            Ok::<_, OperationError>(())
        })?;
        stored.add(more);
    }
    Ok((files.into_iter().flatten().collect(), stored))
}

/// The one dump of a capture.
fn dump_of(captured: &[CapturedFile]) -> Option<&CapturedFile> {
    let mut dumps = captured.iter().filter(|file| (file.role, file.kind) == (Role::Dump, FileKind::File));
    dumps.next().filter(|_| dumps.next().is_none())
}

/// Whether a base is more like this dump than like its own earlier version: written nearer to it in time.
fn waits(base: &CapturedFile, dump: &CapturedFile, earlier: &Earlier<'_>) -> bool {
    let is_here = |path: &[u8]| earlier.has_captured(path);
    let wanted = Wanted { path: &base.path, role: base.role, is_here: &is_here };
    let old = wanted.among(earlier.files()).filter(|old| old.recipe.as_deref().is_some_and(is_canonical));
    let apart = |time: i64| time.abs_diff(base.mtime);
    base.role == Role::Base && old.is_none_or(|old| apart(dump.mtime) < apart(old.mtime))
}
