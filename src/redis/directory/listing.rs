//! What stands in a data directory, less what is no part of a dataset.
//!
//! Directories are listed level by level, so that the dataset comes before whatever else there is. A place of redkeep's
//! own, and another file system, are never gone into.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::choice::Choice;
use super::left::{LeftOut, Why};
use super::multi_part::names_parts_of;
use super::names::{Guise, file_name, guise, guise_of_bytes, is_companion, is_left_out, is_own, join, parent};
use super::opened::{FileId, Opening, first_bytes, may_follow, names_in, open};
use crate::aof::aof_of_temporary;
use crate::format::limits::FILES_MAX;
use crate::redis::error::RedisError;

/// What ends the name of a manifest.
pub(super) const MANIFEST: &[u8] = b".manifest";

/// How many files at the top level of a live server's directory are looked into, whether they begin like a dump or an AOF.
const LOOKS: usize = 10_000;

/// One path of the directory.
#[derive(Debug)]
pub(super) struct Listed {
    /// Relative to the directory.
    pub path: Vec<u8>,
    /// Where to open it.
    pub place: PathBuf,
    /// Of the path itself, unless it is a followed link.
    pub metadata: Metadata,
    /// Where a followed link points: it stands for a directory.
    pub followed: Option<PathBuf>,
}

impl Listed {
    /// Whether this is a manifest that a server would look for.
    pub(super) fn is_manifest(&self) -> bool {
        self.metadata.is_file() && has_name_of_manifest(&self.path) && !is_temporary_manifest(&self.path, &self.place)
    }
}

/// One path that a person excluded.
#[derive(Debug)]
pub(super) struct Excluded {
    /// Relative to the directory.
    pub path: Vec<u8>,
    /// Where it is.
    pub place: PathBuf,
}

/// A file at the top level that bears the name of a server's unfinished work, and begins like a dataset.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// Its name.
    pub path: Vec<u8>,
    /// Where it is.
    pub place: PathBuf,
    /// Which file it is.
    pub file: FileId,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Directories, files and links that are not left out, in no order.
    pub entries: Vec<Listed>,
    /// What a person excluded; of a directory only itself.
    pub excluded: Vec<Excluded>,
    /// What stands there and is not taken, beside logs and the like.
    pub left: LeftOut,
    /// What seems to be a server's unfinished work.
    pub unfinished: Vec<Unfinished>,
    /// Whether there was nothing at all.
    pub is_empty: bool,
    /// Something vanished while the directory was listed.
    pub vanished: bool,
}

impl Listing {
    /// Lists a directory.
    pub(super) fn of(directory: &Path, choice: &Choice<'_>) -> Result<Self, RedisError> {
        let root = fs::metadata(directory).map_err(|error| RedisError::io("list", directory, error))?;
        let listing = Self { is_empty: true, ..Self::default() };
        let mut walk = Walk { listing, choice, device: root.dev(), looks: 0, maybe: BTreeMap::new() };
        let mut next = VecDeque::from([Below { place: directory.to_owned(), path: Vec::new(), taken: choice.whole }]);
        while let Some(below) = next.pop_front() {
            walk.list(below, &mut next)?;
            if walk.listing.entries.len() > FILES_MAX {
                return Err(RedisError::Directory {
                    directory: directory.to_owned(),
                    problem: "it holds more than 200000 files, directories and links",
                    hint: "is it the data directory? name that, or exclude what is no part of it",
                });
            }
        }
        Ok(walk.finish())
    }
}

/// A directory that is to be listed.
struct Below {
    place: PathBuf,
    path: Vec<u8>,
    /// Whether all in it is taken, or only what is included.
    taken: bool,
}

struct Walk<'c> {
    listing: Listing,
    choice: &'c Choice<'c>,
    device: u64,
    looks: usize,
    /// Directories that are taken only if something below them is.
    maybe: BTreeMap<Vec<u8>, Listed>,
}

impl Walk<'_> {
    fn list(&mut self, below: Below, next: &mut VecDeque<Below>) -> Result<(), RedisError> {
        let names = match names_in(&below.place) {
            Ok(names) => names,
            // Gone, or no directory any more.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) || is_link(&error) => {
                self.listing.vanished = true;
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied && self.maybe.contains_key(&below.path) => {
                return Ok(());
            }
            Err(error) => return Err(RedisError::io("list", &below.place, error)),
        };
        for name in names {
            self.listing.is_empty = false;
            self.judge(&name, &below, next)?;
        }
        Ok(())
    }

    fn judge(&mut self, name: &OsStr, below: &Below, next: &mut VecDeque<Below>) -> Result<(), RedisError> {
        let (place, path) = (below.place.join(name), join(&below.path, name.as_bytes()));
        let metadata = match fs::symlink_metadata(&place) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.listing.vanished = true;
                return Ok(());
            }
            Err(error) => return Err(RedisError::io("look at", &place, error)),
        };
        if self.choice.exclude.matches(&path) {
            self.listing.excluded.push(Excluded { path, place });
            return Ok(());
        }
        let listed = Listed { path, place, metadata, followed: None };
        if listed.metadata.is_dir() {
            return self.judge_directory(listed, below.taken, next);
        }
        let is_top_level = below.path.is_empty();
        if is_top_level && listed.metadata.is_symlink() && self.is_aof_directory(&listed) {
            return self.follow(listed, next);
        }
        if !listed.metadata.is_file() && !listed.metadata.is_symlink() {
            return Ok(());
        }
        let is_named = self.choice.include.matches(&listed.path) || self.choice.names(&listed.path);
        match self.takes(&listed, below.taken) {
            true if let Some(whose) = self.choice.whose_file(&listed.path, &listed.place).filter(|_| !is_named) => {
                self.listing.left.push(listed.path, Why::Own(whose));
            }
            true => self.take(listed),
            false if is_top_level && !self.choice.whole && !is_left_out(&listed.path) => {
                self.listing.left.push(listed.path, Why::NotOfDataset);
            }
            false => {}
        }
        Ok(())
    }

    /// CAPTURE-4: another file system is gone into only where it holds an AOF, or is included.
    fn judge_directory(&mut self, listed: Listed, taken: bool, next: &mut VecDeque<Below>) -> Result<(), RedisError> {
        if let Some(whose) = self.choice.whose(&listed.metadata) {
            self.listing.left.push(listed.path, Why::Own(whose));
            return Ok(());
        }
        let is_top_level = parent(&listed.path).is_empty();
        let is_wanted = self.choice.include.matches(&listed.path) || (is_top_level && self.is_aof_directory(&listed));
        if let Some(whose) = self.choice.whose_place(&listed.place).filter(|_| !is_wanted) {
            self.listing.left.push(listed.path, Why::Own(whose));
            return Ok(());
        }
        if is_left_out(&listed.path) && !is_wanted {
            return Ok(());
        }
        if listed.metadata.dev() != self.device && !is_wanted {
            self.listing.left.push(listed.path, Why::OtherFileSystem);
            return Ok(());
        }
        let below = |taken| Below { place: listed.place.clone(), path: listed.path.clone(), taken };
        if is_wanted || taken && self.choice.whole {
            next.push_back(below(true));
            self.take(listed);
        } else if self.choice.include.is_empty() {
            self.listing.left.push(listed.path, Why::NotOfDataset);
        } else {
            next.push_back(below(false));
            self.maybe.insert(listed.path.clone(), listed);
        }
        Ok(())
    }

    /// Whether a directory at the top level, or what a link there leads to, is that of an AOF: a server calls it so, or
    /// it holds a manifest.
    fn is_aof_directory(&self, listed: &Listed) -> bool {
        // Of a live server it is known: nothing that may hang has to be looked into.
        if listed.metadata.is_symlink()
            && !fs::metadata(&listed.place).is_ok_and(|to| may_follow(&listed.metadata, &to))
        {
            return false;
        }
        if self.choice.names(&listed.path) {
            return listed.place.is_dir();
        }
        let is_here = self.choice.named.is_none() || listed.metadata.dev() == self.device;
        is_here && !is_own(&listed.path) && is_aof_directory(&listed.place)
    }

    /// Whether a file or a link is taken.
    fn takes(&mut self, listed: &Listed, taken: bool) -> bool {
        let path = listed.path.as_slice();
        let is_top_level = parent(path).is_empty();
        if self.choice.include.matches(path) || self.choice.names(path) {
            return true;
        }
        match (is_left_out(path), is_top_level) {
            (true, true) => self.begins_like_dataset(listed),
            (true, false) => has_name_of_manifest(path) && listed.is_manifest(),
            (false, _) if self.choice.whole => true,
            (false, true) => is_companion(path) || has_name_of_manifest(path) || self.seems_dataset(listed),
            (false, false) => taken,
        }
    }

    /// CAPTURE-2: whether a file that is left out because of its name is a dump or an AOF all the same. What a server calls
    /// its unfinished work is told of, and not taken.
    fn begins_like_dataset(&mut self, listed: &Listed) -> bool {
        let Some((first, file)) = look_into(listed) else { return false };
        match guise_of_bytes(&first) {
            Guise::Other => false,
            Guise::Dump | Guise::SingleAof if crate::aof::is_unfinished_save(&listed.path) || is_own(&listed.path) => {
                let (path, place) = (listed.path.clone(), listed.place.clone());
                self.listing.unfinished.push(Unfinished { path, place, file });
                false
            }
            Guise::Dump | Guise::SingleAof => true,
        }
    }

    /// Whether a file beside a live server's dataset is a dump or an AOF too, by its name or its first bytes.
    fn seems_dataset(&mut self, listed: &Listed) -> bool {
        if guise(&listed.path, b"") != Guise::Other {
            return true;
        }
        self.looks += 1;
        self.looks <= LOOKS && look_into(listed).is_some_and(|(first, _)| guise_of_bytes(&first) != Guise::Other)
    }

    /// A link in place of an AOF directory stands for it.
    fn follow(&mut self, link: Listed, next: &mut VecDeque<Below>) -> Result<(), RedisError> {
        let fails = |error| RedisError::io("follow", &link.place, error);
        let target = fs::canonicalize(&link.place).map_err(fails)?;
        let metadata = fs::symlink_metadata(&target).map_err(fails)?;
        if !metadata.is_dir() || !may_follow(&link.metadata, &metadata) {
            self.listing.vanished = true;
            return Ok(());
        }
        if let Some(whose) = self.choice.whose(&metadata) {
            self.listing.left.push(link.path, Why::Own(whose));
            return Ok(());
        }
        next.push_back(Below { place: target.clone(), path: link.path.clone(), taken: true });
        self.take(Listed { path: link.path, place: target.clone(), metadata, followed: Some(target) });
        Ok(())
    }

    /// Takes a path, and the directories it stands in.
    fn take(&mut self, listed: Listed) {
        let mut above = parent(&listed.path);
        while let Some(directory) = self.maybe.remove(above) {
            above = parent(above);
            self.listing.entries.push(directory);
        }
        self.listing.entries.push(listed);
    }

    fn finish(mut self) -> Listing {
        let is_top_level = |path: &&Vec<u8>| parent(path).is_empty();
        for path in self.maybe.keys().filter(is_top_level) {
            self.listing.left.push(path.clone(), Why::NotOfDataset);
        }
        self.listing.left.sort();
        self.listing
    }
}

fn is_link(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// The first bytes of a file, and which one it is; nothing if it may not be read, for then nobody can tell.
fn look_into(listed: &Listed) -> Option<(Vec<u8>, FileId)> {
    let Ok(Opening::File(file, metadata)) = open(&listed.place, listed.metadata.is_symlink()) else { return None };
    Some((first_bytes(&file).ok()?, FileId::of(&metadata)))
}

/// Whether this is, or leads to, a directory that holds a manifest.
pub(super) fn is_aof_directory(link: &Path) -> bool {
    let mut entries = fs::read_dir(link).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().as_bytes().ends_with(MANIFEST))
}

pub(super) fn has_name_of_manifest(path: &[u8]) -> bool {
    let name = file_name(path);
    name.len() > MANIFEST.len() && name.ends_with(MANIFEST)
}

/// A server writes the manifest of `x` as `temp-x.manifest` before it renames it, and an AOF may be called `temp-x`. Of the
/// two, the latter names files that begin so.
fn is_temporary_manifest(path: &[u8], place: &Path) -> bool {
    let name = file_name(path);
    let own = name.strip_suffix(MANIFEST).unwrap_or_default();
    aof_of_temporary(name).is_some() && path.contains(&b'/') && !names_parts_of(place, own)
}
