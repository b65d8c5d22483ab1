//! Reading a pack: its table, its frames, and all of it against its name. Layout: format-spec/07-pack.md.

use rayon::prelude::*;

use super::error::Fault;
use super::keyring::{Keyring, check_hash};
use super::pack_writer::{FinishedPack, FrameBody, PackWriter};
use crate::compress::Decompressor;
use crate::crypto::seal::Sealer;
use crate::format::columns::from_columns;
use crate::format::frame::{BasePrefix, Method};
use crate::format::index::IndexedPack;
use crate::format::object::{Kind, Name};
use crate::format::pack::{ChunkRow, Footer, FrameRow, TRAILER, decode_trailer};
use crate::format::sealing::{FOOTER, HEADER, Header};
use crate::format::summary::Holds;
use crate::format::{Malformed, ObjectHash, Reader};

/// Opens frames of one pack.
pub struct PackReader<'k> {
    keyring: &'k Keyring,
    name: Name,
    header: Header,
    sealer: Sealer,
}

impl<'k> PackReader<'k> {
    /// A reader of a pack with this epoch and salt in its header.
    pub fn new(keyring: &'k Keyring, pack: ObjectHash, epoch: u32, salt: [u8; 32]) -> Result<PackReader<'k>, Fault> {
        let header = Header { kind: Kind::Pack, epoch, repository: keyring.repository(), salt };
        PackReader::of(keyring, Name::Pack(pack), header)
    }

    /// A reader of the pack whose first bytes are `head` (at least the header).
    pub fn from_head(keyring: &'k Keyring, pack: ObjectHash, head: &[u8]) -> Result<PackReader<'k>, Fault> {
        let (header, _) = Header::decode(head)?;
        header.check(&Name::Pack(pack), Some(keyring.repository()))?;
        PackReader::of(keyring, Name::Pack(pack), header)
    }

    fn of(keyring: &'k Keyring, name: Name, header: Header) -> Result<PackReader<'k>, Fault> {
        Ok(PackReader { keyring, name, header, sealer: keyring.sealer(&header)? })
    }

    /// The pack's table, from the sealed footer.
    pub fn footer(&self, sealed: &[u8], size: u64) -> Result<Footer, Fault> {
        let aad = self.header.aad(&self.name, FOOTER, sealed.len());
        let footer = Footer::decode(&self.sealer.open(&aad, sealed)?)?;
        footer.check_size(size, sealed.len() as u64)?;
        Ok(footer)
    }

    /// What a frame was sealed from: its chunks or deltas, compressed where its method says so.
    pub fn body(&self, ordinal: u32, sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        let aad = self.header.aad(&self.name, ordinal, sealed.len());
        Ok(self.sealer.open(&aad, sealed)?)
    }

    /// The plaintext of a sealed frame: decoded chunks, or the deltas of a delta frame. `length` is that of all of them.
    pub fn frame(&self, ordinal: u32, method: Method, sealed: &[u8], length: usize) -> Result<Vec<u8>, Fault> {
        let body = self.body(ordinal, sealed)?;
        match method {
            Method::Zstd | Method::Copies => Ok(Decompressor::default().whole(&body, length)?),
            Method::Columns => {
                let mut reader = Reader::new("frame of columns", &body);
                let columns = reader.varint_max("bytes of columns", length as u64)? as usize;
                let compressed = reader.take(reader.remaining())?;
                Ok(from_columns(&Decompressor::default().whole(compressed, columns)?, length)?)
            }
            Method::Plain if body.len() != length => {
                Err(Malformed::new("frame", format!("{} bytes instead of {length}", body.len())).into())
            }
            Method::Plain | Method::Delta => Ok(body),
        }
    }

    /// Decodes a frame and compares every chunk in it with its id. That a delta lacks its bases is told where nothing else is
    /// wrong.
    fn check_frame(&self, ordinal: u32, row: &FrameRow, sealed: &[u8], bases: &Bases<'_>) -> Result<(), Fault> {
        let plaintext = self.frame(ordinal, row.method, sealed, row.plaintext() as usize)?;
        let (mut rest, mut lacking) = (&plaintext[..], None);
        for chunk in &row.chunks {
            let stored = chunk.delta.as_ref().map_or(chunk.length, |delta| delta.length) as usize;
            let (bytes, after) =
                rest.split_at_checked(stored).ok_or_else(|| Malformed::new("frame", "it ends inside a chunk"))?;
            rest = after;
            match &chunk.delta {
                None => self.keyring.check_chunk(chunk.id, bytes)?,
                Some(delta) => match bases(row.method, chunk, &delta.bases, bytes) {
                    Ok(Some(plaintext)) => self.keyring.check_chunk(chunk.id, &plaintext)?,
                    Ok(None) => {}
                    Err(fault @ Fault::Bases(_)) => lacking = Some(fault),
                    Err(fault) => return Err(fault),
                },
            }
        }
        lacking.map_or(Ok(()), Err)
    }
}

/// Decodes a delta: the method of its frame, its chunk, the bases, the delta. `None`: these very bytes were decoded before,
/// to this chunk.
pub type Bases<'a> = dyn Fn(Method, &ChunkRow, &[BasePrefix], &[u8]) -> Result<Option<Vec<u8>>, Fault> + Sync + 'a;

/// Length of the sealed footer of a pack of `size` bytes, from its last bytes.
pub fn footer_length(trailer: &[u8], size: u64) -> Result<u32, Fault> {
    Ok(decode_trailer(trailer, size)?)
}

/// A whole pack checked the way a restore reads it: name, table, every frame opened and decoded, every chunk id
/// compared. Frames are checked on all cores. Memory: a decoded frame for each core.
pub fn check_pack(keyring: &Keyring, pack: ObjectHash, object: &[u8], bases: &Bases<'_>) -> Result<IndexedPack, Fault> {
    check_hash(&Name::Pack(pack), object)?;
    check_parts(keyring, pack, object, bases)
}

/// The same of a pack that was named a moment ago by the hash of these very bytes, which is not computed again: a byte
/// that has changed in memory since is found by opening, for all of them are bound to their place. The header is what
/// the keys follow from, frames and table are authentic or refused, and the trailer tells where the table begins, twice.
///
/// FRAME-4: nothing is stored that did not pass this.
pub fn check_parts(
    keyring: &Keyring,
    pack: ObjectHash,
    object: &[u8],
    bases: &Bases<'_>,
) -> Result<IndexedPack, Fault> {
    let parts = Parts::of(keyring, pack, object)?;
    let check = |(ordinal, row, sealed)| parts.reader.check_frame(ordinal, row, sealed, bases).err();
    let faults: Vec<Fault> = parts.frames().collect::<Vec<_>>().into_par_iter().filter_map(check).collect();
    // What a delta lacks may be the damage of a frame beside it: that one says what is wrong with this pack.
    if let Some(fault) = faults.into_iter().min_by_key(|fault| matches!(fault, Fault::Bases(_))) {
        return Err(fault);
    }
    let Header { epoch, salt, .. } = parts.reader.header;
    Ok(IndexedPack { pack, size: object.len() as u64, epoch, salt, footer: parts.footer })
}

/// A whole pack taken apart.
struct Parts<'k, 'o> {
    reader: PackReader<'k>,
    footer: Footer,
    /// The frames as they are sealed.
    sealed: Vec<&'o [u8]>,
}

impl<'k, 'o> Parts<'k, 'o> {
    fn of(keyring: &'k Keyring, pack: ObjectHash, object: &'o [u8]) -> Result<Self, Fault> {
        let reader = PackReader::from_head(keyring, pack, object)?;
        let missing = || Malformed::new("pack", "it is too short");
        let (rest, trailer) = object.split_last_chunk::<TRAILER>().ok_or_else(missing)?;
        let length = footer_length(trailer, object.len() as u64)? as usize;
        let (rest, sealed) = rest.split_at_checked(rest.len().wrapping_sub(length)).ok_or_else(missing)?;
        let footer = reader.footer(sealed, object.len() as u64)?;
        let mut frames = rest.get(HEADER..).ok_or_else(missing)?;
        let mut sealed = Vec::with_capacity(footer.frames.len());
        for row in &footer.frames {
            let (frame, after) = frames.split_at_checked(row.sealed as usize).ok_or_else(missing)?;
            sealed.push(frame);
            frames = after;
        }
        Ok(Parts { reader, footer, sealed })
    }

    /// Each frame: its number, its row of the table, its sealed bytes.
    fn frames(&self) -> impl Iterator<Item = (u32, &FrameRow, &'o [u8])> {
        (0u32..).zip(&self.footer.frames).zip(&self.sealed).map(|((ordinal, row), sealed)| (ordinal, row, *sealed))
    }
}

/// STORE-15: a pack that passed its check, sealed again with another salt, and so under another name. It is read back: each of its
/// frames is what the same frame of the first one is, and so needs no other check.
pub fn seal_again(
    keyring: &Keyring,
    pack: ObjectHash,
    object: &[u8],
    salt: [u8; 32],
) -> Result<(Vec<u8>, IndexedPack), Fault> {
    let (first, mut writer) = (Parts::of(keyring, pack, object)?, PackWriter::new(keyring, salt)?);
    for (ordinal, row, sealed) in first.frames() {
        let (method, bytes, chunks) = (row.method, first.reader.body(ordinal, sealed)?, row.chunks.clone());
        // What its chunks hold was counted with the first one.
        writer.append(FrameBody { method, bytes, chunks, holds: Holds::Opaque, proofs: Vec::new() });
    }
    let FinishedPack { bytes, indexed, .. } = writer.finish();
    let again = Parts::of(keyring, indexed.pack, &bytes)?;
    for ((ordinal, row, one), (_, other_row, other)) in first.frames().zip(again.frames()) {
        if row != other_row || first.reader.body(ordinal, one)? != again.reader.body(ordinal, other)? {
            return Err(Malformed::new("pack", "sealed again it is another").into());
        }
    }
    if again.footer != first.footer {
        return Err(Malformed::new("pack", "sealed again it has another table").into());
    }
    Ok((bytes, indexed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Compressor;
    use crate::format::Id16;
    use crate::format::keys::Bag;
    use crate::format::pack::DeltaRow;

    fn keyring() -> Keyring {
        let bag = Bag { chunk_id: [1; 32], key_hash: [2; 32], chunker: [3; 32], epochs: vec![[4; 32]] };
        Keyring::new(Id16([9; 16]), bag)
    }

    fn no_bases(_: Method, _: &ChunkRow, _: &[BasePrefix], _: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Err(Fault::Bases("none here".into()))
    }

    fn body(keyring: &Keyring, method: Method, chunks: &[&[u8]]) -> FrameBody {
        let plaintext = chunks.concat();
        let bytes = match method {
            Method::Zstd => Compressor::new(3).unwrap().whole(&plaintext).unwrap(),
            Method::Plain | Method::Delta | Method::Copies | Method::Columns => plaintext,
        };
        let rows = chunks.iter().map(|c| ChunkRow { id: keyring.chunk_id(c), length: c.len() as u32, delta: None });
        FrameBody { method, bytes, chunks: rows.collect(), holds: Holds::Opaque, proofs: Vec::new() }
    }

    /// FRAME-4, OBJ-2, PACK-1
    #[test]
    fn a_pack_passes_its_check_and_every_flipped_byte_is_found() {
        let keyring = keyring();
        let mut writer = PackWriter::new(&keyring, [5; 32]).unwrap_or_else(|_| panic!("a new pack"));
        writer.append(body(&keyring, Method::Plain, &[b"first", b"second"]));
        writer.append(body(&keyring, Method::Zstd, &[&[7; 4000], b"third"]));
        let pack = writer.finish();
        let check = |name, bytes: &[u8]| check_pack(&keyring, name, bytes, &no_bases);
        assert_eq!(check(pack.indexed.pack, &pack.bytes), Ok(pack.indexed.clone()));
        for place in 0..pack.bytes.len() {
            let mut flipped = pack.bytes.clone();
            flipped[place] ^= 1;
            assert_eq!(check(pack.indexed.pack, &flipped), Err(Fault::WrongHash));
            assert!(check_parts(&keyring, pack.indexed.pack, &flipped, &no_bases).is_err(), "byte {place}");
            let renamed = ObjectHash(blake3::hash(&flipped).into());
            assert!(check(renamed, &flipped).is_err(), "byte {place} under its own hash");
        }
        for cut in 0..pack.bytes.len() {
            let renamed = ObjectHash(blake3::hash(&pack.bytes[..cut]).into());
            assert!(check(renamed, &pack.bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    /// STORE-15
    #[test]
    fn a_pack_that_is_sealed_again_has_the_same_frames_under_another_name() {
        let keyring = keyring();
        let mut writer = PackWriter::new(&keyring, [5; 32]).unwrap_or_else(|_| panic!("a new pack"));
        writer.append(body(&keyring, Method::Plain, &[b"first", b"second"]));
        writer.append(body(&keyring, Method::Zstd, &[&[7; 4000], b"third"]));
        let first = writer.finish();
        let (bytes, again) = seal_again(&keyring, first.indexed.pack, &first.bytes, [6; 32]).unwrap();
        assert_eq!(check_pack(&keyring, again.pack, &bytes, &no_bases), Ok(again.clone()));
        assert_eq!((&again.footer, again.size), (&first.indexed.footer, first.indexed.size));
        assert!(again.pack != first.indexed.pack && again.salt != first.indexed.salt);
        let mut flipped = first.bytes.clone();
        flipped[HEADER] ^= 1;
        assert!(seal_again(&keyring, first.indexed.pack, &flipped, [6; 32]).is_err());
    }

    /// CHUNK-2
    #[test]
    fn a_frame_that_decodes_to_another_chunk_is_found() {
        let keyring = keyring();
        let mut writer = PackWriter::new(&keyring, [5; 32]).unwrap_or_else(|_| panic!("a new pack"));
        let mut wrong = body(&keyring, Method::Plain, &[b"first"]);
        wrong.chunks[0].id = keyring.chunk_id(b"other");
        writer.append(wrong);
        let pack = writer.finish();
        let found = check_pack(&keyring, pack.indexed.pack, &pack.bytes, &no_bases);
        assert_eq!(found, Err(Fault::WrongChunk(keyring.chunk_id(b"other"))));
    }

    /// CHUNK-2: frames are checked in any order.
    #[test]
    fn damage_of_a_pack_is_told_though_deltas_in_it_lack_their_bases() {
        let keyring = keyring();
        let lacking = |bytes: &[u8]| {
            let mut frame = body(&keyring, Method::Delta, &[bytes]);
            frame.chunks[0].delta = Some(DeltaRow { length: bytes.len() as u32, bases: vec![[1; 8]] });
            frame
        };
        for wrong_at in [0, 3, 6] {
            let mut writer = PackWriter::new(&keyring, [5; 32]).unwrap_or_else(|_| panic!("a new pack"));
            for number in 0..7_u8 {
                let mut frame = lacking(&[number; 9]);
                if number == wrong_at {
                    frame = body(&keyring, Method::Plain, &[b"first"]);
                    frame.chunks[0].id = keyring.chunk_id(b"other");
                }
                writer.append(frame);
            }
            let pack = writer.finish();
            for _ in 0..50 {
                let found = check_pack(&keyring, pack.indexed.pack, &pack.bytes, &no_bases);
                assert_eq!(found, Err(Fault::WrongChunk(keyring.chunk_id(b"other"))), "{wrong_at}");
            }
        }
    }
}
