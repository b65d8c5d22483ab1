//! What restores keep beside a target `data`, all in its parent directory, as in format-spec/14-local.md.
//!
//! | name | what it is |
//! |---|---|
//! | `.redkeep-lock-data` | locked by the restore or undo that is at work on the target |
//! | `.redkeep-staging-data` | being filled; without a holder of the lock, left by a killed restore |
//! | `.redkeep-probe-data` | empty: tried whether directories can be exchanged here |
//! | `.redkeep-swap-data-<time>-<inode>` | about to take the target's place if its inode is the one in its name, else what stood there, already replaced |
//! | `.redkeep-aside-data-<time>` | what a restore replaced |
//!
//! So a kill at any point leaves the old or the new directory whole under the target's name, and whoever comes next can
//! tell which. What follows the target's name is read whole or the name is not ours: `data` and `data-6380` in one
//! directory never take each other's for their own.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::iter::successors;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::format::UnixMillis;
use crate::held::Held;
use crate::operations::OperationError;

const LOCK: &str = ".redkeep-lock-";
const STAGING: &str = ".redkeep-staging-";
const PROBE: &str = ".redkeep-probe-";
const SWAP: &str = ".redkeep-swap-";
const ASIDE: &str = ".redkeep-aside-";
/// How the time in a name is written, in UTC.
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// Between two of them.
const SECOND: SignedDuration = SignedDuration::from_secs(1);
/// How often a name is looked for that somebody takes right before.
const TRIES: usize = 100;
const TIME_LENGTH: usize = "20261122T143416Z".len();
/// Bytes of a target's name to which everything in the longest name above can be added.
pub(super) const NAME_LENGTH: usize = 255 - SWAP.len() - TIME_LENGTH - "--18446744073709551615".len();

/// The names beside one target, in the directory that holds it.
#[derive(Clone)]
pub(super) struct Beside {
    parent: Held,
    name: OsString,
}

/// A directory that was about to be exchanged with the target.
pub(super) struct Swap {
    pub name: OsString,
    pub time: String,
    /// Of the directory that was to take the target's place.
    pub inode: u64,
}

impl Beside {
    /// The names beside the entry `name` of a directory.
    pub fn new(parent: Held, name: &OsStr) -> Beside {
        Beside { parent, name: name.to_owned() }
    }

    /// The directory that holds the target.
    pub fn parent(&self) -> &Held {
        &self.parent
    }

    /// The target's name in it.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Where the target is, for words.
    pub fn target(&self) -> PathBuf {
        self.path_of(&self.name)
    }

    /// Where something beside it is, for words.
    pub fn path_of(&self, name: &OsStr) -> PathBuf {
        self.parent.path_of(name)
    }

    fn named(&self, prefix: &str, suffix: &str) -> OsString {
        let mut name = OsString::from(prefix);
        name.push(&self.name);
        name.push(suffix);
        name
    }

    /// Where a restore is written.
    pub fn staging(&self) -> OsString {
        self.named(STAGING, "")
    }

    /// What is exchanged with a staging directory before anything is in it.
    pub fn probe(&self) -> OsString {
        self.named(PROBE, "")
    }

    /// Where a finished directory waits for its exchange.
    pub fn swap(&self, time: &str, inode: u64) -> OsString {
        self.named(SWAP, &format!("-{time}-{inode}"))
    }

    /// Where what stood in the target's place is kept.
    pub fn aside(&self, time: &str) -> OsString {
        self.named(ASIDE, &format!("-{time}"))
    }

    /// Whether a name is one that something set aside, or about to be, has here.
    pub fn is_other(&self, name: &OsStr) -> bool {
        self.is_aside(name) || self.suffix(name, SWAP).and_then(swap_suffix).is_some()
    }

    /// Whether a name is one that something set aside has here.
    pub fn is_aside(&self, name: &OsStr) -> bool {
        self.suffix(name, ASIDE).is_some_and(is_time)
    }

    /// What restores into this target replaced, the oldest first, with its time.
    pub fn asides(&self) -> Result<Vec<(String, OsString)>, OperationError> {
        let mut found = self.siblings(ASIDE, |suffix| is_time(suffix).then(|| suffix.to_owned()))?;
        found.sort();
        Ok(found)
    }

    /// One of them, by the second in which it was set aside; else the last.
    pub fn aside_of(&self, time: Option<UnixMillis>) -> Result<Option<OsString>, OperationError> {
        let mut all = self.asides()?;
        let Some(time) = time else { return Ok(all.pop().map(|(_, name)| name)) };
        let is_it = |text: &str| moment_of(text).is_some_and(|millis| millis / 1000 == time.0 / 1000);
        Ok(all.into_iter().find(|(text, _)| is_it(text)).map(|(_, name)| name))
    }

    /// Exchanges that a killed restore may not have finished.
    pub fn swaps(&self) -> Result<Vec<Swap>, OperationError> {
        let found = self.siblings(SWAP, swap_suffix)?.into_iter();
        Ok(found.map(|((time, inode), name)| Swap { name, time, inode }).collect())
    }

    /// What of a name follows a prefix and the target's name.
    fn suffix<'a>(&self, name: &'a OsStr, prefix: &str) -> Option<&'a str> {
        let suffix = name.as_bytes().strip_prefix(prefix.as_bytes())?.strip_prefix(self.name.as_bytes())?;
        str::from_utf8(suffix.strip_prefix(b"-")?).ok()
    }

    /// Directories with a prefix and the target's name of which the rest can be read.
    fn siblings<T>(
        &self,
        prefix: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<(T, OsString)>, OperationError> {
        let failed = |error| OperationError::target("list", self.parent.path(), error);
        let mut found = Vec::new();
        for name in self.parent.names().map_err(failed)? {
            let Some(parsed) = self.suffix(&name, prefix).and_then(&parse) else { continue };
            if self.parent.look(&name).map_err(failed)?.is_some_and(|seen| seen.is_dir()) {
                found.push((parsed, name));
            }
        }
        Ok(found)
    }

    /// Removes what has a name beside the target, where something has.
    pub fn remove(&self, name: &OsStr) -> Result<(), OperationError> {
        self.parent.remove(name).map_err(|error| OperationError::target("remove", &self.path_of(name), error))
    }

    /// Makes a directory beside the target.
    pub fn make(&self, name: &OsStr) -> Result<Held, OperationError> {
        make(&self.parent, name, 0o700)
    }

    /// Renames to a name beside the target that must not be taken.
    pub fn rename_new(&self, from: &OsStr, to: &OsStr) -> Result<(), OperationError> {
        rename_new(&self.parent, from, &self.parent, to)
    }

    /// Brings the names to the disk.
    pub fn sync(&self) -> Result<(), OperationError> {
        sync_directory(&self.parent)
    }

    /// A time for what is set aside: now, or a second after that of the last thing set aside, here or there, if that is later.
    pub fn unused_time(&self, others: &[Beside]) -> Result<String, OperationError> {
        let mut newest = None;
        for beside in others.iter().chain([self]) {
            newest = newest.max(beside.asides()?.pop().and_then(|(time, _)| parse_time(&time)));
        }
        let after = newest.and_then(|time| time.checked_add(SECOND).ok());
        let now = Timestamp::now();
        self.free_from(after.map_or(now, |after| after.max(now)), others)
    }

    /// The first time from this one on of which nothing has a name aside, here or there, whatever it is: whoever owns the
    /// directory around may have put anything there.
    fn free_from(&self, time: Timestamp, others: &[Beside]) -> Result<String, OperationError> {
        let mut taken = HashSet::new();
        for beside in others.iter().chain([self]) {
            let names = beside.parent.names();
            let names = names.map_err(|error| OperationError::target("list", beside.parent.path(), error))?;
            taken.extend(names.iter().filter_map(|name| beside.suffix(name, ASIDE)).map(str::to_owned));
        }
        let times = successors(Some(time), |time| time.checked_add(SECOND).ok());
        let mut texts = times.map(|time| time.strftime(TIME).to_string());
        Ok(texts.find(|text| !taken.contains(text)).unwrap_or_else(|| time.strftime(TIME).to_string()))
    }

    /// The same for a name aside that was chosen before.
    pub fn free_aside(&self, name: &OsStr, others: &[Beside]) -> Result<OsString, OperationError> {
        match self.suffix(name, ASIDE).and_then(parse_time) {
            Some(time) => Ok(self.aside(&self.free_from(time, others)?)),
            None => Ok(name.to_owned()),
        }
    }

    /// Gives something beside the target a name aside of this time, or of the next one that nobody takes.
    pub fn set_aside(&self, from: &OsStr, time: &str) -> Result<OsString, OperationError> {
        let mut name = self.aside(time);
        for _ in 0..TRIES {
            name = self.free_aside(&name, &[])?;
            match self.parent.rename_new(from, &self.parent, &name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                renamed => {
                    let failed = |error| OperationError::target("create", &self.path_of(&name), error);
                    return renamed.map(|()| name.clone()).map_err(failed);
                }
            }
        }
        self.rename_new(from, &name).map(|()| name)
    }

    /// Locks the target for one restore or undo.
    pub fn lock(&self) -> Result<Lock, OperationError> {
        let name = self.named(LOCK, "");
        let failed = |error: io::Error| OperationError::target("lock", &self.path_of(&name), error);
        let running = || OperationError::Busy {
            what: format!("another restore to {} is running", self.target().display()),
            hint: "wait until it has ended, or restore to another directory".into(),
        };
        loop {
            let file = self.parent.lock_file(&name).map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return Err(running()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failed(error.into())),
            }
            // The holder before may have removed the file between the two calls: then this lock is of no name.
            let mine = id_of(&file).map_err(failed)?;
            match self.parent.look(&name).map_err(failed)? {
                Some(there) if there.id() == mine => {
                    return Ok(Lock { parent: self.parent.clone(), name, _file: file });
                }
                Some(_) | None => {}
            }
        }
    }
}

/// Held while one restore or undo is at work on a target. The kernel lets it go when its holder dies; the file that is
/// left then is in nobody's way.
pub(super) struct Lock {
    parent: Held,
    name: OsString,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the lock itself is let go, and whoever waits for it looks whether the name is still there.
        let _ = self.parent.remove_file(&self.name);
    }
}

/// Device and inode of an opened file.
fn id_of(file: &File) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn swap_suffix(suffix: &str) -> Option<(String, u64)> {
    let (time, digits) = suffix.split_once('-').filter(|(time, _)| is_time(time))?;
    let inode: u64 = digits.parse().ok().filter(|inode: &u64| inode.to_string() == digits)?;
    Some((time.to_owned(), inode))
}

fn parse_time(text: &str) -> Option<Timestamp> {
    if text.len() != TIME_LENGTH || !text.starts_with(|letter: char| letter.is_ascii_digit()) {
        return None; // Years of the era before this one have a sign, which would be read as a part of the name.
    }
    let time = DateTime::strptime(TIME, text).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    (time.strftime(TIME).to_string() == text).then_some(time)
}

/// Milliseconds since the epoch of the time in a name.
pub(super) fn moment_of(text: &str) -> Option<u64> {
    parse_time(text).and_then(|time| u64::try_from(time.as_millisecond()).ok())
}

/// The time in a name, as a person gives it (RFC 3339).
pub(super) fn spelt(text: &str) -> Option<String> {
    parse_time(text).map(|time| time.to_string())
}

fn is_time(text: &str) -> bool {
    parse_time(text).is_some()
}

/// Makes a directory that is the caller's and empty.
pub(super) fn make(parent: &Held, name: &OsStr, mode: u32) -> Result<Held, OperationError> {
    parent.make(name, mode).map_err(|error| OperationError::target("create", &parent.path_of(name), error))
}

/// Renames to a name that must not be taken.
pub(super) fn rename_new(from: &Held, name: &OsStr, into: &Held, to: &OsStr) -> Result<(), OperationError> {
    from.rename_new(name, into, to).map_err(|error| OperationError::target("create", &into.path_of(to), error))
}

/// Brings the names in a directory to the disk.
pub(super) fn sync_directory(directory: &Held) -> Result<(), OperationError> {
    directory.sync().map_err(|error| OperationError::target("sync", directory.path(), error))
}

/// Exchanges what two names mean in one step: no moment without either. `target`: for whose sake.
pub(super) fn exchange(one: (&Held, &OsStr), other: (&Held, &OsStr), target: &Path) -> Result<(), OperationError> {
    let refused = |what: &str, hint: &str| OperationError::Refused {
        what: format!("{} {what}", target.display()),
        hint: hint.into(),
    };
    match one.0.exchange(one.1, other.0, other.1) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(refused(MOUNTED, NEW_PLACE)),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            Err(refused("is on a file system that cannot exchange two directories in one step", NEW_PLACE))
        }
        Err(Errno::XDEV) => Err(refused("is of a lower layer of its file system and cannot be renamed", NEW_PLACE)),
        Err(Errno::PERM | Errno::ACCESS) => Err(refused("may not be renamed by this user", OTHER_USER)),
        Err(error) => Err(OperationError::target("replace", target, error)),
    }
}

/// Why a mount point is refused.
pub(super) const MOUNTED: &str = "is a mount point and cannot be replaced in one step";
/// What to do where a directory cannot be replaced.
pub(super) const NEW_PLACE: &str =
    "restore to a new directory, then move its files in place of the old ones while the server is stopped";
/// What to do where the user lacks the right to.
pub(super) const OTHER_USER: &str = "run it as root or as the owner of the directory, or restore to a new directory";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn beside(parent: &Path, name: &str) -> Beside {
        Beside::new(Held::open(parent).unwrap(), OsStr::new(name))
    }

    #[test]
    fn only_a_whole_time_is_one() {
        assert!(is_time("20261122T143416Z"));
        for text in [
            "6380-20261122T143416Z",
            "20261122T143416",
            "20261122T143416Z-7",
            "20261322T143416Z",
            "-20261122T143416Z",
            "-2026112T143416Z",
            "",
            "2026",
        ] {
            assert!(!is_time(text), "{text}");
        }
    }

    #[test]
    fn no_target_takes_what_belongs_to_another_for_its_own() {
        let temp = tempfile::tempdir().unwrap();
        let names =
            ["redis", "redis-6380", "redis-20261122T000000Z", "redis-20261122T000000Z-7", "redis-20261122T000000Z-"];
        let all = names.map(|name| beside(temp.path(), name));
        for one in &all {
            one.make(&one.aside("20261122T000001Z")).unwrap();
            one.make(&one.swap("20261122T000002Z", 7)).unwrap();
        }
        for one in &all {
            assert_eq!(one.asides().unwrap(), [("20261122T000001Z".to_owned(), one.aside("20261122T000001Z"))]);
            let swaps: Vec<OsString> = one.swaps().unwrap().into_iter().map(|swap| swap.name).collect();
            assert_eq!(swaps, [one.swap("20261122T000002Z", 7)]);
        }
    }

    #[test]
    fn the_longest_name_allowed_fits_with_everything_added() {
        let temp = tempfile::tempdir().unwrap();
        let longest = beside(temp.path(), &"n".repeat(NAME_LENGTH));
        longest.make(&longest.swap("20261122T143416Z", u64::MAX)).unwrap();
    }

    #[test]
    fn a_lock_excludes_until_it_is_dropped_and_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let (redis, other) = (beside(temp.path(), "redis"), beside(temp.path(), "redis-6380"));
        let held = redis.lock().unwrap();
        assert!(matches!(redis.lock(), Err(OperationError::Busy { .. })));
        drop(other.lock().unwrap());
        drop(held);
        drop(redis.lock().unwrap());
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
