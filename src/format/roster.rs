//! A roster: what listings show of many snapshots, in one object, so that a host that knows none of them need not read each.
//! Layout: format-spec/10-snapshot.md.

use std::collections::BTreeMap;

use super::ids::{DatasetTag, Id16, UnixMillis};
use super::limits::SEQUENCE_MAX;
use super::object::SnapshotName;
use super::snapshot::{File, Snapshot};
use super::{Malformed, decode_cbor, encode_cbor};

/// Snapshots by their names, each as [`Roster::shown`] makes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Roster {
    /// What is shown of each.
    pub snapshots: BTreeMap<SnapshotName, Snapshot>,
}

#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct RosterFields {
    #[n(0)]
    entries: Vec<EntryFields>,
}

/// Place and sequence are the snapshot's own.
#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct EntryFields {
    #[n(0)]
    tag: DatasetTag,
    #[n(1)]
    time: UnixMillis,
    #[n(2)]
    session: Id16,
    #[n(3)]
    snapshot: Snapshot,
}

impl Roster {
    /// A snapshot without what no listing shows: recipes, and files that are not of the dataset.
    pub fn shown(snapshot: &Snapshot) -> Snapshot {
        let of_dataset = snapshot.files.iter().filter(|file| file.role.is_of_dataset());
        let files = of_dataset.map(|file| File { recipe: None, ..file.clone() }).collect();
        Snapshot { files, ..snapshot.clone() }
    }

    /// CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let entry = |(name, snapshot): (&SnapshotName, &Snapshot)| EntryFields {
            tag: name.tag,
            time: name.time,
            session: name.session,
            snapshot: snapshot.clone(),
        };
        encode_cbor(&RosterFields { entries: self.snapshots.iter().map(entry).collect() })
    }

    /// The same, read back.
    ///
    /// ROSTER-1: in order, with entries, and nothing in them that no name or roster holds.
    pub fn decode(bytes: &[u8]) -> Result<Roster, Malformed> {
        let RosterFields { entries } = decode_cbor("roster", bytes)?;
        let mut roster = Roster::default();
        for EntryFields { tag, time, session, snapshot } in entries {
            let (place, sequence) = (snapshot.place(), snapshot.sequence);
            let name = SnapshotName { tag, place, sequence, time, session };
            let is_next = roster.snapshots.last_key_value().is_none_or(|(last, _)| *last < name);
            if place.max(sequence) > SEQUENCE_MAX || !is_next {
                return Err(Malformed::new("roster", format!("an entry out of order or bounds: {name}")));
            }
            if snapshot.files.iter().any(|file| file.recipe.is_some() || !file.role.is_of_dataset()) {
                return Err(Malformed::new("roster", format!("more than is shown of {name}")));
            }
            snapshot.check_sum()?;
            roster.snapshots.insert(name, snapshot);
        }
        match roster.snapshots.is_empty() {
            true => Err(Malformed::new("roster", "it says nothing")),
            false => Ok(roster),
        }
    }
}
