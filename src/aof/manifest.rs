//! A manifest names the files of one append-only file, from Redis 7.0 on: at most one base, then the increments in
//! order; history files wait for their removal.
//!
//! One line a file, of words in pairs: `file NAME seq N type b|h|i [startoffset N] [endoffset N]`. What a server would
//! refuse to start with is refused here.

use std::fmt;

use super::quoting::{Quotes, append_word, split_words_by};

/// Largest manifest that is read, in bytes.
pub const MANIFEST_MAX: usize = 4 << 20;

/// Longest line a server reads, with its end.
const ENTRY_LINE_MAX: usize = 1024;

/// Longest file name a file system takes.
const ENTRY_NAME_MAX: usize = 255;

/// Why a manifest cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("AOF manifest, line {line}: {what}")]
pub struct Malformed {
    /// Counted from 1; 0 for the whole.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// What a file of a manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// The dataset at the last rewrite, as RDB or as commands.
    Base,
    /// Replaced by a rewrite, waiting for its removal.
    History,
    /// Commands since the base.
    Increment,
}

impl FileType {
    fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'b' => Some(Self::Base),
            b'h' => Some(Self::History),
            b'i' => Some(Self::Increment),
            _ => None,
        }
    }

    fn letter(self) -> char {
        match self {
            Self::Base => 'b',
            Self::History => 'h',
            Self::Increment => 'i',
        }
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.letter())
    }
}

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name in the append-only directory: no path, not empty, at most 255 bytes.
    pub name: Vec<u8>,
    /// Sequence number, at least 1; bases and increments are counted apart.
    pub seq: i64,
    /// What the file is.
    pub file_type: FileType,
    /// Replication offset before the first byte of an increment.
    pub start_offset: Option<i64>,
    /// Replication offset after the last byte of an increment; the one being written has none.
    pub end_offset: Option<i64>,
    /// Pairs of a later format, as read.
    pub more: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The files of one append-only file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
}

impl Manifest {
    /// Checks that entries make up a manifest: names are names, there is one base at most, and the increments are in
    /// order. The line of an error is the place of the entry.
    pub fn new(entries: Vec<Entry>) -> Result<Self, Malformed> {
        let mut manifest = Self::default();
        for (place, entry) in entries.into_iter().enumerate() {
            manifest.push(entry).map_err(|what| Malformed { line: place + 1, what })?;
        }
        Ok(manifest)
    }

    /// Reads a manifest as a server does. Comments are passed over and not kept.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::decode_by(bytes, Quotes::Both)
    }

    /// Reads a manifest in which an apostrophe is a letter of a name. Servers write it so, and then cannot read it
    /// themselves: 7.0, 8.2 and Valkey 9 quote no word because of it.
    pub fn decode_with_apostrophes(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::decode_by(bytes, Quotes::Double)
    }

    fn decode_by(bytes: &[u8], quotes: Quotes) -> Result<Self, Malformed> {
        if bytes.is_empty() {
            return Err(Malformed { line: 0, what: "it is empty" });
        }
        if bytes.len() > MANIFEST_MAX {
            return Err(Malformed { line: 0, what: "it is larger than 4 MiB" });
        }
        let mut manifest = Self::default();
        for (place, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
            manifest.decode_line(line, quotes).map_err(|what| Malformed { line: place + 1, what })?;
        }
        Ok(manifest)
    }

    fn decode_line(&mut self, line: &[u8], quotes: Quotes) -> Result<(), &'static str> {
        if line.len() > ENTRY_LINE_MAX {
            return Err("longer than 1024 bytes");
        }
        if line.starts_with(b"#") {
            return Ok(());
        }
        let line = line.strip_suffix(b"\n").ok_or("it does not end with a line feed")?;
        if line.contains(&0) {
            return Err("it holds a zero byte");
        }
        self.push(decode_entry(line, quotes)?)
    }

    fn push(&mut self, entry: Entry) -> Result<(), &'static str> {
        check_name(&entry.name)?;
        if entry.seq < 1 {
            return Err("a sequence number below 1");
        }
        match entry.file_type {
            FileType::Base if self.base().is_some() => return Err("a second base"),
            FileType::Increment if self.last_increment().is_some_and(|last| last.seq >= entry.seq) => {
                return Err("an increment out of order");
            }
            FileType::Base | FileType::Increment | FileType::History => {}
        }
        let mut line = Vec::new();
        encode_entry(&mut line, &entry);
        if line.len() > ENTRY_LINE_MAX {
            // Bytes that stand as they are take four when they are written: no server could read that copy.
            return Err("longer than 1024 bytes when it is written again");
        }
        self.entries.push(entry);
        Ok(())
    }

    /// The manifest as a server would write it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            encode_entry(&mut bytes, entry);
        }
        bytes
    }

    /// The files in the order they are named.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The base, if there is one.
    pub fn base(&self) -> Option<&Entry> {
        self.of_type(FileType::Base).next()
    }

    /// The increments, in the order they are replayed.
    pub fn increments(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.of_type(FileType::Increment)
    }

    /// The increment being written.
    pub fn last_increment(&self) -> Option<&Entry> {
        self.increments().next_back()
    }

    /// The files that wait for their removal.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.of_type(FileType::History)
    }

    fn of_type(&self, file_type: FileType) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.file_type == file_type)
    }

    /// The manifest of a copy: the base first, then the increments, no history. The end offset of the last increment is
    /// dropped, since the copy of it may be cut short. Encoded, it equals the original where nothing had to change.
    pub fn for_capture(&self) -> Self {
        let mut entries: Vec<Entry> = self.base().into_iter().chain(self.increments()).cloned().collect();
        if let Some(last) = entries.iter_mut().rfind(|entry| entry.file_type == FileType::Increment) {
            last.end_offset = None;
        }
        Self { entries }
    }
}

fn check_name(name: &[u8]) -> Result<(), &'static str> {
    if name.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
        return Err("a path in place of a file name");
    }
    if matches!(name, b"" | b"." | b"..") || name.len() > ENTRY_NAME_MAX || name.contains(&0) {
        return Err("not a file name");
    }
    Ok(())
}

fn decode_entry(line: &[u8], quotes: Quotes) -> Result<Entry, &'static str> {
    let words = split_words_by(line, quotes).ok_or("a quote is not closed")?;
    if words.len() < 6 || words.len() % 2 != 0 {
        return Err("not pairs of words that name a file, its sequence number and its type");
    }
    let (mut name, mut seq, mut file_type) = (None, None, None);
    let (mut start_offset, mut end_offset, mut more) = (None, None, Vec::new());
    for pair in words.chunks_exact(2) {
        let [key, value] = pair else { continue };
        match key.to_ascii_lowercase().as_slice() {
            b"file" => name = Some(value.clone()),
            b"seq" => seq = Some(decode_number(value)?),
            b"type" => file_type = Some(decode_type(value)?),
            b"startoffset" => start_offset = decode_offset(value)?,
            b"endoffset" => end_offset = decode_offset(value)?,
            _ => more.push((key.clone(), value.clone())),
        }
    }
    Ok(Entry {
        name: name.ok_or("no file")?,
        seq: seq.ok_or("no sequence number")?,
        file_type: file_type.ok_or("no type")?,
        start_offset,
        end_offset,
        more,
    })
}

fn decode_number(value: &[u8]) -> Result<i64, &'static str> {
    str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or("not a number")
}

/// A server takes -1 for "none".
fn decode_offset(value: &[u8]) -> Result<Option<i64>, &'static str> {
    decode_number(value).map(|offset| (offset >= 0).then_some(offset))
}

/// Only the first letter counts, as it does for a server.
fn decode_type(value: &[u8]) -> Result<FileType, &'static str> {
    value.first().and_then(|&letter| FileType::from_letter(letter)).ok_or("an unknown type")
}

fn encode_entry(bytes: &mut Vec<u8>, entry: &Entry) {
    bytes.extend(b"file ");
    append_word(bytes, &entry.name);
    bytes.extend(format!(" seq {} type {}", entry.seq, entry.file_type).bytes());
    if let Some(offset) = entry.start_offset {
        bytes.extend(format!(" startoffset {offset}").bytes());
    }
    if let Some(offset) = entry.end_offset {
        bytes.extend(format!(" endoffset {offset}").bytes());
    }
    for (key, value) in &entry.more {
        bytes.push(b' ');
        append_word(bytes, key);
        bytes.push(b' ');
        append_word(bytes, value);
    }
    bytes.push(b'\n');
}
