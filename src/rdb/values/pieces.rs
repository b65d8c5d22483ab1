//! A value that is too long to be held is digested while its bytes go by.

use std::ops::ControlFlow;

use super::digest::Parts;
use super::each::{Taker, answer};
use super::raw::{ENDS, Raw, Read};
use super::rows::{Head, Rows};
use super::stream::{Coding, behind_nodes, node};
use super::{Item, Kind, Unreadable};
use crate::rdb::header::Family;

const LEFT_OVER: Unreadable = Unreadable::Broken("bytes are left over");

/// Longest row of a value, or end of a stream, that is held.
const HELD_LONGEST: usize = 64 << 20;

/// As [`Value::digest`](super::Value::digest), of a value whose bytes come one piece after the other: a string that is stored
/// as it is, a stream, or a number of elements that are not packed in one. Memory: twice the longest element, and a piece.
pub struct PiecewiseDigest {
    parts: Parts,
    next: Next,
    /// What came and is not whole.
    held: Vec<u8>,
}

/// What comes next.
enum Next {
    Text,
    RestOfText { left: u64, part: Box<blake3::Hasher> },
    Head(Rows),
    Row { rows: Rows, head: Head, left: u64 },
    Nodes(Coding),
    Node { coding: Coding, left: u64 },
    BehindNodes(Coding),
}

impl PiecewiseDigest {
    /// Of a value of this type; `None` if it can only be read when all of it is there.
    pub fn new(type_byte: u8, family: Family) -> Option<PiecewiseDigest> {
        let next = match (Rows::of(type_byte, family), Coding::of(type_byte, family)) {
            (Some(rows), _) => Next::Head(rows),
            (None, Some(coding)) => Next::Nodes(coding),
            (None, None) if type_byte == 0 => Next::Text,
            (None, None) => return None,
        };
        Some(PiecewiseDigest { parts: Parts::of(Kind::of(type_byte, family)?), next, held: Vec::new() })
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Unreadable> {
        if let Next::RestOfText { left, part } = &mut self.next {
            *left = left.checked_sub(piece.len() as u64).ok_or(LEFT_OVER)?;
            part.update(piece);
            return Ok(());
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(piece);
        let mut raw = Raw::of(&held);
        let mut whole = 0;
        let ended = loop {
            match self.step(&mut raw) {
                Ok(goes_on) => {
                    whole = held.len() - raw.left();
                    if !goes_on {
                        break Ok(());
                    }
                }
                Err(unreadable) if unreadable == ENDS => break Ok(()),
                Err(unreadable) => break Err(unreadable),
            }
        };
        held.drain(..whole);
        self.held = held;
        if self.held.len() > HELD_LONGEST {
            return Err(Unreadable::Unknown("an element that is too long to be held".to_owned()));
        }
        ended
    }

    /// Consumes what comes next, if it is whole; says whether there was more to do.
    fn step(&mut self, raw: &mut Raw<'_>) -> Read<bool> {
        let parts = &mut self.parts;
        let mut see = |item: Item<'_>| {
            parts.see(item);
            ControlFlow::Continue(())
        };
        let mut taker = Taker::of(&mut see);
        match &mut self.next {
            Next::Text => {
                let left = raw.length()?;
                let mut part = Parts::part(1);
                part.update(&left.to_le_bytes());
                self.next = Next::RestOfText { left, part: Box::new(part) };
            }
            Next::RestOfText { left, part } => {
                let text = raw.slice(raw.left() as u64)?;
                *left = left.checked_sub(text.len() as u64).ok_or(LEFT_OVER)?;
                part.update(text);
                return Ok(false);
            }
            Next::Head(rows) => {
                let head = rows.head(raw)?;
                self.next = Next::Row { rows: *rows, head, left: head.rows };
            }
            Next::Row { left: 0, .. } | Next::BehindNodes(_) => return Ok(false),
            Next::Row { rows, head, left } => {
                answer(rows.give(*head, raw, &mut taker))?;
                *left -= 1;
            }
            Next::Nodes(coding) => self.next = Next::Node { coding: *coding, left: raw.length()? },
            Next::Node { coding, left: 0 } => self.next = Next::BehindNodes(*coding),
            Next::Node { left, .. } => {
                answer(node(raw, &mut taker))?;
                *left -= 1;
            }
        }
        Ok(true)
    }

    /// The digest, when all of the value has come.
    pub fn finish(mut self) -> Result<[u8; 32], Unreadable> {
        let mut raw = Raw::of(&self.held);
        match self.next {
            Next::RestOfText { left: 0, part } => self.parts.add(&part),
            Next::Row { left: 0, .. } => {}
            Next::BehindNodes(coding) => {
                let parts = &mut self.parts;
                let mut see = |item: Item<'_>| {
                    parts.see(item);
                    ControlFlow::Continue(())
                };
                answer(behind_nodes(&mut raw, coding, &mut Taker::of(&mut see)))?;
            }
            _ => return Err(ENDS),
        }
        raw.end()?;
        Ok(self.parts.finish())
    }
}
