//! The shards of a cluster, as one of its nodes knows them: CLUSTER NODES, which every version answers.

use super::connection::Server;
use crate::format::set::SLOTS;
use crate::redis::RedisError;

/// What a user needs beyond [`super::ACL_RULES`] to be told of the cluster, as words of ACL SETUSER.
pub const ACL_RULES_OF_CLUSTER: &str = "+cluster|nodes";

/// The shards of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// Those that serve slots, by their first slots.
    pub shards: Vec<Shard>,
    /// How many slots nobody serves.
    pub unserved: u64,
    /// How many slots are on their way from one shard to another.
    pub moving: u64,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its slots: ranges, or single ones, joined by commas.
    pub slots: String,
    /// The first of them.
    pub first: u16,
    /// Where its master is.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Cluster {
    /// Asks a node of the cluster.
    pub fn of(server: &mut Server) -> Result<Cluster, RedisError> {
        // A Sentinel says what it is.
        if server.info()?.get("cluster_enabled") == Some("0") {
            return Err(RedisError::Server {
                what: format!("the server at {} is no node of a cluster", server.address()),
                hint: "leave out --cluster, or name a node with --redis".into(),
            });
        }
        let own_host = server.address().host().unwrap_or("127.0.0.1").to_owned();
        let cluster = Cluster::parse(&server.words(&["CLUSTER", "NODES"])?, &own_host);
        let nobody = || RedisError::Server {
            what: format!("of the cluster of {} no node serves a slot", server.address()),
            hint: "is it made yet? see redis-cli --cluster check".into(),
        };
        cluster.filter(|cluster| !cluster.shards.is_empty()).ok_or_else(nobody)
    }

    /// What each slot is served by, in words.
    pub fn slots(&self) -> Vec<String> {
        self.shards.iter().map(|shard| shard.slots.clone()).collect()
    }

    /// One line a node: id, place, flags, master, three numbers, link, slots. `None`: one is not understood.
    fn parse(text: &str, own_host: &str) -> Option<Cluster> {
        let mut cluster = Cluster::default();
        let mut served = 0;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (place, flags, slots) = (words.get(1)?, words.get(2)?, words.get(8..).unwrap_or_default());
            let (moving, own): (Vec<&str>, Vec<&str>) = slots.iter().partition(|slots| slots.starts_with('['));
            // One that goes is told by where it is.
            cluster.moving += moving.iter().filter(|slot| slot.contains("->-")).count() as u64;
            if own.is_empty() || !flags.split(',').any(|flag| flag == "master") {
                continue;
            }
            let ranges = own.iter().map(|text| range(text)).collect::<Option<Vec<(u16, u16)>>>()?;
            served += ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum::<u64>();
            let (host, port) = place.split(['@', ',']).next()?.rsplit_once(':')?;
            // A node that was met by nobody does not know its own address.
            let host = if host.is_empty() { own_host } else { host.trim_start_matches('[').trim_end_matches(']') };
            let first = ranges.iter().map(|(first, _)| *first).min()?;
            let (host, port) = (host.to_owned(), port.parse().ok()?);
            cluster.shards.push(Shard { slots: own.join(","), first, host, port });
        }
        cluster.shards.sort_by_key(|shard| shard.first);
        cluster.unserved = u64::from(SLOTS).saturating_sub(served);
        Some(cluster)
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < SLOTS).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shards_are_those_masters_that_serve_slots() {
        let text = "\
            07c3 10.0.0.3:7003@17003 slave e7d1 0 1426238317239 4 connected\n\
            67ed 10.0.0.2:7001@17001,two.example master - 0 1426238316232 2 connected 5461-10922 [5462-<-e7d1]\n\
            292f 10.0.0.4:7002@17002 master - 0 1426238318243 3 connected 10924-16383\n\
            6ec2 ::1:7005@17005 master,fail - 0 1426238316232 5 disconnected 10923\n\
            a000 10.0.0.9:7009@17009 master - 0 0 9 connected\n\
            e7d1 :7000@17000 myself,master - 0 0 1 connected 0-5460 [5459->-67ed]\n";
        let cluster = Cluster::parse(text, "seed.example").unwrap();
        let places: Vec<_> = cluster.shards.iter().map(|shard| (shard.host.as_str(), shard.port)).collect();
        assert_eq!(places, [("seed.example", 7000), ("10.0.0.2", 7001), ("::1", 7005), ("10.0.0.4", 7002)]);
        assert_eq!(cluster.slots(), ["0-5460", "5461-10922", "10923", "10924-16383"]);
        assert_eq!((cluster.unserved, cluster.moving), (0, 1));
        let part = Cluster::parse("a h:1@2 master - 0 0 1 connected 0-9 20", "").unwrap();
        assert_eq!((part.slots(), part.unserved), (vec!["0-9,20".to_owned()], 16384 - 11));
        for strange in [
            "a h:1@2 master - 0 0 1 connected 9-0",
            "a h:1@2 master - 0 0 1 connected 16384",
            "a",
            "a h master - 0 0 1 c 1",
        ] {
            assert_eq!(Cluster::parse(strange, ""), None, "{strange}");
        }
    }
}
