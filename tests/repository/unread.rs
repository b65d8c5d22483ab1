//! Files that were not touched are taken over unread; whatever might have touched them has them read.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redkeep::format::UnixMillis;
use redkeep::format::form::FormState;
use redkeep::format::snapshot::{File, Role};
use redkeep::operations::backup::{self, Options, Report};
use redkeep::operations::source::Source;
use redkeep::operations::{Observer, Silent};
use redkeep::repository::{Alarm, Places, Repository};

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

    /// Reads every file.
    fn read_all(&self, observer: &dyn Observer) -> Report {
        let (source, dataset) = (Source::Directory(self.temp.path().join("data")), Some("d".into()));
        let options = Options { source, dataset, read_all: true, ..Options::default() };
        backup::backup(&self.repository, &options, observer).unwrap()
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

    assert_eq!(place.read_all(&Silent).unread_files, 0);
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

/// Has something done whenever a piece of a file was read.
struct Meanwhile<F>(F);

impl<F: Fn() + Sync> Observer for Meanwhile<F> {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {
        (self.0)();
    }
    fn interrupted(&self) -> bool {
        false
    }
}

/// LOCAL-11
#[test]
fn a_file_that_was_written_to_while_it_was_read_is_not_noted() {
    let place = Place::new();
    place.unread();
    let noted = || place.repository.seen_files().unwrap().len();
    assert_eq!(noted(), 2);
    let written = place.path("one");
    let write = || fs::File::options().write(true).open(&written).unwrap().write_all(b"written meanwhile").unwrap();
    let report = place.read_all(&Meanwhile(write));
    assert_eq!((noted(), report.snapshot.suspects().count()), (1, 1));
    assert_eq!(place.unread(), 1);
}

#[test]
fn a_snapshot_whose_files_cannot_be_noted_is_committed_and_that_is_told() {
    let place = Place::new();
    let cache = walkdir::WalkDir::new(place.temp.path().join("cache")).into_iter().map(Result::unwrap);
    let catalog = cache.into_iter().find(|entry| entry.file_name() == "catalog.db").unwrap().into_path();
    let spoil = || drop(rusqlite::Connection::open(&catalog).unwrap().execute("ALTER TABLE seen RENAME TO lost", []));
    let report = place.read_all(&Meanwhile(spoil));
    assert!(matches!(&report.alarms[..], [Alarm::NotNoted { why }] if why.contains("seen")), "{:?}", report.alarms);
    assert!(latest(&place.repository, "d").is_ok());
}

fn file<'a>(report: &'a Report, path: &str) -> &'a File {
    report.snapshot.files.iter().find(|file| *file.path == *path.as_bytes()).unwrap()
}

/// LOCAL-10
#[test]
fn a_file_that_has_become_something_else_to_the_server_is_read() {
    let place = Place::new();
    let dump = [&b"REDIS0011\xfe\x00"[..], &[0, 1, b'k', 5], b"value\xff", &[0; 8]].concat();
    fs::write(place.path("a.rdb"), &dump[..dump.len() - 12]).unwrap();
    fs::write(place.path("b.rdb"), &dump).unwrap();
    let later = fs::metadata(place.path("a.rdb")).unwrap().modified().unwrap() + Duration::from_secs(10);
    set_mtime(&place.path("b.rdb"), later);
    let report = place.back_up();
    let roles = ["a.rdb", "b.rdb"].map(|name| file(&report, name).role);
    assert_eq!((roles, report.snapshot.suspects().count()), ([Role::Other, Role::Dump], 0));
    fs::remove_file(place.path("b.rdb")).unwrap();
    let report = place.back_up();
    assert_eq!((file(&report, "a.rdb").role, report.unread_files), (Role::Dump, 2));
    assert!(file(&report, "a.rdb").suspect.is_some(), "it is cut short");
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
    // TIME-5: it goes on where it was.
    let snapshot = &untouched.snapshot;
    assert!(snapshot.previous.is_some() && snapshot.facts.get("timeline.continues") == snapshot.previous.as_ref());
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

/// LOCAL-10
#[test]
fn an_increment_whose_copy_ends_elsewhere_since_it_is_the_last_is_read() {
    let place = Place::new();
    fs::create_dir(place.path("appendonlydir")).unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(place.path("appendonlydir").join(name), bytes).unwrap();
    let names = |numbers: &[u8]| {
        let line = |number: &u8| format!("file appendonly.aof.{number}.incr.aof seq {number} type i\n");
        put("appendonly.aof.manifest", numbers.iter().map(line).collect::<String>().as_bytes());
    };
    let piece = [SET, &SET[..9]].concat();
    put("appendonly.aof.1.incr.aof", &piece);
    put("appendonly.aof.2.incr.aof", SET);
    names(&[1, 2]);
    let of = |report: &Report| {
        let file = file(report, "appendonlydir/appendonly.aof.1.incr.aof");
        (file.role, file.size, file.suspect.is_some(), report.snapshot.facts.get("aof.unfinished").cloned())
    };
    assert_eq!(of(&place.back_up()), (Role::Incr, piece.len() as u64, true, None));
    // A person had the server do without the last one.
    fs::remove_file(place.path("appendonlydir/appendonly.aof.2.incr.aof")).unwrap();
    names(&[1]);
    for _ in 0..2 {
        assert_eq!(of(&place.back_up()), (Role::Incr, SET.len() as u64, false, Some("9".into())));
    }
}

/// A dump of keys with noise, in this order; of the first of them with a value of its own in each version.
fn dump_of(keys: &[u64], version: u64) -> Vec<u8> {
    let mut dump = b"REDIS0011\xfe\x00".to_vec();
    for key in keys {
        let value = noise(300, key + if *key == 0 { 1000 * version } else { 0 });
        dump.extend_from_slice(&[&[0, 8], format!("key {key:04}").as_bytes(), &[0x41, 0x2c], &value].concat());
    }
    [&dump[..], b"\xff", &[0; 8]].concat()
}

/// What this host remembers of records.
fn remembered(place: &Place) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(place.temp.path().join("cache")).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.path().parent().is_some_and(|parent| parent.ends_with("records")));
    files.map(walkdir::DirEntry::into_path).collect()
}

/// LOCAL-35
#[test]
fn what_is_remembered_of_a_dump_is_left_alone_where_every_file_is_read() {
    let place = Place::new();
    fs::write(place.path("dump.rdb"), dump_of(&[0, 1, 2], 1)).unwrap();
    place.unread();
    let files = remembered(&place);
    assert_eq!(files.len(), 1);
    let before = fs::read(&files[0]).unwrap();
    place.read_all(&Silent);
    assert!(fs::read(&files[0]).unwrap() == before);
    fs::remove_file(&files[0]).unwrap();
    place.read_all(&Silent);
    assert_eq!(remembered(&place), [""; 0].map(PathBuf::from));
}

/// LOCAL-35
#[test]
fn a_dump_whose_earlier_version_is_damaged_is_read_once_more_and_stored_in_canonical_form() {
    let place = Place::new();
    let keys: Vec<u64> = (0..300).collect();
    fs::write(place.path("dump.rdb"), dump_of(&keys, 1)).unwrap();
    place.unread();
    assert_eq!(remembered(&place).len(), 1);
    let packs = walkdir::WalkDir::new(place.temp.path().join("repository/packs")).into_iter().map(Result::unwrap);
    for pack in packs.filter(|entry| entry.file_type().is_file()) {
        let mut bytes = fs::read(pack.path()).unwrap();
        let end = bytes.len() - 2000;
        bytes[64..end].fill(0);
        fs::set_permissions(pack.path(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(pack.path(), bytes).unwrap();
    }
    fs::write(place.path("dump.rdb"), dump_of(&keys, 2)).unwrap();
    let form = file(&place.back_up(), "dump.rdb").form.clone().unwrap();
    assert_eq!((form.state, form.why), (FormState::Canonical, None));
}

/// CANON-2
#[test]
fn a_dump_in_which_a_key_stands_twice_is_stored_as_it_is_and_suspect() {
    let place = Place::new();
    fs::write(place.path("dump.rdb"), dump_of(&[0, 1, 2, 1], 1)).unwrap();
    for unread in [0, 3] {
        let report = place.back_up();
        let dump = file(&report, "dump.rdb");
        let twice = Some("a key stands twice in database 0".to_owned());
        let form = dump.form.clone().unwrap();
        assert_eq!(
            (report.unread_files, form.state, form.why, &dump.suspect),
            (unread, FormState::Opaque, twice.clone(), &twice)
        );
        assert_eq!(report.snapshot.warnings[0].code, "suspect");
    }
}
