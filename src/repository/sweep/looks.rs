//! A sweep looks at everything: what is needed, whether any of it is lost, and which packs are worth keeping.

use std::collections::HashSet;
use std::time::Duration;

use super::super::error::RepositoryError;
use super::super::{Repository, lock};
use super::liveness::Needed;
use super::plan::{Plan, Policy, plan};
use super::report::YoungToReseal;
use super::survey::{StoreClock, Survey};
use super::{SweepOptions, SweepReport, rescue};
use crate::format::object::{Name, SnapshotName};
use crate::format::{ChunkId, ObjectHash};

/// How often a repository is looked at that changes meanwhile.
const LOOKS: u32 = 16;

impl Repository {
    /// Lists everything, finds what is needed, and refuses what has to be refused. What was put or deleted between two of
    /// the LISTs is no loss: what looks so is looked at again.
    pub(super) fn look_at_all(
        &self,
        options: &SweepOptions,
        clock: StoreClock,
        roots: &[SnapshotName],
        go_on: &dyn Fn() -> Result<(), RepositoryError>,
    ) -> Result<Survey, RepositoryError> {
        let mut looks = LOOKS;
        loop {
            looks -= 1;
            let survey = self.look(options, clock, roots, go_on)?;
            match survey.refuse() {
                Ok(()) => return Ok(survey),
                Err(refusal) if looks == 0 || !self.is_outdated(&survey)? => return Err(refusal),
                Err(_) => {}
            }
        }
    }

    /// Whether a pack came since `packs/` was listed, which may hold what a snapshot needs that was committed beside this
    /// sweep; or a root went, whose time was over for another sweep.
    fn is_outdated(&self, survey: &Survey) -> Result<bool, RepositoryError> {
        if self.listed_packs()?.keys().any(|pack| !survey.packs.contains_key(pack)) {
            return Ok(true);
        }
        let there: HashSet<Name> = self.listed("snapshots/")?.into_iter().map(|of| of.name).collect();
        Ok(survey.roots.iter().any(|root| !there.contains(&Name::Snapshot(*root))))
    }

    /// One look, and in the survey why what is needed is not there whole.
    fn look(
        &self,
        options: &SweepOptions,
        clock: StoreClock,
        roots: &[SnapshotName],
        go_on: &dyn Fn() -> Result<(), RepositoryError>,
    ) -> Result<Survey, RepositoryError> {
        go_on()?;
        let mut survey = Survey::take(self, options, clock)?;
        // One that was found at a commit name may have been forgotten and deleted by another sweep since.
        survey.roots.extend(roots.iter().filter(|root| !survey.over.contains(*root)));
        survey.refuse()?;
        survey.take_in_unindexed(self)?;
        let mut lost = self.lost(&survey, go_on)?;
        if !lost.is_empty() {
            survey.catch_up(self, clock)?;
            lost = self.lost(&survey, go_on)?;
        }
        survey.refusals.extend(lost);
        Ok(survey)
    }

    /// Finds what is needed, and why it counts as lost; where LISTs show at once what was put, also what is in packs only
    /// that no index object names.
    fn lost(
        &self,
        survey: &Survey,
        go_on: &dyn Fn() -> Result<(), RepositoryError>,
    ) -> Result<Vec<String>, RepositoryError> {
        let mut needed = Needed::new(self, &survey.losses.chunks, go_on)?;
        needed.add_all(&survey.roots.iter().copied().collect::<Vec<_>>())?;
        let mut why = needed.finish()?;
        let lost = self.lost_anew(survey)?;
        if let Some(first) = lost.first() {
            why.push(format!("{} needed chunks are in no listed pack, among them {first}", lost.len()));
        } else if self.timing().lag.is_zero() && self.is_any_unnamed(survey)? {
            why.push("needed chunks are only in packs that no index object names: an index object is lost".into());
        }
        Ok(why)
    }

    fn is_any_unnamed(&self, survey: &Survey) -> Result<bool, RepositoryError> {
        let (sizes, lost) = (survey.recorded_sizes(self)?, &survey.losses.chunks);
        lock(&self.catalog).use_listed(&sizes, &|_, is_named| !is_named)?;
        Ok(rescue::unknown(self, lost)?.iter().any(|chunk| !lost.contains(&chunk.id)))
    }

    /// Needed chunks that no listed pack yields and that are not recorded as lost; or were, and a pack that held them
    /// since is gone.
    fn lost_anew(&self, survey: &Survey) -> Result<Vec<ChunkId>, RepositoryError> {
        let sizes = survey.recorded_sizes(self)?;
        let mut catalog = lock(&self.catalog);
        catalog.use_listed(&sizes, &|_, _| false)?;
        let indexed = catalog.indexed_packs()?;
        let is_gone = |pack: &ObjectHash| {
            let (named, listed) = (indexed.get(pack), survey.packs.get(pack).map(|listed| listed.size));
            named.is_some_and(|size| listed != Some(*size))
                && !survey.losses.packs.contains(pack)
                && !survey.condemned.contains(pack)
        };
        let mut lost = Vec::new();
        catalog.unknown_needed(&mut |id, _| {
            let is_recorded = survey.losses.chunks.contains(&id);
            let is_new = !is_recorded || catalog.places(&id)?.iter().any(|place| is_gone(&place.pack));
            lost.extend(is_new.then_some(id));
            Ok(())
        })?;
        Ok(lost)
    }

    /// Fills the report and answers with what is to be condemned.
    ///
    /// SWEEP-4: what is young is not judged.
    pub(super) fn choose_packs(
        &self,
        survey: &Survey,
        options: &SweepOptions,
        report: &mut SweepReport,
    ) -> Result<Plan, RepositoryError> {
        let sizes = survey.sizes();
        let youngest = options.grace.max(self.timing().youngest);
        let judged = |pack: &ObjectHash| {
            !survey.late.contains(pack) && survey.packs.get(pack).is_some_and(|listed| listed.age >= youngest)
        };
        let mut catalog = lock(&self.catalog);
        catalog.use_listed(&sizes, &|pack, is_named| survey.is_given_up(pack) || !is_named)?;
        catalog.add_needed_bases()?;
        catalog.use_listed(&sizes, &|pack, _| survey.is_given_up(pack))?;
        let uses = catalog.pack_uses()?;
        let policy = Policy {
            max_unused: options.max_unused,
            max_rewrite: options.max_rewrite.unwrap_or(u64::MAX),
            reseal_below: if options.reseal { self.keyring().epoch() } else { 0 },
        };
        let mut plan = plan(&uses, &judged, policy);
        let young = uses.iter().filter(|of| of.epoch < policy.reseal_below && !judged(&of.pack));
        let ages = young.filter_map(|of| survey.packs.get(&of.pack)).map(|listed| listed.age);
        let left: Vec<Duration> = ages.map(|age| youngest.saturating_sub(age)).collect();
        report.young_to_reseal =
            left.iter().max().map(|longest| YoungToReseal { packs: left.len() as u64, left: *longest });
        // Nothing needed is in what nobody can read: that was seen before. What is needed of a damaged one is stored again.
        let read: HashSet<ObjectHash> = uses.iter().map(|of| of.pack).collect();
        let is_rest = |pack: &ObjectHash| !read.contains(pack) && !survey.condemned.contains(pack) && judged(pack);
        for (pack, size) in sizes.iter().filter(|(pack, _)| is_rest(pack)) {
            plan.packs.push(*pack);
            plan.bytes += size;
        }
        report.packs = sizes.len() as u64;
        report.pack_bytes = sizes.values().sum();
        report.snapshots = survey.roots.len() as u64;
        report.needed_chunks = catalog.needed_count()?;
        report.condemned_packs += plan.packs.len() as u64;
        report.condemned_bytes += plan.bytes;
        report.rewritten_bytes += plan.rewritten;
        report.unused_bytes = plan.unused;
        Ok(plan)
    }
}
