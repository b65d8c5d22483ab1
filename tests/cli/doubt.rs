//! A snapshot of which it is not known which files are the dataset.

use std::fs;

use crate::look_ups::dump_of_strings;
use crate::place::Place;

fn with_aof(place: &Place, name: &str) {
    let aof = place.data().join("appendonlydir");
    fs::create_dir_all(&aof).unwrap();
    fs::write(aof.join(format!("{name}.1.incr.aof")), format!("*2\r\n$4\r\nECHO\r\n$1\r\n{}\r\n", &name[..1])).unwrap();
    fs::write(aof.join(format!("{name}.manifest")), format!("file {name}.1.incr.aof seq 1 type i\n")).unwrap();
}

/// Exit 3, and all of it as it was.
#[test]
fn a_restore_puts_back_all_of_it_and_says_what_is_not_known() {
    let place = Place::with_repository();
    with_aof(&place, "a.aof");
    fs::write(place.data().join("appendonlydir/temp-a.aof.incr"), "").unwrap();
    place.ends(3, &["backup", "data", "--dataset", "d", "--quiet"]);
    let ran = place.ends(3, &["restore", "--target", "back", "--json"]);
    let what = "the AOF in this snapshot may be older than its dump: which of the two is the dataset is not known";
    ran.says(what).says("all of it is there as it was");
    assert_eq!(ran.json()["doubt"], what);
    assert!(place.path("back/dump.rdb").exists() && place.path("back/appendonlydir/a.aof.manifest").exists());
    let ran = place.done(&["restore", "--target", "rdb", "--from", "rdb", "--json"]);
    assert!(ran.json()["doubt"].is_null() && !place.path("rdb/appendonlydir/a.aof.manifest").exists());
    place.done(&["restore", "--target", "aof", "--from", "appendonlydir/a.aof.manifest"]);
    assert!(!place.path("aof/dump.rdb").exists());
}

#[test]
fn of_several_aofs_the_file_is_named() {
    let place = Place::with_repository();
    with_aof(&place, "a.aof");
    with_aof(&place, "b.aof");
    fs::remove_file(place.data().join("dump.rdb")).unwrap();
    place.ends(3, &["backup", "data", "--dataset", "d", "--quiet"]);
    place.ends(3, &["restore", "--target", "back"]).says("several AOFs").says("--from appendonlydir/");
    place.ends(2, &["restore", "--target", "back", "--from", "aof"]).says("name one of them: --from appendonlydir/");
    place.ends(2, &["restore", "--target", "back", "--from", "nodes.conf"]).says("is neither a manifest nor an AOF");
    place.ends(2, &["restore", "--target", "back", "--from", ""]);
    for (name, other) in [("a.aof", "b.aof"), ("b.aof", "a.aof")] {
        let manifest = format!("appendonlydir/{name}.manifest");
        place.done(&["restore", "--target", name, "--from", &manifest]);
        assert!(place.path(name).join(&manifest).exists());
        assert!(!place.path(name).join(format!("appendonlydir/{other}.manifest")).exists());
        assert!(!place.path(name).join(format!("appendonlydir/{other}.1.incr.aof")).exists());
    }
}

/// TIME-12: nothing of it is put into a server, and what is shown of its keys is not taken for what the server held.
#[test]
fn keys_of_one_are_put_nowhere_and_shown_with_a_warning() {
    let place = Place::with_repository();
    let dump = |keys: &[&str]| dump_of_strings(keys.iter().map(|key| (key.as_bytes().to_vec(), b"value".to_vec())));
    fs::write(place.data().join("dump.rdb"), dump(&["both", "late"])).unwrap();
    let aof = place.data().join("appendonlydir");
    fs::create_dir_all(&aof).unwrap();
    fs::write(aof.join("a.aof.1.base.rdb"), dump(&["both"])).unwrap();
    fs::write(aof.join("a.aof.manifest"), "file a.aof.1.base.rdb seq 1 type b\n").unwrap();
    fs::write(aof.join("temp-a.aof.incr"), "").unwrap();
    place.ends(3, &["backup", "data", "--dataset", "d", "--quiet"]);
    let what = "which of the two is the dataset is not known";
    let nowhere = "127.0.0.1:1";
    for arguments in [&["restore", "--into", nowhere][..], &["get", "both", "--into", nowhere]] {
        place.ends(1, arguments).says(what).says("choose with --from aof or --from rdb");
        for which in ["aof", "rdb"] {
            place.ends(9, &[arguments, &["--from", which]].concat());
        }
    }
    assert_eq!(place.ends(3, &["keys"]).says(what).says("its AOF was read").text().lines().count(), 1);
    assert_eq!(place.done(&["keys", "--from", "aof"]).text().lines().count(), 1);
    assert_eq!(place.done(&["keys", "--from", "rdb"]).text().lines().count(), 2);
    place.ends(3, &["get", "both", "--raw"]).says(what);
    place.ends(1, &["get", "late"]).says(what).says("choose with --from aof or --from rdb");
    assert_eq!(place.done(&["get", "late", "--raw", "--from", "rdb"]).text(), "value");
    place.ends(2, &["keys", "--from", "nodes.conf"]).says("is neither a manifest nor an AOF");
}
