//! Repair: what is whole and unnamed is named again, what is lost is written down and stored again by the next backup.
//! Nothing is deleted, nothing overwritten. Rules: format-spec/15-notes.md.

use std::collections::{BTreeMap, HashSet};

use super::Repository;
use super::check::{CheckDepth, CheckReport, Findings, Reading};
use super::error::{Fault, RepositoryError};
use super::intake::{INDEX_CHUNKS, INDEX_EVERY};
use super::session::Session;
use super::sweep::bury::{Standing, standing};
use super::sweep::fence::is_sweep_at_work;
use crate::format::index::IndexedPack;
use crate::format::note::{Body, Loss};
use crate::format::object::{Kind, Name};
use crate::format::session::Condemned;
use crate::format::{Id16, ObjectHash};
use crate::store::StoreError;

/// Of each list of a loss note, so many; of packs in a condemnation too. Far below NOTE_MAX and CONDEMNED_MAX.
const PART: usize = 100_000;

/// What a repair found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepairReport {
    /// What was found before.
    pub found: CheckReport,
    /// Packs that index objects name again.
    pub indexed: Vec<ObjectHash>,
    /// Losses that were recorded now.
    pub recorded: Loss,
    /// Packs that were condemned now.
    pub condemned: Vec<ObjectHash>,
    /// What a check would find now.
    pub left: CheckReport,
}

impl RepairReport {
    /// Whether something is lost, or could not be dealt with.
    pub fn has_losses(&self) -> bool {
        let is_snapshot = |name: &String| name.starts_with("snapshots/");
        !self.left.is_sound() || self.recorded.objects.iter().any(is_snapshot)
    }
}

/// A repair at work, under the lease of a sweep. Its commit name gets a tombstone: there is nothing to commit.
struct RepairSession<'r> {
    session: Session<'r>,
}

impl Repository {
    /// Repairs what can be, and records what is lost. Packs are read as for a check of this depth; those that a check
    /// called damaged are read in any case.
    ///
    /// NOTE-6: index objects, then the loss, then the condemnation; every step may be the last.
    pub fn repair(
        &self,
        depth: CheckDepth,
        stop: &(dyn Fn() -> bool + Sync),
        progress: &dyn Fn(u64, u64),
    ) -> Result<RepairReport, RepositoryError> {
        self.rebuild_catalog()?;
        // A share of nothing: only those that were called damaged.
        let depth = if depth == CheckDepth::Structure { CheckDepth::Share { hundredths: 0 } } else { depth };
        let reading = self.read_due(depth, stop, progress)?;
        let mut session = RepairSession::begin(self)?;
        let result = session.run(reading, &|| if stop() { Err(RepositoryError::Interrupted) } else { Ok(()) });
        // Without it a sweep waits until the lease is stale: the repair itself is done, or its error is what counts.
        let ended = session.end();
        let report = result?;
        ended?;
        Ok(report)
    }
}

impl<'r> RepairSession<'r> {
    fn begin(repository: &'r Repository) -> Result<RepairSession<'r>, RepositoryError> {
        Ok(RepairSession { session: repository.begin_sweep()? })
    }

    fn run(
        &mut self,
        mut reading: Reading,
        stop: &dyn Fn() -> Result<(), RepositoryError>,
    ) -> Result<RepairReport, RepositoryError> {
        let repository = self.session.repository;
        let session = &*self;
        let mut findings =
            repository.survey(reading.clone(), &|| stop().and_then(|()| session.session.keep_alive()))?;
        self.session.state_seen(findings.condemned.ids.clone())?;
        let found = findings.report.clone();
        let session = &*self;
        let go_on = || stop().and_then(|()| session.session.keep_alive());
        let (indexed, damaged) = session.index_unnamed(&findings, &go_on)?;
        if !indexed.is_empty() || !damaged.is_empty() {
            reading.damaged.extend(damaged);
            findings = repository.survey(reading.clone(), &go_on)?;
        }
        let mut condemned = session.replace_condemnations(&mut findings)?;
        let recorded = session.record(&findings)?;
        condemned.extend(session.condemn(&findings)?);
        let left = match recorded.is_empty() {
            true => findings.report,
            false => repository.survey(reading, &go_on)?.report,
        };
        Ok(RepairReport { found, indexed, recorded, condemned, left })
    }

    /// Names listed packs again that no index object names, that are whole, and that nobody condemned. Answers with
    /// them, and with those that are damaged.
    fn index_unnamed(
        &self,
        findings: &Findings,
        stop: &dyn Fn() -> Result<(), RepositoryError>,
    ) -> Result<(Vec<ObjectHash>, BTreeMap<ObjectHash, String>), RepositoryError> {
        let repository = self.session.repository;
        let is_due = |pack: &ObjectHash| {
            !findings.indexed.contains_key(pack)
                && !findings.condemned.packs.contains(pack)
                && !findings.losses.packs.contains(pack)
                && !findings.lost_packs.contains(pack)
        };
        let mut due: Vec<(ObjectHash, u64)> =
            findings.listed.iter().filter(|(pack, _)| is_due(pack)).map(|(pack, size)| (*pack, *size)).collect();
        due.sort_unstable();
        // Their deltas may have bases in each other.
        repository.take_in(due.iter().copied(), false)?;
        let (mut named, mut damaged, mut batch, mut chunks) = (Vec::new(), BTreeMap::new(), Vec::new(), 0);
        for (pack, size) in due {
            stop()?;
            match self.whole_pack(pack, size) {
                Ok(found) => {
                    chunks += found.footer.frames.iter().map(|frame| frame.chunks.len()).sum::<usize>();
                    named.push(pack);
                    batch.push(found);
                }
                // Deleted since it was listed: a sweep's garbage.
                Err(RepositoryError::Damaged { source: Fault::Missing, .. }) => {}
                Err(RepositoryError::Damaged { source, .. }) => drop(damaged.insert(pack, source.to_string())),
                Err(error) => return Err(error),
            }
            if batch.len() == INDEX_EVERY || chunks > INDEX_CHUNKS {
                self.put_index(std::mem::take(&mut batch))?;
                chunks = 0;
            }
        }
        self.put_index(batch)?;
        repository.refresh_index()?;
        Ok((named, damaged))
    }

    /// A pack's own table, where every byte of the pack is what it is named after.
    fn whole_pack(&self, pack: ObjectHash, size: u64) -> Result<IndexedPack, RepositoryError> {
        match self.session.repository.check_one_pack(pack) {
            Err(RepositoryError::Damaged { source: Fault::Bases(_), .. }) => {
                self.session.repository.read_footer(pack, size)
            }
            other => other,
        }
    }

    fn put_index(&self, packs: Vec<IndexedPack>) -> Result<(), RepositoryError> {
        self.session.keep_alive()?;
        self.session.repository.put_index(self.session.id(), packs).map(drop)
    }

    /// Before condemnations are recorded as lost: no sweep that may have read them goes on, and what burials name with
    /// them is condemned anew. Where a sweep is at work they are not recorded.
    ///
    /// NOTE-8: from the record on, backups use what they named.
    fn replace_condemnations(&self, findings: &mut Findings) -> Result<Vec<ObjectHash>, RepositoryError> {
        let lost: HashSet<Id16> = findings.lost_objects.iter().filter_map(|name| condemnation(name)).collect();
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        let repository = self.session.repository;
        self.session.keep_alive()?;
        if is_sweep_at_work(repository, self.session.id(), &lost, &|name| self.session.put_tombstone_at(name))? {
            findings.lost_objects.retain(|name| condemnation(name).is_none());
            return Ok(Vec::new());
        }
        let of_lost = |of: &Standing| of.burial.condemned.iter().any(|id| lost.contains(id));
        let burials = standing(repository)?.into_iter().filter(of_lost);
        let packs: HashSet<ObjectHash> = burials.flat_map(|of| of.burial.packs).collect();
        let packs: Vec<ObjectHash> = packs.difference(&findings.condemned.packs).copied().collect();
        let packs = self.condemn_packs(packs)?;
        findings.condemned.packs.extend(&packs);
        Ok(packs)
    }

    /// Writes down what is lost and was not written down before.
    fn record(&self, findings: &Findings) -> Result<Loss, RepositoryError> {
        let Findings { lost_packs, lost_chunks, lost_objects, losses, .. } = findings;
        let lost_chunks = lost_chunks.iter().map(|lost| lost.chunk);
        let loss = Loss {
            packs: lost_packs.iter().filter(|pack| !losses.packs.contains(pack)).copied().collect(),
            chunks: lost_chunks.filter(|chunk| !losses.chunks.contains(chunk)).collect(),
            objects: lost_objects.iter().cloned().collect(),
        };
        let longest = loss.packs.len().max(loss.chunks.len()).max(loss.objects.len());
        for part in 0..longest.div_ceil(PART) {
            let (packs, chunks) = (part_of(&loss.packs, part), part_of(&loss.chunks, part));
            let part = Loss { packs, chunks, objects: part_of(&loss.objects, part) };
            self.session.keep_alive()?;
            self.session.repository.put_note(Body::Loss(part))?;
        }
        Ok(loss)
    }

    /// Condemns every lost pack that is not condemned yet, recorded by this repair or by one that was killed.
    fn condemn(&self, findings: &Findings) -> Result<Vec<ObjectHash>, RepositoryError> {
        let Findings { condemned, listed, indexed, lost_packs, losses, .. } = findings;
        let is_there = |pack: &&ObjectHash| indexed.contains_key(pack) || listed.contains_key(pack);
        let lost: HashSet<ObjectHash> = lost_packs.iter().chain(&losses.packs).filter(is_there).copied().collect();
        self.condemn_packs(lost.difference(&condemned.packs).copied().collect())
    }

    fn condemn_packs(&self, mut packs: Vec<ObjectHash>) -> Result<Vec<ObjectHash>, RepositoryError> {
        packs.sort_unstable();
        let repository = self.session.repository;
        for part in packs.chunks(PART) {
            self.session.keep_alive()?;
            let name = Name::Condemned(repository.ambient.id());
            let body = Condemned { session: self.session.id(), packs: part.to_vec() }.encode();
            repository.put_sealed(&name, Kind::Condemned, &body)?;
        }
        Ok(packs)
    }

    fn end(self) -> Result<(), RepositoryError> {
        match self.session.put_tombstone_at(&self.session.commit_name()) {
            // A sweep put it already.
            Err(StoreError::Exists { .. }) => Ok(()),
            other => Ok(other?),
        }
    }
}

/// The id of a condemnation's name.
fn condemnation(name: &str) -> Option<Id16> {
    match Name::parse(name) {
        Some(Name::Condemned(id)) => Some(id),
        _ => None,
    }
}

/// A part of a list; nothing behind its end.
fn part_of<T: Clone>(list: &[T], part: usize) -> Vec<T> {
    list.chunks(PART).nth(part).map(<[T]>::to_vec).unwrap_or_default()
}
