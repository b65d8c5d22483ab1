//! The owner of a data directory attacks while redkeep works in it as root. LOCAL-17, LOCAL-18, LOCAL-19, CAPTURE-6
//!
//! Redkeep is held at a system call again and again, and he strikes meanwhile; in every fourth round he strikes all the
//! time while it runs. It may fail, loudly; nothing outside his home is changed, made, read or removed, nothing of it
//! comes into his home or a snapshot, and once he is quiet everything works.
//! `REDKEEP_TEST_HOSTILE=1000` makes so many rounds, a few are made without it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::hostile_owner_attacker::{Attacker, Struck};
use crate::hostile_owner_scene::{CANARY, Scene};
use crate::restore_server_program::Ran;
use crate::support::keyspace::Random;

/// How often redkeep is held in one round. Then it is left alone, to come to an end.
const HELD_MAX: u64 = 300;
/// A round that takes longer is ended: an attacker may keep redkeep from its work.
const LONGEST: Duration = Duration::from_secs(12);
const ENDED: i32 = -9;

/// What redkeep does while he attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Restore,
    RestoreToNew,
    Undo,
    RemoveAsides,
    Capture,
    RestoreServer,
    UndoServer,
    CaptureServer,
}

const IN_DIRECTORIES: [Work; 5] = [Work::Restore, Work::Undo, Work::RemoveAsides, Work::Capture, Work::RestoreToNew];
const IN_SERVERS: [Work; 3] = [Work::RestoreServer, Work::UndoServer, Work::CaptureServer];

/// Of many rounds of one kind.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    /// In which a name changed while redkeep was at work.
    struck: u64,
    /// How often it was held at a system call for that.
    held: u64,
    /// Names that changed then, and those of redkeep's own things.
    names: u64,
    of_redkeep: u64,
    by_code: BTreeMap<i32, u64>,
}

#[test]
fn he_gains_nothing_from_what_is_done_in_a_directory() {
    gains_nothing(&IN_DIRECTORIES, 5, 10);
}

#[test]
fn he_gains_nothing_from_what_is_done_in_a_server() {
    gains_nothing(&IN_SERVERS, 3, 6);
}

/// `share` of eight: which part of the rounds asked for; `few`: how many there are without being asked.
fn gains_nothing(all: &[Work], share: u64, few: u64) {
    let Some(scene) = Scene::new() else { return };
    let asked = std::env::var("REDKEEP_TEST_HOSTILE").ok();
    let rounds = asked.as_ref().map_or(few, |text| (text.parse::<u64>().expect("a number") * share).div_ceil(8));
    let mut tallies: BTreeMap<Work, Tally> = BTreeMap::new();
    for round in 0..rounds {
        let (turn, which) = (round / all.len() as u64, usize::try_from(round).unwrap() % all.len());
        let work = all[which];
        let form = if turn.is_multiple_of(2) { "plain" } else { "aof" };
        let (ran, struck, held) = attacked(&scene, work, form, round);
        let what = format!("round {round}, {work:?} {form}: exit {} {}{}", ran.code, ran.stdout, ran.stderr);
        assert!([ENDED, 0, 1, 2, 3, 4, 5, 8, 9].contains(&ran.code), "{what}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!said.contains(CANARY) && !said.contains("panicked"), "{what}");
        scene.assert_unharmed(&what);
        if matches!(work, Work::Capture | Work::CaptureServer) && [0, 3].contains(&ran.code) {
            holds_nothing_of_others(&scene, &what);
        }
        // Of each kind of work every fourth.
        if (turn + round).is_multiple_of(4) {
            works_when_he_is_quiet(&scene, work, form, &what);
        }
        let tally = tallies.entry(work).or_default();
        tally.rounds += 1;
        tally.struck += u64::from(struck.names > 0);
        tally.held += held;
        tally.names += struck.names;
        tally.of_redkeep += struck.of_redkeep;
        *tally.by_code.entry(ran.code).or_default() += 1;
        if asked.is_some() && (round + 1).is_multiple_of(40) {
            tell(&format!("after {} rounds", round + 1), &tallies);
        }
    }
    tell("in the end", &tallies);
    let sum = |of: fn(&Tally) -> u64| tallies.values().map(of).sum::<u64>();
    assert!(sum(|tally| tally.of_redkeep) > 0, "he never struck what redkeep had made: {tallies:?}");
    assert!(sum(|tally| tally.struck) * 2 > rounds, "in most rounds he never struck: {tallies:?}");
    let is_often = |tally: &&Tally| tally.rounds > 10;
    assert!(tallies.values().filter(is_often).all(|tally| tally.struck > 0), "he never struck in some: {tallies:?}");
}

/// For whoever reads it: past what a test prints, which is shown for tests that fail only.
fn tell(when: &str, tallies: &BTreeMap<Work, Tally>) {
    let lines: Vec<String> = tallies.iter().map(|(work, tally)| format!("  {work:?}: {tally:?}")).collect();
    let text = format!("{when}:\n{}\n", lines.join("\n"));
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

/// One round: redkeep does its work, and he attacks.
fn attacked(scene: &Scene, work: Work, form: &str, round: u64) -> (Ran, Struck, u64) {
    let target = scene.home().join("target");
    let target = target.to_str().unwrap().to_owned();
    let data = [("data", form), ("target", form)];
    scene.settle_with(if work == Work::RestoreToNew { &data[..1] } else { &data });
    let server =
        matches!(work, Work::RestoreServer | Work::UndoServer | Work::CaptureServer).then(|| scene.serve(form));
    let url = server.map(|server| server.url()).unwrap_or_default();
    let at = format!("--server={url}");
    // A snapshot of the other form has to be changed into what the server loads.
    let mut random = Random::new(!round);
    let dataset = if random.one_in(2) { form } else { "aof" };
    let arguments = match work {
        Work::Restore | Work::RestoreToNew => vec!["restore", "--dataset", dataset, "--target", &target],
        Work::Undo => {
            scene.quiet(&["restore", "--dataset", dataset, "--target", &target]);
            vec!["undo", &target]
        }
        Work::RemoveAsides => {
            scene.owner_does(
                "for day in 01 02 03; do aside=.redkeep-aside-target-202001${day}T000000Z
                   mkdir -p $aside/a/b/c/d; for place in $aside $aside/a $aside/a/b $aside/a/b/c; do
                   echo x >$place/x; echo y >$place/y; mkdir $place/etc $place/sub; done; done",
            );
            vec!["undo", &target, "--remove-older", "1h"]
        }
        Work::Capture => vec!["backup", &target, "--dataset", "captured", "--include", "*", "--read-all"],
        Work::RestoreServer => vec!["restore", "--dataset", dataset, &at, "--yes", "--stop-timeout", "5s"],
        Work::UndoServer => {
            scene.quiet(&["restore", "--dataset", dataset, &at, "--yes"]);
            vec!["undo", &at, "--yes", "--stop-timeout", "5s"]
        }
        Work::CaptureServer => vec!["backup", "--redis", &url, "--dataset", "captured", "--all-files", "--read-all"],
    };
    let mut attacker = Attacker::start(scene, round);
    if random.one_in(4) {
        attacker.strike_on();
        let mut redkeep = Redkeep::start(scene, &arguments);
        while redkeep.is_at_work() {
            std::thread::sleep(Duration::from_millis(2));
        }
        (redkeep.told(), attacker.stop(), 0)
    } else {
        // What needs no repository is done at once.
        let is_short = matches!(work, Work::Undo | Work::RemoveAsides);
        let wait = if is_short { 60 } else { [60, 200, 600][usize::try_from(random.below(3)).unwrap()] };
        held_again_and_again(Redkeep::start(scene, &arguments), &mut attacker, &mut random, wait)
    }
}

fn held_again_and_again(
    mut redkeep: Redkeep,
    attacker: &mut Attacker,
    random: &mut Random,
    wait: u64,
) -> (Ran, Struck, u64) {
    let (mut struck, mut held) = (Struck::default(), 0);
    while redkeep.is_at_work() {
        // `wait`: first it opens the repository, where nothing of his is.
        let longest = if struck.sees { 150 } else { wait };
        std::thread::sleep(Duration::from_micros(random.below(longest)));
        if held < HELD_MAX && redkeep.hold() {
            held += 1;
            struck = attacker.strike_once();
            redkeep.release();
        }
    }
    (redkeep.told(), struck, held)
}

/// The program, with what it says in files, so that it never waits for who reads it.
struct Redkeep<'a> {
    scene: &'a Scene,
    child: Child,
    begin: Instant,
    code: Option<i32>,
}

impl Redkeep<'_> {
    fn start<'a>(scene: &'a Scene, arguments: &[&str]) -> Redkeep<'a> {
        let file = |name: &str| File::create(scene.path("private").join(name)).unwrap();
        let mut command = scene.command(arguments);
        let child = command.stdout(file("stdout")).stderr(file("stderr")).stdin(Stdio::null()).spawn().unwrap();
        Redkeep { scene, child, begin: Instant::now(), code: None }
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }

    fn is_at_work(&mut self) -> bool {
        if self.begin.elapsed() > LONGEST {
            self.signal(Signal::KILL);
            self.child.wait().unwrap();
            self.code = Some(ENDED);
        } else if let Some(status) = self.child.try_wait().unwrap() {
            self.code = Some(status.code().unwrap_or(-1));
        }
        self.code.is_none()
    }

    /// Whether it is held in the middle of its work.
    fn hold(&self) -> bool {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.child.id());
        loop {
            let text = fs::read_to_string(&stat).unwrap();
            match text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()) {
                Some('T') => return true,
                Some('Z' | 'X') | None => return false,
                Some(_) => std::thread::yield_now(),
            }
        }
    }

    fn release(&self) {
        self.signal(Signal::CONT);
    }

    fn told(self) -> Ran {
        let text = |name: &str| {
            String::from_utf8_lossy(&fs::read(self.scene.path("private").join(name)).unwrap()).into_owned()
        };
        Ran { code: self.code.unwrap_or(-1), stdout: text("stdout"), stderr: text("stderr") }
    }
}

/// What was captured from under an attacker comes back without anything of what stands outside.
fn holds_nothing_of_others(scene: &Scene, what: &str) {
    let back = scene.path("private/back");
    scene.quiet(&["restore", "--dataset", "captured", "--replace-anything", "--target", back.to_str().unwrap()]);
    scene.assert_without_canary(&back, what);
    for entry in walkdir::WalkDir::new(&back).into_iter().map(Result::unwrap) {
        let is_outside = entry.path().ends_with("shadow") || entry.path().ends_with("sub/y");
        assert!(!is_outside, "{what}: {} was captured", entry.path().display());
    }
    for entry in fs::read_dir(scene.path("private")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "back" || name.starts_with(".redkeep-aside-back-") {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

/// The same again, without him.
fn works_when_he_is_quiet(scene: &Scene, work: Work, form: &str, what: &str) {
    scene.settle_with(&[("data", form), ("target", form)]);
    let target = scene.home().join("target");
    match work {
        Work::Restore | Work::RestoreToNew | Work::Undo | Work::RemoveAsides => {
            scene.quiet(&["restore", "--dataset", form, "--target", target.to_str().unwrap()]);
            assert_same(&target, &scene.path(&format!("private/new-{form}")), what);
            scene.quiet(&["undo", target.to_str().unwrap()]);
            assert_same(&target, &scene.path(&format!("private/old-{form}")), what);
        }
        Work::RestoreServer | Work::UndoServer => {
            let server = scene.serve(form);
            let at = format!("--server={}", server.url());
            let which = || redis::cmd("GET").arg("which").query::<String>(&mut server.connection()).unwrap();
            scene.quiet(&["restore", "--dataset", form, &at, "--yes"]);
            assert_eq!(which(), "new", "{what}");
            scene.quiet(&["undo", &at, "--yes"]);
            assert_eq!(which(), "old", "{what}");
        }
        Work::Capture => drop(scene.quiet(&["backup", target.to_str().unwrap(), "--dataset", "captured"])),
        Work::CaptureServer => {
            let url = scene.serve(form).url();
            scene.quiet(&["backup", "--redis", &url, "--dataset", "captured"]);
        }
    }
}

fn assert_same(one: &Path, other: &Path, what: &str) {
    let files = |directory: &Path| -> BTreeMap<_, _> {
        let entries = walkdir::WalkDir::new(directory).into_iter().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_type().is_file());
        files
            .map(|file| (file.path().strip_prefix(directory).unwrap().to_owned(), fs::read(file.path()).unwrap()))
            .collect()
    };
    assert!(files(one) == files(other), "{what}: {} and {} differ", one.display(), other.display());
}
