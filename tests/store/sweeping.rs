//! A sweep of a repository in an object store gives back what nobody needs, by the service's clock and listings.

use std::fs;
use std::sync::Arc;

use redkeep::operations::Silent;
use redkeep::operations::prune::prune;
use redkeep::repository::{Ambient, Places, Repository};
use redkeep::store::Store;

use crate::support::repository::{CHEAP, PASSWORD, back_up, latest, noise, password, restore_to};
use crate::support::services::Service;
use crate::support::sweeps::AT_ONCE;

/// STORE-2
#[test]
fn what_only_a_forgotten_snapshot_needed_goes_and_everything_else_stays() {
    for service in [Service::Seaweed, Service::Swift, Service::S3Api] {
        if !service.is_skipped() {
            sweep(service.store());
        }
    }
}

/// STORE-12
#[test]
fn where_versions_and_locks_keep_what_is_deleted_a_sweep_does_the_same_and_the_store_says_so() {
    for service in [Service::Seaweed, Service::Swift] {
        if service.is_skipped() {
            continue;
        }
        let store = service.store_at(&service.kept_location());
        sweep(store.clone());
        let there = store.service().unwrap();
        // What was deleted lets itself be made again, and is not there otherwise.
        assert!(there.try_rights().unwrap().delete, "{service:?}");
        let keeping = there.keeping();
        assert!(keeping.versions && !keeping.comes_back, "{service:?}: {keeping:?}");
        assert_eq!(keeping.locked_until.is_some(), service == Service::Seaweed, "{service:?}: {keeping:?}");
    }
}

fn sweep(store: Arc<dyn Store>) {
    let place = tempfile::tempdir().unwrap();
    let repository =
        Repository::create(store.clone(), password(PASSWORD), "first", CHEAP, Ambient::system(), Places::default())
            .unwrap();
    let data = place.path().join("data");
    fs::create_dir(&data).unwrap();
    let take = |bytes: &[u8]| {
        fs::write(data.join("file"), bytes).unwrap();
        back_up(&repository, &data, "d").unwrap()
    };
    let (shared, new) = (noise(1 << 20, 1), noise(1 << 20, 3));
    let old = take(&[&shared[..], &noise(1 << 20, 2)].concat());
    let kept = [&shared[..], &new].concat();
    take(&kept);
    repository.forget(&old.name, "test").unwrap();
    let reports: Vec<_> = (0..3).map(|_| prune(&repository, &AT_ONCE, &Silent).unwrap().report).collect();
    let deleted: u64 = reports.iter().map(|report| report.deleted_packs).sum();
    let (first, last) = (&reports[0], &reports[2]);
    // About one of three MiB is nobody's; where the chunks are cut differs from run to run.
    assert!(deleted >= 1 && last.pack_bytes + (512 << 10) < first.pack_bytes, "{reports:?}");
    let names = |prefix: &str| store.entries(prefix).unwrap().len();
    assert_eq!((names("snapshots/"), names("condemned/")), (1, 0), "{reports:?}");
    let out = place.path().join("out");
    restore_to(&repository, &latest(&repository, "d").unwrap(), &out).unwrap();
    assert!(fs::read(out.join("file")).unwrap() == kept);
}
