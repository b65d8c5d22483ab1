//! Values, by the type byte before their key: how to get past each.
//!
//! The forms are those of `rdb.h` and `rdb.c` of Redis up to version 16 of the format (8.12), of Valkey up to 81 (9.2) and
//! of KeyDB 6.3.

use std::collections::HashMap;

use super::coding::{Step, Stop};
use super::header::Family;
use super::source::Source;
use super::structure::{MODULES_MAX, Module, TEMPLATES_MAX, TypeCounts};

/// The answer of the TYPE command for a value; `Other` is what only special builds and KeyDB have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the TYPE command")]
pub enum Kind {
    String,
    List,
    Set,
    Zset,
    Hash,
    Stream,
    Array,
    Module,
    Other,
}

impl Kind {
    /// The kind of values with this type byte; `None` if it is not known in this family.
    pub fn of(type_byte: u8, family: Family) -> Option<Self> {
        Some(match (type_byte, family) {
            (0, _) => Self::String,
            (1 | 10 | 14 | 18, _) => Self::List,
            (2 | 11 | 20, _) => Self::Set,
            (3 | 5 | 12 | 17, _) => Self::Zset,
            (4 | 9 | 13 | 16 | 22 | 23, _) | (24 | 25 | 30 | 32, Family::Redis) => Self::Hash,
            (15 | 19 | 21, _) | (26 | 27, Family::Redis) => Self::Stream,
            (28, Family::Redis) => Self::Array,
            (7, _) => Self::Module,
            (33 | 64, Family::Redis) => Self::Other,
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
            Self::Array => types.array += 1,
            Self::Module => types.module += 1,
            Self::Other => types.other += 1,
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
            Self::Array => "an array",
            Self::Module => "a module's value",
            Self::Other => "a value",
        }
    }
}

/// Whether values with this type byte are hashes whose fields may expire, and which go with their last field. Servers
/// keep the type where the expiry of every field was taken away again.
pub(super) fn may_lose_fields(type_byte: u8, family: Family) -> bool {
    matches!((type_byte, family), (22, _) | (23..=25, Family::Redis))
}

/// Consumes one value.
#[inline]
pub(super) fn skip_value(source: &mut Source<'_>, type_byte: u8, family: Family, known: &mut Known) -> Step<()> {
    match (type_byte, family) {
        // One string: plain, or a whole collection in a packed form (zipmap, ziplist, intset, listpack).
        (0 | 9..=13 | 16 | 17 | 20, _) | (23 | 30, Family::Redis) => source.skip_string(),
        (1 | 2 | 14, _) => counted(source, |source| source.skip_string()),
        (3, _) => counted(source, skip_scored_member),
        (4, _) => counted(source, |source| source.skip_strings(2)),
        (5, _) => counted(source, |source| source.skip_string().and_then(|()| source.skip(8))),
        (7, _) => {
            known.see_module(source.length()?)?;
            skip_module_parts(source)
        }
        (15, _) => skip_stream(source, Coding::V5),
        (18, _) => counted(source, skip_quicklist_node),
        (19, _) => skip_stream(source, Coding::V7),
        (21, _) => skip_stream(source, Coding::V72),
        (26, Family::Redis) => skip_stream(source, Coding::V86),
        (27, Family::Redis) => skip_stream(source, Coding::V88),
        // 22 is two formats: Valkey puts the expiry of a field after its value, Redis 7.4 before its release before
        // the field.
        (22, Family::Valkey) => counted(source, |source| source.skip_strings(2).and_then(|()| source.skip(8))),
        (22, Family::Redis) => counted(source, skip_expiring_field),
        // 24 and 25 begin with the earliest expiry of a field.
        (24, Family::Redis) => source.skip(8).and_then(|()| counted(source, skip_expiring_field)),
        (25, Family::Redis) => source.skip(8).and_then(|()| source.skip_string()),
        // A hash of hashes: paths, each with its fields.
        (23, Family::Valkey) => counted(source, |source| {
            source.skip_string()?;
            counted(source, |source| source.skip_strings(2))
        }),
        (28, Family::Redis) => skip_array(source),
        // Values in the order of the fields of a template, which stood before the keys.
        (32, Family::Redis) => {
            let template = source.length()?;
            source.skip_strings(known.fields(template)?)
        }
        (33, Family::Redis) => source.skip_lengths(1),
        // KeyDB's scripts by the clock: the script, two times, keys and arguments.
        (64, Family::Redis) => {
            source.skip_string()?;
            source.skip(16)?;
            counted(source, |source| source.skip_string())?;
            counted(source, |source| source.skip_string())
        }
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

/// Consumes an array (Redis 8.8): how many elements, perhaps where the next one goes, then each with its place.
fn skip_array(source: &mut Source<'_>) -> Step<()> {
    let elements = source.length()?;
    match source.length()? {
        0 => {}
        1 => source.skip_lengths(1)?,
        other => return Err(Stop::unknown(format!("an array of form {other}"))),
    }
    for _ in 0..elements {
        source.length()?;
        match source.length()? {
            0 | 3 => source.skip_string()?,
            1 | 2 => source.skip(8)?,
            other => return Err(Stop::unknown(format!("an array's element of form {other}"))),
        }
    }
    Ok(())
}

/// The codings of streams, by the first version that writes them; each adds to the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Coding {
    V5,
    V7,
    V72,
    V86,
    V88,
}

fn skip_stream(source: &mut Source<'_>, coding: Coding) -> Step<()> {
    // Nodes: the first id in 16 bytes, and a listpack.
    counted(source, |source| source.skip_strings(2))?;
    // Length and last id; then first id, largest deleted id and the number of entries ever added.
    source.skip_lengths(if coding >= Coding::V7 { 8 } else { 3 })?;
    counted(source, |source| skip_stream_group(source, coding))?;
    if coding >= Coding::V86 {
        // What producers sent is not taken twice: for how long, how many of each, and by producer each message and its id.
        source.skip_lengths(2)?;
        counted(source, |source| {
            source.skip_string()?;
            counted(source, |source| source.skip_string().and_then(|()| source.skip_lengths(2)))
        })?;
        source.skip_lengths(2)?;
    }
    Ok(())
}

fn skip_stream_group(source: &mut Source<'_>, coding: Coding) -> Step<()> {
    source.skip_string()?;
    // Last id delivered; then the number of entries read.
    source.skip_lengths(if coding >= Coding::V7 { 3 } else { 2 })?;
    // Pending entries: id in 16 raw bytes, time in 8, number of deliveries.
    counted(source, |source| source.skip(16 + 8).and_then(|()| source.skip_lengths(1)))?;
    counted(source, |source| {
        source.skip_string()?;
        // When the consumer was last seen; then when it was last active.
        source.skip(if coding >= Coding::V72 { 16 } else { 8 })?;
        counted(source, |source| source.skip(16))
    })?;
    match coding >= Coding::V88 {
        // Entries that were handed back, each also pending.
        true => counted(source, |source| source.skip(16)),
        false => Ok(()),
    }
}

/// What a file said of itself before the values that need it.
#[derive(Default)]
pub(super) struct Known {
    /// The modules it was seen to need, each once.
    modules: Vec<u64>,
    /// How many fields each template of hashes has.
    templates: HashMap<u64, u64>,
}

impl Known {
    pub(super) fn see_module(&mut self, id: u64) -> Step<()> {
        if self.modules.contains(&id) {
            return Ok(());
        }
        if self.modules.len() >= MODULES_MAX {
            return Err(Stop::unknown(format!("more than {MODULES_MAX} modules")));
        }
        self.modules.push(id);
        Ok(())
    }

    /// Consumes a template: its number, and the names of its fields.
    pub(super) fn read_template(&mut self, source: &mut Source<'_>) -> Step<()> {
        let (id, fields) = (source.length()?, source.length()?);
        if self.templates.len() >= TEMPLATES_MAX {
            return Err(Stop::unknown(format!("more than {TEMPLATES_MAX} templates of hashes")));
        }
        self.templates.insert(id, fields);
        source.skip_strings(fields)
    }

    fn fields(&self, template: u64) -> Step<u64> {
        let fields = self.templates.get(&template).copied();
        fields.ok_or_else(|| Stop::broken(format!("a hash of template {template}, which there is not")))
    }

    pub(super) fn modules(&self) -> Vec<Module> {
        let mut modules: Vec<Module> = self.modules.iter().map(|&id| Module::from_id(id)).collect();
        modules.sort();
        modules
    }
}
