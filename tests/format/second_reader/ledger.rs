//! Ledgers: format-spec/11-sessions.md.

use minicbor::Decoder;

use super::bytes::Outcome;
use super::cbor::{self, Map};
use super::limits::SEQUENCE_MAX;
use super::snapshot::Named;

/// What a ledger says: snapshots that were forgotten, and names that are void.
#[derive(Debug, Default)]
pub(super) struct LedgerView {
    pub(super) forgotten: Vec<String>,
    pub(super) void: Vec<String>,
}

impl LedgerView {
    pub(super) fn read(tag: [u8; 8], plaintext: &[u8]) -> Outcome<LedgerView> {
        cbor::whole(plaintext, |decoder| {
            let map = Map::read(decoder)?;
            let entry = |decoder: &mut Decoder<'_>| entry(decoder, tag);
            let entries = |decoder: &mut Decoder<'_>| ascending(cbor::array(decoder, u64::MAX, entry)?);
            let group = |decoder: &mut Decoder<'_>| {
                let map = Map::read(decoder)?;
                let (reason, of) = (map.required(0, cbor::text)?, map.required(1, entries)?);
                if of.is_empty() { Err("a group without entries".into()) } else { Ok((reason, of)) }
            };
            let groups = map.required(0, |decoder| cbor::array(decoder, u64::MAX, group))?;
            let void = map.required(1, entries)?;
            // LEDGER-1
            if !groups.is_sorted_by(|(one, _), (next, _)| one < next) {
                return Err("groups of a ledger out of order".into());
            }
            if groups.is_empty() && void.is_empty() {
                return Err("a ledger that says nothing".into());
            }
            let names = |of: &[Named]| of.iter().map(Named::name).collect::<Vec<_>>();
            let forgotten = groups.iter().flat_map(|(_, of)| names(of)).collect();
            Ok(LedgerView { forgotten, void: names(&void) })
        })
    }
}

fn entry(decoder: &mut Decoder<'_>, tag: [u8; 8]) -> Outcome<Named> {
    let map = Map::read(decoder)?;
    let (place, sequence) = (map.bounded(0, SEQUENCE_MAX)?, map.bounded(1, SEQUENCE_MAX)?);
    let (time, session) = (map.required(2, cbor::uint)?, map.required(3, cbor::exact)?);
    map.required(4, cbor::uint)?;
    Ok(Named { tag, place, sequence, time, session })
}

fn ascending(entries: Vec<Named>) -> Outcome<Vec<Named>> {
    match entries.is_sorted_by(|one, next| one < next) {
        true => Ok(entries),
        false => Err("entries of a ledger out of order".into()),
    }
}
