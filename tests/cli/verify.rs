use std::fs;

use serde_json::Value;

use crate::place::{Place, fields};
use crate::support::small_disk::on_a_small_disk;

#[test]
fn a_whole_snapshot_ends_with_one_clear_line() {
    let place = Place::with_snapshot();
    let text = place.done(&["verify"]).text();
    assert_eq!(text.lines().filter(|line| line.ends_with("  whole")).count(), 3, "{text}");
    assert!(text.lines().last().unwrap().ends_with("can be restored whole: 3 files compared"), "{text}");
    assert_eq!(place.done(&["verify", "latest", "-q"]).text(), "");
}

#[test]
fn as_json_each_file_has_its_state() {
    let place = Place::with_snapshot();
    let json = place.done(&["verify", "--json"]).json();
    assert_eq!(fields(&json), ["alarms", "begin", "dataset", "drill", "files", "made_good", "snapshot", "whole"]);
    assert_eq!(fields(&json["files"][0]), ["bytes", "damage", "path", "suspect"]);
    assert_eq!(json["whole"], true);
    assert_eq!(json["drill"], Value::Null);
}

/// A dump that the distribution's server reads: one string in database 0, one in database 2 that expired long ago.
fn dump() -> Vec<u8> {
    let mut dump = b"REDIS0009\xfe\x00\x00\x01a\x01b\xfe\x02\xfc".to_vec();
    dump.extend_from_slice(&1_600_000_000_000_u64.to_le_bytes());
    dump.extend_from_slice(b"\x00\x01c\x01d\xff");
    let checksum = crc::Crc::<u64>::new(&crc::CRC_64_REDIS).checksum(&dump);
    dump.extend_from_slice(&checksum.to_le_bytes());
    dump
}

/// A place whose snapshot a server can load; nothing where the distribution's server is left out of the tests.
fn with_dump(dump: &[u8]) -> Option<Place> {
    let skipped = std::env::var("REDKEEP_TEST_SKIP").is_ok_and(|names| names.split(',').any(|name| name == "redis-7"));
    let place = Place::with_repository();
    fs::create_dir(place.path("scratch")).unwrap();
    fs::write(place.data().join("dump.rdb"), dump).unwrap();
    (!skipped).then_some(place)
}

fn left(place: &Place) -> usize {
    fs::read_dir(place.path("scratch")).unwrap().count()
}

const DRILL: [&str; 4] = ["verify", "--drill", "--scratch-dir", "scratch"];

#[test]
fn a_drill_that_finds_no_room_names_the_directory_and_the_option_for_another() {
    on_a_small_disk("verify::a_drill_that_finds_no_room_names_the_directory_and_the_option_for_another", 8, |disk| {
        let Some(place) = with_dump(&dump()) else { return };
        place.backup();
        let ran = place.ends(1, &["verify", "--drill", "--scratch-dir", disk.to_str().unwrap()]);
        ran.says("MiB free, the snapshot needs")
            .says("hint: a drill restores all of the snapshot")
            .says("--scratch-dir");
    });
}

#[test]
fn a_drill_says_what_a_server_made_of_it_and_the_listing_shows_it() {
    let Some(place) = with_dump(&dump()) else { return };
    place.backup();
    let text = place.done(&DRILL).text();
    for part in ["drill passed", "Redis ", "1 key in 1 database", "2 keys, of which 1 has expired", "kept for later"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = place.done(&[&DRILL[..], &["--json"]].concat()).json();
    let wanted = [
        "captured_keys",
        "captured_unknown",
        "databases",
        "digest",
        "digest_compared",
        "digest_of",
        "dump_holds",
        "expired_keys",
        "keys",
        "not_kept",
        "passed",
        "problems",
        "program",
        "server",
    ];
    assert_eq!(fields(&json["drill"]), wanted);
    assert_eq!(json["drill"]["digest_compared"], "equal");
    assert_eq!(json["drill"]["databases"]["0"]["string"], 1);
    assert_eq!(left(&place), 0);
    let listed = place.done(&["snapshots", "--json"]).json();
    let drill = &listed["snapshots"][0]["drill"];
    assert_eq!(fields(drill), ["host", "keys", "passed", "problem", "server", "time"]);
    assert_eq!((&drill["passed"], &drill["keys"]), (&Value::Bool(true), &Value::from(1)));
    let text = place.done(&["snapshots"]).text();
    assert!(text.lines().last().unwrap().contains("drill passed 20"), "{text}");
}

#[test]
fn a_failed_drill_ends_with_4_and_the_listing_goes_on_saying_so() {
    let dump = dump();
    let Some(place) = with_dump(&dump[..dump.len() - 12]) else { return };
    place.ends(3, &["backup", "data", "--dataset", "sessions"]);
    let ran = place.ends(4, &DRILL);
    ran.says("warning: the drill failed: the scratch server (Redis ").says("its log says: ");
    assert!(ran.text().contains("drill FAILED"), "{}", ran.text());
    assert_eq!(left(&place), 0);
    let json = place.ends(4, &[&DRILL[..], &["--json"]].concat()).json();
    assert_eq!(json["drill"]["passed"], false);
    let text = place.ends(0, &["snapshots"]).text();
    assert!(text.contains("drill FAILED 20"), "{text}");
}

/// A drill of these, which a server refuses and of which no count is told: the reason is the damage, never a command that is
/// not there.
fn fails_because_it_is_suspect(place: &Place, what: &str) {
    place.ends(3, &["backup", "data", "--dataset", "sessions"]).says("suspect");
    let ran = place.ends(4, &DRILL);
    ran.says("warning: the drill failed: ");
    let text = ran.text();
    assert!(text.contains("an unknown number of keys: a file of the dataset is suspect"), "{what}: {text}");
    assert!(!text.contains("commands"), "{what}: {text}");
    let json = place.ends(4, &[&DRILL[..], &["--json"]].concat()).json();
    let drill = &json["drill"];
    let told = (&drill["captured_keys"], &drill["captured_unknown"]);
    assert_eq!(told, (&Value::Null, &"a file of the dataset is suspect".into()), "{what}");
    let listed = place.ends(0, &["snapshots", "--json"]).json();
    assert_eq!(listed["snapshots"][0]["keys"], Value::Null, "{what}: {listed}");
    assert_eq!(left(place), 0);
}

#[test]
fn a_damaged_dump_is_not_said_to_have_commands_behind_it() {
    let (whole, length) = (dump(), dump().len());
    let with = |place: usize| {
        let mut dump = whole.clone();
        dump[place] ^= 1;
        dump
    };
    for (what, dump) in
        [("a wrong checksum", with(length - 1)), ("another value", with(14)), ("no end", whole[..length - 3].to_vec())]
    {
        let Some(place) = with_dump(&dump) else { return };
        fails_because_it_is_suspect(&place, what);
    }
}

#[test]
fn nor_is_an_aof_whose_damaged_base_nothing_follows() {
    let mut base = dump();
    *base.last_mut().unwrap() ^= 1;
    let Some(place) = with_dump(b"") else { return };
    fs::remove_file(place.data().join("dump.rdb")).unwrap();
    let (directory, name) = (place.data().join("appendonlydir"), "appendonly.aof");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join(format!("{name}.1.base.rdb")), base).unwrap();
    fs::write(directory.join(format!("{name}.1.incr.aof")), "").unwrap();
    let manifest = format!("file {name}.1.base.rdb seq 1 type b\nfile {name}.1.incr.aof seq 1 type i\n");
    fs::write(directory.join(format!("{name}.manifest")), manifest).unwrap();
    fails_because_it_is_suspect(&place, "a base with a wrong checksum");
}

#[test]
fn a_program_that_is_no_server_or_cannot_read_the_dump_is_refused_with_9() {
    let newer = [&b"REDIS0099"[..], &dump()[9..]].concat();
    let Some(place) = with_dump(&newer) else { return };
    place.run(&["backup", "data", "--dataset", "sessions"]);
    place.ends(9, &DRILL).says("no server program on this host").says("hint: it takes a release of Redis that");
    place.ends(9, &[&DRILL[..], &["--server-binary", "/bin/echo"]].concat()).says("/bin/echo is no server");
    place.ends(2, &["verify", "--server-binary", "/bin/echo"]).says("--drill");
    assert_eq!(left(&place), 0);
    assert_eq!(place.run(&["snapshots", "--json"]).json()["snapshots"][0]["drill"], Value::Null);
}

#[test]
fn a_backup_can_be_drilled_at_once() {
    let Some(place) = with_dump(&dump()) else { return };
    let backup = ["backup", "data", "--dataset", "sessions", "--drill", "--scratch-dir", "scratch"];
    let json = place.done(&[&backup[..], &["--json"]].concat()).json();
    assert_eq!((&json["drill"]["passed"], &json["drill"]["captured_keys"]), (&Value::Bool(true), &Value::from(2)));
    let program = ["--server-binary", "/bin/echo"];
    let ran = place.ends(3, &[&backup[..], &program].concat());
    ran.says("warning: the snapshot is stored, but no drill was done: /bin/echo is no server");
    let dump = dump();
    fs::write(place.data().join("dump.rdb"), &dump[..dump.len() - 12]).unwrap();
    assert!(place.ends(4, &backup).text().contains("drill FAILED"));
    assert_eq!(left(&place), 0);
    let listed = place.done(&["snapshots", "--json"]).json();
    let passed = listed["snapshots"].as_array().unwrap().iter().map(|one| one["drill"]["passed"].clone());
    assert_eq!(passed.collect::<Vec<_>>(), [Value::Bool(true), Value::Null, Value::Bool(false)]);
}
