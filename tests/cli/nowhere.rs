//! A host on which redkeep can keep nothing: no cache and no state directory, full ones, read-only ones.

use std::fs::{self, File};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::place::{Place, Ran, run};
use crate::support::small_disk::on_a_small_disk;

/// What every command says where neither can be kept; `--quiet` hides it.
fn tells(ran: &Ran) {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.says("note: the catalog cannot be kept, and is built for this command alone (").says("--cache-dir");
    ran.says("note: this host cannot remember what it saw").says("REDKEEP_STATE_DIR");
    assert!(!ran.stderr.contains("for the first time"), "{}", ran.stderr);
}

/// All a person does in a day, with such a home.
fn a_day(place: &Place, home: &str) {
    let command = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("HOME", home);
        command
    };
    let commands: [&[&str]; 10] = [
        &["init"],
        &["backup", "data", "--dataset", "sessions"],
        &["snapshots"],
        &["timeline"],
        &["verify"],
        &["check", "--read-data"],
        &["restore", "--target", "back"],
        &["forget", "--keep-last", "1"],
        &["prune", "--grace", "0"],
        &["stats"],
    ];
    for arguments in commands {
        tells(&run(&mut command(arguments)));
    }
    let quiet = run(&mut command(&["check", "--quiet"]));
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
    let table = |directory: &str| fs::read(place.path(directory).join("modules/table.bin")).unwrap();
    assert!(table("data") == table("back"));
}

/// LOCAL-16
#[test]
fn no_home_costs_no_command() {
    a_day(&Place::new(), "/dev/null/home");
}

/// LOCAL-16
#[test]
fn a_full_home_costs_no_command() {
    on_a_small_disk("nowhere::a_full_home_costs_no_command", 1, |disk| {
        let filler = File::create(disk.join("filler")).unwrap();
        let space = statvfs(disk).unwrap();
        fallocate(&filler, FallocateFlags::empty(), 0, space.f_bavail * space.f_frsize).unwrap();
        a_day(&Place::new(), &disk.display().to_string());
    });
}

/// LOCAL-16
#[test]
fn a_read_only_home_costs_no_command() {
    on_a_small_disk("nowhere::a_read_only_home_costs_no_command", 2, |disk| {
        let remount = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(disk).status().unwrap();
        assert!(remount.success());
        a_day(&Place::new(), &disk.display().to_string());
    });
}

/// LOCAL-16: one that runs full while a command works is left as well.
#[test]
fn a_cache_that_runs_full_is_left() {
    on_a_small_disk("nowhere::a_cache_that_runs_full_is_left", 2, |disk| {
        let place = Place::with_repository();
        let cache = disk.display().to_string();
        place.ends(0, &["backup", "data", "--dataset", "sessions", "--cache-dir", &cache]);
        let filler = File::create(disk.join("filler")).unwrap();
        for left in [0, 4 << 10, 16 << 10, 64 << 10, 128 << 10, 256 << 10] {
            filler.set_len(0).unwrap();
            let space = statvfs(disk).unwrap();
            let taken = (space.f_bavail * space.f_frsize).saturating_sub(left).max(1);
            fallocate(&filler, FallocateFlags::empty(), 0, taken).unwrap();
            for number in 0..300 {
                fs::write(place.data().join(format!("modules/{left}-{number}")), format!("{left} {number}")).unwrap();
            }
            let ran = place.run(&["backup", "data", "--dataset", "sessions", "--cache-dir", &cache]);
            assert!([0, 3].contains(&ran.code), "{left}: {}", ran.stderr);
            let ran = place.run(&["check", "--cache-dir", &cache]);
            assert_eq!(ran.code, 0, "{left}: {}", ran.stderr);
        }
    });
}
