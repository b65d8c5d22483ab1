//! The streams of a dump that are written in the order of its keys.

use std::collections::BTreeMap;
use std::thread;

use super::bucket_writer::{BucketWriter, NewRecord, OldRange};
use super::known::{OldRecord, Remembering};
use super::waiting::ToStore;
use super::workers::joined;
use super::writer::column;
use crate::format::limits::LABEL_MAX;
use crate::format::recipe::{ColumnRole, Part, Stream};
use crate::format::summary::Holds;
use crate::rdb::canonical::encode_order;
use crate::repository::error::RepositoryError;
use crate::repository::intake::Intake;
use crate::repository::stream::StreamWriter;

/// Takes records in the order of their keys. Memory: 8 bytes a record, 23 at the end, and what is remembered.
pub(super) struct Columns<'r> {
    pub buckets: BucketWriter<'r>,
    pub remembering: Option<Remembering>,
    /// The database of the last record.
    database: Option<u32>,
    hashes: Vec<u32>,
    places: Vec<u32>,
    events: StreamWriter,
    order: StreamWriter,
    elements: StreamWriter,
    idle: StreamWriter,
    frequencies: StreamWriter,
}

impl<'r> Columns<'r> {
    pub fn new(
        intake: &Intake<'r>,
        old: Option<&Part>,
        remembering: Option<Remembering>,
    ) -> Result<Columns<'r>, RepositoryError> {
        let repository = intake.session.repository();
        let buckets = old.and_then(|old| old.streams.get(&(ColumnRole::Buckets as u64)));
        let column = |role, holds| column(old, role, holds, repository);
        Ok(Columns {
            buckets: BucketWriter::new(intake, buckets)?,
            remembering,
            database: None,
            hashes: Vec::new(),
            places: Vec::new(),
            events: column(ColumnRole::Events, Holds::Columns),
            order: column(ColumnRole::Order, Holds::Order),
            elements: column(ColumnRole::ElementOrder, Holds::Order),
            idle: column(ColumnRole::Idle, Holds::Columns),
            frequencies: column(ColumnRole::Frequencies, Holds::Columns),
        })
    }

    /// Takes the next record, which is sorted by `place`; in the earlier version there may be another with its key.
    pub fn put_new(
        &mut self,
        intake: &mut Intake<'_>,
        place: &[u8],
        record: &ToStore<'_>,
        instead: Option<OldRange>,
    ) -> Result<(), RepositoryError> {
        if place.len() as u64 >= LABEL_MAX {
            // Where labels are cut they do not tell between which buckets a record belongs.
            self.remembering = None;
        }
        let is_other_database = self.is_other(database_of(place));
        let new = NewRecord { hash: record.head.hash, body: record.body, instead, is_other_database };
        if self.buckets.put_new(intake, place, new)? {
            self.remembering.iter_mut().for_each(Remembering::end_bucket);
        }
        self.remembering.iter_mut().for_each(|all| all.add(record.head, record.name, record.place));
        self.hashes.push(record.head.hash);
        self.places.push(record.place);
        for idle in &record.sides.idle {
            self.idle.write(intake, &idle.to_le_bytes())?;
        }
        self.frequencies.write(intake, &record.sides.frequencies)?;
        self.elements.write(intake, &record.sides.order)
    }

    /// Takes the next record, one of the earlier version that stayed: in which bucket it begins where, and the order of its
    /// elements.
    pub fn put_old(
        &mut self,
        intake: &mut Intake<'_>,
        (bucket, from): (usize, usize),
        record: OldRecord,
        elements: &[u8],
    ) -> Result<(), RepositoryError> {
        let label = self.buckets.old.as_ref().and_then(|old| old.label(bucket));
        let is_other = self.is_other(label.map_or(0, database_of));
        if self.buckets.put_old(intake, bucket, from, record.head, is_other)? {
            self.remembering.iter_mut().for_each(Remembering::end_bucket);
        }
        self.remembering.iter_mut().for_each(|all| all.add(record.head, record.name, record.place));
        self.hashes.push(record.head.hash);
        self.places.push(record.place);
        if record.head.has_idle() {
            self.idle.write(intake, &record.side.to_le_bytes())?;
        }
        if record.head.has_frequency() {
            self.frequencies.write(intake, &[record.side as u8])?;
        }
        self.elements.write(intake, elements)
    }

    fn is_other(&mut self, database: u32) -> bool {
        self.database.replace(database).is_some_and(|last| last != database)
    }

    /// What was stored, by its roles; `None` where the order of the records cannot be told.
    pub fn finish(
        mut self,
        intake: &mut Intake<'_>,
        events: &[u8],
    ) -> Result<Option<BTreeMap<u64, Stream>>, RepositoryError> {
        let Columns { buckets, hashes, places, .. } = self;
        let (buckets, order) = thread::scope(|scope| {
            let order = scope.spawn(move || {
                let mut order = Vec::new();
                encode_order(&hashes, &places, &mut order).then_some(order)
            });
            (buckets.finish(intake), joined(order))
        });
        let (buckets, Some(order)) = (buckets?, order) else { return Ok(None) };
        self.order.write(intake, &order)?;
        drop(order);
        self.events.write(intake, events)?;
        let columns = [
            (ColumnRole::Events, self.events),
            (ColumnRole::Order, self.order),
            (ColumnRole::ElementOrder, self.elements),
            (ColumnRole::Idle, self.idle),
            (ColumnRole::Frequencies, self.frequencies),
        ];
        let mut streams = BTreeMap::new();
        for (role, column) in columns {
            let stream = column.finish(intake)?;
            if stream.length > 0 {
                streams.insert(role as u64, stream);
            }
        }
        streams.insert(ColumnRole::Buckets as u64, buckets);
        Ok(Some(streams))
    }
}

/// The database of a place, or a label.
pub(super) fn database_of(place: &[u8]) -> u32 {
    place.first_chunk().map_or(0, |database| u32::from_be_bytes(*database))
}
