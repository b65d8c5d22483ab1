use std::fs;

use crate::place::{Place, fields, run};
use crate::support::server::{RedisServer, ServerKind};

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

/// As whoever typed it for the restore will type it again.
#[test]
fn the_directory_may_be_named_as_a_restore_names_it() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    fs::write(place.path("back/precious"), "x").unwrap();
    place.done(&["restore", "--target", "back", "--replace-anything"]);
    place.ends(2, &["undo", "back", "--target", "back"]);
    place.ends(2, &["undo", "--target", "back", "--server"]);
    place.done(&["undo", "--target", "back"]);
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
    assert_eq!((&dry["from"], dry["dry_run"].as_bool()), (&json["from"], Some(true)));
    // Both have the time at which they were said.
    let later = |json: &serde_json::Value| json["aside"].as_str().unwrap() > json["from"].as_str().unwrap();
    assert!(later(&dry) && later(&json), "{dry} {json}");
    assert_eq!(fields(&json), ["aside", "dry_run", "from", "keys", "notes", "server", "steps", "target"]);
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
fn of_a_directory_alone_nothing_is_taken_that_is_for_a_server() {
    let place = Place::new();
    for of in [&["back"][..], &["--target", "back"]] {
        for word in ["settings", "unsaved"] {
            let arguments = [&["undo"], of, &["--force", word]].concat();
            place.ends(2, &arguments).says("--force").says("cannot be used with");
        }
    }
}

#[test]
fn what_is_kept_is_listed_and_goes_only_where_that_is_said() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    for _ in 0..3 {
        place.done(&["restore", "--target", "back"]);
    }
    let json = || place.done(&["undo", "back", "--list", "--json"]).json();
    assert_eq!(json()["target"], place.path("back").to_str().unwrap(), "absolute, as every other answer has it");
    let listed = || json()["asides"].as_array().unwrap().clone();
    let all = listed();
    assert_eq!(all.len(), 3);
    assert_eq!(fields(&all[0]), ["bytes", "next", "path", "time"]);
    let next: Vec<bool> = all.iter().map(|aside| aside["next"].as_bool().unwrap()).collect();
    assert_eq!((next, &all[0]["bytes"]), (vec![false, false, true], &0.into()));
    let text = place.done(&["undo", "back", "--list"]).text();
    assert!(text.contains("the next undo puts it back") && text.lines().count() == 4, "{text}");

    let time = all[0]["time"].as_str().unwrap();
    place.ends(2, &["undo", "back", "--remove", time]).says("would be removed").says("--yes");
    assert_eq!(listed(), all, "without a word nothing goes");
    let gone = place.done(&["undo", "back", "--remove", time, "--yes", "--json"]).json();
    assert_eq!((&gone["removed"], &gone["asides"][0]["path"]), (&true.into(), &all[0]["path"]));
    assert_eq!(gone["target"], place.path("back").to_str().unwrap());
    assert_eq!(listed(), all[1..]);
    place.ends(1, &["undo", "back", "--remove", time]).says("nothing was set aside");
    assert!(place.done(&["undo", "back", "--remove-older", "1h"]).text().contains("nothing is removed"));
    let older = std::path::PathBuf::from(all[1]["path"].as_str().unwrap());
    let named = |time: &str| older.with_file_name(format!(".redkeep-aside-back-{time}"));
    fs::rename(&older, named("20200101T000000Z")).unwrap();
    place.ends(2, &["undo", "back", "--remove-older", "1h"]).says("20200101T000000Z would be removed");
    place.done(&["undo", "back", "--remove-older", "1h", "--yes"]);
    assert_eq!(listed(), all[2..], "what the next undo puts back stays");
    place.done(&["undo", "back"]);
    place.ends(2, &["undo", "--list"]);
    place.ends(2, &["undo", "back", "--list", "--to", time]);
    place.ends(2, &["undo", "back", "--remove-older", "1h", "--dry-run"]);
}

#[test]
fn of_what_was_removed_nothing_is_said_that_an_undo_would_do() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    let last = || {
        place.done(&["restore", "--target", "back"]);
        let json = place.done(&["undo", "back", "--list", "--json"]).json();
        assert_eq!(json["asides"][0]["next"], true);
        json["asides"][0]["time"].as_str().unwrap().to_owned()
    };
    let gone = place.done(&["undo", "back", "--remove", &last(), "--yes", "--json"]).json();
    assert_eq!((&gone["removed"], &gone["asides"][0]["next"]), (&true.into(), &false.into()));
    let text = place.done(&["undo", "back", "--remove", &last(), "--yes"]).text();
    assert!(text.contains("REMOVED") && !text.contains("undo"), "{text}");
    place.ends(1, &["undo", "back"]).says("nothing was set aside");
}

#[test]
fn what_a_server_has_aside_is_listed_and_removed_and_the_server_goes_on() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let place = Place::new();
    let data = tempfile::tempdir().unwrap();
    let server = RedisServer::start(ServerKind::Redis7, data.path());
    let aside = |time: &str| data.path().join(format!(".redkeep-aside-dataset-{time}"));
    for time in ["20200101T000000Z", "20200102T000000Z"] {
        fs::create_dir(aside(time)).unwrap();
    }
    let (of, directory) = (format!("--server={}", server.url()), data.path().to_str().unwrap());
    let process = server.info().number("process_id");
    for words in [&["undo", &of, "--list", "--json"][..], &["undo", &of, "--list", "--yes", "--json"]] {
        assert_eq!(place.done(words).json()["asides"].as_array().unwrap().len(), 2);
    }
    assert_eq!(place.done(&["undo", directory, "--list", "--json"]).json()["asides"].as_array().unwrap().len(), 2);
    place.ends(2, &["undo", &of, "--remove-older", "1d"]).says("20200101T000000Z would be removed").says("--yes");
    assert!(aside("20200101T000000Z").exists());
    place.done(&["undo", &of, "--remove-older", "1d", "--yes"]);
    assert!(!aside("20200101T000000Z").exists() && aside("20200102T000000Z").exists());
    place.done(&["undo", &of, "--remove", "2020-01-02T00:00:00Z", "--yes"]);
    assert!(!aside("20200102T000000Z").exists());
    assert_eq!(server.info().number("process_id"), process);
}

#[test]
fn what_an_undo_set_aside_is_as_old_as_the_undo() {
    let place = Place::with_snapshot();
    let all = || place.done(&["undo", "back", "--list", "--json"]).json()["asides"].as_array().unwrap().clone();
    let path = |aside: &serde_json::Value| std::path::PathBuf::from(aside["path"].as_str().unwrap());
    fs::create_dir(place.path("back")).unwrap();
    fs::write(place.path("back/before"), "x").unwrap();
    place.done(&["restore", "--target", "back", "--replace-anything"]);
    // A restore of long ago, and what was written since.
    fs::rename(path(&all()[0]), place.path(".redkeep-aside-back-20200101T000000Z")).unwrap();
    fs::write(place.path("back/since"), "x").unwrap();
    let undone = place.done(&["undo", "back", "--json"]).json();
    assert!(undone["from"].as_str().unwrap().ends_with("-20200101T000000Z"), "{undone}");
    let [aside] = &all()[..] else { panic!("{:?}", all()) };
    assert!(aside["path"] == undone["aside"] && path(aside).join("since").exists(), "{aside}");
    assert!(aside["time"].as_str().unwrap() > "2026", "{aside}");

    place.done(&["restore", "--target", "back", "--replace-anything"]);
    assert!(place.done(&["undo", "back", "--remove-older", "1h", "--yes"]).text().contains("nothing is removed"));
    place.done(&["undo", "back"]);
    assert!(place.path("back/before").exists());
    place.done(&["undo", "back"]);
    assert!(!place.path("back/before").exists(), "an undo of the undo");
    place.done(&["undo", "back", "--to", all()[0]["time"].as_str().unwrap()]);
    assert!(place.path("back/since").exists());
}

#[test]
fn an_older_one_is_picked_by_its_time_and_the_next_undo_puts_back_what_stood_there() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    fs::write(place.path("back/precious"), "x").unwrap();
    place.done(&["restore", "--target", "back", "--replace-anything"]);
    place.done(&["restore", "--target", "back"]);
    let all = place.done(&["undo", "back", "--list", "--json"]).json()["asides"].as_array().unwrap().clone();
    let (path, time) = (all[0]["path"].as_str().unwrap(), all[0]["time"].as_str().unwrap());
    let would = place.done(&["undo", "back", "--to", time, "--dry-run", "--json"]).json();
    let undone = place.done(&["undo", "back", "--to", time, "--json"]).json();
    assert!(would["from"] == path && undone["from"] == path && undone["aside"] != path, "{undone}");
    assert_eq!(fs::read_to_string(place.path("back/precious")).unwrap(), "x");
    place.ends(1, &["undo", "back", "--to", time]).says("nothing was set aside").says("at that time");
    place.done(&["undo", "back"]);
    assert!(place.path("back/dump.rdb").exists() && !place.path("back/precious").exists());
}
