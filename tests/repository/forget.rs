//! Forgotten snapshots: what a record does, what stays, and what a crash leaves.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use redkeep::format::object::SnapshotName;
use redkeep::repository::{Alarm, Places, Repository};
use redkeep::store::{ObjectName, Store};

use crate::support::mini_writer::{self, MiniWriter, hex};
use crate::support::repository::*;
use crate::support::stores::{RecordingStore, Verb};

/// Backs up `count` versions of a directory as dataset `d`.
fn take(repository: &Repository, data: &Path, count: u64) -> Vec<SnapshotName> {
    fs::create_dir_all(data).unwrap();
    let one = |version| {
        fs::write(data.join("dump"), noise(50_000, version)).unwrap();
        back_up(repository, data, "d").unwrap().name
    };
    (1..=count).map(one).collect()
}

fn record_of(name: &SnapshotName) -> ObjectName {
    format!("forgotten/{}", name.session).parse().unwrap()
}

fn delete(store: &Arc<dyn Store>, name: &SnapshotName) {
    store.delete(&name.to_string().parse().unwrap()).unwrap();
}

/// FORGET-2
#[test]
fn a_record_is_put_once_and_nothing_else_is_written_or_deleted() {
    let (hands, temp) = (Hands::new(50), tempfile::tempdir().unwrap());
    let store = RecordingStore::new(memory());
    let repository = create(store.clone(), &hands);
    let names = take(&repository, temp.path(), 2);
    store.drain();
    let first = repository.forget(&names[0], "retention").unwrap();
    let again = repository.forget(&names[0], "another reason").unwrap();
    assert_eq!((&*first.reason, &again), ("retention", &first), "the record that stands counts");
    let calls: Vec<String> = store.drain().iter().map(ToString::to_string).collect();
    let record = record_of(&names[0]);
    assert_eq!(calls, [format!("put_new {record}"), format!("put_new {record}"), format!("get {record}")]);
    assert_eq!(repository.forgotten().unwrap(), [first]);
}

/// Records are kept for ever: what was read once is not read again, and what is no longer listed is dropped.
#[test]
fn an_opening_reads_only_records_that_are_new_to_it() {
    let (hands, temp) = (Hands::new(51), tempfile::tempdir().unwrap());
    let store = RecordingStore::new(memory());
    let writer = create(store.clone(), &hands);
    let names = take(&writer, &temp.path().join("data"), 3);
    let places = Places { cache: Some(temp.path().join("cache")), state: Some(temp.path().join("state")) };
    let reads = |expected: &[&SnapshotName]| {
        let repository = open_at(store.clone(), &hands, "alpha", places.clone()).unwrap();
        store.drain();
        assert_eq!(repository.refresh().unwrap(), []);
        let calls = store.drain().into_iter().filter(|call| call.verb == Verb::Get);
        let mut read: Vec<String> = calls.map(|call| call.name).filter(|name| name.starts_with("forgotten/")).collect();
        let mut expected: Vec<String> = expected.iter().map(|name| record_of(name).to_string()).collect();
        (read.sort(), expected.sort());
        assert_eq!(read, expected);
        repository.forgotten().unwrap().into_iter().map(|record| record.snapshot).collect::<Vec<_>>()
    };
    writer.forget(&names[0], "r").unwrap();
    assert_eq!(reads(&[&names[0]]), names[..1]);
    writer.forget(&names[1], "r").unwrap();
    assert_eq!(reads(&[&names[1]]), names[..2]);
    assert_eq!(reads(&[]), names[..2]);
    store.delete(&record_of(&names[0])).unwrap();
    assert_eq!(reads(&[]), names[1..2]);
    // A value that changed in the catalog is no record.
    let found = walkdir::WalkDir::new(temp.path().join("cache")).into_iter().map(Result::unwrap);
    let catalog = found.into_iter().find(|entry| entry.file_name() == "catalog.db").unwrap().into_path();
    let change = "UPDATE forgotten SET snapshot = replace(snapshot, '0', '1')";
    rusqlite::Connection::open(catalog).unwrap().execute_batch(change).unwrap();
    assert_eq!(reads(&[&names[1]]), names[1..2]);
}

/// FORGET-4, SNAP-3, LOCAL-5
#[test]
fn a_forgotten_snapshot_raises_no_alarm_listed_or_gone_whole_or_damaged() {
    let (hands, temp) = (Hands::new(52), tempfile::tempdir().unwrap());
    let store = memory();
    let places = Places { cache: None, state: Some(temp.path().join("state")) };
    let repository = create(store.clone(), &hands);
    let names = take(&repository, &temp.path().join("data"), 3);
    let alarms = || open_at(store.clone(), &hands, "alpha", places.clone()).unwrap().refresh().unwrap();
    assert_eq!(alarms(), []);
    for name in &names[..2] {
        repository.forget(name, "retention").unwrap();
        assert_eq!(alarms(), []);
        store.put(&name.to_string().parse().unwrap(), b"damaged").unwrap();
        assert_eq!(alarms(), []);
        delete(&store, name);
        assert_eq!(alarms(), []);
    }
    // The newest, which this host remembers.
    repository.forget(&names[2], "retention").unwrap();
    delete(&store, &names[2]);
    assert_eq!(alarms(), []);
    store.delete(&record_of(&names[2])).unwrap();
    assert_eq!(alarms(), [Alarm::Rollback { missing: names[2].to_string() }]);
}

/// FORGET-3
#[test]
fn a_record_that_cannot_be_read_forgets_nothing_and_is_an_alarm() {
    let (hands, temp) = (Hands::new(53), tempfile::tempdir().unwrap());
    let store = memory();
    let repository = create(store.clone(), &hands);
    let names = take(&repository, temp.path(), 2);
    repository.forget(&names[0], "retention").unwrap();
    let record = record_of(&names[0]);
    let mut bytes = store.get(&record, u64::MAX).unwrap();
    bytes[70] ^= 1;
    for left in [&bytes[..], &bytes[..40], b""] {
        store.put(&record, left).unwrap();
        let repository = open(store.clone(), &hands).unwrap();
        // In every command, not only the first.
        for _ in 0..2 {
            let alarms = repository.refresh().unwrap();
            assert!(matches!(&alarms[..], [Alarm::Forgotten { object, .. }] if *object == record.to_string()));
        }
        assert_eq!(repository.forgotten().unwrap(), []);
        assert!(repository.forget(&names[0], "retention").unwrap_err().is_damage());
    }
}

/// FORGET-1
#[test]
fn a_record_under_the_name_of_another_session_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (hands, root) = (Hands::new(54), temp.path().join("repository"));
    let writer = MiniWriter::create(root.clone());
    writer.snapshot(1, 1, None, &[]);
    let credential = password(mini_writer::PASSWORD);
    let repository =
        Repository::open(local(&root), credential, hands.ambient("alpha"), Places::default(), None).unwrap();
    writer.forget_under(&hex(&[9; 16]), &writer.snapshot_name(1));
    let alarms = repository.refresh().unwrap();
    assert!(matches!(&alarms[..], [Alarm::Forgotten { .. }]), "{alarms:?}");
    writer.forget(&writer.snapshot_name(1));
    repository.refresh().unwrap();
    assert_eq!(repository.forgotten().unwrap().len(), 1);
}
