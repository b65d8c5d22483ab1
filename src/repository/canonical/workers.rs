//! The workers that make records canonical while the dump is read, each with a sorter of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::known::{Known, Stayed};
use super::waiting::ToStore;
use crate::rdb::Header;
use crate::rdb::canonical::{Batch, Encoded, Encoder, Hasher, NAME, Namer, Side, TemplateTags};
use crate::spill::{Scratch, Sorter, SpillError};

/// Memory of all sorters together.
const SORTED: usize = 288 << 20;
/// The same where the earlier version is known: nearly all of its records stay, and are not sorted.
const SORTED_NEW: usize = 96 << 20;

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
    pub large: Vec<Vec<u8>>,
    /// Records of the earlier version that stayed: they are not sorted.
    pub stayed: Vec<Stayed>,
}

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
        known: Option<&'s Known>,
    ) -> Self {
        let limit = 2 * count;
        let (jobs, to_do) = bounded(limit);
        let sorted = if known.is_some() { SORTED_NEW } else { SORTED };
        let work = move |to_do: Receiver<Job>| {
            let sorter = Sorter::new(scratch, sorted / count);
            let (encoded, waiting) = (Encoded::default(), Vec::new());
            let mut worker = Worker { sorter, known, makers: None, hasher, large, encoded, waiting };
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
    pub fn send(
        &mut self,
        batch: Batch,
        (header, clock): (Header, u64),
        templates: &Arc<TemplateTags>,
    ) -> Result<(), String> {
        let (answer, answered) = bounded(1);
        self.under_way.push_back(answered);
        let job = Job { batch, header, clock, templates: Arc::clone(templates), answer };
        self.jobs.send(job).map_err(|_| "the workers are gone".into())
    }

    /// Whether as many batches are under way as may be.
    pub fn are_busy(&self) -> bool {
        self.under_way.len() >= self.limit
    }

    /// What came of the batch that was sent off first, waited for; `None` where none is under way.
    pub fn next(&mut self) -> Option<Answer> {
        let answered = self.under_way.pop_front()?;
        Some(answered.recv().unwrap_or(Err("a worker is gone".into())))
    }

    /// Their sorters.
    pub fn finish(self) -> Vec<Sorter<'s>> {
        drop(self.jobs);
        self.threads.into_iter().map(joined).collect()
    }
}

struct Worker<'s> {
    sorter: Sorter<'s>,
    known: Option<&'s Known>,
    makers: Option<(Namer, Encoder)>,
    hasher: Hasher,
    large: usize,
    /// The record at hand.
    encoded: Encoded,
    waiting: Vec<u8>,
}

impl Worker<'_> {
    fn encode(&mut self, job: &Job) -> Answer {
        let Worker { sorter, known, makers, hasher, large, encoded, waiting } = self;
        let (namer, encoder) = makers.get_or_insert_with(|| {
            let encoder = Encoder::new(job.header.family, job.clock, *large, *hasher);
            (Namer::new(job.header.family, job.clock, *hasher), encoder)
        });
        encoder.know_templates(&job.templates);
        let (mut answered, mut expected) = (Answered { large: Vec::new(), stayed: Vec::new() }, 0);
        for (place, record) in job.batch.records() {
            let named = namer.name(record);
            if let (Some(known), Some((name, side))) = (*known, &named)
                && let Some(before) = known.find(name, expected)
            {
                expected = before + 1;
                let side = match side {
                    Side::None => 0,
                    Side::Idle(last) => *last,
                    Side::Frequency(often) => u32::from(*often),
                };
                answered.stayed.push(Stayed { before, place, side });
                continue;
            }
            encoder.encode_into(record, encoded).map_err(|error| error.to_string())?;
            // What is apart is made anew each time: its bytes go by the order of the file.
            let name = named.filter(|_| encoded.large.is_none()).map_or([0; NAME], |(name, _)| name);
            ToStore::encode(place, hasher.hash(&encoded.place), name, encoded, waiting);
            sorter.push(&encoded.place, waiting).map_err(|error| told(&error))?;
            answered.large.extend(encoded.large.take());
        }
        Ok(answered)
    }
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
