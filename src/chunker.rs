//! FastCDC: where bytes are cut into chunks. Rules: format-spec/05-chunks.md.

mod buckets;
mod orders;

use fastcdc::v2020::{Normalization, cut_gear, select_masks};

pub use buckets::BucketCutter;
pub use orders::cut_order;

/// Smallest, mean (a power of two) and largest chunk, in bytes; all even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// No chunk but the last is smaller.
    pub min: usize,
    /// Where the masks change from strict to loose.
    pub mean: usize,
    /// No chunk is larger.
    pub max: usize,
}

/// Finds the ends of chunks for one key and one set of sizes. Holds two tables of 2 KiB.
///
/// CHUNK-3: FastCDC in its two-byte form, normalization level 2, with a gear table drawn from the chunker key.
#[derive(Clone)]
pub struct Chunker {
    sizes: Sizes,
    gear: Vec<u64>,
    gear_shifted: Vec<u64>,
    strict: u64,
    loose: u64,
}

impl Chunker {
    /// A chunker under the repository's chunker key.
    pub fn new(key: &[u8; 32], sizes: Sizes) -> Chunker {
        let mut bytes = [0u8; 2048];
        blake3::Hasher::new_keyed(key).update(b"gear").finalize_xof().fill(&mut bytes);
        let gear: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|eight| u64::from_le_bytes(*eight)).collect();
        let gear_shifted = gear.iter().map(|value| value << 1).collect();
        let (strict, loose) = select_masks(sizes.mean, Normalization::Level2);
        Chunker { sizes, gear, gear_shifted, strict, loose }
    }

    /// The sizes of its chunks.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Length of the first chunk of `bytes`. The caller shows the bytes of the largest chunk, or all that are left.
    pub fn cut(&self, bytes: &[u8]) -> usize {
        let (strict_shifted, loose_shifted) = (self.strict << 1, self.loose << 1);
        cut_gear(
            bytes,
            self.sizes.min,
            self.sizes.mean,
            self.sizes.max,
            self.strict,
            self.loose,
            strict_shifted,
            loose_shifted,
            &self.gear,
            &self.gear_shifted,
        )
        .1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's loop, one byte at a time.
    fn cut_as_specified(chunker: &Chunker, bytes: &[u8]) -> usize {
        let Sizes { min, mean, max } = chunker.sizes;
        let n = bytes.len().min(max);
        if bytes.len() <= min {
            return bytes.len();
        }
        let mean = mean.min(n);
        let mut hash = 0u64;
        for (i, byte) in bytes.iter().enumerate().take(n - n % 2).skip(min) {
            hash = (hash << 1).wrapping_add(chunker.gear[usize::from(*byte)]);
            if hash & (if i < mean { chunker.strict } else { chunker.loose }) == 0 {
                return i;
            }
        }
        n
    }

    /// CHUNK-3
    #[test]
    fn cuts_are_where_the_specification_says() {
        let mut bytes = vec![0u8; 3_000_001];
        blake3::Hasher::new().update(b"content").finalize_xof().fill(&mut bytes);
        for (min, mean, max) in [(16 << 10, 64 << 10, 256 << 10), (1 << 10, 4 << 10, 16 << 10)] {
            let sizes = Sizes { min, mean, max };
            let chunker = Chunker::new(&[7; 32], sizes);
            let (mut rest, mut count) = (&bytes[..], 0);
            while !rest.is_empty() {
                let length = chunker.cut(rest);
                assert_eq!(length, cut_as_specified(&chunker, rest));
                rest = &rest[length..];
                count += 1;
            }
            let mean = bytes.len() / count;
            assert!((sizes.mean * 9 / 10..sizes.mean * 3 / 2).contains(&mean), "mean {mean}");
        }
    }
}
