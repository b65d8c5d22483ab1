//! Hashes that leave out the names of their fields name a template of their file by a number, which a restart draws anew. What is
//! kept of them names it by what it says. Rules: format-spec/19-canonical-rdb.md.

use std::collections::HashMap;

use super::super::coding::{Step, Stop};
use super::super::strings::take_length;
use super::super::structure::TEMPLATES_MAX;
use super::Hasher;

/// Bytes of a tag.
pub(super) const TAG: usize = 8;
/// What stands before a template whose hash becomes a tag.
const DOMAIN: u8 = b'T';

/// What stands for the fields of a template, whatever its number.
pub(super) type Tag = [u8; TAG];

/// The templates of a file. Where several have the same fields, their tag stands for the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateTags {
    by_number: HashMap<u64, Tag>,
    by_tag: HashMap<Tag, Template>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Template {
    pub number: u64,
    pub fields: u64,
}

impl TemplateTags {
    /// Adds the template of an event: its bytes as in the file, without the opcode. One that cannot be read, or too many, is
    /// as good as none: the hashes that need it are kept as they stood.
    pub fn add(&mut self, hasher: Hasher, body: &[u8]) {
        let mut rest = body;
        let Ok(number) = take_length(&mut rest) else { return };
        let said = rest;
        let Ok(fields) = take_length(&mut rest) else { return };
        if self.by_number.len() >= TEMPLATES_MAX {
            return;
        }
        let tag = hasher.tag(&[&[DOMAIN], said].concat());
        self.by_number.insert(number, tag);
        self.by_tag.entry(tag).or_insert(Template { number, fields });
    }

    /// What a number is kept as.
    pub(super) fn tag_of(&self, number: u64) -> Step<(Tag, Template)> {
        let tag = self.by_number.get(&number).copied().ok_or_else(|| Stop::unknown("a template that there is not"))?;
        let template = self.template_of(&tag)?;
        match template.number == number {
            true => Ok((tag, template)),
            false => Err(Stop::unknown("the second of two templates of the same fields")),
        }
    }

    /// What a tag stands for.
    pub(super) fn template_of(&self, tag: &Tag) -> Step<Template> {
        self.by_tag.get(tag).copied().ok_or_else(|| Stop::broken("a template that there is not"))
    }
}

/// Bytes of a listpack before its entries: how long it is, and how many there are.
const HEADER: usize = 6;
/// So many entries or more are not counted.
const UNCOUNTED: u64 = 65_535;
const END: u8 = 0xff;

/// A listpack that begins with the number of a template: that, and what is between it and the end mark.
pub(super) fn part(listpack: &[u8]) -> Option<(u64, &[u8])> {
    let entries = listpack.strip_suffix(&[END])?.get(HEADER..)?;
    let (first, rest) = entries.split_first()?;
    // Numbers are not negative, and stored in the fewest bytes: others do not come back, and are found by that.
    let (number, used) = match *first {
        0..=0x7f => (u64::from(*first), 1),
        0xc0..=0xcf => (u64::from(*first & 0x0f) << 8 | u64::from(*rest.first()?), 2),
        0xf1..=0xf4 => {
            let bytes = [2, 3, 4, 8].get(usize::from(*first - 0xf1)).copied()?;
            let number = rest.get(..bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
            (number, 1 + bytes)
        }
        _ => return None,
    };
    Some((number, entries.get(used + 1..)?))
}

/// The listpack that is parted so, of a template.
pub(super) fn join(Template { number, fields }: Template, entries: &[u8]) -> Step<Vec<u8>> {
    let mut listpack = vec![0; HEADER];
    let from = listpack.len();
    match number {
        0..=0x7f => listpack.push(number as u8),
        0x80..=0xfff => listpack.extend([0xc0 | (number >> 8) as u8, number as u8]),
        _ => {
            let sizes = [(2, 0xf1), (3, 0xf2), (4, 0xf3), (8, 0xf4)];
            // The highest bit is a sign.
            let fitting = sizes.into_iter().find(|(bytes, _)| number >> (8 * bytes - 1) == 0);
            let (bytes, first) = fitting.ok_or_else(|| Stop::unknown("a template with a number above all"))?;
            listpack.push(first);
            listpack.extend(number.to_le_bytes().into_iter().take(bytes));
        }
    }
    listpack.push((listpack.len() - from) as u8);
    listpack.extend_from_slice(entries);
    listpack.push(END);
    let length = u32::try_from(listpack.len()).map_err(|_| Stop::broken("a listpack that is too long"))?;
    let count = fields.saturating_add(1).min(UNCOUNTED) as u16;
    for (at, byte) in listpack.iter_mut().zip(length.to_le_bytes().into_iter().chain(count.to_le_bytes())) {
        *at = byte;
    }
    Ok(listpack)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher() -> Hasher {
        Hasher::new([7; 32])
    }

    /// CANON-7
    #[test]
    fn a_listpack_is_parted_and_joined_whatever_the_number() {
        for number in [0, 1, 127, 128, 4095, 4096, 32_767, 32_768, 1 << 23, 1 << 31, 1 << 40, (1 << 63) - 1] {
            let template = Template { number, fields: 2 };
            let joined = join(template, b"entries").unwrap_or_else(|_| panic!("{number}"));
            assert_eq!(part(&joined), Some((number, &b"entries"[..])), "{number}");
            let (length, count) = (&joined[..4], &joined[4..6]);
            assert_eq!((length, count), (&(joined.len() as u32).to_le_bytes()[..], &[3, 0][..]));
        }
        assert!(join(Template { number: 1 << 63, fields: 2 }, b"").is_err());
        for wrong in
            [&b""[..], b"\xff", b"123456\xff", b"123456\x81a\x02\xff", b"123456\xf2\x01\xff", b"123456\x01\x01"]
        {
            assert_eq!(part(wrong), None, "{wrong:?}");
        }
    }

    /// CANON-7
    #[test]
    fn the_first_of_templates_with_the_same_fields_is_meant_by_their_tag() {
        let mut tags = TemplateTags::default();
        for body in [&b"\x05\x01\x01a"[..], b"\x09\x01\x01a", b"\x0a\x01\x01b", b"\x0b", b""] {
            tags.add(hasher(), body);
        }
        let of = |number| tags.tag_of(number).ok();
        let (tag, template) = of(5).unwrap();
        assert_eq!(template, Template { number: 5, fields: 1 });
        assert_eq!(tags.template_of(&tag).ok(), Some(template));
        assert!(of(9).is_none() && of(11).is_none() && tags.template_of(&[0; TAG]).is_err());
        assert_ne!(of(10).unwrap().0, tag);
        // Another file has it under another number.
        let mut others = TemplateTags::default();
        others.add(hasher(), b"\x40\x99\x01\x01a");
        assert_eq!(others.tag_of(0x99).unwrap_or_else(|_| panic!("it is there")).0, tag);
    }
}
