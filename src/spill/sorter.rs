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
/// Scratch: what finds no room, of the records with two to six bytes each: while that is little the oldest eighth of what is held
/// makes room, then all of it. Twice that for a moment where runs become too many to be read at once, which with a budget of
/// 256 MiB happens at 128 GiB.
pub struct Sorter<'a> {
    scratch: &'a Scratch,
    budget: Budget,
    buffer: Buffer,
    spilled: Option<Spilled>,
    /// How often an eighth of the records made room.
    eighths: u32,
    usage: Usage,
}

/// So often an eighth of the records makes room: then there are many more than find room, and all that are held do.
const EIGHTHS: u32 = 8;

/// Runs in one scratch file.
struct Spilled {
    file: Arc<ScratchFile>,
    runs: Vec<Run>,
    /// Bytes that reading all runs at once takes.
    readers: usize,
}

impl Spilled {
    /// What was spilled so far; at first, nothing.
    fn begun<'s>(spilled: &'s mut Option<Spilled>, scratch: &Scratch) -> Result<&'s mut Spilled, SpillError> {
        Ok(match spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled { file: Arc::new(scratch.file()?), runs: Vec::new(), readers: 0 }),
        })
    }

    /// Writes a run of these records. Answers with the bytes it took to do so.
    fn write<'r>(&mut self, records: impl Iterator<Item = &'r [u8]>, budget: Budget) -> Result<usize, SpillError> {
        let mut writer = RunWriter::new(&self.file, budget.frame());
        let mut most = 0;
        for record in records {
            writer.add(record)?;
            most = most.max(writer.held());
        }
        self.take(writer.finish()?);
        Ok(most)
    }

    fn take(&mut self, run: Run) {
        self.readers += longest(&run);
        self.runs.push(run);
    }
}

impl<'a> Sorter<'a> {
    /// A sorter that takes this many bytes of memory at the most; less than 64 KiB is taken for 64 KiB.
    pub fn new(scratch: &'a Scratch, budget: usize) -> Sorter<'a> {
        let budget = Budget::new(budget);
        let buffer = Buffer::new(budget);
        Sorter { scratch, budget, buffer, spilled: None, eighths: 0, usage: Usage::default() }
    }

    /// Takes a record. Where it fails, the record was not taken, and all before it are as they were: it can be tried again.
    pub fn push(&mut self, key: &[u8], payload: &[u8]) -> Result<(), SpillError> {
        let record = Record { key, payload };
        let (length, most) = (record.length(), self.budget.record());
        if length > most {
            return Err(SpillError::TooLong { length, most });
        }
        while self.eighths < EIGHTHS && !self.is_crowded() && self.buffer.held_with(length) > self.budget.records() {
            self.spill_oldest()?;
        }
        if self.is_crowded() || self.buffer.held_with(length) > self.budget.records() {
            self.make_room()?;
        }
        self.see(self.buffer.held_with(length));
        self.buffer.push(record);
        Ok(())
    }

    /// Takes no more memory than this from now on. What is held beyond that makes room, with all that is held.
    pub fn take_less(&mut self, budget: usize) -> Result<(), SpillError> {
        self.budget = Budget::new(budget.min(self.budget.all()));
        match self.buffer.held() > self.budget.records() {
            true => self.make_room(),
            false => Ok(()),
        }
    }

    /// All records, sorted.
    pub fn finish(mut self) -> Result<Sorted, SpillError> {
        if self.spilled.is_none() {
            self.buffer.sort();
            return Ok(Sorted::of_buffer(self.buffer, self.usage));
        }
        let is_room = |spilled: &Spilled| spilled.readers + self.buffer.held() <= self.budget.all();
        let stays = !self.is_crowded() && self.spilled.as_ref().is_some_and(is_room);
        if !stays {
            self.make_room()?;
        }
        self.buffer.sort();
        match &self.spilled {
            Some(spilled) => Sorted::of_runs(&spilled.file, &spilled.runs, stays.then_some(self.buffer), self.usage),
            None => unreachable!("it was there"),
        }
    }

    /// What was taken so far, in bytes.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Whether runs have to become one before there are more of them.
    fn is_crowded(&self) -> bool {
        self.spilled.as_ref().is_some_and(|spilled| spilled.readers > self.budget.readers())
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
        let spilled = Spilled::begun(&mut self.spilled, self.scratch)?;
        let most = spilled.write(self.buffer.encoded(), self.budget)?;
        self.usage.see(self.buffer.held() + most, spilled.file.length());
        self.buffer = Buffer::new(self.budget);
        Ok(())
    }

    /// Writes an eighth of what is held as a run: what came first.
    fn spill_oldest(&mut self) -> Result<(), SpillError> {
        let oldest = self.buffer.sort_oldest();
        let spilled = Spilled::begun(&mut self.spilled, self.scratch)?;
        let most = spilled.write(self.buffer.encoded_of(oldest), self.budget)?;
        self.usage.see(self.buffer.held() + most, spilled.file.length());
        self.buffer.drop_oldest(oldest);
        self.eighths += 1;
        Ok(())
    }

    /// Makes one run of all, in a file of its own.
    fn merge(&mut self) -> Result<(), SpillError> {
        let Some(spilled) = &self.spilled else { return Ok(()) };
        let file = Arc::new(self.scratch.file()?);
        let mut sorted = Sorted::of_runs(&spilled.file, &spilled.runs, None, self.usage)?;
        let mut writer = RunWriter::new(&file, self.budget.frame());
        let held = sorted.held();
        let mut most = 0;
        while let Some(record) = sorted.next_encoded()? {
            writer.add(record)?;
            most = most.max(writer.held());
        }
        let run = writer.finish()?;
        self.usage.see(held + most, spilled.file.length() + file.length());
        let mut merged = Spilled { file, runs: Vec::new(), readers: 0 };
        merged.take(run);
        self.spilled = Some(merged);
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
