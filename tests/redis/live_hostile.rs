//! What happens to a server while it is captured, and captures that must not succeed: never a stale dataset for a good one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use redkeep::redis::RedisError;
use redkeep::redis::server::{Address, LiveCapture, LiveOptions, Mode, WhereOptions};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::capture::{fact, materialise, materialise_clean};
use crate::live::{as_backup_user, boot, live, live_at, of_mode, order, redis_7};
use crate::support::keyspace::Keyspace;
use crate::support::program::copy_program;
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

fn ask(server: &RedisServer, line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    redis::cmd(words[0]).arg(&words[1..]).query(&mut server.connection()).unwrap()
}

/// A value in a captured dataset.
pub fn captured_value(kind: ServerKind, captured: &LiveCapture, key: &str) -> Option<String> {
    let (copy, _) = materialise(&captured.capture);
    ask(&boot(kind, copy.path(), fact(&captured.capture, "capture.mode"), &[]), &format!("GET {key}"))
}

fn fill(server: &RedisServer, keys: usize) {
    let mut pipe = redis::pipe();
    for key in 0..keys {
        pipe.cmd("SET").arg(format!("key:{key}")).arg(key).ignore();
    }
    pipe.exec(&mut server.connection()).unwrap();
}

#[test]
fn an_aof_that_is_turned_off_and_on_is_captured_only_when_it_is_live_again() {
    for kind in ServerKind::ALL {
        if kind.is_skipped() {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&["appendonly yes"]));
        fill(&server, 100);
        order(&server, "SET era old");
        order(&server, "CONFIG SET appendonly no");
        order(&server, "SET era new");
        order(&server, "CONFIG SET rdb-key-save-delay 5000");
        order(&server, "CONFIG SET appendonly yes");
        for mode in [Mode::Auto, Mode::Aof] {
            let captured = live(&server, &of_mode(mode));
            assert_eq!(captured_value(kind, &captured, "era").as_deref(), Some("new"), "{} {mode:?}", kind.name());
        }
    }
}

#[test]
fn a_replica_that_is_filled_anew_is_captured_as_it_was_or_as_it_became() {
    let Some((_master_dir, master)) = redis_7(&["rdb-key-save-delay 3000", "repl-diskless-sync-delay 0"]) else {
        return;
    };
    let Some((_dir, replica)) = redis_7(&["appendonly yes"]) else { return };
    fill(&master, 100);
    order(&master, "SET era new");
    order(&replica, "SET era old");
    let address = as_backup_user(&replica);
    let era = |server: &RedisServer| {
        let words = redis::cmd("GET").arg("era").query::<Option<String>>(&mut server.connection());
        // While it loads it answers nothing.
        words.ok().flatten()
    };
    order(&replica, "CONFIG SET rdb-key-save-delay 3000");
    order(&replica, &format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let (mut turns, mut seen_new) = (0, 0);
    while seen_new < 3 {
        let before = era(&replica);
        let captured = live_at(&address, &of_mode(Mode::Auto));
        turns += 1;
        assert!(turns < 200, "the replica is never filled");
        let Ok(captured) = captured else { continue };
        let value = captured_value(ServerKind::Redis7, &captured, "era");
        if before.as_deref() == Some("new") {
            assert_eq!(value.as_deref(), Some("new"), "capture {turns} is stale");
            seen_new += 1;
        } else {
            assert!(value.is_some(), "capture {turns}");
        }
    }
}

/// A server whose next save takes a while, with an older dump on disk.
fn slow_saver() -> Option<(TempDir, RedisServer)> {
    let (dir, server) = redis_7(&[])?;
    fill(&server, 50);
    order(&server, "SET era old");
    order(&server, "SAVE");
    order(&server, "SET era new");
    order(&server, "CONFIG SET rdb-key-save-delay 20000");
    Some((dir, server))
}

fn wait_for_save(server: &RedisServer) {
    wait_for("the save to begin", || (server.info().get("rdb_bgsave_in_progress") == Some("1")).then_some(()));
}

#[test]
fn a_flushall_during_the_save_gives_a_dump_of_what_is_left() {
    let Some((_dir, server)) = slow_saver() else { return };
    let captured = thread::scope(|scope| {
        let capture = scope.spawn(|| live(&server, &of_mode(Mode::Rdb)));
        wait_for_save(&server);
        order(&server, "FLUSHALL");
        order(&server, "SET era after");
        capture.join().unwrap()
    });
    assert_eq!(captured_value(ServerKind::Redis7, &captured, "era").as_deref(), Some("after"));
}

#[test]
fn a_save_that_is_killed_is_asked_for_again() {
    let Some((_dir, server)) = slow_saver() else { return };
    let captured = thread::scope(|scope| {
        let capture = scope.spawn(|| live(&server, &of_mode(Mode::Rdb)));
        wait_for_save(&server);
        let children = PathBuf::from(format!("/proc/{0}/task/{0}/children", server.pid()));
        let child = wait_for("the child process", || {
            fs::read_to_string(&children).unwrap().split_whitespace().next().map(str::to_owned)
        });
        order(&server, "CONFIG SET rdb-key-save-delay 0");
        kill_process(Pid::from_raw(child.parse().unwrap()).unwrap(), Signal::USR1).unwrap();
        capture.join().unwrap()
    });
    assert_eq!(captured_value(ServerKind::Redis7, &captured, "era").as_deref(), Some("new"));
}

#[test]
fn saves_in_one_second_are_told_apart() {
    let Some((_dir, server)) = redis_7(&[]) else { return };
    for turn in 0..6 {
        order(&server, &format!("SET era {turn}"));
        let captured = live(&server, &of_mode(Mode::Rdb));
        assert_eq!(captured_value(ServerKind::Redis7, &captured, "era"), Some(turn.to_string()));
    }
}

#[test]
fn without_changes_no_save_is_asked_for_and_a_dump_may_be_taken_as_it_is() {
    let Some((_dir, server)) = redis_7(&["save 3600 1"]) else { return };
    fill(&server, 10);
    live(&server, &of_mode(Mode::Rdb));
    let saves = server.info().number("rdb_saves");
    let captured = live(&server, &of_mode(Mode::Rdb));
    assert_eq!(server.info().number("rdb_saves"), saves);
    assert!(captured.moment.is_some() && captured.made.is_none());

    order(&server, "SET era new");
    let there = LiveOptions { mode: Mode::Rdb, no_save: true, ..LiveOptions::default() };
    let captured = live(&server, &there);
    assert_eq!(server.info().number("rdb_saves"), saves);
    assert_eq!(captured_value(ServerKind::Redis7, &captured, "era"), None);
    let server_time = || redis::cmd("TIME").query::<(u64, u64)>(&mut server.connection()).unwrap().0;
    let saved = server.info().number("rdb_last_save_time");
    wait_for("the dump to grow old", || (server_time() > saved + 1).then_some(()));
    let young = LiveOptions { max_age: Some(std::time::Duration::ZERO), ..there };
    refused(live_at(&as_backup_user(&server), &young), "was saved");
}

/// LIVE-9.
#[test]
fn what_a_server_evicted_since_its_save_is_not_in_its_snapshot() {
    for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
        let dir = tempfile::tempdir().unwrap();
        let server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&[]));
        order(&server, "SET kept 1");
        order(&server, "SET cached 1 EX 1000");
        order(&server, "SAVE");
        order(&server, "CONFIG SET maxmemory-policy volatile-ttl");
        order(&server, "CONFIG SET maxmemory 1");
        wait_for("the eviction", || (server.info().number("evicted_keys") == 1).then_some(()));
        order(&server, "CONFIG SET maxmemory 0");
        assert_eq!(server.info().number("rdb_changes_since_last_save"), 0, "{}", kind.name());
        let captured = live(&server, &of_mode(Mode::Rdb));
        let values = ["kept", "cached"].map(|key| captured_value(kind, &captured, key));
        assert_eq!(values, [Some("1".into()), None], "{}", kind.name());
    }
}

/// LIVE-9: a replica counts no change when it is sent a dataset; servers before 7.0 none when they become a master, later ones
/// not by a failover of a cluster.
#[test]
fn what_a_replica_or_a_later_master_was_sent_is_captured_and_not_what_it_saved_before() {
    let kind = ServerKind::Redis62;
    if kind.is_skipped() {
        return;
    }
    for becomes_master in [false, true] {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let config = ["repl-diskless-sync yes", "repl-diskless-sync-delay 0", "repl-diskless-load swapdb"];
        let start = |dir: &TempDir| RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&config));
        let [master, replica] = [&dirs[0], &dirs[1]].map(start);
        order(&master, "SET era new");
        order(&replica, "SET era old");
        order(&replica, "SAVE");
        order(&replica, &format!("REPLICAOF 127.0.0.1 {}", master.port()));
        wait_for("the link", || (replica.info().get("master_link_status") == Some("up")).then_some(()));
        if becomes_master {
            order(&replica, "REPLICAOF NO ONE");
        }
        assert_eq!(replica.info().number("rdb_changes_since_last_save"), 0);
        let captured = live(&replica, &of_mode(Mode::Rdb));
        assert_eq!(captured_value(kind, &captured, "era").as_deref(), Some("new"), "{becomes_master}");
    }
}

#[track_caller]
fn refused(captured: Result<LiveCapture, RedisError>, why: &str) {
    match captured {
        Err(error @ RedisError::Server { .. }) => assert!(error.to_string().contains(why), "{error}"),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_dump_made_for_the_capture_is_removed_where_the_server_keeps_none() {
    let Some((dir, server)) = redis_7(&[]) else { return };
    order(&server, "SET a 1");
    let made = live(&server, &of_mode(Mode::Auto)).made.expect("there was none");
    order(&server, "SAVE");
    made.remove().unwrap();
    assert!(dir.path().join("dump.rdb").exists(), "that one is another");
    fs::remove_file(dir.path().join("dump.rdb")).unwrap();
    order(&server, "SET a 2");
    live(&server, &of_mode(Mode::Auto)).made.expect("there was none").remove().unwrap();
    assert!(!dir.path().join("dump.rdb").exists());
}

#[test]
fn names_and_directory_are_found_where_config_is_denied() {
    let names = ["dbfilename state.rdb", "appendfilename log.aof", "appenddirname logs"];
    for aof in ["appendonly no", "appendonly yes"] {
        let config = [&names[..], &["rename-command CONFIG \"\"", aof]].concat();
        let Some((_dir, server)) = redis_7(&config) else { return };
        Keyspace::new(36, 100).fill(&server);
        let captured = live(&server, &of_mode(Mode::Auto));
        let expected = if aof.ends_with("yes") { ["aof", "log.aof"] } else { ["rdb", ""] };
        assert_eq!(["capture.mode", "aof.name"].map(|name| fact(&captured.capture, name)), expected);
        let copy = materialise_clean(&captured.capture);
        let restored = boot(ServerKind::Redis7, copy.path(), expected[0], &names);
        assert_eq!(ask(&restored, "DBSIZE"), ask(&server, "DBSIZE"));
    }
}

#[test]
fn the_directory_of_another_server_is_refused() {
    let Some((_dir, one)) = redis_7(&["appendonly yes"]) else { return };
    let Some((other_dir, other)) = redis_7(&["appendonly yes"]) else { return };
    for server in [&one, &other] {
        fill(server, 5);
        order(server, "SAVE");
    }
    for mode in [Mode::Auto, Mode::Rdb, Mode::Aof, Mode::Files] {
        let place = WhereOptions { directory: Some(other_dir.path().into()), maps: Vec::new() };
        let options = LiveOptions { mode, place, ..LiveOptions::default() };
        refused(live_at(&as_backup_user(&one), &options), "is not shown to be the server's directory");
    }
}

/// A server whose process does not look like one, as behind the wall of a container.
struct Hidden {
    child: Child,
    dir: TempDir,
}

impl Hidden {
    fn start(config: &[&str]) -> Option<Self> {
        if ServerKind::Redis7.is_skipped() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        let program = dir.path().join("cached");
        copy_program(&ServerKind::Redis7.executable(), &program);
        let mut command = Command::new(program);
        command.args(["--port", "0", "--save", "", "--dir"]).arg(&data).arg("--unixsocket").arg(dir.path().join("s"));
        let child = command.args(config).stdout(Stdio::null()).spawn().unwrap();
        let hidden = Self { child, dir };
        wait_for("the server to answer", || hidden.try_order("PING").ok());
        Some(hidden)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn address(&self) -> Address {
        self.socket().to_str().unwrap().parse().unwrap()
    }

    fn try_order(&self, line: &str) -> redis::RedisResult<()> {
        let client = redis::Client::open(format!("redis+unix://{}", self.socket().display()))?;
        let words: Vec<&str> = line.split_whitespace().collect();
        redis::cmd(words[0]).arg(&words[1..]).exec(&mut client.get_connection()?)
    }

    fn options(&self, mode: Mode, directory: &Path) -> LiveOptions {
        let maps = vec![(self.data(), directory.to_owned())];
        LiveOptions { mode, place: WhereOptions { directory: None, maps }, ..LiveOptions::default() }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_whose_process_cannot_be_seen_is_known_by_what_it_does_to_its_directory() {
    let config = ["--appendonly", "yes"];
    let (Some(one), Some(other)) = (Hidden::start(&config), Hidden::start(&config)) else { return };
    for server in [&one, &other] {
        server.try_order("SET a 1").unwrap();
    }
    let tail = |directory: &Path| LiveOptions { tail: true, ..one.options(Mode::Auto, directory) };
    for mode in [Mode::Auto, Mode::Rdb, Mode::Aof] {
        refused(
            live_at(&one.address(), &one.options(mode, &other.data())),
            "is not shown to be the server's directory",
        );
        live_at(&one.address(), &one.options(mode, &one.data())).unwrap();
    }
    // Two files of about the same size could be taken for each other, whatever is written to them.
    other.try_order(&format!("SET apart {}", "x".repeat(1 << 20))).unwrap();
    // A server that writes nothing shows nothing without a save.
    refused(live_at(&one.address(), &tail(&one.data())), "did not grow");
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for server in [&one, &other] {
            let stop = &stop;
            scope.spawn(move || {
                let client = redis::Client::open(format!("redis+unix://{}", server.socket().display())).unwrap();
                let mut connection = client.get_connection().unwrap();
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    redis::cmd("INCR").arg("a").exec(&mut connection).unwrap();
                }
            });
        }
        let is_shown = (0..8).any(|_| live_at(&one.address(), &tail(&one.data())).is_ok());
        let taken = (0..4).filter(|_| live_at(&one.address(), &tail(&other.data())).is_ok()).count();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(is_shown, "its own directory was never shown to be its own");
        assert_eq!(taken, 0, "the other's directory was taken for its own");
    });
}

#[test]
fn an_online_replica_is_captured_in_place_of_its_master_where_that_is_preferred() {
    let Some((_master_dir, master)) = redis_7(&["repl-diskless-sync-delay 0"]) else { return };
    let prefer = LiveOptions { prefer_replica: true, ..LiveOptions::default() };
    order(&master, "SET era new");
    assert_eq!(fact(&live(&master, &prefer).capture, "server.role"), "master", "there is no replica");

    let Some((replica_dir, replica)) = redis_7(&[]) else { return };
    as_backup_user(&replica);
    order(&replica, &format!("REPLICAOF 127.0.0.1 {}", master.port()));
    wait_for("the replica", || {
        let online =
            |info: &crate::support::server::Info| info.get("slave0").is_some_and(|it| it.contains("state=online"));
        (online(&master.info()) && replica.info().get("master_link_status") == Some("up")).then_some(())
    });
    let captured = live(&master, &prefer);
    assert_eq!(fact(&captured.capture, "server.role"), "slave");
    assert_eq!(captured.capture.directory, replica_dir.path().canonicalize().unwrap());
    assert_eq!(captured_value(ServerKind::Redis7, &captured, "era").as_deref(), Some("new"));
}
