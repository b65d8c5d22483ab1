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
use super::{Hands, SweepOptions, SweepReport};
use crate::format::ChunkId;
use crate::format::list::ListEntry;
use crate::format::summary::Holds;

/// Needed chunks that usable packs do not hold, in the order in which they are read; of those recorded as lost such as
/// some pack is said to hold: they may be whole again.
pub(super) fn unknown(repository: &Repository, lost: &HashSet<ChunkId>) -> Result<Vec<Rescued>, RepositoryError> {
    let mut found = Vec::new();
    let catalog = lock(&repository.catalog);
    catalog.unknown_needed(&mut |id: ChunkId, is_list| {
        match catalog.rescued(&id, is_list)? {
            Some(rescued) => found.push(rescued),
            None if lost.contains(&id) => {}
            None => return Err(RepositoryError::UnknownChunk { chunk: id }),
        }
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

/// What a rescue works with.
#[derive(Clone, Copy)]
pub(super) struct Rescue<'a> {
    pub session: &'a Session<'a>,
    pub options: &'a SweepOptions,
    pub hands: Hands<'a>,
    /// Chunks that are recorded as lost.
    pub lost: &'a HashSet<ChunkId>,
}

/// Stores them again, in packs that are usable from here on and named by an index object. Answers with those that cannot
/// be read, as was recorded.
///
/// SWEEP-13: what was recorded as lost is stored again like anything else where it can be read.
/// SWEEP-12: whole chunks first, then deltas, each after its bases. A base that nobody needs is not stored again: the first
/// delta on it is stored whole, and the others against that one.
pub(super) fn store_again(
    with: Rescue<'_>,
    chunks: Vec<Rescued>,
    report: &mut SweepReport,
) -> Result<HashSet<ChunkId>, RepositoryError> {
    let repository = with.session.repository;
    let mut unreadable = HashSet::new();
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
        // A circle is no delta at all: what is in it cannot be read, and was missed before, or is recorded.
        if now.is_empty() {
            let (recorded, missed): (Vec<_>, Vec<_>) =
                rest.iter().map(|copy| copy.chunk.id).partition(|id| with.lost.contains(id));
            if let Some(chunk) = missed.first() {
                return Err(RepositoryError::UnknownChunk { chunk: *chunk });
            }
            unreadable.extend(recorded);
            break;
        }
        store_round(with, &now, report, &mut unreadable)?;
        for (chunk, _) in &now {
            left.remove(&chunk.id);
        }
        later = rest;
    }
    Ok(unreadable)
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
    with: Rescue<'_>,
    chunks: &[(Rescued, Vec<ListEntry>)],
    report: &mut SweepReport,
    unreadable: &mut HashSet<ChunkId>,
) -> Result<(), RepositoryError> {
    let Rescue { session, options, hands, lost } = with;
    let reader = ChunkReader::new(session.repository);
    let ((), stored) = session.store(options.intake, hands.stop, |intake| {
        for (chunk, old) in chunks {
            let bytes = match reader.chunk(&chunk.id, chunk.length) {
                Err(error) if error.is_damage() && lost.contains(&chunk.id) => {
                    unreadable.insert(chunk.id);
                    continue;
                }
                other => other?,
            };
            if chunk.is_list {
                intake.put_list(&bytes)?;
            } else if intake.takes(chunk.id)? {
                intake.put_content(Holds::Opaque, chunk.id, &bytes, old)?;
            }
            (hands.progress)(u64::from(chunk.length));
        }
        Ok::<(), RepositoryError>(())
    })?;
    report.stored_again.chunks += stored.total().chunks;
    report.stored_again.bytes += stored.total().bytes;
    report.stored_again.stored_bytes += stored.stored_bytes;
    Ok(())
}
