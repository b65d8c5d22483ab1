//! The sweep: what no snapshot needs any more is condemned, waited for, buried and deleted, beside running backups and
//! other sweeps, without a lock. Rules: format-spec/16-sweep.md.
//!
//! INV-2: losing nothing rests on three things: a pack is used by a writer only while no condemnation names it; no session that
//! may have missed a condemnation is left undecided when it is buried; and what is needed is computed again, from fresh
//! LISTs, just before. Memory: 64 MiB of SQLite and ids, and that of the way in when something is stored again.

pub(super) mod bury;
mod enrol;
pub(super) mod fence;
mod fold;
pub(super) mod liveness;
mod looks;
mod notes;
mod plan;
mod report;
mod rescue;
mod survey;

use std::collections::HashSet;
use std::time::Duration;

use super::alarm::Alarm;
use super::error::RepositoryError;
use super::intake::IntakeOptions;
use super::objects::read_each;
use super::session::Session;
use super::{Repository, lock, object_name};
use crate::format::object::{Kind, Name, SnapshotName};
use crate::format::session::{Burial, Condemned};
use crate::format::{ChunkId, Id16, ObjectHash};
use bury::Standing;
pub use report::{StoredAgain, SweepReport, Waiting, YoungToReseal};
use rescue::Rescue;
use survey::{Condemnation, StoreClock, Survey};

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

/// What a phase of a sweep works with.
struct Phase<'a> {
    session: &'a Session<'a>,
    clock: StoreClock,
    /// The condemnations that its session states as seen.
    seen: Vec<Condemnation>,
    options: &'a SweepOptions,
    hands: Hands<'a>,
}

impl Phase<'_> {
    fn look_at_all(&self, roots: &[SnapshotName]) -> Result<Survey, RepositoryError> {
        let go_on = || self.hands.go_on(self.session);
        self.session.repository.look_at_all(self.options, self.clock, roots, &go_on)
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
        let lag = self.timing().lag;
        if options.grace.is_zero() && !lag.is_zero() {
            return Err(RepositoryError::Limit(
                "a grace time of 0 is for repositories on a local disk: give --grace 1h, or leave it out for a day"
                    .into(),
            ));
        }
        // A mirror that is behind stays one: nothing is put into it, not even a lease.
        let elsewhere = self.rebuild_catalog()?.into_iter().filter(|alarm| matches!(alarm, Alarm::Elsewhere { .. }));
        let reasons: Vec<String> = elsewhere.map(|alarm| alarm.to_string()).collect();
        if !reasons.is_empty() {
            return Err(RepositoryError::NotWhole { reasons });
        }
        let (mut report, hands) = (SweepReport::default(), Hands { stop, progress });
        if options.dry_run {
            let clock = StoreClock::host(self.ambient.now());
            let go_on = || if stop() { Err(RepositoryError::Interrupted) } else { Ok(()) };
            let survey = self.look_at_all(options, clock, &[], &go_on)?;
            let plan = self.choose_packs(&survey, options, &mut report)?;
            fence::refuse_leases(self, clock)?;
            report.stored_again = rescue::foretell(self, &survey, &plan.packs, &go_on)?;
            self.foretell(options, &survey, survey::condemnations(self, clock)?, &plan.packs, &mut report);
            return Ok(report);
        }
        self.settle(options, &mut report, hands)?;
        self.phase(options, &mut report, hands, |phase, report| self.condemn(phase, report).map(|()| None))?;
        if report.condemned_packs > 0 && report.waiting.is_empty() {
            self.settle(options, &mut report, hands)?;
        }
        Ok(report)
    }

    /// What a sweep would delete now, if no session has to be waited for: what was condemned long enough ago, and what it
    /// would condemn itself where nothing has to grow old; and the snapshots whose time is over.
    fn foretell(
        &self,
        options: &SweepOptions,
        survey: &Survey,
        condemned: Vec<Condemnation>,
        chosen: &[ObjectHash],
        report: &mut SweepReport,
    ) {
        let wait = options.grace.max(2 * self.timing().lag);
        let (due, young): (Vec<_>, Vec<_>) = condemned.into_iter().partition(|of| of.age >= wait);
        for of in young {
            report.waiting.push(survey.too_young(&of, wait));
        }
        let sizes = survey.sizes();
        let at_once = if wait.is_zero() { chosen } else { &[] };
        let going: HashSet<ObjectHash> =
            due.into_iter().flat_map(|of| of.packs).chain(at_once.iter().copied()).collect();
        let listed = going.iter().filter_map(|pack| sizes.get(pack));
        report.deleted_packs = listed.clone().count() as u64;
        report.deleted_bytes = listed.sum();
        report.deleted_snapshots = survey.expired.len() as u64;
    }

    /// W1 to W5, where anything is condemned or buried.
    fn settle(
        &self,
        options: &SweepOptions,
        report: &mut SweepReport,
        hands: Hands<'_>,
    ) -> Result<(), RepositoryError> {
        if self.store.entries("condemned/")?.is_empty() && self.store.entries("burials/")?.is_empty() {
            return Ok(());
        }
        self.phase(options, report, hands, |phase, report| self.prepare_burial(phase, report))
    }

    /// One phase: a session of its own, which states what it saw condemned before it looks at anything else, and ends
    /// with a burial where one is due.
    fn phase(
        &self,
        options: &SweepOptions,
        report: &mut SweepReport,
        hands: Hands<'_>,
        work: impl FnOnce(&Phase<'_>, &mut SweepReport) -> Result<Option<Burial>, RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let mut session = self.begin_sweep()?;
        let open = |session: &mut Session<'_>| {
            let clock = StoreClock::read(session)?;
            let seen = survey::condemnations(self, clock)?;
            session.state_seen(seen.iter().map(|of| of.id).collect())?;
            Ok((clock, seen))
        };
        let outcome = open(&mut session).and_then(|(clock, seen)| {
            let phase = Phase { session: &session, clock, seen, options, hands };
            work(&phase, report)
        });
        match outcome {
            Ok(None) => session.end_sweep(),
            Ok(Some(burial)) => {
                session.bury(&burial)?;
                let of = Standing { id: session.id(), burial };
                bury::carry_out(&session, &[of], StoreClock::read(&session)?, report)
            }
            Err(error) => Err(session.give_up(error)),
        }
    }

    /// S1 to S4.
    fn condemn(&self, phase: &Phase<'_>, report: &mut SweepReport) -> Result<(), RepositoryError> {
        let Phase { session, clock, options, .. } = *phase;
        let survey = phase.look_at_all(&[])?;
        let plan = self.choose_packs(&survey, options, report)?;
        let condemned: HashSet<ObjectHash> = plan.packs.iter().chain(&survey.condemned).copied().collect();
        let missed = self.store_what_lacks(phase, &survey, &condemned, report)?;
        session.condemn(plan.packs)?;
        delete_expired(session, &survey, report)?;
        fold::fold(session, clock, options.grace, report)?;
        enrol::enrol(session, clock)?;
        bury::unname_gone(session, clock, report)?;
        if bury::merge_indexes(session, clock, report)? && self.timing().lag.is_zero() {
            // Of what was read and put, another sweep may have buried and deleted packs in between.
            bury::unname_gone(session, clock, report)?;
        }
        let fenced = fence::fence(session, clock, &[], &mut SweepReport::default())?;
        remove_leases(session, &fenced.ended, report)?;
        notes::remove_done(session, &missed)?;
        if let (Some(now), Some(room)) = (clock.now(), self.store.room()) {
            room.remove_abandoned(now)?;
        }
        Ok(())
    }

    /// What is needed and not known without the condemned packs is stored again. Answers with what is needed and lost, as
    /// was recorded.
    ///
    /// SWEEP-5, SWEEP-7: before the condemnation, and again before the burial.
    fn store_what_lacks(
        &self,
        phase: &Phase<'_>,
        survey: &Survey,
        condemned: &HashSet<ObjectHash>,
        report: &mut SweepReport,
    ) -> Result<HashSet<ChunkId>, RepositoryError> {
        let except =
            |pack: &ObjectHash, is_named: bool| !is_named || condemned.contains(pack) || survey.damaged.contains(pack);
        lock(&self.catalog).use_listed(&survey.sizes(), &except)?;
        let unknown = rescue::unknown(self, &survey.losses.chunks)?;
        let Phase { session, options, hands, .. } = *phase;
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

    /// W1 and W2. `None` where nothing is due, or somebody has to be waited for.
    fn prepare_burial(&self, phase: &Phase<'_>, report: &mut SweepReport) -> Result<Option<Burial>, RepositoryError> {
        let Phase { session, clock, options, .. } = *phase;
        let survey = Survey::take(self, options, clock)?;
        survey.refuse()?;
        let standing = bury::standing(self)?;
        bury::carry_out(session, &standing, clock, report)?;
        let buried: HashSet<Id16> = standing.iter().flat_map(|of| of.burial.condemned.iter().copied()).collect();
        let wait = options.grace.max(2 * self.timing().lag);
        let open = phase.seen.iter().filter(|of| !buried.contains(&of.id));
        let (mut due, young): (Vec<_>, Vec<_>) = open.partition(|of| of.age >= wait);
        for of in young {
            report.waiting.push(survey.too_young(of, wait));
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
        let survey = phase.look_at_all(&fenced.roots)?;
        // One that was lost meanwhile is nobody's reason to delete any more.
        due.retain(|of| survey.condemnations.contains(&of.id));
        if due.is_empty() {
            return Ok(None);
        }
        let ids = due.iter().map(|of| of.id).collect();
        self.store_what_lacks(phase, &survey, &survey.condemned, report)?;
        delete_expired(session, &survey, report)?;
        remove_leases(session, &fenced.ended, report)?;
        let packs = due.into_iter().flat_map(|of| of.packs.iter().copied()).collect();
        let listed = survey.sizes();
        let rescue = lock(&self.catalog).usable_packs()?.into_iter().filter(|pack| !listed.contains_key(pack));
        Ok(Some(Burial { condemned: ids, packs, rescue: rescue.collect(), time: self.ambient.now() }))
    }
}

fn delete_expired(session: &Session<'_>, survey: &Survey, report: &mut SweepReport) -> Result<(), RepositoryError> {
    // The lease first: a lease whose commit name is empty would look undecided.
    let both = |name: &SnapshotName| vec![Name::Lease(name.session), Name::Snapshot(*name)];
    session.delete_each(&survey.expired, both, |_| report.deleted_snapshots += 1)
}

fn remove_leases(session: &Session<'_>, ended: &[Id16], report: &mut SweepReport) -> Result<(), RepositoryError> {
    session.delete_each(ended, |id| vec![Name::Lease(*id)], |_| report.removed_leases += 1)
}

impl Session<'_> {
    /// Deletes the objects of each thing, one after the other; many things at a time, and those in no order. What is left where
    /// that breaks off the next sweep finds.
    fn delete_each<T: Sync>(
        &self,
        things: &[T],
        objects: impl Fn(&T) -> Vec<Name> + Sync,
        mut gone: impl FnMut(&T),
    ) -> Result<(), RepositoryError> {
        let store = &*self.repository.store;
        let delete = |thing: &T| objects(thing).iter().try_for_each(|name| store.delete(&object_name(name)));
        read_each(
            store,
            things,
            |_| 0,
            delete,
            |thing, deleted| {
                deleted?;
                gone(thing);
                self.keep_alive()
            },
        )
    }

    /// S4: from here on no writer uses these packs.
    fn condemn(&self, packs: Vec<ObjectHash>) -> Result<(), RepositoryError> {
        if packs.is_empty() {
            return Ok(());
        }
        let name = Name::Condemned(self.id());
        let condemned = Condemned { session: self.id(), packs };
        self.repository.put_sealed(&name, Kind::Condemned, &condemned.encode())
    }
}
