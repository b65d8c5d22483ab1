//! The source pulls the bytes of one input exactly once, in order, and keeps the checksum of what went past.

use std::io::{self, Read};

use crc_fast::{CrcAlgorithm, Digest};

use super::coding::{Step, Stop};

/// Bytes held of a streamed input.
pub(super) const BUFFER: usize = 256 * 1024;

/// Length of the checksum that ends a file.
pub(super) const CHECKSUM: usize = 8;

/// CRC-64 with Jones' polynomial, as the servers compute it.
pub(super) const CRC64: CrcAlgorithm = CrcAlgorithm::Crc64Redis;

/// An input, read through one buffer of fixed size.
///
/// The checksum runs at least eight bytes behind the reader. So whatever the place at which the input turns out to
/// end, its last eight bytes are still in the buffer and not yet summed, and can be compared with the sum of all the
/// bytes before them. This is how a file that is not understood to its end still has its checksum proved.
pub(super) struct Source<'a> {
    input: &'a mut dyn Read,
    buffer: Box<[u8]>,
    /// Offset in the input of the first byte of the buffer.
    base: u64,
    /// First byte of the buffer that is not in the digest; never after `next`.
    summed: usize,
    /// First byte of the buffer that was not consumed.
    next: usize,
    /// End of what the buffer holds.
    filled: usize,
    at_end: bool,
    digest: Option<Digest>,
}

/// What follows a byte that may be the EOF mark.
pub(super) struct Following {
    /// The checksum of all up to it.
    computed: u64,
    /// The number there that may be the checksum.
    pub stored: u64,
    /// The byte after that.
    pub then: Option<u8>,
}

impl Following {
    /// Whether it was the EOF mark.
    pub(super) fn is_right(&self) -> bool {
        self.computed == self.stored
    }
}

impl<'a> Source<'a> {
    /// `capacity` must be well above the largest `ensure`; both are constants of this module.
    pub(super) fn new(input: &'a mut dyn Read, capacity: usize) -> Self {
        Self {
            input,
            buffer: vec![0; capacity].into_boxed_slice(),
            base: 0,
            summed: 0,
            next: 0,
            filled: 0,
            at_end: false,
            digest: Some(Digest::new(CRC64)),
        }
    }

    /// Offset in the input of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.base.saturating_add(self.next as u64)
    }

    /// What is in the buffer and not yet consumed; empty only until the next `ensure` or at the end.
    #[inline]
    pub(super) fn window(&self) -> &[u8] {
        self.buffer.get(self.next..self.filled).unwrap_or_default()
    }

    /// Whether `count` more bytes are there, once as many as possible were read.
    #[inline]
    pub(super) fn ensure(&mut self, count: usize) -> io::Result<bool> {
        while self.filled - self.next < count {
            if !self.refill()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Consumes up to `count` bytes of the window and lends them.
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        let from = self.next;
        self.next = self.filled.min(from.saturating_add(count));
        self.buffer.get(from..self.next).unwrap_or_default()
    }

    /// Consumes `count` bytes, whatever they are.
    #[inline]
    pub(super) fn skip(&mut self, count: u64) -> Step<()> {
        let held = self.filled - self.next;
        if count <= held as u64 {
            self.next += count as usize;
            return Ok(());
        }
        self.skip_far(count)
    }

    #[cold]
    fn skip_far(&mut self, mut count: u64) -> Step<()> {
        loop {
            let held = self.filled - self.next;
            if count <= held as u64 {
                self.next += count as usize;
                return Ok(());
            }
            count -= held as u64;
            self.next = self.filled;
            if !self.refill()? {
                return Err(Stop::ended());
            }
        }
    }

    /// Consumes the next byte.
    #[inline]
    pub(super) fn byte(&mut self) -> Step<u8> {
        if self.next == self.filled && !self.refill()? {
            return Err(Stop::ended());
        }
        match self.buffer.get(self.next) {
            Some(&byte) => {
                self.next += 1;
                Ok(byte)
            }
            None => Err(Stop::ended()),
        }
    }

    /// Consumes the next `N` bytes.
    #[inline]
    pub(super) fn bytes<const N: usize>(&mut self) -> Step<[u8; N]> {
        if !self.ensure(N)? {
            return Err(Stop::ended());
        }
        match self.window().first_chunk::<N>() {
            Some(&bytes) => {
                self.next += N;
                Ok(bytes)
            }
            None => Err(Stop::ended()),
        }
    }

    /// The checksum of every byte consumed so far.
    pub(super) fn checksum(&self) -> u64 {
        let Some(digest) = &self.digest else { return 0 };
        let mut digest = *digest;
        digest.update(self.buffer.get(self.summed..self.next).unwrap_or_default());
        digest.finalize()
    }

    /// Consumes up to and with the next byte of this value, and tells what follows it; `None` where fewer than eight
    /// bytes do, and at the end.
    pub(super) fn after_next(&mut self, mark: u8) -> io::Result<Option<Following>> {
        loop {
            match self.window().iter().position(|byte| *byte == mark) {
                Some(place) => self.next += place + 1,
                None => {
                    self.next = self.filled;
                    match self.refill()? {
                        true => continue,
                        false => return Ok(None),
                    }
                }
            }
            // One more than the checksum, if there is one.
            self.ensure(CHECKSUM + 1)?;
            let Some((stored, then)) = self.window().split_first_chunk::<CHECKSUM>() else { return Ok(None) };
            let (stored, then) = (u64::from_le_bytes(*stored), then.first().copied());
            if let Some(digest) = &mut self.digest {
                digest.update(self.buffer.get(self.summed..self.next).unwrap_or_default());
                self.summed = self.next;
            }
            return Ok(Some(Following { computed: self.checksum(), stored, then }));
        }
    }

    /// From here on nothing is summed: the checksum was proved, or there is none.
    pub(super) fn stop_summing(&mut self) {
        self.digest = None;
    }

    /// Consumes the input to its end and hands every byte of it over.
    pub(super) fn drain(&mut self, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        loop {
            let rest = self.window();
            if !rest.is_empty() {
                sink(rest);
            }
            self.next = self.filled;
            if !self.refill()? {
                return Ok(());
            }
        }
    }

    /// After `drain`: the sum of all but the last eight bytes of the input, and those eight as a number. `None` for a
    /// shorter input.
    pub(super) fn checksum_at_tail(&self) -> Option<(u64, u64)> {
        let unsummed = self.buffer.get(self.summed..self.filled)?;
        let (before, tail) = unsummed.split_last_chunk::<CHECKSUM>()?;
        let mut digest = self.digest?;
        digest.update(before);
        Some((digest.finalize(), u64::from_le_bytes(*tail)))
    }

    /// Makes room, then reads once; false at the end of the input.
    #[cold]
    fn refill(&mut self) -> io::Result<bool> {
        if self.at_end {
            return Ok(false);
        }
        let keep = self.next.saturating_sub(CHECKSUM).max(self.summed);
        if let Some(digest) = &mut self.digest {
            digest.update(self.buffer.get(self.summed..keep).unwrap_or_default());
        }
        self.buffer.copy_within(keep..self.filled, 0);
        self.base = self.base.saturating_add(keep as u64);
        self.next -= keep;
        self.filled -= keep;
        self.summed = 0;
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let read = loop {
            match self.input.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if read > room.len() {
            return Err(io::Error::other("the input claims to have read more than it was given room for"));
        }
        self.at_end = read == 0;
        self.filled += read;
        Ok(read > 0)
    }
}
