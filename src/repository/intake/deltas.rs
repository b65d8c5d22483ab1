//! When a chunk is stored as a delta, and against what: the writer's policy of format-spec/06-frames.md.

use crate::compress::delta;
use crate::format::UnixMillis;
use crate::format::frame::BasePrefix;
use crate::format::list::ListEntry;
use crate::repository::catalog::Lineage;
use crate::repository::chunk_reader::ChunkReader;
use crate::repository::error::RepositoryError;
use crate::repository::lock;
use crate::repository::session::Session;

/// Deltas on deltas before the next one goes back to the whole chunk at their root.
const STEPS: usize = 7;
/// Chunks decoded before a delta, counted as a reader counts them: half of what it accepts.
const CLOSURE: usize = 32;
/// A whole chunk older than this gets no more deltas: a lost pack reaches back no further.
const ROOT_AGE: u64 = 45 * 24 * 60 * 60 * 1000;
/// After this many attempts in vain, only one chunk in as many is tried, until one succeeds.
const PATIENCE: u32 = 16;

/// DELTA-6: makes deltas. Memory: the bases of one, and zstd's tables for it.
pub(super) struct Deltas<'s> {
    session: &'s Session<'s>,
    reader: &'s ChunkReader<'s>,
    level: i32,
    in_vain: u32,
    asked: u32,
}

/// A chunk as a delta.
pub(super) struct Delta {
    pub bytes: Vec<u8>,
    pub bases: Vec<BasePrefix>,
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
    /// None made yet.
    pub fn new(session: &'s Session<'s>, reader: &'s ChunkReader<'s>, level: i32) -> Self {
        Deltas { session, reader, level, in_vain: 0, asked: 0 }
    }

    /// The chunk as a delta against what was at its place, where that is worth it.
    pub fn against(&mut self, old: &[ListEntry], chunk: &[u8]) -> Result<Option<Delta>, RepositoryError> {
        if old.is_empty() || self.rests() {
            return Ok(None);
        }
        let Some(plan) = self.plan(old)? else { return Ok(None) };
        let mut plaintexts = Vec::with_capacity(plan.bases.len());
        for base in &plan.bases {
            match self.reader.chunk(&base.id, base.length) {
                Ok(bytes) => plaintexts.push(bytes),
                // Damage that was there before is for check to tell; this chunk does without.
                Err(error) if error.is_damage() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let prefix: Vec<&[u8]> = plaintexts.iter().map(Vec::as_slice).collect();
        let bytes = delta(&prefix, chunk, self.level).map_err(|error| RepositoryError::Limit(error.to_string()))?;
        let is_worth_it = plan.is_worth(bytes.len() as u64, chunk.len() as u64);
        self.in_vain = if is_worth_it { 0 } else { self.in_vain.saturating_add(1) };
        let prefix_of = |entry: &ListEntry| entry.id.0.first_chunk().copied().unwrap_or_default();
        Ok(is_worth_it.then(|| Delta { bytes, bases: plan.bases.iter().map(prefix_of).collect() }))
    }

    fn rests(&mut self) -> bool {
        self.asked = self.asked.wrapping_add(1);
        self.in_vain >= PATIENCE && !self.asked.is_multiple_of(PATIENCE)
    }

    /// A step on what was there before, or, where that is the last of its row, a leap back to its roots.
    fn plan(&self, old: &[ListEntry]) -> Result<Option<Plan>, RepositoryError> {
        let Some(lineages) = self.lineages(old)? else { return Ok(None) };
        if lineages.iter().all(|lineage| lineage.depth < STEPS) {
            return Ok(self.allowed(old.to_vec(), &lineages));
        }
        let mut roots: Vec<ListEntry> = Vec::new();
        for root in lineages.iter().flat_map(|lineage| &lineage.roots) {
            if roots.iter().all(|have| have.id != root.id) {
                roots.push(ListEntry { id: root.id, length: root.length, label: None });
            }
        }
        let Some(lineages) = self.lineages(&roots)? else { return Ok(None) };
        Ok(self.allowed(roots, &lineages))
    }

    /// What the catalog knows of each base; `None` where one of them is not known or not named without doubt.
    fn lineages(&self, bases: &[ListEntry]) -> Result<Option<Vec<Lineage>>, RepositoryError> {
        let catalog = lock(&self.session.repository.catalog);
        bases.iter().map(|base| catalog.lineage(&base.id)).collect()
    }

    fn allowed(&self, bases: Vec<ListEntry>, lineages: &[Lineage]) -> Option<Plan> {
        let closure = lineages.iter().map(|lineage| 1 + lineage.closure).sum::<usize>();
        let roots = || lineages.iter().flat_map(|lineage| &lineage.roots);
        let UnixMillis(now) = self.session.begin();
        let is_old = |stored: UnixMillis| now.saturating_sub(stored.0) > ROOT_AGE;
        let too_old = roots().any(|root| self.session.stored_at(&root.pack).is_some_and(is_old));
        if bases.len() > 2 || closure > CLOSURE || too_old {
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
    /// Whether a delta of `delta` bytes takes at most half of what the chunk would take whole, and all deltas to be read
    /// for it no more than that: then a restore reads at most twice as much. Whole, it would take about the same share
    /// of its length as its roots do.
    fn is_worth(&self, delta: u64, length: u64) -> bool {
        let whole = length * self.stored / self.decoded.max(1);
        delta * 2 <= whole && self.before + delta <= whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_worth_it_up_to_half_of_the_whole_and_a_whole_of_deltas() {
        let plan = |before| Plan { bases: Vec::new(), before, stored: 40_000, decoded: 80_000 };
        assert!(plan(0).is_worth(20_000, 80_000));
        assert!(!plan(0).is_worth(20_001, 80_000));
        assert!(plan(30_000).is_worth(10_000, 80_000));
        assert!(!plan(30_001).is_worth(10_000, 80_000));
    }
}
