//! An earlier moment in a running server: what a live capture recorded is cut back, and the server then holds that.

use redkeep::format::UnixMillis;
use redkeep::operations::list::Selector;
use redkeep::operations::restore::From;
use redkeep::operations::restore::server::{Consent, Options, ServerReport, restore_into_server, undo_server};
use redkeep::operations::source::{LiveSource, Source, Way};
use redkeep::operations::timeline::{Picked, Search, before_command};
use redkeep::operations::{OperationError, Silent, backup};
use redkeep::redis::server::LiveOptions;
use redkeep::repository::Repository;
use tempfile::TempDir;

use crate::live::as_backup_user;
use crate::moments::{ANNOTATED, Write, at, counter, pass_seconds, write_for};
use crate::restore_server::Victim;
use crate::support::repository::{Hands, create, latest, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

const AOF_ON: &[&str] = &["appendonly yes", "appendfilename \"mine.aof\""];
const AOF_OFF: &[&str] = &["appendonly no"];

/// A server that was written to for some seconds and then emptied, captured before and after that.
struct Scene {
    repository: Repository,
    writes: Vec<Write>,
    _data: TempDir,
}

fn capture(repository: &Repository, server: &RedisServer, tail: bool) -> backup::Report {
    let live = LiveSource {
        address: as_backup_user(server),
        options: LiveOptions { tail, ..LiveOptions::default() },
        way: Way::Files,
    };
    let source = Source::Server(Box::new(live));
    let options = backup::Options { source, dataset: Some("counter".into()), ..backup::Options::default() };
    backup::backup(repository, &options, &Silent).unwrap()
}

impl Scene {
    fn new() -> Option<Scene> {
        if ServerKind::Redis7.is_skipped() {
            return None;
        }
        let data = tempfile::tempdir().unwrap();
        let server = RedisServer::start_with(ServerKind::Redis7, data.path(), ServerOptions::with_config(ANNOTATED));
        let repository = create(memory(), &Hands::new(78));
        pass_seconds(1);
        let mut writes = write_for(&mut server.connection(), 3);
        let first = capture(&repository, &server, false);
        assert_eq!(first.snapshot.facts["capture.mode"], "aof");
        writes.extend(write_for(&mut server.connection(), 2));
        redis::cmd("FLUSHALL").exec(&mut server.connection()).unwrap();
        capture(&repository, &server, true);
        Some(Scene { repository, writes, _data: data })
    }

    fn restore(&self, victim: &Victim, picked: &Picked) -> ServerReport {
        let from = picked.goal.is_some().then_some(From::Aof);
        let options = Options { goal: picked.goal.clone(), from, ..victim.options.clone() };
        let report = restore_into_server(&self.repository, &picked.chosen, &options, &Silent);
        let report = report.unwrap_or_else(|error| panic!("{error} {:?}", error.hint()));
        assert!(report.verified.as_ref().unwrap().is_right(), "{:?}", report.verified);
        report
    }
}

#[test]
fn a_second_that_a_live_capture_recorded_comes_back_in_a_server_with_its_aof_on_or_off() {
    let Some(scene) = Scene::new() else { return };
    let first_second = scene.writes[0].value / 1000 + 1;
    for (lines, kind) in [(AOF_ON, ServerKind::Redis7), (AOF_OFF, ServerKind::Redis7), (AOF_ON, ServerKind::Redis62)] {
        if kind.is_skipped() {
            continue;
        }
        // What the AOF begins with is of 7.0: an older server reads one that begins empty.
        let victim = Victim::start(kind, lines);
        for second in [first_second, first_second + 2] {
            let picked = at(&scene.repository, second, false).unwrap();
            if kind == ServerKind::Redis62 {
                let options = Options { goal: picked.goal.clone(), from: Some(From::Aof), ..victim.options.clone() };
                let refused = restore_into_server(&scene.repository, &picked.chosen, &options, &Silent).unwrap_err();
                assert!(refused.to_string().contains("cannot read a dump that begins with REDIS0010"), "{refused}");
                victim.old.assert_equal(&victim.holds(), "nothing was touched");
                continue;
            }
            let report = scene.restore(&victim, &picked);
            // A slow capture may have ended a second after the last of these.
            assert!(second > first_second || report.cut.unwrap().dropped > 0);
            let found = counter(victim.server()).expect("the second holds a write");
            assert!(found / 1000 <= second, "{found} was written after {second}");
            let place = scene.writes.iter().position(|write| write.value == found).unwrap();
            let next = scene.writes.get(place + 1);
            assert!(next.is_none_or(|next| next.answered / 1000 > second), "{next:?} is missing in {second}");
        }
        if kind == ServerKind::Redis7 {
            // Two restores, so that the last undo brings back what the first one restored.
            undo_server(&victim.options, &Silent).unwrap();
            assert!(counter(victim.server()).unwrap() / 1000 <= first_second);
        }
    }
}

#[test]
fn a_server_holds_again_what_it_held_before_it_was_emptied() {
    let Some(scene) = Scene::new() else { return };
    let words = vec![b"FLUSHALL".to_vec()];
    let search = Search { words, snapshot: Some(&Selector::Latest(0)), dataset: None };
    let (picked, _) = before_command(&scene.repository, &search, &Silent).unwrap();
    let last = scene.writes[scene.writes.len() - 1];
    for lines in [AOF_ON, AOF_OFF] {
        let victim = Victim::start(ServerKind::Redis7, lines);
        let report = scene.restore(&victim, &picked);
        assert_eq!(counter(victim.server()), Some(last.value));
        let cut = report.cut.unwrap();
        assert!(cut.second.is_some_and(|second| UnixMillis(second * 1000).0 / 1000 >= last.value / 1000), "{cut:?}");
    }
}

/// TIME-10
#[test]
fn what_was_written_between_a_capture_and_its_restore_is_no_moment() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let mut victim = Victim::start_with(ServerKind::Redis7, ANNOTATED, |_| ());
    // The user that captures is in none of the server's files.
    victim.options.consents.push(Consent::Settings);
    let repository = create(memory(), &Hands::new(80));
    pass_seconds(1);
    let kept = write_for(&mut victim.server().connection(), 2);
    capture(&repository, victim.server(), false);
    pass_seconds(2);
    let lost = write_for(&mut victim.server().connection(), 2);
    pass_seconds(2);
    let chosen = latest(&repository, "counter").unwrap();
    restore_into_server(&repository, &chosen, &victim.options, &Silent).unwrap();
    assert_eq!(counter(victim.server()), Some(kept[kept.len() - 1].value));
    pass_seconds(2);
    let since = write_for(&mut victim.server().connection(), 2);
    capture(&repository, victim.server(), false);

    let gone = at(&repository, lost[0].value / 1000, false).map(|picked| picked.moment.effective);
    assert!(matches!(gone, Err(OperationError::Unreachable { .. })), "{gone:?}");
    for write in [kept[0], since[since.len() - 1]] {
        let picked = at(&repository, write.value / 1000, false).unwrap();
        assert_eq!(picked.moment.effective.0 / 1000, write.value / 1000);
    }
}
