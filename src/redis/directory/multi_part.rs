//! The files of a multi-part AOF, opened as one manifest names them, without a lock and without asking the server.
//!
//! A server writes a new increment or base first, then renames a new manifest into place, and removes what that one no
//! longer names. So if the manifest is the same before and after its files were opened, they are the files of one
//! moment. All but the last increment are complete then; the last one grows.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::opened::{Opening, Span, Stamp, open};
use crate::aof::{Entry, FileType, MANIFEST_MAX, Malformed, Manifest};
use crate::redis::error::RedisError;

/// How often the files are opened before it is given up, and for how long.
const ATTEMPTS: u32 = 100;
const DEADLINE: Duration = Duration::from_secs(20);

/// How often the same manifest may name a file that is not there.
const MISSES: u32 = 20;

/// A manifest and what it names, all open.
#[derive(Debug)]
pub(super) struct MultiPart {
    /// As it was read.
    pub bytes: Vec<u8>,
    /// What the system says of it.
    pub metadata: Metadata,
    /// What it says.
    pub manifest: Manifest,
    /// Why a server cannot read it, if only redkeep can.
    pub unreadable: Option<Malformed>,
    /// Base and increments in the order of the manifest; with history files where these were asked for.
    pub parts: Vec<Part>,
}

/// One file of a manifest.
#[derive(Debug)]
pub(super) struct Part {
    /// What the manifest says of it.
    pub entry: Entry,
    /// Opened while the manifest named it.
    pub file: File,
    /// Taken after the manifest had been read again: the length is what belongs to the moment.
    pub metadata: Metadata,
}

/// What came of opening a multi-part AOF.
pub(super) enum Outcome {
    /// All of it is open.
    Open(Box<MultiPart>),
    /// The manifest is gone.
    Gone,
    /// The manifest cannot be read.
    Malformed(Malformed),
}

/// A manifest as it stood at one moment.
struct Reading {
    bytes: Vec<u8>,
    metadata: Metadata,
}

impl Reading {
    /// Whether it was not even replaced by an equal one.
    fn is(&self, other: &Self) -> bool {
        Stamp::of(&self.metadata) == Stamp::of(&other.metadata) && self.bytes == other.bytes
    }
}

/// Opens what a manifest names. `wants_history` says of a file name whether it is wanted although it is history.
pub(super) fn open_parts(manifest_path: &Path, wants_history: &dyn Fn(&[u8]) -> bool) -> Result<Outcome, RedisError> {
    let (started, mut misses) = (Instant::now(), 0);
    for attempt in 1..=ATTEMPTS {
        let Some(first) = read_manifest(manifest_path)? else { return Ok(Outcome::Gone) };
        let (manifest, unreadable) = match decode(&first.bytes) {
            Ok(decoded) => decoded,
            Err(malformed) => return Ok(Outcome::Malformed(malformed)),
        };
        let opened = open_each(manifest_path, &manifest, wants_history)?;
        let second = read_manifest(manifest_path)?;
        if second.as_ref().is_some_and(|second| first.is(second)) {
            match opened {
                Ok(files) => {
                    let parts = measure(manifest_path, files)?;
                    let Reading { bytes, metadata } = first;
                    return Ok(Outcome::Open(Box::new(MultiPart { bytes, metadata, manifest, unreadable, parts })));
                }
                Err(missing) => {
                    misses += 1;
                    // Where a file is missing, the other way to read it was no better.
                    if let Some(malformed) = unreadable.filter(|_| misses >= MISSES) {
                        return Ok(Outcome::Malformed(malformed));
                    }
                    check_misses(misses, manifest_path, &missing)?;
                }
            }
        } else {
            misses = 0;
        }
        if started.elapsed() > DEADLINE {
            return Err(unsettled(manifest_path, attempt, started));
        }
        thread::sleep(Duration::from_millis(u64::from(attempt.min(20))));
    }
    Err(unsettled(manifest_path, ATTEMPTS, started))
}

fn unsettled(path: &Path, attempts: u32, started: Instant) -> RedisError {
    RedisError::Unsettled { path: path.to_owned(), attempts, seconds: started.elapsed().as_secs() }
}

fn check_misses(misses: u32, manifest: &Path, missing: &[u8]) -> Result<(), RedisError> {
    if misses < MISSES {
        return Ok(());
    }
    let name = String::from_utf8_lossy(missing).into_owned();
    Err(RedisError::MissingAofFile { manifest: manifest.to_owned(), name })
}

/// `None` if it is gone.
fn read_manifest(path: &Path) -> Result<Option<Reading>, RedisError> {
    let (file, metadata) = match open(path, true)? {
        Opening::File(file, metadata) => (file, metadata),
        Opening::Gone => return Ok(None),
        Opening::NotAFile => return Err(RedisError::NotAFile { path: path.to_owned() }),
    };
    let mut bytes = Vec::new();
    // One more, so that a longer one is refused and not cut.
    let read = Span::new(&file, 0, MANIFEST_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| RedisError::io("read", path, error))?;
    Ok(Some(Reading { bytes, metadata }))
}

fn beside(manifest_path: &Path, name: &[u8]) -> PathBuf {
    manifest_path.with_file_name(OsStr::from_bytes(name))
}

/// The open files, or the name of one that is not there.
type Each = Result<Vec<(Entry, File)>, Vec<u8>>;

/// Opens each file in turn. Only history may be missing: it is being removed.
fn open_each(
    manifest_path: &Path,
    manifest: &Manifest,
    wants_history: &dyn Fn(&[u8]) -> bool,
) -> Result<Each, RedisError> {
    let mut files = Vec::new();
    for entry in manifest.entries() {
        let is_history = entry.file_type == FileType::History;
        if is_history && !wants_history(&entry.name) {
            continue;
        }
        let path = beside(manifest_path, &entry.name);
        match open(&path, true)? {
            Opening::File(file, _) => files.push((entry.clone(), file)),
            Opening::Gone if is_history => {}
            Opening::Gone => return Ok(Err(entry.name.clone())),
            Opening::NotAFile => return Err(RedisError::NotAFile { path }),
        }
    }
    Ok(Ok(files))
}

fn measure(manifest_path: &Path, files: Vec<(Entry, File)>) -> Result<Vec<Part>, RedisError> {
    let mut parts = Vec::with_capacity(files.len());
    for (entry, file) in files {
        let metadata = file.metadata();
        let metadata =
            metadata.map_err(|error| RedisError::io("look at", &beside(manifest_path, &entry.name), error))?;
        parts.push(Part { entry, file, metadata });
    }
    Ok(parts)
}

/// A manifest as a server reads it, else as it was meant, with why a server cannot read it.
fn decode(bytes: &[u8]) -> Result<(Manifest, Option<Malformed>), Malformed> {
    Manifest::decode(bytes).map(|manifest| (manifest, None)).or_else(
        |malformed| match Manifest::decode_with_apostrophes(bytes) {
            Ok(manifest) => Ok((manifest, Some(malformed))),
            Err(_) => Err(malformed),
        },
    )
}

/// Whether a manifest names a file whose name begins like this.
pub(super) fn names_parts_of(manifest_path: &Path, begin: &[u8]) -> bool {
    let read = read_manifest(manifest_path).ok().flatten();
    let manifest = read.and_then(|read| decode(&read.bytes).ok());
    manifest.is_some_and(|(manifest, _)| manifest.entries().iter().any(|entry| entry.name.starts_with(begin)))
}

impl MultiPart {
    /// The file the server appends to: the last increment.
    pub(super) fn last_increment(&self) -> Option<&Part> {
        let last = self.manifest.last_increment()?;
        self.parts.iter().find(|part| part.entry.file_type == FileType::Increment && part.entry.seq == last.seq)
    }

    /// The manifest of the copy: as it was read where nothing has to change. It names no history, even where that is
    /// captured: a server removes history when it starts.
    pub(super) fn manifest_of_copy(&self) -> Vec<u8> {
        let copy = self.manifest.for_capture();
        if copy == self.manifest && self.unreadable.is_none() { self.bytes.clone() } else { copy.encode() }
    }

    /// Whether the manifest in place is still the one that was read.
    pub(super) fn is_current(&self, manifest_path: &Path) -> Result<bool, RedisError> {
        let now = read_manifest(manifest_path)?;
        Ok(now.is_some_and(|now| Stamp::of(&now.metadata) == Stamp::of(&self.metadata)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    #[test]
    fn the_files_of_a_manifest_that_was_replaced_meanwhile_are_opened_anew() {
        // By an equal one, too: it may be of files that took the place of others.
        for later in [1, 2] {
            let directory = tempfile::tempdir().unwrap();
            let put = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
            let manifest = |seq: u8| {
                let line = |of: u8, letter: char| format!("file {of}.{letter} seq {of} type {letter}\n");
                [line(9, 'h'), line(seq, 'b'), line(seq, 'i')].concat()
            };
            ["1.b", "1.i", "2.b", "2.i"].iter().for_each(|name| put(name, name));
            put("a.manifest", &manifest(1));
            let place = directory.path().join("a.manifest");
            let replace = |seq| {
                put("next", &manifest(seq));
                fs::rename(directory.path().join("next"), &place).unwrap();
            };
            // History is asked for between the first reading of the manifest and the second.
            let asked = Cell::new(0);
            let wants = |_: &[u8]| {
                if asked.replace(asked.get() + 1) == 0 {
                    replace(later);
                }
                false
            };
            let Outcome::Open(opened) = open_parts(&place, &wants).unwrap() else { panic!("{later}") };
            let names: Vec<String> =
                opened.parts.iter().map(|part| String::from_utf8(part.entry.name.clone()).unwrap()).collect();
            assert_eq!((names, asked.get()), (vec![format!("{later}.b"), format!("{later}.i")], 2));
            assert!(opened.is_current(&place).unwrap());
            replace(later);
            assert!(!opened.is_current(&place).unwrap());
        }
    }
}
