//! A disk that is full, and one that is read-only: small ones of our own, in a mount namespace that ends with its test.

use std::fs;
use std::path::Path;
use std::process::Command;

use redkeep::store::{Intent, Location, StoreError, open};

use crate::local::create;
use crate::support::small_disk::on_a_small_disk;
use crate::{listed, name};

#[test]
fn a_full_disk_refuses_and_keeps_what_it_has() {
    on_a_small_disk("full::a_full_disk_refuses_and_keeps_what_it_has", 1, refuses_and_keeps);
}

fn refuses_and_keeps(disk: &Path) {
    let store = create(disk);
    store.put(&name("leases/1"), b"old".as_slice().into()).unwrap();
    let large = vec![1; 2 << 20];
    for result in
        [store.put_new(&name("packs/ab/1"), large.clone().into()), store.put(&name("leases/1"), large.clone().into())]
    {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
        assert!(error.hint().is_some());
    }
    assert_eq!(listed(&*store, ""), ["leases/1"]);
    assert_eq!(store.get(&name("leases/1"), 100).unwrap(), b"old");
    assert_eq!(fs::read_dir(disk.join("packs/ab")).unwrap().count(), 0, "no temporary file is left");
    store.put_new(&name("packs/ab/1"), large[..500_000].to_vec().into()).unwrap();
    store.delete(&name("packs/ab/1")).unwrap();
    store.put_new(&name("packs/ab/2"), large[..800_000].to_vec().into()).unwrap();
}

#[test]
fn a_read_only_disk_can_be_read() {
    on_a_small_disk("full::a_read_only_disk_can_be_read", 1, can_be_read);
}

fn can_be_read(disk: &Path) {
    create(disk).put_new(&name("packs/ab/1"), b"x".as_slice().into()).unwrap();
    let remount = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(disk).status().unwrap();
    assert!(remount.success());
    let store = open(&Location::Local(disk.into()), Intent::Existing).unwrap();
    assert_eq!(listed(&*store, ""), ["packs/ab/1"]);
    assert_eq!(store.get(&name("packs/ab/1"), 100).unwrap(), b"x");
    let refused = [
        store.put(&name("leases/1"), b"x".as_slice().into()),
        store.put_new(&name("packs/ab/2"), b"x".as_slice().into()),
        store.delete(&name("packs/ab/1")),
        open(&Location::Local(disk.into()), Intent::Create).map(drop),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    }
}
