//! Who keeps a server: a unit of systemd, a script of `service`, nobody, or a person with commands of his own.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::command_line::{CommandLine, Started};
use super::process::Process;
use super::{Commands, built};
use crate::held::open_file;
use crate::redis::RedisError;
use crate::redis::program::without_secrets;
use crate::redis::server::{Info, Server};

/// Where systemd shows that it runs.
pub(super) const SYSTEMD: &str = "/run/systemd/system";
/// Where scripts of `service` are.
pub(super) const SCRIPTS: &str = "/etc/init.d";
/// Names that distributions give them.
pub(super) const NAMES: [&str; 4] = ["redis-server", "redis", "valkey-server", "valkey"];

/// Bytes of what a tool printed that are looked at, and lines that are told.
const SAID_BYTES: u64 = 4096;
const LINES_TOLD: usize = 5;
/// Bytes of a pid file.
const PID_BYTES: u64 = 64;

/// How a server is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// `systemctl stop`.
    Unit(String),
    /// `service NAME stop`.
    Script(String),
    /// A command for the shell.
    Command(String),
    /// SHUTDOWN NOSAVE.
    Shutdown,
    /// SHUTDOWN SAVE.
    ShutdownSaving,
    /// SIGTERM.
    Terminate {
        /// Why not SHUTDOWN.
        why: &'static str,
        /// Whether the server saves what it holds once more then, where it tells that.
        saves: Option<bool>,
    },
}

/// How a server is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// `systemctl start`.
    Unit(String),
    /// `service NAME start`.
    Script(String),
    /// A command for the shell.
    Command(String),
    /// As a plain process.
    Process(CommandLine),
}

/// Finds out who keeps a process; commands a person gave come first.
pub(super) fn of(
    process: &Process,
    server: &mut Server,
    info: &Info,
    commands: &Commands,
) -> Result<(Stop, Start), RedisError> {
    let kept = keeper(process, server, info);
    let stop = commands.stop.clone().map(Stop::Command);
    let start = commands.start.clone().map(Start::Command);
    let mut plain = |start: Option<Start>| {
        let line = || CommandLine::of(process, info).map(Start::Process);
        if let Some(gone) = process.program().filter(|path| start.is_none() && !path.exists()) {
            return Err(RedisError::Server {
                what: format!("the server's program {} is gone: it could not be started again", gone.display()),
                hint: "put it there again, or say how the server is started with --start-command".into(),
            });
        }
        match start.or_else(line) {
            Some(start) => Ok(start),
            None => built::of(commands.built.as_ref(), process, server, info).map(Start::Process),
        }
    };
    Ok(match kept {
        Some((kept_stop, kept_start)) => (stop.unwrap_or(kept_stop), start.unwrap_or(kept_start)),
        None => {
            let start = plain(start)?;
            (stop.unwrap_or_else(|| of_plain(server)), start)
        }
    })
}

/// How a server is stopped that nobody keeps.
fn of_plain(server: &mut Server) -> Stop {
    match server.refuses_shutdown() {
        None => Stop::Shutdown,
        Some(why) => Stop::Terminate { why, saves: saves_at_sigterm(server) },
    }
}

/// Whether a server saves once more when it is told to end by a signal: by its save points, unless it is set otherwise.
fn saves_at_sigterm(server: &mut Server) -> Option<bool> {
    let how = server.setting("shutdown-on-sigterm").ok().flatten().unwrap_or_default();
    let mut words = how.split_whitespace();
    match words.find_map(|word| [("save", true), ("nosave", false)].into_iter().find(|(name, _)| *name == word)) {
        Some((_, saves)) => Some(saves),
        None => server.setting("save").ok().flatten().map(|points| !points.is_empty()),
    }
}

/// The unit or script that keeps a process.
fn keeper(process: &Process, server: &mut Server, info: &Info) -> Option<(Stop, Start)> {
    if Path::new(SYSTEMD).is_dir() {
        let unit = unit(&process.control_groups())?;
        return Some((Stop::Unit(unit.clone()), Start::Unit(unit)));
    }
    let name = script(process, server, info)?;
    Some((Stop::Script(name.clone()), Start::Script(name)))
}

/// The unit in a list of control groups. A shell of a person's session, or a container, is no unit of a server.
fn unit(groups: &str) -> Option<String> {
    let last = groups.lines().filter_map(|line| line.rsplit('/').next());
    let mut units = last.filter(|name| {
        let name = name.strip_suffix(".service").unwrap_or_default();
        let stem = name.split('@').next().unwrap_or_default();
        NAMES.contains(&stem)
    });
    units.next().map(String::from)
}

/// A script that starts a server with this configuration file, if its pid file holds this process.
fn script(process: &Process, server: &mut Server, info: &Info) -> Option<String> {
    let file = info.get("config_file").filter(|file| !file.is_empty())?;
    let pid_file = server.setting("pidfile").ok().flatten().filter(|path| !path.is_empty())?;
    let mut id = String::new();
    let opened = open_file(Path::new(&pid_file), Some(&process.reader())).ok()?;
    opened.take(PID_BYTES).read_to_string(&mut id).ok()?;
    let is_script = |name: &&str| {
        let text = fs::read_to_string(Path::new(SCRIPTS).join(name)).unwrap_or_default();
        text.contains(file)
    };
    let is_its = id.trim().parse() == Ok(process.id);
    NAMES.iter().find(|name| is_its && is_script(name)).map(|name| (*name).to_owned())
}

impl Stop {
    pub(super) fn run(&self, server: &mut Server, process: &Process) -> Result<(), RedisError> {
        match self {
            Stop::Unit(unit) => run("systemctl", &["stop", unit]),
            Stop::Script(name) => run("service", &[name, "stop"]),
            Stop::Command(command) => run("sh", &["-c", command]),
            Stop::Shutdown => shut_down(server, "NOSAVE", process),
            Stop::ShutdownSaving => shut_down(server, "SAVE", process),
            Stop::Terminate { .. } => terminate(process).map_err(|error| RedisError::Server {
                what: format!("cannot stop the server, process {}, by a signal: {error}", process.id),
                hint: "run redkeep as root or as the user of the server, or say how it is stopped with --stop-command"
                    .into(),
            }),
        }
    }

    /// Whether the server can save once more when it is stopped so, with what clients wrote until then.
    pub fn can_save(&self) -> bool {
        match self {
            Stop::Shutdown | Stop::ShutdownSaving | Stop::Terminate { saves: Some(true), .. } => true,
            Stop::Terminate { .. } | Stop::Unit(_) | Stop::Script(_) | Stop::Command(_) => false,
        }
    }
}

fn terminate(process: &Process) -> io::Result<()> {
    let id = i32::try_from(process.id).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    Ok(kill_process(id, Signal::TERM)?)
}

fn shut_down(server: &mut Server, how: &str, process: &Process) -> Result<(), RedisError> {
    match server.words(&["SHUTDOWN", how]) {
        // A server that obeys closes the connection instead of answering.
        Ok(_) | Err(RedisError::Connection { .. }) => Ok(()),
        // It could not save, and goes on.
        Err(error @ RedisError::Answer { .. }) if error.to_string().contains("Errors trying to SHUTDOWN") => Err(error),
        // The user may not, or the command has another name, which was not told before. What it may save now is set aside
        // afterwards.
        Err(error) => terminate(process).map_err(|_| error),
    }
}

impl Start {
    /// Starts the server. It may not serve yet, and may end again.
    pub fn run(&self) -> Result<Started, RedisError> {
        match self {
            Start::Unit(unit) => run("systemctl", &["start", unit])?,
            Start::Script(name) => run("service", &[name, "start"])?,
            Start::Command(command) => run("sh", &["-c", command])?,
            Start::Process(line) => return line.start(),
        }
        Ok(Started::default())
    }
}

/// Runs a tool, or a person's command. What it prints is told where it fails: a file takes it, for what it starts may hold
/// its output open for ever.
fn run(program: &str, arguments: &[&str]) -> Result<(), RedisError> {
    let said = format!("{program} {}", arguments.join(" "));
    let mut printed = tempfile::tempfile().ok();
    let output = || printed.as_ref().and_then(|file| file.try_clone().ok()).map_or_else(Stdio::null, Stdio::from);
    let mut command = Command::new(program);
    let command = without_secrets(&mut command).args(arguments).stdin(Stdio::null()).stdout(output()).stderr(output());
    let ended = command.status().map_err(|error| error.to_string());
    let failure = match ended {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(error) => error,
    };
    let (what, hint) = match printed.as_mut().map(last_lines).filter(|text| !text.is_empty()) {
        Some(text) => (format!("{said}: {failure}; it said: {text}"), "mend what it says"),
        None => (format!("{said}: {failure}"), "run it by hand to see what it says"),
    };
    Err(RedisError::Server { what, hint: format!("{hint}, or give --stop-command and --start-command") })
}

/// The last lines of what was printed.
fn last_lines(file: &mut File) -> String {
    let length = file.metadata().map_or(0, |found| found.len());
    let mut bytes = Vec::new();
    // What cannot be read is not told.
    let _ = file.seek(SeekFrom::Start(length.saturating_sub(SAID_BYTES)));
    let _ = file.take(SAID_BYTES).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.get(lines.len().saturating_sub(LINES_TOLD)..).unwrap_or_default().join(" | ")
}

impl fmt::Display for Stop {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Unit(unit) => write!(out, "systemctl stop {unit}"),
            Stop::Script(name) => write!(out, "service {name} stop"),
            Stop::Command(command) => out.write_str(command),
            Stop::Shutdown => out.write_str("SHUTDOWN NOSAVE"),
            Stop::ShutdownSaving => out.write_str("SHUTDOWN SAVE"),
            Stop::Terminate { why, saves } => {
                let saves = match saves {
                    Some(true) => "; it saves once more then, and that is set aside",
                    Some(false) => "",
                    None => "; it may save once more then, and that is set aside",
                };
                write!(out, "SIGTERM, for {why}{saves}")
            }
        }
    }
}

/// Settings of a server whose values are secrets.
const SECRETS: [&str; 6] =
    ["requirepass", "masterauth", "primaryauth", "user", "tls-key-file-pass", "tls-client-key-file-pass"];

/// Whether the values of a server's setting are secrets.
pub fn is_secret(setting: &str) -> bool {
    SECRETS.iter().any(|secret| setting.eq_ignore_ascii_case(secret))
}

/// Without the secrets that a command line may hold: it ends in plans and logs.
impl fmt::Display for Start {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Unit(unit) => write!(out, "systemctl start {unit}"),
            Start::Script(name) => write!(out, "service {name} start"),
            Start::Command(command) => out.write_str(command),
            Start::Process(line) => {
                write!(out, "{}", line.program.display())?;
                let (mut hides, mut is_first) = (false, false);
                line.arguments.iter().try_for_each(|word| {
                    let word = word.to_string_lossy();
                    // The first value of a setting is one even where it begins like another setting.
                    let is_value = std::mem::take(&mut is_first);
                    if let Some(setting) = word.strip_prefix("--").filter(|_| !is_value) {
                        // All of them in one word, too.
                        let name = setting.split_whitespace().next().unwrap_or_default();
                        hides = is_secret(name);
                        let has_value = hides && name.len() < setting.trim_end().len();
                        is_first = hides && !has_value;
                        return match has_value {
                            true => write!(out, " --{name} ***"),
                            false => write!(out, " {word}"),
                        };
                    }
                    if hides { out.write_str(" ***") } else { write!(out, " {word}") }
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::host::Surroundings;

    #[test]
    fn a_secret_among_the_words_of_a_server_is_not_told() {
        let told = |words: &[&str]| {
            let arguments = words.iter().map(|word| word.into()).collect();
            let (directory, surroundings) = ("/".into(), Surroundings::default());
            let line =
                CommandLine { program: "/r".into(), arguments, directory, user: (0, 0), output: None, surroundings };
            Start::Process(line).to_string()
        };
        for (words, expected) in [
            (&["s.conf", "--requirepass", "p W", "--port", "1"][..], "/r s.conf --requirepass *** --port 1"),
            (&["--user", "app", "on", ">pw", "--save", ""], "/r --user *** *** *** --save "),
            (&["--MasterAuth pw", "--masteruser", "u"], "/r --MasterAuth *** --masteruser u"),
            (&["--tls-key-file-pass", "pw"], "/r --tls-key-file-pass ***"),
            (&["--requirepass", "--pw", "--port", "1"], "/r --requirepass *** --port 1"),
        ] {
            assert_eq!(told(words), expected);
        }
    }

    #[test]
    fn the_unit_is_the_one_that_keeps_the_process() {
        for (groups, expected) in [
            ("0::/system.slice/redis-server.service\n", Some("redis-server.service")),
            ("0::/system.slice/system-redis.slice/redis@cache.service\n", Some("redis@cache.service")),
            ("12:pids:/x\n1:name=systemd:/system.slice/valkey.service\n", Some("valkey.service")),
            ("0::/user.slice/user-0.slice/session-2.scope\n", None),
            ("0::/system.slice/docker-ab.scope\n", None),
            ("0::/system.slice/cron.service\n", None),
            ("0::/\n", None),
        ] {
            assert_eq!(unit(groups).as_deref(), expected, "{groups}");
        }
    }

    #[test]
    fn a_command_that_fails_is_named_with_its_exit_code() {
        assert!(Start::Command("true".into()).run().is_ok());
        let error = Start::Command("exit 3".into()).run().unwrap_err();
        assert_eq!(error.to_string(), "sh -c exit 3: exit status: 3");
        let error = Start::Command("echo one; echo two >&2; exit 3".into()).run().unwrap_err();
        assert!(error.to_string().ends_with("exit status: 3; it said: one | two"), "{error}");
    }
}
