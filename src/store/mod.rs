//! A store keeps whole objects by name: the place, local or remote, where a repository lives.
//!
//! An object is written once, in one piece, and read in whole or in part; only leases are written again. A store knows
//! nothing of what the objects mean. What the layers above may rely on:
//!
//! - an object is there as a whole or not at all, and what a finished put stored survives a power cut;
//! - a read answers with exactly what was asked for, or with an error, never with less;
//! - [`Store::list`] shows every object whose put finished at least [`Timing::lag`] ago, and none whose delete did;
//! - a put that failed may still have taken effect, unless the error says [`StoreError::Exists`].

mod error;
mod local;
mod name;
mod services;
mod settings;
mod url;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

pub use self::error::StoreError;
pub(crate) use self::local::TEMPORARY;
pub use self::name::{BadName, ObjectName};
pub use self::services::Trouble;
pub use self::settings::{KeystoneIdentity, Limits, S3, S3Keys, SecretText, Settings, Swift, SwiftLogin, Tell, Tls};
pub use self::url::{Bucket, Location};

/// Whole objects by name. All calls block, and all may be made from many threads at once.
pub trait Store: Send + Sync {
    /// The whole object. Refuses with [`StoreError::TooLarge`], before allocating, one of more than `limit` bytes.
    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError>;

    /// Exactly `length` bytes at `offset`. A range that ends past the object is [`StoreError::Range`], never a short
    /// answer; `length` may be 0 up to the very end. The caller bounds `length`.
    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>, StoreError>;

    /// Stores, replacing whatever had the name; a reader sees the old bytes or the new ones. Only leases are written
    /// twice.
    fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError>;

    /// Stores only where no object has the name, else [`StoreError::Exists`]. How far this can be trusted when two
    /// writers race is [`Promises::put_new`].
    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError>;

    /// Hands over every object below a directory such as `packs/`, or all of them for the empty prefix, in name order:
    /// those whose name comes behind `after`. What is not an object (unfinished files, files of other programs) is left
    /// out. After an error what was handed over is a part of it; `entries` gives all of them or the error.
    fn list(&self, prefix: &str, after: Option<&ObjectName>, each: &mut dyn FnMut(Entry)) -> Result<(), StoreError>;

    /// What the store knows of an object; `None` where there is no such object. Asked for by name: a listing may lag.
    fn stat(&self, name: &ObjectName) -> Result<Option<Stat>, StoreError>;

    /// Deletes for good. Deleting what is not there is success.
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError>;

    /// The room of the disk that it lies on, where it lies on one that this host can fill.
    fn room(&self) -> Option<&dyn Room>;

    /// Whether its calls go over a network, so that what they answered is worth keeping.
    fn is_far(&self) -> bool {
        false
    }

    /// What only a service has: rights, and versions of what was deleted. A store that stands before another one has none.
    fn service(&self) -> Option<&dyn Service> {
        None
    }

    /// How many calls at a time it answers faster than one after the other; at least 1.
    fn connections(&self) -> usize;

    /// What this store promises to several writers.
    fn promises(&self) -> Promises;

    /// How a person calls this place, without secrets.
    fn location(&self) -> String;
}

impl dyn Store + '_ {
    /// Every object below a directory, or all of them for the empty prefix, in name order: all of them, or an error.
    pub fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        self.list(prefix, None, &mut |entry| entries.push(entry))?;
        Ok(entries)
    }
}

/// The room on a disk: a reserve that is set aside for when it is full, and what killed writers left there.
pub trait Room {
    /// Sets so many bytes aside for a full disk, where less is set aside, and where twice that stays free; up to `before`,
    /// which was set aside before, as much as there is. Answers with how many are set aside then.
    fn keep_reserve(&self, bytes: u64, before: u64) -> Result<u64, StoreError>;

    /// Gives that room back. Answers with how many bytes it was.
    fn release_reserve(&self) -> Result<u64, StoreError>;

    /// Gives so many bytes of it back and keeps the rest. Answers whether there were any.
    fn lend_reserve(&self, bytes: u64) -> Result<bool, StoreError>;

    /// Removes what writers that were killed left and that is no object, once it is [`Timing::abandoned`]. `now` by the
    /// store's clock. Answers with how many files that were.
    fn remove_abandoned(&self, now: SystemTime) -> Result<u64, StoreError>;
}

/// What is known of a service that keeps objects, beside the objects.
pub trait Service {
    /// STORE-11: tries what the credentials may do, below `probes/`. What it stores it deletes, as far as it may.
    fn try_rights(&self) -> Result<Rights, StoreError>;

    /// Tries what `put_new` is worth, below `probes/`.
    fn try_put_new(&self) -> Result<PutNew, StoreError>;

    /// What the answers so far said of what is kept.
    fn keeping(&self) -> Keeping;
}

/// What credentials may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Store an object.
    pub store: bool,
    /// Store another one in its place.
    pub replace: bool,
    /// Delete it.
    pub delete: bool,
}

/// What a service keeps of objects that are deleted or replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Older versions stay and take room.
    pub versions: bool,
    /// Until when the last object that was looked at cannot be deleted for good, in the service's words.
    pub locked_until: Option<String>,
    /// A delete brings back what was there before.
    pub comes_back: bool,
}

/// What a store knows of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored, by the store's clock; stores in memory do not know.
    pub modified: Option<SystemTime>,
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
    /// What [`Store::put_new`] is worth.
    pub put_new: PutNew,
    /// How long its writers wait, and for what.
    pub timing: Timing,
}

/// How long the writers of one store wait. All of them go by the same times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a lease is rewritten.
    pub heartbeat: Duration,
    /// A lease without a heartbeat for this long may be given up by a sweep.
    pub stale: Duration,
    /// Younger packs are never judged: a put of unknown outcome may be repeated, and take effect, for a while.
    pub youngest: Duration,
    /// What nobody has written to for so long is nobody's, whatever a wrong clock says.
    pub abandoned: Duration,
    /// How long after a put or delete every listing shows it.
    pub lag: Duration,
}

impl Timing {
    /// The times of format-spec/11-sessions.md and 16-sweep.md, for a store whose listings are so late at most.
    pub const fn of_lag(lag: Duration) -> Timing {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        Timing {
            heartbeat: Duration::from_secs(10 * MINUTE),
            stale: Duration::from_secs(HOUR),
            youngest: if lag.is_zero() { Duration::ZERO } else { Duration::from_secs(HOUR) },
            abandoned: Duration::from_secs(24 * HOUR),
            lag,
        }
    }

    /// The same for a store over a network, where a put of unknown outcome may take effect late whatever its listings do.
    pub const fn of_service(lag: Duration) -> Timing {
        Timing { youngest: Duration::from_secs(60 * 60), ..Timing::of_lag(lag) }
    }
}

/// What [`Store::put_new`] is worth when two writers race for one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutNew {
    /// One writer wins, all others are refused.
    Exclusive,
    /// A name older than [`Timing::lag`] is refused; two writers within that time may both succeed.
    Settled,
    /// Nothing is refused.
    None,
}

impl PutNew {
    /// The word for it, where it is written down.
    pub fn word(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Settled => "settled",
            Self::None => "none",
        }
    }
}

/// What the caller of [`open`] expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// A place to be made where it does not exist, and proved to create exclusively.
    Create,
    /// A place that exists; it may be read-only.
    Existing,
}

/// Opens the store at a location that needs no settings to be reached.
pub fn open(location: &Location, intent: Intent) -> Result<Arc<dyn Store>, StoreError> {
    open_with(location, intent, &Settings::default())
}

/// Opens the store at a location.
pub fn open_with(location: &Location, intent: Intent, settings: &Settings) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match location {
        Location::Local(path) => Arc::new(local::LocalStore::open(path, intent)?),
        Location::Memory(name) => Arc::new(services::ServiceStore::memory(name, intent)?),
        Location::S3(bucket) => Arc::new(services::ServiceStore::s3(bucket, intent, settings)?),
        Location::Swift(container) => Arc::new(services::ServiceStore::swift(container, intent, settings)?),
    })
}
