//! Servers that SHUTDOWN does not stop: the plan says that a signal does, and what they save then.

use redkeep::operations::Silent;
use redkeep::operations::restore::server::{ServerReport, undo_server};
use rustix::process::{Pid, Signal, kill_process};

use crate::restore_server::{Captured, Taken, Victim, take};
use crate::support::server::{ServerKind, wait_for};

/// Ended by its number, for it does not obey.
struct Deaf(Victim);

impl Drop for Deaf {
    fn drop(&mut self) {
        if self.0.is_running() {
            let id = i32::try_from(self.0.server().info().number("process_id")).unwrap();
            let _ = kill_process(Pid::from_raw(id).unwrap(), Signal::KILL);
            wait_for("its end", || (!self.0.is_running()).then_some(()));
        }
    }
}

fn deaf(kind: ServerKind, lines: &[&str]) -> Deaf {
    Deaf(Victim::start(kind, &[&["rename-command SHUTDOWN \"\""], lines].concat()))
}

fn stop_of(report: &ServerReport) -> &str {
    report.steps.iter().find(|step| step.starts_with("stop the server: ")).unwrap()
}

fn is_restored_and_undone(victim: &Victim, taken: &Taken, words: &str, what: &str) {
    let report = victim.restore(taken).unwrap_or_else(|error| panic!("{what}: {error} {:?}", error.hint()));
    assert!(stop_of(&report).contains(words), "{what}: {}", stop_of(&report));
    taken.held.assert_equal(&victim.holds(), what);
    let undone = undo_server(&victim.options, &Silent).unwrap();
    assert!(undone.is_old);
    victim.old.assert_equal(&victim.holds(), &format!("{what}, undone"));
}

#[test]
fn a_server_without_shutdown_is_stopped_by_a_signal_and_the_plan_says_so() {
    for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
        let taken = take(kind, Captured::Dump, &[]);
        for (lines, words) in [
            (&[][..], "SIGTERM, for SHUTDOWN is disabled, or renamed and not named by --renamed-command; wait until"),
            (&["save 3600 1000000"], "; it saves once more then, and that is set aside; wait until"),
        ] {
            let victim = deaf(kind, lines);
            is_restored_and_undone(&victim.0, &taken, words, &format!("{kind:?} {lines:?}"));
        }
    }
}

#[test]
fn what_a_server_is_set_to_do_at_a_signal_counts_more_than_its_save_points() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    for (lines, saves) in
        [(&["save 3600 1", "shutdown-on-sigterm \"nosave now\""][..], false), (&["shutdown-on-sigterm save"], true)]
    {
        let mut victim = deaf(kind, lines);
        victim.0.options.dry_run = true;
        let report = victim.0.restore(&taken).unwrap();
        assert_eq!(stop_of(&report).contains("it saves once more then"), saves, "{lines:?}: {}", stop_of(&report));
    }
}

#[test]
fn a_user_who_may_not_shut_down_is_told_beforehand() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, &["user keeper on >secret ~* &* +@all -shutdown"]);
    victim.options.address = victim.options.address.clone().with_login(Some("keeper"), Some("secret"));
    is_restored_and_undone(&victim, &taken, "SIGTERM, for redkeep's user may not SHUTDOWN;", "keeper");
}

#[test]
fn one_that_is_called_otherwise_is_called_so() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Deaf(Victim::start(kind, &["rename-command SHUTDOWN lights-out"]));
    let names = [("shutdown".to_owned(), "lights-out".to_owned())];
    victim.0.options.address = victim.0.options.address.clone().with_renamed(&names);
    is_restored_and_undone(&victim.0, &taken, "SHUTDOWN NOSAVE", "renamed");
}
