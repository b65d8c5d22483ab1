//! How a server is stopped and started again by a restore: no answered write is lost on the way, a plain process comes back
//! as it was, nothing of redkeep's own goes with it, and a person who waits is told what for.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use redkeep::operations::Silent;
use redkeep::operations::restore::server::undo_server;
use rustix::process::geteuid;

use crate::restore_server::{Captured, Victim, plain, take};
use crate::restore_server_program::Scene;
use crate::support::server::{Info, RedisServer, ServerKind, wait_for};

/// Clients that write many commands at once, each with a value of its own, until the server is gone. Answers with the keys
/// whose writing was answered.
fn write_until_gone(server: &RedisServer, begun: &AtomicBool) -> Vec<String> {
    let answered = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (answered, server) = (&answered, &server);
            scope.spawn(move || {
                let Ok(mut connection) = server.client().get_connection() else { return };
                for round in 0.. {
                    let keys: Vec<String> = (0..50).map(|number| format!("w:{client}:{round}:{number}")).collect();
                    let mut pipeline = redis::pipe();
                    for key in &keys {
                        pipeline.cmd("SET").arg(key).arg(round);
                    }
                    if pipeline.query::<Vec<String>>(&mut connection).is_err() {
                        return;
                    }
                    answered.lock().unwrap().extend(keys);
                    begun.store(round > 3, Ordering::Relaxed);
                }
            });
        }
    });
    answered.into_inner().unwrap()
}

/// LOCAL-12
#[test]
fn what_was_answered_before_the_stop_comes_back_by_the_undo() {
    for kind in [ServerKind::Redis62, ServerKind::Redis7, ServerKind::Redis82, ServerKind::Valkey9] {
        if kind.is_skipped() {
            continue;
        }
        let taken = take(kind, Captured::Dump, &[]);
        let mut victim = Victim::start(kind, &[]);
        // A manager takes its time between the save and the stop.
        let pid = victim.server().info().number("process_id");
        victim.options.commands.stop = Some(format!("sleep 0.3; kill -9 {pid}"));
        let begun = AtomicBool::new(false);
        let (answered, report) = std::thread::scope(|scope| {
            let writers = scope.spawn(|| write_until_gone(victim.server(), &begun));
            wait_for("the writers", || begun.load(Ordering::Relaxed).then_some(()));
            let report = victim.restore(&taken).unwrap();
            (writers.join().unwrap(), report)
        });
        assert!(report.verified.unwrap().is_right());
        victim.options.commands.stop = None;
        assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
        let mut connection = victim.server().connection();
        for keys in answered.chunks(1000) {
            let there: usize = redis::cmd("EXISTS").arg(keys).query(&mut connection).unwrap();
            assert_eq!(there, keys.len(), "{kind:?}: of {} answered writes some are gone", answered.len());
        }
        // Clients may write again.
        redis::cmd("SET").arg("again").arg("1").exec(&mut connection).unwrap();
    }
}

#[test]
fn a_plain_process_goes_on_writing_to_the_file_it_wrote_to_whatever_has_its_name() {
    use std::os::unix::fs::MetadataExt as _;
    let Some((taken, victim)) = plain(ServerKind::Redis7) else { return };
    victim.shut_down();
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let log = std::fs::File::create(at("log")).unwrap();
    let mut command = Command::new("setsid");
    command.arg("--fork").arg(ServerKind::Redis7.executable()).arg(victim.server().config_file());
    assert!(command.stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap()).status().unwrap().success());
    crate::support::server::wait_for("the server", || victim.is_running().then_some(()));
    victim.start_by_hand();
    std::fs::write(at("precious"), "precious").unwrap();
    std::fs::remove_file(at("log")).unwrap();
    for name in ["log", "log (deleted)"] {
        std::os::unix::fs::symlink(at("precious"), at(name)).unwrap();
    }
    let output = || {
        let found = std::fs::metadata(format!("/proc/{}/fd/1", victim.server().info().number("process_id"))).unwrap();
        (found.dev(), found.ino())
    };
    let wrote_to = output();
    let log = log.metadata().unwrap();
    assert_eq!(wrote_to, (log.dev(), log.ino()));
    victim.restore(&taken).unwrap();
    assert_eq!(output(), wrote_to, "after the restore");
    undo_server(&victim.options, &Silent).unwrap();
    assert_eq!(output(), wrote_to, "after the undo");
    assert_eq!(std::fs::read_to_string(at("precious")).unwrap(), "precious");
}

#[test]
fn clients_write_again_after_a_restore_that_did_not_stop_the_server() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, &[]);
    redis::cmd("SET").arg("not:saved").arg("1").exec(&mut victim.server().connection()).unwrap();
    victim.options.commands.stop = Some("echo it is not for you to stop >&2; exit 1".into());
    victim.options.commands.patience = Some(std::time::Duration::from_millis(100));
    let error = victim.restore(&taken).unwrap_err();
    assert!(error.to_string().contains("it said: it is not for you to stop"), "{error}");
    // A write that is held back does not come to an end.
    let client = victim.server().client();
    let mut connection = client.get_connection().unwrap();
    connection.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    redis::cmd("SET").arg("again").arg("1").exec(&mut connection).unwrap();
}

/// What a process has from whoever started it.
#[derive(Debug, PartialEq)]
struct Had {
    ids: Vec<String>,
    nofile: String,
    nice: String,
    oom_score_adj: String,
    environment: Vec<String>,
}

fn had(server: &RedisServer) -> Had {
    let pid = server.info().number("process_id");
    let text = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let status = text("status");
    let ids = ["Uid:", "Gid:", "Groups:", "Umask:"];
    let line = |name: &&str| status.lines().find(|line| line.starts_with(*name)).unwrap().trim().to_owned();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let environment = text("environ");
    let mut environment: Vec<String> = environment.split('\0').map(str::to_owned).collect();
    environment.sort();
    Had {
        ids: ids.iter().map(|name| words(&line(name)).join(" ")).collect(),
        nofile: words(text("limits").lines().find(|line| line.starts_with("Max open files")).unwrap())[3..5].join(" "),
        nice: text("stat").rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().to_owned(),
        oom_score_adj: text("oom_score_adj").trim().to_owned(),
        environment,
    }
}

/// Gives all below a path to a user.
fn give(path: &Path, user: u32) {
    for entry in walkdir::WalkDir::new(path) {
        std::os::unix::fs::lchown(entry.unwrap().path(), Some(user), Some(user)).unwrap();
    }
}

#[test]
fn a_plain_process_comes_back_with_its_groups_limits_umask_and_environment() {
    let Some(mut scene) = Scene::new(&["set-proc-title no", "save 3600 1"]) else { return };
    scene.server.stop();
    let config = scene.server.config_file();
    // Only root may be somebody else; the rest holds for everybody.
    let somebody = if geteuid().is_root() { "setpriv --reuid=4321 --regid=8765 --groups=4,106" } else { "" };
    if geteuid().is_root() {
        give(scene.data.path(), 4321);
        give(config.parent().unwrap(), 4321);
    }
    let program = ServerKind::Redis7.executable();
    let line = format!(
        "ulimit -n 3000; umask 027; echo 321 >/proc/self/oom_score_adj; exec nice -n 7 setsid --fork {somebody} {} {}",
        program.display(),
        config.display()
    );
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).env_clear().env("PATH", "/usr/bin:/bin").env("MYENV", "two words");
    // As a server that an older redkeep started.
    command.env("REDKEEP_PASSWORD_FILE", "/x").stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
    wait_for("the server", || {
        let mut connection = scene.server.client().get_connection().ok()?;
        (Info::of(&mut connection).ok()?.get("loading") == Some("0")).then_some(())
    });
    let mut before = had(&scene.server);
    // The tests themselves may have been started with some niceness.
    let nice = (rustix::process::getpriority_process(None).unwrap() + 7).min(19).to_string();
    assert!(before.nofile.ends_with(" 3000") && before.nice == nice && before.oom_score_adj == "321", "{before:?}");
    assert!(before.ids.contains(&"Umask: 0027".into()), "{before:?}");

    scene.done(&["restore", &scene.url(), "--yes"]);
    scene.new.assert_equal(&scene.holds(), "restored");
    before.environment.retain(|variable| !variable.starts_with("REDKEEP"));
    assert!(before.environment.contains(&"MYENV=two words".into()), "{before:?}");
    assert_eq!(had(&scene.server), before);
}

/// A process of root's has no more capabilities after it than before, and one that has some by itself keeps them.
#[test]
fn a_plain_process_comes_back_with_the_capabilities_that_it_had() {
    if !geteuid().is_root() {
        return; // Nobody else can take some away.
    }
    let port = "--inh-caps=+net_bind_service --ambient-caps=+net_bind_service";
    for (user, how) in [
        (0, "--bounding-set=-all --no-new-privs".to_owned()),
        (4321, "--reuid=4321 --regid=4321 --clear-groups --no-new-privs".to_owned()),
        (4321, format!("--reuid=4321 --regid=4321 --clear-groups --bounding-set=-all,+net_bind_service,+chown {port}")),
    ] {
        let Some(mut scene) = Scene::new(&["save 3600 1"]) else { return };
        scene.server.stop();
        let config = scene.server.config_file();
        give(scene.data.path(), user);
        give(config.parent().unwrap(), user);
        let line = format!(
            "exec setpriv {how} setsid --fork {} {}",
            ServerKind::Redis7.executable().display(),
            config.display()
        );
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().unwrap().success());
        let rights = || {
            let pid = scene.server.info().number("process_id");
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let is_one = |line: &&str| line.starts_with("Cap") || line.starts_with("NoNewPrivs");
            status.lines().filter(is_one).map(str::to_owned).collect::<Vec<_>>()
        };
        wait_for("the server", || {
            let mut connection = scene.server.client().get_connection().ok()?;
            (Info::of(&mut connection).ok()?.get("loading") == Some("0")).then_some(())
        });
        let before = rights();
        assert_eq!(before.len(), 6);
        scene.done(&["restore", &scene.url(), "--yes"]);
        scene.new.assert_equal(&scene.holds(), "restored");
        assert_eq!(rights(), before, "{how}");
    }
}

#[test]
fn nothing_of_redkeeps_own_environment_goes_to_a_server() {
    let Some(scene) = Scene::new(&["set-proc-title no"]) else { return };
    let start = format!(
        "setsid --fork {} {} >/dev/null 2>&1",
        ServerKind::Redis7.executable().display(),
        scene.server.config_file().display()
    );
    // A user without a password takes any.
    let url = scene.url().replace("redis://", "redis://default@");
    let mut command = scene.command(&["restore", &url, "--yes", "--start-command", &start]);
    command.env("REDISCLI_AUTH", "secret").env("REDKEEP_CACHE_DIR", scene.place.path().join("cache"));
    command.env("REDKEEP_STATE_DIR", scene.place.path().join("state")).env("KEPT", "1");
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let environment = had(&scene.server).environment;
    let ours = |variable: &&String| variable.starts_with("REDKEEP") || variable.starts_with("REDISCLI");
    assert_eq!(environment.iter().find(ours), None);
    assert!(environment.contains(&"KEPT=1".into()), "a person's command has a person's variables");
}

#[test]
fn what_a_restart_would_lose_stands_in_the_plan() {
    let Some(scene) = Scene::new(&[]) else { return };
    let plan = scene.done(&["restore", &scene.url(), "--dry-run"]).stdout;
    assert!(plan.contains("the environment the server was started with cannot be seen"), "{plan}");
    assert!(plan.contains("hold back what clients write (CLIENT PAUSE)"), "{plan}");
}

#[test]
fn a_server_that_does_not_end_is_waited_for_as_long_as_a_person_says_who_is_told_so() {
    let Some(scene) = Scene::new(&[]) else { return };
    let ran = scene.run(&["restore", &scene.url(), "--yes", "--stop-command", "true", "--stop-timeout", "1s"]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert!(ran.stderr.contains("note: the server, process "), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("is still there 1 s after true") && ran.stderr.contains("--stop-timeout"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.matches("run the same command again").count(), 1, "{}", ran.stderr);
    scene.old.assert_equal(&scene.holds(), "it goes on");
    let ran = scene.run(&["restore", &scene.url(), "--yes", "--stop-command", "echo no such unit; false"]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert!(ran.stderr.contains("exit status: 1; it said: no such unit"), "{}", ran.stderr);
    scene.done(&["restore", &scene.url(), "--yes"]);
    scene.new.assert_equal(&scene.holds(), "restored");
}
