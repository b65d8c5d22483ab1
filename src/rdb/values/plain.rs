//! The content of a value in the forms that most servers take: element by element, packed in nothing.

use std::ops::ControlFlow;

use super::payload::{NoPayload, end_payload};
use super::{Item, Value};
use crate::rdb::header::Family;
use crate::rdb::strings::{encode_length, encode_plain};
use crate::rdb::value::Kind;

/// Types of values as tables of their elements, and the versions of the format that have them.
const STRING: (u8, u16) = (0, 6);
const LIST: (u8, u16) = (1, 6);
const SET: (u8, u16) = (2, 6);
const ZSET: (u8, u16) = (5, 8);
const HASH: (u8, u16) = (4, 6);
/// A hash whose fields may expire: Redis from 7.4, Valkey from 9.0 on.
const EXPIRING_REDIS: (u8, u16) = (24, 12);
const EXPIRING_VALKEY: (u8, u16) = (22, 80);

/// A field of a hash.
struct Field {
    name: Vec<u8>,
    value: Vec<u8>,
    expires: Option<u64>,
}

pub(super) fn plain_payload(value: &Value<'_>, family: Family, keeps_expiry: bool) -> Result<Vec<u8>, NoPayload> {
    match value.kind() {
        Some(Kind::String) => elements(value, STRING, false),
        Some(Kind::List) => elements(value, LIST, true),
        Some(Kind::Set) => elements(value, SET, true),
        Some(Kind::Zset) => elements(value, ZSET, true),
        Some(Kind::Hash) => hash(value, family, keeps_expiry),
        Some(Kind::Stream | Kind::Array | Kind::Module | Kind::Other) | None => {
            Err(NoPayload::NotTaken("it in another form than the one it is stored in"))
        }
    }
}

fn elements(value: &Value<'_>, (type_byte, version): (u8, u16), is_counted: bool) -> Result<Vec<u8>, NoPayload> {
    let (mut count, mut body) = (0, Vec::with_capacity(value.raw.len()));
    value.each(&mut |item| {
        count += 1;
        match item {
            Item::Text(text) | Item::Element(text) => encode_plain(text, &mut body),
            Item::Member { member, score } => {
                encode_plain(member, &mut body);
                body.extend_from_slice(&score.to_le_bytes());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    let mut payload = vec![type_byte];
    if is_counted {
        encode_length(count, &mut payload);
    }
    payload.append(&mut body);
    Ok(end_payload(payload, version))
}

fn hash(value: &Value<'_>, family: Family, keeps_expiry: bool) -> Result<Vec<u8>, NoPayload> {
    let (mut fields, mut has_paths) = (Vec::new(), false);
    value.each(&mut |item| {
        match item {
            Item::Field { name, value, expires } => {
                let expires = expires.filter(|_| keeps_expiry);
                fields.push(Field { name: name.to_vec(), value: value.to_vec(), expires });
            }
            Item::Path(_) => has_paths = true,
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    if has_paths {
        return Err(NoPayload::NotTaken("a hash of hashes in another form"));
    }
    let earliest = fields.iter().filter_map(|field| field.expires).min();
    let (type_byte, version) = match (earliest, family) {
        (None, _) => HASH,
        (Some(_), Family::Redis) => EXPIRING_REDIS,
        (Some(_), Family::Valkey) => EXPIRING_VALKEY,
    };
    let mut payload = vec![type_byte];
    if let (Some(earliest), Family::Redis) = (earliest, family) {
        payload.extend_from_slice(&earliest.to_le_bytes());
    }
    encode_length(fields.len(), &mut payload);
    for Field { name, value, expires } in &fields {
        if let (Some(earliest), Family::Redis) = (earliest, family) {
            // None, or one more than it is after the earliest.
            let after = expires.map_or(0, |expires| (expires - earliest).saturating_add(1));
            encode_length(usize::try_from(after).unwrap_or(usize::MAX), &mut payload);
        }
        encode_plain(name, &mut payload);
        encode_plain(value, &mut payload);
        if let (Some(_), Family::Valkey) = (earliest, family) {
            let moment = expires.and_then(|expires| i64::try_from(expires).ok()).unwrap_or(-1);
            payload.extend_from_slice(&moment.to_le_bytes());
        }
    }
    Ok(end_payload(payload, version))
}
