//! Files that are not the server's, and dumps that are not kept: what looks like a capture and is none.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use redkeep::redis::server::{LiveOptions, Mode, Server, Watch, capture_server};
use redkeep::redis::{CaptureOptions, RedisError};

use crate::capture::{fact, materialise};
use crate::live::{as_backup_user, boot, live, live_at, of_mode, order, redis_7};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

fn get(server: &RedisServer, key: &str) -> Option<String> {
    redis::cmd("GET").arg(key).query(&mut server.connection()).unwrap()
}

fn set_save(server: &RedisServer, save: &str) {
    redis::cmd("CONFIG").arg("SET").arg("save").arg(save).exec(&mut server.connection()).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// An AOF that was put in place of the one the server writes to.
#[test]
fn an_older_aof_in_place_of_the_servers_is_not_captured() {
    let Some((dir, server)) = redis_7(&["appendonly yes"]) else { return };
    order(&server, "SET era old");
    let (own, older) = (dir.path().join("appendonlydir"), dir.path().join("older"));
    copy(&own, &older);
    order(&server, "SET era new");
    fs::rename(&own, dir.path().join("moved")).unwrap();
    fs::rename(&older, &own).unwrap();
    let refused = live_at(&as_backup_user(&server), &of_mode(Mode::Aof)).unwrap_err();
    assert!(refused.to_string().contains("does not write to the file that is there"), "{refused}");
    let captured = live(&server, &of_mode(Mode::Auto));
    assert_eq!(fact(&captured.capture, "capture.mode"), "rdb");
    let (copy, _) = materialise(&captured.capture);
    assert_eq!(get(&boot(ServerKind::Redis7, copy.path(), "rdb", &[]), "era").as_deref(), Some("new"));
}

#[test]
fn a_server_of_6_2_that_was_given_another_directory_is_captured_by_a_dump() {
    let kind = ServerKind::Redis62;
    if kind.is_skipped() {
        return;
    }
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&["appendonly yes"]));
    order(&server, "SET era old");
    fs::copy(dir.path().join("appendonly.aof"), other.path().join("appendonly.aof")).unwrap();
    order(&server, &format!("CONFIG SET dir {}", other.path().display()));
    order(&server, "SET era new");
    let captured = live(&server, &of_mode(Mode::Auto));
    let (copy, _) = materialise(&captured.capture);
    assert_eq!(fact(&captured.capture, "capture.mode"), "rdb");
    assert_eq!(get(&boot(kind, copy.path(), "rdb", &[]), "era").as_deref(), Some("new"));
}

/// A user who may not ask for settings cannot know that the server has come to save by itself.
#[test]
fn a_dump_is_not_taken_away_from_a_server_that_did_not_say_that_it_keeps_none() {
    let Some((dir, server)) = redis_7(&[]) else { return };
    order(&server, "SET a 1");
    set_save(&server, "3600 1");
    let address = as_backup_user(&server);
    order(&server, "ACL SETUSER backup -config|get");
    assert!(live_at(&address, &of_mode(Mode::Rdb)).unwrap().made.is_none());
    fs::remove_file(dir.path().join("dump.rdb")).unwrap();

    set_save(&server, "");
    order(&server, "SET a 2");
    let made = live(&server, &of_mode(Mode::Rdb)).made.expect("it said that it keeps none");
    set_save(&server, "3600 1");
    made.remove().unwrap();
    assert!(dir.path().join("dump.rdb").exists(), "it keeps them now");
}

#[test]
fn an_interrupted_capture_leaves_no_dump_that_would_be_loaded() {
    let Some((dir, server)) = redis_7(&[]) else { return };
    for key in 0..20 {
        order(&server, &format!("SET key:{key} 1"));
    }
    order(&server, "CONFIG SET rdb-key-save-delay 50000");
    let address = as_backup_user(&server);
    let looks = Cell::new(0);
    let interrupted = || {
        looks.set(looks.get() + 1);
        server.info().get("rdb_bgsave_in_progress") == Some("1")
    };
    let watch = Watch { say: &|_| {}, leaves: &|_| {}, note: &|_| {}, interrupted: &interrupted };
    let server_of = Server::connect(&address).unwrap();
    let ended = capture_server(server_of, &of_mode(Mode::Rdb), &CaptureOptions::default(), &watch);
    assert!(matches!(ended, Err(RedisError::Interrupted)), "{ended:?}");
    assert!(looks.get() > 0 && !dir.path().join("dump.rdb").exists());
    assert_eq!(server.info().get("rdb_bgsave_in_progress"), Some("0"), "it was waited for");
}

#[test]
fn a_replica_without_its_master_says_so() {
    let Some((_dir, replica)) = redis_7(&[]) else { return };
    order(&replica, "SET a 1");
    order(&replica, "REPLICAOF 127.0.0.1 1");
    let captured = live(&replica, &of_mode(Mode::Rdb));
    let codes: Vec<&str> = captured.capture.warnings.iter().map(|warning| warning.code.as_str()).collect();
    assert_eq!(codes, ["replica-link-down"]);
}

#[test]
fn where_the_aof_on_disk_is_broken_a_dump_is_captured() {
    let Some((dir, server)) = redis_7(&["appendonly yes"]) else { return };
    order(&server, "SET a 1");
    fs::remove_file(dir.path().join("appendonlydir/appendonly.aof.1.base.rdb")).unwrap();
    let captured = live(&server, &of_mode(Mode::Rdb));
    let codes: Vec<&str> = captured.capture.warnings.iter().map(|warning| warning.code.as_str()).collect();
    assert_eq!(codes, ["aof-incomplete"]);
    let (copy, _) = materialise(&captured.capture);
    assert_eq!(get(&boot(ServerKind::Redis7, copy.path(), "rdb", &[]), "a").as_deref(), Some("1"));
}

#[test]
fn a_user_without_a_password_is_not_the_default_user() {
    let Some((_dir, server)) = redis_7(&[]) else { return };
    as_backup_user(&server);
    let address = format!("redis://backup@127.0.0.1:{}", server.port()).parse().unwrap();
    assert!(matches!(live_at(&address, &LiveOptions::default()), Err(RedisError::Login { .. })));
    order(&server, "ACL SETUSER backup nopass");
    live_at(&address, &LiveOptions::default()).unwrap();
}

#[test]
fn a_pattern_that_leaves_out_the_dataset_is_refused_at_once() {
    let Some((_dir, server)) = redis_7(&["appendonly yes"]) else { return };
    order(&server, "SET a 1");
    let address = as_backup_user(&server);
    let begun = std::time::Instant::now();
    for (mode, pattern) in [(Mode::Aof, "*.incr.aof"), (Mode::Aof, "appendonlydir"), (Mode::Rdb, "*.rdb")] {
        let files = CaptureOptions { exclude: vec![pattern.into()], ..CaptureOptions::default() };
        let watch = Watch { say: &|_| {}, leaves: &|_| {}, note: &|_| {}, interrupted: &|| false };
        let error = capture_server(Server::connect(&address).unwrap(), &of_mode(mode), &files, &watch).unwrap_err();
        assert!(error.to_string().contains("pattern leaves"), "{pattern}: {error}");
    }
    assert!(begun.elapsed().as_secs() < 60, "nobody waits for what cannot come");
}

/// In a pid namespace of its own a server has another number than here, as in a container.
#[test]
fn a_server_that_counts_processes_otherwise_is_found_by_its_socket() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let socket = dir.path().join("s");
    let program = ServerKind::Redis7.executable();
    let start = |namespace: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(namespace).args(["--pid", "--fork", "--kill-child"]).arg(&program);
        command.args(["--port", "0", "--save", "", "--rename-command", "CONFIG", "", "--dir"]).arg(&data);
        command.arg("--unixsocket").arg(&socket).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let client = redis::Client::open(format!("redis+unix://{}", socket.display())).unwrap();
    // As root, or in a user namespace.
    let mut child = start(&[]);
    let answers = |child: &mut Child| {
        wait_for("the server, or its end", || match client.get_connection() {
            Ok(connection) => Some(Some(connection)),
            Err(_) => child.try_wait().unwrap().map(|_| None),
        })
    };
    let mut connection = answers(&mut child);
    if connection.is_none() {
        child = start(&["--user", "--map-root-user"]);
        connection = answers(&mut child);
    }
    let mut connection = connection.expect("unshare, of util-linux, makes a pid namespace");
    redis::cmd("SET").arg("a").arg(1).exec(&mut connection).unwrap();
    let info: String = redis::cmd("INFO").arg("server").query(&mut connection).unwrap();
    let told = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap().to_owned();
    assert!(told.parse::<u32>().unwrap() < 100, "it counts from the begin: {told}");
    let captured = live_at(&socket.to_str().unwrap().parse().unwrap(), &of_mode(Mode::Rdb));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(captured.unwrap().capture.directory, data.canonicalize().unwrap(), "its process shows where it works");
}
