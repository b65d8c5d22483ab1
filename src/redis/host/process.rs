//! A process as /proc shows it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::LOOK;
use super::rights;
use super::surroundings::Surroundings;
use crate::held::Reader;
use crate::redis::processes::is_server_name;

/// A process. Its number may be given to another one once it is gone; the time it was started tells them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// When it was started, in ticks since the host was.
    started: u64,
    /// Its user and group.
    pub user: (u32, u32),
}

impl Process {
    /// A process that is there and has not ended.
    pub fn find(id: u32) -> Option<Process> {
        let (is_ended, started) = stat(id)?;
        // Not whose the directory in /proc is: a process can have that be root's.
        let status = fs::read_to_string(path(id).join("status")).ok()?;
        let user = (effective(&status, "Uid:")?, effective(&status, "Gid:")?);
        (!is_ended).then_some(Process { id, started, user })
    }

    /// The groups it is in, its own first.
    pub fn groups(&self) -> Vec<u32> {
        let status = fs::read_to_string(path(self.id).join("status")).unwrap_or_default();
        let more = field(&status, "Groups:").unwrap_or_default().split_whitespace();
        [self.user.1].into_iter().chain(more.filter_map(|group| group.parse().ok())).collect()
    }

    /// With whose rights a path that it names is opened.
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.user.0, self.groups())
    }

    /// That of a server that does not run: it has ended.
    pub(super) fn ended(user: (u32, u32)) -> Process {
        Process { id: 0, started: 0, user }
    }

    /// Whether it ended. One that its parent has not asked about yet has ended too.
    pub fn is_gone(&self) -> bool {
        stat(self.id).is_none_or(|(is_ended, started)| is_ended || started != self.started)
    }

    /// Waits for its end, for as long as `goes_on` says so, which is told how long it has been. Answers whether it came.
    pub fn wait_gone(&self, deadline: Duration, goes_on: &mut dyn FnMut(Duration) -> bool) -> bool {
        let begun = Instant::now();
        while !self.is_gone() {
            if begun.elapsed() > deadline || !goes_on(begun.elapsed()) {
                return false;
            }
            thread::sleep(LOOK);
        }
        true
    }

    /// What it has from whoever started it.
    pub(super) fn surroundings(&self) -> Surroundings {
        Surroundings::of(&path(self.id))
    }

    /// What surrounds it that is not around redkeep, in words.
    pub(super) fn enclosed(&self) -> Vec<String> {
        rights::enclosed(&path(self.id))
    }

    /// Whether its program is a server, by its name.
    pub fn is_server(&self) -> bool {
        let program = self.program();
        let name = program.as_deref().and_then(Path::file_name);
        name.is_some_and(|name| is_server_name(name.as_bytes())) || {
            let name = fs::read(path(self.id).join("comm")).unwrap_or_default();
            is_server_name(name.trim_ascii_end())
        }
    }

    /// The file it runs, without links.
    pub(super) fn program(&self) -> Option<PathBuf> {
        self.link("exe").map(|path| without_mark(&path))
    }

    /// Whether the file that it runs was removed, or replaced by another one.
    pub(super) fn is_replaced(&self) -> bool {
        self.link("exe").is_some_and(|path| without_mark(&path) != path)
    }

    /// The directories in which it was looked for.
    pub(super) fn search_path(&self) -> Vec<PathBuf> {
        let variables = fs::read(path(self.id).join("environ")).unwrap_or_default();
        let mut variables = variables.split(|byte| *byte == 0);
        let directories = variables.find_map(|variable| variable.strip_prefix(b"PATH=")).unwrap_or_default();
        directories.split(|byte| *byte == b':').map(|directory| PathBuf::from(OsStr::from_bytes(directory))).collect()
    }

    /// Its working directory: servers work in their data directory.
    pub fn directory(&self) -> Option<PathBuf> {
        self.link("cwd")
    }

    /// Its words, unless the server wrote over them: then they are one text with spaces.
    pub(super) fn words(&self) -> Option<Vec<Vec<u8>>> {
        let bytes = fs::read(path(self.id).join("cmdline")).ok()?;
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        let words: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        let program = words.first()?;
        (!program.is_empty() && !program.contains(&b' ')).then_some(words)
    }

    /// The control groups it is in.
    pub(super) fn control_groups(&self) -> String {
        fs::read_to_string(path(self.id).join("cgroup")).unwrap_or_default()
    }

    /// Those of redkeep.
    pub(super) fn own_control_groups() -> String {
        fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
    }

    fn link(&self, name: &str) -> Option<PathBuf> {
        fs::read_link(path(self.id).join(name)).ok()
    }
}

fn path(id: u32) -> PathBuf {
    Path::new("/proc").join(id.to_string())
}

/// The path of a file that was there when it was opened: the system says behind it that it is not any more.
pub(in crate::redis) fn without_mark(path: &Path) -> PathBuf {
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(bytes) if !path.exists() => PathBuf::from(OsStr::from_bytes(bytes)),
        Some(_) | None => path.into(),
    }
}

/// A line of a process's status, without its name.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))
}

/// The second of the four numbers: the one by which it may do things.
fn effective(status: &str, name: &str) -> Option<u32> {
    field(status, name)?.split_whitespace().nth(1)?.parse().ok()
}

/// Whether it has ended, and when it was started.
fn stat(id: u32) -> Option<(bool, u64)> {
    parse_stat(&fs::read_to_string(path(id).join("stat")).ok()?)
}

/// The name in parentheses may hold anything; after it come the state and, as the 20th field, the time.
fn parse_stat(text: &str) -> Option<(bool, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let is_ended = matches!(fields.next()?, "Z" | "X");
    Some((is_ended, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_gone_when_it_has_ended_whether_or_not_it_was_asked_about() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let process = Process::find(child.id()).unwrap();
        assert!(!process.is_gone() && !process.is_server());
        assert!(!process.wait_gone(Duration::ZERO, &mut |_| true));
        drop(child.stdin.take());
        assert!(process.wait_gone(Duration::from_secs(10), &mut |_| true));
        child.wait().unwrap();
        assert!(process.is_gone());
        let other = Process { started: process.started + 1, ..Process::find(std::process::id()).unwrap() };
        assert!(other.is_gone(), "another process of the same number");
    }

    #[test]
    fn whose_it_is_stands_in_its_status() {
        let status = "Name:\tUid: 0\nUid:\t0\t7\t8\t9\nGid:\t1\t2\t3\t4\nGroups:\t2 5 \n";
        assert_eq!((effective(status, "Uid:"), effective(status, "Gid:")), (Some(7), Some(2)));
        let me = Process::find(std::process::id()).unwrap();
        assert_eq!(me.user.0, rustix::process::geteuid().as_raw());
        assert_eq!(me.groups().first(), Some(&me.user.1));
    }

    #[test]
    fn the_state_is_read_behind_any_name() {
        let line = |state: &str| format!("7 (a) b (c) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 99 20\n");
        assert_eq!(parse_stat(&line("S")), Some((false, 99)));
        assert_eq!(parse_stat(&line("Z")), Some((true, 99)));
        assert_eq!(parse_stat("7 (a) S 1"), None);
    }
}
