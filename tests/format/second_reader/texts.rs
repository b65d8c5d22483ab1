//! Strings and numbers of a dump, and what is kept of them: format-spec/19-canonical-rdb.md, "Strings".

use super::bytes::{Cursor, Outcome};

/// Longer texts of compressed strings are not known.
const KNOWN_MAX: u64 = 16 << 20;

/// A number of a dump in the fewest bytes.
pub(super) fn number(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => vec![0x40 | (value >> 8) as u8, value as u8],
        0x4000..=0xffff_ffff => [&[0x80], &(value as u32).to_be_bytes()[..]].concat(),
        _ => [&[0x81], &value.to_be_bytes()[..]].concat(),
    }
}

/// A number as a dump has it, in however many bytes.
pub(super) fn read_number(cursor: &mut Cursor<'_>) -> Outcome<u64> {
    match cursor.u8()? {
        byte @ 0..0x40 => Ok(u64::from(byte)),
        byte @ 0x40..0x80 => Ok(u64::from(byte & 0x3f) << 8 | u64::from(cursor.u8()?)),
        0x80 => cursor.array().map(|bytes| u64::from(u32::from_be_bytes(bytes))),
        0x81 => cursor.array().map(u64::from_be_bytes),
        byte => Err(format!("a number that begins with {byte}")),
    }
}

/// Passes a string as a dump has it.
pub(super) fn pass_string(cursor: &mut Cursor<'_>) -> Outcome<()> {
    let length = match cursor.rest_of().first() {
        Some(0xc0) => 2,
        Some(0xc1) => 3,
        Some(0xc2) => 5,
        Some(0xc3) => {
            cursor.u8()?;
            let packed = read_number(cursor)?;
            read_number(cursor)?;
            packed
        }
        _ => read_number(cursor)?,
    };
    cursor.take(length).map(drop)
}

/// RSTR-1: the string as a dump has it, of its form and what is kept of it.
pub(super) fn stored(form: u64, kept: &[u8]) -> Outcome<Vec<u8>> {
    match form {
        0 => Ok(usual(kept)),
        1 => Ok(plain(kept)),
        2 => Ok(kept.to_vec()),
        _ => Err(format!("a string of form {form}")),
    }
}

fn plain(text: &[u8]) -> Vec<u8> {
    [&number(text.len() as u64), text].concat()
}

/// RSTR-2
fn usual(text: &[u8]) -> Vec<u8> {
    let decimal = str::from_utf8(text).ok().and_then(|text| text.parse::<i32>().ok());
    if let Some(value) = decimal.filter(|value| value.to_string().as_bytes() == text) {
        return match (i8::try_from(value), i16::try_from(value)) {
            (Ok(small), _) => vec![0xc0, small as u8],
            (_, Ok(middle)) => [&[0xc1], &middle.to_le_bytes()[..]].concat(),
            _ => [&[0xc2], &value.to_le_bytes()[..]].concat(),
        };
    }
    match if text.len() > 20 { compressed(text) } else { None } {
        Some(lzf) => [&[0xc3][..], &number(lzf.len() as u64), &number(text.len() as u64), &lzf].concat(),
        None => plain(text),
    }
}

/// The text of a string as a dump has it, where it is known (RSTR-3).
pub(super) fn text(stored: &[u8]) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(stored);
    let text = match stored.first()? {
        0xc0 => cursor.array().map(|[_, byte]| (byte as i8).to_string().into_bytes()),
        0xc1 => cursor.array().map(|[_, low, high]| i16::from_le_bytes([low, high]).to_string().into_bytes()),
        0xc2 => cursor.array().map(|[_, a, b, c, d]| i32::from_le_bytes([a, b, c, d]).to_string().into_bytes()),
        0xc3 => {
            cursor.u8().ok()?;
            let (packed, length) = (read_number(&mut cursor).ok()?, read_number(&mut cursor).ok()?);
            if length > KNOWN_MAX {
                return None;
            }
            cursor.take(packed).and_then(|lzf| expanded(lzf, length as usize))
        }
        _ => read_number(&mut cursor).and_then(|length| cursor.take(length)).map(<[u8]>::to_vec),
    };
    cursor.finish().ok().and(text.ok())
}

fn expanded(lzf: &[u8], length: usize) -> Outcome<Vec<u8>> {
    let (mut cursor, mut text) = (Cursor::new(lzf), Vec::new());
    while !cursor.is_empty() {
        let head = cursor.u8()?;
        if head < 32 {
            text.extend_from_slice(cursor.take(u64::from(head) + 1)?);
        } else {
            let more = if head >> 5 == 7 { cursor.u8()? } else { 0 };
            let count = usize::from(head >> 5) + usize::from(more) + 2;
            let distance = (usize::from(head & 31) << 8 | usize::from(cursor.u8()?)) + 1;
            let from = text.len().checked_sub(distance).ok_or("a copy from before the text")?;
            (0..count).for_each(|step| text.push(text[from + step]));
        }
    }
    if text.len() == length { Ok(text) } else { Err("a compressed text of another length".into()) }
}

/// Where the last position of three bytes like those at `at` is noted.
fn noted_at(text: &[u8], at: usize) -> usize {
    let h = u64::from(text[at]) << 16 | u64::from(text[at + 1]) << 8 | u64::from(text[at + 2]);
    ((h >> 8).wrapping_sub(5 * h) % (1 << 16)) as usize
}

fn runs(bytes: &[u8], out: &mut Vec<u8>) {
    for run in bytes.chunks(32) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn copy(distance: usize, count: usize, out: &mut Vec<u8>) {
    let (back, count) = (distance - 1, count - 2);
    let high = (back >> 8) as u8;
    if count < 7 {
        out.push((count as u8) << 5 | high);
    } else {
        out.extend([7 << 5 | high, (count - 7) as u8]);
    }
    out.push(back as u8);
}

/// What the servers' encoder makes of a text, if that gains enough.
fn compressed(text: &[u8]) -> Option<Vec<u8>> {
    // 0: none, or the first of the text, which is as good as none.
    let mut noted = vec![0; 1 << 16];
    let (mut out, mut run, mut at) = (Vec::new(), 0, 0);
    while text.len() - at >= 3 {
        let earlier = std::mem::replace(&mut noted[noted_at(text, at)], at);
        if earlier == 0 || at - earlier > 8192 || text[earlier..earlier + 3] != text[at..at + 3] {
            at += 1;
            continue;
        }
        let most = match text.len() - at {
            ..5 => 3,
            19 | 20 => 19,
            left => 264.min(left - 2),
        };
        let count = (0..most).take_while(|step| text[earlier + step] == text[at + step]).count();
        runs(&text[run..at], &mut out);
        copy(at - earlier, count, &mut out);
        at += count;
        run = at;
        if text.len() - at >= 3 {
            [at - 2, at - 1].iter().for_each(|position| noted[noted_at(text, *position)] = *position);
        }
    }
    let open = at - run;
    if out.len() + open + open / 32 + 8 > text.len() {
        return None;
    }
    runs(&text[run..], &mut out);
    Some(out)
}
