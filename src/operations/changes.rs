//! What differs between the files of two snapshots of a dataset.

use std::collections::BTreeMap;

use super::OperationError;
use crate::format::snapshot::{File, FileKind, Snapshot};
use crate::repository::{Repository, SnapshotInfo};

/// Regular files that differ from those of an earlier snapshot, by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Not in the earlier snapshot.
    pub new: Vec<String>,
    /// With other content.
    pub changed: Vec<String>,
    /// No longer there.
    pub gone: Vec<String>,
    /// With the same content.
    pub unchanged: u64,
}

/// What changed since the dataset's snapshot before this one, which was just taken; `None` where there is none. A copy of
/// an older snapshot is not the one before, whenever it was made.
pub fn since_previous(repository: &Repository, snapshot: &Snapshot) -> Result<Option<Changes>, OperationError> {
    let infos = repository.kept_snapshots()?;
    let before = |info: &&SnapshotInfo| info.dataset == snapshot.dataset && info.sequence < snapshot.sequence;
    match infos.iter().rfind(before) {
        Some(info) => Ok(repository.earlier_snapshot(&info.name)?.map(|earlier| between(&earlier, snapshot))),
        None => Ok(None),
    }
}

/// What changed from one snapshot to another.
pub fn between(earlier: &Snapshot, later: &Snapshot) -> Changes {
    let mut before: BTreeMap<&[u8], &File> = regular(earlier).collect();
    let mut changes = Changes::default();
    for (path, file) in regular(later) {
        match before.remove(path) {
            None => changes.new.push(file.display_path()),
            Some(was) if was.hash == file.hash => changes.unchanged += 1,
            Some(_) => changes.changed.push(file.display_path()),
        }
    }
    changes.gone = before.into_values().map(File::display_path).collect();
    changes
}

fn regular(snapshot: &Snapshot) -> impl Iterator<Item = (&[u8], &File)> {
    snapshot.files.iter().filter(|file| file.kind == FileKind::File).map(|file| (&file.path[..], file))
}
