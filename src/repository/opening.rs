//! Making a repository, and opening one: what is read and remembered before anything else can be done with it.
//! Rules: format-spec/02-objects.md, 03-keys.md, 14-local.md.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::ambient::Ambient;
use super::catalog::Catalog;
use super::error::{Fault, RepositoryError, one_line};
use super::keyring::Keyring;
use super::slots::{self, Credential};
use super::state::State;
use super::{Places, Repository, Unkept, door, get_whole, lock, objects};
use crate::format::Id16;
use crate::format::config::{Config, Sizes};
use crate::format::keys::{Argon2Cost, Bag};
use crate::format::limits::SMALL_MAX;
use crate::format::object::{Kind, Name};
use crate::format::sealing::Header;
use crate::store::{Store, StoreError};

impl Repository {
    /// Makes a repository in an empty store, with one slot, whose files are cut at the usual sizes.
    pub fn create(
        store: Arc<dyn Store>,
        credential: Credential,
        label: &str,
        cost: Argon2Cost,
        ambient: Ambient,
        places: Places,
    ) -> Result<Repository, RepositoryError> {
        Repository::create_with(store, credential, label, cost, ambient, places, (Sizes::FILES, Sizes::BUCKETS))
    }

    /// Makes one whose files, and buckets of dumps' records, are cut at other sizes: `config` says which, and every writer goes by them.
    pub fn create_with(
        store: Arc<dyn Store>,
        credential: Credential,
        label: &str,
        cost: Argon2Cost,
        ambient: Ambient,
        places: Places,
        (files, buckets): (Sizes, Sizes),
    ) -> Result<Repository, RepositoryError> {
        let sizes = files.checked().and_then(|files| Ok((files, buckets.in_order()?)));
        let (files, buckets) = sizes.map_err(|malformed| RepositoryError::Limit(malformed.to_string()))?;
        let location = store.location();
        // Slots alone are what a killed `init` leaves.
        match get_config(&*store) {
            Ok(None) => {}
            Err(error) if !error.is_damage() => return Err(error),
            Ok(Some(_)) | Err(_) => return Err(RepositoryError::AlreadyThere { location }),
        }
        let config = Config {
            repository: ambient.id(),
            created: ambient.now(),
            files,
            buckets,
            made_by: env!("CARGO_PKG_VERSION").into(),
        };
        let bag = Bag {
            chunk_id: ambient.random(),
            key_hash: ambient.random(),
            chunker: ambient.random(),
            epochs: vec![ambient.random()],
        };
        let keyring = Keyring::new(config.repository, bag);
        // The slot first: a config whose key nobody holds would be a repository that cannot be opened.
        let slot = slots::add(&*store, &ambient, &keyring, &credential, label, cost)?;
        let sealed = keyring.seal(&Name::Config, Kind::Config, ambient.random(), &config.encode());
        match objects::put_own(&*store, &Name::Config, sealed) {
            Err(StoreError::Exists { .. }) => {
                // It opens nothing, and would look like a damaged one of the repository that is there.
                let _ = slots::delete(&*store, slot);
                return Err(RepositoryError::AlreadyThere { location });
            }
            other => other?,
        }
        slots::clear(&*store, config.repository, slot);
        let repository = Repository::assemble(store, ambient, credential, slot, config, keyring, places)?;
        // It is made: what this host fails to note is no failure of that.
        let remembered = lock(&repository.state).remember_location(&location, repository.id());
        let why = remembered.err().map(|error| one_line(&error));
        let unkept = Unkept { state: repository.unkept.state.clone().or(why), ..repository.unkept.clone() };
        Ok(Repository { unkept, ..repository })
    }

    /// Whether a store holds a repository, without opening it: for asking nobody for a password in vain.
    pub fn is_in(store: &dyn Store) -> Result<bool, RepositoryError> {
        Ok(get_config(store)?.is_some())
    }

    /// Opens a repository with a password or key file.
    ///
    /// `accept`: the id of a repository the user expects, where this host remembers another one at the location.
    pub fn open(
        store: Arc<dyn Store>,
        credential: Credential,
        ambient: Ambient,
        places: Places,
        accept: Option<Id16>,
    ) -> Result<Repository, RepositoryError> {
        let location = store.location();
        let remembered = door::remembered(&*store, &ambient, &places, &credential)?;
        let is_remembered = remembered.is_some();
        let (object, unlocked) = match remembered {
            Some(opened) => opened,
            None => Repository::unlock(&*store, &credential)?,
        };
        let found = id_in(&object)?;
        let door = door::to_remember(&*store, &ambient, &object, &unlocked).filter(|_| !is_remembered);
        let keyring = Keyring::new(found, unlocked.bag).in_force(unlocked.epoch, false);
        let of_config = |fault: Fault| RepositoryError::damaged(Name::Config, fault);
        let (_, plaintext) = keyring.open(&Name::Config, &object).map_err(of_config)?;
        if let Some(made_by) = Config::of_other_draft(&plaintext) {
            return Err(RepositoryError::OtherDraft { location, made_by });
        }
        let config = Config::decode(&plaintext).map_err(|malformed| of_config(malformed.into()))?;
        let repository = Repository::assemble(store, ambient, credential, unlocked.slot, config, keyring, places)?;
        let repository = repository.recognise(&location, found, accept)?;
        if let Some(door) = door {
            // What cannot be written down is read again the next time.
            let _ = lock(&repository.state).remember_door(&location, &door);
        }
        Ok(Repository { config_was_read: !is_remembered, ..repository })
    }

    /// `config`, and what the slot that a credential fits opens.
    fn unlock(store: &dyn Store, credential: &Credential) -> Result<(Vec<u8>, slots::Unlocked), RepositoryError> {
        let location = store.location();
        let config = get_config(store)?.ok_or_else(|| RepositoryError::NoRepository { location: location.clone() })?;
        let unlocked = slots::unlock(store, id_in(&config)?, credential)?;
        Ok((config, unlocked.ok_or(RepositoryError::WrongSecret { location })?))
    }

    fn assemble(
        store: Arc<dyn Store>,
        ambient: Ambient,
        credential: Credential,
        slot: Id16,
        config: Config,
        keyring: Keyring,
        places: Places,
    ) -> Result<Repository, RepositoryError> {
        let directory = places.cache.as_ref().map(|cache| cache.join(config.repository.to_string()));
        let mut unkept = Unkept::default();
        let catalog = Mutex::new(match Catalog::open(directory.as_deref(), config.repository) {
            Ok(catalog) => catalog,
            Err(error) => {
                unkept.catalog = Some(one_line(&error));
                Catalog::private(config.repository)?
            }
        });
        let state = Mutex::new(match State::open(places.state.as_deref()) {
            Ok(state) => state,
            Err(error) => {
                unkept.state = Some(one_line(&error));
                State::open(None)?
            }
        });
        let (keyring, slot) = (RwLock::new(Arc::new(keyring)), Mutex::new(slot));
        Ok(Repository {
            store,
            ambient,
            credential,
            slot,
            config,
            keyring,
            unlocking: Mutex::default(),
            catalog,
            places,
            state,
            first_contact: false,
            config_was_read: true,
            unkept,
            catalog_replaced: AtomicBool::new(false),
            reads_all: AtomicBool::new(false),
        })
    }

    /// LOCAL-6: another repository than the one remembered for a location is not used without a word.
    fn recognise(mut self, location: &str, found: Id16, accept: Option<Id16>) -> Result<Repository, RepositoryError> {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let remembered = state.repository_at(location)?;
        match remembered {
            Some(expected) if expected != found && accept != Some(found) => {
                return Err(RepositoryError::OtherRepository { location: location.into(), expected, found });
            }
            Some(expected) if expected == found => {}
            _ => {
                let why = state.remember_location(location, found).err().map(|error| one_line(&error));
                self.unkept.state = self.unkept.state.take().or(why);
            }
        }
        self.first_contact = remembered.is_none();
        Ok(self)
    }
}

/// The bytes of `config`; `None` where no repository is. Packs or snapshots without a config are one in need.
fn get_config(store: &dyn Store) -> Result<Option<Vec<u8>>, RepositoryError> {
    let used = |prefix| store.entries(prefix).map(|found| !found.is_empty());
    match get_whole(store, &Name::Config, SMALL_MAX) {
        Err(RepositoryError::Damaged { source: Fault::Missing, .. }) if !used("packs/")? && !used("snapshots/")? => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// The id of the repository that a `config` is of.
fn id_in(config: &[u8]) -> Result<Id16, RepositoryError> {
    Header::decode(config)
        .and_then(|(header, _)| header.check(&Name::Config, None).map(|()| header.repository))
        .map_err(|malformed| RepositoryError::damaged(Name::Config, malformed))
}
