//! When a chunk is stored as a delta, and against what: the writer's policy of format-spec/06-frames.md.

use super::trials::{Changed, ChangedChunk, Tried};
use super::{Kind, aligned};
use crate::compress::{CannotCompress, DeltaCompressor};
use crate::format::UnixMillis;
use crate::format::frame::{BasePrefix, Method};
use crate::format::limits::{DELTA_CLOSURE_MAX, DELTA_DEPTH_MAX};
use crate::format::list::ListEntry;
use crate::format::summary::Holds;
use crate::repository::catalog::{Lineage, Root};
use crate::repository::chunk_reader::{ChunkReader, decode_delta};
use crate::repository::error::{Fault, RepositoryError};
use crate::repository::lock;
use crate::repository::pack_writer::DeltaHash;
use crate::repository::session::Session;

/// How far a delta may go back. What a sweep stores in another form makes no chunk unknown: it would be stored again itself.
#[derive(Clone, Copy)]
struct Reach {
    /// Deltas on deltas before the next one goes back to the whole chunk at their root.
    steps: usize,
    /// Chunks decoded before a delta, counted as a reader counts them.
    closure: usize,
}

/// Half of what a reader accepts.
const FAR: Reach = Reach { steps: 10, closure: DELTA_CLOSURE_MAX / 2 };
/// Of copies that their writer knows, which cost a reader next to nothing: a little less than it accepts.
const OF_COPIES: Reach = Reach { steps: DELTA_DEPTH_MAX - 2, closure: DELTA_CLOSURE_MAX - 8 };
/// A whole chunk older than this gets no more deltas: a lost pack reaches back no further.
const ROOT_AGE: u64 = 45 * 24 * 60 * 60 * 1000;
/// Deltas that may be read for a list chunk, in multiples of what it would take whole.
const LIST_READS: u64 = 4;

/// DELTA-6: makes deltas, in the workers. Memory: the bases of the chunks that are tried together (at most 16 times two),
/// and zstd's tables for one delta.
pub(super) struct Deltas<'s> {
    session: &'s Session<'s>,
    reader: &'s ChunkReader<'s>,
    level: i32,
}

/// A chunk as a delta.
pub(super) struct Delta {
    pub kind: Kind,
    pub bytes: Vec<u8>,
    pub bases: Vec<BasePrefix>,
    /// Of `bytes`, which were decoded to the chunk.
    pub hash: DeltaHash,
}

/// Bases that may be used, and what the chunk would cost with them and without.
struct Plan {
    bases: Vec<ListEntry>,
    /// Bytes of the deltas that have to be read before.
    before: u64,
    /// Bytes of the roots, stored and decoded.
    stored: u64,
    decoded: u64,
}

impl<'s> Deltas<'s> {
    /// A maker of deltas against what the session can read.
    pub fn new(session: &'s Session<'s>, reader: &'s ChunkReader<'s>, level: i32) -> Self {
        Deltas { session, reader, level }
    }

    /// Tries changed chunks, and answers.
    pub fn answer(&self, changed: Changed) {
        let Changed { bytes, chunks, answer } = changed;
        let tried = self.deltas(&bytes, &chunks);
        let tried = tried.map(|deltas| Tried { bytes, chunks: chunks.into_iter().zip(deltas).collect() });
        // Fails where the caller has failed, who then asks for nothing.
        let _ = answer.send(tried);
    }

    /// Each chunk as a delta against what was at its place, where that is worth it: as a step, else as a leap.
    fn deltas(&self, bytes: &[u8], chunks: &[ChangedChunk]) -> Result<Vec<Option<Delta>>, RepositoryError> {
        let plans = chunks.iter().map(|chunk| self.plan(&chunk.old, FAR)).collect::<Result<Vec<_>, _>>()?;
        let mut deltas = self.make(bytes, chunks, &plans)?;
        let tried = chunks.iter().zip(plans.iter().zip(&deltas));
        let leaps = tried.map(|(chunk, (plan, delta))| match (plan, delta) {
            (Some(step), None) if step.before > 0 => self.leap_from(&chunk.old),
            _ => Ok(None),
        });
        let leaps = leaps.collect::<Result<Vec<_>, _>>()?;
        if leaps.iter().any(Option::is_some) {
            for (delta, leap) in deltas.iter_mut().zip(self.make(bytes, chunks, &leaps)?) {
                *delta = delta.take().or(leap);
            }
        }
        Ok(deltas)
    }

    /// The chunks as planned, where that is worth it. Everything is read first: zstd's tables are kept from one delta to the
    /// next, and refer to it.
    fn make(
        &self,
        bytes: &[u8],
        chunks: &[ChangedChunk],
        plans: &[Option<Plan>],
    ) -> Result<Vec<Option<Delta>>, RepositoryError> {
        let read = |plan: &Option<Plan>| plan.as_ref().map_or(Ok(None), |plan| self.bases(plan));
        let bases = plans.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let no_memory = |error: CannotCompress| RepositoryError::Limit(error.to_string());
        let mut compressor = DeltaCompressor::new(self.level).map_err(no_memory)?;
        let mut rest = bytes;
        chunks
            .iter()
            .zip(plans.iter().zip(&bases))
            .map(|(chunk, prepared)| {
                let (bytes, after) = rest.split_at_checked(chunk.length as usize).unwrap_or((rest, &[]));
                rest = after;
                let (Some(plan), Some(bases)) = prepared else { return Ok(None) };
                let (kind, method, mut delta) = match aligned::delta(bases, bytes) {
                    Some(delta) => (Kind::Copies, Method::Copies, delta),
                    None => (Kind::Delta, Method::Delta, compressor.delta(bases, bytes).map_err(no_memory)?),
                };
                if !plan.is_worth(chunk.holds, kind, delta.len() as u64, bytes.len() as u64) {
                    return Ok(None);
                }
                delta.shrink_to_fit();
                let decoded = decode_delta(method, &[bases], &delta, bytes.len());
                if decoded.is_ok_and(|decoded| decoded == bytes) {
                    let (hash, bases) = (blake3::hash(&delta).into(), plan.prefixes());
                    return Ok(Some(Delta { kind, bytes: delta, bases, hash }));
                }
                let object = format!("a delta of chunk {} (before it was stored)", chunk.id);
                Err(RepositoryError::damaged(object, Fault::WrongChunk(chunk.id)))
            })
            .collect()
    }

    /// A chunk of so many bytes as a delta of copies of these, where that is worth it and what is to be done.
    pub fn of_copies(
        &self,
        holds: Holds,
        length: u32,
        old: &[ListEntry],
        copies: Vec<u8>,
    ) -> Result<Option<Delta>, RepositoryError> {
        let is_same = |plan: &Plan| plan.bases.iter().map(|base| base.id).eq(old.iter().map(|base| base.id));
        let Some(plan) = self.plan(old, OF_COPIES)?.filter(is_same) else { return Ok(None) };
        let is_worth = plan.is_worth(holds, Kind::Copies, copies.len() as u64, u64::from(length));
        Ok(is_worth.then(|| {
            let (hash, bases) = (blake3::hash(&copies).into(), plan.prefixes());
            Delta { kind: Kind::Copies, bytes: copies, bases, hash }
        }))
    }

    /// The plaintext of what a delta is made against, in order.
    fn bases(&self, plan: &Plan) -> Result<Option<Vec<u8>>, RepositoryError> {
        let mut plaintext = Vec::new();
        for base in &plan.bases {
            match self.reader.chunk(&base.id, base.length) {
                Ok(bytes) if plaintext.is_empty() => plaintext = bytes,
                Ok(bytes) => plaintext.extend_from_slice(&bytes),
                // Damage that was there before is for check to tell; this chunk does without.
                Err(error) if error.is_damage() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(plaintext))
    }

    /// A step on what was there before, or, where that is the last of its row, a leap back.
    fn plan(&self, old: &[ListEntry], reach: Reach) -> Result<Option<Plan>, RepositoryError> {
        let Some(lineages) = self.lineages(old)? else { return Ok(None) };
        let is_last = lineages.iter().any(|lineage| lineage.depth >= reach.steps);
        match if is_last { None } else { self.allowed(old.to_vec(), &lineages, reach) } {
            None if lineages.iter().any(|lineage| lineage.depth > 0) => self.leap(&lineages),
            step => Ok(step),
        }
    }

    fn leap_from(&self, old: &[ListEntry]) -> Result<Option<Plan>, RepositoryError> {
        self.lineages(old)?.map_or(Ok(None), |lineages| self.leap(&lineages))
    }

    /// A leap back to the whole chunks that all began with: to the two that were used most, where there are more.
    fn leap(&self, lineages: &[Lineage]) -> Result<Option<Plan>, RepositoryError> {
        let mut back: Vec<(&Root, usize)> = Vec::new();
        for root in lineages.iter().flat_map(|lineage| &lineage.roots) {
            match back.iter_mut().find(|(have, _)| have.id == root.id) {
                Some((_, uses)) => *uses += 1,
                None => back.push((root, 1)),
            }
        }
        while back.len() > 2 {
            let least = back.iter().rev().map(|(_, uses)| *uses).enumerate().min_by_key(|(_, uses)| *uses);
            back.remove(back.len() - 1 - least.map_or(0, |(at, _)| at));
        }
        let entry = |root: &Root| ListEntry { id: root.id, length: root.length, label: None };
        let back: Vec<ListEntry> = back.into_iter().map(|(root, _)| entry(root)).collect();
        let Some(lineages) = self.lineages(&back)? else { return Ok(None) };
        Ok(self.allowed(back, &lineages, FAR))
    }

    /// What the catalog knows of each base; `None` where one of them is not known or not named without doubt.
    fn lineages(&self, bases: &[ListEntry]) -> Result<Option<Vec<Lineage>>, RepositoryError> {
        let catalog = lock(&self.session.repository.catalog);
        catalog.asked_at_once(|catalog| bases.iter().map(|base| catalog.lineage(&base.id)).collect())
    }

    fn allowed(&self, bases: Vec<ListEntry>, lineages: &[Lineage], reach: Reach) -> Option<Plan> {
        let closure = lineages.iter().map(|lineage| 1 + lineage.closure).sum::<usize>();
        let roots = || lineages.iter().flat_map(|lineage| &lineage.roots);
        let UnixMillis(now) = self.session.begin();
        let is_old = |stored: UnixMillis| now.saturating_sub(stored.0) > ROOT_AGE;
        let too_old = roots().any(|root| self.session.stored_at(&root.pack).is_some_and(is_old));
        if bases.len() > 2 || closure > reach.closure || too_old {
            return None;
        }
        Some(Plan {
            bases,
            before: lineages.iter().map(|lineage| lineage.deltas).sum(),
            stored: roots().map(|root| root.sealed).sum(),
            decoded: roots().map(|root| root.plaintext).sum(),
        })
    }
}

impl Plan {
    /// How the bases are named.
    fn prefixes(&self) -> Vec<BasePrefix> {
        self.bases.iter().map(|entry| entry.id.0.first_chunk().copied().unwrap_or_default()).collect()
    }

    /// Whether a delta of `delta` bytes takes at most half of what the chunk would take whole, and all deltas to be read
    /// for it no more than that: then a restore reads at most twice as much. Whole, it would take about the same share
    /// of its length as its roots do; so does a delta that is compressed with its frame. Of list chunks, which are a
    /// thousandth of what they name, [`LIST_READS`] times the whole may be read.
    fn is_worth(&self, holds: Holds, kind: Kind, delta: u64, length: u64) -> bool {
        let share = |length: u64| length * self.stored / self.decoded.max(1);
        let whole = share(length);
        let delta = if kind == Kind::Copies { share(delta) } else { delta };
        let most = if holds == Holds::Lists { LIST_READS * whole } else { whole };
        delta * 2 <= whole && self.before + delta <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_worth_it_up_to_half_of_the_whole_and_a_whole_of_deltas() {
        let plan = |before| Plan { bases: Vec::new(), before, stored: 40_000, decoded: 80_000 };
        let zstd = |before, delta| plan(before).is_worth(Holds::Opaque, Kind::Delta, delta, 80_000);
        assert!(zstd(0, 20_000) && !zstd(0, 20_001));
        assert!(zstd(30_000, 10_000) && !zstd(30_001, 10_000));
        // It becomes half as long with its frame.
        let copies = |before, delta| plan(before).is_worth(Holds::Opaque, Kind::Copies, delta, 80_000);
        assert!(copies(0, 40_001) && !copies(0, 40_002));
        assert!(copies(30_000, 20_001) && !copies(30_001, 20_000));
        let list = |before, delta| plan(before).is_worth(Holds::Lists, Kind::Delta, delta, 80_000);
        assert!(!list(0, 20_001) && list(150_000, 10_000) && !list(150_001, 10_000));
    }
}
