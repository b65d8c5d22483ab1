//! Lengths and strings, the two codings every other part of an RDB file is made of.

use std::borrow::Cow;
use std::io;

use super::source::Source;

/// Longest string that is looked at (names and values of AUX fields).
pub(super) const SHORT_MAX: usize = 256;

/// Why reading stopped. Boxed, so that the way through a hundred million strings stays a pointer wide.
pub(super) struct Stop(Box<Cause>);

/// What stands behind a [`Stop`].
pub(super) enum Cause {
    /// The input could not be read.
    Input(io::Error),
    /// The input ended where more was promised.
    Ended,
    /// Something newer or stranger than this reader.
    Unknown(String),
    /// Something no server writes.
    Broken(String),
}

/// A result of reading on.
pub(super) type Step<T> = Result<T, Stop>;

impl Stop {
    #[cold]
    pub(super) fn ended() -> Self {
        Self(Box::new(Cause::Ended))
    }

    #[cold]
    pub(super) fn unknown(what: impl Into<String>) -> Self {
        Self(Box::new(Cause::Unknown(what.into())))
    }

    #[cold]
    pub(super) fn broken(what: impl Into<String>) -> Self {
        Self(Box::new(Cause::Broken(what.into())))
    }

    pub(super) fn into_cause(self) -> Cause {
        *self.0
    }
}

impl From<io::Error> for Stop {
    #[cold]
    fn from(error: io::Error) -> Self {
        Self(Box::new(Cause::Input(error)))
    }
}

/// A length as stored: a number, or the mark of a string in a special form.
enum Length {
    Plain(u64),
    Special(u8),
}

const SPECIAL_INT8: u8 = 0;
const SPECIAL_INT16: u8 = 1;
const SPECIAL_INT32: u8 = 2;
const SPECIAL_LZF: u8 = 3;

impl Source<'_> {
    /// A length where only a number may stand.
    #[inline]
    pub(super) fn length(&mut self) -> Step<u64> {
        match self.length_or_special()? {
            Length::Plain(length) => Ok(length),
            Length::Special(mark) => Err(Stop::broken(format!("the string mark {mark} in place of a length"))),
        }
    }

    /// Consumes `count` lengths.
    pub(super) fn skip_lengths(&mut self, count: u64) -> Step<()> {
        for _ in 0..count {
            self.length()?;
        }
        Ok(())
    }

    #[inline]
    fn length_or_special(&mut self) -> Step<Length> {
        let first = self.byte()?;
        let low = first & 0x3f;
        match first >> 6 {
            0 => Ok(Length::Plain(u64::from(low))),
            1 => Ok(Length::Plain(u64::from(low) << 8 | u64::from(self.byte()?))),
            2 => match first {
                0x80 => Ok(Length::Plain(u64::from(u32::from_be_bytes(self.bytes()?)))),
                0x81 => Ok(Length::Plain(u64::from_be_bytes(self.bytes()?))),
                other => Err(Stop::broken(format!("the length form {other:#04x}"))),
            },
            _ => Ok(Length::Special(low)),
        }
    }

    /// Consumes one string in any form.
    #[inline]
    pub(super) fn skip_string(&mut self) -> Step<()> {
        if let Some(&first) = self.window().first()
            && first < 0x40
        {
            return self.skip(1 + u64::from(first));
        }
        self.skip_long_string()
    }

    fn skip_long_string(&mut self) -> Step<()> {
        match self.length_or_special()? {
            Length::Plain(length) => self.skip(length),
            Length::Special(SPECIAL_INT8) => self.skip(1),
            Length::Special(SPECIAL_INT16) => self.skip(2),
            Length::Special(SPECIAL_INT32) => self.skip(4),
            Length::Special(SPECIAL_LZF) => self.skip_compressed(),
            Length::Special(mark) => Err(Stop::unknown(format!("a string of form {mark}"))),
        }
    }

    fn skip_compressed(&mut self) -> Step<()> {
        let stored = self.length()?;
        self.length()?;
        self.skip(stored)
    }

    /// Consumes `count` strings.
    pub(super) fn skip_strings(&mut self, count: u64) -> Step<()> {
        for _ in 0..count {
            self.skip_string()?;
        }
        Ok(())
    }

    /// Consumes one string and gives its text, unless it is longer than [`SHORT_MAX`] or compressed.
    pub(super) fn short_string(&mut self) -> Step<Option<Cow<'_, [u8]>>> {
        let number = match self.length_or_special()? {
            Length::Plain(length) if length <= SHORT_MAX as u64 => return self.short_text(length as usize),
            Length::Plain(length) => return self.skip(length).map(|()| None),
            Length::Special(SPECIAL_INT8) => i64::from(i8::from_le_bytes(self.bytes()?)),
            Length::Special(SPECIAL_INT16) => i64::from(i16::from_le_bytes(self.bytes()?)),
            Length::Special(SPECIAL_INT32) => i64::from(i32::from_le_bytes(self.bytes()?)),
            Length::Special(SPECIAL_LZF) => return self.skip_compressed().map(|()| None),
            Length::Special(mark) => return Err(Stop::unknown(format!("a string of form {mark}"))),
        };
        Ok(Some(Cow::Owned(number.to_string().into_bytes())))
    }

    fn short_text(&mut self, length: usize) -> Step<Option<Cow<'_, [u8]>>> {
        if !self.ensure(length)? {
            return Err(Stop::ended());
        }
        Ok(Some(Cow::Borrowed(self.take(length))))
    }
}
