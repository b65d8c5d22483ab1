//! A restored directory is cut back to an earlier moment: its AOF loses the commands after it.
//! Rules: format-spec/17-timeline.md.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::below;
use super::stage::sync_directory;
use crate::aof::{Aim, CutFinder, Ending, Entry, FileType, Found, Manifest};
use crate::format::UnixMillis;
use crate::format::snapshot::{File, Mark, Role};
use crate::operations::OperationError;
use crate::rdb;
use crate::redis::inspect;

/// The moment a directory is cut back to. Times are those of the server's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// The state at the end of a second.
    Second {
        /// Seconds since the epoch.
        second: u64,
        /// The second the base is of, and commands before any timestamp.
        base: u64,
    },
    /// A place that was reached at a known time.
    Mark(Mark),
    /// Before the last command that begins with these words.
    Before {
        /// Its name and its first arguments.
        words: Vec<Vec<u8>>,
        /// The second of commands before any timestamp, where it is known.
        base: Option<u64>,
        /// Places that were reached at known times.
        marks: Vec<Mark>,
    },
}

impl Goal {
    /// The same for files that stand in one directory under their names.
    pub(super) fn by_name(&self) -> Goal {
        let named = |mark: &Mark| {
            let name = mark.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
            Mark { path: name.into(), ..mark.clone() }
        };
        match self {
            Goal::Second { .. } => self.clone(),
            Goal::Mark(mark) => Goal::Mark(named(mark)),
            Goal::Before { words, base, marks } => {
                Goal::Before { words: words.clone(), base: *base, marks: marks.iter().map(named).collect() }
            }
        }
    }
}

/// What was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The file whose commands end at the moment, and what is left of it.
    pub path: Vec<u8>,
    /// Bytes that are left of it.
    pub length: u64,
    /// Bytes that are gone, of it and of later files.
    pub dropped: u64,
    /// The second of the last command that is left, or of the one that was searched for; where there are no timestamps,
    /// the last known time before it.
    pub second: Option<u64>,
    /// The second is told by the file, and not only by a mark before it.
    pub is_annotated: bool,
}

/// One file of commands, in the order in which they are replayed.
struct Part {
    /// As in the snapshot.
    path: Vec<u8>,
    place: PathBuf,
    role: Role,
}

/// A place to cut.
struct Place {
    part: usize,
    offset: u64,
    second: Option<u64>,
}

/// Cuts the AOF of a directory that holds the files of a snapshot. The files are those that are there, with their roles.
///
/// TIME-9: later increments go, the manifest names what is left, and what was cut is read again.
pub fn cut(root: &Path, files: &[&File], goal: &Goal) -> Result<Cut, OperationError> {
    let manifest = files.iter().find(|file| file.role == Role::Manifest);
    let parts = match manifest {
        Some(manifest) => increments(root, manifest)?,
        None => files.iter().filter(|file| file.role == Role::SingleAof).map(|file| single(root, file)).collect(),
    };
    let place = find(&parts, goal)?;
    let (Some(part), later) = (parts.get(place.part), parts.get(place.part + 1..).unwrap_or_default()) else {
        return Err(nothing("the snapshot has no AOF".into()));
    };
    let mut dropped = shorten(&part.place, place.offset)?;
    for gone in later {
        dropped += size(&gone.place)?;
    }
    if let (Some(manifest), true) = (manifest, dropped > 0 || !later.is_empty()) {
        name_only(root, manifest, part)?;
    }
    for gone in later {
        fs::remove_file(&gone.place).map_err(|error| OperationError::target("remove", &gone.place, error))?;
    }
    look_again(part)?;
    let marked = known_before(goal, part, place.offset);
    Ok(Cut {
        path: part.path.clone(),
        length: place.offset,
        dropped,
        second: place.second.or(marked),
        is_annotated: place.second.is_some(),
    })
}

fn nothing(why: String) -> OperationError {
    OperationError::NotThere { why }
}

fn single(root: &Path, file: &File) -> Part {
    Part { path: file.path.to_vec(), place: below(root, file), role: Role::SingleAof }
}

fn read_manifest(place: &Path) -> Result<Manifest, OperationError> {
    let bytes = fs::read(place).map_err(|error| OperationError::target("read", place, error))?;
    Manifest::decode(&bytes).map_err(|malformed| nothing(malformed.to_string()))
}

/// The increments that a manifest names, in order.
fn increments(root: &Path, manifest: &File) -> Result<Vec<Part>, OperationError> {
    let place = below(root, manifest);
    let directory = manifest.path.iter().rposition(|byte| *byte == b'/').and_then(|end| manifest.path.get(..=end));
    let part = |entry: &Entry| Part {
        path: [directory.unwrap_or_default(), &entry.name].concat(),
        place: place.with_file_name(OsStr::from_bytes(&entry.name)),
        role: Role::Incr,
    };
    Ok(read_manifest(&place)?.increments().map(part).collect())
}

fn find(parts: &[Part], goal: &Goal) -> Result<Place, OperationError> {
    let (aim, mut second) = match goal {
        Goal::Mark(mark) => {
            let part = parts.iter().position(|part| part.path == mark.path[..]);
            let place = |part| Place { part, offset: mark.offset, second: None };
            return part.map(place).ok_or_else(|| nothing("the file of the mark is not there".into()));
        }
        Goal::Second { second, base } if base > second => {
            return Err(nothing("the base of the AOF is younger".into()));
        }
        Goal::Second { second, base } => (Aim::Second(*second), Some(*base)),
        Goal::Before { words, base, .. } => (Aim::Before(words.clone()), *base),
    };
    let mut place = None;
    for (number, part) in parts.iter().enumerate() {
        let (begin, found) = follow(part, &aim, second)?;
        refuse_unread(part, &aim, &found)?;
        let is_second = matches!(aim, Aim::Second(_));
        // Nothing of the first file is old enough: what is left is the base.
        let floor = (is_second && number == 0).then_some(Place { part: 0, offset: begin, second: None });
        let cut = found.cut.map(|cut| Place { part: number, offset: begin + cut.offset, second: cut.second });
        place = cut.or(place).or(floor);
        if let (Goal::Before { words, .. }, Some(found), 0, Role::SingleAof) = (goal, &place, begin, part.role) {
            refuse_rewritten(goal, words, part, found.offset)?;
        }
        second = found.second;
    }
    match (place, &aim) {
        (Some(place), _) => Ok(place),
        (None, Aim::Second(_)) => Err(nothing("the snapshot has no commands".into())),
        (None, Aim::Before(words)) => {
            let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
            Err(nothing(format!("no command of the AOF begins with {}", words.join(" "))))
        }
    }
}

/// What is found in a file of commands, and where its commands begin.
fn follow(part: &Part, aim: &Aim, second: Option<u64>) -> Result<(u64, Found), OperationError> {
    let fails = |error| OperationError::target("read", &part.place, error);
    let mut file = fs::File::open(&part.place).map_err(fails)?;
    let mut finder = CutFinder::new(aim.clone(), second);
    let mut first = Vec::new();
    (&mut file).take(FIRST).read_to_end(&mut first).map_err(fails)?;
    let is_rdb = rdb::looks_like_rdb(&first);
    let mut input = first.as_slice().chain(file);
    if !is_rdb {
        pull(&mut input, &mut |piece| finder.push(piece)).map_err(fails)?;
        return Ok((0, finder.finish()));
    }
    let structure = rdb::read_preamble(input, &mut |piece| finder.push(piece)).map_err(fails)?;
    match structure.end.filter(|_| structure.is_whole()) {
        Some(end) => Ok((end, finder.finish())),
        None => Err(nothing(format!(
            "{}: where its commands begin is not known: {}",
            String::from_utf8_lossy(&part.path),
            structure.reason().unwrap_or_default()
        ))),
    }
}

fn pull(input: &mut impl Read, see: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match input.read(&mut piece)? {
            0 => return Ok(()),
            count => see(piece.get(..count).unwrap_or_default()),
        }
    }
}

/// Commands that could not be read may be what is looked for.
fn refuse_unread(part: &Part, aim: &Aim, found: &Found) -> Result<(), OperationError> {
    let Ending::NotCommands { .. } = found.commands.ending else { return Ok(()) };
    match aim {
        Aim::Second(second) if found.second.is_some_and(|last| last > *second) => Ok(()),
        Aim::Second(_) | Aim::Before(_) => {
            let why = found.commands.reason().unwrap_or_default();
            Err(nothing(format!("{}: {why}", String::from_utf8_lossy(&part.path))))
        }
    }
}

/// A single AOF without an RDB file at its begin may hold a rewritten dataset there, and does not say where that ends:
/// to cut within it would leave a part of a dataset.
fn refuse_rewritten(goal: &Goal, words: &[Vec<u8>], part: &Part, offset: u64) -> Result<(), OperationError> {
    let Goal::Before { marks, .. } = goal else { return Ok(()) };
    let name = words.first().map(|word| word.to_ascii_uppercase()).unwrap_or_default();
    let is_written_by_rewrites = REWRITTEN.iter().any(|word| word.as_bytes() == name);
    let is_past = marks.iter().any(|mark| mark.path[..] == part.path[..] && mark.offset <= offset);
    match is_written_by_rewrites && !is_past {
        true => {
            Err(nothing("the last such command may be of a rewritten dataset, and not one that a client sent".into()))
        }
        false => Ok(()),
    }
}

/// Commands that a rewrite writes.
const REWRITTEN: [&str; 14] = [
    "SELECT",
    "SET",
    "RPUSH",
    "SADD",
    "ZADD",
    "HMSET",
    "HSET",
    "XADD",
    "XGROUP",
    "XSETID",
    "XCLAIM",
    "PEXPIREAT",
    "RESTORE",
    "FUNCTION",
];

/// Bytes that tell an RDB file.
const FIRST: u64 = 4096;
/// Bytes read at once.
const PIECE: usize = 256 << 10;

fn size(place: &Path) -> Result<u64, OperationError> {
    let metadata = fs::metadata(place).map_err(|error| OperationError::target("look at", place, error))?;
    Ok(metadata.len())
}

/// Cuts a file and answers with the bytes it lost. It keeps its modification time.
fn shorten(place: &Path, length: u64) -> Result<u64, OperationError> {
    let before = size(place)?;
    let Some(dropped) = before.checked_sub(length) else {
        return Err(nothing(format!("{} ends before the mark", place.display())));
    };
    if dropped == 0 {
        return Ok(0);
    }
    let cut = || {
        let file = OpenOptions::new().write(true).open(place)?;
        let modified = file.metadata()?.modified()?;
        file.set_len(length)?;
        file.set_modified(modified)?;
        file.sync_all()
    };
    cut().map_err(|error| OperationError::target("cut", place, error))?;
    Ok(dropped)
}

/// Writes the manifest anew: the base, and the increments up to the one that was cut.
fn name_only(root: &Path, manifest: &File, last: &Part) -> Result<(), OperationError> {
    let place = below(root, manifest);
    let name = last.place.file_name().map_or(&[][..], |name| name.as_bytes());
    let whole = read_manifest(&place)?.for_capture();
    let mut entries: Vec<Entry> = whole.entries().to_vec();
    if let Some(end) = entries.iter().position(|entry| entry.file_type == FileType::Increment && entry.name == name) {
        entries.truncate(end + 1);
    }
    if let Some(last) = entries.last_mut() {
        last.end_offset = None;
    }
    let left = Manifest::new(entries).map_err(|malformed| nothing(malformed.to_string()))?;
    let directory = place.parent().unwrap_or(root);
    let write = || {
        let mut file = OpenOptions::new().write(true).open(&place)?;
        let of_file = file.metadata()?.modified()?;
        file.set_len(0)?;
        file.write_all(&left.encode())?;
        file.set_modified(of_file)?;
        file.sync_all()
    };
    write().map_err(|error| OperationError::target("write to", &place, error))?;
    sync_directory(directory)
}

/// The structure of what was cut.
fn look_again(part: &Part) -> Result<(), OperationError> {
    let fails = |error| OperationError::target("read", &part.place, error);
    let mut file = fs::File::open(&part.place).map_err(fails)?;
    let reading = inspect(part.role, &mut file).map_err(fails)?;
    match reading.suspect {
        None => Ok(()),
        Some(why) => Err(nothing(format!("{} is not whole after the cut: {why}", String::from_utf8_lossy(&part.path)))),
    }
}

/// The last known time before a place.
fn known_before(goal: &Goal, part: &Part, offset: u64) -> Option<u64> {
    let seconds = |time: UnixMillis| time.0 / 1000;
    match goal {
        Goal::Second { .. } => None,
        Goal::Mark(mark) => Some(seconds(mark.time)),
        Goal::Before { marks, .. } => {
            let before = marks.iter().filter(|mark| mark.path[..] == part.path[..] && mark.offset <= offset);
            before.map(|mark| seconds(mark.time)).max()
        }
    }
}
