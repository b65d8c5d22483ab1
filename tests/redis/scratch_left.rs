//! What a killed process leaves outside of the data directories: told by the doctor, and removed by the next one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::restore_server_program::Scene;
use crate::support::program::write_script;
use crate::support::server::{ServerKind, wait_for};

fn left_in(place: &Path) -> Vec<PathBuf> {
    fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// A server that takes its time before each key.
const SLOW: &str = "'{real}' \"$@\" --key-load-delay 600000000";

/// A drill whose server never serves: it says its number, and waits.
struct Stuck {
    child: Child,
    server: PathBuf,
}

impl Stuck {
    fn drill(scene: &Scene, scratch: &Path, name: &str) -> Stuck {
        Stuck::with(scene, scratch, name, "sleep 600")
    }

    /// The server that is started becomes this one.
    fn with(scene: &Scene, scratch: &Path, name: &str, server_is: &str) -> Stuck {
        // Whoever the server is may write there.
        let said = scene.place.path().canonicalize().unwrap().join(format!("said-{name}"));
        fs::create_dir(&said).unwrap();
        fs::set_permissions(&said, fs::Permissions::from_mode(0o777)).unwrap();
        for around in [scene.place.path(), scratch.parent().unwrap(), scratch] {
            fs::set_permissions(around, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let server = said.join("number");
        let program = scene.place.path().join(name);
        let real = ServerKind::Redis7.executable();
        let text = format!(
            "#!/bin/sh\nif [ \"$1\" = --version ]; then exec '{}' --version; fi\necho $$ >'{1}.new'; mv '{1}.new' '{1}'; exec {2}\n",
            real.display(),
            server.display(),
            server_is.replace("{real}", &real.display().to_string()),
        );
        write_script(&program, &text);
        let (program, scratch) = (program.to_str().unwrap(), scratch.to_str().unwrap());
        let arguments = ["verify", "latest", "--drill", "--server-binary", program, "--scratch-dir", scratch];
        let mut command = scene.command(&arguments);
        let mut stuck = Stuck {
            child: command.env("TMPDIR", scratch).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
            server,
        };
        wait_for("the scratch server", || stuck.server.exists().then_some(()));
        assert!(stuck.child.try_wait().unwrap().is_none());
        stuck
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let id = fs::read_to_string(&self.server).ok().and_then(|id| id.trim().parse().ok());
        if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
    }
}

/// LOCAL-33
#[test]
fn what_a_killed_drill_left_is_told_and_removed_by_the_next_one_and_that_of_a_living_one_stays() {
    let Some(scene) = Scene::new(&[]) else { return };
    // The scratch server of another user than root is given only what everybody can reach.
    let root = scene.place.path().canonicalize().unwrap().join("root");
    let scratch = root.join("tmp");
    fs::create_dir_all(&scratch).unwrap();
    fs::create_dir(scratch.join("redkeep-of-somebody-else")).unwrap();
    let told = || {
        let text = scene.run(&["doctor", "--root", root.to_str().unwrap()]).stdout;
        text.lines().find(|line| line.contains("killed restores or drills")).map(str::to_owned)
    };
    let killed = Stuck::drill(&scene, &scratch, "killed");
    let of_killed: Vec<PathBuf> = left_in(&scratch);
    assert!(of_killed.len() > 1 && told().is_none(), "{of_killed:?}");
    drop(killed);
    assert_eq!(left_in(&scratch).len(), of_killed.len(), "nobody has removed it yet");
    let told = told().unwrap();
    let drill = of_killed.iter().find(|path| path.to_string_lossy().contains("redkeep-drill-")).unwrap();
    assert!(told.contains(drill.to_str().unwrap()), "{told}");

    let alive = Stuck::drill(&scene, &scratch, "alive");
    let now = left_in(&scratch);
    for path in of_killed.iter().filter(|path| !path.ends_with("redkeep-of-somebody-else")) {
        assert!(!now.contains(path), "{now:?}");
    }
    assert!(scratch.join("redkeep-of-somebody-else").is_dir());
    let program = ServerKind::Redis7.executable();
    let arguments = ["verify", "latest", "--drill", "--server-binary", program.to_str().unwrap(), "--scratch-dir"];
    let ran = scene.run(&[&arguments[..], &[scratch.to_str().unwrap()]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(left_in(&scratch), now, "that of a living one stays, and nothing else does");
    drop(alive);
}

/// LOCAL-33
#[test]
fn a_server_that_a_killed_drill_left_is_ended_by_the_next_one() {
    let Some(scene) = Scene::new(&[]) else { return };
    let scratch = scene.place.path().canonicalize().unwrap().join("root/tmp");
    fs::create_dir_all(&scratch).unwrap();
    let mut killed = Stuck::with(&scene, &scratch, "killed", SLOW);
    let number = fs::read_to_string(&killed.server).unwrap();
    // It works on a directory in that of the drill; its socket may be elsewhere.
    let is_ours = |directory: &PathBuf| {
        let config = fs::read_to_string(directory.join("server.conf")).unwrap_or_default();
        config.contains(scratch.to_str().unwrap()) && directory.join("run/s").exists()
    };
    let left = wait_for("the scratch server's socket", || {
        [scratch.as_path(), Path::new("/tmp")].into_iter().flat_map(left_in).find(is_ours)
    });
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    std::os::unix::net::UnixStream::connect(left.join("run/s")).expect("it goes on");
    let program = ServerKind::Redis7.executable();
    let arguments = ["verify", "latest", "--drill", "--server-binary", program.to_str().unwrap(), "--scratch-dir"];
    let mut command = scene.command(&[&arguments[..], &[scratch.to_str().unwrap()]].concat());
    assert!(command.env("TMPDIR", &scratch).output().unwrap().status.success());
    assert!(!left.exists() && !Path::new("/proc").join(number.trim()).join("exe").exists());
    fs::remove_file(&killed.server).unwrap();
}
