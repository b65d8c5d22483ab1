//! A restore into a server and its undo, of which one rename or one write of the journal fails (a full or broken disk): the
//! server's data are the old or the new ones, whole, what is said of them is true, and the same command finishes.
//!
//! strace fails the calls of the real program. `REDKEEP_TEST_FAULTS=1` tries every single one, else some are tried.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::restore_server_program::{Ran, Scene};
use crate::support::equality::Fingerprint;

/// Which calls fail, and how.
struct Fault {
    calls: &'static str,
    error: &'static str,
    /// Only of files of this name in the directory of the journals.
    of_journal: Option<&'static str>,
}

const FAULTS: [Fault; 3] = [
    Fault { calls: "rename,renameat,renameat2", error: "EIO", of_journal: None },
    Fault { calls: "write", error: "ENOSPC", of_journal: Some("new") },
    Fault { calls: "fsync", error: "EIO", of_journal: Some("new") },
];

/// Which calls fail by default: the second, and of so many one.
const FIRST: usize = 2;
const STRIDE: usize = 7;

/// Every single call fails once.
fn is_thorough() -> bool {
    std::env::var_os("REDKEEP_TEST_FAULTS").is_some()
}

impl Fault {
    /// Runs redkeep, and has the n-th of these calls of its main thread fail. Answers also with whether there was one.
    fn run(&self, scene: &Scene, arguments: &[&str], nth: usize) -> (Ran, bool) {
        let log: PathBuf = scene.place.path().join("strace.log");
        let plain = scene.command(arguments);
        let mut command = Command::new("strace");
        command.arg("-o").arg(&log).args(["-e", &format!("trace={}", self.calls)]);
        if let Some(name) = self.of_journal {
            let journals = scene.place.path().canonicalize().unwrap().join(".local/state/redkeep/restores");
            command.arg("-P").arg(journals.join(name));
        }
        command.args(["-e", &format!("inject={}:error={}:when={nth}", self.calls, self.error)]);
        command.arg(plain.get_program()).args(plain.get_args()).current_dir(plain.get_current_dir().unwrap());
        command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let ran =
            Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) };
        (ran, std::fs::read_to_string(log).unwrap().contains("(INJECTED)"))
    }
}

/// The same command ends with 0 and `wanted`, wherever the call failed.
fn sweep(scene: &Scene, fault: &Fault, arguments: &[&str], wanted: &Fingerprint, back: &dyn Fn()) {
    let (first, stride) = if is_thorough() { (1, 1) } else { (FIRST, STRIDE) };
    for nth in (first..).step_by(stride) {
        let before = scene.server.info().number("process_id");
        let (ran, has_failed) = fault.run(scene, arguments, nth);
        let what = format!("{arguments:?}, {} {nth}: exit {} {}{}", fault.calls, ran.code, ran.stdout, ran.stderr);
        if !has_failed {
            assert_eq!(ran.code, 0, "{what}");
            assert!(nth > first, "{what}: nothing failed");
            back();
            return;
        }
        let runs = scene.is_running();
        if ran.code != 0 {
            let said = |words: &str| ran.stderr.contains(words);
            let says_which = said("the old data are in place") || said("the restored data are in place");
            let goes_on = said("the server was started again with what it held");
            let was_stopped = !runs || scene.server.info().number("process_id") != before;
            assert!(!was_stopped || goes_on || says_which || said("nothing was replaced"), "{what}");
            assert!(said("hint: ") && said("(os error "), "{what}");
            // Every other time somebody starts the server first.
            if runs || goes_on || nth % 2 == 0 {
                scene.start_by_hand();
                let now = scene.holds();
                let is = |of: &Fingerprint| of.differences(&now).is_empty();
                assert!(is(&scene.old) || is(&scene.new), "{what}: {} keys", now.len());
                assert!(!said("the old data are in place") || is(&scene.old), "{what}");
                assert!(!goes_on || !is(wanted), "{what}");
                assert!(!said("the restored data are in place") || is(&scene.new), "{what}");
            }
            let again = scene.run(arguments);
            assert_eq!(again.code, 0, "{what}\nthen: {}{}", again.stdout, again.stderr);
        }
        wanted.assert_equal(&scene.holds(), &what);
        back();
    }
}

/// LOCAL-12 LOCAL-13
#[test]
fn after_a_rename_or_a_write_that_failed_the_data_are_whole_and_the_same_command_finishes() {
    if std::env::var("REDKEEP_TEST_SKIP").is_ok_and(|parts| parts.split(',').any(|part| part == "strace")) {
        return;
    }
    let (faults, configurations) = if is_thorough() { (3, 2) } else { (2, 1) };
    for lines in [&["appendonly yes"][..], &[]].into_iter().take(configurations) {
        let Some(scene) = Scene::new(lines) else { return };
        let url = scene.url();
        let (restore, undo) = (["restore", &url, "--yes"], ["undo", &url, "--yes"]);
        scene.done(&restore);
        scene.done(&undo);
        for fault in FAULTS.iter().take(faults) {
            sweep(&scene, fault, &restore, &scene.new, &|| {
                let ran = scene.run(&undo);
                assert_eq!(ran.code, 0, "{} {}", ran.stdout, ran.stderr);
                scene.old.assert_equal(&scene.holds(), "undone");
            });
            scene.done(&restore);
            sweep(&scene, fault, &undo, &scene.old, &|| {
                let ran = scene.run(&restore);
                assert_eq!(ran.code, 0, "{} {}", ran.stdout, ran.stderr);
            });
            scene.done(&undo);
        }
    }
}
