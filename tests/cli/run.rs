use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::configuration::write;
use crate::place::{Place, Ran, damage_packs, fields, noise, objects, run};
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

/// A place whose profile `daily` is of the data directory.
fn place_with(profile: &str) -> Place {
    let place = Place::with_repository();
    let text = format!("[profile.daily]\ndir = \"data\"\ndataset = \"sessions\"\n{profile}");
    write(&place.path("redkeep.toml"), &text);
    place
}

fn ends(place: &Place, code: i32, more: &[&str]) -> Ran {
    let config = place.arg("redkeep.toml");
    place.ends(code, &[&["run", "daily", "--config", &config], more].concat())
}

fn steps(ran: &Ran) -> Vec<(String, Option<u64>)> {
    let json = ran.json();
    let step = |step: &serde_json::Value| (step["step"].as_str().unwrap().to_string(), step["exit_code"].as_u64());
    json["steps"].as_array().unwrap().iter().map(step).collect()
}

fn named(steps: &[(&str, Option<u64>)]) -> Vec<(String, Option<u64>)> {
    steps.iter().map(|(name, code)| (name.to_string(), *code)).collect()
}

#[test]
fn one_line_says_what_all_steps_did() {
    let place =
        place_with("tags = [\"daily\"]\nkeep-last = 1\nprune = { grace = \"0\" }\ncheck = { read-data = true }\n");
    let ran = ends(&place, 0, &[]);
    let text = ran.text();
    assert_eq!((text.lines().count(), ran.stderr.as_str()), (1, ""), "{text}");
    assert!(text.starts_with("redkeep daily: done in ") && text.contains(": snapshot "), "{text}");
    assert!(text.contains(" of sessions, 3 files, 586") && text.contains("; forgot 0 of 1 snapshot; "), "{text}");
    assert!(text.contains("; nothing to delete; checked 1 pack, no damage\n"), "{text}");

    fs::write(place.data().join("modules/table.bin"), noise(9, 600_000)).unwrap();
    let text = ends(&place, 0, &[]).text();
    assert!(text.contains("forgot 1 of 2 snapshots; deleted 1 pack"), "{text}");
    let json = place.done(&["snapshots", "--json"]).json();
    assert_eq!(json["snapshots"].as_array().unwrap().len(), 1);
    assert_eq!(json["snapshots"][0]["tags"], serde_json::json!(["daily"]));
    assert_eq!(ends(&place, 0, &["--quiet"]).text(), "");
}

#[test]
fn as_json_each_step_has_its_code_and_the_result_of_its_command() {
    let place = place_with("keep-daily = 14\nprune = true\ncheck = true\nbefore = \"true\"\n");
    let ran = ends(&place, 0, &["--json"]);
    let json = ran.json();
    let wanted =
        ["begin", "dataset", "exit_code", "milliseconds", "profile", "snapshot", "steps", "summary", "warnings"];
    assert_eq!(fields(&json), wanted);
    let ok = Some(0);
    assert_eq!(steps(&ran), named(&[("before", ok), ("backup", ok), ("forget", ok), ("prune", ok), ("check", ok)]));
    assert_eq!(fields(&json["steps"][1]), ["error", "exit_code", "milliseconds", "result", "step"]);
    assert_eq!(json["steps"][1]["result"]["id"], json["snapshot"]);
    assert_eq!(json["steps"][2]["result"]["kept"], 1);
    assert_eq!(json["steps"][4]["result"]["sound"], true);
    assert_eq!((json["dataset"].as_str(), json["exit_code"].as_u64()), (Some("sessions"), Some(0)));
}

#[test]
fn a_profile_without_more_backs_up_and_nothing_else() {
    let place = place_with("");
    assert_eq!(steps(&ends(&place, 0, &["--json"])), named(&[("backup", Some(0))]));
}

/// Only snapshots of the profile's dataset are its to forget.
#[test]
fn the_snapshots_of_other_datasets_are_left_alone() {
    let place = place_with("keep-last = 1\n");
    place.done(&["backup", "data", "--dataset", "other", "-q"]);
    place.done(&["backup", "data", "--dataset", "other", "-q"]);
    ends(&place, 0, &[]);
    ends(&place, 0, &[]);
    let json = place.done(&["stats", "--json"]).json();
    let counts: Vec<_> = json["datasets"].as_array().unwrap().iter().map(|d| d["snapshots"].as_u64()).collect();
    assert_eq!(counts, [Some(2), Some(1)]);
}

#[test]
fn after_a_failed_backup_nothing_is_forgotten_or_pruned_and_the_check_is_done() {
    let place = place_with(
        "keep-last = 1\nprune = { grace = \"0\" }\ncheck = true\non-failure = \"env > failed\"\nafter = \"touch after\"\n",
    );
    ends(&place, 0, &[]);
    fs::remove_file(place.path("after")).unwrap();
    place.done(&["backup", "data", "--dataset", "sessions", "-q"]);
    fs::rename(place.data(), place.path("away")).unwrap();
    let ran = ends(&place, 1, &["--json"]);
    assert_eq!(steps(&ran), named(&[("backup", Some(1)), ("forget", None), ("prune", None), ("check", Some(0))]));
    ran.says("redkeep: backup: ").says("there is no such directory").says("hint: ");
    let json = ran.json();
    assert_eq!((json["exit_code"].as_u64(), json["steps"][0]["error"]["exit_code"].as_u64()), (Some(1), Some(1)));
    assert!(json["snapshot"].is_null());
    let line = ends(&place, 1, &[]).text();
    assert!(line.starts_with("redkeep daily: FAILED (exit 1) in "), "{line}");
    assert!(line.contains("; not run: forget, prune\n"), "{line}");
    assert_eq!(place.done(&["snapshots", "--json"]).json()["snapshots"].as_array().unwrap().len(), 2);
    let told = fs::read_to_string(place.path("failed")).unwrap();
    assert!(told.contains("REDKEEP_EXIT_CODE=1\n") && told.contains("REDKEEP_SNAPSHOT=\n"), "{told}");
    assert!(!place.path("after").exists());
}

#[test]
fn the_users_commands_are_told_what_happened_and_stay_off_standard_output() {
    let place = place_with(
        "before = [\"echo first\", \"echo $REDKEEP_PROFILE of $REDKEEP_DATASET\"]\nafter = \"env > told; echo last\"\n",
    );
    let ran = ends(&place, 0, &["--json"]);
    assert_eq!(ran.stderr, "first\ndaily of sessions\nlast\n");
    let told = fs::read_to_string(place.path("told")).unwrap();
    let id = ran.json()["snapshot"].as_str().unwrap().to_string();
    for line in [format!("REDKEEP_SNAPSHOT={id}"), "REDKEEP_EXIT_CODE=0".into(), "REDKEEP_PROFILE=daily".into()] {
        assert!(told.lines().any(|have| have == line), "{line}: {told}");
    }
    assert!(told.contains("REDKEEP_SUMMARY=redkeep daily: done in "), "{told}");
    assert!(!told.contains("REDKEEP_PASSWORD=") && told.contains("REDKEEP_REPO="), "no secret is passed on: {told}");
}

#[test]
fn no_secret_is_in_the_environment_of_the_users_commands() {
    let place = place_with("before = \"env > told\"\nafter = \"env >> told\"\non-failure = \"env >> told\"\n");
    let config = place.arg("redkeep.toml");
    for variable in ["REDKEEP_PASSWORD", "REDKEEP_PASSWORD_COMMAND"] {
        let mut command = place.command(&["run", "daily", "--config", &config]);
        command.env_remove("REDKEEP_PASSWORD").env("REDISCLI_AUTH", "horse of redis");
        command.env("REDKEEP_NEW_PASSWORD", "new horse");
        command.env(variable, if variable.ends_with("COMMAND") { "echo correct horse" } else { "correct horse" });
        let ran = run(&mut command);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let told = fs::read_to_string(place.path("told")).unwrap();
        assert!(told.matches("REDKEEP_PROFILE=daily").count() == 2 && !told.contains("horse"), "{variable}: {told}");
    }
}

#[test]
fn a_command_that_fails_before_stops_the_run_and_one_at_the_end_is_a_warning() {
    let place = place_with("before = \"exit 7\"\nprune = true\non-failure = \"touch failed\"\n");
    let ran = ends(&place, 1, &["--json"]);
    assert_eq!(steps(&ran), named(&[("before", Some(1)), ("backup", None), ("prune", None)]));
    ran.says("redkeep: before: the command failed: exit status: 7");
    assert!(place.path("failed").exists());
    assert_eq!(objects(&place, "snapshots").len(), 0);

    let place = place_with("after = [\"false\", \"touch second\"]\n");
    let ran = ends(&place, 3, &["--json"]);
    ran.says("warning: command 1 of after failed: exit status: 1");
    assert_eq!(ran.json()["exit_code"], 3);
    assert!(place.path("second").exists() && ran.json()["snapshot"].is_string());
    assert!(ends(&place, 3, &[]).text().starts_with("redkeep daily: done with 1 warning in "));
}

/// A run that takes longer than its rhythm: the next one ends at once. Killed, it leaves nothing behind that is in the way.
#[test]
fn runs_of_a_profile_take_turns_and_an_interrupt_ends_one_in_good_order() {
    let place = place_with(
        "before = \"touch up; while [ -e hold ]; do sleep 0.05; done\"\nkeep-last = 1\non-failure = \"echo $REDKEEP_EXIT_CODE > failed\"\n",
    );
    let config = place.arg("redkeep.toml");
    fs::write(place.path("hold"), "").unwrap();
    for (signal, code) in [(Signal::TERM, Some(130)), (Signal::KILL, None)] {
        let mut command = place.command(&["run", "daily", "--config", &config, "--json"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !place.path("up").exists() {
            assert!(Instant::now() < deadline, "the run never began");
            thread::yield_now();
        }
        ends(&place, 5, &[])
            .says("another run of profile daily is at work on this host")
            .says("hint: nothing was done");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), code);
        if code.is_some() {
            let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!((&json["steps"][0]["exit_code"], &json["steps"][1]["exit_code"]), (&130.into(), &().into()));
            assert_eq!(fs::read_to_string(place.path("failed")).unwrap(), "130\n");
        }
        fs::remove_file(place.path("up")).unwrap();
    }
    fs::remove_file(place.path("hold")).unwrap();
    let text = format!("[profile.daily]\ndir = \"{}\"\n", place.data().display());
    write(&place.path("redkeep.toml"), &text);
    ends(&place, 0, &[]);
}

#[test]
fn a_repository_that_cannot_be_opened_is_a_failure_that_is_told() {
    let place = place_with("password-file = \"wrong\"\non-failure = \"echo $REDKEEP_EXIT_CODE > failed\"\n");
    write(&place.path("wrong"), "wrong\n");
    let config = place.arg("redkeep.toml");
    let mut command = place.command(&["run", "daily", "--config", &config]);
    let ran = crate::place::run(command.env_remove("REDKEEP_PASSWORD"));
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(ran.text().starts_with("redkeep daily: FAILED (exit 7)"), "{}", ran.text());
    assert_eq!(fs::read_to_string(place.path("failed")).unwrap(), "7\n");
}

#[test]
fn damage_that_the_check_finds_is_the_code_of_the_run() {
    let place = place_with("check = { read-data = true }\n");
    ends(&place, 0, &[]);
    damage_packs(&place);
    let ran = ends(&place, 4, &["--json"]);
    assert_eq!(steps(&ran), named(&[("backup", Some(0)), ("check", Some(4))]));
    assert_eq!(ran.json()["steps"][1]["result"]["sound"], false);
    assert!(ran.json()["summary"].as_str().unwrap().contains(" DAMAGED, "), "{}", ran.text());
    ran.says("redkeep: check: checked 1 pack");
}

#[test]
fn a_suspect_file_is_a_warning_of_the_run() {
    let place = place_with("keep-last = 1\n");
    fs::write(place.data().join("dump.rdb"), b"REDIS0011\xfe\x00").unwrap();
    let ran = ends(&place, 3, &["--json"]);
    assert_eq!(steps(&ran), named(&[("backup", Some(3)), ("forget", Some(0))]));
    ran.says("warning: dump.rdb: ");
}

#[test]
fn what_a_profile_cannot_mean_is_a_failure_of_the_run() {
    let place = place_with("mode = \"rdb\"\n");
    let ran = ends(&place, 2, &["--json"]);
    assert_eq!(steps(&ran), named(&[("backup", Some(2))]));
    place.ends(2, &["run", "weekly", "--config", &place.arg("redkeep.toml")]).says("there are: daily");
    place.ends(2, &["run"]);
    let config = place.arg("redkeep.toml");
    let two = place.ends(2, &["run", "daily", "--profile", "weekly", "--config", &config, "--json"]);
    two.says("two profiles are named: daily, and weekly by --profile");
    assert_eq!(two.json()["error"]["exit_code"], 2);
    place.ends(2, &["run", "daily", "--profile", "daily", "--config", &config]).says("backup: ");
    let ran = run(place.command(&["run", "daily", "--config", &config]).env("REDKEEP_PROFILE", "weekly"));
    ran.says("backup: ");
}

fn metric(place: &Place, name: &str) -> Option<f64> {
    let text = fs::read_to_string(place.path("out/redkeep.prom")).unwrap();
    let begin = format!("{name}{{profile=\"daily\",dataset=\"sessions\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&begin)).map(|value| value.parse().unwrap())
}

#[test]
fn the_numbers_for_prometheus_are_of_the_last_run_and_a_failure_keeps_the_last_success() {
    let place = place_with("check = true\nmetrics-file = \"out/redkeep.prom\"\n");
    ends(&place, 3, &[]).says("redkeep.prom: No such file");
    fs::create_dir(place.path("out")).unwrap();
    ends(&place, 0, &[]);
    assert_eq!(fs::metadata(place.path("out/redkeep.prom")).unwrap().permissions().mode() & 0o7777, 0o644);
    assert_eq!(metric(&place, "redkeep_last_exit_code"), Some(0.0));
    assert_eq!(metric(&place, "redkeep_snapshots"), Some(2.0));
    assert!(metric(&place, "redkeep_backup_bytes").unwrap() > 600_000.0);
    assert!(metric(&place, "redkeep_repository_bytes").unwrap() > 600_000.0);
    assert!(metric(&place, "redkeep_newest_snapshot_age_seconds").unwrap() < 600.0);
    let text = fs::read_to_string(place.path("out/redkeep.prom")).unwrap();
    assert!(text.contains("dataset=\"sessions\",step=\"check\"} "), "{text}");
    let success = metric(&place, "redkeep_last_success_timestamp_seconds");
    fs::rename(place.data(), place.path("away")).unwrap();
    ends(&place, 1, &[]);
    assert_eq!(metric(&place, "redkeep_last_exit_code"), Some(1.0));
    assert_eq!(metric(&place, "redkeep_last_success_timestamp_seconds"), success);
    assert_eq!(metric(&place, "redkeep_backup_bytes"), None);
    assert!(metric(&place, "redkeep_last_run_timestamp_seconds") >= success);
    assert_eq!(fs::read_dir(place.path("out")).unwrap().count(), 1);
}

/// Answers calls one after the other, and gives back what was asked.
fn answer(listener: TcpListener, answers: &'static [&'static str]) -> JoinHandle<Vec<String>> {
    let request = |mut stream: TcpStream, answer: &str| {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut text = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let read = stream.read(&mut piece).unwrap();
            text.extend_from_slice(&piece[..read]);
            let whole = String::from_utf8_lossy(&text).into_owned();
            let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if read == 0 || body.len() >= length.unwrap_or(0) {
                stream.write_all(answer.as_bytes()).unwrap();
                return whole;
            }
        }
    };
    thread::spawn(move || answers.iter().map(|text| request(listener.accept().unwrap().0, text)).collect())
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK";
const BROKEN: &str = "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[test]
fn a_health_check_is_called_after_a_success_and_below_fail_after_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = place_with(&format!("health-url = \"http://{}/uuid\"\n", listener.local_addr().unwrap()));
    let calls = answer(listener, &[OK, OK]);
    let line = ends(&place, 0, &[]).text();
    fs::rename(place.data(), place.path("away")).unwrap();
    ends(&place, 1, &[]);
    let calls = calls.join().unwrap();
    assert!(calls[0].starts_with("POST /uuid HTTP/1.1\r\n") && calls[0].ends_with(line.trim_end()), "{}", calls[0]);
    assert!(calls[1].starts_with("POST /uuid/fail HTTP/1.1\r\n"), "{}", calls[1]);
    assert!(calls[1].contains("redkeep daily: FAILED (exit 1)"), "{}", calls[1]);
}

#[test]
fn a_health_check_that_fails_is_a_warning_and_the_snapshot_stays() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/uuid", listener.local_addr().unwrap());
    let place = place_with(&format!("health-url = \"{url}\"\n"));
    let calls = answer(listener, &[BROKEN, BROKEN]);
    let ran = ends(&place, 3, &["--json"]);
    ran.says("warning: the health check could not be told: 127.0.0.1:").says("500");
    assert!(!ran.stderr.contains("uuid") && ran.json()["snapshot"].is_string(), "{}", ran.stderr);
    assert_eq!(calls.join().unwrap().len(), 2, "it is tried again");
    // Nobody listens any more.
    ends(&place, 3, &[]).says("the health check could not be told");
    assert_eq!(place.done(&["snapshots", "--json"]).json()["snapshots"].as_array().unwrap().len(), 2);
}

#[test]
fn a_profile_of_a_live_server_captures_it_and_boots_what_was_captured() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    for (appendonly, mode) in [("no", "rdb"), ("yes", "aof")] {
        let place = Place::with_repository();
        fs::create_dir(place.path("served")).unwrap();
        let settings =
            [format!("appendonly {appendonly}"), "requirepass secret".into(), "rename-command BGSAVE save-1".into()];
        let options =
            ServerOptions { config: settings.into(), password: Some("secret".into()), ..ServerOptions::default() };
        let server = RedisServer::start_with(ServerKind::Redis7, &place.path("served"), options);
        redis::cmd("MSET").arg(&["a", "1", "b", "2"]).exec(&mut server.connection()).unwrap();
        write(&place.path("password of redis"), "secret\n");
        let text = format!(
            "[profile.daily]\nredis = \"redis://127.0.0.1:{}\"\nredis-password-file = \"password of redis\"\n\
             renamed-commands = {{ BGSAVE = \"save-1\" }}\nwith-config = true\ndrill = true\ndataset = \"sessions\"\n",
            server.port()
        );
        write(&place.path("redkeep.toml"), &text);
        let ran = ends(&place, 0, &["--json"]);
        assert_eq!(steps(&ran), named(&[("backup", Some(0)), ("drill", Some(0))]));
        let json = ran.json();
        assert_eq!(json["steps"][0]["result"]["mode"], mode);
        assert!(json["steps"][0]["result"]["moment"].is_string(), "{json}");
        assert!(place.done(&["ls", "latest"]).text().contains(".redkeep-config/"));
        let listed = place.done(&["snapshots"]).text();
        assert!(listed.contains("passed"), "{listed}");

        // A profile for every few minutes, of the same dataset.
        let tail = text.replace("with-config = true\ndrill = true\n", "aof-tail = true\n");
        write(&place.path("redkeep.toml"), &tail);
        ends(&place, if mode == "aof" { 0 } else { 9 }, &[]);
        write(&place.path("redkeep.toml"), &tail.replace("aof-tail = true\n", "aof-tail = true\nmode = \"rdb\"\n"));
        ends(&place, 2, &[]).says("leave out one of the two");
    }
}

/// The night on which the keys fell is no night for forgetting, nor are the next ones until somebody has looked.
#[test]
fn from_the_night_on_which_the_keys_fell_nothing_is_forgotten_until_that_is_settled() {
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    let place = Place::with_repository();
    fs::create_dir(place.path("served")).unwrap();
    let options = ServerOptions::with_config(&["appendonly yes", "auto-aof-rewrite-percentage 0"]);
    let server = RedisServer::start_with(ServerKind::Redis7, &place.path("served"), options);
    let order = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        redis::cmd(words[0]).arg(&words[1..]).exec(&mut server.connection()).unwrap();
    };
    let text = format!(
        "[profile.daily]\nredis = \"redis://127.0.0.1:{0}\"\ndataset = \"sessions\"\nkeep-last = 1\nprune = {{ grace = \"0\" }}\n\
         [profile.tail]\nredis = \"redis://127.0.0.1:{0}\"\ndataset = \"sessions\"\naof-tail = true\n",
        server.port()
    );
    write(&place.path("redkeep.toml"), &text);
    let left = || place.done(&["snapshots", "--json"]).json()["snapshots"].as_array().unwrap().len();
    order("MSET a 1 b 2 c 3 d 4 e 5");
    ends(&place, 0, &[]);
    order("MSET f 6 g 7");
    let text = ends(&place, 0, &[]).text();
    assert!(text.contains("forgot 1 of 2 snapshots"), "{text}");
    order("FLUSHALL");
    let ran = ends(&place, 3, &["--json"]);
    assert_eq!(steps(&ran)[1], ("forget".to_string(), Some(3)));
    let line = ran.json()["summary"].as_str().unwrap().to_string();
    assert!(line.contains("; nothing was forgotten, for the keys fell by more than half;"), "{line}");
    ran.says("0 keys, where snapshot ")
        .says(" had 7: was that meant?")
        .says("redkeep tag latest --accept-drop --dataset sessions");
    assert_eq!(left(), 2);
    order("SET y 1");
    for count in [3, 4] {
        let ran = ends(&place, 3, &[]);
        assert!(ran.text().contains("nothing was forgotten, for the keys fell"), "{}", ran.text());
        ran.says("0 keys, where snapshot ").says("redkeep tag latest --accept-drop");
        assert_eq!(left(), count);
    }
    place.done(&["tag", "latest", "--accept-drop"]);
    assert!(ends(&place, 0, &[]).text().contains("forgot 4 of 5 snapshots"));
    assert_eq!(left(), 1);
    place.ends(2, &["tag", "latest", "--accept-drop"]).says("no snapshot of sessions is kept because keys were lost");
    // What another profile met, which forgets nothing itself, and warns once.
    order("MSET a 1 b 2 c 3 d 4 e 5");
    let tail = |code: i32| place.ends(code, &["run", "tail", "--config", &place.arg("redkeep.toml")]);
    tail(0);
    order("FLUSHALL");
    tail(3).says("0 keys, where snapshot ");
    tail(0);
    ends(&place, 3, &[]).says("0 keys, where snapshot ").says(" had 6: was that meant?");
    assert_eq!(left(), 5);
}

#[test]
fn no_link_that_stands_in_place_of_a_file_of_this_host_is_written_through() {
    let place = place_with("");
    ends(&place, 0, &[]);
    let state = place.path("home/.local/state/redkeep");
    let names: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let lock = names.iter().find(|name| name.to_string_lossy().starts_with("run-daily-")).expect("a lock");
    fs::write(place.path("other"), "precious").unwrap();
    fs::remove_file(state.join(lock)).unwrap();
    std::os::unix::fs::symlink(place.path("other"), state.join(lock)).unwrap();
    ends(&place, 0, &[]);
    assert_eq!(fs::read(place.path("other")).unwrap(), b"precious");

    for name in names.iter().filter(|name| !name.to_string_lossy().starts_with("run-")) {
        if state.join(name).is_file() {
            fs::remove_file(state.join(name)).unwrap();
            std::os::unix::fs::symlink(place.path("nowhere"), state.join(name)).unwrap();
        }
    }
    place.run(&["snapshots"]);
    assert!(!place.path("nowhere").exists(), "a file was made where a link leads");
}

#[test]
fn a_dry_run_tells_each_step_and_does_none() {
    let place = place_with(
        "keep-last = 1\nprune = { grace = \"0\" }\ncheck = { max-age = \"1d\" }\ndrill = true\nbefore = \"touch before\"\n\
         after = \"touch after\"\nreport = \"page.html\"\nmetrics-file = \"m.prom\"\n",
    );
    place.done(&["backup", "data", "--dataset", "sessions", "-q"]);
    fs::write(place.data().join("modules/table.bin"), noise(9, 600_000)).unwrap();
    place.done(&["backup", "data", "--dataset", "sessions", "-q"]);
    let before = crate::place::tree(&place.repository());
    let ran = ends(&place, 0, &["--dry-run"]);
    let text = ran.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 10, "{text}");
    assert_eq!((lines[0], lines[1]), ("redkeep run daily would", "  1. before: run touch before"));
    assert!(
        lines[2].starts_with("  2. backup: capture the directory ") && lines[2].ends_with("/data as sessions"),
        "{text}"
    );
    assert_eq!(lines[4], "  4. forget: forget 1 of 2 snapshots that are there now");
    assert!(lines[5].starts_with("  5. prune: delete "), "{text}");
    assert_eq!(lines[6], "  6. check: read the packs that no check read for 24 h 0 min");
    let json = ends(&place, 0, &["--dry-run", "--json"]).json();
    assert_eq!(fields(&json), ["dataset", "dry_run", "profile", "steps"]);
    assert_eq!(json["steps"][3]["result"]["dry_run"], true);
    assert_eq!(crate::place::tree(&place.repository()), before);
    for made in ["before", "after", "page.html", "m.prom"] {
        assert!(!place.path(made).exists(), "{made}");
    }
}
