//! What a server, or a configuration file that its user can write, names leads to nothing that this user could not reach
//! himself.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use redkeep::redis::host::{Commands, Named, Stopped};
use redkeep::redis::server::{LiveOptions, Server, Watch, capture_server};
use redkeep::redis::{CaptureOptions, Content, RedisError};
use tempfile::TempDir;

use crate::support::server::{ServerKind, wait_for};

const OWNER: u32 = 61_234;
const THIRD: u32 = 61_235;

/// A place that everybody can get at, with a data directory and a configuration file in it.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::set_permissions(place.0.path(), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(place.at("data")).unwrap();
        place.give("data", OWNER, 0o750);
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn give(&self, name: &str, owner: u32, mode: u32) {
        fs::set_permissions(self.at(name), Permissions::from_mode(mode)).unwrap();
        chown(self.at(name), Some(owner), Some(owner)).unwrap();
    }

    fn write(&self, name: &str, text: &str, owner: u32, mode: u32) {
        fs::write(self.at(name), text).unwrap();
        self.give(name, owner, mode);
    }

    fn find(&self) -> Result<Stopped, RedisError> {
        let config = Some(self.at("redis.conf"));
        let program = Some(ServerKind::Redis7.executable());
        Stopped::find(&Named { config, program, ..Named::default() }, &Commands::default())
    }
}

/// Others can own what is made here only where it is root who makes it.
fn is_skipped() -> bool {
    ServerKind::Redis7.is_skipped() || !rustix::process::geteuid().is_root()
}

/// LOCAL-18
#[test]
fn a_configuration_file_leads_only_to_what_belongs_to_whoever_can_write_it() {
    if is_skipped() {
        return;
    }
    let place = Place::new();
    let text = format!("port 0\nunixsocket {}\ndir {}\n", place.at("socket").display(), place.at("data").display());
    place.write("redis.conf", &text, 0, 0o644);
    let found = place.find().unwrap();
    assert_eq!(found.owner, (OWNER, OWNER), "root's word");

    for (whose, data, config, mode) in [
        ("a third user's file", OWNER, THIRD, 0o644),
        ("a directory of root's", 0, OWNER, 0o644),
        ("a directory of a third user's", THIRD, OWNER, 0o644),
        ("everybody's file", OWNER, 0, 0o646),
    ] {
        place.give("data", data, 0o750);
        place.give("redis.conf", config, mode);
        let error = place.find().unwrap_err();
        assert!(error.to_string().contains("can be written by others than the owner"), "{whose}: {error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("chmod go-w")), "{whose}");
    }
    // A group that a directory has is no word of its owner: who else is in it is not known.
    for data in [0, OWNER] {
        place.give("data", data, 0o750);
        place.give("redis.conf", 0, 0o664);
        chown(place.at("redis.conf"), Some(0), Some(OWNER)).unwrap();
        assert!(place.find().is_err(), "a group's file and a directory of {data}");
    }
    place.give("data", OWNER, 0o750);
    place.give("redis.conf", OWNER, 0o640);
    assert_eq!(place.find().unwrap().owner.0, OWNER, "his own word of his own");

    let _socket = std::os::unix::net::UnixListener::bind(place.at("socket")).unwrap();
    let error = place.find().unwrap_err();
    assert!(error.to_string().contains("belongs to another user"), "{error}");
    place.give("socket", OWNER, 0o700);
    assert!(place.find().is_ok());

    // Through a link of his in a directory of his the same holds.
    place.write("root.conf", &text, 0, 0o600);
    fs::remove_file(place.at("redis.conf")).unwrap();
    std::os::unix::fs::symlink("root.conf", place.at("redis.conf")).unwrap();
    std::os::unix::fs::lchown(place.at("redis.conf"), Some(OWNER), Some(OWNER)).unwrap();
    assert!(place.find().is_err());
}

/// A server that is another user's process.
struct Theirs(Child);

impl Drop for Theirs {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(config: &Path, socket: &Path) -> (Theirs, Server) {
    let mut command = Command::new(ServerKind::Redis7.executable());
    command.arg(config).current_dir("/").uid(OWNER).gid(OWNER);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let address = || socket.to_str().unwrap().parse().unwrap();
    (Theirs(child), wait_for("their server", || Server::connect(&address()).ok()))
}

#[test]
fn with_its_configuration_no_file_is_captured_that_the_servers_user_may_not_read() {
    if is_skipped() {
        return;
    }
    let place = Place::new();
    let socket = place.at("data/s");
    let mut text = format!("port 0\nunixsocket {}\ndir {}\n", socket.display(), place.at("data").display());
    place.write("redis.conf", &text, OWNER, 0o600);
    place.write("secret.conf", "# precious\n", 0, 0o600);
    place.write("common.conf", "maxclients 70\n", 0, 0o644);
    rustix::fs::mknodat(rustix::fs::CWD, place.at("pipe.conf"), rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    let (_theirs, server) = start(&place.at("redis.conf"), &socket);
    for name in ["pipe.conf", "secret.conf", "common.conf"] {
        text.push_str(&format!("include {}\n", place.at(name).display()));
    }
    place.write("redis.conf", &text, OWNER, 0o600);
    let options = LiveOptions { with_config: true, ..LiveOptions::default() };
    let watch = Watch { say: &|_| {}, leaves: &|_| {}, note: &|_| {}, interrupted: &|| false };
    let capture = capture_server(server, &options, &CaptureOptions::default(), &watch).unwrap().capture;
    let paths: Vec<_> = capture.files.iter().map(|file| String::from_utf8_lossy(&file.path).into_owned()).collect();
    let has = |name: &str| paths.iter().any(|path| path.ends_with(name));
    assert!(has("redis.conf") && has("common.conf") && !has("secret.conf") && !has("pipe.conf"), "{paths:?}");
    let told = capture.warnings.iter().filter(|warning| warning.code == "configuration");
    let told: Vec<_> = told.map(|warning| String::from_utf8_lossy(&warning.path).into_owned()).collect();
    assert_eq!(told, [place.at("secret.conf").display().to_string()]);
    for file in &capture.files {
        if let Content::Bytes(bytes) = &file.content {
            assert!(!String::from_utf8_lossy(bytes).contains("precious"));
        }
    }
}
