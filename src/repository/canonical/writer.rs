//! A dump on its way in: taken as it is read, its records sorted by their keys and stored as buckets, the rest as columns.

use std::cell::RefCell;
use std::thread;

use super::parameters::Parameters;
use super::waiting::ToStore;
use super::workers::{Workers, told};
use crate::chunker::{BucketCutter, Sizes};
use crate::format::limits::LABEL_MAX;
use crate::format::put_varint;
use crate::format::recipe::{CANONICAL_RDB, ColumnRole, Part, Stream};
use crate::format::summary::Holds;
use crate::rdb::Stretch;
use crate::rdb::canonical::{Batch, Gathered, Gatherer, Gathering, encode_order};
use crate::repository::error::RepositoryError;
use crate::repository::intake::Intake;
use crate::repository::labelled::{LabelledReader, LabelledWriter};
use crate::repository::stream::StreamWriter;
use crate::spill::{Sorted, Sorter};

/// How a dump is stored.
#[derive(Debug)]
pub struct DumpStored {
    /// The parts of its recipe.
    pub parts: Vec<Part>,
    /// Whether all of it that is RDB is canonical; and where a part of it is, why not all.
    pub form: Result<(), Option<String>>,
}

/// Why a dump cannot be stored in canonical form: it is to be read once more, and stored as it is.
#[derive(Debug)]
pub struct NotStored {
    /// For people.
    pub why: String,
    /// Whether that throws doubt on the dump.
    pub is_suspect: bool,
}

impl NotStored {
    fn because(why: impl Into<String>) -> NotStored {
        NotStored { why: why.into(), is_suspect: false }
    }
}

/// Takes bytes of a dump.
pub type TakeBytes<'a> = dyn FnMut(&[u8]) -> Result<(), RepositoryError> + 'a;

/// Stores a dump that `read` reads: it hands on all bytes in order, and each stretch as soon as its end is known. What is
/// expected to resemble it are the parts of its earlier version.
///
/// Memory: while it is read 288 MiB of records, and for each worker two batches of 1 MiB or, in the worst case, of a record of
/// 32 MiB with what it takes to make that canonical; what the way in takes; after that as much for the merge and 20 bytes a
/// record. Scratch: what the records take, decompressed, where that is above 288 MiB.
pub fn store_dump<T, E: From<RepositoryError>>(
    intake: &mut Intake<'_>,
    previous: &[Part],
    workers: usize,
    read: impl FnOnce(&mut TakeBytes<'_>, &mut dyn FnMut(Stretch)) -> Result<T, E>,
) -> Result<(T, Result<DumpStored, NotStored>), E> {
    let repository = intake.session.repository();
    let scratch = repository.scratch();
    let sizes = repository.config.buckets;
    let old = previous.iter().find(|part| part.method == CANONICAL_RDB);
    let opaque: Vec<Part> = previous.iter().filter(|part| part.method != CANONICAL_RDB).cloned().collect();
    let sorted = thread::scope(|scope| {
        let workers = Workers::new(scope, workers.max(1), &scratch, repository.name_hasher(), sizes.max as usize);
        let sink = RefCell::new(DumpSink {
            intake: &mut *intake,
            workers,
            gatherer: Gatherer::default(),
            large: Large { stream: column(old, ColumnRole::LargeValues, Holds::Buckets, repository), is_empty: true },
            after: StreamWriter::after(repository, &opaque),
            is_after: false,
            failed: None,
        });
        let value = read(&mut |bytes| sink.borrow_mut().bytes(bytes), &mut |found| sink.borrow_mut().stretch(found))?;
        Ok::<_, E>((value, sink.into_inner().finish()?))
    });
    let (value, taken) = sorted?;
    match taken {
        Ok(taken) => Ok((value, taken.store(intake, old)?)),
        Err(not) => Ok((value, Err(not))),
    }
}

/// A column that goes on where that of the earlier version was.
fn column(
    old: Option<&Part>,
    role: ColumnRole,
    holds: Holds,
    repository: &crate::repository::Repository,
) -> StreamWriter {
    StreamWriter::column(repository, holds, old.and_then(|old| old.streams.get(&(role as u64))))
}

/// Takes a dump as it is read.
struct DumpSink<'i, 'k, 'scope, 's> {
    intake: &'i mut Intake<'k>,
    workers: Workers<'scope, 's>,
    gatherer: Gatherer,
    large: Large,
    after: StreamWriter,
    is_after: bool,
    failed: Option<NotStored>,
}

/// Values that are too long for a bucket, in the order of the file. Each begins a chunk: where they stand in the file changes
/// with each restart.
struct Large {
    stream: StreamWriter,
    is_empty: bool,
}

impl Large {
    fn put(&mut self, intake: &mut Intake<'_>, value: &[u8]) -> Result<(), RepositoryError> {
        self.is_empty = false;
        self.stream.write(intake, value)?;
        self.stream.cut_here(intake)
    }
}

impl<'scope, 's: 'scope> DumpSink<'_, '_, 'scope, 's> {
    /// Takes the next bytes of the file.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), RepositoryError> {
        if self.failed.is_some() {
            return self.intake.go_on();
        }
        self.gatherer.push(bytes);
        self.take_gathered()?;
        self.intake.go_on()
    }

    fn take_gathered(&mut self) -> Result<(), RepositoryError> {
        while self.failed.is_none()
            && let Some(gathering) = self.gatherer.hand_on()
        {
            match gathering {
                Gathering::Records(batch) => self.send(batch)?,
                Gathering::Value(value) => self.put_value(&value)?,
                Gathering::ValueEnd(value, batch) => {
                    self.put_value(&value)?;
                    self.large.stream.cut_here(self.intake)?;
                    self.send(batch)?;
                }
                Gathering::After(rest) => {
                    self.is_after = true;
                    self.after.write(self.intake, &rest)?;
                }
            }
        }
        Ok(())
    }

    /// A piece of a value that is too long to wait for its end: behind the large values of all records before it.
    fn put_value(&mut self, value: &[u8]) -> Result<(), RepositoryError> {
        while self.take_answer()? {}
        self.large.is_empty = false;
        self.large.stream.write(self.intake, value)
    }

    /// Takes a stretch that was found in the bytes so far.
    fn stretch(&mut self, stretch: Stretch) {
        if self.failed.is_none() {
            self.gatherer.stretch(stretch);
        }
    }

    /// Sends records to the workers, and stores the large values that came back.
    fn send(&mut self, batch: Batch) -> Result<(), RepositoryError> {
        let Some(header) = self.gatherer.header() else { return Ok(()) };
        if let Err(why) = self.workers.send(batch, header) {
            self.failed.get_or_insert(NotStored::because(why));
        }
        while self.failed.is_none() && self.workers.are_busy() {
            self.take_answer()?;
        }
        Ok(())
    }

    /// Answers whether there was one.
    fn take_answer(&mut self) -> Result<bool, RepositoryError> {
        match self.workers.next() {
            None => return Ok(false),
            Some(Ok(large)) => large.iter().try_for_each(|value| self.large.put(self.intake, value))?,
            Some(Err(why)) => drop(self.failed.get_or_insert(NotStored::because(why))),
        }
        Ok(true)
    }

    /// Everything came.
    fn finish(mut self) -> Result<Result<Taken, NotStored>, RepositoryError> {
        self.gatherer.end();
        self.take_gathered()?;
        while self.take_answer()? {}
        let after = self.after.finish(self.intake)?;
        let large = (!self.large.is_empty).then(|| self.large.stream.finish(self.intake)).transpose()?;
        let sorters = self.workers.finish();
        let gathered = match (self.failed, self.gatherer.finish()) {
            (Some(not), _) => return Ok(Err(not)),
            (None, None) => {
                return Ok(Err(NotStored::because(
                    "it could not be parted into records: it may end within a very long value",
                )));
            }
            (None, Some(gathered)) => gathered,
        };
        // Each sorts what it holds on a core of its own.
        let sorted = thread::scope(|scope| {
            let sorting: Vec<_> = sorters.into_iter().map(|sorter| scope.spawn(|| Sorter::finish(sorter))).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            sorting.into_iter().map(join).collect::<Result<Vec<Sorted>, _>>()
        });
        Ok(match sorted {
            Ok(parts) => {
                let after = self.is_after.then(|| Part::opaque(after));
                Ok(Taken { records: Sorted::join(parts), gathered, large, after })
            }
            Err(error) => Err(NotStored::because(told(&error))),
        })
    }
}

/// A dump that was read whole.
struct Taken {
    records: Sorted,
    gathered: Gathered,
    large: Option<Stream>,
    after: Option<Part>,
}

impl Taken {
    /// Stores what was not stored while it was read.
    fn store(
        mut self,
        intake: &mut Intake<'_>,
        old: Option<&Part>,
    ) -> Result<Result<DumpStored, NotStored>, RepositoryError> {
        let Some(magic) = self.gathered.magic else {
            let parts = self.after.into_iter().collect();
            return Ok(Ok(DumpStored { parts, form: Err(None) }));
        };
        let mut columns = Columns::new(intake, old)?;
        loop {
            let record = match self.records.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(error) => return Ok(Err(NotStored::because(told(&error)))),
            };
            let waiting = ToStore::decode(record.payload)
                .map_err(|malformed| RepositoryError::damaged("a scratch file", malformed))?;
            if !columns.put(intake, record.key, &waiting)? {
                let database = record.key.first_chunk().map_or(0, |database| u32::from_be_bytes(*database));
                let why = format!("a key stands twice in database {database}");
                return Ok(Err(NotStored { why, is_suspect: true }));
            }
        }
        let Gathered { clock, records, events, tail, length, cut, .. } = self.gathered;
        let Some(mut streams) = columns.finish(intake, &events)? else {
            return Ok(Err(NotStored::because("the order of its keys cannot be told")));
        };
        streams.extend(self.large.map(|large| (ColumnRole::LargeValues as u64, large)));
        let form = if tail.is_empty() { Err(cut) } else { Ok(()) };
        let parameters = Some(Parameters { magic, clock, records, tail }.encode());
        let canonical = Part { method: CANONICAL_RDB, length, streams, parameters };
        Ok(Ok(DumpStored { parts: std::iter::once(canonical).chain(self.after).collect(), form }))
    }
}

/// The streams of a dump that are written in the order of its keys.
struct Columns<'r> {
    cutter: BucketCutter,
    buckets: LabelledWriter,
    /// Buckets of the earlier version.
    old: Option<LabelledReader<'r>>,
    bucket: Vec<u8>,
    label: Vec<u8>,
    last: Vec<u8>,
    hashes: Vec<u32>,
    places: Vec<u32>,
    events: StreamWriter,
    order: StreamWriter,
    elements: StreamWriter,
    idle: StreamWriter,
    frequencies: StreamWriter,
}

impl<'r> Columns<'r> {
    fn new(intake: &Intake<'r>, old: Option<&Part>) -> Result<Columns<'r>, RepositoryError> {
        let repository = intake.session.repository();
        let sizes = repository.config.buckets;
        let sizes = Sizes { min: sizes.min as usize, mean: sizes.mean as usize, max: sizes.max as usize };
        let buckets = old.and_then(|old| old.streams.get(&(ColumnRole::Buckets as u64)));
        let old_buckets = match buckets.map(|stream| LabelledReader::at(intake.reader, stream, &[])) {
            // An earlier version that cannot be read offers nothing; check tells why.
            Some(Err(error)) if error.is_damage() => None,
            other => other.transpose()?,
        };
        let column = |role, holds| column(old, role, holds, repository);
        Ok(Columns {
            cutter: BucketCutter::new(sizes),
            buckets: LabelledWriter::new(Holds::Buckets),
            old: old_buckets,
            bucket: Vec::new(),
            label: Vec::new(),
            last: Vec::new(),
            hashes: Vec::new(),
            places: Vec::new(),
            events: column(ColumnRole::Events, Holds::Columns),
            order: column(ColumnRole::Order, Holds::Order),
            elements: column(ColumnRole::ElementOrder, Holds::Order),
            idle: column(ColumnRole::Idle, Holds::Columns),
            frequencies: column(ColumnRole::Frequencies, Holds::Columns),
        })
    }

    /// Takes the next record. Answers whether its key is another than the last one's.
    fn put(&mut self, intake: &mut Intake<'_>, place: &[u8], record: &ToStore<'_>) -> Result<bool, RepositoryError> {
        if !self.hashes.is_empty() && self.last == place {
            return Ok(false);
        }
        let mut length = Vec::with_capacity(4);
        put_varint(&mut length, record.body.len() as u64);
        let is_other_database = place.get(..4) != self.last.get(..4);
        let is_border = self.cutter.is_border(record.hash, length.len() + record.body.len());
        if is_border || is_other_database {
            self.end_bucket(intake, Some(place))?;
            self.cutter.begin(length.len() + record.body.len());
        }
        if self.bucket.is_empty() {
            self.label = place.get(..LABEL_MAX as usize).unwrap_or(place).to_vec();
        }
        self.bucket.extend_from_slice(&length);
        self.bucket.extend_from_slice(record.body);
        self.last.clear();
        self.last.extend_from_slice(place);
        self.hashes.push(record.hash);
        self.places.push(record.place);
        for idle in &record.sides.idle {
            self.idle.write(intake, &idle.to_le_bytes())?;
        }
        self.frequencies.write(intake, &record.sides.frequencies)?;
        self.elements.write(intake, &record.sides.order)?;
        Ok(true)
    }

    /// Stores the bucket at hand, against what the earlier version has up to `next`.
    fn end_bucket(&mut self, intake: &mut Intake<'_>, next: Option<&[u8]>) -> Result<(), RepositoryError> {
        if self.bucket.is_empty() {
            return Ok(());
        }
        let label = std::mem::take(&mut self.label);
        let next = next.map(|next| next.get(..LABEL_MAX as usize).unwrap_or(next));
        let bases = match self.old.as_mut().map(|old| old.within(&label, next)) {
            Some(Err(error)) if error.is_damage() => {
                self.old = None;
                Vec::new()
            }
            other => other.transpose()?.unwrap_or_default(),
        };
        self.buckets.put(intake, &self.bucket, label, &bases)?;
        self.bucket.clear();
        Ok(())
    }

    /// All streams but that of large values, by their roles; `None` where the order cannot be told.
    fn finish(
        mut self,
        intake: &mut Intake<'_>,
        events: &[u8],
    ) -> Result<Option<std::collections::BTreeMap<u64, Stream>>, RepositoryError> {
        self.end_bucket(intake, None)?;
        let mut order = Vec::new();
        if !encode_order(&self.hashes, &self.places, &mut order) {
            return Ok(None);
        }
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
        let mut streams = std::collections::BTreeMap::new();
        for (role, column) in columns {
            let stream = column.finish(intake)?;
            if stream.length > 0 {
                streams.insert(role as u64, stream);
            }
        }
        streams.insert(ColumnRole::Buckets as u64, self.buckets.finish(intake)?);
        Ok(Some(streams))
    }
}
