//! A backup and a sweep are held at one of their calls to a real service, while others take them for dead, forget, sweep, back up,
//! and sweep again; then they go on with what they knew before. Whatever they do, nothing that was committed is lost. At all calls
//! with `REDKEEP_TEST_LONG`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use redkeep::format::UnixMillis;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::prune::prune;
use redkeep::operations::{OperationError, Silent};
use redkeep::repository::{Ambient, Places, Repository, RepositoryError};
use redkeep::store::Store;

use crate::support::repository::{CHEAP, PASSWORD, back_up, latest, noise, password, restore_to};
use crate::support::services::Service;
use crate::support::stores::{Call, PausableStore};
use crate::support::sweeps::AT_ONCE;

/// A lease that says so is that of a session that is given up.
const LATE: Duration = Duration::from_secs(2 * 60 * 60);

type Operation = fn(&World, Arc<dyn Store>, Ambient) -> Result<(), OperationError>;

const BACKUP: Operation =
    |world, store, ambient| back_up(&open(store, ambient)?, &world.data("sleeper"), "sleeper").map(drop);
const PRUNE: Operation = |_, store, ambient| match prune(&open(store, ambient)?, &AT_ONCE, &Silent) {
    // Others did its work.
    Ok(_) | Err(OperationError::Repository(RepositoryError::Fenced)) => Ok(()),
    Err(error) => Err(error),
};

fn open(store: Arc<dyn Store>, ambient: Ambient) -> Result<Repository, OperationError> {
    Ok(Repository::open(store, password(PASSWORD), ambient, Places::default(), None)?)
}

/// A repository at a service, and what its datasets hold.
struct World {
    store: Arc<dyn Store>,
    place: tempfile::TempDir,
}

impl World {
    /// One dataset with two snapshots, the first of which nobody wants; and what a second one will hold has parts of both.
    fn new(service: Service) -> World {
        let world = World { store: service.store(), place: tempfile::tempdir().unwrap() };
        let (secret, ambient) = (password(PASSWORD), Ambient::system());
        let repository =
            Repository::create(world.store.clone(), secret, "first", CHEAP, ambient, Places::default()).unwrap();
        world.write("d", [1, 2]);
        let first = back_up(&repository, &world.data("d"), "d").unwrap();
        world.write("d", [1, 3]);
        back_up(&repository, &world.data("d"), "d").unwrap();
        repository.forget(&first.name, "test").unwrap();
        world.write("sleeper", [2, 3]);
        world
    }

    fn data(&self, dataset: &str) -> PathBuf {
        self.place.path().join(dataset)
    }

    fn write(&self, dataset: &str, seeds: [u64; 2]) {
        fs::create_dir_all(self.data(dataset)).unwrap();
        fs::write(self.data(dataset).join("file"), seeds.map(|seed| noise(100_000, seed)).concat()).unwrap();
    }

    fn open(&self) -> Repository {
        open(self.store.clone(), Ambient::system()).unwrap()
    }

    /// What others do while one sleeps: of what was there, all that can go is gone then.
    fn go_on(&self, seeds: [u64; 2]) {
        self.write("d", seeds);
        let repository = self.open();
        let new = back_up(&repository, &self.data("d"), "d").unwrap().name;
        let old = repository.kept_snapshots().unwrap().into_iter().map(|info| info.name);
        for name in old.filter(|name| name.tag == new.tag && *name != new) {
            repository.forget(&name, "test").unwrap();
        }
        for _ in 0..2 {
            prune(&self.open(), &AT_ONCE, &Silent).unwrap();
        }
    }

    /// Each dataset comes back as it was backed up last.
    fn assert_restores(&self, datasets: &[&str], place: &str) {
        let out = tempfile::tempdir().unwrap();
        for dataset in datasets {
            let chosen = latest(&self.open(), dataset).unwrap();
            restore_to(&self.open(), &chosen, &out.path().join(dataset)).unwrap();
            let read = |root: &Path| fs::read(root.join("file")).unwrap();
            assert!(read(&out.path().join(dataset)) == read(&self.data(dataset)), "{place}: {dataset}");
        }
    }
}

/// A host whose wall clock is late, so that others take its sessions for dead; once it slept it may see that on its own clock.
fn sleeper(slept: &Arc<AtomicU64>) -> Ambient {
    let (system, slept) = (Ambient::system(), Arc::clone(slept));
    let (now, uptime) = (Arc::clone(&system.now), Arc::clone(&system.uptime));
    Ambient {
        now: Arc::new(move || UnixMillis(now().0 - LATE.as_millis() as u64)),
        uptime: Arc::new(move || uptime() + Duration::from_secs(slept.load(Ordering::SeqCst))),
        host: "sleeper".into(),
        ..system
    }
}

/// Holds an operation at its n-th call; nothing where it has none.
fn hold(service: Service, operation: Operation, n: u64, notices: bool, datasets: &[&str]) -> Option<Call> {
    let (world, slept) = (World::new(service), Arc::<AtomicU64>::default());
    let paused = PausableStore::new(world.store.clone(), n);
    let call = thread::scope(|scope| {
        let sleeping = scope.spawn(|| {
            let outcome = operation(&world, paused.clone(), sleeper(&slept));
            paused.finish();
            outcome
        });
        let call = paused.wait_until_held();
        if call.is_some() {
            world.go_on([3, 4]);
            slept.store(if notices { LATE.as_secs() } else { 0 }, Ordering::SeqCst);
        }
        paused.release();
        sleeping.join().unwrap().unwrap_or_else(|error| panic!("{service:?} held at {call:?}: {error:?}"));
        call
    });
    let place = format!("{service:?} held at call {n}, {call:?}, {notices}");
    // An index object that it put late may name a pack that is gone: until the next sweep.
    world.assert_restores(datasets, &place);
    world.go_on([4, 5]);
    world.assert_restores(datasets, &place);
    let checked = check(&world.open(), CheckDepth::Data, &Silent).unwrap();
    assert!(checked.is_sound(), "{place}: {checked:?}");
    call
}

/// At every `stride`-th call, until one is not made; some calls at a time. Every other time it sees on its own clock that it slept;
/// with `REDKEEP_TEST_LONG` at each call both.
fn sweep(service: Service, operation: Operation, stride: u64, datasets: &[&str]) {
    if service.is_skipped() {
        return;
    }
    let is_long = std::env::var_os("REDKEEP_TEST_LONG").is_some();
    let turn = |turn: u64| (if is_long { turn / 2 } else { 1 + stride * turn }, turn.is_multiple_of(2));
    let mut held = 0;
    for group in (0..).step_by(4) {
        let calls: Vec<_> = thread::scope(|scope| {
            let at = |(n, notices)| scope.spawn(move || hold(service, operation, n, notices, datasets));
            let holding: Vec<_> = (group..group + 4).map(|number| at(turn(number))).collect();
            holding.into_iter().map(|holding| holding.join().unwrap()).collect()
        });
        held += calls.iter().flatten().count();
        if calls.iter().any(Option::is_none) {
            break;
        }
    }
    assert!(held >= 2, "{service:?}: {held} calls were held");
}

/// INV-1, INV-3, SESS-6
#[test]
fn a_backup_held_anywhere_at_a_service_costs_nothing() {
    sweep(Service::Seaweed, BACKUP, 7, &["d", "sleeper"]);
}

/// INV-1, INV-3, SESS-6: where two creators of a name may both succeed.
#[test]
fn a_backup_held_anywhere_at_swift_costs_nothing() {
    sweep(Service::Swift, BACKUP, 9, &["d", "sleeper"]);
}

/// INV-2, SWEEP-8
#[test]
fn a_sweep_held_anywhere_at_a_service_costs_nothing() {
    sweep(Service::Seaweed, PRUNE, 23, &["d"]);
}
