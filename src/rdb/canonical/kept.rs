//! A record of a dump as it is kept: taken apart, and made again what stood in the file. Rules: format-spec/19-canonical-rdb.md.

use std::ops::Range;
use std::sync::Arc;

use super::super::coding::{Step, Stop};
use super::super::header::Family;
use super::super::reader::OPCODE_NO_EVICT;
use super::super::reader::{OPCODE_243, OPCODE_AUX, OPCODE_EXPIRETIME, OPCODE_EXPIRETIME_MS, OPCODE_FREQ, OPCODE_IDLE};
use super::super::strings::{StringForm, Strings, encode_length, text_of};
use super::super::value::{Known, pass_value};
use super::coding::{Stored, ToFile, take_string};
use super::record::Sides;
use super::{Hasher, NotCanonical, TemplateTags, Values, take_varint};

/// CANON-3: what the first byte of a kept record says beside the number of opcodes before it.
pub(super) const LARGE: u8 = 0x80;
pub(super) const AS_IT_STOOD: u8 = 0x40;
pub(super) const PREFIX_AS_IT_STOOD: u8 = 0x20;
pub(super) const HAS_ORDER: u8 = 0x10;
const OPCODES: u8 = 0x0f;
/// More opcodes before a record are kept as they stood.
pub(super) const OPCODES_MOST: usize = OPCODES as usize;

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
        if kept.large.is_none() && Kept::is_sorted(kept.value_tag()) {
            return Err(Stop::broken("sorted elements in a bucket, as they stood"));
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

    /// Whether its value is kept as it stood, but for its elements, which are sorted: their order is among those of large values.
    pub fn is_sorted(tag: [u8; 2]) -> bool {
        tag[0] & (AS_IT_STOOD | HAS_ORDER) == AS_IT_STOOD | HAS_ORDER
    }

    /// Whether its value is kept as it stood, but perhaps for the order of its elements.
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

    /// Whether the order of its elements is kept apart, beside those of other records.
    pub fn has_order(&self) -> bool {
        self.mode & (AS_IT_STOOD | HAS_ORDER) == HAS_ORDER
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
    pub(super) fn head(&self, clock: u64, sides: &Sides, strings: &mut impl Stored, out: &mut Vec<u8>) -> Step<()> {
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
pub(super) struct Writing<'v> {
    pub family: Family,
    pub hasher: Hasher,
    pub values: &'v Values,
}

pub(super) fn to_file<S: Stored>(
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
        if Kept::is_sorted(tag) {
            return Err(Stop::broken("sorted elements whose order is elsewhere").into());
        }
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
