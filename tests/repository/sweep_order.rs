//! The order of a sweep's steps: what it lists, puts and deletes after what, and how long it waits in between.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redkeep::operations::Silent;
use redkeep::operations::backup::Report as Backup;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::prune::{Options, Report, Waiting, prune};
use redkeep::repository::Repository;
use redkeep::store::{Promises, PutNew, Store, Timing};

use crate::support::repository::*;
use crate::support::sim::{Listing, SimStore};
use crate::support::stores::{Call, RecordingStore, Verb};
use crate::support::sweeps::AT_ONCE;
use crate::sweep_hostile::Hooked;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const LAG: Duration = Duration::from_secs(600);
const OVERNIGHT: Options = Options { grace: DAY, ..AT_ONCE };

struct World {
    hands: Hands,
    store: Arc<SimStore>,
}

impl World {
    fn new(seed: u64, lag: Duration) -> World {
        World::in_store(seed, lag, PutNew::Exclusive, Listing::Late)
    }

    fn in_store(seed: u64, lag: Duration, put_new: PutNew, listing: Listing) -> World {
        let hands = Hands::new(seed);
        let store = SimStore::new(&hands, Promises { put_new, timing: Timing::of_lag(lag) }, listing);
        create(store.clone(), &hands);
        hands.pass(2 * lag);
        World { hands, store }
    }

    /// The same in another course of events.
    fn fork(&self) -> World {
        let hands = self.hands.fork();
        World { store: self.store.fork(&hands), hands }
    }

    fn open(&self) -> Repository {
        open(self.store.clone(), &self.hands).unwrap()
    }

    fn back_up(&self, bytes: &[u8]) -> Backup {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("file"), bytes).unwrap();
        back_up(&self.open(), data.path(), "d").unwrap()
    }

    fn forget(&self, report: &Backup) {
        self.open().forget(&report.name, "test").unwrap();
    }

    fn sweep(&self, options: &Options) -> Report {
        prune(&self.open(), options, &Silent).unwrap().report
    }

    /// What a sweep asks of the store, after it was opened.
    fn recorded(&self, options: &Options) -> Vec<Call> {
        let recording = RecordingStore::new(self.store.clone());
        let repository = open(recording.clone(), &self.hands).unwrap();
        recording.drain();
        prune(&repository, options, &Silent).unwrap();
        recording.drain()
    }

    fn count(&self, prefix: &str) -> usize {
        self.store.names().iter().filter(|name| name.starts_with(prefix)).count()
    }
}

/// What is written and deleted, by folder.
fn changes(calls: &[Call]) -> Vec<String> {
    let is_change = |call: &&Call| matches!(call.verb, Verb::Put | Verb::PutNew | Verb::Delete);
    let folder = |call: &Call| format!("{} {}", call.verb, call.name.split('/').next().unwrap());
    calls.iter().filter(is_change).map(folder).collect()
}

/// What two snapshots share is stored again before the pack of the older one is condemned; what names a pack goes before
/// it, and the condemnation with its burial last.
///
/// SWEEP-5, SWEEP-8, SWEEP-9, SWEEP-10, SWEEP-11
#[test]
fn nothing_goes_before_what_it_waits_for() {
    let world = World::new(801, Duration::ZERO);
    let shared = noise(2 << 20, 1);
    let old = world.back_up(&[&shared[..], &noise(2 << 20, 2)].concat());
    world.back_up(&[&shared[..], &noise(2 << 20, 3)].concat());
    world.forget(&old);
    let calls = world.recorded(&AT_ONCE);
    let condemning = ["put leases", "put leases", "put packs", "put index", "put_new condemned"];
    // The forgotten snapshot after its lease, that of the other backup, which has ended, and the own one.
    let ending = ["delete leases", "delete snapshots", "delete leases", "delete leases"];
    let burying = ["put leases", "put leases", "put_new burials"];
    let deleting = ["delete index", "delete packs", "delete condemned", "delete leases", "delete burials"];
    assert_eq!(changes(&calls), [&condemning[..], &ending, &burying, &deleting].concat());
    assert_eq!(world.count("index/"), 2);
}

/// Of an index object that names a pack that stays, what it says of that pack stands elsewhere before it goes.
///
/// SWEEP-9
#[test]
fn an_index_object_is_replaced_before_it_is_deleted() {
    let world = World::new(802, Duration::ZERO);
    let all: Vec<Backup> = (0..9).map(|seed| world.back_up(&noise(300_000, seed))).collect();
    // Too young to be judged, so that index objects are merged and packs are not.
    assert_eq!(world.sweep(&OVERNIGHT).deleted_indexes, 9);
    assert_eq!((world.count("index/"), world.count("packs/")), (1, 9));
    all[..2].iter().for_each(|report| world.forget(report));
    let options = Options { max_rewrite: Some(0), ..AT_ONCE };
    let calls = changes(&world.recorded(&options));
    let begin = calls.iter().position(|call| call == "put_new burials").unwrap();
    assert_eq!(calls[begin + 1..begin + 5], ["put index", "delete index", "delete packs", "delete packs"]);
    assert_eq!((world.count("index/"), world.count("packs/")), (1, 7));
    assert_eq!(world.open().refresh().unwrap(), []);
}

/// SWEEP-2, SWEEP-7: before it condemns, and again before it buries.
#[test]
fn everything_is_listed_in_the_one_order_after_the_condemnations_seen_were_stated() {
    let world = World::new(803, Duration::ZERO);
    let old = world.back_up(&noise(2 << 20, 1));
    world.back_up(&noise(2 << 20, 2));
    world.forget(&old);
    let calls = world.recorded(&AT_ONCE);
    let is_lease = |call: &Call| call.verb == Verb::Put && call.name.starts_with("leases/");
    let leases: Vec<usize> = (0..calls.len()).filter(|at| is_lease(&calls[*at])).collect();
    assert_eq!(leases.len(), 4, "two sessions, each with a lease and what it saw");
    let is_commit = |call: &Call| call.verb == Verb::PutNew && call.name.starts_with("burials/");
    for session in leases.chunks(2) {
        let listed = |calls: &[Call]| -> Vec<String> {
            let mut found: Vec<String> = Vec::new();
            for call in calls.iter().filter(|call| call.verb == Verb::List && call.name != "notes/") {
                if found.last() != Some(&call.name) {
                    found.push(call.name.clone());
                }
            }
            found
        };
        assert_eq!(listed(&calls[session[0]..session[1]]), ["condemned/"]);
        let end = (session[1]..calls.len()).find(|at| is_commit(&calls[*at])).unwrap();
        let order = ["condemned/", "index/", "packs/", "snapshots/", "forgotten/"];
        let after = listed(&calls[session[1]..end]);
        assert_eq!(after[..5], order, "{after:?}");
        if session[0] == leases[2] {
            // Once to see whether anything forbids it, and once more after the leases.
            let leases = after.iter().position(|prefix| prefix == "leases/").unwrap();
            assert_eq!(after[leases + 1..leases + 6], order, "{after:?}");
        }
    }
}

/// SWEEP-15: each object that is deleted takes minutes.
#[test]
fn a_sweep_that_deletes_for_hours_keeps_its_lease_alive() {
    let world = World::new(804, Duration::ZERO);
    let all: Vec<Backup> = (0..12).map(|seed| world.back_up(&noise(300_000, seed))).collect();
    all[..11].iter().for_each(|report| world.forget(report));
    let longest: Arc<Mutex<Vec<(Duration, String)>>> = Arc::default();
    let (told, clock, hands) = (longest.clone(), world.hands.clock(), world.hands.clone());
    let mut last = clock.passed();
    let slow = Hooked::new(world.store.clone(), move |verb, name| {
        if (verb, name.starts_with("leases/")) == (Verb::Put, true) {
            last = clock.passed();
        }
        let is_slow = ["packs/", "index/", "snapshots/", "forgotten/"].iter().any(|folder| name.starts_with(folder));
        if verb == Verb::Delete && is_slow {
            hands.pass(6 * MINUTE);
            told.lock().unwrap().push((clock.passed() - last, name.into()));
        }
    });
    let report = prune(&open(slow, &world.hands).unwrap(), &AT_ONCE, &Silent).unwrap().report;
    assert_eq!((report.deleted_packs, report.deleted_snapshots, report.folded), (11, 11, 11), "{report:?}");
    let longest = longest.lock().unwrap();
    for folder in ["packs/", "index/", "snapshots/", "forgotten/"] {
        let of_folder = longest.iter().filter(|(_, name)| name.starts_with(folder));
        assert!(of_folder.clone().count() > 8, "{folder}: {longest:?}");
        let too_long = of_folder.clone().find(|(silent, _)| *silent > 16 * MINUTE);
        assert_eq!(too_long, None, "a heartbeat is due every ten minutes");
    }
}

/// SWEEP-4: a pack whose table nobody can read is of no use, and goes like any other once it is old enough.
#[test]
fn a_pack_that_nobody_can_read_goes_after_grace() {
    let world = World::new(805, Duration::ZERO);
    world.back_up(&noise(2 << 20, 1));
    let bytes = noise(5000, 9);
    let hash = blake3::hash(&bytes).to_hex();
    let name = format!("packs/{}/{hash}", &hash[..2]).parse().unwrap();
    world.store.put_new(&name, bytes.into()).unwrap();
    world.hands.pass(DAY - MINUTE);
    assert_eq!(world.sweep(&OVERNIGHT).condemned_packs, 0, "too young");
    world.hands.pass(2 * MINUTE);
    let report = world.sweep(&OVERNIGHT);
    assert_eq!((report.condemned_packs, report.condemned_bytes, world.count("packs/")), (1, 5000, 2));
    world.hands.pass(DAY);
    let report = world.sweep(&OVERNIGHT);
    assert_eq!((report.deleted_packs, report.deleted_bytes, world.count("packs/")), (1, 5000, 1));
    assert_eq!(report.condemned_packs, 0, "it is not condemned twice");
}

/// SWEEP-10: a LIST may show once more what another one just showed to be gone.
#[test]
fn where_listings_lag_condemnation_and_burial_go_when_nobody_deleted_anything_for_long() {
    // One that shows at once what is gone may show it again.
    for listing in [Listing::Late, Listing::PutsLate] {
        condemnation_and_burial_stay_for_long(&World::in_store(806, LAG, PutNew::Exclusive, listing));
    }
}

fn condemnation_and_burial_stay_for_long(world: &World) {
    let old = world.back_up(&noise(2 << 20, 1));
    world.hands.pass(DAY);
    world.back_up(&noise(2 << 20, 2));
    world.forget(&old);
    let left = |world: &World| (world.count("condemned/"), world.count("burials/"));
    world.hands.pass(DAY + MINUTE);
    assert_eq!(world.sweep(&OVERNIGHT).condemned_packs, 1);
    world.hands.pass(DAY + MINUTE);
    let burials = left(world).1;
    assert_eq!(world.sweep(&OVERNIGHT).deleted_packs, 1);
    assert_eq!(left(world).0, 1, "the sweep that deletes does not know whether all LISTs show it");
    assert!(left(world).1 > burials);
    let after = |pass: Duration| {
        let world = world.fork();
        world.hands.pass(pass);
        let calls = world.recorded(&OVERNIGHT);
        (left(&world).0, calls)
    };
    // 2 LAG, and the time between two heartbeats.
    assert_eq!(after(2 * LAG + 9 * MINUTE).0, 1);
    let (condemned, calls) = after(2 * LAG + 11 * MINUTE);
    assert_eq!(condemned, 0);
    let deleted: Vec<String> = changes(&calls).into_iter().filter(|call| call.starts_with("delete")).collect();
    assert_eq!(deleted[..3], ["delete condemned", "delete leases", "delete burials"]);
}

/// SWEEP-16: listings may show an index object before the packs that it names.
#[test]
fn of_a_young_index_object_no_pack_is_taken_for_gone() {
    for seed in 0..24 {
        let world = World::in_store(820 + seed, LAG, PutNew::Exclusive, Listing::Scattered(seed));
        for part in 0..3 {
            world.back_up(&noise(5000, 10 * seed + part));
            world.hands.pass(LAG / 3);
            // What is not shown yet may be a reason to refuse.
            match prune(&world.open(), &OVERNIGHT, &Silent) {
                Ok(_) => {}
                Err(error) => assert!(error.is_damage(), "{seed}: {error}"),
            }
        }
        world.hands.pass(3 * LAG);
        let report = check(&world.open(), CheckDepth::Data, &Silent).unwrap();
        assert!(report.is_sound(), "{seed}: {report:?}");
    }
}

/// SWEEP-10: the index object of a session that slept comes back beside the deletion of its packs. As long as it names one,
/// the burial says that it may be deleted.
#[test]
fn condemnation_and_burial_stay_while_an_index_object_names_a_buried_pack() {
    let world = World::new(807, Duration::ZERO);
    let old = world.back_up(&noise(2 << 20, 1));
    let name = world.store.entries("index/").unwrap()[0].name.clone();
    let late = world.store.get(&name, u64::MAX).unwrap();
    world.back_up(&noise(2 << 20, 2));
    world.forget(&old);
    let store = world.store.clone();
    let hooked = Hooked::new(world.store.clone(), move |verb, what| {
        if verb == Verb::Delete && what.starts_with("packs/") {
            store.put(&name, late.clone().into()).unwrap();
        }
    });
    prune(&open(hooked, &world.hands).unwrap(), &AT_ONCE, &Silent).unwrap();
    let left = |world: &World| ["packs/", "condemned/", "burials/", "index/"].map(|prefix| world.count(prefix));
    assert_eq!(left(&world), [1, 1, 1, 2]);
    world.sweep(&AT_ONCE);
    assert_eq!(left(&world), [1, 0, 0, 1]);
    assert_eq!(world.open().refresh().unwrap(), []);
}

/// SESS-2: what nobody may use is missed by nobody.
#[test]
fn a_condemned_pack_that_is_gone_alarms_no_backup() {
    let world = World::new(808, Duration::ZERO);
    let old = world.back_up(&noise(2 << 20, 1));
    let pack = world.store.entries("packs/").unwrap()[0].name.clone();
    world.back_up(&noise(2 << 20, 2));
    world.forget(&old);
    world.hands.pass(DAY + MINUTE);
    assert_eq!(world.sweep(&OVERNIGHT).condemned_packs, 1);
    world.store.delete(&pack).unwrap();
    assert_eq!(world.back_up(&noise(2 << 20, 3)).alarms, []);
}

/// SWEEP-11: where listings lag, a lease goes once every LIST shows what was decided.
#[test]
fn a_lease_stays_until_every_listing_shows_its_commit() {
    let world = World::in_store(809, LAG, PutNew::Exclusive, Listing::DeletesLate);
    world.back_up(&noise(100_000, 1));
    let lease = world.store.entries("leases/").unwrap()[0].name.clone();
    let has_it = |world: &World| world.store.names().contains(&lease.to_string());
    world.hands.pass(LAG - MINUTE);
    world.sweep(&OVERNIGHT);
    assert!(has_it(&world), "some LIST may not show the snapshot yet");
    world.hands.pass(MINUTE);
    world.sweep(&OVERNIGHT);
    assert!(!has_it(&world));
}

/// SWEEP-6: where two may both have created what stands at a commit name, it is decided 2 LAG after it was put.
#[test]
fn where_put_new_is_settled_a_commit_is_waited_for_though_it_is_listed() {
    let world = World::in_store(810, LAG, PutNew::Settled, Listing::DeletesLate);
    let old = world.back_up(&noise(2 << 20, 1));
    world.hands.pass(DAY);
    world.forget(&old);
    world.hands.pass(DAY + MINUTE);
    let sleeper = world.open();
    let session = sleeper.begin("other").unwrap();
    assert_eq!(world.sweep(&OVERNIGHT).condemned_packs, 1);
    for _ in 0..24 * 7 {
        world.hands.pass(9 * MINUTE);
        session.keep_alive().unwrap();
    }
    let mut again = session.copy(&old.snapshot, &|| false).unwrap();
    again.dataset = "other".into();
    session.commit(&again).unwrap();
    world.hands.pass(2 * LAG - MINUTE);
    let report = world.sweep(&OVERNIGHT);
    assert!(matches!(report.waiting[..], [Waiting::Settling { .. }]) && report.deleted_packs == 0, "{report:?}");
    world.hands.pass(MINUTE);
    assert_eq!(world.sweep(&OVERNIGHT).deleted_packs, 1);
}
