//! Fixed integers, varints and exact slices. Layout: format-spec/01-conventions.md.

use super::Malformed;

/// Reads a structure from its first byte to its last.
///
/// CONV-1: integers of fixed width are little-endian.
/// CONV-3: [`Reader::finish`] refuses leftover bytes.
pub struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over all of `bytes`; `what` is named in its errors.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Reader { what, rest: bytes }
    }

    /// An error about the structure being read.
    pub fn malformed(&self, why: impl Into<String>) -> Malformed {
        Malformed::new(self.what, why)
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `length` bytes.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.rest.split_at_checked(length).ok_or_else(|| self.too_short(length))?;
        self.rest = tail;
        Ok(head)
    }

    #[cold]
    fn too_short(&self, length: usize) -> Malformed {
        self.malformed(format!("{length} bytes wanted, {} there", self.rest.len()))
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.rest.split_first_chunk().ok_or_else(|| self.too_short(N))?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A varint.
    ///
    /// CONV-2: at most 64 bits, in the fewest bytes.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest.split_first() {
            Some((short @ ..0x80, tail)) => {
                self.rest = tail;
                Ok(u64::from(*short))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.malformed("a varint above 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 {
                    Err(self.malformed("a varint longer than needed"))
                } else {
                    Ok(value)
                };
            }
        }
        Err(self.malformed("a varint above 64 bits"))
    }

    /// A varint that counts or measures something of which at most `max` is allowed.
    #[inline]
    pub fn varint_max(&mut self, name: &str, max: u64) -> Result<u64, Malformed> {
        match self.varint()? {
            value if value <= max => Ok(value),
            value => Err(self.malformed(format!("{name} {value} above {max}"))),
        }
    }

    /// Ends the structure.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(self.malformed(format!("{left} bytes left over"))),
        }
    }
}

/// Appends a varint in the fewest bytes.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_comes_back_as_written() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut reader = Reader::new("test", &bytes);
            assert_eq!(reader.varint(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    /// CONV-2
    #[test]
    fn a_varint_that_is_longer_than_needed_or_above_64_bits_is_refused() {
        for bytes in [
            &[0x80, 0x00][..],
            &[0xff, 0x80, 0x00],
            &[0xff; 11],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            assert!(Reader::new("test", bytes).varint().is_err(), "{bytes:x?}");
        }
    }

    /// CONV-1, CONV-3
    #[test]
    fn integers_are_little_endian_and_leftovers_refused() {
        let mut reader = Reader::new("test", &[1, 0, 0, 2, 9]);
        assert_eq!(reader.u32(), Ok(0x0200_0001));
        assert!(reader.finish().is_err());
    }
}
