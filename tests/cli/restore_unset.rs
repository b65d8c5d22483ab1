//! Where the target's file system refuses modes, times or owners, as one without them does: the files are restored, and what
//! could not be set is told.
//!
//! strace fails the calls of the real program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::place::{Place, Ran, run, tree};

const MODES: &str = "chmod,fchmod,fchmodat";
const TIMES: &str = "utime,utimes,futimesat,utimensat";
const OWNERS: &str = "chown,fchown,lchown,fchownat";

/// Runs redkeep, for which each of these calls ends with the error.
fn refused(place: &Place, calls: &str, error: &str, arguments: &[&str]) -> Ran {
    let log = place.path("strace.log");
    let plain = place.command(arguments);
    let mut command = Command::new("strace");
    command.arg("-f").arg("-o").arg(&log).args(["-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:error={error}")]);
    command.arg(plain.get_program()).args(plain.get_args());
    if let Some(directory) = plain.get_current_dir() {
        command.current_dir(directory);
    }
    command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = run(&mut command);
    assert!(fs::read_to_string(log).unwrap().contains("(INJECTED)"), "{calls} were never called");
    ran
}

#[test]
fn modes_times_and_owners_that_cannot_be_set_are_told_and_the_files_are_restored() {
    if std::env::var("REDKEEP_TEST_SKIP").is_ok_and(|parts| parts.split(',').any(|part| part == "strace")) {
        return;
    }
    let place = Place::with_repository();
    fs::set_permissions(place.data().join("dump.rdb"), fs::Permissions::from_mode(0o604)).unwrap();
    std::os::unix::fs::symlink("modules", place.data().join("link")).unwrap();
    place.run(&["backup", "data", "--dataset", "sessions"]);
    let all = [MODES, TIMES, OWNERS].join(",");
    for (calls, words) in [
        (MODES, &["the mode of "][..]),
        (TIMES, &["the time of "]),
        (OWNERS, &["owner "]),
        (&all, &["the mode of ", "the time of ", "owner "]),
    ] {
        for error in ["EPERM", "EOPNOTSUPP"] {
            let ran = refused(&place, calls, error, &["restore", "--target", "back", "--json"]);
            assert_eq!(ran.code, 3, "{calls} {error}: {}", ran.stderr);
            for word in words {
                assert!(ran.stderr.contains(word) && ran.stderr.contains(" could not be set: "), "{}", ran.stderr);
            }
            assert_eq!(ran.json()["unset"].as_array().unwrap().len(), words.len(), "{}", ran.text());
            assert!(tree(&place.path("back")) == tree(&place.data()), "{calls} {error}");
            // What was not set is nobody else's to read.
            let mode = fs::metadata(place.path("back/dump.rdb")).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, if calls.contains("chmod") { 0o600 } else { 0o604 }, "{calls}");
            fs::remove_dir_all(place.path("back")).unwrap();
        }
    }
}
