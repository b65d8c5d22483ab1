//! The room that a local repository sets aside, so that a full disk can be left: by `prune`, by `forget`, by a session
//! that has to say that it failed.

use super::Repository;
use super::error::RepositoryError;
use crate::format::counts::size;
use crate::store::{Room, StoreError};

/// What a sweep sets aside at most, in bytes: enough to condemn and bury all packs of some ten terabytes.
const RESERVE: u64 = 16 << 20;
/// What it sets aside of all packs: more than their index objects take.
const SHARE: u64 = 100;
/// What a new repository sets aside: little beside a small one.
const FIRST: u64 = 1 << 20;
/// Less than this is worth a word.
const SCARCE: u64 = FIRST / 2;
/// What is lent at once for small objects.
const PIECE: u64 = 64 << 10;

impl Repository {
    /// Gives the reserve back to the disk; how many bytes it was.
    pub fn release_reserve(&self) -> Result<u64, RepositoryError> {
        Ok(self.store.room().map_or(Ok(0), Room::release_reserve)?)
    }

    /// Sets the first reserve aside. Where it is too small to rely on, why.
    pub fn begin_reserve(&self) -> Option<String> {
        self.set_aside(FIRST, 0)
    }

    /// Sets the reserve aside for so many bytes of packs, as far as twice that stays free; up to `before`, the bytes that it
    /// had, in any case. Where it is too small to rely on, why.
    pub fn keep_reserve(&self, packs: u64, before: u64) -> Option<String> {
        self.set_aside((packs / SHARE).clamp(FIRST, RESERVE), before)
    }

    fn set_aside(&self, bytes: u64, before: u64) -> Option<String> {
        // What cannot run full needs none.
        let room = self.store.room()?;
        match room.keep_reserve(bytes, before) {
            Ok(bytes) if bytes >= SCARCE => None,
            Ok(bytes) => Some(format!("the disk is too full: {} are set aside", size(bytes))),
            Err(error) => Some(super::one_line(&error)),
        }
    }

    /// Does something small, such as a record, from the reserve where the disk is full. The rest of it stays.
    ///
    /// SWEEP-18: what it takes to leave a full disk, and nothing else.
    pub(super) fn with_reserve<T>(&self, mut work: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
        loop {
            match work() {
                Err(error @ StoreError::Full { .. }) => match self.store.room().map(|room| room.lend_reserve(PIECE)) {
                    Some(Ok(true)) => {}
                    Some(Ok(false) | Err(_)) | None => return Err(error),
                },
                other => return other,
            }
        }
    }
}
