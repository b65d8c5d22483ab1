//! One repository, the hosts that use it, and what they were told was committed.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redkeep::format::object::SnapshotName;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::list::{Selector, dump};
use redkeep::operations::source::Source;
use redkeep::operations::{Silent, backup, prune, tag, undelete};
use redkeep::repository::{Alarm, Places, Repository, RepositoryError, one_line};
use redkeep::store::{Promises, PutNew, Store, Timing};
use tempfile::TempDir;

use crate::content::{Directories, NUMBER, Version, files};
use crate::support::repository::{CHEAP, Hands, PASSWORD, TINY, TINY_BUCKETS, copy, password};
use crate::support::sim::{Listing, SimStore};
use crate::support::sweeps::AT_ONCE;

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

/// The usual grace time.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Longer than any grace time, and than any lease lives.
pub const DAYS: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// One course of events.
pub struct World {
    pub store: Arc<SimStore>,
    pub hands: Hands,
    /// The object of which only a half was stored: a store that promises whole objects never leaves one, so that it is
    /// damage, and may be named.
    pub torn: Option<String>,
    /// How long what was forgotten stays.
    pub grace: Duration,
    /// Whether somebody may have slept so long that a pack was gone by the time an index object named it.
    pub has_slept: bool,
    commands: AtomicU64,
    truth: Arc<Mutex<BTreeMap<SnapshotName, Committed>>>,
    data: Arc<Directories>,
    homes: TempDir,
    _directory: Arc<TempDir>,
}

/// A snapshot that an operation said it committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub version: Version,
    /// When somebody began to forget it.
    pub forgotten: Option<Duration>,
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
        World::seeded(kind, 1)
    }

    /// The same with other keys.
    pub fn seeded(kind: Kind, seed: u64) -> World {
        let hands = Hands::new(seed);
        let store =
            SimStore::new(&hands, Promises { put_new: kind.put_new, timing: Timing::of_lag(kind.lag) }, kind.listing);
        let directory = Arc::new(temporary());
        let data = Arc::new(Directories::below(directory.path()));
        let homes = temporary();
        let credential = password(PASSWORD);
        let ambient = hands.ambient("alpha");
        Repository::create_with(
            store.clone(),
            credential,
            "first",
            CHEAP,
            ambient,
            Places::default(),
            (TINY, TINY_BUCKETS),
        )
        .unwrap();
        hands.pass(kind.lag);
        World {
            store,
            hands,
            torn: None,
            grace: DAY,
            has_slept: false,
            commands: AtomicU64::new(0),
            truth: Arc::default(),
            data,
            homes,
            _directory: directory,
        }
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
            grace: self.grace,
            has_slept: self.has_slept,
            commands: AtomicU64::new(self.commands.load(Ordering::SeqCst)),
            truth: Arc::new(Mutex::new(self.truth().clone())),
            data: self.data.clone(),
            homes,
            _directory: self._directory.clone(),
        }
    }

    /// A host by its name, about to run a command; its wall clock may be ahead or behind. No two commands draw the same
    /// random bytes.
    pub fn host(&self, name: &'static str) -> Host {
        let number = u64::from(name.as_bytes()[0]);
        let ahead = [0, 40_000, -300_000][number as usize % 3];
        let seed = 1000 + self.commands.fetch_add(1, Ordering::SeqCst);
        Host { name, hands: self.hands.another(seed, ahead), home: self.homes.path().join(name) }
    }

    /// After this long every listing shows what was done.
    pub fn lag(&self) -> Duration {
        self.store.promises().timing.lag
    }

    pub fn truth(&self) -> MutexGuard<'_, BTreeMap<SnapshotName, Committed>> {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Backs a version up, and takes down that it is committed.
    pub fn back_up(&self, repository: &Repository, dataset: &str, version: Version) -> Result<backup::Report, Failure> {
        let source = Source::Directory(self.data.of(version));
        let options = backup::Options { source, dataset: Some(dataset.into()), ..backup::Options::default() };
        let report = backup::backup(repository, &options, &Silent)?;
        self.truth().insert(report.name, Committed { version, forgotten: None });
        Ok(report)
    }

    /// Forgets a snapshot. Whether it succeeds or not, nobody may rely on the snapshot any more.
    pub fn forget(&self, repository: &Repository, name: &SnapshotName) -> Result<(), Failure> {
        self.begin_to_forget(name);
        repository.refresh()?;
        Ok(repository.forget(name, "no longer wanted").map(drop)?)
    }

    pub fn begin_to_forget(&self, name: &SnapshotName) {
        let now = self.hands.clock().passed();
        self.truth().get_mut(name).unwrap().forgotten.get_or_insert(now);
    }

    /// Has a forgotten snapshot back.
    pub fn undelete(&self, repository: &Repository, name: &SnapshotName) -> Result<(), Failure> {
        let report = undelete::undelete(repository, &name.session.to_string(), &Silent)?;
        self.is_copied(name, report.new);
        Ok(())
    }

    /// Puts another snapshot, with one more tag, in the place of this one.
    pub fn tag(&self, repository: &Repository, name: &SnapshotName, word: String) -> Result<(), Failure> {
        let options = tag::Options { add: vec![word], remove: vec![] };
        let before = self.truth()[name].forgotten;
        self.begin_to_forget(name);
        match tag::tag(repository, &Selector::Id(name.session.to_string()), None, &options, &Silent) {
            Ok(report) => self.is_copied(name, report.new),
            Err(error) => {
                self.settle_tag(name, before)?;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// A tagging that failed left the snapshot as it was, or its copy is there.
    fn settle_tag(&self, name: &SnapshotName, before: Option<Duration>) -> Result<(), Failure> {
        self.hands.pass(self.lag());
        let witness = self.host("newcomer").open_anew(self.store.clone())?;
        witness.refresh()?;
        match witness.forgotten()?.into_iter().find(|record| record.snapshot == *name) {
            None => self.truth().get_mut(name).unwrap().forgotten = before,
            Some(record) if record.reason.starts_with("retagged as") => {
                let from = name.session.to_string();
                let snapshots = witness.snapshots()?.into_iter().filter(|info| info.name.tag == name.tag);
                let read = snapshots.map(|of| Ok((of.name, witness.snapshot(&of.name)?)));
                let read: Vec<_> = read.collect::<Result<_, RepositoryError>>()?;
                let copy = read.iter().find(|(_, of)| of.facts.get(tag::RETAGGED_FROM) == Some(&from));
                self.is_copied(
                    name,
                    copy.unwrap_or_else(|| panic!("{name} was forgotten for a copy that is not there")).0,
                );
            }
            // Forgotten by somebody else.
            Some(_) => {}
        }
        Ok(())
    }

    /// A snapshot with the content of another one is committed, or was already.
    fn is_copied(&self, from: &SnapshotName, to: SnapshotName) {
        let mut truth = self.truth();
        let version = truth[from].version;
        truth.entry(to).or_insert(Committed { version, forgotten: None });
    }

    /// Sweeps, and leaves as little as it may.
    pub fn prune(&self, repository: &Repository) -> Result<prune::Report, Failure> {
        let options = prune::Options { grace: self.grace, ..AT_ONCE };
        Ok(prune::prune(repository, &options, &Silent)?.report)
    }

    /// A forgotten snapshot of a dataset that no prune may have deleted yet, nor will while it is had back.
    pub fn forgotten(&self, repository: &Repository, dataset: &str) -> Result<Option<SnapshotName>, Failure> {
        repository.refresh()?;
        let (tag, truth) = (repository.tag(dataset), self.truth());
        let soon = self.hands.clock().passed() + Duration::from_secs(60);
        let is_kept = |of: &Committed| of.forgotten.is_some_and(|since| soon < since + self.grace);
        let names = repository.forgotten()?.into_iter().map(|record| record.snapshot);
        Ok(names.filter(|name| name.tag == tag).find(|name| truth.get(name).is_some_and(is_kept)))
    }

    /// The oldest snapshot of a dataset that nobody forgot.
    pub fn oldest(&self, repository: &Repository, dataset: &str) -> Option<SnapshotName> {
        let tag = repository.tag(dataset);
        let truth = self.truth();
        let mut wanted = truth.iter().filter(|(name, of)| name.tag == tag && of.forgotten.is_none());
        wanted.next().map(|(name, _)| *name)
    }

    /// Every snapshot that was committed is listed and holds exactly what its version held, until it was forgotten for
    /// the grace time. So does one of which nobody was told that it is committed. A host that knows nothing looks, after
    /// every change has become visible.
    pub fn check(&self, place: &str) {
        self.hands.pass(self.lag());
        let repository = self.host("newcomer").open_anew(self.store.clone()).unwrap_or_else(|e| panic!("{place}: {e}"));
        let alarms = repository.refresh().unwrap_or_else(|error| panic!("{place}: {}", one_line(&error)));
        self.check_alarms(&alarms, place);
        let listed: Vec<SnapshotName> = repository.snapshots().unwrap().into_iter().map(|info| info.name).collect();
        let (truth, mut known) = (self.truth().clone(), BTreeMap::new());
        let now = self.hands.clock().passed();
        let may_be_gone = |of: &Committed| of.forgotten.is_some_and(|since| now >= since + self.grace);
        for (name, committed) in truth.iter().filter(|(_, committed)| !may_be_gone(committed)) {
            assert!(listed.contains(name), "{place}: {name} is gone: {committed:?}");
            let version = self.compare(&repository, name, &mut known, place);
            assert_eq!(version, committed.version, "{place}: {name}");
        }
        for name in listed.iter().filter(|name| !truth.contains_key(*name)) {
            self.compare(&repository, name, &mut known, place);
        }
    }

    /// Nothing is missing or unreadable but what was stored torn.
    pub fn check_alarms(&self, alarms: &[Alarm], place: &str) {
        let is_late_index = |alarm: &Alarm| self.has_slept && matches!(alarm, Alarm::Packs { .. });
        let may_be = |alarm: &Alarm| is_late_index(alarm) || self.is_torn(&alarm.to_string());
        let others: Vec<&Alarm> = alarms.iter().filter(|alarm| !may_be(alarm)).collect();
        assert!(others.is_empty(), "{place}: {others:?}");
    }

    /// Whether a message names the object that was stored torn.
    pub fn is_torn(&self, message: &str) -> bool {
        self.torn.as_ref().is_some_and(|torn| message.contains(torn))
    }

    /// The version a snapshot holds, every byte of it.
    fn compare(
        &self,
        repository: &Repository,
        name: &SnapshotName,
        known: &mut BTreeMap<Version, BTreeMap<&'static str, Vec<u8>>>,
        place: &str,
    ) -> Version {
        let snapshot = repository.snapshot(name).unwrap_or_else(|error| panic!("{place}: {}", one_line(&error)));
        let read = |path: &str| {
            let mut bytes = Vec::new();
            dump(repository, &snapshot, path.as_bytes(), &mut bytes, &Silent)
                .unwrap_or_else(|error| panic!("{place}: {name} {path}: {}", one_line(&error)));
            bytes
        };
        let version = String::from_utf8(read(NUMBER)).unwrap().parse().unwrap();
        let expected = known.entry(version).or_insert_with(|| files(version));
        assert_eq!(snapshot.files.len(), expected.len(), "{place}: {name}");
        for (path, bytes) in expected {
            assert!(read(path) == *bytes, "{place}: {name} {path} is not what it was");
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
    /// Where its catalog is, and a place beside it.
    pub fn cache(&self) -> (PathBuf, PathBuf) {
        (self.home.join("cache"), self.home.join("aside"))
    }

    /// Opens the repository as a command on this host does.
    pub fn open(&self, store: Arc<dyn Store>) -> Result<Repository, Failure> {
        let places =
            Places { cache: Some(self.home.join("cache")), state: Some(self.home.join("state")), scratch: None };
        Ok(Repository::open(store, password(PASSWORD), self.hands.ambient(self.name), places, None)?)
    }

    /// Opens it without what this host remembers.
    pub fn open_anew(&self, store: Arc<dyn Store>) -> Result<Repository, Failure> {
        Ok(Repository::open(store, password(PASSWORD), self.hands.ambient(self.name), Places::default(), None)?)
    }
}
