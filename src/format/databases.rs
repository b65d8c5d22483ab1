//! Keys by database, as the facts of a snapshot tell them: the one place that writes these facts and reads them.
//! Rules: format-spec/18-counts.md.

use std::collections::{BTreeMap, BTreeSet};

/// Databases whose counts are told one by one. Where there are as many, others may be missing.
pub const DATABASES_TOLD: usize = 256;

/// Facts by name.
type Facts = BTreeMap<String, String>;

/// Under these words a server's counts stand, as the structure's stand under the word of its file.
pub const OF_SERVER: &str = "server";
/// How many bytes of commands the files of an AOF hold that came after what the server counted.
pub const BEYOND_MARK: &str = "server.aof-beyond-mark";
/// By database, what it counted after the files had been opened.
const LATER: &str = "server.later-keys.db";
/// Bytes of a command that the name of one key takes at least: `$1`, the name, and the ends of both lines.
const KEY_OF_COMMAND: u64 = 7;

/// What one database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DatabaseKeys {
    /// Keys, those included that have expired and are not gone yet.
    pub keys: u64,
    /// Of these, keys with an expiry.
    pub expires: u64,
    /// Of the others, hashes with fields that expire.
    pub volatile: u64,
}

impl DatabaseKeys {
    /// How many of them can go by themselves.
    pub fn can_go(self) -> u64 {
        self.expires.saturating_add(self.volatile)
    }
}

/// COUNT-8: puts what databases hold into facts, the first [`DATABASES_TOLD`]; `under` is the word before each name, with
/// its dot, or nothing.
pub fn put(facts: &mut Facts, under: &str, databases: impl IntoIterator<Item = (u64, DatabaseKeys)>) {
    for (number, DatabaseKeys { keys, expires, volatile }) in databases.into_iter().take(DATABASES_TOLD) {
        for (kind, count) in [("keys", keys), ("expires", expires), ("volatile", volatile)] {
            facts.extend((count > 0).then(|| (format!("{under}{kind}.db{number}"), count.to_string())));
        }
    }
}

/// The same, read back: what stands under a word, as `dump` or [`OF_SERVER`]. A number that cannot be read is passed over.
pub fn of(facts: &Facts, word: &str) -> BTreeMap<u64, DatabaseKeys> {
    let mut databases: BTreeMap<u64, DatabaseKeys> = BTreeMap::new();
    for kind in ["keys", "expires", "volatile"] {
        for (number, count) in numbers(facts, &format!("{word}.{kind}.db")) {
            let database = databases.entry(number).or_default();
            match kind {
                "keys" => database.keys = count,
                "expires" => database.expires = count,
                _ => database.volatile = count,
            }
        }
    }
    databases
}

fn numbers(facts: &Facts, begin: &str) -> BTreeMap<u64, u64> {
    let one = |(name, value): (&String, &String)| Some((name.strip_prefix(begin)?.parse().ok()?, value.parse().ok()?));
    facts.range(begin.to_owned()..).take_while(|(name, _)| name.starts_with(begin)).filter_map(one).collect()
}

/// What a server counted around the end of an AOF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AroundMark {
    /// By database.
    pub databases: BTreeMap<u64, Between>,
    /// How many keys more or less the commands beyond the mark allow for.
    pub slack: u64,
    /// Whether a database that is not told holds none.
    pub is_complete: bool,
}

/// Between what the keys of a database lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Between {
    /// The smaller count.
    pub least: u64,
    /// The larger one.
    pub most: u64,
    /// Of these, how many can have gone by themselves.
    pub expiring: u64,
}

impl AroundMark {
    /// Puts what a server counted at the mark and, where it was asked again after the files had been opened, by how many
    /// bytes they go on beyond the mark, and what it counted then.
    pub fn put(
        facts: &mut Facts,
        at_mark: BTreeMap<u64, DatabaseKeys>,
        later: Option<(u64, &BTreeMap<u64, DatabaseKeys>)>,
    ) {
        if let Some((beyond, later)) = later {
            facts.insert(BEYOND_MARK.into(), beyond.to_string());
            let numbers: BTreeSet<u64> = at_mark.keys().chain(later.keys()).copied().take(2 * DATABASES_TOLD).collect();
            for number in numbers {
                let keys = |of: &BTreeMap<u64, DatabaseKeys>| of.get(&number).map_or(0, |database| database.keys);
                let (now, then) = (keys(later), keys(&at_mark));
                facts.extend((now != then).then(|| (format!("{LATER}{number}"), now.to_string())));
            }
        }
        put(facts, &format!("{OF_SERVER}."), at_mark);
    }

    /// COUNT-7: where a server told how far the files go on, the dataset lies between its two counts.
    pub fn of(facts: &Facts) -> Option<AroundMark> {
        let beyond: u64 = facts.get(BEYOND_MARK)?.parse().ok()?;
        let (at_mark, later) = (of(facts, OF_SERVER), numbers(facts, LATER));
        let between = |number: &u64| {
            let told = at_mark.get(number).copied().unwrap_or_default();
            let then = later.get(number).copied().unwrap_or(told.keys);
            let between = Between { least: told.keys.min(then), most: told.keys.max(then), expiring: told.can_go() };
            (*number, between)
        };
        Some(AroundMark {
            databases: at_mark.keys().chain(later.keys()).map(between).collect(),
            slack: beyond.div_ceil(KEY_OF_COMMAND),
            is_complete: at_mark.len() < DATABASES_TOLD,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(keys: u64, expires: u64, volatile: u64) -> DatabaseKeys {
        DatabaseKeys { keys, expires, volatile }
    }

    /// COUNT-8
    #[test]
    fn what_databases_hold_comes_back_as_it_was_put() {
        let databases = BTreeMap::from([(0, database(7, 2, 0)), (11, database(1, 0, 1))]);
        let mut facts = Facts::from([("dump.keys.dbx".into(), "3".into()), ("dump.keys.db5".into(), "many".into())]);
        put(&mut facts, "dump.", databases.clone());
        assert_eq!(of(&facts, "dump"), databases);
        assert_eq!(of(&facts, "base"), BTreeMap::new());
        assert_eq!(facts.get("dump.volatile.db11").map(String::as_str), Some("1"));
        let many = (0..1000).map(|number| (number, database(1, 0, 0)));
        put(&mut facts, "base.", many);
        assert_eq!(of(&facts, "base").len(), DATABASES_TOLD);
    }

    /// COUNT-7
    #[test]
    fn a_dataset_lies_between_what_was_counted_before_and_after() {
        let (mut facts, at_mark) = (Facts::new(), BTreeMap::from([(0, database(9, 1, 2)), (1, database(4, 0, 0))]));
        let later = BTreeMap::from([(0, database(7, 0, 0)), (3, database(5, 0, 0)), (1, database(4, 0, 0))]);
        AroundMark::put(&mut facts, at_mark.clone(), None);
        assert_eq!(AroundMark::of(&facts), None);
        AroundMark::put(&mut facts, at_mark, Some((15, &later)));
        let between = |least, most, expiring| Between { least, most, expiring };
        let databases = BTreeMap::from([(0, between(7, 9, 3)), (1, between(4, 4, 0)), (3, between(0, 5, 0))]);
        assert_eq!(AroundMark::of(&facts), Some(AroundMark { databases, slack: 3, is_complete: true }));
        assert!(!facts.contains_key("server.later-keys.db1"));
    }
}
