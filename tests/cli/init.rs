use std::fs;
use std::process::Stdio;
use std::time::Instant;

use redkeep::format::keys::{Argon2Cost, Slot};
use redkeep::format::sealing::HEADER;

use crate::place::{Place, fields, run, tree};

#[test]
fn it_names_the_repository_and_what_must_not_be_lost() {
    let place = Place::new();
    let text = place.done(&["init"]).text();
    assert!(text.starts_with("made repository "), "{text}");
    assert!(text.contains(&place.arg("repository")), "{text}");
    assert!(text.contains("lost every backup"), "{text}");
    assert_eq!(place.done(&["snapshots", "--json"]).json()["snapshots"], serde_json::json!([]));
}

#[test]
fn as_json_it_gives_full_ids() {
    let place = Place::new();
    let json = place.done(&["init", "--json"]).json();
    assert_eq!(fields(&json), ["location", "password_file", "recovery_key", "repository", "slot"]);
    assert_eq!(json["repository"].as_str().unwrap().len(), 32);
    assert_eq!(place.done(&["stats", "--json"]).json()["repository"], json["repository"]);
}

#[test]
fn a_second_one_at_the_same_place_fails() {
    let place = Place::with_repository();
    place.ends(1, &["init"]).says("already");
}

#[test]
fn an_empty_password_is_refused_and_makes_nothing() {
    let place = Place::new();
    std::fs::write(place.path("empty"), "\nsecond line\n").unwrap();
    place.ends(2, &["init", "--password-file", &place.arg("empty")]).says("is empty");
    place.ends(6, &["snapshots"]);
}

#[test]
fn a_directory_that_holds_anything_is_refused_and_left_as_it_is() {
    let place = Place::new();
    let before = tree(&place.data());
    let ran = place.ends(2, &["init", "--repo", "data", "--json"]);
    ran.says("data is not empty: it holds ").says("hint: name an empty or new directory instead");
    assert_eq!(ran.json()["error"]["exit_code"], 2);
    assert_eq!(tree(&place.data()), before);
    fs::create_dir_all(place.path("other/keys")).unwrap();
    fs::write(place.path("other/keys/id_rsa"), "x").unwrap();
    place.ends(2, &["init", "--repo", "other"]).says("it holds keys");
    // A repository whose config is lost is no place for another one.
    let place = Place::with_repository();
    fs::remove_file(place.repository().join("config")).unwrap();
    place.ends(2, &["init"]).says("is not empty");
    fs::write(place.path("file"), "").unwrap();
    place.ends(1, &["init", "--repo", "file"]);
}

#[test]
fn an_empty_directory_and_a_fresh_file_system_will_do() {
    let place = Place::new();
    fs::create_dir_all(place.repository().join("lost+found")).unwrap();
    place.done(&["init"]);
    place.done(&["check"]);
}

#[test]
fn one_that_was_killed_can_be_repeated() {
    let place = Place::new();
    let begin = Instant::now();
    place.done(&["init"]);
    let whole = begin.elapsed();
    for step in 0..12 {
        for name in ["repository", "home"] {
            let _ = fs::remove_dir_all(place.path(name));
        }
        let mut child = place.command(&["init", "--quiet"]).spawn().unwrap();
        std::thread::sleep(whole * step / 10);
        child.kill().unwrap();
        child.wait().unwrap();
        // A config that is there makes it a repository, which the next commands use.
        if !place.repository().join("config").exists() {
            place.done(&["init"]);
        }
        place.ends(0, &["snapshots"]);
    }
    // What a kill between its two steps leaves, for certain.
    fs::remove_dir_all(place.repository()).unwrap();
    fs::create_dir_all(place.repository().join("keys")).unwrap();
    fs::write(place.repository().join("keys").join("0".repeat(32)), "x").unwrap();
    fs::write(place.repository().join("keys/.tmp-0000000000000000"), "x").unwrap();
    fs::write(place.repository().join(".tmp-0000000000000001"), "x").unwrap();
    // The slot of a repository that never came to be.
    place.done(&["init", "--repo", "other", "-q"]);
    let slot = fs::read_dir(place.path("other/keys")).unwrap().next().unwrap().unwrap();
    let left = place.repository().join("keys").join(slot.file_name());
    fs::copy(slot.path(), &left).unwrap();
    place.ends(0, &["init", "--quiet"]);
    place.ends(0, &["check"]);
    // One that came later is named, with what takes it away.
    fs::copy(slot.path(), &left).unwrap();
    let remove = format!("key remove {}", slot.file_name().to_str().unwrap());
    assert!(place.ends(4, &["check"]).text().contains(&remove));
    place.done(&remove.split(' ').collect::<Vec<_>>());
    place.ends(0, &["check"]);
}

/// KEY-19
#[test]
fn of_several_at_once_one_makes_a_sound_repository() {
    for _ in 0..3 {
        let place = Place::new();
        let start = |_| place.command(&["init", "--quiet"]).stderr(Stdio::null()).spawn().unwrap();
        let children: Vec<_> = (0..3).map(start).collect();
        let codes = children.into_iter().map(|mut child| child.wait().unwrap().code());
        let mut codes: Vec<_> = codes.collect();
        codes.sort_unstable();
        assert_eq!(codes, [Some(0), Some(1), Some(1)]);
        assert_eq!(fs::read_dir(place.repository().join("keys")).unwrap().count(), 1);
        place.ends(0, &["check"]);
    }
}

#[test]
fn one_that_fails_leaves_no_directory_that_it_made() {
    let place = Place::new();
    fs::create_dir(place.path("mine")).unwrap();
    for repository in ["new/below/repository", "mine"] {
        let mut command = place.command(&["init", "--repo", repository]);
        let ran = run(command.env_remove("REDKEEP_PASSWORD"));
        assert_eq!(ran.code, 2, "{}", ran.stderr);
    }
    assert!(!place.path("new").exists() && place.path("mine").exists());
}

/// What the key slots of a repository say that it costs to try a password.
fn costs(repository: &std::path::Path) -> Vec<Argon2Cost> {
    let slots = fs::read_dir(repository.join("keys")).unwrap().map(|slot| fs::read(slot.unwrap().path()).unwrap());
    slots.map(|slot| Slot::decode(&slot[HEADER..]).unwrap().cost).collect()
}

/// KEY-6
#[test]
fn a_password_is_drawn_into_a_file_that_is_not_there_and_one_that_is_stays() {
    let place = Place::new();
    let bare = |words: &[&str]| crate::place::run(&mut crate::configuration::bare(&place, words));
    let text = "repo = \"repository\"\npassword-file = \"secrets/password\"\n";
    let config = crate::configuration::write(&place.path("redkeep.toml"), text).display().to_string();
    let ran = bare(&["init", "--make-password", "--config", &config]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.text().contains("The password was drawn into ") && ran.text().contains("where this host is not"));
    let path = place.path("secrets/password");
    let drawn = fs::read_to_string(&path).unwrap();
    assert!(
        drawn.len() == 65
            && drawn.trim_end().bytes().all(|digit| digit.is_ascii_hexdigit())
            && !ran.text().contains(&drawn[..64])
    );
    let mode = |path: &std::path::Path| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
    };
    assert_eq!((mode(&path), mode(&place.path("secrets"))), (0o600, 0o700));
    assert_eq!(bare(&["snapshots", "--config", &config]).code, 0);
    assert_eq!(costs(&place.path("repository")), [Argon2Cost::DRAWN]);
    // Another repository with the same file: it is not touched.
    let other = place.arg("other");
    let ran = bare(&["init", "--make-password", "--config", &config, "--repo", &other, "--json"]);
    assert_eq!((ran.code, ran.json()["password_file"].is_null()), (0, true), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), drawn);
    // Who knows what stands in a file that was there?
    assert_eq!(costs(&place.path("other")), [Argon2Cost::DEFAULT]);
    place.ends(2, &["init", "--make-password", "--repo", &place.arg("third")]).says("no password file is named");
}
