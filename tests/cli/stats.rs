use std::fs;

use serde_json::Value;

use crate::look_ups::dump_of_strings;
use crate::place::{Place, fields, noise};

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

fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_else(|| panic!("{name} in {of}"))
}

/// What each snapshot costs: id, what is freed by its end, what is a base of others; all of it adds up to the packs.
fn costs(place: &Place) -> (u64, Vec<(String, u64, u64)>) {
    let json = place.done(&["stats", "--snapshots", "--json"]).json();
    let cost = |of: &Value| (of["id"].as_str().unwrap().into(), number(of, "freed_bytes"), number(of, "base_bytes"));
    let costs: Vec<(String, u64, u64)> = json["snapshots"].as_array().unwrap().iter().map(cost).collect();
    let freed: u64 = costs.iter().map(|(_, freed, _)| freed).sum();
    let packs = number(&json, "pack_bytes");
    assert_eq!(freed + number(&json, "several_bytes") + number(&json, "reclaimable_bytes"), packs, "{json}");
    assert!(costs.iter().map(|(.., bases)| bases).sum::<u64>() <= number(&json, "several_bytes"), "{json}");
    (packs, costs)
}

/// Forgets a snapshot and prunes; answers with the bytes of packs that went.
fn freed(place: &Place, id: &str, max_unused: &str) -> u64 {
    let (before, _) = costs(place);
    place.done(&["forget", id, "--allow-empty", "-q"]);
    place.done(&["prune", "--grace", "0", "--max-unused", max_unused, "-q"]);
    before - costs(place).0
}

/// Snapshots of a dump of 20,000 keys in which `changed` of a thousand get another value from one to the next.
fn days(place: &Place, days: u64, changed: u64) {
    for day in 0..days {
        let value = |key: u64| {
            noise(key + 1_000_000 * (0..=day).rev().find(|day| (key + day * 7) % 1000 < changed).unwrap_or(0), 40)
        };
        let keys = (0..20_000u64).map(|key| (format!("user:{}:{key}", key % 10).into_bytes(), value(key)));
        fs::write(place.data().join("dump.rdb"), dump_of_strings(keys)).unwrap();
        place.backup();
    }
}

/// What an operator asks: what frees the space of this one?
#[test]
fn what_the_end_of_a_snapshot_would_free_is_what_prune_gives_back() {
    let place = Place::with_repository();
    days(&place, 4, 10);
    let (_, of) = costs(&place);
    // The first holds what the deltas of the others are made against.
    let (first, freed_of_first, bases) = &of[0];
    let (last, freed_of_last, none) = &of[3];
    assert!(*bases > 500_000 && *none == 0, "{of:?}");
    assert!(*freed_of_last > 5_000 && *freed_of_first < 100_000, "{of:?}");
    let went = freed(&place, last, "0");
    let is_about = |one: u64, other: u64| one.abs_diff(other) <= other / 20 + 2_000;
    assert!(is_about(went, *freed_of_last), "{went} {of:?}");
    // Bases stay while nothing is stored again.
    let went = freed(&place, first, "100");
    assert!(went <= freed_of_first + 2_000, "{went} {of:?}");
}

#[test]
fn content_that_snapshots_share_is_freed_by_none_of_them() {
    let place = Place::with_repository();
    for (seed, dataset) in [(1, "a"), (2, "a"), (2, "b")] {
        fs::write(place.data().join("modules/table.bin"), noise(seed, 600_000)).unwrap();
        place.done(&["backup", "data", "--dataset", dataset]);
    }
    let (_, of) = costs(&place);
    let [first, second, third] = [0, 1, 2].map(|place: usize| of[place].1);
    assert!(first > 590_000 && second < 20_000 && third < 20_000, "{of:?}");
    let text = place.done(&["stats", "--snapshots", "--dataset", "a"]).text();
    assert_eq!(text.lines().filter(|line| line.contains("canonical")).count(), 2, "{text}");
    assert!(text.contains("needed by several snapshots"), "{text}");
    let went = freed(&place, &of[0].0, "0");
    assert!(went.abs_diff(first) < 10_000, "{went} {first}");
    // Now only two are left that share all of it, and of the one that is left all is its own.
    let went = freed(&place, &of[1].0, "0");
    assert!(went < 20_000, "{went}");
    let (packs, of) = costs(&place);
    assert!(of.len() == 1 && of[0].1 + 20_000 > packs && of[0].1 > 590_000, "{packs} {of:?}");
}

#[test]
fn of_a_snapshot_the_largest_keys_and_prefixes_are_shown() {
    let place = Place::with_repository();
    days(&place, 1, 10);
    let json = place.done(&["stats", "latest", "--json", "--count", "3"]).json();
    let wanted = ["alarms", "dump_bytes", "dump_keys", "largest_keys", "largest_prefixes", "snapshot", "unread"];
    assert_eq!(fields(&json), wanted);
    assert_eq!((number(&json, "dump_keys"), json["largest_keys"].as_array().unwrap().len()), (20_000, 3));
    assert_eq!(fields(&json["largest_keys"][0]), ["bytes", "db", "key", "type"]);
    let prefixes = json["largest_prefixes"].as_array().unwrap();
    assert_eq!((prefixes.len(), &prefixes[0]["prefix"], &prefixes[0]["keys"]), (3, &"user:".into(), &20_000.into()));
    assert_eq!(number(&prefixes[0], "bytes"), number(&json, "dump_bytes"));
    assert_eq!(prefixes[1]["keys"], 2000);

    // A value that is no string's, and one too long for a bucket.
    let keys = [("short", 10), ("q:long", 3_000_000), ("q:middle", 1000)];
    let keys = keys.map(|(key, length)| (key.as_bytes().to_vec(), noise(5, length)));
    fs::write(place.data().join("dump.rdb"), dump_of_strings(keys.into_iter())).unwrap();
    place.ends(3, &["backup", "data", "--dataset", "sessions"]);
    let json = place.done(&["stats", "latest", "--json"]).json();
    let names: Vec<_> = json["largest_keys"].as_array().unwrap().iter().map(|of| &of["key"]).collect();
    assert_eq!(names, ["q:long", "q:middle", "short"]);
    let sizes = number(&json["largest_keys"][0], "bytes");
    assert!((3_000_000..3_000_100).contains(&sizes), "{sizes}");
    let text = place.done(&["stats", "latest"]).text();
    let line =
        |start: &str| text.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(start));
    assert!(line("dump dump.rdb canonical, 2.9 MiB") && line("0 string 2.9 MiB q:long"), "{text}");
    assert!(line("keys 3 keys in the dump") && line("0 2 2.9 MiB q:") && line("buckets"), "{text}");
}

/// Not stored by keys: keys are found by reading it all, and it is told that prefixes are not.
#[test]
fn the_largest_keys_of_a_dump_that_is_stored_as_it_is_are_found_too() {
    let place = Place::with_repository();
    let mut dump = dump_of_strings([(b"a:1".to_vec(), vec![b'v'; 90]), (b"a:2".to_vec(), vec![b'v'; 20])].into_iter());
    // A type that no server has.
    let end = dump.len() - 9;
    dump.truncate(end);
    dump.extend_from_slice(b"\xf0\x01k\x01v");
    fs::write(place.data().join("dump.rdb"), &dump).unwrap();
    place.ends(3, &["backup", "data", "--dataset", "sessions"]);
    let ran = place.ends(3, &["stats", "latest", "--json"]);
    let json = ran.json();
    assert_eq!((&json["largest_prefixes"], number(&json, "dump_keys")), (&Value::Null, 2), "{json}");
    // Five bytes tell the length of the value.
    assert_eq!((&json["largest_keys"][0]["key"], number(&json["largest_keys"][0], "bytes")), (&"a:1".into(), 98));
    ran.says("prefixes are not told").says("keys may be missing");
}

#[test]
fn a_dataset_without_snapshots_to_choose_from_is_wrong_usage() {
    let place = Place::with_snapshot();
    place.ends(2, &["stats", "--dataset", "sessions"]).says("--snapshots");
    place.ends(2, &["stats", "--count", "3"]);
    place.ends(2, &["stats", "latest", "--snapshots"]);
    place.ends(1, &["stats", "--snapshots", "--dataset", "nothing"]).says("no dataset is called nothing");
}
