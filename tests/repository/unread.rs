//! Files that were not touched are taken over unread; whatever might have touched them has them read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redkeep::format::UnixMillis;
use redkeep::operations::Silent;
use redkeep::operations::backup::{self, Options, Report};
use redkeep::operations::source::Source;
use redkeep::repository::{Places, Repository};

use crate::support::repository::*;

/// Far ahead of the files' real times, so that they count as settled.
const LATER: Duration = Duration::from_secs(40 * 365 * 24 * 60 * 60);

/// A repository on a host with a catalog, and a directory with two files.
struct Place {
    temp: tempfile::TempDir,
    hands: Hands,
    repository: Repository,
}

impl Place {
    fn new() -> Place {
        let (temp, hands) = (tempfile::tempdir().unwrap(), Hands::new(1));
        hands.pass(LATER);
        create(local(&temp.path().join("repository")), &hands);
        fs::create_dir(temp.path().join("data")).unwrap();
        let place = Place { repository: open_here(temp.path(), &hands, "alpha"), temp, hands };
        fs::write(place.path("one"), noise(300_000, 1)).unwrap();
        fs::write(place.path("two"), text(300_000, 2)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join("data").join(name)
    }

    fn back_up(&self) -> Report {
        back_up(&self.repository, &self.temp.path().join("data"), "d").unwrap()
    }

    /// What a backup reads and takes over has to come back as it is now.
    fn unread(&self) -> u64 {
        let report = self.back_up();
        let target = self.temp.path().join("restored");
        restore_to(&self.repository, &latest(&self.repository, "d").unwrap(), &target).unwrap();
        assert_eq!(tree(&target), tree(&self.temp.path().join("data")));
        fs::remove_dir_all(target).unwrap();
        report.unread_files
    }
}

fn open_here(temp: &Path, hands: &Hands, host: &str) -> Repository {
    let places = Places { cache: Some(temp.join("cache")), state: Some(temp.join("state")), scratch: None };
    open_at(local(&temp.join("repository")), hands, host, places).unwrap()
}

/// Gives a file back the modification time it had.
fn set_mtime(path: &Path, time: std::time::SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// LOCAL-10
#[test]
fn what_was_not_touched_is_not_read_and_comes_back() {
    let place = Place::new();
    assert_eq!(place.unread(), 0);
    let report = place.back_up();
    assert_eq!((report.unread_files, report.unread_bytes), (2, 600_000));
    assert_eq!(report.snapshot.summary.bytes, 600_000);
    assert_eq!(place.unread(), 2);
}

/// LOCAL-10
#[test]
fn content_changed_behind_a_restored_modification_time_is_read() {
    let place = Place::new();
    place.unread();
    let before = fs::metadata(place.path("one")).unwrap();
    fs::write(place.path("one"), noise(300_000, 9)).unwrap();
    set_mtime(&place.path("one"), before.modified().unwrap());
    let after = fs::metadata(place.path("one")).unwrap();
    let of = |metadata: &fs::Metadata| (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    assert_eq!(of(&after), of(&before));
    assert_eq!(place.unread(), 1);
}

/// LOCAL-10
#[test]
fn a_file_that_took_the_place_of_another_is_read() {
    let place = Place::new();
    place.unread();
    fs::write(place.path("new"), noise(300_000, 9)).unwrap();
    set_mtime(&place.path("new"), fs::metadata(place.path("one")).unwrap().modified().unwrap());
    fs::rename(place.path("new"), place.path("one")).unwrap();
    assert_eq!(place.unread(), 1);
}

/// LOCAL-11
#[test]
fn a_file_changed_just_before_the_capture_is_read_again() {
    let (temp, hands) = (tempfile::tempdir().unwrap(), Hands::new(1));
    create(local(&temp.path().join("repository")), &hands);
    fs::create_dir(temp.path().join("data")).unwrap();
    let place = Place { repository: open_here(temp.path(), &hands, "alpha"), temp, hands };
    fs::write(place.path("one"), noise(300_000, 1)).unwrap();
    let changed = fs::metadata(place.path("one")).unwrap().ctime() as u64;
    place.hands.set_clock(UnixMillis((changed + 1) * 1000));
    assert_eq!(place.unread(), 0);
    assert_eq!(place.unread(), 0, "it may have been changed in the moment it was read");
    place.hands.pass(Duration::from_secs(10));
    assert_eq!(place.unread(), 0, "read, and settled now");
    assert_eq!(place.unread(), 1);
}

/// LOCAL-10
#[test]
fn a_file_whose_chunks_are_lost_is_read_and_stored_again() {
    let place = Place::new();
    place.unread();
    let packs = walkdir::WalkDir::new(place.temp.path().join("repository/packs"));
    for pack in packs.into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file()) {
        fs::remove_file(pack.path()).unwrap();
    }
    let report = place.back_up();
    assert_eq!(report.unread_files, 0);
    assert_eq!(report.snapshot.summary.new_bytes, 600_000);
}

/// LOCAL-10
#[test]
fn rows_of_another_host_a_deleted_catalog_and_read_all_have_everything_read() {
    let mut place = Place::new();
    place.unread();
    place.repository = open_here(place.temp.path(), &place.hands, "beta");
    assert_eq!(place.unread(), 0);
    assert_eq!(place.unread(), 2);

    place.repository = open_here(place.temp.path(), &place.hands, "alpha");
    drop(std::mem::replace(&mut place.repository, create(memory(), &place.hands)));
    fs::remove_dir_all(place.temp.path().join("cache")).unwrap();
    place.repository = open_here(place.temp.path(), &place.hands, "beta");
    assert_eq!(place.unread(), 0);

    let (source, dataset) = (Source::Directory(place.temp.path().join("data")), Some("d".into()));
    let options = Options { source, dataset, read_all: true, ..Options::default() };
    assert_eq!(backup::backup(&place.repository, &options, &Silent).unwrap().unread_files, 0);
    assert_eq!(place.unread(), 2);
}

/// LOCAL-10
#[test]
fn another_host_between_two_captures_has_everything_read() {
    let place = Place::new();
    place.unread();
    let elsewhere = open(local(&place.temp.path().join("repository")), &place.hands).unwrap();
    back_up(&elsewhere, &place.temp.path().join("data"), "d").unwrap();
    assert_eq!(place.unread(), 0);
    assert_eq!(place.unread(), 2);
}

#[test]
fn two_datasets_over_one_directory_each_keep_their_own() {
    let place = Place::new();
    let of = |dataset| back_up(&place.repository, &place.temp.path().join("data"), dataset).unwrap().unread_files;
    assert_eq!([of("d"), of("e"), of("d"), of("e")], [0, 0, 2, 2]);
    fs::write(place.path("one"), noise(300_000, 9)).unwrap();
    assert_eq!([of("d"), of("e"), of("d"), of("e")], [1, 1, 2, 2]);
}

#[test]
fn what_the_structure_of_a_dump_showed_is_taken_over() {
    let place = Place::new();
    let mut dump = b"REDIS0011\xfa\x09redis-ver\x057.0.0\xff".to_vec();
    dump.extend([0; 8]);
    fs::write(place.path("dump.rdb"), &dump).unwrap();
    let read = place.back_up();
    assert!(read.snapshot.facts.keys().any(|name| name.starts_with("dump.")), "{:?}", read.snapshot.facts);
    let unread = place.back_up();
    assert_eq!(unread.unread_files, 3);
    assert_eq!((&unread.snapshot.facts, &unread.snapshot.files), (&read.snapshot.facts, &read.snapshot.files));

    fs::write(place.path("dump.rdb"), &dump[..20]).unwrap();
    let read = place.back_up();
    assert_eq!(read.snapshot.suspects().count(), 1);
    let unread = place.back_up();
    assert_eq!(unread.unread_files, 3);
    assert_eq!(unread.snapshot.warnings, read.snapshot.warnings);
    assert_eq!(unread.snapshot.files, read.snapshot.files);
}

const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// LOCAL-25
#[test]
fn what_an_untouched_aof_ends_with_is_told_again_and_a_touched_one_is_cut_anew() {
    let place = Place::new();
    let aof = |parts: &[&[u8]]| fs::write(place.path("appendonly.aof"), parts.concat()).unwrap();
    let length =
        |report: &Report| report.snapshot.files.iter().find(|file| *file.path == *b"appendonly.aof").unwrap().size;
    let twice = || {
        let reports = [place.back_up(), place.back_up()];
        let [first, second] = &reports;
        assert_eq!((&first.snapshot.warnings, length(first)), (&second.snapshot.warnings, length(second)));
        reports
    };
    let one = SET.len() as u64;
    aof(&[SET, SET]);
    let [_, untouched] = twice();
    assert_eq!((untouched.unread_files, length(&untouched), untouched.snapshot.warnings.len()), (3, 2 * one, 0));
    // A piece is left out however often, whole commands behind it are not.
    aof(&[SET, SET, &SET[..9]]);
    assert_eq!(length(&twice()[1]), 2 * one);
    aof(&[SET, SET, SET]);
    assert_eq!(length(&twice()[1]), 3 * one);
    // What a crash left open is told as long as it is there.
    for open in [&[SET, MULTI, SET, MULTI, SET, EXEC][..], &[SET, MULTI, SET]] {
        aof(open);
        let [_, untouched] = twice();
        assert_eq!(length(&untouched), open.concat().len() as u64);
        assert_eq!(untouched.snapshot.warnings[0].code, "aof-open-transaction");
    }
}
