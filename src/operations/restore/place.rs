//! The place a restore ends in: who uses it, what stands there, and how one directory takes another's name.
//!
//! Names beside a target `data`, all in its parent directory:
//!
//! | name | what it is |
//! |---|---|
//! | `.redkeep-staging-data-<id>` | being filled by a restore that holds a lock on it; without the lock, left by a killed one |
//! | `.redkeep-swap-data-<time>-<inode>` | about to take the target's place if its inode is the one in its name, else what stood there, already replaced |
//! | `.redkeep-aside-data-<time>` | what a restore or an undo replaced |
//!
//! So a kill at any point leaves the old or the new directory whole under the target's name, and whoever comes next can
//! tell which.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use super::stage::sync_directory;
use crate::operations::OperationError;

const STAGING: &str = ".redkeep-staging-";
const SWAP: &str = ".redkeep-swap-";
const ASIDE: &str = ".redkeep-aside-";
/// Room that is left free on the target's disk.
const SPARE: u64 = 16 << 20;

/// The directory a restore will replace or make.
pub(super) struct Target {
    path: PathBuf,
    parent: PathBuf,
    name: OsString,
    standing: Option<fs::Metadata>,
}

/// What `undo` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoReport {
    /// The target, absolute.
    pub target: PathBuf,
    /// Where the directory it holds again was kept.
    pub from: PathBuf,
    /// Where the directory it held is kept now.
    pub aside: Option<PathBuf>,
}

impl Target {
    /// Looks at a target and refuses one that cannot be replaced safely. Finishes what a killed restore began.
    pub fn examine(target: &Path) -> Result<Target, OperationError> {
        let refuse = |what: &str, hint: &str| OperationError::Refused {
            what: format!("{} {what}", target.display()),
            hint: hint.into(),
        };
        let name = target.file_name().ok_or_else(|| refuse("cannot be replaced", "name a directory below it"))?;
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let parent = parent.canonicalize().map_err(|error| OperationError::target("find", parent, error))?;
        let path = parent.join(name);
        let standing = match fs::symlink_metadata(&path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(OperationError::target("look at", &path, error)),
        };
        if standing.as_ref().is_some_and(|standing| !standing.is_dir()) {
            return Err(refuse("is not a directory", "name a directory, or a path that does not exist"));
        }
        let device = fs::metadata(&parent).map_err(|error| OperationError::target("look at", &parent, error))?.dev();
        if standing.as_ref().is_some_and(|standing| standing.dev() != device) {
            return Err(refuse(
                "is a mount point and cannot be replaced in one step",
                "restore to a new directory inside it, then move the files while the server is stopped",
            ));
        }
        let target = Target { name: name.to_owned(), path, parent, standing };
        target.refuse_users()?;
        target.tidy()?;
        Ok(target)
    }

    /// The target, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a directory stands there.
    pub fn exists(&self) -> bool {
        self.standing.is_some()
    }

    /// A new name for a staging directory.
    pub fn staging_path(&self) -> PathBuf {
        self.beside(STAGING, &format!("-{:08x}", std::process::id()))
    }

    fn beside(&self, prefix: &str, suffix: &str) -> PathBuf {
        let mut name = OsString::from(prefix);
        name.push(&self.name);
        name.push(suffix);
        self.parent.join(name)
    }

    /// Refuses when the bytes will not fit beside what is there.
    pub fn check_space(&self, bytes: u64) -> Result<(), OperationError> {
        let stat = rustix::fs::statvfs(&self.parent);
        let stat = stat.map_err(|error| OperationError::target("look at", &self.parent, error))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        match free >= bytes.saturating_add(SPARE) {
            true => Ok(()),
            false => Err(OperationError::Refused {
                what: format!("{} has {free} bytes free, the snapshot needs {bytes}", self.parent.display()),
                hint: "the old files stay until the new ones are complete: free some space, or restore elsewhere"
                    .into(),
            }),
        }
    }

    /// A server that works in the directory would go on writing to the files set aside, and never see the new ones.
    fn refuse_users(&self) -> Result<(), OperationError> {
        let Some(standing) = &self.standing else { return Ok(()) };
        let place = (standing.dev(), standing.ino());
        let Ok(processes) = fs::read_dir("/proc") else { return Ok(()) };
        for process in processes.flatten() {
            let path = process.path();
            let is_process = process.file_name().as_bytes().iter().all(u8::is_ascii_digit);
            let Ok(directory) = fs::metadata(path.join("cwd")) else { continue };
            if !is_process || (directory.dev(), directory.ino()) != place {
                continue;
            }
            let command = fs::read_to_string(path.join("comm")).unwrap_or_default();
            // A person's shell may stand in the directory; a server must not.
            if !["redis", "valkey", "keydb"].iter().any(|server| command.contains(server)) {
                continue;
            }
            let pid = process.file_name().to_string_lossy().into_owned();
            return Err(OperationError::InUse {
                what: format!("{} is the directory of a running {} (pid {pid})", self.path.display(), command.trim()),
                hint: "stop the server first, or restore to another directory".into(),
            });
        }
        Ok(())
    }

    /// Finishes swaps and removes staging directories that killed restores left for this target.
    fn tidy(&self) -> Result<(), OperationError> {
        for (path, suffix) in self.siblings(SWAP)? {
            let Some((time, inode)) = suffix.split_once('-') else { continue };
            let metadata = fs::symlink_metadata(&path).map_err(|e| OperationError::target("look at", &path, e))?;
            match inode.parse() == Ok(metadata.ino()) {
                // Complete, but it never took the target's place: as good as never begun.
                true => remove(&path)?,
                false => rename_new(&path, &self.beside(ASIDE, &format!("-{time}")))?,
            }
        }
        for (path, _) in self.siblings(STAGING)? {
            let free = fs::File::open(&path)
                .is_ok_and(|directory| flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok());
            if free {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Paths beside the target with a prefix and the target's name, and what follows it in their name.
    fn siblings(&self, prefix: &str) -> Result<Vec<(PathBuf, String)>, OperationError> {
        let mut begin = OsString::from(prefix);
        begin.push(&self.name);
        begin.push("-");
        let failed = |error| OperationError::target("list", &self.parent, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.parent).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Some(suffix) = entry.file_name().as_bytes().strip_prefix(begin.as_bytes()) {
                found.push((entry.path(), String::from_utf8_lossy(suffix).into_owned()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Gives a finished directory the target's name, by one rename. Answers with where the old one is kept.
    pub fn take(self, staged: &Path) -> Result<Option<PathBuf>, OperationError> {
        let failed = |error| OperationError::target("replace", &self.path, error);
        let Some(standing) = &self.standing else {
            rename_new(staged, &self.path)?;
            sync_directory(&self.parent)?;
            return Ok(None);
        };
        // Owner and mode of the directory itself stay: the server's unit file or package relies on them.
        fs::set_permissions(staged, fs::Permissions::from_mode(standing.mode() & 0o7777)).map_err(failed)?;
        let mine = fs::metadata(staged).map_err(failed)?;
        if (mine.uid(), mine.gid()) != (standing.uid(), standing.gid()) {
            chown(staged, Some(standing.uid()), Some(standing.gid())).map_err(failed)?;
        }
        let aside = self.exchange(staged, mine.ino())?;
        Ok(Some(aside))
    }

    fn exchange(&self, incoming: &Path, inode: u64) -> Result<PathBuf, OperationError> {
        let time = self.unused_time()?;
        let swap = self.beside(SWAP, &format!("-{time}-{inode}"));
        rename_new(incoming, &swap)?;
        renameat_with(CWD, &swap, CWD, &self.path, RenameFlags::EXCHANGE)
            .map_err(|error| OperationError::target("replace", &self.path, error))?;
        sync_directory(&self.parent)?;
        let aside = self.beside(ASIDE, &format!("-{time}"));
        rename_new(&swap, &aside)?;
        sync_directory(&self.parent)?;
        Ok(aside)
    }

    /// A name for what is set aside: the UTC time, or a second after that of the last thing set aside if that is later.
    fn unused_time(&self) -> Result<String, OperationError> {
        let newest = self.siblings(ASIDE)?.pop().map(|(_, time)| time);
        let after = |time: String| {
            let time = jiff::civil::DateTime::strptime(TIME, time).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            time.timestamp().checked_add(jiff::SignedDuration::from_secs(1)).ok()
        };
        let now = jiff::Timestamp::now();
        Ok(newest.and_then(after).map_or(now, |after| after.max(now)).strftime(TIME).to_string())
    }
}

/// How the time in a name is written, in UTC.
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// Puts back what the last restore into a directory replaced. What stands there now is kept aside in turn, so that
/// doing it twice changes nothing.
pub fn undo(target: &Path) -> Result<UndoReport, OperationError> {
    let target = Target::examine(target)?;
    let nothing = || OperationError::NothingAside { path: target.path.display().to_string() };
    let (from, _) = target.siblings(ASIDE)?.pop().ok_or_else(nothing)?;
    let inode = fs::symlink_metadata(&from).map_err(|error| OperationError::target("look at", &from, error))?.ino();
    let aside = match target.exists() {
        true => Some(target.exchange(&from, inode)?),
        false => {
            rename_new(&from, &target.path)?;
            sync_directory(&target.parent)?;
            None
        }
    };
    Ok(UndoReport { target: target.path, from, aside })
}

fn rename_new(from: &Path, to: &Path) -> Result<(), OperationError> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // A file system without the flag: the name was unused a moment ago.
        Err(Errno::INVAL | Errno::NOSYS) if !to.exists() => {
            fs::rename(from, to).map_err(|error| OperationError::target("create", to, error))
        }
        Err(error) => Err(OperationError::target("create", to, error)),
    }
}

fn remove(path: &Path) -> Result<(), OperationError> {
    fs::remove_dir_all(path).map_err(|error| OperationError::target("remove", path, error))
}
