//! Servers that call commands otherwise, and that have modules: their datasets are proved by a scratch server that does the
//! same.

use redkeep::operations::Silent;
use redkeep::operations::restore::server::undo_server;
use redkeep::redis::host::Named;

use crate::drill_surroundings::module;
use crate::preflight::commands;
use crate::restore_server::{Captured, Victim, refused, take};
use crate::support::server::{ServerKind, wait_for};

const RENAMED: &[&str] = &["rename-command DEL remove", "rename-command FLUSHALL \"\"", "rename-command CONFIG adjust"];

fn kinds() -> impl Iterator<Item = ServerKind> {
    ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped())
}

fn renamed(kind: ServerKind, appendonly: &str) -> Victim {
    let mut victim = Victim::start(kind, &[RENAMED, &[appendonly]].concat());
    let names = [("config".to_owned(), "adjust".to_owned())];
    victim.options.address = victim.options.address.clone().with_renamed(&names);
    victim
}

#[test]
fn an_aof_with_renamed_commands_is_loaded_by_a_scratch_server_that_calls_them_so() {
    for kind in kinds() {
        let own = commands(kind, RENAMED, &["SET a 1", "SET b 1", "remove a", "SETEX c 9999 d"]);
        let usual = commands(kind, &[], &["SET a 1", "SET b 1", "DEL a"]);
        for appendonly in ["appendonly no", "appendonly yes"] {
            let victim = renamed(kind, appendonly);
            let report = victim.restore(&own).unwrap_or_else(|error| panic!("{kind:?}: {error} {:?}", error.hint()));
            assert!(report.verified.unwrap().is_right(), "{kind:?} {appendonly}");
            own.held.assert_equal(&victim.holds(), &format!("{kind:?} {appendonly}"));
            assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
            victim.old.assert_equal(&victim.holds(), &format!("{kind:?} {appendonly}, undone"));
            // One that calls them as usual: a dump of it is loaded by anybody, its commands are not.
            match appendonly {
                "appendonly no" => {
                    victim.restore(&usual).unwrap();
                    usual.held.assert_equal(&victim.holds(), &format!("{kind:?} {appendonly}"));
                }
                _ => refused(&victim, &usual, "does not know, and at which it would end while loading: DEL", "renamed"),
            }
        }
    }
}

#[test]
fn a_stopped_server_whose_commands_are_renamed_is_restored_into() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let own = commands(kind, RENAMED, &["SET a 1", "SET b 1", "remove a"]);
    let mut victim = renamed(kind, "appendonly no");
    let mut connection = victim.server().connection();
    let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").query::<redis::Value>(&mut connection);
    wait_for("its end", || (!victim.is_running()).then_some(()));
    victim.options.named = Some(Named {
        config: Some(victim.server().config_file()),
        program: Some(kind.executable()),
        directory: Some(victim.directory()),
        ..Named::default()
    });
    victim.restore(&own).unwrap_or_else(|error| panic!("{error} {:?}", error.hint()));
    own.held.assert_equal(&victim.holds(), "restored");
}

#[test]
fn a_scratch_server_has_the_modules_of_the_target_where_the_data_may_need_them() {
    let kind = ServerKind::Redis74;
    if kind.is_skipped() {
        return;
    }
    let load = format!("loadmodule \"{}\"", module("redisbloom.so").display());
    let taken = commands(kind, &[&load], &["BF.ADD filter a", "SET a 1"]);
    let victim = Victim::start(kind, &[&load]);
    let report = victim.restore(&taken).unwrap_or_else(|error| panic!("{error} {:?}", error.hint()));
    assert!(report.verified.unwrap().is_right());
    let has: u8 = redis::cmd("BF.EXISTS").arg("filter").arg("a").query(&mut victim.server().connection()).unwrap();
    assert_eq!(has, 1);
    // Of data that need none it has none.
    let plain = take(kind, Captured::Aof, &[]);
    victim.restore(&plain).unwrap();
    plain.held.assert_equal(&victim.holds(), "restored");
}
