//! A string of a dump, taken apart into what it says and how it is stored. Rules: format-spec/19-canonical-rdb.md.

use super::lzf::{Encoder, decode};

/// RSTR-3: compressed strings whose text is longer are kept as they are stored.
const TEXT_LONGEST: usize = 16 << 20;

/// No text of a number that servers store as one is longer.
const NUMBER_LONGEST: usize = 11;

/// How a string is stored, where its text does not say it.
///
/// RSTR-1: usual, plain or verbatim; the first of them that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StringForm {
    /// As a server with `rdbcompression yes` stores this text.
    Usual,
    /// Byte by byte, behind its length in the fewest bytes, though it could be stored shorter.
    Plain,
    /// Otherwise: what is kept is not the text, but the string as it is stored.
    Verbatim,
}

/// A string was expected, and there is none, or not all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no whole string")]
pub struct NoString;

/// Takes strings apart and puts them together; keeps what the encoder of LZF needs (256 KiB) between them.
#[derive(Default)]
pub struct Strings {
    encoder: Encoder,
    lzf: Vec<u8>,
    /// What a number is stored as, to compare.
    again: Vec<u8>,
}

impl Strings {
    /// Appends what is to be kept of the string that `stored` begins with; gives its form and how many bytes it takes.
    ///
    /// The form is proved here: [`Strings::encode`] makes of it what is stored, byte for byte.
    pub fn decode(&mut self, stored: &[u8], kept: &mut Vec<u8>) -> Result<(StringForm, usize), NoString> {
        let parsed = Parsed::of(stored)?;
        let whole = stored.get(..parsed.end).ok_or(NoString)?;
        let from = kept.len();
        if parsed.text(kept) {
            if let Some(form) = self.form_of(&parsed, whole, kept.get(from..).unwrap_or_default()) {
                return Ok((form, parsed.end));
            }
            kept.truncate(from);
        }
        kept.extend_from_slice(whole);
        Ok((StringForm::Verbatim, parsed.end))
    }

    /// The form that a text is stored in, if its text is enough to tell how: what [`Strings::encode`] would append is compared
    /// part by part, without making it.
    fn form_of(&mut self, parsed: &Parsed<'_>, whole: &[u8], text: &[u8]) -> Option<StringForm> {
        match parsed.body {
            Body::Number(number) => {
                self.again.clear();
                encode_number(number, &mut self.again);
                (self.again == whole).then_some(StringForm::Usual)
            }
            Body::Plain(bytes) => {
                let is_usual = number_of(text).is_none() && !self.compress(text);
                let form = if is_usual { StringForm::Usual } else { StringForm::Plain };
                is_head(whole.get(..whole.len() - bytes.len())?, &[bytes.len()]).then_some(form)
            }
            Body::Lzf(lzf, _) => {
                let is_usual = number_of(text).is_none() && self.compress(text) && self.lzf == lzf;
                let head = whole.get(1..whole.len() - lzf.len())?;
                (is_usual && is_head(head, &[lzf.len(), text.len()])).then_some(StringForm::Usual)
            }
        }
    }

    /// Whether a server would store a text compressed; if so, that is in `lzf`.
    fn compress(&mut self, text: &[u8]) -> bool {
        self.lzf.clear();
        self.encoder.encode(text, &mut self.lzf)
    }

    /// Appends a string as it is stored.
    pub fn encode(&mut self, form: StringForm, kept: &[u8], out: &mut Vec<u8>) {
        match form {
            StringForm::Verbatim => out.extend_from_slice(kept),
            StringForm::Plain => encode_plain(kept, out),
            StringForm::Usual => self.encode_usual(kept, out),
        }
    }

    /// RSTR-2: a number where it is one, else compressed where that gains, else byte by byte.
    fn encode_usual(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if let Some(number) = number_of(text) {
            return encode_number(number, out);
        }
        if !self.compress(text) {
            return encode_plain(text, out);
        }
        out.push(MARK_LZF);
        encode_length(self.lzf.len(), out);
        encode_length(text.len(), out);
        out.extend_from_slice(&self.lzf);
    }
}

/// Appends what the string that `stored` begins with says, whatever its form; tells whether that is known: it is not where the
/// text is longer than 16 MiB and compressed, or what is compressed does not decode.
pub fn text_of(stored: &[u8], text: &mut Vec<u8>) -> Result<bool, NoString> {
    Ok(Parsed::of(stored)?.text(text))
}

/// Bytes that the string takes which `stored` begins with.
pub(super) fn length_of(stored: &[u8]) -> Result<usize, NoString> {
    Ok(Parsed::of(stored)?.end)
}

const MARK_INT8: u8 = 0xc0;
const MARK_INT16: u8 = 0xc1;
const MARK_INT32: u8 = 0xc2;
const MARK_LZF: u8 = 0xc3;

/// What is stored of a string.
pub(super) enum Body<'a> {
    Plain(&'a [u8]),
    Number(i32),
    Lzf(&'a [u8], u64),
}

/// A string as it is stored, and where it ends.
pub(super) struct Parsed<'a> {
    pub(super) body: Body<'a>,
    pub(super) end: usize,
}

impl<'a> Parsed<'a> {
    pub(super) fn of(stored: &'a [u8]) -> Result<Parsed<'a>, NoString> {
        let mut rest = stored;
        let body = match *stored.first().ok_or(NoString)? {
            mark @ MARK_INT8..=MARK_INT32 => {
                take(&mut rest, 1)?;
                Body::Number(number(take(&mut rest, 1 << (mark & 3))?))
            }
            MARK_LZF => {
                take(&mut rest, 1)?;
                let (stored, length) = (take_length(&mut rest)?, take_length(&mut rest)?);
                Body::Lzf(take(&mut rest, stored)?, length)
            }
            _ => {
                let length = take_length(&mut rest)?;
                Body::Plain(take(&mut rest, length)?)
            }
        };
        Ok(Parsed { body, end: stored.len() - rest.len() })
    }

    /// Appends the text, if it is known; else nothing.
    fn text(&self, text: &mut Vec<u8>) -> bool {
        match self.body {
            Body::Plain(bytes) => text.extend_from_slice(bytes),
            Body::Number(number) => text.extend_from_slice(number.to_string().as_bytes()),
            Body::Lzf(lzf, length) => {
                let length = usize::try_from(length).ok().filter(|length| *length <= TEXT_LONGEST);
                return length.is_some_and(|length| decode(lzf, length, text).is_ok());
            }
        }
        true
    }
}

pub(super) fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], NoString> {
    let length = usize::try_from(length).map_err(|_| NoString)?;
    let (taken, behind) = rest.split_at_checked(length).ok_or(NoString)?;
    *rest = behind;
    Ok(taken)
}

pub(super) fn take_length(rest: &mut &[u8]) -> Result<u64, NoString> {
    let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    match take(rest, 1)? {
        &[short @ ..0x40] => Ok(u64::from(short)),
        &[high @ 0x40..0x80] => Ok(u64::from(high & 0x3f) << 8 | big_endian(take(rest, 1)?)),
        [0x80] => Ok(big_endian(take(rest, 4)?)),
        [0x81] => Ok(big_endian(take(rest, 8)?)),
        _ => Err(NoString),
    }
}

/// A signed number of one, two or four bytes, the lowest first.
fn number(bytes: &[u8]) -> i32 {
    let unsigned = bytes.iter().rev().fold(0u32, |number, byte| number << 8 | u32::from(*byte));
    let unused = u32::BITS - 8 * bytes.len() as u32;
    (unsigned << unused) as i32 >> unused
}

/// The number that servers store in place of a text: one of 32 bits, written as they write it.
fn number_of(text: &[u8]) -> Option<i32> {
    if text.len() > NUMBER_LONGEST {
        return None;
    }
    let digits = str::from_utf8(text).ok()?;
    let number: i32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

fn encode_number(number: i32, out: &mut Vec<u8>) {
    if let Ok(number) = i8::try_from(number) {
        out.push(MARK_INT8);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i16::try_from(number) {
        out.push(MARK_INT16);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        out.push(MARK_INT32);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Appends a text as a string: its length in the fewest bytes, then the text.
pub fn encode_plain(text: &[u8], out: &mut Vec<u8>) {
    encode_length(text.len(), out);
    out.extend_from_slice(text);
}

/// In the fewest bytes.
pub(super) fn encode_length(length: usize, out: &mut Vec<u8>) {
    match length {
        0..0x40 => out.push(length as u8),
        0x40..0x4000 => out.extend_from_slice(&(length as u16 | 0x4000).to_be_bytes()),
        _ => match u32::try_from(length) {
            Ok(length) => {
                out.push(0x80);
                out.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                out.push(0x81);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        },
    }
}

/// How many bytes a length takes in [`encode_length`].
pub(super) fn length_bytes(length: u64) -> usize {
    match length {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// Whether what these lengths were read from has them in the fewest bytes.
fn is_head(head: &[u8], lengths: &[usize]) -> bool {
    head.len() == lengths.iter().map(|length| length_bytes(*length as u64)).sum::<usize>()
}

#[cfg(test)]
mod tests;
