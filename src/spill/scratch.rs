//! A scratch file has no name, holds sealed frames, and is gone when whoever uses it is.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::SpillError;
use crate::crypto::keys::Key;
use crate::crypto::numbered::NumberedSealer;

/// Where scratch files are made, and the key they are sealed under.
///
/// LOCAL-32: a scratch file is without a name before anything is written to it. It is sealed frame by frame under a key of
/// its own, which follows from one that is drawn for the process and kept nowhere.
pub struct Scratch {
    directory: PathBuf,
    key: Key,
    /// Files made so far: each has a key of its own.
    files: AtomicU64,
}

impl Scratch {
    /// Nothing is made before it is needed. `key` is drawn for this, and used for nothing else.
    pub fn new(directory: &Path, key: [u8; 32]) -> Scratch {
        Scratch { directory: directory.to_owned(), key: Key::new(key), files: AtomicU64::new(0) }
    }

    /// Bytes free there for this user.
    pub fn free(&self) -> Result<u64, SpillError> {
        match rustix::fs::statvfs(&self.directory) {
            Ok(stat) => Ok(stat.f_bavail.saturating_mul(stat.f_frsize)),
            Err(error) => Err(SpillError::failed("find the room for", &self.directory, error.into())),
        }
    }

    pub(super) fn file(&self) -> Result<ScratchFile, SpillError> {
        let file = tempfile::tempfile_in(&self.directory)
            .map_err(|error| SpillError::failed("make", &self.directory, error))?;
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let sealer = NumberedSealer::new(&Key::new(self.key.hash(&number.to_le_bytes())));
        Ok(ScratchFile { file, directory: self.directory.clone(), sealer, length: AtomicU64::new(0) })
    }
}

/// One scratch file.
pub(super) struct ScratchFile {
    pub(super) file: File,
    directory: PathBuf,
    sealer: NumberedSealer,
    length: AtomicU64,
}

/// Where a frame is in its file. Known to this process alone: whatever is done to the file, a frame that is found here
/// and opens is the one that was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    offset: u64,
    number: u64,
    /// Its bytes, sealed.
    pub(super) length: usize,
}

impl ScratchFile {
    /// Bytes of all frames.
    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    /// Seals a frame and appends it. Where that fails its plaintext is gone, and the file ends with what can be of no use.
    pub(super) fn append(&self, frame: &mut Vec<u8>) -> Result<Frame, SpillError> {
        let number = self.sealer.seal(frame);
        let offset = self.length.fetch_add(frame.len() as u64, Ordering::Relaxed);
        let written = Frame { offset, number, length: frame.len() };
        let done = self.file.write_all_at(frame, written.offset);
        done.map_err(|error| SpillError::failed("write to", &self.directory, error))?;
        frame.clear();
        Ok(written)
    }

    /// Gives back what was appended since the file had this length: by whoever is its one writer.
    pub(super) fn cut(&self, length: u64) {
        // Where this fails the room is free when the file is closed; what is appended next is written over it.
        let _ = self.file.set_len(length);
        self.length.store(length, Ordering::Relaxed);
    }

    /// Reads a frame and opens it.
    pub(super) fn read(&self, frame: Frame, plain: &mut Vec<u8>) -> Result<(), SpillError> {
        plain.resize(frame.length, 0);
        match self.file.read_exact_at(plain, frame.offset) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.changed(frame, "it ends too early")),
            Err(error) => Err(SpillError::failed("read", &self.directory, error)),
            Ok(()) => self.sealer.open(frame.number, plain).map_err(|_| self.changed(frame, "authentication failed")),
        }
    }

    pub(super) fn changed(&self, frame: Frame, what: &'static str) -> SpillError {
        SpillError::Changed { directory: self.directory.clone(), offset: frame.offset, what }
    }
}
