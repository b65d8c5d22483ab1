//! The records of a dump on its way out, until their turn in the file comes.

use super::column::damaged;
use crate::format::{Reader, put_varint};
use crate::repository::error::RepositoryError;
use crate::spill::{Scratch, Sorted, Sorter};

/// Memory for records that wait: for all of them, or for a part and the sorter of the others.
const WHOLE: u64 = 128 << 20;
/// Memory of the sorter of those that find no room: a record takes at most an eighth of it, and that of a collection whose
/// elements have an order takes 6 MiB.
const SORTED: usize = 48 << 20;
/// Of longer dumps so small a part would find room that the sorter has all of it, and fewer runs to merge.
const LONG: u64 = 512 << 20;
const SORTED_OF_LONG: usize = 128 << 20;
/// What a bucket takes beside its bytes.
const PER_BUCKET: usize = 64;

/// The records of a bucket as they wait, each with its length before it.
#[derive(Default)]
pub(super) struct Records {
    bytes: Box<[u8]>,
    /// The place of each in the file, and where it begins here.
    begins: Vec<(u32, u32)>,
}

/// Gathers the records of a bucket. It is used again, so that what is kept of them takes no more than their bytes.
#[derive(Default)]
pub(super) struct Gathering {
    bytes: Vec<u8>,
    begins: Vec<(u32, u32)>,
}

impl Gathering {
    pub fn push(&mut self, place: u32, record: &[u8]) {
        self.begins.push((place, self.bytes.len() as u32));
        put_varint(&mut self.bytes, record.len() as u64);
        self.bytes.extend_from_slice(record);
    }

    /// What was gathered since the last time.
    pub fn take(&mut self) -> Records {
        let records = Records { bytes: self.bytes.as_slice().into(), begins: self.begins.as_slice().into() };
        self.bytes.clear();
        self.begins.clear();
        records
    }
}

/// Takes records in the order of their keys. Those that come first stay in memory; what finds no room is sorted in scratch.
///
/// Memory: 128 MiB. Scratch: what does not fit, with two to six bytes a record.
pub(super) struct Turns<'s> {
    kept: Kept,
    /// Bytes that may still be kept.
    room: usize,
    sorter: Sorter<'s>,
}

/// Records in memory.
#[derive(Default)]
struct Kept {
    /// Those of buckets.
    buckets: Vec<Box<[u8]>>,
    /// Where each of these would begin if they stood one after the other, and where the next one would.
    begins: Vec<u32>,
    end: u32,
    /// One more than where the record of each place would begin then; 0 for those that are not here.
    at: Vec<u32>,
}

impl<'s> Turns<'s> {
    /// Of so many records, which take about so many bytes.
    pub fn new(scratch: &'s Scratch, bytes: u64, records: u64) -> Turns<'s> {
        let with_lengths = bytes.saturating_add(records.saturating_mul(8));
        let (room, sorted) = match with_lengths {
            short if short <= WHOLE => (WHOLE as usize, SORTED),
            some if some <= LONG => (WHOLE as usize - SORTED, SORTED),
            _ => (0, SORTED_OF_LONG),
        };
        Turns::within(scratch, room, sorted, records)
    }

    fn within(scratch: &'s Scratch, room: usize, sorted: usize, records: u64) -> Turns<'s> {
        let places = usize::try_from(records).ok().filter(|records| *records <= room / 8).unwrap_or(0);
        let room = if places == 0 { 0 } else { room - places * size_of::<u32>() };
        let kept = Kept { at: vec![0; places], ..Kept::default() };
        Turns { kept, room, sorter: Sorter::new(scratch, sorted) }
    }

    /// Takes the records of a bucket.
    pub fn push(&mut self, records: Records) -> Result<(), RepositoryError> {
        if let Some(room) = self.room.checked_sub(records.bytes.len() + PER_BUCKET) {
            self.room = room;
            return self.kept.push(records);
        }
        for (place, begin) in records.begins {
            let record = record_at(&records.bytes, begin as usize);
            self.sorter.push(&place.to_be_bytes(), record).map_err(RepositoryError::Scratch)?;
        }
        Ok(())
    }

    /// All of them, in the order of the file.
    pub fn finish(self) -> Result<InTurn, RepositoryError> {
        let sorted = self.sorter.finish().map_err(RepositoryError::Scratch)?;
        Ok(InTurn { kept: self.kept, sorted })
    }
}

impl Kept {
    fn push(&mut self, records: Records) -> Result<(), RepositoryError> {
        for (place, begin) in records.begins {
            match self.at.get_mut(place as usize) {
                Some(at) if *at == 0 => *at = self.end + begin + 1,
                _ => return Err(damaged("two records have one place")),
            }
        }
        self.begins.push(self.end);
        self.end += records.bytes.len() as u32;
        self.buckets.push(records.bytes);
        Ok(())
    }

    /// The record of a place, if it is here.
    fn get(&self, place: u32) -> Option<&[u8]> {
        let at = self.at.get(place as usize)?.checked_sub(1)?;
        let bucket = self.begins.partition_point(|begin| *begin <= at) - 1;
        let begin = at - self.begins.get(bucket)?;
        Some(record_at(self.buckets.get(bucket)?, begin as usize))
    }
}

fn record_at(bytes: &[u8], begin: usize) -> &[u8] {
    let mut reader = Reader::new("record", bytes.get(begin..).unwrap_or_default());
    let length = reader.varint().unwrap_or_default();
    reader.take(length as usize).unwrap_or_default()
}

/// Records in the order of the file.
pub(super) struct InTurn {
    kept: Kept,
    sorted: Sorted,
}

impl InTurn {
    /// The record of the next place, where there is one: they are asked for from 0 on, one after the other.
    pub fn next(&mut self, place: u32) -> Result<Option<&[u8]>, RepositoryError> {
        if let Some(record) = self.kept.get(place) {
            return Ok(Some(record));
        }
        match self.sorted.next_record().map_err(RepositoryError::Scratch)? {
            Some(record) if record.key == place.to_be_bytes() => Ok(Some(record.payload)),
            Some(_) => Err(damaged("two records have one place")),
            None => Ok(None),
        }
    }

    /// That none is left.
    pub fn finish(mut self) -> Result<(), RepositoryError> {
        match self.sorted.next_record().map_err(RepositoryError::Scratch)? {
            None => Ok(()),
            Some(_) => Err(damaged("two records have one place")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(place: u32) -> Vec<u8> {
        vec![place as u8; place as usize % 300]
    }

    /// What comes in turn of records of these places, forty a bucket, where so many bytes find room.
    fn in_turn(room: usize, places: &[u32], count: u32) -> Result<Vec<Vec<u8>>, RepositoryError> {
        let directory = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(directory.path(), [7; 32]);
        let mut turns = Turns::within(&scratch, room, 64 << 10, u64::from(count));
        for bucket in places.chunks(40) {
            let mut gathering = Gathering::default();
            bucket.iter().for_each(|place| gathering.push(*place, &record(*place)));
            turns.push(gathering.take())?;
        }
        let (mut in_turn, mut all) = (turns.finish()?, Vec::new());
        for place in 0..count {
            all.extend(in_turn.next(place)?.map(<[u8]>::to_vec));
        }
        in_turn.finish().map(|()| all)
    }

    #[test]
    fn records_come_in_turn_whether_they_find_room_or_not() {
        const COUNT: u32 = 3000;
        // 1009 and 3000 have no common divisor.
        let places: Vec<u32> = (0..COUNT).map(|number| number * 1009 % COUNT).collect();
        let expected: Vec<Vec<u8>> = (0..COUNT).map(record).collect();
        for room in [0, 1000, 20_000, 30_000, 100_000, 300_000, 1 << 20] {
            assert_eq!(in_turn(room, &places, COUNT).unwrap(), expected, "{room}");
        }
        assert_eq!(in_turn(1 << 20, &[], 0).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_place_that_two_records_have_is_damage_and_so_is_one_that_is_not_in_the_file() {
        for room in [0, 20_000, 1 << 20] {
            let twice: Vec<u32> = (0..200).chain([7]).collect();
            assert!(in_turn(room, &twice, 200).is_err(), "{room}");
            assert!(in_turn(room, &[0, 1, 5], 3).is_err(), "{room}");
            assert!(in_turn(room, &[0, 2], 3).map_or(true, |records| records.len() == 2), "{room}");
        }
    }
}
