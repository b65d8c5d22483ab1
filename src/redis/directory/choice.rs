//! What of a directory is wanted.

use std::fs::{self, Metadata};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::names::{file_name, is_part_name, parent};
use super::opened::{FileId, Opening, open};
use super::options::{CaptureOptions, Own, Whose};
use super::patterns::Patterns;
use super::told::Told;
use crate::aof::manifest_name;
use crate::format::local::{CATALOG_FILE, HEAD, STATE_FILE, is_database};
use crate::format::object::Kind;
use crate::format::sealing::{HEADER, Header};
use crate::held::FileStamp;
use crate::redis::error::RedisError;

/// What of a directory is wanted.
pub(super) struct Choice<'t> {
    pub include: Patterns,
    pub exclude: Patterns,
    /// What a server calls its files.
    pub named: Option<&'t Told>,
    /// Whether all of the directory is wanted, or only what a server needs and what is included.
    pub whole: bool,
    /// Files that hold commands up to their very end.
    pub complete: &'t [FileStamp],
    /// Places of redkeep itself.
    own: Vec<(FileId, Whose)>,
}

impl<'t> Choice<'t> {
    pub(super) fn new(options: &'t CaptureOptions, named: Option<&'t Told>) -> Result<Self, RedisError> {
        let own = options.own.iter().filter_map(|Own { path, whose }| Some((id(path)?, *whose))).collect();
        Ok(Self {
            include: Patterns::new(&options.include)?,
            exclude: Patterns::new(&options.exclude)?,
            named,
            whole: named.is_none() || options.all_files,
            complete: &options.complete,
            own,
        })
    }

    /// Whether a path is taken that is left out unless it is asked for.
    pub(super) fn wants(&self, path: &[u8]) -> bool {
        self.include.matches(path) && !self.exclude.matches(path)
    }

    /// CAPTURE-1: whether a server calls a file of its dataset so; then its name says nothing else.
    pub(super) fn names(&self, path: &[u8]) -> bool {
        let Some(told) = self.named else { return false };
        let is_of_aof = match &told.append_directory {
            None => path == told.append_file,
            Some(directory) if parent(path).is_empty() => path == directory,
            Some(directory) => {
                let name = file_name(path);
                parent(path) == directory.as_slice()
                    && (name == manifest_name(&told.append_file) || is_part_name(name, &told.append_file))
            }
        };
        path == told.dump || is_of_aof
    }

    /// Whose place a directory is, if it is one of redkeep's.
    pub(super) fn whose(&self, metadata: &Metadata) -> Option<Whose> {
        let id = FileId::of(metadata);
        self.own.iter().find(|(own, _)| *own == id).map(|(_, whose)| *whose)
    }

    /// Whose place a directory is that nobody named, by what stands in it.
    pub(super) fn whose_place(&self, place: &Path) -> Option<Whose> {
        let is_place = || [CATALOG_FILE, STATE_FILE].iter().any(|name| is_database_of_redkeep(&place.join(name)));
        match is_repository(place) {
            true => Some(Whose::AnotherRepository),
            false => is_place().then_some(Whose::AnotherPlace),
        }
    }

    /// The same of a file that stands in no directory of its own: a database of redkeep, or what is kept beside one.
    pub(super) fn whose_file(&self, path: &[u8], place: &Path) -> Option<Whose> {
        let is_of = |name: &&str| {
            let beside =
                ["", "-wal", "-shm", ".damaged", ".lock"].iter().map(|end| [name.as_bytes(), end.as_bytes()].concat());
            let lock = name.strip_suffix(".db").map(|stem| format!("{stem}.lock").into_bytes());
            beside.chain(lock).any(|beside| beside == file_name(path))
        };
        let name = [CATALOG_FILE, STATE_FILE].into_iter().find(is_of)?;
        is_database_of_redkeep(&place.with_file_name(name)).then_some(Whose::AnotherPlace)
    }

    /// A directory that is a place of redkeep's, or is in one, is no data directory.
    pub(super) fn refuse_own(&self, directory: &Path) -> Result<(), RedisError> {
        let mut above = directory.ancestors().filter_map(|above| self.whose(&fs::metadata(above).ok()?));
        match above.next() {
            None => Ok(()),
            Some(whose) => Err(RedisError::Directory {
                directory: directory.to_owned(),
                problem: match whose {
                    Whose::Repository => "it is in the repository itself, or is it",
                    Whose::AnotherRepository => "it is a repository of redkeep",
                    Whose::Cache => "it is in redkeep's own cache directory, or is it",
                    Whose::State => "it is in redkeep's own state directory, or is it",
                    Whose::AnotherPlace => "it is a place of another redkeep",
                },
                hint: "move one of them: a data directory holds what a server keeps there, and nothing of redkeep",
            }),
        }
    }
}

/// Whether a file is an SQLite file that says that it is redkeep's.
fn is_database_of_redkeep(path: &Path) -> bool {
    let Ok(Opening::File(file, _)) = open(path, false) else { return false };
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, 0).is_ok() && is_database(&head)
}

/// Whether a directory is a repository: its `config` says so in the clear.
fn is_repository(directory: &Path) -> bool {
    let Ok(Opening::File(file, _)) = open(&directory.join("config"), false) else { return false };
    let mut first = [0; HEADER];
    file.read_exact_at(&mut first, 0).is_ok()
        && Header::decode(&first).is_ok_and(|(header, _)| header.kind == Kind::Config)
}

fn id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().map(|metadata| FileId::of(&metadata))
}
