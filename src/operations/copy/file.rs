//! A file on its way from one repository into another: read in order, compared with its hash, stored like that of a backup.

use std::cell::RefCell;
use std::io;
use std::thread;

use crossbeam_channel::bounded;

use crate::format::snapshot::{File, FileKind, Role, Snapshot};
use crate::operations::backup::earlier_version::{Older, Wanted};
use crate::operations::backup::input::Input;
use crate::operations::backup::rounds::{self, Round};
use crate::operations::backup::{dump, opaque};
use crate::operations::verify::Pieces;
use crate::operations::{Observer, OperationError};
use crate::rdb::Stretch;
use crate::redis::{Reading, inspect_into};
use crate::repository::{ChunkReader, Intake, Repository, RepositoryError};

/// Pieces of a file, of up to 1 MiB, that were read and not yet stored.
const AHEAD: usize = 4;

/// One snapshot that is being copied.
pub(super) struct Copying<'a> {
    pub source: &'a Repository,
    pub target: &'a Repository,
    pub snapshot: Snapshot,
    pub observer: &'a dyn Observer,
    reader: ChunkReader<'a>,
    /// Why the source could not be read.
    failure: RefCell<Option<OperationError>>,
}

impl<'a> Copying<'a> {
    /// Nothing is read yet.
    pub fn new(
        source: &'a Repository,
        target: &'a Repository,
        snapshot: Snapshot,
        observer: &'a dyn Observer,
    ) -> Copying<'a> {
        Copying { source, target, snapshot, observer, reader: ChunkReader::new(source), failure: RefCell::default() }
    }

    /// Why the source could not be read, where that was it, and nothing that the target did.
    pub fn failure(&self) -> Option<OperationError> {
        self.failure.take()
    }

    /// Damage in the source that was made good.
    pub fn made_good(&self) -> Vec<String> {
        self.reader.made_good()
    }

    /// What the source did; the error that is returned only ends the session.
    fn fail(&self, error: OperationError) -> OperationError {
        self.failure.replace(Some(error));
        RepositoryError::Interrupted.into()
    }

    /// Stores a file beside the dataset's previous snapshot in the target, unless it waits for the dump of this one. Answers with
    /// the file as it goes into the copy, and whether it was read.
    ///
    /// COPY-1: the bytes that went into the target are hashed, and have the hash that the snapshot promises.
    pub fn store_file(
        &self,
        intake: &mut Intake<'_>,
        file: &File,
        (earlier, older): (Option<&Snapshot>, &Older<'_>),
        (dump, round): (Option<i64>, Round<'_>),
    ) -> Result<Option<(File, bool)>, OperationError> {
        if file.kind != FileKind::File {
            return Ok(Some((file.clone(), false)));
        }
        let files = earlier.map(|earlier| &earlier.files[..]).unwrap_or_default();
        if let Some(same) = files.iter().find(|old| is_same(old, file))
            && let Some(recipe) = same.recipe.as_ref()
            && intake.knows(recipe)?
        {
            self.observer.advance(file.size);
            let (recipe, form) = (same.recipe.clone(), same.form.clone());
            return Ok(Some((File { recipe, form, ..file.clone() }, false)));
        }
        let is_here = |path: &[u8]| self.snapshot.files.iter().any(|other| other.path.as_slice() == path);
        let wanted = Wanted { path: &file.path, role: file.role, is_here: &is_here };
        let old = wanted.among(files);
        let beside = match round {
            Round::First if rounds::waits(file.role, file.mtime, dump, old) => return Ok(None),
            Round::First => None,
            Round::Second(beside) => beside,
        };
        let earlier = old.and_then(|old| old.recipe.as_deref()).unwrap_or_default();
        let input = Input {
            size: file.size,
            earlier,
            instead: &|| match beside {
                Some(beside) => Ok(Some(beside.clone())),
                None => older.canonical(&wanted, earlier),
            },
            remembered: Some(&file.path[..]),
            joint: None,
            read: &|sink, each| self.read(file, sink, each),
        };
        let (target, observer) = (self.target, self.observer);
        let (stored, ..) = match file.role {
            Role::Dump | Role::Base | Role::SingleAof => dump::store(target, intake, &input, file.clone(), observer),
            Role::Other | Role::Manifest | Role::Incr | Role::History | Role::Config => {
                opaque::store(target, intake, &input, file.clone(), observer)
            }
        }?;
        match (stored.size, stored.hash) == (file.size, file.hash) {
            // Whether it is suspect was seen when it was captured, and more was known of it then.
            true => Ok(Some((File { suspect: file.suspect.clone(), ..stored }, true))),
            false => Err(self.fail(OperationError::WrongBytes { path: file.display_path() })),
        }
    }

    /// Rebuilds a file in another thread and hands it on.
    fn read(
        &self,
        file: &File,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        each: &mut dyn FnMut(Stretch),
    ) -> Result<Reading, OperationError> {
        let content = file.content().map_err(|malformed| RepositoryError::damaged("snapshot", malformed));
        let (_, recipe) = content.map_err(|error| self.fail(error.into()))?;
        let (to, pieces) = bounded(AHEAD);
        let (reader, observer) = (&self.reader, self.observer);
        let (read, seen) = thread::scope(|scope| {
            let reading = scope.spawn(move || {
                reader.read(recipe, &mut |piece| match observer.interrupted() {
                    true => Err(RepositoryError::Interrupted),
                    // Whoever takes no more says why himself.
                    false => to.send(piece.to_vec()).map_err(|_| RepositoryError::Interrupted),
                })
            });
            let seen = inspect_into(file.role, &mut Pieces::new(pieces), sink, each);
            (reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), seen)
        });
        match (read, seen) {
            (Err(RepositoryError::Interrupted), _) | (Ok(()), Err(_)) => Err(RepositoryError::Interrupted.into()),
            (Err(error), _) => {
                let path = file.display_path();
                let error = match error.is_damage() {
                    true => RepositoryError::InFile { path, source: Box::new(error) },
                    false => error,
                };
                Err(self.fail(error.into()))
            }
            (Ok(()), Ok(reading)) => Ok(reading),
        }
    }
}

/// Whether a file of the earlier snapshot has the content of another, and is kept in the same way.
fn is_same(old: &File, file: &File) -> bool {
    (old.kind, old.role, old.size) == (file.kind, file.role, file.size) && old.hash.is_some() && old.hash == file.hash
}
