//! A restore into a server that is stopped, or was never started: the same plan, proof and undo as for one that runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redkeep::operations::restore::server::{Options, undo_server};
use redkeep::operations::{Observer, OperationError, Silent};
use redkeep::redis::host::Named;

use crate::restore_server::{Captured, Victim, take};
use crate::restore_server_program::Scene;
use crate::support::equality::Fingerprint;
use crate::support::program::write_script;
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

const KINDS: [ServerKind; 4] = [ServerKind::Redis62, ServerKind::Redis7, ServerKind::Redis82, ServerKind::Valkey9];

/// Stops a server, and has it named by its configuration file from now on.
pub fn stop(victim: &mut Victim) {
    let server = victim.server.as_mut().unwrap();
    server.stop();
    let named =
        Named { config: Some(server.config_file()), program: Some(server.kind().executable()), ..Named::default() };
    victim.options = Options { named: Some(named), has_address: false, ..victim.options.clone() };
    victim.options.commands.start = None;
}

/// Ends the server that redkeep started: it is no child of ours.
pub fn end(server: &RedisServer) {
    let pid = server.info().number("process_id");
    redis::cmd("SHUTDOWN").arg("NOSAVE").query::<redis::Value>(&mut server.connection()).unwrap_err();
    crate::support::server::wait_for("its end", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

/// LOCAL-12 LOCAL-13
#[test]
fn a_stopped_server_of_every_version_serves_what_was_restored_and_again_what_it_held() {
    for kind in KINDS {
        if kind.is_skipped() {
            continue;
        }
        for captured in [Captured::Dump, Captured::Aof] {
            let taken = take(kind, captured, &[]);
            for lines in [&["appendonly yes", "appendfilename \"mine.aof\"", "dbfilename mine.rdb"][..], &["save 60 1"]]
            {
                let label = format!("{kind:?} {captured:?} {lines:?}");
                let mut victim = Victim::start(kind, lines);
                stop(&mut victim);
                let plan = Options { dry_run: true, may_stop: false, ..victim.options.clone() };
                let usual = std::mem::replace(&mut victim.options, plan);
                let report =
                    victim.restore(&taken).unwrap_or_else(|error| panic!("{label}: {error} {:?}", error.hint()));
                assert!(
                    !report.steps.iter().any(|step| step.contains("stop the server")),
                    "{label}: {:?}",
                    report.steps
                );
                assert!(report.was_stopped && !report.is_started && !victim.is_running(), "{label}");
                victim.options = usual;
                let report =
                    victim.restore(&taken).unwrap_or_else(|error| panic!("{label}: {error} {:?}", error.hint()));
                assert!(report.verified.is_some_and(|verified| verified.is_right()), "{label}");
                assert!(report.was_stopped && report.is_started, "{label}");
                taken.held.assert_equal(&victim.holds(), &label);
                // The undo is the same for a server that is stopped and for one that runs.
                end(victim.server());
                let undone = undo_server(&victim.options, &Silent).unwrap();
                assert!(undone.is_old && undone.serves.is_some(), "{label}");
                victim.old.assert_equal(&victim.holds(), &label);
                assert!(!undo_server(&victim.options, &Silent).unwrap().is_old, "{label}");
                taken.held.assert_equal(&victim.holds(), &label);
            }
        }
    }
}

/// Dies when work of this name begins.
struct DiesWhen(&'static str);

impl Observer for DiesWhen {
    fn begin(&self, what: &str, _: Option<u64>) {
        if what == self.0 {
            std::panic::panic_any("killed by the test");
        }
    }
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        false
    }
}

#[test]
fn killed_in_its_midst_the_same_command_restores_and_the_undo_gives_what_was_there_before_both() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    for when in ["putting appendonlydir in place", "setting the old files aside", "starting the server"] {
        let mut victim = Victim::start(kind, &["appendonly yes"]);
        stop(&mut victim);
        let died = catch_unwind(AssertUnwindSafe(|| drop(victim.restore_watched(&taken, &DiesWhen(when)))));
        assert!(died.is_err() && !victim.is_running(), "{when} never came");
        let report = victim.restore(&taken).unwrap_or_else(|error| panic!("{when}: {error} {:?}", error.hint()));
        assert!(report.verified.unwrap().is_right(), "{when}");
        taken.held.assert_equal(&victim.holds(), when);
        assert!(undo_server(&victim.options, &Silent).unwrap().is_old, "{when}");
        victim.old.assert_equal(&victim.holds(), when);
    }
}

/// A server that was never started: a configuration file and a directory.
struct Never {
    dir: tempfile::TempDir,
    state: tempfile::TempDir,
    /// Holds the port.
    server: RedisServer,
}

impl Never {
    fn new(kind: ServerKind, lines: &[&str], password: Option<&str>) -> Never {
        let dir = tempfile::tempdir().unwrap();
        let options = ServerOptions { password: password.map(str::to_owned), ..ServerOptions::with_config(lines) };
        let mut server = RedisServer::start_with(kind, dir.path(), options);
        server.stop();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        }
        Never { dir, state: tempfile::tempdir().unwrap(), server }
    }

    fn directory(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn options(&self, named: Named) -> Options {
        let program = Some(self.server.kind().executable());
        let address = self.server.url().parse().unwrap();
        let (named, state) = (Some(Named { program, ..named }), Some(self.state.path().into()));
        Options { may_stop: true, named, state, ..Options::new(address) }
    }
}

impl Drop for Never {
    fn drop(&mut self) {
        if let Ok(mut connection) = self.server.client().get_connection() {
            let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").query::<redis::Value>(&mut connection);
        }
    }
}

#[test]
fn a_server_that_was_never_started_is_restored_into_by_its_configuration_or_its_directory() {
    for kind in [ServerKind::Redis62, ServerKind::Redis7] {
        if kind.is_skipped() {
            continue;
        }
        let taken = take(kind, Captured::Dump, &[]);
        let restore = |options: &Options| {
            redkeep::operations::restore::server::restore_into_server(
                &taken.repository,
                &taken.chosen,
                options,
                &Silent,
            )
        };
        let never = Never::new(kind, &["appendonly yes"], Some("secret"));
        let named = Named { config: Some(never.server.config_file()), ..Named::default() };
        let options = Options { has_address: false, address: "127.0.0.1:1".parse().unwrap(), ..never.options(named) };
        let report = restore(&options).unwrap();
        assert!(report.verified.unwrap().is_right() && report.is_started, "with the password that its file says");
        taken.held.assert_equal(&Fingerprint::of(&never.server), "by its configuration");

        // Without a file: what it is started with is said.
        let never = Never::new(kind, &[], None);
        let directory = Some(never.directory());
        let error = restore(&never.options(Named { directory: directory.clone(), ..Named::default() })).unwrap_err();
        assert!(error.to_string().contains("whether the server's AOF is on is not known"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--server-setting appendonly=yes")), "{error}");
        let port = never.server.port().to_string();
        let mut settings = vec![("appendonly", "yes"), ("port", &port), ("bind", "127.0.0.1"), ("save", "")];
        if kind.is_7_or_later() {
            settings.push(("enable-debug-command", "local"));
        }
        let settings = settings.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let report = restore(&never.options(Named { directory, settings, ..Named::default() })).unwrap();
        assert!(report.verified.unwrap().is_right());
        taken.held.assert_equal(&Fingerprint::of(&never.server), "by its directory");
    }
}

pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn refused(victim: &Victim, taken: &crate::restore_server::Taken, words: &str, hint: &str) {
    let before = names(&victim.directory());
    let error: OperationError = victim.restore(taken).expect_err(words);
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.hint().is_some_and(|said| said.contains(hint)), "{error}: {:?}", error.hint());
    assert_eq!(names(&victim.directory()), before, "{words}");
    assert!(!victim.is_running(), "{words}");
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_touched() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, &["appendonly yes"]);
    stop(&mut victim);
    let config = victim.server().config_file();
    let written = std::fs::read_to_string(&config).unwrap();
    let with = |line: &str| std::fs::write(&config, format!("{written}{line}\n")).unwrap();

    with("bogus-directive x");
    refused(&victim, &taken, "does not start with the server's configuration", "nothing was touched");
    with("replicaof 10.0.0.1 6379");
    refused(&victim, &taken, "is a replica of 10.0.0.1 6379", "into its master");
    with("databases 4");
    refused(&victim, &taken, "holds database 5", "raise databases");
    with("cluster-enabled yes");
    refused(&victim, &taken, "is a node of a cluster", "--force cluster");
    with("dir /nowhere/at/all");
    refused(&victim, &taken, "is not there", "--server-dir");
    with("dir .");
    refused(&victim, &taken, "counts from where the server is started", "--server-dir");
    with("");
    victim.options.may_stop = false;
    refused(&victim, &taken, "of the stopped server in", "--yes");
    victim.options.may_stop = true;
    if rustix::process::geteuid().is_root() {
        // Whoever writes the file could have another one's directory changed.
        std::os::unix::fs::chown(&config, Some(4321), Some(4321)).unwrap();
        refused(&victim, &taken, "can be written by others than the owner", "to root");
        std::os::unix::fs::chown(&config, Some(0), Some(0)).unwrap();
    }
    // Another server answers at its address.
    let other = tempfile::tempdir().unwrap();
    let other = RedisServer::start(kind, other.path());
    with(&format!("port {}", other.port()));
    refused(&victim, &taken, "and the one that is named in", "--server=URL");
    with("");
    // It runs, and answers somewhere else than the configuration says.
    victim.server.as_mut().unwrap().start_again();
    with("port 1");
    let error = victim.restore(&taken).unwrap_err();
    assert!(error.to_string().contains("no server answers at 127.0.0.1:1"), "{error}");
}

#[test]
fn the_program_names_the_way_and_restores_by_a_unit_and_without_a_start() {
    let Some(mut scene) = Scene::new(&["appendonly yes"]) else { return };
    let url = scene.url();
    scene.server.stop();
    let ran = scene.run(&["restore", &url, "--yes"]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert!(ran.stderr.contains("Connection refused") && ran.stderr.contains("--server-config "), "{}", ran.stderr);

    let config = scene.server.config_file();
    let config = config.to_str().unwrap();
    let program = ServerKind::Redis7.executable();
    let by_config = ["--server", "--server-config", config, "--server-binary", program.to_str().unwrap()];
    let restore = |more: &[&'static str]| [&["restore"], &by_config[..], more].concat();
    let plan = scene.done(&restore(&["--dry-run"])).stdout;
    assert!(plan.contains("start the server: ") && !plan.contains("stop the server"), "{plan}");
    assert!(!plan.contains("as it is installed on this host"), "{plan}");
    // A configuration names no program: that it may be another one is told, and where there is no choice, asked.
    let ran = scene.run(&["restore", "--server", "--server-config", config, "--dry-run"]);
    assert!(ran.code != 0 || ran.stdout.contains("as it is installed on this host"), "{}", ran.stdout);
    assert!([ran.stdout, ran.stderr].concat().contains("--server-binary"));
    let text = scene.done(&restore(&["--yes", "--no-start"])).stdout;
    assert!(text.contains("was stopped, and is not started") && text.contains("nothing is proved"), "{text}");
    assert!(!scene.is_running());
    let undo = [&["undo"], &by_config[..], &["--yes", "--no-start"]].concat();
    let text = scene.done(&undo).stdout;
    assert!(text.contains("holds again what it held before the restore") && !text.contains("up again"), "{text}");
    let json = scene.done(&restore(&["--yes", "--json"])).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["was_stopped"].as_bool(), json["started"].as_bool()), (Some(true), Some(true)));
    assert_eq!(json["wrong"].as_array().unwrap().len(), 0);
    scene.new.assert_equal(&scene.holds(), "restored");
    let text = scene.done(&[&["undo"], &by_config[..], &["--yes"]].concat()).stdout;
    assert!(text.contains("is up again and holds db0: "), "{text}");
    scene.old.assert_equal(&scene.holds(), "undone");
    scene
        .server
        .client()
        .get_connection()
        .map(|mut c| redis::cmd("SHUTDOWN").query::<redis::Value>(&mut c))
        .unwrap()
        .unwrap_err();

    // No systemd runs where this is tested: what it says of a unit, and what it does with it, is written here.
    let tools = scene.place.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    let systemctl = tools.join("systemctl");
    let text = format!(
        "#!/bin/sh\ncase $1 in\n\
         show) echo LoadState=loaded; echo \"ExecStart={{ path={0} ; argv[]={0} {config} --loglevel verbose ; ignore_errors=no }}\";;\n\
         start) setsid --fork {0} {config} >/dev/null 2>&1;;\n*) exit 1;;\nesac\n",
        program.display()
    );
    write_script(&systemctl, &text);
    let mut command = scene.command(&["restore", "--server", "--server-unit", "my-cache.service", "--yes"]);
    let path = std::env::join_paths(
        [tools.clone()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let output = command.env("PATH", path.unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    scene.new.assert_equal(&scene.holds(), "by its unit");
}

#[test]
fn what_a_server_would_make_of_a_restored_dump_is_told() {
    let Some(scene) = Scene::new(&[]) else { return };
    let told = "a server with appendonly yes starts empty on this dump";
    for dry_run in [&["--dry-run"][..], &[]] {
        let text = scene.done(&[&["restore", "--target", "there"], dry_run].concat()).stdout;
        assert!(text.contains(told) && text.contains("restore --server"), "{text}");
    }
    // And so it does.
    scene.done(&["restore", "--target", "there"]);
    let there = scene.place.path().join("there");
    let empty = RedisServer::start_with(ServerKind::Redis7, &there, ServerOptions::with_config(&["appendonly yes"]));
    assert_eq!(redis::cmd("DBSIZE").query::<u64>(&mut empty.connection()).unwrap(), 0);
    let ran = scene.run(&["restore", "--target", there.to_str().unwrap()]);
    assert!(ran.code == 9 && ran.stderr.contains("hint: redkeep restore --server"), "{}", ran.stderr);
    for dry_run in [&["--dry-run"][..], &[]] {
        let ran = scene.run(&[&["undo", there.to_str().unwrap()], dry_run].concat());
        assert!(ran.code == 9 && ran.stderr.contains("is the directory of a running redis-server"), "{}", ran.stderr);
    }
    let json = scene.done(&["restore", "--target", "here", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["notes"][0].as_str().unwrap().starts_with(told), "{json}");
}

#[test]
fn what_is_concluded_of_a_stopped_server_without_a_configuration_is_what_it_is_started_with() {
    for name in ["appendonly.aof", "mine.aof"] {
        let Some(mut scene) = Scene::new(&["appendonly yes", &format!("appendfilename {name}")]) else { return };
        scene.server.stop();
        let (directory, port) = (scene.directory(), format!("port={}", scene.server.port()));
        let program = ServerKind::Redis7.executable();
        let of = ["--server", "--server-dir", directory.to_str().unwrap(), "--server-setting", &port];
        let more =
            ["bind=127.0.0.1", "enable-debug-command=local"].map(|setting| ["--server-setting", setting]).concat();
        let of = [&of[..], &more, &["--server-binary", program.to_str().unwrap()]].concat();
        let plan = scene.done(&[&["restore"], &of[..], &["--dry-run"]].concat()).stdout;
        let start = plan.lines().find(|line| line.contains("start the server: ")).unwrap();
        assert!(start.contains("--appendonly yes"), "{plan}");
        assert_eq!(start.contains("--appendfilename mine.aof"), name == "mine.aof", "{plan}");
        let text = scene.done(&[&["restore"], &of[..], &["--yes"]].concat()).stdout;
        let undo = text.lines().find(|line| line.contains("redkeep undo --server")).unwrap();
        assert!(undo.contains("--server-setting appendonly=yes"), "{text}");
        let is_on = || scene.server.info().number("aof_enabled") == 1;
        assert!(is_on(), "{name}: restored");
        scene.new.assert_equal(&scene.holds(), "restored");
        end(&scene.server);
        let undo: Vec<&str> = undo.split_once("redkeep ").unwrap().1.split(' ').collect();
        let mut dry_run = undo.clone();
        dry_run.extend(["--dry-run"]);
        let plan = scene.done(&dry_run).stdout;
        assert!(plan.contains("start the server: ") && plan.contains("--appendonly yes"), "{plan}");
        scene.done(&undo);
        assert!(is_on(), "{name}: undone");
        scene.old.assert_equal(&scene.holds(), "undone");
    }
}
