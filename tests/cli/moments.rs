//! What is said of moments is what a restore gives: to the millisecond, at a damage, and before a command.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use crate::place::{OFFSET, Place, fields};
use crate::timeline::{BASE, command, dump, set, time};

const MANIFEST: &str = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";

fn ts(after: u64) -> String {
    format!("#TS:{}\r\n", BASE + after)
}

/// A data directory whose AOF holds these commands, and was last written to at milliseconds.
fn aof(place: &Place, commands: &[u8], millis: u64) {
    let directory = place.data().join("appendonlydir");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("appendonly.aof.1.base.rdb"), dump(BASE)).unwrap();
    fs::write(directory.join("appendonly.aof.manifest"), MANIFEST).unwrap();
    written(&directory.join("appendonly.aof.1.incr.aof"), commands, millis);
}

fn written(path: &std::path::Path, bytes: &[u8], millis: u64) {
    fs::write(path, bytes).unwrap();
    let modified = UNIX_EPOCH + Duration::from_millis(BASE * 1000 + millis);
    fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

fn restored(place: &Place) -> String {
    fs::read_to_string(place.path("back/appendonlydir/appendonly.aof.1.incr.aof")).unwrap()
}

/// TIME-8
#[test]
fn begin_and_end_of_a_shown_span_are_restored_in_every_zone_and_a_millisecond_later_is_not() {
    let place = Place::with_repository();
    aof(&place, [ts(1), set("one"), ts(3), set("three")].concat().as_bytes(), 3285);
    place.backup();
    let shown = place.done(&["timeline", "--json"]).json()["timelines"][0]["spans"][0].clone();
    assert_eq!(shown["begin"], format!("2026-03-04T10:36:00.000{OFFSET}"));
    assert_eq!(shown["end"], format!("2026-03-04T10:36:03.295{OFFSET}"));
    for end in ["2026-03-04T10:36:03.295+05:30", "2026-03-04T05:06:03.295Z", "2026-03-04 10:36:03.295"] {
        let moment = &place.ends(0, &["restore", "--at", end, "-t", "back", "--json"]).json()["moment"];
        assert_eq!(moment["effective"], shown["end"], "{end}");
        assert_eq!((&moment["exact"], &moment["nearest"]), (&false.into(), &false.into()));
        assert!(restored(&place).ends_with(&set("three")));
    }
    for begin in ["2026-03-04T10:36:00.000+05:30", "2026-03-04T05:06:00Z", "2026-03-04 10:36:00"] {
        let moment = &place.ends(0, &["restore", "--at", begin, "-t", "back", "--json"]).json()["moment"];
        assert_eq!((&moment["exact"], restored(&place).as_str()), (&true.into(), ""), "{begin}");
    }
    // All of the second was asked for, and there is a part of it.
    let ran = place.ends(0, &["restore", "--at", &time(3), "-t", "back"]);
    assert!(ran.text().contains(&format!("up to 2026-03-04T10:36:03.295{OFFSET}")), "{}", ran.text());

    for late in ["2026-03-04T10:36:03.296+05:30", "2026-03-04T05:06:03.95Z", "2026-03-04 10:36:03.999"] {
        let ran = place.ends(8, &["restore", "--at", late, "-t", "new"]);
        ran.says(&format!("hint: the nearest before it is 2026-03-04T10:36:03.295{OFFSET} (--nearest takes it)"));
        let moment = &place.ends(0, &["restore", "--at", late, "--nearest", "-t", "back", "--json"]).json()["moment"];
        assert_eq!((&moment["exact"], &moment["nearest"]), (&false.into(), &true.into()));
        assert_eq!(moment["effective"], shown["end"]);
    }
    place.ends(8, &["restore", "latest", "--at", &time(4), "-t", "new", "--dry-run"]).says("does not hold it");
    assert!(!place.path("new").exists());
}

/// TIME-8: what is shown of a moment is what a restore of it gives, and not the snapshot before it.
#[test]
fn the_value_of_a_moment_is_the_one_that_a_restore_gives() {
    for is_single in [false, true] {
        let place = Place::with_repository();
        let first = [ts(1), set("one")].concat();
        let whole = [&*first, &ts(3), &set("three"), &ts(5), &command(&["DEL", "key"])].concat();
        for (commands, millis) in [(first, 1500), (whole, 5500)] {
            match is_single {
                true => {
                    let bytes = [dump(BASE), commands.into_bytes()].concat();
                    written(&place.data().join("appendonly.aof"), &bytes, millis);
                }
                false => aof(&place, commands.as_bytes(), millis),
            }
            place.ends(0, &["backup", "data", "--dataset", "sessions"]);
        }
        for (after, value) in [(1, "one"), (2, "one"), (3, "three"), (4, "three")] {
            let ran = place.ends(0, &["get", "key", "--at", &time(after), "--raw"]);
            assert_eq!(ran.text(), value, "{after}: {}", ran.stderr);
            ran.says(&format!("note: the state of 2026-03-04T10:36:0{after}"));
        }
        // Keys are those of its dump, which held none: that commands came behind it is said where they did before the moment.
        place.ends(0, &["keys", "--at", &time(0)]).says("note: the state of 2026-03-04T10:36:00");
        let ran = place.ends(3, &["keys", "--at", &time(3)]);
        ran.says("commands behind it are not followed, in append");
        place.ends(8, &["keys", "--at", &time(30), "-q"]).says("--nearest");
        place.ends(3, &["keys", "--at", &time(30), "--nearest"]);
        place.ends(2, &["keys", "latest", "--at", &time(3)]);
        let json = place.ends(0, &["get", "key", "--at", &time(4), "--json"]).json();
        assert_eq!(
            (&json["value"], &json["moment"]),
            (&"three".into(), &format!("2026-03-04T10:36:04.999{OFFSET}").into())
        );
        place.ends(1, &["get", "key", "--at", &time(0)]).says("has no key key");
        place.ends(1, &["get", "key", "--at", &time(5)]).says("has no key key");
        place
            .ends(8, &["get", "key", "--at", &time(30), "-q"])
            .says("later than all that was captured")
            .says("--nearest");
        place.ends(8, &["get", "key", "--at", "now", "--raw", "-q"]);
        let late = place.ends(1, &["get", "key", "--at", "now", "--nearest"]);
        late.says("10:36:05").says("the nearest before the asked one").says("has no key key");
    }
}

/// TIME-1, TIME-2
#[test]
fn behind_a_damage_there_is_the_last_whole_command_and_only_where_it_is_asked_for() {
    let whole = [ts(1), set("one"), ts(3), set("three"), ts(5), set("five")].concat();
    let open = format!("{}{}{}{}", command(&["MULTI"]), set("six"), ts(8), set("eight"));
    let tails = [vec![0; 4096], b"not a command".to_vec(), [open.into_bytes(), vec![b'x'; 9]].concat()];
    for (number, tail) in tails.into_iter().enumerate() {
        let place = Place::with_repository();
        aof(&place, &[whole.as_bytes(), &tail].concat(), 9000);
        place.ends(3, &["backup", "data", "--dataset", "sessions"]);
        let json = place.done(&["timeline", "--json"]).json();
        let timeline = &json["timelines"][0];
        assert_eq!(timeline["spans"][0]["end"], format!("2026-03-04T10:36:04.999{OFFSET}"), "{json}");
        assert_eq!(timeline["damaged"].as_array().unwrap().len(), 1);
        let text = place.done(&["timeline"]).text();
        assert!(text.contains("is damaged behind what is shown"), "{text}");
        // What is shown is given, to its last second.
        let seconds = [(4, "three"), (3, "three"), (0, "")];
        for (after, last) in seconds.into_iter().take(if number == 0 { 3 } else { 1 }) {
            place.ends(3, &["restore", "--at", &time(after), "-t", "back"]);
            let wanted = if last.is_empty() { String::new() } else { set(last) };
            assert!(restored(&place).ends_with(&wanted), "{after}");
            assert!(last.is_empty() == restored(&place).is_empty());
        }
        for late in [time(5), "now".into()].into_iter().take(if number == 0 { 2 } else { 1 }) {
            for asked in
                [&["restore", "--at", &late, "-t", "new"][..], &["restore", "latest", "--at", &late, "-t", "new"]]
            {
                place.ends(8, asked).says("--nearest cuts at the last whole command before the damage");
            }
            for way in [&["--dry-run"][..], &[]] {
                let ran = place.ends(3, &[&["restore", "--at", &late, "--nearest", "-t", "back"], way].concat());
                let moment = "after the last whole command before the damage, some time after 2026-03-04T10:36:05";
                assert!(ran.text().contains(moment), "{}", ran.text());
            }
            assert_eq!(restored(&place), whole);
        }
        let asked = ["restore", "latest", "--at", "now", "--nearest", "-t", "back", "--json"];
        let moment = &place.ends(3, &asked).json()["moment"];
        assert_eq!((&moment["damaged"], &moment["exact"]), (&true.into(), &false.into()));
        assert_eq!(moment["effective"], format!("2026-03-04T10:36:05.000{OFFSET}"));
        assert_eq!(moment["dropped_bytes"], tail.len());
    }
}

/// TIME-1
#[test]
fn a_damaged_aof_without_timestamps_has_the_marks_before_the_damage_and_its_last_whole_command() {
    let commands = [set("one"), set("two")].concat();
    let place = Place::with_repository();
    aof(&place, commands.as_bytes(), 3000);
    place.backup();
    aof(&place, &[commands.as_bytes(), set("three").as_bytes(), &[0; 100]].concat(), 9000);
    place.ends(3, &["backup", "data", "--dataset", "sessions"]);
    let spans = place.done(&["timeline", "--json"]).json()["timelines"][0]["spans"].clone();
    assert_eq!((spans.as_array().unwrap().len(), &spans[0]["precision"]), (1, &"marks".into()));
    assert_eq!(spans[0]["end"], format!("2026-03-04T10:36:03.010{OFFSET}"));
    place.ends(8, &["restore", "--at", &time(9), "-t", "back"]);
    place.ends(0, &["restore", "--at", &time(3), "-t", "back"]);
    assert_eq!(restored(&place), commands);
    place.ends(3, &["restore", "latest", "--at", "now", "--nearest", "-t", "back"]);
    assert_eq!(restored(&place), format!("{commands}{}", set("three")));

    // One file, whose begin is not known: there is no moment at all, but what can be read.
    let place = Place::with_repository();
    written(&place.data().join("appendonly.aof"), &[commands.as_bytes(), &[0; 100]].concat(), 9000);
    fs::remove_file(place.data().join("dump.rdb")).unwrap();
    place.ends(3, &["backup", "data", "--dataset", "sessions"]);
    place.ends(8, &["restore", "--at", "now", "-t", "new"]).says("--nearest cuts at the last whole command");
    let ran = place.ends(3, &["restore", "--at", "now", "--nearest", "-t", "back"]);
    assert!(ran.text().contains("before the damage, at a time that is not known"), "{}", ran.text());
    assert_eq!(fs::read_to_string(place.path("back/appendonly.aof")).unwrap(), commands);
}

/// TIME-3
#[test]
fn a_dry_run_finds_the_command_or_says_that_there_is_none() {
    let place = Place::with_repository();
    let flush = command(&["flushdb", "async"]);
    aof(&place, [ts(1), set("one"), ts(2), flush, ts(4), set("x y")].concat().as_bytes(), 5000);
    place.backup();
    for way in [&["--dry-run"][..], &[]] {
        let restore = |words: &'static str| [&["restore", "--before-command", words, "-t", "back"], way].concat();
        let ran = place.ends(0, &restore("FLUSHDB ASYNC"));
        assert!(ran.text().contains("just before the command of 2026-03-04T10:36:02"), "{}", ran.text());
        assert!(ran.text().contains("found   flushdb async\n"), "{}", ran.text());
        let json = place.ends(0, &[&restore("set")[..], &["--json"]].concat()).json();
        let moment = &json["moment"];
        let wanted = ["asked", "command", "dropped_bytes", "effective", "exact", "nearest", "precision", "server"];
        assert_eq!(fields(moment), wanted);
        assert_eq!((&moment["command"], &moment["exact"]), (&"SET key \"x y\"".into(), &true.into()));
        assert_eq!(moment["effective"], format!("2026-03-04T10:36:04.000{OFFSET}"));
        assert_eq!(moment["dropped_bytes"], set("x y").len());
        place.ends(8, &restore("NOSUCHCMD")).says("no command of the AOF begins with NOSUCHCMD");
        // A key has capitals of its own.
        let ran = place.ends(8, &restore("SET KEY"));
        ran.says("no command of the AOF begins with SET KEY").says("write it as it is there: SET key \"x y\"");
    }
}

/// TIME-3
#[test]
fn a_command_is_looked_for_in_older_snapshots_and_in_one_that_is_named_only_there() {
    let place = Place::with_repository();
    let early = [ts(1), set("one"), ts(2), command(&["FLUSHALL"])].concat();
    aof(&place, early.as_bytes(), 3000);
    let first = place.backup();
    // It goes on, was rewritten, and then there is a dump.
    aof(&place, [early, ts(4), set("four")].concat().as_bytes(), 5000);
    let second = place.backup();
    aof(&place, [ts(7), set("seven")].concat().as_bytes(), 8000);
    place.backup();
    fs::remove_dir_all(place.data().join("appendonlydir")).unwrap();
    fs::write(place.data().join("dump.rdb"), dump(BASE + 9)).unwrap();
    place.backup();

    let found = place.ends(0, &["restore", "--before-command", "flushall", "-t", "back", "--json"]).json();
    assert_eq!(found["snapshot"], second.as_str(), "the newest that holds it");
    assert_eq!(restored(&place), [ts(1), set("one"), ts(2)].concat());
    place.ends(8, &["restore", "latest~1", "--before-command", "flushall", "-t", "back"]);
    place.ends(8, &["restore", "latest", "--before-command", "flushall", "-t", "back"]).says("no AOF");
    place.ends(0, &["restore", &first, "--before-command", "flushall", "-t", "back"]);
    let ran = place.ends(8, &["restore", "--before-command", "DEL", "-t", "new"]);
    // The first one is the begin of the second, and not read again.
    ran.says("no command of the AOF begins with DEL, in none of the 2 snapshots that hold other commands");
    place.ends(0, &["forget", &second]);
    let found = place.ends(0, &["restore", "--before-command", "flushall", "-t", "back", "--json"]).json();
    assert_eq!(found["snapshot"], first.as_str());
}

/// Captures of an AOF every minute, a rewrite each third time, and a dump each night.
#[test]
fn one_policy_keeps_the_timeline_and_the_nights_and_what_goes_is_told() {
    let place = Place::with_repository();
    let mut parts = Vec::new();
    for begin in [0, 20, 40] {
        let mut commands = String::new();
        for after in [begin + 1, begin + 5, begin + 9] {
            commands.push_str(&[ts(after), set(&after.to_string())].concat());
            aof(&place, commands.as_bytes(), after * 1000);
            fs::write(place.data().join("appendonlydir/appendonly.aof.1.base.rdb"), dump(BASE + begin)).unwrap();
            let id = place.backup();
            parts.push((id, after));
        }
    }
    let last_of_each: Vec<&str> = parts.chunks(3).map(|part| part[2].0.as_str()).collect();
    let kept = |policy: &[&str]| -> (Vec<String>, serde_json::Value, String) {
        let dry = [&["forget", "--dry-run"], policy].concat();
        let text = place.done(&dry).text();
        let json = place.done(&[&dry[..], &["--json"]].concat()).json()["datasets"][0].clone();
        let kept = json["kept"].as_array().unwrap().iter().map(|kept| kept["id"].as_str().unwrap().into()).collect();
        (kept, json["timeline"].clone(), text)
    };
    // All captures were made within seconds of the host's clock.
    let (ids, timeline, text) = kept(&["--keep-yearly", "14"]);
    assert_eq!(ids, last_of_each[2..], "the nightly policy alone");
    assert_eq!((&timeline["covered_ms"], &timeline["exact_ms"]), (&27_030.into(), &27_030.into()));
    assert_eq!((&timeline["gone_ms"], &timeline["gone_exact_ms"]), (&18_020.into(), &18_020.into()));
    assert!(text.contains("of the timeline goes: 18.0 s of 27.0 s"), "{text}");

    let (ids, timeline, text) = kept(&["--keep-yearly", "14", "--keep-timeline", "50y"]);
    assert_eq!(ids, last_of_each);
    assert_eq!(fields(&timeline), ["covered_ms", "exact_ms", "gone_exact_ms", "gone_moments", "gone_ms", "moments"]);
    assert_eq!((&timeline["gone_ms"], &timeline["gone_moments"]), (&0.into(), &0.into()));
    assert!(text.contains("of the timeline nothing goes") && text.contains("kept       timeline"), "{text}");

    let ran = place.done(&["forget", "--keep-timeline", "50y"]);
    assert!(ran.text().starts_with("sessions: forgot 6 of 9 snapshots"), "{}", ran.text());
    for after in [1, 5, 9, 21, 25, 41, 45] {
        place.done(&["timeline"]);
        let ran = place.ends(0, &["restore", "--at", &time(after), "--target", "back", "--json"]).json();
        assert!(restored(&place).ends_with(&set(&after.to_string())), "{after}");
        assert_eq!(ran["moment"]["exact"], after % 10 != 9);
    }
    let named = place.done(&["forget", last_of_each[0]]).text();
    assert!(named.contains("of the timeline goes: 9.0 s of 27.0 s"), "{named}");
}
