//! Stores that fail, that remember what they were asked, and that wait: each wraps another store.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redkeep::store::{Entry, ObjectName, Stat, Store, StoreError, Trouble};

/// How long a test waits for another thread before it fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// What was asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Get,
    GetRange,
    Put,
    PutNew,
    List,
    Stat,
    Delete,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::GetRange => "get_range",
            Self::Put => "put",
            Self::PutNew => "put_new",
            Self::List => "list",
            Self::Stat => "stat",
            Self::Delete => "delete",
        })
    }
}

/// One call: the verb, and the object's name or the prefix. `promises` and `location` are no calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    pub verb: Verb,
    pub name: String,
}

impl Call {
    pub fn new(verb: Verb, name: &str) -> Self {
        Self { verb, name: name.to_owned() }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.name)
    }
}

/// In `impl Store`: these methods are those of the store within. With `told` each call is told to that method first.
macro_rules! through {
    ($self:ident.$inner:tt, told $told:ident: $($method:ident)*) => { $(through!{@$method $self $inner ($told)})* };
    ($self:ident.$inner:tt: $($method:ident)*) => { $(through!{@$method $self $inner ()})* };
    (@get $self:ident $inner:tt ($($told:ident)?)) => {
        fn get(&$self, name: &redkeep::store::ObjectName, limit: u64) -> Result<Vec<u8>, redkeep::store::StoreError> {
            $($self.$told($crate::support::stores::Verb::Get, name.as_str());)?
            $self.$inner.get(name, limit)
        }
    };
    (@get_range $self:ident $inner:tt ($($told:ident)?)) => {
        fn get_range(
            &$self,
            name: &redkeep::store::ObjectName,
            offset: u64,
            length: u64,
        ) -> Result<Vec<u8>, redkeep::store::StoreError> {
            $($self.$told($crate::support::stores::Verb::GetRange, name.as_str());)?
            $self.$inner.get_range(name, offset, length)
        }
    };
    (@put $self:ident $inner:tt ($($told:ident)?)) => {
        fn put(&$self, name: &redkeep::store::ObjectName, bytes: bytes::Bytes) -> Result<(), redkeep::store::StoreError> {
            $($self.$told($crate::support::stores::Verb::Put, name.as_str());)?
            $self.$inner.put(name, bytes)
        }
    };
    (@put_new $self:ident $inner:tt ($($told:ident)?)) => {
        fn put_new(
            &$self,
            name: &redkeep::store::ObjectName,
            bytes: bytes::Bytes,
        ) -> Result<(), redkeep::store::StoreError> {
            $($self.$told($crate::support::stores::Verb::PutNew, name.as_str());)?
            $self.$inner.put_new(name, bytes)
        }
    };
    (@list $self:ident $inner:tt ($($told:ident)?)) => {
        fn list(
            &$self,
            prefix: &str,
            after: Option<&redkeep::store::ObjectName>,
            each: &mut dyn FnMut(redkeep::store::Entry),
        ) -> Result<(), redkeep::store::StoreError> {
            $($self.$told($crate::support::stores::Verb::List, prefix);)?
            $self.$inner.list(prefix, after, each)
        }
    };
    (@stat $self:ident $inner:tt ($($told:ident)?)) => {
        fn stat(
            &$self,
            name: &redkeep::store::ObjectName,
        ) -> Result<Option<redkeep::store::Stat>, redkeep::store::StoreError> {
            $($self.$told($crate::support::stores::Verb::Stat, name.as_str());)?
            $self.$inner.stat(name)
        }
    };
    (@delete $self:ident $inner:tt ($($told:ident)?)) => {
        fn delete(&$self, name: &redkeep::store::ObjectName) -> Result<(), redkeep::store::StoreError> {
            $($self.$told($crate::support::stores::Verb::Delete, name.as_str());)?
            $self.$inner.delete(name)
        }
    };
    (@room $self:ident $inner:tt $told:tt) => {
        fn room(&$self) -> Option<&dyn redkeep::store::Room> {
            $self.$inner.room()
        }
    };
    (@is_far $self:ident $inner:tt $told:tt) => {
        fn is_far(&$self) -> bool {
            $self.$inner.is_far()
        }
    };
    (@connections $self:ident $inner:tt $told:tt) => {
        fn connections(&$self) -> usize {
            $self.$inner.connections()
        }
    };
    (@promises $self:ident $inner:tt $told:tt) => {
        fn promises(&$self) -> redkeep::store::Promises {
            $self.$inner.promises()
        }
    };
    (@location $self:ident $inner:tt $told:tt) => {
        fn location(&$self) -> String {
            $self.$inner.location()
        }
    };
}
#[allow(unused_imports, reason = "not every test binary has a store of its own")]
pub(crate) use through;

/// Where a [`FaultyStore`] is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails without effect.
    Before,
    /// The call takes effect, and its caller never learns.
    After,
    /// Of a put, the first half is stored under the name, as by a store whose puts are not atomic; a name that exists
    /// still refuses a put_new. Other calls fail without effect.
    Torn,
}

/// Every kind of fault, for tests that sweep over them.
pub const FAULTS: [Fault; 3] = [Fault::Before, Fault::After, Fault::Torn];

/// A store whose process dies at its n-th call: that call fails, and so does every later one.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    fault: Fault,
    dies_at: u64,
    calls: Mutex<u64>,
}

/// The cause of every error of a dead [`FaultyStore`].
#[derive(Debug)]
pub struct Died;

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store died on purpose")
    }
}

impl Error for Died {}

impl FaultyStore {
    /// Dies at call number `n`, counted from 0.
    pub fn new(inner: Arc<dyn Store>, n: u64, fault: Fault) -> Arc<Self> {
        Arc::new(Self { inner, fault, dies_at: n, calls: Mutex::new(0) })
    }

    /// How many calls there were, failed ones included.
    pub fn calls(&self) -> u64 {
        *lock(&self.calls)
    }

    /// Whether the call it dies at was made: a sweep over n ends with the first run where it was not.
    pub fn is_dead(&self) -> bool {
        self.calls() > self.dies_at
    }

    /// Whether an error, or one of its causes, is this store's.
    pub fn caused(error: &(dyn Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<Died>() {
                return true;
            }
            next = error.source();
        }
        false
    }

    /// `torn` is what half of the call does.
    fn call<T>(
        &self,
        action: &'static str,
        name: &str,
        whole: impl FnOnce() -> Result<T, StoreError>,
        torn: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<T, StoreError> {
        let number = {
            let mut calls = lock(&self.calls);
            *calls += 1;
            *calls - 1
        };
        if number < self.dies_at {
            return whole();
        }
        if number == self.dies_at {
            // What the dying call itself met is lost with its answer.
            match self.fault {
                Fault::Before => {}
                Fault::After => drop(whole()),
                Fault::Torn => drop(torn()),
            }
        }
        Err(StoreError::Service { action, name: name.to_owned(), trouble: Trouble::Other, source: Died.into() })
    }
}

impl Store for FaultyStore {
    through!(self.inner: room is_far connections promises location);

    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.call("read", name.as_str(), || self.inner.get(name, limit), || Ok(()))
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        self.call("read", name.as_str(), || self.inner.get_range(name, offset, length), || Ok(()))
    }

    fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        let half = half(&bytes);
        let torn = || self.inner.put(name, half);
        self.call("store", name.as_str(), || self.inner.put(name, bytes), torn)
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        let half = half(&bytes);
        let torn = || self.inner.put_new(name, half);
        self.call("store", name.as_str(), || self.inner.put_new(name, bytes), torn)
    }

    fn list(&self, prefix: &str, after: Option<&ObjectName>, each: &mut dyn FnMut(Entry)) -> Result<(), StoreError> {
        self.call("list", prefix, || self.inner.list(prefix, after, each), || Ok(()))
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.call("delete", name.as_str(), || self.inner.delete(name), || Ok(()))
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<Stat>, StoreError> {
        self.call("stat", name.as_str(), || self.inner.stat(name), || Ok(()))
    }
}

fn half(bytes: &Bytes) -> Bytes {
    bytes.slice(..bytes.len() / 2)
}

/// A store that remembers every call, in the order in which they began.
pub struct RecordingStore {
    inner: Arc<dyn Store>,
    calls: Mutex<Vec<Call>>,
    read: AtomicU64,
    is_far: bool,
    longest: AtomicU64,
}

impl RecordingStore {
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self::of(inner, false))
    }

    /// One that says of itself that it is far away.
    pub fn far(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self::of(inner, true))
    }

    fn of(inner: Arc<dyn Store>, is_far: bool) -> Self {
        let (calls, read, longest) = (Mutex::default(), AtomicU64::new(0), AtomicU64::new(0));
        Self { inner, calls, read, is_far, longest }
    }

    /// Bytes of the longest of its reads since it was asked last.
    pub fn longest_read(&self) -> u64 {
        self.longest.swap(0, Ordering::SeqCst)
    }

    /// The calls so far, forgotten by this.
    pub fn drain(&self) -> Vec<Call> {
        std::mem::take(&mut *lock(&self.calls))
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    /// Bytes that its reads were asked for and gave, since it was made.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::SeqCst)
    }

    fn count(&self, read: Result<Vec<u8>, StoreError>) -> Result<Vec<u8>, StoreError> {
        let bytes = read.as_ref().map_or(0, Vec::len);
        self.read.fetch_add(bytes as u64, Ordering::SeqCst);
        self.longest.fetch_max(bytes as u64, Ordering::SeqCst);
        read
    }

    fn record(&self, verb: Verb, name: &str) {
        lock(&self.calls).push(Call::new(verb, name));
    }
}

impl Store for RecordingStore {
    through!(self.inner, told record: put put_new list stat delete);
    through!(self.inner: room connections promises location);

    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.record(Verb::Get, name.as_str());
        self.count(self.inner.get(name, limit))
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        self.record(Verb::GetRange, name.as_str());
        self.count(self.inner.get_range(name, offset, length))
    }

    fn is_far(&self) -> bool {
        self.is_far || self.inner.is_far()
    }
}

/// A store that holds one call until it is released. Later calls are not held.
pub struct PausableStore {
    inner: Arc<dyn Store>,
    pauses_at: u64,
    state: Mutex<Pause>,
    changed: Condvar,
}

#[derive(Default)]
struct Pause {
    calls: u64,
    held: Option<Call>,
    is_released: bool,
    is_over: bool,
}

impl PausableStore {
    /// Holds call number `n`, counted from 0, before it has any effect.
    pub fn new(inner: Arc<dyn Store>, n: u64) -> Arc<Self> {
        Arc::new(Self { inner, pauses_at: n, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Waits until the call is held, and says which it is; nothing if [`PausableStore::finish`] comes first.
    pub fn wait_until_held(&self) -> Option<Call> {
        let state = self.wait_while("a call to hold", |state| state.held.is_none() && !state.is_over);
        state.held.clone()
    }

    /// Lets the held call go on; called early, the call will not be held at all.
    pub fn release(&self) {
        lock(&self.state).is_released = true;
        self.changed.notify_all();
    }

    /// Says that no more calls will come, so that nobody waits for one.
    pub fn finish(&self) {
        lock(&self.state).is_over = true;
        self.changed.notify_all();
    }

    /// How many calls began.
    pub fn calls(&self) -> u64 {
        lock(&self.state).calls
    }

    fn pass(&self, verb: Verb, name: &str) {
        let mut state = lock(&self.state);
        state.calls += 1;
        if state.calls - 1 == self.pauses_at {
            state.held = Some(Call::new(verb, name));
            self.changed.notify_all();
            drop(state);
            drop(self.wait_while("the release of a call", |state| !state.is_released));
        }
    }

    fn wait_while(&self, what: &str, waits: impl Fn(&Pause) -> bool) -> MutexGuard<'_, Pause> {
        let deadline = Instant::now() + DEADLINE;
        let mut state = lock(&self.state);
        while waits(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}");
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

impl Store for PausableStore {
    through!(self.inner, told pass: get get_range put put_new list stat delete);
    through!(self.inner: room is_far connections promises location);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that fails in one thread should fail with its own message, not with this one in all the others.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
