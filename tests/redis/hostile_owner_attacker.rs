//! The owner of a home who attacks redkeep in it: a process of his own, which renames and links what redkeep works with.
//!
//! It is this very test program, started as he with a name of a test that does nothing otherwise. It is told by lines when
//! to strike: once, while redkeep is held at a system call, or all the time.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::fs::{CWD, Mode, RenameFlags, mkfifoat, renameat_with};

use crate::hostile_owner_scene::Scene;
use crate::support::keyspace::Random;

const HOME: &str = "REDKEEP_TEST_ATTACKED_HOME";
const OUTSIDE: &str = "REDKEEP_TEST_ATTACKED_OUTSIDE";
const SEED: &str = "REDKEEP_TEST_ATTACKED_SEED";
/// Names that he exchanged and did not exchange back yet.
const OPEN_MAX: usize = 12;
/// Directories below each other that he looks into.
const DEEP: usize = 5;

/// What he did, as he counts it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Struck {
    /// Names that led elsewhere after it.
    pub names: u64,
    /// Of those what redkeep had made.
    pub of_redkeep: u64,
    /// Whether anything of redkeep's was to be seen the last time.
    pub sees: bool,
}

/// Him, as the test sees him.
pub struct Attacker {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Attacker {
    pub fn start(scene: &Scene, seed: u64) -> Attacker {
        let name = concat!(module_path!(), "::strikes_when_told").split_once("::").unwrap().1;
        let mut command = Command::new("/proc/self/exe");
        command.args(["--exact", name, "--nocapture", "--test-threads=1"]).current_dir("/");
        command.env(HOME, scene.home()).env(OUTSIDE, scene.outside()).env(SEED, seed.to_string());
        command.uid(scene.user).gid(scene.user).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (orders, answers) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut attacker = Attacker { child, orders, answers };
        attacker.told();
        attacker
    }

    /// Looks at everything once and strikes where he likes.
    pub fn strike_once(&mut self) -> Struck {
        self.order("once");
        self.told()
    }

    /// Goes on and on until he is stopped.
    pub fn strike_on(&mut self) {
        self.order("on");
    }

    pub fn stop(&mut self) -> Struck {
        self.order("stop");
        self.told()
    }

    fn order(&mut self, word: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{word}").unwrap();
    }

    fn told(&mut self) -> Struck {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "the attacker is gone");
            if let Some((_, rest)) = line.split_once('@') {
                let numbers: Vec<u64> = rest.split_whitespace().map(|word| word.parse().unwrap()).collect();
                return Struck { names: numbers[0], of_redkeep: numbers[1], sees: numbers[2] > 0 };
            }
        }
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the attacker's process it is the attack; in a run of the tests there is nobody to attack.
#[test]
fn strikes_when_told() {
    let var = |name: &str| std::env::var(name).ok();
    let (Some(home), Some(outside), Some(seed)) = (var(HOME), var(OUTSIDE), var(SEED)) else { return };
    assert!(!rustix::process::geteuid().is_root(), "an attacker has no rights but his own");
    let (sender, orders) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut attack = Attack {
        home: home.into(),
        outside: outside.into(),
        random: Random::new(seed.parse().unwrap()),
        patience: 1,
        struck: Struck::default(),
        exchanged: Vec::new(),
        planted: Vec::new(),
        made: 0,
    };
    // Who strikes at once sees the beginning of everything only, and who waits the rest.
    attack.patience = [1, 4, 16][usize::try_from(attack.random.below(3)).unwrap()];
    attack.serve(&orders);
}

struct Attack {
    home: PathBuf,
    outside: PathBuf,
    random: Random,
    /// How many chances he lets go by.
    patience: u64,
    struck: Struck,
    /// A decoy's name where what was exchanged with it is now, and the name that leads to the decoy.
    exchanged: Vec<(PathBuf, PathBuf)>,
    planted: Vec<PathBuf>,
    made: u64,
}

impl Attack {
    fn serve(&mut self, orders: &Receiver<String>) {
        self.answer();
        while let Ok(order) = orders.recv() {
            match order.as_str() {
                "on" => {
                    while orders.try_recv().is_err() {
                        self.look();
                    }
                }
                _ => self.look(),
            }
            self.answer();
        }
    }

    fn answer(&self) {
        let Struck { names, of_redkeep, sees } = self.struck;
        let mut stdout = std::io::stdout();
        // Past what a test prints, which is kept back.
        stdout.write_all(format!("\n@{names} {of_redkeep} {}\n", u8::from(sees)).as_bytes()).unwrap();
        stdout.flush().unwrap();
    }

    /// Puts some things back, plants some names, and looks for what can be struck.
    fn look(&mut self) {
        self.struck.sees = false;
        for number in (0..self.exchanged.len()).rev() {
            if self.exchanged.len() > OPEN_MAX || self.random.one_in(3) {
                let (decoy, name) = self.exchanged.swap_remove(number);
                if exchange(&decoy, &name) {
                    remove(&decoy);
                }
            }
        }
        // What he planted goes again, or nothing would get past it.
        for number in (0..self.planted.len()).rev() {
            if self.random.one_in(4) {
                remove(&self.planted.swap_remove(number));
            }
        }
        if self.random.one_in(4 * self.patience) {
            self.plant();
        }
        self.look_in(&self.home.clone(), 0);
    }

    fn look_in(&mut self, directory: &Path, deep: usize) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            let name = name.to_string_lossy();
            if name.starts_with(".decoy") || name == ".hard" {
                continue;
            }
            // What root owns here redkeep made, but for the file that he has a name of.
            let is_of_redkeep = found.uid() == 0 && (found.is_dir() || found.nlink() == 1);
            self.struck.sees |= is_of_redkeep;
            let is_in_it = path.to_string_lossy().contains("/.redkeep-");
            let chance = match (is_of_redkeep, is_in_it) {
                (true, _) => 3,
                (false, true) => 8,
                (false, false) => 24,
            };
            if self.random.one_in(chance * self.patience) {
                self.strike(&path, is_of_redkeep);
            } else if found.is_dir() && deep < DEEP {
                self.look_in(&path, deep + 1);
            }
        }
    }

    /// Something of his takes the name.
    fn strike(&mut self, name: &Path, is_of_redkeep: bool) {
        let Some(decoy) = self.decoy(name.parent().unwrap()) else { return };
        if exchange(&decoy, name) {
            self.struck.names += 1;
            self.struck.of_redkeep += u64::from(is_of_redkeep);
            self.exchanged.push((decoy, name.to_owned()));
        }
    }

    /// What leads elsewhere, makes a reader wait, or is not what it should be.
    fn decoy(&mut self, directory: &Path) -> Option<PathBuf> {
        self.made += 1;
        let decoy = directory.join(format!(".decoy-{}-{}", std::process::id(), self.made));
        self.make(&decoy).then_some(decoy)
    }

    fn make(&mut self, path: &Path) -> bool {
        let link = |to: &str| std::os::unix::fs::symlink(self.outside.join(to), path).is_ok();
        match self.random.below(13) {
            0 => link("etc"),
            1 => link(""),
            2 => link("secret"),
            3 => link("etc/shadow"),
            4 => link("dump.rdb"),
            5 => link("aof"),
            6 => link("made"),
            7 => link("etc/made"),
            8 => mkfifoat(CWD, path, Mode::from_raw_mode(0o666)).is_ok(),
            9 => fs::write(path, "his own").is_ok(),
            10 => fs::rename(self.home.join(".hard"), path).is_ok(),
            11 => std::os::unix::fs::symlink("target", path).is_ok(),
            _ => self.make_directory(path).is_some(),
        }
    }

    /// A directory with links under the names that are used below those of redkeep.
    fn make_directory(&self, path: &Path) -> Option<()> {
        fs::create_dir(path).ok()?;
        let names = [
            ("dump.rdb", "secret"),
            ("appendonlydir", "aof"),
            ("new", "etc"),
            ("work", "etc"),
            ("private", "etc"),
            (".redkeep-staging-dataset", "etc"),
            (".redkeep-restore.journal", "made"),
        ];
        for (name, to) in names {
            std::os::unix::fs::symlink(self.outside.join(to), path.join(name)).ok()?;
        }
        Some(())
    }

    /// A name that redkeep is going to use.
    fn plant(&mut self) {
        const NAMES: [&str; 10] = [
            ".redkeep-staging-target",
            ".redkeep-probe-target",
            ".redkeep-lock-target",
            ".redkeep-aside-target-20200101T000000Z",
            ".redkeep-swap-target-20260101T000000Z-12",
            "data/.redkeep-staging-dataset",
            "data/.redkeep-lock-dataset",
            "data/.redkeep-restore.journal",
            "data/.redkeep-restore.journal.new",
            "data/.redkeep-swap-dataset-20260101T000000Z-12",
        ];
        let number = usize::try_from(self.random.below(NAMES.len() as u64)).unwrap();
        let path = self.home.join(NAMES[number]);
        if fs::symlink_metadata(&path).is_err() && self.make(&path) {
            self.planted.push(path);
        }
    }
}

fn exchange(one: &Path, other: &Path) -> bool {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok()
}

/// Where it is his to remove.
fn remove(path: &Path) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
}
