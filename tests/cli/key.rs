use std::fs;
use std::os::unix::fs::PermissionsExt;

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
    add(&place, "second horse", &["--label", "in the safe"]);
    let text = place.done(&["key", "list"]).text();
    assert!(text.starts_with("ID  ") && text.contains("in the safe"), "{text}");
    assert_eq!(text.matches("in use").count(), 1, "{text}");
    let slots = slots(&place);
    assert_eq!(fields(&slots[0]), ["created", "current", "epoch", "host", "id", "kind", "label", "state"]);
    assert_eq!(slots.iter().filter(|slot| slot["current"] == true).count(), 1);
}

#[test]
fn an_added_password_or_key_file_opens_the_repository() {
    let place = Place::with_repository();
    let ran = add(&place, "second horse", &["--json"]);
    assert_eq!(fields(&ran.json()), ["added", "recovery_key", "removed"]);
    assert_eq!((opens(&place, "second horse"), opens(&place, "third horse")), (0, 7));

    fs::write(place.path("third.password"), "third horse\n").unwrap();
    place.ends(0, &["key", "add", "--new-password-file", &place.arg("third.password")]);
    assert_eq!(opens(&place, "third horse"), 0);

    fs::write(place.path("safe.key"), [0, 10, 255]).unwrap();
    place.ends(0, &["key", "add", "--new-key-file", &place.arg("safe.key")]);
    let mut command = place.command(&["snapshots", "--key-file", &place.arg("safe.key")]);
    assert_eq!(run(command.env_remove("REDKEEP_PASSWORD")).code, 0);
}

#[test]
fn a_removed_password_opens_it_no_more() {
    let place = Place::with_repository();
    let added = add(&place, "second horse", &["--json"]).json()["added"].as_str().unwrap().to_string();
    let text = place.done(&["key", "remove", &added[..8]]).text();
    assert_eq!(text, format!("removed key slot {}\n", &added[..8]));
    assert_eq!(opens(&place, "second horse"), 7);
}

#[test]
fn the_slot_in_use_and_the_last_one_are_kept() {
    let place = Place::with_repository();
    let current = slots(&place)[0]["id"].as_str().unwrap().to_string();
    place.ends(2, &["key", "remove", &current, "--even-current"]).says("last key slot");
    add(&place, "second horse", &[]);
    place.ends(2, &["key", "remove", &current]).says("opened the repository with");
    place.ends(2, &["key", "remove", "zz"]);
    place.ends(2, &["key", "remove", "00000000000000000000000000000000"]).says("no key slot");
    assert_eq!(place.done(&["key", "remove", &current, "--even-current", "--json"]).json()["removed"], current);
    assert_eq!((opens(&place, "correct horse"), opens(&place, "second horse")), (7, 0));
}

#[test]
fn passwd_replaces_the_password_in_use() {
    let place = Place::with_repository();
    let ran = run(place.command(&["key", "passwd", "--json"]).env("REDKEEP_NEW_PASSWORD", "second horse"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let json = ran.json();
    assert!(json["added"].is_string() && json["removed"].is_string());
    assert_eq!((opens(&place, "correct horse"), opens(&place, "second horse")), (7, 0));
}

#[test]
fn without_a_terminal_the_ways_to_give_a_new_password_are_named() {
    let place = Place::with_repository();
    place.ends(2, &["key", "add"]).says("REDKEEP_NEW_PASSWORD").says("--new-password-file");
    assert_eq!(add(&place, "", &[]).code, 2);
    assert_eq!(slots(&place).len(), 1);
}

#[test]
fn a_rotation_keeps_every_password_given_and_refuses_to_drop_others_unasked() {
    let place = Place::with_snapshot();
    add(&place, "second horse", &["--label", "for Anna"]);
    place.ends(2, &["key", "rotate"]).says("--drop-other-slots");
    for (file, text) in [("first.password", "correct horse\n"), ("second.password", "second horse\n")] {
        fs::write(place.path(file), text).unwrap();
        fs::set_permissions(place.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let files = ["--password-file", &place.arg("first.password"), "--password-file", &place.arg("second.password")];
    let ran = place.done(&[&["key", "rotate", "--json"], &files[..]].concat());
    assert_eq!(fields(&ran.json()), ["added", "epoch", "removed"]);
    assert_eq!((ran.json()["epoch"].as_u64(), ran.json()["added"].as_array().map(Vec::len)), (Some(1), Some(2)));
    assert_eq!((opens(&place, "correct horse"), opens(&place, "second horse")), (0, 0));
    assert!(slots(&place).iter().all(|slot| slot["state"] == "current" && slot["epoch"] == 1));
    place.done(&["verify", "latest"]);
    let text = place.done(&["key", "rotate", "--drop-other-slots"]).text();
    assert_eq!(text, "epoch 2 of the master key seals from now on; 1 new key slot, 2 removed\n");
    assert_eq!((opens(&place, "correct horse"), opens(&place, "second horse")), (0, 7));
    place.ends(2, &[&["snapshots"], &files[..]].concat()).says("both --password-file and --password-file");
}

#[test]
fn a_recovery_key_is_printed_once_and_opens_however_it_is_typed() {
    let place = Place::new();
    let json = place.done(&["init", "--recovery-key", "--json"]).json();
    let first = json["recovery_key"].as_str().unwrap().to_string();
    let text = place.done(&["key", "add", "--recovery", "--quiet"]).text();
    let second = text.lines().find_map(|line| line.strip_prefix("Recovery key: ")).unwrap().to_string();
    assert_ne!(first, second);
    for key in [&first, &second] {
        assert_eq!((opens(&place, key), opens(&place, &key.to_lowercase().replace('-', " "))), (0, 0), "{key}");
    }
    assert!(!place.done(&["key", "list", "--json"]).text().contains(&first));
    let mut wrong = first.clone().into_bytes();
    wrong.swap(0, 1);
    if wrong[0] == wrong[1] {
        wrong[0] = if wrong[0] == b'7' { b'8' } else { b'7' };
    }
    let ran = run(place.command(&["snapshots"]).env("REDKEEP_PASSWORD", String::from_utf8(wrong).unwrap()));
    assert_eq!(ran.code, 7);
    ran.says("typing error");
    assert_eq!(slots(&place).iter().filter(|slot| slot["label"] == "recovery key").count(), 2);
}
