//! `check --repair`: what it makes whole, what it writes down, and that it makes nothing worse wherever it dies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redkeep::operations::Silent;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::list::{Selector, choose, dump};
use redkeep::operations::repair::{RepairReport, repair};
use redkeep::repository::{Places, Repository, RepositoryError};
use redkeep::store::{ObjectName, Store};

use crate::support::mini_writer::{self, MiniFile, MiniWriter};
use crate::support::repository::*;
use crate::support::stores::{FAULTS, FaultyStore, RecordingStore, Verb};

/// Two snapshots of a dataset, the second with more; every object, by its name.
struct Before {
    hands: Hands,
    temp: tempfile::TempDir,
    objects: BTreeMap<ObjectName, Vec<u8>>,
}

impl Before {
    fn new(seed: u64) -> Before {
        let (hands, temp, store) = (Hands::new(seed), tempfile::tempdir().unwrap(), memory());
        let before = Before { hands, temp, objects: BTreeMap::new() };
        let repository = create(store.clone(), &before.hands);
        std::fs::create_dir(before.data()).unwrap();
        for (name, size) in [("first", 60_000), ("second", 50_000), ("third", 40_000)] {
            std::fs::write(before.data().join(name), noise(size, seed)).unwrap();
            before.hands.pass(Duration::from_secs(1));
            back_up(&repository, &before.data(), "d").unwrap();
        }
        Before { objects: contents(&*store), ..before }
    }

    fn data(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    fn copy(&self) -> Arc<dyn Store> {
        let store = memory();
        self.objects.iter().for_each(|(name, bytes)| store.put(name, bytes.to_vec().into()).unwrap());
        store
    }

    fn below(&self, prefix: &str) -> Vec<ObjectName> {
        self.objects.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect()
    }

    fn restores(&self, repository: &Repository, id: &str) {
        let chosen = choose(repository, &Selector::Id(id.into()), Some("d")).unwrap();
        let target = self.temp.path().join("target");
        let _ = std::fs::remove_dir_all(&target);
        restore_to(repository, &chosen, &target).unwrap();
        assert!(tree(&target) == tree(&self.data()));
    }
}

fn contents(store: &dyn Store) -> BTreeMap<ObjectName, Vec<u8>> {
    let names = store.entries("").unwrap().into_iter().map(|entry| entry.name);
    names.map(|name| (name.clone(), store.get(&name, u64::MAX).unwrap())).collect()
}

fn flip(store: &dyn Store, name: &ObjectName) {
    let mut bytes = store.get(name, u64::MAX).unwrap();
    bytes[100] ^= 1;
    store.put(name, bytes.clone().into()).unwrap();
}

fn fix(repository: &Repository) -> RepairReport {
    repair(repository, CheckDepth::Data, &Silent).unwrap()
}

/// Every file that can be read, with its bytes.
fn readable(store: Arc<dyn Store>, hands: &Hands) -> BTreeMap<(String, String), Vec<u8>> {
    let repository = open(store, hands).unwrap();
    repository.refresh().unwrap();
    let mut files = BTreeMap::new();
    for info in repository.snapshots().unwrap() {
        let snapshot = repository.snapshot(&info.name).unwrap();
        for path in snapshot.files.iter().map(|file| file.display_path()) {
            let mut out = Vec::new();
            if dump(&repository, &snapshot, path.as_bytes(), &mut out, &Silent).is_ok() {
                files.insert((info.name.to_string(), path), out);
            }
        }
    }
    files
}

/// NOTE-6
#[test]
fn a_repair_of_a_sound_repository_stores_nothing_but_what_it_read_and_its_lease() {
    let before = Before::new(60);
    let recording = RecordingStore::new(before.copy());
    let repository = open(recording.clone(), &before.hands).unwrap();
    let report = fix(&repository);
    assert!(report.found.is_sound() && !report.has_losses(), "{report:?}");
    let calls =
        recording.drain().into_iter().filter(|call| !matches!(call.verb, Verb::Get | Verb::GetRange | Verb::List));
    let folder = |name: &str| name.split('/').next().unwrap().to_string();
    let calls: Vec<(Verb, String)> = calls.map(|call| (call.verb, folder(&call.name))).collect();
    let wanted = [(Verb::PutNew, "notes"), (Verb::Put, "leases"), (Verb::Put, "leases"), (Verb::PutNew, "burials")];
    assert_eq!(calls, wanted.map(|(verb, name)| (verb, name.to_string())));
}

/// NOTE-3, NOTE-6, NOTE-7
#[test]
fn after_a_repair_one_backup_of_the_same_data_is_whole_and_nobody_is_alarmed() {
    let before = Before::new(61);
    let store = before.copy();
    let (packs, index) = (before.below("packs/"), before.below("index/").remove(0));
    store.delete(&packs[0]).unwrap();
    flip(&*store, &packs[1]);
    flip(&*store, &index);
    let recording = RecordingStore::new(store.clone());
    let report = fix(&open(recording.clone(), &before.hands).unwrap());
    let folder = |name: &str| name.split('/').next().unwrap().to_string();
    let puts =
        recording.drain().into_iter().filter(|call| matches!(call.verb, Verb::Put | Verb::PutNew | Verb::Delete));
    let order: Vec<(Verb, String)> = puts.map(|call| (call.verb, folder(&call.name))).collect();
    let steps: Vec<&str> = order.iter().map(|(_, folder)| folder.as_str()).filter(|f| *f != "leases").collect();
    let last = ["notes", "condemned", "burials"];
    assert!(steps.ends_with(&last) && order.iter().all(|(verb, _)| *verb != Verb::Delete), "{order:?}");
    assert!(!report.left.lost_files.is_empty() && report.left.damage.is_empty(), "{:?}", report.left);
    assert_eq!(report.recorded.chunks.len(), report.left.lost_chunks.len());
    assert!(report.left.lost_chunks.iter().all(|lost| !lost.files.is_empty()));
    // Files stay named until a backup stores them again.
    let stranger = open(store.clone(), &before.hands).unwrap();
    assert_eq!(check(&stranger, CheckDepth::Data, &Silent).unwrap().lost_files, report.left.lost_files);
    assert_eq!(stranger.refresh().unwrap(), []);
    let new = back_up(&stranger, &before.data(), "d").unwrap();
    assert_eq!(new.alarms, []);
    before.restores(&open(store.clone(), &before.hands).unwrap(), &new.name.session.to_string());
    let left = check(&stranger, CheckDepth::Data, &Silent).unwrap();
    assert!(left.is_sound(), "the old snapshots need nothing else: {left:?}");
    // What was recorded as lost is not told as made good, whoever reads it first.
    let chosen = latest(&stranger, "d").unwrap();
    let verified = redkeep::operations::verify::verify(&stranger, &chosen, &Silent).unwrap();
    assert_eq!((verified.is_whole(), verified.made_good, chosen.alarms), (true, vec![], vec![]));
    let again = fix(&stranger);
    assert!(again.found.is_sound() && again.recorded.is_empty() && again.condemned.is_empty(), "{again:?}");
}

/// INDEX-2, NOTE-6
#[test]
fn packs_without_an_index_object_are_named_again_unless_they_are_damaged() {
    let before = Before::new(62);
    let store = before.copy();
    let packs = before.below("packs/");
    before.below("index/").iter().for_each(|name| store.delete(name).unwrap());
    flip(&*store, &packs[2]);
    let repository = open(store.clone(), &before.hands).unwrap();
    let report = repair(&repository, CheckDepth::Structure, &Silent).unwrap();
    assert_eq!((report.indexed.len(), report.recorded.packs.len(), report.condemned.len()), (2, 1, 1));
    assert_eq!(format!("packs/{:02x}/{}", report.condemned[0].0[0], report.condemned[0]), packs[2].to_string());
    let new = back_up(&open(store.clone(), &before.hands).unwrap(), &before.data(), "d").unwrap();
    assert!(new.snapshot.summary.new_bytes < 70_000, "what was named again is known again");
    before.restores(&repository, &new.name.session.to_string());
}

/// SNAP-3, LOCAL-5, NOTE-3
#[test]
fn latest_and_every_command_go_on_once_a_lost_snapshot_was_recorded() {
    let before = Before::new(63);
    let store = before.copy();
    let mut snapshots = before.below("snapshots/");
    snapshots.sort();
    let places = || Places { cache: None, state: Some(before.temp.path().join("state")), scratch: None };
    let open_here = || open_at(store.clone(), &before.hands, "alpha", places()).unwrap();
    latest(&open_here(), "d").unwrap();
    store.delete(&snapshots[2]).unwrap();
    flip(&*store, &snapshots[1]);
    assert!(latest(&open_here(), "d").is_err());
    let report = fix(&open_here());
    let mut recorded = report.recorded.objects.clone();
    recorded.sort();
    assert_eq!(recorded, [snapshots[1].to_string(), snapshots[2].to_string()]);
    assert!(report.has_losses() && report.left.is_sound(), "{report:?}");
    let chosen = latest(&open_here(), "d").unwrap();
    assert_eq!((chosen.name.to_string(), chosen.alarms), (snapshots[0].to_string(), vec![]));
    let new = back_up(&open_here(), &before.data(), "d").unwrap();
    assert_eq!((new.alarms, new.snapshot.sequence), (vec![], 4));
    // A note that is gone records nothing.
    store.entries("notes/").unwrap().iter().for_each(|entry| store.delete(&entry.name).unwrap());
    assert!(!open_here().refresh().unwrap().is_empty());
}

/// NOTE-4
#[test]
fn a_condemnation_that_cannot_be_read_stops_backups_until_it_is_recorded() {
    let before = Before::new(64);
    let store = before.copy();
    store.delete(&before.below("packs/")[0]).unwrap();
    fix(&open(store.clone(), &before.hands).unwrap());
    let condemned = store.entries("condemned/").unwrap().remove(0).name;
    flip(&*store, &condemned);
    let repository = open(store.clone(), &before.hands).unwrap();
    let refused = back_up(&repository, &before.data(), "d").unwrap_err();
    assert!(refused.is_damage(), "{refused:?}");
    let found = check(&repository, CheckDepth::Structure, &Silent).unwrap();
    assert!(found.damage.iter().any(|damage| damage.object == condemned.to_string()), "{found:?}");
    let report = repair(&repository, CheckDepth::Structure, &Silent).unwrap();
    assert_eq!(report.recorded.objects, [condemned.to_string()]);
    let recording = RecordingStore::new(store.clone());
    let new = back_up(&open(recording.clone(), &before.hands).unwrap(), &before.data(), "d").unwrap();
    before.restores(&repository, &new.name.session.to_string());
}

/// Every small object that cannot be read is named, and no alarm any more once it was recorded.
///
/// NOTE-1, NOTE-3
#[test]
fn small_objects_that_cannot_be_read_are_named_and_recorded() {
    let mut before = Before::new(65);
    let store = before.copy();
    store.delete(&before.below("packs/")[0]).unwrap();
    fix(&open(store.clone(), &before.hands).unwrap());
    before.objects = contents(&*store);
    for prefix in ["leases/", "burials/", "notes/", "condemned/"] {
        let name = before.below(prefix).remove(0);
        let whole = &before.objects[&name];
        let swapped =
            before.objects.iter().rev().find(|(other, _)| other.as_str().starts_with(prefix) && **other != name);
        let mut left = vec![vec![], whole[..whole.len() / 2].to_vec(), [&whole[..], &[0]].concat()];
        left.extend(swapped.map(|(_, bytes)| bytes.clone()));
        for bytes in left {
            let store = before.copy();
            store.put(&name, bytes.clone().into()).unwrap();
            let repository = open(store.clone(), &before.hands).unwrap();
            let named = |repository: &Repository| {
                let report = check(repository, CheckDepth::Data, &Silent).unwrap();
                report.damage.iter().any(|damage| damage.object == name.to_string())
            };
            assert!(named(&repository), "{name}");
            fix(&repository);
            assert!(!named(&repository), "{name}");
            let new = back_up(&repository, &before.data(), "d").unwrap();
            assert_eq!(new.alarms, []);
            before.restores(&repository, &new.name.session.to_string());
        }
    }
}

/// NOTE-7
#[test]
fn what_a_forgotten_snapshot_loses_is_recorded_and_not_missed() {
    let (hands, temp) = (Hands::new(69), tempfile::tempdir().unwrap());
    let root = temp.path().join("repository");
    let writer = MiniWriter::create(root.clone());
    let (there, gone) = (noise(5000, 1), noise(6000, 2));
    writer.index(&[writer.pack(&[writer.whole(0, &[&there])])]);
    let file = |path: &str, content: &[u8]| {
        MiniFile::file(path, content, mini_writer::opaque(content.len(), 0, writer.entry(content), false))
    };
    writer.snapshot(5, None, &[file("gone", &gone), file("there", &there)]);
    writer.snapshot(6, Some(&writer.snapshot_name(5)), &[file("there", &there)]);
    let credential = password(mini_writer::PASSWORD);
    let repository = Repository::open(local(&root), credential, hands.ambient("a"), Places::default(), None).unwrap();
    let found = check(&repository, CheckDepth::Data, &Silent).unwrap();
    assert_eq!((found.lost_files.len(), found.lost_chunks.len()), (1, 1), "{found:?}");
    writer.forget(&writer.snapshot_name(5));
    let found = check(&repository, CheckDepth::Data, &Silent).unwrap();
    assert!(found.is_sound() && found.lost_chunks.is_empty(), "{found:?}");
    let report = fix(&repository);
    assert_eq!((report.recorded.chunks.len(), report.has_losses()), (1, false), "{report:?}");
    assert!(fix(&repository).recorded.is_empty());
}

#[test]
fn a_key_slot_that_is_damaged_is_left_and_said() {
    let before = Before::new(68);
    let store = before.copy();
    let repository = open(store.clone(), &before.hands).unwrap();
    let slot = repository.add_slot(&password("another"), "second", CHEAP).unwrap();
    let slot: ObjectName = format!("keys/{slot}").parse().unwrap();
    store.put(&slot, (store.get(&slot, u64::MAX).unwrap()[..50]).to_vec().into()).unwrap();
    let report = fix(&repository);
    assert!(report.left.damage.iter().any(|damage| damage.object == slot.to_string()), "{:?}", report.left);
    assert!(report.has_losses() && report.recorded.is_empty());
}

/// A repair that was held for half of the time after which a lease is stale does not go on.
///
/// SESS-6
#[test]
fn a_repair_that_may_have_been_taken_for_dead_writes_nothing_more() {
    let before = Before::new(66);
    let store = before.copy();
    store.delete(&before.below("packs/")[0]).unwrap();
    let mut slow = before.hands.ambient("alpha");
    let (uptime, moving) = (slow.uptime.clone(), before.hands.clone());
    slow.uptime = Arc::new(move || {
        moving.pass(Duration::from_secs(31 * 60));
        uptime()
    });
    let repository = Repository::open(store.clone(), password(PASSWORD), slow, Places::default(), None).unwrap();
    let error = repository.repair(CheckDepth::Structure, &|| false, &|_, _| {}).unwrap_err();
    assert!(matches!(error, RepositoryError::Fenced), "{error:?}");
    assert_eq!(store.entries("condemned/").unwrap(), []);
}

/// Damage of every sort that a repair deals with, and every call of it fails once.
///
/// NOTE-6
#[test]
fn a_repair_that_dies_at_any_call_makes_nothing_worse_and_is_finished_by_the_next() {
    let before = Before::new(67);
    let damaged = damage(&before);
    let could = readable(damaged.clone(), &before.hands);
    let base = contents(&*damaged);
    for fault in FAULTS {
        for n in 0.. {
            let store = memory();
            base.iter().for_each(|(name, bytes)| store.put(name, bytes.to_vec().into()).unwrap());
            let faulty = FaultyStore::new(store.clone(), n, fault);
            let result = open(faulty.clone(), &before.hands)
                .and_then(|repository| repository.repair(CheckDepth::Data, &|| false, &|_, _| {}));
            let label = format!("{fault:?} at {n}");
            for (name, bytes) in &base {
                assert_eq!(store.get(name, u64::MAX).ok().as_ref(), Some(bytes), "{label}: {name} was touched");
            }
            let can = readable(store.clone(), &before.hands);
            assert!(could.iter().all(|(file, bytes)| can.get(file) == Some(bytes)), "{label}: something got worse");
            if !faulty.is_dead() {
                assert!(result.is_ok(), "{label}: {result:?}");
                finished(&before, &store, &label);
                break;
            }
            finished(&before, &store, &label);
        }
    }
}

/// A pack is gone, another is cut, an index object is gone, a snapshot cannot be read.
fn damage(before: &Before) -> Arc<dyn Store> {
    let store = before.copy();
    let packs = before.below("packs/");
    store.delete(&packs[0]).unwrap();
    store.put(&packs[1], before.objects[&packs[1]][..5000].to_vec().into()).unwrap();
    store.delete(&before.below("index/")[0]).unwrap();
    flip(&*store, &before.below("snapshots/")[0]);
    store
}

/// A repair, a backup that is whole, and nothing but lost files of older snapshots left.
fn finished(before: &Before, store: &Arc<dyn Store>, label: &str) {
    let repository = open(store.clone(), &before.hands).unwrap();
    let report = repository.repair(CheckDepth::Data, &|| false, &|_, _| {}).unwrap();
    assert!(report.left.damage.is_empty(), "{label}: {:?}", report.left);
    let new = back_up(&repository, &before.data(), "d").unwrap_or_else(|error| panic!("{label}: {error:?}"));
    assert_eq!(new.alarms, [], "{label}");
    restored(before, &repository, &new.name.session.to_string());
    let left = check(&repository, CheckDepth::Data, &Silent).unwrap();
    assert!(left.damage.is_empty(), "{label}: {left:?}");
    assert!(left.lost_files.iter().all(|(id, _)| *id != new.name.session), "{label}");
}

/// Without a target directory, which would be synced a thousand times.
fn restored(before: &Before, repository: &Repository, id: &str) {
    let chosen = choose(repository, &Selector::Id(id.into()), Some("d")).unwrap();
    for (path, content) in tree(Path::new(&before.data())) {
        let mut out = Vec::new();
        dump(repository, &chosen.snapshot, path.as_bytes(), &mut out, &Silent).unwrap();
        assert!(Some(out) == content, "{path}");
    }
}
