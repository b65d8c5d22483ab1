//! A pack is one stored object holding many sealed frames and, last, a sealed table of them.
//! Layout: format-spec/07-pack.md.

use super::frame::{BasePrefix, Method};
use super::ids::ChunkId;
use super::limits::{CHUNK_MAX, FOOTER_MAX, FRAME_MAX, PACK_MAX};
use super::sealing::{HEADER, SEAL_OVERHEAD};
use super::{Malformed, Reader, put_varint};

/// Bytes behind the footer.
pub const TRAILER: usize = 16;
const TRAILER_MAGIC: &[u8; 8] = b"rdkpfoot";
/// Fewest bytes a chunk takes in a table; bounds what a count can claim.
const CHUNK_ROW_LEAST: u64 = 17;

/// One chunk of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRow {
    /// Its id.
    pub id: ChunkId,
    /// Bytes of its plaintext.
    pub length: u32,
    /// In delta frames: the delta.
    pub delta: Option<DeltaRow>,
}

/// How a delta is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaRow {
    /// Bytes of the delta.
    pub length: u32,
    /// One or two bases, in order.
    ///
    /// DELTA-4: what they name was stored before this delta.
    pub bases: Vec<BasePrefix>,
}

/// One frame of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameRow {
    /// How its chunks are stored.
    pub method: Method,
    /// Bytes of the sealed part.
    pub sealed: u32,
    /// Its chunks, in order.
    pub chunks: Vec<ChunkRow>,
}

impl FrameRow {
    /// Bytes of the frame once it is opened and decompressed: of its chunks, or of its deltas.
    pub fn plaintext(&self) -> u64 {
        let bytes_of = |chunk: &ChunkRow| chunk.delta.as_ref().map_or(chunk.length, |delta| delta.length);
        self.chunks.iter().map(|chunk| u64::from(bytes_of(chunk))).sum()
    }
}

/// The table of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footer {
    /// Bytes between the last frame and the footer (PACK-4).
    pub padding: u64,
    /// Frames, in order.
    pub frames: Vec<FrameRow>,
}

impl Footer {
    /// The footer's plaintext.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.padding);
        put_varint(&mut out, self.frames.len() as u64);
        for frame in &self.frames {
            out.push(frame.method as u8);
            put_varint(&mut out, u64::from(frame.sealed));
            put_varint(&mut out, frame.chunks.len() as u64);
            for chunk in &frame.chunks {
                encode_chunk(&mut out, chunk);
            }
        }
        out
    }

    /// The same, read back and checked.
    ///
    /// PACK-5: offsets are not stored; they follow from the lengths.
    pub fn decode(bytes: &[u8]) -> Result<Footer, Malformed> {
        let mut reader = Reader::new("footer", bytes);
        if bytes.len() as u64 > FOOTER_MAX {
            return Err(reader.malformed("longer than FOOTER_MAX"));
        }
        let padding = reader.varint_max("padding", PACK_MAX)?;
        let count = reader.varint_max("number of frames", reader.remaining() as u64 / CHUNK_ROW_LEAST)?;
        let mut frames = Vec::with_capacity(count as usize);
        for _ in 0..count {
            frames.push(decode_frame(&mut reader)?);
        }
        reader.finish()?;
        Ok(Footer { padding, frames })
    }

    /// Offset of each frame in the pack.
    pub fn frame_offsets(&self) -> impl Iterator<Item = u64> + '_ {
        self.frames.iter().scan(HEADER as u64, |next, frame| {
            let offset = *next;
            *next += u64::from(frame.sealed);
            Some(offset)
        })
    }

    /// PACK-1: frames, padding and a footer of `footer_length` sealed bytes fill a pack of `size` bytes exactly.
    pub fn check_size(&self, size: u64, footer_length: u64) -> Result<(), Malformed> {
        let frames: u64 = self.frames.iter().map(|frame| u64::from(frame.sealed)).sum();
        match HEADER as u64 + frames + self.padding + footer_length + TRAILER as u64 {
            sum if sum == size => Ok(()),
            sum => Err(Malformed::new("pack", format!("its parts add up to {sum} bytes, it has {size}"))),
        }
    }
}

fn encode_chunk(out: &mut Vec<u8>, chunk: &ChunkRow) {
    out.extend_from_slice(&chunk.id.0);
    put_varint(out, u64::from(chunk.length));
    if let Some(delta) = &chunk.delta {
        put_varint(out, 2 * u64::from(delta.length) + u64::from(delta.bases.len() > 1));
        delta.bases.iter().for_each(|base| out.extend_from_slice(base));
    }
}

/// PACK-6: no frame without chunks, no chunk without bytes. FRAME-1: a frame is whole chunks or deltas, and these are at
/// most FRAME_MAX bytes.
fn decode_frame(reader: &mut Reader<'_>) -> Result<FrameRow, Malformed> {
    let method = Method::from_number(reader.u8()?)?;
    let sealed = reader.varint_max("length of a sealed frame", PACK_MAX)? as u32;
    if (sealed as usize) <= SEAL_OVERHEAD {
        return Err(reader.malformed("a sealed frame without content"));
    }
    let count = reader.varint_max("number of chunks", reader.remaining() as u64 / CHUNK_ROW_LEAST)?;
    let mut chunks = Vec::with_capacity(count as usize);
    for _ in 0..count {
        chunks.push(decode_chunk(reader, method)?);
    }
    let frame = FrameRow { method, sealed, chunks };
    if frame.chunks.is_empty() {
        return Err(reader.malformed("a frame without chunks"));
    }
    if frame.plaintext() > FRAME_MAX {
        return Err(reader.malformed("a frame above FRAME_MAX"));
    }
    let fills = frame.plaintext() + SEAL_OVERHEAD as u64 == u64::from(sealed);
    match method {
        Method::Plain | Method::Delta if !fills => Err(reader.malformed("chunks do not fill their frame")),
        Method::Plain | Method::Delta | Method::Zstd | Method::Copies | Method::Columns => Ok(frame),
    }
}

fn decode_chunk(reader: &mut Reader<'_>, method: Method) -> Result<ChunkRow, Malformed> {
    let id = ChunkId(reader.array()?);
    let length = reader.varint_max("length of a chunk", CHUNK_MAX)? as u32;
    if length == 0 {
        return Err(reader.malformed("a chunk without bytes"));
    }
    if !method.has_deltas() {
        return Ok(ChunkRow { id, length, delta: None });
    }
    let told = reader.varint_max("length of a delta, doubled", 2 * FRAME_MAX + 1)?;
    let delta_length = (told >> 1) as u32;
    if delta_length == 0 {
        return Err(reader.malformed("a delta without bytes"));
    }
    let bases = (0..=told & 1).map(|_| reader.array()).collect::<Result<_, _>>()?;
    Ok(ChunkRow { id, length, delta: Some(DeltaRow { length: delta_length, bases }) })
}

/// The trailer for a footer of `footer_length` sealed bytes.
pub fn encode_trailer(footer_length: u32) -> [u8; TRAILER] {
    let mut trailer = [0; TRAILER];
    let (first, rest) = trailer.split_at_mut(4);
    let (magic, last) = rest.split_at_mut(8);
    first.copy_from_slice(&footer_length.to_le_bytes());
    magic.copy_from_slice(TRAILER_MAGIC);
    last.copy_from_slice(&footer_length.to_le_bytes());
    trailer
}

/// Length of the sealed footer of a pack of `size` bytes that ends in `trailer`.
///
/// PACK-2: packs and footers are bounded. PACK-3: both copies of the length agree.
pub fn decode_trailer(trailer: &[u8], size: u64) -> Result<u32, Malformed> {
    let mut reader = Reader::new("trailer", trailer);
    let first = reader.u32()?;
    let magic: [u8; 8] = reader.array()?;
    let last = reader.u32()?;
    if magic != *TRAILER_MAGIC || first != last {
        return Err(reader.malformed("not the end of a pack"));
    }
    let least = (HEADER + TRAILER) as u64 + u64::from(first);
    if u64::from(first) > FOOTER_MAX + SEAL_OVERHEAD as u64 || least > size || size > PACK_MAX {
        return Err(reader.malformed(format!("a footer of {first} bytes in a pack of {size}")));
    }
    reader.finish()?;
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(id: u8, length: u32) -> ChunkRow {
        ChunkRow { id: ChunkId([id; 16]), length, delta: None }
    }

    fn delta(id: u8, length: u32, bases: &[BasePrefix]) -> ChunkRow {
        ChunkRow { delta: Some(DeltaRow { length: 10, bases: bases.to_vec() }), ..chunk(id, length) }
    }

    fn footer() -> Footer {
        Footer {
            padding: 3,
            frames: vec![
                FrameRow { method: Method::Zstd, sealed: 500, chunks: vec![chunk(1, 1000), chunk(2, 300)] },
                FrameRow { method: Method::Plain, sealed: 47, chunks: vec![chunk(3, 7)] },
                FrameRow {
                    method: Method::Delta,
                    sealed: 60,
                    chunks: vec![delta(4, 9, &[[1; 8]]), delta(5, 9, &[[1; 8], [2; 8]])],
                },
                FrameRow { method: Method::Copies, sealed: 45, chunks: vec![delta(6, 9, &[[1; 8]])] },
            ],
        }
    }

    /// PACK-5
    #[test]
    fn a_footer_comes_back_as_written_and_offsets_follow_from_lengths() {
        assert_eq!(Footer::decode(&footer().encode()), Ok(footer()));
        assert_eq!(footer().frame_offsets().collect::<Vec<_>>(), [64, 564, 611, 671]);
    }

    /// PACK-1
    #[test]
    fn parts_that_do_not_fill_the_pack_are_refused() {
        let size = 64 + 500 + 47 + 60 + 45 + 3 + 200 + 16;
        assert_eq!(footer().check_size(size, 200), Ok(()));
        assert!(footer().check_size(size + 1, 200).is_err());
    }

    /// PACK-6, FRAME-1, CONV-3
    #[test]
    fn tables_that_break_a_rule_are_refused() {
        let with = |frame: FrameRow| Footer { padding: 0, frames: vec![frame] };
        let plain = |chunks: Vec<ChunkRow>, sealed| with(FrameRow { method: Method::Plain, sealed, chunks });
        let nothing = DeltaRow { length: 0, bases: vec![[1; 8]] };
        let without_bytes = ChunkRow { delta: Some(nothing), ..chunk(1, 5) };
        let bad = [
            plain(vec![], 41),
            with(FrameRow { method: Method::Zstd, sealed: 99, chunks: vec![] }),
            plain(vec![chunk(1, 0)], 41),
            plain(vec![chunk(1, 5)], 46),
            plain(vec![chunk(1, CHUNK_MAX as u32 + 1)], 1_048_617),
            with(FrameRow { method: Method::Zstd, sealed: 99, chunks: (0..5).map(|i| chunk(i, 1 << 20)).collect() }),
            with(FrameRow { method: Method::Delta, sealed: 51, chunks: vec![delta(1, 5, &[[1; 8]])] }),
            with(FrameRow { method: Method::Copies, sealed: 50, chunks: vec![delta(1, 0, &[[1; 8]])] }),
            with(FrameRow { method: Method::Copies, sealed: 50, chunks: vec![without_bytes] }),
            with(FrameRow { method: Method::Copies, sealed: 40, chunks: vec![delta(1, 5, &[[1; 8]])] }),
        ];
        for footer in bad {
            assert!(Footer::decode(&footer.encode()).is_err(), "{footer:?}");
        }
        let good = footer().encode();
        for cut in 0..good.len() {
            assert!(Footer::decode(&good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Footer::decode(&[good, vec![0]].concat()).is_err());
        let long = Footer::decode(&vec![0; FOOTER_MAX as usize + 1]).map_err(|malformed| malformed.why);
        assert_eq!(long, Err("longer than FOOTER_MAX".into()));
    }

    /// PACK-2, PACK-3
    #[test]
    fn a_trailer_with_two_lengths_or_an_impossible_one_is_refused() {
        let good = encode_trailer(500);
        assert_eq!(decode_trailer(&good, 10_000), Ok(500));
        assert!(decode_trailer(&good, 579).is_err());
        assert!(decode_trailer(&good, PACK_MAX + 1).is_err());
        assert!(decode_trailer(&[&good[..], &[0]].concat(), 10_000).is_err());
        let longest = FOOTER_MAX as u32 + SEAL_OVERHEAD as u32;
        assert_eq!(decode_trailer(&encode_trailer(longest), PACK_MAX), Ok(longest));
        assert!(decode_trailer(&encode_trailer(longest + 1), PACK_MAX).is_err());
        for place in 0..TRAILER {
            let mut bad = good;
            bad[place] ^= 1;
            assert!(decode_trailer(&bad, 10_000).is_err(), "byte {place}");
        }
    }
}
