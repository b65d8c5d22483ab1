//! A home, a data directory and a repository for one test, and the program run in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use assert_cmd::cargo::cargo_bin;
use redkeep::format::config::Sizes;
use redkeep::repository::{Ambient, Places, Repository};
use redkeep::store::Intent;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::repository::{CHEAP, TINY, init_cheaply, password};

/// The zone of every test: an offset nobody has by accident.
pub const OFFSET: &str = "+05:30";

pub struct Place {
    directory: TempDir,
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Place {
    /// A data directory of a server that never wrote, and nothing else.
    pub fn new() -> Place {
        let place = Place { directory: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.data().join("modules")).unwrap();
        fs::write(place.data().join("dump.rdb"), empty_dump()).unwrap();
        fs::write(place.data().join("nodes.conf"), "vars currentEpoch 0 lastVoteEpoch 0\n").unwrap();
        fs::write(place.data().join("modules/table.bin"), noise(1, 600_000)).unwrap();
        place
    }

    /// The same with a repository.
    pub fn with_repository() -> Place {
        let place = Place::new();
        init_cheaply(&place.repository(), &place.path("home"));
        place
    }

    /// The same with a repository whose files are cut into tiny chunks, so that there are lists in chunks, deltas and frames
    /// that are compressed. Its keys are the same in each run, and so is where files are cut.
    pub fn with_tiny_repository() -> Place {
        Place::with_buckets(Sizes::BUCKETS)
    }

    /// The same with buckets as tiny: a collection is soon too long for them.
    pub fn with_tiny_buckets() -> Place {
        Place::with_buckets(TINY)
    }

    fn with_buckets(buckets: Sizes) -> Place {
        let place = Place::new();
        let location = place.repository().display().to_string().parse().unwrap();
        let store = redkeep::store::open(&location, Intent::Create).unwrap();
        let secret = password("correct horse");
        let drawn = AtomicU64::new(0);
        let random =
            Arc::new(move |bytes: &mut [u8]| bytes.copy_from_slice(&noise(drawn.fetch_add(1, Relaxed), bytes.len())));
        let ambient = Ambient { random, ..Ambient::system() };
        Repository::create_with(store, secret, "first", CHEAP, ambient, Places::default(), (TINY, buckets)).unwrap();
        // From here on this host knows it.
        place.ends(0, &["snapshots"]);
        place
    }

    /// The same with a repository and a snapshot.
    pub fn with_snapshot() -> Place {
        let place = Place::with_repository();
        place.backup();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A path as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    /// Takes a snapshot and answers with its id.
    pub fn backup(&self) -> String {
        let ran = self.done(&["backup", "data", "--dataset", "sessions", "--json"]);
        ran.json()["id"].as_str().unwrap().to_string()
    }

    /// The program in this place, with nothing of the tester's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin("redkeep"));
        command.args(arguments).current_dir(self.directory.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path("home")).env("TZ", format!("XYZ-{}", &OFFSET[1..]));
        command.env("REDKEEP_REPO", self.repository()).env("REDKEEP_PASSWORD", "correct horse");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// Runs what has to end with a code.
    pub fn ends(&self, code: i32, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}\n{}", ran.text(), ran.stderr);
        ran
    }

    /// Runs what has to end with 0 and without a word on standard error.
    pub fn done(&self, arguments: &[&str]) -> Ran {
        let ran = self.ends(0, arguments);
        assert_eq!(ran.stderr, "", "{arguments:?}");
        ran
    }
}

/// Who runs the tests as root may read what nobody may: the same command without that.
pub fn without_root(command: Command) -> Command {
    if !rustix::process::geteuid().is_root() {
        return command;
    }
    let mut without = Command::new("setpriv");
    without.args(["--bounding-set", "-dac_override,-dac_read_search"]);
    without.arg(command.get_program()).args(command.get_args());
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    without.env_clear().envs(set).current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    without
}

pub fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output, which has to be one JSON object on one line.
    pub fn json(&self) -> Value {
        let text = self.text();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(value.is_object(), "{text}");
        value
    }

    /// The error that a failure says on standard error, and its exit code as JSON.
    pub fn says(&self, words: &str) -> &Ran {
        assert!(self.stderr.contains(words), "no \"{words}\" in: {}", self.stderr);
        self
    }
}

/// The fields of an object, in alphabetical order.
pub fn fields(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().map(String::as_str).collect()
}

/// A dump without keys, as version 11.
fn empty_dump() -> Vec<u8> {
    let mut dump = b"REDIS0011\xff".to_vec();
    let checksum = crc::Crc::<u64>::new(&crc::CRC_64_REDIS).checksum(&dump);
    dump.extend_from_slice(&checksum.to_le_bytes());
    dump
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// All files below a directory, without state that says nothing of content.
pub fn tree(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(directory).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.map(|entry| (entry.path().strip_prefix(directory).unwrap().into(), fs::read(entry.path()).unwrap())).collect()
}

/// Paths of the objects of a repository below a directory of it.
pub fn objects(place: &Place, below: &str) -> Vec<PathBuf> {
    let root = place.repository().join(below);
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
}

/// Flips a bit in the middle of the first frame of every pack.
pub fn damage_packs(place: &Place) {
    for pack in objects(place, "packs") {
        let mut bytes = fs::read(&pack).unwrap();
        bytes[1000] ^= 1;
        fs::write(&pack, bytes).unwrap();
    }
}
