use std::fs;

use crate::place::{OFFSET, Place, fields, objects};

#[test]
fn they_are_listed_by_age_with_aligned_columns() {
    let place = Place::with_snapshot();
    place.done(&["backup", "data", "--dataset", "sessions", "--tag", "a", "--tag", "b"]);
    let text = place.done(&["snapshots"]).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["ID", "TIME", "DATASET", "FILES", "SIZE", "STORED", "KEYS", "TAGS", "NOTES"]
    );
    assert!(lines[1].contains(OFFSET) && lines[1].contains("sessions"), "{text}");
    assert!(lines[2].ends_with("a, b"), "{text}");
    let column = lines[0].find("DATASET").unwrap();
    assert!(lines[1..3].iter().all(|line| line[column..].starts_with("sessions")), "{text}");
    assert!(lines[3].starts_with("2 snapshots of 1 dataset, 1.1 MiB if each were restored, 586"), "{text}");
}

#[test]
fn as_json_each_has_its_full_id() {
    let place = Place::with_repository();
    let id = place.backup();
    let json = place.done(&["snapshots", "--json"]).json();
    assert_eq!(fields(&json), ["alarms", "sets", "snapshots"]);
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
        "set",
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
fn patterns_of_datasets_and_the_host_choose_among_them() {
    let place = Place::with_repository();
    for dataset in ["web1:6379", "web2:6379", "db"] {
        place.done(&["backup", "data", "--dataset", dataset, "-q"]);
    }
    let listed = |words: &[&str]| {
        let json = place.done(&[&["snapshots", "--json"], words].concat()).json();
        let name = |snapshot: &serde_json::Value| snapshot["dataset"].as_str().unwrap().to_string();
        json["snapshots"].as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(listed(&["--dataset", "web*"]), ["web1:6379", "web2:6379"]);
    assert_eq!(listed(&["--dataset", "*2:????"]), ["web2:6379"]);
    let host = place.done(&["snapshots", "--json"]).json()["snapshots"][0]["host"].as_str().unwrap().to_string();
    assert_eq!((listed(&["--host", &host]).len(), listed(&["--host", "another"]).len()), (3, 0));
    place.ends(1, &["snapshots", "--dataset", "x*"]).says("no dataset fits x*; there are: db, web1:6379, web2:6379");
    assert_eq!(
        place.done(&["timeline", "--dataset", "web*", "--json"]).json()["timelines"].as_array().unwrap().len(),
        2
    );
    assert_eq!(
        place.done(&["stats", "--snapshots", "--dataset", "web*", "--json"]).json()["snapshots"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    place.done(&["backup", "data", "--dataset", "web2:6379", "-q"]);
    place.done(&["backup", "data", "--dataset", "db", "-q"]);
    let forgot = place.done(&["forget", "--dataset", "web*", "--keep-last", "1", "--json"]).json();
    assert_eq!((forgot["forgotten"].as_u64(), forgot["kept"].as_u64()), (Some(1), Some(2)), "{forgot}");
    assert_eq!(listed(&[]).len(), 4);
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
