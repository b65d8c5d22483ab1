//! A ledger: what records of forgotten snapshots and tombstones of a dataset said, in one object. Layout:
//! format-spec/11-sessions.md.

use std::collections::BTreeMap;

use super::ids::{DatasetTag, Id16, UnixMillis};
use super::limits::SEQUENCE_MAX;
use super::object::SnapshotName;
use super::{Malformed, decode_cbor, encode_cbor};

/// Snapshots of a dataset that were forgotten, and names of its snapshots that are void, each with its time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// By reason: when each was forgotten.
    pub forgotten: BTreeMap<String, BTreeMap<SnapshotName, UnixMillis>>,
    /// When the tombstone of each was put.
    pub void: BTreeMap<SnapshotName, UnixMillis>,
}

#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct LedgerFields {
    #[n(0)]
    groups: Vec<GroupFields>,
    #[n(1)]
    void: Vec<EntryFields>,
}

#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct GroupFields {
    #[n(0)]
    reason: String,
    #[n(1)]
    entries: Vec<EntryFields>,
}

#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct EntryFields {
    #[n(0)]
    place: u64,
    #[n(1)]
    sequence: u64,
    #[n(2)]
    time: UnixMillis,
    #[n(3)]
    session: Id16,
    #[n(4)]
    since: UnixMillis,
}

impl Ledger {
    /// Whether nothing is said by it.
    pub fn is_empty(&self) -> bool {
        self.forgotten.values().all(BTreeMap::is_empty) && self.void.is_empty()
    }

    /// CBOR, without the tag, which is in the object's name.
    pub fn encode(&self) -> Vec<u8> {
        let entry = |(name, since): (&SnapshotName, &UnixMillis)| {
            let SnapshotName { tag: _, place, sequence, time, session } = *name;
            EntryFields { place, sequence, time, session, since: *since }
        };
        let group = |(reason, entries): (&String, &BTreeMap<SnapshotName, UnixMillis>)| GroupFields {
            reason: reason.clone(),
            entries: entries.iter().map(entry).collect(),
        };
        encode_cbor(&LedgerFields {
            groups: self.forgotten.iter().map(group).collect(),
            void: self.void.iter().map(entry).collect(),
        })
    }

    /// The same, read back: of the dataset with this tag.
    ///
    /// LEDGER-1: in order, with entries, and nothing that no name holds.
    pub fn decode(tag: DatasetTag, bytes: &[u8]) -> Result<Ledger, Malformed> {
        let LedgerFields { groups, void } = decode_cbor("ledger", bytes)?;
        let mut ledger = Ledger { void: entries(tag, void)?, ..Ledger::default() };
        for GroupFields { reason, entries: of } in groups {
            let of = entries(tag, of)?;
            let is_next = ledger.forgotten.last_key_value().is_none_or(|(last, _)| *last < reason);
            if of.is_empty() || !is_next {
                return Err(Malformed::new("ledger", "an empty group, or one out of order"));
            }
            ledger.forgotten.insert(reason, of);
        }
        match ledger.is_empty() {
            true => Err(Malformed::new("ledger", "it says nothing")),
            false => Ok(ledger),
        }
    }
}

fn entries(tag: DatasetTag, fields: Vec<EntryFields>) -> Result<BTreeMap<SnapshotName, UnixMillis>, Malformed> {
    let mut entries: BTreeMap<SnapshotName, UnixMillis> = BTreeMap::new();
    for EntryFields { place, sequence, time, session, since } in fields {
        let name = SnapshotName { tag, place, sequence, time, session };
        if place.max(sequence) > SEQUENCE_MAX || entries.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return Err(Malformed::new("ledger", format!("an entry out of order or bounds: {name}")));
        }
        entries.insert(name, since);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: DatasetTag = DatasetTag([7; 8]);

    fn name(place: u64, session: u8) -> SnapshotName {
        SnapshotName { tag: TAG, place, sequence: 3, time: UnixMillis(5), session: Id16([session; 16]) }
    }

    fn ledger() -> Ledger {
        let of = |places: &[u64]| places.iter().map(|place| (name(*place, 1), UnixMillis(9))).collect();
        Ledger {
            forgotten: BTreeMap::from([("by name".into(), of(&[2])), ("by policy".into(), of(&[1, 3]))]),
            void: of(&[1, 9]),
        }
    }

    /// LEDGER-1
    #[test]
    fn a_ledger_comes_back_as_written() {
        assert_eq!(Ledger::decode(TAG, &ledger().encode()), Ok(ledger()));
        let half = Ledger { void: BTreeMap::new(), ..ledger() };
        assert_eq!(Ledger::decode(TAG, &half.encode()), Ok(half));
        assert!(Ledger::decode(TAG, &Ledger::default().encode()).is_err());
    }

    /// LEDGER-1
    #[test]
    fn what_is_out_of_order_or_bounds_is_refused() {
        let entry = |place, sequence| EntryFields {
            place,
            sequence,
            time: UnixMillis(5),
            session: Id16([1; 16]),
            since: UnixMillis(9),
        };
        let of = |groups: Vec<(&str, Vec<EntryFields>)>, void| {
            let group = |(reason, entries): (&str, _)| GroupFields { reason: reason.into(), entries };
            let fields = LedgerFields { groups: groups.into_iter().map(group).collect(), void };
            Ledger::decode(TAG, &encode_cbor(&fields)).is_ok()
        };
        assert!(of(vec![], vec![entry(1, 1), entry(1, 2), entry(2, 1)]));
        assert!(!of(vec![], vec![entry(2, 1), entry(1, 2)]));
        assert!(!of(vec![], vec![entry(1, 1), entry(1, 1)]));
        assert!(of(vec![], vec![entry(SEQUENCE_MAX, 1)]));
        assert!(!of(vec![], vec![entry(SEQUENCE_MAX + 1, 1)]));
        assert!(!of(vec![], vec![entry(1, SEQUENCE_MAX + 1)]));
        assert!(of(vec![("a", vec![entry(1, 1)]), ("b", vec![entry(1, 1)])], vec![]));
        assert!(!of(vec![("b", vec![entry(1, 1)]), ("a", vec![entry(1, 1)])], vec![]));
        assert!(!of(vec![("a", vec![entry(1, 1)]), ("a", vec![entry(2, 1)])], vec![]));
        assert!(!of(vec![("a", vec![])], vec![entry(1, 1)]));
    }
}
