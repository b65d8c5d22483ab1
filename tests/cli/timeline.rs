use std::fs;

use serde_json::{Value, json};

use crate::place::{OFFSET, Place, fields};

/// 2026-03-04T05:06:00Z
pub const BASE: u64 = 1_772_600_760;

pub fn command(words: &[&str]) -> String {
    let arguments = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), arguments.collect::<String>())
}

pub fn set(value: &str) -> String {
    command(&["SET", "key", value])
}

/// A dump without keys that says when it was begun.
pub fn dump(seconds: u64) -> Vec<u8> {
    let mut dump = b"REDIS0010\xfa\x05ctime\xc2".to_vec();
    dump.extend_from_slice(&i32::try_from(seconds).unwrap().to_le_bytes());
    dump.push(0xff);
    let checksum = crc::Crc::<u64>::new(&crc::CRC_64_REDIS).checksum(&dump);
    dump.extend_from_slice(&checksum.to_le_bytes());
    dump
}

/// An AOF of several seconds in two increments, and its first and its second part alone.
fn increments() -> (String, String) {
    let ts = |after: u64| format!("#TS:{}\r\n", BASE + after);
    let first = [ts(1), set("one"), ts(5), set("five"), ts(6), command(&["FLUSHALL"])].concat();
    (first, [ts(8), set("eight"), ts(9), command(&["MULTI"]), set("nine"), ts(10), command(&["EXEC"])].concat())
}

/// A repository with a snapshot of a multi-part AOF.
fn place() -> Place {
    let place = Place::with_repository();
    let directory = place.data().join("appendonlydir");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("appendonly.aof.1.base.rdb"), dump(BASE)).unwrap();
    let (first, second) = increments();
    write(&place, "appendonly.aof.1.incr.aof", &first);
    write(&place, "appendonly.aof.2.incr.aof", &second);
    let manifest = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
    fs::write(directory.join("appendonly.aof.manifest"), manifest).unwrap();
    place.backup();
    place
}

/// Writes an increment whose time of modification is its last second.
fn write(place: &Place, name: &str, text: &str) {
    let path = place.data().join("appendonlydir").join(name);
    fs::write(&path, text).unwrap();
    let last = std::time::UNIX_EPOCH + std::time::Duration::from_secs(BASE + 10);
    fs::File::options().write(true).open(&path).unwrap().set_modified(last).unwrap();
}

pub fn time(after: u64) -> String {
    format!("2026-03-04T05:06:{after:02}Z")
}

/// What is left of the increments, in their order.
fn left(place: &Place) -> String {
    let read = |number| fs::read_to_string(place.path(&format!("back/appendonlydir/appendonly.aof.{number}.incr.aof")));
    let manifest = fs::read_to_string(place.path("back/appendonlydir/appendonly.aof.manifest")).unwrap();
    assert_eq!(manifest.contains("2.incr"), read(2).is_ok(), "{manifest}");
    [read(1).unwrap(), read(2).unwrap_or_default()].concat()
}

#[test]
fn spans_are_told_with_their_precision_and_their_snapshots() {
    let place = place();
    let text = place.done(&["timeline"]).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "timeline of sessions: 0.0 % of the last day covered, 0.0 % to the second");
    assert_eq!(
        lines[1].split_whitespace().collect::<Vec<_>>(),
        ["FROM", "TO", "LENGTH", "PRECISION", "KEYS", "SNAPSHOTS"]
    );
    assert!(lines[2].contains(&format!("2026-03-04T10:36:00{OFFSET}")) && lines[2].contains("second"), "{text}");
    let json = place.done(&["timeline", "--json"]).json();
    assert_eq!(fields(&json), ["alarms", "timelines"]);
    let timeline = &json["timelines"][0];
    let wanted = ["covered_last_day", "dataset", "exact_last_day", "gaps", "server_ahead_ms", "spans", "stale"];
    assert_eq!(fields(timeline), wanted);
    let wanted = ["begin", "end", "first", "keys", "keys_counted", "last", "precision", "snapshots"];
    assert_eq!(fields(&timeline["spans"][0]), wanted);
    // Nobody counted what the commands leave.
    assert_eq!(
        (&timeline["spans"][0]["keys"], &timeline["spans"][0]["keys_counted"]),
        (&Value::Null, &json!("commands"))
    );
    assert!(lines[2].contains(" ?  "), "{text}");
    assert_eq!(timeline["spans"][0]["end"], format!("2026-03-04T10:36:10.010{OFFSET}"));
    let none = place.ends(0, &["timeline", "--since", "1h"]);
    none.says("note: spans since ");
    place.ends(1, &["timeline", "--dataset", "other"]).says("no dataset is called other; there are: ");
}

/// TIME-10
#[test]
fn of_an_aof_that_was_copied_to_its_place_it_is_said_that_the_timeline_begins_there() {
    let place = place();
    // A server goes on with a copy: its last increment is of now, and the base of long ago.
    fs::write(place.data().join("appendonlydir/appendonly.aof.2.incr.aof"), increments().1).unwrap();
    let begins = "the AOF was copied or restored to its place: its timeline begins then";
    let backup = ["backup", "data", "--dataset", "copy"];
    place.ends(0, &backup).says(&format!("note: {begins}"));
    let ran = place.ends(0, &["timeline", "--dataset", "copy"]);
    assert!(
        ran.text().contains("was copied or restored to its place: what it holds from before then"),
        "{}",
        ran.text()
    );
    let json = place.ends(0, &["timeline", "--json"]).json();
    let carried = |dataset: &str| {
        let timelines = json["timelines"].as_array().unwrap();
        let of = timelines.iter().find(|timeline| timeline["dataset"] == dataset).unwrap();
        of["carried"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((carried("copy"), carried("sessions")), (1, 0));
    // It is said once: what continues it is told by the timeline alone.
    let mut more =
        fs::File::options().append(true).open(place.data().join("appendonlydir/appendonly.aof.2.incr.aof")).unwrap();
    std::io::Write::write_all(&mut more, set("ten").as_bytes()).unwrap();
    assert!(!place.ends(0, &backup).stderr.contains(begins));
}

/// A dump is counted by its structure, in the listing as on the timeline.
#[test]
fn spans_show_how_many_keys_their_last_snapshot_holds() {
    let place = Place::with_repository();
    fs::write(place.data().join("dump.rdb"), dump(BASE)).unwrap();
    place.backup();
    let json = place.ends(0, &["timeline", "--json"]).json();
    let span = &json["timelines"][0]["spans"][0];
    assert_eq!((&span["keys"], &span["keys_counted"]), (&json!(0), &json!("structure")));
    assert_eq!(span["keys"], place.done(&["snapshots", "--json"]).json()["snapshots"][0]["keys"]);
}

/// TIME-2, TIME-9
#[test]
fn a_second_is_restored_as_it_was_at_its_end() {
    let place = place();
    let (first, second) = increments();
    let until = |text: &str, what: &str| text[..text.find(what).unwrap() + what.len()].to_string();
    for (after, wanted) in [
        (0, String::new()),
        (4, until(&first, &set("one"))),
        (5, until(&first, &set("five"))),
        (7, first.clone()),
        (8, format!("{first}{}", until(&second, &set("eight")))),
        // Within a transaction: its begin.
        (9, format!("{first}{}", until(&second, &set("eight")))),
        (10, format!("{first}{second}")),
    ] {
        let ran = place.ends(0, &["restore", "--at", &time(after), "--target", "back"]);
        ran.says(&format!("looking for the state of 2026-03-04T10:36:{after:02}{OFFSET}"));
        // The capture was within the last one.
        let moment = match after {
            10 => format!(
                "moment  up to 2026-03-04T10:36:10.010{OFFSET}: the second is covered in part, precision: second"
            ),
            _ => format!("moment  2026-03-04T10:36:{after:02}{OFFSET}, precision: second"),
        };
        assert!(ran.text().contains(&moment), "{}", ran.text());
        assert_eq!(left(&place), wanted, "{after}");
        assert!(!place.path("back/dump.rdb").exists(), "a dump of another moment");
    }
    let before = place.ends(0, &["restore", "--at", &time(5), "--target", "back", "--json"]).json();
    let moment = &before["moment"];
    assert_eq!(fields(moment), ["asked", "dropped_bytes", "effective", "exact", "nearest", "precision", "server"]);
    assert_eq!(moment["effective"], format!("2026-03-04T10:36:05.999{OFFSET}"));
    assert!(moment["dropped_bytes"].as_u64().unwrap() > 0);
}

/// Exit 8
#[test]
fn a_moment_that_no_snapshot_holds_is_refused_with_the_nearest_ones() {
    let place = place();
    let ran = place.ends(8, &["restore", "--at", &time(30), "--target", "back"]);
    ran.says("the asked moment cannot be restored: it is later than all that was captured");
    ran.says(&format!("hint: the nearest before it is 2026-03-04T10:36:10{OFFSET} (--nearest takes it)"));
    let ran = place.ends(8, &["restore", "--at", "2026-03-04T05:05:00Z", "--target", "back"]);
    ran.says(&format!("hint: the nearest after it is 2026-03-04T10:36:00{OFFSET}"));
    place.ends(8, &["restore", "latest", "--at", &time(30), "--target", "back"]).says("does not hold it");
    assert!(!place.path("back").exists());
    let ran = place.ends(0, &["restore", "--at", &time(30), "--nearest", "--target", "back"]);
    assert!(ran.text().contains("the nearest before the asked one"), "{}", ran.text());
    let (first, second) = increments();
    assert_eq!(left(&place), format!("{first}{second}"));
    place.ends(2, &["restore", "--nearest", "--target", "back"]).says("  --at <TIME>");
    place.ends(2, &["restore", "--at", "noon", "--target", "back"]);
    // A time of today, and never a span.
    for (written, shown) in [("06:14:31", "T06:14:31+05:30"), ("00:00", "T00:00:00+05:30")] {
        place.ends(8, &["restore", "--at", written, "--target", "new"]).says(shown);
        place.run(&["ls", &format!("@{written}")]).says(shown);
    }
    place.ends(8, &["restore", "--at", "now", "--target", "new"]).says("later than all that was captured");
    place.ends(2, &["restore", "--at", "6:14:31", "--target", "new"]).says("14:05 (today), now");
    place.ends(2, &["restore", "--at", "2026-11-26", "--target", "new"]).says("'2026-11-20 14:05'");
    place.ends(2, &["restore", "--at", &time(1), "--before-command", "FLUSHALL", "--target", "back"]);
}

/// TIME-3
#[test]
fn before_a_command_all_of_it_and_what_follows_is_gone() {
    let place = place();
    let (first, second) = increments();
    let ran = place.done(&["restore", "--before-command", "flushall", "--target", "back"]);
    let moment = format!("moment  just before the command of 2026-03-04T10:36:06{OFFSET}");
    assert!(ran.text().contains(&moment), "{}", ran.text());
    assert_eq!(left(&place), first[..first.find("*1\r\n$8\r\nFLUSHALL").unwrap()]);
    place.done(&["restore", "--before-command", "SET \"key\" nine", "--target", "back"]);
    assert_eq!(left(&place), format!("{first}{}", &second[..second.find("*1\r\n$5\r\nMULTI").unwrap()]));
    fs::remove_dir_all(place.path("back")).unwrap();
    let ran = place.ends(8, &["restore", "--before-command", "DEL key", "--target", "back"]);
    ran.says("no command of the AOF begins with DEL key").says("hint: see what can be restored");
    place.ends(2, &["restore", "--before-command", "", "--target", "back"]);
    assert!(!place.path("back").exists());
}

#[test]
fn a_dump_is_one_moment() {
    let place = Place::with_repository();
    fs::write(place.data().join("dump.rdb"), dump(BASE + 3)).unwrap();
    place.backup();
    let json = place.done(&["timeline", "--json"]).json();
    assert_eq!(json["timelines"][0]["spans"][0]["precision"], "snapshot");
    let ran = place.ends(0, &["restore", "--at", &time(3), "--target", "back"]);
    assert!(ran.text().contains("precision: snapshot"), "{}", ran.text());
    assert!(place.path("back/dump.rdb").exists());
    place.ends(8, &["restore", "--at", &time(4), "--target", "back2"]);
    place.ends(8, &["restore", "--before-command", "FLUSHALL", "--target", "back2"]).says("no snapshot");
    place.ends(8, &["restore", "latest", "--before-command", "FLUSHALL", "--target", "back2"]).says("no AOF");
}
