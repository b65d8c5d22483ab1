//! Sealing the parts of one object. Rules: format-spec/04-sealing.md.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

use super::NotAuthentic;
use super::keys::Key;

const NONCE: usize = 24;
const TAG: usize = 16;

/// Seals and opens the parts of one object.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    nonce_key: Key,
}

impl Sealer {
    /// SEAL-2: object key and nonce key follow from the kind's key and the object's salt.
    pub fn new(kind_key: &Key, salt: &[u8; 32]) -> Sealer {
        let mut both = zeroize::Zeroizing::new([0u8; 64]);
        blake3::Hasher::new_keyed(kind_key.expose()).update(salt).finalize_xof().fill(both.as_mut());
        let (object_key, nonce_key) = both.split_at(32);
        let mut nonce = [0; 32];
        nonce.copy_from_slice(nonce_key);
        let cipher = XChaCha20Poly1305::new_from_slice(object_key)
            .unwrap_or_else(|_| unreachable!("half of 64 bytes is a key's length"));
        Sealer { cipher, nonce_key: Key::new(nonce) }
    }

    /// A sealer from keys that follow another rule (the wrapped bag of a slot).
    pub fn from_keys(key: &Key, nonce_key: Key) -> Sealer {
        Sealer { cipher: XChaCha20Poly1305::new(&(*key.expose()).into()), nonce_key }
    }

    /// SEAL-4: the nonce follows from what is sealed, so a repeated salt tells equal from different and no more.
    fn nonce(&self, ordinal: Option<u32>, plaintext: &[u8]) -> [u8; NONCE] {
        let mut hasher = blake3::Hasher::new_keyed(self.nonce_key.expose());
        if let Some(ordinal) = ordinal {
            hasher.update(&ordinal.to_le_bytes());
        }
        let mut nonce = [0; NONCE];
        hasher.update(plaintext).finalize_xof().fill(&mut nonce);
        nonce
    }

    /// SEAL-3: appends nonce, ciphertext and tag of `plaintext` to `out`. `ordinal` is `None` only for a wrapped bag.
    pub fn seal(&self, ordinal: Option<u32>, aad: &[u8], plaintext: &[u8], out: &mut Vec<u8>) {
        let nonce = self.nonce(ordinal, plaintext);
        out.reserve(NONCE + plaintext.len() + TAG);
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plaintext);
        let Some(body) = out.get_mut(start..) else { unreachable!("it was just appended") };
        let tag = self
            .cipher
            .encrypt_inout_detached(&XNonce::from(nonce), aad, body.into())
            .unwrap_or_else(|_| unreachable!("parts are far below the cipher's 256 GiB"));
        out.extend_from_slice(&tag);
    }

    /// The plaintext of a sealed part.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(NotAuthentic)?;
        let (body, tag) = rest.split_last_chunk::<TAG>().ok_or(NotAuthentic)?;
        let mut plaintext = body.to_vec();
        self.cipher
            .decrypt_inout_detached(&XNonce::from(*nonce), aad, plaintext.as_mut_slice().into(), &(*tag).into())
            .map_err(|_| NotAuthentic)?;
        Ok(plaintext)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(salt: u8) -> Sealer {
        Sealer::new(&Key::new([1; 32]), &[salt; 32])
    }

    fn seal(sealer: &Sealer, ordinal: u32, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        sealer.seal(Some(ordinal), aad, plaintext, &mut out);
        out
    }

    /// SEAL-3
    #[test]
    fn a_part_opens_with_what_it_was_bound_to_and_nothing_else() {
        let sealed = seal(&sealer(2), 0, b"aad", b"plaintext");
        assert_eq!(sealed.len(), 9 + 40);
        assert_eq!(sealer(2).open(b"aad", &sealed), Ok(b"plaintext".to_vec()));
        assert_eq!(sealer(2).open(b"aae", &sealed), Err(NotAuthentic));
        assert_eq!(sealer(3).open(b"aad", &sealed), Err(NotAuthentic));
        for place in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[place] ^= 0x10;
            assert_eq!(sealer(2).open(b"aad", &flipped), Err(NotAuthentic), "byte {place}");
            assert_eq!(sealer(2).open(b"aad", &sealed[..place]), Err(NotAuthentic));
        }
    }

    /// SEAL-4
    #[test]
    fn with_one_salt_and_ordinal_two_plaintexts_get_two_nonces() {
        let (a, b) = (seal(&sealer(2), 0, b"", b"first"), seal(&sealer(2), 0, b"", b"other"));
        assert_ne!(a[..24], b[..24]);
        assert_ne!(seal(&sealer(2), 1, b"", b"first")[..24], a[..24]);
        assert_eq!(seal(&sealer(2), 0, b"", b"first"), a);
    }
}
