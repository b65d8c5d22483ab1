//! Reading packs whole: which of them are due, what is wrong with them, and the note that says so.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use rayon::ThreadPoolBuilder;

use super::CheckDepth;
use crate::format::index::IndexedPack;
use crate::format::limits::PACK_MAX;
use crate::format::note::{Body, Read};
use crate::format::object::Name;
use crate::format::pack::ChunkRow;
use crate::format::sealing::Header;
use crate::format::{Malformed, ObjectHash, UnixMillis};
use crate::repository::chunk_reader::ChunkReader;
use crate::repository::error::{Fault, RepositoryError, one_line};
use crate::repository::notes::PackHistory;
use crate::repository::pack_reader::check_pack;
use crate::repository::{Repository, get_whole, lock};

/// Packs that one note names.
const NOTE_PACKS: usize = 1 << 15;

/// What reading packs showed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// Packs that were read.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that were not read.
    pub skipped: u64,
    /// Of these, how many no check has ever found whole.
    pub never: u64,
    /// The oldest time at which another of them was last found whole.
    pub oldest: Option<UnixMillis>,
    /// Why the results could not be kept.
    pub not_kept: Option<String>,
    /// Packs that are damaged, and why: by what was read now, or by the newest note.
    pub(in crate::repository) damaged: BTreeMap<ObjectHash, String>,
    /// Those of them that an earlier check found damaged, too.
    pub(in crate::repository) known_damaged: HashSet<ObjectHash>,
}

impl Repository {
    /// Reads the packs that are due, and keeps the results as a note, also when it is interrupted.
    pub(in crate::repository) fn read_due(
        &self,
        depth: CheckDepth,
        stop: &(dyn Fn() -> bool + Sync),
        progress: &dyn Fn(u64, u64),
    ) -> Result<Reading, RepositoryError> {
        let mut listed = self.listed_packs()?;
        let recorded = self.losses()?.packs;
        // What is wrong with these is known and settled.
        listed.retain(|pack, _| !recorded.contains(pack));
        let now = self.ambient.now();
        let histories = self.pack_histories(now)?;
        let due = due(depth, &listed, &histories, now);
        let mut reading = Reading::default();
        let mut reads: Vec<Read> = Vec::new();
        let result = self.read_packs(&due, &listed, &mut reading, &mut reads, stop, progress);
        reading.not_kept = self.keep(&mut reads).err().map(|error| one_line(&error));
        result?;
        let read: HashSet<ObjectHash> = reads.iter().map(|read| read.pack).collect();
        for pack in listed.keys().filter(|pack| !read.contains(pack)) {
            let history = histories.get(pack);
            reading.skipped += 1;
            match history.and_then(|history| history.whole) {
                Some(time) => reading.oldest = Some(reading.oldest.map_or(time, |oldest| oldest.min(time))),
                None => reading.never += 1,
            }
            if let Some(fault) = history.and_then(PackHistory::fault) {
                reading.damaged.insert(*pack, format!("{fault}, as an earlier check found"));
            }
        }
        let was_damaged = |pack: &ObjectHash| histories.get(pack).is_some_and(|history| history.fault().is_some());
        reading.known_damaged = reading.damaged.keys().filter(|pack| was_damaged(pack)).copied().collect();
        Ok(reading)
    }

    /// Memory: one pack, and a decoded frame a core.
    fn read_packs(
        &self,
        due: &[ObjectHash],
        listed: &HashMap<ObjectHash, u64>,
        reading: &mut Reading,
        reads: &mut Vec<Read>,
        stop: &(dyn Fn() -> bool + Sync),
        progress: &dyn Fn(u64, u64),
    ) -> Result<(), RepositoryError> {
        let size = |pack: &ObjectHash| listed.get(pack).copied().unwrap_or_default();
        let total = due.iter().map(size).sum();
        for pack in due {
            if stop() {
                return Err(RepositoryError::Interrupted);
            }
            match self.check_one_pack(*pack) {
                // Its bytes are those it is named after; what its deltas lack is damage of other packs.
                Ok(_) | Err(RepositoryError::Damaged { source: Fault::Bases(_), .. }) => {
                    reads.push(Read::new(*pack, None));
                }
                Err(RepositoryError::Damaged { source: Fault::Missing, .. }) if self.is_swept(*pack)? => continue,
                Err(RepositoryError::Damaged { source, .. }) => {
                    reads.push(Read::new(*pack, Some(&source.to_string())));
                    reading.damaged.insert(*pack, source.to_string());
                }
                Err(error) => return Err(error),
            }
            reading.packs += 1;
            reading.bytes += size(pack);
            progress(reading.bytes, total);
        }
        Ok(())
    }

    fn keep(&self, reads: &mut [Read]) -> Result<(), RepositoryError> {
        reads.sort_by_key(|read| read.pack);
        reads.chunks(NOTE_PACKS).try_for_each(|part| self.put_note(Body::Check(part.to_vec())))?;
        match reads.iter().any(|read| read.fault.is_some()) {
            // The next backup of this host says so.
            true => self.end_proof(),
            false => Ok(()),
        }
    }

    /// Whether no index object names a pack any more: it was listed a moment ago, and a sweep deleted it since.
    fn is_swept(&self, pack: ObjectHash) -> Result<bool, RepositoryError> {
        self.refresh_index()?;
        Ok(!lock(&self.catalog).indexed_packs()?.contains_key(&pack))
    }

    /// A pack read whole and compared with its name and with what the catalog says of it.
    pub(in crate::repository) fn check_one_pack(&self, pack: ObjectHash) -> Result<IndexedPack, RepositoryError> {
        let name = Name::Pack(pack);
        let damaged = |fault: Fault| RepositoryError::damaged(name, fault);
        let object = get_whole(&*self.store, &name, PACK_MAX)?;
        let reader = ChunkReader::new(self);
        let epoch = Header::decode(&object).map_or(0, |(header, _)| header.epoch);
        let keyring = self.keyring_for(epoch)?;
        let bases = |method, chunk: &ChunkRow, bases: &[_], delta: &[u8]| {
            reader.undelta(method, bases, delta, chunk.length).map(Some)
        };
        // Threads of its own: they wait for the store where a base is elsewhere, and nobody else's work waits for them.
        let pool = ThreadPoolBuilder::new().build().map_err(|error| RepositoryError::Limit(error.to_string()))?;
        let found = pool.install(|| check_pack(&keyring, pack, &object, &bases)).map_err(damaged)?;
        // What the index claims of a pack has to be what the pack says itself.
        match lock(&self.catalog).agrees_with(&found)? {
            true => Ok(found),
            false => Err(damaged(Malformed::new("index", "it describes this pack otherwise").into())),
        }
    }
}

/// Which packs are read, in which order.
///
/// NOTE-5: those that the newest note calls damaged first, whatever was asked for, as soon as anything is read.
fn due(
    depth: CheckDepth,
    listed: &HashMap<ObjectHash, u64>,
    histories: &HashMap<ObjectHash, PackHistory>,
    now: UnixMillis,
) -> Vec<ObjectHash> {
    let whole = |pack: &ObjectHash| histories.get(pack).and_then(|history| history.whole);
    let is_damaged = |pack: &ObjectHash| histories.get(pack).is_some_and(|history| history.fault().is_some());
    // Never read before read long ago, and one order for all that are alike.
    let mut packs: Vec<ObjectHash> = listed.keys().copied().collect();
    packs.sort_by_key(|pack| (Reverse(is_damaged(pack)), whole(pack), *pack));
    let damaged = packs.iter().filter(|pack| is_damaged(pack)).count();
    match depth {
        CheckDepth::Structure => packs.clear(),
        CheckDepth::Data => {}
        CheckDepth::Subset { part, of } => packs.retain(|pack| is_damaged(pack) || number(pack) % of == part - 1),
        CheckDepth::Share { hundredths } => {
            let count = (packs.len() as u64 * u64::from(hundredths)).div_ceil(100 * 100);
            packs.truncate(damaged.max(count as usize));
        }
        CheckDepth::MaxAge(age) => {
            let limit = UnixMillis(now.0.saturating_sub(age.as_millis() as u64));
            packs.retain(|pack| is_damaged(pack) || whole(pack).is_none_or(|time| time < limit));
        }
    }
    packs
}

/// A pack's place among the parts of a repository: as even as its hash.
fn number(pack: &ObjectHash) -> u64 {
    pack.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn pack(number: u8) -> ObjectHash {
        ObjectHash([number; 32])
    }

    /// Packs 0 to 9; those up to 3 were found whole, at 100 times their number; 2 and 3 were damaged before and after.
    fn due_of(depth: CheckDepth) -> Vec<u8> {
        let listed = (0..10).map(|number| (pack(number), 1)).collect();
        let whole = |number: u8| Some(UnixMillis(u64::from(number) * 100));
        let history = |number: u8| match number {
            2 => PackHistory { whole: whole(2), damaged: Some((UnixMillis(150), "x".into())) },
            3 => PackHistory { whole: whole(3), damaged: Some((UnixMillis(350), "x".into())) },
            _ => PackHistory { whole: whole(number), damaged: None },
        };
        let histories = (0..4).map(|number| (pack(number), history(number))).collect();
        due(depth, &listed, &histories, NOW).iter().map(|pack| pack.0[0]).collect()
    }

    /// NOTE-5
    #[test]
    fn the_longest_unread_come_first_and_damaged_ones_are_always_read() {
        assert_eq!(due_of(CheckDepth::Structure), [0; 0]);
        assert_eq!(due_of(CheckDepth::Data), [3, 4, 5, 6, 7, 8, 9, 0, 1, 2]);
        assert_eq!(due_of(CheckDepth::Share { hundredths: 4000 }), [3, 4, 5, 6]);
        assert_eq!(due_of(CheckDepth::Share { hundredths: 1 }), [3]);
        assert_eq!(due_of(CheckDepth::MaxAge(Duration::from_millis(NOW.0 - 150))), [3, 4, 5, 6, 7, 8, 9, 0, 1]);
        assert_eq!(due_of(CheckDepth::MaxAge(Duration::from_millis(NOW.0))), [3, 4, 5, 6, 7, 8, 9]);
    }

    /// NOTE-5
    #[test]
    fn the_parts_of_a_subset_are_all_packs_once() {
        let mut all: Vec<u8> = (1..=3).flat_map(|part| due_of(CheckDepth::Subset { part, of: 3 })).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9], "the damaged one each time");
    }
}
