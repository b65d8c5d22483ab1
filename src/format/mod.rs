//! The bytes of a repository, one file for each chapter of format-spec; encode stands beside decode.
//!
//! Nothing here seals, opens, hashes for naming or touches a store: these are the layouts alone. Every decoder takes
//! bytes from outside, checks lengths before it allocates, and fails with [`Malformed`].

mod bytes;
pub mod columns;
pub mod config;
pub mod copies;
pub mod counts;
pub mod databases;
pub mod form;
pub mod frame;
pub mod ids;
pub mod index;
pub mod keys;
pub mod ledger;
pub mod limits;
pub mod list;
pub mod local;
pub mod note;
pub mod object;
pub mod origin;
pub mod pack;
pub mod recipe;
pub mod recovery;
pub mod roster;
pub mod sealing;
pub mod session;
pub mod set;
pub mod snapshot;
pub mod summary;
pub mod timeline;

pub use bytes::{Reader, put_varint};
pub use ids::{ChunkId, Id16, KeysDigest, ObjectHash, UnixMillis};

/// What is wrong with bytes that should have followed a chapter of format-spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {why}")]
pub struct Malformed {
    /// The structure, in the specification's word.
    pub what: &'static str,
    /// Which rule it breaks.
    pub why: String,
}

impl Malformed {
    /// A structure and what is wrong with it.
    pub fn new(what: &'static str, why: impl Into<String>) -> Self {
        Malformed { what, why: why.into() }
    }
}

/// Decodes one CBOR structure that fills `bytes` exactly.
pub(crate) fn decode_cbor<'b, T: minicbor::Decode<'b, ()>>(
    what: &'static str,
    bytes: &'b [u8],
) -> Result<T, Malformed> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode().map_err(|error| Malformed::new(what, error.to_string()))?;
    match bytes.len() - decoder.position() {
        0 => Ok(value),
        left => Err(Malformed::new(what, format!("{left} bytes left over"))),
    }
}

/// CBOR as CONV-4 wants it: minicbor's derived maps are definite and ascending.
pub(crate) fn encode_cbor<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    match minicbor::encode(value, &mut bytes) {
        Ok(()) => bytes,
        Err(error) => unreachable!("a vector takes every byte: {error}"),
    }
}

#[cfg(test)]
mod tests;
