//! A running server that would not come up again is left running.

use std::fs;
use std::process::{Command, Stdio};

use redkeep::operations::Silent;
use redkeep::operations::restore::server::{Consent, undo_server};

use crate::restore_server::{Captured, Victim, is_left_alone, plain, refused, take};
use crate::support::program::copy_program;
use crate::support::server::{ServerKind, wait_for};

/// LOCAL-24
#[test]
fn a_server_whose_configuration_cannot_start_it_any_more_is_left_running() {
    let Some((taken, mut victim)) = plain(ServerKind::Redis7) else { return };
    victim.restore(&taken).unwrap();
    let config = victim.server().config_file();
    let sound = fs::read_to_string(&config).unwrap();
    let gone = victim.directory().join("gone/redis.log");
    let broken = [
        ("nonsense 1".to_owned(), "does not start with"),
        ("maxmemory many".to_owned(), "does not start with"),
        (format!("logfile {}", gone.display()), "could not write its log"),
    ];
    for (line, words) in broken {
        fs::write(&config, format!("{sound}\n{line}\n")).unwrap();
        is_left_alone(&mut victim, &taken, words);
    }
    fs::remove_file(&config).unwrap();
    is_left_alone(&mut victim, &taken, "which is gone");
    fs::write(&config, sound).unwrap();
    assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
    victim.old.assert_equal(&victim.holds(), "mended and put back");
}

#[test]
fn a_server_whose_program_was_upgraded_since_is_restored_into_and_told_so() {
    let Some((taken, mut victim)) = plain(ServerKind::Redis7) else { return };
    victim.shut_down();
    let place = tempfile::tempdir().unwrap();
    let (program, new) = (place.path().join("redis-server"), place.path().join("new"));
    copy_program(&ServerKind::Redis7.executable(), &program);
    victim.options.program = Some(program.clone());
    let mut command = Command::new("setsid");
    command.arg("--fork").arg(&program).arg(victim.server().config_file());
    assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    wait_for("the server", || victim.is_running().then_some(()));
    copy_program(&ServerKind::Redis7.executable(), &new);
    fs::rename(&new, &program).unwrap();
    let report = victim.restore(&taken).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("was replaced since the server was started")), "{report:?}");
    taken.held.assert_equal(&victim.holds(), "the new program serves what was restored");
    // One that is gone cannot be started again.
    fs::remove_file(&program).unwrap();
    let error = victim.restore(&taken).unwrap_err();
    assert!(error.to_string().contains("redis-server is gone"), "{error}");
    assert!(victim.is_running());
}

#[test]
fn where_a_person_lets_the_password_go_the_server_is_asked_without_one() {
    for kind in [ServerKind::Redis7, ServerKind::Valkey9] {
        if kind.is_skipped() {
            continue;
        }
        let taken = take(kind, Captured::Dump, &[]);
        let mut victim = Victim::start(kind, &[]);
        redis::cmd("CONFIG").arg(&["SET", "requirepass", "hunter2"]).exec(&mut victim.server().connection()).unwrap();
        victim.options.address = victim.options.address.clone().with_login(None, Some("hunter2"));
        let error = victim.restore(&taken).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("--force settings")), "{error}");
        victim.options.consents.push(Consent::Settings);
        let report = victim.restore(&taken).unwrap();
        assert!(report.verified.unwrap().is_right());
        taken.held.assert_equal(&victim.holds(), "restored, and without a password");
    }
}

#[test]
fn a_server_that_needs_a_variable_which_the_restart_does_not_have_is_left_running() {
    let kind = ServerKind::Redis74;
    if kind.is_skipped() {
        return;
    }
    // Its start script names libraries, and the server writes over its environment.
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, &[]);
    let program = fs::read_link(format!("/proc/{}/exe", victim.server().info().number("process_id"))).unwrap();
    let plain = Command::new(program).env_clear().arg("--version").output().unwrap();
    if plain.status.success() {
        return; // Here it needs none.
    }
    victim.options.commands.start = None;
    refused(&victim, &taken, "and the environment that it would have", "nothing was touched");
}
