//! A run is frames of records that follow each other in a scratch file.

use std::sync::Arc;

use super::buffer::Place;
use super::error::SpillError;
use super::scratch::{Frame, ScratchFile};
use crate::crypto::numbered::TAG;

/// Where the frames of a run are.
pub(super) type Run = Arc<[Frame]>;

/// Bytes of its longest frame: what reading it takes.
pub(super) fn longest(run: &[Frame]) -> usize {
    run.iter().map(|frame| frame.length).max().unwrap_or(0)
}

/// Writes a run. Dropped without [`RunWriter::finish`] it gives back what it took.
pub(super) struct RunWriter<'a> {
    file: &'a ScratchFile,
    begin: u64,
    frame: Vec<u8>,
    /// Bytes at which a frame is full.
    full: usize,
    frames: Vec<Frame>,
    is_finished: bool,
}

impl<'a> RunWriter<'a> {
    pub(super) fn new(file: &'a ScratchFile, full: usize) -> RunWriter<'a> {
        let (begin, frame) = (file.length(), Vec::with_capacity(full + TAG));
        RunWriter { file, begin, frame, full, frames: Vec::new(), is_finished: false }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.frame.capacity()
    }

    /// Appends a record, encoded. Frames hold whole records.
    pub(super) fn add(&mut self, record: &[u8]) -> Result<(), SpillError> {
        if self.frame.len() + record.len() > self.full {
            self.cut()?;
            if self.frame.capacity() < record.len() + TAG {
                self.frame = Vec::new();
                self.frame.reserve_exact(record.len() + TAG);
            }
        }
        self.frame.extend_from_slice(record);
        Ok(())
    }

    fn cut(&mut self) -> Result<(), SpillError> {
        if !self.frame.is_empty() {
            self.frames.push(self.file.append(&mut self.frame)?);
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Run, SpillError> {
        self.cut()?;
        self.is_finished = true;
        Ok(std::mem::take(&mut self.frames).into())
    }
}

impl Drop for RunWriter<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.file.cut(self.begin);
        }
    }
}

/// Reads the records of a run.
pub(super) struct RunReader {
    file: Arc<ScratchFile>,
    run: Run,
    /// The frame after the one that is held.
    next: usize,
    frame: Vec<u8>,
    /// Where the record begins that is read next.
    at: usize,
}

impl RunReader {
    pub(super) fn new(file: Arc<ScratchFile>, run: Run) -> RunReader {
        let frame = Vec::with_capacity(longest(&run));
        RunReader { file, run, next: 0, frame, at: 0 }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.frame.capacity()
    }

    /// Where the next record is in [`RunReader::frame`]; `None` behind the last. Where it fails, it fails again.
    pub(super) fn advance(&mut self) -> Result<Option<Place>, SpillError> {
        if self.at == self.frame.len() {
            let Some(frame) = self.run.get(self.next) else { return Ok(None) };
            self.at = 0;
            if let Err(error) = self.file.read(*frame, &mut self.frame) {
                // Whoever asks again is to get no byte of it.
                self.frame.clear();
                return Err(error);
            }
            self.next += 1;
        }
        let Some(place) = Place::of(&self.frame, self.at) else {
            let frame = self.run.get(self.next - 1).copied();
            return Err(frame.map_or(SpillError::Broken, |frame| self.file.changed(frame, "half a record")));
        };
        self.at = place.end;
        Ok(Some(place))
    }

    /// The frame that is held.
    pub(super) fn frame(&self) -> &[u8] {
        &self.frame
    }
}
