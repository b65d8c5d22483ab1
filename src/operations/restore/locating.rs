//! Where a snapshot would be cut, found in the repository: nothing is written.
//! Rules: format-spec/17-timeline.md.

use super::moment::{Cut, Goal, nothing};
use super::seeking::{Followed, Part, find, follow};
use crate::aof::{Aim, MANIFEST_MAX, Manifest};
use crate::format::snapshot::{File, Role, Snapshot};
use crate::operations::second_look::second_look;
use crate::operations::verify::read_through;
use crate::operations::{Observer, OperationError};
use crate::repository::{ChunkReader, Repository, RepositoryError};

/// Finds where a snapshot is to be cut, by reading its AOF as it is stored. Damage is final only after a second look.
pub fn locate(
    repository: &Repository,
    snapshot: &Snapshot,
    goal: &Goal,
    observer: &dyn Observer,
) -> Result<Cut, OperationError> {
    second_look(repository, |_| true, || locate_once(repository, snapshot, goal, observer))
}

fn locate_once(
    repository: &Repository,
    snapshot: &Snapshot,
    goal: &Goal,
    observer: &dyn Observer,
) -> Result<Cut, OperationError> {
    let reader = ChunkReader::new(repository);
    let files: Vec<&File> = snapshot.files.iter().collect();
    let parts = match files.iter().find(|file| file.role == Role::Manifest) {
        Some(file) => Part::of_manifest(file, &manifest(&reader, file)?),
        None => Part::of_single(&files),
    };
    let file = |part: &Part| files.iter().find(|file| file.path[..] == part.path[..]).copied();
    let sizes: Vec<u64> = parts.iter().map(|part| file(part).map_or(0, |file| file.size)).collect();
    observer.begin("looking into the AOF", Some(sizes.iter().sum()));
    let found = find(&parts, goal, &mut |part, aim, second| {
        let file = file(part).ok_or_else(|| nothing(format!("{} is not in the snapshot", part.display())))?;
        follow_stored(&reader, file, aim, second, observer)
    })?;
    let (Some(part), Some(size)) = (parts.get(found.part), sizes.get(found.part)) else {
        return Err(nothing("the snapshot has no AOF".into()));
    };
    let later: u64 = sizes.iter().skip(found.part + 1).sum();
    let dropped = size.saturating_sub(found.offset) + later;
    Ok(found.cut(part, goal, dropped))
}

fn follow_stored(
    reader: &ChunkReader<'_>,
    file: &File,
    aim: &Aim,
    second: Option<u64>,
    observer: &dyn Observer,
) -> Result<Followed, OperationError> {
    let through = read_through(reader, file, observer, |input| follow(input, aim, second))?;
    if !through.is_as_stored? {
        return Err(OperationError::WrongBytes { path: file.display_path() });
    }
    through.seen.map_err(|error| nothing(format!("{}: {error}", file.display_path())))
}

fn manifest(reader: &ChunkReader<'_>, file: &File) -> Result<Manifest, OperationError> {
    let (_, recipe) = file.content().map_err(|malformed| RepositoryError::damaged("snapshot", malformed))?;
    let mut bytes = Vec::new();
    reader.read(recipe, &mut |piece| {
        if bytes.len() <= MANIFEST_MAX {
            bytes.extend_from_slice(piece);
        }
        Ok(())
    })?;
    Manifest::decode(&bytes).map_err(|malformed| nothing(malformed.to_string()))
}
