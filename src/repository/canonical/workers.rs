//! The workers that make records canonical while the dump is read, and the sorters that take them.

use std::collections::VecDeque;
use std::iter::repeat;
use std::sync::{Arc, Mutex};
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::element_sorter::sort_elements;
use super::known::{Known, Stayed};
use super::waiting::ToStore;
use crate::rdb::canonical::{Batch, Encoded, Encoder, Hasher, Limits, NAME, Namer, Side, TemplateTags};
use crate::rdb::{Family, Header};
use crate::repository::lock;
use crate::spill::{Scratch, Sorter, SpillError};

/// Memory of all sorters together, and what of it is left to them when there are long records.
const SORTED: usize = 272 << 20;
const SORTED_BESIDE_LONG: usize = 144 << 20;
/// Their memory where the earlier version is known: nearly all of its records stay, and are not sorted.
const SORTED_NEW: usize = 96 << 20;
/// Memory of a sorter at the least. A record may take an eighth of it: of a collection whose elements have an order it takes 1 MiB
/// at the most, and 4 bytes for each of up to 2^20 elements.
const SORTER: usize = 48 << 20;

/// Bytes of batches under way from which on no more are sent off: to make a record canonical takes five times its length, and
/// however many workers there are that is so for one of 48 MiB, or for several that together are not twice as long.
const UNDER_WAY: usize = 48 << 20;

/// Such bytes for each batch that may be under way: when there are more, records are long.
const LONG: usize = 2 << 20;

/// Memory of all sorters together at first, and beside long records. Where the store is far, what it gets is on its way for longer
/// than a scratch file takes, and connections need memory too.
pub(super) fn sorted(is_known: bool, is_far: bool) -> [usize; 2] {
    match (is_known, is_far) {
        (true, _) => [SORTED_NEW; 2],
        (false, true) => [SORTED_BESIDE_LONG; 2],
        (false, false) => [SORTED, SORTED_BESIDE_LONG],
    }
}

/// How many sorters so many workers share, and the memory of each.
fn sorters(both: [usize; 2], workers: usize) -> (usize, [usize; 2]) {
    let share = workers.min(both[1] / SORTER).max(1);
    (share, both.map(|sorted| sorted / share))
}

/// Records, and what is known of their file.
struct Job {
    batch: Batch,
    header: Header,
    clock: u64,
    templates: Arc<TemplateTags>,
    answer: Sender<Answer>,
}

/// What is to be done with a batch beside sorting; or why the dump cannot be stored in canonical form.
type Answer = Result<Answered, String>;

/// What came of a batch.
pub(super) struct Answered {
    /// Its large values.
    pub large: Vec<LargeKept>,
    /// Records of the earlier version that stayed: they are not sorted.
    pub stayed: Vec<Stayed>,
    /// The batch, no longer needed.
    pub spent: Batch,
}

/// A large value as it is kept.
pub(super) struct LargeKept {
    /// Of its record's place.
    pub hash: u32,
    pub value: Vec<u8>,
    /// The order of its elements, where these were sorted as they stood.
    pub order: Option<Vec<u8>>,
}

/// Workers under way.
pub(super) struct Workers<'scope, 's> {
    jobs: Sender<Job>,
    /// What is to come of each batch, and its bytes.
    under_way: VecDeque<(Receiver<Answer>, usize)>,
    limit: usize,
    /// Bytes of all of them.
    bytes: usize,
    threads: Vec<ScopedJoinHandle<'scope, ()>>,
    sorters: Vec<Arc<Mutex<Sorter<'s>>>>,
    /// What is left to each of them beside long records, and whether there were such.
    beside_long: usize,
    is_long: bool,
    scratch: &'s Scratch,
}

impl<'scope, 's: 'scope> Workers<'scope, 's> {
    /// So many, that keep values apart which are longer than that. Memory: 272 MiB for records that wait to be sorted, and four
    /// batches of 1 MiB a worker; or 144 MiB of such records, and five times 48 MiB, and 40 bytes for each of 2^20 elements, for the
    /// longest records; less where `sorted` says so.
    pub fn new(
        scope: &'scope Scope<'scope, '_>,
        count: usize,
        scratch: &'s Scratch,
        hasher: Hasher,
        limits: Limits,
        known: Option<&'s Known>,
        sorted: [usize; 2],
    ) -> Self {
        let limit = 2 * count;
        let (jobs, to_do) = bounded(limit);
        let (share, [budget, beside_long]) = sorters(sorted, count);
        let sorter = |_| Arc::new(Mutex::new(Sorter::new(scratch, budget)));
        let sorters: Vec<_> = (0..share).map(sorter).collect();
        let work = move |to_do: Receiver<Job>, sorter: Arc<Mutex<Sorter<'s>>>| {
            let (encoded, waiting) = (Encoded::default(), Vec::new());
            let mut worker = Worker { sorter, known, makers: None, hasher, limits, scratch, encoded, waiting };
            for mut job in to_do {
                let answer = worker.encode(&mut job);
                // Fails where the caller gave up.
                let _ = job.answer.send(answer);
            }
        };
        let threads = sorters.iter().cycle().take(count).map(|sorter| {
            let (to_do, sorter) = (to_do.clone(), Arc::clone(sorter));
            scope.spawn(move || work(to_do, sorter))
        });
        let threads = threads.collect();
        let under_way = VecDeque::new();
        Workers { jobs, under_way, limit, bytes: 0, threads, sorters, beside_long, is_long: false, scratch }
    }

    /// Sends a batch off.
    pub fn send(
        &mut self,
        batch: Batch,
        (header, clock): (Header, u64),
        templates: &Arc<TemplateTags>,
    ) -> Result<(), String> {
        let (answer, answered) = bounded(1);
        self.under_way.push_back((answered, batch.bytes()));
        self.bytes += batch.bytes();
        if self.bytes > self.limit * LONG {
            self.make_way()?;
        }
        let job = Job { batch, header, clock, templates: Arc::clone(templates), answer };
        self.jobs.send(job).map_err(|_| "the workers are gone".into())
    }

    /// Leaves memory to long records, from now on.
    pub fn make_way(&mut self) -> Result<(), String> {
        match std::mem::replace(&mut self.is_long, true) {
            true => Ok(()),
            false => self.sorters.iter().try_for_each(|sorter| lock(sorter).take_less(self.beside_long)),
        }
        .map_err(|error| told(&error))
    }

    /// Whether as many batches are under way as may be.
    pub fn are_busy(&self) -> bool {
        self.under_way.len() >= self.limit || self.bytes >= UNDER_WAY
    }

    /// What came of the batch that was sent off first, waited for; `None` where none is under way.
    pub fn next(&mut self) -> Option<Answer> {
        let (answered, bytes) = self.under_way.pop_front()?;
        self.bytes -= bytes;
        Some(answered.recv().unwrap_or(Err("a worker is gone".into())))
    }

    /// Their sorters.
    pub fn finish(self) -> Vec<Sorter<'s>> {
        drop(self.jobs);
        self.threads.into_iter().for_each(joined);
        let take = |sorter: &Arc<Mutex<_>>| std::mem::replace(&mut *lock(sorter), Sorter::new(self.scratch, 0));
        self.sorters.iter().map(take).collect()
    }
}

struct Worker<'s> {
    sorter: Arc<Mutex<Sorter<'s>>>,
    known: Option<&'s Known>,
    makers: Option<(Namer, Encoder)>,
    hasher: Hasher,
    limits: Limits,
    scratch: &'s Scratch,
    /// The record at hand.
    encoded: Encoded,
    waiting: Vec<u8>,
}

impl Worker<'_> {
    fn encode(&mut self, job: &mut Job) -> Answer {
        let Worker { sorter, known, makers, hasher, limits, scratch, encoded, waiting } = self;
        let (namer, encoder) = makers.get_or_insert_with(|| {
            let encoder = Encoder::new(job.header.family, job.clock, *limits, *hasher);
            (Namer::new(job.header.family, job.clock, *hasher), encoder)
        });
        encoder.know_templates(&job.templates);
        let (mut all_large, mut stayed) = (Vec::new(), Vec::new());
        let named: Vec<_> = job.batch.records().map(|(_, record)| namer.name(record)).collect();
        let names: Vec<_> = named.iter().map(|named| named.map(|(name, _)| name)).collect();
        let before = known.map(|known| known.find_all(&names)).unwrap_or_default();
        let before = before.into_iter().chain(repeat(None));
        for ((place, record), (named, before)) in job.batch.records().zip(named.into_iter().zip(before)) {
            if let (Some(before), Some((_, side))) = (before, named) {
                let side = match side {
                    Side::None => 0,
                    Side::Idle(last) => last,
                    Side::Frequency(often) => u32::from(often),
                };
                stayed.push(Stayed { before, place, side });
                continue;
            }
            encoder.encode_into(record, encoded).map_err(|error| error.to_string())?;
            let order = sort_large(encoded, scratch, *hasher, job.header.family)?;
            // What is apart is made anew each time: its bytes go by the order of the file.
            let name = named.filter(|_| encoded.large.is_none()).map_or([0; NAME], |(name, _)| name);
            let hash = hasher.hash(&encoded.place);
            ToStore::encode(place, hash, name, encoded, waiting);
            lock(sorter).push(&encoded.place, waiting).map_err(|error| told(&error))?;
            all_large.extend(encoded.large.take().map(|value| LargeKept { hash, value, order }));
        }
        Ok(Answered { large: all_large, stayed, spent: std::mem::take(&mut job.batch) })
    }
}

/// Sorts the elements of a large value that is kept as it stood, where they can be; answers with their order.
fn sort_large(
    encoded: &mut Encoded,
    scratch: &Scratch,
    hasher: Hasher,
    family: Family,
) -> Result<Option<Vec<u8>>, String> {
    let (Some(type_byte), Some(value)) = (encoded.type_as_it_stood(), &encoded.large) else { return Ok(None) };
    let sorted = sort_elements(scratch, hasher, family, type_byte, value)?;
    Ok(sorted.map(|(sorted, order)| {
        encoded.sort_large(sorted);
        order
    }))
}

/// What a thread came to; a panic goes on here.
pub(super) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What is wrong with scratch files, for people.
pub(super) fn told(error: &SpillError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_workers_there_are_their_sorters_take_the_longest_record() {
        const LONGEST: usize = (1 << 20) + (4 << 20);
        let of = [(false, false), (false, true), (true, false)].map(|(is_known, is_far)| sorted(is_known, is_far));
        for (all, workers) in of.into_iter().flat_map(|all| (1..=64).map(move |workers| (all, workers))) {
            let scratch = Scratch::new("/nowhere/at/all".as_ref(), [7; 32]);
            let (share, budgets) = sorters(all, workers);
            for (budget, all) in budgets.into_iter().zip(all) {
                let mut sorter = Sorter::new(&scratch, budget);
                sorter.push(b"key", &vec![0; LONGEST]).unwrap();
                assert!(budget * share <= all && share <= workers, "{workers}");
            }
        }
    }
}
