//! Ledgers: what records and tombstones said goes into few objects, and nothing of it is lost on the way, whoever dies, waits
//! or reads meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redkeep::format::UnixMillis;
use redkeep::format::object::{Name, SnapshotName};
use redkeep::operations::prune::{Options, Report, prune};
use redkeep::operations::{Silent, forget};
use redkeep::repository::{Alarm, Places, Repository, RepositoryError};
use redkeep::store::{ObjectName, Promises, PutNew, Store, Timing};

use crate::forget_refused;
use crate::support::mini_writer::{self, MiniWriter, SNAPSHOT};
use crate::support::repository::*;
use crate::support::sim::{LISTINGS, SimStore};
use crate::support::stores::{Call, FAULTS, Fault, FaultyStore, PausableStore, RecordingStore, Verb};
use crate::support::sweeps::AT_ONCE;
use crate::sweep_hostile::Hooked;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const SWEEP: Options = Options { max_unused: 1.0, ..AT_ONCE };

type Said = BTreeMap<SnapshotName, (UnixMillis, String)>;

/// A store, and snapshots of one dataset.
struct World {
    hands: Hands,
    store: Arc<SimStore>,
    names: Vec<SnapshotName>,
}

/// With `count` snapshots, of which all but the last two are forgotten.
fn world(seed: u64, count: u64) -> World {
    let hands = Hands::new(seed);
    world_in(SimStore::strict(&hands), hands, count)
}

fn world_in(store: Arc<SimStore>, hands: Hands, count: u64) -> World {
    create(store.clone(), &hands);
    // Where listings lag they show the slot by then.
    hands.pass(HOUR);
    let mut world = World { hands, store, names: Vec::new() };
    world.take(count);
    world.hands.pass(HOUR);
    let repository = world.open();
    let gone = world.names.len().saturating_sub(2);
    world.names[..gone].iter().for_each(|name| drop(repository.forget(name, "retention").unwrap()));
    world
}

impl World {
    fn open(&self) -> Repository {
        open(self.store.clone(), &self.hands).unwrap()
    }

    fn take(&mut self, count: u64) {
        let (temp, repository) = (tempfile::tempdir().unwrap(), self.open());
        for number in 0..count {
            fs::write(temp.path().join("dump"), noise(500, number)).unwrap();
            self.names.push(back_up(&repository, temp.path(), "d").unwrap().name);
        }
    }

    /// The same at the same time, in another course of events.
    fn fork(&self) -> World {
        let hands = self.hands.fork();
        World { store: self.store.fork(&hands), hands, names: self.names.clone() }
    }

    fn sweep(&self) -> Report {
        prune(&self.open(), &SWEEP, &Silent).unwrap().report
    }

    /// Which of the calls of the next sweep puts a ledger.
    fn first_fold(&self) -> u64 {
        let world = self.fork();
        let recording = RecordingStore::new(world.store.clone());
        prune(&open(recording.clone(), &world.hands).unwrap(), &SWEEP, &Silent).unwrap();
        let is_it = |call: &Call| call.verb == Verb::PutNew && call.name.starts_with("forgotten/");
        recording.calls().iter().position(is_it).unwrap() as u64
    }

    fn below(&self, prefix: &str) -> Vec<Name> {
        let names = self.store.names().into_iter().filter(|name| name.starts_with(prefix));
        names.map(|name| Name::parse(&name).unwrap()).collect()
    }

    fn ledgers(&self) -> usize {
        self.below("forgotten/").iter().filter(|name| matches!(name, Name::Ledger(..))).count()
    }

    fn records(&self) -> usize {
        self.below("forgotten/").len() - self.ledgers()
    }

    /// What a host that knows nothing learns, and what alarms it.
    fn said(&self) -> (Said, Vec<Alarm>) {
        said_to(&self.open())
    }
}

fn said_to(repository: &Repository) -> (Said, Vec<Alarm>) {
    let alarms = repository.refresh().unwrap();
    let said = repository.forgotten().unwrap().into_iter();
    (said.map(|record| (record.snapshot, (record.time, record.reason))).collect(), alarms)
}

/// SWEEP-19, SWEEP-20, LEDGER-1, FORGET-4
#[test]
fn records_of_deleted_snapshots_go_into_one_ledger_and_what_they_said_stays() {
    let mut world = world(1001, 12);
    let before = world.said();
    assert_eq!((before.0.len(), &before.1[..]), (10, &[][..]));
    let report = world.sweep();
    assert_eq!((report.deleted_snapshots, report.folded), (10, 10));
    assert_eq!((world.records(), world.ledgers()), (0, 1));
    assert_eq!(world.said(), before, "time and reason too");
    // A host that knows nothing reads one object in place of ten.
    let recording = RecordingStore::new(world.store.clone());
    let repository = open(recording.clone(), &world.hands).unwrap();
    recording.drain();
    repository.refresh().unwrap();
    let reads = recording.drain().into_iter().filter(|call| call.verb == Verb::Get);
    assert_eq!(reads.filter(|call| call.name.starts_with("forgotten/")).count(), 1);
    // Seven more are not worth a ledger, eight are; it takes in the one that was there.
    let forget = |world: &World, count: usize| {
        let kept: Vec<SnapshotName> =
            repository.kept_snapshots().unwrap().into_iter().map(|info| info.name).take(count).collect();
        kept.iter().for_each(|name| drop(world.open().forget(name, "another reason").unwrap()));
    };
    world.take(8);
    repository.refresh().unwrap();
    forget(&world, 7);
    assert_eq!(world.sweep().folded, 0);
    assert_eq!((world.records(), world.ledgers()), (7, 1));
    repository.refresh().unwrap();
    forget(&world, 1);
    let before = world.said();
    assert_eq!(world.sweep().folded, 8);
    assert_eq!((world.records(), world.ledgers()), (0, 1));
    assert_eq!(world.said(), before);
    let names = world.store.names();
    assert_eq!(world.sweep().folded, 0);
    assert_eq!(world.store.names(), names, "nothing is put or deleted when nothing is loose");
}

/// SWEEP-19: what is younger than grace stays as it is.
#[test]
fn only_records_that_are_old_enough_are_folded() {
    let world = world(1002, 12);
    let sweep = |grace: Duration| prune(&world.open(), &Options { grace, ..SWEEP }, &Silent).unwrap().report;
    assert_eq!((sweep(DAY).folded, world.records()), (0, 10));
    world.hands.pass(DAY + HOUR);
    let report = sweep(DAY);
    assert_eq!((report.deleted_snapshots, report.folded, world.records()), (10, 10, 0));
}

/// The host of a backup remembers what it committed: that it was forgotten is in a ledger now.
///
/// LOCAL-5, SNAP-3
#[test]
fn a_host_that_remembers_a_folded_snapshot_is_not_alarmed() {
    let temp = tempfile::tempdir().unwrap();
    let places =
        Places { cache: Some(temp.path().join("cache")), state: Some(temp.path().join("state")), scratch: None };
    let world = world(1003, 12);
    let remembers = || open_at(world.store.clone(), &world.hands, "beta", places.clone()).unwrap();
    remembers().refresh().unwrap();
    for name in &world.names[10..] {
        world.open().forget(name, "retention").unwrap();
    }
    world.sweep();
    assert_eq!((world.records(), world.ledgers(), world.below("snapshots/").len()), (0, 1, 0));
    let (said, alarms) = said_to(&remembers());
    assert_eq!((said.len(), alarms), (12, vec![]));
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("dump"), noise(500, 99)).unwrap();
    let next = back_up(&remembers(), &data, "d").unwrap();
    assert_eq!((next.snapshot.sequence, next.alarms), (13, vec![]), "no number is given twice");
}

/// A sweep dies at any call, before it, after it took effect, or half done: what was said is still said, and the next one
/// folds to the end.
///
/// SWEEP-19, SWEEP-20
#[test]
fn a_sweep_that_dies_while_it_folds_loses_nothing_that_was_said() {
    let world = world(1004, 11);
    let before = world.said().0;
    let mut with_both = 0;
    for fault in FAULTS {
        // Until the last record is gone; what follows is not about them.
        for n in world.first_fold() - 2..world.first_fold() + 16 {
            let world = world.fork();
            let faulty = FaultyStore::new(world.store.clone(), n, fault);
            let dying = open(faulty.clone(), &world.hands);
            let died = dying.map_err(drop).and_then(|dying| prune(&dying, &SWEEP, &Silent).map(drop).map_err(drop));
            let (said, alarms) = world.said();
            assert_eq!(said, before, "{fault:?} at {n}");
            assert!(fault == Fault::Torn || alarms.is_empty(), "{fault:?} at {n}: {alarms:?}");
            with_both += usize::from(world.ledgers() > 0 && world.records() > 0);
            if alarms.is_empty() {
                world.sweep();
                assert_eq!((world.said(), world.records()), ((before.clone(), vec![]), 0), "{fault:?} at {n}");
                assert_eq!(world.ledgers(), 1, "{fault:?} at {n}");
            }
            assert!(died.is_err() || faulty.is_dead(), "{fault:?} at {n}");
        }
    }
    assert!(with_both > 5, "some died between the put of a ledger and the last delete: {with_both}");
}

/// One sweep is held at any of its calls while another one folds: both said what there was, and one ledger is left in the end.
///
/// SWEEP-19, SWEEP-20
#[test]
fn two_sweeps_that_fold_at_once_leave_everything_said() {
    let world = world(1005, 11);
    let before = world.said();
    let mut by_both = 0;
    for n in world.first_fold() - 7..world.first_fold() + 8 {
        let world = world.fork();
        let pausing = PausableStore::new(world.store.clone(), n);
        let (held, first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                let swept = prune(&open(pausing.clone(), &world.hands).unwrap(), &SWEEP, &Silent);
                pausing.finish();
                swept.unwrap().report
            });
            let held = pausing.wait_until_held();
            let second = world.sweep();
            assert_eq!(world.said(), before, "{held:?}");
            pausing.release();
            (held, first.join().unwrap(), second)
        });
        assert_eq!(world.said(), before, "{held:?}");
        assert_eq!(world.records(), 0, "{held:?}");
        by_both += usize::from(first.folded > 0 && second.folded > 0);
        world.sweep();
        assert_eq!((world.said(), world.ledgers()), (before.clone(), 1), "{held:?}");
        assert!(held.is_some());
    }
    assert!(by_both > 0, "at least once both put a ledger");
}

/// LEDGER-3: a record is listed, and folded before it is read.
#[test]
fn a_reader_that_lists_a_record_and_finds_it_folded_lists_again() {
    let world = world(1006, 12);
    let before = world.said();
    let (store, hands, is_folded) = (world.store.clone(), world.hands.clone(), AtomicBool::new(false));
    let hooked = Hooked::new(world.store.clone(), move |verb, name| {
        if verb == Verb::Get && name.starts_with("forgotten/") && !is_folded.swap(true, Ordering::SeqCst) {
            let report = prune(&open(store.clone(), &hands).unwrap(), &SWEEP, &Silent).unwrap().report;
            assert_eq!(report.folded, 10);
        }
    });
    let reader = open(hooked, &world.hands).unwrap();
    let (said, alarms) = said_to(&reader);
    assert_eq!(said, before.0);
    // Snapshots that were listed before they went were forgotten: no alarm either.
    assert_eq!((alarms, world.ledgers(), world.records()), (vec![], 1, 0));
}

/// Where listings lag, records stay until everybody sees the ledger: a reader is never left without both.
///
/// SWEEP-19
#[test]
fn where_listings_lag_no_reader_is_left_without_record_and_ledger() {
    let lag = Duration::from_secs(600);
    for listing in LISTINGS {
        let hands = Hands::new(1007);
        let promises = Promises { put_new: PutNew::Exclusive, timing: Timing::of_lag(lag) };
        let world = world_in(SimStore::new(&hands, promises, listing), hands, 12);
        world.hands.pass(DAY + HOUR);
        let options = Options { grace: DAY, ..SWEEP };
        let mut folded = 0;
        for _ in 0..12 {
            folded += prune(&world.open(), &options, &Silent).unwrap().report.folded;
            let (said, alarms) = world.said();
            assert_eq!((said.len(), alarms), (10, vec![]), "{listing:?}");
            world.hands.pass(lag / 2 + Duration::from_secs(7));
        }
        // A sweep that does not see the ledger of the one before puts it again; in the end one is left.
        assert!(folded >= 10);
        assert_eq!((world.records(), world.ledgers()), (0, 1), "{listing:?}");
    }
}

/// SWEEP-19: where listings lag, a ledger that everybody who sees it saw for less than that replaces nothing.
#[test]
fn where_listings_lag_records_go_once_their_ledger_is_twice_that_old() {
    let (lag, minute) = (Duration::from_secs(600), Duration::from_secs(60));
    for listing in LISTINGS {
        let hands = Hands::new(1012);
        let promises = Promises { put_new: PutNew::Exclusive, timing: Timing::of_lag(lag) };
        let world = world_in(SimStore::new(&hands, promises, listing), hands, 12);
        world.hands.pass(DAY + HOUR);
        let sweep = || prune(&world.open(), &Options { grace: DAY, ..AT_ONCE }, &Silent).unwrap().report;
        // Their snapshots are deleted, which every listing shows by then.
        sweep();
        world.hands.pass(3 * lag);
        if world.ledgers() == 0 {
            assert_eq!(sweep().folded, 10, "{listing:?}");
            world.hands.pass(2 * lag - minute);
            assert_eq!((sweep().folded, world.records(), world.ledgers()), (0, 10, 1), "{listing:?}: it is shown");
            world.hands.pass(2 * minute);
        }
        assert_eq!((sweep().folded, world.records(), world.ledgers()), (0, 0, 1), "{listing:?}");
    }
}

/// SWEEP-19: by the time of the store where that of the host is behind.
#[test]
fn records_younger_than_grace_stay_though_their_snapshots_are_gone() {
    let mut world = world(1013, 1);
    world.take(9);
    let behind = world.hands.another(7, -3 * 24 * 3_600_000).ambient("behind");
    let secret = password(PASSWORD);
    let repository = Repository::open(world.store.clone(), secret, behind, Places::default(), None).unwrap();
    repository.refresh().unwrap();
    for name in &world.names[..8] {
        repository.forget(name, "retention").unwrap();
        for gone in [Name::Lease(name.session), Name::Snapshot(*name)] {
            world.store.delete(&gone.to_string().parse().unwrap()).unwrap();
        }
    }
    let sweep = || prune(&world.open(), &Options { grace: DAY, ..AT_ONCE }, &Silent).unwrap().report.folded;
    assert_eq!((sweep(), world.records()), (0, 8));
    world.hands.pass(DAY + HOUR);
    assert_eq!((sweep(), world.records()), (8, 0));
}

/// Sessions that were killed leave tombstones, by a sweep. `count` of them.
fn give_up_sessions(world: &World, count: usize) {
    let repository = world.open();
    (0..count).for_each(|_| std::mem::forget(repository.begin("d").unwrap()));
    world.hands.pass(2 * HOUR);
    world.sweep();
    world.hands.pass(Duration::from_secs(1));
    world.sweep();
    assert_eq!(world.below("leases/"), []);
    assert_eq!(world.sweep().folded, 0, "too young, though nobody has a lease for them");
}

/// SWEEP-19, SWEEP-20, SESS-8
#[test]
fn tombstones_that_nobody_needs_any_more_are_folded() {
    let world = world(1008, 2);
    give_up_sessions(&world, 9);
    assert_eq!(world.below("snapshots/").len(), 2 + 9);
    world.hands.pass(DAY + HOUR);
    assert_eq!(world.sweep().folded, 9);
    assert_eq!((world.below("snapshots/").len(), world.ledgers()), (2, 1));
    let repository = world.open();
    assert_eq!((repository.refresh().unwrap(), repository.snapshots().unwrap().len()), (vec![], 2));
    assert_eq!(repository.forgotten().unwrap(), [], "a void name was not forgotten");
}

/// LEDGER-3: tombstones are listed, and folded before they are read.
#[test]
fn a_reader_that_lists_a_tombstone_and_finds_it_folded_is_not_alarmed() {
    let world = world(1011, 2);
    give_up_sessions(&world, 9);
    world.hands.pass(DAY + HOUR);
    let (store, hands, is_folded) = (world.store.clone(), world.hands.clone(), AtomicBool::new(false));
    let hooked = Hooked::new(world.store.clone(), move |verb, name| {
        if verb == Verb::Get && name.starts_with("snapshots/") && !is_folded.swap(true, Ordering::SeqCst) {
            let report = prune(&open(store.clone(), &hands).unwrap(), &SWEEP, &Silent).unwrap().report;
            assert_eq!(report.folded, 9);
        }
    });
    let alarms = open(hooked, &world.hands).unwrap().refresh().unwrap();
    assert_eq!((alarms, world.below("snapshots/").len()), (vec![], 2));
}

/// A session sleeps in the middle of its commit until its tombstone was put and folded: the name is free, and void.
///
/// SESS-9, LEDGER-2, SWEEP-1
#[test]
fn a_commit_that_comes_after_its_tombstone_was_folded_does_not_count() {
    let world = world(1009, 2);
    give_up_sessions(&world, 7);
    let (store, hands, late) = (world.store.clone(), world.hands.clone(), Arc::new(Mutex::new(None::<String>)));
    let noted = late.clone();
    let hooked = Hooked::new(world.store.clone(), move |verb, name| {
        if verb != Verb::PutNew || !name.starts_with("snapshots/") || noted.lock().unwrap().is_some() {
            return;
        }
        *noted.lock().unwrap() = Some(name.into());
        let sweep = || prune(&open(store.clone(), &hands).unwrap(), &SWEEP, &Silent).unwrap().report.folded;
        hands.pass(2 * HOUR);
        assert_eq!(sweep(), 0);
        hands.pass(DAY + HOUR);
        // The lease goes in this run, the tombstone in the next one.
        assert_eq!((sweep(), sweep() > 0), (0, true));
        assert!(!store.names().iter().any(|of| of == name), "the tombstone is gone");
    });
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("dump"), noise(500, 77)).unwrap();
    let sleeper = open(hooked, &world.hands).unwrap();
    let previous = world.open().snapshot(&world.names[1]).unwrap();
    let session = sleeper.begin("d").unwrap();
    let snapshot = redkeep::format::snapshot::Snapshot { sequence: session.sequence(), ..previous };
    let outcome = session.commit(&snapshot);
    assert!(matches!(outcome, Err(RepositoryError::Fenced)), "{outcome:?}");
    let late = late.lock().unwrap().clone().unwrap();
    assert!(world.store.names().contains(&late), "it was put");
    let told = [Alarm::Late { object: late.clone() }];
    let repository = world.open();
    assert_eq!(repository.refresh().unwrap(), told);
    assert_eq!(repository.snapshots().unwrap().len(), 2, "it is not listed");
    assert_eq!(latest(&repository, "d").unwrap().name, world.names[1]);
    // It never counted: that it is there loses nothing.
    let forgets = forget::Options { dry_run: true, ..forget_refused::policy() };
    assert_eq!(forget::forget(&repository, &forgets, &Silent).unwrap().alarms, told);
    // It goes when everybody could see it for the time of grace; it is no root, and stops no sweep.
    let graceful = Options { grace: DAY, ..SWEEP };
    assert_eq!(prune(&world.open(), &graceful, &Silent).unwrap().report.snapshots, 2);
    assert_eq!(world.open().refresh().unwrap(), told);
    world.hands.pass(DAY + HOUR);
    prune(&world.open(), &graceful, &Silent).unwrap();
    assert_eq!(world.open().refresh().unwrap(), []);
    // Whoever begins again commits.
    let next = back_up(&world.open(), temp.path(), "d").unwrap();
    assert_eq!((next.alarms, latest(&world.open(), "d").unwrap().name), (vec![], next.name));
}

/// FORGET-3, SWEEP-2
#[test]
fn a_ledger_that_cannot_be_read_is_an_alarm_and_stops_sweeps() {
    let world = world(1010, 12);
    world.sweep();
    let name: ObjectName = world.below("forgotten/").remove(0).to_string().parse().unwrap();
    let mut bytes = world.store.get(&name, u64::MAX).unwrap();
    bytes[100] ^= 1;
    world.store.put(&name, bytes.into()).unwrap();
    let (said, alarms) = world.said();
    assert_eq!(said.len(), 0, "it says nothing");
    assert!(alarms.iter().any(|alarm| matches!(alarm, Alarm::Forgotten { object, .. } if *object == name.to_string())));
    assert!(alarms.iter().any(|alarm| matches!(alarm, Alarm::Gap { .. })), "{alarms:?}");
    assert!(prune(&world.open(), &SWEEP, &Silent).unwrap_err().is_damage());
}

/// SNAP-7: what a name says of a snapshot, the snapshot says too.
#[test]
fn a_snapshot_of_another_place_or_sequence_than_its_name_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let writer = MiniWriter::create(temp.path().to_path_buf());
    writer.snapshot(3, None, &[]);
    let secret = password(mini_writer::PASSWORD);
    let ambient = Hands::new(1011).ambient("a");
    let repository = Repository::open(local(temp.path()), secret, ambient, Places::default(), None).unwrap();
    assert_eq!(repository.refresh().unwrap(), []);
    let name: SnapshotName = SnapshotName::parse(&writer.snapshot_name(3)).unwrap();
    let snapshot = repository.snapshot(&name).unwrap();
    for other in [SnapshotName { place: 4, ..name }, SnapshotName { sequence: 4, ..name }] {
        writer.put_hashed(&other.to_string(), SNAPSHOT, &snapshot.encode());
        let alarms = repository.refresh().unwrap();
        assert!(
            matches!(&alarms[..], [Alarm::Snapshot { fault, .. }] if fault.contains("place or sequence")),
            "{alarms:?}"
        );
        fs::remove_file(temp.path().join(other.to_string())).unwrap();
    }
}
