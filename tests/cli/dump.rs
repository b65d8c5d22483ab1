use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use crate::place::{Place, fields, noise, run};

#[test]
fn standard_output_is_the_file_and_nothing_else() {
    let place = Place::with_snapshot();
    assert_eq!(place.done(&["dump", "latest", "modules/table.bin"]).stdout, noise(1, 600_000));
    let ran = place.ends(0, &["dump", "latest", "nodes.conf", "-v"]);
    assert_eq!(ran.text(), "vars currentEpoch 0 lastVoteEpoch 0\n");
}

#[test]
fn with_an_output_the_file_is_made_there() {
    let place = Place::with_snapshot();
    let out = place.arg("out.bin");
    let text = place.done(&["dump", "latest", "modules/table.bin", "-o", &out]).text();
    assert!(text.starts_with("wrote modules/table.bin of "), "{text}");
    assert_eq!(fs::read(&out).unwrap(), noise(1, 600_000));
    place.ends(2, &["dump", "latest", "nodes.conf", "-o", &out]).says("exists already");
    assert_eq!(fs::read(&out).unwrap().len(), 600_000);
}

#[test]
fn as_json_it_tells_where_the_file_is() {
    let place = Place::with_snapshot();
    let json = place.done(&["dump", "latest", "nodes.conf", "-o", &place.arg("out"), "--json"]).json();
    assert_eq!(fields(&json), ["alarms", "begin", "bytes", "dataset", "output", "path", "snapshot"]);
    assert_eq!(json["bytes"], 36);
    place.ends(2, &["dump", "latest", "nodes.conf", "--json"]).says("-o FILE");
}

#[test]
fn a_reader_that_goes_away_is_told_by_the_code_alone() {
    let place = Place::with_repository();
    fs::write(place.data().join("large.bin"), noise(3, 8 << 20)).unwrap();
    place.backup();
    let mut child =
        place.command(&["dump", "latest", "large.bin"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(1), 0), "{output:?}");
}

#[test]
fn a_full_disk_is_a_failure() {
    let place = Place::with_snapshot();
    let full = fs::File::create("/dev/full").unwrap();
    let ran = run(place.command(&["dump", "latest", "modules/table.bin"]).stdout(full));
    assert_eq!(ran.code, 1);
    ran.says("redkeep: cannot write to standard output: ").says("hint: the disk that it goes to is full");
}

#[test]
fn what_is_no_file_is_refused() {
    let place = Place::with_snapshot();
    place.ends(1, &["dump", "latest", "elsewhere"]).says("has no file elsewhere").says("hint: list its files with");
    place.ends(1, &["dump", "latest", "modules"]).says("has no file modules");
}

#[test]
fn no_link_that_stands_in_the_way_of_a_file_is_written_through() {
    let place = Place::with_snapshot();
    let at = |name: &str| place.path(name);
    fs::write(at("other"), "precious").unwrap();
    symlink(at("other"), at(".redkeep-partial-out")).unwrap();
    place.ends(0, &["dump", "latest", "modules/table.bin", "-o", &place.arg("out")]);
    assert!(fs::symlink_metadata(at("out")).unwrap().is_file());
    assert_eq!(fs::metadata(at("out")).unwrap().permissions().mode() & 0o777, 0o600);
    for target in ["other", "nowhere"] {
        let link = at(&format!("to-{target}"));
        symlink(at(target), &link).unwrap();
        place.ends(2, &["dump", "latest", "modules/table.bin", "-o", link.to_str().unwrap()]).says("exists already");
        assert!(fs::symlink_metadata(link).unwrap().is_symlink());
    }
    assert_eq!(fs::read(at("other")).unwrap(), b"precious");
    assert!(!at("nowhere").exists());
}
