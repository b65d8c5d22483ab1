//! A dump on its way in: taken as it is read, its records sorted by their keys and stored as buckets, the rest as columns.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread;

use super::columns::Columns;
use super::known::{OldRecords, Remembering, Stayed, StayedAll};
use super::large::{Large, LargeStored};
use super::memory_file::MemoryFile;
use super::merging::{MergeError, merge, of_earlier, take_all};
use super::parameters::Parameters;
use super::workers::{Answered, Workers, joined, sorted, told};
use crate::format::recipe::{CANONICAL_RDB, ColumnRole, Part};
use crate::format::summary::Holds;
use crate::rdb::Stretch;
use crate::rdb::canonical::{Batch, Gathered, Gatherer, Gathering, Hasher, Limits, TemplateTags};
use crate::repository::Repository;
use crate::repository::error::RepositoryError;
use crate::repository::intake::Intake;
use crate::repository::stream::StreamWriter;
use crate::spill::{Sorted, Sorter};

/// How a dump is stored.
#[derive(Debug)]
pub struct DumpStored {
    /// The parts of its recipe.
    pub parts: Vec<Part>,
    /// Whether all of it that is RDB is canonical; and where a part of it is, why not all.
    pub form: Result<(), Option<String>>,
    /// Records that were known to be those of the earlier version, by what this host remembers.
    pub remembered: u64,
}

/// Why a dump cannot be stored in canonical form: it is to be read once more, and stored as it is.
#[derive(Debug)]
pub struct NotStored {
    /// For people.
    pub why: String,
    /// Whether that throws doubt on the dump.
    pub is_suspect: bool,
    /// Whether it can, if it is read once more and nothing is remembered of its earlier version.
    pub again: bool,
}

impl NotStored {
    pub(super) fn because(why: impl Into<String>) -> NotStored {
        NotStored { why: why.into(), is_suspect: false, again: false }
    }

    /// A key stands twice, in this database.
    pub(super) fn twice(database: Option<u32>) -> NotStored {
        let within = database.map(|database| format!(" in database {database}")).unwrap_or_default();
        NotStored { why: format!("a key stands twice{within}"), is_suspect: true, again: false }
    }

    /// What is remembered of the earlier version is of no use.
    pub(super) fn again() -> NotStored {
        NotStored { again: true, ..NotStored::because("its earlier version cannot be read") }
    }
}

/// Takes bytes of a dump.
pub type TakeBytes<'a> = dyn FnMut(&[u8]) -> Result<(), RepositoryError> + 'a;

/// What a dump is expected to resemble.
#[derive(Debug, Clone, Copy)]
pub struct Earlier<'a> {
    /// The parts of its earlier version.
    pub parts: &'a [Part],
    /// Where this host keeps what it remembers of its records: the path of the file in the dataset; `None`: what is
    /// remembered is not to be used.
    pub remembered: Option<&'a [u8]>,
    /// The path under which the records of `parts` are remembered, where that is another file's.
    pub recalled: Option<&'a [u8]>,
}

/// Stores a dump that `read` reads: it hands on all bytes in order, and each stretch as soon as its end is known.
///
/// Memory: while it is read 272 MiB of records (144 on a store that is far), and for each worker two batches of 1 MiB; or 144 MiB
/// of records and, in the worst case, once for all workers a record of 48 MiB with what it takes to make that canonical, or 96 MiB
/// of the elements of a longer one, and 24 bytes for each of them; what the way in takes; after that as much for the merge and
/// 1 MiB that is fetched for it, 23 bytes a record, and 24 MiB of buckets, twice. Of up to 4 million records 24 bytes each are
/// remembered, 40 at the end, when none waits any more; where the earlier version is, 96 MiB of records wait at the most, and what
/// is remembered of it takes 40 bytes a record. Scratch: what the records that wait take, decompressed, above that.
pub fn store_dump<T, E: From<RepositoryError>>(
    intake: &mut Intake<'_>,
    earlier: Earlier<'_>,
    workers: usize,
    read: impl FnOnce(&mut TakeBytes<'_>, &mut dyn FnMut(Stretch)) -> Result<T, E>,
) -> Result<(T, Result<DumpStored, NotStored>), E> {
    let repository = intake.session.repository();
    let scratch = repository.scratch();
    let sizes = repository.config.buckets;
    let old = earlier.parts.iter().find(|part| part.method == CANONICAL_RDB);
    let opaque: Vec<Part> = earlier.parts.iter().filter(|part| part.method != CANONICAL_RDB).cloned().collect();
    let slot = |path: &[u8]| [&intake.session.tag().0[..], path].concat();
    let memory_of = |path: &[u8]| MemoryFile::of(repository, &slot(path)).map(Arc::new);
    let memory = earlier.remembered.and_then(memory_of);
    let recalled = match earlier.recalled.filter(|_| memory.is_some()) {
        Some(path) => memory_of(path),
        None => memory.clone(),
    };
    // Records of an earlier layout are kept otherwise.
    let same = old.filter(|old| Parameters::of(old).is_ok_and(|parameters| !parameters.is_unresolved));
    let known = recalled.zip(same).and_then(|(recalled, old)| recalled.read(old));
    let sorted = thread::scope(|scope| {
        let (hasher, limits) = (repository.name_hasher(), Limits::of(sizes.max as usize));
        let sorted = sorted(known.is_some(), repository.is_far());
        let workers = Workers::new(scope, workers.max(1), &scratch, hasher, limits, known.as_ref(), sorted);
        let stayed = known.as_ref().map(|known| StayedAll::new(known.count()));
        let sink = RefCell::new(DumpSink {
            intake: &mut *intake,
            workers,
            gatherer: Gatherer::new(limits),
            hasher,
            templates: Arc::default(),
            large: Large::new(old, known.as_ref(), repository, &scratch),
            after: StreamWriter::after(repository, &opaque),
            is_after: false,
            stayed,
            failed: None,
        });
        let value = read(&mut |bytes| sink.borrow_mut().bytes(bytes), &mut |found| sink.borrow_mut().stretch(found))?;
        Ok::<_, E>((value, sink.into_inner().finish()?))
    });
    let (value, taken) = sorted?;
    let taken = match taken {
        Ok((taken, stayed)) => {
            let old_records = stayed.zip(known).map(|(stayed, known)| stayed.in_order(known));
            taken.store(intake, old, old_records, memory)?
        }
        Err(not) => Err(not),
    };
    Ok((value, taken))
}

/// A column that goes on where that of the earlier version was.
pub(super) fn column(old: Option<&Part>, role: ColumnRole, holds: Holds, repository: &Repository) -> StreamWriter {
    StreamWriter::column(repository, holds, old.and_then(|old| old.streams.get(&(role as u64))))
}

/// Takes a dump as it is read.
struct DumpSink<'i, 'k, 'scope, 's> {
    intake: &'i mut Intake<'k>,
    workers: Workers<'scope, 's>,
    gatherer: Gatherer,
    hasher: Hasher,
    templates: Arc<TemplateTags>,
    large: Large<'s>,
    after: StreamWriter,
    is_after: bool,
    /// Records of the earlier version that stayed, where it is known.
    stayed: Option<StayedAll>,
    failed: Option<NotStored>,
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
                Gathering::Value(value) => {
                    let of = self.gatherer.giant().unwrap_or_default().to_vec();
                    self.put_piece(&of, &value)?;
                }
                Gathering::ValueEnd(value, mut batch) => {
                    let of = batch.records().next().map_or(Vec::new(), |(_, record)| record.type_and_key().to_vec());
                    self.put_piece(&of, &value)?;
                    if self.unless_not_stored(|sink| sink.large.end_pieces(sink.intake, &of))? == Some(true) {
                        batch.note_sorted();
                    }
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
    fn put_piece(&mut self, of: &[u8], piece: &[u8]) -> Result<(), RepositoryError> {
        while self.take_answer()? {}
        if let Err(why) = self.workers.make_way() {
            self.failed.get_or_insert(NotStored::because(why));
        }
        let Some((header, _)) = self.gatherer.header() else { return Ok(()) };
        self.unless_not_stored(|sink| sink.large.put_piece(sink.intake, header.family, of, piece)).map(drop)
    }

    /// What came of some work; `None` where the dump cannot be stored in canonical form, which is noted.
    fn unless_not_stored<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MergeError>,
    ) -> Result<Option<T>, RepositoryError> {
        match work(self) {
            Ok(done) => Ok(Some(done)),
            Err(MergeError::Not(not)) => {
                self.failed.get_or_insert(not);
                Ok(None)
            }
            Err(MergeError::Repository(error)) => Err(error),
        }
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
        for template in self.gatherer.take_templates() {
            Arc::make_mut(&mut self.templates).add(self.hasher, &template);
        }
        if let Err(why) = self.workers.send(batch, header, &self.templates) {
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
            Some(Ok(Answered { large, stayed, spent })) => {
                self.gatherer.take_back(spent);
                large.iter().try_for_each(|kept| self.large.put(self.intake, kept))?;
                self.note(&stayed);
            }
            Some(Err(why)) => drop(self.failed.get_or_insert(NotStored::because(why))),
        }
        Ok(true)
    }

    fn note(&mut self, stayed: &[Stayed]) {
        let Some(all) = &mut self.stayed else { return };
        if !stayed.iter().all(|stayed| all.note(*stayed)) {
            self.failed.get_or_insert(NotStored::twice(None));
        }
    }

    /// Everything came.
    fn finish(mut self) -> Result<Result<(Taken, Option<StayedAll>), NotStored>, RepositoryError> {
        self.gatherer.end();
        self.take_gathered()?;
        while self.take_answer()? {}
        let after = self.after.finish(self.intake)?;
        let large = self.large.finish(self.intake)?;
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
            sorting.into_iter().map(joined).collect::<Result<Vec<Sorted>, _>>()
        });
        Ok(match sorted {
            Ok(parts) => {
                let after = self.is_after.then(|| Part::opaque(after));
                Ok((Taken { records: Sorted::join(parts), gathered, large, after }, self.stayed))
            }
            Err(error) => Err(NotStored::because(told(&error))),
        })
    }
}

/// A dump that was read whole.
struct Taken {
    records: Sorted,
    gathered: Gathered,
    large: LargeStored,
    after: Option<Part>,
}

impl Taken {
    /// Stores what was not stored while it was read.
    fn store(
        self,
        intake: &mut Intake<'_>,
        old: Option<&Part>,
        old_records: Option<OldRecords>,
        memory: Option<Arc<MemoryFile>>,
    ) -> Result<Result<DumpStored, NotStored>, RepositoryError> {
        let Some(magic) = self.gathered.magic else {
            let parts = self.after.into_iter().collect();
            return Ok(Ok(DumpStored { parts, form: Err(None), remembered: 0 }));
        };
        let known = old_records.as_ref().map_or(0, OldRecords::count);
        let Gathered { clock, records, events, tail, length, cut, .. } = self.gathered;
        let mut columns = Columns::new(intake, old, memory.as_ref().and_then(|_| Remembering::new(records)))?;
        let merged = match (old, old_records) {
            (Some(old), Some(old_records)) => merge(&mut columns, intake, self.records, old, old_records),
            _ => take_all(&mut columns, intake, self.records),
        };
        match merged {
            Ok(()) => {}
            Err(MergeError::Not(not)) => return Ok(Err(not)),
            Err(MergeError::Repository(error)) => return Err(error),
        }
        let (large, values) = self.large;
        if let Some(all) = &mut columns.remembering {
            all.add_large(values);
        }
        let remembered = memory.zip(columns.remembering.take());
        let remembered = remembered.map(|(memory, remembering)| (memory.begin(intake, remembering), memory));
        let mut streams = match columns.finish(intake, &events).map_err(of_earlier) {
            Ok(Some(streams)) => streams,
            Ok(None) => return Ok(Err(NotStored::because("the order of its keys cannot be told"))),
            Err(MergeError::Not(not)) => return Ok(Err(not)),
            Err(MergeError::Repository(error)) => return Err(error),
        };
        streams.extend(large);
        let form = if tail.is_empty() { Err(cut) } else { Ok(()) };
        let parameters = Some(Parameters { is_unresolved: false, magic, clock, records, tail }.encode());
        let canonical = Part { method: CANONICAL_RDB, length, streams, parameters };
        if let Some((begun, memory)) = remembered {
            memory.end(intake, begun, &canonical);
        }
        let parts = std::iter::once(canonical).chain(self.after).collect();
        Ok(Ok(DumpStored { parts, form, remembered: known }))
    }
}
