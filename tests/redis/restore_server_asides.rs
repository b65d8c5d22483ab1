//! What several restores set aside in a server's directory: each can be picked, and each pick can be undone.

use std::path::{Path, PathBuf};

use redkeep::format::UnixMillis;
use redkeep::operations::restore::server::{directory_of, undo_directory, undo_server};
use redkeep::operations::restore::{Aside, Removal, asides, remove_asides};
use redkeep::operations::{Observer, OperationError, Silent};

use crate::restore_server::{Captured, Victim, refused, take, take_with};
use crate::restore_server_hostile::{get, killed, order};
use crate::support::keyspace::Keyspace;
use crate::support::server::ServerKind;

pub fn kept(victim: &Victim) -> Vec<Aside> {
    asides(&victim.directory(), victim.state()).unwrap()
}

/// LOCAL-22
#[test]
fn each_of_several_asides_is_picked_by_its_time_and_a_plain_undo_goes_back() {
    for (kind, lines) in [
        (ServerKind::Redis7, &["appendonly yes"][..]),
        (ServerKind::Redis7, &["appendonly no"]),
        (ServerKind::Redis62, &["appendonly yes"]),
        (ServerKind::Valkey9, &["appendonly no"]),
    ] {
        if kind.is_skipped() {
            continue;
        }
        let first = take(kind, Captured::Dump, &[]);
        let second = take_with(kind, Captured::Aof, &[], |server| Keyspace::new(6, 50).fill(server));
        let mut victim = Victim::start(kind, lines);
        victim.restore(&first).unwrap();
        victim.restore(&second).unwrap();
        let (oldest, newest) = (kept(&victim)[0].clone(), kept(&victim)[1].clone());
        assert!(newest.is_next && !oldest.is_next);

        victim.options.to = Some(oldest.time);
        victim.options.dry_run = true;
        let would = undo_server(&victim.options, &Silent).unwrap();
        assert_eq!((would.from, would.is_picked), (oldest.path.clone(), true));
        victim.options.dry_run = false;
        let report = undo_server(&victim.options, &Silent).unwrap();
        assert_eq!(report.from, oldest.path);
        victim.old.assert_equal(&victim.holds(), "what stood there before both");
        let now = kept(&victim);
        assert_eq!((now.len(), &now[0].path, now[1].is_next), (2, &newest.path, true));
        assert_eq!(now[1].path, report.aside);

        let again = undo_server(&victim.options, &Silent).unwrap_err();
        assert!(matches!(again, OperationError::NothingAside { .. }), "{again}");
        victim.options.to = None;
        undo_server(&victim.options, &Silent).unwrap();
        second.held.assert_equal(&victim.holds(), "an undo of the undo");
        victim.options.to = Some(newest.time);
        undo_server(&victim.options, &Silent).unwrap();
        first.held.assert_equal(&victim.holds(), "what the first restore put there");
    }
}

/// LOCAL-13
#[test]
fn what_an_undo_set_aside_is_as_old_as_the_undo() {
    for (kind, lines) in [(ServerKind::Redis7, &["appendonly yes"][..]), (ServerKind::Redis62, &["appendonly no"])] {
        if kind.is_skipped() {
            continue;
        }
        let taken = take(kind, Captured::Dump, &[]);
        let mut victim = Victim::start(kind, lines);
        victim.restore(&taken).unwrap();
        let only = |what: &str| match <[Aside; 1]>::try_from(kept(&victim)) {
            Ok([aside]) => aside,
            Err(all) => panic!("{what}: {all:?}"),
        };
        let restored = only("restored");
        order(victim.server(), "SET since 1");
        let undone = undo_server(&victim.options, &Silent).unwrap();
        let now = only("undone");
        assert_eq!((&undone.from, &undone.aside), (&restored.path, &now.path));
        assert!(now.time > restored.time && now.is_next, "{now:?}");
        victim.old.assert_equal(&victim.holds(), "what stood there before");

        victim.restore(&taken).unwrap();
        let after_the_restore = Removal::Before(UnixMillis(restored.time.0 + 1000));
        assert_eq!(remove_asides(&victim.directory(), after_the_restore, victim.state()).unwrap(), []);
        undo_server(&victim.options, &Silent).unwrap();
        victim.old.assert_equal(&victim.holds(), "before the second restore");
        let redone = undo_server(&victim.options, &Silent).unwrap();
        taken.held.assert_equal(&victim.holds(), "an undo of the undo");
        assert!(redone.aside > redone.from && kept(&victim)[1].path == redone.aside, "{redone:?}");
        victim.options.to = Some(now.time);
        undo_server(&victim.options, &Silent).unwrap();
        assert_eq!(get(victim.server(), "since").as_deref(), Some("1"), "what was written before the undo");
    }
}

/// LOCAL-13
#[test]
fn what_a_killed_undo_is_about_to_put_back_does_not_go_for_its_age() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, &["appendonly yes"]);
    victim.restore(&taken).unwrap();
    victim.restore(&taken).unwrap();
    let oldest = kept(&victim)[0].clone();
    victim.options.to = Some(oldest.time);
    killed("putting appendonlydir in place", |observer| drop(undo_server(&victim.options, observer)));
    assert!(kept(&victim)[0].is_next, "{:?}", kept(&victim));
    let gone = remove_asides(&victim.directory(), Removal::Before(UnixMillis(u64::MAX)), victim.state()).unwrap();
    assert!(gone.iter().all(|aside| aside.path != oldest.path) && oldest.path.is_dir(), "{gone:?}");
    undo_server(&victim.options, &Silent).unwrap();
    victim.old.assert_equal(&victim.holds(), "what stood there before both");
}

#[test]
fn where_what_the_next_undo_needs_was_removed_no_other_is_said_to_be_put_back() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, &[]);
    victim.restore(&taken).unwrap();
    victim.restore(&taken).unwrap();
    let next = kept(&victim).into_iter().find(|aside| aside.is_next).unwrap();
    let gone = remove_asides(&victim.directory(), Removal::At(next.time), victim.state()).unwrap();
    assert_eq!(gone.iter().map(|aside| &aside.path).collect::<Vec<_>>(), [&next.path]);
    let left = kept(&victim);
    assert!(left.len() == 1 && !left[0].is_next, "{left:?}");
    let error = undo_server(&victim.options, &Silent).unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("redkeep undo --list")), "{error}");
    victim.options.to = Some(left[0].time);
    undo_server(&victim.options, &Silent).unwrap();
    victim.old.assert_equal(&victim.holds(), "the one that is left");
}

/// Takes the names aside of these seconds and the next ones.
fn plant(directory: &Path, name: &str) {
    for seconds in -5..30 {
        let time = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        let planted = directory.join(format!(".redkeep-aside-{name}-{}", time.strftime("%Y%m%dT%H%M%SZ")));
        // One that is there already is taken, too.
        let _ = std::os::unix::fs::symlink("/nowhere", planted);
    }
}

/// Takes them at the last moment.
struct Plants(PathBuf);

impl Observer for Plants {
    fn begin(&self, what: &str, _: Option<u64>) {
        if what == "setting the old files aside" {
            plant(&self.0, "dataset");
        }
    }
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        false
    }
}

/// LOCAL-9 LOCAL-13
#[test]
fn a_name_aside_that_the_owner_of_the_directory_took_stops_neither_a_restore_nor_an_undo() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let victim = Victim::start(kind, &["appendonly yes"]);
    let plants = Plants(victim.directory());
    let aside = victim.restore_watched(&taken, &plants).unwrap().aside.unwrap();
    assert!(aside.join("appendonlydir").is_dir());
    for expected in [&victim.old, &taken.held] {
        let report = undo_server(&victim.options, &plants).unwrap();
        assert!(report.aside.join("appendonlydir").is_dir() && !report.aside.is_symlink(), "{report:?}");
        expected.assert_equal(&victim.holds(), "each was put back");
    }

    let place = tempfile::tempdir().unwrap();
    let place = place.path().canonicalize().unwrap();
    let target = place.join("target");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("dump.rdb"), "old").unwrap();
    plant(&place, "target");
    let options = redkeep::operations::restore::Options::new(target.clone());
    redkeep::operations::restore::restore(&taken.repository, &taken.chosen, &options, &Silent).unwrap();
    plant(&place, "target");
    let report = redkeep::operations::restore::undo(&target, None).unwrap();
    assert_eq!(std::fs::read(target.join("dump.rdb")).unwrap(), b"old");
    assert!(report.aside.is_some_and(|aside| aside.is_dir() && !aside.is_symlink()));
}

#[test]
fn a_stopped_server_has_one_picked_by_its_directory() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let victim = Victim::start(kind, &["appendonly yes"]);
    victim.restore(&taken).unwrap();
    victim.restore(&taken).unwrap();
    let oldest = kept(&victim)[0].time;
    victim.shut_down();
    let undone = undo_directory(&victim.directory(), Some(oldest), victim.state()).unwrap().unwrap();
    assert!(undone.is_picked && undone.is_old);
    victim.start_by_hand();
    victim.old.assert_equal(&victim.holds(), "what stood there before both");
}

#[test]
fn one_that_the_server_would_not_load_is_refused_before_it_is_stopped() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, &["appendonly yes"]);
    victim.restore(&taken).unwrap();
    victim.restore(&taken).unwrap();
    let oldest = kept(&victim)[0].clone();
    std::fs::rename(oldest.path.join("appendonlydir"), victim.dir.path().join("elsewhere")).unwrap();
    victim.options.to = Some(oldest.time);
    let process = victim.server().info().number("process_id");
    let error = undo_server(&victim.options, &Silent).unwrap_err();
    assert!(error.to_string().contains("has none: it would start without"), "{error}");
    // An aside that was emptied is no server that was empty.
    for entry in std::fs::read_dir(&oldest.path).unwrap() {
        let entry = entry.unwrap().path();
        std::fs::rename(&entry, victim.dir.path().join(entry.file_name().unwrap()).with_extension("away")).unwrap();
    }
    for dry_run in [true, false] {
        victim.options.dry_run = dry_run;
        let error = undo_server(&victim.options, &Silent).unwrap_err();
        assert!(error.to_string().contains("it would start empty") && error.hint().is_some(), "{error}");
    }
    assert_eq!(victim.server().info().number("process_id"), process);
    taken.held.assert_equal(&victim.holds(), "nothing was put back");
}

#[test]
fn what_is_kept_is_listed_and_removed_while_the_server_runs() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let victim = Victim::start(kind, &[]);
    victim.restore(&taken).unwrap();
    victim.restore(&taken).unwrap();
    let process = victim.server().info().number("process_id");
    let directory = directory_of(&victim.options).unwrap();
    assert_eq!(directory, victim.directory());
    let all = asides(&directory, victim.state()).unwrap();
    assert_eq!(all.len(), 2);
    let later = UnixMillis(all[1].time.0 + 1000);
    let gone = remove_asides(&directory, Removal::Before(later), victim.state()).unwrap();
    assert_eq!(gone, all[..1], "what the next undo puts back stays");
    assert_eq!(victim.server().info().number("process_id"), process);
    taken.held.assert_equal(&victim.holds(), "the server goes on");
}

#[test]
fn an_undo_that_would_lose_what_was_set_at_run_time_is_refused() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, &[]);
    victim.restore(&taken).unwrap();
    order(victim.server(), "ACL SETUSER deploy on >secret ~* +@all");
    let process = victim.server().info().number("process_id");
    let error = undo_server(&victim.options, &Silent).unwrap_err();
    assert!(error.to_string().contains("would lose what is in none of its files"), "{error}");
    assert_eq!(victim.server().info().number("process_id"), process);
    refused(&victim, &taken, "would lose what is in none of its files", "--force settings");
    victim.options.consents = vec![redkeep::operations::restore::server::Consent::Settings];
    let report = undo_server(&victim.options, &Silent).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("deploy")), "{:?}", report.notes);
}
