use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::configuration::write;
use crate::place::{OFFSET, Place, Ran, fields, run};

/// A place with a configuration and an image of a host.
fn place() -> Place {
    let place = Place::new();
    let text = "repo = \"repository\"\npassword-file = \"password\"\n[profile.daily]\ndir = \"data\"\n";
    write(&place.path("redkeep.toml"), text);
    fs::create_dir(place.path("root")).unwrap();
    place
}

fn ends(place: &Place, code: i32, words: &[&str]) -> Ran {
    let (root, config) = (place.arg("root"), place.arg("redkeep.toml"));
    let mut all = vec!["schedule"];
    all.extend(words);
    all.extend(["--root", &root]);
    if words[0] == "install" {
        all.extend(["--config", &config]);
    }
    place.ends(code, &all)
}

fn file(place: &Place, path: &str) -> String {
    fs::read_to_string(place.path("root").join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const CRON: &str = "etc/cron.d/redkeep-daily";
const SERVICE: &str = "etc/systemd/system/redkeep-daily.service";
const TIMER: &str = "etc/systemd/system/redkeep-daily.timer";
const LINK: &str = "etc/systemd/system/timers.target.wants/redkeep-daily.timer";

fn there(place: &Place) -> Vec<&'static str> {
    let is_there = |path: &&&str| place.path("root").join(path).symlink_metadata().is_ok();
    [CRON, SERVICE, TIMER, LINK].iter().filter(is_there).copied().collect()
}

#[test]
fn where_systemd_does_not_run_it_is_an_entry_of_cron() {
    let place = place();
    let text = ends(&place, 0, &["install", "daily", "--at", "4:05", "--user", "redis"]).text();
    assert!(text.starts_with("profile daily, by cron\n") && text.contains("every day at 04:05"), "{text}");
    assert!(text.contains(&format!("T04:05:00{OFFSET}")), "{text}");
    let entry = file(&place, CRON);
    let program = assert_cmd::cargo::cargo_bin("redkeep");
    let wanted =
        format!("5 4 * * * redis {} run daily --quiet --config {}\n", program.display(), place.arg("redkeep.toml"));
    assert!(entry.starts_with("# Written by redkeep schedule install") && entry.ends_with(&wanted), "{entry}");
    assert_eq!(there(&place), [CRON]);

    ends(&place, 0, &["install", "daily", "--every", "5m"]);
    assert!(file(&place, CRON).contains("\n*/5 * * * * "));
    ends(&place, 0, &["install", "daily", "--every", "1h"]);
    assert!(file(&place, CRON).contains("\n0 * * * * "));
    ends(&place, 2, &["install", "daily", "--every", "7m"]).says("hint: give minutes that divide an hour");
    ends(&place, 2, &["install", "daily", "--at", "24:00"]);
    ends(&place, 2, &["install", "daily", "--cron", "--systemd"]);
}

/// The command that cron hands to the shell is the one that was meant.
#[test]
fn a_per_cent_sign_in_a_path_is_escaped_for_cron_and_systemd() {
    let place = place();
    let odd = write(&place.path("50% of it/redkeep.toml"), "repo = \"r\"\nkey-file = \"k\"\n[profile.daily]\n");
    let (root, config) = (place.arg("root"), odd.to_str().unwrap().to_string());
    place.done(&["schedule", "install", "daily", "--root", &root, "--config", &config]);
    let entry = file(&place, CRON);
    let line = entry.lines().last().unwrap();
    assert!(line.ends_with("/50\\% of it/redkeep.toml'"), "{line}");
    // What is left once cron took its backslash away is run, with a program that shows its arguments.
    let command = line.splitn(7, ' ').last().unwrap().replace("\\%", "%");
    let words = format!("printf '%s|' {command}");
    let output = Command::new("/bin/sh").args(["-c", &words]).output().unwrap();
    let program = assert_cmd::cargo::cargo_bin("redkeep");
    let wanted = format!("{}|run|daily|--quiet|--config|{config}|", program.display());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted);
    let shown = place.done(&["schedule", "show", "daily", "--root", &root, "--json"]).json();
    assert!(shown["installed"][0]["command"].as_str().unwrap().ends_with("/50% of it/redkeep.toml'"), "{shown}");

    let ran = place.ends(0, &["schedule", "install", "daily", "--systemd", "--root", &root, "--config", &config]);
    assert!(file(&place, SERVICE).contains("/50%% of it/redkeep.toml\"\n"), "{}", ran.stderr);
}

#[test]
fn where_systemd_runs_it_is_a_service_and_a_timer_that_systemd_can_read() {
    let place = place();
    fs::create_dir_all(place.path("root/run/systemd/system")).unwrap();
    let ran = ends(&place, 0, &["install", "daily", "--user", "root", "--json"]);
    let json = ran.json();
    assert_eq!(
        fields(&json["installed"][0]),
        ["command", "enabled", "files", "kind", "next", "profile", "verified", "when"]
    );
    let has_verify = Command::new("systemd-analyze").arg("--version").output().is_ok();
    assert_eq!(json["installed"][0]["verified"], has_verify, "{}", ran.stderr);
    assert_eq!(json["installed"][0]["kind"], "systemd");
    assert!(json["installed"][0]["next"].as_str().unwrap().contains("T02:30:00.000"), "{json}");
    let (service, timer) = (file(&place, SERVICE), file(&place, TIMER));
    assert!(service.contains("\nType=oneshot\nExecStart=/"), "{service}");
    assert!(timer.contains("\nOnCalendar=*-*-* 02:30:00\n") && timer.contains("\nPersistent=true\n"), "{timer}");
    assert_eq!(there(&place), [SERVICE, TIMER, LINK]);
    assert_eq!(fs::read_link(place.path("root").join(LINK)).unwrap(), PathBuf::from("../redkeep-daily.timer"));

    // Cron instead: both would run it twice.
    ends(&place, 0, &["install", "daily", "--cron"]);
    assert_eq!(there(&place), [CRON]);
    ends(&place, 0, &["install", "daily", "--user", "redis"]);
    assert_eq!(there(&place), [SERVICE, TIMER, LINK]);
    assert!(file(&place, SERVICE).contains("\nUser=redis\n"));
}

#[test]
fn what_is_installed_is_shown_and_removed() {
    let place = place();
    assert_eq!(ends(&place, 0, &["show"]).text(), "no profile is scheduled\n");
    assert_eq!(ends(&place, 0, &["show", "daily"]).text(), "profile daily is not scheduled\n");
    assert_eq!(ends(&place, 0, &["show", "--json"]).json()["installed"], serde_json::json!([]));
    ends(&place, 0, &["install", "daily", "--every", "6h"]);
    let text = ends(&place, 0, &["show"]).text();
    assert!(text.contains("profile daily, by cron\n") && text.contains("every 6 hours"), "{text}");
    let removed = ends(&place, 0, &["remove", "daily", "--json"]).json();
    assert_eq!(removed["removed"], serde_json::json!([place.path("root").join(CRON)]));
    assert_eq!(ends(&place, 0, &["remove", "daily"]).text(), "profile daily was not scheduled\n");

    ends(&place, 0, &["install", "daily", "--systemd"]);
    fs::remove_file(place.path("root").join(LINK)).unwrap();
    assert!(ends(&place, 0, &["show", "daily"]).text().contains("never: the timer is not enabled"));
    ends(&place, 0, &["remove", "daily"]);
    assert!(there(&place).is_empty());
}

#[test]
fn an_entry_that_was_changed_by_hand_is_shown_as_such() {
    let place = place();
    ends(&place, 0, &["install", "daily"]);
    let path = place.path("root").join(CRON);
    fs::write(&path, file(&place, CRON).replace("30 2 * * *", "30 2 1 * *")).unwrap();
    let json = ends(&place, 0, &["show", "daily", "--json"]).json();
    assert!(json["installed"][0]["when"].is_null() && json["installed"][0]["next"].is_null(), "{json}");
    assert!(ends(&place, 0, &["show"]).text().contains("changed by hand"));
}

#[test]
fn a_file_that_redkeep_did_not_write_is_neither_replaced_nor_removed() {
    for path in [CRON, SERVICE] {
        let place = place();
        let foreign = write(&place.path("root").join(path), "# mine\n");
        let kind = if path == CRON { "--cron" } else { "--systemd" };
        ends(&place, 2, &["install", "daily", kind]).says("was not written by redkeep");
        ends(&place, 2, &["remove", "daily"]).says("was not written by redkeep");
        assert_eq!(fs::read_to_string(foreign).unwrap(), "# mine\n");
        assert_eq!(there(&place), [path]);
    }
}

#[test]
fn what_a_run_from_cron_would_lack_is_a_warning() {
    let place = place();
    write(&place.path("redkeep.toml"), "[profile.daily]\n");
    let ran = ends(&place, 3, &["install", "daily"]);
    ran.says("warning: the configuration names no repo,").says("names no password-file, password-command or key-file");
    assert_eq!(there(&place), [CRON]);
    ends(&place, 2, &["install", "weekly"]).says("there are: daily");
    ends(&place, 2, &["install", "../daily"]);
    ends(&place, 2, &["install", "daily", "--user", "a b"]);
    let root = place.arg("root");
    let ran = run(&mut place.command(&["schedule", "install", "daily", "--root", &root]));
    assert_eq!(ran.code, 2, "without a configuration there is no profile: {}", ran.stderr);
}

/// What cron starts has no XDG_CONFIG_HOME, and perhaps no HOME.
#[test]
fn a_profile_of_the_users_own_configuration_is_named_by_its_file() {
    let place = Place::new();
    fs::create_dir(place.path("root")).unwrap();
    let text = "repo = \"repository\"\npassword-file = \"password\"\n[profile.daily]\ndir = \"data\"\n";
    let own = write(&place.path("home/.config/redkeep/config.toml"), text);
    let xdg = write(&place.path("xdg/redkeep/config.toml"), text);
    let root = place.arg("root");
    let install = ["schedule", "install", "daily", "--root", &root];
    let ends = |command: &mut Command, path: &PathBuf| {
        let ran = run(command);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let wanted = format!(" run daily --quiet --config {}\n", path.display());
        assert!(file(&place, CRON).ends_with(&wanted), "{}", file(&place, CRON));
    };
    ends(&mut place.command(&install), &own);
    ends(place.command(&install).env("XDG_CONFIG_HOME", place.path("xdg")), &xdg);
    place.ends(3, &[&install[..], &["--user", "redis"]].concat()).says("see to it that redis may read your own");
    assert!(file(&place, CRON).contains("--config"));
}

#[test]
fn a_time_of_day_is_for_what_runs_once_a_day() {
    let place = place();
    ends(&place, 2, &["install", "daily", "--every", "5m", "--at", "02:30"]).says("hint: give one of the two");
    ends(&place, 2, &["install", "daily", "--every", "6h", "--at", "02:30"]);
    assert!(there(&place).is_empty());
    ends(&place, 0, &["install", "daily", "--every", "1d", "--at", "04:05"]);
    assert!(file(&place, CRON).contains("\n5 4 * * * "));
    ends(&place, 0, &["install", "daily"]);
    assert!(file(&place, CRON).contains("\n30 2 * * * "));
}
