//! The follower takes the arguments of one command after the other, and keeps those that matter.

use super::names::{Known, known};
use super::{Expiry, Fate, Obstacle};

/// No name of a command that is known is longer.
const LONGEST_NAME: usize = 64;
/// What is kept of an argument that may be the number of a database.
const LONGEST_NUMBER: usize = 32;
/// No command that is followed has more arguments behind its key.
const MOST_ARGUMENTS: usize = 8;

/// Follows one key.
#[derive(Debug)]
pub(in crate::aof) struct Follower {
    database: u64,
    key: Vec<u8>,
    /// In force.
    selected: u64,
    fate: Fate,
    /// Within a transaction: how to get back to before it.
    undo: Option<Undo>,
    in_transaction: bool,
    /// Which file it is, and where in it the first byte pushed is.
    file: usize,
    begin: u64,
    command: Command,
}

/// The command being read.
#[derive(Debug, Default)]
struct Command {
    offset: u64,
    /// In lower case.
    name: Vec<u8>,
    known: Option<Known>,
    /// Arguments begun, the name being the first.
    begun: usize,
    /// How much of the argument being read was seen, while it is the same as the key.
    same: Option<usize>,
    /// Whether the first argument is the key, and the second; and whether any is.
    is_first: bool,
    is_second: bool,
    is_any: bool,
    /// Arguments behind the key; of [`Known::Keyspace`] all.
    kept: Vec<Vec<u8>>,
    /// The argument being read is kept.
    keeps: bool,
}

/// What a transaction changed.
#[derive(Debug)]
enum Undo {
    Fate(Fate),
    /// The string, if there is one, was only made longer than this, and another expiry given to what is there.
    Part {
        length: usize,
        expiry: Expiry,
    },
}

impl Default for Follower {
    fn default() -> Self {
        Self::new(0, &[], 0)
    }
}

impl Follower {
    pub(super) fn new(database: u64, key: &[u8], begin: u64) -> Self {
        Self {
            database,
            key: key.to_vec(),
            selected: 0,
            fate: Fate::Untouched,
            undo: None,
            in_transaction: false,
            file: 0,
            begin,
            command: Command::default(),
        }
    }

    pub(super) fn start_from(&mut self, fate: Fate) {
        self.fate = fate;
    }

    pub(super) fn take_fate(&mut self) -> Fate {
        std::mem::replace(&mut self.fate, Fate::Untouched)
    }

    /// An open transaction is undone.
    pub(super) fn end_file(&mut self) {
        match self.undo.take() {
            None => {}
            Some(Undo::Fate(fate)) => self.fate = fate,
            Some(Undo::Part { length, expiry }) => put_back(&mut self.fate, length, expiry),
        }
        (self.selected, self.in_transaction, self.command) = (0, false, Command::default());
        (self.file, self.begin) = (self.file + 1, 0);
    }

    pub(in crate::aof) fn begin_command(&mut self, offset: u64) {
        let mut kept = std::mem::take(&mut self.command.kept);
        let mut name = std::mem::take(&mut self.command.name);
        kept.clear();
        name.clear();
        self.command = Command { offset, name, kept, ..Command::default() };
    }

    #[inline]
    pub(in crate::aof) fn begin_argument(&mut self, length: u64) {
        self.end_argument();
        let command = &mut self.command;
        command.begun += 1;
        command.keeps = command.wants(self.selected == self.database);
        command.same = (command.begun > 1 && length == self.key.len() as u64).then_some(0);
        if command.keeps {
            if command.known == Some(Known::Sets) {
                command.kept.clear();
            }
            command.kept.push(Vec::new());
        }
    }

    #[inline]
    pub(in crate::aof) fn see(&mut self, part: &[u8]) {
        let command = &mut self.command;
        if command.begun == 1 {
            let room = LONGEST_NAME.saturating_sub(command.name.len());
            command.name.extend_from_slice(part.get(..room).unwrap_or(part));
            return;
        }
        if let Some(seen) = command.same {
            let rest = self.key.get(seen..).unwrap_or_default();
            command.same = rest.starts_with(part).then_some(seen + part.len());
        }
        if command.keeps
            && let Some(kept) = command.kept.last_mut()
        {
            let most = if command.known == Some(Known::Keyspace) { LONGEST_NUMBER } else { usize::MAX };
            let room = most.saturating_sub(kept.len());
            kept.extend_from_slice(part.get(..room).unwrap_or(part));
        }
    }

    #[inline]
    fn end_argument(&mut self) {
        let command = &mut self.command;
        match command.begun {
            0 => {}
            1 => {
                command.name.make_ascii_lowercase();
                command.known = Some(known(&command.name));
            }
            place => {
                let is_key = command.same == Some(self.key.len());
                command.is_first |= is_key && place == 2;
                command.is_second |= is_key && place == 3;
                // Of pairs of keys and values only the keys.
                let is_value = command.known == Some(Known::Sets) && place % 2 == 1;
                command.is_any |= is_key && !is_value;
                command.same = (is_key && !is_value).then_some(self.key.len());
            }
        }
    }

    #[inline]
    pub(in crate::aof) fn end_command(&mut self) {
        self.end_argument();
        let command = std::mem::take(&mut self.command);
        match command.name.as_slice() {
            b"multi" => self.in_transaction = true,
            b"exec" => (self.in_transaction, self.undo) = (false, None),
            _ => self.apply(&command),
        }
        self.command = command;
    }

    fn apply(&mut self, command: &Command) {
        let is_here = self.selected == self.database;
        match command.known.unwrap_or(Known::Unknown) {
            Known::Nothing => {}
            Known::Unknown => self.hinder(command),
            Known::Followed if is_here && command.is_first => self.follow(command),
            Known::First if is_here && command.is_first => self.hinder(command),
            Known::Named if is_here && command.is_any => self.hinder(command),
            Known::Deletes if is_here && command.is_any => self.change(Fate::Gone),
            Known::Sets if is_here && command.is_any => match command.kept.last() {
                Some(value) => self.set(value.clone(), Expiry::Never),
                None => self.hinder(command),
            },
            Known::Followed | Known::First | Known::Named | Known::Deletes | Known::Sets => {}
            Known::Keyspace => self.move_keys(command, is_here),
        }
    }

    fn move_keys(&mut self, command: &Command, is_here: bool) {
        let number = |place: usize| {
            let text = command.kept.get(place).and_then(|text| str::from_utf8(text).ok());
            text.and_then(|text| text.parse::<u64>().ok())
        };
        match command.name.as_slice() {
            b"select" => self.selected = number(0).unwrap_or(self.selected),
            b"flushall" => self.change(Fate::Gone),
            b"flushdb" if is_here => self.change(Fate::Gone),
            b"swapdb" if [0, 1].map(number).contains(&Some(self.database)) => self.hinder(command),
            b"move" if command.is_first && is_here => self.change(Fate::Gone),
            b"move" if command.is_first && number(1) == Some(self.database) => self.hinder(command),
            // Perhaps of another database.
            b"copy" if command.is_second => self.hinder(command),
            b"rename" | b"renamenx" if is_here && command.is_second => self.hinder(command),
            b"rename" | b"renamenx" if is_here && command.is_first => self.change(Fate::Gone),
            _ => {}
        }
    }

    /// A command that is followed, of the key.
    fn follow(&mut self, command: &Command) {
        let kept: Vec<&[u8]> = command.kept.iter().map(Vec::as_slice).collect();
        let has_all = command.begun == kept.len() + 2;
        match (command.name.as_slice(), kept.as_slice()) {
            _ if !has_all => self.hinder(command),
            (b"set", [value, options @ ..]) => match options_of_set(options) {
                Some(None) => self.set_keeping(value, command),
                Some(Some(expiry)) => self.set(value.to_vec(), expiry),
                None => self.hinder(command),
            },
            (b"setnx" | b"getset", [value]) => self.set(value.to_vec(), Expiry::Never),
            (b"setex" | b"psetex", [time, value]) => match expiry_of(&command.name, time) {
                Some(expiry) => self.set(value.to_vec(), expiry),
                None => self.hinder(command),
            },
            (b"getdel", []) => self.change(Fate::Gone),
            (b"append", [more]) => self.append(more, command),
            (b"incr", []) => self.add(1, command),
            (b"decr", []) => self.add(-1, command),
            (b"incrby" | b"decrby", [by]) => {
                let by =
                    integer(by).and_then(|by| if command.name.starts_with(b"d") { by.checked_neg() } else { Some(by) });
                match by {
                    Some(by) => self.add(by, command),
                    None => self.hinder(command),
                }
            }
            (b"persist", []) => self.expire(Expiry::Never),
            (b"expire" | b"pexpire" | b"expireat" | b"pexpireat", [time]) => match expiry_of(&command.name, time) {
                Some(expiry) => self.expire(expiry),
                None => self.hinder(command),
            },
            _ => self.hinder(command),
        }
    }

    fn set(&mut self, value: Vec<u8>, expiry: Expiry) {
        self.change(Fate::Kept { value: Some(value), expiry });
    }

    /// `SET` with `KEEPTTL`.
    fn set_keeping(&mut self, value: &[u8], command: &Command) {
        let expiry = match &self.fate {
            // Where there was nothing it does not go; there is no telling here.
            Fate::Untouched => Expiry::AsBefore,
            Fate::Gone => Expiry::Never,
            Fate::Kept { value: None, expiry: Expiry::AsBefore } => Expiry::AsBefore,
            Fate::Kept { value: None, .. } => return self.hinder(command),
            Fate::Kept { value: Some(_), expiry } => *expiry,
            Fate::Untold(_) => return,
        };
        self.set(value.to_vec(), expiry);
    }

    fn append(&mut self, more: &[u8], command: &Command) {
        match &mut self.fate {
            Fate::Gone => self.set(more.to_vec(), Expiry::Never),
            Fate::Kept { value: Some(text), expiry } => {
                if self.in_transaction {
                    self.undo.get_or_insert(Undo::Part { length: text.len(), expiry: *expiry });
                }
                text.extend_from_slice(more);
            }
            Fate::Untold(_) => {}
            Fate::Untouched | Fate::Kept { value: None, .. } => self.hinder(command),
        }
    }

    fn add(&mut self, by: i64, command: &Command) {
        let (before, expiry) = match &self.fate {
            Fate::Gone => (Some(0), Expiry::Never),
            Fate::Kept { value: Some(text), expiry } => (integer(text), *expiry),
            Fate::Untold(_) => return,
            Fate::Untouched | Fate::Kept { value: None, .. } => return self.hinder(command),
        };
        match before.and_then(|before| before.checked_add(by)) {
            Some(sum) => self.set(sum.to_string().into_bytes(), expiry),
            None => self.hinder(command),
        }
    }

    fn expire(&mut self, now: Expiry) {
        match &mut self.fate {
            Fate::Gone | Fate::Untold(_) => {}
            Fate::Untouched => self.change(Fate::Kept { value: None, expiry: now }),
            Fate::Kept { value, expiry } => {
                if self.in_transaction {
                    let length = value.as_ref().map_or(0, Vec::len);
                    self.undo.get_or_insert(Undo::Part { length, expiry: *expiry });
                }
                *expiry = now;
            }
        }
    }

    /// From here on it cannot be told; the first such command is.
    fn hinder(&mut self, command: &Command) {
        if matches!(self.fate, Fate::Untold(_)) {
            return;
        }
        let name = Some(String::from_utf8_lossy(&command.name).into_owned());
        let offset = self.begin + command.offset;
        self.change(Fate::Untold(Obstacle { command: name, file: self.file, offset }));
    }

    fn change(&mut self, fate: Fate) {
        let mut before = std::mem::replace(&mut self.fate, fate);
        if !self.in_transaction {
            return;
        }
        match self.undo {
            Some(Undo::Fate(_)) => return,
            Some(Undo::Part { length, expiry }) => put_back(&mut before, length, expiry),
            None => {}
        }
        self.undo = Some(Undo::Fate(before));
    }
}

fn put_back(fate: &mut Fate, length: usize, before: Expiry) {
    if let Fate::Kept { value, expiry } = fate {
        *expiry = before;
        if let Some(text) = value {
            text.truncate(length);
        }
    }
}

impl Command {
    /// Whether the argument that begins is to be kept.
    fn wants(&self, is_here: bool) -> bool {
        match self.known {
            Some(Known::Followed) => is_here && self.is_first && self.begun > 2 && self.kept.len() < MOST_ARGUMENTS,
            // What follows the key, in place of what it was given before.
            Some(Known::Sets) => is_here && self.begun > 2 && self.same.is_some(),
            Some(Known::Keyspace) => self.begun > 1 && self.begun < 5,
            _ => false,
        }
    }
}

fn integer(text: &[u8]) -> Option<i64> {
    let digits = str::from_utf8(text).ok()?;
    let number: i64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// The moment or the time that is the argument of a command or an option.
fn expiry_of(name: &[u8], time: &[u8]) -> Option<Expiry> {
    let time = integer(time)?;
    Some(match name {
        b"ex" | b"expire" | b"setex" => Expiry::AfterLoading(time.checked_mul(1000)?),
        b"px" | b"pexpire" | b"psetex" => Expiry::AfterLoading(time),
        b"exat" | b"expireat" => Expiry::At(time.checked_mul(1000)?),
        b"pxat" | b"pexpireat" => Expiry::At(time),
        _ => return None,
    })
}

/// What the options of a SET say of the expiry, the inner `None` being that it is kept; the outer one, that they are not
/// understood. A condition was met, or the command would not have been written.
fn options_of_set(mut options: &[&[u8]]) -> Option<Option<Expiry>> {
    let mut expiry = Some(Expiry::Never);
    while let [option, rest @ ..] = options {
        options = rest;
        match (option.to_ascii_lowercase().as_slice(), rest) {
            (b"nx" | b"xx" | b"get", _) => {}
            (b"keepttl", _) => expiry = None,
            (word, [time, rest @ ..]) => {
                expiry = Some(expiry_of(word, time).filter(|_| matches!(word, b"ex" | b"px" | b"exat" | b"pxat"))?);
                options = rest;
            }
            (_, []) => return None,
        }
    }
    Some(expiry)
}
