//! One repository, the hosts that use it, and what they were told was committed.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redkeep::format::object::SnapshotName;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::list::dump;
use redkeep::operations::{Silent, backup};
use redkeep::repository::{Alarm, Places, Repository, SnapshotInfo, one_line};
use redkeep::store::{Promises, PutNew, Store};
use tempfile::TempDir;

use crate::content::{Directories, NUMBER, Version, files};
use crate::support::repository::{CHEAP, Hands, PASSWORD, password};
use crate::support::sim::{Listing, SimStore};

/// What an operation fails with.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A store's promises and how it keeps them.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub lag: Duration,
    pub put_new: PutNew,
    pub listing: Listing,
}

/// As a local store.
pub const STRICT: Kind = Kind { lag: Duration::ZERO, put_new: PutNew::Exclusive, listing: Listing::Late };

/// Whether the trials run in full, as they do by hand, and not the part of them that CI has time for.
pub fn is_long() -> bool {
    std::env::var_os("REDKEEP_TEST_LONG").is_some()
}

/// Longer than any grace time, and than any lease lives.
pub const DAYS: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// One course of events.
pub struct World {
    pub store: Arc<SimStore>,
    pub hands: Hands,
    /// The object of which only a half was stored: a store that promises whole objects never leaves one, so that it is
    /// damage, and may be named.
    pub torn: Option<String>,
    truth: Arc<Mutex<BTreeMap<SnapshotName, Committed>>>,
    data: Arc<Directories>,
    homes: TempDir,
    _directory: Arc<TempDir>,
}

/// A snapshot that an operation said it committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub version: Version,
    pub is_forgotten: bool,
}

/// A host with a catalog and a state file of its own.
#[derive(Clone)]
pub struct Host {
    pub name: &'static str,
    hands: Hands,
    home: PathBuf,
}

/// Files that are written and read all the time are kept in memory where the system offers it.
pub fn temporary() -> TempDir {
    let memory = Path::new("/dev/shm");
    TempDir::new_in(memory).or_else(|_| TempDir::new()).unwrap()
}

impl World {
    /// A repository without snapshots.
    pub fn new(kind: Kind) -> World {
        let hands = Hands::new(1);
        let store = SimStore::new(&hands, Promises { lag: kind.lag, put_new: kind.put_new }, kind.listing);
        let directory = Arc::new(temporary());
        let data = Arc::new(Directories::below(directory.path()));
        let homes = temporary();
        let credential = password(PASSWORD);
        let ambient = hands.ambient("alpha");
        Repository::create(store.clone(), credential, "first", CHEAP, ambient, Places::default()).unwrap();
        hands.pass(kind.lag);
        World { store, hands, torn: None, truth: Arc::default(), data, homes, _directory: directory }
    }

    /// The same world in another course of events.
    pub fn fork(&self) -> World {
        let hands = self.hands.fork();
        let homes = temporary();
        copy(self.homes.path(), homes.path());
        World {
            store: self.store.fork(&hands),
            hands,
            torn: self.torn.clone(),
            truth: Arc::new(Mutex::new(self.truth().clone())),
            data: self.data.clone(),
            homes,
            _directory: self._directory.clone(),
        }
    }

    /// A host by its name; its wall clock may be ahead or behind.
    pub fn host(&self, name: &'static str) -> Host {
        let number = u64::from(name.as_bytes()[0]);
        let ahead = [0, 40_000, -300_000][number as usize % 3];
        Host { name, hands: self.hands.another(number, ahead), home: self.homes.path().join(name) }
    }

    /// After this long every listing shows what was done.
    pub fn lag(&self) -> Duration {
        self.store.promises().lag
    }

    pub fn truth(&self) -> MutexGuard<'_, BTreeMap<SnapshotName, Committed>> {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Backs a version up, and takes down that it is committed.
    pub fn back_up(&self, repository: &Repository, dataset: &str, version: Version) -> Result<backup::Report, Failure> {
        let directory = self.data.of(version);
        let options = backup::Options { directory, dataset: Some(dataset.into()), ..backup::Options::default() };
        let report = backup::backup(repository, &options, &Silent)?;
        self.truth().insert(report.name, Committed { version, is_forgotten: false });
        Ok(report)
    }

    /// Every committed snapshot that was not forgotten is listed, and every one that is listed holds exactly what its
    /// version held. A host that knows nothing looks, after every change has become visible.
    pub fn check(&self, place: &str) {
        self.hands.pass(self.lag());
        let repository = self.host("newcomer").open_anew(self.store.clone()).unwrap_or_else(|e| panic!("{place}: {e}"));
        let alarms = repository.refresh().unwrap_or_else(|error| panic!("{place}: {}", one_line(&error)));
        self.check_alarms(&alarms, place);
        let listed = repository.snapshots().unwrap();
        for (name, committed) in &*self.truth() {
            let is_listed = listed.iter().any(|info| info.name == *name);
            assert!(is_listed || committed.is_forgotten, "{place}: {name} is gone: {committed:?}");
        }
        let mut known = BTreeMap::new();
        for info in &listed {
            let version = self.compare(&repository, info, &mut known, place);
            let told = self.truth().get(&info.name).copied();
            assert!(told.is_none_or(|told| told.version == version), "{place}: {}: {told:?}", info.name);
        }
    }

    /// Nothing is missing or unreadable but what was stored torn.
    pub fn check_alarms(&self, alarms: &[Alarm], place: &str) {
        let others: Vec<&Alarm> = alarms.iter().filter(|alarm| !self.is_torn(&alarm.to_string())).collect();
        assert!(others.is_empty(), "{place}: {others:?}");
    }

    fn is_torn(&self, message: &str) -> bool {
        self.torn.as_ref().is_some_and(|torn| message.contains(torn))
    }

    /// The version a snapshot holds, every byte of it.
    fn compare(
        &self,
        repository: &Repository,
        info: &SnapshotInfo,
        known: &mut BTreeMap<Version, BTreeMap<&'static str, Vec<u8>>>,
        place: &str,
    ) -> Version {
        let snapshot = repository.snapshot(&info.name).unwrap();
        let read = |path: &str| {
            let mut bytes = Vec::new();
            dump(repository, &snapshot, path.as_bytes(), &mut bytes, &Silent)
                .unwrap_or_else(|error| panic!("{place}: {} {path}: {}", info.name, one_line(&error)));
            bytes
        };
        let version = String::from_utf8(read(NUMBER)).unwrap().parse().unwrap();
        let expected = known.entry(version).or_insert_with(|| files(version));
        assert_eq!(snapshot.files.len(), expected.len(), "{place}: {}", info.name);
        for (path, bytes) in expected {
            assert!(read(path) == *bytes, "{place}: {} {path} is not what it was", info.name);
        }
        version
    }

    /// Nothing is damaged or missing, by a check that reads everything.
    pub fn check_data(&self, place: &str) {
        let repository = self.host("newcomer").open_anew(self.store.clone()).unwrap();
        let report = check(&repository, CheckDepth::Data, &Silent).unwrap_or_else(|e| panic!("{place}: {e:?}"));
        let others: Vec<_> = report.damage.iter().filter(|damage| !self.is_torn(&damage.object)).collect();
        assert!(others.is_empty() && report.lost_files.is_empty(), "{place}: {report:?}");
    }
}

impl Host {
    /// Opens the repository as a command on this host does.
    pub fn open(&self, store: Arc<dyn Store>) -> Result<Repository, Failure> {
        let places = Places { cache: Some(self.home.join("cache")), state: Some(self.home.join("state")) };
        Ok(Repository::open(store, password(PASSWORD), self.hands.ambient(self.name), places, None)?)
    }

    /// Opens it without what this host remembers.
    pub fn open_anew(&self, store: Arc<dyn Store>) -> Result<Repository, Failure> {
        Ok(Repository::open(store, password(PASSWORD), self.hands.ambient(self.name), Places::default(), None)?)
    }
}

/// Copies a directory.
pub fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        match entry.file_type().is_dir() {
            true => fs::create_dir_all(target).unwrap(),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
