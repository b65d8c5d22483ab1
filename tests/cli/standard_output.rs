//! A result that did not reach standard output is never that of a command that ends with 0.

use std::fs::{File, OpenOptions};
use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;

use crate::place::{Place, Ran, run};

/// Runs the program by a shell that gives it its descriptors.
fn by_shell(place: &Place, arguments: &[&str], redirection: &str) -> Ran {
    let mut shell = Command::new("/bin/sh");
    let script = format!("exec \"$0\" \"$@\" {redirection}");
    let like = place.command(&[]);
    shell.args(["-c", &script]).arg(cargo_bin("redkeep")).args(arguments).env_clear().stdin(Stdio::null());
    shell.current_dir(like.get_current_dir().unwrap());
    shell.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(&mut shell)
}

/// Every command that answers, and how it ends where the answer cannot be written.
const ANSWERS: [(&[&str], i32); 13] = [
    (&["man"], 1),
    (&["completions", "bash"], 1),
    (&["--help"], 1),
    (&["--version"], 1),
    (&["dump", "latest", "nodes.conf"], 1),
    (&["snapshots", "--quiet"], 1),
    (&["backup", "data", "--dataset", "sessions", "--json", "--quiet"], 3),
    (&["snapshots", "--json"], 1),
    (&["ls", "latest"], 1),
    (&["timeline"], 1),
    (&["stats"], 1),
    (&["key", "list"], 1),
    (&["check"], 3),
];

#[test]
fn an_answer_that_cannot_be_written_does_not_end_with_0() {
    let place = Place::with_snapshot();
    for redirection in ["1</dev/null", ">/dev/full"] {
        for (arguments, code) in &ANSWERS[..7] {
            let ran = by_shell(&place, arguments, redirection);
            assert_eq!(ran.code, *code, "{arguments:?} {redirection}: {}", ran.stderr);
            ran.says("redkeep: cannot write to standard output: ");
            assert_eq!(ran.stderr.contains("hint: the disk that it goes to is full"), redirection == ">/dev/full");
        }
    }
    for redirection in [">&-", "1<>/dev/null", ">&- 2>&-", "<&- >&- 2>&-"] {
        assert_eq!(by_shell(&place, &["dump", "latest", "nodes.conf"], redirection).code, 1);
    }
}

#[test]
fn who_wants_no_answer_gets_none_and_0() {
    let place = Place::with_snapshot();
    for (arguments, _) in ANSWERS {
        let ran = by_shell(&place, arguments, ">/dev/null");
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    }
    // The last ones are what a service or another language may give; a closed one looks like them.
    for redirection in [">>/dev/null", ">/dev/null 2>&1 <&-", "0<>/dev/null >&0 2>&0", "1<>/dev/null", ">&-"] {
        for arguments in [&["backup", "data", "--dataset", "sessions", "--quiet"][..], &["snapshots"], &["check"]] {
            assert_eq!(by_shell(&place, arguments, redirection).code, 0, "{arguments:?} {redirection}");
        }
    }
    // What says only what it did is silent on demand, and then needs no standard output.
    assert_eq!(by_shell(&place, &["check", "--quiet"], ">/dev/full").code, 0);
    // A terminal, or another file, is open for reading too.
    let file =
        || OpenOptions::new().read(true).write(true).create(true).truncate(true).open(place.path("out")).unwrap();
    assert_eq!(run(place.command(&["snapshots"]).stdout(file())).code, 0);
}

#[test]
fn a_recovery_key_that_nobody_would_see_is_not_drawn() {
    let place = Place::new();
    let made = by_shell(&place, &["init", "--recovery-key"], ">&-");
    assert_eq!(made.code, 1, "{}", made.stderr);
    assert!(!place.repository().exists());
    place.done(&["init"]);
    let slots = || place.done(&["key", "list", "--json"]).json()["slots"].as_array().unwrap().len();
    assert_eq!(by_shell(&place, &["key", "add", "--recovery"], ">&-").code, 1);
    assert_eq!(slots(), 1);
    // Nobody knows beforehand that a disk is full: the slot is there, and that is said.
    let ran = run(place.command(&["key", "add", "--recovery"]).stdout(File::create("/dev/full").unwrap()));
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    ran.says("cannot write to standard output").says("hint: nobody saw the secret").says("redkeep key remove");
    assert_eq!(slots(), 2);
}
