//! Where the password comes from.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::place::{Place, Ran, run};

/// A run without any password in the environment.
fn without(place: &Place, arguments: &[&str]) -> Ran {
    run(place.command(&[&["snapshots"], arguments].concat()).env_remove("REDKEEP_PASSWORD"))
}

fn write(place: &Place, name: &str, text: &str, mode: u32) -> String {
    fs::write(place.path(name), text).unwrap();
    fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    place.arg(name)
}

#[test]
fn a_file_or_a_command_gives_it_in_its_first_line() {
    let place = Place::with_repository();
    let file = write(&place, "password", "correct horse\r\nnot this\n", 0o600);
    let ran = without(&place, &["--password-file", &file]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "note: no snapshot fits\n"));
    assert_eq!(without(&place, &["--password-command", "echo correct horse; echo not this"]).code, 0);
    for (name, value) in [("REDKEEP_PASSWORD_FILE", file.as_str()), ("REDKEEP_PASSWORD_COMMAND", "echo correct horse")]
    {
        assert_eq!(run(place.command(&["stats"]).env_remove("REDKEEP_PASSWORD").env(name, value)).code, 0);
    }
}

#[test]
fn a_wrong_one_ends_with_7() {
    let place = Place::with_repository();
    let ran = run(place.command(&["snapshots", "--json"]).env("REDKEEP_PASSWORD", "wrong"));
    assert_eq!(ran.code, 7);
    assert_eq!(ran.json()["error"]["exit_code"], 7);
    ran.says("redkeep: wrong password").says("hint: it came from the variable REDKEEP_PASSWORD");
    assert!(!ran.stderr.contains("\"wrong\""));
    let file = write(&place, "password", "wrong", 0o600);
    let ran = without(&place, &["--password-file", &file]);
    ran.says(&format!("hint: it came from --password-file, {file}"));
    let ran = without(&place, &["--password-command", "echo wrong"]);
    ran.says("hint: it came from what --password-command printed");
}

#[test]
fn a_file_that_every_user_can_read_is_worth_a_warning() {
    let place = Place::with_repository();
    let file = write(&place, "password", "correct horse", 0o644);
    let ran = without(&place, &["--password-file", &file, "--quiet"]);
    assert_eq!(ran.code, 0);
    ran.says("warning: ").says("chmod o-r");
}

#[test]
fn without_one_and_without_a_terminal_the_ways_are_named() {
    let place = Place::with_repository();
    let ran = without(&place, &[]);
    assert_eq!(ran.code, 2);
    ran.says("--password-file").says("--password-command").says("--key-file").says("REDKEEP_PASSWORD");
}

#[test]
fn two_at_once_are_refused_and_an_option_wins_over_the_environment() {
    let place = Place::with_repository();
    let file = write(&place, "password", "correct horse", 0o600);
    let ran = run(place.command(&["stats"]).env("REDKEEP_PASSWORD_FILE", &file));
    assert_eq!(ran.code, 2);
    ran.says("both REDKEEP_PASSWORD_FILE and REDKEEP_PASSWORD are given");
    assert_eq!(without(&place, &["--password-file", &file, "--key-file", &file]).code, 2);
    let ran = run(place.command(&["stats", "--password-file", &file]).env("REDKEEP_PASSWORD", "wrong"));
    assert_eq!(ran.code, 0);
}

#[test]
fn a_file_or_command_that_fails_is_named() {
    let place = Place::with_repository();
    let ran = without(&place, &["--password-file", "nowhere"]);
    assert_eq!(ran.code, 1);
    ran.says("cannot read password file nowhere: No such file").says("hint: redkeep init --make-password makes one");
    let empty = write(&place, "empty", "\nsecond line", 0o600);
    let ran = without(&place, &["--password-file", &empty]);
    assert_eq!(ran.code, 2);
    ran.says("the password or key is empty: --password-file, ").says("the first line");
    let ran = without(&place, &["--password-command", "echo correct horse; exit 3"]);
    assert_eq!(ran.code, 1);
    ran.says("the password command failed: exit status: 3");
}

#[test]
fn a_new_one_of_few_letters_is_taken_with_a_warning() {
    let place = Place::new();
    let short = |words: &[&str], name: &str, value: &str| run(place.command(words).env(name, value));
    let ran = short(&["init"], "REDKEEP_PASSWORD", "x");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.says("warning: the new password has 1 letter: ").says("redkeep key passwd");
    assert_eq!(short(&["init", "--repo", "empty"], "REDKEEP_PASSWORD", "").code, 2);
    assert_eq!(short(&["init", "--repo", "long"], "REDKEEP_PASSWORD", "eight of").stderr, "");
}
