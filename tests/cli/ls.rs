use crate::place::{OFFSET, Place, fields};

#[test]
fn files_are_listed_with_rights_owner_size_and_time() {
    let place = Place::with_snapshot();
    let text = place.done(&["ls", "latest"]).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["MODE", "OWNER", "SIZE", "MODIFIED", "PATH"]);
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[1].starts_with("-rw-") && lines[1].ends_with("dump.rdb"), "{text}");
    assert!(lines[2].starts_with("drwx") && lines[2].ends_with("modules/"), "{text}");
    assert!(lines[3].contains("585.9 KiB") && lines[3].contains(OFFSET), "{text}");
}

#[test]
fn a_path_lists_what_is_at_and_below_it() {
    let place = Place::with_snapshot();
    let paths = |path| {
        let json = place.done(&["ls", "latest", path, "--json"]).json();
        let paths = json["files"].as_array().unwrap().iter();
        paths.map(|file| file["path"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(paths("modules"), ["modules", "modules/table.bin"]);
    assert_eq!(paths("nodes.conf"), ["nodes.conf"]);
    place.ends(1, &["ls", "latest", "elsewhere"]).says("nothing at elsewhere").says("hint: paths are those below");
}

#[test]
fn as_json_each_file_has_all_that_is_known() {
    let place = Place::with_snapshot();
    let json = place.done(&["ls", "latest", "nodes.conf", "--json"]).json();
    assert_eq!(fields(&json), ["alarms", "begin", "dataset", "files", "snapshot", "warnings"]);
    let wanted = [
        "gid", "group", "hash", "kind", "mode", "modified", "path", "role", "size", "suspect", "target", "uid", "user",
    ];
    assert_eq!(fields(&json["files"][0]), wanted);
    let content = std::fs::read(place.data().join("nodes.conf")).unwrap();
    assert_eq!(json["files"][0]["hash"], blake3::hash(&content).to_string());
    assert_eq!(json["files"][0]["kind"], "file");
}

#[test]
fn a_snapshot_is_named_by_id_place_or_time() {
    let place = Place::with_snapshot();
    let (first, second) = (place.done(&["ls", "latest", "--json"]).json(), place.backup());
    let first = first["snapshot"].as_str().unwrap();
    let named = |text: &str| place.ends(0, &["ls", text, "--json"]).json()["snapshot"].as_str().unwrap().to_string();
    assert_eq!(named(&second[..8]), second);
    assert_eq!(named(&first[..5].to_uppercase()), first);
    assert_eq!(named("latest~1"), first);
    assert_eq!(named("@2999-01-01 00:00"), second);
    // The time a listing shows, which is cut to seconds, finds the snapshot it stands beside.
    let shown = place.done(&["snapshots"]).text();
    let shown = shown.lines().find(|line| line.starts_with(&second[..8])).unwrap();
    let shown = shown.split_whitespace().nth(1).unwrap();
    assert_eq!(named(&format!("@{shown}")), second);
}

#[test]
fn what_names_no_snapshot_is_told_apart() {
    let place = Place::with_repository();
    place.ends(1, &["ls", "latest"]).says("there is no snapshot yet").says("with: redkeep backup");
    place.backup();
    place.ends(1, &["ls", "latest~1"]).says("the oldest snapshot is latest~0");
    place.ends(1, &["ls", "00000000000000000000000000000000"]).says("no snapshot has an id");
    place.ends(1, &["ls", "latest", "--dataset", "typo"]).says("there are: sessions");
    place.ends(2, &["ls", "abc"]).says("at least 4 digits");
    place.ends(2, &["ls", "newest"]).says("latest~N");
    place.done(&["backup", "data", "--dataset", "other"]);
    place.ends(2, &["ls", "latest"]).says("several datasets").says("hint: name one of them with --dataset\n");
    place.done(&["ls", "latest", "--dataset", "other"]);
}

/// Exit 8, with the nearest moment that can be restored.
#[test]
fn a_moment_before_the_first_snapshot_cannot_be_restored() {
    let place = Place::with_snapshot();
    let ran = place.ends(8, &["ls", "@2001-01-01T00:00:00Z", "--json"]);
    ran.says("note: looking for the last snapshot at or before 2001-01-01T05:30:00+05:30")
        .says("hint: the oldest one is");
    assert_eq!(ran.json()["error"]["exit_code"], 8);
}
