//! Sequences of steps at random, done by three hosts with catalogs of their own, against what was committed: backups,
//! forgetting and undeleting, tagging, pruning, checks and rotations of the keys; deaths in the midst of them, two at a
//! time, time passing, catalogs lost or stale.
//!
//! By hand: `REDKEEP_TEST_SEQUENCES=2000 cargo test --release --test trials model`, five minutes on a core. Seen on
//! 2026-11-25: 2,000 sequences of 40 steps, none of which lost anything. With a tag that forgets before it commits the
//! copy, it fails within 60; and within 40 with a search for known chunks that a circle of deltas uses up.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::{OperationError, Silent, slots};
use redkeep::repository::{Fault as Damage, Repository, RepositoryError};
use redkeep::store::Store;

use crate::support::repository::{CHEAP, copy};
use crate::support::stores::{Fault, FaultyStore, PausableStore};
use crate::world::{Failure, STRICT, World, is_long};

const HOSTS: [&str; 3] = ["alpha", "beta", "gamma"];
const DATASETS: [&str; 3] = ["one", "two", "three"];

/// What one host does to the repository.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// A version of a dataset; that of another one, too, and the same again.
    BackUp {
        dataset: usize,
        version: u64,
    },
    /// The oldest snapshot of a dataset.
    Forget {
        dataset: usize,
    },
    /// One of the forgotten snapshots of a dataset, where one is left.
    Undelete {
        dataset: usize,
    },
    /// The oldest snapshot of a dataset.
    Tag {
        dataset: usize,
    },
    Prune,
    Check {
        data: bool,
    },
    Rotate,
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Do {
        host: usize,
        work: Work,
    },
    /// The store dies at a call of the work.
    Die {
        host: usize,
        work: Work,
        call: u64,
        after: bool,
    },
    Both(Pair),
    Pass {
        minutes: u64,
    },
    /// The host's catalog is deleted, kept aside, or replaced by what was kept aside.
    Catalog {
        host: usize,
        fate: Fate,
    },
}

/// One is held at a call while another host does another work to its end, and time passes.
#[derive(Clone, Copy, Debug)]
struct Pair {
    host: usize,
    work: Work,
    call: u64,
    other: Work,
    minutes: u64,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Deleted,
    KeptAside,
    PutBack,
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        5 => (0..3usize, 0..12u64).prop_map(|(dataset, version)| Work::BackUp { dataset, version }),
        2 => (0..3usize).prop_map(|dataset| Work::Forget { dataset }),
        2 => (0..3usize).prop_map(|dataset| Work::Undelete { dataset }),
        1 => (0..3usize).prop_map(|dataset| Work::Tag { dataset }),
        3 => Just(Work::Prune),
        1 => Just(Work::Rotate),
        1 => any::<bool>().prop_map(|data| Work::Check { data }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let host = 0..3usize;
    let fate = prop_oneof![Just(Fate::Deleted), Just(Fate::KeptAside), Just(Fate::PutBack)];
    prop_oneof![
        8 => (host.clone(), work()).prop_map(|(host, work)| Step::Do { host, work }),
        3 => (host.clone(), work(), 0..60u64, any::<bool>())
            .prop_map(|(host, work, call, after)| Step::Die { host, work, call, after }),
        3 => (host.clone(), work(), 0..60u64, work(), prop_oneof![Just(0), 1..4000u64])
            .prop_map(|(host, work, call, other, minutes)| Step::Both(Pair { host, work, call, other, minutes })),
        4 => prop_oneof![1..90u64, 1440..4000u64].prop_map(|minutes| Step::Pass { minutes }),
        2 => (host, fate).prop_map(|(host, fate)| Step::Catalog { host, fate }),
    ]
}

impl World {
    /// Works on a host, on some store, as a command does.
    fn work(&self, host: usize, work: Work, store: Arc<dyn Store>) -> Result<(), Failure> {
        let repository = self.host(HOSTS[host]).open(store)?;
        match work {
            Work::BackUp { dataset, version } => {
                let report = self.back_up(&repository, DATASETS[dataset], version)?;
                self.check_alarms(&report.alarms, "during a backup");
            }
            Work::Forget { dataset } => {
                if let Some(oldest) = self.oldest(&repository, DATASETS[dataset]) {
                    self.forget(&repository, &oldest)?;
                }
            }
            Work::Undelete { dataset } => {
                if let Some(forgotten) = self.forgotten(&repository, DATASETS[dataset])? {
                    self.commit_again(&repository, || self.undelete(&repository, &forgotten))?;
                }
            }
            Work::Tag { dataset } => {
                if let Some(oldest) = self.oldest(&repository, DATASETS[dataset]) {
                    let word = format!("tag {}", self.hands.clock().passed().as_millis());
                    self.commit_again(&repository, || self.tag(&repository, &oldest, word.clone()))?;
                }
            }
            Work::Prune => drop(self.prune(&repository)?),
            Work::Rotate => drop(slots::rotate(&repository, &[], false, CHEAP)?),
            Work::Check { data } => {
                let depth = if data { CheckDepth::Data } else { CheckDepth::Structure };
                drop(check(&repository, depth, &Silent)?);
            }
        }
        Ok(())
    }

    /// Commits what a snapshot holds once more. While that snapshot was committed, what it needs may have been condemned:
    /// then it can be read, and not be committed again until a prune has stored that again.
    fn commit_again(&self, repository: &Repository, commit: impl Fn() -> Result<(), Failure>) -> Result<(), Failure> {
        let is_condemned = || self.store.names().iter().any(|name| name.starts_with("condemned/"));
        match commit() {
            Err(error) if matches!(error.downcast_ref(), Some(OperationError::NotWhole { .. })) && is_condemned() => {
                self.prune(repository)?;
                commit()
            }
            other => other,
        }
    }

    fn step(&self, step: Step) {
        match step {
            Step::Do { host, work } => {
                self.work(host, work, self.store.clone()).unwrap_or_else(|error| panic!("{step:?}: {error:?}"));
            }
            Step::Die { host, work, call, after } => {
                let fault = if after { Fault::After } else { Fault::Before };
                let faulty = FaultyStore::new(self.store.clone(), call, fault);
                if let Err(error) = self.work(host, work, faulty) {
                    assert!(FaultyStore::caused(&*error), "{step:?}: {error:?}");
                }
            }
            Step::Both(pair) => self.both(pair),
            Step::Pass { minutes } => self.hands.pass(Duration::from_secs(60 * minutes)),
            Step::Catalog { host, fate } => self.catalog(host, fate),
        }
    }

    fn both(&self, pair: Pair) {
        let Pair { host, work, call, other, minutes } = pair;
        let paused = PausableStore::new(self.store.clone(), call);
        let results = thread::scope(|scope| {
            let held = scope.spawn(|| {
                let result = self.work(host, work, paused.clone());
                paused.finish();
                result
            });
            paused.wait_until_held();
            let second = self.work((host + 1) % HOSTS.len(), other, self.store.clone());
            self.hands.pass(Duration::from_secs(60 * minutes));
            paused.release();
            [held.join().unwrap(), second]
        });
        for (result, work) in results.into_iter().zip([work, other]) {
            if let Err(error) = result {
                assert!(is_of_the_other(work, &error), "{pair:?}: {error:?}");
            }
        }
    }

    fn catalog(&self, host: usize, fate: Fate) {
        let (cache, aside) = self.host(HOSTS[host]).cache();
        match fate {
            Fate::Deleted => drop(fs::remove_dir_all(&cache)),
            Fate::KeptAside if cache.exists() => copy(&cache, &aside),
            Fate::PutBack if aside.exists() => {
                drop(fs::remove_dir_all(&cache));
                copy(&aside, &cache);
            }
            Fate::KeptAside | Fate::PutBack => {}
        }
    }
}

/// Whether a work may fail so because another one was done in its midst, and time passed: who slept does not commit, what a
/// reader was about to read may be gone, and of two changes of keys one gives way. A backup begins anew by itself.
fn is_of_the_other(work: Work, error: &Failure) -> bool {
    use RepositoryError::{Damaged, Fenced, Rotating, Slot};
    let of_repository = match error.downcast_ref() {
        Some(OperationError::Repository(error)) => Some(error),
        _ => error.downcast_ref(),
    };
    match work {
        Work::BackUp { .. } => false,
        Work::Prune | Work::Undelete { .. } | Work::Tag { .. } => matches!(of_repository, Some(Fenced)),
        Work::Rotate => matches!(of_repository, Some(Rotating(_) | Slot(_))),
        Work::Forget { .. } => false,
        Work::Check { .. } => matches!(of_repository, Some(Damaged { source: Damage::Missing, .. })),
    }
}

/// As many as REDKEEP_TEST_SEQUENCES says, else 50, or 2,000 with REDKEEP_TEST_LONG.
fn sequences() -> u32 {
    let usual = if is_long() { 2_000 } else { 50 };
    std::env::var("REDKEEP_TEST_SEQUENCES").map_or(usual, |number| number.parse().unwrap())
}

#[test]
fn whatever_three_hosts_do_every_committed_snapshot_restores() {
    let config = Config {
        cases: sequences(),
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        max_shrink_iters: 0,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let empty = World::new(STRICT);
    let outcome = runner.run(&vec(step(), 40), |steps| {
        let mut world = empty.fork();
        world.has_slept = true;
        for step in steps {
            world.step(step);
        }
        world.check("at the end");
        world.next_prune("after the end");
        world.has_slept = false;
        world.check("after the end");
        world.check_data("after the end");
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
