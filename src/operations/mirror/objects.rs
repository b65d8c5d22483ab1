//! Objects as a store lists them, and what can be said of their bytes without a key.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::format::Id16;
use crate::format::limits::{
    CONDEMNED_MAX, INDEX_MAX, LEDGER_MAX, NOTE_MAX, PACK_MAX, ROSTER_MAX, SMALL_MAX, SNAPSHOT_MAX,
};
use crate::format::object::Name;
use crate::format::sealing::Header;
use crate::operations::OperationError;
use crate::repository::RepositoryError;
use crate::store::{ObjectName, Store};

/// Bytes of the hash that an object below `snapshots/` ends with.
const SUM: usize = 32;

/// An object of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    pub name: Name,
    pub size: u64,
    /// By the store's clock.
    pub modified: Option<SystemTime>,
}

/// Objects by name.
pub(super) type Listing = BTreeMap<Name, Listed>;

/// All objects below a folder, or all of them; what has the name of none is left out.
pub(super) fn listed(store: &dyn Store, folder: &str) -> Result<Listing, OperationError> {
    let mut listing = Listing::new();
    let listed = store.list(folder, None, &mut |entry| {
        if let Some(name) = Name::parse(entry.name.as_str()) {
            listing.insert(name, Listed { name, size: entry.size, modified: entry.modified });
        }
    });
    listed.map_err(RepositoryError::from)?;
    Ok(listing)
}

/// The name in a store.
pub(super) fn object_name(name: &Name) -> ObjectName {
    name.to_string().parse().unwrap_or_else(|_| unreachable!("{name} is made of safe characters"))
}

/// Bytes that an object of this name may have.
pub(super) fn limit(name: &Name) -> u64 {
    match name {
        Name::Config | Name::Slot(_) | Name::Lease(_) | Name::Forgotten(_) | Name::Epoch(_) => SMALL_MAX,
        Name::Pack(_) => PACK_MAX,
        Name::Index(_) => INDEX_MAX,
        Name::Snapshot(_) => SNAPSHOT_MAX,
        Name::Condemned(_) | Name::Burial(_) => CONDEMNED_MAX,
        Name::Ledger(..) => LEDGER_MAX,
        Name::Note(_) => NOTE_MAX,
        Name::Roster(_) => ROSTER_MAX,
    }
}

/// Whether the bytes of an object tell by themselves that they are what was stored.
pub(super) fn tells_itself(name: &Name) -> bool {
    matches!(name, Name::Pack(_) | Name::Index(_) | Name::Snapshot(_))
}

/// What is wrong with the bytes of an object, as far as that shows without a key.
///
/// MIRROR-1: packs and index objects are named by the hash of their bytes, snapshots end with one; of all others the header
/// names kind and repository.
pub(super) fn fault(name: &Name, bytes: &[u8], repository: Id16) -> Option<String> {
    let is_whole = match name {
        Name::Pack(hash) | Name::Index(hash) => *blake3::hash(bytes).as_bytes() == hash.0,
        Name::Snapshot(_) => {
            let (content, sum) = bytes.split_at(bytes.len().saturating_sub(SUM));
            blake3::hash(content).as_bytes()[..] == *sum
        }
        _ => true,
    };
    if !is_whole {
        return Some("its bytes do not match its hash".into());
    }
    let header = Header::decode(bytes).and_then(|(header, _)| header.check(name, Some(repository)));
    header.err().map(|malformed| malformed.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ObjectHash;
    use crate::format::object::{Kind, SnapshotName};

    /// MIRROR-1
    #[test]
    fn what_an_object_is_shows_without_a_key() {
        let repository = Id16([1; 16]);
        let sealed = |kind| [&Header { kind, epoch: 0, repository, salt: [2; 32] }.encode()[..], b"sealed"].concat();
        let slot = Name::Slot(Id16([3; 16]));
        assert_eq!(fault(&slot, &sealed(Kind::Slot), repository), None);
        assert!(fault(&slot, &sealed(Kind::Slot), Id16([9; 16])).is_some());
        assert!(fault(&slot, &sealed(Kind::Pack), repository).is_some());
        assert!(fault(&slot, b"short", repository).is_some());

        let pack = sealed(Kind::Pack);
        let name = Name::Pack(ObjectHash(*blake3::hash(&pack).as_bytes()));
        assert_eq!(fault(&name, &pack, repository), None);
        assert!(fault(&name, &pack[..pack.len() - 1], repository).is_some());

        let text = format!("snapshots/{}/0000000001-0000000001-000001790000000-{}", "0a".repeat(8), "0b".repeat(16));
        let name = Name::Snapshot(SnapshotName::parse(&text).unwrap());
        let content = sealed(Kind::Snapshot);
        let mut whole = [&content[..], blake3::hash(&content).as_bytes()].concat();
        assert_eq!(fault(&name, &whole, repository), None);
        whole[70] ^= 1;
        assert!(fault(&name, &whole, repository).is_some());
        assert!(fault(&name, b"", repository).is_some());
    }
}
