//! Secrets that a server is started with are told to nobody but the server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::restore_server_program::Scene;
use crate::support::server::{Info, ServerKind};

/// None of them is a part of anything else that is said.
const SECRETS: [&str; 4] = ["word-of-all", "word-of-master", "word-of-key", "word-of-app"];

fn holds_none(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what}: {text}");
    }
}

/// The words of all processes.
fn process_list() -> String {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|process| process.path().join("cmdline"));
    let words = processes.filter_map(|path| fs::read(path).ok());
    words.map(|words| String::from_utf8_lossy(&words).replace('\0', " ") + "\n").collect()
}

fn journals(scene: &Scene) -> Vec<PathBuf> {
    let state = scene.place.path().join(".local/state/redkeep/restores");
    fs::read_dir(state).into_iter().flatten().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

/// LOCAL-18
#[test]
fn words_of_a_server_that_are_secret_stand_in_no_plan_and_no_report_and_leave_the_journal_when_it_serves() {
    let Some(mut scene) = Scene::new(&[]) else { return };
    scene.server.stop();
    let config = scene.server.config_file();
    let binary = ServerKind::Redis7.executable();
    let mut by_config = vec!["--server", "--server-config", config.to_str().unwrap()];
    by_config.extend(["--server-binary", binary.to_str().unwrap()]);
    by_config.extend(["--server-setting", "requirepass=word-of-all", "--server-setting", "masterauth=word-of-master"]);
    by_config.extend(["--server-setting", "tls-key-file-pass=word-of-key"]);
    by_config.extend(["--server-setting", "user=app on >word-of-app ~* +@all"]);
    let restore = |more: &[&'static str]| [&["restore"], &by_config[..], more].concat();
    for json in [&["--dry-run"][..], &["--dry-run", "--json"]] {
        let ran = scene.done(&restore(json));
        assert!(ran.stdout.contains("--requirepass ***"), "{}", ran.stdout);
        holds_none("the plan", &ran.stdout);
    }

    // Until the server serves, the journal says how it is started: to root, or the caller, alone.
    let ran = scene.run(&[&restore(&["--yes"])[..], &["--server-setting", "bogus-directive=1"]].concat());
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    holds_none("a refusal", &(ran.stdout + &ran.stderr));
    let ran = scene.run(&[&restore(&["--yes"])[..], &["--start-command", "exit 7"]].concat());
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    holds_none("a failure", &(ran.stdout + &ran.stderr));
    for journal in journals(&scene) {
        for place in [journal.as_path(), journal.parent().unwrap()] {
            assert_eq!(fs::metadata(place).unwrap().permissions().mode() & 0o077, 0, "{}", place.display());
        }
    }

    let ran = scene.run(&restore(&["--yes", "--json"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    holds_none("the report", &(ran.stdout + &ran.stderr));
    let mut connection = scene.server.client().get_connection().unwrap();
    redis::cmd("AUTH").arg("word-of-all").exec(&mut connection).unwrap();
    assert!(Info::of(&mut connection).unwrap().get("process_id").is_some());
    holds_none("the list of processes", &process_list());
    assert!(!journals(&scene).is_empty());
    for journal in journals(&scene) {
        holds_none("the journal", &String::from_utf8_lossy(&fs::read(&journal).unwrap()));
    }
    redis::cmd("SHUTDOWN").arg("NOSAVE").query::<redis::Value>(&mut connection).unwrap_err();
}
