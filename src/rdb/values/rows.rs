//! Values that are a number of rows, one behind the other, each whole by itself: the larger ones of most kinds.

use super::each::{Step, Taker, elements, plain_field};
use super::packed::Elements;
use super::raw::{Raw, Read};
use super::{Item, Unreadable, score};
use crate::rdb::header::Family;

/// What a row is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    Elements,
    MembersOfText,
    Members,
    Fields,
    /// With expiries: none is 0.
    Expiring,
    /// With expiries: none is 0, else it is one more than it is after the earliest one, which stands before all rows.
    ExpiringAfter,
    /// With expiries of Valkey.
    ExpiringOfValkey,
    Ziplists,
    Nodes,
}

/// What stands before the rows.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) rows: u64,
    earliest: u64,
}

impl Rows {
    pub(super) fn of(type_byte: u8, family: Family) -> Option<Rows> {
        match (type_byte, family) {
            (1 | 2, _) => Some(Rows::Elements),
            (3, _) => Some(Rows::MembersOfText),
            (4, _) => Some(Rows::Fields),
            (5, _) => Some(Rows::Members),
            (14, _) => Some(Rows::Ziplists),
            (18, _) => Some(Rows::Nodes),
            (22, Family::Redis) => Some(Rows::Expiring),
            (22, Family::Valkey) => Some(Rows::ExpiringOfValkey),
            (24, Family::Redis) => Some(Rows::ExpiringAfter),
            _ => None,
        }
    }

    pub(super) fn head(self, raw: &mut Raw<'_>) -> Read<Head> {
        let earliest = if self == Rows::ExpiringAfter { u64::from_le_bytes(raw.bytes()?) } else { 0 };
        Ok(Head { rows: raw.length()?, earliest })
    }

    /// Consumes a row. Nothing is handed on of one that is not whole.
    pub(super) fn give(self, head: Head, raw: &mut Raw<'_>, taker: &mut Taker<'_>) -> Step {
        match self {
            Rows::Elements => taker.give(Item::Element(&raw.string()?)),
            Rows::MembersOfText => {
                let member = raw.string()?;
                taker.give(Item::Member { member: &member, score: score::of_text(raw)? })
            }
            Rows::Members => {
                let member = raw.string()?;
                taker.give(Item::Member { member: &member, score: f64::from_le_bytes(raw.bytes()?) })
            }
            Rows::Fields => plain_field(raw, taker),
            Rows::Expiring | Rows::ExpiringAfter => {
                let (told, name, value) = (raw.length()?, raw.string()?, raw.string()?);
                let beyond = Unreadable::Broken("a field goes beyond all time");
                let expires = match told {
                    0 => None,
                    told if self == Rows::Expiring => Some(told),
                    told => Some(head.earliest.checked_add(told - 1).ok_or(beyond)?),
                };
                taker.give(Item::Field { name: &name, value: &value, expires })
            }
            Rows::ExpiringOfValkey => {
                let (name, value) = (raw.string()?, raw.string()?);
                let expires = u64::try_from(i64::from_le_bytes(raw.bytes()?)).ok();
                taker.give(Item::Field { name: &name, value: &value, expires })
            }
            Rows::Ziplists => elements(Elements::of_ziplist(&raw.string()?)?, taker),
            Rows::Nodes => match raw.length()? {
                1 => taker.give(Item::Element(&raw.string()?)),
                2 => elements(Elements::of_listpack(&raw.string()?)?, taker),
                _ => Err(Unreadable::Unknown("a list node in a container of no known form".to_owned()).into()),
            },
        }
    }
}
