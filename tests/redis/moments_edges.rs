//! The edges of what a capture covers, on real servers: milliseconds, and AOFs that are damaged at their end.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use redkeep::format::UnixMillis;
use redkeep::operations::source::{LiveSource, Source, Way};
use redkeep::operations::timeline::{Picked, Wish, pick};
use redkeep::operations::{OperationError, Silent, backup};
use redkeep::redis::server::LiveOptions;
use redkeep::repository::Repository;

use crate::live::as_backup_user;
use crate::moments::{ANNOTATED, now, pass_seconds, put};
use crate::support::repository::{Hands, back_up, create, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

fn set(server: &RedisServer, value: &str) -> u64 {
    redis::cmd("SET").arg("k").arg(value).exec(&mut server.connection()).unwrap();
    now()
}

fn asked(repository: &Repository, millis: u64, nearest: bool) -> Result<Picked, OperationError> {
    pick(repository, &Wish { at: UnixMillis(millis), snapshot: None, dataset: None, nearest })
}

fn tail(repository: &Repository, server: &RedisServer) {
    let options = LiveOptions { tail: true, ..LiveOptions::default() };
    let source = Source::Server(Box::new(LiveSource { address: as_backup_user(server), options, way: Way::Files }));
    let options = backup::Options { source, dataset: Some("d".into()), ..backup::Options::default() };
    backup::backup(repository, &options, &Silent).unwrap();
}

/// What was written later in the second of a capture, and lost to a rewrite, is not told to be known.
///
/// TIME-8
#[test]
fn a_second_in_which_a_capture_ended_is_covered_up_to_that() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    // Rewritten in that second, the next capture knows all of it; rewritten later, none does.
    written_behind_a_capture(0);
    written_behind_a_capture(1);
}

fn written_behind_a_capture(seconds_before_the_rewrite: u64) {
    let data = tempfile::tempdir().unwrap();
    let server = RedisServer::start_with(ServerKind::Redis7, data.path(), ServerOptions::with_config(ANNOTATED));
    let repository = create(memory(), &Hands::new(79));
    set(&server, "1");
    pass_seconds(1);
    tail(&repository, &server);
    let two = set(&server, "2");
    pass_seconds(seconds_before_the_rewrite);
    redis::cmd("BGREWRITEAOF").exec(&mut server.connection()).unwrap();
    wait_for("the rewrite", || {
        let info = server.info();
        (info.number("aof_rewrite_in_progress") == 0 && info.number("aof_rewrite_scheduled") == 0).then_some(())
    });
    pass_seconds(1);
    let three = set(&server, "3");
    tail(&repository, &server);
    drop(server);
    let value = |millis| -> Option<(Option<String>, bool)> {
        let picked = match asked(&repository, millis, false) {
            Err(OperationError::Unreachable { .. }) => return None,
            picked => picked.unwrap(),
        };
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("back");
        put(&repository, &picked, &target).unwrap();
        let options = ServerOptions::with_config(&["appendonly yes"]);
        let server = RedisServer::start_with(ServerKind::Redis7, &target, options);
        Some((redis::cmd("GET").arg("k").query(&mut server.connection()).unwrap(), picked.moment.is_exact))
    };
    let second = two / 1000 * 1000;
    assert!(three / 1000 > two / 1000);
    // At the end of the second it was 2: that, or not called exact, or refused.
    for millis in [second, two, second + 999] {
        let found = value(millis);
        let is_true = found.as_ref().is_none_or(|(value, is_exact)| value.as_deref() == Some("2") || !is_exact);
        assert!(is_true, "{found:?} at {millis}, written at {two}");
    }
    assert_ne!(value(second + 999), Some((Some("1".into()), false)), "behind the end of the capture");
}

/// TIME-1, TIME-9
#[test]
fn an_aof_with_zeros_at_its_end_comes_back_up_to_its_last_whole_command() {
    for kind in [ServerKind::Redis62, ServerKind::Redis7, ServerKind::Valkey9] {
        if kind.is_skipped() {
            continue;
        }
        let data = tempfile::tempdir().unwrap();
        let lines = if kind == ServerKind::Redis62 { &ANNOTATED[..3] } else { ANNOTATED };
        let mut server = RedisServer::start_with(kind, data.path(), ServerOptions::with_config(lines));
        for number in 0..300 {
            redis::cmd("SET").arg(number).arg(number).exec(&mut server.connection()).unwrap();
        }
        server.stop();
        drop(server);
        let files = walkdir::WalkDir::new(data.path()).into_iter().map(Result::unwrap);
        let grows = |name: &str| name.ends_with("incr.aof") || name == "appendonly.aof";
        let file =
            files.filter(|file| file.file_type().is_file()).find(|file| grows(&file.file_name().to_string_lossy()));
        let file = file.unwrap().into_path();
        let whole = fs::metadata(&file).unwrap().len();
        OpenOptions::new().append(true).open(&file).unwrap().write_all(&[0; 4096]).unwrap();
        let repository = create(memory(), &Hands::new(81));
        back_up(&repository, data.path(), "d").unwrap();

        let refused = asked(&repository, now() + 5000, false).map(drop);
        assert!(matches!(refused, Err(OperationError::Unreachable { is_damaged: true, .. })), "{kind:?} {refused:?}");
        // A day later by the clock of the test's host, which is of its own.
        let picked = asked(&repository, now() + 86_400_000, true).unwrap();
        assert!(picked.moment.is_at_damage && !picked.moment.is_exact);
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("back");
        let cut = put(&repository, &picked, &target).unwrap().unwrap();
        assert_eq!((cut.length, cut.dropped), (whole, 4096), "{kind:?}");
        let server = RedisServer::start_with(kind, &target, ServerOptions::with_config(&["appendonly yes"]));
        assert_eq!(redis::cmd("DBSIZE").query::<u64>(&mut server.connection()).unwrap(), 300);
    }
}
