//! Partitions take numbered records in any order, and give them back in the order of their numbers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Scope;

use crossbeam_channel::{Receiver, bounded};
use rayon::prelude::*;

use super::Usage;
use super::error::SpillError;
use super::scratch::{Frame, Scratch, ScratchFile};
use crate::crypto::numbered::TAG;
use crate::format::{Reader, put_varint};

/// Bytes of a range of records: few enough for a core's own cache.
const RANGE: u64 = 512 << 10;
/// However many records there are.
const RANGES_MOST: u64 = 4096;
/// Bytes of a block of records. A longer record has one of its own.
const BLOCK: usize = 32 << 10;
const BLOCK_LEAST: usize = 2 << 10;
/// Bytes of ranges that are put in order together, on all cores.
const TOGETHER: usize = 2 << 20;
/// Bytes of a record's number and length, at most.
const HEAD: usize = 10;

/// Takes records in any order, from several threads, and gives them back in the order of their numbers.
///
/// They are gathered by ranges of numbers. Where they do not find room, those of the last ranges go to scratch, block by block.
///
/// Memory: the budget, a block or the longest record for each thread, and 40 bytes for each block written. While they are
/// given back, also 6 MiB of ranges, or three longer ones: 16 bytes for each number and what of it was written, but for records
/// longer than a block, of which one is there at a time. Scratch: what finds no room, with two to seven bytes a record.
pub struct Partitions<'a> {
    scratch: &'a Scratch,
    budget: usize,
    count: u64,
    /// A range has two to the power of this numbers.
    bits: u32,
    block: usize,
    ranges: Vec<Mutex<Range>>,
    /// How many ranges, from the first on, stay in memory.
    staying: Mutex<usize>,
    file: OnceLock<Arc<ScratchFile>>,
    held: AtomicUsize,
    most: AtomicUsize,
}

/// The records of a range.
#[derive(Default)]
struct Range {
    open: Vec<u8>,
    full: Vec<Vec<u8>>,
    written: Vec<Written>,
}

/// A block in scratch.
#[derive(Clone, Copy)]
struct Written {
    frame: Frame,
    /// The record it is of, where that is longer than a block: which one of its range.
    alone: Option<u32>,
}

impl Range {
    /// Bytes it takes while it is given back.
    fn length(&self) -> usize {
        let written = self.written.iter().filter(|written| written.alone.is_none()).map(|written| written.frame.length);
        self.full.iter().chain([&self.open]).map(Vec::len).chain(written).sum()
    }
}

impl<'a> Partitions<'a> {
    /// Of records numbered from 0 to below `count`, which take about so many bytes together, in `budget` bytes of memory.
    pub fn new(scratch: &'a Scratch, count: u64, bytes: u64, budget: usize) -> Partitions<'a> {
        let blocks = (budget / 8 / BLOCK_LEAST) as u64;
        let wanted = (bytes / RANGE).clamp(1, blocks.clamp(1, RANGES_MOST));
        let bits = count.div_ceil(wanted).max(1).next_power_of_two().trailing_zeros();
        let ranges = count.div_ceil(1 << bits).max(1) as usize;
        let block = (budget / 8 / ranges).clamp(BLOCK_LEAST, BLOCK);
        Partitions {
            scratch,
            budget,
            count,
            bits,
            block,
            ranges: (0..ranges).map(|_| Mutex::default()).collect(),
            staying: Mutex::new(ranges),
            file: OnceLock::new(),
            held: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }
    }

    /// Takes a record.
    pub fn push(&self, number: u32, record: &[u8]) -> Result<(), SpillError> {
        let (range, within) = ((u64::from(number) >> self.bits) as usize, u64::from(number) & ((1 << self.bits) - 1));
        let Some(into) = self.ranges.get(range).filter(|_| u64::from(number) < self.count) else {
            return Err(SpillError::NoNumber { number, count: self.count });
        };
        let mut into = lock(into);
        let length = HEAD + record.len() + TAG;
        let is_alone = length > self.block;
        let is_full = into.open.capacity() - into.open.len() < length;
        if is_alone || is_full {
            let mut fresh = Vec::with_capacity(length.max(self.block));
            let held = self.held.fetch_add(fresh.capacity(), Ordering::Relaxed) + fresh.capacity();
            self.most.fetch_max(held, Ordering::Relaxed);
            if !is_alone {
                std::mem::swap(&mut into.open, &mut fresh);
            }
            if fresh.capacity() > 0 {
                into.full.push(fresh);
            }
        }
        let Range { open, full, .. } = &mut *into;
        let block = if is_alone { full.last_mut().unwrap_or(open) } else { open };
        put_varint(block, within);
        put_varint(block, record.len() as u64);
        block.extend_from_slice(record);
        drop(into);
        if is_alone || is_full { self.make_room(range) } else { Ok(()) }
    }

    /// Writes what a range has ready, if it does not stay; and makes other ones leave until there is room.
    fn make_room(&self, range: usize) -> Result<(), SpillError> {
        if range >= *lock(&self.staying) {
            self.write(range)?;
        }
        while self.held.load(Ordering::Relaxed) > self.budget {
            let leaving = {
                let mut staying = lock(&self.staying);
                let Some(last) = staying.checked_sub(1) else { break };
                *staying = last;
                last
            };
            self.write(leaving)?;
        }
        Ok(())
    }

    fn write(&self, range: usize) -> Result<(), SpillError> {
        let Some(of) = self.ranges.get(range) else { return Ok(()) };
        let full = std::mem::take(&mut lock(of).full);
        for mut block in full {
            let held = block.capacity();
            let alone = alone_in(&block).filter(|_| block.len() > self.block);
            let frame = self.file()?.append(&mut block)?;
            lock(of).written.push(Written { frame, alone });
            drop(block);
            self.held.fetch_sub(held, Ordering::Relaxed);
        }
        Ok(())
    }

    fn file(&self) -> Result<&Arc<ScratchFile>, SpillError> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let _turn = lock(&self.staying);
        match self.file.get() {
            Some(file) => Ok(file),
            None => {
                let file = Arc::new(self.scratch.file()?);
                Ok(self.file.get_or_init(|| file))
            }
        }
    }

    /// No record follows.
    pub fn finish(self) -> Numbered {
        let scratch = self.file.get().map_or(0, |file| file.length());
        let usage = Usage { memory: self.most.into_inner(), scratch };
        let ranges = self.ranges.into_iter().map(|range| range.into_inner().unwrap_or_else(PoisonError::into_inner));
        Numbered {
            ranges: ranges.collect::<Vec<_>>().into_iter(),
            file: self.file.into_inner(),
            bits: self.bits,
            usage,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which one of its range the record is that a block holds, where it holds one alone.
fn alone_in(block: &[u8]) -> Option<u32> {
    let mut reader = Reader::new("record", block);
    let (number, length) = (reader.varint().ok()?, reader.varint().ok()?);
    (length == reader.remaining() as u64).then(|| number.try_into().ok())?
}

/// All records.
pub struct Numbered {
    ranges: std::vec::IntoIter<Range>,
    file: Option<Arc<ScratchFile>>,
    bits: u32,
    usage: Usage,
}

impl Numbered {
    /// Gives them back in the order of their numbers. A thread puts the next ranges in order meanwhile, on all cores.
    pub fn in_order<'scope>(mut self, scope: &'scope Scope<'scope, '_>) -> InOrder {
        let (file, bits) = (self.file.clone(), self.bits);
        let (to, coming) = bounded(1);
        scope.spawn(move || while !self.ranges.as_slice().is_empty() && to.send(self.come()).is_ok() {});
        InOrder { coming, came: VecDeque::new(), at_hand: AtHand::default(), file, bits, next: 0, is_broken: false }
    }

    /// The next ranges.
    fn come(&mut self) -> Result<VecDeque<AtHand>, SpillError> {
        let left = self.ranges.as_slice().iter();
        let ends = left.scan(0, |bytes, range| {
            *bytes += range.length();
            Some(*bytes)
        });
        let count = ends.take_while(|end| *end <= TOGETHER).count().max(1);
        let ranges: Vec<Range> = self.ranges.by_ref().take(count).collect();
        let (file, numbers) = (self.file.as_deref(), 1 << self.bits);
        ranges.into_par_iter().map(|range| AtHand::of(range, file, numbers)).collect()
    }

    /// What was taken to gather them, in bytes.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// For tests that do something to it.
    #[cfg(test)]
    pub(super) fn file(&self) -> Option<Arc<ScratchFile>> {
        self.file.clone()
    }
}

/// Records in the order of their numbers.
pub struct InOrder {
    coming: Receiver<Result<VecDeque<AtHand>, SpillError>>,
    came: VecDeque<AtHand>,
    at_hand: AtHand,
    file: Option<Arc<ScratchFile>>,
    bits: u32,
    next: u64,
    /// What comes next is not what is asked for next.
    is_broken: bool,
}

impl InOrder {
    /// The record of the next number, from 0 on; `None` where there is none of it, and behind the last one.
    pub fn next_record(&mut self) -> Result<Option<&[u8]>, SpillError> {
        let within = (self.next & ((1 << self.bits) - 1)) as usize;
        if within == 0 {
            if self.came.is_empty() {
                if self.is_broken {
                    return Err(SpillError::Broken);
                }
                let Ok(came) = self.coming.recv() else { return Ok(None) };
                self.is_broken = came.is_err();
                self.came = came?;
            }
            self.at_hand = self.came.pop_front().ok_or(SpillError::Broken)?;
        }
        self.next += 1;
        self.at_hand.record(within, self.file.as_deref())
    }
}

/// The records of a range.
#[derive(Default)]
struct AtHand {
    blocks: Vec<Vec<u8>>,
    /// Of each number.
    places: Vec<Place>,
    /// The last one that was read alone.
    alone: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
enum Place {
    /// There is none of this number.
    #[default]
    Nowhere,
    /// In a block, behind its number.
    In { block: u32, at: u32 },
    /// In a block that is still in scratch.
    Alone(Frame),
}

impl AtHand {
    fn of(range: Range, file: Option<&ScratchFile>, numbers: usize) -> Result<AtHand, SpillError> {
        let Range { open, full: mut blocks, written } = range;
        blocks.push(open);
        let mut places = vec![Place::Nowhere; numbers];
        for Written { frame, alone } in written {
            let Some(file) = file else { return Err(SpillError::Broken) };
            match alone {
                Some(number) => put(&mut places, number.into(), Place::Alone(frame))?,
                None => {
                    let mut block = Vec::new();
                    file.read(frame, &mut block)?;
                    blocks.push(block);
                }
            }
        }
        for (number, block) in blocks.iter().enumerate() {
            let mut reader = Reader::new("record", block);
            while reader.remaining() > 0 {
                let Ok(of) = reader.varint() else { return Err(SpillError::Broken) };
                let at = block.len() - reader.remaining();
                put(&mut places, of, Place::In { block: number as u32, at: at as u32 })?;
                let length = reader.varint().map_err(|_| SpillError::Broken)?;
                reader.take(length as usize).map_err(|_| SpillError::Broken)?;
            }
        }
        Ok(AtHand { blocks, places, alone: Vec::new() })
    }

    fn record(&mut self, number: usize, file: Option<&ScratchFile>) -> Result<Option<&[u8]>, SpillError> {
        let from = match self.places.get(number).copied().unwrap_or_default() {
            Place::Nowhere => return Ok(None),
            Place::In { block, at } => {
                self.blocks.get(block as usize).and_then(|block| block.get(at as usize..)).unwrap_or_default()
            }
            Place::Alone(frame) => {
                file.ok_or(SpillError::Broken)?.read(frame, &mut self.alone)?;
                let mut reader = Reader::new("record", &self.alone);
                reader.varint().map_err(|_| SpillError::Broken)?;
                let at = self.alone.len() - reader.remaining();
                self.alone.get(at..).unwrap_or_default()
            }
        };
        let mut reader = Reader::new("record", from);
        let length = reader.varint().map_err(|_| SpillError::Broken)?;
        reader.take(length as usize).map(Some).map_err(|_| SpillError::Broken)
    }
}

fn put(places: &mut [Place], number: u64, place: Place) -> Result<(), SpillError> {
    match places.get_mut(number as usize) {
        Some(at @ Place::Nowhere) => *at = place,
        _ => return Err(SpillError::Twice),
    }
    Ok(())
}
