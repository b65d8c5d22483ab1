//! Names of records as they stand in a file: equal names, equal bytes, but for what a save changes without a write.

use super::super::header::Family;
use super::super::reader::{OPCODE_FREQ, OPCODE_IDLE};
use super::super::strings::{encode_length, take_length};
use super::Hasher;
use super::record::{OPCODES_MOST, RecordAt};

/// Bytes of a name.
pub const NAME: usize = 12;
/// Records of more bytes have none: they are few, and may be large.
const NAMED_LONGEST: usize = 1 << 20;

/// What stands for the bytes of a record, its database, and whose dump it is of: the begin of a hash under the repository's key.
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
    hasher: Hasher,
    bytes: Vec<u8>,
}

impl Namer {
    /// For a dump of this family, saved at `clock` (seconds since the epoch, 0 if it does not say).
    pub fn new(family: Family, clock: u64, hasher: Hasher) -> Namer {
        Namer { family, clock, hasher, bytes: Vec::new() }
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
        Some((self.hasher.name(&self.bytes), side))
    }

    fn last_access(&self, mut body: &[u8]) -> Option<u32> {
        let whole = body;
        let seconds = take_length(&mut body).ok()?;
        let mut again = Vec::new();
        encode_length(seconds as usize, &mut again);
        (again == whole && seconds <= u64::from(u32::MAX)).then(|| self.clock.wrapping_sub(seconds) as u32)
    }
}
