//! What a server that did not come up logged: the lines that tell why, and what it lacked, where that is no fault of its
//! data.

use super::host::is_secret;

/// Of a log, what an error repeats of each kind: lines that tell why, and the last ones.
const LINES_TOLD: usize = 5;
/// Characters of a line that are repeated.
const LINE: usize = 400;

/// Words of lines that tell why a server did not come up.
const TELLING: [&str; 10] = [
    "can't load",
    "can't handle",
    "module",
    "fatal",
    "bad file",
    "unknown command",
    "unknown rdb",
    "wrong signature",
    "crc",
    "unexpected end",
];

/// What a server lacks to load data that may be sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// A module: the line that says which.
    Module(String),
    /// A command of the AOF, by its name there.
    Command(String),
    /// What it is given is of a later version, or of another family.
    Version(String),
}

/// The lines that tell why, in their order and before the last ones.
pub(crate) fn told(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.len().saturating_sub(LINES_TOLD);
    let (before, end) = lines.split_at(last);
    let telling: Vec<&&str> = before.iter().filter(|line| is_telling(line)).collect();
    let first = telling.len().saturating_sub(LINES_TOLD);
    let short = |line: &str| line.chars().take(LINE).collect::<String>();
    telling.into_iter().skip(first).chain(end).map(|line| without_secret(&short(line))).collect()
}

/// A server repeats the line of its configuration that it does not understand, which may hold a password.
fn without_secret(line: &str) -> String {
    let Some((before, quoted)) = line.split_once(">>> '") else { return line.to_owned() };
    let name = quoted.split(|letter: char| letter.is_whitespace() || letter == '\'').next().unwrap_or_default();
    match is_secret(name) {
        true => format!("{before}>>> '{name} ***'"),
        false => line.to_owned(),
    }
}

fn is_telling(line: &str) -> bool {
    let line = line.to_lowercase();
    TELLING.iter().any(|words| line.contains(words))
}

/// What the server lacked, by what it said of it.
pub(super) fn lack(text: &str) -> Option<Lack> {
    text.lines().find_map(|line| {
        let message = message(line);
        let lower = message.to_lowercase();
        let says = |words: &str| lower.contains(words);
        if says("module data i can't load") || says("no matching module") || says("can't load module") {
            return Some(Lack::Module(message.into()));
        }
        if says("module") && says("failed to load") {
            return Some(Lack::Module(message.into()));
        }
        if let Some(at) = lower.find("unknown command '") {
            let name = message.get(at + "unknown command '".len()..).unwrap_or_default();
            let name = name.split('\'').next().unwrap_or_default();
            return Some(Lack::Command(name.chars().take(LINE).collect()));
        }
        let of_version = ["can't handle rdb format version", "can't handle foreign type", "unknown rdb encoding type"];
        of_version.iter().any(|words| says(words)).then(|| Lack::Version(message.into()))
    })
}

/// A line of a log without its process, time and level.
fn message(line: &str) -> &str {
    let marks = [" # ", " * ", " - ", " . "];
    let after = marks.iter().filter_map(|mark| line.find(mark).map(|at| at + mark.len())).min();
    after.and_then(|at| line.get(at..)).unwrap_or(line).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_tell_why_come_before_the_last_ones() {
        let noise = |from: u32| (from..from + 6).map(|n| format!("1:M * line {n}\n")).collect::<String>();
        let why = "1:M # The RDB file contains module data I can't load: no matching module type 'vectorset'";
        let text = format!("{}{why}\n\n{}", noise(0), noise(6));
        let last = ["1:M * line 7", "1:M * line 8", "1:M * line 9", "1:M * line 10", "1:M * line 11"];
        assert_eq!(told(&text), [&[why][..], &last].concat());
        assert_eq!(told(&noise(6)[13..]), last, "none is told twice");
        assert_eq!(told(""), Vec::<String>::new());
    }

    #[test]
    fn a_password_in_a_line_that_a_server_repeats_is_not_told() {
        for (line, expected) in [
            (">>> 'requirepass \"a b\" c'", ">>> 'requirepass ***'"),
            (">>> 'USER app >secret on'", ">>> 'USER ***'"),
            (">>> 'maxmemory many'", ">>> 'maxmemory many'"),
            (">>> ''", ">>> ''"),
        ] {
            assert_eq!(told(line), [expected]);
        }
    }

    #[test]
    fn what_a_server_lacks_is_told_from_damage() {
        let of = |line: &str| lack(&format!("1:M 28 Nov 2026 08:00:00.000 * begin\n{line}\n"));
        let line =
            "9:M 28 Nov 2026 08:00:00.000 # Unknown command 'remove' reading the append only file appendonly.aof";
        assert_eq!(of(line), Some(Lack::Command("remove".into())));
        let line = "9:M 28 Nov 2026 08:00:00.000 # The RDB file contains module data I can't load: no matching module type 'x'";
        let said = "The RDB file contains module data I can't load: no matching module type 'x'";
        assert_eq!(of(line), Some(Lack::Module(said.into())));
        for line in ["# Module /m.so failed to load: wrong", "# Can't load module from /m.so: server aborting"] {
            assert!(matches!(of(line), Some(Lack::Module(_))), "{line}");
        }
        let line = "9:M 28 Nov 2026 08:00:00.000 # Can't handle RDB format version 12";
        assert_eq!(of(line), Some(Lack::Version("Can't handle RDB format version 12".into())));
        for line in [
            "# Bad file format reading the append only file",
            "# Wrong RDB checksum expected",
            "# Module 'graph' loaded",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }
}
