//! Whether the AOF on disk is what the server would go on from, told without asking it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redkeep::format::snapshot::{Role, Warning};
use redkeep::redis::Capture;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::capture::{capture, codes, fact, materialise, materialise_clean, of_role, read};
use crate::support::keyspace::Keyspace;
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

fn server_with_aof(kind: ServerKind, config: &[&str]) -> Option<(TempDir, RedisServer)> {
    if kind.is_skipped() {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let lines = [&["appendonly yes", "appendfsync no"], config].concat();
    let server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&lines));
    Keyspace::new(9, 200).fill(&server);
    Some((dir, server))
}

fn run(server: &RedisServer, line: &str) {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        command.arg(word);
    });
    command.exec(&mut server.connection()).unwrap();
}

/// The clock has reached a later second than the one in which a file was last written. The clock by which servers and
/// file systems note their times is a little behind.
fn wait_for_later_second(path: &Path) {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let written = seconds(fs::metadata(path).unwrap().modified().unwrap());
    let now = || SystemTime::now() - Duration::from_millis(100);
    wait_for("the next second", || (seconds(now()) > written).then_some(()));
}

/// What is said of the AOF; that a killed rewrite left something too is said beside it.
fn verdict(capture: &Capture) -> (&str, &str, Vec<&str>) {
    let codes = codes(capture).into_iter().filter(|code| *code != "left-out");
    (fact(capture, "authoritative"), fact(capture, "aof.live"), codes.collect())
}

const STALE: (&str, &str, [&str; 1]) = ("unknown", "unknown", ["aof-maybe-stale"]);

#[track_caller]
fn assert_verdict(capture: &Capture, (authoritative, live, warnings): (&str, &str, [&str; 1])) {
    assert_eq!(verdict(capture), (authoritative, live, warnings.to_vec()), "{:?}", capture.warnings);
}

const INCREMENT: &str = "appendonlydir/appendonly.aof.1.incr.aof";

#[test]
fn an_aof_that_a_process_writes_to_counts_even_under_a_later_dump() {
    let Some((dir, mut server)) = server_with_aof(ServerKind::Redis7, &[]) else { return };
    wait_for_later_second(&dir.path().join(INCREMENT));
    run(&server, "SAVE");
    let live = capture(dir.path());
    assert_eq!(verdict(&live), ("aof", "yes", vec![]));
    assert_eq!(fact(&live, "aof.layout"), "multi-part");
    assert_eq!((fact(&live, "aof.directory"), fact(&live, "aof.name")), ("appendonlydir", "appendonly.aof"));

    // With the process gone, the same files tell less.
    server.kill();
    let left = capture(dir.path());
    assert_verdict(&left, STALE);
    let message = &left.warnings[0].message;
    assert!(message.contains("AOF last written 2") && message.contains("dump.rdb saved 2"), "{message}");
}

#[test]
fn an_aof_switched_off_is_seen_in_the_process_and_later_in_the_dump() {
    let Some((dir, mut server)) = server_with_aof(ServerKind::Redis7, &[]) else { return };
    run(&server, "CONFIG SET appendonly no");
    run(&server, "SET only-in-memory 1");
    assert_verdict(&capture(dir.path()), ("unknown", "no", ["aof-not-written"]));

    wait_for_later_second(&dir.path().join(INCREMENT));
    server.stop_saving();
    let captured = capture(dir.path());
    assert_verdict(&captured, STALE);
    // It is all there for whoever decides.
    let copy = materialise(&captured).0;
    let aof = ServerOptions::with_config(&["appendonly yes"]);
    assert_eq!(keys(&RedisServer::start_with(ServerKind::Redis7, copy.path(), aof)), 200);
    assert_eq!(keys(&RedisServer::start(ServerKind::Redis7, copy.path())), 201);
}

/// CAPTURE-7
#[test]
fn an_aof_switched_off_within_the_second_of_its_last_write_is_no_later_than_the_dump() {
    let Some((dir, mut server)) = server_with_aof(ServerKind::Redis7, &[]) else { return };
    run(&server, "SET in-both 1");
    run(&server, "CONFIG SET appendonly no");
    run(&server, "SET only-in-memory 1");
    server.stop_saving();
    assert_verdict(&capture(dir.path()), STALE);
}

/// A copy with times of its own, made some seconds after the dump was saved.
fn copied_later(from: &Path) -> TempDir {
    let saved = fs::metadata(from.join("dump.rdb")).unwrap().modified().unwrap();
    wait_for("some seconds", || saved.elapsed().is_ok_and(|age| age > Duration::from_secs(3)).then_some(()));
    let copy = tempfile::tempdir().unwrap();
    crate::support::repository::copy(from, copy.path());
    copy
}

/// CAPTURE-7
#[test]
fn a_copy_that_kept_no_times_is_judged_by_what_its_files_tell_themselves() {
    let Some((dir, mut server)) = server_with_aof(ServerKind::Redis7, &["aof-timestamp-enabled yes"]) else { return };
    run(&server, "SAVE");
    wait_for_later_second(&dir.path().join("dump.rdb"));
    run(&server, "SET later 1");
    server.kill();
    let verdict_of = |copy: TempDir| verdict(&capture(copy.path())).0.to_owned();
    assert_eq!(verdict_of(copied_later(dir.path())), "aof", "a timestamp in it is later than the dump");

    let mut server =
        RedisServer::start_with(ServerKind::Redis7, dir.path(), ServerOptions::with_config(&["appendonly yes"]));
    run(&server, "CONFIG SET appendonly no");
    run(&server, "SET only-in-memory 1");
    wait_for_later_second(&dir.path().join(INCREMENT));
    server.stop_saving();
    assert_verdict(&capture(copied_later(dir.path()).path()), STALE);
}

/// CAPTURE-7
#[test]
fn a_copy_without_timestamps_is_judged_by_when_its_base_was_begun() {
    let rdb = |began: u32| [b"REDIS0011\xfa\x05ctime\xc2", &began.to_le_bytes()[..], b"\xff", &[0; 8]].concat();
    for (base, expected) in [(1_700_000_100, "aof"), (1_699_999_900, "unknown")] {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        fs::create_dir(dir.path().join("appendonlydir")).unwrap();
        put("dump.rdb", &rdb(1_700_000_000));
        put("appendonlydir/appendonly.aof.1.base.rdb", &rdb(base));
        put(INCREMENT, b"*1\r\n$4\r\nPING\r\n");
        let manifest = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
        put("appendonlydir/appendonly.aof.manifest", manifest.as_bytes());
        assert_eq!(verdict(&capture(dir.path())).0, expected);
    }
}

/// CAPTURE-7
#[test]
fn a_copy_that_kept_its_times_is_judged_by_them() {
    let Some((dir, mut server)) = server_with_aof(ServerKind::Redis7, &[]) else { return };
    run(&server, "SAVE");
    wait_for_later_second(&dir.path().join("dump.rdb"));
    run(&server, "SET later 1");
    server.kill();
    let copy = copied_later(dir.path());
    for name in ["dump.rdb", INCREMENT] {
        let kept = fs::metadata(dir.path().join(name)).unwrap().modified().unwrap();
        File::options().write(true).open(copy.path().join(name)).unwrap().set_modified(kept).unwrap();
    }
    assert_eq!(verdict(&capture(copy.path())).0, "aof");
}

fn keys(server: &RedisServer) -> usize {
    server.info().databases().into_iter().map(|database| keys_of(server, database)).sum()
}

fn keys_of(server: &RedisServer, database: u32) -> usize {
    let mut connection = server.connection();
    redis::cmd("SELECT").arg(database).exec(&mut connection).unwrap();
    redis::cmd("DBSIZE").query(&mut connection).unwrap()
}

/// Switches the AOF off and on again, with a rewrite that would take minutes.
fn switch_on_slowly(server: &RedisServer) {
    run(server, "CONFIG SET appendonly no");
    run(server, "SET only-in-memory 1");
    run(server, "CONFIG SET rdb-key-save-delay 1000000");
    run(server, "CONFIG SET appendonly yes");
}

/// SIGKILL for the server and the child that rewrites.
fn kill_with_children(server: &mut RedisServer) {
    let pid = server.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    server.kill();
    for child in children.split_whitespace() {
        let child = child.parse().unwrap();
        kill_process(Pid::from_raw(child).unwrap(), Signal::KILL).unwrap();
        wait_for("the child to end", || {
            let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            (state.is_empty() || state.contains(") Z ")).then_some(())
        });
    }
}

#[test]
fn an_aof_being_switched_on_is_known_by_its_temporary_increment() {
    for kind in [ServerKind::Redis7, ServerKind::Redis82, ServerKind::Valkey9] {
        let Some((dir, mut server)) = server_with_aof(kind, &[]) else { continue };
        switch_on_slowly(&server);
        let temporary = dir.path().join("appendonlydir/temp-appendonly.aof.incr");
        wait_for("the temporary increment", || temporary.exists().then_some(()));
        assert_verdict(&capture(dir.path()), ("unknown", "no", ["aof-not-written"]));
        kill_with_children(&mut server);
        assert!(temporary.exists());
        let captured = capture(dir.path());
        assert_verdict(&captured, STALE);
        let is_told = |warning: &Warning| warning.message.contains("temporary increment");
        assert!(captured.warnings.iter().any(is_told), "{:?}", captured.warnings);
    }
}

#[test]
fn before_7_0_an_open_file_proves_nothing_while_a_rewrite_goes_on_that_is_later_than_it() {
    let Some((dir, mut server)) = server_with_aof(ServerKind::Redis62, &[]) else { return };
    let live = capture(dir.path());
    assert_eq!((verdict(&live), fact(&live, "aof.layout")), (("aof", "yes", vec![]), "single"));
    switch_on_slowly(&server);
    let is_rewrite = |name: &str| name.starts_with("temp-rewriteaof-");
    wait_for("the rewrite", || names(dir.path()).iter().any(|name| is_rewrite(name)).then_some(()));
    assert_verdict(&capture(dir.path()), STALE);
    kill_with_children(&mut server);
    assert_verdict(&capture(dir.path()), STALE);
}

/// Its AOF and the file of the rewrite are often made within one tick of the kernel's clock.
#[test]
fn before_7_0_an_aof_is_doubtful_until_the_first_rewrite_has_written_it() {
    if ServerKind::Redis62.is_skipped() {
        return;
    }
    for _ in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let mut server = RedisServer::start(ServerKind::Redis62, dir.path());
        Keyspace::new(1, 50).fill(&server);
        run(&server, "SAVE");
        switch_on_slowly(&server);
        let has = |name: &str| names(dir.path()).iter().any(|found| found.starts_with(name));
        wait_for("the rewrite", || (has("temp-rewriteaof-") && has("appendonly.aof")).then_some(()));
        assert_verdict(&capture(dir.path()), STALE);
        kill_with_children(&mut server);
    }
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn manifest(dir: &TempDir) -> PathBuf {
    dir.path().join("appendonlydir/appendonly.aof.manifest")
}

#[test]
fn an_end_offset_on_the_last_increment_is_taken_out() {
    let Some((dir, mut server)) = server_with_aof(ServerKind::Redis7, &[]) else { return };
    server.stop();
    assert_eq!(verdict(&capture(dir.path())), ("aof", "unknown", vec![]));
    let text = fs::read_to_string(manifest(&dir)).unwrap();
    let ended = text.replace("type i\n", "type i startoffset 0 endoffset 5000\n");
    assert_ne!(text, ended);
    fs::write(manifest(&dir), &ended).unwrap();
    let captured = capture(dir.path());
    assert_eq!(verdict(&captured), ("aof", "unknown", vec![]));
    let written = read(of_role(&captured, Role::Manifest)).0;
    assert_eq!(String::from_utf8(written).unwrap(), ended.replace(" endoffset 5000", ""));
}

#[test]
fn redis_8_2_notes_in_the_manifest_until_when_the_aof_was_complete() {
    let Some((dir, mut server)) = server_with_aof(ServerKind::Redis82, &[]) else { return };
    wait_for_later_second(&dir.path().join(INCREMENT));
    server.stop_saving();
    assert!(fs::read_to_string(manifest(&dir)).unwrap().contains("endoffset"), "a normal stop");
    assert_eq!(verdict(&capture(dir.path())), ("aof", "unknown", vec![]));

    server.start_again();
    assert!(!fs::read_to_string(manifest(&dir)).unwrap().contains("endoffset"), "open again");
    run(&server, "CONFIG SET appendonly no");
    wait_for_later_second(&manifest(&dir));
    server.stop_saving();
    let captured = capture(dir.path());
    assert_verdict(&captured, STALE);
    assert!(captured.warnings[0].message.contains("was saved after it was closed"), "{:?}", captured.warnings);
}

#[test]
fn what_a_crash_left_of_a_rewrite_does_not_make_an_aof_doubtful_that_is_written() {
    let Some((dir, mut server)) = server_with_aof(ServerKind::Redis62, &[]) else { return };
    let (left, aof) = (dir.path().join("temp-rewriteaof-12.aof"), dir.path().join("appendonly.aof"));
    wait_for("a later tick of the file system's clock", || {
        fs::write(&left, "").unwrap();
        let [left_at, aof_at] = [&left, &aof].map(|file| fs::metadata(file).unwrap());
        let is_later = left_at.created().unwrap() > aof_at.modified().unwrap();
        (is_later || fs::remove_file(&left).is_err()).then_some(())
    });
    assert_eq!(verdict(&capture(dir.path())), ("aof", "yes", vec![]));
    server.stop();
    assert_verdict(&capture(dir.path()), STALE);
    // A save that was left is no rewrite.
    fs::rename(&left, dir.path().join("temp-12.rdb")).unwrap();
    assert_eq!(verdict(&capture(dir.path())), ("aof", "unknown", vec![]));

    let Some((dir, _server)) = server_with_aof(ServerKind::Redis7, &[]) else { return };
    fs::write(dir.path().join("appendonlydir/temp-appendonly.aof.incr"), "").unwrap();
    assert_eq!(verdict(&capture(dir.path())), ("aof", "yes", vec![]));
}

#[test]
fn a_manifest_that_needs_no_change_is_stored_as_it_is() {
    let Some((dir, server)) = server_with_aof(ServerKind::Redis7, &[]) else { return };
    let original = fs::read(manifest(&dir)).unwrap();
    let captured = capture(dir.path());
    assert_eq!(read(of_role(&captured, Role::Manifest)).0, original);
    drop(server);

    let with_comment = [b"# by hand\n", original.as_slice()].concat();
    fs::write(manifest(&dir), &with_comment).unwrap();
    let captured = capture(dir.path());
    assert_eq!(read(of_role(&captured, Role::Manifest)).0, with_comment);
    let copy = materialise_clean(&captured);
    let aof = ServerOptions::with_config(&["appendonly yes"]);
    assert_eq!(keys(&RedisServer::start_with(ServerKind::Redis7, copy.path(), aof)), 200);
}

#[test]
fn the_dump_alone_counts_where_a_server_has_no_aof() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = RedisServer::start(ServerKind::Redis7, dir.path());
    run(&server, "SET here 1");
    run(&server, "SAVE");
    assert_eq!(verdict(&capture(dir.path())), ("rdb", "", vec![]));
}

#[test]
fn of_two_aofs_the_one_that_is_written_counts() {
    let Some((dir, mut server)) = server_with_aof(ServerKind::Redis7, &[]) else { return };
    // A restart under another name leaves the old files behind, with a later time of ours.
    let other = dir.path().join("appendonlydir/other.aof.1.incr.aof");
    fs::write(&other, "").unwrap();
    fs::write(dir.path().join("appendonlydir/other.aof.manifest"), "file other.aof.1.incr.aof seq 1 type i\n").unwrap();
    let later = SystemTime::now() + Duration::from_secs(100);
    let single = dir.path().join("single.aof");
    // How those end that do not count is nothing that a person has to know.
    for end in ["*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nPING\r\n", "*1\r\n$4\r\nPI", ""] {
        for path in [&other, &single] {
            fs::write(path, end).unwrap();
        }
        let live = capture(dir.path());
        assert_eq!(verdict(&live), ("aof", "yes", vec![]), "{end}");
        assert_eq!(live.facts.get("aof.unfinished"), None, "{end}");
    }
    fs::remove_file(single).unwrap();
    File::options().write(true).open(&other).unwrap().set_modified(later).unwrap();
    let live = capture(dir.path());
    assert_eq!(verdict(&live), ("aof", "yes", vec![]));
    assert_eq!(fact(&live, "aof.name"), "appendonly.aof");
    assert_eq!(of_role(&live, Role::Incr).path, INCREMENT.as_bytes());
    assert_eq!(live.files.iter().filter(|file| file.role == Role::Manifest).count(), 1);

    server.stop();
    let left = capture(dir.path());
    assert_verdict(&left, ("unknown", "unknown", ["several-aofs"]));
    assert_eq!(fact(&left, "aof.name"), "other.aof");
}
