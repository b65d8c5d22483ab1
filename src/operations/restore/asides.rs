//! What restores replaced and is still kept: listed, and removed where a person says so.

use std::fs;
use std::path::{Path, PathBuf};

use super::beside::{Beside, moment_of};
use super::place::Target;
use super::server;
use crate::format::UnixMillis;
use crate::operations::OperationError;

/// What a restore, or an undo, replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Where it is kept.
    pub path: PathBuf,
    /// When it was set aside, to the second.
    pub time: UnixMillis,
    /// Bytes of its files, as far as they can be seen.
    pub bytes: u64,
    /// The next undo puts it back.
    pub is_next: bool,
}

/// Which of them are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// The one of this second.
    At(UnixMillis),
    /// Those set aside before this moment, but for what the next undo puts back.
    Before(UnixMillis),
}

/// What is kept of a directory, or of the server that works in it, the oldest first.
pub fn asides(directory: &Path) -> Result<Vec<Aside>, OperationError> {
    let target = Target::find(directory)?;
    list(&places(target.path()), target.path())
}

/// Removes some of them, under the lock of a restore. Answers with those that are gone.
pub fn remove_asides(directory: &Path, removal: Removal) -> Result<Vec<Aside>, OperationError> {
    let target = Target::find(directory)?;
    let places = places(target.path());
    let _locks = places.iter().map(Beside::lock).collect::<Result<Vec<_>, _>>()?;
    let mut gone = list(&places, target.path())?;
    gone.retain(|aside| match removal {
        Removal::At(time) => aside.time.0 / 1000 == time.0 / 1000,
        Removal::Before(time) => aside.time < time && !aside.is_next,
    });
    if let (Removal::At(_), true) = (removal, gone.is_empty()) {
        return Err(OperationError::NothingAside { path: format!("{} at that time", target.path().display()) });
    }
    for aside in &gone {
        // No link is followed: whose directory it is does not matter.
        fs::remove_dir_all(&aside.path).map_err(|error| OperationError::target("remove", &aside.path, error))?;
    }
    Ok(gone)
}

/// Where asides of a directory are: beside it, and in it those of its server.
fn places(directory: &Path) -> Vec<Beside> {
    let around = directory.parent().zip(directory.file_name()).map(|(parent, name)| Beside::new(parent.into(), name));
    let inside = directory.is_dir().then(|| server::beside(directory));
    around.into_iter().chain(inside).collect()
}

fn list(places: &[Beside], directory: &Path) -> Result<Vec<Aside>, OperationError> {
    let needed = server::needed_by_undo(directory);
    let mut all = Vec::new();
    for place in places {
        let mut here = Vec::new();
        for (time, path) in place.asides()? {
            let time = UnixMillis(moment_of(&time).unwrap_or_default());
            here.push(Aside { bytes: bytes(&path), is_next: needed.as_ref() == Some(&path), path, time });
        }
        if let (false, Some(newest)) = (here.iter().any(|aside| aside.is_next), here.last_mut()) {
            newest.is_next = true;
        }
        all.extend(here);
    }
    all.sort_by_key(|aside| aside.time);
    Ok(all)
}

fn bytes(directory: &Path) -> u64 {
    let files = walkdir::WalkDir::new(directory).into_iter().filter_map(Result::ok);
    let files = files.filter(|entry| entry.file_type().is_file());
    files.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}
