//! What the trials back up: directories that follow from a number, so that every snapshot tells what it has to hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::support::repository::{noise, text};

/// One state of a data directory.
pub type Version = u64;

/// The file that says which version a directory is.
pub const NUMBER: &str = "number";

/// The files of a version. Some are the same in every version, some in two, some in none other, and one changes a little
/// each time.
pub fn files(version: Version) -> BTreeMap<&'static str, Vec<u8>> {
    let mut drifting = noise(30_000, 0);
    for earlier in 0..=version {
        let place = (earlier * 7919 % 29_000) as usize;
        drifting[place..place + 50].copy_from_slice(&noise(50, 1000 + earlier));
    }
    BTreeMap::from([
        (NUMBER, version.to_string().into_bytes()),
        ("same", text(9_000, 0)),
        ("shared", noise(8_000, 2000 + version / 2)),
        ("own", noise(8_000, 3000 + version)),
        ("drifting", drifting),
    ])
}

/// Directories of versions, made when they are first asked for.
pub struct Directories {
    root: PathBuf,
    making: Mutex<()>,
}

impl Directories {
    pub fn below(root: &Path) -> Directories {
        Directories { root: root.into(), making: Mutex::default() }
    }

    pub fn of(&self, version: Version) -> PathBuf {
        let directory = self.root.join(version.to_string());
        let _making = self.making.lock().unwrap();
        if !directory.exists() {
            fs::create_dir_all(&directory).unwrap();
            for (path, bytes) in files(version) {
                fs::write(directory.join(path), bytes).unwrap();
            }
        }
        directory
    }
}
