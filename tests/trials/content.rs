//! What the trials back up: directories that follow from a number, so that every snapshot tells what it has to hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::support::dumps::dump;
use crate::support::repository::{lines, noise};

/// One state of a data directory.
pub type Version = u64;

/// The file that changes a little each time.
pub const DRIFTING_FILE: &str = "drifting";
/// Its bytes.
const DRIFTING: usize = 10_000;

/// The file that a server would load.
pub const DUMP: &str = "dump.rdb";

/// The file that says which version a directory is.
pub const NUMBER: &str = "number";

/// The files of a version. Some are the same in every version, some in two, some in none other, and one changes a little
/// each time: at a place of its own, and at two that all versions change, so that deltas follow on deltas. One of the two
/// is written over, in the other one bytes move. Cut into tiny chunks, its list is one in chunks. One is nobody's base, and
/// goes with its version. One is a dump, stored in canonical form.
pub fn files(version: Version) -> BTreeMap<&'static str, Vec<u8>> {
    let mut drifting = noise(DRIFTING, 0);
    for earlier in 0..=version {
        let place = earlier as usize * 7919 % (DRIFTING - 20);
        drifting[place..place + 20].copy_from_slice(&noise(20, 1000 + earlier));
        drifting[DRIFTING / 2..DRIFTING / 2 + 16].copy_from_slice(&noise(16, 5000 + earlier));
        drifting[DRIFTING / 4..DRIFTING / 4 + 200].rotate_left(61);
    }
    BTreeMap::from([
        (NUMBER, version.to_string().into_bytes()),
        ("same", lines(900, 0)),
        ("shared", noise(600, 2000 + version / 2)),
        ("own", lines(1_500, 1 + version)),
        ("alone", noise(500, 7000 + version)),
        (DRIFTING_FILE, drifting),
        (DUMP, dump(version)),
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
