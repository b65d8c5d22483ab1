use std::fs;

use crate::place::{Place, fields, run};

#[test]
fn it_puts_back_what_a_restore_replaced_and_needs_no_repository() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    fs::write(place.path("back/precious"), "x").unwrap();
    place.done(&["restore", "--target", "back", "--replace-anything"]);
    let mut command = place.command(&["undo", "back"]);
    let ran = run(command.env_remove("REDKEEP_REPO").env_remove("REDKEEP_PASSWORD"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.text().contains("holds again what it held before"), "{}", ran.text());
    assert_eq!(fs::read_to_string(place.path("back/precious")).unwrap(), "x");
}

#[test]
fn as_json_it_tells_where_everything_is() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    place.done(&["restore", "--target", "back"]);
    let would = place.done(&["undo", "back", "--dry-run"]).text();
    assert!(would.contains("would hold again what it held before the last restore"), "{would}");
    let dry = place.done(&["undo", "back", "--dry-run", "--json"]).json();
    let json = place.done(&["undo", "back", "--json"]).json();
    assert_eq!((&dry["from"], &dry["aside"], dry["dry_run"].as_bool()), (&json["from"], &json["aside"], Some(true)));
    assert_eq!(fields(&json), ["aside", "dry_run", "from", "keys", "server", "target"]);
    assert!(json["aside"].is_string());
}

#[test]
fn without_a_restore_there_is_nothing_to_undo() {
    let place = Place::new();
    place.ends(1, &["undo", "data"]).says("nothing was set aside");
}

#[test]
fn the_second_one_does_not_say_that_the_first_had_been_forgotten() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    place.done(&["restore", "--target", "back"]);
    place.done(&["undo", "back"]);
    let text = place.done(&["undo", "back"]).text();
    assert!(text.contains("holds again what it held before the last restore or undo\n"), "{text}");
    assert!(place.path("back/dump.rdb").exists());
}

#[test]
fn without_a_word_about_where_the_ways_are_named() {
    let place = Place::new();
    place.ends(2, &["undo"]).says("name the directory that was restored into, or a server").says("--server");
    place
        .ends(2, &["undo", "--server", "127.0.0.1:7901"])
        .says("hint: to name the server")
        .says("--server=127.0.0.1:7901");
}

#[test]
fn what_is_kept_is_listed_and_goes_only_where_that_is_said() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    for _ in 0..3 {
        place.done(&["restore", "--target", "back"]);
    }
    let listed = || place.done(&["undo", "back", "--list", "--json"]).json()["asides"].as_array().unwrap().clone();
    let all = listed();
    assert_eq!(all.len(), 3);
    assert_eq!(fields(&all[0]), ["bytes", "next", "path", "time"]);
    let next: Vec<bool> = all.iter().map(|aside| aside["next"].as_bool().unwrap()).collect();
    assert_eq!((next, &all[0]["bytes"]), (vec![false, false, true], &0.into()));
    let text = place.done(&["undo", "back", "--list"]).text();
    assert!(text.contains("the next undo puts it back") && text.lines().count() == 4, "{text}");

    let time = all[0]["time"].as_str().unwrap();
    let gone = place.done(&["undo", "back", "--remove", time, "--json"]).json();
    assert_eq!((&gone["removed"], &gone["asides"][0]["path"]), (&true.into(), &all[0]["path"]));
    assert_eq!(listed(), all[1..]);
    place.ends(1, &["undo", "back", "--remove", time]).says("nothing was set aside");
    assert!(place.done(&["undo", "back", "--remove-older", "1h"]).text().contains("nothing is removed"));
    let older = std::path::PathBuf::from(all[1]["path"].as_str().unwrap());
    let named = |time: &str| older.with_file_name(format!(".redkeep-aside-back-{time}"));
    fs::rename(&older, named("20200101T000000Z")).unwrap();
    place.done(&["undo", "back", "--remove-older", "1h"]);
    assert_eq!(listed(), all[2..], "what the next undo puts back stays");
    place.done(&["undo", "back"]);
    place.ends(2, &["undo", "--list"]);
    place.ends(2, &["undo", "back", "--remove-older", "1h", "--dry-run"]);
}
