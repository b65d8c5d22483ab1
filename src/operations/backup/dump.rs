//! A file that a server loads as RDB: stored in canonical form as far as it is understood, else as it is.

use std::io;

use super::file::Facts;
use super::input::Input;
use super::opaque;
use crate::format::ObjectHash;
use crate::format::form::{Form, FormState};
use crate::format::limits::FAULT_MAX;
use crate::format::snapshot::{File, Role};
use crate::operations::timeline::proof::{GoesOn, Hasher};
use crate::operations::{Observer, OperationError, Silent};
use crate::redis::Reading;
use crate::repository::{self, DumpStored, Intake, IntakeOptions, NotStored, Repository, store_dump};

/// Reads a dump into the repository, beside its earlier version. Answers with the file as it goes into the snapshot, and
/// what its content showed.
pub(in crate::operations) fn store(
    repository: &Repository,
    intake: &mut Intake<'_>,
    input: &Input<'_>,
    file: File,
    observer: &dyn Observer,
) -> Result<(File, Facts, GoesOn), OperationError> {
    if let Err(why) = repository.has_room_to_sort(input.size) {
        let not = NotStored { why, is_suspect: false, again: false };
        return as_it_is(repository, intake, input, file, observer, not);
    }
    let instead = (input.instead)()?;
    let parts = instead.as_ref().map_or(input.earlier, |instead| &instead.parts);
    let recalled = instead.as_ref().and_then(|instead| instead.path.as_deref());
    let resembles = repository::Earlier { parts, remembered: input.remembered, recalled };
    let mut read = read_dump(intake, input, resembles, observer)?;
    if matches!(&read.stored, Err(not) if not.again) {
        // What was stored so far is named by nothing, and goes with a prune. A second reading is no progress.
        let resembles = repository::Earlier { remembered: None, ..resembles };
        read = read_dump(intake, input, resembles, &Silent)?;
    }
    let Read { reading, hash, continues, stored } = read;
    let DumpStored { parts, form, .. } = match stored {
        Ok(stored) => stored,
        Err(not) => return as_it_is(repository, intake, input, file, &Silent, not),
    };
    let form = match form {
        Ok(()) => Form { state: FormState::Canonical, why: None },
        Err(cut) => {
            let told = cut.or_else(|| reading.facts.get("not-understood").cloned());
            // Nothing is wrong with an AOF that begins with a command.
            let nothing =
                if file.role == Role::Dump { "it ends early" } else { "it is made of commands, and holds no dump" };
            let told = told.or_else(|| reading.suspect.clone()).unwrap_or_else(|| nothing.into());
            let is_prefix = parts.iter().any(|part| part.parameters.is_some());
            partly(if is_prefix { FormState::Prefix } else { FormState::Opaque }, told)
        }
    };
    let (size, suspect) = (reading.length, reading.suspect);
    let file = File { size, hash: Some(hash), recipe: Some(parts), form: Some(form), suspect, ..file };
    Ok((file, reading.facts, continues))
}

/// What a reading of a dump came to.
struct Read {
    reading: Reading,
    hash: ObjectHash,
    continues: GoesOn,
    stored: Result<DumpStored, NotStored>,
}

/// Reads a dump, and stores it in canonical form if it can be.
fn read_dump(
    intake: &mut Intake<'_>,
    input: &Input<'_>,
    resembles: repository::Earlier<'_>,
    observer: &dyn Observer,
) -> Result<Read, OperationError> {
    let mut hasher = Hasher::new(input.joint);
    let workers = IntakeOptions::default().workers;
    let (reading, stored) = store_dump(intake, resembles, workers, |take, each| {
        let mut failed = None;
        let mut sink = |bytes: &[u8]| {
            hasher.update(bytes);
            observer.advance(bytes.len() as u64);
            take(bytes).map_err(|error| {
                failed = Some(error);
                io::Error::other("the repository failed")
            })
        };
        let read = (input.read)(&mut sink, each);
        match (read, failed) {
            (Err(_), Some(error)) => Err(OperationError::from(error)),
            (read, _) => read,
        }
    })?;
    let (hash, continues) = hasher.finish();
    Ok(Read { reading, hash, continues, stored })
}

/// Stores a dump as any other file, and says why.
fn as_it_is(
    repository: &Repository,
    intake: &mut Intake<'_>,
    input: &Input<'_>,
    file: File,
    observer: &dyn Observer,
    NotStored { why, is_suspect, .. }: NotStored,
) -> Result<(File, Facts, GoesOn), OperationError> {
    let (mut file, facts, continues) = opaque::store(repository, intake, input, file, observer)?;
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
