//! Names of records as they stand in a file: equal names, equal bytes, but for what a save changes without a write.

use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

use super::super::header::Family;
use super::super::reader::{OPCODE_FREQ, OPCODE_IDLE};
use super::super::strings::{length_bytes, take_length};
use super::Hasher;
use super::kept::OPCODES_MOST;
use super::record::RecordAt;

/// Bytes of a name.
pub const NAME: usize = 12;
/// Records of more bytes have none: they are few, and may be large.
const NAMED_LONGEST: usize = 1 << 20;

/// The word that the key of names is derived by.
const KEY: &str = "redkeep 2026-11 names of records";

/// What stands for the bytes of a record, its database, and whose dump it is of: the begin of POLYVAL (RFC 8452) of them under a
/// key of the repository. Names never leave the host, and their key never the repository: of whoever does not know it, no two
/// records of 2^k bytes have one name but with a chance of 2^(k - 100).
pub type RecordName = [u8; NAME];

/// What a save changes without a write, of a record that has at most one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Neither.
    None,
    /// When it was accessed last: seconds since the epoch, modulo 2^32.
    Idle(u32),
    /// How often it is accessed.
    Frequency(u8),
}

/// Names records. Memory: the longest one that has a name, 1 MiB.
pub struct Namer {
    family: Family,
    clock: u64,
    /// Before its first block.
    hash: Polyval,
    bytes: Vec<u8>,
}

impl Namer {
    /// For a dump of this family, saved at `clock` (seconds since the epoch, 0 if it does not say).
    pub fn new(family: Family, clock: u64, hasher: Hasher) -> Namer {
        Namer { family, clock, hash: Polyval::new(&hasher.derived(KEY).into()), bytes: Vec::new() }
    }

    /// The name of a record, and what is not in it; `None` for one that is always to be made canonical anew: a very long one,
    /// one with more before it than servers write, or a hash that goes by a template.
    pub fn name(&mut self, record: RecordAt<'_>) -> Option<(RecordName, Side)> {
        let type_at = record.prefix.last().map_or(0, |end| *end as usize);
        // The same bytes may mean another template.
        let is_of_template = self.family == Family::Redis && matches!(record.bytes.get(type_at), Some(30 | 32));
        let is_usual = record.giant.is_none() && record.prefix.len() <= OPCODES_MOST && !is_of_template;
        if !is_usual || record.bytes.len() > NAMED_LONGEST {
            return None;
        }
        self.bytes.clear();
        self.bytes.push(match self.family {
            Family::Redis => b'R',
            Family::Valkey => b'V',
        });
        self.bytes.extend_from_slice(&record.database.to_be_bytes());
        let (mut side, mut begin) = (Side::None, 0);
        for end in record.prefix {
            let opcode = record.bytes.get(begin..*end as usize)?;
            begin = *end as usize;
            let (byte, body) = opcode.split_first()?;
            match (*byte, side) {
                (OPCODE_IDLE, Side::None) => side = Side::Idle(self.last_access(body)?),
                (OPCODE_FREQ, Side::None) => side = Side::Frequency(*body.first()?),
                (OPCODE_IDLE | OPCODE_FREQ, _) => return None,
                _ => {
                    self.bytes.extend_from_slice(opcode);
                    continue;
                }
            }
            self.bytes.push(*byte);
        }
        self.bytes.extend_from_slice(record.bytes.get(begin..)?);
        Some((self.name_of_bytes(), side))
    }

    fn name_of_bytes(&self) -> RecordName {
        let mut hash = self.hash.clone();
        hash.update_padded(&self.bytes);
        hash.update(&[(self.bytes.len() as u128).to_le_bytes().into()]);
        let tag: [u8; 16] = hash.finalize().into();
        tag.first_chunk().copied().unwrap_or_else(|| unreachable!("a tag has 16 bytes"))
    }

    fn last_access(&self, mut body: &[u8]) -> Option<u32> {
        let whole = body.len();
        let seconds = take_length(&mut body).ok()?;
        (length_bytes(seconds) == whole && seconds <= u64::from(u32::MAX))
            .then(|| self.clock.wrapping_sub(seconds) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::HandedOn;
    use super::*;

    /// POLYVAL, bit by bit as RFC 8452 (section 3) defines it, for the blocks of a message.
    fn polyval(key: [u8; 16], blocks: &[[u8; 16]]) -> [u8; 16] {
        let dot = |one: u128, other: u128| {
            // Of a product each bit is divided by x once: x^-1 is x^127 + x^126 + x^120 + 1 shifted down.
            (0..128).fold(0u128, |sum, bit| {
                let sum = if one >> bit & 1 == 1 { sum ^ other } else { sum };
                if sum & 1 == 1 { sum >> 1 ^ (0b1110_0001 << 120) } else { sum >> 1 }
            })
        };
        let key = u128::from_le_bytes(key);
        blocks.iter().fold(0, |sum, block| dot(sum ^ u128::from_le_bytes(*block), key)).to_le_bytes()
    }

    fn name(prefix: &[&[u8]], rest: &[u8], database: u32) -> Option<(RecordName, Side)> {
        let ends: Vec<u32> = (1..=prefix.len()).map(|count| prefix[..count].concat().len() as u32).collect();
        let bytes = [&prefix.concat(), rest].concat();
        let value = prefix.concat().len() + 3;
        let record = RecordAt { bytes: &bytes, prefix: &ends, value, database, giant: None };
        Namer::new(Family::Redis, 1_000, Hasher { key: [7; 32] }).name(record)
    }

    /// LOCAL-35
    #[test]
    fn a_name_is_polyval_of_family_database_record_and_length() {
        let word = b"redkeep 2026-11 names of records";
        let key: [u8; 16] = *blake3::keyed_hash(&[7; 32], word).as_bytes().first_chunk().unwrap();
        let record = b"\0\x01k\x05value, and more than one block of it";
        let message = [&b"R\0\0\0\x03"[..], record].concat();
        let mut blocks: Vec<[u8; 16]> = message
            .chunks(16)
            .map(|chunk| {
                let mut block = [0; 16];
                block[..chunk.len()].copy_from_slice(chunk);
                block
            })
            .collect();
        blocks.push((message.len() as u128).to_le_bytes());
        let tag = polyval(key, &blocks);
        assert_eq!(name(&[], record, 3), Some((*tag.first_chunk().unwrap(), Side::None)));
    }

    /// LOCAL-35
    #[test]
    fn what_a_save_changes_is_no_part_of_a_name_and_all_else_is() {
        let record = b"\0\x01k\x05value";
        let plain = name(&[], record, 0).unwrap();
        let idle = |seconds: u8| name(&[&[OPCODE_IDLE, seconds]], record, 0).unwrap();
        assert_eq!((idle(9).0, idle(9).1), (idle(10).0, Side::Idle(991)));
        assert_eq!(name(&[&[OPCODE_FREQ, 5]], record, 0).unwrap().1, Side::Frequency(5));
        let others = [name(&[], b"\0\x01k\x05valuf", 0), name(&[], b"\0\x01k\x05value\0", 0), name(&[], record, 1)];
        assert!(others.iter().all(|other| other.unwrap().0 != plain.0) && idle(9).0 != plain.0);
        assert_eq!(name(&[&[OPCODE_IDLE, 1], &[OPCODE_IDLE, 1]], record, 0), None);
    }

    /// LOCAL-35
    #[test]
    fn what_the_same_bytes_may_not_mean_the_same_of_has_no_name() {
        let of = |family, prefix: &[u8], record: &[u8], giant| {
            let (bytes, ends) = ([prefix, record].concat(), [prefix.len() as u32]);
            let prefix = if prefix.is_empty() { &[][..] } else { &ends };
            let record = RecordAt { bytes: &bytes, prefix, value: bytes.len() - 2, database: 0, giant };
            Namer::new(family, 1_000, Hasher { key: [7; 32] }).name(record)
        };
        for of_template in [b"\x1e\x01k\x01v", b"\x20\x01k\x01v"] {
            assert_eq!(of(Family::Redis, b"", of_template, None), None, "another file has another template there");
            assert!(of(Family::Valkey, b"", of_template, None).is_some(), "Valkey has no templates");
        }
        let record = b"\0\x01k\x01v";
        assert_eq!(
            of(Family::Redis, b"", record, Some(HandedOn { length: 50 << 20, is_sorted: false })),
            None,
            "its value is not among its bytes"
        );
        assert_eq!(of(Family::Redis, &[OPCODE_IDLE, 0x40, 5], record, None), None, "more bytes than it needs");
        assert!(of(Family::Redis, &[OPCODE_IDLE, 5], record, None).is_some());
        assert_ne!(of(Family::Redis, b"", record, None), of(Family::Valkey, b"", record, None));
    }
}
