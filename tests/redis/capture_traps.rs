//! What a server does to those who ask it for a dump without looking first.

use std::fs;
use std::path::Path;

use redkeep::format::snapshot::Snapshot;
use redkeep::operations::backup::{Options, backup};
use redkeep::operations::forget::policy::Policy;
use redkeep::operations::forget::{self, What};
use redkeep::operations::list::Filter;
use redkeep::operations::source::{LiveSource, Source, Way};
use redkeep::operations::{OperationError, Silent};
use redkeep::rdb::read_structure;
use redkeep::redis::server::{LiveOptions, Mode};
use redkeep::repository::Repository;

use crate::live::{as_backup_user, live_at, of_mode, order, redis_7};
use crate::support::keyspace::Keyspace;
use crate::support::repository::{Hands, create, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};
use crate::support::small_disk::on_a_small_disk;

/// Trap 5
#[test]
fn a_save_that_will_not_fit_is_not_asked_for() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    on_a_small_disk("capture_traps::a_save_that_will_not_fit_is_not_asked_for", 16, |disk: &Path| {
        let data = disk.join("data");
        fs::create_dir(&data).unwrap();
        let lines = ["save 3600 1", "rdbcompression no"];
        let server = RedisServer::start_with(ServerKind::Redis7, &data, ServerOptions::with_config(&lines));
        for key in 0..10 {
            redis::cmd("SET").arg(key).arg("x".repeat(1 << 20)).exec(&mut server.connection()).unwrap();
        }
        let address = as_backup_user(&server);
        live_at(&address, &LiveOptions::default()).unwrap();
        order(&server, "SET changed 1");
        let refused = live_at(&address, &of_mode(Mode::Rdb)).unwrap_err();
        assert!(refused.to_string().contains("a save may need"), "{refused}");
        assert!(refused.hint().is_some_and(|hint| hint.contains("make room")));
        order(&server, "SET answered 1");

        order(&server, "BGSAVE");
        wait_for("the failure", || (server.info().get("rdb_last_bgsave_status") == Some("err")).then_some(()));
        let stopped = redis::cmd("SET").arg("answered").arg(2).exec(&mut server.connection()).unwrap_err();
        assert_eq!(stopped.code(), Some("MISCONF"), "the trap is no trap any more");
    });
}

fn take(repository: &Repository, server: &RedisServer) -> Result<Snapshot, OperationError> {
    let live = LiveSource { address: as_backup_user(server), options: LiveOptions::default(), way: Way::Files };
    let source = Source::Server(Box::new(live));
    let options = Options { source, dataset: Some("sessions".into()), ..Options::default() };
    backup(repository, &options, &Silent).map(|report| report.snapshot)
}

/// Trap 6
#[test]
fn an_emptied_server_empties_its_dump_at_once_and_the_last_full_snapshot_is_kept() {
    let Some((_dir, server)) = redis_7(&["save 3600 1"]) else { return };
    Keyspace::new(41, 200).fill(&server);
    let repository = create(memory(), &Hands::new(79));
    let full = take(&repository, &server).unwrap();
    order(&server, "FLUSHALL");
    let dump = read_structure(fs::File::open(server.data().join("dump.rdb")).unwrap()).unwrap();
    assert_eq!(dump.keys(), 0, "a copy of the dump is empty: the trap is no trap any more");

    let empty = take(&repository, &server).unwrap();
    assert_eq!(empty.warnings.iter().map(|warning| warning.code.as_str()).collect::<Vec<_>>(), ["key-drop"]);
    assert_eq!(empty.sequence, full.sequence + 1);
    let policy = Policy { last: Some(1), ..Policy::default() };
    let what = What::Policy { policy, zone: jiff::tz::TimeZone::UTC, ignore_key_drop: false };
    let options = forget::Options { what, filter: Filter::default(), dry_run: false };
    forget::forget(&repository, &options, &Silent).unwrap();
    let left = redkeep::operations::list::snapshots(&repository, &Filter::default()).unwrap();
    assert_eq!(left.0.len(), 2, "the snapshot before the drop stays");
}
