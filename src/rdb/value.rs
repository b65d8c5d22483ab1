//! Values, by the type byte before their key: what each consists of.
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

    /// What TYPE answers of most.
    pub fn word(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
            Self::Array => "array",
            Self::Module => "module",
            Self::Other => "other",
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

/// Whoever goes along a value from its first byte to its last: to get past it, or to write it down in another form.
pub(super) trait Passage: Sized {
    /// Passes a number.
    fn length(&mut self) -> Step<u64>;
    /// Passes a string in any form.
    fn string(&mut self) -> Step<()>;
    /// Passes bytes that stand for themselves.
    fn fixed(&mut self, count: u64) -> Step<()>;
    /// Passes one such byte.
    fn byte(&mut self) -> Step<u8>;

    /// Passes the earliest expiry of a hash's fields, in milliseconds since the epoch.
    fn earliest(&mut self) -> Step<()> {
        self.fixed(8)
    }

    /// Passes the expiry of a field: 0 for none, else one more than what it is after the earliest.
    fn after_earliest(&mut self) -> Step<()> {
        self.lengths(1)
    }

    /// Passes the number of a template; says how many fields that has.
    fn template(&mut self, known: &Known) -> Step<u64> {
        known.fields(self.length()?)
    }

    /// Passes a listpack that begins with the number of a template.
    fn templated(&mut self) -> Step<()> {
        self.string()
    }

    fn lengths(&mut self, count: u64) -> Step<()> {
        for _ in 0..count {
            self.length()?;
        }
        Ok(())
    }

    fn strings(&mut self, count: u64) -> Step<()> {
        for _ in 0..count {
            self.string()?;
        }
        Ok(())
    }

    /// Passes a count and as many elements. The count costs nothing before the elements are there: each is at least a byte,
    /// so the end of the input ends the loop.
    #[inline]
    fn counted(&mut self, element: impl Fn(&mut Self) -> Step<()>) -> Step<()> {
        for _ in 0..self.length()? {
            element(self)?;
        }
        Ok(())
    }

    /// The same, where the elements stand in the order of a hash table, which each start of a server draws anew.
    #[inline]
    fn unordered(&mut self, element: impl Fn(&mut Self) -> Step<()>) -> Step<()> {
        self.counted(element)
    }
}

impl Passage for Source<'_> {
    #[inline]
    fn length(&mut self) -> Step<u64> {
        Source::length(self)
    }

    #[inline]
    fn string(&mut self) -> Step<()> {
        self.skip_string()
    }

    #[inline]
    fn fixed(&mut self, count: u64) -> Step<()> {
        self.skip(count)
    }

    #[inline]
    fn byte(&mut self) -> Step<u8> {
        Source::byte(self)
    }
}

/// Passes one value.
#[inline]
pub(super) fn pass_value<P: Passage>(passage: &mut P, type_byte: u8, family: Family, known: &mut Known) -> Step<()> {
    match (type_byte, family) {
        // One string: plain, or a whole collection in a packed form (zipmap, ziplist, intset, listpack).
        (0 | 9..=13 | 16 | 17 | 20, _) | (23, Family::Redis) => passage.string(),
        (30, Family::Redis) => passage.templated(),
        (1 | 14, _) => passage.counted(|passage| passage.string()),
        (2, _) => passage.unordered(|passage| passage.string()),
        (3, _) => passage.counted(pass_scored_member),
        (4, _) => passage.unordered(|passage| passage.strings(2)),
        (5, _) => passage.counted(|passage| passage.string().and_then(|()| passage.fixed(8))),
        (7, _) => {
            known.see_module(passage.length()?)?;
            pass_module_parts(passage)
        }
        (15, _) => pass_stream(passage, Coding::V5),
        (18, _) => passage.counted(pass_quicklist_node),
        (19, _) => pass_stream(passage, Coding::V7),
        (21, _) => pass_stream(passage, Coding::V72),
        (26, Family::Redis) => pass_stream(passage, Coding::V86),
        (27, Family::Redis) => pass_stream(passage, Coding::V88),
        // 22 is two formats: Valkey puts the expiry of a field after its value, Redis 7.4 before its release before
        // the field.
        (22, Family::Valkey) => passage.unordered(|passage| passage.strings(2).and_then(|()| passage.fixed(8))),
        (22, Family::Redis) => passage.unordered(pass_expiring_field),
        // 24 and 25 begin with the earliest expiry of a field.
        (24, Family::Redis) => {
            passage.earliest()?;
            passage.unordered(|passage| passage.after_earliest().and_then(|()| passage.strings(2)))
        }
        (25, Family::Redis) => passage.fixed(8).and_then(|()| passage.string()),
        // A hash of hashes: paths, each with its fields.
        (23, Family::Valkey) => passage.counted(|passage| {
            passage.string()?;
            passage.counted(|passage| passage.strings(2))
        }),
        (28, Family::Redis) => pass_array(passage),
        // Values in the order of the fields of a template, which stood before the keys.
        (32, Family::Redis) => {
            let fields = passage.template(known)?;
            passage.strings(fields)
        }
        (33, Family::Redis) => passage.lengths(1),
        // KeyDB's scripts by the clock: the script, two times, keys and arguments.
        (64, Family::Redis) => {
            passage.string()?;
            passage.fixed(16)?;
            passage.counted(|passage| passage.string())?;
            passage.counted(|passage| passage.string())
        }
        (other, _) => Err(Stop::unknown(format!("a value of type {other}"))),
    }
}

/// A member and its score in ASCII, or one of three marks for what is no number.
fn pass_scored_member<P: Passage>(passage: &mut P) -> Step<()> {
    passage.string()?;
    match passage.byte()? {
        253..=255 => Ok(()),
        length => passage.fixed(u64::from(length)),
    }
}

fn pass_expiring_field<P: Passage>(passage: &mut P) -> Step<()> {
    passage.length()?;
    passage.strings(2)
}

fn pass_quicklist_node<P: Passage>(passage: &mut P) -> Step<()> {
    match passage.length()? {
        1 | 2 => passage.string(),
        container => Err(Stop::unknown(format!("a list node in container {container}"))),
    }
}

/// Passes what a module wrote: parts that each say what they are, up to the end mark.
pub(super) fn pass_module_parts<P: Passage>(passage: &mut P) -> Step<()> {
    loop {
        match passage.length()? {
            0 => return Ok(()),
            1 | 2 => passage.lengths(1)?,
            3 => passage.fixed(4)?,
            4 => passage.fixed(8)?,
            5 => passage.string()?,
            other => return Err(Stop::unknown(format!("a module part of form {other}"))),
        }
    }
}

/// Passes an array (Redis 8.8): how many elements, perhaps where the next one goes, then each with its place.
fn pass_array<P: Passage>(passage: &mut P) -> Step<()> {
    let elements = passage.length()?;
    match passage.length()? {
        0 => {}
        1 => passage.lengths(1)?,
        other => return Err(Stop::unknown(format!("an array of form {other}"))),
    }
    for _ in 0..elements {
        passage.length()?;
        match passage.length()? {
            0 | 3 => passage.string()?,
            1 | 2 => passage.fixed(8)?,
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

fn pass_stream<P: Passage>(passage: &mut P, coding: Coding) -> Step<()> {
    // Nodes: the first id in 16 bytes, and a listpack.
    passage.counted(|passage| passage.strings(2))?;
    // Length and last id; then first id, largest deleted id and the number of entries ever added.
    passage.lengths(if coding >= Coding::V7 { 8 } else { 3 })?;
    passage.counted(|passage| pass_stream_group(passage, coding))?;
    if coding >= Coding::V86 {
        // What producers sent is not taken twice: for how long, how many of each, and by producer each message and its id.
        passage.lengths(2)?;
        passage.counted(|passage| {
            passage.string()?;
            passage.counted(|passage| passage.string().and_then(|()| passage.lengths(2)))
        })?;
        passage.lengths(2)?;
    }
    Ok(())
}

fn pass_stream_group<P: Passage>(passage: &mut P, coding: Coding) -> Step<()> {
    passage.string()?;
    // Last id delivered; then the number of entries read.
    passage.lengths(if coding >= Coding::V7 { 3 } else { 2 })?;
    // Pending entries: id in 16 raw bytes, time in 8, number of deliveries.
    passage.counted(|passage| passage.fixed(16 + 8).and_then(|()| passage.lengths(1)))?;
    passage.counted(|passage| {
        passage.string()?;
        // When the consumer was last seen; then when it was last active.
        passage.fixed(if coding >= Coding::V72 { 16 } else { 8 })?;
        passage.counted(|passage| passage.fixed(16))
    })?;
    match coding >= Coding::V88 {
        // Entries that were handed back, each also pending.
        true => passage.counted(|passage| passage.fixed(16)),
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

    pub(super) fn fields(&self, template: u64) -> Step<u64> {
        let fields = self.templates.get(&template).copied();
        fields.ok_or_else(|| Stop::broken(format!("a hash of template {template}, which there is not")))
    }

    pub(super) fn modules(&self) -> Vec<Module> {
        let mut modules: Vec<Module> = self.modules.iter().map(|&id| Module::from_id(id)).collect();
        modules.sort();
        modules
    }
}
