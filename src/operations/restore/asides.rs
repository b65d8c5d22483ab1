//! What restores replaced and is still kept: listed, and removed where a person says so.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::beside::{Beside, moment_of};
use super::place::{Target, nothing_aside};
use super::server;
use crate::format::UnixMillis;
use crate::held::Held;
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
pub fn asides(directory: &Path, state: Option<&Path>) -> Result<Vec<Aside>, OperationError> {
    let target = Target::named(directory)?;
    Ok(list(&places(target.path()), target.path(), state)?.into_iter().map(|kept| kept.aside).collect())
}

/// The path of such a directory, absolute.
pub fn absolute(directory: &Path) -> Result<PathBuf, OperationError> {
    Target::named(directory).map(|target| target.path().to_owned())
}

/// Which of them would be removed.
pub fn removable(directory: &Path, removal: Removal, state: Option<&Path>) -> Result<Vec<Aside>, OperationError> {
    let target = Target::named(directory)?;
    Ok(meant(&places(target.path()), target.path(), removal, state)?.into_iter().map(|kept| kept.aside).collect())
}

/// Removes some of them, under the lock of a restore. Answers with those that are gone. A server may be at work in the
/// directory: it knows nothing of them.
pub fn remove_asides(directory: &Path, removal: Removal, state: Option<&Path>) -> Result<Vec<Aside>, OperationError> {
    let target = Target::named(directory)?;
    let places = places(target.path());
    let _locks = places.iter().map(Beside::lock).collect::<Result<Vec<_>, _>>()?;
    let gone = meant(&places, target.path(), removal, state)?;
    for kept in &gone {
        for place in kept.elsewhere.iter().chain([kept.place]) {
            place.remove(&kept.name)?;
        }
    }
    Ok(gone.into_iter().map(|kept| Aside { is_next: false, ..kept.aside }).collect())
}

fn meant<'a>(
    places: &'a [Beside],
    directory: &Path,
    removal: Removal,
    state: Option<&Path>,
) -> Result<Vec<Kept<'a>>, OperationError> {
    let mut meant = list(places, directory, state)?;
    meant.retain(|Kept { aside, .. }| match removal {
        Removal::At(time) => aside.time.0 / 1000 == time.0 / 1000,
        Removal::Before(time) => aside.time < time && !aside.is_next,
    });
    match (removal, meant.is_empty()) {
        (Removal::At(time), true) => Err(nothing_aside(directory, Some(time))),
        (Removal::At(_) | Removal::Before(_), _) => Ok(meant),
    }
}

/// One of them, and the place in which it is kept under its name.
struct Kept<'a> {
    aside: Aside,
    place: &'a Beside,
    name: OsString,
    /// Where the AOF's files of the same restore are kept, if they stand elsewhere.
    elsewhere: Option<Beside>,
}

/// Where asides of a directory are: beside it, and in it those of its server.
fn places(directory: &Path) -> Vec<Beside> {
    let parent = directory.parent().and_then(|parent| Held::open(parent).ok());
    let around = parent.zip(directory.file_name()).map(|(parent, name)| Beside::new(parent, name));
    let inside = Held::open(directory).ok().map(|held| server::beside(&held));
    around.into_iter().chain(inside).collect()
}

fn list<'a>(places: &'a [Beside], directory: &Path, state: Option<&Path>) -> Result<Vec<Kept<'a>>, OperationError> {
    let elsewhere = Held::open(directory).ok().and_then(|held| server::beside_elsewhere(&held, state));
    let needed = Held::open(directory).ok().and_then(|held| server::needed_by_undo(&held, state));
    let mut all = Vec::new();
    for place in places {
        let mut here: Vec<Kept<'a>> = Vec::new();
        for (time, name) in place.asides()? {
            let (time, path) = (UnixMillis(moment_of(&time).unwrap_or_default()), place.path_of(&name));
            let is_inside = place.name() == server::DATASET;
            let elsewhere = elsewhere.clone().filter(|_| is_inside);
            let also = elsewhere.as_ref().map_or(0, |place| bytes(place.parent(), &name, DEPTH));
            let aside = Aside {
                bytes: bytes(place.parent(), &name, DEPTH).saturating_add(also),
                is_next: needed.as_ref() == Some(&path),
                path,
                time,
            };
            here.push(Kept { aside, place, name, elsewhere });
        }
        // Of a server its journal knows: where that was removed, an undo asks which one is meant.
        let is_known = place.name() == server::DATASET && needed.is_some();
        if let (false, false, Some(newest)) = (is_known, here.iter().any(|kept| kept.aside.is_next), here.last_mut()) {
            newest.aside.is_next = true;
        }
        all.extend(here);
    }
    all.sort_by_key(|kept| kept.aside.time);
    Ok(all)
}

/// Directories below each other that are looked into.
const DEPTH: usize = 200;

fn bytes(around: &Held, name: &OsStr, depth: usize) -> u64 {
    match around.look(name) {
        Ok(Some(seen)) if seen.is_file() => seen.size(),
        Ok(Some(seen)) if seen.is_dir() && depth > 0 => {
            let Ok(below) = around.directory(name) else { return 0 };
            below.names().unwrap_or_default().iter().map(|name| bytes(&below, name, depth - 1)).sum()
        }
        Ok(_) | Err(_) => 0,
    }
}
