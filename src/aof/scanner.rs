//! The scanner follows commands and annotations and knows, at any time, up to where a copy of them is whole.

use super::commands::{Commands, Ending};
use super::cutting::Seek;
use super::lookup;
use super::timestamps::{Timestamp, parse_timestamp};
use super::uses::Follower;

/// Longest argument a scanner takes unless told otherwise, in bytes. It costs no memory. Servers write arguments up to
/// `proto-max-bulk-len`, which an operator may have raised, and load whatever is there; so this is only the bound up
/// to which offsets can be reckoned.
pub const BULK_MAX: u64 = i64::MAX as u64;

/// Most arguments of a command: what fits the `int` of a server.
const ARGUMENTS_MAX: u64 = i32::MAX as u64;

/// Longest line of a number or an annotation, with its end. Servers take 128 bytes.
const PREFIX_LINE_MAX: usize = 1024;

/// Longest name that opens or closes a transaction.
const COMMAND_NAME_MAX: usize = 5;

/// Follows the bytes of an append-only file as they are pushed.
///
/// The *cut* is the offset after the last complete command or annotation that stands outside MULTI and EXEC: a server
/// loads the bytes before it whole, without `aof-load-truncated`, and a transaction is in them entirely or not at all.
/// Offsets count from the first byte pushed.
///
/// A caller that stores exactly the bytes up to the cut goes over the file twice: it pushes everything from one
/// descriptor up to a length taken once, asks [`Scanner::cut`], then reads the same descriptor again up to there (a
/// server only appends, so these bytes do not change). A caller that wants one pass stores as it pushes and drops what
/// follows the cut at the end: what is to be dropped is one command or one open transaction, of any size.
///
/// Nothing is kept but the part of a line that a piece ended in, at most 1 KiB.
#[derive(Debug)]
pub struct Scanner {
    bulk_max: u64,
    /// Offset of the next byte.
    offset: u64,
    state: State,
    /// Beginning of a line whose end has not come.
    line: Vec<u8>,
    /// Where the command being read begins.
    command_at: u64,
    /// Arguments of it still to come, with the one being read.
    arguments: u64,
    /// Its name, if it is short enough to matter.
    name: Name,
    /// Up to the cut.
    cut: u64,
    done: Tally,
    /// The MULTI without EXEC, and what was seen since.
    open: Option<(u64, Tally)>,
    /// The first MULTI in which there was another one.
    nested: Option<u64>,
    /// The earlier moment that is looked for on the way.
    seek: Option<Seek>,
    /// The first timestamp that is later is looked for.
    given: Option<u64>,
    /// What the commands ask of a server is looked for.
    uses: Option<Box<Follower>>,
    /// A key is followed.
    looking: Option<Box<lookup::Follower>>,
}

/// What has to come next.
#[derive(Debug)]
enum State {
    /// A command or an annotation.
    Command,
    /// The length of an argument.
    Argument,
    /// So many bytes of an argument.
    Body(u64),
    /// `\r\n` after an argument.
    Return,
    /// `\n` after an argument.
    Feed,
    /// Nothing: these are no commands from that offset on.
    Broken(u64, &'static str),
}

/// The first argument, as far as it can be a name that matters.
#[derive(Debug, Default)]
struct Name {
    bytes: [u8; COMMAND_NAME_MAX],
    length: usize,
    /// The next argument is the first.
    expected: bool,
    /// The argument being read is the first, and short.
    reading: bool,
}

impl Name {
    /// An argument of this length begins.
    #[inline]
    fn start(&mut self, length: u64) {
        self.reading = self.expected && length <= COMMAND_NAME_MAX as u64;
        if self.expected {
            self.length = 0;
            self.expected = false;
        }
    }

    fn extend(&mut self, part: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.length..).and_then(|rest| rest.get_mut(..part.len())) {
            place.copy_from_slice(part);
            self.length += part.len();
        }
    }

    fn is(&self, name: &[u8]) -> bool {
        self.bytes.get(..self.length).is_some_and(|bytes| bytes.eq_ignore_ascii_case(name))
    }
}

/// What was counted over a stretch of commands.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    commands: u64,
    transactions: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    later: Option<Timestamp>,
}

impl Tally {
    fn add(&mut self, later: Self) {
        self.commands += later.commands;
        self.transactions += later.transactions;
        self.first = self.first.or(later.first);
        self.last = later.last.or(self.last);
        self.later = self.later.or(later.later);
    }

    fn add_timestamp(&mut self, timestamp: Timestamp, given: Option<u64>) {
        self.first = self.first.or(Some(timestamp));
        self.last = Some(timestamp);
        self.later = self.later.or(Some(timestamp).filter(|now| given.is_some_and(|given| now.seconds > given)));
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new(BULK_MAX)
    }
}

impl Scanner {
    /// A scanner that takes arguments up to `bulk_max` bytes, at most [`BULK_MAX`].
    pub fn new(bulk_max: u64) -> Self {
        Self {
            bulk_max: bulk_max.min(BULK_MAX),
            offset: 0,
            state: State::Command,
            line: Vec::new(),
            command_at: 0,
            arguments: 0,
            name: Name::default(),
            cut: 0,
            done: Tally::default(),
            open: None,
            nested: None,
            seek: None,
            given: None,
            uses: None,
            looking: None,
        }
    }

    /// A scanner that also looks for the first timestamp that is later than a second, where one is given.
    pub fn looking_after(second: Option<u64>) -> Self {
        Self { given: second, ..Self::default() }
    }

    /// A scanner that also looks for an earlier moment.
    pub(super) fn seeking(seek: Seek) -> Self {
        Self { seek: Some(seek), ..Self::default() }
    }

    /// A scanner that also notes what the commands ask of a server.
    pub(super) fn using(uses: Follower) -> Self {
        Self { uses: Some(Box::new(uses)), ..Self::default() }
    }

    /// A scanner that also follows a key.
    pub(super) fn looking(follower: lookup::Follower) -> Self {
        Self { looking: Some(Box::new(follower)), ..Self::default() }
    }

    /// Who follows the key.
    pub(super) fn take_looking(&mut self) -> Option<Box<lookup::Follower>> {
        self.looking.take()
    }

    /// What the commands ask of a server.
    pub(super) fn take_uses(&mut self) -> Option<Box<Follower>> {
        self.uses.take()
    }

    /// What was looked for, as far as it was found.
    pub(super) fn take_seek(&mut self) -> Option<Seek> {
        self.seek.take()
    }

    /// The cut of what was pushed so far.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// Follows the next piece, of any length.
    pub fn push(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let used = match self.state {
                State::Command | State::Argument => self.push_line(piece),
                State::Body(left) => self.push_body(piece, left),
                State::Return => self.push_return(piece),
                State::Feed => self.push_feed(piece),
                State::Broken(..) => piece.len(),
            };
            self.offset += used as u64;
            piece = piece.get(used..).unwrap_or_default();
        }
    }

    /// What was seen, once everything was pushed.
    pub fn finish(self) -> Commands {
        let missing = match self.state {
            State::Body(left) => left,
            State::Command | State::Argument | State::Return | State::Feed | State::Broken(..) => 0,
        };
        let queued = self.open.map_or(0, |(_, tally)| tally.commands.saturating_sub(1));
        let ending = match (self.state, self.open) {
            (State::Broken(offset, what), _) => Ending::NotCommands { offset, what },
            (_, Some((offset, _))) => Ending::OpenTransaction { offset },
            _ if self.cut == self.offset => Ending::Complete,
            _ => Ending::CutShort { offset: self.cut, missing },
        };
        Commands {
            cut: self.cut,
            length: self.offset,
            commands: self.done.commands,
            transactions: self.done.transactions,
            first_timestamp: self.done.first,
            last_timestamp: self.done.last,
            later_timestamp: self.done.later,
            queued,
            nested: self.nested,
            ending,
        }
    }

    /// A line may end in a later piece; only then is it copied.
    fn push_line(&mut self, piece: &[u8]) -> usize {
        if self.line.is_empty()
            && let Some(used) = self.take_line(piece, self.offset)
        {
            return used;
        }
        let room = piece.get(..PREFIX_LINE_MAX - self.line.len()).unwrap_or(piece);
        let used = room.iter().position(|&byte| byte == b'\n').map_or(room.len(), |feed| feed + 1);
        let begin = self.offset - self.line.len() as u64;
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(room.get(..used).unwrap_or_default());
        if self.take_line(&line, begin).is_some() {
            line.clear();
        } else if line.len() >= PREFIX_LINE_MAX {
            self.fail(begin, "a line of more than 1024 bytes");
        }
        self.line = line;
        used
    }

    /// Follows the line that `bytes` begin with and gives its length; `None` if it is not all there.
    #[inline]
    fn take_line(&mut self, bytes: &[u8], begin: u64) -> Option<usize> {
        match (&self.state, bytes.first()?) {
            (State::Command, b'*') => match number_line(bytes) {
                Line::Part => None,
                Line::Whole(arguments @ 1..=ARGUMENTS_MAX, used) => {
                    self.start_command(arguments, begin);
                    Some(used)
                }
                Line::Whole(..) | Line::Bad => self.fail(begin, "not a number of arguments"),
            },
            (State::Argument, b'$') => match number_line(bytes) {
                Line::Part => None,
                Line::Whole(length, used) if length <= self.bulk_max => {
                    self.start_argument(length);
                    Some(used)
                }
                Line::Whole(..) | Line::Bad => self.fail(begin, "not a length of an argument"),
            },
            (State::Command, b'#') => self.take_annotation(bytes, begin),
            (State::Argument, _) => self.fail(begin, "no argument where one was promised"),
            _ => self.fail(begin, "neither a command nor an annotation"),
        }
    }

    /// From here on nothing is followed.
    #[cold]
    fn fail(&mut self, offset: u64, what: &'static str) -> Option<usize> {
        self.state = State::Broken(offset, what);
        Some(0)
    }

    fn take_annotation(&mut self, bytes: &[u8], begin: u64) -> Option<usize> {
        let room = bytes.get(..PREFIX_LINE_MAX).unwrap_or(bytes);
        let used = room.iter().position(|&byte| byte == b'\n')? + 1;
        let seconds = room.get(..used).and_then(parse_timestamp);
        let tally = match &mut self.open {
            Some((_, tally)) => tally,
            None => {
                self.cut = begin + used as u64;
                &mut self.done
            }
        };
        if let Some(seconds) = seconds {
            tally.add_timestamp(Timestamp { seconds, offset: begin }, self.given);
            if let Some(seek) = &mut self.seek {
                seek.see_second(seconds);
            }
        }
        Some(used)
    }

    #[inline]
    fn start_command(&mut self, arguments: u64, begin: u64) {
        self.command_at = begin;
        self.arguments = arguments;
        self.name.expected = true;
        if let Some(seek) = &mut self.seek {
            seek.begin_command(arguments);
        }
        if let Some(uses) = &mut self.uses {
            uses.begin_command();
        }
        if let Some(looking) = &mut self.looking {
            looking.begin_command(begin);
        }
        self.state = State::Argument;
    }

    #[inline]
    fn start_argument(&mut self, length: u64) {
        self.name.start(length);
        if let Some(seek) = &mut self.seek {
            seek.begin_argument(length);
        }
        if let Some(uses) = &mut self.uses {
            uses.begin_argument();
        }
        if let Some(looking) = &mut self.looking {
            looking.begin_argument(length);
        }
        self.state = if length == 0 { State::Return } else { State::Body(length) };
    }

    #[inline]
    fn push_body(&mut self, piece: &[u8], left: u64) -> usize {
        let used = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
        let (body, after) = piece.split_at_checked(used).unwrap_or((piece, &[]));
        if self.name.reading {
            self.name.extend(body);
        }
        if let Some(seek) = &mut self.seek {
            seek.see(body);
        }
        if let Some(uses) = &mut self.uses {
            uses.see(body);
        }
        if let Some(looking) = &mut self.looking {
            looking.see(body);
        }
        let left = left - used as u64;
        if left > 0 {
            self.state = State::Body(left);
            return used;
        }
        if after.starts_with(b"\r\n") {
            self.end_argument(self.offset + used as u64 + 2);
            return used + 2;
        }
        self.state = State::Return;
        used
    }

    fn push_return(&mut self, piece: &[u8]) -> usize {
        if piece.first() != Some(&b'\r') {
            self.fail(self.offset, "an argument longer than it says");
            return 0;
        }
        self.state = State::Feed;
        1
    }

    fn push_feed(&mut self, piece: &[u8]) -> usize {
        if piece.first() != Some(&b'\n') {
            self.fail(self.offset, "an argument longer than it says");
            return 0;
        }
        self.end_argument(self.offset + 1);
        1
    }

    #[inline]
    fn end_argument(&mut self, end: u64) {
        self.arguments -= 1;
        if self.arguments > 0 {
            self.state = State::Argument;
        } else {
            self.state = State::Command;
            self.end_command(end);
        }
    }

    /// Within a transaction everything but EXEC is only queued by a loading server, DISCARD and MULTI too.
    #[inline]
    fn end_command(&mut self, end: u64) {
        if let Some(seek) = &mut self.seek {
            seek.end_command();
        }
        if let Some(uses) = &mut self.uses {
            uses.end_command();
        }
        if let Some(looking) = &mut self.looking {
            looking.end_command();
        }
        let Some((begin, tally)) = &mut self.open else {
            if self.name.is(b"multi") {
                self.open = Some((self.command_at, Tally { commands: 1, ..Tally::default() }));
            } else {
                self.done.commands += 1;
                self.reach(self.command_at, end);
            }
            return;
        };
        tally.commands += 1;
        if self.name.is(b"multi") {
            self.nested = self.nested.or(Some(*begin));
        }
        if self.name.is(b"exec") {
            tally.transactions += 1;
            self.done.add(*tally);
            let begin = *begin;
            self.open = None;
            self.reach(begin, end);
        }
    }

    /// A command outside any transaction, or a transaction, is complete.
    #[inline]
    fn reach(&mut self, begin: u64, end: u64) {
        self.cut = end;
        if let Some(seek) = &mut self.seek {
            seek.end_unit(begin, end);
        }
    }
}

/// A line of a marker and a number.
enum Line {
    /// Its end has not come.
    Part,
    /// The number, and the length of the line.
    Whole(u64, usize),
    Bad,
}

/// Reads the number after the marker that `bytes` begin with. A line may end in a bare `\n`, as servers take it. It is as
/// long as zeros in front make it: the bound is the same whether all of it is there or it comes in pieces.
#[inline]
fn number_line(bytes: &[u8]) -> Line {
    let bytes = bytes.get(..PREFIX_LINE_MAX).unwrap_or(bytes);
    let mut number = 0_u64;
    for (place, &byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            b'0'..=b'9' => {
                let longer = number.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(byte - b'0')));
                let Some(longer) = longer else { return Line::Bad };
                number = longer;
            }
            b'\n' if place > 1 => return Line::Whole(number, place + 1),
            b'\r' if place > 1 => {
                return match bytes.get(place + 1) {
                    Some(b'\n') => Line::Whole(number, place + 2),
                    Some(_) => Line::Bad,
                    None => Line::Part,
                };
            }
            _ => return Line::Bad,
        }
    }
    Line::Part
}
