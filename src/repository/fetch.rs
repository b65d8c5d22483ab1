//! Many chunks out, in the order in which packs hold them: what a restore does. Each needed frame is read and decoded
//! once, and all that is wanted from it is handed on while it is still in the processor's cache.
//!
//! The wanted places go into temporary tables, which SQLite spills to disk: memory does not grow with the files. One
//! thread asks them for run after run; workers take a run each, read it, and decode and deliver it frame by frame.
//! Deltas follow in the order of the files, a window at a time, whose frames are read in the order of the packs, two in all.
//! Memory: for each of at most 6 workers a run of 16 MiB and a frame sealed, open and decoded (1 MiB each as written
//! by redkeep, FRAME_MAX at most); [`ROWS`] places for each run; after that, for deltas, what [`ChunkReader`] keeps.
//! Below 130 MiB on many cores, 90 MiB on up to four, and with deltas half as much again: the allocator keeps for each
//! thread some of what it has given back.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;

use super::canonical::rebuild;
use super::catalog::{Wanted, WantedDelta};
use super::chunk_reader::{ChunkReader, WINDOW_CHUNKS};
use super::error::RepositoryError;
use super::runs::{Run, join, runs};
use super::stream::walk;
use super::{Repository, lock};
use crate::format::recipe::{CANONICAL_RDB, OPAQUE, Part, Stream};
use crate::format::{ChunkId, Malformed, ObjectHash};

/// Runs that are worked on at once: at least as many as hide the latency of a remote store.
const WORKERS: std::ops::RangeInclusive<usize> = 4..=6;
/// Wanted places of a pack that are looked at together: a pack wanted more often (one chunk over and over) is read
/// again for the rest.
const ROWS: usize = 16 << 10;
/// Rows that enter the temporary tables in one transaction.
const BATCH: usize = 4096;

/// One file to be rebuilt.
#[derive(Clone, Copy)]
pub struct Want<'a> {
    /// The caller's number for it.
    pub file: u32,
    /// Its path, for messages.
    pub path: &'a str,
    /// Its recipe.
    pub recipe: &'a [Part],
}

/// Takes bytes of a file: the caller's number, the offset, the bytes. Called from several threads, in any order.
pub type Deliver<'a> = dyn Fn(u32, u64, &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Sync + 'a;

/// A pack and a run of frames in it, each with what is wanted from it.
type PackRun = (ObjectHash, Run<Vec<Wanted>>);

/// What the threads of one fetch share.
struct Work<'a> {
    reader: &'a ChunkReader<'a>,
    wants: &'a [Want<'a>],
    stop: &'a (dyn Fn() -> bool + Sync),
    deliver: &'a Deliver<'a>,
    failure: Mutex<Option<RepositoryError>>,
    has_failed: AtomicBool,
}

impl Repository {
    /// Rebuilds files: `deliver` gets every byte of every file once. Damage in one copy of a chunk is made good from
    /// another where there is one; what was made good is returned, for people.
    pub fn fetch(
        &self,
        wants: &[Want<'_>],
        stop: &(dyn Fn() -> bool + Sync),
        deliver: &mut Deliver<'_>,
    ) -> Result<Vec<String>, RepositoryError> {
        let reader = ChunkReader::new(self);
        self.plan(&reader, wants, stop)?;
        let (failure, has_failed) = (Mutex::default(), AtomicBool::default());
        let work = Work { reader: &reader, wants, stop, deliver, failure, has_failed };
        self.fetch_whole(&work)?;
        work.deliver_apart()?;
        Ok(reader.made_good())
    }

    /// Everything that is stored whole. The first failure ends the work of all.
    fn fetch_whole(&self, work: &Work<'_>) -> Result<(), RepositoryError> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = cores.clamp(*WORKERS.start(), *WORKERS.end());
        let (planned, to_read) = bounded(1);
        let found = thread::scope(|scope| {
            for _ in 0..workers {
                let to_read = to_read.clone();
                scope.spawn(move || work.take_runs(&to_read));
            }
            drop(to_read);
            self.find_runs(planned)
        });
        match lock(&work.failure).take() {
            Some(error) => Err(error),
            None => found,
        }
    }

    /// Fills the table of wanted places.
    fn plan(
        &self,
        reader: &ChunkReader<'_>,
        wants: &[Want<'_>],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), RepositoryError> {
        lock(&self.catalog).clear_wanted()?;
        wants.iter().try_for_each(|want| {
            let planned = self.plan_file(reader, want, stop);
            planned.map_err(|error| in_file(wants, want.file, error))
        })
    }

    fn plan_file(
        &self,
        reader: &ChunkReader<'_>,
        want: &Want<'_>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), RepositoryError> {
        let (mut at, mut batch) = (0u64, Vec::with_capacity(BATCH));
        for part in want.recipe {
            if part.method == CANONICAL_RDB {
                at = at.saturating_add(part.length);
                continue;
            }
            walk(reader, content_of(part)?, &mut |is_list, entry| {
                if is_list {
                    return Ok(());
                }
                batch.push((entry.id, entry.length, at));
                at += u64::from(entry.length);
                match batch.len() < BATCH {
                    true => Ok(()),
                    false if stop() => Err(RepositoryError::Interrupted),
                    false => self.add_wanted(want.file, &mut batch),
                }
            })?;
        }
        self.add_wanted(want.file, &mut batch)
    }

    fn add_wanted(&self, file: u32, batch: &mut Vec<(ChunkId, u32, u64)>) -> Result<(), RepositoryError> {
        let missing = lock(&self.catalog).add_wanted(file, batch)?;
        batch.clear();
        match missing {
            None => Ok(()),
            Some(chunk) => Err(RepositoryError::UnknownChunk { chunk }),
        }
    }

    /// Hands on the runs of all packs. The workers end when `to` is dropped with it.
    fn find_runs(&self, to: Sender<PackRun>) -> Result<(), RepositoryError> {
        let packs = lock(&self.catalog).wanted_packs()?;
        let mut left = lock(&self.catalog).wanted_count()?;
        for (number, pack) in packs {
            let mut after = (-1, -1);
            loop {
                let (wanted, last) = lock(&self.catalog).wanted_of(number, after, ROWS)?;
                if wanted.is_empty() {
                    break;
                }
                after = last;
                left = left.saturating_sub(wanted.len() as u64);
                let apart = runs(by_frame(wanted));
                let found = if self.is_far() { join(apart) } else { apart };
                for run in found {
                    if to.send((pack, run)).is_err() {
                        // Every worker has failed, and says why.
                        return Ok(());
                    }
                }
            }
        }
        match left {
            0 => Ok(()),
            // Another process may bring the shared catalog up to date, and so drop rows this plan was made from.
            _ => Err(RepositoryError::CatalogChanged),
        }
    }

    /// Opens and decodes a frame, and compares every wanted chunk in it.
    fn decode_frame(&self, frame: &[Wanted], offset: u64, run: &[u8]) -> Result<Vec<u8>, RepositoryError> {
        let short = || damaged_frame(frame, "it is too short");
        let place = &frame.first().ok_or_else(short)?.place;
        let start = (place.frame_offset - offset) as usize;
        let plaintext = self.open_frame(place, run.get(start..start + place.sealed as usize).ok_or_else(short)?)?;
        let keyring = self.keyring();
        for wanted in frame {
            let bytes = wanted.slice(&plaintext).ok_or_else(short)?;
            keyring.check_chunk(wanted.place.id, bytes).map_err(|fault| wanted.place.fault(fault))?;
        }
        Ok(plaintext)
    }
}

impl Work<'_> {
    fn take_runs(&self, from: &Receiver<PackRun>) {
        for (pack, run) in from {
            let done = self.deliver_run(pack, run);
            if let Err(error) = done {
                self.has_failed.store(true, Ordering::Relaxed);
                lock(&self.failure).get_or_insert(error);
            }
            if self.has_failed.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn deliver_run(&self, pack: ObjectHash, run: Run<Vec<Wanted>>) -> Result<(), RepositoryError> {
        let repository = self.reader.repository();
        let bytes = match repository.read_pack(pack, run.offset, run.length) {
            // Every frame of the run is looked for elsewhere.
            Err(error) if error.is_damage() => Err(error),
            other => Ok(other?),
        };
        for frame in run.frames {
            if (self.stop)() {
                return Err(RepositoryError::Interrupted);
            }
            if self.has_failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let decoded = match &bytes {
                Ok(bytes) => repository.decode_frame(&frame, run.offset, bytes),
                Err(_) => Err(damaged_frame(&frame, "its run cannot be read")),
            };
            match decoded {
                Ok(plaintext) => deliver_frame(&frame, &plaintext, self.deliver)?,
                Err(error) if error.is_damage() => {
                    self.deliver_from_elsewhere(&frame)?;
                    // Also where the second reading of the same place went well.
                    let error = bytes.as_ref().err().unwrap_or(&error);
                    frame.iter().take(1).for_each(|wanted| self.reader.note_made_good(&wanted.place, error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A frame that is damaged is rebuilt chunk by chunk from wherever else they are.
    fn deliver_from_elsewhere(&self, frame: &[Wanted]) -> Result<(), RepositoryError> {
        frame.iter().try_for_each(|wanted| {
            let bytes = self.reader.chunk(&wanted.place.id, wanted.place.length);
            let bytes = bytes.map_err(|error| in_file(self.wants, wanted.file, error))?;
            (self.deliver)(wanted.file, wanted.at, &bytes).map_err(RepositoryError::Sink)
        })
    }

    /// In a pool of its own: its threads take over the memory that the allocator keeps for those which have just ended. Those
    /// of the common pool are there already and would keep as much again. Without a new pool the common one does.
    fn deliver_apart(&self) -> Result<(), RepositoryError> {
        let deliver = || self.deliver_deltas().and_then(|()| self.deliver_dumps());
        match rayon::ThreadPoolBuilder::new().build() {
            Ok(pool) => pool.install(deliver),
            Err(_) => deliver(),
        }
    }

    /// Dumps in canonical form are rebuilt one after the other, each on all cores.
    fn deliver_dumps(&self) -> Result<(), RepositoryError> {
        for want in self.wants {
            let mut at = 0u64;
            for part in want.recipe {
                let end = at.saturating_add(part.length);
                if part.method == CANONICAL_RDB {
                    let rebuilt = rebuild(self.reader, part, &mut |bytes| {
                        if (self.stop)() {
                            return Err(RepositoryError::Interrupted);
                        }
                        (self.deliver)(want.file, at, bytes).map_err(RepositoryError::Sink)?;
                        at += bytes.len() as u64;
                        Ok(())
                    });
                    rebuilt.map_err(|error| in_file(self.wants, want.file, error))?;
                }
                at = end;
            }
        }
        Ok(())
    }

    /// Deltas come last, in the order of the files, in which their bases mostly lie too: a window's frames are read in
    /// few reads while the chunks of the one before are decoded, on all cores.
    fn deliver_deltas(&self) -> Result<(), RepositoryError> {
        let mut coming = VecDeque::new();
        let mut window = self.fetch_deltas(&mut coming, 0)?;
        while let Some((last, _)) = window.last() {
            if (self.stop)() {
                return Err(RepositoryError::Interrupted);
            }
            let deliver = || window.par_iter().try_for_each(|(_, delta)| self.deliver_delta(delta));
            let (next, delivered) = rayon::join(|| self.fetch_deltas(&mut coming, *last), deliver);
            delivered?;
            window = next?;
        }
        Ok(())
    }

    /// The deltas behind a row whose frames fit in the reader's cache, which they are in then. None at the end. `coming`: those
    /// that were looked up.
    fn fetch_deltas(
        &self,
        coming: &mut VecDeque<(i64, WantedDelta)>,
        after: i64,
    ) -> Result<Vec<(i64, WantedDelta)>, RepositoryError> {
        if coming.is_empty() {
            coming.extend(lock(&self.reader.repository().catalog).wanted_deltas(after, WINDOW_CHUNKS)?);
        }
        let taken = self.reader.warm(coming.iter().map(|(_, delta)| delta.id))?;
        Ok(coming.drain(..taken.min(coming.len())).collect())
    }

    fn deliver_delta(&self, delta: &WantedDelta) -> Result<(), RepositoryError> {
        let bytes = self.reader.chunk(&delta.id, delta.length);
        let bytes = bytes.map_err(|error| in_file(self.wants, delta.file, error))?;
        (self.deliver)(delta.file, delta.at, &bytes).map_err(RepositoryError::Sink)
    }
}

/// The stream whose content is a part's bytes. A method this version does not know is no damage.
pub(super) fn content_of(part: &Part) -> Result<&Stream, RepositoryError> {
    match part.method {
        OPAQUE if part.parameters.is_none() => {
            part.content().map_err(|malformed| RepositoryError::damaged("a recipe", malformed))
        }
        method => Err(RepositoryError::NeedsNewer { method }),
    }
}

/// Damage, with the path of the file it keeps from being rebuilt.
fn in_file(wants: &[Want<'_>], file: u32, error: RepositoryError) -> RepositoryError {
    let path = wants.iter().find(|want| want.file == file).map(|want| want.path);
    match path {
        Some(path) if error.is_damage() || matches!(error, RepositoryError::NeedsNewer { .. }) => {
            RepositoryError::InFile { path: path.into(), source: Box::new(error) }
        }
        _ => error,
    }
}

fn damaged_frame(frame: &[Wanted], why: &str) -> RepositoryError {
    let malformed = Malformed::new("pack", why);
    match frame.first() {
        Some(wanted) => wanted.place.fault(malformed),
        None => RepositoryError::damaged("a frame", malformed),
    }
}

/// Chunks that are neighbours in the frame and in the file are handed on as one.
fn deliver_frame(frame: &[Wanted], plaintext: &[u8], deliver: &Deliver<'_>) -> Result<(), RepositoryError> {
    let follows = |one: &Wanted, next: &Wanted| {
        one.file == next.file
            && one.at + u64::from(one.place.length) == next.at
            && one.place.position + one.place.length == next.place.position
    };
    for neighbours in frame.chunk_by(follows) {
        let (Some(first), Some(last)) = (neighbours.first(), neighbours.last()) else { continue };
        let end = last.place.position + last.place.length;
        let bytes = plaintext.get(first.place.position as usize..end as usize);
        let bytes = bytes.ok_or_else(|| damaged_frame(neighbours, "it ends inside a chunk"))?;
        deliver(first.file, first.at, bytes).map_err(RepositoryError::Sink)?;
    }
    Ok(())
}

impl Wanted {
    /// The chunk's bytes in its decoded frame.
    fn slice<'a>(&self, plaintext: &'a [u8]) -> Option<&'a [u8]> {
        let start = self.place.position as usize;
        plaintext.get(start..start + self.place.length as usize)
    }
}

/// What is wanted of each frame, from places in the order of their frames.
fn by_frame(wanted: Vec<Wanted>) -> impl Iterator<Item = (u64, u32, Vec<Wanted>)> {
    let mut wanted = wanted.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = wanted.next()?;
        let (frame, start, sealed) = (first.place.frame, first.place.frame_offset, first.place.sealed);
        let mut of_frame = vec![first];
        while let Some(next) = wanted.next_if(|next| next.place.frame == frame) {
            of_frame.push(next);
        }
        Some((start, sealed, of_frame))
    })
}
