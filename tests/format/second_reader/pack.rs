//! Packs and the tables of their chunks: format-spec/06-frames.md, 07-pack.md and 08-index.md.

use super::bytes::{Cursor, Outcome};
use super::limits::{CHUNK_MAX, FOOTER_MAX, FRAME_MAX, PACK_MAX};
use super::seal::{HEADER, Header, Keys, PACK, SEAL_OVERHEAD};

const TRAILER: u64 = 16;
const FOOTER_ORDINAL: u32 = 0xffff_ffff;

pub(super) const PLAIN: u8 = 0;
pub(super) const ZSTD: u8 = 1;
pub(super) const DELTA: u8 = 2;
pub(super) const COPIES: u8 = 3;
pub(super) const COLUMNS: u8 = 4;

/// A pack as its footer describes it.
#[derive(PartialEq)]
pub(super) struct Pack {
    pub(super) size: u64,
    pub(super) frames: Vec<Frame>,
}

/// One sealed part; `offset` counts from the start of the object, `stored` is the sum of what its chunks take in it: of their lengths, or
/// of those of their deltas.
#[derive(PartialEq)]
pub(super) struct Frame {
    pub(super) method: u8,
    pub(super) offset: u64,
    pub(super) sealed: u64,
    pub(super) stored: u64,
    pub(super) chunks: Vec<Chunk>,
}

/// One chunk of a frame; `offset` and `stored` are its place in the frame: of its plaintext or of its delta.
#[derive(PartialEq)]
pub(super) struct Chunk {
    pub(super) id: [u8; 16],
    pub(super) offset: u64,
    pub(super) stored: u64,
    pub(super) length: u64,
    pub(super) bases: Vec<[u8; 8]>,
}

impl Pack {
    /// Reads a footer's plaintext of a pack of `size` bytes whose sealed footer takes `footer` bytes.
    pub(super) fn read(plaintext: &[u8], size: u64, footer: u64) -> Outcome<Pack> {
        let mut cursor = Cursor::new(plaintext);
        let pack = Pack::take(&mut cursor, size, footer)?;
        cursor.finish()?;
        Ok(pack)
    }

    fn take(cursor: &mut Cursor<'_>, size: u64, footer: u64) -> Outcome<Pack> {
        // PACK-2
        if size > PACK_MAX || footer.saturating_sub(SEAL_OVERHEAD) > FOOTER_MAX {
            return Err(format!("a pack of {size} bytes with a footer of {footer}"));
        }
        let padding = cursor.varint()?;
        let mut frames = Vec::new();
        let mut end = HEADER;
        for _ in 0..cursor.varint()? {
            let frame = Frame::read(cursor, end)?;
            end = end.checked_add(frame.sealed).filter(|end| *end <= size).ok_or("frames lie beyond the pack")?;
            frames.push(frame);
        }
        // PACK-1
        let sum = [padding, footer, TRAILER].into_iter().try_fold(end, u64::checked_add);
        if sum != Some(size) {
            return Err(format!("frames, padding and footer do not fill a pack of {size} bytes"));
        }
        Ok(Pack { size, frames })
    }

    /// Reads the footer of a stored pack.
    pub(super) fn of_object(object: &[u8], keys: &Keys) -> Outcome<Pack> {
        let header = Header::read(object, &[PACK], Some(&keys.repository))?;
        let (rest, trailer) = object.split_last_chunk::<16>().ok_or("a pack without a trailer")?;
        let mut cursor = Cursor::new(trailer);
        let (length, magic, again) = (cursor.u32()?, cursor.array::<8>()?, cursor.u32()?);
        // PACK-3
        if &magic != b"rdkpfoot" || length != again {
            return Err("the trailer of a pack is damaged".into());
        }
        let start = rest.len().checked_sub(length as usize).ok_or("a footer longer than its pack")?;
        let plaintext = keys.open_part(&header, "", FOOTER_ORDINAL, &rest[start..])?;
        Pack::read(&plaintext, object.len() as u64, u64::from(length))
    }
}

impl Frame {
    fn read(cursor: &mut Cursor<'_>, offset: u64) -> Outcome<Frame> {
        let method = cursor.u8()?;
        // FRAME-3
        if ![PLAIN, ZSTD, DELTA, COPIES, COLUMNS].contains(&method) {
            return Err(format!("unknown frame method {method}"));
        }
        let sealed = cursor.varint()?;
        let count = cursor.varint()?;
        // PACK-6
        if count == 0 {
            return Err("a frame without chunks".into());
        }
        let (mut chunks, mut stored) = (Vec::new(), 0u64);
        for _ in 0..count {
            // PACK-5
            let chunk = Chunk::read(cursor, stored, method)?;
            stored = stored.checked_add(chunk.stored).ok_or("deltas beyond 64 bits")?;
            // FRAME-1
            if stored > FRAME_MAX {
                return Err(format!("a frame holds more than {FRAME_MAX} bytes"));
            }
            chunks.push(chunk);
        }
        let plaintext = sealed.checked_sub(SEAL_OVERHEAD).ok_or("a frame shorter than its seal")?;
        if plaintext == 0 || ([PLAIN, DELTA].contains(&method) && plaintext != stored) {
            return Err(format!("a frame of {plaintext} bytes holds chunks of {stored}"));
        }
        Ok(Frame { method, offset, sealed, stored, chunks })
    }
}

impl Chunk {
    fn read(cursor: &mut Cursor<'_>, offset: u64, method: u8) -> Outcome<Chunk> {
        let id = cursor.array()?;
        let length = cursor.varint()?;
        // PACK-6
        if !(1..=CHUNK_MAX).contains(&length) {
            return Err(format!("a chunk of {length} bytes"));
        }
        let (mut stored, mut bases) = (length, Vec::new());
        if [DELTA, COPIES].contains(&method) {
            let told = cursor.varint()?;
            stored = told / 2;
            if stored == 0 {
                return Err("a delta without bytes".into());
            }
            for _ in 0..=told % 2 {
                bases.push(cursor.array()?);
            }
        }
        Ok(Chunk { id, offset, stored, length, bases })
    }
}

/// Reads the plaintext of an index object.
pub(super) fn read_index(plaintext: &[u8]) -> Outcome<Vec<([u8; 32], Pack)>> {
    let mut cursor = Cursor::new(plaintext);
    cursor.array::<16>()?;
    let mut packs = Vec::new();
    for _ in 0..cursor.varint()? {
        let name = cursor.array()?;
        let size = cursor.varint()?;
        // Epoch and salt save other readers a look at the pack's header; this one reads the header.
        let (_epoch, _salt) = (cursor.varint()?, cursor.array::<32>()?);
        let footer = cursor.varint()?;
        let sealed = footer.checked_add(SEAL_OVERHEAD).ok_or("a footer above 64 bits")?;
        packs.push((name, Pack::read(cursor.take(footer)?, size, sealed)?));
    }
    cursor.finish()?;
    Ok(packs)
}
