//! Many objects at a time, with a bound on what is in memory.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use super::interrupted;
use super::objects::Listed;
use crate::operations::{Observer, OperationError};

/// Bytes of objects that are on their way at once; one that is larger goes alone.
pub(super) const ROOM: u64 = 128 << 20;
/// Threads at most.
const THREADS: usize = 8;

/// Room that objects take while they are on their way.
struct Room {
    left: Mutex<u64>,
    changed: Condvar,
}

impl Room {
    fn take(&self, bytes: u64) -> u64 {
        let bytes = bytes.min(ROOM);
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        while *left < bytes {
            left = self.changed.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
        *left -= bytes;
        bytes
    }

    fn give_back(&self, bytes: u64) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        self.changed.notify_all();
    }
}

/// Does something with each object, as many at a time as both places answer faster than one after the other. After an error, or
/// where the user stops it, none is begun any more.
pub(super) fn each(
    threads: usize,
    objects: &[Listed],
    one: &(dyn Fn(&Listed) -> Result<(), OperationError> + Sync),
    observer: &dyn Observer,
) -> Result<(), OperationError> {
    let room = Room { left: Mutex::new(ROOM), changed: Condvar::new() };
    let (next, has_failed, failure) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
    let work = || {
        while !has_failed.load(Ordering::Relaxed)
            && let Some(of) = objects.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let taken = room.take(of.size);
            let done = if observer.interrupted() { Err(interrupted()) } else { one(of) };
            room.give_back(taken);
            if let Err(error) = done {
                has_failed.store(true, Ordering::Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    match threads.clamp(1, THREADS).min(objects.len()) {
        0 | 1 => work(),
        threads => thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work)))),
    }
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
