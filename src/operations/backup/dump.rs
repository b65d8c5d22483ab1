//! A file that a server loads as RDB: stored in canonical form as far as it is understood, else as it is.

use std::io;

use super::file::{Earlier, Facts};
use super::opaque;
use crate::format::form::{Form, FormState};
use crate::format::limits::FAULT_MAX;
use crate::format::snapshot::File;
use crate::operations::timeline::proof::{GoesOn, Hasher};
use crate::operations::{Observer, OperationError, Silent};
use crate::redis::{CapturedFile, RedisError};
use crate::repository::{DumpStored, Intake, IntakeOptions, NotStored, Repository, store_dump};

/// Reads a captured dump into the repository, beside its earlier version. Answers with the file as it goes into the snapshot,
/// and what its content showed.
pub(super) fn store(
    repository: &Repository,
    intake: &mut Intake<'_>,
    captured: &CapturedFile,
    earlier: &Earlier<'_>,
    file: File,
    observer: &dyn Observer,
) -> Result<(File, Facts, GoesOn), OperationError> {
    if let Err(why) = repository.has_room_to_sort(captured.expected_size()) {
        return as_it_is(repository, intake, captured, earlier, file, observer, NotStored { why, is_suspect: false });
    }
    let previous = earlier.version(captured).and_then(|earlier| earlier.recipe.as_deref()).unwrap_or_default();
    let mut hasher = Hasher::new(earlier.joint(captured));
    let workers = IntakeOptions::default().workers;
    let (reading, stored) = store_dump(intake, previous, workers, |take, each| {
        let mut failed = None;
        let mut sink = |bytes: &[u8]| {
            hasher.update(bytes);
            observer.advance(bytes.len() as u64);
            take(bytes).map_err(|error| {
                failed = Some(error);
                io::Error::other("the repository failed")
            })
        };
        let read = captured.read_stretches(&mut sink, each);
        match (read, failed) {
            (Err(RedisError::Sink(_)), Some(error)) => Err(OperationError::from(error)),
            (read, _) => Ok(read?),
        }
    })?;
    let DumpStored { parts, form } = match stored {
        Ok(stored) => stored,
        // What was stored of it so far is named by nothing, and goes with a prune. A second reading is no progress.
        Err(not) => return as_it_is(repository, intake, captured, earlier, file, &Silent, not),
    };
    let (hash, continues) = hasher.finish();
    let form = match form {
        Ok(()) => Form { state: FormState::Canonical, why: None },
        Err(cut) => {
            let told = cut.or_else(|| reading.facts.get("not-understood").cloned());
            let told = told.or_else(|| reading.suspect.clone()).unwrap_or_else(|| "it ends early".into());
            let is_prefix = parts.iter().any(|part| part.parameters.is_some());
            partly(if is_prefix { FormState::Prefix } else { FormState::Opaque }, told)
        }
    };
    let (size, suspect) = (reading.length, reading.suspect);
    let file = File { size, hash: Some(hash), recipe: Some(parts), form: Some(form), suspect, ..file };
    Ok((file, reading.facts, continues))
}

/// Stores a dump as any other file, and says why.
fn as_it_is(
    repository: &Repository,
    intake: &mut Intake<'_>,
    captured: &CapturedFile,
    earlier: &Earlier<'_>,
    file: File,
    observer: &dyn Observer,
    NotStored { why, is_suspect }: NotStored,
) -> Result<(File, Facts, GoesOn), OperationError> {
    let (mut file, facts, continues) = opaque::store(repository, intake, captured, earlier, file, observer)?;
    if is_suspect {
        file.suspect.get_or_insert_with(|| why.clone());
    }
    file.form = Some(partly(FormState::Opaque, why));
    Ok((file, facts, continues))
}

fn partly(state: FormState, mut why: String) -> Form {
    why.truncate(why.floor_char_boundary(FAULT_MAX));
    Form { state, why: Some(why) }
}
