//! The sorter takes records, and writes them as sorted runs whenever its memory is full.

use std::sync::Arc;

use super::buffer::{Buffer, Record};
use super::error::SpillError;
use super::merge::Sorted;
use super::run::{Run, RunWriter, longest};
use super::scratch::{Scratch, ScratchFile};
use super::{Budget, Usage};

/// Sorts more records than memory holds.
///
/// Memory: never more than the budget it is made with, be it for records, runs being written or runs being merged; and 24
/// bytes for each frame written (256 KiB, or a sixteenth of the budget where that is less). A record that takes more than
/// an eighth of the budget is refused.
///
/// Scratch: what the records take with two to six bytes each; twice that for a moment where runs become too many to be read
/// at once, which with a budget of 256 MiB happens at 128 GiB.
pub struct Sorter<'a> {
    scratch: &'a Scratch,
    budget: Budget,
    buffer: Buffer,
    spilled: Option<Spilled>,
    usage: Usage,
}

/// Runs in one scratch file.
struct Spilled {
    file: Arc<ScratchFile>,
    runs: Vec<Run>,
}

impl Spilled {
    /// Bytes that reading all runs at once takes.
    fn readers(&self) -> usize {
        self.runs.iter().map(|run| longest(run)).sum()
    }
}

impl<'a> Sorter<'a> {
    /// A sorter that takes this many bytes of memory at the most; less than 64 KiB is taken for 64 KiB.
    pub fn new(scratch: &'a Scratch, budget: usize) -> Sorter<'a> {
        let budget = Budget::new(budget);
        Sorter { scratch, budget, buffer: Buffer::new(budget), spilled: None, usage: Usage::default() }
    }

    /// Takes a record. Where it fails, the record was not taken, and all before it are as they were: it can be tried again.
    pub fn push(&mut self, key: &[u8], payload: &[u8]) -> Result<(), SpillError> {
        let record = Record { key, payload };
        let (length, most) = (record.length(), self.budget.record());
        if length > most {
            return Err(SpillError::TooLong { length, most });
        }
        if self.is_crowded() || self.buffer.held_with(length) > self.budget.records() {
            self.make_room()?;
        }
        self.see(self.buffer.held_with(length));
        self.buffer.push(record);
        Ok(())
    }

    /// All records, sorted.
    pub fn finish(mut self) -> Result<Sorted, SpillError> {
        if self.spilled.is_none() {
            self.buffer.sort();
            return Ok(Sorted::of_buffer(self.buffer, self.usage));
        }
        self.make_room()?;
        match &self.spilled {
            Some(spilled) => Sorted::of_runs(&spilled.file, &spilled.runs, self.usage),
            None => unreachable!("it was there"),
        }
    }

    /// What was taken so far, in bytes.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Whether runs have to become one before there are more of them.
    fn is_crowded(&self) -> bool {
        self.spilled.as_ref().is_some_and(|spilled| spilled.readers() > self.budget.readers())
    }

    /// Leaves nothing in memory, and runs that can be read at once.
    fn make_room(&mut self) -> Result<(), SpillError> {
        if !self.buffer.is_empty() {
            self.spill()?;
        }
        if self.is_crowded() {
            self.merge()?;
        }
        Ok(())
    }

    /// Writes what is held as a run.
    fn spill(&mut self) -> Result<(), SpillError> {
        self.buffer.sort();
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled { file: Arc::new(self.scratch.file()?), runs: Vec::new() }),
        };
        let mut writer = RunWriter::new(&spilled.file, self.budget.frame());
        let mut most = 0;
        for record in self.buffer.encoded() {
            writer.add(record)?;
            most = most.max(writer.held());
        }
        spilled.runs.push(writer.finish()?);
        let scratch = spilled.file.length();
        self.usage.see(self.buffer.held() + most, scratch);
        self.buffer = Buffer::new(self.budget);
        Ok(())
    }

    /// Makes one run of all, in a file of its own.
    fn merge(&mut self) -> Result<(), SpillError> {
        let Some(spilled) = &self.spilled else { return Ok(()) };
        let file = Arc::new(self.scratch.file()?);
        let mut sorted = Sorted::of_runs(&spilled.file, &spilled.runs, self.usage)?;
        let mut writer = RunWriter::new(&file, self.budget.frame());
        let held = sorted.held();
        let mut most = 0;
        while let Some(record) = sorted.next_encoded()? {
            writer.add(record)?;
            most = most.max(writer.held());
        }
        let run = writer.finish()?;
        self.usage.see(held + most, spilled.file.length() + file.length());
        self.spilled = Some(Spilled { file, runs: vec![run] });
        Ok(())
    }

    fn see(&mut self, memory: usize) {
        self.usage.see(memory, 0);
    }

    /// For tests that do something to it.
    #[cfg(test)]
    pub(super) fn file(&self) -> Option<Arc<ScratchFile>> {
        self.spilled.as_ref().map(|spilled| spilled.file.clone())
    }
}
