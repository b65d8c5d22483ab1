//! What a check reads, what it keeps of it as notes, and what it names.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redkeep::format::note::Drill;
use redkeep::format::object::SnapshotName;
use redkeep::format::{Id16, KeysDigest, UnixMillis};
use redkeep::operations::Silent;
use redkeep::operations::check::{CheckDepth, CheckReport, check};
use redkeep::repository::{DrillRecord, Places, Repository, RepositoryError, SweepOptions};
use redkeep::store::{ObjectName, Store};

use crate::support::repository::*;
use crate::support::stores::{RecordingStore, Verb};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A repository with so many packs, one for each backup.
fn with_packs(store: &Arc<dyn Store>, hands: &Hands, data: &Path, count: u64) -> Repository {
    std::fs::create_dir_all(data).unwrap();
    let repository = create(store.clone(), hands);
    for number in 0..count {
        std::fs::write(data.join(format!("file{number}")), noise(20_000, number)).unwrap();
        back_up(&repository, data, "d").unwrap();
    }
    repository
}

fn names(store: &dyn Store, prefix: &str) -> Vec<ObjectName> {
    store.entries(prefix).unwrap().into_iter().map(|entry| entry.name).collect()
}

fn run(repository: &Repository, depth: CheckDepth) -> CheckReport {
    check(repository, depth, &Silent).unwrap()
}

fn flip(store: &dyn Store, name: &ObjectName) {
    let mut bytes = store.get(name, u64::MAX).unwrap();
    bytes[100] ^= 1;
    store.put(name, bytes.clone().into()).unwrap();
}

/// Packs that a check of this depth reads.
fn read_by(store: &Arc<dyn Store>, hands: &Hands, depth: CheckDepth) -> BTreeSet<String> {
    let recording = RecordingStore::new(store.clone());
    let repository = open(recording.clone(), hands).unwrap();
    check(&repository, depth, &Silent).unwrap();
    let calls = recording.calls().into_iter();
    calls.filter(|call| call.verb == Verb::Get && call.name.starts_with("packs/")).map(|call| call.name).collect()
}

/// NOTE-5
#[test]
fn packs_are_read_again_only_after_their_time() {
    let (hands, temp, store) = (Hands::new(50), tempfile::tempdir().unwrap(), memory());
    let repository = with_packs(&store, &hands, &temp.path().join("data"), 3);
    let month = CheckDepth::MaxAge(30 * DAY);
    let reading = run(&repository, month).reading;
    assert_eq!((reading.packs, reading.skipped, reading.not_kept), (3, 0, None), "never read before");
    hands.pass(10 * DAY);
    std::fs::write(temp.path().join("data/new"), noise(20_000, 9)).unwrap();
    back_up(&repository, &temp.path().join("data"), "d").unwrap();
    // On a host that knows nothing: the results are in the repository.
    let reading = run(&open(store.clone(), &hands).unwrap(), month).reading;
    assert_eq!((reading.packs, reading.skipped, reading.never), (1, 3, 0));
    assert!(reading.oldest.is_some());
    hands.pass(25 * DAY);
    let reading = run(&repository, month).reading;
    assert_eq!((reading.packs, reading.skipped), (3, 1), "35 days and 25 days ago");
    let structure = run(&repository, CheckDepth::Structure).reading;
    assert_eq!((structure.packs, structure.skipped, structure.never), (0, 4, 0));
}

/// NOTE-5
#[test]
fn the_parts_of_a_subset_cover_everything_and_shares_take_turns() {
    let (hands, temp, store) = (Hands::new(51), tempfile::tempdir().unwrap(), memory());
    with_packs(&store, &hands, &temp.path().join("data"), 6);
    let all: BTreeSet<String> = names(&*store, "packs/").iter().map(ToString::to_string).collect();
    let parts = (1..=3).map(|part| read_by(&store, &hands, CheckDepth::Subset { part, of: 3 }));
    let parts: Vec<String> = parts.flatten().collect();
    assert_eq!((parts.len(), parts.into_iter().collect::<BTreeSet<_>>()), (6, all.clone()), "each pack once");
    let shares: Vec<BTreeSet<String>> =
        (0..3).map(|_| read_by(&store, &hands, CheckDepth::Share { hundredths: 3000 })).collect();
    assert!(shares.iter().all(|share| share.len() == 2), "30 % of 6, rounded up");
    assert_eq!(shares.into_iter().flatten().collect::<BTreeSet<_>>(), all, "the longest unread first");
}

/// NOTE-1, NOTE-5
#[test]
fn a_damaged_pack_is_named_and_read_again_until_it_is_whole() {
    let (hands, temp, store) = (Hands::new(52), tempfile::tempdir().unwrap(), memory());
    let repository = with_packs(&store, &hands, &temp.path().join("data"), 4);
    let pack = names(&*store, "packs/").remove(1);
    let whole = store.get(&pack, u64::MAX).unwrap();
    flip(&*store, &pack);
    let named = |report: &CheckReport| report.damage.iter().any(|damage| damage.object == pack.to_string());
    assert!(named(&run(&repository, CheckDepth::Data)));
    assert!(named(&run(&repository, CheckDepth::Structure)), "known from the note");
    let nothing_else = CheckDepth::MaxAge(30 * DAY);
    assert_eq!(read_by(&store, &hands, nothing_else), [pack.to_string()].into());
    store.put(&pack, whole.clone().into()).unwrap();
    let report = run(&repository, CheckDepth::Share { hundredths: 1 });
    assert!(report.is_sound() && report.reading.packs == 1, "{report:?}");
    assert_eq!(read_by(&store, &hands, nothing_else), BTreeSet::new());
    assert!(run(&repository, CheckDepth::Structure).is_sound());
    // A note that is lost costs reading again; one that cannot be read is named besides.
    flip(&*store, &names(&*store, "notes/")[0]);
    assert!(!run(&repository, CheckDepth::Structure).is_sound());
    names(&*store, "notes/").iter().for_each(|name| store.delete(name).unwrap());
    assert_eq!(run(&repository, nothing_else).reading.packs, 4);
}

/// NOTE-5
#[test]
fn a_host_whose_clock_is_ahead_does_not_keep_packs_from_being_read() {
    let (hands, temp, store) = (Hands::new(56), tempfile::tempdir().unwrap(), memory());
    with_packs(&store, &hands, &temp.path().join("data"), 2);
    for (days, read) in [(3, 2), (0, 2), (0, 0)] {
        let mut ahead = hands.ambient("beta");
        let now = ahead.now.clone();
        ahead.now = Arc::new(move || UnixMillis(now().0 + days * DAY.as_millis() as u64));
        let repository = Repository::open(store.clone(), password(PASSWORD), ahead, Places::default(), None).unwrap();
        assert_eq!(run(&repository, CheckDepth::MaxAge(30 * DAY)).reading.packs, read, "{days} days ahead");
    }
}

#[test]
fn an_interrupted_check_keeps_what_it_has_read() {
    let (hands, temp, store) = (Hands::new(53), tempfile::tempdir().unwrap(), memory());
    let repository = with_packs(&store, &hands, &temp.path().join("data"), 5);
    let read = Cell::new(0);
    let count = std::sync::atomic::AtomicU64::new(0);
    let stop = || count.load(std::sync::atomic::Ordering::SeqCst) >= 2;
    let progress = |_, _| {
        read.set(read.get() + 1);
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    };
    let result = repository.check(CheckDepth::Data, &stop, &progress);
    assert!(matches!(result, Err(RepositoryError::Interrupted)), "{result:?}");
    assert_eq!(read.get(), 2);
    let reading = run(&repository, CheckDepth::MaxAge(DAY)).reading;
    assert_eq!((reading.packs, reading.skipped), (3, 2));
}

#[test]
fn notes_whose_packs_newer_ones_name_are_superseded() {
    let (hands, temp, store) = (Hands::new(54), tempfile::tempdir().unwrap(), memory());
    let repository = with_packs(&store, &hands, &temp.path().join("data"), 2);
    run(&repository, CheckDepth::Share { hundredths: 5000 });
    assert_eq!(repository.superseded_notes().unwrap(), []);
    let first = names(&*store, "notes/").remove(0).to_string();
    run(&repository, CheckDepth::Data);
    let superseded = repository.superseded_notes().unwrap();
    assert_eq!(superseded.iter().map(|id| format!("notes/{id}")).collect::<Vec<_>>(), [first]);
}

/// SNAP-3, LOCAL-5
#[test]
fn a_store_that_shows_an_older_state_is_found_out() {
    let (hands, temp, store) = (Hands::new(55), tempfile::tempdir().unwrap(), memory());
    let repository = with_packs(&store, &hands, &temp.path().join("data"), 3);
    let mut snapshots = names(&*store, "snapshots/");
    snapshots.sort();
    for missing in [&snapshots[1], &snapshots[2]] {
        let whole = store.get(missing, u64::MAX).unwrap();
        store.delete(missing).unwrap();
        let report = run(&repository, CheckDepth::Structure);
        assert!(report.damage.iter().any(|damage| damage.object == missing.to_string()), "{report:?}");
        store.put(missing, whole.clone().into()).unwrap();
        assert!(run(&repository, CheckDepth::Structure).is_sound());
    }
}

/// NOTE-9, NOTE-11
#[test]
fn of_drills_the_newest_and_the_newest_digest_of_each_server_stay() {
    let (hands, temp, store) = (Hands::new(56), tempfile::tempdir().unwrap(), memory());
    let repository = with_packs(&store, &hands, &temp.path().join("data"), 1);
    let snapshot = latest(&repository, "d").unwrap().name;
    let gone = SnapshotName { session: Id16([7; 16]), ..snapshot };
    let digest = Some(KeysDigest([1; 20]));
    let drills = [
        (snapshot, "Redis 7.0.15", None, digest),
        (snapshot, "Redis 7.0.15", None, digest),
        (snapshot, "Valkey 9.1.2", None, digest),
        (snapshot, "Redis 7.0.15", None, None),
        (gone, "Redis 7.0.15", None, digest),
        (snapshot, "Redis 7.0.15", Some("it came up empty"), None),
    ];
    for (snapshot, server, fault, digest) in drills {
        repository.note_drill(Drill::new(snapshot, server, 5, fault, digest)).unwrap();
    }
    let result = repository.drill_results().unwrap().remove(&snapshot).unwrap();
    assert_eq!((result.passed(), result.drill.fault.as_deref()), (false, Some("it came up empty")));
    let options = SweepOptions::default();
    repository.sweep(&options, &|| false, &|_| {}).unwrap();
    let left = |repository: &Repository| {
        let drill = |record: DrillRecord| (record.drill.server, record.drill.fault.is_some());
        repository.drills().unwrap().into_iter().map(drill).collect::<Vec<_>>()
    };
    let wanted = [("Redis 7.0.15", false), ("Valkey 9.1.2", false), ("Redis 7.0.15", true)];
    let wanted = wanted.map(|(server, failed)| (server.to_string(), failed));
    assert_eq!(left(&repository), wanted);
    // Another host sees the same.
    assert_eq!(left(&open_at(store, &hands, "beta", Places::default()).unwrap()), wanted);
}
