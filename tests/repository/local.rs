//! What a host keeps of a repository: the catalog, which is made again whatever happens to it, and the state, which
//! notices what a store hides.

use std::fs;
use std::sync::Arc;

use redkeep::operations::OperationError;
use redkeep::operations::list::{Filter, snapshots};
use redkeep::repository::{Alarm, Places, Repository, RepositoryError};
use redkeep::store::Store;

use crate::support::repository::*;
use crate::support::stores::RecordingStore;

struct World {
    hands: Hands,
    temp: tempfile::TempDir,
    store: Arc<dyn Store>,
}

impl World {
    /// A repository with two snapshots of one dataset.
    fn new(seed: u64) -> World {
        let world = World { hands: Hands::new(seed), temp: tempfile::tempdir().unwrap(), store: memory() };
        fs::create_dir(world.data()).unwrap();
        let repository = create(world.store.clone(), &world.hands);
        for content in [1, 2] {
            fs::write(world.data().join("dump"), noise(300_000, content)).unwrap();
            back_up(&repository, &world.data(), "d").unwrap();
        }
        world
    }

    fn data(&self) -> std::path::PathBuf {
        self.temp.path().join("data")
    }

    fn places(&self) -> Places {
        Places {
            cache: Some(self.temp.path().join("cache")),
            state: Some(self.temp.path().join("state")),
            scratch: None,
        }
    }

    fn open(&self) -> Repository {
        open_at(self.store.clone(), &self.hands, "alpha", self.places()).unwrap()
    }

    fn catalog(&self) -> std::path::PathBuf {
        let mut found = walkdir::WalkDir::new(self.temp.path().join("cache")).into_iter().map(Result::unwrap);
        found.find(|entry| entry.file_name() == "catalog.db").unwrap().into_path()
    }

    fn restores(&self, repository: &Repository, content: u64) {
        let target = self.temp.path().join("out");
        let _ = fs::remove_dir_all(&target);
        restore_to(repository, &latest(repository, "d").unwrap(), &target).unwrap();
        assert!(fs::read(target.join("dump")).unwrap() == noise(300_000, content));
    }

    fn alarms(&self, repository: &Repository) -> Vec<Alarm> {
        snapshots(repository, &Filter::default()).unwrap().1
    }

    fn snapshot_names(&self) -> Vec<redkeep::store::ObjectName> {
        self.store.entries("snapshots/").unwrap().into_iter().map(|entry| entry.name).collect()
    }
}

/// LOCAL-1
#[test]
fn a_catalog_that_is_foreign_damaged_or_of_another_schema_is_made_again() {
    let world = World::new(1);
    world.restores(&world.open(), 2);
    let good = fs::read(world.catalog()).unwrap();
    let other = World::new(2);
    other.restores(&other.open(), 2);
    let foreign = fs::read(other.catalog()).unwrap();
    let mut flipped_header = good.clone();
    flipped_header[20] ^= 0xff;
    let mut zeroed = good.clone();
    zeroed[4096..16384].fill(0);
    let rewrite = |bytes: &[u8]| {
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", world.catalog().display()));
        }
        fs::write(world.catalog(), bytes).unwrap();
    };
    for bytes in [&foreign[..], b"not SQLite at all", b"", &good[..good.len() / 2], &flipped_header, &zeroed] {
        rewrite(bytes);
        world.restores(&world.open(), 2);
        assert_eq!(world.alarms(&world.open()), []);
    }
    rusqlite::Connection::open(world.catalog()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    world.restores(&world.open(), 2);
}

/// LOCAL-2, LOCAL-4
#[test]
fn a_catalog_follows_what_is_listed_and_never_claims_more() {
    let world = World::new(3);
    let repository = world.open();
    repository.refresh().unwrap();
    let full = repository.totals().unwrap();
    assert_eq!((full.packs, repository.snapshots().unwrap().len()), (2, 2));
    let index = world.store.entries("index/").unwrap().remove(0).name;
    let bytes = world.store.get(&index, u64::MAX).unwrap();
    world.store.delete(&index).unwrap();
    repository.refresh().unwrap();
    assert_eq!(repository.totals().unwrap().packs, 1);
    let report = back_up(&repository, &world.data(), "d").unwrap();
    assert_eq!(report.alarms, []);
    world.restores(&repository, 2);
    world.store.put(&index, bytes.clone().into()).unwrap();
    repository.refresh().unwrap();
    assert!(repository.totals().unwrap().packs >= 2);
    // A catalog from before, put in place of today's, is brought up to date before it is asked.
    drop(repository);
    let old = fs::read(world.catalog()).unwrap();
    fs::write(world.data().join("dump"), noise(300_000, 3)).unwrap();
    back_up(&world.open(), &world.data(), "d").unwrap();
    fs::write(world.catalog(), old).unwrap();
    world.restores(&world.open(), 3);
}

/// LOCAL-5, SNAP-3
#[test]
fn a_snapshot_that_disappears_is_an_alarm_until_the_end() {
    let world = World::new(4);
    world.restores(&world.open(), 2);
    let newest = world.snapshot_names().pop().unwrap();
    world.store.delete(&newest).unwrap();
    let missing = newest.to_string();
    assert_eq!(world.alarms(&world.open()), [Alarm::Rollback { missing: missing.clone() }]);
    // A host that has never seen the repository trusts it; the next backup of this host leaves a gap for all to see.
    let stranger = open(world.store.clone(), &world.hands).unwrap();
    assert!(stranger.is_first_contact());
    assert_eq!(world.alarms(&stranger), []);
    let report = back_up(&world.open(), &world.data(), "d").unwrap();
    assert_eq!(report.alarms, [Alarm::Rollback { missing: missing.clone() }]);
    assert_eq!((report.snapshot.sequence, report.snapshot.previous.as_ref()), (3, Some(&missing)));
    let gap = Alarm::Gap { dataset: "d".into(), snapshot: report.name.to_string(), missing };
    assert_eq!(world.alarms(&stranger), std::slice::from_ref(&gap));
    assert_eq!(world.alarms(&world.open()), [gap]);
}

/// SNAP-7
#[test]
fn a_snapshot_under_another_name_is_refused() {
    let world = World::new(5);
    let [older, newer] = <[_; 2]>::try_from(world.snapshot_names()).unwrap();
    let bytes = world.store.get(&older, u64::MAX).unwrap();
    world.store.put(&newer, bytes.clone().into()).unwrap();
    let alarms = world.alarms(&world.open());
    assert!(matches!(&alarms[..], [Alarm::Snapshot { object, .. }] if *object == newer.to_string()), "{alarms:?}");
}

/// LOCAL-6
#[test]
fn another_repository_at_a_known_location_is_not_used_without_a_word() {
    let temp = tempfile::tempdir().unwrap();
    let (hands, root) = (Hands::new(6), temp.path().join("repository"));
    let places = || Places { cache: None, state: Some(temp.path().join("state")), scratch: None };
    create(local(&root), &hands);
    let first = open_at(local(&root), &hands, "alpha", places()).unwrap();
    assert!(first.is_first_contact());
    assert!(!open_at(local(&root), &hands, "alpha", places()).unwrap().is_first_contact());
    fs::remove_dir_all(&root).unwrap();
    let second = create(local(&root), &hands).id();
    let refused = open_at(local(&root), &hands, "alpha", places());
    assert!(matches!(&refused, Err(RepositoryError::OtherRepository { found, .. }) if *found == second));
    let credential = password(PASSWORD);
    Repository::open(local(&root), credential, hands.ambient("alpha"), places(), Some(second)).unwrap();
    open_at(local(&root), &hands, "alpha", places()).unwrap();
}

/// KEY-9
#[test]
fn slots_are_added_changed_and_removed_without_a_moment_in_which_nothing_opens() {
    let (hands, recording) = (Hands::new(7), RecordingStore::new(memory()));
    let repository = create(recording.clone(), &hands);
    let open =
        |text: &str| Repository::open(recording.clone(), password(text), hands.ambient("b"), Places::default(), None);
    recording.drain();
    let (old, new) = redkeep::operations::slots::passwd(&repository, &password("second"), CHEAP).unwrap();
    let calls: Vec<String> = recording.drain().iter().map(ToString::to_string).collect();
    let at = |call: String| calls.iter().position(|have| *have == call).unwrap();
    assert!(at(format!("put_new keys/{new}")) < at(format!("delete keys/{old}")));
    assert!(calls.contains(&format!("get keys/{new}")), "read back before the old one goes");
    assert!(matches!(open(PASSWORD), Err(RepositoryError::WrongSecret { .. })));
    let second = open("second").unwrap();
    assert!(matches!(second.remove_slot(new), Err(RepositoryError::Slot(_))), "the last slot stays");
    second.add_slot(&password("third"), "for Anna", CHEAP).unwrap();
    let slots = second.slots().unwrap();
    assert_eq!(slots.iter().filter(|slot| slot.label.as_deref() == Some("for Anna")).count(), 1);
    assert_eq!(slots.iter().filter(|slot| slot.current).count(), 1);
    let refused = redkeep::operations::slots::remove(&second, &new.to_string(), false);
    assert!(matches!(refused, Err(OperationError::Refused { .. })), "the slot in use stays unless told otherwise");
    redkeep::operations::slots::remove(&second, &new.to_string(), true).unwrap();
    open("third").unwrap();
}

/// SEAL-7, OBJ-4
#[test]
fn no_two_objects_share_a_salt() {
    let world = World::new(8);
    let mut salts = Vec::new();
    for entry in world.store.entries("").unwrap() {
        salts.push(world.store.get(&entry.name, u64::MAX).unwrap()[32..64].to_vec());
    }
    let count = salts.len();
    salts.sort();
    salts.dedup();
    assert_eq!((salts.len(), count >= 8), (count, true));
}

/// LOCAL-7
#[test]
fn a_restore_replaces_a_directory_at_once_and_undo_puts_it_back() {
    let world = World::new(9);
    let (repository, target) = (world.open(), world.temp.path().join("redis"));
    fs::create_dir(&target).unwrap();
    fs::write(target.join("dump"), b"what stood here").unwrap();
    let report = restore_to(&repository, &latest(&repository, "d").unwrap(), &target).unwrap();
    let aside = report.aside.unwrap();
    assert!(fs::read(target.join("dump")).unwrap() == noise(300_000, 2));
    assert_eq!(fs::read(aside.join("dump")).unwrap(), b"what stood here");
    let undone = redkeep::operations::restore::undo(&target, None).unwrap();
    assert_eq!(fs::read(target.join("dump")).unwrap(), b"what stood here");
    assert!(fs::read(undone.aside.unwrap().join("dump")).unwrap() == noise(300_000, 2));
    redkeep::operations::restore::undo(&target, None).unwrap();
    assert!(fs::read(target.join("dump")).unwrap() == noise(300_000, 2), "undo of an undo");
}

/// LOCAL-8
#[test]
fn what_killed_restores_left_is_removed_or_kept_aside_for_what_it_is() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new(10);
    let (repository, target) = (world.open(), world.temp.path().join("redis"));
    let beside = |name: &str| world.temp.path().join(name);
    fs::create_dir(&target).unwrap();
    fs::create_dir(beside(".redkeep-staging-redis")).unwrap();
    fs::create_dir(beside(".redkeep-probe-redis")).unwrap();
    fs::write(beside(".redkeep-lock-redis"), "").unwrap();
    let never = beside("never");
    fs::create_dir(&never).unwrap();
    let inode = fs::metadata(&never).unwrap().ino();
    fs::rename(&never, beside(&format!(".redkeep-swap-redis-29990101T000000Z-{inode}"))).unwrap();
    let done = beside(".redkeep-swap-redis-29990102T000000Z-1");
    fs::create_dir(&done).unwrap();
    fs::write(done.join("dump"), b"the old one").unwrap();
    restore_to(&repository, &latest(&repository, "d").unwrap(), &target).unwrap();
    let expected = [".redkeep-aside-redis-29990102T000000Z", ".redkeep-aside-redis-29990102T000001Z"];
    assert_eq!(hidden(&world), expected);
    assert_eq!(fs::read(beside(expected[0]).join("dump")).unwrap(), b"the old one");
}

/// LOCAL-9
#[test]
fn undo_removes_nothing_and_takes_what_a_killed_restore_replaced() {
    let world = World::new(11);
    let target = world.temp.path().join("redis");
    for (directory, content) in [("redis", "new"), (".redkeep-swap-redis-20261122T000000Z-1", "old")] {
        fs::create_dir(world.temp.path().join(directory)).unwrap();
        fs::write(world.temp.path().join(directory).join("dump"), content).unwrap();
    }
    fs::create_dir(world.temp.path().join(".redkeep-staging-redis")).unwrap();
    let undone = redkeep::operations::restore::undo(&target, None).unwrap();
    assert_eq!(fs::read(target.join("dump")).unwrap(), b"old");
    assert_eq!(fs::read(undone.aside.unwrap().join("dump")).unwrap(), b"new");
    let [aside, staging] = hidden(&world).try_into().unwrap();
    assert!(aside.as_str() > ".redkeep-aside-redis-20261122T000000Z", "{aside}: it was set aside now");
    assert_eq!(staging, ".redkeep-staging-redis");
}

/// LOCAL-7, LOCAL-8, LOCAL-9
#[test]
fn directories_with_names_that_begin_alike_are_none_of_each_others() {
    let world = World::new(12);
    let repository = world.open();
    let names = ["redis", "redis-6380", "redis-20261122T000000Z"];
    let path = |name: &str| world.temp.path().join(name);
    for name in names {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(name).join("dump"), name).unwrap();
    }
    let foreign = path(".redkeep-swap-redis-6380-29990101T000000Z-1");
    fs::create_dir(&foreign).unwrap();
    for name in &names[..2] {
        restore_to(&repository, &latest(&repository, "d").unwrap(), &path(name)).unwrap();
        assert_eq!(foreign.exists(), *name == "redis");
    }
    restore_to(&repository, &latest(&repository, "d").unwrap(), &path(names[2])).unwrap();
    fs::remove_dir(path(".redkeep-aside-redis-6380-29990101T000000Z")).unwrap();
    for name in names {
        redkeep::operations::restore::undo(&path(name), None).unwrap();
        assert_eq!(fs::read_to_string(path(name).join("dump")).unwrap(), name);
    }
}

/// LOCAL-7, LOCAL-9
#[test]
fn of_two_restores_to_one_target_the_second_is_refused_and_touches_nothing() {
    let world = World::new(13);
    let (repository, target) = (world.open(), world.temp.path().join("redis"));
    let snapshot = latest(&repository, "d").unwrap();
    fs::create_dir(world.temp.path().join(".redkeep-staging-redis")).unwrap();
    let lock = fs::File::create(world.temp.path().join(".redkeep-lock-redis")).unwrap();
    lock.try_lock().unwrap();
    let before = hidden(&world);
    for refused in [
        restore_to(&repository, &snapshot, &target).map(drop),
        redkeep::operations::restore::undo(&target, None).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, OperationError::Busy { .. }), "{error}");
        assert!(error.to_string().contains("another restore to "), "{error}");
    }
    assert_eq!(hidden(&world), before);
    restore_to(&repository, &snapshot, &world.temp.path().join("redis-6380")).unwrap();
    drop(lock);
    restore_to(&repository, &snapshot, &target).unwrap();
    assert_eq!(hidden(&world), [""; 0]);
}

/// What is beside the targets, sorted.
fn hidden(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.temp.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(".redkeep-")).collect();
    names.sort();
    names
}

/// LOCAL-1, LOCAL-4
#[test]
fn a_check_beside_another_process_leaves_that_processs_catalog_alone() {
    let world = World::new(10);
    let (one, other) = (world.open(), world.open());
    one.refresh().unwrap();
    other.check(redkeep::repository::CheckDepth::Data, &|| false, &|_, _| {}).unwrap();
    other.second_look().unwrap();
    fs::write(world.data().join("dump"), noise(300_000, 3)).unwrap();
    back_up(&one, &world.data(), "d").unwrap();
    world.restores(&one, 3);
    world.restores(&other, 3);
    one.replace_catalog().unwrap();
    world.restores(&other, 3);
    world.restores(&world.open(), 3);
}
