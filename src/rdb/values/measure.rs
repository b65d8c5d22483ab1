//! A value is measured on a walk over its strings, of which only heads of packed forms are decoded.

use super::each::{Part, module_part};
use super::packed::{Head, each_of_zipmap};
use super::raw::{Raw, Read};
use super::stream::{Coding, measure_stream};
use super::{Measure, Unreadable, Value};
use crate::rdb::header::Family;
use crate::rdb::structure::Module;

pub(super) fn measure(value: &Value<'_>) -> Read<Measure> {
    let mut raw = Raw::of(value.raw);
    let elements = count(value, &mut raw)?;
    raw.end()?;
    Ok(Measure { elements, bytes: (value.raw.len() as u64).saturating_add(raw.spared()) })
}

/// Consumes the value and counts its elements.
fn count(value: &Value<'_>, raw: &mut Raw<'_>) -> Read<u64> {
    if let Some(coding) = Coding::of(value.type_byte, value.family) {
        return measure_stream(raw, coding);
    }
    match (value.type_byte, value.family) {
        (0, _) => raw.skip_string().map(|()| 1),
        (1 | 2, _) => raw.counted(Raw::skip_string),
        (3, _) => raw.counted(|raw| {
            raw.skip_string()?;
            match raw.bytes::<1>()? {
                [253..=255] => Ok(()),
                [length] => raw.slice(u64::from(length)).map(drop),
            }
        }),
        (4, _) => raw.counted(|raw| raw.skip_strings(2)),
        (5, _) => raw.counted(|raw| raw.skip_string().and_then(|()| raw.bytes::<8>().map(drop))),
        (7, _) => count_module(raw),
        (9, _) => {
            let mut fields = 0;
            each_of_zipmap(&raw.string_noted()?, |_, _| {
                fields += 1;
                Ok::<(), Unreadable>(())
            })?;
            Ok(fields)
        }
        (10, _) => raw.count_packed(Head::Ziplist),
        (11, _) => raw.count_packed(Head::Intset),
        (12 | 13, _) => groups_of(2, raw.count_packed(Head::Ziplist)?),
        (14, _) => sum(raw, |raw| raw.count_packed(Head::Ziplist)),
        (16 | 17, _) => groups_of(2, raw.count_packed(Head::Listpack)?),
        (18, _) => sum(raw, |raw| match raw.length()? {
            1 => raw.skip_string().map(|()| 1),
            _ => raw.count_packed(Head::Listpack),
        }),
        (20, _) => raw.count_packed(Head::Listpack),
        (22, Family::Valkey) => raw.counted(|raw| raw.skip_strings(2).and_then(|()| raw.bytes::<8>().map(drop))),
        (22, Family::Redis) => raw.counted(expiring_field),
        (23, Family::Redis) => groups_of(3, raw.count_packed(Head::Listpack)?),
        (23, Family::Valkey) => raw.counted(|raw| {
            raw.skip_string()?;
            raw.counted(|raw| raw.skip_strings(2)).map(drop)
        }),
        (24, Family::Redis) => {
            raw.bytes::<8>()?;
            raw.counted(expiring_field)
        }
        (25, Family::Redis) => {
            raw.bytes::<8>()?;
            groups_of(3, raw.count_packed(Head::Listpack)?)
        }
        (28, Family::Redis) => count_array(raw),
        (30, Family::Redis) => {
            let told = raw.count_packed(Head::Listpack)?;
            told.checked_sub(1).ok_or(Unreadable::Broken("a hash of a template does not name it"))
        }
        (32, Family::Redis) => {
            let number = raw.length()?;
            let fields = value.templates.need(number)?.len() as u64;
            raw.skip_strings(fields).map(|()| fields)
        }
        (33, Family::Redis) => raw.length().map(|_| 1),
        (64, Family::Redis) => {
            raw.skip_string()?;
            raw.bytes::<16>()?;
            raw.counted(Raw::skip_string)?;
            raw.counted(Raw::skip_string).map(|_| 1)
        }
        (other, _) => Err(Unreadable::Unknown(format!("a value of type {other}"))),
    }
}

fn sum(raw: &mut Raw<'_>, mut each: impl FnMut(&mut Raw<'_>) -> Read<u64>) -> Read<u64> {
    let mut sum = 0_u64;
    raw.counted(|raw| {
        sum = sum.saturating_add(each(raw)?);
        Ok(())
    })?;
    Ok(sum)
}

fn groups_of(size: u64, elements: u64) -> Read<u64> {
    match elements % size {
        0 => Ok(elements / size),
        _ => Err(Unreadable::Broken("a packed form ends within a pair")),
    }
}

fn expiring_field(raw: &mut Raw<'_>) -> Read<()> {
    raw.length()?;
    raw.skip_strings(2)
}

fn count_array(raw: &mut Raw<'_>) -> Read<u64> {
    let elements = raw.length()?;
    match raw.length()? {
        0 => {}
        1 => drop(raw.length()?),
        other => return Err(Unreadable::Unknown(format!("an array of form {other}"))),
    }
    for _ in 0..elements {
        raw.length()?;
        match raw.length()? {
            0 | 3 => raw.skip_string()?,
            1 | 2 => drop(raw.bytes::<8>()?),
            other => return Err(Unreadable::Unknown(format!("an array's element of form {other}"))),
        }
    }
    Ok(elements)
}

/// A set of vectors begins with how many numbers a vector has, and how many vectors there are.
fn count_module(raw: &mut Raw<'_>) -> Read<u64> {
    let module = Module::from_id(raw.length()?);
    let (mut place, mut vectors) = (0_u64, None);
    while let Some(part) = module_part(raw)? {
        if let (1, Part::Number(number)) = (place, part) {
            vectors = Some(number);
        }
        place += 1;
    }
    Ok(vectors.filter(|_| module.name == "vectorset").unwrap_or(1))
}
