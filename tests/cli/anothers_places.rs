//! The cache and the state of another user's redkeep, below a directory that is backed up.

use std::fs;

use crate::place::{Place, run};

fn listed(place: &Place) -> Vec<String> {
    let json = place.done(&["ls", "latest", "--dataset", "sessions", "--json"]).json();
    let files = json["files"].as_array().unwrap().iter();
    files.filter(|file| file["kind"] == "file").map(|file| file["path"].as_str().unwrap().to_string()).collect()
}

/// CAPTURE-3, LOCAL-30
#[test]
fn they_are_known_by_what_they_hold_left_out_and_told() {
    let place = Place::with_repository();
    let home = place.data().join("home");
    run(place.command(&["snapshots"]).env("HOME", &home));
    let state = home.join(".local/state/redkeep");
    assert!(state.join("state.db").is_file() && home.join(".cache/redkeep").is_dir());
    // Files that are only called so are data.
    for other in ["lib/state.db", "lib/catalog.db"] {
        fs::create_dir_all(place.data().join("lib")).unwrap();
        fs::write(
            place.data().join(other),
            "SQLite format 3\0 of somebody else, with more bytes than the head has: ".repeat(3),
        )
        .unwrap();
    }
    // Where the directory itself is somebody's state directory, its files are.
    fs::copy(state.join("state.db"), place.data().join("state.db")).unwrap();
    fs::write(place.data().join("state.db-wal"), "of it").unwrap();
    let ran = place.ends(0, &["backup", "data", "--dataset", "sessions", "--json"]);
    let left = ran.json()["left_out"].to_string();
    for path in ["home/.local/state/redkeep", "home/.cache/redkeep/", "state.db", "state.db-wal"] {
        assert!(left.contains(&format!("\"{path}")), "{path}: {left}");
    }
    assert!(left.contains("another-cache-or-state"), "{left}");
    let plain = ["dump.rdb", "lib/catalog.db", "lib/state.db", "modules/table.bin", "nodes.conf"];
    assert_eq!(listed(&place), plain);
    let text = place.done(&["backup", "data", "--dataset", "sessions"]).text();
    assert!(text.contains("home/.local/state/redkeep (cache or state of another user's redkeep)"), "{text}");
    place.done(&["backup", "data", "--dataset", "sessions", "--include", "home/**"]);
    assert!(listed(&place).contains(&"home/.local/state/redkeep/state.db".to_string()));
}

/// CAPTURE-3: who can write to an AOF directory does not have it left out.
#[test]
fn what_is_put_into_an_aof_directory_hides_nothing() {
    let place = Place::with_repository();
    run(place.command(&["snapshots"]).env("REDKEEP_STATE_DIR", place.path("state")));
    let aof = place.data().join("appendonlydir");
    fs::create_dir(&aof).unwrap();
    fs::write(aof.join("a.manifest"), "file a.1.incr.aof seq 1 type i\n").unwrap();
    fs::write(aof.join("a.1.incr.aof"), "*1\r\n$4\r\nPING\r\n").unwrap();
    fs::copy(place.path("state/state.db"), aof.join("state.db")).unwrap();
    fs::copy(place.repository().join("config"), aof.join("config")).unwrap();
    place.run(&["backup", "data", "--dataset", "sessions"]);
    let listed = listed(&place);
    for path in ["appendonlydir/a.manifest", "appendonlydir/a.1.incr.aof"] {
        assert!(listed.contains(&path.to_string()), "{listed:?}");
    }
}
