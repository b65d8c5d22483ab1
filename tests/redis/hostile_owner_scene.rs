//! A place where redkeep works as root for a user who was broken into, with things outside his directory that nobody may
//! touch or read for him.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use walkdir::WalkDir;

use crate::restore_server_program::Ran;
use crate::support::repository::init_cheaply;
use crate::support::server::{Info, RedisServer, ServerKind, ServerOptions, wait_for};

/// Stands in every file outside; neither his directory, nor a snapshot, nor a message may ever hold it.
pub const CANARY: &str = "canary-9f2c71d05be84a63-of-somebody-else";
/// Long ago: whoever reads a file whose access time lies before its change gives it a new one.
const LONG_AGO: Duration = Duration::from_secs(86_400);

pub struct Scene {
    /// Root's. Holds `home` (his), `outside` (root's, to be left alone) and what redkeep itself needs.
    place: TempDir,
    /// Nobody else's here: all processes of this user are of this scene.
    pub user: u32,
    outside: BTreeMap<PathBuf, Facts>,
    /// A server without and one with an AOF: their configuration and address.
    servers: [RedisServer; 2],
}

/// What may not change of something outside.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    inode: u64,
    owner: (u32, u32),
    mode: u32,
    modified: (i64, i64),
    content: Vec<u8>,
    /// Names, change of the inode and access, unless he has a name of it himself.
    traces: Option<Traces>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Traces {
    names: u64,
    changed: (i64, i64),
    accessed: (i64, i64),
}

impl Scene {
    /// `None`: without root nobody is another user here.
    pub fn new() -> Option<Scene> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() || ServerKind::Redis7.is_skipped() {
            return None;
        }
        let user = 200_000 + (std::process::id() % 50_000) * 16 + NEXT.fetch_add(1, Ordering::Relaxed);
        let place = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
        for name in ["outside/etc/sub", "outside/aof", "private"] {
            fs::create_dir_all(place.path().join(name)).unwrap();
        }
        fs::set_permissions(place.path().join("private"), Permissions::from_mode(0o700)).unwrap();
        make_outside(&place.path().join("outside"));
        let servers = [("plain", None), ("aof", Some("appendonly yes"))].map(|(name, line)| {
            let lines: Vec<&str> = line.into_iter().chain(["set-proc-title no"]).collect();
            make_templates(place.path(), name, &lines, user)
        });
        let mut scene = Scene { place, user, outside: BTreeMap::new(), servers };
        for form in ["plain", "aof"] {
            let from = scene.path(&format!("private/new-{form}"));
            if form == "plain" {
                init_cheaply(&scene.path("private/repository"), &scene.path("private"));
            }
            scene.quiet(&["backup", from.to_str().unwrap(), "--dataset", form]);
        }
        scene.outside = scene.look_outside();
        scene.settle();
        Some(scene)
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.place.path().canonicalize().unwrap().join(below)
    }

    pub fn outside(&self) -> PathBuf {
        self.path("outside")
    }

    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Ends his processes and gives him a new home with what the names below it hold: `plain` or `aof` data, or nothing.
    pub fn settle_with(&self, directories: &[(&str, &str)]) {
        self.end_all();
        let home = self.home();
        if home.exists() {
            fs::remove_dir_all(&home).unwrap();
        }
        fs::create_dir(&home).unwrap();
        // He cannot make this link himself where the kernel forbids it; not every kernel does.
        fs::hard_link(self.path("outside/linked"), home.join(".hard")).unwrap();
        for (name, form) in directories {
            match *form {
                "" => fs::create_dir(home.join(name)).unwrap(),
                form => copy(&self.path(&format!("private/old-{form}")), &home.join(name)),
            }
        }
        for entry in WalkDir::new(&home).into_iter().map(Result::unwrap).filter(|entry| entry.file_name() != ".hard") {
            lchown(entry.path(), Some(self.user), Some(self.user)).unwrap();
        }
    }

    fn settle(&self) {
        self.settle_with(&[]);
    }

    /// Starts his server on `home/data`, with an AOF or without.
    pub fn serve(&self, form: &str) -> &RedisServer {
        let server = &self.servers[usize::from(form == "aof")];
        let mut command = self.as_owner("setsid");
        command.arg("--fork").arg(ServerKind::Redis7.executable()).arg(server.config_file());
        assert!(command.current_dir(self.home().join("data")).stdout(Stdio::null()).status().unwrap().success());
        wait_for("his server", || {
            let mut connection = server.client().get_connection().ok()?;
            (Info::of(&mut connection).ok()?.get("loading") == Some("0")).then_some(())
        });
        server
    }

    /// A program that runs as he.
    pub fn as_owner(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={}", self.user), format!("--regid={}", self.user), "--clear-groups".into()]);
        command.arg(program).stdin(Stdio::null());
        command
    }

    /// What he does in his home.
    pub fn owner_does(&self, script: &str) {
        let mut command = self.as_owner("sh");
        command.args(["-ec", script]).current_dir(self.home()).env("OUT", self.outside());
        assert!(command.status().unwrap().success(), "{script}");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("redkeep"));
        command.args(arguments).current_dir(self.place.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.path("private"));
        command.env("REDKEEP_REPO", self.path("private/repository")).env("REDKEEP_PASSWORD", "correct horse");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// While he does nothing, it works.
    pub fn quiet(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert!([0, 3].contains(&ran.code), "{arguments:?}: {} {}", ran.stdout, ran.stderr);
        ran
    }

    /// Nothing outside was changed, made, removed, given away or read, and nothing of it came into his home.
    pub fn assert_unharmed(&self, what: &str) {
        let now = self.look_outside();
        for (path, facts) in &self.outside {
            assert_eq!(now.get(path), Some(facts), "{what}: {}", path.display());
        }
        let new: Vec<&PathBuf> = now.keys().filter(|path| !self.outside.contains_key(*path)).collect();
        assert!(new.is_empty(), "{what}: made outside: {new:?}");
        self.assert_without_canary(&self.home(), what);
    }

    /// No file below a directory holds what stands outside, and none runs with rights that are not its owner's.
    pub fn assert_without_canary(&self, directory: &Path, what: &str) {
        for entry in WalkDir::new(directory).into_iter().filter_map(Result::ok) {
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK))
                .open(entry.path());
            let Ok(mut file) = file else { continue };
            let found = file.metadata().unwrap();
            if found.is_file() {
                let mut content = Vec::new();
                file.read_to_end(&mut content).unwrap();
                assert!(!holds_canary(&content), "{what}: {} holds what is outside", entry.path().display());
                assert!(found.mode() & 0o6000 == 0, "{what}: {} has special bits", entry.path().display());
            }
        }
    }

    fn look_outside(&self) -> BTreeMap<PathBuf, Facts> {
        // Paths first: walking reads directories only, whose access times are not compared.
        let entries = WalkDir::new(self.outside()).into_iter().map(Result::unwrap);
        entries.map(|entry| (entry.path().to_owned(), facts(entry.path()))).collect()
    }

    /// Ends every process of his.
    pub fn end_all(&self) {
        wait_for("the end of his processes", || {
            let all: Vec<i32> = processes_of(self.user);
            for process in &all {
                let _ = kill_process(Pid::from_raw(*process)?, Signal::KILL);
            }
            all.is_empty().then_some(())
        });
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for process in processes_of(self.user) {
            let _ = Pid::from_raw(process).map(|process| kill_process(process, Signal::KILL));
        }
    }
}

pub fn holds_canary(bytes: &[u8]) -> bool {
    bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap()
}

/// Processes of a user that have not ended.
fn processes_of(user: u32) -> Vec<i32> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_his = |process: &i32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let word = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next())
        };
        word("Uid:") == Some(user.to_string().as_str()) && word("State:") != Some("Z")
    };
    numbers.filter(is_his).collect()
}

fn make_outside(outside: &Path) {
    let dump = format!("REDIS0011\u{fffd}{CANARY}");
    let incr = format!("*3\r\n$3\r\nSET\r\n$6\r\ncanary\r\n${}\r\n{CANARY}\r\n", CANARY.len());
    let files = [
        ("secret", CANARY.to_owned()),
        ("etc/shadow", format!("root:{CANARY}:0")),
        ("etc/sub/y", CANARY.to_owned()),
        ("dump.rdb", dump),
        ("aof/appendonly.aof.1.incr.aof", incr),
        ("aof/appendonly.aof.manifest", format!("file appendonly.aof.1.incr.aof seq 1 type i\n# {CANARY}\n")),
        ("linked", "he has a name of this".to_owned()),
    ];
    for (name, content) in files {
        let path = outside.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        File::open(&path).unwrap().set_times(FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH + LONG_AGO)).unwrap();
    }
}

fn facts(path: &Path) -> Facts {
    let found = fs::symlink_metadata(path).unwrap();
    let mut content = Vec::new();
    if found.is_file() {
        // The kernel is asked not to note that this test reads it.
        let open = OpenOptions::new().read(true).custom_flags(flags(OFlags::NOATIME)).open(path);
        open.unwrap().read_to_end(&mut content).unwrap();
    }
    let accessed = if found.is_file() { (found.atime(), found.atime_nsec()) } else { (0, 0) };
    let is_linked = path.ends_with("outside/linked");
    Facts {
        inode: found.ino(),
        owner: (found.uid(), found.gid()),
        mode: found.mode(),
        modified: (found.mtime(), found.mtime_nsec()),
        content,
        traces: (!is_linked).then(|| Traces {
            names: found.nlink(),
            changed: (found.ctime(), found.ctime_nsec()),
            accessed,
        }),
    }
}

/// Data of a server from before a restore and from its snapshot, in two directories; and the server, which is his.
fn make_templates(place: &Path, form: &str, lines: &[&str], user: u32) -> RedisServer {
    let data = place.join("home/data");
    fs::create_dir_all(&data).unwrap();
    let mut server = RedisServer::start_with(ServerKind::Redis7, &data, ServerOptions::with_config(lines));
    for which in ["old", "new"] {
        let mut connection = server.connection();
        redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
        redis::cmd("MSET").arg(&["which", which, "number", "1"]).exec(&mut connection).unwrap();
        let keys: Vec<String> = (0..500).flat_map(|number| [format!("key:{number}"), "value".repeat(8)]).collect();
        redis::cmd("MSET").arg(&keys).exec(&mut connection).unwrap();
        drop(connection);
        // A dump beside the AOF would be a second dataset.
        if form == "aof" {
            server.stop()
        } else {
            server.stop_saving()
        }
        copy(&data, &place.join("private").join(format!("{which}-{form}")));
        for entry in WalkDir::new(place.join("private").join(format!("{which}-{form}"))) {
            lchown(entry.unwrap().path(), Some(user), Some(user)).unwrap();
        }
        if which == "old" {
            server.start_again();
        }
    }
    fs::remove_dir_all(place.join("home")).unwrap();
    for entry in WalkDir::new(server.config_file().parent().unwrap()) {
        lchown(entry.unwrap().path(), Some(user), Some(user)).unwrap();
    }
    server
}

/// Copies a directory of files and directories.
fn copy(from: &Path, to: &Path) {
    for entry in WalkDir::new(from).into_iter().map(Result::unwrap) {
        let to = to.join(entry.path().strip_prefix(from).unwrap());
        match entry.file_type().is_dir() {
            true => fs::create_dir(&to).unwrap(),
            false => drop(fs::copy(entry.path(), &to).unwrap()),
        }
    }
}
