//! A dump that a server sends: kept while it comes, read by somebody slower, and never whole before its end was seen.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::RedisError;
use crate::spill::Spool;

/// A dump that a server sends. Dropped before its end, the server is not listened to any longer.
#[derive(Debug)]
pub struct Sent {
    spool: Spool,
    /// Its bytes, where the server said how many there will be.
    pub length: Option<u64>,
    end: Arc<SentEnd>,
}

/// What the one who receives it and the one who reads it tell each other.
#[derive(Debug, Default)]
pub(super) struct SentEnd {
    failure: Mutex<Option<RedisError>>,
    is_unwanted: AtomicBool,
}

impl Sent {
    pub(super) fn new(spool: Spool, length: Option<u64>, end: Arc<SentEnd>) -> Sent {
        Sent { spool, length, end }
    }

    /// Reads it from its first byte, and waits for what has not come yet.
    pub fn reader(&self) -> impl Read {
        self.spool.reader()
    }

    /// Why it broke off; told once.
    pub(super) fn failure(&self) -> Option<RedisError> {
        self.end.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.end.is_unwanted.store(true, Ordering::Relaxed);
    }
}

impl SentEnd {
    /// Whether nobody will read it any more.
    pub(super) fn is_unwanted(&self) -> bool {
        self.is_unwanted.load(Ordering::Relaxed)
    }

    /// Says why it broke off, before it does.
    pub(super) fn fail(&self, error: RedisError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}
