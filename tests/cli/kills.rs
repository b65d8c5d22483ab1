//! Commands that are killed at any moment. After a restore or undo the target holds the old or the new directory, whole,
//! and what comes next goes on from there: LOCAL-7, LOCAL-8, LOCAL-9. Whatever else is killed, every snapshot that was
//! reported restores bit for bit.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::place::{Place, noise, objects, tree};

type Tree = Vec<(PathBuf, Vec<u8>)>;

struct Sweep {
    place: Place,
    old: Tree,
    new: Tree,
}

const RESTORE: &[&str] = &["restore", "--target", "back", "--replace-anything"];
const UNDO: &[&str] = &["undo", "back"];

impl Sweep {
    fn new() -> Sweep {
        let place = Place::with_repository();
        fs::write(place.data().join("large.bin"), noise(2, 6_000_000)).unwrap();
        for number in 0..9 {
            fs::write(place.data().join(format!("modules/{number}")), noise(number, 5_000)).unwrap();
        }
        place.backup();
        let new = tree(&place.data());
        let sweep = Sweep { place, old: vec![("precious".into(), b"x".to_vec())], new };
        sweep.reset();
        sweep
    }

    /// The old directory stands there and nothing is beside it.
    fn reset(&self) {
        for name in self.beside().iter().map(String::as_str).chain(["back"]) {
            let path = self.place.path(name);
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
        fs::create_dir(self.place.path("back")).unwrap();
        fs::write(self.place.path("back/precious"), "x").unwrap();
    }

    fn beside(&self) -> Vec<String> {
        let entries = fs::read_dir(self.place.path(".")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".redkeep-")).collect()
    }

    fn kill(&self, arguments: &[&str], after: Duration) {
        let mut child = self.place.command(arguments).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Whether the new directory stands there; anything else than that and the old one is a failure.
    fn is_new(&self) -> bool {
        let now = tree(&self.place.path("back"));
        assert!(now == self.old || now == self.new, "{:?}", now.iter().map(|(path, _)| path).collect::<Vec<_>>());
        now == self.new
    }

    fn time(&self, arguments: &[&str]) -> Duration {
        let begin = Instant::now();
        self.place.done(arguments);
        begin.elapsed()
    }
}

#[test]
fn a_killed_restore_leaves_the_old_or_the_new_directory_and_can_be_repeated_and_undone() {
    let sweep = Sweep::new();
    let whole = sweep.time(RESTORE);
    for step in 0..16 {
        sweep.reset();
        sweep.kill(RESTORE, whole * step / 14);
        if !sweep.is_new() {
            sweep.place.done(RESTORE);
            assert!(sweep.is_new());
        }
        sweep.place.done(UNDO);
        assert!(!sweep.is_new());
        assert!(sweep.beside().iter().all(|name| name.starts_with(".redkeep-aside-")), "{:?}", sweep.beside());
    }
}

#[test]
fn a_killed_undo_was_done_or_was_not_and_can_be_repeated() {
    let sweep = Sweep::new();
    sweep.place.done(RESTORE);
    let whole = sweep.time(UNDO);
    for step in 0..20 {
        let before = sweep.is_new();
        sweep.kill(UNDO, whole * step / 18);
        let after = sweep.is_new();
        sweep.place.done(UNDO);
        assert_ne!(sweep.is_new(), after);
        sweep.place.done(UNDO);
        assert_eq!(sweep.is_new(), after);
        // Both sides of the exchange are killed in their turn.
        if before == after && step % 2 == 0 {
            sweep.place.done(UNDO);
        }
    }
}

/// A repository that is used by commands which are killed, and what each reported snapshot has to hold.
struct Used {
    place: Place,
    /// Those that nobody began to forget.
    reported: VecDeque<(String, Tree)>,
    changes: u64,
}

const BACKUP: &[&str] = &["backup", "data", "--dataset", "sessions"];
/// After a second what was condemned is due, and what was forgotten is no root any more.
const PRUNE: &[&str] = &["prune", "--grace", "1s", "--max-unused", "0"];
const REPAIR: &[&str] = &["check", "--read-data", "--repair"];

/// Parts of a time that do not repeat.
fn part(of: Duration, round: u32) -> Duration {
    of * (round * 37 % 101) / 100
}

impl Used {
    fn new() -> Used {
        let place = Place::with_tiny_repository();
        fs::write(place.data().join("modules/table.bin"), noise(1, 40_000)).unwrap();
        let mut used = Used { place, reported: VecDeque::new(), changes: 0 };
        for _ in 0..9 {
            used.back_up();
        }
        used
    }

    /// A file is replaced, one of five in turn, and a few bytes of a long one.
    fn change(&mut self) {
        self.changes += 1;
        let path = self.place.data().join(format!("modules/{}", self.changes % 5));
        fs::write(path, [noise(self.changes, 4_000), b"of text, and again ".repeat(100)].concat()).unwrap();
        let path = self.place.data().join("modules/table.bin");
        let mut table = fs::read(&path).unwrap();
        for start in [10_000, 10_000 + self.changes as usize * 500 % 29_000] {
            table[start..start + 20].copy_from_slice(&noise(self.changes, 20));
        }
        fs::write(path, table).unwrap();
    }

    /// A backup that is not killed, and remembered.
    fn back_up(&mut self) {
        self.change();
        let id = self.place.backup();
        self.reported.push_back((id, tree(&self.place.data())));
    }

    /// A day and more passes, by the clock of the store: of a local one the times of its files.
    fn age(&self) {
        for path in objects(&self.place, "") {
            let file = fs::File::open(path).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            file.set_modified(modified - Duration::from_secs(30 * 60 * 60)).unwrap();
        }
    }

    /// How long it takes when it is not killed.
    fn time(&self, arguments: &[&str]) -> Duration {
        let begin = Instant::now();
        self.place.ends(0, arguments);
        begin.elapsed()
    }

    fn kill(&self, arguments: &[&str], after: Duration) {
        let mut child = self.place.command(arguments).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn assert_restores(&self, number: usize) {
        let (id, expected) = &self.reported[number];
        self.place.done(&["restore", id, "--target", "back"]);
        assert!(tree(&self.place.path("back")) == *expected, "{id}");
        fs::remove_dir_all(self.place.path("back")).unwrap();
        // Nothing is set aside, as no directory stood there.
        let entries = fs::read_dir(self.place.path(".")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(names.filter(|name| name.starts_with(".redkeep-")).count() <= 1);
    }

    /// The oldest is forgotten by two commands: one that is timed, of another one, and one that is killed.
    fn forget(&mut self, round: u32) {
        let [(first, _), (second, _)] = [(); 2].map(|()| self.reported.pop_front().unwrap());
        let whole = self.time(&["forget", &first]);
        self.kill(&["forget", &second], part(whole, round));
    }

    /// Condemns what nobody needs, waits until it is due, and is killed while it is buried. Answers with whether something
    /// was due, and whether the one that was killed had begun to bury or delete it.
    fn prune(&self, round: u32) -> (bool, bool) {
        self.age();
        let whole = self.time(PRUNE);
        self.age();
        let look = || ["condemned", "burials", "packs", "index"].map(|folder| objects(&self.place, folder));
        let before = look();
        self.kill(PRUNE, part(whole, round));
        (!before[0].is_empty(), look() != before)
    }
}

/// For 15 seconds, or 15 minutes with `REDKEEP_TEST_LONG`; longer where a host is so busy that too little came of it.
#[test]
fn whatever_is_killed_every_reported_snapshot_restores() {
    let seconds = if std::env::var_os("REDKEEP_TEST_LONG").is_some() { 15 * 60 } else { 15 };
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut used = Used::new();
    let (mut round, mut due, mut begun) = (0, 0, 0);
    let is_enough = |due, begun| due >= 3 && begun >= 1;
    while !is_enough(due, begun) || Instant::now() < end {
        assert!(round < 50 || is_enough(due, begun), "due in {due} rounds of {round}, killed at it in {begun}");
        let whole = used.time(BACKUP);
        used.change();
        used.kill(BACKUP, part(whole, round));
        used.forget(round);
        let (is_due, has_begun) = used.prune(round);
        (due, begun) = (due + u32::from(is_due), begun + u32::from(has_begun));
        let whole = used.time(REPAIR);
        used.kill(REPAIR, part(whole, round));
        for _ in 0..3 {
            used.back_up();
        }
        used.assert_restores((round as usize * 7) % used.reported.len());
        round += 1;
    }
    // A killed prune may have condemned what the whole one of the next round then buries: nothing is left to condemn. How often
    // it did, few rounds do not tell.
    assert!(round < 12 || due * 4 >= round * 3, "packs were due to be buried in {due} rounds of {round}");
    used.age();
    used.place.ends(0, PRUNE);
    used.place.ends(0, &["check", "--read-data"]);
    for number in 0..used.reported.len() {
        used.assert_restores(number);
    }
}
