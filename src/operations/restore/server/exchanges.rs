//! Entries of the data directory change places with those in another directory beside them, one rename at a time.
//!
//! A server loads one entry: the dump, the single AOF, or the directory of the AOF's files. That one is exchanged by one
//! rename, first when a dataset is restored and last when it is put back; a server that is started at any moment finds
//! the old dataset whole or the new one. Whether a rename was done is told by the inodes in the other directory, in
//! which no server writes.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::journal::{Entry, Journal, State};
use crate::operations::restore::beside::{exchange, rename_new};
use crate::operations::restore::stage::sync_directory;
use crate::operations::{Observer, OperationError};

/// The inode of what stands there.
fn inode(path: &Path) -> Result<Option<u64>, OperationError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OperationError::target("look at", path, error)),
    }
}

/// What stands under these names in the two directories now.
pub(super) fn look(
    directory: &Path,
    other: &Path,
    names: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<Vec<Entry>, OperationError> {
    let entry = |name: std::ffi::OsString| {
        Ok(Entry { here: inode(&directory.join(&name))?, there: inode(&other.join(&name))?, name })
    };
    names.into_iter().map(entry).collect()
}

impl Entry {
    /// Whether its exchange was done.
    pub fn is_done(&self, other: &Path) -> Result<bool, OperationError> {
        let there = inode(&other.join(&self.name))?;
        if there == self.here {
            return Ok(true);
        }
        match there == self.there {
            true => Ok(false),
            false => Err(OperationError::InUse {
                what: format!("{} was replaced by something else meanwhile", other.join(&self.name).display()),
                hint: "look at what is in it and in the journal beside it".into(),
            }),
        }
    }

    fn exchange(&self, directory: &Path, other: &Path) -> Result<(), OperationError> {
        if self.is_done(other)? {
            return Ok(());
        }
        let (here, there) = (directory.join(&self.name), other.join(&self.name));
        match (inode(&here)?.is_some(), self.there.is_some()) {
            (true, true) => exchange(&there, &here, &here)?,
            (true, false) => rename_new(&here, &there)?,
            (false, true) => rename_new(&there, &here)?,
            (false, false) => {}
        }
        sync_directory(other)?;
        sync_directory(directory)
    }
}

impl Journal {
    /// Whether a server that is started now loads what is to be put in place.
    pub fn is_in_place(&self, directory: &Path) -> Result<bool, OperationError> {
        let main = if self.is_undo { self.entries.last() } else { self.entries.first() };
        let (other, aside) = (directory.join(&self.other), directory.join(&self.aside));
        Ok(match other.is_dir() {
            true => main.map_or(Ok(false), |main| main.is_done(&other))?,
            // Under its name aside all of it was exchanged.
            false => aside.is_dir(),
        })
    }

    /// Exchanges what is not exchanged yet, and gives what was replaced its name aside. The server is stopped.
    pub fn exchange(&mut self, directory: &Path, observer: &dyn Observer) -> Result<(), OperationError> {
        let (other, aside) = (directory.join(&self.other), directory.join(&self.aside));
        if other == aside || other.is_dir() {
            for entry in &self.entries {
                observer.begin(&format!("putting {} in place", entry.name.to_string_lossy()), None);
                entry.exchange(directory, &other)?;
            }
            if other != aside {
                observer.begin("setting the old files aside", None);
                rename_new(&other, &aside)?;
                sync_directory(directory)?;
            }
        }
        self.aside = self.carried.take().unwrap_or_else(|| self.aside.clone());
        self.other = self.aside.clone();
        self.state = State::Placed;
        self.write(directory)
    }
}
