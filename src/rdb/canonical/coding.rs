//! A value from its bytes in the file to its canonical form, and back. Rules: format-spec/19-canonical-rdb.md.

use super::super::coding::{Step, Stop};
use super::super::strings::{StringForm, Strings, encode_length, length_bytes, take_length};
use super::super::value::{Known, Passage};
use super::templates::{TAG, Template, join, part as part_listpack};
use super::{Hasher, TemplateTags, Values, order, put_varint, take_varint};

/// Values that would take more bytes are kept as they stand: what is compressed in the file may become much longer.
const KEPT_LONGEST: usize = 64 << 20;

/// Writes values down in canonical form.
///
/// CANON-2: a number is a varint; a string is its form and what is kept of it; other bytes stand for themselves; elements that
/// stand in the order of a hash table are sorted, and their order is kept apart.
///
/// CANON-7: an expiry that is told from the earliest is kept by itself, and a template by what it says.
pub(super) struct ToCanonical<'a> {
    pub raw: &'a [u8],
    pub at: usize,
    pub out: &'a mut Vec<u8>,
    /// Where the value begins in `out`.
    pub from: usize,
    pub strings: &'a mut Strings,
    /// Where each string stood in `raw`, in the order of `out`: what proves the form needs not be compressed again.
    pub stood: &'a mut Vec<(u32, u32)>,
    /// Orders of elements, each behind its length.
    pub orders: &'a mut Vec<u8>,
    pub hasher: Hasher,
    /// Collections of more elements are not sorted.
    pub most: u64,
    /// Where in `out` the first string of the element at hand is.
    pub name: Option<(u32, u32)>,
    pub templates: &'a TemplateTags,
    /// The earliest expiry of the fields of this hash.
    pub earliest: u64,
}

/// An element that is to be sorted: where it begins in `out` and in `stood`, and its first string.
#[derive(Clone, Copy)]
struct Element {
    begin: u32,
    end: u32,
    stood: (u32, u32),
    name: (u32, u32),
    place: u32,
}

fn part<T>(all: &[T], (begin, end): (u32, u32)) -> &[T] {
    all.get(begin as usize..end as usize).unwrap_or_default()
}

impl ToCanonical<'_> {
    fn rest(&self) -> &[u8] {
        self.raw.get(self.at..).unwrap_or_default()
    }

    /// Passes a number that is not kept as it is.
    fn number(&mut self) -> Step<u64> {
        let mut rest = self.rest();
        let number = take_length(&mut rest).map_err(|_| Stop::ended())?;
        let used = self.rest().len() - rest.len();
        if used != length_bytes(number) {
            return Err(Stop::unknown("a number in more bytes than it needs"));
        }
        self.at += used;
        Ok(number)
    }

    /// That what is kept of the value does not become longer than any may be.
    pub fn is_not_too_long(&self) -> Step<()> {
        match self.out.len() - self.from > KEPT_LONGEST {
            true => Err(Stop::unknown("a value that becomes too long")),
            false => Ok(()),
        }
    }

    /// Sorts elements, and keeps their order apart.
    fn sort(&mut self, mut elements: Vec<Element>) -> Step<()> {
        let Some(first) = elements.first().copied() else { return Ok(()) };
        let (from, stood_from) = (first.begin as usize, first.stood.0 as usize);
        let (out, stood) = (self.out.split_off(from), self.stood.split_off(stood_from));
        let (base, stood_base) = (first.begin, first.stood.0);
        let of = |(begin, end): (u32, u32)| part(&out, (begin - base, end - base));
        elements.sort_by(|one, other| {
            let names = of(one.name).cmp(of(other.name));
            names.then_with(|| of((one.begin, one.end)).cmp(of((other.begin, other.end))))
        });
        let (mut hashes, mut places) = (Vec::with_capacity(elements.len()), Vec::with_capacity(elements.len()));
        for element in &elements {
            self.out.extend_from_slice(of((element.begin, element.end)));
            let (begin, end) = element.stood;
            self.stood.extend_from_slice(part(&stood, (begin - stood_base, end - stood_base)));
            hashes.push(self.hasher.hash(of(element.name)));
            places.push(element.place);
        }
        let mut order = Vec::new();
        if !order::encode_order(&hashes, &places, &mut order) {
            return Err(Stop::unknown("elements whose order cannot be told"));
        }
        put_varint(self.orders, order.len() as u64);
        self.orders.append(&mut order);
        Ok(())
    }
}

impl Passage for ToCanonical<'_> {
    fn length(&mut self) -> Step<u64> {
        let number = self.number()?;
        put_varint(self.out, number);
        Ok(number)
    }

    fn earliest(&mut self) -> Step<()> {
        let bytes = self.rest().first_chunk().copied().ok_or_else(Stop::ended)?;
        self.earliest = u64::from_le_bytes(bytes);
        self.fixed(8)
    }

    fn after_earliest(&mut self) -> Step<()> {
        let after = self.number()?;
        let kept = if after == 0 { Some(0) } else { self.earliest.checked_add(after) };
        put_varint(self.out, kept.ok_or_else(|| Stop::unknown("an expiry after all"))?);
        Ok(())
    }

    fn template(&mut self, _: &Known) -> Step<u64> {
        let number = self.number()?;
        let (tag, template) = self.templates.tag_of(number)?;
        self.out.extend_from_slice(&tag);
        Ok(template.fields)
    }

    fn templated(&mut self) -> Step<()> {
        let mut text = Vec::new();
        let stored = self.raw.get(self.at..).unwrap_or_default();
        let (form, used) = self.strings.decode(stored, &mut text).map_err(|_| Stop::ended())?;
        let parted = Some(&text).filter(|_| form != StringForm::Verbatim).and_then(|text| part_listpack(text));
        let (number, entries) = parted.ok_or_else(|| Stop::unknown("a listpack without a template"))?;
        let (tag, template) = self.templates.tag_of(number)?;
        if join(template, entries)? != text {
            return Err(Stop::unknown("a listpack that does not come back"));
        }
        self.out.extend_from_slice(&tag);
        put_varint(self.out, (entries.len() as u64) << 2 | form as u64);
        self.out.extend_from_slice(entries);
        self.stood.push((self.at as u32, (self.at + used) as u32));
        self.at += used;
        Ok(())
    }

    fn string(&mut self) -> Step<()> {
        self.is_not_too_long()?;
        let stored = self.raw.get(self.at..).unwrap_or_default();
        let used = put_string(stored, self.strings, self.out, &mut self.name)?;
        self.stood.push((self.at as u32, (self.at + used) as u32));
        self.at += used;
        Ok(())
    }

    fn fixed(&mut self, count: u64) -> Step<()> {
        let count = usize::try_from(count).map_err(|_| Stop::ended())?;
        let bytes = self.raw.get(self.at..).and_then(|rest| rest.get(..count)).ok_or_else(Stop::ended)?;
        self.out.extend_from_slice(bytes);
        self.at += count;
        Ok(())
    }

    fn byte(&mut self) -> Step<u8> {
        let byte = *self.raw.get(self.at).ok_or_else(Stop::ended)?;
        self.fixed(1)?;
        Ok(byte)
    }

    fn unordered(&mut self, element: impl Fn(&mut Self) -> Step<()>) -> Step<()> {
        let count = self.length()?;
        if count > self.most {
            return Err(Stop::unknown("a collection of very many elements"));
        }
        let mut elements = Vec::new();
        for place in 0..count {
            let (begin, stood) = (self.out.len() as u32, self.stood.len() as u32);
            self.name = None;
            element(self)?;
            let (end, stood) = (self.out.len() as u32, (stood, self.stood.len() as u32));
            let name = self.name.unwrap_or((begin, end));
            elements.push(Element { begin, end, stood, name, place: place as u32 });
        }
        match count < 2 {
            true => Ok(()),
            false => self.sort(elements),
        }
    }
}

/// Appends the string that `stored` begins with, in canonical form; says how long it was, and notes where it is kept unless
/// that was noted before.
pub(super) fn put_string(
    stored: &[u8],
    strings: &mut Strings,
    out: &mut Vec<u8>,
    name: &mut Option<(u32, u32)>,
) -> Step<usize> {
    // The head is of one byte where the string is short, which most are.
    let head = out.len();
    out.push(0);
    let (form, used) = strings.decode(stored, out).map_err(|_| Stop::ended())?;
    let number = ((out.len() - head - 1) as u64) << 2 | form as u64;
    match out.get_mut(head) {
        Some(short) if number < 0x80 => *short = number as u8,
        _ => {
            let mut header = Vec::with_capacity(10);
            put_varint(&mut header, number);
            out.splice(head..=head, header);
        }
    }
    let header = (64 - (number | 1).leading_zeros()).div_ceil(7);
    name.get_or_insert((head as u32 + header, out.len() as u32));
    Ok(used)
}

/// The string that some bytes in canonical form begin with: its form and what is kept of it.
pub(super) fn take_string<'a>(rest: &mut &'a [u8]) -> Step<(StringForm, &'a [u8])> {
    let head = take_varint(rest)?;
    let form = match head & 3 {
        0 => StringForm::Usual,
        1 => StringForm::Plain,
        2 => StringForm::Verbatim,
        _ => return Err(Stop::broken("a string of form 3")),
    };
    let kept = usize::try_from(head >> 2).ok().and_then(|length| rest.split_at_checked(length));
    let (kept, behind) = kept.ok_or_else(Stop::ended)?;
    *rest = behind;
    Ok((form, kept))
}

/// Where strings come from as they stood in the file.
pub(super) trait Stored {
    fn put(&mut self, form: StringForm, kept: &[u8], out: &mut Vec<u8>) -> Step<()>;
}

impl Stored for Strings {
    fn put(&mut self, form: StringForm, kept: &[u8], out: &mut Vec<u8>) -> Step<()> {
        self.encode(form, kept, out);
        Ok(())
    }
}

/// Strings as they stood, in the order of the canonical form: that each comes back from its form was proved when the form
/// was found.
pub(super) struct AsTheyStood<'a> {
    pub raw: &'a [u8],
    pub stood: &'a [(u32, u32)],
}

impl Stored for AsTheyStood<'_> {
    fn put(&mut self, _: StringForm, _: &[u8], out: &mut Vec<u8>) -> Step<()> {
        let (first, rest) = self.stood.split_first().ok_or_else(Stop::ended)?;
        self.stood = rest;
        out.extend_from_slice(part(self.raw, *first));
        Ok(())
    }
}

/// Writes values down as they stood in the file.
pub(super) struct ToFile<'a, S: Stored> {
    pub rest: &'a [u8],
    pub out: &'a mut Vec<u8>,
    pub strings: &'a mut S,
    /// Orders of elements that were not used yet; without, elements stay in the order in which they are kept.
    pub orders: Option<&'a [u8]>,
    pub hasher: Hasher,
    /// The hash of the first string of the element at hand.
    pub name: Option<u32>,
    pub values: &'a Values,
    /// The earliest expiry of the fields of this hash.
    pub earliest: u64,
}

impl<S: Stored> ToFile<'_, S> {
    fn tagged(&mut self) -> Step<Template> {
        let (tag, behind) = self.rest.split_first_chunk::<TAG>().ok_or_else(Stop::ended)?;
        self.rest = behind;
        self.values.templates.template_of(tag)
    }
}

impl<S: Stored> Passage for ToFile<'_, S> {
    fn length(&mut self) -> Step<u64> {
        let number = take_varint(&mut self.rest)?;
        encode_length(number as usize, self.out);
        Ok(number)
    }

    fn earliest(&mut self) -> Step<()> {
        let bytes = self.rest.first_chunk().copied().ok_or_else(Stop::ended)?;
        self.earliest = u64::from_le_bytes(bytes);
        self.fixed(8)
    }

    fn after_earliest(&mut self) -> Step<()> {
        if self.values.is_unresolved {
            return self.lengths(1);
        }
        let after = match take_varint(&mut self.rest)? {
            0 => Some(0),
            kept => kept.checked_sub(self.earliest).filter(|after| *after > 0),
        };
        encode_length(after.ok_or_else(|| Stop::broken("an expiry before the earliest"))? as usize, self.out);
        Ok(())
    }

    fn template(&mut self, known: &Known) -> Step<u64> {
        if self.values.is_unresolved {
            return known.fields(self.length()?);
        }
        let template = self.tagged()?;
        encode_length(template.number as usize, self.out);
        Ok(template.fields)
    }

    fn templated(&mut self) -> Step<()> {
        if self.values.is_unresolved {
            return self.string();
        }
        let template = self.tagged()?;
        let (form, entries) = take_string(&mut self.rest)?;
        if form == StringForm::Verbatim {
            return Err(Stop::broken("a listpack as it stood behind a template"));
        }
        self.strings.put(form, &join(template, entries)?, self.out)
    }

    fn string(&mut self) -> Step<()> {
        let (form, kept) = take_string(&mut self.rest)?;
        self.name.get_or_insert_with(|| self.hasher.hash(kept));
        self.strings.put(form, kept, self.out)
    }

    fn fixed(&mut self, count: u64) -> Step<()> {
        let bytes = usize::try_from(count).ok().and_then(|count| self.rest.split_at_checked(count));
        let (bytes, behind) = bytes.ok_or_else(Stop::ended)?;
        self.out.extend_from_slice(bytes);
        self.rest = behind;
        Ok(())
    }

    fn byte(&mut self) -> Step<u8> {
        let byte = *self.rest.first().ok_or_else(Stop::ended)?;
        self.fixed(1)?;
        Ok(byte)
    }

    fn unordered(&mut self, element: impl Fn(&mut Self) -> Step<()>) -> Step<()> {
        let count = self.length()?;
        let begin = self.out.len();
        let (mut ends, mut hashes) = (Vec::new(), Vec::new());
        for _ in 0..count {
            self.name = Some(0).filter(|_| count < 2);
            element(self)?;
            hashes.push(self.name.unwrap_or_default());
            ends.push(self.out.len() - begin);
        }
        if count < 2 {
            return Ok(());
        }
        let Some(mut orders) = self.orders else { return Ok(()) };
        let length = usize::try_from(take_varint(&mut orders)?).map_err(|_| Stop::ended())?;
        let (order, behind) = orders.split_at_checked(length).ok_or_else(Stop::ended)?;
        self.orders = Some(behind);
        let places = order::decode(order, &hashes)?;
        let sorted = self.out.split_off(begin);
        let mut at_place = vec![0; places.len()];
        for (kept, place) in places.iter().enumerate() {
            if let Some(at) = at_place.get_mut(*place as usize) {
                *at = kept;
            }
        }
        for kept in at_place {
            let from = kept.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
            let to = ends.get(kept).copied().unwrap_or(from);
            self.out.extend_from_slice(sorted.get(from..to).unwrap_or_default());
        }
        Ok(())
    }
}
