//! A file that is there as a whole or not at all: whoever reads it meanwhile sees the old one or the new one.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::held::Held;

/// Replaces a file by rename, in the directory that the path leads to at the beginning. The name meanwhile is one that
/// neither collectors, cron nor systemd read, and that nobody guesses; it is made anew, so that no link that others put there
/// is followed.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let held = Held::open(directory)?;
    let prefix = format!(".{}.redkeep-", name.display());
    let mut file = tempfile::Builder::new().prefix(&prefix).tempfile_in(held.reached())?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(held.reached().join(name)).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    #[test]
    fn what_a_link_in_its_place_leads_to_stays_as_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let (path, other) = (temp.path().join("metrics.prom"), temp.path().join("other"));
        fs::write(&other, "precious").unwrap();
        symlink(&other, &path).unwrap();
        // A name that can be guessed is one that others can take.
        let guessed = temp.path().join(format!(".metrics.prom.redkeep-{}", std::process::id()));
        symlink(&other, &guessed).unwrap();
        replace(&path, b"new", 0o644).unwrap();
        assert_eq!((fs::read(&other).unwrap(), fs::read(&path).unwrap()), (b"precious".to_vec(), b"new".to_vec()));
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 3, "nothing stays beside it");
    }

    #[test]
    fn a_link_of_another_user_on_the_way_leads_nowhere() {
        if !rustix::process::geteuid().is_root() {
            return; // Only root can make links that are another's.
        }
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        fs::create_dir(at("roots")).unwrap();
        symlink("roots", at("sub")).unwrap();
        replace(&at("sub/own.prom"), b"new", 0o644).unwrap();
        lchown(at("sub"), Some(61_234), Some(61_234)).unwrap();
        let refused = replace(&at("sub/x.prom"), b"new", 0o644).unwrap_err();
        assert!(refused.to_string().contains("belongs to another user"), "{refused}");
        assert_eq!(fs::read_dir(at("roots")).unwrap().count(), 1);
    }
}
