use std::fs;

use crate::place::{Place, damage_packs, fields, objects};

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
    let wanted = [
        "bytes_read",
        "chunks",
        "damage",
        "elsewhere",
        "lost_chunks",
        "lost_files",
        "packs",
        "read_data",
        "reading",
        "repair",
        "replaced",
        "snapshots",
        "sound",
        "unindexed_packs",
    ];
    assert_eq!(fields(&json), wanted);
    assert_eq!(fields(&json["reading"]), ["never_read", "not_kept", "oldest", "packs", "skipped"]);
    assert!(json["repair"].is_null());
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

#[test]
fn what_was_read_lately_is_not_read_again() {
    let place = Place::with_snapshot();
    let reading = |arguments: &[&str]| {
        let json = place.done(&[&["check", "--json"], arguments].concat()).json();
        (json["reading"]["packs"].as_u64(), json["reading"]["skipped"].as_u64())
    };
    assert_eq!(reading(&["--max-age", "30d"]), (Some(1), Some(0)));
    assert_eq!(reading(&["--max-age", "30d"]), (Some(0), Some(1)));
    assert_eq!(reading(&["--subset", "1/1"]), (Some(1), Some(0)));
    assert_eq!(reading(&["--subset", "0.01%"]), (Some(1), Some(0)));
    let text = place.done(&["check", "--max-age", "30d"]).text();
    assert!(text.contains("not read this time: 1 pack (the oldest reading is of 20"), "{text}");
    place.ends(2, &["check", "--subset", "3/2"]).says("N from 1 to M");
    place.ends(2, &["check", "--max-age", "soon"]).says("such as 30d");
    place.ends(2, &["check", "--max-age", "3d", "--read-data"]);
}

#[test]
fn a_repair_writes_down_what_is_lost_and_the_next_backup_makes_it_whole() {
    let place = Place::with_snapshot();
    place.done(&["check", "--repair"]);
    damage_packs(&place);
    let ran = place.ends(4, &["check", "--read-data", "--repair"]);
    let text = ran.text();
    assert!(text.contains("recorded as lost: pack ") && text.contains("condemned: 1 pack"), "{text}");
    assert!(text.contains("lost: chunk ") && text.ends_with(" of 1 snapshot lost\n"), "{text}");
    ran.says("take a backup now");
    place.ends(4, &["check"]);
    place.ends(0, &["snapshots"]);
    place.backup();
    place.ends(0, &["check", "--read-data"]);
    place.ends(0, &["verify"]);
    let json = place.done(&["check", "--repair", "--json"]).json();
    let wanted = ["condemned_packs", "found", "indexed_packs", "recorded_chunks", "recorded_objects", "recorded_packs"];
    assert_eq!(fields(&json["repair"]), wanted);
}

#[test]
fn a_lost_index_object_is_made_good_with_a_warning() {
    let place = Place::with_snapshot();
    fs::remove_file(objects(&place, "index").remove(0)).unwrap();
    place.ends(4, &["check"]);
    let text = place.ends(3, &["check", "--repair"]).text();
    assert!(text.contains("named again: 1 pack") && text.ends_with("repaired: nothing is lost\n"), "{text}");
    place.ends(0, &["check", "--read-data"]);
}

#[test]
fn a_missing_pack_is_told_once() {
    let place = Place::with_snapshot();
    fs::remove_file(objects(&place, "packs").remove(0)).unwrap();
    let text = place.ends(4, &["check", "--read-data"]).text();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("damaged: ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(text.contains("DAMAGED: 1 object, "), "{text}");
    let json = place.ends(4, &["check", "--read-data", "--json"]).json();
    assert_eq!(json["damage"].as_array().unwrap().len(), 1, "{json}");
}

#[test]
fn a_missing_snapshot_is_named_once() {
    let place = Place::with_snapshot();
    fs::remove_file(objects(&place, "snapshots").remove(0)).unwrap();
    for arguments in [&["check"][..], &["check", "--repair"]] {
        let text = place.ends(4, arguments).text();
        let line = text.lines().find(|line| line.starts_with("damaged: snapshots/")).unwrap();
        assert!(line.matches("snapshots/").count() == 1 && line.contains(": it is missing: "), "{line}");
    }
}
