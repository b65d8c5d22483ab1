//! What the files of a dataset need of the server that loads them, read from the files themselves: no snapshot tells all
//! of it, and what an AOF is cut back to needs less than the whole.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use super::below;
use super::watched::Watched;
use crate::aof::{UseFinder, Uses};
use crate::format::snapshot::{File, FileKind, Role};
use crate::operations::{Observer, OperationError};
use crate::rdb;
use crate::repository::{ChunkReader, Repository, RepositoryError};

/// What a dataset needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::operations) struct Needs {
    /// The highest database that holds a key, or that a command names.
    pub highest_database: Option<u64>,
    /// Commands of the AOF, by name in lower case.
    pub commands: BTreeSet<Vec<u8>>,
    /// The AOF has more names of commands than are told apart.
    pub has_more_commands: bool,
    /// Types of modules whose values it holds.
    pub modules: BTreeSet<String>,
}

/// Bytes that tell an RDB file.
const FIRST: u64 = 4096;
/// Bytes read at once.
const PIECE: usize = 256 << 10;
/// Pieces on their way from the repository.
const UNDER_WAY: usize = 4;

impl Needs {
    /// Of files that stand below a directory, at the paths of the snapshot.
    pub fn of_files(root: &Path, files: &[&File], observer: &dyn Observer) -> Result<Needs, OperationError> {
        let mut needs = Needs::default();
        for file in files.iter().filter(|file| is_loaded(file)) {
            let place = below(root, file);
            // What is left of an AOF that was cut back may be fewer files.
            let opened = match fs::File::open(&place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other,
            };
            observer.begin("reading what is needed", Some(file.size));
            let mut input =
                Watched { input: opened.map_err(|error| OperationError::target("read", &place, error))?, observer };
            let read = needs.read(&mut input);
            if observer.interrupted() {
                return Err(RepositoryError::Interrupted.into());
            }
            read.map_err(|error| OperationError::target("read", &place, error))?;
        }
        Ok(needs)
    }

    /// Of files in the repository.
    pub fn of_stored(
        repository: &Repository,
        files: &[&File],
        observer: &dyn Observer,
    ) -> Result<Needs, OperationError> {
        let mut needs = Needs::default();
        for file in files.iter().filter(|file| is_loaded(file)) {
            let (_, recipe) = file.content().map_err(|malformed| RepositoryError::damaged("snapshot", malformed))?;
            observer.begin("reading what is needed", Some(file.size));
            let reader = ChunkReader::new(repository);
            thread::scope(|scope| {
                let (sender, receiver) = sync_channel::<Vec<u8>>(UNDER_WAY);
                let reading = scope.spawn(|| needs.read(&mut Coming { receiver, piece: Vec::new(), at: 0 }));
                let read = reader.read(recipe, &mut |bytes| {
                    if observer.interrupted() {
                        return Err(RepositoryError::Interrupted);
                    }
                    observer.advance(bytes.len() as u64);
                    // Nobody takes more of it: what was wanted is known.
                    let _ = sender.send(bytes.to_vec());
                    Ok(())
                });
                drop(sender);
                let ended = reading.join();
                read?;
                match ended {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) => Err(RepositoryError::Sink(Box::new(error))),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })?;
        }
        Ok(needs)
    }

    /// Takes in one file. What stands behind damage is not known; the file is suspect then.
    fn read(&mut self, input: &mut dyn Read) -> io::Result<()> {
        let mut first = Vec::new();
        input.take(FIRST).read_to_end(&mut first)?;
        let is_rdb = rdb::looks_like_rdb(&first);
        let mut input = first.as_slice().chain(input);
        let mut finder = UseFinder::default();
        if is_rdb {
            let structure = rdb::read_preamble(&mut input, &mut |piece| finder.push(piece))?;
            self.highest_database = self.highest_database.max(structure.databases.keys().max().copied());
            self.modules.extend(structure.modules.into_iter().map(|module| module.name));
        } else {
            let mut piece = vec![0; PIECE];
            loop {
                match input.read(&mut piece)? {
                    0 => break,
                    count => finder.push(piece.get(..count).unwrap_or_default()),
                }
            }
        }
        let Uses { names, has_more, highest_database } = finder.finish();
        self.highest_database = self.highest_database.max(highest_database);
        self.commands.extend(names);
        self.has_more_commands |= has_more;
        Ok(())
    }
}

/// Whether a server loads it.
fn is_loaded(file: &File) -> bool {
    let is_loaded = match file.role {
        Role::Dump | Role::Base | Role::Incr | Role::SingleAof => true,
        Role::Manifest | Role::History | Role::Other | Role::Config => false,
    };
    is_loaded && file.kind == FileKind::File
}

/// What comes from another thread, as one input.
struct Coming {
    receiver: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.receiver.recv() {
                Ok(piece) => (self.piece, self.at) = (piece, 0),
                Err(_) => return Ok(0),
            }
        }
        let left = self.piece.get(self.at..).unwrap_or_default();
        let count = left.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), left.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}
