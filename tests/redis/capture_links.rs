//! The owner of a data directory has nothing captured that is not his own. CAPTURE-6

use std::fs;
use std::os::unix::fs::{chown, lchown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use redkeep::format::snapshot::{FileKind, Role};
use redkeep::redis::server::{LiveOptions, Mode, Server, Watch, capture_server};
use redkeep::redis::{Capture, CaptureOptions, capture_directory};

use crate::capture::{capture, codes, find, of_role, read};
use crate::support::server::{RedisServer, ServerKind};

const OWNER: Option<u32> = Some(61_234);
const SECRET: &[u8] = b"REDIS0011\xfa\x08aof-base\xc0\x00 the secret of somebody else";

fn holds_secret(captured: &Capture) -> bool {
    let files = captured.files.iter().filter(|file| file.kind == FileKind::File);
    let contents = files.map(|file| read(file).0);
    contents.into_iter().any(|content| content == SECRET)
}

fn link(to: &Path, at: &Path) {
    symlink(to, at).unwrap();
    lchown(at, OWNER, OWNER).unwrap();
}

#[test]
fn a_link_is_followed_only_to_what_its_owner_owns() {
    // Nobody else can own what is made here.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (data, secret) = (dir.path().canonicalize().unwrap(), other.path().join("secret.rdb"));
    fs::write(&secret, SECRET).unwrap();
    chown(&data, OWNER, OWNER).unwrap();
    let aof = other.path().join("aof");
    fs::create_dir(&aof).unwrap();
    fs::write(aof.join("a.aof.1.base.rdb"), SECRET).unwrap();
    fs::write(aof.join("a.aof.manifest"), "file a.aof.1.base.rdb seq 1 type b\n").unwrap();
    fs::write(data.join("own"), "x").unwrap();
    link(&secret, &data.join("dump.rdb"));
    link(&aof, &data.join("appendonlydir"));
    let mine = data.join("mine");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("b.aof.manifest"), "file b.aof.1.base.rdb seq 1 type b\n").unwrap();
    link(&secret, &mine.join("b.aof.1.base.rdb"));
    for options in
        [CaptureOptions::default(), CaptureOptions { include: vec!["*".into()], ..CaptureOptions::default() }]
    {
        // A part that is a link to nobody's own is no part.
        assert!(capture_directory(&data, &options).is_err());
    }
    fs::remove_dir_all(&mine).unwrap();
    let captured = capture(&data);
    assert_eq!(codes(&captured), ["link-not-followed", "link-not-followed"]);
    assert!(["dump.rdb", "appendonlydir"].iter().all(|path| find(&captured, path).kind == FileKind::Link));
    assert!(!holds_secret(&captured));

    // What he owns himself, on another disk, is his; and what root linked is what root wants.
    chown(&secret, OWNER, OWNER).unwrap();
    assert!(holds_secret(&capture(&data)));
    chown(&secret, Some(0), Some(0)).unwrap();
    lchown(data.join("dump.rdb"), Some(0), Some(0)).unwrap();
    assert_eq!(read(of_role(&capture(&data), Role::Dump)).0, SECRET);
}

#[test]
fn a_link_on_the_way_to_the_directory_leads_only_to_what_its_owner_owns() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = other.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("dump.rdb"), SECRET).unwrap();
    chown(home.path(), OWNER, OWNER).unwrap();
    link(other.path(), &home.path().join("way"));
    let way = home.path().join("way/data");
    let refused = capture_directory(&way, &CaptureOptions::default()).unwrap_err();
    let cause = std::error::Error::source(&refused).map_or(refused.to_string(), ToString::to_string);
    assert!(cause.contains("another user"), "{refused}: {cause}");
    lchown(home.path().join("way"), Some(0), Some(0)).unwrap();
    assert!(holds_secret(&capture(&way)), "what root linked is what root wants");
}

/// Directories become links and back while they are captured.
#[test]
fn a_directory_that_becomes_a_link_meanwhile_leads_nowhere() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = dir.path().canonicalize().unwrap();
    for place in ["sub/deep", "appendonlydir"] {
        fs::create_dir_all(data.join(place)).unwrap();
        fs::create_dir_all(other.path().join(place)).unwrap();
        fs::write(other.path().join(place).join("secret.rdb"), SECRET).unwrap();
        fs::write(data.join(place).join("secret.rdb"), "nothing").unwrap();
    }
    fs::write(data.join("dump.rdb"), b"REDIS0011\xff").unwrap();
    let stop = AtomicBool::new(false);
    let (captured, taken) = thread::scope(|scope| {
        scope.spawn(|| {
            let names = ["sub", "appendonlydir"];
            for name in names {
                symlink(other.path().join(name), dir.path().join(format!("{name}.link"))).unwrap();
            }
            while !stop.load(Ordering::SeqCst) {
                for name in names {
                    let (one, other) = (data.join(name), data.join(format!("{name}.link")));
                    let exchange = rustix::fs::RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, exchange).unwrap();
                }
            }
        });
        let (mut captured, mut taken) = (0, 0);
        for _ in 0..rounds() {
            if let Ok(capture) = capture_directory(&data, &CaptureOptions::default()) {
                captured += 1;
                taken += usize::from(holds_secret(&capture));
            }
        }
        stop.store(true, Ordering::SeqCst);
        (captured, taken)
    });
    assert!(captured > 0, "it was never captured");
    assert_eq!(taken, 0, "of {captured} captures, so many hold what stands elsewhere");
}

/// LIVE-5
#[test]
fn a_dump_that_was_made_for_a_capture_is_removed_where_it_was_made_and_nowhere_else() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
    fs::create_dir(at("data")).unwrap();
    fs::create_dir(at("other")).unwrap();
    let server = RedisServer::start(ServerKind::Redis7, &at("data"));
    let connected = Server::connect(&server.url().parse().unwrap()).unwrap();
    let watch = Watch { say: &|_| {}, leaves: &|_| {}, note: &|_| {}, interrupted: &|| false };
    let captured = capture_server(connected, &LiveOptions::default(), &CaptureOptions::default(), &watch).unwrap();
    let made = captured.made.expect("a server that saves nothing by itself");
    // Hard links, so that nothing but the directory tells one from the other.
    fs::hard_link(at("data/dump.rdb"), at("other/dump.rdb")).unwrap();
    fs::rename(at("data"), at("moved")).unwrap();
    symlink("other", at("data")).unwrap();
    made.remove().unwrap();
    assert!(!at("moved/dump.rdb").exists() && at("other/dump.rdb").exists());
    // Nor is what took its place there.
    fs::write(at("moved/dump.rdb"), "another").unwrap();
    made.remove().unwrap();
    assert!(at("moved/dump.rdb").exists());
}

/// A pipe in place of a dump keeps nobody waiting: a save replaces it, and without one there is no dump.
#[test]
fn a_pipe_in_place_of_a_dump_is_no_dump_and_is_not_waited_for() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = RedisServer::start(ServerKind::Redis7, dir.path());
    let dump = dir.path().join("dump.rdb");
    rustix::fs::mknodat(rustix::fs::CWD, &dump, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    let watch = Watch { say: &|_| {}, leaves: &|_| {}, note: &|_| {}, interrupted: &|| false };
    let capture = |no_save: bool| {
        let connected = Server::connect(&server.url().parse().unwrap()).unwrap();
        let options = LiveOptions { no_save, mode: Mode::Rdb, ..LiveOptions::default() };
        capture_server(connected, &options, &CaptureOptions::default(), &watch)
    };
    let error = capture(true).unwrap_err();
    assert!(error.to_string().contains("there is no dump"), "{error}");
    assert_eq!(of_role(&capture(false).unwrap().capture, Role::Dump).path, b"dump.rdb");
}

/// How often it is tried: `REDKEEP_TEST_CAPTURES`, or few.
fn rounds() -> usize {
    std::env::var("REDKEEP_TEST_CAPTURES").map_or(600, |text| text.parse().expect("a number"))
}
