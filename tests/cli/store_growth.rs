//! What the requests of a command do not grow with: packs, and snapshots that were forgotten; and what they do grow with, after
//! 300 sessions. At a real object store, behind a proxy that counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use redkeep::repository::{Ambient, Places, Repository};

use crate::object_stores::Far;
use crate::place::noise;
use crate::store_calls::{BACKUP, call};
use crate::support::mini_writer::{self, MiniWriter};
use crate::support::proxy::{Fate, Seen};
use crate::support::repository::{back_up, local, password};
use crate::support::services::{Service, wait_for};

/// What it takes to ask for many things one after the other, and how long a test waits for the second one.
const DEADLINE: Duration = Duration::from_secs(20);

/// Puts all objects of a repository in a directory into a service, many at a time.
fn carry(from: &Path, to: &Far) {
    let store = to.service.store_at(&to.location);
    let files = walkdir::WalkDir::new(from).into_iter().map(Result::unwrap);
    let files: Vec<_> = files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(file) = files.get(next.fetch_add(1, Relaxed)) {
            // What is called otherwise is no object.
            if let Ok(name) = file.strip_prefix(from).unwrap().to_str().unwrap().parse() {
                store.put(&name, fs::read(file).unwrap().into()).unwrap();
            }
        }
    };
    thread::scope(|scope| (0..16).for_each(|_| drop(scope.spawn(work))));
}

/// How many requests of each kind.
fn counted(calls: Vec<String>) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for call in calls {
        *counted.entry(call).or_default() += 1;
    }
    counted
}

/// SESS-10, LEDGER-1: 20,000 packs with `REDKEEP_TEST_LONG`, else as many as three pages of a listing show.
#[test]
fn an_unchanged_backup_makes_seven_requests_among_thousands_of_packs_and_forgotten_snapshots() {
    if Service::Seaweed.is_skipped() {
        return;
    }
    let packs = if std::env::var_os("REDKEEP_TEST_LONG").is_some() { 20_000 } else { 2_500u32 };
    let far = Far::watched(Service::Seaweed);
    let writer = MiniWriter::create(far.place.path("made"));
    let pack = |number: u32| writer.pack(&[writer.whole(0, &[&number.to_le_bytes()])]);
    // As many as a session names at a time.
    for first in (0..packs).step_by(64) {
        writer.index(&(first..packs.min(first + 64)).map(pack).collect::<Vec<_>>());
    }
    writer.long_ledger("d", 20_000);
    carry(&writer.root, &far);
    let first = counted(far.calls(BACKUP));
    assert_eq!(first["LIST packs"] as u32, packs.div_ceil(1000), "all are there: {first:?}");
    for _ in 0..2 {
        let seven = ["keys", "snapshots", "forgotten", "condemned", "index"].map(|folder| format!("LIST {folder}"));
        let seven = seven.into_iter().chain(["PUT leases".into(), "PUT snapshots".into()]).collect();
        assert_eq!(counted(far.calls(BACKUP)), counted(seven));
    }
}

/// Requests of one kind: how many are at the store now, how many were at most, and whether four were waited for in vain.
#[derive(Default)]
struct Held {
    now: usize,
    most: usize,
    in_vain: bool,
}

/// Holds requests, to see how many there are at once.
#[derive(Default)]
struct AtOnce {
    of: Mutex<BTreeMap<String, Held>>,
    changed: Condvar,
}

impl AtOnce {
    /// Holds a request until four of its kind have been there at once, or for too long.
    fn hold(&self, seen: &Seen) {
        const MANY: [&str; 4] = ["index", "snapshots", "leases", "forgotten"];
        let call = call(seen);
        let (method, folder) = call.split_once(' ').unwrap();
        if !matches!(method, "GET" | "DELETE") || !MANY.contains(&folder) {
            return;
        }
        let mut of = self.of.lock().unwrap();
        let held = of.entry(call.clone()).or_default();
        held.now += 1;
        held.most = held.most.max(held.now);
        self.changed.notify_all();
        let is_early = |of: &mut BTreeMap<String, Held>| of[&call].most < 4 && !of[&call].in_vain;
        let (mut of, waited) = self.changed.wait_timeout_while(of, DEADLINE, is_early).unwrap();
        let held = of.get_mut(&call).unwrap();
        held.now -= 1;
        held.in_vain |= waited.timed_out();
        self.changed.notify_all();
    }
}

/// A repository of 300 sessions, half of whose snapshots were forgotten, and where that many requests may go.
fn after_300_sessions(fate: impl Fn(&Seen, usize) -> Fate + Send + Sync + 'static) -> Far {
    let far = Far::behind(Service::Seaweed, fate);
    let made = far.place.path("made");
    MiniWriter::create(made.clone());
    let (secret, places) = (password(mini_writer::PASSWORD), Places::default());
    let repository = Repository::open(local(&made), secret, Ambient::system(), places, None).unwrap();
    for session in 0..300 {
        // What the last one needs was stored by 20 of them, and by the first one.
        fs::write(far.place.data().join(format!("file-{}", session % 20)), noise(session, 10_000)).unwrap();
        let report = back_up(&repository, &far.place.data(), "d").unwrap();
        if session < 150 {
            repository.forget(&report.name, "retention").unwrap();
        }
    }
    carry(&made, &far);
    far
}

/// SWEEP-20, SWEEP-21: a sweep asks for many things at a time, and for each of them seldom; what it leaves is read at once.
#[test]
fn after_300_sessions_a_prune_makes_three_requests_an_object_and_a_restore_eight_more_than_it_needs() {
    if Service::Seaweed.is_skipped() {
        return;
    }
    let at_once = Arc::new(AtOnce::default());
    let watch = Arc::clone(&at_once);
    let far = after_300_sessions(move |seen, _| {
        watch.hold(seen);
        Fate::Pass
    });
    let store = far.service.store_at(&far.location);
    fs::write(far.place.path("redkeep.toml"), "lag = \"1s\"\n").unwrap();
    let prune = ["prune", "--grace", "1s", "--config", "redkeep.toml"];
    // What one puts together the next one deletes, once it is old enough.
    wait_for("a repository that is put together", || {
        let objects = store.entries("").unwrap().len();
        let mut calls = far.calls(&prune);
        // It also finds out, once, what the place promises.
        calls.retain(|call| !call.ends_with("probes"));
        assert!(calls.len() <= 3 * objects, "{objects} objects: {:?}", counted(calls));
        let left = |prefix: &str| store.entries(prefix).unwrap().len();
        Ok((left("index/"), left("forgotten/"), left("snapshots/")) == (1, 1, 150))
    });
    let most: BTreeMap<String, usize> =
        at_once.of.lock().unwrap().iter().map(|(call, held)| (call.clone(), held.most)).collect();
    let kinds = ["DELETE forgotten", "DELETE index", "DELETE leases", "DELETE snapshots", "GET forgotten"];
    for call in kinds.into_iter().chain(["GET index", "GET leases", "GET snapshots"]) {
        assert!(most.get(call) >= Some(&4), "{call} one after the other: {most:?}");
    }

    let needed = |calls: &BTreeMap<String, usize>| calls["GET packs"] + calls["GET index"];
    fs::remove_dir_all(far.place.path("home/.cache")).unwrap();
    let calls = counted(far.calls(&["restore", "latest", "--target", "back"]));
    assert!((calls["GET packs"], calls["GET index"]) == (21, 1), "each once: {calls:?}");
    assert!(calls.values().sum::<usize>() <= needed(&calls) + 8, "{calls:?}");
    // A host that never met the repository reads how it is opened, too.
    fs::remove_dir_all(far.place.path("home")).unwrap();
    let mut calls = counted(far.calls(&["restore", "latest", "--target", "again"]));
    calls.retain(|call, _| !call.ends_with("probes"));
    assert!(calls.values().sum::<usize>() <= needed(&calls) + 8 + 3, "{calls:?}");
}
