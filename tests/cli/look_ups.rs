//! Keys and values of dumps that are not restored.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::place::{Place, fields, noise};

fn length(length: usize) -> Vec<u8> {
    let mut bytes = vec![0x80];
    bytes.extend_from_slice(&(length as u32).to_be_bytes());
    bytes
}

/// The end of a dump, checksum included.
fn ended(mut dump: Vec<u8>) -> Vec<u8> {
    dump.push(0xff);
    let checksum = crc::Crc::<u64>::new(&crc::CRC_64_REDIS).checksum(&dump);
    dump.extend_from_slice(&checksum.to_le_bytes());
    dump
}

fn put_string(dump: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    dump.push(0);
    for text in [key, value] {
        dump.extend_from_slice(&length(text.len()));
        dump.extend_from_slice(text);
    }
}

/// A dump of strings in database 0.
pub fn dump_of_strings(keys: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let mut dump = b"REDIS0011\xfe\x00".to_vec();
    keys.for_each(|(key, value)| put_string(&mut dump, &key, &value));
    ended(dump)
}

fn back_up(place: &Place, dump: &[u8]) {
    fs::write(place.data().join("dump.rdb"), dump).unwrap();
    let ran = place.run(&["backup", "data", "--dataset", "d"]);
    assert!(matches!(ran.code, 0 | 3), "{}", ran.stderr);
}

/// Dumps of servers, with what the servers answered of each key.
fn samples() -> Vec<(PathBuf, Vec<Value>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis/samples");
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(|entry| entry.unwrap().into_path());
    let dumps = entries.filter(|path| path.extension().is_some_and(|extension| extension == "rdb"));
    let told = |path: PathBuf| {
        let keys = fs::read(path.with_extension("keys.json")).ok()?;
        Some((path, serde_json::from_slice(&keys).unwrap()))
    };
    dumps.filter_map(told).collect()
}

/// A key in the samples: each letter is a byte.
fn sample_key(key: &Value) -> Vec<u8> {
    key["key"].as_str().unwrap().chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect()
}

fn bytes(text: &Value) -> Vec<u8> {
    match text.as_str() {
        Some(text) => text.into(),
        None => {
            let hex = text["hex"].as_str().unwrap();
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        }
    }
}

fn millis(time: &Value) -> Option<i64> {
    time.as_str().map(|time| time.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

type Listed = BTreeMap<(u64, Vec<u8>), Value>;

fn list(place: &Place, arguments: &[&str]) -> Listed {
    let ran = place.run(&[&["keys", "--json", "latest"], arguments].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let keys = ran.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    let count = keys.len();
    let of = |key: Value| ((key["db"].as_u64().unwrap(), bytes(&key["key"])), key);
    let listed: Listed = keys.into_iter().map(of).collect();
    assert_eq!(listed.len(), count);
    listed
}

#[test]
fn keys_of_dumps_of_all_servers_are_those_that_the_servers_told() {
    let (place, samples) = (Place::with_tiny_repository(), samples());
    assert!(samples.len() >= 4, "{}", samples.len());
    for (path, told) in samples {
        back_up(&place, &fs::read(&path).unwrap());
        let listed = list(&place, &[]);
        assert_eq!(listed.len(), told.len(), "{}", path.display());
        for key in &told {
            let name = sample_key(key);
            let found = &listed[&(key["db"].as_u64().unwrap(), name.clone())];
            assert_eq!(fields(found), ["bytes", "db", "elements", "expires", "key", "type"]);
            assert_eq!(found["type"], key["type"], "{}: {found} {key}", path.display());
            assert_eq!(millis(&found["expires"]), key["expires_at_ms"].as_i64(), "{found} {key}");
            if key["type"] != "string" && key["length"].is_u64() {
                assert_eq!(found["elements"], key["length"], "{}: {found} {key}", path.display());
            }
        }
        for key in told.iter().step_by(9) {
            let (name, db) = (sample_key(key), key["db"].to_string());
            let Ok(name) = String::from_utf8(name) else { continue };
            if name.contains('\0') {
                continue;
            }
            let got = place.run(&["get", &name, "--db", &db, "--json"]);
            assert_eq!(got.code, 0, "{name}: {}", got.stderr);
            let got = got.json();
            assert_eq!((&got["type"], got["key"].as_str()), (&key["type"], Some(&name[..])));
            assert_eq!(millis(&got["expires"]), key["expires_at_ms"].as_i64(), "{name}");
            match (key["type"].as_str(), &got["value"]) {
                (Some("string"), value) => assert_eq!(Some(bytes(value).len() as u64), key["length"].as_u64()),
                (Some("set" | "list" | "zset" | "hash" | "stream" | "array"), value) => {
                    assert_eq!(Some(value.as_array().unwrap().len() as u64), key["length"].as_u64(), "{name}");
                }
                _ => {}
            }
        }
    }
}

/// Names longer than a bucket's label, values longer than a bucket, the same name in two databases, an expiry that is kept
/// with what stands before it.
#[test]
fn long_names_and_long_values_are_found() {
    let place = Place::with_tiny_repository();
    let name = |number: u32| format!("{}{number:04}", "n".repeat(300)).into_bytes();
    let value = |number: u32| noise(u64::from(number), if number % 50 == 7 { 300_000 } else { 40 });
    let mut dump = b"REDIS0011\xfe\x00".to_vec();
    // In no order of names, as in a file.
    let numbers: Vec<u32> = (0..400u32).map(|number| number * 147 % 400).collect();
    for number in &numbers {
        if number % 3 == 0 {
            // An idle time in more bytes than it needs.
            dump.extend_from_slice(&[&[0xfc][..], &u64::to_le_bytes(4_000_000_000_000), &[0xf8, 0x40, 5]].concat());
        }
        put_string(&mut dump, &name(*number), &value(*number));
    }
    dump.extend_from_slice(&[0xfe, 3]);
    put_string(&mut dump, &name(7), b"another");
    back_up(&place, &ended(dump));
    let listed = list(&place, &[]);
    assert_eq!(listed.len(), 401);
    for number in (0..400).step_by(19).chain([7, 57, 357]) {
        let key = String::from_utf8(name(number)).unwrap();
        assert_eq!(place.done(&["get", &key, "--raw"]).stdout, value(number), "{number}");
        let expires = millis(&listed[&(0, key.into_bytes())]["expires"]);
        assert_eq!(expires, (number % 3 == 0).then_some(4_000_000_000_000), "{number}");
    }
    let key = String::from_utf8(name(7)).unwrap();
    assert_eq!(place.done(&["get", &key, "--raw", "--db", "3"]).text(), "another");
    place.ends(1, &["get", &key, "--db", "2"]).says("in database 2");
    assert_eq!(list(&place, &["--db", "3"]).len(), 1);
    assert_eq!(list(&place, &["--match", "n*00[0-4]7"]).len(), 6);
}

#[test]
fn a_dump_that_is_not_stored_by_keys_answers_the_same() {
    let place = Place::with_tiny_repository();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis/samples/synthetic");
    back_up(&place, &fs::read(root.join("redis19-unknown-type.rdb")).unwrap());
    let ran = place.run(&["keys", "latest"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    ran.says("all of it was read").says("keys may be missing");
    place.ends(1, &["get", "nothing of this name"]).says("is not understood to its end");
}

#[test]
fn a_reader_of_keys_that_goes_away_wanted_no_more() {
    let place = Place::with_repository();
    back_up(&place, &dump_of_strings((0..20_000).map(|number| (format!("k{number}").into_bytes(), vec![b'v']))));
    let mut command = place.command(&["keys"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 64];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
    assert!(first.starts_with(b"0 string "), "{first:?}");
}

fn command(words: &[&str]) -> Vec<u8> {
    let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    let count = words.len();
    format!("*{count}\r\n{}", words.collect::<String>()).into_bytes()
}

#[test]
fn commands_behind_a_dump_are_followed_or_it_is_said_that_they_cannot_be() {
    for is_single in [false, true] {
        let place = Place::with_tiny_repository();
        let mut dump = b"REDIS0011\xfe\x00".to_vec();
        for key in ["same", "set", "gone", "appended", "pushed", "expiring"] {
            put_string(&mut dump, key.as_bytes(), b"before");
        }
        let dump = ended(dump);
        let commands = [
            command(&["SELECT", "0"]),
            command(&["SET", "set", "after"]),
            command(&["DEL", "gone"]),
            command(&["APPEND", "appended", " and after"]),
            command(&["LPUSH", "pushed", "x"]),
            command(&["PEXPIREAT", "expiring", "4000000000000"]),
            command(&["SET", "new", "made"]),
        ]
        .concat();
        fs::remove_file(place.data().join("dump.rdb")).unwrap();
        if is_single {
            fs::write(place.data().join("appendonly.aof"), [dump, commands].concat()).unwrap();
        } else {
            let at = place.data().join("appendonlydir");
            fs::create_dir(&at).unwrap();
            let manifest = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
            fs::write(at.join("appendonly.aof.manifest"), manifest).unwrap();
            fs::write(at.join("appendonly.aof.1.base.rdb"), dump).unwrap();
            fs::write(at.join("appendonly.aof.1.incr.aof"), commands).unwrap();
        }
        let ran = place.run(&["backup", "data", "--dataset", "d"]);
        assert!(matches!(ran.code, 0 | 3), "{}", ran.stderr);
        for (key, value) in [
            ("same", "before"),
            ("set", "after"),
            ("appended", "before and after"),
            ("new", "made"),
            ("expiring", "before"),
        ] {
            let ran = place.ends(0, &["get", key, "--raw"]);
            assert_eq!(ran.text(), value, "{key}, {is_single}: {}", ran.stderr);
        }
        let expiring = place.ends(0, &["get", "expiring", "--json"]).json();
        assert_eq!(millis(&expiring["expires"]), Some(4_000_000_000_000));
        place.ends(1, &["get", "gone"]).says("has no key gone");
        place.ends(1, &["get", "pushed"]).says("cannot be told without a restore").says("lpush in ");
        let ran = place.ends(3, &["keys", "--quiet"]);
        ran.says("warning: the keys are only those of the dump: commands behind it are not followed, in append");
        assert_eq!(ran.text().lines().count(), 6);
        let json = place.ends(3, &["keys", "--json"]).text();
        let last: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
        assert_eq!((json.lines().count(), fields(&last)), (7, vec!["not_followed"]), "{json}");
        assert_eq!(last["not_followed"].as_array().unwrap().len(), 1, "{json}");
    }
}

#[test]
fn a_difference_of_dumps_with_commands_behind_them_is_not_told_as_the_whole() {
    let place = Place::with_tiny_repository();
    fs::remove_file(place.data().join("dump.rdb")).unwrap();
    let at = place.data().join("appendonlydir");
    fs::create_dir(&at).unwrap();
    let manifest = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    fs::write(at.join("appendonly.aof.manifest"), manifest).unwrap();
    let base = dump_of_strings([(b"a".to_vec(), b"1".to_vec())].into_iter());
    fs::write(at.join("appendonly.aof.1.base.rdb"), base).unwrap();
    let write = |commands: &[u8]| {
        fs::write(at.join("appendonly.aof.1.incr.aof"), commands).unwrap();
        let ran = place.run(&["backup", "data", "--dataset", "d"]);
        assert!(matches!(ran.code, 0 | 3), "{}", ran.stderr);
        place.run(&["snapshots", "--json"]).json()["snapshots"].as_array().unwrap().len()
    };
    assert_eq!((write(b""), write(b"")), (1, 2));
    let none = place.ends(0, &["diff", "latest~1", "latest", "--keys"]);
    assert_eq!((none.text(), &*none.stderr), ("0 added, 0 removed, 0 changed\n".into(), ""));
    let json = place.ends(0, &["diff", "latest~1", "latest", "--keys", "--json"]).json();
    assert_eq!(json["not_followed"], serde_json::json!([]));
    assert_eq!(write(&[command(&["SELECT", "0"]), command(&["SET", "a", "2"])].concat()), 3);
    let some = place.ends(3, &["diff", "latest~1", "latest", "--keys", "--quiet"]);
    some.says("warning: of B only the keys of its dump are compared: commands behind it are not followed, in append");
    assert_eq!(some.text(), "0 added, 0 removed, 0 changed, by the dumps alone\n");
    let json = place.ends(3, &["diff", "latest~1", "latest", "--keys", "--json"]).json();
    assert_eq!(fields(&json), ["added", "changed", "not_compared", "not_followed", "removed"]);
    assert_eq!(json["not_followed"][0]["files"], serde_json::json!(["appendonlydir/appendonly.aof.1.incr.aof"]));
    assert_eq!(json["not_followed"].as_array().unwrap().len(), 1);
}

#[test]
fn a_key_is_taken_as_it_is_printed() {
    let place = Place::with_tiny_repository();
    let keys =
        [&b"bin\x00\xff\r\n"[..], b"\"quoted\"", b"back\\slash", b" space", b"one\"", b"\x1b[31m", b"plain key", b""];
    let mut dump = b"REDIS0011\xfe\x00".to_vec();
    for key in keys {
        put_string(&mut dump, key, &[b"value of ", key].concat());
    }
    back_up(&place, &ended(dump));
    let listed = place.ends(0, &["keys"]).text();
    assert_eq!(listed.lines().count(), keys.len(), "{listed}");
    for line in listed.lines() {
        let shown = line.split_once(" -  ").map(|(_, shown)| shown.trim_start_matches(' ')).unwrap();
        let got = place.ends(0, &["get", shown, "--raw"]).stdout;
        let key = keys.iter().find(|key| [b"value of ", **key].concat() == got);
        assert!(key.is_some(), "{line}: {got:?}");
    }
    assert_eq!(place.ends(0, &["get", "one\"", "--raw"]).text(), "value of one\"");
}

#[test]
fn values_are_shown_as_text_and_as_json() {
    let place = Place::with_tiny_repository();
    let mut dump = b"REDIS0011\xfe\x00".to_vec();
    put_string(&mut dump, b"text", "lines\nof text".as_bytes());
    put_string(&mut dump, b"bytes", b"\x1b[31m\xff");
    let pair = |dump: &mut Vec<u8>, texts: &[&[u8]]| {
        for text in texts {
            dump.extend_from_slice(&length(text.len()));
            dump.extend_from_slice(text);
        }
    };
    dump.push(4);
    pair(&mut dump, &[b"hash"]);
    dump.push(2);
    pair(&mut dump, &[b"name", b"a b", b"bin", b"\x00"]);
    back_up(&place, &ended(dump));
    assert_eq!(place.ends(0, &["get", "text"]).text(), "lines\nof text\n");
    assert_eq!(place.ends(0, &["get", "bytes"]).text(), "\"\\x1b[31m\\xff\"\n");
    assert_eq!(place.done(&["get", "bytes", "--raw"]).stdout, b"\x1b[31m\xff");
    let ran = place.ends(0, &["get", "hash"]);
    let mut lines: Vec<&str> = std::str::from_utf8(&ran.stdout).unwrap().lines().collect();
    lines.sort();
    assert_eq!(lines, ["bin \"\\x00\"", "name a b"]);
    ran.says("note: hash, ").says("2 elements, does not expire");
    let json = place.ends(0, &["get", "bytes", "--json"]).json();
    assert_eq!(json["value"]["hex"], "1b5b33316dff");
    assert_eq!(
        fields(&json),
        [
            "alarms",
            "begin",
            "dataset",
            "db",
            "elements",
            "expires",
            "expires_after_loading",
            "groups",
            "key",
            "moment",
            "snapshot",
            "type",
            "value"
        ]
    );
    place.ends(2, &["get", "hash", "--raw"]).says("is no string");
    place.ends(2, &["get", "text", "--raw", "--json"]);
    place.ends(8, &["get", "text", "--at", "now", "--raw"]).says("@TIME");
    assert_eq!(place.ends(0, &["get", "text", "@now", "--raw"]).text(), "lines\nof text");
}

#[test]
fn a_difference_names_keys_that_were_added_removed_or_changed() {
    let place = Place::with_tiny_repository();
    let long = |seed| noise(seed, 300_000);
    let name = |number: u32| format!("k{number:03}").into_bytes();
    let dump = |records: &[(Vec<u8>, Vec<u8>, bool)]| {
        let mut dump = b"REDIS0011\xfe\x00".to_vec();
        for (key, value, expires) in records {
            if *expires {
                dump.extend_from_slice(&[&[0xfc][..], &u64::to_le_bytes(4_000_000_000_000)].concat());
            }
            put_string(&mut dump, key, value);
        }
        ended(dump)
    };
    let mut records: Vec<_> = (0..300).map(|number| (name(number), noise(u64::from(number), 30), false)).collect();
    records.push((b"long a".to_vec(), long(1), false));
    records.push((b"long b".to_vec(), long(2), false));
    back_up(&place, &dump(&records));
    // After a restart: another order, and no other key.
    records.reverse();
    back_up(&place, &dump(&records));
    let ran = place.ends(0, &["diff", "latest~1", "latest", "--keys"]);
    assert_eq!(ran.text(), "0 added, 0 removed, 0 changed\n");
    for record in &mut records {
        match &record.0[..] {
            b"k007" => record.1 = b"another".to_vec(),
            b"k100" => record.2 = true,
            // As long as before.
            b"long b" => record.1 = long(3),
            b"k200" => record.0 = b"k200a".to_vec(),
            _ => {}
        }
    }
    back_up(&place, &dump(&records));
    let ran = place.ends(0, &["diff", "latest~1", "latest", "--keys"]);
    let mut lines: Vec<String> = ran.text().lines().map(String::from).collect();
    assert_eq!(lines.pop().unwrap(), "1 added, 1 removed, 3 changed");
    lines.sort();
    let expected = ["added   0 k200a", "changed 0 k007", "changed 0 k100", "changed 0 long b", "removed 0 k200"];
    assert_eq!(lines, expected);
    let back = place.ends(0, &["diff", "latest", "latest~2", "--keys", "--json", "--match", "k2*"]).text();
    let expected = "{\"change\":\"added\",\"compared\":true,\"db\":0,\"key\":\"k200\"}\n\
                    {\"change\":\"removed\",\"compared\":true,\"db\":0,\"key\":\"k200a\"}\n";
    assert!(back.starts_with(expected) && back.lines().count() == 3, "{back}");
    // Each long value at the key of the other, and nothing but the order in the file is another.
    (records[0].0, records[1].0) = (b"long a".to_vec(), b"long b".to_vec());
    back_up(&place, &dump(&records));
    let ran = place.ends(0, &["diff", "latest~1", "latest", "--keys"]);
    assert_eq!(ran.text(), "changed 0 long a\nchanged 0 long b\n0 added, 0 removed, 2 changed\n");
    place.ends(2, &["diff", "latest", "latest"]).says("--keys");
}

/// Of such values no more than an element is held.
#[test]
fn values_that_are_too_long_to_be_held_are_compared_by_what_they_say() {
    let place = Place::with_tiny_repository();
    let text = |text: &[u8]| [length(text.len()), text.to_vec()].concat();
    let filler = vec![b'x'; 64 << 10];
    let dump = |hash: &[(u32, u8)], long: &[u8], packed: u8| {
        let mut dump = [b"REDIS0011\xfe\x00\x04", &text(b"hash")[..], &length(hash.len())].concat();
        for (name, value) in hash {
            dump.extend_from_slice(&[text(&name.to_be_bytes()), text(&[&filler[..], &[*value]].concat())].concat());
        }
        // A hash packed in one, which nobody reads in pieces.
        dump.extend_from_slice(&[&[16][..], &text(b"packed"), &text(&vec![packed; 66 << 20])].concat());
        put_string(&mut dump, b"text", &[&vec![b'y'; 66 << 20], long].concat());
        ended(dump)
    };
    let mut hash: Vec<(u32, u8)> = (0..1100).map(|name| (name, 0)).collect();
    back_up(&place, &dump(&hash, b"1", 1));
    hash.reverse();
    back_up(&place, &dump(&hash, b"1", 1));
    let diff = || place.ends(0, &["diff", "latest~1", "latest", "--keys"]).text();
    assert_eq!(diff(), "0 added, 0 removed, 0 changed\n");
    // What they are is told, and of one that is asked for all is shown.
    let listed = place.ends(0, &["keys"]).text();
    let kinds: Vec<_> = listed.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(kinds, ["hash", "hash", "string"], "{listed}");
    let text = place.ends(0, &["get", "text", "--raw"]).text();
    assert!(text.len() == (66 << 20) + 1 && text.ends_with("yy1"));
    hash.swap(3, 900);
    back_up(&place, &dump(&hash, b"2", 1));
    assert_eq!(diff(), "changed 0 text\n0 added, 0 removed, 1 changed\n");
    hash[500].1 = 1;
    back_up(&place, &dump(&hash, b"2", 2));
    let untold = "changed 0 packed  (not compared: its elements may only have changed places)";
    assert_eq!(diff(), format!("changed 0 hash\n{untold}\n0 added, 0 removed, 2 changed (1 not compared)\n"));
    let json = place.ends(0, &["diff", "latest~1", "latest", "--keys", "--json"]).text();
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["compared"], true);
    assert_eq!((&lines[1]["key"], &lines[1]["compared"]), (&"packed".into(), &false.into()));
    assert_eq!((&lines[2]["changed"], &lines[2]["not_compared"]), (&2.into(), &1.into()));
}

#[test]
fn values_that_cannot_be_read_differ_where_their_bytes_do() {
    let place = Place::with_tiny_repository();
    for listpack in [&b"no listpack"[..], b"and another"] {
        let mut dump = [b"REDIS0011\xfe\x00\x10\x03bad\x0b", listpack].concat();
        put_string(&mut dump, b"good", b"value");
        back_up(&place, &ended(dump));
    }
    let ran = place.ends(0, &["diff", "latest~1", "latest", "--keys"]);
    let bad = "changed 0 bad  (not compared: its elements may only have changed places)";
    assert_eq!(ran.text(), format!("{bad}\n0 added, 0 removed, 1 changed (1 not compared)\n"));
}

#[test]
fn what_is_read_of_a_suspect_dump_is_told_to_be() {
    let place = Place::with_tiny_repository();
    let mut dump = dump_of_strings([(b"key".to_vec(), b"value".to_vec())].into_iter());
    *dump.last_mut().unwrap() ^= 1;
    back_up(&place, &dump);
    assert_eq!(place.ends(3, &["get", "key", "--raw"]).says("dump.rdb was suspect when it was stored").text(), "value");
    place.ends(3, &["keys"]).says("dump.rdb was suspect when it was stored");
}

/// The hash stands there byte for byte as before, and says something else: its template has another name for a field.
///
/// LOCAL-35
#[test]
fn a_hash_whose_template_changes_its_meaning_is_not_taken_for_the_one_before() {
    let place = Place::with_repository();
    let dump = |field: &[u8]| {
        let hash = b"\x1e\x01h\x0f\x0f\0\0\0\x03\0\x05\x01\x81x\x02\x81y\x02\xff";
        let mut dump = [b"REDIS0015\xf2\x05\x02\x01a\x01", field, b"\xfe\0", hash, b"\x20\x01j\x05\x01p\x01q"].concat();
        (0..200u8).for_each(|key| put_string(&mut dump, &[b'k', key], &noise(key.into(), 100)));
        ended(dump)
    };
    for field in ["b", "c", "c", "b"] {
        back_up(&place, &dump(field.as_bytes()));
        assert!(place.done(&["dump", "latest", "dump.rdb"]).stdout == dump(field.as_bytes()), "{field}");
        for key in ["h", "j"] {
            let got = place.ends(0, &["get", key, "--json"]).json();
            assert_eq!(got["type"], "hash");
            assert!(got["value"].to_string().contains(&format!("\"{field}\"")), "{got}");
        }
    }
    let changes = |one, other| place.done(&["diff", one, other, "--keys"]).text();
    assert_eq!(changes("latest~1", "latest"), "changed 0 h\nchanged 0 j\n0 added, 0 removed, 2 changed\n");
    assert_eq!(changes("latest~2", "latest~1"), "0 added, 0 removed, 0 changed\n");
}
