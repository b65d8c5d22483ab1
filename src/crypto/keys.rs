//! Keys and how they follow from each other. Rules: format-spec/03-keys.md.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Thirty-two secret bytes: no Debug, no comparison, gone from memory when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; 32]);

impl Key {
    /// A key of these bytes.
    pub fn new(bytes: [u8; 32]) -> Key {
        Key(bytes)
    }

    /// The bytes, for whoever uses the key.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// `derive(context, key)` of format-spec/01-conventions.md.
    pub fn derive(&self, context: &str) -> Key {
        Key(blake3::derive_key(context, &self.0))
    }

    /// `keyed(key, message)`, 32 bytes.
    pub fn hash(&self, message: &[u8]) -> [u8; 32] {
        blake3::keyed_hash(&self.0, message).into()
    }
}

/// KEY-2: the key of an object kind under a seal epoch.
pub fn kind_key(epoch_secret: &[u8; 32], kind_name: &str) -> Key {
    Key(blake3::derive_key(&format!("redkeep 2026-11 seal {kind_name}"), epoch_secret))
}

/// KEY-4: the eight bytes that stand for a dataset's name in object names.
pub fn dataset_tag(chunk_id_key: &Key, dataset: &str) -> [u8; 8] {
    let hash = chunk_id_key.derive("redkeep 2026-11 dataset tag").hash(dataset.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = hash;
    [a, b, c, d, e, f, g, h]
}

/// CHUNK-1: the id of a chunk is the first half of the keyed hash of its plaintext.
pub fn chunk_id(chunk_id_key: &Key, plaintext: &[u8]) -> [u8; 16] {
    let hash = chunk_id_key.hash(plaintext);
    hash.first_chunk().copied().unwrap_or_else(|| unreachable!("a hash has 32 bytes"))
}
