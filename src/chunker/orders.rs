//! Where orders are cut: single bytes of them change all over, which moves no border that few bytes decide. Rules:
//! format-spec/05-chunks.md.

use super::Sizes;

/// Bytes before a border that decide of it.
const DECIDING: usize = 4;
/// Spreads what these bytes say over all bits (2^32 divided by the golden ratio).
const SPREAD: u32 = 0x9e37_79b1;

/// CHUNK-5: the length of the first chunk of an order, where at least `sizes.max` bytes are shown, or all that are left.
pub fn cut_order(bytes: &[u8], sizes: Sizes) -> usize {
    let Sizes { min, mean, max } = sizes;
    let n = bytes.len().min(max);
    if n <= min {
        return n;
    }
    let bits = mean.ilog2();
    let is_border = |i: usize, bits: u32| {
        let deciding = bytes.get(i.wrapping_sub(DECIDING)..).and_then(|before| before.first_chunk::<DECIDING>());
        deciding.is_some_and(|before| u32::from_le_bytes(*before).wrapping_mul(SPREAD) >> (32 - bits) == 0)
    };
    (min..n).find(|i| is_border(*i, if *i < mean { bits + 2 } else { bits - 2 })).unwrap_or(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::noise;

    /// Where borders are.
    fn borders(bytes: &[u8], sizes: Sizes) -> Vec<usize> {
        let (mut ends, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            at += cut_order(&bytes[at..], sizes);
            ends.push(at);
        }
        ends
    }

    const SIZES: Sizes = Sizes { min: 1 << 10, mean: 4 << 10, max: 16 << 10 };

    /// CHUNK-5
    #[test]
    fn chunks_are_as_long_as_they_should_be() {
        let ends = borders(&noise(2_000_000, 1), SIZES);
        let mean = 2_000_000 / ends.len();
        assert!((SIZES.mean * 9 / 10..SIZES.mean * 3 / 2).contains(&mean), "mean {mean}");
        let lengths: Vec<usize> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let whole = lengths.split_last().map(|(_, whole)| whole).unwrap_or_default();
        assert!(whole.iter().all(|length| (SIZES.min..=SIZES.max).contains(length)));
        assert_eq!(borders(&[7; 40_000], SIZES), [16 << 10, 32 << 10, 40_000]);
        assert_eq!(borders(&noise(1 << 10, 2), SIZES), [1 << 10]);
        assert_eq!(borders(b"abc", Sizes { min: 0, mean: 64, max: 128 }), [3]);
    }

    /// CHUNK-5
    #[test]
    fn a_byte_in_a_hundred_that_changes_moves_few_borders() {
        let mut bytes = noise(2_000_000, 3);
        let before = borders(&bytes, SIZES);
        bytes.iter_mut().step_by(100).for_each(|byte| *byte = byte.wrapping_add(1));
        let after = borders(&bytes, SIZES);
        let stayed = before.iter().filter(|end| after.binary_search(end).is_ok()).count();
        assert!(stayed * 5 > before.len() * 4, "{stayed} of {}", before.len());
    }
}
