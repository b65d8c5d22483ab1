//! Notes: format-spec/15-notes.md.

use super::bytes::Outcome;
use super::cbor::{self, Map};
use super::limits::FAULT_MAX;

/// What a note says.
#[derive(Debug, PartialEq, Eq)]
pub enum NoteView {
    /// Packs that were read, and what is wrong with each.
    Check(Vec<([u8; 32], Option<String>)>),
    /// Packs, chunks and objects that are lost.
    Loss(Vec<[u8; 32]>, Vec<[u8; 16]>, Vec<String>),
    /// A snapshot, the server it was given to, its keys, why that failed, and the digest.
    Drill(String, String, u64, Option<String>, Option<[u8; 20]>),
}

impl NoteView {
    /// A note, or nothing where its sort is not known.
    pub(super) fn read(plaintext: &[u8]) -> Outcome<Option<NoteView>> {
        cbor::whole(plaintext, |decoder| {
            let map = Map::read(decoder)?;
            map.required(1, cbor::uint)?;
            map.required(2, cbor::text)?;
            // NOTE-2
            match map.required(0, cbor::uint)? {
                1 => {
                    let reads = map.required(3, |decoder| cbor::array(decoder, u64::MAX, read))?;
                    ascending(reads.iter().map(|(pack, _)| pack))?;
                    Ok(Some(NoteView::Check(reads)))
                }
                2 => {
                    let packs = map.required(4, |decoder| cbor::array(decoder, u64::MAX, cbor::exact::<32>))?;
                    let chunks = map.required(5, |decoder| cbor::array(decoder, u64::MAX, cbor::exact::<16>))?;
                    let objects = map.required(6, |decoder| cbor::array(decoder, u64::MAX, cbor::text))?;
                    ascending(packs.iter())?;
                    ascending(chunks.iter())?;
                    ascending(objects.iter())?;
                    Ok(Some(NoteView::Loss(packs, chunks, objects)))
                }
                3 => {
                    let snapshot = map.required(7, cbor::text)?;
                    let (server, keys) = (map.required(8, cbor::text)?, map.required(9, cbor::uint)?);
                    let (fault, digest) = (map.optional(10, cbor::text)?, map.optional(11, cbor::exact::<20>)?);
                    // NOTE-9
                    if !snapshot.starts_with("snapshots/") {
                        return Err("a drill of no snapshot".into());
                    }
                    if fault.is_some() && digest.is_some() {
                        return Err("a drill that failed has a digest".into());
                    }
                    if server.len() > FAULT_MAX || fault.as_ref().is_some_and(|fault| fault.len() > FAULT_MAX) {
                        return Err("a text beyond FAULT_MAX".into());
                    }
                    Ok(Some(NoteView::Drill(snapshot, server, keys, fault, digest)))
                }
                _ => Ok(None),
            }
        })
    }
}

fn read(decoder: &mut minicbor::Decoder<'_>) -> Outcome<([u8; 32], Option<String>)> {
    let map = Map::read(decoder)?;
    let fault = map.optional(1, cbor::text)?;
    match fault.as_ref().is_some_and(|fault| fault.len() > FAULT_MAX) {
        true => Err("a fault beyond FAULT_MAX".into()),
        false => Ok((map.required(0, cbor::exact)?, fault)),
    }
}

fn ascending<T: PartialOrd>(items: impl Iterator<Item = T>) -> Outcome<()> {
    if items.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err("a list of a note does not ascend".into()) }
}
