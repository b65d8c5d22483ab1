//! Entries of the data directory change places with those in another directory beside them, one rename at a time.
//!
//! A server loads one entry: the dump, the single AOF, or the directory of the AOF's files. That one is exchanged by one
//! rename, first when a dataset is restored and last when it is put back; a server that is started at any moment finds
//! the old dataset whole or the new one. Whether a rename was done is told by the inodes in the other directory, in
//! which no server writes.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::elsewhere::{Ground, clash};
use super::journal::{Entry, Journal, Journals, Placed, State};
use super::place::beside;
use crate::held::Held;
use crate::operations::restore::beside::{Beside, exchange, rename_new, sync_directory};
use crate::operations::{Observer, OperationError};

/// The inode of what stands there.
pub(super) fn inode(directory: &Held, name: &OsStr) -> Result<Option<u64>, OperationError> {
    let seen = directory.look(name);
    let seen = seen.map_err(|error| OperationError::target("look at", &directory.path_of(name), error))?;
    Ok(seen.map(|seen| seen.inode()))
}

/// A directory in the data directory, if it is there.
pub(super) fn inside(directory: &Held, name: &OsStr) -> Result<Option<Held>, OperationError> {
    match directory.directory(name) {
        Ok(held) => Ok(Some(held)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OperationError::target("open", &directory.path_of(name), error)),
    }
}

/// The files that stand under these names, or below them, as they are now: in their own place, or in another directory beside
/// it.
fn standing(
    ground: &Ground,
    other: Option<&OsStr>,
    names: impl Iterator<Item = OsString>,
) -> Result<Vec<Placed>, OperationError> {
    let mut found = Vec::new();
    for entry in names {
        let (held, name) = match other {
            None => {
                let (held, name) = ground.at(&entry);
                (held.clone(), name)
            }
            Some(other) => match ground.beside(&entry, other)? {
                Some(beside) => beside,
                None => continue,
            },
        };
        let all = below(&held, name, Path::new(&entry));
        found.extend(all.map_err(|error| OperationError::target("look at", &held.path_of(name), error))?);
    }
    Ok(found)
}

fn below(held: &Held, name: &OsStr, path: &Path) -> io::Result<Vec<Placed>> {
    match held.look(name)? {
        Some(seen) if seen.is_dir() => {
            let below = held.directory(name)?;
            let mut files = below.names()?;
            files.sort();
            let placed = |file: &OsString| Ok(below.look(file)?.map(|seen| Placed::at(&path.join(file), &seen)));
            files.iter().filter_map(|file| placed(file).transpose()).collect()
        }
        Some(seen) => Ok(vec![Placed::at(path, &seen)]),
        None => Ok(Vec::new()),
    }
}

impl Entry {
    /// Whether its exchange was done.
    fn is_done(&self, other: &Held, name: &OsStr) -> Result<bool, OperationError> {
        let there = inode(other, name)?;
        if there == self.here {
            return Ok(true);
        }
        match there == self.there {
            true => Ok(false),
            false => Err(OperationError::InUse {
                what: format!("{} was replaced by something else meanwhile", other.path_of(name).display()),
                hint: "look at what is in it and in what stands beside it".into(),
            }),
        }
    }

    /// What was replaced may have its name aside already: then all of it was.
    fn exchange(&self, ground: &Ground, other: &OsStr, aside: &OsStr) -> Result<(), OperationError> {
        let (directory, name) = ground.at(&self.name);
        let Some((other, _)) = ground.beside(&self.name, other)? else {
            return match ground.beside(&self.name, aside)? {
                Some(_) => Ok(()),
                None => Err(gone(&directory.path_of(other))),
            };
        };
        if self.is_done(&other, name)? {
            return Ok(());
        }
        match (inode(directory, name)?.is_some(), self.there.is_some()) {
            (true, true) => exchange((&other, name), (directory, name), &directory.path_of(name))?,
            (true, false) => rename_new(directory, name, &other, name)?,
            (false, true) => rename_new(&other, name, directory, name)?,
            (false, false) => {}
        }
        sync_directory(&other)?;
        sync_directory(directory)
    }
}

fn gone(path: &Path) -> OperationError {
    OperationError::InUse {
        what: format!("{} is gone", path.display()),
        hint: "look for it: it holds what is to be put in place, or what was replaced".into(),
    }
}

impl Journal {
    /// The entry that decides what the server loads.
    pub fn main_entry(&self) -> Option<&Entry> {
        let elsewhere = self.elsewhere.as_ref().and_then(|elsewhere| elsewhere.main());
        match elsewhere {
            Some(main) => self.entries.iter().find(|entry| entry.name == main),
            None if self.is_undo => self.entries.last(),
            None => self.entries.first(),
        }
    }

    /// The names in the data directory that entries have or begin with, in their order.
    pub fn names(&self) -> Vec<OsString> {
        let mut names: Vec<OsString> = Vec::new();
        for entry in &self.entries {
            let top = Path::new(&entry.name).iter().next().unwrap_or_default();
            if !names.iter().any(|name| name == top) {
                names.push(top.to_owned());
            }
        }
        names
    }

    /// Whether a server that is started now loads what is to be put in place.
    pub fn is_in_place(&self, directory: &Held) -> Result<bool, OperationError> {
        self.is_main_done(&Ground::of(self, directory)?)
    }

    fn is_main_done(&self, ground: &Ground) -> Result<bool, OperationError> {
        let Some(main) = self.main_entry() else { return Ok(false) };
        match ground.beside(&main.name, &self.other)? {
            Some((other, name)) => main.is_done(&other, name),
            // Under its name aside all of it was exchanged.
            None => Ok(ground.beside(&main.name, &self.aside)?.is_some()),
        }
    }

    /// LOCAL-21: whether what was put in place is there, and was not touched since.
    pub fn is_untouched(&self, directory: &Held) -> Result<bool, OperationError> {
        let ground = Ground::of(self, directory)?;
        Ok(standing(&ground, None, self.entries.iter().map(|entry| entry.name.clone()))? == self.placed)
    }

    /// Of an exchange that did not come so far, takes back what came before what the server loads, and removes all that was
    /// to come.
    pub fn remove_new(&self, directory: &Held) -> Result<(), OperationError> {
        let ground = Ground::of(self, directory)?;
        for entry in self.entries.iter().filter(|entry| entry.here.is_none()) {
            let (held, name) = ground.at(&entry.name);
            if entry.there.is_some() && inode(held, name)? == entry.there {
                let removed = held.remove(name);
                removed.map_err(|error| OperationError::target("remove", &held.path_of(name), error))?;
            }
        }
        for held in ground.directories() {
            let removed = held.remove(&self.other);
            removed.map_err(|error| OperationError::target("remove", &held.path_of(&self.other), error))?;
        }
        Ok(())
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
        let ground = Ground::of(self, directory)?;
        if self.state == State::Exchanging {
            for entry in &self.entries {
                match ground.beside(&entry.name, &self.other)? {
                    Some((other, name)) => entry.is_done(&other, name).map(drop)?,
                    None if self.other != self.aside && ground.beside(&entry.name, &self.aside)?.is_some() => {}
                    None => return is_gone(&directory.path_of(&self.other)),
                }
            }
            return Ok(());
        }
        if self.by_undo && self.is_placed() {
            return Ok(()); // It is in place.
        }
        let aside = |name: &OsStr| Ok::<_, OperationError>(ground.beside(name, &self.aside)?.map(|(aside, _)| aside));
        if inside(directory, &self.aside)?.is_none() {
            return is_gone(&directory.path_of(&self.aside));
        }
        for entry in self.entries.iter().filter(|entry| entry.here.is_some()) {
            let (held, name) = ground.at(&entry.name);
            let Some(aside) = aside(&entry.name)? else { return is_gone(&held.path_of(&self.aside)) };
            if inode(&aside, name)?.is_none() {
                return is_gone(&aside.path_of(name));
            }
        }
        for Placed { path, size, .. } in &self.kept {
            let (held, path) = ground.at(path);
            let Some(aside) = inside(held, &self.aside)? else { return is_gone(&held.path_of(&self.aside)) };
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
        ground.look(&self.aside, self.names()).map(drop)
    }

    /// A server that was started since the exchange began may have written other files than there were. What is not exchanged
    /// yet is looked at anew.
    fn look_again(&mut self, ground: &Ground, journals: &Journals) -> Result<(), OperationError> {
        if self.is_main_done(ground)? {
            return Ok(());
        }
        let mut entries = self.entries.clone();
        for entry in &mut entries {
            let (held, name) = ground.at(&entry.name);
            if let Some((other, _)) = ground.beside(&entry.name, &self.other)?
                && !entry.is_done(&other, name)?
            {
                let here = inode(held, name)?;
                let is_part = ground.is_part(&entry.name);
                if is_part && here.is_some() && entry.here.is_none() && entry.there.is_some() {
                    return Err(clash(held, name));
                }
                entry.here = here;
            }
        }
        let at = if self.is_undo && self.main_entry().map(|main| &main.name) == entries.last().map(|last| &last.name) {
            0
        } else {
            entries.len()
        };
        let more = ground.more(&entries)?;
        entries.splice(at..at, more);
        if entries != self.entries {
            self.entries = entries;
            journals.write(self)?;
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
        let ground = Ground::of(self, directory)?;
        if inside(directory, &self.other)?.is_some() {
            self.look_again(&ground, journals)?;
            for entry in &self.entries {
                observer.begin(&format!("putting {} in place", entry.name.to_string_lossy()), None);
                entry.exchange(&ground, &self.other, &self.aside)?;
            }
            if self.other != self.aside {
                observer.begin("setting the old files aside", None);
                self.take_free_name(&ground, journals)?;
                for directory in ground.directories() {
                    self.set_aside(directory)?;
                }
            }
        } else if self.other == self.aside || inside(directory, &self.aside)?.is_none() {
            return Err(gone(&directory.path_of(&self.other)));
        }
        for entry in self.entries.iter().filter(|entry| entry.there.is_some()) {
            let (held, name) = ground.at(&entry.name);
            if inode(held, name)? != entry.there {
                return Err(OperationError::InUse {
                    what: format!("{} is not what was put there", held.path_of(name).display()),
                    hint: "find out what works on this directory, then run the same command again".into(),
                });
            }
        }
        self.placed = standing(&ground, None, self.entries.iter().map(|entry| entry.name.clone()))?;
        let carried = self.carried.take();
        let is_carried = carried.is_some();
        self.aside = carried.unwrap_or_else(|| self.aside.clone());
        self.other = self.aside.clone();
        if inside(directory, &self.aside)?.is_some() {
            if is_carried {
                // What stood there before both restores.
                let stood = ground.look(&self.aside, self.names())?.into_iter();
                self.entries = stood.map(|entry| Entry { here: entry.there, there: entry.here, ..entry }).collect();
            }
            let names: Vec<_> = self.entries.iter().map(|entry| entry.name.clone()).collect();
            self.kept = standing(&ground, Some(&self.aside), names.into_iter())?;
        }
        self.state = State::Placed;
        journals.write(self)
    }

    /// The owner of the directory may have taken the name aside meanwhile: then it is another one, as long as nothing has it
    /// anywhere.
    fn take_free_name(&mut self, ground: &Ground, journals: &Journals) -> Result<(), OperationError> {
        let mut all: Vec<Beside> = ground.directories().map(beside).collect();
        for directory in ground.directories() {
            if inside(directory, &self.other)?.is_none() {
                return Ok(());
            }
        }
        let Some(first) = all.pop() else { return Ok(()) };
        let free = first.free_aside(&self.aside, &all)?;
        if free != self.aside {
            self.aside = free;
            journals.write(self)?;
        }
        Ok(())
    }

    /// What was exchanged gets its name aside. From then on it is the server's user's own, as what is in it.
    fn set_aside(&self, directory: &Held) -> Result<(), OperationError> {
        let Some(other) = inside(directory, &self.other)? else { return Ok(()) };
        if other.seen().is_ok_and(|seen| seen.owner() != self.owner) {
            let given = other.give(self.owner);
            given.map_err(|error| OperationError::target("set the owner of", other.path(), error))?;
        }
        rename_new(directory, &self.other, directory, &self.aside)?;
        sync_directory(directory)
    }
}
