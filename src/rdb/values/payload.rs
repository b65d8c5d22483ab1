//! What RESTORE takes: a type, the bytes of a value as in the file, a version of the format and a checksum.

use super::each::{end_of, template_of};
use super::packed::Elements;
use super::raw::Raw;
use super::{Unreadable, Value};
use crate::rdb::header::Family;
use crate::rdb::source::CRC64;
use crate::rdb::strings::{encode_length, encode_plain};
use crate::rdb::value::Kind;

/// Why there is nothing RESTORE would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPayload {
    /// No server takes it.
    #[error("no server takes {0}")]
    NotTaken(&'static str),
    /// It would have to be another type, and cannot be read to make it one.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// A hash as a table of names and values.
const HASH: u8 = 4;

pub(super) fn payload(value: &Value<'_>, version: u16) -> Result<Vec<u8>, NoPayload> {
    let mut payload = Vec::with_capacity(value.raw.len() + 11);
    match (value.type_byte, value.family) {
        (30, Family::Redis) => packed_of_template(value, &mut payload)?,
        (32, Family::Redis) => of_template(value, &mut payload)?,
        (6, _) => return Err(NoPayload::NotTaken("a module's value of a 4.0 release candidate")),
        _ if value.kind().is_none() => return Err(NoPayload::NotTaken("a value of a type that is not known")),
        _ if value.kind() == Some(Kind::Other) => {
            return Err(NoPayload::NotTaken("a value of a type that only special builds have"));
        }
        _ => {
            payload.push(value.type_byte);
            payload.extend_from_slice(value.raw);
        }
    }
    Ok(end_payload(payload, version))
}

/// Appends the version and the checksum.
pub(super) fn end_payload(mut payload: Vec<u8>, version: u16) -> Vec<u8> {
    payload.extend_from_slice(&version.to_le_bytes());
    let checksum = crc_fast::checksum(CRC64, &payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    payload
}

/// The byte that functions of a dump begin with.
pub const FUNCTION: u8 = crate::rdb::reader::OPCODE_FUNCTION2;

/// What FUNCTION RESTORE takes to make functions: them as they stand in a dump, each with its opcode, a version of the format
/// and a checksum. Servers since 7.0 have functions, and take the version of that.
pub fn functions_payload(functions: &[u8]) -> Vec<u8> {
    end_payload(functions.to_vec(), 10)
}

fn packed_of_template(value: &Value<'_>, payload: &mut Vec<u8>) -> Result<(), Unreadable> {
    let mut raw = Raw::of(value.raw);
    let blob = raw.string()?;
    raw.end()?;
    let mut elements = Elements::of_listpack(&blob)?;
    let names = template_of(&mut elements, value.templates)?;
    payload.push(HASH);
    encode_length(names.len(), payload);
    for name in names {
        encode_plain(name, payload);
        encode_plain(&elements.need()?.text(), payload);
    }
    end_of(&mut elements)
}

/// The values stay as they are stored.
fn of_template(value: &Value<'_>, payload: &mut Vec<u8>) -> Result<(), Unreadable> {
    let mut raw = Raw::of(value.raw);
    let number = raw.length()?;
    let names = value.templates.need(number)?;
    payload.push(HASH);
    encode_length(names.len(), payload);
    for name in names {
        encode_plain(name, payload);
        payload.extend_from_slice(raw.stored_string()?);
    }
    raw.end()
}

/// The first version of the format that has this type, as [`Value::payload`] writes it; `None` if it is not known. Servers
/// of Valkey write 11 up to their 8, and from 9 on take no version of 12 to 79.
pub fn least_version(type_byte: u8, family: Family) -> Option<u16> {
    Some(match (type_byte, family) {
        // Servers check versions since 2.6, which is 6.
        (0..=4 | 9..=13, _) | (30 | 32, Family::Redis) => 6,
        (14, _) => 7,
        (5 | 7, _) => 8,
        (15, _) => 9,
        (16..=19, _) => 10,
        (20 | 21, _) => 11,
        (22..=25, Family::Redis) => 12,
        (22, Family::Valkey) => 80,
        (23, Family::Valkey) => 81,
        (26, Family::Redis) => 13,
        (27 | 28, Family::Redis) => 14,
        _ => return None,
    })
}
