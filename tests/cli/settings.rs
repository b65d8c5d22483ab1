//! What all commands share: the location, the directories of this host, standard output and error.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use crate::place::{Place, run};

#[test]
fn no_repository_ends_with_6() {
    let place = Place::new();
    place.ends(6, &["snapshots"]).says("hint: check that it is mounted, or make one with: redkeep init");
    fs::create_dir(place.repository()).unwrap();
    let ran = place.ends(6, &["snapshots", "--json"]);
    ran.says("no repository at").says("hint: make one with: redkeep init");
    assert_eq!(ran.json()["error"]["exit_code"], 6);
}

#[test]
fn a_location_that_is_missing_or_unknown_is_wrong_usage() {
    let place = Place::new();
    let ran = run(place.command(&["snapshots"]).env_remove("REDKEEP_REPO"));
    assert_eq!(ran.code, 2);
    ran.says("--repo LOCATION or REDKEEP_REPO");
    place.ends(2, &["snapshots", "--repo", "s3://"]).says("names no bucket");
    place.ends(2, &["snapshots", "--repo", "swift://container"]).says("nothing says how to log in");
}

#[test]
fn wrong_usage_is_json_too_when_json_was_asked_for() {
    let place = Place::new();
    let ran = place.ends(2, &["dump", "--json"]);
    assert_eq!(ran.json()["error"]["exit_code"], 2);
    assert!(ran.json()["error"]["message"].as_str().unwrap().contains("required arguments"));
    assert_eq!(ran.json()["error"]["hint"], "see: redkeep dump --help");
    let ran = place.ends(2, &["--repo", "init", "key", "add", "--nonsense", "--json"]);
    assert_eq!(ran.json()["error"]["hint"], "see: redkeep key add --help");
    assert_eq!(place.ends(2, &["unknown"]).text(), "");
}

#[test]
fn the_first_contact_is_told_once_and_not_by_init() {
    let place = Place::with_snapshot();
    let elsewhere = |arguments: &[&str]| run(place.command(arguments).env("HOME", place.path("other home")));
    elsewhere(&["snapshots"]).says("note: this host uses ").says("for the first time and trusts what it shows");
    assert_eq!(elsewhere(&["snapshots"]).stderr, "");
}

/// What no host can know it says: one that remembers nothing takes an older copy of the whole repository for the newest.
#[test]
fn a_repository_set_back_as_a_whole_is_an_alarm_to_who_saw_it_and_told_as_new_to_everybody_else() {
    const NOTE: &str = "for the first time and trusts what it shows: repository ";
    let place = Place::with_snapshot();
    let (repository, older) = (place.repository(), place.path("older"));
    let copied = Command::new("cp").arg("-a").args([&repository, &older]).status().unwrap();
    assert!(copied.success());
    place.backup();
    fs::remove_dir_all(&repository).unwrap();
    fs::rename(&older, &repository).unwrap();

    for (code, arguments) in [(3, &["snapshots"][..]), (4, &["check"]), (4, &["restore", "--target", "back"])] {
        let ran = place.ends(code, arguments);
        let told = ran.text() + &ran.stderr;
        assert!(told.contains("is missing: this host has seen it") && !told.contains(NOTE), "{arguments:?}: {told}");
    }
    // Each of these is a host that comes new.
    for (number, arguments) in [
        &["snapshots"][..],
        &["check", "--json"],
        &["verify"],
        &["restore", "--target", "back"],
        &["backup", "data", "--dataset", "sessions"],
    ]
    .into_iter()
    .enumerate()
    {
        let state = place.path(&format!("state {number}"));
        let as_new = || run(place.command(arguments).env("REDKEEP_STATE_DIR", &state));
        let ran = as_new();
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        ran.says(&format!("note: this host uses {} {NOTE}", repository.display()));
        if number < 3 {
            assert_eq!(as_new().stderr, "", "{arguments:?}: once");
        }
        fs::remove_dir_all(&state).unwrap();
        as_new().says(NOTE);
    }
}

#[test]
fn another_repository_at_a_known_place_needs_a_word() {
    let place = Place::with_snapshot();
    fs::remove_dir_all(place.repository()).unwrap();
    let other = run(place.command(&["init", "--json"]).env("HOME", place.path("other home")));
    let other = other.json()["repository"].as_str().unwrap().to_string();
    let hint = format!("--accept-repository {other}");
    place.ends(1, &["stats"]).says(&hint);
    place.ends(1, &["stats", "--accept-repository", &"0".repeat(32)]).says(&hint);
    place.ends(2, &["stats", "--accept-repository", "short"]);
    place.ends(0, &["stats", "--accept-repository", &other]);
    place.done(&["stats"]);
}

#[test]
fn catalog_and_state_go_where_they_are_told() {
    let place = Place::with_repository();
    assert!(place.path("home/.cache/redkeep").is_dir() && place.path("home/.local/state/redkeep/state.db").is_file());
    let mut command = place.command(&["snapshots", "--cache-dir", &place.arg("cache")]);
    run(command.env("REDKEEP_STATE_DIR", place.path("state")));
    assert!(place.path("cache").is_dir() && place.path("state/state.db").is_file());
    let mut command = place.command(&["snapshots"]);
    run(command.env("XDG_CACHE_HOME", place.path("xc")).env("XDG_STATE_HOME", place.path("xs")));
    assert!(place.path("xc/redkeep").is_dir() && place.path("xs/redkeep/state.db").is_file());
    let ran = run(place.command(&["snapshots"]).env("REDKEEP_CACHE_DIR", "/dev/null/x"));
    assert_eq!(ran.code, 0);
    ran.says("note: the catalog cannot be kept").says("--cache-dir");
}

#[test]
fn a_reader_of_a_listing_that_goes_away_is_no_failure() {
    let place = Place::with_snapshot();
    let mut child = place.command(&["snapshots"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
}

/// Before anything is begun a signal ends the program where it is, and that is told.
#[test]
fn an_early_interrupt_is_told_as_text_and_as_json() {
    let place = Place::with_repository();
    for (arguments, signal) in [(&["snapshots", "--json"][..], "-INT"), (&["backup", "data"], "-TERM")] {
        // The password is awaited: nothing of the repository was opened yet.
        let mut command = place.command(arguments);
        command.args(["--password-command", "echo waiting >&2; exec sleep 3"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut waiting = [0; 8];
        child.stderr.as_mut().unwrap().read_exact(&mut waiting).unwrap();
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(err, "redkeep: interrupted\n");
        let wanted = "{\"error\":{\"message\":\"interrupted\",\"hint\":null,\"exit_code\":130}}\n";
        assert_eq!(out, if arguments.contains(&"--json") { wanted } else { "" });
    }
}
