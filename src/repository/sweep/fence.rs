//! W1: no session that may still use a condemned pack is left undecided. INV-4: one that was killed holds up nothing for
//! longer than its lease may be silent. Rules: format-spec/16-sweep.md.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::super::error::{RepositoryError, one_line};
use super::super::objects::{Listed, read_each};
use super::super::session::Session;
use super::super::{Repository, lock, object_name};
use super::survey::{Decided, StoreClock, decided};
use super::{SweepReport, Waiting};
use crate::format::limits::SMALL_MAX;
use crate::format::object::{Name, SnapshotName};
use crate::format::session::Lease;
use crate::format::{Id16, Malformed, UnixMillis};
use crate::store::{Promises, PutNew, StoreError, Timing};

/// What the leases say.
#[derive(Default)]
pub(super) struct Fenced {
    /// Snapshots found at commit names.
    pub roots: Vec<SnapshotName>,
    /// Leases whose commit name is decided for good.
    pub ended: Vec<Id16>,
    /// Whether a session has to be waited for.
    pub must_wait: bool,
}

/// Decides what can be decided.
///
/// SWEEP-6: only sessions that do not say they saw all of `due` have to be; the commit name is read by name, never looked
/// for in a LIST.
pub(super) fn fence(
    session: &Session<'_>,
    clock: StoreClock,
    due: &[Id16],
    report: &mut SweepReport,
) -> Result<Fenced, RepositoryError> {
    let repository = session.repository;
    let mut commits: HashMap<Name, Option<SystemTime>> = HashMap::new();
    for prefix in ["snapshots/", "burials/"] {
        commits.extend(repository.listed(prefix)?.into_iter().map(|of| (of.name, of.modified)));
    }
    let void = lock(&repository.catalog).void()?;
    let (fence, mut fenced) = (Fence { session, clock, due, commits, void }, Fenced::default());
    let mut leases = repository.listed("leases/")?;
    leases.retain(|of| of.name != Name::Lease(session.id()));
    let read = |of: &Listed| Announced::read(repository, &of.name);
    read_each(
        &*repository.store,
        &leases,
        |of| of.size,
        read,
        |of, announced| {
            if let Some(announced) = fence.readable(of, announced)? {
                fence.decide(of, announced, &mut fenced, report)?;
            }
            session.keep_alive()
        },
    )?;
    Ok(fenced)
}

/// What another session announced, and what became of it.
struct Announced {
    lease: Lease,
    commit: Name,
    found: Decided,
}

impl Announced {
    /// `None` where the lease is gone, because another sweep saw its end.
    fn read(repository: &Repository, name: &Name) -> Result<Option<Announced>, LeaseError> {
        let lease = read_lease(repository, name).map_err(LeaseError::Lease)?;
        let Some(lease) = lease else { return Ok(None) };
        let commit = Name::parse(&lease.commit_name)
            .ok_or_else(|| RepositoryError::damaged(name, Malformed::new("lease", "no commit name")));
        let commit = commit.map_err(LeaseError::Lease)?;
        let found = decided(repository, &commit).map_err(LeaseError::Commit)?;
        Ok(Some(Announced { lease, commit, found }))
    }
}

/// What of a session cannot be read.
enum LeaseError {
    Lease(RepositoryError),
    Commit(RepositoryError),
}

/// What leases are looked at for.
struct Fence<'f> {
    session: &'f Session<'f>,
    clock: StoreClock,
    due: &'f [Id16],
    /// When what stands at commit names was stored.
    commits: HashMap<Name, Option<SystemTime>>,
    /// Names at which nothing counts.
    void: HashSet<SnapshotName>,
}

impl Fence<'_> {
    fn readable(
        &self,
        of: &Listed,
        announced: Result<Option<Announced>, LeaseError>,
    ) -> Result<Option<Announced>, RepositoryError> {
        let repository = self.session.repository;
        match announced {
            Err(LeaseError::Lease(error)) if error.is_damage() => {
                refuse_damaged(repository, self.clock, of, &error).map(|()| None)
            }
            Err(LeaseError::Lease(error) | LeaseError::Commit(error)) => Err(error),
            Ok(announced) => Ok(announced),
        }
    }

    fn age(&self, commit: &Name) -> Option<Duration> {
        self.commits.get(commit).map(|modified| self.clock.age(*modified))
    }

    fn decide(
        &self,
        of: &Listed,
        Announced { lease, commit, mut found }: Announced,
        fenced: &mut Fenced,
        report: &mut SweepReport,
    ) -> Result<(), RepositoryError> {
        let repository = self.session.repository;
        let seen: HashSet<Id16> = lease.seen.iter().flatten().copied().collect();
        let has_seen = lease.seen.is_some() && self.due.iter().all(|id| seen.contains(id));
        if found == Decided::No {
            if let Some(left) = waited_for(repository, &lease, self.clock.age(of.modified)) {
                if !has_seen {
                    fenced.must_wait = true;
                    let commit_name = lease.commit_name;
                    let waiting = |session| Waiting::Session { session, commit_name, left };
                    report.waiting.extend(id_of(&of.name).map(waiting));
                }
                return Ok(());
            }
            match self.session.put_tombstone_at(&commit) {
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            found = decided(repository, &commit)?;
        }
        let Promises { put_new, timing: Timing { lag, .. } } = repository.store.promises();
        let is_final = match put_new {
            PutNew::Exclusive => true,
            PutNew::Settled | PutNew::None => self.age(&commit).is_some_and(|age| age >= 2 * lag),
        };
        // A snapshot counts as a root at once, whoever wins its name in the end; but none at a name that is void.
        if let Decided::Snapshot(name) = found {
            fenced.roots.extend(Some(name).filter(|name| !self.void.contains(name)));
        }
        let is_settled = is_final && self.age(&commit).is_some_and(|age| age >= lag);
        // The lease of a burial goes with it: until then its session may still delete.
        if is_settled && found != Decided::Burial {
            fenced.ended.extend(id_of(&of.name));
        } else if !is_final && !has_seen {
            fenced.must_wait = true;
            report.waiting.push(Waiting::Settling { commit_name: lease.commit_name });
        }
        Ok(())
    }
}

/// Refuses a lease that cannot be read, unless its loss was recorded and nobody has written it for long: its session
/// ended, or will be refused by its own heartbeat.
fn refuse_damaged(
    repository: &Repository,
    clock: StoreClock,
    of: &Listed,
    error: &RepositoryError,
) -> Result<(), RepositoryError> {
    let left = repository.timing().abandoned.saturating_sub(clock.age(of.modified));
    let why = match (is_recorded(repository, &of.name)?, left.is_zero()) {
        (true, true) => return Ok(()),
        (true, false) => format!(
            "{}; its loss is recorded, but its session may be at work: prune again in {} h",
            one_line(error),
            left.as_secs().div_ceil(3600)
        ),
        (false, _) => one_line(error),
    };
    Err(RepositoryError::NotWhole { reasons: vec![why] })
}

/// Refuses a lease that a sweep would refuse.
pub(super) fn refuse_leases(repository: &Repository, clock: StoreClock) -> Result<(), RepositoryError> {
    each_lease(repository, &repository.listed("leases/")?, |of, lease| match lease {
        Err(error) if error.is_damage() => refuse_damaged(repository, clock, of, &error),
        other => other.map(drop),
    })
}

fn id_of(lease: &Name) -> Option<Id16> {
    match lease {
        Name::Lease(id) => Some(*id),
        _ => None,
    }
}

/// Whether a sweep may be at work beside a repair. Those that are not, and left their names undecided, will bury nothing
/// any more. A lease that nobody can read may be a sweep's.
/// This comes before anybody may use again what a lost condemnation named.
pub(in crate::repository) fn is_sweep_at_work(
    repository: &Repository,
    own: Id16,
    lost: &HashSet<Id16>,
    put_tombstone: &dyn Fn(&Name) -> Result<(), StoreError>,
) -> Result<bool, RepositoryError> {
    let clock = StoreClock::at(repository, own)?;
    let leases = repository.listed("leases/")?;
    let mut is_at_work = false;
    each_lease(repository, &leases, |of, lease| {
        let lease = match lease {
            Err(error) if error.is_damage() => {
                is_at_work |= clock.age(of.modified) < repository.timing().abandoned;
                return Ok(());
            }
            other => other?,
        };
        let commit = lease.as_ref().and_then(|lease| Name::parse(&lease.commit_name));
        let (Some(lease), Some(commit @ Name::Burial(_))) = (lease, commit) else { return Ok(()) };
        // A sweep buries nothing but what it stated.
        let may_bury = lease.seen.as_ref().is_none_or(|seen| seen.iter().any(|id| lost.contains(id)));
        let is_own = of.name == Name::Lease(own);
        if is_at_work || is_own || !may_bury || decided(repository, &commit)? != Decided::No {
            return Ok(());
        }
        if waited_for(repository, &lease, clock.age(of.modified)).is_some() {
            is_at_work = true;
            return Ok(());
        }
        match put_tombstone(&commit) {
            Ok(()) | Err(StoreError::Exists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })?;
    Ok(is_at_work)
}

fn is_recorded(repository: &Repository, name: &Name) -> Result<bool, RepositoryError> {
    Ok(repository.losses()?.has(&name.to_string()))
}

/// Hands over each of these leases.
pub(super) fn each_lease(
    repository: &Repository,
    leases: &[Listed],
    each: impl FnMut(&Listed, Result<Option<Lease>, RepositoryError>) -> Result<(), RepositoryError>,
) -> Result<(), RepositoryError> {
    let read = |of: &Listed| read_lease(repository, &of.name);
    read_each(&*repository.store, leases, |of| of.size, read, each)
}

/// A lease; `None` where it is gone, because another sweep saw its end.
pub(super) fn read_lease(repository: &Repository, name: &Name) -> Result<Option<Lease>, RepositoryError> {
    let object = match repository.store.get(&object_name(name), SMALL_MAX) {
        Err(StoreError::NotFound { .. }) => return Ok(None),
        other => other?,
    };
    let (_, plaintext) = repository.open_object(name, &object)?;
    Lease::decode(&plaintext).map(Some).map_err(|malformed| RepositoryError::damaged(name, malformed))
}

/// For how long a session may still be at work without another heartbeat; `None` where it counts as dead. A mistake costs it a
/// new start and loses nothing.
fn waited_for(repository: &Repository, lease: &Lease, unwritten_for: Duration) -> Option<Duration> {
    let Promises { put_new, timing: Timing { stale, abandoned, .. } } = repository.store.promises();
    let stale = match put_new {
        PutNew::Exclusive | PutNew::Settled => stale,
        PutNew::None => abandoned,
    };
    let UnixMillis(now) = repository.ambient.now();
    let silent = Duration::from_millis(now.saturating_sub(lease.heartbeat.0));
    let left = stale.saturating_sub(silent).min(abandoned.saturating_sub(unwritten_for));
    (!left.is_zero()).then_some(left)
}
