//! How people see sizes, counts, ids and tables. What comes from a repository or a directory is shown without its
//! control characters and bidirectional signs: a file's name must not steer a terminal, nor look like another.

use std::fmt::Display;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::aof::append_word;
use crate::format::Id16;
pub(crate) use crate::format::counts::{count, size};
pub(crate) use crate::operations::shell::quoted;

/// Digits of an id that are shown.
const SHORT: usize = 8;

/// A length of time.
pub(crate) fn duration(millis: u64) -> String {
    let seconds = millis / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}.{} s", millis % 1000 / 100),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// The first digits of an id.
pub(crate) fn short(id: &Id16) -> String {
    id.to_string().chars().take(SHORT).collect()
}

/// Text with everything written out that would not be seen, or would change how what is around it is seen.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() || is_unseen(letter) {
            true => plain.extend(letter.escape_default()),
            false => plain.push(letter),
        }
    }
    plain
}

/// Signs that order text from right to left, end a line, or are not seen at all: with them `gpj.exe` reads as `exe.jpg`,
/// and two names look the same.
fn is_unseen(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// A key or a part of a value: as it is where it can be read as one word or line, else quoted as servers' own tools do.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = str::from_utf8(bytes).ok().filter(|text| !text.is_empty() && plain(text) == *text);
    let is_plain = |text: &&str| !text.contains(['"', '\\']) && text.trim() == *text;
    match text.filter(is_plain) {
        Some(text) => text.into(),
        None => {
            let mut quoted = Vec::new();
            append_word(&mut quoted, bytes);
            String::from_utf8_lossy(&quoted).into_owned()
        }
    }
}

/// A sentence that says that a file is suspect, and then why, which may begin with that word too.
pub(crate) fn suspect_once(sentence: &str) -> String {
    sentence.replacen(": suspect at ", ": at ", 1)
}

/// Which way the cells of a column lean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lean {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Columns under a head, without borders; the last column may be as long as it likes.
pub(crate) fn table<const N: usize>(head: [(&str, Lean); N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    table.set_header(head.map(|(name, _)| name));
    for row in rows {
        table.add_row(row.map(|cell| plain(&cell)));
    }
    for (column, (_, lean)) in table.column_iter_mut().zip(head) {
        column.set_padding((0, 2));
        column.set_cell_alignment(match lean {
            Lean::Left => CellAlignment::Left,
            Lean::Right => CellAlignment::Right,
        });
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

/// Lines of a name and a value, indented.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    facts.iter().map(|(name, value)| format!("  {name:width$}  {}\n", plain(value))).collect()
}

/// The first few of a list, and how many more there are.
pub(crate) fn some_of(items: &[impl Display]) -> String {
    const SHOWN: usize = 3;
    let mut text = items.iter().take(SHOWN).map(|item| plain(&item.to_string())).collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = items.len().checked_sub(SHOWN) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_binary_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (12 << 20, "12 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn durations_are_as_exact_as_they_are_short() {
        for (millis, text) in [(0, "0.0 s"), (1250, "1.2 s"), (61_000, "1 min 1 s"), (7_260_000, "2 h 1 min")] {
            assert_eq!(duration(millis), text);
        }
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(plain("häß"), "häß");
        assert_eq!(plain("שלום 日本 ₤ 😀"), "שלום 日本 ₤ 😀");
        let unseen = "\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}\u{e0041}";
        for sign in unseen.chars() {
            assert_eq!(plain(&format!("a{sign}b")), format!("a\\u{{{:x}}}b", u32::from(sign)));
        }
    }

    #[test]
    fn a_table_is_aligned_and_ends_where_its_text_ends() {
        let head = [("NAME", Lean::Left), ("SIZE", Lean::Right), ("NOTE", Lean::Left)];
        let rows = [["a".into(), "10".into(), String::new()], ["long name".into(), "7".into(), "x".into()]];
        assert_eq!(table(head, rows), "NAME       SIZE  NOTE\na            10\nlong name     7  x\n");
    }

    #[test]
    fn long_lists_are_cut_with_a_count() {
        assert_eq!(some_of(&["a"]), "a");
        assert_eq!(some_of(&["a", "b", "c"]), "a, b, c");
        assert_eq!(some_of(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }
}
