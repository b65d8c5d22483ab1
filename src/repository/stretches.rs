//! Chunks that are made of copies, not written out yet: a row of such deltas costs one pass over the last chunk, not one over each.

use std::ops::Range;
use std::sync::Arc;

use crate::format::Malformed;
use crate::format::copies::{Step, each_step};

/// A chunk whose stretches are shorter than this on average is written out.
const SHORTEST: usize = 64;

/// A chunk, as stretches of decoded frames and chunks one after the other.
///
/// Memory: 16 bytes a stretch, less than its chunk takes; what it is made of stays in memory as long as it does.
#[derive(Debug, Clone, Default)]
pub(super) struct Stretches {
    sources: Vec<Arc<Vec<u8>>>,
    stretches: Vec<Stretch>,
    length: u32,
}

/// No frame has 4 GiB (FRAME_MAX).
#[derive(Debug, Clone, Copy)]
struct Stretch {
    source: u32,
    from: u32,
    length: u32,
    /// Where it ends in the chunk.
    end: u32,
}

impl From<Vec<u8>> for Stretches {
    fn from(bytes: Vec<u8>) -> Self {
        let length = bytes.len() as u32;
        let mut whole = Stretches { sources: vec![Arc::new(bytes)], ..Stretches::default() };
        whole.push(0, 0, length);
        whole
    }
}

impl Stretches {
    /// A part of a frame; `None` where it is not all there.
    pub fn of(frame: &Arc<Vec<u8>>, part: Range<usize>) -> Option<Stretches> {
        frame.get(part.clone())?;
        let mut stretches = Stretches { sources: vec![frame.clone()], ..Stretches::default() };
        stretches.push(0, part.start as u32, part.len() as u32);
        Some(stretches)
    }

    /// The chunk of `length` bytes that a delta, a part of a frame, makes of its bases.
    pub fn made_by(
        frame: &Arc<Vec<u8>>,
        delta: Range<usize>,
        bases: Vec<Stretches>,
        length: usize,
    ) -> Result<Stretches, Malformed> {
        let mut made = Stretches { sources: vec![frame.clone()], ..Stretches::default() };
        let bases: Vec<Base> = bases.into_iter().map(|base| made.take_sources(base)).collect();
        let begin = delta.start as u32;
        let steps = frame.get(delta).unwrap_or_default();
        each_step(steps, length, &mut |step| {
            match step {
                Step::Insert(literals) => made.push(0, begin + literals.start as u32, literals.len() as u32),
                Step::Copy { place, length } => made.copy(&bases, place, length)?,
            }
            Some(())
        })?;
        match made.stretches.len() * SHORTEST > length {
            true => Ok(made.into_bytes().into()),
            false => Ok(made),
        }
    }

    /// How many bytes it has, where it holds nothing else.
    pub fn alone(&self) -> Option<usize> {
        match (&self.sources[..], &self.stretches[..]) {
            ([source], [stretch]) if source.len() == stretch.length as usize => Some(source.len()),
            _ => None,
        }
    }

    /// Its bytes, in pieces.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.stretches.iter().filter_map(|Stretch { source, from, length, .. }| {
            self.sources.get(*source as usize)?.get(*from as usize..(*from + *length) as usize)
        })
    }

    /// Its bytes. Memory: once more, where they do not stand somewhere alone.
    pub fn into_bytes(mut self) -> Vec<u8> {
        if self.alone().is_some() {
            return self.sources.pop().map(Arc::unwrap_or_clone).unwrap_or_default();
        }
        let mut bytes = Vec::with_capacity(self.length as usize);
        self.pieces().for_each(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    fn take_sources(&mut self, mut base: Stretches) -> Base {
        let first = self.sources.len() as u32;
        self.sources.append(&mut base.sources);
        Base { first, stretches: base.stretches, length: base.length }
    }

    fn push(&mut self, source: u32, from: u32, length: u32) {
        self.length += length;
        match self.stretches.last_mut() {
            Some(last) if last.source == source && last.from + last.length == from => {
                last.length += length;
                last.end = self.length;
            }
            _ => self.stretches.push(Stretch { source, from, length, end: self.length }),
        }
    }

    /// Appends what stands at a place of bases that stand one after the other, if all of it does.
    fn copy(&mut self, bases: &[Base], place: u64, length: u64) -> Option<()> {
        let (mut place, mut left) = (u32::try_from(place).ok()?, u32::try_from(length).ok()?);
        for base in bases {
            if place >= base.length {
                place -= base.length;
                continue;
            }
            let first = base.stretches.partition_point(|stretch| stretch.end <= place);
            for stretch in base.stretches.get(first..)? {
                if left == 0 {
                    return Some(());
                }
                let skipped = place + stretch.length - stretch.end;
                let here = left.min(stretch.length - skipped);
                self.push(base.first + stretch.source, stretch.from + skipped, here);
                (place, left) = (place + here, left - here);
            }
            place = 0;
        }
        (left == 0).then_some(())
    }
}

/// What a chunk is made of, whose sources are now the chunk's, from this one on.
struct Base {
    first: u32,
    stretches: Vec<Stretch>,
    length: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::copies::{Copies, apply_copies};

    /// A number below `below` that follows from what was asked before.
    fn pick(state: &mut u64, below: usize) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize % below
    }

    /// A delta of copies of bases of so many bytes and of new ones, and how many bytes it makes.
    fn delta(state: &mut u64, room: usize, steps: usize) -> (Vec<u8>, usize) {
        let (mut copies, mut length) = (Copies::default(), 0);
        for _ in 0..steps {
            let new: Vec<u8> = (0..pick(state, 9)).map(|at| at as u8).collect();
            let place = pick(state, room);
            let copied = pick(state, room - place + 1);
            copies.insert(&new);
            copies.copy(place as u64, copied as u64);
            length += new.len() + copied;
        }
        (copies.finish(), length)
    }

    /// DELTA-7
    #[test]
    fn a_row_of_deltas_makes_what_is_made_by_writing_out_each_of_them() {
        let mut state = 1;
        for round in 0..40 {
            let mut written: Vec<u8> = (0..3_000).map(|_| pick(&mut state, 256) as u8).collect();
            let mut bases =
                vec![Stretches::from(written[..1_000].to_vec()), Stretches::from(written[1_000..].to_vec())];
            for _ in 0..6 {
                let (delta, length) = delta(&mut state, written.len().max(1), 1 + round % 3);
                written = apply_copies(&[&written], &delta, length).unwrap();
                let frame = Arc::new([b"before", &delta[..], b"behind"].concat());
                bases = vec![Stretches::made_by(&frame, 6..6 + delta.len(), bases, length).unwrap()];
                assert_eq!(bases[0].pieces().collect::<Vec<_>>().concat(), written);
                assert_eq!(bases[0].clone().into_bytes(), written);
            }
        }
    }

    /// DELTA-7
    #[test]
    fn a_copy_from_behind_the_bases_and_a_wrong_length_are_refused() {
        let bases = [Stretches::from(b"0123".to_vec()), Stretches::default(), Stretches::from(b"45".to_vec())];
        let made = |place: u64, copied: u64, length: usize| {
            let mut copies = Copies::default();
            copies.copy(place, copied);
            let delta = Arc::new(copies.finish());
            Stretches::made_by(&delta, 0..delta.len(), bases.to_vec(), length).map(Stretches::into_bytes)
        };
        assert_eq!(made(0, 6, 6).unwrap(), b"012345");
        assert_eq!(made(4, 2, 2).unwrap(), b"45");
        for (place, copied, length) in [(0, 7, 7), (6, 1, 1), (3, 4, 4), (0, 6, 5), (0, 6, 7), (u64::MAX >> 1, 1, 1)] {
            assert!(made(place, copied, length).is_err(), "{place} {copied} {length}");
        }
    }

    #[test]
    fn a_chunk_of_short_stretches_is_written_out() {
        let base = vec![Stretches::from(vec![7; 1_000])];
        let mut copies = Copies::default();
        for place in 0..100 {
            copies.insert(b"x");
            copies.copy(place * 10, 9);
        }
        let delta = Arc::new(copies.finish());
        let made = Stretches::made_by(&delta, 0..delta.len(), base, 1_000).unwrap();
        assert_eq!((made.stretches.len(), made.length), (1, 1_000));
        assert!(Stretches::of(&delta, 0..delta.len() + 1).is_none());
    }
}
