//! Notes of a repository: brought into the catalog, written, and what they say of packs. Rules: format-spec/15-notes.md.

use std::collections::{HashMap, HashSet};

use super::error::{Fault, RepositoryError};
use super::objects::Listed;
use super::refreshing::others;
use super::{Repository, lock};
use crate::format::limits::NOTE_MAX;
use crate::format::note::{Body, Note};
use crate::format::object::{Kind, Name};
use crate::format::{Id16, ObjectHash, UnixMillis};

/// A clock may be ahead of another host's by this much, in milliseconds.
const AHEAD: u64 = 24 * 60 * 60 * 1000;

/// When the packs that index objects name were last read and found whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PackReads {
    /// Packs.
    pub packs: u64,
    /// Of them, those that no check read, since they were stored, and found whole.
    pub never: u64,
    /// Those that the last check that read them found damaged.
    pub damaged: u64,
    /// Of those that were read, the one of the longest ago.
    pub oldest: Option<UnixMillis>,
    /// The last read of any.
    pub newest: Option<UnixMillis>,
}

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
        let listed = self.listed("notes/")?;
        let there: HashSet<Id16> = listed.iter().filter_map(id).collect();
        let have: HashSet<Id16> = lock(&self.catalog).notes()?.into_iter().map(|(id, _)| id).collect();
        let gone: Vec<Id16> = have.difference(&there).copied().collect();
        let (mut new, mut unreadable) = (Vec::new(), Vec::new());
        let missing = others(listed, |of| id(of).is_none_or(|id| have.contains(&id)));
        self.read_listed(&missing, NOTE_MAX, &decode, |of, read| {
            match read {
                Ok((body, _)) => new.extend(id(of).map(|id| (id, body))),
                Err(Fault::Missing) => {}
                Err(fault) => unreadable.push((of.name, fault)),
            }
            Ok(())
        })?;
        lock(&self.catalog).change_notes(&gone, &new)?;
        Ok(unreadable)
    }

    /// All readable notes there are now. Where the catalog is damaged they are read past it.
    pub(super) fn notes(&self) -> Result<Vec<(Id16, Note)>, RepositoryError> {
        let notes = self.refresh_notes().and_then(|_| lock(&self.catalog).notes());
        match notes {
            Err(error) if error.is_of_catalog() => {
                let read = self.read_all("notes/", NOTE_MAX, &decode)?;
                Ok(read.into_iter().filter_map(|(of, read)| Some((id(&of)?, read.ok()?.1))).collect())
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
        Ok(histories(self.notes()?, now))
    }

    /// Packs that the newest note calls damaged.
    pub(super) fn damaged_packs(&self) -> Result<HashSet<ObjectHash>, RepositoryError> {
        let histories = self.pack_histories(self.ambient.now())?;
        let damaged = histories.into_iter().filter(|(_, history)| history.fault().is_some());
        Ok(damaged.map(|(pack, _)| pack).collect())
    }

    /// When packs were last read, as of the last refresh.
    pub fn pack_reads(&self) -> Result<PackReads, RepositoryError> {
        let histories = self.pack_histories(self.ambient.now())?;
        let packs = lock(&self.catalog).indexed_packs()?;
        let mut reads = PackReads { packs: packs.len() as u64, ..PackReads::default() };
        for pack in packs.keys() {
            let history = histories.get(pack);
            let whole = history.and_then(|history| history.whole);
            reads.damaged += u64::from(history.is_some_and(|history| history.fault().is_some()));
            reads.never += u64::from(whole.is_none());
            reads.newest = reads.newest.max(whole);
            reads.oldest = match (reads.oldest, whole) {
                (Some(oldest), Some(whole)) => Some(oldest.min(whole)),
                (oldest, whole) => oldest.or(whole),
            };
        }
        Ok(reads)
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

/// What these notes say of each pack.
pub(super) fn histories(notes: Vec<(Id16, Note)>, now: UnixMillis) -> HashMap<ObjectHash, PackHistory> {
    let mut histories: HashMap<ObjectHash, PackHistory> = HashMap::new();
    let is_ahead = |time: UnixMillis| time.0 > now.0.saturating_add(AHEAD);
    for (_, note) in notes {
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
    histories
}

fn id(of: &Listed) -> Option<Id16> {
    match of.name {
        Name::Note(id) => Some(id),
        _ => None,
    }
}

/// A note, and its bytes.
fn decode(_: &Name, _: Kind, body: Vec<u8>) -> Result<(Vec<u8>, Note), Fault> {
    let note = Note::decode(&body)?;
    Ok((body, note))
}
