//! A record of a dump: what stands before it, its key, its value; as it stands in the file, and as it is kept. Rules:
//! format-spec/19-canonical-rdb.md.

use std::ops::Range;
use std::sync::Arc;

use super::super::coding::{Step, Stop};
use super::super::header::Family;
use super::super::reader::OPCODE_NO_EVICT;
use super::super::reader::{OPCODE_243, OPCODE_AUX, OPCODE_EXPIRETIME, OPCODE_EXPIRETIME_MS, OPCODE_FREQ, OPCODE_IDLE};
use super::super::strings::{StringForm, Strings, encode_length, length_bytes, take_length, text_of};
use super::super::value::{Known, pass_value};
use super::coding::{AsTheyStood, Stored, ToCanonical, ToFile, put_string, take_string};
use super::{Hasher, NotCanonical, TemplateTags, Values, put_varint, take_varint};

/// CANON-3: what the first byte of a kept record says beside the number of opcodes before it.
const LARGE: u8 = 0x80;
const AS_IT_STOOD: u8 = 0x40;
const PREFIX_AS_IT_STOOD: u8 = 0x20;
const HAS_ORDER: u8 = 0x10;
const OPCODES: u8 = 0x0f;
/// More opcodes before a record are kept as they stood.
pub(super) const OPCODES_MOST: usize = OPCODES as usize;

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
    /// How long its value is, where that was handed on already, and `bytes` end before it.
    pub giant: Option<u64>,
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
    limit: usize,
    hasher: Hasher,
    strings: Strings,
    values: Values,
    stood: Vec<(u32, u32)>,
    again: Vec<u8>,
}

impl Encoder {
    /// For a dump of this family, saved at `clock` (seconds since the epoch, 0 if it does not say); values that are kept in
    /// more than `limit` bytes are large.
    pub fn new(family: Family, clock: u64, limit: usize, hasher: Hasher) -> Encoder {
        let (strings, values, stood, again) = (Strings::default(), Values::default(), Vec::new(), Vec::new());
        Encoder { family, clock, limit, hasher, strings, values, stood, again }
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
        let is_large = record.giant.is_some() || value > self.limit.min(room);
        if is_large {
            let value = encoded.body.split_off(head);
            put_varint(&mut encoded.body, record.giant.unwrap_or(value.len() as u64));
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
        if record.giant.is_some() {
            return Ok(AS_IT_STOOD);
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
        let mut passage =
            ToCanonical { raw, at: 0, out, from, strings, stood, orders, hasher, name, templates, earliest };
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

/// A kept record, taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    mode: u8,
    opcodes: &'a [u8],
    /// What the opcodes have of their own, or the prefix as it stood.
    prefix: &'a [u8],
    type_byte: u8,
    form: StringForm,
    key: &'a [u8],
    /// Its value as it is kept, or how long that is.
    value: &'a [u8],
    large: Option<u64>,
}

impl<'a> Kept<'a> {
    /// Takes one apart.
    pub fn of(body: &'a [u8]) -> Result<Kept<'a>, NotCanonical> {
        Ok(Self::parse(body)?)
    }

    fn parse(body: &'a [u8]) -> Step<Kept<'a>> {
        let (mut kept, mut rest) = Self::up_to_key(body)?;
        if kept.mode & LARGE != 0 {
            kept.large = Some(take_varint(&mut rest)?);
        }
        if kept.large.is_some() && !rest.is_empty() {
            return Err(Stop::broken("bytes behind a large record"));
        }
        kept.value = rest;
        Ok(kept)
    }

    /// What stands before its value, and what is left.
    fn up_to_key(body: &'a [u8]) -> Step<(Kept<'a>, &'a [u8])> {
        let (mode, mut rest) = body.split_first().ok_or_else(Stop::ended)?;
        let (opcodes, prefix) = match mode & PREFIX_AS_IT_STOOD {
            0 => {
                let opcodes = take(&mut rest, u64::from(mode & OPCODES))?;
                let from = rest;
                opcodes.iter().try_for_each(|opcode| pass_prefix(*opcode, &mut rest).map(drop))?;
                (opcodes, from.get(..from.len() - rest.len()).unwrap_or_default())
            }
            _ if mode & OPCODES != 0 => return Err(Stop::broken("opcodes beside a prefix as it stood")),
            _ => {
                let length = take_varint(&mut rest)?;
                (&[][..], take(&mut rest, length)?)
            }
        };
        let type_byte = *take(&mut rest, 1)?.first().ok_or_else(Stop::ended)?;
        let (form, key) = take_string(&mut rest)?;
        Ok((Kept { mode: *mode, opcodes, prefix, type_byte, form, key, value: &[], large: None }, rest))
    }

    /// Where in a kept record what is kept of its key stands.
    pub fn key_in(body: &'a [u8]) -> Option<Range<usize>> {
        let (kept, behind) = Self::up_to_key(body).ok()?;
        let end = body.len() - behind.len();
        Some(end - kept.key.len()..end)
    }

    /// By what it is sorted: its database, big-endian, and its key, as it is stored where its text is not known.
    pub fn place(&self, database: u32) -> Vec<u8> {
        let mut place = Vec::with_capacity(4 + self.key.len());
        self.put_place(database, &mut place);
        place
    }

    /// Appends the same.
    pub fn put_place(&self, database: u32, place: &mut Vec<u8>) {
        place.extend_from_slice(&database.to_be_bytes());
        let is_known = self.form == StringForm::Verbatim && text_of(self.key, place) == Ok(true);
        if !is_known {
            place.extend_from_slice(self.key);
        }
    }

    /// Whether the text of its key is known: then that is what it is sorted by.
    pub fn is_named(&self) -> bool {
        self.form != StringForm::Verbatim || text_of(self.key, &mut Vec::new()) == Ok(true)
    }

    /// The type as the file has it.
    pub fn type_byte(&self) -> u8 {
        self.type_byte
    }

    /// Whether its value is kept as it stood.
    pub fn is_as_it_stood(tag: [u8; 2]) -> bool {
        tag[0] & AS_IT_STOOD != 0
    }

    /// What is to be known of a value to make it what it was.
    pub fn value_tag(&self) -> [u8; 2] {
        [self.mode, self.type_byte]
    }

    /// Bytes its value takes elsewhere, where it is too long for a bucket.
    pub fn large(&self) -> Option<u64> {
        self.large
    }

    /// The value, where it is not elsewhere.
    pub fn value(&self) -> &'a [u8] {
        self.value
    }

    /// Whether the order of its elements is kept apart.
    pub fn has_order(&self) -> bool {
        self.mode & HAS_ORDER != 0
    }

    /// How many last accesses and frequencies are kept of it apart.
    pub fn sides(&self) -> (usize, usize) {
        let count = |wanted| self.opcodes.iter().filter(|opcode| **opcode == wanted).count();
        (count(OPCODE_IDLE), count(OPCODE_FREQ))
    }

    /// What stands before the type, where it is kept as it stood: then [`Kept::expiry`] does not know.
    pub fn prefix_as_it_stood(&self) -> Option<&'a [u8]> {
        (self.mode & PREFIX_AS_IT_STOOD != 0).then_some(self.prefix)
    }

    /// When it expires: milliseconds since the epoch.
    pub fn expiry(&self) -> Option<u64> {
        let (mut rest, mut expiry) = (self.prefix, None);
        for opcode in self.opcodes {
            let body = pass_prefix(*opcode, &mut rest).ok()?;
            let number = || body.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            match *opcode {
                OPCODE_EXPIRETIME_MS => expiry = Some(number()),
                OPCODE_EXPIRETIME => expiry = Some(number().saturating_mul(1000)),
                _ => {}
            }
        }
        expiry
    }

    /// All before the value, as it stood in the file.
    fn head(&self, clock: u64, sides: &Sides, strings: &mut impl Stored, out: &mut Vec<u8>) -> Step<()> {
        let (mut idle, mut frequencies) = (sides.idle.iter(), sides.frequencies.iter());
        if self.mode & PREFIX_AS_IT_STOOD != 0 {
            out.extend_from_slice(self.prefix);
        }
        let mut rest = self.prefix;
        for opcode in self.opcodes {
            out.push(*opcode);
            let body = pass_prefix(*opcode, &mut rest)?;
            match *opcode {
                OPCODE_IDLE => {
                    let last = idle.next().ok_or_else(Stop::ended)?;
                    encode_length((clock as u32).wrapping_sub(*last) as usize, out);
                }
                OPCODE_FREQ => out.push(*frequencies.next().ok_or_else(Stop::ended)?),
                _ => out.extend_from_slice(body),
            }
        }
        out.push(self.type_byte);
        strings.put(self.form, self.key, out)
    }
}

fn take<'a>(rest: &mut &'a [u8], count: u64) -> Step<&'a [u8]> {
    let taken = usize::try_from(count).ok().and_then(|count| rest.split_at_checked(count));
    let (taken, behind) = taken.ok_or_else(Stop::ended)?;
    *rest = behind;
    Ok(taken)
}

/// What an opcode has of its own in the record.
fn pass_prefix<'a>(opcode: u8, rest: &mut &'a [u8]) -> Step<&'a [u8]> {
    let count = match opcode {
        OPCODE_EXPIRETIME_MS => 8,
        OPCODE_EXPIRETIME => 4,
        OPCODE_NO_EVICT | OPCODE_IDLE | OPCODE_FREQ => 0,
        OPCODE_243 | OPCODE_AUX => take_varint(rest)?,
        other => return Err(Stop::broken(format!("the opcode {other} before a key"))),
    };
    take(rest, count)
}

/// What it takes to write values down as they stood.
#[derive(Clone, Copy)]
struct Writing<'v> {
    family: Family,
    hasher: Hasher,
    values: &'v Values,
}

fn to_file<S: Stored>(
    kept: &[u8],
    type_byte: u8,
    orders: Option<&[u8]>,
    Writing { family, hasher, values }: Writing<'_>,
    strings: &mut S,
    out: &mut Vec<u8>,
) -> Step<()> {
    // What is in no collection has a name already: only of elements names are hashed.
    let mut passage = ToFile { rest: kept, out, strings, orders, hasher, name: Some(0), values, earliest: 0 };
    pass_value(&mut passage, type_byte, family, &mut Known::default())?;
    match passage.rest.is_empty() && passage.orders.is_none_or(<[u8]>::is_empty) {
        true => Ok(()),
        false => Err(Stop::broken("bytes behind a value")),
    }
}

/// Makes records again of what is kept of them. Memory: 256 KiB.
pub struct Decoder {
    family: Family,
    clock: u64,
    hasher: Hasher,
    values: Values,
    strings: Strings,
}

impl Decoder {
    /// For a dump of this family, saved at `clock`.
    pub fn new(family: Family, clock: u64, hasher: Hasher, values: Values) -> Decoder {
        Decoder { family, clock, hasher, values, strings: Strings::default() }
    }

    /// From here on values may name these templates.
    pub fn know_templates(&mut self, templates: &Arc<TemplateTags>) {
        self.values.templates.clone_from(templates);
    }

    /// Appends a record up to its value as it stood in the file.
    pub fn head(&mut self, kept: Kept<'_>, sides: &Sides, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
        Ok(kept.head(self.clock, sides, &mut self.strings, out)?)
    }

    /// Appends its value: `tag` is what its record says of it, `value` what is kept of it, in the bucket or elsewhere; `order`
    /// that of its elements.
    pub fn value(&mut self, tag: [u8; 2], value: &[u8], order: &[u8], out: &mut Vec<u8>) -> Result<(), NotCanonical> {
        let [mode, type_byte] = tag;
        if mode & AS_IT_STOOD != 0 {
            out.extend_from_slice(value);
            return Ok(());
        }
        let writing = Writing { family: self.family, hasher: self.hasher, values: &self.values };
        Ok(to_file(value, type_byte, Some(order), writing, &mut self.strings, out)?)
    }

    /// The same with its elements in the order in which they are kept: the same value to whoever reads it, not the same bytes.
    pub fn value_as_kept(&mut self, tag: [u8; 2], value: &[u8], out: &mut Vec<u8>) -> Result<(), NotCanonical> {
        let [mode, type_byte] = tag;
        if mode & AS_IT_STOOD != 0 {
            out.extend_from_slice(value);
            return Ok(());
        }
        let writing = Writing { family: self.family, hasher: self.hasher, values: &self.values };
        Ok(to_file(value, type_byte, None, writing, &mut self.strings, out)?)
    }
}
