//! The program is ended while a server sends it a dump.

use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::restore_server_program::Scene;
use crate::support::keyspace::Random;
use crate::support::server::wait_for;

/// A server in the midst of a dump that takes it some ten seconds, and the program that it is sent to.
fn midway() -> Option<(Scene, Child)> {
    let scene = Scene::new(&["repl-diskless-sync yes", "repl-diskless-sync-delay 0"])?;
    let mut fill = redis::pipe();
    for key in 0..4000 {
        fill.cmd("SET").arg(format!("sent:{key}")).arg(Random::new(key).bytes(2000));
    }
    fill.exec(&mut scene.server.connection()).unwrap();
    redis::cmd("CONFIG").arg(&["SET", "rdb-key-save-delay", "3000"]).exec(&mut scene.server.connection()).unwrap();
    let url = scene.server.url();
    let mut command = scene.command(&["backup", "--redis", &url, "--dataset", "sent", "--mode", "sync"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the dump to begin", || (scene.server.info().get("rdb_bgsave_in_progress") == Some("1")).then_some(()));
    Some((scene, child))
}

/// Nothing was stored, the server is rid of it, and the next one is whole.
fn goes_on(scene: &Scene) {
    let gone = || {
        let info = scene.server.info();
        (info.get("connected_slaves") == Some("0") && info.get("rdb_bgsave_in_progress") == Some("0")).then_some(())
    };
    redis::cmd("CONFIG").arg(&["SET", "rdb-key-save-delay", "0"]).exec(&mut scene.server.connection()).unwrap();
    wait_for("the server to be rid of it", gone);
    let listed = |what: &str| {
        let ran = scene.command(&["snapshots", "--dataset", "sent", "--json"]).output().unwrap();
        let text = String::from_utf8(ran.stdout).unwrap();
        assert!(text.contains(what), "{text}");
    };
    listed("no dataset is called sent");
    let url = scene.server.url();
    let ran = scene.command(&["backup", "--redis", &url, "--dataset", "sent", "--mode", "sync"]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    listed("\"dataset\":\"sent\"");
}

#[test]
fn an_interrupted_backup_lets_go_of_the_server_and_stores_nothing() {
    let Some((scene, child)) = midway() else { return };
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let ran = child.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(130), "{}", String::from_utf8_lossy(&ran.stderr));
    goes_on(&scene);
}

#[test]
fn a_killed_backup_lets_go_of_the_server_and_stores_nothing() {
    let Some((scene, mut child)) = midway() else { return };
    child.kill().unwrap();
    child.wait().unwrap();
    goes_on(&scene);
}
