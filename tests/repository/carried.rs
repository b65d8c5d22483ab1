//! What a host keeps of a store that is far away: which packs are there, how the repository is opened, and sealed pieces of it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redkeep::operations::Silent;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::prune::{Options, prune};
use redkeep::repository::{Alarm, Places, Repository, RepositoryError};
use redkeep::store::Store;
use tempfile::TempDir;

use crate::support::repository::*;
use crate::support::stores::{Call, RecordingStore, Verb};

const HOUR: Duration = Duration::from_secs(60 * 60);

struct World {
    /// The store as it is.
    near: Arc<dyn Store>,
    /// The same as the host sees it whose calls are counted.
    far: Arc<RecordingStore>,
    hands: Hands,
    temp: TempDir,
}

impl World {
    /// A repository with a file of a dataset, and a host that has backed it up.
    fn new() -> World {
        let (hands, temp, near) = (Hands::new(91), tempfile::tempdir().unwrap(), memory());
        create_tiny(near.clone(), &hands);
        let world = World { far: RecordingStore::far(near.clone()), near, hands, temp };
        world.change(1);
        assert_eq!(world.backup()[2..], [1, 0], "it knows nothing yet");
        world
    }

    fn host(&self) -> Result<Repository, RepositoryError> {
        let places = Places {
            cache: Some(self.temp.path().join("cache")),
            state: Some(self.temp.path().join("state")),
            scratch: None,
        };
        open_at(self.far.clone(), &self.hands, "beta", places)
    }

    fn data(&self) -> std::path::PathBuf {
        self.temp.path().join("data")
    }

    fn change(&self, seed: u64) {
        fs::create_dir_all(self.data()).unwrap();
        fs::write(self.data().join("file"), noise(20_000, seed)).unwrap();
    }

    /// A backup by the host: how often it read `config` or a slot, snapshots, listed packs, and asked for one by its name.
    fn backup(&self) -> [usize; 4] {
        self.far.drain();
        let report = back_up(&self.host().unwrap(), &self.data(), "d").unwrap();
        assert_eq!(report.alarms, []);
        let calls = self.far.drain();
        let count = |verb, prefixes: &[&str]| {
            let is_one = |call: &&Call| call.verb == verb && prefixes.iter().any(|of| call.name.starts_with(of));
            calls.iter().filter(is_one).count()
        };
        [
            count(Verb::Get, &["config", "keys/"]),
            count(Verb::Get, &["snapshots/"]),
            count(Verb::List, &["packs/"]),
            count(Verb::Stat, &["packs/"]),
        ]
    }

    /// A backup of something else by a host that keeps nothing.
    fn another(&self, dataset: &str) {
        let elsewhere = self.temp.path().join(dataset);
        fs::create_dir_all(&elsewhere).unwrap();
        fs::write(elsewhere.join("file"), dataset.repeat(99)).unwrap();
        back_up(&open(self.near.clone(), &self.hands).unwrap(), &elsewhere, dataset).unwrap();
    }

    fn restores(&self, dataset: &str, from: &Path) {
        let out = self.temp.path().join(format!("out-{dataset}"));
        let repository = open(self.near.clone(), &self.hands).unwrap();
        restore_to(&repository, &latest(&repository, dataset).unwrap(), &out).unwrap();
        assert_eq!(tree(&out), tree(from));
    }
}

/// SESS-10
#[test]
fn what_was_proved_of_packs_is_carried_over_while_condemned_and_index_show_it() {
    let world = World::new();
    assert_eq!(world.backup(), [0, 0, 0, 0]);
    world.change(2);
    assert_eq!(world.backup(), [0, 0, 0, 0], "its own packs are there when it has committed");
    assert_eq!(world.backup(), [0, 0, 0, 0]);
    world.another("e");
    assert_eq!(world.backup(), [0, 0, 0, 1], "a pack of another host is asked for by its name");
    assert_eq!(world.backup(), [0, 0, 0, 0]);
    // What only forgotten snapshots need is deleted, and what named it before.
    let keeper = open(world.near.clone(), &world.hands).unwrap();
    keeper.refresh().unwrap();
    let forgotten = latest(&keeper, "e").unwrap().name;
    keeper.forget(&forgotten, "test").unwrap();
    prune(&keeper, &Options { grace: Duration::ZERO, ..Options::default() }, &Silent).unwrap();
    assert_eq!(world.backup()[2..], [1, 0], "index/ lacks an object");
    assert_eq!(world.backup(), [0, 0, 0, 0]);
    world.restores("d", &world.data());
}

/// SESS-10: for a day. What nobody deleted by the rules is found out then.
#[test]
fn a_pack_that_was_lost_is_missed_within_a_day() {
    let world = World::new();
    let pack = world.near.entries("packs/").unwrap().remove(0).name;
    world.near.delete(&pack).unwrap();
    assert_eq!(world.backup(), [0, 0, 0, 0]);
    world.hands.pass(25 * HOUR);
    let report = back_up(&world.host().unwrap(), &world.data(), "d").unwrap();
    assert!(matches!(report.alarms[..], [Alarm::Packs { lost: 1, .. }]), "{:?}", report.alarms);
    assert!(report.snapshot.summary.new_bytes > 0, "it is stored again");
    world.restores("d", &world.data());
}

/// LOCAL-37
#[test]
fn config_and_the_slot_that_opened_are_read_again_when_the_slots_are_others() {
    let world = World::new();
    let keeper = open(world.near.clone(), &world.hands).unwrap();
    let added = keeper.add_slot(&password("another"), "second", CHEAP).unwrap();
    assert_eq!(world.backup(), [3, 0, 0, 0], "config and two slots");
    assert_eq!(world.backup(), [0, 0, 0, 0]);
    keeper.remove_slot(added).unwrap();
    assert_eq!(world.backup()[0], 2);
    let wrong = |store: Arc<dyn Store>| {
        let places = world.host().unwrap().places().clone();
        Repository::open(store, password("wrong"), world.hands.ambient("beta"), places, None)
    };
    assert!(matches!(wrong(world.far.clone()), Err(RepositoryError::WrongSecret { .. })));
    // Another repository takes its place.
    let names: Vec<_> = world.near.entries("").unwrap().into_iter().map(|entry| entry.name).collect();
    names.iter().for_each(|name| world.near.delete(name).unwrap());
    assert!(matches!(world.host(), Err(RepositoryError::NoRepository { .. })));
    create_tiny(world.near.clone(), &world.hands);
    assert!(matches!(world.host(), Err(RepositoryError::OtherRepository { .. })));
}

/// LOCAL-37: a `config` that is lost is found by the next check, and by everybody a day later.
#[test]
fn a_config_that_is_lost_is_missed() {
    let world = World::new();
    world.near.delete(&"config".parse().unwrap()).unwrap();
    let report = check(&world.host().unwrap(), CheckDepth::Structure, &Silent).unwrap();
    assert!(report.damage.iter().any(|damage| damage.object == "config"), "{:?}", report.damage);
    world.hands.pass(25 * HOUR);
    assert!(matches!(world.host(), Err(RepositoryError::Damaged { object, .. }) if object == "config"));
}

/// A pack of which most is wanted is one request to a store that is far away, though a part of it is nobody's.
#[test]
fn a_restore_reads_a_pack_of_which_most_is_wanted_at_once() {
    let (hands, temp, near) = (Hands::new(92), tempfile::tempdir().unwrap(), memory());
    create_tiny(near.clone(), &hands);
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    for (seed, (file, length)) in (1..).zip([("a", 4_000_000), ("b", 2_500_000), ("c", 4_000_000)]) {
        fs::write(data.join(file), noise(length, seed)).unwrap();
    }
    let host = |store: Arc<dyn Store>| open_at(store, &hands, "beta", Places::default()).unwrap();
    back_up(&host(near.clone()), &data, "d").unwrap();
    fs::remove_file(data.join("b")).unwrap();
    back_up(&host(near.clone()), &data, "d").unwrap();
    let reads = |store: Arc<RecordingStore>, out: &str| {
        let repository = host(store.clone());
        let snapshot = latest(&repository, "d").unwrap();
        store.drain();
        restore_to(&repository, &snapshot, &temp.path().join(out)).unwrap();
        store.drain().iter().filter(|call| call.name.starts_with("packs/")).count()
    };
    // What lies between the two files that are wanted costs a store at hand one read more; the others are those of lists.
    let (far, near) = (reads(RecordingStore::far(near.clone()), "far"), reads(RecordingStore::new(near), "near"));
    assert_eq!(far + 1, near);
}
