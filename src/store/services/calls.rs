//! The calls themselves: one request each, tried again while its trouble may pass. Rules: format-spec/20-object-stores.md.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use opendal::BytesRange;
use opendal::options::WriteOptions;
use opendal::raw::{OpRead, Service as _, oio};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Barrier;
use tokio::time::timeout;

use super::failure::Failure;
use super::retry::Tries;
use super::transport::{CALL, Call, Transport};
use super::{CONNECTIONS, Kind, ServiceStore};
use crate::store::error::StoreError;
use crate::store::name::ObjectName;
use crate::store::{PutNew, Store as _};

static RUNTIME: LazyLock<io::Result<Runtime>> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).thread_name("redkeep-store").enable_all().build());

/// A service that says nothing for so long has stopped.
pub(super) const STALL: Duration = Duration::from_secs(60);

/// A connection that carries fewer bytes a second has stopped too.
const SLOWEST: u64 = 16 << 10;

/// What is read without knowing how much it is, is no more than an object may have.
const MOST: u64 = 1 << 30;

/// How a PUT is made.
#[derive(Default)]
pub(super) struct Write {
    /// Only where no object has the name.
    pub only_new: bool,
    /// Half of the body waits for the others of a race.
    pub gate: Option<Arc<Barrier>>,
}

impl ServiceStore {
    /// One try of a call, which may take so long.
    pub(super) fn once<T>(
        &self,
        call: Call,
        limit: Duration,
        work: impl AsyncFnOnce() -> opendal::Result<T>,
    ) -> Result<T, Failure> {
        self.hear(call, limit, async || work().await.map(|done| (done, None))).map(|(done, _)| done)
    }

    /// The same, and when the object was stored, where the service says so exactly.
    pub(super) fn hear<T>(
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
    pub(super) fn tries<T>(&self, work: impl AsyncFn() -> opendal::Result<T>) -> Result<T, Failure> {
        self.try_all(|| self.once(Call::default(), STALL, &work))
    }

    /// STORE-9: of an object that is being replaced Swift says now and then that it is not there.
    pub(super) fn look<T>(&self, mut look: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
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

    pub(super) fn try_all<T>(&self, once: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        self.try_by(Tries::begin(&self.patience), once)
    }

    /// The same of one that stores.
    pub(super) fn try_put<T>(&self, once: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        self.try_by(Tries::of_put(&self.patience), once)
    }

    fn try_by<T>(&self, mut tries: Tries, mut once: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        loop {
            match once() {
                Err(failure) if tries.again(&failure, self.was_reached()) => {}
                Err(failure) => return Err(tries.last(failure)),
                done => return done,
            }
        }
    }

    /// Bytes came in: the next ones wait, where a limit is set.
    async fn pass_down(&self, bytes: usize) {
        if let Some(transport) = &self.transport {
            transport.pace.download.pass(bytes).await;
        }
    }

    /// How long a request may take that carries so many bytes. Calls that are made at once share a limit.
    fn time_for(&self, bytes: u64) -> Duration {
        let paces = self.transport.iter().flat_map(|transport| [&transport.pace.upload, &transport.pace.download]);
        let slowest = paces.filter_map(|pace| pace.rate()).map(|rate| rate / (2 * CONNECTIONS as u64)).min();
        STALL + Duration::from_secs(bytes / slowest.unwrap_or(SLOWEST).clamp(1, SLOWEST))
    }

    pub(super) fn was_reached(&self) -> bool {
        self.transport.as_ref().is_none_or(Transport::was_reached)
    }

    /// Reads a range, or all of it: at most `limit` bytes. `None`: there are more.
    pub(super) fn read(&self, name: &ObjectName, range: BytesRange, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
        self.try_all(|| {
            let limit_time = self.time_for(limit.min(range.size().unwrap_or(MOST)));
            self.once(Call::default(), limit_time, async || {
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
                    self.pass_down(piece.len()).await;
                    for part in piece {
                        bytes.extend_from_slice(&part);
                    }
                }
            })
        })
    }

    /// One PUT.
    pub(super) fn write(&self, name: &ObjectName, bytes: Bytes, how: Write) -> Result<(), Failure> {
        let if_not_exists = how.only_new && self.kind != Kind::Swift;
        let call = Call { if_absent: how.only_new && self.kind == Kind::Swift, gate: how.gate, ..Call::default() };
        let limit = self.time_for(bytes.len() as u64);
        let options = WriteOptions { if_not_exists, ..WriteOptions::default() };
        self.once(call, limit, async || self.operator.write_options(name.as_str(), bytes, options).await.map(|_| ()))
    }

    /// STORE-5: a PUT of a name that must be new. Where the outcome of a try is unknown, the name is looked at before the
    /// next: a service with versions keeps the body of each PUT that it refuses.
    pub(super) fn write_new(&self, name: &ObjectName, bytes: &Bytes) -> Result<(), StoreError> {
        let mut tries = Tries::of_put(&self.patience);
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
                return Err(self.unstored(name, tries.last(failure)));
            }
        }
    }

    /// Whether an object has these bytes.
    pub(super) fn holds(&self, name: &ObjectName, bytes: &Bytes) -> Result<bool, StoreError> {
        match self.get(name, bytes.len() as u64) {
            Ok(found) => Ok(found == *bytes),
            Err(StoreError::TooLarge { .. } | StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn stalled() -> opendal::Error {
    opendal::Error::new(opendal::ErrorKind::Unexpected, "the answer stopped in its middle").set_temporary()
}
