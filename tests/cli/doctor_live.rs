//! The doctor looks at the live server that a backup would take, at no other, and raises no false alarm.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use crate::configuration::{bare, write};
use crate::place::{Place, Ran, run};
use crate::support::server::{RedisServer, ServerKind, ServerOptions};
use crate::support::small_disk::on_a_small_disk;

/// Codes of the findings, but for those of the host that runs the tests.
fn codes(ran: &Ran) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
    let json = ran.json();
    let found = json["findings"].as_array().unwrap().iter();
    let found = found.map(|one| (text(&one["severity"]), text(&one["code"])));
    found.filter(|(_, code)| !["overcommit", "hugepages"].contains(&code.as_str())).collect()
}

fn pairs(found: &[(&str, &str)]) -> Vec<(String, String)> {
    found.iter().map(|(severity, code)| (severity.to_string(), code.to_string())).collect()
}

/// A freshly installed server that the host's configuration file names, and a repository that is to be made next.
#[test]
fn the_first_command_finds_the_server_and_nothing_serious() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    on_a_small_disk("doctor_live::the_first_command_finds_the_server_and_nothing_serious", 4, |disk| {
        assert!(TcpStream::connect("127.0.0.1:6379").is_err(), "a server of this host is in the way of the test");
        let data = tempfile::tempdir().unwrap();
        let server = RedisServer::start(ServerKind::Redis7, data.path());
        redis::cmd("CONFIG").arg(&["SET", "save", "3600 1"]).exec(&mut server.connection()).unwrap();
        let etc = disk.join("etc");
        fs::create_dir_all(etc.join("redis")).unwrap();
        let _ = fs::copy("/etc/passwd", etc.join("passwd"));
        fs::write(etc.join("redis/redis.conf"), format!("port {}\ndir /elsewhere\n", server.port())).unwrap();
        assert!(Command::new("mount").arg("--bind").arg(&etc).arg("/etc").status().unwrap().success());
        let place = Place::new();
        let ran = run(&mut place.command(&["doctor", "--json"]));
        assert_eq!(ran.code, 3, "{}", ran.stderr);
        assert_eq!(codes(&ran), pairs(&[("warning", "no-repository")]), "{}", ran.text());
        assert_eq!(ran.json()["directories"], serde_json::json!([data.path().canonicalize().unwrap()]));
        let text = run(&mut place.command(&["doctor"])).text();
        assert!(text.contains("hint") || text.contains("redkeep init") && !text.contains("settings of none"), "{text}");
        // A login that is refused is told as what it is: a backup would be refused, too.
        redis::cmd("CONFIG").arg(&["SET", "requirepass", "secret"]).exec(&mut server.connection()).unwrap();
        let ran = run(&mut place.command(&["doctor", "--json"]));
        assert_eq!(codes(&ran), pairs(&[("serious", "server"), ("warning", "no-repository")]), "{}", ran.text());
        assert_eq!(ran.json()["directories"], serde_json::json!([]));
    });
}

/// What another server left behind is not this one's fault.
/// Servers that do not know the setting, and those where it is set, have nothing to be told of it.
#[test]
fn what_a_seed_of_its_hash_tables_would_save_is_said_of_a_server_that_knows_it() {
    for (kind, seed, is_told) in [
        (ServerKind::Redis7, None, false),
        (ServerKind::Valkey9, None, true),
        (ServerKind::Valkey9, Some("0123456789abcdef"), false),
    ] {
        if kind.is_skipped() {
            continue;
        }
        let (place, data) = (Place::with_tiny_repository(), tempfile::tempdir().unwrap());
        let line = seed.map(|seed| format!("hash-seed {seed}"));
        let config: Vec<&str> = line.as_deref().into_iter().collect();
        let server = RedisServer::start_with(kind, data.path(), ServerOptions::with_config(&config));
        let ran = place.run(&["doctor", "--redis", &format!("127.0.0.1:{}", server.port()), "--json"]);
        let notes = ran.json()["notes"].to_string();
        assert_eq!(notes.contains("hash-seed"), is_told, "{kind:?} {seed:?}: {notes}");
        assert!(!ran.json()["findings"].to_string().contains("hash-seed"));
    }
}

#[test]
fn a_profile_whose_server_is_down_blames_no_other() {
    let place = Place::with_repository();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    write(&place.path("password"), "correct horse\n");
    let text = format!(
        "repo = \"repository\"\npassword-file = \"password\"\n[profile.daily]\nredis = \"127.0.0.1:{port}\"\ndataset = \"d\"\n"
    );
    let config = write(&place.path("redkeep.toml"), &text).display().to_string();
    // An image that has data of some other server, which is damaged.
    let root = place.path("root");
    fs::create_dir_all(root.join("var/lib/redis")).unwrap();
    fs::write(root.join("var/lib/redis/dump.rdb"), "REDIS0011\u{1}").unwrap();
    for more in [&[][..], &["--root", root.to_str().unwrap()][..]] {
        let words = [&["doctor", "daily", "--config", &config, "--json"][..], more].concat();
        let ran = run(&mut bare(&place, &words));
        assert_eq!(codes(&ran), pairs(&[("serious", "server"), ("serious", "no-backup")]), "{}", ran.text());
        assert_eq!(ran.json()["directories"], serde_json::json!([]));
    }
    assert!(Path::new(&config).exists());
}

/// A server whose directory was changed while its AOF was on would start without it.
#[test]
fn an_aof_that_is_written_in_another_directory_is_serious() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let (data, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = RedisServer::start_with(
        ServerKind::Redis7,
        data.path(),
        ServerOptions::with_config(&["appendonly yes", "enable-protected-configs yes"]),
    );
    let place = Place::with_repository();
    let address = format!("127.0.0.1:{}", server.port());
    let asked = || {
        let ran = run(&mut place.command(&["doctor", "--redis", &address, "--json"]));
        let is_found = codes(&ran).contains(&("serious".into(), "aof-elsewhere".into()));
        (is_found, ran.text().contains(&data.path().display().to_string()))
    };
    assert!(!asked().0);
    let new = new.path().to_str().unwrap();
    redis::cmd("CONFIG").arg(&["SET", "dir", new]).exec(&mut server.connection()).unwrap();
    assert_eq!(asked(), (true, true));
    redis::cmd("BGREWRITEAOF").exec(&mut server.connection()).unwrap();
    crate::support::server::wait_for("the rewrite", || (!asked().0).then_some(()));
}
