//! Restores where the kernel refuses to set owners, modes and times: told as unset, with exit 3, and the bytes are there.

use std::path::PathBuf;
use std::process::Command;

use crate::place::{Place, run, tree};

/// A filter of system calls, of which those that set owners, modes or times are refused (EPERM), and then the program.
const LAUNCHER: &str = r#"
import ctypes, os, platform, sys
calls = {"x86_64": {"mode": [90, 91, 268, 452], "owner": [92, 93, 94, 260], "time": [132, 235, 261, 280]},
         "aarch64": {"mode": [52, 53, 452], "owner": [54, 55], "time": [88]}}[platform.machine()]
class Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter))]
lines = [Filter(0x20, 0, 0, 0)]
for number in calls[sys.argv[1]]:
    lines += [Filter(0x15, 0, 1, number), Filter(0x06, 0, 0, 0x00050001)]
lines.append(Filter(0x06, 0, 0, 0x7fff0000))
program = Program(len(lines), (Filter * len(lines))(*lines))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execv(sys.argv[2], sys.argv[2:])
"#;

/// The Python that came with the test servers.
fn python() -> PathBuf {
    let servers = std::env::var_os("REDKEEP_TEST_SERVERS").map(PathBuf::from);
    let servers = servers.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-servers").into());
    let own = servers.join("venv/bin/python");
    if own.is_file() { own } else { "python3".into() }
}

#[test]
fn what_cannot_be_set_is_told_and_all_else_is_restored() {
    if !rustix::process::geteuid().is_root() {
        return; // Owners are not set by others.
    }
    let place = Place::new();
    // Belongs to somebody else, is of another mode than a new file, and of another time.
    let dump = place.data().join("dump.rdb");
    std::os::unix::fs::chown(&dump, Some(61_234), Some(61_235)).unwrap();
    place.done(&["init"]);
    place.backup();
    for (refused, words) in [("owner", "owner 61234:61235 of"), ("mode", "the mode of"), ("time", "the time of")] {
        let target = format!("back-{refused}");
        let plain = place.command(&["restore", "--target", &target, "--json"]);
        let mut command = Command::new(python());
        command.args(["-c", LAUNCHER, refused]).arg(plain.get_program()).args(plain.get_args());
        command.current_dir(plain.get_current_dir().unwrap()).env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ran = run(&mut command);
        assert_eq!(ran.code, 3, "{refused}: {}\n{}", ran.text(), ran.stderr);
        let unset = ran.json()["unset"].to_string();
        assert!(
            unset.contains(words) && unset.contains("could not be set: Operation not permitted"),
            "{refused}: {unset}"
        );
        assert_eq!(tree(&place.path(&target)), tree(&place.data()), "{refused}");
        // Into a directory that is there, and back.
        let ran = run(&mut command);
        assert_eq!(ran.code, 3, "{refused}: {}\n{}", ran.text(), ran.stderr);
        assert!(ran.json()["aside"].is_string(), "{refused}");
    }
}
