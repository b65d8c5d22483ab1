//! The workers that make records canonical while the dump is read, each with a sorter of its own.

use std::collections::VecDeque;
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::waiting::ToStore;
use crate::rdb::Header;
use crate::rdb::canonical::{Batch, Encoder, Hasher};
use crate::spill::{Scratch, Sorter, SpillError};

/// Memory of all sorters together.
const SORTED: usize = 288 << 20;

/// Records, and what is known of their file.
struct Job {
    batch: Batch,
    header: Header,
    clock: u64,
    answer: Sender<Answer>,
}

/// The large values of a batch, each with the place of its record; or why the dump cannot be stored in canonical form.
type Answer = Result<Vec<Vec<u8>>, String>;

/// Workers under way.
pub(super) struct Workers<'scope, 's> {
    jobs: Sender<Job>,
    under_way: VecDeque<Receiver<Answer>>,
    limit: usize,
    threads: Vec<ScopedJoinHandle<'scope, Sorter<'s>>>,
}

impl<'scope, 's: 'scope> Workers<'scope, 's> {
    /// So many, that keep values of more than `large` bytes apart. Memory: 288 MiB for records that wait to be sorted, and four
    /// batches a worker.
    pub fn new(
        scope: &'scope Scope<'scope, '_>,
        count: usize,
        scratch: &'s Scratch,
        hasher: Hasher,
        large: usize,
    ) -> Self {
        let limit = 2 * count;
        let (jobs, to_do) = bounded(limit);
        let work = move |to_do: Receiver<Job>| {
            let mut worker = Worker { sorter: Sorter::new(scratch, SORTED / count), encoder: None, hasher, large };
            for job in to_do {
                let answer = worker.encode(&job);
                // Fails where the caller gave up.
                let _ = job.answer.send(answer);
            }
            worker.sorter
        };
        let threads = (0..count).map(|_| {
            let to_do = to_do.clone();
            scope.spawn(move || work(to_do))
        });
        Workers { jobs, under_way: VecDeque::new(), limit, threads: threads.collect() }
    }

    /// Sends a batch off.
    pub fn send(&mut self, batch: Batch, (header, clock): (Header, u64)) -> Result<(), String> {
        let (answer, answered) = bounded(1);
        self.under_way.push_back(answered);
        self.jobs.send(Job { batch, header, clock, answer }).map_err(|_| "the workers are gone".into())
    }

    /// Whether as many batches are under way as may be.
    pub fn are_busy(&self) -> bool {
        self.under_way.len() >= self.limit
    }

    /// The large values of the batch that was sent off first, waited for; `None` where none is under way.
    pub fn next(&mut self) -> Option<Answer> {
        let answered = self.under_way.pop_front()?;
        Some(answered.recv().unwrap_or(Err("a worker is gone".into())))
    }

    /// Their sorters.
    pub fn finish(self) -> Vec<Sorter<'s>> {
        drop(self.jobs);
        let join = |thread: ScopedJoinHandle<'scope, Sorter<'s>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        self.threads.into_iter().map(join).collect()
    }
}

struct Worker<'s> {
    sorter: Sorter<'s>,
    encoder: Option<Encoder>,
    hasher: Hasher,
    large: usize,
}

impl Worker<'_> {
    fn encode(&mut self, job: &Job) -> Answer {
        let Worker { sorter, encoder, hasher, large } = self;
        let encoder = encoder.get_or_insert_with(|| Encoder::new(job.header.family, job.clock, *large, *hasher));
        let mut apart = Vec::new();
        for (place, record) in job.batch.records() {
            let encoded = encoder.encode(record).map_err(|error| error.to_string())?;
            let waiting = ToStore::encode(place, hasher.hash(&encoded.place), &encoded);
            sorter.push(&encoded.place, &waiting).map_err(|error| told(&error))?;
            apart.extend(encoded.large);
        }
        Ok(apart)
    }
}

/// What is wrong with scratch files, for people.
pub(super) fn told(error: &SpillError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}
