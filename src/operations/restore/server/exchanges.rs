//! Entries of the data directory change places with those in another directory beside them, one rename at a time.
//!
//! A server loads one entry: the dump, the single AOF, or the directory of the AOF's files. That one is exchanged by one
//! rename, first when a dataset is restored and last when it is put back; a server that is started at any moment finds
//! the old dataset whole or the new one. Whether a rename was done is told by the inodes in the other directory, in
//! which no server writes.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::journal::{Entry, Journal, Journals, Placed, State};
use crate::held::Held;
use crate::operations::restore::beside::{exchange, rename_new, sync_directory};
use crate::operations::{Observer, OperationError};

/// The inode of what stands there.
fn inode(directory: &Held, name: &OsStr) -> Result<Option<u64>, OperationError> {
    let seen = directory.look(name);
    let seen = seen.map_err(|error| OperationError::target("look at", &directory.path_of(name), error))?;
    Ok(seen.map(|seen| seen.inode()))
}

/// A directory in the data directory, if it is there.
fn inside(directory: &Held, name: &OsStr) -> Result<Option<Held>, OperationError> {
    match directory.directory(name) {
        Ok(held) => Ok(Some(held)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OperationError::target("open", &directory.path_of(name), error)),
    }
}

/// What stands under these names in the two directories now.
pub(super) fn look(
    directory: &Held,
    other: &Held,
    names: impl IntoIterator<Item = OsString>,
) -> Result<Vec<Entry>, OperationError> {
    let entry = |name: OsString| Ok(Entry { here: inode(directory, &name)?, there: inode(other, &name)?, name });
    names.into_iter().map(entry).collect()
}

/// The files that stand under these names, or below them, as they are now.
fn standing(directory: &Held, names: impl Iterator<Item = OsString>) -> io::Result<Vec<Placed>> {
    let mut found = Vec::new();
    for name in names {
        match directory.look(&name)? {
            Some(seen) if seen.is_dir() => {
                let below = directory.directory(&name)?;
                let mut files = below.names()?;
                files.sort();
                for file in files {
                    found.extend(below.look(&file)?.map(|seen| Placed::at(&Path::new(&name).join(&file), &seen)));
                }
            }
            Some(seen) => found.push(Placed::at(Path::new(&name), &seen)),
            None => {}
        }
    }
    Ok(found)
}

impl Entry {
    /// Whether its exchange was done.
    fn is_done(&self, other: &Held) -> Result<bool, OperationError> {
        let there = inode(other, &self.name)?;
        if there == self.here {
            return Ok(true);
        }
        match there == self.there {
            true => Ok(false),
            false => Err(OperationError::InUse {
                what: format!("{} was replaced by something else meanwhile", other.path_of(&self.name).display()),
                hint: "look at what is in it and in what stands beside it".into(),
            }),
        }
    }

    fn exchange(&self, directory: &Held, other: &Held) -> Result<(), OperationError> {
        if self.is_done(other)? {
            return Ok(());
        }
        let name = self.name.as_os_str();
        match (inode(directory, name)?.is_some(), self.there.is_some()) {
            (true, true) => exchange((other, name), (directory, name), &directory.path_of(name))?,
            (true, false) => rename_new(directory, name, other, name)?,
            (false, true) => rename_new(other, name, directory, name)?,
            (false, false) => {}
        }
        sync_directory(other)?;
        sync_directory(directory)
    }
}

impl Journal {
    /// Whether a server that is started now loads what is to be put in place.
    pub fn is_in_place(&self, directory: &Held) -> Result<bool, OperationError> {
        let main = if self.is_undo { self.entries.last() } else { self.entries.first() };
        Ok(match inside(directory, &self.other)? {
            Some(other) => main.map_or(Ok(false), |main| main.is_done(&other))?,
            // Under its name aside all of it was exchanged.
            None => inside(directory, &self.aside)?.is_some(),
        })
    }

    /// LOCAL-21: whether what was put in place is there, and was not touched since.
    pub fn is_untouched(&self, directory: &Held) -> Result<bool, OperationError> {
        let now = standing(directory, self.entries.iter().map(|entry| entry.name.clone()));
        let now = now.map_err(|error| OperationError::target("look at", directory.path(), error))?;
        Ok(now == self.placed)
    }

    /// LOCAL-23: refuses where what an undo would put back is not there, or not whole.
    pub fn refuse_gone(&self, directory: &Held) -> Result<(), OperationError> {
        let refuse = |what: String| {
            Err(OperationError::Refused {
                what: format!("{what}: what the undo would put back is not whole, and nothing was touched"),
                hint: "look for what was moved or removed, and put it there again; redkeep undo --list shows what else is \
                       kept, to be put back with --to"
                    .into(),
            })
        };
        let is_gone = |path: &Path| refuse(format!("{} is gone", path.display()));
        if self.state == State::Exchanging {
            return match inside(directory, &self.other)? {
                Some(other) => self.entries.iter().try_for_each(|entry| entry.is_done(&other).map(drop)),
                None if self.other != self.aside && inside(directory, &self.aside)?.is_some() => Ok(()),
                None => is_gone(&directory.path_of(&self.other)),
            };
        }
        if self.is_undo && self.is_placed() {
            return Ok(()); // It is in place.
        }
        let Some(aside) = inside(directory, &self.aside)? else { return is_gone(&directory.path_of(&self.aside)) };
        for entry in self.entries.iter().filter(|entry| entry.here.is_some()) {
            if inode(&aside, &entry.name)?.is_none() {
                return is_gone(&aside.path_of(&entry.name));
            }
        }
        for Placed { path, size, .. } in &self.kept {
            let path = Path::new(path);
            let (parent, name) = (path.parent().filter(|parent| !parent.as_os_str().is_empty()), path.file_name());
            let below = match parent {
                Some(parent) => inside(&aside, parent.as_os_str())?,
                None => Some(aside.clone()),
            };
            let (Some(below), Some(name)) = (below, name) else { return is_gone(&aside.path().join(path)) };
            let seen = below.look(name);
            let seen = seen.map_err(|error| OperationError::target("look at", &below.path_of(name), error))?;
            match seen {
                None => return is_gone(&below.path_of(name)),
                Some(seen) if seen.is_file() && seen.size() != *size => {
                    let path = below.path_of(name);
                    return refuse(format!("{} has {} bytes, and had {size}", path.display(), seen.size()));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Exchanges what is not exchanged yet, and gives what was replaced its name aside. The server is stopped.
    pub fn exchange(
        &mut self,
        directory: &Held,
        journals: &Journals,
        observer: &dyn Observer,
    ) -> Result<(), OperationError> {
        if let Some(other) = inside(directory, &self.other)? {
            for entry in &self.entries {
                observer.begin(&format!("putting {} in place", entry.name.to_string_lossy()), None);
                entry.exchange(directory, &other)?;
            }
            if self.other != self.aside {
                observer.begin("setting the old files aside", None);
                // From now on it is the server's user's own, as what is in it.
                if other.seen().is_ok_and(|seen| seen.owner() != self.owner) {
                    let given = other.give(self.owner);
                    given.map_err(|error| OperationError::target("set the owner of", other.path(), error))?;
                }
                rename_new(directory, &self.other, directory, &self.aside)?;
                sync_directory(directory)?;
            }
        } else if self.other == self.aside || inside(directory, &self.aside)?.is_none() {
            return Err(OperationError::InUse {
                what: format!("{} is gone", directory.path_of(&self.other).display()),
                hint: "look for it: it holds what is to be put in place, or what was replaced".into(),
            });
        }
        for entry in self.entries.iter().filter(|entry| entry.there.is_some()) {
            if inode(directory, &entry.name)? != entry.there {
                return Err(OperationError::InUse {
                    what: format!("{} is not what was put there", directory.path_of(&entry.name).display()),
                    hint: "find out what works on this directory, then run the same command again".into(),
                });
            }
        }
        let placed = standing(directory, self.entries.iter().map(|entry| entry.name.clone()));
        self.placed = placed.map_err(|error| OperationError::target("look at", directory.path(), error))?;
        let carried = self.carried.take();
        let is_carried = carried.is_some();
        self.aside = carried.unwrap_or_else(|| self.aside.clone());
        self.other = self.aside.clone();
        if let Some(aside) = inside(directory, &self.aside)? {
            let names: Vec<_> = self.entries.iter().map(|entry| entry.name.clone()).collect();
            let kept = standing(&aside, names.iter().cloned());
            self.kept = kept.map_err(|error| OperationError::target("look at", aside.path(), error))?;
            if is_carried {
                // What stood there before both restores.
                self.entries = look(&aside, directory, names)?;
            }
        }
        self.state = State::Placed;
        journals.write(self)
    }
}
