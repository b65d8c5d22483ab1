use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::{OFFSET, Place, fields, noise, objects, run, without_root};

#[test]
fn it_says_what_was_taken_and_what_changed() {
    let place = Place::with_repository();
    let text = place.done(&["backup", "data", "--dataset", "sessions"]).text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("snapshot ") && lines[0].ends_with(" of sessions"), "{text}");
    assert!(lines[1].contains(OFFSET), "{text}");
    assert!(lines[2].contains("3 files, 586"), "{text}");
    assert!(lines[3].ends_with("  0 keys") && lines[5].contains("no earlier snapshot"), "{text}");

    fs::write(place.data().join("nodes.conf"), "vars currentEpoch 1\n").unwrap();
    fs::write(place.data().join("users.acl"), "user default on\n").unwrap();
    let text = place.done(&["backup", "data", "--dataset", "sessions"]).text();
    assert!(text.contains("1 changed (nodes.conf), 1 new (users.acl)"), "{text}");

    fs::remove_file(place.data().join("users.acl")).unwrap();
    assert!(place.done(&["backup", "data", "--dataset", "sessions"]).text().contains("1 gone (users.acl)"));
    let text = place.done(&["backup", "data", "--dataset", "sessions"]).text();
    assert!(text.contains("changes  none") && text.contains("stored   nothing new"), "{text}");
}

#[test]
fn as_json_it_gives_the_snapshot_and_its_costs() {
    let place = Place::with_repository();
    let arguments =
        ["backup", "data", "--tag", "one", "--tag", "two", "--level", "1", "--offline", "--read-all", "--json"];
    let json = place.done(&arguments).json();
    let wanted = [
        "alarms",
        "begin",
        "bytes",
        "changes",
        "dataset",
        "directory",
        "drill",
        "end",
        "files",
        "final_at",
        "forms",
        "holds",
        "host",
        "id",
        "keys",
        "keys_counted",
        "left_out",
        "left_out_more",
        "milliseconds",
        "mode",
        "moment",
        "new_bytes",
        "new_chunks",
        "packs",
        "replication",
        "seconds",
        "sequence",
        "stored",
        "stored_bytes",
        "suspects",
        "table_bytes",
        "tags",
        "unfinished_bytes",
        "unread_bytes",
        "unread_files",
        "warnings",
    ];
    assert_eq!(fields(&json), wanted);
    assert_eq!((json["sequence"].as_u64(), json["files"].as_u64()), (Some(1), Some(3)));
    assert_eq!(json["tags"], serde_json::json!(["one", "two"]));
    assert!(json["dataset"].as_str().unwrap().ends_with(&place.data().canonicalize().unwrap().display().to_string()));
    assert!(json["begin"].as_str().unwrap().ends_with(OFFSET));
    assert!(json["changes"].is_null());
    assert_eq!(json["forms"][0]["path"], "dump.rdb");
    assert_eq!((&json["forms"][0]["form"], &json["forms"][0]["why"]), (&"canonical".into(), &serde_json::Value::Null));
    // Of a dump without keys nothing is stored beside its parameters.
    let opaque = |field: &str| json["stored"]["opaque"][field].as_u64().unwrap();
    assert_eq!((&json["new_chunks"], &json["new_bytes"]), (&opaque("chunks").into(), &opaque("bytes").into()));
    let tables = json["table_bytes"].as_u64().unwrap();
    assert!(tables > 100 && json["stored_bytes"] == opaque("stored_bytes") + tables, "{json}");

    assert_eq!(fields(&json["seconds"]), ["begin", "capture", "commit", "read", "store"]);
    let sum: f64 = json["seconds"].as_object().unwrap().values().map(|part| part.as_f64().unwrap()).sum();
    assert!(sum > 0.0 && sum < 600.0, "{}", json["seconds"]);

    let json = place.done(&arguments).json();
    assert_eq!(fields(&json["changes"]), ["changed", "gone", "new", "unchanged"]);
    assert_eq!(json["changes"]["unchanged"], 3);
    assert_eq!(json["stored_bytes"], 0);
    assert_eq!(json["stored"], serde_json::json!({}));
    assert_eq!((&json["unread_files"], &json["unread_bytes"]), (&serde_json::json!(0), &serde_json::json!(0)));
}

#[test]
fn quiet_prints_nothing() {
    let place = Place::with_repository();
    assert_eq!(place.done(&["backup", "data", "--quiet"]).text(), "");
}

#[test]
fn wrong_arguments_are_wrong_usage() {
    let place = Place::with_repository();
    for arguments in [
        vec!["backup", "--offline"],
        vec!["backup", "data", "--redis", "127.0.0.1"],
        vec!["backup", "data", "--aof-tail"],
        vec!["backup", "--redis", "http://127.0.0.1"],
        vec!["backup", "data", "--level", "20"],
        vec!["backup", "data", "--tag", ""],
        vec!["backup", "data", "--dataset", "a\nb"],
        vec!["backup", "data", "-q", "-v"],
    ] {
        assert_eq!(place.ends(2, &arguments).text(), "");
    }
}

#[test]
fn a_directory_that_is_not_there_fails() {
    let place = Place::with_repository();
    let ran = place.ends(1, &["backup", "elsewhere"]);
    assert!(ran.stderr.starts_with("redkeep: "), "{}", ran.stderr);
}

/// Exit 3: the snapshot was taken, and something else is missing.
#[test]
fn a_missing_pack_is_an_alarm_and_its_data_is_stored_again() {
    let place = Place::with_snapshot();
    objects(&place, "packs").into_iter().for_each(|pack| fs::remove_file(pack).unwrap());
    let ran = place.ends(3, &["backup", "data", "--dataset", "sessions", "--json"]);
    ran.says("warning: packs are missing or cut short (1, among them packs/");
    assert_eq!(ran.json()["alarms"][0]["code"], "packs");
    // Whole by the new copy, and told because the old index object still names the missing one.
    place.ends(3, &["verify"]).says("made good from another copy: packs/");
}

/// Exit 3, for as long as the snapshot is used.
#[test]
fn a_file_that_was_cut_is_stored_and_named_as_suspect() {
    let place = Place::with_repository();
    fs::write(place.data().join("dump.rdb"), b"REDIS0011\xfe\x00").unwrap();
    let ran = place.ends(3, &["backup", "data", "--json"]);
    ran.says("warning: dump.rdb: ");
    assert_eq!(ran.json()["suspects"][0]["path"], "dump.rdb");
    assert_eq!(fields(&ran.json()["warnings"][0]), ["code", "message", "path"]);
    assert!(place.ends(0, &["snapshots"]).text().contains("1 warning"));
    place.ends(0, &["ls", "latest"]).says("note: when it was taken: dump.rdb: ");
    place.ends(3, &["verify"]).says("warning: dump.rdb: ");
    place.ends(3, &["restore", "--target", "back"]).says("warning: dump.rdb was suspect");
    for said in [&ran, &place.ends(3, &["restore", "--target", "back"]), &place.ends(0, &["ls", "latest"])] {
        assert!(said.stderr.contains(": at ") && !said.stderr.contains("suspect at"), "{}", said.stderr);
    }
}

#[test]
fn a_directory_without_a_dataset_is_taken_and_said_to_be_none() {
    let place = Place::with_repository();
    let json = place.done(&["backup", "data", "--json"]).json();
    assert_eq!(
        (&json["holds"], &json["left_out"], &json["left_out_more"]),
        (&"rdb".into(), &serde_json::json!([]), &0.into())
    );
    fs::create_dir(place.path("etc")).unwrap();
    fs::write(place.path("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    assert_eq!(place.done(&["backup", "etc", "--json"]).json()["holds"], "none");
    assert!(place.done(&["backup", "etc"]).text().contains("neither a dump nor an AOF is here"));
}

/// LIVE-2
#[test]
fn what_is_left_out_of_an_aof_that_ends_within_a_command_is_told() {
    let place = Place::with_repository();
    fs::create_dir(place.path("cut")).unwrap();
    let whole = b"*1\r\n$4\r\nPING\r\n";
    fs::write(place.path("cut/appendonly.aof"), [&whole[..], whole, &whole[..9]].concat()).unwrap();
    let said = "note: appendonly.aof ends within a command or a transaction: what there is of it, 9 bytes, is left out of \
                the copy";
    let ran = place.ends(0, &["backup", "cut", "--json"]);
    assert_eq!(ran.says(said).json()["unfinished_bytes"], 9);
    assert_eq!(place.ends(0, &["backup", "data", "--json"]).json()["unfinished_bytes"], 0);
}

#[test]
fn files_that_no_manifest_names_are_told() {
    let place = Place::with_repository();
    let parts = place.path("parts/appendonlydir");
    fs::create_dir_all(&parts).unwrap();
    fs::write(parts.join("appendonly.aof.manifest"), "file appendonly.aof.1.incr.aof seq 1 type i\n").unwrap();
    for number in [1, 9] {
        fs::write(parts.join(format!("appendonly.aof.{number}.incr.aof")), "*1\r\n$4\r\nPING\r\n").unwrap();
    }
    place.ends(0, &["backup", "parts"]).says("note: 1 file called like parts of an AOF that no manifest names");
}

/// Else each backup would store the last one again.
#[test]
fn the_repository_cache_and_state_in_the_directory_are_left_out_and_told() {
    let place = Place::new();
    let inside = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("REDKEEP_REPO", place.data().join("backup")).env("HOME", place.data().join("home"));
        run(&mut command)
    };
    assert_eq!(inside(&["init"]).code, 0);
    let mut files = Vec::new();
    for turn in 0..3 {
        let ran = inside(&["backup", "data", "--dataset", "d", "--json"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        let json = ran.json();
        let left = json["left_out"].as_array().unwrap().iter();
        let left: Vec<_> = left.map(|it| (it["path"].as_str().unwrap(), it["why"].as_str().unwrap())).collect();
        let expected =
            [("backup", "repository"), ("home/.cache/redkeep", "cache"), ("home/.local/state/redkeep", "state")];
        assert_eq!(left, expected);
        files.push(json["files"].as_u64().unwrap());
        assert!(turn == 0 || json["new_bytes"] == 0, "{json}");
    }
    assert_eq!(files, [3, 3, 3]);
    let said = inside(&["backup", "data", "--dataset", "d"]).text();
    assert!(
        said.contains("left out  backup (the repository itself), home/.cache/redkeep (redkeep's own cache)"),
        "{said}"
    );
    for inner in ["data/backup", "data/backup/packs", "data/home/.cache/redkeep"] {
        let ran = inside(&["backup", inner]);
        assert_eq!(ran.code, 1, "{inner}: {}", ran.stderr);
        ran.says("hint: move one of them");
    }
}

#[test]
fn patterns_leave_out_and_take_in() {
    let place = Place::with_repository();
    fs::write(place.data().join("server.log"), "x").unwrap();
    place.done(&["backup", "data", "--exclude", "*.conf", "--include", "*.log", "--quiet"]);
    let listed = place.done(&["ls", "latest"]).text();
    assert!(listed.contains("server.log") && !listed.contains("nodes.conf"), "{listed}");
    place.ends(2, &["backup", "data", "--exclude", "[a"]).says("pattern ");
}

#[test]
fn an_interrupt_ends_it_with_130_and_commits_nothing() {
    let place = Place::with_repository();
    File::create(place.data().join("large.bin")).unwrap().set_len(16 << 30).unwrap();
    let mut child = place.command(&["backup", "data"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while objects(&place, "leases").is_empty() {
        assert!(Instant::now() < deadline, "the backup never began");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(said, "redkeep: interrupted\n");

    fs::remove_file(place.data().join("large.bin")).unwrap();
    assert_eq!(place.done(&["snapshots", "--json"]).json()["snapshots"], serde_json::json!([]));
    place.backup();
    place.done(&["verify"]);
}

#[test]
fn a_report_that_cannot_be_printed_is_told_and_the_snapshot_stays() {
    let place = Place::with_repository();
    let full = File::create("/dev/full").unwrap();
    let mut command = place.command(&["backup", "data"]);
    let ran = run(command.stdout(full));
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    ran.says("cannot write to standard output");
    assert_eq!(place.done(&["snapshots", "--json"]).json()["snapshots"].as_array().unwrap().len(), 1);
}

#[test]
fn details_are_said_on_standard_error_only() {
    let place = Place::with_repository();
    fs::write(place.data().join("more.bin"), noise(2, 10)).unwrap();
    let ran = place.ends(0, &["backup", "data", "-v", "--json"]);
    ran.says("redkeep: opening ").says("redkeep: backing up 586");
    ran.json();
}

/// What may not be looked into is not left out in silence.
#[test]
fn a_directory_that_may_not_be_listed_ends_it_and_is_named() {
    let place = Place::with_snapshot();
    fs::create_dir(place.data().join("closed")).unwrap();
    let close = |mode| fs::set_permissions(place.data().join("closed"), fs::Permissions::from_mode(mode)).unwrap();
    close(0o000);
    let ran = run(&mut without_root(place.command(&["backup", "data", "--dataset", "sessions"])));
    close(0o700);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    ran.says("no permission to list").says("data/closed");
    assert_eq!(place.done(&["snapshots", "--json"]).json()["snapshots"].as_array().unwrap().len(), 1);
}
