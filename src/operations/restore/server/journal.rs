//! The journal of a restore into a server, in the server's data directory: how far it has come, what goes where, and how
//! the server is started. Written and synced before each step, so that whoever comes after a kill can finish or go back.
//!
//! Lines of words, quoted as in redis.conf.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::aof::{append_word, split_words};
use crate::operations::OperationError;
use crate::operations::restore::stage::sync_directory;
use crate::redis::host::{CommandLine, Start, Surroundings};

/// Its name in the data directory.
pub(in crate::operations) const NAME: &str = ".redkeep-restore.journal";
/// The name of one that only says that the server is about to be stopped: what was done before stays known.
pub(super) const STOPPING: &str = ".redkeep-restore.stopping";
const NEW: &str = ".redkeep-restore.journal.new";

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The server is about to be stopped. Nothing was replaced.
    Stopping,
    /// The server is stopped; entries are being exchanged, in their order.
    Exchanging,
    /// All entries are exchanged. The server is about to be started, and asked.
    Placed,
    /// The server served what it was given.
    Done,
}

const STATES: [(State, &str); 4] = [
    (State::Stopping, "stopping"),
    (State::Exchanging, "exchanging"),
    (State::Placed, "placed"),
    (State::Done, "done"),
];

/// What a restore, or its undo, does in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journal {
    pub state: State,
    /// The snapshot that is restored, or was before its undo.
    pub snapshot: String,
    /// Whether what was there before is being put back.
    pub is_undo: bool,
    /// The directory in the data directory with which entries are exchanged.
    pub other: OsString,
    /// The name it has once all are.
    pub aside: OsString,
    /// The entries, in the order of their exchange.
    pub entries: Vec<Entry>,
    /// How the server is started.
    pub start: Start,
    /// What an undo puts back instead, where this restore replaced the data of one that did not come to its end.
    pub carried: Option<OsString>,
    /// Of one that only says that the server is about to be stopped: what was done before.
    pub before: Option<Box<Journal>>,
}

/// One entry of the data directory, and the one of the same name in the other directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: OsString,
    /// Inode of what stood in the data directory.
    pub here: Option<u64>,
    /// Inode of what stood in the other directory.
    pub there: Option<u64>,
}

impl Journal {
    /// Brings it to the disk.
    pub fn write(&self, directory: &Path) -> Result<(), OperationError> {
        let is_stopping = self.state == State::Stopping;
        let (new, path) = (directory.join(NEW), directory.join(if is_stopping { STOPPING } else { NAME }));
        let failed = |error| OperationError::target("write", &path, error);
        let open = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new);
        let written = open.and_then(|mut file| {
            file.write_all(&self.encode())?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&new, &path)).map_err(failed)?;
        sync_directory(directory)?;
        if is_stopping { Ok(()) } else { Journal::forget_stopping(directory) }
    }

    /// The server was not stopped after all, or something later is written.
    pub fn forget_stopping(directory: &Path) -> Result<(), OperationError> {
        let path = directory.join(STOPPING);
        match fs::remove_file(&path) {
            Ok(()) => sync_directory(directory),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(OperationError::target("remove", &path, error)),
        }
    }

    /// The journal of a directory, if it has one.
    pub fn read(directory: &Path) -> Result<Option<Journal>, OperationError> {
        let before = Journal::read_at(&directory.join(NAME))?;
        // One that exchanges was written after the server was stopped.
        if before.as_ref().is_some_and(|journal| journal.state == State::Exchanging) {
            return Ok(before);
        }
        Ok(match Journal::read_at(&directory.join(STOPPING))? {
            Some(stopping) => Some(Journal { before: before.map(Box::new), ..stopping }),
            None => before,
        })
    }

    fn read_at(path: &Path) -> Result<Option<Journal>, OperationError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OperationError::target("read", path, error)),
        };
        Journal::decode(&bytes).map(Some).ok_or_else(|| OperationError::Refused {
            what: format!("{} is no journal that this version of redkeep can read", path.display()),
            hint: "look at what is in it and in the .redkeep-… directories beside it, then move it away".into(),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut line = |words: &[&[u8]]| {
            for (place, word) in words.iter().enumerate() {
                if place > 0 {
                    bytes.push(b' ');
                }
                append_word(&mut bytes, word);
            }
            bytes.push(b'\n');
        };
        let state = STATES.iter().find(|(state, _)| *state == self.state).map_or("", |(_, name)| name);
        line(&[b"redkeep-restore", b"1"]);
        line(&[b"state", state.as_bytes()]);
        line(&[b"snapshot", self.snapshot.as_bytes()]);
        line(&[b"undo", if self.is_undo { b"yes" } else { b"no" }]);
        line(&[b"other", self.other.as_bytes(), self.aside.as_bytes()]);
        if let Some(carried) = &self.carried {
            line(&[b"carried", carried.as_bytes()]);
        }
        let inode = |inode: Option<u64>| inode.map_or("-".into(), |inode| inode.to_string());
        for entry in &self.entries {
            line(&[b"entry", entry.name.as_bytes(), inode(entry.here).as_bytes(), inode(entry.there).as_bytes()]);
        }
        match &self.start {
            Start::Unit(unit) => line(&[b"start", b"unit", unit.as_bytes()]),
            Start::Script(name) => line(&[b"start", b"script", name.as_bytes()]),
            Start::Command(command) => line(&[b"start", b"command", command.as_bytes()]),
            Start::Process(process) => {
                let output = process.output.as_deref().unwrap_or(Path::new(""));
                let (user, group) = (process.user.0.to_string(), process.user.1.to_string());
                let mut words: Vec<&[u8]> = vec![b"start", b"process", process.program.as_os_str().as_bytes()];
                words.extend([process.directory.as_os_str().as_bytes(), user.as_bytes(), group.as_bytes()]);
                words.push(output.as_os_str().as_bytes());
                words.extend(process.arguments.iter().map(|argument| argument.as_bytes()));
                line(&words);
                let surroundings = process.surroundings.words();
                let mut words: Vec<&[u8]> = vec![b"surroundings"];
                words.extend(surroundings.iter().map(Vec::as_slice));
                line(&words);
            }
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Journal> {
        let text = bytes.strip_suffix(b"\n")?;
        let mut lines = text.split(|byte| *byte == b'\n').map(split_words);
        let mut next = |name: &str| {
            let mut words = lines.next()??.into_iter();
            (words.next()? == name.as_bytes()).then(|| words.collect::<Vec<_>>())
        };
        if next("redkeep-restore")?.first()? != b"1" {
            return None;
        }
        let state = next("state")?;
        let state = STATES.iter().find(|(_, name)| Some(name.as_bytes()) == state.first().map(Vec::as_slice))?.0;
        let snapshot = String::from_utf8(next("snapshot")?.into_iter().next()?).ok()?;
        let is_undo = next("undo")?.first()? == b"yes";
        let mut others = next("other")?.into_iter().map(OsString::from_vec);
        let (other, aside) = others.next().zip(others.next())?;
        let (mut entries, mut start, mut carried) = (Vec::new(), None, None);
        for words in lines {
            let words = words?;
            match words.split_first()? {
                (word, [name]) if word == b"carried" => carried = Some(OsString::from_vec(name.clone())),
                (word, rest) if word == b"entry" => entries.push(decode_entry(rest)?),
                (word, rest) if word == b"start" => start = Some(decode_start(rest)?),
                (word, rest) if word == b"surroundings" => match &mut start {
                    Some(Start::Process(process)) => process.surroundings = Surroundings::from_words(rest)?,
                    _ => return None,
                },
                _ => return None,
            }
        }
        Some(Journal { state, snapshot, is_undo, other, aside, entries, start: start?, carried, before: None })
    }
}

fn decode_entry(words: &[Vec<u8>]) -> Option<Entry> {
    let [name, here, there] = words else { return None };
    let inode = |word: &[u8]| match word {
        b"-" => Some(None),
        digits => str::from_utf8(digits).ok()?.parse().ok().map(Some),
    };
    Some(Entry { name: OsStr::from_bytes(name).into(), here: inode(here)?, there: inode(there)? })
}

fn decode_start(words: &[Vec<u8>]) -> Option<Start> {
    let text = |word: &Vec<u8>| String::from_utf8(word.clone()).ok();
    let (kind, rest) = words.split_first()?;
    match (kind.as_slice(), rest) {
        (b"unit", [unit]) => text(unit).map(Start::Unit),
        (b"script", [name]) => text(name).map(Start::Script),
        (b"command", [command]) => text(command).map(Start::Command),
        (b"process", [program, directory, user, group, output, arguments @ ..]) => {
            let number = |word: &Vec<u8>| text(word)?.parse().ok();
            let path = |word: &Vec<u8>| PathBuf::from(OsStr::from_bytes(word));
            Some(Start::Process(CommandLine {
                program: path(program),
                directory: path(directory),
                user: (number(user)?, number(group)?),
                output: Some(path(output)).filter(|path| !path.as_os_str().is_empty()),
                arguments: arguments.iter().map(|word| OsStr::from_bytes(word).into()).collect(),
                surroundings: Surroundings::default(),
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(start: Start) -> Journal {
        Journal {
            state: State::Exchanging,
            snapshot: "0123".into(),
            is_undo: true,
            other: ".redkeep-swap-1".into(),
            aside: OsString::from_vec(b"odd \n\xff".to_vec()),
            entries: vec![
                Entry { name: "a b".into(), here: Some(7), there: None },
                Entry { name: "c".into(), here: None, there: Some(u64::MAX) },
            ],
            start,
            carried: Some("older".into()),
            before: None,
        }
    }

    #[test]
    fn it_comes_back_as_written_and_nothing_else_is_one() {
        let process = CommandLine {
            program: "/usr/bin/redis server".into(),
            arguments: vec!["/etc/redis.conf".into(), "".into()],
            directory: "/".into(),
            user: (1, 2),
            output: None,
            surroundings: Surroundings { umask: Some(0o27), groups: Some(vec![4, 106]), ..Surroundings::default() },
        };
        let starts = [
            Start::Unit("redis".into()),
            Start::Script("redis".into()),
            Start::Command("a 'b' \"c\"\n#".into()),
            Start::Process(process),
        ];
        for written in starts.map(journal) {
            let bytes = written.encode();
            assert_eq!(Journal::decode(&bytes), Some(written));
            // Its last line is no part of an older version's journal.
            let whole = bytes.windows(13).rposition(|part| part == b"\nsurroundings").map(|place| place + 1);
            for cut in (0..bytes.len()).filter(|cut| Some(*cut) != whole) {
                assert_eq!(Journal::decode(&bytes[..cut]), None, "cut at {cut}");
            }
        }
        assert_eq!(Journal::decode(b"redkeep-restore 2\n"), None);
    }

    #[test]
    fn it_is_replaced_whole() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(Journal::read(temp.path()).unwrap(), None);
        let first = journal(Start::Unit("redis".into()));
        first.write(temp.path()).unwrap();
        let second = Journal { state: State::Done, ..first };
        second.write(temp.path()).unwrap();
        assert_eq!(Journal::read(temp.path()).unwrap(), Some(second.clone()));
        let stopping = Journal { state: State::Stopping, ..second.clone() };
        stopping.write(temp.path()).unwrap();
        let read = Journal::read(temp.path()).unwrap().unwrap();
        assert_eq!((read.state, read.before), (State::Stopping, Some(Box::new(second.clone()))));
        Journal { state: State::Exchanging, ..second.clone() }.write(temp.path()).unwrap();
        assert!(!temp.path().join(STOPPING).exists());
        fs::write(temp.path().join(NAME), "x").unwrap();
        assert!(matches!(Journal::read(temp.path()), Err(OperationError::Refused { .. })));
    }
}
