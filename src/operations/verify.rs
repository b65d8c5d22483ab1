//! `verify`: rebuild every file of a snapshot without writing it, compare its hash, and read its structure again.

use std::io::{self, Read};
use std::thread;

use crossbeam_channel::{Receiver, bounded};

use super::list::Chosen;
use super::second_look::second_look;
use super::{Observer, OperationError};
use crate::format::snapshot::{File, FileKind};
use crate::redis::{Reading, inspect};
use crate::repository::{ChunkReader, Repository, RepositoryError, one_line};

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The file.
    pub path: String,
    /// Bytes that were rebuilt.
    pub bytes: u64,
    /// Why it cannot be rebuilt as it was stored.
    pub damage: Option<String>,
    /// Why the stored content itself is suspect.
    pub suspect: Option<String>,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Regular files, in order.
    pub files: Vec<Verified>,
    /// Damage that was made good from other copies.
    pub made_good: Vec<String>,
}

impl Report {
    /// Whether every file can be rebuilt exactly.
    pub fn is_whole(&self) -> bool {
        self.files.iter().all(|file| file.damage.is_none())
    }

    /// Whether some content was suspect when it was stored.
    pub fn has_suspects(&self) -> bool {
        self.files.iter().any(|file| file.suspect.is_some())
    }
}

/// Rebuilds and reads every file of a snapshot. Damage is in the report, after a second look.
pub fn verify(repository: &Repository, chosen: &Chosen, observer: &dyn Observer) -> Result<Report, OperationError> {
    second_look(repository, Report::is_whole, || verify_once(repository, chosen, observer))
}

fn verify_once(repository: &Repository, chosen: &Chosen, observer: &dyn Observer) -> Result<Report, OperationError> {
    let files = chosen.snapshot.files.iter().filter(|file| file.kind == FileKind::File);
    observer.begin("verifying", Some(files.clone().map(|file| file.size).sum()));
    let reader = ChunkReader::new(repository);
    let mut report = Report::default();
    for file in files {
        report.files.push(verify_file(&reader, file, observer)?);
    }
    report.made_good = reader.made_good();
    Ok(report)
}

fn verify_file(reader: &ChunkReader<'_>, file: &File, observer: &dyn Observer) -> Result<Verified, OperationError> {
    let through = read_through(reader, file, observer, |input| inspect(file.role, input))?;
    let (path, bytes) = (file.display_path(), through.bytes);
    let damage = match through.is_as_stored {
        Ok(true) => None,
        Ok(false) => Some("its bytes do not match the hash in the snapshot".to_string()),
        Err(error) if error.is_damage() => Some(one_line(&error)),
        Err(error) => return Err(error.into()),
    };
    let reading =
        through.seen.unwrap_or_else(|error| Reading { suspect: Some(error.to_string()), ..Reading::default() });
    let suspect = if damage.is_some() { None } else { reading.suspect.or_else(|| file.suspect.clone()) };
    Ok(Verified { path, bytes, damage, suspect })
}

/// A stored file that went past a reader of its content.
pub(super) struct Through<T> {
    /// Bytes that were rebuilt.
    pub bytes: u64,
    /// Whether its bytes are those that the snapshot promises.
    pub is_as_stored: Result<bool, RepositoryError>,
    /// What its reader saw.
    pub seen: T,
}

/// Rebuilds a file without writing it, for a reader in a thread of its own.
pub(super) fn read_through<T: Send>(
    reader: &ChunkReader<'_>,
    file: &File,
    observer: &dyn Observer,
    see: impl FnOnce(&mut dyn Read) -> T + Send,
) -> Result<Through<T>, OperationError> {
    let (hash, recipe) = file.content().map_err(|malformed| RepositoryError::damaged("snapshot", malformed))?;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    let (to_reader, pieces) = bounded(4);
    let (read, seen) = thread::scope(|scope| {
        let seeing = scope.spawn(move || see(&mut Pieces::new(pieces)));
        let read = reader.read(recipe, &mut |piece| {
            if observer.interrupted() {
                return Err(RepositoryError::Interrupted);
            }
            hasher.update(piece);
            bytes += piece.len() as u64;
            observer.advance(piece.len() as u64);
            // A reader that has gone away reports why itself.
            let _ = to_reader.send(piece.to_vec());
            Ok(())
        });
        // Closing the channel is what ends the reader's input.
        drop(to_reader);
        (read, seeing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let is_as_stored = read.map(|()| *hasher.finalize().as_bytes() == hash.0);
    Ok(Through { bytes, is_as_stored, seen })
}

/// Pieces from another thread as one input.
pub(super) struct Pieces {
    from: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    used: usize,
}

impl Pieces {
    /// An input that ends when nobody sends any more.
    pub fn new(from: Receiver<Vec<u8>>) -> Self {
        Pieces { from, piece: Vec::new(), used: 0 }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used == self.piece.len() {
            let Ok(piece) = self.from.recv() else { return Ok(0) };
            (self.piece, self.used) = (piece, 0);
        }
        let rest = self.piece.get(self.used..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.used += length;
        Ok(length)
    }
}
