//! A stretch is what a dump consists of: a record, or an opcode with what belongs to it.

use super::header::Family;
use super::reader::{OPCODE_243, OPCODE_EXPIRETIME, OPCODE_EXPIRETIME_MS, OPCODE_FREQ, OPCODE_IDLE, OPCODE_NO_EVICT};

/// Some bytes of a dump. Stretches follow each other without gaps: the first begins behind the magic, and behind the last is
/// the EOF mark, or what could not be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Offset in the file of its first byte: the type or the opcode.
    pub begin: u64,
    /// Offset of the byte after its last.
    pub end: u64,
    /// What it is.
    pub what: What,
}

/// What a stretch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A key and its value.
    Record {
        /// The type as the file has it; what it means depends on the [`Family`].
        type_byte: u8,
        /// Offset of the value: the key stands between the type and this.
        value: u64,
        /// The database it is in.
        database: u64,
    },
    /// What belongs to the next record, whatever stands between: its expiry, idle time, frequency, metadata, that it stays.
    Prefix {
        /// The opcode as the file has it.
        opcode: u8,
    },
    /// What belongs to the file, to a database or to a slot. Some servers write AUX fields that belong to the key before or
    /// after: they are events too.
    Event {
        /// The opcode as the file has it.
        opcode: u8,
    },
}

impl What {
    pub(super) fn of_opcode(opcode: u8, family: Family) -> What {
        match opcode {
            OPCODE_EXPIRETIME_MS | OPCODE_EXPIRETIME | OPCODE_IDLE | OPCODE_FREQ => What::Prefix { opcode },
            OPCODE_NO_EVICT | OPCODE_243 if family == Family::Redis => What::Prefix { opcode },
            _ => What::Event { opcode },
        }
    }
}

#[cfg(test)]
mod tests;
