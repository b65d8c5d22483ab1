//! Reading a captured file once: every byte goes to the sink, and past those who check the structure.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::captured_file::{CapturedFile, Content, Reading};
use super::facts::{self, Facts};
use super::names::FIRST;
use super::opened::{PIECE, Span, Stamp, first_bytes};
use crate::aof::{Commands, MANIFEST_MAX, Manifest, Scanner};
use crate::format::snapshot::Role;
use crate::rdb::{self, Checksum, Stretch, Structure};
use crate::redis::error::RedisError;

/// Takes the bytes that were read.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Takes the records and opcodes of a dump as they are found in the bytes that were taken.
pub(super) type Each<'a> = dyn FnMut(Stretch) + 'a;

/// Reads a file as its role asks.
pub(super) fn read(file: &CapturedFile, sink: &mut Sink<'_>, each: &mut Each<'_>) -> Result<Reading, RedisError> {
    let fails = |error| match &file.content {
        Content::Sent(sent) => sent.failure().unwrap_or_else(|| RedisError::io("read", &path_of(file), error)),
        Content::None | Content::Link(_) | Content::Bytes(_) | Content::Open { .. } => {
            RedisError::io("read", &path_of(file), error)
        }
    };
    let before = stamp(file).map_err(fails)?;
    let is_rdb = begins_like_rdb(file).map_err(fails)?;
    let mut tee = Tee { input: input(file, before.as_ref()), sink, length: 0, failure: None };
    let born = file.born().map(|millis| millis / 1000);
    let checked = check(file.role, is_rdb, born, &mut tee, each);
    let (length, failure) = (tee.length, tee.failure);
    let mut reading = match (checked, failure) {
        (_, Some(Failure::Sink(error))) => return Err(RedisError::Sink(error)),
        (_, Some(Failure::Input(error))) | (Err(error), None) => return Err(fails(error)),
        (Ok(reading), None) => reading,
    };
    reading.length = length;
    if let Content::Sent(_) = &file.content {
        refuse_suspect(&reading)?;
    }
    let after = stamp(file).map_err(fails)?;
    reading.suspect = reading.suspect.or_else(|| changed(file, length, before, after));
    Ok(reading)
}

/// SYNC-6: a server that sends a dump can send it again: what is suspect is not stored.
fn refuse_suspect(reading: &Reading) -> Result<(), RedisError> {
    match &reading.suspect {
        None => Ok(()),
        Some(why) => Err(RedisError::Server {
            what: format!("what the server sent is no whole dump: {why}"),
            hint:
                "its memory, its host or the network between may be at fault: try again, with TLS where there is none"
                    .into(),
        }),
    }
}

/// The path of a captured file as it is known here: relative to the directory.
fn path_of(file: &CapturedFile) -> PathBuf {
    OsStr::from_bytes(&file.path).into()
}

/// Up to the promised length, else to the size of this moment: a file may grow as fast as it is read.
fn input<'a>(file: &'a CapturedFile, now: Option<&Stamp>) -> Box<dyn Read + 'a> {
    match &file.content {
        Content::None | Content::Link(_) => Box::new(io::empty()),
        Content::Bytes(bytes) => Box::new(bytes.as_slice()),
        Content::Sent(sent) => Box::new(sent.reader()),
        Content::Open { file, length } => {
            let end = length.or_else(|| now.map(Stamp::size)).unwrap_or(u64::MAX);
            Box::new(Span::new(file, 0, end))
        }
    }
}

fn stamp(file: &CapturedFile) -> io::Result<Option<Stamp>> {
    match &file.content {
        Content::None | Content::Link(_) | Content::Bytes(_) | Content::Sent(_) => Ok(None),
        Content::Open { file, .. } => file.metadata().map(|metadata| Some(Stamp::of(&metadata))),
    }
}

/// What the structure alone cannot show: a file that ended early, or was written to while it was read.
fn changed(file: &CapturedFile, length: u64, before: Option<Stamp>, after: Option<Stamp>) -> Option<String> {
    let Content::Open { length: promised, .. } = &file.content else { return None };
    if let Some(promised) = promised {
        return (length < *promised).then(|| format!("it ended at {length}, but had {promised} bytes when captured"));
    }
    let (before, after) = (before?, after?);
    let is_still = before.same_content(&after) && before.size() == length;
    (!is_still).then(|| format!("it changed while it was read, from {} bytes to {}", before.size(), after.size()))
}

/// Reads content from wherever it is kept, to its end, and checks its structure as its role asks.
pub fn inspect(role: Role, input: &mut dyn Read) -> io::Result<Reading> {
    inspect_into(role, input, &mut |_| Ok(()), &mut |_| {})
}

/// The same, and hands on every byte, and each record and opcode of a dump once its bytes were.
pub fn inspect_into(
    role: Role,
    input: &mut dyn Read,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    each: &mut dyn FnMut(Stretch),
) -> io::Result<Reading> {
    let mut first = Vec::new();
    input.take(FIRST as u64).read_to_end(&mut first)?;
    let is_rdb = rdb::looks_like_rdb(&first);
    let mut tee = Tee { input: Box::new(first.as_slice().chain(input)), sink, length: 0, failure: None };
    let checked = check(role, is_rdb, None, &mut tee, each);
    match (checked, tee.failure) {
        (_, Some(Failure::Input(error) | Failure::Sink(error))) | (Err(error), None) => Err(error),
        (Ok(reading), None) => Ok(Reading { length: tee.length, ..reading }),
    }
}

/// Pulls the whole input through the reader for its role. `born`: the second in which the file came to be.
fn check(role: Role, is_rdb: bool, born: Option<u64>, tee: &mut Tee<'_>, each: &mut Each<'_>) -> io::Result<Reading> {
    match role {
        Role::Dump => rdb::read_stretches(tee, each).map(|structure| of_rdb(&structure)),
        Role::Base | Role::History | Role::SingleAof if is_rdb => check_preamble(role, born, tee, each),
        Role::Base | Role::History | Role::SingleAof | Role::Incr => check_commands(born, tee),
        Role::Manifest => check_manifest(tee),
        Role::Other | Role::Config => pull(tee, &mut |_| {}).map(|()| Reading::default()),
    }
}

fn check_commands(born: Option<u64>, tee: &mut Tee<'_>) -> io::Result<Reading> {
    let mut scanner = Scanner::looking_after(born);
    pull(tee, &mut |piece| scanner.push(piece))?;
    Ok(of_commands(&scanner.finish()))
}

/// An RDB file, and maybe commands after it.
fn check_preamble(role: Role, born: Option<u64>, tee: &mut Tee<'_>, each: &mut Each<'_>) -> io::Result<Reading> {
    let mut scanner = Scanner::looking_after(born);
    let structure = rdb::read_preamble_stretches(tee, each, &mut |piece| scanner.push(piece))?;
    let mut reading = of_structure(&structure);
    if let Some(end) = structure.end {
        let commands = of_commands(&scanner.finish().after(end));
        reading.suspect = reading.suspect.or(commands.suspect);
        reading.facts.extend(commands.facts);
        if role == Role::SingleAof {
            reading.facts.insert("preamble".to_owned(), end.to_string());
        }
    }
    // Most bases end with their checksum. Where neither that is so nor the content is understood, doubt is due.
    if role != Role::SingleAof && structure.header.is_some() && structure.checksum == Checksum::NotReached {
        reading.suspect = reading.suspect.or_else(|| reading.note.take());
    }
    Ok(reading)
}

fn check_manifest(tee: &mut Tee<'_>) -> io::Result<Reading> {
    let mut bytes = Vec::new();
    pull(tee, &mut |piece| {
        if bytes.len() <= MANIFEST_MAX {
            bytes.extend_from_slice(piece);
        }
    })?;
    let suspect = Manifest::decode(&bytes).err().map(|malformed| malformed.to_string());
    Ok(Reading { suspect, ..Reading::default() })
}

fn begins_like_rdb(file: &CapturedFile) -> io::Result<bool> {
    match &file.content {
        Content::None | Content::Link(_) => Ok(false),
        Content::Bytes(bytes) => Ok(rdb::looks_like_rdb(bytes)),
        Content::Sent(_) => Ok(true),
        Content::Open { file, .. } => Ok(rdb::looks_like_rdb(&first_bytes(file)?)),
    }
}

fn of_commands(commands: &Commands) -> Reading {
    Reading { suspect: commands.reason(), facts: facts::of_commands(commands), ..Reading::default() }
}

/// An RDB file on its own. A server writes nothing after the checksum, and each loads a file with something there.
fn of_rdb(structure: &Structure) -> Reading {
    let mut reading = of_structure(structure);
    if let Some(end) = structure.end.filter(|_| structure.trailing > 0 && reading.suspect.is_none()) {
        let what = || format!("{} bytes follow its end at {end}, which no server reads", structure.trailing);
        reading.note = reading.note.or_else(|| Some(what()));
    }
    reading
}

fn of_structure(structure: &Structure) -> Reading {
    let facts: Facts = facts::of_structure(structure);
    let (suspect, note) = match structure.is_suspect() {
        true => (structure.reason(), None),
        false => (None, structure.reason()),
    };
    Reading { suspect, note, facts, ..Reading::default() }
}

/// Reads to the end in large pieces.
fn pull(tee: &mut Tee<'_>, see: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = tee.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        see(piece.get(..count).unwrap_or_default());
    }
}

/// An input whose bytes go to the sink as they are read.
struct Tee<'a> {
    input: Box<dyn Read + 'a>,
    sink: &'a mut Sink<'a>,
    length: u64,
    failure: Option<Failure>,
}

/// Whose error it was.
enum Failure {
    Input(io::Error),
    Sink(io::Error),
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Never Interrupted, which a reader would take as an invitation to read on.
        let stopped = || io::Error::other("stopped");
        if self.failure.is_some() {
            return Err(stopped());
        }
        let count = self.input.read(buffer).map_err(|error| {
            self.failure = Some(Failure::Input(error));
            stopped()
        })?;
        let piece = buffer.get(..count).unwrap_or_default();
        if !piece.is_empty() {
            (self.sink)(piece).map_err(|error| {
                self.failure = Some(Failure::Sink(error));
                stopped()
            })?;
        }
        self.length += count as u64;
        Ok(count)
    }
}
