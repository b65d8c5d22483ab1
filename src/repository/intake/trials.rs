//! Changed chunks on their way to the workers and back: tried as deltas, and answered in the order in which they were put.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::deltas::Delta;
use crate::format::ChunkId;
use crate::format::list::ListEntry;
use crate::format::summary::Holds;
use crate::repository::error::RepositoryError;

/// Bytes, and chunks, that are tried together: what they are tried against is read together.
const TOGETHER: usize = 512 << 10;
const CHUNKS_TOGETHER: usize = 16;
/// After this many attempts in vain, only one chunk in as many is tried, until one succeeds.
const PATIENCE: u32 = 16;

/// A chunk, and the one or two chunks that were at its place in the file's previous version.
pub(super) struct ChangedChunk {
    pub holds: Holds,
    pub id: ChunkId,
    pub length: u32,
    pub old: Vec<ListEntry>,
}

/// Neighbouring changed chunks, and where the answer goes.
pub(super) struct Changed {
    pub bytes: Vec<u8>,
    pub chunks: Vec<ChangedChunk>,
    pub answer: Sender<Answer>,
}

/// What came of them, or why that cannot be said.
pub(super) type Answer = Result<Tried, RepositoryError>;

/// The same chunks, each with its delta where that is worth it.
pub(super) struct Tried {
    pub bytes: Vec<u8>,
    pub chunks: Vec<(ChangedChunk, Option<Delta>)>,
}

/// What is tried, at the caller's end. Memory: as many groups of [`TOGETHER`] as may be under way, and one that is being
/// gathered.
pub(super) struct Trials {
    bytes: Vec<u8>,
    chunks: Vec<ChangedChunk>,
    under_way: VecDeque<Receiver<Answer>>,
    limit: usize,
    in_vain: u32,
    asked: u32,
}

impl Trials {
    /// None yet; `limit` groups may be under way.
    pub fn new(limit: usize) -> Trials {
        Trials { bytes: Vec::new(), chunks: Vec::new(), under_way: VecDeque::new(), limit, in_vain: 0, asked: 0 }
    }

    /// Whether a chunk is to be tried against these.
    pub fn wants(&mut self, old: &[ListEntry]) -> bool {
        if old.is_empty() {
            return false;
        }
        self.asked = self.asked.wrapping_add(1);
        !self.rests() || self.asked.is_multiple_of(PATIENCE)
    }

    fn rests(&self) -> bool {
        self.in_vain >= PATIENCE
    }

    /// Takes a chunk. Answers whether the group is to be sent off.
    pub fn add(&mut self, holds: Holds, id: ChunkId, bytes: &[u8], old: &[ListEntry]) -> bool {
        self.bytes.extend_from_slice(bytes);
        self.chunks.push(ChangedChunk { holds, id, length: bytes.len() as u32, old: old.to_vec() });
        self.bytes.len() >= TOGETHER || self.chunks.len() >= CHUNKS_TOGETHER || self.rests()
    }

    /// What was gathered, for a worker.
    pub fn group(&mut self) -> Option<Changed> {
        if self.chunks.is_empty() {
            return None;
        }
        // Room for one answer: whoever gives it does not wait.
        let (answer, answered) = bounded(1);
        self.under_way.push_back(answered);
        Some(Changed { bytes: std::mem::take(&mut self.bytes), chunks: std::mem::take(&mut self.chunks), answer })
    }

    /// Whether as many groups are under way as may be: none while one chunk in sixteen is tried, for what follows one that
    /// succeeds is to be tried again.
    pub fn are_many(&self) -> bool {
        self.under_way.len() >= if self.rests() { 1 } else { self.limit }
    }

    /// The answer that is due next, waited for; `None` where nothing is under way.
    pub fn next(&mut self) -> Option<Answer> {
        let answered = self.under_way.pop_front()?;
        // Closed without an answer: the workers are gone, and a later stage says why.
        let answer = answered.recv().unwrap_or(Err(RepositoryError::Interrupted));
        if let Ok(tried) = &answer {
            // List chunks say nothing of whether content is worth trying.
            for (_, delta) in tried.chunks.iter().filter(|(chunk, _)| chunk.holds != Holds::Lists) {
                self.in_vain = if delta.is_some() { 0 } else { self.in_vain.saturating_add(1) };
            }
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::intake::Kind;

    #[test]
    fn after_sixteen_attempts_in_vain_one_chunk_in_sixteen_is_tried_until_one_succeeds() {
        let (id, old) = (ChunkId([1; 16]), [ListEntry { id: ChunkId([2; 16]), length: 9, label: None }]);
        let mut trials = Trials::new(2);
        assert!(!trials.wants(&[]));
        let mut answer = |succeeds: bool| {
            let full: Vec<bool> = (0..CHUNKS_TOGETHER).map(|_| trials.add(Holds::Opaque, id, b"chunk", &old)).collect();
            let Changed { bytes, chunks, answer } = trials.group().unwrap();
            let delta =
                || succeeds.then(|| Delta { kind: Kind::Delta, bytes: Vec::new(), bases: Vec::new(), hash: [0; 32] });
            let tried = Tried { bytes, chunks: chunks.into_iter().map(|chunk| (chunk, delta())).collect() };
            answer.send(Ok(tried)).unwrap();
            assert!(trials.next().is_some_and(|answer| answer.is_ok()) && trials.group().is_none());
            (full.iter().position(|full| *full), (0..64).filter(|_| trials.wants(&old)).count())
        };
        let last = Some(CHUNKS_TOGETHER - 1);
        assert_eq!([answer(false), answer(true), answer(false)], [(last, 4), (Some(0), 64), (last, 4)]);
    }

    #[test]
    fn lists_tried_in_vain_are_no_reason_to_try_less_content() {
        let old = [ListEntry { id: ChunkId([2; 16]), length: 9, label: None }];
        let mut trials = Trials::new(2);
        for _ in 0..2 * PATIENCE {
            trials.add(Holds::Lists, ChunkId([1; 16]), b"list", &old);
            let Changed { bytes, chunks, answer } = trials.group().unwrap();
            let chunks = chunks.into_iter().map(|chunk| (chunk, None)).collect();
            answer.send(Ok(Tried { bytes, chunks })).unwrap();
            assert!(trials.next().is_some_and(|answer| answer.is_ok()));
        }
        assert!((0..64).all(|_| trials.wants(&old)));
    }

    #[test]
    fn a_group_nobody_answers_is_an_error() {
        let mut trials = Trials::new(1);
        trials.add(Holds::Opaque, ChunkId([1; 16]), b"chunk", &[]);
        drop(trials.group());
        assert!(trials.are_many());
        assert!(matches!(trials.next(), Some(Err(RepositoryError::Interrupted))));
        assert!(trials.next().is_none());
    }
}
