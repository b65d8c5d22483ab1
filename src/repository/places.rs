//! What a pack has at the places that the catalog tells: bytes of it, a frame, and how damage there is told.

use super::catalog::ChunkPlace;
use super::error::{Fault, RepositoryError};
use super::pack_reader::PackReader;
use super::{Repository, object_name};
use crate::format::limits::FRAME_MAX;
use crate::format::object::Name;
use crate::format::{Malformed, ObjectHash};
use crate::store::StoreError;

/// A frame: its pack, and its number there.
pub(super) type FrameKey = (ObjectHash, u32);

impl ChunkPlace {
    /// The frame it is in.
    pub(super) fn frame_key(&self) -> FrameKey {
        (self.pack, self.frame)
    }

    /// Bytes its frame takes in a cache.
    pub(super) fn kept(&self) -> usize {
        self.frame_plaintext as usize
    }

    /// Damage at this place, naming pack, offset and chunk.
    pub(super) fn fault(&self, fault: impl Into<Fault>) -> RepositoryError {
        let ChunkPlace { id, frame_offset, .. } = self;
        let pack = Name::Pack(self.pack);
        RepositoryError::damaged(format!("chunk {id} in {pack} at {frame_offset}"), fault)
    }
}

impl Repository {
    /// Bytes of a pack. A pack that is gone or too short is damage that names it.
    pub(super) fn read_pack(&self, pack: ObjectHash, offset: u64, length: u64) -> Result<Vec<u8>, RepositoryError> {
        let name = Name::Pack(pack);
        match self.store.get_range(&object_name(&name), offset, length) {
            Err(StoreError::NotFound { .. }) => Err(RepositoryError::damaged(name, Fault::Missing)),
            Err(StoreError::Range { .. }) => {
                let why = format!("it ends before byte {}", offset + length);
                Err(RepositoryError::damaged(name, Malformed::new("pack", why)))
            }
            other => Ok(other?),
        }
    }

    /// The plaintext of the sealed frame a chunk is in.
    pub(super) fn open_frame(&self, place: &ChunkPlace, sealed: &[u8]) -> Result<Vec<u8>, RepositoryError> {
        if u64::from(place.frame_plaintext) > FRAME_MAX {
            return Err(place.fault(Malformed::new("frame", "above FRAME_MAX")));
        }
        let keyring = self.keyring_for(place.epoch)?;
        PackReader::new(&keyring, place.pack, place.epoch, place.salt)
            .and_then(|reader| reader.frame(place.frame, place.method, sealed, place.frame_plaintext as usize))
            .map_err(|fault| place.fault(fault))
    }
}
