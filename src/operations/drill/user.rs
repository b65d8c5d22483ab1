//! Whose process the scratch server is. It is given data that anybody may have made, and modules that run what they like:
//! where redkeep is root, the server is not.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use walkdir::WalkDir;

use super::super::OperationError;
use crate::held::Held;
use crate::redis::program::Program;

/// Who may do nothing, on every Unix.
const NOBODY: (u32, u32) = (65534, 65534);

/// Gives the restored files to the user whose they are, or to nobody where they are root's, and answers with that user and
/// group. `None` where redkeep is not root, or where that user cannot get at the directory or run the program: then the
/// server has redkeep's user, as it always has where that is not root.
pub(super) fn give(made: &Path, data: &Path, program: &Program) -> Result<Option<(u32, u32)>, OperationError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let user = owner(data).unwrap_or(NOBODY);
    if !made.parent().is_some_and(is_open) || !can_run(program, user) {
        return Ok(None);
    }
    let name = data.file_name().unwrap_or_default();
    let around = Held::open(made).map_err(|error| OperationError::target("open", made, error))?;
    give_below(&around, name, user).map_err(|error| OperationError::target("give away", data, error))?;
    // Root's, and nothing in it but what was given: others can pass, and see no names.
    around.set_mode(0o711).map_err(|error| OperationError::target("set the mode of", made, error))?;
    Ok(Some(user))
}

fn give_below(around: &Held, name: &OsStr, user: (u32, u32)) -> io::Result<()> {
    if !around.look(name)?.is_some_and(|seen| seen.is_dir()) {
        return around.give_link(name, user);
    }
    let below = around.directory(name)?;
    below.names()?.iter().try_for_each(|name| give_below(&below, name, user))?;
    below.give(user)
}

/// The user of the restored files who is not root.
fn owner(data: &Path) -> Option<(u32, u32)> {
    let owners = WalkDir::new(data).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    let owners = owners.filter_map(|entry| entry.metadata().ok()).map(|metadata| (metadata.uid(), metadata.gid()));
    owners.into_iter().find(|(user, group)| *user != 0 && *group != 0)
}

/// Whether everybody can get at what stands in a directory.
pub(super) fn is_open(directory: &Path) -> bool {
    let Ok(directory) = directory.canonicalize() else { return false };
    directory.ancestors().all(|place| fs::metadata(place).is_ok_and(|found| found.mode() & 0o001 != 0))
}

fn can_run(program: &Program, (user, group): (u32, u32)) -> bool {
    let mut command = Command::new(&program.path);
    command.arg("--version").env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.current_dir("/").uid(user).gid(group).status().is_ok_and(|status| status.success())
}
