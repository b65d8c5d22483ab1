//! Notes of a repository: brought into the catalog, written, and what they say of packs. Rules: format-spec/15-notes.md.

use std::collections::{HashMap, HashSet};

use super::error::{Fault, RepositoryError};
use super::{Repository, lock};
use crate::format::limits::NOTE_MAX;
use crate::format::note::{Body, Note};
use crate::format::object::{Kind, Name};
use crate::format::{Id16, ObjectHash, UnixMillis};

/// A clock may be ahead of another host's by this much, in milliseconds.
const AHEAD: u64 = 24 * 60 * 60 * 1000;

/// What notes say of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct PackHistory {
    /// When it was last read and found whole.
    pub whole: Option<UnixMillis>,
    /// When it was last read and found damaged, and what was wrong.
    pub damaged: Option<(UnixMillis, String)>,
}

impl PackHistory {
    /// What is wrong with it, unless it was found whole since.
    pub fn fault(&self) -> Option<&str> {
        let (time, fault) = self.damaged.as_ref()?;
        self.whole.is_none_or(|whole| whole < *time).then_some(fault)
    }
}

impl Repository {
    /// Brings the notes of the catalog to what LIST shows. Answers with those that cannot be read.
    ///
    /// NOTE-1: they claim nothing.
    pub(super) fn refresh_notes(&self) -> Result<Vec<(Name, Fault)>, RepositoryError> {
        let listed = self.listed_notes()?;
        let have: HashSet<Id16> = lock(&self.catalog).notes()?.into_iter().map(|(id, _)| id).collect();
        let gone: Vec<Id16> = have.difference(&listed).copied().collect();
        let (mut new, mut unreadable) = (Vec::new(), Vec::new());
        for id in listed.difference(&have) {
            match self.read_note(*id) {
                Ok((body, _)) => new.push((*id, body)),
                Err(RepositoryError::Damaged { source: Fault::Missing, .. }) => {}
                Err(RepositoryError::Damaged { source, .. }) => unreadable.push((Name::Note(*id), source)),
                Err(error) => return Err(error),
            }
        }
        lock(&self.catalog).change_notes(&gone, &new)?;
        Ok(unreadable)
    }

    fn listed_notes(&self) -> Result<HashSet<Id16>, RepositoryError> {
        let id = |entry: crate::store::Entry| match Name::parse(entry.name.as_str()) {
            Some(Name::Note(id)) => Some(id),
            _ => None,
        };
        Ok(self.store.entries("notes/")?.into_iter().filter_map(id).collect())
    }

    fn read_note(&self, id: Id16) -> Result<(Vec<u8>, Note), RepositoryError> {
        let name = Name::Note(id);
        let (_, body) = self.get_object(&name, NOTE_MAX)?;
        let note = Note::decode(&body).map_err(|malformed| RepositoryError::damaged(name, malformed))?;
        Ok((body, note))
    }

    /// All readable notes there are now. Where the catalog is damaged they are read past it.
    pub(super) fn notes(&self) -> Result<Vec<(Id16, Note)>, RepositoryError> {
        let notes = self.refresh_notes().and_then(|_| lock(&self.catalog).notes());
        match notes {
            Err(error) if error.is_of_catalog() => {
                let mut notes = Vec::new();
                for id in self.listed_notes()? {
                    match self.read_note(id) {
                        Ok((_, note)) => notes.push((id, note)),
                        Err(RepositoryError::Damaged { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(notes)
            }
            other => other,
        }
    }

    /// Writes a note under a new name.
    pub(super) fn put_note(&self, body: Body) -> Result<(), RepositoryError> {
        let note = Note { time: self.ambient.now(), host: self.ambient.host.clone(), body };
        let name = Name::Note(self.ambient.id());
        self.put_sealed(&name, Kind::Note, &note.encode())
    }

    /// What notes say of each pack. One from too far ahead does not show that a pack is whole.
    pub(super) fn pack_histories(&self, now: UnixMillis) -> Result<HashMap<ObjectHash, PackHistory>, RepositoryError> {
        let mut histories: HashMap<ObjectHash, PackHistory> = HashMap::new();
        let is_ahead = |time: UnixMillis| time.0 > now.0.saturating_add(AHEAD);
        for (_, note) in self.notes()? {
            let Body::Check(reads) = note.body else { continue };
            for read in reads {
                let history = histories.entry(read.pack).or_default();
                match read.fault {
                    None if is_ahead(note.time) => {}
                    None => history.whole = history.whole.max(Some(note.time)),
                    Some(fault) => history.damaged = history.damaged.take().max(Some((note.time, fault))),
                }
            }
        }
        Ok(histories)
    }

    /// Check results of which every pack is named again by a newer one: nothing would be lost with them.
    pub fn superseded_notes(&self) -> Result<Vec<Id16>, RepositoryError> {
        let mut notes = self.notes()?;
        notes.sort_by_key(|(id, note)| (note.time, *id));
        let (mut named, mut superseded) = (HashSet::new(), Vec::new());
        for (id, note) in notes.iter().rev() {
            let Body::Check(reads) = &note.body else { continue };
            let is_new = reads.iter().filter(|read| named.insert(read.pack)).count() > 0;
            superseded.extend((!is_new).then_some(*id));
        }
        Ok(superseded)
    }
}
