//! Words of a line, quoted where they need it, as servers read and write them in manifests and configuration files.

/// Splits a line at white space. Within double quotes the escapes `\n \r \t \b \a \xHH` stand for one byte and a
/// backslash before any other byte for that byte; within single quotes only `\'` is an escape. `None` if a quote is not
/// closed, or is closed in the middle of a word.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    split_words_by(line, Quotes::Both)
}

/// What opens a quoted word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// `"` and `'`, as servers read it.
    Both,
    /// `"` alone: `'` is a letter.
    Double,
}

/// The same for these quotes.
pub(super) fn split_words_by(line: &[u8], quotes: Quotes) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = skip_spaces(line);
    while !rest.is_empty() {
        let (word, after) = take_word(rest, quotes)?;
        words.push(word);
        rest = skip_spaces(after);
    }
    Some(words)
}

/// The rest of a line from its next word on. What ends a word has to be passed over here, or the next one has no end.
fn skip_spaces(line: &[u8]) -> &[u8] {
    let begin = line.iter().position(|byte| !is_space(*byte)).unwrap_or(line.len());
    line.get(begin..).unwrap_or_default()
}

fn take_word(mut rest: &[u8], quotes: Quotes) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b'"' => return take_quoted(word, after, take_double_quoted_byte),
            b'\'' if quotes == Quotes::Both => return take_quoted(word, after, take_single_quoted_byte),
            _ if is_space(byte) => break,
            _ => word.push(byte),
        }
        rest = after;
    }
    Some((word, rest))
}

/// One byte of a quoted word and what follows it; `None` at the closing quote.
type TakeByte = fn(&[u8]) -> Option<(u8, &[u8])>;

/// The rest of a word from an opening quote on; its closing quote ends the word.
fn take_quoted(mut word: Vec<u8>, mut rest: &[u8], take: TakeByte) -> Option<(Vec<u8>, &[u8])> {
    while let Some((byte, after)) = take(rest) {
        word.push(byte);
        rest = after;
    }
    let (_closing_quote, after) = rest.split_first()?;
    match after.first() {
        Some(&next) if !is_space(next) => None,
        Some(_) | None => Some((word, after)),
    }
}

fn take_double_quoted_byte(rest: &[u8]) -> Option<(u8, &[u8])> {
    if let [b'\\', b'x', high, low, after @ ..] = rest
        && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
    {
        return Some((high << 4 | low, after));
    }
    match rest {
        [b'\\', escaped, after @ ..] => Some((unescape(*escaped), after)),
        [b'"', ..] | [] => None,
        [byte, after @ ..] => Some((*byte, after)),
    }
}

fn take_single_quoted_byte(rest: &[u8]) -> Option<(u8, &[u8])> {
    match rest {
        [b'\\', b'\'', after @ ..] => Some((b'\'', after)),
        [b'\'', ..] | [] => None,
        [byte, after @ ..] => Some((*byte, after)),
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// White space of C, which has the vertical tab beside what Rust calls ASCII white space.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Appends a word so that [`split_words`] gives it back, without quotes where a server writes none.
pub(crate) fn append_word(line: &mut Vec<u8>, word: &[u8]) {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'\'');
    if !word.is_empty() && word.iter().all(plain) {
        line.extend_from_slice(word);
        return;
    }
    line.push(b'"');
    for &byte in word {
        match byte {
            b'"' | b'\\' => line.extend([b'\\', byte]),
            b'\n' => line.extend(b"\\n"),
            b'\r' => line.extend(b"\\r"),
            b'\t' => line.extend(b"\\t"),
            0x07 => line.extend(b"\\a"),
            0x08 => line.extend(b"\\b"),
            b' ' => line.push(byte),
            _ if byte.is_ascii_graphic() => line.push(byte),
            _ => line.extend(format!("\\x{byte:02x}").bytes()),
        }
    }
    line.push(b'"');
}
