//! zstd whole, and zstd against bases. Rules: format-spec/06-frames.md. Decoding takes the promised length and
//! refuses more or less.

use std::borrow::Cow;

use zstd_safe::{CCtx, CParameter, DCtx, DParameter, FrameFormat, InBuffer, OutBuffer, ResetDirective, Strategy};

/// Window that covers two bases and a chunk of 1 MiB each: 2^22 bytes.
const DELTA_WINDOW_LOG: u32 = 22;
/// The least that zstd takes.
const DELTA_WINDOW_LOG_MIN: u32 = 10;

/// Bytes that are not what a compressor of ours wrote, or not as long as promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Undecodable(String);

/// The compressor has no memory left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot compress: {0}")]
pub struct CannotCompress(&'static str);

/// Compresses frames and deltas; keeps zstd's tables between calls (a few MiB at level 3).
pub struct Compressor {
    context: CCtx<'static>,
    level: i32,
}

impl Compressor {
    /// A compressor at a zstd level, 1 to 19.
    pub fn new(level: i32) -> Result<Compressor, CannotCompress> {
        let context = CCtx::try_create().ok_or(CannotCompress("no memory for zstd's tables"))?;
        Ok(Compressor { context, level })
    }

    /// One zstd frame of `bytes`.
    pub fn whole(&mut self, bytes: &[u8]) -> Result<Vec<u8>, CannotCompress> {
        self.frame(bytes, &FITTED)
    }

    /// The same of what is put in columns.
    pub fn columns(&mut self, bytes: &[u8]) -> Result<Vec<u8>, CannotCompress> {
        self.frame(bytes, &FITTED_TO_COLUMNS)
    }

    fn frame(&mut self, bytes: &[u8], fitted: &[CParameter]) -> Result<Vec<u8>, CannotCompress> {
        let mut out = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
        let is_fitted = self.level == FITTED_LEVEL && bytes.len() > FITTED_FROM;
        let fitted = if is_fitted { fitted } else { &[] };
        let result = (|| {
            self.context.reset(ResetDirective::SessionAndParameters)?;
            self.context.set_parameter(CParameter::CompressionLevel(self.level))?;
            for parameter in fitted {
                self.context.set_parameter(*parameter)?;
            }
            self.context.compress2(&mut out, bytes)
        })();
        match result {
            Ok(_) => Ok(out),
            Err(code) => Err(CannotCompress(zstd_safe::get_error_name(code))),
        }
    }
}

/// The level whose tables are fitted to a core's second cache, for frames of up to 1 MiB, and the size from which on: below it
/// zstd's own are as small.
const FITTED_LEVEL: i32 = 3;
const FITTED_FROM: usize = 256 << 10;
/// Instead of the level's own 16, 17 and 5: on dumps a fifth faster, and a thousandth smaller; on other text a tenth faster and no
/// larger.
const FITTED: [CParameter; 3] = [CParameter::ChainLog(15), CParameter::HashLog(16), CParameter::MinMatch(6)];
/// One table instead of two: on the bench's dump 4 % less time of the processor for all of a backup and half a percent more bytes,
/// on documents and pages 3 to 8 % less. On commands, which repeat themselves from far, 7 % more: they are in no columns.
const FITTED_TO_COLUMNS: [CParameter; 3] =
    [CParameter::Strategy(Strategy::ZSTD_fast), CParameter::HashLog(16), CParameter::MinMatch(6)];

/// Makes deltas one after the other, and keeps zstd's tables between them: about 1 MiB. What they are made against has to
/// be there as long.
pub struct DeltaCompressor<'p> {
    context: CCtx<'p>,
    level: i32,
}

/// Up to this level deltas are made by [`DELTA_FAST`].
const DELTA_FAST_UP_TO: i32 = 3;
/// Level, hash log and shortest match: nearly all of a delta is long matches, for which a second table and long distance
/// matching take three times as long. On a day of a dump this stores 3 % less than they do, on noise in noise 0.4 % more.
const DELTA_FAST: (i32, u32, u32) = (1, 17, 6);

impl<'p> DeltaCompressor<'p> {
    /// A compressor at a zstd level, 1 to 19.
    pub fn new(level: i32) -> Result<DeltaCompressor<'p>, CannotCompress> {
        let context = CCtx::try_create().ok_or(CannotCompress("no memory for zstd's tables"))?;
        Ok(DeltaCompressor { context, level })
    }

    /// DELTA-1: one zstd frame of `chunk`, without magic number, against the plaintext of its bases, in order.
    pub fn delta(&mut self, bases: &'p [u8], chunk: &[u8]) -> Result<Vec<u8>, CannotCompress> {
        let mut out = Vec::with_capacity(zstd_safe::compress_bound(chunk.len()));
        let is_fast = self.level <= DELTA_FAST_UP_TO;
        let (level, hash_log, min_match) = if is_fast { DELTA_FAST } else { (self.level, 0, 0) };
        let window_log =
            (bases.len() + chunk.len()).next_power_of_two().ilog2().clamp(DELTA_WINDOW_LOG_MIN, DELTA_WINDOW_LOG);
        let context = &mut self.context;
        let result = (|| {
            context.reset(ResetDirective::SessionAndParameters)?;
            context.set_parameter(CParameter::CompressionLevel(level))?;
            context.set_parameter(CParameter::WindowLog(window_log))?;
            context.set_parameter(CParameter::HashLog(hash_log))?;
            context.set_parameter(CParameter::MinMatch(min_match))?;
            context.set_parameter(CParameter::EnableLongDistanceMatching(!is_fast))?;
            context.set_parameter(CParameter::Format(FrameFormat::Magicless))?;
            context.set_parameter(CParameter::ContentSizeFlag(false))?;
            context.ref_prefix(bases)?;
            context.compress2(&mut out, chunk)
        })();
        match result {
            Ok(_) => Ok(out),
            Err(code) => Err(CannotCompress(zstd_safe::get_error_name(code))),
        }
    }
}

/// Decodes frames and deltas; keeps zstd's tables between calls (below 200 KiB).
pub struct Decompressor {
    context: DCtx<'static>,
}

impl Default for Decompressor {
    fn default() -> Self {
        Decompressor { context: DCtx::create() }
    }
}

impl Decompressor {
    /// FRAME-2: the content of a zstd frame, which has to be exactly `length` bytes.
    pub fn whole(&mut self, frame: &[u8], length: usize) -> Result<Vec<u8>, Undecodable> {
        one_frame(frame)?;
        let mut out = Vec::with_capacity(length);
        let result = self.context.decompress(&mut out, frame);
        promised(result, out, length)
    }
}

/// The plaintext of a delta, which has to be exactly `length` bytes. Memory: twice the bases, and `length`; the caller
/// holds both to their limits.
pub fn undelta(bases: &[&[u8]], delta: &[u8], length: usize) -> Result<Vec<u8>, Undecodable> {
    let prefix = match bases {
        [base] => Cow::Borrowed(*base),
        bases => Cow::Owned(bases.concat()),
    };
    let mut context = DCtx::create();
    let mut out = Vec::with_capacity(length);
    let mut input = InBuffer::around(delta);
    let result = (|| {
        context.set_parameter(DParameter::WindowLogMax(DELTA_WINDOW_LOG))?;
        context.set_parameter(DParameter::Format(FrameFormat::Magicless))?;
        // All of it goes there at once: zstd keeps no window of its own.
        context.set_parameter(DParameter::StableOutBuffer(true))?;
        context.ref_prefix(&prefix)?;
        context.decompress_stream(&mut OutBuffer::around(&mut out), &mut input)
    })();
    match result {
        Ok(0) if input.pos() < delta.len() => {
            Err(Undecodable(format!("{} bytes behind its zstd frame", delta.len() - input.pos())))
        }
        Ok(0) | Err(_) => promised(result, out, length),
        Ok(_) => Err(Undecodable("its zstd frame has no end".into())),
    }
}

/// zstd itself decodes frame after frame and passes over skippable ones.
fn one_frame(bytes: &[u8]) -> Result<(), Undecodable> {
    match zstd_safe::find_frame_compressed_size(bytes) {
        Ok(length) if length == bytes.len() => Ok(()),
        Ok(length) => Err(Undecodable(format!("{} bytes behind its zstd frame", bytes.len() - length))),
        Err(code) => Err(Undecodable(format!("zstd: {}", zstd_safe::get_error_name(code)))),
    }
}

fn promised(result: zstd_safe::SafeResult, out: Vec<u8>, length: usize) -> Result<Vec<u8>, Undecodable> {
    match result {
        Ok(_) if out.len() == length => Ok(out),
        Ok(_) => Err(Undecodable(format!("decodes to {} bytes instead of {length}", out.len()))),
        Err(code) => Err(Undecodable(format!("zstd: {}", zstd_safe::get_error_name(code)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::noise;

    /// FRAME-2
    #[test]
    fn a_frame_decodes_to_the_promised_length_or_not_at_all() {
        let bytes = [noise(5000, 1), vec![7; 5000]].concat();
        let frame = Compressor::new(3).unwrap().whole(&bytes).unwrap();
        let mut decompressor = Decompressor::default();
        assert_eq!(decompressor.whole(&frame, 10_000), Ok(bytes));
        for wrong in [0, 1, 9_999, 10_001] {
            assert!(decompressor.whole(&frame, wrong).is_err(), "{wrong}");
        }
        assert!(decompressor.whole(&frame[..frame.len() - 1], 10_000).is_err());
    }

    #[test]
    fn a_bomb_is_refused_within_its_promise() {
        let bomb = Compressor::new(3).unwrap().whole(&vec![0; 64 << 20]).unwrap();
        assert!(Decompressor::default().whole(&bomb, 1 << 20).is_err());
    }

    /// DELTA-1
    #[test]
    fn a_delta_decodes_against_its_bases_in_order() {
        let (a, b) = (noise(100_000, 1), noise(100_000, 2));
        let mut chunk = [&a[50_000..], &b[..60_000]].concat();
        chunk[70_000] ^= 1;
        let both = [&a[..], &b].concat();
        for level in [1, 3, 6, 19] {
            let mut compressor = DeltaCompressor::new(level).unwrap();
            let delta = compressor.delta(&both, &chunk).unwrap();
            assert!(delta.len() < 1000, "{} bytes", delta.len());
            assert_eq!(
                compressor.delta(&b, &b),
                DeltaCompressor::new(level).unwrap().delta(&b, &b),
                "tables left over"
            );
            assert_eq!(undelta(&[&a, &b], &delta, chunk.len()), Ok(chunk.clone()));
        }
        let delta = DeltaCompressor::new(3).unwrap().delta(&both, &chunk).unwrap();
        assert_eq!(undelta(&[&a, &b], &delta, chunk.len()), Ok(chunk.clone()));
        assert_ne!(undelta(&[&b, &a], &delta, chunk.len()), Ok(chunk.clone()));
        assert!(undelta(&[&a, &b], &delta, chunk.len() - 1).is_err());
        assert!(undelta(&[&a], &delta, chunk.len()).is_err());
    }
}
