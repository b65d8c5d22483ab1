//! The elements of a value that is kept with them sorted, as they stood, go back to their places. Rules:
//! format-spec/19-canonical-rdb.md.

use std::ops::Range;
use std::thread;

use rayon::prelude::*;

use super::column::{Column, LARGE_LONGEST, VARINT, damaged};
use super::reader::not_canonical;
use super::together::Out;
use crate::format::Reader;
use crate::rdb::canonical::{Collection, Hasher, Order, OrderTokens};
use crate::repository::error::RepositoryError;
use crate::spill::{Partitions, Scratch, SpillError};

/// Memory for elements that wait for their turn.
const WAITING: usize = 64 << 20;
/// Bytes of elements that are looked at together.
const LOOKED_AT: usize = 1 << 20;
/// Elements whose places are looked for together, and names that a core hashes at a time.
const TOGETHER: usize = 1 << 10;

/// Makes values whose elements are sorted what stood in the file. Memory: 9 bytes an element, 64 MiB of them, and a MiB or the
/// longest one. Scratch: what does not fit.
pub(super) struct ElementPlacer<'r> {
    pub scratch: &'r Scratch,
    pub hasher: Hasher,
    /// The orders of elements, each behind its length.
    pub orders: Column<'r>,
}

impl ElementPlacer<'_> {
    /// The next value of a column, of so many bytes.
    pub fn put(
        &mut self,
        collection: Collection,
        length: u64,
        values: &mut Column<'_>,
        out: &mut Out,
    ) -> Result<(), RepositoryError> {
        let at_hand = length.min(Collection::BEGIN_LONGEST as u64) as usize;
        let begin = values.look(at_hand)?.get(..at_hand).and_then(|raw| collection.begin(raw));
        let (begin, count) = begin.ok_or_else(|| damaged("a value that has no elements"))?;
        // Each of them is a byte at least.
        if !Collection::SORTED.contains(&count) || count > length {
            return Err(damaged(format!("an order of {count} elements")));
        }
        let mut placing = Placing { order: self.order(count)?, left: length - begin as u64, count };
        out.put(values.take(begin)?)?;
        let placed = Partitions::new(self.scratch, count, placing.left, WAITING);
        while placing.count > 0 {
            self.place_some(&mut placing, collection, values, &placed)?;
        }
        if placing.left > 0 || placing.order.left > 0 {
            return Err(damaged("bytes behind the elements of a value, or their order"));
        }
        drop(placing);
        thread::scope(|scope| {
            let mut elements = placed.finish().in_order(scope);
            for _ in 0..count {
                let element = elements.next_record().map_err(RepositoryError::Scratch)?;
                out.put(element.ok_or(SpillError::Broken).map_err(RepositoryError::Scratch)?)?;
            }
            Ok(())
        })
    }

    /// The begin of the next order, of so many elements.
    fn order(&mut self, count: u64) -> Result<Picking, RepositoryError> {
        let mut head = Reader::new("order", self.orders.look(VARINT)?);
        let whole = head.remaining();
        let mut left = head.varint().map_err(|malformed| damaged(malformed.to_string()))?;
        let head = whole - head.remaining();
        self.orders.pass(head);
        let mut tokens = OrderTokens::new(count).map_err(not_canonical)?;
        loop {
            let some = self.orders.look(1)?;
            let taken = tokens.push(some.get(..left.min(some.len() as u64) as usize).unwrap_or_default());
            if taken == 0 {
                break;
            }
            self.orders.pass(taken);
            left -= taken as u64;
        }
        Ok(Picking { order: tokens.finish().map_err(not_canonical)?, left })
    }

    /// Takes the elements that are at hand to their places.
    fn place_some(
        &mut self,
        placing: &mut Placing,
        collection: Collection,
        values: &mut Column<'_>,
        to: &Partitions<'_>,
    ) -> Result<(), RepositoryError> {
        let mut longest = LOOKED_AT;
        let found = loop {
            let bytes = values.look(longest.min(placing.left as usize))?;
            let bytes = bytes.get(..placing.left.min(longest as u64) as usize).unwrap_or(bytes);
            let found = Found::of(collection, bytes, placing.count);
            if !found.elements.is_empty() {
                break found;
            }
            if bytes.len() as u64 == placing.left || longest as u64 > LARGE_LONGEST {
                return Err(damaged("an element that does not end"));
            }
            longest *= 2;
        };
        let bytes = values.take(found.end)?;
        let name =
            |(_, name): &(Range<usize>, Range<usize>)| self.hasher.hash(bytes.get(name.clone()).unwrap_or_default());
        let mut places: Vec<u32> = found.elements.par_iter().with_min_len(TOGETHER).map(name).collect();
        for some in places.chunks_mut(TOGETHER) {
            placing.order.order.expect(some.iter().copied());
            for hash in some {
                *hash = placing.order.place(*hash, &mut self.orders)?;
            }
        }
        let elements = found.elements.par_iter().zip(&places).with_min_len(TOGETHER);
        let pushed = elements
            .try_for_each(|((element, _), place)| to.push(*place, bytes.get(element.clone()).unwrap_or_default()));
        pushed.map_err(RepositoryError::Scratch)?;
        placing.left -= found.end as u64;
        placing.count -= found.elements.len() as u64;
        Ok(())
    }
}

/// A value of which some elements have their places.
struct Placing {
    order: Picking,
    /// Bytes of elements that are left, and how many of these.
    left: u64,
    count: u64,
}

/// An order, of which so many bytes are left.
struct Picking {
    order: Order,
    left: u64,
}

impl Picking {
    fn place(&mut self, hash: u32, rest: &mut Column<'_>) -> Result<u32, RepositoryError> {
        let before = rest.look(VARINT)?;
        let before = before.get(..self.left.min(before.len() as u64) as usize).unwrap_or_default();
        let mut behind = before;
        let place = self.order.place(hash, &mut behind).map_err(not_canonical)?;
        let used = before.len() - behind.len();
        rest.pass(used);
        self.left -= used as u64;
        Ok(place)
    }
}

/// Whole elements that some bytes begin with: each one, and its first string.
struct Found {
    elements: Vec<(Range<usize>, Range<usize>)>,
    end: usize,
}

impl Found {
    /// So many at the most.
    fn of(collection: Collection, bytes: &[u8], most: u64) -> Found {
        let (mut elements, mut end) = (Vec::new(), 0);
        while (elements.len() as u64) < most
            && let Some(element) = collection.element(bytes.get(end..).unwrap_or_default())
        {
            let (from, to) = element.name;
            elements.push((end..end + element.end, end + from..end + to));
            end += element.end;
        }
        Found { elements, end }
    }
}
