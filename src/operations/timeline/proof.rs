//! The proof, made while a backup reads its files, that an AOF goes on where the previous snapshot ended.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use crate::format::ObjectHash;
use crate::format::snapshot::{File, Role, Snapshot};
use crate::format::timeline::{self, BORN, FIRST_TIMESTAMP, LAST_TIMESTAMP};
use crate::redis::{Capture, CapturedFile, Content};

/// What has to be the begin of a file, if the previous snapshot's AOF goes on in it.
#[derive(Debug, Clone, Copy)]
pub(in crate::operations) struct Joint {
    length: u64,
    hash: ObjectHash,
}

impl Joint {
    /// Where `captured` bears the path of the file that grew in the previous snapshot.
    pub fn of(previous: &Snapshot, captured: &CapturedFile) -> Option<Joint> {
        if !matches!(captured.role, Role::Incr | Role::SingleAof) {
            return None;
        }
        let last = timeline::last_file(previous).filter(|last| last.path[..] == captured.path[..])?;
        (last.role == captured.role).then_some(Joint { length: last.size, hash: last.hash? })
    }
}

/// Hashes a file, and its begin on the way.
pub(in crate::operations) struct Hasher {
    hasher: blake3::Hasher,
    joint: Option<Joint>,
    hashed: u64,
    begins_so: bool,
}

impl Hasher {
    /// Compares the begin of the file with what is given.
    pub fn new(joint: Option<Joint>) -> Hasher {
        let mut hasher = Hasher { hasher: blake3::Hasher::new(), joint, hashed: 0, begins_so: false };
        hasher.compare();
        hasher
    }

    /// TIME-5: the begin is proved by the hash that the previous snapshot has of it.
    fn compare(&mut self) {
        if let Some(joint) = self.joint.filter(|joint| joint.length == self.hashed) {
            self.begins_so = *self.hasher.finalize().as_bytes() == joint.hash.0;
        }
    }

    /// The next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        let until = self.joint.map_or(0, |joint| joint.length.saturating_sub(self.hashed));
        let (first, rest) = bytes.split_at(bytes.len().min(usize::try_from(until).unwrap_or(usize::MAX)));
        for part in [first, rest].into_iter().filter(|part| !part.is_empty()) {
            self.hasher.update(part);
            self.hashed += part.len() as u64;
            self.compare();
        }
    }

    /// Hash of the whole, and whether it begins as it should.
    pub fn finish(self) -> (ObjectHash, bool) {
        (ObjectHash(self.hasher.finalize().into()), self.begins_so)
    }
}

/// What the files of a backup say together of its timeline.
#[derive(Debug, Default)]
pub(in crate::operations) struct Proof {
    continues: bool,
    first: Option<u64>,
    last: Option<u64>,
}

impl Proof {
    /// With one more file: what its content showed, and whether it begins with the previous snapshot's AOF.
    pub fn and(mut self, role: Role, facts: &BTreeMap<String, String>, continues: bool) -> Proof {
        let second = |name: &str| facts.get(name).and_then(|text| text.parse::<u64>().ok());
        if matches!(role, Role::Incr | Role::SingleAof) {
            let (first, last) = (second("aof.first-timestamp"), second("aof.last-timestamp"));
            self.first = [self.first, first].into_iter().flatten().min();
            self.last = [self.last, last].into_iter().flatten().max();
            self.continues |= continues;
        }
        self
    }

    /// Writes it into the new snapshot, whose previous one is given where it can be read.
    pub fn complete(self, snapshot: &mut Snapshot, capture: &Capture, previous: Option<&Snapshot>) {
        let seconds = [(FIRST_TIMESTAMP, self.first), (LAST_TIMESTAMP, self.last), (BORN, born(capture))];
        let facts = seconds.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_string())));
        snapshot.facts.extend(facts);
        let name = snapshot.previous.clone();
        let previous = previous.filter(|previous| self.continues && is_joint(previous, snapshot));
        timeline::complete(snapshot, name.as_deref().zip(previous));
    }
}

/// An increment that was empty is the begin of any: then the base has to be the same.
fn is_joint(previous: &Snapshot, snapshot: &Snapshot) -> bool {
    fn base(of: &Snapshot) -> Option<&File> {
        of.files.iter().find(|file| file.role == Role::Base)
    }
    let same = |a: &File, b: &File| (&a.path, a.hash) == (&b.path, b.hash);
    let has_begin = timeline::last_file(previous).is_some_and(|last| last.size > 0);
    has_begin || base(previous).zip(base(snapshot)).is_some_and(|(a, b)| same(a, b))
}

/// Milliseconds since the epoch at which the first of the files that hold commands came to be.
fn born(capture: &Capture) -> Option<u64> {
    let growing = capture.files.iter().filter(|file| matches!(file.role, Role::Incr | Role::SingleAof));
    let born = growing.filter_map(|file| {
        let Content::Open { file, .. } = &file.content else { return None };
        let created = file.metadata().ok()?.created().ok()?;
        u64::try_from(created.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
    });
    born.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(bytes: &[u8]) -> ObjectHash {
        ObjectHash(blake3::hash(bytes).into())
    }

    /// TIME-5
    #[test]
    fn a_file_that_begins_with_what_was_captured_continues_it() {
        let whole: Vec<u8> = (0..200_u8).collect();
        for (length, begin, wanted) in [
            (0, &[][..], true),
            (7, &whole[..7], true),
            (200, &whole[..], true),
            (7, &whole[1..8], false),
            (201, &[whole.clone(), vec![1]].concat()[..], false),
        ] {
            let joint = Joint { length, hash: hash(begin) };
            for size in [1, 7, 64, 200] {
                let mut hasher = Hasher::new(Some(joint));
                whole.chunks(size).for_each(|piece| hasher.update(piece));
                assert_eq!(hasher.finish(), (hash(&whole), wanted), "{length} in pieces of {size}");
            }
        }
        let mut hasher = Hasher::new(None);
        hasher.update(&whole);
        assert_eq!(hasher.finish(), (hash(&whole), false));
    }
}
