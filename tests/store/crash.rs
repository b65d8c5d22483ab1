//! A backup and a sweep die at one of their calls to a real service, before it or after it took effect. Nothing that was committed is
//! lost, and the next ones go on from there. All calls with `REDKEEP_TEST_LONG`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::prune::prune;
use redkeep::operations::{OperationError, Silent};
use redkeep::repository::{Ambient, Places, Repository};
use redkeep::store::Store;

use crate::support::repository::{CHEAP, PASSWORD, back_up, latest, noise, password, restore_to};
use crate::support::services::Service;
use crate::support::stores::{Fault, FaultyStore};
use crate::support::sweeps::AT_ONCE;

/// Half of an object is nothing that a service keeps.
const FAULTS: [Fault; 2] = [Fault::Before, Fault::After];

type Operation = fn(&Repository, &Path) -> Result<(), OperationError>;

const BACKUP: Operation = |repository, data| back_up(repository, data, "d").map(drop);
const PRUNE: Operation = |repository, _| prune(repository, &AT_ONCE, &Silent).map(drop);

fn open(store: Arc<dyn Store>) -> Result<Repository, OperationError> {
    Ok(Repository::open(store, password(PASSWORD), Ambient::system(), Places::default(), None)?)
}

/// A repository of two snapshots, one of them forgotten, and the data of a third.
fn prepared(store: &Arc<dyn Store>, data: &Path) {
    let secret = password(PASSWORD);
    let repository =
        Repository::create(store.clone(), secret, "first", CHEAP, Ambient::system(), Places::default()).unwrap();
    let take = |seed: u64| {
        fs::write(data.join("file"), [noise(100_000, 1), noise(100_000, seed)].concat()).unwrap();
        back_up(&repository, data, "d").unwrap()
    };
    let first = take(2);
    take(3);
    repository.forget(&first.name, "test").unwrap();
}

/// Dies at every `stride`-th call, until one run does not.
fn sweep(service: Service, operation: Operation, stride: usize, calls_at_least: u64) {
    let stride = if std::env::var_os("REDKEEP_TEST_LONG").is_some() { 1 } else { stride };
    for (first, fault) in FAULTS.into_iter().enumerate() {
        for n in (1 + first as u64 * stride as u64 / 2..).step_by(stride) {
            let place = format!("{service:?}, {fault:?} at call {n}");
            let (store, temp) = (service.store(), tempfile::tempdir().unwrap());
            let data = temp.path().join("data");
            fs::create_dir(&data).unwrap();
            prepared(&store, &data);
            let before = fs::read(data.join("file")).unwrap();
            fs::write(data.join("file"), noise(150_000, 9)).unwrap();
            let faulty = FaultyStore::new(store.clone(), n, fault);
            if let Err(error) = open(faulty.clone()).and_then(|repository| operation(&repository, &data)) {
                assert!(FaultyStore::caused(&error), "{place}: {error:?}");
            }
            finish(&store, temp.path(), &before, &place);
            if !faulty.is_dead() {
                assert!(n >= calls_at_least, "{place}: the sweep has tried calls");
                break;
            }
        }
    }
}

/// What was committed comes back, then the next backup and the next sweeps do what they do.
fn finish(store: &Arc<dyn Store>, temp: &Path, before: &[u8], place: &str) {
    let (data, now) = (temp.join("data"), noise(150_000, 9));
    let restored = |name: &str| {
        let repository = open(store.clone()).unwrap();
        let chosen = latest(&repository, "d").unwrap();
        assert_eq!(chosen.alarms, [], "{place}");
        restore_to(&repository, &chosen, &temp.join(name)).unwrap();
        fs::read(temp.join(name).join("file")).unwrap()
    };
    let found = restored("first");
    assert!(found == before || found == now, "{place}");
    BACKUP(&open(store.clone()).unwrap(), &data).unwrap();
    for _ in 0..2 {
        PRUNE(&open(store.clone()).unwrap(), &data).unwrap();
    }
    assert!(restored("last") == now, "{place}");
    let checked = check(&open(store.clone()).unwrap(), CheckDepth::Data, &Silent).unwrap();
    assert!(checked.is_sound(), "{place}: {checked:?}");
}

/// INV-3
#[test]
fn a_backup_to_a_service_that_dies_anywhere_loses_nothing() {
    for service in [Service::Seaweed, Service::Swift] {
        if !service.is_skipped() {
            sweep(service, BACKUP, 5, 10);
        }
    }
}

/// INV-2
#[test]
fn a_prune_at_a_service_that_dies_anywhere_loses_nothing() {
    for service in [Service::Seaweed, Service::Swift] {
        if !service.is_skipped() {
            sweep(service, PRUNE, 16, 30);
        }
    }
}
