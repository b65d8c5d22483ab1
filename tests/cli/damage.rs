//! A damaged or incomplete repository: what is lost is named, what can be saved is saved, and every answer is 4 or whole.

use std::fs;
use std::path::Path;

use crate::look_ups::dump_of_strings;
use crate::place::{Place, damage_packs, fields, noise, objects, tree};

#[test]
fn check_names_the_object_and_each_lost_file() {
    let place = Place::with_repository();
    let id = place.backup();
    damage_packs(&place);
    place.ends(0, &["check"]);
    let ran = place.ends(4, &["check", "--read-data"]);
    let text = ran.text();
    assert!(text.contains("damaged: packs/"), "{text}");
    assert!(text.contains(&format!("lost: {} modules/table.bin\n", &id[..8])), "{text}");
    assert!(text.lines().last().unwrap().starts_with("the repository is DAMAGED: "), "{text}");
    assert!(place.ends(4, &["check", "--read-data", "--quiet"]).text().contains("damaged: packs/"));

    let json = place.ends(4, &["check", "--read-data", "--json"]).json();
    assert_eq!(json["sound"], false);
    assert_eq!(fields(&json["damage"][0]), ["object", "problem"]);
    assert_eq!(fields(&json["lost_files"][0]), ["path", "snapshot"]);
    assert!(json["lost_files"].as_array().unwrap().iter().all(|lost| lost["snapshot"] == id));
}

/// NOTE-12
#[test]
fn what_a_check_found_is_said_by_every_backup_until_it_is_repaired() {
    let place = Place::with_repository();
    fs::write(place.data().join("lost.bin"), noise(9, 300_000)).unwrap();
    place.backup();
    fs::remove_file(place.data().join("lost.bin")).unwrap();
    damage_all_frames(&place);
    place.ends(4, &["check", "--read-data"]);
    for arguments in [
        &["stats"][..],
        &["stats", "--snapshots"],
        &["snapshots"],
        &["backup", "data", "--dataset", "sessions"],
        &["stats"],
    ] {
        place.ends(3, arguments).says("packs are damaged, as an earlier check found (1, among them packs/");
    }
    assert_eq!(place.ends(3, &["stats", "--json"]).json()["alarms"][0]["code"], "damaged_packs");
    assert!(place.ends(4, &["check", "--repair"]).text().contains("lost.bin"));
    place.done(&["backup", "data", "--dataset", "sessions"]);
    place.done(&["stats"]);
}

/// NOTE-12, NOTE-13
#[test]
fn a_backup_stores_again_what_a_check_found_damaged() {
    let place = Place::with_snapshot();
    damage_packs(&place);
    place.ends(4, &["check", "--read-data"]);
    // Nothing was touched since, and yet all of it is read again.
    place.ends(3, &["backup", "data", "--dataset", "sessions"]).says("packs are damaged");
    for snapshot in ["latest", "latest~1"] {
        place.done(&["restore", snapshot, "--target", snapshot]);
        assert_eq!(tree(&place.path(snapshot)), tree(&place.data()));
    }
    place.done(&["stats"]);
    place.done(&["backup", "data", "--dataset", "sessions"]);
    let told = place.done(&["check", "--read-data"]).text();
    assert!(told.contains("needed no more: packs/") && told.ends_with("the repository is sound\n"), "{told}");
    let json = place.done(&["check", "--json"]).json();
    assert_eq!((&json["sound"], json["damage"].as_array().unwrap().len()), (&true.into(), 0));
    assert_eq!(fields(&json["replaced"][0]), ["object", "problem"]);
    place.done(&["prune", "--grace", "0"]);
    assert_eq!(place.done(&["check", "--read-data", "--json"]).json()["replaced"].as_array().unwrap().len(), 0);
    for snapshot in ["latest", "latest~1", "latest~2"] {
        place.done(&["restore", snapshot, "--target", "again", "--replace-anything"]);
        assert_eq!(tree(&place.path("again")), tree(&place.data()));
    }
}

/// SESS-2, LOCAL-35: what this host remembers of a dump says what is in its buckets, and not that they are there.
#[test]
fn buckets_of_a_dump_that_did_not_change_are_stored_again_where_a_check_found_them_damaged() {
    let text = |key: u32| format!("{:x}", key.wrapping_mul(2_654_435_761)).into_bytes();
    let dump = dump_of_strings((0..3000).map(|key| (text(key), text(key ^ 0x5555))));
    for is_repaired in [false, true] {
        let place = Place::with_repository();
        let backup = ["backup", "one", "--dataset", "d"];
        fs::create_dir(place.path("one")).unwrap();
        fs::write(place.path("one/dump.rdb"), &dump).unwrap();
        place.ends(0, &backup);
        damage_packs(&place);
        place.ends(4, &["check", "--read-data"]);
        if is_repaired {
            place.ends(4, &["check", "--repair"]);
        }
        place.ends(if is_repaired { 0 } else { 3 }, &backup);
        place.ends(0, &["restore", "--target", "back"]);
        assert_eq!(tree(&place.path("back")), tree(&place.path("one")));
    }
}

/// Flips a bit in every 20 kB of every pack, but not in its table: which file comes first in it nobody knows.
fn damage_all_frames(place: &Place) {
    for pack in objects(place, "packs") {
        let mut bytes = fs::read(&pack).unwrap();
        for at in (1000..bytes.len() - 4000).step_by(20_000) {
            bytes[at] ^= 1;
        }
        fs::write(&pack, bytes).unwrap();
    }
}

/// SWEEP-22, SWEEP-23
#[test]
fn a_prune_takes_nothing_away_while_something_needed_is_only_in_a_damaged_pack() {
    let place = Place::with_repository();
    fs::write(place.data().join("lost.bin"), noise(9, 300_000)).unwrap();
    let first = place.backup();
    fs::remove_file(place.data().join("lost.bin")).unwrap();
    damage_all_frames(&place);
    place.ends(4, &["check", "--read-data"]);
    place.ends(3, &["backup", "data", "--dataset", "sessions"]);
    assert!(place.ends(4, &["check"]).text().contains("lost.bin"));
    let before = objects(&place, "packs");
    // Of one that is too young to be condemned nothing counts either.
    for arguments in [&["--dry-run"][..], &[], &["--grace", "0", "--dry-run"], &["--grace", "0"]] {
        let ran = place.ends(4, &[&["prune"], arguments].concat());
        ran.says("packs/").says("nothing was deleted").says("authentication failed");
    }
    assert!(before.iter().all(|pack| pack.exists()));
    assert!(objects(&place, "condemned").is_empty());
    place.ends(4, &["check", "--repair"]);
    place.done(&["forget", &first]);
    place.done(&["prune", "--grace", "0"]);
    place.done(&["check", "--read-data"]);
    place.done(&["restore", "--target", "back"]);
    assert_eq!(tree(&place.path("back")), tree(&place.data()));
}

/// NOTE-12
#[test]
fn stats_and_the_report_name_a_pack_that_is_missing() {
    let place = Place::with_snapshot();
    objects(&place, "packs").into_iter().for_each(|pack| fs::remove_file(pack).unwrap());
    for arguments in [&["stats"][..], &["stats", "--snapshots"], &["report", "page.html"]] {
        place.ends(3, arguments).says("packs are missing or cut short (1, among them packs/");
    }
}

#[test]
fn verify_names_the_files_that_cannot_be_rebuilt() {
    let place = Place::with_snapshot();
    damage_packs(&place);
    let ran = place.ends(4, &["verify"]);
    ran.says("warning: modules/table.bin: chunk ");
    assert!(ran.text().contains("cannot be restored whole"), "{}", ran.text());
    let json = place.ends(4, &["verify", "--json"]).json();
    assert_eq!(json["whole"], false);
}

#[test]
fn restore_changes_nothing() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    fs::write(place.path("back/precious"), "x").unwrap();
    damage_packs(&place);
    let ran = place.ends(4, &["restore", "--target", "back", "--replace-anything", "--json"]);
    ran.says("hint: see what is affected with: redkeep check --read-data");
    let json = ran.json();
    assert_eq!(fields(&json), ["error"]);
    assert_eq!(fields(&json["error"]), ["exit_code", "hint", "message"]);
    assert_eq!(json["error"]["exit_code"], 4);
    assert_eq!(fs::read_to_string(place.path("back/precious")).unwrap(), "x");
    let left: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".redkeep")), "{left:?}");
}

#[test]
fn dump_leaves_no_file_that_looks_whole() {
    let place = Place::with_snapshot();
    damage_packs(&place);
    place.ends(4, &["dump", "latest", "modules/table.bin", "-o", &place.arg("out")]);
    assert!(!place.path("out").exists());
    assert!(place.ends(4, &["dump", "latest", "modules/table.bin"]).stdout.len() < 600_000);
}

#[test]
fn a_lost_index_object_costs_nothing_but_time() {
    let place = Place::with_snapshot();
    objects(&place, "index").into_iter().for_each(|index| fs::remove_file(index).unwrap());
    assert_eq!(place.done(&["dump", "latest", "modules/table.bin"]).stdout, noise(1, 600_000));
    place.done(&["restore", "--target", "back"]);
    assert_eq!(tree(&place.path("back")), tree(&place.data()));
    place.done(&["verify"]);
}

/// The second look begins in the middle of the file.
#[test]
fn a_dump_that_met_a_lost_index_object_goes_on_where_it_was() {
    let place = Place::with_repository();
    let content = noise(4, 2 << 20);
    fs::write(place.data().join("grown.bin"), &content[..1 << 20]).unwrap();
    place.backup();
    let before = objects(&place, "index");
    fs::write(place.data().join("grown.bin"), &content).unwrap();
    place.backup();
    let after = objects(&place, "index").into_iter().filter(|index| !before.contains(index));
    assert_eq!(after.map(|index| fs::remove_file(index).unwrap()).count(), 1);
    assert_eq!(place.done(&["dump", "latest", "grown.bin"]).stdout, content);
}

/// The second look begins in the middle of what is listed, of which no line is there twice.
#[test]
fn look_ups_that_met_a_lost_index_object_go_on_where_they_were() {
    let place = Place::with_repository();
    let back_up = |is_changed: &dyn Fn(u64) -> bool| {
        let value = |key| noise(if is_changed(key) { key + 9_000 } else { key }, 3_000);
        let keys = (0..3_000).rev().map(|key| (format!("key {key:04}").into_bytes(), value(key)));
        fs::write(place.data().join("dump.rdb"), dump_of_strings(keys)).unwrap();
        place.run(&["backup", "data", "--dataset", "d"]).text();
    };
    back_up(&|_| false);
    back_up(&|key| key < 500);
    let before = objects(&place, "index");
    back_up(&|key| !(500..2_000).contains(&key));
    let (keys, diff) = (["keys", "latest"], ["diff", "latest~2", "latest", "--keys"]);
    let whole = [place.done(&keys).text(), place.done(&diff).text()];
    assert_eq!(whole.each_ref().map(|text| text.lines().count()), [3_000, 1_501]);
    let after = objects(&place, "index").into_iter().filter(|index| !before.contains(index));
    let after: Vec<_> = after.collect();
    assert_eq!(after.len(), 1);
    for (command, whole) in [(&keys[..], &whole[0]), (&diff, &whole[1])] {
        // What the look before found is forgotten with the catalog.
        fs::remove_dir_all(place.path("home")).unwrap();
        after.iter().filter(|index| index.exists()).for_each(|index| fs::remove_file(index).unwrap());
        assert_eq!(&place.ends(0, command).text(), whole);
    }
}

#[test]
fn latest_is_not_an_older_snapshot_than_the_newest_and_an_id_is_what_it_names() {
    let place = Place::with_repository();
    let older = place.backup();
    let before = tree(&place.data());
    fs::write(place.data().join("modules/table.bin"), noise(2, 300_000)).unwrap();
    place.backup();
    let newest = objects(&place, "snapshots").pop().unwrap();
    flip_last(&newest);
    // On a host whose catalog holds the snapshot already, and on one that has to read it.
    for _ in 0..2 {
        let ran = place.ends(4, &["restore", "--target", "back"]);
        ran.says(newest.file_name().unwrap().to_str().unwrap())
            .says("hint: to take another one instead, name it by its id");
        place.ends(4, &["dump", "latest", "dump.rdb"]);
        place.ends(4, &["ls", "@0s"]);
        assert!(!place.path("back").exists());
        fs::remove_dir_all(place.path("home/.cache")).unwrap();
    }
    place.ends(3, &["restore", &older[..8], "--target", "back"]).says("this snapshot is lost");
    assert_eq!(tree(&place.path("back")), before);
}

#[test]
fn what_another_copy_makes_good_is_restored_and_told() {
    let place = Place::with_snapshot();
    let pack = objects(&place, "packs").remove(0);
    let whole = fs::read(&pack).unwrap();
    fs::write(&pack, &whole[..whole.len() - 1]).unwrap();
    place
        .ends(3, &["backup", "data", "--dataset", "sessions"])
        .says("packs are missing or cut short (1, among them packs/");
    for pack in objects(&place, "packs") {
        let whole = fs::read(&pack).unwrap();
        let mut damaged = whole.clone();
        damaged[1000] ^= 1;
        fs::write(&pack, damaged).unwrap();
        // Either copy may be read first: the damaged one is told, and never what comes out.
        let (dumped, verified) =
            (place.run(&["dump", "latest", "modules/table.bin"]), place.run(&["verify", "--json"]));
        assert_eq!(dumped.stdout, noise(1, 600_000));
        assert_eq!(verified.json()["whole"], true);
        let told = verified.json()["made_good"].as_array().unwrap().len();
        assert_eq!((dumped.code, verified.code), if told == 0 { (0, 0) } else { (3, 3) });
        assert_eq!(dumped.stderr.contains("made good from another copy: "), told > 0, "{}", dumped.stderr);
        fs::write(&pack, whole).unwrap();
    }
}

#[test]
fn a_host_whose_memory_is_damaged_says_so_once_and_goes_on() {
    let place = Place::with_snapshot();
    let state = place.path("home/.local/state/redkeep/state.db");
    let half = fs::read(&state).unwrap().len() / 2;
    fs::OpenOptions::new().write(true).open(&state).unwrap().set_len(half as u64).unwrap();
    place.ends(3, &["restore", "--target", "back"]).says("is damaged and was put aside");
    assert_eq!(tree(&place.path("back")), tree(&place.data()));
    assert!(state.with_extension("db.damaged").exists());
    place.done(&["verify"]);
}

#[test]
fn without_config_or_slots_the_error_says_what_is_gone() {
    let place = Place::with_snapshot();
    let config = place.repository().join("config");
    let bytes = fs::read(&config).unwrap();
    fs::remove_file(&config).unwrap();
    place.ends(4, &["snapshots"]).says("redkeep: config: it is missing").says("hint: nothing can be opened without it");
    fs::write(&config, bytes).unwrap();
    objects(&place, "keys").into_iter().for_each(|slot| fs::remove_file(slot).unwrap());
    let lost = place.ends(4, &["snapshots"]);
    lost.says("redkeep: keys/ (every key slot): it is missing");
    lost.says("hint: nothing can be opened without one: put back a copy").says("try again in a minute");
}

#[test]
fn a_damaged_config_is_damage() {
    let place = Place::with_snapshot();
    let config = place.repository().join("config");
    flip_last(&config);
    place.ends(4, &["snapshots"]).says("redkeep: config: ");
}

fn flip_last(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}
