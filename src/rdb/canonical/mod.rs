//! The canonical form of a dump: its records in the order of their keys, without what a restart or a save changes. Rules:
//! format-spec/19-canonical-rdb.md.
//!
//! Pure functions on bytes. [`Encoder`] makes of a record as it stands in the file what is kept of it, and proves that it comes
//! back; [`Decoder`] gives it back; [`Order`] tells where in the file it stood. What gathers records in buckets, and rebuilds
//! files from them, is the repository's.

mod coding;
mod elements;
mod gather;
mod kept;
mod name;
mod order;
mod record;
mod templates;

use std::sync::Arc;

use super::coding::{Cause, Step, Stop};
use super::strings::text_of;

pub use elements::{Collection, ElementAt};
pub use gather::{Batch, Gathered, Gatherer, Gathering, take_event};
pub use kept::{Decoder, Kept};
pub use name::{NAME, Namer, RecordName, Side};
pub use order::{ORDER_MAX, Order, OrderTokens, encode_order};
pub use record::{Encoded, Encoder, HandedOn, Limits, RecordAt, Sides};
pub use templates::TemplateTags;

/// What is to be read is not what a writer of the canonical form wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotCanonical(String);

impl From<Stop> for NotCanonical {
    fn from(stop: Stop) -> NotCanonical {
        NotCanonical(match stop.into_cause() {
            Cause::Unknown(what) | Cause::Broken(what) => what,
            Cause::Ended => "it ends early".into(),
            Cause::Input(error) => error.to_string(),
        })
    }
}

/// Hashes of names under a key of the repository, by which buckets are cut and orders told.
#[derive(Clone, Copy)]
pub struct Hasher {
    key: [u8; 32],
}

impl Hasher {
    /// Under this key.
    pub fn new(key: [u8; 32]) -> Hasher {
        Hasher { key }
    }

    /// CANON-4: the first four bytes of the keyed hash, the lowest first.
    pub fn hash(&self, name: &[u8]) -> u32 {
        let [first, second, third, fourth, ..] = *blake3::keyed_hash(&self.key, name).as_bytes();
        u32::from_le_bytes([first, second, third, fourth])
    }

    /// A key that follows from this one, for what this word says.
    fn derived(&self, word: &str) -> [u8; 16] {
        self.begin(word.as_bytes())
    }

    /// The begin of the keyed hash of a template's fields.
    fn tag(&self, bytes: &[u8]) -> templates::Tag {
        self.begin(bytes)
    }

    fn begin<const N: usize>(&self, bytes: &[u8]) -> [u8; N] {
        let hash = blake3::keyed_hash(&self.key, bytes);
        hash.as_bytes().first_chunk().copied().unwrap_or_else(|| unreachable!("a hash has 32 bytes"))
    }
}

/// How the values of a part are kept: in parts of layout 1 numbers that mean something only beside others are kept as they are,
/// those of templates and expiries of fields.
#[derive(Debug, Clone, Default)]
pub struct Values {
    /// Layout 1.
    pub is_unresolved: bool,
    /// The templates of hashes that the file has.
    pub templates: Arc<TemplateTags>,
}

/// The time of the save, in seconds since the epoch, if an event is the AUX field that tells it.
pub fn clock_of(event: &[u8]) -> Option<u64> {
    let value = event.strip_prefix(&[super::reader::OPCODE_AUX, 5])?.strip_prefix(b"ctime")?;
    let mut text = Vec::new();
    let is_known = text_of(value, &mut text).ok()?;
    is_known.then(|| str::from_utf8(&text).ok()?.parse().ok()).flatten()
}

/// Whether an AUX field belongs to the slot that begins with it, and so to no key.
pub fn is_slot_event(event: &[u8]) -> bool {
    event.strip_prefix(&[super::reader::OPCODE_AUX, 9]).is_some_and(|rest| rest.starts_with(b"slot-info"))
}

/// Appends a number in the form of the specification (LEB128).
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The number that some bytes begin with.
fn take_varint(rest: &mut &[u8]) -> Step<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first().ok_or_else(Stop::ended)?;
        *rest = behind;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits || (*byte == 0 && shift > 0) {
            return Err(Stop::broken("a number that is too long"));
        }
        number |= bits << shift;
        if *byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Stop::broken("a number that is too long"))
}

#[cfg(test)]
mod tests;
