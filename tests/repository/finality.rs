//! Where two creators of one name may both succeed, a backup says when it is final, and a host that finds something else in the
//! place of what it committed says so.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redkeep::format::UnixMillis;
use redkeep::format::object::{Name, SnapshotName};
use redkeep::operations::{Silent, forget};
use redkeep::repository::{Alarm, Places, Repository};
use redkeep::store::{ObjectName, Promises, PutNew, Store, Timing};
use tempfile::TempDir;

use crate::forget_refused;
use crate::support::mini_writer::{self, MiniWriter, TOMBSTONE, bytes, map, uint};
use crate::support::repository::{Clock, Hands, back_up, latest, password};
use crate::support::sim::{Listing, SimStore};

const LAG: Duration = Duration::from_secs(2 * 3600);

/// A repository whose keys a test knows, in a store that lags; and a host with a memory.
struct World {
    hands: Hands,
    store: Arc<SimStore>,
    writer: MiniWriter,
    places: TempDir,
}

impl World {
    fn new(put_new: PutNew) -> World {
        let hands = Hands::new(1);
        let promises = Promises { put_new, timing: Timing::of_lag(LAG) };
        let store = SimStore::new(&hands, promises, Listing::DeletesLate);
        let places = tempfile::tempdir().unwrap();
        let writer = MiniWriter::create(places.path().join("made"));
        for file in walkdir::WalkDir::new(&writer.root).into_iter().map(Result::unwrap) {
            if file.file_type().is_file() {
                let name = file.path().strip_prefix(&writer.root).unwrap().to_str().unwrap();
                store.put(&name.parse().unwrap(), fs::read(file.path()).unwrap().into()).unwrap();
            }
        }
        hands.pass(3 * LAG);
        fs::create_dir(places.path().join("data")).unwrap();
        World { hands, store, writer, places }
    }

    fn open(&self) -> Repository {
        let below = |name: &str| Some(self.places.path().join(name));
        let places = Places { cache: below("cache"), state: below("state"), scratch: None };
        let secret = password(mini_writer::PASSWORD);
        Repository::open(self.store.clone(), secret, self.hands.ambient("alpha"), places, None).unwrap()
    }

    fn back_up(&self, content: &str) -> (SnapshotName, Option<UnixMillis>, Vec<Alarm>) {
        let data: &Path = &self.places.path().join("data");
        fs::write(data.join("file"), content).unwrap();
        let report = back_up(&self.open(), data, "d").unwrap();
        (report.name, report.final_at, report.alarms)
    }

    /// What a sweep does that takes the session for dead, where both puts succeed.
    fn overwrite(&self, name: &SnapshotName) {
        let name = Name::Snapshot(*name).to_string();
        let plaintext = map(&[(0, bytes(&[9; 16])), (1, uint(5))]);
        let object = self.writer.object(&name, TOMBSTONE, &plaintext);
        let hashed = [object.as_slice(), blake3::hash(&object).as_bytes()].concat();
        self.store.put(&name.parse::<ObjectName>().unwrap(), hashed.into()).unwrap();
    }
}

/// SESS-11
#[test]
fn what_was_committed_and_overwritten_is_an_alarm_until_the_next_commit() {
    let world = World::new(PutNew::Settled);
    let (kept, ..) = world.back_up("one");
    let (name, final_at, _) = world.back_up("two");
    let now = UnixMillis((world.hands.clock().passed() + Clock::START).as_millis() as u64);
    let late = final_at.unwrap().0.abs_diff(now.0 + LAG.as_millis() as u64);
    assert!(late < 1000, "LAG after the commit");
    world.overwrite(&name);
    assert_eq!(world.open().refresh().unwrap(), [], "nobody knows yet what listings show");
    world.hands.pass(2 * LAG);
    let undone = || Alarm::Undone { object: Name::Snapshot(name).to_string() };
    for _ in 0..2 {
        let repository = world.open();
        assert_eq!(repository.refresh().unwrap(), [undone()]);
        let names: Vec<_> = repository.snapshots().unwrap().into_iter().map(|info| info.name).collect();
        assert_eq!(names, [kept], "what does not count is not listed");
        assert!(latest(&repository, "d").is_err(), "an older one is not taken for it");
        let forgets = forget::Options { dry_run: true, ..forget_refused::policy() };
        assert_eq!(forget::forget(&repository, &forgets, &Silent).unwrap().alarms, [undone()], "it never counted");
    }
    let (third, _, alarms) = world.back_up("two");
    assert_eq!(alarms, [undone()]);
    assert_eq!(world.open().refresh().unwrap(), []);
    assert_eq!(latest(&world.open(), "d").unwrap().name, third);
}

/// One that stands is final without a look at it, and one that may not be overwritten at once.
#[test]
fn what_stands_is_final_and_forgotten_about() {
    for put_new in [PutNew::Settled, PutNew::Exclusive] {
        let world = World::new(put_new);
        let (name, final_at, _) = world.back_up("one");
        assert_eq!(final_at.is_some(), put_new == PutNew::Settled);
        world.hands.pass(3 * LAG);
        assert_eq!(world.open().refresh().unwrap(), []);
        // It was settled: what becomes of it from here on is nothing that another creator of the name did.
        world.overwrite(&name);
        world.hands.pass(3 * LAG);
        assert_eq!(world.open().refresh().unwrap(), []);
    }
}
