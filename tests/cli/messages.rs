//! What is said, how a command ends, and that both agree with README and help.

use std::fs;

use crate::configuration::write;
use crate::place::Place;

/// Code and meaning, from lines that begin with a code.
fn table(lines: impl Iterator<Item = String>) -> Vec<(u8, String)> {
    let mut rows: Vec<(u8, String)> = Vec::new();
    for line in lines {
        match line.trim().split_once(' ').map(|(code, meaning)| (code.parse(), meaning.trim())) {
            Some((Ok(code), meaning)) => rows.push((code, meaning.into())),
            _ => rows.last_mut().unwrap().1.push_str(&format!(" {}", line.trim())),
        }
    }
    rows
}

#[test]
fn readme_and_help_say_the_same_of_exit_codes() {
    let help = Place::new().done(&["--help"]).text();
    let help = help.lines().skip_while(|line| *line != "Exit codes:").skip(1);
    let help = table(help.take_while(|line| line.starts_with("  ")).map(String::from));
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let rows = readme.lines().skip_while(|line| !line.starts_with("| exit code |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells.join(" ")
    });
    assert_eq!((help.len(), help), (11, table(rows)));
}

#[test]
fn a_dataset_that_there_is_not_is_an_error_that_names_those_there_are() {
    let place = Place::with_repository();
    place
        .ends(1, &["snapshots", "--dataset", "typo"])
        .says("no dataset is called typo: the repository holds no snapshot");
    place.backup();
    for command in [&["snapshots"][..], &["snapshots", "--forgotten"], &["timeline"]] {
        let ran = place.ends(1, &[command, &["--dataset", "typo", "--json"]].concat());
        ran.says("no dataset is called typo; there are: sessions");
        assert_eq!(ran.json()["error"]["exit_code"], 1);
        place.ends(0, &[command, &["--dataset", "sessions"]].concat());
    }
}

#[test]
fn commands_of_the_user_are_quiet_unless_they_fail() {
    let place = Place::with_repository();
    let profile = |hooks: &str| {
        let text = format!("[profile.daily]\ndir = \"data\"\ndataset = \"sessions\"\n{hooks}");
        write(&place.path("redkeep.toml"), &text);
    };
    let config = place.arg("redkeep.toml");
    let quiet = |code| place.ends(code, &["run", "daily", "--config", &config, "--quiet"]);
    profile("before = \"echo one; echo two >&2\"\nafter = \"echo three\"\n");
    let ran = quiet(0);
    assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("", ""));
    let loud = place.ends(0, &["run", "daily", "--config", &config]);
    loud.says("one\ntwo\n").says("three\n");
    profile("before = \"echo one; echo two >&2; exit 7\"\n");
    let ran = quiet(1);
    ran.says("one\ntwo\n").says("failed: exit status: 7");
}

#[test]
fn what_is_gone_for_good_is_counted_and_not_listed() {
    let place = Place::with_snapshot();
    fs::write(place.data().join("more"), "more").unwrap();
    place.backup();
    place.done(&["forget", "--dataset", "sessions", "--keep-last", "1", "-q"]);
    let text = place.done(&["snapshots", "--forgotten"]).text();
    assert_eq!(text.lines().count(), 2, "{text}");
    place.done(&["prune", "--grace", "0", "-q"]);
    let ran = place.ends(0, &["snapshots", "--forgotten"]);
    assert_eq!(ran.text(), "");
    ran.says("note: gone for good, and shown with --json: 1 forgotten snapshot");
    assert_eq!(place.ends(0, &["snapshots", "--forgotten", "--json"]).json()["forgotten"].as_array().unwrap().len(), 1);
}

#[test]
fn a_password_among_the_arguments_is_warned_of() {
    let place = Place::with_repository();
    for words in [&["--redis", "redis://:secret@127.0.0.1:1"][..], &["--redis=redis://u:secret@127.0.0.1:1"]] {
        let ran = place.ends(9, &[&["backup", "--dataset", "d"], words].concat());
        ran.says("warning: the password in the server's address can be read by every user");
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    }
    let ran = place.ends(9, &["backup", "--dataset", "d", "--redis", "redis://u@127.0.0.1:1"]);
    assert!(!ran.stderr.contains("can be read by"), "{}", ran.stderr);
}

#[test]
fn details_come_with_their_times_where_that_was_asked_for() {
    let place = Place::with_repository();
    place.ends(0, &["snapshots", "-v"]).says("redkeep: opening ");
    let ran = place.ends(0, &["snapshots", "-vv"]);
    ran.says(" s: opening ");
    assert!(!ran.stderr.contains("redkeep: opening"), "{}", ran.stderr);
}

/// NO_COLOR comes before all else; a pipe has no colours unless they are asked for.
#[test]
fn the_first_word_of_a_message_has_a_colour_where_colours_are_wanted() {
    let place = Place::with_repository();
    let said = |variables: &[&str]| {
        let mut command = place.command(&["snapshots", "--dataset", "none"]);
        command.envs(variables.iter().map(|name| (*name, "1")));
        crate::place::run(&mut command).stderr
    };
    let plain = said(&[]);
    assert!(plain.starts_with("redkeep: no dataset is called none"), "{plain}");
    let coloured = said(&["CLICOLOR_FORCE"]);
    assert!(coloured.starts_with("\u{1b}[1m\u{1b}[31mredkeep:\u{1b}[0m no dataset"), "{coloured:?}");
    assert_eq!(said(&["CLICOLOR_FORCE", "NO_COLOR"]), plain);
}

/// What other commands call --redis a restore calls --server: each takes both.
#[test]
fn a_server_is_named_in_either_spelling() {
    let place = Place::with_snapshot();
    let nobody = "127.0.0.1:1";
    for words in [
        &["backup", "--redis", nobody][..],
        &["backup", "--server", nobody],
        &["restore", "--server=127.0.0.1:1", "--dry-run"],
        &["restore", "--redis", nobody, "--dry-run"],
        &["restore", "latest", "--redis=127.0.0.1:1", "--dry-run"],
        &["undo", "--redis", nobody, "--dry-run"],
    ] {
        place.ends(9, words).says("127.0.0.1:1");
    }
    place.ends(2, &["restore", "--redis"]);
}
