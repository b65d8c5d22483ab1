//! Index objects that go away while they are read: another process merges them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redkeep::operations::list::{Filter, snapshots};
use redkeep::repository::{Alarm, Places, Repository};
use redkeep::store::{ObjectName, Store, StoreError};
use tempfile::TempDir;

use crate::read_all::Meddled;
use crate::support::mini_writer::{self, MiniFile, MiniWriter, opaque};
use crate::support::repository::*;
use crate::support::stores::{RecordingStore, Verb};

/// An object that is not stored.
type Object = (ObjectName, Vec<u8>);

/// Two packs, each named by an index object of its own, and a file that needs both. The third object, which is not
/// stored, is what the two are merged to.
fn two_indexes(temp: &TempDir) -> (Arc<dyn Store>, Vec<ObjectName>, Object) {
    let writer = MiniWriter::create(temp.path().to_path_buf());
    let chunks = [mini_writer::noise("one", 300), mini_writer::noise("two", 300)];
    let packs = chunks.each_ref().map(|chunk| writer.pack(&[writer.whole(0, &[chunk])]));
    let list = chunks.iter().flat_map(|chunk| writer.entry(chunk)).collect();
    let content = chunks.concat();
    writer.snapshot(1, None, &[MiniFile::file("dump.rdb", &content, opaque(600, 0, list, false))]);
    writer.index(&packs);
    let store = local(temp.path());
    let merged = store.entries("index/").unwrap().remove(0).name;
    let bytes = store.get(&merged, u64::MAX).unwrap();
    store.delete(&merged).unwrap();
    packs.iter().for_each(|pack| writer.index(std::slice::from_ref(pack)));
    let small = store.entries("index/").unwrap().into_iter().map(|entry| entry.name).collect();
    (store, small, (merged, bytes))
}

fn open_mini(store: Arc<dyn Store>) -> Repository {
    let secret = password(mini_writer::PASSWORD);
    Repository::open(store, secret, Hands::new(51).ambient("a"), Places::default(), None).unwrap()
}

fn lists(recording: &RecordingStore) -> usize {
    recording.drain().iter().filter(|call| call.verb == Verb::List && call.name == "index/").count()
}

/// INDEX-4
#[test]
fn index_objects_that_are_merged_between_list_and_get_are_no_alarm() {
    let temp = TempDir::new().unwrap();
    let (store, small, (merged, bytes)) = two_indexes(&temp);
    let is_merged = AtomicBool::new(false);
    let merge = move |store: &dyn Store, name: &ObjectName| {
        if name.as_str().starts_with("index/") && !is_merged.swap(true, Ordering::SeqCst) {
            store.put_new(&merged, bytes.clone().into())?;
            small.iter().try_for_each(|name| store.delete(name))?;
        }
        Ok(())
    };
    let recording = RecordingStore::new(Meddled::new(&store, store.connections(), merge));
    let repository = open_mini(recording.clone());
    assert_eq!(snapshots(&repository, &Filter::default()).unwrap().1, []);
    assert_eq!(lists(&recording), 2);
    let elsewhere = TempDir::new().unwrap();
    let target = elsewhere.path().join("out");
    restore_to(&repository, &latest(&repository, "sessions").unwrap(), &target).unwrap();
    assert_eq!(std::fs::read(target.join("dump.rdb")).unwrap().len(), 600);
}

/// INDEX-4, INDEX-3
#[test]
fn an_index_object_that_is_listed_and_never_there_is_an_alarm_after_some_lists() {
    let temp = TempDir::new().unwrap();
    let (store, small, _) = two_indexes(&temp);
    let lost = small[0].clone();
    let hide = move |_: &dyn Store, name: &ObjectName| match *name == lost {
        true => Err(StoreError::NotFound { name: name.clone() }),
        false => Ok(()),
    };
    let recording = RecordingStore::new(Meddled::new(&store, store.connections(), hide));
    let repository = open_mini(recording.clone());
    let alarms = snapshots(&repository, &Filter::default()).unwrap().1;
    assert!(matches!(&alarms[..], [Alarm::Index { object, .. }] if *object == small[0].to_string()), "{alarms:?}");
    assert_eq!(lists(&recording), 4);
}
