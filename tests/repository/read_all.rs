//! Many small objects are read at a time: what goes away or is damaged between LIST and GET, and which error counts.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use redkeep::format::object::SnapshotName;
use redkeep::operations::Silent;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::prune::{Options, prune};
use redkeep::repository::{Alarm, Repository, RepositoryError};
use redkeep::store::{ObjectName, Store, StoreError};

use crate::support::repository::*;
use crate::support::sim::SimStore;
use crate::support::stores::through;

/// How many calls at a time the store of these tests answers.
const CONNECTIONS: usize = 4;

type BeforeGet = Box<dyn Fn(&dyn Store, &ObjectName) -> Result<(), StoreError> + Send + Sync>;

/// A store of so many connections, beside whose GETs something else happens.
pub struct Meddled {
    inner: Arc<dyn Store>,
    connections: usize,
    before_get: BeforeGet,
}

impl Meddled {
    pub fn new(
        inner: &Arc<dyn Store>,
        connections: usize,
        before_get: impl Fn(&dyn Store, &ObjectName) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Arc<Meddled> {
        Arc::new(Meddled { inner: inner.clone(), connections, before_get: Box::new(before_get) })
    }
}

impl Store for Meddled {
    through!(self.inner: get_range put put_new list stat delete room promises location);

    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        (self.before_get)(&*self.inner, name)?;
        self.inner.get(name, limit)
    }

    fn connections(&self) -> usize {
        self.connections
    }
}

/// A repository with twelve snapshots of one dataset, of which the first three are forgotten, and a check's result.
struct World {
    store: Arc<dyn Store>,
    hands: Hands,
    names: Vec<SnapshotName>,
}

fn world(seed: u64) -> World {
    let (hands, temp) = (Hands::new(seed), tempfile::tempdir().unwrap());
    let store: Arc<dyn Store> = SimStore::strict(&hands);
    let repository = create(store.clone(), &hands);
    let take = |number: u64| {
        fs::write(temp.path().join("dump"), noise(1000, number)).unwrap();
        back_up(&repository, temp.path(), "d").unwrap().name
    };
    let names: Vec<SnapshotName> = (0..12).map(take).collect();
    for name in &names[..3] {
        repository.forget(name, "test").unwrap();
    }
    assert!(check(&repository, CheckDepth::Data, &Silent).unwrap().is_sound());
    World { store, hands, names }
}

impl World {
    /// Opens it on a host that knows nothing.
    fn open(&self, store: Arc<dyn Store>) -> Repository {
        open(store, &self.hands).unwrap()
    }

    fn below(&self, prefix: &str) -> Vec<ObjectName> {
        self.store.entries(prefix).unwrap().into_iter().map(|entry| entry.name).collect()
    }
}

fn broken(name: &ObjectName) -> StoreError {
    let source = std::io::Error::other("the connection broke");
    StoreError::Io { action: "read", name: name.to_string(), source }
}

fn alarms_of(objects: &[String], fault: &str) -> Vec<Alarm> {
    let alarm = |object: &String| Alarm::Snapshot { object: object.clone(), fault: fault.into() };
    objects.iter().map(alarm).collect()
}

#[test]
fn as_many_objects_are_read_at_a_time_as_the_store_answers() {
    let world = world(901);
    let (waiting, most) = (Arc::new((Mutex::new(0), Condvar::new())), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    // Each GET waits until the others are there; one after the other they never would be.
    let together = move |_: &dyn Store, name: &ObjectName| {
        if name.as_str().starts_with("snapshots/") {
            let (count, changed) = &*waiting;
            let mut arrived = count.lock().unwrap();
            *arrived += 1;
            changed.notify_all();
            let until = usize::div_ceil(*arrived, CONNECTIONS) * CONNECTIONS;
            let deadline = Duration::from_secs(60);
            let (arrived, wait) = changed.wait_timeout_while(arrived, deadline, |count| *count < until).unwrap();
            assert!(!wait.timed_out(), "only {arrived} of {until} snapshots are being read");
            seen.fetch_max(until, Ordering::SeqCst);
        }
        Ok(())
    };
    let repository = world.open(Meddled::new(&world.store, CONNECTIONS, together));
    assert_eq!(repository.refresh().unwrap(), []);
    assert_eq!((repository.snapshots().unwrap().len(), most.load(Ordering::SeqCst)), (12, 12));
}

#[test]
fn what_is_damaged_or_goes_between_list_and_get_is_told_in_the_order_of_the_names() {
    let world = world(902);
    let names: Vec<String> = world.names.iter().map(SnapshotName::to_string).collect();
    // Of the forgotten ones nothing is told.
    let marked: Vec<String> = [1, 4, 5, 9, 11].map(|place| names[place].clone()).to_vec();
    let (damaged, told) = (marked.clone(), &marked[1..]);
    let damage = move |store: &dyn Store, name: &ObjectName| match damaged.iter().any(|of| of == name.as_str()) {
        true => store.put(name, Bytes::from_static(b"redkeep, but nothing that it would write")),
        false => Ok(()),
    };
    let repository = world.open(Meddled::new(&world.store, CONNECTIONS, damage));
    for _ in 0..3 {
        let mut alarms = repository.rebuild_catalog().unwrap();
        alarms.retain(|alarm| matches!(alarm, Alarm::Snapshot { .. }));
        assert_eq!(alarms, alarms_of(told, "its bytes do not match its hash"));
    }
    let gone = marked.clone();
    let delete = move |store: &dyn Store, name: &ObjectName| match gone.iter().any(|of| of == name.as_str()) {
        true => store.delete(name),
        false => Ok(()),
    };
    let repository = world.open(Meddled::new(&world.store, CONNECTIONS, delete));
    let alarms = repository.refresh().unwrap();
    assert_eq!(alarms, alarms_of(told, "it is missing"), "listed, so that none of them is a gap as well");
}

#[test]
fn trouble_in_reaching_the_repository_is_told_for_the_first_object_it_meets() {
    let world = world(903);
    let names: Vec<String> = world.names.iter().map(SnapshotName::to_string).collect();
    let (first, others) = (names[4].clone(), names[5..].to_vec());
    let (is_later, changed) = (Mutex::new(false), Condvar::new());
    let fail = move |_: &dyn Store, name: &ObjectName| {
        if name.as_str() == first {
            // Last in time.
            let later = is_later.lock().unwrap();
            let deadline = Duration::from_secs(60);
            assert!(!changed.wait_timeout_while(later, deadline, |later| !*later).unwrap().1.timed_out());
            return Err(broken(name));
        }
        match others.iter().any(|of| of == name.as_str()) {
            true => {
                *is_later.lock().unwrap() = true;
                changed.notify_all();
                Err(broken(name))
            }
            false => Ok(()),
        }
    };
    let repository = world.open(Meddled::new(&world.store, CONNECTIONS, fail));
    match repository.refresh() {
        Err(RepositoryError::Store(error)) => assert!(error.to_string().contains(&names[4]), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn small_objects_that_go_between_list_and_get_are_no_damage() {
    for prefix in ["notes/", "leases/", "condemned/", "burials/"] {
        let world = world(904);
        if ["condemned/", "burials/"].contains(&prefix) {
            let name = format!("{prefix}{}", "5".repeat(32));
            world.store.put(&name.parse().unwrap(), Bytes::from_static(b"not what it will be")).unwrap();
        }
        let gone = world.below(prefix);
        assert!(!gone.is_empty(), "{prefix}");
        let delete = move |store: &dyn Store, name: &ObjectName| match name.as_str().starts_with(prefix) {
            true => store.delete(name),
            false => Ok(()),
        };
        let repository = world.open(Meddled::new(&world.store, CONNECTIONS, delete));
        let report = check(&repository, CheckDepth::Structure, &Silent).unwrap();
        assert!(report.is_sound(), "{prefix}: {report:?}");
        assert_eq!(world.below(prefix), [], "each was asked for");
    }
}

#[test]
fn small_objects_that_are_damaged_are_named_each() {
    for prefix in ["notes/", "leases/", "forgotten/"] {
        let world = world(905);
        let all = world.below(prefix);
        let damaged: Vec<ObjectName> = all.iter().take(3).cloned().collect();
        assert!(!damaged.is_empty(), "{prefix}");
        for name in &damaged {
            world.store.put(name, Bytes::from_static(b"redkeep")).unwrap();
        }
        let repository = world.open(Meddled::new(&world.store, CONNECTIONS, |_, _| Ok(())));
        let report = check(&repository, CheckDepth::Structure, &Silent).unwrap();
        for name in &damaged {
            assert!(report.damage.iter().any(|damage| damage.object == name.as_str()), "{name}: {report:?}");
        }
        // A note claims nothing then; without the others nobody knows what may go.
        let outcome = prune(&repository, &Options::default(), &Silent);
        assert_eq!(outcome.is_err_and(|error| error.is_damage()), prefix != "notes/", "{prefix}");
    }
}
