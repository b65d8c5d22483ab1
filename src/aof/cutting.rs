//! Where commands are to be cut so that an earlier moment is left: after the last command of a second, or before the
//! last command of a kind. Rules: format-spec/17-timeline.md.

use super::commands::Commands;
use super::scanner::Scanner;

/// The earlier moment that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aim {
    /// After the last command whose second is at most this one: seconds since the epoch by the server's clock.
    Second(u64),
    /// TIME-3: before the last command that begins with these words: its name in any case, its arguments as they are, but
    /// in any case too where all that the command can have are keywords.
    Before(Vec<Vec<u8>>),
}

/// Commands whose arguments are all keywords.
const KEYWORDS_ONLY: [&[u8]; 2] = [b"FLUSHALL", b"FLUSHDB"];

/// Bytes of a found command that are kept to be shown.
const SHOWN_MAX: usize = 256;

/// A command that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundCommand {
    /// Its words, up to some 256 bytes of them.
    pub words: Vec<Vec<u8>>,
    /// There is more of it.
    pub is_cut_short: bool,
}

/// A place between commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutPoint {
    /// Bytes before it.
    pub offset: u64,
    /// The second of the last command before it, or of the command it is before, where that is known.
    pub second: Option<u64>,
}

/// What was found in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where to cut; `None` where nothing of this file is what was looked for.
    pub cut: Option<CutPoint>,
    /// The second in force at its end: that of the next file's first commands.
    pub second: Option<u64>,
    /// The command that was looked for, at the cut.
    pub command: Option<FoundCommand>,
    /// The last command that is like it but for capitals.
    pub alike: Option<FoundCommand>,
    /// What was seen of the whole file.
    pub commands: Commands,
}

/// Looks for a moment in the bytes of an append-only file as they are pushed, in pieces of any size. Nothing is kept but
/// what a [`Scanner`] keeps, and the words that are looked for: commands are compared as they go past.
///
/// TIME-2: the last timestamp before a command is its second; a transaction is cut nowhere inside, and its second is the
/// one in force at its EXEC, so that a moment within it is its begin.
#[derive(Debug)]
pub struct CutFinder(Scanner);

impl CutFinder {
    /// Looks for `aim`. `second`: the second of commands before the first timestamp, where it is known.
    pub fn new(aim: Aim, second: Option<u64>) -> Self {
        Self(Scanner::seeking(Seek::new(aim, second)))
    }

    /// Follows the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.0.push(piece);
    }

    /// What was found, once everything was pushed.
    pub fn finish(mut self) -> Found {
        let seek = self.0.take_seek().unwrap_or_else(|| Seek::new(Aim::Second(0), None));
        let Seek { found: cut, second, command, alike, .. } = seek;
        Found { cut, second, command, alike, commands: self.0.finish() }
    }
}

/// What is looked for, and what was found of it so far.
#[derive(Debug)]
pub(super) struct Seek {
    aim: Aim,
    /// The second in force.
    second: Option<u64>,
    found: Option<CutPoint>,
    words: Words,
    /// The last command since the last cut that begins with the words.
    hit: Option<FoundCommand>,
    /// The one at the cut.
    command: Option<FoundCommand>,
    /// The last one that begins so but for capitals.
    alike: Option<FoundCommand>,
}

/// How far the command being read is like the words.
#[derive(Debug, Default)]
struct Words {
    /// Arguments begun.
    begun: usize,
    /// Bytes seen of the argument being read.
    seen: usize,
    /// So far it is, but for capitals.
    is_alike: bool,
    /// So far it is.
    fits: bool,
    /// What of it is kept, while it is.
    shown: FoundCommand,
    /// Bytes of that.
    kept: usize,
}

impl Seek {
    fn new(aim: Aim, second: Option<u64>) -> Self {
        Self { aim, second, found: None, words: Words::default(), hit: None, command: None, alike: None }
    }

    pub(super) fn see_second(&mut self, second: u64) {
        self.second = Some(second);
    }

    pub(super) fn begin_command(&mut self, arguments: u64) {
        let fits = match &self.aim {
            Aim::Second(_) => false,
            Aim::Before(words) => arguments >= words.len() as u64 && !words.is_empty(),
        };
        self.words = Words { fits, is_alike: fits, ..Words::default() };
    }

    pub(super) fn begin_argument(&mut self, length: u64) {
        if !self.words.is_alike {
            return;
        }
        self.words.seen = 0;
        self.words.begun += 1;
        if let Some(word) = self.word() {
            self.words.is_alike = word.len() as u64 == length;
            self.words.fits &= self.words.is_alike;
        }
        self.words.show_another();
    }

    /// The word that the argument being read has to be.
    fn word(&self) -> Option<&[u8]> {
        match &self.aim {
            Aim::Second(_) => None,
            Aim::Before(words) => words.get(self.words.begun.checked_sub(1)?).map(Vec::as_slice),
        }
    }

    /// Whether the argument being read is meant in any case.
    fn is_keyword(&self) -> bool {
        let name = match &self.aim {
            Aim::Second(_) => None,
            Aim::Before(words) => words.first(),
        };
        let is_one = |name: &Vec<u8>| KEYWORDS_ONLY.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.words.begun == 1 || name.is_some_and(is_one)
    }

    /// More bytes of the argument being read.
    pub(super) fn see(&mut self, part: &[u8]) {
        if !self.words.is_alike {
            return;
        }
        if let Some(word) = self.word() {
            let expected = word.get(self.words.seen..).and_then(|rest| rest.get(..part.len())).unwrap_or_default();
            let is_alike = expected.eq_ignore_ascii_case(part);
            let fits = expected == part || (is_alike && self.is_keyword());
            self.words.is_alike = is_alike;
            self.words.fits &= fits;
        }
        self.words.seen += part.len();
        self.words.show(part);
    }

    pub(super) fn end_command(&mut self) {
        if self.words.is_alike {
            let shown = std::mem::take(&mut self.words.shown);
            *if self.words.fits { &mut self.hit } else { &mut self.alike } = Some(shown);
        }
    }

    /// A command outside any transaction, or a transaction, stands between these offsets.
    pub(super) fn end_unit(&mut self, begin: u64, end: u64) {
        let hit = self.hit.take();
        let cut = match self.aim {
            Aim::Second(second) => self.second.is_none_or(|now| now <= second).then_some(end),
            Aim::Before(_) => hit.is_some().then_some(begin),
        };
        self.command = hit.or(self.command.take());
        if let Some(offset) = cut {
            self.found = Some(CutPoint { offset, second: self.second });
        }
    }
}

impl Words {
    fn show_another(&mut self) {
        match self.kept < SHOWN_MAX {
            true => self.shown.words.push(Vec::new()),
            false => self.shown.is_cut_short = true,
        }
        // Words without a byte are counted too.
        self.kept += 1;
    }

    fn show(&mut self, part: &[u8]) {
        let room = SHOWN_MAX.saturating_sub(self.kept);
        let (kept, rest) = part.split_at(part.len().min(room));
        if let Some(word) = self.shown.words.last_mut().filter(|_| !self.shown.is_cut_short) {
            word.extend_from_slice(kept);
        }
        self.kept += kept.len();
        self.shown.is_cut_short |= !rest.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Vec<u8> {
        let arguments = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        format!("*{}\r\n{}", words.len(), arguments.collect::<String>()).into_bytes()
    }

    fn ts(second: u64) -> Vec<u8> {
        format!("#TS:{second}\r\n").into_bytes()
    }

    /// What was found, with the number of parts before the cut in place of its offset.
    fn find(parts: &[Vec<u8>], aim: &Aim, second: Option<u64>) -> Option<(usize, Option<u64>)> {
        let whole = parts.concat();
        let found = |size: usize| {
            let mut finder = CutFinder::new(aim.clone(), second);
            whole.chunks(size).for_each(|piece| finder.push(piece));
            finder.finish()
        };
        let once = found(usize::MAX);
        for size in [1, 2, 5, 16] {
            assert_eq!(found(size), once, "in pieces of {size}");
        }
        let place = |cut: CutPoint| {
            let ends = (0..=parts.len()).map(|count| parts.iter().take(count).map(Vec::len).sum::<usize>() as u64);
            (ends.into_iter().position(|end| end == cut.offset).expect("a cut between parts"), cut.second)
        };
        once.cut.map(place)
    }

    fn history() -> Vec<Vec<u8>> {
        vec![
            command(&["SELECT", "0"]),
            command(&["SET", "a", "1"]),
            ts(100),
            command(&["SET", "a", "2"]),
            command(&["SET", "a", "3"]),
            ts(102),
            command(&["MULTI"]),
            command(&["INCR", "a"]),
            ts(103),
            command(&["INCR", "b"]),
            command(&["EXEC"]),
            command(&["SET", "a", "9"]),
            ts(107),
            command(&["flushALL", "ASYNC"]),
            ts(101),
            command(&["SET", "a", "late"]),
            ts(110),
        ]
    }

    /// TIME-2
    #[test]
    fn the_cut_is_after_the_last_command_of_the_second() {
        for (second, wanted) in [
            (98, None),
            (99, Some((2, Some(99)))),
            (100, Some((5, Some(100)))),
            // A clock that went back: the last command of a second up to this one is what counts.
            (101, Some((16, Some(101)))),
            (109, Some((16, Some(101)))),
            (110, Some((16, Some(101)))),
        ] {
            assert_eq!(find(&history(), &Aim::Second(second), Some(99)), wanted, "{second}");
        }
        // Where it is not known, those before the first timestamp are earlier.
        assert_eq!(find(&history(), &Aim::Second(99), None), Some((2, None)));
        let forward: Vec<_> = history().into_iter().take(14).collect();
        for (second, wanted) in [
            (101, (5, Some(100))),
            (102, (5, Some(100))),
            (103, (12, Some(103))),
            (106, (12, Some(103))),
            (107, (14, Some(107))),
        ] {
            assert_eq!(find(&forward, &Aim::Second(second), Some(99)), Some(wanted), "{second}");
        }
    }

    /// TIME-2
    #[test]
    fn a_moment_within_a_transaction_is_its_begin() {
        let parts: Vec<_> = history().into_iter().take(11).collect();
        assert_eq!(find(&parts, &Aim::Second(102), Some(99)), Some((5, Some(100))));
        let open: Vec<_> = history().into_iter().take(10).collect();
        assert_eq!(find(&open, &Aim::Second(200), Some(99)), Some((5, Some(100))));
    }

    /// TIME-3
    #[test]
    fn the_cut_is_before_the_last_command_that_begins_with_the_words() {
        let before = |words: &[&str]| {
            let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            find(&history(), &Aim::Before(words), None)
        };
        for (words, wanted) in [
            (&["FLUSHALL"][..], Some((13, Some(107)))),
            (&["flushall", "ASYNC"], Some((13, Some(107)))),
            (&["flushall", "async"], Some((13, Some(107)))),
            (&["FLUSHALL", "ASYNC", "x"], None),
            (&["FLUSHDB"], None),
            (&["set", "a", "3"], Some((4, Some(100)))),
            (&["set", "a", "1"], Some((1, None))),
            (&["SET", "A"], None),
            (&["set", "a"], Some((15, Some(101)))),
            (&["set", "a", "33"], None),
            // Within a transaction: before all of it.
            (&["incr", "b"], Some((6, Some(103)))),
            (&["exec"], Some((6, Some(103)))),
            (&[], None),
        ] {
            assert_eq!(before(words), wanted, "{words:?}");
        }
    }

    /// TIME-3
    #[test]
    fn the_found_command_is_told_and_one_that_differs_in_capitals() {
        let found = |words: &[&str]| {
            let mut finder =
                CutFinder::new(Aim::Before(words.iter().map(|word| word.as_bytes().to_vec()).collect()), None);
            history().iter().for_each(|part| finder.push(part));
            let found = finder.finish();
            [found.command, found.alike].map(|command| command.map(|command| command.words.join(&b' ')))
        };
        let told = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(found(&["FLUSHALL"]), [told("flushALL ASYNC"), None]);
        assert_eq!(found(&["set", "a"]), [told("SET a late"), None]);
        assert_eq!(found(&["set", "A", "9"]), [None, told("SET a 9")]);
        assert_eq!(found(&["INCR", "b"]), [told("INCR b"), None]);
        assert_eq!(found(&["DEL"]), [None, None]);

        let mut finder = CutFinder::new(Aim::Before(vec![b"set".to_vec()]), None);
        for piece in command(&["SET", "k", &"v".repeat(1000), "EX", "5"]).chunks(7) {
            finder.push(piece);
        }
        let long = finder.finish().command.unwrap();
        assert!(long.is_cut_short && long.words.concat().len() < 300, "{long:?}");
        assert_eq!(long.words[..2], [b"SET".to_vec(), b"k".to_vec()]);
    }

    #[test]
    fn an_empty_argument_is_a_word_too() {
        let parts = [command(&["SET", "", "x"]), command(&["SET", "b", ""]), command(&["PING"])];
        let aim = |words: [&[u8]; 2]| Aim::Before(words.map(<[u8]>::to_vec).to_vec());
        assert_eq!(find(&parts, &aim([b"SET", b""]), None), Some((0, None)));
        assert_eq!(find(&parts, &aim([b"SET", b"b"]), None), Some((1, None)));
    }

    #[test]
    fn the_second_in_force_is_handed_on() {
        let mut finder = CutFinder::new(Aim::Second(5), Some(7));
        finder.push(&command(&["PING"]));
        let commands = scanned(&command(&["PING"]));
        assert_eq!(finder.finish(), Found { cut: None, second: Some(7), command: None, alike: None, commands });
    }

    fn scanned(bytes: &[u8]) -> Commands {
        let mut scanner = Scanner::default();
        scanner.push(bytes);
        scanner.finish()
    }
}
