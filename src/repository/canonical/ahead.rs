//! The chunks of a stream in order, a window at a time. While one window is decoded, the frames of the next ones are fetched by
//! threads that do nothing else: no core waits for the store, and a link never waits for a core.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::column::Chunks;
use crate::format::list::ListEntry;
use crate::format::recipe::Stream;
use crate::repository::chunk_reader::{ChunkReader, FrameRun};
use crate::repository::error::RepositoryError;
use crate::repository::lock;
use crate::repository::places::FrameKey;

/// Windows that were fetched and wait.
const WAITING: usize = 1;
/// Reads at a time from a store that is far away.
const READS: usize = 4;

/// Windows of chunks.
///
/// Memory: the sealed frames of three windows (one waits, one is being taken, one is handed over), of at most 12 MiB decoded each.
pub(super) struct Ahead<'r> {
    reader: &'r ChunkReader<'r>,
    windows: Receiver<Result<Window, RepositoryError>>,
    coming: Coming,
}

/// Frames that are on their way: they are not asked for twice.
type Coming = Arc<Mutex<HashSet<FrameKey>>>;

/// Chunks, and the reads that bring their frames.
struct Window {
    entries: Vec<ListEntry>,
    reads: Vec<Receiver<Fetched>>,
}

/// A run, and its bytes where it could be read.
type Fetched = (FrameRun, Option<Vec<u8>>);

impl<'r> Ahead<'r> {
    /// Those of a stream, of about so many bytes. Its threads end with it.
    pub fn new<'scope>(
        scope: &'scope Scope<'scope, '_>,
        reader: &'r ChunkReader<'r>,
        stream: &Stream,
        bytes: usize,
    ) -> Result<Ahead<'r>, RepositoryError>
    where
        'r: 'scope,
    {
        let chunks = Chunks::new(reader, stream)?;
        let (to, windows) = bounded(WAITING);
        let (to_read, runs) = bounded::<(FrameRun, Sender<Fetched>)>(0);
        let reads = if reader.repository().is_far() { READS } else { 1 };
        for _ in 0..reads {
            let runs = runs.clone();
            scope.spawn(move || {
                for (run, to) in runs {
                    // What cannot be read now is tried again, and told, by whoever decodes its chunks.
                    let bytes = reader.fetch(&run).ok();
                    let _ = to.send((run, bytes));
                }
            });
        }
        let coming = Coming::default();
        let planner = Planner { reader, chunks, coming: Arc::clone(&coming), to_read, to };
        scope.spawn(move || planner.run(bytes));
        Ok(Ahead { reader, windows, coming })
    }

    /// The next chunks; none at the end. They are decoded on all cores.
    pub fn next(&mut self) -> Result<Vec<(ListEntry, Vec<u8>)>, RepositoryError> {
        let Ok(window) = self.windows.recv() else { return Ok(Vec::new()) };
        let Window { entries, reads } = window?;
        let fetched: Vec<Fetched> = reads.into_iter().filter_map(|read| read.recv().ok()).collect();
        self.reader.open_runs(fetched.iter().filter_map(|(run, bytes)| Some((run, bytes.as_deref()?))));
        let mut coming = lock(&self.coming);
        for place in fetched.iter().flat_map(|(run, _)| &run.frames) {
            coming.remove(&place.frame_key());
        }
        drop(coming);
        self.reader.decode(entries)
    }
}

/// Finds out which frames the chunks are in, and has them read.
struct Planner<'r> {
    reader: &'r ChunkReader<'r>,
    chunks: Chunks<'r>,
    coming: Coming,
    to_read: Sender<(FrameRun, Sender<Fetched>)>,
    to: Sender<Result<Window, RepositoryError>>,
}

impl Planner<'_> {
    fn run(mut self, bytes: usize) {
        loop {
            let went_on = match self.chunks.entries(bytes) {
                Ok(entries) if entries.is_empty() => return,
                Ok(entries) => self.plan(entries),
                Err(error) => Err(error),
            };
            match went_on {
                Ok(true) => {}
                // Nobody takes more.
                Ok(false) => return,
                Err(error) => return drop(self.to.send(Err(error))),
            }
        }
    }

    /// Whether these chunks are wanted.
    fn plan(&self, mut entries: Vec<ListEntry>) -> Result<bool, RepositoryError> {
        while !entries.is_empty() {
            let is_coming = |key: &FrameKey| lock(&self.coming).contains(key);
            let (taken, runs) = self.reader.plan(entries.iter().map(|entry| entry.id), &is_coming)?;
            let rest = entries.split_off(taken.min(entries.len()));
            let mut reads = Vec::with_capacity(runs.len());
            for run in runs {
                lock(&self.coming).extend(run.frames.iter().map(|place| place.frame_key()));
                let (to, read) = bounded(1);
                reads.push(read);
                if self.to_read.send((run, to)).is_err() {
                    return Ok(false);
                }
            }
            if self.to.send(Ok(Window { entries, reads })).is_err() {
                return Ok(false);
            }
            entries = rest;
        }
        Ok(true)
    }
}
