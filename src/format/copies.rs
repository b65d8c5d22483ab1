//! Deltas of copies and insertions: what stays is named by its place in the bases, what is new stands as it is. Rules:
//! format-spec/06-frames.md.

use std::ops::Range;

use super::{Malformed, Reader, put_varint};

/// Writes a delta of copies and insertions for who knows what stayed: the writer of a dump's buckets knows the records.
///
/// DELTA-7: one step is an insertion and the copy behind it, which is told from the end of the copy before.
#[derive(Debug, Clone, Default)]
pub struct Copies {
    steps: Vec<u8>,
    literals: Vec<u8>,
    /// Bytes inserted since the last copy.
    inserted: u64,
    /// The copy that may still become longer: its place in the bases, and its length.
    copy: Option<(u64, u64)>,
    /// Where in the bases the last written copy ended.
    end: u64,
}

impl Copies {
    /// Appends bytes that the bases do not have.
    pub fn insert(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.write();
            self.inserted += bytes.len() as u64;
            self.literals.extend_from_slice(bytes);
        }
    }

    /// Appends `length` bytes that stand at `place` of the bases, one base after the other.
    pub fn copy(&mut self, place: u64, length: u64) {
        match &mut self.copy {
            _ if length == 0 => {}
            Some((begin, so_far)) if *begin + *so_far == place => *so_far += length,
            _ => {
                self.write();
                self.copy = Some((place, length));
            }
        }
    }

    fn write(&mut self) {
        let Some((place, length)) = self.copy.take() else { return };
        put_varint(&mut self.steps, std::mem::take(&mut self.inserted));
        put_varint(&mut self.steps, length);
        put_varint(&mut self.steps, zigzag(place.cast_signed() - self.end.cast_signed()));
        self.end = place + length;
    }

    /// The delta.
    pub fn finish(mut self) -> Vec<u8> {
        self.write();
        if self.inserted > 0 {
            put_varint(&mut self.steps, self.inserted);
            put_varint(&mut self.steps, 0);
        }
        let mut delta = Vec::with_capacity(self.steps.len() + self.literals.len() + 4);
        put_varint(&mut delta, self.steps.len() as u64);
        delta.append(&mut self.steps);
        delta.append(&mut self.literals);
        delta
    }
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// What a delta appends next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// These bytes of the delta.
    Insert(Range<usize>),
    /// So many bytes that stand at this place of the bases, one base after the other.
    Copy {
        /// From the begin of the first base on.
        place: u64,
        /// In bytes, at least one.
        length: u64,
    },
}

/// Hands on the steps of a delta that makes exactly `length` bytes; `take` answers nothing where the bases do not have
/// what is copied.
///
/// A step that yields nothing is refused, so that steps are no more than bytes.
pub fn each_step(delta: &[u8], length: usize, take: &mut dyn FnMut(Step) -> Option<()>) -> Result<(), Malformed> {
    let mut reader = Reader::new("delta", delta);
    let count = reader.varint_max("bytes of steps", reader.remaining() as u64)? as usize;
    let mut steps = Reader::new("steps of a delta", reader.take(count)?);
    let (mut left, mut end) = (length as u64, 0i64);
    while steps.remaining() > 0 {
        let insert = steps.varint_max("bytes to insert", left)?;
        let literals = delta.len() - reader.remaining();
        reader.take(insert as usize)?;
        let copy = steps.varint_max("bytes to copy", left - insert)?;
        if insert > 0 {
            take(Step::Insert(literals..literals + insert as usize));
        }
        match (insert, copy) {
            (0, 0) => return Err(steps.malformed("a step that yields nothing")),
            (_, 0) if steps.remaining() > 0 => return Err(steps.malformed("no copy in a step that is not the last")),
            (_, 0) => {}
            _ => {
                let place = end.checked_add(unzigzag(steps.varint()?)).and_then(|place| u64::try_from(place).ok());
                let place = place.ok_or_else(|| steps.malformed("a copy from before the bases"))?;
                let behind = || steps.malformed("a copy from behind the bases");
                take(Step::Copy { place, length: copy }).ok_or_else(behind)?;
                end = place.checked_add(copy).and_then(|end| i64::try_from(end).ok()).ok_or_else(behind)?;
            }
        }
        left -= insert + copy;
    }
    reader.finish()?;
    match left {
        0 => Ok(()),
        _ => Err(Malformed::new("delta", format!("decodes to {} bytes instead of {length}", length as u64 - left))),
    }
}

/// The plaintext of a delta of copies and insertions, which has to be exactly `length` bytes. Memory: `length`.
pub fn apply_copies(bases: &[&[u8]], delta: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(length);
    each_step(delta, length, &mut |step| {
        match step {
            Step::Insert(literals) => out.extend_from_slice(delta.get(literals)?),
            Step::Copy { place, length } => copy_from(bases, place, length, &mut out)?,
        }
        Some(())
    })?;
    Ok(out)
}

/// Appends `length` bytes from a place in bases that stand one after the other.
fn copy_from(bases: &[&[u8]], place: u64, length: u64, out: &mut Vec<u8>) -> Option<()> {
    let (mut place, mut length) = (usize::try_from(place).ok()?, usize::try_from(length).ok()?);
    for base in bases {
        let Some(rest) = base.get(place..) else {
            place -= base.len();
            continue;
        };
        let here = rest.get(..length.min(rest.len()))?;
        out.extend_from_slice(here);
        length -= here.len();
        place = 0;
    }
    (length == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(steps: impl FnOnce(&mut Copies)) -> Vec<u8> {
        let mut copies = Copies::default();
        steps(&mut copies);
        copies.finish()
    }

    /// DELTA-7
    #[test]
    fn copies_and_insertions_come_back_in_order() {
        let bases: [&[u8]; 2] = [b"0123456789", b"abcdefghij"];
        let delta = made(|copies| {
            copies.insert(b"<");
            copies.copy(2, 3);
            copies.copy(5, 10);
            copies.insert(b"-");
            copies.insert(b"-");
            copies.copy(0, 1);
            copies.copy(19, 1);
            copies.insert(b">");
        });
        assert_eq!(apply_copies(&bases, &delta, 19).unwrap(), b"<23456789abcde--0j>");
        for wrong in [0, 1, 18, 20, 21] {
            assert!(apply_copies(&bases, &delta, wrong).is_err(), "{wrong}");
        }
        assert!(apply_copies(&bases[..1], &delta, 19).is_err(), "a base less");
        for cut in 0..delta.len() {
            assert!(apply_copies(&bases, &delta[..cut], 19).is_err(), "cut at {cut}");
        }
        assert!(apply_copies(&bases, &[&delta[..], b"x"].concat(), 19).is_err(), "a byte left over");
        assert_eq!(apply_copies(&[], &made(|copies| copies.insert(b"all new")), 7).unwrap(), b"all new");
    }

    /// DELTA-7
    #[test]
    fn steps_that_yield_nothing_or_leave_the_bases_are_refused() {
        let base: [&[u8]; 1] = [b"0123"];
        assert_eq!(apply_copies(&base, &[3, 0, 4, 0], 4).unwrap(), b"0123");
        for delta in [
            &[2, 0, 0][..],
            &[5, 0, 2, 0, 0, 0],
            &[5, 0, 4, 0, 0, 0],
            &[5, 0, 4, 2, 1, 0, b'x'],
            &[3, 0, 5, 0],
            &[3, 0, 4, 1],
            &[3, 0, 4, 2],
            &[5, 2, 0, 0, 2, 0, b'a', b'b'],
            &[3, 0, 4, 0, b'x'],
            &[4, 0, 0x84, 0, 0],
            &[12, 0, 4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[9, 0, 4, 0],
        ] {
            assert!(apply_copies(&base, delta, 4).is_err(), "{delta:?}");
        }
        assert!(apply_copies(&base, &[8, 0, 2, 0, 0, 1, 0xff, 0xff, 3], 3).is_err());
    }
}
