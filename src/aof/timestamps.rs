//! A timestamp is the annotation `#TS:<seconds>` that stands before the first command of a second.

/// One timestamp annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// Seconds since the epoch by the server's clock.
    pub seconds: u64,
    /// Where its line begins.
    pub offset: u64,
}

/// The seconds in an annotation line, which ends in `\r\n` or `\n`; `None` for any other annotation.
pub fn parse_timestamp(line: &[u8]) -> Option<u64> {
    let (mark, rest) = line.split_first_chunk::<4>()?;
    if !mark.eq_ignore_ascii_case(b"#TS:") {
        return None;
    }
    let digits = rest.strip_suffix(b"\r\n").or_else(|| rest.strip_suffix(b"\n"))?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}
