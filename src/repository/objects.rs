//! Sealed objects under names of their own: put one by one, listed and read many at a time.

use std::sync::mpsc;
use std::thread;
use std::time::SystemTime;

use bytes::Bytes;

use super::error::{Fault, RepositoryError};
use super::{Repository, object_name};
use crate::format::object::{Kind, Name};
use crate::store::{Store, StoreError};

/// OBJ-8: stores bytes under a name that nobody else has reason to use. Refused, it looks what is there: own bytes are an own put
/// whose first answer was lost, so that the store client repeated it.
pub(super) fn put_own(store: &dyn Store, name: &Name, bytes: Vec<u8>) -> Result<(), StoreError> {
    let (at, bytes) = (object_name(name), Bytes::from(bytes));
    match store.put_new(&at, bytes.clone()) {
        Err(refused @ StoreError::Exists { .. }) => match store.get(&at, bytes.len() as u64) {
            Ok(found) if found == bytes => Ok(()),
            Ok(_) | Err(StoreError::TooLarge { .. }) => Err(refused),
            Err(error) => Err(error),
        },
        other => other,
    }
}

/// Stored bytes that are read together. What they decode to is held for two objects a connection, and one object may be
/// as large as its kind allows.
const TOGETHER: u64 = 16 << 20;

/// An object of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    /// The object.
    pub name: Name,
    /// Its bytes.
    pub size: u64,
    /// When it was stored, by the store's clock, where it keeps one.
    pub modified: Option<SystemTime>,
}

/// Objects that were listed, and what each says, or what is wrong with it.
pub(super) type Read<T> = Vec<(Listed, Result<T, Fault>)>;

/// What became of the plaintext of an object: what it says, or what is wrong with it.
pub(super) type Decode<'d, T> = dyn Fn(&Name, Kind, Vec<u8>) -> Result<T, Fault> + Sync + 'd;

/// Reads each of some things, as many at a time as the store answers faster than one after the other, and hands over what
/// came of it in the order of the things, so that the first error is the first of them. `size` of each in stored bytes.
///
/// Memory: that of [`TOGETHER`] stored bytes, or of one thing.
pub(super) fn read_each<T: Sync, R: Send>(
    store: &dyn Store,
    things: &[T],
    size: impl Fn(&T) -> u64,
    read: impl Fn(&T) -> R + Sync,
    mut each: impl FnMut(&T, R) -> Result<(), RepositoryError>,
) -> Result<(), RepositoryError> {
    let mut rest = things;
    while !rest.is_empty() {
        let (group, after) = rest.split_at(fitting(rest.iter().map(&size)));
        read_group(store.connections(), group, &read, &mut each)?;
        rest = after;
    }
    Ok(())
}

/// How many of the things of such sizes are read together.
fn fitting(sizes: impl Iterator<Item = u64>) -> usize {
    let sums = sizes.scan(0u64, |sum, size| {
        *sum = sum.saturating_add(size);
        Some(*sum)
    });
    sums.take_while(|sum| *sum <= TOGETHER).count().max(1)
}

/// The same for things that are read together. Each thread hands over its share one by one, so that none gets far ahead.
fn read_group<T: Sync, R: Send>(
    threads: usize,
    group: &[T],
    read: &(impl Fn(&T) -> R + Sync),
    each: &mut impl FnMut(&T, R) -> Result<(), RepositoryError>,
) -> Result<(), RepositoryError> {
    let threads = threads.min(group.len());
    if threads <= 1 {
        return group.iter().try_for_each(|thing| each(thing, read(thing)));
    }
    thread::scope(|scope| {
        let start = |first: usize| {
            let (sender, receiver) = mpsc::sync_channel(1);
            // Nobody takes what comes after an error.
            let work = move || {
                let mut share = group.iter().skip(first).step_by(threads);
                share.all(|thing| sender.send(read(thing)).is_ok())
            };
            scope.spawn(work);
            receiver
        };
        let shares: Vec<mpsc::Receiver<R>> = (0..threads).map(start).collect();
        for (thing, share) in group.iter().zip(shares.iter().cycle()) {
            // A thread that panicked makes the scope panic.
            let Ok(outcome) = share.recv() else { break };
            each(thing, outcome)?;
        }
        Ok(())
    })
}

impl Repository {
    /// Seals the body of an object and stores it, as [`put_own`] does.
    pub(super) fn put_sealed(&self, name: &Name, kind: Kind, body: &[u8]) -> Result<(), RepositoryError> {
        let sealed = self.keyring().seal(name, kind, self.ambient.random(), body);
        Ok(put_own(&*self.store, name, sealed)?)
    }

    /// The objects that a LIST shows below a directory, in name order; those of names that are of no kind left out.
    pub(super) fn listed(&self, prefix: &str) -> Result<Vec<Listed>, RepositoryError> {
        listed(&*self.store, prefix)
    }

    /// LISTs a directory and reads every object in it: what each says, or what is wrong with it, in name order. One that
    /// was gone between LIST and GET is [`Fault::Missing`]; what that means its caller knows.
    pub(super) fn read_all<T: Send>(
        &self,
        prefix: &str,
        limit: u64,
        decode: &Decode<'_, T>,
    ) -> Result<Read<T>, RepositoryError> {
        let mut found = Vec::new();
        let listed = self.listed(prefix)?;
        self.read_listed(&listed, limit, decode, |of, read| {
            found.push((*of, read));
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads objects that were listed and hands over each, in their order. Trouble in reaching the repository ends it.
    pub(super) fn read_listed<T: Send>(
        &self,
        listed: &[Listed],
        limit: u64,
        decode: &Decode<'_, T>,
        mut each: impl FnMut(&Listed, Result<T, Fault>) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let read = |of: &Listed| self.read_one(&of.name, limit, decode);
        read_each(&*self.store, listed, |of| of.size, read, |of, read| each(of, fault_of(&of.name, read)?))
    }

    /// Reads one object.
    pub(super) fn read_one<T>(&self, name: &Name, limit: u64, decode: &Decode<'_, T>) -> Result<T, RepositoryError> {
        let (kind, plaintext) = self.get_object(name, limit)?;
        decode(name, kind, plaintext).map_err(|fault| RepositoryError::damaged(name, fault))
    }
}

/// The objects that a LIST shows below a directory, in name order.
pub(super) fn listed(store: &dyn Store, prefix: &str) -> Result<Vec<Listed>, RepositoryError> {
    let mut listed = Vec::new();
    store.list(prefix, None, &mut |entry| {
        let name = Name::parse(entry.name.as_str());
        listed.extend(name.map(|name| Listed { name, size: entry.size, modified: entry.modified }));
    })?;
    Ok(listed)
}

/// What is wrong with an object itself. Damage to another one, such as the slots that have to be read for it, is an error.
fn fault_of<T>(name: &Name, read: Result<T, RepositoryError>) -> Result<Result<T, Fault>, RepositoryError> {
    match read {
        Err(RepositoryError::Damaged { object, source }) if object == name.to_string() => Ok(Err(source)),
        other => other.map(Ok),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, Condvar, Mutex};

    use super::*;

    fn trouble(number: u64) -> RepositoryError {
        RepositoryError::Limit(number.to_string())
    }

    /// OBJ-8
    #[test]
    fn a_put_that_is_refused_is_done_where_its_own_bytes_are_there_and_an_error_where_others_are() {
        let place = tempfile::tempdir().unwrap();
        let location = crate::store::Location::Local(place.path().join("repository"));
        let store = crate::store::open(&location, crate::store::Intent::Create).unwrap();
        let name = Name::Note(crate::format::Id16([7; 16]));
        let put = |bytes: &[u8]| put_own(&*store, &name, bytes.to_vec());
        put(b"own").unwrap();
        put(b"own").unwrap();
        for other in [&b"two"[..], b"ow", b"longer", b""] {
            assert!(matches!(put(other), Err(StoreError::Exists { .. })), "{other:?}");
        }
        assert_eq!(&store.get(&object_name(&name), 9).unwrap()[..], b"own");
    }

    #[test]
    fn what_is_read_at_once_is_handed_over_in_order() {
        let things: Vec<u64> = (0..100).collect();
        for threads in [0, 1, 2, 7, 200] {
            let mut seen = Vec::new();
            let took = |thing: &u64, read: u64| {
                seen.push((*thing, read));
                Ok(())
            };
            read_group(threads, &things, &|thing: &u64| thing * 2, &mut { took }).unwrap();
            assert_eq!(seen, things.iter().map(|thing| (*thing, thing * 2)).collect::<Vec<_>>(), "{threads}");
        }
    }

    #[test]
    fn as_many_are_read_at_a_time_as_there_are_threads() {
        // Each waits until all of them are being read: one after the other, none would ever end.
        let together = Barrier::new(4);
        let read = |_: &u64| together.wait().is_leader();
        read_group(4, &[1, 2, 3, 4, 5, 6, 7, 8], &read, &mut |_, _| Ok(())).unwrap();
    }

    #[test]
    fn the_first_error_in_order_counts_and_ends_the_reading() {
        let things: Vec<u64> = (0..1000).collect();
        let (read, later) = (AtomicUsize::new(0), (Mutex::new(false), Condvar::new()));
        // The one that fails first in time is behind the one that fails first in order.
        let fail = |thing: &u64| {
            read.fetch_add(1, Ordering::SeqCst);
            let mut was_later = later.0.lock().unwrap();
            match thing {
                5 => drop(later.1.wait_while(was_later, |was_later| !*was_later).unwrap()),
                6 => {
                    *was_later = true;
                    later.1.notify_all();
                }
                _ => return Ok(()),
            }
            Err(trouble(*thing))
        };
        let error = read_group(4, &things, &fail, &mut |_, outcome| outcome).unwrap_err();
        assert_eq!(error.to_string(), "5");
        assert!(read.into_inner() < 30, "none gets far ahead");
    }

    #[test]
    fn what_is_read_together_is_bounded_and_large_things_are_read_alone() {
        assert_eq!(fitting([TOGETHER - 1, 1, 1].into_iter()), 2);
        assert_eq!(fitting([TOGETHER + 1, 0].into_iter()), 1);
        assert_eq!(fitting([u64::MAX, u64::MAX].into_iter()), 1);
        assert_eq!(fitting([0; 1000].into_iter()), 1000);
    }
}
