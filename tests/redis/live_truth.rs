//! A capture of a live server holds all that it had answered, or says that it does not: also where a crash, a flush or another
//! directory came in between.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::redis::server::{LiveCapture, LiveOptions, Mode, SavePatience, Server, Watch, capture_server};
use redkeep::redis::{CaptureOptions, RedisError};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::capture::{codes, fact, materialise};
use crate::live::{as_backup_user, boot, live, live_at, of_mode, order, redis_7};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

const HALF: &[u8] = b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$1\r\n1\r\n*1\r\n$4\r\nEX";
const TAIL: LiveOptions = LiveOptions {
    mode: Mode::Auto,
    tail: true,
    no_save: false,
    max_age: None,
    prefer_replica: false,
    sentinel_master: None,
    with_config: false,
    patience: SavePatience { told: Duration::from_secs(60), given_up: Duration::from_secs(900) },
    place: redkeep::redis::server::WhereOptions { directory: None, maps: Vec::new() },
};

fn keys(server: &RedisServer) -> u64 {
    redis::cmd("DBSIZE").query(&mut server.connection()).unwrap()
}

fn fill(server: &RedisServer, name: &str, keys: usize) {
    let mut pipe = redis::pipe();
    for key in 0..keys {
        pipe.cmd("SET").arg(format!("{name}:{key}")).arg(key).ignore();
    }
    pipe.exec(&mut server.connection()).unwrap();
}

/// The file that grows.
fn increment(kind: ServerKind, data: &Path) -> PathBuf {
    match kind {
        ServerKind::Redis62 => data.join("appendonly.aof"),
        _ => data.join("appendonlydir/appendonly.aof.1.incr.aof"),
    }
}

/// A server that was started on an AOF of which a crash had left half a transaction, and answered 40 writes since.
fn after_half_a_transaction(kind: ServerKind) -> (TempDir, RedisServer) {
    let dir = tempfile::tempdir().unwrap();
    let mut server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&["appendonly yes"]));
    fill(&server, "before", 100);
    server.kill();
    let file = increment(kind, dir.path());
    let whole = fs::read(&file).unwrap();
    fs::write(&file, [&whole, HALF].concat()).unwrap();
    server.start_again();
    fill(&server, "after", 40);
    assert_eq!(keys(&server), 140, "half a transaction is none");
    (dir, server)
}

fn restored_keys(kind: ServerKind, captured: &LiveCapture) -> u64 {
    let (copy, _) = materialise(&captured.capture);
    keys(&boot(kind, copy.path(), fact(&captured.capture, "capture.mode"), &[]))
}

#[track_caller]
fn refusal(captured: Result<LiveCapture, RedisError>) -> (String, String) {
    match captured {
        Err(error @ RedisError::Server { .. }) => (error.to_string(), error.hint().unwrap_or_default().to_owned()),
        other => panic!("not refused: {other:?}"),
    }
}

/// LIVE-1.
#[test]
fn what_was_answered_behind_a_transaction_that_a_crash_left_open_is_captured() {
    for kind in ServerKind::ALL {
        if kind.is_skipped() {
            continue;
        }
        let (_dir, server) = after_half_a_transaction(kind);
        let captured = live(&server, &LiveOptions::default());
        assert_eq!(restored_keys(kind, &captured), 140, "{}", kind.name());
        // Valkey from 9 on makes no such files: it cuts the whole transaction off.
        if kind == ServerKind::Valkey9 {
            assert_eq!(codes(&captured.capture), Vec::<&str>::new());
            continue;
        }
        assert_eq!(codes(&captured.capture), ["aof-open-transaction"], "{}", kind.name());
        let message = &captured.capture.warnings[0].message;
        assert!(message.contains("lets go of all that follows") && message.contains("BGREWRITEAOF"), "{message}");
        assert_eq!(fact(&captured.capture, "capture.mode"), "rdb");
        for options in [of_mode(Mode::Aof), TAIL] {
            let (what, hint) = refusal(live_at(&as_backup_user(&server), &options));
            assert!(what.contains("left the transaction at") && hint.contains("BGREWRITEAOF"), "{what}; {hint}");
        }
        // As it says.
        order(&server, "BGREWRITEAOF");
        wait_for("the rewrite", || (server.info().get("aof_rewrite_in_progress") == Some("0")).then_some(()));
        wait_for("the end of it", || live_at(&as_backup_user(&server), &TAIL).ok());
    }
}

/// The EXEC of a later transaction has a starting server run what the crash left of the earlier one, too.
#[test]
fn half_a_transaction_is_not_brought_to_life_by_a_later_one() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let (_dir, server) = after_half_a_transaction(kind);
    redis::pipe()
        .atomic()
        .cmd("SET")
        .arg("a")
        .arg(1)
        .cmd("SET")
        .arg("b")
        .arg(1)
        .exec(&mut server.connection())
        .unwrap();
    let captured = live(&server, &LiveOptions::default());
    assert_eq!(codes(&captured.capture), ["aof-open-transaction"]);
    assert_eq!(restored_keys(kind, &captured), 142, "all that was answered, and nothing else");
}

/// LIVE-2.
#[test]
fn whole_commands_behind_an_open_transaction_are_stored_without_a_server_too() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let (dir, mut server) = after_half_a_transaction(kind);
    server.kill();
    let captured = crate::capture::capture(dir.path());
    assert_eq!(codes(&captured), ["aof-open-transaction"]);
    let whole = fs::read(increment(kind, dir.path())).unwrap();
    let (bytes, reading) =
        crate::capture::read(crate::capture::of_role(&captured, redkeep::format::snapshot::Role::Incr));
    assert!(bytes == whole && reading.suspect.is_some());
}

/// LIVE-1: a restore would let go of what the last increment holds, too.
#[test]
fn a_transaction_that_a_crash_left_open_is_told_wherever_a_rewrite_has_left_it() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let (dir, mut server) = after_half_a_transaction(kind);
    order(&server, "CONFIG SET rdb-key-save-delay 500000");
    order(&server, "BGREWRITEAOF");
    let next = dir.path().join("appendonlydir/appendonly.aof.2.incr.aof");
    wait_for("the next increment", || next.exists().then_some(()));
    fill(&server, "later", 10);
    let (what, hint) = refusal(live_at(&as_backup_user(&server), &of_mode(Mode::Aof)));
    assert!(what.contains("1.incr.aof: a crash left the transaction at") && hint.contains("BGREWRITEAOF"), "{what}");
    assert_eq!(server.info().get("aof_rewrite_in_progress"), Some("1"));
    // Which ends the child that rewrites, too.
    server.stop();
}

/// LIVE-2: it may have been answered.
#[test]
fn a_command_that_a_live_server_does_not_complete_is_not_left_out() {
    let Some((dir, server)) = redis_7(&["appendonly yes"]) else { return };
    fill(&server, "key", 100);
    let file = increment(ServerKind::Redis7, dir.path());
    fs::OpenOptions::new().append(true).open(file).unwrap().write_all(&HALF[15..30]).unwrap();
    let (what, hint) = refusal(live_at(&as_backup_user(&server), &of_mode(Mode::Aof)));
    assert!(what.contains("is not completed") && hint.contains("BGREWRITEAOF"), "{what}; {hint}");
    let captured = live(&server, &LiveOptions::default());
    let expected = ("rdb", vec!["aof-open-transaction"]);
    assert_eq!((fact(&captured.capture, "capture.mode"), codes(&captured.capture)), expected);
    assert_eq!(restored_keys(ServerKind::Redis7, &captured), 100);
}

/// LIVE-4.
#[test]
fn an_aof_in_another_directory_is_told_at_once_and_a_dump_is_taken() {
    for stray in [None, Some("README")] {
        let Some((dir, server)) = redis_7(&["appendonly yes", "enable-protected-configs yes"]) else { return };
        fill(&server, "key", 100);
        let new = tempfile::tempdir().unwrap();
        order(&server, &format!("CONFIG SET dir {}", new.path().display()));
        if let Some(stray) = stray {
            fs::write(new.path().join(stray), "x").unwrap();
        }
        let address = as_backup_user(&server);
        let begun = Instant::now();
        for options in [of_mode(Mode::Aof), TAIL] {
            let (what, hint) = refusal(live_at(&address, &options));
            let old = dir.path().canonicalize().unwrap();
            assert!(what.contains(old.to_str().unwrap()) && hint.contains("BGREWRITEAOF"), "{what}; {hint}");
        }
        match (stray, live_at(&address, &of_mode(Mode::Files))) {
            (None, files) => assert!(refusal(files).0.contains("it is empty")),
            (Some(_), files) => assert_eq!(codes(&files.unwrap().capture), ["not-the-dataset"]),
        }
        let captured = live_at(&address, &LiveOptions::default()).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is waited for that cannot come");
        assert_eq!(codes(&captured.capture), ["aof-not-live"]);
        assert_eq!(restored_keys(ServerKind::Redis7, &captured), 100);

        order(&server, "BGREWRITEAOF");
        let again = wait_for("the rewrite", || live_at(&address, &of_mode(Mode::Aof)).ok());
        assert_eq!(codes(&again.capture), Vec::<&str>::new());
    }
}

#[test]
fn a_server_that_has_saved_nothing_has_no_files_to_capture() {
    let Some((dir, server)) = redis_7(&[]) else { return };
    fill(&server, "key", 3);
    fs::write(dir.path().join("README"), "x").unwrap();
    assert_eq!(codes(&live(&server, &of_mode(Mode::Files)).capture), ["not-the-dataset"]);
}

/// LIVE-3: a replica that is being filled is waited for; what it was before is neither counted nor told.
#[test]
fn facts_and_warnings_are_those_of_the_moment_not_of_before_the_wait() {
    let Some((_master_dir, master)) = redis_7(&["repl-diskless-sync-delay 0"]) else { return };
    let Some((_dir, replica)) = redis_7(&["appendonly yes"]) else { return };
    fill(&master, "new", 30);
    fill(&replica, "old", 500);
    let address = as_backup_user(&replica);
    order(&master, "CONFIG SET rdb-key-save-delay 30000");
    order(&replica, &format!("REPLICAOF 127.0.0.1 {}", master.port()));
    wait_for("the sync", || (master.info().get("rdb_bgsave_in_progress") == Some("1")).then_some(()));
    assert_eq!(replica.info().get("master_link_status"), Some("down"));
    let captured = live_at(&address, &LiveOptions::default()).unwrap();
    let counted = fact(&captured.capture, "server.keys.db0").to_owned();
    assert_eq!((counted.as_str(), codes(&captured.capture)), ("30", vec![]));
    assert_eq!(restored_keys(ServerKind::Redis7, &captured), 30);
}

/// A server whose next save takes a while.
fn slow_saver(keys: usize, micros: usize) -> Option<(TempDir, RedisServer)> {
    let (dir, server) = redis_7(&[])?;
    fill(&server, "key", keys);
    order(&server, &format!("CONFIG SET rdb-key-save-delay {micros}"));
    Some((dir, server))
}

pub(crate) fn saves(server: &RedisServer) -> bool {
    server.info().get("rdb_bgsave_in_progress") == Some("1")
}

pub(crate) fn wait_for_save(server: &RedisServer) {
    wait_for("the save to begin", || saves(server).then_some(()));
}

/// LIVE-3.
#[test]
fn a_flush_during_the_save_is_told() {
    let Some((_dir, server)) = slow_saver(100, 20_000) else { return };
    let captured = thread::scope(|scope| {
        let capture = scope.spawn(|| live(&server, &of_mode(Mode::Rdb)));
        wait_for_save(&server);
        order(&server, "FLUSHALL");
        capture.join().unwrap()
    });
    assert_eq!(codes(&captured.capture), ["flush-while-saving"]);
    assert!(
        captured.capture.warnings[0].message.contains("of 100 keys the next one found 0"),
        "{:?}",
        captured.capture.warnings
    );
    assert_eq!(fact(&captured.capture, "server.keys.db0"), "", "it has none");
}

/// LIVE-3: with save points the flush writes a dump itself, in the middle of its transaction.
#[test]
fn the_dump_that_a_flush_writes_is_not_taken_for_the_one_that_was_asked_for() {
    for refills in [false, true] {
        let Some((_dir, server)) = slow_saver(100, 20_000) else { return };
        let mut points = redis::cmd("CONFIG");
        points.arg("SET").arg("save").arg("100000 100000").exec(&mut server.connection()).unwrap();
        let captured = thread::scope(|scope| {
            let capture = scope.spawn(|| live(&server, &of_mode(Mode::Rdb)));
            wait_for_save(&server);
            let mut flush = redis::pipe();
            flush.atomic().cmd("FLUSHALL");
            if refills {
                flush.cmd("SET").arg("key:new").arg(1);
            }
            flush.exec(&mut server.connection()).unwrap();
            capture.join().unwrap()
        });
        assert_eq!(codes(&captured.capture), ["flush-while-saving"], "refills: {refills}");
        assert_eq!(restored_keys(ServerKind::Redis7, &captured), u64::from(refills));
    }
}

/// LIVE-5.
#[test]
fn a_dump_that_somebody_else_asked_for_is_not_taken_away() {
    let Some((dir, server)) = slow_saver(50, 20_000) else { return };
    order(&server, "BGSAVE");
    let captured = live(&server, &of_mode(Mode::Rdb));
    assert!(captured.made.is_none() && dir.path().join("dump.rdb").exists());
}

fn child(server: &RedisServer) -> Pid {
    let children = PathBuf::from(format!("/proc/{0}/task/{0}/children", server.pid()));
    let child = wait_for("the child process", || {
        fs::read_to_string(&children).unwrap().split_whitespace().next().map(str::to_owned)
    });
    Pid::from_raw(child.parse().unwrap()).unwrap()
}

#[test]
fn saves_that_somebody_ends_each_time_are_told_as_that() {
    let Some((_dir, server)) = slow_saver(50, 100_000) else { return };
    let ended = thread::scope(|scope| {
        let capture = scope.spawn(|| live_at(&as_backup_user(&server), &of_mode(Mode::Rdb)));
        while !capture.is_finished() {
            if saves(&server) {
                order(&server, "FLUSHALL");
            }
            // Else the next save is over before it is seen.
            fill(&server, "key", 50);
        }
        capture.join().unwrap()
    });
    let (what, hint) = refusal(ended);
    assert!(what.contains("were ended before they were done") && hint.contains("FLUSHALL"), "{what}; {hint}");
}

/// Captures with a watch that collects what a person hears at once.
fn noted(
    server: &RedisServer,
    options: &LiveOptions,
    interrupted: &dyn Fn() -> bool,
) -> (Result<LiveCapture, RedisError>, Vec<String>) {
    let notes = RefCell::new(Vec::new());
    let note = |what: &str| notes.borrow_mut().push(what.to_owned());
    let watch = Watch { say: &|_| {}, leaves: &|_| {}, note: &note, interrupted };
    let connected = Server::connect(&as_backup_user(server)).unwrap();
    let captured = capture_server(connected, options, &CaptureOptions::default(), &watch);
    (captured, notes.into_inner())
}

#[test]
fn a_save_that_hangs_is_told_and_given_up() {
    let Some((dir, server)) = slow_saver(50, 20_000) else { return };
    fs::write(dir.path().join("dump.rdb"), "kept").unwrap();
    let patience = SavePatience { told: Duration::from_millis(600), given_up: Duration::from_secs(3) };
    let options = LiveOptions { mode: Mode::Rdb, patience, ..LiveOptions::default() };
    let (ended, notes) = thread::scope(|scope| {
        let capture = scope.spawn(|| noted(&server, &options, &|| false));
        wait_for_save(&server);
        kill_process(child(&server), Signal::STOP).unwrap();
        capture.join().unwrap()
    });
    kill_process(child(&server), Signal::CONT).unwrap();
    let (what, hint) = refusal(ended);
    assert!(what.contains("has not come on for") && what.contains("of 50 keys"), "{what}");
    assert!(hint.contains("child process"), "{hint}");
    assert_eq!(notes.len(), 1, "{notes:?}");
}

#[test]
fn an_interruption_that_leaves_a_dump_behind_says_what_to_delete() {
    // Longer than anybody waits for it.
    let Some((dir, server)) = slow_saver(50, 1_000_000) else { return };
    let asked = Cell::new(0);
    let interrupted = || {
        asked.set(asked.get() + 1);
        saves(&server)
    };
    let (ended, notes) = noted(&server, &of_mode(Mode::Rdb), &interrupted);
    let Err(error @ RedisError::Stopped { .. }) = ended else { panic!("{ended:?}") };
    let dump = dir.path().canonicalize().unwrap().join("dump.rdb").display().to_string();
    let (what, hint) = (error.to_string(), error.hint().unwrap_or_default().to_owned());
    assert!(what.starts_with("interrupted") && what.contains(&dump) && hint.contains(&dump), "{what}; {hint}");
    assert!(notes.iter().any(|note| note.contains("waiting up to") && note.contains(&dump)), "{notes:?}");
}

fn put_pressure_on(disk: &Path) {
    let data = disk.join("data");
    fs::create_dir(&data).unwrap();
    let options = ServerOptions::with_config(&["save 3600 1000000"]);
    let server = RedisServer::start_with(ServerKind::Redis7, &data, options);
    let address = as_backup_user(&server);
    let noise = |seed: u64| -> Vec<u8> {
        let mut bytes = vec![0; 64 << 10];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    };
    let fill = |from: u64, to: u64| {
        for seed in from..to {
            redis::cmd("SET").arg(seed).arg(noise(seed)).exec(&mut server.connection()).unwrap();
        }
    };
    // Nothing to go by: all that the data take, for they may not compress.
    fill(0, 200);
    fs::write(disk.join("others"), vec![1; 22 << 20]).unwrap();
    let (what, _) = refusal(live_at(&address, &of_mode(Mode::Rdb)));
    assert!(what.contains("a save may need"), "{what}");
    order(&server, "SET still-writes 1");
    // A small dump tells nothing of what was added since.
    fs::remove_file(disk.join("others")).unwrap();
    order(&server, "FLUSHALL");
    live_at(&address, &of_mode(Mode::Rdb)).unwrap();
    fill(0, 200);
    fs::write(disk.join("others"), vec![1; 22 << 20]).unwrap();
    let (what, _) = refusal(live_at(&address, &of_mode(Mode::Rdb)));
    assert!(what.contains("a save may need"), "{what}");
    order(&server, "SET still-writes 2");

    // Others take the room meanwhile: that is told, and what the server does then.
    fs::remove_file(disk.join("others")).unwrap();
    order(&server, "CONFIG SET rdb-key-save-delay 15000");
    let (ended, notes) = thread::scope(|scope| {
        let capture = scope.spawn(|| noted(&server, &of_mode(Mode::Rdb), &|| false));
        wait_for_save(&server);
        // Up to the last byte.
        let full = fs::write(disk.join("others"), vec![1; 64 << 20]);
        assert!(full.is_err());
        capture.join().unwrap()
    });
    let (what, hint) = refusal(ended);
    assert!(what.contains("refuses all writes (MISCONF)"), "{what}");
    assert!(hint.contains("rdb_last_bgsave_status:err") && hint.contains("then BGSAVE"), "{hint}");
    assert!(notes.iter().any(|note| note.contains("may still need")), "{notes:?}");
    let refused = redis::cmd("SET").arg("more").arg(1).exec(&mut server.connection()).unwrap_err();
    assert!(refused.to_string().contains("MISCONF"), "{refused}");
    // As it says.
    fs::remove_file(disk.join("others")).unwrap();
    order(&server, "CONFIG SET rdb-key-save-delay 0");
    order(&server, "BGSAVE");
    wait_for("the save", || redis::cmd("SET").arg("more").arg(1).exec(&mut server.connection()).ok());
}

/// LIVE-6.
#[test]
fn a_save_for_which_there_may_be_no_room_is_not_asked_for_and_one_that_fails_says_what_follows() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let test =
        "live_truth::a_save_for_which_there_may_be_no_room_is_not_asked_for_and_one_that_fails_says_what_follows";
    crate::support::small_disk::on_a_small_disk(test, 32, put_pressure_on);
}
