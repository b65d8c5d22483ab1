//! What a person at a terminal is asked, and that nobody else is.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::place::Place;
use crate::support::server::{RedisServer, ServerKind};

/// Runs the program at a terminal, where a person types an answer. Its exit code, and what is on the screen.
fn at_a_terminal(place: &Place, words: &[&str], answer: &str) -> (i32, String) {
    let wanted = place.command(words);
    let line = [wanted.get_program()].into_iter().chain(wanted.get_args()).map(|word| word.to_str().unwrap());
    let line = shlex::try_join(line).unwrap();
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(wanted.get_current_dir().unwrap()).env_clear();
    command.envs(wanted.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "dumb");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(answer.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn what_an_undo_needs_is_removed_only_by_a_yes() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    place.done(&["restore", "--target", "back"]);
    let list = || place.done(&["undo", "back", "--list", "--json"]).json()["asides"].as_array().unwrap().clone();
    let time = list()[0]["time"].as_str().unwrap().to_string();
    for (answer, code, left) in [("n\n", 2, 1), ("\n", 2, 1), ("Yes\n", 0, 0)] {
        let (ended, screen) = at_a_terminal(&place, &["undo", "back", "--remove", &time], answer);
        assert_eq!((ended, list().len()), (code, left), "{screen}");
        assert!(screen.contains("? it cannot be put back any more [y/N] "), "{screen}");
    }
}

#[test]
fn a_server_is_replaced_only_by_a_yes_to_what_was_shown() {
    let (dir, kind) = (tempfile::tempdir().unwrap(), ServerKind::Redis7);
    if kind.is_skipped() {
        return;
    }
    let server = RedisServer::start(kind, dir.path());
    redis::cmd("SET").arg("a").arg("b").exec(&mut server.connection()).unwrap();
    let (place, address) = (Place::with_repository(), format!("127.0.0.1:{}", server.port()));
    place.ends(0, &["backup", "--redis", &address, "-q"]);
    let words = ["restore", "latest", "--redis", &address];
    let unasked = place.run(&words);
    assert!(
        unasked.code != 0 && unasked.stderr.contains("--yes") && !unasked.stderr.contains("[y/N]"),
        "{}",
        unasked.stderr
    );
    let (code, screen) = at_a_terminal(&place, &words, "n\n");
    assert_eq!(code, unasked.code, "{screen}");
    assert!(screen.contains("would restore snapshot ") && screen.contains("  1. "), "{screen}");
    assert!(screen.contains("do that? the server is stopped for it [y/N] ") && screen.contains("--yes"), "{screen}");
    let kept: String = redis::cmd("GET").arg("a").query(&mut server.connection()).unwrap();
    assert_eq!(kept, "b");
}
