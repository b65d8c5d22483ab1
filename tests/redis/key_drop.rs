//! How many keys a snapshot of a real server holds, and what is kept when most of them are gone.

use std::path::Path;

use jiff::tz::TimeZone;
use redkeep::format::counts::{CountedBy, KeyCount, Uncounted};
use redkeep::operations::backup::{Options, Report, backup};
use redkeep::operations::forget::policy::{Policy, Reason};
use redkeep::operations::forget::{self, What};
use redkeep::operations::list::{Filter, Selector};
use redkeep::operations::source::{LiveSource, Source, Way};
use redkeep::operations::{OperationError, Silent, tag};
use redkeep::redis::server::{LiveOptions, Mode};
use redkeep::repository::{Repository, SnapshotInfo};
use tempfile::TempDir;

use crate::live::{as_backup_user, order};
use crate::support::repository::{Hands, create, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

/// A server with keys in its AOF's increment only, and a repository.
struct Place {
    _data: TempDir,
    server: RedisServer,
    repository: Repository,
}

/// How a snapshot is taken.
#[derive(Clone, Copy)]
enum How {
    Rdb,
    Aof,
    Tail,
}

impl Place {
    fn each(seed: u64, keys: u64, trial: impl Fn(Place)) {
        for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
            let data = tempfile::tempdir().unwrap();
            let config = ["appendonly yes", "auto-aof-rewrite-percentage 0"];
            let server = RedisServer::start_with(kind, data.path(), ServerOptions::with_config(&config));
            fill(&server, keys);
            trial(Place { _data: data, server, repository: create(memory(), &Hands::new(seed)) });
        }
    }

    fn of(&self, source: Source) -> Report {
        let options = Options { source, dataset: Some("d".into()), ..Options::default() };
        backup(&self.repository, &options, &Silent).unwrap()
    }

    /// Takes a snapshot; its keys, and whether it warns.
    fn take(&self, how: How) -> (KeyCount, bool) {
        let (mode, tail) = match how {
            How::Rdb => (Mode::Rdb, false),
            How::Aof => (Mode::Aof, false),
            How::Tail => (Mode::Auto, true),
        };
        let options = LiveOptions { mode, tail, ..LiveOptions::default() };
        told(&self.of(Source::Server(Box::new(LiveSource {
            address: as_backup_user(&self.server),
            options,
            way: Way::Files,
        }))))
    }

    /// Captures a directory of which nobody is asked.
    fn take_directory(&self, directory: &Path) -> (KeyCount, bool) {
        told(&self.of(Source::Directory(directory.into())))
    }

    fn forget(&self, ignore_key_drop: bool) -> forget::Report {
        let policy = Policy { last: Some(1), ..Policy::default() };
        let what = What::Policy { policy, zone: TimeZone::UTC, ignore_key_drop };
        let options = forget::Options { what, filter: Filter::default(), dry_run: false };
        forget::forget(&self.repository, &options, &Silent).unwrap()
    }

    /// Places of what is kept.
    fn kept(&self) -> Vec<u64> {
        self.infos().iter().map(|info| info.place).collect()
    }

    fn infos(&self) -> Vec<SnapshotInfo> {
        self.repository.refresh().unwrap();
        self.repository.kept_snapshots().unwrap()
    }

    fn accept(&self, selector: &Selector) -> Result<tag::Report, OperationError> {
        let options = tag::Options { add: vec!["drop-accepted".into()], remove: Vec::new() };
        tag::tag(&self.repository, selector, Some("d"), &options, &Silent)
    }
}

fn told(report: &Report) -> (KeyCount, bool) {
    let snapshot = &report.snapshot;
    (KeyCount::of(snapshot), snapshot.warnings.iter().any(|warning| warning.code == "key-drop"))
}

fn fill(server: &RedisServer, keys: u64) {
    let mut all = redis::pipe();
    for key in 0..keys {
        all.cmd("SET").arg(format!("k{key}")).arg("v").ignore();
    }
    all.exec(&mut server.connection()).unwrap();
}

fn rewrite(server: &RedisServer) {
    order(server, "BGREWRITEAOF");
    wait_for("the rewrite", || {
        let info = server.info();
        let names = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"];
        names.iter().all(|name| info.number(name) == 0).then_some(())
    });
}

fn by_server(keys: u64) -> KeyCount {
    KeyCount::Known { keys, by: CountedBy::Server }
}

fn by_structure(keys: u64) -> KeyCount {
    KeyCount::Known { keys, by: CountedBy::Structure }
}

/// COUNT-1, COUNT-2, COUNT-3
#[test]
fn dumps_beside_a_young_aof_and_a_restart_protect_nothing() {
    Place::each(1, 300, |mut place| {
        for _ in 0..2 {
            assert_eq!(place.take(How::Rdb), (by_structure(300), false));
            assert_eq!(place.take(How::Tail), (by_server(300), false));
            assert_eq!(place.take(How::Aof), (by_server(300), false));
        }
        place.server.kill();
        place.server.start_again();
        assert_eq!(place.take(How::Tail), (by_server(300), false));
        rewrite(&place.server);
        assert_eq!(place.take(How::Tail), (by_server(300), false));
        assert_eq!(place.take(How::Rdb), (by_structure(300), false));
        place.forget(false);
        assert_eq!(place.kept(), [9]);
    });
}

/// COUNT-4, COUNT-5, COUNT-6
#[test]
fn the_last_full_snapshot_of_an_aof_stays_until_a_person_accepts_its_loss() {
    Place::each(2, 500, |place| {
        assert_eq!(place.take(How::Aof), (by_server(500), false));
        assert!(place.accept(&Selector::Latest(0)).is_err(), "nothing was lost yet");
        order(&place.server, "FLUSHALL");
        assert_eq!(place.take(How::Tail), (by_server(0), true));
        place.forget(false);
        assert_eq!(place.kept(), [1, 2]);
        order(&place.server, "SET y 1");
        rewrite(&place.server);
        for (number, how) in (3..).zip([How::Tail, How::Rdb, How::Aof]) {
            assert!(!place.take(how).1, "it is told once");
            let report = place.forget(false);
            assert_eq!(report.datasets[0].verdicts[0].reasons, [Reason::KeyDrop(500, 0)]);
            assert_eq!(place.kept(), [1, number]);
        }
        // Neither that the keys come back, nor that a later fall is accepted before it was, settles anything else.
        fill(&place.server, 400);
        assert_eq!(place.take(How::Tail), (by_server(401), false));
        order(&place.server, "FLUSHALL");
        assert_eq!(place.take(How::Rdb), (by_structure(0), true));
        place.forget(false);
        assert_eq!(place.kept(), [1, 6, 7]);
        let refused = place.accept(&Selector::Latest(2)).unwrap_err();
        assert!(refused.to_string().contains("no snapshot of d is kept because"), "{refused}");
        // For the first of the two falls.
        place.accept(&Selector::Latest(1)).unwrap();
        place.forget(false);
        assert_eq!(place.kept(), [6, 7]);
        // For the second, by a snapshot after it.
        assert!(!place.take(How::Tail).1);
        place.accept(&Selector::Latest(0)).unwrap();
        place.forget(false);
        assert_eq!(place.kept(), [9], "8 is the place of a copy");
        assert!(!place.take(How::Tail).1);
        place.forget(false);
        assert_eq!(place.kept(), [11]);
    });
}

/// COUNT-6
#[test]
fn a_person_may_forget_what_fell_by_its_id_or_by_ignoring_falls() {
    Place::each(3, 200, |place| {
        for flush in [true, false] {
            fill(&place.server, 200);
            place.take(How::Tail);
            order(&place.server, "FLUSHALL");
            assert!(place.take(How::Tail).1);
            place.forget(false);
            assert_eq!(place.kept().len(), 2);
            if flush {
                place.forget(true);
            } else {
                let full = Selector::Id(place.infos()[0].name.session.to_string());
                let what = What::Named { snapshots: vec![full], even_pinned: false, allow_empty: false };
                let options = forget::Options { what, filter: Filter::default(), dry_run: false };
                forget::forget(&place.repository, &options, &Silent).unwrap();
            }
            assert_eq!(place.kept().len(), 1);
            place.take(How::Tail);
            place.forget(false);
            assert_eq!(place.kept().len(), 1);
        }
    });
}

/// Forgetting the snapshot that shows the loss does not settle it.
///
/// COUNT-4
#[test]
fn the_snapshots_after_a_fall_carry_it_on() {
    Place::each(4, 200, |place| {
        place.take(How::Tail);
        order(&place.server, "FLUSHALL");
        assert!(place.take(How::Tail).1);
        place.take(How::Tail);
        let shows = Selector::Id(place.infos()[1].name.session.to_string());
        let what = What::Named { snapshots: vec![shows], even_pinned: false, allow_empty: false };
        let options = forget::Options { what, filter: Filter::default(), dry_run: false };
        forget::forget(&place.repository, &options, &Silent).unwrap();
        place.take(How::Rdb);
        place.forget(false);
        assert_eq!(place.kept(), [1, 4]);
    });
}

/// COUNT-2, COUNT-3
#[test]
fn an_aof_that_no_server_was_asked_about_is_not_counted_and_passed_over() {
    Place::each(5, 200, |mut place| {
        assert_eq!(place.take(How::Rdb), (by_structure(200), false));
        order(&place.server, "FLUSHALL");
        order(&place.server, "SET y 1");
        place.server.stop();
        let data = place.server.data().to_owned();
        std::fs::remove_file(data.join("dump.rdb")).unwrap_or_default();
        assert_eq!(place.take_directory(&data), (KeyCount::Unknown(Uncounted::Commands), false));
        let report = place.forget(false);
        assert_eq!((report.datasets[0].uncounted(), place.kept()), (1, vec![2]));
        place.server.start_again();
        // The only one whose keys were known is forgotten, and can be brought back.
        assert_eq!(place.take(How::Tail), (by_server(1), true));
    });
}

/// A save that a flush ends is asked for again, and gives an empty dump.
///
/// COUNT-1
#[test]
fn a_flush_during_the_save_is_a_fall_at_once() {
    Place::each(6, 2000, |place| {
        order(&place.server, "CONFIG SET appendonly no");
        assert_eq!(place.take(How::Rdb), (by_structure(2000), false));
        order(&place.server, "SET x 1");
        order(&place.server, "CONFIG SET rdb-key-save-delay 1000");
        let taken = std::thread::scope(|scope| {
            let taken = scope.spawn(|| place.take(How::Rdb));
            wait_for("the save", || (place.server.info().number("rdb_bgsave_in_progress") == 1).then_some(()));
            order(&place.server, "FLUSHALL");
            taken.join().unwrap()
        });
        assert_eq!(taken, (by_structure(0), true));
        place.forget(false);
        assert_eq!(place.kept(), [1, 2]);
    });
}
