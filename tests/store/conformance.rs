//! One suite for every kind of store.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use redkeep::store::{Entry, ObjectName, PutNew, Stat, Store, StoreError};

use crate::support::services::Service;
use crate::{listed, name};

const ANY: u64 = u64::MAX;

/// Makes one test of each function, for each kind of store.
macro_rules! suite {
    ($($test:ident),+ $(,)?) => {
        mod in_memory {
            $(#[test] fn $test() { super::$test(&*crate::memory()); })+
        }
        mod simulated {
            $(#[test] fn $test() {
                let hands = crate::support::repository::Hands::new(1);
                super::$test(&*crate::support::sim::SimStore::strict(&hands));
            })+
        }
        mod in_a_directory {
            $(#[test] fn $test() {
                let directory = tempfile::tempdir().unwrap();
                super::$test(&*crate::local::create(directory.path()));
            })+
        }
        mod on_seaweedfs {
            $(#[test] fn $test() { super::on(super::Service::Seaweed, super::$test); })+
        }
        mod on_swift {
            $(#[test] fn $test() { super::on(super::Service::Swift, super::$test); })+
        }
        mod on_s3_of_swift {
            $(#[test] fn $test() { super::on(super::Service::S3Api, super::$test); })+
        }
    };
}

suite!(
    what_was_put_is_what_is_got,
    a_range_is_exact_or_an_error,
    a_put_replaces,
    a_put_new_refuses_a_name_that_exists,
    what_is_not_there_is_not_found,
    an_object_above_the_limit_is_refused,
    a_deletion_is_idempotent,
    a_listing_is_complete_and_in_name_order,
    a_listing_of_a_prefix_shows_nothing_else,
    a_listing_goes_on_behind_a_name_however_long_it_is,
    a_prefix_that_is_no_directory_is_refused,
    a_stat_tells_what_a_listing_tells,
    what_is_stored_later_is_no_older,
    a_put_new_that_a_retry_repeats_is_refused_and_can_be_read_back_at_once,
    of_many_creators_of_one_name_one_wins,
    a_replaced_object_is_never_seen_torn,
    an_object_renewed_all_the_time_is_in_every_listing,
);

/// STORE-2: what every store promises, a service keeps too.
fn on(service: Service, test: fn(&dyn Store)) {
    if !service.is_skipped() {
        test(&*service.store());
    }
}

/// Whether each call is a request to a server, so that a test makes fewer of them.
fn is_far(store: &dyn Store) -> bool {
    store.location().contains("://")
}

/// Swift takes some 300 objects a second, and is started for these tests alone.
fn few_of(store: &dyn Store, many: usize) -> usize {
    match (is_far(store), store.promises().put_new) {
        (false, _) => many,
        (true, PutNew::Exclusive) => 1100,
        (true, PutNew::Settled | PutNew::None) => 150,
    }
}

/// Bytes that differ at every place and by seed.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

fn what_was_put_is_what_is_got(store: &dyn Store) {
    for (i, length) in [0, 1, 4095, 4096, 20 << 20].into_iter().enumerate() {
        let content = bytes(i as u64, length);
        let (once, twice) = (name(&format!("packs/a{i}")), name(&format!("leases/a{i}")));
        store.put_new(&once, content.clone().into()).unwrap();
        store.put(&twice, content.clone().into()).unwrap();
        assert!(store.get(&once, ANY).unwrap() == content, "{length} bytes by put_new");
        assert!(store.get(&twice, length as u64).unwrap() == content, "{length} bytes by put");
        assert_eq!(store.entries("packs/").unwrap()[i].size, length as u64);
    }
}

fn a_range_is_exact_or_an_error(store: &dyn Store) {
    let content = bytes(1, 100_000);
    let (object, empty) = (name("packs/ab/1"), name("packs/ab/0"));
    store.put_new(&object, content.clone().into()).unwrap();
    store.put_new(&empty, Vec::new().into()).unwrap();
    for (offset, length) in [(0, 100_000), (0, 1), (99_999, 1), (12_345, 54_321), (0, 0), (100_000, 0)] {
        let range = offset as usize..(offset + length) as usize;
        assert!(store.get_range(&object, offset, length).unwrap() == content[range], "{length} at {offset}");
    }
    assert!(store.get_range(&empty, 0, 0).unwrap().is_empty());
    for (offset, length) in
        [(0, 100_001), (99_999, 2), (100_000, 1), (100_001, 0), (u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX)]
    {
        match store.get_range(&object, offset, length) {
            Err(StoreError::Range { name, offset: o, length: l }) => {
                assert_eq!((&name, o, l), (&object, offset, length))
            }
            other => panic!("{length} at {offset}: {other:?}"),
        }
    }
    assert!(matches!(store.get_range(&empty, 0, 1), Err(StoreError::Range { .. })));
}

fn a_put_replaces(store: &dyn Store) {
    let lease = name("leases/00ff");
    for length in [10, 100_000, 3, 0, 7] {
        let content = bytes(length as u64, length);
        store.put(&lease, content.clone().into()).unwrap();
        assert_eq!(store.get(&lease, ANY).unwrap(), content);
    }
    assert_eq!(listed(store, ""), ["leases/00ff"]);
}

fn a_put_new_refuses_a_name_that_exists(store: &dyn Store) {
    let object = name("snapshots/00/1-ab");
    store.put_new(&object, b"first".as_slice().into()).unwrap();
    for content in [b"second".as_slice(), b"first", b""] {
        match store.put_new(&object, content.to_vec().into()) {
            Err(StoreError::Exists { name }) => assert_eq!(name, object),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.get(&object, ANY).unwrap(), b"first");
    store.delete(&object).unwrap();
    store.put_new(&object, b"third".as_slice().into()).unwrap();
    assert_eq!(store.get(&object, ANY).unwrap(), b"third");
}

fn what_is_not_there_is_not_found(store: &dyn Store) {
    store.put_new(&name("packs/ab/1"), b"x".as_slice().into()).unwrap();
    for absent in ["config", "packs/ab/2", "packs/cd/1"] {
        let is_named = |error| matches!(error, StoreError::NotFound { name } if name.as_str() == absent);
        assert!(is_named(store.get(&name(absent), ANY).unwrap_err()));
        assert!(is_named(store.get_range(&name(absent), 0, 1).unwrap_err()));
        assert!(is_named(store.get_range(&name(absent), 0, 0).unwrap_err()));
    }
}

fn an_object_above_the_limit_is_refused(store: &dyn Store) {
    let object = name("config");
    store.put_new(&object, ([7; 1000]).to_vec().into()).unwrap();
    assert_eq!(store.get(&object, 1000).unwrap(), [7; 1000]);
    for limit in [0, 1, 999] {
        match store.get(&object, limit) {
            Err(StoreError::TooLarge { name, limit: l }) => assert_eq!((name, l), (object.clone(), limit)),
            other => panic!("{other:?}"),
        }
    }
    store.put(&object, b"".as_slice().into()).unwrap();
    assert_eq!(store.get(&object, 0).unwrap(), b"");
}

fn a_deletion_is_idempotent(store: &dyn Store) {
    let object = name("condemned/1");
    store.delete(&object).unwrap();
    store.put_new(&object, b"x".as_slice().into()).unwrap();
    store.put_new(&name("condemned/2"), b"y".as_slice().into()).unwrap();
    store.delete(&object).unwrap();
    store.delete(&object).unwrap();
    assert!(matches!(store.get(&object, ANY), Err(StoreError::NotFound { .. })));
    assert_eq!(listed(store, ""), ["condemned/2"]);
}

fn a_listing_is_complete_and_in_name_order(store: &dyn Store) {
    assert_eq!(listed(store, ""), [""; 0]);
    // Scattered, so that the order of creation is not the order of names.
    let count = few_of(store, 2000) as u64;
    let numbers: Vec<u64> = (0..count).map(|i| i * 1237 % count).collect();
    let object = |i: u64| match i % 4 {
        0 => format!("packs/{:02x}/{i:04}", i % 256),
        1 => format!("index/{i:04}"),
        2 => format!("snapshots/{:02x}/{i}-a", i % 16),
        _ => format!("note.{i}"),
    };
    let store_all = |some: &[u64]| {
        for &i in some {
            store.put_new(&name(&object(i)), (vec![0; (i % 7) as usize]).to_vec().into()).unwrap();
        }
    };
    thread::scope(|scope| {
        for some in numbers.chunks(100) {
            scope.spawn(move || store_all(some));
        }
    });
    let expected: BTreeSet<String> = numbers.into_iter().map(object).collect();
    let expected: Vec<String> = expected.into_iter().collect();
    assert_eq!(listed(store, ""), expected);
    for entry in store.entries("index/").unwrap() {
        let i: u64 = entry.name.as_str()["index/".len()..].parse().unwrap();
        assert_eq!(entry.size, i % 7);
    }
}

fn a_listing_of_a_prefix_shows_nothing_else(store: &dyn Store) {
    for object in ["config", "packs/ab/1", "packs/ab/2", "packs/cd/1", "packs-old/1", "packs.d", "index/1"] {
        store.put_new(&name(object), b"x".as_slice().into()).unwrap();
    }
    assert_eq!(listed(store, "packs/"), ["packs/ab/1", "packs/ab/2", "packs/cd/1"]);
    assert_eq!(listed(store, "packs/ab/"), ["packs/ab/1", "packs/ab/2"]);
    assert_eq!(listed(store, "packs/a/"), [""; 0]);
    assert_eq!(listed(store, "keys/"), [""; 0]);
    assert_eq!(listed(store, "keys/0/"), [""; 0]);
    // '-' and '.' sort before '/'.
    let all = ["config", "index/1", "packs-old/1", "packs.d", "packs/ab/1", "packs/ab/2", "packs/cd/1"];
    assert_eq!(listed(store, ""), all);
}

/// More than one page: those of S3 end at 1,000 objects, those of Swift at 10,000, which takes a minute to store there and is
/// done with `REDKEEP_TEST_LONG_LISTINGS=1`. What is asked for behind the last page is empty in any case.
fn a_listing_goes_on_behind_a_name_however_long_it_is(store: &dyn Store) {
    let is_long = std::env::var_os("REDKEEP_TEST_LONG_LISTINGS").is_some();
    let objects = if is_long { 10_500 } else { few_of(store, 10_500) };
    let object = |i: usize| name(&format!("packs/{:02x}/{i:05}", i / 100));
    let store_all = |first: usize| {
        (first..objects).step_by(4).for_each(|i| store.put_new(&object(i), Bytes::new()).unwrap());
    };
    thread::scope(|scope| {
        for first in 0..4 {
            scope.spawn(move || store_all(first));
        }
    });
    store.put_new(&name("packs-old"), Bytes::new()).unwrap();
    assert_eq!(listed(store, "packs/").len(), objects);
    let behind = |after: &ObjectName| {
        let mut found = Vec::new();
        store.list("packs/", Some(after), &mut |entry| found.push(entry.name)).unwrap();
        found
    };
    for i in [0, 999, 1000, 1001, 9_999, 10_000, objects - 1].into_iter().filter(|i| *i < objects) {
        assert!(behind(&object(i)).into_iter().eq((i + 1..objects).map(object)), "behind {i}");
    }
    assert!(behind(&name("packs/00/00049x")).into_iter().eq((50..objects).map(object)), "a name that is not there");
    assert_eq!(behind(&name("config")).len(), objects);
    assert_eq!(behind(&name("snapshots/1")), []);
}

fn a_stat_tells_what_a_listing_tells(store: &dyn Store) {
    for (object, length) in [("config", 0), ("packs/ab/1", 1), ("packs/ab/2", 5000)] {
        store.put_new(&name(object), bytes(1, length).into()).unwrap();
    }
    store.put(&name("packs/ab/1"), bytes(2, 700).into()).unwrap();
    let entries = store.entries("").unwrap();
    assert_eq!(entries.iter().map(|entry| entry.size).collect::<Vec<_>>(), [0, 700, 5000]);
    for Entry { name, size, modified } in entries {
        assert_eq!(store.stat(&name).unwrap(), Some(Stat { size, modified }), "{name}");
    }
    for absent in ["packs/ab/3", "packs/cd/1", "leases/1"] {
        assert_eq!(store.stat(&name(absent)).unwrap(), None, "{absent}");
    }
    store.delete(&name("config")).unwrap();
    assert_eq!(store.stat(&name("config")).unwrap(), None);
}

/// Ages are what a sweep goes by: a lease that is written again is young again.
fn what_is_stored_later_is_no_older(store: &dyn Store) {
    let time = |object: &ObjectName| store.stat(object).unwrap().unwrap().modified;
    let (lease, pack) = (name("leases/1"), name("packs/ab/1"));
    store.put(&lease, Bytes::from_static(b"first")).unwrap();
    let first = time(&lease);
    store.put_new(&pack, Bytes::from_static(b"x")).unwrap();
    store.put(&lease, Bytes::from_static(b"again")).unwrap();
    assert!(first <= time(&pack) && time(&pack) <= time(&lease), "{first:?}");
    let of_refused = store.put_new(&pack, Bytes::from_static(b"y"));
    assert!(matches!(of_refused, Err(StoreError::Exists { .. })));
    assert!(time(&pack) <= time(&lease), "a refused put changes nothing");
    assert_eq!(time(&pack).is_some(), time(&lease).is_some());
}

/// The answer to the first was lost, so that the client asked again.
fn a_put_new_that_a_retry_repeats_is_refused_and_can_be_read_back_at_once(store: &dyn Store) {
    let (object, content) = (name("condemned/00ff"), Bytes::from(bytes(3, 3000)));
    store.put_new(&object, content.clone()).unwrap();
    assert!(matches!(store.put_new(&object, content.clone()), Err(StoreError::Exists { name }) if name == object));
    assert_eq!(store.get(&object, 3000).unwrap(), content);
    let other = store.get(&object, 2999);
    assert!(matches!(other, Err(StoreError::TooLarge { .. })), "a longer one is told apart: {other:?}");
}

fn a_prefix_that_is_no_directory_is_refused(store: &dyn Store) {
    for prefix in ["packs", "/", "../", "packs/../", "packs//", "/packs/", ".tmp/"] {
        assert!(matches!(store.entries(prefix), Err(StoreError::Name(_))), "{prefix:?}");
    }
}

fn of_many_creators_of_one_name_one_wins(store: &dyn Store) {
    // Where several may win this is no promise.
    if store.promises().put_new != PutNew::Exclusive {
        return;
    }
    // In SeaweedFS the losers of a race wait for seconds.
    let (threads, rounds) = if is_far(store) { (4, 3) } else { (16, 50) };
    for round in 0..rounds {
        let object = name(&format!("snapshots/{}/{round}", round % 3));
        let start = Barrier::new(threads);
        let winners: Vec<u64> = thread::scope(|scope| {
            let create = |thread: u64| {
                // Not one after the other, or most would only meet a name that is old.
                start.wait();
                match store.put_new(&object, (bytes(thread, 5000)).to_vec().into()) {
                    Ok(()) => Some(thread),
                    Err(StoreError::Exists { .. }) => None,
                    Err(error) => panic!("{error:?}"),
                }
            };
            let threads: Vec<_> = (0..threads as u64).map(|thread| scope.spawn(move || create(thread))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        assert!(store.get(&object, ANY).unwrap() == bytes(winners[0], 5000), "round {round}");
    }
    assert_eq!(store.entries("").unwrap().len(), rounds);
}

fn a_replaced_object_is_never_seen_torn(store: &dyn Store) {
    let lease = name("leases/1");
    let contents: Vec<Vec<u8>> = (0..3).map(|i| bytes(i, 1000 + 400_000 * i as usize)).collect();
    let is_over = AtomicBool::new(false);
    store.put(&lease, contents[0].to_vec().into()).unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let seen = store.get(&lease, ANY).unwrap();
                    assert!(contents.contains(&seen), "torn: {} bytes", seen.len());
                    // Shorter than the shortest, so that it is there whatever was put last.
                    assert_eq!(store.get_range(&lease, 0, 900).unwrap().len(), 900);
                }
            });
        }
        for i in 0..100 {
            store.put(&lease, (contents[i % contents.len()]).to_vec().into()).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

fn an_object_renewed_all_the_time_is_in_every_listing(store: &dyn Store) {
    let lease = name("leases/m");
    for other in ["leases/a", "leases/z"] {
        store.put(&name(other), b"x".as_slice().into()).unwrap();
    }
    store.put(&lease, b"0".as_slice().into()).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(listed(store, "leases/"), ["leases/a", "leases/m", "leases/z"]);
            }
        });
        for i in 0..200_u32 {
            store.put(&lease, i.to_le_bytes().to_vec().into()).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
