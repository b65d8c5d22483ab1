//! Values, by the type byte before their key: how to get past each.

use super::coding::{Step, Stop};
use super::header::Family;
use super::source::Source;
use super::structure::{Module, TypeCounts};

/// The answer of the TYPE command for a value.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    String,
    List,
    Set,
    Zset,
    Hash,
    Stream,
    Module,
}

impl Kind {
    /// The kind of values with this type byte; `None` if it is not known in this family.
    pub(super) fn of(type_byte: u8, family: Family) -> Option<Self> {
        Some(match (type_byte, family) {
            (0, _) => Self::String,
            (1 | 10 | 14 | 18, _) => Self::List,
            (2 | 11 | 20, _) => Self::Set,
            (3 | 5 | 12 | 17, _) => Self::Zset,
            (4 | 9 | 13 | 16 | 22, _) | (23..=25, Family::Redis) => Self::Hash,
            (15 | 19 | 21, _) => Self::Stream,
            (7, _) => Self::Module,
            _ => return None,
        })
    }

    pub(super) fn count(self, types: &mut TypeCounts) {
        match self {
            Self::String => types.string += 1,
            Self::List => types.list += 1,
            Self::Set => types.set += 1,
            Self::Zset => types.zset += 1,
            Self::Hash => types.hash += 1,
            Self::Stream => types.stream += 1,
            Self::Module => types.module += 1,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::List => "a list",
            Self::Set => "a set",
            Self::Zset => "a sorted set",
            Self::Hash => "a hash",
            Self::Stream => "a stream",
            Self::Module => "a module's value",
        }
    }
}

/// Whether values with this type byte are hashes whose fields may expire, and which go with their last field. Servers
/// keep the type where the expiry of every field was taken away again.
pub(super) fn may_lose_fields(type_byte: u8, family: Family) -> bool {
    matches!((type_byte, family), (22, _) | (23..=25, Family::Redis))
}

/// Consumes one value. Module values are told apart by their id, which is handed to `seen`.
#[inline]
pub(super) fn skip_value(
    source: &mut Source<'_>,
    type_byte: u8,
    family: Family,
    seen: &mut dyn FnMut(u64) -> Step<()>,
) -> Step<()> {
    match (type_byte, family) {
        // One string: plain, or a whole collection in a packed form (zipmap, ziplist, intset, listpack).
        (0 | 9..=13 | 16 | 17 | 20, _) | (23, Family::Redis) => source.skip_string(),
        (1 | 2 | 14, _) => counted(source, |source| source.skip_string()),
        (3, _) => counted(source, skip_scored_member),
        (4, _) => counted(source, |source| source.skip_strings(2)),
        (5, _) => counted(source, |source| source.skip_string().and_then(|()| source.skip(8))),
        (7, _) => {
            seen(source.length()?)?;
            skip_module_parts(source)
        }
        (15, _) => skip_stream(source, 1),
        (18, _) => counted(source, skip_quicklist_node),
        (19, _) => skip_stream(source, 2),
        (21, _) => skip_stream(source, 3),
        // 22 is two formats: Valkey puts the expiry of a field after its value, Redis 7.4 before its release before
        // the field.
        (22, Family::Valkey) => counted(source, |source| source.skip_strings(2).and_then(|()| source.skip(8))),
        (22, Family::Redis) => counted(source, skip_expiring_field),
        // 24 and 25 begin with the earliest expiry of a field.
        (24, Family::Redis) => source.skip(8).and_then(|()| counted(source, skip_expiring_field)),
        (25, Family::Redis) => source.skip(8).and_then(|()| source.skip_string()),
        (other, _) => Err(Stop::unknown(format!("a value of type {other}"))),
    }
}

/// Consumes a count and as many elements. The count costs nothing before the elements are there: each is at least a
/// byte, so the end of the input ends the loop.
#[inline]
fn counted(source: &mut Source<'_>, element: impl Fn(&mut Source<'_>) -> Step<()>) -> Step<()> {
    for _ in 0..source.length()? {
        element(source)?;
    }
    Ok(())
}

/// A member and its score in ASCII, or one of three marks for what is no number.
fn skip_scored_member(source: &mut Source<'_>) -> Step<()> {
    source.skip_string()?;
    match source.byte()? {
        253..=255 => Ok(()),
        length => source.skip(u64::from(length)),
    }
}

fn skip_expiring_field(source: &mut Source<'_>) -> Step<()> {
    source.length()?;
    source.skip_strings(2)
}

fn skip_quicklist_node(source: &mut Source<'_>) -> Step<()> {
    match source.length()? {
        1 | 2 => source.skip_string(),
        container => Err(Stop::unknown(format!("a list node in container {container}"))),
    }
}

/// Consumes what a module wrote: parts that each say what they are, up to the end mark.
pub(super) fn skip_module_parts(source: &mut Source<'_>) -> Step<()> {
    loop {
        match source.length()? {
            0 => return Ok(()),
            1 | 2 => source.skip_lengths(1)?,
            3 => source.skip(4)?,
            4 => source.skip(8)?,
            5 => source.skip_string()?,
            other => return Err(Stop::unknown(format!("a module part of form {other}"))),
        }
    }
}

/// Consumes a stream in the coding of 5.0 (1), 7.0 (2) or 7.2 (3).
fn skip_stream(source: &mut Source<'_>, coding: u8) -> Step<()> {
    // Nodes: the first id in 16 bytes, and a listpack.
    counted(source, |source| source.skip_strings(2))?;
    // Length and last id; then first id, largest deleted id and the number of entries ever added.
    source.skip_lengths(if coding >= 2 { 8 } else { 3 })?;
    counted(source, |source| skip_stream_group(source, coding))
}

fn skip_stream_group(source: &mut Source<'_>, coding: u8) -> Step<()> {
    source.skip_string()?;
    // Last id delivered; then the number of entries read.
    source.skip_lengths(if coding >= 2 { 3 } else { 2 })?;
    // Pending entries: id in 16 raw bytes, time in 8, number of deliveries.
    counted(source, |source| source.skip(16 + 8).and_then(|()| source.skip_lengths(1)))?;
    counted(source, |source| {
        source.skip_string()?;
        // When the consumer was last seen; then when it was last active.
        source.skip(if coding >= 3 { 16 } else { 8 })?;
        counted(source, |source| source.skip(16))
    })
}

/// The modules a file was seen to need, each once.
#[derive(Default)]
pub(super) struct Modules {
    ids: Vec<u64>,
}

impl Modules {
    pub(super) fn see(&mut self, id: u64, most: usize) -> Step<()> {
        if self.ids.contains(&id) {
            return Ok(());
        }
        if self.ids.len() >= most {
            return Err(Stop::unknown(format!("more than {most} modules")));
        }
        self.ids.push(id);
        Ok(())
    }

    pub(super) fn sorted(&self) -> Vec<Module> {
        let mut modules: Vec<Module> = self.ids.iter().map(|&id| Module::from_id(id)).collect();
        modules.sort();
        modules
    }
}
