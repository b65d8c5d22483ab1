//! Operations on a real small disk that runs full at one point after the other: with no space left, with a page more, and
//! so on until they succeed. Nothing is lost, the error says that space is missing, and with space all goes on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use redkeep::operations::list::dump;
use redkeep::operations::{OperationError, Silent, prune, restore};
use redkeep::repository::{Repository, one_line};
use tempfile::TempDir;

use crate::content::{Directories, NUMBER, files};
use crate::support::repository::*;
use crate::support::small_disk::on_a_small_disk;
use crate::world::temporary;

const MEBIBYTES: u64 = 4;

/// More space by so much in each run.
const PAGE: u64 = 4 << 10;

type Operation = fn(&Repository, &Trial) -> Result<(), OperationError>;

/// A repository with some history, and a disk it is copied to for each run.
struct Trial {
    disk: PathBuf,
    data: Directories,
    hands: Hands,
    history: TempDir,
    _directory: TempDir,
}

impl Trial {
    fn new(disk: &Path) -> Trial {
        let (hands, history, directory) = (Hands::new(1), temporary(), temporary());
        let data = Directories::below(directory.path());
        let repository = create_tiny(local(history.path()), &hands);
        for version in 0..3 {
            back_up(&repository, &data.of(version), "d").unwrap();
        }
        forget_first(&repository, 0).unwrap();
        Trial { disk: disk.into(), data, hands, history, _directory: directory }
    }

    fn open(&self) -> Repository {
        open(local(&self.disk.join("repository")), &self.hands).unwrap()
    }

    /// Takes all space but so many bytes.
    fn fill(&self, left: u64) {
        let space = rustix::fs::statvfs(&self.disk).unwrap();
        let filler = File::create(self.disk.join("filler")).unwrap();
        let free = space.f_bavail * space.f_frsize;
        rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, (free - left).max(1)).unwrap();
    }

    /// One run with so much space. Whether the operation succeeded; if not it said why, and what to do.
    fn run(&self, operation: Operation, left: u64, place: &str) -> bool {
        for entry in fs::read_dir(&self.disk).unwrap() {
            let path = entry.unwrap().path();
            fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
        }
        copy(self.history.path(), &self.disk.join("repository"));
        let repository = self.open();
        self.fill(left);
        let result = operation(&repository, self);
        fs::remove_file(self.disk.join("filler")).unwrap();
        if let Err(error) = &result {
            let told = one_line(error);
            assert!(told.contains("no space") || told.contains(" free, the "), "{place}: {told}");
            assert!(error.hint().is_some(), "{place}: {}", one_line(error));
        }
        self.check(place);
        back_up(&self.open(), &self.data.of(9), "d").unwrap_or_else(|error| panic!("{place}: {}", one_line(&error)));
        prune_now(&self.open(), self).unwrap_or_else(|error| panic!("{place}: {}", one_line(&error)));
        self.check(place);
        result.is_ok()
    }

    /// Every snapshot that nobody forgot holds what its version held.
    fn check(&self, place: &str) {
        let repository = self.open();
        assert_eq!(repository.refresh().unwrap(), [], "{place}");
        let forgotten = repository.forgotten().unwrap();
        for info in repository.snapshots().unwrap() {
            if forgotten.iter().any(|record| record.snapshot == info.name) {
                continue;
            }
            let snapshot = repository.snapshot(&info.name).unwrap();
            let read = |path: &str| {
                let mut bytes = Vec::new();
                dump(&repository, &snapshot, path.as_bytes(), &mut bytes, &Silent)
                    .unwrap_or_else(|error| panic!("{place}: {}", one_line(&error)));
                bytes
            };
            let version = String::from_utf8(read(NUMBER)).unwrap().parse().unwrap();
            assert!(files(version).iter().all(|(path, bytes)| read(path) == *bytes), "{place}: {}", info.name);
        }
    }
}

/// More space in each run, until the operation succeeds; it failed at several points before.
fn sweep(disk: &Path, name: &str, step: u64, fails_at_least: u64, operation: Operation) {
    let trial = Trial::new(disk);
    let fails = (0..).take_while(|n| !trial.run(operation, n * step, &format!("{name} with {} bytes", n * step)));
    let fails = fails.count() as u64;
    assert!(fails >= fails_at_least, "{name}: only {fails} runs failed");
}

fn prune_now(repository: &Repository, _: &Trial) -> Result<(), OperationError> {
    let options = prune::Options { grace: std::time::Duration::ZERO, max_unused: 0.0, ..prune::Options::default() };
    prune::prune(repository, &options, &Silent).map(drop)
}

fn forget_first(repository: &Repository, number: usize) -> Result<(), OperationError> {
    repository.refresh()?;
    let name = repository.snapshots()?.remove(number).name;
    Ok(repository.forget(&name, "no longer wanted").map(drop)?)
}

#[test]
fn a_backup_on_a_full_disk_loses_nothing() {
    on_a_small_disk("full_disk::a_backup_on_a_full_disk_loses_nothing", MEBIBYTES, |disk| {
        sweep(disk, "backup", PAGE, 3, |repository, trial| back_up(repository, &trial.data.of(7), "d").map(drop));
    });
}

/// SWEEP-17
#[test]
fn a_prune_of_a_full_disk_works_from_the_reserve() {
    on_a_small_disk("full_disk::a_prune_of_a_full_disk_works_from_the_reserve", 32, |disk| {
        let trial = Trial::new(disk);
        copy(trial.history.path(), &disk.join("repository"));
        let repository = trial.open();
        assert_eq!(repository.keep_reserve(1 << 30, 0), None);
        trial.fill(0);
        let reserve = disk.join("repository/.reserve");
        assert!(fs::metadata(&reserve).unwrap().len() > 8 << 20);
        back_up(&repository, &trial.data.of(7), "d").unwrap_err();
        let options = prune::Options { grace: std::time::Duration::ZERO, max_unused: 0.0, ..Default::default() };
        let pruned = prune::prune(&repository, &options, &Silent).unwrap();
        assert!(pruned.report.deleted_snapshots == 1 && pruned.report.deleted_packs > 0, "{pruned:?}");
        assert!(pruned.short_of_space.is_none() && reserve.exists(), "{pruned:?}");
        fs::remove_file(disk.join("filler")).unwrap();
        trial.check("after the prune");
        back_up(&trial.open(), &trial.data.of(7), "d").unwrap();
    });
}

#[test]
fn a_restore_to_a_full_disk_loses_nothing() {
    on_a_small_disk("full_disk::a_restore_to_a_full_disk_loses_nothing", 8 * MEBIBYTES, |disk| {
        // A restore keeps its distance from a full disk: it refuses before it begins.
        sweep(disk, "restore", 2 << 20, 3, |repository, trial| {
            let options = restore::Options::new(trial.disk.join("back"));
            restore::restore(repository, &latest(repository, "d")?, &options, &Silent).map(drop)
        });
    });
}

#[test]
fn forgetting_on_a_full_disk_loses_nothing() {
    on_a_small_disk("full_disk::forgetting_on_a_full_disk_loses_nothing", MEBIBYTES, |disk| {
        sweep(disk, "forget", PAGE, 1, |repository, _| forget_first(repository, 1));
    });
}

#[test]
fn pruning_a_full_disk_loses_nothing() {
    on_a_small_disk("full_disk::pruning_a_full_disk_loses_nothing", MEBIBYTES, |disk| {
        sweep(disk, "prune", PAGE, 1, prune_now);
    });
}
