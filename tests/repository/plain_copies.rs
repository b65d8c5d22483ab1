//! A repository in a directory, copied by a tool that knows nothing of it while backups and prunes go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use redkeep::store::{Store, StoreError};

use crate::mirrors::{Source, is_fine, is_long};
use crate::support::repository::memory;
use crate::support::stores::PausableStore;

/// Folders whose names are written down first, in this order; `config` is beside them.
const WRITTEN_DOWN: [&str; 6] = ["snapshots/", "index/", "forgotten/", "notes/", "epochs/", "keys/"];

fn names(store: &dyn Store, folder: &str) -> Vec<String> {
    store.entries(folder).unwrap().into_iter().map(|entry| entry.name.to_string()).collect()
}

/// Copies objects, and answers whether all of them were there.
fn copy(from: &dyn Store, to: &dyn Store, names: &[String]) -> bool {
    let mut is_all = true;
    for name in names.iter().map(|name| name.parse().unwrap()) {
        match from.get(&name, u64::MAX) {
            Ok(bytes) => to.put(&name, bytes.into()).unwrap(),
            Err(StoreError::NotFound { .. }) => is_all = false,
            Err(error) => panic!("{error}"),
        }
    }
    is_all
}

/// As the specification says. Answers whether it need not be done again.
fn in_order(from: &dyn Store, to: &dyn Store) -> bool {
    let mut written: Vec<String> = WRITTEN_DOWN.iter().flat_map(|folder| names(from, folder)).collect();
    written.push("config".into());
    let is_all = copy(from, to, &names(from, "packs/"));
    let (snapshots, others): (Vec<_>, Vec<_>) = written.into_iter().partition(|name| name.starts_with("snapshots/"));
    let is_all = copy(from, to, &others) && is_all;
    copy(from, to, &snapshots) && is_all
}

/// As a tool does that is told nothing: folder by folder, by their names.
fn by_name(from: &dyn Store, to: &dyn Store) -> bool {
    let folders: BTreeSet<&str> = WRITTEN_DOWN.into_iter().chain(["packs/"]).collect();
    let config = copy(from, to, &["config".into()]);
    folders.into_iter().fold(config, |is_all, folder| copy(from, to, &names(from, folder)) && is_all)
}

type Tool = fn(&dyn Store, &dyn Store) -> bool;

/// Copies with a tool, which is held at its n-th call to the source while something happens there; again until nothing was
/// gone. Answers with the copy and whether the tool was held.
fn copied(tool: Tool, happen: fn(&Source), n: u64) -> (Source, Arc<dyn Store>, bool) {
    let source = Source::new(std::time::Duration::ZERO);
    let (held, to) = (PausableStore::new(source.store.clone(), n), memory());
    let (is_all, was_held) = thread::scope(|scope| {
        let copying = scope.spawn(|| {
            let is_all = tool(&*held, &*to);
            held.finish();
            is_all
        });
        let was_held = held.wait_until_held().is_some();
        if was_held {
            happen(&source);
        }
        held.release();
        (copying.join().unwrap(), was_held)
    });
    if !is_all {
        assert!(tool(&*source.store, &*to), "nothing happens now");
    }
    (source, to, was_held)
}

/// format-spec/21-second-copies.md, by other tools.
#[test]
fn in_the_order_of_the_specification_a_plain_copy_is_whole_whatever_happens_meanwhile() {
    let happens: [fn(&Source); 3] = [
        |source| source.back_up(9),
        Source::forget_and_prune,
        |source| {
            source.forget_and_prune();
            source.back_up(9);
            source.forget_and_prune();
        },
    ];
    for (what, happen) in happens.into_iter().enumerate() {
        for n in (0..).step_by(if is_long() { 1 } else { 2 }) {
            let (source, to, was_held) = copied(in_order, happen, n);
            assert!(is_fine(&source, to), "{what}, at call {n}");
            if !was_held {
                assert!(n > 15, "{n} calls were tried");
                break;
            }
        }
    }
}

/// Why that order: by their names, index objects come before packs, and packs before snapshots.
#[test]
fn by_name_a_plain_copy_may_hold_a_snapshot_without_its_packs() {
    let mut lost = 0;
    for n in 0.. {
        let (source, to, was_held) = copied(by_name, |source| source.back_up(9), n);
        lost += u64::from(!is_fine(&source, to));
        if !was_held {
            break;
        }
    }
    assert!(lost > 0);
}
