//! The largest keys of a snapshot's dump, and where names begin alike.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::dataset::{Dataset, LISTED_LONGEST, canonical, read_all};
use crate::operations::list::Chosen;
use crate::operations::{Observer, OperationError};
use crate::rdb::Kind;
use crate::repository::{ChunkReader, DumpLookup, LookedUp, Repository, RepositoryError};

/// Of the name of a key so many bytes are told.
pub const NAME_LONGEST: usize = 64 << 10;
/// A prefix ends behind this byte.
const SEPARATOR: u8 = b':';
/// Longer prefixes are not looked for, nor those behind so many separators.
const PREFIX_LONGEST: usize = 255;
const DEPTH: usize = 8;

/// The largest of a dump. Sizes are those of names and values in the dump, if nothing were compressed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Largest {
    /// All keys.
    pub keys: u64,
    /// Their bytes.
    pub size: u64,
    /// The largest keys, the largest first.
    pub largest: Vec<LargestKey>,
    /// Where names begin alike, the largest first; `None` where keys are not known in the order of their names.
    pub prefixes: Option<Vec<LargestPrefix>>,
    /// Files of commands that go on behind the dump, and are not followed.
    pub behind: Vec<String>,
    /// Why keys may be missing.
    pub unread: Option<String>,
}

/// A large key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LargestKey {
    /// Bytes of its name and value.
    pub size: u64,
    /// The database it is in.
    pub database: Reverse<u64>,
    /// Its name, cut to [`NAME_LONGEST`].
    pub key: Reverse<Vec<u8>>,
    /// What kind of value it has, where that is known.
    pub kind: Option<&'static str>,
}

/// Keys whose names begin alike, up to and with a colon. One all of whose keys have a longer one in common is not told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LargestPrefix {
    /// Bytes of their names and values.
    pub size: u64,
    /// The database they are in.
    pub database: Reverse<u64>,
    /// How they begin.
    pub prefix: Reverse<Vec<u8>>,
    /// How many there are.
    pub keys: u64,
}

/// Looks through a snapshot's dump for the `count` largest keys and prefixes. Of a dump in canonical form only buckets are
/// read. Memory: as of [`DumpLookup`], and `count` names twice.
pub fn largest(
    repository: &Repository,
    chosen: &Chosen,
    count: usize,
    observer: &dyn Observer,
) -> Result<Largest, OperationError> {
    let reader = ChunkReader::new(repository);
    let dataset = Dataset::of(&reader, &chosen.snapshot)?;
    let Some(file) = dataset.dump else {
        let unread = Some("there is no dump before the commands".into());
        return Ok(Largest { behind: dataset.with_commands(None), unread, ..Largest::default() });
    };
    let mut found = Finder::new(count);
    let mut behind = dataset.with_commands(None);
    let (mut unread, mut unmeasured) = (None, 0u64);
    let go_on = || if observer.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let is_in_order = match canonical(file) {
        Some(part) => {
            observer.begin("reading keys", None);
            let _ = DumpLookup::new(&reader, part, LISTED_LONGEST)?.each_size(&mut |of| {
                found.take(of.database, of.key, of.kind, of.size);
                found.take_in_order(of.database, of.key, of.size);
                go_on()
            })?;
            true
        }
        None => {
            let mut goes_on = false;
            let mut each = |record: &LookedUp<'_>| {
                let measured = record.value.as_ref().and_then(|value| value.measure().ok());
                match measured {
                    Some(of) => {
                        found.take(record.database, record.key, record.kind, of.bytes + record.key.len() as u64)
                    }
                    None => unmeasured += 1,
                }
                go_on()
            };
            unread = read_all(&reader, file, LISTED_LONGEST, observer, &mut each, &mut |_| goes_on = true)?;
            if goes_on {
                behind.insert(0, file.display_path());
            }
            false
        }
    };
    if observer.interrupted() {
        return Err(RepositoryError::Interrupted.into());
    }
    if unmeasured > 0 && unread.is_none() {
        unread = Some(format!("{unmeasured} are longer than what is read, or cannot be read"));
    }
    Ok(Largest { behind, unread, ..found.finish(is_in_order) })
}

/// Takes keys one after the other.
struct Finder {
    count: usize,
    all: Largest,
    keys: Top<LargestKey>,
    prefixes: Top<LargestPrefix>,
    /// Prefixes of the last key, each longer than the one before.
    open: Vec<Open>,
    /// The longest of them, and its database.
    stem: (u64, Vec<u8>),
}

/// A prefix that later keys may have too.
struct Open {
    length: usize,
    keys: u64,
    size: u64,
    /// Most keys that have a longer prefix in common.
    widest: u64,
}

impl Finder {
    fn new(count: usize) -> Finder {
        let (keys, prefixes) = (Top::default(), Top::default());
        Finder { count, all: Largest::default(), keys, prefixes, open: Vec::new(), stem: (0, Vec::new()) }
    }

    fn take(&mut self, database: u64, key: &[u8], kind: Option<Kind>, size: u64) {
        self.all.keys += 1;
        self.all.size = self.all.size.saturating_add(size);
        if self.keys.wants(self.count, |least| size >= least.size) {
            let key = key.get(..NAME_LONGEST).unwrap_or(key).to_vec();
            let kind = kind.map(Kind::word);
            self.keys.put(self.count, LargestKey { size, database: Reverse(database), key: Reverse(key), kind });
        }
    }

    /// A key that is behind those before it in the order of databases and names.
    fn take_in_order(&mut self, database: u64, key: &[u8], size: u64) {
        let (of, stem) = &self.stem;
        let shared = stem.iter().zip(key).take_while(|(one, other)| one == other).count();
        let shared = if *of == database { shared } else { 0 };
        while self.open.last().is_some_and(|last| last.length > shared) {
            self.close();
        }
        let deepest = self.open.last().map_or(0, |last| last.length);
        let looked_at = key.get(..PREFIX_LONGEST).unwrap_or(key);
        let ends = looked_at.iter().enumerate().skip(deepest).filter(|(_, byte)| **byte == SEPARATOR);
        let left = DEPTH.saturating_sub(self.open.len());
        let ends = ends.take(left).map(|(at, _)| Open { length: at + 1, keys: 0, size: 0, widest: 0 });
        self.open.extend(ends);
        self.stem = (database, key.get(..self.open.last().map_or(0, |last| last.length)).unwrap_or_default().to_vec());
        for open in &mut self.open {
            open.keys += 1;
            open.size = open.size.saturating_add(size);
        }
    }

    fn close(&mut self) {
        let Some(done) = self.open.pop() else { return };
        if let Some(above) = self.open.last_mut() {
            above.widest = above.widest.max(done.keys);
        }
        let is_prefix = done.keys > 1 && done.widest < done.keys;
        if is_prefix && self.prefixes.wants(self.count, |least| done.size >= least.size) {
            let (database, stem) = &self.stem;
            let prefix = stem.get(..done.length).unwrap_or_default().to_vec();
            let Open { size, keys, .. } = done;
            let found = LargestPrefix { size, database: Reverse(*database), prefix: Reverse(prefix), keys };
            self.prefixes.put(self.count, found);
        }
    }

    fn finish(mut self, is_in_order: bool) -> Largest {
        while !self.open.is_empty() {
            self.close();
        }
        let prefixes = is_in_order.then(|| self.prefixes.finish());
        Largest { largest: self.keys.finish(), prefixes, ..self.all }
    }
}

/// The largest of many.
struct Top<T>(BTreeSet<T>);

impl<T> Default for Top<T> {
    fn default() -> Top<T> {
        Top(BTreeSet::new())
    }
}

impl<T: Ord> Top<T> {
    /// Whether one may be among them that is not below the least in this way.
    fn wants(&self, count: usize, is_above: impl Fn(&T) -> bool) -> bool {
        self.0.len() < count || self.0.first().is_some_and(is_above)
    }

    fn put(&mut self, count: usize, one: T) {
        self.0.insert(one);
        if self.0.len() > count {
            self.0.pop_first();
        }
    }

    fn finish(self) -> Vec<T> {
        self.0.into_iter().rev().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(count: usize, keys: &[(u64, &str, u64)]) -> Largest {
        let mut finder = Finder::new(count);
        for (database, key, size) in keys {
            finder.take(*database, key.as_bytes(), Some(Kind::String), *size);
            finder.take_in_order(*database, key.as_bytes(), *size);
        }
        finder.finish(true)
    }

    fn prefixes(found: &Largest) -> Vec<(u64, String, u64, u64)> {
        let text = |prefix: &LargestPrefix| String::from_utf8(prefix.prefix.0.clone()).unwrap();
        let found = found.prefixes.iter().flatten();
        found.map(|prefix| (prefix.database.0, text(prefix), prefix.keys, prefix.size)).collect()
    }

    #[test]
    fn the_largest_keys_come_first_and_equals_by_database_and_name() {
        let found = found(3, &[(0, "a", 5), (0, "b", 9), (0, "c", 5), (0, "d", 1), (1, "a", 5)]);
        let names: Vec<_> = found.largest.iter().map(|key| (key.database.0, key.key.0.clone(), key.size)).collect();
        assert_eq!(names, [(0, b"b".to_vec(), 9), (0, b"a".to_vec(), 5), (0, b"c".to_vec(), 5)]);
        assert_eq!((found.keys, found.size), (5, 25));
    }

    #[test]
    fn a_prefix_ends_behind_a_colon_and_has_several_keys() {
        let keys =
            [(0, "alone:x", 50), (0, "plain", 7), (0, "s:1", 1), (0, "s:1:a", 2), (0, "s:1:b", 3), (0, "s:2", 4)];
        assert_eq!(prefixes(&found(10, &keys)), [(0, "s:".into(), 4, 10), (0, "s:1:".into(), 2, 5)]);
    }

    #[test]
    fn of_prefixes_of_the_same_keys_the_longest_is_told() {
        let keys = [(0, "app:user:1", 1), (0, "app:user:2", 1), (2, "app:user:1", 1), (2, "app:user:9:x", 1)];
        assert_eq!(prefixes(&found(10, &keys)), [(0, "app:user:".into(), 2, 2), (2, "app:user:".into(), 2, 2)]);
        // What has more is told, whatever comes first.
        let keys = [(0, "app:a:1", 1), (0, "app:a:2", 1), (0, "app:b:1", 1), (0, "app:b:2", 1), (0, "app:b:3", 1)];
        assert_eq!(
            prefixes(&found(2, &keys)),
            [(0, "app:".into(), 5, 5), (0, "app:b:".into(), 3, 3)],
            "and no more than were asked for"
        );
    }

    #[test]
    fn prefixes_are_looked_for_to_a_depth_and_a_length() {
        let deep = "a:".repeat(20);
        let keys: Vec<String> = (0..2).map(|n| format!("{deep}{n}")).collect();
        let keys: Vec<(u64, &str, u64)> = keys.iter().map(|key| (0, &key[..], 1)).collect();
        assert_eq!(prefixes(&found(9, &keys)), [(0, "a:".repeat(DEPTH), 2, 2)]);
        let long = "x".repeat(PREFIX_LONGEST);
        let keys: Vec<String> = (0..2).map(|n| format!("{long}:{n}")).collect();
        let keys: Vec<(u64, &str, u64)> = keys.iter().map(|key| (0, &key[..], 1)).collect();
        assert_eq!(prefixes(&found(9, &keys)), []);
    }
}
