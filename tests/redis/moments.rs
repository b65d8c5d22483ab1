//! A dataset goes back to an earlier moment, and a real server then holds what it held at that moment.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use redis::Connection;
use redkeep::format::UnixMillis;
use redkeep::format::timeline::Precision;
use redkeep::operations::forget::{self, What};
use redkeep::operations::list::{self, Selector};
use redkeep::operations::restore::{self, Cut, From, restore_at};
use redkeep::operations::source::{LiveSource, Source, Way};
use redkeep::operations::timeline::{Cause, Filter, Picked, Search, Wish, before_command, load, pick};
use redkeep::operations::{OperationError, Silent, backup};
use redkeep::redis::server::LiveOptions;
use redkeep::repository::Repository;
use tempfile::TempDir;

use crate::live::as_backup_user;
use crate::support::equality::Fingerprint;
use crate::support::keyspace::{Keyspace, Random};
use crate::support::repository::{Hands, back_up, create, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

/// What was answered is in the file: a server that syncs each second may hold writes back while it does.
const AOF: &[&str] = &["appendonly yes", "appendfsync always", "auto-aof-rewrite-percentage 0"];
pub const ANNOTATED: &[&str] =
    &["appendonly yes", "appendfsync always", "auto-aof-rewrite-percentage 0", "aof-timestamp-enabled yes"];

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Waits until so many seconds of the clock have begun.
pub fn pass_seconds(count: u64) {
    let until = now() / 1000 + count;
    wait_for("the next seconds", || (now() / 1000 >= until).then_some(()));
}

/// One write: the value is the time before it was sent, and it was answered at the second time.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    pub value: u64,
    pub answered: u64,
}

/// Writes the time, and raises a pair, in one transaction.
fn write(connection: &mut Connection) -> Write {
    let value = now();
    let mut transaction = redis::pipe();
    transaction.atomic().cmd("SET").arg("counter").arg(value).ignore();
    transaction.cmd("INCR").arg("a").ignore().cmd("INCR").arg("b").ignore();
    transaction.exec(connection).unwrap();
    Write { value, answered: now() }
}

/// Writes each tenth of a second or more often until so many seconds have begun.
pub fn write_for(connection: &mut Connection, seconds: u64) -> Vec<Write> {
    let until = now() / 1000 + seconds;
    let mut writes = Vec::new();
    while now() / 1000 < until {
        writes.push(write(connection));
        let next = writes[writes.len() - 1].value + 50;
        wait_for("the next twentieth of a second", || (now() >= next).then_some(()));
    }
    writes
}

/// The counter, after the pair was seen to be equal.
pub fn counter(server: &RedisServer) -> Option<u64> {
    let (counter, a, b): (Option<u64>, Option<u64>, Option<u64>) =
        redis::cmd("MGET").arg("counter").arg("a").arg("b").query(&mut server.connection()).unwrap();
    assert_eq!(a, b, "a transaction was cut");
    counter
}

fn repository() -> Repository {
    create(memory(), &Hands::new(77))
}

pub fn at(repository: &Repository, second: u64, nearest: bool) -> Result<Picked, OperationError> {
    pick(repository, &Wish { at: UnixMillis(second * 1000), snapshot: None, dataset: None, nearest })
}

pub fn put(repository: &Repository, picked: &Picked, target: &Path) -> Result<Option<Cut>, OperationError> {
    let from = picked.goal.is_some().then_some(From::Aof);
    let options = restore::Options { from, ..restore::Options::new(target.into()) };
    restore_at(repository, &picked.chosen, &options, picked.goal.as_ref(), &Silent).map(|(_, cut)| cut)
}

/// A server on what was restored.
fn revived(repository: &Repository, picked: &Picked, kind: ServerKind) -> (TempDir, RedisServer, Option<Cut>) {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("back");
    let cut = put(repository, picked, &target).unwrap();
    let server = RedisServer::start_with(kind, &target, ServerOptions::with_config(&["appendonly yes"]));
    (place, server, cut)
}

fn started(kind: ServerKind, config: &[&str]) -> Option<(TempDir, RedisServer)> {
    if kind.is_skipped() {
        return None;
    }
    let data = tempfile::tempdir().unwrap();
    let server = RedisServer::start_with(kind, data.path(), ServerOptions::with_config(config));
    Some((data, server))
}

/// TIME-8, TIME-9
#[test]
fn any_second_of_an_annotated_aof_comes_back_as_it_was_at_its_end() {
    let Some((data, server)) = started(ServerKind::Redis7, ANNOTATED) else { return };
    pass_seconds(1);
    let repository = repository();
    let mut connection = server.connection();
    let mut writes = write_for(&mut connection, 3);
    back_up(&repository, data.path(), "counter").unwrap();
    writes.extend(write_for(&mut connection, 4));
    back_up(&repository, data.path(), "counter").unwrap();
    drop(server);

    let (timelines, _) = load(&repository, &Filter::default()).unwrap();
    let stretch = &timelines[0].stretches[0];
    assert_eq!((timelines[0].stretches.len(), timelines[0].gaps.len(), stretch.snapshots.len()), (1, 0, 2));
    assert_eq!((stretch.pieces.len(), stretch.pieces[0].precision), (1, Precision::Second));

    let mut random = Random::new(4);
    let (first, last) = (writes[0].value, writes[writes.len() - 1].value);
    for _ in 0..20 {
        let second = (first + random.below(last - first + 1)) / 1000;
        let picked = at(&repository, second, false).unwrap();
        assert_eq!(picked.moment.effective.0 / 1000, second);
        let (_place, server, cut) = revived(&repository, &picked, ServerKind::Redis7);
        let found = counter(&server).expect("the second holds a write");
        let place = writes.iter().position(|write| write.value == found).unwrap();
        assert!(found / 1000 <= second, "{found} was written after {second}");
        // One that was sent before the second ended and answered after it may belong to either.
        let next = writes.get(place + 1);
        assert!(next.is_none_or(|next| next.answered / 1000 > second), "{next:?} is missing in {second}: {cut:?}");
    }
}

/// TIME-4
#[test]
fn without_annotations_the_moments_are_the_marks_also_those_of_forgotten_snapshots() {
    let Some((data, server)) = started(ServerKind::Redis7, AOF) else { return };
    pass_seconds(1);
    let (repository, mut connection) = (repository(), server.connection());
    let mut marks = Vec::new();
    for _ in 0..3 {
        let last = write(&mut connection);
        marks.push((last.answered / 1000, last.value));
        back_up(&repository, data.path(), "counter").unwrap();
        write(&mut connection);
        pass_seconds(2);
    }
    drop(server);
    let (timelines, _) = load(&repository, &Filter::default()).unwrap();
    assert_eq!((timelines[0].stretches.len(), timelines[0].gaps.len()), (1, 0));
    assert_eq!(timelines[0].stretches[0].pieces[0].precision, Precision::Marks);

    let named = What::Named { snapshots: vec![Selector::Latest(2)], even_pinned: false, allow_empty: false };
    for is_forgotten in [false, true] {
        if is_forgotten {
            let options = forget::Options { what: named.clone(), filter: list::Filter::default(), dry_run: false };
            forget::forget(&repository, &options, &Silent).unwrap();
        }
        for second in marks[0].0..=marks[2].0 {
            let wanted = marks.iter().rev().find(|(mark, _)| *mark <= second).unwrap();
            let picked = at(&repository, second, false).unwrap();
            assert_eq!(picked.moment.precision, Precision::Marks);
            assert_eq!(picked.moment.effective.0 / 1000, wanted.0);
            let (_place, server, cut) = revived(&repository, &picked, ServerKind::Redis7);
            assert_eq!(counter(&server), Some(wanted.1), "at {second}");
            assert_eq!(cut.unwrap().dropped > 0, second < marks[2].0, "a later snapshot is cut");
        }
    }
}

/// TIME-7, TIME-8
#[test]
fn a_moment_between_captures_that_a_rewrite_parts_is_refused_with_its_neighbours() {
    let Some((data, server)) = started(ServerKind::Redis7, ANNOTATED) else { return };
    pass_seconds(1);
    let (repository, mut connection) = (repository(), server.connection());
    let before = write(&mut connection);
    back_up(&repository, data.path(), "counter").unwrap();
    pass_seconds(2);
    let lost = write(&mut connection);
    pass_seconds(2);
    redis::cmd("BGREWRITEAOF").exec(&mut connection).unwrap();
    wait_for("the rewrite", || {
        let info = server.info();
        (info.number("aof_rewrite_in_progress") == 0 && info.number("aof_rewrite_scheduled") == 0).then_some(())
    });
    let after = write(&mut connection);
    back_up(&repository, data.path(), "counter").unwrap();
    drop(server);

    let (timelines, _) = load(&repository, &Filter::default()).unwrap();
    assert_eq!(timelines[0].gaps.iter().map(|gap| gap.cause).collect::<Vec<_>>(), [Cause::Rewrite]);
    let Err(OperationError::Unreachable { before: Some(earlier), after: Some(later), .. }) =
        at(&repository, lost.value / 1000, false).map(drop)
    else {
        panic!("a moment in a gap is refused with both neighbours");
    };
    assert!(earlier.0 / 1000 <= before.answered / 1000 && later.0 > lost.answered, "{earlier:?} {later:?}");
    let picked = at(&repository, lost.value / 1000, true).unwrap();
    assert!(picked.moment.is_nearest);
    let (_place, server, _) = revived(&repository, &picked, ServerKind::Redis7);
    assert_eq!(counter(&server), Some(before.value));
    let picked = at(&repository, after.answered / 1000, false).unwrap();
    let (_place, server, _) = revived(&repository, &picked, ServerKind::Redis7);
    assert_eq!(counter(&server), Some(after.value));
}

/// TIME-9
#[test]
fn a_moment_in_an_earlier_increment_drops_the_later_one() {
    let slow = [ANNOTATED, &["rdb-key-save-delay 50000"]].concat();
    let Some((data, server)) = started(ServerKind::Redis7, &slow) else { return };
    let (repository, mut connection) = (repository(), server.connection());
    for number in 0..400 {
        redis::cmd("SET").arg(format!("key {number}")).arg(number).exec(&mut connection).unwrap();
    }
    pass_seconds(1);
    let early = write(&mut connection);
    pass_seconds(2);
    redis::cmd("BGREWRITEAOF").exec(&mut connection).unwrap();
    let late = write(&mut connection);
    let report = back_up(&repository, data.path(), "counter").unwrap();
    assert_eq!(server.info().number("aof_rewrite_in_progress"), 1, "the rewrite was too fast to see");
    drop(server);
    let increments = |names: &[String]| names.iter().filter(|name| name.ends_with(".incr.aof")).count();
    let stored: Vec<String> = report.snapshot.files.iter().map(|file| file.display_path()).collect();
    assert_eq!(increments(&stored), 2);

    for (second, wanted, left) in [(early.answered / 1000, early, 1), (late.answered / 1000, late, 2)] {
        let picked = at(&repository, second, false).unwrap();
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("back");
        put(&repository, &picked, &target).unwrap();
        let names: Vec<String> = walkdir::WalkDir::new(&target)
            .into_iter()
            .map(|entry| entry.unwrap().path().display().to_string())
            .collect();
        assert_eq!(increments(&names), left);
        let server =
            RedisServer::start_with(ServerKind::Redis7, &target, ServerOptions::with_config(&["appendonly yes"]));
        assert_eq!(counter(&server), Some(wanted.value));
        assert_eq!(redis::cmd("DBSIZE").query::<u64>(&mut server.connection()).unwrap(), 403);
    }
}

/// TIME-3
fn brings_back_what_was_flushed(kind: ServerKind, rewritten: bool) {
    let Some((data, server)) = started(kind, AOF) else { return };
    let (repository, mut connection) = (repository(), server.connection());
    Keyspace::new(5, 600).fill(&server);
    if rewritten {
        redis::cmd("BGREWRITEAOF").exec(&mut connection).unwrap();
        wait_for("the rewrite", || {
            let info = server.info();
            (info.number("aof_rewrite_in_progress") == 0 && info.number("aof_rewrite_scheduled") == 0).then_some(())
        });
    }
    redis::cmd("SET").arg("one").arg("more").exec(&mut connection).unwrap();
    let filled = Fingerprint::of(&server);
    redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
    redis::cmd("SET").arg("after").arg(1).exec(&mut connection).unwrap();
    back_up(&repository, data.path(), "flushed").unwrap();
    drop(server);

    let words = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    let latest = Selector::Latest(0);
    let search = |text| Search { words: words(text), snapshot: Some(&latest), dataset: None };
    let (picked, located) = before_command(&repository, &search("flushall"), &Silent).unwrap();
    let (_place, server, cut) = revived(&repository, &picked, kind);
    assert!(cut.as_ref().unwrap().dropped > 0);
    assert_eq!(cut, Some(located), "found in the repository as in what was restored");
    filled.assert_equal(&Fingerprint::of(&server), "before FLUSHALL");
    let refused = before_command(&repository, &search("FLUSHDB"), &Silent).map(drop);
    assert!(matches!(refused, Err(OperationError::NoCommand { .. })), "{refused:?}");
}

#[test]
fn before_flushall_on_redis_6_2() {
    brings_back_what_was_flushed(ServerKind::Redis62, false);
    brings_back_what_was_flushed(ServerKind::Redis62, true);
}

#[test]
fn before_flushall_on_redis_7() {
    brings_back_what_was_flushed(ServerKind::Redis7, false);
    brings_back_what_was_flushed(ServerKind::Redis7, true);
}

#[test]
fn before_flushall_on_redis_7_4() {
    brings_back_what_was_flushed(ServerKind::Redis74, true);
}

#[test]
fn before_flushall_on_redis_8_2() {
    brings_back_what_was_flushed(ServerKind::Redis82, true);
}

#[test]
fn before_flushall_on_valkey_9() {
    brings_back_what_was_flushed(ServerKind::Valkey9, true);
}

/// TIME-5
#[test]
fn an_aof_goes_on_over_a_restart_and_not_over_being_switched_off() {
    let Some((data, mut server)) = started(ServerKind::Redis7, AOF) else { return };
    let repository = repository();
    let backup = || back_up(&repository, data.path(), "d").unwrap().snapshot;
    write(&mut server.connection());
    let first = backup();
    server.stop();
    server.start_again();
    write(&mut server.connection());
    let second = backup();
    let third = backup();
    let continues = |snapshot: &redkeep::format::snapshot::Snapshot| {
        snapshot.facts.get("timeline.continues").cloned() == snapshot.previous && snapshot.previous.is_some()
    };
    assert_eq!([&first, &second, &third].map(continues), [false, true, true]);
    let mut connection = server.connection();
    let set = |connection: &mut Connection, word: &str| {
        redis::cmd("CONFIG").arg("SET").arg("appendonly").arg(word).exec(connection).unwrap();
    };
    set(&mut connection, "no");
    write(&mut connection);
    set(&mut connection, "yes");
    wait_for("the first rewrite", || {
        let info = server.info();
        let idle = info.number("aof_rewrite_in_progress") == 0 && info.number("aof_rewrite_scheduled") == 0;
        (idle && !data.path().join("appendonlydir/temp-appendonly.aof.incr").exists()).then_some(())
    });
    write(&mut connection);
    assert!(!continues(&backup()));
}

/// Writes, and answers with the second in which that was.
fn set(server: &RedisServer, key: &str, value: &str) -> u64 {
    redis::cmd("SET").arg(key).arg(value).exec(&mut server.connection()).unwrap();
    now() / 1000
}

fn order(server: &RedisServer, words: &[&str]) {
    redis::cmd(words[0]).arg(&words[1..]).exec(&mut server.connection()).unwrap();
}

/// What the keys `k` and `extra` held at a second.
fn values(repository: &Repository, picked: &Picked) -> [Option<String>; 2] {
    let (_place, server, _) = revived(repository, picked, ServerKind::Redis7);
    let values: (Option<String>, Option<String>) =
        redis::cmd("MGET").arg("k").arg("extra").query(&mut server.connection()).unwrap();
    values.into()
}

fn k(value: &str) -> [Option<String>; 2] {
    [Some(value.into()), None]
}

/// What a server holds is no more what was written to it since a capture: by a restore of all of it, and of a moment.
///
/// TIME-5
#[test]
fn between_a_capture_and_a_restore_of_it_is_a_gap() {
    for is_cut in [false, true] {
        let Some((data, mut server)) = started(ServerKind::Redis7, ANNOTATED) else { return };
        let repository = repository();
        let zero = set(&server, "k", "zero");
        pass_seconds(2);
        let one = set(&server, "k", "one");
        back_up(&repository, data.path(), "d").unwrap();
        pass_seconds(2);
        let lost = set(&server, "k", "two");
        set(&server, "extra", "1");
        pass_seconds(2);
        let picked = at(&repository, if is_cut { zero } else { one }, false).unwrap();
        let place = tempfile::tempdir_in(data.path().parent().unwrap()).unwrap();
        put(&repository, &picked, &place.path().join("back")).unwrap();
        pass_seconds(2);
        let late = set(&server, "extra", "2");
        server.stop();
        let aof = data.path().join("appendonlydir");
        std::fs::remove_dir_all(&aof).unwrap();
        std::fs::rename(place.path().join("back/appendonlydir"), &aof).unwrap();
        pass_seconds(2);
        server.start_again();
        let three = set(&server, "k", "three");
        back_up(&repository, data.path(), "d").unwrap();
        pass_seconds(2);
        let four = set(&server, "k", "four");
        back_up(&repository, data.path(), "d").unwrap();
        drop(server);

        let (timelines, _) = load(&repository, &Filter::default()).unwrap();
        assert_eq!((timelines[0].stretches.len(), timelines[0].gaps.len()), (2, 1), "{timelines:?}");
        assert_eq!(timelines[0].stretches[1].snapshots.len(), 2);
        for second in [lost, late] {
            let refused = at(&repository, second, false).map(|picked| picked.moment);
            let Err(OperationError::Unreachable { before: Some(before), after: Some(after), .. }) = refused else {
                panic!("{second} was never so: {refused:?}");
            };
            assert!(before.0 / 1000 < lost && after.0 / 1000 > late && after.0 / 1000 <= three);
        }
        for (second, wanted) in [(zero, "zero"), (one, "one"), (three, "three"), (four, "four")] {
            let picked = at(&repository, second, false).unwrap();
            assert_eq!((values(&repository, &picked), picked.moment.precision), (k(wanted), Precision::Second));
        }
    }
}

/// Files that a restore by redkeep's journal put there, where their own age tells nothing.
///
/// TIME-5
#[test]
fn a_journal_of_a_restore_parts_as_well() {
    let Some((data, server)) = started(ServerKind::Redis7, ANNOTATED) else { return };
    let repository = repository();
    let one = set(&server, "k", "one");
    back_up(&repository, data.path(), "d").unwrap();
    pass_seconds(2);
    let lost = set(&server, "k", "two");
    pass_seconds(2);
    std::fs::write(data.path().join(".redkeep-restore.journal"), "").unwrap();
    pass_seconds(2);
    let three = set(&server, "k", "three");
    back_up(&repository, data.path(), "d").unwrap();
    drop(server);
    assert!(matches!(at(&repository, lost, false), Err(OperationError::Unreachable { .. })));
    for (second, wanted) in [(one, "one"), (three, "three")] {
        assert_eq!(values(&repository, &at(&repository, second, false).unwrap()), k(wanted));
    }
}

/// TIME-1
#[test]
fn a_copy_that_no_server_wrote_to_holds_what_its_original_does() {
    let Some((data, server)) = started(ServerKind::Redis7, ANNOTATED) else { return };
    let (repository, place) = (repository(), tempfile::tempdir().unwrap());
    let copy = |name: &str| {
        let copy = place.path().join(name);
        let done = std::process::Command::new("cp").arg("-a").arg(data.path()).arg(&copy).status().unwrap();
        assert!(done.success());
        copy
    };
    let mut seconds = Vec::new();
    for name in ["first", "second"] {
        for part in ["a", "b"] {
            let value = format!("{name} {part}");
            seconds.push((set(&server, "k", &value), value));
            pass_seconds(3);
        }
        back_up(&repository, &copy(name), "d").unwrap();
    }
    drop(server);
    let moved = copy("moved");
    let config = ServerOptions::with_config(ANNOTATED);
    let server = RedisServer::start_with(ServerKind::Redis7, &moved, config);
    seconds.push((set(&server, "k", "moved"), "moved".into()));
    back_up(&repository, &moved, "d").unwrap();
    drop(server);

    let (timelines, _) = load(&repository, &Filter::default()).unwrap();
    let stretches: Vec<usize> = timelines[0].stretches.iter().map(|stretch| stretch.snapshots.len()).collect();
    assert_eq!((stretches, timelines[0].gaps.len()), (vec![2, 1], 1), "{timelines:?}");
    for (second, wanted) in seconds {
        let picked = at(&repository, second, false).unwrap();
        assert_eq!((values(&repository, &picked), picked.moment.precision), (k(&wanted), Precision::Second));
    }
}

/// TIME-4
#[test]
fn what_was_written_before_annotations_were_switched_on_has_no_second() {
    let Some((data, server)) = started(ServerKind::Redis7, AOF) else { return };
    let repository = repository();
    pass_seconds(2);
    let early = set(&server, "k", "1");
    pass_seconds(2);
    set(&server, "k", "2");
    order(&server, &["FLUSHALL"]);
    order(&server, &["CONFIG", "SET", "aof-timestamp-enabled", "yes"]);
    pass_seconds(2);
    let exact = set(&server, "k", "3");
    pass_seconds(2);
    set(&server, "k", "4");
    back_up(&repository, data.path(), "d").unwrap();
    drop(server);
    let picked = at(&repository, early, false).unwrap();
    assert_eq!((picked.moment.precision, values(&repository, &picked)), (Precision::Marks, [None, None]));
    assert!(picked.moment.effective.0 / 1000 < early, "the mark is the begin of the AOF");
    let picked = at(&repository, exact, false).unwrap();
    assert_eq!((picked.moment.precision, values(&repository, &picked)), (Precision::Second, k("3")));
}

/// TIME-4
#[test]
fn what_was_written_while_annotations_were_off_has_no_second() {
    let Some((_data, server)) = started(ServerKind::Redis7, ANNOTATED) else { return };
    let repository = repository();
    let address = as_backup_user(&server);
    let capture = || {
        let live = LiveSource { address: address.clone(), options: LiveOptions::default(), way: Way::Files };
        let source = Source::Server(Box::new(live));
        let options = backup::Options { source, dataset: Some("d".into()), ..backup::Options::default() };
        backup::backup(&repository, &options, &Silent).unwrap()
    };
    let annotate = |word| order(&server, &["CONFIG", "SET", "aof-timestamp-enabled", word]);
    let one = set(&server, "k", "1");
    pass_seconds(2);
    capture();
    annotate("no");
    pass_seconds(1);
    set(&server, "k", "2");
    capture();
    pass_seconds(2);
    set(&server, "k", "dark");
    pass_seconds(2);
    let dark = now() / 1000;
    pass_seconds(2);
    set(&server, "k", "late");
    annotate("yes");
    pass_seconds(2);
    let three = set(&server, "k", "3");
    pass_seconds(2);
    let four = set(&server, "k", "4");
    capture();
    pass_seconds(2);
    let five = set(&server, "k", "5");
    pass_seconds(2);
    capture();
    drop(server);
    for (second, wanted, precision) in [
        (one, "1", Precision::Second),
        (dark, "2", Precision::Marks),
        (three, "3", Precision::Second),
        (four, "4", Precision::Second),
        (five, "5", Precision::Second),
    ] {
        let picked = at(&repository, second, false).unwrap();
        assert_eq!((picked.moment.precision, values(&repository, &picked)), (precision, k(wanted)));
    }
}
