//! The records of a dump in the order of their keys: those that are new, and those of the earlier version that stayed.

use std::cmp::Ordering;
use std::thread;

use super::bucket_writer::OldRange;
use super::column::Column;
use super::columns::{Columns, database_of};
use super::known::OldRecords;
use super::old_buckets::{Coming, OldBuckets};
use super::waiting::ToStore;
use super::workers::told;
use super::writer::NotStored;
use crate::format::recipe::{ColumnRole, Part};
use crate::repository::error::RepositoryError;
use crate::repository::intake::Intake;
use crate::spill::{Fetched, Sorted};

/// Why the records of a dump could not be stored.
pub(super) enum MergeError {
    /// Not in canonical form, or not this way.
    Not(NotStored),
    Repository(RepositoryError),
}

impl From<RepositoryError> for MergeError {
    fn from(error: RepositoryError) -> MergeError {
        MergeError::Repository(error)
    }
}

impl From<NotStored> for MergeError {
    fn from(not: NotStored) -> MergeError {
        MergeError::Not(not)
    }
}

/// What cannot be read of the earlier version is of no use; what is wrong with it, check tells.
pub(super) fn of_earlier(error: RepositoryError) -> MergeError {
    match error.is_damage() {
        true => MergeError::Not(NotStored::again()),
        false => MergeError::Repository(error),
    }
}

/// Stores all records, none of which is known.
pub(super) fn take_all(columns: &mut Columns<'_>, intake: &mut Intake<'_>, records: Sorted) -> Result<(), MergeError> {
    thread::scope(|scope| {
        let mut new = NewRecords::new(records.fetched(scope))?;
        while !new.is_at_end() {
            new.put(columns, intake, None)?;
        }
        Ok(())
    })
}

/// Stores new records, and between them those of the earlier version that stayed.
pub(super) fn merge<'r>(
    columns: &mut Columns<'r>,
    intake: &mut Intake<'r>,
    records: Sorted,
    old: &Part,
    old_records: OldRecords,
) -> Result<(), MergeError> {
    let Some(stream) = old.streams.get(&(ColumnRole::Buckets as u64)) else { return Err(NotStored::again().into()) };
    let buckets = OldBuckets::new(intake.reader, stream).map_err(of_earlier)?;
    if buckets.entries().len() != old_records.buckets.len() {
        return Err(NotStored::again().into());
    }
    let elements = Column::new(intake.reader, old.streams.get(&(ColumnRole::ElementOrder as u64)));
    let elements = elements.map_err(of_earlier)?;
    thread::scope(|scope| {
        let mut new = NewRecords::new(records.fetched(scope))?;
        let coming = buckets.coming(scope, old_records.changed());
        columns.buckets.old = Some(buckets);
        let mut merging = Merging { old: old_records, elements, coming, bucket: 0, index: 0, from: 0 };
        while merging.bucket < merging.old.buckets.len() {
            merging.pass_bucket(columns, intake, &mut new)?;
        }
        while !new.is_at_end() {
            new.put(columns, intake, None)?;
        }
        merging.elements.finish().map_err(of_earlier)
    })
}

/// Where a walk along the records of the earlier version is.
struct Merging<'r> {
    old: OldRecords,
    elements: Column<'r>,
    /// Buckets from which records went: they are made anew.
    coming: Coming,
    bucket: usize,
    /// The next record, in canonical order, and where it begins in the bucket.
    index: usize,
    from: usize,
}

impl Merging<'_> {
    /// All records up to the end of a bucket of the earlier version.
    fn pass_bucket(
        &mut self,
        columns: &mut Columns<'_>,
        intake: &mut Intake<'_>,
        new: &mut NewRecords,
    ) -> Result<(), MergeError> {
        let count = self.old.buckets.get(self.bucket).copied().unwrap_or_default() as usize;
        let (end, bucket) = (self.index + count, self.bucket);
        if let Some(old) = &mut columns.buckets.old {
            old.take_coming(&mut self.coming, bucket).map_err(of_earlier)?;
        }
        while new.is_below(label(columns, bucket)) {
            new.put(columns, intake, None)?;
        }
        let next = label(columns, bucket + 1).map(<[u8]>::to_vec);
        while !new.is_at_end() && (next.is_none() || new.is_below(next.as_deref())) {
            let mut instead = None;
            if self.pass_below(columns, intake, new, end)? {
                // The same key with another value: the one that stood there went.
                if self.old.stayed(self.index).is_some() {
                    return Err(NotStored::twice(Some(database_of(new.place()))).into());
                }
                let from = self.from;
                self.pass_record(columns, intake)?;
                instead = Some(OldRange { bucket, from, to: self.from });
            }
            new.put(columns, intake, instead)?;
        }
        while self.index < end {
            self.pass_record(columns, intake)?;
        }
        let is_whole =
            columns.buckets.old.as_ref().and_then(|old| old.entry(bucket)).map(|entry| entry.length as usize);
        if is_whole != Some(self.from) {
            return Err(NotStored::again().into());
        }
        (self.bucket, self.from) = (bucket + 1, 0);
        columns.buckets.pass(self.bucket);
        Ok(())
    }

    /// Passes the records of the bucket that stand before the next new one. Answers whether the one behind them has its key.
    fn pass_below(
        &mut self,
        columns: &mut Columns<'_>,
        intake: &mut Intake<'_>,
        new: &NewRecords,
        end: usize,
    ) -> Result<bool, MergeError> {
        let mut begins = vec![self.from];
        for head in self.old.heads.get(self.index..end).unwrap_or_default() {
            begins.push(begins.last().copied().unwrap_or_default() + head.stored());
        }
        let (mut low, mut high, mut is_there) = (0, end - self.index, false);
        while low < high {
            let middle = (low + high) / 2;
            let [from, to] = [middle, middle + 1].map(|nth| begins.get(nth).copied().unwrap_or_default());
            let Some(old) = &mut columns.buckets.old else { break };
            let place = old.place_at(self.bucket, from, to - from).map_err(of_earlier)?;
            match place[..].cmp(new.place()) {
                Ordering::Less => low = middle + 1,
                order => {
                    is_there |= order == Ordering::Equal;
                    high = middle;
                }
            }
        }
        for _ in 0..low {
            self.pass_record(columns, intake)?;
        }
        Ok(is_there)
    }

    /// The next record of the earlier version, stored again if it stayed.
    fn pass_record(&mut self, columns: &mut Columns<'_>, intake: &mut Intake<'_>) -> Result<(), MergeError> {
        let Some(head) = self.old.heads.get(self.index).copied() else { return Err(NotStored::again().into()) };
        let order = match head.has_order() {
            true => self.elements.take_order().map_err(of_earlier)?,
            false => &[],
        };
        if let Some(record) = self.old.stayed(self.index) {
            columns.put_old(intake, (self.bucket, self.from), record, order).map_err(of_earlier)?;
        }
        self.from += head.stored();
        self.index += 1;
        Ok(())
    }
}

fn label<'c>(columns: &'c Columns<'_>, bucket: usize) -> Option<&'c [u8]> {
    columns.buckets.old.as_ref().and_then(|old: &OldBuckets<'_>| old.label(bucket))
}

/// New records in order, the next one at hand.
struct NewRecords {
    fetched: Fetched,
    /// What the record before it was sorted by.
    last: Vec<u8>,
}

impl NewRecords {
    fn new(fetched: Fetched) -> Result<NewRecords, MergeError> {
        let mut new = NewRecords { fetched, last: Vec::new() };
        new.take_next()?;
        Ok(new)
    }

    /// What the record at hand is sorted by; empty at the end.
    fn place(&self) -> &[u8] {
        self.fetched.record().map(|record| record.key).unwrap_or_default()
    }

    fn is_at_end(&self) -> bool {
        self.fetched.record().is_none()
    }

    /// Whether there is a record at hand, and it is below a label.
    fn is_below(&self, label: Option<&[u8]>) -> bool {
        !self.is_at_end() && label.is_some_and(|label| self.place() < label)
    }

    fn take_next(&mut self) -> Result<(), MergeError> {
        self.last.clear();
        self.last.extend_from_slice(self.fetched.record().map(|record| record.key).unwrap_or_default());
        self.fetched.advance().map_err(|error| NotStored::because(told(&error)))?;
        match self.fetched.record() {
            Some(record) if record.key == self.last => Err(NotStored::twice(Some(database_of(record.key))).into()),
            _ => Ok(()),
        }
    }

    /// Stores the record at hand, and takes the next one.
    fn put(
        &mut self,
        columns: &mut Columns<'_>,
        intake: &mut Intake<'_>,
        instead: Option<OldRange>,
    ) -> Result<(), MergeError> {
        let Some(record) = self.fetched.record() else { return Ok(()) };
        let waiting = ToStore::decode(record.payload)
            .map_err(|malformed| RepositoryError::damaged("a scratch file", malformed))?;
        // Without an earlier version this meets nothing of it.
        columns.put_new(intake, record.key, &waiting, instead).map_err(of_earlier)?;
        self.take_next()
    }
}
