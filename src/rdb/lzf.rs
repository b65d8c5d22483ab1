//! LZF is how servers compress strings in an RDB file: runs of literal bytes, and copies of what stands up to 8192 bytes
//! before.
//!
//! The encoder makes the very bytes the servers make (liblzf 3.6 with a hash table of 65,536 places, in every server
//! since Redis 3.2). So a string can be kept decoded and still come back as it was. Dumps of older servers end their
//! strings otherwise now and then; whoever relies on the encoder compares.
//!
//! | first byte | what follows | what it is |
//! |---|---|---|
//! | `000lllll` | l + 1 bytes | these bytes |
//! | `lllooooo` | `oooooooo` | l + 2 bytes (l of 1 to 6), beginning o + 1 before the end of what is there |
//! | `111ooooo` | `llllllll oooooooo` | l + 9 bytes, beginning there |

/// Bytes a run of literals may have.
const RUN: usize = 32;
/// How far back a copy may begin.
const REACH: u32 = 1 << 13;
/// Bytes the longest copy has, made of three.
const COPY: usize = 264;
/// The shortest copy.
const GROUP: usize = 3;
/// Places of the hash table.
const PLACES: usize = 1 << 16;

/// Servers do not try to compress a string that is no longer.
const WORTH: usize = 20;
/// Bytes that compression has to gain, or servers store the string as it is.
const GAIN: usize = 4;

/// Why bytes are not LZF of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// No LZF can decode to so much: nothing was decoded.
    #[error("{stored} bytes of LZF do not decode to {length}")]
    Impossible {
        /// Bytes of LZF.
        stored: usize,
        /// Bytes promised.
        length: usize,
    },
    /// It ends within a run or a copy.
    #[error("the LZF is cut off")]
    Cut,
    /// It copies from before the beginning.
    #[error("the LZF copies from before its beginning, at {at}")]
    Before {
        /// Decoded bytes by then.
        at: usize,
    },
    /// It decodes to another length than promised.
    #[error("the LZF does not decode to {length} bytes")]
    Length {
        /// Bytes promised.
        length: usize,
    },
}

/// Appends what `stored` decodes to, which has to be exactly `length` bytes. Where it is refused `out` is as before.
///
/// Memory: `length` bytes, and nothing before these can be: at most 88 for each byte stored.
pub fn decode(stored: &[u8], length: usize, out: &mut Vec<u8>) -> Result<(), Undecodable> {
    if length > stored.len().saturating_mul(COPY / GROUP) {
        return Err(Undecodable::Impossible { stored: stored.len(), length });
    }
    let from = out.len();
    let decoded = decode_onto(stored, length, out);
    if decoded.is_err() {
        out.truncate(from);
    }
    decoded
}

/// Appends the first `count` bytes of what `stored` decodes to, or all where it is shorter; what follows is not looked at.
pub(super) fn decode_beginning(stored: &[u8], count: usize, out: &mut Vec<u8>) -> Result<(), Undecodable> {
    let from = out.len();
    // No run and no copy is longer than this, so the one that goes beyond it begins behind what is wanted.
    let decoded = decode_onto(stored, count + COPY, out);
    out.truncate(from + count);
    match decoded {
        Ok(()) | Err(Undecodable::Length { .. }) => Ok(()),
        Err(undecodable) => Err(undecodable),
    }
}

/// Appends what is decoded, up to what is refused; `length` bytes at the most.
fn decode_onto(rest: &[u8], length: usize, out: &mut Vec<u8>) -> Result<(), Undecodable> {
    let from = out.len();
    out.resize(from + length, 0);
    let mut text = Text { bytes: out.get_mut(from..).unwrap_or_default(), end: 0 };
    let decoded = decode_into(rest, &mut text);
    let end = text.end;
    out.truncate(from + end);
    decoded
}

fn decode_into(mut rest: &[u8], text: &mut Text<'_>) -> Result<(), Undecodable> {
    let length = text.bytes.len();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let (high, low) = (usize::from(first >> 5), usize::from(first & 31));
        if high == 0 {
            let run = low + 1;
            if run > rest.len() {
                return Err(Undecodable::Cut);
            }
            if run > length - text.end {
                return Err(Undecodable::Length { length });
            }
            text.put_run(rest, run);
            rest = rest.get(run..).unwrap_or_default();
            continue;
        }
        let mut next = || -> Result<usize, Undecodable> {
            let (&byte, behind) = rest.split_first().ok_or(Undecodable::Cut)?;
            rest = behind;
            Ok(usize::from(byte))
        };
        let copied = if high == 7 { 9 + next()? } else { 2 + high };
        let distance = (low << 8 | next()?) + 1;
        if copied > length - text.end {
            return Err(Undecodable::Length { length });
        }
        if distance > text.end {
            return Err(Undecodable::Before { at: text.end });
        }
        text.copy(distance, copied);
    }
    if text.end == length { Ok(()) } else { Err(Undecodable::Length { length }) }
}

/// A text of which the beginning is written. Runs and copies are short, so they are written in steps of one length, which may
/// go beyond their end, as far as there is room: what is written next stands there in place of that.
struct Text<'t> {
    bytes: &'t mut [u8],
    end: usize,
}

impl Text<'_> {
    /// Writes the first `count` of these bytes, of a run.
    #[inline]
    fn put_run(&mut self, bytes: &[u8], count: usize) {
        let behind = self.bytes.get_mut(self.end..).unwrap_or_default();
        match (bytes.first_chunk::<RUN>(), behind.first_chunk_mut::<RUN>()) {
            (Some(step), Some(there)) if count <= RUN => *there = *step,
            _ => {
                if let (Some(there), Some(bytes)) = (behind.get_mut(..count), bytes.get(..count)) {
                    there.copy_from_slice(bytes);
                }
            }
        }
        self.end += count;
    }

    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some(there) = self.bytes.get_mut(self.end..).and_then(<[u8]>::first_chunk_mut) {
            *there = bytes;
        }
        self.end += N;
    }

    /// Writes `count` bytes that stand so far before the end, those among them that are written by this too.
    #[inline]
    fn copy(&mut self, distance: usize, count: usize) {
        const STEP: usize = 16;
        let (end, mut done) = (self.end + count, 0);
        while distance >= STEP && done < count {
            let at = self.end + done;
            let step = self.bytes.get(at - distance..).and_then(<[u8]>::first_chunk::<STEP>).copied();
            let there = self.bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<STEP>);
            let (Some(step), Some(there)) = (step, there) else { break };
            *there = step;
            done += STEP;
        }
        for at in self.end + done..end {
            if let [there, .., last] = self.bytes.get_mut(at - distance..=at).unwrap_or_default() {
                *last = *there;
            }
        }
        self.end = end;
    }
}

/// Encodes strings; keeps a table of 256 KiB between them.
///
/// The table holds where each group of three bytes was last met, by a hash of the group. The servers' is on the stack,
/// with whatever was there before. It cannot matter: a place is looked up only after the first group that hashes to it
/// and can match was noted. Here places of earlier strings are told apart by `base`, and nothing has to be cleared.
pub struct Encoder {
    /// `base` and the position of a group.
    places: Box<[u32; PLACES]>,
    /// What the position 0 of this string is in the table: above all that earlier strings noted.
    base: u32,
}

impl Default for Encoder {
    fn default() -> Encoder {
        let places = vec![0; PLACES].into_boxed_slice().try_into();
        Encoder { places: places.unwrap_or_else(|_| unreachable!("it is that long")), base: 0 }
    }
}

impl Encoder {
    /// Appends the LZF of a string, where a server would store it so; tells whether it did. Else `out` is as before.
    pub fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let Ok(length) = u32::try_from(plain.len()) else { return false };
        if plain.len() <= WORTH {
            return false;
        }
        if self.base.checked_add(length).is_none() {
            *self = Encoder::default();
        }
        let from = out.len();
        // No copy takes more than what it stands for, and of literals each run one byte more.
        out.resize(from + plain.len() + plain.len() / RUN + 2 + RUN, 0);
        let mut lzf = Text { bytes: out.get_mut(from..).unwrap_or_default(), end: 0 };
        let gains = self.encode_into(plain, &mut lzf);
        let end = if gains { lzf.end } else { 0 };
        out.truncate(from + end);
        self.base += length;
        gains
    }

    /// Writes the LZF, or a part of it where it does not gain what it has to.
    fn encode_into(&mut self, plain: &[u8], lzf: &mut Text<'_>) -> bool {
        // The first literal that is not written, and where the search is.
        let (mut literal, mut at) = (0, 0);
        while let Some((found, before)) = self.find(plain, at) {
            at = found;
            write_runs(plain, literal, at, lzf);
            let copied = same(plain, before, at);
            write_copy(at - before - 1, copied, lzf);
            at += copied;
            literal = at;
            if plain.len() - at < GROUP {
                break;
            }
            // Of the groups that begin in what is copied only the last two are noted, which reach beyond it.
            for noted in [at - 2, at - 1] {
                if let Some(group) = self::group(plain, noted) {
                    self.note(group, noted);
                }
            }
        }
        // The servers' encoder wants room for the head of one more run and for three literals, be they needed or not. It looks
        // for room at other places too, but finds none there only where it would find none here.
        let literals = at.max(plain.len().saturating_sub(GROUP - 1)) - literal;
        if lzf.end + literals + literals / RUN + 1 + GROUP + GAIN > plain.len() {
            return false;
        }
        write_runs(plain, literal, plain.len(), lzf);
        true
    }

    /// Notes the groups from a position on, up to the first one that was met before; gives where it is, and where it was.
    fn find(&mut self, plain: &[u8], from: usize) -> Option<(usize, usize)> {
        let is_there = |before: &usize, here: u32| group(plain, *before) == Some(here);
        for (at, four) in (from..).zip(plain.get(from..)?.array_windows::<4>()) {
            let here = u32::from_be_bytes(*four) >> 8;
            if let Some(before) = self.note(here, at).filter(|before| is_there(before, here)) {
                return Some((at, before));
            }
        }
        let last = plain.len().checked_sub(GROUP).filter(|last| *last >= from)?;
        let here = group(plain, last)?;
        Some((last, self.note(here, last).filter(|before| is_there(before, here))?))
    }

    /// Notes where a group is met, and gives where one of its hash was met last, if a copy can begin there: within reach
    /// and, as the servers have it, not at the very beginning.
    #[inline]
    fn note(&mut self, group: u32, at: usize) -> Option<usize> {
        let hash = (group >> 8).wrapping_sub(group.wrapping_mul(5)) as u16;
        let place = self.places.get_mut(usize::from(hash))?;
        let now = self.base + at as u32;
        let before = std::mem::replace(place, now);
        (before > self.base && now - before <= REACH).then(|| (before - self.base) as usize)
    }
}

/// The three bytes at a position.
#[inline]
fn group(plain: &[u8], at: usize) -> Option<u32> {
    let rest = plain.get(at..)?;
    if let Some(&four) = rest.first_chunk::<4>() {
        return Some(u32::from_be_bytes(four) >> 8);
    }
    let &[a, b, c] = rest.first_chunk::<GROUP>()?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

/// How many bytes at `at` equal those at `before`, as far as the servers look: 264, and two bytes less than there are. Their
/// loop begins with three, and takes the first 19 without looking where more than 18 bytes are left.
#[inline]
fn same(plain: &[u8], before: usize, at: usize) -> usize {
    let most = match plain.len() - at - 2 {
        0..=2 => 3,
        17 | 18 => 19,
        other => other.min(COPY),
    };
    let (Some(mut there), Some(mut here)) = (plain.get(before..before + most), plain.get(at..at + most)) else {
        return 0;
    };
    let mut equal = 0;
    while let (Some((a, behind_there)), Some((b, behind_here))) = (there.split_first_chunk(), here.split_first_chunk())
    {
        let differing = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differing != 0 {
            return equal + differing.trailing_zeros() as usize / 8;
        }
        (equal, there, here) = (equal + 8, behind_there, behind_here);
    }
    while let (Some((a, behind_there)), Some((b, behind_here))) = (there.split_first(), here.split_first()) {
        if a != b {
            break;
        }
        (equal, there, here) = (equal + 1, behind_there, behind_here);
    }
    equal
}

/// Those literals, in runs.
fn write_runs(plain: &[u8], mut from: usize, to: usize, lzf: &mut Text<'_>) {
    while from < to {
        let run = (to - from).min(RUN);
        lzf.put([run as u8 - 1]);
        lzf.put_run(plain.get(from..).unwrap_or_default(), run);
        from += run;
    }
}

/// `back` is one less than the distance.
fn write_copy(back: usize, length: usize, lzf: &mut Text<'_>) {
    let [high, low] = (back as u16).to_be_bytes();
    match length - 2 {
        short @ ..7 => lzf.put([(short as u8) << 5 | high, low]),
        long => lzf.put([7 << 5 | high, (long - 7) as u8, low]),
    }
}

#[cfg(test)]
mod tests;
