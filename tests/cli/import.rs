//! Dumps that were put aside become snapshots.

use std::fs;

use crate::place::{OFFSET, Place, fields};

/// A dump that says when it was made, of strings.
fn dump_of(ctime: Option<u64>, keys: &[(&str, &str)]) -> Vec<u8> {
    let mut dump = b"REDIS0011".to_vec();
    let string = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    if let Some(ctime) = ctime {
        dump.push(0xfa);
        dump.extend([string("ctime"), string(&ctime.to_string())].concat());
    }
    dump.extend(b"\xfe\x00");
    for (key, value) in keys {
        dump.push(0);
        dump.extend([string(key), string(value)].concat());
    }
    dump.push(0xff);
    let checksum = crc::Crc::<u64>::new(&crc::CRC_64_REDIS).checksum(&dump);
    dump.extend_from_slice(&checksum.to_le_bytes());
    dump
}

/// 2026-01-01 00:00:00 UTC.
const NEW_YEAR: u64 = 1_767_225_600;
const DAY: u64 = 86_400;

/// Three days, under names that say nothing of their order.
fn pile(place: &Place) -> Vec<Vec<u8>> {
    fs::create_dir(place.path("pile")).unwrap();
    let days = [("c.rdb", "one"), ("a.rdb", "two"), ("b.rdb", "three")];
    let dump = |(day, (name, value)): (u64, (&str, &str))| {
        let dump = dump_of(Some(NEW_YEAR + day * DAY), &[("k", value), ("same", "always"), (value, "only")]);
        fs::write(place.path("pile").join(name), &dump).unwrap();
        dump
    };
    (0..).zip(days).map(dump).collect()
}

const ALL: [&str; 3] = ["pile/a.rdb", "pile/b.rdb", "pile/c.rdb"];

#[test]
fn dumps_become_snapshots_in_the_order_in_which_they_were_made() {
    let place = Place::with_tiny_repository();
    let dumps = pile(&place);
    let import = |more: &[&str]| place.ends(0, &[&["import"], &ALL[..], &["--dataset", "d"], more].concat());
    let dry = import(&["--dry-run"]).text();
    assert!(dry.contains("would import 3 dumps into d\n"), "{dry}");
    assert_eq!(place.done(&["snapshots", "--json"]).json()["snapshots"], serde_json::json!([]));

    let json = import(&["--tag", "old", "--json"]).json();
    assert_eq!(fields(&json), ["alarms", "dataset", "dry_run", "dumps", "left_out"]);
    let told = |name: &str| json["dumps"].as_array().unwrap().iter().map(|one| one[name].clone()).collect::<Vec<_>>();
    let names: Vec<String> = told("path").iter().map(|path| path.as_str().unwrap().to_owned()).collect();
    assert!(names.iter().zip(["c.rdb", "a.rdb", "b.rdb"]).all(|(path, name)| path.ends_with(name)), "{names:?}");
    let wanted = [
        "became",
        "bytes",
        "form",
        "keys",
        "path",
        "same_as",
        "snapshot",
        "stored_bytes",
        "suspect",
        "time",
        "time_from",
        "why",
    ];
    assert_eq!(fields(&json["dumps"][0]), wanted);
    assert_eq!((told("keys"), told("form")), (vec![3.into(); 3], vec!["canonical".into(); 3]));
    assert_eq!(told("time_from"), vec![serde_json::Value::from("dump"); 3]);

    // What was imported is restored, listed, compared and looked into like any other.
    let listed = place.done(&["snapshots", "--json"]).json();
    let begins: Vec<_> = listed["snapshots"].as_array().unwrap().iter().map(|one| one["begin"].clone()).collect();
    assert_eq!(begins, told("time"));
    assert!(begins[0].as_str().unwrap().ends_with(OFFSET), "{begins:?}");
    assert_eq!(listed["snapshots"][0]["tags"], serde_json::json!(["old"]));
    for (back, dump) in dumps.iter().rev().enumerate() {
        let (snapshot, target) = (format!("latest~{back}"), format!("back{back}"));
        place.ends(0, &["restore", &snapshot, "--target", &target, "-q"]);
        assert_eq!(fs::read(place.path(&target).join("dump.rdb")).unwrap(), *dump);
    }
    let diff = place.done(&["diff", "latest~1", "latest", "--keys"]).text();
    assert!(diff.ends_with("1 added, 1 removed, 1 changed\n"), "{diff}");
    for (time, value) in [("2026-01-01 12:00Z", "one"), ("2026-01-02T00:00:00Z", "two"), ("now", "three")] {
        assert_eq!(place.ends(0, &["get", "k", "--at", time, "--nearest", "--raw"]).text(), value, "{time}");
    }
    place.ends(0, &["verify", "latest~2", "-q"]);

    // Once more adds nothing.
    let again = import(&[]).text();
    assert!(again.contains("nothing new for d; 3 dumps there already\n"), "{again}");
    assert_eq!(again.matches("imported before").count(), 3, "{again}");
    assert_eq!(place.done(&["snapshots", "--json"]).json()["snapshots"].as_array().unwrap().len(), 3);
    // The first as well as what was not there.
    fs::write(place.path("pile/d.rdb"), dump_of(Some(NEW_YEAR + 3 * DAY), &[("k", "four")])).unwrap();
    fs::write(place.path("pile/copy of d.rdb"), dump_of(Some(NEW_YEAR + 3 * DAY), &[("k", "four")])).unwrap();
    let more = place.ends(0, &["import", "pile/c.rdb", "pile/d.rdb", "pile/copy of d.rdb", "--dataset", "d"]).text();
    assert!(more.contains("imported 1 dump into d, ") && more.ends_with("; 2 dumps there already\n"), "{more}");
    assert!(more.contains("the same as "), "{more}");
}

/// Only what has the same content was imported before, and only into this dataset.
#[test]
fn dumps_of_one_second_and_one_length_are_told_apart_by_what_they_hold() {
    let place = Place::with_repository();
    let values = ["one", "two", "six"];
    for value in values {
        fs::write(place.path(&format!("{value}.rdb")), dump_of(Some(NEW_YEAR), &[("k", value)])).unwrap();
    }
    place.ends(0, &["import", "one.rdb", "two.rdb", "--dataset", "d"]);
    place.ends(0, &["import", "six.rdb", "--dataset", "d"]);
    place.ends(0, &["import", "one.rdb", "--dataset", "e"]);
    assert_eq!(place.done(&["snapshots", "--json"]).json()["snapshots"].as_array().unwrap().len(), 4);
    for (back, value) in values.iter().rev().enumerate() {
        let snapshot = format!("latest~{back}");
        assert_eq!(place.ends(0, &["get", "k", &snapshot, "--dataset", "d", "--raw"]).text(), *value);
    }
}

/// A person who has used redkeep for a while has older dumps as well.
#[test]
fn dumps_that_are_older_than_what_there_is_get_their_places() {
    let place = Place::with_tiny_repository();
    pile(&place);
    let newest = place.backup();
    place.ends(0, &["import", ALL[0], ALL[1], ALL[2], "--dataset", "sessions"]);
    let listed = place.done(&["snapshots", "--json"]).json();
    let listed = listed["snapshots"].as_array().unwrap();
    let times: Vec<&str> = listed.iter().map(|one| one["begin"].as_str().unwrap()).collect();
    assert!(times.is_sorted() && times.len() == 4, "{times:?}");
    assert_eq!(listed[3]["id"], newest.as_str());
    assert_eq!(place.ends(0, &["get", "k", "latest~2", "--raw"]).text(), "two");
    assert_eq!(place.ends(0, &["get", "k", "--at", "2026-01-03 12:00Z", "--nearest", "--raw"]).text(), "three");
    place.done(&["check", "--read-data", "-q"]);
    // A backup goes on behind them, and what is kept is the newest.
    place.backup();
    place.done(&["forget", "--dataset", "sessions", "--keep-last", "2", "-q"]);
    assert_eq!(place.done(&["snapshots", "--json"]).json()["snapshots"][0]["id"], newest.as_str());
    // Between two that were imported is no place any more: it is said, not put anywhere.
    let (place, early) = (Place::with_tiny_repository(), NEW_YEAR + DAY / 2);
    pile(&place);
    place.ends(0, &["import", "pile/c.rdb", "pile/b.rdb", "--dataset", "d"]);
    place.ends(0, &["import", "pile/a.rdb", "--dataset", "d"]);
    fs::write(place.path("early.rdb"), dump_of(Some(early), &[])).unwrap();
    place.ends(2, &["import", "early.rdb", "--dataset", "d"]).says("belongs before the snapshot").says("--dataset");
}

#[test]
fn what_is_no_dump_is_told_for_what_it_is_before_anything_is_stored() {
    let place = Place::with_tiny_repository();
    pile(&place);
    let gzip: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03";
    let base = [&b"REDIS0011\xfa\x08aof-base\xc0\x01"[..], &[0xff; 9]].concat();
    for (name, bytes) in [
        ("e.gz", gzip),
        ("e.txt", b"hello"),
        ("e.aof", b"*1\r\n$4\r\nPING\r\n"),
        ("e.empty", b""),
        ("e.base.rdb", &base),
    ] {
        fs::write(place.path("pile").join(name), bytes).unwrap();
    }
    let refused = |file: &str, what: &str| {
        let ran = place.ends(2, &["import", "pile/a.rdb", file]);
        ran.says(&format!("nothing was imported: {file}: {what}")).says("--skip-others");
    };
    refused("pile/e.gz", "it is compressed with gzip: unpack it first");
    refused("pile/e.txt", "it does not begin like a dump");
    refused("pile/e.aof", "it begins like an AOF");
    refused("pile/e.empty", "it is empty");
    refused("pile/e.base.rdb", "it is the begin of an AOF");
    refused("pile", "it is a directory");
    refused("pile/none", "there is no such file");
    refused("none/none", "there is no such file");
    let future = dump_of(Some(NEW_YEAR * 2), &[]);
    fs::write(place.path("pile/future.rdb"), future).unwrap();
    refused("pile/future.rdb", "it says that it was made at a time to come");
    assert_eq!(place.done(&["snapshots", "--json"]).json()["snapshots"], serde_json::json!([]));
    place.ends(2, &["import", "pile/e.txt", "--skip-others"]).says("name dumps of servers");
    place.ends(2, &["import", "pile/a.rdb", "pile/b.rdb", "--time", "1h"]).says("one by one");
    let ran = place.ends(0, &["import", "--skip-others", "pile/e.txt", "pile/a.rdb", "pile/e.gz"]);
    ran.says("note: left out pile/e.txt: it does not begin like a dump");
    assert!(ran.text().contains("imported 1 dump into "), "{}", ran.text());
    fs::create_dir(place.path("other")).unwrap();
    fs::copy(place.path("pile/a.rdb"), place.path("other/a.rdb")).unwrap();
    place.ends(2, &["import", "pile/b.rdb", "other/a.rdb"]).says("several directories").says("--dataset");
}

#[test]
fn of_a_dump_that_does_not_say_when_it_was_made_the_file_does_or_a_person() {
    let place = Place::with_tiny_repository();
    fs::write(place.path("old.rdb"), dump_of(None, &[("k", "v")])).unwrap();
    let file = fs::File::options().write(true).open(place.path("old.rdb")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(NEW_YEAR)).unwrap();
    let ran = place.ends(0, &["import", "old.rdb", "--dataset", "d", "--json"]);
    ran.says("does not say when it was made: the time of the file was taken");
    assert_eq!(ran.json()["dumps"][0]["time_from"], "file");
    let ran = place.ends(0, &["import", "old.rdb", "--dataset", "e", "--time", "2025-12-31T00:00:00Z", "--json"]);
    assert_eq!((ran.stderr.as_str(), &ran.json()["dumps"][0]["time_from"]), ("", &"option".into()));
    let snapshots = place.done(&["snapshots", "--json"]).json();
    let millis = |place: usize| {
        let begin = snapshots["snapshots"][place]["begin"].as_str().unwrap();
        begin.parse::<jiff::Timestamp>().unwrap().as_second() as u64
    };
    assert_eq!((millis(0), millis(1)), (NEW_YEAR, NEW_YEAR - DAY));
    // One that is damaged is stored as it is, and said to be suspect, as a backup would.
    let mut damaged = dump_of(Some(NEW_YEAR), &[("k", "v")]);
    let end = damaged.len() - 1;
    damaged[end] ^= 1;
    fs::write(place.path("damaged.rdb"), &damaged).unwrap();
    place.ends(3, &["import", "damaged.rdb", "--dataset", "f"]).says("damaged.rdb").says("suspect");
    place.ends(3, &["restore", "latest", "--dataset", "f", "--target", "back", "-q"]);
    assert_eq!(fs::read(place.path("back/dump.rdb")).unwrap(), damaged);
}
