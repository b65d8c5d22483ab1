//! Where a restore, or the dry run of one, reads a whole AOF, a person sees how far it is, and can end it.

use std::fs;
use std::sync::Mutex;

use redkeep::operations::restore::{self, From, locate, restore_at};
use redkeep::operations::timeline::{Search, before_command};
use redkeep::operations::{Observer, OperationError};
use redkeep::repository::{Repository, RepositoryError};
use tempfile::TempDir;

use crate::restore_server::{Captured, Victim, take};
use crate::support::repository::{Hands, back_up, create, memory};
use crate::support::server::ServerKind;

/// Listens, and wants to stop once some of the work of a name was done.
#[derive(Default)]
struct Listener {
    heard: Mutex<Vec<(String, Option<u64>, u64)>>,
    stop_in: Option<&'static str>,
}

impl Listener {
    /// Bytes that were announced for the last work of a name, and bytes that were done.
    fn of(&self, name: &str) -> Option<(u64, u64)> {
        let heard = self.heard.lock().unwrap();
        heard.iter().rev().find(|(what, ..)| what == name).map(|(_, bytes, done)| (bytes.unwrap(), *done))
    }
}

impl Observer for Listener {
    fn begin(&self, what: &str, bytes: Option<u64>) {
        self.heard.lock().unwrap().push((what.into(), bytes, 0));
    }

    fn advance(&self, bytes: u64) {
        if let Some((_, _, done)) = self.heard.lock().unwrap().last_mut() {
            *done += bytes;
        }
    }

    fn interrupted(&self) -> bool {
        self.stop_in.is_some_and(|name| self.of(name).is_some_and(|(_, done)| done > 0))
    }
}

fn stops_in(name: &'static str) -> Listener {
    Listener { stop_in: Some(name), ..Listener::default() }
}

fn is_interrupted<T>(result: &Result<T, OperationError>) -> bool {
    matches!(result, Err(OperationError::Repository(RepositoryError::Interrupted)))
}

/// A repository with the AOF of a directory: 4 MiB of commands, and then FLUSHALL.
fn flushed() -> (TempDir, Repository, u64) {
    let directory = tempfile::tempdir().unwrap();
    let aof = directory.path().join("appendonlydir");
    fs::create_dir(&aof).unwrap();
    let value = "x".repeat(4096);
    let mut commands: String =
        (0..1000).map(|key| format!("*3\r\n$3\r\nSET\r\n$4\r\n{:04}\r\n$4096\r\n{value}\r\n", key)).collect();
    commands.push_str("*1\r\n$8\r\nFLUSHALL\r\n");
    fs::write(aof.join("a.aof.1.incr.aof"), &commands).unwrap();
    fs::write(aof.join("a.aof.manifest"), "file a.aof.1.incr.aof seq 1 type i\n").unwrap();
    let repository = create(memory(), &Hands::new(9));
    back_up(&repository, directory.path(), "sessions").unwrap();
    (directory, repository, commands.len() as u64)
}

#[test]
fn looking_for_a_command_shows_how_far_it_is_and_ends_when_asked() {
    let (place, repository, bytes) = flushed();
    let words = vec![b"FLUSHALL".to_vec()];
    let search = Search { words, snapshot: None, dataset: None };
    let listener = Listener::default();
    let (picked, found) = before_command(&repository, &search, &listener).unwrap();
    assert_eq!(listener.of("looking into the AOF"), Some((bytes, bytes)));
    assert!(is_interrupted(&before_command(&repository, &search, &stops_in("looking into the AOF"))));

    let goal = picked.goal.as_ref().unwrap();
    assert_eq!(locate(&repository, &picked.chosen.snapshot, goal, &listener).unwrap(), found);
    // The restore itself looks again, on what it wrote.
    let target = place.path().join("back");
    let options = restore::Options { from: Some(From::Aof), ..restore::Options::new(target.clone()) };
    let stopped =
        restore_at(&repository, &picked.chosen, &options, Some(goal), &stops_in("looking for where to cut the AOF"));
    assert!(is_interrupted(&stopped) && !target.exists());
    let (_, cut) = restore_at(&repository, &picked.chosen, &options, Some(goal), &listener).unwrap();
    assert_eq!((cut, listener.of("looking for where to cut the AOF")), (Some(found), Some((bytes, bytes))));
}

#[test]
fn a_dry_run_into_a_server_shows_how_far_it_is_and_ends_when_asked() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let taken = take(ServerKind::Redis7, Captured::Aof, &[]);
    let mut victim = Victim::start(ServerKind::Redis7, &["appendonly yes"]);
    victim.options.dry_run = true;
    let reading = "reading what is needed";
    let listener = Listener::default();
    let report = victim.restore_watched(&taken, &listener).unwrap();
    assert!(report.dry_run);
    assert!(listener.of(reading).is_some_and(|(bytes, done)| bytes > 0 && done == bytes));
    assert!(is_interrupted(&victim.restore_watched(&taken, &stops_in(reading))));
    assert_eq!(victim.holds(), victim.old);
}
