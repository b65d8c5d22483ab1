//! What servers made of snapshots, as notes. Rules: format-spec/15-notes.md.

use std::collections::{BTreeMap, HashSet};

use super::error::RepositoryError;
use super::{Repository, lock};
use crate::format::note::{Body, Drill, Note};
use crate::format::object::{Name, SnapshotName};
use crate::format::{Id16, UnixMillis};

/// A drill that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillRecord {
    /// When, by the clock of the host that did it.
    pub time: UnixMillis,
    /// Where.
    pub host: String,
    /// What it showed.
    pub drill: Drill,
}

impl DrillRecord {
    /// Whether the snapshot passed.
    pub fn passed(&self) -> bool {
        self.drill.fault.is_none()
    }
}

impl Repository {
    /// All drills that notes tell of, the oldest first.
    pub fn drills(&self) -> Result<Vec<DrillRecord>, RepositoryError> {
        let records = self.drill_notes()?.into_iter();
        Ok(records.map(|(_, time, host, drill)| DrillRecord { time, host, drill }).collect())
    }

    /// The newest drill of each snapshot: its result.
    pub fn drill_results(&self) -> Result<BTreeMap<SnapshotName, DrillRecord>, RepositoryError> {
        Ok(self.drills()?.into_iter().map(|record| (record.drill.snapshot, record)).collect())
    }

    /// Writes down what a drill showed.
    pub fn note_drill(&self, drill: Drill) -> Result<(), RepositoryError> {
        self.put_note(Body::Drill(drill))
    }

    fn drill_notes(&self) -> Result<Vec<(Id16, UnixMillis, String, Drill)>, RepositoryError> {
        let mut notes = self.notes()?;
        notes.sort_by_key(|(id, note)| (note.time, *id));
        let drill = |(id, Note { time, host, body }): (Id16, Note)| match body {
            Body::Drill(drill) => Some((id, time, host, drill)),
            Body::Check(_) | Body::Loss(_) | Body::Other(_) => None,
        };
        Ok(notes.into_iter().filter_map(drill).collect())
    }

    /// Drills that tell nothing any more.
    ///
    /// NOTE-11: of each snapshot that is there the newest stays, and the newest digest by each server.
    pub(super) fn superseded_drills(&self) -> Result<Vec<Id16>, RepositoryError> {
        let notes = self.drill_notes()?;
        if notes.is_empty() {
            return Ok(Vec::new());
        }
        let there = lock(&self.catalog).snapshot_names()?;
        let (mut with_digest, mut any) = (HashSet::new(), HashSet::new());
        let mut superseded = Vec::new();
        for (id, _, _, drill) in notes.into_iter().rev() {
            let is_there = there.contains(&Name::Snapshot(drill.snapshot).to_string());
            let is_newest = any.insert(drill.snapshot);
            let has_new_digest = drill.digest.is_some() && with_digest.insert((drill.snapshot, drill.server));
            superseded.extend((!is_there || !(is_newest || has_new_digest)).then_some(id));
        }
        Ok(superseded)
    }
}
