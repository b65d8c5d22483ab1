//! What was backed up comes back exactly.

use std::fs;
use std::path::Path;

use redkeep::format::config::Sizes;
use redkeep::repository::{Places, Repository, RepositoryError};

use crate::support::repository::*;

/// A directory with files of many sizes: around chunk borders, empty, large, in subdirectories.
pub fn fill(directory: &Path) {
    fs::create_dir_all(directory.join("sub/deeper")).unwrap();
    for (name, size) in [("empty", 0), ("one", 1), ("min", 16 << 10), ("min1", (16 << 10) + 1), ("max", 256 << 10)] {
        fs::write(directory.join(name), text(size, size as u64)).unwrap();
    }
    fs::write(directory.join("dump.bin"), text(40 << 20, 7)).unwrap();
    fs::write(directory.join("sub/noise"), noise(20 << 20, 8)).unwrap();
    fs::write(directory.join("sub/deeper/same"), noise(20 << 20, 8)).unwrap();
}

#[test]
fn what_was_backed_up_comes_back_exactly() {
    let (hands, temp) = (Hands::new(1), tempfile::tempdir().unwrap());
    let data = temp.path().join("data");
    fill(&data);
    let store = memory();
    let repository = create(store.clone(), &hands);
    let report = back_up(&repository, &data, "d").unwrap();
    assert_eq!((&report.alarms[..], &report.snapshot.warnings[..]), (&[][..], &[][..]));
    let summary = report.snapshot.summary;
    assert!(summary.new_bytes < 62 << 20, "the same content twice is stored once: {}", summary.new_bytes);
    let elsewhere = open(store, &hands).unwrap();
    let target = temp.path().join("restored");
    restore_to(&elsewhere, &latest(&elsewhere, "d").unwrap(), &target).unwrap();
    assert_eq!(tree(&target), tree(&data));
}

#[test]
fn two_runs_give_the_same_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    fill(&data);
    let objects = || {
        let (hands, store) = (Hands::new(2), memory());
        back_up(&create(store.clone(), &hands), &data, "d").unwrap();
        let names = store.entries("").unwrap().into_iter().map(|entry| entry.name);
        names.map(|name| (name.to_string(), store.get(&name, u64::MAX).unwrap())).collect::<Vec<_>>()
    };
    let (one, two) = (objects(), objects());
    assert_eq!(one.iter().map(|(n, _)| n).collect::<Vec<_>>(), two.iter().map(|(n, _)| n).collect::<Vec<_>>());
}

/// OBJ-5
#[test]
fn a_repository_is_cut_at_the_sizes_it_was_made_with_and_none_is_made_with_others_than_readers_accept() {
    let (hands, store) = (Hands::new(2), memory());
    for (min, mean, max) in [(62, 128, 256), (64, 64, 256), (64, 96, 256), (64, 128, 2 << 20)] {
        let (secret, ambient, sizes) = (password(PASSWORD), hands.ambient("alpha"), Sizes { min, mean, max });
        let made = Repository::create_with(
            store.clone(),
            secret,
            "first",
            CHEAP,
            ambient,
            Places::default(),
            (sizes, Sizes::BUCKETS),
        );
        assert!(matches!(made, Err(RepositoryError::Limit(_))), "{sizes:?}");
    }
    assert_eq!(store.entries("").unwrap(), []);
    create_tiny(store.clone(), &hands);
    assert_eq!(open(store, &hands).unwrap().config().files, TINY);
}
