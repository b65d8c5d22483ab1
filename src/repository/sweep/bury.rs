//! What may be deleted is deleted, in the order in which nothing is ever named that is gone: index objects, packs, and
//! last the condemnation itself. Every step may be repeated by anyone. Rules: format-spec/16-sweep.md.

use std::collections::{HashMap, HashSet};

use super::super::error::{Fault, RepositoryError, one_line};
use super::super::session::{HEARTBEAT, Session};
use super::super::{lock, object_name};
use super::survey::StoreClock;
use super::{SweepReport, fence};
use crate::format::index::IndexedPack;
use crate::format::limits::CONDEMNED_MAX;
use crate::format::object::{Kind, Name};
use crate::format::session::Burial;
use crate::format::{Id16, ObjectHash};

/// Index objects below this size are small.
const SMALL: u64 = 4 << 20;
/// So many small ones are merged.
const SMALL_COUNT: usize = 8;

/// A burial that stands in the repository.
pub(super) struct Standing {
    /// The session that put it.
    pub id: Id16,
    /// What it says.
    pub burial: Burial,
}

/// All burials; tombstones left out.
pub(super) fn standing(session: &Session<'_>) -> Result<Vec<Standing>, RepositoryError> {
    let (repository, mut found) = (session.repository, Vec::new());
    for entry in repository.store.list("burials/")? {
        let Some(name @ Name::Burial(id)) = Name::parse(entry.name.as_str()) else { continue };
        let (kind, plaintext) = match repository.get_object(&name, CONDEMNED_MAX) {
            Err(RepositoryError::Damaged { source: Fault::Missing, .. }) => continue,
            Err(error) if error.is_damage() => match repository.losses()?.has(&name.to_string()) {
                true => continue,
                false => return Err(RepositoryError::NotWhole { reasons: vec![one_line(&error)] }),
            },
            other => other?,
        };
        if kind == Kind::Burial {
            let burial = Burial::decode(&plaintext).map_err(|malformed| RepositoryError::damaged(name, malformed))?;
            found.push(Standing { id, burial });
        }
    }
    Ok(found)
}

/// W4 and W5 for burials.
///
/// SWEEP-9: new index objects, old ones deleted, then the packs. SWEEP-10: the condemnation goes last.
pub(super) fn carry_out(
    session: &Session<'_>,
    burials: &[Standing],
    clock: StoreClock,
    report: &mut SweepReport,
) -> Result<(), RepositoryError> {
    let repository = session.repository;
    let buried: HashSet<ObjectHash> = burials.iter().flat_map(|of| of.burial.packs.iter().copied()).collect();
    repository.refresh_index()?;
    let listed = repository.listed_packs()?;
    let is_gone = |pack: &ObjectHash| buried.contains(pack);
    let names = lock(&repository.catalog).names_of_sources()?;
    let naming: Vec<String> =
        names.into_iter().filter(|(_, packs)| packs.iter().any(is_gone)).map(|(name, _)| name).collect();
    replace_indexes(session, &naming, &is_gone, true, report)?;
    for pack in buried.iter().filter(|pack| listed.contains_key(*pack)) {
        repository.store.delete(&object_name(&Name::Pack(*pack)))?;
        report.deleted_packs += 1;
        report.deleted_bytes += listed.get(pack).copied().unwrap_or(0);
        session.keep_alive()?;
    }
    let left = repository.listed_packs()?;
    repository.refresh_index()?;
    let named = lock(&repository.catalog).indexed_packs()?;
    let lists_are_settled = repository.store.promises().lag.is_zero() || others_are_quiet(session, clock)?;
    for of in burials {
        let is_left = |pack: &ObjectHash| left.contains_key(pack) || named.contains_key(pack);
        let was_left = |pack: &ObjectHash| listed.contains_key(pack) && !repository.store.promises().lag.is_zero();
        if !lists_are_settled || of.burial.packs.iter().any(|pack| is_left(pack) || was_left(pack)) {
            continue;
        }
        for id in &of.burial.condemned {
            repository.store.delete(&object_name(&Name::Condemned(*id)))?;
        }
        // The lease before the burial: without either it would look undecided.
        repository.store.delete(&object_name(&Name::Lease(of.id)))?;
        repository.store.delete(&object_name(&Name::Burial(of.id)))?;
    }
    Ok(())
}

/// Whether no other sweep deleted anything within the last LAG: a LIST may show once more what another one just showed
/// to be gone.
fn others_are_quiet(session: &Session<'_>, clock: StoreClock) -> Result<bool, RepositoryError> {
    let repository = session.repository;
    let quiet = 2 * repository.store.promises().lag + HEARTBEAT;
    let burials: HashSet<String> =
        repository.store.list("burials/")?.into_iter().map(|entry| entry.name.as_str().to_owned()).collect();
    for entry in repository.store.list("leases/")? {
        let Some(name @ Name::Lease(id)) = Name::parse(entry.name.as_str()) else { continue };
        if id == session.id() || clock.age(entry.modified) >= quiet {
            continue;
        }
        let is_sweep = match fence::read_lease(session, &name)? {
            Some(lease) => lease.commit_name.starts_with("burials/"),
            None => burials.contains(&Name::Burial(id).to_string()),
        };
        if is_sweep {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts index objects that name what `sources` name except what is gone, then deletes `sources`. A source that is
/// unreadable by now is left to the next sweep.
fn replace_indexes(
    session: &Session<'_>,
    sources: &[String],
    is_gone: &dyn Fn(&ObjectHash) -> bool,
    delete: bool,
    report: &mut SweepReport,
) -> Result<(), RepositoryError> {
    let repository = session.repository;
    let hashes: Vec<ObjectHash> = sources.iter().filter_map(|name| index_hash(name)).collect();
    let (mut kept, mut names) = (Vec::new(), HashSet::new());
    for hash in &hashes {
        for pack in repository.read_index(*hash)?.packs {
            if !is_gone(&pack.pack) && names.insert(pack.pack) {
                kept.push(pack);
            }
        }
        let chunks = kept.iter().flat_map(|pack: &IndexedPack| &pack.footer.frames).map(|frame| frame.chunks.len());
        if chunks.sum::<usize>() > CHUNKS {
            repository.put_index(session.id(), std::mem::take(&mut kept))?;
        }
    }
    repository.put_index(session.id(), kept)?;
    for hash in hashes.iter().filter(|_| delete) {
        repository.store.delete(&object_name(&Name::Index(*hash)))?;
        report.deleted_indexes += 1;
        session.keep_alive()?;
    }
    Ok(())
}

/// Chunks of about 14 MiB of index: how large they are does not matter to whoever reads it.
const CHUNKS: usize = 384 << 10;

fn index_hash(name: &str) -> Option<ObjectHash> {
    match Name::parse(name) {
        Some(Name::Index(hash)) => Some(hash),
        _ => None,
    }
}

/// Replaces many small index objects by few.
///
/// SWEEP-11: where LAG is not 0, the small ones are deleted by a later sweep, which sees what replaces them.
pub(super) fn merge_indexes(session: &Session<'_>, report: &mut SweepReport) -> Result<(), RepositoryError> {
    let repository = session.repository;
    repository.refresh_index()?;
    let naming = lock(&repository.catalog).names_of_sources()?;
    let mut times: HashMap<ObjectHash, usize> = HashMap::new();
    naming.values().flatten().for_each(|pack| *times.entry(*pack).or_default() += 1);
    let entries = repository.store.list("index/")?;
    let mut small: Vec<String> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.size < SMALL) {
        let name = entry.name.as_str();
        let (Some(hash), Some(packs)) = (index_hash(name), naming.get(name)) else { continue };
        if packs.iter().all(|pack| times.get(pack).is_some_and(|times| *times > 1)) {
            packs.iter().for_each(|pack| drop(times.entry(*pack).and_modify(|times| *times -= 1)));
            repository.store.delete(&object_name(&Name::Index(hash)))?;
            report.deleted_indexes += 1;
        } else {
            small.push(name.to_owned());
        }
    }
    match small.len() >= SMALL_COUNT {
        true => replace_indexes(session, &small, &|_| false, repository.store.promises().lag.is_zero(), report),
        false => Ok(()),
    }
}
