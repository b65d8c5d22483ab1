//! How many keys servers hold, and how many of those that were put have to be among them: it is so that one learns that others
//! emptied a database meanwhile, or that the server threw keys away.

use std::collections::BTreeMap;

use super::Missing;
use crate::redis::server::{Goes, Info};

/// Milliseconds. Keys are told apart by the hour in which they go.
const HOUR: u64 = 3_600_000;
/// Hours behind the begin that are told apart.
const HOURS: u64 = 10_000;

/// What servers say that they hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Keys, by database.
    databases: BTreeMap<u64, u64>,
    /// Keys that they threw away since they were started.
    pub evicted: u64,
}

impl Tally {
    /// Adds what one more server holds.
    pub fn add(&mut self, info: &Info) {
        for (database, keyspace) in info.keyspace() {
            *self.databases.entry(database).or_default() += keyspace.keys;
        }
        self.evicted += info.number("evicted_keys").unwrap_or(0);
    }

    /// Keys of all databases.
    pub fn keys(&self) -> u64 {
        self.databases.values().fold(0, |sum, keys| sum.saturating_add(*keys))
    }
}

/// The keys that were put, by database and by the hour of the server's clock in which they go.
#[derive(Debug, Default)]
pub(super) struct Standing {
    last: u64,
    put: BTreeMap<u64, BTreeMap<u64, u64>>,
}

impl Standing {
    /// Nothing is put yet, at a moment of the server's clock in milliseconds.
    pub fn from(begin: u64) -> Standing {
        Standing { last: (begin / HOUR).saturating_add(HOURS), put: BTreeMap::new() }
    }

    /// A key was put.
    pub fn add(&mut self, database: u64, goes: Goes) {
        let hour = match goes {
            Goes::Never => u64::MAX,
            Goes::At(moment) => (moment / HOUR).min(self.last),
            // From a moment that is not known.
            Goes::After(_) => 0,
        };
        *self.put.entry(database).or_default().entry(hour).or_default() += 1;
    }

    /// Databases that hold fewer keys than were put and cannot have gone by `now`. Clocks of a cluster may differ by an hour.
    pub fn missing(&self, tally: &Tally, now: u64) -> Vec<Missing> {
        let from = (now / HOUR).saturating_add(2);
        let each = self.put.iter().map(|(database, hours)| {
            let put = hours.range(from..).map(|(_, keys)| keys).sum();
            Missing { database: *database, put, holds: tally.databases.get(database).copied().unwrap_or(0) }
        });
        each.filter(|database| database.holds < database.put).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_misses_keys_that_were_put_and_cannot_have_gone() {
        let now = 500_000 * HOUR;
        let mut standing = Standing::from(now);
        for goes in
            [Goes::Never, Goes::At(u64::MAX), Goes::At(now + 3 * HOUR), Goes::At(now + 1), Goes::After(9 * HOUR)]
        {
            standing.add(2, goes);
        }
        standing.add(0, Goes::Never);
        let held = |text: &str| {
            let mut tally = Tally::default();
            tally.add(&Info::parse(text));
            tally
        };
        let missing = |database, put, holds| Missing { database, put, holds };
        assert_eq!(standing.missing(&held("db0:keys=1,expires=0\ndb2:keys=3,expires=0\n"), now), []);
        assert_eq!(standing.missing(&held("db0:keys=9\ndb2:keys=2\n"), now), [missing(2, 3, 2)]);
        assert_eq!(standing.missing(&held("db2:keys=2\n"), now + 2 * HOUR), [missing(0, 1, 0)]);
        assert_eq!(standing.missing(&held(""), now + HOURS * HOUR), [missing(0, 1, 0), missing(2, 1, 0)]);
        let mut tally = held("db0:keys=1\nevicted_keys:7\n");
        tally.add(&Info::parse("db0:keys=2\ndb5:keys=4\nevicted_keys:1\n"));
        assert_eq!((tally.keys(), tally.evicted), (7, 8));
    }
}
