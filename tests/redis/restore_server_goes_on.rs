//! What an undo puts back is looked at before anything is touched: its program can read it. And what was put in place for
//! a server that ended while it was starting stays there: the same command starts it again, and exchanges nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use redkeep::operations::Silent;
use redkeep::operations::restore::server::{Options, undo_directory, undo_server};
use redkeep::redis::host::Named;

use crate::restore_server::{Captured, Victim, take};
use crate::restore_server_hostile::{killed, order};
use crate::restore_server_stopped::{end, names, stop};
use crate::support::program::write_script;
use crate::support::server::{ServerKind, wait_for};

impl Victim {
    fn named(&mut self) -> &mut Named {
        self.options.named.as_mut().unwrap()
    }
}

/// An undo is refused for this reason, by a dry run too, and nothing is touched.
fn undo_is_refused(victim: &mut Victim, words: &str, hint: &str) {
    let before = names(&victim.directory());
    for dry_run in [true, false] {
        victim.options.dry_run = dry_run;
        let error = undo_server(&victim.options, &Silent).expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.hint().is_some_and(|said| said.contains(hint)), "{error}: {:?}", error.hint());
    }
    victim.options.dry_run = false;
    assert_eq!(names(&victim.directory()), before, "{words}");
    assert!(!victim.is_running(), "{words}");
}

/// LOCAL-31
#[test]
fn an_undo_whose_program_cannot_read_what_is_put_back_is_refused() {
    let (kind, old) = (ServerKind::Redis82, ServerKind::Redis7);
    if kind.is_skipped() || old.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    for lines in [&[][..], &["appendonly yes"]] {
        let mut victim = Victim::start(kind, lines);
        victim.restore(&taken).unwrap();
        victim.restore(&taken).unwrap();
        stop(&mut victim);
        victim.named().program = Some(old.executable());
        undo_is_refused(&mut victim, "which cannot read a dump that begins with REDIS0012", "it takes Redis 7.4");
        let first = redkeep::operations::restore::asides(&victim.directory(), victim.state()).unwrap()[0].time;
        victim.options.to = Some(first);
        undo_is_refused(&mut victim, "which cannot read a dump that begins with REDIS0012", "it takes Redis 7.4");
        // With the right one it is done, and so of the undo of that.
        victim.named().program = Some(kind.executable());
        undo_server(&victim.options, &Silent).unwrap();
        victim.old.assert_equal(&victim.holds(), "undone");
        end(victim.server());
        (victim.options.to, victim.named().program) = (None, Some(old.executable()));
        undo_is_refused(&mut victim, "which cannot read a dump that begins with REDIS0012", "it takes Redis 7.4");
    }
}

#[test]
fn an_undo_whose_program_knows_no_aof_of_several_files_is_refused() {
    let (kind, old) = (ServerKind::Redis7, ServerKind::Redis62);
    if kind.is_skipped() || old.is_skipped() {
        return;
    }
    // Its base are commands, which any version reads.
    let mut victim = Victim::start(kind, &["appendonly yes", "aof-use-rdb-preamble no"]);
    order(victim.server(), "BGREWRITEAOF");
    wait_for("the rewrite", || (victim.server().info().number("aof_rewrite_in_progress") == 0).then_some(()));
    victim.restore(&take(kind, Captured::Dump, &[])).unwrap();
    stop(&mut victim);
    let port = victim.server().port().to_string();
    let settings = [("port", port.as_str()), ("bind", "127.0.0.1"), ("appendonly", "yes")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let (directory, program) = (Some(victim.directory()), Some(old.executable()));
    *victim.named() = Named { directory, settings, program, ..Named::default() };
    let hint = "it takes Redis 7.0 or Valkey 7.2 or newer: name that with --server-binary";
    undo_is_refused(&mut victim, "which cannot read an AOF of several files", hint);
}

#[test]
fn a_running_server_that_cannot_read_what_an_undo_would_put_back_goes_on() {
    let (kind, old) = (ServerKind::Redis82, ServerKind::Redis7);
    if kind.is_skipped() || old.is_skipped() {
        return;
    }
    let mut victim = Victim::start(kind, &[]);
    victim.restore(&take(kind, Captured::Dump, &[])).unwrap();
    victim.shut_down();
    // An older one takes its place, with nothing to load.
    std::fs::remove_file(victim.directory().join("dump.rdb")).unwrap();
    let (program, config) = (old.executable(), victim.server().config_file());
    let start = format!("setsid --fork {} {} >/dev/null 2>&1", program.display(), config.display());
    assert!(std::process::Command::new("sh").args(["-c", &start]).status().unwrap().success());
    wait_for("the older server", || victim.is_running().then_some(()));
    victim.options.commands.start = Some(start);
    victim.options.program = Some(program);
    let process = victim.server().info().number("process_id");
    for dry_run in [true, false] {
        victim.options.dry_run = dry_run;
        let error = undo_server(&victim.options, &Silent).unwrap_err();
        assert!(error.to_string().contains("which cannot read a dump that begins with REDIS0012"), "{error}");
    }
    assert_eq!(victim.server().info().number("process_id"), process);
}

#[test]
fn an_undo_of_a_stopped_server_tells_its_program() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let mut victim = Victim::start(kind, &[]);
    victim.restore(&take(kind, Captured::Dump, &[])).unwrap();
    stop(&mut victim);
    victim.named().program = None;
    victim.options.dry_run = true;
    match undo_server(&victim.options, &Silent) {
        Ok(report) => {
            let told = report.notes.iter().find(|note| note.contains("the program is "));
            assert!(told.is_some_and(|note| note.contains("--server-binary")), "{:?}", report.notes);
        }
        // Where several are installed it is asked.
        Err(error) => assert!(error.hint().is_some_and(|hint| hint.contains("--server-binary")), "{error}"),
    }
}

/// A program that ends at once where it would serve, as long as a file is there.
fn blocked_by(file: &Path, victim: &Victim) -> PathBuf {
    let program = file.with_extension("program");
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" != --version ] && [ \"$PWD\" = '{}' ] && [ -e '{}' ]; then exit 1; fi\nexec '{}' \"$@\"\n",
        victim.directory().display(),
        file.display(),
        victim.server().kind().executable().display()
    );
    write_script(&program, &text);
    program
}

/// LOCAL-31
#[test]
fn what_ended_while_it_was_starting_is_started_again_by_the_same_command() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    for (lines, main) in [(&[][..], "dump.rdb"), (&["appendonly yes"], "appendonlydir")] {
        let mut victim = Victim::start(kind, lines);
        let place = tempfile::tempdir().unwrap();
        let block = place.path().canonicalize().unwrap().join("block");
        stop(&mut victim);
        victim.named().program = Some(blocked_by(&block, &victim));
        let main = victim.directory().join(main);
        let inode = || main.metadata().unwrap().ino();
        let blocked = |is: bool| if is { std::fs::write(&block, "") } else { std::fs::remove_file(&block) }.unwrap();
        let plan = |options: &Options| Options { dry_run: true, ..options.clone() };

        blocked(true);
        let error = victim.restore(&taken).unwrap_err();
        assert!(error.to_string().contains("has ended") && error.to_string().contains("restored data"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("run the same command again")), "{error}");
        let placed = inode();
        assert!(victim.restore(&taken).is_err());
        blocked(false);
        let usual = victim.options.clone();
        victim.options = plan(&usual);
        let report = victim.restore(&taken).unwrap();
        assert!(report.steps.len() == 2 && report.notes.iter().any(|note| note.contains("only started")), "{report:?}");
        victim.options = usual;
        let report = victim.restore(&taken).unwrap();
        assert!(report.finished_earlier && report.is_started && report.verified.unwrap().is_right());
        assert_eq!(inode(), placed, "nothing was exchanged again");
        taken.held.assert_equal(&victim.holds(), "restored");

        // An undo, and the undo of that.
        for is_old in [true, false] {
            end(victim.server());
            blocked(true);
            let error = undo_server(&victim.options, &Silent).unwrap_err();
            let hint = error.hint().unwrap_or_default().to_string();
            assert!(hint.contains("run the same command again, and it goes on"), "{error}: {hint}");
            assert_eq!(error.to_string().contains("the old data"), is_old, "{error}");
            let placed = inode();
            assert!(undo_server(&victim.options, &Silent).is_err());
            blocked(false);
            let would = undo_server(&plan(&victim.options), &Silent).unwrap();
            assert!(would.is_old == is_old && would.steps.len() == 2, "{would:?}");
            assert!(would.steps[0].starts_with("start the server"), "{would:?}");
            let report = undo_server(&victim.options, &Silent).unwrap();
            assert!(report.is_old == is_old && report.serves.is_some(), "{report:?}");
            assert_eq!(inode(), placed, "nothing was exchanged again");
            let expected = if is_old { &victim.old } else { &taken.held };
            expected.assert_equal(&victim.holds(), "undone");
        }

        // The way back that the hint names.
        end(victim.server());
        blocked(true);
        let error = undo_server(&victim.options, &Silent).unwrap_err();
        let way = format!("redkeep undo {} ends this undo", victim.directory().display());
        assert!(error.hint().is_some_and(|hint| hint.contains(&way)), "{error}: {:?}", error.hint());
        for is_old in [true, false] {
            let report = undo_directory(&victim.directory(), None, victim.state()).unwrap().unwrap();
            assert_eq!(report.is_old, is_old);
        }
        victim.start_by_hand();
        taken.held.assert_equal(&victim.holds(), "what it held before the undo");
    }
}

#[test]
fn an_undo_of_what_was_left_stopped_is_a_plan_first_and_takes_a_word() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, &[]);
    killed("waiting for the server", |observer| drop(victim.restore_watched(&taken, observer)));
    victim.start_by_hand();
    victim.shut_down();
    let inode = || victim.dir.path().join("dump.rdb").metadata().unwrap().ino();
    let before = inode();
    let mut options = Options { dry_run: true, may_stop: false, ..victim.options.clone() };
    let would = undo_server(&options, &Silent).unwrap();
    assert!(would.is_old && would.steps.len() == 3, "{would:?}");
    assert_eq!((inode(), victim.is_running()), (before, false));
    options.dry_run = false;
    let error = undo_server(&options, &Silent).unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("say --yes")), "{error}");
    assert_eq!((inode(), victim.is_running()), (before, false));
    victim.options.may_stop = true;
    assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
    victim.old.assert_equal(&victim.holds(), "undone");
}

#[test]
fn what_a_killed_undo_of_an_undo_was_to_put_back_is_not_removed_by_a_restore() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let victim = Victim::start(kind, &["appendonly yes"]);
    victim.restore(&taken).unwrap();
    let aside = undo_server(&victim.options, &Silent).unwrap().aside;
    killed("putting appendonlydir in place", |observer| drop(undo_server(&victim.options, observer)));
    victim.start_by_hand();
    let error = victim.restore(&taken).unwrap_err();
    assert!(error.to_string().contains("an undo was killed in its midst"), "{error}");
    assert!(aside.join("appendonlydir").is_dir());
    victim.old.assert_equal(&victim.holds(), "nothing was put back");
    assert!(!undo_server(&victim.options, &Silent).unwrap().is_old);
    taken.held.assert_equal(&victim.holds(), "the killed one was brought to its end");
    assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
    victim.old.assert_equal(&victim.holds(), "what stood there before the restore");
}
