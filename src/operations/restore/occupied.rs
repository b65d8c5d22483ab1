//! What stands in the place of a restore, if it is anything but a dataset: a mistyped directory is not to be replaced.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::format::snapshot::Snapshot;
use crate::held::Held;
use crate::operations::OperationError;
use crate::rdb::HEADER_PEEK;
use crate::redis::{Guise, guise};

/// How the names of what redkeep itself keeps begin.
const OWN: &[u8] = b".redkeep-";

/// Refuses a directory that holds something, but no dataset, and nothing but what the snapshot puts there too.
///
/// LOCAL-20: a restore replaces an empty directory, one with a dataset in it, or one that holds what the snapshot does; any
/// other only where a person says so.
pub(super) fn refuse_other(target: &Path, snapshot: &Snapshot) -> Result<(), OperationError> {
    match foreign(target, snapshot) {
        Ok(None) => Ok(()),
        Ok(Some(name)) => Err(OperationError::Refused {
            what: format!("{} holds no dataset, but {name}", target.display()),
            hint: "nothing was touched; restore to a new directory, or say --replace-anything to set all of it aside"
                .into(),
        }),
        // What is not there, or no directory, is told by the restore itself.
        Err(_) => Ok(()),
    }
}

/// An entry that is no part of a dataset, in a directory without one.
fn foreign(target: &Path, snapshot: &Snapshot) -> io::Result<Option<String>> {
    let mut foreign = None;
    let held = Held::open(target)?;
    for name in held.names()? {
        let Some(seen) = held.look(&name)? else { continue };
        let is_dataset = match (seen.is_file(), seen.is_dir()) {
            (true, _) => guise(name.as_bytes(), &first_bytes(&held, &name)?) != Guise::Other,
            (_, true) => held.directory(&name)?.names()?.iter().any(|name| name.as_bytes().ends_with(b".manifest")),
            (false, false) => false,
        };
        if is_dataset {
            return Ok(None);
        }
        let is_empty = seen.is_dir() && held.directory(&name)?.names()?.is_empty();
        let is_of_snapshot =
            snapshot.files.iter().any(|file| file.path.split(|byte| *byte == b'/').next() == Some(name.as_bytes()));
        if !is_empty && !is_of_snapshot && !name.as_bytes().starts_with(OWN) {
            foreign = foreign.or_else(|| Some(name.display().to_string()));
        }
    }
    Ok(foreign)
}

fn first_bytes(held: &Held, name: &OsStr) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    held.file(name)?.take(HEADER_PEEK as u64).read_to_end(&mut first)?;
    Ok(first)
}
