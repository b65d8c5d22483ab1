//! A full disk is left with redkeep's own commands, and none of them takes the last room.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::configuration::write;
use crate::place::{Place, Ran, noise, run};
use crate::support::small_disk::on_a_small_disk;

/// A place whose repository is on the disk, with two snapshots of which each holds 600 kB of its own.
struct Full<'a> {
    place: Place,
    disk: &'a Path,
    repository: String,
}

impl Full<'_> {
    fn new(disk: &Path) -> Full<'_> {
        let full = Full { place: Place::new(), disk, repository: disk.join("repository").display().to_string() };
        full.ends(0, &["init"]);
        for seed in [1, 2] {
            full.change(seed);
            full.ends(0, &["backup", "data", "--dataset", "sessions"]);
        }
        full
    }

    fn ends(&self, code: i32, arguments: &[&str]) -> Ran {
        self.place.ends(code, &[arguments, &["--repo", &self.repository]].concat())
    }

    fn change(&self, seed: u64) {
        fs::write(self.place.data().join("modules/table.bin"), noise(seed, 600_000)).unwrap();
    }

    fn free(&self) -> u64 {
        let space = statvfs(self.disk).unwrap();
        space.f_bavail * space.f_frsize
    }

    fn reserve(&self) -> u64 {
        fs::metadata(self.disk.join("repository/.reserve")).map_or(0, |metadata| metadata.len())
    }

    /// Somebody else takes all space but so many bytes.
    fn fill(&self, left: u64) {
        let filler = File::create(self.disk.join("filler")).unwrap();
        fallocate(&filler, FallocateFlags::empty(), 0, self.free() - left).unwrap();
    }

    fn snapshots(&self) -> usize {
        self.ends(0, &["snapshots", "--json"]).json()["snapshots"].as_array().unwrap().len()
    }
}

/// Else the system ends the program without a word.
#[test]
fn a_limit_on_the_size_of_files_is_an_error_that_names_the_file() {
    let place = Place::with_repository();
    fs::write(place.data().join("large.bin"), noise(3, 6 << 20)).unwrap();
    let program = place.command(&["backup", "data"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 2048; exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
    limited.current_dir(place.path("")).env_clear();
    limited.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = run(&mut limited);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    ran.says("packs/").says("File too large");
    place.done(&["backup", "data"]);
}

/// SWEEP-18
#[test]
fn forget_and_prune_work_where_nothing_is_free() {
    on_a_small_disk("full_disk::forget_and_prune_work_where_nothing_is_free", 24, |disk| {
        let full = Full::new(disk);
        let before = full.reserve();
        assert!(before == 1 << 20 && full.free() >= 2 * before, "{before} of {}", full.free());
        full.fill(0);
        full.change(3);
        let ran = full.ends(1, &["backup", "data", "--dataset", "sessions"]);
        ran.says("no space to store").says("redkeep forget, then redkeep prune --grace 0");
        let other = disk.join("other").display().to_string();
        let ran = full.place.ends(1, &["init", "--repo", &other]);
        assert!(ran.says("free some space there").stderr.lines().count() == 2, "{}", ran.stderr);
        full.ends(0, &["forget", "--dataset", "sessions", "--keep-last", "1"]);
        let kept = full.reserve();
        assert!(kept < before && kept >= before - (256 << 10), "{kept} of {before}");
        let ran = full.ends(0, &["prune", "--grace", "0", "--json"]);
        assert!(ran.json()["deleted_bytes"].as_u64().unwrap() >= 600_000, "{}", ran.text());
        assert!(full.reserve() <= before && full.free() >= 400_000, "{} free", full.free());
        fs::write(full.place.data().join("modules/table.bin"), noise(3, 200_000)).unwrap();
        full.ends(0, &["backup", "data", "--dataset", "sessions"]);
        full.ends(0, &["check", "--read-data"]);
    });
}

/// SWEEP-17
#[test]
fn what_a_prune_has_no_room_to_store_again_is_told() {
    on_a_small_disk("full_disk::what_a_prune_has_no_room_to_store_again_is_told", 32, |disk| {
        let full = Full::new(disk);
        // One pack, of which the last snapshot needs half.
        fs::write(full.place.data().join("goes"), noise(8, 3 << 20)).unwrap();
        fs::write(full.place.data().join("stays"), noise(9, 3 << 20)).unwrap();
        full.ends(0, &["backup", "data", "--dataset", "sessions"]);
        fs::remove_file(full.place.data().join("goes")).unwrap();
        full.ends(0, &["backup", "data", "--dataset", "sessions"]);
        full.ends(0, &["forget", "--dataset", "sessions", "--keep-last", "1"]);
        full.fill(0);
        let prune = ["prune", "--grace", "0", "--max-unused", "0"];
        full.ends(3, &prune).says("warning: the disk is too full to store again what is needed");
        fs::remove_file(disk.join("filler")).unwrap();
        full.ends(0, &prune);
        full.ends(0, &["check", "--read-data"]);
    });
}

/// SWEEP-17, SWEEP-23: what snapshots need of a damaged pack is stored again before that goes, and takes its room.
#[test]
fn a_prune_that_has_no_room_for_what_is_needed_of_a_damaged_pack_says_how_much_it_takes() {
    let name = "full_disk::a_prune_that_has_no_room_for_what_is_needed_of_a_damaged_pack_says_how_much_it_takes";
    on_a_small_disk(name, 32, |disk| {
        let full = Full::new(disk);
        fs::write(full.place.data().join("stays"), noise(9, 6 << 20)).unwrap();
        full.ends(0, &["backup", "data", "--dataset", "sessions"]);
        let pack = largest(&disk.join("repository/packs"));
        let mut bytes = fs::read(&pack).unwrap();
        let place = bytes.len() / 2;
        bytes[place] ^= 1;
        fs::write(&pack, bytes).unwrap();
        full.ends(4, &["check", "--read-data", "--repair"]);
        full.fill(0);
        let prune = ["prune", "--grace", "0"];
        let foretold = full.ends(0, &["prune", "--grace", "0", "--dry-run"]).text();
        assert!(foretold.contains("\nwould store again "), "{foretold}");
        let (before, ran) = (full.reserve(), full.ends(1, &prune));
        ran.says("no space to store packs/").says(" MiB before compression, are stored again first: free that much");
        assert!(full.reserve() <= before && pack.exists());
        fs::remove_file(disk.join("filler")).unwrap();
        let text = full.ends(0, &prune).text();
        assert!(text.contains("stored again ") && !pack.exists(), "{text}");
        let counted = |text: &str| {
            text.split_once("stor").unwrap().1.split_once("again ").unwrap().1.split(',').next().unwrap().to_owned()
        };
        assert_eq!(counted(&foretold), counted(&text));
    });
}

/// The largest file below a directory of directories.
fn largest(directory: &Path) -> PathBuf {
    let below = fs::read_dir(directory).unwrap().flat_map(|entry| fs::read_dir(entry.unwrap().path()).unwrap());
    below.map(|entry| entry.unwrap().path()).max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

/// Forgetting again and again uses up the reserve, and then says what is left to do.
#[test]
fn without_a_reserve_the_hint_names_another_way() {
    on_a_small_disk("full_disk::without_a_reserve_the_hint_names_another_way", 8, |disk| {
        let full = Full::new(disk);
        fs::remove_file(disk.join("repository/.reserve")).unwrap();
        full.fill(0);
        let ran = full.ends(1, &["forget", "--dataset", "sessions", "--keep-last", "1"]);
        ran.says("is used up: free a MiB on the repository's disk by other means");
        full.ends(1, &["prune", "--grace", "0"]).says("is used up: free a MiB");
        assert_eq!(full.snapshots(), 2);
    });
}

/// SWEEP-17
#[test]
fn a_prune_leaves_twice_as_much_free_as_it_sets_aside() {
    on_a_small_disk("full_disk::a_prune_leaves_twice_as_much_free_as_it_sets_aside", 24, |disk| {
        let full = Full::new(disk);
        fs::remove_file(disk.join("repository/.reserve")).unwrap();
        full.fill(6 << 20);
        full.ends(0, &["prune"]);
        assert_eq!(full.reserve(), 1 << 20, "a hundredth of its packs is less");
        assert!(full.free() >= 2 * full.reserve(), "{} and {}", full.free(), full.reserve());
        full.change(3);
        full.ends(0, &["backup", "data", "--dataset", "sessions"]);
        // It has less than a MiB when there is not more: that is told.
        fs::remove_file(disk.join("repository/.reserve")).unwrap();
        fs::remove_file(disk.join("filler")).unwrap();
        full.fill(1 << 20);
        full.ends(3, &["prune"]).says("too little room could be set aside").says("B are set aside");
        assert!(full.free() >= 2 * full.reserve(), "{} and {}", full.free(), full.reserve());
    });
}

#[test]
fn a_run_makes_room_and_tries_again() {
    on_a_small_disk("full_disk::a_run_makes_room_and_tries_again", 12, |disk| {
        let full = Full::new(disk);
        let text =
            "[profile.daily]\ndir = \"data\"\ndataset = \"sessions\"\nkeep-last = 1\nprune = { grace = \"0\" }\n";
        write(&full.place.path("redkeep.toml"), text);
        full.fill(100 << 10);
        full.change(3);
        let ran = full.ends(3, &["run", "daily", "--config", &full.place.arg("redkeep.toml"), "--json"]);
        ran.says("warning: the repository's disk was full: ").says(" were pruned before the backup");
        let steps = ran.json()["steps"].as_array().unwrap().clone();
        let steps: Vec<(&str, u64)> =
            steps.iter().map(|step| (step["step"].as_str().unwrap(), step["exit_code"].as_u64().unwrap())).collect();
        let wanted = [("forget", 0), ("prune", 0), ("backup", 0), ("forget", 0), ("prune", 0)];
        assert_eq!(steps, wanted, "{}", ran.text());
        assert_eq!(full.snapshots(), 1);
        // Where nothing may go yet the backup fails as before, and says what would help.
        let text = text.replace("\"0\"", "\"24h\"");
        write(&full.place.path("redkeep.toml"), &text);
        fs::remove_file(disk.join("filler")).unwrap();
        full.fill(100 << 10);
        full.change(4);
        let ran = full.ends(1, &["run", "daily", "--config", &full.place.arg("redkeep.toml")]);
        ran.says("nothing could be deleted yet").says("redkeep prune --grace 0");
        assert!(!ran.stderr.contains("not run") && full.snapshots() == 1, "{}", ran.stderr);
    });
}
