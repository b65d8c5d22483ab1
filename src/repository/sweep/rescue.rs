//! Storing again what is needed and would not be known without the packs that go. Chunks are copied, not frames.
//!
//! Memory: that of the way in (intake), decoded frames of 32 MiB, and 300 bytes for each chunk.

use std::collections::{HashMap, HashSet};

use super::super::Repository;
use super::super::catalog::Rescued;
use super::super::chunk_reader::ChunkReader;
use super::super::error::RepositoryError;
use super::super::lock;
use super::super::session::Session;
use super::{SweepOptions, SweepReport};
use crate::format::ChunkId;
use crate::format::recipe::ListEntry;

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

/// A chunk to be stored again, and its bases.
struct Copy {
    chunk: Rescued,
    bases: Vec<ListEntry>,
}

/// Stores them again, in packs that are usable from here on and named by an index object.
///
/// SWEEP-12: whole chunks first, then deltas, each after its bases. A base that nobody needs is not stored again: the first
/// delta on it is stored whole, and the others against that one.
pub(super) fn store_again(
    session: &Session<'_>,
    chunks: Vec<Rescued>,
    options: &SweepOptions,
    report: &mut SweepReport,
    stop: &(dyn Fn() -> bool + Sync),
    progress: &dyn Fn(u64),
) -> Result<(), RepositoryError> {
    let repository = session.repository;
    let mut left: HashSet<ChunkId> = chunks.iter().map(|chunk| chunk.id).collect();
    let mut heirs: HashMap<ChunkId, ListEntry> = HashMap::new();
    let copy = |chunk| Ok(Copy { bases: bases_of(repository, &chunk)?, chunk });
    let mut later: Vec<Copy> = chunks.into_iter().map(copy).collect::<Result<_, RepositoryError>>()?;
    while !later.is_empty() {
        let (mut now, mut rest) = (Vec::new(), Vec::new());
        for copy in later {
            match against(repository, &copy, &left, &mut heirs)? {
                Some(old) => now.push((copy.chunk, old)),
                None => rest.push(copy),
            }
        }
        // A circle is no delta at all: what is in it cannot be read, and was missed before.
        let first = rest.first().map(|copy| copy.chunk.id);
        if let (true, Some(chunk)) = (now.is_empty(), first) {
            return Err(RepositoryError::UnknownChunk { chunk });
        }
        store_round(session, &now, options, report, stop, progress)?;
        for (chunk, _) in &now {
            left.remove(&chunk.id);
        }
        later = rest;
    }
    Ok(())
}

/// The chunks a delta is made against.
fn bases_of(repository: &Repository, chunk: &Rescued) -> Result<Vec<ListEntry>, RepositoryError> {
    let catalog = lock(&repository.catalog);
    let mut bases = Vec::new();
    for prefix in chunk.bases.iter().flatten() {
        for id in catalog.with_prefix(prefix)? {
            let length = catalog.rescued(&id, false)?.map_or(0, |found| found.length);
            bases.push(ListEntry { id, length, label: None });
        }
    }
    Ok(bases)
}

/// What a chunk is stored against by now; `None` where that has to be stored first.
fn against(
    repository: &Repository,
    copy: &Copy,
    left: &HashSet<ChunkId>,
    heirs: &mut HashMap<ChunkId, ListEntry>,
) -> Result<Option<Vec<ListEntry>>, RepositoryError> {
    let (mut old, mut without) = (Vec::new(), Vec::new());
    for base in &copy.bases {
        if left.contains(&base.id) {
            return Ok(None);
        }
        match heirs.get(&base.id) {
            _ if lock(&repository.catalog).is_known(&base.id)? => old.push(base.clone()),
            Some(heir) if left.contains(&heir.id) => return Ok(None),
            Some(heir) => old.push(heir.clone()),
            None => without.push(base.id),
        }
    }
    let (id, length) = (copy.chunk.id, copy.chunk.length);
    heirs.extend(without.into_iter().map(|base| (base, ListEntry { id, length, label: None })));
    Ok(Some(old))
}

fn store_round(
    session: &Session<'_>,
    chunks: &[(Rescued, Vec<ListEntry>)],
    options: &SweepOptions,
    report: &mut SweepReport,
    stop: &(dyn Fn() -> bool + Sync),
    progress: &dyn Fn(u64),
) -> Result<(), RepositoryError> {
    let reader = ChunkReader::new(session.repository);
    let ((), stored) = session.store(options.intake, stop, |intake| {
        for (chunk, old) in chunks {
            let bytes = reader.chunk(&chunk.id, chunk.length)?;
            if chunk.is_list {
                intake.put_list(&bytes)?;
            } else if intake.takes(chunk.id, &bytes)? {
                intake.put_content(chunk.id, &bytes, old)?;
            }
            progress(u64::from(chunk.length));
        }
        Ok::<(), RepositoryError>(())
    })?;
    report.stored_again.chunks += stored.new_chunks;
    report.stored_again.bytes += stored.new_bytes;
    report.stored_again.stored_bytes += stored.stored_bytes;
    Ok(())
}
