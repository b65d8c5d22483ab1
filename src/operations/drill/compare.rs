//! What a server holds, beside what it has to.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Basis, Bounds, Counted};
use crate::format::counts::count;
use crate::format::databases::Between;
use crate::redis::server::Types;

/// Types that servers have without modules, as the reader counts them; all else is a module's.
const TYPES: [&str; 6] = ["string", "list", "set", "zset", "hash", "stream"];

/// What a comparison showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Keys that were captured and are gone, because they expired.
    pub expired: u64,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// Compares what was found, by database and type, with what has to be there. A key may be missing only where one with an
/// expiry was captured; none may be too many.
pub(super) fn compare(basis: &Basis, found: &BTreeMap<u64, Types>) -> Comparison {
    let held: u64 = found.values().flat_map(BTreeMap::values).sum();
    match basis {
        Basis::Counted(counted) => compare_counted(counted, found, held),
        Basis::Bounded(bounds) => compare_bounded(bounds, found),
        // Commands may have removed any key, but hardly half of them in the moments after the server said what it held.
        Basis::Unknown(_, Some((keys, expiring))) if held < keys.saturating_sub(*expiring).div_ceil(2) => Comparison {
            expired: 0,
            problems: vec![format!(
                "it came up {}; the live server held {} when it was captured",
                if held == 0 { "empty".into() } else { format!("with {}", count(held, "key")) },
                count(*keys, "key")
            )],
        },
        Basis::Unknown(..) => Comparison::default(),
    }
}

fn compare_bounded(bounds: &Bounds, found: &BTreeMap<u64, Types>) -> Comparison {
    let mut comparison = Comparison::default();
    let numbers: BTreeSet<u64> = bounds.databases.keys().chain(found.keys()).copied().collect();
    for number in numbers {
        let told = bounds.databases.get(&number).copied();
        let Some(of) = told.or_else(|| bounds.is_complete.then(Between::default)) else { continue };
        let keys: u64 = found.get(&number).map_or(0, |types| types.values().sum());
        let least = of.least.saturating_sub(bounds.slack);
        if keys > of.most.saturating_add(bounds.slack) {
            comparison.problems.push(format!(
                "database {number} holds {}; the server counted {}",
                count(keys, "key"),
                of.most
            ));
        } else if keys < least.saturating_sub(of.expiring) {
            comparison.problems.push(format!(
                "database {number} holds {}; the server counted {}, of which at most {} can have expired",
                count(keys, "key"),
                of.least,
                of.expiring
            ));
        } else {
            comparison.expired = comparison.expired.saturating_add(least.saturating_sub(keys));
        }
    }
    comparison
}

fn compare_counted(counted: &Counted, found: &BTreeMap<u64, Types>, held: u64) -> Comparison {
    let mut comparison = Comparison::default();
    let told: u64 = counted.databases.values().map(|database| database.keys).sum();
    let are_all_told = told == counted.keys;
    let nothing = Types::new();
    for (number, database) in &counted.databases {
        let types = found.get(number).unwrap_or(&nothing);
        let keys: u64 = types.values().sum();
        match database.keys.checked_sub(keys) {
            None => comparison.too_many(*number, &count(keys, "key"), database.keys),
            Some(missing) if missing > database.expiring => comparison.problems.push(format!(
                "database {number} holds {}; captured were {}, of which at most {} can have expired",
                count(keys, "key"),
                database.keys,
                database.expiring
            )),
            Some(missing) => comparison.expired += missing,
        }
        for (name, keys) in as_counted(types) {
            let captured = database.types.get(name).copied().unwrap_or(0);
            if keys > captured {
                comparison.too_many(*number, &format!("{} of type {name}", count(keys, "key")), captured);
            }
        }
    }
    let unknown = found.iter().filter(|(number, _)| are_all_told && !counted.databases.contains_key(number));
    for (number, types) in unknown {
        comparison.too_many(*number, &count(types.values().sum(), "key"), 0);
    }
    if held > counted.keys {
        comparison.problems.push(format!("it holds {}; captured were {}", count(held, "key"), counted.keys));
    }
    comparison
}

fn as_counted(types: &Types) -> BTreeMap<&str, u64> {
    let mut counted = BTreeMap::new();
    for (name, keys) in types {
        let name = if TYPES.contains(&name.as_str()) { name.as_str() } else { "module" };
        *counted.entry(name).or_default() += keys;
    }
    counted
}

impl Comparison {
    fn too_many(&mut self, database: u64, found: &str, captured: u64) {
        self.problems.push(format!("database {database} holds {found}; captured were {captured}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::CountedDatabase;
    use super::*;

    fn types(of: &[(&str, u64)]) -> Types {
        of.iter().map(|(name, keys)| ((*name).to_owned(), *keys)).collect()
    }

    /// Database 0: five strings and two hashes, three of the seven expire. Database 3: one value of a module.
    fn basis() -> Basis {
        let first = CountedDatabase { keys: 7, expiring: 3, types: types(&[("string", 5), ("hash", 2)]) };
        let second = CountedDatabase { keys: 1, expiring: 0, types: types(&[("module", 1)]) };
        Basis::Counted(Counted { keys: 8, databases: [(0, first), (3, second)].into() })
    }

    fn of(first: &[(&str, u64)], second: &[(&str, u64)]) -> Comparison {
        compare(&basis(), &[(0, types(first)), (3, types(second))].into())
    }

    #[test]
    fn only_keys_that_can_have_expired_may_be_missing() {
        assert_eq!(of(&[("string", 5), ("hash", 2)], &[("ReJSON-RL", 1)]), Comparison::default());
        let some = of(&[("string", 3), ("hash", 1)], &[("ReJSON-RL", 1)]);
        assert_eq!((some.expired, some.problems.len()), (3, 0));
        let more = of(&[("string", 3)], &[("ReJSON-RL", 1)]);
        assert_eq!(more.problems, ["database 0 holds 3 keys; captured were 7, of which at most 3 can have expired"]);
        assert_eq!(of(&[("string", 5), ("hash", 2)], &[]).problems.len(), 1);
        assert_eq!(compare(&basis(), &BTreeMap::new()).problems.len(), 2, "an empty server");
    }

    #[test]
    fn no_key_may_be_too_many_or_of_another_type() {
        let other = of(&[("string", 4), ("hash", 3)], &[("ReJSON-RL", 1)]);
        assert_eq!(other.problems, ["database 0 holds 3 keys of type hash; captured were 2"]);
        let more = of(&[("string", 5), ("hash", 2), ("set", 1)], &[("ReJSON-RL", 1)]);
        assert_eq!(more.problems.len(), 3, "{more:?}");
        let elsewhere = compare(&basis(), &[(0, types(&[("string", 5), ("hash", 2)])), (4, types(&[("x", 1)]))].into());
        assert_eq!(elsewhere.problems.len(), 2, "{elsewhere:?}");
    }

    #[test]
    fn where_nothing_was_counted_only_far_fewer_keys_are_wrong() {
        let none = BTreeMap::new();
        let unknown = |said| Basis::Unknown(String::new(), said);
        assert_eq!(compare(&unknown(None), &none), Comparison::default());
        assert_eq!(compare(&unknown(Some((5, 5))), &none), Comparison::default());
        assert_eq!(compare(&unknown(Some((5, 4))), &none).problems.len(), 1);
        let some = [(0, types(&[("string", 2)]))].into();
        assert_eq!(compare(&unknown(Some((5, 0))), &some).problems.len(), 1, "fewer than half");
        assert_eq!(compare(&unknown(Some((4, 0))), &some), Comparison::default());
    }

    /// COUNT-7
    #[test]
    fn what_the_server_counted_before_and_after_bounds_each_database() {
        let of = |least, most, expiring| Between { least, most, expiring };
        let bounds = |slack, is_complete| {
            let databases = [(0, of(10, 10, 2)), (3, of(5, 8, 0))].into();
            Basis::Bounded(Bounds { keys: 15, databases, slack, is_complete })
        };
        let problems = |slack, is_complete, found: [(u64, u64); 3]| {
            let found = found.into_iter().map(|(number, keys)| (number, types(&[("string", keys)]))).collect();
            compare(&bounds(slack, is_complete), &found).problems
        };
        let exact = |first, second, third| problems(0, true, [(0, first), (3, second), (9, third)]).len();
        assert_eq!((exact(10, 5, 0), exact(8, 8, 0)), (0, 0));
        assert_eq!(
            (exact(7, 5, 0), exact(11, 5, 0), exact(10, 4, 0), exact(10, 9, 0), exact(10, 5, 1)),
            (1, 1, 1, 1, 1)
        );
        assert_eq!(problems(1, true, [(0, 11), (3, 4), (9, 1)]), [""; 0]);
        assert_eq!(problems(1, true, [(0, 12), (3, 3), (9, 2)]).len(), 3);
        assert_eq!(problems(0, false, [(0, 10), (3, 5), (9, 70)]), [""; 0], "others may not be told");
        let gone = problems(0, true, [(0, 7), (3, 5), (9, 0)]);
        assert_eq!(gone, ["database 0 holds 7 keys; the server counted 10, of which at most 2 can have expired"]);
    }
}
