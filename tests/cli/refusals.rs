//! Servers that refuse, and what answers where no server is: each is told for what it is, with what to do about it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::configuration::write;
use crate::place::{Place, run};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

fn start(place: &Place, options: ServerOptions) -> Option<(RedisServer, String)> {
    if ServerKind::Redis7.is_skipped() {
        return None;
    }
    fs::create_dir(place.path("served")).unwrap();
    let server = RedisServer::start_with(ServerKind::Redis7, &place.path("served"), options);
    let address = format!("127.0.0.1:{}", server.port());
    Some((server, address))
}

fn order(server: &RedisServer, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    redis::cmd(words[0]).arg(&words[1..]).exec(&mut server.connection()).unwrap();
}

fn with<'a>(command: &[&'a str], words: &[&'a str]) -> Vec<&'a str> {
    [command, words].concat()
}

#[test]
fn a_command_that_is_renamed_off_or_not_allowed_is_told_with_the_word_that_helps() {
    let place = Place::with_repository();
    let options = ServerOptions::with_config(&["rename-command BGSAVE SAVEIT", "rename-command MODULE \"\""]);
    let Some((server, address)) = start(&place, options) else { return };
    let backup = ["backup", "--redis", &address, "--dataset", "d"];
    place.ends(9, &backup).says("answered BGSAVE").says("--renamed-command BGSAVE=NEW");
    place
        .ends(9, &with(&backup, &["--renamed-command", "BGSAVE=OTHER"]))
        .says("BGSAVE is called OTHER there: correct that");
    place.done(&with(&backup, &["--renamed-command", "bgsave=SAVEIT", "-q"]));
    for (typed, meant) in [("BGSVAE", "BGSAVE"), ("INFOO", "INFO")] {
        let ran = place.ends(2, &with(&backup, &["--renamed-command", &format!("{typed}=x")]));
        ran.says(&format!("{typed} is no command of Redis or Valkey; did you mean {meant}?"));
    }
    place.ends(2, &with(&backup, &["--renamed-command", "INFO=two words"])).says("write it like");
    let text = format!("[profile.daily]\nredis = \"{address}\"\nrenamed-commands = {{ INFOO = \"x\" }}\n");
    write(&place.path("redkeep.toml"), &text);
    let ran = place.ends(2, &["run", "daily", "--config", &place.arg("redkeep.toml")]);
    ran.says("renamed-commands: INFOO is no command of Redis or Valkey; did you mean INFO?");

    order(&server, "ACL SETUSER app on nopass +ping +time +info +config|get");
    let as_app = with(&backup, &["--redis-user", "app", "--renamed-command", "BGSAVE=SAVEIT"]);
    place.ends(9, &as_app).says("NOPERM").says("ACL SETUSER app +bgsave gives it").says("redkeep doctor prints");
    order(&server, "ACL SETUSER app -info");
    place.ends(9, &as_app).says("answered INFO").says("ACL SETUSER app +info");
}

#[test]
fn a_login_that_is_refused_says_where_the_password_came_from() {
    let place = Place::with_repository();
    let options = ServerOptions { password: Some("right".into()), ..ServerOptions::default() };
    let Some((_server, address)) = start(&place, options) else { return };
    let backup = ["backup", "--redis", &address, "--dataset", "d"];
    place.ends(9, &backup).says("refuses the login").says("give the password with --redis-password-file");
    let ran = run(place.command(&backup).env("REDISCLI_AUTH", "wrong"));
    assert_eq!(ran.code, 9);
    ran.says("the password came from the variable REDISCLI_AUTH");
    fs::write(place.path("secret"), "wrong\n").unwrap();
    fs::set_permissions(place.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    place
        .ends(9, &[&backup[..], &["--redis-password-file", "secret", "--redis-user", "app"]].concat())
        .says("the password came from --redis-password-file, secret, for the user app");
    let ran = place.ends(9, &[&backup[..], &["--redis-password-command", "echo wrong"]].concat());
    ran.says("the password came from what --redis-password-command printed");
    assert!(!ran.stderr.contains("echo"), "{}", ran.stderr);
    place
        .ends(9, &["backup", "--redis", &format!("redis://:wrong@{address}"), "--dataset", "d"])
        .says("the password came from the address");
    let text = format!("[profile.daily]\nredis = \"{address}\"\ndataset = \"d\"\nredis-password-file = \"secret\"\n");
    write(&place.path("redkeep.toml"), &text);
    let ran = place.ends(9, &["run", "daily", "--config", &place.arg("redkeep.toml")]);
    ran.says("the password came from redis-password-file of the configuration, ").says("/secret");
}

/// A Sentinel, which ends with the test.
struct Sentinel(std::process::Child);

impl Drop for Sentinel {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// SYNC-10
#[test]
fn a_sentinel_names_the_master_it_watches_and_a_backup_finds_it() {
    let place = Place::with_repository();
    let Some((server, master)) = start(&place, ServerOptions::default()) else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {} 1\n",
        place.arg(""),
        server.port()
    );
    fs::write(place.path("sentinel.conf"), text).unwrap();
    let mut command = Command::new(ServerKind::Redis7.executable());
    command.arg(place.path("sentinel.conf")).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
    let _sentinel = Sentinel(command.spawn().unwrap());
    wait_for("the Sentinel", || TcpStream::connect(("127.0.0.1", port)).ok());
    let address = format!("127.0.0.1:{port}");
    let server = format!("--server={address}");
    place.backup();
    for words in [
        &["backup", "--redis", &address][..],
        &["backup", "--redis", &address, "--prefer-replica"],
        &["restore", &server, "--dry-run"],
    ] {
        let ran = place.ends(9, words);
        ran.says(&format!("is a Sentinel, which holds no data; it watches main at {master}"));
        ran.says(&format!("name the master itself, {master}")).says("SENTINEL get-master-addr-by-name main");
    }
    let of_master = |at: &str, name: &str| {
        let words = ["backup", "--redis", at, "--sentinel-master", name, "--mode", "sync", "--json"];
        place.run(&words)
    };
    let found = of_master(&address, "main");
    assert_eq!(found.json()["dataset"], "main", "{}", found.stderr);
    let other = of_master(&address, "other");
    assert_eq!(other.code, 9);
    other.says("watches no master that is called other");
    assert_eq!(of_master(&master, "main").code, 9);
    of_master(&master, "main").says("is no Sentinel");
}

#[test]
fn a_server_that_is_full_and_one_of_another_kind_are_told_and_nobody_asks_whether_they_run() {
    let place = Place::with_repository();
    let Some((server, address)) = start(&place, ServerOptions::default()) else { return };
    order(&server, "CONFIG SET maxclients 1");
    let held = server.connection();
    place.ends(9, &["backup", "--redis", &address]).says("has as many clients as it takes (maxclients)");
    drop(held);

    for (answer, word) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "a web server answers there"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "something else than Redis or Valkey"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Whatever it was asked.
            let _ = stream.read(&mut [0; 100]);
            let _ = stream.write_all(answer);
            let _ = stream.read(&mut [0; 100]);
        });
        let ran = place.ends(9, &["backup", "--redis", &address]);
        ran.says(word);
        assert!(!ran.stderr.contains("is it running"), "{}", ran.stderr);
        other.join().unwrap();
    }
    place.ends(9, &["backup", "--redis", "127.0.0.1:1"]).says("is it running");
}
