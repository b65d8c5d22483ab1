//! Putting sealed objects under names of their own.

use bytes::Bytes;

use super::error::RepositoryError;
use super::{Repository, object_name};
use crate::format::object::{Kind, Name};
use crate::store::{Store, StoreError};

/// Stores bytes under a name that nobody else has reason to use. Refused, it looks what is there: own bytes are an own put
/// whose first answer was lost, so that the store client repeated it.
pub(super) fn put_own(store: &dyn Store, name: &Name, bytes: Vec<u8>) -> Result<(), StoreError> {
    let (at, bytes) = (object_name(name), Bytes::from(bytes));
    match store.put_new(&at, bytes.clone()) {
        Err(refused @ StoreError::Exists { .. }) => match store.get(&at, bytes.len() as u64) {
            Ok(found) if found == bytes => Ok(()),
            Ok(_) | Err(StoreError::TooLarge { .. }) => Err(refused),
            Err(error) => Err(error),
        },
        other => other,
    }
}

impl Repository {
    /// Seals the body of an object and stores it, as [`put_own`] does.
    pub(super) fn put_sealed(&self, name: &Name, kind: Kind, body: &[u8]) -> Result<(), RepositoryError> {
        let sealed = self.keyring().seal(name, kind, self.ambient.random(), body);
        Ok(put_own(&*self.store, name, sealed)?)
    }
}
