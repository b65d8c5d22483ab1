//! A scratch server is private, says what the files hold, and leaves nothing behind.

use std::fs;
use std::path::{Path, PathBuf};

use redkeep::redis::RedisError;
use redkeep::redis::program::Program;
use redkeep::redis::scratch::{Lack, Names, Scratch, Settings};

use crate::support::server::{RedisServer, ServerKind, ServerOptions};

fn settings(directory: &Path, private: &Path) -> Settings {
    Settings {
        directory: directory.into(),
        private: private.into(),
        appendonly: false,
        names: Names::default(),
        databases: 16,
        user: None,
        renamed: Vec::new(),
        modules: Vec::new(),
    }
}

fn kinds() -> impl Iterator<Item = ServerKind> {
    ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped())
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// A dump of three keys under another name than usual, and with a name that has to be quoted.
fn dump(kind: ServerKind, data: &Path) {
    let options = ServerOptions::with_config(&["dbfilename \"my \\\"dump\\\".rdb\""]);
    let mut server = RedisServer::start_with(kind, data, options);
    let () = redis::cmd("MSET").arg(&["a", "1", "b", "2", "c", "3"]).query(&mut server.connection()).unwrap();
    server.stop_saving();
}

#[test]
fn a_scratch_server_serves_what_the_files_hold_without_a_port_and_leaves_nothing() {
    for kind in kinds() {
        let (data, private) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        dump(kind, data.path());
        let program = Program::at(&kind.executable()).unwrap();
        assert!(
            kind.name()
                .starts_with(&program.version.to_string().split('.').next().unwrap().to_lowercase().replace(' ', "-"))
        );
        let names = Names { dump: "my \"dump\".rdb".into(), ..Names::default() };
        let settings = Settings { names, ..settings(data.path(), private.path()) };
        let scratch = Scratch::start(&program, &settings, &mut |_| true).unwrap();
        let mut server = scratch.connect().unwrap();
        assert_eq!(server.integer(&["DBSIZE"]).unwrap(), 3, "{}", kind.name());
        assert_eq!(server.setting("port").unwrap().as_deref(), Some("0"));
        assert_eq!(server.setting("save").unwrap().as_deref(), Some(""));
        assert_eq!(server.words(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).unwrap(), "OK");
        let before = entries(data.path());
        scratch.stop().unwrap();
        assert_eq!(entries(data.path()), before, "it saved something");
        assert!(server.integer(&["DBSIZE"]).is_err(), "it still answers");
        assert_eq!(entries(private.path()), Vec::<PathBuf>::new());
    }
}

/// LOCAL-29
#[test]
fn a_dropped_scratch_server_is_gone_with_the_child_it_saves_by() {
    for kind in kinds() {
        let (data, private) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        dump(kind, data.path());
        let program = Program::at(&kind.executable()).unwrap();
        let names = Names { dump: "my \"dump\".rdb".into(), ..Names::default() };
        let settings = Settings { names, ..settings(data.path(), private.path()) };
        let scratch = Scratch::start(&program, &settings, &mut |_| true).unwrap();
        let mut server = scratch.connect().unwrap();
        server.words(&["CONFIG", "SET", "rdb-key-save-delay", "1000000"]).unwrap();
        server.words(&["BGSAVE"]).unwrap();
        assert_eq!(working_in(data.path()), 2, "{}: the server and its child", kind.name());
        drop(scratch);
        assert_eq!(working_in(data.path()), 0, "{}", kind.name());
        assert_eq!(entries(private.path()), Vec::<PathBuf>::new());
    }
}

/// Processes whose working directory it is.
fn working_in(directory: &Path) -> usize {
    let processes = entries(Path::new("/proc"));
    processes.iter().filter(|process| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == directory)).count()
}

#[test]
fn a_server_that_refuses_its_files_is_an_error_with_the_end_of_its_log() {
    for kind in kinds() {
        let (data, private) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(data.path().join("dump.rdb"), b"REDIS0099\xff\0\0\0\0\0\0\0\0").unwrap();
        let program = Program::at(&kind.executable()).unwrap();
        let started = Scratch::start(&program, &settings(data.path(), private.path()), &mut |_| true);
        let Err(RedisError::NotLoaded { what, log, lack }) = started.map(drop) else {
            panic!("{} serves it", kind.name())
        };
        assert!(what.contains("ended while it was loading"), "{what}");
        let is_version = log.contains("Can't handle RDB format version 99");
        assert!(is_version || log.contains("Wrong signature"), "{log}");
        assert_eq!(matches!(lack, Some(Lack::Version(_))), is_version, "{lack:?}");
        assert_eq!(entries(private.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_private_directory_too_deep_for_a_socket_is_made_elsewhere_and_a_wait_can_be_given_up() {
    let (data, private) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let deep = private.path().join("d".repeat(100));
    fs::create_dir(&deep).unwrap();
    let Some(kind) = kinds().next() else { return };
    let program = Program::at(&kind.executable()).unwrap();
    let scratch = Scratch::start(&program, &settings(data.path(), &deep), &mut |_| true).unwrap();
    assert_eq!(scratch.connect().unwrap().integer(&["DBSIZE"]).unwrap(), 0);
    assert_eq!(entries(&deep), Vec::<PathBuf>::new());
    let given_up = Scratch::start(&program, &settings(data.path(), private.path()), &mut |_| false);
    assert!(given_up.is_err_and(|error| error.to_string().contains("was not waited for")));
    assert_eq!(entries(private.path()), [deep]);
}
