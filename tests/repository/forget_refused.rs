//! Nothing is forgotten while something is lost: what is left may be the only copy of it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::tz::TimeZone;
use redkeep::format::object::SnapshotName;
use redkeep::operations::forget::policy::Policy;
use redkeep::operations::forget::{Options, What, forget};
use redkeep::operations::list::{Filter, Selector};
use redkeep::operations::{Observer, OperationError, Silent};
use redkeep::repository::{Alarm, Places, Repository, RepositoryError};
use redkeep::store::{ObjectName, Store};

use crate::support::repository::*;
use crate::support::sim::SimStore;

/// A store with four snapshots of one dataset, and a host that remembers them.
struct World {
    hands: Hands,
    temp: tempfile::TempDir,
    store: Arc<SimStore>,
    names: Vec<SnapshotName>,
}

impl World {
    fn new(seed: u64) -> World {
        let (hands, temp) = (Hands::new(seed), tempfile::tempdir().unwrap());
        let store = SimStore::strict(&hands);
        create(store.clone(), &hands);
        let mut world = World { hands, temp, store, names: Vec::new() };
        let (repository, data) = (world.open(), world.temp.path().join("data"));
        fs::create_dir_all(&data).unwrap();
        for version in 1..=4 {
            fs::write(data.join("dump"), noise(5000, version)).unwrap();
            world.names.push(back_up(&repository, &data, "d").unwrap().name);
        }
        world
    }

    fn open(&self) -> Repository {
        let places = Places { cache: None, state: Some(self.temp.path().join("state")), scratch: None };
        open_at(self.store.clone(), &self.hands, "alpha", places).unwrap()
    }

    fn flip(&self, name: &ObjectName) {
        let mut bytes = self.store.get(name, u64::MAX).unwrap();
        bytes[70] ^= 1;
        self.store.put(name, bytes.into()).unwrap();
    }

    fn index(&self) -> ObjectName {
        self.store.entries("index/").unwrap()[0].name.clone()
    }
}

fn object(name: &SnapshotName, folder: &str) -> ObjectName {
    name.to_string().replacen("snapshots/", folder, 1).parse().unwrap()
}

pub(crate) fn policy() -> Options {
    let policy = Policy { last: Some(1), ..Policy::default() };
    let what = What::Policy { policy, zone: TimeZone::UTC, ignore_key_drop: true };
    Options { what, filter: Filter::default(), dry_run: false }
}

fn by_name(name: &SnapshotName) -> Options {
    let snapshots = vec![Selector::Id(name.session.to_string())];
    Options { what: What::Named { snapshots, even_pinned: true, allow_empty: true }, ..policy() }
}

/// What damages a repository, and whether this alarm tells of it.
type Lack = (fn(&World), fn(&Alarm) -> bool);

/// FORGET-3, SNAP-3, LOCAL-5
#[test]
fn whatever_is_lost_or_unreadable_nothing_is_forgotten_by_a_policy_or_by_name() {
    let lacks: [Lack; 5] = [
        (|world| world.flip(&world.index()), |alarm| matches!(alarm, Alarm::Index { .. })),
        (|world| world.flip(&object(&world.names[1], "snapshots/")), |alarm| matches!(alarm, Alarm::Snapshot { .. })),
        (
            |world| {
                world.open().forget(&world.names[1], "test").unwrap();
                world.flip(&object(&world.names[1], "forgotten/"));
            },
            |alarm| matches!(alarm, Alarm::Forgotten { .. }),
        ),
        (
            |world| world.store.delete(&object(&world.names[1], "snapshots/")).unwrap(),
            |alarm| matches!(alarm, Alarm::Gap { .. }),
        ),
        (
            |world| world.store.delete(&object(&world.names[3], "snapshots/")).unwrap(),
            |alarm| matches!(alarm, Alarm::Rollback { .. }),
        ),
    ];
    for (number, (damage, is_it)) in lacks.into_iter().enumerate() {
        let world = World::new(570 + number as u64);
        damage(&world);
        let before = world.store.names();
        for options in [policy(), by_name(&world.names[0])] {
            let Err(OperationError::Lacking { alarms }) = forget(&world.open(), &options, &Silent) else {
                panic!("{number}: something was forgotten");
            };
            assert!(alarms.iter().all(is_it) && !alarms.is_empty(), "{number}: {alarms:?}");
        }
        assert_eq!(world.store.names(), before, "{number}");
    }
}

/// What this host remembers beside the repository is no part of what may be lost there.
#[test]
fn a_damaged_memory_of_this_host_is_told_and_stops_no_forgetting() {
    let world = World::new(579);
    fs::write(world.temp.path().join("state/state.db"), "no database").unwrap();
    let report = forget(&world.open(), &policy(), &Silent).unwrap();
    assert!(matches!(&report.alarms[..], [Alarm::State { .. }]), "{:?}", report.alarms);
    assert_eq!(report.datasets[0].counts(), (1, 3));
}

/// Somebody who asks to stop after so many looks.
struct Impatient(AtomicUsize);

impl Observer for Impatient {
    fn begin(&self, _: &str, _: Option<u64>) {}

    fn advance(&self, _: u64) {}

    fn interrupted(&self) -> bool {
        self.0.fetch_add(1, Ordering::SeqCst) >= 2
    }
}

#[test]
fn who_is_interrupted_has_forgotten_the_oldest_and_a_dry_run_nothing() {
    let world = World::new(580);
    let (repository, before) = (world.open(), world.store.names());
    let report = forget(&repository, &Options { dry_run: true, ..policy() }, &Silent).unwrap();
    assert_eq!((report.datasets[0].counts(), world.store.names()), ((1, 3), before));
    let stopped = forget(&repository, &policy(), &Impatient(AtomicUsize::new(0))).unwrap_err();
    assert!(matches!(stopped, OperationError::Repository(RepositoryError::Interrupted)), "{stopped}");
    let kept: Vec<_> = repository.kept_snapshots().unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(kept, world.names[2..]);
}
