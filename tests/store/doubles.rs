//! The stores that tests are made of keep their own promises.

use std::sync::Arc;
use std::thread;

use redkeep::store::{Store, StoreError};

use crate::support::stores::{Call, FAULTS, Fault, FaultyStore, PausableStore, RecordingStore, Verb};
use crate::{listed, memory, name};

/// Two puts and a deletion.
fn work(store: &dyn Store) -> Result<(), StoreError> {
    store.put_new(&name("a"), b"1234".as_slice().into())?;
    store.put(&name("b"), b"5678".as_slice().into())?;
    store.delete(&name("a"))
}

fn content(store: &dyn Store) -> Vec<String> {
    let show = |text: String| format!("{text}={}", String::from_utf8_lossy(&store.get(&name(&text), 100).unwrap()));
    listed(store, "").into_iter().map(show).collect()
}

#[test]
fn a_faulty_store_fails_at_its_nth_call_and_ever_after() {
    for fault in FAULTS {
        for n in 0..3 {
            let store = FaultyStore::new(memory(), n, fault);
            let error = work(&*store).unwrap_err();
            assert!(FaultyStore::caused(&error));
            assert!(store.is_dead());
            assert_eq!(store.calls(), n + 1);
            assert!((&*store as &dyn Store).entries("").is_err());
            assert!(store.get(&name("b"), 100).is_err());
            assert_eq!(store.calls(), n + 3);
        }
        let store = FaultyStore::new(memory(), 3, fault);
        work(&*store).unwrap();
        assert!(!store.is_dead());
    }
    assert!(!FaultyStore::caused(&memory().get(&name("a"), 1).unwrap_err()));
}

#[test]
fn the_nth_call_has_no_effect_or_all_of_it_or_half() {
    let after = |n, fault| {
        let inner = memory();
        work(&*FaultyStore::new(Arc::clone(&inner), n, fault)).unwrap_err();
        content(&*inner)
    };
    assert_eq!(after(0, Fault::Before), [""; 0]);
    assert_eq!(after(0, Fault::After), ["a=1234"]);
    assert_eq!(after(0, Fault::Torn), ["a=12"]);
    assert_eq!(after(1, Fault::Torn), ["a=1234", "b=56"]);
    assert_eq!(after(2, Fault::Before), ["a=1234", "b=5678"]);
    assert_eq!(after(2, Fault::After), ["b=5678"]);
    assert_eq!(after(2, Fault::Torn), ["a=1234", "b=5678"]);
}

#[test]
fn a_torn_put_new_does_not_hurt_what_exists() {
    let inner = memory();
    inner.put_new(&name("a"), b"whole".as_slice().into()).unwrap();
    FaultyStore::new(Arc::clone(&inner), 0, Fault::Torn).put_new(&name("a"), b"other".as_slice().into()).unwrap_err();
    assert_eq!(inner.get(&name("a"), 100).unwrap(), b"whole");
}

#[test]
fn a_recording_store_remembers_every_call_in_order() {
    let store = RecordingStore::new(memory());
    work(&*store).unwrap();
    store.get(&name("b"), 100).unwrap();
    store.get_range(&name("b"), 0, 1).unwrap();
    store.get(&name("a"), 100).unwrap_err();
    (&*store as &dyn Store).entries("packs/").unwrap();
    let told: Vec<String> = store.calls().iter().map(Call::to_string).collect();
    assert_eq!(told, ["put_new a", "put b", "delete a", "get b", "get_range b", "get a", "list packs/"]);
    assert_eq!(store.drain().len(), 7);
    assert_eq!(store.drain(), []);
}

#[test]
fn a_pausable_store_holds_its_nth_call_and_no_other() {
    let inner = memory();
    let store = PausableStore::new(Arc::clone(&inner), 1);
    thread::scope(|scope| {
        let worker = scope.spawn(|| work(&*store));
        assert_eq!(store.wait_until_held(), Some(Call::new(Verb::Put, "b")));
        assert_eq!(listed(&*inner, ""), ["a"], "held before it has an effect");
        (&*store as &dyn Store).entries("").unwrap();
        assert!(!worker.is_finished());
        store.release();
        worker.join().unwrap().unwrap();
    });
    assert_eq!(listed(&*inner, ""), ["b"]);
    assert_eq!(store.calls(), 4);
}

#[test]
fn nobody_waits_for_a_call_that_does_not_come() {
    let store = PausableStore::new(memory(), 99);
    work(&*store).unwrap();
    store.finish();
    assert_eq!(store.wait_until_held(), None);
}
