use crate::place::{Place, fields};

#[test]
fn sums_and_datasets_are_shown() {
    let place = Place::with_snapshot();
    place.done(&["backup", "data", "--dataset", "other"]);
    let text = place.done(&["stats"]).text();
    assert!(text.starts_with("repository "), "{text}");
    assert!(text.contains("snapshots  2, 1.1 MiB if each were restored"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("sessions  "), "{text}");
}

#[test]
fn as_json_all_sums_are_numbers() {
    let place = Place::with_snapshot();
    let json = place.done(&["stats", "--json"]).json();
    let wanted = [
        "alarms",
        "chunk_bytes",
        "chunks",
        "datasets",
        "deltas",
        "location",
        "pack_bytes",
        "packs",
        "repository",
        "restored_bytes",
        "snapshots",
    ];
    assert_eq!(fields(&json), wanted);
    assert_eq!(
        fields(&json["datasets"][0]),
        ["dataset", "keys", "newest", "restored_bytes", "snapshots", "stored_bytes"]
    );
    assert_eq!(json["snapshots"], 1);
}
