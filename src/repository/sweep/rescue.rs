//! Storing again what is needed and would not be known without the packs that go. Chunks are copied, not frames.
//!
//! Memory: that of the way in (intake), decoded frames of 32 MiB, and 100 bytes for each chunk.

use std::collections::HashSet;

use super::super::Repository;
use super::super::catalog::Rescued;
use super::super::chunk_reader::ChunkReader;
use super::super::error::RepositoryError;
use super::super::intake::Class;
use super::super::lock;
use super::super::session::Session;
use super::{SweepOptions, SweepReport};
use crate::format::ChunkId;

/// Needed chunks that usable packs do not hold, in the order in which they are read; those that are lost left out.
pub(super) fn unknown(repository: &Repository, lost: &HashSet<ChunkId>) -> Result<Vec<Rescued>, RepositoryError> {
    let mut found = Vec::new();
    let catalog = lock(&repository.catalog);
    catalog.unknown_needed(&mut |id: ChunkId, is_list| {
        if lost.contains(&id) {
            return Ok(());
        }
        let rescued = catalog.rescued(&id, is_list)?;
        found.push(rescued.ok_or(RepositoryError::UnknownChunk { chunk: id })?);
        Ok(())
    })?;
    drop(catalog);
    found.sort_unstable();
    Ok(found)
}

/// Stores them again, in packs that are usable from here on and named by an index object.
pub(super) fn store_again(
    session: &Session<'_>,
    chunks: &[Rescued],
    options: &SweepOptions,
    report: &mut SweepReport,
    stop: &(dyn Fn() -> bool + Sync),
    progress: &dyn Fn(u64),
) -> Result<(), RepositoryError> {
    if chunks.is_empty() {
        return Ok(());
    }
    let reader = ChunkReader::new(session.repository);
    let ((), stored) = session.store(options.intake, stop, |intake| {
        for chunk in chunks {
            let bytes = reader.chunk(&chunk.id, chunk.length)?;
            let class = if chunk.is_list { Class::List } else { Class::Content };
            intake.put_chunk(class, &bytes)?;
            progress(u64::from(chunk.length));
        }
        Ok::<(), RepositoryError>(())
    })?;
    report.stored_again.chunks += stored.new_chunks;
    report.stored_again.bytes += stored.new_bytes;
    report.stored_again.stored_bytes += stored.stored_bytes;
    Ok(())
}
