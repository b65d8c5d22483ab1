//! Streams: nodes of entries, what is known of the whole, consumer groups.

use std::fmt;

use super::each::{Step, Taker};
use super::packed::Elements;
use super::raw::{Raw, Read};
use super::{Item, Unreadable};
use crate::rdb::header::Family;

/// The name of an entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    /// Milliseconds since the epoch, or what was given in their place.
    pub milliseconds: u64,
    /// Tells apart the entries of a millisecond.
    pub sequence: u64,
}

impl fmt::Display for StreamId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.milliseconds, self.sequence)
    }
}

/// What is known of a stream beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamFacts {
    /// Entries it has.
    pub length: u64,
    /// The highest name ever given.
    pub last: StreamId,
    /// The first entry there is; from Redis 7.0 on.
    pub first: Option<StreamId>,
    /// The highest name of an entry that was deleted; from Redis 7.0 on.
    pub highest_deleted: Option<StreamId>,
    /// Entries ever added; from Redis 7.0 on.
    pub added: Option<u64>,
    /// Its consumer groups.
    pub groups: u64,
}

/// A consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// The last entry that was delivered to it.
    pub last_delivered: StreamId,
    /// How many entries it read, where the server knows.
    pub read: Option<u64>,
    /// Entries that were delivered and are not acknowledged.
    pub pending: u64,
    /// Its consumers.
    pub consumers: u64,
}

/// A consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumer<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// When it last asked for entries, in milliseconds since the epoch.
    pub seen: u64,
    /// When it last got some; from Redis 7.2 on, and where it ever did.
    pub active: Option<u64>,
    /// Entries that were delivered to it and are not acknowledged.
    pub pending: u64,
}

/// The codings of streams, by the first version that writes them; each adds to the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Coding {
    V5,
    V7,
    V72,
    V86,
    V88,
}

impl Coding {
    pub(super) fn of(type_byte: u8, family: Family) -> Option<Self> {
        match (type_byte, family) {
            (15, _) => Some(Self::V5),
            (19, _) => Some(Self::V7),
            (21, _) => Some(Self::V72),
            (26, Family::Redis) => Some(Self::V86),
            (27, Family::Redis) => Some(Self::V88),
            _ => None,
        }
    }
}

/// Where the number of entries that a group read is not known.
const UNKNOWN: u64 = u64::MAX;

/// An entry that was deleted, and is still in its node.
const DELETED: i64 = 1;
/// Its fields are those of the node.
const SAME_FIELDS: i64 = 2;

/// How many entries there are.
pub(super) fn measure_stream(raw: &mut Raw<'_>, coding: Coding) -> Read<u64> {
    raw.counted(|raw| raw.skip_strings(2))?;
    let facts = facts(raw, coding)?;
    for _ in 0..facts.groups {
        raw.skip_string()?;
        let group = group(raw, b"", coding)?;
        for _ in 0..group.consumers {
            raw.skip_string()?;
            consumer(raw, b"", coding)?;
        }
        behind_consumers(raw, coding)?;
    }
    behind_groups(raw, coding)?;
    Ok(facts.length)
}

/// Hands on the entries, if they are wanted, then what is known of the stream, then groups, each with its consumers.
pub(super) fn each_of(raw: &mut Raw<'_>, coding: Coding, entries: bool, taker: &mut Taker<'_>) -> Step {
    for _ in 0..raw.length()? {
        match entries {
            true => node(raw, taker)?,
            false => raw.skip_strings(2)?,
        }
    }
    behind_nodes(raw, coding, taker)
}

/// What stands behind the entries: what is known of the stream, and its groups.
pub(super) fn behind_nodes(raw: &mut Raw<'_>, coding: Coding, taker: &mut Taker<'_>) -> Step {
    let facts = facts(raw, coding)?;
    taker.give(Item::Stream(facts))?;
    for _ in 0..facts.groups {
        let name = raw.string()?;
        let group = group(raw, &name, coding)?;
        taker.give(Item::Group(group))?;
        for _ in 0..group.consumers {
            let name = raw.string()?;
            taker.give(Item::Consumer(consumer(raw, &name, coding)?))?;
        }
        behind_consumers(raw, coding)?;
    }
    Ok(behind_groups(raw, coding)?)
}

/// The name of the first entry ever put there, and a listpack: how many entries there are and how many were deleted, the
/// fields of the first one, and the entries, whose names are told by their distance from the first.
pub(super) fn node(raw: &mut Raw<'_>, taker: &mut Taker<'_>) -> Step {
    let (first, blob) = (raw.string()?, raw.string()?);
    const ODD: Unreadable = Unreadable::Broken("a node of a stream has no name of 16 bytes");
    let (milliseconds, sequence) = first.split_first_chunk::<8>().ok_or(ODD)?;
    let sequence = sequence.try_into().map_err(|_| ODD)?;
    let first = StreamId { milliseconds: u64::from_be_bytes(*milliseconds), sequence: u64::from_be_bytes(sequence) };
    let mut elements = Elements::of_listpack(&blob)?;
    number(&mut elements)?;
    number(&mut elements)?;
    let usual = Usual { count: number(&mut elements)?, names: elements.clone() };
    for _ in 0..usual.count {
        elements.need()?;
    }
    number(&mut elements)?;
    while let Some(flags) = elements.next() {
        entry(flags?.number()?, first, &usual, &mut elements, taker)?;
    }
    Ok(())
}

/// The fields of the first entry of a node, which others may have too.
struct Usual<'a> {
    count: i64,
    names: Elements<'a>,
}

/// What follows the flags of an entry.
fn entry(flags: i64, first: StreamId, usual: &Usual<'_>, elements: &mut Elements<'_>, taker: &mut Taker<'_>) -> Step {
    let id = StreamId {
        milliseconds: first.milliseconds.wrapping_add_signed(number(elements)?),
        sequence: first.sequence.wrapping_add_signed(number(elements)?),
    };
    let mut names = (flags & SAME_FIELDS != 0).then(|| usual.names.clone());
    let count = if names.is_some() { usual.count } else { number(elements)? };
    let count = u64::try_from(count).map_err(|_| Unreadable::Broken("an entry with less than no fields"))?;
    let is_there = flags & DELETED == 0;
    if is_there {
        taker.give(Item::Entry { id, fields: count })?;
    }
    for _ in 0..count {
        let name = match &mut names {
            Some(names) => names.need()?,
            None => elements.need()?,
        };
        let value = elements.need()?;
        if is_there {
            taker.give(Item::Field { name: &name.text(), value: &value.text(), expires: None })?;
        }
    }
    // How many elements the entry takes, to go backwards.
    number(elements).map(drop)?;
    Ok(())
}

fn number(elements: &mut Elements<'_>) -> Read<i64> {
    elements.need()?.number()
}

fn id(raw: &mut Raw<'_>) -> Read<StreamId> {
    Ok(StreamId { milliseconds: raw.length()?, sequence: raw.length()? })
}

fn facts(raw: &mut Raw<'_>, coding: Coding) -> Read<StreamFacts> {
    let (length, last) = (raw.length()?, id(raw)?);
    let (mut first, mut highest_deleted, mut added) = (None, None, None);
    if coding >= Coding::V7 {
        (first, highest_deleted, added) = (Some(id(raw)?), Some(id(raw)?), Some(raw.length()?));
    }
    Ok(StreamFacts { length, last, first, highest_deleted, added, groups: raw.length()? })
}

/// What stands between the name of a group and its consumers.
fn group<'n>(raw: &mut Raw<'_>, name: &'n [u8], coding: Coding) -> Read<Group<'n>> {
    let last_delivered = id(raw)?;
    let read = if coding >= Coding::V7 { Some(raw.length()?).filter(|read| *read != UNKNOWN) } else { None };
    // Each with its name, when it was delivered, and how often.
    let pending = raw.counted(|raw| {
        raw.bytes::<24>()?;
        raw.length().map(drop)
    })?;
    Ok(Group { name, last_delivered, read, pending, consumers: raw.length()? })
}

/// What stands behind the name of a consumer.
fn consumer<'n>(raw: &mut Raw<'_>, name: &'n [u8], coding: Coding) -> Read<Consumer<'n>> {
    let seen = u64::from_le_bytes(raw.bytes()?);
    let mut active = None;
    if coding >= Coding::V72 {
        active = u64::try_from(i64::from_le_bytes(raw.bytes()?)).ok();
    }
    let pending = raw.counted(|raw| raw.bytes::<16>().map(drop))?;
    Ok(Consumer { name, seen, active, pending })
}

/// Entries that were handed back.
fn behind_consumers(raw: &mut Raw<'_>, coding: Coding) -> Read<()> {
    if coding >= Coding::V88 {
        raw.counted(|raw| raw.bytes::<16>().map(drop))?;
    }
    Ok(())
}

/// What producers sent is not taken twice: for how long, how many of each, by producer each message and its entry; two counts.
fn behind_groups(raw: &mut Raw<'_>, coding: Coding) -> Read<()> {
    if coding >= Coding::V86 {
        raw.skip_lengths(2)?;
        raw.counted(|raw| {
            raw.skip_string()?;
            raw.counted(|raw| raw.skip_string().and_then(|()| raw.skip_lengths(2))).map(drop)
        })?;
        raw.skip_lengths(2)?;
    }
    Ok(())
}
