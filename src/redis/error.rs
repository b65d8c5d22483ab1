//! What can go wrong with a data directory.

use std::io;
use std::path::{Path, PathBuf};

use super::scratch_log::Lack;
use crate::spill::SpillError;

/// A data directory could not be captured, or a captured file not read.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// The directory cannot be a data directory.
    #[error("{}: {problem}", .directory.display())]
    Directory {
        /// The directory as it was named.
        directory: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// A file may not be read.
    #[error("no permission to {action} {}", .path.display())]
    Denied {
        /// What was to be done, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process has as many files open as it may.
    #[error("too many open files to {action} {}", .path.display())]
    Descriptors {
        /// What was to be done, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The operating system failed.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was to be done, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A manifest names something that holds no bytes.
    #[error("{} is no regular file", .path.display())]
    NotAFile {
        /// What stands in place of a file.
        path: PathBuf,
    },
    /// A manifest names a file that is not there. A server would refuse to start.
    #[error("{} names {name}, which is not there", .manifest.display())]
    MissingAofFile {
        /// The manifest.
        manifest: PathBuf,
        /// The missing file, beside it.
        name: String,
    },
    /// A manifest changed whenever its files had been opened.
    #[error("{} kept changing: {attempts} attempts in {seconds} s", .path.display())]
    Unsettled {
        /// The manifest.
        path: PathBuf,
        /// How often its files were opened.
        attempts: u32,
        /// For how long.
        seconds: u64,
    },
    /// A pattern to include or exclude cannot be read.
    #[error("pattern \"{pattern}\": {problem}")]
    Pattern {
        /// The pattern as it was written.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What names a server cannot be read.
    #[error("the server's address: {problem}")]
    Address {
        /// What is wrong with it.
        problem: String,
    },
    /// A server cannot be reached, or the connection broke.
    #[error("no answer from the server at {address}")]
    Connection {
        /// Where it was looked for.
        address: String,
        /// What the network said.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What to do about it.
        hint: String,
        /// The server is there, and TLS was not agreed on.
        is_tls: bool,
    },
    /// A server does not know the user or the password.
    #[error("the server at {address} refuses the login: {message}")]
    Login {
        /// Where it is.
        address: String,
        /// What it said.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A server answered a command with an error.
    #[error("the server answered {command} with: {message}")]
    Answer {
        /// The command.
        command: String,
        /// What it said.
        message: String,
        /// What to do about it, where there is something.
        hint: Option<String>,
    },
    /// A server is in no state in which it can be captured or replaced.
    #[error("{what}")]
    Server {
        /// What is the matter.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The user asked to stop when something had been begun.
    #[error("{what}")]
    Stopped {
        /// What was going on.
        what: String,
        /// What becomes of it.
        hint: String,
    },
    /// A server program that was given files ended, or came no further, instead of serving them.
    #[error("{what}; its log says: {log}")]
    NotLoaded {
        /// Which server, and what it did.
        what: String,
        /// Lines of its log: those that tell why, and the last ones.
        log: String,
        /// What it lacked, where that may be no fault of the files.
        lack: Option<Lack>,
    },
    /// A server's files are not reached from here.
    #[error("{what}")]
    OutOfReach {
        /// What is the matter.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// What a server sends could not be kept.
    #[error(transparent)]
    Scratch(#[from] SpillError),
    /// The receiver of the bytes refused them.
    #[error("what was read could not be handed on")]
    Sink(#[source] io::Error),
}

impl RedisError {
    /// What the system said about a file, by what can be done about it.
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        if source.kind() == io::ErrorKind::PermissionDenied {
            return Self::Denied { action, path, source };
        }
        let limits = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
        if limits.iter().any(|errno| source.raw_os_error() == Some(errno.raw_os_error())) {
            return Self::Descriptors { action, path, source };
        }
        Self::Io { action, path, source }
    }

    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Directory { hint, .. } => Some(hint),
            Self::Denied { .. } => Some(
                "run as root or as the user of the server, or exclude the file; a live server can also send its dump (--mode sync)",
            ),
            Self::Descriptors { .. } => Some("raise the limit on open files (ulimit -n)"),
            Self::MissingAofFile { .. } => {
                Some("a server would not start with it: repair it, or exclude its directory to capture the rest")
            }
            Self::Unsettled { .. } => Some("the server rewrites its AOF without pause: try again later"),
            Self::NotAFile { .. } => Some("exclude its directory to capture the rest"),
            Self::Pattern { .. } => {
                Some("patterns are like *.log, or like modules/** for a path relative to the directory")
            }
            Self::Address { .. } => {
                Some("write it like redis://127.0.0.1:6379, rediss://host, or /run/redis/redis.sock")
            }
            Self::Answer { hint, .. } => hint.as_deref(),
            Self::Connection { hint, .. }
            | Self::Login { hint, .. }
            | Self::Server { hint, .. }
            | Self::OutOfReach { hint, .. }
            | Self::Stopped { hint, .. } => Some(hint),
            Self::NotLoaded { lack: Some(lack), .. } => Some(match lack {
                Lack::Command(_) => {
                    "the AOF has a command that the server does not know: load the module that has it, or give back the \
                     name it was renamed to; or restore a dump (a backup with --mode rdb)"
                }
                Lack::Module(_) => "the data need that module: load it in the server, and in its configuration",
                Lack::Version(_) => "the data are of a later version: restore into such a server",
            }),
            Self::Scratch(error) => error.hint(),
            Self::NotLoaded { .. } | Self::Io { .. } | Self::Interrupted | Self::Sink(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_can_act_on_is_told_apart() {
        let of = |errno: rustix::io::Errno| RedisError::io("open", Path::new("/data/dump.rdb"), errno.into());
        let denied = of(rustix::io::Errno::ACCESS);
        assert_eq!(denied.to_string(), "no permission to open /data/dump.rdb");
        assert!(denied.hint().is_some_and(|hint| hint.contains("root")));
        assert!(of(rustix::io::Errno::MFILE).hint().is_some_and(|hint| hint.contains("ulimit")));
        assert!(matches!(of(rustix::io::Errno::IO), RedisError::Io { .. }));
    }
}
