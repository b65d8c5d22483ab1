//! A record of a dump: what stands before it, its key, its value; from the file to what is kept of it. Rules:
//! format-spec/19-canonical-rdb.md.

use std::sync::Arc;

use super::super::coding::{Step, Stop};
use super::super::header::Family;
use super::super::reader::{OPCODE_EXPIRETIME, OPCODE_EXPIRETIME_MS, OPCODE_FREQ, OPCODE_IDLE, OPCODE_NO_EVICT};
use super::super::strings::{Strings, length_bytes, take_length};
use super::super::value::{Known, pass_value};
use super::coding::{AsTheyStood, ToCanonical, put_string};
use super::kept::{AS_IT_STOOD, HAS_ORDER, Kept, LARGE, OPCODES_MOST, PREFIX_AS_IT_STOOD, Writing, to_file};
use super::{Hasher, NotCanonical, TemplateTags, Values, put_varint};

/// A record takes at most so many bytes in its bucket: with the length before it they are a chunk.
const BODY_LONGEST: usize = (1 << 20) - 8;
/// What was longer is let go of before the next record.
const HELD: usize = 1 << 20;
/// The most bytes of a number in it.
const LENGTH: usize = 10;

/// Where a record is in some bytes of a dump, and what belongs to it.
#[derive(Debug, Clone, Copy)]
pub struct RecordAt<'a> {
    /// From the first opcode that belongs to it to the end of its value.
    pub bytes: &'a [u8],
    /// Where each of these opcodes ends, in `bytes`; the last one is where the type stands.
    pub prefix: &'a [u32],
    /// Where the value begins.
    pub value: usize,
    /// The database it is in.
    pub database: u32,
    /// Its value, where that was handed on already, and `bytes` end before it.
    pub giant: Option<HandedOn>,
}

/// A value that was handed on before its record came.
#[derive(Debug, Clone, Copy)]
pub struct HandedOn {
    /// How many bytes it has.
    pub length: u64,
    /// Its elements were sorted.
    pub is_sorted: bool,
}

/// How much is made canonical at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Values that are kept in more bytes are large.
    pub value: usize,
    /// The value of a record that takes more bytes in the file is handed on as it stands while it is read.
    pub record: usize,
    /// Collections of more elements are not made canonical: sorting them takes 200 bytes an element for a moment, and their
    /// order, 3 to 4 bytes an element, waits with the record.
    pub elements: u64,
}

impl Limits {
    /// Where values of so many bytes fit into a bucket: of 256 KiB, records of 48 MiB and 2^20 elements, which are the most.
    pub fn of(value: usize) -> Limits {
        let most = Limits::default();
        let (record, elements) = (value.saturating_mul(192), (value as u64).saturating_mul(4));
        Limits { value, record: record.min(most.record), elements: elements.min(most.elements) }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { value: 256 << 10, record: 48 << 20, elements: 1 << 20 }
    }
}

impl<'a> RecordAt<'a> {
    /// Its type and its key, as they stand in the file.
    pub fn type_and_key(&self) -> &'a [u8] {
        let type_at = self.prefix.last().map_or(0, |end| *end as usize);
        self.bytes.get(type_at..self.value).unwrap_or_default()
    }
}

/// What saves change without a write, and restarts: kept apart from the record.
///
/// RECIPE-8: last accesses in 32 bits, frequencies in one byte each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sides {
    /// Last accesses: seconds since the epoch, modulo 2^32.
    pub idle: Vec<u32>,
    /// Frequencies of access.
    pub frequencies: Vec<u8>,
    /// The order of its elements, behind its length.
    pub order: Vec<u8>,
}

/// A record as it is kept.
#[derive(Debug, Clone, Default)]
pub struct Encoded {
    /// By what it is sorted: its database, big-endian, and its key.
    pub place: Vec<u8>,
    /// What goes into the bucket.
    pub body: Vec<u8>,
    /// The value, where it is too long for a bucket.
    pub large: Option<Vec<u8>>,
    /// What is kept apart.
    pub sides: Sides,
}

impl Encoded {
    /// The type of its value, where that is large and kept as it stood.
    pub fn type_as_it_stood(&self) -> Option<u8> {
        self.large.as_ref()?;
        let kept = Kept::of(&self.body).ok()?;
        Kept::is_as_it_stood(kept.value_tag()).then_some(kept.type_byte())
    }

    /// Its value, which is kept as it stood, is kept with its elements sorted.
    pub fn sort_large(&mut self, sorted: Vec<u8>) {
        self.body.iter_mut().take(1).for_each(|mode| *mode |= HAS_ORDER);
        self.large = Some(sorted);
    }

    fn clear(&mut self) {
        let Encoded { place, body, large, sides: Sides { idle, frequencies, order } } = self;
        for bytes in [place, body, frequencies, order] {
            bytes.clear();
            bytes.shrink_to(HELD);
        }
        idle.clear();
        *large = None;
    }
}

/// Makes records into what is kept of them. Memory: 256 KiB, and a few times the longest record.
pub struct Encoder {
    family: Family,
    clock: u64,
    limits: Limits,
    hasher: Hasher,
    strings: Strings,
    values: Values,
    stood: Vec<(u32, u32)>,
    again: Vec<u8>,
}

impl Encoder {
    /// For a dump of this family, saved at `clock` (seconds since the epoch, 0 if it does not say).
    pub fn new(family: Family, clock: u64, limits: Limits, hasher: Hasher) -> Encoder {
        let (strings, values, stood, again) = (Strings::default(), Values::default(), Vec::new(), Vec::new());
        Encoder { family, clock, limits, hasher, strings, values, stood, again }
    }

    /// From here on records may name these templates.
    pub fn know_templates(&mut self, templates: &Arc<TemplateTags>) {
        self.values.templates.clone_from(templates);
    }

    /// CANON-1: what is kept of a record, proved by making the record of it again.
    pub fn encode(&mut self, record: RecordAt<'_>) -> Result<Encoded, NotCanonical> {
        let mut encoded = Encoded::default();
        self.encode_into(record, &mut encoded)?;
        Ok(encoded)
    }

    /// The same, put where that of another record was: many records take no more memory than one.
    pub fn encode_into(&mut self, record: RecordAt<'_>, encoded: &mut Encoded) -> Result<(), NotCanonical> {
        encoded.clear();
        let type_at = record.prefix.last().map_or(0, |end| *end as usize);
        let type_byte = *record.bytes.get(type_at).ok_or_else(Stop::ended)?;
        let mut mode = self.prefix(record, encoded);
        let key = record.bytes.get(type_at + 1..record.value).ok_or_else(Stop::ended)?;
        encoded.body.push(type_byte);
        let used = put_string(key, &mut self.strings, &mut encoded.body, &mut None)?;
        let head = encoded.body.len();
        let room = BODY_LONGEST.checked_sub(head).filter(|room| *room >= LENGTH);
        let room = room.ok_or_else(|| Stop::unknown("a key too long for a bucket"))?;
        mode |= self.value(record, type_byte, encoded)?;
        let value = encoded.body.len() - head;
        let is_large = record.giant.is_some() || value > self.limits.value.min(room);
        if is_large {
            let value = encoded.body.split_off(head);
            put_varint(&mut encoded.body, record.giant.map_or(value.len() as u64, |giant| giant.length));
            encoded.large = record.giant.is_none().then_some(value);
        }
        if let Some(first) = encoded.body.first_mut() {
            *first |= mode | if is_large { LARGE } else { 0 };
        }
        let kept = Kept::of(&encoded.body)?;
        kept.put_place(record.database, &mut encoded.place);
        // Only the head: the value was proved by itself.
        self.again.clear();
        let mut strings = AsTheyStood { raw: key, stood: &[(0, used as u32)] };
        let decoded = kept.head(self.clock, &encoded.sides, &mut strings, &mut self.again);
        match decoded.is_ok() && record.bytes.get(..record.value) == Some(&self.again[..]) {
            true => Ok(()),
            false => Err(Stop::broken("a key that does not come back").into()),
        }
    }

    /// What stands before the type.
    fn prefix(&self, record: RecordAt<'_>, encoded: &mut Encoded) -> u8 {
        encoded.body.push(0);
        let (from, sides) = (encoded.body.len(), &mut encoded.sides);
        if put_prefix(record, self.clock, &mut encoded.body, sides).is_ok() {
            return record.prefix.len() as u8;
        }
        encoded.body.truncate(from);
        (sides.idle, sides.frequencies) = (Vec::new(), Vec::new());
        let prefix = record.prefix.last().and_then(|end| record.bytes.get(..*end as usize)).unwrap_or_default();
        put_varint(&mut encoded.body, prefix.len() as u64);
        encoded.body.extend_from_slice(prefix);
        PREFIX_AS_IT_STOOD
    }

    /// Appends the value to the body; says how it is kept.
    fn value(&mut self, record: RecordAt<'_>, type_byte: u8, encoded: &mut Encoded) -> Step<u8> {
        if let Some(giant) = record.giant {
            return Ok(if giant.is_sorted { AS_IT_STOOD | HAS_ORDER } else { AS_IT_STOOD });
        }
        let raw = record.bytes.get(record.value..).ok_or_else(Stop::ended)?;
        let (body, order) = (&mut encoded.body, &mut encoded.sides.order);
        let from = body.len();
        // What is not understood, or not written as servers write it, is kept as it stands.
        if self.canonical(type_byte, raw, body, order).is_err() {
            body.truncate(from);
            body.extend_from_slice(raw);
            order.clear();
            return Ok(AS_IT_STOOD);
        }
        Ok(if order.is_empty() { 0 } else { HAS_ORDER })
    }

    /// Appends the canonical form of a value, and proves that it is one.
    fn canonical(&mut self, type_byte: u8, raw: &[u8], out: &mut Vec<u8>, orders: &mut Vec<u8>) -> Step<()> {
        let from = out.len();
        self.stood.clear();
        let (strings, stood, hasher) = (&mut self.strings, &mut self.stood, self.hasher);
        let (templates, name, earliest) = (&*self.values.templates, None, 0);
        let most = self.limits.elements;
        let mut passage =
            ToCanonical { raw, at: 0, out, from, strings, stood, orders, hasher, most, name, templates, earliest };
        pass_value(&mut passage, type_byte, self.family, &mut Known::default())?;
        if passage.at != raw.len() {
            return Err(Stop::broken("bytes behind a value"));
        }
        // Its last string may have been a long one.
        passage.is_not_too_long()?;
        let kept = out.get(from..).unwrap_or_default();
        let mut strings = AsTheyStood { raw, stood: &self.stood };
        let writing = Writing { family: self.family, hasher, values: &self.values };
        self.again.clear();
        to_file(kept, type_byte, Some(orders), writing, &mut strings, &mut self.again)?;
        match self.again == raw {
            true => Ok(()),
            false => Err(Stop::broken("a value that does not come back")),
        }
    }
}

/// Opcodes, then what each has of its own.
fn put_prefix(record: RecordAt<'_>, clock: u64, out: &mut Vec<u8>, sides: &mut Sides) -> Step<()> {
    if record.prefix.len() > OPCODES_MOST {
        return Err(Stop::unknown("very many opcodes before a key"));
    }
    let begins = || std::iter::once(0).chain(record.prefix.iter().map(|end| *end as usize));
    let part = |(begin, end): (usize, &u32)| record.bytes.get(begin..*end as usize).unwrap_or_default();
    let parts = || begins().zip(record.prefix).map(part);
    out.extend(parts().filter_map(|part| part.first()));
    for part in parts() {
        let (opcode, mut body) = part.split_first().ok_or_else(Stop::ended)?;
        match *opcode {
            OPCODE_EXPIRETIME_MS | OPCODE_EXPIRETIME | OPCODE_NO_EVICT => out.extend_from_slice(body),
            OPCODE_FREQ => sides.frequencies.extend_from_slice(body),
            OPCODE_IDLE => {
                let (whole, seconds) = (body.len(), take_length(&mut body).map_err(|_| Stop::ended())?);
                if whole != length_bytes(seconds) || seconds > u64::from(u32::MAX) {
                    return Err(Stop::unknown("an idle time in more bytes than it needs"));
                }
                sides.idle.push(clock.wrapping_sub(seconds) as u32);
            }
            _ => {
                put_varint(out, body.len() as u64);
                out.extend_from_slice(body);
            }
        }
    }
    Ok(())
}
