//! Steps at random by three hosts at a real service, each with a cache and a state of its own that may be lost, or be those of some
//! steps ago. What was committed and not forgotten comes back from every host. More, and longer, with `REDKEEP_TEST_LONG`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use redkeep::format::object::SnapshotName;
use redkeep::operations::Silent;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::list::{Selector, choose};
use redkeep::operations::prune::prune;
use redkeep::operations::undelete::undelete;
use redkeep::repository::{Ambient, Places, Repository};
use redkeep::store::Store;

use crate::support::repository::{CHEAP, PASSWORD, back_up, copy, noise, password, restore_to};
use crate::support::services::Service;
use crate::support::sweeps::AT_ONCE;

const HOSTS: usize = 3;
const DATASETS: [&str; 2] = ["sessions", "queue"];

/// What a file holds: parts of its own and of others, by their seeds.
type Content = [usize; 3];

/// One course of events.
struct Course {
    store: Arc<dyn Store>,
    place: tempfile::TempDir,
    random: blake3::OutputReader,
    /// What was committed and not forgotten.
    truth: BTreeMap<SnapshotName, Content>,
    /// What was committed at all.
    all: BTreeMap<SnapshotName, Content>,
    told: Vec<String>,
}

impl Course {
    fn new(service: Service, seed: u64) -> Course {
        let (store, place) = (service.store(), tempfile::tempdir().unwrap());
        let (secret, ambient) = (password(PASSWORD), Ambient::system());
        Repository::create(store.clone(), secret, "first", CHEAP, ambient, Places::default()).unwrap();
        let random = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        let told = vec![format!("{service:?} {seed}")];
        Course { store, place, random, truth: BTreeMap::new(), all: BTreeMap::new(), told }
    }

    fn below(&mut self, end: usize) -> usize {
        let mut bytes = [0; 4];
        self.random.fill(&mut bytes);
        u32::from_le_bytes(bytes) as usize % end
    }

    fn home(&self, host: usize) -> PathBuf {
        self.place.path().join(format!("host-{host}"))
    }

    /// The repository as a host opens it; one of no number knows nothing.
    fn open(&self, host: Option<usize>) -> Repository {
        let home = host.map(|host| self.home(host));
        let below = |name: &str| home.as_ref().map(|home| home.join(name));
        let places = Places { cache: below("cache"), state: below("state"), scratch: None };
        let ambient = Ambient { host: format!("{host:?}"), ..Ambient::system() };
        Repository::open(self.store.clone(), password(PASSWORD), ambient, places, None).unwrap()
    }

    /// One step of one host; each of them sees what all others did before.
    fn step(&mut self) {
        let (host, number) = (self.below(HOSTS), self.below(14));
        let repository = self.open(Some(host));
        let what = match number {
            0..=4 => self.back_up(&repository, host),
            5 | 6 => self.forget(&repository),
            7 | 8 => format!("{:?}", prune(&repository, &AT_ONCE, &Silent).unwrap().report.deleted_packs),
            9 => self.have_back(&repository),
            10 => {
                let _ = fs::remove_dir_all(self.home(host));
                "has lost its home".into()
            }
            11 => {
                let _ = fs::remove_dir_all(self.place.path().join("older"));
                copy(&self.home(host), &self.place.path().join("older"));
                "has its home kept".into()
            }
            12 => {
                drop(repository);
                self.put_older_home(host)
            }
            _ => self.assert_restores(&repository, &format!("host {host}")),
        };
        self.told.push(format!("host {host}: {number}: {what}"));
    }

    fn back_up(&mut self, repository: &Repository, host: usize) -> String {
        let (dataset, content) = (DATASETS[self.below(2)], [self.below(4), self.below(4), self.below(100)]);
        let data = self.place.path().join(format!("data-{host}"));
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("file"), bytes_of(content)).unwrap();
        let report = back_up(repository, &data, dataset).unwrap();
        assert_eq!(report.alarms, [], "{:#?}", self.told);
        self.is_committed(report.name, content);
        format!("{dataset} {content:?} is {}", report.name.session)
    }

    fn is_committed(&mut self, name: SnapshotName, content: Content) {
        self.truth.insert(name, content);
        self.all.insert(name, content);
    }

    fn forget(&mut self, repository: &Repository) -> String {
        let at = self.below(self.truth.len().max(1));
        let Some(name) = self.truth.keys().nth(at).copied() else { return "nothing to forget".into() };
        repository.refresh().unwrap();
        repository.forget(&name, "no longer wanted").unwrap();
        self.truth.remove(&name);
        format!("forgot {}", name.session)
    }

    /// What was forgotten and can be had back, which is nobody's promise once it was swept.
    fn have_back(&mut self, repository: &Repository) -> String {
        repository.refresh().unwrap();
        let forgotten = repository.forgotten().unwrap();
        let at = self.below(forgotten.len().max(1));
        let Some(record) = forgotten.get(at) else { return "nothing to have back".into() };
        let Ok(report) = undelete(repository, &record.snapshot.session.to_string(), &Silent) else {
            return "what was forgotten is gone".into();
        };
        self.is_committed(report.new, self.all[&record.snapshot]);
        format!("{} is back as {}", record.snapshot.session, report.new.session)
    }

    fn put_older_home(&self, host: usize) -> String {
        let (older, home) = (self.place.path().join("older"), self.home(host));
        if !older.exists() {
            return "has no older home".into();
        }
        let _ = fs::remove_dir_all(&home);
        copy(&older, &home);
        "has an older home".into()
    }

    fn assert_restores(&mut self, repository: &Repository, place: &str) -> String {
        let at = self.below(self.truth.len().max(1));
        let Some((name, content)) = self.truth.iter().nth(at) else { return "nothing to restore".into() };
        self.assert_restores_to(repository, name, *content, place);
        format!("restored {}", name.session)
    }

    fn assert_restores_to(&self, repository: &Repository, name: &SnapshotName, content: Content, place: &str) {
        let out = tempfile::tempdir().unwrap();
        let chosen = choose(repository, &Selector::Id(name.session.to_string()), None);
        let chosen = chosen.unwrap_or_else(|error| panic!("{place}: {error:?}: {:#?}", self.told));
        let target: &Path = &out.path().join("out");
        let restored = restore_to(repository, &chosen, target);
        restored.unwrap_or_else(|error| panic!("{place}: {error:?}: {:#?}", self.told));
        assert!(fs::read(target.join("file")).unwrap() == bytes_of(content), "{place}: {name}: {:#?}", self.told);
    }
}

fn bytes_of(content: Content) -> Vec<u8> {
    content.map(|seed| noise(70_000, seed as u64)).concat()
}

/// INV-1, INV-2, LOCAL-4
#[test]
fn whatever_three_hosts_do_at_a_service_what_was_committed_comes_back() {
    let is_long = std::env::var_os("REDKEEP_TEST_LONG").is_some();
    let (courses, steps) = if is_long { (20, 60) } else { (1, 16) };
    let services = [Service::Seaweed, Service::Swift];
    let course = |service: Service, seed: u64| {
        let mut course = Course::new(service, seed);
        (0..steps).for_each(|_| course.step());
        let newcomer = course.open(None);
        for (name, content) in &course.truth {
            course.assert_restores_to(&newcomer, name, *content, "a newcomer");
        }
        let checked = check(&newcomer, CheckDepth::Data, &Silent).unwrap();
        assert!(checked.is_sound(), "{checked:?}: {:#?}", course.told);
        course.truth.len()
    };
    let left: usize = thread::scope(|scope| {
        let of = |service: Service| scope.spawn(move || (0..courses).map(|seed| course(service, seed)).sum::<usize>());
        let threads: Vec<_> = services.into_iter().filter(|service| !service.is_skipped()).map(of).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(left > 0 || services.iter().all(|service| service.is_skipped()), "snapshots were left to restore");
}
