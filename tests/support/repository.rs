//! Repositories of their own, with time and randomness that tests decide.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redkeep::format::config::Sizes;
use redkeep::format::keys::{Argon2Cost, SecretKind};
use redkeep::format::list::decode_list;
use redkeep::format::snapshot::Snapshot;
use redkeep::format::{ChunkId, UnixMillis};
use redkeep::operations::backup::{self, Options, Report};
use redkeep::operations::init::{Ground, init};
use redkeep::operations::list::{Chosen, Selector, choose};
use redkeep::operations::source::Source;
use redkeep::operations::{OperationError, Silent, restore};
use redkeep::repository::{Ambient, Credential, Places, Repository, RepositoryError};
use redkeep::store::{Intent, Location, ObjectName, Settings, Store};

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

/// Makes a repository in a directory as `redkeep init` does for somebody with this home. Its password is `correct horse`, and
/// costs nothing to derive a key of, as the program does each time it runs.
pub fn init_cheaply(directory: &Path, home: &Path) {
    let ground = Ground::prepare(&Location::Local(directory.into()), &Settings::default()).unwrap();
    let places = Places {
        cache: Some(home.join(".cache/redkeep")),
        state: Some(home.join(".local/state/redkeep")),
        scratch: None,
    };
    let (store, password) = (Arc::clone(&ground.store), password("correct horse"));
    let report = init(store, password, None, CHEAP, Ambient::system(), places).unwrap();
    assert_eq!(report.warnings, [""; 0]);
}

/// Makes a repository in a store and opens it.
pub fn create(store: Arc<dyn Store>, hands: &Hands) -> Repository {
    Repository::create(store, password(PASSWORD), "first", CHEAP, hands.ambient("alpha"), Places::default()).unwrap()
}

/// Chunks so small that a file of some kilobytes has a list in chunks, and a changed stretch of it is stored as deltas.
pub const TINY: Sizes = Sizes { min: 64, mean: 128, max: 256 };

/// Buckets so small that a dump of some kilobytes has many, and values that are too long for one.
pub const TINY_BUCKETS: Sizes = Sizes { min: 64, mean: 256, max: 512 };

/// Makes a repository in a store whose files are cut into [`TINY`] chunks and buckets, and opens it.
pub fn create_tiny(store: Arc<dyn Store>, hands: &Hands) -> Repository {
    let (credential, ambient) = (password(PASSWORD), hands.ambient("alpha"));
    let sizes = (TINY, TINY_BUCKETS);
    Repository::create_with(store, credential, "first", CHEAP, ambient, Places::default(), sizes).unwrap()
}

/// In how many ways chunks are stored, counted in a host's catalog.
#[derive(Clone, Copy, Debug)]
pub struct Forms {
    /// Frames that are compressed.
    pub zstd: u64,
    /// Frames of deltas by zstd.
    pub by_zstd: u64,
    /// Frames of deltas of copies and insertions.
    pub by_copies: u64,
    /// Deltas.
    pub deltas: u64,
    /// Deltas one of whose bases is itself a delta.
    pub on_deltas: u64,
}

/// The catalog of the one repository that a host has below a directory.
fn catalog(cache: &Path) -> rusqlite::Connection {
    let found = walkdir::WalkDir::new(cache).into_iter().map(Result::unwrap);
    let catalog = found.into_iter().find(|entry| entry.file_name() == "catalog.db").unwrap().into_path();
    rusqlite::Connection::open(catalog).unwrap()
}

/// Where a sealed frame lies in a pack.
#[derive(Clone, Debug)]
pub struct FramePlace {
    pub pack: ObjectName,
    /// Its bytes in the pack.
    pub bytes: Range<usize>,
    /// As the specification numbers it.
    pub method: u8,
}

/// All frames, by a host's catalog, pack by pack.
pub fn frames(cache: &Path) -> Vec<FramePlace> {
    let connection = catalog(cache);
    let sql =
        "SELECT lower(hex(p.hash)), f.offset, f.offset + f.sealed, f.method FROM frames f JOIN packs p ON p.id = f.pack
        ORDER BY f.pack, f.ordinal";
    let mut rows = connection.prepare(sql).unwrap();
    let frames = rows.query_map([], |row| {
        let hash: String = row.get(0)?;
        let pack = format!("packs/{}/{hash}", &hash[..2]).parse().unwrap();
        let bytes = row.get::<_, i64>(1)? as usize..row.get::<_, i64>(2)? as usize;
        Ok(FramePlace { pack, bytes, method: row.get(3)? })
    });
    frames.unwrap().map(Result::unwrap).collect()
}

/// The places of frames that hold any of these chunks.
pub fn frames_of(cache: &Path, chunks: &[ChunkId]) -> Vec<FramePlace> {
    let connection = catalog(cache);
    let sql = "SELECT f.offset, lower(hex(p.hash)) FROM chunks c JOIN packs p ON p.id = c.pack
        JOIN frames f ON f.pack = c.pack AND f.ordinal = c.frame WHERE c.id = ?1";
    let mut query = connection.prepare(sql).unwrap();
    let mut starts = Vec::new();
    for chunk in chunks {
        let found = query.query_map([chunk.0], |row| Ok((row.get::<_, i64>(0)? as usize, row.get::<_, String>(1)?)));
        starts.extend(found.unwrap().map(Result::unwrap));
    }
    let mut all = frames(cache);
    all.retain(|frame| {
        starts.iter().any(|(start, hash)| frame.bytes.start == *start && frame.pack.as_str().ends_with(hash))
    });
    all
}

/// The chunks of lists of a snapshot's files, none of which has more than one level.
pub fn list_chunks(snapshot: &Snapshot) -> Vec<ChunkId> {
    let parts = snapshot.files.iter().flat_map(|file| file.recipe.iter().flatten());
    let streams = parts.flat_map(|part| part.streams.values()).filter(|stream| stream.levels > 0);
    let entries = streams.flat_map(|stream| {
        assert_eq!(stream.levels, 1);
        decode_list(&stream.top, false).unwrap()
    });
    entries.map(|entry| entry.id).collect()
}

impl FramePlace {
    /// In the midst of it.
    pub fn middle(&self) -> usize {
        self.bytes.start + self.bytes.len() / 2
    }
}

impl Forms {
    /// Of the one repository whose catalog is below a directory.
    pub fn below(cache: &Path) -> Forms {
        let connection = catalog(cache);
        let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as u64;
        Forms {
            zstd: count("SELECT count(*) FROM frames WHERE method = 1"),
            by_zstd: count("SELECT count(*) FROM frames WHERE method = 2"),
            by_copies: count("SELECT count(*) FROM frames WHERE method = 3"),
            deltas: count("SELECT count(*) FROM chunks WHERE bases IS NOT NULL"),
            on_deltas: count(
                "SELECT count(*) FROM chunks d WHERE bases IS NOT NULL AND EXISTS (SELECT 1 FROM chunks b
                 WHERE b.bases IS NOT NULL AND substr(b.id, 1, 8) IN (substr(d.bases, 1, 8), substr(d.bases, 9, 8)))",
            ),
        }
    }
}

/// Levels of lists above the lowest, of a file of a snapshot.
pub fn levels(snapshot: &Snapshot, path: &str) -> u8 {
    let file = snapshot.files.iter().find(|file| &file.path[..] == path.as_bytes()).unwrap();
    file.content().unwrap().1[0].content().unwrap().levels
}

/// The roles of the streams of a dump that is stored in canonical form, as the specification numbers them, and their levels.
pub fn canonical_streams(snapshot: &Snapshot, path: &str) -> Vec<(u64, u8)> {
    let file = snapshot.files.iter().find(|file| &file.path[..] == path.as_bytes()).unwrap();
    let part = file.content().unwrap().1.iter().find(|part| part.parameters.is_some());
    part.into_iter().flat_map(|part| part.streams.iter().map(|(role, stream)| (*role, stream.levels))).collect()
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

/// Lines that resemble each other, so that chunks of them are smaller together.
pub fn lines(length: usize, seed: u64) -> Vec<u8> {
    let line = |number: u64| format!("session:{seed}:{number} user {} was seen at the gate\n", number * 7919 % 97);
    (0..length as u64 / 30).flat_map(|number| line(number).into_bytes()).take(length).collect()
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
