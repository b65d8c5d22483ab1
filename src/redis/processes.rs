//! What /proc shows of servers at work in a data directory, without asking them.
//!
//! Only a process that may be looked into counts: with the rights of root or of the server's user, and on the same
//! host or above the container. What is not seen proves nothing.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::directory::FileId;
use super::host::without_mark;
use super::peer::Peer;
use crate::held::Reader;

/// Where Linux shows its processes.
const PROC: &str = "/proc";

/// What is seen of an append-only file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// This process holds it open for writing.
    Written(u32),
    /// No process that can be seen holds it so, but this one is a server at work in the data directory.
    NotWritten(u32),
    /// Nothing.
    Nothing,
}

/// Looks for a process that holds the file open for writing, or else for a server whose working directory is the data
/// directory. `names` are those of the file: only descriptors of these names are looked into.
pub(super) fn look(directory: FileId, file: FileId, names: &[&[u8]]) -> Sight {
    let mut server = None;
    for process in processes() {
        let Some(held) = process.holds_for_writing(file, names) else { continue };
        if held {
            return Sight::Written(process.id);
        }
        if process.is_server() && process.works_in(directory) {
            server = Some(process.id);
        }
    }
    server.map_or(Sight::Nothing, Sight::NotWritten)
}

/// The process that a server names as its own, where it can be looked into and is certainly that server: it is called
/// like one, and the kernel shows it at the other end of a connection. Numbers of processes mean something else in a
/// container, and on another host; and how old a server says it is goes by a clock that may have been set since.
#[derive(Debug)]
pub(super) struct ServerProcess(Process);

impl ServerProcess {
    /// Looks for the process that serves there: the one of this number, or, where the server counts processes in a container,
    /// one that holds the other end of a connection. Else tells what did not fit.
    pub(super) fn find(id: u64, peer: &Peer) -> Result<Self, String> {
        let told = u32::try_from(id).ok().map(Process::of);
        let is_open = |process: &Process| process.is_server() && fs::metadata(process.path.join("cwd")).is_ok();
        if let Some(told) = told.as_ref().filter(|told| is_open(told) && peer.is_process(told.id)) {
            return Ok(Self(Process::of(told.id)));
        }
        // A child that saves holds the connections of its server, too, and began later.
        let there = peer.processes().into_iter().map(Process::of).filter(is_open);
        if let Some(server) = there.min_by_key(|process| process.begin().unwrap_or(u64::MAX)) {
            return Ok(Self(server));
        }
        Err(match told.filter(|told| told.path.exists()) {
            None => format!("there is no process {id} here, which it says it is"),
            Some(told) if !told.is_server() => format!("process {id}, which it says it is, is no server here"),
            Some(told) if !is_open(&told) => format!("process {id} may not be looked into: run as root or as its user"),
            Some(_) => format!("process {id}, which it says it is, is not at the other end of the connection"),
        })
    }

    /// With whose rights a path that it names is opened; with nobody's once it is gone.
    pub(super) fn reader(&self) -> Reader {
        super::host::Process::find(self.0.id).map_or_else(Reader::nobody, |process| process.reader())
    }

    /// Whether it holds a file open for writing, under one of these names.
    pub(super) fn writes(&self, file: FileId, names: &[&[u8]]) -> bool {
        self.0.holds_for_writing(file, names) == Some(true)
    }

    /// Whether its working directory, which is the data directory of a server, is this one.
    pub(super) fn works_in(&self, directory: FileId) -> bool {
        self.0.works_in(directory)
    }

    /// Its working directory by the name it has for the process.
    pub(super) fn working_directory(&self) -> Option<PathBuf> {
        fs::read_link(self.0.path.join("cwd")).ok()
    }

    /// A path as the process sees it, as it is reached from here.
    pub(super) fn path_from_here(&self, path: &Path) -> PathBuf {
        let below = path.strip_prefix("/").unwrap_or(path);
        self.0.path.join("root").join(below)
    }

    /// The words it was started with.
    pub(super) fn command_line(&self) -> Vec<Vec<u8>> {
        let text = fs::read(self.0.path.join("cmdline")).unwrap_or_default();
        text.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect()
    }

    /// Paths of files it holds open for writing.
    pub(super) fn written_files(&self) -> Vec<PathBuf> {
        let descriptors = fs::read_dir(self.0.path.join("fd")).into_iter().flatten().flatten();
        let written = descriptors.filter(|descriptor| self.0.is_for_writing(&descriptor.file_name()));
        written.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).collect()
    }
}

#[derive(Debug)]
struct Process {
    id: u32,
    path: PathBuf,
}

fn processes() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir(PROC).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        Some(Process { id, path: entry.path() })
    })
}

impl Process {
    fn of(id: u32) -> Self {
        Self { id, path: Path::new(PROC).join(id.to_string()) }
    }

    /// `None` if it may not be looked into, or has ended.
    fn holds_for_writing(&self, file: FileId, names: &[&[u8]]) -> Option<bool> {
        let descriptors = fs::read_dir(self.path.join("fd")).ok()?;
        let held = |descriptor: DirEntry| {
            has_name(&descriptor.path(), names)
                && fs::metadata(descriptor.path()).is_ok_and(|metadata| FileId::of(&metadata) == file)
                && self.is_for_writing(&descriptor.file_name())
        };
        Some(descriptors.flatten().any(held))
    }

    fn is_for_writing(&self, descriptor: &OsStr) -> bool {
        fs::read_to_string(self.path.join("fdinfo").join(descriptor)).is_ok_and(|info| tells_writing(&info))
    }

    /// When it began, in ticks since the system did, whatever a clock was set to.
    fn begin(&self) -> Option<u64> {
        begin_ticks(&fs::read_to_string(self.path.join("stat")).ok()?)
    }

    fn works_in(&self, directory: FileId) -> bool {
        fs::metadata(self.path.join("cwd")).is_ok_and(|metadata| FileId::of(&metadata) == directory)
    }

    /// By the name of its program; a shell or an editor may have the same working directory.
    fn is_server(&self) -> bool {
        let program = fs::read_link(self.path.join("exe")).ok().map(|path| without_mark(&path));
        let program = program.as_deref().and_then(Path::file_name).is_some_and(|name| is_server_name(name.as_bytes()));
        program || fs::read(self.path.join("comm")).is_ok_and(|name| is_server_name(name.trim_ascii_end()))
    }
}

/// When a process began, in ticks since the system did: the twentieth field after the name, which stands in parentheses and
/// may hold any byte.
fn begin_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Whether a descriptor's link ends in one of these names.
fn has_name(descriptor: &Path, names: &[&[u8]]) -> bool {
    name_of(descriptor).is_some_and(|name| names.iter().any(|one| *one == &*name))
}

/// The name in a descriptor's link; a removed file's has a mark behind it.
fn name_of(descriptor: &Path) -> Option<Vec<u8>> {
    let target = fs::read_link(descriptor).ok()?;
    let target = target.as_os_str().as_bytes();
    let target = target.strip_suffix(b" (deleted)").unwrap_or(target);
    target.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec)
}

/// The name of an open file where it stands, which is another than that of a link it was opened through.
pub(super) fn own_name(file: &File) -> Vec<u8> {
    let descriptor = Path::new(PROC).join("self/fd").join(file.as_raw_fd().to_string());
    // Where it is not seen, no process is.
    name_of(&descriptor).unwrap_or_default()
}

/// Of the octal flags of an open file, the lowest two bits are its access mode: 1 writes, 2 reads and writes.
fn tells_writing(fdinfo: &str) -> bool {
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u64::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| matches!(flags & 3, 1 | 2))
}

/// `redis-server`, `valkey-server`, `keydb-server` and names made from these, such as `redis-server-7` and `redis-8.2`.
pub(super) fn is_server_name(name: &[u8]) -> bool {
    [&b"redis"[..], b"valkey", b"keydb"].iter().any(|family| {
        name.strip_prefix(*family).is_some_and(|rest| {
            let rest = rest.strip_prefix(b"-").unwrap_or(rest);
            rest.is_empty()
                || rest.starts_with(b"server")
                || rest.starts_with(b"stack-server")
                || rest.first().is_some_and(u8::is_ascii_digit)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_open_for_writing_is_seen_even_when_renamed_over_and_one_open_for_reading_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let directory = FileId::of(&fs::metadata(dir.path()).unwrap());
        let path = dir.path().join("a.aof.1.incr.aof");
        let writer = File::create(&path).unwrap();
        let file = FileId::of(&writer.metadata().unwrap());
        let sight = || look(directory, file, &[b"other", b"a.aof.1.incr.aof"]);
        assert_eq!(sight(), Sight::Written(std::process::id()));
        assert_eq!(look(directory, file, &[b"incr.aof"]), Sight::Nothing, "another name");
        assert_eq!(look(directory, directory, &[b"a.aof.1.incr.aof"]), Sight::Nothing, "another file");
        let reader = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(sight(), Sight::Written(std::process::id()));
        drop(writer);
        assert_eq!(sight(), Sight::Nothing);
        drop(reader);
    }

    #[test]
    fn the_access_mode_is_read_from_the_flags() {
        assert!(tells_writing("pos:\t0\nflags:\t0102001\nmnt_id:\t9\n"));
        assert!(tells_writing("flags:\t02102002\n"));
        assert!(!tells_writing("pos:\t1\nflags:\t0100000\n"));
        assert!(!tells_writing("flags:\tx\n") && !tells_writing(""));
    }

    #[test]
    fn the_begin_of_a_process_is_read_behind_its_name_whatever_that_is() {
        let after = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4321 20 21";
        assert_eq!(begin_ticks(&format!("77 (a) b) {after}")), Some(4321));
        assert_eq!(begin_ticks("77 (a) S 1"), None);
        let me = Process { id: std::process::id(), path: "/proc/self".into() };
        assert!(me.begin().is_some());
    }

    #[test]
    fn a_process_that_is_not_the_servers_is_told_with_what_does_not_fit() {
        let nowhere = Peer::Tcp("127.0.0.1".into(), 1);
        let why = |id: u64| ServerProcess::find(id, &nowhere).unwrap_err();
        assert!(why(u64::from(std::process::id())).contains("is no server here"));
        assert!(why(u64::from(u32::MAX)).contains("there is no process"));
        assert!(why(u64::MAX).contains("there is no process"));
    }

    #[test]
    fn servers_are_known_by_name() {
        for name in
            ["redis-server", "valkey-server", "keydb-server", "redis-stack-server", "redis-server-7", "redis-8.2"]
        {
            assert!(is_server_name(name.as_bytes()), "{name}");
        }
        for name in ["redis-cli", "bash", "redkeep", "myredis-server", "redisinsight", "redis-sentinel"] {
            assert!(!is_server_name(name.as_bytes()), "{name}");
        }
    }
}
