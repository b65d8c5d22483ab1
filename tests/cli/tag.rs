use crate::place::{Place, fields, objects};

fn tags(place: &Place, number: usize) -> (String, Vec<String>) {
    let json = place.done(&["snapshots", "--json"]).json();
    let snapshot = &json["snapshots"][number];
    let tags = snapshot["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().into()).collect();
    (snapshot["id"].as_str().unwrap().into(), tags)
}

#[test]
fn tags_change_by_a_copy_that_takes_the_place_of_the_old_snapshot() {
    let place = Place::with_repository();
    let (first, second) = (place.backup(), place.backup());
    let json = place.done(&["tag", &first, "--add", "release", "--pin", "--json"]).json();
    assert_eq!(fields(&json), ["alarms", "changed", "dataset", "new", "old", "tags"]);
    let new = json["new"].as_str().unwrap().to_owned();
    assert_eq!(tags(&place, 0), (new.clone(), vec!["release".into(), "pinned".into()]));
    assert_eq!(tags(&place, 1), (second, vec![]));
    place.ends(1, &["ls", &first]).says(&format!("was forgotten: retagged as {new}"));
    place.done(&["verify", &new]);
    // The same again, as after a crash, answers the same; another change of what was forgotten is refused.
    let again = place.done(&["tag", &first, "--add", "release", "--pin", "--json"]).json();
    assert_eq!((&again["new"], objects(&place, "forgotten").len()), (&new.clone().into(), 1));
    place.ends(1, &["tag", &first, "--add", "b"]).says("was forgotten: retagged as");
    let text = place.done(&["tag", &new, "--unpin", "--remove", "release", "--add", "b"]).text();
    assert!(text.starts_with(&format!("snapshot {} of sessions is now ", &new[..8])), "{text}");
    assert!(text.ends_with("\n  tags  b\n"), "{text}");
}

#[test]
fn where_nothing_changes_nothing_is_written() {
    let place = Place::with_repository();
    let id = place.done(&["backup", "data", "--tag", "a", "--json"]).json()["id"].as_str().unwrap().to_owned();
    let before = objects(&place, "");
    let text = place.done(&["tag", "latest", "--add", "a", "--remove", "b", "--unpin"]).text();
    assert!(text.contains("has these tags already"), "{text}");
    let json = place.done(&["tag", &id, "--add", "a", "--json"]).json();
    assert_eq!((&json["old"], &json["new"], &json["changed"]), (&id.clone().into(), &id.into(), &false.into()));
    assert_eq!(objects(&place, ""), before);
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let place = Place::with_snapshot();
    place.ends(2, &["tag", "latest"]).says("no change of tags");
    place.ends(2, &["tag", "latest", "--add", "a", "--remove", "a"]).says("added and removed");
    place.ends(2, &["tag", "latest", "--pin", "--unpin"]);
    place.ends(2, &["tag", "latest", "--add", ""]);
}
