//! Schedules and damage that a sweep has to survive: what was recorded as lost and is whole again, what another process
//! does between two of its calls, and what a listing shows late.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redkeep::operations::Silent;
use redkeep::operations::backup::Report as Backup;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::list::{Selector, choose};
use redkeep::operations::prune::{Options, prune};
use redkeep::operations::repair::{RepairReport, repair};
use redkeep::repository::{Places, Repository};
use redkeep::store::{ObjectName, Promises, PutNew, Store, Timing};

use crate::support::repository::*;
use crate::support::sim::{LISTINGS, SimStore};
use crate::support::stores::{Fault, FaultyStore, Verb, through};
use crate::support::sweeps::AT_ONCE;

const MIB: usize = 1 << 20;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

const OVERNIGHT: Options = Options { grace: DAY, ..AT_ONCE };

/// A simulated store, hands, and a directory with one file.
struct World {
    hands: Hands,
    store: Arc<SimStore>,
    temp: tempfile::TempDir,
}

impl World {
    fn new(seed: u64) -> World {
        let hands = Hands::new(seed);
        World { store: SimStore::strict(&hands), hands, temp: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> Repository {
        open(self.store.clone(), &self.hands).unwrap()
    }

    /// Backs up these bytes.
    fn back_up(&self, repository: &Repository, bytes: &[u8]) -> Backup {
        let data = self.temp.path().join("data");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("file"), bytes).unwrap();
        self.hands.pass(MINUTE);
        back_up(repository, &data, "d").unwrap()
    }

    /// A host that knows nothing restores these bytes from the newest snapshot.
    fn assert_latest(&self, bytes: &[u8]) {
        self.assert_latest_of("d", bytes);
    }

    fn assert_latest_of(&self, dataset: &str, bytes: &[u8]) {
        let (repository, out) = (self.open(), self.temp.path().join("out"));
        repository.refresh().unwrap();
        let _ = fs::remove_dir_all(&out);
        restore_to(&repository, &latest(&repository, dataset).unwrap(), &out).unwrap();
        assert!(fs::read(out.join("file")).unwrap() == bytes);
    }

    fn names(&self, prefix: &str) -> Vec<ObjectName> {
        let names = self.store.names().into_iter().filter(|name| name.starts_with(prefix));
        names.map(|name| name.parse().unwrap()).collect()
    }

    fn only(&self, prefix: &str) -> ObjectName {
        let names = self.names(prefix);
        assert_eq!(names.len(), 1, "{names:?}");
        names[0].clone()
    }

    fn flip(&self, name: &ObjectName) {
        let mut bytes = self.store.get(name, u64::MAX).unwrap();
        bytes[100] ^= 1;
        self.store.put(name, bytes.clone().into()).unwrap();
    }

    fn is_sound(&self) -> bool {
        check(&self.open(), CheckDepth::Data, &Silent).unwrap().is_sound()
    }
}

fn fix(repository: &Repository) -> RepairReport {
    repair(repository, CheckDepth::Data, &Silent).unwrap()
}

fn forget(repository: &Repository, report: &Backup) {
    repository.forget(&report.name, "test").unwrap();
}

/// What somebody does just before a call.
type Hook = Box<dyn FnMut(Verb, &str) + Send>;

/// A store beside whose calls something else happens.
pub(crate) struct Hooked {
    inner: Arc<SimStore>,
    hook: Mutex<Hook>,
}

impl Hooked {
    pub(crate) fn new(inner: Arc<SimStore>, hook: impl FnMut(Verb, &str) + Send + 'static) -> Arc<Hooked> {
        Arc::new(Hooked { inner, hook: Mutex::new(Box::new(hook)) })
    }

    fn call(&self, verb: Verb, name: &str) {
        (self.hook.lock().unwrap())(verb, name);
    }
}

impl Store for Hooked {
    through!(self.inner, told call: get get_range put put_new list stat delete);
    through!(self.inner: room connections promises location);
}

/// A repository whose first pack was damaged, its loss recorded, and its content stored again beside more.
fn lost_once(world: &World, shared: &[u8]) -> (Repository, Backup) {
    let repository = create(world.store.clone(), &world.hands);
    world.back_up(&repository, shared);
    world.flip(&world.only("packs/"));
    let report = fix(&repository);
    assert!(!report.recorded.chunks.is_empty() && report.condemned.len() == 1, "{report:?}");
    let again = world.back_up(&repository, &[shared, &noise(2 * MIB, 2)].concat());
    (repository, again)
}

/// SWEEP-13: a record takes nothing away.
#[test]
fn what_was_lost_once_and_is_whole_again_is_stored_again_like_anything_else() {
    let (world, shared) = (World::new(701), noise(2 * MIB, 1));
    let (repository, again) = lost_once(&world, &shared);
    let newest = [&shared[..], &noise(2 * MIB, 3)].concat();
    world.back_up(&repository, &newest);
    forget(&repository, &again);
    for _ in 0..2 {
        prune(&repository, &AT_ONCE, &Silent).unwrap();
        world.assert_latest(&newest);
    }
    assert!(world.is_sound());
}

/// SWEEP-14: what is whole again can be lost again, and then it is news.
#[test]
fn a_second_loss_of_what_was_recorded_as_lost_stops_a_sweep() {
    for is_swept_between in [false, true] {
        let (world, shared) = (World::new(702), noise(2 * MIB, 1));
        let (repository, _) = lost_once(&world, &shared);
        if is_swept_between {
            prune(&repository, &AT_ONCE, &Silent).unwrap();
            assert_eq!(world.names("notes/").len(), 1, "the check's result stays, the loss goes");
        }
        let whole: Vec<ObjectName> = world.names("packs/");
        whole.iter().for_each(|name| world.store.delete(name).unwrap());
        let refused = prune(&repository, &AT_ONCE, &Silent).unwrap_err();
        assert!(refused.is_damage(), "{refused}");
    }
}

/// SWEEP-2: all that the lost pack held was recorded, and so tells nothing of the pack in which it is whole again.
#[test]
fn what_was_recorded_as_lost_and_stored_again_is_missed_when_that_pack_goes_or_is_cut_short() {
    for is_cut in [false, true] {
        let (world, shared) = (World::new(715), noise(2 * MIB, 1));
        let repository = create(world.store.clone(), &world.hands);
        world.back_up(&repository, &shared);
        world.flip(&world.only("packs/"));
        let before = world.names("packs/");
        fix(&repository);
        world.back_up(&repository, &shared);
        let whole: Vec<ObjectName> = world.names("packs/").into_iter().filter(|name| !before.contains(name)).collect();
        assert_eq!(whole.len(), 1);
        let mut bytes = world.store.get(&whole[0], u64::MAX).unwrap();
        world.store.delete(&whole[0]).unwrap();
        if is_cut {
            // Before what the other pack lost: what is behind that is stored again from there.
            bytes.truncate(60);
            world.store.put(&whole[0], bytes.into()).unwrap();
        }
        let refused = prune(&repository, &AT_ONCE, &Silent).expect_err(&format!("{is_cut}"));
        assert!(refused.is_damage(), "{is_cut}: {refused}");
    }
}

/// SWEEP-14
#[test]
fn a_loss_note_stays_while_anything_it_names_is_missing() {
    let (world, shared) = (World::new(703), noise(2 * MIB, 1));
    let repository = create(world.store.clone(), &world.hands);
    world.back_up(&repository, &shared);
    world.flip(&world.only("packs/"));
    fix(&repository);
    let notes = world.names("notes/").len();
    world.back_up(&repository, &noise(2 * MIB, 3));
    for _ in 0..2 {
        prune(&repository, &AT_ONCE, &Silent).unwrap();
    }
    assert_eq!(world.names("notes/").len(), notes, "a snapshot still misses what it names");
}

/// SWEEP-6
#[test]
fn a_damaged_snapshot_whose_loss_was_recorded_does_not_stop_a_sweep_by_its_lease() {
    let world = World::new(704);
    let repository = create(world.store.clone(), &world.hands);
    world.back_up(&repository, &noise(MIB, 1));
    world.flip(&world.only("snapshots/"));
    assert!(prune(&repository, &AT_ONCE, &Silent).unwrap_err().is_damage());
    fix(&world.open());
    let newest = noise(MIB, 2);
    world.back_up(&world.open(), &newest);
    prune(&world.open(), &AT_ONCE, &Silent).unwrap();
    world.assert_latest(&newest);
}

/// SWEEP-7: between two looks of a sweep its condemnation is lost: nobody keeps off its packs any more.
#[test]
fn a_condemnation_that_is_lost_while_it_is_carried_out_buries_nothing() {
    let world = World::new(705);
    let repository = create(world.store.clone(), &world.hands);
    let shared = noise(2 * MIB, 1);
    let old = world.back_up(&repository, &[&shared[..], &noise(2 * MIB, 2)].concat());
    let newest = [&shared[..], &noise(2 * MIB, 3)].concat();
    world.back_up(&repository, &newest);
    forget(&repository, &old);
    world.hands.pass(DAY + MINUTE);
    // One that misses the condemnation commits what the condemned pack holds.
    let sleeper = open_at(world.store.clone(), &world.hands, "beta", Places::default()).unwrap();
    let session = sleeper.begin("other").unwrap();
    assert_eq!(prune(&repository, &OVERNIGHT, &Silent).unwrap().report.condemned_packs, 1);
    let mut again = session.copy(&old.snapshot, &|| false).unwrap();
    again.dataset = "other".into();
    session.commit(&again).unwrap();
    world.hands.pass(DAY + MINUTE);
    let store = world.store.clone();
    let name = world.only("condemned/");
    let mut is_due = true;
    let hooked = Hooked::new(world.store.clone(), move |verb, what| {
        if is_due && (verb, what) == (Verb::List, "leases/") {
            is_due = false;
            store.delete(&name).unwrap();
        }
    });
    let sweeper = open(hooked, &world.hands).unwrap();
    drop(prune(&sweeper, &OVERNIGHT, &Silent));
    world.assert_latest(&newest);
    world.assert_latest_of("other", &[&shared[..], &noise(2 * MIB, 2)].concat());
}

/// SWEEP-16: the index object of a session that slept until its packs were gone.
#[test]
fn an_index_object_that_comes_late_alarms_nobody_for_ever() {
    let world = World::new(706);
    let repository = create(world.store.clone(), &world.hands);
    let old = world.back_up(&repository, &noise(2 * MIB, 1));
    let index = world.only("index/");
    let late = world.store.get(&index, u64::MAX).unwrap();
    let newest = noise(2 * MIB, 2);
    world.back_up(&repository, &newest);
    forget(&repository, &old);
    prune(&repository, &AT_ONCE, &Silent).unwrap();
    assert_eq!(world.names("packs/").len(), 1);
    world.store.put(&index, late.clone().into()).unwrap();
    world.hands.pass(MINUTE);
    assert!(!world.is_sound());
    prune(&repository, &AT_ONCE, &Silent).unwrap();
    assert!(world.is_sound());
    assert!(!world.names("index/").contains(&index));
    world.assert_latest(&newest);
}

/// SWEEP-11: one sweep deletes what another one relies on, at every call of the first.
#[test]
fn two_sweeps_that_merge_index_objects_leave_every_pack_named() {
    let prepared = World::new(707);
    let repository = create(prepared.store.clone(), &prepared.hands);
    let mut bytes = Vec::new();
    for day in 0..8 {
        bytes.extend(noise(100_000, day));
        prepared.back_up(&repository, &bytes);
    }
    // Too young to be judged, so that only index objects are merged.
    let run = |at: usize| {
        let hands = prepared.hands.fork();
        let store = prepared.store.fork(&hands);
        let (beside, other, mut calls) = (store.clone(), hands.another(7, 0), 0);
        let hooked = Hooked::new(store.clone(), move |_, _| {
            calls += 1;
            if calls == at {
                drop(prune(&open(beside.clone(), &other).unwrap(), &OVERNIGHT, &Silent));
            }
        });
        let sweeper = open(hooked, &hands).unwrap();
        let result = prune(&sweeper, &OVERNIGHT, &Silent);
        assert!(result.is_ok(), "call {at}: {result:?}");
        let found = check(&open(store, &hands).unwrap(), CheckDepth::Structure, &Silent).unwrap();
        assert!(found.is_sound() && found.unindexed_packs == 0, "call {at}: {found:?}");
    };
    (1..110).for_each(run);
}

/// SWEEP-2: what is committed, or goes, between two LISTs of a sweep is no loss: a backup whose packs were stored after
/// `packs/` was listed; a snapshot whose time was not over yet for the one sweep, and is for another.
#[test]
fn a_backup_and_a_sweep_beside_any_call_of_a_sweep_are_no_loss() {
    let prepared = World::new(713);
    let repository = create_tiny(prepared.store.clone(), &prepared.hands);
    let newest = noise(10_000, 1);
    let old = prepared.back_up(&repository, &noise(10_000, 2));
    prepared.back_up(&repository, &newest);
    forget(&repository, &old);
    prepared.hands.pass(DAY - MINUTE);
    let mut bytes = newest.clone();
    bytes[5_000..5_016].copy_from_slice(&noise(16, 3));
    // Answers whether the sweep made that call.
    let run = |is_sweep: bool, at: usize| {
        let hands = prepared.hands.fork();
        let world = World { store: prepared.store.fork(&hands), hands, temp: tempfile::tempdir().unwrap() };
        let (beside, hands, data) = (world.store.clone(), world.hands.clone(), world.temp.path().join("new"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("file"), &bytes).unwrap();
        let (mut calls, is_made) = (0, Arc::new(AtomicBool::new(false)));
        let made = is_made.clone();
        let hooked = Hooked::new(world.store.clone(), move |_, _| {
            calls += 1;
            if calls == at {
                made.store(true, Ordering::SeqCst);
                hands.pass(2 * MINUTE);
                let repository = open_at(beside.clone(), &hands.another(9, 0), "beta", Places::default()).unwrap();
                match is_sweep {
                    true => drop(prune(&repository, &OVERNIGHT, &Silent).unwrap()),
                    false => drop(back_up(&repository, &data, "d").unwrap()),
                }
            }
        });
        let result = prune(&open(hooked, &world.hands).unwrap(), &OVERNIGHT, &Silent);
        assert!(result.is_ok(), "beside call {at}, a sweep: {is_sweep}: {result:?}");
        let is_made = is_made.load(Ordering::SeqCst);
        world.assert_latest(if is_made && !is_sweep { &bytes } else { &newest });
        is_made
    };
    for is_sweep in [false, true] {
        assert!((1..).take_while(|at| run(is_sweep, *at)).count() > 30);
    }
}

/// SWEEP-2: a repository of many hosts is never as it was when a sweep began to look: before each LIST of `snapshots/` one
/// more backup is committed. Nothing is refused, and what came so late is not judged.
#[test]
fn a_backup_before_every_look_at_snapshots_stops_no_sweep() {
    let world = World::new(714);
    let repository = create(world.store.clone(), &world.hands);
    let old = world.back_up(&repository, &noise(2 * MIB, 1));
    world.back_up(&repository, &noise(2 * MIB, 2));
    forget(&repository, &old);
    let (beside, hands, data) = (world.store.clone(), world.hands.clone(), world.temp.path().join("new"));
    fs::create_dir(&data).unwrap();
    let (mut made, count) = (0, Arc::new(AtomicU64::new(0)));
    let counted = count.clone();
    let hooked = Hooked::new(world.store.clone(), move |verb, name| {
        if verb == Verb::List && name.starts_with("snapshots/") && made < 100 {
            made += 1;
            fs::write(data.join("file"), noise(MIB, 100 + made)).unwrap();
            let repository = open_at(beside.clone(), &hands.another(9, 0), "beta", Places::default()).unwrap();
            let report = back_up(&repository, &data, "e").unwrap();
            assert_eq!(report.alarms, []);
            counted.store(made, Ordering::SeqCst);
        }
    });
    let report = prune(&open(hooked, &world.hands).unwrap(), &AT_ONCE, &Silent).unwrap().report;
    assert_eq!(report.deleted_packs, 1, "{report:?}");
    let made = count.load(Ordering::SeqCst);
    assert!((3..100).contains(&made), "{made}");
    let found = check(&open(world.store.clone(), &world.hands).unwrap(), CheckDepth::Data, &Silent).unwrap();
    assert!(found.is_sound() && found.snapshots == 1 + made, "{found:?}");
}

/// SWEEP-15: looking at everything takes longer than a lease lasts.
#[test]
fn a_sweep_that_looks_for_hours_keeps_its_lease_alive() {
    let world = World::new(708);
    let repository = create(world.store.clone(), &world.hands);
    let mut last = Vec::new();
    for day in 0..6 {
        last = noise(2 * MIB, day);
        let report = world.back_up(&repository, &last);
        if day < 2 {
            forget(&repository, &report);
        }
    }
    let hands = world.hands.clone();
    let slow = Hooked::new(world.store.clone(), move |verb, name| {
        if verb == Verb::Get && name.starts_with("snapshots/") {
            hands.pass(12 * MINUTE);
        }
    });
    let report = prune(&open(slow, &world.hands).unwrap(), &AT_ONCE, &Silent).unwrap();
    assert_eq!(report.report.deleted_packs, 2, "{report:?}");
    world.assert_latest(&last);
}

/// SWEEP-5: what is stored again is listed long before what it was stored again for is gone.
#[test]
fn where_listings_lag_nobody_misses_for_a_while_what_a_sweep_stored_again() {
    let lag = Duration::from_secs(600);
    for listing in LISTINGS {
        for put_new in [PutNew::Exclusive, PutNew::Settled] {
            let (hands, temp) = (Hands::new(709), tempfile::tempdir().unwrap());
            let store = SimStore::new(&hands, Promises { put_new, timing: Timing::of_lag(lag) }, listing);
            let world = World { hands, store, temp };
            let repository = create(world.store.clone(), &world.hands);
            let shared = noise(2 * MIB, 1);
            let old = world.back_up(&repository, &[&shared[..], &noise(2 * MIB, 2)].concat());
            world.hands.pass(2 * lag);
            let newest = [&shared[..], &noise(2 * MIB, 3)].concat();
            world.back_up(&repository, &newest);
            forget(&repository, &old);
            let mut deleted = 0;
            // The list of the newest was a delta against that of the old: a delta that nobody needs any more may stay.
            let options = Options { max_unused: 0.01, ..OVERNIGHT };
            for round in 0..8 {
                world.hands.pass(DAY + MINUTE);
                let report = prune(&repository, &options, &Silent);
                deleted += report.unwrap_or_else(|error| panic!("{listing:?} {round}: {error}")).report.deleted_packs;
                world.assert_latest(&newest);
            }
            assert_eq!(deleted, 1, "{listing:?} {put_new:?}");
            world.hands.pass(DAY);
            assert!(world.is_sound(), "{listing:?} {put_new:?}");
        }
    }
}

/// NOTE-8: a backup may use what a lost condemnation named, so nobody may go on to bury it.
#[test]
fn a_repair_condemns_again_what_a_burial_names_whose_condemnation_is_lost() {
    let world = World::new(710);
    let repository = create(world.store.clone(), &world.hands);
    let shared = noise(2 * MIB, 1);
    let old = world.back_up(&repository, &shared);
    let newest = noise(2 * MIB, 2);
    world.back_up(&repository, &newest);
    forget(&repository, &old);
    // Killed between the burial and its first deletion.
    let before = world.store.names();
    let mut at = 1;
    let burial = loop {
        let hands = world.hands.fork();
        let store = world.store.fork(&hands);
        let faulty = FaultyStore::new(store.clone(), at, Fault::Before);
        drop(open(faulty.clone(), &hands).map(|repository| prune(&repository, &AT_ONCE, &Silent)));
        assert!(faulty.is_dead(), "no burial was put");
        let names = store.names();
        let has = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
        if has("condemned/") && has("burials/") {
            break World { hands, store, temp: tempfile::tempdir().unwrap() };
        }
        at += 1;
    };
    assert!(before.iter().filter(|name| name.starts_with("packs/")).all(|name| burial.store.names().contains(name)));
    burial.flip(&burial.only("condemned/"));
    fix(&burial.open());
    // Its content is known to nobody any more, or stays.
    let again = burial.back_up(&burial.open(), &shared);
    assert!(again.snapshot.summary.new_bytes >= 2 << 20, "{:?}", again.snapshot.summary);
    prune(&burial.open(), &AT_ONCE, &Silent).unwrap();
    burial.assert_latest(&shared);
}

/// NOTE-8: a sweep at work may have read it.
#[test]
fn a_repair_waits_for_a_sweep_that_may_go_on_with_a_lost_condemnation() {
    let world = World::new(711);
    let repository = create(world.store.clone(), &world.hands);
    let shared = noise(2 * MIB, 1);
    let old = world.back_up(&repository, &shared);
    let newest = noise(2 * MIB, 2);
    world.back_up(&repository, &newest);
    forget(&repository, &old);
    world.hands.pass(DAY + MINUTE);
    assert_eq!(prune(&repository, &OVERNIGHT, &Silent).unwrap().report.condemned_packs, 1);
    world.hands.pass(DAY + MINUTE);
    // Just before the burial: the condemnation is lost, a repair comes, and a backup of what only condemned packs hold.
    let (store, hands, name) = (world.store.clone(), world.hands.clone(), world.only("condemned/"));
    let (temp, bytes, mut is_due) = (tempfile::tempdir().unwrap(), shared.clone(), true);
    let outcome = Arc::new(Mutex::new(None));
    let told = outcome.clone();
    let hooked = Hooked::new(world.store.clone(), move |verb, what| {
        if is_due && verb == Verb::PutNew && what.starts_with("burials/") {
            is_due = false;
            let mut damaged = store.get(&name, u64::MAX).unwrap();
            damaged[100] ^= 1;
            store.put(&name, damaged.clone().into()).unwrap();
            let repository = open_at(store.clone(), &hands.another(9, 0), "beta", Places::default()).unwrap();
            drop(repair(&repository, CheckDepth::Data, &Silent));
            fs::write(temp.path().join("file"), &bytes).unwrap();
            *told.lock().unwrap() = Some(back_up(&repository, temp.path(), "d").map(|report| report.name.to_string()));
        }
    });
    drop(prune(&open(hooked, &world.hands).unwrap(), &OVERNIGHT, &Silent));
    let outcome = outcome.lock().unwrap().take().unwrap();
    match outcome {
        // Committed: then it has to be there.
        Ok(_) => world.assert_latest(&shared),
        // Or nothing was promised to anybody.
        Err(_) => world.assert_latest(&newest),
    }
}

/// SWEEP-12: versions that are deltas on ones that go: the oldest kept is stored whole, the later ones on it.
#[test]
fn deltas_on_what_nobody_needs_are_made_again_on_the_oldest_that_stays() {
    let world = World::new(712);
    let repository = create(world.store.clone(), &world.hands);
    let (mut bytes, mut kept, mut forgotten) = (noise(4 * MIB, 1), Vec::new(), Vec::new());
    for day in 0..8 {
        bytes[100_000..100_600].copy_from_slice(&noise(600, 10 + day));
        let report = world.back_up(&repository, &bytes);
        match day {
            0 | 2 | 4 | 5 => forgotten.push(report),
            _ => kept.push((report.name, bytes.clone())),
        }
    }
    let stored =
        |world: &World| world.names("packs/").iter().map(|n| world.store.get(n, u64::MAX).unwrap().len()).sum();
    let before: usize = stored(&world);
    forgotten.iter().for_each(|report| forget(&repository, report));
    for _ in 0..4 {
        prune(&repository, &AT_ONCE, &Silent).unwrap();
        assert!(stored(&world) <= before, "{} of {before}", stored(&world));
    }
    let (fresh, out) = (world.open(), world.temp.path().join("out"));
    assert!(fresh.refresh().unwrap().is_empty() && fresh.totals().unwrap().deltas > 0);
    for (name, bytes) in kept {
        let id = Selector::Id(name.session.to_string());
        let _ = fs::remove_dir_all(&out);
        restore_to(&fresh, &choose(&fresh, &id, Some("d")).unwrap(), &out).unwrap();
        assert!(fs::read(out.join("file")).unwrap() == bytes);
    }
    assert!(world.is_sound());
}
