//! What of a directory is captured, as what, and what is left out.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use redkeep::format::snapshot::{FileKind, Role};
use redkeep::redis::{Capture, CaptureOptions, Content, RedisError, capture_directory};
use tempfile::TempDir;

use crate::capture::{capture, codes, fact, find, materialise_clean, of_role, paths, read};
use crate::support::equality::Fingerprint;
use crate::support::keyspace::Keyspace;
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

/// A directory of files with these paths, each with its path as content.
fn directory(paths: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for path in paths {
        let place = dir.path().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, path).unwrap();
    }
    dir
}

/// A directory with an empty AOF of this base, these increments and this history, and its manifest.
fn directory_with_aof(base: &str, increments: &[&str], history: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let aof = dir.path().join("appendonlydir");
    fs::create_dir(&aof).unwrap();
    let mut manifest = format!("file {base} seq 1 type b\n");
    for (place, name) in history.iter().enumerate() {
        manifest += &format!("file {name} seq {} type h\n", place + 1);
    }
    for (place, name) in increments.iter().enumerate() {
        manifest += &format!("file {name} seq {} type i\n", place + 1);
    }
    for name in [&[base], increments, history].concat() {
        fs::write(aof.join(name), "").unwrap();
    }
    fs::write(aof.join("appendonly.aof.manifest"), manifest).unwrap();
    dir
}

fn options(include: &[&str], exclude: &[&str]) -> CaptureOptions {
    let owned = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    CaptureOptions { include: owned(include), exclude: owned(exclude), ..CaptureOptions::default() }
}

fn chosen(dir: &TempDir, include: &[&str], exclude: &[&str]) -> Capture {
    capture_directory(dir.path(), &options(include, exclude)).unwrap()
}

#[test]
fn temporary_files_logs_pid_files_and_what_holds_no_bytes_are_left_out() {
    let dir = directory(&[
        "dump.rdb",
        "nodes.conf",
        "modules/index/a.bin",
        "redis.log",
        "redis.log.1.gz",
        "redis.pid",
        "temp-12.rdb",
        "temp-rewriteaof-12.aof",
        "nodes.conf.tmp-12-1700000000000",
        "appendonlydir/temp-appendonly.aof.manifest",
        "appendonlydir/temp-appendonly.aof.incr",
        "lost+found/x",
        ".redkeep-staging-1/dump.rdb",
        ".redkeep-aside-2/dump.rdb",
    ]);
    let _socket = UnixListener::bind(dir.path().join("redis.sock")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let captured = capture(dir.path());
    let expected = ["appendonlydir", "dump.rdb", "modules", "modules/index", "modules/index/a.bin", "nodes.conf"];
    assert_eq!(paths(&captured), expected);
    assert_eq!(codes(&captured), Vec::<&str>::new());

    let captured = chosen(&dir, &["*.log", "temp-12.rdb", "pipe"], &["modules", "redis.log.1.gz"]);
    assert_eq!(paths(&captured), ["appendonlydir", "dump.rdb", "nodes.conf", "redis.log", "temp-12.rdb"]);
    assert_eq!(find(&captured, "temp-12.rdb").role, Role::Other);
    assert_eq!(of_role(&captured, Role::Dump).path, b"dump.rdb");
    let captured = chosen(&dir, &["*.log"], &["redis.*", "**/a.bin"]);
    assert_eq!(paths(&captured), ["appendonlydir", "dump.rdb", "modules", "modules/index", "nodes.conf"]);
}

#[test]
fn owner_mode_and_time_are_kept() {
    let dir = directory(&["dump.rdb", "sub/other"]);
    let place = |path: &str| dir.path().join(path);
    fs::set_permissions(place("dump.rdb"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(place("sub"), fs::Permissions::from_mode(0o2750)).unwrap();
    let time = UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    for path in ["dump.rdb", "sub/other"] {
        File::options().write(true).open(place(path)).unwrap().set_modified(time).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        chown(place("sub/other"), Some(1), Some(3_999_999_999)).unwrap();
    }
    let captured = capture(dir.path());
    for file in &captured.files {
        let metadata = fs::metadata(place(str::from_utf8(&file.path).unwrap())).unwrap();
        assert_eq!((file.uid, file.gid, file.mode), (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777));
        assert_eq!((file.mtime, i64::from(file.mtime_nanos)), (metadata.mtime(), metadata.mtime_nsec()));
    }
    let dump = find(&captured, "dump.rdb");
    assert_eq!((dump.mode, dump.mtime, dump.mtime_nanos), (0o640, 1_600_000_000, 123_456_789));
    let sub = find(&captured, "sub");
    assert_eq!((sub.kind, sub.mode, sub.expected_size()), (FileKind::Directory, 0o2750, 0));
    if rustix::process::geteuid().is_root() {
        assert_eq!(dump.user.as_deref(), Some("root"));
        assert_eq!(
            (find(&captured, "sub/other").user.as_deref(), &find(&captured, "sub/other").group),
            (Some("daemon"), &None)
        );
    }
}

#[test]
fn links_are_kept_as_links_but_for_the_dump() {
    let elsewhere = directory(&["real.rdb", "dir/x"]);
    let dir = directory(&["nodes.conf", "sub/y"]);
    let link = |target: &Path, name: &str| symlink(target, dir.path().join(name)).unwrap();
    link(&elsewhere.path().join("real.rdb"), "dump.rdb");
    link(&elsewhere.path().join("dir"), "linked");
    link(Path::new("nodes.conf"), "alias.conf");
    link(Path::new("nowhere"), "broken.rdb");
    link(&elsewhere.path().join("real.rdb"), "sub/deep.rdb");
    let outer = tempfile::tempdir().unwrap();
    symlink(dir.path(), outer.path().join("data")).unwrap();

    let captured = capture(&outer.path().join("data"));
    assert_eq!(captured.directory, dir.path().canonicalize().unwrap());
    let expected = ["alias.conf", "broken.rdb", "dump.rdb", "linked", "nodes.conf", "sub", "sub/deep.rdb", "sub/y"];
    assert_eq!(paths(&captured), expected);
    for (path, target) in [("alias.conf", "nodes.conf"), ("broken.rdb", "nowhere")] {
        assert!(matches!(&find(&captured, path).content, Content::Link(to) if to == target.as_bytes()), "{path}");
        assert_eq!(find(&captured, path).kind, FileKind::Link);
    }
    assert_eq!(find(&captured, "linked").kind, FileKind::Link);
    assert_eq!(find(&captured, "sub/deep.rdb").kind, FileKind::Link);
    let dump = find(&captured, "dump.rdb");
    assert_eq!((dump.kind, dump.role, read(dump).0.as_slice()), (FileKind::File, Role::Dump, &b"real.rdb"[..]));
    assert_eq!(Path::new(fact(&captured, "rdb.link")), elsewhere.path().canonicalize().unwrap().join("real.rdb"));
}

#[test]
fn an_aof_directory_on_another_disk_is_captured_with_its_files() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let (dir, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(disk.path(), dir.path().join("appendonlydir")).unwrap();
    let aof = ServerOptions::with_config(&["appendonly yes"]);
    let server = RedisServer::start_with(ServerKind::Redis7, dir.path(), aof.clone());
    Keyspace::new(2, 300).fill(&server);
    let filled = Fingerprint::of(&server);
    let captured = capture(dir.path());
    assert_eq!(find(&captured, "appendonlydir").kind, FileKind::Directory);
    assert_eq!(fact(&captured, "aof.live"), "yes");
    assert_eq!(Path::new(fact(&captured, "aof.link")), disk.path().canonicalize().unwrap());
    let copy = materialise_clean(&captured);
    let restored = RedisServer::start_with(ServerKind::Redis7, copy.path(), aof);
    filled.assert_equal(&Fingerprint::of(&restored), "from a linked AOF directory");
}

#[test]
fn dump_and_single_aof_are_known_under_any_name() {
    let dir = directory(&["notes.txt"]);
    fs::write(dir.path().join("state"), b"REDIS0011\xfa\x08aof-base\xc0\x00").unwrap();
    fs::write(dir.path().join("commands"), b"*1\r\n$4\r\nPING\r\n").unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/old.rdb"), b"REDIS0011").unwrap();
    let captured = capture(dir.path());
    assert_eq!(of_role(&captured, Role::Dump).path, b"state");
    assert_eq!(of_role(&captured, Role::SingleAof).path, b"commands");
    assert_eq!(find(&captured, "sub/old.rdb").role, Role::Other);
    assert_eq!((fact(&captured, "rdb.name"), fact(&captured, "aof.name")), ("state", "commands"));
}

#[test]
fn of_several_dumps_the_usual_name_counts_and_else_the_latest_with_a_warning() {
    let dir = directory(&["dump.rdb", "backup.rdb"]);
    let captured = capture(dir.path());
    assert_eq!((of_role(&captured, Role::Dump).path.as_slice(), codes(&captured)), (&b"dump.rdb"[..], vec![]));
    assert_eq!(find(&captured, "backup.rdb").role, Role::Other);

    let dir = directory(&["one.rdb", "two.rdb"]);
    let old = UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    File::options().write(true).open(dir.path().join("two.rdb")).unwrap().set_modified(old).unwrap();
    let captured = capture(dir.path());
    assert_eq!(
        (of_role(&captured, Role::Dump).path.as_slice(), codes(&captured)),
        (&b"one.rdb"[..], vec!["several-dumps"])
    );
    // One that begins like a dump comes before a later one that does not.
    fs::write(dir.path().join("two.rdb"), b"REDIS0011\xff").unwrap();
    File::options().write(true).open(dir.path().join("two.rdb")).unwrap().set_modified(old).unwrap();
    assert_eq!(of_role(&capture(dir.path()), Role::Dump).path, b"two.rdb");
}

#[test]
fn history_and_orphans_of_an_aof_are_left_out_unless_included_and_never_named_by_the_manifest() {
    let dir = directory_with_aof("a.aof.1.base.aof", &["a.aof.7.incr.aof"], &["a.aof.6.incr.aof"]);
    let aof = dir.path().join("appendonlydir");
    fs::rename(aof.join("appendonly.aof.manifest"), aof.join("a.aof.manifest")).unwrap();
    fs::write(aof.join("a.aof.5.incr.aof"), "").unwrap();
    fs::write(aof.join("notes"), "").unwrap();
    let kept = ["appendonlydir/a.aof.1.base.aof", "appendonlydir/a.aof.7.incr.aof", "appendonlydir/a.aof.manifest"];
    let captured = capture(dir.path());
    assert_eq!(paths(&captured), [&["appendonlydir"], kept.as_slice(), &["appendonlydir/notes"]].concat());
    assert_eq!((codes(&captured), fact(&captured, "aof.orphans")), (vec![], "1"));

    let captured = chosen(&dir, &["*.incr.aof"], &[]);
    assert_eq!(find(&captured, "appendonlydir/a.aof.6.incr.aof").role, Role::History);
    assert_eq!(find(&captured, "appendonlydir/a.aof.5.incr.aof").role, Role::Other);
    let manifest = String::from_utf8(read(of_role(&captured, Role::Manifest)).0).unwrap();
    assert_eq!(manifest, "file a.aof.1.base.aof seq 1 type b\nfile a.aof.7.incr.aof seq 1 type i\n");
    fs::remove_file(aof.join("a.aof.6.incr.aof")).unwrap();
    let captured = chosen(&dir, &["a.aof.6.incr.aof"], &[]);
    assert_eq!(paths(&captured).len(), 5, "history that has gone is not missed, though it is asked for");
}

#[test]
fn a_file_that_two_manifests_name_is_captured_once() {
    let dir = directory_with_aof("appendonly.aof.1.base.aof", &["appendonly.aof.1.incr.aof"], &[]);
    let aof = dir.path().join("appendonlydir");
    fs::write(aof.join("copy.aof.manifest"), "file appendonly.aof.1.base.aof seq 1 type b\n").unwrap();
    let captured = capture(dir.path());
    assert_eq!((paths(&captured).len(), codes(&captured)), (5, vec!["several-aofs"]));
    assert_eq!(of_role(&captured, Role::Base).path, b"appendonlydir/appendonly.aof.1.base.aof");
}

#[test]
fn excluding_a_part_of_an_aof_leaves_out_all_of_it_and_says_so() {
    let names = ["appendonly.aof.1.incr.aof", "appendonly.aof.2.incr.aof"];
    let dir = directory_with_aof("appendonly.aof.1.base.aof", &names, &["appendonly.aof.9.base.aof"]);
    fs::write(dir.path().join("dump.rdb"), "").unwrap();
    for pattern in ["*.1.incr.aof", "appendonlydir/*.manifest", "*.base.aof"] {
        let captured = chosen(&dir, &[], &[pattern]);
        assert_eq!(paths(&captured), ["appendonlydir", "dump.rdb"], "{pattern}");
        assert_eq!(codes(&captured), ["aof-left-out"]);
        assert_eq!((fact(&captured, "aof.layout"), fact(&captured, "authoritative")), ("none", "rdb"));
    }
    let captured = chosen(&dir, &[], &["appendonlydir"]);
    assert_eq!((paths(&captured), codes(&captured)), (vec!["dump.rdb".to_owned()], vec!["aof-left-out"]));
    let captured = chosen(&dir, &["*.base.aof"], &["*.9.base.aof"]);
    assert_eq!((paths(&captured).len(), codes(&captured)), (6, vec![]), "history is no part of it");
}

#[test]
fn aof_files_that_no_manifest_names_are_other_files_with_a_warning() {
    let dir = directory_with_aof("appendonly.aof.1.base.aof", &["appendonly.aof.1.incr.aof"], &[]);
    let manifest = dir.path().join("appendonlydir/appendonly.aof.manifest");
    fs::write(&manifest, "file x\n").unwrap();
    let captured = capture(dir.path());
    assert_eq!(codes(&captured), ["aof-manifest-malformed"]);
    fs::remove_file(&manifest).unwrap();
    let captured = capture(dir.path());
    assert_eq!(codes(&captured), ["aof-without-manifest"]);
    assert_eq!(paths(&captured).len(), 3);
    assert!(captured.files.iter().all(|file| file.role == Role::Other));
}

#[test]
fn a_manifest_that_names_a_missing_file_is_an_error_that_names_it() {
    let dir = directory_with_aof("appendonly.aof.1.base.aof", &["appendonly.aof.1.incr.aof"], &[]);
    fs::remove_file(dir.path().join("appendonlydir/appendonly.aof.1.base.aof")).unwrap();
    let error = capture_directory(dir.path(), &CaptureOptions::default()).unwrap_err();
    assert!(
        matches!(&error, RedisError::MissingAofFile { name, .. } if name == "appendonly.aof.1.base.aof"),
        "{error}"
    );
    assert!(error.hint().is_some());
    assert_eq!(codes(&chosen(&dir, &[], &["appendonlydir"])), ["aof-left-out", "nothing-captured"]);
}

#[test]
fn what_is_no_data_directory_is_refused_or_told() {
    let dir = directory(&["file"]);
    let refused = |path: &str, problem: &str| {
        let error = capture_directory(&dir.path().join(path), &CaptureOptions::default()).unwrap_err();
        assert!(error.to_string().ends_with(problem), "{error}");
        assert!(error.hint().is_some());
    };
    refused("missing", "there is no such directory");
    refused("file", "not a directory");
    fs::create_dir(dir.path().join("empty")).unwrap();
    refused("empty", "it is empty");
    let plain = capture(dir.path());
    assert_eq!((codes(&plain), plain.facts["authoritative"].as_str()), (vec![], "none"));
    fs::write(dir.path().join("empty/redis.log"), "").unwrap();
    let only_logs = capture(&dir.path().join("empty"));
    assert_eq!((only_logs.files.len(), codes(&only_logs)), (0, vec!["nothing-captured"]));
    let error = capture_directory(dir.path(), &options(&[], &["[a"])).unwrap_err();
    assert!(matches!(error, RedisError::Pattern { .. }));
}

#[test]
fn a_file_that_may_not_be_read_is_an_error_unless_it_is_excluded() {
    // Nothing is closed to root.
    if rustix::process::geteuid().is_root() {
        return;
    }
    let dir = directory(&["dump.rdb", "lost+found/x", "secret/x"]);
    for path in ["lost+found", "secret"] {
        fs::set_permissions(dir.path().join(path), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let error = capture_directory(dir.path(), &CaptureOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("no permission to list ") && error.hint().is_some(), "{error}");
    assert_eq!(paths(&chosen(&dir, &[], &["secret"])), ["dump.rdb"]);
    fs::set_permissions(dir.path().join("dump.rdb"), fs::Permissions::from_mode(0o000)).unwrap();
    let error = capture_directory(dir.path(), &options(&[], &["secret"])).unwrap_err();
    assert!(error.to_string().starts_with("no permission to open "), "{error}");
    for path in ["lost+found", "secret"] {
        fs::set_permissions(dir.path().join(path), fs::Permissions::from_mode(0o700)).unwrap();
    }
}
