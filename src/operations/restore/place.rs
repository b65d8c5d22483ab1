//! The place a restore ends in: who uses it, what stands there, and how one directory takes another's name.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::StatxAttributes;

use super::beside::{self, Beside, Lock, MOUNTED, NEW_PLACE, OTHER_USER, exchange, sync_directory};
use crate::format::UnixMillis;
use crate::format::counts::size;
use crate::held::{Held, Seen};
use crate::operations::OperationError;
use crate::store::Location;

/// Room that is left free on the target's disk.
const SPARE: u64 = 16 << 20;

/// The directory a restore will replace or make.
pub(super) struct Target {
    path: PathBuf,
    beside: Beside,
    standing: Option<Seen>,
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
        let mut target = Target::named(target)?;
        target.look()?;
        Ok(target)
    }

    /// A target that is not touched itself, whatever works in it.
    pub fn named(target: &Path) -> Result<Target, OperationError> {
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
        let parent = match Held::open(parent) {
            Ok(parent) => parent,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let hint = format!("make it first: mkdir -p {}", parent.display());
                return Err(refuse(parent, "does not exist", &hint));
            }
            Err(error) => return Err(OperationError::target("find", parent, error)),
        };
        let beside = Beside::new(parent, name);
        Ok(Target { path: beside.target(), beside, standing: None })
    }

    fn seen(&self) -> Result<Option<Seen>, OperationError> {
        let seen = self.beside.parent().look(self.beside.name());
        seen.map_err(|error| OperationError::target("look at", &self.path, error))
    }

    /// Looks at what stands there.
    fn look(&mut self) -> Result<(), OperationError> {
        self.standing = self.seen()?;
        let Some(standing) = &self.standing else { return Ok(()) };
        if standing.is_link() {
            return Err(refuse(&self.path, "is a link, not a directory", "name the directory it leads to"));
        }
        if !standing.is_dir() {
            return Err(refuse(&self.path, "is not a directory", "name a directory, or a path that does not exist"));
        }
        self.refuse_fixed(standing)?;
        self.refuse_users()
    }

    /// Refuses a directory that the system will not rename: found now rather than after hours of restoring.
    fn refuse_fixed(&self, standing: &Seen) -> Result<(), OperationError> {
        let parent = self.beside.parent();
        let around = parent.seen().map_err(|error| OperationError::target("look at", parent.path(), error))?;
        // Kernels before 5.8 do not tell mounts of one file system apart; the exchange itself fails there, unharmed.
        let attributes = parent.attributes(self.beside.name());
        if standing.id().0 != around.id().0 || attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Err(refuse(&self.path, MOUNTED, NEW_PLACE));
        }
        if attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
            return Err(refuse(&self.path, "is marked as immutable", "see lsattr and chattr, or restore elsewhere"));
        }
        let user = rustix::process::geteuid().as_raw();
        let is_sticky = around.mode() & 0o1000 != 0;
        if is_sticky && user != 0 && user != around.owner().0 && user != standing.owner().0 {
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
        if self.standing.as_ref().is_some_and(|standing| root.ancestors().any(|above| holds(above, standing.id()))) {
            return Err(refuse(&self.path, "holds the repository itself", "restore to another directory"));
        }
        if self.beside.parent().path().ancestors().any(|above| holds(above, root_id)) {
            return Err(refuse(&self.path, "is inside the repository", "restore to another directory"));
        }
        Ok(())
    }

    /// Refuses when the bytes will not fit beside what is there.
    pub fn check_space(&self, bytes: u64) -> Result<(), OperationError> {
        let parent = self.beside.parent();
        let free = parent.free().map_err(|error| OperationError::target("look at", parent.path(), error))?;
        match free >= bytes.saturating_add(SPARE) {
            true => Ok(()),
            false => Err(OperationError::NoRoom {
                what: format!(
                    "{} has {} free, the snapshot needs {}, and {} are to stay free",
                    parent.path().display(),
                    size(free),
                    size(bytes),
                    size(SPARE)
                ),
                hint: "free some space, or restore elsewhere; what stands there stays until the new files are complete"
                    .into(),
            }),
        }
    }

    fn refuse_users(&self) -> Result<(), OperationError> {
        self.standing.as_ref().map_or(Ok(()), |standing| refuse_users_of(&self.path, standing.id()))
    }

    /// Refuses when something else stands there than was looked at, or a server was started in it meanwhile.
    fn refuse_change(&self) -> Result<(), OperationError> {
        match self.seen()?.map(|seen| seen.id()) == self.standing.as_ref().map(Seen::id) {
            true => self.refuse_users(),
            false => Err(self.replaced(self.beside.name())),
        }
    }

    /// Refuses when a name beside the target, or the target's own, means something else than this.
    fn refuse_other(&self, name: &OsStr, wanted: (u64, u64)) -> Result<(), OperationError> {
        let found = self.beside.parent().look(name);
        let found = found.map_err(|error| OperationError::target("look at", &self.beside.path_of(name), error))?;
        match found.map(|seen| seen.id()) == Some(wanted) {
            true => Ok(()),
            false => Err(self.replaced(name)),
        }
    }

    fn replaced(&self, name: &std::ffi::OsStr) -> OperationError {
        OperationError::InUse {
            what: format!("{} was replaced by something else meanwhile", self.beside.path_of(name).display()),
            hint: "find out what works on this directory, then restore again".into(),
        }
    }

    /// Takes the target for one restore or undo, and finishes the exchanges that killed restores began.
    pub fn claim(mut self) -> Result<Claim, OperationError> {
        let lock = self.beside.lock()?;
        // Another restore may have ended between the first look and the lock.
        self.look()?;
        let claim = Claim { target: self, _lock: lock };
        for (name, time) in claim.swaps(Exchanged::Done)? {
            claim.target.beside.set_aside(&name, &time)?;
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
    /// The target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The names beside the target.
    pub fn beside(&self) -> &Beside {
        &self.target.beside
    }

    fn swaps(&self, wanted: Exchanged) -> Result<Vec<(OsString, String)>, OperationError> {
        let mut found = Vec::new();
        let beside = &self.target.beside;
        for swap in beside.swaps()? {
            let seen = beside.parent().look(&swap.name);
            let seen = seen.map_err(|error| OperationError::target("look at", &beside.path_of(&swap.name), error))?;
            let is_new = seen.is_some_and(|seen| seen.inode() == swap.inode);
            let exchanged = if is_new { Exchanged::Never } else { Exchanged::Done };
            if exchanged == wanted {
                found.push((swap.name, swap.time));
            }
        }
        Ok(found)
    }

    /// LOCAL-8: removes what killed restores wrote for this target and never put in its place.
    pub fn clear(&self) -> Result<(), OperationError> {
        let beside = &self.target.beside;
        let unused = self.swaps(Exchanged::Never)?.into_iter().map(|(name, _)| name);
        unused.chain([beside.staging(), beside.probe()]).try_for_each(|name| beside.remove(&name))
    }

    /// Tries with an empty staging directory what will be done with the full one.
    pub fn probe(&self, staging: &Held) -> Result<(), OperationError> {
        let Target { beside, standing: Some(standing), path } = &self.target else { return Ok(()) };
        let (name, other) = (beside.probe(), beside.staging());
        let probe = beside.make(&name)?;
        let (one, two) = ((beside.parent(), name.as_os_str()), (beside.parent(), other.as_os_str()));
        let tried = give(&probe, standing).map(drop).and_then(|()| exchange(one, two, path));
        let tried = tried.and_then(|()| exchange(one, two, path));
        let removed = beside.parent().remove_directory(&name);
        let removed = removed.map_err(|error| OperationError::target("remove", &beside.path_of(&name), error));
        tried.and(removed)?;
        self.target.refuse_other(&other, id_of(staging)?)
    }

    /// LOCAL-19: gives a finished directory the target's name, by one rename, and looks whether it is that which has it
    /// then. Answers with where the old one is kept, and with the reason where its mode could not be set.
    pub fn take(&self, staging: &Held) -> Result<(Option<PathBuf>, io::Result<()>), OperationError> {
        let Target { path, beside, standing } = &self.target;
        self.target.refuse_change()?;
        let (name, ours) = (beside.staging(), id_of(staging)?);
        self.target.refuse_other(&name, ours)?;
        let Some(standing) = standing else {
            beside.rename_new(&name, beside.name())?;
            self.target.refuse_other(beside.name(), ours)?;
            beside.sync()?;
            return Ok((None, Ok(())));
        };
        // Owner and mode of the directory itself stay: the server's unit file or package relies on them.
        let mode = give(staging, standing)?;
        sync_directory(staging)?;
        let time = beside.unused_time(&[])?;
        let swap = beside.swap(&time, ours.1);
        beside.rename_new(&name, &swap)?;
        self.target.refuse_other(&swap, ours)?;
        if let Err(error) = exchange((beside.parent(), &swap), (beside.parent(), beside.name()), path) {
            // Under the name by which it is removed. Where even that fails, the next restore removes it.
            let _ = beside.rename_new(&swap, &name);
            return Err(error);
        }
        self.target.refuse_other(beside.name(), ours)?;
        let aside = beside.set_aside(&swap, &time)?;
        beside.sync()?;
        Ok((Some(beside.path_of(&aside)), mode))
    }
}

/// LOCAL-9: puts back what the last restore into a directory replaced, by one exchange. What stood there is then kept
/// in its stead, so that doing it twice changes nothing. Removes nothing. `to`: what was set aside in that second instead.
/// What was put back leaves its name to what stood there, and has the time of this undo by then: nothing is ever kept under
/// an earlier time than it was set aside at, wherever this is killed.
pub fn undo(target: &Path, to: Option<UnixMillis>) -> Result<UndoReport, OperationError> {
    let Claim { target, _lock } = Target::find(target)?.claim()?;
    let beside = &target.beside;
    let from = target.picked(to)?;
    let seen = beside.parent().look(&from);
    let seen = seen.map_err(|error| OperationError::target("look at", &beside.path_of(&from), error))?;
    let old = seen.filter(Seen::is_dir).ok_or_else(|| target.nothing_aside(to))?.id();
    target.refuse_change()?;
    let kept = match target.kept()? {
        Some(time) => {
            let kept = beside.set_aside(&from, &time)?;
            if let Err(error) = exchange((beside.parent(), &kept), (beside.parent(), beside.name()), &target.path) {
                // Where even that fails, it is kept as what was set aside last.
                let _ = beside.rename_new(&kept, &from);
                return Err(error);
            }
            Some(kept)
        }
        None => beside.rename_new(&from, beside.name()).map(|()| None)?,
    };
    target.refuse_other(beside.name(), old)?;
    beside.sync()?;
    let (from, aside) = (beside.path_of(&from), kept.map(|kept| beside.path_of(&kept)));
    Ok(UndoReport { target: target.path, from, aside })
}

/// What [`undo`] would do.
pub fn look_at_undo(target: &Path, to: Option<UnixMillis>) -> Result<UndoReport, OperationError> {
    let target = Target::find(target)?;
    target.refuse_users()?;
    let from = target.picked(to)?;
    let aside = target.kept()?.map(|time| target.beside.path_of(&target.beside.aside(&time)));
    Ok(UndoReport { from: target.beside.path_of(&from), target: target.path, aside })
}

impl Target {
    fn picked(&self, to: Option<UnixMillis>) -> Result<OsString, OperationError> {
        self.beside.aside_of(to)?.ok_or_else(|| self.nothing_aside(to))
    }

    fn nothing_aside(&self, to: Option<UnixMillis>) -> OperationError {
        nothing_aside(&self.path, to)
    }

    /// The time that an undo keeps what stands there under, where anything does: the latest, and of now.
    fn kept(&self) -> Result<Option<String>, OperationError> {
        self.exists().then(|| self.beside.unused_time(&[])).transpose()
    }
}

/// There is nothing to put back.
pub(super) fn nothing_aside(directory: &Path, to: Option<UnixMillis>) -> OperationError {
    let at = if to.is_some() { " at that time" } else { "" };
    OperationError::NothingAside { path: format!("{}{at}", directory.display()) }
}

/// Owner and mode of one directory for another. Answers with the reason where the mode could not be set.
fn give(directory: &Held, like: &Seen) -> Result<io::Result<()>, OperationError> {
    let failed = |error| OperationError::target("set the owner of", directory.path(), error);
    let mine = directory.seen().map_err(failed)?;
    if mine.owner() != like.owner() {
        directory.give(like.owner()).map_err(failed)?;
    }
    Ok(if mine.mode() == like.mode() { Ok(()) } else { directory.set_mode(like.mode()) })
}

fn id_of(held: &Held) -> Result<(u64, u64), OperationError> {
    held.seen().map(|seen| seen.id()).map_err(|error| OperationError::target("look at", held.path(), error))
}

/// A server that works in the directory would go on writing to the files set aside, and never see the new ones.
pub(super) fn refuse_users_of(directory: &Path, standing: (u64, u64)) -> Result<(), OperationError> {
    let Ok(processes) = fs::read_dir("/proc") else { return Ok(()) };
    for process in processes.flatten() {
        let path = process.path();
        let is_process = process.file_name().as_bytes().iter().all(u8::is_ascii_digit);
        let Ok(works_in) = fs::metadata(path.join("cwd")) else { continue };
        if !is_process || id(&works_in) != standing {
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
    fn claimed(parent: &Path) -> (PathBuf, Claim, Held) {
        let path = parent.join("redis");
        fs::create_dir(&path).unwrap();
        let claim = Target::find(&path).unwrap().claim().unwrap();
        let staging = claim.beside().make(&claim.beside().staging()).unwrap();
        (path, claim, staging)
    }

    #[test]
    fn what_was_replaced_during_a_restore_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let (path, claim, staging) = claimed(temp.path());
        fs::rename(&path, temp.path().join("moved")).unwrap();
        assert!(matches!(claim.take(&staging), Err(OperationError::InUse { .. })));
        fs::create_dir(&path).unwrap();
        assert!(matches!(claim.take(&staging), Err(OperationError::InUse { .. })));
        fs::remove_dir(&path).unwrap();
        fs::rename(temp.path().join("moved"), &path).unwrap();
        claim.take(&staging).unwrap().1.unwrap();
    }

    /// LOCAL-19
    #[test]
    fn what_takes_the_place_of_the_staged_directory_is_not_taken_for_it() {
        let temp = tempfile::tempdir().unwrap();
        let (path, claim, staging) = claimed(temp.path());
        let name = temp.path().join(claim.beside().staging());
        fs::rename(&name, temp.path().join("stolen")).unwrap();
        std::os::unix::fs::symlink("/etc", &name).unwrap();
        assert!(matches!(claim.take(&staging), Err(OperationError::InUse { .. })));
        assert!(path.symlink_metadata().unwrap().is_dir(), "what stood there is there");
    }

    #[test]
    fn a_server_started_during_a_restore_is_seen() {
        let temp = tempfile::tempdir().unwrap();
        let (path, claim, staging) = claimed(temp.path());
        let program = temp.path().join("redis-server");
        fs::copy("/bin/sh", &program).unwrap();
        let mut server = Command::new(&program);
        let server = server.args(["-c", "echo; read line"]).current_dir(&path);
        let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let refused = claim.take(&staging);
        drop(server.stdin.take());
        server.wait().unwrap();
        assert!(matches!(refused, Err(OperationError::InUse { .. })));
        claim.take(&staging).unwrap().1.unwrap();
    }
}
