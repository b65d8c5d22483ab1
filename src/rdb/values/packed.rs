//! Packed forms hold many elements in one string: listpack, ziplist, zipmap, intset. Each is read front to back.

use std::borrow::Cow;

use super::Unreadable;
use super::raw::Read;

/// An element: a text, or a whole number that stands for its decimal digits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Packed<'a> {
    Text(&'a [u8]),
    Number(i64),
}

impl<'a> Packed<'a> {
    pub(super) fn text(self) -> Cow<'a, [u8]> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.to_string().into_bytes()),
        }
    }

    pub(super) fn number(self) -> Read<i64> {
        let number = match self {
            Self::Number(number) => Some(number),
            Self::Text(text) => str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
        };
        number.ok_or(Unreadable::Broken("a text stands where a number should be"))
    }
}

/// Elements of a packed form, one after the other. It ends behind the first error.
#[derive(Clone)]
pub(super) struct Elements<'a> {
    form: Form,
    rest: &'a [u8],
    /// Elements read, and how many the head tells, where it does.
    read: u64,
    told: Option<u64>,
    ended: bool,
}

#[derive(Clone, Copy)]
enum Form {
    Listpack,
    Ziplist,
    /// Integers of so many bytes.
    Intset(u8),
}

const CUT: Unreadable = Unreadable::Broken("a packed form is cut short");
const MARK: Unreadable = Unreadable::Broken("a packed form has an element of no known form");
const COUNT: Unreadable = Unreadable::Broken("a packed form does not have as many elements as it says");
/// Where two bytes tell how many elements there are, this says that there are more than they can tell.
const MANY: u16 = u16::MAX;
const END: u8 = 0xff;

impl<'a> Elements<'a> {
    /// All bytes in four bytes, elements in two; elements; the end mark.
    pub(super) fn of_listpack(blob: &'a [u8]) -> Read<Self> {
        let mut rest = blob;
        let (bytes, told) = (little(take(&mut rest, 4)?), little(take(&mut rest, 2)?));
        Self::marked(Form::Listpack, rest, bytes == blob.len() as u64, told)
    }

    /// All bytes and where the last element is in four bytes each, elements in two; elements; the end mark.
    pub(super) fn of_ziplist(blob: &'a [u8]) -> Read<Self> {
        let mut rest = blob;
        let (bytes, _, told) = (little(take(&mut rest, 4)?), take(&mut rest, 4)?, little(take(&mut rest, 2)?));
        Self::marked(Form::Ziplist, rest, bytes == blob.len() as u64, told)
    }

    fn marked(form: Form, rest: &'a [u8], is_whole: bool, told: u64) -> Read<Self> {
        let told = (told != u64::from(MANY)).then_some(told);
        match rest.split_last() {
            // No element has less than two bytes.
            Some((&END, rest)) if is_whole && told.is_none_or(|told| told <= rest.len() as u64 / 2) => {
                Ok(Self { form, rest, read: 0, told, ended: false })
            }
            _ => Err(Unreadable::Broken("a packed form is not as long as it says")),
        }
    }

    /// The width of an integer and how many there are in four bytes each; integers.
    pub(super) fn of_intset(blob: &'a [u8]) -> Read<Self> {
        let mut rest = blob;
        let (width, told) = (little(take(&mut rest, 4)?), little(take(&mut rest, 4)?));
        match u8::try_from(width) {
            Ok(width @ (2 | 4 | 8)) if told * u64::from(width) == rest.len() as u64 => {
                Ok(Self { form: Form::Intset(width), rest, read: 0, told: Some(told), ended: false })
            }
            _ => Err(Unreadable::Broken("a set of integers is not as long as it says")),
        }
    }

    /// The next element, where there has to be one.
    pub(super) fn need(&mut self) -> Read<Packed<'a>> {
        self.next().unwrap_or(Err(CUT))
    }

    fn take_next(&mut self) -> Read<Packed<'a>> {
        match self.form {
            Form::Listpack => listpack_element(&mut self.rest),
            Form::Ziplist => ziplist_element(&mut self.rest),
            Form::Intset(width) => Ok(Packed::Number(signed(take(&mut self.rest, u64::from(width))?))),
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Read<Packed<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.rest.is_empty() {
            self.ended = true;
            return self.told.is_some_and(|told| told != self.read).then_some(Err(COUNT));
        }
        self.read += 1;
        let element = self.take_next();
        self.ended = element.is_err();
        Some(element)
    }
}

/// A form by its head: a blob may be all that is looked at of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Head {
    Listpack,
    Ziplist,
    Intset,
}

impl Head {
    /// As much of a blob as it takes.
    pub(super) const LONGEST: usize = 10;

    /// How many elements a blob of so many bytes has that begins with `head`; `None` if they have to be counted.
    pub(super) fn count(self, mut head: &[u8], length: u64) -> Read<Option<u64>> {
        let first = little(take(&mut head, 4)?);
        let (told, least) = match self {
            Self::Listpack => (little(take(&mut head, 2)?), 2),
            Self::Ziplist => {
                take(&mut head, 4)?;
                (little(take(&mut head, 2)?), 2)
            }
            Self::Intset => return Ok(Some(little(take(&mut head, 4)?)).filter(|told| told * first + 8 == length)),
        };
        match told == u64::from(MANY) {
            true => Ok(None),
            false if first == length && told <= length / least => Ok(Some(told)),
            false => Err(Unreadable::Broken("a packed form is not as long as it says")),
        }
    }

    pub(super) fn elements(self, blob: &[u8]) -> Read<Elements<'_>> {
        match self {
            Self::Listpack => Elements::of_listpack(blob),
            Self::Ziplist => Elements::of_ziplist(blob),
            Self::Intset => Elements::of_intset(blob),
        }
    }
}

/// An element, and behind it how long it is, to go backwards.
fn listpack_element<'a>(rest: &mut &'a [u8]) -> Read<Packed<'a>> {
    let before = rest.len();
    let first = byte(rest)?;
    let element = match first {
        0..0x80 => Packed::Number(i64::from(first)),
        0x80..0xc0 => Packed::Text(take(rest, u64::from(first & 0x3f))?),
        0xc0..0xe0 => {
            let unsigned = u64::from(first & 0x1f) << 8 | u64::from(byte(rest)?);
            Packed::Number(extended(unsigned, 13))
        }
        0xe0..0xf0 => {
            let length = u64::from(first & 0x0f) << 8 | u64::from(byte(rest)?);
            Packed::Text(take(rest, length)?)
        }
        0xf0 => {
            let length = little(take(rest, 4)?);
            Packed::Text(take(rest, length)?)
        }
        0xf1 => Packed::Number(signed(take(rest, 2)?)),
        0xf2 => Packed::Number(signed(take(rest, 3)?)),
        0xf3 => Packed::Number(signed(take(rest, 4)?)),
        0xf4 => Packed::Number(signed(take(rest, 8)?)),
        _ => return Err(MARK),
    };
    let back = match before - rest.len() {
        ..128 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    take(rest, back)?;
    Ok(element)
}

/// How long the element before is, to go backwards, and an element.
fn ziplist_element<'a>(rest: &mut &'a [u8]) -> Read<Packed<'a>> {
    match byte(rest)? {
        254 => drop(take(rest, 4)?),
        255 => return Err(MARK),
        _ => {}
    }
    let first = byte(rest)?;
    Ok(match first {
        0..0x40 => Packed::Text(take(rest, u64::from(first))?),
        0x40..0x80 => {
            let length = u64::from(first & 0x3f) << 8 | u64::from(byte(rest)?);
            Packed::Text(take(rest, length)?)
        }
        0x80 => {
            let length = take(rest, 4)?.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
            Packed::Text(take(rest, length)?)
        }
        0xc0 => Packed::Number(signed(take(rest, 2)?)),
        0xd0 => Packed::Number(signed(take(rest, 4)?)),
        0xe0 => Packed::Number(signed(take(rest, 8)?)),
        0xf0 => Packed::Number(signed(take(rest, 3)?)),
        0xf1..=0xfd => Packed::Number(i64::from(first & 0x0f) - 1),
        0xfe => Packed::Number(signed(take(rest, 1)?)),
        _ => return Err(MARK),
    })
}

/// Hands on the fields of a zipmap, the form of small hashes before 2.6: a byte that tells how many there are, names and values
/// behind their lengths, each value with some bytes to spare, the end mark.
pub(super) fn each_of_zipmap<E: From<Unreadable>>(
    blob: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = blob;
    byte(&mut rest)?;
    while let Some(length) = zipmap_length(&mut rest)? {
        let name = take(&mut rest, length)?;
        let length = zipmap_length(&mut rest)?.ok_or(CUT)?;
        let spare = byte(&mut rest)?;
        let value = take(&mut rest, length)?;
        take(&mut rest, u64::from(spare))?;
        each(name, value)?;
    }
    match rest.is_empty() {
        true => Ok(()),
        false => Err(Unreadable::Broken("bytes are left over").into()),
    }
}

fn zipmap_length(rest: &mut &[u8]) -> Read<Option<u64>> {
    match byte(rest)? {
        END => Ok(None),
        254 => take(rest, 4).map(|bytes| Some(little(bytes))),
        short => Ok(Some(u64::from(short))),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Read<&'a [u8]> {
    let length = usize::try_from(length).map_err(|_| CUT)?;
    let (taken, behind) = rest.split_at_checked(length).ok_or(CUT)?;
    *rest = behind;
    Ok(taken)
}

fn byte(rest: &mut &[u8]) -> Read<u8> {
    let (&first, behind) = rest.split_first().ok_or(CUT)?;
    *rest = behind;
    Ok(first)
}

/// At most eight bytes, the lowest first.
fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn signed(bytes: &[u8]) -> i64 {
    extended(little(bytes), 8 * bytes.len() as u32)
}

/// A signed number of so many bits.
fn extended(unsigned: u64, bits: u32) -> i64 {
    let unused = u64::BITS - bits;
    (unsigned << unused) as i64 >> unused
}
