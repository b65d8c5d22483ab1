//! A small disk of one's own: a tmpfs in a mount namespace that ends with its test.

use std::env;
use std::path::Path;
use std::process::Command;

/// Tells a test that runs itself again where its disk is mounted.
const DISK: &str = "REDKEEP_TEST_DISK";

/// Runs a test of this program again, on a disk of some MiB in a mount namespace of its own: as root, or in a user
/// namespace. Where the system allows neither, the test fails.
pub fn on_a_small_disk(test: &str, mebibytes: u64, body: fn(&Path)) {
    if let Some(disk) = env::var_os(DISK) {
        return body(Path::new(&disk));
    }
    if env::var("REDKEEP_TEST_SKIP").is_ok_and(|parts| parts.split(',').any(|part| part == "tmpfs")) {
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={mebibytes}m tmpfs \"$0\" || exit 125; exec \"$@\"");
    let mut said = String::new();
    for namespace in [["--mount"].as_slice(), &["--user", "--map-root-user", "--mount"]] {
        let mut command = Command::new("unshare");
        command.args(namespace).args(["sh", "-c", &mount]).arg(disk.path());
        command.arg(env::current_exe().unwrap()).args(["--exact", test]).env(DISK, disk.path());
        let output = command.output().expect("unshare, of util-linux, is installed");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if text.contains("test result: ok. 1 passed") {
            return;
        }
        assert!(!text.contains("running 1 test"), "{text}");
        said.push_str(&text);
    }
    panic!("cannot mount a tmpfs here (to go without these tests, set REDKEEP_TEST_SKIP=tmpfs):\n{said}");
}
