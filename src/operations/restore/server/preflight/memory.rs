//! A dataset that is larger than `maxmemory`. Servers load all of it whatever that is (seen on Redis 6.2 to 8.2 and Valkey 9,
//! from dumps and from AOFs). What comes then hangs on the policy: without eviction every key stays, and writes are refused;
//! else the server throws keys away as soon as it serves, and goes on until the rest fits.

use super::{may, refuse};
use crate::format::counts::size;
use crate::operations::restore::server::source::Source;
use crate::operations::restore::server::target::Target;
use crate::operations::restore::server::{Consent, Options};
use crate::redis::RedisError;

/// What becomes of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fits,
    /// All of it stays, and clients cannot write.
    Full,
    /// Near the limit: a server that was always there took as much, with the buffers of its clients.
    Near,
    /// The server throws keys away.
    Evicted,
}

fn fate(memory: u64, maxmemory: u64, policy: &str, has_expiring: bool) -> Fate {
    if maxmemory == 0 || memory <= maxmemory {
        return Fate::Fits;
    }
    let evicts = policy.starts_with("allkeys-") || (policy.starts_with("volatile-") && has_expiring);
    match (evicts, memory - maxmemory > maxmemory / 8) {
        (false, _) => Fate::Full,
        (true, false) => Fate::Near,
        (true, true) => Fate::Evicted,
    }
}

/// The bytes it took, and what becomes of it.
fn of(source: &Source, target: &Target) -> (u64, Fate) {
    let memory = source.memory.unwrap_or(0);
    let asked = source.expected.asked.iter().flat_map(|asked| asked.values());
    let has_expiring = source.expected.databases.values().any(|(_, expiring)| *expiring > 0)
        || asked.into_iter().any(|asked| asked.expiring > 0);
    (memory, fate(memory, target.maxmemory, &target.policy, has_expiring))
}

fn took(memory: u64, target: &Target) -> String {
    let (memory, maxmemory) = (size(memory), size(target.maxmemory));
    format!("the dataset took {memory} of memory, maxmemory of the server is {maxmemory}")
}

/// Refuses where the server would throw restored keys away.
pub(super) fn must_fit(source: &Source, target: &Target, options: &Options) -> Result<(), RedisError> {
    let (memory, fate) = of(source, target);
    if fate != Fate::Evicted || may(options, Consent::Eviction) {
        return Ok(());
    }
    refuse(
        format!("{}: with maxmemory-policy {} it would throw restored keys away", took(memory, target), target.policy),
        "raise maxmemory, in the server's configuration too; or, where keys may go, say: --force eviction",
    )
}

/// What a person should know.
pub(in crate::operations::restore::server) fn note(source: &Source, target: &Target) -> Option<String> {
    let (memory, fate) = of(source, target);
    let begin = took(memory, target);
    match fate {
        Fate::Fits => None,
        Fate::Full => {
            Some(format!("{begin}: all of it is loaded, and then writes are refused until maxmemory is raised"))
        }
        Fate::Near => Some(format!("{begin}: keys may be evicted")),
        Fate::Evicted => Some(format!("{begin}: keys will be evicted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_thrown_away_only_by_a_policy_that_finds_something() {
        let of = |memory, policy, has_expiring| fate(memory, 800, policy, has_expiring);
        assert_eq!(fate(u64::MAX, 0, "allkeys-lru", true), Fate::Fits);
        assert_eq!(of(800, "allkeys-lru", false), Fate::Fits);
        assert_eq!(of(900, "allkeys-lru", false), Fate::Near);
        assert_eq!(of(901, "allkeys-random", false), Fate::Evicted);
        assert_eq!((of(901, "volatile-ttl", false), of(901, "volatile-ttl", true)), (Fate::Full, Fate::Evicted));
        assert_eq!(of(u64::MAX, "noeviction", true), Fate::Full);
    }
}
