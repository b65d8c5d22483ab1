//! What starts a server is tried before it is stopped, as far as that can be: what is sure to fail is refused.

use std::fs;
use std::process::{Command, Stdio};

use redkeep::operations::Silent;
use redkeep::operations::restore::server::undo_server;

use crate::restore_server::{Captured, Victim, is_left_alone, plain, refused, take};
use crate::support::program::{copy_program, write_script};
use crate::support::server::{ServerKind, wait_for};

/// LOCAL-24
#[test]
fn a_command_that_is_sure_to_fail_is_not_relied_on() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, &[]);
    victim.restore(&taken).unwrap();
    let sound = victim.options.commands.start.clone();
    for (command, words) in
        [("/nowhere/start-redis", "which is not there"), ("start 'redis", "the shell does not understand")]
    {
        victim.options.commands.start = Some(command.into());
        is_left_alone(&mut victim, &taken, words);
    }
    victim.options.commands.start = sound;
    let config = victim.server().config_file();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\nnonsense 1\n")).unwrap();
    is_left_alone(&mut victim, &taken, "does not start with the server's configuration");
    fs::remove_file(&config).unwrap();
    is_left_alone(&mut victim, &taken, "which is gone");
    // Whatever a script does counts.
    fs::write(&config, text).unwrap();
    let script = victim.directory().join("start.sh");
    let text = format!("#!/bin/sh\nexec setsid --fork {} {}\n", kind.executable().display(), config.display());
    write_script(&script, &text);
    victim.options.commands.start = Some(format!("{} >/dev/null 2>&1", script.display()));
    assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
    victim.old.assert_equal(&victim.holds(), "put back");
}

/// LOCAL-24
#[test]
fn a_server_that_would_come_up_as_an_older_one_is_not_given_what_that_cannot_read() {
    let (new, old) = (ServerKind::Valkey9, ServerKind::Redis7);
    let Some((_, mut victim)) = plain(old).filter(|_| !new.is_skipped()) else { return };
    let taken = take(new, Captured::Dump, &[]);
    victim.shut_down();
    let place = tempfile::tempdir().unwrap();
    let (program, other) = (place.path().join("redis-server"), place.path().join("other"));
    copy_program(&real(new), &program);
    victim.options.program = Some(program.clone());
    let mut command = Command::new("setsid");
    command.arg("--fork").arg(&program).arg(victim.server().config_file());
    assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    wait_for("the server", || victim.is_running().then_some(()));
    copy_program(&old.executable(), &other);
    fs::rename(&other, &program).unwrap();
    for dry_run in [true, false] {
        victim.options.dry_run = dry_run;
        refused(&victim, &taken, "started again, the server is Redis 7.0.15, which cannot read", "newer");
    }
}

/// The program behind a start script.
fn real(kind: ServerKind) -> std::path::PathBuf {
    let path = kind.executable();
    let text = fs::read_to_string(&path).unwrap_or_default();
    let mut words = text.split(['\'', ' ', '\n']);
    words.find(|word| word.ends_with("-server") && word.starts_with('/')).map_or(path, Into::into)
}
