//! Files with passwords that others can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Finding, Report};

/// Looks at redkeep's own files.
pub(super) fn look(paths: &[PathBuf], report: &mut Report) {
    for path in paths {
        match fs::metadata(path) {
            Ok(_) => report.findings.extend(readable(path, path, "a password")),
            Err(error) => report.findings.push(Finding::serious(
                "secret-missing",
                format!("{} cannot be read: {error}", path.display()),
                "a run cannot open the repository without it",
            )),
        }
    }
}

/// What is wrong with a file that holds a secret: it is at `path` here, and called `shown`.
pub(super) fn readable(path: &Path, shown: &Path, what: &str) -> Option<Finding> {
    let mode = fs::metadata(path).ok().filter(fs::Metadata::is_file)?.permissions().mode();
    let shown = shown.display();
    match (mode & 0o002 != 0, mode & 0o004 != 0) {
        (true, _) => Some(Finding::serious(
            "secret-writable",
            format!("{shown} holds {what} and can be written by every user of this host"),
            format!("chmod o-rw {shown}"),
        )),
        (false, true) => Some(Finding::warning(
            "secret-readable",
            format!("{shown} holds {what} and can be read by every user of this host"),
            format!("chmod o-r {shown}"),
        )),
        (false, false) => None,
    }
}
