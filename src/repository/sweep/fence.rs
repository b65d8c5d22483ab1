//! W1: no session that may still use a condemned pack is left undecided. Rules: format-spec/16-sweep.md.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::super::error::{RepositoryError, one_line};
use super::super::session::Session;
use super::super::{Repository, object_name};
use super::survey::{Decided, StoreClock, decided};
use super::{SweepReport, Waiting};
use crate::format::limits::SMALL_MAX;
use crate::format::object::{Name, SnapshotName};
use crate::format::session::Lease;
use crate::format::{Id16, UnixMillis};
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
    let mut fenced = Fenced::default();
    let mut commits: HashMap<String, Option<SystemTime>> = HashMap::new();
    for prefix in ["snapshots/", "burials/"] {
        let entries = repository.store.entries(prefix)?;
        commits.extend(entries.into_iter().map(|entry| (entry.name.as_str().to_owned(), entry.modified)));
    }
    for entry in repository.store.entries("leases/")? {
        let Some(name @ Name::Lease(id)) = Name::parse(entry.name.as_str()) else { continue };
        if id == session.id() {
            continue;
        }
        let lease = match read_lease(repository, &name) {
            // Rewritten by nobody, and known to be lost: its session ended, or will be refused by its own heartbeat.
            Err(error)
                if error.is_damage()
                    && clock.age(entry.modified) >= repository.timing().abandoned
                    && is_recorded(repository, &name)? =>
            {
                continue;
            }
            Err(error) if error.is_damage() => {
                return Err(RepositoryError::NotWhole { reasons: vec![one_line(&error)] });
            }
            other => other?,
        };
        let Some(lease) = lease else { continue };
        let commit = Name::parse(&lease.commit_name)
            .ok_or_else(|| RepositoryError::damaged(name, crate::format::Malformed::new("lease", "no commit name")))?;
        let seen: HashSet<Id16> = lease.seen.iter().flatten().copied().collect();
        let has_seen = lease.seen.is_some() && due.iter().all(|id| seen.contains(id));
        let age = |name: &Name| commits.get(&name.to_string()).map(|modified| clock.age(*modified));
        let mut found = decided(repository, &commit)?;
        if found == Decided::No {
            if is_alive(repository, &lease, clock.age(entry.modified)) {
                if !has_seen {
                    fenced.must_wait = true;
                    report.waiting.push(Waiting::Session { session: id, commit_name: lease.commit_name.clone() });
                }
                continue;
            }
            match session.put_tombstone_at(&commit) {
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            found = decided(repository, &commit)?;
        }
        let promises = repository.store.promises();
        let is_final = match promises.put_new {
            PutNew::Exclusive => true,
            PutNew::Settled | PutNew::None => age(&commit).is_some_and(|age| age >= 2 * promises.timing.lag),
        };
        // A snapshot counts as a root at once, whoever wins its name in the end.
        if let Decided::Snapshot(name) = found {
            fenced.roots.push(name);
        }
        let is_settled = is_final && age(&commit).is_some_and(|age| age >= promises.timing.lag);
        // The lease of a burial goes with it: until then its session may still delete.
        if is_settled && found != Decided::Burial {
            fenced.ended.push(id);
        } else if !is_final && !has_seen {
            fenced.must_wait = true;
            report.waiting.push(Waiting::Settling { commit_name: lease.commit_name.clone() });
        }
    }
    Ok(fenced)
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
    for entry in repository.store.entries("leases/")? {
        let Some(name @ Name::Lease(id)) = Name::parse(entry.name.as_str()) else { continue };
        let lease = match read_lease(repository, &name) {
            Err(error) if error.is_damage() && clock.age(entry.modified) >= repository.timing().abandoned => continue,
            Err(error) if error.is_damage() => return Ok(true),
            other => other?,
        };
        let commit = lease.as_ref().and_then(|lease| Name::parse(&lease.commit_name));
        let (Some(lease), Some(commit @ Name::Burial(_))) = (lease, commit) else { continue };
        // A sweep buries nothing but what it stated.
        let may_bury = lease.seen.as_ref().is_none_or(|seen| seen.iter().any(|id| lost.contains(id)));
        if id == own || !may_bury || decided(repository, &commit)? != Decided::No {
            continue;
        }
        if is_alive(repository, &lease, clock.age(entry.modified)) {
            return Ok(true);
        }
        match put_tombstone(&commit) {
            Ok(()) | Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

fn is_recorded(repository: &Repository, name: &Name) -> Result<bool, RepositoryError> {
    Ok(repository.losses()?.has(&name.to_string()))
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

/// Whether a session may still be at work. A mistake costs it a new start and loses nothing.
fn is_alive(repository: &Repository, lease: &Lease, unwritten_for: Duration) -> bool {
    let Promises { put_new, timing: Timing { stale, abandoned, .. } } = repository.store.promises();
    let stale = match put_new {
        PutNew::Exclusive | PutNew::Settled => stale,
        PutNew::None => abandoned,
    };
    let UnixMillis(now) = repository.ambient.now();
    Duration::from_millis(now.saturating_sub(lease.heartbeat.0)) < stale && unwritten_for < abandoned
}
