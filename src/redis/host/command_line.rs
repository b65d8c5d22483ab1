//! What a plain process was started with, and a new one like it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, WaitOptions, getpid, pidfd_getfd, pidfd_open, set_child_subreaper, waitpid,
};

use super::LOOK;
use super::named::settings_of;
use super::process::Process;
use super::rights::Rights;
use super::surroundings::Surroundings;
use crate::held::{Reader, open_again};
use crate::redis::RedisError;
use crate::redis::program::lacks;
use crate::redis::scratch::Like;
use crate::redis::server::{Address, ConfigFile, Info};

/// What a server was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where it is started.
    pub directory: PathBuf,
    /// Its user and group.
    pub user: (u32, u32),
    /// The file its output goes to, as it had it open: known while the process is there, and by nothing that is written.
    pub output: Option<Output>,
    /// What else it had from whoever started it.
    pub surroundings: Surroundings,
}

/// An open file of another process. Two are the same where they are one file.
#[derive(Debug, Clone)]
pub struct Output(Arc<File>);

impl PartialEq for Output {
    fn eq(&self, other: &Output) -> bool {
        let id = |file: &File| file.metadata().ok().map(|found| (found.dev(), found.ino()));
        id(&self.0) == id(&other.0)
    }
}

impl Eq for Output {}

impl Output {
    /// What a process has open as its standard output: the very file, not what its name leads to now, and with the right
    /// to write that the process has itself.
    fn of(process: &Process) -> Option<Output> {
        let id = Pid::from_raw(i32::try_from(process.id).ok()?)?;
        let handle = pidfd_open(id, PidfdFlags::empty()).ok()?;
        let file = File::from(pidfd_getfd(&handle, 1, PidfdGetfdFlags::empty()).ok()?);
        // Whose number it was may have ended meanwhile.
        (!process.is_gone() && file.metadata().ok()?.is_file()).then(|| Output(Arc::new(file)))
    }

    /// The same file, for reading, where this user may.
    pub(crate) fn read(&self, reader: &Reader) -> io::Result<File> {
        open_again(&self.0, reader)
    }
}

/// A server that was started, as far as it is a child of this process.
#[derive(Debug, Default)]
pub struct Started {
    process: Option<Pid>,
}

impl Started {
    fn with(number: &Path) -> Started {
        // The shell writes it before it becomes anything else.
        let begun = Instant::now();
        loop {
            let id = std::fs::read_to_string(number).ok().filter(|text| text.ends_with('\n'));
            let process = id.and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw);
            if process.is_some() || begun.elapsed() > WRITTEN {
                return Started { process };
            }
            thread::sleep(LOOK);
        }
    }

    /// How it ended, in words, if it has: known once.
    pub fn ended(&mut self) -> Option<Ended> {
        let (_, status) = waitpid(Some(self.process?), WaitOptions::NOHANG).ok()??;
        self.process = None;
        let what = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => return None,
        };
        Some(Ended { what, is_failure: status.exit_status() != Some(0) })
    }
}

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// In words.
    pub what: String,
    /// Else it may have left another process that serves.
    pub is_failure: bool,
}

/// How long a shell may take to write a number.
const WRITTEN: Duration = Duration::from_secs(2);

/// What a process is started with whose environment is not known, and where tools are looked for: redkeep's own environment
/// is no business of a server.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Lets a process be given its limits before it becomes the server.
/// It writes the number that the server will have to a file.
const WAITING: &str =
    "read -r go && exec setsid --fork sh -c 'echo $$ >\"$0\" && exec \"$@\"' \"$0\" \"$@\" </dev/null";
/// No program that is started from then on has more rights.
const NO_MORE: &str = "--no-new-privs";
/// Where servers are, whatever PATH says.
const USUAL: [&str; 5] = ["/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/opt/redis/bin"];

impl CommandLine {
    /// The program and the configuration file that a server says it runs with; where it left its command line as it was,
    /// that. `None`: it was started without a file, with settings that nothing on this host can tell.
    pub(super) fn of(process: &Process, info: &Info) -> Option<CommandLine> {
        let told = |name: &str| info.get(name).filter(|text| !text.is_empty()).map(OsString::from);
        let words = process.words();
        let program = program(process, told("executable").as_deref())?;
        let rest = words.map(|words| words.into_iter().skip(1).map(OsString::from_vec).collect::<Vec<_>>());
        let arguments = match (rest, told("config_file")) {
            (Some(mut rest), Some(file)) => {
                // A name relative to where it was once started.
                if let Some(first) = rest.first_mut().filter(|first| !first.to_string_lossy().starts_with('-')) {
                    *first = file;
                }
                rest
            }
            (Some(rest), None) => rest,
            (None, file) => vec![file?],
        };
        Some(CommandLine { arguments, ..CommandLine::without_words(program, process.directory()?, process) })
    }

    /// All but the arguments, as a process has it.
    pub(super) fn without_words(program: PathBuf, directory: PathBuf, process: &Process) -> CommandLine {
        let (user, surroundings) = (process.user, process.surroundings());
        CommandLine { program, arguments: Vec::new(), directory, user, output: Output::of(process), surroundings }
    }

    /// Starts a process in a session of its own, which outlives redkeep. The server it becomes may be another one.
    pub(super) fn start(&self) -> Result<Started, RedisError> {
        let failed = |error: io::Error| RedisError::Server {
            what: format!("cannot start {}: {error}", self.program.display()),
            hint: "start the server by hand, or give --start-command".into(),
        };
        if let Some(lacks) = lacks(&self.program, &self.directory) {
            return Err(failed(io::Error::other(lacks)));
        }
        let output = || {
            let open = self.output.as_ref().and_then(|output| output.0.try_clone().ok());
            open.map_or_else(Stdio::null, Stdio::from)
        };
        let number = tempfile::NamedTempFile::new().map_err(failed)?;
        let umask = self.surroundings.umask.map(|umask| format!("umask {umask:o}; ")).unwrap_or_default();
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("{umask}{WAITING}")).arg(number.path()).current_dir(&self.directory);
        command.env_clear().env("PATH", PATH).stdin(Stdio::piped()).stdout(output()).stderr(output());
        let (user, group) = self.user;
        let rights = self.surroundings.rights.map(|rights| rights.words(user, Rights::own())).unwrap_or_default();
        match (rustix::process::geteuid().is_root(), has_tool()) {
            (true, true) => {
                command.arg("setpriv").args([format!("--reuid={user}"), format!("--regid={group}")]);
                command.arg(groups(self.surroundings.groups.as_deref().unwrap_or_default())).args(rights);
            }
            (true, false) if user != 0 => drop(command.uid(user).gid(group)),
            (false, true) if rights.iter().any(|word| word == NO_MORE) => drop(command.args(["setpriv", NO_MORE])),
            _ => {}
        }
        // Variables that others chose are for the server only, once it is its user's: not for what is root's before.
        command.args(["env", "-i"]);
        match &self.surroundings.environment {
            Some(variables) => command.args(variables),
            None => command.arg(format!("PATH={PATH}")),
        };
        command.arg(&self.program).args(&self.arguments);
        // Until its way to the server is gone, what is started becomes a child of this process when its parent ends: only its
        // parent is told how it ends.
        let _ = set_child_subreaper(Some(getpid()));
        let started = self.go(&mut command);
        let _ = set_child_subreaper(None);
        match started.map_err(failed)? {
            status if status.success() => Ok(Started::with(number.path())),
            status => Err(failed(io::Error::other(status.to_string()))),
        }
    }

    /// Whether what is started so could write there, as the kernel says; nothing where that cannot be tried.
    pub fn may_write(&self, path: &Path) -> Option<bool> {
        let (is_root, (user, group)) = (rustix::process::geteuid().is_root(), self.user);
        let mut command = match (is_root, has_tool(), user) {
            (false, _, _) | (true, _, 0) => Command::new("sh"),
            (true, false, _) => return None,
            (true, true, _) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={user}"), format!("--regid={group}")]);
                command.arg(groups(self.surroundings.groups.as_deref().unwrap_or_default()));
                command.arg("sh");
                command
            }
        };
        let command = command.args(["-c", "test -w \"$1\"", "sh"]).arg(path).env_clear().env("PATH", PATH);
        let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        match ended.code()? {
            0 => Some(true),
            1 => Some(false),
            _ => None,
        }
    }

    fn go(&self, command: &mut Command) -> io::Result<ExitStatus> {
        let mut child = command.spawn()?;
        self.surroundings.give(Pid::from_child(&child));
        // One that has ended already says so below.
        let _ = child.stdin.take().map(|mut go| go.write_all(b"go\n"));
        child.wait()
    }

    /// Whether the server would be started again with more rights than it has: what takes them away is not there.
    pub fn gains_rights(&self) -> bool {
        let (is_root, own) = (rustix::process::geteuid().is_root(), Rights::own());
        let is_exceeded = |rights: Rights| match (is_root, has_tool()) {
            (true, true) => false,
            (false, true) => Rights { no_new_privileges: false, ..rights }.are_exceeded(own),
            (_, false) => rights.are_exceeded(own),
        };
        self.surroundings.rights.is_some_and(is_exceeded)
    }

    /// What a stand-in of what is started so is started with. `directory`: where it works; `written`: its settings.
    pub fn like(&self, login: &Address, directory: &Path, written: &ConfigFile) -> Like {
        let words: Vec<String> = self.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let config = words.first().filter(|word| !word.starts_with('-')).map(PathBuf::from);
        let aclfile = written.directives.get("aclfile").filter(|path| !path.is_empty() && !path.starts_with('/'));
        let path = || vec![OsString::from(format!("PATH={PATH}"))];
        Like {
            words: settings_of(words.get(usize::from(config.is_some())..).unwrap_or_default()),
            config,
            has_tls: written.directives.contains_key("tls-port"),
            aclfile: aclfile.map(|path| directory.join(path)),
            login: login.clone(),
            environment: Some(self.surroundings.environment.clone().unwrap_or_else(path)),
        }
    }

    /// What the server has now and will not have when it is started so, in words.
    pub(super) fn lost(&self) -> Vec<String> {
        self.surroundings.lost()
    }
}

/// Whether the tool is there that gives a process its user, groups and capabilities.
fn has_tool() -> bool {
    PATH.split(':').any(|directory| Path::new(directory).join("setpriv").is_file())
}

fn groups(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    if ids.is_empty() { "--clear-groups".into() } else { format!("--groups={}", ids.join(",")) }
}

/// The program of a process, by a name under which it is a server: distributions give one file several names, and what
/// /proc shows may be another one. A server that was found by PATH says that it stands where it was started.
pub(super) fn program(process: &Process, told: Option<&OsStr>) -> Option<PathBuf> {
    let seen = process.program()?;
    let is_it = |path: &Path| path.canonicalize().is_ok_and(|path| path == seen);
    let told = told.map(Path::new);
    if let Some(told) = told.filter(|told| is_it(told)) {
        return Some(told.to_owned());
    }
    let name = told.and_then(Path::file_name)?;
    let its = process.search_path().into_iter().filter(|directory| directory.is_absolute());
    let known = its.chain(USUAL.iter().map(PathBuf::from));
    let found = known.map(|directory| directory.join(name)).find(|path| is_it(path));
    let own = || Some(seen.clone()).filter(|seen| seen.is_file() && seen.file_name() == Some(name));
    // One that was replaced since by an upgrade is started anew under its name.
    found.or_else(own).or_else(|| told.filter(|told| told.is_file() && !seen.exists()).map(Path::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_wrote_over_its_command_line_is_started_with_the_file_it_names() {
        let process = Process::find(std::process::id()).unwrap();
        let program = std::env::current_exe().unwrap();
        let line = |info: &str| CommandLine::of(&process, &Info::parse(info));
        let told = format!("executable:{}\r\n", program.display());
        let with_file = line(&format!("{told}config_file:/etc/redis/redis.conf\r\n")).unwrap();
        assert_eq!(with_file.program, program);
        assert_eq!(with_file.user.0, rustix::process::geteuid().as_raw());
        // Where the words are as they were, they count.
        let own: Vec<OsString> = std::env::args_os().skip(1).collect();
        assert_eq!(line(&told).unwrap().arguments, own);
        assert_eq!(line("executable:/nowhere/redis-server\r\n"), None, "another program than the one that runs");
    }

    #[test]
    fn what_is_missing_for_a_start_is_what_is_told() {
        let start = |program: &str, directory: &str| {
            let (program, directory) = (program.into(), directory.into());
            let (user, surroundings) = ((0, 0), Surroundings::default());
            CommandLine { program, arguments: Vec::new(), directory, user, output: None, surroundings }.start()
        };
        let told = |program: &str, directory: &str| start(program, directory).unwrap_err().to_string();
        assert_eq!(told("/nowhere/redis-server", "/"), "cannot start /nowhere/redis-server: the program is not there");
        let moved = told("/bin/sh", "/nowhere/data");
        assert_eq!(moved, "cannot start /bin/sh: the directory /nowhere/data that it works in is not there");
    }

    #[test]
    fn whether_a_user_may_write_somewhere_says_the_kernel() {
        if !rustix::process::geteuid().is_root() || !has_tool() {
            return; // Only root can be somebody else.
        }
        let of = |user| CommandLine {
            program: "/bin/true".into(),
            arguments: Vec::new(),
            directory: "/".into(),
            user,
            output: None,
            surroundings: Surroundings::default(),
        };
        let (root, other) = (of((0, 0)), of((61_234, 61_234)));
        for (path, root_may, other_may) in
            [("/etc", true, false), ("/tmp", true, true), ("/proc/version", false, false)]
        {
            let path = Path::new(path);
            // What is not writable by its mode may be by root, as far as the file system lets it.
            assert!(!root_may || root.may_write(path) == Some(true), "{path:?}");
            assert_eq!(other.may_write(path), Some(other_may), "{path:?}");
        }
    }

    #[test]
    fn a_program_that_was_found_by_path_is_found_again() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = Process::find(child.id()).unwrap();
        let found = program(&process, Some(OsStr::new("/nowhere/cat"))).unwrap();
        assert!(found.ends_with("cat") && found.canonicalize().ok() == process.program(), "{found:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
