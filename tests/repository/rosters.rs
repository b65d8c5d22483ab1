//! Rosters: a host that knows nothing reads one object in the place of many snapshots, and sees the same.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use redkeep::format::roster::Roster;
use redkeep::operations::Silent;
use redkeep::operations::prune::{Options, prune};
use redkeep::repository::{CheckDepth, Repository};
use redkeep::store::{ObjectName, Promises, PutNew, Store, Timing};

use crate::support::repository::*;
use crate::support::sim::{LISTINGS, SimStore};
use crate::support::stores::{RecordingStore, Verb};
use crate::support::sweeps::AT_ONCE;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const SWEEP: Options = Options { grace: HOUR, max_unused: 1.0, ..AT_ONCE };

/// A store, and one host that writes to it.
struct World {
    hands: Hands,
    store: Arc<SimStore>,
    taken: u64,
}

impl World {
    /// With `count` snapshots in two datasets.
    fn new(seed: u64, count: u64) -> World {
        let hands = Hands::new(seed);
        World::of(SimStore::strict(&hands), hands, count)
    }

    fn of(store: Arc<SimStore>, hands: Hands, count: u64) -> World {
        create(store.clone(), &hands);
        hands.pass(DAY);
        let mut world = World { hands, store, taken: 0 };
        world.take(count);
        world
    }

    fn take(&mut self, count: u64) {
        let (temp, repository) = (tempfile::tempdir().unwrap(), self.open());
        for _ in 0..count {
            self.taken += 1;
            fs::write(temp.path().join("dump"), noise(500, self.taken)).unwrap();
            back_up(&repository, temp.path(), ["one", "two"][self.taken as usize % 2]).unwrap();
        }
        self.hands.pass(DAY);
    }

    fn open(&self) -> Repository {
        open(self.store.clone(), &self.hands).unwrap()
    }

    fn sweep(&self) {
        prune(&self.open(), &SWEEP, &Silent).unwrap();
        self.hands.pass(DAY);
    }

    fn rosters(&self) -> Vec<String> {
        self.store.names().into_iter().filter(|name| name.starts_with("rosters/")).collect()
    }

    /// How many snapshots and rosters a host reads that knows nothing. It sees what one does that reads every snapshot.
    fn reads(&self) -> (usize, usize) {
        let recording = RecordingStore::new(self.store.clone());
        let repository = open(recording.clone(), &self.hands).unwrap();
        recording.drain();
        let alarms = repository.refresh().unwrap();
        let calls = recording.drain();
        let count =
            |folder: &str| calls.iter().filter(|call| call.verb == Verb::Get && call.name.starts_with(folder)).count();
        let other = self.open();
        assert_eq!(other.rebuild_catalog().unwrap(), alarms);
        assert_eq!(repository.snapshots().unwrap(), other.snapshots().unwrap());
        assert_eq!(repository.spans().unwrap(), other.spans().unwrap());
        (count("snapshots/"), count("rosters/"))
    }
}

/// ROSTER-2, SWEEP-21
#[test]
fn a_host_that_knows_nothing_reads_a_roster_in_the_place_of_many_snapshots() {
    let mut world = World::new(1, 12);
    assert_eq!(world.reads(), (12, 0));
    world.sweep();
    assert_eq!(world.reads(), (0, 1));
    // Few that are new are worth none.
    world.take(7);
    world.sweep();
    assert_eq!((world.reads(), world.rosters().len()), ((7, 1), 1));
    world.take(1);
    let before = world.rosters();
    world.sweep();
    assert_eq!((world.reads(), world.rosters().len()), ((0, 1), 1));
    assert_ne!(world.rosters(), before, "one in the place of another");
    let before = world.rosters();
    world.sweep();
    assert_eq!(world.rosters(), before, "nothing is new");
}

/// What was forgotten and is gone is in a roster for a while, and nobody sees it.
#[test]
fn what_is_gone_is_not_told_by_a_roster() {
    let world = World::new(2, 12);
    world.sweep();
    let repository = world.open();
    repository.refresh().unwrap();
    let names: Vec<_> = repository.snapshots().unwrap().into_iter().map(|info| info.name).collect();
    names.iter().take(4).for_each(|name| drop(repository.forget(name, "by a test").unwrap()));
    world.hands.pass(DAY);
    world.sweep();
    assert_eq!(world.reads(), (0, 1));
    assert_eq!(world.open().snapshots().map(|all| all.len()).unwrap(), 0, "before a refresh");
    let repository = world.open();
    assert_eq!(repository.refresh().unwrap(), []);
    assert_eq!(repository.kept_snapshots().unwrap().len(), 8);
}

/// ROSTER-2: a roster that is gone or damaged costs time alone, and `check` names it.
#[test]
fn a_damaged_roster_claims_nothing_and_goes_with_the_next_sweep() {
    let world = World::new(3, 10);
    world.sweep();
    let [name] = &world.rosters()[..] else { panic!("one roster") };
    let at: ObjectName = name.parse().unwrap();
    let mut bytes = world.store.get(&at, 1 << 20).unwrap();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    world.store.put(&at, bytes.into()).unwrap();
    assert_eq!(world.reads(), (10, 1));
    let check = || world.open().check(CheckDepth::Structure, &|| false, &|_, _| ()).unwrap();
    assert_eq!(check().damage.iter().map(|damage| &damage.object).collect::<Vec<_>>(), [name]);
    world.sweep();
    assert!(!world.rosters().contains(name));
    assert!(check().damage.is_empty());
    assert_eq!(world.reads(), (0, 1), "what it told is told by another one");
}

/// ROSTER-3: what a snapshot is lost for is seen by whoever decides by it, whatever a roster tells of it.
#[test]
fn a_sweep_and_a_check_read_every_snapshot() {
    let world = World::new(4, 10);
    world.sweep();
    let snapshots: Vec<String> =
        world.store.names().into_iter().filter(|name| name.starts_with("snapshots/")).collect();
    let damaged: ObjectName = snapshots[3].parse().unwrap();
    world.store.put(&damaged, b"nothing".to_vec().into()).unwrap();
    assert_eq!(world.open().refresh().unwrap(), [], "a listing needs the roster alone");
    let checked = world.open().check(CheckDepth::Structure, &|| false, &|_, _| ()).unwrap();
    assert!(checked.damage.iter().any(|damage| damage.object == snapshots[3]), "{:?}", checked.damage);
    let refused = prune(&world.open(), &SWEEP, &Silent).unwrap_err();
    assert!(format!("{refused:?}").contains(&snapshots[3]), "{refused:?}");
}

/// SWEEP-21: what listings do not show everybody yet is not enrolled.
#[test]
fn a_snapshot_is_enrolled_once_every_listing_shows_it() {
    let promises = Promises { put_new: PutNew::Settled, timing: Timing::of_lag(2 * HOUR) };
    for listing in LISTINGS {
        let hands = Hands::new(5);
        let mut world = World::of(SimStore::new(&hands, promises, listing), hands, 10);
        let sweep = || prune(&world.open(), &Options { grace: DAY, ..SWEEP }, &Silent).unwrap();
        sweep();
        world.hands.pass(DAY);
        assert_eq!((world.reads(), world.rosters().len()), ((0, 1), 1));
        world.take(8);
        // A day behind them, one that was taken just now is not in it.
        let (temp, repository) = (tempfile::tempdir().unwrap(), world.open());
        fs::write(temp.path().join("dump"), "last").unwrap();
        back_up(&repository, temp.path(), "one").unwrap();
        prune(&world.open(), &Options { grace: DAY, ..SWEEP }, &Silent).unwrap();
        world.hands.pass(DAY);
        assert_eq!(world.reads(), (1, 1), "{listing:?}");
    }
}

/// ROSTER-1: recipes are what makes snapshots large.
#[test]
fn a_roster_holds_no_recipe() {
    let world = World::new(6, 1);
    let repository = world.open();
    let chosen = latest(&repository, "two").unwrap();
    let shown = Roster::shown(&chosen.snapshot);
    assert!(chosen.snapshot.files.iter().any(|file| file.recipe.is_some()));
    assert!(shown.files.iter().all(|file| file.recipe.is_none()));
    assert_eq!((shown.place(), shown.summary), (chosen.snapshot.place(), chosen.snapshot.summary));
}
