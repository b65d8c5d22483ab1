//! A directory of AOF files that stands elsewhere, behind a link or as a mount point: what is in it changes places, and the
//! link or the mount stays.

use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use redkeep::format::UnixMillis;
use redkeep::operations::Silent;
use redkeep::operations::restore::server::{Method, undo_directory, undo_server};
use redkeep::operations::restore::{Removal, asides, remove_asides};

use crate::restore_server::{Captured, Taken, Victim, refused, restores_into, take};
use crate::restore_server_kills::{sweep_over, sweep_undo_over};
use crate::support::repository::{Hands, back_up, create, memory};
use crate::support::server::{ServerKind, wait_for};
use crate::support::small_disk::on_a_small_disk;

const ON: &[&str] = &["appendonly yes", "appendfilename \"mine.aof\""];
const MANIFEST: &str = "mine.aof.manifest";
/// Another file system than that of the tests' directories.
const MEMORY: &str = "/dev/shm";

/// A server whose AOF directory is a link to this one. On another file system it has to have its files already: a server
/// makes them in its data directory, and cannot move them there.
fn linked(kind: ServerKind, to: &Path, lines: &[&str]) -> Victim {
    let victim = Victim::start(kind, lines);
    moved(&victim, to, |directory| symlink(to, directory).unwrap());
    victim
}

/// Moves the files of a server's AOF, with the server stopped, and has the way there made from where they were.
fn moved(victim: &Victim, to: &Path, make: impl Fn(&Path)) {
    shut_down(victim);
    let directory = victim.dir.path().join("appendonlydir");
    for name in names(&directory) {
        fs::copy(directory.join(&name), to.join(&name)).unwrap();
    }
    let _ = fs::remove_dir_all(&directory);
    make(&directory);
    victim.start_by_hand();
}

fn shut_down(victim: &Victim) {
    let mut connection = victim.server().connection();
    let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").query::<redis::Value>(&mut connection);
    wait_for("its end", || (!victim.is_running()).then_some(()));
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with(".redkeep-lock"))
        .collect();
    names.sort();
    names
}

fn aside(directory: &Path) -> PathBuf {
    let name = names(directory).into_iter().rfind(|name| name.starts_with(".redkeep-aside-")).unwrap();
    directory.join(name)
}

/// Restores, undoes, undoes that; then looks at what stands where.
fn assert_stays(victim: &Victim, taken: &Taken, real: &Path, what: &str) {
    let before = names(real);
    restores_into(victim, taken, what);
    let now = names(real);
    assert_eq!(now.iter().filter(|name| name.starts_with(".redkeep-")).count(), 1, "{what}: {now:?}");
    assert_eq!(names(&aside(real)), before, "{what}");
    assert!(now.iter().all(|name| !before.contains(name) || name == MANIFEST), "{what}: {now:?}");
    let directory = victim.directory();
    assert!(names(&aside(&directory)).iter().all(|name| name != "appendonlydir"), "{what}");
    assert!(names(&directory).iter().all(|name| !name.contains("staging") && !name.contains("swap")), "{what}");
}

/// LOCAL-28
#[test]
fn a_link_stays_and_the_files_behind_it_change_places() {
    for kind in [ServerKind::Redis7, ServerKind::Valkey9].into_iter().filter(|kind| !kind.is_skipped()) {
        for captured in [Captured::Dump, Captured::Aof] {
            let taken = take(kind, captured, &[]);
            for base in ["/tmp", MEMORY] {
                let elsewhere = tempfile::tempdir_in(base).unwrap();
                let mut victim = linked(kind, elsewhere.path(), ON);
                if base == MEMORY && captured == Captured::Dump {
                    victim.options.method = Some(Method::Classic);
                }
                let link = victim.dir.path().join("appendonlydir");
                assert_stays(&victim, &taken, elsewhere.path(), &format!("{kind:?} {captured:?} {base}"));
                assert_eq!(fs::read_link(&link).unwrap(), elsewhere.path());
                // What is kept there is no part of a backup.
                let (repository, kept) = (create(memory(), &Hands::new(2)), aside(elsewhere.path()));
                let report = back_up(&repository, victim.dir.path(), "again").unwrap();
                assert!(kept.is_dir() && report.snapshot.warnings.is_empty(), "{:?}", report.snapshot.warnings);
            }
        }
    }
}

/// LOCAL-28
#[test]
fn a_link_of_a_server_whose_aof_is_off_stays_too() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let (taken, elsewhere) = (take(kind, Captured::Aof, &[]), tempfile::tempdir_in(MEMORY).unwrap());
    let victim = linked(kind, elsewhere.path(), &["appendonly no", "appendfilename \"mine.aof\""]);
    for name in [MANIFEST, "mine.aof.1.base.rdb", "another.aof.manifest"] {
        fs::write(elsewhere.path().join(name), "file mine.aof.1.base.rdb seq 1 type b\n").unwrap();
    }
    victim.restore(&taken).unwrap();
    taken.held.assert_equal(&victim.holds(), "restored");
    let kept = aside(elsewhere.path());
    assert_eq!(names(&kept), ["mine.aof.1.base.rdb", MANIFEST], "another server's stay");
    assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
    victim.old.assert_equal(&victim.holds(), "undone");
    assert!(names(&kept).is_empty() && elsewhere.path().join("mine.aof.1.base.rdb").is_file());
}

/// LOCAL-28, within the data directory.
#[test]
fn a_dry_run_changes_nothing_behind_a_link_and_an_undo_of_a_stopped_server_goes_there() {
    let kind = ServerKind::Redis82;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, ON);
    let real = victim.dir.path().join("real");
    fs::create_dir(&real).unwrap();
    moved(&victim, &real, |directory| symlink("real", directory).unwrap());
    let before = names(&real);
    victim.options.dry_run = true;
    let report = victim.restore(&taken).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("is a link to") && note.contains("stays that")), "{report:?}");
    assert_eq!(names(&real), before);
    victim.options.dry_run = false;
    victim.restore(&taken).unwrap();
    victim.restore(&taken).unwrap();
    let (directory, state) = (victim.directory(), victim.state());
    let all = asides(&directory, state).unwrap();
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|kept| kept.bytes > 1000), "what is kept elsewhere counts: {all:?}");
    shut_down(&victim);
    let undone = undo_directory(&directory, Some(all[0].time), state).unwrap().unwrap();
    assert!(undone.is_picked && undone.is_old);
    victim.start_by_hand();
    victim.old.assert_equal(&victim.holds(), "what stood there before both");
    let left = asides(&directory, state).unwrap();
    let removed = remove_asides(&directory, Removal::Before(UnixMillis(left[1].time.0)), state).unwrap();
    assert_eq!(removed.len(), 1);
    assert_eq!(names(&real).iter().filter(|name| name.starts_with(".redkeep-")).count(), 1, "{:?}", names(&real));
    victim.old.assert_equal(&victim.holds(), "the server goes on");
}

fn over(test: impl Fn(&Taken, &str, &dyn Fn() -> Victim)) {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Aof, &[]);
    let around = tempfile::tempdir_in(MEMORY).unwrap();
    let start = || {
        let real = tempfile::tempdir_in(around.path()).unwrap().keep();
        linked(kind, &real, ON)
    };
    test(&taken, "a linked AOF directory", &start);
}

/// LOCAL-28
#[test]
fn killed_at_every_step_behind_a_link() {
    over(|taken, what, start| sweep_over(taken, what, start));
}

/// LOCAL-28
#[test]
fn an_undo_killed_at_every_step_behind_a_link() {
    over(|taken, what, start| sweep_undo_over(taken, what, start));
}

/// LOCAL-28
#[test]
fn a_mount_point_stays_and_the_files_in_it_change_places() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    on_a_small_disk("restore_server_elsewhere::a_mount_point_stays_and_the_files_in_it_change_places", 32, |disk| {
        let kind = ServerKind::Redis7;
        let taken = take(kind, Captured::Dump, &[]);
        // Another file system, and another place of the same.
        for bind in [false, true] {
            let victim = Victim::start(kind, ON);
            let (real, other) = (victim.dir.path().join("appendonlydir"), victim.dir.path().join("other"));
            fs::create_dir(&other).unwrap();
            let from = if bind { other.as_path() } else { disk };
            moved(&victim, from, |directory| {
                fs::create_dir(directory).unwrap();
                assert!(Command::new("mount").arg("--bind").args([from, directory]).status().unwrap().success());
            });
            assert_stays(&victim, &taken, &real, "a mount point");
            drop(victim);
            assert!(Command::new("umount").args(["-l".as_ref(), real.as_os_str()]).status().unwrap().success());
        }
    });
}

/// LOCAL-28: nobody is sent where he could not go himself.
#[test]
fn a_link_of_another_user_is_followed_only_to_what_is_that_users() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() || !rustix::process::geteuid().is_root() {
        return;
    }
    let (taken, elsewhere) = (take(kind, Captured::Dump, &[]), tempfile::tempdir_in("/tmp").unwrap());
    let mut victim = linked(kind, elsewhere.path(), ON);
    let link = victim.dir.path().join("appendonlydir");
    let before = names(elsewhere.path());
    lchown(&link, Some(61_234), Some(61_234)).unwrap();
    for dry_run in [true, false] {
        victim.options.dry_run = dry_run;
        refused(&victim, &taken, "is a link that is not followed", "a directory of that user's");
    }
    lchown(&link, Some(0), Some(0)).unwrap();
    fs::remove_file(&link).unwrap();
    symlink(".", &link).unwrap();
    refused(&victim, &taken, "to the data directory itself", "a real directory");
    assert_eq!(names(elsewhere.path()), before);
}
