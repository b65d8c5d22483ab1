//! The elements of a collection that is too long to be made canonical are sorted while its bytes come in. Rules:
//! format-spec/19-canonical-rdb.md.

use std::ops::Range;
use std::thread;

use crossbeam_channel::bounded;
use rayon::prelude::*;

use super::merging::MergeError;
use super::workers::{joined, told};
use super::writer::{NotStored, TakeBytes};
use crate::rdb::Family;
use crate::rdb::canonical::{Collection, Hasher, OrderTokens, encode_order};
use crate::spill::{Partitions, Scratch, Sorted, Sorter, SpillError};

/// Memory for the elements of a value that is there as a whole.
const ELEMENTS: usize = 32 << 20;
/// Memory for elements that go back to their places.
const PLACED: usize = 32 << 20;
/// Bytes of elements that are handed on together, and hashed on all cores.
const PIECE: usize = 1 << 20;
/// Such pieces that wait.
const PIECES: usize = 2;
/// Names that a core hashes at a time.
const HASHED: usize = 1 << 10;
/// Bytes of a place, in front of what stands in an element before its name.
const PLACE: usize = 4;

/// Takes the bytes of a value, in pieces, and sorts its elements.
///
/// Memory: what is given for elements, and a piece; when all came, 4 MiB and 24 bytes an element. Scratch: what finds no room, with
/// ten bytes an element.
pub(super) struct ElementSorter<'s> {
    collection: Collection,
    hasher: Hasher,
    scratch: &'s Scratch,
    sorter: Sorter<'s>,
    memory: usize,
    payload: Vec<u8>,
    /// What stands before the first element, once all of it came.
    head: Vec<u8>,
    /// How many elements there are to be, and how many came.
    count: u64,
    taken: u32,
    /// What came, and is no whole element.
    held: Vec<u8>,
}

impl From<SpillError> for MergeError {
    fn from(error: SpillError) -> MergeError {
        MergeError::Not(NotStored::because(told(&error)))
    }
}

impl<'s> ElementSorter<'s> {
    /// For a value of this type, whose elements take so much memory; `None` if it is no collection whose elements can be sorted.
    pub fn new(
        scratch: &'s Scratch,
        memory: usize,
        hasher: Hasher,
        type_byte: u8,
        family: Family,
    ) -> Option<ElementSorter<'s>> {
        let collection = Collection::of(type_byte, family)?;
        let (sorter, payload, head, held) = (Sorter::new(scratch, memory), Vec::new(), Vec::new(), Vec::new());
        Some(ElementSorter { collection, memory, hasher, scratch, sorter, payload, head, count: 0, taken: 0, held })
    }

    /// Takes the next piece. Answers whether its elements can still be sorted: where not, all that came is to be had by
    /// [`ElementSorter::give_back`].
    pub fn push(&mut self, piece: &[u8]) -> Result<bool, SpillError> {
        if self.held.is_empty() {
            return self.take_some(piece);
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(piece);
        self.take_some(&held)
    }

    /// Takes what comes behind all that was taken, and holds what is no whole element.
    fn take_some(&mut self, bytes: &[u8]) -> Result<bool, SpillError> {
        let begun = match self.head.is_empty() {
            true => self.collection.begin(bytes),
            false => Some((0, self.count)),
        };
        let Some((begin, count)) = begun.filter(|(_, count)| Collection::SORTED.contains(count)) else {
            self.held = bytes.to_vec();
            // What a number of elements cannot be does not become one.
            return Ok(begun.is_none() && bytes.len() < Collection::BEGIN_LONGEST);
        };
        let (head, rest) = bytes.split_at(begin);
        self.head.extend_from_slice(head);
        self.count = count;
        let (passed, is_sortable) = self.take(rest)?;
        self.held = rest.get(passed..).unwrap_or_default().to_vec();
        Ok(is_sortable)
    }

    /// Takes the whole elements that some bytes begin with. Answers how long they are, and whether the next one can be taken when
    /// all of it is there.
    fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), SpillError> {
        let mut passed = 0;
        while u64::from(self.taken) < self.count {
            let rest = bytes.get(passed..).unwrap_or_default();
            let Some(element) = self.collection.element(rest) else { break };
            let (before, key) = rest.get(..element.end).unwrap_or_default().split_at(element.name.0);
            self.payload.clear();
            self.payload.extend_from_slice(&self.taken.to_le_bytes());
            self.payload.extend_from_slice(before);
            match self.sorter.push(key, &self.payload) {
                Err(SpillError::TooLong { .. }) => return Ok((passed, false)),
                pushed => pushed?,
            }
            self.taken += 1;
            passed += element.end;
        }
        Ok((passed, bytes.len() - passed <= self.memory / 8))
    }

    /// Whether all elements came, and nothing else.
    fn is_whole(&self) -> bool {
        !self.head.is_empty() && u64::from(self.taken) == self.count && self.held.is_empty()
    }

    /// Hands on what the value begins with, and its elements sorted; answers with their order, of which is proved that a reader
    /// finds the place of each. Refused where the value is not whole.
    pub fn finish(self, put: &mut TakeBytes<'_>) -> Result<Vec<u8>, MergeError> {
        if !self.is_whole() {
            return Err(NotStored::because("a very long value is not of the elements that it says").into());
        }
        let SortedElements { order, hashes, places } = self.sort(put)?;
        let is_told = order.filter(|order| comes_back(order, &hashes, &places));
        is_told.ok_or_else(|| NotStored::because("the order of a key's elements cannot be told").into())
    }

    /// CANON-8: hands on what the value begins with, and its elements sorted.
    fn sort(self, put: &mut TakeBytes<'_>) -> Result<SortedElements, MergeError> {
        put(&self.head)?;
        let (collection, hasher, count) = (self.collection, self.hasher, self.taken as usize);
        let mut sorted = self.sorter.finish()?;
        let mut hashes = Vec::with_capacity(count);
        let places = thread::scope(|scope| {
            let (to, pieces) = bounded(PIECES);
            let merging = scope.spawn(move || {
                let mut places = Vec::with_capacity(count);
                while let Some(piece) = Piece::next(&mut sorted, collection, &mut places)? {
                    if to.send(piece).is_err() {
                        break;
                    }
                }
                Ok::<_, SpillError>(places)
            });
            for piece in pieces {
                let hash = |name: &Range<usize>| hasher.hash(piece.bytes.get(name.clone()).unwrap_or_default());
                hashes.par_extend(piece.names.par_iter().with_min_len(HASHED).map(hash));
                put(&piece.bytes)?;
            }
            Ok::<_, MergeError>(joined(merging)?)
        })?;
        let mut order = Vec::new();
        let is_told = encode_order(&hashes, &places, &mut order);
        Ok(SortedElements { order: is_told.then_some(order), hashes, places })
    }

    /// Hands on all that came as it stood.
    pub fn give_back(self, put: &mut TakeBytes<'_>) -> Result<(), MergeError> {
        put(&self.head)?;
        let taken = u64::from(self.taken);
        let bytes = taken.saturating_mul(16);
        let placed = Partitions::new(self.scratch, taken, bytes, PLACED);
        let (mut sorted, mut element) = (self.sorter.finish()?, Vec::new());
        while let Some(record) = sorted.next_record()? {
            let Some((place, before)) = record.payload.split_first_chunk::<PLACE>() else { continue };
            element.clear();
            element.extend_from_slice(before);
            element.extend_from_slice(record.key);
            placed.push(u32::from_le_bytes(*place), &element)?;
        }
        drop(sorted);
        thread::scope(|scope| {
            let mut elements = placed.finish().in_order(scope);
            for _ in 0..taken {
                let element = elements.next_record()?.ok_or(SpillError::Broken)?;
                put(element)?;
            }
            Ok::<_, MergeError>(())
        })?;
        Ok(put(&self.held)?)
    }
}

/// What is known of elements that were sorted.
struct SortedElements {
    /// Their order, where it can be told.
    order: Option<Vec<u8>>,
    /// Of each its name's hash, and its place in the file.
    hashes: Vec<u32>,
    places: Vec<u32>,
}

/// A value whose elements are sorted, and their order.
pub type ValueAndOrder = (Vec<u8>, Vec<u8>);

/// A value that is there as a whole with its elements sorted, and their order; `None` where it has to stay as it stood. An error says
/// why scratch files could not be used.
///
/// It is made again of these before they are handed on, and is what it was. Memory: the value twice, and 68 MiB with 24 bytes an
/// element.
pub fn sort_elements(
    scratch: &Scratch,
    hasher: Hasher,
    family: Family,
    type_byte: u8,
    value: &[u8],
) -> Result<Option<ValueAndOrder>, String> {
    let Some(mut sorter) = ElementSorter::new(scratch, ELEMENTS, hasher, type_byte, family) else { return Ok(None) };
    if !sorter.push(value).map_err(|error| told(&error))? || !sorter.is_whole() {
        return Ok(None);
    }
    let (collection, mut sorted) = (sorter.collection, Vec::with_capacity(value.len()));
    let order = sorter.sort(&mut |bytes| {
        sorted.extend_from_slice(bytes);
        Ok(())
    });
    // Nothing else of it is kept.
    let order = match order.map(|elements| elements.order) {
        Ok(order) => order,
        Err(MergeError::Not(_)) => None,
        Err(MergeError::Repository(error)) => return Err(error.to_string()),
    };
    let comes_back = |order: &Vec<u8>| collection.as_it_stood(&sorted, order, hasher).as_deref() == Ok(value);
    Ok(order.filter(comes_back).map(|order| (sorted, order)))
}

/// Sorted elements, one behind the other.
struct Piece {
    bytes: Vec<u8>,
    /// Where the first string of each stands.
    names: Vec<Range<usize>>,
}

impl Piece {
    /// The next ones, and their places; `None` at the end.
    fn next(sorted: &mut Sorted, collection: Collection, places: &mut Vec<u32>) -> Result<Option<Piece>, SpillError> {
        let mut piece = Piece { bytes: Vec::with_capacity(PIECE), names: Vec::new() };
        while piece.bytes.len() < PIECE
            && let Some(record) = sorted.next_record()?
        {
            let Some((place, before)) = record.payload.split_first_chunk::<PLACE>() else { continue };
            let begin = piece.bytes.len();
            piece.bytes.extend_from_slice(before);
            piece.bytes.extend_from_slice(record.key);
            let element = collection.element(piece.bytes.get(begin..).unwrap_or_default());
            let (from, to) = element.ok_or(SpillError::Broken)?.name;
            piece.names.push(begin + from..begin + to);
            places.push(u32::from_le_bytes(*place));
        }
        Ok((!piece.names.is_empty()).then_some(piece))
    }
}

/// Whether a reader finds the place of each element: what a record that is there as a whole is proved by, of one that is not.
fn comes_back(order: &[u8], hashes: &[u32], places: &[u32]) -> bool {
    let Ok(mut tokens) = OrderTokens::new(hashes.len() as u64) else { return false };
    let (_, mut picks) = order.split_at(tokens.push(order));
    let Ok(mut order) = tokens.finish() else { return false };
    let is_same = hashes.chunks(HASHED).zip(places.chunks(HASHED)).all(|(hashes, places)| {
        order.expect(hashes.iter().copied());
        hashes.iter().zip(places).all(|(hash, place)| order.place(*hash, &mut picks) == Ok(*place))
    });
    is_same && picks.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::noise;
    use crate::rdb::strings::encode_plain;

    const HASHER: [u8; 32] = [3; 32];

    /// A set of these members.
    fn set(members: &[Vec<u8>]) -> Vec<u8> {
        let mut value = [&[0x80][..], &(members.len() as u32).to_be_bytes()].concat();
        members.iter().for_each(|member| encode_plain(member, &mut value));
        value
    }

    /// What comes of a value of this type in pieces: whether it was sorted, what is stored, and its order.
    fn stored(value: &[u8], size: usize, type_byte: u8) -> Option<(bool, Vec<u8>, Vec<u8>)> {
        let place = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(place.path(), [7; 32]);
        let mut sorter = ElementSorter::new(&scratch, 64 << 10, Hasher::new(HASHER), type_byte, Family::Redis)?;
        let (mut out, mut is_sortable) = (Vec::new(), true);
        let mut put = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        let mut behind = Vec::new();
        for piece in value.chunks(size) {
            match is_sortable {
                true => is_sortable = sorter.push(piece).unwrap(),
                false => behind.extend_from_slice(piece),
            }
        }
        let told = |_: MergeError| "it failed";
        if is_sortable && sorter.is_whole() {
            let order = sorter.finish(&mut put).map_err(told).unwrap();
            return Some((true, out, order));
        }
        sorter.give_back(&mut put).map_err(told).unwrap();
        Some((false, [out, behind].concat(), Vec::new()))
    }

    /// CANON-8
    #[test]
    fn elements_are_sorted_however_few_find_room_and_in_whatever_pieces_they_come() {
        let members: Vec<Vec<u8>> = (0..20_000).map(|number| noise(6 + number as usize % 9, number)).collect();
        let mut sorted: Vec<Vec<u8>> =
            members.iter().map(|member| set(std::slice::from_ref(member))[5..].to_vec()).collect();
        sorted.sort();
        let value = set(&members);
        let orders: Vec<Vec<u8>> = [1, 1000, 50_000, usize::MAX]
            .into_iter()
            .map(|size| {
                let (is_sorted, stored, order) = stored(&value, size, 2).unwrap();
                assert!(is_sorted && stored == [&value[..5], &sorted.concat()].concat(), "{size}");
                order
            })
            .collect();
        assert!(orders.iter().all(|order| order == &orders[0] && order.len() > 2 * members.len()));
        assert!(stored(&value, 1000, 1).is_none(), "a list has an order of its own");
    }

    /// What is damaged may go on to the end of the file.
    #[test]
    fn of_what_cannot_be_sorted_little_is_held() {
        let place = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(place.path(), [7; 32]);
        // No number of elements; one, and more than there can be; elements of which the first never ends.
        for begin in [&b"\xc0"[..], b"\x01\x01a", b"\x81\xff", b"\x02\xc9", b"\x02\x81\0"] {
            let mut sorter = ElementSorter::new(&scratch, 64 << 10, Hasher::new(HASHER), 2, Family::Redis).unwrap();
            let mut pushed = usize::from(sorter.push(begin).unwrap());
            while pushed > 0 && sorter.push(&[0xff; 1000]).unwrap() {
                pushed += 1;
                assert!(pushed < 20, "{begin:?}");
            }
        }
    }

    /// CANON-1
    #[test]
    fn an_order_that_is_not_that_of_the_elements_is_seen() {
        let (hashes, places) = ([1 << 31, 5, 5, 6], [2, 3, 0, 1]);
        let mut order = Vec::new();
        assert!(encode_order(&hashes, &places, &mut order) && comes_back(&order, &hashes, &places));
        for other in [[3, 2, 0, 1], [2, 0, 3, 1], [0, 1, 2, 3]] {
            assert!(!comes_back(&order, &hashes, &other), "{other:?}");
        }
        assert!(!comes_back(&order[..order.len() - 1], &hashes, &places));
        assert!(!comes_back(&[&order[..], &[0]].concat(), &hashes, &places));
    }

    /// CANON-1, CANON-8: also where it ends between two elements, or with the last one and has bytes behind it.
    #[test]
    fn of_what_is_no_whole_collection_no_order_is_told() {
        let place = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(place.path(), [7; 32]);
        let members: Vec<Vec<u8>> = (0..5_000).map(|number| noise(12, number)).collect();
        let (whole, two_thirds) = (set(&members), 5 + 13 * 3_333);
        let behind = [&whole[..], b"x"].concat();
        let broken = [&whole[..two_thirds], &whole[..two_thirds + 1], &behind, &whole[..4], b""];
        for (value, is_whole) in broken.map(|value| (value, false)).into_iter().chain([(&whole[..], true)]) {
            let hasher = Hasher::new(HASHER);
            let mut sorter = ElementSorter::new(&scratch, 64 << 20, hasher, 2, Family::Redis).unwrap();
            assert!(sorter.push(value).unwrap(), "{} bytes", value.len());
            let mut put = 0;
            let told = sorter.finish(&mut |bytes| {
                put += bytes.len();
                Ok(())
            });
            assert_eq!((told.is_ok(), put > 0), (is_whole, is_whole), "{} bytes", value.len());
            let sorted = sort_elements(&scratch, hasher, Family::Redis, 2, value).unwrap();
            assert_eq!(sorted.is_some(), is_whole, "{} bytes", value.len());
        }
    }

    /// CANON-8: what cannot be sorted, or is no such value, is stored as it stood, however late that is found.
    #[test]
    fn what_cannot_be_sorted_comes_back_as_it_stood() {
        let mut members: Vec<Vec<u8>> = (0..9_000).map(|number| noise(12, number)).collect();
        members[8_000] = vec![b'x'; 20_000];
        let (too_long, few) = (set(&members), set(&members[..1]));
        let whole = set(&members[..5_000]);
        let broken = [&whole[..40_000], &[0xc9], &whole[40_000..]].concat();
        for value in [&too_long[..], &few, &whole[..40_003], &broken, &[&whole[..], b"x"].concat(), b"\x80", b""] {
            for size in [1000, usize::MAX] {
                let (is_sorted, stored, _) = stored(value, size, 2).unwrap();
                assert!(!is_sorted && stored == value, "{} bytes, {size}", value.len());
            }
        }
        // What stands before a name stands before it again.
        let mut fields = vec![0x50, 0];
        for number in 0..0x1000 {
            fields.push(number as u8 % 60);
            encode_plain(&noise(12, number), &mut fields);
            encode_plain(b"value", &mut fields);
        }
        fields.pop();
        for size in [1000, usize::MAX] {
            let (is_sorted, stored, _) = stored(&fields, size, 22).unwrap();
            assert!(!is_sorted && stored == fields, "{size}");
        }
    }
}
