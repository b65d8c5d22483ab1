//! Whether a host will run what is installed: its users, and the program that reads the schedule.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use uzers::os::unix::UserExt as _;

use super::{Kind, is_booted};
use crate::operations::OperationError;

/// What programs that read /etc/cron.d call themselves.
const DAEMONS: [&str; 5] = ["cron", "crond", "cronie", "fcron", "bcron-start"];
/// Makes timers of /etc/cron.d, where cron is run by systemd.
const GENERATOR: &str = "systemd/system-generators/systemd-crontab-generator";

/// A user of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The number.
    pub id: u32,
    /// The number of the first group.
    pub group: u32,
    /// Where it is at home.
    pub home: PathBuf,
}

/// A user of this host.
pub fn user(name: &str) -> Result<User, OperationError> {
    let found = uzers::get_user_by_name(name).ok_or_else(|| nobody(name))?;
    let (id, group, home) = (found.uid(), found.primary_group_id(), found.home_dir().to_path_buf());
    Ok(User { name: name.into(), id, group, home })
}

fn nobody(name: &str) -> OperationError {
    OperationError::Refused {
        what: format!("this host has no user {name}: cron and systemd would run nothing"),
        hint: "nothing was installed; make the user first, or name another with --user".into(),
    }
}

/// Refuses a user that the host does not have. Of an image its own list counts, where it has one.
pub(super) fn refuse_nobody(root: &Path, name: &str) -> Result<(), OperationError> {
    if root == Path::new("/") {
        return user(name).map(drop);
    }
    let is_of = |line: &[u8]| line.split(|byte| *byte == b':').next() == Some(name.as_bytes());
    match fs::read(root.join("etc/passwd")) {
        Ok(users) if !users.split(|byte| *byte == b'\n').any(is_of) => Err(nobody(name)),
        _ => Ok(()),
    }
}

/// Why nobody on this host runs what is installed; nothing is known of an image.
pub(super) fn idle(root: &Path, kind: Kind) -> Option<&'static str> {
    if root != Path::new("/") {
        return None;
    }
    match kind {
        Kind::Systemd => (!is_booted(root)).then_some("systemd does not run this host"),
        Kind::Cron => {
            let is_generated =
                is_booted(root) && ["/usr/lib", "/lib"].iter().any(|at| Path::new(at).join(GENERATOR).exists());
            (!is_generated && !has_daemon(Path::new("/proc"))).then_some("no cron daemon runs on this host")
        }
    }
}

/// Whether a program of these names runs. Where that cannot be seen, one is believed to.
fn has_daemon(processes: &Path) -> bool {
    let Ok(entries) = fs::read_dir(processes) else { return true };
    let called = |entry: io::Result<fs::DirEntry>| fs::read(entry.ok()?.path().join("comm")).ok();
    entries.filter_map(called).any(|name| DAEMONS.iter().any(|daemon| name.trim_ascii() == daemon.as_bytes()))
}

/// Whether this process may write into a directory, and into those that a repository has in it; the first that it may
/// not.
pub fn may_write(directory: &Path) -> Result<(), PathBuf> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let below = ["", "packs", "snapshots", "index", "leases", "forgotten"].map(|name| directory.join(name));
    for path in below {
        match accessat(CWD, path.as_os_str().as_bytes(), Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(_) => return Err(path),
        }
    }
    Ok(())
}

/// Whether this process may put a file there, in place of one or anew; why not.
pub fn may_put(file: &Path) -> Result<(), &'static str> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let may = |path: &Path, how| accessat(CWD, path.as_os_str().as_bytes(), how, AtFlags::EACCESS).is_ok();
    if file.file_name().is_none() {
        return Err("it names no file");
    }
    if fs::metadata(file).is_ok_and(|there| !there.is_file()) {
        return Err("it is there and no regular file");
    }
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (directory.is_dir(), may(directory, Access::WRITE_OK | Access::EXEC_OK)) {
        (false, _) => Err("its directory is not there"),
        (true, false) => Err("its directory may not be written by this user"),
        (true, true) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_can_be_put_into_a_directory_that_is_there() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("page.html");
        assert_eq!((may_put(&file), fs::write(&file, "").map(|()| may_put(&file)).unwrap()), (Ok(()), Ok(())));
        assert_eq!(may_put(place.path()), Err("it is there and no regular file"));
        assert_eq!(may_put(&place.path().join("none/page.html")), Err("its directory is not there"));
        assert_eq!(may_put(Path::new("")), Err("it names no file"));
    }

    #[test]
    fn a_daemon_is_known_by_its_name() {
        let processes = tempfile::tempdir().unwrap();
        assert!(!has_daemon(processes.path()) && has_daemon(&processes.path().join("none")));
        for (id, name, is_there) in [("7", "crontab\n", false), ("8", "crond\n", true)] {
            fs::create_dir(processes.path().join(id)).unwrap();
            fs::write(processes.path().join(id).join("comm"), name).unwrap();
            assert_eq!(has_daemon(processes.path()), is_there, "{name}");
        }
    }
}
