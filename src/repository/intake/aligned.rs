//! Deltas of chunks that were written over in place: found by comparing, several times as fast as by zstd's tables.

use memchr::memmem;

use crate::format::copies::Copies;

/// Bytes that are compared at once.
const BLOCK: usize = 64;
/// What is new is at most one part in so many: above that no delta is worth it.
const NEW_SHARE: usize = 2;
/// Runs of new bytes above this length are looked for in the bases: by pieces of so many bytes, at these eighths.
const SHORT: usize = 64;
const PIECE: usize = 16;
const PIECES_AT: [usize; 2] = [2, 5];
/// At which eighths of a chunk pieces tell how far it moved.
const DISTANCE_AT: [usize; 3] = [1, 4, 6];

/// The delta of a chunk that has the bytes of its bases, taken one after the other: at their places, or all moved by one
/// distance, as where another cut begins it, but for runs that were written over; or but for one stretch of another length.
/// `None` where much is new, or what looks new stands elsewhere in the bases: something moved, and zstd finds it. Memory:
/// what is new.
pub(super) fn delta(bases: &[u8], chunk: &[u8]) -> Option<Vec<u8>> {
    let before = same_begin(bases, chunk);
    let (bases_rest, chunk_rest) = (bases.get(before..)?, chunk.get(before..)?);
    let after = same_end(bases_rest, chunk_rest);
    let old = bases_rest.get(..bases_rest.len() - after)?;
    let new = chunk_rest.get(..chunk_rest.len() - after)?;
    let mut found = Found { bases, copies: Copies::default(), room: chunk.len() / NEW_SHARE };
    found.copies.copy(0, before as u64);
    let made = match old.len() == new.len() {
        true => found.written_over(old, new, before),
        false => found.insert(new),
    };
    if made.is_none() {
        return moved(bases, chunk);
    }
    found.copies.copy((bases.len() - after) as u64, after as u64);
    Some(found.copies.finish())
}

/// The delta of a chunk whose bytes are all as far from where they stand in the bases.
fn moved(bases: &[u8], chunk: &[u8]) -> Option<Vec<u8>> {
    let (before, begin) = distance(bases, chunk)?;
    let (ahead, rest) = chunk.split_at_checked(before)?;
    let old = bases.get(begin..)?;
    let old = old.get(..rest.len()).unwrap_or(old);
    let (new, behind) = rest.split_at_checked(old.len())?;
    let mut found = Found { bases, copies: Copies::default(), room: chunk.len() / NEW_SHARE };
    found.insert(ahead)?;
    found.written_over(old, new, begin)?;
    found.insert(behind)?;
    Some(found.copies.finish())
}

/// How many bytes of the chunk stand before those that are in the bases, and where these begin: as the first of its pieces
/// says that is found there. One of both is zero.
fn distance(bases: &[u8], chunk: &[u8]) -> Option<(usize, usize)> {
    let stands = |eighth: &usize| {
        let place = chunk.len() / 8 * eighth;
        let piece = chunk.get(place..)?.get(..PIECE)?;
        let at = memmem::find(bases, piece)?;
        Some((place.saturating_sub(at), at.saturating_sub(place)))
    };
    DISTANCE_AT.iter().find_map(stands)
}

struct Found<'b> {
    bases: &'b [u8],
    copies: Copies,
    /// New bytes there may still be.
    room: usize,
}

impl Found<'_> {
    /// Stretches of the same length, from `place` of the bases on, of which runs differ.
    fn written_over(&mut self, old: &[u8], new: &[u8], place: usize) -> Option<()> {
        let mut at = 0;
        while at < new.len() {
            let (old, new) = (old.get(at..)?, new.get(at..)?);
            let same = same_begin(old, new);
            self.copies.copy((place + at) as u64, same as u64);
            let (old, new) = (old.get(same..)?, new.get(same..)?);
            let blocks = old.chunks(BLOCK).zip(new.chunks(BLOCK)).take_while(|(old, new)| old != new);
            let run: usize = blocks.map(|(_, new)| new.len()).sum();
            let (old, new) = (old.get(..run)?, new.get(..run)?);
            // The last block may end in bytes that stayed.
            let run = run - same_end(old, new);
            self.insert(new.get(..run)?)?;
            at += same + run;
        }
        Some(())
    }

    fn insert(&mut self, new: &[u8]) -> Option<()> {
        self.room = self.room.checked_sub(new.len())?;
        let is_old = |eighth: &usize| {
            let piece = new.get(new.len() / 8 * eighth..).and_then(|rest| rest.get(..PIECE));
            piece.is_some_and(|piece| memmem::find(self.bases, piece).is_some())
        };
        if new.len() > SHORT && PIECES_AT.iter().any(is_old) {
            return None;
        }
        self.copies.insert(new);
        Some(())
    }
}

/// How many bytes both begin with.
fn same_begin(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.chunks_exact(BLOCK).zip(other.chunks_exact(BLOCK)).take_while(|(one, other)| one == other);
    let same = blocks.count() * BLOCK;
    let rest = one.iter().skip(same).zip(other.iter().skip(same));
    same + rest.take_while(|(one, other)| one == other).count()
}

/// How many bytes both end in.
fn same_end(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.rchunks_exact(BLOCK).zip(other.rchunks_exact(BLOCK)).take_while(|(one, other)| one == other);
    let same = blocks.count() * BLOCK;
    let rest = one.iter().rev().skip(same).zip(other.iter().rev().skip(same));
    same + rest.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::copies::apply_copies;
    use crate::noise::noise;

    /// The length of a delta, which is undone.
    fn length(bases: &[&[u8]], chunk: &[u8]) -> Option<usize> {
        let delta = delta(&bases.concat(), chunk)?;
        assert_eq!(apply_copies(bases, &delta, chunk.len()).unwrap(), chunk);
        Some(delta.len())
    }

    /// DELTA-6
    #[test]
    fn runs_that_were_written_over_and_one_stretch_of_another_length_are_found() {
        let old = noise(60_000, 1);
        assert!(length(&[&old], &old).unwrap() < 10);
        let mut new = old.clone();
        for (number, place) in [0, 20_000, 20_130, 59_990].into_iter().enumerate() {
            new[place..place + 10].copy_from_slice(&noise(10, 10 + number as u64));
        }
        new[30_000..34_096].copy_from_slice(&noise(4_096, 20));
        let (first, second) = old.split_at(25_000);
        let alone = length(&[&old], &new).unwrap();
        assert!((4_136..4_200).contains(&alone), "{alone}");
        assert_eq!(length(&[first, second], &new), Some(alone));
        for (from, to, by) in [(40_000, 40_000, 500), (40_000, 40_500, 0), (40_000, 40_100, 300), (0, 9, 1), (0, 0, 9)]
        {
            let new = [&old[..from], &noise(by, 2), &old[to..]].concat();
            assert!(length(&[&old], &new).unwrap() < by + 20, "{from} {to} {by}");
        }
    }

    /// DELTA-6
    #[test]
    fn what_another_cut_begins_is_found_at_its_distance() {
        let old = noise(60_000, 1);
        let overwritten = |mut new: Vec<u8>| {
            new[3_000..7_096].copy_from_slice(&noise(4_096, 20));
            new[20_000..20_300].copy_from_slice(&noise(300, 21));
            new
        };
        let (first, second) = old.split_at(25_000);
        let within = overwritten(old[10_000..50_000].to_vec());
        assert!((4_396..4_450).contains(&length(&[first, second], &within).unwrap()));
        // It begins before the bases, and ends behind them.
        let before = overwritten([&noise(2_000, 2), &old[..40_000]].concat());
        assert!((6_396..6_450).contains(&length(&[&old], &before).unwrap()));
        let behind = overwritten([&old[30_000..], &noise(2_000, 2)].concat());
        assert!((6_396..6_450).contains(&length(&[&old], &behind).unwrap()));
        // The first piece that is looked for was written over.
        let mut begun = within.clone();
        begun[..6_000].copy_from_slice(&noise(6_000, 3));
        assert!((7_396..7_450).contains(&length(&[first, second], &begun).unwrap()));
    }

    /// DELTA-6
    #[test]
    fn what_moved_and_what_is_new_for_more_than_half_is_left_to_others() {
        let old = noise(60_000, 1);
        // Ten bytes more here and ten less there.
        let moved = [&old[..10_000], &noise(10, 2), &old[10_000..20_000], &old[20_010..]].concat();
        assert_eq!(length(&[&old], &moved), None);
        assert_eq!(length(&[&old], &[&old[30_000..], &old[..30_000]].concat()), None);
        assert_eq!(length(&[&old], &[&old[..20_000], &noise(20_100, 3)].concat()), None);
        assert_eq!(length(&[&old], &noise(60_000, 4)), None);
        assert!(length(&[&old], &[&old[..20_000], &noise(19_900, 3)].concat()).is_some());
        assert_eq!(length(&[], &noise(100, 5)), None);
    }

    #[test]
    fn the_same_begin_and_end_are_counted_to_the_byte() {
        for same in [0, 1, 63, 64, 65, 127, 128, 200] {
            let one = noise(200, 1);
            let mut other = one.clone();
            let differs = other.get_mut(same).map(|byte| *byte ^= 1).is_some();
            assert_eq!(same_begin(&one, &other), same);
            assert_eq!(same_end(&one, &other), if differs { 199 - same } else { 200 });
            assert_eq!(same_begin(&one, &other[..150]), same.min(150));
        }
    }
}
