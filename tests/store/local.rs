//! The store in a directory: what is on the disk.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redkeep::store::{Intent, Location, Promises, PutNew, Store, StoreError, Timing, open};

use crate::{listed, name};

/// A new store at a path.
pub fn create(path: &Path) -> Arc<dyn Store> {
    open(&Location::Local(path.into()), Intent::Create).unwrap()
}

/// Every file and directory below a path, relative to it.
fn on_disk(path: &Path) -> Vec<String> {
    let below = walkdir::WalkDir::new(path).min_depth(1).sort_by_file_name();
    let relative = |entry: walkdir::DirEntry| entry.path().strip_prefix(path).unwrap().display().to_string();
    below.into_iter().map(|entry| relative(entry.unwrap())).collect()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn an_object_is_one_private_file_under_its_name() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("new/repository");
    let store = create(&root);
    store.put_new(&name("packs/ab/1"), b"one".as_slice().into()).unwrap();
    store.put(&name("config"), b"two".as_slice().into()).unwrap();
    assert_eq!(on_disk(&root), ["config", "packs", "packs/ab", "packs/ab/1"]);
    assert_eq!(fs::read(root.join("packs/ab/1")).unwrap(), b"one");
    for directory in ["", "packs", "packs/ab"] {
        assert_eq!(mode(&root.join(directory)), 0o700, "{directory:?}");
    }
    for file in ["config", "packs/ab/1"] {
        assert_eq!(mode(&root.join(file)), 0o600, "{file}");
        assert_eq!(fs::metadata(root.join(file)).unwrap().nlink(), 1);
    }
}

#[test]
fn a_store_is_reopened_where_it_was_created() {
    let scratch = tempfile::tempdir().unwrap();
    create(scratch.path()).put_new(&name("config"), b"x".as_slice().into()).unwrap();
    let shown = scratch.path().display().to_string();
    for intent in [Intent::Existing, Intent::Create] {
        let store = open(&format!("file://{shown}").parse().unwrap(), intent).unwrap();
        assert_eq!(store.get(&name("config"), 9).unwrap(), b"x");
        assert_eq!(store.location(), shown);
        assert_eq!(store.promises(), Promises { put_new: PutNew::Exclusive, timing: Timing::of_lag(Duration::ZERO) });
    }
    assert_eq!(on_disk(scratch.path()), ["config"], "nothing is left of the probe");
}

#[test]
fn a_store_that_is_not_there_is_not_made_by_mistake() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    fs::write(&file, b"").unwrap();
    for path in [scratch.path().join("absent"), file.clone()] {
        let error = open(&Location::Local(path.clone()), Intent::Existing).err().unwrap();
        assert_eq!(error.to_string(), format!("{}: no such directory", path.display()));
        assert!(error.hint().is_some());
    }
    assert!(open(&Location::Local(file.join("below")), Intent::Create).is_err());
    assert!(open(&Location::Local(file), Intent::Create).is_err());
    assert_eq!(on_disk(scratch.path()), ["file"]);
}

#[test]
fn what_a_crash_leaves_is_never_listed() {
    let scratch = tempfile::tempdir().unwrap();
    let store = create(scratch.path());
    store.put_new(&name("packs/ab/1"), b"x".as_slice().into()).unwrap();
    for left in [".tmp-0123456789abcdef", "packs/.tmp-1", "packs/ab/.tmp-2"] {
        fs::write(scratch.path().join(left), b"half").unwrap();
    }
    assert_eq!(listed(&*store, ""), ["packs/ab/1"]);
    assert_eq!(listed(&*store, "packs/ab/"), ["packs/ab/1"]);
    store.put_new(&name("packs/ab/2"), b"y".as_slice().into()).unwrap();
    assert_eq!(listed(&*store, "packs/"), ["packs/ab/1", "packs/ab/2"]);
}

#[test]
fn files_of_other_programs_are_not_objects() {
    let scratch = tempfile::tempdir().unwrap();
    let store = create(scratch.path());
    let unreadable = scratch.path().join("lost+found");
    fs::create_dir(&unreadable).unwrap();
    fs::set_permissions(&unreadable, PermissionsExt::from_mode(0o000)).unwrap();
    for foreign in ["README", ".hidden", "a b", "naïve"] {
        fs::write(scratch.path().join(foreign), b"").unwrap();
    }
    assert_eq!(listed(&*store, ""), [""; 0]);
    // So that the scratch directory can be removed.
    fs::set_permissions(&unreadable, PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn a_refused_put_leaves_no_temporary_file() {
    let scratch = tempfile::tempdir().unwrap();
    let store = create(scratch.path());
    store.put_new(&name("index/1"), b"x".as_slice().into()).unwrap();
    store.put_new(&name("index/1"), b"y".as_slice().into()).unwrap_err();
    fs::create_dir(scratch.path().join("index/2")).unwrap();
    store.put(&name("index/2"), b"z".as_slice().into()).unwrap_err();
    assert_eq!(on_disk(scratch.path()), ["index", "index/1", "index/2"]);
}

#[test]
fn symbolic_links_inside_are_an_error_not_a_way_out() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, outside) = (scratch.path().join("store"), scratch.path().join("outside"));
    let store = create(&root);
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("1"), b"secret").unwrap();
    fs::create_dir(root.join("keys")).unwrap();
    symlink(outside.join("1"), root.join("keys/1")).unwrap();
    symlink(&outside, root.join("packs")).unwrap();

    for linked in ["keys/1", "packs/1"] {
        let error = store.get(&name(linked), 100).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{linked}: {error:?}");
    }
    assert!(store.put_new(&name("packs/2"), b"x".as_slice().into()).is_err());
    assert!(matches!(store.put_new(&name("keys/1"), b"x".as_slice().into()), Err(StoreError::Exists { .. })));
    assert!(store.delete(&name("packs/1")).is_err());
    for prefix in ["", "keys/", "packs/"] {
        assert!(store.entries(prefix).is_err(), "{prefix:?}");
    }
    store.put(&name("keys/1"), b"new".as_slice().into()).unwrap();
    assert_eq!(store.get(&name("keys/1"), 100).unwrap(), b"new");
    assert_eq!(fs::read(outside.join("1")).unwrap(), b"secret");
    assert_eq!(on_disk(&outside), ["1"]);
}

#[test]
fn a_store_may_be_reached_through_a_link() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, link) = (scratch.path().join("store"), scratch.path().join("link"));
    create(&root).put_new(&name("config"), b"x".as_slice().into()).unwrap();
    symlink(&root, &link).unwrap();
    let store = open(&Location::Local(link), Intent::Existing).unwrap();
    assert_eq!(listed(&*store, ""), ["config"]);
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let scratch = tempfile::tempdir().unwrap();
    let store = create(scratch.path());
    assert!(Command::new("mkfifo").arg(scratch.path().join("config")).status().unwrap().success());
    assert!(matches!(store.get(&name("config"), 100), Err(StoreError::Io { .. })));
    assert!(store.entries("").is_err());
}

#[test]
fn a_directory_in_the_place_of_an_object_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let store = create(scratch.path());
    store.put_new(&name("packs/1"), b"x".as_slice().into()).unwrap();
    assert!(matches!(store.get(&name("packs"), 100), Err(StoreError::Io { .. })));
    assert!(store.delete(&name("packs")).is_err());
    assert!(store.put_new(&name("packs/1/below"), b"x".as_slice().into()).is_err());
    assert_eq!(listed(&*store, ""), ["packs/1"]);
}

#[test]
fn a_listing_says_when_an_object_was_stored() {
    let scratch = tempfile::tempdir().unwrap();
    let store = create(scratch.path());
    store.put_new(&name("config"), b"x".as_slice().into()).unwrap();
    for moment in [Duration::from_millis(1_700_000_000_123), Duration::ZERO] {
        let moment = SystemTime::UNIX_EPOCH + moment;
        fs::File::open(scratch.path().join("config")).unwrap().set_modified(moment).unwrap();
        assert_eq!(store.entries("").unwrap()[0].modified, Some(moment));
    }
}

#[test]
fn empty_directories_may_be_removed_by_someone_else() {
    let scratch = tempfile::tempdir().unwrap();
    let store = create(scratch.path());
    for round in 0..3 {
        let object = name(&format!("packs/ab/{round}"));
        store.put_new(&object, b"x".as_slice().into()).unwrap();
        assert_eq!(listed(&*store, "packs/"), [object.as_str()]);
        store.delete(&object).unwrap();
        fs::remove_dir_all(scratch.path().join("packs")).unwrap();
        assert_eq!(listed(&*store, "packs/"), [""; 0]);
        store.delete(&object).unwrap();
    }
}

/// SWEEP-17
#[test]
fn a_reserve_grows_and_is_given_back_and_is_no_object() {
    let directory = tempfile::tempdir().unwrap();
    let store = create(directory.path());
    let room = store.room().unwrap();
    let size = || fs::metadata(directory.path().join(".reserve")).unwrap().len();
    assert_eq!(room.release_reserve().unwrap(), 0);
    assert!(!room.lend_reserve(1).unwrap());
    for (bytes, left) in [(1 << 20, 1 << 20), (16 << 20, 16 << 20), (1 << 20, 16 << 20)] {
        assert_eq!(room.keep_reserve(bytes, 0).unwrap(), left);
        assert_eq!(size(), left);
    }
    assert!(room.lend_reserve(64 << 10).unwrap());
    assert_eq!(size(), (16 << 20) - (64 << 10));
    assert_eq!(listed(&*store, ""), [] as [&str; 0]);
    assert_eq!(room.release_reserve().unwrap(), (16 << 20) - (64 << 10));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// SWEEP-17
#[test]
fn unfinished_files_are_removed_once_they_are_a_day_old() {
    let directory = tempfile::tempdir().unwrap();
    let store = create(directory.path());
    store.put_new(&name("packs/ab/1"), b"x".as_slice().into()).unwrap();
    let unfinished = directory.path().join("packs/ab/.tmp-0123456789abcdef");
    fs::write(&unfinished, b"part").unwrap();
    let written = store.stat(&name("packs/ab/1")).unwrap().unwrap().modified.unwrap();
    let day = std::time::Duration::from_secs(24 * 3600);
    assert_eq!(store.room().unwrap().remove_abandoned(written + day / 2).unwrap(), 0);
    assert_eq!(store.room().unwrap().remove_abandoned(written + 2 * day).unwrap(), 1);
    assert!(!unfinished.exists());
    assert_eq!(listed(&*store, ""), ["packs/ab/1"]);
}

/// SWEEP-17
#[test]
fn what_has_the_name_of_the_reserve_and_is_not_its_file_is_never_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let store = create(directory.path());
    let room = store.room().unwrap();
    let (reserve, other) = (directory.path().join(".reserve"), directory.path().join("other"));
    let plants: [fn(&Path, &Path); 3] = [
        |other, reserve| std::os::unix::fs::symlink(other, reserve).unwrap(),
        |other, reserve| fs::hard_link(other, reserve).unwrap(),
        |_, reserve| {
            let pipe = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, reserve, pipe, 0o600.into(), 0).unwrap();
        },
    ];
    for plant in plants {
        fs::write(&other, "precious").unwrap();
        plant(&other, &reserve);
        assert!(!room.lend_reserve(4).unwrap());
        assert_eq!(room.keep_reserve(8 << 10, 0).unwrap(), 8 << 10);
        assert_eq!(fs::read(&other).unwrap(), b"precious");
        assert!(fs::symlink_metadata(&reserve).unwrap().is_file(), "a reserve of its own");
        assert_eq!(room.release_reserve().unwrap(), 8 << 10);
    }
}
