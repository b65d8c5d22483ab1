//! How a dump comes over a connection: so many bytes, or all up to a mark.

/// Bytes of a mark.
const MARK: usize = 40;

/// How a dump comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// From the server's disk: so many bytes.
    Length(u64),
    /// Straight from its memory: up to these bytes, which it drew for this.
    Mark([u8; MARK]),
}

impl Payload {
    /// `$<length>` or `$EOF:<mark>`.
    pub(super) fn of_header(line: &[u8]) -> Option<Payload> {
        match line.strip_prefix(b"$EOF:") {
            Some(mark) => mark.try_into().ok().map(Payload::Mark),
            None => std::str::from_utf8(line.strip_prefix(b"$")?).ok()?.parse().ok().map(Payload::Length),
        }
    }

    /// Its bytes, where they are known beforehand.
    pub(super) fn length(self) -> Option<u64> {
        match self {
            Payload::Length(length) => Some(length),
            Payload::Mark(_) => None,
        }
    }

    /// For the facts of a snapshot.
    pub(super) fn word(self) -> &'static str {
        match self {
            Payload::Length(_) => "disk",
            Payload::Mark(_) => "diskless",
        }
    }
}

/// SYNC-4: finds the end of a dump in what comes.
///
/// Memory: a piece, and the bytes of a mark.
pub(super) struct Ending {
    payload: Payload,
    /// What may be the begin of the mark.
    held: Vec<u8>,
    /// Bytes of the dump that were handed on.
    pub seen: u64,
}

impl Ending {
    pub(super) fn new(payload: Payload) -> Ending {
        Ending { payload, held: Vec::new(), seen: 0 }
    }

    /// Whether all is there.
    pub(super) fn is_reached(&self) -> bool {
        match self.payload {
            Payload::Length(length) => self.seen >= length,
            Payload::Mark(mark) => self.held == mark,
        }
    }

    /// Hands on what of the next bytes certainly is the dump's. Behind the end nothing is: the server sends nothing more
    /// before it is answered, or it is of no interest.
    pub(super) fn push<E>(&mut self, bytes: &[u8], take: impl FnOnce(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match self.payload {
            Payload::Length(length) => {
                let left = usize::try_from(length.saturating_sub(self.seen)).unwrap_or(usize::MAX);
                let own = bytes.get(..left).unwrap_or(bytes);
                self.seen += own.len() as u64;
                take(own)
            }
            Payload::Mark(_) => {
                self.held.extend_from_slice(bytes);
                let rest = self.held.split_off(self.held.len().saturating_sub(MARK));
                let own = std::mem::replace(&mut self.held, rest);
                self.seen += own.len() as u64;
                take(&own)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(header: &[u8], stream: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let (mut ending, mut all) = (Ending::new(Payload::of_header(header).unwrap()), Vec::new());
        for bytes in stream.chunks(piece) {
            ending
                .push::<()>(bytes, |own| {
                    all.extend_from_slice(own);
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(ending.seen, all.len() as u64);
        (all, ending.is_reached())
    }

    /// SYNC-4
    #[test]
    fn a_dump_ends_with_its_length_or_its_mark_in_whatever_pieces_it_comes_and_not_before() {
        let mark = b"0123456789abcdef0123456789abcdef01234567";
        // The begin of a mark is no mark.
        let dump = [&b"REDIS0011"[..], &mark[..39], b"x", &mark[1..]].concat();
        let marked = [b"$EOF:".as_slice(), mark].concat();
        let lengthy = format!("${}", dump.len());
        for piece in [1, 7, 39, 40, 41, 1000] {
            let whole = [&dump[..], mark].concat();
            assert_eq!(end(&marked, &whole, piece), (dump.clone(), true), "{piece}");
            assert!(!end(&marked, &whole[..whole.len() - 1], piece).1, "{piece}");
            assert_eq!(
                end(lengthy.as_bytes(), &[&dump[..], b"*1\r\n"].concat(), piece),
                (dump.clone(), true),
                "{piece}"
            );
            assert!(!end(lengthy.as_bytes(), &dump[..dump.len() - 1], piece).1, "{piece}");
        }
        assert!(!end(&marked, b"", 1).1 && end(b"$0", b"", 1).1);
    }

    #[test]
    fn what_announces_no_dump_is_refused() {
        for line in [&b"$"[..], b"$-1", b"$x", b"$EOF:short", b"$99999999999999999999", b"+OK", b""] {
            assert_eq!(Payload::of_header(line), None, "{}", line.escape_ascii());
        }
    }
}
