//! Where a capture could not know which files are the dataset, a restore says so, puts back all of it, or takes what is
//! named.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use redkeep::format::snapshot::Role;
use redkeep::operations::drill::{self, DumpHolds};
use redkeep::operations::list::Chosen;
use redkeep::operations::restore::{Options, Report, Which, doubt, meant, restore};
use redkeep::operations::{OperationError, Silent};
use redkeep::repository::Repository;
use tempfile::TempDir;

use crate::live::order;
use crate::support::repository::{Hands, back_up, create, latest, memory, tree};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

/// A snapshot of a directory that nobody serves.
fn stored(data: &Path) -> (Repository, Chosen) {
    let repository = create(memory(), &Hands::new(91));
    back_up(&repository, data, "d").unwrap();
    let chosen = latest(&repository, "d").unwrap();
    (repository, chosen)
}

/// Restores what is named, and answers with the report and the directory.
fn restored(repository: &Repository, chosen: &Chosen, which: Option<&str>) -> (Report, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (chosen, from) = match which {
        None => (chosen.clone(), None),
        Some(which) => {
            let (chosen, from) = meant(repository, chosen, &which.parse().unwrap(), &Silent).unwrap();
            (chosen, Some(from))
        }
    };
    let options = Options { from, ..Options::new(dir.path().join("data")) };
    (restore(repository, &chosen, &options, &Silent).unwrap(), dir)
}

fn refused(repository: &Repository, chosen: &Chosen, which: &str) -> String {
    match meant(repository, chosen, &which.parse().unwrap(), &Silent) {
        Err(error @ OperationError::Refused { .. }) => format!("{error}; {}", error.hint().unwrap()),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("{which} was taken"),
    }
}

fn value(kind: ServerKind, dir: &TempDir, config: &[&str]) -> Option<String> {
    let server = RedisServer::start_with(kind, &dir.path().join("data"), ServerOptions::with_config(config));
    redis::cmd("GET").arg("era").query(&mut server.connection()).unwrap()
}

fn left_by(kind: ServerKind, data: &Path, config: &[&str], era: &str) {
    let config = [&["appendonly yes", "appendfsync always"], config].concat();
    let mut server = RedisServer::start_with(kind, data, ServerOptions::with_config(&config));
    order(&server, &format!("SET era {era}"));
    server.stop();
}

#[test]
fn of_two_manifests_the_one_that_is_named_is_restored_and_no_other() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    left_by(ServerKind::Redis7, data.path(), &["appendfilename one.aof"], "one");
    left_by(ServerKind::Redis7, data.path(), &["appendfilename two.aof"], "two");
    let (repository, chosen) = stored(data.path());
    let names = ["appendonlydir/two.aof.manifest", "appendonlydir/one.aof.manifest"];
    let told = doubt(&chosen.snapshot).unwrap();
    assert!(told.what.contains("several AOFs") && names.iter().all(|name| told.what.contains(name)), "{told:?}");
    assert!(refused(&repository, &chosen, "aof").contains("name one of them: --from appendonlydir/two.aof.manifest"));

    for (name, era) in [("one.aof", "one"), ("two.aof", "two")] {
        let (report, dir) = restored(&repository, &chosen, Some(&format!("appendonlydir/{name}.manifest")));
        assert_eq!(report.doubt, None);
        let aof = fs::read_dir(dir.path().join("data/appendonlydir")).unwrap();
        assert!(aof.flatten().all(|entry| entry.file_name().to_str().unwrap().starts_with(name)), "{name} alone");
        let config = ["appendonly yes", &format!("appendfilename {name}")];
        assert_eq!(value(ServerKind::Redis7, &dir, &config).as_deref(), Some(era));
    }
    assert!(refused(&repository, &chosen, "appendonlydir/none.manifest").contains("holds no file"));
    assert!(refused(&repository, &chosen, "appendonlydir").contains("holds no file"));
}

#[test]
fn a_single_aof_is_named_beside_a_manifest_of_its_name_for_a_server_before_7_0() {
    if ServerKind::Redis7.is_skipped() || ServerKind::Redis62.is_skipped() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    left_by(ServerKind::Redis7, data.path(), &[], "new");
    left_by(ServerKind::Redis62, data.path(), &[], "old");
    let (repository, chosen) = stored(data.path());
    assert_eq!(doubt(&chosen.snapshot), None, "the manifest counts");
    let (_, dir) = restored(&repository, &chosen, None);
    assert_eq!(value(ServerKind::Redis7, &dir, &["appendonly yes"]).as_deref(), Some("new"));
    let (_, dir) = restored(&repository, &chosen, Some("appendonly.aof"));
    assert_eq!(value(ServerKind::Redis7, &dir, &["appendonly yes"]).as_deref(), Some("old"), "--server gives the same");
    let (_, dir) = restored(&repository, &chosen, Some("appendonly.aof"));
    assert_eq!(value(ServerKind::Redis62, &dir, &["appendonly yes"]).as_deref(), Some("old"));
}

#[test]
fn a_single_aof_of_another_name_beside_a_manifest_can_be_named_too() {
    if ServerKind::Redis7.is_skipped() || ServerKind::Redis62.is_skipped() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    left_by(ServerKind::Redis7, data.path(), &[], "new");
    left_by(ServerKind::Redis62, data.path(), &["appendfilename other.aof"], "old");
    let (repository, chosen) = stored(data.path());
    let hint = refused(&repository, &chosen, "aof");
    assert!(hint.contains("--from appendonlydir/appendonly.aof.manifest or --from other.aof"), "{hint}");
    let (_, dir) = restored(&repository, &chosen, Some("other.aof"));
    let config = ["appendonly yes", "appendfilename other.aof"];
    assert_eq!(value(ServerKind::Redis62, &dir, &config).as_deref(), Some("old"));
}

fn drilled(repository: &Repository, chosen: &Chosen, kind: ServerKind) -> redkeep::operations::drill::Report {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path().to_path_buf();
    let options = drill::Options {
        server_binary: Some(kind.executable()),
        scratch: place.clone(),
        private: place,
        ..drill::Options::default()
    };
    drill::drill(repository, chosen, &options, &Silent).unwrap()
}

/// Stops the server with a save, in a later second than its last command: the times of its files tell them apart.
fn stop_saving_a_second_later(server: &mut RedisServer) {
    let written = SystemTime::now();
    wait_for("the next second", || (written.elapsed().unwrap() > Duration::from_secs(1)).then_some(()));
    server.stop_saving();
}

#[test]
fn a_drill_loads_the_dump_as_well_and_equal_contents_settle_it() {
    for (kind, change) in
        [(ServerKind::Redis7, None), (ServerKind::Redis7, Some("SET b 1")), (ServerKind::Redis62, Some("SET era new"))]
    {
        if kind.is_skipped() {
            continue;
        }
        let data = tempfile::tempdir().unwrap();
        let config = ServerOptions::with_config(&["appendonly yes", "appendfsync always", "save 3600 1"]);
        let mut server = RedisServer::start_with(kind, data.path(), config);
        order(&server, "SET era last");
        if let Some(change) = change {
            order(&server, "CONFIG SET appendonly no");
            order(&server, change);
        }
        stop_saving_a_second_later(&mut server);
        let (repository, chosen) = stored(data.path());
        let report = drilled(&repository, &chosen, kind);
        let noted = repository.drill_results().unwrap().get(&chosen.name).map(|record| record.passed());
        assert_eq!(report.problems, Vec::<String>::new());
        match change {
            None => assert_eq!((report.dump, noted), (Some(DumpHolds::TheSame), Some(true))),
            Some("SET b 1") => assert_eq!((report.dump, noted), (Some(DumpHolds::Other { keys: 2 }), None)),
            // As many keys, with other values.
            Some(_) => assert_eq!((report.dump, noted), (Some(DumpHolds::Other { keys: 1 }), None)),
        }
    }
}

/// The most usual of all: a server that saves when it is stopped.
#[test]
fn a_server_that_was_stopped_in_good_order_is_put_back_as_it_was_with_a_word() {
    for kind in [ServerKind::Redis62, ServerKind::Redis7, ServerKind::Valkey9] {
        if kind.is_skipped() {
            continue;
        }
        let data = tempfile::tempdir().unwrap();
        let config = ServerOptions::with_config(&["appendonly yes", "appendfsync always", "save 3600 1"]);
        let mut server = RedisServer::start_with(kind, data.path(), config);
        order(&server, "SET era last");
        stop_saving_a_second_later(&mut server);
        let (repository, chosen) = stored(data.path());
        let told = doubt(&chosen.snapshot).expect("times alone do not tell");
        assert!(told.what.contains("may be older than its dump"), "{told:?}");
        let (report, dir) = restored(&repository, &chosen, None);
        assert_eq!(report.doubt, Some(told));
        assert_eq!(tree(&dir.path().join("data")), tree(data.path()));
        for aof in ["appendonly yes", "appendonly no"] {
            let (_, dir) = restored(&repository, &chosen, None);
            assert_eq!(value(kind, &dir, &[aof]).as_deref(), Some("last"), "{} {aof}", kind.name());
        }
        let (report, dir) = restored(&repository, &chosen, Some("rdb"));
        assert_eq!((report.doubt, value(kind, &dir, &["appendonly no"]).as_deref()), (None, Some("last")));
        let (_, dir) = restored(&repository, &chosen, Some("aof"));
        assert!(!dir.path().join("data/dump.rdb").exists());
    }
}

#[test]
fn of_several_dumps_the_one_that_is_named_is_the_dataset() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        let config = ServerOptions::with_config(&[&format!("dbfilename {name}.rdb")]);
        let mut server = RedisServer::start_with(ServerKind::Redis7, data.path(), config);
        order(&server, &format!("SET era {name}"));
        server.stop_saving();
    }
    let later = SystemTime::now() + Duration::from_secs(50);
    File::options().write(true).open(data.path().join("two.rdb")).unwrap().set_modified(later).unwrap();
    fs::write(data.path().join("notes"), "x").unwrap();
    let (repository, chosen) = stored(data.path());
    let (meant_one, _) = meant(&repository, &chosen, &Which::File("one.rdb".into()), &Silent).unwrap();
    assert_eq!(meant_one.snapshot.facts["rdb.name"], "one.rdb");
    assert!(!meant_one.snapshot.facts.contains_key("dump.keys"), "it was not counted");
    let dumps = meant_one.snapshot.files.iter().filter(|file| file.role == Role::Dump);
    assert_eq!(dumps.map(|file| file.display_path()).collect::<Vec<_>>(), ["one.rdb"]);
    assert!(refused(&repository, &chosen, "notes").contains("neither a manifest nor an AOF nor a dump"));
}

/// An AOF of Redis 7 in files of this name.
fn write_aof(aof: &Path, name: &str) {
    fs::write(aof.join(format!("{name}.1.incr.aof")), b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n").unwrap();
    fs::write(aof.join(format!("{name}.manifest")), format!("file {name}.1.incr.aof seq 1 type i\n")).unwrap();
}

#[test]
fn what_was_counted_of_files_that_are_not_meant_is_not_said_of_those_that_are() {
    let data = tempfile::tempdir().unwrap();
    let aof = data.path().join("appendonlydir");
    fs::create_dir(&aof).unwrap();
    ["one.aof", "two.aof"].iter().for_each(|name| write_aof(&aof, name));
    for (name, key) in [("dump.rdb", b"k"), ("other.rdb", b"o")] {
        fs::write(data.path().join(name), [b"REDIS0011\xfe\0\0\x01", &key[..], b"\x01v\xff", &[0; 8]].concat())
            .unwrap();
    }
    let (repository, mut chosen) = stored(data.path());
    let primary = |chosen: &Chosen| {
        let of_aof = chosen.snapshot.files.iter().find(|file| file.role == Role::Manifest);
        of_aof.map(redkeep::format::snapshot::File::display_path)
    };
    let counted = |chosen: &Chosen| {
        let all = ["manifest.", "incr.", "server.keys.", "server.expires.", "dump."];
        let is_there = |prefix: &&str| chosen.snapshot.facts.keys().any(|name| name.starts_with(prefix));
        all.into_iter().filter(is_there).collect::<Vec<_>>().join(" ")
    };
    // As of a server that was asked.
    for name in ["server.keys.0", "server.expires.0"] {
        chosen.snapshot.facts.insert(name.into(), "1".into());
    }
    let (one, two) = ("appendonlydir/one.aof.manifest", "appendonlydir/two.aof.manifest");
    let (first, other) = if primary(&chosen).as_deref() == Some(one) { (one, two) } else { (two, one) };
    let all = "incr. server.keys. server.expires. dump.";
    assert_eq!((primary(&chosen).as_deref(), counted(&chosen).as_str()), (Some(first), all));
    for (which, left, files) in
        [(first, all, 5), (other, "dump.", 5), ("rdb", "dump.", 3), ("dump.rdb", "dump.", 3), ("other.rdb", "", 3)]
    {
        let (meant, _) = meant(&repository, &chosen, &which.parse().unwrap(), &Silent).unwrap();
        let kept: Vec<String> = meant.snapshot.files.iter().map(|file| file.display_path()).collect();
        assert_eq!((counted(&meant).as_str(), kept.len()), (left, files), "{which}: {kept:?}");
    }
}

#[test]
fn the_words_are_those_of_the_real_doubt() {
    let data = tempfile::tempdir().unwrap();
    let aof = data.path().join("appendonlydir");
    fs::create_dir(&aof).unwrap();
    fs::write(aof.join("a.aof.1.incr.aof"), "").unwrap();
    fs::write(aof.join("a.aof.manifest"), "file a.aof.1.incr.aof seq 1 type i\n").unwrap();
    fs::write(aof.join("temp-a.aof.incr"), "").unwrap();
    let (repository, chosen) = stored(data.path());
    let told = doubt(&chosen.snapshot).unwrap();
    assert!(told.what.contains("there is no dump") && !told.what.contains("older than its dump"), "{told:?}");
    let (report, _) = restored(&repository, &chosen, Some("aof"));
    assert_eq!(report.doubt, None);
    // A manifest that names what is not there is none to restore.
    fs::write(aof.join("b.aof.manifest"), "file b.aof.1.incr.aof seq 1 type i\n").unwrap();
    let (repository, chosen) = stored(data.path());
    assert!(
        refused(&repository, &chosen, "appendonlydir/b.aof.manifest").contains("names appendonlydir/b.aof.1.incr.aof")
    );
}
