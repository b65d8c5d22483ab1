//! A store keeps whole objects by name: the place, local or remote, where a repository lives.
//!
//! An object is written once, in one piece, and read in whole or in part; only leases are written again. A store knows
//! nothing of what the objects mean. What the layers above may rely on:
//!
//! - an object is there as a whole or not at all, and what a finished put stored survives a power cut;
//! - a read answers with exactly what was asked for, or with an error, never with less;
//! - [`Store::list`] shows every object whose put finished at least [`Promises::lag`] ago, and none whose delete did;
//! - a put that failed may still have taken effect, unless the error says [`StoreError::Exists`].

mod error;
mod local;
mod name;
mod services;
mod url;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::error::StoreError;
pub(crate) use self::local::TEMPORARY;
pub use self::name::{BadName, ObjectName};
pub use self::url::Location;

/// Whole objects by name. All calls block, and all may be made from many threads at once.
pub trait Store: Send + Sync {
    /// The whole object. Refuses with [`StoreError::TooLarge`], before allocating, one of more than `limit` bytes.
    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError>;

    /// Exactly `length` bytes at `offset`. A range that ends past the object is [`StoreError::Range`], never a short
    /// answer; `length` may be 0 up to the very end. The caller bounds `length`.
    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>, StoreError>;

    /// Stores, replacing whatever had the name; a reader sees the old bytes or the new ones. Only leases are written
    /// twice.
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError>;

    /// Stores only where no object has the name, else [`StoreError::Exists`]. How far this can be trusted when two
    /// writers race is [`Promises::put_new`].
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError>;

    /// Every object below a directory such as `packs/`, or all of them for the empty prefix, in name order. What is
    /// not an object (unfinished files, files of other programs) is left out. An error rather than a part of it.
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError>;

    /// When an object was stored, by the store's clock; `None` where the store does not know, or shows no such object.
    /// Asked for by name, where the store can: a listing may lag.
    fn modified(&self, name: &ObjectName) -> Result<Option<SystemTime>, StoreError> {
        let (directory, _) = name.split();
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let entries = self.list(&prefix)?;
        Ok(entries.into_iter().find(|entry| entry.name == *name).and_then(|entry| entry.modified))
    }

    /// Deletes for good. Deleting what is not there is success.
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError>;

    /// Sets so many bytes of room aside for a full disk, where less is set aside, and where twice that stays free; up to
    /// `before`, which was set aside before, as much as there is. Answers with how many are set aside then; stores that
    /// cannot run full say that all are.
    fn keep_reserve(&self, bytes: u64, _before: u64) -> Result<u64, StoreError> {
        Ok(bytes)
    }

    /// Gives that room back. Answers with how many bytes it was.
    fn release_reserve(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// Gives so many bytes of it back and keeps the rest. Answers whether there were any.
    fn lend_reserve(&self, _bytes: u64) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Removes what writers that were killed left and that is no object, once it is a day old. `now` by the store's clock.
    fn remove_abandoned(&self, _now: SystemTime) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// What this store promises to several writers.
    fn promises(&self) -> Promises;

    /// How a person calls this place, without secrets.
    fn location(&self) -> String;
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The object.
    pub name: ObjectName,
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored, by the store's clock; stores in memory do not know.
    pub modified: Option<SystemTime>,
}

/// What several writers of one store may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promises {
    /// How long after a put or delete every listing shows it.
    pub lag: Duration,
    /// What [`Store::put_new`] is worth.
    pub put_new: PutNew,
}

/// What [`Store::put_new`] is worth when two writers race for one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutNew {
    /// One writer wins, all others are refused.
    Exclusive,
    /// A name older than [`Promises::lag`] is refused; two writers within that time may both succeed.
    Settled,
    /// Nothing is refused.
    None,
}

/// What the caller of [`open`] expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// A place to be made where it does not exist, and proved to create exclusively.
    Create,
    /// A place that exists; it may be read-only.
    Existing,
}

/// Opens the store at a location.
pub fn open(location: &Location, intent: Intent) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match location {
        Location::Local(path) => Arc::new(local::LocalStore::open(path, intent)?),
        Location::Memory(name) => Arc::new(services::ServiceStore::memory(name, intent)?),
    })
}
