//! Condemnations and burials: format-spec/11-sessions.md and 16-sweep.md.

use super::bytes::Outcome;
use super::cbor::{self, Map};

/// Packs that a sweep is going to delete.
#[derive(Debug, PartialEq, Eq)]
pub struct CondemnedView {
    /// Its id.
    pub id: [u8; 16],
    /// Names of the packs.
    pub packs: Vec<[u8; 32]>,
}

/// A sweep's decision that packs may be deleted.
#[derive(Debug, PartialEq, Eq)]
pub struct BurialView {
    /// Ids of the condemnations.
    pub condemned: Vec<[u8; 16]>,
    /// Names of the packs.
    pub packs: Vec<[u8; 32]>,
    /// Packs the sweep stored for what was still needed in them.
    pub rescue: Vec<[u8; 32]>,
}

impl CondemnedView {
    pub(super) fn read(id: [u8; 16], plaintext: &[u8]) -> Outcome<CondemnedView> {
        cbor::whole(plaintext, |decoder| {
            let map = Map::read(decoder)?;
            map.required(0, cbor::exact::<16>)?;
            Ok(CondemnedView { id, packs: hashes(&map, 1)? })
        })
    }
}

impl BurialView {
    pub(super) fn read(plaintext: &[u8]) -> Outcome<BurialView> {
        cbor::whole(plaintext, |decoder| {
            let map = Map::read(decoder)?;
            map.required(3, cbor::uint)?;
            let condemned = map.required(0, |decoder| cbor::array(decoder, u64::MAX, cbor::exact::<16>))?;
            Ok(BurialView { condemned, packs: hashes(&map, 1)?, rescue: hashes(&map, 2)? })
        })
    }
}

fn hashes(map: &Map<'_>, key: u64) -> Outcome<Vec<[u8; 32]>> {
    map.required(key, |decoder| cbor::array(decoder, u64::MAX, cbor::exact::<32>))
}
