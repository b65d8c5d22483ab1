//! Every operation dies at every one of its store calls: before the call, after it took effect, or half-way through.
//! Nothing that was committed is lost, and the host that died goes on from there.

use std::collections::BTreeSet;

use crate::content::{DRIFTING_FILE, DUMP};
use crate::operations::*;
use crate::support::repository::{Forms, canonical_streams, levels};
use crate::support::stores::{Call, FAULTS, Fault, FaultyStore, RecordingStore, Verb};
use crate::world::{DAYS, STRICT, World, is_long};

/// A repository with some history: two datasets, several versions, one of them forgotten for good, all of it old.
pub fn history(world: &World) {
    let repository = world.host("alpha").open(world.store.clone()).unwrap();
    let mut reports = Vec::new();
    for (dataset, version) in [("old", 0), ("other", 1), ("old", 2), ("old", 3)] {
        reports.push(world.back_up(&repository, dataset, version).unwrap());
        // Only a pack that a LIST shows has chunks that the next one may refer to.
        world.hands.pass(world.lag());
    }
    assert!(reports.iter().all(|report| levels(&report.snapshot, DRIFTING_FILE) > 0), "lists in chunks");
    for report in &reports {
        let streams = canonical_streams(&report.snapshot, DUMP);
        assert!(
            streams.iter().any(|(role, levels)| *role == 3 && *levels > 0),
            "buckets, their list in chunks: {streams:?}"
        );
        assert!([1, 4, 5, 6].iter().all(|role| streams.iter().any(|(found, _)| found == role)), "columns: {streams:?}");
    }
    let forms = Forms::below(&world.host("alpha").cache().0);
    assert!(forms.zstd >= 2 && forms.deltas >= 20 && forms.on_deltas >= 10, "{forms:?}");
    assert!(forms.by_zstd >= 2 && forms.by_copies >= 2, "{forms:?}");
    (FORGET.run)(world, &world.host("alpha"), world.store.clone()).unwrap();
    world.hands.pass(DAYS);
}

/// The same in the midst of being pruned: some packs are condemned, and can be buried.
fn condemned(world: &World) {
    history(world);
    (PRUNE.run)(world, &world.host("beta"), world.store.clone()).unwrap();
    (FORGET.run)(world, &world.host("beta"), world.store.clone()).unwrap();
    world.hands.pass(DAYS);
}

/// The folders in which objects came (`+`) and went (`-`).
pub fn effects(before: &[String], after: &[String]) -> Vec<String> {
    let folder = |name: &String| name.split('/').next().unwrap().to_owned();
    let new_in = |of: &[String], than: &[String], sign: char| -> BTreeSet<String> {
        of.iter().filter(|name| !than.contains(name)).map(|name| format!("{sign}{}", folder(name))).collect()
    };
    new_in(after, before, '+').into_iter().chain(new_in(before, after, '-')).collect()
}

/// Runs an operation on stores that die at their n-th call, until one does not. That one does what the operation is for:
/// folders in which objects came or went, or nothing.
fn sweep(operation: Operation, calls_at_least: u64) {
    sweep_after(history, operation, calls_at_least, operation.does);
}

fn sweep_after(setup: fn(&World), operation: Operation, calls_at_least: u64, does: &[&str]) {
    let world = World::new(STRICT);
    setup(&world);
    // Each call by one kind of fault; by all of them with REDKEEP_TEST_LONG.
    let stride = if is_long() { 1 } else { FAULTS.len() };
    for (first, fault) in FAULTS.into_iter().enumerate() {
        for n in (first as u64 % stride as u64..).step_by(stride) {
            let mut run = world.fork();
            let place = format!("{}, {fault:?} at call {n}", operation.name);
            let before = run.store.names();
            let has_died = run.die(operation, n, fault, &place);
            let done = effects(&before, &run.store.names());
            run.finish(&place);
            if !has_died {
                assert_eq!(done, does, "{place}: what it does when nothing stops it");
                assert!(n >= calls_at_least, "{place}: the sweep has tried calls");
                break;
            }
        }
    }
}

impl World {
    /// Whether the operation met the fault. Without it, it succeeds; what it fails with comes from it.
    pub fn die(&mut self, operation: Operation, n: u64, fault: Fault, place: &str) -> bool {
        let recording = RecordingStore::new(self.store.clone());
        let faulty = FaultyStore::new(recording.clone(), n, fault);
        let result = (operation.run)(self, &self.host("alpha"), faulty.clone());
        if let Err(error) = &result {
            assert!(FaultyStore::caused(&**error), "{place}: {error:?}");
        }
        let is_put = |call: &Call| matches!(call.verb, Verb::Put | Verb::PutNew);
        if fault == Fault::Torn && faulty.is_dead() {
            self.torn = recording.calls().pop().filter(is_put).map(|call| call.name);
        }
        faulty.is_dead()
    }

    /// What was committed is there; the next backup succeeds, and what it committed is there too.
    pub fn finish(&self, place: &str) {
        self.check(place);
        self.next_backup(place);
        self.hands.pass(DAYS);
        self.next_prune(place);
        self.check_data(place);
    }

    /// Pruning succeeds, gives back what is to be given back, and loses nothing. Where something is damaged it refuses.
    pub fn next_prune(&self, place: &str) {
        for (time, host) in ["beta", "alpha", "beta"].into_iter().enumerate() {
            let repository = self.host(host).open(self.store.clone()).unwrap();
            // Where listings lag a prune may meet what is listed and gone: it stops, and a later one succeeds.
            let may_stop = !self.lag().is_zero() && time < 2;
            match self.prune(&repository) {
                Err(_) if may_stop => {}
                Ok(_) => {}
                Err(error) if self.is_torn(&format!("{error:?}")) => {}
                Err(error) => panic!("{place}: {error:?}"),
            }
            self.check(place);
            self.hands.pass(DAYS);
        }
    }

    /// The next backup succeeds, on the host that died and on another one, and what it committed is there too.
    pub fn next_backup(&self, place: &str) {
        for host in ["alpha", "beta"] {
            let repository = self.host(host).open(self.store.clone()).unwrap();
            match self.back_up(&repository, "old", 9) {
                Ok(report) => self.check_alarms(&report.alarms, place),
                // Half a condemnation may name any pack, so that none can be used.
                Err(error) if self.is_torn(&format!("{error:?}")) => {}
                Err(error) => panic!("{place}: {error:?}"),
            }
        }
        self.check(place);
    }
}

/// SESS-4, SNAP-1, INV-3
#[test]
fn a_first_backup_that_dies_anywhere_loses_nothing() {
    sweep(FIRST_BACKUP, 12);
}

#[test]
fn a_backup_that_dies_anywhere_loses_nothing() {
    sweep(BACKUP, 12);
}

#[test]
fn an_unchanged_backup_that_dies_anywhere_loses_nothing() {
    sweep(UNCHANGED_BACKUP, 10);
}

#[test]
fn a_restore_that_dies_anywhere_loses_nothing() {
    sweep(RESTORE, 6);
}

#[test]
fn a_check_that_dies_anywhere_loses_nothing() {
    sweep(CHECK, 10);
}

#[test]
fn a_repair_that_dies_anywhere_loses_nothing() {
    sweep(REPAIR, 10);
    sweep_after(condemned, REPAIR, 10, REPAIR.does);
}

#[test]
fn a_key_change_that_dies_anywhere_loses_nothing() {
    sweep(ADD_KEY, 4);
    sweep(CHANGE_KEY, 6);
    sweep(ROTATE, 8);
}

#[test]
fn a_forget_that_dies_anywhere_loses_nothing() {
    sweep(FORGET, 6);
}

#[test]
fn an_undelete_or_a_tag_that_dies_anywhere_loses_nothing() {
    sweep(UNDELETE, 12);
    sweep(TAG, 12);
}

/// SWEEP-2, SWEEP-5, SWEEP-8, SWEEP-9, SWEEP-10, INV-4
#[test]
fn a_prune_that_dies_anywhere_loses_nothing() {
    sweep_after(history, PRUNE, 20, &["+condemned", "+index", "+packs", "-leases", "-snapshots"]);
    sweep_after(
        condemned,
        PRUNE,
        40,
        &["+condemned", "+index", "+packs", "-condemned", "-index", "-packs", "-snapshots"],
    );
}

#[test]
fn a_backup_beside_condemned_packs_that_dies_anywhere_loses_nothing() {
    sweep_after(condemned, BACKUP, 12, BACKUP.does);
}
