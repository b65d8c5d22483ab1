//! Snapshots of one repository in another one.

use std::fs;

use crate::place::{Place, Ran, damage_packs, fields, run, tree};

/// A place with a second repository, which has another password.
fn with_two() -> Place {
    let place = Place::with_tiny_repository();
    fs::write(place.path("safe-password"), "another secret\n").unwrap();
    fs::set_permissions(place.path("safe-password"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    place.done(&["init", "--repo", "safe", "--password-file", "safe-password"]);
    place
}

const TO: [&str; 4] = ["--to", "safe", "--to-password-file", "safe-password"];

fn copy(place: &Place, code: i32, more: &[&str]) -> Ran {
    place.ends(code, &[&["copy"], &TO[..], more].concat())
}

/// The repository with the other password.
fn there(place: &Place, code: i32, arguments: &[&str]) -> Ran {
    let of = ["--repo", "safe", "--password-file", "safe-password"];
    place.ends(code, &[arguments, &of[..]].concat())
}

/// COPY-1, COPY-2
#[test]
fn snapshots_are_copied_into_a_repository_with_another_password() {
    let place = with_two();
    let first = place.backup();
    let was = tree(&place.data());
    fs::write(place.data().join("nodes.conf"), "vars currentEpoch 1 lastVoteEpoch 1\n").unwrap();
    let second = place.backup();

    let dry = copy(&place, 0, &["--dry-run"]).text();
    assert!(dry.contains("would copy 2 snapshots into") && dry.contains("would be copied"), "{dry}");
    let json = copy(&place, 0, &["latest", "--json"]).json();
    assert_eq!(fields(&json), ["alarms", "alarms_there", "dry_run", "from", "snapshots", "to"]);
    assert_ne!(json["from"]["repository"], json["to"]["repository"]);
    let one = &json["snapshots"][0];
    let all = ["became", "begin", "bytes", "copy", "dataset", "id", "read_bytes", "stored_bytes", "why"];
    assert_eq!((fields(one), &one["became"], one["id"].as_str()), (all.to_vec(), &"copied".into(), Some(&second[..])));
    let told = copy(&place, 0, &[]);
    assert!(told.text().contains("copied 1 snapshot into") && told.text().contains("; 1 snapshot there already"));
    assert_eq!(told.stderr, "");
    assert!(copy(&place, 0, &[]).text().contains("nothing new for"));

    let copies = there(&place, 0, &["snapshots", "--json"]).json();
    let originals = place.done(&["snapshots", "--json"]).json();
    for field in
        ["dataset", "sequence", "begin", "end", "moment", "host", "directory", "tags", "files", "bytes", "keys"]
    {
        let of = |listed: &serde_json::Value| {
            let snapshots = listed["snapshots"].as_array().unwrap();
            snapshots.iter().map(|one| one[field].clone()).collect::<Vec<_>>()
        };
        match field {
            // The younger one came first.
            "sequence" => {
                assert_eq!((of(&copies), of(&originals)), (vec![3.into(), 2.into()], vec![1.into(), 2.into()]))
            }
            _ => assert_eq!(of(&copies), of(&originals), "{field}"),
        }
    }
    there(&place, 0, &["restore", "latest~1", "--target", "out"]);
    assert_eq!(tree(&place.path("out")), was);
    there(&place, 0, &["check", "--read-data"]);
    place.ends(7, &["snapshots", "--repo", "safe"]).says("wrong password");
    assert_eq!(first.len(), 32);
}

#[test]
fn what_cannot_be_meant_by_a_copy_is_refused_with_a_way_out() {
    let place = with_two();
    place.backup();
    place.ends(2, &["copy"]).says("hint: name it with --to LOCATION, or with --to-profile");
    let password = ["--to-password-file", "safe-password"];
    place.ends(6, &[&["copy", "--to", "nowhere"], &password[..]].concat()).says("no such directory");
    fs::create_dir(place.path("empty")).unwrap();
    place
        .ends(6, &[&["copy", "--to", "empty"], &password[..]].concat())
        .says("hint: make one with: redkeep init --repo");
    let own = place.repository().display().to_string();
    place.ends(2, &["copy", "--to", &own, "--to-password-command", "echo correct horse"]).says("are one repository");
    place
        .ends(7, &["copy", "--to", "safe", "--to-password-command", "echo wrong"])
        .says("it came from what --to-password-command printed");
    place.ends(2, &["copy", "--to", "safe"]).says("REDKEEP_TO_PASSWORD");
    copy(&place, 1, &["--dataset", "mistyped"]).says("no dataset is called mistyped");
    let mut by_variable = place.command(&["copy", "--to", "safe"]);
    assert_eq!(run(by_variable.env("REDKEEP_TO_PASSWORD", "another secret")).code, 0);
}

/// COPY-1
#[test]
fn a_damaged_snapshot_is_not_copied_and_ends_with_4() {
    let place = with_two();
    let id = place.backup();
    damage_packs(&place);
    let ran = copy(&place, 4, &["--json"]);
    ran.says(&format!("snapshot {} of sessions was not copied: file ", &id[..8]));
    assert_eq!(ran.json()["snapshots"][0]["became"], "damaged");
    assert_eq!(there(&place, 0, &["snapshots", "--json"]).json()["snapshots"], serde_json::json!([]));
}
