use std::fs;

use crate::place::{OFFSET, Place, fields, objects};

/// A repository with snapshots of dataset `sessions`, oldest first.
fn with_snapshots(count: usize) -> (Place, Vec<String>) {
    let place = Place::with_repository();
    let ids = (0..count).map(|_| place.backup()).collect();
    (place, ids)
}

fn listed(place: &Place) -> Vec<String> {
    let json = place.ends(0, &["snapshots", "--json"]).json();
    json["snapshots"].as_array().unwrap().iter().map(|snapshot| snapshot["id"].as_str().unwrap().into()).collect()
}

#[test]
fn a_dry_run_tells_the_fate_of_every_snapshot_and_the_zone_and_does_nothing() {
    let (place, ids) = with_snapshots(3);
    let policy = ["forget", "--keep-last", "1", "--keep-yearly", "5", "--dry-run"];
    let text = place.done(&policy).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "sessions: would forget 2 of 3 snapshots");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["ID", "TIME", "VERDICT", "WHY"]);
    for (line, id) in lines[2..4].iter().zip(&ids) {
        assert!(line.starts_with(&id[..8]) && line.contains(OFFSET) && line.ends_with("  forgotten"), "{text}");
    }
    assert!(lines[4].starts_with(&ids[2][..8]) && lines[4].contains("  kept       last 1, yearly 20"), "{text}");
    assert_eq!(
        lines[6],
        format!("hours, days, weeks, months and years are those of the local zone, which is at {OFFSET} now")
    );
    assert_eq!(listed(&place), ids);
    let json = place.done(&[&policy[..], &["--json", "--zone", "UTC"]].concat()).json();
    assert_eq!(fields(&json), ["alarms", "already_forgotten", "datasets", "dry_run", "forgotten", "kept", "zone"]);
    assert_eq!((&json["zone"], &json["dry_run"]), (&"UTC".into(), &true.into()));
    assert_eq!((&json["kept"], &json["forgotten"]), (&1.into(), &2.into()));
    let dataset = &json["datasets"][0];
    assert_eq!(fields(dataset), ["dataset", "forgotten", "kept"]);
    assert_eq!(fields(&dataset["forgotten"][0]), ["begin", "id", "keys"]);
    assert_eq!(fields(&dataset["kept"][0]), ["begin", "id", "keys", "reasons"]);
    assert_eq!(dataset["kept"][0]["reasons"][0], "last 1");
    assert!(objects(&place, "forgotten").is_empty());
}

#[test]
fn a_policy_forgets_what_it_does_not_keep_and_nothing_is_deleted() {
    let (place, ids) = with_snapshots(3);
    let before = objects(&place, "");
    assert!(place.done(&["forget", "--keep-last", "2"]).text().starts_with("sessions: forgot 1 of 3 snapshots\n"));
    assert_eq!(listed(&place), ids[1..]);
    let after = objects(&place, "");
    assert!(before.iter().all(|object| after.contains(object)));
    assert_eq!(after.len(), before.len() + 1);
    assert!(place.done(&["forget", "--keep-last", "2"]).text().starts_with("sessions: forgot 0 of 2 snapshots\n"));
    // Not listed, not chosen, not restored; and named with what can be done.
    let ran = place.ends(1, &["restore", &ids[0], "--target", "back"]);
    ran.says("was forgotten: not kept by the policy").says(&format!("redkeep undelete {}", ids[0]));
    place.ends(1, &["ls", &ids[0][..8]]).says("was forgotten");
    place.ends(8, &["ls", "@2020-01-01 00:00"]);
    place.ends(1, &["ls", "latest~2"]).says("goes too far back");
    assert_eq!(place.done(&["stats", "--json"]).json()["snapshots"], 2);
    place.done(&["check"]);
}

#[test]
fn what_cannot_be_meant_is_refused_and_nothing_is_forgotten() {
    let (place, ids) = with_snapshots(2);
    place.ends(2, &["forget"]).says("neither a policy nor a snapshot").says("--keep-daily 14");
    place.ends(2, &["forget", "--dry-run"]).says("neither a policy");
    place.ends(2, &["forget", "--keep-last", "1", &ids[0]]).says("give one of the two");
    place.ends(2, &["forget", "--keep-last", "0"]);
    place.ends(2, &["forget", "--keep-within", "soon"]).says("7d");
    place.ends(2, &["forget", "--keep-last", "1", "--zone", "Mars/Olympus"]).says("write UTC");
    place.ends(2, &["forget", "--keep-last", "1", "--even-pinned"]).says("are for named snapshots");
    let ran = place.ends(2, &["forget", "--keep-tag", "mistyped"]);
    ran.says("keeps none of the 2 snapshots of dataset sessions").says("hint: nothing was forgotten");
    let ran = place.ends(3, &["forget", "--keep-last", "1", "--dataset", "unknown", "--quiet"]);
    ran.says("warning: no dataset is called unknown: nothing was forgotten; there are: sessions");
    let ran = place.ends(0, &["forget", "--keep-last", "1", "--tag", "unknown"]);
    ran.says("note: no snapshot has the tag unknown: nothing was forgotten");
    assert_eq!(listed(&place), ids);
}

#[test]
fn the_last_snapshot_and_pinned_ones_go_by_name_only_if_that_is_said() {
    let (place, ids) = with_snapshots(2);
    place.ends(2, &["forget", &ids[0], &ids[1]]).says("no snapshot of dataset sessions would be left");
    assert_eq!(listed(&place), ids);
    let text = place.done(&["forget", &ids[0]]).text();
    assert!(text.starts_with("sessions: forgot 1 of 2 snapshots\n") && !text.contains(&ids[1][..8]), "{text}");
    // The same again, as after a crash, is no failure.
    place.ends(0, &["forget", &ids[0]]).says("was forgotten before");
    place.ends(1, &["forget", "0000ffff0000"]).says("no snapshot has an id");
    let pinned = place.done(&["backup", "data", "--dataset", "sessions", "--pin", "--json"]).json();
    assert_eq!(pinned["tags"], serde_json::json!(["pinned"]));
    let pinned = pinned["id"].as_str().unwrap();
    place.ends(2, &["forget", pinned]).says("is pinned").says("--even-pinned");
    place.done(&["forget", pinned, "--even-pinned"]);
    place.done(&["forget", "latest", "--allow-empty"]);
    assert_eq!(listed(&place), [""; 0]);
    assert_eq!(place.backup().len(), 32, "an empty dataset goes on");
}

/// FORGET-6
#[test]
fn a_policy_never_forgets_what_is_pinned() {
    let place = Place::with_repository();
    place.done(&["backup", "data", "--dataset", "sessions", "--pin", "--tag", "a"]);
    place.backup();
    place.backup();
    let json = place.done(&["forget", "--keep-last", "1", "--json"]).json();
    assert_eq!(json["datasets"][0]["kept"][0]["reasons"], serde_json::json!(["pinned"]));
    assert_eq!(json["forgotten"], 1);
    let json = place.done(&["snapshots", "--json"]).json();
    assert_eq!((&json["snapshots"][0]["pinned"], &json["snapshots"][1]["pinned"]), (&true.into(), &false.into()));
    // A pin alone is not what a policy keeps: a mistyped tag is refused all the same.
    place.ends(2, &["forget", "--keep-tag", "mistyped"]).says("keeps none");
}

#[test]
fn nothing_is_forgotten_while_a_snapshot_is_missing_or_cannot_be_read() {
    let (place, _) = with_snapshots(3);
    let middle = objects(&place, "snapshots").remove(1);
    let bytes = fs::read(&middle).unwrap();
    for damaged in [true, false] {
        match damaged {
            true => fs::write(&middle, &bytes[..100]).unwrap(),
            false => fs::remove_file(&middle).unwrap(),
        }
        // The catalog knows what was there: this host has to look again.
        fs::remove_dir_all(place.path("home/.cache")).unwrap();
        let name = middle.file_name().unwrap().to_str().unwrap().to_owned();
        for arguments in
            [&["forget", "--keep-last", "1"][..], &["forget", "latest"], &["forget", "--keep-last", "1", "--dry-run"]]
        {
            place.ends(4, arguments).says("nothing is forgotten").says(&name).says("redkeep check");
        }
        assert!(objects(&place, "forgotten").is_empty());
    }
}

#[test]
fn forgotten_snapshots_are_listed_with_the_time_until_which_they_are_there() {
    let (place, ids) = with_snapshots(2);
    place.ends(0, &["snapshots", "--forgotten"]).says("note: no forgotten snapshot fits");
    let text = place.done(&["forget", &ids[0]]).text();
    assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text:?}");
    let text = place.done(&["snapshots", "--forgotten"]).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["ID", "TIME", "DATASET", "UNTIL", "WHY"]);
    assert!(lines[1].starts_with(&ids[0][..8]) && lines[1].ends_with("named on the command line"), "{text}");
    let json = place.done(&["snapshots", "--forgotten", "--json"]).json();
    assert_eq!(fields(&json), ["alarms", "forgotten"]);
    let one = &json["forgotten"][0];
    assert_eq!(fields(one), ["forgotten", "id", "reason", "snapshot", "until"]);
    assert_eq!((&one["id"], &one["snapshot"]["id"]), (&ids[0].clone().into(), &ids[0].clone().into()));
    assert_ne!(one["until"], one["forgotten"]);
    // Gone for good: the record stays, and no alarm is raised.
    let gone = objects(&place, "snapshots").into_iter().find(|path| path.to_string_lossy().ends_with(&ids[0])).unwrap();
    fs::remove_file(gone).unwrap();
    let json = place.done(&["snapshots", "--forgotten", "--json"]).json();
    assert_eq!(json["forgotten"][0]["snapshot"], serde_json::Value::Null);
    place.ends(1, &["undelete", &ids[0]]).says("was forgotten").says("no longer in the repository");
    place.done(&["check"]);
}
