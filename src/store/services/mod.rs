//! Stores kept by a service, through OpenDAL: S3, Swift, and the one in memory. Rules: format-spec/20-object-stores.md.
//!
//! This folder is the one place that knows OpenDAL, HTTP and tokio. Calls block; their futures are polled by the calling
//! thread, and the connections by a few threads shared by the whole process.
//!
//! STORE-2: **one object is one request.** What is stored goes out as one PUT: nothing is in parts that a writer who gives up could
//! leave behind. Memory of a call: the object, or the range.

mod failure;
mod keystone;
mod probe;
mod retry;
mod s3;
mod swift;
mod token;
mod transport;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use opendal::options::{ListOptions, StatOptions, WriteOptions};
use opendal::raw::{OpRead, Service as _, oio};
use opendal::services::Memory;
use opendal::{BytesRange, Operator};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Barrier;
use tokio::time::timeout;

use self::failure::Failure;
pub use self::failure::Trouble;
use self::retry::{RETRY_FOR, Tries};
use self::token::Tokens;
use self::transport::{CALL, Call, Transport};
use super::error::StoreError;
use super::name::{ObjectName, directory_of};
use super::settings::Settings;
use super::url::Bucket;
use super::{Entry, Intent, Promises, PutNew, Room, Stat, Store, Timing};

static RUNTIME: LazyLock<io::Result<Runtime>> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).thread_name("redkeep-store").enable_all().build());

/// The named stores in memory of this process.
static NAMED: LazyLock<Mutex<HashMap<String, Operator>>> = LazyLock::new(Mutex::default);

/// A service that says nothing for so long has stopped.
const STALL: Duration = Duration::from_secs(60);

/// A connection that carries fewer bytes a second has stopped too.
const SLOWEST: u64 = 16 << 10;

/// How many calls at a time keep a link busy whose requests take 50 ms.
const CONNECTIONS: usize = 8;

/// STORE-3: how late the listings of a service may be, where nobody says otherwise.
const S3_LAG: Duration = Duration::from_secs(10 * 60);
const SWIFT_LAG: Duration = Duration::from_secs(6 * 60 * 60);

/// Which service it is: they differ in what OpenDAL can say to them, and in what people call things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    S3,
    Swift,
}

/// Objects kept by a service.
pub(super) struct ServiceStore {
    kind: Kind,
    operator: Operator,
    /// HTTP; none in memory.
    transport: Option<Transport>,
    location: String,
    put_new: PutNew,
    timing: Timing,
    /// Whether the bucket or container is known to be there.
    is_proved: AtomicBool,
    /// Whether the service has no word for "only where none exists".
    has_no_condition: AtomicBool,
}

impl ServiceStore {
    /// The store in memory of that name; an empty name is a new store that nobody else can open.
    pub(super) fn memory(name: &str, intent: Intent) -> Result<Self, StoreError> {
        let location = format!("memory:{name}");
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        let operator = match (named.get(name), intent) {
            (Some(operator), _) => operator.clone(),
            (None, Intent::Existing) => {
                let problem = "no such store in this process";
                return Err(StoreError::Location {
                    location,
                    problem,
                    hint: "stores in memory end with their process",
                });
            }
            (None, Intent::Create) => {
                let operator = Operator::new(Memory::default()).map_err(|error| unusable(&location, &error))?;
                if !name.is_empty() {
                    named.insert(name.to_owned(), operator.clone());
                }
                operator
            }
        };
        let timing = Timing::of_lag(Duration::ZERO);
        Ok(Self { put_new: PutNew::Exclusive, timing, ..Self::new(Kind::Memory, operator, None, location) })
    }

    /// The bucket of an S3 service.
    pub(super) fn s3(bucket: &Bucket, intent: Intent, settings: &Settings) -> Result<Self, StoreError> {
        let location = format!("s3://{bucket}");
        let operator =
            s3::operator(&bucket.name, &bucket.prefix, settings).map_err(|error| unusable(&location, &error))?;
        let client = transport::client(&settings.tls).map_err(|error| bad_tls(&location, error))?;
        let transport = Transport::new(client, None);
        let store = Self::new(Kind::S3, operator.layer(transport.clone()), Some(transport), location);
        store.opened(intent, settings, S3_LAG)
    }

    /// The container of a Swift service.
    pub(super) fn swift(container: &Bucket, intent: Intent, settings: &Settings) -> Result<Self, StoreError> {
        let location = format!("swift://{container}");
        let Some(login) = settings.swift.clone() else {
            return Err(StoreError::Unset {
                location,
                hint: "set ST_AUTH, ST_USER and ST_KEY, or the OS_ variables of an OpenStack RC file",
            });
        };
        let operator =
            swift::operator(&container.name, &container.prefix).map_err(|error| unusable(&location, &error))?;
        let client = transport::client(&settings.tls).map_err(|error| bad_tls(&location, error))?;
        let transport = Transport::new(client.clone(), Some(Arc::new(Tokens::new(client, login))));
        let store = Self::new(Kind::Swift, operator.layer(transport.clone()), Some(transport), location);
        store.opened(intent, settings, SWIFT_LAG)
    }

    fn new(kind: Kind, operator: Operator, transport: Option<Transport>, location: String) -> Self {
        Self {
            kind,
            operator,
            transport,
            location,
            put_new: PutNew::None,
            timing: Timing::of_lag(SWIFT_LAG),
            is_proved: AtomicBool::new(kind == Kind::Memory),
            has_no_condition: AtomicBool::new(false),
        }
    }

    /// STORE-4: what a service promises is tried where a repository is made. Who did not try assumes nothing.
    fn opened(mut self, intent: Intent, settings: &Settings, lag: Duration) -> Result<Self, StoreError> {
        self.timing = settings.timing.unwrap_or_else(|| Timing::of_service(lag));
        if intent == Intent::Create {
            self.prove()?;
        }
        self.put_new = match (settings.put_new, intent) {
            (Some(known), _) => known,
            (None, Intent::Create) => probe::put_new(&self)?,
            (None, Intent::Existing) => PutNew::None,
        };
        Ok(self)
    }

    /// That the bucket is there. Some services make a missing one at the first PUT, so that a typo seems to work.
    fn prove(&self) -> Result<(), StoreError> {
        if self.is_proved.load(Ordering::Relaxed) {
            return Ok(());
        }
        let first = self.tries(async || {
            let one = ListOptions { limit: Some(1), recursive: true, ..ListOptions::default() };
            let mut lister = self.operator.service().list(self.operator.context(), "/", one.into())?;
            lister.next_dyn().await.map(|_| ())
        });
        match first {
            Ok(()) => {
                self.is_proved.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(failure) if failure.is_not_found() => Err(self.no_bucket()),
            Err(failure) => Err(failed("list", &self.location, failure)),
        }
    }

    fn no_bucket(&self) -> StoreError {
        let (problem, hint) = match self.kind {
            Kind::Swift => ("no such container", "check its name, or make it first: swift post CONTAINER"),
            Kind::S3 | Kind::Memory => {
                ("no such bucket", "check its name, the endpoint and the region, or make the bucket first")
            }
        };
        StoreError::Location { location: self.location.clone(), problem, hint }
    }

    /// What is missing: the object, or all that should hold it.
    fn missing(&self, name: &ObjectName) -> StoreError {
        match self.prove() {
            Ok(()) => StoreError::NotFound { name: name.clone() },
            Err(error) => error,
        }
    }

    fn unread(&self, name: &ObjectName, failure: Failure) -> StoreError {
        if failure.is_not_found() { self.missing(name) } else { failed("read", name.as_str(), failure) }
    }

    fn unstored(&self, name: &ObjectName, failure: Failure) -> StoreError {
        if failure.is_not_found() { self.no_bucket() } else { failed("store", name.as_str(), failure) }
    }

    /// One try of a call, which may take so long.
    fn once<T>(
        &self,
        call: Call,
        limit: Duration,
        work: impl AsyncFnOnce() -> opendal::Result<T>,
    ) -> Result<T, Failure> {
        self.hear(call, limit, async || work().await.map(|done| (done, None))).map(|(done, _)| done)
    }

    /// The same, and when the object was stored, where the service says so exactly.
    fn hear<T>(
        &self,
        call: Call,
        limit: Duration,
        work: impl AsyncFnOnce() -> opendal::Result<(T, Option<SystemTime>)>,
    ) -> Result<(T, Option<SystemTime>), Failure> {
        let runtime = RUNTIME.as_ref().map_err(|error| {
            Failure::of(&opendal::Error::new(opendal::ErrorKind::Unexpected, error.to_string()), None)
        })?;
        runtime.block_on(CALL.scope(call, async {
            match timeout(limit, work()).await {
                Ok(Ok((done, told))) => {
                    let exact = CALL.with(|call| call.stored_at.get());
                    Ok((done, exact.map(|micros| SystemTime::UNIX_EPOCH + Duration::from_micros(micros)).or(told)))
                }
                Ok(Err(error)) => Err(Failure::of(&error, CALL.with(|call| call.heard.take()))),
                Err(_) => Err(Failure::timed_out(limit)),
            }
        }))
    }

    /// A call that may be repeated as it is.
    fn tries<T>(&self, work: impl AsyncFn() -> opendal::Result<T>) -> Result<T, Failure> {
        self.try_all(|| self.once(Call::default(), STALL, &work))
    }

    /// STORE-9: of an object that is being replaced Swift says now and then that it is not there.
    fn look<T>(&self, mut look: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        // So does its S3, which nothing but its promises tells from others.
        let more = if self.put_new == PutNew::Exclusive { 0 } else { 2 };
        for _ in 0..more {
            match look() {
                Err(failure) if failure.is_not_found() => {}
                other => return other,
            }
        }
        look()
    }

    fn try_all<T>(&self, mut once: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut tries = Tries::begin(RETRY_FOR);
        loop {
            match once() {
                Err(failure) if tries.again(&failure, self.was_reached()) => {}
                other => return other,
            }
        }
    }

    fn was_reached(&self) -> bool {
        self.transport.as_ref().is_none_or(Transport::was_reached)
    }

    /// Reads a range, or all of it: at most `limit` bytes. `None`: there are more.
    fn read(&self, name: &ObjectName, range: BytesRange, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
        self.try_all(|| {
            self.once(Call::default(), time_for(limit.min(range.size().unwrap_or(MOST))), async || {
                let service = self.operator.service();
                let reader = service.read(self.operator.context(), name.as_str(), OpRead::default())?;
                let (_, mut stream) = reader.open_dyn(range).await?;
                let mut bytes = Vec::with_capacity(usize::try_from(range.size().unwrap_or(0)).unwrap_or(0));
                loop {
                    let piece = match timeout(STALL, oio::ReadStream::read(&mut stream)).await {
                        Ok(piece) => piece?,
                        Err(_) => return Err(stalled()),
                    };
                    if piece.is_empty() {
                        return Ok(Some(bytes));
                    }
                    if (bytes.len() as u64).saturating_add(piece.len() as u64) > limit {
                        return Ok(None);
                    }
                    for part in piece {
                        bytes.extend_from_slice(&part);
                    }
                }
            })
        })
    }

    /// One PUT.
    fn write(&self, name: &ObjectName, bytes: Bytes, how: Write) -> Result<(), Failure> {
        let if_not_exists = how.only_new && self.kind != Kind::Swift;
        let call = Call { if_absent: how.only_new && self.kind == Kind::Swift, gate: how.gate, ..Call::default() };
        let limit = time_for(bytes.len() as u64);
        let options = WriteOptions { if_not_exists, ..WriteOptions::default() };
        self.once(call, limit, async || self.operator.write_options(name.as_str(), bytes, options).await.map(|_| ()))
    }

    /// STORE-5: a PUT of a name that must be new. Where the outcome of a try is unknown, the name is looked at before the
    /// next: a service with versions keeps the body of each PUT that it refuses.
    fn write_new(&self, name: &ObjectName, bytes: &Bytes) -> Result<(), StoreError> {
        let mut tries = Tries::begin(RETRY_FOR);
        let mut is_unsure = false;
        loop {
            let has_condition = !self.has_no_condition.load(Ordering::Relaxed);
            if (is_unsure || !has_condition)
                && let Some(there) = self.stat(name)?
            {
                let is_own = is_unsure && there.size == bytes.len() as u64 && self.holds(name, bytes)?;
                return if is_own { Ok(()) } else { Err(StoreError::Exists { name: name.clone() }) };
            }
            let failure = match self.write(name, bytes.clone(), Write { only_new: has_condition, gate: None }) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if has_condition && failure.is_unknown_condition() {
                self.has_no_condition.store(true, Ordering::Relaxed);
                continue;
            }
            if failure.is_there() {
                let is_own = is_unsure && self.holds(name, bytes)?;
                return if is_own { Ok(()) } else { Err(StoreError::Exists { name: name.clone() }) };
            }
            is_unsure |= !failure.is_without_effect();
            if !tries.again(&failure, self.was_reached()) {
                return Err(self.unstored(name, failure));
            }
        }
    }

    /// Whether an object has these bytes.
    fn holds(&self, name: &ObjectName, bytes: &Bytes) -> Result<bool, StoreError> {
        match self.get(name, bytes.len() as u64) {
            Ok(found) => Ok(found == *bytes),
            Err(StoreError::TooLarge { .. } | StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// How a PUT is made.
#[derive(Default)]
struct Write {
    /// Only where no object has the name.
    only_new: bool,
    /// Half of the body waits for the others of a race.
    gate: Option<Arc<Barrier>>,
}

impl Store for ServiceStore {
    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        // Read as a stream and counted, not measured first: the object may be replaced between two requests.
        let read =
            self.look(|| self.read(name, BytesRange::from(..), limit)).map_err(|failure| self.unread(name, failure))?;
        read.ok_or_else(|| StoreError::TooLarge { name: name.clone(), limit })
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let past_end = || StoreError::Range { name: name.clone(), offset, length };
        let end = offset.checked_add(length).ok_or_else(past_end)?;
        if length == 0 {
            // A range of nothing cannot be asked for over HTTP.
            let stat = self.stat(name)?.ok_or_else(|| StoreError::NotFound { name: name.clone() })?;
            return if offset <= stat.size { Ok(Vec::new()) } else { Err(past_end()) };
        }
        match self.look(|| self.read(name, BytesRange::new(offset, Some(length)), length)) {
            Ok(Some(bytes)) if bytes.len() as u64 == length => Ok(bytes),
            Ok(_) => Err(past_end()),
            Err(failure) if failure.is_past_end() => Err(past_end()),
            // A range that ends past the object comes short, which OpenDAL takes for a broken answer.
            Err(failure) => match self.stat(name)? {
                Some(stat) if end > stat.size => Err(past_end()),
                _ => Err(self.unread(name, failure)),
            },
        }
    }

    fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        self.try_all(|| self.write(name, bytes.clone(), Write::default()))
            .map_err(|failure| self.unstored(name, failure))
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        self.write_new(name, &bytes)
    }

    fn list(&self, prefix: &str, after: Option<&ObjectName>, each: &mut dyn FnMut(Entry)) -> Result<(), StoreError> {
        directory_of(prefix)?;
        let mut entries = self.all_below(prefix, after).map_err(|failure| match failure.is_not_found() {
            true => self.no_bucket(),
            false => failed("list", if prefix.is_empty() { &self.location } else { prefix }, failure),
        })?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        entries.into_iter().filter(|entry| after.is_none_or(|after| entry.name > *after)).for_each(each);
        Ok(())
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<Stat>, StoreError> {
        let ask = async || {
            let metadata = self.operator.stat_options(name.as_str(), StatOptions::default()).await?;
            Ok((metadata.content_length(), metadata.last_modified().map(Into::into)))
        };
        let found = self.look(|| self.try_all(|| self.hear(Call::default(), STALL, ask)));
        match found {
            Ok((size, modified)) => Ok(Some(Stat { size, modified })),
            Err(failure) if failure.is_not_found() => self.prove().map(|()| None),
            Err(failure) => Err(failed("read", name.as_str(), failure)),
        }
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        match self.tries(async || self.operator.delete(name.as_str()).await) {
            Err(failure) if !failure.is_not_found() => Err(failed("delete", name.as_str(), failure)),
            _ => Ok(()),
        }
    }

    fn room(&self) -> Option<&dyn Room> {
        None
    }

    fn is_far(&self) -> bool {
        self.kind != Kind::Memory
    }

    fn connections(&self) -> usize {
        match self.kind {
            // Memory answers at once.
            Kind::Memory => 1,
            Kind::S3 | Kind::Swift => CONNECTIONS,
        }
    }

    fn promises(&self) -> Promises {
        Promises { put_new: self.put_new, timing: self.timing }
    }

    fn location(&self) -> String {
        self.location.clone()
    }
}

impl ServiceStore {
    /// All objects below a directory, in the service's order. Pages that fail are asked for again, not the whole listing.
    fn all_below(&self, prefix: &str, after: Option<&ObjectName>) -> Result<Vec<Entry>, Failure> {
        let start_after = after.map(|after| after.as_str().to_owned());
        let options = ListOptions { recursive: true, start_after, ..ListOptions::default() };
        let path = if prefix.is_empty() { "/" } else { prefix };
        let listed = self.operator.service().list(self.operator.context(), path, options.into());
        let mut lister = listed.map_err(|error| Failure::of(&error, None))?;
        let mut entries = Vec::new();
        while let Some(entry) = {
            let mut tries = Tries::begin(RETRY_FOR);
            loop {
                match self.once(Call::default(), STALL, async || lister.next_dyn().await) {
                    Err(failure) if tries.again(&failure, self.was_reached()) => {}
                    other => break other?,
                }
            }
        } {
            let (path, metadata) = (entry.path(), entry.metadata());
            // Directories end with a slash, so they are no names of objects either.
            let Ok(name) = path.parse::<ObjectName>() else { continue };
            let size = match metadata.is_file() {
                true => metadata.content_length(),
                // The store in memory lists no lengths.
                false => match self.stat(&name) {
                    Ok(Some(stat)) => stat.size,
                    _ => continue,
                },
            };
            entries.push(Entry { name, size, modified: metadata.last_modified().map(Into::into) });
        }
        Ok(entries)
    }
}

/// What is read without knowing how much it is, is no more than an object may have.
const MOST: u64 = 1 << 30;

/// How long a request may take that carries so many bytes.
fn time_for(bytes: u64) -> Duration {
    STALL + Duration::from_secs(bytes / SLOWEST)
}

fn stalled() -> opendal::Error {
    opendal::Error::new(opendal::ErrorKind::Unexpected, "the answer stopped in its middle").set_temporary()
}

fn unusable(location: &str, error: &opendal::Error) -> StoreError {
    failed("open", location, Failure::of(error, None))
}

fn bad_tls(location: &str, error: String) -> StoreError {
    StoreError::Io { action: "open", name: location.to_owned(), source: io::Error::other(error) }
}

fn failed(action: &'static str, name: &str, failure: Failure) -> StoreError {
    StoreError::Service { action, name: name.to_owned(), trouble: failure.trouble, source: failure.into() }
}
