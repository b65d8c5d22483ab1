//! The program, or the server, is ended while there is a dump of a server that keeps none.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redkeep::operations::Observer;
use redkeep::operations::backup::{Options, backup};
use redkeep::operations::source::{LiveSource, Source, Way};
use redkeep::redis::server::Mode;
use rustix::process::{Pid, Signal, kill_process};

use crate::live::{as_backup_user, of_mode, order, redis_7};
use crate::restore_server_program::Scene;
use crate::support::repository::{Hands, create, memory};
use crate::support::server::RedisServer;

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

/// Kills a server when what it holds is being stored, and may interrupt then.
struct Kills {
    server: Mutex<RedisServer>,
    interrupts: bool,
    killed: AtomicBool,
    said: Mutex<String>,
}

impl Observer for Kills {
    fn begin(&self, what: &str, _: Option<u64>) {
        if what == "backing up" {
            self.server.lock().unwrap().kill();
            self.killed.store(true, Ordering::Relaxed);
        }
    }
    fn remark(&self, what: &str) {
        self.said.lock().unwrap().push_str(what);
    }
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        self.interrupts && self.killed.load(Ordering::Relaxed)
    }
}

/// LIVE-5.
#[test]
fn a_dump_that_cannot_be_taken_away_is_told_whether_or_not_there_is_a_snapshot() {
    for interrupts in [false, true] {
        let Some((dir, server)) = redis_7(&["save \"\""]) else { return };
        order(&server, "SET a 1");
        let options = of_mode(Mode::Rdb);
        let source = LiveSource { address: as_backup_user(&server), options, way: Way::Files };
        let options = Options { source: Source::Server(Box::new(source)), ..Options::default() };
        let (server, killed, said) = (Mutex::new(server), AtomicBool::new(false), Mutex::default());
        let observer = Kills { server, interrupts, killed, said };
        let report = backup(&create(memory(), &Hands::new(79)), &options, &observer);
        assert_eq!(report.is_err(), interrupts);
        let told = report.map_or_else(|_| observer.said.into_inner().unwrap(), |report| report.left_behind.unwrap());
        let dump = dir.path().join("dump.rdb");
        assert!(dump.exists() && told.contains(&format!("the server made {} for this", dump.display())), "{told}");
    }
}
