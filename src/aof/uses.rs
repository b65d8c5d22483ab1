//! What commands ask of a server that loads them: that it knows their names, and that it has their databases. A server
//! passes over a `SELECT` of a database that it does not have and goes on in the one before, and ends at a name that it
//! does not know.

use std::collections::BTreeSet;

use super::scanner::Scanner;

/// Most names that are told apart; servers have some hundreds.
pub const MOST_NAMES: usize = 1024;
/// Bytes that are kept of a name or a number. Names that an operator gave are hashes of up to 128 letters.
const LONGEST_WORD: usize = 256;

/// What was seen in whole commands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    /// Names of commands, in lower case; of one longer than 256 bytes those.
    pub names: BTreeSet<Vec<u8>>,
    /// There are more names than [`MOST_NAMES`].
    pub has_more: bool,
    /// The highest database that is selected, or that keys are put into.
    pub highest_database: Option<u64>,
}

impl Uses {
    fn take(&mut self, database: u64) {
        self.highest_database = self.highest_database.max(Some(database));
    }

    fn add(&mut self, name: &[u8]) {
        match self.names.len() < MOST_NAMES {
            true => drop(self.names.insert(name.to_vec())),
            false => self.has_more |= !self.names.contains(name),
        }
    }
}

/// Looks for them in the bytes of an append-only file as they are pushed, in pieces of any size. Memory: the names.
#[derive(Debug)]
pub struct UseFinder(Scanner);

impl Default for UseFinder {
    fn default() -> Self {
        Self(Scanner::using(Follower::default()))
    }
}

impl UseFinder {
    /// Follows the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.0.push(piece);
    }

    /// What was found, once everything was pushed.
    pub fn finish(mut self) -> Uses {
        self.0.take_uses().map(|follower| follower.uses).unwrap_or_default()
    }
}

/// Where a command names a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Names {
    #[default]
    Nowhere,
    /// These arguments are databases; the name is the first.
    At(usize, usize),
    /// The argument after a word `DB`.
    AfterDb,
}

fn names_of(name: &[u8]) -> Names {
    match name {
        b"select" => Names::At(2, 2),
        b"move" => Names::At(3, 3),
        b"swapdb" => Names::At(2, 3),
        b"copy" => Names::AfterDb,
        _ => Names::Nowhere,
    }
}

/// Follows the arguments of one command after the other.
#[derive(Debug, Default)]
pub(super) struct Follower {
    uses: Uses,
    /// Arguments begun.
    begun: usize,
    /// What is kept of the argument being read.
    word: Vec<u8>,
    name: Vec<u8>,
    /// Where the command being read names a database.
    names: Names,
    /// The argument before it is `DB`.
    after_db: bool,
    /// The highest database it names.
    database: Option<u64>,
    /// The name of the command before: most commands are like the one before them.
    last: Vec<u8>,
}

impl Follower {
    pub(super) fn begin_command(&mut self) {
        self.begun = 0;
        (self.names, self.after_db, self.database) = (Names::Nowhere, false, None);
    }

    pub(super) fn begin_argument(&mut self) {
        self.end_argument();
        self.begun += 1;
        self.word.clear();
    }

    #[inline]
    pub(super) fn see(&mut self, part: &[u8]) {
        if self.begun > 1 && self.names == Names::Nowhere {
            return;
        }
        let room = LONGEST_WORD.saturating_sub(self.word.len());
        self.word.extend_from_slice(part.get(..room).unwrap_or(part));
    }

    #[inline]
    fn end_argument(&mut self) {
        match (self.begun, self.names) {
            (0, _) => {}
            (1, _) => {
                self.word.make_ascii_lowercase();
                std::mem::swap(&mut self.name, &mut self.word);
                self.names = names_of(&self.name);
            }
            (_, Names::Nowhere) => {}
            (place, Names::At(first, last)) => {
                if (first..=last).contains(&place) {
                    self.take_number();
                }
            }
            (_, Names::AfterDb) => {
                if self.after_db {
                    self.take_number();
                }
                self.after_db = self.begun > 3 && self.word.eq_ignore_ascii_case(b"db");
            }
        }
    }

    fn take_number(&mut self) {
        let number = std::str::from_utf8(&self.word).ok().and_then(|text| text.parse().ok());
        self.database = self.database.max(number);
    }

    #[inline]
    pub(super) fn end_command(&mut self) {
        self.end_argument();
        self.begun = 0;
        if self.name != self.last {
            self.uses.add(&self.name);
            self.last.clone_from(&self.name);
        }
        if let Some(database) = self.database.take() {
            self.uses.take(database);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Vec<u8> {
        let arguments = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        format!("*{}\r\n{}", words.len(), arguments.collect::<String>()).into_bytes()
    }

    fn found(commands: &[&[&str]]) -> Uses {
        let bytes: Vec<u8> = commands.iter().flat_map(|words| command(words)).collect();
        let in_pieces = |size: usize| {
            let mut finder = UseFinder::default();
            bytes.chunks(size).for_each(|piece| finder.push(piece));
            finder.finish()
        };
        let once = in_pieces(usize::MAX);
        for size in [1, 3, 7] {
            assert_eq!(in_pieces(size), once, "in pieces of {size}");
        }
        once
    }

    #[test]
    fn every_way_to_name_a_database_counts() {
        let highest = |commands: &[&[&str]]| found(commands).highest_database;
        assert_eq!(highest(&[&["SET", "select", "40"], &["SET", "a", "99"]]), None);
        assert_eq!(highest(&[&["SELECT", "3"], &["select", "0"]]), Some(3));
        assert_eq!(highest(&[&["MULTI"], &["SELECT", "7"], &["SET", "a", "b"], &["EXEC"]]), Some(7));
        assert_eq!(highest(&[&["MOVE", "99", "20"]]), Some(20));
        assert_eq!(highest(&[&["SWAPDB", "30", "1"]]), Some(30));
        assert_eq!(highest(&[&["COPY", "db", "77", "REPLACE", "db", "41"]]), Some(41));
        assert_eq!(highest(&[&["COPY", "a", "db", "REPLACE"]]), None);
        assert_eq!(highest(&[&["SELECT", "x"], &["SELECT", "-1"], &["SELECT", ""]]), None);
    }

    #[test]
    fn names_come_once_in_lower_case_and_only_those_of_whole_commands() {
        let uses = found(&[&["SET", "a", "1"], &["set", "b", ""], &["Remove", "set"], &[""]]);
        let names: Vec<&[u8]> = uses.names.iter().map(Vec::as_slice).collect();
        assert_eq!(names, [&b""[..], b"remove", b"set"]);
        let mut finder = UseFinder::default();
        finder.push(b"*2\r\n$6\r\nSELECT\r\n$2\r\n40");
        assert_eq!(finder.finish(), Uses::default());
    }

    #[test]
    fn memory_is_bounded_whatever_is_read() {
        let long = "n".repeat(LONGEST_WORD + 9);
        let many: Vec<String> = (0..MOST_NAMES + 5).map(|number| format!("{long}{number}")).collect();
        assert_eq!(found(&[&[many[0].as_str()], &[many[1].as_str()]]).names.len(), 1, "cut to one");
        let names: Vec<String> = (0..MOST_NAMES + 5).map(|number| format!("n{number}")).collect();
        let words: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
        let commands: Vec<&[&str]> = words.iter().map(<[&str; 1]>::as_slice).collect();
        let uses = found(&commands);
        assert!(uses.has_more && uses.names.len() == MOST_NAMES);
    }
}
