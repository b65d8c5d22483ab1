//! A restore into a server, and its undo, killed at every step of their plan: whoever starts the server then finds the
//! old dataset whole or the new one, the same command brings it to its end, and undo brings the old data back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use redkeep::operations::restore::server::undo_server;
use redkeep::operations::{Observer, Silent};

use crate::restore_server::{Captured, Taken, Victim, take};
use crate::support::equality::Fingerprint;
use crate::support::server::ServerKind;

/// Dies at the begin of the n-th stretch of work: whatever holds something lets it go, as when a process dies.
struct DiesAt {
    step: usize,
    begun: AtomicUsize,
}

/// What a death is known by.
const DEATH: &str = "killed by the test";

impl Observer for DiesAt {
    fn begin(&self, _: &str, _: Option<u64>) {
        let begun = self.begun.fetch_add(1, Ordering::SeqCst);
        if begun == self.step {
            std::panic::panic_any(DEATH);
        }
    }
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        false
    }
}

/// Runs something until it dies at a step. Answers whether it did.
fn dies_at(step: usize, work: impl FnOnce(&dyn Observer)) -> bool {
    let observer = DiesAt { step, begun: AtomicUsize::new(0) };
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&observer))) else { return false };
    match panic.downcast_ref::<&str>() {
        Some(&DEATH) => true,
        _ => std::panic::resume_unwind(panic),
    }
}

impl Victim {
    fn assert_holds_one_of(&self, taken: &Taken, what: &str) {
        let now = self.holds();
        let is = |wanted: &Fingerprint| wanted.differences(&now).is_empty();
        assert!(is(&self.old) || is(&taken.held), "{what}: {} keys, neither the old nor the new data", now.len());
    }
}

/// Kills at every step, has somebody start the server or not, finishes, and undoes.
fn sweep(kind: ServerKind, captured: Captured, lines: &[&str]) {
    if kind.is_skipped() {
        return;
    }
    sweep_over(&take(kind, captured, &[]), &format!("{kind:?} {lines:?}"), || Victim::start(kind, lines));
}

pub fn sweep_over(taken: &Taken, what: &str, start: impl Fn() -> Victim) {
    for by_hand in [true, false] {
        let mut step = 0;
        loop {
            let victim = start();
            let what = format!("{what}, killed at step {step}, started by hand: {by_hand}");
            if !dies_at(step, |observer| drop(victim.restore_watched(taken, observer).unwrap())) {
                assert!(step > 6, "only {step} steps");
                break;
            }
            if by_hand {
                victim.start_by_hand();
                victim.assert_holds_one_of(taken, &what);
            }
            let report = victim.restore(taken).unwrap_or_else(|error| panic!("{what}: {error} {:?}", error.hint()));
            assert!(report.verified.unwrap().is_right(), "{what}");
            taken.held.assert_equal(&victim.holds(), &what);
            assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
            victim.old.assert_equal(&victim.holds(), &what);
            step += 1;
        }
    }
}

/// LOCAL-12
#[test]
fn killed_at_every_step_with_the_aof_on() {
    sweep(ServerKind::Redis7, Captured::Dump, &["appendonly yes"]);
}

/// LOCAL-12
#[test]
fn killed_at_every_step_with_the_aof_off() {
    sweep(ServerKind::Redis82, Captured::Dump, &[]);
}

/// LOCAL-12
#[test]
fn killed_at_every_step_with_the_files_of_an_aof() {
    sweep(ServerKind::Valkey9, Captured::Aof, &["appendonly yes", "appenddirname other"]);
}

/// LOCAL-12
#[test]
fn killed_at_every_step_with_a_single_aof() {
    sweep(ServerKind::Redis62, Captured::Aof, &["appendonly yes"]);
}

/// LOCAL-13
#[test]
fn an_undo_that_is_killed_at_any_step_is_brought_to_its_end_by_the_same_command() {
    for (kind, lines) in [(ServerKind::Redis7, &["appendonly yes"][..]), (ServerKind::Valkey9, &[])] {
        if kind.is_skipped() {
            continue;
        }
        let taken = take(kind, Captured::Dump, &[]);
        sweep_undo_over(&taken, &format!("{kind:?}"), || Victim::start(kind, lines));
    }
}

pub fn sweep_undo_over(taken: &Taken, what: &str, start: impl Fn() -> Victim) {
    for by_hand in [true, false] {
        let mut step = 0;
        loop {
            let victim = start();
            victim.restore(taken).unwrap();
            let what = format!("{what}, undo killed at step {step}, started by hand: {by_hand}");
            if !dies_at(step, |observer| drop(undo_server(&victim.options, observer).unwrap())) {
                assert!(step > 3, "only {step} steps");
                break;
            }
            if by_hand {
                victim.start_by_hand();
                victim.assert_holds_one_of(taken, &what);
            }
            let again = undo_server(&victim.options, &Silent);
            assert!(again.unwrap_or_else(|error| panic!("{what}: {error}")).is_old, "{what}");
            victim.old.assert_equal(&victim.holds(), &what);
            step += 1;
        }
    }
}
