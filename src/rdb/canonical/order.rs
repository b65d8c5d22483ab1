//! The order of a permutation: where in a file stood what is kept in the order of its keys. Rules:
//! format-spec/19-canonical-rdb.md.

use super::super::coding::{Step, Stop};
use super::{NotCanonical, put_varint, take_varint};

/// As many things may begin with the same bits; of things whose hashes are drawn by chance there are a dozen.
const ALIKE_MAX: usize = 4096;
/// Things that memory is asked for at once, 128 MiB of it: how many there are is known only when all are read.
const AT_ONCE: usize = 1 << 24;
/// Most things an order tells of.
pub const ORDER_MAX: u64 = 1 << 31;

/// The place was given away.
const TAKEN: u64 = 1 << 31;
const PLACE: u64 = TAKEN - 1;

/// Bits of a hash that tell so many things apart, nearly: as many as number them.
fn width(count: usize) -> u32 {
    count.checked_sub(1).map_or(0, |last| usize::BITS - last.leading_zeros())
}

/// Bytes of the hash of each thing.
fn planes(count: usize) -> usize {
    width(count).div_ceil(8) as usize
}

/// ORDER-1: appends the order of things that are given as they are kept: the hash of each, and its place in the file, from 0
/// on, each place once. Tells whether that can be told: not where a great many hashes begin alike.
///
/// Memory: 15 bytes a thing.
pub fn encode_order(hashes: &[u32], places: &[u32], out: &mut Vec<u8>) -> bool {
    let count = hashes.len();
    let (mut tokens, mut is_taken) = (vec![0u32; count], vec![false; count]);
    for (hash, place) in hashes.iter().zip(places) {
        let at = (tokens.get_mut(*place as usize), is_taken.get_mut(*place as usize));
        let (Some(token), Some(is_taken)) = at else { return false };
        if std::mem::replace(is_taken, true) {
            return false;
        }
        *token = token_of(*hash, width(count));
    }
    for plane in 0..planes(count) {
        out.extend(tokens.iter().map(|token| (token >> (8 * plane)) as u8));
    }
    drop((tokens, is_taken));
    let Some(picks) = picks(hashes, places) else { return false };
    picks.iter().filter_map(|pick| pick.checked_sub(1)).for_each(|pick| put_varint(out, u64::from(pick)));
    true
}

/// For each thing one more than which of those that are left with its token it is; 0: it is the last one. `None` where too many
/// have one token.
fn picks(hashes: &[u32], places: &[u32]) -> Option<Vec<u16>> {
    let width = width(hashes.len());
    let mut by_token: Vec<u64> =
        hashes.iter().enumerate().map(|(kept, hash)| entry(token_of(*hash, width), kept)).collect();
    by_token.sort_unstable();
    let (mut picks, mut left) = (vec![0; hashes.len()], Vec::new());
    for alike in by_token.chunk_by(|one, other| one >> 32 == other >> 32).filter(|alike| alike.len() > 1) {
        if alike.len() > ALIKE_MAX {
            return None;
        }
        let things = || alike.iter().map(|entry| (*entry & PLACE) as usize);
        left.extend(things().filter_map(|kept| places.get(kept)));
        left.sort_unstable();
        for kept in things() {
            let place = places.get(kept)?;
            let pick = left.binary_search(place).ok()?;
            if left.len() > 1 {
                *picks.get_mut(kept)? = pick as u16 + 1;
            }
            left.remove(pick);
        }
    }
    Some(picks)
}

/// The places of things that are given as they are kept, by their hashes.
pub(super) fn decode(mut bytes: &[u8], hashes: &[u32]) -> Step<Vec<u32>> {
    let mut tokens = OrderTokens::of(hashes.len() as u64)?;
    let taken = tokens.push(bytes);
    bytes = bytes.get(taken..).unwrap_or_default();
    let mut order = tokens.ended(<[u64]>::sort_unstable)?;
    let places = hashes.iter().map(|hash| order.place_by(*hash, || take_varint(&mut bytes)));
    let places = places.collect::<Step<Vec<u32>>>()?;
    match bytes.is_empty() {
        true => Ok(places),
        false => Err(Stop::broken("bytes behind an order")),
    }
}

/// The first part of an order as it is read: the bits of each thing's hash, in the order of the file. Memory: 8 bytes a thing.
pub struct OrderTokens {
    count: usize,
    /// Bytes that were read.
    read: usize,
    entries: Vec<u64>,
}

impl OrderTokens {
    /// Of so many things.
    pub fn new(count: u64) -> Result<OrderTokens, NotCanonical> {
        Ok(Self::of(count)?)
    }

    /// Takes what comes next of an order; says how much of it belongs here.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let wanted = planes(self.count) * self.count - self.read;
        let bytes = bytes.get(..wanted).unwrap_or(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (plane, place) = (self.read / self.count, self.read % self.count);
            let (of_plane, behind) = rest.split_at(rest.len().min(self.count - place));
            match plane {
                0 => {
                    // At once: as they grew, they would leave holes as large as they are. It is not touched before it is
                    // filled; where that much is refused, they grow.
                    let _ = self.entries.try_reserve_exact((self.count - place).min(AT_ONCE));
                    let tokens = (place..).zip(of_plane);
                    self.entries.extend(tokens.map(|(place, byte)| entry(u32::from(*byte), place)));
                }
                _ => {
                    let entries = self.entries.get_mut(place..).unwrap_or_default();
                    let more = |byte: &u8| u64::from(*byte) << (32 + 8 * plane);
                    entries.iter_mut().zip(of_plane).for_each(|(entry, byte)| *entry |= more(byte));
                }
            }
            self.read += of_plane.len();
            rest = behind;
        }
        bytes.len()
    }

    /// What the places are found by.
    pub fn finish(self) -> Result<Order, NotCanonical> {
        self.finish_by(<[u64]>::sort_unstable)
    }

    /// The same, for who has more cores: `sort` sorts what it is given, 8 bytes a thing.
    pub fn finish_by(self, sort: impl FnOnce(&mut [u64])) -> Result<Order, NotCanonical> {
        Ok(self.ended(sort)?)
    }

    fn of(count: u64) -> Step<OrderTokens> {
        match usize::try_from(count) {
            Ok(count) if (count as u64) < ORDER_MAX => Ok(OrderTokens { count, read: 0, entries: Vec::new() }),
            _ => Err(Stop::broken(format!("an order of {count} things"))),
        }
    }

    fn ended(mut self, sort: impl FnOnce(&mut [u64])) -> Step<Order> {
        if self.read < planes(self.count) * self.count {
            return Err(Stop::broken("an order that ends early"));
        }
        if planes(self.count) == 0 {
            self.entries.extend((0..self.count).map(|place| entry(0, place)));
        }
        Ok(Order::new(width(self.count), self.entries, sort))
    }
}

fn entry(token: u32, place: usize) -> u64 {
    u64::from(token) << 32 | place as u64
}

fn token_of(hash: u32, width: u32) -> u32 {
    hash.checked_shr(32 - width).unwrap_or(0)
}

/// Places that were not given away yet, by the bits of hashes. Memory: below 9 bytes a thing.
pub struct Order {
    width: u32,
    /// The bits, whether it was given away, and the place: sorted by the bits; of those with the same bits the ones that were
    /// given away come first, and the others are in order.
    entries: Vec<u64>,
    /// Where the entries begin whose bits are a multiple of [`SOME`], and where the last ones end.
    begins: Vec<u32>,
}

/// Entries that are found together: about two lines of memory.
const SOME: u32 = 16;

impl Order {
    fn new(width: u32, mut entries: Vec<u64>, sort: impl FnOnce(&mut [u64])) -> Order {
        sort(&mut entries);
        let mut begins = Vec::with_capacity((1 << width) / SOME as usize + 2);
        for (at, entry) in entries.iter().enumerate() {
            let some = (entry >> 32) as usize / SOME as usize;
            begins.resize(begins.len().max(some + 1), at as u32);
        }
        begins.resize((1 << width) / SOME as usize + 2, entries.len() as u32);
        Order { width, entries, begins }
    }

    /// The place of the next thing as they are kept. Where that is open, `rest` begins with which one it is; that is taken.
    pub fn place(&mut self, hash: u32, rest: &mut &[u8]) -> Result<u32, NotCanonical> {
        Ok(self.place_by(hash, || take_varint(rest))?)
    }

    fn place_by(&mut self, hash: u32, pick: impl FnOnce() -> Step<u64>) -> Step<u32> {
        let (mut pick, mut failed) = (Some(pick), None);
        let taken = self.take(hash, &mut |left| match pick.take().map(|pick| pick()) {
            Some(Ok(pick)) => usize::try_from(pick).ok().filter(|pick| *pick < left.len()),
            Some(Err(stop)) => {
                failed = Some(stop);
                None
            }
            None => None,
        });
        match (taken, failed) {
            (Some((place, _)), None) => Ok(place),
            (_, Some(stop)) => Err(stop),
            (None, None) => Err(Stop::broken("an order in which a key has no place")),
        }
    }

    /// Says which things are asked for next: memory is waited for once for all of them, not once for each.
    pub fn expect(&self, hashes: impl Iterator<Item = u32>) {
        let entries = hashes.filter_map(|hash| self.entries.get(self.some(token_of(hash, self.width)).start));
        std::hint::black_box(entries.fold(0, |sum, entry| sum ^ entry));
    }

    /// Where the entries of a token are, if there are any, and some others.
    fn some(&self, token: u32) -> std::ops::Range<usize> {
        let begin = |some: u32| self.begins.get(some as usize).copied().unwrap_or_default() as usize;
        begin(token / SOME)..begin(token / SOME + 1)
    }

    /// Where the entries of a token begin, or would.
    fn begin_of(&self, token: u32) -> usize {
        let some = self.some(token);
        let within = self.entries.get(some.clone()).unwrap_or_default();
        some.start + within.partition_point(|entry| entry >> 32 < u64::from(token))
    }

    /// The place of a thing, and which of several it was, as `pick` tells.
    fn take(&mut self, hash: u32, pick: &mut dyn FnMut(&[u64]) -> Option<usize>) -> Option<(u32, Option<usize>)> {
        let token = token_of(hash, self.width);
        let begin = self.begin_of(token);
        let alike = self.entries.get(begin..)?.iter().take(ALIKE_MAX + 1).take_while(|e| **e >> 32 == u64::from(token));
        let count = alike.clone().count();
        let given = alike.take_while(|entry| **entry & TAKEN != 0).count();
        if count > ALIKE_MAX {
            return None;
        }
        let left = self.entries.get_mut(begin + given..begin + count)?;
        let picked = match left.len() {
            0 => return None,
            1 => None,
            _ => Some(pick(left)?),
        };
        left.get_mut(..=picked.unwrap_or(0))?.rotate_right(1);
        let entry = left.first_mut()?;
        *entry |= TAKEN;
        Some(((*entry & PLACE) as u32, picked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u32 {
        u32::from_le_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk().unwrap())
    }

    /// A permutation of so many places.
    fn shuffled(count: usize, seed: u64) -> Vec<u32> {
        let mut places: Vec<u32> = (0..count as u32).collect();
        places.sort_by_key(|place| hash(u64::from(*place) << 32 | seed));
        places
    }

    /// ORDER-1
    #[test]
    fn an_order_comes_back_and_costs_little_more_than_it_must() {
        for count in [0, 1, 2, 3, 10, 255, 256, 257, 5_000, 70_000] {
            let (hashes, places) = ((0..count as u64).map(hash).collect::<Vec<_>>(), shuffled(count, 7));
            let mut bytes = Vec::new();
            assert!(encode_order(&hashes, &places, &mut bytes));
            assert_eq!(decode(&bytes, &hashes).ok(), Some(places));
            assert!(bytes.len() <= count * planes(count) + count * 3 / 4, "{count}: {}", bytes.len());
            for wrong in [[&bytes[..], b"x"].concat(), bytes.split_last().map_or(vec![1], |(_, rest)| rest.to_vec())] {
                assert!(decode(&wrong, &hashes).is_err(), "{count}");
            }
        }
    }

    /// ORDER-1
    #[test]
    fn a_thing_more_changes_a_few_bytes() {
        let (mut hashes, mut places) = ((0..3_000).map(hash).collect::<Vec<_>>(), shuffled(3_000, 3));
        let mut before = Vec::new();
        assert!(encode_order(&hashes, &places, &mut before));
        places.iter_mut().filter(|place| **place >= 1_000).for_each(|place| *place += 1);
        hashes.insert(500, hash(99_999));
        places.insert(500, 1_000);
        let mut after = Vec::new();
        assert!(encode_order(&hashes, &places, &mut after));
        let low = |bytes: &[u8], count: usize| (bytes[..1_000].to_vec(), bytes[count - 2_000..count].to_vec());
        assert_eq!(low(&before, 3_000), low(&after, 3_001));
    }

    #[test]
    fn hashes_that_are_alike_are_told_apart_and_too_many_are_refused() {
        let places = shuffled(300, 1);
        let mut bytes = Vec::new();
        assert!(encode_order(&[5; 300], &places, &mut bytes));
        assert_eq!(decode(&bytes, &[5; 300]).ok(), Some(places));
        assert!(decode(&bytes, &[u32::MAX; 300]).is_err(), "hashes of other keys");
        bytes.clear();
        assert!(encode_order(&[5; ALIKE_MAX], &shuffled(ALIKE_MAX, 1), &mut bytes));
        assert_eq!(decode(&bytes, &[5; ALIKE_MAX]).ok(), Some(shuffled(ALIKE_MAX, 1)), "as many as may be");
        const MORE: usize = ALIKE_MAX + 1;
        assert!(!encode_order(&[5; MORE], &shuffled(MORE, 1), &mut Vec::new()));
        assert!(decode(&[0; 3 * MORE - 1], &[5; MORE]).is_err(), "a writer that has more");
        assert!(!encode_order(&[1, 2], &[0, 2], &mut Vec::new()), "a place there is not");
        assert!(!encode_order(&[1, 2], &[0, 0], &mut Vec::new()), "a place twice");
    }
}
