//! A server that redkeep started by what a person named of it shows nothing of that any more: the same words name it while it
//! runs, and the undo that was printed works.

use crate::restore_server_program::Scene;
use crate::support::server::ServerKind;

/// A stopped server that is named by its directory and settings, in words.
fn named(lines: &[&str], settings: &[&str]) -> Option<(Scene, Vec<String>)> {
    let mut scene = Scene::new(lines)?;
    scene.server.stop();
    let (directory, program) = (scene.directory(), ServerKind::Redis7.executable());
    let port = format!("port={}", scene.server.port());
    let mut words = ["--server", "--server-dir", directory.to_str().unwrap()].map(str::to_owned).to_vec();
    for setting in [&[port.as_str(), "bind=127.0.0.1", "enable-debug-command=local"], settings].concat() {
        words.extend(["--server-setting".into(), setting.to_owned()]);
    }
    words.extend(["--server-binary".into(), program.to_str().unwrap().into()]);
    Some((scene, words))
}

fn with<'a>(verb: &'a str, words: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    [&[verb], words.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), more].concat()
}

#[test]
fn the_undo_that_is_printed_works_while_the_server_runs_that_was_started() {
    for (lines, settings) in [
        // That its AOF is on is concluded.
        (&["appendonly yes"][..], &["maxmemory=900mb"][..]),
        (&[], &["appendonly=no"]),
    ] {
        let Some((scene, words)) = named(lines, settings) else { return };
        let text = scene.done(&with("restore", &words, &["--yes"])).stdout;
        scene.new.assert_equal(&scene.holds(), "restored");
        let undo = text.lines().find_map(|line| line.split_once("redkeep undo ")).unwrap().1;
        let undo: Vec<&str> = ["undo"].into_iter().chain(undo.split(' ')).collect();
        let plan = scene.done(&[&undo[..], &["--dry-run"]].concat()).stdout;
        assert!(plan.contains("stop the server") && plan.contains(settings[0].split('=').next().unwrap()), "{plan}");
        let text = scene.done(&undo).stdout;
        assert!(text.contains("is up again and holds db0: "), "{text}");
        scene.old.assert_equal(&scene.holds(), "undone");
        // And so does another restore.
        scene.done(&with("restore", &words, &["--yes"]));
        scene.new.assert_equal(&scene.holds(), "restored again");
    }
}

#[test]
fn a_server_that_has_other_settings_than_are_named_is_not_started_with_these() {
    let Some((scene, words)) = named(&["appendonly yes"], &["maxmemory=900mb"]) else { return };
    let odd = ["--server-setting".to_owned(), "dbfilename=odd.rdb".to_owned()];
    let odd = [&words[..], &odd].concat();
    scene.done(&with("restore", &odd, &["--yes"]));
    let process = scene.server.info().number("process_id");
    let refused = |words: &[String], what: &str| {
        let ran = scene.run(&with("undo", words, &["--yes"]));
        assert_eq!(ran.code, 9, "{what}: {}", ran.stdout);
        assert!(ran.stderr.contains(what) && ran.stderr.contains("--start-command"), "{}", ran.stderr);
        assert_eq!(scene.server.info().number("process_id"), process, "{what}");
    };
    let other: Vec<String> = odd.iter().map(|word| word.replace("900mb", "800mb")).collect();
    refused(&other, "it has another maxmemory than is named");
    let more = [&odd[..], &["--server-setting".into(), "appendonly=no".into()]].concat();
    refused(&more, "it has another appendonly than is named");
    // What nobody named would be lost.
    refused(&words, "it has another dbfilename than is named");
    scene.new.assert_equal(&scene.holds(), "nothing was done");
}
