//! The shards of a cluster, as one of its nodes knows them: CLUSTER NODES, which every version answers.

use std::collections::BTreeMap;

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

    /// By slot, the place of the shard that serves it; those that nobody serves have none.
    pub fn owners(&self) -> BTreeMap<u16, usize> {
        let of_shard = |(place, shard): (usize, &Shard)| {
            let ranges: Vec<(u16, u16)> = shard.slots.split(',').filter_map(range).collect();
            ranges.into_iter().flat_map(|(first, last)| first..=last).map(move |slot| (slot, place))
        };
        self.shards.iter().enumerate().flat_map(of_shard).collect()
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

/// The slot of a key: what stands between the first braces of its name, or all of it, by CRC16/XMODEM.
pub fn slot_of(key: &[u8]) -> u16 {
    let tag = || {
        let begin = key.iter().position(|byte| *byte == b'{')? + 1;
        let rest = key.get(begin..)?;
        rest.get(..rest.iter().position(|byte| *byte == b'}')?).filter(|tag| !tag.is_empty())
    };
    let crc = tag().unwrap_or(key).iter().fold(0u16, |crc, byte| {
        let step = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        (0..8).fold(crc ^ (u16::from(*byte) << 8), step)
    });
    crc % SLOTS
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < SLOTS).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As CLUSTER KEYSLOT answers, and the check value of CRC16/XMODEM.
    #[test]
    fn keys_have_the_slots_that_servers_give_them() {
        for (key, slot) in [
            ("123456789", 0x31c3 % SLOTS),
            ("", 0),
            ("a", 15495),
            ("b", 3300),
            ("c", 7365),
            ("x{a}y", 15495),
            ("{a}{b}", 15495),
            ("{}a", slot_of(b"{}a")),
            ("{a", slot_of(b"{a")),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert!(slot_of(b"{}a") != slot_of(b"a") && slot_of(b"{a") != slot_of(b"a"), "such braces mean nothing");
    }

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
        let owners = cluster.owners();
        assert_eq!(owners.len(), usize::from(SLOTS));
        assert_eq!([5460, 5461, 10923, 10924].map(|slot| owners[&slot]), [0, 1, 2, 3]);
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
