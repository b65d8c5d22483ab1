//! The workers of the way in: changed chunks are tried as deltas, frames are compressed as their kind asks.

use crossbeam_channel::{Receiver, Sender};

use super::deltas::Deltas;
use super::{Frame, Job, Kind};
use crate::compress::{CannotCompress, Compressor};
use crate::format::columns::to_columns;
use crate::format::frame::Method;
use crate::format::put_varint;
use crate::format::summary::Holds;
use crate::rdb::canonical::Kept;
use crate::repository::pack_writer::FrameBody;

/// Level at which a frame that looks random is tried: a few times as fast as reading it.
const TRY: i32 = -5;
/// Bytes of a chunk that are looked at: pieces of [`SAMPLE_PIECE`], evenly spread.
const SAMPLE: usize = 4096;
const SAMPLE_PIECE: usize = 256;

/// A frame's ticket, and the frame compressed or why it could not be.
pub(super) type Compressed = (u64, Result<FrameBody, CannotCompress>);

/// A worker: does jobs until there are no more, or nobody takes what it compressed.
pub(super) fn do_jobs(level: i32, deltas: &Deltas<'_>, from: &Receiver<Job>, to: &Sender<Compressed>) {
    let mut compressors = Compressor::new(TRY).and_then(|quick| Ok((quick, Compressor::new(level)?)));
    for job in from {
        let frame = match job {
            Job::Frame(frame) => frame,
            Job::Changed(changed) => {
                deltas.answer(changed);
                continue;
            }
            Job::Beside(job) => {
                job();
                continue;
            }
        };
        let ticket = frame.ticket;
        let body = match &mut compressors {
            Ok((quick, slow)) => compress_frame(quick, slow, frame),
            Err(error) => Err(error.clone()),
        };
        if to.send((ticket, body)).is_err() {
            return;
        }
    }
}

fn compress_frame(quick: &mut Compressor, slow: &mut Compressor, frame: Frame) -> Result<FrameBody, CannotCompress> {
    let Frame { plaintext, chunks, kind, holds, proofs, .. } = frame;
    let body = |method, bytes| FrameBody { method, bytes, chunks, holds, proofs };
    if kind == Kind::Delta {
        return Ok(body(Method::Delta, plaintext));
    }
    if kind == Kind::Copies {
        let compressor = if is_dense(&plaintext) { quick } else { slow };
        return Ok(body(Method::Copies, compressor.whole(&plaintext)?));
    }
    // What looks random byte by byte may still repeat itself: only what a first try cannot make smaller is left as it is.
    if kind == Kind::Dense && quick.whole(&plaintext)?.len() >= plaintext.len() - plaintext.len() / 64 {
        return Ok(body(Method::Plain, plaintext));
    }
    if holds == Holds::Buckets
        && let Some(columns) = to_columns(&plaintext, |row| Kept::key_in(row))
    {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, columns.len() as u64);
        bytes.append(&mut slow.columns(&columns)?);
        if bytes.len() < plaintext.len() {
            return Ok(body(Method::Columns, bytes));
        }
    }
    let compressed = slow.whole(&plaintext)?;
    Ok(match compressed.len() < plaintext.len() {
        true => body(Method::Zstd, compressed),
        false => body(Method::Plain, plaintext),
    })
}

/// Whether every byte value is about as frequent as every other in a sample of these bytes: then there is nothing to be
/// gained from coding them shorter. Too little to tell is not dense.
pub(super) fn is_dense(bytes: &[u8]) -> bool {
    if bytes.len() < 2 * SAMPLE {
        return false;
    }
    let step = bytes.len() / (SAMPLE / SAMPLE_PIECE);
    let mut counts = [0u32; 256];
    for piece in bytes.chunks_exact(step).filter_map(|piece| piece.get(..SAMPLE_PIECE)) {
        for byte in piece {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count += 1;
            }
        }
    }
    let total = u64::from(counts.iter().sum::<u32>());
    let squares: u64 = counts.iter().map(|count| u64::from(*count).pow(2)).sum();
    // Of random bytes total + total² / 256 is expected, give or take a hundredth; of coded text far more.
    squares * 256 < (total * 256 + total * total) * 17 / 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ChunkId;
    use crate::format::pack::ChunkRow;
    use crate::noise::noise;

    fn frame(kind: Kind, plaintext: Vec<u8>) -> Frame {
        let chunks = vec![ChunkRow { id: ChunkId([1; 16]), length: plaintext.len() as u32, delta: None }];
        Frame { ticket: 0, kind, holds: Holds::Opaque, plaintext, chunks, proofs: Vec::new() }
    }

    fn compressed(kind: Kind, plaintext: Vec<u8>) -> FrameBody {
        let (mut quick, mut slow) = (Compressor::new(TRY).unwrap(), Compressor::new(3).unwrap());
        compress_frame(&mut quick, &mut slow, frame(kind, plaintext)).unwrap()
    }

    #[test]
    fn only_what_looks_random_is_dense() {
        assert!((0..50).all(|shift| is_dense(&noise(70_000 + 997 * shift, 0)[shift..])));
        let hex: Vec<u8> = noise(70_000, 0).iter().map(|byte| b"0123456789abcdef"[usize::from(byte % 16)]).collect();
        let half = [noise(35_000, 0), hex[..35_000].to_vec()].concat();
        let low: Vec<u8> = noise(70_000, 0).iter().map(|byte| byte & 0x7f).collect();
        for other in [hex, half, low, vec![0; 70_000], noise(8_000, 0)] {
            assert!(!is_dense(&other));
        }
    }

    /// FRAME-5
    #[test]
    fn buckets_are_put_into_columns_where_that_is_no_longer() {
        let record = |number: u32| {
            [&[18, 0, 0, 4 * 12][..], format!("counter:{number:04}").as_bytes(), &[8], &noise(2, number.into())]
                .concat()
        };
        let bucket: Vec<u8> = (0..500).flat_map(record).collect();
        let of = |holds, plaintext: &[u8]| {
            let (mut quick, mut slow) = (Compressor::new(TRY).unwrap(), Compressor::new(3).unwrap());
            compress_frame(&mut quick, &mut slow, Frame { holds, ..frame(Kind::Whole, plaintext.to_vec()) }).unwrap()
        };
        let (rows, columns) = (of(Holds::Opaque, &bucket), of(Holds::Buckets, &bucket));
        assert_eq!((rows.method, columns.method), (Method::Zstd, Method::Columns));
        assert!(columns.bytes.len() * 3 < rows.bytes.len() * 2, "{} {}", columns.bytes.len(), rows.bytes.len());
        assert_eq!(of(Holds::Buckets, &bucket[1..]).method, Method::Zstd);
    }

    #[test]
    fn what_looks_random_and_repeats_itself_is_compressed() {
        let body = compressed(Kind::Dense, noise(500_000, 0));
        assert_eq!((body.method, body.bytes.len()), (Method::Plain, 500_000));
        let body = compressed(Kind::Dense, [noise(250_000, 0), noise(250_000, 0)].concat());
        assert_eq!(body.method, Method::Zstd);
        assert!(body.bytes.len() < 251_000);
    }
}
