//! Stores kept by a service, through OpenDAL: S3, Swift, and the one in memory. Rules: format-spec/20-object-stores.md.
//!
//! This folder is the one place that knows OpenDAL, HTTP and tokio. Calls block; their futures are polled by the calling
//! thread, and the connections by a few threads shared by the whole process.
//!
//! STORE-2: **one object is one request.** What is stored goes out as one PUT: nothing is in parts that a writer who gives up could
//! leave behind. Memory of a call: the object, or the range.

mod calls;
mod failure;
mod keystone;
mod listing;
mod opening;
mod pace;
mod probe;
mod retry;
mod rights;
mod s3;
mod streamed;
mod swift;
mod token;
mod transport;

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use opendal::options::StatOptions;
use opendal::{BytesRange, Operator};

use self::calls::{STALL, Write};
use self::failure::Failure;
pub use self::failure::Trouble;
use self::retry::Patience;
use self::transport::{Call, Transport};
use super::error::StoreError;
use super::name::{ObjectName, directory_of};
use super::{Entry, Promises, PutNew, Room, Service, Stat, Store, Timing};

/// How many calls at a time keep a link busy whose requests take 50 ms.
const CONNECTIONS: usize = 8;

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
    /// How long calls are tried again.
    patience: Patience,
    /// Whether the bucket or container is known to be there.
    is_proved: AtomicBool,
    /// Whether the service has no word for "only where none exists".
    has_no_condition: AtomicBool,
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
        self.try_put(|| self.write(name, bytes.clone(), Write::default()))
            .map_err(|failure| self.unstored(name, failure))
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        self.write_new(name, &bytes)
    }

    fn list(&self, prefix: &str, after: Option<&ObjectName>, each: &mut dyn FnMut(Entry)) -> Result<(), StoreError> {
        directory_of(prefix)?;
        let mut entries = self.entries_from(prefix, after)?;
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

    fn service(&self) -> Option<&dyn Service> {
        (self.kind != Kind::Memory).then_some(self as &dyn Service)
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

/// A lock whose holder panicked still guards usable data: what is noted is noted whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(action: &'static str, name: &str, failure: Failure) -> StoreError {
    StoreError::Service { action, name: name.to_owned(), trouble: failure.trouble, source: failure.into() }
}
