//! Drills compare with what the server counted, and a key that can go by itself is no fault when it is gone.

use std::path::Path;
use std::time::{Duration, Instant};

use redkeep::format::snapshot::Snapshot;
use redkeep::operations::backup::{Options as BackupOptions, backup};
use redkeep::operations::drill::{Options, Report, drill};
use redkeep::operations::source::{LiveSource, Source, Way};
use redkeep::operations::{OperationError, Silent};
use redkeep::redis::server::{LiveOptions, Mode};
use redkeep::repository::Repository;
use tempfile::TempDir;

use crate::live::{as_backup_user, of_mode, order};
use crate::restore_server::{Captured, Victim, take_with};
use crate::support::repository::{Hands, back_up, create, latest, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};
use crate::support::writers::ConstantWriter;

const YOUNG_AOF: [&str; 2] = ["appendonly yes", "auto-aof-rewrite-percentage 0"];

struct Place {
    kind: ServerKind,
    _data: TempDir,
    server: RedisServer,
    repository: Repository,
}

impl Place {
    fn each(config: &[&str], trial: impl Fn(Place)) {
        for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
            let data = tempfile::tempdir().unwrap();
            let server = RedisServer::start_with(kind, data.path(), ServerOptions::with_config(config));
            trial(Place { kind, _data: data, server, repository: create(memory(), &Hands::new(3)) });
        }
    }

    fn take(&self, options: LiveOptions) -> Snapshot {
        let source =
            Source::Server(Box::new(LiveSource { address: as_backup_user(&self.server), options, way: Way::Files }));
        let options = BackupOptions { source, dataset: Some("d".into()), ..BackupOptions::default() };
        backup(&self.repository, &options, &Silent).unwrap().snapshot
    }

    fn drill(&self) -> Result<Report, OperationError> {
        drill_with(&self.repository, &self.kind.executable())
    }

    /// Drills the newest snapshot with other facts.
    fn drill_as_if(&self, name: &str, value: u64) -> Report {
        let latest = latest(&self.repository, "d").unwrap().snapshot;
        let session = self.repository.begin("d").unwrap();
        let (sequence, previous, begin) = (session.sequence(), session.previous(), session.begin());
        let mut snapshot = Snapshot { sequence, previous, begin, ..latest };
        snapshot.facts.insert(name.into(), value.to_string());
        session.commit(&snapshot).unwrap();
        self.drill().unwrap()
    }
}

fn drill_with(repository: &Repository, program: &Path) -> Result<Report, OperationError> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().to_path_buf();
    let options =
        Options { server_binary: Some(program.into()), scratch: path.clone(), private: path, ..Options::default() };
    drill(repository, &latest(repository, "d").unwrap(), &options, &Silent)
}

fn fill(server: &RedisServer, database: u64, keys: u64) {
    let mut all = redis::pipe();
    all.cmd("SELECT").arg(database).ignore();
    for key in 0..keys {
        all.cmd("SET").arg(format!("k{key}")).arg("v").ignore();
    }
    all.exec(&mut server.connection()).unwrap();
}

/// Of an AOF at rest, each database has to hold exactly what the server counted.
///
/// COUNT-7
#[test]
fn a_young_aof_is_compared_with_the_count_of_the_server_by_database() {
    Place::each(&YOUNG_AOF, |place| {
        fill(&place.server, 0, 30);
        fill(&place.server, 9, 20);
        for tail in [false, true] {
            let mode = if tail { Mode::Auto } else { Mode::Aof };
            place.take(LiveOptions { tail, ..of_mode(mode) });
            let report = place.drill().unwrap();
            assert_eq!(
                (report.problems.as_slice(), report.captured.as_ref()),
                (&[][..], Ok(&50)),
                "{}",
                place.kind.name()
            );
        }
        let problems = |name, value| place.drill_as_if(name, value).problems;
        let words = "database 9 holds 20 keys; the server counted 21, of which at most 0 can have expired";
        assert_eq!(problems("server.keys.db9", 21), [words]);
        assert_eq!(problems("server.keys.db9", 19), ["database 9 holds 20 keys; the server counted 19"]);
        // The count after the files were opened is the other end.
        assert_eq!(problems("server.later-keys.db9", 20), Vec::<String>::new());
        assert_eq!(problems("server.keys.db9", 22).len(), 0);
        assert_eq!(problems("server.later-keys.db9", 21).len(), 1);
        assert_eq!(problems("server.aof-beyond-mark", 7).len(), 0, "a command may have made one key");
    });
}

/// COUNT-7
#[test]
fn an_aof_that_is_written_to_meanwhile_passes() {
    let captures = std::env::var("REDKEEP_TEST_CAPTURES").map_or(2, |text| text.parse().expect("a number"));
    Place::each(&YOUNG_AOF, |place| {
        for turn in 0..captures {
            // The server rewrites its AOF in every other turn, and writes while it is captured.
            if turn % 2 == 1 {
                order(&place.server, "BGREWRITEAOF");
            }
            let writer = ConstantWriter::start(&place.server, turn);
            place.take(of_mode(Mode::Aof));
            writer.stop();
            let report = place.drill().unwrap();
            assert_eq!(report.problems, Vec::<String>::new(), "{} turn {turn}", place.kind.name());
        }
    });
}

/// Hashes all of whose fields expire soon, beside what stays.
fn volatile(server: &RedisServer) {
    order(server, "SET stays 1");
    order(server, "HSET stays:too a 1 b 2");
    for hash in 0..20 {
        order(server, &format!("HSET h{hash} a 1"));
        order(server, &format!("HPEXPIRE h{hash} 400 FIELDS 1 a"));
    }
}

fn wait_until_gone(server: &RedisServer) {
    wait_for("the hashes to go", || {
        let keys: u64 = redis::cmd("DBSIZE").query(&mut server.connection()).unwrap();
        (keys == 2).then_some(())
    });
}

#[test]
fn hashes_whose_fields_have_all_expired_are_no_fault_in_a_drill() {
    for (config, mode) in [(&[][..], Mode::Rdb), (&YOUNG_AOF[..], Mode::Aof)] {
        Place::each(config, |place| {
            if !place.kind.has_field_expiry() {
                return;
            }
            volatile(&place.server);
            place.take(of_mode(mode));
            wait_until_gone(&place.server);
            let report = place.drill().unwrap();
            assert_eq!((report.problems.as_slice(), report.keys()), (&[][..], 2), "{}", place.kind.name());
            assert_eq!((report.captured.as_ref(), report.expired), (Ok(&22), 20), "{}", place.kind.name());
        });
    }
}

#[test]
fn hashes_whose_fields_have_all_expired_are_no_fault_in_a_base() {
    Place::each(&YOUNG_AOF, |mut place| {
        if !place.kind.has_field_expiry() {
            return;
        }
        volatile(&place.server);
        order(&place.server, "BGREWRITEAOF");
        wait_for("the rewrite", || {
            let info = place.server.info();
            let names = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"];
            names.iter().all(|name| info.number(name) == 0).then_some(())
        });
        place.server.kill();
        let data = place.server.data().to_owned();
        back_up(&place.repository, &data, "d").unwrap();
        place.server.start_again();
        wait_until_gone(&place.server);
        let report = place.drill().unwrap();
        assert_eq!(report.problems, Vec::<String>::new(), "{}", place.kind.name());
    });
}

#[test]
fn hashes_whose_fields_have_all_expired_are_no_fault_in_a_restore() {
    let kinds = ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped() && kind.has_field_expiry());
    for kind in kinds {
        for (captured, target) in [(Captured::Dump, "no"), (Captured::Dump, "yes"), (Captured::Aof, "no")] {
            let taken = take_with(kind, captured, &[], volatile);
            let since = Instant::now();
            wait_for("the fields to expire", || (since.elapsed() > Duration::from_millis(450)).then_some(()));
            let victim = Victim::start(kind, &[&format!("appendonly {target}")]);
            let verified = victim.restore(&taken).unwrap().verified.unwrap();
            assert!(verified.is_right(), "{} {captured:?} into {target}: {:?}", kind.name(), verified.wrong);
        }
    }
}
