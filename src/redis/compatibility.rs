//! Which server reads which RDB file. Stated once: a restore, a drill and `doctor` all ask here.
//!
//! A server reads every version of its own family up to its own. Redis has never read the `VALKEY` magic; Valkey reads
//! `REDIS` files of the versions before the two parted ways, unless it is told to relax.

use std::fmt;

use super::RedisError;
use super::server::Info;
use crate::rdb::{Family, Header};

/// Major, minor and patch number.
pub type Version = (u32, u32, u32);

/// Whose server it is, and its version. A Valkey server counts by its own version, not by the one of Redis that it is
/// compatible with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerVersion {
    /// Whose server it is.
    pub family: Family,
    /// Its version.
    pub version: Version,
}

/// The highest versions that a server reads, from one of its versions on.
struct Row {
    family: Family,
    since: (u32, u32),
    redis: u16,
    valkey: u16,
}

const fn redis(major: u32, minor: u32, redis: u16) -> Row {
    Row { family: Family::Redis, since: (major, minor), redis, valkey: 0 }
}

const fn valkey(major: u32, minor: u32, redis: u16, valkey: u16) -> Row {
    Row { family: Family::Valkey, since: (major, minor), redis, valkey }
}

/// By family, the oldest first. `RDB_VERSION` in each release's `rdb.h`.
const READS: &[Row] = &[
    redis(0, 0, 5),
    redis(2, 6, 6),
    redis(3, 2, 7),
    redis(4, 0, 8),
    redis(5, 0, 9),
    redis(7, 0, 10),
    redis(7, 2, 11),
    redis(7, 4, 12),
    redis(8, 6, 13),
    redis(8, 8, 14),
    redis(8, 10, 15),
    redis(8, 12, 16),
    valkey(7, 2, 11, 0),
    valkey(9, 0, 11, 80),
    valkey(9, 2, 11, 81),
];

/// The newest releases the table was made with. What a later one reads is not known here, and it is let try.
const NEWEST_REDIS: (u32, u32) = (8, 12);
const NEWEST_VALKEY: (u32, u32) = (9, 2);

impl ServerVersion {
    /// What a running server says it is.
    pub fn of(info: &Info) -> Option<Self> {
        let valkey = info.valkey_version().map(|version| Self { family: Family::Valkey, version });
        valkey.or_else(|| info.version().map(|version| Self { family: Family::Redis, version }))
    }

    /// Reads what `redis-server --version` prints: `Redis server v=7.0.15 sha=…`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let family = match words.next()? {
            "Redis" | "KeyDB" => Family::Redis,
            "Valkey" => Family::Valkey,
            _ => return None,
        };
        let mut numbers =
            words.find_map(|word| word.strip_prefix("v="))?.split(['.', '-']).map(|part| part.parse().ok());
        let version = (numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0));
        Some(Self { family, version })
    }

    fn release(self) -> (u32, u32) {
        (self.version.0, self.version.1)
    }

    fn is_past_table(self) -> bool {
        self.release()
            > match self.family {
                Family::Redis => NEWEST_REDIS,
                Family::Valkey => NEWEST_VALKEY,
            }
    }

    /// Whether it reads files that begin so. A server newer than this table is taken to read every version of its own
    /// family.
    pub fn reads(self, header: Header) -> bool {
        if self.is_past_table() && header.family == self.family {
            return true;
        }
        let fits = |row: &&Row| row.family == self.family && row.since <= self.release();
        READS.iter().rev().find(fits).is_some_and(|row| row.reads(header))
    }

    /// Whether its AOF is a set of files held together by a manifest.
    pub fn has_multi_part_aof(self) -> bool {
        self.family == Family::Valkey || self.release() >= (7, 0)
    }

    /// Whether DEBUG has to be allowed before it can be used.
    pub fn restricts_debug(self) -> bool {
        self.has_multi_part_aof()
    }

    /// Refuses a server that cannot read files that begin so. `what` names the server.
    pub fn must_read(self, header: Header, what: &str) -> Result<(), RedisError> {
        match self.reads(header) {
            true => Ok(()),
            false => Err(RedisError::Server {
                what: format!("{what} is {self}, which cannot read a dump that begins with {header}"),
                hint: format!("it takes {}", oldest_that_reads(header)),
            }),
        }
    }
}

impl Row {
    fn reads(&self, header: Header) -> bool {
        header.version
            <= match header.family {
                Family::Redis => self.redis,
                Family::Valkey => self.valkey,
            }
    }
}

/// The oldest releases that read files that begin so: `Redis 7.4 or newer`.
pub fn oldest_that_reads(header: Header) -> String {
    let oldest = |family: Family| READS.iter().find(|row| row.family == family && row.reads(header));
    let named: Vec<String> = [Family::Redis, Family::Valkey]
        .into_iter()
        .filter_map(oldest)
        .map(|row| format!("{} {}.{}", name(row.family), row.since.0, row.since.1))
        .collect();
    match named.is_empty() {
        true => format!("a release of {} that this version of redkeep does not know yet", name(header.family)),
        false => format!("{} or newer", named.join(" or ")),
    }
}

fn name(family: Family) -> &'static str {
    match family {
        Family::Redis => "Redis",
        Family::Valkey => "Valkey",
    }
}

/// `Redis 7.0.15`.
impl fmt::Display for ServerVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.version;
        write!(out, "{} {major}.{minor}.{patch}", name(self.family))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(family: Family, major: u32, minor: u32) -> ServerVersion {
        ServerVersion { family, version: (major, minor, 3) }
    }

    fn header(family: Family, version: u16) -> Header {
        Header { family, version }
    }

    #[test]
    fn a_server_reads_its_own_version_and_older_ones() {
        use Family::{Redis, Valkey};
        for (server, redis, valkey) in [
            (server(Redis, 6, 2), 9, 0),
            (server(Redis, 7, 0), 10, 0),
            (server(Redis, 7, 2), 11, 0),
            (server(Redis, 7, 4), 12, 0),
            (server(Redis, 8, 2), 12, 0),
            (server(Redis, 8, 10), 15, 0),
            (server(Redis, 8, 12), 16, 0),
            (server(Valkey, 8, 1), 11, 0),
            (server(Valkey, 9, 1), 11, 80),
            (server(Valkey, 9, 2), 11, 81),
        ] {
            for version in 1..100 {
                assert_eq!(server.reads(header(Redis, version)), version <= redis, "{server} REDIS {version}");
                assert_eq!(server.reads(header(Valkey, version)), version <= valkey, "{server} VALKEY {version}");
            }
        }
        assert!(server(Redis, 9, 0).reads(header(Redis, 40)), "what a later release reads is not known");
        assert!(!server(Redis, 9, 0).reads(header(Valkey, 80)));
        assert!(!server(Valkey, 10, 0).reads(header(Redis, 12)));
    }

    #[test]
    fn a_refusal_names_the_oldest_release_that_would_do() {
        let refused = server(Family::Redis, 6, 2).must_read(header(Family::Redis, 10), "/bin/x").unwrap_err();
        assert_eq!(refused.to_string(), "/bin/x is Redis 6.2.3, which cannot read a dump that begins with REDIS0010");
        assert_eq!(refused.hint(), Some("it takes Redis 7.0 or Valkey 7.2 or newer"));
        assert_eq!(oldest_that_reads(header(Family::Redis, 12)), "Redis 7.4 or newer");
        assert_eq!(oldest_that_reads(header(Family::Valkey, 80)), "Valkey 9.0 or newer");
        assert!(oldest_that_reads(header(Family::Valkey, 99)).contains("does not know"));
    }

    #[test]
    fn versions_are_read_from_what_the_program_prints() {
        let parsed = |text: &str| ServerVersion::parse(text).map(|version| version.to_string());
        assert_eq!(parsed("Redis server v=7.0.15 sha=00000000:0 malloc=x bits=64\n").unwrap(), "Redis 7.0.15");
        assert_eq!(parsed("Valkey server v=9.1.2 sha=0").unwrap(), "Valkey 9.1.2");
        assert_eq!(parsed("Redis server v=8.4-rc1 sha=0").unwrap(), "Redis 8.4.0");
        assert_eq!(parsed("GNU bash, version 5.2"), None);
        assert_eq!(parsed("Redis server"), None);
    }
}
