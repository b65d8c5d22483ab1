//! The repository: keys, objects, packs, sessions, and the local catalog of what is in them.
//!
//! [`Repository`] opens one and reads and writes sealed objects; [`Session`] is a writer; [`ChunkReader`] and
//! [`fetch`](Repository::fetch) bring chunks back. What is on disk: format-spec/.

mod alarm;
mod ambient;
mod cache;
mod canonical;
mod catalog;
mod check;
mod chunk_reader;
mod condemned;
mod door;
mod drills;
mod epochs;
mod error;
mod fetch;
mod finality;
mod forgetting;
mod indexing;
mod intake;
mod keyring;
mod labelled;
mod list_writer;
mod lists;
mod looked_up;
mod losses;
mod notes;
mod objects;
mod opening;
mod pack_reader;
mod pack_writer;
mod places;
mod previous;
mod proving;
mod recalled;
mod refreshing;
mod repair;
mod reserve;
mod rosters;
mod rotation;
mod runs;
mod search;
mod seen_files;
mod session;
mod slots;
mod sqlite;
mod state;
mod stream;
mod stretches;
mod sweep;
mod timeline;
mod usage;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::chunker::{Chunker, Sizes};
use crate::crypto::keys::Key;
use crate::format::Id16;
use crate::format::config::{self, Config};
use crate::format::keys::Argon2Cost;
use crate::format::limits::SMALL_MAX;
use crate::format::object::SnapshotName;
use crate::format::object::{Kind, Name};
use crate::format::sealing::Header;
use crate::format::snapshot::Snapshot;
use crate::store::{Keeping, ObjectName, Rights, Service, Store, StoreError, Timing};

pub use alarm::Alarm;
pub use ambient::Ambient;
pub use canonical::{
    Change, DumpLookup, DumpStored, Earlier, LookedUp, NotStored, Parameters, SizeOf, TakeBytes, TakeChange,
    difference, sort_elements, store_dump,
};
pub use catalog::{
    Alone, ChunkPlace, DatasetUsage, ForgottenRecord, FormOf, Owned, PackTotals, SnapshotInfo, Span, Told, Usage,
};
pub use check::{CheckDepth, CheckReport, Damage, LostChunk, Reading};
pub use chunk_reader::ChunkReader;
pub use drills::DrillRecord;
pub use error::{Fault, RepositoryError, one_line};
pub use fetch::Want;
pub use forgetting::GRACE;
pub use intake::{Intake, IntakeOptions, Stored};
pub use labelled::{LabelledReader, LabelledWriter};
pub use notes::PackReads;
pub use recalled::recalled;
pub use repair::RepairReport;
pub use rotation::Rotation;
pub use seen_files::SeenFile;
pub use session::{Committed, Session};
pub use slots::{Credential, SlotInfo, SlotState};
pub use state::{promise_of, remember_promise};
pub use stream::StreamWriter;
pub use sweep::{StoredAgain, SweepOptions, SweepReport, Waiting, YoungToReseal};
pub use usage::Used;

use catalog::Catalog;
use keyring::Keyring;
use state::State;

/// Where this host keeps what it knows of repositories. `None`: in memory only.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Catalogs: a directory for each repository is made below it.
    pub cache: Option<PathBuf>,
    /// The state file.
    pub state: Option<PathBuf>,
    /// Where what does not fit in memory waits; by default where the caches are.
    pub scratch: Option<PathBuf>,
}

/// An opened repository.
pub struct Repository {
    store: Arc<dyn Store>,
    ambient: Ambient,
    credential: Credential,
    slot: Mutex<Id16>,
    config: Config,
    keyring: RwLock<Arc<Keyring>>,
    /// Held while the slots are read again: one derivation of a key at a time takes memory enough.
    unlocking: Mutex<()>,
    catalog: Mutex<Catalog>,
    places: Places,
    state: Mutex<State>,
    first_contact: bool,
    /// Whether `config` was read from the store, and not remembered.
    config_was_read: bool,
    /// Why this host keeps nothing of it, catalog and state, where a directory was named.
    unkept: Unkept,
    /// Whether the catalog was made anew once.
    catalog_replaced: AtomicBool,
    /// Whether each snapshot is read itself, whatever rosters tell.
    reads_all: AtomicBool,
}

/// Why a catalog or a state that was to be kept in a directory is kept in memory.
///
/// LOCAL-16: what is wrong with these directories costs time or memory of the past, never the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unkept {
    /// The catalog's reason.
    pub catalog: Option<String>,
    /// The state's.
    pub state: Option<String>,
}

/// A lock whose holder panicked still guards usable data: every writer leaves SQLite's transactions whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The store's name of an object.
fn object_name(name: &Name) -> ObjectName {
    name.to_string().parse().unwrap_or_else(|_| unreachable!("{name} is made of safe characters"))
}

/// An object's bytes. One that is not there, or larger than its kind may be, is damage that names it.
fn get_whole(store: &dyn Store, name: &Name, limit: u64) -> Result<Vec<u8>, RepositoryError> {
    match store.get(&object_name(name), limit) {
        Err(StoreError::NotFound { .. }) => Err(RepositoryError::damaged(name, Fault::Missing)),
        Err(StoreError::TooLarge { limit, .. }) => Err(RepositoryError::damaged(name, Fault::TooLarge { limit })),
        other => Ok(other?),
    }
}

impl Repository {
    /// The repository's id.
    pub fn id(&self) -> Id16 {
        self.config.repository
    }

    /// What was settled when it was created.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where this host keeps what it knows of repositories.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// How a person calls the place it is in.
    pub fn location(&self) -> String {
        self.store.location()
    }

    /// What is wrong with `config`, where it was not read when the repository was opened.
    fn inspect_config(&self) -> Result<Option<RepositoryError>, RepositoryError> {
        if self.config_was_read {
            return Ok(None);
        }
        match self.read_one(&Name::Config, SMALL_MAX, &|_, _, plaintext| Ok(Config::decode(&plaintext)?)) {
            Ok(config) if config == self.config => Ok(None),
            Ok(_) => Ok(Some(RepositoryError::damaged(Name::Config, Fault::WrongHash))),
            Err(error) if error.is_damage() => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    /// What the credentials of the service that keeps it may do, tried; `None` where no service does.
    pub fn try_rights(&self) -> Result<Option<Rights>, RepositoryError> {
        Ok(self.store.service().map(Service::try_rights).transpose()?)
    }

    /// What the service that keeps it was heard to keep of what is deleted.
    pub fn keeping(&self) -> Keeping {
        self.store.service().map(Service::keeping).unwrap_or_default()
    }

    /// Time, randomness and host.
    pub fn ambient(&self) -> &Ambient {
        &self.ambient
    }

    /// Whether this host has never seen this location before, and so trusts what it shows.
    pub fn is_first_contact(&self) -> bool {
        self.first_contact
    }

    /// Why this host keeps nothing of it where it should.
    pub fn unkept(&self) -> &Unkept {
        &self.unkept
    }

    /// Where this host keeps the catalog.
    pub(super) fn catalog_directory(&self) -> Option<PathBuf> {
        self.places.cache.as_ref().map(|cache| cache.join(self.id().to_string()))
    }

    fn keyring(&self) -> Arc<Keyring> {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// KEY-3: the keyring for an epoch; when it is unknown the slots are read again, once.
    fn keyring_for(&self, epoch: u32) -> Result<Arc<Keyring>, RepositoryError> {
        let known = || Some(self.keyring()).filter(|keyring| keyring.knows(epoch));
        if let Some(keyring) = known() {
            return Ok(keyring);
        }
        let _unlocking = lock(&self.unlocking);
        if let Some(keyring) = known() {
            return Ok(keyring);
        }
        let Some(unlocked) = slots::unlock(&*self.store, self.id(), &self.credential)? else {
            return Err(RepositoryError::WrongSecret { location: self.location() });
        };
        let fresh = Arc::new(Keyring::new(self.id(), unlocked.bag).in_force(unlocked.epoch, true));
        self.use_keys(unlocked.slot, &fresh);
        Ok(fresh)
    }

    fn use_keys(&self, slot: Id16, keyring: &Arc<Keyring>) {
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = keyring.clone();
        *lock(&self.slot) = slot;
    }

    /// The keyring, after another look at the slots where one of them names a later epoch.
    fn newest_keyring(&self) -> Result<Arc<Keyring>, RepositoryError> {
        self.keyring_for(slots::newest_named(&*self.store, self.id())?)
    }

    /// The epoch that seals new objects. Packs of an earlier one stay readable until they are written again.
    pub fn current_epoch(&self) -> u32 {
        self.keyring().epoch()
    }

    /// Kind and plaintext of an object of one part, from its bytes.
    fn open_object(&self, name: &Name, object: &[u8]) -> Result<(Kind, Vec<u8>), RepositoryError> {
        let epoch = Header::decode(object).map_or(0, |(header, _)| header.epoch);
        let keyring = self.keyring_for(epoch)?;
        keyring.open(name, object).map_err(|fault| RepositoryError::damaged(name, fault))
    }

    /// Kind and plaintext of an object of one part.
    fn get_object(&self, name: &Name, limit: u64) -> Result<(Kind, Vec<u8>), RepositoryError> {
        self.open_object(name, &get_whole(&*self.store, name, limit)?)
    }

    /// The snapshot of a name.
    pub fn snapshot(&self, name: &SnapshotName) -> Result<Snapshot, RepositoryError> {
        match self.read_snapshot(name)? {
            Some(snapshot) => Ok(snapshot),
            None => Err(RepositoryError::damaged(name, Fault::Missing)),
        }
    }

    /// How long the writers of its store wait.
    fn timing(&self) -> Timing {
        self.store.promises().timing
    }

    /// The chunker of file contents.
    fn file_chunker(&self) -> Chunker {
        let config::Sizes { min, mean, max } = self.config.files;
        let sizes = Sizes { min: min as usize, mean: mean as usize, max: max as usize };
        Chunker::new(Key::new(self.keyring().bag().chunker).expose(), sizes)
    }

    /// All slots.
    pub fn slots(&self) -> Result<Vec<SlotInfo>, RepositoryError> {
        let keyring = self.newest_keyring()?;
        slots::describe(&*self.store, &keyring, self.current_slot())
    }

    /// Adds a slot; it was read back and opened when this returns.
    pub fn add_slot(&self, credential: &Credential, label: &str, cost: Argon2Cost) -> Result<Id16, RepositoryError> {
        slots::add(&*self.store, &self.ambient, &*self.newest_keyring()?, credential, label, cost)
    }

    /// Removes a slot, unless it is the last.
    pub fn remove_slot(&self, id: Id16) -> Result<(), RepositoryError> {
        slots::remove(&*self.store, &*self.newest_keyring()?, id)
    }

    /// The slot the repository was opened with.
    pub fn current_slot(&self) -> Id16 {
        *lock(&self.slot)
    }
}
