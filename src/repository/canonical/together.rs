//! A dump is put together: records in the order of the file, large values decoded several at a time.

use crossbeam_channel::{Receiver, Sender};
use rayon::prelude::*;

use super::column::Column;
use super::element_placer::ElementPlacer;
use crate::rdb::canonical::Collection;
use crate::repository::error::RepositoryError;

/// Bytes that are handed on together.
const PIECE: usize = 256 << 10;
/// Bytes of large values, and of what stands behind them, that are gathered before they are decoded on all cores.
const GATHERED: usize = 4 << 20;

/// A large value as it is kept.
struct Value {
    tag: [u8; 2],
    kept: Vec<u8>,
    order: Vec<u8>,
    /// What stands behind it in the file, up to the next one.
    behind: Vec<u8>,
}

/// Makes of what is to be known of a large value, what is kept of it and the order of its elements what stands in the file.
type Decode<'d> = dyn Fn([u8; 2], &[u8], &[u8]) -> Result<Vec<u8>, RepositoryError> + Sync + 'd;

/// Takes what stands in the file in its order, values undecoded.
///
/// Memory: 4 MiB of values and what stands between them, and what is made of them. A longer value is decoded by itself.
pub(super) struct Together<'d> {
    out: Out,
    decode: &'d Decode<'d>,
    values: Vec<Value>,
    /// Bytes of these.
    gathered: usize,
}

impl<'d> Together<'d> {
    pub fn new(out: Out, decode: &'d Decode<'d>) -> Together<'d> {
        Together { out, decode, values: Vec::new(), gathered: 0 }
    }

    /// Bytes as they stand.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), RepositoryError> {
        let Some(last) = self.values.last_mut() else { return self.out.put(bytes) };
        last.behind.extend_from_slice(bytes);
        self.has_gathered(bytes.len())
    }

    /// The next value of a column, of so many bytes.
    pub fn put_value(
        &mut self,
        tag: [u8; 2],
        length: usize,
        order: &[u8],
        from: &mut Column<'_>,
    ) -> Result<(), RepositoryError> {
        if length >= GATHERED {
            self.decode()?;
            return self.out.put(&(self.decode)(tag, from.take(length)?, order)?);
        }
        let kept = from.take(length)?.to_vec();
        self.values.push(Value { tag, kept, order: order.to_vec(), behind: Vec::new() });
        self.has_gathered(length + order.len())
    }

    /// So many bytes of a column, as they are.
    pub fn copy(&mut self, from: &mut Column<'_>, length: u64) -> Result<(), RepositoryError> {
        self.decode()?;
        self.out.copy(from, length)
    }

    /// The next value of a column, of so many bytes, whose elements are sorted.
    pub fn put_sorted(
        &mut self,
        collection: Collection,
        length: u64,
        from: &mut Column<'_>,
        placer: &mut ElementPlacer<'_>,
    ) -> Result<(), RepositoryError> {
        self.decode()?;
        placer.put(collection, length, from, &mut self.out)
    }

    fn has_gathered(&mut self, bytes: usize) -> Result<(), RepositoryError> {
        self.gathered += bytes;
        if self.gathered < GATHERED { Ok(()) } else { self.decode() }
    }

    fn decode(&mut self) -> Result<(), RepositoryError> {
        self.gathered = 0;
        let decoded = std::mem::take(&mut self.values).into_par_iter().map(|Value { tag, kept, order, behind }| {
            let stored = (self.decode)(tag, &kept, &order)?;
            Ok((stored, behind))
        });
        for (stored, behind) in decoded.collect::<Result<Vec<_>, RepositoryError>>()? {
            self.out.put(&stored)?;
            self.out.put(&behind)?;
        }
        Ok(())
    }

    /// How many bytes the file has.
    pub fn finish(mut self) -> Result<u64, RepositoryError> {
        self.decode()?;
        self.out.finish()
    }
}

/// Gathers what is handed on.
pub(super) struct Out {
    to: Sender<Vec<u8>>,
    /// What was handed on, to be filled again.
    used: Receiver<Vec<u8>>,
    buffer: Vec<u8>,
    written: u64,
}

impl Out {
    /// What goes to `to`, in pieces of which those that come back from `used` are filled again.
    pub fn new(to: Sender<Vec<u8>>, used: Receiver<Vec<u8>>) -> Out {
        Out { to, used, buffer: Vec::new(), written: 0 }
    }

    pub fn put(&mut self, bytes: &[u8]) -> Result<(), RepositoryError> {
        for some in bytes.chunks(PIECE) {
            self.buffer.extend_from_slice(some);
            if self.buffer.len() >= PIECE {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// So many bytes of a column, as they are.
    pub fn copy(&mut self, from: &mut Column<'_>, mut length: u64) -> Result<(), RepositoryError> {
        while length > 0 {
            let some = length.min(PIECE as u64);
            self.put(from.take(some as usize)?)?;
            length -= some;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), RepositoryError> {
        self.written += self.buffer.len() as u64;
        let next = self.used.try_recv().unwrap_or_else(|_| Vec::with_capacity(2 * PIECE));
        let piece = std::mem::replace(&mut self.buffer, next);
        // Where nobody takes it any more, why is told there.
        self.to.send(piece).map_err(|_| RepositoryError::Interrupted)
    }

    pub fn finish(mut self) -> Result<u64, RepositoryError> {
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        Ok(self.written)
    }
}
