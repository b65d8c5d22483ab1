//! A drill's server is given what the captured one had: its names of commands and its modules. What it lacks is told, and is
//! no damage.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use redkeep::operations::backup::{Options as BackupOptions, backup};
use redkeep::operations::drill::{Options, Report, drill};
use redkeep::operations::source::{LiveSource, Source, Way};
use redkeep::operations::{Observer, OperationError, Silent};
use redkeep::redis::RedisError;
use redkeep::redis::server::{Address, LiveOptions, Mode};
use redkeep::repository::Repository;
use tempfile::TempDir;

use crate::live::{as_backup_user, of_mode, order};
use crate::support::repository::{Hands, create, latest, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

struct Place {
    _data: TempDir,
    server: RedisServer,
    repository: Repository,
    seen: Seen,
}

/// Looks whose processes the scratch servers are when their keys are counted.
/// Other tests' are told by the name of the directory they work in.
struct Seen {
    scratch: String,
    owners: Mutex<Vec<u32>>,
}

impl Observer for Seen {
    fn begin(&self, what: &str, _: Option<u64>) {
        if what != "counting keys" {
            return;
        }
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|process| process.path());
        let is_it = |process: &PathBuf| {
            let parent = format!("PPid:\t{}\n", std::process::id());
            let place = fs::read_link(process.join("cwd")).unwrap_or_default();
            let status = fs::read_to_string(process.join("status")).unwrap_or_default();
            place.to_string_lossy().contains(&self.scratch) && status.contains(&parent)
        };
        let owners = processes.filter(is_it).map(|process| fs::metadata(process).unwrap().uid());
        self.owners.lock().unwrap().extend(owners);
    }

    fn advance(&self, _: u64) {}

    fn interrupted(&self) -> bool {
        false
    }
}

impl Place {
    fn new(kind: ServerKind, config: &[&str]) -> Place {
        let data = tempfile::tempdir().unwrap();
        let server = RedisServer::start_with(kind, data.path(), ServerOptions::with_config(config));
        let seen = Seen { scratch: format!("drill-of-{}-", server.port()), owners: Mutex::default() };
        Place { _data: data, server, repository: create(memory(), &Hands::new(8)), seen }
    }

    fn take(&self, address: Address, options: LiveOptions) {
        let source = Source::Server(Box::new(LiveSource { address, options, way: Way::Files }));
        let options = BackupOptions { source, dataset: Some("d".into()), ..BackupOptions::default() };
        backup(&self.repository, &options, &Silent).unwrap();
    }

    fn drill(&self, program: &Path, renamed: &[(&str, &str)]) -> Result<Report, OperationError> {
        // Every user can get there.
        let scratch = tempfile::Builder::new()
            .prefix(&self.seen.scratch)
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        let path = scratch.path().to_path_buf();
        let renamed_commands = renamed.iter().map(|(usual, new)| (usual.to_string(), new.to_string())).collect();
        let options = Options {
            server_binary: Some(program.into()),
            scratch: path.clone(),
            private: path,
            renamed_commands,
            ..Options::default()
        };
        drill(&self.repository, &latest(&self.repository, "d").unwrap(), &options, &self.seen)
    }

    /// Whether the newest snapshot was not drilled: with these words, with what to do, and without a result.
    fn is_not_drilled(&self, program: &Path, what: &str, hint: &str) {
        let error = self.drill(program, &[]).unwrap_err();
        let OperationError::Redis(RedisError::Server { what: said, hint: hinted }) = &error else {
            panic!("{error:?}")
        };
        assert!(said.contains("was not drilled") && said.contains(what), "{said}");
        assert!(hinted.contains(hint), "{hinted}");
        assert_eq!(self.repository.drills().unwrap(), []);
    }
}

#[test]
fn commands_that_were_renamed_are_known_to_the_drill() {
    for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
        let place = Place::new(kind, &["appendonly yes", "rename-command DEL remove", "rename-command SET \"p ut\""]);
        redis::cmd("p ut").arg("a").arg(1).exec(&mut place.server.connection()).unwrap();
        redis::cmd("p ut").arg("b").arg(1).exec(&mut place.server.connection()).unwrap();
        order(&place.server, "remove a");
        let program = kind.executable();
        let named = [("del", "remove"), ("SET", "p ut")];
        let all: Vec<(String, String)> = named.map(|(usual, new)| (usual.into(), new.into())).into();
        // Told by nobody, by the drill, by the capture.
        place.take(as_backup_user(&place.server), of_mode(Mode::Aof));
        place.is_not_drilled(&program, "has the command p ut, which", "--renamed-command NAME=p ut");
        let report = place.drill(&program, &named).unwrap();
        assert_eq!((report.problems.len(), report.keys()), (0, 1), "{report:?}");
        let commands = [&all[..], &[("CONFIG".into(), "CONFIG".into())]].concat();
        place.take(as_backup_user(&place.server).with_renamed(&commands), of_mode(Mode::Aof));
        let report = place.drill(&program, &[("DEL", "remove")]).unwrap();
        assert_eq!((report.problems.len(), report.keys()), (0, 1), "{report:?}");
        let facts = latest(&place.repository, "d").unwrap().snapshot.facts;
        assert_eq!(facts["server.renamed-commands"], "DEL=remove \"SET=p ut\"", "what redkeep sends is told to nobody");
    }
}

/// A file of a module that came with the test servers.
pub fn module(name: &str) -> PathBuf {
    let program = ServerKind::Redis74.executable();
    let venv = program.parent().and_then(Path::parent).unwrap().join("venv");
    let files = walkdir::WalkDir::new(venv).into_iter().flatten();
    files.into_iter().find(|file| file.file_name() == name).expect("it is part of a test server").into_path()
}

#[test]
fn the_modules_that_the_server_had_loaded_are_loaded_for_the_drill() {
    if ServerKind::Redis74.is_skipped() {
        return;
    }
    let path = module("redisbloom.so");
    for (mode, appendonly) in [(Mode::Rdb, "appendonly no"), (Mode::Aof, "appendonly yes")] {
        let place = Place::new(ServerKind::Redis74, &[&format!("loadmodule \"{}\"", path.display()), appendonly]);
        order(&place.server, "BF.ADD filter a");
        order(&place.server, "SET a 1");
        place.take(as_backup_user(&place.server), of_mode(mode));
        let report = place.drill(&ServerKind::Redis74.executable(), &[]).unwrap();
        assert_eq!((report.problems.len(), report.keys()), (0, 2), "{report:?}");
        assert_eq!(report.captured, Ok(2));
        // Where redkeep is root, what a module does is not done by root.
        let ran_as: Vec<u32> = place.seen.owners.lock().unwrap().drain(..).collect();
        let me = fs::metadata("/proc/self").unwrap().uid();
        assert_eq!(ran_as, [if me == 0 { 65534 } else { me }]);
        // A user who may not ask where the modules are.
        order(&place.server, "ACL SETUSER backup -module|list");
        let address: Address = format!("127.0.0.1:{}", place.server.port()).parse().unwrap();
        let poor = Place { repository: create(memory(), &Hands::new(9)), ..place };
        poor.take(address.with_login(Some("backup"), Some("hen-and-egg")), of_mode(mode));
        let words = if mode == Mode::Rdb { "lacks a module here" } else { "has the command BF.ADD" };
        let hint = if mode == Mode::Rdb { "+module|list" } else { "--server-binary" };
        poor.is_not_drilled(&ServerKind::Redis74.executable(), words, hint);
    }
}

#[test]
fn a_program_without_the_module_is_no_damage() {
    if ServerKind::Redis74.is_skipped() || ServerKind::Redis82.is_skipped() {
        return;
    }
    let place = Place::new(ServerKind::Redis82, &[]);
    order(&place.server, "VADD vs VALUES 3 1 2 3 e");
    place.take(as_backup_user(&place.server), of_mode(Mode::Rdb));
    place.is_not_drilled(
        &ServerKind::Redis74.executable(),
        "lacks a module here: The RDB file contains",
        "built into Redis from 8.0 on",
    );
    let report = place.drill(&ServerKind::Redis82.executable(), &[]).unwrap();
    assert_eq!((report.problems.len(), report.keys()), (0, 1), "{report:?}");
}
