//! How a journal is written: lines of words, quoted as in redis.conf. The last one says that none is missing.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use super::super::elsewhere::Elsewhere;
use super::{Entry, Journal, Placed, Site, State};
use crate::aof::{append_word, split_words};
use crate::redis::host::{CommandLine, Start, Surroundings};

const STATES: [(State, &str); 4] = [
    (State::Stopping, "stopping"),
    (State::Exchanging, "exchanging"),
    (State::Placed, "placed"),
    (State::Done, "done"),
];

/// `is_undo` and `by_undo` in a word.
const UNDO: [((bool, bool), &[u8]); 3] = [((false, false), b"no"), ((true, true), b"yes"), ((false, true), b"undone")];

impl Journal {
    pub(super) fn encode(&self) -> Vec<u8> {
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

    pub(super) fn decode(bytes: &[u8]) -> Option<Journal> {
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
