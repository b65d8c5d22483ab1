use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::place::{Place, fields, run, tree};

#[test]
fn the_files_are_those_that_were_taken() {
    let place = Place::with_snapshot();
    let text = place.done(&["restore", "--target", "back"]).text();
    assert!(text.starts_with("restored snapshot ") && text.contains(" of sessions\n"), "{text}");
    assert!(!text.contains("aside"), "{text}");
    assert_eq!(tree(&place.path("back")), tree(&place.data()));
}

/// LOCAL-20
#[test]
fn an_empty_directory_one_with_a_dataset_and_one_that_was_restored_are_replaced() {
    let place = Place::with_snapshot();
    fs::create_dir_all(place.path("back/empty")).unwrap();
    place.done(&["restore", "--target", "back"]);
    for beside in ["redis.conf", "redis.log.1", ".bash_history"] {
        fs::write(place.path("back").join(beside), "beside a dataset").unwrap();
    }
    place.done(&["restore", "--target", "back"]);
    // A server that was started in a directory of somebody's leaves a dump among all that he has.
    fs::write(place.path("back/thesis.txt"), "years of work").unwrap();
    fs::create_dir_all(place.path("back/photos/2026")).unwrap();
    place.ends(2, &["restore", "--target", "back"]).says("holds more than a dataset: photos, thesis.txt");
    fs::remove_dir_all(place.path("back/photos")).unwrap();
    fs::remove_file(place.path("back/thesis.txt")).unwrap();
    // What the snapshot puts there, without the dump.
    fs::remove_file(place.path("back/dump.rdb")).unwrap();
    place.done(&["restore", "--target", "back"]);
    fs::remove_file(place.path("back/dump.rdb")).unwrap();
    fs::write(place.path("back/thesis.txt"), "years of work").unwrap();
    place.ends(2, &["restore", "--target", "back"]).says("holds no dataset, but thesis.txt");
    assert_eq!(fs::read_to_string(place.path("back/thesis.txt")).unwrap(), "years of work");
}

/// LOCAL-20
#[test]
fn what_it_replaces_is_kept_and_the_way_back_is_told() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    fs::write(place.path("back/precious"), "x").unwrap();
    // A directory that was mistyped: it may be anything.
    for way in [&[][..], &["--dry-run"]] {
        let refused = place.ends(2, &[&["restore", "latest", "--target", "back"], way].concat());
        refused.says("/back holds no dataset, but precious").says("--replace-anything");
    }
    assert_eq!(fs::read_dir(place.path("back")).unwrap().count(), 1);
    let text = place.done(&["restore", "latest", "--target", "back", "--replace-anything"]).text();
    let aside = text.lines().find_map(|line| line.split_once("is kept in ")).unwrap().1;
    assert_eq!(fs::read_to_string(format!("{aside}/precious")).unwrap(), "x");
    assert!(text.contains(&format!("redkeep undo {}", place.arg("back"))), "{text}");
}

#[test]
fn a_dry_run_does_nothing() {
    let place = Place::with_snapshot();
    let text = place.done(&["restore", "--target", "back", "--dry-run"]).text();
    assert!(text.starts_with("would restore snapshot "), "{text}");
    assert!(!place.path("back").exists());
    fs::create_dir(place.path("back")).unwrap();
    assert!(place.done(&["restore", "--target", "back", "--dry-run"]).text().contains("would be kept"));
}

#[test]
fn as_json_it_tells_what_was_done() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    let json = place.done(&["restore", "--target", "back", "--json"]).json();
    let wanted = [
        "alarms",
        "aside",
        "begin",
        "bytes",
        "dataset",
        "doubt",
        "dry_run",
        "files",
        "left_config",
        "made_good",
        "moment",
        "notes",
        "snapshot",
        "suspects",
        "target",
        "unset",
    ];
    assert_eq!(fields(&json), wanted);
    assert_eq!((json["files"].as_u64(), json["dry_run"].as_bool()), (Some(3), Some(false)));
    assert!(json["aside"].as_str().unwrap().contains(".redkeep-aside-back-"));
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let place = Place::with_snapshot();
    let ran = place.ends(2, &["restore", "latest", "--json"]);
    ran.says("redkeep: it is not said where to restore to\nhint: name a directory with --target DIR, or a server");
    assert_eq!(ran.json()["error"]["message"], "it is not said where to restore to");
    let ran = place.ends(2, &["restore", "--server", "127.0.0.1:7901", "--dry-run", "--json"]);
    ran.says("\nhint: to name the server write it behind an equals sign: --server=127.0.0.1:7901\n");
    assert!(ran.json()["error"]["hint"].as_str().unwrap().ends_with("--server=127.0.0.1:7901"));
    place.ends(2, &["restore", "--target", "back", "--from", "memory"]);
    place.ends(2, &["restore", "--target", "back", "--from", "aof"]).says("holds no AOF");
    fs::write(place.path("file"), "").unwrap();
    place.ends(2, &["restore", "--target", "file"]).says("is not a directory");
    assert!(!place.path("back").exists());
}

/// Exit 9
#[test]
fn the_directory_of_a_running_server_is_not_touched() {
    let place = Place::with_snapshot();
    // By another name: a copy that was just written may be busy while other tests start their children.
    std::os::unix::fs::symlink("/bin/sh", place.path("redis-server")).unwrap();
    let mut server = Command::new(place.path("redis-server"));
    let server = server.args(["-c", "echo; read line"]).current_dir(place.data());
    let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let before = tree(&place.data());
    let ran = place.ends(9, &["restore", "--target", "data"]);
    ran.says("running redis-server").says("hint: redkeep restore --server and redkeep undo --server");
    place.ends(9, &["undo", "data"]);
    assert_eq!(tree(&place.data()), before);
    drop(server.stdin.take());
    server.wait().unwrap();
    place.done(&["restore", "--target", "data"]);
}

/// LOCAL-7
#[test]
fn a_directory_it_makes_belongs_to_the_owner_of_the_dump() {
    let place = Place::with_repository();
    let dump = place.data().join("dump.rdb");
    // Only root gives files away; for others the owner is the same in any case.
    let _ = chown(&dump, Some(4321), Some(8765));
    let owner = fs::metadata(&dump).unwrap();
    place.backup();
    place.done(&["restore", "--target", "back"]);
    let made = fs::metadata(place.path("back")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (owner.uid(), owner.gid(), 0o750));
    let restored = fs::metadata(place.path("back/dump.rdb")).unwrap();
    assert_eq!((restored.uid(), restored.mode(), restored.mtime()), (owner.uid(), owner.mode(), owner.mtime()));
}

/// LOCAL-7
#[test]
fn who_may_not_give_files_away_restores_them_without_special_bits_and_is_told() {
    const NOBODY: u32 = 65534;
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return; // Only root can be somebody else.
    }
    let place = Place::with_repository();
    let mode = |name: &str| fs::metadata(place.path("back").join(name)).unwrap().mode() & 0o7777;
    for (name, mode) in [("nodes.conf", 0o4755), ("dump.rdb", 0o200), ("modules/table.bin", 0)] {
        fs::set_permissions(place.data().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    place.backup();
    for entry in walkdir::WalkDir::new(place.path(".")) {
        std::os::unix::fs::lchown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let ran = run(place.command(&["restore", "--target", "back"]).uid(NOBODY).gid(NOBODY));
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    ran.says("owner 0:0 of ").says("could not be set");
    assert_eq!((mode("nodes.conf"), mode("dump.rdb"), mode("modules/table.bin"), mode("")), (0o755, 0o200, 0, 0o750));
    assert_eq!(tree(&place.path("back")), tree(&place.data()));
    // What stands there and belongs to somebody else is refused before anything is written.
    fs::create_dir(place.path("theirs")).unwrap();
    let ran = run(place.command(&["restore", "--target", "theirs"]).uid(NOBODY).gid(NOBODY));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    ran.says("cannot set the owner of").says("hint: run it as root");
    assert!(!place.path(".redkeep-staging-theirs").exists() && !place.path(".redkeep-probe-theirs").exists());
}

#[test]
fn a_target_is_found_however_it_is_written() {
    let place = Place::with_snapshot();
    fs::create_dir_all(place.path("back/below")).unwrap();
    let written = [("", "back/"), ("", "./back/."), ("back", "."), ("back", "below/.."), ("data", "../back")];
    for (directory, target) in written {
        fs::create_dir_all(place.path("back/below")).unwrap();
        let ran = run(place.command(&["restore", "--target", target]).current_dir(place.path(directory)));
        assert_eq!(ran.code, 0, "{target}: {}", ran.stderr);
        assert_eq!(tree(&place.path("back")), tree(&place.data()), "{target}");
        place.done(&["undo", "back"]);
        assert_eq!(tree(&place.path("back")), []);
    }
    place.ends(2, &["restore", "--target", "/"]).says("cannot be replaced");
    place
        .ends(2, &["restore", "--target", "no/where/back"])
        .says("no/where does not exist")
        .says("hint: make it first");
    std::os::unix::fs::symlink("back", place.path("link")).unwrap();
    place.ends(2, &["restore", "--target", "link"]).says("is a link");
}

#[test]
fn the_repository_and_what_it_is_in_are_never_replaced() {
    let place = Place::with_snapshot();
    let before = tree(&place.path("."));
    for target in [".", "repository", "repository/packs"] {
        let ran = place.ends(2, &["restore", "--target", target]);
        ran.says(if target.contains('/') { "is inside the repository" } else { "holds the repository itself" });
    }
    std::os::unix::fs::symlink("repository", place.path("link")).unwrap();
    place.ends(2, &["restore", "--target", "link/new"]).says("is inside the repository");
    fs::remove_file(place.path("link")).unwrap();
    assert_eq!(tree(&place.path(".")), before);
}

/// LOCAL-7
#[test]
fn a_mount_point_is_refused_before_anything_is_written() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    fs::write(place.path("back/precious"), "x").unwrap();
    let script = "mount --bind back back || exit 77; exec \"$0\" \"$@\"";
    let program = assert_cmd::cargo::cargo_bin("redkeep");
    let mut command = place.command(&[]);
    let environment: Vec<_> =
        command.get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect();
    command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(program).args(["restore", "--target", "back"]);
    let ran = run(command.arg("--replace-anything").envs(environment).current_dir(place.path(".")));
    if ran.code == 77 || ran.stderr.starts_with("unshare: ") {
        return; // Only root mounts, and not in every container.
    }
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    ran.says("is a mount point").says("hint: restore to a new directory");
    assert_eq!(fs::read(place.path("back/precious")).unwrap(), b"x");
    let entries = fs::read_dir(place.path(".")).unwrap();
    assert!(
        !entries.map(|entry| entry.unwrap().file_name()).any(|name| name.to_string_lossy().starts_with(".redkeep-"))
    );
}

/// Exit 5
#[test]
fn a_target_that_another_restore_works_on_is_busy() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("back")).unwrap();
    let lock = File::create(place.path(".redkeep-lock-back")).unwrap();
    lock.lock().unwrap();
    for arguments in [&["restore", "--target", "back"][..], &["undo", "back"]] {
        place.ends(5, arguments).says("another restore to ").says("hint: wait until it has ended");
    }
    drop(lock);
    place.done(&["restore", "--target", "back"]);
}

#[test]
fn a_disk_that_is_too_small_is_a_failure_and_no_wrong_usage() {
    let place = Place::with_snapshot();
    fs::create_dir(place.path("small")).unwrap();
    let script = "mount -t tmpfs -o size=1m tmpfs small || exit 77; exec \"$0\" \"$@\"";
    let program = assert_cmd::cargo::cargo_bin("redkeep");
    let place_command = place.command(&[]);
    let environment = place_command.get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(program).args(["restore", "--target", "small/back"]);
    let ran = run(command.envs(environment).current_dir(place.path(".")));
    if ran.code == 77 || ran.stderr.starts_with("unshare: ") {
        return; // Only root mounts, and not in every container.
    }
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    ran.says("B free, the snapshot needs ").says("hint: ");
}

#[test]
fn a_dump_alone_comes_without_the_directory_of_the_aof() {
    let place = Place::new();
    for directory in ["appendonlydir", "aof", "kept"] {
        fs::create_dir(place.data().join(directory)).unwrap();
    }
    let aof = |path: &str, bytes: &[u8]| fs::write(place.data().join("aof").join(path), bytes).unwrap();
    aof("appendonly.aof.1.incr.aof", b"*1\r\n$4\r\nPING\r\n");
    aof("appendonly.aof.manifest", b"file appendonly.aof.1.incr.aof seq 1 type i\n");
    place.done(&["init"]);
    place.backup();
    place.done(&["restore", "--target", "dump", "--from", "rdb"]);
    assert!(place.path("dump/dump.rdb").is_file() && place.path("dump/kept").is_dir());
    assert!(!place.path("dump/appendonlydir").exists() && !place.path("dump/aof").exists());
    place.done(&["restore", "--target", "all"]);
    assert_eq!(tree(&place.path("all")), tree(&place.data()), "without a choice all comes back");
}
