//! What a killed restore wrote down is of the past: what is there now may be something else, or not fit to be loaded.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use redkeep::operations::Silent;
use redkeep::operations::restore::server::{Consent, undo_server};

use crate::restore_server::{Captured, Taken, Victim, take};
use crate::restore_server_asides::kept;
use crate::restore_server_hostile::{get, killed, order};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

impl Victim {
    /// The file that grows, of a server that has several.
    fn increment(&self) -> PathBuf {
        let files = fs::read_dir(self.directory().join("appendonlydir")).unwrap().map(|entry| entry.unwrap().path());
        let mut increments: Vec<PathBuf> =
            files.filter(|path| path.display().to_string().ends_with(".incr.aof")).collect();
        increments.sort();
        increments.pop().unwrap()
    }

    pub fn shut_down(&self) {
        let mut connection = self.server().connection();
        let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").query::<redis::Value>(&mut connection);
        wait_for("its end", || (!self.is_running()).then_some(()));
    }
}

/// LOCAL-21
#[test]
fn a_server_that_lived_on_after_a_killed_restore_is_restored_anew_and_told_so() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    for (captured, lines) in [(Captured::Aof, &["appendonly yes"][..]), (Captured::Dump, &[])] {
        let taken = take(kind, captured, &[]);
        let mut victim = Victim::start(kind, lines);
        killed("waiting for the server", |observer| drop(victim.restore_watched(&taken, observer)));
        victim.start_by_hand();
        order(victim.server(), "FLUSHALL");
        order(victim.server(), "SET dirty 1");
        if captured == Captured::Dump {
            order(victim.server(), "SAVE");
        }
        victim.shut_down();
        let report = victim.restore(&taken).unwrap();
        assert!(!report.finished_earlier && report.verified.unwrap().is_right(), "{captured:?}");
        assert!(report.notes.iter().any(|note| note.contains("changed since")), "{:?}", report.notes);
        taken.held.assert_equal(&victim.holds(), "restored anew");
        // What was written in between is told, and is to be had.
        let between = kept(&victim).into_iter().find(|aside| !aside.is_next).unwrap();
        let named = between.path.display().to_string();
        assert!(
            report.notes.iter().any(|note| note.contains(&named) && note.contains("undo --to 20")),
            "{:?}",
            report.notes
        );
        victim.options.to = Some(between.time);
        assert_eq!(undo_server(&victim.options, &Silent).unwrap().from, between.path);
        assert_eq!(get(victim.server(), "dirty").as_deref(), Some("1"), "{captured:?}");
        victim.options.to = None;
        undo_server(&victim.options, &Silent).unwrap();
        taken.held.assert_equal(&victim.holds(), "and back");
        victim.options.to = kept(&victim).iter().map(|aside| aside.time).min();
        assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
        victim.old.assert_equal(&victim.holds(), "what stood there before both");
    }
}

/// A restore of a dump that was killed once the files were exchanged, while it waited for the server; `None` without that server.
fn restore_killed_before_the_start() -> Option<(Taken, Victim)> {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return None;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let victim = Victim::start(kind, &[]);
    killed("waiting for the server", |observer| drop(victim.restore_watched(&taken, observer)));
    Some((taken, victim))
}

#[test]
fn what_nobody_touched_since_a_killed_restore_is_finished() {
    let Some((taken, victim)) = restore_killed_before_the_start() else { return };
    victim.start_by_hand();
    victim.shut_down();
    let report = victim.restore(&taken).unwrap();
    assert!(report.finished_earlier && report.verified.unwrap().is_right());
    taken.held.assert_equal(&victim.holds(), "finished");
}

#[test]
fn an_undo_needs_no_server_that_can_load_what_was_restored() {
    let Some((_, victim)) = restore_killed_before_the_start() else { return };
    fs::write(victim.dir.path().join("dump.rdb"), b"REDIS0099 of another world").unwrap();
    assert!(!victim.is_running());
    let report = undo_server(&victim.options, &Silent).unwrap();
    assert!(report.is_old && !report.changed_since);
    victim.old.assert_equal(&victim.holds(), "the old files, and a server that serves them");
    assert_eq!(fs::read(report.aside.join("dump.rdb")).unwrap(), b"REDIS0099 of another world", "nothing is removed");
}

#[test]
fn an_undo_that_was_killed_says_what_changed_since() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let victim = Victim::start(kind, &["appendonly yes"]);
    victim.restore(&taken).unwrap();
    killed("starting the server", |observer| drop(undo_server(&victim.options, observer)));
    victim.start_by_hand();
    order(victim.server(), "SET since 1");
    victim.shut_down();
    let report = undo_server(&victim.options, &Silent).unwrap();
    assert!(report.is_old && report.changed_since);
    assert_eq!(get(victim.server(), "since").as_deref(), Some("1"), "nothing is put back twice");
}

#[test]
fn the_way_back_is_named_where_a_restored_server_does_not_answer() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let victim = Victim::start(kind, &[]);
    victim.restore(&taken).unwrap();
    victim.shut_down();
    let error = undo_server(&victim.options, &Silent).unwrap_err();
    let hint = error.hint().unwrap_or_default().to_string();
    assert!(hint.contains(&format!("redkeep undo {}", victim.directory().display())), "{hint}");
    victim.start_by_hand();
}

/// LOCAL-12: a server that counts no change since its last save may have a dump that somebody else put there since.
#[test]
fn what_a_server_holds_is_not_in_a_dump_that_somebody_put_there_since_its_last_save() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let other = tempfile::tempdir().unwrap();
    let mut another = RedisServer::start(kind, other.path());
    order(&another, "SET of another");
    another.stop_saving();
    for is_link in [false, true] {
        let victim = Victim::start(kind, &[]);
        order(victim.server(), "SAVE");
        let dump = victim.directory().join("dump.rdb");
        let apart = tempfile::tempdir().unwrap();
        if is_link {
            fs::rename(&dump, apart.path().join("dump.rdb")).unwrap();
            symlink(apart.path().join("dump.rdb"), &dump).unwrap();
        }
        thread::sleep(Duration::from_millis(1100));
        fs::copy(other.path().join("dump.rdb"), &dump).unwrap();
        assert_eq!(victim.server().info().number("rdb_changes_since_last_save"), 0);
        victim.restore(&taken).unwrap();
        taken.held.assert_equal(&victim.holds(), "restored");
        undo_server(&victim.options, &Silent).unwrap();
        victim.old.assert_equal(&victim.holds(), "undone");
    }
}

/// LOCAL-39
#[test]
fn a_server_whose_aof_is_not_what_it_would_load_is_not_stopped() {
    for kind in [ServerKind::Redis7, ServerKind::Redis62].into_iter().filter(|kind| !kind.is_skipped()) {
        let taken = take(kind, Captured::Dump, &[]);
        let other = tempfile::tempdir().unwrap();
        let mut another = RedisServer::start_with(kind, other.path(), ServerOptions::with_config(&["appendonly yes"]));
        order(&another, "SET of another");
        another.stop();
        let mut victim = Victim::start(kind, &["appendonly yes"]);
        victim.options.dry_run = true;
        victim.restore(&taken).unwrap();
        let name = if kind == ServerKind::Redis7 { "appendonlydir" } else { "appendonly.aof" };
        fs::rename(victim.directory().join(name), other.path().join("moved")).unwrap();
        fs::rename(other.path().join(name), victim.directory().join(name)).unwrap();
        for dry_run in [true, false] {
            victim.options.dry_run = dry_run;
            let error = victim.restore(&taken).unwrap_err();
            let hint = error.hint().unwrap_or_default();
            assert!(error.to_string().contains("would be lost") && hint.contains("BGREWRITEAOF"), "{error}; {hint}");
        }
        victim.old.assert_equal(&victim.holds(), "left alone");
        order(victim.server(), "BGREWRITEAOF");
        wait_for("the rewrite", || (victim.server().info().get("aof_rewrite_in_progress") == Some("0")).then_some(()));
        victim.restore(&taken).unwrap();
        taken.held.assert_equal(&victim.holds(), "restored");
        // Now of the undo.
        let file = match kind {
            ServerKind::Redis62 => victim.directory().join(name),
            _ => victim.increment(),
        };
        fs::rename(&file, other.path().join("apart")).unwrap();
        fs::copy(other.path().join("apart"), &file).unwrap();
        order(victim.server(), "SET since 1");
        assert!(undo_server(&victim.options, &Silent).unwrap_err().to_string().contains("would be lost"));
        victim.options.consents = vec![Consent::Unsaved];
        undo_server(&victim.options, &Silent).unwrap();
        victim.old.assert_equal(&victim.holds(), "undone");
    }
}

/// LOCAL-12: a save that is under way is of before the last writes, and a server begins no other beside it.
#[test]
fn a_server_that_saves_already_is_waited_for() {
    for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
        let taken = take(kind, Captured::Dump, &[]);
        let victim = Victim::start(kind, &[]);
        order(victim.server(), "CONFIG SET rdb-key-save-delay 20000");
        order(victim.server(), "BGSAVE");
        order(victim.server(), "SET since 1");
        order(victim.server(), "CONFIG SET rdb-key-save-delay 0");
        victim.restore(&taken).unwrap();
        taken.held.assert_equal(&victim.holds(), kind.name());
        undo_server(&victim.options, &Silent).unwrap();
        assert_eq!(get(victim.server(), "since").as_deref(), Some("1"), "{}", kind.name());
    }
}
