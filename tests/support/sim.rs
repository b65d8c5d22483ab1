//! A store in memory that runs on simulated time, with listings that lag and each kind of `put_new`.
//!
//! It keeps what [`Promises`] says and not a bit more: what may be late is late.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use redkeep::store::{Entry, ObjectName, Promises, PutNew, Room, Stat, Store, StoreError, Timing};

use super::repository::{Clock, Hands};

/// When a listing shows what was put or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// As late as the store's promise allows.
    Late,
    /// What was put at once, what was deleted as late as allowed.
    DeletesLate,
    /// What was put as late as allowed, what was deleted at once.
    PutsLate,
    /// Each change after a part of the allowed time of its own, so that changes show in any order.
    Scattered(u64),
}

/// Every kind of listing, for tests that sweep over them.
pub const LISTINGS: [Listing; 4] = [Listing::Late, Listing::DeletesLate, Listing::PutsLate, Listing::Scattered(1)];

/// Every kind of `put_new`, for tests that sweep over them.
pub const PUT_NEWS: [PutNew; 3] = [PutNew::Exclusive, PutNew::Settled, PutNew::None];

/// A store whose time is that of some [`Hands`].
pub struct SimStore {
    clock: Clock,
    promises: Promises,
    listing: Listing,
    objects: Mutex<BTreeMap<ObjectName, Vec<Change>>>,
}

/// What became of a name: a put, or a deletion (no bytes).
#[derive(Clone)]
struct Change {
    at: Duration,
    shows_at: Duration,
    bytes: Option<Bytes>,
}

impl SimStore {
    /// An empty store.
    pub fn new(hands: &Hands, promises: Promises, listing: Listing) -> Arc<SimStore> {
        Arc::new(SimStore { clock: hands.clock(), promises, listing, objects: Mutex::default() })
    }

    /// One that promises all there is to promise, as a local store does.
    pub fn strict(hands: &Hands) -> Arc<SimStore> {
        SimStore::new(
            hands,
            Promises { put_new: PutNew::Exclusive, timing: Timing::of_lag(Duration::ZERO) },
            Listing::Late,
        )
    }

    /// A copy on a clock of its own: what is done to one does not show in the other.
    pub fn fork(&self, hands: &Hands) -> Arc<SimStore> {
        let objects = Mutex::new(self.objects().clone());
        Arc::new(SimStore { clock: hands.clock(), promises: self.promises, listing: self.listing, objects })
    }

    /// What a listing shows now.
    pub fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let store: &dyn Store = self;
        store.entries(prefix)
    }

    /// The names that exist, whatever a listing shows by now.
    pub fn names(&self) -> Vec<String> {
        let objects = self.objects();
        let there = objects.iter().filter(|(_, changes)| current(changes).is_some());
        there.map(|(name, _)| name.to_string()).collect()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectName, Vec<Change>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, changes: &mut Vec<Change>, name: &ObjectName, bytes: Option<Bytes>) {
        let (at, lag) = (self.clock.passed(), self.promises.timing.lag);
        let late = match (self.listing, bytes.is_some()) {
            (Listing::Late, _) | (Listing::DeletesLate, false) | (Listing::PutsLate, true) => lag,
            (Listing::DeletesLate, true) | (Listing::PutsLate, false) => Duration::ZERO,
            (Listing::Scattered(seed), _) => lag.mul_f64(scatter(seed, name, changes.len())),
        };
        changes.push(Change { at, shows_at: at + late, bytes });
    }

    fn bytes(&self, name: &ObjectName) -> Result<Bytes, StoreError> {
        let found = self.objects().get(name).and_then(|changes| current(changes)).and_then(|last| last.bytes.clone());
        found.ok_or_else(|| StoreError::NotFound { name: name.clone() })
    }
}

/// The last change, where it is a put.
fn current(changes: &[Change]) -> Option<&Change> {
    changes.last().filter(|last| last.bytes.is_some())
}

/// A number from 0 to 1 for a change of a name.
fn scatter(seed: u64, name: &ObjectName, change: usize) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(&change.to_le_bytes()).update(name.as_str().as_bytes());
    f64::from(hasher.finalize().as_bytes()[0]) / 255.0
}

/// Whether a prefix is empty or a directory; its text where it is neither.
fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    let directory = prefix.strip_suffix('/').unwrap_or(if prefix.is_empty() { "any" } else { " " });
    directory.parse::<ObjectName>()?;
    Ok(())
}

impl Store for SimStore {
    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = self.bytes(name)?;
        match bytes.len() as u64 > limit {
            true => Err(StoreError::TooLarge { name: name.clone(), limit }),
            false => Ok(bytes.to_vec()),
        }
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = self.bytes(name)?;
        let range = offset.checked_add(length).map(|end| Range { start: offset as usize, end: end as usize });
        let found = range.and_then(|range| bytes.get(range));
        found.map(<[u8]>::to_vec).ok_or_else(|| StoreError::Range { name: name.clone(), offset, length })
    }

    fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        let mut objects = self.objects();
        self.change(objects.entry(name.clone()).or_default(), name, Some(bytes));
        Ok(())
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        let mut objects = self.objects();
        let changes = objects.entry(name.clone()).or_default();
        let is_refused = current(changes).is_some_and(|last| match self.promises.put_new {
            PutNew::Exclusive => true,
            PutNew::Settled => self.clock.passed() >= last.at + self.promises.timing.lag,
            PutNew::None => false,
        });
        match is_refused {
            true => return Err(StoreError::Exists { name: name.clone() }),
            false => self.change(changes, name, Some(bytes)),
        }
        Ok(())
    }

    fn list(&self, prefix: &str, after: Option<&ObjectName>, each: &mut dyn FnMut(Entry)) -> Result<(), StoreError> {
        check_prefix(prefix)?;
        let now = self.clock.passed();
        let objects = self.objects();
        let entry = |(name, changes): (&ObjectName, &Vec<Change>)| {
            let shown = changes.iter().rev().find(|change| change.shows_at <= now)?;
            let size = shown.bytes.as_ref()?.len() as u64;
            Some(Entry { name: name.clone(), size, modified: Some(SystemTime::UNIX_EPOCH + Clock::START + shown.at) })
        };
        let behind = |name: &ObjectName| after.is_none_or(|after| name > after);
        let below = objects.iter().filter(|(name, _)| name.as_str().starts_with(prefix) && behind(name));
        below.filter_map(entry).for_each(each);
        Ok(())
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<Stat>, StoreError> {
        let objects = self.objects();
        let stat = |last: &Change| Stat {
            size: last.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            modified: Some(SystemTime::UNIX_EPOCH + Clock::START + last.at),
        };
        Ok(objects.get(name).and_then(|changes| current(changes)).map(stat))
    }

    fn room(&self) -> Option<&dyn Room> {
        None
    }

    /// So that the n-th call of an operation is the same one in each run.
    fn connections(&self) -> usize {
        1
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        let mut objects = self.objects();
        if let Some(changes) = objects.get_mut(name).filter(|changes| current(changes).is_some()) {
            self.change(changes, name, None);
        }
        Ok(())
    }

    fn promises(&self) -> Promises {
        self.promises
    }

    fn location(&self) -> String {
        "memory:sim".into()
    }
}
