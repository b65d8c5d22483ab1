//! The example of a configuration, and what is said of one with mistakes.

use std::fs;

use serde_json::json;

use crate::configuration::{bare, write};
use crate::place::{Place, fields, run};

#[test]
fn the_example_is_a_configuration_without_a_mistake() {
    let place = Place::new();
    let example = place.done(&["config", "example"]).text();
    let path = write(&place.path("redkeep.toml"), &example).display().to_string();
    let ran = place.done(&["config", "check", "--no-test", "--config", &path]);
    assert_eq!(ran.text(), format!("{path}: no mistake, 1 profile\n"));
    assert_eq!(place.done(&["config", "example", "--json"]).json(), json!({ "example": example }));
}

#[test]
fn every_mistake_is_told_with_its_line_and_column_and_nothing_is_tried() {
    let place = Place::with_repository();
    let text = "repo = \"repository\"\nkeep-daily = 3\n[profile.a]\nkeep-dayly = 14\nprune = { grce = \"1d\" }\n";
    let path = write(&place.path("redkeep.toml"), text).display().to_string();
    let ran = place.ends(2, &["config", "check", "--config", &path]);
    let lines: Vec<String> = ran.text().lines().map(|line| line.replace(&path, "FILE")).collect();
    assert!(
        lines[0].starts_with("FILE:2:1: unknown field `keep-daily`; it belongs below a [profile.NAME]"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("FILE:4:1: unknown field `keep-dayly`; is keep-daily meant?"), "{lines:?}");
    assert!(lines[2].starts_with("FILE:5:11: unknown field `grce`") && lines.len() == 3, "{lines:?}");
    ran.says("each key is explained by: redkeep config example");
    let json = place.ends(2, &["config", "check", "--config", &path, "--json"]).json();
    assert_eq!(fields(&json), ["faults", "files", "profiles", "warnings"]);
    assert_eq!(
        (&json["faults"][2]["line"], &json["faults"][2]["column"], &json["profiles"]),
        (&json!(5), &json!(11), &json!([]))
    );
    let none = place.ends(2, &["config", "check", "--config", "missing.toml"]);
    none.says("no configuration file at missing.toml").says("redkeep config example > /etc/redkeep.toml");
}

#[test]
fn each_profile_is_tried_with_what_the_files_say_alone() {
    let place = Place::with_repository();
    write(&place.path("password"), "correct horse\n");
    let text = "repo = \"repository\"\npassword-file = \"password\"\ncache-dir = \"cache\"\n\
        [profile.good]\ndir = \"data\"\n[profile.none]\ndir = \"data\"\nrepo = \"elsewhere\"\n";
    let path = write(&place.path("redkeep.toml"), text).display().to_string();
    let before = crate::place::tree(&place.repository());
    let check = |code: i32, more: &[&str]| {
        let ran = run(&mut bare(&place, &[&["config", "check", "--config", &path], more].concat()));
        assert_eq!(ran.code, code, "{}{}", ran.text(), ran.stderr);
        ran
    };
    let text = check(0, &["good"]).text();
    assert!(text.contains("profile good\nworks: repository: ") && text.contains("\nworks: data: "), "{text}");
    let json = check(6, &["--json"]).json();
    let tried = |number: usize| json["profiles"][number]["tried"][0]["exit_code"].as_u64();
    assert_eq!((tried(0), tried(1)), (Some(0), Some(6)), "{json}");
    check(2, &["other"]).says("no profile is called other").says("there are: good, none");
    assert_eq!(crate::place::tree(&place.repository()), before, "nothing is changed");
    fs::remove_file(place.path("password")).unwrap();
    check(1, &["good"]);
}
