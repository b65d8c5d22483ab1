//! Whose process the scratch server is. It is given data that anybody may have made, and modules that run what they like:
//! where redkeep is root, the server is not.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use walkdir::WalkDir;

use super::super::OperationError;
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
    for entry in WalkDir::new(data) {
        let entry = entry.map_err(|error| OperationError::target("look into", data, error))?;
        let given = lchown(entry.path(), Some(user.0), Some(user.1));
        given.map_err(|error| OperationError::target("give away", entry.path(), error))?;
    }
    // Root's, and nothing in it but what was given: others can pass, and see no names.
    let passed = fs::set_permissions(made, Permissions::from_mode(0o711));
    passed.map_err(|error| OperationError::target("set the mode of", made, error))?;
    Ok(Some(user))
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
