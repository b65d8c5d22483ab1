//! The journal of a restore into a server: how far it has come, what goes where, and how the server is started. Written and
//! synced before each step, so that whoever comes after a kill can finish or go back.
//!
//! It lives in redkeep's own state directory, where nobody else can write: what it says is done with the caller's rights. In
//! the data directory stands a mark, which tells people and timelines that there was a restore, and is otherwise believed
//! in nothing. Lines of words, quoted as in redis.conf.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::elsewhere::Elsewhere;
use crate::aof::{append_word, split_words};
use crate::held::{Held, Seen};
use crate::operations::OperationError;
use crate::redis::host::{CommandLine, Start, Surroundings};

/// The name of the mark in the data directory. Version 0.1 had its journal there.
pub(in crate::operations) const NAME: &str = ".redkeep-restore.journal";
const NEW: &str = ".redkeep-restore.journal.new";
/// How a journal of version 0.1 begins.
const OLD: &[u8] = b"redkeep-restore 1\n";
/// What stands in a mark, for whoever looks.
const MARK: &[u8] = b"A snapshot was restored here, or that was undone. What was set aside is beside this file; how to undo it is known\nto the user who restored it: redkeep undo\n";

/// Where journals are, in the state directory.
const PLACE: &str = "restores";
const JOURNAL: &str = ".journal";
/// Of one that only says that the server is about to be stopped: what was done before stays known.
const STOPPING: &str = ".stopping";
/// Bytes of one, far above any.
const SIZE: u64 = 16 << 20;

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

/// `is_undo` and `by_undo` in a word.
const UNDO: [((bool, bool), &[u8]); 3] = [((false, false), b"no"), ((true, true), b"yes"), ((false, true), b"undone")];

/// Which directory a journal is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    /// Where it was.
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
    /// When it was made, where its file system knows.
    pub born: Option<(i64, u32)>,
}

/// What a restore, or its undo, does in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journal {
    pub site: Site,
    /// The server's address, as people say it.
    pub server: String,
    pub state: State,
    /// The snapshot that is restored, or was before its undo.
    pub snapshot: String,
    /// Whether what was there before is being put back.
    pub is_undo: bool,
    /// Whether an undo does it: one of an undo puts the restored data back.
    pub by_undo: bool,
    /// The directory in the data directory with which entries are exchanged.
    pub other: OsString,
    /// The name it has once all are.
    pub aside: OsString,
    /// Whom what is set aside belongs to.
    pub owner: (u32, u32),
    /// The entries, in the order of their exchange.
    pub entries: Vec<Entry>,
    /// Where the AOF's files stand, if that is not in the data directory: their entries begin with its name there.
    pub elsewhere: Option<Elsewhere>,
    /// What was put in place, as it was then.
    pub placed: Vec<Placed>,
    /// What was set aside, by its names there: an undo puts that back, or nothing.
    pub kept: Vec<Placed>,
    /// How the server is started: until it was.
    pub start: Option<Start>,
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

/// A file that was put in place: in anything else there is now the same bytes may be, or others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    /// Below the data directory.
    pub path: OsString,
    pub inode: u64,
    pub size: u64,
    /// When its inode changed last, in seconds and nanoseconds.
    pub changed: (i64, i64),
}

impl Site {
    /// Of a directory that is held.
    pub fn of(held: &Held) -> Result<Site, OperationError> {
        let seen = held.seen().map_err(|error| OperationError::target("look at", held.path(), error))?;
        let (device, inode) = seen.id();
        Ok(Site { path: held.path().into(), device, inode, born: held.born() })
    }

    /// Whether it is the same directory. Devices get other numbers when a host is started, inodes are given again.
    pub fn is(&self, other: &Site) -> bool {
        let same_birth = self.born.is_some() && self.born == other.born;
        let may_be = same_birth || self.born.is_none() || other.born.is_none();
        self.inode == other.inode && may_be && (self.device == other.device || (same_birth && self.path == other.path))
    }

    fn file(&self, kind: &str) -> OsString {
        format!("{}-{}{kind}", self.device, self.inode).into()
    }
}

impl Placed {
    /// What stands under a name now.
    pub fn at(path: &Path, seen: &Seen) -> Placed {
        Placed { path: path.into(), inode: seen.inode(), size: seen.size(), changed: seen.changed() }
    }
}

/// What was read under the name of a journal.
type Found = Result<Journal, OperationError>;

/// LOCAL-18: the journals of this host, where only the caller can write.
#[derive(Debug)]
pub(super) struct Journals(Held);

impl Journals {
    /// Those of a state directory, which is made where it is missing.
    pub fn open(state: Option<&Path>) -> Result<Journals, OperationError> {
        let Some(state) = state else {
            return Err(OperationError::Refused {
                what: "there is no state directory, in which a restore into a server keeps its journal".into(),
                hint: "name one with REDKEEP_STATE_DIR".into(),
            });
        };
        let place = state.join(PLACE);
        let made =
            std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700).create(&place);
        let held = made.and_then(|()| Held::open(&place));
        let held = held.map_err(|error| OperationError::target("open", &place, error))?;
        held.refuse_others().map_err(|error| OperationError::Refused {
            what: format!("{} is no place for a journal: {error}", place.display()),
            hint: "what it says is done with your rights: name another place with REDKEEP_STATE_DIR".into(),
        })?;
        Ok(Journals(held))
    }

    /// The same, where there is one.
    pub fn existing(state: Option<&Path>) -> Result<Option<Journals>, OperationError> {
        match state {
            Some(state) if state.join(PLACE).is_dir() => Journals::open(Some(state)).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// Brings one to the disk.
    pub fn write(&self, journal: &Journal) -> Result<(), OperationError> {
        let is_stopping = journal.state == State::Stopping;
        let name = journal.site.file(if is_stopping { STOPPING } else { JOURNAL });
        write_whole(&self.0, OsStr::new("new"), &name, &journal.encode())?;
        if is_stopping {
            return Ok(());
        }
        // A journal of the same directory under another device number says nothing any more.
        for (old, found) in self.all()? {
            if old != name && found.is_ok_and(|found| found.site.is(&journal.site)) {
                self.remove(&old)?;
            }
        }
        Ok(())
    }

    /// The server was not stopped after all.
    pub fn forget_stopping(&self, site: &Site) -> Result<(), OperationError> {
        self.forget(site, STOPPING)
    }

    /// Nothing was done, or nothing that anybody needs to know.
    pub fn forget_all(&self, site: &Site) -> Result<(), OperationError> {
        self.forget(site, "")
    }

    fn forget(&self, site: &Site, kind: &str) -> Result<(), OperationError> {
        for (name, found) in self.all()? {
            if name.as_bytes().ends_with(kind.as_bytes()) && found.is_ok_and(|found| found.site.is(site)) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    fn remove(&self, name: &OsStr) -> Result<(), OperationError> {
        let removed = self.0.remove_file(name).and_then(|()| self.0.sync());
        removed.map_err(|error| OperationError::target("remove", &self.0.path_of(name), error))
    }

    /// The journal of a directory, if it has one.
    pub fn read(&self, site: &Site) -> Result<Option<Journal>, OperationError> {
        let (mut before, mut stopping) = (None, None);
        for (name, found) in self.all()? {
            let is_named_so = [JOURNAL, STOPPING].iter().any(|kind| name == site.file(kind));
            let journal = match found {
                Ok(journal) if journal.site.is(site) => journal,
                Err(error) if is_named_so => return Err(error),
                Ok(_) | Err(_) => continue,
            };
            match journal.state {
                State::Stopping => stopping = Some(journal),
                State::Exchanging | State::Placed | State::Done => before = Some(journal),
            }
        }
        // One that exchanges was written after the server was stopped.
        if before.as_ref().is_some_and(|journal: &Journal| journal.state == State::Exchanging) {
            return Ok(before);
        }
        Ok(match stopping {
            Some(stopping) => Some(Journal { before: before.map(Box::new), ..stopping }),
            None => before,
        })
    }

    /// The directory of a server that an earlier restore or undo stopped, and that has not served since.
    pub fn unfinished(&self, server: &str) -> Result<Option<Site>, OperationError> {
        let all = self.all()?.into_iter().filter_map(|(_, found)| found.ok());
        Ok(all
            .filter(|journal| journal.server == server && journal.state != State::Done)
            .map(|journal| journal.site)
            .next())
    }

    /// Directories that were restored into for this server.
    pub fn sites(&self, server: &str) -> Result<Vec<Site>, OperationError> {
        let all = self.all()?.into_iter().filter_map(|(_, found)| found.ok());
        Ok(all.filter(|journal| journal.server == server).map(|journal| journal.site).collect())
    }

    fn all(&self) -> Result<Vec<(OsString, Found)>, OperationError> {
        let mut names = self.0.names().map_err(|error| OperationError::target("list", self.0.path(), error))?;
        names.retain(|name| [JOURNAL, STOPPING].iter().any(|kind| name.as_bytes().ends_with(kind.as_bytes())));
        names.sort();
        let read = |name: OsString| {
            let found = self.read_at(&name);
            (name, found)
        };
        Ok(names.into_iter().map(read).collect())
    }

    fn read_at(&self, name: &OsStr) -> Result<Journal, OperationError> {
        let path = self.0.path_of(name);
        let mut bytes = Vec::new();
        let read = self.0.file(name).and_then(|file| file.take(SIZE).read_to_end(&mut bytes));
        read.map_err(|error| OperationError::target("read", &path, error))?;
        Journal::decode(&bytes).ok_or_else(|| OperationError::Refused {
            what: format!("{} is no journal that this version of redkeep can read", path.display()),
            hint: "look at what is in it and in the .redkeep-… directories of the data directory, then move it away"
                .into(),
        })
    }
}

/// Marks a data directory as one that was restored into.
pub(super) fn mark(directory: &Held) -> Result<(), OperationError> {
    write_whole(directory, OsStr::new(NEW), OsStr::new(NAME), MARK)
}

/// Whether version 0.1 left its journal in a data directory, or somebody who wants it to be taken for one.
pub(super) fn is_left_by_0_1(directory: &Held) -> bool {
    let mut begin = Vec::new();
    let read = directory.file(OsStr::new(NAME)).and_then(|file| file.take(OLD.len() as u64).read_to_end(&mut begin));
    read.is_ok() && begin == OLD
}

/// What to do about it.
pub(super) const LEFT_BY_0_1: &str = "redkeep 0.1 kept its journal in the data directory, where the server's user can write: it is not followed. The \
     old files are in the .redkeep-aside-… directory beside it: with the server stopped, move what is wanted to its place by \
     hand, then remove the journal";

/// Gives a file a name as a whole.
fn write_whole(directory: &Held, new: &OsStr, name: &OsStr, bytes: &[u8]) -> Result<(), OperationError> {
    let write = || {
        match directory.remove_file(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = directory.create(new, 0o600)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        directory.rename(new, directory, name)?;
        directory.sync()
    };
    write().map_err(|error| OperationError::target("write", &directory.path_of(name), error))
}

impl Journal {
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
        line(&[b"redkeep-restore", b"2"]);
        let number = |number: u64| number.to_string();
        let born =
            |born: Option<(i64, u32)>| born.map_or(("-".into(), "-".into()), |(s, n)| (s.to_string(), n.to_string()));
        let Site { path, device, inode, born: made } = &self.site;
        let (seconds, nanos): (String, String) = born(*made);
        let (device, its_inode) = (number(*device), number(*inode));
        let words = [device.as_bytes(), its_inode.as_bytes(), seconds.as_bytes(), nanos.as_bytes()];
        line(&[&[&b"directory"[..], path.as_os_str().as_bytes()][..], &words[..]].concat());
        line(&[b"server", self.server.as_bytes()]);
        line(&[b"state", state.as_bytes()]);
        line(&[b"snapshot", self.snapshot.as_bytes()]);
        line(&[
            b"undo",
            UNDO.iter().find(|(is, _)| *is == (self.is_undo, self.by_undo)).map_or(b"no", |(_, name)| name),
        ]);
        let (user, group) = (self.owner.0.to_string(), self.owner.1.to_string());
        line(&[b"other", self.other.as_bytes(), self.aside.as_bytes(), user.as_bytes(), group.as_bytes()]);
        if let Some(carried) = &self.carried {
            line(&[b"carried", carried.as_bytes()]);
        }
        if let Some(Elsewhere { name, aof, is_main, site: Site { path, device, inode, born: made } }) = &self.elsewhere
        {
            let ((seconds, nanos), device, inode) = (born(*made), number(*device), number(*inode));
            let is_main: &[u8] = if *is_main { b"yes" } else { b"no" };
            let (name, aof, path) = (name.as_bytes(), aof.as_bytes(), path.as_os_str().as_bytes());
            let site = [path, device.as_bytes(), inode.as_bytes(), seconds.as_bytes(), nanos.as_bytes()];
            line(&[&[b"elsewhere", name, aof, is_main][..], &site[..]].concat());
        }
        let inode = |inode: Option<u64>| inode.map_or("-".into(), |inode| inode.to_string());
        for entry in &self.entries {
            line(&[b"entry", entry.name.as_bytes(), inode(entry.here).as_bytes(), inode(entry.there).as_bytes()]);
        }
        for (kind, files) in [(&b"placed"[..], &self.placed), (b"kept", &self.kept)] {
            for Placed { path, inode, size, changed } in files {
                let (inode, size) = (number(*inode), number(*size));
                let (seconds, nanos) = (changed.0.to_string(), changed.1.to_string());
                let words = [inode.as_bytes(), size.as_bytes(), seconds.as_bytes(), nanos.as_bytes()];
                line(&[&[kind, path.as_bytes()][..], &words[..]].concat());
            }
        }
        match &self.start {
            None => {}
            Some(Start::Unit(unit)) => line(&[b"start", b"unit", unit.as_bytes()]),
            Some(Start::Script(name)) => line(&[b"start", b"script", name.as_bytes()]),
            Some(Start::Command(command)) => line(&[b"start", b"command", command.as_bytes()]),
            Some(Start::Process(process)) => {
                let (user, group) = (process.user.0.to_string(), process.user.1.to_string());
                let mut words: Vec<&[u8]> = vec![b"start", b"process", process.program.as_os_str().as_bytes()];
                words.extend([process.directory.as_os_str().as_bytes(), user.as_bytes(), group.as_bytes()]);
                words.extend(process.arguments.iter().map(|argument| argument.as_bytes()));
                line(&words);
                let surroundings = process.surroundings.words();
                let mut words: Vec<&[u8]> = vec![b"surroundings"];
                words.extend(surroundings.iter().map(Vec::as_slice));
                line(&words);
            }
        }
        line(&[b"end"]);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Journal> {
        let text = bytes.strip_suffix(b"end\n")?.strip_suffix(b"\n")?;
        let mut lines = text.split(|byte| *byte == b'\n').map(split_words);
        let mut next = |name: &str| {
            let mut words = lines.next()??.into_iter();
            (words.next()? == name.as_bytes()).then(|| words.collect::<Vec<_>>())
        };
        if next("redkeep-restore")?.first()? != b"2" {
            return None;
        }
        let site = decode_site(&next("directory")?)?;
        let server = String::from_utf8(next("server")?.into_iter().next()?).ok()?;
        let state = next("state")?;
        let state = STATES.iter().find(|(_, name)| Some(name.as_bytes()) == state.first().map(Vec::as_slice))?.0;
        let snapshot = String::from_utf8(next("snapshot")?.into_iter().next()?).ok()?;
        let undo = next("undo")?;
        let (is_undo, by_undo) = UNDO.iter().find(|(_, name)| Some(*name) == undo.first().map(Vec::as_slice))?.0;
        let others = next("other")?;
        let [other, aside, user, group] = others.as_slice() else { return None };
        let name = |word: &Vec<u8>| OsString::from_vec(word.clone());
        let (other, aside, owner) = (name(other), name(aside), (number(user)?, number(group)?));
        let (mut entries, mut placed, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let (mut start, mut carried, mut elsewhere) = (None, None, None);
        for words in lines {
            let words = words?;
            match words.split_first()? {
                (word, [one]) if word == b"carried" => carried = Some(name(one)),
                (word, [aof_directory, aof, is_main, site @ ..]) if word == b"elsewhere" => {
                    let (is_main, site) = (is_main == b"yes", decode_site(site)?);
                    elsewhere = Some(Elsewhere { name: name(aof_directory), aof: name(aof), is_main, site });
                }
                (word, rest) if word == b"entry" => entries.push(decode_entry(rest)?),
                (word, rest) if word == b"placed" => placed.push(decode_placed(rest)?),
                (word, rest) if word == b"kept" => kept.push(decode_placed(rest)?),
                (word, rest) if word == b"start" => start = Some(decode_start(rest)?),
                (word, rest) if word == b"surroundings" => match &mut start {
                    Some(Start::Process(process)) => process.surroundings = Surroundings::from_words(rest)?,
                    _ => return None,
                },
                _ => return None,
            }
        }
        let before = None;
        Some(Journal {
            site,
            server,
            state,
            snapshot,
            is_undo,
            by_undo,
            other,
            aside,
            owner,
            entries,
            elsewhere,
            placed,
            kept,
            start,
            carried,
            before,
        })
    }
}

fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    str::from_utf8(word).ok()?.parse().ok()
}

fn decode_site(words: &[Vec<u8>]) -> Option<Site> {
    let [path, device, inode, seconds, nanos] = words else { return None };
    let born = match (seconds.as_slice(), nanos.as_slice()) {
        (b"-", b"-") => None,
        (seconds, nanos) => Some((number(seconds)?, number(nanos)?)),
    };
    let path = PathBuf::from(OsStr::from_bytes(path));
    path.is_absolute().then_some(())?;
    Some(Site { path, device: number(device)?, inode: number(inode)?, born })
}

fn decode_placed(words: &[Vec<u8>]) -> Option<Placed> {
    let [path, inode, size, seconds, nanos] = words else { return None };
    let changed = (number(seconds)?, number(nanos)?);
    Some(Placed { path: OsStr::from_bytes(path).into(), inode: number(inode)?, size: number(size)?, changed })
}

fn decode_entry(words: &[Vec<u8>]) -> Option<Entry> {
    let [name, here, there] = words else { return None };
    let inode = |word: &[u8]| match word {
        b"-" => Some(None),
        digits => number(digits).map(Some),
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
        (b"process", [program, directory, user, group, arguments @ ..]) => {
            let path = |word: &Vec<u8>| PathBuf::from(OsStr::from_bytes(word));
            Some(Start::Process(CommandLine {
                program: path(program),
                directory: path(directory),
                user: (number(user)?, number(group)?),
                output: None,
                arguments: arguments.iter().map(|word| OsStr::from_bytes(word).into()).collect(),
                surroundings: Surroundings::default(),
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
