//! What `schedule install` promises is tried: the user, the profile, and that somebody runs it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::configuration::write;
use crate::place::{Place, Ran, fields};
use crate::support::server::{RedisServer, ServerKind};
use crate::support::small_disk::on_a_small_disk;

/// A place with a repository and a profile that has all it needs.
fn place(more: &str) -> (Place, String) {
    let place = Place::with_repository();
    write(&place.path("password"), "correct horse\n");
    let text = format!("repo = \"repository\"\npassword-file = \"password\"\n[profile.daily]\n{more}");
    let config = write(&place.path("redkeep.toml"), &text).display().to_string();
    (place, config)
}

fn tried(ran: &Ran) -> Vec<(String, u64)> {
    let json = ran.json();
    assert_eq!(fields(&json), ["profile", "tried", "user"]);
    let one = |one: &serde_json::Value| (one["what"].as_str().unwrap().into(), one["exit_code"].as_u64().unwrap());
    json["tried"].as_array().unwrap().iter().map(one).collect()
}

fn named(tried: &[(&str, u64)]) -> Vec<(String, u64)> {
    tried.iter().map(|(what, code)| (what.to_string(), *code)).collect()
}

#[test]
fn a_profile_is_tried_with_what_a_job_has() {
    let (place, config) = place("dir = \"data\"\ndataset = \"d\"\n");
    let test = |code, json: bool| {
        let more: &[&str] = if json { &["--json"] } else { &[] };
        place.ends(code, &[&["schedule", "test", "daily", "--config", &config], more].concat())
    };
    assert_eq!(tried(&test(0, true)), named(&[("repository", 0), ("data", 0)]));
    let text = test(0, false).text();
    assert!(text.contains("works: repository: ") && text.contains("works: data: "), "{text}");
    fs::remove_dir_all(place.data()).unwrap();
    assert_eq!(tried(&test(1, true)), named(&[("repository", 0), ("data", 1)]));
    fs::remove_dir_all(place.repository()).unwrap();
    let ran = test(6, false);
    assert!(ran.text().contains("FAILS: repository: ") && ran.text().contains("FAILS: data: "), "{}", ran.text());
    place.ends(2, &["schedule", "test", "weekly", "--config", &config]).says("there are: daily");
}

#[test]
fn a_server_is_asked_and_its_directory_looked_at() {
    let (dir, kind) = (tempfile::tempdir().unwrap(), ServerKind::Redis7);
    if kind.is_skipped() {
        return;
    }
    let server = RedisServer::start(kind, dir.path());
    let (place, config) = place(&format!("redis = \"127.0.0.1:{}\"\n", server.port()));
    let test = |code| place.ends(code, &["schedule", "test", "daily", "--config", &config, "--json"]);
    assert_eq!(tried(&test(0)), named(&[("repository", 0), ("server", 0), ("data", 0)]));
    // One that is to send its dump need not have a directory that can be reached.
    let sent = fs::read_to_string(place.path("redkeep.toml")).unwrap() + "mode = \"sync\"\n";
    write(&place.path("sent.toml"), &sent);
    let ran = place.done(&["schedule", "test", "daily", "--config", &place.arg("sent.toml"), "--json"]);
    assert_eq!(tried(&ran), named(&[("repository", 0), ("server", 0)]));
    drop(server);
    assert_eq!(tried(&test(9)), named(&[("repository", 0), ("server", 9)]));
}

#[test]
fn a_user_that_the_host_or_the_image_does_not_have_is_refused() {
    let (place, config) = place("dir = \"data\"\n");
    let root = place.arg("root");
    fs::create_dir_all(place.path("root/etc")).unwrap();
    fs::write(place.path("root/etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nredis:x:9:9::/:/bin/sh\n").unwrap();
    let install = |code, user: &str| {
        place.ends(code, &["schedule", "install", "daily", "--config", &config, "--root", &root, "--user", user])
    };
    for kind in ["--cron", "--systemd"] {
        let user = "nosuchuser";
        let words = ["schedule", "install", "daily", "--config", &config, "--root", &root, "--user", user, kind];
        place.ends(2, &words).says("this host has no user nosuchuser");
    }
    install(2, "red");
    assert!(!place.path("root/etc/cron.d").exists() && !place.path("root/etc/systemd").exists());
    install(0, "redis");
}

/// In a mount namespace with an /etc of its own, so that the files of this host are left alone.
#[test]
fn what_would_never_work_is_not_installed() {
    on_a_small_disk("schedule_trial::what_would_never_work_is_not_installed", 4, |disk| {
        let etc = disk.join("etc");
        fs::create_dir_all(etc.join("cron.d")).unwrap();
        for file in ["passwd", "group", "nsswitch.conf"] {
            let _ = fs::copy(Path::new("/etc").join(file), etc.join(file));
        }
        assert!(Command::new("mount").arg("--bind").arg(&etc).arg("/etc").status().unwrap().success());
        let entry = etc.join("cron.d/redkeep-daily");
        let (place, config) = place("dir = \"data\"\n");
        let install = |code, more: &[&str]| {
            let words = ["schedule", "install", "daily", "--cron", "--user", "root", "--config", &config];
            place.ends(code, &[&words, more].concat())
        };
        let is_served = is_served();
        let code = if is_served { 0 } else { 3 };
        let ran = install(code, &["--json"]);
        let installed = &ran.json()["installed"][0];
        assert_eq!((installed["enabled"].as_bool(), installed["next"].is_null()), (Some(is_served), !is_served));
        if !is_served {
            ran.says("warning: profile daily is installed and never run: no cron daemon runs on this host");
            let text = place.ends(0, &["schedule", "show"]).text();
            assert!(text.contains("never: no cron daemon runs on this host"), "{text}");
        }
        fs::remove_file(&entry).unwrap();

        // The password of the environment is none that a job has.
        write(&place.path("password"), "another\n");
        let ran = install(7, &[]);
        ran.says("as root, profile daily does not work: repository: ").says("hint: nothing was installed;");
        ran.says("say --no-test");
        assert!(!entry.exists());
        install(code, &["--no-test"]);
        assert!(entry.exists());
        fs::remove_file(&entry).unwrap();

        write(&place.path("password"), "correct horse\n");
        let is_whole = fs::read_to_string("/proc/self/uid_map").unwrap().split_whitespace().nth(2) != Some("1");
        if is_whole {
            // Nobody may read the configuration, or come so far.
            let user = ["schedule", "install", "daily", "--cron", "--user", "nobody", "--config", &config];
            let ran = place.run(&user);
            assert!(ran.code != 0 && ran.code != 3, "{}", ran.stderr);
            ran.says("as nobody");
            assert!(!entry.exists());
        }
    });
}

/// Whether anything that reads /etc/cron.d runs here.
fn is_served() -> bool {
    let comm = |entry: std::io::Result<fs::DirEntry>| fs::read_to_string(entry.ok()?.path().join("comm")).ok();
    let names = ["cron", "crond", "cronie", "fcron", "bcron-start"];
    fs::read_dir("/proc").unwrap().filter_map(comm).any(|name| names.contains(&name.trim()))
}

#[test]
fn a_service_has_places_of_its_own_and_may_do_little_else() {
    let (place, config) = place("dir = \"data\"\nmetrics-file = \"metrics/redkeep.prom\"\n");
    let root = place.arg("root");
    fs::create_dir(place.path("root")).unwrap();
    let words = ["schedule", "install", "daily", "--systemd", "--user", "redis", "--root", &root, "--config", &config];
    let service =
        |place: &Place| fs::read_to_string(place.path("root/etc/systemd/system/redkeep-daily.service")).unwrap();
    place.ends(0, &words);
    let text = service(&place);
    for line in [
        "CacheDirectory=redkeep/redis",
        "Environment=REDKEEP_CACHE_DIR=/var/cache/redkeep/redis",
        "StateDirectory=redkeep/redis",
        "Environment=REDKEEP_STATE_DIR=/var/lib/redkeep/redis",
        "NoNewPrivileges=yes",
        "ProtectSystem=full",
    ] {
        assert!(text.lines().any(|have| have == line), "no {line} in {text}");
    }
    let writes = text.lines().find(|line| line.starts_with("ReadWritePaths=")).unwrap();
    for path in ["repository", "metrics", "data"] {
        assert!(writes.contains(&format!("-{}", place.arg(path))), "no {path} in {writes}");
    }
    // Commands of the user may need anything, and a cache that is named is used.
    let text = fs::read_to_string(&config).unwrap();
    write(Path::new(&config), &format!("cache-dir = \"cache\"\n{text}after = \"true\"\n"));
    place.ends(0, &words);
    let text = service(&place);
    assert!(!text.contains("NoNewPrivileges") && !text.contains("CacheDirectory"), "{text}");
    assert!(text.contains("StateDirectory="), "{text}");
}
