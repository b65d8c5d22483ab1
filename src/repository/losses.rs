//! Losses that were recorded: what is known to be gone, and raises no alarm any more. Rules: format-spec/15-notes.md.

use std::collections::HashSet;

use super::Repository;
use super::alarm::Alarm;
use super::error::RepositoryError;
use crate::format::note::{Body, Loss};
use crate::format::object::Name;
use crate::format::{ChunkId, Id16, ObjectHash};

/// All losses that were recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Losses {
    /// Packs that are missing, cut short or damaged.
    pub packs: HashSet<ObjectHash>,
    /// Chunks that no pack yields.
    pub chunks: HashSet<ChunkId>,
    /// Full names of objects that are missing or cannot be read.
    pub objects: HashSet<String>,
}

impl Losses {
    fn add(&mut self, loss: Loss) {
        self.packs.extend(loss.packs);
        self.chunks.extend(loss.chunks);
        self.objects.extend(loss.objects);
    }

    /// Whether an object's loss was recorded, a pack's too.
    pub fn has(&self, object: &str) -> bool {
        match Name::parse(object) {
            Some(Name::Pack(hash)) => self.packs.contains(&hash),
            _ => self.objects.contains(object),
        }
    }
}

impl Repository {
    /// NOTE-3: the union of all readable loss notes.
    pub(super) fn losses(&self) -> Result<Losses, RepositoryError> {
        let mut losses = Losses::default();
        self.loss_notes()?.into_iter().for_each(|(_, loss)| losses.add(loss));
        Ok(losses)
    }

    /// Loss notes, by their ids: one of which nothing is missing any more has done its work.
    pub(super) fn loss_notes(&self) -> Result<Vec<(Id16, Loss)>, RepositoryError> {
        let loss = |(id, note): (Id16, crate::format::note::Note)| match note.body {
            Body::Loss(loss) => Some((id, loss)),
            Body::Check(_) | Body::Drill(_) | Body::Other(_) => None,
        };
        Ok(self.notes()?.into_iter().filter_map(loss).collect())
    }

    /// Alarms without those whose loss was recorded. Notes are looked at only where there is one.
    pub(super) fn without_recorded(&self, mut alarms: Vec<Alarm>) -> Result<Vec<Alarm>, RepositoryError> {
        if alarms.iter().any(|alarm| alarm.object().is_some()) {
            let losses = self.losses()?;
            alarms.retain(|alarm| alarm.object().is_none_or(|object| !losses.has(object)));
        }
        Ok(alarms)
    }
}
