use std::fs;

use crate::place::{Place, fields};

#[test]
fn sums_and_datasets_are_shown() {
    let place = Place::with_snapshot();
    place.done(&["backup", "data", "--dataset", "other"]);
    let text = place.done(&["stats"]).text();
    assert!(text.starts_with("repository "), "{text}");
    assert!(text.contains("snapshots  2, 1.1 MiB if each were restored"), "{text}");
    let begins = |words: [&str; 2]| text.lines().any(|line| line.split_whitespace().take(2).eq(words));
    assert!(begins(["sessions", "1"]) && begins(["other", "1"]), "{text}");
    // What was stored, by what it is, and in which form what a server loads.
    assert!(begins(["sessions", "opaque"]) && begins(["sessions", "tables"]), "{text}");
    assert!(!text.contains("dump.rdb is stored"), "canonical is nothing to tell: {text}");
    fs::write(place.data().join("dump.rdb"), b"REDIS0011\xfe\x00\x00\x01k\x01v\xf0").unwrap();
    place.ends(3, &["backup", "data", "--dataset", "sessions"]);
    let text = place.done(&["stats"]).text();
    assert!(text.contains("sessions: dump.rdb is stored prefix: "), "{text}");
}

#[test]
fn as_json_all_sums_are_numbers() {
    let place = Place::with_snapshot();
    let json = place.done(&["stats", "--json"]).json();
    let wanted = [
        "alarms",
        "base_bytes",
        "chunk_bytes",
        "chunks",
        "datasets",
        "deltas",
        "location",
        "pack_bytes",
        "packs",
        "reclaimable_bytes",
        "repository",
        "restored_bytes",
        "shared_bytes",
        "snapshots",
    ];
    assert_eq!(fields(&json), wanted);
    assert_eq!(
        fields(&json["datasets"][0]),
        [
            "dataset",
            "forms",
            "keys",
            "newest",
            "restored_bytes",
            "shared_bytes",
            "snapshots",
            "stored",
            "stored_bytes",
            "table_bytes",
            "unique_bytes",
        ]
    );
    assert_eq!(json["snapshots"], 1);
}

/// What an operator asks: what frees space?
#[test]
fn the_parts_add_up_to_the_packs() {
    let place = Place::with_snapshot();
    let stats = || {
        let json = place.done(&["stats", "--json"]).json();
        let number = |value: &serde_json::Value, name: &str| value[name].as_u64().unwrap();
        let datasets = json["datasets"].as_array().unwrap().iter();
        let unique: u64 = datasets.clone().map(|dataset| number(dataset, "unique_bytes")).sum();
        let parts = ["shared_bytes", "base_bytes", "reclaimable_bytes"].map(|name| number(&json, name));
        assert_eq!(unique + parts.iter().sum::<u64>(), number(&json, "pack_bytes"), "{json}");
        (datasets.map(|dataset| number(dataset, "unique_bytes")).collect::<Vec<_>>(), parts)
    };
    let (unique, [shared, bases, reclaimable]) = stats();
    assert!(unique[0] > 600_000 && (shared, bases) == (0, 0) && reclaimable < 10_000, "{unique:?} {reclaimable}");

    // The same files as another dataset: shared. A change of one of them, as a delta.
    place.done(&["backup", "data", "--dataset", "other"]);
    let (unique, [shared, ..]) = stats();
    assert!(unique.iter().sum::<u64>() < 20_000 && shared > 600_000, "{unique:?} {shared}");
    let table = place.data().join("modules/table.bin");
    let mut bytes = std::fs::read(&table).unwrap();
    (0..bytes.len()).step_by(50_000).for_each(|at| bytes[at] ^= 1);
    std::fs::write(&table, bytes).unwrap();
    place.done(&["backup", "data", "--dataset", "other"]);

    // What is left of the first one is needed as bases only, and prune frees none of that.
    place.done(&["forget", "--dataset", "other", "--keep-last", "1", "-q"]);
    let only: Vec<String> = ["sessions"].map(String::from).into();
    let id = place.done(&["snapshots", "--dataset", &only[0], "--json"]).json()["snapshots"][0]["id"].clone();
    place.done(&["forget", id.as_str().unwrap(), "--allow-empty", "-q"]);
    let (_, [shared, bases, reclaimable]) = stats();
    assert!(shared == 0 && bases > 300_000, "{bases} {reclaimable}");
    place.done(&["prune", "--grace", "0", "-q"]);
    let (_, [_, after, left]) = stats();
    assert!(after > 300_000 && left <= reclaimable, "{after} {left}");
}
