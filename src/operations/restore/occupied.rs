//! What stands in the place of a restore, if it is anything but a dataset: a mistyped directory is not to be replaced.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::format::snapshot::Snapshot;
use crate::held::Held;
use crate::operations::OperationError;
use crate::rdb::HEADER_PEEK;
use crate::redis::{Guise, guise, stands_beside_data};

/// How the names of what redkeep itself keeps begin.
const OWN: &[u8] = b".redkeep-";

/// Names that a refusal tells.
const NAMED: usize = 5;

/// What a directory holds.
#[derive(Default)]
struct Holds {
    /// A dump, an AOF, or a directory with a manifest.
    dataset: bool,
    /// Entries that belong to no dataset.
    foreign: Vec<String>,
}

/// Refuses a directory that holds something else than a dataset, and than what the snapshot puts there too.
///
/// LOCAL-20: a restore replaces an empty directory, or one that holds a dataset and what a server keeps beside it, or what the
/// snapshot does; any other only where a person says so.
pub(super) fn refuse_other(target: &Path, snapshot: &Snapshot) -> Result<(), OperationError> {
    // What is not there, or no directory, is told by the restore itself.
    let Ok(mut holds) = look_into(target, snapshot) else { return Ok(()) };
    if holds.foreign.is_empty() {
        return Ok(());
    }
    holds.foreign.sort();
    let more = holds.foreign.len().saturating_sub(NAMED);
    holds.foreign.truncate(NAMED);
    let names = holds.foreign.join(", ");
    let names = if more > 0 { format!("{names} and {more} more") } else { names };
    let target = target.display();
    Err(OperationError::Refused {
        what: match holds.dataset {
            true => format!("{target} holds more than a dataset: {names}"),
            false => format!("{target} holds no dataset, but {names}"),
        },
        hint: "nothing was touched; restore to a new directory, or say --replace-anything to set all of it aside"
            .into(),
    })
}

fn look_into(target: &Path, snapshot: &Snapshot) -> io::Result<Holds> {
    let mut holds = Holds::default();
    let held = Held::open(target)?;
    for name in held.names()? {
        let Some(seen) = held.look(&name)? else { continue };
        let is_dataset = match (seen.is_file(), seen.is_dir()) {
            (true, _) => guise(name.as_bytes(), &first_bytes(&held, &name)?) != Guise::Other,
            (_, true) => held.directory(&name)?.names()?.iter().any(|name| name.as_bytes().ends_with(b".manifest")),
            (false, false) => false,
        };
        holds.dataset |= is_dataset;
        let is_empty = seen.is_dir() && held.directory(&name)?.names()?.is_empty();
        let is_of_snapshot =
            snapshot.files.iter().any(|file| file.path.split(|byte| *byte == b'/').next() == Some(name.as_bytes()));
        let is_beside = name.as_bytes().starts_with(OWN) || (!seen.is_dir() && stands_beside_data(name.as_bytes()));
        if !is_dataset && !is_empty && !is_of_snapshot && !is_beside {
            holds.foreign.push(name.display().to_string());
        }
    }
    Ok(holds)
}

fn first_bytes(held: &Held, name: &OsStr) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    held.file(name)?.take(HEADER_PEEK as u64).read_to_end(&mut first)?;
    Ok(first)
}
