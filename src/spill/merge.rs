//! Sorted records are read from all runs at once, the smallest key first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use super::Usage;
use super::buffer::{Buffer, Place, Record};
use super::error::SpillError;
use super::run::{Run, RunReader};
use super::scratch::ScratchFile;

/// Records in memory that are fetched together.
const TOUCHED: usize = 16;

/// Records in the order of their keys, those of one key in the order they came.
///
/// Memory: one frame of each run, and the records that found room, together no more than the sorter's budget.
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
        // Of memory there is nothing that could fail.
        Sorted::of([From::Memory(buffer, 0)], usage).unwrap_or_else(|_| unreachable!("nothing is read"))
    }

    /// Of runs, and of what came after all that is in them.
    pub(super) fn of_runs(
        file: &Arc<ScratchFile>,
        runs: &[Run],
        newest: Option<Buffer>,
        usage: Usage,
    ) -> Result<Sorted, SpillError> {
        let readers = runs.iter().map(|run| From::Sealed(RunReader::new(file.clone(), run.clone())));
        Sorted::of(readers.chain(newest.map(|buffer| From::Memory(buffer, 0))), usage)
    }

    fn of(sources: impl IntoIterator<Item = From>, usage: Usage) -> Result<Sorted, SpillError> {
        let mut heap = BinaryHeap::new();
        for (order, from) in sources.into_iter().enumerate() {
            let mut source = Source { from, place: Place::default(), order };
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
        Ok(self.next_source()?.map(|source| source.place.record(source.bytes())))
    }

    /// The same, encoded.
    pub(super) fn next_encoded(&mut self) -> Result<Option<&[u8]>, SpillError> {
        Ok(self.next_source()?.map(|source| source.place.encoded(source.bytes())))
    }

    /// The source that has the next record.
    fn next_source(&mut self) -> Result<Option<&Source>, SpillError> {
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
        Ok(self.sources.peek().map(|source| &**source))
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
    /// Where that record is in [`Source::bytes`].
    place: Place,
    /// Which of the sources it is, by when its records came.
    order: usize,
}

enum From {
    /// With the number of the record after this one.
    Memory(Buffer, usize),
    Sealed(RunReader),
}

impl Source {
    /// Goes on to the next record; false behind the last.
    fn advance(&mut self) -> Result<bool, SpillError> {
        let place = match &mut self.from {
            From::Memory(buffer, next) => {
                if next.is_multiple_of(TOUCHED) {
                    buffer.touch(*next, TOUCHED);
                }
                *next += 1;
                Place::of(buffer.bytes(*next - 1), 0)
            }
            From::Sealed(reader) => reader.advance()?,
        };
        self.place = place.unwrap_or_default();
        Ok(place.is_some())
    }

    fn bytes(&self) -> &[u8] {
        match &self.from {
            From::Memory(buffer, next) => buffer.bytes(*next - 1),
            From::Sealed(reader) => reader.frame(),
        }
    }

    fn key(&self) -> &[u8] {
        self.place.key(self.bytes())
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
