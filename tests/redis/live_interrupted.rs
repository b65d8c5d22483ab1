//! The program is ended while a server saves that keeps no dumps.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::restore_server_program::Scene;

/// LIVE-5.
#[test]
fn a_second_interruption_says_that_a_dump_will_appear_and_what_to_delete() {
    let Some(scene) = Scene::new(&[]) else { return };
    std::fs::remove_file(scene.directory().join("dump.rdb")).unwrap();
    // A save that nobody sees the end of.
    redis::cmd("CONFIG").arg(&["SET", "rdb-key-save-delay", "1000000"]).exec(&mut scene.server.connection()).unwrap();
    redis::cmd("SET").arg("more").arg("1").exec(&mut scene.server.connection()).unwrap();
    let url = scene.server.url();
    let mut command = scene.command(&["backup", "--redis", &url, "--dataset", "live"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let process = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let interrupt = || kill_process(process, Signal::INT).unwrap();
    crate::support::server::wait_for("the save to begin", || {
        (scene.server.info().get("rdb_bgsave_in_progress") == Some("1")).then_some(())
    });
    interrupt();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("waiting up to") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended");
    }
    // Two that come as one are one: after a while another is sent, long before the wait is over.
    while child.try_wait().unwrap().is_none() {
        interrupt();
        let sent = Instant::now();
        while sent.elapsed() < Duration::from_secs(8) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    let dump = scene.directory().join("dump.rdb").display().to_string();
    let hint = rest.lines().find(|line| line.starts_with("hint: ")).unwrap_or_else(|| panic!("{rest}"));
    assert!(rest.contains("redkeep: interrupted"), "{rest}");
    assert!(hint.contains(&dump) && hint.contains("will appear") && hint.contains("delete "), "{hint}");
}
