//! Forgotten snapshots: what a record does, what stays, and what a crash leaves.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use redkeep::format::UnixMillis;
use redkeep::format::object::SnapshotName;
use redkeep::format::snapshot::Snapshot;
use redkeep::operations::changes::since_previous;
use redkeep::operations::forget::policy::{Policy, Reason};
use redkeep::operations::forget::{self, What};
use redkeep::operations::list::{Filter, Selector, choose, dump};
use redkeep::operations::{OperationError, Silent, prune, tag, undelete};
use redkeep::repository::{Alarm, Places, Repository, RepositoryError};
use redkeep::store::{ObjectName, Store};

use crate::support::mini_writer::{self, MiniWriter};
use crate::support::repository::*;
use crate::support::stores::{FAULTS, Fault, FaultyStore, RecordingStore, Verb};
use crate::support::sweeps::AT_ONCE;

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
    name.to_string().replacen("snapshots/", "forgotten/", 1).parse().unwrap()
}

fn delete(store: &Arc<dyn Store>, name: &SnapshotName) {
    store.delete(&name.to_string().parse().unwrap()).unwrap();
}

fn named(names: &[SnapshotName], dry_run: bool) -> forget::Options {
    let snapshots = names.iter().map(id).collect();
    let what = What::Named { snapshots, even_pinned: false, allow_empty: false };
    forget::Options { what, filter: Filter::default(), dry_run }
}

fn keeping(policy: Policy) -> forget::Options {
    let what = What::Policy { policy, zone: TimeZone::UTC, ignore_key_drop: false };
    forget::Options { what, filter: Filter::default(), dry_run: false }
}

fn keep_last(count: u64) -> forget::Options {
    keeping(Policy { last: Some(count), ..Policy::default() })
}

fn id(name: &SnapshotName) -> Selector {
    Selector::Id(name.session.to_string())
}

fn kept(repository: &Repository) -> Vec<SnapshotName> {
    repository.refresh().unwrap();
    repository.kept_snapshots().unwrap().into_iter().map(|info| info.name).collect()
}

fn dumped(repository: &Repository, name: &SnapshotName) -> Vec<u8> {
    let mut bytes = Vec::new();
    dump(repository, &repository.snapshot(name).unwrap(), b"dump", &mut bytes, &Silent).unwrap();
    bytes
}

fn undo(repository: &Repository, name: &SnapshotName) -> Result<undelete::Report, OperationError> {
    undelete::undelete(repository, &name.session.to_string(), &Silent)
}

fn add_tag(repository: &Repository, name: &SnapshotName, word: &str) -> Result<tag::Report, OperationError> {
    let options = tag::Options { add: vec![word.into()], remove: Vec::new() };
    tag::tag(repository, &id(name), Some("d"), &options, &Silent)
}

/// FORGET-5, SNAP-2
#[test]
fn a_copy_stands_where_the_snapshot_stood_and_is_not_the_latest() {
    let (hands, temp) = (Hands::new(55), tempfile::tempdir().unwrap());
    let store = RecordingStore::new(memory());
    let repository = create(store.clone(), &hands);
    let names = take(&repository, temp.path(), 3);
    forget::forget(&repository, &named(&names[..1], false), &Silent).unwrap();
    assert_eq!(kept(&repository), names[1..]);
    store.drain();
    let report = undo(&repository, &names[0]).unwrap();
    assert!(store.drain().iter().all(|call| !call.name.starts_with("packs/") || call.verb == Verb::List));
    let (old, copy) = (repository.snapshot(&names[0]).unwrap(), repository.snapshot(&report.new).unwrap());
    assert_eq!((copy.sequence, copy.place, copy.previous), (4, Some(1), Some(names[2].to_string())));
    assert_eq!((copy.begin, copy.end, &copy.files), (old.begin, old.end, &old.files));
    assert_eq!((report.new.time, report.new.tag), (names[0].time, names[0].tag));
    assert_eq!(copy.facts["undeleted-from"], names[0].session.to_string());
    // For this host, and for one that knows nothing.
    for repository in [&repository, &open(store.clone(), &hands).unwrap()] {
        assert_eq!(kept(repository), [report.new, names[1], names[2]]);
        let choose = |selector| choose(repository, &selector, Some("d")).unwrap().name;
        assert_eq!(choose(Selector::Latest(0)), names[2]);
        assert_eq!(choose(Selector::Latest(2)), report.new);
        assert_eq!(choose(Selector::At(names[0].time)), report.new);
        assert_eq!(choose(Selector::At(UnixMillis(names[1].time.0 - 1))), report.new);
        assert_eq!(dumped(repository, &report.new), noise(50_000, 1));
    }
    // The next backup goes on from the newest.
    let next = back_up(&repository, temp.path(), "d").unwrap();
    assert_eq!((next.snapshot.sequence, next.alarms), (5, vec![]));
    assert_eq!(next.snapshot.previous, Some(report.new.to_string()));
    assert_eq!(since_previous(&repository, &next.snapshot).unwrap().unwrap().unchanged, 1);
    assert_eq!(latest(&repository, "d").unwrap().name, next.name);
    // A copy of a copy stands there too.
    let again = add_tag(&repository, &report.new, "a").unwrap();
    assert_eq!(kept(&repository), [again.new, names[1], names[2], next.name]);
    assert_eq!(repository.snapshot(&again.new).unwrap().place, Some(1));
}

#[test]
fn what_was_brought_back_is_not_brought_back_twice() {
    let (hands, temp) = (Hands::new(56), tempfile::tempdir().unwrap());
    let store = RecordingStore::new(memory());
    let repository = create(store.clone(), &hands);
    let names = take(&repository, temp.path(), 2);
    repository.forget(&names[0], "r").unwrap();
    let first = undo(&repository, &names[0]).unwrap();
    store.drain();
    let second = undo(&repository, &names[0]).unwrap();
    assert_eq!((second.new, second.was_there), (first.new, true));
    assert!(store.drain().iter().all(|call| matches!(call.verb, Verb::Get | Verb::List)));
    // Unless the copy was forgotten in its turn.
    repository.forget(&first.new, "r").unwrap();
    assert!(!undo(&repository, &names[0]).unwrap().was_there);
}

/// FORGET-5
#[test]
fn a_snapshot_with_a_chunk_that_is_not_known_is_not_committed_again() {
    let (hands, temp) = (Hands::new(57), tempfile::tempdir().unwrap());
    let (data, root) = (temp.path().join("data"), temp.path().join("repository"));
    let writer = MiniWriter::create(root.clone());
    let credential = password(mini_writer::PASSWORD);
    let repository =
        Repository::open(local(&root), credential, hands.ambient("alpha"), Places::default(), None).unwrap();
    let names = take(&repository, &data, 2);
    let store = local(&root);
    let packs = store.entries("packs/").unwrap();
    let hashes = packs.iter().map(|pack| *blake3::hash(&store.get(&pack.name, u64::MAX).unwrap()).as_bytes());
    writer.condemn(&hashes.collect::<Vec<_>>());
    repository.forget(&names[0], "r").unwrap();
    // It can be read still: a condemned pack is there until it is buried. That is no reason to rely on it.
    assert_eq!(dumped(&repository, &names[0]), noise(50_000, 1));
    let errors = [undo(&repository, &names[0]).err().unwrap(), add_tag(&repository, &names[1], "a").err().unwrap()];
    for (error, words) in errors.iter().zip(["redkeep prune --grace 30d", "run redkeep prune,"]) {
        let OperationError::NotWhole { source: RepositoryError::InFile { path, source }, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(path, "dump");
        assert!(matches!(**source, RepositoryError::UnknownChunk { .. }), "{source:?}");
        assert!(error.hint().unwrap().contains(words), "{:?}", error.hint());
    }
    assert_eq!(kept(&repository), names[1..]);
    // As the hint says.
    let grace = Duration::from_secs(30 * 24 * 3600);
    let options = prune::Options { grace, max_unused: 0.05, ..AT_ONCE };
    prune::prune(&repository, &options, &Silent).unwrap();
    assert!(!undo(&repository, &names[0]).unwrap().was_there);
    let tagged = add_tag(&repository, &names[1], "a").unwrap().new;
    assert_eq!(dumped(&repository, &tagged), noise(50_000, 2));
}

/// FORGET-7
#[test]
fn a_forgotten_snapshot_is_not_chosen_by_its_id_either_and_the_hint_says_what_to_do() {
    let (hands, temp) = (Hands::new(58), tempfile::tempdir().unwrap());
    let store = memory();
    let repository = create(store.clone(), &hands);
    let names = take(&repository, temp.path(), 2);
    repository.forget(&names[1], "r").unwrap();
    assert_eq!(latest(&repository, "d").unwrap().name, names[0]);
    let error = choose(&repository, &id(&names[1]), None).err().unwrap();
    assert!(error.hint().unwrap().contains("redkeep undelete"), "{error:?}");
    delete(&store, &names[1]);
    let error = choose(&repository, &id(&names[1]), None).err().unwrap();
    assert!(matches!(error, OperationError::Forgotten { is_there: false, .. }), "{error:?}");
    // Its sequence number is not used again, and nobody misses it.
    let next = back_up(&repository, temp.path(), "d").unwrap();
    assert_eq!((next.snapshot.sequence, next.alarms), (3, vec![]));
    assert_eq!(next.snapshot.previous, Some(names[1].to_string()));
    assert_eq!(open(store, &hands).unwrap().refresh().unwrap(), []);
}

#[test]
fn retagging_forgets_the_old_snapshot_and_the_copy_of_the_newest_is_the_latest() {
    let (hands, temp) = (Hands::new(59), tempfile::tempdir().unwrap());
    let repository = create(memory(), &hands);
    let names = take(&repository, temp.path(), 2);
    let report = add_tag(&repository, &names[1], "a").unwrap();
    assert_eq!(kept(&repository), [names[0], report.new]);
    assert_eq!(latest(&repository, "d").unwrap().name, report.new);
    let record = repository.forgotten().unwrap().remove(0);
    assert_eq!((record.snapshot, record.reason), (names[1], format!("retagged as {}", report.new.session)));
    assert_eq!(repository.snapshot(&report.new).unwrap().facts["retagged-from"], names[1].session.to_string());
}

/// Each dataset by itself; what a filter leaves out is neither counted nor forgotten.
#[test]
fn a_policy_works_within_each_dataset() {
    let (hands, temp) = (Hands::new(60), tempfile::tempdir().unwrap());
    let repository = create(memory(), &hands);
    let names = take(&repository, temp.path(), 3);
    let other = back_up(&repository, temp.path(), "e").unwrap().name;
    let only_e = Filter { dataset: Some("e".into()), ..Filter::default() };
    let report = forget::forget(&repository, &forget::Options { filter: only_e, ..keep_last(1) }, &Silent).unwrap();
    assert_eq!(
        report.datasets.iter().map(|dataset| (&*dataset.name, dataset.counts())).collect::<Vec<_>>(),
        [("e", (1, 0))]
    );
    let report = forget::forget(&repository, &keep_last(1), &Silent).unwrap();
    let told: Vec<_> = report.datasets.iter().map(|dataset| (&*dataset.name, dataset.counts())).collect();
    assert_eq!(told, [("d", (1, 2)), ("e", (1, 0))]);
    assert_eq!(kept(&repository), [names[2], other]);
}

/// Snapshots of an older redkeep carry no falls: they are found by their counts, of which a base's is none.
///
/// COUNT-4
#[test]
fn between_snapshots_of_an_older_redkeep_falls_are_found_by_their_counts() {
    let (hands, temp) = (Hands::new(61), tempfile::tempdir().unwrap());
    let repository = create(memory(), &hands);
    let names = take(&repository, temp.path(), 1);
    let first = repository.snapshot(&names[0]).unwrap();
    let holds = |facts: &str| {
        let session = repository.begin("d").unwrap();
        let facts = facts.split_whitespace().map(|fact| fact.split_once('=').unwrap());
        let facts = facts.map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let (sequence, previous, begin) = (session.sequence(), session.previous(), session.begin());
        session.commit(&Snapshot { sequence, previous, begin, facts, ..first.clone() }).unwrap().name
    };
    let dump = |keys: u64| holds(&format!("authoritative=rdb dump.keys={keys} dump.checksum=verified"));
    let aof = "authoritative=aof aof.layout=multi-part base.aof.commands=1 base.keys=0";
    holds(&format!("{aof} server.run-id=a server.keys.db0=60 server.keys.db3=40"));
    let (many, _) = (dump(100), holds(aof));
    let few = holds(&format!("{aof} server.run-id=b server.keys.db0=49"));
    let more = dump(200);
    let report = forget::forget(&repository, &keep_last(1), &Silent).unwrap();
    let kept_for = |place: usize| report.datasets[0].verdicts[place].reasons.as_slice();
    assert_eq!((kept_for(2), report.datasets[0].uncounted()), (&[Reason::KeyDrop(100, 49)][..], 2));
    assert_eq!(kept(&repository), [many, more]);
    assert!(repository.forgotten().unwrap().iter().any(|record| record.snapshot == few));
    let last = dump(1);
    let ignoring = |ignore_key_drop| {
        let policy = Policy { last: Some(1), ..Policy::default() };
        let what = What::Policy { policy, zone: TimeZone::UTC, ignore_key_drop };
        forget::forget(&repository, &forget::Options { what, ..keep_last(1) }, &Silent).unwrap();
        kept(&repository)
    };
    assert_eq!(ignoring(false), [more, last]);
    assert_eq!(ignoring(true), [last]);
}

/// What an operation does to a repository whose dataset `d` has three snapshots, of which the first is forgotten.
type Deed = fn(&Repository, &[SnapshotName]) -> Result<(), OperationError>;

const DEEDS: [(&str, Deed); 3] = [
    ("forget", |repository, _| forget::forget(repository, &keep_last(1), &Silent).map(drop)),
    ("tag", |repository, names| add_tag(repository, &names[1], "a").map(drop)),
    ("undelete", |repository, names| undo(repository, &names[0]).map(drop)),
];

/// Each deed dies at each of its calls, before it, after it took effect, or half done. What is kept is whole, the next
/// backup succeeds, and the same deed again completes it.
///
/// FORGET-2, FORGET-5
#[test]
fn a_deed_that_dies_at_any_call_loses_nothing_and_can_be_done_again() {
    let (hands, temp) = (Hands::new(62), tempfile::tempdir().unwrap());
    let original = memory();
    let repository = create(original.clone(), &hands);
    let names = take(&repository, temp.path(), 4);
    repository.forget(&names[0], "r").unwrap();
    for ((what, deed), fault) in DEEDS.iter().flat_map(|deed| FAULTS.map(|fault| (deed, fault))) {
        for n in 0.. {
            let label = format!("{what}, {fault:?} at {n}");
            let store = memory();
            for entry in original.entries("").unwrap() {
                store.put(&entry.name, (original.get(&entry.name, u64::MAX).unwrap()).to_vec().into()).unwrap();
            }
            let faulty = FaultyStore::new(store.clone(), n, fault);
            let died = match open(faulty.clone(), &hands) {
                Ok(dying) => deed(&dying, &names).is_err() || faulty.is_dead(),
                Err(_) => true,
            };
            let repository = open(store.clone(), &hands).unwrap();
            let next = back_up(&repository, temp.path(), "d").unwrap_or_else(|error| panic!("{label}: {error:?}"));
            match deed(&repository, &names) {
                Ok(()) => completed(&repository, what, &names, &next.name, &label),
                // Half an object is a store's torn write, which the local store never leaves: it is named.
                Err(error) => assert!(fault == Fault::Torn && names_half_an_object(&error), "{label}: {error:?}"),
            }
            let fresh = open(store, &hands).unwrap();
            for info in {
                kept(&fresh);
                fresh.kept_snapshots().unwrap()
            } {
                let version = info.place.min(4);
                assert!(dumped(&fresh, &info.name) == noise(50_000, version), "{label}: place {}", info.place);
            }
            if !died {
                assert!(n > 8, "the sweep has tried calls");
                break;
            }
        }
    }
}

fn names_half_an_object(error: &OperationError) -> bool {
    let text = redkeep::repository::one_line(error);
    error.is_damage() && (text.contains("forgotten/") || text.contains("snapshots/"))
}

fn completed(repository: &Repository, what: &str, names: &[SnapshotName], next: &SnapshotName, label: &str) {
    let kept = kept(repository);
    assert_eq!(kept.last(), Some(next), "{label}");
    let tags = |name: &SnapshotName| repository.snapshot(name).unwrap().tags;
    let places: Vec<u64> = repository.kept_snapshots().unwrap().iter().map(|info| info.place).collect();
    match what {
        "forget" => assert_eq!(kept, [*next], "{label}"),
        "tag" => {
            assert!(!kept.contains(&names[1]) && kept.contains(&names[2]), "{label}");
            assert_eq!(places[..2], [2, 3], "{label}");
            assert_eq!(tags(&kept[0]), ["a"], "{label}");
        }
        _ => {
            assert_eq!(places[..4], [1, 2, 3, 4], "{label}");
            assert!(!kept.contains(&names[0]), "{label}");
        }
    }
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
    let places =
        Places { cache: Some(temp.path().join("cache")), state: Some(temp.path().join("state")), scratch: None };
    let reads = |expected: &[&SnapshotName]| {
        let repository = open_at(store.clone(), &hands, "alpha", places.clone()).unwrap();
        store.drain();
        assert_eq!(repository.refresh().unwrap(), []);
        let calls = store.drain().into_iter().filter(|call| call.verb == Verb::Get);
        let mut read: Vec<String> = calls.map(|call| call.name).filter(|name| name.starts_with("forgotten/")).collect();
        let mut expected: Vec<String> = expected.iter().map(|name| record_of(name).to_string()).collect();
        read.sort();
        expected.sort();
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
    let places = Places { cache: None, state: Some(temp.path().join("state")), scratch: None };
    let repository = create(store.clone(), &hands);
    let names = take(&repository, &temp.path().join("data"), 3);
    let alarms = || open_at(store.clone(), &hands, "alpha", places.clone()).unwrap().refresh().unwrap();
    assert_eq!(alarms(), []);
    for name in &names[..2] {
        repository.forget(name, "retention").unwrap();
        assert_eq!(alarms(), []);
        store.put(&name.to_string().parse().unwrap(), b"damaged".as_slice().into()).unwrap();
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
        store.put(&record, left.to_vec().into()).unwrap();
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
fn a_record_under_the_name_of_another_snapshot_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (hands, root) = (Hands::new(54), temp.path().join("repository"));
    let writer = MiniWriter::create(root.clone());
    writer.snapshot(1, None, &[]);
    let credential = password(mini_writer::PASSWORD);
    let repository =
        Repository::open(local(&root), credential, hands.ambient("alpha"), Places::default(), None).unwrap();
    writer.forget_under(&writer.snapshot_name(9), &writer.snapshot_name(1));
    let alarms = repository.refresh().unwrap();
    assert!(matches!(&alarms[..], [Alarm::Forgotten { .. }]), "{alarms:?}");
    writer.forget(&writer.snapshot_name(1));
    repository.refresh().unwrap();
    assert_eq!(repository.forgotten().unwrap().len(), 1);
}
