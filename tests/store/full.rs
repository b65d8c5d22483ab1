//! A disk that is full, and one that is read-only: small ones of our own, in a mount namespace that ends with its test.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use redkeep::store::{Intent, Location, StoreError, open};

use crate::local::create;
use crate::{listed, name};

/// Tells the inner test where its disk is mounted.
const DISK: &str = "REDKEEP_TEST_DISK";

/// Runs an ignored test of this program on a disk of 1 MiB.
fn run_on_a_small_disk(test: &str) {
    if env::var("REDKEEP_TEST_SKIP").is_ok_and(|parts| parts.split(',').any(|part| part == "tmpfs")) {
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=1m tmpfs \"$0\" || exit 125; exec \"$@\"";
    let mut said = String::new();
    for namespace in [["--mount"].as_slice(), &["--user", "--map-root-user", "--mount"]] {
        let mut command = Command::new("unshare");
        command.args(namespace).args(["sh", "-c", mount]).arg(disk.path());
        command.arg(env::current_exe().unwrap()).args(["--ignored", "--exact", test]).env(DISK, disk.path());
        let output = command.output().expect("unshare, of util-linux, is installed");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if text.contains("test result: ok. 1 passed") {
            return;
        }
        assert!(!text.contains("running 1 test"), "{text}");
        said.push_str(&text);
    }
    panic!("cannot mount a tmpfs here (to go without these tests, set REDKEEP_TEST_SKIP=tmpfs):\n{said}");
}

fn disk() -> PathBuf {
    env::var_os(DISK).expect("the outer test mounts the disk").into()
}

#[test]
fn a_full_disk_refuses_and_keeps_what_it_has() {
    run_on_a_small_disk("full::inside_a_full_disk");
}

#[test]
#[ignore = "run by the test above, in its namespace"]
fn inside_a_full_disk() {
    let store = create(&disk());
    store.put(&name("leases/1"), b"old").unwrap();
    let large = vec![1; 2 << 20];
    for result in [store.put_new(&name("packs/ab/1"), &large), store.put(&name("leases/1"), &large)] {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
        assert!(error.hint().is_some());
    }
    assert_eq!(listed(&*store, ""), ["leases/1"]);
    assert_eq!(store.get(&name("leases/1"), 100).unwrap(), b"old");
    assert_eq!(fs::read_dir(disk().join("packs/ab")).unwrap().count(), 0, "no temporary file is left");
    store.put_new(&name("packs/ab/1"), &large[..500_000]).unwrap();
    store.delete(&name("packs/ab/1")).unwrap();
    store.put_new(&name("packs/ab/2"), &large[..800_000]).unwrap();
}

#[test]
fn a_read_only_disk_can_be_read() {
    run_on_a_small_disk("full::inside_a_read_only_disk");
}

#[test]
#[ignore = "run by the test above, in its namespace"]
fn inside_a_read_only_disk() {
    create(&disk()).put_new(&name("packs/ab/1"), b"x").unwrap();
    let remount = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(disk()).status().unwrap();
    assert!(remount.success());
    let store = open(&Location::Local(disk()), Intent::Existing).unwrap();
    assert_eq!(listed(&*store, ""), ["packs/ab/1"]);
    assert_eq!(store.get(&name("packs/ab/1"), 100).unwrap(), b"x");
    let refused = [
        store.put(&name("leases/1"), b"x"),
        store.put_new(&name("packs/ab/2"), b"x"),
        store.delete(&name("packs/ab/1")),
        open(&Location::Local(disk()), Intent::Create).map(drop),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    }
}
