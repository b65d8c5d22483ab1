//! How many requests a command makes of an object store, counted by a proxy before a real one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use crate::object_stores::Far;
use crate::place::noise;
use crate::support::proxy::Seen;
use crate::support::services::{Service, wait_for};

pub const BACKUP: &[&str] = &["backup", "data", "--dataset", "d"];

/// A file so large that its list is in chunks of its own.
const LARGE: usize = 6 << 20;

/// What was asked, in a few words.
pub fn call(of: &Seen) -> String {
    let (path, query) = of.path.split_once('?').unwrap_or((&of.path, ""));
    let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap_or_default();
    let below = |path: &str| path.replace("%2F", "/").split('/').skip(1).take(2).collect::<Vec<_>>().join("/");
    // Account of Swift, bucket, then the prefix of the location, then what the repository calls it.
    let object = path.trim_start_matches("/v1/AUTH_test").trim_start_matches('/').split('/').collect::<Vec<_>>();
    if object.first() == Some(&"auth") {
        return "GET auth".into();
    }
    let object = object.into_iter().skip(2).collect::<Vec<_>>();
    match (of.method.as_str(), object.first().copied().unwrap_or_default()) {
        ("GET", "") => format!("LIST {}", below(prefix).split('/').next().unwrap_or_default()),
        (method, folder) => format!("{method} {folder}"),
    }
}

impl Far {
    /// The requests of a command that ends well.
    pub fn calls(&self, arguments: &[&str]) -> Vec<String> {
        let proxy = self.proxy.as_ref().unwrap();
        proxy.drain();
        self.ends(0, arguments);
        proxy.seen().iter().map(call).collect()
    }

    fn change(&self, seed: u64) {
        fs::write(self.place.data().join("modules/table.bin"), noise(seed, LARGE)).unwrap();
    }

    /// Waits until a file counts as one that was not touched since.
    fn settle(&self) {
        let changed = fs::metadata(self.place.data().join("modules/table.bin")).unwrap();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed.ctime() as u64 + 4);
        wait_for("the file to be old enough", || Ok(SystemTime::now() > changed));
    }
}

/// SESS-10, LOCAL-36, LOCAL-37
#[test]
fn an_unchanged_backup_makes_seven_requests_whatever_the_repository_holds() {
    unchanged_backups(Service::Seaweed, &[]);
}

/// SESS-10, STORE-14: and one for the token.
#[test]
fn an_unchanged_backup_to_swift_makes_eight_requests_whatever_the_repository_holds() {
    unchanged_backups(Service::Swift, &["GET auth"]);
}

fn unchanged_backups(service: Service, before: &[&str]) {
    if service.is_skipped() {
        return;
    }
    let far = Far::watched(service);
    far.done(&["init"]);
    let seven = [
        "LIST keys",
        "LIST snapshots",
        "LIST forgotten",
        "PUT leases",
        "LIST condemned",
        "LIST index",
        "PUT snapshots",
    ];
    for seed in 1..=3 {
        far.change(seed);
        far.settle();
        // The first one stores, the second one reads the lists of what was stored, once.
        far.calls(BACKUP);
        let reads = far.calls(BACKUP);
        assert!(reads.len() <= 13 && !reads.iter().any(|call| call == "LIST packs"), "{reads:?}");
        assert_eq!(far.calls(BACKUP), [before, &seven].concat(), "after {seed} changes");
        far.ends(0, &["forget", "--keep-last", "2"]);
    }
    far.done(&["check", "--read-data"]);
}

/// A host that knows nothing of the repository reads each pack that it needs once, and each small object once.
#[test]
fn a_restore_from_a_cold_cache_reads_what_it_needs_once() {
    if Service::Seaweed.is_skipped() {
        return;
    }
    let far = Far::watched(Service::Seaweed);
    far.done(&["init"]);
    for seed in 1..=4 {
        far.change(seed);
        far.ends(0, BACKUP);
    }
    far.ends(0, &["forget", "--keep-last", "1"]);
    fs::remove_dir_all(far.place.path("home")).unwrap();
    let mut calls = BTreeMap::<String, usize>::new();
    for call in far.calls(&["restore", "latest", "--target", "back"]) {
        *calls.entry(call).or_default() += 1;
    }
    // It also finds out, once, what the place promises.
    calls.retain(|call, _| !call.ends_with("probes"));
    assert!(calls["GET packs"] <= 3 && calls["GET index"] <= 4 && calls["GET snapshots"] <= 5, "{calls:?}");
    let others: usize = calls.iter().filter(|(call, _)| call.starts_with("LIST")).map(|(_, count)| count).sum();
    assert!(others <= 4 && calls["GET config"] <= 2 && calls["GET keys"] == 1, "{calls:?}");
}

/// Each object that it looks at is listed, read and deleted at most once.
#[test]
fn a_prune_makes_few_requests_of_each_object() {
    if Service::Seaweed.is_skipped() {
        return;
    }
    let far = Far::watched(Service::Seaweed);
    far.done(&["init"]);
    for seed in 1..=10 {
        far.change(seed);
        far.ends(0, BACKUP);
    }
    far.ends(0, &["forget", "--keep-last", "2"]);
    let calls = far.calls(&["prune"]);
    // Ten each of packs, index objects, snapshots and leases, and eight records.
    assert!(calls.len() <= 3 * 48, "{} requests: {calls:?}", calls.len());
}
