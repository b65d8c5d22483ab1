//! Sealing the numbered frames of a file that lives no longer than its key.

use std::sync::atomic::{AtomicU64, Ordering};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::NotAuthentic;
use super::keys::Key;

/// Bytes by which a frame grows when it is sealed.
pub const TAG: usize = 16;

/// Seals and opens frames with ChaCha20-Poly1305. The nonce is the frame's number; numbers are given out here, each once, so
/// the key must be that of one sealer alone.
pub struct NumberedSealer {
    cipher: LessSafeKey,
    next: AtomicU64,
}

impl NumberedSealer {
    /// The one sealer of this key.
    pub fn new(key: &Key) -> NumberedSealer {
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, key.expose());
        let cipher = LessSafeKey::new(unbound.unwrap_or_else(|_| unreachable!("32 bytes are a key's length")));
        NumberedSealer { cipher, next: AtomicU64::new(0) }
    }

    /// Seals a frame where it is, [`TAG`] bytes longer, and gives the number it is opened by.
    pub fn seal(&self, frame: &mut Vec<u8>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sealed = self.cipher.seal_in_place_append_tag(nonce(number), Aad::empty(), frame);
        sealed.unwrap_or_else(|_| unreachable!("frames are far below the cipher's 256 GiB"));
        number
    }

    /// Opens the frame of this number where it is. Where it is refused its bytes are of no use.
    pub fn open(&self, number: u64, frame: &mut Vec<u8>) -> Result<(), NotAuthentic> {
        let length = self.cipher.open_in_place(nonce(number), Aad::empty(), frame).map_err(|_| NotAuthentic)?.len();
        frame.truncate(length);
        Ok(())
    }
}

fn nonce(number: u64) -> Nonce {
    let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
    Nonce::assume_unique_for_key([0, 0, 0, 0, a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_opens_under_its_key_and_number_only_and_unchanged() {
        let sealer = NumberedSealer::new(&Key::new([1; 32]));
        let mut sealed = [b"frame".to_vec(), b"frame".to_vec()];
        let numbers = sealed.each_mut().map(|frame| sealer.seal(frame));
        assert_ne!(sealed[0], sealed[1]);
        assert_eq!(sealed[0].len(), 5 + TAG);
        let open = |sealer: &NumberedSealer, number, frame: &[u8]| {
            let mut frame = frame.to_vec();
            sealer.open(number, &mut frame).map(|()| frame)
        };
        for (number, frame) in numbers.into_iter().zip(&sealed) {
            assert_eq!(open(&sealer, number, frame), Ok(b"frame".to_vec()));
            assert_eq!(open(&sealer, 1 - number, frame), Err(NotAuthentic));
            assert_eq!(open(&NumberedSealer::new(&Key::new([2; 32])), number, frame), Err(NotAuthentic));
            for place in 0..frame.len() {
                let mut flipped = frame.clone();
                flipped[place] ^= 4;
                assert_eq!(open(&sealer, number, &flipped), Err(NotAuthentic));
                assert_eq!(open(&sealer, number, &frame[..place]), Err(NotAuthentic));
            }
        }
    }
}
