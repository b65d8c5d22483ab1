//! The sweep: what no snapshot needs any more is condemned, waited for, buried and deleted, beside running backups and
//! other sweeps, without a lock. Rules: format-spec/16-sweep.md.
//!
//! Losing nothing rests on three things: a pack is used by a writer only while no condemnation names it; no session that
//! may have missed a condemnation is left undecided when it is buried; and what is needed is computed again, from fresh
//! LISTs, just before. Memory: 64 MiB of SQLite and ids, and that of the way in when something is stored again.

pub(super) mod bury;
pub(super) mod fence;
mod liveness;
mod notes;
mod plan;
mod rescue;
mod survey;

use std::collections::HashSet;
use std::time::Duration;

use super::catalog::Rescued;
use super::error::RepositoryError;
use super::intake::IntakeOptions;
use super::session::Session;
use super::{Repository, lock, object_name};
use crate::format::object::{Kind, Name, SnapshotName};
use crate::format::session::{Burial, Condemned};
use crate::format::{ChunkId, Id16, ObjectHash};
use bury::Standing;
use liveness::Needed;
use plan::{Plan, Policy, plan};
use rescue::Rescue;
use survey::{StoreClock, Survey};

/// Where LAG is not 0 younger packs than this are never judged: a put of unknown outcome is repeated for ten minutes.
const YOUNGEST_REMOTE: Duration = Duration::from_secs(3600);

/// How a sweep goes about it.
#[derive(Debug, Clone)]
pub struct SweepOptions {
    /// How long what may be deleted stays: for undelete, and for LAG.
    pub grace: Duration,
    /// Unneeded share of the packs that is lived with, 0 to 1.
    pub max_unused: f64,
    /// Needed bytes that may be stored again in one run; `None`: as many as it takes.
    pub max_rewrite: Option<u64>,
    /// Packs of older seal epochs are stored again.
    pub reseal: bool,
    /// Nothing is written or deleted.
    pub dry_run: bool,
    /// How chunks are stored again.
    pub intake: IntakeOptions,
}

impl Default for SweepOptions {
    fn default() -> Self {
        SweepOptions {
            grace: Duration::from_secs(24 * 3600),
            max_unused: 0.05,
            max_rewrite: None,
            reseal: false,
            dry_run: false,
            intake: IntakeOptions::default(),
        }
    }
}

/// What a condemned pack is still waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// It was condemned too short a time ago.
    Age {
        /// The condemnation.
        condemned: Id16,
        /// Its packs.
        packs: u64,
        /// For how long at least.
        left: Duration,
    },
    /// A session that may use it is at work.
    Session {
        /// The session.
        session: Id16,
        /// What it may commit.
        commit_name: String,
    },
    /// What stands at a commit name may still change, on a store whose put_new is not exclusive.
    Settling {
        /// The commit name.
        commit_name: String,
    },
}

/// What was stored again because packs it was in will go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoredAgain {
    /// Chunks.
    pub chunks: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
    /// Bytes stored for them.
    pub stored_bytes: u64,
}

/// What a sweep did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Packs there were.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Snapshots whose chunks are needed.
    pub snapshots: u64,
    /// Chunks they need.
    pub needed_chunks: u64,
    /// Packs condemned in this run.
    pub condemned_packs: u64,
    /// Their bytes.
    pub condemned_bytes: u64,
    /// Bytes of them that are needed, about.
    pub rewritten_bytes: u64,
    /// Unneeded bytes in packs that stay, about.
    pub unused_bytes: u64,
    /// What was stored again.
    pub stored_again: StoredAgain,
    /// Packs deleted.
    pub deleted_packs: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Index objects deleted, because others took their place.
    pub deleted_indexes: u64,
    /// Forgotten snapshots deleted.
    pub deleted_snapshots: u64,
    /// Leases of ended sessions removed.
    pub removed_leases: u64,
    /// What is waited for.
    pub waiting: Vec<Waiting>,
}

impl SweepReport {
    /// This sweep and the one after it: what was done by both, as things stand after the second.
    pub fn and(self, next: SweepReport) -> SweepReport {
        SweepReport {
            condemned_packs: self.condemned_packs + next.condemned_packs,
            condemned_bytes: self.condemned_bytes + next.condemned_bytes,
            rewritten_bytes: self.rewritten_bytes + next.rewritten_bytes,
            stored_again: StoredAgain {
                chunks: self.stored_again.chunks + next.stored_again.chunks,
                bytes: self.stored_again.bytes + next.stored_again.bytes,
                stored_bytes: self.stored_again.stored_bytes + next.stored_again.stored_bytes,
            },
            deleted_packs: self.deleted_packs + next.deleted_packs,
            deleted_bytes: self.deleted_bytes + next.deleted_bytes,
            deleted_indexes: self.deleted_indexes + next.deleted_indexes,
            deleted_snapshots: self.deleted_snapshots + next.deleted_snapshots,
            removed_leases: self.removed_leases + next.removed_leases,
            ..next
        }
    }
}

/// How often a repository is looked at that changes meanwhile.
const LOOKS: usize = 4;

/// What a sweep is told while it works: when to stop, and whom to tell how many bytes were stored again.
#[derive(Clone, Copy)]
struct Hands<'a> {
    stop: &'a (dyn Fn() -> bool + Sync),
    progress: &'a dyn Fn(u64),
}

impl Hands<'_> {
    /// While a session looks at everything: whether the user wants to stop, and the lease.
    ///
    /// SWEEP-15: however long that takes.
    fn go_on(&self, session: &Session<'_>) -> Result<(), RepositoryError> {
        match (self.stop)() {
            true => Err(RepositoryError::Interrupted),
            false => session.keep_alive(),
        }
    }
}

impl Repository {
    /// Continues earlier condemnations, then condemns what is not needed, and buries it where nothing has to be waited
    /// for. `progress` gets plaintext bytes as they are stored again.
    ///
    /// SWEEP-3: from here on this process works from a catalog of its own.
    pub fn sweep(
        &self,
        options: &SweepOptions,
        stop: &(dyn Fn() -> bool + Sync),
        progress: &dyn Fn(u64),
    ) -> Result<SweepReport, RepositoryError> {
        let lag = self.store.promises().lag;
        if options.grace.is_zero() && !lag.is_zero() {
            return Err(RepositoryError::Limit("a grace time of 0 is for local repositories".into()));
        }
        self.rebuild_catalog()?;
        let (mut report, hands) = (SweepReport::default(), Hands { stop, progress });
        if options.dry_run {
            let clock = StoreClock::host(self.ambient.now());
            let go_on = || if stop() { Err(RepositoryError::Interrupted) } else { Ok(()) };
            let survey = self.look_at_all(options, clock, &[], &go_on)?;
            self.choose_packs(&survey, options, &mut report)?;
            return Ok(report);
        }
        self.settle(options, &mut report, hands)?;
        self.condemn(options, &mut report, hands)?;
        if report.condemned_packs > 0 && report.waiting.is_empty() {
            self.settle(options, &mut report, hands)?;
        }
        Ok(report)
    }

    /// Lists everything, finds what is needed, and refuses what has to be refused. An index object that was put after
    /// `index/` was listed is no lost one: what looks so is looked at again.
    fn look_at_all(
        &self,
        options: &SweepOptions,
        clock: StoreClock,
        roots: &[SnapshotName],
        go_on: &dyn Fn() -> Result<(), RepositoryError>,
    ) -> Result<Survey, RepositoryError> {
        for _ in 0..LOOKS {
            let survey = self.look(options, clock, roots, go_on)?;
            let except = |_: &ObjectHash, is_named: bool| !is_named;
            let sizes = survey.recorded_sizes(self)?;
            lock(&self.catalog).use_listed(&sizes, &except)?;
            let unnamed = rescue::unknown(self, &survey.losses.chunks)?;
            let is_recorded = |chunk: &Rescued| survey.losses.chunks.contains(&chunk.id);
            if !self.store.promises().lag.is_zero() || unnamed.iter().all(is_recorded) {
                return Ok(survey);
            }
        }
        let reason = "needed chunks are only in packs that no index object names: an index object is lost".into();
        Err(RepositoryError::NotWhole { reasons: vec![reason] })
    }

    fn look(
        &self,
        options: &SweepOptions,
        clock: StoreClock,
        roots: &[SnapshotName],
        go_on: &dyn Fn() -> Result<(), RepositoryError>,
    ) -> Result<Survey, RepositoryError> {
        go_on()?;
        let mut survey = Survey::take(self, options, clock)?;
        survey.roots.extend(roots);
        survey.refuse()?;
        survey.take_in_unindexed(self)?;
        let mut needed = Needed::new(self, &survey.losses.chunks, go_on)?;
        for name in &survey.roots {
            needed.add(name)?;
        }
        let refusals = needed.finish()?;
        survey.refusals.extend(refusals);
        let sizes = survey.recorded_sizes(self)?;
        lock(&self.catalog).use_listed(&sizes, &|_, _| false)?;
        let lost = self.lost_anew(&survey)?;
        if let Some(first) = lost.first() {
            let why = format!("{} needed chunks are in no listed pack, among them {first}", lost.len());
            survey.refusals.push(why);
        }
        survey.refuse()?;
        Ok(survey)
    }

    /// Needed chunks that no listed pack yields and that are not recorded as lost; or were, and a pack that held them
    /// since is gone.
    fn lost_anew(&self, survey: &Survey) -> Result<Vec<ChunkId>, RepositoryError> {
        let catalog = lock(&self.catalog);
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
    fn choose_packs(
        &self,
        survey: &Survey,
        options: &SweepOptions,
        report: &mut SweepReport,
    ) -> Result<Plan, RepositoryError> {
        let sizes = survey.sizes();
        let youngest = match self.store.promises().lag.is_zero() {
            true => options.grace,
            false => options.grace.max(YOUNGEST_REMOTE),
        };
        let judged = |pack: &ObjectHash| survey.packs.get(pack).is_some_and(|listed| listed.age >= youngest);
        let mut catalog = lock(&self.catalog);
        catalog.use_listed(&sizes, &|pack, is_named| survey.condemned.contains(pack) || !is_named)?;
        catalog.add_needed_bases()?;
        catalog.use_listed(&sizes, &|pack, _| survey.condemned.contains(pack))?;
        let uses = catalog.pack_uses()?;
        let policy = Policy {
            max_unused: options.max_unused,
            max_rewrite: options.max_rewrite.unwrap_or(u64::MAX),
            reseal_below: if options.reseal { self.keyring().epoch() } else { 0 },
        };
        let mut plan = plan(&uses, &judged, policy);
        // Nothing needed is in what nobody can read: that was seen before.
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

    /// S1 to S4.
    fn condemn(
        &self,
        options: &SweepOptions,
        report: &mut SweepReport,
        hands: Hands<'_>,
    ) -> Result<(), RepositoryError> {
        let mut session = self.begin_sweep()?;
        match self.condemn_in(&mut session, options, report, hands) {
            Ok(()) => session.end_sweep(),
            Err(error) => Err(session.give_up(error)),
        }
    }

    fn condemn_in(
        &self,
        session: &mut Session<'_>,
        options: &SweepOptions,
        report: &mut SweepReport,
        hands: Hands<'_>,
    ) -> Result<(), RepositoryError> {
        let clock = StoreClock::read(session)?;
        let seen = survey::condemnations(self, clock)?;
        session.state_seen(seen.iter().map(|of| of.id).collect())?;
        let survey = self.look_at_all(options, clock, &[], &|| hands.go_on(session))?;
        let plan = self.choose_packs(&survey, options, report)?;
        let condemned: HashSet<ObjectHash> = plan.packs.iter().chain(&survey.condemned).copied().collect();
        let missed = self.store_what_lacks(session, &survey, &condemned, options, report, hands)?;
        session.condemn(plan.packs)?;
        self.delete_expired(session, &survey, report)?;
        bury::unname_gone(session, clock, report)?;
        bury::merge_indexes(session, report)?;
        let fenced = fence::fence(session, clock, &[], &mut SweepReport::default())?;
        self.remove_leases(&fenced.ended, report)?;
        notes::remove_done(session, &missed)?;
        if let Some(now) = clock.now() {
            self.store.remove_abandoned(now)?;
        }
        Ok(())
    }

    /// Gives the reserve of a local repository back to the disk; whether there was one.
    pub fn release_reserve(&self) -> Result<bool, RepositoryError> {
        Ok(self.store.release_reserve()?)
    }

    /// Sets so many bytes aside as the reserve of a local repository, where it is smaller.
    pub fn keep_reserve(&self, bytes: u64) -> Result<(), RepositoryError> {
        Ok(self.store.keep_reserve(bytes)?)
    }

    /// What is needed and not known without the condemned packs is stored again. Answers with what is needed and lost, as
    /// was recorded.
    ///
    /// SWEEP-5, SWEEP-7: before the condemnation, and again before the burial.
    fn store_what_lacks(
        &self,
        session: &Session<'_>,
        survey: &Survey,
        condemned: &HashSet<ObjectHash>,
        options: &SweepOptions,
        report: &mut SweepReport,
        hands: Hands<'_>,
    ) -> Result<HashSet<ChunkId>, RepositoryError> {
        let except = |pack: &ObjectHash, is_named: bool| !is_named || condemned.contains(pack);
        lock(&self.catalog).use_listed(&survey.sizes(), &except)?;
        let unknown = rescue::unknown(self, &survey.losses.chunks)?;
        let with = Rescue { session, options, hands, lost: &survey.losses.chunks };
        let unreadable = rescue::store_again(with, unknown, report)?;
        // Proved, not assumed: a condemnation or burial follows.
        let left = rescue::unknown(self, &survey.losses.chunks)?;
        if let Some(chunk) = left.iter().find(|chunk| !unreadable.contains(&chunk.id)) {
            return Err(RepositoryError::UnknownChunk { chunk: chunk.id });
        }
        let mut missed = HashSet::new();
        lock(&self.catalog).unknown_needed(&mut |id, _| {
            missed.insert(id);
            Ok(())
        })?;
        Ok(missed)
    }

    /// W1 to W5.
    fn settle(
        &self,
        options: &SweepOptions,
        report: &mut SweepReport,
        hands: Hands<'_>,
    ) -> Result<(), RepositoryError> {
        if self.store.list("condemned/")?.is_empty() && self.store.list("burials/")?.is_empty() {
            return Ok(());
        }
        let mut session = self.begin_sweep()?;
        match self.prepare_burial(&mut session, options, report, hands) {
            Ok(None) => session.end_sweep(),
            Ok(Some(burial)) => {
                session.bury(&burial)?;
                let of = Standing { id: session.id(), burial };
                bury::carry_out(&session, &[of], StoreClock::read(&session)?, report)
            }
            Err(error) => Err(session.give_up(error)),
        }
    }

    /// W1 and W2. `None` where nothing is due, or somebody has to be waited for.
    fn prepare_burial(
        &self,
        session: &mut Session<'_>,
        options: &SweepOptions,
        report: &mut SweepReport,
        hands: Hands<'_>,
    ) -> Result<Option<Burial>, RepositoryError> {
        let clock = StoreClock::read(session)?;
        let condemnations = survey::condemnations(self, clock)?;
        session.state_seen(condemnations.iter().map(|of| of.id).collect())?;
        Survey::take(self, options, clock)?.refuse()?;
        let standing = bury::standing(self)?;
        bury::carry_out(session, &standing, clock, report)?;
        let buried: HashSet<Id16> = standing.iter().flat_map(|of| of.burial.condemned.iter().copied()).collect();
        let wait = options.grace.max(2 * self.store.promises().lag);
        let open = condemnations.into_iter().filter(|of| !buried.contains(&of.id));
        let (mut due, young): (Vec<_>, Vec<_>) = open.partition(|of| of.age >= wait);
        for of in young {
            let left = wait.saturating_sub(of.age);
            report.waiting.push(Waiting::Age { condemned: of.id, packs: of.packs.len() as u64, left });
        }
        // The others wait for later sweeps, so that the burial stays within its limit.
        due.sort_by_key(|of| (std::cmp::Reverse(of.age), of.id));
        due.truncate(plan::fitting(due.iter().map(|of| of.packs.len())));
        let ids: Vec<Id16> = due.iter().map(|of| of.id).collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let fenced = fence::fence(session, clock, &ids, report)?;
        if fenced.must_wait {
            return Ok(None);
        }
        let survey = self.look_at_all(options, clock, &fenced.roots, &|| hands.go_on(session))?;
        // One that was lost meanwhile is nobody's reason to delete any more.
        due.retain(|of| survey.condemnations.contains(&of.id));
        if due.is_empty() {
            return Ok(None);
        }
        let ids = due.iter().map(|of| of.id).collect();
        self.store_what_lacks(session, &survey, &survey.condemned, options, report, hands)?;
        self.delete_expired(session, &survey, report)?;
        self.remove_leases(&fenced.ended, report)?;
        let packs = due.into_iter().flat_map(|of| of.packs).collect();
        let listed = survey.sizes();
        let rescue = lock(&self.catalog).usable_packs()?.into_iter().filter(|pack| !listed.contains_key(pack));
        Ok(Some(Burial { condemned: ids, packs, rescue: rescue.collect(), time: self.ambient.now() }))
    }

    fn delete_expired(
        &self,
        session: &Session<'_>,
        survey: &Survey,
        report: &mut SweepReport,
    ) -> Result<(), RepositoryError> {
        for name in &survey.expired {
            // The lease first: a lease whose commit name is empty would look undecided.
            self.store.delete(&object_name(&Name::Lease(name.session)))?;
            self.store.delete(&object_name(&Name::Snapshot(*name)))?;
            report.deleted_snapshots += 1;
            session.keep_alive()?;
        }
        Ok(())
    }

    fn remove_leases(&self, ended: &[Id16], report: &mut SweepReport) -> Result<(), RepositoryError> {
        for id in ended {
            self.store.delete(&object_name(&Name::Lease(*id)))?;
            report.removed_leases += 1;
        }
        Ok(())
    }
}

impl Session<'_> {
    /// S4: from here on no writer uses these packs.
    fn condemn(&self, packs: Vec<ObjectHash>) -> Result<(), RepositoryError> {
        if packs.is_empty() {
            return Ok(());
        }
        let name = Name::Condemned(self.id());
        let condemned = Condemned { session: self.id(), packs };
        let repository = self.repository;
        let sealed = self.keyring.seal(&name, Kind::Condemned, repository.ambient.random(), &condemned.encode());
        Ok(repository.store.put_new(&object_name(&name), &sealed)?)
    }
}
