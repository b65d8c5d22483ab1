//! Decoded bytes that are kept while there is room for them: what was not used for longest goes first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// What an entry costs beside its bytes.
const OVERHEAD: usize = 192;

/// Values by key, up to a number of bytes; the newest one stays even where it alone exceeds it.
pub(super) struct Cache<K, V> {
    room: usize,
    used: usize,
    clock: u64,
    entries: HashMap<K, Entry<V>>,
    by_use: BTreeMap<u64, K>,
}

struct Entry<V> {
    used_at: u64,
    cost: usize,
    value: V,
}

impl<K: Copy + Eq + Hash, V: Clone> Cache<K, V> {
    /// An empty cache for `room` bytes.
    pub fn new(room: usize) -> Self {
        Cache { room, used: 0, clock: 0, entries: HashMap::new(), by_use: BTreeMap::new() }
    }

    /// The value of a key, which counts as a use of it.
    pub fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        self.by_use.remove(&entry.used_at);
        self.by_use.insert(self.clock, *key);
        entry.used_at = self.clock;
        Some(entry.value.clone())
    }

    /// Keeps nothing of it.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.by_use.clear();
        self.used = 0;
    }

    /// Keeps a value of `bytes` bytes.
    pub fn insert(&mut self, key: K, value: V, bytes: usize) {
        self.clock += 1;
        let (used_at, cost) = (self.clock, bytes + OVERHEAD);
        self.by_use.insert(used_at, key);
        self.used += cost;
        if let Some(old) = self.entries.insert(key, Entry { used_at, cost, value }) {
            self.by_use.remove(&old.used_at);
            self.used -= old.cost;
        }
        while self.used > self.room && self.entries.len() > 1 {
            let oldest = self.by_use.pop_first().and_then(|(_, key)| self.entries.remove(&key));
            self.used -= oldest.map_or(0, |entry| entry.cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(cache: &mut Cache<u32, u32>, keys: &[u32]) -> Vec<u32> {
        keys.iter().copied().filter(|key| cache.entries.contains_key(key)).collect()
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut cache = Cache::new(3 * (100 + OVERHEAD));
        for key in 0..3 {
            cache.insert(key, key, 100);
        }
        assert_eq!(cache.get(&0), Some(0));
        cache.insert(3, 3, 100);
        assert_eq!(kept(&mut cache, &[0, 1, 2, 3]), [0, 2, 3]);
        cache.insert(0, 7, 100);
        assert_eq!((cache.get(&0), cache.used), (Some(7), 3 * (100 + OVERHEAD)));
        cache.insert(4, 4, 200);
        assert_eq!(kept(&mut cache, &[0, 2, 3, 4]), [0, 4]);
    }

    #[test]
    fn the_newest_stays_even_if_it_alone_is_too_large() {
        let mut cache = Cache::new(10);
        cache.insert(1, 1, 5);
        cache.insert(2, 2, 5000);
        assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(2)));
        assert_eq!(cache.by_use.len(), 1);
    }
}
