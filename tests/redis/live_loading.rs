//! A server that loads its AOF says that it has none: what is captured then is what it serves once it has loaded.

use std::path::Path;

use redkeep::redis::server::{LiveCapture, LiveOptions, Mode};
use tempfile::TempDir;

use crate::capture::{codes, fact, materialise};
use crate::live::{as_backup_user, boot, live_at, of_mode, order};
use crate::restore_server_program::Scene;
use crate::support::server::{Info, RedisServer, ServerKind, ServerOptions, wait_for};

/// Keys of which only the AOF knows. A server that loads them looks up from that every 1024 at most, and a connection needs
/// two answers before it is told anything.
const KEYS: usize = 8000;

/// What a killed server leaves: a dump of long ago, with one key, and an AOF with all.
fn left_by(kind: ServerKind) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&["appendonly yes"]));
    order(&server, "SET old 1");
    order(&server, "SAVE");
    let mut pipe = redis::pipe();
    for key in 1..KEYS {
        pipe.cmd("SET").arg(format!("key:{key}")).arg(key).ignore();
    }
    pipe.exec(&mut server.connection()).unwrap();
    server.kill();
    dir
}

/// A server that is loading it.
fn loading(kind: ServerKind, data: &Path) -> RedisServer {
    spawn_loading(kind, data, &["appendonly yes", "key-load-delay 200"])
}

fn spawn_loading(kind: ServerKind, data: &Path, lines: &[&str]) -> RedisServer {
    let server = RedisServer::spawn(kind, data, ServerOptions::with_config(lines));
    wait_for("the server", || {
        let info = Info::of(&mut server.client().get_connection().ok()?).ok()?;
        (info.get("loading") == Some("1") && info.get("aof_enabled") == Some("0")).then_some(())
    });
    server
}

fn holds_all(kind: ServerKind, captured: &LiveCapture) {
    let (copy, _) = materialise(&captured.capture);
    let server = boot(kind, copy.path(), "aof", &[]);
    assert_eq!(redis::cmd("DBSIZE").query::<usize>(&mut server.connection()).unwrap(), KEYS, "{}", kind.name());
}

/// LIVE-10
#[test]
fn a_server_that_loads_its_aof_is_captured_once_it_has() {
    for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
        let dir = left_by(kind);
        let unsaved = LiveOptions { no_save: true, ..LiveOptions::default() };
        let tail = LiveOptions { tail: true, ..LiveOptions::default() };
        let is_usual = kind == ServerKind::Redis7;
        let ways = [LiveOptions::default(), of_mode(Mode::Aof), unsaved, tail];
        for options in ways.iter().take(if is_usual { 4 } else { 1 }) {
            let server = loading(kind, dir.path());
            let captured = live_at(&as_backup_user(&server), options).unwrap();
            let facts = (fact(&captured.capture, "capture.mode"), fact(&captured.capture, "server.appendonly"));
            assert_eq!((facts, codes(&captured.capture)), (("aof", "yes"), vec![]), "{} {options:?}", kind.name());
            holds_all(kind, &captured);
        }
        if is_usual {
            let server = loading(kind, dir.path());
            let captured = live_at(&as_backup_user(&server), &of_mode(Mode::Files)).unwrap();
            assert_eq!(fact(&captured.capture, "server.appendonly"), "yes");
            // Who still loads writes to no file.
            assert!([&[][..], &["aof-not-written"]].contains(&&codes(&captured.capture)[..]));
            holds_all(kind, &captured);
        }
    }
}

fn stop(scene: &Scene) {
    // It closes the connection in place of an answer.
    let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").query::<redis::Value>(&mut scene.server.connection());
    wait_for("its end", || (!scene.is_running()).then_some(()));
}

/// LIVE-10
#[test]
fn a_server_that_loads_its_data_is_restored_into_and_undone_once_it_has() {
    for aof in ["appendonly yes", "appendonly no"] {
        let Some(mut scene) = Scene::new(&[aof]) else { return };
        let mut pipe = redis::pipe();
        for key in 0..KEYS {
            pipe.cmd("SET").arg(format!("more:{key}")).arg(key).ignore();
        }
        pipe.exec(&mut scene.server.connection()).unwrap();
        order(&scene.server, "SAVE");
        scene.old = scene.holds();
        scene.server.kill();
        let begin_again = |scene: &mut Scene| {
            let lines = [aof, "key-load-delay 200", "loading-process-events-interval-bytes 1024"];
            scene.server = spawn_loading(ServerKind::Redis7, scene.data.path(), &lines);
        };
        begin_again(&mut scene);
        let url = scene.url();
        let plan = scene.done(&["restore", &url, "--dry-run"]).stdout;
        assert!(plan.contains("would restore snapshot "), "{plan}");
        scene.old.assert_equal(&scene.holds(), "loaded by then");
        stop(&scene);
        begin_again(&mut scene);
        let url = scene.url();
        let ran = scene.done(&["restore", &url, "--yes"]);
        assert!(ran.stdout.contains("keys, as in the snapshot"), "{}", ran.stdout);
        scene.new.assert_equal(&scene.holds(), "restored");
        stop(&scene);
        begin_again(&mut scene);
        let url = scene.url();
        scene.done(&["undo", &url, "--yes"]);
        scene.old.assert_equal(&scene.holds(), "undone");
    }
}
