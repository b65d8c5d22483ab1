use std::fs;

use crate::place::{OFFSET, Place, fields, objects};

#[test]
fn they_are_listed_by_age_with_aligned_columns() {
    let place = Place::with_snapshot();
    place.done(&["backup", "data", "--dataset", "sessions", "--tag", "a", "--tag", "b"]);
    let text = place.done(&["snapshots"]).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["ID", "TIME", "DATASET", "FILES", "SIZE", "NEW", "KEYS", "TAGS", "NOTES"]
    );
    assert!(lines[1].contains(OFFSET) && lines[1].contains("sessions"), "{text}");
    assert!(lines[2].ends_with("a, b"), "{text}");
    let column = lines[0].find("DATASET").unwrap();
    assert!(lines[1..].iter().all(|line| line[column..].starts_with("sessions")), "{text}");
}

#[test]
fn as_json_each_has_its_full_id() {
    let place = Place::with_repository();
    let id = place.backup();
    let json = place.done(&["snapshots", "--json"]).json();
    assert_eq!(fields(&json), ["alarms", "snapshots"]);
    let wanted = [
        "begin",
        "bytes",
        "dataset",
        "directory",
        "drill",
        "end",
        "files",
        "forms",
        "host",
        "id",
        "keys",
        "keys_counted",
        "moment",
        "new_bytes",
        "pinned",
        "sequence",
        "stored",
        "stored_bytes",
        "table_bytes",
        "tags",
        "warnings",
    ];
    assert_eq!(fields(&json["snapshots"][0]), wanted);
    assert_eq!(json["snapshots"][0]["id"], id);
    assert_eq!(
        (&json["snapshots"][0]["keys"], &json["snapshots"][0]["keys_counted"]),
        (&0.into(), &"structure".into())
    );
}

#[test]
fn filters_leave_out_the_others() {
    let place = Place::with_snapshot();
    place.done(&["backup", "data", "--dataset", "other", "--tag", "kept"]);
    let count = |arguments: &[&str]| {
        let ran = place.ends(0, &[&["snapshots", "--json"], arguments].concat());
        ran.json()["snapshots"].as_array().unwrap().len()
    };
    assert_eq!(count(&[]), 2);
    assert_eq!(count(&["--dataset", "other"]), 1);
    assert_eq!(count(&["--tag", "kept"]), 1);
    assert_eq!(count(&["--tag", "unknown"]), 0);
    assert_eq!(count(&["--since", "1h"]), 2);
    assert_eq!(count(&["--since", "2999-01-01T00:00:00Z"]), 0);
}

#[test]
fn a_time_is_printed_back_with_its_offset_and_a_wrong_one_is_wrong_usage() {
    let place = Place::with_repository();
    let ran = place.ends(0, &["snapshots", "--since", "2026-11-20 14:05"]);
    ran.says(&format!("note: snapshots since 2026-11-20T14:05:00{OFFSET}")).says("note: no snapshot fits");
    place.ends(2, &["snapshots", "--since", "noon"]).says("yesterday 14:05");
}

/// Exit 3, and the alarm in the JSON too.
#[test]
fn a_snapshot_that_vanished_is_an_alarm() {
    let place = Place::with_snapshot();
    objects(&place, "snapshots").into_iter().for_each(|snapshot| fs::remove_file(snapshot).unwrap());
    let ran = place.ends(3, &["snapshots", "--json"]);
    ran.says("warning: snapshots/");
    let json = ran.json();
    assert_eq!(json["alarms"][0]["code"], "rollback");
    assert_eq!(fields(&json["alarms"][0]), ["code", "message"]);
}

#[test]
fn a_name_cannot_steer_the_terminal() {
    let place = Place::with_repository();
    fs::write(place.data().join("a\u{1b}[2Jb"), "x").unwrap();
    place.done(&["backup", "data"]);
    let text = place.done(&["ls", "latest"]).text();
    assert!(text.contains("a\\u{1b}[2Jb") && !text.contains('\u{1b}'), "{text}");
}
