use std::fs;

use std::process::{Command, Stdio};

use crate::place::{Place, fields, tree};

#[test]
fn the_files_are_those_that_were_taken() {
    let place = Place::with_snapshot();
    let text = place.done(&["restore", "--target", "back"]).text();
    assert!(text.starts_with("restored snapshot ") && text.contains(" of sessions\n"), "{text}");
    assert!(!text.contains("aside"), "{text}");
    assert_eq!(tree(&place.path("back")), tree(&place.data()));
}

#[test]
fn what_it_replaces_is_kept_and_the_way_back_is_told() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    fs::write(place.path("back/precious"), "x").unwrap();
    let text = place.done(&["restore", "latest", "--target", "back"]).text();
    let aside = text.lines().find_map(|line| line.split_once("is kept in ")).unwrap().1;
    assert_eq!(fs::read_to_string(format!("{aside}/precious")).unwrap(), "x");
    assert!(text.contains(&format!("redkeep undo {}", place.arg("back"))), "{text}");
}

#[test]
fn a_dry_run_does_nothing() {
    let place = Place::with_snapshot();
    let text = place.done(&["restore", "--target", "back", "--dry-run"]).text();
    assert!(text.starts_with("would restore snapshot "), "{text}");
    assert!(!place.path("back").exists());
    fs::create_dir(place.path("back")).unwrap();
    assert!(place.done(&["restore", "--target", "back", "--dry-run"]).text().contains("would be kept"));
}

#[test]
fn as_json_it_tells_what_was_done() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    let json = place.done(&["restore", "--target", "back", "--json"]).json();
    let wanted = [
        "alarms",
        "aside",
        "begin",
        "bytes",
        "dataset",
        "dry_run",
        "files",
        "made_good",
        "snapshot",
        "suspects",
        "target",
        "unset",
    ];
    assert_eq!(fields(&json), wanted);
    assert_eq!((json["files"].as_u64(), json["dry_run"].as_bool()), (Some(3), Some(false)));
    assert!(json["aside"].as_str().unwrap().contains(".redkeep-aside-back-"));
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let place = Place::with_snapshot();
    place.ends(2, &["restore"]);
    place.ends(2, &["restore", "--target", "back", "--from", "memory"]);
    place.ends(2, &["restore", "--target", "back", "--from", "aof"]).says("holds no AOF");
    fs::write(place.path("file"), "").unwrap();
    place.ends(2, &["restore", "--target", "file"]).says("is not a directory");
    assert!(!place.path("back").exists());
}

/// Exit 9
#[test]
fn the_directory_of_a_running_server_is_not_touched() {
    let place = Place::with_snapshot();
    fs::copy("/bin/sh", place.path("redis-server")).unwrap();
    let mut server = Command::new(place.path("redis-server"));
    let server = server.args(["-c", "echo; read line"]).current_dir(place.data());
    let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let before = tree(&place.data());
    let ran = place.ends(9, &["restore", "--target", "data"]);
    ran.says("running redis-server").says("hint: stop the server first");
    place.ends(9, &["undo", "data"]);
    assert_eq!(tree(&place.data()), before);
    drop(server.stdin.take());
    server.wait().unwrap();
    place.done(&["restore", "--target", "data"]);
}
