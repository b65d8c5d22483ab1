//! What the owner of a data directory plants there before redkeep comes: nothing of it is followed, obeyed or made his. LOCAL-17, LOCAL-18

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use crate::hostile_owner_scene::Scene;
use crate::support::server::{Info, ServerKind, wait_for};

/// As redkeep 0.1 wrote it, with entries that lead outside and a command that starts the server.
const JOURNAL: &str = r#"
rm -f .redkeep-restore.journal; mkdir -p mine/a/b mine/a/etc; echo "root::0:evil" >mine/a/etc/shadow
printf 'redkeep-restore 1\nstate placed\nsnapshot abc\nundo no\nother mine/a/b mine/a/b\nentry ../../outside/etc/shadow - -\nstart command "touch %s/pwned"\n' "$OUT" >.redkeep-restore.journal
"#;

#[test]
fn a_journal_in_the_data_directory_tells_redkeep_nothing() {
    let Some(scene) = Scene::new() else { return };
    for form in ["plain", "aof"] {
        scene.settle_with(&[("data", form)]);
        scene.owner_does(&format!("cd data; {JOURNAL}"));
        let data = scene.home().join("data");
        for arguments in [&["undo"][..], &["undo", "--dry-run"]] {
            let ran = scene.run(&[arguments, &[data.to_str().unwrap()]].concat());
            assert_eq!(ran.code, 2, "{}", ran.stderr);
            assert!(ran.stderr.contains(".redkeep-restore.journal"), "{}", ran.stderr);
        }
        let url = format!("--server={}", scene.serve(form).url());
        let ran = scene.run(&["undo", &url, "--yes"]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        scene.assert_unharmed("undo");
        scene.quiet(&["restore", &url, "--dataset", form, "--yes"]);
        scene.assert_unharmed("a restore after it");
        scene.owner_does(&format!("cd data; {JOURNAL}"));
        scene.quiet(&["undo", &url, "--yes"]);
        scene.quiet(&["restore", &url, "--dataset", form, "--yes"]);
        scene.assert_unharmed("a journal planted between them");
    }
}

/// Every name that redkeep gives to something beside a target, or in a server's directory.
fn names(target: &str) -> Vec<String> {
    let time = "20260102T030405Z";
    let of = |what: &str, rest: &str| format!(".redkeep-{what}-{target}{rest}");
    let mut names = vec![of("lock", ""), of("staging", ""), of("probe", "")];
    names.extend([of("aside", &format!("-{time}")), of("swap", &format!("-{time}-12"))]);
    names.extend([".redkeep-restore.journal", ".redkeep-restore.journal.new"].map(String::from));
    names
}

#[test]
fn links_under_the_names_that_redkeep_uses_are_not_followed() {
    let Some(scene) = Scene::new() else { return };
    for to in ["etc", "secret", "made"] {
        scene.settle_with(&[("data", "plain"), ("target", "plain")]);
        let server = scene.serve("plain");
        for (directory, target) in [(".", "target"), ("data", "dataset")] {
            for name in names(target) {
                scene.owner_does(&format!("ln -s $OUT/{to} {directory}/{name}"));
            }
        }
        let target = scene.home().join("target");
        let target = target.to_str().unwrap();
        let url = format!("--server={}", server.url());
        let all = [
            &["restore", "--dataset", "plain", "--target", target][..],
            &["undo", target],
            &["undo", target, "--list"],
            &["undo", target, "--remove-older", "1s"],
            &["restore", "--dataset", "aof", &url, "--yes"],
            &["undo", &url, "--yes"],
            &["backup", "--redis", &server.url(), "--dataset", "live", "--all-files"],
            &["backup", target, "--dataset", "offline", "--include", "*"],
        ];
        for arguments in all {
            let ran = scene.run(arguments);
            // A link in place of a lock is a refusal, and no more.
            assert!([0, 1, 3, 9].contains(&ran.code), "{arguments:?}: {}", ran.stderr);
            scene.assert_unharmed(&format!("{arguments:?} with links to {to}"));
        }
        scene.owner_does("rm .redkeep-lock-target data/.redkeep-lock-dataset");
        for arguments in all {
            let ran = scene.run(arguments);
            assert!([0, 1, 3, 9].contains(&ran.code), "{arguments:?}: {}", ran.stderr);
            scene.assert_unharmed(&format!("{arguments:?} with links to {to}, not for the lock"));
        }
        scene.settle_with(&[("data", "plain"), ("target", "plain")]);
        scene.quiet(&["restore", "--dataset", "plain", "--target", target]);
    }
}

#[test]
fn what_was_set_aside_is_neither_put_back_nor_removed_through_a_link() {
    let Some(scene) = Scene::new() else { return };
    scene.settle_with(&[("target", "plain")]);
    let target = scene.home().join("target");
    let target = target.to_str().unwrap();
    scene.quiet(&["restore", "--dataset", "plain", "--target", target]);
    // One that is a link, and real ones of his that are full of links.
    scene.owner_does(
        "for aside in .redkeep-aside-target-2*; do mv $aside mine; ln -s $OUT/etc $aside; done
         ln -s $OUT/etc .redkeep-aside-target-20200101T000000Z
         for time in 20200102T000000Z 20200103T000000Z; do
           mkdir -p .redkeep-aside-target-$time/deep; cd .redkeep-aside-target-$time
           ln -s $OUT/etc etc; ln -s $OUT/secret dump.rdb; ln -s $OUT deep/outside; cd ..
         done",
    );
    let listed = scene.quiet(&["undo", target, "--list"]);
    assert!(!listed.stdout.contains("20200101T"), "{}", listed.stdout);
    assert_eq!(scene.run(&["undo", target, "--remove", "20200101T000000Z"]).code, 1);
    scene.quiet(&["undo", target, "--remove", "20200102T000000Z", "--yes"]);
    assert!(!scene.home().join(".redkeep-aside-target-20200102T000000Z").exists());
    scene.assert_unharmed("removed what was set aside");
    scene.quiet(&["undo", target]);
    scene.assert_unharmed("put back his own directory, with his links in it");
    assert!(scene.home().join("target/etc").is_symlink(), "it is what he made of it");
}

#[test]
fn the_output_of_a_server_that_comes_back_is_no_file_of_root() {
    let Some(scene) = Scene::new() else { return };
    scene.settle_with(&[("data", "plain")]);
    let line = "exec setsid --fork \"$0\" \"$1\" >log 2>&1";
    let server = scene.serve("plain");
    scene.end_all();
    let mut command = scene.as_owner("sh");
    command.args(["-c", line]).arg(ServerKind::Redis7.executable()).arg(server.config_file());
    assert!(command.current_dir(scene.home()).stdout(Stdio::null()).status().unwrap().success());
    wait_for("his server", || Info::of(&mut server.client().get_connection().ok()?).ok());
    let output = || {
        let path = format!("/proc/{}/fd/1", server.info().number("process_id"));
        fs::metadata(path).map(|found| (found.dev(), found.ino())).unwrap()
    };
    let wrote_to = output();
    scene.owner_does("rm log; ln -s $OUT/secret log; ln -s $OUT/secret 'log (deleted)'");
    let url = format!("--server={}", server.url());
    scene.quiet(&["restore", "--dataset", "plain", &url, "--yes"]);
    scene.assert_unharmed("a link under the name that the log had");
    assert_eq!(output(), wrote_to);
}

/// CAPTURE-6
#[test]
fn a_link_in_place_of_what_is_captured_has_nothing_outside_read() {
    let Some(scene) = Scene::new() else { return };
    scene.settle_with(&[("data", "aof"), ("target", "plain")]);
    let url = scene.serve("aof").url();
    let live = ["backup", "--redis", &url, "--dataset", "live", "--all-files"];
    let target = scene.home().join("target");
    for (script, arguments) in [
        ("ln -s $OUT/aof target/aof", &["backup", target.to_str().unwrap(), "--dataset", "captured"][..]),
        ("mv target mine; ln -s $OUT target", &["backup", target.to_str().unwrap(), "--dataset", "captured"]),
        ("cd data; mv appendonlydir mine; ln -s $OUT/aof appendonlydir", &live),
        ("mv data yours; ln -s $OUT data", &live),
    ] {
        scene.owner_does(script);
        let ran = scene.run(arguments);
        assert!([1, 3, 9].contains(&ran.code), "{script}: {} {}", ran.code, ran.stderr);
        scene.assert_unharmed(script);
    }
}

#[test]
fn numbers_for_a_monitor_are_not_written_through_a_link() {
    let Some(scene) = Scene::new() else { return };
    let link_all =
        |to: &str| format!("for name in redkeep.prom .redkeep.prom.redkeep-1; do ln -s $OUT/{to} sub/$name; done");
    for (script, is_written) in [
        (link_all("secret"), true),
        (link_all("etc"), true),
        (link_all("made"), true),
        ("mkfifo sub/redkeep.prom".to_owned(), true),
        ("rmdir sub; ln -s $OUT/etc sub".to_owned(), false),
    ] {
        scene.settle_with(&[("data", "plain"), ("sub", "")]);
        let configuration = scene.path("private/redkeep.toml");
        let (repository, metrics) = (scene.path("private/repository"), scene.home().join("sub/redkeep.prom"));
        // Without a server there is nothing to capture: that is a number, too.
        let text = format!(
            "[profile.night]\nrepo = {repository:?}\nredis = \"redis://127.0.0.1:1\"\ndataset = \"night\"\n\
             metrics-file = {metrics:?}\n"
        );
        fs::write(&configuration, text).unwrap();
        scene.owner_does(&script);
        let ran = scene.run(&["--config", configuration.to_str().unwrap(), "run", "night"]);
        assert_eq!(ran.code, 9, "{script}: {}", ran.stderr);
        scene.assert_unharmed(&script);
        let found = fs::symlink_metadata(&metrics).is_ok_and(|found| found.is_file() && found.uid() == 0);
        assert_eq!(found, is_written, "{script}: {}", ran.stderr);
    }
}
