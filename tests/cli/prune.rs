use std::fs;
use std::path::PathBuf;

use crate::place::{Place, fields, objects};

/// A repository whose first snapshot was forgotten; the file in it changed completely.
fn with_forgotten() -> (Place, Vec<String>) {
    let place = Place::with_repository();
    let mut ids = Vec::new();
    for day in 0..2u64 {
        let mut bytes = vec![0; 2 << 20];
        blake3::Hasher::new().update(&day.to_le_bytes()).finalize_xof().fill(&mut bytes);
        fs::write(place.path("data/file"), bytes).unwrap();
        ids.push(place.backup());
    }
    place.done(&["forget", &ids[0]]);
    (place, ids)
}

/// Bytes of all packs.
fn stored(place: &Place) -> u64 {
    objects(place, "packs").iter().map(|pack| fs::metadata(pack).unwrap().len()).sum()
}

#[test]
fn within_the_grace_time_nothing_is_deleted_and_after_it_the_space_comes_back() {
    let (place, ids) = with_forgotten();
    let before = stored(&place);
    let text = place.done(&["prune"]).text();
    assert!(text.ends_with("nothing to do; 0 B unneeded in packs that stay\n"), "{text}");
    assert_eq!(stored(&place), before);
    place.done(&["undelete", &ids[0]]);
    place.done(&["forget", "--keep-last", "1"]);
    let text = place.done(&["prune", "--grace", "0", "--dry-run"]).text();
    assert!(text.contains("would condemn 1 pack, 2") && text.contains("\nwould delete 1 pack, 2"), "{text}");
    assert!(text.contains("\nwould delete 2 forgotten snapshots, which no undelete brings back then\n"), "{text}");
    assert_eq!(stored(&place), before);
    let text = place.done(&["prune", "--grace", "0"]).text();
    assert!(text.contains("condemned 1 pack, 2") && text.contains("deleted 1 pack, 2"), "{text}");
    assert!(stored(&place) + (2 << 20) <= before);
    place.done(&["verify", "latest"]);
    place.done(&["check", "--read-data"]);
    assert!(place.done(&["prune"]).text().contains("nothing to do"));
}

/// SWEEP-6: its session ended with a snapshot, as the forgotten record or the loss that was recorded says, whatever stands there now.
#[test]
fn a_damaged_snapshot_that_nobody_waits_for_stops_no_prune() {
    for is_forgotten in [true, false] {
        let (place, ids) = with_forgotten();
        let damaged = if is_forgotten { &ids[0] } else { &ids[1] };
        let snapshots = objects(&place, "snapshots");
        let object = snapshots.iter().find(|path| path.to_string_lossy().ends_with(damaged)).unwrap();
        fs::write(object, b"no snapshot").unwrap();
        if !is_forgotten {
            place.ends(4, &["prune", "--grace", "0"]);
            place.ends(4, &["check", "--repair"]);
        }
        place.done(&["prune", "--grace", "0"]);
        place.done(&["check", "--read-data"]);
    }
}

/// SWEEP-11: and whoever asks for it hears that it cannot be read, whatever this host remembers of it.
#[test]
fn a_damaged_snapshot_that_was_forgotten_goes_when_its_time_is_over() {
    let (place, ids) = with_forgotten();
    let is_it = |path: &PathBuf| path.to_string_lossy().ends_with(&ids[0]);
    let object = objects(&place, "snapshots").into_iter().find(is_it).unwrap();
    fs::write(&object, b"no snapshot").unwrap();
    place.ends(4, &["undelete", &ids[0]]).says("its bytes do not match its hash");
    let elsewhere = place.arg("elsewhere");
    place.ends(4, &["undelete", &ids[0], "--cache-dir", &elsewhere]).says("its bytes do not match its hash");
    place.done(&["prune"]);
    assert!(object.exists());
    let text = place.done(&["prune", "--grace", "0", "--dry-run"]).text();
    assert!(text.contains("\nwould delete 1 forgotten snapshot, which"), "{text}");
    place.done(&["prune", "--grace", "0", "--cache-dir", &elsewhere]);
    assert!(!object.exists());
    place.ends(1, &["undelete", &ids[0]]).says("was forgotten").says("no longer in the repository");
}

#[test]
fn as_json_it_gives_what_was_done() {
    let (place, _) = with_forgotten();
    let json = place.done(&["prune", "--grace", "0", "--json"]).json();
    assert_eq!(
        fields(&json),
        [
            "alarms",
            "condemned_bytes",
            "condemned_packs",
            "deleted_bytes",
            "deleted_indexes",
            "deleted_packs",
            "deleted_snapshots",
            "dry_run",
            "needed_chunks",
            "pack_bytes",
            "packs",
            "removed_leases",
            "rewritten_bytes",
            "short_of_space",
            "snapshots",
            "stored_again",
            "unused_bytes",
            "waiting",
            "young_to_reseal"
        ]
    );
    assert_eq!((&json["deleted_packs"], &json["deleted_snapshots"]), (&1.into(), &1.into()));
    assert!(json["waiting"].as_array().unwrap().is_empty());
}

#[test]
fn a_repository_that_is_not_whole_is_left_alone_until_the_loss_is_recorded() {
    let (place, _) = with_forgotten();
    let mut packs = objects(&place, "packs");
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().modified().unwrap());
    fs::remove_file(packs.last().unwrap()).unwrap();
    let before = objects(&place, "packs");
    let ran = place.ends(4, &["prune", "--grace", "0"]);
    ran.says("nothing was deleted, because the repository is not whole").says("redkeep check --repair");
    assert_eq!(objects(&place, "packs"), before);
    place.ends(4, &["check", "--repair"]);
    place.backup();
    place.done(&["prune", "--grace", "0"]);
    place.done(&["verify", "latest"]);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let place = Place::with_repository();
    place.ends(2, &["prune", "--grace", "soon"]).says("24h, 30d or 90m");
    place.ends(2, &["prune", "--max-unused", "120"]).says("between 0 and 100");
}

#[test]
fn packs_of_older_keys_that_are_too_young_to_be_stored_again_are_told() {
    let place = Place::with_repository();
    place.backup();
    place.done(&["key", "rotate"]);
    assert!(place.done(&["prune"]).text().contains("nothing to do"), "nobody asked for it");
    for dry_run in [&["--dry-run"][..], &[]] {
        let text = place.done(&[&["prune", "--reseal"], dry_run].concat()).text();
        assert!(
            text.contains("sealed by older keys, too young yet") && text.contains("again in 23 h 59 min"),
            "{text}"
        );
        assert!(!text.contains("nothing to do"), "{text}");
    }
    let json = place.done(&["prune", "--reseal", "--json"]).json();
    let (young, packs) = (&json["young_to_reseal"], json["packs"].as_u64());
    assert!(young["packs"].as_u64() == packs && packs > Some(0) && young["seconds"].as_u64() > Some(80_000), "{json}");
    let json = place.done(&["prune", "--reseal", "--grace", "0", "--json"]).json();
    assert!(json["young_to_reseal"].is_null() && json["condemned_packs"].as_u64() == packs, "{json}");
    assert!(place.done(&["prune", "--reseal"]).text().contains("nothing to do"), "all is sealed by the newest");
}
