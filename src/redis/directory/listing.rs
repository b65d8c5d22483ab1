//! What stands in a data directory, less what is no part of a dataset.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::names::{file_name, is_left_out, join};
use super::patterns::Patterns;
use crate::redis::error::RedisError;

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

/// One path that a person excluded.
#[derive(Debug)]
pub(super) struct Excluded {
    /// Relative to the directory.
    pub path: Vec<u8>,
    /// Where it is.
    pub place: PathBuf,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Directories, files and links that are not left out, in no order.
    pub entries: Vec<Listed>,
    /// What a person excluded; of a directory only itself.
    pub excluded: Vec<Excluded>,
    /// Whether there was nothing at all.
    pub is_empty: bool,
    /// Something vanished while the directory was listed.
    pub vanished: bool,
}

/// What to take.
pub(super) struct Choice {
    pub include: Patterns,
    pub exclude: Patterns,
}

impl Choice {
    /// Whether a path is taken that is left out unless it is asked for.
    pub(super) fn wants(&self, path: &[u8]) -> bool {
        self.include.matches(path) && !self.exclude.matches(path)
    }

    /// Whether a path is taken.
    fn takes(&self, path: &[u8]) -> bool {
        !self.exclude.matches(path) && (!is_left_out(file_name(path)) || self.include.matches(path))
    }
}

impl Listing {
    /// Lists a directory.
    pub(super) fn of(directory: &Path, choice: &Choice) -> Result<Self, RedisError> {
        let mut listing = Self { is_empty: true, ..Self::default() };
        listing.walk(directory, b"", choice)?;
        Ok(listing)
    }

    /// Lists what is below `root`, which is `prefix` in the data directory.
    fn walk(&mut self, root: &Path, prefix: &[u8], choice: &Choice) -> Result<(), RedisError> {
        let mut walk = WalkDir::new(root).min_depth(1).into_iter();
        while let Some(entry) = walk.next() {
            self.is_empty = false;
            let Some(entry) = self.passed(root, entry)? else { continue };
            let Ok(below) = entry.path().strip_prefix(root) else { continue };
            let path = join(prefix, below.as_os_str().as_bytes());
            if choice.takes(&path) {
                self.take(&entry, path, choice)?;
                continue;
            }
            if entry.file_type().is_dir() {
                walk.skip_current_dir();
            }
            if choice.exclude.matches(&path) {
                self.excluded.push(Excluded { path, place: entry.path().to_owned() });
            }
        }
        Ok(())
    }

    fn take(&mut self, entry: &DirEntry, path: Vec<u8>, choice: &Choice) -> Result<(), RedisError> {
        let place = entry.path().to_owned();
        let Some(metadata) = self.passed(&place, entry.metadata())? else { return Ok(()) };
        let is_link = metadata.is_symlink();
        if is_link && entry.depth() == 1 && !path.contains(&b'/') && is_aof_directory(&place) {
            return self.follow(place, path, choice);
        }
        if metadata.is_dir() || metadata.is_file() || is_link {
            self.entries.push(Listed { path, place, metadata, followed: None });
        }
        Ok(())
    }

    /// A link in place of an AOF directory stands for it.
    fn follow(&mut self, place: PathBuf, path: Vec<u8>, choice: &Choice) -> Result<(), RedisError> {
        let fails = |error| RedisError::io("follow", &place, error);
        let target = fs::canonicalize(&place).map_err(fails)?;
        let metadata = fs::metadata(&target).map_err(fails)?;
        self.entries.push(Listed {
            path: path.clone(),
            place: target.clone(),
            metadata,
            followed: Some(target.clone()),
        });
        self.walk(&target, &path, choice)
    }

    /// What has vanished is noted; anything else that fails is an error.
    fn passed<T>(&mut self, place: &Path, result: Result<T, walkdir::Error>) -> Result<Option<T>, RedisError> {
        let error = match result {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        let path = error.path().unwrap_or(place).to_owned();
        let error = error.into_io_error().unwrap_or_else(|| std::io::Error::other("a loop of links"));
        if error.kind() == std::io::ErrorKind::NotFound {
            self.vanished = true;
            return Ok(None);
        }
        Err(RedisError::io("list", &path, error))
    }
}

/// Whether this is, or leads to, a directory that holds a manifest.
pub(super) fn is_aof_directory(link: &Path) -> bool {
    let mut entries = fs::read_dir(link).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().as_bytes().ends_with(b".manifest"))
}
