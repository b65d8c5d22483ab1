//! A dump on its way out: buckets in the order of their keys become records in the order of the file.

use std::sync::Mutex;
use std::thread;

use crossbeam_channel::bounded;
use rayon::prelude::*;

use super::ahead::Ahead;
use super::column::{Column, LARGE_LONGEST, VARINT, damaged};
use super::element_placer::ElementPlacer;
use super::parameters::Parameters;
use super::together::{Out, Together};
use super::waiting::ToWrite;
use super::workers::joined;
use crate::format::list::ListEntry;
use crate::format::recipe::{ColumnRole, Part};
use crate::format::{Malformed, Reader};
use crate::rdb::Family;
use crate::rdb::canonical::{
    Collection, Decoder, Hasher, Kept, NotCanonical, Order, OrderTokens, Sides, Values, take_event,
};
use crate::repository::chunk_reader::ChunkReader;
use crate::repository::error::RepositoryError;
use crate::repository::lock;
use crate::spill::{InOrder, Numbered, Partitions, Scratch};

/// Bytes of buckets that are decoded together.
pub(super) const WINDOW: usize = 4 << 20;
/// How many pieces that are to be handed on wait at the most.
const PIECES: usize = 8;
/// Memory for records that wait for their turn, and how much less it is where there are large values: three times their bytes, and
/// no more than this.
const WAITING: usize = 80 << 20;
const LEFT_TO_LARGE: u64 = 56 << 20;

type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), RepositoryError> + 'a;

/// Rebuilds the bytes of a canonical part, in order.
///
/// While buckets are read, those before them are made records again, which wait for their turn; while records are put together,
/// those before them are handed on.
///
/// Memory: 8 bytes a record, for the order; 80 MiB of records that wait; what the reader keeps, 72 MiB; two windows of
/// buckets, with 28 bytes for each of their records: below 256 MiB and 8 bytes a record. The longest value that was too long for
/// a bucket, four times, but of one whose elements are sorted as they stood 65 MiB and 9 bytes an element; of shorter ones 20 MiB
/// ([`Together`], its column), when the buckets are gone. Scratch: what does not fit ([`Partitions`]), less than the dump.
pub(in crate::repository) fn rebuild(
    reader: &ChunkReader<'_>,
    part: &Part,
    sink: &mut Sink<'_>,
) -> Result<(), RepositoryError> {
    let malformed = |malformed| RepositoryError::damaged("a recipe", malformed);
    let parameters = Parameters::of(part).map_err(malformed)?;
    let scratch = reader.repository().scratch();
    let hasher = reader.repository().name_hasher();
    let family = parameters.family().map_err(malformed)?;
    let values = parameters.values(reader, part, hasher)?;
    let at_work = Mutex::default();
    let rebuilding = Rebuilding { reader, part, parameters, family, hasher, values, scratch: &scratch, at_work };
    rebuilding.write(rebuilding.sort()?, sink)
}

impl Parameters {
    /// Whose dump it is.
    pub(super) fn family(&self) -> Result<Family, Malformed> {
        match self.magic.first() {
            Some(b'V') => Ok(Family::Valkey),
            Some(b'R') => Ok(Family::Redis),
            _ => Err(Malformed::new("parameters", "a dump that begins as no dump does")),
        }
    }
}

struct Rebuilding<'r> {
    reader: &'r ChunkReader<'r>,
    part: &'r Part,
    parameters: Parameters,
    family: Family,
    hasher: Hasher,
    values: Values,
    scratch: &'r Scratch,
    /// What threads decode with, while none does.
    at_work: Mutex<Vec<AtWork>>,
}

/// What a thread decodes with.
struct AtWork {
    decoder: Decoder,
    sides: Sides,
    record: Vec<u8>,
    waiting: Vec<u8>,
}

/// A record in a bucket: where in it, what its place hashes to, and how much is kept of it apart. A window of small records
/// has more of these than bytes of records.
struct Found {
    begin: u32,
    end: u32,
    hash: u32,
    /// Its place in the file.
    place: u32,
    /// Last accesses that are kept apart.
    idle: u32,
    frequencies: u32,
    /// Bytes of the order of its elements, once that is there; before that whether there is one.
    order: u32,
}

/// A bucket, and what was found in it.
struct Bucket {
    bytes: Vec<u8>,
    records: Vec<Found>,
    /// What is kept apart, of one record after the other.
    sides: Sides,
}

impl<'r> Rebuilding<'r> {
    fn column(&self, role: ColumnRole) -> Result<Column<'r>, RepositoryError> {
        Column::new(self.reader, self.part.streams.get(&(role as u64)))
    }

    /// All records, to be had in the order of the file.
    fn sort(&self) -> Result<Numbered, RepositoryError> {
        // Of a large value its order waits, which is not in the file.
        let orders = self.part.streams.get(&(ColumnRole::ElementOrder as u64)).map_or(0, |stream| stream.length);
        let bytes = self.part.length.saturating_add(orders);
        let large = self.part.streams.get(&(ColumnRole::LargeValues as u64)).map_or(0, |stream| stream.length);
        let room = WAITING - large.saturating_mul(3).min(LEFT_TO_LARGE) as usize;
        let waiting = Partitions::new(self.scratch, self.parameters.records, bytes, room);
        self.decode_all(&waiting)?;
        if large > 0 {
            self.reader.let_go();
        }
        Ok(waiting.finish())
    }

    /// Decodes the buckets, a window after the other, while the next one is read.
    fn decode_all(&self, to: &Partitions<'_>) -> Result<(), RepositoryError> {
        let Some(stream) = self.part.streams.get(&(ColumnRole::Buckets as u64)) else {
            return Aside::new(self)?.finish();
        };
        thread::scope(|scope| {
            let mut buckets = Ahead::new(scope, self.reader, stream, WINDOW)?;
            let (aside, window) = rayon::join(|| Aside::new(self), || self.read(&mut buckets));
            let (mut aside, mut window) = (aside?, window?);
            while !window.is_empty() {
                let decode = || self.decode_window(window, &mut aside, to);
                let (next, decoded) = rayon::join(|| self.read(&mut buckets), decode);
                decoded?;
                window = next?;
            }
            aside.finish()
        })
    }

    /// The next buckets, taken apart; none at the end.
    fn read(&self, buckets: &mut Ahead<'_>) -> Result<Vec<Bucket>, RepositoryError> {
        let window = buckets.next()?.into_par_iter();
        window.map(|(entry, bytes)| find_records(&entry, bytes, self.hasher)).collect()
    }

    fn decode_window(
        &self,
        mut window: Vec<Bucket>,
        aside: &mut Aside<'_>,
        to: &Partitions<'_>,
    ) -> Result<(), RepositoryError> {
        window.iter_mut().try_for_each(|bucket| aside.complete(bucket))?;
        window.into_par_iter().try_for_each(|bucket| self.decode(&bucket, to))
    }

    /// Makes the contents of a bucket records as they stand in the file, which wait for their turn.
    fn decode(&self, bucket: &Bucket, to: &Partitions<'_>) -> Result<(), RepositoryError> {
        self.at_work(|AtWork { decoder, sides, record, waiting }| {
            let (mut idle, mut frequencies) = (&bucket.sides.idle[..], &bucket.sides.frequencies[..]);
            let mut orders = &bucket.sides.order[..];
            for found in &bucket.records {
                let bytes = bucket.bytes.get(found.begin as usize..found.end as usize).unwrap_or_default();
                let kept = Kept::of(bytes).map_err(not_canonical)?;
                move_on(&mut idle, found.idle, &mut sides.idle);
                move_on(&mut frequencies, found.frequencies, &mut sides.frequencies);
                move_on(&mut orders, found.order, &mut sides.order);
                record.clear();
                decoder.head(kept, sides, record).map_err(not_canonical)?;
                match kept.large() {
                    Some(length) => {
                        let (tag, order) = (kept.value_tag(), &sides.order[..]);
                        ToWrite::Large { tag, length, order, head: record }.encode(waiting);
                    }
                    None => {
                        let value = decoder.value(kept.value_tag(), kept.value(), &sides.order, record);
                        value.map_err(not_canonical)?;
                        ToWrite::Whole(record).encode(waiting);
                    }
                }
                to.push(found.place, waiting).map_err(RepositoryError::Scratch)?;
            }
            Ok(())
        })
    }

    /// Does something with what a thread decodes with.
    fn at_work<T>(&self, work: impl FnOnce(&mut AtWork) -> T) -> T {
        let free = lock(&self.at_work).pop();
        let mut at_work = free.unwrap_or_else(|| AtWork {
            decoder: Decoder::new(self.family, self.parameters.clock, self.hasher, self.values.clone()),
            sides: Sides::default(),
            record: Vec::new(),
            waiting: Vec::new(),
        });
        let done = work(&mut at_work);
        lock(&self.at_work).push(at_work);
        done
    }

    /// Hands on the file.
    fn write(&self, records: Numbered, sink: &mut Sink<'_>) -> Result<(), RepositoryError> {
        let (pieces, to_hand_on) = bounded::<Vec<u8>>(PIECES);
        let (used, to_use_again) = bounded::<Vec<u8>>(PIECES);
        thread::scope(|scope| {
            let out = Out::new(pieces, to_use_again);
            let records = records.in_order(scope);
            let merging = scope.spawn(move || self.put_together(records, out));
            let handed_on = to_hand_on.iter().try_for_each(|mut piece| {
                sink(&piece)?;
                piece.clear();
                // Where nobody wants it there are enough.
                let _ = used.try_send(piece);
                Ok(())
            });
            drop(to_hand_on);
            // What could not be handed on is the reason why merging ended.
            handed_on.and(joined(merging))
        })
    }

    /// Puts the file together: what it begins with, events and records, what it ends with.
    fn put_together(&self, mut records: InOrder, out: Out) -> Result<(), RepositoryError> {
        let mut large = Column::wide(self.reader, self.part.streams.get(&(ColumnRole::LargeValues as u64)))?;
        let orders = self.column(ColumnRole::LargeOrder)?;
        let mut placer = ElementPlacer { scratch: self.scratch, hasher: self.hasher, orders };
        let mut events = Events::new(self.column(ColumnRole::Events)?)?;
        let decode = |tag, kept: &[u8], order: &[u8]| {
            let mut stored = Vec::with_capacity(kept.len());
            let made = self.at_work(|at_work| at_work.decoder.value(tag, kept, order, &mut stored));
            made.map_err(not_canonical).map(|()| stored)
        };
        let mut out = Together::new(out, &decode);
        let wrong_length = || damaged("it does not come to the length it should have");
        out.put(&self.parameters.magic)?;
        for count in 0..self.parameters.records {
            events.put_before(count, &mut out)?;
            let waiting = records.next_record().map_err(RepositoryError::Scratch)?.ok_or_else(wrong_length)?;
            match ToWrite::decode(waiting).map_err(|malformed| damaged(malformed.to_string()))? {
                ToWrite::Whole(bytes) => out.put(bytes)?,
                ToWrite::Large { tag, length, order, head } => {
                    out.put(head)?;
                    if Kept::is_sorted(tag) {
                        let [_, type_byte] = tag;
                        let collection = Collection::of(type_byte, self.family);
                        let collection = collection.ok_or_else(|| damaged("sorted elements of a value without"))?;
                        out.put_sorted(collection, length, &mut large, &mut placer)?;
                        continue;
                    }
                    if Kept::is_as_it_stood(tag) {
                        out.copy(&mut large, length)?;
                        continue;
                    }
                    let length = usize::try_from(length).ok().filter(|_| length <= LARGE_LONGEST);
                    let length = length.ok_or_else(|| damaged("a value longer than any"))?;
                    out.put_value(tag, length, order, &mut large)?;
                }
            }
        }
        drop(records);
        events.put_before(self.parameters.records, &mut out)?;
        events.finish()?;
        large.finish()?;
        placer.orders.finish()?;
        out.put(&self.parameters.tail)?;
        match out.finish()? == self.part.length {
            true => Ok(()),
            false => Err(wrong_length()),
        }
    }
}

pub(super) fn not_canonical(error: NotCanonical) -> RepositoryError {
    damaged(error.to_string())
}

/// Takes a bucket apart into records.
fn find_records(entry: &ListEntry, bytes: Vec<u8>, hasher: Hasher) -> Result<Bucket, RepositoryError> {
    let database = entry.label.as_deref().and_then(|label| label.first_chunk());
    let database = u32::from_be_bytes(*database.ok_or_else(|| damaged("a bucket whose label is too short"))?);
    let (mut records, mut place) = (Vec::new(), Vec::new());
    let mut reader = Reader::new("bucket", &bytes);
    let in_bucket = |malformed: Malformed| damaged(malformed.to_string());
    while reader.remaining() > 0 {
        let length = reader.varint_max("a record", reader.remaining() as u64).map_err(in_bucket)? as usize;
        let begin = (bytes.len() - reader.remaining()) as u32;
        let kept = Kept::of(reader.take(length).map_err(in_bucket)?).map_err(not_canonical)?;
        place.clear();
        kept.put_place(database, &mut place);
        let (idle, frequencies) = kept.sides();
        let (hash, order) = (hasher.hash(&place), u32::from(kept.has_order()));
        let (idle, frequencies) = (idle as u32, frequencies as u32);
        records.push(Found { begin, end: begin + length as u32, hash, place: 0, idle, frequencies, order });
    }
    Ok(Bucket { bytes, records, sides: Sides::default() })
}

/// Puts so many of what is next where what was before it stood.
fn move_on<T: Copy>(from: &mut &[T], count: u32, to: &mut Vec<T>) {
    let (next, behind) = from.split_at_checked(count as usize).unwrap_or_default();
    to.clear();
    to.extend_from_slice(next);
    *from = behind;
}

/// What is kept of records apart, in the order of the buckets.
struct Aside<'r> {
    order: Order,
    picks: Column<'r>,
    elements: Column<'r>,
    idle: Column<'r>,
    frequencies: Column<'r>,
    records: u64,
}

impl<'r> Aside<'r> {
    fn new(of: &Rebuilding<'r>) -> Result<Aside<'r>, RepositoryError> {
        let mut picks = of.column(ColumnRole::Order)?;
        let mut tokens = OrderTokens::new(of.parameters.records).map_err(not_canonical)?;
        loop {
            let bytes = picks.look(1)?;
            let taken = tokens.push(bytes);
            if taken == 0 {
                break;
            }
            picks.pass(taken);
        }
        Ok(Aside {
            order: tokens.finish_by(|entries| entries.par_sort_unstable()).map_err(not_canonical)?,
            picks,
            elements: of.column(ColumnRole::ElementOrder)?,
            idle: of.column(ColumnRole::Idle)?,
            frequencies: of.column(ColumnRole::Frequencies)?,
            records: of.parameters.records,
        })
    }

    /// Adds to each record of a bucket what is kept of it apart.
    fn complete(&mut self, bucket: &mut Bucket) -> Result<(), RepositoryError> {
        let Bucket { records, sides, .. } = bucket;
        self.order.expect(records.iter().map(|found| found.hash));
        for found in records {
            self.records = self.records.checked_sub(1).ok_or_else(|| damaged("more records than it says"))?;
            let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
            sides.idle.extend(self.idle.take(4 * found.idle as usize)?.chunks(4).map(number));
            sides.frequencies.extend_from_slice(self.frequencies.take(found.frequencies as usize)?);
            if found.order > 0 {
                let order = self.elements.take_order()?;
                found.order = order.len() as u32;
                sides.order.extend_from_slice(order);
            }
            let before = self.picks.look(VARINT)?;
            let mut rest = before;
            found.place = self.order.place(found.hash, &mut rest).map_err(not_canonical)?;
            let used = before.len() - rest.len();
            self.picks.pass(used);
        }
        Ok(())
    }

    fn finish(self) -> Result<(), RepositoryError> {
        let columns = [self.picks, self.elements, self.idle, self.frequencies];
        columns.into_iter().try_for_each(Column::finish)?;
        match self.records {
            0 => Ok(()),
            left => Err(damaged(format!("{left} records less than it says"))),
        }
    }
}

/// Events, each due before a record.
struct Events<'r> {
    column: Column<'r>,
    /// Before which record the next one is due; none are left.
    due: Option<u64>,
}

impl<'r> Events<'r> {
    fn new(column: Column<'r>) -> Result<Events<'r>, RepositoryError> {
        let mut events = Events { column, due: Some(0) };
        events.see(0)?;
        Ok(events)
    }

    /// Looks at the next one, which comes so many records after `count`.
    fn see(&mut self, count: u64) -> Result<(), RepositoryError> {
        let mut reader = Reader::new("event", self.column.look(VARINT)?);
        self.due = match reader.remaining() {
            0 => None,
            _ => {
                let gap = reader.varint().map_err(|malformed| damaged(malformed.to_string()))?;
                Some(count.checked_add(gap).ok_or_else(|| damaged("an event behind all records"))?)
            }
        };
        Ok(())
    }

    /// Those that are due before the record of this number.
    fn put_before(&mut self, count: u64, out: &mut Together<'_>) -> Result<(), RepositoryError> {
        while self.due == Some(count) {
            let mut head = Reader::new("event", self.column.look(2 * VARINT)?);
            let whole = head.remaining();
            let malformed = |malformed: Malformed| damaged(malformed.to_string());
            head.varint().map_err(malformed)?;
            let length = head.varint().map_err(malformed)?;
            let head = whole - head.remaining();
            let length = usize::try_from(length).ok().filter(|_| length <= LARGE_LONGEST);
            let event = self.column.take(head + length.ok_or_else(|| damaged("an event longer than any"))?)?;
            let mut rest = event;
            let (_, bytes) = take_event(&mut rest).map_err(not_canonical)?.unwrap_or_default();
            out.put(bytes)?;
            self.see(count)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), RepositoryError> {
        match self.due {
            None => self.column.finish(),
            Some(_) => Err(damaged("an event behind all records")),
        }
    }
}
