//! Putting index objects. Layout: format-spec/08-index.md.

use super::error::RepositoryError;
use super::{Repository, object_name};
use crate::format::index::{Index, IndexedPack};
use crate::format::object::{Kind, Name};
use crate::format::{Id16, ObjectHash};

/// An index object that was put.
pub(super) struct PutIndex {
    /// Its object name.
    pub name: Name,
    /// What it says.
    pub index: Index,
    /// Its bytes.
    pub size: u64,
}

impl Repository {
    /// Puts an index object that names packs; nothing for none. It is opened again before.
    ///
    /// INDEX-1: the caller has stored them.
    pub(super) fn put_index(
        &self,
        session: Id16,
        packs: Vec<IndexedPack>,
    ) -> Result<Option<PutIndex>, RepositoryError> {
        if packs.is_empty() {
            return Ok(None);
        }
        let (keyring, index) = (self.keyring(), Index { session, packs });
        // The name is the hash of the bytes and no part of what is sealed.
        let unnamed = Name::Index(ObjectHash([0; 32]));
        let sealed = keyring.seal(&unnamed, Kind::Index, self.ambient.random(), &index.encode());
        let name = Name::Index(ObjectHash(blake3::hash(&sealed).into()));
        keyring.open(&name, &sealed).map_err(|fault| RepositoryError::damaged(name, fault))?;
        let size = sealed.len() as u64;
        self.store.put(&object_name(&name), sealed.into())?;
        Ok(Some(PutIndex { name, index, size }))
    }
}
