//! What a sweep deletes, what it keeps, whom it waits for, and what makes it stop.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use redkeep::operations::Silent;
use redkeep::operations::backup::Report as Backup;
use redkeep::operations::list::{Selector, choose};
use redkeep::operations::prune::{Options, Report, Waiting, prune};
use redkeep::repository::{Places, Repository, RepositoryError};
use redkeep::store::{Promises, PutNew, Store, Timing};

use crate::support::repository::*;
use crate::support::sim::{Listing, SimStore};
use crate::support::sweeps::AT_ONCE;

const DAY: Duration = Duration::from_secs(24 * 3600);
const OVERNIGHT: Options = Options { grace: DAY, max_unused: 0.05, ..AT_ONCE };

/// A directory whose one file is replaced for each backup.
struct Data {
    temp: tempfile::TempDir,
}

impl Data {
    fn new() -> Data {
        Data { temp: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.temp.path().join("data")
    }

    /// Backs up these bytes.
    fn back_up(&self, repository: &Repository, bytes: &[u8]) -> Backup {
        fs::create_dir_all(self.path()).unwrap();
        fs::write(self.path().join("file"), bytes).unwrap();
        back_up(repository, &self.path(), "d").unwrap()
    }

    /// The newest snapshot holds these bytes.
    fn assert_latest(&self, repository: &Repository, bytes: &[u8]) {
        let out = self.temp.path().join(format!("out-{}", repository.ambient().id()));
        restore_to(repository, &latest(repository, "d").unwrap(), &out).unwrap();
        assert!(fs::read(out.join("file")).unwrap() == bytes);
    }
}

fn swept(repository: &Repository, options: &Options) -> Report {
    prune(repository, options, &Silent).unwrap().report
}

fn count(store: &dyn Store, prefix: &str) -> usize {
    store.entries(prefix).unwrap().len()
}

fn forget(repository: &Repository, report: &Backup) {
    repository.forget(&report.name, "test").unwrap();
}

/// SWEEP-1, SWEEP-5, SWEEP-9, SWEEP-10, SWEEP-11
#[test]
fn what_only_a_forgotten_snapshot_needed_goes_and_everything_else_stays() {
    let (hands, data) = (Hands::new(1), Data::new());
    let store = SimStore::strict(&hands);
    let repository = create(store.clone(), &hands);
    let shared = noise(3 << 20, 1);
    let old = data.back_up(&repository, &[&shared[..], &noise(3 << 20, 2)].concat());
    let new = [&shared[..], &noise(3 << 20, 3)].concat();
    data.back_up(&repository, &new);
    forget(&repository, &old);
    let before = store.names();
    // Forgotten for less than grace: nothing happens.
    let report = swept(&repository, &OVERNIGHT);
    assert_eq!((report.condemned_packs, report.deleted_snapshots), (0, 0));
    assert_eq!(store.names().len(), before.len() - 2, "only the leases of the two backups went");
    let report = swept(&repository, &AT_ONCE);
    assert_eq!((report.deleted_snapshots, report.condemned_packs, report.deleted_packs), (1, 1, 1));
    assert!(report.stored_again.bytes >= 2 << 20 && report.stored_again.bytes < 4 << 20, "{report:?}");
    assert_eq!((count(&*store, "packs/"), count(&*store, "snapshots/"), count(&*store, "forgotten/")), (2, 1, 1));
    for prefix in ["condemned/", "burials/", "leases/"] {
        assert_eq!(count(&*store, prefix), 0, "{prefix}");
    }
    data.assert_latest(&repository, &new);
    let other = open(store.clone(), &hands).unwrap();
    assert_eq!(other.refresh().unwrap(), []);
    data.assert_latest(&other, &new);
    let report = swept(&other, &AT_ONCE);
    assert_eq!((report.condemned_packs, report.deleted_packs, report.deleted_indexes), (0, 0, 0), "{report:?}");
    // The next backup finds everything known.
    assert_eq!(data.back_up(&other, &new).snapshot.summary.new_bytes, 0);
}

/// SWEEP-4, SWEEP-6
#[test]
fn with_a_grace_time_a_pack_is_condemned_in_one_sweep_and_deleted_in_a_later_one() {
    let (hands, data) = (Hands::new(2), Data::new());
    let store = SimStore::strict(&hands);
    let repository = create(store.clone(), &hands);
    let old = data.back_up(&repository, &noise(2 << 20, 1));
    data.back_up(&repository, &noise(2 << 20, 2));
    forget(&repository, &old);
    hands.pass(DAY + Duration::from_secs(1));
    let report = swept(&repository, &OVERNIGHT);
    assert_eq!((report.deleted_snapshots, report.condemned_packs, report.deleted_packs), (1, 1, 0));
    assert!(matches!(report.waiting[..], [Waiting::Age { packs: 1, .. }]), "{report:?}");
    hands.pass(DAY / 2);
    let report = swept(&repository, &OVERNIGHT);
    assert!(matches!(report.waiting[..], [Waiting::Age { packs: 1, .. }]), "{report:?}");
    assert_eq!(report.deleted_packs, 0);
    hands.pass(DAY / 2 + Duration::from_secs(1));
    let report = swept(&repository, &OVERNIGHT);
    assert_eq!((report.deleted_packs, report.waiting.len()), (1, 0), "{report:?}");
    data.assert_latest(&repository, &noise(2 << 20, 2));
}

/// SWEEP-6, SWEEP-7: the backup below began before the condemnation and commits what uses a condemned pack.
#[test]
fn a_session_that_missed_the_condemnation_is_waited_for_and_what_it_needs_is_stored_again() {
    let (hands, data) = (Hands::new(3), Data::new());
    let store = SimStore::strict(&hands);
    let repository = create(store.clone(), &hands);
    let bytes = noise(2 << 20, 1);
    let first = data.back_up(&repository, &bytes);
    let sleeper = open_at(store.clone(), &hands, "beta", Places::default()).unwrap();
    let session = sleeper.begin("other").unwrap();
    forget(&repository, &first);
    let report = swept(&repository, &AT_ONCE);
    assert!(report.condemned_packs == 1 && report.deleted_packs == 0, "{report:?}");
    assert!(matches!(report.waiting[..], [Waiting::Session { session: of, .. }] if of == session.id()), "{report:?}");
    // All it asks for is known to it.
    let mut snapshot = first.snapshot.clone();
    (snapshot.dataset, snapshot.sequence, snapshot.previous) = ("other".into(), 1, None);
    session.commit(&snapshot).unwrap();
    let report = swept(&repository, &AT_ONCE);
    assert_eq!((report.deleted_packs, report.waiting.len()), (1, 0), "{report:?}");
    assert!(report.stored_again.bytes >= 2 << 20);
    let out = data.temp.path().join("other");
    restore_to(&repository, &latest(&repository, "other").unwrap(), &out).unwrap();
    assert!(fs::read(out.join("file")).unwrap() == bytes);
}

/// SWEEP-6, SESS-5: a session that slept too long finds a tombstone.
#[test]
fn a_session_without_a_heartbeat_is_given_up_and_cannot_commit_any_more() {
    let (hands, data) = (Hands::new(4), Data::new());
    let store = SimStore::strict(&hands);
    let repository = create(store.clone(), &hands);
    let first = data.back_up(&repository, &noise(2 << 20, 1));
    let sleeper = open_at(store.clone(), &hands, "beta", Places::default()).unwrap();
    let session = sleeper.begin("other").unwrap();
    forget(&repository, &first);
    hands.pass(Duration::from_secs(3601));
    let report = swept(&repository, &AT_ONCE);
    assert_eq!((report.deleted_packs, report.waiting.len()), (1, 0), "{report:?}");
    let mut snapshot = first.snapshot.clone();
    (snapshot.dataset, snapshot.sequence, snapshot.previous) = ("other".into(), 1, None);
    assert!(matches!(session.commit(&snapshot), Err(RepositoryError::Fenced)));
}

/// SWEEP-2: fail closed.
#[test]
fn a_sweep_of_a_repository_that_is_not_whole_deletes_nothing() {
    for prefix in ["index/", "packs/", "snapshots/"] {
        for torn in [false, true] {
            let (hands, data) = (Hands::new(5), Data::new());
            let store = SimStore::strict(&hands);
            let repository = create(store.clone(), &hands);
            let old = data.back_up(&repository, &noise(1 << 20, 1));
            data.back_up(&repository, &noise(1 << 20, 2));
            data.back_up(&repository, &noise(1 << 20, 3));
            forget(&repository, &old);
            for entry in store.entries(prefix).unwrap().iter().skip(usize::from(prefix == "snapshots/")).take(2) {
                match torn {
                    true => {
                        let bytes = store.get(&entry.name, u64::MAX).unwrap();
                        store.put(&entry.name, (bytes[..bytes.len() - 1]).to_vec().into()).unwrap();
                    }
                    false => store.delete(&entry.name).unwrap(),
                }
            }
            let before = store.names();
            let other = open(store.clone(), &hands).unwrap();
            let refused = prune(&repository, &AT_ONCE, &Silent).unwrap_err();
            assert!(refused.is_damage(), "{prefix} {torn}: {refused}");
            assert_eq!(without_burials(store.names()), without_burials(before.clone()), "{prefix} {torn}");
            if prefix != "snapshots/" || torn {
                assert!(prune(&other, &AT_ONCE, &Silent).unwrap_err().is_damage(), "{prefix} {torn}");
            }
        }
    }
}

/// SWEEP-2, SNAP-3: nobody remembers the snapshot that is missing, but the one after it names it.
#[test]
fn a_snapshot_missing_between_two_others_stops_the_sweep_of_a_host_that_knows_nothing() {
    let (hands, data) = (Hands::new(29), Data::new());
    let store = SimStore::strict(&hands);
    let repository = create(store.clone(), &hands);
    let [old, missing, _] = [1, 2, 3].map(|seed| data.back_up(&repository, &noise(1 << 20, seed)));
    forget(&repository, &old);
    store.delete(&missing.name.to_string().parse().unwrap()).unwrap();
    let before = store.names();
    let refused = prune(&open(store.clone(), &hands).unwrap(), &AT_ONCE, &Silent).unwrap_err();
    assert!(refused.is_damage(), "{refused}");
    assert_eq!(without_burials(store.names()), without_burials(before));
}

/// SWEEP-2: what a list names that nobody can read is not known, and may be needed.
#[test]
fn a_list_of_chunks_that_cannot_be_read_stops_a_sweep_that_would_delete_what_it_names() {
    let (hands, data, home) = (Hands::new(27), Data::new(), tempfile::tempdir().unwrap());
    let store = SimStore::strict(&hands);
    create_tiny(store.clone(), &hands);
    let places =
        || Places { cache: Some(home.path().join("cache")), state: Some(home.path().join("state")), scratch: None };
    let repository = open_at(store.clone(), &hands, "alpha", places()).unwrap();
    let gone = data.back_up(&repository, &noise(9_000, 1));
    // Nearly all that it holds is in the other one's pack, and its list in its own, which nobody has a reason to rewrite.
    let kept = data.back_up(&repository, &[noise(9_000, 1), noise(600, 2)].concat());
    forget(&repository, &gone);
    let lists = list_chunks(&kept.snapshot);
    assert!(!lists.is_empty(), "a list in chunks");
    let frames = frames_of(&home.path().join("cache"), &lists);
    for frame in &frames {
        let mut bytes = store.get(&frame.pack, u64::MAX).unwrap();
        bytes[frame.middle()] ^= 1;
        store.put(&frame.pack, bytes.into()).unwrap();
    }
    let before = store.names();
    for _ in 0..2 {
        let refused = prune(&repository, &Options { max_unused: 1.0, ..AT_ONCE }, &Silent).unwrap_err();
        assert!(refused.is_damage(), "{refused}");
        assert_eq!(without_burials(store.names()), without_burials(before.clone()));
    }
}

/// SWEEP-5, SWEEP-13: what is damaged and was not recorded is not passed over: the pack that holds it stays.
#[test]
fn a_needed_chunk_that_cannot_be_stored_again_stops_the_sweep_before_it_condemns_its_pack() {
    let (hands, data) = (Hands::new(28), Data::new());
    let store = SimStore::strict(&hands);
    let repository = create(store.clone(), &hands);
    let shared = noise(3 << 20, 1);
    let gone = data.back_up(&repository, &[&shared[..], &noise(3 << 20, 2)].concat());
    let pack = store.entries("packs/").unwrap().remove(0).name;
    data.back_up(&repository, &[&shared[..], &noise(3 << 20, 3)].concat());
    forget(&repository, &gone);
    let mut bytes = store.get(&pack, u64::MAX).unwrap();
    bytes[1 << 20] ^= 1;
    store.put(&pack, bytes.into()).unwrap();
    for _ in 0..2 {
        let refused = prune(&repository, &AT_ONCE, &Silent).unwrap_err();
        assert!(refused.is_damage(), "{refused}");
        assert!(store.names().contains(&pack.to_string()));
        assert_eq!((count(&*store, "condemned/"), count(&*store, "snapshots/")), (0, 2));
    }
}

/// Names without what sessions leave.
fn without_burials(names: Vec<String>) -> Vec<String> {
    names.into_iter().filter(|name| !name.starts_with("burials/") && !name.starts_with("leases/")).collect()
}

/// SWEEP-4: packs of a killed session.
#[test]
fn packs_that_no_index_names_go_unless_a_snapshot_needs_them() {
    let (hands, data) = (Hands::new(6), Data::new());
    let store = SimStore::strict(&hands);
    let repository = create(store.clone(), &hands);
    let bytes = noise(2 << 20, 1);
    data.back_up(&repository, &bytes);
    for entry in store.entries("index/").unwrap() {
        store.delete(&entry.name).unwrap();
    }
    let refused = prune(&repository, &AT_ONCE, &Silent).unwrap_err();
    assert!(refused.is_damage() && refused.to_string().contains("an index object is lost"), "{refused}");
    assert_eq!(count(&*store, "packs/"), 1);
    data.assert_latest(&repository, &bytes);
    // Of no use to anybody, as a killed session leaves it.
    let old = latest(&repository, "d").unwrap();
    repository.forget(&old.name, "test").unwrap();
    let report = swept(&repository, &AT_ONCE);
    assert_eq!((report.deleted_packs, count(&*store, "packs/")), (1, 0), "{report:?}");
}

/// SWEEP-11
#[test]
fn small_packs_and_index_objects_are_merged() {
    let (hands, data) = (Hands::new(7), Data::new());
    let store = SimStore::strict(&hands);
    let repository = create(store.clone(), &hands);
    for day in 0..9 {
        data.back_up(&repository, &noise(300_000, day));
    }
    let before = (count(&*store, "packs/"), count(&*store, "index/"));
    assert_eq!(before, (9, 9));
    let report = swept(&repository, &AT_ONCE);
    assert_eq!((count(&*store, "packs/"), count(&*store, "index/")), (1, 1), "{report:?}");
    data.assert_latest(&repository, &noise(300_000, 8));
    assert_eq!(repository.refresh().unwrap(), []);
    assert_eq!(repository.snapshots().unwrap().len(), 9);
}

/// SWEEP-11: what was merged goes once no LIST can show neither it nor what replaces it, and is not merged again before.
#[test]
fn where_listings_lag_what_was_merged_goes_when_every_listing_shows_its_replacement() {
    let (hands, data, lag) = (Hands::new(11), Data::new(), Duration::from_secs(600));
    let promises = Promises { put_new: PutNew::Exclusive, timing: Timing::of_lag(lag) };
    let store: Arc<SimStore> = SimStore::new(&hands, promises, Listing::PutsLate);
    let repository = create(store.clone(), &hands);
    let indexes = || store.names().iter().filter(|name| name.starts_with("index/")).count();
    for day in 0..8 {
        data.back_up(&repository, &noise(100_000, day));
        hands.pass(lag);
    }
    // The packs are too young to be judged; first the small ones are merged, and LISTs show by what after LAG.
    for (left, deleted) in [(9, 0), (9, 0), (1, 8), (1, 0)] {
        assert_eq!((swept(&repository, &OVERNIGHT).deleted_indexes, indexes()), (deleted, left));
        hands.pass(lag + Duration::from_secs(60));
    }
    data.assert_latest(&repository, &noise(100_000, 7));
}

/// SWEEP-12, DELTA-4: ten versions of a file, each a little changed; the oldest is forgotten and its pack goes.
#[test]
fn deltas_stay_deltas_when_the_chunk_at_their_root_goes() {
    let (hands, data) = (Hands::new(10), Data::new());
    let store = SimStore::strict(&hands);
    let repository = create(store.clone(), &hands);
    let mut bytes = noise(3 << 20, 1);
    let oldest = data.back_up(&repository, &bytes);
    let mut versions = Vec::new();
    for day in 1..10u8 {
        hands.pass(DAY);
        bytes.iter_mut().step_by(64 << 10).for_each(|byte| *byte = byte.wrapping_add(day));
        let report = data.back_up(&repository, &bytes);
        assert!(report.snapshot.summary.stored_bytes < 200_000, "a delta: {:?}", report.snapshot.summary);
        versions.push((report.name, bytes.clone()));
    }
    forget(&repository, &oldest);
    hands.pass(DAY);
    let before: u64 = store.entries("packs/").unwrap().iter().map(|entry| entry.size).sum();
    let report = swept(&repository, &AT_ONCE);
    // Everything is small and old: all of it is stored again, in one order.
    assert!(report.stored_again.bytes > 8 * (3 << 20), "{report:?}");
    let after: u64 = store.entries("packs/").unwrap().iter().map(|entry| entry.size).sum();
    assert!(after < before + (100 << 10), "{before} {after}");
    let other = open(store.clone(), &hands).unwrap();
    for (number, (name, bytes)) in versions.iter().enumerate() {
        let chosen = choose(&other, &Selector::Id(name.session.to_string()), None).unwrap();
        let out = data.temp.path().join(format!("version-{number}"));
        restore_to(&other, &chosen, &out).unwrap();
        assert!(fs::read(out.join("file")).unwrap() == *bytes, "{number}");
    }
    assert_eq!(data.back_up(&other, &bytes).snapshot.summary.new_bytes, 0);
}

/// SWEEP-12: a row of deltas of which the last is kept is begun anew where that saves enough, and stays where it does not.
#[test]
fn roots_that_nobody_needs_any_more_go_once_the_rows_on_them_are_long() {
    let usual = Options { grace: Duration::ZERO, ..OVERNIGHT };
    for (days, goes) in [(1, false), (6, true)] {
        let (hands, data) = (Hands::new(8), Data::new());
        let store = SimStore::strict(&hands);
        let repository = create(store.clone(), &hands);
        let mut bytes = noise(3 << 20, 1);
        let mut last = data.back_up(&repository, &bytes);
        for day in 1..=days {
            forget(&repository, &last);
            hands.pass(DAY);
            let from = day as usize * 400_000;
            bytes[from..from + 130_000].copy_from_slice(&noise(130_000, 1 + day));
            last = data.back_up(&repository, &bytes);
            assert!(last.snapshot.summary.stored_bytes < 300_000, "a delta: {:?}", last.snapshot.summary);
        }
        hands.pass(DAY);
        let stored = || store.entries("packs/").unwrap().iter().map(|entry| entry.size).sum::<u64>();
        let before = stored();
        let report = swept(&repository, &usual);
        assert_eq!(report.condemned_packs > 0, goes, "{report:?}");
        assert_eq!(stored() + 500_000 < before, goes, "{before} {}", stored());
        data.assert_latest(&open(store.clone(), &hands).unwrap(), &bytes);
        // Packs that hold less now may go next; then it is at an end.
        swept(&repository, &usual);
        assert_eq!(swept(&repository, &usual).condemned_packs, 0);
    }
}

/// SWEEP-3
#[test]
fn a_dry_run_says_what_would_go_and_writes_nothing() {
    let (hands, data) = (Hands::new(8), Data::new());
    let store = SimStore::strict(&hands);
    let repository = create(store.clone(), &hands);
    let old = data.back_up(&repository, &noise(2 << 20, 1));
    data.back_up(&repository, &noise(2 << 20, 2));
    forget(&repository, &old);
    let before = store.names();
    let report = swept(&repository, &Options { dry_run: true, ..AT_ONCE });
    assert_eq!((report.packs, report.condemned_packs), (2, 1));
    assert_eq!((report.deleted_packs, report.deleted_bytes, report.deleted_snapshots), (1, report.condemned_bytes, 1));
    assert_eq!(store.names(), before);
    // What has to grow old first is not said to go.
    let hour = Options { grace: Duration::from_secs(3600), ..AT_ONCE };
    hands.pass(2 * hour.grace);
    let report = swept(&repository, &Options { dry_run: true, ..hour.clone() });
    assert_eq!((report.condemned_packs, report.deleted_packs, report.deleted_snapshots), (1, 0, 1));
    swept(&repository, &hour);
    let report = swept(&repository, &Options { dry_run: true, ..hour.clone() });
    assert!(matches!(report.waiting[..], [Waiting::Age { packs: 1, .. }]), "{report:?}");
    hands.pass(2 * hour.grace);
    let would = swept(&repository, &Options { dry_run: true, ..hour.clone() });
    let did = swept(&repository, &hour);
    assert_eq!((would.deleted_packs, would.deleted_bytes), (did.deleted_packs, did.deleted_bytes));
    assert_eq!(did.deleted_packs, 1);
}

/// SWEEP-4, SWEEP-8: a remote store's listings lag.
#[test]
fn where_listings_lag_a_sweep_waits_for_them() {
    let lag = Duration::from_secs(600);
    for put_new in [PutNew::Exclusive, PutNew::Settled] {
        let (hands, data) = (Hands::new(9), Data::new());
        let store: Arc<SimStore> =
            SimStore::new(&hands, Promises { put_new, timing: Timing::of_lag(lag) }, Listing::Late);
        let repository = create(store.clone(), &hands);
        assert!(prune(&repository, &AT_ONCE, &Silent).is_err(), "a grace time of 0 is for local stores");
        let old = data.back_up(&repository, &noise(2 << 20, 1));
        hands.pass(2 * lag);
        data.back_up(&repository, &noise(2 << 20, 2));
        forget(&repository, &old);
        let mut deleted = 0;
        for _ in 0..8 {
            hands.pass(DAY);
            deleted += swept(&repository, &OVERNIGHT).deleted_packs;
            data.assert_latest(&repository, &noise(2 << 20, 2));
        }
        hands.pass(DAY);
        assert_eq!(deleted, 1, "{put_new:?}");
        assert_eq!((count(&*store, "packs/"), count(&*store, "condemned/")), (1, 0), "{put_new:?}");
    }
}
