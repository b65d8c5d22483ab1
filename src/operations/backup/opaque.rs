//! A file that is stored as it is: its bytes, cut by what they are.

use std::io;

use super::file::{Earlier, Facts};
use crate::format::recipe::Part;
use crate::format::snapshot::File;
use crate::operations::timeline::proof::{GoesOn, Hasher};
use crate::operations::{Observer, OperationError};
use crate::redis::{CapturedFile, RedisError};
use crate::repository::{Intake, Repository, StreamWriter};

/// Reads a captured file into the repository, beside its earlier version. Answers with the file as it goes into the snapshot, and
/// what its content showed.
pub(super) fn store(
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
    file.suspect = reading.suspect;
    Ok((file, reading.facts, continues))
}
