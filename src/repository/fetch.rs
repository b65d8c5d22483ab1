//! Many chunks out, in the order in which packs hold them: what a restore does. Each needed frame is read once.
//!
//! The wanted places go into a temporary table, which SQLite sorts and spills to disk: memory does not grow with the
//! files. Beside it there are two runs of sealed frames of [`RUN`] bytes (one being read, one being decoded) and a
//! decoded frame of FRAME_MAX a core: below 100 MiB on eight cores.

use std::sync::Mutex;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;

use super::catalog::{ChunkPlace, Wanted};
use super::chunk_reader::ChunkReader;
use super::error::RepositoryError;
use super::stream::walk;
use super::{Repository, lock};
use crate::format::ChunkId;
use crate::format::recipe::Part;

/// Sealed frames that are read at once.
const RUN: u64 = 16 << 20;
/// A gap between two wanted frames that is read rather than skipped.
const GAP: u64 = 256 << 10;
/// Rows that enter the temporary table in one transaction.
const BATCH: usize = 4096;

/// One file to be rebuilt.
pub struct Want<'a> {
    /// The caller's number for it.
    pub file: u32,
    /// Its recipe.
    pub recipe: &'a [Part],
}

/// Takes bytes of a file: the caller's number, the offset, the bytes. Called from several threads, in any order.
pub type Deliver<'a> = dyn Fn(u32, u64, &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Sync + 'a;

/// A run of frames of one pack, joined into one read.
struct Run {
    offset: u64,
    length: u64,
    frames: Vec<Vec<Wanted>>,
}

impl Repository {
    /// Rebuilds files: `deliver` gets every byte of every file once. Damage in one copy of a chunk is made good from
    /// another where there is one; what was made good is returned, for people.
    pub fn fetch(
        &self,
        wants: &[Want<'_>],
        stop: &(dyn Fn() -> bool + Sync),
        deliver: &Deliver<'_>,
    ) -> Result<Vec<String>, RepositoryError> {
        let reader = ChunkReader::new(self);
        self.plan(&reader, wants)?;
        let made_good = Mutex::new(Vec::new());
        let (send, receive) = bounded(1);
        thread::scope(|scope| {
            let ahead = scope.spawn(move || self.read_ahead(&send));
            let done = self.decode_runs(receive, stop, &reader, deliver, &made_good);
            let read = ahead.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done.and(read)
        })?;
        self.deliver_deltas(&reader, stop, deliver)?;
        Ok(made_good.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Fills the table of wanted places.
    fn plan(&self, reader: &ChunkReader<'_>, wants: &[Want<'_>]) -> Result<(), RepositoryError> {
        lock(&self.catalog).clear_wanted()?;
        for want in wants {
            let (mut at, mut batch) = (0u64, Vec::with_capacity(BATCH));
            for part in want.recipe {
                let content = part.content().map_err(|malformed| RepositoryError::damaged("a recipe", malformed))?;
                walk(reader, content, &mut |is_list, entry| {
                    if is_list {
                        return Ok(());
                    }
                    batch.push((entry.id, entry.length, at));
                    at += u64::from(entry.length);
                    match batch.len() < BATCH {
                        true => Ok(()),
                        false => self.add_wanted(want.file, &mut batch),
                    }
                })?;
            }
            self.add_wanted(want.file, &mut batch)?;
        }
        Ok(())
    }

    fn add_wanted(&self, file: u32, batch: &mut Vec<(ChunkId, u32, u64)>) -> Result<(), RepositoryError> {
        let missing = lock(&self.catalog).add_wanted(file, batch)?;
        batch.clear();
        match missing {
            None => Ok(()),
            Some(chunk) => Err(RepositoryError::UnknownChunk { chunk }),
        }
    }

    /// Reads run after run, one ahead of the decoder. A run that cannot be read goes on without its bytes.
    fn read_ahead(&self, to: &Sender<(Run, Result<Vec<u8>, RepositoryError>)>) -> Result<(), RepositoryError> {
        let packs = lock(&self.catalog).wanted_packs()?;
        for (number, pack) in packs {
            let wanted = lock(&self.catalog).wanted_of(number)?;
            for run in runs(wanted) {
                let bytes = self.read_pack(pack, run.offset, run.length);
                if to.send((run, bytes)).is_err() {
                    // The decoder failed and says why.
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn decode_runs(
        &self,
        from: Receiver<(Run, Result<Vec<u8>, RepositoryError>)>,
        stop: &(dyn Fn() -> bool + Sync),
        reader: &ChunkReader<'_>,
        deliver: &Deliver<'_>,
        made_good: &Mutex<Vec<String>>,
    ) -> Result<(), RepositoryError> {
        for (run, bytes) in from {
            if stop() {
                return Err(RepositoryError::Interrupted);
            }
            let bytes = match bytes {
                Ok(bytes) => Ok(bytes),
                Err(error) if error.is_damage() => Err(error.to_string()),
                Err(error) => return Err(error),
            };
            run.frames.par_iter().try_for_each(|frame| {
                let Some(first) = frame.first() else { return Ok(()) };
                let sealed = bytes.as_ref().map_err(Clone::clone).and_then(|bytes| {
                    let start = (first.place.frame_offset - run.offset) as usize;
                    bytes.get(start..start + first.place.sealed as usize).ok_or_else(|| "it is too short".into())
                });
                let done = match sealed {
                    Ok(sealed) => self.deliver_frame(frame, sealed, deliver),
                    Err(why) => Err(first.place.fault(crate::format::Malformed::new("pack", why))),
                };
                match done {
                    Err(error) if error.is_damage() => {
                        deliver_one_by_one(reader, frame, deliver)?;
                        lock(made_good).push(with_sources(&error));
                        Ok(())
                    }
                    other => other,
                }
            })?;
        }
        Ok(())
    }

    fn deliver_frame(&self, frame: &[Wanted], sealed: &[u8], deliver: &Deliver<'_>) -> Result<(), RepositoryError> {
        let Some(first) = frame.first() else { return Ok(()) };
        let plaintext = self.open_frame(&first.place, sealed)?;
        let keyring = self.keyring();
        // Every chunk is compared before any byte of the frame is handed on.
        let mut checked = Vec::with_capacity(frame.len());
        for wanted in frame {
            let (start, length) = (wanted.place.position as usize, wanted.place.length as usize);
            let bytes = plaintext
                .get(start..start + length)
                .ok_or_else(|| wanted.place.fault(crate::format::Malformed::new("frame", "it ends inside a chunk")))?;
            keyring.check_chunk(wanted.place.id, bytes).map_err(|fault| wanted.place.fault(fault))?;
            checked.push((wanted, bytes));
        }
        checked
            .into_iter()
            .try_for_each(|(wanted, bytes)| deliver(wanted.file, wanted.at, bytes).map_err(RepositoryError::Sink))
    }

    /// Deltas come last, one by one: their bases are read as they are needed.
    fn deliver_deltas(
        &self,
        reader: &ChunkReader<'_>,
        stop: &(dyn Fn() -> bool + Sync),
        deliver: &Deliver<'_>,
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
                let bytes = reader.chunk(&delta.id, delta.length)?;
                deliver(delta.file, delta.at, &bytes).map_err(RepositoryError::Sink)?;
            }
        }
    }
}

fn deliver_one_by_one(
    reader: &ChunkReader<'_>,
    frame: &[Wanted],
    deliver: &Deliver<'_>,
) -> Result<(), RepositoryError> {
    for wanted in frame {
        let bytes = reader.chunk(&wanted.place.id, wanted.place.length)?;
        deliver(wanted.file, wanted.at, &bytes).map_err(RepositoryError::Sink)?;
    }
    Ok(())
}

/// An error and its causes, on one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Joins the wanted frames of a pack, which come in the order of their offsets, into few reads.
fn runs(wanted: Vec<Wanted>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for want in wanted {
        let ChunkPlace { frame_offset: start, sealed, frame, .. } = want.place;
        let end = start + u64::from(sealed);
        match runs.last_mut() {
            Some(run) if start <= run.offset + run.length + GAP && end - run.offset <= RUN => {
                run.length = run.length.max(end - run.offset);
                match run.frames.last_mut() {
                    Some(last) if last.first().is_some_and(|first| first.place.frame == frame) => last.push(want),
                    _ => run.frames.push(vec![want]),
                }
            }
            _ => runs.push(Run { offset: start, length: u64::from(sealed), frames: vec![vec![want]] }),
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
