//! Sorted records are read from all runs at once, the smallest key first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Range;
use std::sync::Arc;

use super::Usage;
use super::buffer::{Buffer, Record};
use super::error::SpillError;
use super::run::{Run, RunReader};
use super::scratch::ScratchFile;

/// Records in the order of their keys, those of one key in the order they came.
///
/// Memory: one frame of each run, together at most half of the sorter's budget; or all the records, where they fit.
pub struct Sorted {
    /// Sources with a record each, the first one on top.
    sources: BinaryHeap<Box<Source>>,
    /// The record on top was given out.
    is_taken: bool,
    is_broken: bool,
    usage: Usage,
}

impl Sorted {
    pub(super) fn of_buffer(buffer: Buffer, usage: Usage) -> Sorted {
        let first = Source { from: From::Memory(buffer, 0), record: 0..0, key: 0..0, order: 0 };
        // Of memory there is nothing that could fail.
        Sorted::of([first].into(), usage).unwrap_or_else(|_| unreachable!("nothing is read"))
    }

    pub(super) fn of_runs(file: &Arc<ScratchFile>, runs: &[Run], usage: Usage) -> Result<Sorted, SpillError> {
        let readers = runs.iter().map(|run| RunReader::new(file.clone(), run.clone()));
        let source = |(order, reader)| Source { from: From::Sealed(reader), record: 0..0, key: 0..0, order };
        Sorted::of(readers.enumerate().map(source).collect(), usage)
    }

    fn of(sources: Vec<Source>, usage: Usage) -> Result<Sorted, SpillError> {
        let mut heap = BinaryHeap::with_capacity(sources.len());
        for mut source in sources {
            if source.advance()? {
                heap.push(Box::new(source));
            }
        }
        Ok(Sorted { sources: heap, is_taken: false, is_broken: false, usage })
    }

    /// All the records of several, none of which was read yet. Where keys are equal, those of the first come first. Memory is
    /// the sum of theirs.
    pub fn join(parts: Vec<Sorted>) -> Sorted {
        let (mut sources, mut usage) = (BinaryHeap::new(), Usage::default());
        let mut orders = 0;
        for part in parts {
            usage.memory += part.usage.memory;
            usage.scratch += part.usage.scratch;
            let mut of_part = part.sources.into_vec();
            of_part.sort_by_key(|source| source.order);
            for mut source in of_part {
                source.order = orders;
                orders += 1;
                sources.push(source);
            }
        }
        Sorted { sources, is_taken: false, is_broken: false, usage }
    }

    /// The next record; `None` behind the last. After an error there is no next one.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, SpillError> {
        let encoded = self.next_encoded()?;
        Ok(encoded.and_then(Record::first_of).map(|(record, _)| record))
    }

    pub(super) fn next_encoded(&mut self) -> Result<Option<&[u8]>, SpillError> {
        if std::mem::take(&mut self.is_taken)
            && let Err(error) = self.advance()
        {
            self.is_broken = true;
            return Err(error);
        }
        if self.is_broken {
            return Err(SpillError::Broken);
        }
        self.is_taken = true;
        Ok(self.sources.peek().map(|source| source.encoded()))
    }

    fn advance(&mut self) -> Result<(), SpillError> {
        if let Some(mut first) = self.sources.peek_mut()
            && !first.advance()?
        {
            PeekMut::pop(first);
        }
        Ok(())
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.sources.iter().map(|source| source.held()).sum()
    }

    /// What was taken to sort and is taken to read, in bytes.
    pub fn usage(&self) -> Usage {
        Usage { memory: self.usage.memory.max(self.held()), scratch: self.usage.scratch }
    }
}

/// Where records come from, with one that is looked at.
struct Source {
    from: From,
    /// That record, and its key, in the bytes they are in.
    record: Range<usize>,
    key: Range<usize>,
    /// Which of the sources it is, by when its records came.
    order: usize,
}

enum From {
    /// With the place of the next record.
    Memory(Buffer, usize),
    Sealed(RunReader),
}

impl Source {
    /// Goes on to the next record; false behind the last.
    fn advance(&mut self) -> Result<bool, SpillError> {
        let record = match &mut self.from {
            From::Memory(buffer, next) => {
                *next += 1;
                buffer.encoded(*next - 1).map(|record| 0..record.len())
            }
            From::Sealed(reader) => reader.advance()?,
        };
        let Some(record) = record else { return Ok(false) };
        self.record = record;
        let Some((first, length)) = Record::first_of(self.encoded()) else { return Err(SpillError::Broken) };
        let end = length - first.payload.len();
        self.key = end - first.key.len()..end;
        Ok(true)
    }

    fn encoded(&self) -> &[u8] {
        match &self.from {
            From::Memory(buffer, next) => buffer.encoded(*next - 1).unwrap_or_default(),
            From::Sealed(reader) => reader.frame().get(self.record.clone()).unwrap_or_default(),
        }
    }

    fn key(&self) -> &[u8] {
        self.encoded().get(self.key.clone()).unwrap_or_default()
    }

    fn held(&self) -> usize {
        match &self.from {
            From::Memory(buffer, _) => buffer.held(),
            From::Sealed(reader) => reader.held(),
        }
    }
}

/// The greatest is the one with the smallest key: the heap has it on top.
impl Ord for Source {
    fn cmp(&self, other: &Source) -> Ordering {
        other.key().cmp(self.key()).then_with(|| other.order.cmp(&self.order))
    }
}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Source) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Source) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Source {}
