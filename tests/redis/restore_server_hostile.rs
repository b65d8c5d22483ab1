//! What happens around a restore into a server, and must not lose or mistake a dataset.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use redkeep::operations::restore::server::{Consent, undo_directory, undo_server};
use redkeep::operations::{Observer, OperationError, Silent};
use redkeep::redis::RedisError;

use crate::restore_server::{Captured, Victim, refused, take};
use crate::support::server::{RedisServer, ServerKind, wait_for};

/// Dies when work of this name begins.
struct DiesWhen(&'static str);

impl Observer for DiesWhen {
    fn begin(&self, what: &str, _: Option<u64>) {
        if what == self.0 {
            std::panic::panic_any("killed by the test");
        }
    }
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        false
    }
}

pub fn killed(when: &'static str, work: impl FnOnce(&dyn Observer)) {
    let died = catch_unwind(AssertUnwindSafe(|| work(&DiesWhen(when))));
    assert!(died.is_err(), "{when} never came");
}

pub fn order(server: &RedisServer, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    redis::cmd(words[0]).arg(&words[1..]).exec(&mut server.connection()).unwrap();
}

pub fn get(server: &RedisServer, key: &str) -> Option<String> {
    redis::cmd("GET").arg(key).query(&mut server.connection()).unwrap()
}

fn skipped(kind: ServerKind) -> bool {
    kind.is_skipped()
}

#[test]
fn what_a_server_without_an_aof_did_not_save_comes_back_by_the_undo() {
    if skipped(ServerKind::Redis7) {
        return;
    }
    let taken = take(ServerKind::Redis7, Captured::Dump, &[]);
    let victim = Victim::start(ServerKind::Redis7, &[]);
    order(victim.server(), "SET not:saved 1");
    victim.restore(&taken).unwrap();
    order(victim.server(), "SET not:saved:either 2");
    assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
    assert_eq!(get(victim.server(), "not:saved").as_deref(), Some("1"));
    assert!(!undo_server(&victim.options, &Silent).unwrap().is_old);
    assert_eq!(get(victim.server(), "not:saved:either").as_deref(), Some("2"), "what was written since the restore");
}

#[test]
fn a_server_that_runs_after_a_kill_is_given_its_data_anew_whatever_it_holds() {
    if skipped(ServerKind::Redis7) {
        return;
    }
    let taken = take(ServerKind::Redis7, Captured::Aof, &[]);
    for when in ["putting appendonlydir in place", "setting the old files aside", "waiting for the server"] {
        let mut victim = Victim::start(ServerKind::Redis7, &["appendonly yes"]);
        killed(when, |observer| drop(victim.restore_watched(&taken, observer)));
        victim.start_by_hand();
        order(victim.server(), "FLUSHALL");
        order(victim.server(), "SET of:nobody 1");
        victim.options.may_stop = false;
        let error = victim.restore(&taken).unwrap_err();
        assert!(error.to_string().contains("would be stopped"), "{when}: {error}");
        victim.options.may_stop = true;
        let report = victim.restore(&taken).unwrap();
        assert!(report.verified.unwrap().is_right() && !report.finished_earlier, "{when}");
        taken.held.assert_equal(&victim.holds(), when);
        let undone = undo_server(&victim.options, &Silent).unwrap();
        assert!(undone.is_old, "{when}");
        if when == "putting appendonlydir in place" {
            // Nothing was replaced by the first: what the server held then is what the second replaced.
            assert_eq!(get(victim.server(), "of:nobody").as_deref(), Some("1"), "{when}");
        } else {
            victim.old.assert_equal(&victim.holds(), when);
        }
    }
}

#[test]
fn another_restore_of_the_same_snapshot_is_not_taken_for_the_one_that_was_killed() {
    if skipped(ServerKind::Redis7) {
        return;
    }
    let taken = take(ServerKind::Redis7, Captured::Dump, &[]);
    let mut victim = Victim::start(ServerKind::Redis7, &["appendonly yes"]);
    killed("waiting for the server", |observer| drop(victim.restore_watched(&taken, observer)));
    victim.options.method = Some(redkeep::operations::restore::server::Method::Classic);
    let report = victim.restore(&taken).unwrap();
    assert!(!report.finished_earlier);
    taken.held.assert_equal(&victim.holds(), "restored anew");
    undo_server(&victim.options, &Silent).unwrap();
    victim.old.assert_equal(&victim.holds(), "what stood there before both");
}

#[test]
fn a_restore_that_is_killed_before_the_stop_leaves_the_undo_of_the_one_before() {
    if skipped(ServerKind::Redis7) {
        return;
    }
    let taken = take(ServerKind::Redis7, Captured::Dump, &[]);
    let victim = Victim::start(ServerKind::Redis7, &["appendonly yes"]);
    victim.restore(&taken).unwrap();
    killed("stopping the server", |observer| drop(victim.restore_watched(&taken, observer)));
    assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
    victim.old.assert_equal(&victim.holds(), "after the undo");

    // Killed after the stop, one that was to bring the restored data again: another one ends it, and the next one goes back.
    order(victim.server(), "SET kept 1");
    killed("putting dump.rdb in place", |observer| drop(undo_server(&victim.options, observer)));
    assert!(!victim.is_running());
    for is_old in [false, true] {
        let report = undo_directory(victim.dir.path(), None, victim.state()).unwrap().unwrap();
        assert_eq!(report.is_old, is_old);
    }
    victim.start_by_hand();
    assert_eq!(get(victim.server(), "kept").as_deref(), Some("1"));
}

#[test]
fn an_undo_is_refused_where_the_server_would_not_load_what_is_put_back() {
    if skipped(ServerKind::Redis7) {
        return;
    }
    let taken = take(ServerKind::Redis7, Captured::Dump, &[]);
    let victim = Victim::start(ServerKind::Redis7, &[]);
    victim.restore(&taken).unwrap();
    order(victim.server(), "CONFIG SET appendonly yes");
    wait_for("the rewrite", || (victim.server().info().get("aof_rewrite_in_progress") == Some("0")).then_some(()));
    let error = undo_server(&victim.options, &Silent).unwrap_err();
    assert!(error.to_string().contains("would start without what is put back"), "{error}");
    taken.held.assert_equal(&victim.holds(), "it goes on");
    order(victim.server(), "CONFIG SET appendonly no");
    assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
    victim.old.assert_equal(&victim.holds(), "set as it was");
}

#[test]
fn a_stop_that_is_said_to_fail_and_did_not_is_a_stop() {
    if skipped(ServerKind::Redis7) {
        return;
    }
    let taken = take(ServerKind::Redis7, Captured::Dump, &[]);
    let mut victim = Victim::start(ServerKind::Redis7, &[]);
    victim.options.commands.stop = Some("false".into());
    refused(&victim, &taken, "exit status: 1", "--stop-command");
    victim.options.commands.stop = Some(format!("kill {}; exit 1", victim.server().pid()));
    victim.restore(&taken).unwrap();
    taken.held.assert_equal(&victim.holds(), "restored");
}

#[test]
fn a_start_command_that_is_corrected_counts() {
    if skipped(ServerKind::Redis7) {
        return;
    }
    let taken = take(ServerKind::Redis7, Captured::Dump, &[]);
    let mut victim = Victim::start(ServerKind::Redis7, &[]);
    let right = victim.options.commands.start.replace("exit 7".into());
    let error = victim.restore(&taken).unwrap_err();
    assert!(error.to_string().contains("exit status: 7; the restored data are in place"), "{error}");
    victim.options.commands.start = right;
    assert!(victim.restore(&taken).unwrap().finished_earlier);
    taken.held.assert_equal(&victim.holds(), "started");
}

#[test]
fn a_master_that_its_file_makes_a_replica_and_a_directory_that_its_file_does_not_name_are_seen() {
    if skipped(ServerKind::Redis7) || skipped(ServerKind::Redis62) {
        return;
    }
    let master_dir = tempfile::tempdir().unwrap();
    let master = RedisServer::start(ServerKind::Redis7, master_dir.path());
    let taken = take(ServerKind::Redis62, Captured::Dump, &[]);
    let follows = format!("replicaof 127.0.0.1 {}", master.port());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("included.conf"), &follows).unwrap();
    let include = format!("include {}", dir.path().join("included.conf").display());
    let promote = |server: &RedisServer| order(server, "REPLICAOF NO ONE");
    let mut victim = Victim::start_with(ServerKind::Redis7, &[&include], promote);
    victim.options.commands.start = None;
    refused(&victim, &taken, "says replicaof 127.0.0.1", "CONFIG REWRITE");

    let mut victim = Victim::start(ServerKind::Redis62, &[]);
    victim.options.commands.start = None;
    let elsewhere = dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    order(victim.server(), &format!("CONFIG SET dir {}", elsewhere.display()));
    let error = victim.restore(&taken).unwrap_err();
    assert!(error.to_string().contains("runs with dir"), "{error}");
}

#[test]
fn a_server_that_cannot_save_goes_on_with_its_disk_as_it_was() {
    if skipped(ServerKind::Redis7) {
        return;
    }
    let taken = take(ServerKind::Redis7, Captured::Dump, &[]);
    let mut victim = Victim::start(ServerKind::Redis7, &[]);
    order(victim.server(), "SET not:saved 1");
    order(victim.server(), "ACL SETUSER default -save");
    // The restart gives it back.
    victim.options.consents.push(Consent::Settings);
    refused(&victim, &taken, "cannot save what it holds", "--force unsaved");
    victim.options.consents.push(Consent::Unsaved);
    victim.restore(&taken).unwrap();
    taken.held.assert_equal(&victim.holds(), "restored all the same");
}

/// The user asks to stop while the server is being stopped.
struct StopsWhen(&'static str, AtomicBool);

impl Observer for StopsWhen {
    fn begin(&self, what: &str, _: Option<u64>) {
        self.1.fetch_or(what == self.0, Ordering::SeqCst);
    }
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        self.1.load(Ordering::SeqCst)
    }
}

#[test]
fn interrupted_at_the_stop_it_says_that_nothing_was_replaced_and_how_to_go_on() {
    if skipped(ServerKind::Redis7) {
        return;
    }
    let taken = take(ServerKind::Redis7, Captured::Dump, &[]);
    let mut victim = Victim::start(ServerKind::Redis7, &["appendonly yes"]);
    victim.restore(&taken).unwrap();
    // A command that does nothing: the server never ends.
    victim.options.commands.stop = Some("true".into());
    for undo in [false, true] {
        let observer = StopsWhen("stopping the server", AtomicBool::new(false));
        let error = match undo {
            false => victim.restore_watched(&taken, &observer).unwrap_err(),
            true => undo_server(&victim.options, &observer).unwrap_err(),
        };
        assert!(matches!(error, OperationError::Redis(RedisError::Stopped { .. })), "exit code 130");
        assert!(error.to_string().contains("nothing was replaced"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("run the same command again") && !hint.contains("redkeep undo"), "{hint}");
        assert!(!victim.directory().join(".redkeep-staging-dataset").exists());
        taken.held.assert_equal(&victim.holds(), "it goes on");
    }
    victim.options.commands.stop = None;
    assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
    victim.old.assert_equal(&victim.holds(), "undone in the end");
}
