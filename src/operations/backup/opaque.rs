//! A file that is stored as it is: its bytes, cut by what they are.

use std::io;

use super::file::Facts;
use super::input::Input;
use crate::format::recipe::Part;
use crate::format::snapshot::File;
use crate::operations::timeline::proof::{GoesOn, Hasher};
use crate::operations::{Observer, OperationError};
use crate::repository::{Intake, Repository, StreamWriter};

/// Reads a file into the repository, beside its earlier version. Answers with the file as it goes into the snapshot, and what
/// its content showed.
pub(in crate::operations) fn store(
    repository: &Repository,
    intake: &mut Intake<'_>,
    input: &Input<'_>,
    mut file: File,
    observer: &dyn Observer,
) -> Result<(File, Facts, GoesOn), OperationError> {
    let mut stream = StreamWriter::after(repository, input.earlier);
    let mut hasher = Hasher::new(input.joint);
    let mut failed = None;
    let mut sink = |bytes: &[u8]| {
        hasher.update(bytes);
        observer.advance(bytes.len() as u64);
        stream.write(intake, bytes).map_err(|error| {
            failed = Some(error);
            io::Error::other("the repository failed")
        })
    };
    let read = (input.read)(&mut sink, &mut |_| {});
    let reading = match (read, failed) {
        (Err(_), Some(error)) => return Err(error.into()),
        (read, _) => read?,
    };
    let stored = stream.finish(intake)?;
    file.size = reading.length;
    let (hash, continues) = hasher.finish();
    file.hash = Some(hash);
    file.recipe = Some(vec![Part::opaque(stored)]);
    file.suspect = reading.suspect;
    Ok((file, reading.facts, continues))
}
