//! Elements as they stand in a dump: those of collections that are too long to be made canonical. Rules:
//! format-spec/19-canonical-rdb.md.

use std::ops::Range;

use super::super::coding::{Step, Stop};
use super::super::header::Family;
use super::super::strings::{length_of, take_length};
use super::{Hasher, NotCanonical, ORDER_MAX, order};

/// A collection whose elements stand in the order of a hash table, by what it and each element consist of.
#[derive(Debug, Clone, Copy)]
pub struct Collection {
    /// Bytes before the number of elements.
    before: usize,
    /// An element begins with a number.
    is_numbered: bool,
    /// How many strings an element has, and bytes behind them.
    strings: usize,
    behind: usize,
}

/// An element that some bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElementAt {
    /// Where its first string begins, and where that ends.
    pub name: (usize, usize),
    /// Where it ends.
    pub end: usize,
}

impl Collection {
    /// So many elements have an order.
    pub const SORTED: Range<u64> = 2..ORDER_MAX;
    /// The most bytes before the first element.
    pub const BEGIN_LONGEST: usize = 17;

    /// What values of this type are, if they are such collections.
    pub fn of(type_byte: u8, family: Family) -> Option<Collection> {
        let of = |before, is_numbered, strings, behind| Some(Collection { before, is_numbered, strings, behind });
        match (type_byte, family) {
            (2, _) => of(0, false, 1, 0),
            (4, _) => of(0, false, 2, 0),
            (22, Family::Valkey) => of(0, false, 2, 8),
            (22, Family::Redis) => of(0, true, 2, 0),
            (24, Family::Redis) => of(8, true, 2, 0),
            _ => None,
        }
    }

    /// How many bytes of a value stand before its first element, and how many elements there are; `None` where that much is not
    /// there.
    pub fn begin(self, raw: &[u8]) -> Option<(usize, u64)> {
        let mut rest = raw.get(self.before..)?;
        let count = take_length(&mut rest).ok()?;
        Some((raw.len() - rest.len(), count))
    }

    /// The element that some bytes begin with; `None` where not all of it is there.
    pub fn element(self, raw: &[u8]) -> Option<ElementAt> {
        let begin = match self.is_numbered {
            true => {
                let mut rest = raw;
                take_length(&mut rest).ok()?;
                raw.len() - rest.len()
            }
            false => 0,
        };
        let string = |from: usize| Some(from + length_of(raw.get(from..)?).ok()?);
        let name_end = string(begin)?;
        let strings_end = (1..self.strings).try_fold(name_end, |end, _| string(end))?;
        let end = strings_end + self.behind;
        (end <= raw.len()).then_some(ElementAt { name: (begin, name_end), end })
    }

    /// What stood in the file, of a value whose elements are sorted as they stood, and their order. Memory: the value, and 44
    /// bytes an element.
    pub fn as_it_stood(self, sorted: &[u8], order: &[u8], hasher: Hasher) -> Result<Vec<u8>, NotCanonical> {
        Ok(self.put_back(sorted, order, hasher)?)
    }

    fn put_back(self, sorted: &[u8], order: &[u8], hasher: Hasher) -> Step<Vec<u8>> {
        let (begin, count) = self.begin(sorted).ok_or_else(Stop::ended)?;
        let (head, mut rest) = sorted.split_at_checked(begin).ok_or_else(Stop::ended)?;
        if !Self::SORTED.contains(&count) {
            return Err(Stop::broken(format!("an order of {count} elements")));
        }
        let (mut elements, mut hashes) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let ElementAt { name: (from, to), end } = self.element(rest).ok_or_else(Stop::ended)?;
            let (element, behind) = rest.split_at_checked(end).ok_or_else(Stop::ended)?;
            hashes.push(hasher.hash(element.get(from..to).unwrap_or_default()));
            elements.push(element);
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(Stop::broken("bytes behind elements"));
        }
        let mut in_file = vec![&[][..]; elements.len()];
        for (element, place) in elements.into_iter().zip(order::decode(order, &hashes)?) {
            if let Some(at) = in_file.get_mut(place as usize) {
                *at = element;
            }
        }
        let mut out = Vec::with_capacity(sorted.len());
        out.extend_from_slice(head);
        in_file.into_iter().for_each(|element| out.extend_from_slice(element));
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CANON-8
    #[test]
    fn elements_of_each_type_are_found_and_of_less_than_one_nothing() {
        // Bytes before the first element, three elements of one value, and where the first string of an element stands.
        let eight = [7; 8];
        let cases = [
            (2, Family::Redis, &b"\x03"[..], b"\x02ab".to_vec(), (0, 3)),
            (4, Family::Valkey, b"\x40\x03", b"\xc0\x07\xc3\x02\x05\x00a".to_vec(), (0, 2)),
            (22, Family::Valkey, b"\x03", [&b"\x01f\x00"[..], &eight].concat(), (0, 2)),
            (22, Family::Redis, b"\x80\0\0\0\x03", b"\x40\x50\x01f\x02vv".to_vec(), (2, 4)),
            (24, Family::Redis, b"\0\0\0\0\0\0\0\0\x03", b"\x00\xc1\x01\x02\x01v".to_vec(), (1, 4)),
        ];
        for (type_byte, family, begin, element, name) in cases {
            let of = Collection::of(type_byte, family).unwrap();
            let value = [begin, &element.repeat(3)].concat();
            assert_eq!(of.begin(&value), Some((begin.len(), 3)), "{type_byte}");
            assert_eq!(of.element(&value[begin.len()..]), Some(ElementAt { name, end: element.len() }), "{type_byte}");
            assert!((0..begin.len()).all(|less| of.begin(&value[..less]).is_none()), "{type_byte}");
            assert!((0..element.len()).all(|less| of.element(&element[..less]).is_none()), "{type_byte}");
        }
        let others = (0..=255).filter(|other| ![2, 4, 22, 24].contains(other));
        let all = others.flat_map(|other| [(other, Family::Redis), (other, Family::Valkey)]);
        assert!(all.chain([(24, Family::Valkey)]).all(|(other, family)| Collection::of(other, family).is_none()));
    }
}
