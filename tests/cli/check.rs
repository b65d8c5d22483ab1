use std::fs;

use crate::place::{Place, fields, objects};

#[test]
fn a_sound_repository_ends_with_one_clear_line() {
    let place = Place::with_snapshot();
    let text = place.done(&["check"]).text();
    assert!(text.lines().last().unwrap().starts_with("no damage found"), "{text}");
    let text = place.done(&["check", "--read-data"]).text();
    assert!(text.ends_with("the repository is sound\n"), "{text}");
    assert_eq!(place.done(&["check", "-q"]).text(), "");
}

#[test]
fn as_json_it_counts_what_was_looked_at() {
    let place = Place::with_snapshot();
    let json = place.done(&["check", "--read-data", "--json"]).json();
    let wanted =
        ["bytes_read", "chunks", "damage", "lost_files", "packs", "read_data", "snapshots", "sound", "unindexed_packs"];
    assert_eq!(fields(&json), wanted);
    assert_eq!((json["sound"].as_bool(), json["packs"].as_u64()), (Some(true), Some(1)));
    assert!(json["bytes_read"].as_u64().unwrap() > 600_000);
}

#[test]
fn a_pack_without_an_index_is_worth_a_line_and_no_more() {
    let place = Place::with_repository();
    let pack = place.repository().join("packs/00").join("0".repeat(64));
    place.backup();
    let indexed = objects(&place, "packs").remove(0);
    let other = indexed.parent().unwrap().parent().unwrap().join("00");
    fs::create_dir_all(&other).unwrap();
    fs::copy(&indexed, other.join(pack.file_name().unwrap())).unwrap();
    assert!(place.done(&["check"]).text().contains("1 pack in no index"));
}
