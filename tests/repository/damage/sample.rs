//! A repository with three snapshots, each of which needs packs of all earlier ones, and hosts that know it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redkeep::format::ChunkId;
use redkeep::format::object::SnapshotName;
use redkeep::repository::{Places, Repository, RepositoryError};
use redkeep::store::{ObjectName, Store};

use super::cells::Changes;
use crate::support::repository::*;

/// The password of the second slot.
pub const SECOND: &str = "another password";

/// What a directory held: every path with its content.
pub type Tree = Vec<(String, Option<Vec<u8>>)>;

/// What a host knows of the repository before it meets the damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// Nothing.
    Stranger,
    /// Everything: catalog and state of after the last backup.
    Kept,
    /// Catalog and state of after the first backup.
    Stale,
}

/// One snapshot, what it holds, and the objects its backup stored.
pub struct Taken {
    pub name: SnapshotName,
    pub tree: Tree,
    objects: Vec<ObjectName>,
}

pub struct Sample {
    pub hands: Hands,
    temp: tempfile::TempDir,
    objects: Vec<(ObjectName, Vec<u8>)>,
    pub taken: Vec<Taken>,
    /// Chunks of their lists.
    lists: Vec<ChunkId>,
    /// The slot of [`PASSWORD`].
    pub slot: ObjectName,
    cells: AtomicUsize,
}

/// A damaged copy of the sample, and a host that meets it.
pub struct Cell {
    pub store: Arc<dyn Store>,
    pub host: Host,
    hands: Hands,
    directory: PathBuf,
}

impl Sample {
    pub fn new(seed: u64) -> Sample {
        // In memory where there is such a place: the matrix syncs thousands of files.
        let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (hands, store) = (Hands::new(seed), memory());
        let data = temp.path().join("data");
        fs::create_dir_all(data.join("sub")).unwrap();
        fs::write(data.join("empty"), b"").unwrap();
        fs::write(data.join("first"), [noise(3_000, seed), lines(2_000, seed)].concat()).unwrap();
        let slot = create_tiny(store.clone(), &hands).current_slot();
        let open = |from: &Path| open_at(store.clone(), &hands, "alpha", places(from)).unwrap();
        open(&temp.path().join("kept")).add_slot(&password(SECOND), "second", CHEAP).unwrap();
        let (mut taken, mut lists): (Vec<Taken>, Vec<ChunkId>) = (Vec::new(), Vec::new());
        // Its list is one in chunks, and what changes in it is stored as deltas on deltas.
        let mut second = noise(11_000, seed * 100);
        for number in 1..=3 {
            for place in [1_000, 4_000] {
                second[place..place + 16].copy_from_slice(&noise(16, seed * 100 + number + place as u64));
            }
            // What moves is a delta of the other kind.
            second[7_000..7_200].rotate_left(61);
            fs::write(data.join("second"), &second).unwrap();
            // Of different sizes, so that exchanged packs differ in theirs.
            let third = [noise(400 * number as usize, seed * 100 + number), lines(900, number)].concat();
            fs::write(data.join("sub/third"), third).unwrap();
            let before = names(&*store, "");
            let report = back_up(&open(&temp.path().join("kept")), &data, "d").unwrap();
            let objects = names(&*store, "").into_iter().filter(|name| !before.contains(name)).collect();
            taken.push(Taken { name: report.name, tree: tree(&data), objects });
            assert_eq!(levels(&report.snapshot, "second"), 1);
            lists.extend(list_chunks(&report.snapshot));
            if number == 1 {
                copy(&temp.path().join("kept"), &temp.path().join("stale"));
            }
        }
        let forms = Forms::below(&temp.path().join("kept"));
        assert!(forms.zstd >= 2 && forms.deltas >= 4 && forms.on_deltas >= 2, "{forms:?}");
        assert!(forms.by_zstd >= 1 && forms.by_copies >= 1, "{forms:?}");
        let objects = names(&*store, "").into_iter().map(|name| (name.clone(), store.get(&name, u64::MAX).unwrap()));
        let slot = format!("keys/{slot}").parse().unwrap();
        Sample { objects: objects.collect(), hands, temp, taken, lists, slot, cells: AtomicUsize::new(0) }
    }

    pub fn data(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    /// An object's bytes before the damage.
    pub fn bytes(&self, name: &ObjectName) -> &[u8] {
        &self.objects.iter().find(|(have, _)| have == name).unwrap().1
    }

    /// The frames of a pack that hold chunks of lists.
    pub fn frames_of_lists(&self, pack: &ObjectName) -> Vec<FramePlace> {
        let mut frames = frames_of(&self.temp.path().join("kept"), &self.lists);
        frames.retain(|frame| frame.pack == *pack);
        frames
    }

    /// The frames of a pack.
    pub fn frames(&self, pack: &ObjectName) -> Vec<FramePlace> {
        let mut frames = frames(&self.temp.path().join("kept"));
        frames.retain(|frame| frame.pack == *pack);
        frames
    }

    pub fn below(&self, prefix: &str) -> Vec<ObjectName> {
        let names = self.objects.iter().map(|(name, _)| name.clone());
        names.filter(|name| name.as_str().starts_with(prefix)).collect()
    }

    /// The packs, oldest first.
    pub fn packs(&self) -> Vec<ObjectName> {
        self.stored("packs/")
    }

    /// The index objects, oldest first.
    pub fn indexes(&self) -> Vec<ObjectName> {
        self.stored("index/")
    }

    /// The snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<ObjectName> {
        self.stored("snapshots/")
    }

    pub fn newest(&self) -> ObjectName {
        self.snapshots().pop().unwrap()
    }

    fn stored(&self, prefix: &str) -> Vec<ObjectName> {
        let objects = self.taken.iter().flat_map(|taken| &taken.objects);
        let found: Vec<ObjectName> = objects.filter(|name| name.as_str().starts_with(prefix)).cloned().collect();
        assert_eq!(found.len(), self.taken.len(), "one of {prefix} for each backup");
        found
    }

    /// A copy with these changes.
    pub fn cell(&self, host: Host, changes: &Changes) -> Cell {
        let number = self.cells.fetch_add(1, Ordering::Relaxed);
        let directory = self.temp.path().join(format!("cell{number}"));
        fs::create_dir(&directory).unwrap();
        match host {
            Host::Stranger => {}
            Host::Kept => copy(&self.temp.path().join("kept"), &directory.join("host")),
            Host::Stale => copy(&self.temp.path().join("stale"), &directory.join("host")),
        }
        let store = memory();
        for (name, bytes) in &self.objects {
            store.put(name, bytes.to_vec().into()).unwrap();
        }
        for (name, left) in changes {
            match left {
                Some(bytes) => store.put(name, bytes.to_vec().into()).unwrap(),
                None => store.delete(name).unwrap(),
            }
        }
        Cell { store, host, hands: self.hands.clone(), directory }
    }
}

impl Cell {
    pub fn open(&self) -> Result<Repository, RepositoryError> {
        self.open_with(PASSWORD)
    }

    pub fn open_with(&self, secret: &str) -> Result<Repository, RepositoryError> {
        let places = match self.host {
            Host::Stranger => Places::default(),
            Host::Kept | Host::Stale => places(&self.directory.join("host")),
        };
        Repository::open(self.store.clone(), password(secret), self.hands.ambient("alpha"), places, None)
    }

    /// Every object there is.
    pub fn objects(&self) -> Vec<(ObjectName, Vec<u8>)> {
        let names = names(&*self.store, "").into_iter();
        names.map(|name| (name.clone(), self.store.get(&name, u64::MAX).unwrap())).collect()
    }

    /// A host that has never seen the repository opens it.
    pub fn open_as_stranger(&self) -> Repository {
        open(self.store.clone(), &self.hands).unwrap()
    }

    /// A file the host keeps.
    pub fn local(&self, name: &str) -> PathBuf {
        let found = walkdir::WalkDir::new(self.directory.join("host")).into_iter().map(Result::unwrap);
        found.into_iter().find(|entry| entry.file_name() == name).unwrap().into_path()
    }

    /// Where a restore goes; nothing stands there.
    pub fn target(&self) -> PathBuf {
        let parent = self.directory.join("targets");
        fs::create_dir_all(&parent).unwrap();
        let _ = fs::remove_dir_all(parent.join("target"));
        parent.join("target")
    }

    /// What a restore left beside and under the target's name.
    pub fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.join("targets")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn places(below: &Path) -> Places {
    Places { cache: Some(below.join("cache")), state: Some(below.join("state")), scratch: None }
}

fn names(store: &dyn Store, prefix: &str) -> Vec<ObjectName> {
    store.entries(prefix).unwrap().into_iter().map(|entry| entry.name).collect()
}
