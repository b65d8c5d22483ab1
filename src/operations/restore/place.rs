//! The place a restore ends in: who uses it, what stands there, and how one directory takes another's name.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

use super::beside::{self, Beside, Lock, MOUNTED, NEW_PLACE, OTHER_USER, exchange, remove, rename_new};
use super::stage::sync_directory;
use crate::operations::OperationError;
use crate::store::Location;

/// Room that is left free on the target's disk.
const SPARE: u64 = 16 << 20;

/// The directory a restore will replace or make.
pub(super) struct Target {
    path: PathBuf,
    beside: Beside,
    standing: Option<fs::Metadata>,
}

/// A target that no other restore or undo touches meanwhile.
pub(super) struct Claim {
    target: Target,
    _lock: Lock,
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
    /// Looks at a target and refuses one that cannot be replaced safely. Changes nothing.
    pub fn find(target: &Path) -> Result<Target, OperationError> {
        // `.` and `..` have no name of their own to be replaced under.
        let resolved = match target.file_name() {
            Some(_) => target.to_owned(),
            None => target.canonicalize().map_err(|error| OperationError::target("find", target, error))?,
        };
        let name =
            resolved.file_name().ok_or_else(|| refuse(target, "cannot be replaced", "name a directory in it"))?;
        if name.len() > beside::NAME_LENGTH {
            return Err(refuse(target, "has too long a name", "restore to a directory with a shorter one"));
        }
        let parent = match resolved.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let parent = match parent.canonicalize() {
            Ok(parent) => parent,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let hint = format!("make it first: mkdir -p {}", parent.display());
                return Err(refuse(parent, "does not exist", &hint));
            }
            Err(error) => return Err(OperationError::target("find", parent, error)),
        };
        let beside = Beside::new(parent, name);
        let mut target = Target { path: beside.target(), beside, standing: None };
        target.look()?;
        Ok(target)
    }

    /// Looks at what stands there.
    fn look(&mut self) -> Result<(), OperationError> {
        self.standing = match fs::symlink_metadata(&self.path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(OperationError::target("look at", &self.path, error)),
        };
        let Some(standing) = &self.standing else { return Ok(()) };
        if standing.is_symlink() {
            return Err(refuse(&self.path, "is a link, not a directory", "name the directory it leads to"));
        }
        if !standing.is_dir() {
            return Err(refuse(&self.path, "is not a directory", "name a directory, or a path that does not exist"));
        }
        self.refuse_fixed(standing)?;
        self.refuse_users()
    }

    /// Refuses a directory that the system will not rename: found now rather than after hours of restoring.
    fn refuse_fixed(&self, standing: &fs::Metadata) -> Result<(), OperationError> {
        let parent = self.beside.parent();
        let around = fs::metadata(parent).map_err(|error| OperationError::target("look at", parent, error))?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        // Kernels before 5.8 do not tell mounts of one file system apart; the exchange itself fails there, unharmed.
        let attributes = rustix::fs::statx(CWD, &self.path, flags, StatxFlags::BASIC_STATS);
        let attributes = attributes.map_or(StatxAttributes::empty(), |found| found.stx_attributes);
        if standing.dev() != around.dev() || attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Err(refuse(&self.path, MOUNTED, NEW_PLACE));
        }
        if attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
            return Err(refuse(&self.path, "is marked as immutable", "see lsattr and chattr, or restore elsewhere"));
        }
        let user = rustix::process::geteuid().as_raw();
        let is_sticky = around.mode() & 0o1000 != 0;
        if is_sticky && user != 0 && user != around.uid() && user != standing.uid() {
            return Err(refuse(&self.path, "may not be renamed by this user", OTHER_USER));
        }
        Ok(())
    }

    /// The target, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a directory stands there.
    pub fn exists(&self) -> bool {
        self.standing.is_some()
    }

    /// Refuses a target in the repository, and one that the repository is in: replacing that would take it away.
    pub fn refuse_repository(&self, location: &str) -> Result<(), OperationError> {
        let Ok(Location::Local(repository)) = location.parse() else { return Ok(()) };
        let failed = |error| OperationError::target("find", &repository, error);
        let root = repository.canonicalize().map_err(failed)?;
        let root_id = id(&fs::metadata(&root).map_err(failed)?);
        let holds = |place: &Path, wanted| fs::metadata(place).is_ok_and(|found| id(&found) == wanted);
        if self.standing.as_ref().is_some_and(|standing| root.ancestors().any(|above| holds(above, id(standing)))) {
            return Err(refuse(&self.path, "holds the repository itself", "restore to another directory"));
        }
        if self.beside.parent().ancestors().any(|above| holds(above, root_id)) {
            return Err(refuse(&self.path, "is inside the repository", "restore to another directory"));
        }
        Ok(())
    }

    /// Refuses when the bytes will not fit beside what is there.
    pub fn check_space(&self, bytes: u64) -> Result<(), OperationError> {
        let parent = self.beside.parent();
        let stat = rustix::fs::statvfs(parent).map_err(|error| OperationError::target("look at", parent, error))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        match free >= bytes.saturating_add(SPARE) {
            true => Ok(()),
            false => Err(OperationError::NoRoom {
                what: format!("{} has {free} bytes free, the snapshot needs {bytes}", parent.display()),
                hint: "the old files stay until the new ones are complete: free some space, or restore elsewhere"
                    .into(),
            }),
        }
    }

    fn refuse_users(&self) -> Result<(), OperationError> {
        self.standing.as_ref().map_or(Ok(()), |_| refuse_users_of(&self.path))
    }

    /// Refuses when something else stands there than was looked at, or a server was started in it meanwhile.
    fn refuse_change(&self) -> Result<(), OperationError> {
        let now = match fs::symlink_metadata(&self.path) {
            Ok(metadata) => Some(id(&metadata)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(OperationError::target("look at", &self.path, error)),
        };
        if now != self.standing.as_ref().map(id) {
            return Err(OperationError::InUse {
                what: format!("{} was replaced by something else meanwhile", self.path.display()),
                hint: "find out what works on this directory, then restore again".into(),
            });
        }
        self.refuse_users()
    }

    /// Takes the target for one restore or undo, and finishes the exchanges that killed restores began.
    pub fn claim(mut self) -> Result<Claim, OperationError> {
        let lock = self.beside.lock()?;
        // Another restore may have ended between the first look and the lock.
        self.look()?;
        let claim = Claim { target: self, _lock: lock };
        for (path, time) in claim.swaps(Exchanged::Done)? {
            rename_new(&path, &claim.target.beside.aside(&time))?;
        }
        Ok(claim)
    }
}

/// Whether a swap name holds what stood in the target's place, or what was to stand there.
#[derive(PartialEq)]
enum Exchanged {
    Done,
    Never,
}

impl Claim {
    /// Where the restore is written.
    pub fn staging(&self) -> PathBuf {
        self.target.beside.staging()
    }

    /// The target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    fn swaps(&self, wanted: Exchanged) -> Result<Vec<(PathBuf, String)>, OperationError> {
        let mut found = Vec::new();
        for swap in self.target.beside.swaps()? {
            let failed = |error| OperationError::target("look at", &swap.path, error);
            let inode = fs::symlink_metadata(&swap.path).map_err(failed)?.ino();
            let exchanged = if inode == swap.inode { Exchanged::Never } else { Exchanged::Done };
            if exchanged == wanted {
                found.push((swap.path, swap.time));
            }
        }
        Ok(found)
    }

    /// LOCAL-8: removes what killed restores wrote for this target and never put in its place.
    pub fn clear(&self) -> Result<(), OperationError> {
        let unused = self.swaps(Exchanged::Never)?.into_iter().map(|(path, _)| path);
        for path in unused.chain([self.target.beside.staging(), self.target.beside.probe()]) {
            remove(&path).map_err(|error| OperationError::target("remove", &path, error))?;
        }
        Ok(())
    }

    /// Tries with an empty staging directory what will be done with the full one.
    pub fn probe(&self, staging: &Path) -> Result<(), OperationError> {
        let Some(standing) = &self.target.standing else { return Ok(()) };
        let probe = self.target.beside.probe();
        let made = fs::DirBuilder::new().mode(0o700).create(&probe);
        made.map_err(|error| OperationError::target("create", &probe, error))?;
        let tried = give(&probe, standing).and_then(|()| exchange(&probe, staging, self.target.path()));
        let tried = tried.and_then(|()| exchange(&probe, staging, self.target.path()));
        let removed = fs::remove_dir(&probe).map_err(|error| OperationError::target("remove", &probe, error));
        tried.and(removed)
    }

    /// Gives a finished directory the target's name, by one rename. Answers with where the old one is kept.
    pub fn take(&self, staging: &Path) -> Result<Option<PathBuf>, OperationError> {
        let Target { path, beside, standing } = &self.target;
        self.target.refuse_change()?;
        let Some(standing) = standing else {
            rename_new(staging, path)?;
            sync_directory(beside.parent())?;
            return Ok(None);
        };
        // Owner and mode of the directory itself stay: the server's unit file or package relies on them.
        give(staging, standing)?;
        sync_directory(staging)?;
        let failed = |error| OperationError::target("look at", staging, error);
        let inode = fs::symlink_metadata(staging).map_err(failed)?.ino();
        let time = beside.unused_time()?;
        let swap = beside.swap(&time, inode);
        rename_new(staging, &swap)?;
        if let Err(error) = exchange(&swap, path, path) {
            // Under the name by which it is removed. Where even that fails, the next restore removes it.
            let _ = rename_new(&swap, staging);
            return Err(error);
        }
        let aside = beside.aside(&time);
        rename_new(&swap, &aside)?;
        sync_directory(beside.parent())?;
        Ok(Some(aside))
    }
}

/// LOCAL-9: puts back what the last restore into a directory replaced, by one exchange. What stood there is then kept
/// in its stead, so that doing it twice changes nothing. Removes nothing.
pub fn undo(target: &Path) -> Result<UndoReport, OperationError> {
    let Claim { target, _lock } = Target::find(target)?.claim()?;
    let nothing = || OperationError::NothingAside { path: target.path.display().to_string() };
    let (_, from) = target.beside.asides()?.pop().ok_or_else(nothing)?;
    target.refuse_change()?;
    let aside = match target.exists() {
        true => {
            exchange(&from, &target.path, &target.path)?;
            Some(from.clone())
        }
        false => {
            rename_new(&from, &target.path)?;
            None
        }
    };
    sync_directory(target.beside.parent())?;
    Ok(UndoReport { target: target.path, from, aside })
}

/// What [`undo`] would do.
pub fn look_at_undo(target: &Path) -> Result<UndoReport, OperationError> {
    let target = Target::find(target)?;
    let nothing = || OperationError::NothingAside { path: target.path.display().to_string() };
    let (_, from) = target.beside.asides()?.pop().ok_or_else(nothing)?;
    let aside = target.exists().then(|| from.clone());
    Ok(UndoReport { target: target.path, from, aside })
}

/// Owner and mode of one directory for another.
fn give(directory: &Path, like: &fs::Metadata) -> Result<(), OperationError> {
    let failed = |error| OperationError::target("set owner and mode of", directory, error);
    let mine = fs::metadata(directory).map_err(failed)?;
    if (mine.uid(), mine.gid()) != (like.uid(), like.gid()) {
        chown(directory, Some(like.uid()), Some(like.gid())).map_err(failed)?;
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(like.mode() & 0o7777)).map_err(failed)
}

/// A server that works in the directory would go on writing to the files set aside, and never see the new ones.
pub(super) fn refuse_users_of(directory: &Path) -> Result<(), OperationError> {
    let Ok(standing) = fs::metadata(directory) else { return Ok(()) };
    let Ok(processes) = fs::read_dir("/proc") else { return Ok(()) };
    for process in processes.flatten() {
        let path = process.path();
        let is_process = process.file_name().as_bytes().iter().all(u8::is_ascii_digit);
        let Ok(works_in) = fs::metadata(path.join("cwd")) else { continue };
        if !is_process || id(&works_in) != id(&standing) {
            continue;
        }
        let command = fs::read_to_string(path.join("comm")).unwrap_or_default();
        // A person's shell may stand in the directory; a server must not.
        if !["redis", "valkey", "keydb"].iter().any(|server| command.contains(server)) {
            continue;
        }
        let pid = process.file_name().to_string_lossy().into_owned();
        return Err(OperationError::InUse {
            what: format!("{} is the directory of a running {} (pid {pid})", directory.display(), command.trim()),
            hint: "redkeep restore --server and redkeep undo --server do it with the server; or stop it first, or restore to \
                   another directory"
                .into(),
        });
    }
    Ok(())
}

/// Device and inode.
fn id(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn refuse(path: &Path, what: &str, hint: &str) -> OperationError {
    OperationError::Refused { what: format!("{} {what}", path.display()), hint: hint.into() }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// A target that is claimed, with a finished restore beside it.
    fn claimed(parent: &Path) -> (PathBuf, Claim) {
        let path = parent.join("redis");
        fs::create_dir(&path).unwrap();
        let claim = Target::find(&path).unwrap().claim().unwrap();
        fs::create_dir(claim.staging()).unwrap();
        (path, claim)
    }

    #[test]
    fn what_was_replaced_during_a_restore_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let (path, claim) = claimed(temp.path());
        fs::rename(&path, temp.path().join("moved")).unwrap();
        assert!(matches!(claim.take(&claim.staging()), Err(OperationError::InUse { .. })));
        fs::create_dir(&path).unwrap();
        assert!(matches!(claim.take(&claim.staging()), Err(OperationError::InUse { .. })));
        fs::remove_dir(&path).unwrap();
        fs::rename(temp.path().join("moved"), &path).unwrap();
        claim.take(&claim.staging()).unwrap();
    }

    #[test]
    fn a_server_started_during_a_restore_is_seen() {
        let temp = tempfile::tempdir().unwrap();
        let (path, claim) = claimed(temp.path());
        let program = temp.path().join("redis-server");
        fs::copy("/bin/sh", &program).unwrap();
        let mut server = Command::new(&program);
        let server = server.args(["-c", "echo; read line"]).current_dir(&path);
        let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let refused = claim.take(&claim.staging());
        drop(server.stdin.take());
        server.wait().unwrap();
        assert!(matches!(refused, Err(OperationError::InUse { .. })));
        claim.take(&claim.staging()).unwrap();
    }
}
