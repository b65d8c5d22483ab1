//! A digest of what a value says, not of how it is stored.

use std::ops::ControlFlow;

use super::raw::Read;
use super::{Item, Value};
use crate::rdb::value::Kind;

pub(super) fn digest(value: &Value<'_>) -> Read<[u8; 32]> {
    let Some(kind) = value.kind() else {
        return Err(super::Unreadable::Unknown(format!("a value of type {}", value.type_byte)));
    };
    let mut parts = Parts::of(kind);
    if matches!(kind, Kind::Module | Kind::Other) {
        parts.take(&[value.raw]);
    }
    if kind != Kind::Other {
        value.each(&mut |item| {
            parts.see(item);
            ControlFlow::Continue(())
        })?;
    }
    Ok(parts.finish())
}

/// Digests of the parts, one behind the other, or added up where the order says nothing. No part is there twice then.
pub(super) struct Parts {
    ordered: blake3::Hasher,
    unordered: [u64; 4],
    is_ordered: bool,
}

impl Parts {
    pub(super) fn of(kind: Kind) -> Parts {
        // Another one for each kind of value, and none for a part is that of a whole.
        let mut ordered = blake3::Hasher::new();
        ordered.update(b"redkeep value").update(kind.name().as_bytes());
        let is_ordered = !matches!(kind, Kind::Set | Kind::Zset | Kind::Hash);
        Parts { ordered, unordered: [0; 4], is_ordered }
    }

    pub(super) fn see(&mut self, item: Item<'_>) {
        match item {
            Item::Text(text) | Item::Element(text) => self.take(&[text]),
            // 0 and -0 are the same score.
            Item::Member { member, score } => self.take(&[member, &(score + 0.0).to_bits().to_le_bytes()]),
            Item::Field { name, value, expires } => {
                self.take(&[name, value, expires.map(u64::to_le_bytes).as_ref().map_or(&[], |at| at.as_slice())]);
            }
            // What follows is below it: the order says something here.
            Item::Path(path) => {
                self.is_ordered = true;
                self.take(&[path]);
            }
            Item::Placed { index, element } => self.take(&[&index.to_le_bytes(), element]),
            Item::Entry { id, fields } => self.take(&[id.to_string().as_bytes(), &fields.to_le_bytes()]),
            Item::Stream(facts) => self.take(&[facts.last.to_string().as_bytes()]),
            Item::Group(group) => self.take(&[
                group.name,
                group.last_delivered.to_string().as_bytes(),
                &group.pending.to_le_bytes(),
                &group.consumers.to_le_bytes(),
            ]),
            Item::Consumer(consumer) => self.take(&[consumer.name, &consumer.pending.to_le_bytes()]),
            Item::Module(_) => {}
        }
    }

    /// The begin of a part of so many texts, which are put behind it, each behind its length, so that no two lists of texts
    /// are the same bytes.
    pub(super) fn part(texts: u64) -> blake3::Hasher {
        let mut part = blake3::Hasher::new();
        part.update(&8u64.to_le_bytes()).update(&texts.to_le_bytes());
        part
    }

    fn take(&mut self, texts: &[&[u8]]) {
        let mut part = Parts::part(texts.len() as u64);
        for text in texts {
            part.update(&(text.len() as u64).to_le_bytes()).update(text);
        }
        self.add(&part);
    }

    pub(super) fn add(&mut self, part: &blake3::Hasher) {
        let part = part.finalize();
        if self.is_ordered {
            self.ordered.update(part.as_bytes());
            return;
        }
        for (sum, eight) in self.unordered.iter_mut().zip(part.as_bytes().as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*eight));
        }
    }

    pub(super) fn finish(mut self) -> [u8; 32] {
        for sum in self.unordered {
            self.ordered.update(&sum.to_le_bytes());
        }
        *self.ordered.finalize().as_bytes()
    }
}
