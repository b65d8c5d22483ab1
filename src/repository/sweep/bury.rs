//! What may be deleted is deleted, in the order in which nothing is ever named that is gone: index objects, packs, and
//! last the condemnation itself. Every step may be repeated by anyone. Rules: format-spec/16-sweep.md.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use super::super::error::{Fault, RepositoryError};
use super::super::objects::read_each;
use super::super::session::Session;
use super::super::{Repository, lock, object_name};
use super::survey::{StoreClock, not_whole};
use super::{SweepReport, fence};
use crate::format::index::IndexedPack;
use crate::format::limits::CONDEMNED_MAX;
use crate::format::object::{Kind, Name};
use crate::format::session::Burial;
use crate::format::{Id16, ObjectHash};
use crate::store::{Entry, Timing};

/// Index objects below this size are small.
const SMALL: u64 = 4 << 20;
/// So many small ones are merged.
const SMALL_COUNT: usize = 8;

/// A burial that stands in the repository.
pub(in crate::repository) struct Standing {
    /// The session that put it.
    pub id: Id16,
    /// What it says.
    pub burial: Burial,
}

/// All burials; tombstones left out.
pub(in crate::repository) fn standing(repository: &Repository) -> Result<Vec<Standing>, RepositoryError> {
    let mut found = Vec::new();
    let decode = |_: &Name, kind: Kind, plaintext: Vec<u8>| match kind {
        Kind::Burial => Ok(Some(Burial::decode(&plaintext)?)),
        _ => Ok(None),
    };
    for (of, burial) in repository.read_all("burials/", CONDEMNED_MAX, &decode)? {
        match (of.name, burial) {
            (Name::Burial(id), Ok(Some(burial))) => found.push(Standing { id, burial }),
            (_, Err(Fault::Missing) | Ok(_)) => {}
            (name, Err(_)) if repository.losses()?.has(&name.to_string()) => {}
            (name, Err(fault)) => return Err(not_whole(name, fault)),
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
    let there: Vec<(ObjectHash, u64)> = buried.iter().filter_map(|pack| Some((*pack, *listed.get(pack)?))).collect();
    let pack_of = |(pack, _): &(ObjectHash, u64)| vec![Name::Pack(*pack)];
    session.delete_each(&there, pack_of, |(_, size)| {
        report.deleted_packs += 1;
        report.deleted_bytes += size;
    })?;
    let left = repository.listed_packs()?;
    repository.refresh_index()?;
    let named = lock(&repository.catalog).indexed_packs()?;
    let lists_are_settled = repository.timing().lag.is_zero() || others_are_quiet(session, clock)?;
    for of in burials {
        let is_left = |pack: &ObjectHash| left.contains_key(pack) || named.contains_key(pack);
        let was_left = |pack: &ObjectHash| listed.contains_key(pack) && !repository.timing().lag.is_zero();
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
    let Timing { lag, heartbeat, .. } = repository.timing();
    let quiet = 2 * lag + heartbeat;
    let burials: HashSet<Name> = repository.listed("burials/")?.into_iter().map(|of| of.name).collect();
    let mut leases = repository.listed("leases/")?;
    leases.retain(|of| of.name != Name::Lease(session.id()) && clock.age(of.modified) < quiet);
    let mut are_quiet = true;
    fence::each_lease(repository, &leases, |of, lease| {
        let is_sweep = match (lease?, of.name) {
            (Some(lease), _) => lease.commit_name.starts_with("burials/"),
            (None, Name::Lease(id)) => burials.contains(&Name::Burial(id)),
            (None, _) => false,
        };
        are_quiet &= !is_sweep;
        Ok(())
    })?;
    Ok(are_quiet)
}

/// Puts index objects that name what `sources` name except what is gone, then deletes `sources`. One that another sweep
/// replaced meanwhile is passed over: what it named is named by what is younger.
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
    read_each(
        &*repository.store,
        &hashes,
        |_| SMALL,
        |hash| repository.read_index(*hash),
        |_, index| {
            let packs = match index {
                Err(RepositoryError::Damaged { source: Fault::Missing, .. }) => return Ok(()),
                other => other?.packs,
            };
            for pack in packs {
                if !is_gone(&pack.pack) && names.insert(pack.pack) {
                    kept.push(pack);
                }
            }
            let chunks = kept.iter().flat_map(|pack: &IndexedPack| &pack.footer.frames).map(|frame| frame.chunks.len());
            match chunks.sum::<usize>() > CHUNKS {
                true => repository.put_index(session.id(), std::mem::take(&mut kept)).map(drop),
                false => Ok(()),
            }
        },
    )?;
    repository.put_index(session.id(), kept)?;
    match delete {
        true => delete_indexes(session, &hashes, report),
        false => Ok(()),
    }
}

fn delete_indexes(
    session: &Session<'_>,
    hashes: &[ObjectHash],
    report: &mut SweepReport,
) -> Result<(), RepositoryError> {
    session.delete_each(hashes, |hash| vec![Name::Index(*hash)], |_| report.deleted_indexes += 1)
}

/// Chunks of about 14 MiB of index: how large they are does not matter to whoever reads it.
const CHUNKS: usize = 384 << 10;

fn index_hash(name: &str) -> Option<ObjectHash> {
    match Name::parse(name) {
        Some(Name::Index(hash)) => Some(hash),
        _ => None,
    }
}

/// Takes the names of packs that are gone out of the index objects: a session that slept put them late, or they were lost
/// and nobody needs what they held. Only after what is needed was found to be known without them.
///
/// SWEEP-16: an index object that a LIST shows names packs that a later LIST shows; 2 LAG after it was put for certain.
pub(super) fn unname_gone(
    session: &Session<'_>,
    clock: StoreClock,
    report: &mut SweepReport,
) -> Result<(), RepositoryError> {
    let repository = session.repository;
    let settled = 2 * repository.timing().lag;
    repository.refresh_index()?;
    let naming = lock(&repository.catalog).names_of_sources()?;
    let entries = repository.listed("index/")?;
    let listed = repository.listed_packs()?;
    let old: HashSet<String> =
        entries.iter().filter(|of| clock.age(of.modified) >= settled).map(|of| of.name.to_string()).collect();
    let of_old = naming.iter().filter(|(name, _)| old.contains(*name));
    let gone: HashSet<ObjectHash> =
        of_old.flat_map(|(_, packs)| packs).filter(|pack| !listed.contains_key(*pack)).copied().collect();
    let is_gone = |pack: &ObjectHash| gone.contains(pack);
    let sources: Vec<String> =
        naming.into_iter().filter(|(_, packs)| packs.iter().any(is_gone)).map(|(name, _)| name).collect();
    match sources.is_empty() {
        true => Ok(()),
        false => replace_indexes(session, &sources, &is_gone, true, report),
    }
}

/// Replaces many small index objects by few.
///
/// SWEEP-11: where LAG is not 0, the small ones are deleted by a later sweep, once every LIST shows what replaces them. Of
/// those that name the same packs the older go: what replaces is younger than what it replaces, so that no two sweeps,
/// each for the sake of the other's, delete both. Answers whether any were replaced.
pub(super) fn merge_indexes(
    session: &Session<'_>,
    clock: StoreClock,
    report: &mut SweepReport,
) -> Result<bool, RepositoryError> {
    let repository = session.repository;
    repository.refresh_index()?;
    let naming = lock(&repository.catalog).names_of_sources()?;
    let mut entries = repository.store.entries("index/")?;
    if !repository.timing().lag.is_zero() {
        // A LIST may show what is gone.
        let (stat, mut there) = (|entry: &Entry| repository.store.stat(&entry.name), Vec::new());
        read_each(
            &*repository.store,
            &entries,
            |_| 0,
            stat,
            |entry, stat| {
                there.extend(stat?.map(|_| entry.clone()));
                Ok(())
            },
        )?;
        entries = there;
    }
    let settled = 2 * repository.timing().lag;
    // The youngest that names each pack, and the youngest of those that every LIST shows.
    let (mut youngest, mut youngest_shown) = (HashMap::new(), HashMap::new());
    for entry in &entries {
        let (Some(packs), Some(time)) = (naming.get(entry.name.as_str()), entry.modified) else { continue };
        let is_shown = clock.age(Some(time)) >= settled;
        for pack in packs {
            raise(&mut youngest, *pack, time);
            if is_shown {
                raise(&mut youngest_shown, *pack, time);
            }
        }
    }
    let (mut small, mut replaced) = (Vec::new(), Vec::new());
    for entry in entries.iter().filter(|entry| entry.size < SMALL) {
        let name = entry.name.as_str();
        let (Some(hash), Some(packs)) = (index_hash(name), naming.get(name)) else { continue };
        let is_older_than = |times: &Youngest| {
            entry.modified.is_some_and(|time| packs.iter().all(|pack| times.get(pack) > Some(&time)))
        };
        if is_older_than(&youngest_shown) {
            replaced.push(hash);
        } else if !is_older_than(&youngest) {
            small.push(name.to_owned());
        }
    }
    delete_indexes(session, &replaced, report)?;
    let is_worth_it = small.len() >= SMALL_COUNT;
    if is_worth_it {
        replace_indexes(session, &small, &|_| false, repository.timing().lag.is_zero(), report)?;
    }
    Ok(is_worth_it)
}

/// Times of the youngest index objects that name packs.
type Youngest = HashMap<ObjectHash, SystemTime>;

fn raise(times: &mut Youngest, pack: ObjectHash, time: SystemTime) {
    let known = times.entry(pack).or_insert(time);
    *known = time.max(*known);
}
