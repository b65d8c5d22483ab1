use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::place::{Place, run, without_root};
use crate::support::server::{Listen, RedisServer, ServerKind, ServerOptions};

fn start(place: &Place, options: ServerOptions) -> Option<RedisServer> {
    if ServerKind::Redis7.is_skipped() {
        return None;
    }
    fs::create_dir(place.path("served")).unwrap();
    Some(RedisServer::start_with(ServerKind::Redis7, &place.path("served"), options))
}

fn order(server: &RedisServer, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    redis::cmd(words[0]).arg(&words[1..]).exec(&mut server.connection()).unwrap();
}

#[test]
fn it_captures_a_live_server_and_says_which_moment_it_has() {
    let place = Place::with_repository();
    let Some(server) = start(&place, ServerOptions::default()) else { return };
    let address = format!("127.0.0.1:{}", server.port());
    order(&server, "MSET a 1 b 2 c 3 d 4");
    let text = place.done(&["backup", "--redis", &address]).text();
    assert!(text.contains("by the server's clock, from its rdb"), "{text}");
    assert!(text.lines().next().unwrap().ends_with(&format!(":{}", server.port())), "{text}");
    assert_eq!(fs::read_dir(server.data()).unwrap().count(), 0, "the dump was made for the snapshot only");

    order(&server, "CONFIG SET appendonly yes");
    order(&server, "SET e 5");
    let json = place.done(&["backup", "--redis", &address, "--json"]).json();
    assert_eq!((&json["mode"], json["moment"].is_string()), (&"aof".into(), true));
    place.done(&["backup", "--redis", &address, "--aof-tail", "--quiet"]);
    place.ends(2, &["backup", "--redis", &address, "--aof-tail", "--no-save"]);

    order(&server, "DEL a b c d");
    let ran = place.ends(3, &["backup", "--redis", &address, "--json"]);
    ran.says("warning: 1 key, where snapshot ").says(" had 5: was that meant?");
    assert_eq!((&ran.json()["keys"], &ran.json()["keys_counted"]), (&1.into(), &"server".into()));
    assert_eq!(ran.json()["warnings"][0]["code"], "key-drop");

    place.done(&["restore", "latest", "--target", "back", "--quiet"]);
    let restored = ServerOptions::with_config(&["appendonly yes"]);
    let restored = RedisServer::start_with(ServerKind::Redis7, &place.path("back"), restored);
    assert_eq!(redis::cmd("GET").arg("e").query::<u64>(&mut restored.connection()).unwrap(), 5);
}

/// A server that was started by hand works in a home directory.
#[test]
fn of_a_live_server_the_dataset_is_taken_and_the_rest_is_told() {
    let place = Place::with_repository();
    let Some(server) = start(&place, ServerOptions::default()) else { return };
    let address = format!("127.0.0.1:{}", server.port());
    order(&server, "SET a 1");
    for path in [".ssh/id_rsa", "modules/a.bin", "notes.txt", "todo.txt"] {
        let path = server.data().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let backup = |more: &[&str]| place.done(&[&["backup", "--redis", &address, "--dataset", "d"], more].concat());
    let json = backup(&["--json"]).json();
    let expected = [".ssh", "modules", "notes.txt", "todo.txt"];
    let left: Vec<_> = json["left_out"].as_array().unwrap().iter().map(|left| left["path"].as_str().unwrap()).collect();
    assert_eq!((left, &json["files"], &json["holds"]), (expected.to_vec(), &1.into(), &"rdb".into()));
    assert_eq!(json["left_out"][0]["why"], "not-of-dataset");
    let text = backup(&[]).text();
    let told = "left out  4 other paths, no part of the dataset (.ssh, modules, notes.txt and 1 more)";
    assert!(text.contains(told) && text.contains("--all-files"), "{text}");
    assert_eq!(backup(&["--include", "modules", "--json"]).json()["files"], 2);
    let json = backup(&["--all-files", "--json"]).json();
    assert_eq!((&json["files"], &json["left_out"]), (&5.into(), &serde_json::json!([])));
    place.ends(2, &["backup", "--redis", &address, "--aof-tail", "--all-files"]);

    fs::write(place.path("redkeep.toml"), format!("[profile.p]\nredis = \"{address}\"\nall-files = true\n")).unwrap();
    place.done(&["run", "p", "--config", "redkeep.toml", "--quiet"]);
    assert!(place.done(&["ls", "latest", "--dataset", "d"]).text().contains("dump.rdb"));
    let dataset = place.done(&["snapshots", "--json"]).json();
    assert!(dataset["snapshots"].as_array().unwrap().iter().any(|snapshot| snapshot["files"] == 5), "{dataset}");
}

#[test]
fn a_file_that_is_no_part_of_a_live_dataset_need_not_be_readable() {
    let place = Place::with_repository();
    let Some(server) = start(&place, ServerOptions::default()) else { return };
    let address = format!("127.0.0.1:{}", server.port());
    order(&server, "SET a 1");
    fs::create_dir(server.data().join("secret")).unwrap();
    fs::write(server.data().join("token"), "x").unwrap();
    let set_mode = |mode: u32| {
        for name in ["secret", "token"] {
            fs::set_permissions(server.data().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    let backup = |more: &[&str]| {
        let words = [&["backup", "--redis", &address, "--mode", "rdb", "--json"], more].concat();
        run(&mut without_root(place.command(&words)))
    };
    set_mode(0o000);
    for more in [&[][..], &["--include", "*.bin"]] {
        let ran = backup(more);
        assert_eq!(ran.code, 0, "{more:?}: {}", ran.stderr);
        let json = ran.json();
        assert_eq!((&json["files"], json["left_out"].as_array().unwrap().len()), (&1.into(), 2), "{more:?}");
    }
    for more in ["secret", "token"] {
        let ran = backup(&["--include", more]);
        set_mode(0o700);
        assert_ne!(ran.code, 0, "it was readable, and the test proves nothing");
        ran.says(more);
        set_mode(0o000);
    }
    set_mode(0o700);
}

#[test]
fn the_password_comes_from_a_file_a_command_or_the_environment() {
    let place = Place::with_repository();
    let options =
        ServerOptions { listen: Listen::UnixSocket, password: Some("secret".into()), ..ServerOptions::default() };
    let Some(server) = start(&place, options) else { return };
    order(&server, "SET a 1");
    let socket = server.socket().display().to_string();
    fs::write(place.path("password"), "secret\n").unwrap();
    fs::set_permissions(place.path("password"), fs::Permissions::from_mode(0o600)).unwrap();
    place.done(&["backup", "--redis", &socket, "--redis-password-file", "password"]);
    place.done(&["backup", "--redis", &socket, "--redis-password-command", "echo secret"]);
    let ran =
        crate::place::run(place.command(&["backup"]).env("REDKEEP_REDIS", &socket).env("REDISCLI_AUTH", "secret"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let wrong = ["backup", "--redis", &socket, "--redis-password-command", "echo no"];
    for (arguments, way) in [
        (&wrong[..3], "--redis-password-file"),
        (&wrong, "the password came from what --redis-password-command printed"),
    ] {
        let ran = place.ends(9, arguments);
        ran.says("refuses the login").says(way);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    }
}

#[test]
fn a_server_that_is_not_there_or_elsewhere_ends_with_9() {
    let place = Place::with_repository();
    place.ends(9, &["backup", "--redis", "127.0.0.1:1"]).says("hint: is it running");
    let Some(server) = start(&place, ServerOptions::default()) else { return };
    let address = format!("127.0.0.1:{}", server.port());
    for wrong in [&["--dir", "data"][..], &["--path-map", "/=/nowhere"]] {
        let ran = place.ends(9, &[&["backup", "--redis", &address], wrong].concat());
        ran.says("--path-map");
    }
    place.ends(9, &["backup", "--redis", &address, "--mode", "aof"]).says("has its AOF off");
    let ran = place.ends(9, &["backup", "--redis", &address, "--aof-tail"]);
    ran.says("hint: if keys were lost, keep its last dump first: redkeep backup --no-save; else");
    place.ends(9, &["backup", "--redis", &address, "--no-save"]).says("there is no dump");
    assert_eq!(place.done(&["snapshots", "--json"]).json()["snapshots"], serde_json::json!([]));
}

#[test]
fn a_server_behind_tls_is_captured_with_the_certificates_that_are_named() {
    let place = Place::with_repository();
    let make = |line: &str| {
        let made = std::process::Command::new("openssl").args(line.split(' ')).current_dir(place.path("")).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{line}: {}", String::from_utf8_lossy(&made.stderr));
    };
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30";
    make(&format!("{new} -keyout ca.key -out ca.pem -subj /CN=test-authority"));
    fs::write(place.path("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    for name in ["server", "client"] {
        let request = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        make(&format!("{request} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        let sign = "x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names";
        make(&format!("{sign} -in {name}.csr -out {name}.pem"));
    }
    let Some(server) = start(&place, ServerOptions::default()) else { return };
    order(&server, "SET a 1");
    for (name, file) in [("cert", "server.pem"), ("key", "server.key"), ("ca-cert", "ca.pem")] {
        order(&server, &format!("CONFIG SET tls-{name}-file {}", place.arg(file)));
    }
    let port = (1..).map(|step| server.port() + step).find(|port| {
        let set = redis::cmd("CONFIG").arg(&["SET", "tls-port", &port.to_string()]).exec(&mut server.connection());
        set.is_ok()
    });
    let address = format!("rediss://127.0.0.1:{}", port.unwrap());
    let both = ["--tls-ca", "ca.pem", "--tls-cert", "client.pem", "--tls-key", "client.key"];
    place.done(&[&["backup", "--redis", &address][..], &both].concat());
    place.done(&[&["backup", "--redis", &address, "--mode", "sync"][..], &both].concat());
    place.ends(9, &["backup", "--redis", &address]);
    place.ends(9, &["backup", "--redis", &address, "--tls-ca", "ca.pem"]);
}

#[test]
fn what_configures_the_server_is_taken_on_request_and_restored_only_when_it_is_named() {
    let place = Place::with_repository();
    fs::create_dir(place.path("conf.d")).unwrap();
    fs::write(place.path("conf.d/secrets.conf"), "masterauth hidden-word\n").unwrap();
    fs::write(place.path("users.acl"), "user default on nopass ~* &* +@all\nuser app on >word ~* +@read\n").unwrap();
    let (include, acl) =
        (format!("include {}/*.conf", place.arg("conf.d")), format!("aclfile {}", place.arg("users.acl")));
    let Some(server) = start(&place, ServerOptions::with_config(&[&include, &acl])) else { return };
    order(&server, "SET a 1");
    let address = format!("127.0.0.1:{}", server.port());
    place.done(&["backup", "--redis", &address, "--dataset", "sessions", "--quiet"]);
    assert!(!place.done(&["ls", "latest"]).text().contains(".redkeep-config"));
    place.ends(2, &["backup", "data", "--with-config"]);

    place.done(&["backup", "--redis", &address, "--dataset", "sessions", "--with-config", "--quiet"]);
    let here = |path: &str| fs::canonicalize(path).unwrap().display().to_string();
    let files =
        [here(&server.config_file().display().to_string()), place.arg("conf.d/secrets.conf"), place.arg("users.acl")];
    let files = files.map(|file| format!(".redkeep-config{file}"));
    let listed = place.done(&["ls", "latest", "--json"]).json();
    let role = |path: &str| {
        let files = listed["files"].as_array().unwrap();
        files.iter().find(|file| file["path"] == path).unwrap_or_else(|| panic!("no {path} in {listed}"))["role"]
            .clone()
    };
    for file in &files {
        assert_eq!(role(file), "config");
    }
    assert_eq!(place.done(&["dump", "latest", &files[1]]).text(), "masterauth hidden-word\n");

    let ran = place.done(&["restore", "--target", "back"]);
    assert!(
        ran.text().contains("3 files of the server's configuration, which --with-config restores too"),
        "{}",
        ran.text()
    );
    assert!(!place.path("back/.redkeep-config").exists());
    let json = place.done(&["restore", "--target", "whole", "--with-config", "--json"]).json();
    assert_eq!(json["left_config"], 0);
    let whole = place.path("whole");
    assert_eq!(fs::read_to_string(whole.join(&files[1])).unwrap(), "masterauth hidden-word\n");
    assert_eq!(fs::read(whole.join(&files[0])).unwrap(), fs::read(server.config_file()).unwrap());
    let mode = fs::metadata(whole.join(".redkeep-config")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    place.done(&["verify", "latest"]);
    place.ends(2, &["restore", "--server", "--with-config"]);

    fs::remove_file(place.path("users.acl")).unwrap();
    let ran = place.ends(3, &["backup", "--redis", &address, "--dataset", "sessions", "--with-config", "--json"]);
    assert_eq!(ran.json()["warnings"][0]["path"], place.arg("users.acl"));
}

#[test]
fn commands_that_an_operator_renamed_are_sent_by_the_names_that_are_told() {
    let place = Place::with_repository();
    let renamed = ["rename-command CONFIG config-1", "rename-command BGSAVE bgsave-1"];
    let Some(server) = start(&place, ServerOptions::with_config(&renamed)) else { return };
    let address = format!("127.0.0.1:{}", server.port());
    order(&server, "SET a 1");
    place.ends(9, &["backup", "--redis", &address]).says("BGSAVE");
    let told = ["--renamed-command", "CONFIG=config-1", "--renamed-command", "BGSAVE=bgsave-1"];
    let json = place.done(&[&["backup", "--redis", &address, "--json"][..], &told].concat()).json();
    assert_eq!(json["mode"], "rdb");
}
