//! Records of a dump, one after the other, with their bytes at hand.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, Read};
use std::ops::ControlFlow;

use super::raw::Raw;
use super::templates::{HASH_TEMPLATE, Templates};
use super::{Kind, Value};
use crate::rdb::header::{Family, read_header};
use crate::rdb::reader::{OPCODE_EXPIRETIME, OPCODE_EXPIRETIME_MS, OPCODE_FREQ, OPCODE_IDLE};
use crate::rdb::source::BUFFER;
use crate::rdb::{Stretch, Structure, What, read_preamble_stretches, read_stretches};

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// Where it is in the file, without what stands before its type.
    pub stretch: Stretch,
    /// The database it is in.
    pub database: u64,
    /// Its text; `None` if it is longer than what is kept, or does not decode.
    pub key: Option<Cow<'a, [u8]>>,
    /// When it goes, in milliseconds since the epoch; it may have passed.
    pub expires: Option<u64>,
    /// Seconds since it was last used, where the server kept count.
    pub idle: Option<u64>,
    /// How often it is used, on the server's scale of 0 to 255, where it kept count.
    pub frequency: Option<u8>,
    /// What kind of value it has.
    pub kind: Option<Kind>,
    /// What it holds; `None` if key and value are longer than what is kept.
    pub value: Option<Value<'a>>,
}

/// Reads a dump as [`read_stretches`] does, and hands on its records until told to stop: then what is left of the input is
/// not read, and there is no report.
///
/// Of each record at most `longest` bytes are kept, type, key and value together. Memory: twice that, and 1 MiB.
pub fn read_records<R: Read>(
    input: R,
    longest: usize,
    each: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
) -> io::Result<Option<Structure>> {
    let kept = RefCell::new(Kept::new(longest));
    let mut reader =
        Reader { kept: &kept, each, family: None, templates: Templates::default(), prefix: Prefix::default() };
    let read = read_stretches(Tee { input, kept: &kept }, &mut |stretch| reader.see(stretch));
    answer(read, &kept)
}

/// The same of an AOF that begins as a dump: bytes behind the dump are handed to `trailing`, as [`read_preamble_stretches`] does.
pub fn read_preamble_records<R: Read>(
    input: R,
    longest: usize,
    each: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    trailing: &mut dyn FnMut(&[u8]),
) -> io::Result<Option<Structure>> {
    let kept = RefCell::new(Kept::new(longest));
    let mut reader =
        Reader { kept: &kept, each, family: None, templates: Templates::default(), prefix: Prefix::default() };
    let mut trailing = |piece: &[u8]| {
        if !kept.borrow().is_told {
            trailing(piece);
        }
    };
    let read = read_preamble_stretches(Tee { input, kept: &kept }, &mut |stretch| reader.see(stretch), &mut trailing);
    answer(read, &kept)
}

fn answer(read: io::Result<Structure>, kept: &RefCell<Kept>) -> io::Result<Option<Structure>> {
    match kept.borrow().is_told {
        true => Ok(None),
        false => read.map(Some),
    }
}

/// What was read of the input and not yet handed on.
struct Kept {
    longest: usize,
    bytes: Vec<u8>,
    /// Offset in the input of the first of them.
    begin: u64,
    /// How many of them were handed on.
    done: usize,
    /// How a stretch begins that is too long.
    head: Vec<u8>,
    /// Told to stop.
    is_told: bool,
}

impl Kept {
    fn new(longest: usize) -> Self {
        Self { longest, bytes: Vec::new(), begin: 0, done: 0, head: Vec::new(), is_told: false }
    }

    fn take(&mut self, piece: &[u8]) {
        self.forget(self.done);
        self.done = 0;
        self.bytes.extend_from_slice(piece);
        // The walk is at most a buffer behind what was read: what is kept of a stretch that is too long is its beginning,
        // and what may be behind its end.
        let most = if self.head.is_empty() { self.longest.saturating_add(2 * BUFFER) } else { 3 * BUFFER };
        if self.bytes.len() > most {
            if self.head.is_empty() {
                self.head.extend_from_slice(self.bytes.get(..self.longest.max(1)).unwrap_or_default());
            }
            self.forget(self.bytes.len() - BUFFER);
        }
    }

    fn forget(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        self.begin += count as u64;
    }

    /// The bytes of a stretch, or as many of its first as there are.
    fn of(&self, stretch: Stretch) -> &[u8] {
        if !self.head.is_empty() {
            return &self.head;
        }
        let [from, to] = [stretch.begin, stretch.end].map(|offset| offset.saturating_sub(self.begin) as usize);
        let whole = self.bytes.get(from..to).unwrap_or_default();
        whole.get(..self.longest).unwrap_or(whole)
    }

    fn pass(&mut self, end: u64) {
        self.done = end.saturating_sub(self.begin) as usize;
        self.head.clear();
    }
}

/// Keeps what goes past.
struct Tee<'k, R> {
    input: R,
    kept: &'k RefCell<Kept>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut kept = self.kept.borrow_mut();
        if kept.is_told {
            return Err(io::Error::other("told to stop"));
        }
        let read = self.input.read(room)?;
        kept.take(room.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// What stands before a record and belongs to it.
#[derive(Default)]
struct Prefix {
    expires: Option<u64>,
    idle: Option<u64>,
    frequency: Option<u8>,
}

impl Prefix {
    fn see(&mut self, opcode: u8, body: &[u8]) {
        let mut raw = Raw::of(body);
        match opcode {
            OPCODE_EXPIRETIME_MS => self.expires = raw.bytes().map(u64::from_le_bytes).ok(),
            OPCODE_EXPIRETIME => {
                self.expires = raw.bytes().map(|bytes| 1000 * u64::from(u32::from_le_bytes(bytes))).ok()
            }
            OPCODE_IDLE => self.idle = raw.length().ok(),
            OPCODE_FREQ => self.frequency = raw.bytes().map(|[byte]| byte).ok(),
            _ => {}
        }
    }
}

struct Reader<'k, 'e> {
    kept: &'k RefCell<Kept>,
    each: &'e mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    /// Known once the magic went past.
    family: Option<Family>,
    templates: Templates,
    prefix: Prefix,
}

impl Reader<'_, '_> {
    fn see(&mut self, stretch: Stretch) {
        let is_told = {
            let kept = self.kept.borrow();
            kept.is_told || self.hand_on(&kept, stretch).is_break()
        };
        let mut kept = self.kept.borrow_mut();
        kept.is_told = is_told;
        kept.pass(stretch.end);
    }

    fn hand_on(&mut self, kept: &Kept, stretch: Stretch) -> ControlFlow<()> {
        // The first stretch is behind the magic, which is still there.
        let magic = || read_header(kept.bytes.get(..stretch.begin as usize)?).map(|peek| peek.header.family);
        let Some(family) = self.family.or_else(magic) else { return ControlFlow::Continue(()) };
        self.family = Some(family);
        let bytes = kept.of(stretch);
        let behind_opcode = bytes.get(1..).unwrap_or_default();
        match stretch.what {
            // One that is not kept is missed by the values that need it.
            What::Event { opcode: HASH_TEMPLATE } if family == Family::Redis => drop(self.templates.add(behind_opcode)),
            What::Event { .. } => {}
            What::Prefix { opcode } => self.prefix.see(opcode, behind_opcode),
            What::Record { type_byte, value, database } => {
                let Prefix { expires, idle, frequency } = std::mem::take(&mut self.prefix);
                let is_whole = bytes.len() as u64 == stretch.end - stretch.begin;
                let raw = bytes.get((value - stretch.begin) as usize..).filter(|_| is_whole);
                let value = raw.map(|raw| Value { type_byte, family, raw, templates: &self.templates });
                let (key, kind) = (Raw::of(behind_opcode).string().ok(), Kind::of(type_byte, family));
                return (self.each)(&Record { stretch, database, key, expires, idle, frequency, kind, value });
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
