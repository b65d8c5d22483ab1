//! From a password or key file to the key of a slot. Rules: format-spec/03-keys.md.

pub use argon2::Block;
use argon2::{Algorithm, Argon2, Params, Version};
use subtle::ConstantTimeEq;

use super::NotAuthentic;
use super::keys::Key;
use super::seal::Sealer;

/// What a person or file gave; gone from memory when dropped.
pub type Secret = zeroize::Zeroizing<Vec<u8>>;

/// The key of a slot, from its secret.
pub struct SlotKey(Key);

/// Argon2 could not be run with these costs (not enough memory, or costs it does not accept).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot run Argon2 with {memory} KiB of memory")]
pub struct CannotDerive {
    /// KiB that were asked for.
    pub memory: u32,
}

impl SlotKey {
    /// KEY-5: Argon2id of the secret, in memory of as many blocks as KiB are to be taken. These hold what the key follows from
    /// afterwards: they are for the caller to wipe, who checks the costs, too.
    pub fn derive(
        secret: &Secret,
        salt: &[u8; 32],
        blocks: &mut [Block],
        passes: u32,
        lanes: u32,
    ) -> Result<SlotKey, CannotDerive> {
        let memory = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
        let cannot = |_| CannotDerive { memory };
        let params = Params::new(memory, passes, lanes, Some(32)).map_err(cannot)?;
        let mut key = zeroize::Zeroizing::new([0; 32]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into_with_memory(secret, salt, key.as_mut(), blocks).map_err(cannot)?;
        Ok(SlotKey(Key::new(*key)))
    }

    /// What a slot stores to tell a right secret from a wrong one.
    pub fn commitment(&self) -> [u8; 32] {
        *self.0.derive("redkeep 2026-11 slot commitment").expose()
    }

    /// KEY-7: compared in constant time.
    pub fn is_committed_to(&self, commitment: &[u8; 32]) -> bool {
        self.commitment().ct_eq(commitment).into()
    }

    /// KEY-8: nonce, ciphertext and tag of the bag.
    pub fn wrap(&self, aad: &[u8], bag: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.sealer().seal(None, aad, bag, &mut out);
        out
    }

    /// The bag, unwrapped.
    pub fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Secret, NotAuthentic> {
        self.sealer().open(aad, wrapped).map(Secret::new)
    }

    fn sealer(&self) -> Sealer {
        Sealer::from_keys(&self.0.derive("redkeep 2026-11 slot wrap"), self.0.derive("redkeep 2026-11 slot nonce"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> SlotKey {
        let mut blocks = [Block::default(); 64];
        SlotKey::derive(&Secret::new(secret.into()), &[1; 32], &mut blocks, 1, 1).expect("64 KiB")
    }

    /// KEY-5, KEY-7
    #[test]
    fn a_slot_key_is_committed_to_its_own_commitment_only() {
        assert!(key("right").is_committed_to(&key("right").commitment()));
        assert!(!key("wrong").is_committed_to(&key("right").commitment()));
    }

    /// KEY-8
    #[test]
    fn a_bag_unwraps_with_its_key_and_binding_only() {
        let wrapped = key("right").wrap(b"aad", b"bag");
        assert_eq!(key("right").unwrap(b"aad", &wrapped).map(|bag| bag.to_vec()), Ok(b"bag".to_vec()));
        assert!(key("right").unwrap(b"other", &wrapped).is_err());
        assert!(key("wrong").unwrap(b"aad", &wrapped).is_err());
    }

    #[test]
    fn impossible_costs_are_an_error() {
        assert!(SlotKey::derive(&Secret::new(vec![]), &[1; 32], &mut [Block::default()], 1, 1).is_err());
    }
}
