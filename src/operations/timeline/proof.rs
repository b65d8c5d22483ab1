//! The proof, made while a backup reads its files, that an AOF goes on where the previous snapshot ended.

use std::collections::BTreeMap;
use std::fs;
use std::time::UNIX_EPOCH;

use crate::aof::Scanner;
use crate::format::snapshot::{File, Role, Snapshot};
use crate::format::timeline::{self, BORN, Damage, FIRST_TIMESTAMP, LAST_TIMESTAMP, Seen};
use crate::format::{ObjectHash, UnixMillis};
use crate::operations::restore::server::JOURNAL;
use crate::redis::{Capture, CapturedFile};

/// Seconds after the begin of its base within which the first increment comes to be, if a server wrote both: a new server
/// finishes its empty base first.
const NATURAL: u64 = 1;

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

/// Whether a file begins with what the previous snapshot has of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::operations) struct GoesOn {
    does: bool,
    /// The first timestamp behind that.
    first: Option<u64>,
}

impl GoesOn {
    /// A file that is the one of the previous snapshot, with nothing behind.
    pub fn unread() -> GoesOn {
        GoesOn { does: true, first: None }
    }
}

/// Hashes a file, and its begin on the way.
pub(in crate::operations) struct Hasher {
    hasher: blake3::Hasher,
    joint: Option<Joint>,
    hashed: u64,
    begins_so: bool,
    /// Follows what stands behind the begin.
    behind: Scanner,
}

impl Hasher {
    /// Compares the begin of the file with what is given.
    pub fn new(joint: Option<Joint>) -> Hasher {
        let behind = Scanner::default();
        let mut hasher = Hasher { hasher: blake3::Hasher::new(), joint, hashed: 0, begins_so: false, behind };
        hasher.compare();
        hasher
    }

    /// The begin is proved by the hash that the previous snapshot has of it.
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
        if self.begins_so {
            self.behind.push(rest);
        }
    }

    /// Hash of the whole, and whether it begins as it should.
    pub fn finish(self) -> (ObjectHash, GoesOn) {
        let first = self.behind.finish().first_timestamp.map(|timestamp| timestamp.seconds);
        (ObjectHash(self.hasher.finalize().into()), GoesOn { does: self.begins_so, first })
    }
}

/// What the files of a backup say together of its timeline.
#[derive(Debug, Default)]
pub(in crate::operations) struct Proof {
    continues: bool,
    last: Option<u64>,
    seen: Seen,
    /// Paths of files that hold commands before their first timestamp, or hold none.
    unstamped: Vec<Vec<u8>>,
    /// Paths of files that hold no commands.
    empty: Vec<Vec<u8>>,
    /// By path: the last timestamp of a file, and where its last whole command ends, if that is not its end.
    ends: BTreeMap<Vec<u8>, (Option<u64>, Option<u64>)>,
}

impl Proof {
    /// With one more file: what its content showed, and whether it begins with the previous snapshot's AOF.
    pub fn and(mut self, file: &File, facts: &BTreeMap<String, String>, continues: GoesOn) -> Proof {
        let number = |name: &str| facts.get(name).and_then(|text| text.parse::<u64>().ok());
        if matches!(file.role, Role::Incr | Role::SingleAof) {
            let last = number("aof.last-timestamp");
            let some = [number("aof.first-timestamp"), number("aof.timestamp-since-born"), continues.first, last];
            self.seen.timestamps.extend(some.into_iter().flatten());
            self.last = self.last.max(last);
            self.ends.insert(file.path.to_vec(), (last, number("aof.whole-to")));
            self.continues |= continues.does;
            if number("aof.commands").is_none_or(|count| count == 0) {
                self.empty.push(file.path.to_vec());
            } else if number("aof.first-timestamp-at") != Some(number("preamble").unwrap_or(0)) {
                self.unstamped.push(file.path.to_vec());
            }
        }
        self
    }

    /// Writes it into the new snapshot, whose previous one is given where it can be read.
    pub fn complete(mut self, snapshot: &mut Snapshot, capture: &Capture, previous: Option<&Snapshot>) {
        let born = growing(capture).filter_map(CapturedFile::born).min();
        let seconds =
            [(FIRST_TIMESTAMP, self.seen.timestamps.first().copied()), (LAST_TIMESTAMP, self.last), (BORN, born)];
        let facts = seconds.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_string())));
        snapshot.facts.extend(facts);
        self.seen.carried = carried(snapshot, born, journal(capture));
        let first = timeline::growing_files(snapshot).into_iter().find(|file| !self.empty.contains(&file.path));
        self.seen.has_unstamped = first.is_some_and(|first| self.unstamped.contains(&first.path));
        self.seen.damage = self.damage(snapshot);
        let name = snapshot.previous.clone();
        let previous = previous.filter(|previous| self.continues && is_joint(previous, snapshot));
        timeline::complete(snapshot, name.as_deref().zip(previous), &self.seen);
    }
}

impl Proof {
    /// The first damage of its files, in the order in which they are replayed.
    fn damage(&self, snapshot: &Snapshot) -> Option<Damage> {
        let mut second = None;
        for file in timeline::growing_files(snapshot) {
            let (last, whole_to) = self.ends.get(&file.path[..]).copied().unwrap_or_default();
            second = last.or(second);
            if let Some(offset) = whole_to {
                return Some(Damage { path: file.path.to_vec(), offset, second });
            }
        }
        None
    }
}

/// When the AOF was carried to where it is, by the server's clock, if it was.
///
/// TIME-10: its files came to be later than what they hold, or a restore was done there later than that.
fn carried(snapshot: &Snapshot, born: Option<u64>, journal: Option<u64>) -> Option<UnixMillis> {
    let of_server = |millis: u64| millis.saturating_add_signed(timeline::clock_offset(snapshot));
    let oldest = timeline::oldest_second(snapshot);
    let is_later = |millis: &u64| oldest.is_none_or(|oldest| *millis / 1000 > oldest.saturating_add(NATURAL));
    // Where nothing tells how old the content is, the age of the files is all there is.
    let born = born.filter(|_| oldest.is_some());
    [born, journal].into_iter().flatten().map(of_server).filter(is_later).max().map(UnixMillis)
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

/// Files that hold commands.
fn growing(capture: &Capture) -> impl Iterator<Item = &CapturedFile> {
    capture.files.iter().filter(|file| matches!(file.role, Role::Incr | Role::SingleAof))
}

/// Milliseconds since the epoch at which the last restore into this directory, or its undoing, was done.
fn journal(capture: &Capture) -> Option<u64> {
    let modified = fs::symlink_metadata(capture.directory.join(JOURNAL)).ok()?.modified().ok()?;
    u64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
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
                let goes_on = GoesOn { does: wanted, first: None };
                assert_eq!(hasher.finish(), (hash(&whole), goes_on), "{length} in pieces of {size}");
            }
        }
        let mut hasher = Hasher::new(None);
        hasher.update(&whole);
        assert_eq!(hasher.finish(), (hash(&whole), GoesOn::default()));
    }

    #[test]
    fn the_first_timestamp_behind_what_was_captured_is_found() {
        let (begin, rest) = (&b"#TS:5\r\n*1\r\n$1\r\nX\r\n"[..], &b"*1\r\n$1\r\nX\r\n#TS:7\r\n#TS:9\r\n"[..]);
        let joint = Joint { length: begin.len() as u64, hash: hash(begin) };
        let whole = [begin, rest].concat();
        for size in [1, 7, 64] {
            let mut hasher = Hasher::new(Some(joint));
            whole.chunks(size).for_each(|piece| hasher.update(piece));
            assert_eq!(hasher.finish().1, GoesOn { does: true, first: Some(7) });
        }
    }
}
