//! A second copy of snapshots, and of a repository.

use std::fs;
use std::process::Command;

use crate::place::{Place, Ran, damage_packs, fields, objects, run, tree};
use crate::support::services::Service;

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
    place.ends(6, &[&["copy", "--to", "empty"], &password[..]].concat()).says("make one with: redkeep init --repo ");
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

/// After a backup, and after one that failed as well.
#[test]
fn a_run_keeps_second_copies_where_other_profiles_say() {
    let place = with_two();
    let profiles = "[profile.daily]\ndir = \"data\"\ndataset = \"sessions\"\ncopy-to = \"safe\"\nmirror-to = \"second\"\n\
                    [profile.safe]\nrepo = \"safe\"\npassword-file = \"safe-password\"\n\
                    [profile.second]\nrepo = \"second\"\n[profile.wrong]\ndir = \"data\"\nmirror-to = \"nowhere\"\n";
    fs::write(place.path("redkeep.toml"), profiles).unwrap();
    let by = |code: i32, arguments: &[&str]| place.ends(code, &[arguments, &["--config", "redkeep.toml"]].concat());
    let dry = by(0, &["run", "daily", "--dry-run"]).text();
    assert!(dry.contains("copy: copy what is new of sessions to ") && dry.contains("mirror: send what is new to "));
    assert!(!place.path("second").exists(), "nothing was done");
    let ran = by(0, &["run", "daily", "--json"]).json();
    let names: Vec<_> = ran["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
    assert_eq!(names, ["backup", "copy", "mirror"]);
    assert_eq!(ran["steps"][1]["result"]["snapshots"][0]["id"], ran["snapshot"]);
    assert!(ran["summary"].as_str().unwrap().contains("; copied 1 snapshot; mirrored "), "{ran}");
    let ids = |json: serde_json::Value| json["snapshots"].as_array().unwrap().len();
    assert_eq!(ids(there(&place, 0, &["snapshots", "--json"]).json()), 1);
    assert_eq!(ids(place.ends(0, &["snapshots", "--repo", "second", "--json"]).json()), 1);

    // What no run copied is copied by one that takes no snapshot.
    place.backup();
    fs::rename(place.data(), place.path("elsewhere")).unwrap();
    let failed = by(1, &["run", "daily"]).text();
    assert!(failed.contains("copied 1 snapshot; mirrored "), "{failed}");
    assert_eq!(ids(there(&place, 0, &["snapshots", "--json"]).json()), 2);
    fs::rename(place.path("elsewhere"), place.data()).unwrap();
    by(2, &["run", "wrong"]).says("mirror-to: no profile is called nowhere");
    by(2, &["schedule", "install", "wrong", "--root", "image"]).says("mirror-to: no profile is called nowhere");
}

#[test]
fn a_profile_says_where_the_second_copy_is() {
    let place = with_two();
    place.backup();
    let profiles =
        "[profile.safe]\nrepo = \"safe\"\npassword-file = \"safe-password\"\n[profile.second]\nrepo = \"second\"\n";
    fs::write(place.path("redkeep.toml"), profiles).unwrap();
    let by = |code: i32, arguments: &[&str]| place.ends(code, &[arguments, &["--config", "redkeep.toml"]].concat());
    assert!(by(0, &["copy", "--to-profile", "safe"]).text().contains("copied 1 snapshot"));
    assert!(by(0, &["mirror", "--to-profile", "second"]).text().contains("sent "));
    place.ends(0, &["check", "--repo", "second"]);
    by(2, &["copy", "--to-profile", "mistyped"]).says("no profile is called mistyped");
}

/// MIRROR-1, MIRROR-5
#[test]
fn a_mirror_is_made_without_a_password_and_opened_with_the_same() {
    let place = Place::with_snapshot();
    let mirror = |code: i32, more: &[&str]| {
        let mut command = place.command(&[&["mirror", "second"], more].concat());
        let ran = run(command.env_remove("REDKEEP_PASSWORD"));
        assert_eq!(ran.code, code, "{more:?}: {}\n{}", ran.text(), ran.stderr);
        ran
    };
    let dry = mirror(0, &["--dry-run"]).text();
    assert!(dry.contains("would send ") && !place.path("second").exists(), "{dry}");
    let json = mirror(0, &["--json"]).json();
    let all = [
        "damaged",
        "deleted",
        "dry_run",
        "from",
        "left",
        "mended",
        "new",
        "repository",
        "sent",
        "there",
        "to",
        "waiting",
    ];
    assert_eq!((fields(&json), &json["new"]), (all.to_vec(), &true.into()));
    assert!(dry.contains(&format!("would send {} objects", json["sent"]["objects"])), "{dry} {json}");
    let again = mirror(0, &[]);
    assert!(again.text().contains("sent 0 objects") && again.stderr.is_empty(), "{again:?}");
    place.ends(0, &["check", "--read-data", "--repo", "second"]);
    let of = |repository: &str| place.done(&["snapshots", "--json", "--repo", repository]).json()["snapshots"].clone();
    assert_eq!(of("second"), of("repository"));

    // What the source no longer has, a slot among it, goes when it is asked to.
    let slots = || objects(&place, "keys");
    let before = slots();
    place.ends(0, &["key", "add", "--new-password-file", "data/nodes.conf"]);
    mirror(0, &[]);
    let new = slots().into_iter().find(|slot| !before.contains(slot)).unwrap();
    let other = new.file_name().unwrap().to_str().unwrap().to_owned();
    place.ends(0, &["key", "remove", &other]);
    mirror(0, &[]).says("1 object there").says("--delete");
    assert!(mirror(0, &["--delete"]).text().contains("deleted 1 object"));
    assert!(!place.path("second/keys").join(&other).exists());

    damage_packs(&place);
    let ran = mirror(0, &["--verify"]);
    assert_eq!(ran.stderr, "", "what is there already is whole, whatever became of the source");
    place.done(&["verify", "latest", "--repo", "second"]);
    fs::remove_dir_all(place.path("second/packs")).unwrap();
    mirror(4, &[]).says("was not sent: its bytes do not match its hash");
    place.ends(2, &["mirror"]).says("hint: name it with LOCATION");
    fs::create_dir(place.path("used")).unwrap();
    fs::write(place.path("used/notes.txt"), "mine").unwrap();
    place.ends(2, &["mirror", "used"]).says("is not empty: it holds notes.txt");
    place.ends(6, &["mirror", "second", "--repo", "used"]).says("no repository");
    place.ends(3, &["backup", "data", "--repo", "second", "--dataset", "other"]).says("packs are missing");
    mirror(2, &[]).says("written to by backups or prunes");
}

/// LOCAL-38
#[test]
fn a_mirror_that_is_behind_is_not_damaged_and_one_that_loses_what_it_had_is() {
    let place = Place::with_snapshot();
    let mirror = || place.ends(0, &["mirror", "second"]);
    let check = |code: i32, more: &[&str]| place.ends(code, &[&["check", "--repo", "second"], more].concat());
    let newest = |repository: &str| {
        let json = place.command(&["snapshots", "--json", "--repo", repository]).output().unwrap().stdout;
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        json["snapshots"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned()
    };
    let remove = |repository: &str, id: &str| {
        let folder = place.path(repository).join("snapshots");
        let all = tree(&folder);
        let (name, _) = all.iter().find(|(name, _)| name.to_string_lossy().ends_with(id)).unwrap();
        fs::remove_file(folder.join(name)).unwrap();
    };
    mirror();
    check(0, &[]);
    fs::write(place.data().join("nodes.conf"), "changed").unwrap();
    place.done(&["backup", "data", "--dataset", "sessions"]);
    let second = newest("repository");
    let ran = check(3, &["--json"]);
    ran.says("it is not here: this host has seen it in ").says("redkeep mirror");
    let json = ran.json();
    assert_eq!((&json["sound"], json["damage"].as_array().unwrap().len()), (&true.into(), 0), "{json}");
    assert!(json["elsewhere"][0]["object"].as_str().unwrap().ends_with(&second), "{json}");
    place.ends(3, &["snapshots", "--repo", "second"]).says("is not here");
    place.ends(4, &["restore", "latest", "--repo", "second", "--target", "back"]).says("is not here");
    assert!(!place.path("back").exists(), "what is older is not taken for the latest");
    place
        .ends(4, &["forget", "--dataset", "sessions", "--keep-last", "1", "--repo", "second"])
        .says("nothing is forgotten");
    place.ends(4, &["prune", "--repo", "second"]).says("nothing was deleted").says("is not here");

    // It is a mirror still. What it had, and what the source has again, is missed wherever it goes.
    let first = newest("second");
    mirror();
    check(0, &[]);
    remove("second", &second);
    let misses = |ran: &Ran| assert!(ran.text().contains("is missing"), "{}", ran.text());
    misses(&check(4, &[]));
    mirror();
    fs::write(place.data().join("nodes.conf"), "changed again").unwrap();
    place.done(&["backup", "data", "--dataset", "sessions"]);
    remove("second", &second);
    misses(check(4, &[]).says("is not here"));
    remove("second", &first);
    remove("repository", &newest("repository"));
    misses(&place.ends(4, &["check"]));
}

/// Both ways to a second copy, from a disk over one service to another.
#[test]
fn second_copies_go_from_a_disk_to_seaweedfs_and_on_to_swift() {
    if Service::Seaweed.is_skipped() || Service::Swift.is_skipped() {
        return;
    }
    let place = Place::with_snapshot();
    let far = |arguments: &[&str], code: i32| {
        let mut command: Command = place.command(arguments);
        command.envs(Service::Seaweed.variables()).envs(Service::Swift.variables());
        let ran = run(command.env("REDKEEP_TO_PASSWORD", "another secret"));
        assert_eq!(ran.code, code, "{arguments:?}: {}\n{}", ran.text(), ran.stderr);
        ran
    };
    let (s3, swift) = (Service::Seaweed.location(), Service::Swift.location());
    far(&["mirror", &s3], 0);
    assert!(far(&["mirror", &s3], 0).text().contains("sent 0 objects"));
    far(&["check", "--read-data", "--repo", &s3], 0);
    // In there everything is young by the time its service may take to show it.
    fs::write(place.path("redkeep.toml"), "[profile.now]\nlag = \"1ms\"\n").unwrap();
    let now = ["--config", "redkeep.toml", "--profile", "now"];
    far(&[&["mirror", &swift, "--repo", &s3, "--json"], &now[..]].concat(), 0);
    far(&["check", "--read-data", "--repo", &swift], 0);
    far(&["restore", "latest", "--target", "out", "--repo", &swift], 0);
    assert_eq!(tree(&place.path("out")), tree(&place.data()));
    let waits = far(&["mirror", "third", "--repo", &s3, "--json"], 0).json();
    assert_eq!(waits["waiting"], 1);

    let (s3, swift) = (Service::Seaweed.location(), Service::Swift.location());
    fs::write(place.path("safe-password"), "another secret").unwrap();
    for location in [&s3, &swift] {
        far(&["init", "--repo", location, "--password-command", "cat safe-password"], 0);
    }
    assert!(far(&["copy", "--to", &s3], 0).text().contains("copied 1 snapshot"));
    let onwards = ["copy", "--repo", &s3, "--password-command", "cat safe-password", "--to", &swift];
    assert!(far(&onwards, 0).text().contains("copied 1 snapshot"));
    assert!(far(&["copy", "--to", &swift], 0).text().contains("nothing new"), "it has the same origin");
    let of = ["--repo", &swift, "--password-command", "cat safe-password"];
    far(&[&["restore", "latest", "--target", "again"], &of[..]].concat(), 0);
    assert_eq!(tree(&place.path("again")), tree(&place.data()));
}

/// STORE-8: two services that are reached by the same variables, the second by a profile that has its own.
#[test]
fn snapshots_are_copied_from_one_s3_service_to_another() {
    if Service::Seaweed.is_skipped() || Service::S3Api.is_skipped() {
        return;
    }
    let place = Place::new();
    let run_with = |service: Service, arguments: &[&str]| {
        let mut command: Command = place.command(arguments);
        let ran = run(command.envs(service.variables()).env("REDKEEP_TO_PASSWORD", "another secret"));
        assert_eq!(ran.code, 0, "{arguments:?}: {}\n{}", ran.text(), ran.stderr);
        ran
    };
    let (from, to) = (Service::Seaweed.location(), Service::S3Api.location());
    fs::write(place.path("safe-password"), "another secret").unwrap();
    let there = ["--repo", &to, "--password-command", "cat safe-password"];
    run_with(Service::S3Api, &[&["init"], &there[..]].concat());
    run_with(Service::Seaweed, &["init", "--repo", &from]);
    for epoch in 0..3 {
        fs::write(place.data().join("nodes.conf"), format!("vars currentEpoch {epoch} lastVoteEpoch 1\n")).unwrap();
        run_with(Service::Seaweed, &["backup", "data", "--dataset", "d", "--repo", &from]);
    }
    let variables = Service::S3Api.variables();
    let value = |name: &str| &variables.iter().find(|(n, _)| *n == name).unwrap().1;
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| format!("{name}={}\n", value(name)));
    fs::write(place.path("credentials"), keys.concat()).unwrap();
    fs::set_permissions(place.path("credentials"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let settings = format!(
        "[profile.there]\nrepo = \"{to}\"\nendpoint = \"{}\"\nregion = \"us-east-1\"\npath-style = true\n\
         credentials-file = \"credentials\"\n",
        value("AWS_ENDPOINT_URL")
    );
    fs::write(place.path("redkeep.toml"), settings).unwrap();
    let copy = ["copy", "--repo", &from, "--config", "redkeep.toml", "--to-profile", "there"];
    assert!(run_with(Service::Seaweed, &copy).text().contains("copied 3 snapshots"));
    assert!(run_with(Service::Seaweed, &copy).text().contains("nothing new"));
    run_with(Service::S3Api, &[&["check", "--read-data"], &there[..]].concat());
    run_with(Service::S3Api, &[&["restore", "latest", "--target", "out"], &there[..]].concat());
    assert_eq!(tree(&place.path("out")), tree(&place.data()));
}
