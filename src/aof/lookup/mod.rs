//! A lookup follows one key through the commands of append-only files and says what became of it.
//!
//! It says so only where it is certain. Strings are followed, and whatever deletes a key or changes when it goes. Of any
//! other command that touches the key, or may touch it, the answer is that it cannot be told from there on, and by which
//! command; until one puts the key into a state that does not depend on the one before.

mod follower;
mod names;
#[cfg(test)]
mod tests;

use super::commands::Ending;
use super::scanner::Scanner;
pub(super) use follower::Follower;

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// No command says anything of it: it is as it was before these files.
    Untouched,
    /// It is not there.
    Gone,
    /// It is there, if what is as before was there.
    Kept {
        /// The string it is set to; `None` if its value is as before.
        value: Option<Vec<u8>>,
        /// When it goes.
        expiry: Expiry,
    },
    /// It cannot be told.
    Untold(Obstacle),
}

/// When a key goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// When it would have gone before.
    AsBefore,
    /// Never.
    Never,
    /// At this moment, in milliseconds since the epoch; it may have passed.
    At(i64),
    /// So many milliseconds after a server loads the command. Servers write moments in its place.
    AfterLoading(i64),
}

/// What stands in the way of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The name of the command, in lower case, of a long one its beginning; `None` for bytes that are no command.
    pub command: Option<String>,
    /// In which of the files it is, the first being 0.
    pub file: usize,
    /// Where in that file it begins.
    pub offset: u64,
}

/// Follows one key through the files that are pushed, in pieces of any size. Memory: the key, and what it is set to.
#[derive(Debug)]
pub struct Lookup {
    scanner: Scanner,
    /// Which file it is, and where in it the first byte pushed is.
    file: usize,
    begin: u64,
    /// The first bytes that are no command: no server loads what follows.
    broken: Option<Obstacle>,
}

impl Lookup {
    /// For a key of a database. The first file is pushed from `offset` on: behind its preamble, if it has one.
    pub fn new(database: u64, key: &[u8], offset: u64) -> Self {
        Self::of(Follower::new(database, key, offset), offset)
    }

    /// The same, of a key of which it is known what it was before: more commands can be followed then. An expiry before is
    /// [`Expiry::At`] or [`Expiry::Never`].
    pub fn starting_from(before: Fate, database: u64, key: &[u8], offset: u64) -> Self {
        let mut follower = Follower::new(database, key, offset);
        follower.start_from(before);
        Self::of(follower, offset)
    }

    fn of(follower: Follower, begin: u64) -> Self {
        Self { scanner: Scanner::looking(follower), file: 0, begin, broken: None }
    }

    /// Follows the next piece of the file.
    pub fn push(&mut self, piece: &[u8]) {
        self.scanner.push(piece);
    }

    /// The next file begins, from its first byte and in database 0. What the one before does not finish, a command or a
    /// transaction, was not done.
    pub fn next_file(&mut self) {
        let follower = self.end_file();
        (self.file, self.begin) = (self.file + 1, 0);
        self.scanner = Scanner::looking(follower);
    }

    /// What became of the key, once everything was pushed.
    pub fn finish(mut self) -> Fate {
        let mut follower = self.end_file();
        match self.broken {
            Some(obstacle) => Fate::Untold(obstacle),
            None => follower.take_fate(),
        }
    }

    fn end_file(&mut self) -> Follower {
        let mut scanner = std::mem::take(&mut self.scanner);
        let mut follower = scanner.take_looking().map(|follower| *follower).unwrap_or_default();
        follower.end_file();
        if let Ending::NotCommands { offset, .. } = scanner.finish().ending {
            let here = Obstacle { command: None, file: self.file, offset: self.begin + offset };
            self.broken.get_or_insert(here);
        }
        follower
    }
}
