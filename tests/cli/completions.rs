use std::fs;

use crate::configuration::write;
use crate::place::{Place, run};

/// What a shell is told to offer for the last of the words; of options, only where one is begun.
fn offered(place: &Place, words: &[&str]) -> Vec<String> {
    let mut command = place.command(&[&["--", "redkeep"], words].concat());
    command.env("REDKEEP_COMPLETE", "fish").env_remove("REDKEEP_PASSWORD");
    let ran = run(&mut command);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
    let is_begun = words.last().unwrap().starts_with('-');
    let text = ran.text();
    let offered = text.lines().map(|line| line.split('\t').next().unwrap());
    offered.filter(|word| is_begun || !word.starts_with('-')).map(String::from).collect()
}

#[test]
fn every_shell_gets_a_script() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(place.done(&["completions", shell]).text().contains("REDKEEP_COMPLETE"), "{shell}");
    }
    place.ends(2, &["completions", "csh"]);
    let ran = place.ends(2, &["completions", "bash", "--json"]);
    assert_eq!(ran.json()["error"]["message"], "a script is no JSON");
}

/// Bash parts words at colons, which names of datasets hold.
#[test]
fn bash_completes_what_holds_a_colon() {
    let place = Place::with_repository();
    place.done(&["backup", "data", "--dataset", "web1:6379", "-q"]);
    place.done(&["backup", "data", "--dataset", "web1:6380", "-q"]);
    fs::write(place.path("script"), place.done(&["completions", "bash"]).text()).unwrap();
    let program = assert_cmd::cargo::cargo_bin("redkeep");
    for (words, at, word, answer) in [
        ("redkeep snapshots --dataset web1 : 63", 5, "63", "6379 6380"),
        ("redkeep snapshots --dataset web1 :", 4, "", "6379 6380"),
        ("redkeep snapshots --dataset we", 3, "we", "web1:6379 web1:6380"),
        ("redkeep snap", 1, "snap", "snapshots"),
    ] {
        let script = format!(
            "shopt -s extglob; source {}; COMP_WORDS=({words}); COMP_CWORD={at}; COMP_TYPE=9; _redkeep redkeep '{word}' x; \
             echo ${{COMPREPLY[@]}}",
            place.arg("script")
        );
        let (command, mut bash) = (place.command(&[]), std::process::Command::new("bash"));
        bash.args(["-c", &script]).envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        bash.current_dir(command.get_current_dir().unwrap());
        let path = std::env::var("PATH").unwrap();
        bash.env("PATH", format!("{}:{path}", program.parent().unwrap().display())).env_remove("REDKEEP_PASSWORD");
        let ran = run(&mut bash);
        assert_eq!(ran.text().trim(), answer, "{words}: {}", ran.stderr);
    }
}

#[test]
fn commands_and_options_are_offered() {
    let place = Place::new();
    assert_eq!(offered(&place, &["snap"]), ["snapshots"]);
    assert_eq!(offered(&place, &["snapshots", "--for"]), ["--forgotten"]);
    assert_eq!(offered(&place, &["check", "--accept"]), ["--accept-repository"], "those of all commands too");
    assert_eq!(offered(&place, &["backup", "--mode", "a"]), ["auto", "aof"]);
    assert_eq!(offered(&place, &["help", "cap"]), ["capture"]);
    assert_eq!(offered(&place, &["help", "snap"]), ["snapshots"]);
}

#[test]
fn names_of_profiles_datasets_and_snapshots_are_offered_without_a_password() {
    let place = Place::with_repository();
    let id = place.backup();
    place.done(&["backup", "data", "--dataset", "web1:6379", "-q"]);
    let gone = place.backup();
    place.done(&["forget", &gone, "-q"]);
    let text = "[profile.nightly]\ndir = \"data\"\n[profile.tail]\ndir = \"data\"\n";
    let config = write(&place.path("redkeep.toml"), text).display().to_string();
    for words in [&["run", ""][..], &["schedule", "install", ""], &["doctor", ""], &["stats", "--profile", ""]] {
        assert_eq!(offered(&place, &[&["--config", &config], words].concat()), ["nightly", "tail"], "{words:?}");
    }
    assert_eq!(offered(&place, &["snapshots", "--dataset", ""]), ["sessions", "web1:6379"]);
    assert_eq!(offered(&place, &["ls", &id[..2]]), [&id[..8]]);
    let all = offered(&place, &["restore", ""]);
    assert!(
        all.contains(&"latest".into()) && all.contains(&id[..8].into()) && !all.contains(&gone[..8].into()),
        "{all:?}"
    );
    // Nothing is known of a place that was never seen, and nothing is made there.
    let elsewhere = place.arg("elsewhere");
    assert_eq!(offered(&place, &["snapshots", "--repo", &elsewhere, "--dataset", ""]), [""; 0]);
    assert!(!place.path("elsewhere").exists());
    fs::remove_dir_all(place.path("home")).unwrap();
    assert_eq!(offered(&place, &["snapshots", "--dataset", ""]), [""; 0]);
    assert!(!place.path("home").exists());
}
