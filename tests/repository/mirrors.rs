//! The same repository in a second place: complete at every moment, whatever goes on in the first one.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::list::dump;
use redkeep::operations::mirror::{Options, Report, Sum, mirror};
use redkeep::operations::prune::prune as sweep;
use redkeep::operations::{OperationError, Silent};
use redkeep::repository::Repository;
use redkeep::store::{Promises, PutNew, Store, Timing};

use crate::support::dumps;
use crate::support::repository::*;
use crate::support::sim::{Listing, SimStore};
use crate::support::stores::{Fault, FaultyStore, PausableStore, RecordingStore, Verb};
use crate::support::sweeps::AT_ONCE;

/// A repository with snapshots of several versions, in a store whose listings are as late as its kind's.
pub struct Source {
    hands: Hands,
    pub store: Arc<SimStore>,
    repository: Repository,
    data: tempfile::TempDir,
}

impl Source {
    pub fn new(lag: Duration) -> Source {
        let hands = Hands::new(90);
        let promises = Promises { put_new: PutNew::Exclusive, timing: Timing::of_lag(lag) };
        let store = SimStore::new(&hands, promises, Listing::Late);
        let repository = create_tiny(store.clone(), &hands);
        let source = Source { hands, store, repository, data: tempfile::tempdir().unwrap() };
        source.hands.pass(lag);
        (1..=4).for_each(|version| source.back_up(version));
        source
    }

    pub fn back_up(&self, version: u64) {
        write(self.data.path(), version);
        back_up(&self.repository, self.data.path(), "d").unwrap();
        self.hands.pass(Duration::from_secs(60));
    }

    /// Forgets the oldest one, and everything that only it needs goes at once.
    pub fn forget_and_prune(&self) {
        let repository = open(self.store.clone(), &self.hands.another(91, 0)).unwrap();
        repository.refresh().unwrap();
        let oldest = repository.kept_snapshots().unwrap().remove(0).name;
        repository.forget(&oldest, "no longer wanted").unwrap();
        // One condemns, the other one finds nobody to wait for and deletes.
        for _ in 0..2 {
            self.hands.pass(Duration::from_secs(2 * 60 * 60));
            sweep(&repository, &AT_ONCE, &Silent).unwrap();
        }
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Clock::START + self.hands.clock().passed()
    }

    fn mirror_from(&self, from: &dyn Store, to: &dyn Store, options: &Options) -> Result<Report, OperationError> {
        mirror(from, Some(to), options, self.now(), &Silent)
    }

    fn mirror(&self, to: &dyn Store) -> Report {
        self.mirror_from(&*self.store, to, &Options::default()).unwrap()
    }

    fn delete(&self, to: &dyn Store) -> Report {
        self.mirror_from(&*self.store, to, &Options { deletes: true, ..Options::default() }).unwrap()
    }
}

/// Whether nothing is left out, as by hand.
pub fn is_long() -> bool {
    std::env::var_os("REDKEEP_TEST_LONG").is_some()
}

fn write(data: &Path, version: u64) {
    fs::write(data.join("dump.rdb"), dumps::dump(version)).unwrap();
    let mut drifting = noise(9_000, 1);
    drifting[3_000..3_020].copy_from_slice(&noise(20, 100 + version));
    fs::write(data.join("number"), version.to_string()).unwrap();
    fs::write(data.join("drifting"), drifting).unwrap();
    fs::write(data.join("own"), noise(2_000, 500 + version)).unwrap();
}

fn names(store: &dyn Store, folder: &str) -> Vec<String> {
    store.entries(folder).unwrap().into_iter().map(|entry| entry.name.to_string()).collect()
}

/// Whether a repository lacks nothing, and all of it can be read.
pub fn is_fine(source: &Source, store: Arc<dyn Store>) -> bool {
    let repository = open(store, &source.hands.another(97, 0)).unwrap();
    let is_told = !repository.refresh().unwrap().is_empty();
    let report = check(&repository, CheckDepth::Data, &Silent).unwrap();
    !is_told && report.damage.is_empty() && report.lost_files.is_empty()
}

/// What stands there can be opened, lacks nothing, and every snapshot is what it was; or nothing is there yet. Answers with how
/// many snapshots there are.
fn is_whole(place: &str, store: Arc<dyn Store>, hands: &Hands) -> Option<usize> {
    if !Repository::is_in(&*store).unwrap() {
        let others: Vec<_> = names(&*store, "").into_iter().filter(|name| !name.starts_with("keys/")).collect();
        assert_eq!(others, [""; 0], "{place}: no repository, and others than slots");
        return None;
    }
    let repository = open(store, &hands.another(92, 0)).unwrap_or_else(|error| panic!("{place}: {error}"));
    let alarms = repository.refresh().unwrap();
    assert!(alarms.is_empty(), "{place}: {alarms:?}");
    let report = check(&repository, CheckDepth::Data, &Silent).unwrap();
    assert!(report.damage.is_empty() && report.lost_files.is_empty(), "{place}: {report:?}");
    let infos = repository.kept_snapshots().unwrap();
    for info in &infos {
        let snapshot = repository.snapshot(&info.name).unwrap();
        let read = |path: &str| {
            let mut bytes = Vec::new();
            dump(&repository, &snapshot, path.as_bytes(), &mut bytes, &Silent)
                .unwrap_or_else(|e| panic!("{place}: {e}"));
            bytes
        };
        let version: u64 = String::from_utf8(read("number")).unwrap().parse().unwrap();
        assert!(read("dump.rdb") == dumps::dump(version) && read("own") == noise(2_000, 500 + version), "{place}");
    }
    Some(infos.len())
}

/// MIRROR-1, MIRROR-2
#[test]
fn a_mirror_is_the_same_repository_and_nothing_is_sent_twice() {
    let source = Source::new(Duration::ZERO);
    let to = RecordingStore::new(memory());
    let report = source.mirror(&*to);
    assert!(report.is_new && report.damaged.is_empty(), "{report:?}");
    assert_eq!(is_whole("mirror", to.clone(), &source.hands), Some(4));
    let of_writers = ["leases/", "condemned/", "burials/"];
    let all: Vec<String> = names(&*source.store, "");
    let wanted: Vec<_> =
        all.into_iter().filter(|name| !of_writers.iter().any(|folder| name.starts_with(folder))).collect();
    // A check of the mirror leaves its result there.
    let there: Vec<_> = names(&*to, "").into_iter().filter(|name| !name.starts_with("notes/")).collect();
    assert_eq!(there, wanted);
    let bytes = |store: &dyn Store, name: &str| store.get(&name.parse().unwrap(), u64::MAX).unwrap();
    assert!(wanted.iter().all(|name| bytes(&*to, name) == bytes(&*source.store, name)));
    assert_eq!(report.sent.objects, wanted.len() as u64);

    to.drain();
    let again = source.mirror(&*to);
    assert_eq!((again.sent, again.there), (Sum::default(), report.sent));
    assert!(to.drain().iter().all(|call| matches!(call.verb, Verb::List | Verb::Get)), "it is only looked at");
    source.back_up(5);
    let next = source.mirror(&*to);
    assert!((2..8).contains(&next.sent.objects), "{next:?}");
    assert_eq!(is_whole("next", to, &source.hands), Some(5));
}

/// MIRROR-2, MIRROR-4: it dies at each of its calls to the second place, before the call and after it took effect.
#[test]
fn a_mirror_that_dies_anywhere_is_a_repository_or_none_and_the_next_one_completes_it() {
    let source = Source::new(Duration::ZERO);
    let first = memory();
    source.mirror(&*first);
    source.forget_and_prune();
    source.back_up(5);
    for (place, is_first) in [("first", true), ("later", false)] {
        for fault in [Fault::Before, Fault::After] {
            for n in 0.. {
                let to = memory();
                if !is_first {
                    let entries = first.entries("").unwrap();
                    entries
                        .iter()
                        .for_each(|of| to.put(&of.name, first.get(&of.name, u64::MAX).unwrap().into()).unwrap());
                }
                let place = format!("{place}, {fault:?} at call {n}");
                let faulty = FaultyStore::new(to.clone(), n, fault);
                let options = Options { deletes: true, ..Options::default() };
                let done = source.mirror_from(&*source.store, &*faulty, &options);
                let snapshots = is_whole(&place, to.clone(), &source.hands);
                if !faulty.is_dead() {
                    assert_eq!((done.unwrap().left, snapshots), (Sum::default(), Some(4)), "{place}");
                    assert!(n > 10, "{place}: the sweep has tried calls");
                    break;
                }
                assert!(done.is_err_and(|error| FaultyStore::caused(&error)), "{place}");
                source.delete(&*to);
                assert_eq!(is_whole(&place, to, &source.hands), Some(4), "{place}: completed");
            }
        }
    }
}

/// MIRROR-3: at each call to the source a backup, or a prune that deletes packs, goes its whole way.
#[test]
fn what_happens_in_the_source_meanwhile_does_no_harm() {
    type Meanwhile = fn(&Source);
    let happens: [(&str, Meanwhile); 3] = [
        ("backup", |source| source.back_up(9)),
        ("prune", Source::forget_and_prune),
        ("both", |source| {
            source.back_up(9);
            source.forget_and_prune();
            source.back_up(10);
        }),
    ];
    for (what, happen) in happens {
        for n in (0..).step_by(if is_long() { 1 } else { 3 }) {
            let source = Source::new(Duration::ZERO);
            let (held, to) = (PausableStore::new(source.store.clone(), n), memory());
            let was_held = thread::scope(|scope| {
                let mirroring = scope.spawn(|| {
                    let done = source.mirror_from(&*held, &*to, &Options { deletes: true, ..Options::default() });
                    held.finish();
                    done
                });
                let call = held.wait_until_held();
                if call.is_some() {
                    happen(&source);
                }
                held.release();
                mirroring.join().unwrap().unwrap();
                call
            });
            let Some(call) = was_held else {
                assert!(n > 15, "{what}: {n} calls were tried");
                break;
            };
            let place = format!("{what} at call {n}, {call}");
            assert!(is_whole(&place, to.clone(), &source.hands) >= Some(2), "{place}");
            source.delete(&*to);
            let there = is_whole(&place, to.clone(), &source.hands);
            let repository = open(source.store.clone(), &source.hands.another(93, 0)).unwrap();
            repository.refresh().unwrap();
            assert_eq!(
                there,
                Some(repository.kept_snapshots().unwrap().len()),
                "{place}: the next one brings the rest"
            );
        }
    }
}

/// MIRROR-4
#[test]
fn what_the_source_no_longer_has_stays_until_it_is_asked_to_go() {
    let source = Source::new(Duration::ZERO);
    let to = memory();
    source.mirror(&*to);
    source.forget_and_prune();
    let report = source.mirror(&*to);
    assert!(report.left.objects > 0 && report.deleted == Sum::default(), "{report:?}");
    assert_eq!(is_whole("kept", to.clone(), &source.hands), Some(3));
    let before = names(&*to, "");
    let dry = Options { deletes: true, is_dry: true, ..Options::default() };
    let would = source.mirror_from(&*source.store, &*to, &dry).unwrap();
    assert_eq!((would.deleted, names(&*to, "")), (report.left, before));
    let report = source.delete(&*to);
    assert_eq!((report.deleted, report.left), (would.deleted, Sum::default()));
    assert_eq!(is_whole("gone", to.clone(), &source.hands), Some(3));

    // A source that shows nothing is believed nothing.
    for name in names(&*source.store, "snapshots/") {
        source.store.delete(&name.parse().unwrap()).unwrap();
    }
    let refused = source.mirror_from(&*source.store, &*to, &Options { deletes: true, ..Options::default() });
    assert!(matches!(refused, Err(OperationError::Refused { .. })), "{refused:?}");
}

/// MIRROR-1, MIRROR-4
#[test]
fn damage_is_not_mirrored_and_what_is_damaged_there_is_sent_again() {
    let source = Source::new(Duration::ZERO);
    let to = memory();
    source.mirror(&*to);
    source.back_up(5);
    let flip = |store: &dyn Store, name: &str| {
        let name = name.parse().unwrap();
        let mut bytes = store.get(&name, u64::MAX).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        store.put(&name, bytes.into()).unwrap();
    };
    let old = names(&*to, "packs/").remove(0);
    let new = names(&*source.store, "packs/").into_iter().find(|name| !names(&*to, "packs/").contains(name)).unwrap();
    // What is there already is not replaced by what was damaged since.
    flip(&*source.store, &old);
    flip(&*source.store, &new);
    let verify = Options { verifies: true, deletes: true, ..Options::default() };
    let report = source.mirror_from(&*source.store, &*to, &verify).unwrap();
    assert_eq!(report.damaged.iter().map(|(name, _)| name).collect::<Vec<_>>(), [&new]);
    assert!(report.mended.is_empty() && !names(&*to, "packs/").contains(&new));
    flip(&*source.store, &old);
    flip(&*source.store, &new);

    let there: Vec<String> = [names(&*to, "packs/").remove(0), names(&*to, "snapshots/").remove(1)].into();
    there.iter().for_each(|name| flip(&*to, name));
    let torn = names(&*to, "index/").remove(0);
    to.put(&torn.parse().unwrap(), b"torn"[..].into()).unwrap();
    // What is too short shows in a listing, the rest only to who reads it.
    assert_eq!(source.mirror(&*to).mended, [torn]);
    let mut mended = source.mirror_from(&*source.store, &*to, &verify).unwrap().mended;
    mended.sort();
    assert_eq!(mended, there);
    assert_eq!(is_whole("mended", to, &source.hands), Some(5));
}

/// MIRROR-5
#[test]
fn another_place_than_a_mirror_of_this_repository_is_refused() {
    let source = Source::new(Duration::ZERO);
    let refused = |to: Arc<dyn Store>, words: &str| {
        let before = names(&*to, "");
        let error = source.mirror_from(&*source.store, &*to, &Options::default()).unwrap_err();
        assert!(matches!(&error, OperationError::Refused { what, .. } if what.contains(words)), "{error}");
        assert_eq!(names(&*to, ""), before);
    };
    let other = memory();
    create_tiny(other.clone(), &source.hands.another(94, 0));
    refused(other, "holds repository");
    let used = memory();
    used.put(&"photos/cat.jpg".parse().unwrap(), b"cat"[..].into()).unwrap();
    refused(used, "is not empty");
    let written = memory();
    source.mirror(&*written);
    back_up(&open(written.clone(), &source.hands.another(95, 0)).unwrap(), source.data.path(), "d").unwrap();
    refused(written, "written to");
    let nowhere = source.mirror_from(&*memory(), &*memory(), &Options::default()).unwrap_err();
    assert!(nowhere.to_string().contains("no repository"), "{nowhere}");
}

/// MIRROR-2
#[test]
fn a_snapshot_so_young_that_listings_may_not_show_what_it_needs_waits() {
    let lag = Duration::from_secs(600);
    let source = Source::new(lag);
    let to = memory();
    source.hands.pass(lag);
    source.mirror(&*to);
    assert_eq!(is_whole("old", to.clone(), &source.hands), Some(4));
    write(source.data.path(), 5);
    back_up(&source.repository, source.data.path(), "d").unwrap();
    source.hands.pass(lag);
    source.hands.pass(Duration::from_secs(1));
    let report = source.mirror(&*to);
    assert_eq!((report.waiting, is_whole("shown", to.clone(), &source.hands)), (0, Some(5)));
    // One that is shown early, as services do.
    write(source.data.path(), 6);
    let early = Promises { put_new: PutNew::Exclusive, timing: Timing::of_lag(lag) };
    let early = SimStore::new(&source.hands, early, Listing::DeletesLate);
    for name in source.store.names() {
        early.put(&name.parse().unwrap(), source.store.get(&name.parse().unwrap(), u64::MAX).unwrap().into()).unwrap();
    }
    source.hands.pass(lag);
    source.hands.pass(lag);
    back_up(&open(early.clone(), &source.hands.another(96, 0)).unwrap(), source.data.path(), "d").unwrap();
    let report = source.mirror_from(&*early, &*to, &Options::default()).unwrap();
    assert_eq!((report.waiting, is_whole("young", to.clone(), &source.hands)), (1, Some(5)));
    source.hands.pass(lag);
    let report = source.mirror_from(&*early, &*to, &Options::default()).unwrap();
    assert_eq!((report.waiting, is_whole("old enough", to, &source.hands)), (0, Some(6)));
}
