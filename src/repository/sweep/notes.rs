//! Notes that have done their work go. Rules: format-spec/15-notes.md, 16-sweep.md.

use std::collections::{HashMap, HashSet};

use super::super::error::{Fault, RepositoryError};
use super::super::session::Session;
use super::super::{Repository, lock, object_name};
use crate::format::ChunkId;
use crate::format::limits::INDEX_MAX;
use crate::format::note::Loss;
use crate::format::object::Name;

/// Removes check results and drills that newer ones took the place of, and losses of which nothing is missing any more. `missed`:
/// what is needed and lost.
///
/// SWEEP-14: a record that stayed would hide it when the same is lost again.
pub(super) fn remove_done(session: &Session<'_>, missed: &HashSet<ChunkId>) -> Result<(), RepositoryError> {
    let repository = session.repository;
    let mut done = repository.superseded_notes()?;
    done.extend(repository.superseded_drills()?);
    let losses = repository.loss_notes()?;
    if !losses.is_empty() {
        repository.refresh_index()?;
        let mut packs = repository.listed_packs()?;
        packs.extend(lock(&repository.catalog).indexed_packs()?);
        for (id, loss) in losses {
            if is_done(repository, &loss, &packs, missed)? {
                done.push(id);
            }
            session.keep_alive()?;
        }
    }
    done.iter().try_for_each(|id| Ok(repository.store.delete(&object_name(&Name::Note(*id)))?))
}

/// Whether nothing is missing of what a note says was lost. `packs` are those that are listed or named.
fn is_done(
    repository: &Repository,
    loss: &Loss,
    packs: &HashMap<crate::format::ObjectHash, u64>,
    missed: &HashSet<ChunkId>,
) -> Result<bool, RepositoryError> {
    if loss.packs.iter().any(|pack| packs.contains_key(pack)) || loss.chunks.iter().any(|id| missed.contains(id)) {
        return Ok(false);
    }
    for object in &loss.objects {
        let Some(name) = Name::parse(object) else { return Ok(false) };
        match repository.get_object(&name, INDEX_MAX) {
            Ok(_) => {}
            // Snapshots and other hosts name those before them for ever; nobody looks for anything else that is gone.
            Err(RepositoryError::Damaged { source: Fault::Missing, .. }) if !matches!(name, Name::Snapshot(_)) => {}
            Err(error) if error.is_damage() => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
