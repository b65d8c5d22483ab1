//! Rosters: what listings show of many snapshots, read in place of these by a host whose catalog lacks many. Rules:
//! format-spec/10-snapshot.md.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::error::{Fault, RepositoryError};
use super::objects::{Listed, Read};
use super::{Repository, lock};
use crate::format::limits::ROSTER_MAX;
use crate::format::object::{Kind, Name, SnapshotName};
use crate::format::roster::Roster;

/// So many snapshots that a catalog lacks are worth a look at rosters, and a roster is worth being made.
pub(super) const WORTH: usize = 8;

impl Repository {
    /// Takes what rosters tell of listed snapshots into the catalog, and answers with those that have to be read.
    ///
    /// ROSTER-2: one that cannot be read tells nothing.
    ///
    /// ROSTER-3: whoever looks at the repository alone reads each snapshot.
    pub(super) fn told_by_rosters(&self, listed: Vec<Listed>) -> Result<Vec<Listed>, RepositoryError> {
        if listed.len() < WORTH || self.reads_all.load(Ordering::Relaxed) {
            return Ok(listed);
        }
        let mut rosters = self.listed("rosters/")?;
        rosters.sort_by_key(|of| Reverse(of.modified));
        let mut wanted: HashSet<SnapshotName> = listed.iter().filter_map(snapshot_of).collect();
        for of in rosters {
            if wanted.is_empty() {
                break;
            }
            self.read_listed(&[of], ROSTER_MAX, &|_, _, plaintext| self.decode_roster(&plaintext), |_, read| {
                for (name, snapshot) in read.unwrap_or_default().snapshots {
                    if wanted.remove(&name) {
                        lock(&self.catalog).add_snapshot(&name, Some(&snapshot))?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(listed.into_iter().filter(|of| snapshot_of(of).is_none_or(|name| wanted.contains(&name))).collect())
    }

    /// All rosters.
    pub(super) fn rosters(&self) -> Result<Read<Roster>, RepositoryError> {
        self.read_all("rosters/", ROSTER_MAX, &|_, _: Kind, plaintext| self.decode_roster(&plaintext))
    }

    fn decode_roster(&self, plaintext: &[u8]) -> Result<Roster, Fault> {
        let (roster, keyring) = (Roster::decode(plaintext)?, self.keyring());
        roster.snapshots.iter().try_for_each(|(name, snapshot)| keyring.check_tag(name.tag, &snapshot.dataset))?;
        Ok(roster)
    }
}

/// The snapshot's name, where it has one.
pub(super) fn snapshot_of(listed: &Listed) -> Option<SnapshotName> {
    match listed.name {
        Name::Snapshot(name) => Some(name),
        _ => None,
    }
}
