//! The real program restoring into a real server, as a person or a script meets it; killed with SIGKILL at any moment.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::equality::Fingerprint;
use crate::support::keyspace::Keyspace;
use crate::support::repository::init_cheaply;
use crate::support::server::{Info, RedisServer, ServerKind, ServerOptions, wait_for};

/// A repository with a snapshot of one server, and another server to restore it into.
pub struct Scene {
    pub place: TempDir,
    pub data: TempDir,
    pub server: RedisServer,
    pub old: Fingerprint,
    pub new: Fingerprint,
}

pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Scene {
    pub fn new(lines: &[&str]) -> Option<Scene> {
        Scene::with(ServerOptions::with_config(lines))
    }

    pub fn with(options: ServerOptions) -> Option<Scene> {
        let kind = ServerKind::Redis7;
        if kind.is_skipped() {
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        let source = tempfile::tempdir().unwrap();
        let mut server = RedisServer::start(kind, source.path());
        Keyspace::new(8, 3000).fill(&server);
        let new = Fingerprint::of(&server);
        server.stop_saving();
        let data = tempfile::tempdir().unwrap();
        let server = RedisServer::start_with(kind, data.path(), options);
        Keyspace::new(9, 50).fill(&server);
        let old = Fingerprint::of(&server);
        redis::cmd("SAVE").exec(&mut server.connection()).unwrap();
        let scene = Scene { place, data, server, old, new };
        init_cheaply(&scene.place.path().join("repository"), scene.place.path());
        let ran = scene.run(&["backup", source.path().to_str().unwrap(), "--dataset", "sessions"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        Some(scene)
    }

    pub fn url(&self) -> String {
        format!("--server={}", self.server.url())
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("redkeep"));
        command.args(arguments).current_dir(self.place.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.place.path());
        command.env("REDKEEP_REPO", self.place.path().join("repository")).env("REDKEEP_PASSWORD", "correct horse");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    pub fn done(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}: {}", ran.stdout);
        ran
    }

    fn kill(&self, arguments: &[&str], after: Duration) {
        let mut child = self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn is_running(&self) -> bool {
        self.server.client().get_connection().is_ok()
    }

    /// As somebody would who knows nothing of the restore.
    pub fn start_by_hand(&self) {
        // A server that the killed restore started may come up at any moment: two are one too many for a port.
        if !self.is_running() {
            let mut command = Command::new("setsid");
            command.arg("--fork").arg(ServerKind::Redis7.executable()).arg(self.server.config_file());
            assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
        }
        wait_for("the server", || {
            let mut connection = self.server.client().get_connection().ok()?;
            (Info::of(&mut connection).ok()?.get("loading") == Some("0")).then_some(())
        });
    }

    /// Whether the restore has come to its end.
    fn is_done(&self) -> bool {
        let state = self.place.path().join(".local/state/redkeep/restores");
        let files = std::fs::read_dir(state).into_iter().flatten().flatten();
        let journals =
            files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|kind| kind == "journal"));
        let mut texts = journals.map(|path| std::fs::read_to_string(path).unwrap_or_default());
        texts.any(|text| text.contains("\nstate done\n") && text.contains("\nundo no\n"))
    }

    pub fn holds(&self) -> Fingerprint {
        Fingerprint::of(&self.server)
    }

    pub fn directory(&self) -> PathBuf {
        self.data.path().canonicalize().unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Ok(mut connection) = self.server.client().get_connection() {
            let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").query::<redis::Value>(&mut connection);
        }
    }
}

#[test]
fn it_restores_tells_what_it_did_and_takes_it_back() {
    let Some(scene) = Scene::new(&["appendonly yes"]) else { return };
    let url = scene.url();
    let plan = scene.done(&["restore", &url, "--dry-run"]).stdout;
    assert!(plan.starts_with("would restore snapshot ") && plan.contains("  1. write 1 file of"), "{plan}");
    let refused = scene.run(&["restore", &url]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("hint: see what would be done with --dry-run, then say --yes"),
        "{}",
        refused.stderr
    );
    scene.old.assert_equal(&scene.holds(), "nothing was done");

    let text = scene.done(&["restore", &url, "--yes"]).stdout;
    assert!(text.contains("keys, as in the snapshot") && text.contains("redkeep undo --server=127.0.0.1:"), "{text}");
    scene.new.assert_equal(&scene.holds(), "restored");
    let text = scene.done(&["undo", &url, "--dry-run"]).stdout;
    assert!(text.contains("would hold again what it held before the restore"), "{text}");
    let step = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words}: {text}"));
    let (stop, change) = (step("  1. stop the server: "), step("  2. let the files change places"));
    assert!(stop < change && change < step("  3. start the server: ") && step("  4. ask it: keys") > change, "{text}");
    for dry_run in [&["--dry-run"][..], &[]] {
        let ran = scene.run(&[&["undo", scene.directory().to_str().unwrap()], dry_run].concat());
        assert!(ran.code == 9 && ran.stderr.contains("is the directory of a running redis-server"), "{}", ran.stderr);
    }
    scene.new.assert_equal(&scene.holds(), "nothing was done");
    let text = scene.done(&["undo", &url, "--yes"]).stdout;
    assert!(text.contains("holds again what it held before the restore"), "{text}");
    scene.old.assert_equal(&scene.holds(), "undone");
    assert!(text.contains("is up again and holds db0: "), "{text}");

    let json = scene.done(&["restore", &url, "--yes", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["directory"].as_str().map(Path::new), Some(scene.directory().as_path()));
    assert_eq!((json["wrong"].as_array().unwrap().len(), json["dry_run"].as_bool()), (0, Some(false)));
    assert_eq!(json["holds"].as_array().unwrap().len(), 3);
    assert!(Path::new(json["aside"].as_str().unwrap()).is_dir());
    assert_eq!(scene.run(&["restore", &url, "--target", "x"]).code, 2);
    assert_eq!(scene.run(&["restore", "--yes", "--target", "x"]).code, 2);
    assert_eq!(scene.run(&["restore", "--server=redis://127.0.0.1:1", "--yes"]).code, 9);
}

/// LOCAL-12
#[test]
fn killed_at_any_moment_the_server_serves_the_old_or_the_new_data_and_the_same_command_finishes() {
    for lines in [&["appendonly yes"][..], &[]] {
        let Some(scene) = Scene::new(lines) else { return };
        let url = scene.url();
        let restore = ["restore", &url, "--yes"];
        let begin = Instant::now();
        scene.done(&restore);
        let whole = begin.elapsed();
        scene.done(&["undo", &url, "--yes"]);
        for step in 0..12 {
            scene.kill(&restore, whole * step / 11);
            if scene.is_done() {
                // It came too late: what follows is the next restore.
                scene.done(&["undo", &url, "--yes"]);
            }
            if step % 2 == 0 {
                scene.start_by_hand();
                let now = scene.holds();
                let is = |wanted: &Fingerprint| wanted.differences(&now).is_empty();
                assert!(is(&scene.old) || is(&scene.new), "{lines:?} {step}: {} keys", now.len());
            }
            let ran = scene.run(&restore);
            assert_eq!(ran.code, 0, "{lines:?} {step}: {} {}", ran.stdout, ran.stderr);
            scene.new.assert_equal(&scene.holds(), "finished");
            let ran = scene.run(&["undo", &url, "--yes"]);
            assert_eq!(ran.code, 0, "{lines:?} {step}: {} {}", ran.stdout, ran.stderr);
            scene.old.assert_equal(&scene.holds(), "undone");
        }
    }
}
