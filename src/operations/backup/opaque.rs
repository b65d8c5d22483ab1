//! A file that is stored as it is: its bytes, cut by what they are.

use std::io;

use super::file::{Earlier, Facts};
use crate::format::form::{Form, FormState};
use crate::format::limits::FAULT_MAX;
use crate::format::recipe::Part;
use crate::format::snapshot::{File, Role};
use crate::operations::timeline::proof::{GoesOn, Hasher};
use crate::operations::{Observer, OperationError};
use crate::redis::{CapturedFile, RedisError};
use crate::repository::{Intake, Repository, StreamWriter};

/// Reads a captured file into the repository, beside its earlier version. Answers with the file as it goes into the snapshot, and
/// what its content showed.
pub(super) fn read_file(
    repository: &Repository,
    intake: &mut Intake<'_>,
    captured: &CapturedFile,
    earlier: &Earlier<'_>,
    mut file: File,
    observer: &dyn Observer,
) -> Result<(File, Facts, GoesOn), OperationError> {
    let recipe = earlier.version(captured).and_then(|earlier| earlier.recipe.as_deref()).unwrap_or_default();
    let mut stream = StreamWriter::after(repository, recipe);
    let mut hasher = Hasher::new(earlier.joint(captured));
    let mut failed = None;
    let read = captured.read(&mut |bytes| {
        hasher.update(bytes);
        observer.advance(bytes.len() as u64);
        stream.write(intake, bytes).map_err(|error| {
            failed = Some(error);
            io::Error::other("the repository failed")
        })
    });
    let reading = match (read, failed) {
        (Err(RedisError::Sink(_)), Some(error)) => return Err(error.into()),
        (read, _) => read?,
    };
    let content = stream.finish(intake)?;
    file.size = reading.length;
    let (hash, continues) = hasher.finish();
    file.hash = Some(hash);
    file.recipe = Some(vec![Part::opaque(content)]);
    file.form = form(file.role, &reading.facts);
    file.suspect = reading.suspect;
    Ok((file, reading.facts, continues))
}

/// How a file that a server loads as RDB is stored, and why so.
fn form(role: Role, facts: &Facts) -> Option<Form> {
    if !matches!(role, Role::Dump | Role::Base | Role::SingleAof) {
        return None;
    }
    let mut why = match (facts.get("not-understood"), facts.contains_key("rdb.version")) {
        (Some(what), _) => what.clone(),
        (None, true) => concat!("redkeep ", env!("CARGO_PKG_VERSION"), " stores dumps as they are").into(),
        (None, false) => "it does not begin as an RDB file does".into(),
    };
    why.truncate(why.floor_char_boundary(FAULT_MAX));
    Some(Form { state: FormState::Opaque, why: Some(why) })
}
