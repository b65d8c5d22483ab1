//! What a backup calls, in which order, and what happens to a session that is given up, killed or asleep.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redkeep::format::limits::SNAPSHOT_MAX;
use redkeep::format::snapshot::Snapshot;
use redkeep::operations::{OperationError, Silent, prune};
use redkeep::repository::{Alarm, Intake, IntakeOptions, Places, Repository, RepositoryError, Session, StreamWriter};
use redkeep::store::{ObjectName, Store, StoreError};

use crate::support::mini_writer::{self, MiniWriter, SNAPSHOT, TOMBSTONE, bytes, map, uint};
use crate::support::repository::*;
use crate::support::sim::SimStore;
use crate::support::stores::{FAULTS, FaultyStore, RecordingStore, Verb, through};
use crate::sweep_hostile::Hooked;

/// Calls as `verb folder/`, names below a folder left out.
fn budget(store: &RecordingStore) -> Vec<String> {
    let line = |call: String| match call.split_once('/') {
        Some((folder, _)) => format!("{folder}/"),
        None => call,
    };
    store.drain().iter().map(|call| line(call.to_string())).collect()
}

/// SESS-1, SESS-3, SESS-4, INDEX-1
#[test]
fn a_backup_makes_these_calls_and_no_others() {
    let (hands, temp) = (Hands::new(1), tempfile::tempdir().unwrap());
    fs::write(temp.path().join("dump"), text(1 << 20, 1)).unwrap();
    let store = RecordingStore::new(memory());
    create(store.clone(), &hands);
    store.drain();
    let repository = open(store.clone(), &hands).unwrap();
    assert_eq!(budget(&store), ["get config", "list keys/", "get keys/"]);
    back_up(&repository, temp.path(), "d").unwrap();
    let begin = [
        "list snapshots/",
        "list forgotten/",
        "put leases/",
        "list condemned/",
        "list index/",
        "list packs/",
        "list notes/",
    ];
    assert_eq!(budget(&store), [&begin[..], &["put packs/", "put index/", "put_new snapshots/"]].concat());
    // Unchanged: no pack, no index object, one snapshot.
    back_up(&repository, temp.path(), "d").unwrap();
    assert_eq!(budget(&store), [&begin[..], &["get snapshots/", "put_new snapshots/"]].concat());
    // The same on a host that knows nothing: it reads the snapshots, the index object, and the newest snapshot again for what
    // its files were made of; nothing else.
    let other = open(store.clone(), &hands).unwrap();
    store.drain();
    back_up(&other, temp.path(), "d").unwrap();
    let mut calls = budget(&store);
    calls.retain(|call| call.starts_with("get "));
    assert_eq!(calls, ["get snapshots/", "get snapshots/", "get index/", "get snapshots/"]);
    store.drain();
    let chosen = latest(&other, "d").unwrap();
    restore_to(&other, &chosen, &temp.path().join("out")).unwrap();
    let reads: Vec<_> = budget(&store).into_iter().filter(|call| call.contains("packs/")).collect();
    assert_eq!(reads.len(), 1, "a restore reads each needed pack once");
}

/// LOCAL-3, SESS-7
#[test]
fn what_a_failed_session_stored_is_nobodys_and_its_name_gets_a_tombstone() {
    let (hands, temp) = (Hands::new(2), tempfile::tempdir().unwrap());
    fs::write(temp.path().join("dump"), noise(20 << 20, 1)).unwrap();
    let store = memory();
    let places = Places { cache: Some(temp.path().join("cache")), state: None, scratch: None };
    let repository = create(store.clone(), &hands);
    let session = repository.begin("d").unwrap();
    let failed = session.store(IntakeOptions::default(), &|| false, |intake| {
        let mut stream = StreamWriter::new(&repository);
        stream.write(intake, &noise(20 << 20, 1))?;
        stream.finish(intake)?;
        Err::<(), _>(RepositoryError::Interrupted)
    });
    assert!(matches!(failed, Err(RepositoryError::Interrupted)));
    session.give_up(());
    assert_eq!(store.entries("snapshots/").unwrap().len(), 1, "the tombstone");
    assert!(!store.entries("packs/").unwrap().is_empty());
    assert_eq!(store.entries("index/").unwrap().len(), 0);
    let again = open_at(store.clone(), &hands, "alpha", places).unwrap();
    assert_eq!(again.refresh().unwrap(), []);
    assert_eq!(again.snapshots().unwrap(), [], "a tombstone is no snapshot");
    let report = back_up(&again, temp.path(), "d").unwrap();
    assert!(report.snapshot.summary.new_bytes >= 20 << 20, "nothing of the failed session counts as known");
    assert_eq!((report.snapshot.sequence, report.alarms), (1, vec![]));
}

/// LOCAL-3
#[test]
fn no_other_process_of_the_host_takes_from_a_session_what_it_has_stored() {
    let (hands, temp) = (Hands::new(3), tempfile::tempdir().unwrap());
    let store = memory();
    create(store.clone(), &hands);
    let here = || {
        let places = Places { cache: Some(temp.path().join("cache")), state: None, scratch: None };
        open_at(store.clone(), &hands, "alpha", places).unwrap()
    };
    let (repository, content) = (here(), noise(40 << 20, 1));
    let session = repository.begin("d").unwrap();
    let put = |intake: &mut Intake<'_>| {
        let mut stream = StreamWriter::new(&repository);
        content.chunks(1 << 20).try_for_each(|piece| stream.write(intake, piece))?;
        stream.finish(intake)
    };
    let ((), stored) = session
        .store(IntakeOptions::default(), &|| false, |intake| {
            put(intake)?;
            let deadline = Instant::now() + Duration::from_secs(60);
            while store.entries("packs/").unwrap().len() < 2 {
                assert!(Instant::now() < deadline, "two packs are full");
                std::thread::sleep(Duration::from_millis(5));
            }
            let other = here();
            other.refresh().unwrap();
            assert_eq!(other.totals().unwrap().packs, 0, "what no index object names is nobody else's");
            put(intake)?;
            Ok::<(), RepositoryError>(())
        })
        .unwrap();
    let (whole, new) = (40 << 20, stored.total().bytes);
    assert!((whole..whole + (1 << 20)).contains(&new), "known to the session, as nobody dropped it: {new}");
    let other = here();
    other.refresh().unwrap();
    assert_eq!(other.totals().unwrap().packs, stored.packs, "and everybody's once it is indexed");
}

/// A store in which a sweep puts a tombstone just before the first commit arrives.
struct Sweeper {
    inner: Arc<dyn Store>,
    tombstone: Mutex<Option<Vec<u8>>>,
}

impl Store for Sweeper {
    through!(self.inner: get get_range put list stat delete room connections promises location);

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        // An object of another name under this one is as good as a foreign one; the sealed tombstone comes from abandon.
        if name.as_str().starts_with("snapshots/")
            && let Some(found) = self.tombstone.lock().unwrap().take()
        {
            let broken = || {
                let source = std::io::Error::other("the connection broke");
                StoreError::Io { action: "store", name: name.to_string(), source }
            };
            match &found[..] {
                b"lost before" => return Err(broken()),
                b"lost after" => return self.inner.put_new(name, bytes).and_then(|()| Err(broken())),
                _ => {}
            }
            let found = if found.is_empty() { bytes.to_vec() } else { found };
            self.inner.put_new(name, found.clone().into())?;
        }
        self.inner.put_new(name, bytes)
    }
}

/// SESS-5
#[test]
fn a_refused_commit_is_read_back_own_bytes_are_a_commit_others_are_not() {
    let (hands, temp) = (Hands::new(3), tempfile::tempdir().unwrap());
    fs::write(temp.path().join("dump"), text(1000, 1)).unwrap();
    let put = |already: &[u8]| {
        let store = Arc::new(Sweeper { inner: memory(), tombstone: Mutex::new(Some(already.to_vec())) });
        let result = back_up(&create(store.clone(), &hands), temp.path(), "d");
        (result, store)
    };
    let (own, store) = put(&[]);
    assert!(own.is_ok(), "the answer was lost, not the commit");
    assert_eq!(store.inner.entries("snapshots/").unwrap().len(), 1);
    let (foreign, _) = put(b"something else");
    assert!(matches!(foreign, Err(OperationError::Repository(RepositoryError::Damaged { .. }))));
}

/// SESS-5, SESS-7
#[test]
fn a_commit_that_failed_is_a_commit_if_it_arrived_and_never_will_be_if_not() {
    let (hands, temp) = (Hands::new(10), tempfile::tempdir().unwrap());
    fs::write(temp.path().join("dump"), text(1000, 1)).unwrap();
    let put = |fate: &[u8]| {
        let store = Arc::new(Sweeper { inner: memory(), tombstone: Mutex::new(Some(fate.to_vec())) });
        let repository = create(store.clone(), &hands);
        let result = back_up(&repository, temp.path(), "d");
        let found = store.inner.entries("snapshots/").unwrap();
        assert_eq!(found.len(), 1, "decided either way");
        repository.refresh().unwrap();
        (result.is_ok(), repository.snapshots().unwrap().len())
    };
    assert_eq!(put(b"lost after"), (true, 1));
    assert_eq!(put(b"lost before"), (false, 0));
}

/// A repository of the specification's own writer, which can put what a sweep would.
fn writer_and_repository(root: &Path, hands: &Hands) -> (MiniWriter, Repository) {
    let writer = MiniWriter::create(root.into());
    let credential = password(mini_writer::PASSWORD);
    let repository = Repository::open(local(root), credential, hands.ambient("alpha"), Places::default(), None);
    (writer, repository.unwrap())
}

/// SESS-5, SESS-8
#[test]
fn a_fenced_session_does_not_commit_and_the_next_one_does() {
    let (hands, temp) = (Hands::new(4), tempfile::tempdir().unwrap());
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("dump"), text(1000, 1)).unwrap();
    let root = temp.path().join("repository");
    let (writer, repository) = writer_and_repository(&root, &hands);
    let mut snapshot = back_up(&repository, &data, "sessions").unwrap().snapshot;
    let session = repository.begin("sessions").unwrap();
    snapshot.sequence = session.sequence();
    let (folder, _) = writer.snapshot_name(0).rsplit_once('/').map(|(f, n)| (f.to_string(), n.to_string())).unwrap();
    let commit_name = |session: &Session<'_>| {
        let number = session.sequence();
        format!("{folder}/{number:010}-{number:010}-{:015}-{}", session.begin().0, session.id())
    };
    let plaintext = map(&[(0, bytes(&[8; 16])), (1, uint(5))]);
    writer.put_hashed(&commit_name(&session), TOMBSTONE, &plaintext);
    assert!(matches!(session.commit(&snapshot), Err(RepositoryError::Fenced)));
    let report = back_up(&repository, &data, "sessions").unwrap();
    assert_eq!((report.snapshot.sequence, report.alarms), (2, vec![]));
    assert_eq!(repository.snapshots().unwrap().len(), 2);
    // What is sound and not its own is no commit either.
    let session = repository.begin("sessions").unwrap();
    snapshot.sequence = session.sequence();
    let other = Snapshot { tags: vec!["another".into()], ..snapshot.clone() };
    writer.put_hashed(&commit_name(&session), SNAPSHOT, &other.encode());
    assert!(matches!(session.commit(&snapshot), Err(RepositoryError::Damaged { .. })));
}

/// SESS-6
#[test]
fn a_session_that_slept_too_long_does_not_commit() {
    let (hands, temp) = (Hands::new(5), tempfile::tempdir().unwrap());
    fs::write(temp.path().join("dump"), text(1000, 1)).unwrap();
    let repository = create(memory(), &hands);
    let mut snapshot = back_up(&repository, temp.path(), "d").unwrap().snapshot;
    snapshot.sequence = 2;
    let session = repository.begin("d").unwrap();
    hands.pass(Duration::from_secs(31 * 60));
    assert!(matches!(session.commit(&snapshot), Err(RepositoryError::Fenced)));
    let session = repository.begin("d").unwrap();
    hands.pass(Duration::from_secs(29 * 60));
    session.keep_alive().unwrap();
    hands.pass(Duration::from_secs(29 * 60));
    assert!(session.commit(&snapshot).is_ok(), "a heartbeat in between keeps it alive");
    // No heartbeat hides that it slept.
    let session = repository.begin("d").unwrap();
    hands.pass(Duration::from_secs(31 * 60));
    assert!(matches!(session.keep_alive(), Err(RepositoryError::Fenced)));
    snapshot.sequence = 3;
    assert!(matches!(session.commit(&snapshot), Err(RepositoryError::Fenced)));
}

/// SESS-6: between its lease and what it saw condemned, or while the lease was put.
#[test]
fn a_session_that_slept_while_it_began_does_not_begin() {
    let cases = [(Verb::Put, "leases/", false), (Verb::List, "packs/", false), (Verb::List, "packs/", true)];
    for (slow, prefix, is_condemned) in cases {
        let hands = Hands::new(7);
        let store = SimStore::strict(&hands);
        let repository = create(store.clone(), &hands);
        if is_condemned {
            let temp = tempfile::tempdir().unwrap();
            fs::write(temp.path().join("dump"), noise(1000, 1)).unwrap();
            let gone = back_up(&repository, temp.path(), "d").unwrap().name;
            repository.forget(&gone, "test").unwrap();
            hands.pass(Duration::from_secs(25 * 3600));
            let report = prune::prune(&repository, &prune::Options::default(), &Silent).unwrap().report;
            assert_eq!((report.condemned_packs, report.deleted_packs), (1, 0));
        }
        let (sleeper, mut is_first) = (hands.clone(), true);
        let hooked = Hooked::new(store, move |verb, name| {
            if is_first && verb == slow && name.starts_with(prefix) {
                is_first = false;
                sleeper.pass(Duration::from_secs(31 * 60));
            }
        });
        let repository = open_at(hooked, &hands, "alpha", Places::default()).unwrap();
        assert!(matches!(repository.begin("d").err(), Some(RepositoryError::Fenced)), "{prefix} {is_condemned}");
    }
}

/// SNAP-4, SNAP-7: no reader would take it.
#[test]
fn what_no_reader_would_take_is_not_committed() {
    let (hands, temp) = (Hands::new(8), tempfile::tempdir().unwrap());
    fs::write(temp.path().join("dump"), text(1000, 1)).unwrap();
    let store = memory();
    let repository = create(store.clone(), &hands);
    let first = back_up(&repository, temp.path(), "d").unwrap().snapshot;
    let next = Snapshot { sequence: 2, previous: None, ..first };
    let mut twice = next.clone();
    twice.files.push(twice.files[0].clone());
    let mut long = next.clone();
    long.facts.insert("long".into(), "x".repeat(SNAPSHOT_MAX as usize));
    let elsewhere = [
        Snapshot { sequence: 3, ..next.clone() },
        Snapshot { sequence: 3, place: Some(2), ..next.clone() },
        Snapshot { place: Some(1), ..next.clone() },
    ];
    for (number, wrong) in [twice, long].into_iter().chain(elsewhere).enumerate() {
        let session = repository.begin("d").unwrap();
        assert!(matches!(session.commit(&wrong).err(), Some(RepositoryError::Limit(_))), "{number}");
    }
    assert_eq!(repository.refresh().unwrap(), []);
    assert_eq!(repository.snapshots().unwrap().len(), 1);
    repository.begin("d").unwrap().commit(&next).unwrap();
}

/// SESS-2
#[test]
fn packs_that_are_gone_cut_short_or_condemned_are_not_used_again() {
    let (hands, temp) = (Hands::new(6), tempfile::tempdir().unwrap());
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("dump"), noise(1 << 20, 1)).unwrap();
    let root = temp.path().join("repository");
    let (writer, repository) = writer_and_repository(&root, &hands);
    let store = local(&root);
    let backed_up = || {
        let report = back_up(&repository, &data, "sessions").unwrap();
        (report.snapshot.summary.new_bytes >= 1 << 20, report.alarms)
    };
    assert_eq!(backed_up(), (true, vec![]));
    assert_eq!(backed_up(), (false, vec![]));
    let pack = store.entries("packs/").unwrap().remove(0).name;
    let whole = store.get(&pack, u64::MAX).unwrap();
    store.put(&pack, whole[..1000].to_vec().into()).unwrap();
    let lost = Alarm::Packs { lost: 1, first: pack.to_string() };
    assert_eq!(backed_up(), (true, vec![lost.clone()]), "cut short");
    assert_eq!(backed_up(), (false, vec![lost]), "said, though the new copy serves");
    store.put(&pack, whole.clone().into()).unwrap();
    let names = store.entries("packs/").unwrap().into_iter().map(|entry| entry.name);
    let hashes: Vec<[u8; 32]> =
        names.map(|name| *blake3::hash(&store.get(&name, u64::MAX).unwrap()).as_bytes()).collect();
    assert_eq!(hashes.len(), 2);
    writer.condemn(&hashes);
    assert_eq!(backed_up(), (true, vec![]), "condemned");
}

/// Every call of a backup fails once, before it, after it took effect, or half done: what was committed before stays
/// whole, nothing half done is ever listed, and the next backup succeeds.
///
/// SESS-4, SNAP-1
#[test]
fn a_backup_that_dies_at_any_call_loses_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (first, second) = (temp.path().join("first"), temp.path().join("second"));
    fs::create_dir_all(&first).unwrap();
    fs::create_dir_all(&second).unwrap();
    fs::write(first.join("dump"), noise(200_000, 1)).unwrap();
    fs::write(second.join("dump"), noise(200_000, 2)).unwrap();
    for fault in FAULTS {
        for n in 0.. {
            let hands = Hands::new(7);
            let store = memory();
            back_up(&create(store.clone(), &hands), &first, "d").unwrap();
            let repository = open(store.clone(), &hands).unwrap();
            let faulty = FaultyStore::new(store.clone(), n, fault);
            let died = match open(faulty.clone(), &hands) {
                Ok(dying) => back_up(&dying, &second, "d").map(drop).is_err() || faulty.is_dead(),
                Err(_) => true,
            };
            let report = back_up(&repository, &second, "d").unwrap_or_else(|e| panic!("{fault:?} at {n}: {e:?}"));
            let fresh = open(store.clone(), &hands).unwrap();
            fresh.refresh().unwrap();
            for info in fresh.snapshots().unwrap() {
                let snapshot = fresh.snapshot(&info.name).unwrap();
                let mut bytes = Vec::new();
                redkeep::operations::list::dump(&fresh, &snapshot, b"dump", &mut bytes, &redkeep::operations::Silent)
                    .unwrap();
                let expected = if info.sequence == 1 { noise(200_000, 1) } else { noise(200_000, 2) };
                assert!(bytes == expected, "{fault:?} at {n}: sequence {}", info.sequence);
            }
            assert!(report.snapshot.sequence >= 2);
            if !died {
                assert!(n > 8, "the sweep has tried calls");
                break;
            }
        }
    }
}

/// An `init` that dies leaves no repository, or a whole one; where there is none, the next one makes it.
#[test]
fn an_init_that_dies_at_any_call_can_be_done_again() {
    for fault in FAULTS {
        for n in 0.. {
            let (hands, store) = (Hands::new(8), memory());
            let faulty = FaultyStore::new(store.clone(), n, fault);
            let make = |store: Arc<dyn Store>, host: &str| {
                Repository::create(store, password(PASSWORD), "first", CHEAP, hands.ambient(host), Places::default())
            };
            let died = make(faulty.clone(), "dying").is_err();
            match make(store.clone(), "again") {
                Ok(_) => assert!(died),
                Err(RepositoryError::AlreadyThere { .. }) => {}
                Err(error) => panic!("{fault:?} at {n}: {error:?}"),
            }
            match open(store.clone(), &hands) {
                Ok(_) => {}
                // Half a config is a store's torn write, which the local store never leaves: it is named.
                Err(RepositoryError::Damaged { object, .. }) if object == "config" => {}
                Err(error) => panic!("{fault:?} at {n}: {error:?}"),
            }
            if !died {
                assert!(n > 4);
                break;
            }
        }
    }
}

/// SESS-6
#[test]
fn a_long_backup_that_stores_nothing_keeps_its_lease_alive() {
    let (hands, temp) = (Hands::new(9), tempfile::tempdir().unwrap());
    fs::write(temp.path().join("dump"), text(40 << 20, 1)).unwrap();
    let store = memory();
    back_up(&create(store.clone(), &hands), temp.path(), "d").unwrap();
    // Every look at the clock takes ten seconds: reading takes hours, and every chunk is known.
    let mut slow = hands.ambient("alpha");
    let uptime = slow.uptime.clone();
    let moving = hands.clone();
    slow.uptime = Arc::new(move || {
        moving.pass(Duration::from_secs(10));
        uptime()
    });
    let repository = Repository::open(store.clone(), password(PASSWORD), slow, Places::default(), None).unwrap();
    let began = hands.ambient("alpha").now().0;
    assert_eq!(back_up(&repository, temp.path(), "d").unwrap().snapshot.summary.new_chunks, 0);
    assert!(hands.ambient("alpha").now().0 - began > 60 * 60 * 1000, "it took more than an hour");
}
