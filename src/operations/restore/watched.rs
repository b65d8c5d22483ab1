//! A file that is read in one go while a person waits.

use std::fs;
use std::io::{self, Read};

use crate::operations::Observer;

/// Tells how far it was read, and is read until somebody wants to stop.
pub(super) struct Watched<'o> {
    pub input: fs::File,
    pub observer: &'o dyn Observer,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.observer.interrupted() {
            true => Err(io::Error::other("stopped")),
            false => self.input.read(buffer).inspect(|count| self.observer.advance(*count as u64)),
        }
    }
}
