//! Storing again what is needed and would not be known without the packs that go. Chunks are copied, not frames.
//!
//! Memory: that of the way in (intake), the reader's (see [`ChunkReader`]), and 300 bytes for each chunk.

use std::collections::{HashMap, HashSet};

use super::super::Repository;
use super::super::catalog::Rescued;
use super::super::chunk_reader::ChunkReader;
use super::super::error::{RepositoryError, one_line};
use super::super::lock;
use super::super::session::Session;
use super::survey::Survey;
use super::{Hands, StoredAgain, SweepOptions, SweepReport};
use crate::format::frame::BasePrefix;
use crate::format::limits::DELTA_CLOSURE_MAX;
use crate::format::list::ListEntry;
use crate::format::summary::Holds;
use crate::format::{ChunkId, ObjectHash};

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
/// SWEEP-12: whole chunks first, then deltas, each after its bases. A base that nobody needs is not stored again: deltas on
/// it are made against what it was made against. Where it was whole, the first is stored whole, the others against that one.
pub(super) fn store_again(
    with: Rescue<'_>,
    chunks: Vec<Rescued>,
    report: &mut SweepReport,
) -> Result<HashSet<ChunkId>, RepositoryError> {
    let repository = with.session.repository;
    let mut unreadable = HashSet::new();
    let mut left: HashSet<ChunkId> = chunks.iter().map(|chunk| chunk.id).collect();
    let mut heirs: HashMap<ChunkId, ListEntry> = HashMap::new();
    let copy = |chunk| Ok(Copy { bases: bases_of(repository, &chunk, &left)?, chunk });
    let mut later: Vec<Copy> = chunks.into_iter().map(copy).collect::<Result<_, RepositoryError>>()?;
    while !later.is_empty() {
        let (mut now, mut rest) = (Vec::new(), Vec::new());
        for copy in later {
            match against(repository, &copy, &left, &mut heirs)? {
                Some(old) => now.push((copy.chunk, old)),
                None => rest.push(copy),
            }
        }
        // A circle, of the forms that were found first: one of them is read in another way, or was recorded as lost.
        if now.is_empty() {
            now.push((rest.remove(0).chunk, Vec::new()));
        }
        store_round(with, &now, report, &mut unreadable)?;
        for (chunk, _) in &now {
            left.remove(&chunk.id);
        }
        later = rest;
    }
    Ok(unreadable)
}

/// The chunks a delta is made against: its bases, and in the place of one that goes and was a delta itself, the bases of
/// that one.
fn bases_of(
    repository: &Repository,
    chunk: &Rescued,
    left: &HashSet<ChunkId>,
) -> Result<Vec<ListEntry>, RepositoryError> {
    let catalog = lock(&repository.catalog);
    let (mut bases, mut seen) = (Vec::new(), HashSet::from([chunk.id]));
    let mut open: Vec<BasePrefix> = chunk.bases.iter().flatten().rev().copied().collect();
    while let Some(prefix) = open.pop() {
        for id in catalog.with_prefix(&prefix)? {
            if seen.len() > DELTA_CLOSURE_MAX || !seen.insert(id) {
                continue;
            }
            let found = catalog.rescued(&id, false)?;
            let length = found.as_ref().map_or(0, |found| found.length);
            match found.and_then(|found| found.bases) {
                Some(older) if !left.contains(&id) && !catalog.is_known(&id)? => open.extend(older.into_iter().rev()),
                Some(_) | None => bases.push(ListEntry { id, length, label: None }),
            }
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

/// What a sweep would store again if it condemned these packs too.
///
/// SWEEP-23: what only packs hold that are damaged is read, since a sweep stops where it cannot be.
pub(super) fn foretell(
    repository: &Repository,
    survey: &Survey,
    chosen: &[ObjectHash],
    go_on: &dyn Fn() -> Result<(), RepositoryError>,
) -> Result<StoredAgain, RepositoryError> {
    let (sizes, lost) = (survey.sizes(), &survey.losses.chunks);
    let is_damaged = |pack: &ObjectHash, _| survey.damaged.contains(pack);
    lock(&repository.catalog).use_listed(&sizes, &is_damaged)?;
    let (reader, mut unreadable) = (ChunkReader::new(repository), HashSet::new());
    for chunk in unknown(repository, lost)? {
        go_on()?;
        if read(&reader, &chunk, lost)?.is_none() {
            unreadable.insert(chunk.id);
        }
    }
    let condemned: HashSet<ObjectHash> = chosen.iter().chain(&survey.condemned).copied().collect();
    let goes =
        |pack: &ObjectHash, is_named: bool| !is_named || condemned.contains(pack) || survey.damaged.contains(pack);
    lock(&repository.catalog).use_listed(&sizes, &goes)?;
    let mut again = unknown(repository, lost)?;
    again.retain(|chunk| !unreadable.contains(&chunk.id));
    let bytes = again.iter().map(|chunk| u64::from(chunk.length)).sum();
    Ok(StoredAgain { chunks: again.len() as u64, bytes, stored_bytes: 0 })
}

/// The bytes of a chunk; `None` where it cannot be read, as was recorded.
fn read(
    reader: &ChunkReader<'_>,
    chunk: &Rescued,
    lost: &HashSet<ChunkId>,
) -> Result<Option<Vec<u8>>, RepositoryError> {
    match reader.chunk(&chunk.id, chunk.length) {
        Err(error) if error.is_damage() && lost.contains(&chunk.id) => Ok(None),
        Err(error @ RepositoryError::Damaged { .. }) => {
            Err(RepositoryError::NotWhole { reasons: vec![one_line(&error)] })
        }
        other => other.map(Some),
    }
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
            // What became known with its bases, since these were stored again, is left where it is.
            if !chunk.is_list && !intake.takes(chunk.id)? {
                continue;
            }
            let Some(bytes) = read(&reader, chunk, lost)? else {
                unreadable.insert(chunk.id);
                continue;
            };
            if chunk.is_list {
                intake.put_list(&bytes, old)?;
            } else {
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
