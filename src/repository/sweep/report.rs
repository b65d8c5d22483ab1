//! What a sweep says of itself.

use std::time::Duration;

use crate::format::Id16;

/// What a condemned pack is still waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// It was condemned too short a time ago.
    Age {
        /// The condemnation.
        condemned: Id16,
        /// Its packs.
        packs: u64,
        /// The bytes of those that are there.
        bytes: u64,
        /// For how long at least.
        left: Duration,
    },
    /// A session that may use it is at work.
    Session {
        /// The session.
        session: Id16,
        /// What it may commit.
        commit_name: String,
        /// For how long it is waited for if it shows no sign of life.
        left: Duration,
    },
    /// What stands at a commit name may still change, on a store whose put_new is not exclusive.
    Settling {
        /// The commit name.
        commit_name: String,
    },
}

/// What was stored again because packs it was in will go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoredAgain {
    /// Chunks.
    pub chunks: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
    /// Bytes stored for them; 0 of what would be stored.
    pub stored_bytes: u64,
}

/// Packs sealed by older keys that are to be stored again, and are too young to be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct YoungToReseal {
    /// How many.
    pub packs: u64,
    /// For how long the youngest of them stays.
    pub left: Duration,
}

/// What a sweep did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Packs there were.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Snapshots whose chunks are needed.
    pub snapshots: u64,
    /// Chunks they need.
    pub needed_chunks: u64,
    /// Packs condemned in this run.
    pub condemned_packs: u64,
    /// Their bytes.
    pub condemned_bytes: u64,
    /// Bytes of them that are needed, about.
    pub rewritten_bytes: u64,
    /// Unneeded bytes in packs that stay, about.
    pub unused_bytes: u64,
    /// What was stored again.
    pub stored_again: StoredAgain,
    /// Packs deleted.
    pub deleted_packs: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Index objects deleted, because others took their place.
    pub deleted_indexes: u64,
    /// Forgotten snapshots deleted.
    pub deleted_snapshots: u64,
    /// Records of forgotten snapshots and tombstones that went into ledgers.
    pub folded: u64,
    /// Leases of ended sessions removed.
    pub removed_leases: u64,
    /// What is waited for.
    pub waiting: Vec<Waiting>,
    /// What is left to be sealed by the newest keys, where that was asked for.
    pub young_to_reseal: Option<YoungToReseal>,
}

impl SweepReport {
    /// This sweep and the one after it: what was done by both, as things stand after the second.
    pub fn and(self, next: SweepReport) -> SweepReport {
        SweepReport {
            condemned_packs: self.condemned_packs + next.condemned_packs,
            condemned_bytes: self.condemned_bytes + next.condemned_bytes,
            rewritten_bytes: self.rewritten_bytes + next.rewritten_bytes,
            stored_again: StoredAgain {
                chunks: self.stored_again.chunks + next.stored_again.chunks,
                bytes: self.stored_again.bytes + next.stored_again.bytes,
                stored_bytes: self.stored_again.stored_bytes + next.stored_again.stored_bytes,
            },
            deleted_packs: self.deleted_packs + next.deleted_packs,
            deleted_bytes: self.deleted_bytes + next.deleted_bytes,
            deleted_indexes: self.deleted_indexes + next.deleted_indexes,
            deleted_snapshots: self.deleted_snapshots + next.deleted_snapshots,
            folded: self.folded + next.folded,
            removed_leases: self.removed_leases + next.removed_leases,
            ..next
        }
    }
}
