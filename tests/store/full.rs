//! A disk that is full, and one that is read-only: small ones of our own, in a mount namespace that ends with its test.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use redkeep::store::{Intent, Location, StoreError, open};

use crate::local::create;
use crate::{listed, name};

/// Tells a test that runs itself again where its disk is mounted.
const DISK: &str = "REDKEEP_TEST_DISK";

/// Runs a test of this program again, on a disk of 1 MiB in a mount namespace of its own.
fn on_a_small_disk(test: &str, body: fn(&Path)) {
    if let Some(disk) = env::var_os(DISK) {
        return body(Path::new(&disk));
    }
    if env::var("REDKEEP_TEST_SKIP").is_ok_and(|parts| parts.split(',').any(|part| part == "tmpfs")) {
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=1m tmpfs \"$0\" || exit 125; exec \"$@\"";
    let mut said = String::new();
    for namespace in [["--mount"].as_slice(), &["--user", "--map-root-user", "--mount"]] {
        let mut command = Command::new("unshare");
        command.args(namespace).args(["sh", "-c", mount]).arg(disk.path());
        command.arg(env::current_exe().unwrap()).args(["--exact", test]).env(DISK, disk.path());
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

#[test]
fn a_full_disk_refuses_and_keeps_what_it_has() {
    on_a_small_disk("full::a_full_disk_refuses_and_keeps_what_it_has", refuses_and_keeps);
}

fn refuses_and_keeps(disk: &Path) {
    let store = create(disk);
    store.put(&name("leases/1"), b"old").unwrap();
    let large = vec![1; 2 << 20];
    for result in [store.put_new(&name("packs/ab/1"), &large), store.put(&name("leases/1"), &large)] {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
        assert!(error.hint().is_some());
    }
    assert_eq!(listed(&*store, ""), ["leases/1"]);
    assert_eq!(store.get(&name("leases/1"), 100).unwrap(), b"old");
    assert_eq!(fs::read_dir(disk.join("packs/ab")).unwrap().count(), 0, "no temporary file is left");
    store.put_new(&name("packs/ab/1"), &large[..500_000]).unwrap();
    store.delete(&name("packs/ab/1")).unwrap();
    store.put_new(&name("packs/ab/2"), &large[..800_000]).unwrap();
}

#[test]
fn a_read_only_disk_can_be_read() {
    on_a_small_disk("full::a_read_only_disk_can_be_read", can_be_read);
}

fn can_be_read(disk: &Path) {
    create(disk).put_new(&name("packs/ab/1"), b"x").unwrap();
    let remount = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(disk).status().unwrap();
    assert!(remount.success());
    let store = open(&Location::Local(disk.into()), Intent::Existing).unwrap();
    assert_eq!(listed(&*store, ""), ["packs/ab/1"]);
    assert_eq!(store.get(&name("packs/ab/1"), 100).unwrap(), b"x");
    let refused = [
        store.put(&name("leases/1"), b"x"),
        store.put_new(&name("packs/ab/2"), b"x"),
        store.delete(&name("packs/ab/1")),
        open(&Location::Local(disk.into()), Intent::Create).map(drop),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    }
}
