//! What makes snapshots of the shards of a cluster one set. Rules: format-spec/10-snapshot.md, "Sets".

use std::collections::BTreeMap;

use super::Id16;

/// How many slots a cluster has.
pub const SLOTS: u16 = 16384;

const ID: &str = "set.id";
const NAME: &str = "set.name";
const OF_SLOTS: &str = "set.slots";
const SHARD: &str = "set.shard";

/// Of which set a snapshot is, and which shard of the cluster it holds.
///
/// SET-1
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct OfSet {
    /// The set's id.
    #[n(0)]
    pub id: Id16,
    /// What the sets of this cluster are called.
    #[n(1)]
    pub name: String,
    /// The slots of each shard.
    #[n(2)]
    pub slots: Vec<String>,
    /// Which of them this is, from 1.
    #[n(3)]
    pub shard: u64,
}

impl OfSet {
    /// What a snapshot says of its set; `None`: it is of none.
    pub fn of(facts: &BTreeMap<String, String>) -> Option<OfSet> {
        let slots: Vec<String> = facts.get(OF_SLOTS)?.split(' ').map(str::to_owned).collect();
        let (name, shard) = (facts.get(NAME)?.clone(), facts.get(SHARD)?.parse().ok()?);
        let is_one = (1..=slots.len() as u64).contains(&shard) && slots.iter().all(|slots| are_slots(slots));
        Some(OfSet { id: facts.get(ID)?.parse().ok()?, name, slots, shard }).filter(|_| is_one)
    }

    /// The same as facts of a snapshot.
    pub fn facts(&self) -> [(String, String); 4] {
        [
            (ID.into(), self.id.to_string()),
            (NAME.into(), self.name.clone()),
            (OF_SLOTS.into(), self.slots.join(" ")),
            (SHARD.into(), self.shard.to_string()),
        ]
    }

    /// The slots of its shard.
    pub fn own_slots(&self) -> &str {
        let place = usize::try_from(self.shard).unwrap_or_default().checked_sub(1);
        place.and_then(|place| self.slots.get(place)).map_or("", String::as_str)
    }
}

/// Ranges of slots, or single ones, joined by commas.
fn are_slots(text: &str) -> bool {
    let slot = |text: &str| text.parse::<u16>().ok().filter(|slot| *slot < SLOTS);
    text.split(',').all(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        slot(first).zip(slot(last)).is_some_and(|(first, last)| first <= last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SET-1
    #[test]
    fn a_set_is_written_in_one_way_and_what_is_none_is_no_set() {
        let slots = vec!["0-5460,16383".to_owned(), "5461-16382".to_owned()];
        let set = OfSet { id: Id16([0xa1; 16]), name: "web1:7000".into(), slots, shard: 2 };
        let facts = BTreeMap::from(set.facts());
        let written = [
            ("set.id", "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"),
            ("set.name", "web1:7000"),
            ("set.shard", "2"),
            ("set.slots", "0-5460,16383 5461-16382"),
        ];
        assert_eq!(facts, written.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!((OfSet::of(&facts), set.own_slots()), (Some(set.clone()), "5461-16382"));
        for (name, value) in [
            ("set.id", "a1"),
            ("set.shard", "0"),
            ("set.shard", "3"),
            ("set.shard", "x"),
            ("set.slots", "0-5460"),
            ("set.slots", "0-5460 5461-16384"),
            ("set.slots", "0-5460 7-6"),
            ("set.slots", "0-5460  7"),
        ] {
            let mut other = facts.clone();
            other.insert(name.into(), value.into());
            assert_eq!(OfSet::of(&other), None, "{name} {value}");
        }
        for name in ["set.id", "set.name", "set.slots", "set.shard"] {
            let mut other = facts.clone();
            other.remove(name);
            assert_eq!(OfSet::of(&other), None, "{name}");
        }
    }
}
