//! Filling one pack: frames are sealed as they come, the table last. Layout: format-spec/07-pack.md.

use std::collections::HashMap;

use super::error::Fault;
use super::keyring::Keyring;
use crate::crypto::seal::Sealer;
use crate::format::frame::Method;
use crate::format::index::IndexedPack;
use crate::format::object::{Kind, Name};
use crate::format::pack::{ChunkRow, Footer, FrameRow, encode_trailer};
use crate::format::sealing::{FOOTER, Header, SEAL_OVERHEAD};
use crate::format::summary::Holds;
use crate::format::{ChunkId, ObjectHash};

/// Writers close a pack when it has this many bytes.
pub const PACK_TARGET: usize = 16 << 20;

/// Room for a pack's last frame and its table, above the target.
const PACK_SLACK: usize = 2 << 20;

/// A frame ready to be sealed.
pub struct FrameBody {
    /// How `bytes` hold the chunks.
    pub method: Method,
    /// Plaintext of the sealed part.
    pub bytes: Vec<u8>,
    /// The chunks in it.
    pub chunks: Vec<ChunkRow>,
    /// What they hold.
    pub holds: Holds,
    /// Of deltas: the hash of each, which was decoded to its chunk by whoever made it.
    pub proofs: Vec<DeltaHash>,
}

/// BLAKE3 of a delta.
pub type DeltaHash = [u8; 32];

/// A pack being filled. Dropped without `finish` it stores nothing. Memory: the pack.
pub struct PackWriter {
    header: Header,
    sealer: Sealer,
    bytes: Vec<u8>,
    footer: Footer,
    footer_len: usize,
    proofs: HashMap<ChunkId, DeltaHash>,
}

/// Most bytes a frame and a chunk take in the table (id and length; of a delta its length and two bases more).
const FRAME_ROW: usize = 11;
const CHUNK_ROW: usize = 35;
const DELTA_ROW: usize = 63;

/// A pack with its name, ready to be stored.
pub struct FinishedPack {
    /// The object.
    pub bytes: Vec<u8>,
    /// Its name, size and table.
    pub indexed: IndexedPack,
    /// The hashes of the deltas in it that were decoded to their chunks.
    pub proofs: HashMap<ChunkId, DeltaHash>,
}

impl PackWriter {
    /// An empty pack with a salt of its own.
    ///
    /// SEAL-7: the salt is drawn for this writer, which `finish` consumes.
    pub fn new(keyring: &Keyring, salt: [u8; 32]) -> Result<PackWriter, Fault> {
        PackWriter::within(keyring, salt, Vec::new())
    }

    /// The same in memory that another pack was in.
    pub fn within(keyring: &Keyring, salt: [u8; 32], mut bytes: Vec<u8>) -> Result<PackWriter, Fault> {
        let header = keyring.header(Kind::Pack, salt);
        bytes.clear();
        bytes.reserve_exact(PACK_TARGET + PACK_SLACK);
        bytes.extend_from_slice(&header.encode());
        let (sealer, footer) = (keyring.sealer(&header)?, Footer::default());
        Ok(PackWriter { sealer, header, bytes, footer, footer_len: 0, proofs: HashMap::new() })
    }

    /// Seals a frame behind the others.
    pub fn append(&mut self, frame: FrameBody) {
        let sealed = frame.bytes.len() + SEAL_OVERHEAD;
        let aad = self.header.aad(&self.name_for_aad(), self.footer.frames.len() as u32, sealed);
        self.sealer.seal(Some(self.footer.frames.len() as u32), &aad, &frame.bytes, &mut self.bytes);
        let row = if frame.method.has_deltas() { DELTA_ROW } else { CHUNK_ROW };
        self.footer_len += FRAME_ROW + row * frame.chunks.len();
        self.proofs.extend(frame.chunks.iter().map(|chunk| chunk.id).zip(frame.proofs));
        self.footer.frames.push(FrameRow { method: frame.method, sealed: sealed as u32, chunks: frame.chunks });
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes the table will have at most.
    pub fn footer_len(&self) -> usize {
        self.footer_len
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.footer.frames.is_empty()
    }

    /// Seals the table and names the pack.
    pub fn finish(mut self) -> FinishedPack {
        let footer = self.footer.encode();
        let sealed = footer.len() + SEAL_OVERHEAD;
        let aad = self.header.aad(&self.name_for_aad(), FOOTER, sealed);
        self.sealer.seal(Some(FOOTER), &aad, &footer, &mut self.bytes);
        self.bytes.extend_from_slice(&encode_trailer(sealed as u32));
        let mut hasher = blake3::Hasher::new();
        let pack = ObjectHash(hasher.update_rayon(&self.bytes).finalize().into());
        let Header { epoch, salt, .. } = self.header;
        let indexed = IndexedPack { pack, size: self.bytes.len() as u64, epoch, salt, footer: self.footer };
        FinishedPack { bytes: self.bytes, indexed, proofs: self.proofs }
    }

    /// A pack's name follows from its bytes and is not part of its AAD.
    fn name_for_aad(&self) -> Name {
        Name::Pack(ObjectHash([0; 32]))
    }
}
