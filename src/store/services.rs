//! Stores kept by a service, through OpenDAL: so far the one in memory.
//!
//! This is the one file that knows OpenDAL and tokio. Calls block; the futures run on one worker thread shared by the
//! whole process (OpenDAL's blocking operator needs a multi-thread runtime, however small).

use std::collections::HashMap;
use std::io;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use opendal::blocking::Operator;
use opendal::options::{ListOptions, ReadOptions, WriteOptions};
use opendal::services::Memory;
use opendal::{BytesRange, Error, ErrorKind};
use tokio::runtime::{Builder, Runtime};

use super::error::StoreError;
use super::name::{ObjectName, directory_of};
use super::{Entry, Intent, Promises, PutNew, Room, Stat, Store, Timing};

static RUNTIME: LazyLock<io::Result<Runtime>> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).thread_name("redkeep-store").enable_all().build());

/// The named stores in memory of this process.
static NAMED: LazyLock<Mutex<HashMap<String, Operator>>> = LazyLock::new(Mutex::default);

/// Objects kept by a service.
pub(super) struct ServiceStore {
    operator: Operator,
    location: String,
    promises: Promises,
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
                let operator = new_memory().map_err(|error| failed("open", &location, error))?;
                if !name.is_empty() {
                    named.insert(name.to_owned(), operator.clone());
                }
                operator
            }
        };
        Ok(Self {
            operator,
            location,
            promises: Promises { put_new: PutNew::Exclusive, timing: Timing::of_lag(Duration::ZERO) },
        })
    }

    fn write(&self, name: &ObjectName, bytes: Bytes, if_not_exists: bool) -> Result<(), StoreError> {
        let options = WriteOptions { if_not_exists, ..WriteOptions::default() };
        match self.operator.write_options(name.as_str(), bytes, options) {
            Ok(_) => Ok(()),
            Err(error) if if_not_exists && is_refusal(error.kind()) => Err(StoreError::Exists { name: name.clone() }),
            Err(error) => Err(failed("store", name.as_str(), error)),
        }
    }

    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        let metadata = self.operator.stat(name.as_str()).map_err(|error| unread(name, error))?;
        Ok(metadata.content_length())
    }
}

impl Store for ServiceStore {
    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        // Read as a stream and counted, not measured first: the object may be replaced between two requests.
        let reader = self.operator.reader(name.as_str()).map_err(|error| unread(name, error))?;
        let mut bytes = Vec::new();
        for buffer in reader.into_iterator(..).map_err(|error| unread(name, error))? {
            let buffer = buffer.map_err(|error| unread(name, error))?;
            if (bytes.len() as u64).saturating_add(buffer.len() as u64) > limit {
                return Err(StoreError::TooLarge { name: name.clone(), limit });
            }
            bytes.reserve(buffer.len());
            for piece in buffer {
                bytes.extend_from_slice(&piece);
            }
        }
        Ok(bytes)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let past_end = || StoreError::Range { name: name.clone(), offset, length };
        offset.checked_add(length).ok_or_else(past_end)?;
        if length == 0 {
            // A range of nothing cannot be asked for over HTTP.
            return if offset <= self.size(name)? { Ok(Vec::new()) } else { Err(past_end()) };
        }
        let options = ReadOptions { range: BytesRange::new(offset, Some(length)), ..ReadOptions::default() };
        match self.operator.read_options(name.as_str(), options) {
            Ok(buffer) if buffer.len() as u64 == length => Ok(buffer.to_vec()),
            Ok(_) => Err(past_end()),
            Err(error) if error.kind() == ErrorKind::RangeNotSatisfied => Err(past_end()),
            Err(error) => Err(unread(name, error)),
        }
    }

    fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        self.write(name, bytes, false)
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        self.write(name, bytes, true)
    }

    fn list(&self, prefix: &str, after: Option<&ObjectName>, each: &mut dyn FnMut(Entry)) -> Result<(), StoreError> {
        directory_of(prefix)?;
        let options = ListOptions { recursive: true, ..ListOptions::default() };
        let listed = self.operator.list_options(prefix, options).map_err(|error| failed("list", prefix, error))?;
        let mut entries = Vec::with_capacity(listed.len());
        for (path, metadata) in listed.into_iter().map(opendal::Entry::into_parts) {
            // Directories end with a slash, so they are no names of objects either.
            let Ok(name) = path.parse::<ObjectName>() else { continue };
            let size = if metadata.is_file() {
                metadata.content_length()
            } else {
                match self.size(&name) {
                    Err(StoreError::NotFound { .. }) => continue,
                    size => size?,
                }
            };
            entries.push(Entry { name, size, modified: metadata.last_modified().map(Into::into) });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        entries.into_iter().filter(|entry| after.is_none_or(|after| entry.name > *after)).for_each(each);
        Ok(())
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<Stat>, StoreError> {
        match self.operator.stat(name.as_str()) {
            Ok(metadata) => {
                let modified = metadata.last_modified().map(Into::into);
                Ok(Some(Stat { size: metadata.content_length(), modified }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unread(name, error)),
        }
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        match self.operator.delete(name.as_str()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("delete", name.as_str(), error)),
            _ => Ok(()),
        }
    }

    fn room(&self) -> Option<&dyn Room> {
        None
    }

    fn connections(&self) -> usize {
        // Memory answers at once.
        1
    }

    fn promises(&self) -> Promises {
        self.promises
    }

    fn location(&self) -> String {
        self.location.clone()
    }
}

fn new_memory() -> Result<Operator, Error> {
    let runtime = RUNTIME.as_ref().map_err(|error| Error::new(ErrorKind::Unexpected, error.to_string()))?;
    let _entered = runtime.enter();
    Operator::new(opendal::Operator::new(Memory::default())?)
}

/// Whether the service refused because an object has the name.
fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists)
}

fn unread(name: &ObjectName, error: Error) -> StoreError {
    match error.kind() {
        ErrorKind::NotFound => StoreError::NotFound { name: name.clone() },
        _ => failed("read", name.as_str(), error),
    }
}

fn failed(action: &'static str, name: &str, error: Error) -> StoreError {
    let name = name.to_owned();
    match error.kind() {
        ErrorKind::PermissionDenied => StoreError::Denied { action, name, source: error.into() },
        _ => StoreError::Service { action, name, source: error.into() },
    }
}
