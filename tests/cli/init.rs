use crate::place::{Place, fields};

#[test]
fn it_names_the_repository_and_what_must_not_be_lost() {
    let place = Place::new();
    let text = place.done(&["init"]).text();
    assert!(text.starts_with("made repository "), "{text}");
    assert!(text.contains(&place.arg("repository")), "{text}");
    assert!(text.contains("lost every backup"), "{text}");
    assert_eq!(place.done(&["snapshots", "--json"]).json()["snapshots"], serde_json::json!([]));
}

#[test]
fn as_json_it_gives_full_ids() {
    let place = Place::new();
    let json = place.done(&["init", "--json"]).json();
    assert_eq!(fields(&json), ["location", "recovery_key", "repository", "slot"]);
    assert_eq!(json["repository"].as_str().unwrap().len(), 32);
    assert_eq!(place.done(&["stats", "--json"]).json()["repository"], json["repository"]);
}

#[test]
fn a_second_one_at_the_same_place_fails() {
    let place = Place::with_repository();
    place.ends(1, &["init"]).says("already");
}

#[test]
fn an_empty_password_is_refused_and_makes_nothing() {
    let place = Place::new();
    std::fs::write(place.path("empty"), "\nsecond line\n").unwrap();
    place.ends(2, &["init", "--password-file", &place.arg("empty")]).says("is empty");
    place.ends(6, &["snapshots"]);
}
