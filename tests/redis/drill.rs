//! Drills with real servers: what passes, what fails and says so, and that nothing is left behind.

use std::fs;
use std::path::{Path, PathBuf};

use redkeep::format::KeysDigest;
use redkeep::format::note::Drill;
use redkeep::operations::drill::{Digest, Options, Report, drill};
use redkeep::operations::{OperationError, Silent};
use redkeep::redis::RedisError;
use redkeep::repository::Repository;
use tempfile::TempDir;

use crate::support::keyspace::Keyspace;
use crate::support::repository::{Hands, back_up, create, latest, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

fn kinds() -> impl Iterator<Item = ServerKind> {
    ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped())
}

/// A data directory, a repository, and a directory in which a drill must leave nothing.
struct Place {
    data: TempDir,
    scratch: TempDir,
    repository: Repository,
}

impl Place {
    fn new(seed: u64) -> Place {
        let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Place { data, scratch, repository: create(memory(), &Hands::new(seed)) }
    }

    fn server(&self, kind: ServerKind, config: &[&str]) -> RedisServer {
        RedisServer::start_with(kind, self.data.path(), ServerOptions::with_config(config))
    }

    fn back_up(&self) {
        back_up(&self.repository, self.data.path(), "d").unwrap();
    }

    fn try_drill(&self, binary: &Path) -> Result<Report, OperationError> {
        let scratch = self.scratch.path().to_path_buf();
        let options = Options {
            server_binary: Some(binary.into()),
            scratch: scratch.clone(),
            private: scratch.clone(),
            ..Options::default()
        };
        let report = drill(&self.repository, &latest(&self.repository, "d").unwrap(), &options, &Silent);
        let left: Vec<PathBuf> = fs::read_dir(&scratch).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, Vec::<PathBuf>::new());
        assert_eq!(servers_below(&scratch), Vec::<String>::new());
        report
    }

    fn drill(&self, kind: ServerKind) -> Report {
        self.try_drill(&kind.executable()).unwrap()
    }

    /// Whether the newest drill of the newest snapshot passed.
    fn has_passed(&self) -> bool {
        let snapshot = latest(&self.repository, "d").unwrap().name;
        self.repository.drill_results().unwrap().remove(&snapshot).unwrap().passed()
    }
}

/// Processes whose command line names something below a directory.
fn servers_below(directory: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(directory.to_str().unwrap())).collect()
}

fn run(server: &RedisServer, words: &[&str]) {
    redis::cmd(words[0]).arg(&words[1..]).exec(&mut server.connection()).unwrap();
}

fn assert_passed(report: &Report, kind: ServerKind, keys: u64) {
    assert_eq!(report.problems, Vec::<String>::new(), "{}", kind.name());
    assert_eq!(report.keys(), keys, "{}", kind.name());
    assert_eq!(report.not_kept, None);
}

/// NOTE-10
#[test]
fn a_dump_passes_and_the_second_drill_finds_the_same_data() {
    for kind in kinds() {
        let place = Place::new(1);
        let mut server = place.server(kind, &["dbfilename other.rdb"]);
        Keyspace { field_expiry: false, ..Keyspace::new(3, 4000) }.fill(&server);
        server.stop_saving();
        place.back_up();
        let first = place.drill(kind);
        assert_passed(&first, kind, 4000);
        assert_eq!((first.captured, first.expired), (Ok(4000), 0));
        let Digest::First(digest) = first.digest else { panic!("{}: {:?}", kind.name(), first.digest) };
        let second = place.drill(kind);
        assert_passed(&second, kind, 4000);
        assert!(matches!(second.digest, Digest::Equal(same, _) if same == digest), "{:?}", second.digest);
        assert!(place.has_passed());
    }
}

/// The base of an AOF is counted as a dump is, as long as no command follows it; where commands do, only they know.
#[test]
fn an_aof_passes_with_and_without_commands_after_its_base() {
    for kind in kinds() {
        let place = Place::new(2);
        let config = ["appendonly yes", "appendfilename other.aof", "auto-aof-rewrite-percentage 0"];
        let mut server = place.server(kind, &config);
        Keyspace { field_expiry: false, ..Keyspace::new(5, 1000) }.fill(&server);
        run(&server, &["BGREWRITEAOF"]);
        wait_for("the rewrite", || {
            let info = server.info();
            let done = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"].iter().all(|name| info.number(name) == 0);
            done.then_some(())
        });
        let mut copies = Vec::new();
        place.back_up();
        copies.push((place.drill(kind), 1000, Some(1000)));
        run(&server, &["SET", "one:more", "1"]);
        server.stop();
        place.back_up();
        copies.push((place.drill(kind), 1001, None));
        for (report, keys, captured) in copies {
            assert_passed(&report, kind, keys);
            assert_eq!(report.captured.ok(), captured, "{}", kind.name());
            assert!(matches!(report.digest, Digest::First(_)), "{:?}", report.digest);
        }
    }
}

#[test]
fn keys_that_expired_since_are_explained_and_digests_of_other_keys_are_not_compared() {
    for kind in kinds() {
        let place = Place::new(3);
        let mut server = place.server(kind, &[]);
        run(&server, &["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
        for key in ["a", "b", "c"] {
            run(&server, &["SET", key, "1", "PX", "1"]);
        }
        run(&server, &["MSET", "d", "1", "e", "1"]);
        server.stop_saving();
        place.back_up();
        let snapshot = latest(&place.repository, "d").unwrap().name;
        // As if it had been done before the three expired.
        let server = place.drill(kind).program.version.to_string();
        let earlier = Drill::new(snapshot, &server, 5, None, Some(KeysDigest([9; 20])));
        place.repository.note_drill(earlier).unwrap();
        let report = place.drill(kind);
        assert_passed(&report, kind, 2);
        assert_eq!((report.captured, report.expired), (Ok(5), 3), "{}", kind.name());
        assert!(matches!(report.digest, Digest::Equal(..)), "{:?}", report.digest);
    }
}

#[test]
fn hashes_with_fields_that_expire_have_no_digest() {
    for kind in kinds().filter(|kind| kind.has_field_expiry()) {
        let place = Place::new(4);
        let mut server = place.server(kind, &[]);
        run(&server, &["HSET", "h", "field", "1", "other", "2"]);
        run(&server, &["HEXPIRE", "h", "100000", "FIELDS", "1", "field"]);
        server.stop_saving();
        place.back_up();
        let report = place.drill(kind);
        assert_passed(&report, kind, 1);
        assert!(matches!(&report.digest, Digest::None(why) if why.contains("fields")), "{:?}", report.digest);
    }
}

/// NOTE-10
#[test]
fn the_same_keys_with_other_values_fail() {
    for kind in kinds() {
        let place = Place::new(5);
        let mut server = place.server(kind, &[]);
        run(&server, &["SET", "a", "1"]);
        server.stop_saving();
        place.back_up();
        let snapshot = latest(&place.repository, "d").unwrap().name;
        let version = redkeep::redis::program::Program::at(&kind.executable()).unwrap().version.to_string();
        let earlier = Drill::new(snapshot, &version, 1, None, Some(KeysDigest([9; 20])));
        place.repository.note_drill(earlier).unwrap();
        let report = place.drill(kind);
        assert!(matches!(report.digest, Digest::Differs(_)), "{:?}", report.digest);
        assert_eq!(report.problems.len(), 1, "{report:?}");
        assert!(!place.has_passed());
    }
}

#[test]
fn a_dump_cut_short_and_one_with_a_flipped_bit_fail_with_the_words_of_the_server() {
    for kind in kinds() {
        let place = Place::new(6);
        let mut server = place.server(kind, &[]);
        Keyspace::new(7, 500).fill(&server);
        server.stop_saving();
        let path = place.data.path().join("dump.rdb");
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0x10;
        for damaged in [&whole[..whole.len() / 2], &flipped] {
            fs::write(&path, damaged).unwrap();
            place.back_up();
            let report = place.drill(kind);
            assert_eq!(report.problems.len(), 1, "{}: {report:?}", kind.name());
            assert!(report.problems[0].contains("its log says: "), "{report:?}");
            assert_eq!(report.keys(), 0);
            assert!(!place.has_passed());
        }
        fs::write(&path, whole).unwrap();
        place.back_up();
        assert_passed(&place.drill(kind), kind, 500);
        assert!(place.has_passed());
    }
}

#[test]
fn a_server_that_cannot_read_the_dump_is_refused_before_anything_is_written() {
    for (writer, reader) in [
        (ServerKind::Valkey9, ServerKind::Redis82),
        (ServerKind::Redis82, ServerKind::Valkey9),
        (ServerKind::Redis82, ServerKind::Redis7),
        (ServerKind::Redis7, ServerKind::Redis62),
    ] {
        if writer.is_skipped() || reader.is_skipped() {
            continue;
        }
        let place = Place::new(8);
        let mut server = place.server(writer, &[]);
        run(&server, &["SET", "a", "1"]);
        server.stop_saving();
        place.back_up();
        let error = place.try_drill(&reader.executable()).unwrap_err();
        let OperationError::Redis(RedisError::Server { what, hint }) = &error else { panic!("{error}") };
        assert!(what.contains("cannot read a dump that begins with"), "{what}");
        assert!(hint.starts_with("it takes "), "{hint}");
        assert_eq!(place.repository.drills().unwrap(), []);
    }
}

/// Redis 8.2 reads what 7.4 wrote, and a server of today what one of yesterday wrote.
#[test]
fn a_newer_server_serves_what_an_older_one_wrote() {
    for (writer, reader) in [
        (ServerKind::Redis62, ServerKind::Redis7),
        (ServerKind::Redis7, ServerKind::Valkey9),
        (ServerKind::Redis74, ServerKind::Redis82),
    ] {
        if writer.is_skipped() || reader.is_skipped() {
            continue;
        }
        for config in [&[][..], &["appendonly yes"]] {
            let place = Place::new(9);
            let mut server = place.server(writer, config);
            Keyspace { field_expiry: false, ..Keyspace::new(9, 1000) }.fill(&server);
            server.stop_saving();
            place.back_up();
            assert_passed(&place.drill(reader), reader, 1000);
        }
    }
}

#[test]
fn what_holds_no_dataset_is_refused() {
    let place = Place::new(10);
    fs::write(place.data.path().join("file"), "x").unwrap();
    place.back_up();
    let Some(kind) = kinds().next() else { return };
    let error = place.try_drill(&kind.executable()).unwrap_err();
    assert!(matches!(error, OperationError::Unfit { .. }), "{error}");
    assert_eq!(place.repository.drills().unwrap(), []);
}
