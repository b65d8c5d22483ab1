use std::fs;

use serde_json::Value;

use crate::place::{Place, fields, run};

fn slots(place: &Place) -> Vec<Value> {
    place.done(&["key", "list", "--json"]).json()["slots"].as_array().unwrap().clone()
}

fn add(place: &Place, password: &str, arguments: &[&str]) -> crate::place::Ran {
    run(place.command(&[&["key", "add"], arguments].concat()).env("REDKEEP_NEW_PASSWORD", password))
}

/// What the repository answers to a password.
fn opens(place: &Place, password: &str) -> i32 {
    run(place.command(&["snapshots"]).env("REDKEEP_PASSWORD", password)).code
}

#[test]
fn slots_are_listed_with_the_one_in_use() {
    let place = Place::with_repository();
    add(&place, "second", &["--label", "in the safe"]);
    let text = place.done(&["key", "list"]).text();
    assert!(text.starts_with("ID  ") && text.contains("in the safe"), "{text}");
    assert_eq!(text.matches("in use").count(), 1, "{text}");
    let slots = slots(&place);
    assert_eq!(fields(&slots[0]), ["created", "current", "host", "id", "kind", "label"]);
    assert_eq!(slots.iter().filter(|slot| slot["current"] == true).count(), 1);
}

#[test]
fn an_added_password_or_key_file_opens_the_repository() {
    let place = Place::with_repository();
    let ran = add(&place, "second", &["--json"]);
    assert_eq!(fields(&ran.json()), ["added", "removed"]);
    assert_eq!((opens(&place, "second"), opens(&place, "third")), (0, 7));

    fs::write(place.path("third.password"), "third\n").unwrap();
    place.ends(0, &["key", "add", "--new-password-file", &place.arg("third.password")]);
    assert_eq!(opens(&place, "third"), 0);

    fs::write(place.path("safe.key"), [0, 10, 255]).unwrap();
    place.ends(0, &["key", "add", "--new-key-file", &place.arg("safe.key")]);
    let mut command = place.command(&["snapshots", "--key-file", &place.arg("safe.key")]);
    assert_eq!(run(command.env_remove("REDKEEP_PASSWORD")).code, 0);
}

#[test]
fn a_removed_password_opens_it_no_more() {
    let place = Place::with_repository();
    let added = add(&place, "second", &["--json"]).json()["added"].as_str().unwrap().to_string();
    let text = place.done(&["key", "remove", &added[..8]]).text();
    assert_eq!(text, format!("removed key slot {}\n", &added[..8]));
    assert_eq!(opens(&place, "second"), 7);
}

#[test]
fn the_slot_in_use_and_the_last_one_are_kept() {
    let place = Place::with_repository();
    let current = slots(&place)[0]["id"].as_str().unwrap().to_string();
    place.ends(2, &["key", "remove", &current, "--even-current"]).says("last key slot");
    add(&place, "second", &[]);
    place.ends(2, &["key", "remove", &current]).says("opened the repository with");
    place.ends(2, &["key", "remove", "zz"]);
    place.ends(2, &["key", "remove", "00000000000000000000000000000000"]).says("no key slot");
    assert_eq!(place.done(&["key", "remove", &current, "--even-current", "--json"]).json()["removed"], current);
    assert_eq!((opens(&place, "correct horse"), opens(&place, "second")), (7, 0));
}

#[test]
fn passwd_replaces_the_password_in_use() {
    let place = Place::with_repository();
    let ran = run(place.command(&["key", "passwd", "--json"]).env("REDKEEP_NEW_PASSWORD", "second"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let json = ran.json();
    assert!(json["added"].is_string() && json["removed"].is_string());
    assert_eq!((opens(&place, "correct horse"), opens(&place, "second")), (7, 0));
}

#[test]
fn without_a_terminal_the_ways_to_give_a_new_password_are_named() {
    let place = Place::with_repository();
    place.ends(2, &["key", "add"]).says("REDKEEP_NEW_PASSWORD").says("--new-password-file");
    assert_eq!(add(&place, "", &[]).code, 2);
    assert_eq!(slots(&place).len(), 1);
}
