//! Partitions take records for numbered groups, and give back one group after the other.

use std::sync::Arc;

use super::buffer::{Buffer, Place, Record};
use super::error::SpillError;
use super::run::{Run, RunReader, RunWriter};
use super::scratch::{Scratch, ScratchFile};
use super::{Budget, Usage};

/// Groups more records than memory holds.
///
/// Memory: never more than the budget it is made with, and 24 bytes for each frame written: of 256 KiB at most, and at least
/// one for each group and budget's worth of records. A record that takes more than an eighth of the budget is refused.
/// Scratch: what the records take with two to six bytes each.
pub struct Partitions<'a> {
    scratch: &'a Scratch,
    budget: Budget,
    buffer: Buffer,
    spilled: Option<Spilled>,
    count: usize,
    usage: Usage,
}

/// Runs in one scratch file, by group.
struct Spilled {
    file: Arc<ScratchFile>,
    groups: Vec<Vec<Run>>,
}

impl<'a> Partitions<'a> {
    /// So many groups, from 0 on, in this many bytes of memory at the most; less than 64 KiB is taken for 64 KiB.
    pub fn new(scratch: &'a Scratch, count: usize, budget: usize) -> Partitions<'a> {
        let budget = Budget::new(budget);
        Partitions { scratch, budget, buffer: Buffer::new(budget), spilled: None, count, usage: Usage::default() }
    }

    /// Takes a record. Where it fails, the record was not taken, and all before it are as they were: it can be tried again.
    pub fn push(&mut self, partition: usize, key: &[u8], payload: &[u8]) -> Result<(), SpillError> {
        let record = Record { key, payload };
        let (length, most) = (record.length(), self.budget.record());
        if length > most {
            return Err(SpillError::TooLong { length, most });
        }
        if partition >= self.count {
            return Err(SpillError::NoPartition { partition, count: self.count });
        }
        if self.buffer.held_with(length) > self.budget.records() {
            self.spill()?;
        }
        self.usage.see(self.buffer.held_with(length), 0);
        self.buffer.push(partition as u64, record);
        Ok(())
    }

    /// All records, by group.
    pub fn finish(mut self) -> Result<Grouped, SpillError> {
        if self.spilled.is_some() {
            self.spill()?;
        }
        self.buffer.sort_by_rank();
        Ok(Grouped { buffer: self.buffer, spilled: self.spilled, count: self.count, usage: self.usage })
    }

    /// Writes what is held, a run for each group.
    fn spill(&mut self) -> Result<(), SpillError> {
        self.buffer.sort_by_rank();
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled { file: Arc::new(self.scratch.file()?), groups: vec![Vec::new(); self.count] }),
        };
        let begin = spilled.file.length();
        let runs = runs(&self.buffer, &spilled.file, self.budget).inspect_err(|_| spilled.file.cut(begin))?;
        for (group, run) in runs {
            if let Some(group) = spilled.groups.get_mut(group as usize) {
                group.push(run);
            }
        }
        self.usage.see(self.buffer.held() + self.budget.0 / 8, spilled.file.length());
        self.buffer = Buffer::new(self.budget);
        Ok(())
    }
}

/// Writes a run for each group of a sorted buffer.
fn runs(buffer: &Buffer, file: &ScratchFile, budget: Budget) -> Result<Vec<(u64, Run)>, SpillError> {
    let mut runs = Vec::new();
    let mut records = buffer.encoded().enumerate().peekable();
    while let Some(group) = records.peek().and_then(|(nth, _)| buffer.rank(*nth)) {
        let mut writer = RunWriter::new(file, budget.frame());
        while let Some((_, record)) = records.next_if(|(nth, _)| buffer.rank(*nth) == Some(group)) {
            writer.add(record)?;
        }
        runs.push((group, writer.finish()?));
    }
    Ok(runs)
}

/// Records by group.
pub struct Grouped {
    /// Sorted by group; empty where all is in scratch.
    buffer: Buffer,
    spilled: Option<Spilled>,
    count: usize,
    usage: Usage,
}

impl Grouped {
    /// The records of a group, in the order they came; as often as wanted.
    pub fn group(&self, partition: usize) -> Result<Group<'_>, SpillError> {
        if partition >= self.count {
            return Err(SpillError::NoPartition { partition, count: self.count });
        }
        let next = self.buffer.first_of_rank(partition as u64);
        let (file, runs) = match &self.spilled {
            Some(spilled) => (Some(&spilled.file), spilled.groups.get(partition).map_or(&[][..], Vec::as_slice)),
            None => (None, &[][..]),
        };
        Ok(Group { buffer: &self.buffer, next, rank: partition as u64, file, runs: runs.iter(), reader: None })
    }

    /// For tests that do something to it.
    #[cfg(test)]
    pub(super) fn file(&self) -> Option<Arc<ScratchFile>> {
        self.spilled.as_ref().map(|spilled| spilled.file.clone())
    }

    /// What was taken to group, in bytes. Reading takes the longest frame in addition to what is held.
    pub fn usage(&self) -> Usage {
        self.usage
    }
}

/// The records of one group.
pub struct Group<'a> {
    buffer: &'a Buffer,
    /// The record that comes next, of those in memory.
    next: usize,
    rank: u64,
    file: Option<&'a Arc<ScratchFile>>,
    runs: std::slice::Iter<'a, Run>,
    reader: Option<RunReader>,
}

impl Group<'_> {
    /// The next record; `None` behind the last. Where it fails, it fails again.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, SpillError> {
        loop {
            if let Some(reader) = &mut self.reader
                && let Some(place) = reader.advance()?
            {
                let frame = self.reader.as_ref().map_or(&[][..], RunReader::frame);
                return Ok(Some(place.record(frame)));
            }
            match (self.runs.next(), self.file) {
                (Some(run), Some(file)) => self.reader = Some(RunReader::new(file.clone(), run.clone())),
                _ => break,
            }
        }
        self.reader = None;
        if self.buffer.rank(self.next) != Some(self.rank) {
            return Ok(None);
        }
        let bytes = self.buffer.bytes(self.next);
        self.next += 1;
        Ok(Place::of(bytes, 0).map(|place| place.record(bytes)))
    }
}
