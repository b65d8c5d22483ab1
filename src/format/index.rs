//! An index object repeats the footers of many packs. Layout: format-spec/08-index.md.

use super::ids::{Id16, ObjectHash};
use super::limits::{FOOTER_MAX, PACK_MAX};
use super::pack::Footer;
use super::{Malformed, Reader, put_varint};

/// Fewest bytes a pack takes in an index object; bounds what a count can claim.
const PACK_ROW_LEAST: u64 = 67;

/// One pack in an index object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// The pack's name.
    pub pack: ObjectHash,
    /// Bytes of the pack object.
    pub size: u64,
    /// Seal epoch of its header.
    pub epoch: u32,
    /// Salt of its header: a frame can be opened without reading the header first.
    pub salt: [u8; 32],
    /// Its table.
    pub footer: Footer,
}

/// Packs of a session.
///
/// INDEX-2: nothing is here that the packs' own headers and footers do not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The session that wrote it.
    pub session: Id16,
    /// The packs.
    pub packs: Vec<IndexedPack>,
}

impl Index {
    /// The plaintext of the index object.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.session.0.to_vec();
        put_varint(&mut out, self.packs.len() as u64);
        for pack in &self.packs {
            let footer = pack.footer.encode();
            out.extend_from_slice(&pack.pack.0);
            put_varint(&mut out, pack.size);
            put_varint(&mut out, u64::from(pack.epoch));
            out.extend_from_slice(&pack.salt);
            put_varint(&mut out, footer.len() as u64);
            out.extend_from_slice(&footer);
        }
        out
    }

    /// The same, read back and checked.
    pub fn decode(bytes: &[u8]) -> Result<Index, Malformed> {
        let mut reader = Reader::new("index", bytes);
        let session = Id16(reader.array()?);
        let count = reader.varint_max("number of packs", reader.remaining() as u64 / PACK_ROW_LEAST)?;
        let mut packs = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let pack = ObjectHash(reader.array()?);
            let size = reader.varint_max("size of a pack", PACK_MAX)?;
            let epoch = reader.varint_max("seal epoch", u64::from(u32::MAX))? as u32;
            let salt = reader.array()?;
            let length = reader.varint_max("length of a footer", FOOTER_MAX)?;
            let footer = Footer::decode(reader.take(length as usize)?)?;
            packs.push(IndexedPack { pack, size, epoch, salt, footer });
        }
        reader.finish()?;
        Ok(Index { session, packs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::Method;
    use crate::format::ids::ChunkId;
    use crate::format::pack::{ChunkRow, FrameRow};

    /// INDEX-2, CONV-3
    #[test]
    fn an_index_comes_back_as_written_and_every_cut_is_refused() {
        let chunks = vec![ChunkRow { id: ChunkId([1; 16]), length: 5, delta: None }];
        let footer = Footer { padding: 0, frames: vec![FrameRow { method: Method::Plain, sealed: 45, chunks }] };
        let pack = IndexedPack { pack: ObjectHash([2; 32]), size: 999, epoch: 300, salt: [4; 32], footer };
        let index = Index { session: Id16([3; 16]), packs: vec![pack.clone(), pack] };
        let bytes = index.encode();
        assert_eq!(Index::decode(&bytes), Ok(index));
        for cut in 0..bytes.len() {
            assert!(Index::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
