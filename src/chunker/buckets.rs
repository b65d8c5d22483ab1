//! Where the records of a dump, sorted by their keys, are cut into buckets. Rules: format-spec/05-chunks.md.

use super::Sizes;

/// Says of each record in turn whether a bucket ends before it.
///
/// CHUNK-4: what counts is the keyed hash of the record's place, against a threshold that grows with its length, strict up
/// to the mean and loose from there on. So a value that changes moves a border about as rarely as its length changes, and
/// a record more or less moves those beside it.
#[derive(Debug, Clone)]
pub struct BucketCutter {
    sizes: Sizes,
    /// Bytes of the records since the last border.
    filled: usize,
}

impl BucketCutter {
    /// A cutter before the first record.
    pub fn new(sizes: Sizes) -> BucketCutter {
        BucketCutter { sizes, filled: 0 }
    }

    /// A bucket begins with a record of `length` bytes, whatever its hash says.
    pub fn begin(&mut self, length: usize) {
        self.filled = length;
    }

    /// Whether a bucket ends before a record of `length` bytes (below 4 GiB); `hash` is that of its place, which is its
    /// database, big-endian, and its key.
    pub fn is_border(&mut self, hash: u32, length: usize) -> bool {
        let is_border = self.filled > 0 && self.ends_before(hash, length);
        if is_border {
            self.filled = 0;
        }
        self.filled = self.filled.saturating_add(length);
        is_border
    }

    fn ends_before(&self, hash: u32, length: usize) -> bool {
        let Sizes { min, mean, max } = self.sizes;
        if self.filled.saturating_add(length) > max {
            return true;
        }
        let (hash, mean_bytes, length) = (u64::from(hash), mean as u64, (length as u64) << 32);
        match self.filled {
            filled if filled < min => false,
            filled if filled < mean => hash * mean_bytes * 4 < length,
            _ => hash * mean_bytes < length * 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { min: 32 << 10, mean: 96 << 10, max: 256 << 10 };

    fn cut(records: &[(String, usize)]) -> Vec<(String, usize)> {
        let (mut cutter, mut buckets) = (BucketCutter::new(SIZES), Vec::new());
        for (key, length) in records {
            let place = [&[0; 4], key.as_bytes()].concat();
            let hash = u32::from_le_bytes(*blake3::keyed_hash(&[7; 32], &place).as_bytes().first_chunk().unwrap());
            if cutter.is_border(hash, *length) || buckets.is_empty() {
                buckets.push((key.clone(), 0));
            }
            buckets.last_mut().unwrap().1 += length;
        }
        buckets
    }

    fn records(count: usize, length: impl Fn(usize) -> usize) -> Vec<(String, usize)> {
        (0..count).map(|number| (format!("user:{number:08}"), length(number))).collect()
    }

    /// CHUNK-4
    #[test]
    fn buckets_are_about_as_large_as_they_should_be_whatever_the_records() {
        for length in [40, 400, 4_000, 30_000] {
            let buckets = cut(&records(40 * SIZES.mean / length, |number| length / 2 + number * 7919 % length));
            let mean = buckets.iter().map(|(_, bytes)| bytes).sum::<usize>() / buckets.len();
            assert!((80 << 10..140 << 10).contains(&mean), "records of {length}: {mean}");
            let (_, whole) = buckets.split_last().unwrap();
            assert!(whole.iter().all(|(_, bytes)| (SIZES.min..=SIZES.max).contains(bytes)), "{buckets:?}");
        }
        let large = cut(&records(3, |_| 300_000));
        assert_eq!(large.len(), 3, "what is longer than any bucket stands alone");
    }

    /// CHUNK-4
    #[test]
    fn a_change_moves_the_borders_beside_it_at_most() {
        let before = records(60_000, |number| 200 + number * 7919 % 400);
        let borders = |records: &[(String, usize)]| cut(records).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let moved = |one: &[String], other: &[String]| one.iter().filter(|key| !other.contains(key)).count();
        let whole = borders(&before);
        assert!(whole.len() > 150);
        let mut values = before.clone();
        values.iter_mut().step_by(100).for_each(|(_, length)| *length += 3);
        let changed = borders(&values);
        assert!(moved(&whole, &changed) * 20 < whole.len(), "{} of {}", moved(&whole, &changed), whole.len());
        let mut more = before;
        more.insert(30_000, ("user:00029999b".into(), 5_000));
        assert!(moved(&whole, &borders(&more)) <= 3);
    }
}
