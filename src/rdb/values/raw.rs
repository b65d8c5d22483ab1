//! Raw bytes of a value are taken from the front: lengths, strings, numbers of fixed width.

use std::borrow::Cow;

use super::Unreadable;
use super::packed::Head;
use crate::rdb::lzf;
use crate::rdb::strings::{Body, NoString, Parsed, take, take_length};

/// Longest text of a compressed string that is decoded: what a server takes as a string unless it is told otherwise. Text that
/// is stored as it is may be longer.
pub const LONGEST_TEXT: u64 = 512 << 20;

const UNDECODABLE: Unreadable = Unreadable::Broken("a compressed string does not decode");

pub(super) type Read<T> = Result<T, Unreadable>;

/// There may be too little of it.
pub(super) const ENDS: Unreadable =
    Unreadable::Broken("it ends too early, or holds no length where there should be one");

impl From<NoString> for Unreadable {
    fn from(_: NoString) -> Self {
        ENDS
    }
}

/// What is left of a value.
pub(super) struct Raw<'a> {
    rest: &'a [u8],
    /// Bytes that strings gave up by being compressed.
    spared: u64,
}

impl<'a> Raw<'a> {
    pub(super) fn of(rest: &'a [u8]) -> Self {
        Self { rest, spared: 0 }
    }

    pub(super) fn length(&mut self) -> Read<u64> {
        Ok(take_length(&mut self.rest)?)
    }

    pub(super) fn skip_lengths(&mut self, count: u64) -> Read<()> {
        for _ in 0..count {
            self.length()?;
        }
        Ok(())
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Read<[u8; N]> {
        let bytes = take(&mut self.rest, N as u64)?;
        bytes.try_into().map_err(|_| NoString.into())
    }

    pub(super) fn slice(&mut self, length: u64) -> Read<&'a [u8]> {
        Ok(take(&mut self.rest, length)?)
    }

    /// The text of a string, decoded where it is compressed.
    pub(super) fn string(&mut self) -> Read<Cow<'a, [u8]>> {
        match self.parsed()?.body {
            Body::Plain(text) => Ok(Cow::Borrowed(text)),
            Body::Number(number) => Ok(Cow::Owned(number.to_string().into_bytes())),
            Body::Lzf(stored, length) => decoded(stored, length).map(Cow::Owned),
        }
    }

    /// The same, and what it spared by being compressed is noted.
    pub(super) fn string_noted(&mut self) -> Read<Cow<'a, [u8]>> {
        let before = self.rest;
        self.skip_string()?;
        Raw::of(before).string()
    }

    /// How many elements a packed form has, of which no more is decoded than is needed; what it spared is noted.
    pub(super) fn count_packed(&mut self, form: Head) -> Read<u64> {
        let before = self.rest;
        self.skip_string()?;
        let mut head = Vec::new();
        let (head, length) = match Parsed::of(before)?.body {
            Body::Plain(text) => (text, text.len() as u64),
            Body::Number(_) => return Err(Unreadable::Broken("a number stands in place of a packed form")),
            Body::Lzf(stored, length) => {
                lzf::decode_beginning(stored, Head::LONGEST, &mut head).map_err(|_| UNDECODABLE)?;
                (head.as_slice(), length)
            }
        };
        if let Some(count) = form.count(head, length)? {
            return Ok(count);
        }
        let mut count = 0;
        for element in form.elements(&Raw::of(before).string()?)? {
            element?;
            count += 1;
        }
        Ok(count)
    }

    /// A string as it is stored.
    pub(super) fn stored_string(&mut self) -> Read<&'a [u8]> {
        let end = Parsed::of(self.rest)?.end;
        self.slice(end as u64)
    }

    /// What it spared by being compressed is noted.
    pub(super) fn skip_string(&mut self) -> Read<()> {
        if let Body::Lzf(stored, length) = self.parsed()?.body {
            self.spared = self.spared.saturating_add(length.saturating_sub(stored.len() as u64));
        }
        Ok(())
    }

    pub(super) fn skip_strings(&mut self, count: u64) -> Read<()> {
        for _ in 0..count {
            self.skip_string()?;
        }
        Ok(())
    }

    /// A count, and what has to be done for each. Each takes a byte at least, so the end of the value ends this.
    pub(super) fn counted(&mut self, mut each: impl FnMut(&mut Self) -> Read<()>) -> Read<u64> {
        let count = self.length()?;
        for _ in 0..count {
            each(self)?;
        }
        Ok(count)
    }

    /// Bytes that the strings of which this was noted would have had more, if none were compressed.
    pub(super) fn spared(&self) -> u64 {
        self.spared
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn end(&self) -> Read<()> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(Unreadable::Broken("bytes are left over")),
        }
    }

    fn parsed(&mut self) -> Read<Parsed<'a>> {
        let parsed = Parsed::of(self.rest)?;
        take(&mut self.rest, parsed.end as u64)?;
        Ok(parsed)
    }
}

fn decoded(stored: &[u8], length: u64) -> Read<Vec<u8>> {
    let fitting = usize::try_from(length).ok().filter(|_| length <= LONGEST_TEXT);
    let Some(fitting) = fitting else {
        return Err(Unreadable::Unknown(format!(
            "a compressed string of {length} bytes, which is too long to be decoded"
        )));
    };
    let mut text = Vec::new();
    lzf::decode(stored, fitting, &mut text).map_err(|_| UNDECODABLE)?;
    Ok(text)
}
