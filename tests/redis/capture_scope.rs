//! Of a live server the dataset is captured, and of no directory a place of redkeep itself or another file system.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use redkeep::format::snapshot::Role;
use redkeep::redis::server::{Mode, Server, Watch, capture_server};
use redkeep::redis::{Capture, CaptureOptions, Own, Whose, Why, capture_directory};

use crate::capture::{codes, fact, find, of_role, paths};
use crate::live::{as_backup_user, of_mode, order, redis_7};
use crate::support::server::RedisServer;
use crate::support::small_disk::on_a_small_disk;

fn captured_with(server: &RedisServer, mode: Mode, files: &CaptureOptions) -> Capture {
    let watch = Watch { say: &|_| {}, leaves: &|_| {}, note: &|_| {}, interrupted: &|| false };
    let address = as_backup_user(server);
    capture_server(Server::connect(&address).unwrap(), &of_mode(mode), files, &watch).unwrap().capture
}

fn left_out(capture: &Capture) -> Vec<(String, Why)> {
    let told = |left: &redkeep::redis::Left| (String::from_utf8(left.path.clone()).unwrap(), left.why);
    capture.left.named.iter().map(told).collect()
}

fn write(dir: &Path, paths: &[&str]) {
    for path in paths {
        let place = dir.join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, path).unwrap();
    }
}

const HOME: [&str; 6] =
    [".ssh/id_rsa", ".bash_history", "modules/index/a.bin", "modules/b.txt", "notes.txt", "redis.log"];

#[test]
fn of_a_live_server_the_dataset_is_captured_and_what_else_stands_there_is_told() {
    let Some((dir, server)) = redis_7(&[]) else { return };
    order(&server, "SET a 1");
    write(dir.path(), &HOME);
    write(dir.path(), &["nodes.conf", "nodes-6379.conf", "users.acl", "temp-12.rdb", "old.rdb"]);
    let others = [".bash_history", ".ssh", "modules", "notes.txt"].map(|path| (path.to_owned(), Why::NotOfDataset));
    let dataset = ["dump.rdb", "nodes-6379.conf", "nodes.conf", "old.rdb", "users.acl"];
    for mode in [Mode::Auto, Mode::Files] {
        let captured = captured_with(&server, mode, &CaptureOptions::default());
        assert_eq!((paths(&captured), left_out(&captured)), (dataset.map(String::from).to_vec(), others.to_vec()));
        assert_eq!((codes(&captured), captured.left.count(), fact(&captured, "capture.left-out")), (vec![], 4, "4"));
        assert_eq!(find(&captured, "old.rdb").role, Role::Other, "it is a copy of a dump, and no dataset");
    }
    let include = |patterns: &[&str]| CaptureOptions {
        include: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
        ..CaptureOptions::default()
    };
    let captured = captured_with(&server, Mode::Auto, &include(&["*.bin", "notes.txt"]));
    let taken = ["modules", "modules/index", "modules/index/a.bin", "notes.txt"];
    assert!(taken.iter().all(|path| paths(&captured).contains(&(*path).to_owned())), "{:?}", paths(&captured));
    assert!(!paths(&captured).contains(&"modules/b.txt".to_owned()));
    assert_eq!(left_out(&captured).len(), 2);

    let all = CaptureOptions { all_files: true, ..CaptureOptions::default() };
    let captured = captured_with(&server, Mode::Auto, &all);
    assert!(paths(&captured).contains(&".ssh/id_rsa".to_owned()) && captured.left.count() == 0);
    assert!(!paths(&captured).contains(&"redis.log".to_owned()), "as of a directory");
    assert_eq!(of_role(&captured, Role::Dump).path, b"dump.rdb");
}

/// As that of a server which was started by hand and works in `/`.
#[test]
fn a_server_that_works_among_thousands_of_files_is_captured_without_them() {
    let Some((dir, server)) = redis_7(&["appendonly yes"]) else { return };
    order(&server, "SET a 1");
    for number in 0..300 {
        write(dir.path(), &[&format!("file-{number}"), &format!("deep-{number}/x/y/z")]);
    }
    let captured = captured_with(&server, Mode::Auto, &CaptureOptions::default());
    assert_eq!((fact(&captured, "capture.mode"), captured.files.len()), ("aof", 4), "{:?}", paths(&captured));
    assert_eq!((captured.left.named.len(), captured.left.count(), codes(&captured)), (100, 600, vec![]));
}

fn own(dir: &Path) -> CaptureOptions {
    let own = |path: &str, whose| Own { path: dir.join(path), whose };
    let own = vec![
        own("sub/repository", Whose::Repository),
        own("home/.cache/redkeep", Whose::Cache),
        own("home/.local/state/redkeep", Whose::State),
        own("nowhere", Whose::Cache),
    ];
    CaptureOptions { own, ..CaptureOptions::default() }
}

/// CAPTURE-3
#[test]
fn a_place_of_redkeep_itself_is_never_captured_whatever_leads_there() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kept = ["home/.cache/other", "home/.cache/redkeep/x/catalog.db", "home/.local/state/redkeep/state.db"];
    write(dir.path(), &kept);
    write(dir.path(), &["dump.rdb", "sub/repository/config", "sub/repository/x.manifest", "sub/mine"]);
    symlink(dir.path().join("sub/repository"), dir.path().join("link")).unwrap();
    symlink(dir.path(), other.path().join("data")).unwrap();
    let options = own(&other.path().join("data"));
    for include in [vec![], vec!["*".to_owned()]] {
        let options = CaptureOptions { include, ..options.clone() };
        let captured = capture_directory(dir.path(), &options).unwrap();
        let expected = [
            ("link", Whose::Repository),
            ("sub/repository", Whose::Repository),
            ("home/.cache/redkeep", Whose::Cache),
            ("home/.local/state/redkeep", Whose::State),
        ];
        let expected = expected.map(|(path, whose)| (path.to_owned(), Why::Own(whose)));
        assert_eq!(left_out(&captured), expected);
        let directories = ["home", "home/.cache", "home/.local", "home/.local/state", "sub"];
        let files = ["dump.rdb", "home/.cache/other", "sub/mine"];
        let mut expected = [&directories[..], &files].concat();
        expected.sort_unstable();
        assert_eq!(
            (paths(&captured), codes(&captured)),
            (expected.iter().map(|it| (*it).to_owned()).collect(), vec![])
        );
    }
    for place in ["sub/repository", "home/.cache/redkeep/x"] {
        let refused = capture_directory(&dir.path().join(place), &options).unwrap_err();
        assert!(refused.to_string().contains("itself") || refused.to_string().contains("own"), "{refused}");
        assert!(refused.hint().is_some());
    }
}

/// CAPTURE-4
#[test]
fn another_file_system_is_not_gone_into_but_for_an_aof_and_what_is_included() {
    on_a_small_disk(
        "capture_scope::another_file_system_is_not_gone_into_but_for_an_aof_and_what_is_included",
        8,
        |disk| {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), &["dump.rdb"]);
            write(disk, &["deep/file"]);
            let mounted = dir.path().join("mounted");
            fs::create_dir(&mounted).unwrap();
            let mount = std::process::Command::new("mount").arg("--bind").arg(disk).arg(&mounted).status().unwrap();
            assert!(mount.success());
            let captured = capture_directory(dir.path(), &CaptureOptions::default()).unwrap();
            let expected = (vec!["dump.rdb".to_owned()], vec!["other-file-system"]);
            assert_eq!((paths(&captured), codes(&captured)), expected);
            assert_eq!(left_out(&captured), [("mounted".to_owned(), Why::OtherFileSystem)]);
            let chosen = |include: &[&str], exclude: &[&str]| {
                let owned = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect();
                let options =
                    CaptureOptions { include: owned(include), exclude: owned(exclude), ..CaptureOptions::default() };
                capture_directory(dir.path(), &options).unwrap()
            };
            assert_eq!(codes(&chosen(&[], &["mounted"])), Vec::<&str>::new());
            let captured = chosen(&["mounted"], &[]);
            assert_eq!(paths(&captured), ["dump.rdb", "mounted", "mounted/deep", "mounted/deep/file"]);

            write(disk, &["a.aof.1.incr.aof"]);
            fs::write(disk.join("a.aof.manifest"), "file a.aof.1.incr.aof seq 1 type i\n").unwrap();
            let captured = capture_directory(dir.path(), &CaptureOptions::default()).unwrap();
            assert_eq!(of_role(&captured, Role::Manifest).path, b"mounted/a.aof.manifest");
            drop(captured);
            assert!(std::process::Command::new("umount").arg(&mounted).status().unwrap().success());
        },
    );
}

/// CAPTURE-3
#[test]
fn another_repository_is_known_by_what_it_holds_and_taken_only_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["dump.rdb", "copies/plain/config"]);
    let hands = crate::support::repository::Hands::new(7);
    let store = crate::support::repository::local(&dir.path().join("copies/one"));
    crate::support::repository::create(store, &hands);
    let captured = capture_directory(dir.path(), &CaptureOptions::default()).unwrap();
    assert_eq!(left_out(&captured), [("copies/one".to_owned(), Why::Own(Whose::AnotherRepository))]);
    assert_eq!(paths(&captured), ["copies", "copies/plain", "copies/plain/config", "dump.rdb"]);
    let options = CaptureOptions { include: vec!["copies/one".into()], ..CaptureOptions::default() };
    let captured = capture_directory(dir.path(), &options).unwrap();
    assert!(paths(&captured).contains(&"copies/one/config".to_owned()) && left_out(&captured).is_empty());
}
