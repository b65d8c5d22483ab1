//! The opened bag of a repository: seals and opens whole objects. Rules: format-spec/03-keys.md, 04-sealing.md.

use super::error::Fault;
use crate::crypto::keys::{self, Key};
use crate::crypto::seal::Sealer;
use crate::format::ids::DatasetTag;
use crate::format::keys::Bag;
use crate::format::object::{Kind, Name};
use crate::format::sealing::{HEADER, Header, SEAL_OVERHEAD, WHOLE};
use crate::format::snapshot::FINAL_HASH;
use crate::format::{ChunkId, Id16, Malformed};

/// Every secret of a repository, ready for use.
pub struct Keyring {
    repository: Id16,
    bag: Bag,
    chunk_id: Key,
    epoch: u32,
    known: u32,
}

impl Keyring {
    /// The keyring of a repository's bag, whose last epoch is in force.
    pub fn new(repository: Id16, bag: Bag) -> Keyring {
        let (chunk_id, last) = (Key::new(bag.chunk_id), bag.last());
        Keyring { repository, bag, chunk_id, epoch: last, known: last }
    }

    /// The same where an earlier epoch is in force: the later ones are taken for unknown, until a second look at the
    /// slots has shown no others.
    pub fn in_force(self, epoch: u32, is_second_look: bool) -> Keyring {
        let known = if is_second_look { self.bag.last() } else { epoch };
        Keyring { epoch, known, ..self }
    }

    /// The repository it belongs to.
    pub fn repository(&self) -> Id16 {
        self.repository
    }

    /// The bag, to be wrapped for another slot.
    pub fn bag(&self) -> &Bag {
        &self.bag
    }

    /// The id of a chunk.
    pub fn chunk_id(&self, plaintext: &[u8]) -> ChunkId {
        ChunkId(keys::chunk_id(&self.chunk_id, plaintext))
    }

    /// CHUNK-2: whether these bytes are the chunk they should be.
    pub fn check_chunk(&self, id: ChunkId, plaintext: &[u8]) -> Result<(), Fault> {
        match self.chunk_id(plaintext) == id {
            true => Ok(()),
            false => Err(Fault::WrongChunk(id)),
        }
    }

    /// What stands for a dataset in object names.
    pub fn tag(&self, dataset: &str) -> DatasetTag {
        DatasetTag(keys::dataset_tag(&self.chunk_id, dataset))
    }

    /// SNAP-7: the tag in a snapshot's name is that of its dataset.
    pub fn check_tag(&self, tag: DatasetTag, dataset: &str) -> Result<(), Fault> {
        match self.tag(dataset) == tag {
            true => Ok(()),
            false => Err(Malformed::new("snapshot", "its dataset does not belong to its name").into()),
        }
    }

    /// The epoch in force, which seals new objects.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether an epoch is known.
    pub fn knows(&self, epoch: u32) -> bool {
        epoch <= self.known
    }

    /// The header of a new object, sealed by the newest epoch.
    ///
    /// OBJ-4: config alone stays with epoch 0, so that any holder of a bag can read it.
    pub fn header(&self, kind: Kind, salt: [u8; 32]) -> Header {
        let epoch = match kind {
            Kind::Config => 0,
            // It tells whoever has no secret of the slot what its bag knows (KEY-14 in format-spec).
            Kind::Slot => self.bag.last(),
            _ => self.epoch,
        };
        Header { kind, epoch, repository: self.repository, salt }
    }

    /// The sealer of an object.
    pub fn sealer(&self, header: &Header) -> Result<Sealer, Fault> {
        let secret = self.bag.epochs.get(header.epoch as usize).ok_or(Fault::UnknownEpoch(header.epoch))?;
        Ok(Sealer::new(&keys::kind_key(secret, header.kind.name()), &header.salt))
    }

    /// SEAL-6: an object of one part; below `snapshots/` with the hash of its bytes at the end.
    pub fn seal(&self, name: &Name, kind: Kind, salt: [u8; 32], plaintext: &[u8]) -> Vec<u8> {
        let header = self.header(kind, salt);
        let sealer = self.sealer(&header).unwrap_or_else(|_| unreachable!("the bag has its own newest epoch"));
        let mut object = Vec::with_capacity(HEADER + plaintext.len() + SEAL_OVERHEAD + FINAL_HASH);
        object.extend_from_slice(&header.encode());
        let aad = header.aad(name, WHOLE, plaintext.len() + SEAL_OVERHEAD);
        sealer.seal(Some(WHOLE), &aad, plaintext, &mut object);
        if matches!(name, Name::Snapshot(_)) {
            let hash = blake3::hash(&object);
            object.extend_from_slice(hash.as_bytes());
        }
        object
    }

    /// Kind and plaintext of an object of one part.
    pub fn open(&self, name: &Name, object: &[u8]) -> Result<(Kind, Vec<u8>), Fault> {
        let object = check_hash(name, object)?;
        let (header, sealed) = Header::decode(object)?;
        header.check(name, Some(self.repository))?;
        let aad = header.aad(name, WHOLE, sealed.len());
        Ok((header.kind, self.sealer(&header)?.open(&aad, sealed)?))
    }
}

/// OBJ-2: packs and index objects are named after their bytes. SNAP-1: objects below `snapshots/` end in the hash of
/// what stands before it. The bytes without that hash.
pub(super) fn check_hash<'a>(name: &Name, object: &'a [u8]) -> Result<&'a [u8], Fault> {
    match name {
        Name::Pack(hash) | Name::Index(hash) if *blake3::hash(object).as_bytes() != hash.0 => Err(Fault::WrongHash),
        Name::Snapshot(_) => {
            let (body, hash) = object.split_last_chunk::<FINAL_HASH>().ok_or(Fault::WrongHash)?;
            (blake3::hash(body).as_bytes() == hash).then_some(body).ok_or(Fault::WrongHash)
        }
        _ => Ok(object),
    }
}
