//! What /proc shows of servers at work in a data directory, without asking them.
//!
//! Only a process that may be looked into counts: with the rights of root or of the server's user, and on the same
//! host or above the container. What is not seen proves nothing.

use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::directory::FileId;

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
/// directory. `name` is the name of the file: only descriptors of that name are looked into.
pub(super) fn look(directory: FileId, file: FileId, name: &[u8]) -> Sight {
    let mut server = None;
    for process in processes() {
        let Some(held) = process.holds_for_writing(file, name) else { continue };
        if held {
            return Sight::Written(process.id);
        }
        if process.is_server() && process.works_in(directory) {
            server = Some(process.id);
        }
    }
    server.map_or(Sight::Nothing, Sight::NotWritten)
}

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
    /// `None` if it may not be looked into, or has ended.
    fn holds_for_writing(&self, file: FileId, name: &[u8]) -> Option<bool> {
        let descriptors = fs::read_dir(self.path.join("fd")).ok()?;
        let held = |descriptor: DirEntry| {
            has_name(&descriptor.path(), name)
                && fs::metadata(descriptor.path()).is_ok_and(|metadata| FileId::of(&metadata) == file)
                && self.is_for_writing(&descriptor.file_name())
        };
        Some(descriptors.flatten().any(held))
    }

    fn is_for_writing(&self, descriptor: &OsStr) -> bool {
        fs::read_to_string(self.path.join("fdinfo").join(descriptor)).is_ok_and(|info| tells_writing(&info))
    }

    fn works_in(&self, directory: FileId) -> bool {
        fs::metadata(self.path.join("cwd")).is_ok_and(|metadata| FileId::of(&metadata) == directory)
    }

    /// By the name of its program; a shell or an editor may have the same working directory.
    fn is_server(&self) -> bool {
        let program = fs::read_link(self.path.join("exe")).ok();
        let program = program.as_deref().and_then(Path::file_name).is_some_and(|name| is_server_name(name.as_bytes()));
        program || fs::read(self.path.join("comm")).is_ok_and(|name| is_server_name(name.trim_ascii_end()))
    }
}

/// Whether a descriptor's link ends in this name; a removed file's has a mark behind it.
fn has_name(descriptor: &Path, name: &[u8]) -> bool {
    let Ok(target) = fs::read_link(descriptor) else { return false };
    let target = target.as_os_str().as_bytes();
    let target = target.strip_suffix(b" (deleted)").unwrap_or(target);
    target.strip_suffix(name).is_some_and(|directory| directory.ends_with(b"/"))
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
    use std::fs::File;

    use super::*;

    #[test]
    fn a_file_open_for_writing_is_seen_even_when_renamed_over_and_one_open_for_reading_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let directory = FileId::of(&fs::metadata(dir.path()).unwrap());
        let path = dir.path().join("a.aof.1.incr.aof");
        let writer = File::create(&path).unwrap();
        let file = FileId::of(&writer.metadata().unwrap());
        let sight = || look(directory, file, b"a.aof.1.incr.aof");
        assert_eq!(sight(), Sight::Written(std::process::id()));
        assert_eq!(look(directory, file, b"incr.aof"), Sight::Nothing, "another name");
        assert_eq!(look(directory, directory, b"a.aof.1.incr.aof"), Sight::Nothing, "another file");
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
