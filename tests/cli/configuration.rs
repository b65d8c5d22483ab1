//! The configuration file, as every command uses it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::place::{Place, run};

/// A configuration, readable by its owner only.
pub fn write(path: &Path, text: &str) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.into()
}

/// The program with nothing in its environment about the repository.
pub fn bare(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    command.env_remove("REDKEEP_REPO").env_remove("REDKEEP_PASSWORD");
    command
}

fn with_password(place: &Place) -> PathBuf {
    write(&place.path("password"), "correct horse\n")
}

#[test]
fn it_says_where_the_repository_is_and_how_it_opens_and_options_come_first() {
    let place = Place::with_snapshot();
    with_password(&place);
    let text = "repo = \"repository\"\npassword-file = \"password\"\n[profile.other]\nrepo = \"elsewhere\"\n";
    let path = write(&place.path("redkeep.toml"), text);
    let config = path.to_str().unwrap();
    let ends = |code: i32, command: &mut Command| {
        let ran = run(command);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        ran
    };
    assert!(ends(0, &mut bare(&place, &["stats", "--config", config])).text().contains("sessions"));
    ends(0, bare(&place, &["stats"]).env("REDKEEP_CONFIG", config));
    ends(6, &mut bare(&place, &["stats", "--config", config, "--profile", "other"])).says("elsewhere");
    ends(6, bare(&place, &["stats", "--config", config]).env("REDKEEP_PROFILE", "other")).says("elsewhere");
    let repository = place.arg("repository");
    ends(0, &mut bare(&place, &["stats", "--config", config, "--profile", "other", "--repo", &repository]));
    ends(0, bare(&place, &["stats", "--config", config, "--profile", "other"]).env("REDKEEP_REPO", &repository));
    ends(7, bare(&place, &["stats", "--config", config]).env("REDKEEP_PASSWORD", "wrong"));
    ends(2, &mut bare(&place, &["stats", "--config", config, "--profile", "none"])).says("there are: other");
    ends(2, &mut bare(&place, &["stats", "--config", "missing.toml"])).says("no configuration file at missing.toml");
    // What needs no repository needs no configuration either.
    ends(0, &mut bare(&place, &["completions", "bash", "--config", "missing.toml"]));
}

#[test]
fn the_users_own_file_is_found_by_the_xdg_rules() {
    let place = Place::with_snapshot();
    with_password(&place);
    let text = format!("repo = \"{}\"\npassword-file = \"{}\"\n", place.arg("repository"), place.arg("password"));
    write(&place.path("home/.config/redkeep/config.toml"), &text);
    assert_eq!(run(&mut bare(&place, &["snapshots"])).code, 0);
    let cache = format!("{text}cache-dir = \"cache\"\n");
    write(&place.path("xdg/redkeep/config.toml"), &cache);
    assert_eq!(run(bare(&place, &["snapshots"]).env("XDG_CONFIG_HOME", place.path("xdg"))).code, 0);
    assert!(place.path("xdg/redkeep/cache").is_dir(), "a path is relative to the file");
}

#[test]
fn a_mistake_is_refused_with_its_file_and_line() {
    let place = Place::with_repository();
    let path = write(&place.path("redkeep.toml"), "repo = \"repository\"\n\n[profile.daily]\nkeep-dayly = 14\n");
    let ran = place.ends(2, &["snapshots", "--config", path.to_str().unwrap(), "--json"]);
    ran.says("redkeep.toml:4:1: unknown field `keep-dayly`; is keep-daily meant?")
        .says("hint: each key is explained by");
    assert_eq!(ran.json()["error"]["exit_code"], 2);
}

#[test]
fn one_that_others_can_read_is_warned_about_where_it_holds_a_password() {
    let place = Place::with_snapshot();
    let text = "[profile.daily]\nredis = \"redis://redkeep:secret@localhost\"\n";
    let path = write(&place.path("redkeep.toml"), text);
    let config = path.to_str().unwrap();
    assert_eq!(place.ends(0, &["snapshots", "--config", config]).stderr, "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = place.ends(0, &["snapshots", "--config", config]);
    ran.says("redkeep.toml holds a password and can be read by every user of this host");
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
}

#[test]
fn one_in_the_directory_of_another_user_can_be_replaced_by_him() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::with_snapshot();
    let path = write(&place.path("his/redkeep.toml"), "");
    std::os::unix::fs::chown(place.path("his"), Some(65534), None).unwrap();
    let ran = place.ends(0, &["snapshots", "--config", path.to_str().unwrap()]);
    ran.says("redkeep.toml can be replaced by the user nobody, who owns ").says("who can so run commands as you");
    ran.says("; move it into a directory that belongs to root or to you");
    std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
    let ran = place.ends(0, &["snapshots", "--config", path.to_str().unwrap()]);
    ran.says(&format!(
        "can be written by the user nobody, who can so run commands as you; change that with: chown root {}",
        path.display()
    ));
}

#[test]
fn what_is_no_file_is_not_called_writable_by_everybody() {
    let place = Place::with_snapshot();
    place.done(&["snapshots", "--config", "/dev/null"]);
}

/// A job that became another user and has still the HOME of the first one.
#[test]
fn a_home_that_may_not_be_entered_stops_nothing_that_needs_nothing_of_it() {
    let place = Place::with_snapshot();
    let home = place.path("locked");
    write(&home.join(".config/redkeep/config.toml"), "repo = \"elsewhere\"\n");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = place.command(&["snapshots"]);
    command.env("HOME", &home);
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(place.path("."), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Command::new("chown").args(["-R", "65534"]).arg(place.repository()).status().unwrap().success());
        command.uid(65534).gid(65534);
    }
    let ran = run(&mut command);
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.says("config.toml cannot be read by this user: passed over").says("note: the catalog cannot be kept");
}
