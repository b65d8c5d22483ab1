//! Whom a sweep waits for, and for how long: sessions that missed a condemnation, leases that cannot be read, clocks that
//! are ahead, and listings that do not show yet what was committed.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redkeep::operations::backup::Report as Backup;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::prune::{Options, Report, Waiting, prune};
use redkeep::operations::repair::repair;
use redkeep::operations::{OperationError, Silent};
use redkeep::repository::{Places, Repository, Session};
use redkeep::store::{ObjectName, Promises, PutNew, Store, Timing};

use crate::support::repository::*;
use crate::support::sim::{Listing, SimStore};
use crate::support::stores::Verb;
use crate::support::sweeps::AT_ONCE;
use crate::sweep_hostile::Hooked;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const LAG: Duration = Duration::from_secs(600);
const SOON: Options = Options { grace: Duration::from_secs(1), ..AT_ONCE };

/// A store, a host that sweeps, and a directory with one file.
struct World {
    hands: Hands,
    store: Arc<SimStore>,
    repository: Repository,
    temp: tempfile::TempDir,
}

impl World {
    fn new(seed: u64, put_new: PutNew, lag: Duration) -> World {
        let hands = Hands::new(seed);
        let store = SimStore::new(&hands, Promises { put_new, timing: Timing::of_lag(lag) }, Listing::Late);
        let repository = create(store.clone(), &hands);
        World { hands, store, repository, temp: tempfile::tempdir().unwrap() }
    }

    fn local(seed: u64) -> World {
        World::new(seed, PutNew::Exclusive, Duration::ZERO)
    }

    fn back_up(&self, dataset: &str, seed: u64) -> Backup {
        let data = self.temp.path().join("data");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("file"), bytes(seed)).unwrap();
        back_up(&self.repository, &data, dataset).unwrap()
    }

    fn forget(&self, report: &Backup) {
        self.repository.forget(&report.name, "test").unwrap();
    }

    /// Another host.
    fn sleeper(&self, hands: &Hands) -> Repository {
        open_at(self.store.clone(), hands, "beta", Places::default()).unwrap()
    }

    fn sweep(&self, options: &Options) -> Report {
        prune(&self.repository, options, &Silent).unwrap().report
    }

    fn packs(&self) -> usize {
        self.store.names().iter().filter(|name| name.starts_with("packs/")).count()
    }

    fn lease(&self) -> ObjectName {
        let names = self.store.names();
        names.iter().find(|name| name.starts_with("leases/")).unwrap().parse().unwrap()
    }

    fn assert_latest(&self, dataset: &str, seed: u64) {
        let (repository, out) = (self.sleeper(&self.hands), self.temp.path().join("out"));
        repository.refresh().unwrap();
        restore_to(&repository, &latest(&repository, dataset).unwrap(), &out).unwrap();
        assert!(fs::read(out.join("file")).unwrap() == bytes(seed));
    }
}

fn bytes(seed: u64) -> Vec<u8> {
    noise(300_000, seed)
}

/// Commits, as a snapshot of this dataset, what another one captured.
fn commit_again(session: Session<'_>, of: &Backup, dataset: &str) {
    let mut again = session.copy(&of.snapshot, &|| false).unwrap();
    again.dataset = dataset.into();
    session.commit(&again).unwrap();
}

fn waits_for(report: &Report, session: &Session<'_>) -> bool {
    matches!(report.waiting[..], [Waiting::Session { session: of, .. }] if of == session.id())
}

/// SWEEP-6: of two condemnations the session has seen the first.
#[test]
fn a_session_is_waited_for_until_it_has_seen_all_that_is_due() {
    let world = World::local(721);
    let (first, second) = (world.back_up("d", 1), world.back_up("e", 2));
    let (early, late) = (world.sleeper(&world.hands), world.sleeper(&world.hands));
    let missed_both = early.begin("early").unwrap();
    world.forget(&first);
    let report = world.sweep(&AT_ONCE);
    assert!(report.condemned_packs == 1 && waits_for(&report, &missed_both), "{report:?}");
    let missed_one = late.begin("late").unwrap();
    world.forget(&second);
    assert_eq!(world.sweep(&AT_ONCE).condemned_packs, 1);
    missed_both.give_up(());
    let report = world.sweep(&AT_ONCE);
    assert!(report.deleted_packs == 0 && waits_for(&report, &missed_one), "{report:?}");
    commit_again(missed_one, &second, "late");
    assert_eq!(world.sweep(&AT_ONCE).deleted_packs, 2);
    world.assert_latest("late", 2);
}

/// SWEEP-6, SESS-3: what it saw stands in every heartbeat.
#[test]
fn a_session_that_saw_what_is_condemned_is_not_waited_for() {
    let world = World::local(722);
    let old = world.back_up("d", 1);
    let (early, late) = (world.sleeper(&world.hands), world.sleeper(&world.hands));
    let missed = early.begin("early").unwrap();
    world.forget(&old);
    assert_eq!(world.sweep(&AT_ONCE).condemned_packs, 1);
    let saw = late.begin("late").unwrap();
    missed.give_up(());
    world.hands.pass(11 * MINUTE);
    saw.keep_alive().unwrap();
    let report = world.sweep(&AT_ONCE);
    assert_eq!((report.deleted_packs, report.waiting.len()), (1, 0), "{report:?}");
}

/// SWEEP-8: only what is due is deleted by a burial.
#[test]
fn a_burial_leaves_what_was_condemned_later() {
    let world = World::local(723);
    let (first, second) = (world.back_up("d", 1), world.back_up("e", 2));
    let overnight = Options { grace: DAY, ..AT_ONCE };
    let half_a_day = || world.hands.pass(DAY / 2 + MINUTE);
    world.forget(&first);
    half_a_day();
    world.forget(&second);
    for _ in 0..2 {
        half_a_day();
        assert_eq!(world.sweep(&overnight).condemned_packs, 1);
    }
    half_a_day();
    let report = world.sweep(&overnight);
    assert_eq!((report.deleted_packs, report.waiting.len(), world.packs()), (1, 1, 1), "{report:?}");
    half_a_day();
    assert_eq!((world.sweep(&overnight).deleted_packs, world.packs()), (1, 0));
}

/// What a session does between being looked for and being given up.
type Slow = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// SWEEP-1, SWEEP-6: no LIST shows the snapshot yet; where put_new is not exclusive another one may take its place.
#[test]
fn a_snapshot_that_is_found_by_its_name_alone_is_a_root() {
    for (put_new, is_given_up) in [(PutNew::Exclusive, false), (PutNew::Exclusive, true), (PutNew::Settled, false)] {
        let world = World::new(724, put_new, LAG);
        let old = world.back_up("d", 1);
        world.hands.pass(2 * HOUR);
        world.forget(&old);
        world.hands.pass(2 * LAG);
        // Leaked: what happens beside a call of a store may happen at any time.
        let sleeper: &'static Repository = Box::leak(Box::new(world.sleeper(&world.hands)));
        let session = sleeper.begin("other").unwrap();
        assert_eq!(world.sweep(&SOON).condemned_packs, 1);
        for _ in 0..5 {
            world.hands.pass(5 * MINUTE);
            session.keep_alive().unwrap();
        }
        let report = world.sweep(&SOON);
        assert!(report.deleted_packs == 0 && waits_for(&report, &session), "{report:?}");
        let commit: Box<dyn FnOnce() + Send> = Box::new(move || commit_again(session, &old, "other"));
        if is_given_up {
            // By a host whose clock is ahead; the commit comes just before the tombstone.
            let slow: Slow = Arc::new(Mutex::new(Some(commit)));
            let hooked = Hooked::new(world.store.clone(), move |verb, name| {
                if verb == Verb::PutNew && name.starts_with("snapshots/") {
                    let commit = slow.lock().unwrap().take();
                    commit.into_iter().for_each(|commit| commit());
                }
            });
            let ahead = world.hands.another(9, 2 * HOUR.as_millis() as i64);
            let repository = open_at(hooked, &ahead, "gamma", Places::default()).unwrap();
            assert_eq!(prune(&repository, &SOON, &Silent).unwrap().report.deleted_packs, 1);
        } else {
            commit();
            let report = world.sweep(&SOON);
            match put_new {
                PutNew::Exclusive => assert_eq!(report.deleted_packs, 1, "{report:?}"),
                _ => assert!(matches!(report.waiting[..], [Waiting::Settling { .. }]), "{report:?}"),
            }
        }
        world.hands.pass(2 * LAG);
        world.assert_latest("other", 1);
    }
}

/// SWEEP-1, SWEEP-6: what a session committed that missed a condemnation is found at its commit name; before the sweep looks at
/// everything again another keeper forgets it, and deletes it by a sweep of its own.
#[test]
fn a_snapshot_found_at_a_commit_name_is_a_root_no_longer_than_it_would_be_without() {
    let world = World::local(740);
    let (old, kept) = (world.back_up("d", 1), world.back_up("kept", 2));
    let late = world.sleeper(&world.hands);
    let session = late.begin("other").unwrap();
    world.forget(&old);
    assert_eq!(world.sweep(&AT_ONCE).condemned_packs, 1);
    let lease = format!("leases/{}", session.id());
    commit_again(session, &old, "other");
    late.refresh().unwrap();
    let commit = latest(&late, "other").unwrap().name.to_string();
    let (store, other) = (world.store.clone(), world.hands.another(8, 0));
    let (steps, told) = (Arc::new(Mutex::new(0)), commit.clone());
    let so_far = steps.clone();
    let hooked = Hooked::new(world.store.clone(), move |verb, name| {
        let mut step = so_far.lock().unwrap();
        match (*step, verb, name) {
            (0, Verb::Get, name) if name == lease => *step = 1,
            (1, Verb::Get, name) if name == told => *step = 2,
            // The fence is done, and the look begins.
            (2, Verb::List, "condemned/") => {
                *step = 3;
                let beside = open(store.clone(), &other).unwrap();
                beside.refresh().unwrap();
                let found = latest(&beside, "other").unwrap();
                beside.forget(&found.name, "test").unwrap();
                let report = prune(&beside, &AT_ONCE, &Silent).unwrap().report;
                assert!(report.deleted_snapshots >= 1 && report.deleted_packs == 1, "{report:?}");
            }
            _ => {}
        }
    });
    prune(&open(hooked, &world.hands).unwrap(), &AT_ONCE, &Silent).unwrap();
    assert_eq!(*steps.lock().unwrap(), 3, "forgotten between the fence and the look");
    assert!(!world.store.names().contains(&commit) && world.packs() == 1);
    world.assert_latest("kept", 2);
    assert!(check(&world.sleeper(&world.hands), CheckDepth::Data, &Silent).unwrap().is_sound(), "{:?}", kept.name);
}

/// SWEEP-6: a LIST shows a condemnation LAG after it was put, and a session that listed before is to be seen for as long.
#[test]
fn where_listings_lag_a_condemnation_is_due_after_twice_that() {
    let world = World::new(725, PutNew::Exclusive, LAG);
    let old = world.back_up("d", 1);
    world.hands.pass(2 * HOUR);
    world.forget(&old);
    world.hands.pass(2 * LAG);
    assert_eq!(world.sweep(&SOON).condemned_packs, 1);
    world.hands.pass(2 * LAG - MINUTE);
    let report = world.sweep(&SOON);
    assert!(matches!(report.waiting[..], [Waiting::Age { .. }]), "{report:?}");
    world.hands.pass(2 * MINUTE);
    assert_eq!(world.sweep(&SOON).deleted_packs, 1);
}

/// SWEEP-4: a put of a pack whose outcome is unknown is repeated for some time.
#[test]
fn where_listings_lag_a_pack_is_judged_after_an_hour_however_short_grace_is() {
    let world = World::new(726, PutNew::Exclusive, LAG);
    let old = world.back_up("d", 1);
    world.hands.pass(2 * LAG);
    world.forget(&old);
    world.hands.pass(HOUR - 2 * LAG - MINUTE);
    assert_eq!(world.sweep(&SOON).condemned_packs, 0, "too young");
    world.hands.pass(2 * MINUTE);
    assert_eq!(world.sweep(&SOON).condemned_packs, 1);
}

/// SWEEP-2: whose lease it is, and what it may commit, nobody knows.
#[test]
fn a_lease_that_cannot_be_read_stops_sweeps_until_it_is_recorded_and_old() {
    for is_recorded_first in [false, true] {
        let world = World::local(726);
        let old = world.back_up("d", 1);
        let sleeper = world.sleeper(&world.hands);
        world.sweep(&AT_ONCE);
        drop(sleeper.begin("other").unwrap());
        let lease = world.lease();
        world.store.put(&lease, b"damaged".as_slice().into()).unwrap();
        world.forget(&old);
        let is_refused = || {
            let foretold = prune(&world.repository, &Options { dry_run: true, ..AT_ONCE }, &Silent);
            let swept = prune(&world.repository, &AT_ONCE, &Silent);
            assert_eq!(foretold.is_err(), swept.is_err(), "{foretold:?}");
            assert_eq!(world.packs(), usize::from(swept.is_err()));
            swept.err().map(|error| match error {
                OperationError::Repository(error) if error.is_damage() => error.to_string(),
                other => panic!("{other:?}"),
            })
        };
        let record = || drop(repair(&world.repository, CheckDepth::Structure, &Silent).unwrap());
        let until = "its loss is recorded, but its session may be at work: prune again in 24 h";
        if is_recorded_first {
            record();
            let why = is_refused().unwrap();
            assert!(why.contains(until), "{why}");
            world.hands.pass(DAY + MINUTE);
        } else {
            world.hands.pass(DAY + MINUTE);
            let why = is_refused().expect("nobody has recorded it");
            assert!(!why.contains(until), "{why}");
            record();
        }
        assert_eq!(is_refused(), None);
    }
}

/// INV-4
#[test]
fn a_session_whose_clock_is_ahead_is_given_up_by_the_time_of_the_store() {
    let world = World::local(727);
    let old = world.back_up("d", 1);
    let sleeper = world.sleeper(&world.hands.another(9, 10 * DAY.as_millis() as i64));
    let session = sleeper.begin("other").unwrap();
    world.forget(&old);
    world.hands.pass(DAY - HOUR);
    assert!(waits_for(&world.sweep(&AT_ONCE), &session));
    world.hands.pass(HOUR + MINUTE);
    let report = world.sweep(&AT_ONCE);
    assert_eq!((report.deleted_packs, report.waiting.len()), (1, 0), "{report:?}");
}

/// SWEEP-6: without any put_new a tombstone could take a commit away: it is put after a day, not after an hour.
#[test]
fn without_any_put_new_a_silent_session_is_waited_for_a_day() {
    let world = World::new(728, PutNew::None, Duration::ZERO);
    let old = world.back_up("d", 1);
    let sleeper = world.sleeper(&world.hands);
    let session = sleeper.begin("other").unwrap();
    world.forget(&old);
    world.hands.pass(23 * HOUR);
    assert!(waits_for(&world.sweep(&AT_ONCE), &session));
    world.hands.pass(HOUR + MINUTE);
    let report = world.sweep(&AT_ONCE);
    assert!(matches!(report.waiting[..], [Waiting::Settling { .. }]), "{report:?}");
    assert_eq!(world.sweep(&AT_ONCE).deleted_packs, 1);
}

/// SWEEP-1: by the younger of both times, so that a clock that is behind takes nobody's grace away.
#[test]
fn what_a_host_forgot_whose_clock_is_behind_stays_for_grace() {
    let world = World::local(729);
    let old = world.back_up("d", 1);
    let behind = world.sleeper(&world.hands.another(9, -10 * DAY.as_millis() as i64));
    behind.forget(&old.name, "test").unwrap();
    let overnight = Options { grace: DAY, ..AT_ONCE };
    assert_eq!(world.sweep(&overnight).deleted_snapshots, 0);
    world.hands.pass(DAY + MINUTE);
    assert_eq!(world.sweep(&overnight).deleted_snapshots, 1);
}

/// SWEEP-1: nor does one that is ahead, nor is what it forgot kept for ever.
#[test]
fn what_a_host_forgot_whose_clock_is_ahead_stays_until_that_time_and_grace_are_over() {
    let world = World::local(738);
    let old = world.back_up("d", 1);
    let ahead = world.sleeper(&world.hands.another(9, 2 * DAY.as_millis() as i64));
    ahead.forget(&old.name, "test").unwrap();
    let overnight = Options { grace: DAY, ..AT_ONCE };
    world.hands.pass(DAY + MINUTE);
    assert_eq!(world.sweep(&overnight).deleted_snapshots, 0);
    world.hands.pass(2 * DAY);
    assert_eq!(world.sweep(&overnight).deleted_snapshots, 1);
}

/// SWEEP-2: though nobody seems to need what they tell of.
#[test]
fn a_condemnation_a_record_or_an_index_that_cannot_be_read_stops_sweeps() {
    for prefix in ["condemned/", "forgotten/", "index/"] {
        let world = World::local(730);
        let old = world.back_up("d", 1);
        let sleeper = world.sleeper(&world.hands);
        let missed = sleeper.begin("other").unwrap();
        world.forget(&old);
        if prefix == "condemned/" {
            assert_eq!(world.sweep(&AT_ONCE).condemned_packs, 1);
        }
        missed.give_up(());
        let name = &world.store.entries(prefix).unwrap()[0].name;
        world.store.put(name, b"damaged".as_slice().into()).unwrap();
        let repository = world.sleeper(&world.hands);
        let Err(OperationError::Repository(error)) = prune(&repository, &AT_ONCE, &Silent) else {
            panic!("{prefix} was passed over");
        };
        assert!(error.is_damage() && world.packs() == 1, "{prefix}: {error}");
    }
}

/// SWEEP-16: what a merge reads may name a pack that another sweep buries and deletes before the merged object is put. That
/// other sweep has looked for what names the pack by then.
#[test]
fn a_pack_that_is_buried_while_index_objects_are_merged_is_named_by_none_afterwards() {
    let world = World::local(739);
    let old = world.back_up("old", 1);
    (2..8).for_each(|seed| drop(world.back_up(&format!("of {seed}"), seed)));
    world.forget(&old);
    world.hands.pass(2 * DAY);
    let overnight = Options { grace: DAY, ..AT_ONCE };
    assert_eq!(world.sweep(&overnight).condemned_packs, 1);
    // Nine index objects now: as many as are merged.
    (8..10).for_each(|seed| drop(world.back_up(&format!("of {seed}"), seed)));
    let (store, other, deleted) = (world.store.clone(), world.hands.another(7, 0), Arc::new(Mutex::new(0)));
    let told = deleted.clone();
    let hooked = Hooked::new(world.store.clone(), move |verb, name| {
        let mut deleted = told.lock().unwrap();
        if matches!(verb, Verb::Put | Verb::PutNew) && name.starts_with("index/") && *deleted == 0 {
            let at_once = Options { max_rewrite: Some(0), ..AT_ONCE };
            let beside = open(store.clone(), &other).unwrap();
            *deleted = prune(&beside, &at_once, &Silent).unwrap().report.deleted_packs;
            assert_eq!(*deleted, 1);
        }
    });
    prune(&open(hooked, &world.hands).unwrap(), &overnight, &Silent).unwrap();
    assert_eq!(*deleted.lock().unwrap(), 1, "buried while another sweep merges");
    let next = world.back_up("of 9", 9);
    assert!(next.alarms.is_empty(), "{:?}", next.alarms);
    let found = check(&world.sleeper(&world.hands), CheckDepth::Data, &Silent).unwrap();
    assert!(found.is_sound() && found.unindexed_packs == 0, "{found:?}");
}
