use crate::place::{Place, fields};

#[test]
fn a_whole_snapshot_ends_with_one_clear_line() {
    let place = Place::with_snapshot();
    let text = place.done(&["verify"]).text();
    assert_eq!(text.lines().filter(|line| line.ends_with("  whole")).count(), 3, "{text}");
    assert!(text.lines().last().unwrap().ends_with("can be restored whole: 3 files compared"), "{text}");
    assert_eq!(place.done(&["verify", "latest", "-q"]).text(), "");
}

#[test]
fn as_json_each_file_has_its_state() {
    let place = Place::with_snapshot();
    let json = place.done(&["verify", "--json"]).json();
    assert_eq!(fields(&json), ["alarms", "begin", "dataset", "files", "made_good", "snapshot", "whole"]);
    assert_eq!(fields(&json["files"][0]), ["bytes", "damage", "path", "suspect"]);
    assert_eq!(json["whole"], true);
}
