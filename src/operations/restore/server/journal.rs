//! The journal of a restore into a server: how far it has come, what goes where, and how the server is started. Written and
//! synced before each step, so that whoever comes after a kill can finish or go back.
//!
//! It lives in redkeep's own state directory, where nobody else can write: what it says is done with the caller's rights. In
//! the data directory stands a mark, which tells people and timelines that there was a restore, and is otherwise believed
//! in nothing.

mod coding;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::elsewhere::Elsewhere;
use crate::held::{Held, Seen};
use crate::operations::OperationError;
use crate::redis::host::Start;

/// The name of the mark in the data directory. Version 0.1 had its journal there.
pub(in crate::operations) const NAME: &str = ".redkeep-restore.journal";
const NEW: &str = ".redkeep-restore.journal.new";
/// How a journal of version 0.1 begins.
const OLD: &[u8] = b"redkeep-restore 1\n";
/// What stands in a mark, for whoever looks.
const MARK: &[u8] = b"A snapshot was restored here, or that was undone. What was set aside is beside this file; how to undo it is known\nto the user who restored it: redkeep undo\n";

/// Where journals are, in the state directory.
const PLACE: &str = "restores";
const JOURNAL: &str = ".journal";
/// Of one that only says that the server is about to be stopped: what was done before stays known.
const STOPPING: &str = ".stopping";
/// Bytes of one, far above any.
const SIZE: u64 = 16 << 20;

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The server is about to be stopped. Nothing was replaced.
    Stopping,
    /// The server is stopped; entries are being exchanged, in their order.
    Exchanging,
    /// All entries are exchanged. The server is about to be started, and asked.
    Placed,
    /// The server served what it was given.
    Done,
}

/// Which directory a journal is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    /// Where it was.
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
    /// When it was made, where its file system knows.
    pub born: Option<(i64, u32)>,
}

/// What a restore, or its undo, does in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journal {
    pub site: Site,
    /// The server's address, as people say it.
    pub server: String,
    pub state: State,
    /// The snapshot that is restored, or was before its undo.
    pub snapshot: String,
    /// Whether what was there before is being put back.
    pub is_undo: bool,
    /// Whether an undo does it: one of an undo puts the restored data back.
    pub by_undo: bool,
    /// The directory in the data directory with which entries are exchanged.
    pub other: OsString,
    /// The name it has once all are.
    pub aside: OsString,
    /// Whom what is set aside belongs to.
    pub owner: (u32, u32),
    /// The entries, in the order of their exchange.
    pub entries: Vec<Entry>,
    /// Where the AOF's files stand, if that is not in the data directory: their entries begin with its name there.
    pub elsewhere: Option<Elsewhere>,
    /// What was put in place, as it was then.
    pub placed: Vec<Placed>,
    /// What was set aside, by its names there: an undo puts that back, or nothing.
    pub kept: Vec<Placed>,
    /// How the server is started: until it was.
    pub start: Option<Start>,
    /// What an undo puts back instead, where this restore replaced the data of one that did not come to its end.
    pub carried: Option<OsString>,
    /// Of one that only says that the server is about to be stopped: what was done before.
    pub before: Option<Box<Journal>>,
}

/// One entry of the data directory, and the one of the same name in the other directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: OsString,
    /// Inode of what stood in the data directory.
    pub here: Option<u64>,
    /// Inode of what stood in the other directory.
    pub there: Option<u64>,
}

/// A file that was put in place: in anything else there is now the same bytes may be, or others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    /// Below the data directory.
    pub path: OsString,
    pub inode: u64,
    pub size: u64,
    /// When its inode changed last, in seconds and nanoseconds.
    pub changed: (i64, i64),
}

impl Site {
    /// Of a directory that is held.
    pub fn of(held: &Held) -> Result<Site, OperationError> {
        let seen = held.seen().map_err(|error| OperationError::target("look at", held.path(), error))?;
        let (device, inode) = seen.id();
        Ok(Site { path: held.path().into(), device, inode, born: held.born() })
    }

    /// Whether it is the same directory. Devices get other numbers when a host is started, inodes are given again.
    pub fn is(&self, other: &Site) -> bool {
        let same_birth = self.born.is_some() && self.born == other.born;
        let may_be = same_birth || self.born.is_none() || other.born.is_none();
        self.inode == other.inode && may_be && (self.device == other.device || (same_birth && self.path == other.path))
    }

    fn file(&self, kind: &str) -> OsString {
        format!("{}-{}{kind}", self.device, self.inode).into()
    }
}

impl Placed {
    /// What stands under a name now.
    pub fn at(path: &Path, seen: &Seen) -> Placed {
        Placed { path: path.into(), inode: seen.inode(), size: seen.size(), changed: seen.changed() }
    }
}

/// What was read under the name of a journal.
type Found = Result<Journal, OperationError>;

/// LOCAL-18: the journals of this host, where only the caller can write.
#[derive(Debug)]
pub(super) struct Journals(Held);

impl Journals {
    /// Those of a state directory, which is made where it is missing.
    pub fn open(state: Option<&Path>) -> Result<Journals, OperationError> {
        let Some(state) = state else {
            return Err(OperationError::Refused {
                what: "there is no state directory, in which a restore into a server keeps its journal".into(),
                hint: "name one with REDKEEP_STATE_DIR".into(),
            });
        };
        let place = state.join(PLACE);
        let made =
            std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700).create(&place);
        let held = made.and_then(|()| Held::open(&place));
        let held = held.map_err(|error| OperationError::target("open", &place, error))?;
        held.refuse_others().map_err(|error| OperationError::Refused {
            what: format!("{} is no place for a journal: {error}", place.display()),
            hint: "what it says is done with your rights: name another place with REDKEEP_STATE_DIR".into(),
        })?;
        Ok(Journals(held))
    }

    /// The same, where there is one.
    pub fn existing(state: Option<&Path>) -> Result<Option<Journals>, OperationError> {
        match state {
            Some(state) if state.join(PLACE).is_dir() => Journals::open(Some(state)).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// Brings one to the disk.
    pub fn write(&self, journal: &Journal) -> Result<(), OperationError> {
        let is_stopping = journal.state == State::Stopping;
        let name = journal.site.file(if is_stopping { STOPPING } else { JOURNAL });
        write_whole(&self.0, OsStr::new("new"), &name, &journal.encode())?;
        if is_stopping {
            return Ok(());
        }
        // A journal of the same directory under another device number says nothing any more.
        for (old, found) in self.all()? {
            if old != name && found.is_ok_and(|found| found.site.is(&journal.site)) {
                self.remove(&old)?;
            }
        }
        Ok(())
    }

    /// The server was not stopped after all.
    pub fn forget_stopping(&self, site: &Site) -> Result<(), OperationError> {
        self.forget(site, STOPPING)
    }

    /// Nothing was done, or nothing that anybody needs to know.
    pub fn forget_all(&self, site: &Site) -> Result<(), OperationError> {
        self.forget(site, "")
    }

    fn forget(&self, site: &Site, kind: &str) -> Result<(), OperationError> {
        for (name, found) in self.all()? {
            if name.as_bytes().ends_with(kind.as_bytes()) && found.is_ok_and(|found| found.site.is(site)) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    fn remove(&self, name: &OsStr) -> Result<(), OperationError> {
        let removed = self.0.remove_file(name).and_then(|()| self.0.sync());
        removed.map_err(|error| OperationError::target("remove", &self.0.path_of(name), error))
    }

    /// The journal of a directory, if it has one.
    pub fn read(&self, site: &Site) -> Result<Option<Journal>, OperationError> {
        let (mut before, mut stopping) = (None, None);
        for (name, found) in self.all()? {
            let is_named_so = [JOURNAL, STOPPING].iter().any(|kind| name == site.file(kind));
            let journal = match found {
                Ok(journal) if journal.site.is(site) => journal,
                Err(error) if is_named_so => return Err(error),
                Ok(_) | Err(_) => continue,
            };
            match journal.state {
                State::Stopping => stopping = Some(journal),
                State::Exchanging | State::Placed | State::Done => before = Some(journal),
            }
        }
        // One that exchanges was written after the server was stopped.
        if before.as_ref().is_some_and(|journal: &Journal| journal.state == State::Exchanging) {
            return Ok(before);
        }
        Ok(match stopping {
            Some(stopping) => Some(Journal { before: before.map(Box::new), ..stopping }),
            None => before,
        })
    }

    /// The directory of a server that an earlier restore or undo stopped, and that has not served since.
    pub fn unfinished(&self, server: &str) -> Result<Option<Site>, OperationError> {
        let all = self.all()?.into_iter().filter_map(|(_, found)| found.ok());
        Ok(all
            .filter(|journal| journal.server == server && journal.state != State::Done)
            .map(|journal| journal.site)
            .next())
    }

    /// Directories that were restored into for this server.
    pub fn sites(&self, server: &str) -> Result<Vec<Site>, OperationError> {
        let all = self.all()?.into_iter().filter_map(|(_, found)| found.ok());
        Ok(all.filter(|journal| journal.server == server).map(|journal| journal.site).collect())
    }

    fn all(&self) -> Result<Vec<(OsString, Found)>, OperationError> {
        let mut names = self.0.names().map_err(|error| OperationError::target("list", self.0.path(), error))?;
        names.retain(|name| [JOURNAL, STOPPING].iter().any(|kind| name.as_bytes().ends_with(kind.as_bytes())));
        names.sort();
        let read = |name: OsString| {
            let found = self.read_at(&name);
            (name, found)
        };
        Ok(names.into_iter().map(read).collect())
    }

    fn read_at(&self, name: &OsStr) -> Result<Journal, OperationError> {
        let path = self.0.path_of(name);
        let mut bytes = Vec::new();
        let read = self.0.file(name).and_then(|file| file.take(SIZE).read_to_end(&mut bytes));
        read.map_err(|error| OperationError::target("read", &path, error))?;
        Journal::decode(&bytes).ok_or_else(|| OperationError::Refused {
            what: format!("{} is no journal that this version of redkeep can read", path.display()),
            hint: "look at what is in it and in the .redkeep-… directories of the data directory, then move it away"
                .into(),
        })
    }
}

/// Marks a data directory as one that was restored into.
pub(super) fn mark(directory: &Held) -> Result<(), OperationError> {
    write_whole(directory, OsStr::new(NEW), OsStr::new(NAME), MARK)
}

/// Whether version 0.1 left its journal in a data directory, or somebody who wants it to be taken for one.
pub(super) fn is_left_by_0_1(directory: &Held) -> bool {
    let mut begin = Vec::new();
    let read = directory.file(OsStr::new(NAME)).and_then(|file| file.take(OLD.len() as u64).read_to_end(&mut begin));
    read.is_ok() && begin == OLD
}

/// What to do about it.
pub(super) const LEFT_BY_0_1: &str = "redkeep 0.1 kept its journal in the data directory, where the server's user can write: it is not followed. The \
     old files are in the .redkeep-aside-… directory beside it: with the server stopped, move what is wanted to its place by \
     hand, then remove the journal";

/// Gives a file a name as a whole.
fn write_whole(directory: &Held, new: &OsStr, name: &OsStr, bytes: &[u8]) -> Result<(), OperationError> {
    let write = || {
        match directory.remove_file(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = directory.create(new, 0o600)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        directory.rename(new, directory, name)?;
        directory.sync()
    };
    write().map_err(|error| OperationError::target("write", &directory.path_of(name), error))
}

#[cfg(test)]
mod tests;
