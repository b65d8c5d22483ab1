//! The small objects by which writers find each other. Layout: format-spec/11-sessions.md.

use super::ids::{Id16, ObjectHash, UnixMillis};
use super::{Malformed, decode_cbor, encode_cbor};

/// A writer's announcement, rewritten by its heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Lease {
    /// The writer.
    #[n(0)]
    pub session: Id16,
    /// The one name under which it may commit.
    #[n(1)]
    pub commit_name: String,
    /// Condemned ids its LIST showed; `None` before that LIST.
    #[n(2)]
    pub seen: Option<Vec<Id16>>,
    /// When this heartbeat was written, by the host's clock.
    #[n(3)]
    pub heartbeat: UnixMillis,
}

/// Nothing will be committed under this name any more.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Tombstone {
    /// The session that put it.
    #[n(0)]
    pub session: Id16,
    /// When.
    #[n(1)]
    pub time: UnixMillis,
}

/// Packs a sweep is going to delete.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Condemned {
    /// The sweep.
    #[n(0)]
    pub session: Id16,
    /// Names of the packs.
    #[n(1)]
    pub packs: Vec<ObjectHash>,
}

/// A snapshot was forgotten on purpose.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Forgotten {
    /// Object name of the snapshot.
    #[n(0)]
    pub snapshot: String,
    /// When.
    #[n(1)]
    pub time: UnixMillis,
    /// For people.
    #[n(2)]
    pub reason: String,
}

/// Packs that may be deleted, by anyone and at any time. Layout: format-spec/16-sweep.md.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Burial {
    /// The condemnations that come to their end.
    #[n(0)]
    pub condemned: Vec<Id16>,
    /// Names of the packs.
    #[n(1)]
    pub packs: Vec<ObjectHash>,
    /// Packs the sweep stored for what was still needed in them.
    #[n(2)]
    pub rescue: Vec<ObjectHash>,
    /// When.
    #[n(3)]
    pub time: UnixMillis,
}

macro_rules! codec {
    ($($name:ident, $what:literal;)*) => {
        $(impl $name {
            /// CBOR.
            pub fn encode(&self) -> Vec<u8> {
                encode_cbor(self)
            }

            /// The same, read back.
            pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
                decode_cbor($what, bytes)
            }
        })*
    };
}

codec! {
    Lease, "lease";
    Tombstone, "tombstone";
    Condemned, "condemned";
    Burial, "burial";
    Forgotten, "forgotten record";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_back_as_written() {
        let lease =
            |seen| Lease { session: Id16([1; 16]), commit_name: "snapshots/x".into(), seen, heartbeat: UnixMillis(5) };
        for lease in [lease(None), lease(Some(vec![])), lease(Some(vec![Id16([2; 16])]))] {
            assert_eq!(Lease::decode(&lease.encode()), Ok(lease));
        }
        let condemned = Condemned { session: Id16([1; 16]), packs: vec![ObjectHash([2; 32])] };
        assert_eq!(Condemned::decode(&condemned.encode()), Ok(condemned));
        let forgotten = Forgotten { snapshot: "s".into(), time: UnixMillis(1), reason: "r".into() };
        assert_eq!(Forgotten::decode(&forgotten.encode()), Ok(forgotten));
        let burial = Burial {
            condemned: vec![Id16([1; 16])],
            packs: vec![ObjectHash([2; 32])],
            rescue: vec![ObjectHash([3; 32])],
            time: UnixMillis(4),
        };
        assert_eq!(Burial::decode(&burial.encode()), Ok(burial));
        let tombstone = Tombstone { session: Id16([3; 16]), time: UnixMillis(1) };
        assert_eq!(Tombstone::decode(&tombstone.encode()), Ok(tombstone));
    }
}
