//! A restore into a server, and its undo, killed at every step of their plan: whoever starts the server then finds the
//! old dataset whole or the new one, the same command brings it to its end, and undo brings the old data back.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use redkeep::operations::restore::server::{Options, restore_into_server, undo_server};
use redkeep::operations::{Observer, Silent};
use rustix::process::{Signal, getpid, kill_process};

use crate::restore_server::{Captured, Taken, Victim, take};
use crate::support::equality::Fingerprint;
use crate::support::repository::{Hands, latest, local, open};
use crate::support::server::ServerKind;

/// Kills its process at the begin of the n-th stretch of work: nothing is let go, nothing is put right.
struct KilledAt {
    step: usize,
    begun: AtomicUsize,
}

impl Observer for KilledAt {
    fn begin(&self, _: &str, _: Option<u64>) {
        if self.begun.fetch_add(1, Ordering::SeqCst) == self.step {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    }
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        false
    }
}

/// The test below, which a test runs in another process with an order of what to do until it is killed.
const CHILD: &str = "restore_server_kills::a_child_that_fails_is_told_from_one_that_is_killed";

/// A line each for the step, the repository (none: an undo), the server, its state directory, its program, and how it is
/// started.
const ORDER: &str = "REDKEEP_TEST_KILLED";

/// Does what an order says.
fn obey(order: &str) {
    let [step, repository, address, state, program, start] = order.split('\n').collect::<Vec<_>>()[..] else {
        panic!("{order}");
    };
    let mut options = Options { may_stop: true, state: Some(state.into()), ..Options::new(address.parse().unwrap()) };
    (options.program, options.commands.start) = (Some(program.into()), Some(start.into()));
    let observer = KilledAt { step: step.parse().unwrap(), begun: AtomicUsize::new(0) };
    if repository.is_empty() {
        undo_server(&options, &observer).unwrap();
        return;
    }
    let repository = open(local(repository.as_ref()), &Hands::new(2)).unwrap();
    let chosen = latest(&repository, "sessions").unwrap();
    restore_into_server(&repository, &chosen, &options, &observer).unwrap();
}

/// How a process ended that was given an order: whether it was killed, or what it said when it failed.
fn is_killed(order: &[String; 6]) -> Result<bool, String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", CHILD, "--nocapture"]).env(ORDER, order.join("\n"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    match output.status.signal() {
        Some(signal) if signal == Signal::KILL.as_raw() => Ok(true),
        None if text.contains("test result: ok. 1 passed") => Ok(false),
        _ => Err(text),
    }
}

/// Restores, or undoes where nothing is to be restored, in a process that is killed at a step. Answers whether it came so
/// far.
fn is_killed_at(step: usize, victim: &Victim, taken: Option<&Taken>) -> bool {
    let Options { state, program, commands, .. } = &victim.options;
    let order = [
        step.to_string(),
        taken.map_or(String::new(), |taken| taken.location.path().display().to_string()),
        victim.server().url(),
        state.as_ref().unwrap().display().to_string(),
        program.as_ref().unwrap().display().to_string(),
        commands.start.clone().unwrap(),
    ];
    is_killed(&order).unwrap_or_else(|said| panic!("{said}"))
}

#[test]
fn a_child_that_fails_is_told_from_one_that_is_killed() {
    if let Ok(order) = std::env::var(ORDER) {
        return obey(&order);
    }
    let order = ["0", "", "redis://127.0.0.1:1/", "/nowhere", "redis-server", "true"].map(String::from);
    let said = is_killed(&order).unwrap_err();
    assert!(said.contains("127.0.0.1:1") && said.contains("1 failed"), "{said}");
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
            if !is_killed_at(step, &victim, Some(taken)) {
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
            if !is_killed_at(step, &victim, None) {
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
