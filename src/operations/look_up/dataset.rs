//! Which files of a snapshot a server would load, and their content for look-ups.

use std::ops::ControlFlow;

use crate::aof::Manifest;
use crate::format::form::FormState;
use crate::format::recipe::{CANONICAL_RDB, Part};
use crate::format::snapshot::{File, FileKind, Role, Snapshot};
use crate::operations::restore::Cut;
use crate::operations::verify::read_through;
use crate::operations::{Observer, OperationError};
use crate::rdb::looks_like_rdb;
use crate::rdb::values::{Record, read_preamble_records, read_records};
use crate::repository::{ChunkReader, LookedUp, RepositoryError};

/// Values up to so many bytes are read where many are looked at.
pub const LISTED_LONGEST: usize = 65 << 20;
/// And where one is: a string can have 512 MiB.
pub(super) const VALUE_LONGEST: usize = 513 << 20;
/// The longest manifest that is read.
const MANIFEST_LONGEST: u64 = 1 << 20;

/// The files that make up the keys of a snapshot.
pub(super) struct Dataset<'s> {
    /// The dump, or what begins as one.
    pub dump: Option<&'s File>,
    /// The dump goes on as commands in the same file.
    pub goes_on: bool,
    /// Files of commands behind it, in order.
    pub behind: Vec<&'s File>,
}

impl<'s> Dataset<'s> {
    /// Of a snapshot: as a restore chooses among an AOF and a dump.
    pub fn of(reader: &ChunkReader<'_>, snapshot: &'s Snapshot) -> Result<Dataset<'s>, OperationError> {
        let of = |role: Role| snapshot.files.iter().find(|file| file.role == role && file.kind == FileKind::File);
        let (dump, manifest, single) = (of(Role::Dump), of(Role::Manifest), of(Role::SingleAof));
        let is_dump = snapshot.facts.get("authoritative").map(String::as_str) == Some("rdb");
        let chosen = match (dump, manifest, single) {
            (Some(dump), ..) if is_dump => Dataset { dump: Some(dump), goes_on: false, behind: Vec::new() },
            (_, Some(manifest), _) => Dataset::of_parts(reader, snapshot, manifest)?,
            (_, None, Some(single)) => Dataset { dump: Some(single), goes_on: true, behind: Vec::new() },
            (Some(dump), ..) => Dataset { dump: Some(dump), goes_on: false, behind: Vec::new() },
            (None, None, None) => {
                return Err(unfit("the snapshot holds no dataset of a server", "choose another snapshot"));
            }
        };
        chosen.without_commands_as_dump(reader)
    }

    fn of_parts(
        reader: &ChunkReader<'_>,
        snapshot: &'s Snapshot,
        manifest: &'s File,
    ) -> Result<Dataset<'s>, OperationError> {
        let mut bytes = Vec::new();
        if manifest.size <= MANIFEST_LONGEST {
            reader.read(recipe(manifest)?, &mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
        }
        let hint = "restore it to a directory to see what there is";
        let unread = |why: String| unfit(&format!("{}: {why}", manifest.display_path()), hint);
        let read = Manifest::decode(&bytes).map_err(|malformed| unread(malformed.to_string()))?;
        let end = manifest.path.iter().rposition(|byte| *byte == b'/').map_or(0, |end| end + 1);
        let file = |name: &[u8]| {
            let path = [manifest.path.get(..end).unwrap_or_default(), name].concat();
            let found = snapshot.files.iter().find(|file| file.path[..] == path && file.kind == FileKind::File);
            found.ok_or_else(|| unread(format!("the snapshot lacks {}", String::from_utf8_lossy(name))))
        };
        let dump = read.base().map(|entry| file(&entry.name)).transpose()?;
        let behind = read.increments().map(|entry| file(&entry.name)).collect::<Result<Vec<_>, _>>()?;
        Ok(Dataset { dump, goes_on: true, behind })
    }

    /// A base or single AOF may be commands from its first byte on.
    fn without_commands_as_dump(mut self, reader: &ChunkReader<'_>) -> Result<Dataset<'s>, OperationError> {
        if let Some(file) = self.dump.filter(|file| self.goes_on && canonical(file).is_none())
            && !looks_like_rdb(&first_bytes(reader, file)?)
        {
            self.behind.insert(0, file);
            (self.dump, self.goes_on) = (None, false);
        }
        Ok(self)
    }

    /// Files that hold commands, where there are any, up to where the last one that counts is cut.
    pub fn with_commands(&self, until: Option<&Cut>) -> Vec<String> {
        let begin =
            |file: &File| file.size - commands_of(file).iter().map(|part| part.length).sum::<u64>().min(file.size);
        let preamble = self.dump.filter(|file| self.goes_on && !commands_of(file).is_empty());
        let preamble = preamble.map(|file| (file, begin(file)));
        let behind = self.behind.iter().copied().filter(|file| file.size > 0).map(|file| (file, 0));
        let mut files = Vec::new();
        for (file, begin) in preamble.into_iter().chain(behind) {
            let cut = until.filter(|cut| file.path[..] == cut.path[..]);
            if cut.is_none_or(|cut| cut.length > begin) {
                files.push(file.display_path());
            }
            if cut.is_some() {
                break;
            }
        }
        files
    }
}

fn unfit(what: &str, hint: &str) -> OperationError {
    OperationError::Unfit { what: what.into(), hint: hint.into() }
}

/// How a file is rebuilt.
pub(super) fn recipe(file: &File) -> Result<&[Part], OperationError> {
    let (_, recipe) = file.content().map_err(|malformed| RepositoryError::damaged("snapshot", malformed))?;
    Ok(recipe)
}

/// The part that is the whole dump in canonical form, if it is stored so.
pub(super) fn canonical(file: &File) -> Option<&Part> {
    let is_canonical = file.form.as_ref().is_some_and(|form| form.state == FormState::Canonical);
    file.recipe.as_deref()?.first().filter(|part| is_canonical && part.method == CANONICAL_RDB)
}

/// The parts behind a dump in canonical form.
pub(super) fn commands_of(file: &File) -> &[Part] {
    let behind = canonical(file).and_then(|_| file.recipe.as_deref()?.get(1..));
    behind.unwrap_or_default()
}

fn first_bytes(reader: &ChunkReader<'_>, file: &File) -> Result<Vec<u8>, OperationError> {
    let mut first = Vec::new();
    let read = reader.read(recipe(file)?, &mut |piece| {
        first.extend_from_slice(piece);
        match first.len() < 64 {
            true => Ok(()),
            false => Err(RepositoryError::Interrupted),
        }
    });
    match read {
        Err(RepositoryError::Interrupted) | Ok(()) => Ok(first),
        Err(error) => Err(error.into()),
    }
}

/// Reads all records of a dump that is not in canonical form, in the order of the file, and hands on what follows it; answers
/// with why it is not understood to its end, if it is not. Bytes are compared with what was stored. Of records that are longer
/// than `longest` the value is not handed on.
pub(super) fn read_all(
    reader: &ChunkReader<'_>,
    file: &File,
    longest: usize,
    observer: &dyn Observer,
    each: &mut (dyn FnMut(&LookedUp<'_>) -> ControlFlow<()> + Send),
    trailing: &mut (dyn FnMut(&[u8]) + Send),
) -> Result<Option<String>, OperationError> {
    observer.begin("reading", Some(file.size));
    let mut give = |record: &Record<'_>| {
        let Record { database, expires, kind, value, .. } = record;
        let (key, is_named) = (record.key.as_deref().unwrap_or_default(), record.key.is_some());
        each(&LookedUp { database: *database, key, is_named, expires: *expires, kind: *kind, value: *value })
    };
    let goes_on = file.role != Role::Dump;
    let through = read_through(reader, file, observer, |input| match goes_on {
        true => read_preamble_records(input, longest, &mut give, trailing),
        false => read_records(input, longest, &mut give),
    })?;
    if !through.is_as_stored? {
        return Err(OperationError::WrongBytes { path: file.display_path() });
    }
    Ok(match through.seen {
        Err(error) => Some(error.to_string()),
        Ok(Some(structure)) if !structure.is_whole() => Some(structure.finding.to_string()),
        Ok(_) => None,
    })
}
