//! A server program of this host, and which one is right for a dataset.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};

use super::RedisError;
use super::compatibility::{ServerVersion, oldest_that_reads};
use super::processes::is_server_name;
use crate::rdb::Header;

/// A server program, asked for its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What it says it is.
    pub version: ServerVersion,
}

/// What a dataset asks of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demands {
    /// How its RDB file begins, where it has one.
    pub header: Option<Header>,
    /// Its AOF is a set of files held together by a manifest.
    pub multi_part: bool,
}

/// Where a program may be looked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Places<'a> {
    /// The one that was asked for: no other is taken.
    pub given: Option<&'a Path>,
    /// The one that served the dataset when it was captured.
    pub recorded: Option<&'a Path>,
    /// Directories, separated as in `PATH`.
    pub search: Option<&'a OsStr>,
}

/// Where servers are installed.
const INSTALLED: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Looked for in each directory, in this order.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// How long a program may take to say its version: a server says it in milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(2);
/// How much of what it says is read, in bytes.
const SAID: u64 = 64 << 10;

impl Program {
    /// Asks a program for its version.
    pub fn at(path: &Path) -> Result<Self, RedisError> {
        let failed = |what: String| RedisError::Server {
            what,
            hint: "name a redis-server or valkey-server that runs on this host with --server-binary".into(),
        };
        // It is started in another directory later; a name without a directory is looked for by the system.
        let has_directory = path.parent().is_some_and(|parent| !parent.as_os_str().is_empty());
        let absolute = if has_directory { std::path::absolute(path).ok() } else { None };
        let path = absolute.as_deref().unwrap_or(path);
        let answer = answer(without_secrets(&mut Command::new(path)).arg("--version"), PATIENCE);
        let (status, [said, told]) =
            answer.map_err(|error| failed(format!("cannot run {}: {error}", path.display())))?;
        let version = ServerVersion::parse(&said).filter(|_| status.success());
        let version = version.ok_or_else(|| {
            let said = if status.success() { said } else { told };
            failed(format!("{} is no server: it said \"{}\"", path.display(), said.trim()))
        })?;
        Ok(Self { path: path.into(), version })
    }

    /// The program that a dataset can be served with: the given one or none; else the recorded one, if it is still there,
    /// does, and nobody can have put it there who may do less than redkeep; else the first one in the search path that does.
    pub fn find(places: Places<'_>, demands: Demands) -> Result<Self, RedisError> {
        if let Some(given) = places.given {
            let program = Self::at(given)?;
            demands.refuse(&program)?;
            return Ok(program);
        }
        match Self::look(places, demands) {
            Ok(program) => Ok(program),
            Err(found) => {
                let there =
                    if found.is_empty() { "none was found".into() } else { format!("there is {}", found.join(", ")) };
                Err(RedisError::Server {
                    what: format!("no server program on this host can serve the dataset: {there}"),
                    hint: format!("it takes {}: name one with --server-binary", demands.needed()),
                })
            }
        }
    }

    /// What is installed on this host where none of it can serve a dataset, and what it takes.
    pub fn all_too_old(demands: Demands) -> Option<String> {
        let places = Places { search: Some(OsStr::new(INSTALLED)), ..Places::default() };
        let found = Self::look(places, demands).err().filter(|found| !found.is_empty())?;
        let (found, needed) = (found.join(", "), demands.needed());
        Some(format!("no server that is installed here can read it: there is {found}; it takes {needed}"))
    }

    /// The first that does, or what else there is.
    fn look(places: Places<'_>, demands: Demands) -> Result<Self, Vec<String>> {
        let is_server = |path: &&Path| path.file_name().is_some_and(|name| is_server_name(name.as_bytes()));
        let recorded = places.recorded.filter(is_server).filter(|path| is_trusted(path));
        let searched = places
            .search
            .into_iter()
            .flat_map(split_paths)
            .flat_map(|directory| NAMES.map(|name| directory.join(name)));
        // One directory of the search path may lead to another.
        let (mut found, mut seen) = (Vec::new(), Vec::new());
        for path in recorded.map(Path::to_path_buf).into_iter().chain(searched).filter(|path| path.is_file()) {
            let leads_to = path.canonicalize().unwrap_or_else(|_| path.clone());
            if seen.contains(&leads_to) {
                continue;
            }
            seen.push(leads_to);
            let Ok(program) = Self::at(&path) else { continue };
            match demands.refuse(&program) {
                Ok(()) => return Ok(program),
                Err(_) => found.push(format!("{} at {}", program.version, path.display())),
            }
        }
        Err(found)
    }
}

impl Demands {
    fn refuse(self, program: &Program) -> Result<(), RedisError> {
        self.must_be_met(program.version, &program.path.display().to_string())
    }

    /// Refuses a server that cannot serve the dataset. `what` names the server.
    pub fn must_be_met(self, version: ServerVersion, what: &str) -> Result<(), RedisError> {
        if let Some(header) = self.header {
            version.must_read(header, what)?;
        }
        match self.multi_part && !version.has_multi_part_aof() {
            false => Ok(()),
            true => Err(RedisError::Server {
                what: format!("{what} is {version}, which cannot read an AOF of several files"),
                hint: format!("it takes {}", self.needed()),
            }),
        }
    }

    /// The oldest releases that would do.
    fn needed(self) -> String {
        match (self.header, self.multi_part) {
            (Some(header), true) if header.version < 10 => oldest_that_reads(Header { version: 10, ..header }),
            (Some(header), _) => oldest_that_reads(header),
            (None, true) => "Redis 7.0 or Valkey 7.2 or newer".into(),
            (None, false) => "a redis-server or a valkey-server".into(),
        }
    }
}

/// Runs a program that is to say something and end; what it said and what it told as errors, of each the beginning. One that does
/// not end in time, whatever a name like a server's leads to, is ended with all that it started.
fn answer(command: &mut Command, patience: Duration) -> io::Result<(ExitStatus, [String; 2])> {
    // Not on a disk: it may be full.
    let memory = || Ok::<_, io::Error>(File::from(memfd_create("answer", MemfdFlags::CLOEXEC)?));
    let (said, told) = (memory()?, memory()?);
    let command = command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(told.try_clone()?);
    let (mut child, begun) = (command.process_group(0).spawn()?, Instant::now());
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if begun.elapsed() < patience => thread::sleep(LOOK),
            None => {
                let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
                child.wait()?;
                let what = format!("it did not end within {} seconds", patience.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
        }
    };
    let text = |mut from: File| {
        let mut bytes = Vec::new();
        from.rewind()?;
        from.take(SAID).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok((status, [text(said)?, text(told)?]))
}

/// What of redkeep's surroundings is no business of a server, or of what stops and starts it: every variable that redkeep
/// reads or gives to a hook, and the password of a server.
const OURS: [&str; 23] = [
    "REDISCLI_AUTH",
    "REDKEEP_CACHE_DIR",
    "REDKEEP_COMMIT",
    "REDKEEP_COMPLETE",
    "REDKEEP_CONFIG",
    "REDKEEP_DATASET",
    "REDKEEP_EXIT_CODE",
    "REDKEEP_KEY_FILE",
    "REDKEEP_NEW_PASSWORD",
    "REDKEEP_TO_PASSWORD",
    "REDKEEP_TO_PASSWORD_FILE",
    "REDKEEP_TO_PASSWORD_COMMAND",
    "REDKEEP_TO_KEY_FILE",
    "REDKEEP_PASSWORD",
    "REDKEEP_PASSWORD_COMMAND",
    "REDKEEP_PASSWORD_FILE",
    "REDKEEP_PROFILE",
    "REDKEEP_REDIS",
    "REDKEEP_REPO",
    "REDKEEP_SNAPSHOT",
    "REDKEEP_STATE_DIR",
    "REDKEEP_TMPDIR",
    "REDKEEP_SUMMARY",
];

/// Leaves what is redkeep's own out of the environment of a program.
pub(in crate::redis) fn without_secrets(command: &mut Command) -> &mut Command {
    OURS.iter().fold(command, |command, name| command.env_remove(name))
}

/// What is not there of what starting a program takes: the system gives one error for all of it.
pub(in crate::redis) fn lacks(program: &Path, directory: &Path) -> Option<String> {
    match (directory.is_dir(), program.exists()) {
        (false, _) => Some(format!("the directory {} that it works in is not there", directory.display())),
        (true, false) => Some("the program is not there".into()),
        (true, true) => None,
    }
}

/// Whether only root and the user that redkeep runs as can have put a program there. A server says what it runs, and may
/// say anything.
pub(crate) fn is_trusted(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    let me = rustix::process::geteuid().as_raw();
    path.ancestors().all(|place| {
        std::fs::metadata(place).is_ok_and(|found| {
            let is_ours = [0, me].contains(&found.uid());
            // In a directory like /tmp nobody replaces what is another's.
            let is_sticky = found.is_dir() && found.mode() & 0o1000 != 0;
            let is_closed = found.mode() & 0o002 == 0 && (found.mode() & 0o020 == 0 || found.gid() == 0);
            is_ours && (is_closed || is_sticky)
        })
    })
}

/// An empty part means the working directory to a shell; here it means nothing.
fn split_paths(search: &OsStr) -> impl Iterator<Item = PathBuf> {
    let parts = search.as_bytes().split(|byte| *byte == b':').filter(|part| part.starts_with(b"/"));
    parts.map(|part| PathBuf::from(OsStr::from_bytes(part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::Family;

    /// A child writes it: no other test's child holds it open for writing when it is run (ETXTBSY).
    fn program(directory: &Path, name: &str, says: &str) -> PathBuf {
        let path = directory.join(name);
        let write = "printf '#!/bin/sh\\necho \"%s\"\\n' \"$1\" >\"$0\" && chmod 755 \"$0\"";
        assert!(Command::new("sh").args(["-c", write]).arg(&path).arg(says).status().unwrap().success());
        path
    }

    #[test]
    fn a_program_that_does_not_end_is_ended_with_what_it_started_and_little_is_read_of_what_one_says() {
        let dir = tempfile::tempdir().unwrap();
        let shell = |text: &str| {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", text]).current_dir(dir.path());
            answer(&mut shell, Duration::from_secs(2))
        };
        let begun = Instant::now();
        let error = shell("echo Redis server v=7.0.0; sleep 600 & echo $! > child; sleep 600").unwrap_err();
        assert_eq!(error.to_string(), "it did not end within 2 seconds");
        let child = std::fs::read_to_string(dir.path().join("child")).unwrap();
        let is_there = || std::fs::read_to_string(format!("/proc/{}/cmdline", child.trim()));
        while is_there().is_ok_and(|line| line.contains("sleep")) {
            assert!(begun.elapsed() < Duration::from_secs(60), "it goes on");
            thread::sleep(LOOK);
        }
        let (status, [said, told]) = shell("head -c 1000000 /dev/zero; echo no >&2; exit 3").unwrap();
        assert_eq!((status.code(), said.len() as u64, told.as_str()), (Some(3), SAID, "no\n"));
    }

    #[test]
    fn the_given_program_is_taken_or_none_and_else_the_first_that_reads_the_dump() {
        let dir = tempfile::tempdir().unwrap();
        let old = program(dir.path(), "redis-server", "Redis server v=6.2.5 sha=0");
        let new = program(dir.path(), "valkey-server", "Valkey server v=9.1.2 sha=0");
        let header = |version| Demands { header: Some(Header { family: Family::Redis, version }), multi_part: false };
        let search = Some(dir.path().as_os_str());
        let find = |places, demands| Program::find(places, demands).map(|program| program.path);
        assert_eq!(find(Places { search, ..Places::default() }, header(9)).unwrap(), old);
        assert_eq!(find(Places { search, ..Places::default() }, header(11)).unwrap(), new);
        assert_eq!(find(Places { search, recorded: Some(&new), ..Places::default() }, header(9)).unwrap(), new);
        let given = Places { given: Some(&old), search, ..Places::default() };
        let refused = find(given, header(11)).unwrap_err();
        assert!(refused.to_string().contains("Redis 6.2.5, which cannot read"), "{refused}");
        let multi_part = Demands { multi_part: true, ..header(9) };
        assert_eq!(find(Places { search, ..Places::default() }, multi_part).unwrap(), new);
        assert_eq!(find(given, multi_part).unwrap_err().hint(), Some("it takes Redis 7.0 or Valkey 7.2 or newer"));
        let none = find(Places { search, ..Places::default() }, header(12)).unwrap_err();
        assert!(none.to_string().contains("there is Redis 6.2.5 at"), "{none}");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let both = std::env::join_paths([dir.path(), &link]).unwrap();
        let again = find(Places { search: Some(&both), ..Places::default() }, header(12)).unwrap_err();
        assert_eq!(again.to_string(), none.to_string(), "a program is told once");
        assert!(none.hint().unwrap().contains("Redis 7.4 or newer"));
    }

    #[test]
    fn what_is_no_server_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let shell = program(dir.path(), "redis-server", "GNU bash, version 5.2");
        let error = Program::at(&shell).unwrap_err();
        assert!(error.to_string().contains("GNU bash"), "{error}");
        assert!(Program::at(&dir.path().join("missing")).is_err());
    }
}
