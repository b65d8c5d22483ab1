use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::configuration::{bare, write};
use crate::place::{Place, Ran, fields, run};
use crate::support::program::copy_program;

const DATA: &str = "var/lib/redis";
const CONF: &str = "etc/redis/redis.conf";

/// A place with an image of a host on which nothing is wrong.
fn place() -> Place {
    let place = Place::new();
    put(&place, "proc/sys/vm/overcommit_memory", "1\n");
    put(&place, "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    put(&place, CONF, "dir /var/lib/redis\nsave 3600 1\n");
    fs::create_dir_all(place.path("root").join(DATA)).unwrap();
    fs::copy(place.data().join("dump.rdb"), place.path("root").join(DATA).join("dump.rdb")).unwrap();
    place
}

fn put(place: &Place, path: &str, text: impl AsRef<[u8]>) {
    let path = place.path("root").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn run_in(command: &mut Command, code: i32) -> Ran {
    let ran = run(command);
    assert_eq!(ran.code, code, "{}\n{}", ran.text(), ran.stderr);
    ran
}

/// The doctor of the image, without a repository.
fn ends(place: &Place, code: i32, more: &[&str]) -> Ran {
    let root = place.arg("root");
    run_in(&mut bare(place, &[&["doctor", "--root", &root], more].concat()), code)
}

/// Severity, code and text of each finding.
fn findings(ran: &Ran) -> Vec<(String, String, String)> {
    let json = ran.json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
    let one = |finding: &serde_json::Value| {
        assert_eq!(fields(finding), ["advice", "code", "severity", "what"]);
        assert!(!text(&finding["advice"]).is_empty());
        (text(&finding["severity"]), text(&finding["code"]), text(&finding["what"]))
    };
    json["findings"].as_array().unwrap().iter().map(one).collect()
}

/// The image has exactly one thing wrong with it.
fn finds(place: &Place, severity: &str, code: &str, words: &str, more: &[&str]) {
    let found = findings(&ends(place, 3, &[&["--json"], more].concat()));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0.as_str(), found[0].1.as_str()), (severity, code), "{found:?}");
    assert!(found[0].2.contains(words), "{found:?}");
}

#[test]
fn a_host_on_which_nothing_is_wrong_ends_with_0() {
    let place = place();
    let text = ends(&place, 0, &[]).text();
    assert!(text.contains("nothing was found that will bite\n"), "{text}");
    assert!(text.contains("looked at: /var/lib/redis; settings of /etc/redis/redis.conf\n"), "{text}");
    let acl = "ACL SETUSER redkeep on >PASSWORD resetkeys resetchannels -@all +ping ";
    assert!(text.contains(acl), "{text}");
    let json = ends(&place, 0, &["--json"]).json();
    assert_eq!(fields(&json), ["acl", "acl_of_sync", "directories", "findings", "notes", "server_files", "service"]);
    assert!(json["acl"].as_str().unwrap().starts_with(acl));
    assert_eq!(json["acl_of_sync"], "ACL SETUSER redkeep +psync +replconf");
    assert!(text.contains("+psync +replconf"), "{text}");
    assert!(json["notes"][0].as_str().unwrap().contains("no repository is named"));
}

#[test]
fn settings_of_the_kernel_that_servers_suffer_from() {
    let place = place();
    put(&place, "proc/sys/vm/overcommit_memory", "0\n");
    finds(&place, "warning", "overcommit", "vm.overcommit_memory is 0", &[]);
    let text = ends(&place, 3, &[]).text();
    assert!(text.contains("warning: vm.overcommit_memory is 0") && text.contains("sysctl -w vm.overcommit"), "{text}");
    assert!(text.contains("1 finding, 0 of them serious\n"), "{text}");
    put(&place, "proc/sys/vm/overcommit_memory", "1\n");
    put(&place, "sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
    ends(&place, 0, &[]);
    put(&place, CONF, "dir /var/lib/redis\ndisable-thp no\n");
    finds(&place, "warning", "hugepages", "disable-thp no", &[]);
}

/// The server starts empty, and its next save overwrites the dump.
#[test]
fn appendonly_yes_without_aof_files_is_serious() {
    let place = place();
    put(&place, CONF, "include /etc/redis/local.conf\n");
    put(&place, "etc/redis/local.conf", "dir /var/lib/redis\nappendonly yes\nappenddirname aofs\n");
    finds(&place, "serious", "aof-missing", "has dump.rdb but no AOF", &[]);
    put(&place, "var/lib/redis/aofs/other.1.base.rdb", "");
    let codes: Vec<_> = findings(&ends(&place, 3, &["--json"])).into_iter().map(|found| found.1).collect();
    assert_eq!(codes[0], "aof-missing", "{codes:?}");
    fs::remove_dir_all(place.path("root/var/lib/redis/aofs")).unwrap();
    put(&place, "var/lib/redis/aofs/appendonly.aof.1.incr.aof", "");
    put(&place, "var/lib/redis/aofs/appendonly.aof.manifest", "file appendonly.aof.1.incr.aof seq 1 type i\n");
    let found = findings(&ends(&place, 0, &["--json"]));
    assert_eq!(found, []);
}

/// Such a server does not start again.
#[test]
fn a_manifest_that_its_own_server_cannot_read_is_serious() {
    let place = place();
    put(&place, &format!("{DATA}/appendonlydir/o'brien.aof.1.incr.aof"), "");
    let manifest = "file o'brien.aof.1.incr.aof seq 1 type i\n";
    put(&place, &format!("{DATA}/appendonlydir/o'brien.aof.manifest"), manifest);
    finds(&place, "serious", "aof-manifest-unreadable", "it will not start again", &[]);
}

#[test]
fn a_repository_inside_the_data_directory_is_told() {
    let place = place();
    let repository = place.path("root").join(DATA).join("backup").display().to_string();
    assert_eq!(run(place.command(&["init"]).env("REDKEEP_REPO", &repository)).code, 0);
    let root = place.arg("root");
    let ran = run(place.command(&["doctor", "--root", &root, "--json"]).env("REDKEEP_REPO", &repository));
    let found = findings(&ran);
    let inside = found.iter().find(|found| found.1 == "repository-inside").unwrap_or_else(|| panic!("{found:?}"));
    assert!(inside.0 == "warning" && inside.2.contains("/var/lib/redis/backup"), "{inside:?}");
}

#[test]
fn settings_that_lose_data() {
    let place = place();
    for (text, code, words) in [
        ("save \"\"\n", "no-persistence", "save \"\" and no appendonly yes"),
        ("stop-writes-on-bgsave-error no\n", "bgsave-error", "a save that fails is not noticed"),
        ("rdbchecksum no\n", "checksum", "cannot be told"),
        ("rename-command BGSAVE x\nrename-command FLUSHALL \"\"\n", "renamed", "renames BGSAVE, which"),
    ] {
        put(&place, CONF, format!("dir /var/lib/redis\n{text}"));
        finds(&place, "warning", code, words, &[]);
    }
    put(&place, CONF, "dir /var/lib/redis\nsave \"\"\nsave 60 1\n");
    ends(&place, 0, &[]);
}

#[test]
fn a_dump_that_is_cut_or_unknown_or_of_modules() {
    let place = place();
    let dump = fs::read(place.data().join("dump.rdb")).unwrap();
    put(&place, "var/lib/redis/dump.rdb", &dump[..dump.len() - 9]);
    finds(&place, "serious", "suspect", "dump.rdb is suspect", &[]);

    // An opcode that no reader knows, under a checksum that is right.
    let sealed = |body: &[u8]| {
        let checksum = crc::Crc::<u64>::new(&crc::CRC_64_REDIS).checksum(body);
        [body, &checksum.to_le_bytes()].concat()
    };
    put(&place, "var/lib/redis/dump.rdb", sealed(b"REDIS0099\xf0\x01\x02\xff"));
    finds(&place, "warning", "unsupported", "RDB version 99", &[]);

    // Auxiliary data of a module, without any: its id, when, and its end.
    let id = (0_u64..9).fold(0, |id, letter| id << 6 | letter) << 10 | 3;
    let mut body = b"REDIS0011\xf7\x81".to_vec();
    body.extend_from_slice(&id.to_be_bytes());
    body.extend_from_slice(b"\x02\x02\x00\xff");
    put(&place, "var/lib/redis/dump.rdb", sealed(&body));
    finds(&place, "warning", "modules", "ABCDEFGHI:3", &[]);
}

#[test]
fn a_dump_too_large_for_its_disk_and_one_too_large_to_be_read() {
    let place = place();
    let file = File::options().write(true).open(place.path("root/var/lib/redis/dump.rdb")).unwrap();
    file.set_len(1 << 43).unwrap();
    let found = findings(&ends(&place, 3, &["--json"]));
    assert_eq!((found.len(), found[0].1.as_str(), found[0].0.as_str()), (1, "disk", "serious"), "{found:?}");
    let text = ends(&place, 3, &[]).text();
    assert!(text.contains("dump.rdb is large and was not read: --read-data does"), "{text}");
    file.set_len(300 << 20).unwrap();
    let text = ends(&place, 0, &["--read-data"]).text();
    assert!(text.contains("bytes follow its end at 18, which no server reads"), "{text}");
    file.write_all_at(b"?", 17).unwrap();
    ends(&place, 0, &[]);
    finds(&place, "serious", "suspect", "dump.rdb", &["--read-data"]);
}

/// As another user where the tests run as root, who may read everything.
#[test]
fn a_directory_that_may_not_be_read() {
    let place = place();
    let dump = place.path("root/var/lib/redis/dump.rdb");
    let program = place.path("redkeep");
    copy_program(&assert_cmd::cargo::cargo_bin("redkeep"), &program);
    let open = |path: &std::path::Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(program.parent().unwrap(), 0o755);
    let doctor = || {
        let mut command = Command::new(&program);
        command.args(["doctor", "--root", &place.arg("root"), "--json"]).env_clear().env("HOME", place.path("home"));
        if rustix::process::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        command
    };
    open(&dump, 0o644);
    run_in(&mut doctor(), 0);
    open(&dump, 0o000);
    let found = findings(&run_in(&mut doctor(), 3));
    assert_eq!((found.len(), found[0].1.as_str()), (1, "rights"), "{found:?}");
    assert!(found[0].2.contains("no permission to open"), "{found:?}");
}

#[test]
fn files_with_passwords_that_others_can_read() {
    let place = place();
    put(&place, CONF, "dir /var/lib/redis\nrequirepass secret\naclfile /etc/redis/users.acl\n");
    put(&place, "etc/redis/users.acl", "user default on\n");
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(place.path("root").join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(CONF, 0o640);
    mode("etc/redis/users.acl", 0o640);
    ends(&place, 0, &[]);
    mode(CONF, 0o644);
    finds(&place, "warning", "secret-readable", "/etc/redis/redis.conf holds a password of the server", &[]);
    mode(CONF, 0o640);
    mode("etc/redis/users.acl", 0o646);
    finds(&place, "serious", "secret-writable", "/etc/redis/users.acl", &[]);
    mode("etc/redis/users.acl", 0o640);

    let password = write(&place.path("password"), "correct horse\n");
    let config = write(&place.path("redkeep.toml"), "password-file = \"password\"\n");
    let config = config.to_str().unwrap();
    ends(&place, 0, &["--config", config]);
    fs::set_permissions(&password, fs::Permissions::from_mode(0o604)).unwrap();
    finds(&place, "warning", "secret-readable", "/password holds a password and can be read", &["--config", config]);
    fs::remove_file(&password).unwrap();
    finds(&place, "serious", "secret-missing", "/password cannot be read", &["--config", config]);
    write(&password, "correct horse\n");
    fs::set_permissions(config, fs::Permissions::from_mode(0o666)).unwrap();
    finds(&place, "warning", "configuration", "can be written by every user", &["--config", config]);
}

fn with_repository() -> (Place, String) {
    let place = place();
    write(&place.path("password"), "correct horse\n");
    let profile = "repo = \"repository\"\npassword-file = \"password\"\n[profile.daily]\ndir = \"data\"\ndataset = \"sessions\"\n";
    let config = write(&place.path("redkeep.toml"), profile).display().to_string();
    place.done(&["init"]);
    (place, config)
}

#[test]
fn a_dataset_without_a_backup_for_too_long() {
    let (place, config) = with_repository();
    let root = place.arg("root");
    let data = place.path("root").join(DATA).display().to_string();
    let profile = ["--config", &config, "--dataset", "sessions"];
    let finds = |words: &str, more: &[&str]| finds(&place, "serious", "no-backup", words, more);
    finds("the repository holds no snapshot", &profile);
    place.done(&["backup", &data, "--dataset", "other", "-q"]);
    finds("there is no backup of sessions; the repository has other", &profile);
    place.done(&["backup", &data, "--dataset", "sessions", "-q"]);
    ends(&place, 0, &profile);
    let here = run(&mut bare(&place, &["doctor", "--dir", &data, "--config", &config, "--json"]));
    assert!(findings(&here).iter().all(|found| found.1 != "no-backup"), "whatever its dataset is called");
    run_in(
        &mut bare(&place, &["doctor", "--root", &root, "--config", &config, "--dataset", "sessions", "--max-age", "0"]),
        3,
    )
    .text()
    .find("the newest snapshot of sessions is 0 min old")
    .unwrap();
}

#[test]
fn a_profile_names_the_directory_the_dataset_and_the_repository() {
    let (place, config) = with_repository();
    place.backup();
    let mut command = bare(&place, &["doctor", "daily", "--config", &config, "--json"]);
    let ran = run(&mut command);
    let json = ran.json();
    assert_eq!(json["directories"], serde_json::json!([place.data().canonicalize().unwrap()]));
    let of_host = ["overcommit", "hugepages"];
    let found: Vec<_> = findings(&ran).into_iter().filter(|found| !of_host.contains(&found.1.as_str())).collect();
    assert_eq!(found.iter().filter(|found| found.2.contains("sessions") || found.2.contains("/data")).count(), 0);
    let ran = run(bare(&place, &["doctor", "daily", "--config", &config, "--json"]).env("REDKEEP_PASSWORD", "wrong"));
    assert!(findings(&ran).iter().any(|found| found.1 == "repository" && found.2.contains("cannot be used")));
    assert_eq!(ran.code, 3);
    run_in(&mut bare(&place, &["doctor", "weekly", "--config", &config]), 2).says("there are: daily");
}

#[test]
fn a_clock_that_is_behind() {
    let place = place();
    let dump = File::options().write(true).open(place.path("root/var/lib/redis/dump.rdb")).unwrap();
    dump.set_times(FileTimes::new().set_modified(SystemTime::now() + Duration::from_secs(86_400))).unwrap();
    finds(&place, "serious", "clock", "dump.rdb was written at a time that is to come", &[]);
}

#[test]
fn a_directory_that_is_named_is_looked_at_instead_of_those_of_servers() {
    let place = place();
    put(&place, "srv/data/dump.rdb", b"REDIS0011\xfe\x00");
    finds(&place, "serious", "suspect", "/srv/data/dump.rdb", &["--dir", "/srv/data"]);
    finds(&place, "serious", "directory", "/srv/none cannot be backed up", &["--dir", "/srv/none"]);
    put(&place, "srv/data/dump.rdb", "");
    fs::remove_file(place.path("root/srv/data/dump.rdb")).unwrap();
    put(&place, "srv/data/readme", "nothing");
    finds(&place, "warning", "no-dataset", "/srv/data has neither a dump nor an AOF", &["--dir", "/srv/data"]);
}

#[test]
fn what_restores_keep_aside_is_told_with_what_an_undo_needs() {
    let place = Place::with_snapshot();
    let target = place.arg("target");
    let restore = |target: &str| place.done(&["restore", "--target", target, "--json"]).json()["aside"].clone();
    assert!(restore(&target).is_null());
    restore(&place.arg("other target"));
    restore(&place.arg("other target"));
    let note = || {
        let ran = run(&mut bare(&place, &["doctor", "--dir", &target, "--json"]));
        let notes = ran.json()["notes"].as_array().unwrap().clone();
        notes.into_iter().find(|note| note.as_str().unwrap().contains("an undo needs"))
    };
    assert_eq!(note(), None, "what was set aside of another target");
    restore(&target);
    let only = note().unwrap().to_string();
    assert!(only.contains("kept in 1 place, ") && only.contains(" KiB: an undo needs"), "{only}");
    assert!(!only.contains("what else there is"), "{only}");
    let newest = restore(&target).as_str().unwrap().to_owned();
    let note = note().unwrap().to_string();
    assert!(note.contains("what else there is can be removed"), "{note}");
    assert!(note.contains("kept in 2 places") && note.contains(&format!("an undo needs {newest}")), "{note}");
}
