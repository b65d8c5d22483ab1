//! Sealing the parts of one object. Rules: format-spec/04-sealing.md.

use chacha20::{R20, hchacha};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize as _;

use super::NotAuthentic;
use super::keys::Key;

const NONCE: usize = 24;
const TAG: usize = 16;

/// Seals and opens the parts of one object.
pub struct Sealer {
    object_key: Key,
    nonce_key: Key,
}

impl Sealer {
    /// SEAL-2: object key and nonce key follow from the kind's key and the object's salt.
    pub fn new(kind_key: &Key, salt: &[u8; 32]) -> Sealer {
        let mut both = zeroize::Zeroizing::new([0u8; 64]);
        blake3::Hasher::new_keyed(kind_key.expose()).update(salt).finalize_xof().fill(both.as_mut());
        let (object_key, nonce_key) = both.split_at(32);
        let key = |half: &[u8]| {
            let mut key = zeroize::Zeroizing::new([0; 32]);
            key.copy_from_slice(half);
            Key::new(*key)
        };
        Sealer { object_key: key(object_key), nonce_key: key(nonce_key) }
    }

    /// A sealer from keys that follow another rule (the wrapped bag of a slot).
    pub fn from_keys(key: &Key, nonce_key: Key) -> Sealer {
        Sealer { object_key: key.clone(), nonce_key }
    }

    /// XChaCha20-Poly1305 of one nonce: by its definition ChaCha20-Poly1305 under the key that HChaCha20 makes of the
    /// object key and the first 16 bytes, with the other eight as nonce. That one is twice as fast where it is one pass
    /// over the bytes.
    fn cipher(&self, nonce: &[u8; NONCE]) -> (LessSafeKey, Nonce) {
        let [first @ .., a, b, c, d, e, f, g, h] = *nonce;
        let mut key = hchacha::<R20>(&(*self.object_key.expose()).into(), &first.into());
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, key.as_slice());
        let cipher = LessSafeKey::new(unbound.unwrap_or_else(|_| unreachable!("32 bytes are a key's length")));
        key.as_mut_slice().zeroize();
        (cipher, Nonce::assume_unique_for_key([0, 0, 0, 0, a, b, c, d, e, f, g, h]))
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
        let (cipher, nonce) = self.cipher(&nonce);
        let tag = cipher
            .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
            .unwrap_or_else(|_| unreachable!("parts are far below the cipher's 256 GiB"));
        out.extend_from_slice(tag.as_ref());
    }

    /// The plaintext of a sealed part.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(NotAuthentic)?;
        let (cipher, nonce) = self.cipher(nonce);
        let mut plaintext = rest.to_vec();
        let length = cipher.open_in_place(nonce, Aad::from(aad), &mut plaintext).map_err(|_| NotAuthentic)?.len();
        plaintext.truncate(length);
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
