//! A restored directory is cut back to an earlier moment: its AOF loses the commands after it.
//! Rules: format-spec/17-timeline.md.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::below;
use super::seeking::{Part, find, follow};
use super::watched::Watched;
use crate::aof::{Entry, FileType, FoundCommand, Manifest};
use crate::format::snapshot::{File, Mark, Role};
use crate::operations::{Observer, OperationError};
use crate::redis::inspect;
use crate::repository::RepositoryError;

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
    /// After the last whole command before the first damage.
    LastWhole {
        /// The second of commands before any timestamp, where it is known.
        base: Option<u64>,
        /// Places that were reached at known times.
        marks: Vec<Mark>,
    },
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
            Goal::LastWhole { base, marks } => {
                Goal::LastWhole { base: *base, marks: marks.iter().map(named).collect() }
            }
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
    /// The command that was searched for.
    pub command: Option<FoundCommand>,
}

/// Cuts the AOF of a directory that holds the files of a snapshot. The files are those that are there, with their roles.
///
/// TIME-9: later increments go, the manifest names what is left, and what was cut is read again.
pub fn cut(root: &Path, files: &[&File], goal: &Goal, observer: &dyn Observer) -> Result<Cut, OperationError> {
    let manifest = files.iter().find(|file| file.role == Role::Manifest);
    let parts = match manifest {
        Some(manifest) => Part::of_manifest(manifest, &read_manifest(&below(root, manifest))?),
        None => Part::of_single(files),
    };
    let place = |part: &Part| root.join(OsStr::from_bytes(&part.path));
    let sizes: u64 = parts.iter().filter_map(|part| Some(fs::metadata(place(part)).ok()?.len())).sum();
    observer.begin("looking for where to cut the AOF", Some(sizes));
    let found = find(&parts, goal, &mut |part, aim, second| {
        let fails = |error| OperationError::target("read", &place(part), error);
        let input = fs::File::open(place(part)).map_err(fails)?;
        let followed = follow(&mut Watched { input, observer }, aim, second);
        match observer.interrupted() {
            true => Err(RepositoryError::Interrupted.into()),
            false => followed.map_err(fails),
        }
    })?;
    let (Some(part), later) = (parts.get(found.part), parts.get(found.part + 1..).unwrap_or_default()) else {
        return Err(nothing("the snapshot has no AOF".into()));
    };
    let mut dropped = shorten(&place(part), found.offset)?;
    for gone in later {
        dropped += size(&place(gone))?;
    }
    if let (Some(manifest), true) = (manifest, dropped > 0 || !later.is_empty()) {
        name_only(root, manifest, part)?;
    }
    for gone in later {
        let gone = place(gone);
        fs::remove_file(&gone).map_err(|error| OperationError::target("remove", &gone, error))?;
    }
    look_again(part, &place(part))?;
    Ok(found.cut(part, goal, dropped))
}

pub(super) fn nothing(why: String) -> OperationError {
    OperationError::NotThere { why }
}

fn read_manifest(place: &Path) -> Result<Manifest, OperationError> {
    let bytes = fs::read(place).map_err(|error| OperationError::target("read", place, error))?;
    Manifest::decode(&bytes).map_err(|malformed| nothing(malformed.to_string()))
}

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
    let name = last.name();
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
    let synced = fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| OperationError::target("sync", directory, error))
}

/// The structure of what was cut.
fn look_again(part: &Part, place: &Path) -> Result<(), OperationError> {
    let fails = |error| OperationError::target("read", place, error);
    let mut file = fs::File::open(place).map_err(fails)?;
    let reading = inspect(part.role, &mut file).map_err(fails)?;
    match reading.suspect {
        None => Ok(()),
        Some(why) => Err(nothing(format!("{} is not whole after the cut: {why}", part.display()))),
    }
}
