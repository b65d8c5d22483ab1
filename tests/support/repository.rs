//! Repositories of their own, with time and randomness that tests decide.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redkeep::format::UnixMillis;
use redkeep::format::keys::{Argon2Cost, SecretKind};
use redkeep::operations::backup::{self, Options, Report};
use redkeep::operations::list::{Chosen, Selector, choose};
use redkeep::operations::source::Source;
use redkeep::operations::{OperationError, Silent, restore};
use redkeep::repository::{Ambient, Credential, Places, Repository, RepositoryError};
use redkeep::store::{Intent, Location, Store};

/// As cheap as Argon2 gets: what it costs is not tested here.
pub const CHEAP: Argon2Cost = Argon2Cost { memory: 8, passes: 1, lanes: 1 };

/// The password of every repository in tests.
pub const PASSWORD: &str = "correct horse battery staple";

/// A password as a credential.
pub fn password(text: &str) -> Credential {
    Credential { kind: SecretKind::Password, secret: text.as_bytes().to_vec().into() }
}

/// The one time of a test, for its hosts and its store. It moves when a test says so, and a millisecond at each look a
/// host takes at its wall clock, so that no two sessions begin at the same time.
#[derive(Clone, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Where every test begins, since the epoch.
    pub const START: Duration = Duration::from_millis(1_790_000_000_000);

    /// How much time has passed since the test began.
    pub fn passed(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn pass(&self, millis: u64) -> Duration {
        Duration::from_millis(self.0.fetch_add(millis, Ordering::SeqCst))
    }
}

/// What one host has: a clock that tests move, and randomness from a seed. Two runs give the same bytes.
#[derive(Clone)]
pub struct Hands {
    clock: Clock,
    ahead: i64,
    seed: Arc<Mutex<blake3::OutputReader>>,
}

impl Hands {
    pub fn new(seed: u64) -> Hands {
        Hands { clock: Clock::default(), ahead: 0, seed: Hands::seed(seed) }
    }

    fn seed(seed: u64) -> Arc<Mutex<blake3::OutputReader>> {
        Arc::new(Mutex::new(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof()))
    }

    /// Another host at the same time: randomness of its own, and a wall clock that is ahead by milliseconds, or behind.
    pub fn another(&self, seed: u64, ahead: i64) -> Hands {
        Hands { clock: self.clock(), ahead, seed: Hands::seed(seed) }
    }

    /// The same host in another course of events, with a time of its own from here on.
    pub fn fork(&self) -> Hands {
        let clock = Clock(Arc::new(AtomicU64::new(self.clock.0.load(Ordering::SeqCst))));
        let seed = self.seed.lock().unwrap().clone();
        Hands { clock, ahead: self.ahead, seed: Arc::new(Mutex::new(seed)) }
    }

    /// The time of this host's test.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Time passes, for all hosts and the store.
    pub fn pass(&self, time: Duration) {
        self.clock.pass(time.as_millis() as u64);
    }

    /// The wall clock shows this time: for comparing it with that of files.
    pub fn set_clock(&self, now: UnixMillis) {
        self.clock.0.store(now.0 - Clock::START.as_millis() as u64, Ordering::SeqCst);
    }

    pub fn ambient(&self, host: &str) -> Ambient {
        let Hands { clock, ahead, seed } = self.clone();
        let uptime = self.clock();
        let wall = move || (Clock::START + clock.pass(1)).as_millis() as u64;
        Ambient {
            now: Arc::new(move || UnixMillis(wall().saturating_add_signed(ahead))),
            uptime: Arc::new(move || uptime.passed()),
            random: Arc::new(move |bytes| seed.lock().unwrap().fill(bytes)),
            host: host.into(),
        }
    }
}

/// A store in memory that nobody else sees.
pub fn memory() -> Arc<dyn Store> {
    redkeep::store::open(&"memory:".parse::<Location>().unwrap(), Intent::Create).unwrap()
}

/// A store in a directory.
pub fn local(root: &Path) -> Arc<dyn Store> {
    redkeep::store::open(&Location::Local(root.into()), Intent::Create).unwrap()
}

/// Makes a repository in a store and opens it.
pub fn create(store: Arc<dyn Store>, hands: &Hands) -> Repository {
    Repository::create(store, password(PASSWORD), "first", CHEAP, hands.ambient("alpha"), Places::default()).unwrap()
}

/// Opens the repository in a store, on a host that remembers nothing.
pub fn open(store: Arc<dyn Store>, hands: &Hands) -> Result<Repository, RepositoryError> {
    open_at(store, hands, "alpha", Places::default())
}

/// Opens the repository in a store on a host with caches of its own.
pub fn open_at(
    store: Arc<dyn Store>,
    hands: &Hands,
    host: &str,
    places: Places,
) -> Result<Repository, RepositoryError> {
    Repository::open(store, password(PASSWORD), hands.ambient(host), places, None)
}

/// Backs up a directory as a dataset.
pub fn back_up(repository: &Repository, directory: &Path, dataset: &str) -> Result<Report, OperationError> {
    let options =
        Options { source: Source::Directory(directory.into()), dataset: Some(dataset.into()), ..Options::default() };
    backup::backup(repository, &options, &Silent)
}

/// The newest snapshot of a dataset.
pub fn latest(repository: &Repository, dataset: &str) -> Result<Chosen, OperationError> {
    choose(repository, &Selector::Latest(0), Some(dataset))
}

/// Restores a snapshot into a directory.
pub fn restore_to(repository: &Repository, chosen: &Chosen, target: &Path) -> Result<restore::Report, OperationError> {
    let options = restore::Options::new(target.into());
    restore::restore(repository, chosen, &options, &Silent)
}

/// Bytes that look random and compress badly.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(b"noise").update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes that look like text and compress well.
pub fn text(length: usize, seed: u64) -> Vec<u8> {
    let words = noise(length, seed);
    words.iter().map(|byte| b"etaoin shrdlu\n{}\":,0123456789abcdefg"[usize::from(*byte) % 36]).collect()
}

/// Every path below a directory with its content (directories: `None`), sorted.
pub fn tree(root: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let entries = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name();
    let entry = |entry: walkdir::DirEntry| {
        let path = entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned();
        (path, entry.file_type().is_file().then(|| std::fs::read(entry.path()).unwrap()))
    };
    entries.into_iter().map(|found| entry(found.unwrap())).collect()
}

/// Copies a directory.
pub fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        match entry.file_type().is_dir() {
            true => std::fs::create_dir_all(target).unwrap(),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
