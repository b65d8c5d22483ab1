//! Elements as they stand in a dump: those of collections that are too long to be made canonical. Rules:
//! format-spec/19-canonical-rdb.md.

use std::ops::Range;

use super::super::coding::Stop;
use super::super::header::Family;
use super::super::strings::{length_of, take_length};
use super::{Hasher, NotCanonical, ORDER_MAX, OrderTokens};

/// Elements whose places are found together.
const TOGETHER: usize = 1 << 10;

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

    /// What stood in the file, of a value whose elements are sorted as they stood, and their order. Refused where they are not that.
    ///
    /// Memory: the value, and 16 bytes an element, of which there may be as many as bytes.
    pub fn as_it_stood(self, sorted: &[u8], order: &[u8], hasher: Hasher) -> Result<Vec<u8>, NotCanonical> {
        let (begin, count) = self.begin(sorted).ok_or_else(Stop::ended)?;
        // Each of them is a byte at least.
        let is_possible = Self::SORTED.contains(&count) && count <= sorted.len() as u64;
        if !is_possible || u32::try_from(sorted.len()).is_err() {
            return Err(Stop::broken(format!("an order of {count} elements")).into());
        }
        let (ends, in_file) = self.numbered(begin, count as usize, sorted, order, hasher)?;
        let (head, mut out) = (sorted.get(..begin).unwrap_or_default(), Vec::with_capacity(sorted.len()));
        out.extend_from_slice(head);
        for number in in_file {
            let before = (number as usize).checked_sub(1).and_then(|before| ends.get(before));
            let begin = before.map_or(begin, |end| *end as usize);
            let end = ends.get(number as usize).copied().unwrap_or_default() as usize;
            out.extend_from_slice(sorted.get(begin..end).unwrap_or_default());
        }
        Ok(out)
    }

    /// Where each of so many sorted elements ends, and their numbers in the order of the file.
    fn numbered(
        self,
        begin: usize,
        count: usize,
        sorted: &[u8],
        order: &[u8],
        hasher: Hasher,
    ) -> Result<(Vec<u32>, Vec<u32>), NotCanonical> {
        let mut tokens = OrderTokens::new(count as u64)?;
        let (_, mut picks) = order.split_at(tokens.push(order));
        let mut order = tokens.finish()?;
        let (mut ends, mut in_file) = (Vec::with_capacity(count), vec![0; count]);
        let (mut end, mut hashes) = (begin, Vec::new());
        while ends.len() < count {
            let numbers = ends.len()..count.min(ends.len() + TOGETHER);
            for _ in numbers.clone() {
                let rest = sorted.get(end..).unwrap_or_default();
                let element = self.element(rest).ok_or_else(Stop::ended)?;
                hashes.push(hasher.hash(rest.get(element.name.0..element.name.1).unwrap_or_default()));
                end += element.end;
                ends.push(end as u32);
            }
            order.expect(hashes.iter().copied());
            for (number, hash) in numbers.zip(hashes.drain(..)) {
                if let Some(at) = in_file.get_mut(order.place(hash, &mut picks)? as usize) {
                    *at = number as u32;
                }
            }
        }
        match end == sorted.len() && picks.is_empty() {
            true => Ok((ends, in_file)),
            false => Err(Stop::broken("bytes behind elements or their order").into()),
        }
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
