//! Many chunks out, in the order in which packs hold them: what a restore does. Each needed frame is read once.
//!
//! The wanted places go into a temporary table, which SQLite sorts and spills to disk: memory does not grow with the
//! files. Three stages follow, joined by channels that hold one run each: one thread reads runs of sealed frames, all
//! cores decode them, the caller's thread hands them on. Memory: runs of at most [`RUN`] sealed and [`PLAIN`] decoded
//! bytes, three of the first and three of the second, and [`ROWS`] places: below 170 MiB.

use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;

use super::catalog::{ChunkPlace, Wanted};
use super::chunk_reader::ChunkReader;
use super::error::RepositoryError;
use super::stream::walk;
use super::{Repository, lock};
use crate::format::recipe::{OPAQUE, Part, Stream};
use crate::format::{ChunkId, Malformed};

/// Sealed frames that are read at once.
const RUN: u64 = 16 << 20;
/// Decoded frames of one run.
const PLAIN: u64 = 32 << 20;
/// A gap between two wanted frames that is read rather than skipped.
const GAP: u64 = 256 << 10;
/// Wanted places of a pack that are looked at together: a pack wanted more often (one chunk over and over) is read
/// again for the rest.
const ROWS: usize = 64 << 10;
/// Rows that enter the temporary table in one transaction.
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

/// A run of frames of one pack, joined into one read.
struct Run {
    offset: u64,
    length: u64,
    plain: u64,
    frames: Vec<Vec<Wanted>>,
}

/// A run and its sealed bytes, or why they cannot be had.
type ReadRun = (Run, Result<Vec<u8>, RepositoryError>);

/// A frame's wanted chunks and its plaintext, every chunk compared with its id; or why not.
type DecodedFrame = (Vec<Wanted>, Result<Vec<u8>, RepositoryError>);

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
        let (sealed, to_decode) = bounded(1);
        let (decoded, to_deliver) = bounded(1);
        thread::scope(|scope| {
            let ahead = scope.spawn(move || self.read_ahead(&sealed));
            scope.spawn(move || self.decode_runs(&to_decode, &decoded));
            let done = deliver_runs(&reader, to_deliver, wants, stop, deliver);
            let read = ahead.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done.and(read)
        })?;
        self.deliver_deltas(&reader, wants, stop, deliver)?;
        Ok(reader.made_good())
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

    /// Reads run after run, ahead of the decoder. A run that cannot be read goes on without its bytes.
    fn read_ahead(&self, to: &Sender<ReadRun>) -> Result<(), RepositoryError> {
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
                for run in runs(wanted) {
                    let bytes = self.read_pack(pack, run.offset, run.length);
                    if to.send((run, bytes)).is_err() {
                        // A later stage failed and says why.
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

    fn decode_runs(&self, from: &Receiver<ReadRun>, to: &Sender<Vec<DecodedFrame>>) {
        for (run, bytes) in from {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                // Every frame of the run says so, and is looked for elsewhere; trouble with the store ends it all.
                Err(error) => {
                    let mut error = Some(error);
                    let failed = |frame: Vec<Wanted>| {
                        let why = error.take().unwrap_or_else(|| damaged_frame(&frame, "its run cannot be read"));
                        (frame, Err(why))
                    };
                    if to.send(run.frames.into_iter().map(failed).collect()).is_err() {
                        return;
                    }
                    continue;
                }
            };
            let decode = |frame: Vec<Wanted>| {
                let plaintext = self.decode_frame(&frame, run.offset, &bytes);
                (frame, plaintext)
            };
            if to.send(run.frames.into_par_iter().map(decode).collect()).is_err() {
                return;
            }
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

    /// Deltas come last, one by one: their bases are read as they are needed.
    fn deliver_deltas(
        &self,
        reader: &ChunkReader<'_>,
        wants: &[Want<'_>],
        stop: &(dyn Fn() -> bool + Sync),
        deliver: &mut Deliver<'_>,
    ) -> Result<(), RepositoryError> {
        let mut after = (0, 0);
        loop {
            let deltas = lock(&self.catalog).wanted_deltas(after, BATCH)?;
            let Some(last) = deltas.last() else { return Ok(()) };
            after = (last.file, last.at + 1);
            for delta in &deltas {
                if stop() {
                    return Err(RepositoryError::Interrupted);
                }
                let bytes = reader.chunk(&delta.id, delta.length);
                let bytes = bytes.map_err(|error| in_file(wants, delta.file, error))?;
                deliver(delta.file, delta.at, &bytes).map_err(RepositoryError::Sink)?;
            }
        }
    }
}

/// The stream whose content is a part's bytes. A method this version does not know is no damage.
pub(super) fn content_of(part: &Part) -> Result<&Stream, RepositoryError> {
    match part.method {
        OPAQUE => part.content().map_err(|malformed| RepositoryError::damaged("a recipe", malformed)),
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

/// Hands decoded frames on. A frame that is damaged is rebuilt chunk by chunk from wherever else they are.
fn deliver_runs(
    reader: &ChunkReader<'_>,
    from: Receiver<Vec<DecodedFrame>>,
    wants: &[Want<'_>],
    stop: &(dyn Fn() -> bool + Sync),
    deliver: &mut Deliver<'_>,
) -> Result<(), RepositoryError> {
    for (frame, plaintext) in from.into_iter().flatten() {
        if stop() {
            return Err(RepositoryError::Interrupted);
        }
        match plaintext {
            Ok(plaintext) => deliver_frame(&frame, &plaintext, deliver)?,
            Err(error) if error.is_damage() => {
                for wanted in &frame {
                    let bytes = reader.chunk(&wanted.place.id, wanted.place.length);
                    let bytes = bytes.map_err(|error| in_file(wants, wanted.file, error))?;
                    deliver(wanted.file, wanted.at, &bytes).map_err(RepositoryError::Sink)?;
                }
                // Also where the second reading of the same place went well.
                frame.iter().take(1).for_each(|wanted| reader.note_made_good(&wanted.place, &error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Chunks that are neighbours in the frame and in the file are handed on as one.
fn deliver_frame(frame: &[Wanted], plaintext: &[u8], deliver: &mut Deliver<'_>) -> Result<(), RepositoryError> {
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

/// Joins the wanted frames of a pack, which come in the order of their offsets, into few reads.
fn runs(wanted: Vec<Wanted>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for want in wanted {
        let ChunkPlace { frame_offset: start, sealed, frame, frame_plaintext, .. } = want.place;
        let (end, plain) = (start + u64::from(sealed), u64::from(frame_plaintext));
        let Some(run) = runs.last_mut() else {
            runs.push(Run { offset: start, length: end - start, plain, frames: vec![vec![want]] });
            continue;
        };
        match run.frames.last_mut() {
            Some(last) if last.first().is_some_and(|first| first.place.frame == frame) => last.push(want),
            // A catalog whose offsets do not ascend is damaged: each of them is read apart, and found out.
            _ if (run.offset + run.length..=run.offset + run.length + GAP).contains(&start)
                && end - run.offset <= RUN
                && run.plain + plain <= PLAIN =>
            {
                run.length = end - run.offset;
                run.plain += plain;
                run.frames.push(vec![want]);
            }
            _ => runs.push(Run { offset: start, length: end - start, plain, frames: vec![vec![want]] }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ObjectHash;
    use crate::format::frame::Method;

    fn wanted(frame: u32, frame_offset: u64, sealed: u32) -> Wanted {
        let place = ChunkPlace {
            id: ChunkId([frame as u8; 32]),
            pack: ObjectHash([0; 32]),
            epoch: 0,
            salt: [0; 32],
            frame,
            frame_offset,
            sealed,
            frame_plaintext: 10,
            method: Method::Plain,
            position: 0,
            length: 10,
            delta: None,
        };
        Wanted { place, file: 0, at: 0 }
    }

    #[test]
    fn near_frames_are_read_at_once_far_ones_apart_and_each_frame_once() {
        let near = vec![wanted(0, 64, 1000), wanted(0, 64, 1000), wanted(1, 1064, 1000), wanted(5, 9000, 500)];
        let far = vec![wanted(7, 9500 + GAP + 1, 100), wanted(8, RUN + GAP + 20_000, 100)];
        let runs = runs(near.into_iter().chain(far).collect());
        let shape: Vec<_> = runs.iter().map(|r| (r.offset, r.length, r.frames.len())).collect();
        assert_eq!(shape, [(64, 9436, 3), (9501 + GAP, 100, 1), (RUN + GAP + 20_000, 100, 1)]);
        assert_eq!(runs[0].frames[0].len(), 2);
    }
}
