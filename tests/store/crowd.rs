//! Many hosts at one repository in an object store: backups, a person who forgets, and sweeps, all at once.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::format::UnixMillis;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::prune::prune;
use redkeep::operations::{OperationError, Silent};
use redkeep::repository::{Ambient, Places, Repository, RepositoryError};
use redkeep::store::Store;

use crate::support::repository::{CHEAP, PASSWORD, back_up, latest, noise, password, restore_to};
use crate::support::services::Service;
use crate::support::sweeps::AT_ONCE;

const WRITERS: u64 = 8;

/// A host with caches of its own. The clock of some is so late that sweeps take their sessions for dead.
struct Host {
    number: u64,
    place: PathBuf,
    store: Arc<dyn Store>,
}

impl Host {
    fn open(&self) -> Repository {
        let system = Ambient::system();
        let (now, behind) = (Arc::clone(&system.now), if self.number % 4 == 3 { 2 * 60 * 60 * 1000 } else { 0 });
        let now = Arc::new(move || UnixMillis(now().0 - behind));
        let ambient = Ambient { now, host: format!("host-{}", self.number), ..system };
        let places =
            Places { cache: Some(self.place.join("cache")), state: Some(self.place.join("state")), scratch: None };
        Repository::open(Arc::clone(&self.store), password(PASSWORD), ambient, places, None).unwrap()
    }

    /// Backs up as long as the others go on: what it stored last, how many snapshots it made, and how often a sweep gave it up for good.
    fn write(&self, goes_on: impl Fn() -> bool) -> (Vec<u8>, usize, usize) {
        let (data, dataset) = (self.place.join("data"), format!("d{}", self.number));
        fs::create_dir_all(&data).unwrap();
        let (mut last, mut made, mut fenced) = (Vec::new(), 0, 0);
        for round in 0.. {
            if !goes_on() && made > 0 {
                break;
            }
            // Half of it is what other hosts have as well, half of it comes back after some rounds.
            let bytes = [noise(200_000, round % 3), noise(100_000, 100 * self.number + round % 5)].concat();
            fs::write(data.join("file"), &bytes).unwrap();
            match back_up(&self.open(), &data, &dataset) {
                Ok(report) => {
                    assert_eq!(report.alarms, []);
                    (last, made) = (bytes, made + 1);
                }
                Err(OperationError::Repository(RepositoryError::Fenced)) => fenced += 1,
                Err(error) => panic!("{}: {error:?}", self.number),
            }
        }
        (last, made, fenced)
    }
}

/// Forgets all but the newest snapshot of each dataset, and sweeps; counts the packs that were deleted.
fn keep(host: &Host, goes_on: impl Fn() -> bool, deleted: &AtomicU64) {
    while goes_on() {
        let repository = host.open();
        repository.refresh().unwrap();
        let infos = repository.kept_snapshots().unwrap();
        let is_newest = |at: usize| infos.get(at + 1).is_none_or(|next| next.dataset != infos[at].dataset);
        for at in (0..infos.len()).filter(|at| !is_newest(*at)) {
            repository.forget(&infos[at].name, "test").unwrap();
        }
        match prune(&repository, &AT_ONCE, &Silent) {
            Ok(pruned) => _ = deleted.fetch_add(pruned.report.deleted_packs, Ordering::Relaxed),
            Err(OperationError::Repository(RepositoryError::Fenced)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// INV-1, SESS-10, SWEEP-2: two keepers. Two minutes of it where `REDKEEP_TEST_LONG` is set.
#[test]
fn a_crowd_of_hosts_loses_nothing() {
    let service = Service::Seaweed;
    if service.is_skipped() {
        return;
    }
    let (store, temp) = (service.store(), tempfile::tempdir().unwrap());
    Repository::create(store.clone(), password(PASSWORD), "first", CHEAP, Ambient::system(), Places::default())
        .unwrap();
    let time = Duration::from_secs(if std::env::var_os("REDKEEP_TEST_LONG").is_some() { 120 } else { 8 });
    let (began, deleted) = (Instant::now(), &AtomicU64::new(0));
    // On a host that is busy it takes longer until a pack was condemned, and then deleted.
    let goes_on = || began.elapsed() < time || deleted.load(Ordering::Relaxed) == 0 && began.elapsed() < 10 * time;
    let host = |number: u64| Host { number, place: temp.path().join(number.to_string()), store: Arc::clone(&store) };
    let hosts: Vec<Host> = (0..WRITERS).map(host).collect();
    let keepers = [100, 101].map(host);
    let written: Vec<_> = thread::scope(|scope| {
        let writers: Vec<_> = hosts.iter().map(|host| scope.spawn(move || host.write(goes_on))).collect();
        for keeper in &keepers {
            scope.spawn(move || keep(keeper, goes_on, deleted));
        }
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let (made, fenced) = written.iter().fold((0, 0), |(made, fenced), of| (made + of.1, fenced + of.2));
    assert!(deleted.load(Ordering::Relaxed) > 0, "{made} snapshots, {fenced} given up");
    let repository = host(200).open();
    let report = check(&repository, CheckDepth::Data, &Silent).unwrap();
    assert!(report.is_sound(), "{report:?}");
    for (host, (bytes, ..)) in hosts.iter().zip(&written) {
        let out = host.place.join("out");
        let newest = latest(&repository, &format!("d{}", host.number)).unwrap();
        restore_to(&repository, &newest, &out).unwrap();
        assert!(fs::read(out.join("file")).unwrap() == *bytes, "{}", host.number);
    }
}
