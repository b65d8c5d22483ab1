//! Files that stand elsewhere than in the data directory and configure the server.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::captured_file::{CapturedFile, Content};
use super::owners::Owners;
use crate::format::snapshot::{CONFIG_ROOT, Role};
use crate::held::{Reader, open_file};

/// Bits of the directories such files are restored to: they may hold passwords.
const DIRECTORY_MODE: u32 = 0o700;

/// What configures a server, opened, with the directories above it.
pub(in crate::redis) struct Elsewhere {
    files: BTreeMap<Vec<u8>, CapturedFile>,
    owners: Owners,
}

impl Elsewhere {
    pub(in crate::redis) fn new() -> Self {
        Self { files: BTreeMap::new(), owners: Owners::new() }
    }

    /// Opens a file that the server calls by an absolute path, and that is reached from here by another, if the server's
    /// user may read it.
    pub(in crate::redis) fn take(&mut self, path: &Path, here: &Path, reader: Option<&Reader>) -> io::Result<()> {
        let file = open_file(here, reader)?;
        let metadata = file.metadata()?;
        let place = place(path);
        for (end, _) in place.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let directory = place.get(..end).unwrap_or_default();
            self.put(directory, &metadata, Content::None);
        }
        self.put(&place, &metadata, Content::Open { file, length: None });
        Ok(())
    }

    /// A directory is given to the owner of the first file in it.
    fn put(&mut self, path: &[u8], metadata: &Metadata, content: Content) {
        let captured = CapturedFile::new(path, Role::Config, metadata, &self.owners, content);
        let captured = match captured.content {
            Content::None => CapturedFile { mode: DIRECTORY_MODE, ..captured },
            _ => captured,
        };
        self.files.entry(path.to_vec()).or_insert(captured);
    }

    /// All of it, by path.
    pub(in crate::redis) fn into_files(self) -> impl Iterator<Item = CapturedFile> {
        self.files.into_values()
    }
}

/// Where it stands in a snapshot: below the directory of configuration, by its absolute path without `.` and `..`.
fn place(path: &Path) -> Vec<u8> {
    let mut parts: Vec<PathBuf> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.into()),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let mut place = CONFIG_ROOT.to_vec();
    for part in parts {
        place.push(b'/');
        place.extend_from_slice(part.as_os_str().as_bytes());
    }
    place
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::format::snapshot::FileKind;

    #[test]
    fn a_file_stands_below_directories_that_are_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("redis.conf"), "port 6379\n").unwrap();
        let mut elsewhere = Elsewhere::new();
        elsewhere.take(Path::new("/etc/./redis/x/../redis.conf"), &dir.path().join("redis.conf"), None).unwrap();
        assert!(elsewhere.take(Path::new("/etc/redis"), dir.path(), None).is_err());
        assert!(elsewhere.take(Path::new("/etc/users.acl"), &dir.path().join("users.acl"), None).is_err());
        let found: Vec<_> = elsewhere.into_files().map(|file| (file.path, file.kind, file.mode)).collect();
        let paths: Vec<_> = found.iter().map(|(path, _, _)| String::from_utf8_lossy(path).into_owned()).collect();
        let directory = ".redkeep-config";
        assert_eq!(
            paths,
            [
                directory.to_string(),
                format!("{directory}/etc"),
                format!("{directory}/etc/redis"),
                format!("{directory}/etc/redis/redis.conf")
            ]
        );
        assert!(found[..3].iter().all(|(_, kind, mode)| (*kind, *mode) == (FileKind::Directory, 0o700)));
        assert_eq!(found[3].1, FileKind::File);
    }
}
